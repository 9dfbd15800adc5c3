//! The fencer: which device can cut off which node, in which order they are tried, and what came
//! of it.
//!
//! Pure. One member owns a fencing operation and directs it; the agents may be run by any member.
//! All members keep the same history, because its entries travel in the ring's total order.
//!
//! Invariants:
//! - an operation succeeds only on an agent's exit code 0 for the action itself (or on a person's
//!   confirmation), never on a time-out, a missing agent or a lost peer;
//! - two requests for the same life of a target that overlap share one operation, unless the target
//!   came into the membership another way in between;
//! - operations on one target are carried out one after the other, so that the *on* of one does not
//!   bring up what the *off* of the next one hits while both are under way;
//! - what has run an agent is never given up half way: only an operation that has done nothing yet,
//!   and that nobody else has asked for, can be withdrawn;
//! - every request ends in exactly one [`Record`] that is not pending.

#![forbid(unsafe_code)]

mod device;
mod operation;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use membership_base::mutant::{Mutant, mutant};
use membership_base::{Incarnation, Instant, Rng};
use serde::{Deserialize, Serialize};

pub use cib_model::FenceLevel as Level;
pub use device::{Configuration, Device, HostCheck};
use operation::Operation;

/// An operation's number, unique in the cluster: who owns it, when that fencer was made, counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperationId {
    /// The node that directs it.
    pub owner: String,
    /// Distinguishes this life of the asking daemon from earlier ones.
    pub life: Incarnation,
    /// The asking node's name.
    pub asked_by: String,
    /// Counts that node's requests.
    pub number: u64,
}

/// How an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is going on.
    Pending,
    /// The device confirmed it.
    Done,
    /// No device confirmed it, for this reason.
    Failed(String),
}

/// One entry of the fencing history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which operation.
    pub id: OperationId,
    /// The node that was to be fenced.
    pub target: String,
    /// `reboot`, `off` or `on`.
    pub action: String,
    /// Which life of the node's daemon it was asked for; none if it had not been heard of.
    pub life: Option<Incarnation>,
    /// Who asked for it: a daemon's or tool's name.
    pub client: String,
    /// How it stands.
    pub state: State,
    /// The device that confirmed it, or that was tried last.
    pub device: Option<String>,
    /// The node whose agent run decided.
    pub executor: Option<String>,
    /// When it ended (or began, while pending), by its owner's clock, in seconds since the epoch.
    pub at_s: u64,
}

/// What fencers say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Somebody asks for an operation; the owner starts it when this is delivered.
    Begin {
        /// Its number.
        id: OperationId,
        /// Whom.
        target: String,
        /// How.
        action: String,
        /// Which life of the node's daemon is meant, if it has been heard of.
        life: Option<Incarnation>,
        /// Who asks.
        client: String,
        /// Milliseconds that one agent run may take, where the device does not say otherwise.
        timeout_ms: u64,
    },
    /// The owner asks a member to run an agent.
    Run {
        /// For which operation.
        id: OperationId,
        /// The owner's number for this attempt.
        attempt: u64,
        /// Who is to run it.
        executor: String,
        /// Which device.
        device: String,
        /// The device's action.
        action: String,
        /// The node to be fenced.
        target: String,
        /// Milliseconds that it may take.
        timeout_ms: u64,
    },
    /// The answer to [`Message::Run`].
    Ran {
        /// For which operation.
        id: OperationId,
        /// Which attempt.
        attempt: u64,
        /// Nothing if the device confirmed it, else why not.
        error: Option<String>,
    },
    /// The operation is over; sent by its owner.
    End(Record),
    /// Who asked for it needs it no more: it ends if nothing has been done yet.
    Withdraw {
        /// Its number.
        id: OperationId,
    },
    /// A person vouches that the node is down.
    Confirm {
        /// Number of the entry that tells it.
        id: OperationId,
        /// Which node.
        target: String,
        /// Who says so.
        client: String,
        /// When, seconds since the epoch.
        at_s: u64,
    },
    /// What has ended, for members that have just come.
    History(Vec<Record>),
    /// What has ended is to be forgotten.
    Forget {
        /// For which node; for all if `None`.
        target: Option<String>,
    },
}

/// The number of one agent run of this fencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub u64);

/// What a fencer is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The wall clock was set, or has drifted: milliseconds since the epoch at the origin of the
    /// machine's clock.
    Clock(u64),
    /// The devices and levels of the CIB.
    Configure(Configuration),
    /// A new membership, as node names.
    View(Vec<String>),
    /// Members of it that do not come from where this node comes from: they may have been started
    /// anew, so what they were to direct is not waited for, and whoever wants one of them fenced from
    /// now on does not mean the life that an operation under way may have ended.
    Newcomers(Vec<String>),
    /// A message in the total order, with its sender's name.
    Delivered(String, Message),
    /// Fence this node. The result comes as [`Effect::Ended`] with the same `ticket`.
    Request {
        /// The caller's number for it.
        ticket: u64,
        /// Whom.
        target: String,
        /// `reboot`, `off` or `on`.
        action: String,
        /// Which life of the node's daemon is meant, if it has been heard of.
        life: Option<Incarnation>,
        /// Who asks.
        client: String,
        /// Milliseconds that one agent run may take, where the device does not say otherwise.
        timeout_ms: u64,
    },
    /// A request is not needed any more: its operation ends if nothing of it has been done yet, and
    /// nobody else has asked for it. Answered by the operation's end in either case.
    Withdraw {
        /// The request.
        ticket: u64,
    },
    /// A person vouches that the node is down.
    Confirm {
        /// Which node.
        target: String,
        /// Who says so.
        client: String,
    },
    /// What has ended is to be forgotten by all.
    Forget {
        /// For which node; for all if `None`.
        target: Option<String>,
    },
    /// An agent's run has ended.
    Finished {
        /// Which.
        run: RunId,
        /// What it wrote to standard output; the error in words otherwise.
        result: Result<String, String>,
    },
}

/// What a fencer wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say this to all.
    Broadcast(Message),
    /// Run a fence agent with these options on its standard input; [`Input::Finished`] is expected.
    Run {
        /// The run's number.
        run: RunId,
        /// The device's id.
        device: String,
        /// The agent's name.
        agent: String,
        /// Options in the order given, `action` among them.
        options: Vec<(String, String)>,
        /// Milliseconds until the driver ends it and reports an error.
        timeout_ms: u64,
    },
    /// An operation has ended, asked for by whomever.
    Ended {
        /// The tickets of this node's requests that it answers.
        tickets: Vec<u64>,
        /// What came of it.
        record: Record,
        /// It was under way when its target came into the membership another way, and may be about
        /// a life of the target that was over by then: it says nothing of what is there now.
        outdated: bool,
    },
}

/// Entries kept in the history.
const HISTORY_MAX: usize = 500;

/// The fencer of one node; see the crate's page.
pub struct Fencer {
    local: String,
    life: Incarnation,
    wall_ms: u64,
    rng: Rng,
    config: Configuration,
    members: BTreeSet<String>,
    counter: u64,
    runs: u64,
    /// Operations that somebody directs, as all members know them.
    pending: BTreeMap<OperationId, Record>,
    /// Those whose target has come another way since they began.
    outdated: BTreeSet<OperationId>,
    /// Those that more than one has asked for.
    shared: BTreeSet<OperationId>,
    /// Numbers the operations as they are asked for.
    order: BTreeMap<OperationId, u64>,
    begun: u64,
    /// Operations that this node directs.
    owned: BTreeMap<OperationId, Operation>,
    /// What runs on this node, and for whom.
    running: BTreeMap<RunId, RunFor>,
    /// This node's requests that are not answered, by operation.
    tickets: Vec<(u64, OperationId)>,
    /// Nodes that a device listed, for devices that are asked (`dynamic-list`).
    listed: BTreeMap<String, Vec<String>>,
    history: VecDeque<Record>,
    effects: VecDeque<Effect>,
}

#[derive(Clone, Debug)]
enum RunFor {
    /// An attempt of an operation that another member (or this one) directs.
    Attempt { id: OperationId, attempt: u64 },
    /// The question whom a device can fence.
    List { id: OperationId, device: String },
}

impl Fencer {
    /// A fencer without devices on the node called `local`; `life` tells its requests from those
    /// of an earlier daemon there. The clock's origin is `wall_ms` milliseconds after the epoch.
    pub fn new(local: &str, life: Incarnation, wall_ms: u64) -> Fencer {
        Fencer {
            local: local.to_owned(),
            life,
            wall_ms,
            rng: Rng::new(life.0),
            config: Configuration::default(),
            members: BTreeSet::new(),
            counter: 0,
            runs: 0,
            pending: BTreeMap::new(),
            outdated: BTreeSet::new(),
            shared: BTreeSet::new(),
            order: BTreeMap::new(),
            begun: 0,
            owned: BTreeMap::new(),
            running: BTreeMap::new(),
            tickets: Vec::new(),
            listed: BTreeMap::new(),
            history: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    /// Takes one input; drain [`Fencer::poll_effect`] before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Clock(wall_ms) => self.wall_ms = wall_ms,
            Input::Configure(config) => {
                self.listed.clear();
                self.config = config;
            }
            Input::View(names) => self.view(now, names),
            Input::Newcomers(names) => {
                self.abandon(now, |owner| names.contains(owner));
                let meant = self.pending.values().filter(|r| names.contains(&r.target));
                self.outdated.extend(meant.map(|r| r.id.clone()));
            }
            Input::Delivered(_, message) => self.delivered(now, message),
            Input::Request { ticket, target, action, life, client, timeout_ms } => {
                let id = self.new_id(&target);
                self.tickets.push((ticket, id.clone()));
                let message = Message::Begin { id, target, action, life, client, timeout_ms };
                self.effects.push_back(Effect::Broadcast(message));
            }
            Input::Withdraw { ticket } => {
                let id = self.tickets.iter().find(|known| known.0 == ticket).map(|t| t.1.clone());
                let message = id.map(|id| Effect::Broadcast(Message::Withdraw { id }));
                self.effects.extend(message);
            }
            Input::Confirm { target, client } => {
                let id = OperationId { owner: String::new(), ..self.new_id(&target) };
                let at_s = self.wall_s(now);
                let message = Message::Confirm { id, target, client, at_s };
                self.effects.push_back(Effect::Broadcast(message));
            }
            Input::Forget { target } => {
                self.effects.push_back(Effect::Broadcast(Message::Forget { target }));
            }
            Input::Finished { run, result } => self.finished(now, run, result),
        }
        self.advance(now);
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Fencer::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.owned.iter().filter(|(id, _)| self.is_first(id));
        first.filter_map(|(_, operation)| operation.deadline()).min()
    }

    /// What ended, oldest first, then what is pending.
    pub fn history(&self) -> impl Iterator<Item = &Record> {
        self.history.iter().chain(self.pending.values())
    }

    /// The devices and levels in force.
    pub fn configuration(&self) -> &Configuration {
        &self.config
    }

    fn wall_s(&self, now: Instant) -> u64 {
        self.wall_ms.saturating_add(now.as_millis()) / 1000
    }

    fn new_id(&mut self, target: &str) -> OperationId {
        self.counter += 1;
        // A node does not direct its own end if there is somebody else to do it.
        let owner = if target == self.local {
            self.members.iter().find(|m| *m != target).unwrap_or(&self.local)
        } else {
            &self.local
        };
        OperationId {
            owner: owner.clone(),
            life: self.life,
            asked_by: self.local.clone(),
            number: self.counter,
        }
    }

    fn view(&mut self, now: Instant, names: Vec<String>) {
        let before = std::mem::replace(&mut self.members, names.into_iter().collect());
        // One of those who have been together tells those who have come.
        let teller = before.intersection(&self.members).next();
        let alone = self.members.is_subset(&before);
        if teller == Some(&self.local) && !alone && !self.history.is_empty() {
            let all = self.history.iter().cloned().collect();
            self.effects.push_back(Effect::Broadcast(Message::History(all)));
        }
        let members = self.members.clone();
        self.abandon(now, |owner| !members.contains(owner));
        for operation in self.owned.values_mut() {
            operation.members_changed(now, &self.members);
        }
    }

    /// What is directed by nodes that are lost will not end by itself.
    fn abandon(&mut self, now: Instant, is_lost: impl Fn(&String) -> bool) {
        let lost = |r: &&Record| r.id.owner != self.local && is_lost(&r.id.owner);
        let orphaned: Vec<Record> = self.pending.values().filter(lost).cloned().collect();
        for mut record in orphaned {
            let owner = &record.id.owner;
            record.state = State::Failed(format!("node {owner}, which directed it, was lost"));
            record.at_s = self.wall_s(now);
            self.end(record);
        }
    }

    fn delivered(&mut self, now: Instant, message: Message) {
        match message {
            Message::Begin { id, target, action, life, client, timeout_ms } => {
                let state = State::Pending;
                let (device, executor) = (None, None);
                let at_s = self.wall_s(now);
                let record =
                    Record { id, target, action, life, client, state, device, executor, at_s };
                self.begin(now, record, timeout_ms);
            }
            Message::Run { id, attempt, executor, device, action, target, timeout_ms } => {
                if executor == self.local {
                    self.run(id, attempt, &device, &action, &target, timeout_ms);
                }
            }
            Message::Ran { id, attempt, error } => {
                if let Some(operation) = self.owned.get_mut(&id) {
                    operation.ran(now, attempt, error);
                }
            }
            Message::End(record) => self.end(record),
            Message::Withdraw { id } => {
                if !self.shared.contains(&id)
                    && let Some(operation) = self.owned.get_mut(&id)
                {
                    operation.withdraw();
                }
            }
            Message::Confirm { id, target, client, at_s } => {
                self.confirmed(id, target, client, at_s);
            }
            Message::History(records) => self.learn(records),
            Message::Forget { target } => {
                self.history.retain(|r| target.as_ref().is_some_and(|t| *t != r.target));
            }
        }
    }

    /// Takes in what ended before this node came. That it was to be down itself is no history.
    fn learn(&mut self, records: Vec<Record>) {
        let known: BTreeSet<OperationId> = self.history.iter().map(|r| r.id.clone()).collect();
        for record in records.into_iter().filter(|r| !known.contains(&r.id)) {
            if record.target == self.local && record.life == Some(self.life) {
                let (tickets, record) = (Vec::new(), record.clone());
                self.effects.push_back(Effect::Ended { tickets, record, outdated: false });
            }
            self.history.push_back(record);
        }
        self.history.make_contiguous().sort_by(|a, b| (a.at_s, &a.id).cmp(&(b.at_s, &b.id)));
        let excess = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..excess);
    }

    fn begin(&mut self, now: Instant, record: Record, timeout_ms: u64) {
        let is_twin = |r: &&Record| {
            (&r.target, &r.action, r.life) == (&record.target, &record.action, record.life)
        };
        let mut current = self.pending.values().filter(|r| !self.outdated.contains(&r.id));
        let twin = current.find(is_twin);
        if let Some(twin) = twin {
            // The ticket moves to the operation that is under way; there is nothing to start.
            for ticket in self.tickets.iter_mut().filter(|t| t.1 == record.id) {
                ticket.1 = twin.id.clone();
            }
            self.shared.insert(twin.id.clone());
            return;
        }
        let (id, target) = (record.id.clone(), record.target.clone());
        let action = record.action.clone();
        self.begun += 1;
        self.order.insert(id.clone(), self.begun);
        self.pending.insert(id.clone(), record);
        // It was asked for while its director was being lost.
        let members = self.members.clone();
        self.abandon(now, |owner| !members.contains(owner));
        if id.owner == self.local {
            let operation = Operation::new(
                &self.config,
                &self.listed,
                &self.members,
                &self.local,
                operation::Order { target, action, timeout_ms },
                now,
                &mut self.rng,
            );
            self.owned.insert(id, operation);
        }
    }

    fn confirmed(&mut self, id: OperationId, target: String, client: String, at_s: u64) {
        let meant = self.pending.values().filter(|r| r.target == target);
        let ids: Vec<_> = meant.map(|r| (r.id.clone(), r.life)).collect();
        let done = |(id, life)| Record {
            id,
            target: target.clone(),
            action: "off".to_owned(),
            life,
            client: client.clone(),
            state: State::Done,
            device: Some("manual_ack".to_owned()),
            executor: None,
            at_s,
        };
        if ids.is_empty() {
            self.end(done((id, None)));
        }
        for (id, life) in ids {
            // Whoever vouches for it does so now.
            self.outdated.remove(&id);
            self.end(done((id, life)));
        }
    }

    fn run(
        &mut self,
        id: OperationId,
        attempt: u64,
        device: &str,
        action: &str,
        target: &str,
        timeout_ms: u64,
    ) {
        let Some(device) = self.config.devices.get(device) else {
            let error = Some(format!("{} does not know the device {device}", self.local));
            self.effects.push_back(Effect::Broadcast(Message::Ran { id, attempt, error }));
            return;
        };
        let options = device.options(action, Some(target));
        let device = device.clone();
        self.start_run(RunFor::Attempt { id, attempt }, device, options, timeout_ms);
    }

    fn start_run(
        &mut self,
        purpose: RunFor,
        device: Device,
        options: Vec<(String, String)>,
        timeout_ms: u64,
    ) {
        self.runs += 1;
        let run = RunId(self.runs);
        self.running.insert(run, purpose);
        let Device { id: device, agent, .. } = device;
        self.effects.push_back(Effect::Run { run, device, agent, options, timeout_ms });
    }

    fn finished(&mut self, now: Instant, run: RunId, result: Result<String, String>) {
        match self.running.remove(&run) {
            Some(RunFor::Attempt { id, attempt }) => {
                let error = result.err().filter(|_| !mutant(Mutant::FailedFence));
                if let Some(operation) = self.owned.get_mut(&id) {
                    operation.ran(now, attempt, error);
                } else {
                    self.effects.push_back(Effect::Broadcast(Message::Ran { id, attempt, error }));
                }
            }
            Some(RunFor::List { id, device }) => {
                let listed = result.as_deref().map(device::listed_hosts).unwrap_or_default();
                if let Some(operation) = self.owned.get_mut(&id) {
                    operation.listed(&self.config, &device, &listed, result.err());
                }
                self.listed.insert(device, listed);
            }
            None => {}
        }
    }

    /// Lets every operation of this node take its next step.
    fn advance(&mut self, now: Instant) {
        let first = |id: &&OperationId| self.is_first(id);
        let ids: Vec<OperationId> = self.owned.keys().filter(first).cloned().collect();
        for id in ids {
            while let Some(operation) = self.owned.get_mut(&id) {
                match operation.next(now) {
                    operation::Step::Wait => break,
                    operation::Step::List { device } => {
                        // The operation has waited for another one, and knows the devices of before.
                        let Some(device) = self.config.devices.get(&device).cloned() else {
                            let error = Some("it is not configured any more".to_owned());
                            operation.listed(&self.config, &device, &[], error);
                            continue;
                        };
                        let options = device.options("list", None);
                        let device_id = device.id.clone();
                        let timeout_ms = device.timeout_ms("list").unwrap_or(60_000);
                        let purpose = RunFor::List { id: id.clone(), device: device_id };
                        self.start_run(purpose, device, options, timeout_ms);
                    }
                    operation::Step::Run { attempt, executor, device, action, timeout_ms } => {
                        let target = operation.target().to_owned();
                        if executor == self.local {
                            self.run(id.clone(), attempt, &device, &action, &target, timeout_ms);
                        } else {
                            self.effects.push_back(Effect::Broadcast(Message::Run {
                                id: id.clone(),
                                attempt,
                                executor,
                                device,
                                action,
                                target,
                                timeout_ms,
                            }));
                        }
                    }
                    operation::Step::End { state, device, executor } => {
                        self.owned.remove(&id);
                        let at_s = self.wall_s(now);
                        if let Some(record) = self.pending.get(&id) {
                            let record = Record { state, device, executor, at_s, ..record.clone() };
                            self.effects.push_back(Effect::Broadcast(Message::End(record)));
                        }
                    }
                }
            }
        }
    }

    /// Whether no earlier operation on the same target is under way, or this one is to end.
    fn is_first(&self, id: &OperationId) -> bool {
        let withdrawn = self.owned.get(id).is_some_and(Operation::is_withdrawn);
        let Some(record) = self.pending.get(id).filter(|_| !withdrawn) else { return true };
        let order = |id: &OperationId| self.order.get(id);
        let earlier = |r: &&Record| r.target == record.target && order(&r.id) < order(id);
        !self.pending.values().any(|r| earlier(&r))
    }

    fn end(&mut self, record: Record) {
        self.pending.remove(&record.id);
        self.order.remove(&record.id);
        self.shared.remove(&record.id);
        self.owned.remove(&record.id);
        let outdated = self.outdated.remove(&record.id);
        let answered = |t: &(u64, OperationId)| t.1 == record.id;
        let tickets = self.tickets.iter().filter(|t| answered(t)).map(|t| t.0).collect();
        self.tickets.retain(|t| !answered(t));
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(record.clone());
        self.effects.push_back(Effect::Ended { tickets, record, outdated });
    }
}

#[cfg(test)]
mod tests;
