//! A patchset to a document.

use super::{PatchError, VERSION_FIELDS};
use crate::digest;
use crate::journal::position;
use crate::tree::{Doc, Kind, Node, NodeId};

/// Applies `patch` to `doc`. With `check_version` the document's version has to be the patchset's
/// source. If the patchset carries a digest, the result must have it.
///
/// # Errors
/// If it does not fit. The document may then be half changed: use [`Doc::begin`] and
/// [`Doc::rollback`], or work on a copy.
pub fn apply(doc: &mut Doc, patch: &Doc, check_version: bool) -> Result<(), PatchError> {
    let root = patch.root();
    if root.name() != "diff" {
        return Err(PatchError::Invalid(format!("its root element is <{}>", root.name())));
    }
    match root.attr("format") {
        Some("2") => {}
        other => return Err(PatchError::Invalid(format!("format {}", other.unwrap_or("1")))),
    }
    if check_version {
        version_fits(doc, patch)?;
    }
    let mut late = Vec::new();
    for change in root.children_named("change") {
        early_change(doc, change, &mut late)?;
    }
    late.sort_by_key(|l| l.position);
    for change in &late {
        late_change(doc, change)?;
    }
    match root.attr("digest") {
        Some(expected) if !digest::v2(doc.root()).eq_ignore_ascii_case(expected) => {
            Err(PatchError::Failed("the result has another digest".into()))
        }
        _ => Ok(()),
    }
}

fn version_fits(doc: &Doc, patch: &Doc) -> Result<(), PatchError> {
    let Some((source, target)) = super::versions(patch) else {
        return match patch.root().child("version") {
            Some(_) => Err(PatchError::Invalid("its versions are not numbers".into())),
            None => Ok(()),
        };
    };
    let root = doc.root();
    let current = VERSION_FIELDS.map(|f| root.attr(f).and_then(|v| v.parse().ok()).unwrap_or(0u64));
    let text = |v: [u64; 3]| format!("{}.{}.{}", v[0], v[1], v[2]);
    if current < source {
        let reason = format!("version {} is older than {}", text(current), text(source));
        return Err(PatchError::Failed(reason));
    }
    if current > source || target <= source {
        return Err(PatchError::OldData);
    }
    Ok(())
}

/// A creation or move, to be done by ascending position after everything else.
struct Late<'a> {
    position: i64,
    /// The parent for a creation, the node itself for a move.
    at: NodeId,
    create: Option<Node<'a>>,
}

fn early_change<'a>(
    doc: &mut Doc,
    change: Node<'a>,
    late: &mut Vec<Late<'a>>,
) -> Result<(), PatchError> {
    let Some(operation) = change.attr("operation") else { return Ok(()) };
    let path = change.attr("path").unwrap_or_default();
    let number = change.attr("position").and_then(|p| p.parse::<i64>().ok());
    let place = if operation == "delete" { number } else { None };
    let Some(found) = find(doc, path, place) else {
        // Gone already is as good as deleted.
        if operation == "delete" {
            return Ok(());
        }
        return Err(PatchError::Failed(format!("there is no {path} to {operation}")));
    };
    match operation {
        "delete" if found == doc.root_id() => {
            return Err(PatchError::Failed("the root element is not to be deleted".into()));
        }
        "delete" => doc.detach(found),
        "modify" => {
            let Some(result) = change.child("change-result").and_then(|r| r.children().next())
            else {
                return Err(PatchError::Invalid(format!("no result of the change of {path}")));
            };
            // The order of the result's attributes counts, so they are all made anew.
            doc.clear_attrs(found);
            for (name, value) in result.attrs() {
                doc.set_attr(found, name, value);
            }
        }
        "create" => {
            let Some(node) = change.all_children().next() else {
                return Err(PatchError::Invalid(format!("nothing to create in {path}")));
            };
            late.push(Late { position: number.unwrap_or(-1), at: found, create: Some(node) });
        }
        "move" => {
            let Some(parent) = doc.node(found).parent().map(|p| p.id()) else {
                return Err(PatchError::Failed("the root element is not to be moved".into()));
            };
            doc.detach(found);
            doc.attach(parent, found, None);
            late.push(Late { position: number.unwrap_or(-1), at: found, create: None });
        }
        other => return Err(PatchError::Invalid(format!("unknown operation {other}"))),
    }
    Ok(())
}

fn late_change(doc: &mut Doc, change: &Late<'_>) -> Result<(), PatchError> {
    let wanted = usize::try_from(change.position).unwrap_or(0);
    if let Some(node) = change.create {
        let before = doc.node(change.at).all_children().nth(wanted).map(|n| n.id());
        let copy = doc.copy_detached(node);
        doc.attach(change.at, copy, before);
        return Ok(());
    }
    let Some(parent) = doc.node(change.at).parent().map(|p| p.id()) else {
        return Err(PatchError::Failed("what is to be moved was deleted".into()));
    };
    if position(doc, change.at) == wanted {
        return Ok(());
    }
    doc.detach(change.at);
    let before = doc.node(parent).all_children().nth(wanted).map(|n| n.id());
    doc.attach(parent, change.at, before);
    if position(doc, change.at) == wanted {
        Ok(())
    } else {
        Err(PatchError::Failed(format!("there is no position {wanted} to move to")))
    }
}

/// The element that a path of names and ids means, as patchsets write it.
pub fn find_path(doc: &Doc, path: &str) -> Option<NodeId> {
    find(doc, path, None)
}

/// Follows a path of names and ids; `place` chooses among comments.
fn find(doc: &Doc, path: &str, place: Option<i64>) -> Option<NodeId> {
    let mut rest = path;
    let mut at: Option<Node<'_>> = None;
    while !rest.is_empty() {
        rest = rest.strip_prefix('/')?;
        let name_end = rest.find(['/', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_end);
        let quotes = [("[@id='", "']"), ("[@id=\"", "\"]")];
        let quoted = |(open, close)| Some((after.strip_prefix(open)?, close));
        let (id, after) = match quotes.into_iter().find_map(quoted) {
            Some((quoted, close)) => {
                let (id, after) = quoted.split_once(close)?;
                (Some(id), after)
            }
            None => (None, after),
        };
        rest = after;
        let place = if rest.is_empty() { place } else { None };
        at = match at {
            None => Some(doc.root()).filter(|r| fits(*r, name, id)),
            Some(node) => child(node, name, id, place),
        };
        at?;
    }
    at.map(|n| n.id())
}

fn child<'a>(node: Node<'a>, name: &str, id: Option<&str>, place: Option<i64>) -> Option<Node<'a>> {
    for (ix, child) in node.all_children().enumerate() {
        match child.kind() {
            Kind::Element if fits(child, name, id) => return Some(child),
            Kind::Comment if name == "comment" && place.is_none_or(|p| p == ix as i64) => {
                return Some(child);
            }
            _ => {}
        }
    }
    None
}

fn fits(node: Node<'_>, name: &str, id: Option<&str>) -> bool {
    node.name() == name && id.is_none_or(|id| node.attr("id") == Some(id))
}
