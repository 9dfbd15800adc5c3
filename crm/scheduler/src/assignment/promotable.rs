//! Which instances of a promotable clone are promoted.

use cib_model::{INFINITY, NoQuorumPolicy, Role, add_scores, base_name, parse_score};

use super::colocation::select;
use crate::base::{Assigned, NodeIx, RscIx, Where, Ws, merge_sort, rf};
use crate::reasons::Reason;

impl Ws {
    fn promotion_applies(&self, rsc: RscIx, node: NodeIx) -> bool {
        let id = base_name(&self[rsc].id);
        let clone = self.uber(rsc);
        let allowed = self[rsc].allowed.score(node).is_some_and(|s| s >= 0);
        if !self[rsc].is(rf::UNIQUE) {
            let children = &self[clone].children;
            let active = children.iter().find_map(|c| self.find_in_clone(*c, id, Some(node)));
            if active == Some(rsc) {
                return allowed;
            }
            let known = || {
                children.iter().any(|c| {
                    self.find_in_clone(*c, id, None).is_some_and(|r| self[r].is_known_on(node))
                })
            };
            if active.is_none() && known() {
                return allowed;
            }
        }
        let r = &self[rsc];
        if r.active.is_empty() && r.probed.is_clear() {
            return allowed;
        }
        (r.is_known_on(node) || r.active.contains(&node)) && allowed
    }

    fn promotion_attr(&self, rsc: RscIx, node: NodeIx, name: &str) -> Option<&str> {
        let place = if self[rsc].is(rf::UNASSIGNED) { Where::Current } else { Where::Assigned };
        let target = self[rsc].meta.get("container-attribute-target");
        self.node_attr(node, &format!("master-{name}"), target, place)
    }

    /// The promotion score of an instance on a node, `None` if nothing is set.
    fn promotion_score(&self, rsc: RscIx, node: NodeIx) -> Option<i32> {
        let children = &self[rsc].children;
        if !children.is_empty() {
            let scores: Vec<i32> =
                children.iter().filter_map(|c| self.promotion_score(*c, node)).collect();
            return (!scores.is_empty()).then(|| scores.iter().sum());
        }
        if !self.promotion_applies(rsc, node) {
            return None;
        }
        let r = &self[rsc];
        let name = r.history_id.as_ref().unwrap_or(&r.id);
        let mut value = self.promotion_attr(rsc, node, name);
        if value.is_none() && !r.is(rf::UNIQUE) {
            let base = base_name(&r.id);
            if base != &*r.id {
                value = self.promotion_attr(rsc, node, base);
            }
        }
        value.map(|v| parse_score(v).unwrap_or(0))
    }

    /// Nodes with a promotion score are preferred for instances.
    pub(crate) fn add_promotion_scores(&mut self, clone: RscIx) {
        if std::mem::replace(&mut self[clone].clone.promotion_added, true) {
            return;
        }
        for child in self[clone].children.clone() {
            let nodes: Vec<NodeIx> = self[child].allowed.nodes().collect();
            for node in nodes {
                if !self.available(node) {
                    continue;
                }
                let score = self.promotion_score(child, node).unwrap_or(0);
                if score > 0 {
                    self[child].allowed.add(node, score);
                }
                if score > self[child].priority {
                    self[child].priority = score;
                }
            }
        }
    }

    pub(crate) fn set_instance_roles(&mut self, clone: RscIx) {
        self[clone].allowed.iter_mut().for_each(|(_, s)| s.count = 0);
        for instance in self[clone].children.clone() {
            self.set_instance_priority(instance, clone);
        }
        self.sort_promotable(clone);
        let mut promoted = 0;
        for instance in self[clone].children.clone() {
            self.set_instance_role(instance, &mut promoted);
        }
    }

    fn set_instance_priority(&mut self, instance: RscIx, clone: RscIx) {
        if self.state(instance, true) == Role::Started {
            self.started_is_unpromoted(instance);
        }
        let Some(chosen) = self.location(instance, Where::Assigned) else { return };
        let next_role = self.state(instance, false);
        match next_role {
            Role::Started | Role::Unknown => {
                let score = self.promotion_score(instance, chosen).unwrap_or(-1);
                self[instance].priority = score;
            }
            Role::Unpromoted | Role::Stopped => self[instance].priority = -INFINITY,
            Role::Promoted => {}
        }
        for owner in [instance, clone] {
            for location in self[owner].locations.clone().into_iter().rev() {
                let con = &self.locations[location];
                if con.role != Role::Promoted {
                    continue;
                }
                if let Some((_, score)) = con.nodes.iter().find(|(n, _)| *n == chosen) {
                    self[instance].priority = add_scores(self[instance].priority, *score);
                }
            }
        }
        for coloc in self.this_with(instance) {
            let primary = self.colocs[coloc].primary;
            self.apply_coloc(instance, primary, coloc, true);
        }
        let r = &mut self[instance];
        r.promotion_priority = if next_role == Role::Promoted { INFINITY } else { r.priority };
    }

    fn started_is_unpromoted(&mut self, rsc: RscIx) {
        if self[rsc].orig_role == Role::Started {
            self[rsc].orig_role = Role::Unpromoted;
        }
        for child in self[rsc].children.clone() {
            self.started_is_unpromoted(child);
        }
    }

    fn sort_promotable(&mut self, clone: RscIx) {
        if std::mem::replace(&mut self[clone].clone.promotion_constrained, true) {
            return;
        }
        self[clone].set(rf::UPDATING_NODES);
        let mut children = self[clone].children.clone();
        for child in &children {
            let priority = self[*child].promotion_priority;
            if priority >= 0
                && let Some(node) = self.location(*child, Where::Assigned)
            {
                self[clone].allowed.add(node, priority);
            }
        }
        for coloc in self.with_this(clone) {
            let c = &self.colocs[coloc];
            if c.primary_role != Role::Promoted || !self.has_influence(coloc, None) {
                continue;
            }
            let (dependent, factor) = (c.dependent, c.score as f32 / INFINITY as f32);
            let flags = select::ACTIVE | select::NONNEGATIVE;
            self.add_scores_into(dependent, clone, coloc, factor, flags);
        }
        self.require_promotion_tickets(clone);
        for child in &children {
            let place = self.location(*child, Where::Assigned);
            let score = place.and_then(|n| self[clone].allowed.score(n));
            let r = &mut self[*child];
            if !r.is(rf::MANAGED) && r.next_role == Role::Promoted {
                r.promotion_priority = INFINITY;
            } else if place.is_none() {
                r.promotion_priority = -INFINITY;
            } else if r.promotion_priority >= 0 {
                r.promotion_priority = score.unwrap_or(-INFINITY);
            }
        }
        merge_sort(&mut children, &mut |a, b| self.compare_promotable(a, b));
        self[clone].children = children;
        self[clone].clear(rf::UPDATING_NODES);
    }

    fn compare_promotable(&mut self, a: RscIx, b: RscIx) -> i32 {
        let (pa, pb) = (self[a].promotion_priority, self[b].promotion_priority);
        if pa != pb {
            return if pa > pb { -1 } else { 1 };
        }
        let (ra, rb) = (self.state(a, true), self.state(b, true));
        if ra != rb {
            return if ra > rb { -1 } else { 1 };
        }
        self.compare_instances(a, b)
    }

    fn require_promotion_tickets(&mut self, clone: RscIx) {
        for ticket in self[clone].tickets.clone() {
            let t = &self.tickets[ticket.ticket];
            if ticket.role == Role::Promoted && (!t.granted || t.standby) {
                self.resource_location(clone, None, -INFINITY, Reason::Ticket);
            }
        }
    }

    /// The node on which an instance may be promoted.
    fn promotion_node(&self, rsc: RscIx) -> Option<NodeIx> {
        let r = &self[rsc];
        for child in &r.children {
            self.promotion_node(*child)?;
        }
        let node = self.location(rsc, Where::Assigned)?;
        let managed = r.is(rf::MANAGED);
        if !managed {
            if self.state(rsc, true) != Role::Promoted {
                return None;
            }
        } else if r.priority < 0 || !self.available(node) {
            return None;
        } else if let Some(guest) = self.node_launcher(node) {
            self.location(guest, Where::Assigned)?;
        }
        let clone = self.uber(rsc);
        let slot = self[clone].allowed.get(node)?;
        if slot.count >= self[clone].clone.promoted_node_max && managed {
            return None;
        }
        Some(node)
    }

    fn set_instance_role(&mut self, instance: RscIx, promoted: &mut i32) {
        let clone = self.uber(instance);
        self.show_promotion(instance);
        let room = *promoted < self[clone].clone.promoted_max || !self[clone].is(rf::MANAGED);
        let chosen = if self[instance].promotion_priority >= 0 && room {
            self.promotion_node(instance)
        } else {
            None
        };
        let frozen = self[instance].orig_role < Role::Promoted
            && !self.config.quorate
            && self.config.no_quorum == NoQuorumPolicy::Freeze;
        let Some(node) = chosen.filter(|_| !frozen) else {
            self.next_unpromoted(instance);
            return;
        };
        if let Some(slot) = self[clone].allowed.get_mut(node) {
            slot.count += 1;
        }
        self.next_promoted(instance);
        *promoted += 1;
    }

    fn show_promotion(&mut self, instance: RscIx) {
        if !self.config.show_scores {
            return;
        }
        let note = crate::Note::Promotion {
            resource: self[instance].id.clone(),
            node: self.location(instance, Where::Assigned).map(|n| self[n].name.clone()),
            score: self[instance].promotion_priority,
        };
        self.notes.push(note);
    }

    fn next_unpromoted(&mut self, rsc: RscIx) {
        let mut nodes = crate::base::Places::new();
        self.locations_of(rsc, Where::Assigned, &mut nodes);
        let role = if nodes.is_empty() { Role::Stopped } else { Role::Unpromoted };
        self.set_next_role(rsc, role);
        for child in self[rsc].children.clone() {
            self.next_unpromoted(child);
        }
    }

    fn next_promoted(&mut self, rsc: RscIx) {
        if self[rsc].next_role == Role::Unknown {
            self.set_next_role(rsc, Role::Promoted);
        }
        for child in self[rsc].children.clone() {
            self.next_promoted(child);
        }
    }

    /// A resource that depends on instances in a role is limited to their nodes.
    pub(crate) fn depends_on_promotable(&mut self, dependent: RscIx, clone: RscIx, coloc: usize) {
        let c = self.colocs[coloc].clone();
        let mut affected: Vec<Assigned> = Vec::new();
        for instance in self[clone].children.clone() {
            let Some(node) = self.location(instance, Where::Assigned) else { continue };
            if self.state(instance, false) != c.primary_role {
                continue;
            }
            if c.score < INFINITY {
                self.prefer_matching(dependent, clone, node, coloc);
            }
            affected.push(Assigned { node, score: self.assigned_score(instance) });
        }
        let both = c.dependent_role == Role::Promoted && c.primary_role == Role::Promoted;
        if c.score >= INFINITY && !both {
            affected.reverse();
            self.intersect(dependent, &affected, true);
        }
    }

    fn assigned_score(&self, rsc: RscIx) -> i32 {
        if let Some(a) = self[rsc].assigned {
            return a.score;
        }
        self[rsc].children.iter().map(|c| self.assigned_score(*c)).next().unwrap_or(0)
    }

    fn prefer_matching(&mut self, dependent: RscIx, clone: RscIx, node: NodeIx, coloc: usize) {
        let (attr, score) = (self.colocs[coloc].attr.clone(), self.colocs[coloc].score);
        let value = self.coloc_attr(node, &attr, Some(clone)).map(str::to_owned);
        let nodes: Vec<NodeIx> = self[dependent].allowed.nodes().collect();
        for n in nodes {
            let own = self.coloc_attr(n, &attr, Some(dependent));
            let same = match (own, value.as_deref()) {
                (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                (None, None) => true,
                _ => false,
            };
            if same {
                self[dependent].allowed.add(n, score);
            }
        }
    }

    /// An instance that is to be promoted together with one of another clone.
    pub(crate) fn promotable_dependent(
        &mut self,
        dependent: RscIx,
        clone: RscIx,
        coloc: usize,
    ) -> i32 {
        let c = self.colocs[coloc].clone();
        let found =
            self.compatible_instance(dependent, clone, c.primary_role, false, Some(&c.attr));
        if found.is_some() {
            self[dependent].priority = add_scores(self[dependent].priority, c.score);
            return c.score;
        }
        if c.score >= INFINITY {
            self[dependent].priority = -INFINITY;
            return -INFINITY;
        }
        0
    }
}
