//! What every member does: say hello, learn who the DC is, obey it, keep the history, leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crm_executor::code::NOT_RUNNING;
use crm_executor::{Agent, Operation};
use membership_base::{Incarnation, Instant, NodeId, View};

use crate::agent::Traits;
use crate::dc::Dc;
use crate::dc::brake::Brake;
use crate::history::{History, Tag, resource_in_cib};
use crate::underway::migrates_to;
use crate::{
    Arrival, CibWrite, Effect, Hello, Input, Level, Message, NEVER, Options, Phase, Seen, Setup,
    Underway, WireReport,
};

/// How long members may take to greet before that is reported; then twice as long.
const GREETING_WAIT: Duration = Duration::from_secs(5);

/// Milliseconds for the probe of a resource that the configuration may not have any more: the
/// field's default time-out of operations.
const PROBE_TIMEOUT_MS: u64 = 20_000;

/// The controller of one node; see the crate's page.
pub struct Controller {
    pub(crate) setup: Setup,
    pub(crate) options: Options,
    pub(crate) view: View,
    pub(crate) was_quorate: bool,
    /// Who has been heard in this view.
    pub(crate) hellos: BTreeMap<NodeId, Hello>,
    /// Whose history is in the CIB in this view. Each member writes its own, because only its own
    /// writes are in one order with the results that it reports meanwhile.
    pub(crate) told: BTreeSet<NodeId>,
    /// The CIB is the same everywhere in this view; who was a member once, by it.
    pub(crate) synced: Option<Vec<Seen>>,
    /// Nodes whose fence was confirmed, and that no member can have seen since.
    pub(crate) confirmed: BTreeSet<NodeId>,
    /// The DC of this view, once all have been heard.
    pub(crate) dc_node: Option<NodeId>,
    /// What only the DC keeps; survives view changes as long as this node stays the DC.
    pub(crate) dc: Option<Box<Dc>>,
    pub(crate) history: History,
    pub(crate) brake: Brake,
    /// Migrations that were not heard to have ended, by where they go and the resource.
    arriving: BTreeMap<(NodeId, String), Arrival>,
    /// When the latest operation of each node began, by that node's clock.
    latest_s: BTreeMap<NodeId, u64>,
    /// What the agents on this node say of themselves.
    agents: BTreeMap<Agent, Traits>,
    /// What the local executor has not finished, by tag.
    busy: BTreeMap<String, Underway>,
    /// Counts the plans that this controller has asked for, as DC or as DC again.
    pub(crate) plans: u32,
    leaving: Option<Instant>,
    /// When to say next who has not greeted, and how long that has been.
    greetings_due: Option<(Instant, Duration)>,
    /// The cluster is past waiting for its nodes at its start.
    pub(crate) started: bool,
    /// By which life each node was last heard.
    lives: BTreeMap<NodeId, Incarnation>,
    /// Nodes that have joined from another view since then, and may be in a life that has not been
    /// heard.
    pub(crate) unheard: BTreeSet<NodeId>,
    pub(crate) effects: VecDeque<Effect>,
}

impl Controller {
    /// A controller that has heard of nobody.
    pub fn new(setup: Setup) -> Controller {
        assert!(setup.nodes.contains_key(&setup.local), "the local node is among the configured");
        Controller {
            setup,
            options: Options::default(),
            view: View::default(),
            was_quorate: false,
            hellos: BTreeMap::new(),
            told: BTreeSet::new(),
            synced: None,
            confirmed: BTreeSet::new(),
            dc_node: None,
            dc: None,
            history: History::default(),
            brake: Brake::default(),
            arriving: BTreeMap::new(),
            latest_s: BTreeMap::new(),
            agents: BTreeMap::new(),
            busy: BTreeMap::new(),
            plans: 0,
            leaving: None,
            greetings_due: None,
            started: false,
            lives: BTreeMap::new(),
            unheard: BTreeSet::new(),
            effects: VecDeque::new(),
        }
    }

    /// Takes one input; drain [`Controller::poll_effect`] before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Clock(wall_ms) => self.setup.wall_ms = wall_ms,
            Input::View(view) => self.view_changed(now, view),
            Input::Delivered { sender, message } => self.delivered(now, sender, message),
            Input::Synced { seen } => {
                self.synced = Some(seen);
                self.greet(now);
                self.try_elect(now);
            }
            Input::CibChanged(change) => self.cib_changed(change),
            Input::Options(options) => self.options = options,
            Input::Planned { plan, result, input } => self.planned(now, plan, result, input),
            Input::Report(report) => self.report(report),
            Input::Cancelled { operation, tag } => {
                if let Some(operation) = operation {
                    let id = self.setup.local.to_string();
                    let found = self.history.remove_recurring(&id, &operation);
                    self.effects.push_back(Effect::Cib(vec![CibWrite::Delete(found)]));
                }
                self.busy.remove(&tag);
                self.broadcast(Message::Complied { tag });
            }
            Input::Metadata { agent, text } => {
                self.agents.insert(agent, Traits::from_metadata(&text));
            }
            Input::Fenced(fenced) => self.fenced(now, fenced),
            Input::Shutdown => self.shutdown(now),
        }
        self.advance(now);
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.report_missing_greetings(now);
        if self.leaving.is_some_and(|deadline| deadline <= now) {
            self.log(
                Level::Error,
                "resources did not stop within shutdown-escalation: leaving all the same",
            );
            self.leaving = Some(NEVER);
            self.effects.push_back(Effect::Leave);
        }
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Controller::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let local = self.name(self.setup.local);
        let dc = self.dc.as_ref().and_then(|dc| dc.poll_timeout(local));
        let leaving = self.leaving.filter(|deadline| *deadline < NEVER);
        let greetings = self.greetings_due.map(|(at, _)| at);
        [dc, leaving, greetings].into_iter().flatten().min()
    }

    /// The DC, if it is known.
    pub fn dc(&self) -> Option<NodeId> {
        self.dc_node
    }

    /// How this controller stands.
    pub fn phase(&self) -> Phase {
        match (&self.dc, self.dc_node) {
            (_, None) => Phase::Joining,
            (None, Some(_)) => Phase::Member,
            (Some(dc), Some(_)) => dc.phase(),
        }
    }

    /// The name of a configured node.
    pub(crate) fn name(&self, node: NodeId) -> &str {
        self.setup.nodes.get(&node).map_or("unknown", String::as_str)
    }

    pub(crate) fn node_id(&self, name: &str) -> Option<NodeId> {
        self.setup.nodes.iter().find(|(_, n)| *n == name).map(|(id, _)| *id)
    }

    /// By which life a node was last heard.
    pub fn life(&self, name: &str) -> Option<Incarnation> {
        self.node_id(name).and_then(|id| self.lives.get(&id).copied())
    }

    pub(crate) fn wall_s(&self, now: Instant) -> u64 {
        self.setup.wall_ms.saturating_add(now.as_millis()) / 1000
    }

    pub(crate) fn broadcast(&mut self, message: Message) {
        self.effects.push_back(Effect::Broadcast(message));
    }

    pub(crate) fn log(&mut self, level: Level, text: impl Into<String>) {
        self.effects.push_back(Effect::Log(level, text.into()));
    }

    fn view_changed(&mut self, now: Instant, view: View) {
        if view.id == self.view.id && view.members == self.view.members {
            // Only the verdict on quorum has changed.
            self.was_quorate = self.view.quorate;
            self.view = view;
            if self.dc.is_some() && self.dc_node == Some(self.setup.local) {
                self.joined(now);
            }
            return;
        }
        self.was_quorate = self.view.quorate;
        let lost: Vec<NodeId> =
            self.view.members.iter().filter(|m| !view.members.contains(m)).copied().collect();
        for node in &lost {
            let name = self.name(*node).to_owned();
            self.log(Level::Notice, format!("lost: {name} left the membership"));
        }
        self.hellos.clear();
        self.greetings_due = Some((now + GREETING_WAIT, GREETING_WAIT));
        self.told.clear();
        self.synced = None;
        self.dc_node = None;
        let came_apart = view.members.iter().filter(|m| !view.came_with_us.contains(m));
        let came_apart: Vec<NodeId> = came_apart.copied().collect();
        for node in lost.iter().chain(&came_apart) {
            let node = self.name(*node).to_owned();
            self.effects.push_back(Effect::Execute(crm_executor::Input::TargetLost { node }));
        }
        // Whoever comes another way may have had a fenced node as a member since.
        if came_apart.is_empty() {
            self.confirmed.retain(|node| !view.members.contains(node));
        } else {
            self.confirmed.clear();
        }
        self.unheard.extend(came_apart);
        self.view = view;
        if self.dc.is_some() {
            self.nodes_lost(now, &lost);
        }
    }

    /// Without the greeting of each member there is no DC: one that is left out could still be doing
    /// what it was told before. Its ring leaves by itself if its daemon does not answer; until then
    /// an operator should know what is waited for.
    fn report_missing_greetings(&mut self, now: Instant) {
        let Some((_, waited)) = self.greetings_due.filter(|(at, _)| *at <= now) else { return };
        self.greetings_due = Some((now + waited, waited * 2));
        // Until then the store says what it waits for.
        if self.synced.is_none() {
            return;
        }
        let silent = self.view.members.iter().filter(|member| !self.hellos.contains_key(member));
        let silent: Vec<&str> = silent.map(|member| self.name(*member)).collect();
        let text = format!(
            "there is no DC, and nothing is recovered: {} has not greeted in {} s; if it stays like \
             that, check its log, and restart its daemon or fence it",
            silent.join(", "),
            waited.as_secs()
        );
        self.log(Level::Warning, text);
    }

    /// Says hello once this node's CIB is that of all. What it has written in this view until then
    /// is before its greeting, and so before the election: it cannot undo what the new DC writes.
    fn greet(&mut self, now: Instant) {
        let hello = Hello {
            view: self.view.id,
            is_dc: self.dc.is_some(),
            was_quorate: self.was_quorate,
            started: self.started,
            life: self.setup.life,
            busy: self.busy.values().cloned().collect(),
            latest_s: self.latest_s.get(&self.setup.local).copied().unwrap_or(0),
            arriving: self
                .arriving
                .iter()
                .filter(|((target, _), _)| *target == self.setup.local)
                .map(|((_, resource), arrival)| (resource.clone(), arrival.clone()))
                .collect(),
            member_fences: self.brake.told(now, &self.options),
        };
        self.broadcast(Message::Hello(Box::new(hello)));
    }

    fn delivered(&mut self, now: Instant, sender: NodeId, message: Message) {
        let local = self.setup.local;
        match message {
            Message::Hello(hello) => {
                if hello.view == self.view.id {
                    self.note_time(sender, hello.latest_s);
                    if sender != local {
                        // What comes from a node that is not heard may still arrive, though the
                        // target was started anew and does not know of it.
                        let members = &self.view.members;
                        self.arriving.retain(|(target, _), arrival| {
                            *target != sender || !members.contains(&arrival.from)
                        });
                        let arriving = hello.arriving.clone().into_iter();
                        self.arriving.extend(arriving.map(|(what, how)| ((sender, what), how)));
                    }
                    for (fence, age_s) in &hello.member_fences {
                        self.brake.note(now, fence.clone(), *age_s);
                    }
                    self.hellos.insert(sender, *hello);
                    self.try_elect(now);
                }
            }
            Message::Execute { to, operation, node, instance } => {
                self.note_arrival(to, &operation);
                // What was said before a change of the membership and arrives after it is refused:
                // this node's greeting, from which the DC learns what is under way, lacks it.
                if to == local && self.dc_node != Some(sender) {
                    self.broadcast(Message::Refused { tag: operation.tag });
                } else if to == local {
                    self.execute(now, operation, &node, instance);
                }
            }
            Message::Cancel { to, resource, action, interval_ms, tag } => {
                if to == local && self.dc_node != Some(sender) {
                    self.broadcast(Message::Refused { tag });
                } else if to == local {
                    let name = self.name(local);
                    let cancel =
                        Underway::cancel(tag.clone(), name, &resource, &action, interval_ms);
                    self.busy.insert(tag.clone(), cancel);
                    let input = crm_executor::Input::Cancel { resource, action, interval_ms, tag };
                    self.effects.push_back(Effect::Execute(input));
                }
            }
            Message::Result { report } => {
                self.note_time(sender, report.started_s);
                self.no_longer_busy(sender, &report.operation.tag);
                let operation = &report.operation;
                let said = self.arriving.values_mut().filter(|a| a.tag == operation.tag);
                said.for_each(|arrival| arrival.ended = true);
                let place = (sender, operation.resource.clone());
                let ended = self.arriving.get(&place).is_some_and(|arrival| arrival.ended);
                let taken_over = match &*operation.action {
                    "migrate_from" => true,
                    "start" | "stop" => ended,
                    _ => false,
                };
                if taken_over {
                    self.arriving.remove(&place);
                }
                self.result(now, sender, *report);
            }
            Message::Complied { tag } => {
                self.no_longer_busy(sender, &tag);
                self.complied(&tag);
            }
            Message::Refused { tag } => self.refused(&tag),
            Message::Forget { to, resource, tag } => {
                if tag.is_none() {
                    let node = self.name(to).to_owned();
                    self.retry_at_once(&node, resource.as_deref());
                }
                if to == local {
                    self.forget(resource, tag);
                }
            }
            Message::Started => self.started = true,
            Message::Go { to } => {
                // One of before was said beside a write that may be overtaken.
                if to == local && self.dc_node == Some(sender) {
                    self.leaving = Some(NEVER);
                    self.effects.push_back(Effect::Leave);
                }
            }
            Message::MemberFence(fence) => self.brake.note(now, fence, 0),
            Message::Hold { to, resource, reason } => {
                if to == local && self.dc_node == Some(sender) {
                    self.hold(&resource, &reason);
                }
            }
            Message::Replan { reason } => self.replan(&reason),
            Message::Told { view } => {
                if view == self.view.id {
                    self.told.insert(sender);
                }
            }
        }
    }

    /// The DC has written to the CIB that the operation is pending before it said so.
    fn execute(&mut self, now: Instant, operation: Operation, node: &str, instance: bool) {
        let underway = Underway::of_operation(&operation, node, instance);
        self.busy.insert(operation.tag.clone(), underway);
        if node == self.name(self.setup.local) {
            let at_s = self.wall_s(now);
            self.history.begin(node, &operation, at_s);
        }
        self.effects.push_back(Effect::Execute(crm_executor::Input::Execute(operation)));
    }

    fn note_time(&mut self, node: NodeId, at_s: u64) {
        let latest = self.latest_s.entry(node).or_default();
        *latest = at_s.max(*latest);
    }

    /// When an operation began, for the history. What a plan makes of a migration depends on whether
    /// the other node has looked for the resource before it or after it, which the two nodes' clocks
    /// do not tell. So a migration is never earlier than what is known of the other node by then.
    fn began_s(&self, now: Instant, operation: &Operation) -> u64 {
        let other = match operation.action.as_str() {
            "migrate_to" => "CRM_meta_migrate_target",
            "migrate_from" => "CRM_meta_migrate_source",
            _ => return self.wall_s(now),
        };
        let other = operation.params.iter().find(|(name, _)| name == other);
        let other = other.and_then(|(_, name)| self.node_id(name));
        let latest = other.and_then(|id| self.latest_s.get(&id).copied());
        self.wall_s(now).max(latest.unwrap_or(0))
    }

    /// What ends between a member's greeting and the election is not waited for afterwards.
    fn no_longer_busy(&mut self, sender: NodeId, tag: &str) {
        if let Some(hello) = self.hellos.get_mut(&sender) {
            hello.busy.retain(|known| known.tag != tag);
        }
    }

    /// What a node is told to migrate to another one may arrive there, whatever becomes of the first.
    fn note_arrival(&mut self, from: NodeId, operation: &Operation) {
        let Some(target) = migrates_to(operation).and_then(|name| self.node_id(name)) else {
            return;
        };
        if target == self.setup.local {
            let expect = crm_executor::Input::Expect(operation.clone());
            self.effects.push_back(Effect::Execute(expect));
        }
        let (life, tag) = (self.lives.get(&from).copied(), operation.tag.clone());
        let arrival = Arrival { from, life, tag, lost: false, ended: false };
        self.arriving.insert((target, operation.resource.clone()), arrival);
    }

    /// Unless its source goes on with a migration to this node, or says itself that it has ended, it
    /// may have arrived here unheard: the source is lost, was started anew, or has ended it in a view
    /// that this node was not in. What this node had found out before is then no longer so, and it is
    /// looked for again. The same holds when the source is back, having gone on unheard.
    fn doubt_arrivals(&mut self) {
        let (local, hellos) = (self.setup.local, &self.hellos);
        let history = &mut self.history;
        self.arriving.retain(|(target, resource), arrival| {
            if *target != local {
                return true;
            }
            let hello = hellos.get(&arrival.from);
            let same = hello.filter(|hello| Some(hello.life) == arrival.life);
            let goes_on = same.is_some_and(|h| h.busy.iter().any(|what| what.tag == arrival.tag));
            let told = goes_on || (arrival.ended && same.is_some());
            if !told || arrival.lost {
                history.0.remove(resource);
            }
            arrival.lost = hello.is_none();
            arrival.lost || told
        });
    }

    /// Nothing arrives any more from a node that is confirmed fenced. Returns what may have until
    /// then, and where: what was found out there before does not count.
    pub(crate) fn end_arrivals(&mut self, from: NodeId) -> Vec<(NodeId, String)> {
        let ended = self.arriving.extract_if(.., |_, arrival| arrival.from == from);
        let ended: Vec<_> = ended.map(|(key, _)| key).collect();
        for (_, resource) in ended.iter().filter(|(target, _)| *target == self.setup.local) {
            self.history.0.remove(resource);
        }
        ended
    }

    /// Writes this node's history anew: the CIB may be another node's, or that of another DC.
    pub(crate) fn tell_history(&mut self) {
        let local = self.setup.local.to_string();
        let told = self.history.to_xml(&local, self.name(self.setup.local));
        self.effects.push_back(Effect::Cib(vec![
            CibWrite::Delete(format!("/cib/status/node_state[@id='{local}']/lrm")),
            CibWrite::Status(told),
        ]));
        self.broadcast(Message::Told { view: self.view.id });
    }

    /// Probes for what an earlier daemon has left running. Nobody else would look for what has been
    /// removed from the configuration since: once it is found, the next plan stops it.
    fn probe_left_running(&mut self) {
        for (resource, agent) in std::mem::take(&mut self.setup.left_running) {
            let tag = Tag { action: 0, transition: 0, target_rc: NOT_RUNNING, uuid: String::new() };
            let probe = Operation {
                resource,
                action: "monitor".to_owned(),
                interval_ms: 0,
                timeout_ms: PROBE_TIMEOUT_MS,
                start_delay_ms: 0,
                agent,
                params: Vec::new(),
                tag: tag.to_string(),
            };
            self.effects.push_back(Effect::Execute(crm_executor::Input::Execute(probe)));
        }
    }

    /// Names the DC as soon as all members have been heard; a DC of before stays, one of a quorate
    /// partition goes before one that was alone, then the lowest number decides.
    fn try_elect(&mut self, now: Instant) {
        let heard = self.view.members.iter().all(|m| self.hellos.contains_key(m));
        if !heard || self.view.members.is_empty() || self.synced.is_none() {
            return;
        }
        if self.dc_node.is_some() {
            return;
        }
        let claim = |(id, hello): (&NodeId, &Hello)| {
            (!(hello.is_dc && hello.was_quorate), !hello.is_dc, *id)
        };
        let elected = self.hellos.iter().map(claim).min().map(|c| c.2);
        let Some(elected) = elected else { return };
        self.dc_node = Some(elected);
        self.greetings_due = None;
        self.doubt_arrivals();
        self.tell_history();
        self.probe_left_running();
        self.started |= self.view.members.len() >= self.setup.nodes.len()
            || self.hellos.values().any(|h| h.started);
        let heard: BTreeMap<NodeId, Incarnation> =
            self.hellos.iter().map(|(id, hello)| (*id, hello.life)).collect();
        let restarted: Vec<NodeId> = heard
            .iter()
            .filter(|(id, life)| self.lives.get(id).is_some_and(|old| old != *life))
            .map(|(id, _)| *id)
            .collect();
        self.unheard.retain(|node| !heard.contains_key(node));
        self.lives.extend(heard);
        let name = self.name(elected).to_owned();
        if elected != self.setup.local {
            if self.dc.take().is_some() {
                self.log(Level::Notice, format!("this node hands the DC's role to {name}"));
                self.effects.push_back(Effect::Dc(false));
            }
            return;
        }
        // A daemon that was started anew between two views knows nothing of what it was told.
        if !restarted.is_empty() {
            self.nodes_lost(now, &restarted);
        }
        self.forget_flights(now);
        if self.dc.is_none() {
            self.log(Level::Notice, "this node is the DC");
            self.dc = Some(Box::new(Dc::new(&self.setup)));
        }
        self.effects.push_back(Effect::Dc(true));
        self.joined(now);
    }

    fn report(&mut self, report: crm_executor::Report) {
        let local = self.name(self.setup.local).to_owned();
        let node = self.busy.remove(&report.operation.tag).map_or(local, |known| known.node);
        let wire = WireReport {
            node: node.clone(),
            started_s: self.began_s(report.started, &report.operation),
            ran_ms: u64::try_from(report.ran.as_millis()).unwrap_or(u64::MAX),
            queued_ms: u64::try_from(report.queued.as_millis()).unwrap_or(u64::MAX),
            operation: report.operation,
            call: report.call,
            outcome: report.outcome,
        };
        let node_id = self.setup.local.to_string();
        let traits = self.agents.get(&wire.operation.agent);
        let writes = self.history.record(&node_id, &wire, traits);
        if !writes.is_empty() {
            self.effects.push_back(Effect::Cib(writes));
        }
        self.broadcast(Message::Result { report: Box::new(wire) });
    }

    /// Forgets a resource (or all): the next plan probes for it.
    fn forget(&mut self, resource: Option<String>, tag: Option<String>) {
        let node_id = self.setup.local;
        let names: Vec<String> = match resource {
            Some(name) => vec![name],
            None => self.history.0.keys().cloned().collect(),
        };
        let mut writes = Vec::new();
        for name in names {
            let found = resource_in_cib(&node_id.to_string(), &name);
            writes.push(CibWrite::Delete(found));
            if let Some(rest) = self.history.forget(&name) {
                let xml = rest.to_xml(&node_id.to_string(), self.name(node_id));
                writes.push(CibWrite::Status(xml));
            }
            let input = crm_executor::Input::Forget { resource: name };
            self.effects.push_back(Effect::Execute(input));
        }
        if !writes.is_empty() {
            self.effects.push_back(Effect::Cib(writes));
        }
        match tag {
            Some(tag) => self.broadcast(Message::Complied { tag }),
            None => self.broadcast(Message::Replan {
                reason: format!("the history of node {} was cleaned", self.name(node_id)),
            }),
        }
    }

    fn shutdown(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(now + Duration::from_millis(self.options.shutdown_escalation_ms));
        let name = self.name(self.setup.local).to_owned();
        let at = self.wall_s(now).to_string();
        self.log(Level::Notice, "leaving: resources are stopped or moved first");
        let update = crm_attributes::Update::set(&name, "shutdown", &at);
        self.effects.push_back(Effect::Attributes(vec![update]));
    }
}

#[cfg(test)]
mod tests;
