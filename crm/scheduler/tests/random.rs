//! What must hold for every plan, over random clusters.

#[path = "support/random.rs"]
mod random;
#[path = "support/small.rs"]
mod small;

use std::collections::{BTreeMap, BTreeSet};

use cib_model::Time;
use cib_xml::Doc;
use crm_graph::{ActionKind, Transition};
use crm_scheduler::{PlanFlags, schedule};
use proptest::prelude::*;

fn plan(doc: &Doc) -> Transition {
    schedule(&doc.clone().into(), Time::from_epoch(small::NOW), PlanFlags::default(), 1).transition
}

/// Actions that come before each action, however far.
fn before(transition: &Transition) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut all: BTreeMap<u32, BTreeSet<u32>> = transition
        .synapses
        .iter()
        .map(|s| (s.action.id, s.inputs.iter().copied().collect()))
        .collect();
    loop {
        let mut grown = false;
        for id in all.keys().copied().collect::<Vec<_>>() {
            let further: BTreeSet<u32> =
                all[&id].iter().filter_map(|i| all.get(i)).flatten().copied().collect();
            let own = all.get_mut(&id).expect("it is a key");
            let size = own.len();
            own.extend(further);
            grown |= own.len() > size;
        }
        if !grown {
            return all;
        }
    }
}

/// No action waits for itself.
fn invariant_no_circle(transition: &Transition) {
    for (id, before) in before(transition) {
        assert!(!before.contains(&id), "action {id} waits for itself");
    }
}

/// What is no instance of a clone is started on one node at most, and not before it was stopped on
/// another.
fn invariant_one_start(transition: &Transition, text: &str) {
    let cloned = |id: &str| text.contains(&format!("clone c{} ", id.trim_start_matches('r')));
    let before = before(transition);
    let mut started: BTreeMap<&str, u32> = BTreeMap::new();
    for synapse in &transition.synapses {
        let a = &synapse.action;
        let Some(resource) = a.resource.as_ref().filter(|r| !cloned(&r.id)) else { continue };
        if &*a.operation != "start" || a.kind != ActionKind::Resource {
            continue;
        }
        let other = started.insert(&resource.id, a.id);
        assert!(other.is_none(), "{} is started twice", resource.id);
        // A stop on a lost node is a pseudo-action; it counts as one.
        for stop in &transition.synapses {
            let s = &stop.action;
            if &*s.operation == "stop" && s.key == format!("{}_stop_0", resource.id) {
                let waits = before[&a.id].contains(&s.id);
                assert!(waits, "{} is started before it is stopped", resource.id);
            }
        }
    }
}

/// What runs on a lost node is started nowhere before that is fenced, and nothing is asked of it.
fn invariant_fence_first(transition: &Transition, text: &str) {
    let before = before(transition);
    let lost = |node: &str| text.contains(&format!("node {node} lost"));
    let fences: BTreeMap<&str, u32> = transition
        .synapses
        .iter()
        .filter(|s| &*s.action.operation == "stonith")
        .filter_map(|s| Some((s.action.on_node.as_deref()?, s.action.id)))
        .collect();
    for synapse in &transition.synapses {
        let a = &synapse.action;
        let (Some(node), Some(resource)) = (&a.on_node, &a.resource) else { continue };
        if a.kind != ActionKind::Resource {
            continue;
        }
        assert!(!lost(node), "{} is asked of {node}, which is lost", a.key);
        for line in text.lines().filter(|l| l.starts_with(&format!("running {} ", resource.id))) {
            let old = line.split(' ').nth(2).expect("a place");
            if &*a.operation == "start" && lost(old) {
                let fence = fences.get(old).expect("the lost node is fenced");
                assert!(before[&a.id].contains(fence), "{} goes before the fence of {old}", a.key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn plans_are_sound(text in random::cluster()) {
        let doc = small::cib(&text);
        let transition = plan(&doc);
        prop_assert_eq!(&plan(&doc), &transition);
        invariant_no_circle(&transition);
        invariant_one_start(&transition, &text);
        invariant_fence_first(&transition, &text);
    }
}
