//! Why a resource is (not) where it is, in sentences.
//!
//! Facts come from the tables of a finished plan: what added up to each score, what keeps a node
//! or an action from being used. What decided is not guessed but tried out: each fact that could
//! be changed is changed on a copy of the model, and the plan made again. A change that alters the
//! answer is decisive, and the smallest one is the remedy.

mod actions;
mod causes;
mod change;
mod facts;
mod search;
mod text;

use std::collections::BTreeSet;
use std::sync::Arc;

use cib_model::{Model, Str, Time, readable_score};
use serde::Serialize;

use crate::base::{NodeIx, RscIx, Variant, Where, Ws, af, rf};
use crate::status::PlanFlags;
use facts::Fact;
use search::Goal;
pub use text::action_lines;

/// The answer to "why is it (not) there?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The resource that was asked about.
    pub resource: String,
    /// The node that was asked about, if one was.
    pub node: Option<String>,
    /// The answer in a sentence or two.
    pub verdict: String,
    /// What keeps the resource as a whole from running or from being touched.
    pub causes: Vec<String>,
    /// What speaks for and against each node (or the one that was asked about).
    pub nodes: Vec<NodeExplanation>,
    /// What decided: without any one of these the answer would be another.
    pub decisive: Vec<String>,
    /// Ways to alter the answer, smallest first; each was tried out and does it.
    pub remedies: Vec<Remedy>,
    /// What is about to be done with the resource, and why.
    pub actions: Vec<ActionReason>,
}

/// What speaks for and against one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeExplanation {
    /// Its name.
    pub name: String,
    /// The sum, `None` where the resource may not run at all.
    pub score: Option<String>,
    /// Whether the resource is active there.
    pub active: bool,
    /// Whether it was chosen.
    pub chosen: bool,
    /// What makes up the score, and what else keeps the node from being used.
    pub reasons: Vec<Line>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it adds to the score, if it is about the score.
    pub score: Option<String>,
    /// What it is.
    pub text: String,
}

/// A way to alter the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What to do; all of it where there are several steps.
    pub steps: Vec<Step>,
    /// What becomes of the resource then.
    pub result: String,
    /// What else changes place with it.
    pub follows: Vec<String>,
}

/// A step of a remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What to do, in words.
    pub text: String,
    /// The command that does it, where there is one.
    pub command: Option<String>,
}

/// An action of the plan, and why it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionReason {
    /// What is done to what.
    pub action: String,
    /// Where.
    pub node: Option<String>,
    /// Whether it can be done.
    pub possible: bool,
    /// Why it is to be done, or why it cannot be.
    pub why: String,
}

/// Nothing of this name is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No such resource.
    #[error("there is no resource '{id}'{}", nearest(.known))]
    Resource {
        /// The name that was asked for.
        id: String,
        /// The nearest name that there is.
        known: Option<String>,
    },
    /// No such node.
    #[error("there is no node '{id}'{}", nearest(.known))]
    Node {
        /// The name that was asked for.
        id: String,
        /// The nearest name that there is.
        known: Option<String>,
    },
}

fn nearest(known: &Option<String>) -> String {
    known.as_ref().map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// Explains why a resource is where it is, or why it is (not) on `node`.
///
/// # Errors
/// If the CIB knows no such resource or node.
pub fn explain(
    model: &Arc<Model>,
    now: Time,
    resource: &str,
    node: Option<&str>,
) -> Result<Explanation, Unknown> {
    let ws = planned(model.clone(), now);
    let rsc = ws.find_rsc(resource).ok_or_else(|| Unknown::Resource {
        id: resource.to_owned(),
        known: closest(resource, ws.rscs.iter().map(|r| &*r.id)),
    })?;
    let asked = match node {
        None => None,
        Some(name) => Some(ws.find_node(name).ok_or_else(|| Unknown::Node {
            id: name.to_owned(),
            known: closest(name, ws.nodes.iter().map(|n| &*n.name)),
        })?),
    };
    Ok(Explainer { ws: &ws, rsc, asked }.explain(model, now))
}

/// Every action of the plan for a CIB, and why it is there.
pub fn explain_plan(model: &Arc<Model>, now: Time) -> Vec<ActionReason> {
    let ws = planned(model.clone(), now);
    actions::of_plan(&ws)
}

fn planned(model: Arc<Model>, now: Time) -> Ws {
    crate::schedule_model(model, now, PlanFlags::default(), 0).into_ws()
}

/// The nearest of some names, if it is near enough to be a slip.
fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let all = known.map(|k| (distance(name, k), k));
    all.min()
        .filter(|(d, _)| *d <= name.len().div_ceil(4) && *d < name.len())
        .map(|(_, k)| k.to_owned())
}

/// How many letters have to be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

struct Explainer<'a> {
    ws: &'a Ws,
    rsc: RscIx,
    asked: Option<NodeIx>,
}

impl Explainer<'_> {
    fn explain(&self, model: &Arc<Model>, now: Time) -> Explanation {
        let ws = self.ws;
        let causes = causes::of(ws, self.rsc);
        let promotion = causes::of_promotion(ws, self.rsc);
        let wanted: Vec<NodeIx> = match self.asked {
            Some(node) => vec![node],
            None => ws.node_order.iter().rev().copied().collect(),
        };
        let mut changes = BTreeSet::new();
        let mut facts: Vec<Fact> = causes.iter().chain(&promotion).cloned().collect();
        let mut nodes = Vec::new();
        for node in &wanted {
            let own = facts::of_node(ws, self.rsc, *node);
            nodes.push(self.node(*node, &own));
            facts.extend(own);
        }
        // What speaks for the nodes that were not asked about may be what decides.
        for node in ws.node_order.iter().filter(|n| !wanted.contains(n)) {
            facts.extend(facts::of_node(ws, self.rsc, *node));
        }
        changes.extend(facts.iter().filter_map(|f| f.change.clone()));
        let goal = self.goal(&promotion);
        let found = search::search(ws, model, now, self.rsc, &goal, &changes);
        let mut decisive: Vec<String> = Vec::new();
        let mut told = BTreeSet::new();
        for fact in &facts {
            let decides = fact.change.as_ref().is_some_and(|c| found.single.contains(c));
            if decides && told.insert(fact.change.as_ref()) {
                decisive.push(fact.told(ws));
            }
        }
        let texts = |facts: &[Fact]| facts.iter().map(|f| f.text.clone()).collect::<Vec<_>>();
        let mut all = texts(&causes);
        all.extend(texts(&promotion));
        all.dedup();
        let mut explanation = Explanation {
            resource: ws[self.rsc].id.to_string(),
            node: self.asked.map(|n| ws[n].name.to_string()),
            verdict: self.verdict(),
            causes: all,
            nodes,
            decisive,
            remedies: found.remedies,
            actions: actions::of_resource(ws, self.rsc),
        };
        if explanation.decisive.is_empty()
            && let Some(text) = self.tie()
        {
            explanation.decisive.push(text);
        }
        explanation
    }

    /// What would be another answer.
    fn goal(&self, promotion: &[Fact]) -> Goal {
        let (ws, rsc) = (self.ws, self.rsc);
        let chosen = places(ws, rsc);
        let runs = search::runs_on(ws, rsc);
        match self.asked {
            Some(node) if runs.contains(&node) => Goal::NotOn(node),
            Some(node) => Goal::On(node),
            None if !promotion.is_empty() => Goal::Promoted,
            None if runs.is_empty() => Goal::Somewhere,
            None => Goal::Otherwise(chosen),
        }
    }

    fn node(&self, node: NodeIx, facts: &[Fact]) -> NodeExplanation {
        let (ws, leaf) = (self.ws, facts::leaf(self.ws, self.rsc, node));
        let score = ws[leaf].allowed.score(node);
        NodeExplanation {
            name: ws[node].name.to_string(),
            score: score.map(readable_score).map(|s| s.to_string()),
            active: active(ws, self.rsc).contains(&node),
            chosen: places(ws, self.rsc).contains(&node),
            reasons: facts.iter().map(Fact::line).collect(),
        }
    }

    fn verdict(&self) -> String {
        let (ws, rsc) = (self.ws, self.rsc);
        let (now, then) = (active(ws, rsc), search::runs_on(ws, rsc));
        let id = &ws[rsc].id;
        let kept = !ws[rsc].is(rf::MANAGED) && ws.is_primitive(rsc);
        let mut text = match (&now[..], &then[..]) {
            ([], []) => format!("{id} is stopped and stays so."),
            ([], to) => format!("{id} is stopped and is to start on {}.", names(ws, to)),
            (from, []) if kept => format!("{id} is on {} and is left alone.", names(ws, from)),
            (from, []) => format!("{id} is on {} and is to stop.", names(ws, from)),
            (from, to) if same(from, to) => format!("{id} runs on {}.", names(ws, from)),
            (from, to) => {
                format!("{id} is on {} and is to be on {}.", names(ws, from), names(ws, to))
            }
        };
        let promoted = promoted(ws, rsc);
        if ws.is_promotable(rsc) {
            text.push_str(&match &promoted[..] {
                [] => " No instance is to be promoted.".to_owned(),
                some => format!(" Promoted: {}.", names(ws, some)),
            });
        }
        if let Some(node) = self.asked.filter(|n| !then.contains(n)) {
            text.push_str(&format!(" It is not to be on {}.", ws[node].name));
        }
        text
    }

    /// What decides where scores do not.
    fn tie(&self) -> Option<String> {
        let (ws, rsc) = (self.ws, self.rsc);
        let leaf = facts::leaf(ws, rsc, self.asked?);
        let chosen = ws[leaf].assigned_node()?;
        let asked = self.asked.filter(|n| *n != chosen)?;
        let row = &ws[leaf].allowed;
        (row.score(asked) == row.score(chosen) && ws.available(asked)).then(|| {
            format!(
                "Both nodes score the same; {} is chosen because it has fewer resources, or comes \
                 first.",
                ws[chosen].name
            )
        })
    }
}

/// The primitives that a resource is made of; of a bundle, its containers.
fn primitives(ws: &Ws, rsc: RscIx) -> Vec<RscIx> {
    let r = &ws[rsc];
    match r.variant {
        Variant::Primitive => vec![rsc],
        Variant::Bundle => r.bundle.replicas.iter().map(|replica| replica.container).collect(),
        _ => r.children.iter().flat_map(|c| primitives(ws, *c)).collect(),
    }
}

fn collect(ws: &Ws, rsc: RscIx, of: impl Fn(RscIx) -> Vec<NodeIx>) -> Vec<NodeIx> {
    let mut nodes: Vec<NodeIx> = primitives(ws, rsc).into_iter().flat_map(of).collect();
    nodes.sort_by(|a, b| ws[*a].name.cmp(&ws[*b].name));
    nodes.dedup();
    nodes
}

/// Where it is active now.
fn active(ws: &Ws, rsc: RscIx) -> Vec<NodeIx> {
    collect(ws, rsc, |p| ws[p].active.clone())
}

/// Where it was assigned to, whether or not it can start there.
fn places(ws: &Ws, rsc: RscIx) -> Vec<NodeIx> {
    collect(ws, rsc, |p| ws[p].assigned_node().into_iter().collect())
}

fn promoted(ws: &Ws, rsc: RscIx) -> Vec<NodeIx> {
    let place = |p: RscIx| ws.location(p, Where::Assigned).into_iter().collect();
    collect(ws, rsc, |p| match ws[p].next_role {
        cib_model::Role::Promoted => place(p),
        _ => Vec::new(),
    })
}

fn same(a: &[NodeIx], b: &[NodeIx]) -> bool {
    a.len() == b.len() && a.iter().all(|n| b.contains(n))
}

fn names(ws: &Ws, nodes: &[NodeIx]) -> String {
    let names: Vec<Str> = nodes.iter().map(|n| ws[*n].name.clone()).collect();
    match &names[..] {
        [] => "no node".to_owned(),
        [one] => one.to_string(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Whether an action is in the plan, or would be if it were possible.
fn is_needed(ws: &Ws, action: crate::base::ActionIx) -> bool {
    !ws[action].is(af::OPTIONAL)
}
