//! Fences: which are wanted and asked for, and what their end means.

use std::time::Duration;

use crm_attributes::Update;
use crm_graph::Action;
use membership_base::{Incarnation, Instant, NodeId};

use super::escape;
use crate::machine::Controller;
use crate::{CibWrite, Effect, Fenced, Level};

/// The longest pause between two attempts to fence the same node.
const FENCE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// One that a transition wants, or that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    /// What it was asked for with.
    pub(super) ticket: Option<u64>,
    pub(super) action: String,
    /// Which life of the node is to end.
    pub(super) life: Option<Incarnation>,
    /// The action of the transition in force that waits for it.
    pub(super) action_id: Option<u32>,
    /// When it may be asked for.
    pub(super) not_before: Instant,
    /// The node came another way since it was asked for: it may not be what is there now that ends.
    outdated: bool,
}

/// Nothing runs any more on a node whose fence was confirmed.
pub(super) fn fenced_state(id: &str, uname: &str) -> [CibWrite; 3] {
    let state = format!("/cib/status/node_state[@id='{id}']");
    [
        CibWrite::Status(format!(
            "<node_state id=\"{id}\" uname=\"{uname}\" in_ccm=\"false\" crmd=\"offline\" \
             crm-debug-origin=\"fenced\" join=\"down\" expected=\"down\"/>"
        )),
        CibWrite::Delete(format!("{state}/lrm")),
        CibWrite::Delete(format!("{state}/transient_attributes")),
    ]
}

impl Controller {
    /// The transition in force wants a node fenced: joins a fence that is under way, or asks for
    /// one, though not sooner after a failure than the pause says.
    pub(super) fn want_fence(&mut self, now: Instant, action: &Action) {
        let target = action.on_node.as_deref().unwrap_or_default().to_owned();
        let verb = action.attribute("CRM_meta_stonith_action").unwrap_or("reboot").to_owned();
        let life = self.life(&target);
        let dc = self.dc.as_mut().expect("only the DC carries out a transition");
        dc.execution.iter_mut().for_each(|execution| execution.started(action.id));
        let not_before = dc.failures.get(&target).map_or(now, |(_, at)| *at);
        let new = Fence {
            ticket: None,
            action: verb,
            life,
            action_id: None,
            not_before,
            outdated: false,
        };
        let fence = dc.fences.entry(target).or_insert_with(|| new.clone());
        if fence.life != life || fence.outdated {
            *fence = new; // the one that is under way is for an earlier life
        }
        fence.action_id = Some(action.id);
    }

    /// These nodes have come another way.
    pub(crate) fn outdate_fences(&mut self, newcomers: &[NodeId]) {
        let names: Vec<String> = newcomers.iter().map(|id| self.name(*id).to_owned()).collect();
        let Some(dc) = &mut self.dc else { return };
        for (_, fence) in dc.fences.iter_mut().filter(|(target, _)| names.contains(target)) {
            fence.outdated = fence.ticket.is_some();
        }
    }

    /// Asks for those that are due.
    pub(super) fn ask_for_fences(&mut self, now: Instant) {
        let timeout_ms = self.options.fencing_timeout_ms;
        let local = &self.setup.nodes[&self.setup.local];
        let Some(dc) = &mut self.dc else { return };
        // A fence is off and then on again: one that this node has begun when its own power is cut
        // would leave the target off. Who survives fences the others.
        let due = |f: &Fence| f.ticket.is_some() || (f.action_id.is_some() && f.not_before <= now);
        let doomed = dc.fences.get(local).is_some_and(due);
        for (target, fence) in &mut dc.fences {
            let asked = fence.ticket.is_some() || (doomed && target != local);
            if asked || fence.action_id.is_none() || fence.not_before > now {
                continue;
            }
            dc.tickets += 1;
            fence.ticket = Some(dc.tickets);
            self.effects.push_back(Effect::Log(
                Level::Notice,
                // `crm history node` looks for this, and for lost nodes.
                format!("crmd: Node {target} will be fenced ({})", fence.action),
            ));
            self.effects.push_back(Effect::Fence {
                ticket: dc.tickets,
                target: target.clone(),
                action: fence.action.clone(),
                life: fence.life,
                timeout_ms,
            });
        }
    }

    /// A fencing operation has ended, whoever asked for it.
    pub(crate) fn fenced(&mut self, now: Instant, fenced: Fenced) {
        let Fenced { tickets, target, action, error, client, life, outdated } = fenced;
        let own = target == self.name(self.setup.local) && life == Some(self.setup.life);
        if error.is_none() && own && action != "on" {
            let reason = format!("this node was fenced on behalf of {client}, yet it still runs");
            self.effects.push_back(Effect::Fatal(reason));
            return;
        }
        // The power may be back, and the node a member again, before everybody knows that it was
        // cut: then this is about an earlier life of the node, even if that which is there now has
        // not been heard yet, or is lost again.
        let node = self.node_id(&target);
        let member = node.is_some_and(|id| self.view.members.contains(&id));
        let heard = node.and_then(|id| self.hellos.get(&id)).map(|hello| hello.life);
        let reborn = match (life, heard) {
            (Some(life), Some(heard)) => life != heard,
            (Some(life), None) => outdated || self.life(&target).is_some_and(|known| known != life),
            (None, _) => outdated || member,
        };
        let id = node.filter(|_| error.is_none() && !reborn && action != "on");
        self.confirmed.extend(id);
        let arrivals = id.map(|id| self.end_arrivals(id)).unwrap_or_default();
        if self.dc.is_none() {
            return;
        }
        for (node, resource) in arrivals {
            self.search_again(now, node, resource);
        }
        if error.is_none() && !reborn {
            self.write_fenced(now, &target, &action);
        }
        let Some(dc) = &mut self.dc else { return };
        // What was under way there has ended with the node.
        if id.is_some_and(|id| !dc.flights.lost(&[id]).is_empty()) {
            dc.want("a node was fenced");
        }
        let asked = dc.fences.get(&target).and_then(|f| f.ticket);
        let answers = asked.is_some_and(|ticket| tickets.contains(&ticket));
        match error {
            None => {
                dc.failures.remove(&target);
                // Anybody's success counts for what this transition waits for.
                if (!reborn || answers)
                    && let Some(fence) = dc.fences.remove(&target)
                    && let (Some(id), Some(execution)) = (fence.action_id, &mut dc.execution)
                {
                    execution.complete(id);
                }
                if !answers {
                    dc.want("a node was fenced");
                }
                let back = match reborn {
                    true => "; it had come back by then, and what is there now is not fenced",
                    false => "",
                };
                let text =
                    format!("node {target} is fenced ({action}), as its device confirmed{back}");
                self.log(Level::Notice, text);
            }
            Some(error) if answers => {
                let (count, at) = dc.failures.entry(target.clone()).or_insert((0, now));
                *count += 1;
                let pause = Duration::from_secs(1 << (*count - 1).min(10)).min(FENCE_PAUSE_MAX);
                *at = now + pause;
                let reason = format!("node {target} could not be fenced: {error}");
                if let Some(fence) = dc.fences.remove(&target)
                    && let (Some(id), Some(execution)) = (fence.action_id, &mut dc.execution)
                {
                    execution.fail(id, &reason);
                }
                dc.want(&reason);
                let text = format!("{reason}; nothing of it is started elsewhere until it is");
                self.log(Level::Error, text);
            }
            Some(_) => {}
        }
    }

    fn write_fenced(&mut self, now: Instant, target: &str, action: &str) {
        let id = self.node_id(target).map_or_else(|| target.to_owned(), |id| id.to_string());
        if action == "on" {
            let at = self.wall_s(now).to_string();
            let update = Update::set(target, "#node-unfenced", &at);
            self.effects.push_back(Effect::Attributes(vec![update]));
            return;
        }
        self.effects.push_back(Effect::Cib(fenced_state(&id, &escape(target)).into()));
    }
}
