//! Processes, actions, daemons and power that fail. What counts is what the client sees. Runs only
//! in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests_lab::{Cluster, HttpWatch, asked_for};

const WEB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const PORT: u16 = 80;

/// A web server behind an address, and before both a resource that can be made to fail.
fn make_web(cluster: &Cluster, gate: &str) {
    cluster.must(
        "node1",
        &format!(
            "resource create gate ocf:systole:dummy state=/run/gate.state {gate} \
             op monitor interval=500ms --group web"
        ),
    );
    cluster.must(
        "node1",
        &format!(
            "resource create vip ocf:systole:vip ip={WEB} cidr_netmask=24 \
             op monitor interval=2s --group web"
        ),
    );
    let program = cluster.sh("node1", "command -v systole").unwrap();
    let command = format!("command={} demo --serve {PORT}", program.trim());
    cluster
        .ok_words(
            "node1",
            &[
                "resource",
                "create",
                "server",
                "ocf:systole:process",
                &command,
                "op",
                "monitor",
                "interval=500ms",
                "--group",
                "web",
            ],
        )
        .unwrap();
    cluster.must("node1", "resource meta web resource-stickiness=100");
}

/// Waits for an answer to a question asked after `since`, from another node than `not`.
fn wait_answer(cluster: &Cluster, web: &HttpWatch, since: Instant, not: Option<&str>) -> String {
    let mut by = None;
    cluster.wait(&format!("the server answers, but not from {not:?}"), || {
        by = web.answered_after(since).filter(|by| Some(by.as_str()) != not);
        by.is_some()
    });
    by.unwrap()
}

fn fail_count(cluster: &Cluster, seen_from: &str, node: &str, resource: &str) -> String {
    let attributes = cluster.json(seen_from, &format!("node transient {node}")).unwrap();
    let attributes = attributes.as_array().cloned().unwrap_or_default();
    let name = |item: &serde_json::Value| item["name"].as_str().unwrap_or_default().to_owned();
    let count =
        attributes.iter().find(|item| name(item).starts_with(&format!("fail-count-{resource}#")));
    count.and_then(|item| item["value"].as_str()).unwrap_or("0").to_owned()
}

#[test]
fn resources_that_fail_are_restarted_moved_or_their_node_is_fenced() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("failures", 3);
    cluster.make_fence_devices();
    make_web(&cluster, "");
    cluster.must("node1", "resource meta gate migration-threshold=2");
    let web = cluster.watch_http(SocketAddr::from((WEB, PORT)));
    let start = Instant::now();
    let first = wait_answer(&cluster, &web, start, None);

    cluster.settle();

    // The server's process is killed: it is started again where it was.
    let since = Instant::now();
    assert_eq!(cluster.signal(&first, "demo --serve", Signal::SIGKILL).unwrap(), 1);
    cluster.wait("the server was restarted", || {
        cluster.processes(&first).unwrap().iter().any(|(_, line)| line.contains("demo --serve"))
    });
    assert_eq!(wait_answer(&cluster, &web, Instant::now(), None), first);
    let gap = web.answers().last().unwrap().gap;
    println!("server killed: no answer for {gap:?}");
    assert!(gap < Duration::from_secs(3), "{gap:?}");
    assert_eq!(fail_count(&cluster, &first, &first, "server"), "1");

    cluster.settle();

    // A monitor fails: a restart at first, a move when the threshold is reached.
    cluster.sh(&first, "rm /run/gate.state").unwrap();
    cluster.wait("it is started again", || cluster.sh(&first, "test -e /run/gate.state").is_ok());
    assert_eq!(wait_answer(&cluster, &web, Instant::now(), None), first);
    assert_eq!(fail_count(&cluster, &first, &first, "gate"), "1");
    cluster.sh(&first, "rm /run/gate.state").unwrap();
    let second = wait_answer(&cluster, &web, since, Some(&first));
    println!("monitor failed twice: {first} to {second}");
    cluster.wait("all members of the group are gone", || {
        let gone = |line: &str| !line.contains("demo --serve");
        cluster.processes(&first).unwrap().iter().all(|(_, line)| gone(line))
    });
    let status = cluster.must(&second, "status");
    assert!(status.contains("gate") && status.contains(&first), "{status}");

    cluster.settle();

    // Forgotten failures, of all in the group: the node may be used again.
    cluster.must(&second, "resource cleanup web");
    cluster.wait("the fail count is gone", || fail_count(&cluster, &second, &first, "gate") == "0");
    assert!(cluster.fenced(start).is_empty());

    cluster.settle();

    // Start fails on two of three nodes, as often as it may; the third one runs it.
    let third = cluster.another(&[&first, &second]).to_owned();
    cluster.must(&second, "property set start-failure-is-fatal=false");
    cluster.must(&second, &format!("resource update gate fail_start_on={first},{second}"));
    cluster.settle();
    let since = Instant::now();
    cluster.must(&second, &format!("node standby {second}"));
    assert_eq!(wait_answer(&cluster, &web, since, Some(&second)), third);
    println!("start failed: {second} to {third} in {:?}", since.elapsed());
    cluster.settle();
    let tried = fail_count(&cluster, &third, &first, "gate");
    assert!(tried == "2" || tried == "0", "tried {tried} times on {first}");
    cluster.must(&third, &format!("node unstandby {second}"));
    cluster.must(&third, "resource update gate fail_start_on=");
    cluster.must(&third, "resource cleanup gate");
    assert!(cluster.fenced(start).is_empty());

    cluster.settle();
    assert_eq!(wait_answer(&cluster, &web, Instant::now(), None), third);

    // Stop fails: nobody knows whether it still runs, so the node is fenced first. What runs is
    // stopped with what it was given before, so the change has to be carried out first.
    cluster.must(&third, &format!("resource update gate fail_stop_on={third}"));
    cluster.settle();
    assert!(cluster.fenced(start).is_empty());
    let since = Instant::now();
    let seen_from = cluster.another(&[&third]).to_owned();
    cluster.must(&seen_from, &format!("node standby {third}"));
    let last = wait_answer(&cluster, &web, since, Some(&third));
    let off = cluster.switched_off(&third, since).expect("the node is fenced");
    let answers = web.answers().pop().unwrap();
    assert!(answers.first > off.at, "{last} answers only after {third} is off");
    println!("stop failed: {third} to {last}, off after {:?}", off.at - since);
    assert_eq!(cluster.fenced(since), [third.clone()].into());
}

#[test]
fn daemons_and_power_that_fail() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("power", 3);
    cluster.make_fence_devices();
    make_web(&cluster, "");
    let watch = cluster.watch(WEB);
    let web = cluster.watch_http(SocketAddr::from((WEB, PORT)));
    let old = wait_answer(&cluster, &web, Instant::now(), None);

    cluster.settle();

    // The daemon is killed, and what it has started goes on without it.
    let since = Instant::now();
    assert_eq!(cluster.signal(&old, "systole daemon", Signal::SIGKILL).unwrap(), 1);
    let new = wait_answer(&cluster, &web, since, Some(&old));
    let off = cluster.switched_off(&old, since).expect("the node is fenced");
    let tenures = watch.tenures();
    assert_eq!(cluster.owners(&watch), [old.as_str(), new.as_str()]);
    assert!(tenures[1].first > off.at, "{new} answers only after {old} is off");
    println!("daemon killed: {old} to {new} in {:?}", tenures[1].first - since);
    cluster.wait_formed();

    // A resource whose state is on its node's disk, so that it "runs" there after a restart
    // though nobody has started it: the probes have to find it.
    cluster.must(
        &new,
        "resource create kept ocf:systole:dummy state=/var/lib/pacemaker/kept \
         meta resource-stickiness=100",
    );
    let state =
        |node: &String| cluster.disk(node, Path::new("/var/lib/pacemaker/kept")).unwrap().exists();
    let holders =
        || -> Vec<String> { cluster.nodes().iter().filter(|node| state(node)).cloned().collect() };
    cluster.wait("it runs", || holders().len() == 1);
    let held_by = holders();

    // All power is lost right after a change was acknowledged, and comes back.
    for number in 1..=20 {
        cluster.must(&new, &format!("property set cluster-recheck-interval={number}min"));
    }
    for node in cluster.nodes() {
        cluster.power_off(node).unwrap();
    }
    let restored = Instant::now();
    // The holder comes last: the others must not have started it in between.
    for node in cluster.nodes().iter().filter(|node| **node != held_by[0]) {
        cluster.power_on(node).unwrap();
    }
    cluster.power_on(&held_by[0]).unwrap();
    cluster.wait_formed();
    let by = wait_answer(&cluster, &web, restored, None);
    println!("power restored: {by} answers after {:?}", restored.elapsed());
    for node in cluster.nodes() {
        let set = cluster.json(node, "property list").unwrap();
        let set = set.as_array().cloned().unwrap_or_default();
        let value = set.iter().find(|item| item["name"] == "cluster-recheck-interval");
        let value = value.and_then(|item| item["value"].as_str());
        assert_eq!(value, Some("20min"), "the last acknowledged value on {node}");
    }
    let kept = || holders() == held_by && web.answered_after(restored).as_ref() == Some(&by);
    cluster.stays(Duration::from_secs(2), "what runs is left where it is", kept);
    assert!(cluster.fenced(restored).is_empty());
    let owners = cluster.owners(&watch);
    let (last, before) = owners.split_last().unwrap();
    assert_eq!(last, &by);
    assert!(before == [old.clone(), new.clone()] || before == [old], "{owners:?}");
}
