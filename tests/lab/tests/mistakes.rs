//! Mistakes people make and disks that are full: a clear word on what is wrong, where, and what to
//! do; and nothing is lost. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tests_lab::{Bmc, Cluster, Lab, asked_for};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// Each mistake in `corosync.conf` is refused at the start with the file, the line and a remedy.
#[test]
fn a_wrong_corosync_conf_is_named_with_line_and_remedy() {
    if !asked_for() {
        return;
    }
    let lab = Lab::cluster("conf", 3).command(["sleep", "1000"]).bmc(Bmc::None).build().unwrap();
    lab.power_on("node1").unwrap();
    let good = lab.sh("node1", "cat /etc/corosync/corosync.conf").unwrap();
    let line_of = |text: &str, part: &str| {
        text.lines().position(|line| line.contains(part)).map(|at| at + 1).expect("a line")
    };
    let said = |conf: &str| {
        let script = format!("cat >/etc/corosync/corosync.conf <<'END'\n{conf}END");
        lab.sh("node1", &script).unwrap();
        let output = lab.exec("node1", &["systole", "daemon"], Duration::from_secs(5)).unwrap();
        assert!(!output.success() && output.code().is_some(), "it starts:\n{conf}");
        output.stderr
    };
    // What is replaced, by what, what the error has to name, whether at that line.
    for (old, new, words, at) in [
        ("aes256", "aes999", &["crypto_cipher", "aes256"][..], "aes999"),
        ("nodeid: 2", "nodeid: two", &["nodeid"], "nodeid: two"),
        ("nodeid: 3", "nodeid: 2", &["nodeid"], "ring0_addr: 10.77.0.3"),
        ("version: 2", "version: 7", &["version"], "version: 7"),
        ("    version: 2", "    version 2", &[], "version 2"),
    ] {
        let bad = good.replacen(old, new, 1);
        assert_ne!(good, bad);
        let text = said(&bad);
        let place = |line: usize| text.contains(&format!("/etc/corosync/corosync.conf:{line}:"));
        let line = line_of(&bad, at);
        // What is wrong with a section as a whole is told at its first line.
        assert!((line - 1..=line).any(place), "{new}: not at line {line}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{new}: {text}");
        assert!(text.contains("; "), "no remedy for {new}: {text}");
        println!("{}", text.trim());
    }
    // A node that the file does not know.
    let text = said(&good.replace("node1", "alpha").replace("10.77.0.1\n", "10.77.0.77\n"));
    assert!(text.contains("node1") && text.contains("name"), "{text}");
    println!("{}", text.trim());
    // No file, and no key.
    lab.sh("node1", "rm /etc/corosync/corosync.conf").unwrap();
    let daemon = || lab.exec("node1", &["systole", "daemon"], Duration::from_secs(5)).unwrap();
    let text = daemon().stderr;
    assert!(text.contains("/etc/corosync/corosync.conf") && text.contains("--config"), "{text}");
    println!("{}", text.trim());
    let script = format!("cat >/etc/corosync/corosync.conf <<'END'\n{good}END");
    lab.sh("node1", &format!("{script}\nrm /etc/corosync/authkey")).unwrap();
    let text = daemon().stderr;
    assert!(text.contains("/etc/corosync/authkey") && text.contains("keygen"), "{text}");
    println!("{}", text.trim());
    // Nothing was made that the next start would stumble over.
    lab.sh("node1", "test ! -e /var/lib/pacemaker/cib/cib.xml").unwrap();
}

/// Mistakes in the CIB and agents that are not there: refused or shown, and what runs goes on.
#[test]
fn a_typo_in_the_cib_and_a_missing_agent() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("typo", 3);
    cluster.make_fence_devices();
    cluster.make_vip("vip", VIP, "");
    let watch = cluster.watch(VIP);
    let owner = cluster.wait_owner(&watch, None);
    let before = cluster.must("node2", "cib show resources");

    // A file that is no XML: file, line, column.
    cluster.sh("node1", "systole cib show >/run/good.xml").unwrap();
    cluster.sh("node1", "sed 's|</primitive>|</primitve>|' /run/good.xml >/run/bad.xml").unwrap();
    let text = cluster.must_fail("node1", "cib replace /run/bad.xml");
    println!("{text}");
    assert!(text.contains("/run/bad.xml") && text.contains("line"), "{text}");
    // XML, but no CIB: the element, where it is, what it may be.
    for (typo, words) in [
        ("s|<primitive id=\"vip\"|<primitiv id=\"vip\"|; s|</resources>|</resources>|", "primitiv"),
        ("s|class=\"ocf\"|klass=\"ocf\"|", "klass"),
    ] {
        cluster.sh("node1", &format!("sed '{typo}' /run/good.xml >/run/bad.xml")).unwrap();
        let text = cluster.must_fail("node1", "cib replace /run/bad.xml");
        println!("{text}");
        assert!(text.contains(words), "{text}");
    }
    let text = cluster.must_fail("node1", "resource update vpi ip=10.77.0.101");
    assert!(text.contains("vpi") && text.contains("vip"), "{text}");
    assert_eq!(cluster.must("node3", "cib show resources"), before);

    // An agent that no node has.
    let since = Instant::now();
    let refused = cluster.must_fail("node1", "resource create lost ocf:nobody:Nothing");
    assert!(refused.contains("ocf:nobody:Nothing is not installed"), "{refused}");
    cluster.must("node1", "--force resource create lost ocf:nobody:Nothing");
    cluster.wait("the status tells of the missing agent", || {
        let status = cluster.ok("node2", "status").unwrap_or_default();
        status.contains("ocf:nobody:Nothing is not installed")
    });
    println!("missing agent shown after {:?}", since.elapsed());
    let same = || cluster.owners(&watch).last() == Some(&owner);
    cluster.stays(Duration::from_secs(1), "the address stays", same);
    cluster.must("node1", "resource delete lost");

    // A typo on a disk: the file is set aside under another name, the cluster's CIB is taken over.
    let other = cluster.another(&[&owner]).to_owned();
    cluster.ok(&other, "cluster stop").unwrap();
    cluster.wait("it has left", || {
        cluster.processes(&other).is_ok_and(|all| !all.iter().any(|(_, l)| l.contains("daemon")))
    });
    cluster.power_off(&other).unwrap();
    let path = cluster.disk(&other, Path::new("/var/lib/pacemaker/cib/cib.xml")).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("<configuration", "<configuratoin", 1)).unwrap();
    let seen_from = cluster.another(&[&other]).to_owned();
    cluster.must(&seen_from, "property set cluster-recheck-interval=7min");
    cluster.power_on(&other).unwrap();
    cluster.wait_formed();
    let console = cluster.consoles();
    assert!(console.contains("cib.xml is damaged"), "{console}");
    assert!(console.contains("/var/lib/pacemaker/cib/cib.xml.damaged-1"), "{console}");
    let kept = std::fs::read_to_string(path.with_file_name("cib.xml.damaged-1")).unwrap();
    assert!(kept.contains("<configuratoin"));
    assert!(cluster.must(&other, "property list").contains("cluster-recheck-interval=7min"));
    assert_eq!(cluster.owners(&watch), [owner]);
    assert!(cluster.fenced(since).is_empty());
}

/// A small disk, which outlives the host's power cycles.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&folder);
        assert!(mount.status().unwrap().success());
        Self(folder)
    }

    fn fill(&self) {
        let file = self.0.join("fill");
        let mut length = 1 << 20;
        let mut content = Vec::new();
        while length > 0 {
            content.resize(content.len() + length, b'x');
            if std::fs::write(&file, &content).is_err() {
                content.truncate(content.len() - length);
                length /= 2;
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A node whose disk is full cannot keep what it would have to acknowledge: it leaves in good order,
/// saying why, the others go on, it joins no more before there is room, and then has everything.
#[test]
fn a_full_disk_costs_a_node_and_nothing_else() {
    if !asked_for() {
        return;
    }
    let lab = Cluster::lab("full", 3).build().unwrap();
    let folder = lab.disk("node3", Path::new("/var/lib/pacemaker")).unwrap();
    let disk = SmallDisk::new(folder.clone());
    let cluster = Cluster::start_lab(lab);
    cluster.make_fence_devices();
    cluster.make_vip("vip", VIP, "");
    // The address is on the node whose disk fills up.
    cluster.must("node1", "resource move vip node3");
    cluster.settle();
    let watch = cluster.watch(VIP);
    cluster.wait("node3 has the address", || cluster.owner(&watch).as_deref() == Some("node3"));
    disk.fill();
    let before = std::fs::read(folder.join("cib/cib.xml")).unwrap();

    let since = Instant::now();
    // What fits into the room that the CIB has already would still be kept.
    let long = "x".repeat(100_000);
    cluster.must("node1", &format!("node attribute node1 long={long}"));
    let new = cluster.wait_owner(&watch, Some("node3"));
    println!("taken over after {:?}", since.elapsed());
    assert_eq!(cluster.owners(&watch), ["node3", new.as_str()]);
    cluster.wait("node3 has left", || cluster.consoles().contains("left the cluster"));
    assert!(cluster.fencing_of(&new, "node3").is_empty(), "nobody has to be fenced for that");
    // However often it is started, it does not come back before there is room.
    cluster.power_off("node3").unwrap();
    cluster.power_on("node3").unwrap();
    cluster.wait("node3 says at its start what is wrong", || {
        let console = cluster.consoles();
        console.contains("systole daemon: ") && console.contains("see that the disk has room")
    });
    let lost = || {
        let seen = cluster.json(&new, "cluster status").unwrap();
        let member = seen["nodes"].as_array().unwrap().iter().find(|n| n["name"] == "node3");
        member.unwrap()["member"] == false && cluster.owner(&watch).as_ref() == Some(&new)
    };
    cluster.stays(Duration::from_secs(2), "node3 stays away", lost);
    let console = cluster.consoles();
    assert!(console.contains("No space left"), "{console}");
    assert!(console.contains("/var/lib/pacemaker/cib"), "{console}");
    assert!(console.contains("keeps no change any more and leaves"), "{console}");
    // What was on its disk is there as it was.
    assert_eq!(std::fs::read(folder.join("cib/cib.xml")).unwrap(), before);
    assert!(cluster.must(&new, "node attribute node1").contains(&long));
    cluster.must(&new, "node attribute node1 long=");
    cluster.must(&new, "property set cluster-recheck-interval=8min");

    // There is room again, and the daemon is started again.
    disk.free();
    cluster.power_off("node3").unwrap();
    cluster.power_on("node3").unwrap();
    cluster.wait("node3 is back with what it has missed", || {
        cluster.ok("node3", "property list").is_ok_and(|list| list.contains("=8min"))
    });
    cluster.wait_formed();
    let text = std::fs::read_to_string(folder.join("cib/cib.xml")).unwrap();
    assert!(text.contains("8min"));
}

/// The worst command that there is: what the cluster itself keeps is there again at once, what was
/// configured can be restored, and everything can be stopped.
#[test]
fn an_erased_cib_is_written_again_as_far_as_the_cluster_knows_it() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("erased", 3);
    cluster.make_fence_devices();
    cluster.make_vip("vip", VIP, "");
    let held = || {
        let on = |node: &String| {
            cluster.sh(node, "ip -4 address").unwrap_or_default().contains(&VIP.to_string())
        };
        cluster.nodes().iter().filter(|node| on(node)).count()
    };
    cluster.wait("the address is there", || held() == 1);
    cluster.settle();
    let start = Instant::now();
    let configuration = cluster.sh("node1", "cibadmin --query --scope configuration").unwrap();
    cluster.sh("node2", "cibadmin --erase --force").unwrap();
    cluster.wait("the address is gone, as it is no longer configured", || held() == 0);
    cluster.settle();
    let cib = cluster.sh("node3", "cibadmin --query").unwrap();
    for node in cluster.nodes() {
        let count = cib.matches(&format!("uname=\"{node}\"")).count();
        assert_eq!(count, 2, "{node} and its state: {cib}");
    }
    for part in ["cib-bootstrap-options-dc-version", "#feature-set", "in_ccm=\"true\""] {
        assert!(cib.contains(part), "{part}: {cib}");
    }
    let script = format!("cat >/tmp/c.xml <<'END'\n{configuration}\nEND");
    cluster.sh("node1", &script).unwrap();
    cluster.sh("node1", "cibadmin --replace --scope configuration --xml-file /tmp/c.xml").unwrap();
    cluster.wait("what is restored is started", || held() == 1);
    // Also a cluster whose CIB was just erased is stopped in good order.
    cluster.sh("node2", "cibadmin --erase --force").unwrap();
    for node in cluster.nodes() {
        cluster.ok(node, "cluster stop").unwrap();
        cluster.wait("it has left", || {
            cluster.processes(node).is_ok_and(|all| !all.iter().any(|(_, l)| l.contains("daemon")))
        });
    }
    assert!(cluster.fenced(start).is_empty());
}
