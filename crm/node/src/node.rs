//! The routing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cib_store::{ErrorKind, Operation, Store, StoreError, Who};
use crm_api::{EventKind, Response};
use crm_attributes::Attributes;
use crm_controller::{CibWrite, Controller, Fenced, Level};
use crm_executor::Executor;
use crm_fencer::{Fencer, State};
use crm_history::Fact;
use membership_base::{Delivered, Instant, View};

use crate::secrets::Secrets;
use crate::{Effect, Input, MESSAGE_MAX, Message, PROTOCOL, Setup, cib, history};

/// The attribute in which every node says which feature set it has, as Pacemaker's do since 3.15.1.
const FEATURE_SET_OF: &str = "#feature-set";

/// Answers that may wait for what was said before them: beyond that requests are refused.
const REPLIES_MAX: usize = 16_384;

/// What a pending CIB request or fencing ticket belongs to.
enum Asker {
    /// One of the machines, which does not wait for the answer; its name is for the log.
    Machine {
        name: &'static str,
        /// No plan is made before this has been applied.
        before_plan: bool,
    },
    /// A tool, by the driver's number.
    Client(u64),
    /// The controller's own ticket.
    Controller(u64),
}

/// One node; see the crate's page.
pub struct Node {
    pub(crate) setup: Setup,
    pub(crate) view: View,
    pub(crate) secrets: Secrets,
    store: Store,
    pub(crate) attributes: Attributes,
    pub(crate) fencer: Fencer,
    pub(crate) executor: Executor,
    pub(crate) controller: Controller,
    requests: u64,
    cib_requests: BTreeMap<u64, Asker>,
    fence_tickets: BTreeMap<u64, Asker>,
    /// Own messages that the ring has not delivered yet.
    unheard: u64,
    /// Replies that wait until all that was said before them has been heard:
    /// how many deliveries are still to come, and the reply.
    waiting_replies: VecDeque<(u64, u64, Response)>,
    heard: u64,
    said: u64,
    /// A plan that the controller wants computed.
    plan_wanted: Option<u32>,
    config_seen: bool,
    /// It has left the ring and stops what it runs: see [`Node::end`].
    pub(crate) ending: bool,
    pub(crate) effects: VecDeque<Effect>,
}

impl Node {
    /// A node that is in no membership yet.
    pub fn new(setup: Setup) -> Node {
        let name = setup.nodes[&setup.local].clone();
        let store = Store::new(cib_store::Setup {
            local: setup.local,
            uname: name.clone(),
            boot: setup.life,
            votes: setup.votes.clone(),
            doc: setup.cib.clone(),
        });
        let controller = Controller::new(crm_controller::Setup {
            local: setup.local,
            nodes: setup.nodes.clone(),
            cluster_name: setup.cluster.clone(),
            life: setup.life,
            wall_ms: setup.wall_ms,
            left_running: setup
                .started
                .iter()
                .map(|(resource, with)| (resource.clone(), with.agent.clone()))
                .collect(),
        });
        Node {
            view: View::default(),
            secrets: Secrets::default(),
            store,
            attributes: Attributes::new(&name).with_own(FEATURE_SET_OF, cib_model::FEATURE_SET),
            fencer: Fencer::new(&name, setup.life, setup.wall_ms),
            executor: Executor::new(setup.started.clone()),
            controller,
            requests: 0,
            cib_requests: BTreeMap::new(),
            fence_tickets: BTreeMap::new(),
            unheard: 0,
            waiting_replies: VecDeque::new(),
            heard: 0,
            said: 0,
            plan_wanted: None,
            config_seen: false,
            ending: false,
            effects: VecDeque::new(),
            setup,
        }
    }

    /// Takes one input; drain [`Node::poll_effect`] before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.ending {
            return self.handle_ending(now, input);
        }
        match input {
            Input::Fail { reason } => self.end(now, &reason),
            Input::Clock { wall_ms } => {
                self.setup.wall_ms = wall_ms;
                self.controller.handle(now, crm_controller::Input::Clock(wall_ms));
                self.fencer.handle(now, crm_fencer::Input::Clock(wall_ms));
            }
            Input::View(view) => self.view_changed(now, view),
            Input::Delivered(delivered) => self.delivered(now, delivered),
            Input::Client { id, who, request } => self.client(now, id, who, request),
            Input::AgentFinished { run, outcome } => {
                self.executor.handle(now, crm_executor::Input::Finished { run, outcome });
            }
            Input::Metadata { agent, text } => {
                self.controller.handle(now, crm_controller::Input::Metadata { agent, text });
            }
            Input::FenceAgentFinished { run, result } => {
                self.fencer.handle(now, crm_fencer::Input::Finished { run, result });
            }
            Input::Planned { plan, result, input } => {
                // What time alone changes is seen with each plan, and one is made when it does.
                self.configure(now);
                let planned = crm_controller::Input::Planned { plan, result, input };
                self.controller.handle(now, planned);
            }
            Input::Persisted { version } => {
                self.store.handle(now, cib_store::Input::Persisted { version });
            }
            Input::SecretKept { asker, number, error } => {
                self.secret_kept(asker, number, error);
            }
            Input::SecretsFound { view, secrets } => self.secrets_found(now, view, secrets),
            Input::SecretRead { at_ms, change } => self.fill_secret(at_ms, change),
            Input::CheckNow { resource } => {
                self.executor.handle(now, crm_executor::Input::CheckNow { resource });
            }
            Input::Shutdown => self.controller.handle(now, crm_controller::Input::Shutdown),
        }
        self.settle(now);
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ending {
            self.executor.handle_timeout(now);
            return self.settle_ending(now);
        }
        self.store.handle_timeout(now);
        self.attributes.handle_timeout(now);
        self.fencer.handle_timeout(now);
        self.executor.handle_timeout(now);
        self.controller.handle_timeout(now);
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Node::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ending {
            return self.executor.poll_timeout();
        }
        [
            self.store.poll_timeout(),
            self.attributes.poll_timeout(),
            self.fencer.poll_timeout(),
            self.executor.poll_timeout(),
            self.controller.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The CIB as this node has it.
    pub fn cib(&self) -> &cib_xml::Doc {
        self.store.doc()
    }

    /// Whether that is the CIB of all members of the view.
    pub fn is_synced(&self) -> bool {
        self.store.is_synced()
    }

    /// The node attributes as this node has them.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The local node's name.
    pub fn name(&self) -> &str {
        &self.setup.nodes[&self.setup.local]
    }

    /// The wall clock, in milliseconds since the epoch.
    pub(crate) fn wall_ms(&self, now: Instant) -> u64 {
        self.setup.wall_ms.saturating_add(now.as_millis())
    }

    fn record(&mut self, now: Instant, fact: Fact) {
        let at_ms = self.wall_ms(now);
        self.effects.push_back(Effect::History { at_ms, fact });
    }

    fn names(&self, view: &View) -> Vec<String> {
        view.members.iter().filter_map(|id| self.setup.nodes.get(id).cloned()).collect()
    }

    pub(crate) fn send(&mut self, message: Message) {
        // Nothing is to wait for what is only told for the record.
        let counts = !matches!(message, Message::History(_));
        match postcard::to_extend(&message, vec![PROTOCOL]) {
            Ok(bytes) if bytes.len() > MESSAGE_MAX => {
                let text = format!(
                    "a message of {} bytes is not sent: the ring takes {MESSAGE_MAX} at most; make \
                     the CIB smaller",
                    bytes.len()
                );
                self.effects.push_back(Effect::Log(Level::Error, text));
            }
            Ok(bytes) => {
                self.said += u64::from(counts);
                self.unheard += u64::from(counts);
                self.effects.push_back(Effect::Send { bytes, guarantee: message.guarantee() });
            }
            Err(error) => {
                let text = format!("a message could not be encoded: {error}");
                self.effects.push_back(Effect::Log(Level::Error, text));
            }
        }
    }

    /// Answers a tool once everything said so far has come back through the ring.
    pub(crate) fn reply_when_heard(&mut self, id: u64, response: Response) {
        self.waiting_replies.push_back((self.said, id, response));
    }

    /// Whether so many answers wait for the ring that no further request is taken.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting_replies.len() >= REPLIES_MAX
    }

    pub(crate) fn new_ticket(&mut self, client: u64) -> u64 {
        self.requests += 1;
        self.fence_tickets.insert(self.requests, Asker::Client(client));
        self.requests
    }

    fn view_changed(&mut self, now: Instant, view: View) {
        let lost: Vec<String> = self
            .view
            .members
            .iter()
            .filter(|m| !view.members.contains(m))
            .filter_map(|id| self.setup.nodes.get(id).cloned())
            .collect();
        let members = self.names(&view);
        let quorate = view.quorate;
        self.view = view.clone();
        self.secrets_view_changed();
        self.effects.push_back(Effect::Event(EventKind::Membership {
            members: members.clone(),
            lost,
            quorate,
        }));
        self.store.handle(now, cib_store::Input::View(view.clone()));
        self.controller.handle(now, crm_controller::Input::View(view));
        let ours = &self.view.came_with_us;
        let newcomers = self.view.members.iter().filter(|id| !ours.contains(id));
        let newcomers: Vec<String> =
            newcomers.filter_map(|id| self.setup.nodes.get(id).cloned()).collect();
        let (id, apart) = (self.view.id, !newcomers.is_empty());
        let attributes = crm_attributes::Input::View { id, members: members.clone(), apart };
        self.attributes.handle(now, attributes);
        self.fencer.handle(now, crm_fencer::Input::View(members));
        self.fencer.handle(now, crm_fencer::Input::Newcomers(newcomers));
    }

    fn delivered(&mut self, now: Instant, delivered: Delivered) {
        let Delivered { sender, bytes } = delivered;
        let message = match bytes.split_first() {
            Some((&PROTOCOL, rest)) => postcard::from_bytes(rest).map_err(|e| e.to_string()),
            Some((version, _)) => Err(format!("protocol {version}, this node speaks {PROTOCOL}")),
            None => Err("it is empty".to_owned()),
        };
        if sender == self.setup.local && !matches!(message, Ok(Message::History(_))) {
            self.unheard = self.unheard.saturating_sub(1);
            self.heard += 1;
        }
        let name = self.setup.nodes.get(&sender).cloned().unwrap_or_default();
        match message {
            Ok(Message::Cib(message)) => {
                self.store.handle(now, cib_store::Input::Delivered { sender, message });
            }
            Ok(Message::Attributes(message)) => {
                self.attributes.handle(now, crm_attributes::Input::Delivered(name, message));
            }
            Ok(Message::Fencer(message)) => {
                if let crm_fencer::Message::Begin { target, action, .. } = &message {
                    let (target, action) = (target.clone(), action.clone());
                    self.effects
                        .push_back(Effect::Event(EventKind::FencingBegun { target, action }));
                }
                self.fencer.handle(now, crm_fencer::Input::Delivered(name, message));
            }
            Ok(Message::Controller(message)) => {
                if let crm_controller::Message::Result { report } = &message {
                    self.effects.push_back(Effect::Event(EventKind::Operation {
                        node: report.node.clone(),
                        resource: report.operation.resource.clone(),
                        action: report.operation.action.clone(),
                        interval_ms: report.operation.interval_ms,
                        code: report.outcome.code,
                        reason: report.outcome.reason.clone(),
                    }));
                    let action = history::result(self.wall_ms(now), report);
                    self.record(now, Fact::Result { key: report.operation.tag.clone(), action });
                }
                self.controller.handle(now, crm_controller::Input::Delivered { sender, message });
            }
            Ok(Message::History(note)) => self.record(now, Fact::Note { dc: name, note }),
            Ok(Message::Secret(message)) => self.secret_delivered(sender, message),
            Err(error) => {
                let text = format!("a message of node {name} cannot be read: {error}");
                self.effects.push_back(Effect::Log(Level::Error, text));
            }
        }
    }

    pub(crate) fn cib_request(
        &mut self,
        now: Instant,
        client: u64,
        who: Who,
        op: Operation,
        force: bool,
    ) {
        self.ask_store(now, Asker::Client(client), who, op, force);
    }

    fn ask_store(&mut self, now: Instant, asker: Asker, who: Who, op: Operation, force: bool) {
        self.requests += 1;
        let id = self.requests;
        self.cib_requests.insert(id, asker);
        let now_seconds = i64::try_from(self.wall_ms(now) / 1000).unwrap_or(0);
        self.store.handle(now, cib_store::Input::Request { id, who, op, force, now_seconds });
    }

    /// Routes what the machines say until none of them has anything to say.
    fn settle(&mut self, now: Instant) {
        loop {
            if self.ending {
                return self.settle_ending(now);
            } else if let Some(effect) = self.store.poll_effect() {
                self.store_effect(now, effect);
            } else if let Some(effect) = self.attributes.poll_effect() {
                self.attributes_effect(now, effect);
            } else if let Some(effect) = self.fencer.poll_effect() {
                self.fencer_effect(now, effect);
            } else if let Some(effect) = self.executor.poll_effect() {
                self.executor_effect(now, effect);
            } else if let Some(effect) = self.controller.poll_effect() {
                self.controller_effect(now, effect);
            } else {
                break;
            }
        }
        while self.waiting_replies.front().is_some_and(|(at, ..)| *at <= self.heard) {
            if let Some((_, id, response)) = self.waiting_replies.pop_front() {
                self.reply(id, response);
            }
        }
        // The rule of this crate: plan only from a CIB that contains all that was said.
        let writing = |asker: &Asker| matches!(asker, Asker::Machine { before_plan: true, .. });
        if self.unheard == 0
            && !self.cib_requests.values().any(writing)
            && let Some(plan) = self.plan_wanted.take()
        {
            let cib = Arc::new(self.store.doc().clone());
            let now_s = self.wall_ms(now) / 1000;
            self.effects.push_back(Effect::Schedule { plan, cib, now_s });
        }
    }

    fn store_effect(&mut self, now: Instant, effect: cib_store::Effect) {
        match effect {
            cib_store::Effect::Broadcast(message) => self.send(Message::Cib(message)),
            cib_store::Effect::Persist { snapshot, version } => {
                self.effects.push_back(Effect::Persist { snapshot, version });
            }
            cib_store::Effect::Reply { id, result } => match self.cib_requests.remove(&id) {
                Some(Asker::Client(client)) => {
                    let response = match result {
                        Ok(output) => Response::Cib(
                            output.xml.map(|doc| doc.root().to_xml(cib_xml::Style::Pretty)),
                        ),
                        Err(error) => {
                            Response::Failed { code: error.exit_code(), reason: error.to_string() }
                        }
                    };
                    self.reply(client, response);
                }
                Some(Asker::Machine { name, .. }) => {
                    // What still holds is written anew in the new view.
                    let refused = |e: &StoreError| e.kind != ErrorKind::Overtaken;
                    if let Some(error) = result.err().filter(refused) {
                        let text = format!("the {name}'s change of the CIB was refused: {error}");
                        self.effects.push_back(Effect::Log(Level::Error, text));
                    }
                }
                Some(Asker::Controller(_)) | None => {}
            },
            cib_store::Effect::Changed { old, new, patch, config_changed, origin, asked } => {
                if config_changed || !self.config_seen {
                    self.configure(now);
                }
                // What is taken over from another member is told anew after the comparison.
                let internal = asked.as_ref().is_none_or(|asked| asked.who.internal);
                let (cib, nodes) = (self.store.doc().root(), &self.setup.nodes);
                let change = cib::classify(patch.root(), cib, nodes, config_changed, internal);
                if change.kept_changed {
                    let by = asked.as_ref().map_or("", |asked| &asked.who.client);
                    let text = format!(
                        "{by} has changed or removed what the cluster itself keeps in the CIB: it \
                         is written again"
                    );
                    self.effects.push_back(Effect::Log(Level::Notice, text));
                    self.attributes.handle(now, crm_attributes::Input::Refresh);
                }
                if config_changed {
                    let node = self.setup.nodes.get(&origin).cloned().unwrap_or_default();
                    self.record(now, history::changed((old, new), patch, node, asked));
                }
                self.controller.handle(now, crm_controller::Input::CibChanged(change));
                self.effects.push_back(Effect::Event(EventKind::CibChanged));
            }
            cib_store::Effect::SetAside { doc, reason } => {
                self.effects.push_back(Effect::SetAside { doc, reason });
            }
            cib_store::Effect::Warning(text) => {
                self.effects.push_back(Effect::Log(Level::Warning, text));
            }
            cib_store::Effect::Failed(reason) => self.end(now, &reason),
            cib_store::Effect::Synced { .. } => {
                self.configure(now);
                // Where others could have quorum as well, one that was back for a moment is fenced
                // as any other that is lost: before that no change is acknowledged.
                let contested = self.view.quorate && !self.view.exclusive;
                let rivals = if contested { self.store.rivals() } else { Vec::new() };
                let seen = cib::seen_nodes(self.store.doc().root(), &rivals);
                self.secrets_synced(now, seen);
                // The CIB may be another node's: what this node's manager knows goes in again.
                self.attributes.handle(now, crm_attributes::Input::Refresh);
            }
        }
    }

    /// Hands the configuration to the machines that keep a part of it.
    fn configure(&mut self, now: Instant) {
        self.config_seen = true;
        let at = cib_model::Time::from_epoch(i64::try_from(self.wall_ms(now) / 1000).unwrap_or(0));
        let root = self.store.doc().root();
        let devices = crm_fencer::Configuration::from_cib(root, at);
        let options = cib::controller_options(root, at);
        if *self.fencer.configuration() != devices {
            self.fencer.handle(now, crm_fencer::Input::Configure(devices));
        }
        self.controller.handle(now, crm_controller::Input::Options(options));
    }

    fn attributes_effect(&mut self, now: Instant, effect: crm_attributes::Effect) {
        match effect {
            crm_attributes::Effect::Broadcast(message) => self.send(Message::Attributes(message)),
            crm_attributes::Effect::Write(written) => {
                let operation = cib::attribute_writes(written, &self.setup.nodes);
                let who = cib::internal(cib::ATTRIBUTES);
                let asker = Asker::Machine { name: "attribute manager", before_plan: true };
                self.ask_store(now, asker, who, operation, true);
            }
            crm_attributes::Effect::Error(text) => {
                self.effects.push_back(Effect::Log(Level::Error, text));
            }
        }
    }

    fn fencer_effect(&mut self, now: Instant, effect: crm_fencer::Effect) {
        match effect {
            crm_fencer::Effect::Broadcast(message) => self.send(Message::Fencer(message)),
            crm_fencer::Effect::Run { run, device, agent, options, timeout_ms } => {
                self.effects.push_back(Effect::RunFenceAgent {
                    run,
                    device,
                    agent,
                    options,
                    timeout_ms,
                });
            }
            crm_fencer::Effect::Ended { tickets, record, outdated } => {
                let error = match &record.state {
                    State::Failed(reason) => Some(reason.clone()),
                    State::Done | State::Pending => None,
                };
                let mut own = Vec::new();
                for ticket in tickets {
                    match self.fence_tickets.remove(&ticket) {
                        Some(Asker::Client(client)) => match &error {
                            None => self.reply(client, Response::Done),
                            Some(reason) => self.fail(client, crm_api::exit::ERROR, reason),
                        },
                        Some(Asker::Controller(ticket)) => own.push(ticket),
                        Some(Asker::Machine { .. }) | None => {}
                    }
                }
                let fence = history::fence(self.wall_ms(now), &record, error.as_deref());
                self.record(now, Fact::Fenced(fence));
                self.effects.push_back(Effect::Event(EventKind::FencingEnded {
                    target: record.target.clone(),
                    action: record.action.clone(),
                    device: record.device.clone(),
                    error: error.clone(),
                }));
                let fenced = Fenced {
                    tickets: own,
                    target: record.target,
                    action: record.action,
                    error,
                    client: record.client,
                    life: record.life,
                    outdated,
                };
                self.controller.handle(now, crm_controller::Input::Fenced(fenced));
            }
        }
    }

    pub(crate) fn executor_effect(&mut self, now: Instant, effect: crm_executor::Effect) {
        match effect {
            crm_executor::Effect::Run { run, operation, keep } => {
                self.effects.push_back(Effect::RunAgent { run, operation, keep });
            }
            crm_executor::Effect::Keep { resource, with } => {
                self.effects.push_back(Effect::KeepStarted { resource, with });
            }
            crm_executor::Effect::Kill { run } => {
                self.effects.push_back(Effect::KillAgent { run });
            }
            // Asked for by the end of the node only, which takes it in itself.
            crm_executor::Effect::AllStopped { .. } => {}
            crm_executor::Effect::Report(report) => {
                self.controller.handle(now, crm_controller::Input::Report(report));
            }
            crm_executor::Effect::Cancelled { operation, tag } => {
                let input = crm_controller::Input::Cancelled { operation, tag };
                self.controller.handle(now, input);
            }
        }
    }

    fn controller_effect(&mut self, now: Instant, effect: crm_controller::Effect) {
        use crm_controller::Effect as E;
        match effect {
            E::Broadcast(message) => self.send(Message::Controller(message)),
            E::Cib(writes) => {
                let status = |w: &CibWrite| matches!(w, CibWrite::Status(_) | CibWrite::Delete(_));
                let before_plan = writes.iter().all(status);
                let operation = cib::controller_writes(writes);
                let who = cib::internal(cib::CONTROLLER);
                let asker = Asker::Machine { name: "controller", before_plan };
                self.ask_store(now, asker, who, operation, true);
            }
            E::Attributes(updates) => {
                self.send(Message::Attributes(crm_attributes::Message::Update(updates)));
            }
            E::ClearAttributes { node, prefix } => {
                self.send(Message::Attributes(crm_attributes::Message::Clear { node, prefix }));
            }
            E::Execute(input) => self.executor.handle(now, input),
            E::Schedule { plan } => self.plan_wanted = Some(plan),
            E::KeepInput => self.effects.push_back(Effect::KeepInput),
            E::Fence { ticket: own, target, action, life, timeout_ms } => {
                self.requests += 1;
                let ticket = self.requests;
                self.fence_tickets.insert(ticket, Asker::Controller(own));
                let client = cib::CONTROLLER.to_owned();
                let input =
                    crm_fencer::Input::Request { ticket, target, action, life, client, timeout_ms };
                self.fencer.handle(now, input);
            }
            E::WithdrawFence { ticket: own } => {
                let asked = |asker: &Asker| matches!(asker, Asker::Controller(t) if *t == own);
                let found = self.fence_tickets.iter().find(|(_, asker)| asked(asker));
                if let Some(ticket) = found.map(|(ticket, _)| *ticket) {
                    self.fencer.handle(now, crm_fencer::Input::Withdraw { ticket });
                }
            }
            E::Dc(dc) => {
                self.attributes.handle(now, crm_attributes::Input::Writer(dc));
                let stored = cib::stored_attributes(self.cib().root(), &self.view, &self.setup);
                self.attributes.handle(now, crm_attributes::Input::Stored(stored));
            }
            E::Note(note) => self.send(Message::History(note)),
            E::Leave => self.effects.push_back(Effect::Leave),
            E::Fail(reason) => self.end(now, &reason),
            E::Panic(reason) => {
                let text = format!("{reason}: restarting this host, as fence-reaction says");
                self.effects.push_back(Effect::Log(Level::Error, text));
                self.effects.push_back(Effect::RestartHost);
                self.end(now, &reason);
            }
            E::Log(level, text) => self.effects.push_back(Effect::Log(level, text)),
        }
    }
}
