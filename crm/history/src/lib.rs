//! What happened: who changed what in the configuration, and what the cluster did because of it.
//!
//! Every node tells its [`Recorder`] what it hears in the ring's total order ([`Fact`]), so the
//! nodes' records agree; the recorder makes [`Entry`]s of it, which a driver keeps. Changes are
//! known to all members anyway, and so are results of operations. Of transitions the DC tells the
//! rest ([`Note`]): what caused one, and how it ended.
//!
//! A record is for people. Nothing that the cluster decides depends on it, so it may be written
//! late, and its last entries may be missing after a loss of power.

#![forbid(unsafe_code)]

mod recorder;

use std::fmt;
use std::sync::Arc;

use cib_xml::Doc;
use serde::{Deserialize, Serialize};

pub use recorder::Recorder;

/// The longest patchset that an entry holds, in bytes of XML. Of larger ones only the fact is told.
pub const PATCH_MAX: usize = 1 << 20;
/// Results that the entry of one transition holds; further ones are counted.
pub const ACTIONS_MAX: usize = 4096;

/// Names a transition for ever: its number, and the run of the DC that counted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionId {
    /// The number, as in transition keys.
    pub number: u32,
    /// The DC's UUID, as in transition keys.
    pub dc: String,
}

impl TransitionId {
    /// That of the transition that asked for an operation with this key
    /// (`ACTION:TRANSITION:EXPECTED:UUID`), and the exit code that was expected.
    pub fn of_key(key: &str) -> Option<(TransitionId, i32)> {
        let mut parts = key.splitn(4, ':').skip(1);
        let number = parts.next()?.parse().ok()?;
        let expected = parts.next()?.parse().ok()?;
        Some((TransitionId { number, dc: parts.next()?.to_owned() }, expected))
    }
}

impl fmt::Display for TransitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run: String = self.dc.chars().take(4).collect();
        write!(f, "{}-{run}", self.number)
    }
}

/// What the DC tells all members of a transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// It begins.
    Begun {
        /// Which.
        id: TransitionId,
        /// What caused it, in words.
        reason: String,
        /// How many actions it has, not counting pseudo-actions.
        planned: u32,
        /// The file with the plan's input on the DC, if one was kept.
        input: Option<String>,
    },
    /// It has ended.
    Ended {
        /// Which.
        id: TransitionId,
        /// How.
        outcome: Outcome,
        /// Why it ended early, if it did.
        why: Option<String>,
        /// How many actions never went, pseudo-actions included.
        left: u32,
    },
}

/// How a transition ended, in the field's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All of it was done.
    Complete,
    /// It was given up for a new plan.
    Stopped,
    /// What was left waited for something that is not part of it.
    Terminated,
    /// Its DC was lost.
    Lost,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Complete => "Complete",
            Outcome::Stopped => "Stopped",
            Outcome::Terminated => "Terminated",
            Outcome::Lost => "Lost",
        })
    }
}

/// A change of the CIB, as a node sees it.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The version before.
    pub from: String,
    /// The version after.
    pub to: String,
    /// The patchset.
    pub patch: Arc<Doc>,
    /// The node that it comes from.
    pub node: String,
    /// Who asked for it; nobody where the CIB was taken over from `node`.
    pub asked: Option<Asked>,
}

/// Who asked for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The user.
    pub user: String,
    /// The program.
    pub client: String,
    /// What the program was told to do, if that is known.
    pub command: String,
    /// The operation's name, as `cib_modify`.
    pub operation: String,
}

/// What a recorder is told.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The configuration changed.
    Changed(Changed),
    /// The configuration is this; of use only after facts were lost.
    Configuration(Arc<Doc>),
    /// The DC tells of a transition.
    Note {
        /// The DC's name.
        dc: String,
        /// What it says.
        note: Note,
    },
    /// A node has a result.
    Result {
        /// The transition key.
        key: String,
        /// What it did.
        action: Action,
    },
    /// Fencing has ended.
    Fenced(Action),
    /// That many facts were lost.
    Lost(u64),
}

/// An entry of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Entry {
    /// A change of the configuration.
    Change(Change),
    /// A transition that has ended.
    Transition(Transition),
    /// Something is missing here: this many facts could not be kept.
    Gap {
        /// Wall-clock milliseconds since the epoch.
        at_ms: u64,
        /// How many.
        lost: u64,
    },
}

impl Entry {
    /// When it happened (a transition: when it began), wall-clock milliseconds since the epoch.
    pub fn at_ms(&self) -> u64 {
        match self {
            Entry::Change(change) => change.at_ms,
            Entry::Transition(transition) => transition.at_ms,
            Entry::Gap { at_ms, .. } => *at_ms,
        }
    }

    /// What it is called; gaps have no name.
    pub fn id(&self) -> Option<&str> {
        match self {
            Entry::Change(change) => Some(&change.id),
            Entry::Transition(transition) => Some(&transition.id),
            Entry::Gap { .. } => None,
        }
    }
}

/// A change of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `ADMIN_EPOCH.EPOCH` of the configuration that it led to.
    pub id: String,
    /// When, wall-clock milliseconds since the epoch.
    pub at_ms: u64,
    /// The version before.
    pub from: String,
    /// The version after.
    pub to: String,
    /// The user who asked for it.
    pub user: String,
    /// The user's program.
    pub client: String,
    /// What the program was told to do, if that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// The operation's name, as `cib_modify`; `taken over` for another member's CIB that won when
    /// nodes came together.
    pub operation: String,
    /// The node that it comes from.
    pub node: String,
    /// The names of the schemas before and after, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<(String, String)>,
    /// The patchset, as far as it is about the configuration; none if it was too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// The patchset that leads back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse: Option<String>,
}

/// A transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Its number and the start of its DC's UUID.
    pub id: String,
    /// When it began, wall-clock milliseconds since the epoch.
    pub at_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// The DC's name.
    pub dc: String,
    /// What caused it, in words.
    pub reason: String,
    /// The id of the last change of the configuration before it.
    pub configuration: String,
    /// The file with its input on the DC, if one was kept.
    pub input: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended early, if it did.
    pub why: Option<String>,
    /// How many actions were planned, pseudo-actions not counted.
    pub planned: u32,
    /// How many actions never went, pseudo-actions included.
    pub left: u32,
    /// What came to an end while it was in force.
    pub actions: Vec<Action>,
    /// Further results, which are not held.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub further: u64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An operation or a fence that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// When it ended, wall-clock milliseconds since the epoch.
    pub at_ms: u64,
    /// The node.
    pub node: String,
    /// The resource; empty for a fence.
    pub resource: String,
    /// `start`, `monitor`, …; for a fence `reboot`, `off` or `on`.
    pub action: String,
    /// The interval in milliseconds, 0 for what runs once.
    pub interval_ms: u64,
    /// How long it ran, where that is known.
    pub ran_ms: Option<u64>,
    /// The exit code, for an operation.
    pub code: Option<i32>,
    /// Whether it went as it was meant to.
    pub good: bool,
    /// Whether an earlier transition has asked for it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub earlier: bool,
    /// What was said about it: an exit reason, the device that confirmed a fence.
    pub text: String,
}
