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
    // Without the brake: what happens when many nodes are fenced at once.
    cluster.must("node1", "property set fence-limit=0");
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

/// What cannot run cannot have to be stopped: a name that no agent can have, forced past the checks,
/// and parameters that the agent refuses.
#[test]
fn a_mistyped_agent_or_parameter_has_nobody_fenced() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("typos", 3);
    cluster.make_fence_devices();
    cluster.settle();
    let since = Instant::now();
    for words in
        ["create one ip=10.77.99.1/16 nic=eth0", "create two ocf:systole:vip ip=10.77.99.1/16"]
    {
        let refused = cluster.must_fail("node1", &format!("resource {words}"));
        assert!(refused.contains("--force"), "{refused}");
        cluster.must("node1", &format!("--force resource {words}"));
    }
    cluster.wait("the status says what is wrong with both", || {
        let status = cluster.ok("node2", "status").unwrap_or_default();
        status.contains("is not a possible name") && status.contains("is not an IPv4 or IPv6")
    });
    cluster.settle();
    cluster.must("node1", "resource delete one two");
    cluster.settle();
    assert!(cluster.fenced(since).is_empty());
}

/// Its stop fails wherever it is: after two nodes were fenced for it, it is blocked with the reason.
#[test]
fn a_resource_that_can_be_stopped_nowhere_is_blocked_after_two_fences() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("brake", 3);
    let everywhere = cluster.nodes().join(",");
    cluster.make_fence_devices();
    cluster.settle();
    let since = Instant::now();
    cluster.must(
        "node1",
        &format!(
            "resource create bad ocf:systole:dummy state=/run/bad fail_start_on={everywhere} \
             fail_stop_on={everywhere}"
        ),
    );
    cluster.wait("the status says why it is blocked", || {
        let on = cluster.nodes().iter().find_map(|node| cluster.ok(node, "status").ok());
        on.is_some_and(|status| status.contains("2 nodes were fenced because bad failed there"))
    });
    cluster.wait_formed();
    cluster.settle();
    assert_eq!(cluster.fenced(since).len(), 2, "{:?}", cluster.fenced(since));
}
