//! Recurring actions: which to start, and which to cancel.

use cib_model::{Role, Str};

use crate::base::{ActionIx, NodeIx, Ordering, RscIx, Sym, Ws, af, ar, rf, task};

/// A recurring operation as configured.
struct Recurring {
    name: Sym,
    interval: u32,
    role: Role,
}

impl Ws {
    /// The operation, if it is one that may recur.
    fn as_recurring(&mut self, rsc: RscIx, at: usize) -> Option<Recurring> {
        let def = self[rsc].def.clone();
        let op = &def.ops[at];
        if op.interval_ms == 0 {
            return None;
        }
        let id: &Str = op.id.as_ref().filter(|i| !i.is_empty())?;
        let once = [
            task::STOP,
            task::START,
            task::DEMOTE,
            task::PROMOTE,
            task::RELOAD_AGENT,
            task::MIGRATE_TO,
            task::MIGRATE_FROM,
        ];
        let name = self.names.intern(&op.name);
        if once.contains(&name) {
            self.error(format!("Ignoring {id} because {} action cannot be recurring", op.name));
            return None;
        }
        let same = def
            .ops
            .iter()
            .filter(|o| o.name == op.name && o.interval_ms == op.interval_ms && o.id.is_some());
        if same.count() > 1 {
            let text = "(do not use same name and interval combination more than once)";
            self.error(format!("Operation {id} is duplicate {text}"));
            return None;
        }
        let role = match op.role.as_deref() {
            None => Role::Unknown,
            Some(text) => match Role::parse(text) {
                Some(role) => role,
                None => {
                    self.error(format!("Ignoring {id} role because {text} is not a valid role"));
                    return None;
                }
            },
        };
        self.action_config(rsc, &op.name, op.interval_ms, false)?;
        Some(Recurring { name, interval: op.interval_ms, role })
    }

    /// Makes a resource's recurring actions.
    pub(crate) fn recurring_actions(&mut self, rsc: RscIx) {
        if self[rsc].any(rf::BLOCKED | rf::MAINTENANCE) {
            return;
        }
        let node = self[rsc].assigned_node();
        let wanted = self[rsc].next_role != Role::Stopped || !self[rsc].is(rf::MANAGED);
        let start = match node {
            Some(n) if !self[n].maintenance && wanted => Some(self.start_action(rsc, node, true)),
            _ => None,
        };
        for at in 0..self[rsc].def.ops.len() {
            let Some(op) = self.as_recurring(rsc, at) else { continue };
            if let (Some(start), Some(node)) = (start, node) {
                self.recurring_active(rsc, start, node, &op);
            }
            self.recurring_inactive(rsc, node, &op);
        }
    }

    fn goes_on(&mut self, rsc: RscIx, node: NodeIx, op: &Recurring, start: ActionIx) -> bool {
        if self.action_flags(start, None) & af::OPTIONAL == 0 {
            return false;
        }
        let known = self.actions_exact(rsc, op.name, op.interval, node);
        !known.is_empty() && !known.iter().any(|a| self[*a].is(af::RESCHEDULE))
    }

    fn recurring_active(&mut self, rsc: RscIx, start: ActionIx, node: NodeIx, op: &Recurring) {
        if op.role == Role::Stopped {
            return;
        }
        let optional = self.goes_on(rsc, node, op, start);
        let next = self[rsc].next_role;
        let fits = match op.role {
            Role::Unknown => next != Role::Promoted,
            role => next == role,
        };
        if !fits {
            if optional {
                self.cancel_for_role(rsc, node, op);
            }
            return;
        }
        let monitor = self.rsc_action(rsc, op.name, op.interval, op.name, Some(node), optional);
        if !self[start].is(af::RUNNABLE) || !self[node].online || self[node].unclean {
            self[monitor].clear(af::RUNNABLE);
        }
        if next == Role::Promoted {
            self.expect_result(monitor, 8);
        }
        if !self[rsc].is(rf::MANAGED) {
            return;
        }
        let implied = ar::FIRST_IMPLIES_THEN | ar::UNRUNNABLE_FIRST_BLOCKS;
        self.order_key_then(rsc, task::START, monitor, implied);
        self.order_key_then(rsc, task::RELOAD_AGENT, monitor, implied);
        let after = ar::ORDERED | ar::UNRUNNABLE_FIRST_BLOCKS;
        if next == Role::Promoted {
            self.order_key_then(rsc, task::PROMOTE, monitor, after);
        } else if self[rsc].orig_role == Role::Promoted {
            self.order_key_then(rsc, task::DEMOTE, monitor, after);
        }
    }

    /// A monitor for another role than the coming one ends before the role changes.
    fn cancel_for_role(&mut self, rsc: RscIx, node: NodeIx, op: &Recurring) {
        let cancel = self.cancel_action(rsc, op.name, op.interval, node);
        let before = match (self[rsc].orig_role, self[rsc].next_role) {
            (Role::Unpromoted | Role::Started, Role::Promoted) => task::PROMOTE,
            (Role::Unpromoted | Role::Started, Role::Stopped) => task::STOP,
            (Role::Promoted, _) => task::DEMOTE,
            _ => return,
        };
        self.order_action_then_key(cancel, rsc, before, ar::UNRUNNABLE_FIRST_BLOCKS);
    }

    /// Monitors that make sure that a resource does not run where it should not.
    fn recurring_inactive(&mut self, rsc: RscIx, node: Option<NodeIx>, op: &Recurring) {
        if op.role != Role::Stopped || !self[rsc].is(rf::UNIQUE) {
            return;
        }
        for other in self.node_order.clone() {
            if node == Some(other) {
                if self.actions_exact(rsc, op.name, op.interval, other).is_empty() {
                    continue;
                }
                let cancel = self.cancel_action(rsc, op.name, op.interval, other);
                if matches!(self[rsc].next_role, Role::Started | Role::Unpromoted) {
                    let flags = ar::UNRUNNABLE_FIRST_BLOCKS;
                    self.order_action_then_key(cancel, rsc, task::START, flags);
                }
                continue;
            }
            let optional = !self.actions_exact(rsc, op.name, op.interval, other).is_empty();
            let monitor =
                self.rsc_action(rsc, op.name, op.interval, op.name, Some(other), optional);
            self.expect_result(monitor, 7);
            if self[rsc].is(rf::MANAGED) {
                for probe in self.actions_of(rsc, Some(other), task::MONITOR) {
                    self.order_actions(Some(probe), Some(monitor), ar::UNRUNNABLE_FIRST_BLOCKS);
                }
            }
            self.order_after_stops(rsc, other, monitor);
            if !self[other].online || self[other].unclean {
                self[monitor].clear(af::RUNNABLE);
            }
        }
    }

    fn order_after_stops(&mut self, rsc: RscIx, node: NodeIx, monitor: ActionIx) {
        let managed = self[rsc].is(rf::MANAGED);
        for stop in self.actions_exact(rsc, task::STOP, 0, node) {
            if !self[stop].is(af::OPTIONAL) && !managed {
                self[monitor].set(af::OPTIONAL);
            }
            if !self[stop].is(af::RUNNABLE) {
                self[monitor].clear(af::RUNNABLE);
            }
            if managed {
                let flags = ar::FIRST_IMPLIES_THEN | ar::UNRUNNABLE_FIRST_BLOCKS;
                self.order_both(stop, monitor, flags);
            }
        }
    }

    /// Ends a recurring action.
    pub(crate) fn cancel_action(
        &mut self,
        rsc: RscIx,
        name: Sym,
        interval: u32,
        node: NodeIx,
    ) -> ActionIx {
        let cancel = self.rsc_action(rsc, name, interval, task::CANCEL, Some(node), false);
        let text = self.names.text(name).clone();
        let a = &mut self[cancel];
        a.task = task::CANCEL;
        a.cancel_task = Some(name);
        a.meta.set("operation", &text);
        a.meta.set("interval", &interval.to_string());
        cancel
    }

    /// Ends a recurring action that is no longer configured; the executor knows it by call.
    pub(crate) fn schedule_cancel(
        &mut self,
        rsc: RscIx,
        call: i32,
        name: Sym,
        interval: u32,
        node: NodeIx,
    ) {
        let cancel = self.cancel_action(rsc, name, interval, node);
        self[cancel].meta.set("call-id", &call.to_string());
        self.new_ordering(Ordering {
            flags: ar::ORDERED,
            rsc1: Some(rsc),
            key1: Some((task::STOP, 0)),
            action1: None,
            rsc2: Some(rsc),
            key2: None,
            action2: Some(cancel),
        });
    }

    pub(crate) fn reschedule(&mut self, rsc: RscIx, name: Sym, interval: u32, node: NodeIx) {
        self.trigger_unfencing(Some(rsc), Some(node), "Device parameters changed (reschedule)");
        let op = self.rsc_action(rsc, name, interval, name, Some(node), true);
        self[op].set(af::RESCHEDULE);
    }
}
