//! A container behind an address, failed over with it. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`, as root); needs podman, runc and busybox-static.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tests_lab::{Bmc, Cluster, Lab, asked_for};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const PORT: u16 = 8080;
/// Containers take a while on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Where each host keeps images and containers.
const STORAGE: &str = "/var/lib/containers";

/// Podman as it works without systemd and without the right to raise limits.
const CONTAINERS_CONF: &str = "[containers]\n\
    default_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n\
    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";

/// A web server that says on which host its image was made, from nothing but busybox.
const MAKE_IMAGE: &str = "set -e; d=$(mktemp -d); mkdir $d/bin $d/www; cp /bin/busybox $d/bin/\n\
    for n in sh httpd; do ln -s busybox $d/bin/$n; done\n\
    hostname >$d/www/index.html\n\
    tar -C $d -c . | podman import - web:1; rm -r $d";

fn lab(folder: &Path) -> Lab {
    let wrapper = folder.join("podman");
    let script = format!(
        "#!/bin/sh\nCONTAINERS_CONF={STORAGE}/containers.conf exec /usr/bin/podman \
         --root {STORAGE}/storage --runroot /run/pod --tmpdir /run/libpod --storage-driver vfs \
         \"$@\"\n"
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Like a real host it takes a moment to boot: others start the container before it is back.
    let boot = ["sh", "-c", "sleep 2; exec systole daemon"];
    let builder =
        Lab::cluster("container", 3).command(boot).bmc(Bmc::IpmiSim).tool("podman", wrapper);
    let builder = builder.persistent(STORAGE);
    builder.content(format!("{STORAGE}/containers.conf"), CONTAINERS_CONF).build().unwrap()
}

/// The containers' empty control groups are all that would be left on the machine.
struct Groups(Vec<String>);

impl Groups {
    fn note(&mut self, cluster: &Cluster) {
        for node in cluster.nodes() {
            let ids = cluster.sh(node, "podman ps -aq --no-trunc").unwrap_or_default();
            self.0.extend(ids.lines().map(str::to_owned));
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let parent = controller.path().join("libpod_parent");
            for id in &self.0 {
                let _ = std::fs::remove_dir(parent.join(format!("libpod-{id}")));
                let _ = std::fs::remove_dir(parent.join(format!("libpod-conmon-{id}")));
            }
        }
    }
}

#[test]
fn a_container_is_failed_over_with_its_address() {
    if !asked_for() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Removed after the hosts are gone.
    let mut groups = Groups(Vec::new());
    let cluster = Cluster::start_lab(lab(folder.path()));
    for node in cluster.nodes() {
        cluster.sh(node, MAKE_IMAGE).unwrap();
    }
    cluster.make_fence_devices();
    let node = &cluster.nodes()[0];
    cluster.must(
        node,
        &format!(
            "resource create vip ocf:systole:vip ip={VIP} cidr_netmask=24 op monitor interval=2s \
             --group site"
        ),
    );
    let port = format!("port={PORT}:80");
    let create = [
        &["resource", "create", "web", "ocf:systole:container", "image=web:1", "runtime=podman"][..],
        &["run_cmd=httpd -f -p 80 -h /www", &port, "stop_timeout=1"],
        &["op", "monitor", "interval=5s", "op", "start", "timeout=90s", "--group", "site"],
    ];
    cluster.ok_words(node, &create.concat()).unwrap();

    let answers = cluster.watch_http(SocketAddr::from((VIP, PORT)));
    let mut old = String::new();
    cluster.wait_for(PATIENCE, "the container answers", || {
        old = answers.answers().pop().map(|answers| answers.by).unwrap_or_default();
        !old.is_empty()
    });
    groups.note(&cluster);

    let since = Instant::now();
    cluster.power_off(&old).unwrap();
    cluster.wait_for(PATIENCE, "the container answers from another host", || {
        answers.answered_after(since).is_some_and(|by| by != old)
    });
    let tenures = answers.answers();
    let [before, after] = &tenures[..] else { panic!("two hosts answer, not {tenures:?}") };
    let off = cluster.switched_off(&old, since).unwrap();
    assert!(before.by == old && after.first > off.at, "{tenures:?}");
    println!("{old} to {}: answers {:?} after the power cut", after.by, after.last - since);
    let history = cluster.fencing_of(&after.by, &old);
    assert!(history.iter().any(|entry| entry.state == "done"), "{history:?}");

    // The host comes back with a dead container on its disk; the live one stays where it is.
    cluster.wait_formed();
    let new = after.by.clone();
    let one = || answers.answers().pop().is_some_and(|answers| answers.by == new);
    cluster.stays(Duration::from_secs(2), "it stays where it is", one);
    let running = |node: &str| cluster.sh(node, "podman ps --format '{{.Names}}'").unwrap();
    for node in cluster.nodes() {
        assert_eq!(running(node).trim(), if *node == new { "web" } else { "" }, "{node}");
    }
    groups.note(&cluster);

    // And it moves back there, which replaces the dead one.
    let since = Instant::now();
    for node in cluster.nodes().iter().filter(|node| **node != old) {
        cluster.must(node, &format!("node standby {node}"));
    }
    cluster.wait_for(PATIENCE, "the container answers from the first host again", || {
        answers.answered_after(since).is_some_and(|by| by == old)
    });
    assert_eq!(running(&old).trim(), "web");
    assert_eq!(running(&new).trim(), "");
    groups.note(&cluster);
}
