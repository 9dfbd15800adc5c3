//! Fences: which are wanted and asked for, and what their end means.

use std::time::Duration;

use crm_attributes::Update;
use crm_graph::Action;
use membership_base::mutant::{Mutant, mutant};
use membership_base::{Incarnation, Instant};

use super::escape;
use crate::machine::Controller;
use crate::{CibWrite, Effect, Fenced, Level};

/// The longest pause between two attempts to fence the same node.
const FENCE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The least time that a node gets to come back after a fence that may have ended a later life of it
/// than the one that it was for.
const RETURN_PAUSE_MIN: Duration = Duration::from_secs(5);
/// The most, however often that has happened in a row.
const RETURN_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A fence that a transition wants, that is under way, or both.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    /// What the transition in force wants: the action's verb.
    action: String,
    /// Which life of the node is to end.
    pub(super) life: Option<Incarnation>,
    /// The action of the transition in force that waits for it.
    pub(super) action_id: Option<u32>,
    /// When it may be asked for.
    pub(super) not_before: Instant,
    /// The resource that failed on the node, if that is why; without an instance's number.
    pub(super) failed: Option<String>,
    /// The operation of this target that this DC has asked for. There is one at a time: what its
    /// end means for a later life of the target is known only then.
    pub(super) asked: Option<Asked>,
}

/// A fencing operation that this DC has asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) ticket: u64,
    at: Instant,
    /// It was asked to end if nothing has been done yet.
    withdrawn: bool,
}

/// A node whose fence came too late for the life that it was for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Return {
    /// How often in a row.
    count: u32,
    /// It is expected back until then.
    until: Instant,
}

/// Nothing runs any more on a node whose fence was confirmed.
pub(super) fn fenced_state(id: &str, uname: &str) -> [CibWrite; 3] {
    let state = format!("/cib/status/node_state[@id={}]", cib_xml::quoted(id));
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
    /// The transition in force wants a node fenced: waits for the operation that is under way, or
    /// asks for one, though not sooner after a failure than the pause says, nor while the node may
    /// be on its way back from another fence.
    pub(super) fn want_fence(&mut self, now: Instant, action: &Action) {
        let target = action.on_node.as_deref().unwrap_or_default().to_owned();
        let verb = action.attribute("CRM_meta_stonith_action").unwrap_or("reboot").to_owned();
        let life = self.life(&target);
        let dc = self.dc.as_mut().expect("only the DC carries out a transition");
        dc.execution.iter_mut().for_each(|execution| execution.started(action.id));
        let retry = dc.failures.get(&target).map_or(now, |(_, at)| *at);
        let back = dc.returns.get(&target).map_or(now, |expected| expected.until);
        let asked = dc.fences.remove(&target).and_then(|fence| fence.asked);
        let action_id = Some(action.id);
        let failed = action.reason.as_deref().and_then(crm_graph::who_failed_there);
        let failed = failed.map(|id| id.split(':').next().unwrap_or(id).to_owned());
        let not_before = retry.max(back);
        let fence = Fence { failed, action: verb, life, action_id, not_before, asked };
        dc.fences.insert(target, fence);
    }

    /// A new plan is in force: an operation whose target it does not want fenced is to end, if
    /// nothing has been done yet.
    pub(super) fn withdraw_fences(&mut self) {
        let Some(dc) = &mut self.dc else { return };
        let Some(execution) = &dc.execution else { return };
        let wanted = |target: &str| {
            let actions = execution.transition.synapses.iter().map(|synapse| &synapse.action);
            let fences = actions.filter(|action| &*action.operation == "stonith");
            fences.filter_map(|action| action.on_node.as_deref()).any(|node| node == target)
        };
        for (target, fence) in &mut dc.fences {
            let Some(asked) = fence.asked.as_mut().filter(|asked| !asked.withdrawn) else {
                continue;
            };
            if !wanted(target) {
                asked.withdrawn = true;
                self.effects.push_back(Effect::WithdrawFence { ticket: asked.ticket });
            }
        }
    }

    /// These nodes are lost. A fresh loss is no repetition of an old failure to fence.
    pub(super) fn refresh_fences(&mut self, now: Instant, lost: &[String]) {
        let Some(dc) = &mut self.dc else { return };
        for name in lost {
            dc.failures.remove(name);
            let fence = dc.fences.get_mut(name);
            // Nor is it the work of a fence that has ended a while ago.
            if fence.as_ref().is_none_or(|fence| fence.asked.is_none()) {
                dc.returns.retain(|node, expected| node != name || expected.until > now);
            }
            if let Some(fence) = fence.filter(|fence| fence.asked.is_none()) {
                fence.not_before = dc.returns.get(name).map_or(now, |expected| expected.until);
            }
        }
    }

    /// Asks for those that are due.
    pub(super) fn ask_for_fences(&mut self, now: Instant) {
        self.brake_fences(now);
        let timeout_ms = self.options.fencing_timeout_ms;
        let local = &self.setup.nodes[&self.setup.local];
        let Some(dc) = &mut self.dc else { return };
        // A fence is off and then on again: one that this node has begun when its own power is cut
        // would leave the target off. Who survives fences the others.
        let due = |f: &Fence| f.asked.is_some() || (f.action_id.is_some() && f.not_before <= now);
        let doomed = dc.fences.get(local).is_some_and(due);
        for (target, fence) in &mut dc.fences {
            let asked = fence.asked.is_some() || (doomed && target != local);
            if asked || fence.action_id.is_none() || fence.not_before > now {
                continue;
            }
            dc.tickets += 1;
            fence.asked = Some(Asked { ticket: dc.tickets, at: now, withdrawn: false });
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
        let own =
            fenced.target == self.name(self.setup.local) && fenced.life == Some(self.setup.life);
        if fenced.error.is_none() && own && fenced.action != "on" {
            let client = &fenced.client;
            let reason = format!("this node was fenced on behalf of {client}, yet it still runs");
            self.effects.push_back(match self.options.panics {
                true => Effect::Panic(reason),
                false => Effect::Fail(reason),
            });
            return;
        }
        let reborn = self.is_reborn(&fenced);
        let node = self.node_id(&fenced.target);
        let id = node.filter(|_| fenced.error.is_none() && !reborn && fenced.action != "on");
        self.confirmed.extend(id);
        let arrivals = id.map(|id| self.end_arrivals(id)).unwrap_or_default();
        if self.dc.is_none() {
            return;
        }
        for (node, resource) in arrivals {
            self.search_again(now, node, resource);
        }
        if fenced.error.is_none() && !reborn {
            self.write_fenced(now, &fenced.target, &fenced.action);
        }
        let Some(dc) = &mut self.dc else { return };
        // What was under way there has ended with the node.
        if id.is_some_and(|id| !dc.flights.lost(&[id]).is_empty()) {
            dc.want("a node was fenced");
        }
        let fence = dc.fences.get_mut(&fenced.target);
        let answered = fence
            .and_then(|fence| fence.asked.take_if(|asked| fenced.tickets.contains(&asked.ticket)));
        match &fenced.error {
            None if reborn => self.fenced_late(now, &fenced, answered.as_ref()),
            None => self.fence_confirmed(&fenced, answered.is_some()),
            Some(error) => {
                if let Some(asked) = answered {
                    self.fence_failed(now, &fenced.target, error, asked.withdrawn);
                }
            }
        }
    }

    /// Whether the target may be in a later life than the one that was to end. The power may be
    /// back, and the node a member again, before everybody knows that it was cut: then the fence is
    /// about an earlier life of the node, even if that which is there now has not been heard yet,
    /// or is lost again. A member that has said that it is in the life that was meant is not.
    fn is_reborn(&self, fenced: &Fenced) -> bool {
        let node = self.node_id(&fenced.target);
        let heard = node.and_then(|id| self.hellos.get(&id)).map(|hello| hello.life);
        let unheard = node.is_some_and(|id| self.unheard.contains(&id));
        match (fenced.life, heard) {
            (Some(life), Some(heard)) => life != heard,
            (Some(life), None) => {
                unheard || self.life(&fenced.target).is_some_and(|known| known != life)
            }
            (None, _) => fenced.outdated || node.is_some_and(|id| self.view.members.contains(&id)),
        }
    }

    /// The power was cut, and the target is, or was meanwhile, in a later life than the one that was
    /// to end. That life may have ended by it as well, or have begun after it: nobody can tell.
    /// What can be told is that the node is, or was, on its way back. Another fence at once would
    /// hit the next life, and the one after that: so whoever is lost by then gets time to return,
    /// at least as long as the operation took, and longer each time.
    fn fenced_late(&mut self, now: Instant, fenced: &Fenced, asked: Option<&Asked>) {
        let target = &fenced.target;
        if fenced.action == "on" {
            return self.replan("a node that was switched on was back before that");
        }
        let member = self.node_id(target).is_some_and(|id| self.view.members.contains(&id));
        let Some(dc) = &mut self.dc else { return };
        dc.failures.remove(target);
        let count = dc.returns.get(target).map_or(0, |known| known.count);
        let took = asked.map_or(Duration::ZERO, |asked| now.since(asked.at));
        let pause = took.max(RETURN_PAUSE_MIN).saturating_mul(1 << count.min(10));
        let pause = pause.min(RETURN_PAUSE_MAX);
        let pause = if mutant(Mutant::NoPatience) { Duration::ZERO } else { pause };
        dc.returns.insert(target.clone(), Return { count: count + 1, until: now + pause });
        let text = format!(
            "node {target} is fenced ({}), as its device confirmed, but it was back before that: \
             {}",
            fenced.action,
            if member {
                "unless it is lost as well, what is there now goes on".to_owned()
            } else {
                format!(
                    "whether it has gone down since by this fence cannot be told, so it is fenced \
                     again if it has not returned in {} s",
                    pause.as_secs()
                )
            }
        );
        match dc.fences.get_mut(target) {
            Some(fence) if fence.action_id.is_some() => fence.not_before = now + pause,
            Some(fence) if fence.asked.is_none() => _ = dc.fences.remove(target),
            _ => {}
        }
        dc.want("a node was fenced");
        self.log(Level::Notice, text);
    }

    /// The life that was to end has ended. Anybody's success counts for what the transition in force
    /// waits for.
    fn fence_confirmed(&mut self, fenced: &Fenced, answers: bool) {
        let Fenced { target, action, .. } = fenced;
        let Some(dc) = &mut self.dc else { return };
        dc.failures.remove(target);
        dc.returns.remove(target);
        if let Some(fence) = dc.fences.remove(target) {
            if let (Some(id), Some(execution)) = (fence.action_id, &mut dc.execution) {
                execution.complete(id);
            }
            if let Some(asked) = fence.asked {
                // Another one has done it: the own operation, if it has not begun, need not.
                self.effects.push_back(Effect::WithdrawFence { ticket: asked.ticket });
            }
        }
        if !answers {
            dc.want("a node was fenced");
        }
        self.log(
            Level::Notice,
            format!("node {target} is fenced ({action}), as its device confirmed"),
        );
    }

    /// What this DC has asked for has not been done.
    fn fence_failed(&mut self, now: Instant, target: &str, error: &str, withdrawn: bool) {
        let Some(dc) = &mut self.dc else { return };
        if withdrawn {
            // A plan of since then may want it all the same; it is asked for again.
            if dc.fences.get(target).is_some_and(|fence| fence.action_id.is_none()) {
                dc.fences.remove(target);
            }
            self.log(Level::Info, format!("node {target} is not fenced: {error}"));
            return;
        }
        let (count, at) = dc.failures.entry(target.to_owned()).or_insert((0, now));
        *count += 1;
        let pause = Duration::from_secs(1 << (*count - 1).min(10)).min(FENCE_PAUSE_MAX);
        *at = now + pause;
        let reason = format!("node {target} could not be fenced: {error}");
        if let Some(fence) = dc.fences.remove(target)
            && let (Some(id), Some(execution)) = (fence.action_id, &mut dc.execution)
        {
            execution.fail(id, &reason);
        }
        dc.want(&reason);
        let text = format!("{reason}; nothing of it is started elsewhere until it is");
        self.log(Level::Error, text);
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
