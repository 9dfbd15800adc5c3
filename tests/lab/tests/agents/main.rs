//! Debian's resource agents, unmodified and with their real software, through the life that a
//! cluster gives them: started, monitored, broken from outside and recovered, moved, stopped,
//! deleted. All at once on two nodes. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use table::{AGENTS, Agent, HOME, Kind};
use tests_lab::{Bmc, Cluster, Lab, asked_for};

/// Everything at once takes a while on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);
const STORAGE: &str = "/var/lib/containers";
/// Folders of which the software needs one for each host.
const FOLDERS: &[&str] = &[
    HOME,
    STORAGE,
    "/etc/bind",
    "/etc/xinetd.d",
    "/var/lib/nginx",
    "/var/lib/rabbitmq",
    "/var/log/nginx",
    "/var/log/rabbitmq",
];

/// Podman as it works without systemd and without the right to raise limits.
const CONTAINERS_CONF: &str = "[containers]\n\
    default_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n\
    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";

fn start(folder: &Path) -> Cluster {
    let wrapper = folder.join("podman");
    let script = format!(
        "#!/bin/sh\nCONTAINERS_CONF={STORAGE}/containers.conf exec /usr/bin/podman \
         --root {STORAGE}/storage --runroot /run/pod --tmpdir /run/libpod --storage-driver vfs \
         \"$@\"\n"
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut lab = Lab::cluster("agents", 2).bmc(Bmc::IpmiSim).tool("podman", wrapper);
    for folder in FOLDERS {
        lab = lab.persistent(*folder);
    }
    let lab = lab.content(format!("{STORAGE}/containers.conf"), CONTAINERS_CONF);
    let lab = lab.env("HA_LOGFILE", "/var/log/pacemaker/agents.log");
    Cluster::start_lab(lab.build().expect("a lab (root, openipmi)"))
}

/// The containers' empty control groups are all that would be left on the machine.
struct Groups<'a> {
    lab: &'a str,
    ids: BTreeSet<String>,
}

impl Groups<'_> {
    fn note(&mut self, cluster: &Cluster) {
        for (node, engine) in cluster.nodes().iter().flat_map(|n| [(n, "podman"), (n, "docker")]) {
            let ids = cluster.sh(node, &format!("{engine} ps -aq --no-trunc")).unwrap_or_default();
            self.ids.extend(ids.lines().map(str::to_owned));
        }
    }
}

impl Drop for Groups<'_> {
    fn drop(&mut self) {
        for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let podman = controller.path().join("libpod_parent");
            let docker = controller.path().join(self.lab);
            for id in &self.ids {
                let _ = std::fs::remove_dir(podman.join(format!("libpod-{id}")));
                let _ = std::fs::remove_dir(podman.join(format!("libpod-conmon-{id}")));
                let _ = std::fs::remove_dir(docker.join(id));
            }
            let _ = std::fs::remove_dir(docker);
        }
    }
}

/// All agents on their way through life.
struct Test<'a> {
    cluster: &'a Cluster,
    agents: Vec<&'a Agent>,
    /// For messages: when it began.
    began: Instant,
}

impl Test<'_> {
    fn on(&self, node: &str, script: &str) -> bool {
        self.cluster.sh(node, script).is_ok()
    }

    /// Nodes on which the software says that it is there.
    fn places(&self, agent: &Agent) -> Vec<&str> {
        let nodes = self.cluster.nodes().iter().map(String::as_str);
        nodes.filter(|node| self.on(node, agent.is_here)).collect()
    }

    /// Waits until the condition holds for each agent.
    #[track_caller]
    fn all(&self, what: &str, mut holds: impl FnMut(&Agent) -> bool) {
        let mut left: Vec<&Agent> = self.agents.clone();
        let deadline = Instant::now() + PATIENCE;
        while !left.is_empty() && Instant::now() < deadline {
            left.retain(|agent| !holds(agent));
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("{:>5.1} s: {what}", self.began.elapsed().as_secs_f64());
        let names: Vec<_> = left.iter().map(|agent| agent.id).collect();
        let status = || self.cluster.ok("node1", "status").unwrap_or_default();
        assert!(left.is_empty(), "not {what}: {names:?}\n{}", status());
    }

    /// Waits until each agent is in as many places as it should be; one of them for each.
    #[track_caller]
    fn all_are_up(&self, what: &str) -> BTreeMap<&'static str, String> {
        let mut homes = BTreeMap::new();
        self.all(what, |agent| {
            let places = self.places(agent);
            let are_all = places.len() == if agent.kind == Kind::Clone { 2 } else { 1 };
            if are_all {
                homes.insert(agent.id, places[0].to_owned());
            }
            are_all
        });
        self.cluster.settle();
        homes
    }
}

/// The id under which a resource is configured.
fn outer(agent: &Agent) -> String {
    match agent.kind {
        Kind::Single => agent.id.into(),
        Kind::Clone | Kind::Promotable => format!("{}-clone", agent.id),
    }
}

fn create(cluster: &Cluster, agent: &Agent, shared: &str) {
    let parameters = agent.parameters.replace("{shared}", shared);
    let mut words = vec!["resource", "create", agent.id, agent.agent];
    words.extend(parameters.lines());
    let long = ["op", "start", "timeout=120s", "op", "stop", "timeout=120s"];
    words.extend(long);
    let promoted = ["op", "monitor", "interval=7s", "role=Promoted", "timeout=60s"];
    words.extend(["op", "monitor", "interval=8s", "timeout=60s"]);
    match agent.kind {
        Kind::Single => {}
        Kind::Clone => words.push("--clone"),
        Kind::Promotable => {
            words.extend(promoted);
            words.push("--promotable");
        }
    }
    cluster.ok_words("node1", &words).unwrap();
    // Not every agent that is spread wants to be told.
    if ["redis", "rabbitmq"].contains(&agent.id) {
        cluster.must("node1", &format!("resource meta {} notify=true", outer(agent)));
    }
}

/// Operations that failed, by resource.
fn failed(cluster: &Cluster) -> BTreeSet<String> {
    let status = cluster.json("node1", "status").unwrap_or_default();
    let all = status["failures"].as_array().cloned().unwrap_or_default();
    let key = |failure: &Value| failure["operation"].as_str().unwrap_or_default().to_owned();
    let resource = |key: String| key.rsplitn(3, '_').nth(2).map(str::to_owned);
    all.iter().map(key).filter_map(resource).collect()
}

#[test]
fn debians_agents_live_through_everything() {
    if !asked_for() {
        return;
    }
    let began = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let cluster = start(folder.path());
    let shared = folder.path().to_str().unwrap();
    let lab = folder.path().file_name().unwrap().to_str().unwrap();
    let mut groups = Groups { lab, ids: BTreeSet::new() };
    let disk = "truncate -s 16M disk.img && mke2fs -q -t ext4 -d disk disk.img";
    std::fs::create_dir(folder.path().join("disk")).unwrap();
    std::fs::write(folder.path().join("disk/mark"), "here").unwrap();
    cluster.sh("node1", &format!("cd {shared} && {disk}")).unwrap();
    let agents: Vec<&Agent> = AGENTS.iter().collect();
    std::thread::scope(|scope| {
        for agent in agents.iter().filter(|agent| !agent.prepare.is_empty()) {
            for node in cluster.nodes() {
                let script = format!("set -e\n{}", agent.prepare.replace("{lab}", lab));
                let cluster = &cluster;
                scope.spawn(move || {
                    let output = cluster.exec(node, &["sh", "-c", &script], PATIENCE).unwrap();
                    assert!(output.success(), "{} on {node}: {}", agent.id, output.stderr);
                });
            }
        }
    });
    let test = Test { cluster: &cluster, agents, began };
    println!("{:>5.1} s: prepared", began.elapsed().as_secs_f64());
    cluster.make_fence_devices();

    test.agents.iter().for_each(|agent| create(&cluster, agent, shared));
    let homes = test.all_are_up("started");
    groups.note(&cluster);
    assert_eq!(failed(&cluster), BTreeSet::new());

    for agent in &test.agents {
        cluster.sh(&homes[agent.id], agent.break_it).unwrap();
    }
    let mut seen = BTreeSet::new();
    test.all("seen to fail", |agent| {
        if !seen.contains(agent.id) {
            seen = failed(&cluster);
        }
        seen.contains(agent.id)
    });
    let homes = test.all_are_up("recovered");
    groups.note(&cluster);
    test.agents.iter().for_each(|agent| {
        cluster.must("node1", &format!("resource cleanup {}", agent.id));
    });
    cluster.settle();
    assert_eq!(failed(&cluster), BTreeSet::new());

    for agent in &test.agents {
        let (id, old) = (outer(agent), &homes[agent.id]);
        let role = if agent.kind == Kind::Promotable { "--promoted" } else { "" };
        cluster.sh("node1", &format!("crm_resource --ban -r {id} -N {old} {role}")).unwrap();
    }
    test.all("moved", |agent| matches!(&test.places(agent)[..], [new] if *new != homes[agent.id]));
    cluster.settle();
    groups.note(&cluster);
    for agent in &test.agents {
        cluster.must("node1", &format!("resource clear {}", outer(agent)));
        cluster.must("node1", &format!("resource disable {}", outer(agent)));
    }
    test.all("stopped", |agent| test.places(agent).is_empty());
    cluster.settle();
    assert_eq!(failed(&cluster), BTreeSet::new());
    for agent in &test.agents {
        cluster.must("node1", &format!("resource delete {}", outer(agent)));
    }
    cluster.settle();
    let left = cluster.must("node1", "resource list");
    test.all("deleted", |agent| !left.contains(agent.id));
    assert!(cluster.fenced(began).is_empty());
}
