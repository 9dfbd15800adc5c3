//! Planning is total: whatever a CIB says, there is a plan, and always the same one.

use std::sync::Arc;

use cib_model::Time;
use cib_xml::{Doc, NodeId};
use crm_scheduler::overview::overview;
use crm_scheduler::{PlanFlags, schedule};

/// A cluster with a bit of everything.
const RICH: &str = include_str!("data/rich.xml");

fn plan(doc: &Doc) -> String {
    let doc = &Arc::new(doc.clone());
    let now = Time::from_epoch(1_700_000_000);
    let flags = PlanFlags { show_scores: true, show_utilization: true, ..PlanFlags::default() };
    let plan = schedule(doc, now, flags, 1);
    let mut text = plan.transition.to_doc().root().to_xml(cib_xml::Style::Pretty);
    text.push_str(&plan.dot(true, true));
    plan.notes().iter().for_each(|note| text.push_str(&note.to_string()));
    plan.summary().iter().for_each(|change| text.push_str(&change.text));
    let model = Arc::new(cib_model::Model::from_doc(doc, now));
    text.push_str(&format!("{:?}", overview(model, now)));
    text
}

fn rich() -> Doc {
    Doc::parse(RICH).expect("the test's CIB is XML")
}

/// A small generator of numbers, so that runs are repeatable.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn elements(doc: &Doc) -> Vec<NodeId> {
    let mut all = Vec::new();
    let mut open = vec![doc.root_id()];
    while let Some(id) = open.pop() {
        all.push(id);
        open.extend(doc.node(id).children().map(cib_xml::Node::id));
    }
    all
}

#[test]
fn same_input_gives_same_bytes() {
    assert_eq!(plan(&rich()), plan(&rich()));
}

#[test]
fn something_is_planned() {
    let doc = Arc::new(rich());
    let plan = schedule(&doc, Time::from_epoch(1_700_000_000), PlanFlags::default(), 7);
    assert_eq!(plan.transition.id, 7);
    assert!(plan.transition.synapses.len() > 10, "{}", plan.transition.synapses.len());
}

#[test]
fn damaged_states_are_planned_for() {
    let values = [
        "",
        "-1",
        "0",
        "INFINITY",
        "true",
        "99999999999999999999",
        "#uname",
        "a:b:c",
        "Promoted",
        "n1",
        "g",
        "c",
        "b",
        "p1",
    ];
    for seed in 0..150 {
        let mut numbers = Numbers(seed);
        let mut doc = rich();
        for _ in 0..1 + numbers.below(8) {
            let all = elements(&doc);
            let at = all[numbers.below(all.len())];
            if at == doc.root_id() {
                continue;
            }
            let names: Vec<String> = doc.node(at).attrs().map(|(n, _)| n.to_owned()).collect();
            match numbers.below(5) {
                0 => doc.detach(at),
                1 if !names.is_empty() => {
                    let name = &names[numbers.below(names.len())];
                    doc.remove_attr(at, name);
                }
                2 | 3 if !names.is_empty() => {
                    let name = &names[numbers.below(names.len())];
                    doc.set_attr(at, name, values[numbers.below(values.len())]);
                }
                _ => {
                    // A copy of something, somewhere.
                    let other = all[numbers.below(all.len())];
                    let copy = Doc::from_node(doc.node(at));
                    doc.append_copy(other, copy.root());
                }
            }
        }
        let text = plan(&doc);
        assert!(text.contains("transition_graph"), "seed {seed}");
    }
}
