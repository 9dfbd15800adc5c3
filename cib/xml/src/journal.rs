//! Undo for a [`Doc`], and what it says about a change.
//!
//! A transaction costs what it changes, not what the document weighs: while one is open every node
//! and attribute that is written is saved first. Rolling back writes the saved ones back in reverse
//! order and cuts the arenas to their former lengths. A committed journal is the difference between
//! the two states, from which [`crate::patch`] makes a patchset without comparing documents.

use rustc_hash::FxHashMap;

use crate::tree::{AttrData, Doc, NONE, NodeData, NodeId};

enum Saved {
    Node(u32, NodeData),
    Attr(u32, AttrData),
}

/// The former state of everything that a transaction wrote.
#[derive(Default)]
pub struct Journal {
    saved: Vec<Saved>,
    nodes: usize,
    attrs: usize,
    text: usize,
    names: usize,
}

impl Clone for Journal {
    fn clone(&self) -> Journal {
        let saved = self
            .saved
            .iter()
            .map(|s| match s {
                Saved::Node(ix, d) => Saved::Node(*ix, *d),
                Saved::Attr(ix, d) => Saved::Attr(*ix, *d),
            })
            .collect();
        Journal { saved, ..*self }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "journal of {} writes", self.saved.len())
    }
}

impl Journal {
    pub(crate) fn save_node(&mut self, ix: u32, data: NodeData) {
        if (ix as usize) < self.nodes {
            self.saved.push(Saved::Node(ix, data));
        }
    }

    pub(crate) fn save_attr(&mut self, ix: u32, data: AttrData) {
        if (ix as usize) < self.attrs {
            self.saved.push(Saved::Attr(ix, data));
        }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.saved.is_empty()
    }

    /// The state before the transaction, as far as it differs.
    pub(crate) fn before(&self) -> Before {
        let mut before = Before { existed: self.nodes, ..Before::default() };
        for saved in &self.saved {
            match saved {
                Saved::Node(ix, data) => {
                    if !before.nodes.contains_key(ix) {
                        before.touched.push(*ix);
                        before.nodes.insert(*ix, *data);
                    }
                }
                Saved::Attr(ix, data) => {
                    before.attrs.entry(*ix).or_insert(*data);
                }
            }
        }
        before
    }
}

/// Nodes and attributes as they were when a transaction began; those not in here are unchanged.
#[derive(Default)]
pub(crate) struct Before {
    /// Nodes from here on did not exist.
    pub(crate) existed: usize,
    pub(crate) nodes: FxHashMap<u32, NodeData>,
    pub(crate) attrs: FxHashMap<u32, AttrData>,
    /// Keys of `nodes` in the order of the first write.
    pub(crate) touched: Vec<u32>,
}

impl Before {
    pub(crate) fn node(&self, doc: &Doc, ix: u32) -> NodeData {
        self.nodes.get(&ix).copied().unwrap_or(doc.nodes[ix as usize])
    }

    /// The attributes that node `ix` had, as (name, value).
    pub(crate) fn attrs<'a>(&self, doc: &'a Doc, ix: u32) -> Vec<(&'a str, &'a str)> {
        let attr = |at: u32| {
            let attr = self.attrs.get(&at).unwrap_or(&doc.attrs[at as usize]);
            (&*doc.names[attr.name as usize], doc.slice(attr.value))
        };
        self.node(doc, ix).attrs().map(attr).collect()
    }

    /// Whether the attributes of `ix` may differ from what they were.
    pub(crate) fn attrs_touched(&self, doc: &Doc, ix: u32) -> bool {
        let now = &doc.nodes[ix as usize];
        let old = self.node(doc, ix);
        let differs = |at: u32| {
            let (now, old) = (&doc.attrs[at as usize], self.attrs.get(&at));
            old.is_some_and(|old| {
                old.name != now.name || doc.slice(old.value) != doc.slice(now.value)
            })
        };
        old.attrs() != now.attrs() || old.attrs().any(differs)
    }
}

impl Doc {
    /// Opens a transaction: everything written from now on can be undone.
    ///
    /// # Panics
    /// If one is open already: they do not nest.
    pub fn begin(&mut self) {
        assert!(self.journal.is_none(), "transactions do not nest");
        self.journal = Some(Box::new(Journal {
            saved: Vec::new(),
            nodes: self.nodes.len(),
            attrs: self.attrs.len(),
            text: self.text.len(),
            names: self.names.len(),
        }));
    }

    /// Ends the transaction and keeps what was written.
    ///
    /// # Panics
    /// If none is open.
    pub fn commit(&mut self) -> Journal {
        *self.journal.take().expect("a transaction is open")
    }

    /// Ends the transaction and undoes what was written.
    ///
    /// # Panics
    /// If none is open.
    pub fn rollback(&mut self) {
        let journal = self.journal.take().expect("a transaction is open");
        for saved in journal.saved.iter().rev() {
            match saved {
                Saved::Node(ix, data) => self.nodes[*ix as usize] = *data,
                Saved::Attr(ix, data) => self.attrs[*ix as usize] = *data,
            }
        }
        self.nodes.truncate(journal.nodes);
        self.attrs.truncate(journal.attrs);
        self.text.truncate(journal.text);
        for name in self.names.drain(journal.names..) {
            self.name_index.remove(&name);
        }
    }
}

/// The place of `id` among all children of its parent, from 0.
pub(crate) fn position(doc: &Doc, id: NodeId) -> usize {
    let mut at = doc.nodes[id.index()].prev;
    let mut n = 0;
    while at != NONE {
        n += 1;
        at = doc.nodes[at as usize].prev;
    }
    n
}
