//! What tools and daemon say to each other, as data.
//!
//! A tool sends a [`Request`] and gets one [`Response`]; after [`Request::Subscribe`] it gets
//! [`Response::Event`]s until it hangs up. Requests carry no user: the daemon takes the peer's
//! credentials from the socket.

#![forbid(unsafe_code)]

pub mod secret;

use cib_store::Operation;
use crm_attributes::Update;
use crm_fencer::Record;
use membership_base::NodeId;
use serde::{Deserialize, Serialize};

/// Incremented with every change that an older peer would misread.
pub const PROTOCOL: u8 = 1;

/// What a tool asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Query or change the CIB.
    Cib {
        /// What to do.
        operation: Operation,
        /// Also without quorum.
        force: bool,
    },
    /// Change node attributes. An empty node name means the local node.
    UpdateAttributes(Vec<Update>),
    /// Remove all attributes of a node whose name starts with the prefix.
    ClearAttributes {
        /// The node, empty for the local one.
        node: String,
        /// Start of the names.
        prefix: String,
    },
    /// Transient attributes from the manager's memory.
    QueryAttributes {
        /// Only this attribute.
        name: Option<String>,
        /// Only this node's, empty for the local one.
        node: Option<String>,
    },
    /// Write all attributes to the CIB again.
    RefreshAttributes,
    /// Fence a node and wait for the end of it.
    Fence {
        /// Whom.
        target: String,
        /// `reboot`, `off` or `on`.
        action: String,
        /// Milliseconds that one agent run may take by default.
        timeout_ms: u64,
    },
    /// Vouch for a node being down.
    ConfirmFenced {
        /// Which node.
        target: String,
    },
    /// The fencing history.
    FencingHistory,
    /// Forget the fencing history of one node, or all of it.
    ClearFencingHistory {
        /// Which node.
        target: Option<String>,
    },
    /// Which devices can fence a node (all devices if `None`).
    FencingDevices {
        /// Which node.
        target: Option<String>,
    },
    /// Make nodes forget what they know of resources, so that these are probed again.
    ForgetResource {
        /// On which node; on all if `None`.
        node: Option<String>,
        /// Which resource, as the executor knows it; all if `None`.
        resource: Option<String>,
    },
    /// How this node and the cluster stand.
    Info,
    /// What the ring and the votes look like.
    Membership,
    /// The settings of `corosync.conf` as keys and values.
    Cmap {
        /// Only keys that start with this.
        prefix: String,
    },
    /// Change the votes that are expected in total.
    ExpectVotes(u32),
    /// End waiting for all nodes (`wait_for_all`) though not all have been seen.
    CancelWaitForAll,
    /// Leave the cluster in good order, then end.
    Shutdown,
    /// Send events from now on.
    Subscribe,
    /// Change a secret on all members; answered once each has kept it. Only for root.
    KeepSecret(secret::Change),
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// It is done.
    Done,
    /// The result of a CIB operation: XML where there is any.
    Cib(Option<String>),
    /// Attributes as (name, node, value).
    Attributes(Vec<(String, String, String)>),
    /// The fencing history, oldest first, with wall-clock seconds of each entry.
    Fencing(Vec<(Record, u64)>),
    /// Device ids.
    Devices(Vec<String>),
    /// Answer to [`Request::Info`].
    Info(Box<Info>),
    /// Answer to [`Request::Membership`].
    Membership(Box<Membership>),
    /// Keys with types and values.
    Cmap(Vec<(String, String, String)>),
    /// Something happened.
    Event(Event),
    /// It could not be done.
    Failed {
        /// Exit status for the tool, in the field's numbering.
        code: i32,
        /// Why, in words.
        reason: String,
    },
}

/// How a node and its cluster stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The local node.
    pub local: NodeId,
    /// Its name.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// The DC's name, if there is one.
    pub dc: Option<String>,
    /// The controller's state, as `S_IDLE`.
    pub state: String,
    /// Whether this partition may act.
    pub quorate: bool,
    /// All configured nodes: id, name, whether a member.
    pub nodes: Vec<(NodeId, String, bool)>,
    /// The daemon's version.
    pub version: String,
}

/// The ring and the votes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The local node.
    pub local: NodeId,
    /// Sequence number of the ring.
    pub ring: u64,
    /// The ring's representative.
    pub representative: NodeId,
    /// Whether this partition may act.
    pub quorate: bool,
    /// Votes expected in total.
    pub expected_votes: u32,
    /// The highest number of votes expected by any rule.
    pub highest_expected: u32,
    /// Votes present.
    pub total_votes: u32,
    /// Votes needed.
    pub quorum: u32,
    /// Flags of the vote counting, as `Quorate`, `2Node`, `WaitForAll`.
    pub flags: Vec<String>,
    /// Members: id, name, votes, address.
    pub members: Vec<(NodeId, String, u32, String)>,
    /// The links of the local node.
    pub links: Vec<LinkState>,
}

/// A link: its number, the local address, and for each peer whether it is reached.
pub type LinkState = (u32, String, Vec<(NodeId, bool)>);

/// Something that happened, with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Wall-clock milliseconds since the epoch.
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// A new membership.
    Membership {
        /// Names of the members.
        members: Vec<String>,
        /// Names of those that are gone.
        lost: Vec<String>,
        /// Whether this partition may act.
        quorate: bool,
    },
    /// Members are being looked for: until the next membership nothing is delivered.
    Gathering {
        /// Why.
        reason: String,
    },
    /// The CIB has changed.
    CibChanged,
    /// An agent's result.
    Operation {
        /// The node.
        node: String,
        /// The resource.
        resource: String,
        /// The action.
        action: String,
        /// Its interval in milliseconds.
        interval_ms: u64,
        /// The agent's exit code.
        code: i32,
        /// Its reason.
        reason: String,
    },
    /// Fencing was asked for.
    FencingBegun {
        /// Whom.
        target: String,
        /// How.
        action: String,
    },
    /// Fencing has ended.
    FencingEnded {
        /// Whom.
        target: String,
        /// How.
        action: String,
        /// The device that confirmed it.
        device: Option<String>,
        /// Why not, if it failed.
        error: Option<String>,
    },
    /// A line of the log.
    Log {
        /// `error`, `warning`, `notice` or `info`.
        level: String,
        /// What it says.
        text: String,
    },
}

/// Exit statuses that tools share with the field (`crm_error --list --exit`).
pub mod exit {
    /// Success.
    pub const OK: i32 = 0;
    /// Unspecific error.
    pub const ERROR: i32 = 1;
    /// The user may not do that.
    pub const INSUFFICIENT_PRIVILEGES: i32 = 4;
    /// The command line is wrong.
    pub const USAGE: i32 = 64;
    /// The input is wrong.
    pub const DATAERR: i32 = 65;
    /// No connection to the daemon.
    pub const DISCONNECT: i32 = 102;
    /// What was named is not there.
    pub const NOSUCH: i32 = 105;
    /// No quorum.
    pub const QUORUM: i32 = 106;
    /// Too much is asked at once.
    pub const BUSY: i32 = 113;
    /// It took too long.
    pub const TIMEOUT: i32 = 124;
}
