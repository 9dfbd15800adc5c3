//! Choosing a node for a primitive.

use cib_model::{INFINITY, NoQuorumPolicy, Role};

use crate::base::{Assigned, NodeIx, RscIx, Variant, Ws, af, rf, task};
use crate::reasons::Reason;

impl Ws {
    /// Chooses a node. `stop_if_fail` says whether the resource is stopped if there is none.
    pub(crate) fn assign(
        &mut self,
        rsc: RscIx,
        prefer: Option<NodeIx>,
        stop_if_fail: bool,
    ) -> Option<NodeIx> {
        match self[rsc].variant {
            Variant::Primitive => self.assign_primitive(rsc, prefer, stop_if_fail),
            Variant::Group => self.assign_group(rsc, prefer, stop_if_fail),
            Variant::Clone => self.assign_clone(rsc, prefer, stop_if_fail),
            Variant::Bundle => self.assign_bundle(rsc, prefer, stop_if_fail),
        }
    }

    fn assign_primitive(
        &mut self,
        rsc: RscIx,
        prefer: Option<NodeIx>,
        stop_if_fail: bool,
    ) -> Option<NodeIx> {
        if let Some(parent) = self[rsc].parent.filter(|p| !self[*p].is(rf::ASSIGNING)) {
            self.assign(parent, prefer, stop_if_fail);
        }
        if !self[rsc].is(rf::UNASSIGNED) {
            return self[rsc].assigned_node();
        }
        if self[rsc].is(rf::ASSIGNING) {
            return None;
        }
        self[rsc].set(rf::ASSIGNING);
        let (this_with, with_this) = (self.this_with(rsc), self.with_this(rsc));
        for mandatory in [true, false] {
            let fits = |ws: &Ws, c: usize| (ws.colocs[c].score.abs() >= INFINITY) == mandatory;
            for coloc in &this_with {
                if fits(self, *coloc) {
                    self.apply_this_with(*coloc, rsc);
                }
            }
            for coloc in &with_this {
                if fits(self, *coloc) {
                    self.add_dependent_scores(*coloc, rsc);
                }
            }
        }
        let freeze = !self.config.quorate && self.config.no_quorum == NoQuorumPolicy::Freeze;
        if self[rsc].next_role == Role::Stopped {
            self.resource_location(rsc, None, -INFINITY, Reason::TargetRole);
        } else if self[rsc].next_role > self[rsc].orig_role && freeze {
            let role = self[rsc].orig_role;
            self.set_next_role(rsc, role);
        }
        self.show_scores(rsc, "primitive");
        if self.config.fencing_enabled && !self.config.have_fencing {
            self[rsc].clear(rf::MANAGED);
        }
        if !self[rsc].is(rf::MANAGED) {
            let role = self[rsc].orig_role;
            self.set_next_role(rsc, role);
            let current = self.current_node(rsc);
            self.assign_to(rsc, current, true, stop_if_fail);
            // It is there whatever its row says, so what counts for others is the node's own score.
            let score = current.map_or(0, |node| self[node].base.score);
            if let Some(assigned) = &mut self[rsc].assigned {
                assigned.score = score;
            }
        } else if self.config.stop_all {
            self.assign_to(rsc, None, true, stop_if_fail);
        } else {
            self.assign_best(rsc, prefer, stop_if_fail);
        }
        self[rsc].clear(rf::ASSIGNING);
        if self[rsc].is(rf::REMOTE_CONNECTION) {
            self.connection_assigned(rsc);
        }
        self[rsc].assigned_node()
    }

    fn apply_this_with(&mut self, coloc: usize, rsc: RscIx) {
        let c = &self.colocs[coloc];
        let (primary, score, role) = (c.primary, c.score, c.dependent_role);
        let may_fail = role >= Role::Promoted || (score < 0 && score > -INFINITY);
        let saved = may_fail.then(|| self[rsc].allowed.clone());
        if self[primary].is(rf::UNASSIGNED) {
            self.assign(primary, None, true);
        }
        self.apply_coloc(rsc, primary, coloc, true);
        if let Some(row) = saved.filter(|_| !self.any_available(&self[rsc].allowed)) {
            self[rsc].allowed = row;
        }
    }

    fn assign_best(&mut self, rsc: RscIx, prefer: Option<NodeIx>, stop_if_fail: bool) {
        let most_free = self.ban_insufficient_capacity(rsc);
        let prefer = prefer.or(most_free);
        if !self[rsc].is(rf::UNASSIGNED) {
            return;
        }
        let current = self.current_node(rsc);
        let best = self.best_node(&self[rsc].allowed, current);
        let score = |ws: &Ws, n: NodeIx| ws[rsc].allowed.score(n).unwrap_or(-INFINITY);
        let mut chosen = prefer.zip(best).and_then(|(prefer, best)| {
            self[rsc].allowed.get(prefer)?;
            let suits = score(self, prefer) >= score(self, best)
                && self.available_at(prefer, score(self, prefer));
            suits.then_some(prefer)
        });
        if chosen.is_none() {
            chosen = best;
            let unique = self.is_unique_clone(self[rsc].parent);
            if let Some(best) =
                best.filter(|b| !unique && score(self, *b) > 0 && self.available(*b))
            {
                // Among equals it stays where it is.
                let running = current.filter(|r| self.available_at(*r, self[*r].base.score));
                let equal = |n: &NodeIx| self[rsc].allowed.score(*n) == Some(score(self, best));
                chosen = running.filter(equal).or(chosen);
            }
        }
        self.assign_to(rsc, chosen, false, stop_if_fail);
    }

    fn connection_assigned(&mut self, rsc: RscIx) {
        let id = self[rsc].id.clone();
        let Some(node) = self.find_node(&id) else { return };
        if self[rsc].assigned.is_some() && self[rsc].next_role != Role::Stopped {
            self[node].online = true;
            if !self[node].seen {
                self[node].unclean = false;
            }
        } else {
            self[node].shutdown = true;
        }
    }

    /// Puts a resource with all its parts on a node, or nowhere. Says whether that is new.
    pub(crate) fn assign_to(
        &mut self,
        rsc: RscIx,
        node: Option<NodeIx>,
        force: bool,
        stop_if_fail: bool,
    ) -> bool {
        if !self[rsc].children.is_empty() {
            let mut changed = false;
            for child in self[rsc].children.clone() {
                changed |= self.assign_to(child, node, force, stop_if_fail);
            }
            return changed;
        }
        let mut node = node;
        let score = node.and_then(|n| self[rsc].allowed.score(n));
        if let Some(n) = node.filter(|_| !force) {
            let score = score.unwrap_or(self[n].base.score);
            if score < 0 || (!self.available_at(n, score) && !self.is_guest(n)) {
                if stop_if_fail {
                    self.set_next_role(rsc, Role::Stopped);
                }
                node = None;
            }
        }
        let changed = match self[rsc].assigned_node() {
            Some(old) => Some(old) != node,
            None => node.is_some(),
        };
        self.unassign(rsc);
        self[rsc].clear(rf::UNASSIGNED);
        match node {
            Some(n) => {
                let score = score.unwrap_or(self[n].base.score);
                self[rsc].assigned = Some(Assigned { node: n, score });
                self[n].num_resources += 1;
                self.use_capacity(n, rsc, -1);
                self.show_use(rsc, n);
            }
            None if stop_if_fail => {
                self.set_next_role(rsc, Role::Stopped);
                self.block_unassigned(rsc);
            }
            None => {}
        }
        changed
    }

    /// Without a node nothing but a stop can happen.
    fn block_unassigned(&mut self, rsc: RscIx) {
        for at in 0..self[rsc].actions.len() {
            let action = self[rsc].actions[at];
            match self[action].task {
                task::STOP => self[action].clear(af::OPTIONAL),
                task::START => self[action].clear(af::RUNNABLE),
                _ => {
                    let a = &self[action];
                    let recurs = a.meta.get("interval").is_some_and(|i| i != "0");
                    if recurs && a.meta.get("op_target_rc") != Some("7") {
                        self[action].clear(af::RUNNABLE);
                    }
                }
            }
        }
    }

    pub(crate) fn unassign(&mut self, rsc: RscIx) {
        self[rsc].set(rf::UNASSIGNED);
        if self[rsc].children.is_empty() {
            if let Some(old) = self[rsc].assigned.take() {
                self[old.node].num_resources -= 1;
                self.use_capacity(old.node, rsc, 1);
            }
            return;
        }
        for child in self[rsc].children.clone() {
            self.unassign(child);
        }
    }
}
