//! What the machines want done, and how it is done here.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use cib_model::Time;
use cib_store::{Version, disk};
use crm_api::{EventKind, Response};
use crm_node::{Effect, Input};
use crm_scheduler::PlanFlags;
use membership_base::{Instant, NodeId, View};
use membership_totem::{self as totem, Guarantee};

use super::{DATA, What, World, hash};

impl World {
    pub(super) fn ring(&mut self, id: NodeId, step: impl FnOnce(&mut totem::Totem, Instant)) {
        let now = self.now;
        if let Some(daemon) = &mut self.host(id).daemon {
            step(&mut daemon.totem, now);
            self.drain(id);
        }
    }

    pub(super) fn input(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        if let Some(daemon) = &mut self.host(id).daemon {
            daemon.node.handle(now, input);
            self.drain(id);
        }
    }

    /// Carries out what a host's machines want, and sees to its next wake-up.
    pub(super) fn drain(&mut self, id: NodeId) {
        loop {
            let Some(daemon) = &mut self.host(id).daemon else { return };
            if let Some(effect) = daemon.totem.poll_effect() {
                self.ring_effect(id, effect);
            } else if let Some(effect) = daemon.node.poll_effect() {
                self.node_effect(id, effect);
            } else {
                break;
            }
        }
        let now = self.now;
        let host = self.host(id);
        let Some(daemon) = &host.daemon else { return };
        let next = [daemon.totem.poll_timeout(), daemon.node.poll_timeout()];
        let Some(at) = next.into_iter().flatten().min() else { return };
        let at = at.max(now + Duration::from_nanos(1));
        if host.wake_at.is_none_or(|old| at < old || old <= now) {
            host.wake_at = Some(at);
            self.schedule(at, What::Wake(id));
        }
        self.check_replica(id);
    }

    /// Looks at a host's CIB if it has changed.
    pub(super) fn check_replica(&mut self, id: NodeId) {
        let Some(daemon) = &mut self.host(id).daemon else { return };
        let version = Version::of(daemon.node.cib());
        let seen = daemon.node.is_synced().then_some((daemon.delivering.id, version));
        if seen.is_some() && seen != daemon.compared {
            daemon.compared = seen;
            let view = daemon.delivering.clone();
            let digest = cib_xml::digest::v2_unfiltered(daemon.node.cib().root());
            self.checker.replica(id, &view, version, digest);
        }
        self.checker.version(id, version);
    }

    pub(super) fn ring_effect(&mut self, id: NodeId, effect: totem::Effect) {
        match effect {
            totem::Effect::Transmit { to, bytes, .. } => self.transmit(id, to, bytes),
            totem::Effect::Deliver(delivered) => {
                let digest = hash(&delivered.bytes);
                (id, delivered.sender, digest).hash(&mut self.digest);
                let now = self.now;
                let Some(daemon) = &mut self.host(id).daemon else { return };
                let view = daemon.delivering.clone();
                let sender = delivered.sender;
                daemon.node.handle(now, Input::Delivered(delivered));
                let agreed = daemon.node.attributes().agreed();
                self.checker.delivered(id, &view, sender, digest);
                if let Some(agreed) = agreed {
                    self.checker.attributes(id, &view, hash(format!("{agreed:?}").as_bytes()));
                }
            }
            totem::Effect::View(ring) => {
                let transitional = ring.transitional;
                let now = self.now;
                let Some(daemon) = &mut self.host(id).daemon else { return };
                let quorate = if transitional {
                    daemon.quorum.transitional(&ring.members)
                } else {
                    let verdict = daemon.quorum.view(now, &ring.members, &ring.attachments);
                    let attachment = daemon.quorum.attachment();
                    daemon.totem.handle(now, totem::Input::Attach(attachment));
                    verdict
                };
                let view = View {
                    id: ring.id,
                    quorate,
                    exclusive: daemon.quorum.is_exclusive(&ring.members),
                    members: ring.members,
                    came_with_us: ring.came_with_us,
                    met: ring.met,
                };
                let kind = if transitional { "transitional " } else { "" };
                self.trace(|| format!("{id} {kind}view {} {:?}", view.id, view.members));
                let Some(daemon) = &mut self.host(id).daemon else { return };
                let before = std::mem::replace(&mut daemon.delivering, view.clone());
                daemon.view = view.clone();
                let life = daemon.life;
                daemon.node.handle(now, Input::View(view.clone()));
                self.checker.view(id, &before, &view);
                if !transitional {
                    self.tell_view(id);
                }
                if !self.calm {
                    self.end_some(id, life);
                }
            }
            totem::Effect::Refused { ticket, bytes } => {
                let Some(daemon) = &mut self.host(id).daemon else { return };
                let guarantee = if ticket == 0 { Guarantee::Agreed } else { Guarantee::Safe };
                daemon.outbox.push_front((bytes, guarantee));
                let life = daemon.life;
                self.after(5, 10, What::Resubmit(id, life));
            }
            totem::Effect::Persist { ring_seq } => self.host(id).disk.ring_seq = ring_seq,
            totem::Effect::Gathering(reason) => self.trace(|| format!("{id} gathers: {reason:?}")),
            _ => {}
        }
    }

    pub(super) fn submit_outbox(&mut self, id: NodeId) {
        let now = self.now;
        while let Some(daemon) = &mut self.host(id).daemon {
            let Some((bytes, guarantee)) = daemon.outbox.pop_front() else { break };
            let waiting = daemon.outbox.len();
            let ticket = u64::from(guarantee == Guarantee::Safe);
            daemon.totem.handle(now, totem::Input::Submit { ticket, bytes, guarantee });
            self.drain(id);
            let refused = self.host(id).daemon.as_ref().is_some_and(|d| d.outbox.len() > waiting);
            if refused {
                break;
            }
        }
    }

    pub(super) fn transmit(&mut self, from: NodeId, to: NodeId, bytes: Arc<Vec<u8>>) {
        self.counts[0] += 1;
        if let Some((dc, source)) = self.faults.cut_off
            && from == dc
            && bytes.len() > DATA
        {
            self.faults.cut_off = None;
            self.faults.side = [dc, source].into();
            self.trace(|| format!("{dc} and {source} are cut off"));
        }
        let cut = self.faults.side.contains(&from) != self.faults.side.contains(&to);
        let attack = self.rng.chance(self.faults.attack_per_mille);
        if attack {
            let nth = u32::try_from(self.rng.below(self.names.len() as u64)).unwrap_or(0);
            let (to, bytes) = (NodeId(1 + nth), bytes.clone());
            self.after(0, 3000, What::Packet { to, bytes });
        }
        if cut
            || self.faults.one_way.contains(&(from, to))
            || self.faults.deaf == Some(to)
            || !self.hosts[&to].power
            || self.rng.chance(self.faults.loss_per_mille)
        {
            return;
        }
        let jitter = self.faults.jitter_ms * 1000;
        let delay = Duration::from_micros(100 + self.rng.below(100 + jitter));
        self.schedule(self.now + delay, What::Packet { to, bytes });
    }

    pub(super) fn node_effect(&mut self, id: NodeId, effect: Effect) {
        let life = self.host(id).daemon.as_ref().map_or(0, |d| d.life);
        match effect {
            Effect::Send { bytes, guarantee } => {
                if let Some(daemon) = &mut self.host(id).daemon {
                    daemon.outbox.push_back((bytes, guarantee));
                    if daemon.outbox.len() == 1 {
                        self.submit_outbox(id);
                    }
                }
            }
            Effect::Persist { snapshot, version } => {
                let bytes = disk::to_bytes(&snapshot).xml;
                self.after(1, 10, What::Persisted { host: id, life, version, bytes });
            }
            Effect::SetAside { reason, .. } => self.trace(|| format!("{id} sets aside: {reason}")),
            Effect::RunAgent { run, operation, keep } => {
                let keep = keep.map(|with| (operation.resource.clone(), with));
                self.host(id).started.extend(keep);
                self.run_agent(id, life, run, &operation);
            }
            Effect::KeepStarted { resource, with: Some(with) } => {
                self.host(id).started.insert(resource, with);
            }
            Effect::KeepStarted { resource, with: None } => {
                self.host(id).started.remove(&resource);
            }
            Effect::KillAgent { run } => {
                self.kill_agent(id, life, run);
            }
            Effect::RunFenceAgent { run, options, .. } => {
                let get = |name: &str| {
                    options.iter().find(|o| o.0 == name).map(|o| o.1.clone()).unwrap_or_default()
                };
                let (action, name) = (get("action"), get("nodename"));
                let target = self.names.iter().find(|(_, n)| **n == name).map(|(id, _)| *id);
                let target = target.unwrap_or_default();
                self.trace(|| format!("{id} runs the fence agent: {action} {name}"));
                self.tell_fence(id, target, &action);
                let slow = self.faults.slow_bmc_ms;
                let switched = What::PowerSwitched { host: id, life, run, action, target };
                self.after(20 + slow, 400 + slow, switched);
            }
            Effect::Schedule { plan, cib, now_s } => {
                if let Some(daemon) = &mut self.host(id).daemon {
                    daemon.missed = None;
                }
                let now_s = i64::try_from(now_s).unwrap_or(0);
                let now = Time::from_epoch(now_s);
                let flags = || PlanFlags { under_way: true, ..PlanFlags::default() };
                let transition = crm_scheduler::schedule(&cib, now, flags(), plan).transition;
                // That costs as much as the plan: now and then is enough.
                if plan % 8 == 0 {
                    let again = crm_scheduler::schedule(&cib, now, flags(), plan).transition;
                    self.checker.require(transition == again, || {
                        format!("invariant 6: plan {plan} of node {id} differs the second time")
                    });
                }
                self.trace(|| {
                    let actions = transition.synapses.iter().map(|s| &s.action);
                    let words: Vec<String> = actions
                        .filter(|a| a.kind != crm_graph::ActionKind::Pseudo)
                        .map(|a| format!("{}@{}", a.key, a.on_node.as_deref().unwrap_or("-")))
                        .collect();
                    format!("{id} plan {plan}: {}", words.join(" "))
                });
                if self.faults.cuts_off_migrations {
                    self.cut_off_migration(id, &transition);
                }
                // Most plans are made quickly; some cluster is too large for that.
                let high_ms =
                    if self.rng.chance(self.faults.slow_plans_per_mille) { 500 } else { 5 };
                let transition = Box::new(transition);
                self.after(0, high_ms, What::Planned { host: id, life, plan, transition });
            }
            Effect::Reply { id: client, response } => {
                self.answered(client, &response);
                // 0 stands for whoever does not wait.
                let done = matches!(response, Response::Cib(_));
                if client != 0
                    && let Some(mark) = self.checker.answered(id, client, done)
                {
                    self.counts[3] += 1;
                    self.trace(|| format!("{id} acknowledges {mark}"));
                }
            }
            Effect::KeepSecret { asked, .. } => {
                if let Some((asker, number)) = asked {
                    self.input(id, Input::SecretKept { asker, number, error: None });
                }
            }
            Effect::LookAtSecrets { view, .. } => {
                self.input(id, Input::SecretsFound { view, secrets: Vec::new() });
            }
            // Said as a plan is about to be carried out.
            Effect::KeepInput => {
                let Some(daemon) = &self.host(id).daemon else { return };
                let missed = daemon.missed.clone();
                self.checker.carries_out(id, missed.as_deref());
            }
            Effect::Event(event) => self.misses(id, &event),
            Effect::ReadSecrets { .. } | Effect::History { .. } => {}
            Effect::Log(level, text) => {
                self.heard(id, &text);
                self.trace(|| format!("{id} {level:?}: {text}"));
            }
            Effect::Leave => self.kill_daemon(id),
            Effect::LeaveRing => {
                let now = self.now;
                let Some(daemon) = &mut self.host(id).daemon else { return };
                daemon.totem.handle(now, totem::Input::Leave);
            }
            Effect::RestartHost => {
                self.trace(|| format!("{id} restarts its host"));
                self.tell(|w| format!("{} restarts its host", w.names[&id]));
                self.cut_power(id);
                self.after(1000, 3000, What::Boot(id));
            }
            // An operator starts it again.
            Effect::Ended { left } => {
                self.checker.ended(id, &left);
                self.kill_daemon(id);
                self.after(2000, 10_000, What::Boot(id));
            }
        }
    }

    /// What a plan that is being made does not know.
    pub(super) fn misses(&mut self, id: NodeId, event: &EventKind) {
        let what = match event {
            EventKind::Operation { node, resource, action, interval_ms: 0, .. }
                if action != "notify" =>
            {
                format!("{action} of {resource} on {node} has ended")
            }
            EventKind::Membership { members, .. } => format!("the members are {members:?}"),
            _ => return,
        };
        if let Some(daemon) = &mut self.host(id).daemon {
            daemon.missed.get_or_insert(what);
        }
    }
}
