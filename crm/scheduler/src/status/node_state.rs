//! What the recorded node states say: who is a member, who is clean, who wants to leave.

use cib_model::{
    Attrs, NoQuorumPolicy, NodeState, Role, RuleInput, is_true, parse_bool, scan_int, seconds_of_ms,
};

use super::setup::capacity;
use crate::base::{NodeIx, RscIx, Ticket, Ws, rf};

impl Ws {
    pub(crate) fn unpack_status(&mut self) {
        let model = self.model.clone();
        for ticket in &model.tickets {
            self.tickets.push(Ticket {
                id: ticket.id.clone(),
                granted: ticket.granted,
                standby: ticket.standby,
            });
        }
        for state in &model.node_states {
            self.unpack_node_state(state);
        }
        // A remote node's state can be told only when its connection's is known.
        while self.unpack_histories(false) {}
        self.unpack_histories(self.config.fencing_enabled);
        for container in std::mem::take(&mut self.stop_needed).into_iter().rev() {
            if let Some(node) = self.current_node(container) {
                self.stop_action(container, Some(node), false);
            }
        }
        for node in self.node_order.clone() {
            if !self.is_remote_kind(node) {
                continue;
            }
            if let Some(remote) = self[node].remote.filter(|_| self[node].shutdown) {
                self.set_next_role(remote, Role::Stopped);
            }
            if !self[node].unpacked {
                self.remote_online_status(node);
            }
        }
    }

    fn unpack_node_state(&mut self, state: &NodeState) {
        let Some(id) = &state.id else {
            self.error("Ignoring invalid node_state entry without id".into());
            return;
        };
        let Some(node) = self.find_node_any(Some(id), state.name.as_deref()) else { return };
        if self.is_remote_kind(node) {
            self[node].remote_fenced = state.fenced;
            return;
        }
        self.unpack_transient(state, node);
        if is_true(self.attr(node, "standby")) {
            self[node].standby = true;
        }
        if is_true(self.attr(node, "maintenance")) {
            self[node].maintenance = true;
        }
        self[node].unclean = false;
        self[node].seen = true;
        self.online_status(state, node);
        let fence_all = self.config.no_quorum == NoQuorumPolicy::Fence && !self.config.quorate;
        if fence_all && self[node].online {
            self.fence_node(node, "cluster does not have quorum", false);
        }
    }

    fn unpack_transient(&mut self, state: &NodeState, node: NodeIx) {
        let input = RuleInput { now: Some(self.config.now), ..RuleInput::default() };
        let (mut attrs, mut utilization) = (Attrs::new(), Attrs::new());
        let mut next = None;
        if let Some(transient) = &state.transient {
            transient.unpack(&input, &mut attrs, &mut next);
        }
        state.utilization.unpack(&input, &mut utilization, &mut next);
        next.into_iter().for_each(|at| self.recheck_at(at));
        self.add_node_attrs(node, &attrs, true);
        for (name, value) in capacity(&utilization) {
            if !self[node].utilization.iter().any(|(n, _)| *n == name) {
                self[node].utilization.push((name, value));
            }
        }
    }

    fn online_status(&mut self, state: &NodeState, node: NodeIx) {
        self[node].shutdown = false;
        if self.shutdown_requested(node) {
            self[node].shutdown = true;
        } else if state.expected.as_deref().is_some_and(|e| e.eq_ignore_ascii_case("member")) {
            self[node].expected_up = true;
        }
        let online = if self.config.fencing_enabled {
            self.online_with_fencing(state, node)
        } else {
            self.online_without_fencing(state, node)
        };
        if online {
            self[node].online = true;
        }
        if !online || self[node].shutdown {
            self[node].base.score = -cib_model::INFINITY;
        }
        if self[node].unclean {
            let text = format!("{} is unclean", self[node].name);
            self.warn(text);
        }
    }

    /// Since when the node is a member: -1 if never heard of, 0 if it is not.
    fn when_member(&self, state: &NodeState) -> i64 {
        match state.in_ccm.as_deref() {
            None => -1,
            Some(text) => match parse_bool(text) {
                // "1" is a yes rather than a time.
                Some(true) => self.now(),
                Some(false) => 0,
                None => scan_int(text).filter(|t| *t >= 0).unwrap_or(-1),
            },
        }
    }

    fn when_online(state: &NodeState) -> i64 {
        match state.crmd.as_deref() {
            None => 0,
            Some(text) if text.eq_ignore_ascii_case("offline") => 0,
            Some(text) if text.eq_ignore_ascii_case("online") => 1,
            Some(text) => scan_int(text).filter(|t| *t >= 0).unwrap_or(0),
        }
    }

    fn online_without_fencing(&mut self, state: &NodeState, node: NodeIx) -> bool {
        let (member, online) = (self.when_member(state), Ws::when_online(state));
        if member <= 0 {
            return false;
        }
        if online > 0 {
            return state.join.as_deref().is_some_and(|j| j.eq_ignore_ascii_case("member"));
        }
        if self[node].expected_up {
            self.fence_node(node, "peer is unexpectedly down", false);
        }
        false
    }

    fn online_with_fencing(&mut self, state: &NodeState, node: NodeIx) -> bool {
        let terminate = self.terminate_requested(node);
        let (member, online) = (self.when_member(state), Ws::when_online(state));
        let join = state.join.as_deref();
        if self[node].shutdown {
            return online > 0;
        }
        if member < 0 {
            self.fence_node(node, "peer has not been seen by the cluster", false);
            return false;
        }
        if join == Some("banned") {
            self.fence_node(node, "peer failed Pacemaker membership criteria", false);
        } else if terminate {
            if member <= 0 && online <= 0 && join == Some("down") {
                return false;
            }
            self.fence_node(node, "fencing was requested", false);
        } else if state.expected.as_deref().is_none_or(|e| e == "down") {
            if self.pending_too_long(member, online) {
                self.fence_node(node, "peer pending timed out on joining the process group", false);
            } else if member > 0 || online > 0 {
                self[node].standby = true;
                self[node].pending = true;
            }
        } else if member <= 0 {
            self.fence_node(node, "peer is no longer part of the cluster", true);
        } else if online <= 0 {
            self.fence_node(node, "peer process is no longer available", false);
        } else if join == Some("member") {
        } else if matches!(join, Some("pending" | "down")) {
            self[node].standby = true;
            self[node].pending = true;
        } else {
            self.fence_node(node, "peer was in an unknown state", false);
        }
        member > 0
    }

    fn terminate_requested(&self, node: NodeIx) -> bool {
        let Some(value) = self.attr(node, "terminate") else { return false };
        parse_bool(value).unwrap_or_else(|| scan_int(value).is_some_and(|n| n > 0))
    }

    fn pending_too_long(&mut self, member: i64, online: i64) -> bool {
        if self.config.node_pending_ms == 0 || member <= 0 || online > 0 {
            return false;
        }
        let limit = member + seconds_of_ms(self.config.node_pending_ms);
        if self.now() >= limit {
            return true;
        }
        self.recheck_at(limit);
        false
    }

    /// Goes through histories that can be understood by now; says whether there were any.
    /// `all` takes in those too that do not matter for what can run.
    fn unpack_histories(&mut self, all: bool) -> bool {
        let model = self.model.clone();
        let mut any = false;
        for (at, state) in model.node_states.iter().enumerate() {
            let (Some(id), Some(name)) = (&state.id, &state.name) else { continue };
            let Some(node) = self.find_node_any(Some(id), Some(name)) else { continue };
            if self[node].unpacked || (!all && !self.history_counts(node)) {
                continue;
            }
            if self.is_remote_kind(node) {
                self.remote_online_status(node);
                self.unpack_remote_state(state, node);
            }
            self[node].unpacked = true;
            self.unpack_node_history(node, at as u32, state);
            any = true;
        }
        any
    }

    fn history_counts(&self, node: NodeIx) -> bool {
        if let Some(launcher) = self.node_launcher(node) {
            let connection = self[node].remote.map_or(Role::Unknown, |r| self[r].orig_role);
            return connection == Role::Started && self[launcher].orig_role == Role::Started;
        }
        if self.is_remote_kind(node) {
            return self[node]
                .remote
                .is_some_and(|r| self.config.shutdown_lock || self[r].orig_role == Role::Started);
        }
        self.config.fencing_enabled || self.config.shutdown_lock || self[node].online
    }

    fn unpack_remote_state(&mut self, state: &NodeState, node: NodeIx) {
        self[node].remote_maint = state.in_maintenance;
        if !self[node].remote_reset {
            self[node].unclean = false;
            self[node].seen = true;
        }
        if state.transient.is_some() {
            self.unpack_transient(state, node);
        } else {
            self.add_node_attrs(node, &Attrs::new(), true);
        }
        if self.shutdown_requested(node) {
            self[node].shutdown = true;
        }
        if is_true(self.attr(node, "standby")) {
            self[node].standby = true;
        }
        let unmanaged = self[node].remote.is_some_and(|r| !self[r].is(rf::MANAGED));
        if is_true(self.attr(node, "maintenance")) || unmanaged {
            self[node].maintenance = true;
        }
        let discovery = self.attr(node, "resource-discovery-enabled");
        if discovery.is_some() && !is_true(discovery) {
            if self.is_remote(node) && !self.config.fencing_enabled {
                let text = format!(
                    "Ignoring resource-discovery-enabled attribute on Pacemaker Remote node {} \
                     because fencing is disabled",
                    self[node].name
                );
                self.warn(text);
            } else {
                self[node].probes_allowed = false;
            }
        }
    }

    /// A remote node is where its connection is.
    pub(crate) fn remote_online_status(&mut self, node: NodeIx) {
        let Some(connection) = self[node].remote else {
            self[node].online = false;
            return;
        };
        let launcher = self[connection].launcher;
        let host = launcher.and_then(|_| match self[connection].active[..] {
            [one] => Some(one),
            _ => None,
        });
        let (role, next) = (self[connection].orig_role, self[connection].next_role);
        if role == Role::Started {
            self[node].online = true;
            if next == Role::Stopped {
                self[node].shutdown = true;
            }
        }
        let failed = |r: RscIx| self[r].is(rf::FAILED);
        if launcher.is_some_and(failed) {
            self[node].online = false;
            self[node].remote_reset = true;
        } else if failed(connection) {
            self[node].online = false;
        } else if role == Role::Stopped
            || launcher.is_some_and(|l| self[l].orig_role == Role::Stopped)
        {
            self[node].online = false;
            self[node].remote_reset = false;
        } else if host.is_some_and(|h| !self[h].online && self[h].unclean) {
            self[node].online = false;
            self[node].remote_reset = true;
        }
    }

    /// Decides that a node has to be fenced, or that what makes it has to be recovered.
    pub(crate) fn fence_node(&mut self, node: NodeIx, reason: &str, priority_delay: bool) {
        if let Some(launcher) = self.node_launcher(node) {
            if !self[launcher].is(rf::FAILED) && self[launcher].is(rf::MANAGED) {
                let text = format!(
                    "Guest node {} will be fenced (by recovering its guest resource {}): {reason}",
                    self[node].name, self[launcher].id
                );
                self.warn(text);
                self[node].remote_reset = true;
                self[launcher].set(rf::FAILED | rf::STOP_IF_FAILED);
            }
            return;
        }
        let connection = self[node].remote.filter(|_| self.is_remote_kind(node));
        if let Some(dangling) = connection.filter(|r| self[*r].is(rf::REMOVED_LAUNCHED)) {
            self[dangling].set(rf::FAILED | rf::STOP_IF_FAILED);
            return;
        }
        if self.is_remote_kind(node) {
            let unmanaged = connection.is_some_and(|r| !self[r].is(rf::MANAGED));
            if !unmanaged && !self[node].remote_reset {
                self[node].remote_reset = true;
                let what = if self.can_fence(node) { "will be fenced" } else { "is unclean" };
                let text = format!("Remote node {} {what}: {reason}", self[node].name);
                self.warn(text);
            }
            self[node].unclean = true;
            self.fence_op(node, None, true, Some(reason), false);
        } else if !self[node].unclean {
            let what = if self.can_fence(node) { "will be fenced" } else { "is unclean" };
            let text = format!("Cluster node {} {what}: {reason}", self[node].name);
            self.warn(text);
            self[node].unclean = true;
            self.fence_op(node, None, true, Some(reason), priority_delay);
        }
    }
}
