//! Explanations as text for people.

use std::fmt;

use super::{ActionReason, Explanation, NodeExplanation, Remedy};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.verdict)?;
        section(f, "Because", self.causes.clone())?;
        section(f, "Nodes and their scores", self.nodes.iter().flat_map(node_lines))?;
        section(f, "What decides", self.decisive.clone())?;
        let title = "What would change it, smallest first (each was tried on a copy)";
        section(f, title, self.remedies.iter().flat_map(remedy_lines))?;
        let actions = action_lines(&self.actions);
        section(f, "What is about to be done", actions.lines().map(str::to_owned))
    }
}

fn section(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl IntoIterator<Item = String>,
) -> fmt::Result {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        writeln!(f, "\n{title}:")?;
    }
    lines.try_for_each(|line| writeln!(f, "  {line}"))
}

fn node_lines(node: &NodeExplanation) -> Vec<String> {
    let mark = match (node.active, node.chosen) {
        (true, true) => ", where it is and stays",
        (true, false) => ", where it is",
        (false, true) => ", which is chosen",
        (false, false) => "",
    };
    let score = node.score.as_deref().unwrap_or("not allowed");
    let mut lines = vec![format!("{}{mark}: {score}", node.name)];
    for line in &node.reasons {
        let score = line.score.as_deref().unwrap_or("");
        lines.push(format!("  {score:>10}  {}", line.text));
    }
    lines
}

fn remedy_lines(remedy: &Remedy) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, step) in remedy.steps.iter().enumerate() {
        let lead = if at == 0 { "-" } else { "  and" };
        let command = step.command.as_ref().map_or(String::new(), |c| format!(":  {c}"));
        lines.push(format!("{lead} {}{command}", step.text));
    }
    lines.push(format!("    then {}", remedy.result));
    lines.extend(remedy.follows.iter().map(|f| format!("    and {f}")));
    lines
}

/// Actions as lines, what is done and why in columns.
pub fn action_lines(actions: &[ActionReason]) -> String {
    let what = |a: &ActionReason| match &a.node {
        Some(node) => format!("{} on {node}", a.action),
        None => a.action.clone(),
    };
    let width = actions.iter().map(|a| what(a).len()).max().unwrap_or(0);
    actions.iter().map(|a| format!("{:<width$}  {}\n", what(a), a.why)).collect()
}
