//! A plan that is carried out leaves nothing to do: over random clusters, with the simulation that
//! `crm_simulate` makes.

#[path = "../../../crm/scheduler/tests/support/random.rs"]
mod random;
#[path = "../../../crm/scheduler/tests/support/small.rs"]
mod small;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use cib_model::Time;
use cib_xml::{Doc, Style};
use crm_graph::{Action, ActionKind, Synapse, Transition};
use crm_scheduler::{PlanFlags, schedule};
use proptest::prelude::*;

/// What `crm_simulate` says of a plan that it could not carry out to its end.
const UNFINISHED: i32 = 1;

fn plan(doc: &Doc) -> Transition {
    schedule(&doc.clone().into(), Time::from_epoch(small::NOW), PlanFlags::default(), 1).transition
}

/// The actions that wait, whatever is carried out, for something that is never done.
fn stuck(transition: &Transition) -> Vec<&Action> {
    let mut done = BTreeSet::new();
    let mut open: Vec<&Synapse> = transition.synapses.iter().collect();
    loop {
        let before = open.len();
        open.retain(|synapse| {
            let ready = synapse.inputs.iter().all(|input| done.contains(input));
            if ready {
                done.insert(synapse.action.id);
            }
            !ready
        });
        if open.len() == before {
            return open.iter().map(|synapse| &synapse.action).collect();
        }
    }
}

fn real<'a>(actions: impl IntoIterator<Item = &'a Action>) -> Vec<&'a str> {
    let real = actions.into_iter().filter(|action| action.kind != ActionKind::Pseudo);
    real.map(|action| action.key.as_str()).collect()
}

/// The CIB after its plan was carried out. Nothing but markers may be left of the plan, and
/// `crm_simulate` has to say whether there were any: a group whose start waits for ever and that
/// has nothing to start is in a plan all the same.
fn carried_out(folder: &Path, doc: &Doc) -> Doc {
    let plan = plan(doc);
    let left = stuck(&plan);
    assert_eq!(real(left.iter().copied()), [""; 0], "never carried out");
    let (before, after) = (folder.join("before.xml"), folder.join("after.xml"));
    std::fs::write(&before, doc.root().to_xml(Style::Compact)).expect("a file can be written");
    let output = Command::new(folder.join("crm_simulate"))
        .args(["--simulate", "--quiet", "--xml-file"])
        .arg(&before)
        .arg("--save-output")
        .arg(&after)
        .output()
        .expect("crm_simulate can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = if left.is_empty() { 0 } else { UNFINISHED };
    assert_eq!(output.status.code(), Some(expected), "{said}");
    let terminated = said.contains("Transition failed: terminated");
    assert_eq!(terminated, !left.is_empty(), "{said}");
    let text = std::fs::read_to_string(after).expect("there is a result");
    Doc::parse(&text).expect("the result is XML")
}

/// What is still to do after the plans for this cluster were carried out.
fn left_to_do(cluster: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("there is room");
    symlink(env!("CARGO_BIN_EXE_systole"), folder.path().join("crm_simulate"))
        .expect("a link can be made");
    let mut doc = small::cib(cluster);
    // What is fenced may come back or be probed in a second step.
    for _ in 0..2 {
        doc = carried_out(folder.path(), &doc);
    }
    let plan = plan(&doc);
    real(plan.synapses.iter().map(|s| &s.action)).into_iter().map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_plan_that_is_carried_out_leaves_nothing_to_do(text in random::cluster()) {
        let left = left_to_do(&text);
        prop_assert!(left.is_empty(), "still to do: {left:?}");
    }
}

/// The group must wait for ever: `r1`, with which it has to run, waits for a clone that is
/// stopped. Its markers are planned all the same.
#[test]
fn a_plan_may_have_markers_of_a_group_that_cannot_start() {
    let cluster = "
        node n0
        node n1
        fencing
        primitive r0 target-role=Stopped
        primitive r1
        primitive r2
        group g r2
        clone c0 r0
        <rsc_colocation id=\"l0\" rsc=\"g\" with-rsc=\"r1\" score=\"INFINITY\"/>
        <rsc_order id=\"l1\" first=\"c0\" then=\"r1\"/>";
    let plan = plan(&small::cib(cluster));
    let left: Vec<&str> = stuck(&plan).iter().map(|action| action.key.as_str()).collect();
    assert_eq!(left, ["g_running_0"]);
    assert!(left_to_do(cluster).is_empty());
}
