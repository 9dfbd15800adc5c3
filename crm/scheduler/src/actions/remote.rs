//! Relations between actions on remote nodes and the connections to these.

use cib_model::Role;

use crate::base::{ActionIx, NodeIx, RscIx, Ws, af, ar, rf, task};

/// What becomes of the connection to a remote node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Unknown,
    Alive,
    Resting,
    Failed,
    Stopped,
}

impl Ws {
    fn start_before(&mut self, rsc: RscIx, action: ActionIx, extra: u32) {
        let flags = ar::GUEST_ALLOWED | ar::UNRUNNABLE_FIRST_BLOCKS | extra;
        self.order_key_then(rsc, task::START, action, flags);
    }

    fn before_stop(&mut self, action: ActionIx, rsc: RscIx, extra: u32) {
        self.order_action_then_key(action, rsc, task::STOP, ar::GUEST_ALLOWED | extra);
    }

    fn connection_state(&self, node: NodeIx) -> Connection {
        let Some(remote) = self[node].remote else { return Connection::Unknown };
        let host = self.current_node(remote);
        let r = &self[remote];
        if r.next_role == Role::Stopped || r.assigned.is_none() {
            if host.is_some_and(|h| self[h].unclean) {
                return Connection::Failed;
            }
            if !r.is(rf::FAILED) {
                return Connection::Stopped;
            }
            // It is tried again in a while.
            let waits = r.next_role == Role::Stopped
                && r.remote_reconnect_ms > 0
                && self[node].remote_fenced
                && !self.shutdown_requested(node);
            return if waits { Connection::Unknown } else { Connection::Failed };
        }
        match host {
            None => Connection::Unknown,
            Some(h) if self[h].unclean || !self[h].online => Connection::Resting,
            Some(_)
                if r.active.len() > 1
                    && r.partial_source.is_some()
                    && r.partial_target.is_some() =>
            {
                Connection::Resting
            }
            Some(_) => Connection::Alive,
        }
    }

    /// Whether a remote node cannot be reached, nor its connection be recovered.
    pub(crate) fn is_failed_remote(&self, node: NodeIx) -> bool {
        self.is_remote(node)
            && self[node].remote.is_some()
            && self.connection_state(node) == Connection::Failed
    }

    /// Orders what happens on remote nodes with their connections.
    pub(crate) fn order_remote_actions(&mut self) {
        if !self.config.have_remote_nodes {
            return;
        }
        for at in (0..self.actions.len()).rev() {
            let action = ActionIx(at as u32);
            let Some(rsc) = self[action].rsc else { continue };
            if self[rsc].is(rf::REMOTE_CONNECTION) && self[action].task == task::CLEAR_FAILCOUNT {
                self.order_action_then_key(action, rsc, task::START, ar::ORDERED);
                continue;
            }
            let Some(node) = self[action].node else { continue };
            if !self.is_remote_kind(node) || self[action].is(af::PSEUDO) {
                continue;
            }
            let Some(remote) = self[node].remote else { continue };
            if self[action].task == task::START {
                for other in self[rsc].actions.clone().into_iter().rev() {
                    if self[other].node != Some(node) && self[other].task == task::STOP {
                        self.order_key_then(remote, task::START, other, ar::ORDERED);
                    }
                }
            }
            match self[remote].launcher {
                Some(launcher) => self.order_with_guest(action, node, remote, launcher),
                None => self.order_with_remote(action, node, remote),
            }
        }
    }

    fn order_with_remote(&mut self, action: ActionIx, node: NodeIx, remote: RscIx) {
        let state = self.connection_state(node);
        let name = match self[action].task {
            task::MIGRATE_TO | task::MIGRATE_FROM => task::STOP,
            other => other,
        };
        match name {
            task::START | task::PROMOTE => {
                let failed = state == Connection::Failed;
                self.start_before(remote, action, if failed { ar::FIRST_IMPLIES_THEN } else { 0 });
            }
            task::STOP => match state {
                Connection::Alive => self.before_stop(action, remote, ar::THEN_IMPLIES_FIRST),
                Connection::Failed => {
                    let why = "resources are active but connection is unrecoverable";
                    self.fence_node(node, why, false);
                }
                _ if self[remote].next_role == Role::Stopped => {
                    self.before_stop(action, remote, ar::THEN_IMPLIES_FIRST);
                }
                _ => self.start_before(remote, action, 0),
            },
            task::DEMOTE => {
                if matches!(state, Connection::Resting | Connection::Unknown) {
                    self.start_before(remote, action, 0);
                }
            }
            _ if self.meta_interval(action) > 0 => {
                self.start_before(remote, action, ar::FIRST_IMPLIES_THEN);
            }
            _ => {
                if name == task::MONITOR && state == Connection::Failed {
                    let why = "resources are in unknown state and connection is unrecoverable";
                    self.fence_node(node, why, false);
                }
                let hosted = self.current_node(remote).is_some();
                if hosted && state == Connection::Stopped {
                    self.before_stop(action, remote, ar::UNRUNNABLE_FIRST_BLOCKS);
                } else {
                    self.start_before(remote, action, 0);
                }
            }
        }
    }

    fn order_with_guest(&mut self, action: ActionIx, node: NodeIx, remote: RscIx, launcher: RscIx) {
        let failed = self[launcher].is(rf::FAILED);
        if failed {
            self.fence_node(node, "container failed", false);
        }
        match self[action].task {
            task::START | task::PROMOTE => {
                self.start_before(launcher, action, ar::FIRST_IMPLIES_THEN);
                self.start_before(remote, action, 0);
            }
            task::STOP | task::DEMOTE | task::MIGRATE_TO | task::MIGRATE_FROM => {
                if !failed {
                    self.before_stop(action, remote, 0);
                }
            }
            name if self.meta_interval(action) > 0 => {
                if name.is_known() {
                    self.start_before(remote, action, ar::FIRST_IMPLIES_THEN);
                }
            }
            _ => self.start_before(remote, action, 0),
        }
    }

    /// The cluster node that speaks for the remote node of an action.
    pub(crate) fn router_of(&self, action: ActionIx) -> Option<NodeIx> {
        let a = &self[action];
        let node = a.node.filter(|n| a.task != task::STONITH && self.is_remote_kind(*n))?;
        let remote = self[node].remote?;
        let (began, ended) = (self.current_node(remote), self[remote].assigned_node());
        if began.is_none() || ended.is_none() || began == ended {
            return began.or(ended);
        }
        let r = &self[remote];
        let partial = r.launcher.is_none() && r.partial_target.is_some();
        let name = match a.task {
            task::NOTIFY => a.meta.get("notify_operation").unwrap_or(""),
            other => self.names.text(other),
        };
        let early = matches!(name, "cancel" | "stop" | "demote" | "migrate_from" | "migrate_to");
        if early && !partial { began } else { ended }
    }

    /// For an action inside of a guest: the node that hosts it at that time.
    pub(crate) fn physical_host(&self, action: ActionIx) -> Option<NodeIx> {
        let a = &self[action];
        let launcher = self.node_launcher(a.node?)?;
        let name = match a.task {
            task::NOTIFY | task::NOTIFIED => a.meta.get("notify_operation").unwrap_or(""),
            other => self.names.text(other),
        };
        match name {
            "stop" | "stopped" | "demote" | "demoted" => self.current_node(launcher),
            "start" | "running" | "monitor" | "promote" | "promoted" => {
                self[launcher].assigned_node()
            }
            _ => None,
        }
    }
}
