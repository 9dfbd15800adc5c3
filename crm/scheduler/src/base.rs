//! The working set: one table each of nodes, resources and actions, addressed by small numbers.
//!
//! Everything that the planning steps know is in [`Ws`]. Steps run in a fixed order (status,
//! constraints, assignment, actions, ordering, graph) and each adds to the tables of those before.

mod action;
mod names;
mod node;
mod resource;
mod sort;
mod table;
mod ws;

pub(crate) use action::{Action, OnFail, Rel, Rels, Requires, af, ar};
pub(crate) use names::{Names, Sym, task};
pub(crate) use node::{Node, NodeKind};
pub(crate) use resource::{
    Assigned, LossPolicy, MultiplyActive, Notify, Replica, Rsc, RscTicket, Variant, rf,
};
pub(crate) use sort::{insert_sorted, merge_sort};
pub(crate) use table::{Probe, Slot, Table};
pub(crate) use ws::{
    Coloc, Config, FailedOp, HistRsc, HistoryIndex, LocationCon, OpRef, Ordering, ParamCheck,
    Placement, Places, Ticket, Where, Ws, cf,
};

use std::ops::{Index, IndexMut};

/// A node of the working set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(pub u32);

/// A resource of the working set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RscIx(pub u32);

/// An action of the working set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionIx(pub u32);

impl NodeIx {
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

impl Index<NodeIx> for Ws {
    type Output = Node;
    fn index(&self, ix: NodeIx) -> &Node {
        &self.nodes[ix.0 as usize]
    }
}

impl IndexMut<NodeIx> for Ws {
    fn index_mut(&mut self, ix: NodeIx) -> &mut Node {
        &mut self.nodes[ix.0 as usize]
    }
}

impl Index<RscIx> for Ws {
    type Output = Rsc;
    fn index(&self, ix: RscIx) -> &Rsc {
        &self.rscs[ix.0 as usize]
    }
}

impl IndexMut<RscIx> for Ws {
    fn index_mut(&mut self, ix: RscIx) -> &mut Rsc {
        &mut self.rscs[ix.0 as usize]
    }
}

impl Index<ActionIx> for Ws {
    type Output = Action;
    fn index(&self, ix: ActionIx) -> &Action {
        &self.actions[ix.0 as usize]
    }
}

impl IndexMut<ActionIx> for Ws {
    fn index_mut(&mut self, ix: ActionIx) -> &mut Action {
        &mut self.actions[ix.0 as usize]
    }
}
