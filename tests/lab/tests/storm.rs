//! Several nodes have to be fenced at once, the DC among them. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tests_lab::{Cluster, asked_for};

#[test]
fn nodes_that_fail_to_stop_at_once_are_fenced_and_come_back() {
    if asked_for() {
        storm("storm", 3);
    }
}

/// Here nobody is left to fence the last one until the other one is back.
#[test]
fn of_two_nodes_none_stays_off() {
    if asked_for() {
        storm("storm2", 2);
    }
}

fn storm(name: &str, count: usize) {
    let cluster = Cluster::start(name, count);
    let everywhere = cluster.nodes().join(",");
    cluster.make_fence_devices();
    cluster.settle();

    // Neither its start nor its stop succeeds, wherever it is tried.
    let since = Instant::now();
    cluster.must(
        "node1",
        &format!(
            "resource create bad ocf:systole:dummy state=/run/bad fail_start_on={everywhere} \
             fail_stop_on={everywhere} --clone"
        ),
    );
    cluster.wait("all nodes were fenced", || cluster.fenced(since).len() == count);
    // Until it is mended, what fails is tried anew by every node that comes back.
    let mended = || {
        let on = cluster.nodes().iter().find(|node| cluster.ok(node, "status").is_ok());
        on.is_some_and(|node| {
            cluster.ok(node, "resource update bad fail_start_on= fail_stop_on=").is_ok()
        })
    };
    cluster.wait("the agent is mended", mended);
    let since = Instant::now();
    cluster.wait_formed();
    println!("all are back after {:?}", since.elapsed());
    let runs = |node: &String| cluster.sh(node, "test -e /run/bad").is_ok();
    cluster.wait("it runs on all", || cluster.nodes().iter().all(runs));
    cluster.settle();
    let since = Instant::now();
    cluster.stays(Duration::from_secs(5), "nobody is fenced", || cluster.fenced(since).is_empty());
}
