//! The controller: who is the DC, who has joined, what the transition in force still has to do,
//! and what each node's executor has done.
//!
//! Every node runs one. After each change of the membership all members say [`Message::Hello`];
//! once all of them have been heard in the ring's total order, everybody knows the same DC, so an
//! election needs no rounds of its own. The DC writes who is there into the CIB, has a transition
//! computed, and hands its actions to the members' executors.
//!
//! Invariants:
//! - the DC asks for a plan only when its own earlier writes are part of the CIB, the transition of
//!   before starts nothing any more, and all members of the view have been heard;
//! - an action is carried out only after all of its inputs have completed as expected, and after
//!   every operation of the same resource that an earlier transition has left under way;
//! - an operation that changes a resource is in the CIB's history as pending before it begins;
//! - a node counts as fenced only when the fencer says so;
//! - a result that was not asked for, or not as asked for, always leads to a new plan.

#![forbid(unsafe_code)]

mod agent;
mod dc;
mod flights;
mod history;
mod machine;
mod pace;
mod retries;
mod transition;
mod underway;

use std::collections::BTreeMap;

use crm_attributes::Update;
use crm_executor::{Agent, Operation, Outcome, Report};
use crm_graph::Transition;
use crm_history::Note;
use membership_base::mutant::{Mutant, mutant};
use membership_base::{Guarantee, Incarnation, Instant, NodeId, View};
use serde::{Deserialize, Serialize};

pub use agent::operation_digest;
pub use dc::BOOTSTRAP_OPTIONS;
pub use history::{History, ResourceHistory};
pub use machine::Controller;
pub use underway::Underway;

/// What a controller needs to know from the start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node.
    pub local: NodeId,
    /// All configured nodes with their names; contains the local one.
    pub nodes: BTreeMap<NodeId, String>,
    /// `cluster_name` of `corosync.conf`, possibly empty.
    pub cluster_name: String,
    /// Unlike that of any earlier daemon on this node.
    pub life: Incarnation,
    /// Wall-clock milliseconds since the epoch at the origin of the machine's clock.
    pub wall_ms: u64,
    /// Resources that an earlier daemon on this host may have left running, with their agents.
    pub left_running: BTreeMap<String, Agent>,
}

/// Options of `crm_config` that the controller itself obeys, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `dc-deadtime`: how long a starting cluster waits for its other nodes.
    pub dc_deadtime_ms: u64,
    /// `cluster-recheck-interval`: a new plan at least this often; 0 for never.
    pub recheck_ms: u64,
    /// `fencing-timeout`.
    pub fencing_timeout_ms: u64,
    /// `shutdown-escalation`: how long a leaving node waits for its resources to stop.
    pub shutdown_escalation_ms: u64,
    /// `cluster-delay`: added to an operation's time-out before its node is taken to be silent.
    pub cluster_delay_ms: u64,
    /// `fence-limit`: how often members are fenced for failures of the same resource, or the same
    /// node is; 0 for no limit.
    pub fence_limit: u64,
    /// `fence-limit-interval`: in which time.
    pub fence_limit_interval_ms: u64,
    /// `fence-reaction`: whether a node that is told of its own fence restarts its host (`panic`)
    /// instead of stopping what it runs (`stop`).
    pub panics: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dc_deadtime_ms: 20_000,
            recheck_ms: 15 * 60_000,
            fencing_timeout_ms: 60_000,
            shutdown_escalation_ms: 20 * 60_000,
            cluster_delay_ms: 60_000,
            fence_limit: 2,
            fence_limit_interval_ms: 3_600_000,
            panics: false,
        }
    }
}

/// What controllers say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Said by every member in every view.
    Hello(Box<Hello>),
    /// The DC has an operation carried out.
    Execute {
        /// By whom.
        to: NodeId,
        /// Which; its tag is the transition key.
        operation: Operation,
        /// The node that the operation is for, where the executor's node only speaks for it.
        node: String,
        /// Whether the resource is an instance of an anonymous clone.
        instance: bool,
    },
    /// The DC ends a recurring operation.
    Cancel {
        /// On which node.
        to: NodeId,
        /// Of which resource.
        resource: String,
        /// The action.
        action: String,
        /// Its interval in milliseconds.
        interval_ms: u64,
        /// The transition key.
        tag: String,
    },
    /// A node's executor has a result.
    Result {
        /// The result.
        report: Box<WireReport>,
    },
    /// A node has ended a recurring operation, or forgotten a resource, as asked.
    Complied {
        /// The transition key.
        tag: String,
    },
    /// A node does not carry out what it was told: it came from no DC that the node knows.
    Refused {
        /// The transition key.
        tag: String,
    },
    /// A node is to forget what it knows of a resource (or of all).
    Forget {
        /// Which node.
        to: NodeId,
        /// Which resource; all if `None`.
        resource: Option<String>,
        /// The transition key, if the DC asks on behalf of a plan.
        tag: Option<String>,
    },
    /// The DC no longer waits for the nodes of a starting cluster.
    Started,
    /// The DC lets a node go that asked to leave.
    Go {
        /// Which node.
        to: NodeId,
    },
    /// The DC is about to have a member fenced because a resource failed there.
    MemberFence(MemberFence),
    /// The DC has a node keep a resource as it is, though its failure asks for a fence of the node.
    Hold {
        /// Which node.
        to: NodeId,
        /// Which resource.
        resource: String,
        /// Why.
        reason: String,
    },
    /// Somebody wants a new plan, for this reason.
    Replan {
        /// Why.
        reason: String,
    },
    /// The sender has written all that its executor has done to the CIB since this view began.
    Told {
        /// The view.
        view: u64,
    },
}

impl Message {
    /// When the message may be delivered. A migration changes another node than the one that carries
    /// it out, so it begins only when all know of it: those who are cut off from both would otherwise
    /// fence the one, and not look at what has come to the other.
    pub fn guarantee(&self) -> Guarantee {
        match self {
            Message::Execute { operation, .. }
                if underway::migrates_to(operation).is_some()
                    && !mutant(Mutant::AgreedMigration) =>
            {
                Guarantee::Safe
            }
            _ => Guarantee::Agreed,
        }
    }
}

/// What a member says of itself in a new view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The view that it is for; others are ignored.
    pub view: u64,
    /// Whether it was the DC until now.
    pub is_dc: bool,
    /// Whether the partition that it comes from was quorate.
    pub was_quorate: bool,
    /// Whether it has been in a cluster that was past waiting for its nodes.
    pub started: bool,
    /// Tells this daemon from an earlier one on the same node.
    pub life: Incarnation,
    /// What its executor has not finished.
    pub busy: Vec<Underway>,
    /// Resources that may still arrive on it.
    pub arriving: BTreeMap<String, Arrival>,
    /// When the latest operation of its history began by its clock, seconds since the epoch.
    pub latest_s: u64,
    /// Fences of members because of failures that it remembers, and how many seconds ago.
    pub member_fences: Vec<(MemberFence, u64)>,
}

/// A fence of a member because a resource failed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFence {
    /// The node's name.
    pub target: String,
    /// Which life of it.
    pub life: Incarnation,
    /// What failed.
    pub resource: String,
}

/// A migration to a node that has not taken it over yet. Who carries it out is another node: it may go
/// on with it while nobody hears of it, and until the target has done its part nobody else's history
/// says where the resource is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Who was told to migrate.
    pub from: NodeId,
    /// By which life that node was heard last.
    pub life: Option<Incarnation>,
    /// The transition key.
    pub tag: String,
    /// That node has been out of reach since.
    pub lost: bool,
    /// It was heard to have ended.
    pub ended: bool,
}

/// [`Report`] in a form that travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireReport {
    /// Name of the node that the operation was for.
    pub node: String,
    /// What was asked for.
    pub operation: Operation,
    /// The number of the call on that node.
    pub call: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// When it began, seconds since the epoch.
    pub started_s: u64,
    /// How long it ran, milliseconds.
    pub ran_ms: u64,
    /// How long it waited, milliseconds.
    pub queued_ms: u64,
}

/// How a fencing operation ended, as the controller needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// Tickets of this controller that it answers.
    pub tickets: Vec<u64>,
    /// The node.
    pub target: String,
    /// `reboot`, `off` or `on`.
    pub action: String,
    /// Nothing if a device confirmed it, else why not.
    pub error: Option<String>,
    /// Who asked for it.
    pub client: String,
    /// Which life of the node it was asked for; none if whoever asked had not heard of any.
    pub life: Option<Incarnation>,
    /// The node came into the membership another way while it was under way.
    pub outdated: bool,
}

/// What in the CIB has changed, as far as it matters for the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CibChange {
    /// Something in `<configuration>`.
    pub configuration: bool,
    /// A transient attribute.
    pub attributes: bool,
    /// A ticket was granted, revoked or put on standby.
    pub tickets: bool,
    /// An entry of the operation history was removed by something outside the cluster.
    pub history_removed: bool,
    /// Something outside the cluster has removed or changed more than such entries of what
    /// the cluster's parts keep in the CIB themselves: who is there, and what it says of itself.
    pub kept_changed: bool,
}

/// A node that was a member once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub node: NodeId,
    /// It is expected to be down: it left as it should, or its fence was confirmed.
    pub down: bool,
}

/// What a controller is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The wall clock was set, or has drifted: milliseconds since the epoch at the origin of the
    /// machine's clock.
    Clock(u64),
    /// A new membership.
    View(View),
    /// A message in the total order.
    Delivered {
        /// Who said it.
        sender: NodeId,
        /// What.
        message: Message,
    },
    /// All members of the view hold the same CIB.
    Synced {
        /// Who was a member once, as that CIB tells.
        seen: Vec<Seen>,
    },
    /// The CIB has changed.
    CibChanged(CibChange),
    /// The options in force.
    Options(Options),
    /// The plan that [`Effect::Schedule`] asked for.
    Planned {
        /// Its number.
        plan: u32,
        /// The plan, or why there is none.
        result: Result<Transition, String>,
        /// The file for its input, if it is kept; see [`Effect::KeepInput`].
        input: Option<String>,
    },
    /// The local executor has a result.
    Report(Report),
    /// The local executor has ended a recurring operation.
    Cancelled {
        /// The operation as it was asked for, if it was known.
        operation: Option<Operation>,
        /// The tag of the cancellation.
        tag: String,
    },
    /// What an agent on this node prints for `meta-data`.
    Metadata {
        /// Which.
        agent: Agent,
        /// The document.
        text: String,
    },
    /// A fencing operation has ended.
    Fenced(Fenced),
    /// This node is to leave the cluster in good order.
    Shutdown,
}

/// A change of the CIB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CibWrite {
    /// Merge this element into `<status>`, making what is not there.
    Status(String),
    /// Merge this `<nodes>` element into the configuration, making what is not there.
    Nodes(String),
    /// Merge this `<crm_config>` element into the configuration, making what is not there.
    Options(String),
    /// Set attributes of `<cib>` itself, given as a `<cib …/>` element.
    Root(String),
    /// Remove what the expression finds.
    Delete(String),
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An operator has to do something.
    Error,
    /// It may come to that.
    Warning,
    /// What happened and why.
    Notice,
    /// Details.
    Info,
}

/// What a controller wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say this to all.
    Broadcast(Message),
    /// Change the CIB, all or nothing.
    Cib(Vec<CibWrite>),
    /// Change node attributes.
    Attributes(Vec<Update>),
    /// Remove all attributes of a node whose name starts with the prefix.
    ClearAttributes {
        /// The node.
        node: String,
        /// Start of the names.
        prefix: String,
    },
    /// For the local executor.
    Execute(crm_executor::Input),
    /// Compute a plan from the CIB as it is once everything said by this node has been applied.
    Schedule {
        /// The plan's number, which comes back with it and becomes the transition's id.
        plan: u32,
    },
    /// Keep the input of the plan that was told last in the file that was told with it: it is
    /// carried out.
    KeepInput,
    /// Fence a node; the answer names the ticket.
    Fence {
        /// This controller's number for it.
        ticket: u64,
        /// Whom.
        target: String,
        /// How.
        action: String,
        /// Which life of it, if one has been heard of.
        life: Option<Incarnation>,
        /// Milliseconds that one agent run may take by default.
        timeout_ms: u64,
    },
    /// A fence that was asked for is not needed any more: it is to end, if nothing of it has been
    /// done yet. It is answered all the same.
    WithdrawFence {
        /// As it was asked for with.
        ticket: u64,
    },
    /// Whether this node is the DC from now on.
    Dc(bool),
    /// Leave the ring and end; everything that this node held has been stopped.
    Leave,
    /// Leave the ring at once and stop what was started here: the others believe that this node is
    /// down.
    Fail(String),
    /// The same, but restart the host if that is possible.
    Panic(String),
    /// Tell all members, for the record of what happened.
    Note(Note),
    /// A line for the log.
    Log(Level, String),
}

/// How a controller stands, for status displays (`crmadmin --status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for the members to be heard.
    Joining,
    /// A member that is not the DC.
    Member,
    /// The DC, waiting for nodes of a starting cluster.
    DcWaiting,
    /// The DC, with a plan being computed.
    DcPlanning,
    /// The DC, carrying out a transition.
    DcTransition,
    /// The DC, with nothing to do.
    DcIdle,
}

impl Phase {
    /// The field's name for it, as `crmadmin --status` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Joining => "S_PENDING",
            Phase::Member => "S_NOT_DC",
            Phase::DcWaiting => "S_INTEGRATION",
            Phase::DcPlanning => "S_POLICY_ENGINE",
            Phase::DcTransition => "S_TRANSITION_ENGINE",
            Phase::DcIdle => "S_IDLE",
        }
    }
}

/// A deadline that is never reached.
const NEVER: Instant = Instant(u64::MAX);
