//! Capacity of nodes and needs of resources.

use cib_model::{INFINITY, Str};

use super::colocation::Affects;
use crate::base::{NodeIx, Placement, RscIx, Variant, Ws, ar, rf, task};
use crate::reasons::Reason;

type Needs = Vec<(Str, i32)>;

fn amount(list: &[(Str, i32)], name: &str) -> i32 {
    list.iter().find(|(n, _)| &**n == name).map_or(0, |(_, v)| *v)
}

fn add_needs(to: &mut Needs, what: &[(Str, i32)], sign: i32) {
    for (name, value) in what {
        let value = value.saturating_mul(sign);
        match to.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = v.saturating_add(value),
            None => to.push((name.clone(), value)),
        }
    }
}

impl Ws {
    /// Below 0 if the first has more to offer.
    pub(crate) fn compare_capacity(&self, a: NodeIx, b: NodeIx) -> i32 {
        let (ua, ub) = (&self[a].utilization, &self[b].utilization);
        let mut result = 0;
        for (name, have) in ua {
            result += (amount(ub, name) - have).signum();
        }
        for (name, have) in ub.iter().filter(|(n, _)| !ua.iter().any(|(m, _)| m == n)) {
            let _ = name;
            result += have.signum();
        }
        result
    }

    /// Takes capacity of a node (`sign` -1), or gives it back (1).
    pub(crate) fn use_capacity(&mut self, node: NodeIx, rsc: RscIx, sign: i32) {
        if self[rsc].utilization.is_empty() {
            return;
        }
        let needs = self[rsc].utilization.clone();
        add_needs(&mut self[node].utilization, &needs, sign);
    }

    fn has_capacity(&self, node: NodeIx, needs: &[(Str, i32)]) -> bool {
        needs.iter().all(|(name, need)| *need <= amount(&self[node].utilization, name))
    }

    /// Resources that have to go along with one.
    fn colocated(&self, rsc: RscIx, origin: Option<RscIx>, list: &mut Vec<RscIx>) {
        if self.is_group(rsc) && (self[rsc].group_colocated || self.parent_is_clone(rsc)) {
            list.push(rsc);
            for member in &self[rsc].children {
                self.colocated(*member, Some(origin.unwrap_or(rsc)), list);
            }
            return;
        }
        let origin = origin.unwrap_or(rsc);
        if list.contains(&rsc) {
            return;
        }
        list.push(rsc);
        for coloc in self.this_with(rsc) {
            let c = &self.colocs[coloc];
            let moves = self.affects(rsc, c.primary, coloc, true) == Affects::Location;
            if c.primary != origin && c.score == INFINITY && moves {
                self.colocated(c.primary, Some(origin), list);
            }
        }
        for coloc in self.with_this(rsc) {
            let c = &self.colocs[coloc];
            if c.dependent == origin || (self.is_clone(rsc) && !self.is_clone(c.dependent)) {
                continue;
            }
            let moves = self.affects(c.dependent, rsc, coloc, true) == Affects::Location;
            if c.score == INFINITY && moves {
                self.colocated(c.dependent, Some(origin), list);
            }
        }
    }

    fn parent_is_clone(&self, rsc: RscIx) -> bool {
        self[rsc].parent.is_some_and(|p| self.is_clone(p))
    }

    fn add_utilization(&self, rsc: RscIx, all: &[RscIx], needs: &mut Needs) {
        let r = &self[rsc];
        if !r.is(rf::UNASSIGNED) {
            return;
        }
        let outside = |m: RscIx| self[m].is(rf::UNASSIGNED) && !all.contains(&m);
        match r.variant {
            Variant::Primitive => add_needs(needs, &r.utilization, 1),
            Variant::Group => {
                let together = r.group_colocated || self.parent_is_clone(rsc);
                let count = if together { r.children.len() } else { 1 };
                for member in r.children.iter().take(count).filter(|m| outside(**m)) {
                    self.add_utilization(*member, all, needs);
                }
            }
            Variant::Clone => {
                let mut existing = false;
                for child in &r.children {
                    if all.contains(child) {
                        existing = true;
                    } else if self[*child].children.iter().any(|m| all.contains(m)) {
                        self.add_utilization(*child, all, needs);
                        existing = true;
                    }
                }
                if let Some(first) = r.children.first().filter(|_| !existing) {
                    self.add_utilization(*first, all, needs);
                }
            }
            Variant::Bundle => {
                if let Some(replica) = r.bundle.replicas.first() {
                    self.add_utilization(replica.container, all, needs);
                }
            }
        }
    }

    /// Bans nodes that have not enough for a resource with what has to go along. If none has,
    /// only what the resource itself needs counts, and the node with most is given.
    pub(crate) fn ban_insufficient_capacity(&mut self, rsc: RscIx) -> Option<NodeIx> {
        if self.config.placement == Placement::Default {
            return None;
        }
        let mut together = Vec::new();
        self.colocated(rsc, None, &mut together);
        together.reverse();
        if !together.contains(&rsc) {
            together.push(rsc);
        }
        let mut needs = Needs::new();
        for other in &together {
            self.add_utilization(*other, &together, &mut needs);
        }
        let candidates: Vec<NodeIx> = self
            .node_order
            .iter()
            .copied()
            .filter(|n| self[rsc].allowed.score(*n).is_some_and(|s| self.available_at(*n, s)))
            .collect();
        let any_capable = candidates.iter().any(|n| self.has_capacity(*n, &needs));
        let mut most: Option<NodeIx> = None;
        for node in &candidates {
            if most.is_none_or(|m| self.compare_capacity(*node, m) < 0) {
                most = Some(*node);
            }
        }
        let needs = if any_capable { needs } else { self[rsc].utilization.clone() };
        for node in candidates {
            if !self.has_capacity(node, &needs) {
                self.resource_location(rsc, Some(node), -INFINITY, Reason::Utilization);
            }
        }
        most.filter(|_| !any_capable)
    }

    /// What is started on a node waits until what is stopped there has made room.
    pub(crate) fn utilization_constraints(&mut self, rsc: RscIx, nodes: &[NodeIx]) {
        let flags = ar::IF_ON_SAME_NODE_OR_TARGET;
        for node in self[rsc].active.clone() {
            let made = self.load_stopped(node);
            self.order_key_then(rsc, task::STOP, made, flags);
        }
        for node in nodes {
            let made = self.load_stopped(*node);
            self.order_action_then_key(made, rsc, task::START, flags);
            self.order_action_then_key(made, rsc, task::MIGRATE_TO, flags);
        }
    }

    fn load_stopped(&mut self, node: NodeIx) -> crate::base::ActionIx {
        let name = format!("load_stopped_{}", self[node].name);
        let action = self.pseudo_action(&name);
        if self[action].node.is_none() {
            self[action].node = Some(node);
            self[action].clear(crate::base::af::OPTIONAL);
        }
        action
    }
}
