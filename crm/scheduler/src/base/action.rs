//! An action of the working set, and relations between actions.

use cib_model::{Attrs, Str};
use smallvec::SmallVec;

use super::{ActionIx, NodeIx, RscIx, Sym};

/// Flags of actions.
pub(crate) mod af {
    /// Nobody executes it.
    pub(crate) const PSEUDO: u32 = 1 << 0;
    /// Nothing prevents it.
    pub(crate) const RUNNABLE: u32 = 1 << 1;
    /// It is not needed.
    pub(crate) const OPTIONAL: u32 = 1 << 2;
    /// It goes into the graph even if it is not needed.
    pub(crate) const ALWAYS_IN_GRAPH: u32 = 1 << 3;
    pub(crate) const ATTRS_EVALUATED: u32 = 1 << 4;
    /// It may be part of a live migration.
    pub(crate) const MIGRATABLE: u32 = 1 << 5;
    pub(crate) const ADDED_TO_GRAPH: u32 = 1 << 6;
    /// A stop that ends a migration that was left half done.
    pub(crate) const MIGRATION_ABORT: u32 = 1 << 7;
    /// A recurring action that has to be scheduled anew.
    pub(crate) const RESCHEDULE: u32 = 1 << 8;
    pub(crate) const DETECT_LOOP: u32 = 1 << 9;
    pub(crate) const INPUTS_MERGED: u32 = 1 << 10;
    /// The DC can do it for the node.
    pub(crate) const ON_DC: u32 = 1 << 11;
}

/// How the first and second action of a relation depend on one another.
pub(crate) mod ar {
    pub(crate) const NONE: u32 = 0;
    /// First, then second, if both happen.
    pub(crate) const ORDERED: u32 = 1 << 0;
    /// Only if the first cannot be part of a migration.
    pub(crate) const IF_FIRST_UNMIGRATABLE: u32 = 1 << 1;
    /// A needed second makes the first needed.
    pub(crate) const THEN_IMPLIES_FIRST: u32 = 1 << 2;
    /// A needed first makes the second needed.
    pub(crate) const FIRST_IMPLIES_THEN: u32 = 1 << 3;
    /// A needed second makes the first needed, for a promoted instance.
    pub(crate) const PROMOTED_THEN_IMPLIES_FIRST: u32 = 1 << 4;
    /// The first is possible only if the second is and is migratable.
    pub(crate) const UNMIGRATABLE_THEN_BLOCKS: u32 = 1 << 5;
    /// The second is possible only if the first is.
    pub(crate) const UNRUNNABLE_FIRST_BLOCKS: u32 = 1 << 6;
    /// An impossible first makes the second a real action.
    pub(crate) const FIRST_ELSE_THEN: u32 = 1 << 7;
    /// A needed first makes the second needed for the instance on the same node.
    pub(crate) const FIRST_IMPLIES_SAME_NODE_THEN: u32 = 1 << 8;
    /// Start of a container before a probe of the connection into it.
    pub(crate) const NESTED_REMOTE_PROBE: u32 = 1 << 9;
    /// Stop before the start of a restart.
    pub(crate) const INTERMEDIATE_STOP: u32 = 1 << 10;
    /// Never at the same time.
    pub(crate) const SERIALIZE: u32 = 1 << 11;
    /// Only on the same node.
    pub(crate) const IF_ON_SAME_NODE: u32 = 1 << 12;
    /// A needed second brings the first into the graph.
    pub(crate) const THEN_IMPLIES_FIRST_GRAPHED: u32 = 1 << 13;
    /// A needed first brings the second into the graph.
    pub(crate) const FIRST_IMPLIES_THEN_GRAPHED: u32 = 1 << 14;
    /// An order that does not hold in reverse.
    pub(crate) const ASYMMETRIC: u32 = 1 << 15;
    /// Only on the same node, or the node migrated to.
    pub(crate) const IF_ON_SAME_NODE_OR_TARGET: u32 = 1 << 16;
    /// The second is possible if enough of its firsts are.
    pub(crate) const MIN_RUNNABLE: u32 = 1 << 17;
    /// Only if the first is needed, and on the same node.
    pub(crate) const IF_REQUIRED_ON_SAME_NODE: u32 = 1 << 18;
    /// Holds even if the first runs on a node that the second makes.
    pub(crate) const GUEST_ALLOWED: u32 = 1 << 19;
    /// A needed second makes the first unneeded.
    pub(crate) const THEN_CANCELS_FIRST: u32 = 1 << 20;
}

/// What has to be there before an action may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Requires {
    #[default]
    Nothing,
    Quorum,
    Fencing,
}

/// What a failed operation leads to, mildest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OnFail {
    #[default]
    Ignore,
    Demote,
    Restart,
    ResetRemote,
    RestartContainer,
    Ban,
    Block,
    Stop,
    Standby,
    Fence,
}

/// One end of a relation, as seen from the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rel {
    pub(crate) action: ActionIx,
    pub(crate) flags: u32,
    /// Whether it became an input in the graph.
    pub(crate) graphed: bool,
}

/// The relations at one end of an action: mostly few.
pub(crate) type Rels = SmallVec<[Rel; 4]>;

/// An action.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) rsc: Option<RscIx>,
    pub(crate) node: Option<NodeIx>,
    /// With the resource and interval, what tells it from others.
    pub(crate) name: Sym,
    pub(crate) interval: u32,
    pub(crate) task: Sym,
    pub(crate) cancel_task: Option<Sym>,
    pub(crate) flags: u32,
    pub(crate) needs: Requires,
    pub(crate) reason: Option<Str>,
    pub(crate) priority: i32,
    pub(crate) meta: Attrs,
    pub(crate) extra: Attrs,
    /// Index of its definition among the resource's operations.
    pub(crate) op: Option<usize>,
    /// Relations of which it is the second, newest last.
    pub(crate) before: Rels,
    /// Relations of which it is the first, newest last.
    pub(crate) after: Rels,
    pub(crate) runnable_before: i32,
    pub(crate) required_runnable_before: i32,
}

impl Action {
    pub(crate) fn is(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    pub(crate) fn any(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    pub(crate) fn set(&mut self, flags: u32) {
        self.flags |= flags;
    }

    pub(crate) fn clear(&mut self, flags: u32) {
        self.flags &= !flags;
    }
}
