//! Probes: finding out whether a resource runs where nothing is known about it.

use cib_model::Role;
use smallvec::{SmallVec, smallvec};

use crate::base::{
    ActionIx, NodeIx, Ordering, Probe, Replica, RscIx, Variant, Where, Ws, af, ar, rf, task,
};

impl Ws {
    /// Probes everything wherever its state is unknown.
    pub(crate) fn schedule_probes(&mut self) {
        for node in self.node_order.clone() {
            if !self[node].online {
                if self.is_failed_remote(node) {
                    self.fence_node(node, "the connection is unrecoverable", false);
                }
                continue;
            }
            if self[node].unclean || !self[node].probes_allowed {
                continue;
            }
            for rsc in self.top.clone() {
                self.create_probe(rsc, node);
            }
        }
    }

    fn create_probe(&mut self, rsc: RscIx, node: NodeIx) -> bool {
        match self[rsc].variant {
            Variant::Primitive | Variant::Group => self.probe_on(rsc, node),
            Variant::Clone => self.probe_clone(rsc, node),
            Variant::Bundle => {
                let mut any = false;
                for replica in self[rsc].bundle.replicas.clone() {
                    any |= self.probe_replica(rsc, &replica, node);
                }
                any
            }
        }
    }

    fn probe_all(&mut self, list: &[RscIx], node: NodeIx) -> bool {
        let mut any = false;
        for rsc in list {
            any |= self.create_probe(*rsc, node);
        }
        any
    }

    fn probe_clone(&mut self, clone: RscIx, node: NodeIx) -> bool {
        if self[clone].is(rf::EXCLUSIVE_PROBES) {
            let slot = self[clone].allowed.get(node);
            if slot.is_none_or(|s| s.probe != Probe::Exclusive) {
                self[clone].allowed.remove(node);
                return false;
            }
        }
        self.sort_by_number(clone);
        let instances = self[clone].children.clone();
        if self[clone].is(rf::UNIQUE) {
            return self.probe_all(&instances, node);
        }
        // Any one instance stands for all; the one that is known there, or goes there, is best.
        let known = instances.iter().find(|i| self.known_to_any(**i, node));
        let there = |i: &&RscIx| self.location(**i, Where::Assigned) == Some(node);
        let chosen = known.or_else(|| instances.iter().find(there)).or(instances.first());
        match chosen.copied() {
            Some(instance) => self.create_probe(instance, node),
            None => false,
        }
    }

    fn known_to_any(&self, rsc: RscIx, node: NodeIx) -> bool {
        let r = &self[rsc];
        if r.children.is_empty() {
            r.is_known_on(node)
        } else {
            r.children.iter().any(|c| self.known_to_any(*c, node))
        }
    }

    fn probe_replica(&mut self, bundle: RscIx, replica: &Replica, node: NodeIx) -> bool {
        let mut any = false;
        if let Some(ip) = replica.ip {
            any |= self.create_probe(ip, node);
        }
        if let Some(child) = replica.child.filter(|_| replica.node == Some(node)) {
            any |= self.create_probe(child, node);
        }
        if self.create_probe(replica.container, node) {
            any = true;
            if self[bundle].bundle.per_host == 1 {
                for other in self[bundle].bundle.replicas.clone() {
                    if other.container != replica.container {
                        let flags = ar::ORDERED | ar::IF_ON_SAME_NODE;
                        let (first, then) = (replica.container, other.container);
                        self.order_rscs(first, task::MONITOR, then, task::START, flags);
                    }
                }
            }
        }
        let Some(remote) = replica.remote else { return any };
        if self.create_probe(remote, node) {
            let probe = self.first_named(remote, task::MONITOR, 0, Some(node));
            if let Some(probe) = probe {
                any = true;
                let flags = ar::NESTED_REMOTE_PROBE;
                self.order_key_then(replica.container, task::START, probe, flags);
            }
        }
        any
    }

    /// Whether a resource's state on a node has to be found out.
    fn probe_is_due(&self, rsc: RscIx, node: NodeIx) -> bool {
        let (r, top) = (&self[rsc], self.uber(rsc));
        let inside = r.launcher.is_some() && !r.is(rf::REMOTE_CONNECTION);
        if inside || r.is(rf::REMOVED) || r.is_known_on(node) {
            return false;
        }
        let slot = r.allowed.get(node);
        let exclusive = r.is(rf::EXCLUSIVE_PROBES) || self[top].is(rf::EXCLUSIVE_PROBES);
        if exclusive && slot.is_none_or(|s| s.probe != Probe::Exclusive) {
            return false;
        }
        slot.unwrap_or(&self[node].base).probe != Probe::Never
    }

    fn probe_on(&mut self, rsc: RscIx, node: NodeIx) -> bool {
        if !self.config.probe_resources {
            return false;
        }
        if self.is_remote_kind(node) {
            let nested = self.is_guest(node) && self.contained_connection(rsc).is_some();
            if self[rsc].any(rf::FENCE_DEVICE | rf::REMOTE_CONNECTION) || nested {
                return false;
            }
        }
        if !self[rsc].children.is_empty() {
            let children = self[rsc].children.clone();
            return self.probe_all(&children, node);
        }
        if !self.probe_is_due(rsc, node) {
            return false;
        }
        let mut top = self.uber(rsc);
        if let Some(guest) = self.node_launcher(node) {
            if self[guest].orig_role == Role::Stopped {
                let host = self[guest].assigned_node();
                if host.is_some_and(|h| !self[guest].is_known_on(h)) {
                    self.order_rscs(guest, task::MONITOR, top, task::START, ar::ORDERED);
                }
                return false;
            }
            if self.guest_will_stop(node, guest) {
                self.order_rscs(guest, task::STOP, top, task::START, ar::ORDERED);
                return false;
            }
        }
        let probe = self.probe_action(rsc, node);
        if !self.is_clone(top) {
            top = rsc;
        }
        let mut flags = ar::ORDERED;
        if !self[probe].is(af::RUNNABLE) && self[top].active.is_empty() {
            flags |= ar::UNRUNNABLE_FIRST_BLOCKS;
        }
        self.order_action_then_key(probe, top, task::START, flags);
        self.order_action_then_key(probe, top, task::RELOAD_AGENT, ar::ORDERED);
        true
    }

    fn guest_will_stop(&self, node: NodeIx, guest: RscIx) -> bool {
        let (n, g) = (&self[node], &self[guest]);
        let moves = g.assigned_node().is_some_and(|host| !g.active.contains(&host));
        n.remote_reset
            || n.unclean
            || g.is(rf::FAILED)
            || g.next_role == Role::Stopped
            || (g.orig_role > Role::Stopped && moves)
    }

    fn probe_action(&mut self, rsc: RscIx, node: NodeIx) -> ActionIx {
        let probe = self.rsc_action(rsc, task::MONITOR, 0, task::MONITOR, Some(node), false);
        self[probe].clear(af::OPTIONAL);
        self.order_vs_unfencing(rsc, node, probe, ar::ORDERED);
        if !self[rsc].active.contains(&node) {
            self.expect_result(probe, 7);
        } else if self[rsc].orig_role == Role::Promoted {
            self.expect_result(probe, 8);
        }
        probe
    }

    // Relations of probes

    /// Probes come before whatever their results may change.
    pub(crate) fn order_probes(&mut self, orderings: &[Ordering]) {
        let mut marks = Marks { seen: vec![0; self.actions.len()], round: 0 };
        for rsc in self.top.clone() {
            self.order_own_probes(rsc, &mut marks);
        }
        self.order_probes_like_stops(orderings);
    }

    fn order_own_probes(&mut self, rsc: RscIx, marks: &mut Marks) {
        if !self.is_primitive(rsc) {
            for child in self[rsc].children.clone() {
                self.order_own_probes(child, marks);
            }
            return;
        }
        for probe in self.actions_of(rsc, None, task::MONITOR).into_iter().rev() {
            let after = self[probe].after.clone();
            for rel in after.iter().rev() {
                self.order_instances_after(probe, rel.action, rel.flags);
                marks.round += 1;
                self.order_restarts_after(probe, rel.action, marks);
            }
        }
    }

    /// What a clone's start waits for, its instances' starts do too.
    fn order_instances_after(&mut self, probe: ActionIx, after: ActionIx, flags: u32) {
        let (Some(own), Some(other)) = (self[probe].rsc, self[after].rsc) else { return };
        if self[other].variant <= Variant::Group
            || self[probe].is(af::RUNNABLE)
            || flags & ar::UNRUNNABLE_FIRST_BLOCKS != 0
            || self.uber(own) != other
            || self[after].task != task::START
        {
            return;
        }
        for rel in self[after].after.clone().iter().rev() {
            let Some(rsc) = self[rel.action].rsc else { continue };
            if self[rsc].active.is_empty()
                && self.uber(rsc) == other
                && self[rel.action].task == task::START
            {
                let flags = ar::ORDERED | ar::UNRUNNABLE_FIRST_BLOCKS;
                self.order_actions(Some(probe), Some(rel.action), flags);
            }
        }
    }

    /// If the probe leads to a start, what that start implies may be restarted: not before the
    /// probe's result is known.
    fn order_restarts_after(&mut self, probe: ActionIx, after: ActionIx, marks: &mut Marks) {
        let Some(own) = self[probe].rsc else { return };
        let mut stack = vec![after];
        while let Some(after) = stack.pop() {
            if !marks.first_visit(after) {
                continue;
            }
            let after_rsc = self[after].rsc;
            if let Some(rsc) = after_rsc.filter(|r| self.is_primitive(*r) && *r != own) {
                let reverse = match self[after].task {
                    task::START => Some(task::STOP),
                    task::PROMOTE => Some(task::DEMOTE),
                    _ => None,
                };
                let thens = reverse.map(|n| self.actions_of(rsc, None, n)).unwrap_or_default();
                for then in thens.into_iter().rev() {
                    if !self[then].is(af::PSEUDO) {
                        self.order_actions(Some(probe), Some(then), ar::ORDERED);
                    }
                }
            }
            let collective = after_rsc.filter(|r| self[*r].variant > Variant::Group);
            let interleave = collective.is_some_and(|r| self.meta_true(r, "interleave"));
            let partner = collective
                .filter(|_| interleave)
                .and_then(|r| self.compatible_instance(own, r, Role::Unknown, false, None));
            let follows = |ws: &Ws, rel: &crate::base::Rel| {
                if rel.flags & ar::FIRST_IMPLIES_THEN != 0 {
                    return true;
                }
                let (Some(rsc), Some(chained)) = (after_rsc, ws[rel.action].rsc) else {
                    return false;
                };
                ws[rsc].variant >= Variant::Group
                    && ws[own].parent != Some(rsc)
                    && ws[chained].variant <= Variant::Group
                    && ws[chained].parent == Some(rsc)
                    && !(collective.is_some() && interleave && partner != Some(chained))
            };
            // The newest is visited first.
            let next: Vec<ActionIx> = self[after]
                .after
                .iter()
                .filter(|rel| follows(self, rel))
                .map(|rel| rel.action)
                .collect();
            stack.extend(next);
        }
    }

    /// What waits for a stop waits for the probe that may bring that stop about.
    fn order_probes_like_stops(&mut self, orderings: &[Ordering]) {
        for order in orderings {
            let Some(rsc1) = order.rsc1 else { continue };
            if order.flags == ar::NONE || order.rsc1 == order.rsc2 {
                continue;
            }
            let stops = |ws: &Ws,
                         action: Option<ActionIx>,
                         key: Option<(crate::base::Sym, u32)>| match (
                action, key,
            ) {
                (Some(action), _) => ws[action].task == task::STOP,
                (None, Some((name, interval))) => interval == 0 && ws.names.ends_with(name, "stop"),
                (None, None) => false,
            };
            if (order.action2.is_none() && order.key2.is_none())
                || !stops(self, order.action1, order.key1)
            {
                continue;
            }
            if order.rsc2.is_some()
                && self[rsc1].launcher == order.rsc2
                && stops(self, order.action2, order.key2)
            {
                continue;
            }
            let keep = ar::IF_FIRST_UNMIGRATABLE | ar::IF_ON_SAME_NODE;
            let mut flags = ar::ORDERED | (order.flags & keep);
            if matches!(order.flags, ar::IF_REQUIRED_ON_SAME_NODE | ar::IF_ON_SAME_NODE_OR_TARGET) {
                flags = order.flags;
            }
            let probes = self.actions_of(rsc1, None, task::MONITOR);
            if probes.is_empty() {
                continue;
            }
            let thens = match (order.action2, order.rsc2, order.key2) {
                (Some(then), ..) => smallvec![then],
                (None, Some(rsc), Some((name, interval))) => {
                    self.find_actions(rsc, name, interval, None)
                }
                _ => SmallVec::new(),
            };
            for probe in &probes {
                for then in &thens {
                    if self.probe_precedes(*probe, *then) {
                        self.order_actions(Some(*probe), Some(*then), flags);
                    }
                }
            }
        }
    }

    fn probe_precedes(&self, probe: ActionIx, then: ActionIx) -> bool {
        let (p, t) = (&self[probe], &self[then]);
        let unfences = t.task == task::STONITH
            && p.node == t.node
            && t.meta.get("stonith_action").is_some_and(|op| op.eq_ignore_ascii_case("on"));
        let elsewhere =
            t.task == task::DO_SHUTDOWN && p.node.is_some() && t.node.is_some() && p.node != t.node;
        !unfences && !elsewhere
    }
}

/// Which actions a walk came by.
struct Marks {
    seen: Vec<u32>,
    round: u32,
}

impl Marks {
    fn first_visit(&mut self, action: ActionIx) -> bool {
        let mark = &mut self.seen[action.0 as usize];
        let first = *mark != self.round;
        *mark = self.round;
        first
    }
}
