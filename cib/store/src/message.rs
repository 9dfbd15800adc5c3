//! What members tell each other, in total order.

use std::collections::BTreeMap;

use membership_base::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::operation::{Operation, Who};
use crate::version::{Term, Version};

/// Results of past writes that are remembered for each node: more than a node has under way.
const RESULTS_MAX: usize = 512;

/// Identifies a write for ever: the node, its start, and a number that grows with each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteId {
    /// The node that broadcast it.
    pub origin: NodeId,
    /// Which start of that node.
    pub boot: Incarnation,
    /// Grows by one with each write of that start.
    pub seq: u64,
}

/// A change of the CIB that all members apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which one.
    pub id: WriteId,
    /// The view in which it was broadcast. In another one nobody applies it, and its origin
    /// broadcasts it again.
    pub view: u64,
    /// Whether the origin's partition had quorum then. Taken from the message rather than from
    /// each member's own opinion, so that all do the same.
    pub quorate: bool,
    /// Name of the node that broadcast it.
    pub uname: String,
    /// Who asked.
    pub who: Who,
    /// Apply even without quorum.
    pub force: bool,
    /// Wall clock of the origin, in seconds since 1970, for `cib-last-written`.
    pub now_seconds: i64,
    /// What to do.
    pub op: Operation,
}

/// What a member has when a view begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The view that this is for; others ignore it.
    pub view: u64,
    /// The version.
    pub version: Version,
    /// Digest of everything that replicas have to agree on.
    pub digest: String,
    /// Digest of the configuration alone.
    pub config_digest: String,
    /// The last quorate view that its CIB has been through, as [`crate::Store`] has it.
    pub term: Term,
    /// The version of the last change that it has from a quorate view.
    pub committed: Version,
    /// Whether the node has been in sync since it started.
    pub lived: bool,
    /// Nodes that it has met since the CIB was told last that they are down, ascending.
    pub met: Vec<NodeId>,
}

/// Results of past writes by origin, so that a repeated one is answered but not done again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done(BTreeMap<NodeId, DoneOf>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct DoneOf {
    boot: Incarnation,
    /// Writes below this number are done, with forgotten results.
    floor: u64,
    results: BTreeMap<u64, Option<ErrorKind>>,
}

impl Done {
    /// Notes that a write is being done; false if it was done before.
    pub(crate) fn begin(&mut self, id: WriteId) -> bool {
        let of = self.0.entry(id.origin).or_default();
        // The order tells which is newer, not the numbers: a node that has lost its state may begin
        // again with a lower one, and nothing of its earlier start can follow in the order.
        if id.boot != of.boot {
            *of = DoneOf { boot: id.boot, ..Default::default() };
        }
        id.seq >= of.floor && !of.results.contains_key(&id.seq)
    }

    pub(crate) fn finish(&mut self, id: WriteId, result: Option<ErrorKind>) {
        let of = self.0.entry(id.origin).or_default();
        of.results.insert(id.seq, result);
        // An origin has at most a window of writes under way, so what is older is not repeated.
        while of.results.len() > RESULTS_MAX {
            if let Some((seq, _)) = of.results.pop_first() {
                of.floor = seq + 1;
            }
        }
    }

    /// The result of a write that was done: `Some(None)` for success.
    pub(crate) fn result(&self, id: WriteId) -> Option<Option<ErrorKind>> {
        let of = self.0.get(&id.origin).filter(|of| of.boot == id.boot)?;
        match of.results.get(&id.seq) {
            Some(result) => Some(*result),
            None if id.seq < of.floor => Some(None),
            None => None,
        }
    }
}

/// What identifies a state of the configuration: version, time, origin, client and user of the
/// last change.
pub(crate) type Lineage = (u64, u64, String);

/// A message of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Change the CIB.
    Write(Write),
    /// What I have.
    State(State),
    /// The CIB that everybody in this view takes over.
    Full {
        /// The view that this is for.
        view: u64,
        /// The CIB.
        xml: String,
        /// The version that it gets.
        version: Version,
        /// Results of past writes.
        done: Done,
        /// The last states of its configuration.
        history: Vec<Lineage>,
    },
    /// The CIB of [`Message::Full`] cannot be read here, for this reason.
    Unreadable {
        /// The view that it was for.
        view: u64,
        /// Why.
        reason: String,
    },
    /// My disk has this version.
    Persisted {
        /// The term that it was written in.
        term: Term,
        /// The version.
        version: Version,
    },
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the CIB store: {0}")]
pub struct BadMessage(String);

impl Message {
    /// The message as bytes.
    ///
    /// # Panics
    /// Never: all of it can be encoded.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("every message can be encoded")
    }

    /// Reads what [`Message::encode`] wrote.
    ///
    /// # Errors
    /// If it is something else.
    pub fn decode(bytes: &[u8]) -> Result<Message, BadMessage> {
        postcard::from_bytes(bytes).map_err(|e| BadMessage(e.to_string()))
    }
}
