//! The graph in the language of Graphviz.

use std::fmt::Write as _;

use crate::base::{ActionIx, Ws, af, ar, rf, task};

/// The name that a drawing has for an action.
fn name_of(ws: &Ws, action: ActionIx) -> String {
    let a = &ws[action];
    let host = match a.node {
        Some(node) => Some(&*ws[node].name),
        None if a.is(af::PSEUDO) => None,
        None => Some("<none>"),
    };
    let on = |text: String| match host {
        Some(host) => format!("{text} {host}"),
        None => text,
    };
    let cancels = a.task == task::CANCEL;
    let prefix = if cancels { "Cancel " } else { "" };
    let name = ws.names.text(if cancels { a.cancel_task.unwrap_or(a.task) } else { a.task });
    let meta = |name: &str| a.meta.get(name).unwrap_or("");
    if let Some(id) = a.rsc.and_then(|r| ws[r].history_id.as_deref()) {
        let key = if matches!(a.task, task::NOTIFY | task::NOTIFIED) {
            let (kind, about) = (meta("notify_key_type"), meta("notify_key_operation"));
            format!("{prefix}{id}_{kind}_notify_{about}_0")
        } else {
            format!("{prefix}{id}_{name}_{}", ws.meta_interval(action))
        };
        return on(key);
    }
    if a.task == task::STONITH {
        return on(format!("{prefix}{name} '{}'", meta("stonith_action")));
    }
    match (a.rsc, host) {
        (Some(_), Some(_)) => on(format!("{prefix}{}", ws.key_text(action))),
        (None, Some(_)) => on(format!("{prefix}{name}")),
        _ => ws.key_text(action),
    }
}

/// The whole drawing.
///
/// With `all` also what needs not be done and what is not managed; with `numbers` the numbers of
/// actions.
pub(super) fn write(ws: &Ws, all: bool, numbers: bool) -> String {
    let mut out = String::from(" digraph \"g\" {\n");
    let mut shown = vec![false; ws.actions.len()];
    let named = |at: usize| match (name_of(ws, ActionIx(at as u32)), numbers) {
        (name, true) => format!("{name} ({})", crate::graph::number(ActionIx(at as u32))),
        (name, false) => name,
    };
    let names: Vec<String> = (0..ws.actions.len()).map(named).collect();
    for at in (0..ws.actions.len()).rev() {
        let a = &ws.actions[at];
        let graphed = a.is(af::ADDED_TO_GRAPH);
        let unmanaged = a.rsc.is_some_and(|r| !ws[r].is(rf::MANAGED));
        if !all && !graphed && (unmanaged || a.is(af::OPTIONAL)) {
            continue;
        }
        shown[at] = true;
        let font = if a.is(af::PSEUDO) { "orange" } else { "black" };
        let (style, color, font) = match (graphed, unmanaged, a.is(af::OPTIONAL)) {
            (true, ..) => ("bold", "green", font),
            (_, true, _) => ("dashed", "red", "purple"),
            (.., true) => ("dashed", "blue", font),
            _ => ("dashed", "red", font),
        };
        let name = &names[at];
        let _ = writeln!(out, "\"{name}\" [ style={style} color=\"{color}\" fontcolor=\"{font}\"]");
    }
    for at in (0..ws.actions.len()).rev() {
        for rel in ws.actions[at].before.iter().rev() {
            let first = rel.action.0 as usize;
            let style = if rel.graphed {
                "bold"
            } else if rel.flags != ar::NONE
                && (all
                    || (shown[first] && shown[at] && rel.flags != ar::IF_ON_SAME_NODE_OR_TARGET))
            {
                "dashed"
            } else {
                continue;
            };
            let _ = writeln!(out, "\"{}\" -> \"{}\" [ style = {style}]", names[first], names[at]);
        }
    }
    out.push_str("}\n");
    out
}
