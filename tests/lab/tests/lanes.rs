//! What is slow holds up nothing else, and what can be reloaded is not restarted. Runs only in the
//! end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tests_lab::{Cluster, asked_for};

/// Every action of the slow resource takes this long, its probes and its start among them.
const SLOW: Duration = Duration::from_secs(30);

/// Where a resource that is a file runs.
fn holders(cluster: &Cluster, file: &str) -> Vec<String> {
    let has = |node: &&String| cluster.sh(node, &format!("test -e {file}")).is_ok();
    cluster.nodes().iter().filter(has).cloned().collect()
}

#[test]
fn a_slow_start_does_not_delay_the_recovery_of_another_resource() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("lanes", 3);
    cluster.make_fence_devices();
    cluster.must(
        "node1",
        "resource create quick ocf:systole:dummy state=/run/quick op monitor interval=500ms",
    );
    cluster.wait("it runs", || holders(&cluster, "/run/quick").len() == 1);
    cluster.settle();
    let home = holders(&cluster, "/run/quick").remove(0);
    let others: Vec<&String> = cluster.nodes().iter().filter(|n| **n != home).collect();
    let (seen_from, seconds) = (others[0].as_str(), SLOW.as_secs());
    let began = Instant::now();
    cluster.must(
        seen_from,
        &format!(
            "resource create slow ocf:systole:dummy state=/run/slow op_sleep={seconds} \
             op monitor interval=10min timeout=2min op start interval=0 timeout=2min \
             op stop interval=0 timeout=2min"
        ),
    );
    std::thread::sleep(Duration::from_secs(2));

    // While its probes run, the other one dies.
    let died = Instant::now();
    cluster.sh(&home, "rm /run/quick").unwrap();
    cluster.wait("it is restarted", || !holders(&cluster, "/run/quick").is_empty());
    println!("restarted after {:?}", died.elapsed());
    assert!(died.elapsed() < Duration::from_secs(10), "{:?}", died.elapsed());
    assert!(began.elapsed() < SLOW, "the slow one was still being probed");

    // While it is being started, the node that has the other one goes.
    let starting = || cluster.must(seen_from, "status").contains("Starting");
    cluster.wait_for(SLOW * 3, "it is being started", starting);
    let home = holders(&cluster, "/run/quick").remove(0);
    let lost = Instant::now();
    cluster.power_off(&home).unwrap();
    let elsewhere = || holders(&cluster, "/run/quick").iter().any(|node| *node != home);
    cluster.wait("it runs elsewhere", elsewhere);
    println!("moved after {:?}", lost.elapsed());
    assert!(lost.elapsed() < Duration::from_secs(15), "{:?}", lost.elapsed());
    assert!(holders(&cluster, "/run/slow").is_empty(), "the slow one was still being started");
}

#[test]
fn a_reloadable_parameter_is_changed_without_a_restart() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("reload", 2);
    cluster.must("node1", "property set stonith-enabled=false");
    cluster.must(
        "node1",
        "resource create r ocf:systole:dummy state=/run/r envfile=/run/r.env fake=one",
    );
    cluster.wait("it runs", || holders(&cluster, "/run/r").len() == 1);
    cluster.settle();
    let home = holders(&cluster, "/run/r").remove(0);
    let which = || cluster.sh(&home, "stat -c '%i %y' /run/r").unwrap();
    let told = |what: &str| cluster.sh(&home, &format!("grep -q {what} /run/r.env")).is_ok();
    let first = which();

    cluster.must("node1", "resource update r fake=two");
    cluster.wait("it was told", || told("OCF_RESKEY_fake=two"));
    cluster.settle();
    assert_eq!(which(), first, "it was not restarted");

    cluster.must("node1", "resource update r passwd=other");
    cluster.wait("it was told", || told("OCF_RESKEY_passwd=other"));
    cluster.settle();
    assert_ne!(which(), first, "it was restarted");
}
