//! A committed transaction to a patchset.

use super::{add_create, add_delete, add_modify, header, version_attrs};
use crate::journal::{Before, Journal, position};
use crate::tree::{Doc, Kind, NONE, NodeData, NodeId};

/// What a transaction changed.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The patchset.
    pub patch: Doc,
    /// Whether anything at or below `/cib/configuration` changed.
    pub config_changed: bool,
}

/// The patchset of what was written to `doc` between [`Doc::begin`] and the [`Doc::commit`] that
/// returned `journal`; `None` if nothing changed. Costs what the change costs.
///
/// Nodes that existed before may be changed, deleted, or put under another parent by the
/// transaction; one that is only moved among its siblings is not noticed: use [`super::make`].
pub fn from_journal(doc: &Doc, journal: &Journal) -> Option<Delta> {
    let mut patch = Some(Doc::default());
    let config_changed = describe(doc, journal, &mut patch)?;
    Some(Delta { patch: patch?, config_changed })
}

/// What the open transaction of `doc` changed so far: `None` for nothing, else whether anything at
/// or below `/cib/configuration` changed.
pub fn pending_change(doc: &Doc) -> Option<bool> {
    describe(doc, doc.journal.as_deref()?, &mut None)
}

/// The elements whose attributes the open transaction of `doc` wrote, with the names of those that
/// are other than before; `None` if it wrote anything else.
pub fn pending_attributes(doc: &Doc) -> Option<Vec<(NodeId, Vec<&str>)>> {
    let before = doc.journal.as_deref()?.before();
    if doc.arena_len() != before.existed {
        return None;
    }
    let mut all = Vec::new();
    for ix in before.touched.iter().copied() {
        let now = &doc.nodes[ix as usize];
        let NodeData { first_attr, attr_count, .. } = *now;
        if (NodeData { first_attr, attr_count, ..before.node(doc, ix) }) != *now {
            return None;
        }
        let (old, node) = (before.attrs(doc, ix), doc.node(NodeId(ix)));
        let set = node.attrs().filter(|attr| !old.contains(attr)).map(|(name, _)| name);
        let gone = old.iter().map(|(name, _)| *name).filter(|name| node.attr(name).is_none());
        all.push((NodeId(ix), set.chain(gone).collect()));
    }
    Some(all)
}

fn describe(doc: &Doc, journal: &Journal, patch: &mut Option<Doc>) -> Option<bool> {
    if journal.is_empty() {
        return None;
    }
    let before = journal.before();
    let old_attrs = before.attrs(doc, doc.root_id().0);
    let source = super::VERSION_FIELDS
        .map(|f| old_attrs.iter().find(|(name, _)| *name == f).map(|(_, value)| *value));
    let walk = Walk { doc, before: &before };
    if let Some(patch) = patch {
        *patch = header(source, version_attrs(doc.root()));
    }
    let mut config_changed = false;
    let mut empty = true;
    let mut note = |path: &str| {
        empty = false;
        let below = path.strip_prefix("/cib/configuration");
        config_changed |= below.is_some_and(|r| r.is_empty() || r.starts_with(['/', '[']));
    };
    for ix in before.touched.iter().copied() {
        if let Some((path, position)) = walk.deleted(ix) {
            note(&path);
            if let Some(patch) = patch {
                add_delete(patch, &path, position);
            }
        }
    }
    for ix in before.touched.iter().copied() {
        if !walk.attached_before(ix) || !walk.attached(ix) || !before.attrs_touched(doc, ix) {
            continue;
        }
        let node = doc.node(NodeId(ix));
        let old = before.attrs(doc, ix);
        let mut changed: Vec<(&str, Option<&str>)> = node
            .attrs()
            .filter(|a| !old.contains(a))
            .map(|(name, value)| (name, Some(value)))
            .collect();
        changed.extend(old.iter().filter(|(n, _)| node.attr(n).is_none()).map(|(n, _)| (*n, None)));
        if !changed.is_empty() {
            let path = walk.path_now(ix);
            note(&path);
            if let Some(patch) = patch {
                add_modify(patch, &path, &changed, node);
            }
        }
    }
    let moved = before.touched.iter().copied().filter(|ix| walk.moved(*ix));
    for ix in (before.existed as u32..doc.arena_len() as u32).chain(moved) {
        let parent = doc.nodes[ix as usize].parent;
        let new_parent = parent == NONE || parent as usize >= before.existed || walk.moved(parent);
        let node = doc.node(NodeId(ix));
        if new_parent || !walk.attached(ix) || node.kind() == Kind::Text {
            continue;
        }
        let path = walk.path_now(parent);
        note(&format!("{path}/{}", node.name()));
        if let Some(patch) = patch {
            add_create(patch, &path, position(doc, NodeId(ix)), node);
        }
    }
    if empty { None } else { Some(config_changed) }
}

struct Walk<'a> {
    doc: &'a Doc,
    before: &'a Before,
}

impl Walk<'_> {
    fn attached(&self, mut ix: u32) -> bool {
        while ix != NONE {
            if ix == self.doc.root_id().0 {
                return true;
            }
            ix = self.doc.nodes[ix as usize].parent;
        }
        false
    }

    fn attached_before(&self, mut ix: u32) -> bool {
        while ix != NONE {
            if ix == self.doc.root_id().0 {
                return true;
            }
            ix = self.before.node(self.doc, ix).parent;
        }
        false
    }

    /// Whether `ix` has another parent than before, and is in use.
    fn moved(&self, ix: u32) -> bool {
        let now = self.doc.nodes[ix as usize].parent;
        (ix as usize) < self.before.existed
            && now != NONE
            && self.before.node(self.doc, ix).parent != now
            && self.attached(ix)
    }

    /// The former path of `ix` if it was deleted itself rather than something above it.
    fn deleted(&self, ix: u32) -> Option<(String, Option<usize>)> {
        let old = self.before.node(self.doc, ix);
        let now = &self.doc.nodes[ix as usize];
        let same_parent = old.parent == now.parent;
        if old.parent == NONE || same_parent || !self.attached_before(ix) {
            return None;
        }
        let parent = old.parent;
        let parent_stays = self.attached(parent) && !self.moved(parent);
        if !parent_stays || old.kind == Kind::Text {
            return None;
        }
        let path = self.path_before(ix);
        let position = (old.kind == Kind::Comment).then(|| self.position_before(ix));
        Some((path, position))
    }

    fn position_before(&self, ix: u32) -> usize {
        let mut n = 0;
        let mut at = self.before.node(self.doc, ix).prev;
        while at != NONE {
            n += 1;
            at = self.before.node(self.doc, at).prev;
        }
        n
    }

    fn path_before(&self, ix: u32) -> String {
        let mut chain = vec![ix];
        loop {
            let parent = self.before.node(self.doc, chain[chain.len() - 1]).parent;
            if parent == NONE {
                break;
            }
            chain.push(parent);
        }
        let mut path = String::new();
        for ix in chain.into_iter().rev() {
            let name = match self.before.node(self.doc, ix).name {
                NONE => "comment",
                name => &self.doc.names[name as usize],
            };
            let attrs = self.before.attrs(self.doc, ix);
            let id = attrs.iter().find(|(n, _)| *n == "id").map(|(_, v)| *v);
            crate::xpath::push_component(&mut path, name, id);
        }
        path
    }

    fn path_now(&self, ix: u32) -> String {
        crate::path_of(self.doc.node(NodeId(ix)))
    }
}
