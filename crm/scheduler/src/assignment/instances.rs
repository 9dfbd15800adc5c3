//! Instances of clones and bundles: in which order they choose, and how many a node takes.

use cib_model::INFINITY;

use super::colocation::select;
use crate::base::{NodeIx, RscIx, Table, Ws, rf};
use crate::reasons::Reason;

impl Ws {
    fn compare_numbers(&self, a: RscIx, b: RscIx) -> i32 {
        (self[a].number - self[b].number).signum() as i32
    }

    fn can_run(&self, instance: RscIx, node: NodeIx, max_per_node: i32) -> bool {
        !self[instance].is(rf::REMOVED)
            && self.available(node)
            && self
                .top_allowed(instance, node)
                .is_some_and(|s| s.score >= 0 && s.count < max_per_node)
    }

    fn ban_unavailable(&mut self, instance: RscIx, max_per_node: i32) {
        let nodes: Vec<NodeIx> = self[instance].allowed.nodes().collect();
        for node in nodes {
            if self.can_run(instance, node, max_per_node) {
                continue;
            }
            let mut banned = vec![instance];
            banned.extend_from_slice(&self[instance].children);
            for rsc in banned {
                if let Some(slot) = self[rsc].allowed.get_mut(node) {
                    slot.score = -INFINITY;
                }
            }
        }
    }

    /// How much an instance's node suits those that it is colocated with.
    fn colocated_score(&mut self, instance: RscIx, node: NodeIx) -> i32 {
        let base = self[node].base;
        let mut table = Table::default();
        table.insert(node, base);
        let mut row = Some(table);
        for coloc in self.this_with(instance) {
            let c = &self.colocs[coloc];
            let (other, factor) = (c.primary, c.score as f32 / INFINITY as f32);
            let flags = select::DEFAULT;
            self.add_colocated_scores(other, Some(instance), &mut row, Some(coloc), factor, flags);
        }
        for coloc in self.with_this(instance) {
            if !self.has_influence(coloc, Some(instance)) {
                continue;
            }
            let c = &self.colocs[coloc];
            let (other, factor) = (c.dependent, c.score as f32 / INFINITY as f32);
            let flags = select::NONNEGATIVE;
            self.add_colocated_scores(other, Some(instance), &mut row, Some(coloc), factor, flags);
        }
        row.and_then(|r| r.score(node)).unwrap_or(-INFINITY)
    }

    /// Order in which instances choose nodes.
    pub(crate) fn compare_instances(&mut self, a: RscIx, b: RscIx) -> i32 {
        let order = |less: bool| if less { -1 } else { 1 };
        let (mut node_a, count_a, _) = self.active_node(a);
        let (mut node_b, count_b, _) = self.active_node(b);
        if count_a > 0 && count_b > 0 && count_a != count_b {
            return order(count_a < count_b);
        }
        let allowed = |ws: &Ws, r: RscIx, n: &mut Option<NodeIx>| match *n {
            Some(node) if ws[r].allowed.score(node).is_none_or(|s| s < 0) => {
                *n = None;
                false
            }
            _ => true,
        };
        let (can_a, can_b) = (allowed(self, a, &mut node_a), allowed(self, b, &mut node_b));
        if can_a != can_b {
            return order(can_a);
        }
        if self[a].priority != self[b].priority {
            return order(self[a].priority > self[b].priority);
        }
        let (node_a, node_b) = match (node_a, node_b) {
            (None, None) => return 0,
            (None, _) => return 1,
            (_, None) => return -1,
            (Some(a), Some(b)) => (a, b),
        };
        let (up_a, up_b) = (self.available(node_a), self.available(node_b));
        if up_a != up_b {
            return order(up_a);
        }
        let count = |ws: &Ws, r: RscIx, n: NodeIx| ws.top_allowed(r, n).map(|s| s.count);
        match (count(self, a, node_a), count(self, b, node_b)) {
            (None, None) => return 0,
            (None, _) => return 1,
            (_, None) => return -1,
            (Some(x), Some(y)) if x != y => return order(x < y),
            _ => {}
        }
        let (failed_a, failed_b) =
            (self.flag_anywhere(a, rf::FAILED), self.flag_anywhere(b, rf::FAILED));
        if failed_a != failed_b {
            return order(failed_b);
        }
        let (Some(here_a), Some(here_b)) = (self.current_node(a), self.current_node(b)) else {
            return 0;
        };
        let (score_a, score_b) = (self.colocated_score(a, here_a), self.colocated_score(b, here_b));
        if score_a != score_b {
            return order(score_a > score_b);
        }
        self.compare_numbers(a, b)
    }

    fn count_on_parent(&mut self, instance: RscIx, node: Option<NodeIx>) {
        if let Some(slot) = node.and_then(|n| self.top_allowed_mut(instance, n)) {
            slot.count += 1;
        }
    }

    fn assign_instance(
        &mut self,
        instance: RscIx,
        prefer: Option<NodeIx>,
        max_per_node: i32,
    ) -> Option<NodeIx> {
        if self[instance].is(rf::ASSIGNING) {
            return None;
        }
        self.ban_unavailable(instance, max_per_node);
        let chosen = self.assign(instance, prefer, prefer.is_none());
        self.count_on_parent(instance, chosen);
        chosen
    }

    fn save_rows(&self, rsc: RscIx, into: &mut Vec<(RscIx, Table)>) {
        into.push((rsc, self[rsc].allowed.clone()));
        self[rsc].children.iter().for_each(|c| self.save_rows(*c, into));
    }

    /// Lets an instance stay where it is before others choose.
    fn assign_early(
        &mut self,
        instance: RscIx,
        current: NodeIx,
        max_per_node: i32,
        available: i32,
    ) -> bool {
        let Some(parent) = self[instance].parent else { return false };
        let score = self[instance].allowed.score(current);
        if !score.is_some_and(|s| self.available_at(current, s)) {
            return false;
        }
        let mut rows = Vec::new();
        self.save_rows(instance, &mut rows);
        let parent_row = self[parent].allowed.clone();
        let mut reserved = 0;
        let mut chosen = None;
        while reserved < available {
            chosen = self.assign_instance(instance, Some(current), max_per_node);
            if chosen == Some(current) {
                break;
            }
            for (rsc, row) in &rows {
                self[*rsc].allowed = row.clone();
            }
            if chosen.is_none() {
                self[instance].set(rf::UNASSIGNED);
                break;
            }
            // Another instance will want that node: it counts as taken in the next try.
            reserved += 1;
            self.unassign(instance);
            chosen = None;
        }
        self[parent].allowed = parent_row;
        if chosen.is_none() {
            return false;
        }
        self.count_on_parent(instance, chosen);
        true
    }

    fn preferred_node(&self, instance: RscIx, optimal: i32) -> Option<NodeIx> {
        let r = &self[instance];
        if r.active.is_empty() || !r.is(rf::UNASSIGNED) || r.is(rf::FAILED) {
            return None;
        }
        let node = self.current_node(instance)?;
        if !self.available_at(node, self[node].base.score) {
            return None;
        }
        let full = self.top_allowed(instance, node).is_some_and(|s| s.count >= optimal);
        (!full).then_some(node)
    }

    /// Assigns up to `max_total` instances, at most `max_per_node` to a node.
    pub(crate) fn assign_instances(
        &mut self,
        collective: RscIx,
        instances: &[RscIx],
        max_total: i32,
        max_per_node: i32,
    ) {
        let mut row = std::mem::take(&mut self[collective].allowed);
        row.iter_mut().for_each(|(_, s)| s.count = 0);
        let nodes = row.nodes().filter(|n| self.available(*n)).count() as i32;
        self[collective].allowed = row;
        let optimal = if nodes > 0 { (max_total / nodes).max(1) } else { 1 };
        let mut assigned = 0;
        for instance in instances {
            if assigned >= max_total {
                break;
            }
            if !self[*instance].is(rf::UNASSIGNED) {
                continue;
            }
            let available = max_total - assigned;
            let current = self.preferred_node(*instance, optimal);
            if current.is_some_and(|n| self.assign_early(*instance, n, max_per_node, available)) {
                assigned += 1;
            }
        }
        for instance in instances {
            if !self[*instance].is(rf::UNASSIGNED) {
                continue;
            }
            if assigned >= max_total {
                self.resource_location(*instance, None, -INFINITY, Reason::InstanceLimit);
            } else if self.assign_instance(*instance, None, max_per_node).is_some() {
                assigned += 1;
            }
        }
        self.stay_rather_than_swap(instances);
    }

    /// Instances that nobody can tell apart do not change places: one that would be stopped so that
    /// another is started on the same node stays instead.
    fn stay_rather_than_swap(&mut self, instances: &[RscIx]) {
        let alike = |ws: &Ws, r: RscIx| !ws[r].is(rf::UNIQUE) && ws.is_primitive(r);
        for goes in instances.iter().copied().filter(|r| alike(self, *r)).collect::<Vec<_>>() {
            let (here, None) = (self[goes].active.clone(), self[goes].assigned_node()) else {
                continue;
            };
            let [node] = here[..] else { continue };
            let comes = instances.iter().copied().find(|r| {
                alike(self, *r)
                    && self[*r].active.is_empty()
                    && self[*r].assigned_node() == Some(node)
            });
            let movable = self[goes].is(rf::MANAGED) && !self[goes].any(rf::FAILED | rf::BLOCKED);
            if let Some(comes) = comes.filter(|_| movable) {
                let role = self[comes].next_role;
                self.assign_to(comes, None, true, true);
                self.set_next_role(goes, role);
                self.assign_to(goes, Some(node), true, false);
            }
        }
    }
}
