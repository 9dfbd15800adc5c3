//! What goes wrong, and how it ends.

use crm_graph::Transition;
use crm_node::Input;
use membership_base::{Instant, NodeId};

use super::{Faults, WALL_MS, What, World, ms};

impl World {
    pub(super) fn cut_power(&mut self, id: NodeId) {
        self.trace(|| format!("{id} loses power"));
        self.tell(|w| format!("{} loses power", w.names[&id]));
        self.checker.power_lost(id);
        let host = self.host(id);
        host.power = false;
        host.outages += 1;
        host.daemon = None;
        host.started.clear();
        host.moved_away.clear();
        host.running.clear();
        host.wake_at = None;
        host.paused_until = Instant(0);
    }

    /// What runs on the host goes on.
    pub(super) fn kill_daemon(&mut self, id: NodeId) {
        self.trace(|| format!("{id} loses its daemon"));
        self.tell(|w| format!("the daemon on {} ends", w.names[&id]));
        self.checker.daemon_lost(id);
        let host = self.host(id);
        host.daemon = None;
        host.running.clear();
        host.wake_at = None;
    }

    pub(super) fn fault(&mut self) {
        if self.faults.over {
            return;
        }
        self.counts[4] += 1;
        self.checker.fault();
        let nth = u32::try_from(self.rng.below(self.names.len() as u64)).unwrap_or(0);
        let id = NodeId(1 + nth);
        match self.rng.below(22) {
            0 | 1 => {
                let picks: Vec<bool> = self.names.iter().map(|_| self.rng.chance(500)).collect();
                let ids = self.names.keys().zip(picks).filter(|(_, pick)| *pick);
                self.faults.side = ids.map(|(id, _)| *id).collect();
                let side = self.faults.side.clone();
                self.trace(|| format!("partition: {side:?}"));
            }
            2 | 3 => self.faults.side.clear(),
            4 => {
                self.cut_power(id);
                self.after(500, 6000, What::Boot(id));
            }
            5 => {
                self.kill_daemon(id);
                self.after(100, 3000, What::Boot(id));
            }
            6 => {
                let pause = self.rng.between(ms(50), ms(4000));
                let until = self.now + pause;
                self.trace(|| format!("{id} pauses for {pause:?}"));
                self.host(id).paused_until = until;
            }
            7 => {
                self.faults.loss_per_mille = self.rng.below(300);
                self.faults.jitter_ms = self.rng.below(30);
            }
            8 => {
                if !self.faults.dead_bmcs.remove(&id) {
                    self.faults.dead_bmcs.insert(id);
                }
            }
            9 => self.faults.agents_fail_per_mille = self.rng.below(2) * self.rng.below(200),
            10 => self.faults.agents_slow_per_mille = self.rng.below(2) * self.rng.below(300),
            11 => self.faults.slow_bmc_ms = self.rng.below(2) * (500 + self.rng.below(1500)),
            12 => self.faults.fast_boots = !self.faults.fast_boots,
            13 => {
                self.cut_power(id);
                self.after(200, 900, What::Boot(id));
            }
            14 => self.restart_with_another_clock(id),
            15 => {
                self.faults.deaf = if self.faults.deaf.is_none() { Some(id) } else { None };
                let deaf = self.faults.deaf;
                self.trace(|| format!("deaf: {deaf:?}"));
            }
            17 => {
                self.set_clock(id);
                let wall_ms = u64::try_from(self.hosts[&id].clock.as_millis()).unwrap_or(u64::MAX);
                if self.paused(id).is_none() {
                    self.input(id, Input::Clock { wall_ms });
                }
            }
            19 => self.cut_all_power(),
            20 => self.cut_some_links(),
            18 => self.faults.slow_plans_per_mille = self.rng.below(2) * self.rng.below(1000),
            16 => self.faults.attack_per_mille = self.rng.below(2) * self.rng.below(300),
            _ => self.flap(id),
        }
        self.after(300, 6000, What::Fault);
    }

    /// Sets a host's wall clock: some are a little wrong, some by hours, and some have lost their
    /// battery and begin at the epoch.
    pub(super) fn set_clock(&mut self, id: NodeId) {
        let clock = match self.rng.below(10) {
            0..5 => self.rng.between(ms(WALL_MS - 2_000), ms(WALL_MS + 2_000)),
            5..9 => self.rng.between(ms(WALL_MS - 36_000_000), ms(WALL_MS + 36_000_000)),
            _ => ms(0),
        };
        self.trace(|| format!("{id} has its clock set to {} s", clock.as_secs()));
        self.host(id).clock = clock;
    }

    /// The mains fail, and hosts come back one by one.
    fn cut_all_power(&mut self) {
        for id in self.names.keys().copied().collect::<Vec<_>>() {
            self.cut_power(id);
            self.after(500, 6000, What::Boot(id));
        }
    }

    /// Some nodes are not heard by some others, each way for itself; or all that was so is over.
    fn cut_some_links(&mut self) {
        if !self.faults.one_way.is_empty() {
            self.faults.one_way.clear();
            return;
        }
        let ids: Vec<NodeId> = self.names.keys().copied().collect();
        for from in ids.iter().copied() {
            for to in ids.iter().copied().filter(|to| *to != from) {
                if self.rng.chance(150) {
                    self.faults.one_way.insert((from, to));
                }
            }
        }
        let cut = self.faults.one_way.clone();
        self.trace(|| format!("not heard, from and to: {cut:?}"));
    }

    /// A daemon ends, and the next one on its host finds that the clock has been set.
    fn restart_with_another_clock(&mut self, id: NodeId) {
        self.kill_daemon(id);
        self.set_clock(id);
        self.after(100, 3000, What::Boot(id));
    }

    /// A host comes and goes a few times, as with a loose cable.
    pub(super) fn flap(&mut self, id: NodeId) {
        let mut at = self.now;
        for _ in 0..1 + self.rng.below(4) {
            self.schedule(at, What::Cut(Some(id)));
            at = at + self.rng.between(ms(200), ms(900));
            self.schedule(at, What::Cut(None));
            at = at + self.rng.between(ms(50), ms(900));
        }
    }

    pub(super) fn cut(&mut self, id: Option<NodeId>) {
        if !self.faults.over {
            self.trace(|| format!("cut off: {id:?}"));
            // Each time that a flapping host goes is an outage of its own.
            if id.is_some() {
                self.checker.fault();
            }
            self.faults.side = id.into_iter().collect();
        }
    }

    /// Cuts off a DC and the source of a migration as soon as it asks for that.
    pub(super) fn cut_off_migration(&mut self, dc: NodeId, plan: &Transition) {
        let mut actions = plan.synapses.iter().map(|synapse| &synapse.action);
        let migrates = actions.find(|action| &*action.operation == "migrate_to");
        let named = |name: &str| self.names.iter().find(|(_, n)| *n == name).map(|(id, _)| *id);
        let source = migrates.and_then(|action| action.on_node.as_deref()).and_then(named);
        if let Some(source) = source.filter(|source| *source != dc) {
            self.faults.cuts_off_migrations = false;
            self.faults.cut_off = Some((dc, source));
        }
    }

    /// The faults are over, and an operator cleans up.
    pub(super) fn heal(&mut self) {
        self.trace(|| "all faults are over".to_owned());
        self.faults = Faults { over: true, ..Faults::default() };
        self.checker.healed(self.now);
        for id in self.names.keys().copied().collect::<Vec<_>>() {
            self.after(0, 1000, What::Boot(id));
        }
    }
}
