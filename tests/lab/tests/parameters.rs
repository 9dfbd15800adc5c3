//! Parameters of a running address that are changed, and addresses that are deleted: what was
//! started is what is stopped, and no old address stays on any host. Runs only in the end-to-end
//! run (`SYSTOLE_E2E=1`, as root); needs resource-agents.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Instant;

use nix::sys::signal::Signal;
use tests_lab::{Cluster, PATIENCE, asked_for};

const NATIVE: &str = "ocf:systole:vip";
const DEBIANS: &str = "ocf:heartbeat:IPaddr2";

/// One of the addresses that these tests use; nothing else has them.
fn address(number: u8) -> Ipv4Addr {
    let address = Ipv4Addr::new(10, 77, 0, number);
    assert!(is_ours(address));
    address
}

fn is_ours(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [10, 77, 0, 100..200])
}

/// Which node has which of the tests' addresses, as the nodes' kernels say.
fn held(cluster: &Cluster) -> Vec<(String, Ipv4Addr)> {
    let mut held = Vec::new();
    for node in cluster.nodes() {
        let text = cluster.sh(node, "ip -4 -o address show").unwrap();
        let words = text.split_whitespace().filter_map(|word| word.split_once('/'));
        let found = words.filter_map(|(ip, _)| ip.parse::<Ipv4Addr>().ok());
        held.extend(found.filter(|ip| is_ours(*ip)).map(|ip| (node.clone(), ip)));
    }
    held
}

/// Waits until exactly this address is held, by exactly one node, and nothing is left to do.
#[track_caller]
fn wait_held(cluster: &Cluster, number: u8) -> String {
    let mut seen = Vec::new();
    let expected = address(number);
    cluster.wait(&format!("only {expected} is held, once"), || {
        seen = held(cluster);
        matches!(&seen[..], [(_, ip)] if *ip == expected)
    });
    cluster.settle();
    let after = held(cluster);
    assert_eq!(after, seen, "it stays when the cluster is idle");
    seen.remove(0).0
}

/// Waits until no node holds any of the addresses and nothing is left to do.
#[track_caller]
fn wait_none_held(cluster: &Cluster) {
    cluster.wait("no address is held", || held(cluster).is_empty());
    cluster.settle();
    assert_eq!(held(cluster), []);
}

fn create(cluster: &Cluster, agent: &str, number: u8) {
    let ip = address(number);
    cluster.must(
        "node1",
        &format!(
            "resource create moving {agent} ip={ip} cidr_netmask=24 \
             op monitor interval=2s meta resource-stickiness=100"
        ),
    );
}

/// As an operator of the field does it.
fn set_with_tool(cluster: &Cluster, number: u8) {
    let ip = address(number).to_string();
    let line = ["crm_resource", "-r", "moving", "-p", "ip", "-v", &ip];
    let output = cluster.exec("node2", &line, PATIENCE).unwrap();
    assert!(output.success(), "{line:?}: {}", output.stderr);
}

fn set_with_verb(cluster: &Cluster, number: u8) {
    cluster.must("node1", &format!("resource update moving ip={}", address(number)));
}

/// Only the daemon is killed: the host, and what the daemon has started there, go on.
fn kill_daemon(cluster: &Cluster, node: &str) {
    assert_eq!(cluster.signal(node, "systole daemon", Signal::SIGKILL).unwrap(), 1);
    let seen_from = cluster.another(&[node]);
    cluster.wait("the others see that it is gone", || {
        let seen = cluster.json(seen_from, "cluster status").unwrap();
        let nodes = seen["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().any(|member| member["name"] == node && member["member"] == false)
    });
    cluster.settle();
}

fn start_daemon(cluster: &Cluster, node: &str) {
    cluster.spawn(node, &["systole", "daemon"]).unwrap();
    cluster.wait_formed();
}

#[test]
fn a_changed_address_replaces_the_old_one_and_a_deleted_one_is_gone() {
    if !asked_for() {
        return;
    }
    let began = Instant::now();
    let cluster = Cluster::start("changed", 3);
    cluster.make_fence_devices();
    for agent in [NATIVE, DEBIANS] {
        println!("{agent}");
        create(&cluster, agent, 100);
        wait_held(&cluster, 100);

        for (number, set) in [(101, set_with_verb as fn(&Cluster, u8)), (102, set_with_tool)] {
            let watch = cluster.watch(address(number));
            set(&cluster, number);
            let owner = wait_held(&cluster, number);
            assert_eq!(cluster.wait_owner(&watch, None), owner);
        }

        // Faster than the cluster can follow.
        for number in 103..113 {
            let set = if number % 2 == 0 { set_with_tool } else { set_with_verb };
            set(&cluster, number);
        }
        let watch = cluster.watch(address(112));
        let owner = wait_held(&cluster, 112);
        assert_eq!(cluster.wait_owner(&watch, None), owner);

        cluster.must("node1", "resource delete moving");
        wait_none_held(&cluster);
    }
    assert_eq!(cluster.fenced(began), [].into());
}

#[test]
fn an_address_changed_or_deleted_while_its_daemon_is_dead_does_not_stay() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("unseen", 3);
    // Without fences, a node whose daemon is dead counts as stopped. Nobody else may have the
    // address, so nobody else takes it meanwhile.
    cluster.must("node1", "property set stonith-enabled=false");
    for agent in [NATIVE, DEBIANS] {
        println!("{agent}");
        create(&cluster, agent, 100);
        let node = wait_held(&cluster, 100);
        let others: Vec<&String> = cluster.nodes().iter().filter(|name| **name != node).collect();
        for other in others {
            cluster.must("node1", &format!("resource ban moving {other}"));
        }
        let seen_from = cluster.another(&[&node]).to_owned();

        kill_daemon(&cluster, &node);
        cluster.must(&seen_from, &format!("resource update moving ip={}", address(101)));
        assert_eq!(held(&cluster), [(node.clone(), address(100))], "nobody could stop it");
        start_daemon(&cluster, &node);
        assert_eq!(wait_held(&cluster, 101), node);

        kill_daemon(&cluster, &node);
        cluster.must(&seen_from, "resource delete moving");
        assert_eq!(held(&cluster), [(node.clone(), address(101))], "nobody could stop it");
        start_daemon(&cluster, &node);
        wait_none_held(&cluster);
    }
}

#[test]
fn an_address_changed_or_deleted_in_maintenance_mode_does_not_stay_after_it() {
    if !asked_for() {
        return;
    }
    let began = Instant::now();
    let cluster = Cluster::start("upkeep", 3);
    cluster.make_fence_devices();
    for agent in [NATIVE, DEBIANS] {
        println!("{agent}");
        create(&cluster, agent, 100);
        let node = wait_held(&cluster, 100);
        let seen_from = cluster.another(&[&node]).to_owned();
        for change in ["resource update moving ip=10.77.0.101", "resource delete moving"] {
            let before = held(&cluster);
            cluster.must(&seen_from, "property set maintenance-mode=true");
            cluster.settle();
            kill_daemon(&cluster, &node);
            cluster.must(&seen_from, change);
            start_daemon(&cluster, &node);
            cluster.settle();
            assert_eq!(held(&cluster), before, "in maintenance mode, nothing is touched");
            cluster.must(&seen_from, "property set maintenance-mode=");
            if change.contains("delete") {
                wait_none_held(&cluster);
            } else {
                wait_held(&cluster, 101);
            }
        }
    }
    assert_eq!(cluster.fenced(began), [].into());
}

/// Exit status and all that was printed.
fn crm_resource(cluster: &Cluster, words: &str) -> (Option<i32>, String) {
    let line: Vec<&str> = "crm_resource -r moving".split(' ').chain(words.split(' ')).collect();
    let output = cluster.exec("node1", &line, PATIENCE).unwrap();
    (output.code(), format!("{}{}", output.stdout, output.stderr))
}

#[test]
fn the_tool_refuses_a_parameter_that_its_agent_would_not_take() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("refused", 1);
    cluster.must("node1", "property set stonith-enabled=false");
    for agent in [NATIVE, DEBIANS] {
        println!("{agent}");
        create(&cluster, agent, 100);
        wait_held(&cluster, 100);
        let before = cluster.must("node1", "cib show resources");
        let (status, text) = crm_resource(&cluster, "-p arp_cuont -v 3");
        assert!(status == Some(2) && text.contains("has no parameter 'arp_cuont'"), "{text}");
        assert!(text.contains("--force"), "{text}");
        if agent == NATIVE {
            let (status, text) = crm_resource(&cluster, "-p ip -v 10.77.0.101/24");
            assert!(status == Some(2) && text.contains("10.77.0.101/24"), "{text}");
        }
        assert_eq!(cluster.must("node1", "cib show resources"), before);

        let (status, text) = crm_resource(&cluster, "--force -p arp_cuont -v 3");
        assert_eq!(status, Some(0), "{text}");
        // What is wrong already does not keep other changes from being made.
        let (status, text) = crm_resource(&cluster, "-p ip -v 10.77.0.101");
        assert_eq!(status, Some(0), "{text}");
        wait_held(&cluster, 101);
        cluster.must("node1", "resource delete moving");
        wait_none_held(&cluster);
    }
}
