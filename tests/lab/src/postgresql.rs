//! PostgreSQL with Debian's unmodified agent in synchronous streaming replication, an address on
//! the primary, and a client that inserts through it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use crate::operate::Cluster;
use crate::{Bmc, CLIENT, Lab};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// The agent looks at all locations a few times before it lets anybody be promoted.
const PATIENCE: Duration = Duration::from_secs(90);
/// Where PostgreSQL's programs are.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const HOME: &str = "/var/lib/postgresql";
const DATA: &str = "/var/lib/postgresql/data";

/// Makes a database on the first host.
fn initialise(cluster: &Cluster) -> anyhow::Result<()> {
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
    cluster.sh(node, &script)?;
    // The others start as copies: a server that was shut down is all in its folder.
    let from = cluster.disk(node, Path::new(HOME))?;
    for node in &cluster.nodes()[1..] {
        let to = cluster.disk(node, Path::new(HOME))?;
        let copied = std::process::Command::new("cp").arg("-aT").arg(&from).arg(&to).status();
        ensure!(copied?.success(), "cannot copy {}", from.display());
    }
    Ok(())
}

/// The database as a promotable clone, and the address on the promoted one.
fn configure(cluster: &Cluster) -> anyhow::Result<()> {
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
        cluster.sh(node, &script)
    };
    create("resources", &clone)?;
    cluster.must(
        node,
        &format!(
            "resource create vip ocf:systole:vip ip={VIP} cidr_netmask=24 op monitor interval=2s"
        ),
    );
    create("constraints", colocation)?;
    create("constraints", order)?;
    Ok(())
}

/// Milliseconds since the epoch.
fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A cluster of three with the database. Its methods panic with consoles when something takes too
/// long.
pub struct Postgresql {
    /// The cluster.
    pub cluster: Cluster,
    /// What the client's inserts left.
    file: PathBuf,
    _folder: tempfile::TempDir,
}

/// An insert that the database acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert {
    /// Its number.
    pub number: u32,
    /// When the acknowledgement was there, in milliseconds since the epoch.
    pub at_ms: u64,
}

/// What a power cut of the primary led to.
#[derive(Debug)]
pub struct Failover {
    /// The primary that lost its power.
    pub old: String,
    /// The primary after it.
    pub new: String,
    /// From the power cut to the first acknowledged insert after it.
    pub took: Duration,
    /// When the power was off, in milliseconds since the epoch.
    pub off_ms: u64,
}

impl Postgresql {
    /// Makes the cluster, the database, and starts the client's inserts.
    pub fn start() -> anyhow::Result<Self> {
        // Like a real host it takes a moment to boot.
        let boot = ["sh", "-c", "sleep 2; exec systole daemon"];
        let lab = Lab::cluster("pgsql", 3).command(boot).bmc(Bmc::IpmiSim).persistent(HOME);
        let lab = lab.env("HA_LOGFILE", "/var/log/pacemaker/agents.log").build()?;
        let cluster = Cluster::start_lab(lab);
        initialise(&cluster)?;
        cluster.make_fence_devices();
        configure(&cluster)?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("acknowledged");
        let database = Self { cluster, file, _folder: folder };
        database.wait_until_synchronous();
        // One insert after the other, each with a connection of its own.
        let client = format!(
            "number=0; while :; do number=$((number + 1))
            PGCONNECT_TIMEOUT=1 timeout 1 {PROGRAMS}/psql -h {VIP} -U postgres -qc \
            \"insert into done values ($number)\" 2>/dev/null && \
            echo $number $(date +%s%3N) >>{}; done",
            database.file.display()
        );
        database.cluster.spawn(CLIENT, &["sh", "-c", &client])?;
        database.cluster.wait("a hundred inserts", || database.inserts().len() > 100);
        Ok(database)
    }

    /// Until a standby is synchronous in the agent's eyes, nobody but the primary may be promoted.
    fn wait_until_synchronous(&self) {
        self.cluster.wait_for(PATIENCE, "a primary and two standbys, one synchronous", || {
            let all: Vec<_> = self.cluster.nodes().iter().map(|n| self.status_of(n)).collect();
            ["PRI", "HS:sync", "HS:async"].iter().all(|status| all.iter().any(|s| s == status))
        });
    }

    /// What the agent on the primary holds a node for: `PRI`, `HS:sync`, `HS:async`...
    fn status_of(&self, node: &str) -> String {
        let query = format!("crm_attribute -l reboot -N {node} -n pgsql-status -G -q");
        let seen_from = &self.cluster.nodes()[0];
        self.cluster.sh(seen_from, &query).unwrap_or_default().trim().to_owned()
    }

    /// Cuts the primary's power and waits until inserts are acknowledged again.
    pub fn cut_power_of_primary(&self) -> anyhow::Result<Failover> {
        let watch = self.cluster.watch(VIP);
        let old = self.cluster.wait_owner(&watch, None);
        let (since, since_ms) = (Instant::now(), wall_ms());
        self.cluster.power_off(&old)?;
        // An acknowledgement that was on its way may still have come.
        let off_ms = wall_ms();
        let first = || self.inserts().into_iter().find(|insert| insert.at_ms > off_ms);
        self.cluster.wait_for(PATIENCE, "inserts are acknowledged again", || first().is_some());
        let took = Duration::from_millis(first().context("an insert")?.at_ms - since_ms);
        let new = self.cluster.wait_owner(&watch, Some(&old));
        let tenures = watch.tenures();
        let off = self.cluster.switched_off(&old, since).context("it was switched off")?;
        ensure!(tenures.last().is_some_and(|t| t.first > off.at), "two owners: {tenures:?}");
        Ok(Failover { old, new, took, off_ms })
    }

    /// Checks for a while that the address stays on a node.
    pub fn stays(&self, node: &str) {
        let watch = self.cluster.watch(VIP);
        self.cluster.wait_owner(&watch, None);
        self.cluster.stays(Duration::from_secs(3), "the primary stays where it is", || {
            self.cluster.owner(&watch).as_deref() == Some(node)
        });
    }

    /// Inserts acknowledged so far.
    pub fn inserts(&self) -> Vec<Insert> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let insert = |line: &str| {
            let (number, at) = line.split_once(' ')?;
            Some(Insert { number: number.parse().ok()?, at_ms: at.parse().ok()? })
        };
        text.lines().filter_map(insert).collect()
    }

    /// Numbers that are stored, as the primary says.
    pub fn stored(&self) -> anyhow::Result<Vec<u32>> {
        let script = format!(
            "PGCONNECT_TIMEOUT=2 {PROGRAMS}/psql -h {VIP} -U postgres -Atqc \
             'select number from done'"
        );
        let text = self.cluster.sh(CLIENT, &script)?;
        text.lines().map(|line| line.parse().context("a number")).collect()
    }
}
