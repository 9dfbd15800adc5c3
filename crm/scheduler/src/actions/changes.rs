//! What changed in the configuration since operations were recorded.

use std::sync::Arc;

use cib_model::{ResourceHistory, Str};
use rustc_hash::FxHashMap;

use crate::base::{NodeIx, OpRef, RscIx, Sym, Ws, ar, rf, task};
use crate::status::Count;
use crate::status::digest::DigestMatch;

impl Ws {
    /// Compares all recorded operations with the configuration.
    pub(crate) fn handle_config_changes(&mut self) {
        let model = self.model.clone();
        let mut by_id = FxHashMap::default();
        for rsc in &self.top {
            self.index_ids(*rsc, &mut by_id);
        }
        for node in self.node_order.clone() {
            if !self[node].maintenance && !self.available(node) {
                continue;
            }
            let name = self[node].name.clone();
            let mut named = model
                .node_states
                .iter()
                .enumerate()
                .filter(|(_, s)| s.history.is_some() && s.name.as_deref() == Some(&*name));
            let (Some((at, state)), None) = (named.next(), named.next()) else { continue };
            for (r, entry) in state.history.iter().flatten().enumerate() {
                let Some(id) = entry.id().filter(|_| !entry.ops.is_empty()) else {
                    continue;
                };
                for rsc in by_id.get(id).into_iter().flatten().rev().copied() {
                    if self.is_primitive(rsc) {
                        self.check_history(entry, (at as u32, r as u32), rsc, node);
                    }
                }
            }
        }
    }

    /// Adds a resource with all its parts under each id that a node's history may have for it.
    fn index_ids(&self, rsc: RscIx, into: &mut FxHashMap<Str, Vec<RscIx>>) {
        let r = &self[rsc];
        into.entry(r.id.clone()).or_default().push(rsc);
        if let Some(id) = r.history_id.as_ref().filter(|id| **id != r.id) {
            into.entry(id.clone()).or_default().push(rsc);
        }
        r.children.iter().for_each(|c| self.index_ids(*c, into));
    }

    fn check_history(&mut self, entry: &ResourceHistory, at: (u32, u32), rsc: RscIx, node: NodeIx) {
        if self[rsc].is(rf::REMOVED) {
            if !self.is_anonymous_clone(Some(self.uber(rsc))) {
                self.schedule_cleanup(rsc, node, false);
            }
            return;
        }
        let active = self[rsc].active.contains(&node);
        if self.agent_changed(entry, rsc, node, active) {
            self.schedule_cleanup(rsc, node, false);
        }
        if !active {
            return;
        }
        let ops = crate::status::sorted_ops(entry, at);
        let (start, stop) =
            crate::status::active_range(ops.iter().map(|o| &entry.ops[o.op as usize]));
        if start < stop {
            return;
        }
        for (i, op) in ops.iter().enumerate() {
            if i as i32 >= start {
                self.check_active_op(*op, rsc, node);
            }
        }
    }

    fn check_active_op(&mut self, at: OpRef, rsc: RscIx, node: NodeIx) {
        let model = Arc::clone(&self.model);
        let op = at.of(&model);
        let (interval, call) = (op.interval_ms, op.call_id);
        let name = op.operation().unwrap_or_default();
        let kept = ["monitor", "start", "promote", "migrate_from"];
        if interval > 0 && (self[rsc].is(rf::MAINTENANCE) || self[node].maintenance) {
            let name = self.names.intern(name);
            self.schedule_cancel(rsc, call, name, interval, node);
        } else if interval > 0 || kept.iter().any(|k| name.eq_ignore_ascii_case(k)) {
            if self.needs_host_address(rsc) {
                let check = crate::base::ParamCheck { op: at, rsc, node, last_failure: false };
                self.param_checks.push(check);
            } else if self.check_action_config(rsc, node, at) {
                self.clear_if_failed(rsc, node);
            }
        }
    }

    fn clear_if_failed(&mut self, rsc: RscIx, node: NodeIx) {
        if self.failcount(node, rsc, Count::EFFECTIVE, None).0 != 0 {
            self.clear_failcount(rsc, node);
        }
    }

    fn agent_changed(
        &mut self,
        old: &ResourceHistory,
        rsc: RscIx,
        node: NodeIx,
        active: bool,
    ) -> bool {
        let def = &self[rsc].def;
        let changed = old.agent() != def.agent.as_deref()
            || old.class() != def.class.as_deref()
            || old.provider() != def.provider.as_deref();
        if changed {
            self.trigger_unfencing(Some(rsc), Some(node), "Device definition changed");
            if active {
                self.rsc_action(rsc, task::STOP, 0, task::STOP, Some(node), false);
                self[rsc].set(rf::START_PENDING);
            }
        }
        changed
    }

    /// Compares one active operation with the configuration; says whether it changed.
    pub(crate) fn check_action_config(&mut self, rsc: RscIx, node: NodeIx, at: OpRef) -> bool {
        let model = Arc::clone(&self.model);
        let op = at.of(&model);
        let (interval, call) = (op.interval_ms, op.call_id);
        let Some(text) = op.operation() else { return false };
        let mut name = self.names.intern(text);
        if interval > 0 && self.action_config(rsc, text, interval, false).is_none() {
            if self.config.cancel_removed {
                self.schedule_cancel(rsc, call, name, interval, node);
            }
            return true;
        }
        // Everything that brings a resource up counts as its start.
        if interval == 0 && matches!(name, task::MONITOR | task::MIGRATE_FROM | task::PROMOTE) {
            name = task::START;
        }
        let found = self.compare_digest(rsc, at, node);
        if self.config.sanitized
            && found.matches != DigestMatch::Match
            && op.secure_digest().is_some()
            && found.secure.as_deref() == op.secure_digest()
        {
            let line = format!(
                "Only 'private' parameters to {}-interval {} for {} on {} changed: {}",
                readable_interval(interval),
                self.names.text(name),
                self[rsc].id,
                self[node].name,
                op.magic().unwrap_or("(null)")
            );
            self.notes.push(crate::Note::Remark(line));
            return false;
        }
        match found.matches {
            DigestMatch::Match => return false,
            DigestMatch::Restart => self.force_restart(rsc, name, interval, node),
            _ if interval > 0 => self.reschedule(rsc, name, interval, node),
            _ if op.restart_digest().is_some() => {
                self.trigger_unfencing(Some(rsc), Some(node), "Device parameters changed (reload)");
                self.schedule_reload(rsc, node);
            }
            _ => self.force_restart(rsc, name, interval, node),
        }
        true
    }

    fn force_restart(&mut self, rsc: RscIx, name: Sym, interval: u32, node: NodeIx) {
        let required = self.rsc_action(rsc, name, interval, name, None, false);
        self.set_reason(required, Some("resource definition change"), true);
        self.trigger_unfencing(Some(rsc), Some(node), "Device parameters changed");
    }

    fn schedule_reload(&mut self, rsc: RscIx, node: NodeIx) {
        if !self.is_primitive(rsc) {
            for child in self[rsc].children.clone() {
                self.schedule_reload(child, node);
            }
            return;
        }
        if !self[rsc].is(rf::MANAGED) || self[rsc].is(rf::FAILED) {
            return;
        }
        if self[rsc].is(rf::START_PENDING) {
            self.rsc_action(rsc, task::STOP, 0, task::STOP, Some(node), false);
            return;
        }
        self[rsc].set(rf::RELOAD);
        let name = task::RELOAD_AGENT;
        let reload = self.rsc_action(rsc, name, 0, name, Some(node), false);
        self.set_reason(reload, Some("resource definition change"), false);
        let flags = ar::ORDERED | ar::THEN_CANCELS_FIRST;
        self.order_action_then_key(reload, rsc, task::STOP, flags);
        self.order_action_then_key(reload, rsc, task::DEMOTE, flags);
    }

    /// Checks of parameters that depend on where things were assigned.
    pub(crate) fn late_checks(&mut self) {
        for check in std::mem::take(&mut self.param_checks) {
            let clear = if check.last_failure {
                let found = self.compare_digest(check.rsc, check.op, check.node).matches;
                !matches!(found, DigestMatch::Unknown | DigestMatch::Match)
            } else {
                self.check_action_config(check.rsc, check.node, check.op)
                    && self.failcount(check.node, check.rsc, Count::EFFECTIVE, None).0 != 0
            };
            if clear {
                self.clear_failcount(check.rsc, check.node);
            }
        }
    }

    /// Failures of what is no longer configured are forgotten.
    pub(crate) fn clear_removed_failures(&mut self) {
        for rsc in self.top.clone() {
            if !self[rsc].is(rf::REMOVED) {
                continue;
            }
            for node in self.node_order.clone() {
                if !self[node].online || self.failcount(node, rsc, Count::EFFECTIVE, None).0 == 0 {
                    continue;
                }
                let clear = self.clear_failcount(rsc, node);
                self.order_action_then_key(clear, rsc, task::STOP, ar::ORDERED);
            }
        }
    }
}

/// An interval as people write it: the largest units that fit.
pub(crate) fn readable_interval(ms: u32) -> String {
    let seconds = ms / 1000;
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let (mut rest, mut text) = (seconds, String::new());
    for (size, unit) in units {
        if rest / size > 0 {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    match (ms % 1000, text.is_empty()) {
        (0, true) => "0s".into(),
        (0, false) => text,
        (part, true) => format!("{part}ms"),
        (part, false) => {
            text.pop();
            format!("{text}.{part:03}s")
        }
    }
}
