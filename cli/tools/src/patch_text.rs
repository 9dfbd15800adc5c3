//! Patchsets for people.

use cib_xml::{Doc, Node, Style, patch};

/// What a patchset changes, a line a change.
pub fn describe(patchset: &Doc) -> String {
    let mut out = String::new();
    let root = patchset.root();
    if let Some((source, target)) = patch::versions(patchset) {
        let text = |v: [u64; 3]| format!("{}.{}.{}", v[0], v[1], v[2]);
        if source != target {
            let format = root.attr("format").unwrap_or("(no format)");
            let digest = root.attr("digest").unwrap_or("(no digest)");
            out.push_str(&format!("Diff: --- {} {format}\n", text(source)));
            out.push_str(&format!("Diff: +++ {} {digest}\n", text(target)));
        } else if target != [0; 3] {
            out.push_str(&format!("Local-only Change: {}\n", text(target)));
        }
    }
    for change in root.children_named("change") {
        let path = change.attr("path").unwrap_or_default();
        match change.attr("operation") {
            Some("create") => describe_create(change, path, &mut out),
            Some("move") => {
                let position = change.attr("position").unwrap_or_default();
                out.push_str(&format!("+~ {path} moved to offset {position}\n"));
            }
            Some("delete") => match change.attr("position") {
                Some(position) => out.push_str(&format!("-- {path} ({position})\n")),
                None => out.push_str(&format!("-- {path}\n")),
            },
            Some("modify") => describe_modify(change, path, &mut out),
            _ => {}
        }
    }
    out
}

fn describe_create(change: Node<'_>, path: &str, out: &mut String) {
    let Some(node) = change.all_children().next() else { return };
    let first = format!("++ {path}: ");
    let rest = format!("++{}", " ".repeat(first.chars().count() - 2));
    for (ix, line) in node.to_xml(Style::Pretty).lines().enumerate() {
        out.push_str(if ix == 0 { &first } else { &rest });
        out.push(' ');
        out.push_str(line);
        out.push('\n');
    }
}

fn describe_modify(change: Node<'_>, path: &str, out: &mut String) {
    let Some(list) = change.child("change-list") else { return };
    let mut set = Vec::new();
    let mut unset = Vec::new();
    for attr in list.children() {
        let name = attr.attr("name").unwrap_or_default();
        match attr.attr("operation") {
            Some("set") => set.push(format!("@{name}={}", attr.attr("value").unwrap_or_default())),
            Some("unset") => unset.push(format!("@{name}")),
            _ => {}
        }
    }
    if !set.is_empty() {
        out.push_str(&format!("+  {path}:  {}\n", set.join(", ")));
    }
    if !unset.is_empty() {
        out.push_str(&format!("-- {path}:  {}\n", unset.join(", ")));
    }
}
