//! Bringing a configuration to a newer schema.
//!
//! A configuration climbs the ladder of schemas: it goes on to the next one as it is if that
//! accepts it, and is rewritten where a new series left something out. It stops where nothing
//! helps.

mod v3;
mod v4;

use std::sync::Arc;

use cib_xml::{Doc, Node, NodeId};

use crate::grammar::grammar;
use crate::{Problem, Schema, validate_with};

/// The element that holds a node's recorded operations.
const HISTORY: &str = "lrm";

/// Why a configuration was not upgraded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// No schema from its own on accepts it.
    #[error("the configuration is not valid: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Invalid(Vec<Problem>),
    /// It does not name a schema that exists.
    #[error("the configuration does not name a known schema")]
    UnknownSchema,
}

/// What happens on the way up.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A schema does not accept the configuration.
    Rejected(Schema, &'a [Problem]),
    /// A schema accepts it.
    Accepted(Schema),
    /// It is rewritten, since the second schema has left behind words of the first: one pass of
    /// several.
    Rewriting(Schema, Schema, u8),
    /// Something that was not taken along.
    Dropped(&'a Dropped),
    /// It was rewritten so that the second schema accepts it.
    Rewritten(Schema, Schema),
    /// It names this schema now.
    Raised(Schema),
}

/// What an upgrade does not take along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// An option of an operation that has a meaning for start and promote only.
    Option {
        /// What kind of block it was in.
        block: &'static str,
        /// The block's id.
        block_id: String,
        /// The operation's id.
        operation: String,
        /// The resource's id.
        resource: String,
        /// The option.
        name: &'static str,
    },
    /// What the latest series has no word for: what it is, and why it goes.
    Unsupported(String),
    /// A reference whose target is not there any more: it becomes a block of its own.
    Reference {
        /// What kind of block it is.
        block: String,
        /// The id of the target.
        target: String,
    },
}

/// Brings `doc` to the newest schema that accepts it, at most `max`. Says whether `validate-with`
/// was raised.
///
/// # Errors
/// If no schema accepts it, or it names an unknown one.
pub fn upgrade(doc: &mut Doc, max: Option<&str>) -> Result<bool, UpgradeError> {
    upgrade_told(doc, max, &mut |_| {})
}

/// The CIB as plans and their explanations read it: in the words of the latest schema. One that no
/// schema accepts is taken as it is.
pub fn latest(doc: &Arc<Doc>) -> Arc<Doc> {
    let named = doc.root().attr("validate-with").and_then(Schema::named);
    let mut latest = Arc::clone(doc);
    if named.is_some_and(|schema| schema < Schema::LATEST) {
        let mut copy = Doc::clone(doc);
        if upgrade(&mut copy, None).is_ok() {
            latest = Arc::new(copy);
        }
    }
    latest
}

/// As [`upgrade`]; `tell` hears of every step.
///
/// # Errors
/// As for [`upgrade`].
pub fn upgrade_told(
    doc: &mut Doc,
    max: Option<&str>,
    tell: &mut dyn FnMut(Step<'_>),
) -> Result<bool, UpgradeError> {
    let named = doc.root().attr("validate-with").and_then(Schema::named);
    let original = named.ok_or(UpgradeError::UnknownSchema)?;
    let top = max.and_then(Schema::named).unwrap_or(Schema::LATEST).min(Schema::LATEST);
    if original >= top {
        return Ok(false);
    }
    let mut best = None;
    let mut at = Some(original);
    let mut problems = Vec::new();
    while let Some(schema) = at.filter(|s| *s <= top) {
        let again = best.is_some() && grammar().same_as_before(schema);
        let found = if again { Vec::new() } else { validate_with(doc, schema) };
        if found.is_empty() {
            tell(Step::Accepted(schema));
            best = Some(schema);
        } else if let Some(from) = best {
            let Some(changed) = rewritten(doc, from, schema, tell) else {
                tell(Step::Rejected(schema, &found));
                break;
            };
            adopt(doc, &changed);
            tell(Step::Rewritten(from, schema));
            tell(Step::Accepted(schema));
            best = Some(schema);
        } else {
            tell(Step::Rejected(schema, &found));
            if problems.is_empty() {
                problems = found;
            }
        }
        at = schema.next();
    }
    let Some(best) = best else { return Err(UpgradeError::Invalid(problems)) };
    if best > original {
        let root = doc.root_id();
        doc.set_attr(root, "validate-with", &best.to_string());
        tell(Step::Raised(best));
    }
    Ok(best > original)
}

/// The configuration in the words of the next series, if there is a way.
fn rewritten(doc: &Doc, from: Schema, to: Schema, tell: &mut dyn FnMut(Step<'_>)) -> Option<Doc> {
    let mut changed = Doc::default();
    copy_without_history(doc.root(), &mut changed);
    match from.to_string().as_str() {
        "pacemaker-2.10" => {
            for (number, pass) in v3::PASSES.iter().enumerate() {
                tell(Step::Rewriting(from, to, number as u8));
                pass(&mut changed, &mut |dropped| tell(Step::Dropped(&dropped)));
            }
        }
        "pacemaker-3.10" => {
            tell(Step::Rewriting(from, to, 0));
            v4::transform(&mut changed, &mut |dropped| tell(Step::Dropped(&dropped)));
        }
        _ => return None,
    }
    validate_with(&changed, to).is_empty().then_some(changed)
}

/// Copies what an upgrade may rewrite. Recorded operations are most of a CIB and not part of that.
fn copy_without_history(from: Node<'_>, to: &mut Doc) -> NodeId {
    let id = to.copy_shallow(from);
    for child in from.all_children().filter(|_| !is_history(from)) {
        let copy = copy_without_history(child, to);
        to.attach(id, copy, None);
    }
    id
}

/// All histories of a document, in its order.
fn histories(doc: &Doc) -> Vec<NodeId> {
    let all = doc.root().descendants();
    all.filter(|n| is_history(*n)).map(Node::id).collect()
}

fn is_history(node: Node<'_>) -> bool {
    node.name() == HISTORY && node.parent().is_some_and(|p| p.name() == "node_state")
}

/// Gives `doc` the content of `other`, in place: it may be in a transaction. Histories stay.
fn adopt(doc: &mut Doc, other: &Doc) {
    let kept = histories(doc);
    let root = doc.root_id();
    let old: Vec<_> = doc.root().all_children().map(Node::id).collect();
    old.into_iter().for_each(|child| doc.detach(child));
    doc.clear_attrs(root);
    other.root().attrs().for_each(|(name, value)| doc.set_attr(root, name, value));
    other.root().all_children().for_each(|child| {
        doc.append_copy(root, child);
    });
    for (from, to) in kept.into_iter().zip(histories(doc)) {
        let entries: Vec<NodeId> = doc.node(from).all_children().map(Node::id).collect();
        for entry in entries {
            doc.detach(entry);
            doc.attach(to, entry, None);
        }
    }
}
