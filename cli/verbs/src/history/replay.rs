//! `systole history replay`.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::bail;
use cib_model::{Model, Time};
use cib_xml::Doc;
use crm_graph::ActionKind;
use crm_history::{Entry, Transition};
use crm_scheduler::explain::{action_lines, explain_plan};
use crm_scheduler::{Plan, PlanFlags, schedule_model};
use serde::Serialize;

use crate::cib::read_cib;
use crate::history::place;
use crate::history::record::Record;
use crate::print_json;

/// Exit status where the plan is another one.
const DIFFERS: i32 = 1;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Which transition; the number will do
    id: String,
    /// Why each action is planned
    #[arg(long)]
    why: bool,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    input: String,
    same: bool,
    differences: Vec<String>,
    effects: Vec<String>,
    actions: Vec<String>,
    reasons: String,
}

pub(super) fn run(record: &Record, args: &Args, json: bool) -> anyhow::Result<i32> {
    let Entry::Transition(transition) = record.find(&args.id)? else {
        bail!("{} is a change: only a transition has a plan", args.id);
    };
    let input = place::input(record, &transition)?;
    let doc = read_cib(&input)?;
    let now = time_of(&doc, &transition);
    let model = Arc::new(Model::from_doc(&Arc::new(doc), now));
    let flags = PlanFlags { under_way: true, ..PlanFlags::default() };
    let number = transition.id.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let plan = schedule_model(Arc::clone(&model), now, flags, number);
    let differences = differences(&transition, &plan);
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = Shown {
        id: transition.id.clone(),
        input: input.display().to_string(),
        same: differences.is_empty(),
        differences,
        effects: plan.summary().iter().map(|change| squeeze(&change.text)).collect(),
        actions: keys(&plan).into_iter().collect(),
        reasons: if args.why { action_lines(&explain_plan(&model, now)) } else { String::new() },
    };
    if json {
        print_json(&shown);
    } else {
        shown.print();
    }
    Ok(if shown.same { 0 } else { DIFFERS })
}

impl Shown {
    fn print(&self) {
        outln!("Transition {} again, from {}:", self.id, self.input);
        self.effects.iter().for_each(|line| outln!("  {line}"));
        if self.actions.is_empty() {
            outln!("  Nothing is to be done.");
        } else {
            outln!("Actions:");
            self.actions.iter().for_each(|line| outln!("  {line}"));
        }
        out!("{}", self.reasons);
        if self.same {
            outln!("The plan is the same as it was.");
        } else {
            outln!("The plan is NOT the same as it was:");
            self.differences.iter().for_each(|line| outln!("  {line}"));
        }
    }
}

/// When the plan was made, as its input says.
fn time_of(doc: &Doc, transition: &Transition) -> Time {
    let noted = doc.root().attr("execution-date").and_then(|text| text.parse().ok());
    let begun = i64::try_from(transition.at_ms / 1000).unwrap_or(i64::MAX);
    Time::from_epoch(noted.unwrap_or(begun))
}

/// The actions of a plan that somebody carries out.
fn keys(plan: &Plan) -> BTreeSet<String> {
    let actions = plan.transition.synapses.iter().map(|s| &s.action);
    let real = actions.filter(|a| a.kind != ActionKind::Pseudo);
    real.map(|a| format!("{} on {}", a.key, a.on_node.as_deref().unwrap_or("-"))).collect()
}

/// How a plan differs from what is known of the transition.
fn differences(transition: &Transition, plan: &Plan) -> Vec<String> {
    let actions = plan.transition.synapses.iter().map(|s| &s.action);
    let real: Vec<_> = actions.filter(|a| a.kind != ActionKind::Pseudo).collect();
    let mut found = Vec::new();
    if u32::try_from(real.len()).ok() != Some(transition.planned) {
        found.push(format!("it had {} actions, and has {} now", transition.planned, real.len()));
    }
    for done in transition.actions.iter().filter(|a| !a.earlier && !a.resource.is_empty()) {
        let planned = real.iter().any(|a| {
            let same = a.resource.as_ref().is_some_and(|r| *r.id == *done.resource);
            same && *a.operation == *done.action && a.on_node.as_deref() == Some(&done.node)
        });
        if !planned {
            found.push(format!(
                "{} of {} on {} was part of it",
                done.action, done.resource, done.node
            ));
        }
    }
    found
}
