//! Two documents to a patchset.

use rustc_hash::FxHashMap;

use super::apply::find_path;
use super::{add_create, add_delete, add_modify, add_move, header, version_attrs};
use crate::tree::{Doc, Kind, Node, NodeId};
use crate::xpath::push_component;

/// Whether the order of an element's attributes counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// An attribute at another place is a change.
    Count,
    /// Attributes may stand in any order.
    Ignore,
}

/// The patchset that makes `new` of `old`, `None` if they are the same.
pub fn make(old: &Doc, new: &Doc, positions: Positions) -> Option<Doc> {
    let mut marks = Marks { new, positions, deleted: Vec::new(), nodes: FxHashMap::default() };
    let mut path = String::new();
    let changed = marks.compare(old.root(), new.root(), &mut path);
    if !changed {
        return None;
    }
    let mut patch = header(version_attrs(old.root()), version_attrs(new.root()));
    for (path, position) in &marks.deleted {
        add_delete(&mut patch, path, *position);
    }
    let mut path = String::new();
    marks.emit(new.root(), &mut path, &mut patch);
    Some(patch)
}

/// The patchset that leads back: from `after` to `before`, of which `patch` made it. Costs what the
/// change costs if that was of attributes only, else what [`make`] costs.
pub fn make_reverse(before: &Doc, after: &Doc, patch: &Doc) -> Option<Doc> {
    let back = back_of_attributes(before, after, patch);
    back.unwrap_or_else(|| make(after, before, Positions::Count))
}

/// The way back, or that there is none, if `patch` changes nothing but attributes of elements whose
/// paths are the same before and after.
fn back_of_attributes(before: &Doc, after: &Doc, patch: &Doc) -> Option<Option<Doc>> {
    let mut back = header(version_attrs(after.root()), version_attrs(before.root()));
    let mut empty = true;
    for change in patch.root().children_named("change") {
        let path = change.attr("path").filter(|_| change.attr("operation") == Some("modify"))?;
        let [old, new] = [before, after].map(|doc| find_path(doc, path).map(|id| doc.node(id)));
        let (old, new) = (old?, new?);
        let changed = changed_attrs(new, old, Positions::Count);
        if !changed.is_empty() {
            let changed: Vec<(&str, Option<&str>)> =
                changed.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            add_modify(&mut back, path, &changed, old);
            empty = false;
        }
    }
    Some((!empty).then_some(back))
}

#[derive(Default)]
struct Mark {
    created: bool,
    moved: bool,
    /// Attributes with their new value, or none if they went.
    attrs: Vec<(String, Option<String>)>,
    /// Something below is marked.
    below: bool,
}

/// What is to be said about nodes of the new document.
struct Marks<'a> {
    new: &'a Doc,
    positions: Positions,
    deleted: Vec<(String, Option<usize>)>,
    nodes: FxHashMap<NodeId, Mark>,
}

impl<'a> Marks<'a> {
    /// Marks the differences of two elements that are the same one; says whether there are any.
    fn compare(&mut self, old: Node<'_>, new: Node<'a>, path: &mut String) -> bool {
        let length = path.len();
        push_component(path, new.name(), new.attr("id"));
        let attrs = changed_attrs(old, new, self.positions);
        let mut changed = !attrs.is_empty();
        if changed {
            self.nodes.entry(new.id()).or_default().attrs = attrs;
        }
        let below = self.compare_children(old, new, path);
        if below {
            self.nodes.entry(new.id()).or_default().below = true;
            changed = true;
        }
        path.truncate(length);
        changed
    }

    fn compare_children(&mut self, old: Node<'_>, new: Node<'a>, path: &mut String) -> bool {
        let old_children: Vec<Node<'_>> =
            old.all_children().filter(|c| c.kind() != Kind::Text).collect();
        let new_children: Vec<Node<'a>> =
            new.all_children().filter(|c| c.kind() != Kind::Text).collect();
        let matches = pair(&old_children, &new_children);
        let mut changed = false;
        // Old siblings that no longer count for positions, ascending.
        let mut skipped: Vec<usize> = Vec::new();
        let place = |skipped: &[usize], ix: usize| ix - skipped.partition_point(|s| *s < ix);
        for (ix, child) in old_children.iter().enumerate() {
            match matches.of_old[ix] {
                Some(at) if child.is_element() => {
                    changed |= self.compare(*child, new_children[at], path);
                }
                Some(_) => {}
                None => {
                    changed = true;
                    let comment = child.kind() == Kind::Comment;
                    let mut path = path.clone();
                    let name = if comment { "comment" } else { child.name() };
                    push_component(&mut path, name, child.attr("id"));
                    let position = comment.then(|| place(&skipped, ix));
                    self.deleted.push((path, position));
                    skipped.push(ix);
                }
            }
        }
        // Places of new children count those before that are neither created nor moved back.
        let mut counted = 0;
        for (ix, child) in new_children.iter().enumerate() {
            let Some(old_ix) = matches.of_new[ix] else {
                changed = true;
                self.nodes.entry(child.id()).or_default().created = true;
                continue;
            };
            let old_place = place(&skipped, old_ix);
            let new_place = counted;
            if old_place != new_place {
                changed = true;
                self.nodes.entry(child.id()).or_default().moved = true;
                if old_place > new_place {
                    let at = skipped.partition_point(|s| *s < old_ix);
                    skipped.insert(at, old_ix);
                    counted += 1;
                }
            } else {
                counted += 1;
            }
        }
        changed
    }

    /// Writes the marks at and below `node`; `path` is its parent's.
    fn emit(&self, node: Node<'a>, path: &mut String, patch: &mut Doc) {
        let Some(mark) = self.nodes.get(&node.id()) else { return };
        if mark.created {
            add_create(patch, path, crate::journal::position(self.new, node.id()), node);
            return;
        }
        let length = path.len();
        let name = if node.kind() == Kind::Comment { "comment" } else { node.name() };
        push_component(path, name, node.attr("id"));
        if !mark.attrs.is_empty() {
            let attrs: Vec<(&str, Option<&str>)> =
                mark.attrs.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
            add_modify(patch, path, &attrs, node);
        }
        if mark.below {
            node.all_children().for_each(|c| self.emit(c, path, patch));
        }
        if mark.moved {
            add_move(patch, path, crate::journal::position(self.new, node.id()));
        }
        path.truncate(length);
    }
}

struct Pairs {
    of_old: Vec<Option<usize>>,
    of_new: Vec<Option<usize>>,
}

/// Pairs children that are the same: each old one with the first new one that has no partner yet.
fn pair(old: &[Node<'_>], new: &[Node<'_>]) -> Pairs {
    let mut pairs = Pairs { of_old: vec![None; old.len()], of_new: vec![None; new.len()] };
    // Most lists are unchanged: pair from the front without a table.
    let mut front = 0;
    while front < old.len().min(new.len()) && same(old[front], new[front]) {
        pairs.of_old[front] = Some(front);
        pairs.of_new[front] = Some(front);
        front += 1;
    }
    let mut waiting: FxHashMap<(&str, Option<&str>), Vec<usize>> = FxHashMap::default();
    for (ix, child) in new.iter().enumerate().skip(front).rev() {
        if child.is_element() {
            waiting.entry((child.name(), child.attr("id"))).or_default().push(ix);
        }
    }
    for (ix, child) in old.iter().enumerate().skip(front) {
        let at = if child.is_element() {
            waiting.get_mut(&(child.name(), child.attr("id"))).and_then(Vec::pop)
        } else {
            Some(ix).filter(|ix| new.get(*ix).is_some_and(|n| same(*child, *n)))
        };
        if let Some(at) = at {
            pairs.of_old[ix] = Some(at);
            pairs.of_new[at] = Some(ix);
        }
    }
    pairs
}

fn same(a: Node<'_>, b: Node<'_>) -> bool {
    match (a.kind(), b.kind()) {
        (Kind::Element, Kind::Element) => a.name() == b.name() && a.attr("id") == b.attr("id"),
        (Kind::Comment, Kind::Comment) => a.text() == b.text(),
        _ => false,
    }
}

/// Attributes that differ: those of `new` in its order, then those that went.
fn changed_attrs(
    old: Node<'_>,
    new: Node<'_>,
    positions: Positions,
) -> Vec<(String, Option<String>)> {
    let before: Vec<(&str, &str)> = old.attrs().collect();
    let after: Vec<(&str, &str)> = new.attrs().collect();
    if before == after {
        return Vec::new();
    }
    let mut old_skip = vec![false; before.len()];
    let mut new_skip = vec![false; after.len()];
    let mut dirty = vec![false; after.len()];
    let mut known = vec![false; after.len()];
    let mut gone = Vec::new();
    let place = |skip: &[bool], ix: usize| skip[..ix].iter().filter(|s| !**s).count();
    for (ix, (name, value)) in before.iter().enumerate() {
        let Some(at) = after.iter().position(|(n, _)| n == name) else {
            gone.push((name.to_string(), None));
            continue;
        };
        known[at] = true;
        if after[at].1 != *value {
            dirty[at] = true;
            continue;
        }
        let (old_place, new_place) = (place(&old_skip, ix), place(&new_skip, at));
        if old_place != new_place && positions == Positions::Count {
            dirty[at] = true;
            if old_place > new_place {
                old_skip[ix] = true;
            } else {
                new_skip[at] = true;
            }
        }
    }
    let mut out: Vec<(String, Option<String>)> = Vec::new();
    for (at, (name, value)) in after.iter().enumerate() {
        if dirty[at] || !known[at] {
            out.push((name.to_string(), Some(value.to_string())));
        }
    }
    out.append(&mut gone);
    out
}
