//! A resource's row of the score matrix.

use cib_model::add_scores;

use super::NodeIx;

/// Whether a resource is probed on a node, weakest statement first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Probe {
    #[default]
    Always,
    Never,
    Exclusive,
}

/// One cell: what a resource's scores say about one node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// Whether the node is in the row at all.
    pub(crate) present: bool,
    pub(crate) probe: Probe,
    pub(crate) score: i32,
    /// Instances that were assigned to it.
    pub(crate) count: i32,
}

/// One row, dense over nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
}

impl Table {
    /// An empty row with room for so many nodes.
    pub(crate) fn with_room(nodes: usize) -> Table {
        Table { slots: vec![Slot::default(); nodes] }
    }

    pub(crate) fn get(&self, node: NodeIx) -> Option<&Slot> {
        self.slots.get(node.at()).filter(|s| s.present)
    }

    pub(crate) fn get_mut(&mut self, node: NodeIx) -> Option<&mut Slot> {
        self.slots.get_mut(node.at()).filter(|s| s.present)
    }

    pub(crate) fn insert(&mut self, node: NodeIx, slot: Slot) {
        if self.slots.len() <= node.at() {
            self.slots.resize(node.at() + 1, Slot::default());
        }
        self.slots[node.at()] = Slot { present: true, ..slot };
    }

    pub(crate) fn remove(&mut self, node: NodeIx) {
        if let Some(slot) = self.slots.get_mut(node.at()) {
            slot.present = false;
        }
    }

    /// Adds the cells of nodes that are not in this row, but in another one.
    pub(crate) fn add_missing(&mut self, other: &Table) {
        if self.slots.is_empty() {
            self.slots.clone_from(&other.slots);
            return;
        }
        if self.slots.len() < other.slots.len() {
            self.slots.resize(other.slots.len(), Slot::default());
        }
        for (own, theirs) in self.slots.iter_mut().zip(&other.slots) {
            if theirs.present && !own.present {
                *own = *theirs;
            }
        }
    }

    /// Nodes in the row, by number.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeIx> {
        self.iter().map(|(n, _)| n)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIx, &Slot)> {
        let present = self.slots.iter().enumerate().filter(|(_, s)| s.present);
        present.map(|(i, s)| (NodeIx(i as u32), s))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIx, &mut Slot)> {
        let present = self.slots.iter_mut().enumerate().filter(|(_, s)| s.present);
        present.map(|(i, s)| (NodeIx(i as u32), s))
    }

    pub(crate) fn score(&self, node: NodeIx) -> Option<i32> {
        self.get(node).map(|s| s.score)
    }

    pub(crate) fn add(&mut self, node: NodeIx, score: i32) {
        if let Some(slot) = self.get_mut(node) {
            slot.score = add_scores(slot.score, score);
        }
    }
}
