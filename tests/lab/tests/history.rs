//! What happened, as the cluster tells it afterwards. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tests_lab::{Cluster, asked_for};

/// The entries of a node's history, the newest last.
fn entries(cluster: &Cluster, node: &str, more: &str) -> Vec<Value> {
    let list = cluster.json(node, &format!("history list --limit 500 {more}")).unwrap();
    list.as_array().unwrap().clone()
}

/// The id of the change that a command made, once the node has written it down.
fn change(cluster: &Cluster, node: &str, by: &str) -> String {
    let mut found = None;
    cluster.wait(&format!("{node} has recorded '{by}'"), || {
        let all = entries(cluster, node, "--changes");
        let change = all.iter().rev().find(|entry| entry["command"] == by);
        found = change.map(|entry| entry["id"].as_str().unwrap().to_owned());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn changes_are_recorded_compared_and_taken_back() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("history", 3);
    cluster.must("node1", "property set stonith-enabled=false");
    cluster.must("node2", "resource create one ocf:systole:dummy passwd=s3cret");
    cluster.settle();
    let made = change(&cluster, "node1", "resource create");
    for node in cluster.nodes() {
        assert_eq!(change(&cluster, node, "resource create"), made, "on {node}");
    }
    let list = cluster.must("node3", "history");
    let line = list.lines().find(|line| line.contains("resource create")).unwrap();
    assert!(line.contains("root by systole resource create on node2: + primitive one"), "{list}");
    let shown = cluster.must("node3", &format!("history show {made}"));
    assert!(shown.contains("passwd=****") && !shown.contains("s3cret"), "{shown}");

    cluster.must("node1", "resource create two ocf:systole:dummy");
    cluster.must("node1", "constraint location one prefers node3=50");
    cluster.settle();
    let compared = cluster.must("node2", &format!("history compare {made}"));
    assert!(compared.contains("+ primitive two in resources"), "{compared}");
    assert!(!compared.contains("primitive one"), "{compared}");

    // The resource is not taken back while a constraint names it.
    let refused = cluster.must_fail("node1", &format!("history undo {made} --yes"));
    assert!(refused.contains("nothing is changed"), "{refused}");
    let located = change(&cluster, "node1", "constraint location");
    cluster.must("node1", &format!("history undo {located} --yes"));
    let look = format!("systole history undo {made} --dry-run; echo status $?");
    let look = cluster.sh("node1", &look).unwrap();
    assert!(look.contains("- resources/primitive[@id='one']"), "{look}");
    assert!(look.contains("Stop one") && look.contains("status 10"), "{look}");
    cluster.must("node1", &format!("history undo {made} --yes"));
    cluster.wait("one is gone and two runs", || {
        let status = cluster.must("node2", "status");
        !status.contains("one ") && status.contains("two")
    });
    change(&cluster, "node1", "history undo");

    let stranger = "setpriv --reuid=65534 --clear-groups systole history";
    let refused = cluster.sh("node1", &format!("{stranger} 2>&1 || true")).unwrap();
    assert!(refused.contains("only root may read the history"), "{refused}");
}

#[test]
fn a_transition_is_recorded_with_its_input() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("transition", 3);
    cluster.must("node1", "property set stonith-enabled=false");
    cluster.must("node1", "resource create one ocf:systole:dummy");
    cluster.settle();
    let mut found = Value::Null;
    cluster.wait("the transition that started it is recorded", || {
        let all = entries(&cluster, "node2", "--transitions");
        let starts = |t: &&Value| {
            let actions = t["actions"].as_array().unwrap();
            actions.iter().any(|a| a["resource"] == "one" && a["action"] == "start")
        };
        found = all.iter().find(starts).cloned().unwrap_or_default();
        found.is_object()
    });
    assert_eq!(found["outcome"], "complete", "{found}");
    assert!(!found["reason"].as_str().unwrap().is_empty(), "{found}");
    let (id, dc) = (found["id"].as_str().unwrap(), found["dc"].as_str().unwrap());
    let input = found["input"].as_str().unwrap();
    assert!(input.starts_with("/var/lib/pacemaker/pengine/pe-input-"), "{input}");

    let shown = cluster.must("node3", &format!("history show {id}"));
    assert!(shown.contains("start of one on ") && shown.contains("done in "), "{shown}");
    let replayed = cluster.must(dc, &format!("history replay {id}"));
    assert!(replayed.contains("The plan is the same as it was."), "{replayed}");
    let simulated = cluster.sh(dc, &format!("systole crm_simulate -x {input} -S")).unwrap();
    assert!(simulated.contains("one             start on"), "{simulated}");
    let other = if dc == "node1" { "node2" } else { "node1" };
    let refused = cluster.must_fail(other, &format!("history replay {id}"));
    let there = format!("on {dc}, which planned it: run 'systole history replay {id}' there");
    assert!(refused.contains(&there), "{refused}");
    // A file of that name here would be the input of another plan.
    cluster.sh(other, &format!("mkdir -p /var/lib/pacemaker/pengine; touch {input}")).unwrap();
    let refused = cluster.must_fail(other, &format!("history replay {id}"));
    assert!(refused.contains(&there), "{refused}");
    let compared = cluster.must(other, &format!("history compare {id} now"));
    assert!(compared.contains("have the same configuration"), "{compared}");

    let of_it = entries(&cluster, "node3", "--resource one");
    assert_eq!(of_it[0]["command"], "resource create", "{of_it:?}");
    assert!(of_it.iter().any(|entry| entry["id"] == id), "{of_it:?}");
    assert!(entries(&cluster, "node3", "--resource nothing").is_empty());

    // Nothing new is kept where nothing changes, and only root may read what is.
    let rights = cluster.sh(dc, &format!("stat -c %a {input}")).unwrap();
    assert_eq!(rights.trim(), "600");
    let log = cluster.sh(dc, "ls /var/lib/pacemaker/pengine").unwrap();
    assert!(log.contains("pe-input.last") && !log.contains(".part"), "{log}");
}
