//! PostgreSQL with Debian's unmodified agent in synchronous streaming replication, and a client
//! that inserts through an address on the primary. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`, as root); needs postgresql-15 and resource-agents.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tests_lab::{Bmc, CLIENT, Cluster, Lab, asked_for};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// The agent looks at all locations a few times before it lets anybody be promoted.
const PATIENCE: Duration = Duration::from_secs(90);
/// Where PostgreSQL's programs are.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const HOME: &str = "/var/lib/postgresql";
const DATA: &str = "/var/lib/postgresql/data";

/// Makes a database on the first host.
fn initialise(cluster: &Cluster) {
    let node = &cluster.nodes()[0];
    let script = format!(
        "set -e; chown postgres: {HOME}; cd {HOME}
        su postgres -c '{PROGRAMS}/initdb -A trust -D {DATA}' >/dev/null
        cat >>{DATA}/postgresql.conf <<'END'
listen_addresses = '*'
unix_socket_directories = '/run/pgsql'
wal_keep_size = 256MB
wal_sender_timeout = 5s
wal_receiver_timeout = 5s
wal_retrieve_retry_interval = 500ms
END
        cat >>{DATA}/pg_hba.conf <<'END'
host all all 10.77.0.0/24 trust
host replication all 10.77.0.0/24 trust
END
        install -d -o postgres /run/pgsql
        su postgres -c \"{PROGRAMS}/pg_ctl -D {DATA} -l {HOME}/log -w start\"
        {PROGRAMS}/psql -h /run/pgsql -U postgres -qc 'create table done (number int)'
        su postgres -c '{PROGRAMS}/pg_ctl -D {DATA} -w -m fast stop'"
    );
    cluster.sh(node, &script).unwrap();
    // The others start as copies: a server that was shut down is all in its folder.
    let from = cluster.disk(node, Path::new(HOME)).unwrap();
    for node in &cluster.nodes()[1..] {
        let to = cluster.disk(node, Path::new(HOME)).unwrap();
        let copied = std::process::Command::new("cp").arg("-aT").arg(&from).arg(&to).status();
        assert!(copied.unwrap().success());
    }
}

/// The database as a promotable clone, and the address on the promoted one.
fn configure(cluster: &Cluster) {
    let nodes = cluster.nodes().join(" ");
    let parameters = [
        ("pgctl", format!("{PROGRAMS}/pg_ctl")),
        ("psql", format!("{PROGRAMS}/psql")),
        ("pgdata", DATA.into()),
        ("config", format!("{DATA}/postgresql.conf")),
        ("logfile", format!("{HOME}/log")),
        ("tmpdir", format!("{HOME}/tmp")),
        ("socketdir", "/run/pgsql".into()),
        ("rep_mode", "sync".into()),
        ("node_list", nodes),
        ("master_ip", VIP.to_string()),
        ("restart_on_promote", "false".into()),
        ("primary_conninfo_opt", "connect_timeout=1".into()),
    ];
    let parameters: String = parameters
        .iter()
        .map(|(name, value)| {
            format!("<nvpair id=\"pgsql-{name}\" name=\"{name}\" value=\"{value}\"/>")
        })
        .collect();
    let operations: String = [
        ("start", "0", ""),
        ("stop", "0", ""),
        ("promote", "0", ""),
        ("demote", "0", ""),
        ("notify", "0", ""),
        ("monitor", "2s", ""),
        ("monitor", "1s", " role=\"Promoted\""),
    ]
    .iter()
    .map(|(name, interval, role)| {
        format!(
            "<op id=\"pgsql-{name}-{interval}\" name=\"{name}\" interval=\"{interval}\" \
             timeout=\"60s\"{role}/>"
        )
    })
    .collect();
    let meta: String = [("promotable", "true"), ("promoted-max", "1"), ("notify", "true")]
        .iter()
        .map(|(name, value)| {
            format!("<nvpair id=\"clone-{name}\" name=\"{name}\" value=\"{value}\"/>")
        })
        .collect();
    let clone = format!(
        "<clone id=\"pgsql-clone\"><meta_attributes id=\"clone-meta\">{meta}</meta_attributes>\
         <primitive id=\"pgsql\" class=\"ocf\" provider=\"heartbeat\" type=\"pgsql\">\
         <instance_attributes id=\"pgsql-params\">{parameters}</instance_attributes>\
         <operations>{operations}</operations></primitive></clone>"
    );
    let colocation = "<rsc_colocation id=\"vip-with-primary\" rsc=\"vip\" with-rsc=\"pgsql-clone\" \
                      with-rsc-role=\"Promoted\" score=\"INFINITY\"/>";
    // Not the other way round: the address goes only after the primary has ended.
    let order = "<rsc_order id=\"vip-after-promote\" first=\"pgsql-clone\" \
                 first-action=\"promote\" then=\"vip\" then-action=\"start\" symmetrical=\"false\"/>";
    let node = &cluster.nodes()[0];
    let create = |section: &str, xml: &str| {
        let script = format!("cibadmin --create --scope {section} --xml-text '{xml}'");
        cluster.sh(node, &script).unwrap();
    };
    create("resources", &clone);
    cluster.must(
        node,
        &format!(
            "resource create vip ocf:systole:vip ip={VIP} cidr_netmask=24 op monitor interval=2s"
        ),
    );
    create("constraints", colocation);
    create("constraints", order);
}

/// Runs SQL through the address, from the client.
fn sql(cluster: &Cluster, text: &str) -> anyhow::Result<String> {
    let script =
        format!("PGCONNECT_TIMEOUT=2 {PROGRAMS}/psql -h {VIP} -U postgres -Atqc \"{text}\"");
    cluster.sh(CLIENT, &script)
}

/// What the agent on the primary holds a node for: `PRI`, `HS:sync`, `HS:async`...
fn status_of(cluster: &Cluster, node: &str) -> String {
    let query = format!("crm_attribute -l reboot -N {node} -n pgsql-status -G -q");
    cluster.sh(&cluster.nodes()[0], &query).unwrap_or_default().trim().to_owned()
}

/// Numbers acknowledged so far, with nanoseconds since the epoch of the acknowledgement.
fn acknowledged(file: &Path) -> Vec<(u32, u128)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let pair = |line: &str| {
        let (number, at) = line.split_once(' ')?;
        Some((number.parse().ok()?, at.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn wall_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

#[test]
fn no_acknowledged_insert_is_lost() {
    if !asked_for() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::cluster("pgsql", 3).bmc(Bmc::IpmiSim).persistent(HOME);
    let lab = lab.env("HA_LOGFILE", "/var/log/pacemaker/agents.log").build().unwrap();
    let cluster = Cluster::start_lab(lab);
    initialise(&cluster);
    cluster.make_fence_devices();
    configure(&cluster);
    let watch = cluster.watch(VIP);
    let began = Instant::now();
    // The agent lets nobody else be promoted before it knows a standby to be synchronous.
    cluster.wait_for(PATIENCE, "a primary, a synchronous standby and another", || {
        let all: Vec<_> = cluster.nodes().iter().map(|n| status_of(&cluster, n)).collect();
        ["PRI", "HS:sync", "HS:async"].iter().all(|status| all.iter().any(|s| s == status))
    });
    let old = cluster.wait_owner(&watch, None);
    println!("{old} is primary {:?} after the configuration", began.elapsed());

    // One insert after the other, each with a connection of its own.
    let file = folder.path().join("acknowledged");
    let client = format!(
        "number=0; while :; do number=$((number + 1))
        PGCONNECT_TIMEOUT=1 timeout 1 {PROGRAMS}/psql -h {VIP} -U postgres -qc \
        \"insert into done values ($number)\" 2>/dev/null && \
        echo $number $(date +%s%N) >>{}; done",
        file.display()
    );
    cluster.spawn(CLIENT, &["sh", "-c", &client]).unwrap();
    cluster.wait("a hundred inserts", || acknowledged(&file).len() > 100);

    let (since, since_ns) = (Instant::now(), wall_ns());
    cluster.power_off(&old).unwrap();
    let answered = |after: u128| {
        let all = acknowledged(&file);
        all.into_iter().find(|(_, at)| *at > after).map(|(_, at)| at)
    };
    // An acknowledgement that was on its way may still have come.
    let off_ns = wall_ns();
    cluster.wait_for(PATIENCE, "inserts are acknowledged again", || answered(off_ns).is_some());
    let new = cluster.wait_owner(&watch, Some(&old));
    let took = Duration::from_nanos((answered(off_ns).unwrap() - since_ns).try_into().unwrap());
    println!("{old} to {new}: writes again {took:?} after the power cut");
    assert!(watch.tenures().last().unwrap().first > cluster.switched_off(&old, since).unwrap().at);

    // A while later, with the old primary back, still all is there; nobody else is promoted.
    cluster.wait_formed();
    cluster.stays(Duration::from_secs(3), "the primary stays where it is", || {
        cluster.owner(&watch).as_deref() == Some(&new)
    });
    let all = acknowledged(&file);
    let stored = sql(&cluster, "select number from done").unwrap();
    let stored: BTreeSet<u32> = stored.lines().map(|line| line.parse().unwrap()).collect();
    let lost: Vec<_> = all.iter().filter(|(number, _)| !stored.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let after = all.iter().filter(|(_, at)| *at > off_ns).count();
    println!("{} inserts acknowledged, {after} of them by {new}; all are there", all.len());
    assert_eq!(cluster.owners(&watch), [old, new]);
}
