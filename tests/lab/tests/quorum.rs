//! Who may act: partitions without a majority, and a cluster of two. Runs only in the end-to-end
//! run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tests_lab::{Cluster, PATIENCE, asked_for};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// No part has quorum: resources stop, nobody is fenced, and after the heal all goes on.
#[test]
fn three_parts_without_quorum_stop_and_fence_nobody() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("parts", 3);
    cluster.make_fence_devices();
    cluster.make_vip("vip", VIP, "");
    let watch = cluster.watch(VIP);
    let owner = cluster.wait_owner(&watch, None);

    let since = Instant::now();
    for node in cluster.nodes() {
        cluster.isolate(node);
    }
    let silent = cluster.wait("the address is given up", || cluster.owner(&watch).is_none());
    println!("given up after {silent:?}");
    for node in cluster.nodes() {
        let seen = cluster.json(node, "cluster status").unwrap();
        assert_eq!(seen["quorate"], false, "{node}: {seen}");
        let refused = cluster.must_fail(node, "property set stonith-timeout=61s");
        assert!(refused.contains("Quorum"), "{refused}");
    }
    let nothing = || cluster.owner(&watch).is_none() && cluster.fenced(since).is_empty();
    cluster.stays(Duration::from_secs(4), "nobody starts anything or fences anybody", nothing);

    let healed = Instant::now();
    cluster.join_all();
    let new = cluster.wait_owner(&watch, None);
    println!("{new} answers {:?} after the heal", healed.elapsed());
    cluster.wait_formed();
    let one = || cluster.owners(&watch).last() == Some(&new);
    cluster.stays(Duration::from_secs(1), "it stays there", one);
    assert!(cluster.fenced(since).is_empty());
    let owners = cluster.owners(&watch);
    assert!(owners == [owner.clone()] || owners == [owner, new], "{owners:?}");
}

/// `two_node`: one of two may go on after it has fenced the other; a node that starts alone waits
/// for the other (`wait_for_all`).
#[test]
fn two_nodes() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("two", 2);
    cluster.make_fence_devices();
    cluster.make_vip("vip", VIP, "");
    let watch = cluster.watch(VIP);
    let old = cluster.wait_owner(&watch, None);

    let since = Instant::now();
    cluster.power_off(&old).unwrap();
    let new = cluster.wait_owner(&watch, Some(&old));
    let last = watch.tenures().pop().unwrap();
    let off = cluster.switched_off(&old, since).unwrap();
    assert!(last.first > off.at);
    println!("{old} to {new}: {:?} after the power cut", last.first - since);
    let history = cluster.fencing_of(&new, &old);
    assert!(history.iter().any(|entry| entry.state == "done"), "{history:?}");
    cluster.wait_formed();
    let one = || cluster.owners(&watch).last() == Some(&new);
    cluster.stays(Duration::from_secs(1), "it stays there when the other is back", one);
    assert_eq!(cluster.owners(&watch), [old.as_str(), new.as_str()]);

    // All power is lost; one node comes back alone.
    for node in cluster.nodes() {
        cluster.power_off(node).unwrap();
    }
    cluster.wait("nobody answers", || cluster.owner(&watch).is_none());
    let since = Instant::now();
    cluster.power_on("node1").unwrap();
    cluster.wait("node1's daemon answers", || cluster.json("node1", "cluster status").is_ok());
    let waits = || {
        let seen = cluster.json("node1", "cluster status").unwrap();
        seen["quorate"] == false && cluster.owner(&watch).is_none()
    };
    cluster.stays(Duration::from_secs(5), "a node that starts alone waits", waits);
    assert!(cluster.fenced(since).is_empty());
    let flags = cluster.json("node1", "cluster status").unwrap()["flags"].to_string();
    assert!(flags.contains("WaitForAll"), "{flags}");
    // As `crm_mon` does, a status has nothing to say against it; as `corosync-quorumtool` does, that
    // of the membership has.
    let line = ["systole", "cluster", "status"];
    let output = cluster.exec("node1", &line, PATIENCE).unwrap();
    assert_eq!(output.code(), Some(106), "{}", output.stderr);
    assert!(output.stdout.contains("NO quorum"), "{}", output.stdout);
    assert!(
        cluster.exec("node1", &["corosync-quorumtool", "-s"], PATIENCE).unwrap().code() == Some(2)
    );
    for fine in ["crm_mon -1", "systole status"] {
        cluster.sh("node1", fine).unwrap();
    }
    // An error is JSON where JSON is asked for.
    let line = ["systole", "--json", "property", "set", "stonith-timeout=61s"];
    let output = cluster.exec("node1", &line, PATIENCE).unwrap();
    let error: serde_json::Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!((error["exit_status"].as_i64(), output.code()), (Some(106), Some(106)), "{error}");
    assert!(error["error"].as_str().unwrap().contains("Quorum"), "{error}");

    cluster.power_on("node2").unwrap();
    cluster.wait_formed();
    cluster.wait_owner(&watch, None);
    assert!(cluster.fenced(since).is_empty());
}
