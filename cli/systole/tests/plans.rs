//! A plan that is carried out leaves nothing to do: over random clusters, with the simulation that
//! `crm_simulate` makes.

#[path = "../../../crm/scheduler/tests/support/random.rs"]
mod random;
#[path = "../../../crm/scheduler/tests/support/small.rs"]
mod small;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use cib_model::Time;
use cib_xml::{Doc, Style};
use crm_graph::ActionKind;
use crm_scheduler::{PlanFlags, schedule};
use proptest::prelude::*;

/// The CIB after its plan was carried out.
fn carried_out(folder: &Path, doc: &Doc) -> Doc {
    let (before, after) = (folder.join("before.xml"), folder.join("after.xml"));
    std::fs::write(&before, doc.root().to_xml(Style::Compact)).expect("a file can be written");
    let output = Command::new(folder.join("crm_simulate"))
        .args(["--simulate", "--quiet", "--xml-file"])
        .arg(&before)
        .arg("--save-output")
        .arg(&after)
        .output()
        .expect("crm_simulate can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(after).expect("there is a result");
    Doc::parse(&text).expect("the result is XML")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_plan_that_is_carried_out_leaves_nothing_to_do(text in random::cluster()) {
        let folder = tempfile::tempdir().expect("there is room");
        symlink(env!("CARGO_BIN_EXE_systole"), folder.path().join("crm_simulate"))
            .expect("a link can be made");
        let mut doc = small::cib(&text);
        // What is fenced may come back or be probed in a second step.
        for _ in 0..2 {
            doc = carried_out(folder.path(), &doc);
        }
        let now = Time::from_epoch(small::NOW);
        let left = schedule(&doc.into(), now, PlanFlags::default(), 1).transition;
        let left: Vec<&str> = left
            .synapses
            .iter()
            .filter(|s| s.action.kind != ActionKind::Pseudo)
            .map(|s| s.action.key.as_str())
            .collect();
        prop_assert!(left.is_empty(), "still to do: {left:?}");
    }
}
