//! The agents: how long they take, what they do to the host, when they fail.

use std::collections::BTreeMap;
use std::time::Duration;

use cib_store::{Operation, Target};
use crm_api::Request;
use crm_executor::{Outcome, RunId, Status, code};
use crm_node::Input;
use membership_base::NodeId;

use super::{RESOURCES, What, World, ms};
use crate::host::Host;

/// A run of an agent.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) resource: String,
    pub(crate) action: String,
    /// Where a migration goes.
    target: Option<String>,
    /// Who was a member when it began: what it does later was allowed then.
    members: Vec<NodeId>,
}

impl Run {
    /// Whether it changes the state of something that may run once only.
    fn changes(&self) -> bool {
        let looks = matches!(self.action.as_str(), "monitor" | "notify" | "meta-data");
        RESOURCES.contains(&self.resource.as_str()) && !looks
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
            resource: operation.resource.clone(),
            action: operation.action.clone(),
            target: meta("CRM_meta_migrate_target"),
            members: members.unwrap_or_default(),
        };
        self.check_lanes(id, &new);
        let fails = self.rng.chance(self.faults.agents_fail_per_mille);
        // Now and then an agent is slow, starts more often; some are slower than their time-out.
        let slow_per_mille = if new.action == "start" { 150 } else { 20 };
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
            let waits = |run: &&Run| run.changes() && self.waits_for(new, run, host.id);
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

    /// Whether a run has to wait for one on another node: for every one of the same resource (only
    /// that what is found active in two places is stopped in both at once), and `web` is started
    /// once `db` is.
    fn waits_for(&self, new: &Run, other: &Run, host: NodeId) -> bool {
        let both_stop = new.action == "stop" && other.action == "stop";
        let after = new.resource == "web" && new.action == "start" && other.resource == "db";
        // What a migration left behind is stopped without anybody missing it.
        let real_stop = other.action == "stop" && self.checker.is_active(&other.resource, host);
        (new.resource == other.resource && !both_stop)
            || (after && (other.action == "start" || real_stop))
    }

    /// An agent that is ended early may have done its work already; a migration that is ended leaves
    /// the resource where it was.
    pub(super) fn kill_agent(&mut self, id: NodeId, run: RunId) {
        if let Some(run) = self.host(id).running.remove(&run)
            && run.action != "migrate_to"
            && self.rng.chance(500)
        {
            self.act(id, &run);
        }
        let outcome = Outcome::broken(Status::Error, code::ERROR, "ended");
        self.input(id, Input::AgentFinished { run, outcome });
    }

    /// The agent's effect on the host happens at its end.
    pub(super) fn agent_done(&mut self, id: NodeId, life: u64, run: RunId, fails: bool) {
        if let Some(resume) = self.paused(id) {
            self.schedule(resume, What::AgentDone { host: id, life, run, fails });
            return;
        }
        if !self.alive(id, life) {
            return;
        }
        let Some(ended) = self.host(id).running.remove(&run) else { return };
        let Run { resource, action, .. } = &ended;
        let is_active = self.checker.is_active(resource, id);
        let once = RESOURCES.contains(&resource.as_str());
        let code = match action.as_str() {
            "start" | "stop" | "migrate_to" if fails => code::ERROR,
            "start" | "stop" | "migrate_to" => self.act(id, &ended),
            "migrate_from" if !is_active => code::ERROR,
            "monitor" if fails && is_active => {
                self.checker.stopped(resource, id);
                code::NOT_RUNNING
            }
            "monitor" if !once || !is_active => code::NOT_RUNNING,
            _ => code::OK,
        };
        self.trace(|| format!("{id} {} {} = {code}", ended.resource, ended.action));
        self.input(id, Input::AgentFinished { run, outcome: Outcome::done(code) });
    }

    fn act(&mut self, id: NodeId, run: &Run) -> i32 {
        let Run { resource, action, target, members } = run;
        let is_active = self.checker.is_active(resource, id);
        match action.as_str() {
            "start" if !is_active && RESOURCES.contains(&resource.as_str()) => {
                self.checker.started(resource, id, members);
            }
            "stop" => self.checker.stopped(resource, id),
            "migrate_to" => {
                let named = |name: &str| self.names.iter().find(|(_, n)| *n == name);
                let target = target.as_deref().and_then(named).map(|(id, _)| *id);
                let there = target.filter(|to| is_active && self.hosts[to].power);
                let Some(to) = there.filter(|to| !self.is_cut(id, *to)) else {
                    return code::ERROR;
                };
                self.checker.moved(resource, id, to);
            }
            _ => {}
        }
        code::OK
    }

    fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        self.faults.side.contains(&one) != self.faults.side.contains(&other)
    }

    /// A change of what is wanted, as an operator makes it at any time.
    pub(super) fn whim(&mut self) -> Request {
        let nth = usize::try_from(self.rng.below(RESOURCES.len() as u64)).unwrap_or(0);
        let resource = RESOURCES[nth];
        if self.rng.chance(500) {
            let role = if self.rng.chance(300) { "Stopped" } else { "Started" };
            self.trace(|| format!("{resource} is wanted {role}"));
            return role_of(resource, role);
        }
        let node = 1 + self.rng.below(self.names.len() as u64);
        self.trace(|| format!("{resource} is wanted on node {node}"));
        let xml = format!(
            "<constraints><rsc_location id=\"move-{resource}\" rsc=\"{resource}\" \
             node=\"node{node}\" score=\"100\"/></constraints>"
        );
        modify("constraints", xml)
    }
}

fn modify(section: &str, xml: String) -> Request {
    let target = Target::Section(section.to_owned());
    let operation = Operation::Modify { target, xml, allow_create: true, score: false };
    Request::Cib { operation, force: false }
}

/// Whether a resource is to run.
pub(super) fn role_of(resource: &str, role: &str) -> Request {
    let xml = format!(
        "<resources><primitive id=\"{resource}\"><meta_attributes id=\"{resource}-meta\"><nvpair \
         id=\"{resource}-role\" name=\"target-role\" value=\"{role}\"/></meta_attributes>\
         </primitive></resources>"
    );
    modify("resources", xml)
}

/// The cluster's configuration.
pub(super) fn load(names: &BTreeMap<NodeId, String>) -> Request {
    let hosts = names.values().cloned().collect::<Vec<_>>().join(" ");
    let mut xml = String::from("<configuration><crm_config/><nodes>");
    for (id, name) in names {
        xml.push_str(&format!("<node id=\"{id}\" uname=\"{name}\"/>"));
    }
    xml.push_str("</nodes><resources>");
    for id in RESOURCES {
        let migrates = id == "db";
        xml.push_str(&format!(
            "<primitive id=\"{id}\" class=\"ocf\" provider=\"sim\" type=\"Any\"><meta_attributes \
             id=\"{id}-meta\"><nvpair id=\"{id}-migrate\" name=\"allow-migrate\" \
             value=\"{migrates}\"/></meta_attributes><operations>\
             <op id=\"{id}-monitor\" name=\"monitor\" interval=\"1s\" timeout=\"5s\"/>\
             <op id=\"{id}-start\" name=\"start\" interval=\"0\" timeout=\"90s\"/>\
             </operations></primitive>"
        ));
    }
    xml.push_str(&format!(
        "<primitive id=\"fence\" class=\"stonith\" type=\"fence_sim\">\
         <instance_attributes id=\"fence-p\"><nvpair id=\"fence-h\" name=\"pcmk_host_list\" \
         value=\"{hosts}\"/></instance_attributes></primitive></resources><constraints>\
         <rsc_order id=\"db-web\" first=\"db\" then=\"web\"/></constraints></configuration>"
    ));
    let target = Target::Section("configuration".to_owned());
    Request::Cib { operation: Operation::Replace { target, xml }, force: false }
}
