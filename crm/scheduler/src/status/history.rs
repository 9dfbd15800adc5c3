//! Operation history: which resources are where, in which role, and which are left over.

use std::sync::Arc;

use cib_model::{
    HistoryOp, INFINITY, NodeState, ResourceDef, ResourceHistory, Role, base_name, seconds_of_ms,
};

use smallvec::{SmallVec, smallvec};

use super::outcome::History;
use crate::base::{
    MultiplyActive, NodeIx, NodeKind, OnFail, OpRef, Places, RscIx, Ws, af, merge_sort, rf, task,
};
use crate::reasons::Reason;

/// Which of two recorded operations is newer: 1 if the first, -1 if the second.
pub(crate) fn compare_ops(a: &HistoryOp, b: &HistoryOp) -> i32 {
    let same = |x: Option<&str>, y: Option<&str>| match (x, y) {
        (Some(x), Some(y)) => x.eq_ignore_ascii_case(y),
        (None, None) => true,
        _ => false,
    };
    let same_node = same(a.on_node(), b.on_node());
    if same_node && a.id() == b.id() {
        return 0;
    }
    let (a_id, b_id) = (a.call_id, b.call_id);
    if a_id == -1 && b_id == -1 {
        return 0;
    }
    if same_node && a_id >= 0 && a_id < b_id {
        return -1;
    }
    if same_node && b_id >= 0 && a_id > b_id {
        return 1;
    }
    if a_id >= 0 && b_id >= 0 && (!same_node || a_id == b_id) {
        let (last_a, last_b) = (a.last_rc_change().unwrap_or(-1), b.last_rc_change().unwrap_or(-1));
        if last_a >= 0 && last_a < last_b {
            return -1;
        }
        return i32::from(last_b >= 0 && last_a > last_b);
    }
    // One of the two is pending: transitions decide.
    let (Some((a_tr, a_uuid)), Some((b_tr, b_uuid))) = (a.transition(), b.transition()) else {
        return 0;
    };
    if !a_uuid.eq_ignore_ascii_case(b_uuid) || a_tr == b_tr {
        if b_id == -1 {
            return -1;
        }
        if a_id == -1 {
            return 1;
        }
    } else if (a_tr >= 0 && a_tr < b_tr) || b_tr == -1 {
        return -1;
    } else if (b_tr >= 0 && a_tr > b_tr) || a_tr == -1 {
        return 1;
    }
    0
}

/// Where in a sorted history the last start and the last stop are; -1 if there is none.
pub(crate) fn active_range<'a>(ops: impl Iterator<Item = &'a HistoryOp>) -> (i32, i32) {
    let (mut start, mut stop) = (-1, -1);
    let (mut implied_monitor, mut implied_role) = (-1, -1);
    for (at, op) in ops.enumerate() {
        let at = at as i32;
        match op.operation() {
            Some("stop") if op.status == Some(0) => stop = at,
            Some("start" | "migrate_from") => start = at,
            Some("monitor") if implied_monitor <= stop => {
                if matches!(op.rc, Some(0 | 8)) {
                    implied_monitor = at;
                }
            }
            Some("promote" | "demote") => implied_role = at,
            _ => {}
        }
    }
    if start == -1 {
        if implied_role != -1 {
            start = implied_role;
        } else if implied_monitor != -1 {
            start = implied_monitor;
        }
    }
    (start, stop)
}

/// The operations of a history entry, oldest first.
pub(crate) fn sorted_ops(
    entry: &ResourceHistory,
    (state, rsc): (u32, u32),
) -> SmallVec<[OpRef; 4]> {
    let named = |op| OpRef { state, rsc, op };
    if entry.ops.len() == 1 {
        return smallvec![named(0)];
    }
    let mut order: SmallVec<_> = (0..entry.ops.len() as u32).rev().map(named).collect();
    let op = |at: OpRef| &entry.ops[at.op as usize];
    merge_sort(&mut order, &mut |a, b| compare_ops(op(a), op(b)));
    order
}

impl Ws {
    pub(crate) fn unpack_node_history(&mut self, node: NodeIx, state_at: u32, state: &NodeState) {
        let Some(history) = &state.history else { return };
        let mut removed_launched = false;
        for (at, entry) in history.iter().enumerate() {
            let rsc = self.unpack_resource_history(node, entry, (state_at, at as u32));
            removed_launched |= rsc.is_some_and(|r| self[r].is(rf::REMOVED_LAUNCHED));
        }
        if removed_launched {
            self.link_removed_launched(history);
        }
    }

    fn link_removed_launched(&mut self, history: &[ResourceHistory]) {
        for entry in history {
            let (Some(container), Some(id)) = (&entry.container(), &entry.id()) else { continue };
            let (Some(launcher), Some(rsc)) = (self.find_rsc(container), self.find_rsc(id)) else {
                continue;
            };
            if self[rsc].launcher.is_none() && self[rsc].is(rf::REMOVED_LAUNCHED) {
                self[rsc].launcher = Some(launcher);
                self[launcher].launched.push(rsc);
            }
        }
    }

    fn unpack_resource_history(
        &mut self,
        node: NodeIx,
        entry: &ResourceHistory,
        at: (u32, u32),
    ) -> Option<RscIx> {
        let Some(id) = &entry.id() else {
            self.error("Ignoring invalid lrm_resource entry: No id".into());
            return None;
        };
        if entry.ops.is_empty() && !self.config.shutdown_lock {
            return None;
        }
        let rsc = match self.resource_of_history(node, id) {
            Found::Rsc(rsc) => rsc,
            _ if entry.ops.is_empty() => return None,
            _ => self.make_removed(entry)?,
        };
        if self.config.shutdown_lock {
            self.unpack_lock(rsc, node, entry.shutdown_lock());
        }
        let saved_role = self[rsc].orig_role;
        self[rsc].orig_role = Role::Unknown;
        let ops = sorted_ops(entry, at);
        let mut on_fail = OnFail::Ignore;
        let mut last_failure = None;
        for op in &ops {
            self.unpack_op(rsc, node, *op, &mut last_failure, &mut on_fail);
        }
        let sorted = ops.iter().map(|o| &entry.ops[o.op as usize]);
        self.recurring_of_history(rsc, node, sorted);
        self.process_state(rsc, node, on_fail);
        if let Some(role) = self.target_role(rsc) {
            let next = self[rsc].next_role;
            if next == Role::Unknown || role < next {
                self.set_next_role(rsc, role);
            }
        }
        if saved_role > self[rsc].orig_role {
            self[rsc].orig_role = saved_role;
        }
        Some(rsc)
    }

    /// Recurring operations that run already become optional actions.
    fn recurring_of_history<'a>(
        &mut self,
        rsc: RscIx,
        node: NodeIx,
        ops: impl Iterator<Item = &'a HistoryOp> + Clone,
    ) {
        if ops.clone().all(|op| op.interval_ms == 0) {
            return;
        }
        let (start, stop) = active_range(ops.clone());
        for (at, op) in ops.enumerate() {
            let at = at as i32;
            if !self[node].online {
                break;
            }
            if (start < stop && at <= stop) || at < start {
                continue;
            }
            if op.interval_ms == 0 || op.status == Some(-1) {
                continue;
            }
            if let Some(name) = &op.operation() {
                let name = self.names.intern(name);
                self.rsc_action(rsc, name, op.interval_ms, name, Some(node), true);
            }
        }
    }

    fn resource_of_history(&mut self, node: NodeIx, id: &str) -> Found {
        let (mut rsc, mut parent) = (None, None);
        match self.find_rsc(id) {
            None => {
                let zero = format!("{}:0", base_name(id));
                if let Some(first) = self.find_rsc(&zero).filter(|r| !self[*r].is(rf::UNIQUE)) {
                    rsc = Some(first);
                    parent = Some(self.uber(first));
                }
            }
            Some(found) if !self.is_primitive(found) => return Found::Collective,
            Some(found) => {
                rsc = Some(found);
                parent = Some(self.uber(found));
            }
        }
        if let Some(clone) = parent.filter(|p| self.is_anonymous_clone(Some(*p))) {
            rsc = if self.is_bundled(clone) {
                let bundle = self[clone].parent;
                bundle.and_then(|b| {
                    let replicas = &self[b].bundle.replicas;
                    replicas.iter().find(|r| r.node == Some(node)).and_then(|r| r.child)
                })
            } else {
                self.anonymous_instance(clone, node, base_name(id))
            };
        }
        let Some(rsc) = rsc else { return Found::Nothing };
        if &*self[rsc].id != id && self[rsc].history_id.as_deref() != Some(id) {
            self.set_history_id(rsc, Some(id.into()));
        }
        Found::Rsc(rsc)
    }

    /// Which instance of an anonymous clone is the one that a node's history tells of.
    fn anonymous_instance(&mut self, clone: RscIx, node: NodeIx, id: &str) -> Option<RscIx> {
        use crate::base::Where;
        let mut found = None;
        let mut inactive = None;
        let mut skip_inactive = false;
        for child in self[clone].children.clone() {
            let mut places = Places::new();
            self.locations_of(child, Where::CurrentOrPending, &mut places);
            match places.first() {
                Some(place) => {
                    if *place != node {
                        continue;
                    }
                    if let Some(rsc) = self.find_in_clone(child, id, None) {
                        if self[rsc].active.is_empty() {
                            found = Some(rsc);
                            break;
                        }
                        // The instance that ran there already is left alone.
                        skip_inactive = true;
                    }
                }
                None if !skip_inactive && inactive.is_none() && !self[child].is(rf::BLOCKED) => {
                    inactive = self
                        .find_in_clone(child, id, None)
                        .filter(|r| self[*r].pending_node.is_none_or(|n| n == node));
                }
                None => {}
            }
        }
        if found.is_none() && !skip_inactive {
            found = inactive;
        }
        let universal = self[clone].clone.max == self.node_order.len() as i32;
        let gone = !self[node].online || self[node].unclean;
        if let Some(rsc) = found
            && !self[rsc].is(rf::NEEDS_FENCING)
            && gone
            && !self.is_guest(node)
            && !universal
        {
            found = None;
        }
        if found.is_none() {
            let extra = self.create_instance(clone)?;
            found = self.find_in_clone(extra, id, None);
        }
        found
    }

    /// A resource that only history knows.
    fn make_removed(&mut self, entry: &ResourceHistory) -> Option<RscIx> {
        let id = entry.id()?;
        let mut def = ResourceDef::primitive(
            id,
            entry.class().unwrap_or_default(),
            entry.provider().unwrap_or_default(),
            entry.agent().unwrap_or_default(),
        );
        def.attrs = entry.attrs();
        let rsc = self.unpack_resource(Arc::new(def), None, None)?;
        if self[rsc].is(rf::REMOTE_CONNECTION) {
            let node =
                self.find_node(id).unwrap_or_else(|| self.create_node(id, id, NodeKind::Remote, 0));
            self.link_remote_node(rsc);
            self[node].shutdown = true;
        }
        if entry.container().is_some() {
            self[rsc].set(rf::REMOVED_LAUNCHED);
        }
        self[rsc].set(rf::REMOVED);
        self.top.push(rsc);
        if self.config.stop_removed {
            self.resource_location(rsc, None, -INFINITY, Reason::Removed);
        } else {
            self[rsc].clear(rf::MANAGED);
        }
        Some(rsc)
    }

    fn unpack_lock(&mut self, rsc: RscIx, node: NodeIx, lock_time: i64) {
        if lock_time == 0 {
            return;
        }
        let limit = self.config.shutdown_lock_ms;
        if limit > 0 && self.now() > lock_time + seconds_of_ms(limit) {
            self.clear_history(rsc, node);
        } else {
            self[rsc].lock_node = Some(node);
            self[rsc].lock_time = lock_time;
        }
    }

    /// Draws the conclusions from all operations of a resource on a node.
    fn process_state(&mut self, rsc: RscIx, node: NodeIx, on_fail: OnFail) {
        let known_active = self[rsc].orig_role > Role::Stopped;
        if self[rsc].orig_role != Role::Unknown {
            let mut at = Some(rsc);
            while let Some(r) = at {
                self[r].set_known_on(node);
                at = if self[r].is(rf::UNIQUE) { None } else { self[r].parent };
            }
        }
        let n = &self[node];
        if known_active && !n.online && !n.maintenance && self[rsc].is(rf::MANAGED) {
            self.fence_for_active(rsc, node);
        }
        let saved = on_fail;
        let on_fail = if self[node].unclean { OnFail::Ignore } else { on_fail };
        self.apply_on_fail(rsc, node, on_fail, known_active);
        if self[rsc].is(rf::FAILED | rf::REMOTE_CONNECTION) {
            let id = self[rsc].id.clone();
            if let Some(own) = self.find_node(&id).filter(|n| self[*n].unclean) {
                self[own].seen = true;
            }
        }
        if known_active {
            self.add_running(rsc, node, saved != OnFail::Ignore);
            match on_fail {
                OnFail::Ignore => {}
                OnFail::Demote | OnFail::Block => self[rsc].set(rf::FAILED),
                _ => self[rsc].set(rf::FAILED | rf::STOP_IF_FAILED),
            }
        } else if self[rsc].history_id.as_deref().is_some_and(|id| id.contains(':')) {
            // An inactive instance needs no number of its own.
            self.set_history_id(rsc, None);
        } else {
            for stop in self.actions_of(rsc, Some(node), task::STOP) {
                self[stop].set(af::OPTIONAL);
            }
        }
        let r = &mut self[rsc];
        if r.orig_role == Role::Stopped
            && !r.active.is_empty()
            && r.partial_target.is_some()
            && r.partial_source == Some(node)
        {
            r.orig_role = Role::Started;
        }
    }

    fn fence_for_active(&mut self, rsc: RscIx, node: NodeIx) {
        let mut reason = None;
        if self.is_guest(node) {
            self[rsc].set(rf::FAILED | rf::STOP_IF_FAILED);
        } else if self.config.fencing_enabled {
            let connection = self[node].remote;
            if self.is_remote(node) && connection.is_some_and(|r| !self[r].is(rf::FAILED)) {
                self[node].seen = false;
                reason = Some(format!(
                    "{} is active there (fencing will be revoked if remote connection can be \
                     re-established elsewhere)",
                    self[rsc].id
                ));
            }
        } else {
            return;
        }
        let reason =
            reason.unwrap_or_else(|| format!("{} is thought to be active there", self[rsc].id));
        self.fence_node(node, &reason, false);
    }

    fn apply_on_fail(&mut self, rsc: RscIx, node: NodeIx, on_fail: OnFail, known_active: bool) {
        match on_fail {
            OnFail::Ignore => {}
            OnFail::Demote => {
                self[rsc].set(rf::FAILED);
                self.demote_action(rsc, Some(node), false);
            }
            OnFail::Fence => {
                let reason = crm_graph::failed_there(&self[rsc].id);
                self.fence_node(node, &reason, false);
            }
            OnFail::Standby => {
                self[node].standby = true;
                self[node].fail_standby = true;
            }
            OnFail::Block => {
                self[rsc].clear(rf::MANAGED);
                self[rsc].set(rf::BLOCKED);
            }
            OnFail::Ban => {
                self.resource_location(rsc, Some(node), -INFINITY, Reason::FailedOperation);
            }
            OnFail::Stop => self.set_next_role(rsc, Role::Stopped),
            OnFail::Restart => {
                if known_active {
                    self[rsc].set(rf::FAILED | rf::STOP_IF_FAILED);
                    self.stop_action(rsc, Some(node), false);
                }
            }
            OnFail::RestartContainer => {
                self[rsc].set(rf::FAILED | rf::STOP_IF_FAILED);
                match self[rsc].launcher {
                    Some(launcher) if self.is_bundled(rsc) => self.stop_needed.push(launcher),
                    Some(launcher) => {
                        self.stop_action(launcher, Some(node), false);
                    }
                    None if known_active => {
                        self.stop_action(rsc, Some(node), false);
                    }
                    None => {}
                }
            }
            OnFail::ResetRemote => self.reset_remote(rsc, node, known_active),
        }
    }

    fn reset_remote(&mut self, rsc: RscIx, node: NodeIx, known_active: bool) {
        self[rsc].set(rf::FAILED | rf::STOP_IF_FAILED);
        if self.config.fencing_enabled && self[rsc].is(rf::REMOTE_CONNECTION) {
            let id = self[rsc].id.clone();
            let own = self.find_node(&id).filter(|n| self.is_remote(*n));
            if let Some(own) = own.filter(|n| !self[*n].remote_fenced) {
                self.fence_node(own, "remote connection is unrecoverable", false);
            }
        }
        if known_active {
            self.stop_action(rsc, Some(node), false);
        }
        if self[rsc].remote_reconnect_ms > 0 {
            self.set_next_role(rsc, Role::Stopped);
        }
    }

    /// Notes that a resource is active on a node.
    pub(crate) fn add_running(&mut self, rsc: RscIx, node: NodeIx, failed: bool) {
        if self[rsc].active.contains(&node) {
            return;
        }
        self[rsc].active.push(node);
        if self.is_primitive(rsc) {
            self[node].running.push(rsc);
            self.priority_to_node(rsc, node, failed);
            if self[node].maintenance {
                self[rsc].clear(rf::MANAGED);
                self[rsc].set(rf::MAINTENANCE);
            }
        }
        let parent = self[rsc].parent;
        if !self[rsc].is(rf::MANAGED) {
            self.resource_location(rsc, Some(node), INFINITY, Reason::NotManaged);
            let mut at = parent;
            while let Some(p) = at {
                self[p].active.push(node);
                at = self[p].parent;
            }
            return;
        }
        let several = self[rsc].active.len() > 1;
        if several && self.is_primitive(rsc) && self.count_active(rsc) > 1 {
            self.handle_multiple(rsc, parent);
        }
        if let Some(parent) = parent {
            self.add_running(parent, node, false);
        }
    }

    fn count_active(&self, rsc: RscIx) -> u32 {
        let (_, all, clean) = self.active_node(rsc);
        if self[rsc].is(rf::NEEDS_FENCING) { all } else { clean }
    }

    fn handle_multiple(&mut self, rsc: RscIx, parent: Option<RscIx>) {
        match self[rsc].multiply_active {
            MultiplyActive::Stop => self[rsc].allowed = self.full_row(-INFINITY),
            MultiplyActive::Block => {
                self[rsc].clear(rf::MANAGED);
                self[rsc].set(rf::BLOCKED);
                let together = parent.filter(|p| {
                    (self.is_group(*p) || self.is_bundle(*p))
                        && self[*p].multiply_active == MultiplyActive::Block
                });
                for child in together.map(|p| self[p].children.clone()).unwrap_or_default() {
                    self[child].clear(rf::MANAGED);
                    self[child].set(rf::BLOCKED);
                }
            }
            _ => {}
        }
    }

    fn priority_to_node(&mut self, rsc: RscIx, node: NodeIx, failed: bool) {
        let promoted = self[rsc].orig_role == Role::Promoted;
        let priority = self[rsc].priority;
        if priority == 0 || failed {
            return;
        }
        let priority = priority + i32::from(promoted);
        self[node].priority += priority;
        let launcher = self[node].remote.and_then(|r| self[r].launcher);
        for host in launcher.map(|l| self[l].active.clone()).unwrap_or_default() {
            self[host].priority += priority;
        }
    }

    /// Marks the history of a resource on a node for deletion.
    pub(crate) fn clear_history(&mut self, rsc: RscIx, node: NodeIx) {
        self.rsc_action(rsc, task::LRM_DELETE, 0, task::LRM_DELETE, Some(node), false);
    }

    /// Bans a resource, or the anonymous clone that it is an instance of, from all nodes.
    pub(crate) fn ban_everywhere(&mut self, history: &History) {
        let mut rsc = history.rsc;
        let top = self.uber(rsc);
        if self[rsc].parent.is_some() && self.is_anonymous_clone(Some(top)) {
            rsc = top;
        }
        self[rsc].allowed = self.full_row(-INFINITY);
    }
}

enum Found {
    Rsc(RscIx),
    /// The id is that of a group, clone or bundle.
    Collective,
    Nothing,
}
