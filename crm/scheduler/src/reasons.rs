//! Why scores and decisions are as they are: a side table that costs little while planning.

use cib_model::Str;

use crate::base::{NodeIx, RscIx};

/// What contributed to a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The connection of a guest node may be made anywhere.
    RemoteConnectionDefault,
    /// A location constraint (or rule, or health strategy) of this id.
    Location(Str),
    /// The resource stays where it is.
    Stickiness,
    /// It is not managed, so it is left there.
    NotManaged,
    /// It is no longer configured.
    Removed,
    /// An operation failed that calls for another node.
    FailedOperation,
    /// A stop failed.
    FailedStop,
    /// A probe says that it cannot run there.
    FailedProbe,
    /// A failure after which it cannot run there.
    HardError,
    /// A failure after which it cannot run anywhere.
    FatalError,
    /// It failed as often as is allowed.
    MigrationThreshold,
    /// The ticket is not granted, was lost or is in standby.
    Ticket,
    /// It is configured to be stopped.
    TargetRole,
    /// There are enough instances.
    InstanceLimit,
    /// The node has not enough capacity.
    Utilization,
    /// It is kept for a node that was shut down.
    ShutdownLock,
    /// A colocation of this id.
    Colocation(Str),
}

/// One contribution to a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// The resource.
    pub rsc: RscIx,
    /// The node.
    pub node: NodeIx,
    /// What was added.
    pub score: i32,
    /// Why.
    pub why: Reason,
}

/// All contributions, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    scores: Vec<Contribution>,
}

impl Reasons {
    pub(crate) fn score(&mut self, rsc: RscIx, node: NodeIx, score: i32, why: &Reason) {
        self.scores.push(Contribution { rsc, node, score, why: why.clone() });
    }

    /// What contributed to the score of `rsc` on `node`.
    pub fn of(&self, rsc: RscIx, node: NodeIx) -> impl Iterator<Item = &Contribution> {
        self.scores.iter().filter(move |c| c.rsc == rsc && c.node == node)
    }
}
