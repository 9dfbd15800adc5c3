//! Relations between actions that exist, and between ones that are still to be made.

use cib_model::Role;
use smallvec::smallvec;

use crate::base::{ActionIx, Ordering, Rel, RscIx, Sym, Ws, af, ar, rf, task};

impl Ws {
    /// Relates two actions. Says whether that is new.
    pub(crate) fn order_actions(
        &mut self,
        first: Option<ActionIx>,
        then: Option<ActionIx>,
        flags: u32,
    ) -> bool {
        let (Some(first), Some(then)) = (first, then) else { return false };
        if flags == ar::NONE {
            return false;
        }
        let known = |list: &[Rel], other: ActionIx| {
            list.iter().any(|r| r.action == other && r.flags & flags != 0)
        };
        // Flags at the other end may have been spent since, so only this end counts. But what is not
        // at the other end at all is not here either, and a fence has hundreds of relations here.
        let (after, before) = (&self[first].after, &self[then].before);
        let new = before.len() < after.len() && !before.iter().any(|rel| rel.action == first);
        if !new && known(after, then) {
            return false;
        }
        self[first].after.push(Rel { action: then, flags, graphed: false });
        self[then].before.push(Rel { action: first, flags, graphed: false });
        true
    }

    /// Adds a relation of actions that may not exist yet.
    pub(crate) fn new_ordering(&mut self, order: Ordering) {
        let mut order = order;
        order.rsc1 = order.rsc1.or_else(|| order.action1.and_then(|a| self[a].rsc));
        order.rsc2 = order.rsc2.or_else(|| order.action2.and_then(|a| self[a].rsc));
        let name = |ws: &Ws, a: ActionIx| (ws[a].name, ws[a].interval);
        order.key1 = order.key1.or_else(|| order.action1.map(|a| name(self, a)));
        order.key2 = order.key2.or_else(|| order.action2.map(|a| name(self, a)));
        self.orderings.push(order.clone());
        self.order_migration_equivalents(&order);
    }

    /// First `name1` of one resource, then `name2` of another.
    pub(crate) fn order_rscs(
        &mut self,
        rsc1: RscIx,
        name1: Sym,
        rsc2: RscIx,
        name2: Sym,
        flags: u32,
    ) {
        self.new_ordering(Ordering {
            flags,
            rsc1: Some(rsc1),
            key1: Some((name1, 0)),
            action1: None,
            rsc2: Some(rsc2),
            key2: Some((name2, 0)),
            action2: None,
        });
    }

    pub(crate) fn order_key_then(&mut self, rsc: RscIx, name: Sym, then: ActionIx, flags: u32) {
        self.new_ordering(Ordering {
            flags,
            rsc1: Some(rsc),
            key1: Some((name, 0)),
            action1: None,
            rsc2: None,
            key2: None,
            action2: Some(then),
        });
    }

    pub(crate) fn order_action_then_key(
        &mut self,
        first: ActionIx,
        rsc: RscIx,
        name: Sym,
        flags: u32,
    ) {
        self.new_ordering(Ordering {
            flags,
            rsc1: None,
            key1: None,
            action1: Some(first),
            rsc2: Some(rsc),
            key2: Some((name, 0)),
            action2: None,
        });
    }

    pub(crate) fn order_both(&mut self, first: ActionIx, then: ActionIx, flags: u32) {
        self.new_ordering(Ordering {
            flags,
            rsc1: None,
            key1: None,
            action1: Some(first),
            rsc2: None,
            key2: None,
            action2: Some(then),
        });
    }

    /// What is ordered with starts and stops holds for migrations too.
    fn order_migration_equivalents(&mut self, order: &Ordering) {
        let (Some(r1), Some(r2)) = (order.rsc1, order.rsc2) else { return };
        if r1 == r2 || self.is_parent(r1, r2) || self.is_parent(r2, r1) {
            return;
        }
        let (first_can, then_can) = (self[r1].is(rf::MIGRATABLE), self[r2].is(rf::MIGRATABLE));
        if !first_can && !then_can {
            return;
        }
        let first = order.action1.map(|a| self[a].task).or(order.key1.map(|k| k.0));
        let then = order.action2.map(|a| self[a].task).or(order.key2.map(|k| k.0));
        let (Some(first), Some(then)) = (first, then) else { return };
        let unless_migrated = ar::ORDERED | if first_can { ar::IF_FIRST_UNMIGRATABLE } else { 0 };
        let (to, from) = (task::MIGRATE_TO, task::MIGRATE_FROM);
        let partial = self[r2].partial_target.is_some();
        match (first, then) {
            (task::START, task::START) => {
                if first_can && then_can {
                    self.order_rscs(r1, from, r2, to, ar::ORDERED);
                }
                if then_can {
                    self.order_rscs(r1, task::START, r2, to, unless_migrated);
                }
            }
            (task::STOP, task::STOP) if then_can => {
                self.order_rscs(r1, task::STOP, r2, to, unless_migrated);
                if partial {
                    self.order_rscs(r1, task::STOP, r2, from, unless_migrated);
                }
            }
            (task::PROMOTE, task::START) if then_can => {
                self.order_rscs(r1, task::PROMOTE, r2, to, ar::ORDERED);
            }
            (task::DEMOTE, task::STOP) if then_can => {
                self.order_rscs(r1, task::DEMOTE, r2, to, ar::ORDERED);
                if partial {
                    self.order_rscs(r1, task::DEMOTE, r2, from, ar::ORDERED);
                }
            }
            _ => {}
        }
    }

    /// Turns all relations into ones of actions, and works them out.
    pub(crate) fn apply_orderings(&mut self) {
        let mut orderings = std::mem::take(&mut self.orderings);
        for order in &orderings {
            match (order.rsc1, order.rsc2) {
                (Some(rsc), _) => self.apply_from_rsc(rsc, order),
                (None, Some(rsc)) => self.order_after(order.action1, rsc, order),
                (None, None) => {
                    self.order_actions(order.action1, order.action2, order.flags);
                }
            }
        }
        for at in (0..self.actions.len()).rev() {
            self.block_colocation_dependents(ActionIx(at as u32));
        }
        orderings.append(&mut self.orderings);
        self.order_probes(&orderings);
        drop(orderings);
        for at in (0..self.actions.len()).rev() {
            self.update_for_orderings(ActionIx(at as u32));
        }
        self.disable_invalid_orderings();
    }

    fn apply_from_rsc(&mut self, rsc: RscIx, order: &Ordering) {
        let Some((name, interval)) = order.key1 else { return };
        let mut firsts = match order.action1 {
            Some(action) => smallvec![action],
            None => self.find_actions(rsc, name, interval, None),
        };
        if firsts.is_empty() && Some(rsc) != order.rsc2 {
            let role = self.state(rsc, true);
            let moot = (role == Role::Stopped && name == task::STOP)
                || (role == Role::Unpromoted && name == task::DEMOTE);
            if !moot {
                firsts.push(self.rsc_action(rsc, name, interval, name, None, true));
            }
        }
        let then_rsc = order.rsc2.or_else(|| order.action2.and_then(|a| self[a].rsc));
        for first in firsts {
            match then_rsc {
                None => {
                    self.order_actions(Some(first), order.action2, order.flags);
                }
                Some(then) => self.order_after(Some(first), then, order),
            }
        }
    }

    fn order_after(&mut self, first: Option<ActionIx>, rsc: RscIx, order: &Ordering) {
        let thens = match (order.action2, order.key2) {
            (Some(action), _) => smallvec![action],
            (None, Some((name, interval))) => self.find_actions(rsc, name, interval, None),
            _ => return,
        };
        let mut flags = order.flags;
        let aborts =
            first.is_some_and(|f| self[f].rsc == Some(rsc) && self[f].is(af::MIGRATION_ABORT));
        if aborts {
            flags &= !ar::FIRST_IMPLIES_THEN;
        }
        if first.is_none() && flags & ar::FIRST_IMPLIES_THEN == 0 {
            return;
        }
        for then in thens {
            match first {
                Some(first) => {
                    self.order_actions(Some(first), Some(then), flags);
                }
                None => self[then].clear(af::RUNNABLE),
            }
        }
    }

    /// Drops relations that cannot hold.
    fn disable_invalid_orderings(&mut self) {
        for at in (0..self.actions.len()).rev() {
            let action = ActionIx(at as u32);
            for i in (0..self[action].before.len()).rev() {
                if self.is_invalid(action, i) {
                    self[action].before[i].flags = ar::NONE;
                }
            }
        }
    }

    fn is_invalid(&mut self, action: ActionIx, i: usize) -> bool {
        let input = self[action].before[i];
        let rsc = self[action].rsc;
        let first = &self[input.action];
        // What makes a guest node cannot wait for something on that node.
        let on_own_guest = first.rsc.is_some()
            && rsc.is_some_and(|r| {
                !self[r].launched.is_empty()
                    && first.node.and_then(|n| self[n].remote).and_then(|c| self[c].launcher)
                        == Some(r)
            });
        if input.flags & ar::GUEST_ALLOWED == 0 && on_own_guest {
            return true;
        }
        input.flags == ar::IF_ON_SAME_NODE_OR_TARGET
            && rsc.is_some()
            && self[action].task == task::MIGRATE_TO
            && self.graph_has_loop(action, action, i)
    }
}
