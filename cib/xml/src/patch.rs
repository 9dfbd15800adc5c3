//! Patchsets of format 2: what changed between two states of a CIB, as XML.
//!
//! A patchset is `<diff format="2">` with the versions before and after, then one `<change>` each
//! for what was deleted, created, modified or moved, addressed by [`crate::path_of`]. Elements are
//! the same if name and id are; a comment is the same if place and text are. Character data does
//! not count. An id with both kinds of quotes in it cannot be addressed; the digest tells where that
//! matters. Applying goes in two passes: deletions and modifications first, then creations and
//! moves by ascending position, so positions are those of the result.

mod apply;
mod journal;
mod make;

pub use apply::{apply, find_path};
pub use journal::{Delta, from_journal, pending_attributes, pending_change};
pub use make::{Positions, make, make_reverse};

use crate::digest;
use crate::tree::{Doc, Node, NodeId};

/// The parts of a CIB's version, most significant first.
pub const VERSION_FIELDS: [&str; 3] = ["admin_epoch", "epoch", "num_updates"];

/// Why a patchset was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The document is newer than what the patchset starts from.
    #[error("the CIB is already newer than the patchset's source")]
    OldData,
    /// The document is older, lacks something that is to change, or the result's digest differs.
    #[error("the patchset does not fit the CIB: {0}")]
    Failed(String),
    /// This is not a patchset of format 2.
    #[error("not a patchset of format 2: {0}")]
    Invalid(String),
}

/// Source and target versions of a patchset, if it says so.
pub fn versions(patch: &Doc) -> Option<([u64; 3], [u64; 3])> {
    let version = patch.root().child("version")?;
    let read = |name: &str| {
        let node = version.child(name)?;
        let mut out = [0; 3];
        for (slot, field) in out.iter_mut().zip(VERSION_FIELDS) {
            *slot = node.attr(field)?.parse().ok()?;
        }
        Some(out)
    };
    Some((read("source")?, read("target")?))
}

/// Adds the digest of the result `target`, by which [`apply`] verifies itself.
pub fn add_digest(patch: &mut Doc, target: Node<'_>) {
    let digest = digest::v2(target);
    patch.set_attr(patch.root_id(), "digest", &digest);
}

/// Whether the patchset changes anything at or below the element at `path`
/// (`/cib/configuration`, say), itself created or deleted included.
pub fn touches(patch: &Doc, path: &str) -> bool {
    patch.root().children_named("change").any(|change| {
        let Some(at) = change.attr("path") else { return false };
        if at.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with(['/', '['])) {
            return true;
        }
        let created = change.children().next().map(|c| format!("{at}/{}", c.name()));
        change.attr("operation") == Some("create") && created.as_deref() == Some(path)
    })
}

/// Removes the changes at or below the element at `path` (`/cib/status`, say).
pub fn ignore(patch: &mut Doc, path: &str) {
    let below = |change: Node<'_>| {
        let at = change.attr("path").unwrap_or_default();
        at.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with(['/', '[']))
    };
    let gone: Vec<NodeId> =
        patch.root().children_named("change").filter(|c| below(*c)).map(|c| c.id()).collect();
    gone.into_iter().for_each(|id| patch.detach(id));
}

/// An empty patchset with its versions; a version that is not there counts as 1.
fn header(source: [Option<&str>; 3], target: [Option<&str>; 3]) -> Doc {
    let mut patch = Doc::new("diff");
    let root = patch.root_id();
    patch.set_attr(root, "format", "2");
    let version = patch.append_element(root, "version");
    for (name, values) in [("source", source), ("target", target)] {
        let id = patch.append_element(version, name);
        for (field, value) in VERSION_FIELDS.into_iter().zip(values) {
            patch.set_attr(id, field, value.unwrap_or("1"));
        }
    }
    patch
}

fn version_attrs(root: Node<'_>) -> [Option<&str>; 3] {
    VERSION_FIELDS.map(|f| root.attr(f))
}

fn add_delete(patch: &mut Doc, path: &str, position: Option<usize>) {
    let change = add_change(patch, "delete", path);
    if let Some(position) = position {
        patch.set_attr(change, "position", &position.to_string());
    }
}

fn add_create(patch: &mut Doc, parent_path: &str, position: usize, node: Node<'_>) {
    let change = add_change(patch, "create", parent_path);
    patch.set_attr(change, "position", &position.to_string());
    patch.append_copy(change, node);
}

fn add_move(patch: &mut Doc, path: &str, position: usize) {
    let change = add_change(patch, "move", path);
    patch.set_attr(change, "position", &position.to_string());
}

/// `changed` names attributes with their new value, `None` for those that went.
fn add_modify(patch: &mut Doc, path: &str, changed: &[(&str, Option<&str>)], node: Node<'_>) {
    let change = add_change(patch, "modify", path);
    let list = patch.append_element(change, "change-list");
    for (name, value) in changed {
        let attr = patch.append_element(list, "change-attr");
        patch.set_attr(attr, "name", name);
        patch.set_attr(attr, "operation", if value.is_some() { "set" } else { "unset" });
        if let Some(value) = value {
            patch.set_attr(attr, "value", value);
        }
    }
    let result = patch.append_element(change, "change-result");
    let copy = patch.copy_shallow(node);
    patch.attach(result, copy, None);
}

fn add_change(patch: &mut Doc, operation: &str, path: &str) -> NodeId {
    let change = patch.append_element(patch.root_id(), "change");
    patch.set_attr(change, "operation", operation);
    patch.set_attr(change, "path", path);
    change
}

#[cfg(test)]
mod tests;
