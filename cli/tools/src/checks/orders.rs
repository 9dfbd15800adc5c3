//! Orders that nothing can meet: each waits for the other.

use std::collections::{BTreeMap, BTreeSet};

use cib_xml::{Doc, Node};

use super::KINDS;

/// A resource that has none in it, and what is done to it.
type Step = (String, String);

/// The loops among mandatory orders, each a sentence.
pub(super) fn loops(doc: &Doc) -> Vec<String> {
    let Some(configuration) = doc.root().child("configuration") else { return Vec::new() };
    let mut edges: BTreeMap<Step, BTreeSet<Step>> = BTreeMap::new();
    let resources = configuration.child("resources");
    let leaves = |id: &str| -> Vec<String> {
        let all = resources.into_iter().flat_map(|r| r.descendants());
        let named = all.filter(|n| KINDS.contains(&n.name()) && n.attr("id") == Some(id));
        named.flat_map(primitives).collect()
    };
    let mut add = |first: &[String], a: &str, then: &[String], b: &str| {
        for before in first {
            let after = edges.entry((before.clone(), a.to_owned())).or_default();
            after.extend(then.iter().map(|id| (id.clone(), b.to_owned())));
        }
    };
    for group in resources.into_iter().flat_map(|r| r.descendants()) {
        let ordered = |n: &Node<'_>| {
            let pairs = n.children_named("meta_attributes").flat_map(|m| m.children());
            !pairs
                .into_iter()
                .any(|p| p.attr("name") == Some("ordered") && p.attr("value") == Some("false"))
        };
        if group.name() == "group" && ordered(&group) {
            let members = primitives(group);
            members.windows(2).for_each(|two| add(&two[..1], "start", &two[1..], "start"));
        }
    }
    let constraints = configuration.child("constraints");
    for order in constraints.into_iter().flat_map(|c| c.children_named("rsc_order")) {
        if !is_mandatory(order) {
            continue;
        }
        if let (Some(first), Some(then)) = (order.attr("first"), order.attr("then")) {
            let a = order.attr("first-action").unwrap_or("start");
            let b = order.attr("then-action").unwrap_or(a);
            add(&leaves(first), a, &leaves(then), b);
        }
        let mut last: Option<(Vec<String>, String)> = None;
        for set in order.children_named("resource_set") {
            let action = set.attr("action").unwrap_or("start").to_owned();
            let refs = set.children_named("resource_ref").filter_map(|r| r.attr("id"));
            let members: Vec<Vec<String>> = refs.map(&leaves).collect();
            if set.attr("sequential") != Some("false") {
                members.windows(2).for_each(|two| add(&two[0], &action, &two[1], &action));
            }
            let all = members.concat();
            if let Some((before, a)) = &last {
                add(before, a, &all, &action);
            }
            last = Some((all, action));
        }
    }
    cycle(&edges).into_iter().collect()
}

fn is_mandatory(order: Node<'_>) -> bool {
    let kind = order.attr("kind").is_none_or(|kind| kind.eq_ignore_ascii_case("mandatory"));
    kind && order.attr("score").is_none_or(|score| score.parse::<i64>() != Ok(0))
}

/// The primitives in a resource, which may be one.
fn primitives(resource: Node<'_>) -> Vec<String> {
    let own = [resource].into_iter().filter(|n| n.name() == "primitive");
    let inner = resource.descendants().filter(|n| n.name() == "primitive");
    let mut ids: Vec<String> = Vec::new();
    for id in own.chain(inner).filter_map(|n| n.attr("id")) {
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

/// The first loop that is found.
fn cycle(edges: &BTreeMap<Step, BTreeSet<Step>>) -> Option<String> {
    let mut done: BTreeSet<&Step> = BTreeSet::new();
    for root in edges.keys() {
        // Each entry is a step with those after it that are still to be looked at.
        let mut path: Vec<(&Step, Vec<&Step>)> = Vec::new();
        let after = |step: &Step| edges.get(step).map_or_else(Vec::new, |s| s.iter().collect());
        if !done.contains(root) {
            path.push((root, after(root)));
        }
        while let Some((step, rest)) = path.last_mut() {
            let step = *step;
            let Some(next) = rest.pop() else {
                done.insert(step);
                path.pop();
                continue;
            };
            if let Some(from) = path.iter().position(|(known, _)| *known == next) {
                let words = path[from..].iter().map(|(step, _)| *step).chain([next]);
                let words: Vec<String> =
                    words.map(|(id, action)| format!("{action} {id}")).collect();
                return Some(format!(
                    "the orders are a loop, so nothing in it can ever start: {}",
                    words.join(", then ")
                ));
            }
            if !done.contains(next) {
                path.push((next, after(next)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(constraints: &str) -> Vec<String> {
        let primitive = |id: &str| format!("<primitive id=\"{id}\"/>");
        let xml = format!(
            "<cib><configuration><resources>{}{}<group id=\"g\">{}{}</group><clone id=\"k\">{}\
             </clone></resources><constraints>{constraints}</constraints></configuration></cib>",
            primitive("a"),
            primitive("b"),
            primitive("m"),
            primitive("n"),
            primitive("c")
        );
        loops(&Doc::parse(&xml).unwrap())
    }

    fn order(first: &str, then: &str, rest: &str) -> String {
        format!("<rsc_order id=\"{first}-{then}\" first=\"{first}\" then=\"{then}\" {rest}/>")
    }

    #[test]
    fn a_loop_is_named_step_by_step() {
        let found = of(&(order("a", "b", "") + &order("b", "a", "")));
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with(": start a, then start b, then start a"), "{found:?}");
        assert_eq!(of(&order("a", "a", "")).len(), 1);
        let long = order("a", "b", "") + &order("b", "k", "") + &order("c", "a", "");
        assert_eq!(of(&long).len(), 1, "through a clone");
    }

    #[test]
    fn groups_and_sets_are_orders_too() {
        assert_eq!(of(&order("n", "m", "")).len(), 1, "the group starts m first");
        assert_eq!(of(&(order("g", "a", "") + &order("a", "m", ""))).len(), 1);
        let set = "<rsc_order id=\"s\"><resource_set id=\"1\"><resource_ref id=\"a\"/>\
                   <resource_ref id=\"b\"/></resource_set><resource_set id=\"2\">\
                   <resource_ref id=\"c\"/></resource_set></rsc_order>";
        assert_eq!(of(set), [""; 0]);
        assert_eq!(of(&format!("{set}{}", order("c", "a", ""))).len(), 1);
    }

    #[test]
    fn what_can_be_met_is_no_loop() {
        assert_eq!(of(&(order("a", "b", "") + &order("b", "a", "kind=\"Optional\""))), [""; 0]);
        let stop = order("b", "a", "first-action=\"stop\"");
        assert_eq!(of(&(order("a", "b", "") + &stop)), [""; 0]);
        assert_eq!(
            of(&(order("a", "b", "") + &order("a", "g", "") + &order("b", "g", ""))),
            [""; 0]
        );
    }
}
