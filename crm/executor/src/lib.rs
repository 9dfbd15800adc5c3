//! The executor of one node: what agents are called, one after the other for each resource, and
//! again at their interval for recurring operations.
//!
//! Pure: it neither starts a process nor reads a clock. It asks for a run with [`Effect::Run`],
//! for its end with [`Effect::Kill`], and learns of the result by [`Input::Finished`].
//!
//! Invariants:
//! - at most one agent call is in flight for a resource at any time;
//! - every [`Input::Execute`] is answered by exactly one [`Effect::Report`] (a recurring operation:
//!   by one for its first run and by one for every later change of its result);
//! - a call that is in flight past its time-out is killed once, and reported as timed out however
//!   its process ends;
//! - what a resource was started with is kept before its agent is called, and is what it is stopped
//!   with;
//! - a stop that its agent refuses has failed only if the resource may be active (`activity.rs`).

#![forbid(unsafe_code)]

mod activity;
mod agent;
mod ending;
mod queue;
mod started;

use std::collections::BTreeMap;
use std::time::Duration;

use membership_base::Instant;
use serde::{Deserialize, Serialize};

pub use queue::Executor;
pub use started::StartedWith;

/// OCF exit codes (OCF Resource Agent API 1.1, "Return codes").
pub mod code {
    /// The action succeeded; for a monitor: active.
    pub const OK: i32 = 0;
    /// Unspecific error.
    pub const ERROR: i32 = 1;
    /// Missing or wrong parameters.
    pub const ARGS: i32 = 2;
    /// The agent does not know the action.
    pub const UNIMPLEMENTED: i32 = 3;
    /// The software that the agent needs, or the agent, is not there.
    pub const NOT_INSTALLED: i32 = 5;
    /// The configuration is wrong.
    pub const NOT_CONFIGURED: i32 = 6;
    /// Cleanly stopped.
    pub const NOT_RUNNING: i32 = 7;
    /// Active in the promoted role.
    pub const PROMOTED: i32 = 8;
    /// Failed in the promoted role.
    pub const PROMOTED_FAILED: i32 = 9;
}

/// Which program is called for a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Agent {
    /// `ocf`, `systemd`, `stonith`, `lsb` or `service`.
    pub class: String,
    /// The provider, for `ocf`.
    pub provider: Option<String>,
    /// The agent's name.
    pub name: String,
}

/// One operation that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The resource's id, as the agent sees it.
    pub resource: String,
    /// `start`, `stop`, `monitor`, `promote`, `demote`, `notify`, …
    pub action: String,
    /// Milliseconds between runs, 0 for once.
    pub interval_ms: u64,
    /// Milliseconds that one run may take.
    pub timeout_ms: u64,
    /// Milliseconds to wait before the first run.
    pub start_delay_ms: u64,
    /// Which program.
    pub agent: Agent,
    /// Parameters and meta-attributes, as they go to the agent's environment.
    pub params: Vec<(String, String)>,
    /// What the requester knows the operation by; returned with the result.
    pub tag: String,
}

/// How a run ended, seen from outside of the agent. Numbers are those of `op-status` in the CIB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The agent ran and gave an exit code.
    Done,
    /// It was told to stop recurring.
    Cancelled,
    /// It did not end in time.
    TimedOut,
    /// It could not be started, or broke.
    Error,
    /// The agent is not there.
    NotInstalled,
}

impl Status {
    /// The number in `op-status`.
    pub fn number(self) -> i32 {
        match self {
            Status::Done => 0,
            Status::Cancelled => 1,
            Status::TimedOut => 2,
            Status::Error => 4,
            Status::NotInstalled => 7,
        }
    }
}

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// The OCF exit code.
    pub code: i32,
    /// Why, in the agent's or the driver's words; empty if it said nothing.
    pub reason: String,
    /// What the agent wrote to standard output, cut to a sane length.
    pub output: String,
}

impl Outcome {
    /// A run that ended with `code` and nothing to say.
    pub fn done(code: i32) -> Outcome {
        Outcome { status: Status::Done, code, reason: String::new(), output: String::new() }
    }

    /// A run that went wrong outside of the agent.
    pub fn broken(status: Status, code: i32, reason: impl Into<String>) -> Outcome {
        Outcome { status, code, reason: reason.into(), output: String::new() }
    }
}

/// A result, for the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked for.
    pub operation: Operation,
    /// The number of the call on this node, from 1.
    pub call: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// When the run began.
    pub started: Instant,
    /// How long it ran.
    pub ran: Duration,
    /// How long it had waited in the resource's queue.
    pub queued: Duration,
}

/// The number of one run of an agent; never used again on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub u64);

/// What the executor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Carry this out.
    Execute(Operation),
    /// Stop the recurring operation `action` with this interval.
    Cancel {
        /// The resource.
        resource: String,
        /// The action.
        action: String,
        /// Its interval in milliseconds.
        interval_ms: u64,
        /// The tag that the cancellation itself is known by.
        tag: String,
    },
    /// Forget the resource: its recurring operations end without a report.
    Forget {
        /// The resource.
        resource: String,
    },
    /// A run has ended.
    Finished {
        /// Which.
        run: RunId,
        /// With what.
        outcome: Outcome,
    },
    /// A migration to this node begins: the resource may arrive with this operation's parameters.
    Expect(Operation),
    /// A node is lost, or was for a while: migrations to it that have not begun end without their
    /// agents being called.
    TargetLost {
        /// The node's name.
        node: String,
    },
    /// The others take this node to be down: nothing is carried out from now on but stops of all that
    /// was started, until [`Effect::AllStopped`].
    StopAll {
        /// What the cluster adds to the parameters of each call, such as the node's name.
        added: Vec<(String, String)>,
    },
    /// Something outside says that the resource has died: its recurring monitors are due now.
    CheckNow {
        /// The resource.
        resource: String,
    },
}

/// What the executor wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Call the agent; [`Input::Finished`] is expected whatever happens.
    Run {
        /// The run's number.
        run: RunId,
        /// What to call, with which parameters.
        operation: Operation,
        /// What has to be kept as by [`Effect::Keep`] before the agent is called. If that fails, the
        /// run ends with an error and the agent is not called.
        keep: Option<StartedWith>,
    },
    /// Keep what a resource was started with, or forget it, in a place that outlives the daemon but
    /// not the host. A daemon that is restarted on the same host is given what was kept.
    Keep {
        /// The resource.
        resource: String,
        /// What it was started with; nothing once it has stopped.
        with: Option<StartedWith>,
    },
    /// End the run's whole process group; [`Input::Finished`] is still expected.
    Kill {
        /// Which run.
        run: RunId,
    },
    /// A result for the controller.
    Report(Report),
    /// The end that [`Input::StopAll`] asked for: nothing is called any more.
    AllStopped {
        /// Resources that may still run: their stops have failed.
        left: Vec<String>,
    },
    /// A recurring operation is gone, as the cancellation with this tag asked.
    Cancelled {
        /// The operation that ended (as it was asked for).
        operation: Option<Operation>,
        /// The cancellation's tag.
        tag: String,
    },
}

/// Key of a recurring operation.
type RecurringKey = (String, String, u64);
type RecurringTable = BTreeMap<RecurringKey, queue::Recurring>;
