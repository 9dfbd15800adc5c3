//! What relations do to the flags of the actions that they relate.

use cib_model::Role;

use super::variants::Changed;
use crate::base::{ActionIx, NodeIx, Ws, af, ar, rf, task};

/// Relations are worked out recursively; a plan in which that goes deeper than this is one in
/// which actions take turns in changing each other.
const DEPTH_MAX: u32 = 2000;

/// Kinds of relations in the order in which they are worked out, with the flags of the first
/// action that count and the flags that may change.
const STEPS: [(u32, u32, u32); 11] = [
    (ar::FIRST_IMPLIES_THEN, af::OPTIONAL, af::OPTIONAL),
    (ar::INTERMEDIATE_STOP, u32::MAX, af::OPTIONAL | af::RUNNABLE),
    (ar::THEN_IMPLIES_FIRST, u32::MAX, af::OPTIONAL),
    (ar::PROMOTED_THEN_IMPLIES_FIRST, af::OPTIONAL, af::OPTIONAL),
    (ar::MIN_RUNNABLE, u32::MAX, af::RUNNABLE),
    (ar::NESTED_REMOTE_PROBE, u32::MAX, af::RUNNABLE),
    (ar::UNRUNNABLE_FIRST_BLOCKS, u32::MAX, af::RUNNABLE),
    (ar::UNMIGRATABLE_THEN_BLOCKS, u32::MAX, af::OPTIONAL),
    (ar::FIRST_ELSE_THEN, u32::MAX, af::OPTIONAL),
    (ar::ORDERED, u32::MAX, af::RUNNABLE),
    (ar::ASYMMETRIC, u32::MAX, af::RUNNABLE),
];

impl Ws {
    /// An action's flags, for collective resources as they follow from their parts.
    fn flags_for_ordering(&mut self, action: ActionIx, node: Option<NodeIx>) -> u32 {
        let Some(rsc) = self[action].rsc else { return self[action].flags };
        let flags = self.action_flags(action, None);
        if node.is_none() || !self.is_clone(rsc) {
            return flags;
        }
        let runnable = flags & af::RUNNABLE;
        self.action_flags(action, node) | runnable
    }

    /// For collective resources the marker that the action is complete.
    fn action_for_ordering(&self, action: ActionIx) -> ActionIx {
        let a = &self[action];
        let Some(rsc) = a.rsc.filter(|r| !self.is_primitive(*r)) else { return action };
        if self.names.text(a.name).contains("notify") || a.interval > 0 {
            return self.first_named(rsc, a.name, a.interval, None).unwrap_or(action);
        }
        let Some(done) = a.name.completed() else {
            return self.first_named(rsc, a.name, a.interval, None).unwrap_or(action);
        };
        let notifies = self[rsc].is(rf::NOTIFY) && (self.is_clone(rsc) || self.is_bundled(rsc));
        let found = if notifies {
            let text = format!("confirmed-post_notify_{}", self.names.text(done));
            self[rsc]
                .actions
                .iter()
                .rev()
                .copied()
                .find(|x| **self.names.text(self[*x].name) == *text)
        } else {
            self.first_named(rsc, done, 0, None)
        };
        found.unwrap_or(action)
    }

    /// Works out all relations of which `then` is the second.
    pub(crate) fn update_for_orderings(&mut self, then: ActionIx) {
        if self.depth > DEPTH_MAX {
            return;
        }
        self.depth += 1;
        self.update_once(then);
        self.depth -= 1;
    }

    fn update_once(&mut self, then: ActionIx) {
        let last_flags = self[then].flags;
        let mut changed = Changed::default();
        let counts = self[then].required_runnable_before > 0;
        if counts {
            self[then].runnable_before = 0;
            self[then].clear(af::RUNNABLE);
        }
        for i in (0..self[then].before.len()).rev() {
            changed.first = false;
            let Some(first) = self.apply_relation(then, i, &mut changed) else { continue };
            if changed.first {
                for k in (0..self[first].after.len()).rev() {
                    let other = self[first].after[k].action;
                    self.update_for_orderings(other);
                }
                self.update_for_orderings(first);
            }
        }
        if counts {
            changed.then = last_flags != self[then].flags;
        }
        if changed.then {
            if last_flags & af::RUNNABLE != 0 && !self[then].is(af::RUNNABLE) {
                self.block_colocation_dependents(then);
            }
            self.update_for_orderings(then);
            for k in (0..self[then].after.len()).rev() {
                let other = self[then].after[k].action;
                self.update_for_orderings(other);
            }
        }
    }

    /// Works one relation out; gives the first action, unless the relation does not apply.
    fn apply_relation(
        &mut self,
        then: ActionIx,
        i: usize,
        changed: &mut Changed,
    ) -> Option<ActionIx> {
        let rel = self[then].before[i];
        let mut first = rel.action;
        let first_node = self.node_for_ordering(first);
        let then_node = self.node_for_ordering(then);
        if rel.flags & ar::IF_ON_SAME_NODE != 0
            && first_node.is_some()
            && then_node.is_some()
            && first_node != then_node
        {
            self[then].before[i].flags = ar::NONE;
            return None;
        }
        let (first_rsc, then_rsc) = (self[first].rsc, self[then].rsc);
        if first_rsc.is_some()
            && rel.flags & ar::THEN_CANCELS_FIRST != 0
            && !self[then].is(af::OPTIONAL)
        {
            self[first].set(af::OPTIONAL);
            if let Some(rsc) = first_rsc.filter(|_| self[first].task == task::RELOAD_AGENT) {
                self[rsc].clear(rf::RELOAD);
            }
        }
        if let (Some(r1), Some(r2)) = (first_rsc, then_rsc)
            && r1 != r2
            && !self.is_parent(r2, r1)
        {
            first = self.action_for_ordering(first);
        }
        if first == rel.action {
            let first_flags = self.flags_for_ordering(first, then_node);
            let then_flags = self.flags_for_ordering(then, first_node);
            changed.add(self.update_by_flags(first, then, first_flags, then_flags, i));
        } else if self.order_actions(Some(first), Some(then), rel.flags) {
            changed.then = true;
            self[then].before[i].flags = ar::NONE;
        }
        Some(first)
    }

    fn node_for_ordering(&self, action: ActionIx) -> Option<NodeIx> {
        let a = &self[action];
        match a.rsc {
            Some(rsc) if self.is_group(rsc) && a.task == task::START => {
                self.location(rsc, crate::base::Where::Assigned)
            }
            _ => a.node,
        }
    }

    fn update_by_flags(
        &mut self,
        first: ActionIx,
        then: ActionIx,
        first_flags: u32,
        then_flags: u32,
        i: usize,
    ) -> Changed {
        let mut changed = Changed::default();
        let mut node = self[then].node;
        let mut flags = self[then].before[i].flags;
        if flags & ar::FIRST_IMPLIES_SAME_NODE_THEN != 0 {
            flags = (flags & !ar::FIRST_IMPLIES_SAME_NODE_THEN) | ar::FIRST_IMPLIES_THEN;
            self[then].before[i].flags = flags;
            node = self[first].node;
        }
        let (then_rsc, first_rsc) = (self[then].rsc, self[first].rsc);
        let optional = first_flags & af::OPTIONAL != 0;
        for &(kind, given, filter) in &STEPS {
            if flags & kind == 0 {
                continue;
            }
            let given = first_flags & given;
            let owner = if kind == ar::THEN_IMPLIES_FIRST { first_rsc } else { then_rsc };
            let Some(owner) = owner else {
                changed.add(self.update_unowned(first, then, first_flags, kind));
                continue;
            };
            let mut kind = kind;
            if kind == ar::NESTED_REMOTE_PROBE {
                let runnable = first_flags & af::RUNNABLE != 0;
                if !runnable && first_rsc.is_some_and(|r| !self[r].active.is_empty()) {
                    self[then].before[i].flags = ar::NONE;
                    flags = ar::NONE;
                    continue;
                }
                kind = ar::UNRUNNABLE_FIRST_BLOCKS;
            }
            changed.add(self.update_ordered(owner, first, then, node, given, filter, kind));
        }
        if self[first].is(af::RUNNABLE) && flags & ar::FIRST_IMPLIES_THEN_GRAPHED != 0 && !optional
        {
            self[then].set(af::ALWAYS_IN_GRAPH);
        }
        if flags & ar::THEN_IMPLIES_FIRST_GRAPHED != 0 && then_flags & af::OPTIONAL == 0 {
            self[first].set(af::ALWAYS_IN_GRAPH);
        }
        let needs = ar::FIRST_IMPLIES_THEN | ar::THEN_IMPLIES_FIRST | ar::INTERMEDIATE_STOP;
        let stuck = first_rsc.is_some_and(|r| !self[r].is(rf::MANAGED) && self[r].is(rf::BLOCKED))
            && !self[first].is(af::RUNNABLE)
            && self[first].task == task::STOP;
        if flags & needs != 0 && stuck && self[then].is(af::RUNNABLE) {
            self[then].clear(af::RUNNABLE);
            changed.then = true;
        }
        changed
    }

    /// What a relation does to an action of no resource.
    fn update_unowned(
        &mut self,
        first: ActionIx,
        then: ActionIx,
        first_flags: u32,
        kind: u32,
    ) -> Changed {
        let mut changed = Changed::default();
        let optional = first_flags & af::OPTIONAL != 0;
        let runnable = first_flags & af::RUNNABLE != 0;
        match kind {
            ar::FIRST_IMPLIES_THEN if !optional && self[then].is(af::OPTIONAL) => {
                self[then].clear(af::OPTIONAL);
                changed.then = true;
            }
            ar::THEN_IMPLIES_FIRST if !optional && self[first].is(af::RUNNABLE) => {
                self[first].clear(af::RUNNABLE);
                changed.first = true;
            }
            ar::MIN_RUNNABLE if runnable => {
                let a = &mut self[then];
                a.runnable_before += 1;
                if a.runnable_before >= a.required_runnable_before && !a.is(af::RUNNABLE) {
                    a.set(af::RUNNABLE);
                    changed.then = true;
                }
            }
            ar::UNRUNNABLE_FIRST_BLOCKS if !runnable && self[then].is(af::RUNNABLE) => {
                self[then].clear(af::RUNNABLE);
                changed.then = true;
            }
            _ => {}
        }
        changed
    }

    /// Clears a flag and says why, where the cause is another resource.
    fn clear_because(&mut self, action: ActionIx, flag: u32, cause: ActionIx) {
        if !self[action].is(flag) {
            return;
        }
        self[action].clear(flag);
        if self[action].rsc != self[cause].rsc {
            let change = match flag {
                af::RUNNABLE => "unrunnable",
                af::MIGRATABLE => "unmigrateable",
                _ => "required",
            };
            let task = self.names.text(self[cause].task);
            let reason = match self[cause].rsc {
                Some(rsc) => format!("{change} {} {task}", self[rsc].id),
                None => format!("{change} {task}"),
            };
            self.set_reason(action, Some(&reason), false);
        }
    }

    fn asymmetric(&mut self, first: ActionIx, then: ActionIx) {
        let Some(rsc) = self[then].rsc else { return };
        if self[first].is(af::RUNNABLE) {
            return;
        }
        if self[then].is(af::OPTIONAL) {
            let role = self.state(rsc, true);
            let name = self[then].task;
            let only_there = self[rsc].active.len() == 1
                && self[then].node.is_some_and(|n| self[rsc].active[0] == n);
            if (role == Role::Stopped && name == task::STOP)
                || (role >= Role::Started && name == task::START && only_there)
            {
                return;
            }
        }
        self.clear_because(then, af::OPTIONAL, first);
        self.clear_because(then, af::RUNNABLE, first);
    }

    fn restart(&mut self, first: ActionIx, then: ActionIx, filter: u32) {
        let same = self[first].rsc == self[then].rsc;
        let managed = self[then].rsc.is_some_and(|r| self[r].is(rf::MANAGED));
        let required = filter & af::OPTIONAL != 0 && !self[then].is(af::OPTIONAL);
        let stop = filter & af::RUNNABLE != 0 && !self[then].is(af::RUNNABLE) && managed && same;
        if !required && !stop {
            return;
        }
        if self[first].is(af::RUNNABLE) {
            self.clear_because(first, af::OPTIONAL, then);
        }
        if !self[then].is(af::OPTIONAL) {
            self.clear_because(first, af::OPTIONAL, then);
        }
        if !self[then].is(af::MIGRATABLE) {
            self.clear_because(first, af::MIGRATABLE, then);
        }
        if !self[first].is(af::OPTIONAL) && !self[first].is(af::RUNNABLE) {
            self.clear_because(then, af::RUNNABLE, first);
        }
    }

    /// Works one kind of relation of two actions out, whatever their resources are made of.
    pub(crate) fn update_plain(
        &mut self,
        first: ActionIx,
        then: ActionIx,
        flags: u32,
        filter: u32,
        kind: u32,
    ) -> Changed {
        let (then_before, first_before) = (self[then].flags, self[first].flags);
        let given = |flag: u32| flags & flag != 0;
        let filtered = |flag: u32| filter & flag != 0;
        let is = |ws: &Ws, action: ActionIx, flag: u32| ws[action].is(flag);
        match kind {
            ar::ASYMMETRIC => self.asymmetric(first, then),
            ar::THEN_IMPLIES_FIRST if then_before & af::OPTIONAL == 0 => {
                if filtered(af::OPTIONAL)
                    && !given(af::OPTIONAL)
                    && first_before & af::OPTIONAL != 0
                {
                    self.clear_because(first, af::OPTIONAL, then);
                }
                if given(af::MIGRATABLE) && !is(self, then, af::MIGRATABLE) {
                    self.clear_because(first, af::MIGRATABLE, then);
                }
            }
            ar::PROMOTED_THEN_IMPLIES_FIRST => {
                let promoted = self[then].rsc.is_some_and(|r| self[r].orig_role == Role::Promoted);
                if promoted && filtered(af::OPTIONAL) && !is(self, then, af::OPTIONAL) {
                    self.clear_because(first, af::OPTIONAL, then);
                    if is(self, first, af::MIGRATABLE) && !is(self, then, af::MIGRATABLE) {
                        self.clear_because(first, af::MIGRATABLE, then);
                    }
                }
            }
            ar::UNMIGRATABLE_THEN_BLOCKS if filtered(af::OPTIONAL) => {
                if !is(self, then, af::MIGRATABLE | af::RUNNABLE) {
                    self.clear_because(first, af::RUNNABLE, then);
                }
                if !is(self, then, af::OPTIONAL) {
                    self.clear_because(first, af::OPTIONAL, then);
                }
            }
            ar::FIRST_ELSE_THEN if filtered(af::OPTIONAL) && !is(self, first, af::RUNNABLE) => {
                self.clear_because(then, af::MIGRATABLE, first);
                self[then].clear(af::PSEUDO);
            }
            ar::UNRUNNABLE_FIRST_BLOCKS
                if filtered(af::RUNNABLE)
                    && is(self, then, af::RUNNABLE)
                    && !given(af::RUNNABLE) =>
            {
                self.clear_because(then, af::RUNNABLE, first);
                self.clear_because(then, af::MIGRATABLE, first);
            }
            ar::FIRST_IMPLIES_THEN
                if filtered(af::OPTIONAL)
                    && is(self, then, af::OPTIONAL)
                    && !given(af::OPTIONAL)
                    && !is(self, first, af::MIGRATABLE) =>
            {
                self.clear_because(then, af::OPTIONAL, first);
            }
            ar::INTERMEDIATE_STOP => self.restart(first, then, filter),
            _ => {}
        }
        let mut changed = Changed::default();
        if then_before != self[then].flags {
            changed.then = true;
            if self[then].rsc.is_some_and(|r| self[r].parent.is_some()) {
                self.update_for_orderings(then);
            }
        }
        if first_before != self[first].flags {
            changed.first = true;
        }
        changed
    }
}
