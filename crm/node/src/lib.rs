//! One node's machines wired together: the same wiring in the daemon and in the simulator.
//!
//! A [`Node`] holds the CIB store, the attribute manager, the fencer, the executor and the
//! controller, and routes what one says to the others. What is left over are effects on the world
//! ([`Effect`]): messages for the ring, files, processes, answers to tools. The ring itself is not
//! in here: it hands up [`Input::View`] and [`Input::Delivered`].
//!
//! It decides nothing. Its one rule of its own: a plan is computed only from a CIB in which
//! everything that this node has said so far is contained.

#![forbid(unsafe_code)]

mod cib;
mod client;
mod ending;
mod history;
mod node;
mod secrets;
mod sight;

use std::collections::BTreeMap;
use std::sync::Arc;

use cib_store::{Version, Who};
use cib_xml::Doc;
use crm_api::secret::{Change, Place};
use crm_api::{EventKind, Request, Response};
use crm_controller::Level;
use crm_executor::{Agent, Operation, Outcome, StartedWith};
use crm_graph::Transition;
use crm_history::{Fact, Note};
use membership_base::{Delivered, Guarantee, Incarnation, NodeId, View};
use serde::{Deserialize, Serialize};

pub use node::Node;

/// What a node needs to know from the start.
pub struct Setup {
    /// This node.
    pub local: NodeId,
    /// All configured nodes with their names; contains the local one.
    pub nodes: BTreeMap<NodeId, String>,
    /// Their votes, as quorum counts them.
    pub votes: BTreeMap<NodeId, u32>,
    /// The cluster's name.
    pub cluster: String,
    /// Which start of this node's daemon this is.
    pub life: Incarnation,
    /// Wall-clock milliseconds since the epoch at the origin of the machine's clock.
    pub wall_ms: u64,
    /// The CIB as it was on disk.
    pub cib: Doc,
    /// What earlier daemons on this host have started and not stopped: all that was kept by
    /// [`Effect::KeepStarted`] and [`Effect::RunAgent`] since the host was started.
    pub started: BTreeMap<String, StartedWith>,
    /// Whether nobody outside can read what members say to each other.
    pub encrypted: bool,
    /// What this program calls itself.
    pub version: String,
}

/// What the machines of different nodes say to each other, in the ring's total order.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Message {
    Cib(cib_store::Message),
    Attributes(crm_attributes::Message),
    Fencer(crm_fencer::Message),
    Controller(crm_controller::Message),
    History(Note),
    Secret(secrets::SecretMessage),
}

impl Message {
    fn guarantee(&self) -> Guarantee {
        match self {
            Message::Controller(message) => message.guarantee(),
            _ => Guarantee::Agreed,
        }
    }
}

/// Incremented with every change that an older member would misread.
const PROTOCOL: u8 = 7;

/// Largest message that a node has sent, in bytes, as the ring takes it. A larger one is refused
/// before it is counted, and logged.
pub const MESSAGE_MAX: usize = (64 << 20) - 1024;
/// Largest request of a tool, as it is encoded: whatever a node makes of it fits into a message.
pub const REQUEST_MAX: usize = 32 << 20;

/// What a node is told.
pub enum Input {
    /// The wall clock was set, or has drifted from the machine's clock, as that of a machine does
    /// which was suspended, or whose time comes from the network.
    Clock {
        /// Milliseconds since the epoch at the origin of the machine's clock, by the wall clock as
        /// it is now.
        wall_ms: u64,
    },
    /// The ring has a new membership.
    View(View),
    /// The ring delivers a message.
    Delivered(Delivered),
    /// A tool asks something; the answer comes as [`Effect::Reply`].
    Client {
        /// The driver's number for it.
        id: u64,
        /// Who asks.
        who: Who,
        /// What.
        request: Request,
    },
    /// A resource agent's run has ended.
    AgentFinished {
        /// Which.
        run: crm_executor::RunId,
        /// With what.
        outcome: Outcome,
    },
    /// What a resource agent prints for `meta-data`; said before its first run's end.
    Metadata {
        /// Which.
        agent: Agent,
        /// The document.
        text: String,
    },
    /// A fence agent's run has ended.
    FenceAgentFinished {
        /// Which.
        run: crm_fencer::RunId,
        /// Its standard output, or the error in words.
        result: Result<String, String>,
    },
    /// A plan has been computed.
    Planned {
        /// Its number.
        plan: u32,
        /// The plan, or why there is none.
        result: Result<Transition, String>,
        /// The file that its input is kept in, if it is.
        input: Option<String>,
    },
    /// A CIB is on disk.
    Persisted {
        /// Which.
        version: Version,
    },
    /// [`Effect::KeepSecret`] has been carried out.
    SecretKept {
        /// Who asked for it.
        asker: NodeId,
        /// By which number.
        number: u64,
        /// Why not, if it failed.
        error: Option<String>,
    },
    /// [`Effect::LookAtSecrets`] has been carried out.
    SecretsFound {
        /// The view that it was for.
        view: u64,
        /// What is on this node, and of when: milliseconds since the epoch.
        secrets: Vec<(Place, u64)>,
    },
    /// One of the secrets of [`Effect::ReadSecrets`].
    SecretRead {
        /// Of when it is.
        at_ms: u64,
        /// The secret.
        change: Change,
    },
    /// Something outside says that a resource has died.
    CheckNow {
        /// Which, as the executor knows it.
        resource: String,
    },
    /// Leave the cluster in good order.
    Shutdown,
    /// Something has failed that the node cannot live with.
    Fail {
        /// What, in a sentence.
        reason: String,
    },
}

/// What a node wants done.
pub enum Effect {
    /// Send this over the ring.
    Send {
        /// The message.
        bytes: Vec<u8>,
        /// When it may be delivered.
        guarantee: Guarantee,
    },
    /// Write this to disk, then say [`Input::Persisted`].
    Persist {
        /// The configuration.
        snapshot: Arc<Doc>,
        /// Its version.
        version: Version,
    },
    /// Keep this CIB in a file and name it in the log: it lost against another partition's.
    SetAside {
        /// The CIB.
        doc: Doc,
        /// Why.
        reason: String,
    },
    /// Run a resource agent.
    RunAgent {
        /// The run's number.
        run: crm_executor::RunId,
        /// What to call.
        operation: Operation,
        /// To be kept as by [`Effect::KeepStarted`] first. If that fails, the run ends with an error
        /// and the agent is not called.
        keep: Option<StartedWith>,
    },
    /// Keep what a resource was started with for the next daemon on this host, or forget it.
    KeepStarted {
        /// The resource.
        resource: String,
        /// What it was started with; nothing once it has stopped.
        with: Option<StartedWith>,
    },
    /// End a resource agent's whole process group.
    KillAgent {
        /// Which run.
        run: crm_executor::RunId,
    },
    /// Run a fence agent.
    RunFenceAgent {
        /// The run's number.
        run: crm_fencer::RunId,
        /// The device's id.
        device: String,
        /// The agent's name.
        agent: String,
        /// Options for its standard input.
        options: Vec<(String, String)>,
        /// Milliseconds until it is ended.
        timeout_ms: u64,
    },
    /// Keep or forget a secret on disk, then say [`Input::SecretKept`] if somebody asked.
    KeepSecret {
        /// Who asked for it, by which number. If nobody did, only one that is newer than what is
        /// kept is to be taken.
        asked: Option<(NodeId, u64)>,
        /// Of when it is: milliseconds since the epoch.
        at_ms: u64,
        /// What.
        change: Change,
    },
    /// See which of these secrets are on this node, then say [`Input::SecretsFound`].
    LookAtSecrets {
        /// The view that it is for.
        view: u64,
        /// Which.
        places: Vec<Place>,
    },
    /// Say [`Input::SecretRead`] for each of these that is still of that time.
    ReadSecrets {
        /// Which, and of when.
        places: Vec<(Place, u64)>,
    },
    /// Compute a plan.
    Schedule {
        /// Its number.
        plan: u32,
        /// From this CIB.
        cib: Arc<Doc>,
        /// At this time, seconds since the epoch.
        now_s: u64,
    },
    /// Keep the input of the plan that was told last: it is carried out.
    KeepInput,
    /// For the record of what happened; nothing waits for it.
    History {
        /// Wall-clock milliseconds since the epoch.
        at_ms: u64,
        /// What.
        fact: Fact,
    },
    /// Answer a tool.
    Reply {
        /// The driver's number.
        id: u64,
        /// The answer.
        response: Response,
    },
    /// Tell whoever listens.
    Event(EventKind),
    /// A line for the log.
    Log(Level, String),
    /// Leave the ring and end.
    Leave,
    /// The first thing after a failure that the node cannot live with: leave the ring. What runs here
    /// is stopped next, and [`Effect::Ended`] follows.
    LeaveRing,
    /// Restart the host at once. If that is not possible, go on with what follows.
    RestartHost,
    /// End, and do not start again by itself.
    Ended {
        /// Resources that may still run here.
        left: Vec<String>,
    },
}
