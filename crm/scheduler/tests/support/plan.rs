//! A plan, told for people: what changes and why, what is done after what, where things are then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use cib_model::{Model, Role, Time};
use cib_xml::Doc;
use crm_graph::{Action, ActionKind, Transition};
use crm_scheduler::overview::{Overview, overview};
use crm_scheduler::{Change, PlanFlags, schedule_model};

use super::small::NOW;

/// What a plan says.
pub(crate) struct Told {
    changes: Vec<String>,
    /// In an order in which they can be carried out, with what comes before, however far.
    actions: Vec<(String, BTreeSet<usize>)>,
    /// What waits for something that is never done.
    stuck: Vec<String>,
    /// Where each primitive is, and in which role, by the name that it is shown by.
    places: BTreeMap<String, Vec<(String, Role)>>,
    problems: Vec<String>,
}

impl Told {
    pub(crate) fn of(cib: Doc) -> Told {
        let now = Time::from_epoch(NOW);
        let model = Arc::new(Model::from_doc(&cib.into(), now));
        let plan = schedule_model(model.clone(), now, PlanFlags::default(), 1);
        let (actions, stuck) = sequence(&plan.transition);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Told {
            changes: plan.summary().iter().map(|change| words(&change.text)).collect(),
            actions,
            places: places(&overview(model, now), plan.summary(), &stuck),
            stuck,
            problems: plan.problems().map(|problem| problem.text).collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for (title, lines) in [("Problems", &self.problems), ("Changes", &self.changes)] {
            if !lines.is_empty() {
                let _ = writeln!(out, "{title}:");
                lines.iter().for_each(|line| _ = writeln!(out, "  {line}"));
            }
        }
        out.push_str("Plan:\n");
        if self.actions.is_empty() {
            out.push_str("  nothing to do\n");
        }
        for (at, (label, _)) in self.actions.iter().enumerate() {
            let next: Vec<String> =
                self.just_before(at).into_iter().map(|n| (n + 1).to_string()).collect();
            let after = match next.is_empty() {
                true => String::new(),
                false => format!(", after {}", next.join(" ")),
            };
            let _ = writeln!(out, "  {} {label}{after}", at + 1);
        }
        self.stuck.iter().for_each(|label| _ = writeln!(out, "  never: {label}"));
        out.push_str("Afterwards:\n");
        for (id, places) in &self.places {
            let place = |(node, role): &(String, Role)| match role {
                Role::Promoted => format!("{node} (promoted)"),
                _ => node.clone(),
            };
            let places: Vec<String> = places.iter().map(place).collect();
            let text = if places.is_empty() { "stopped".to_owned() } else { places.join(", ") };
            let _ = writeln!(out, "  {id}: {text}");
        }
        out
    }

    /// The actions before one that are before no other one of them.
    fn just_before(&self, at: usize) -> Vec<usize> {
        let before = &self.actions[at].1;
        let covered = |n: &usize| before.iter().any(|other| self.actions[*other].1.contains(n));
        before.iter().copied().filter(|n| !covered(n)).collect()
    }

    fn find(&self, label: &str) -> Option<usize> {
        let is = |text: &str| {
            text == label || text.strip_prefix(label).is_some_and(|rest| rest.starts_with(" ("))
        };
        self.actions.iter().position(|(text, _)| is(text))
    }

    /// Whether the plan is as expected, or why it is not.
    pub(crate) fn meets(&self, expected: &str) -> Result<(), String> {
        let words: Vec<&str> = expected.split_whitespace().collect();
        let wrong = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        let within = |texts: &[String], text: &[&str]| {
            let text = text.join(" ");
            texts.iter().any(|t| t.contains(&text))
        };
        match words[..] {
            ["nothing", "to", "do"] => wrong(self.actions.is_empty(), "something is to do"),
            ["do", ..] => {
                wrong(self.find(&expected["do ".len()..]).is_some(), "that is not planned")
            }
            ["no", ref label @ ..] => {
                let label = label.join(" ");
                let there = |(text, _): &(String, _)| {
                    text.strip_prefix(&*label)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
                };
                wrong(!self.actions.iter().any(there), "that is planned")
            }
            ["because", ref text @ ..] => wrong(within(&self.changes, text), "no such reason"),
            ["problem", ref text @ ..] => wrong(within(&self.problems, text), "no such problem"),
            _ if expected.contains(" regardless of ") => {
                let (one, other) = expected.split_once(" regardless of ").unwrap_or_default();
                let one = self.find(one).ok_or_else(|| format!("no {one}"))?;
                let other = self.find(other).ok_or_else(|| format!("no {other}"))?;
                let ordered = |a: usize, b: usize| self.actions[a].1.contains(&b);
                wrong(!ordered(one, other) && !ordered(other, one), "one is before the other")
            }
            [id, "promoted", "nowhere"] => self.is_on(id, Some(Role::Promoted), &[]),
            _ if expected.contains(" before ") => {
                let (first, then) = expected.split_once(" before ").unwrap_or_default();
                let first = self.find(first).ok_or_else(|| format!("no {first}"))?;
                let then = self.find(then).ok_or_else(|| format!("no {then}"))?;
                wrong(self.actions[then].1.contains(&first), "they are not in this order")
            }
            [id, "stopped"] => self.is_on(id, None, &[]),
            [id, "promoted", "on", ref nodes @ ..] => self.is_on(id, Some(Role::Promoted), nodes),
            [id, "on", ref nodes @ ..] => self.is_on(id, None, nodes),
            _ => panic!("what is 'expect {expected}'?"),
        }
    }

    fn is_on(&self, id: &str, role: Option<Role>, nodes: &[&str]) -> Result<(), String> {
        let places = self.places.get(id).ok_or_else(|| format!("there is no {id}"))?;
        let own = places.iter().filter(|(_, r)| role.is_none_or(|role| role == *r));
        let mut own: Vec<&str> = own.map(|(node, _)| node.as_str()).collect();
        let mut nodes = nodes.to_vec();
        own.sort_unstable();
        nodes.sort_unstable();
        match own == nodes {
            true => Ok(()),
            false => Err(format!("it is on {own:?}")),
        }
    }
}

/// Where resources are once the plan was carried out.
fn places(
    now: &Overview,
    changes: &[Change],
    stuck: &[String],
) -> BTreeMap<String, Vec<(String, Role)>> {
    let mut places: BTreeMap<String, Vec<(String, Role)>> = BTreeMap::new();
    for rsc in now.resources.iter().filter(|rsc| rsc.children.is_empty() && rsc.replicas.is_empty())
    {
        let list = places.entry(rsc.shown_id.to_string()).or_default();
        let is_own = |c: &&Change| c.resource.as_ref() == Some(&rsc.id) && !c.blocked;
        // What it waits for is never done.
        let waits = |label: &String| label.split(' ').nth(1) == Some(&*rsc.shown_id);
        let change = changes.iter().rev().find(is_own);
        match change.filter(|_| !stuck.iter().any(waits)) {
            // What is recovered where it is has no other node to name.
            Some(change) if change.what == "Recover" => {
                let node = change.to.clone().or_else(|| change.from.clone());
                list.extend(node.map(|node| (node, change.roles.1)));
            }
            Some(change) => list.extend(change.to.clone().map(|node| (node, change.roles.1))),
            None => {
                list.extend(rsc.nodes.iter().map(|n| (now.nodes[*n].name.to_string(), rsc.role)))
            }
        }
        list.sort();
    }
    places
}

/// Actions in an order in which they can be carried out, each with those before it, and what is
/// never ready. Markers are left out.
fn sequence(transition: &Transition) -> (Vec<(String, BTreeSet<usize>)>, Vec<String>) {
    let mut order: Vec<(String, BTreeSet<usize>)> = Vec::new();
    // What is done before an action is done, itself included, by its id.
    let mut done: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
    let mut open: Vec<(Option<String>, &crm_graph::Synapse)> =
        transition.synapses.iter().map(|s| (label(&s.action), s)).collect();
    open.sort_by(|a, b| (&a.0, &a.1.action.key).cmp(&(&b.0, &b.1.action.key)));
    let ready = |done: &BTreeMap<u32, _>, s: &crm_graph::Synapse| {
        s.inputs.iter().all(|i| done.contains_key(i))
    };
    while let Some(at) = open.iter().position(|(_, s)| ready(&done, s)) {
        let (label, synapse) = open.remove(at);
        let mut before: BTreeSet<usize> =
            synapse.inputs.iter().flat_map(|i| done[i].iter().copied()).collect();
        if let Some(label) = label {
            order.push((label, before.clone()));
            before.insert(order.len() - 1);
        }
        done.insert(synapse.action.id, before);
    }
    (order, open.into_iter().filter_map(|(label, _)| label).collect())
}

/// What is done, in words; nothing for markers.
fn label(action: &Action) -> Option<String> {
    let node = action.on_node.as_deref().unwrap_or("?");
    let id = action.resource.as_ref().map_or("", |r| &*r.id);
    let interval = action.attribute("CRM_meta_interval").and_then(|ms| ms.parse::<u64>().ok());
    let interval = interval.unwrap_or(0) / 1000;
    let text = match (&action.kind, &*action.operation) {
        (ActionKind::Pseudo, _) => return None,
        (ActionKind::Cluster, "stonith") => {
            format!("fence {node} ({})", action.attribute("CRM_meta_stonith_action").unwrap_or(""))
        }
        (ActionKind::Cluster, "do_shutdown") => format!("shutdown {node}"),
        (_, "monitor") if interval == 0 => format!("probe {id} on {node}"),
        (_, "monitor") => {
            let role =
                action.attribute("CRM_meta_role").map_or(String::new(), |r| format!(" as {r}"));
            format!("monitor {id} every {interval}s{role} on {node}")
        }
        (_, "cancel") => format!("cancel monitor {id} every {interval}s on {node}"),
        (_, "notify") => {
            let part = |name| action.attribute(name).unwrap_or("?");
            let (kind, of) = (part("CRM_meta_notify_type"), part("CRM_meta_notify_operation"));
            format!("notify {id} of {kind}-{of} on {node}")
        }
        (_, "migrate_from") => {
            let source = action.attribute("CRM_meta_migrate_source").unwrap_or("?");
            format!("migrate_from {id} on {node} (from {source})")
        }
        (_, name) => format!("{name} {id} on {node}"),
    };
    Some(text)
}
