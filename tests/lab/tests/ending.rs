//! A node that the others take to be down, and that is not: its fence device does nothing. Runs only
//! in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests_lab::{Bmc, Cluster, Lab, asked_for};

/// Says yes to everything.
const AGENT: &str = r#"#!/bin/sh
case "$*$(cat)" in
*metadata* | *meta-data*)
    cat <<END
<?xml version="1.0"?>
<resource-agent name="fence_yes" shortdesc="Does nothing"><parameters>
<parameter name="action" required="0"><content type="string" default="reboot"/></parameter>
</parameters><actions><action name="on"/><action name="off"/><action name="reboot"/>
<action name="monitor"/><action name="status"/><action name="metadata"/></actions></resource-agent>
END
    ;;
esac
exit 0
"#;

/// As on a machine of its own, the host goes on without its daemon.
const BOOT: [&str; 3] = ["sh", "-c", "systole daemon; echo $? >/run/ended; exec sleep 1000"];

#[test]
fn a_node_that_is_told_of_its_own_fence_stops_what_it_runs_and_ends() {
    if !asked_for() {
        return;
    }
    // The hosts have a /tmp of their own.
    let agent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fence_yes");
    std::fs::write(&agent, AGENT).unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let lab = Lab::cluster("ending", 3)
        .command(BOOT)
        .bmc(Bmc::None)
        .persistent("/usr/local/sbin")
        .link("/usr/local/sbin/fence_yes", &agent);
    let cluster = Cluster::start_lab(lab.build().unwrap());
    cluster.must("node1", "stonith create yes fence_yes pcmk_host_list=node1,node2,node3");
    let vip = Ipv4Addr::new(10, 77, 0, 100);
    cluster.make_vip("vip", vip, "");
    cluster.must("node1", "resource create stuck ocf:systole:dummy state=/run/stuck");
    cluster.must("node1", "constraint colocation stuck vip");
    cluster.settle();
    let has = |node: &String| cluster.sh(node, &format!("ip -4 address show | grep -q {vip}"));
    let home = cluster.nodes().iter().find(|node| has(node).is_ok()).unwrap().clone();
    cluster.must("node1", &format!("resource update stuck fail_stop_on={home}"));
    cluster.settle();

    // The stop fails, the device claims to have cut the power, and another node takes over.
    let other = cluster.another(&[&home]).to_owned();
    cluster.must(&other, &format!("node standby {home}"));
    cluster.wait("its daemon ends", || cluster.sh(&home, "test -s /run/ended").is_ok());
    assert_eq!(cluster.sh(&home, "cat /run/ended").unwrap().trim(), "100");
    assert!(has(&home).is_err(), "the address is stopped");
    let elsewhere = || cluster.nodes().iter().any(|node| *node != home && has(node).is_ok());
    cluster.wait("the address is on another node", elsewhere);
    let said = cluster.consoles();
    for part in [
        "yet it still runs: leaving the cluster at once, and stopping what runs here",
        "stuck could not be stopped and may still run here",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}
