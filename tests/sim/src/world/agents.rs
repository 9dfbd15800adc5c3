//! The agents: how long they take, what they do to the host, when they fail.

use std::time::Duration;

use crm_api::Request;
use crm_attributes::{Change, Update};
use crm_executor::{Outcome, RunId, Status, code};
use crm_node::Input;
use membership_base::NodeId;

use super::resources::{self, CLONED, ONCE, PROMOTED, has_parameter};
use super::{What, World, ms, operator};
use crate::host::Host;

/// A run of an agent.
#[derive(Clone)]
pub(crate) struct Run {
    /// Without the number of an instance.
    pub(crate) resource: String,
    /// With it, if it has one.
    instance: String,
    pub(crate) action: String,
    /// Its parameter.
    at: String,
    recurring: bool,
    /// Where a migration goes, and how often that host had lost its power when it began.
    target: Option<(NodeId, u32)>,
    /// Who was a member when it began: what it does later was allowed then.
    members: Vec<NodeId>,
}

impl Run {
    fn changes(&self) -> bool {
        let looks = matches!(self.action.as_str(), "monitor" | "notify" | "meta-data");
        (self.is_once() || self.is_cloned()) && !looks
    }

    fn is_once(&self) -> bool {
        ONCE.contains(&self.resource.as_str())
    }

    fn is_cloned(&self) -> bool {
        CLONED.contains(&self.resource.as_str())
    }
}

impl World {
    pub(super) fn run_agent(
        &mut self,
        id: NodeId,
        life: u64,
        run: RunId,
        operation: &crm_executor::Operation,
    ) {
        self.counts[1] += 1;
        let meta = |name: &str| {
            operation.params.iter().find(|p| p.0 == name).map(|(_, value)| value.clone())
        };
        let members = self.host(id).daemon.as_ref().map(|d| d.view.members.clone());
        let new = Run {
            resource: resources::base(&operation.resource).to_owned(),
            instance: operation.resource.clone(),
            action: operation.action.clone(),
            at: operation.params.iter().find(|p| p.0 == "at").map_or("", |p| &p.1).to_owned(),
            recurring: operation.interval_ms > 0,
            target: meta("CRM_meta_migrate_target").and_then(|name| self.migration_target(&name)),
            members: members.unwrap_or_default(),
        };
        self.check_lanes(id, &new);
        if matches!(new.action.as_str(), "start" | "stop" | "migrate_from") {
            self.host(id).moved_away.remove(&new.resource);
        }
        if operation.interval_ms > 0 {
            // One that is asked for later looks for what is not known to have moved.
            let before = self.hosts[&id].moved_away.get(&new.resource);
            let goes_on = before.is_some_and(|tag| tag.as_ref() == Some(&operation.tag));
            self.checker.require(!goes_on, || {
                format!("monitors: {} is still monitored on node {id} after its move", new.resource)
            });
            self.host(id).recurring.insert(new.resource.clone(), operation.tag.clone());
        }
        let fails = self.rng.chance(self.faults.agents_fail_per_mille);
        // Now and then an agent is slow, starts more often; some are slower than their time-out.
        let often = matches!(new.action.as_str(), "start" | "migrate_to");
        let slow_per_mille = if often { 150 } else { 20 };
        let high = if !self.calm && self.rng.chance(slow_per_mille) { 5000 } else { 80 };
        let high = if self.rng.chance(self.faults.agents_slow_per_mille) { 25_000 } else { high };
        let script = (new.resource.clone(), new.action.clone());
        self.trace(|| format!("{id} {} {} begins", script.0, script.1));
        self.host(id).running.insert(run, new);
        let random = self.rng.between(ms(5), ms(high));
        let takes: Duration = self.durations.get(&script).copied().unwrap_or(random);
        self.schedule(self.now + takes, What::AgentDone { host: id, life, run, fails });
    }

    /// What ends just when the membership has changed, between greetings, election and the telling
    /// of histories, is easily lost: some of what is under way ends then.
    pub(super) fn end_some(&mut self, id: NodeId, life: u64) {
        for run in self.host(id).running.keys().copied().collect::<Vec<_>>() {
            if self.rng.chance(300) {
                let within = self.rng.between(ms(0), ms(5 + self.faults.jitter_ms));
                let done = What::AgentDone { host: id, life, run, fails: false };
                self.schedule(self.now + within, done);
            }
        }
    }

    /// Nothing is done to a resource anywhere while something else is done to it, or to what it is
    /// ordered after, among nodes that are together.
    fn check_lanes(&mut self, id: NodeId, new: &Run) {
        // What has waited in the executor's queue was asked for at another time, perhaps in another
        // partition.
        if !new.changes() || !self.delivering {
            return;
        }
        let view = |id: NodeId| self.hosts[&id].daemon.as_ref().map(|d| &d.view);
        let here = view(id);
        let together = |host: &&Host| {
            let there = view(host.id);
            let knows = there.is_some_and(|view| view.members.contains(&id));
            knows && there.map(|view| view.id) == here.map(|view| view.id)
        };
        let other = self.hosts.values().filter(together).find_map(|host| {
            let waits = |run: &&Run| run.changes() && self.waits_for(id, new, run, host.id);
            Some((host.id, host.running.values().find(waits)?.clone()))
        });
        if let Some((host, run)) = other {
            let text = format!(
                "lanes: {} of {} begins on node {id} during {} of {} on node {host}",
                new.action, new.resource, run.action, run.resource
            );
            self.checker.require(false, || text);
        }
    }

    /// Whether a run has to wait for one on a node: for every one of the same resource (only that
    /// what is found active in two places is stopped in both at once, and that the instances of a
    /// clone are apart but for promotions), and for what it is ordered after.
    fn waits_for(&self, id: NodeId, new: &Run, other: &Run, host: NodeId) -> bool {
        let both_stop = new.action == "stop" && other.action == "stop";
        // What a migration left behind is stopped without anybody missing it.
        let real_stop = other.action == "stop" && self.checker.is_active(&other.resource, host);
        let ordered = resources::starts_after(&new.resource, &other.resource, id == host);
        if new.action == "start" && ordered {
            return other.action == "start" || real_stop;
        }
        if new.resource != other.resource {
            return false;
        }
        if new.is_once() {
            return !both_stop;
        }
        let promoted = self.checker.is_active(PROMOTED, host);
        let other_promotes = match other.action.as_str() {
            "promote" | "demote" => true,
            "stop" => promoted && new.resource == "pg",
            _ => false,
        };
        id == host || (new.action == "promote" && other_promotes)
    }

    /// An agent whose time is up takes a while to end, and may have done its work by then, late as
    /// it is.
    pub(super) fn kill_agent(&mut self, id: NodeId, life: u64, run: RunId) {
        let within = self.rng.between(ms(0), ms(1500));
        self.schedule(self.now + within, What::AgentKilled { host: id, life, run });
    }

    pub(super) fn agent_killed(&mut self, id: NodeId, life: u64, run: RunId) {
        if !self.alive(id, life) {
            return;
        }
        // It may have ended by itself in the meantime.
        let Some(ended) = self.host(id).running.remove(&run) else { return };
        if self.rng.chance(500) {
            self.act(id, &ended);
        }
        self.trace(|| format!("{id} {} {} is killed", ended.resource, ended.action));
        self.tell(|w| w.killed(id, &ended));
        let outcome = Outcome::broken(Status::Error, code::ERROR, "ended");
        self.input(id, Input::AgentFinished { run, outcome });
    }

    /// The agent's effect on the host happens at its end.
    pub(super) fn agent_done(&mut self, id: NodeId, life: u64, run: RunId, fails: bool) {
        if !self.alive(id, life) {
            return;
        }
        let Some(ended) = self.host(id).running.remove(&run) else { return };
        let Run { resource, action, .. } = &ended;
        let is_there = self.checker.is_active(resource, id);
        let is_active = self.is_active_with(id, resource, &ended.at);
        let is_promoted = resource == "pg" && is_active && self.checker.is_active(PROMOTED, id);
        let answer = self.answers.get(&(resource.clone(), action.clone())).copied();
        let code = match action.as_str() {
            _ if answer.is_some() => answer.unwrap_or_default(),
            "start" | "stop" | "migrate_to" | "promote" | "demote" if fails => code::ERROR,
            "start" | "stop" | "migrate_to" | "promote" | "demote" => self.act(id, &ended),
            "migrate_from" if !is_active => code::ERROR,
            "monitor" if fails && is_active => {
                self.is_gone(id, resource);
                code::NOT_RUNNING
            }
            "monitor" if is_promoted => code::PROMOTED,
            "monitor" if !is_there => {
                self.is_gone(id, resource);
                code::NOT_RUNNING
            }
            // It looks for something else than what is there.
            "monitor" if !is_active => code::NOT_RUNNING,
            _ => code::OK,
        };
        self.trace(|| format!("{id} {} {} = {code}", ended.resource, ended.action));
        if let Some(text) = self.ended(id, &ended, code) {
            self.tell(|_| text);
        }
        self.input(id, Input::AgentFinished { run, outcome: Outcome::done(code) });
        let scores = matches!(ended.action.as_str(), "start" | "promote" | "demote");
        if ended.resource == "pg" && code == code::OK && (scores || self.rng.chance(100)) {
            self.say_score(id);
        }
    }

    /// What has come of an agent's run, in words, if it is worth telling.
    fn ended(&self, id: NodeId, run: &Run, code: i32) -> Option<String> {
        let (resource, action, node) = (&run.resource, run.action.as_str(), &self.names[&id]);
        let done = match action {
            "start" => "started",
            "stop" => "stopped",
            "promote" => "promoted",
            "demote" => "demoted",
            "migrate_to" => "migrated away",
            "migrate_from" => "taken over",
            "monitor" if !run.recurring || matches!(code, code::OK | code::PROMOTED) => {
                return None;
            }
            "monitor" if code == code::NOT_RUNNING => {
                return Some(format!("{resource} is found not running on {node}"));
            }
            "monitor" => "watched",
            _ => return None,
        };
        Some(match code {
            code::OK => format!("{resource} is {done} on {node}"),
            _ => format!("{resource} {action} fails on {node} ({code})"),
        })
    }

    fn killed(&self, id: NodeId, run: &Run) -> String {
        format!("{} {} takes too long on {}", run.resource, run.action, self.names[&id])
    }

    /// Whether a resource is active on a host with this parameter. As with an address, nothing is
    /// found and nothing is stopped by an agent that is given another one.
    fn is_active_with(&self, id: NodeId, resource: &str, at: &str) -> bool {
        let same = self.hosts[&id].at.get(resource).is_some_and(|known| known == at);
        self.checker.is_active(resource, id) && (same || !has_parameter(resource))
    }

    fn activate(&mut self, id: NodeId, run: &Run) {
        let Run { resource, instance, members, at, .. } = run;
        if self.checker.is_active(resource, id) {
            let with = self.host(id).at.get(resource).cloned().unwrap_or_default();
            self.checker.require(with == *at, || {
                format!(
                    "parameters: {resource} is started with {at} on node {id}, where it runs with \
                     {with}"
                )
            });
        }
        self.host(id).at.insert(resource.clone(), at.clone());
        if run.is_cloned() {
            self.checker.instance_started(resource, instance, id);
        } else if !self.checker.is_active(resource, id) {
            self.checker.started(resource, id, members);
        }
    }

    /// A resource was stopped on a host, died there, or a look at it showed that it is not there.
    pub(super) fn is_gone(&mut self, id: NodeId, resource: &str) {
        self.checker.stopped(resource, id);
        if resource == "pg" {
            self.checker.stopped(PROMOTED, id);
        }
    }

    /// The agent of `pg` says how well its node is suited for the promoted role.
    fn say_score(&mut self, id: NodeId) {
        let score = if self.checker.is_active(PROMOTED, id) { "100" } else { "10" };
        let request = Request::UpdateAttributes(vec![Update::set("", "master-pg", score)]);
        // Nobody waits for the answer.
        self.input(id, Input::Client { id: 0, who: operator(), request });
    }

    fn act(&mut self, id: NodeId, run: &Run) -> i32 {
        let Run { resource, action, target, members, at, .. } = run;
        let is_active = self.is_active_with(id, resource, at);
        match action.as_str() {
            "start" if run.is_once() || run.is_cloned() => self.activate(id, run),
            "promote" if !is_active => return code::NOT_RUNNING,
            "promote" if !self.checker.is_active(PROMOTED, id) => {
                self.checker.started(PROMOTED, id, members);
            }
            "demote" if is_active => self.checker.stopped(PROMOTED, id),
            "stop" if is_active || !self.checker.is_active(resource, id) => {
                self.is_gone(id, resource);
            }
            "migrate_to" => {
                // What had arrived on a host is gone with its power.
                let up = |to: NodeId, outages| {
                    self.hosts[&to].power
                        && self.hosts[&to].outages == outages
                        && !self.is_cut(id, to)
                };
                let there = target.filter(|(to, outages)| is_active && up(*to, *outages));
                let Some((to, _)) = there else { return code::ERROR };
                self.checker.moved(resource, id, to);
                self.host(to).at.insert(resource.clone(), at.clone());
                let host = self.host(id);
                let recurring = host.recurring.get(resource).cloned();
                host.moved_away.insert(resource.clone(), recurring);
            }
            _ => {}
        }
        code::OK
    }

    fn migration_target(&self, name: &str) -> Option<(NodeId, u32)> {
        let (id, _) = self.names.iter().find(|(_, known)| *known == name)?;
        Some((*id, self.hosts[id].outages))
    }

    /// Whether what is migrated does not come through.
    fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        let cut = self.faults.side.contains(&one) != self.faults.side.contains(&other);
        cut && !self.faults.migrates_apart
    }

    /// A change of what is wanted, as an operator makes it at any time.
    pub(super) fn whim(&mut self) -> Request {
        let nth = usize::try_from(self.rng.below(100)).unwrap_or(0);
        if self.rng.chance(300) {
            let at = self.rng.below(4);
            let (id, request) = resources::retune(self.cast, nth, at);
            self.trace(|| format!("{id} gets the parameter {at}"));
            return request;
        }
        if self.rng.chance(500) {
            let role = if self.rng.chance(300) { "Stopped" } else { "Started" };
            let (id, request) = resources::role_of(self.cast, nth, role);
            self.trace(|| format!("{id} is wanted {role}"));
            return request;
        }
        let node = 1 + self.rng.below(self.names.len() as u64);
        let (id, request) = resources::move_to(self.cast, nth, node);
        self.trace(|| format!("{id} is wanted on node {node}"));
        request
    }

    /// Node attributes that no rule looks at, of whatever node.
    pub(super) fn count_something(&mut self) -> Request {
        let node = format!("node{}", 1 + self.rng.below(self.names.len() as u64));
        let name = format!("count{}", self.rng.below(3));
        let change = match self.rng.below(6) {
            0 => Change::Delete,
            1 => Change::Set("7".to_owned()),
            _ => Change::Add(1),
        };
        let dampen_ms = self.rng.chance(200).then(|| self.rng.below(2000));
        let private = name == "count2" && self.rng.chance(500);
        let update = Update { dampen_ms, private, ..Update::new(&node, &name, change) };
        Request::UpdateAttributes(vec![update])
    }
}
