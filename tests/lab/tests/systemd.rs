//! systemd units as resources, on hosts whose process 1 is systemd and which start the cluster
//! daemon by its unit. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests_lab::{Bmc, Cluster, Lab, asked_for};

/// Would be started again by systemd if the cluster let it.
const STEADY: &str = "[Service]\nExecStart=/bin/sleep 1111\nRestart=always\nRestartSec=0\n";
/// Says that it is ready after two seconds.
const SLOW: &str = "[Service]\nType=notify\nNotifyAccess=all\n\
    ExecStart=/bin/sh -c 'sleep 2; systemd-notify --ready; exec sleep 2222'\n";
/// Never is ready.
const STUCK: &str = "[Service]\nType=notify\nTimeoutStartSec=infinity\nExecStart=/bin/sleep 3333\n";
const BROKEN: &str = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 3'\n";
const ONCE: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'sleep 1; touch /run/once'\n";

/// An init script as the Linux Standard Base wants it.
const SCRIPT: &str = "#!/bin/sh\ncase $1 in\nstart) touch /run/old-style ;;\n\
    stop) rm -f /run/old-style ;;\nstatus) test -e /run/old-style || exit 3 ;;\n*) exit 2 ;;\nesac\n";

fn start() -> Cluster {
    let mut lab = Lab::cluster("systemd", 3).bmc(Bmc::IpmiSim).systemd();
    for (name, text) in
        [("steady", STEADY), ("slow", SLOW), ("stuck", STUCK), ("broken", BROKEN), ("once", ONCE)]
    {
        lab = lab.unit(&format!("{name}.service"), text);
    }
    let lab = lab.persistent("/etc/init.d").content("/etc/init.d/old-style", SCRIPT);
    let cluster = Cluster::start_lab(lab.build().expect("a lab (root, openipmi, systemd, dbus)"));
    for node in cluster.nodes() {
        cluster.sh(node, "chmod 755 /etc/init.d/old-style").unwrap();
    }
    cluster
}

/// What the status says about a resource.
fn resource(cluster: &Cluster, id: &str) -> Value {
    let status = cluster.json("node1", "status").unwrap();
    let all = status["resources"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|resource| resource["id"] == id).unwrap_or_default()
}

fn node_of(cluster: &Cluster, id: &str) -> Option<String> {
    let found = resource(cluster, id);
    let [node] = &found["nodes"].as_array()?[..] else { return None };
    let notes = found["notes"].as_array()?;
    let is_up = found["state"] == "Started" && notes.is_empty();
    is_up.then(|| node.as_str().map(str::to_owned))?
}

fn wait_started(cluster: &Cluster, id: &str) -> String {
    let mut node = None;
    cluster.wait(&format!("{id} runs"), || {
        node = node_of(cluster, id);
        node.is_some()
    });
    node.unwrap()
}

/// Reasons of the failures of an operation, such as `steady_monitor_10000`.
fn reasons(cluster: &Cluster, operation: &str) -> Vec<String> {
    let status = cluster.json("node1", "status").unwrap();
    let all = status["failures"].as_array().cloned().unwrap_or_default();
    let mine = all.iter().filter(|failure| failure["operation"] == operation);
    mine.map(|failure| failure["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

fn wait_reason(cluster: &Cluster, operation: &str, part: &str) {
    cluster.wait(&format!("{operation} failed: {part}"), || {
        reasons(cluster, operation).iter().any(|reason| reason.contains(part))
    });
}

/// What systemd says about a unit, on each node.
fn states(cluster: &Cluster, unit: &str) -> Vec<String> {
    let ask = format!("systemctl is-active {unit} || true");
    let nodes = cluster.nodes().iter();
    nodes.map(|node| cluster.sh(node, &ask).unwrap().trim().to_owned()).collect()
}

fn active_on(cluster: &Cluster, unit: &str) -> Vec<String> {
    let states = states(cluster, unit);
    let nodes = cluster.nodes().iter().zip(states).filter(|(_, state)| state == "active");
    nodes.map(|(node, _)| node.clone()).collect()
}

#[test]
fn units_are_started_watched_moved_and_stopped() {
    if !asked_for() {
        return;
    }
    let cluster = start();
    cluster.make_fence_devices();
    for node in cluster.nodes() {
        assert_eq!(cluster.sh(node, "cat /proc/1/comm").unwrap(), "systemd\n");
        assert_eq!(cluster.sh(node, "systemctl is-active systole").unwrap(), "active\n");
    }

    // A long interval: that the unit died is to be seen before its monitor is due.
    cluster.must("node1", "resource create steady systemd:steady op monitor interval=300s");
    let first = wait_started(&cluster, "steady");
    assert_eq!(active_on(&cluster, "steady"), [first.as_str()]);
    cluster.settle();

    let since = Instant::now();
    assert_eq!(cluster.signal(&first, "sleep 1111", Signal::SIGKILL).unwrap(), 1);
    wait_reason(&cluster, "steady_monitor_300000", "");
    cluster.wait("it was started again", || active_on(&cluster, "steady") == [first.as_str()]);
    println!("unit killed: started again after {:?}", since.elapsed());
    // By the cluster and not by systemd, although the unit says so.
    let restarts = cluster.sh(&first, "systemctl show --property NRestarts steady").unwrap();
    assert_eq!(restarts, "NRestarts=0\n");
    cluster.settle();
    cluster.must("node1", "resource cleanup steady");

    // Moved: never active twice, and an ordinary unit again where it was.
    cluster.settle();
    cluster.must("node1", &format!("node standby {first}"));
    cluster.wait("it runs elsewhere", || {
        let active = active_on(&cluster, "steady");
        assert!(active.len() <= 1, "{active:?}");
        active.iter().any(|node| *node != first)
    });
    let overrides = "ls /run/systemd/system/steady.service.d 2>/dev/null || true";
    assert_eq!(cluster.sh(&first, overrides).unwrap(), "");
    cluster.must("node1", &format!("node unstandby {first}"));

    // Taken over when the node dies.
    cluster.settle();
    let second = wait_started(&cluster, "steady");
    cluster.power_off(&second).unwrap();
    let survivor = cluster.another(&[&second]).to_owned();
    cluster.wait("it runs on a survivor", || {
        let others = cluster.nodes().iter().filter(|node| **node != second);
        let ask = |node: &String| cluster.sh(node, "systemctl is-active steady").is_ok();
        others.filter(|node| ask(node)).count() == 1
    });
    assert!(cluster.fencing_of(&survivor, &second).iter().any(|entry| entry.state == "done"));
    cluster.wait_formed();

    cluster.must("node1", "resource disable steady");
    cluster.wait("it is stopped", || active_on(&cluster, "steady").is_empty());
    cluster.settle();
    assert_eq!(resource(&cluster, "steady")["state"], "Stopped");
}

#[test]
fn slow_units_are_waited_for() {
    if !asked_for() {
        return;
    }
    let cluster = start();
    cluster.must("node1", "property set stonith-enabled=false");
    for id in ["slow", "once"] {
        let begun = Instant::now();
        cluster.must("node1", &format!("resource create {id} systemd:{id}"));
        let node = wait_started(&cluster, id);
        assert_eq!(active_on(&cluster, id), [node.as_str()]);
        assert!(begun.elapsed() > Duration::from_secs(1), "{id}: {:?}", begun.elapsed());
        assert_eq!(reasons(&cluster, &format!("{id}_start_0")), [""; 0]);
    }

    // The operation's time-out ends the wait, and the stop what systemd still waits for.
    cluster.must("node1", "resource create stuck systemd:stuck op start timeout=3s");
    wait_reason(&cluster, "stuck_start_0", "did not complete within 3000 ms");
    cluster.wait("nothing is left of it", || {
        states(&cluster, "stuck").iter().all(|state| state == "inactive" || state == "failed")
            && resource(&cluster, "stuck")["state"] == "Stopped"
    });
}

#[test]
fn units_that_cannot_run_are_named_with_the_reason() {
    if !asked_for() {
        return;
    }
    let cluster = start();
    cluster.must("node1", "property set stonith-enabled=false");
    cluster.must("node1", "resource create broken systemd:broken");
    wait_reason(&cluster, "broken_start_0", "broken.service did not start (job failed, exit-code)");
    wait_reason(&cluster, "broken_start_0", "journalctl -u broken.service");

    cluster.must("node1", "resource create absent systemd:absent --force");
    wait_reason(&cluster, "absent_monitor_0", "there is no systemd unit absent.service");
    cluster.settle();
    assert_eq!(resource(&cluster, "absent")["state"], "Stopped");

    // The class `service` is that of the first kind there is: an init script, else a unit.
    cluster.must("node1", "resource create script service:old-style");
    cluster.must("node1", "resource create unit service:steady");
    let node = wait_started(&cluster, "script");
    cluster.sh(&node, "test -e /run/old-style").unwrap();
    let node = wait_started(&cluster, "unit");
    assert_eq!(active_on(&cluster, "steady"), [node.as_str()]);
    cluster.must("node1", "resource disable script");
    cluster.wait("the script stopped it", || {
        cluster.nodes().iter().all(|node| cluster.sh(node, "test ! -e /run/old-style").is_ok())
    });
}

/// `systole cluster` and `systole cib` as an operator uses them.
#[test]
fn the_operator_has_the_cluster_and_its_configuration_in_hand() {
    if !asked_for() {
        return;
    }
    let cluster = start();
    cluster.must("node1", "property set stonith-enabled=false");
    the_files_of_a_cluster(&cluster);
    the_cib_as_a_whole(&cluster);

    // The daemon's service.
    let text = cluster.must_fail("node2", "cluster stop --all");
    assert!(text.contains("run this on each"), "{text}");
    cluster.must("node2", "cluster stop");
    cluster.wait("the daemon has left", || {
        cluster.sh("node2", "systemctl is-active systole").is_err()
            && cluster.json("node1", "cluster status").unwrap()["nodes"][1]["member"] == false
    });
    let text = cluster.must_fail("node2", "cluster status");
    assert!(text.contains("start it with"), "{text}");
    cluster.must("node2", "cluster start");
    cluster.wait_formed();
    cluster.must("node2", "cluster enable");
    cluster.sh("node2", "systemctl is-enabled systole").unwrap();
    cluster.must("node2", "cluster disable");
    assert!(cluster.sh("node2", "systemctl is-enabled systole").is_err());
}

fn the_files_of_a_cluster(cluster: &Cluster) {
    let shown = cluster.json("node1", "cluster config show").unwrap();
    assert_eq!((&shown["cluster"], &shown["encrypted"]), (&"lab".into(), &true.into()));
    assert_eq!(shown["nodes"][2]["addresses"][0], "10.77.0.3");
    assert_eq!(cluster.json("node1", "cluster config validate").unwrap()["valid"], true);

    // A new one is written where there is none, and only what is valid.
    let conf = "--config /run/new/corosync.conf";
    let nodes = "one=10.0.0.1 two=10.0.0.2";
    let text = cluster.must("node1", &format!("cluster setup other {nodes} {conf}"));
    assert!(text.contains("systole keygen --out /run/new/authkey"), "{text}");
    assert!(
        text.contains("scp -p /run/new/corosync.conf /run/new/authkey two:/run/new/"),
        "{text}"
    );
    let text = cluster.must_fail("node1", &format!("cluster setup other {nodes} {conf}"));
    assert!(text.contains("--force"), "{text}");
    cluster.must_fail(
        "node1",
        &format!("cluster setup other one=10.0.0.1 one=10.0.0.2 --force {conf}"),
    );
    let two_node = || cluster.json("node1", &format!("cluster config show {conf}")).unwrap();
    assert_eq!(two_node()["two_node"], true);
    cluster.must("node1", &format!("cluster node add three=10.0.0.3 {conf}"));
    assert_eq!(
        (&two_node()["two_node"], &two_node()["nodes"][2]["id"]),
        (&false.into(), &3.into())
    );
    cluster.must("node1", &format!("cluster node remove one {conf}"));
    assert_eq!(two_node()["two_node"], true);
    assert_eq!(two_node()["nodes"][0]["name"], "two");
    let text = cluster.must_fail("node1", &format!("cluster sync {conf}"));
    assert!(text.contains("does not log in to other nodes"), "{text}");
    cluster.sh("node1", "sed -i 's/version: 2/version: 9/' /run/new/corosync.conf").unwrap();
    let text = cluster.must_fail("node1", &format!("cluster config validate {conf}"));
    assert!(text.contains("/run/new/corosync.conf:2: totem.version"), "{text}");
}

fn the_cib_as_a_whole(cluster: &Cluster) {
    let dummy = |id: &str| format!("resource create {id} ocf:systole:dummy state=/run/{id}.state");
    cluster.must("node1", &dummy("one"));
    let text = cluster.must("node2", "cib show --xpath //primitive[@id='one']");
    assert!(text.starts_with("<primitive id=\"one\""), "{text}");
    let shown = cluster.json("node2", "cib show resources").unwrap();
    assert_eq!(shown["children"][0]["attributes"]["id"], "one");
    let shown = cluster.json("node2", "resource show one").unwrap();
    assert_eq!(shown["attributes"]["type"], "dummy");
    let text = cluster.must_fail("node2", "property set stonith-enabeld=true");
    assert!(text.contains("no option 'stonith-enabeld'"), "{text}");
    for query in ["resource list", "constraint list", "stonith list", "node list", "property list"]
    {
        assert!(cluster.json("node2", query).unwrap().is_array(), "{query}");
    }
    let text = cluster.must_fail("node2", "cib show resorces");
    assert!(text.contains("resources, constraints"), "{text}");
    let text = cluster.must_fail("node2", "cib show --xpath //nothing");
    assert!(text.contains("nothing in the CIB is found"), "{text}");

    // Two people change it at the same time, and neither loses anything.
    let script = "systole cib show >/run/base.xml\n\
        sed 's|one.state|other.state|' /run/base.xml >/run/mine.xml\n\
        systole cib diff /run/base.xml /run/mine.xml | grep -q change";
    cluster.sh("node1", script).unwrap();
    cluster.must("node2", &dummy("two"));
    cluster.must("node1", "cib push /run/mine.xml --base /run/base.xml");
    let both = cluster.must("node2", "cib show resources");
    assert!(both.contains("other.state") && both.contains("two.state"), "{both}");
    // What cannot be brought in is refused as a whole.
    cluster.must("node2", "resource delete one");
    let before = cluster.must("node1", "cib show resources");
    let text = cluster.must_fail("node1", "cib push /run/base.xml --base /run/mine.xml");
    assert!(text.contains("do not fit the cluster's CIB"), "{text}");
    assert_eq!(cluster.must("node1", "cib show resources"), before);

    let edit = "EDITOR='sed -i s|two.state|edited.state|' systole cib edit";
    cluster.sh("node1", edit).unwrap();
    assert!(cluster.must("node2", "cib show resources").contains("edited.state"));
    let output = cluster.sh("node1", "EDITOR=false systole cib edit").unwrap_err().to_string();
    assert!(output.contains("nothing is changed"), "{output}");
    cluster.sh("node1", "rm /tmp/systole-cib-*.xml").unwrap();

    // A mistake that no grammar finds.
    assert_eq!(cluster.must("node1", "cluster verify"), "The configuration is valid.\n");
    cluster
        .sh("node1", "systole cib show | sed 's|class=\"ocf\"|klass=\"ocf\"|' >/run/bad.xml")
        .unwrap();
    let text = cluster.must_fail("node1", "cluster verify /run/bad.xml");
    assert!(text.contains("not valid"), "{text}");
}
