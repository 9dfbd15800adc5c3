//! Which changes alter the answer: each is made on a copy of the model, and the plan made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cib_model::{Model, Role, Str, Time};

use super::change::Change;
use super::{Remedy, Step, names, places, planned, promoted, same};
use crate::base::{NodeIx, RscIx, Variant, Ws, af, task};

/// Plans that are made to find an answer.
const TRIES_MAX: usize = 64;
/// Remedies that are told.
const REMEDIES_MAX: usize = 4;

/// What would be another answer.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// It runs somewhere.
    Somewhere,
    /// It runs on this node.
    On(NodeIx),
    /// It does not run on this node.
    NotOn(NodeIx),
    /// It is placed otherwise than on these nodes.
    Otherwise(Vec<NodeIx>),
    /// An instance is promoted.
    Promoted,
}

impl Goal {
    /// Whether a plan reaches it. Node numbers are the same in all plans of one configuration.
    fn is_met(&self, ws: &Ws, rsc: RscIx) -> bool {
        let runs = runs_on(ws, rsc);
        match self {
            Goal::Somewhere => !runs.is_empty(),
            Goal::On(node) => runs.contains(node),
            Goal::NotOn(node) => !runs.contains(node),
            Goal::Otherwise(nodes) => !same(&places(ws, rsc), nodes),
            Goal::Promoted => !promoted(ws, rsc).is_empty(),
        }
    }

    /// Whether to say how it is reached: nobody needs a remedy for what runs as it should.
    fn is_a_wish(&self) -> bool {
        !matches!(self, Goal::NotOn(_) | Goal::Otherwise(_))
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Changes that alter the answer on their own.
    pub(super) single: BTreeSet<Change>,
    /// The same in words, or the one smallest set of changes where none does on its own.
    pub(super) remedies: Vec<Remedy>,
}

/// Where a resource runs once the plan is carried out: assigned, and able to start.
pub(super) fn runs_on(ws: &Ws, rsc: RscIx) -> Vec<NodeIx> {
    super::collect(ws, rsc, |p| {
        let r = &ws[p];
        let Some(node) = r.assigned_node() else { return Vec::new() };
        let start = ws.first_action(p, task::START, Some(node));
        let can = match start {
            Some(start) if r.active.contains(&node) => ws[start].any(af::RUNNABLE | af::OPTIONAL),
            Some(start) => ws[start].is(af::RUNNABLE) && !ws[start].is(af::OPTIONAL),
            None => r.active.contains(&node),
        };
        let runs = r.next_role > Role::Stopped && can;
        if runs { vec![node] } else { Vec::new() }
    })
}

/// Tries changes out one by one, then, if none does, all at once, leaving out what is not needed.
pub(super) fn search(
    ws: &Ws,
    model: &Arc<Model>,
    now: Time,
    rsc: RscIx,
    goal: &Goal,
    changes: &BTreeSet<Change>,
) -> Found {
    let id = ws[rsc].id.clone();
    let mut found = Found::default();
    let mut candidates: Vec<Change> = changes.iter().cloned().collect();
    let prefer = |node: NodeIx| {
        let rsc = super::facts::configured(ws, rsc);
        Change::Prefer { rsc, node: ws[node].name.clone() }
    };
    match goal {
        Goal::On(node) => candidates.push(prefer(*node)),
        Goal::Somewhere if !ws.config.symmetric => {
            candidates.extend(ws.node_order.iter().rev().map(|n| prefer(*n)));
        }
        _ => {}
    }
    let attempt = |set: &[Change]| {
        let mut changed = (**model).clone();
        set.iter().for_each(|c| c.apply(&mut changed));
        let plan = planned(Arc::new(changed), now);
        let met = plan.find_rsc(&id).is_some_and(|r| goal.is_met(&plan, r));
        met.then_some(plan)
    };
    candidates.truncate(TRIES_MAX / 2);
    for change in &candidates {
        if let Some(plan) = attempt(std::slice::from_ref(change)) {
            found.single.insert(change.clone());
            if goal.is_a_wish() && found.remedies.len() < REMEDIES_MAX {
                found.remedies.push(remedy(ws, &plan, rsc, std::slice::from_ref(change)));
            }
        }
    }
    if found.single.is_empty() && goal.is_a_wish() && attempt(&candidates).is_some() {
        let mut needed = candidates;
        // The largest changes are left out first.
        for at in (0..needed.len()).rev() {
            let mut fewer = needed.clone();
            fewer.remove(at);
            if attempt(&fewer).is_some() {
                needed = fewer;
            }
        }
        if let Some(plan) = attempt(&needed) {
            found.remedies.push(remedy(ws, &plan, rsc, &needed));
        }
    }
    found
}

fn remedy(before: &Ws, after: &Ws, rsc: RscIx, changes: &[Change]) -> Remedy {
    let step = |c: &Change| Step { text: c.text(), command: c.command() };
    let id = before[rsc].id.clone();
    let there = after.find_rsc(&id).map(|r| (runs_on(after, r), promoted(after, r)));
    let result = match there {
        Some((runs, promoted)) if !promoted.is_empty() => {
            format!("{id} runs on {}, promoted on {}", names(after, &runs), names(after, &promoted))
        }
        Some((runs, _)) => format!("{id} runs on {}", names(after, &runs)),
        None => format!("{id} is gone"),
    };
    let (old, new) = (placement(before), placement(after));
    let mut follows = Vec::new();
    for (other, place) in &new {
        let was = old.get(other).cloned().unwrap_or_default();
        let inside = after.find_rsc(other).is_some_and(|o| is_part(after, o, &id));
        if was != *place && !inside {
            let text = |p: &(Option<Str>, Role)| match p {
                (None, _) => "stopped".to_owned(),
                (Some(node), Role::Promoted) => format!("promoted on {node}"),
                (Some(node), _) => node.to_string(),
            };
            follows.push(format!("{other}: {} -> {}", text(&was), text(place)));
        }
    }
    Remedy { steps: changes.iter().map(step).collect(), result, follows }
}

fn is_part(ws: &Ws, rsc: RscIx, of: &str) -> bool {
    *ws[rsc].id == *of || ws[rsc].parent.is_some_and(|p| is_part(ws, p, of))
}

type Placement = BTreeMap<Str, (Option<Str>, Role)>;

/// Where each primitive is to run.
fn placement(ws: &Ws) -> Placement {
    let primitives = (0..ws.rscs.len() as u32).map(RscIx);
    let primitives = primitives.filter(|r| ws[*r].variant == Variant::Primitive);
    primitives
        .filter(|r| !ws[*r].is(crate::base::rf::REMOVED))
        .map(|r| {
            let node = runs_on(ws, r).first().map(|n| ws[*n].name.clone());
            let role = if node.is_some() { ws[r].next_role } else { Role::Stopped };
            (ws[r].id.clone(), (node, role))
        })
        .collect()
}
