//! Random small clusters, in the language of `small.rs`.

use proptest::prelude::*;

/// What a primitive is part of.
#[derive(Clone, Copy, Debug)]
enum Part {
    Alone,
    /// Of the group.
    Member,
    /// The one primitive of a clone, promotable or not.
    Instance(bool),
}

fn node_state() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just("online"), 1 => Just("standby"), 1 => Just("lost"), 1 => Just("offline")]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => Just(Part::Alone),
        2 => Just(Part::Member),
        2 => any::<bool>().prop_map(Part::Instance),
    ]
}

fn meta() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(""),
        1 => Just(" resource-stickiness=100"),
        1 => Just(" priority=5"),
        1 => Just(" target-role=Stopped"),
        1 => Just(" migration-threshold=2"),
    ]
}

fn score() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("INFINITY"), Just("-INFINITY"), Just("100"), Just("-50")]
}

/// A cluster of two to five nodes, of which one at least is up, and fencing that works; resources
/// of all simple kinds, each primitive running nowhere or where one instance may; constraints of
/// all kinds among them.
pub(crate) fn cluster() -> impl Strategy<Value = String> {
    let nodes = prop::collection::vec(node_state(), 1..5);
    let place = prop::option::of(0..5usize);
    let primitives = prop::collection::vec((part(), meta(), place), 1..8);
    let constraint = (0..3u8, 0..8usize, 0..8usize, 0..5usize, score());
    let constraints = prop::collection::vec(constraint, 0..6);
    (nodes, primitives, constraints).prop_map(|(nodes, primitives, constraints)| {
        let mut text = String::from("node n0\n");
        for (at, state) in nodes.iter().enumerate() {
            text.push_str(&format!("node n{} {state}\n", at + 1));
        }
        let count = nodes.len() + 1;
        let offline = |n: usize| n > 0 && nodes[n - 1] == "offline";
        text.push_str("fencing\n");
        let (mut tops, mut members) = (Vec::new(), Vec::new());
        let (mut clones, mut running) = (String::new(), String::new());
        // A group runs as a whole or not at all, where its first member says.
        let mut group_place = None;
        for (at, (part, meta, place)) in primitives.iter().enumerate() {
            let place = place.map(|n| n % count).filter(|n| !offline(*n));
            text.push_str(&format!("primitive r{at}{meta}\n"));
            let place = match part {
                Part::Alone => {
                    tops.push(format!("r{at}"));
                    place
                }
                Part::Member => {
                    if members.is_empty() {
                        group_place = place;
                    }
                    members.push(format!("r{at}"));
                    group_place
                }
                Part::Instance(promotable) => {
                    clones.push_str(&format!("clone c{at} r{at} promotable={promotable}\n"));
                    tops.push(format!("c{at}"));
                    place
                }
            };
            if let Some(node) = place {
                let role = if matches!(part, Part::Instance(true)) { " Unpromoted" } else { "" };
                running.push_str(&format!("running r{at} n{node}{role}\n"));
            }
        }
        if !members.is_empty() {
            text.push_str(&format!("group g {}\n", members.join(" ")));
            tops.push("g".to_owned());
        }
        text.push_str(&clones);
        text.push_str(&running);
        for (at, (kind, a, b, node, score)) in constraints.iter().enumerate() {
            let (a, b) = (&tops[a % tops.len()], &tops[b % tops.len()]);
            let line = match kind {
                0 => format!(
                    "<rsc_location id=\"l{at}\" rsc=\"{a}\" node=\"n{}\" score=\"{score}\"/>",
                    node % count
                ),
                _ if a == b => continue,
                1 => format!(
                    "<rsc_colocation id=\"l{at}\" rsc=\"{a}\" with-rsc=\"{b}\" score=\"{score}\"/>"
                ),
                // Orders go one way, so that they make no circle.
                _ => {
                    let (first, then) = if a < b { (a, b) } else { (b, a) };
                    format!("<rsc_order id=\"l{at}\" first=\"{first}\" then=\"{then}\"/>")
                }
            };
            text.push_str(&line);
            text.push('\n');
        }
        text
    })
}
