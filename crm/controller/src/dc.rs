//! What the DC does beyond the duties of every member.

pub(crate) mod brake;
mod fences;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crm_attributes::{Change, Update};
use crm_executor::{Operation, Status};
use crm_graph::{Action, ActionKind, Transition};
use crm_history::{Note, TransitionId};
use membership_base::mutant::{Mutant, mutant};
use membership_base::{Instant, NodeId, Rng};

use self::fences::{Fence, Return, fenced_state};
use crate::flights::{Flight, Flights};
use crate::history::{History, Tag, succeeded};
use crate::machine::Controller;
use crate::pace::{Cause, Pace};
use crate::retries::Retries;
use crate::transition::Execution;
use crate::underway::{migrates_to, operation};
use crate::{
    CibChange, CibWrite, Effect, Level, Message, NEVER, Phase, Setup, Underway, WireReport,
};

/// How long a partition that has just gained quorum waits for nodes that are not there yet. When a
/// network comes back its parts do not find each other in the same moment: the first two would
/// otherwise fence a third that is about to join them.
const SETTLE: Duration = Duration::from_secs(1);

/// What only the DC keeps.
pub(crate) struct Dc {
    uuid: String,
    pace: Pace,
    /// Why the last plan was made.
    reason: String,
    execution: Option<Execution>,
    /// What nodes have not answered, whichever transition or DC has asked for it.
    flights: Flights,
    /// Fences that were asked for, by target.
    fences: BTreeMap<String, Fence>,
    /// How often fencing a node has failed in a row, and when it may be tried again.
    failures: BTreeMap<String, (u32, Instant)>,
    /// Nodes that a fence has hit after they were back from what it was for.
    returns: BTreeMap<String, Return>,
    tickets: u64,
    retries: Retries,
    /// Counts the searches for what may have arrived unseen.
    searches: u32,
    /// A starting cluster waits for its other nodes until then.
    wait_until: Option<Instant>,
    /// When a plan is made though nothing has changed.
    recheck_at: Instant,
    joined: bool,
    /// Members that were told to leave in this view.
    going: BTreeSet<NodeId>,
    /// What a failed start and a failed stop count, as the last plan says.
    failed_start_offset: String,
    failed_stop_offset: String,
}

impl Dc {
    pub(crate) fn new(setup: &Setup) -> Dc {
        let mut rng = Rng::new(setup.life.0 ^ u64::from(setup.local.0));
        let (a, b) = (rng.next_u64(), rng.next_u64());
        let uuid = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            (a & 0xfff) | 0x4000,
            ((b >> 48) & 0x3fff) | 0x8000,
            b & 0xffff_ffff_ffff
        );
        Dc {
            uuid,
            pace: Pace::new(),
            reason: String::new(),
            execution: None,
            flights: Flights::default(),
            fences: BTreeMap::new(),
            failures: BTreeMap::new(),
            returns: BTreeMap::new(),
            tickets: 0,
            retries: Retries::default(),
            searches: 0,
            wait_until: None,
            recheck_at: NEVER,
            joined: false,
            going: BTreeSet::new(),
            failed_start_offset: "INFINITY".to_owned(),
            failed_stop_offset: "INFINITY".to_owned(),
        }
    }

    /// Nothing is due while the members are not known: [`Controller::advance`] would do nothing.
    /// `local` is this node's name.
    pub(crate) fn poll_timeout(&self, local: &str) -> Option<Instant> {
        if !self.joined {
            return None;
        }
        let flights = self.flights.next_deadline();
        let doomed = self.fences.get(local).is_some_and(|own| own.asked.is_some());
        let asks = |f: &&Fence| !doomed && f.asked.is_none() && f.action_id.is_some();
        let fences = self.fences.values().filter(asks).map(|f| f.not_before);
        let other =
            [self.wait_until, Some(self.recheck_at), self.pace.timer(), self.retries.timer()];
        let other = other.into_iter().flatten();
        fences.chain(flights).chain(other).min().filter(|at| *at < NEVER)
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.wait_until.is_some() || !self.joined {
            Phase::DcWaiting
        } else if self.execution.is_some() {
            Phase::DcTransition
        } else if self.pace.is_planning() || self.pace.is_wanted() {
            Phase::DcPlanning
        } else if !self.flights.is_empty() {
            Phase::DcTransition
        } else {
            Phase::DcIdle
        }
    }

    /// The next action that may go now.
    fn next_action(&mut self, now: Instant) -> Option<Action> {
        let (flights, retries) = (&self.flights, &self.retries);
        let apart = flights.apart();
        let held = |action: &Action| flights.holds(action) || retries.holds(now, action);
        self.execution.as_mut()?.next(apart, held)
    }

    fn want(&mut self, reason: &str) {
        self.want_for(reason, Cause::Event);
    }

    fn want_for(&mut self, reason: &str, cause: Cause) {
        self.pace.want(reason, cause);
        if let Some(execution) = &mut self.execution {
            execution.abort(reason);
        }
    }
}

/// What is said to the members after one step.
#[derive(Default)]
struct Orders {
    /// What begins by it, by node.
    pending: BTreeMap<NodeId, History>,
    messages: Vec<Message>,
}

/// The options that the DC writes.
pub const BOOTSTRAP_OPTIONS: [&str; 4] =
    ["have-watchdog", "dc-version", "cluster-infrastructure", "cluster-name"];

/// What other programs look for to know what kind of cluster this is.
fn bootstrap_options(cluster_name: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let values = ["false", &format!("{version}-systole"), "corosync", cluster_name];
    let pairs: String = BOOTSTRAP_OPTIONS
        .iter()
        .zip(values)
        .map(|(name, value)| {
            let value = escape(value);
            format!(
                "<nvpair id=\"cib-bootstrap-options-{name}\" name=\"{name}\" value=\"{value}\"/>"
            )
        })
        .collect();
    format!(
        "<crm_config><cluster_property_set id=\"cib-bootstrap-options\">{pairs}\
         </cluster_property_set></crm_config>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

impl Controller {
    pub(crate) fn replan(&mut self, reason: &str) {
        if let Some(dc) = &mut self.dc {
            dc.want(reason);
        }
    }

    /// Somebody has cleaned up: what has failed there may be tried again at once.
    pub(crate) fn retry_at_once(&mut self, node: &str, resource: Option<&str>) {
        if let Some(dc) = &mut self.dc {
            dc.retries.forget(Some(node), resource);
        }
    }

    pub(crate) fn cib_changed(&mut self, change: CibChange) {
        // Before the DC is known, all of that is yet to be told.
        if change.kept_changed && self.dc_node.is_some() {
            self.told.clear();
            self.tell_history();
            self.tell_who_is_there();
        }
        let Some(dc) = &mut self.dc else { return };
        if change.configuration {
            dc.want_for("the configuration changed", Cause::Configuration);
        }
        if change.attributes {
            dc.want_for("a node attribute changed", Cause::Attribute);
        }
        if change.tickets {
            dc.want("a ticket changed");
        }
        if change.history_removed || change.kept_changed {
            dc.want("operation history was removed or changed");
        }
    }

    /// The DC writes to the CIB which nodes there are and how they stand, and what other programs
    /// look for.
    fn tell_who_is_there(&mut self) {
        let Some(dc) = &self.dc else { return };
        let (local, members) = (self.setup.local, &self.view.members);
        let seen = self.synced.as_deref().unwrap_or_default();
        let mut writes = vec![CibWrite::Root(format!(
            "<cib have-quorum=\"{}\" dc-uuid=\"{local}\"/>",
            u8::from(self.view.quorate)
        ))];
        let nodes: String = self
            .setup
            .nodes
            .iter()
            .map(|(id, name)| format!("<node id=\"{id}\" uname=\"{}\"/>", escape(name)))
            .collect();
        writes.push(CibWrite::Nodes(format!("<nodes>{nodes}</nodes>")));
        writes.push(CibWrite::Options(bootstrap_options(&self.setup.cluster_name)));
        // Apart from the states, which have to be there before a plan is made: without quorum a
        // change of the configuration is applied but not acknowledged.
        self.effects.push_back(Effect::Cib(std::mem::take(&mut writes)));
        for (id, name) in &self.setup.nodes {
            let name = escape(name);
            if members.contains(id) {
                // One that leaves as it was told is not to be fenced for that.
                let expected = if dc.going.contains(id) { "down" } else { "member" };
                writes.push(CibWrite::Status(format!(
                    "<node_state id=\"{id}\" uname=\"{name}\" in_ccm=\"true\" crmd=\"online\" \
                     crm-debug-origin=\"join\" join=\"member\" expected=\"{expected}\"/>"
                )));
            } else if self.confirmed.contains(id) {
                writes.extend(fenced_state(&id.to_string(), &name));
            } else if let Some(seen) = seen.iter().find(|seen| seen.node == *id) {
                // A state without `expected` would pass for that of a node that is safely down. If
                // it says `down`, that is from another view, and not said again as if it were news.
                let expected = if seen.down { "" } else { " expected=\"member\"" };
                writes.push(CibWrite::Status(format!(
                    "<node_state id=\"{id}\" uname=\"{name}\" in_ccm=\"false\" crmd=\"offline\" \
                     crm-debug-origin=\"lost\" join=\"down\"{expected}/>"
                )));
                writes.push(CibWrite::Delete(format!(
                    "/cib/status/node_state[@id='{id}']/transient_attributes"
                )));
            }
        }
        self.effects.push_back(Effect::Cib(writes));
    }

    /// All members have been heard and hold the same CIB: the DC begins its work.
    pub(crate) fn joined(&mut self, now: Instant) {
        if let Some(dc) = &mut self.dc {
            dc.going.clear();
        }
        self.tell_who_is_there();
        let busy: Vec<(NodeId, Underway)> = self
            .hellos
            .iter()
            .flat_map(|(id, hello)| hello.busy.iter().map(|what| (*id, what.clone())))
            .collect();
        let delay = self.options.cluster_delay_ms;
        let started = self.started;
        let gained = self.view.quorate && !self.was_quorate;
        let settles = gained && self.view.members.len() < self.setup.nodes.len();
        let deadtime = Duration::from_millis(self.options.dc_deadtime_ms);
        let dc = self.dc.as_mut().expect("joined is called on the DC only");
        dc.joined = true;
        for (node, what) in busy {
            let deadline = now + Duration::from_millis(what.timeout_ms.saturating_add(delay));
            dc.flights.learn(node, what, deadline);
        }
        let wait_until = dc.wait_until.unwrap_or(now + deadtime);
        dc.wait_until = match started {
            false => Some(wait_until),
            true => settles.then_some(now + SETTLE),
        };
        dc.want("the membership changed");
    }

    /// A member that was apart may have ended what it was told while nobody else heard of it.
    pub(crate) fn forget_flights(&mut self, now: Instant) {
        let Some(dc) = &mut self.dc else { return };
        let hellos = &self.hellos;
        let forgotten = dc.flights.forgotten(|node| hellos.get(&node).map(|h| &*h.busy));
        for flight in forgotten.into_iter().filter(|flight| flight.what.is_search()) {
            self.search_again(now, flight.to, flight.what.resource);
        }
    }

    /// What was under way on nodes that are gone will not be answered.
    pub(crate) fn nodes_lost(&mut self, now: Instant, lost: &[NodeId]) {
        let names: Vec<String> = lost.iter().map(|id| self.name(*id).to_owned()).collect();
        let Some(dc) = &mut self.dc else { return };
        dc.joined = false;
        dc.want("the membership changed");
        dc.flights.lost(lost);
        names.iter().for_each(|name| dc.retries.forget(Some(name), None));
        self.refresh_fences(now, &names);
    }

    /// The step that follows every input on the DC.
    pub(crate) fn advance(&mut self, now: Instant) {
        let Some(dc) = &mut self.dc else { return };
        if !dc.joined {
            return;
        }
        if dc.wait_until.is_some_and(|at| at <= now) {
            dc.wait_until = None;
            self.effects.push_back(Effect::Broadcast(Message::Started));
        }
        if dc.recheck_at <= now {
            dc.recheck_at = NEVER;
            dc.want("it is time to look again");
        }
        self.expire(now);
        self.fire(now);
        self.finish(now);
        self.ask_for_plan(now);
        if let Some(dc) = &mut self.dc {
            dc.retries.tick(now);
        }
    }

    /// Operations that nobody answers are given up; the node's state is then looked at anew.
    fn expire(&mut self, now: Instant) {
        let late = self.dc.as_mut().map_or_else(Vec::new, |dc| dc.flights.late(now));
        for Flight { to, what, action, .. } in late {
            let node = self.name(to);
            let reason =
                format!("node {node} did not answer for {} of {}", what.action, what.resource);
            self.log(Level::Error, reason.clone());
            let Some(dc) = &mut self.dc else { return };
            if let (Some(id), Some(execution)) = (action, &mut dc.execution) {
                execution.fail(id, &reason);
            }
            dc.want(&reason);
        }
    }

    /// Starts what may go. The CIB says that operations are pending before anybody begins one.
    fn fire(&mut self, now: Instant) {
        let mut orders = Orders::default();
        while let Some(action) = self.dc.as_mut().and_then(|dc| dc.next_action(now)) {
            self.start_action(now, action, &mut orders);
        }
        let pending = orders.pending.iter();
        let writes: Vec<CibWrite> = pending
            .map(|(node, history)| history.to_xml(&node.to_string(), self.name(*node)))
            .map(CibWrite::Status)
            .collect();
        if !writes.is_empty() && !mutant(Mutant::NoPending) {
            self.effects.push_back(Effect::Cib(writes));
        }
        orders.messages.into_iter().for_each(|message| self.broadcast(message));
        self.ask_for_fences(now);
    }

    fn start_action(&mut self, now: Instant, action: Action, orders: &mut Orders) {
        let node_name = action.router_node.clone().or_else(|| action.on_node.clone());
        let node = node_name.as_deref().and_then(|n| self.node_id(n));
        let delay = Duration::from_millis(self.options.cluster_delay_ms);
        let tag = self.tag(&action);
        match (action.kind, &*action.operation) {
            (ActionKind::Cluster, "stonith") => self.want_fence(now, &action),
            (ActionKind::Cluster, "do_shutdown") => {
                let Some(node) = node else { return self.no_such_node(&action) };
                let id = action.on_node_uuid.clone().unwrap_or_else(|| node.to_string().into());
                self.effects.push_back(Effect::Cib(vec![CibWrite::Status(format!(
                    "<node_state id=\"{id}\" expected=\"down\"/>"
                ))]));
                if let Some(dc) = &mut self.dc {
                    dc.going.insert(node);
                }
                self.broadcast(Message::Go { to: node });
                self.completed(action.id);
            }
            (ActionKind::Cluster, "clear_failcount") => {
                self.clear_failcount(&action);
                self.completed(action.id);
            }
            (ActionKind::Cluster, "lrm_delete") | (ActionKind::Resource, "delete") => {
                let Some(node) = node else { return self.no_such_node(&action) };
                let resource = action.resource.as_ref().map(|r| r.id.to_string());
                self.begin(node, &action, &tag, now + delay);
                orders.messages.push(Message::Forget { to: node, resource, tag: Some(tag) });
            }
            (ActionKind::Resource, "cancel") => {
                let (Some(node), Some(resource)) = (node, &action.resource) else {
                    return self.no_such_node(&action);
                };
                self.begin(node, &action, &tag, now + delay);
                let meta = |name: &str| action.attribute(name).unwrap_or_default().to_owned();
                orders.messages.push(Message::Cancel {
                    to: node,
                    resource: resource.id.to_string(),
                    action: meta("CRM_meta_operation"),
                    interval_ms: meta("CRM_meta_interval").parse().unwrap_or(0),
                    tag,
                });
            }
            (ActionKind::Resource, _) => {
                let Some(node) = node else { return self.no_such_node(&action) };
                let Some(operation) = operation(&action, tag) else {
                    return self.no_such_node(&action);
                };
                let timeout_ms = operation.timeout_ms.saturating_add(operation.start_delay_ms);
                let timeout = Duration::from_millis(timeout_ms);
                self.begin(node, &action, &operation.tag, now + timeout + delay);
                let on_node = action.on_node.as_deref().unwrap_or_default().to_owned();
                if on_node == self.name(node) {
                    let at_s = self.wall_s(now);
                    orders.pending.entry(node).or_default().begin(&on_node, &operation, at_s);
                }
                let instance = action.resource.is_some_and(|r| r.long_id.is_some());
                let order = Message::Execute { to: node, operation, node: on_node, instance };
                orders.messages.push(order);
            }
            _ => {
                let text = format!("nobody knows how to carry out {}", action.key);
                self.log(Level::Error, text);
                self.completed(action.id);
            }
        }
    }

    fn no_such_node(&mut self, action: &Action) {
        let reason = format!(
            "{} cannot be carried out: {} is no member",
            action.key,
            action.on_node.as_deref().unwrap_or("its node")
        );
        self.log(Level::Error, reason.clone());
        if let Some(execution) = self.dc.as_mut().and_then(|dc| dc.execution.as_mut()) {
            execution.fail(action.id, &reason);
        }
    }

    fn tag(&self, action: &Action) -> String {
        let dc = self.dc.as_ref();
        let expected = action.attribute("CRM_meta_op_target_rc").and_then(|rc| rc.parse().ok());
        Tag {
            action: action.id,
            transition: dc.and_then(|dc| dc.execution.as_ref()).map_or(0, |e| e.transition.id),
            target_rc: expected.unwrap_or(0),
            uuid: dc.map(|dc| dc.uuid.clone()).unwrap_or_default(),
        }
        .to_string()
    }

    fn begin(&mut self, to: NodeId, action: &Action, tag: &str, deadline: Instant) {
        let Some(dc) = &mut self.dc else { return };
        if let (Some(what), Some(execution)) =
            (Underway::of_action(action, tag.to_owned()), &mut dc.execution)
        {
            execution.started(action.id);
            dc.flights.begin(to, what, deadline, action.id);
        }
    }

    fn completed(&mut self, id: u32) {
        if let Some(execution) = self.dc.as_mut().and_then(|dc| dc.execution.as_mut()) {
            execution.complete(id);
        }
    }

    fn clear_failcount(&mut self, action: &Action) {
        let (Some(node), Some(resource)) = (&action.on_node, &action.resource) else { return };
        let task = action.attribute("CRM_meta_operation");
        let interval = action.attribute("CRM_meta_interval").unwrap_or("0");
        let suffix = match task {
            Some(task) => format!("{}#{task}_{interval}", resource.id),
            None => format!("{}#", resource.id),
        };
        for prefix in ["fail-count-", "last-failure-"] {
            self.effects.push_back(Effect::ClearAttributes {
                node: node.to_string(),
                prefix: format!("{prefix}{suffix}"),
            });
        }
    }

    /// A node's executor has a result.
    pub(crate) fn result(&mut self, now: Instant, _sender: NodeId, report: WireReport) {
        let good = succeeded(&report);
        let WireReport { node, operation, outcome, .. } = &report;
        let what = format!("{} of {} on {node}", operation.action, operation.resource);
        if !good && !is_probe(operation) && outcome.status != Status::Cancelled {
            let why = if outcome.reason.is_empty() { "no reason given" } else { &outcome.reason };
            let text = format!("{what} failed with code {}: {why}", outcome.code);
            self.log(Level::Warning, text);
        }
        if self.dc.is_some() && !matches!(&*operation.action, "monitor" | "notify") {
            // In the words that `crm history resource` looks for.
            let key =
                format!("{}_{}_{}", operation.resource, operation.action, operation.interval_ms);
            let end = format!("rc={}, {} ms, confirmed=true", outcome.code, report.ran_ms);
            self.log(Level::Info, format!("crmd: LRM operation {key} on {node} ({end})"));
        }
        if !good {
            self.brake.failed_again(node, &operation.resource);
        }
        let Some(dc) = &mut self.dc else { return };
        let again = dc.retries.ended(now, &report, good);
        let flight = dc.flights.end(&operation.tag);
        // A transition that is given up may still be in force while the members are not known.
        let goes_on = dc.execution.as_ref().is_some_and(|e| e.aborted.is_none());
        let counted = goes_on && flight.as_ref().is_some_and(|f| f.action.is_some());
        // `on-fail="ignore"` lets what waits for the action go on.
        let ignores = |(n, v): &(String, String)| n == "CRM_meta_on_fail" && v == "ignore";
        let good = good || (flight.is_some() && operation.params.iter().any(ignores));
        match (flight.map(|f| f.action), &mut dc.execution) {
            (Some(Some(id)), Some(execution)) if good => execution.complete(id),
            (Some(Some(id)), Some(execution)) => execution.fail(id, &format!("{what} failed")),
            // Nothing that a plan is made from is another after a notification.
            _ if operation.action == "notify" => {}
            (Some(_), _) => dc.want(&format!("{what} has ended")),
            // Nobody has waited for it (a daemon that was restarted looks for what it left running),
            // so a plan that is being made does not know it.
            (None, _) if operation.interval_ms == 0 => dc.want(&format!("{what} has ended")),
            (None, _) => {}
        }
        if !good {
            dc.want(&format!("{what} did not go as expected"));
            self.count_failure(now, &report);
        }
        if let Some(text) = again {
            self.log(Level::Warning, text);
        }
        let target = migrates_to(&report.operation).filter(|_| !counted);
        if let Some(target) = target.and_then(|name| self.node_id(name)) {
            self.search_again(now, target, report.operation.resource);
        }
    }

    /// What no plan has counted on may have arrived on a node after it was looked for there: until
    /// the node has forgotten what it found, nothing is done with the resource.
    fn search_again(&mut self, now: Instant, to: NodeId, resource: String) {
        let deadline = now + Duration::from_millis(self.options.cluster_delay_ms);
        let node = self.name(to).to_owned();
        let Some(dc) = self.dc.as_mut().filter(|_| self.view.members.contains(&to)) else {
            return;
        };
        dc.searches += 1;
        let (action, uuid) = (u32::MAX - dc.searches, dc.uuid.clone());
        let tag = Tag { action, transition: 0, target_rc: 0, uuid }.to_string();
        dc.flights.learn(to, Underway::search(tag.clone(), &node, &resource), deadline);
        dc.want(&format!("{resource} may have arrived on {node} unseen"));
        self.broadcast(Message::Forget { to, resource: Some(resource), tag: Some(tag) });
    }

    /// Counts a failure as the field does: a failed stop (and start, where the option says so)
    /// counts as INFINITY, others as one each; probes do not count.
    fn count_failure(&mut self, now: Instant, report: &WireReport) {
        let operation = &report.operation;
        if is_probe(operation) || report.outcome.status == Status::Cancelled {
            return;
        }
        let offset = |value: &str| match value {
            "1" | "" => Change::Add(1),
            value => Change::Set(value.to_owned()),
        };
        let Some(dc) = &self.dc else { return };
        let change = match operation.action.as_str() {
            "start" => offset(&dc.failed_start_offset),
            "stop" => offset(&dc.failed_stop_offset),
            "notify" => return,
            _ => Change::Add(1),
        };
        let suffix =
            format!("{}#{}_{}", operation.resource, operation.action, operation.interval_ms);
        let at = self.wall_s(now).to_string();
        self.effects.push_back(Effect::Attributes(vec![
            Update::new(&report.node, &format!("fail-count-{suffix}"), change),
            Update::set(&report.node, &format!("last-failure-{suffix}"), &at),
        ]));
    }

    /// A node has done what it was told, where there is no result to it.
    pub(crate) fn complied(&mut self, tag: &str) {
        let Some(dc) = &mut self.dc else { return };
        match (dc.flights.end(tag).map(|f| f.action), &mut dc.execution) {
            (Some(Some(id)), Some(execution)) => execution.complete(id),
            (Some(_), _) => dc.want("a node has done what it was told before this plan"),
            (None, _) => {}
        }
    }

    /// A node has not carried out what it was told, because the membership changed in between.
    pub(crate) fn refused(&mut self, tag: &str) {
        let Some(dc) = &mut self.dc else { return };
        if dc.flights.end(tag).is_some() {
            dc.want("the membership changed");
        }
    }

    /// Ends the transition once nothing of it is under way, or it is given up: what it has begun,
    /// fences among it, goes on without it.
    fn finish(&mut self, now: Instant) {
        let recheck = Duration::from_millis(self.options.recheck_ms);
        let wall_s = self.wall_s(now);
        let Some(dc) = &mut self.dc else { return };
        let Some(execution) = &mut dc.execution else { return };
        if execution.aborted.is_some() {
            dc.flights.release();
            dc.fences.values_mut().for_each(|fence| fence.action_id = None);
            dc.fences.retain(|_, fence| fence.asked.is_some());
        }
        if !execution.is_over(dc.flights.apart() > 0 || dc.retries.waits(now)) {
            return;
        }
        dc.recheck_at = if recheck.is_zero() { NEVER } else { now + recheck };
        if let Some(at) = execution.transition.recheck_by {
            let wait = u64::try_from(at).unwrap_or(0).saturating_sub(wall_s);
            dc.recheck_at = dc.recheck_at.min(now + Duration::from_secs(wait + 1));
        }
        let Some(execution) = dc.execution.take() else { return };
        let stuck = execution.stuck();
        let number = execution.transition.id;
        let ended = Note::Ended {
            id: TransitionId { number, dc: dc.uuid.clone() },
            outcome: execution.outcome(),
            why: execution.aborted.clone(),
            left: execution.left(),
        };
        self.log(Level::Notice, execution.summary());
        if !stuck.is_empty() {
            let text = format!(
                "transition {number} could not do everything: {}; it is planned again when \
                 something changes, such as a node or a link that is back",
                stuck.join("; ")
            );
            self.log(Level::Warning, text);
        }
        if let Some(reason) = &execution.aborted {
            self.log(Level::Info, format!("transition {number} ends early: {reason}"));
        }
        self.effects.push_back(Effect::Note(ended));
    }

    fn ask_for_plan(&mut self, now: Instant) {
        let told = self.view.members.iter().all(|member| self.told.contains(member));
        let Some(dc) = &mut self.dc else { return };
        if !told || dc.execution.is_some() || dc.wait_until.is_some() {
            dc.pace.hold();
            return;
        }
        let Some(reason) = dc.pace.begin(now) else { return };
        self.plans += 1;
        dc.reason.clone_from(&reason);
        let plan = self.plans;
        self.effects.push_back(Effect::Log(Level::Info, format!("plan {plan}: {reason}")));
        self.effects.push_back(Effect::Schedule { plan });
    }

    pub(crate) fn planned(
        &mut self,
        now: Instant,
        plan: u32,
        result: Result<Transition, String>,
        input: Option<String>,
    ) {
        let asked = |dc: &&mut Box<Dc>| dc.pace.is_planning() && self.plans == plan;
        let Some(dc) = self.dc.as_mut().filter(asked) else { return };
        if !dc.pace.end(now) {
            return;
        }
        if !dc.joined {
            dc.want("the membership changed");
            return;
        }
        if let Some(path) = &input {
            // Other programs look for this line in the log.
            let text = format!("pengine: Calculated transition {plan}, saving inputs in {path}");
            self.effects.push_back(Effect::Log(Level::Notice, text));
            self.effects.push_back(Effect::KeepInput);
        }
        match result {
            Ok(transition) => {
                dc.failed_start_offset.clone_from(&transition.failed_start_offset);
                dc.failed_stop_offset.clone_from(&transition.failed_stop_offset);
                let mut execution = Execution::new(transition, input);
                self.effects.push_back(Effect::Note(Note::Begun {
                    id: TransitionId { number: plan, dc: dc.uuid.clone() },
                    reason: dc.reason.clone(),
                    planned: execution.planned(),
                    input: execution.input.clone(),
                }));
                for id in dc.flights.adopt(&execution.transition) {
                    execution.adopt(id);
                }
                dc.execution = Some(execution);
                self.withdraw_fences();
            }
            Err(error) => {
                self.log(Level::Error, format!("no plan could be made: {error}"));
            }
        }
    }
}

fn is_probe(operation: &Operation) -> bool {
    operation.action == "monitor" && operation.interval_ms == 0
}
