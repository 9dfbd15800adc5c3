//! `systole history show`.

use cib_xml::Doc;
use crm_history::{Action, Change, Entry, Transition};
use serde_json::{Value, json};

use crate::changes::details;
use crate::history::list::{duration, time, who};
use crate::print_json;

pub(super) fn run(entry: &Entry, json: bool) {
    if json {
        let mut value = serde_json::to_value(entry).unwrap_or(Value::Null);
        if let (Entry::Change(change), Value::Object(fields)) = (entry, &mut value) {
            fields.insert("changes".to_owned(), json!(lines(change)));
        }
        return print_json(&value);
    }
    match entry {
        Entry::Change(change) => tell_change(change),
        Entry::Transition(transition) => tell_transition(transition),
        Entry::Gap { .. } => {}
    }
}

/// What a change did; nothing if that was too much to be kept.
fn lines(change: &Change) -> Option<Vec<String>> {
    let doc = |xml: &Option<String>| xml.as_deref().and_then(|xml| Doc::parse(xml).ok());
    let reverse = doc(&change.reverse).unwrap_or_else(|| Doc::new("diff"));
    doc(&change.patch).map(|patch| details(&patch, &reverse))
}

fn tell_change(change: &Change) {
    outln!("Change {} at {}", change.id, time(change.at_ms));
    outln!("  by: {} ({})", who(change), change.operation);
    outln!("  version: {} to {}", change.from, change.to);
    if let Some((old, new)) = &change.schema {
        outln!("  schema: {old} to {new}");
    }
    match lines(change) {
        Some(lines) => lines.iter().for_each(|line| outln!("  {line}")),
        None => outln!("  It was too large to be kept."),
    }
}

fn tell_transition(transition: &Transition) {
    let t = transition;
    outln!("Transition {} of {} at {}", t.id, t.dc, time(t.at_ms));
    outln!("  because: {} (configuration {})", t.reason, t.configuration);
    outln!("  input: {}", t.input.as_deref().unwrap_or("not kept"));
    outln!("  planned: {} actions", t.planned);
    let why = t.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    outln!("  end: {} after {}{why}", t.outcome, duration(t));
    if t.left > 0 {
        outln!("  never begun: {}", t.left);
    }
    t.actions.iter().for_each(|action| outln!("  {}", action_line(t.at_ms, action)));
    if t.further > 0 {
        outln!("  and {} more results", t.further);
    }
}

fn action_line(begun_ms: u64, action: &Action) -> String {
    let after = action.at_ms.saturating_sub(begun_ms);
    let what = match (action.resource.as_str(), action.interval_ms) {
        ("", _) => format!("fence ({}) of {}", action.action, action.node),
        (resource, 0) => format!("{} of {resource} on {}", action.action, action.node),
        (resource, ms) => {
            format!("{} of {resource} every {} s on {}", action.action, ms / 1000, action.node)
        }
    };
    let result = match (action.good, action.code) {
        (true, Some(0) | None) => "done".to_owned(),
        (true, Some(code)) => format!("done, code {code}"),
        (false, Some(code)) => format!("failed with code {code}"),
        (false, None) => "failed".to_owned(),
    };
    let took = action.ran_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
    let earlier = if action.earlier { ", asked for before" } else { "" };
    let text = if action.text.is_empty() { String::new() } else { format!(": {}", action.text) };
    format!("+{}.{:03} s  {what}: {result}{took}{earlier}{text}", after / 1000, after % 1000)
}
