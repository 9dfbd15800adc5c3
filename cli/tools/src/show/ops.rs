//! Recorded operations in words.

use cib_model::{HistoryOp, exit_status_text};
use crm_scheduler::overview::{Overview, RscHistoryView};

use super::time_text;

/// A duration for people.
pub(crate) fn interval_text(ms: u32) -> String {
    const UNITS: [(u32, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m")];
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    let mut left = ms;
    for (unit, letter) in UNITS {
        if left >= unit {
            out.push_str(&format!("{}{letter}", left / unit));
            left %= unit;
        }
    }
    match (left / 1000, left % 1000) {
        (0, 0) => {}
        (0, ms) => out.push_str(&format!("{ms}ms")),
        (s, 0) => out.push_str(&format!("{s}s")),
        (s, ms) => out.push_str(&format!("{s}.{ms:03}s")),
    }
    out
}

/// How the execution of an operation ended.
pub(crate) fn status_text(status: Option<i32>) -> &'static str {
    match status.unwrap_or(0) {
        -1 => "Pending",
        0 => "Done",
        1 => "Cancelled",
        2 => "Timed out",
        3 => "Unsupported",
        4 => "Error",
        5 => "Hard error",
        6 => "Fatal error",
        7 => "Not installed",
        8 => "Internal communication failure",
        9 => "Cannot execute now",
        10 => "No fence device",
        11 => "CIB secrets unavailable",
        _ => "Unrecognized status (bug?)",
    }
}

/// The operations of a history that are worth showing, by the order of their calls.
pub(crate) fn shown_ops<'a>(view: &'a Overview, history: &RscHistoryView) -> Vec<&'a HistoryOp> {
    let mut ops: Vec<&HistoryOp> = view
        .ops(history)
        .iter()
        .filter(|op| op.operation() != Some("notify"))
        .filter(|op| !(op.rc == Some(7) && op.is_probe()))
        .collect();
    ops.sort_by_key(|op| op.call_id);
    ops
}

/// An operation's name; a monitor that does not recur is a probe.
pub(crate) fn task(op: &HistoryOp) -> &str {
    if op.is_probe() { "probe" } else { op.operation().unwrap_or_default() }
}

/// One line about an operation.
pub(super) fn op_text(op: &HistoryOp, timing: bool) -> String {
    let mut text = format!("({}) {}", op.call_id, task(op));
    if op.interval_ms != 0 || timing {
        text.push(':');
    }
    if op.interval_ms != 0 {
        text.push_str(&format!(" interval=\"{}ms\"", op.interval_ms));
    }
    if timing {
        if let Some(at) = op.last_rc_change().filter(|at| *at > 0) {
            text.push_str(&format!(" last-rc-change=\"{}\"", time_text(at)));
        }
        for (name, value) in [("exec-time", op.exec_time()), ("queue-time", op.queue_time())] {
            if let Some(value) = value {
                text.push_str(&format!(" {name}=\"{value}ms\""));
            }
        }
        let rc = op.rc.unwrap_or(0);
        text.push_str(&format!(" rc={rc} ({})", exit_status_text(rc)));
    }
    text
}

/// A failure in a sentence.
pub(super) fn friendly(op: &HistoryOp, node: &str) -> String {
    let key = op.key().unwrap_or_default();
    let (rsc, name, interval) =
        cib_model::parse_op_key(key).unwrap_or(("unknown resource", "unknown action", 0));
    let mut text = format!("{rsc} ");
    if interval != 0 {
        text.push_str(&format!("{}-interval ", interval_text(interval)));
    }
    let name = if name == "monitor" && interval == 0 { "probe" } else { name };
    text.push_str(&format!("{name} on {node}"));
    let reason = op.exit_reason().filter(|r| !r.is_empty());
    if op.status.unwrap_or(0) == 0 {
        text.push_str(&format!(" returned '{}'", exit_status_text(op.rc.unwrap_or(0))));
        if let Some(reason) = reason {
            text.push_str(&format!(" ({reason})"));
        }
    } else {
        text.push_str(&format!(" could not be executed ({}", status_text(op.status)));
        if let Some(reason) = reason {
            text.push_str(&format!(": {reason}"));
        }
        text.push(')');
    }
    if let Some(at) = op.last_rc_change() {
        text.push_str(&format!(" at {}", time_text(at)));
    }
    let exec = op.exec_time().and_then(|t| t.parse::<u32>().ok());
    if let Some(ms) = exec.filter(|ms| *ms > 0) {
        text.push_str(&format!(" after {}", interval_text(ms)));
    }
    text
}

/// A failure with all that was recorded.
pub(super) fn technical(op: &HistoryOp, node: &str) -> String {
    let key = op.key().unwrap_or("unknown operation");
    let rc = op.rc.unwrap_or(0);
    let mut text = format!(
        "{key} on {node} '{}' ({rc}): call={}, status='{}'",
        exit_status_text(rc),
        op.call_id,
        status_text(op.status)
    );
    if let Some(reason) = op.exit_reason().filter(|r| !r.is_empty()) {
        text.push_str(&format!(", exitreason='{reason}'"));
    }
    if let Some(at) = op.last_rc_change() {
        text.push_str(&format!(", last-rc-change='{}'", time_text(at)));
    }
    for (name, value) in [("queued", op.queue_time()), ("exec", op.exec_time())] {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            text.push_str(&format!(", {name}={value}ms"));
        }
    }
    text
}
