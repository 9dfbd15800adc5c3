//! Transient node attributes: one replica of a table that every node holds.
//!
//! Changes travel in the ring's total order, so all members compute the same table. One member,
//! the writer, puts what changed into the CIB's `<status>`, held back by each attribute's dampening
//! (`attrd_updater -d`). A node's values go when it leaves the membership. In every view each node
//! tells its own values, so a node is the authority on itself, and replicas are compared (`merge`).

#![forbid(unsafe_code)]

mod merge;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use membership_base::Instant;
use serde::{Deserialize, Serialize};

use merge::Merge;

/// What is to become of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It becomes this.
    Set(String),
    /// It grows by this much, from 0 if it was not a number; up to INFINITY.
    Add(i32),
    /// It is removed.
    Delete,
    /// It stays, only the attribute's dampening changes.
    Keep,
}

impl Change {
    /// Reads a value as `attrd_updater --update` takes it: `value++` and `value+=N` count up
    /// (`attrd_updater(8)`, "--update").
    pub fn parse(value: &str) -> Change {
        if value == "value++" {
            return Change::Add(1);
        }
        match value.strip_prefix("value+=").and_then(|n| n.parse().ok()) {
            Some(n) => Change::Add(n),
            None => Change::Set(value.to_owned()),
        }
    }
}

/// One change, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The attribute.
    pub name: String,
    /// Name of the node that it describes.
    pub node: String,
    /// What becomes of it.
    pub change: Change,
    /// A new dampening in milliseconds; `None` keeps what it had (0 at first).
    pub dampen_ms: Option<u64>,
    /// Never written to the CIB.
    pub private: bool,
    /// The id of the `instance_attributes` block that it goes to, where not the usual one.
    pub set: Option<String>,
}

impl Update {
    /// Sets `name` of `node` at once.
    pub fn set(node: &str, name: &str, value: &str) -> Update {
        Update::new(node, name, Change::Set(value.to_owned()))
    }

    /// `change`s `name` of `node` at once.
    pub fn new(node: &str, name: &str, change: Change) -> Update {
        Update {
            name: name.to_owned(),
            node: node.to_owned(),
            change,
            dampen_ms: None,
            private: false,
            set: None,
        }
    }
}

/// What replicas say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Changes, applied in this order.
    Update(Vec<Update>),
    /// All values that the sender's own node had when a view began.
    Own {
        /// The view's number; in another view this is ignored.
        view: u64,
        /// The values.
        values: Vec<Update>,
    },
    /// Removes all of a node's attributes whose name starts with the prefix (all if empty).
    Clear {
        /// The node.
        node: String,
        /// Start of the names.
        prefix: String,
    },
}

/// What a replica is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A new membership.
    View {
        /// Its number.
        id: u64,
        /// The nodes' names.
        members: Vec<String>,
        /// Whether one of them was not with this node in the view before up to its end, so that its
        /// table may be another one.
        apart: bool,
    },
    /// A message in the total order, with its sender's name.
    Delivered(String, Message),
    /// Whether this node writes to the CIB from now on.
    Writer(bool),
    /// Write everything again (the CIB has been replaced, or somebody asks for it).
    Refresh,
    /// What members have in the CIB, which may be older than this table: what is not in the table
    /// is to be removed there.
    Stored(Vec<Written>),
}

/// What a replica wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say this to all.
    Broadcast(Message),
    /// Put these into the CIB's `<status>`.
    Write(Vec<Written>),
    /// Something is wrong that an operator should know.
    Error(String),
}

/// One value for the CIB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The node.
    pub node: String,
    /// The attribute.
    pub name: String,
    /// Its value, `None` to remove it.
    pub value: Option<String>,
    /// The id of its `instance_attributes` block, where not the usual one.
    pub set: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Attribute {
    dampen_ms: u64,
    private: bool,
    set: Option<String>,
    values: BTreeMap<String, String>,
}

/// What the CIB does not have yet of an attribute; only the writer keeps that.
#[derive(Clone, Debug)]
struct Unwritten {
    nodes: BTreeSet<String>,
    due: Instant,
    /// See [`Written::set`]; the attribute itself may be gone.
    set: Option<String>,
}

/// The replica of one node.
#[derive(Clone, Debug)]
pub struct Attributes {
    local: String,
    members: BTreeSet<String>,
    table: BTreeMap<String, Attribute>,
    writer: bool,
    unwritten: BTreeMap<String, Unwritten>,
    /// What the members of the view tell each other; until all have, tables may differ.
    merge: Option<Merge>,
    /// The view's number.
    view: u64,
    effects: VecDeque<Effect>,
}

impl Attributes {
    /// An empty table on the node called `local`.
    pub fn new(local: &str) -> Attributes {
        Attributes {
            local: local.to_owned(),
            members: BTreeSet::new(),
            table: BTreeMap::new(),
            writer: false,
            unwritten: BTreeMap::new(),
            merge: None,
            view: 0,
            effects: VecDeque::new(),
        }
    }

    /// Gives the local node a value from the start; members learn it when they come together.
    pub fn with_own(mut self, name: &str, value: &str) -> Attributes {
        let attribute = self.table.entry(name.to_owned()).or_default();
        attribute.values.insert(self.local.clone(), value.to_owned());
        self
    }

    /// Takes one input; drain [`Attributes::poll_effect`] before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::View { id, members, apart } => self.view(id, members, apart),
            Input::Delivered(sender, Message::Own { view, values }) => {
                self.told(now, sender, view, values);
            }
            Input::Delivered(_, change) => {
                self.remember(&change);
                self.change(now, change);
            }
            Input::Writer(writer) => {
                let begins = writer && !self.writer;
                self.writer = writer;
                if begins {
                    self.mark_all(now);
                } else if !writer {
                    self.unwritten.clear();
                }
            }
            Input::Refresh => self.mark_all(now),
            Input::Stored(stored) => self.remove_stale(stored),
        }
        self.write_due(now);
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.write_due(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Attributes::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.unwritten.values().map(|u| u.due).min()
    }

    /// The value of attribute `name` of `node`.
    pub fn get(&self, node: &str, name: &str) -> Option<&str> {
        self.table.get(name)?.values.get(node).map(String::as_str)
    }

    /// All values as (attribute, node, value).
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.table.iter().flat_map(|(name, attribute)| {
            attribute.values.iter().map(move |(node, v)| (name.as_str(), node.as_str(), v.as_str()))
        })
    }

    fn change(&mut self, now: Instant, change: Message) {
        match change {
            Message::Update(updates) => updates.into_iter().for_each(|u| self.apply(now, u)),
            Message::Clear { node, prefix } => self.clear(now, &node, &prefix),
            Message::Own { .. } => {}
        }
    }

    fn clear(&mut self, now: Instant, node: &str, prefix: &str) {
        let names: Vec<String> =
            self.table.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        for name in names {
            self.apply(now, Update::new(node, &name, Change::Delete));
        }
    }

    fn apply(&mut self, now: Instant, update: Update) {
        let name = update.name;
        let attribute = self.table.entry(name.clone()).or_default();
        if let Some(dampen_ms) = update.dampen_ms {
            attribute.dampen_ms = dampen_ms;
        }
        attribute.private |= update.private;
        if update.set.is_some() {
            attribute.set = update.set;
        }
        let old = attribute.values.get(&update.node);
        let new = match update.change {
            Change::Keep => return,
            Change::Delete => None,
            Change::Set(value) => Some(value),
            Change::Add(n) => Some(add(old.map(String::as_str), n)),
        };
        if old == new.as_ref() {
            return;
        }
        match new {
            Some(value) => attribute.values.insert(update.node.clone(), value),
            None => attribute.values.remove(&update.node),
        };
        let due = now + Duration::from_millis(attribute.dampen_ms);
        if self.writer && !attribute.private {
            let unwritten = self.unwritten.entry(name).or_insert_with(|| Unwritten {
                nodes: BTreeSet::new(),
                due,
                set: None,
            });
            unwritten.nodes.insert(update.node);
            (unwritten.due, unwritten.set) = (due, attribute.set.clone());
        }
    }

    fn remove_stale(&mut self, stored: Vec<Written>) {
        let unknown = |w: &Written| self.get(&w.node, &w.name).is_none();
        let removed = |w| Written { value: None, ..w };
        let stale: Vec<_> = stored.into_iter().filter(unknown).map(removed).collect();
        if self.writer && !stale.is_empty() {
            self.effects.push_back(Effect::Write(stale));
        }
    }

    fn mark_all(&mut self, now: Instant) {
        if !self.writer {
            return;
        }
        for (name, attribute) in self.table.iter().filter(|(_, a)| !a.private) {
            let unwritten = self.unwritten.entry(name.clone()).or_insert_with(|| Unwritten {
                nodes: BTreeSet::new(),
                due: now,
                set: None,
            });
            unwritten.nodes.extend(attribute.values.keys().cloned());
            (unwritten.due, unwritten.set) = (now, attribute.set.clone());
        }
    }

    fn write_due(&mut self, now: Instant) {
        let due: Vec<String> =
            self.unwritten.iter().filter(|(_, u)| u.due <= now).map(|(n, _)| n.clone()).collect();
        let mut written = Vec::new();
        for name in due {
            let Some(Unwritten { nodes, set, .. }) = self.unwritten.remove(&name) else { continue };
            for node in nodes {
                let value = self.get(&node, &name).map(str::to_owned);
                written.push(Written { node, name: name.clone(), value, set: set.clone() });
            }
        }
        if !written.is_empty() {
            self.effects.push_back(Effect::Write(written));
        }
    }
}

/// Numbers of this field stop at a million, which is written `INFINITY`.
const INFINITY: i64 = 1_000_000;

fn add(old: Option<&str>, n: i32) -> String {
    let old = match old {
        Some("INFINITY" | "+INFINITY") => INFINITY,
        Some(text) => text.parse().unwrap_or(0),
        None => 0,
    };
    match old.saturating_add(i64::from(n)) {
        sum if sum >= INFINITY => "INFINITY".to_owned(),
        sum => sum.to_string(),
    }
}

#[cfg(test)]
mod tests;
