//! What an action in the graph waits for.

use crate::base::{ActionIx, Ws, af, ar, rf, task};

impl Ws {
    /// Leaves one relation for each first action, sorted by number.
    pub(crate) fn merge_inputs(&mut self, action: ActionIx) {
        let mut before = std::mem::take(&mut self[action].before);
        before.sort_by_key(|r| r.action);
        before.dedup_by(|rel, kept| {
            let same = rel.action == kept.action;
            if same {
                kept.flags |= rel.flags;
            }
            same
        });
        // Lists are gone through from their end.
        before.reverse();
        self[action].before = before;
        self[action].set(af::INPUTS_MERGED);
    }

    fn is_stop(&self, action: ActionIx) -> bool {
        let a = &self[action];
        a.rsc.is_some() && a.interval == 0 && self.names.ends_with(a.name, "stop")
    }

    /// Whether the action has to wait for its `i`th relation.
    pub(crate) fn input_counts(&mut self, action: ActionIx, i: usize) -> bool {
        let rel = self[action].before[i];
        if rel.graphed {
            return true;
        }
        let input = rel.action;
        let first = &self[input];
        let runnable = first.is(af::RUNNABLE);
        let plain = ar::THEN_IMPLIES_FIRST_GRAPHED | ar::FIRST_IMPLIES_THEN_GRAPHED | ar::ORDERED;
        let stop = self.is_stop(input);
        let has = |flag: u32| rel.flags & flag != 0;
        if rel.flags == ar::NONE
            || (!runnable && (rel.flags & !plain == 0 || has(ar::MIN_RUNNABLE)))
            || (has(ar::UNMIGRATABLE_THEN_BLOCKS) && !runnable)
            || (has(ar::IF_FIRST_UNMIGRATABLE) && first.is(af::MIGRATABLE))
            || (rel.flags == ar::ORDERED && first.is(af::MIGRATABLE) && stop)
        {
            return false;
        }
        let node = self[action].node;
        if rel.flags == ar::IF_ON_SAME_NODE_OR_TARGET {
            let migrates = self[action].task == task::MIGRATE_TO;
            let dropped = match self[action].rsc.filter(|_| migrates) {
                Some(rsc) => first.node.is_none() || first.node != self[rsc].assigned_node(),
                None => first.node.is_none() || first.node != node || first.is(af::OPTIONAL),
            };
            if dropped {
                self[action].before[i].flags = ar::NONE;
            }
            return !dropped;
        }
        if rel.flags == ar::IF_REQUIRED_ON_SAME_NODE {
            let elsewhere = first.node.is_some() && node.is_some() && first.node != node;
            if elsewhere || first.is(af::OPTIONAL) {
                self[action].before[i].flags = ar::NONE;
                return false;
            }
            return true;
        }
        // What failed and is not managed cannot hold up the stop of a clone.
        let stuck = first.rsc.is_some_and(|r| {
            self[action].rsc != Some(r) && self[r].is(rf::FAILED) && !self[r].is(rf::MANAGED)
        });
        if stuck && stop && self[action].rsc.is_some_and(|r| self.is_clone(r)) {
            return false;
        }
        !first.is(af::OPTIONAL)
            || first.any(af::ALWAYS_IN_GRAPH | af::ADDED_TO_GRAPH)
            || self.belongs_in_graph(input)
    }

    /// Whether `start` comes before itself by way of the `i`th relation of `action`.
    pub(crate) fn graph_has_loop(&mut self, start: ActionIx, action: ActionIx, i: usize) -> bool {
        let input = self[action].before[i].action;
        if self[input].is(af::DETECT_LOOP) || !self.input_counts(action, i) {
            return false;
        }
        if input == start {
            return true;
        }
        // Every action needs to be gone into only once.
        let mut seen = vec![input];
        let mut stack = vec![input];
        self[input].set(af::DETECT_LOOP);
        let mut found = false;
        'walk: while let Some(at) = stack.pop() {
            for k in (0..self[at].before.len()).rev() {
                let next = self[at].before[k].action;
                if self[next].is(af::DETECT_LOOP) || !self.input_counts(at, k) {
                    continue;
                }
                if next == start {
                    found = true;
                    break 'walk;
                }
                self[next].set(af::DETECT_LOOP);
                seen.push(next);
                stack.push(next);
            }
        }
        for action in seen {
            self[action].clear(af::DETECT_LOOP);
        }
        found
    }
}
