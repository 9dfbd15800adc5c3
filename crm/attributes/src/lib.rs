//! Transient node attributes: one replica of a table that every node holds.
//!
//! Changes travel in the ring's total order, so all members compute the same table. One member,
//! the writer, puts what changed into the CIB's `<status>`, held back by each attribute's dampening
//! (`attrd_updater -d`). A node's values go when it leaves the membership; on a merge every node
//! tells its own values anew, so a node is the authority on itself.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use membership_base::Instant;
use serde::{Deserialize, Serialize};

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
    /// All values of the sender's own node, after a merge. They replace what others remembered.
    Own(Vec<Update>),
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
    /// A new membership, as node names.
    View(Vec<String>),
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
    /// Nodes whose value the CIB does not have yet.
    dirty: BTreeSet<String>,
    due: Option<Instant>,
}

/// The replica of one node.
#[derive(Clone, Debug)]
pub struct Attributes {
    local: String,
    members: BTreeSet<String>,
    table: BTreeMap<String, Attribute>,
    writer: bool,
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
            Input::View(names) => self.view(names),
            Input::Delivered(_, Message::Update(updates)) => {
                updates.into_iter().for_each(|u| self.apply(now, u));
            }
            Input::Delivered(sender, Message::Own(updates)) => self.adopt(now, &sender, updates),
            Input::Delivered(_, Message::Clear { node, prefix }) => self.clear(now, &node, &prefix),
            Input::Writer(writer) => {
                if writer && !self.writer {
                    self.mark_all(now);
                }
                self.writer = writer;
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
        if !self.writer {
            return None;
        }
        self.table.values().filter_map(|a| a.due).min()
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

    fn view(&mut self, names: Vec<String>) {
        let members: BTreeSet<String> = names.into_iter().collect();
        let gained = members.difference(&self.members).any(|name| *name != self.local);
        for attribute in self.table.values_mut() {
            attribute.values.retain(|node, _| members.contains(node));
            attribute.dirty.retain(|node| members.contains(node));
        }
        self.table.retain(|_, a| !a.values.is_empty() || !a.dirty.is_empty());
        self.members = members;
        if gained {
            let own = self.own();
            self.effects.push_back(Effect::Broadcast(Message::Own(own)));
        }
    }

    fn own(&self) -> Vec<Update> {
        let own = |(name, a): (&String, &Attribute)| {
            Some(Update {
                dampen_ms: Some(a.dampen_ms),
                private: a.private,
                set: a.set.clone(),
                ..Update::set(&self.local, name, a.values.get(&self.local)?)
            })
        };
        self.table.iter().filter_map(own).collect()
    }

    fn adopt(&mut self, now: Instant, sender: &str, updates: Vec<Update>) {
        let kept: BTreeSet<String> = updates.iter().map(|u| u.name.clone()).collect();
        let stale: Vec<String> = self
            .table
            .iter()
            .filter(|(name, a)| a.values.contains_key(sender) && !kept.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            self.apply(now, Update::new(sender, &name, Change::Delete));
        }
        for update in updates.into_iter().filter(|u| u.node == sender) {
            let (name, node) = (update.name.clone(), update.node.clone());
            self.apply(now, update);
            // The CIB may be another partition's: write even what this replica already had.
            if let Some(attribute) = self.table.get_mut(&name) {
                attribute.dirty.insert(node);
                attribute.due.get_or_insert(now);
            }
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
        let attribute = self.table.entry(update.name).or_default();
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
        attribute.dirty.insert(update.node);
        attribute.due = Some(now + Duration::from_millis(attribute.dampen_ms));
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
        for attribute in self.table.values_mut() {
            attribute.dirty.extend(attribute.values.keys().cloned());
            attribute.due = Some(now);
        }
    }

    fn write_due(&mut self, now: Instant) {
        if !self.writer {
            return;
        }
        let mut written = Vec::new();
        for (name, attribute) in &mut self.table {
            if attribute.due.is_none_or(|due| due > now) {
                continue;
            }
            attribute.due = None;
            for node in std::mem::take(&mut attribute.dirty) {
                if attribute.private {
                    continue;
                }
                let value = attribute.values.get(&node).cloned();
                let set = attribute.set.clone();
                written.push(Written { node, name: name.clone(), value, set });
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
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn written(attributes: &mut Attributes) -> Vec<(String, Option<String>)> {
        let mut out = Vec::new();
        while let Some(effect) = attributes.poll_effect() {
            if let Effect::Write(list) = effect {
                out.extend(list.into_iter().map(|w| (w.name, w.value)));
            }
        }
        out
    }

    fn update(update: Update) -> Input {
        Input::Delivered("n1".into(), Message::Update(vec![update]))
    }

    fn writer() -> Attributes {
        let mut attributes = Attributes::new("n1");
        attributes.handle(at(0), Input::View(vec!["n1".into(), "n2".into()]));
        attributes.handle(at(0), Input::Writer(true));
        written(&mut attributes);
        attributes
    }

    #[test]
    fn counters_count_up_to_infinity() {
        let mut attributes = writer();
        for (value, expected) in
            [("value++", "1"), ("value+=5", "6"), ("INFINITY", "INFINITY"), ("value++", "INFINITY")]
        {
            let change = Change::parse(value);
            attributes.handle(at(1), update(Update::new("n2", "fail-count-x", change)));
            assert_eq!(attributes.get("n2", "fail-count-x"), Some(expected));
        }
    }

    #[test]
    fn dampening_writes_the_last_value_once() {
        let mut attributes = writer();
        for (ms, value) in [(0, "1"), (50, "2"), (90, "3")] {
            let mut change = Update::set("n1", "ping", value);
            change.dampen_ms = Some(100);
            attributes.handle(at(ms), update(change));
        }
        assert_eq!(written(&mut attributes), []);
        assert_eq!(attributes.poll_timeout(), Some(at(190)));
        attributes.handle_timeout(at(190));
        assert_eq!(written(&mut attributes), [("ping".into(), Some("3".into()))]);
        assert_eq!(attributes.poll_timeout(), None);
    }

    #[test]
    fn a_lost_node_takes_its_values_along_and_tells_them_again() {
        let mut attributes = writer();
        attributes.handle(at(0), update(Update::set("n2", "a", "1")));
        written(&mut attributes);
        attributes.handle(at(1), Input::View(vec!["n1".into()]));
        assert_eq!(attributes.get("n2", "a"), None);
        attributes.handle(at(2), Input::View(vec!["n1".into(), "n2".into()]));
        assert_eq!(attributes.poll_effect(), Some(Effect::Broadcast(Message::Own(vec![]))));
        let own = Message::Own(vec![Update::set("n2", "b", "2")]);
        attributes.handle(at(3), Input::Delivered("n2".into(), own));
        assert_eq!(written(&mut attributes), [("b".into(), Some("2".into()))]);
    }

    #[test]
    fn what_the_cib_has_and_nobody_knows_is_removed() {
        let mut attributes = writer();
        attributes.handle(at(0), update(Update::set("n2", "a", "1")));
        written(&mut attributes);
        let stored = |name: &str| Written {
            node: "n2".into(),
            name: name.into(),
            value: None,
            set: Some("status-2".into()),
        };
        attributes.handle(at(1), Input::Stored(vec![stored("a"), stored("stale")]));
        assert_eq!(written(&mut attributes), [("stale".into(), None)]);
    }

    #[test]
    fn what_a_node_has_from_the_start_is_told_and_written_like_all_else() {
        let mut alone = Attributes::new("n1").with_own("set", "1");
        alone.handle(at(0), Input::View(vec!["n1".into()]));
        alone.handle(at(0), Input::Writer(true));
        assert_eq!(written(&mut alone), [("set".into(), Some("1".into()))]);
        alone.handle(at(1), Input::View(vec!["n1".into(), "n2".into()]));
        let told = Effect::Broadcast(Message::Own(vec![Update {
            dampen_ms: Some(0),
            ..Update::set("n1", "set", "1")
        }]));
        assert_eq!(alone.poll_effect(), Some(told));
    }

    #[test]
    fn private_attributes_stay_out_of_the_cib() {
        let mut attributes = writer();
        let mut secret = Update::set("n1", "a", "1");
        secret.private = true;
        attributes.handle(at(0), update(secret));
        assert_eq!(written(&mut attributes), []);
        assert_eq!(attributes.get("n1", "a"), Some("1"));
    }
}
