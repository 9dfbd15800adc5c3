//! Scores that follow from nodes: health, stickiness, failures, locks; and the order of it all.

use cib_model::{INFINITY, Role, Str, is_true, parse_score_with, scan_int, seconds_of_ms};

use crate::base::{LocationCon, NodeIx, Placement, Probe, RscIx, Variant, Ws, rf};
use crate::reasons::Reason;
use crate::status::Count;

impl Ws {
    /// Sick nodes are avoided.
    pub(crate) fn apply_node_health(&mut self) {
        let model = self.model.clone();
        let strategy: Str = match model.options.get("node-health-strategy") {
            None => return,
            Some(s) if s.eq_ignore_ascii_case("none") => return,
            Some(s) => s.into(),
        };
        let progressive = strategy.eq_ignore_ascii_case("progressive");
        let base = if progressive { model.options.score("node-health-base") } else { 0 };
        for node in self.node_order.clone() {
            let mut health = base;
            for (name, value) in self[node].attrs.iter() {
                if name.starts_with("#health")
                    && let Some(score) = parse_score_with(value, self.config.health)
                {
                    health = cib_model::add_scores(score, health);
                }
            }
            if health == 0 {
                continue;
            }
            for rsc in self.top.clone() {
                if health < 0 && is_true(self[rsc].meta.get("allow-unhealthy-nodes")) {
                    continue;
                }
                self.add_location(LocationCon {
                    id: strategy.clone(),
                    rsc,
                    nodes: vec![(node, health)],
                    role: Role::Unknown,
                    probe: Probe::Always,
                });
            }
        }
    }

    pub(crate) fn add_location(&mut self, con: LocationCon) {
        let rsc = con.rsc;
        if con.probe == Probe::Exclusive {
            self[rsc].set(rf::EXCLUSIVE_PROBES);
        }
        let at = self.locations.len();
        self[rsc].locations.push(at);
        self.locations.push(con);
    }

    /// Applies a location constraint to a resource and what it is made of.
    pub(crate) fn apply_location(&mut self, rsc: RscIx, at: usize, zero: bool) {
        self.apply_location_plain(rsc, at, zero);
        match self[rsc].variant {
            Variant::Primitive => {}
            Variant::Group => {
                // Only the first member of a group that stays together has preferences.
                let colocated = self[rsc].group_colocated;
                for (i, member) in self[rsc].children.clone().into_iter().enumerate() {
                    self.apply_location(member, at, zero || (colocated && i > 0));
                }
            }
            Variant::Clone => {
                for instance in self[rsc].children.clone() {
                    self.apply_location(instance, at, zero);
                }
            }
            Variant::Bundle => {
                for replica in self[rsc].bundle.replicas.clone() {
                    self.apply_location(replica.container, at, zero);
                    if let Some(ip) = replica.ip {
                        self.apply_location(ip, at, zero);
                    }
                }
                let inner = self.bundled_clone(rsc);
                let role = self.locations[at].role;
                if let Some(inner) =
                    inner.filter(|_| matches!(role, Role::Unpromoted | Role::Promoted))
                {
                    self.apply_location(inner, at, zero);
                    self[inner].locations.push(at);
                }
            }
        }
    }

    pub(crate) fn apply_location_plain(&mut self, rsc: RscIx, at: usize, zero: bool) {
        let con = self.locations[at].clone();
        if con.role != Role::Unknown && con.role != self[rsc].next_role {
            return;
        }
        let why = Reason::Location(con.id);
        for (node, score) in con.nodes.into_iter().rev() {
            let score = if zero { 0 } else { score };
            let base = self[node].base;
            let row = &mut self[rsc].allowed;
            match row.get_mut(node) {
                Some(slot) => Ws::bump(slot, score),
                None => row.insert(node, crate::base::Slot { score, ..base }),
            }
            if let Some(slot) = row.get_mut(node).filter(|s| s.probe < con.probe) {
                slot.probe = con.probe;
                if con.probe == Probe::Exclusive {
                    self[rsc].set(rf::EXCLUSIVE_PROBES);
                }
            }
            self.reasons.score(rsc, node, score, &why);
        }
    }

    /// Applies everything that speaks for or against nodes.
    pub(crate) fn apply_node_criteria(&mut self) {
        if self.config.shutdown_lock {
            for rsc in self.top.clone() {
                self.shutdown_lock(rsc);
            }
        }
        for at in (0..self.locations.len()).rev() {
            let rsc = self.locations[at].rsc;
            self.apply_location(rsc, at, false);
        }
        for rsc in self.top.clone() {
            self.apply_stickiness(rsc);
        }
        let top = self.top.clone();
        for node in self.node_order.clone() {
            let failures = self[node].has_failures;
            for rsc in top.iter().copied() {
                if failures {
                    self.check_threshold(rsc, node);
                }
                self.exclusive_discovery(rsc, node);
            }
        }
    }

    fn apply_stickiness(&mut self, rsc: RscIx) {
        if !self[rsc].children.is_empty() {
            for child in self[rsc].children.clone() {
                self.apply_stickiness(child);
            }
            return;
        }
        let r = &self[rsc];
        let [node] = r.active[..] else { return };
        if !r.is(rf::MANAGED) || r.stickiness < 1 {
            return;
        }
        if self.config.symmetric || r.allowed.get(node).is_some() {
            let stickiness = r.stickiness;
            self.resource_location(rsc, Some(node), stickiness, Reason::Stickiness);
        }
    }

    fn check_threshold(&mut self, rsc: RscIx, node: NodeIx) {
        if !self[rsc].children.is_empty() {
            for child in self[rsc].children.clone() {
                self.check_threshold(child, node);
            }
            return;
        }
        let clearing = crate::base::task::CLEAR_FAILCOUNT;
        if self.actions_exact(rsc, clearing, 0, node).is_empty()
            && let Some(failed) = self.threshold_reached(rsc, node)
        {
            self.resource_location(failed, Some(node), -INFINITY, Reason::MigrationThreshold);
        }
    }

    /// The resource to ban from a node because it failed there too often.
    pub(crate) fn threshold_reached(&mut self, rsc: RscIx, node: NodeIx) -> Option<RscIx> {
        let limit = self[rsc].ban_after_failures;
        if limit == 0 || self[rsc].is(rf::IGNORE_FAILURE) {
            return None;
        }
        let count = Count { effective: true, launched: true };
        let (failures, _) = self.failcount(node, rsc, count, None);
        if failures <= 0 || failures < limit {
            return None;
        }
        let banned = self.banned_with(rsc);
        let text = format!(
            "{} cannot run on {} due to reaching migration threshold (clean up resource to allow \
             again)",
            self[banned].id, self[node].name
        );
        self.warn(text);
        Some(banned)
    }

    fn exclusive_discovery(&mut self, rsc: RscIx, node: NodeIx) {
        let top = self.uber(rsc);
        if !self[rsc].is(rf::EXCLUSIVE_PROBES) && !self[top].is(rf::EXCLUSIVE_PROBES) {
            return;
        }
        for child in self[rsc].children.clone() {
            self.exclusive_discovery(child, node);
        }
        if let Some(slot) = self[rsc].allowed.get_mut(node)
            && slot.probe != Probe::Exclusive
        {
            slot.score = -INFINITY;
        }
    }

    /// A resource is kept for a node that is shut down cleanly.
    fn shutdown_lock(&mut self, rsc: RscIx) {
        match self[rsc].variant {
            Variant::Primitive => {}
            Variant::Group => {
                for member in self[rsc].children.clone() {
                    self.shutdown_lock(member);
                }
                return;
            }
            _ => return,
        }
        if self[rsc].any(rf::FENCE_DEVICE | rf::REMOTE_CONNECTION) {
            return;
        }
        if let Some(node) = self[rsc].lock_node {
            if !self[rsc].active.is_empty() {
                self.clear_history(rsc, node);
                self[rsc].lock_node = None;
                self[rsc].lock_time = 0;
            }
        } else if let [node] = self[rsc].active[..]
            && self[node].shutdown
            && !self[node].unclean
        {
            let asked = self.attr(node, "shutdown").and_then(scan_int).unwrap_or(0);
            let time = if asked == 0 { self.now() } else { asked };
            self[rsc].lock_node = Some(node);
            self[rsc].lock_time = time;
        }
        let Some(lock) = self[rsc].lock_node else { return };
        if self.config.shutdown_lock_ms > 0 {
            let ends = self[rsc].lock_time + seconds_of_ms(self.config.shutdown_lock_ms) + 1;
            self.recheck_at(ends);
        }
        for node in self.node_order.clone() {
            if node != lock {
                self.resource_location(rsc, Some(node), -INFINITY, Reason::ShutdownLock);
            }
        }
    }

    /// Assigns everything. Connections of remote nodes go first: they make nodes available.
    pub(crate) fn assign_resources(&mut self) {
        if self.config.placement != Placement::Default {
            self.sort_resources();
        }
        self.show_capacities("Original");
        let top = self.top.clone();
        if self.config.have_remote_nodes {
            for rsc in &top {
                if self[*rsc].is(rf::REMOTE_CONNECTION) {
                    let target = self[*rsc].partial_target;
                    self.assign(*rsc, target, true);
                }
            }
        }
        for rsc in top {
            if !self[rsc].is(rf::REMOTE_CONNECTION) {
                self.assign(rsc, None, true);
            }
        }
        self.show_capacities("Remaining");
    }
}
