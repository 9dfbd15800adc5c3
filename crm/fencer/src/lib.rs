//! The fencer: which device can cut off which node, in which order they are tried, and what came
//! of it.
//!
//! Pure. One member owns a fencing operation and directs it; the agents may be run by any member.
//! All members keep the same history, because its entries travel in the ring's total order.
//!
//! Invariants:
//! - an operation succeeds only on an agent's exit code 0 for the action itself (or on a person's
//!   confirmation), never on a time-out, a missing agent or a lost peer;
//! - two requests for the same target that overlap share one operation;
//! - every request ends in exactly one [`Record`] that is not pending.

mod device;
mod operation;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use membership_base::{Instant, Rng};
use serde::{Deserialize, Serialize};

pub use device::{Configuration, Device, HostCheck, Level};
use operation::Operation;

/// An operation's number, unique in the cluster: who owns it, when that fencer was made, counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperationId {
    /// The node that directs it.
    pub owner: String,
    /// Distinguishes this life of the asking daemon from earlier ones.
    pub life: u64,
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
    /// Who asked for it: a daemon's or tool's name.
    pub client: String,
    /// How it stands.
    pub state: State,
    /// The device that confirmed it, or that was tried last.
    pub device: Option<String>,
    /// The node whose agent run decided.
    pub executor: Option<String>,
    /// When it ended (or began, while pending).
    pub at: Instant,
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
    /// A person vouches that the node is down.
    Confirm {
        /// Which node.
        target: String,
        /// Who says so.
        client: String,
    },
}

/// The number of one agent run of this fencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub u64);

/// What a fencer is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The devices and levels of the CIB.
    Configure(Configuration),
    /// A new membership, as node names.
    View(Vec<String>),
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
        /// Who asks.
        client: String,
        /// Milliseconds that one agent run may take, where the device does not say otherwise.
        timeout_ms: u64,
    },
    /// A person vouches that the node is down.
    Confirm {
        /// Which node.
        target: String,
        /// Who says so.
        client: String,
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
        /// When this node learned that it was asked for; none if it was not there then.
        begun: Option<Instant>,
    },
}

/// Entries kept in the history.
const HISTORY_MAX: usize = 500;

/// The fencer of one node; see the crate's page.
pub struct Fencer {
    local: String,
    life: u64,
    rng: Rng,
    config: Configuration,
    members: BTreeSet<String>,
    counter: u64,
    runs: u64,
    /// Operations that somebody directs, as all members know them.
    pending: BTreeMap<OperationId, Record>,
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
    /// of an earlier daemon there.
    pub fn new(local: &str, life: u64) -> Fencer {
        Fencer {
            local: local.to_owned(),
            life,
            rng: Rng::new(life),
            config: Configuration::default(),
            members: BTreeSet::new(),
            counter: 0,
            runs: 0,
            pending: BTreeMap::new(),
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
            Input::Configure(config) => {
                self.listed.clear();
                self.config = config;
            }
            Input::View(names) => self.view(now, names),
            Input::Delivered(_, message) => self.delivered(now, message),
            Input::Request { ticket, target, action, client, timeout_ms } => {
                let id = self.new_id(&target);
                self.tickets.push((ticket, id.clone()));
                let message = Message::Begin { id, target, action, client, timeout_ms };
                self.effects.push_back(Effect::Broadcast(message));
            }
            Input::Confirm { target, client } => {
                self.effects.push_back(Effect::Broadcast(Message::Confirm { target, client }));
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
        self.owned.values().filter_map(Operation::deadline).min()
    }

    /// What ended, oldest first, then what is pending.
    pub fn history(&self) -> impl Iterator<Item = &Record> {
        self.history.iter().chain(self.pending.values())
    }

    /// The devices and levels in force.
    pub fn configuration(&self) -> &Configuration {
        &self.config
    }

    /// Forgets what ended, for one node or for all.
    pub fn clear_history(&mut self, target: Option<&str>) {
        self.history.retain(|r| target.is_some_and(|t| t != r.target));
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
        self.members = names.into_iter().collect();
        let orphaned: Vec<Record> = self
            .pending
            .values()
            .filter(|r| !self.members.contains(&r.id.owner))
            .cloned()
            .collect();
        for mut record in orphaned {
            let owner = &record.id.owner;
            record.state = State::Failed(format!("node {owner}, which directed it, was lost"));
            record.at = now;
            self.end(record);
        }
        for operation in self.owned.values_mut() {
            operation.members_changed(now, &self.members);
        }
    }

    fn delivered(&mut self, now: Instant, message: Message) {
        match message {
            Message::Begin { id, target, action, client, timeout_ms } => {
                self.begin(now, id, target, action, client, timeout_ms);
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
            Message::End(record) => self.end(Record { at: now, ..record }),
            Message::Confirm { target, client } => self.confirmed(now, target, client),
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        id: OperationId,
        target: String,
        action: String,
        client: String,
        timeout_ms: u64,
    ) {
        let twin = self.pending.values().find(|r| r.target == target && r.action == action);
        if let Some(twin) = twin {
            // The ticket moves to the operation that is under way; there is nothing to start.
            for ticket in self.tickets.iter_mut().filter(|t| t.1 == id) {
                ticket.1 = twin.id.clone();
            }
            return;
        }
        let record = Record {
            id: id.clone(),
            target: target.clone(),
            action: action.clone(),
            client,
            state: State::Pending,
            device: None,
            executor: None,
            at: now,
        };
        self.pending.insert(id.clone(), record);
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

    fn confirmed(&mut self, now: Instant, target: String, client: String) {
        let ids: Vec<OperationId> =
            self.pending.values().filter(|r| r.target == target).map(|r| r.id.clone()).collect();
        let done = |id| Record {
            id,
            target: target.clone(),
            action: "off".to_owned(),
            client: client.clone(),
            state: State::Done,
            device: Some("manual_ack".to_owned()),
            executor: None,
            at: now,
        };
        if ids.is_empty() {
            let none = String::new();
            let id = OperationId { owner: none, life: 0, asked_by: client.clone(), number: 0 };
            self.end(done(id));
        }
        ids.into_iter().for_each(|id| self.end(done(id)));
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
        let agent = device.agent.clone();
        self.start_run(RunFor::Attempt { id, attempt }, agent, options, timeout_ms);
    }

    fn start_run(
        &mut self,
        purpose: RunFor,
        agent: String,
        options: Vec<(String, String)>,
        timeout_ms: u64,
    ) {
        self.runs += 1;
        let run = RunId(self.runs);
        self.running.insert(run, purpose);
        self.effects.push_back(Effect::Run { run, agent, options, timeout_ms });
    }

    fn finished(&mut self, now: Instant, run: RunId, result: Result<String, String>) {
        match self.running.remove(&run) {
            Some(RunFor::Attempt { id, attempt }) => {
                let error = result.err();
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
        let ids: Vec<OperationId> = self.owned.keys().cloned().collect();
        for id in ids {
            while let Some(operation) = self.owned.get_mut(&id) {
                match operation.next(now) {
                    operation::Step::Wait => break,
                    operation::Step::List { device } => {
                        let device = &self.config.devices[&device];
                        let options = device.options("list", None);
                        let (agent, device_id) = (device.agent.clone(), device.id.clone());
                        let timeout_ms = device.timeout_ms("list").unwrap_or(60_000);
                        let purpose = RunFor::List { id: id.clone(), device: device_id };
                        self.start_run(purpose, agent, options, timeout_ms);
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
                        if let Some(record) = self.pending.get(&id) {
                            let record =
                                Record { state, device, executor, at: now, ..record.clone() };
                            self.effects.push_back(Effect::Broadcast(Message::End(record)));
                        }
                    }
                }
            }
        }
    }

    fn end(&mut self, record: Record) {
        let begun = self.pending.remove(&record.id).map(|r| r.at);
        self.owned.remove(&record.id);
        let answered = |t: &(u64, OperationId)| t.1 == record.id;
        let tickets = self.tickets.iter().filter(|t| answered(t)).map(|t| t.0).collect();
        self.tickets.retain(|t| !answered(t));
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(record.clone());
        self.effects.push_back(Effect::Ended { tickets, record, begun });
    }
}

#[cfg(test)]
mod tests;
