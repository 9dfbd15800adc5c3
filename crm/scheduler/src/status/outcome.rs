//! What a single recorded operation says about the state of its resource.

use cib_model::{ExecStatus, INFINITY, Role, ctime_text, exit_status_text};

use crate::base::{FailedOp, NodeIx, OnFail, OpRef, RscIx, Ws, rf};
use crate::reasons::Reason;

/// The operations that say something about a resource's state.
const TASKS: [&str; 8] =
    ["monitor", "start", "stop", "promote", "demote", "migrate_to", "migrate_from", "asyncmon"];

/// One recorded operation while it is looked at; its result may be reinterpreted.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) rsc: RscIx,
    pub(crate) node: NodeIx,
    pub(crate) op: OpRef,
    pub(crate) task: &'static str,
    pub(crate) interval_ms: u32,
    pub(crate) expected: i32,
    pub(crate) rc: i32,
    pub(crate) status: ExecStatus,
    is_probe: bool,
    /// Whether it is a failed probe that means "not running", see
    /// [`cib_model::HistoryOp::is_masked_probe_failure`].
    masked: bool,
    /// Whether it is the record of an operation's last failure.
    pub(super) last_failure: bool,
}

impl Ws {
    pub(crate) fn unpack_op(
        &mut self,
        rsc: RscIx,
        node: NodeIx,
        op: OpRef,
        last_failure: &mut Option<OpRef>,
        on_fail: &mut OnFail,
    ) {
        let Some(mut history) = self.read_op(rsc, node, op) else { return };
        let expired = self.check_expiry(&history);
        let original = history.rc;
        self.remap(&mut history, on_fail, expired);
        if expired && self.process_expired(&history, original) {
            return;
        }
        if history.masked {
            self.mask_probe_failure(&history, *last_failure, on_fail);
            return;
        }
        match history.status {
            ExecStatus::Pending => {
                self.process_pending(&history, *last_failure);
                return;
            }
            ExecStatus::Done => {
                self.update_state(&history, history.rc, *last_failure, on_fail);
                return;
            }
            ExecStatus::NotInstalled => {
                let (strategy, role) = self.failure_handling(&history);
                if strategy == OnFail::Ignore {
                    *on_fail = OnFail::Ban;
                }
                let banned = self.banned_with(rsc);
                self.resource_location(banned, Some(node), -INFINITY, Reason::HardError);
                self.process_failure(&history, strategy, role, last_failure, on_fail);
                return;
            }
            ExecStatus::NotConnected => {
                let connection = self[node].remote.filter(|_| self.is_remote_kind(node));
                if let Some(connection) = connection.filter(|r| self[*r].is(rf::MANAGED)) {
                    self[connection].set(rf::FAILED | rf::STOP_IF_FAILED);
                }
            }
            _ => {}
        }
        let (strategy, role) = self.failure_handling(&history);
        let container_stop = strategy == OnFail::RestartContainer && history.task == "stop";
        if strategy == OnFail::Ignore || container_stop {
            self.update_state(&history, history.expected, *last_failure, on_fail);
            self[rsc].set(rf::IGNORE_FAILURE);
            self.record_failed(&history);
            if strategy == OnFail::RestartContainer && *on_fail <= OnFail::Restart {
                *on_fail = strategy;
            }
            return;
        }
        self.process_failure(&history, strategy, role, last_failure, on_fail);
        let banned = self.banned_with(rsc);
        if history.status == ExecStatus::ErrorHard {
            let why = self.op(op).exit_reason().filter(|r| !r.is_empty());
            let text = format!(
                "Preventing {} from restarting on {} because of hard failure ({}{}) | {}",
                self[banned].id,
                self[node].name,
                exit_status_text(history.rc),
                why.map(|w| format!(": {w}")).unwrap_or_default(),
                self.op(op).id().unwrap_or_default()
            );
            if history.rc != 5 {
                self.error(text);
            }
            self.resource_location(banned, Some(node), -INFINITY, Reason::HardError);
        } else if history.status == ExecStatus::ErrorFatal {
            let text = format!(
                "Preventing {} from restarting anywhere because of fatal failure ({})",
                self[banned].id,
                exit_status_text(history.rc)
            );
            self.error(text);
            self.resource_location(banned, None, -INFINITY, Reason::FatalError);
        }
    }

    /// What cannot run where this resource cannot: all instances, if they are anonymous.
    pub(crate) fn banned_with(&self, rsc: RscIx) -> RscIx {
        if self[rsc].is(rf::UNIQUE) { rsc } else { self.uber(rsc) }
    }

    fn read_op(&mut self, rsc: RscIx, node: NodeIx, at: OpRef) -> Option<History> {
        let op = self.op(at);
        let last_failure = op.id()?.ends_with("_last_failure_0");
        let name = op.operation()?;
        let task = TASKS.into_iter().find(|task| *task == name)?;
        let status = op
            .status
            .and_then(ExecStatus::from_code)
            .filter(|s| !matches!(s, ExecStatus::Unknown | ExecStatus::Cancelled));
        let rc = op.rc.filter(|rc| (0..=255).contains(rc));
        let (Some(status), Some(rc)) = (status, rc) else {
            let text = format!(
                "Ignoring resource history entry {} for {} with invalid result",
                op.id().unwrap_or(""),
                self[rsc].id
            );
            self.error(text);
            return None;
        };
        Some(History {
            rsc,
            node,
            op: at,
            task,
            interval_ms: op.interval_ms,
            expected: op.target_rc,
            rc,
            status,
            is_probe: op.is_probe(),
            masked: op.is_masked_probe_failure() && !self.is_bundled(rsc),
            last_failure,
        })
    }

    /// Interprets a result: what was expected is no error, what is no service's failure neither.
    fn remap(&mut self, h: &mut History, on_fail: &mut OnFail, expired: bool) {
        let original = h.rc;
        h.rc = match h.rc {
            190 => 0,
            191 => 8,
            other => other,
        };
        if h.rc != original && !expired {
            let n = &self[h.node];
            if !n.shutdown || n.online {
                self.record_failed(h);
            }
        }
        if h.masked && (h.status != ExecStatus::Done || h.rc != 7) {
            h.status = ExecStatus::Done;
            h.rc = 7;
        }
        match h.status {
            ExecStatus::Done | ExecStatus::Error => {}
            ExecStatus::NoFenceDevice | ExecStatus::NoSecrets => {
                h.status = ExecStatus::ErrorHard;
                return;
            }
            _ => return,
        }
        h.status = if h.expected >= 0 && h.rc == h.expected {
            ExecStatus::Done
        } else {
            ExecStatus::Error
        };
        match h.rc {
            0 => {
                if h.is_probe && h.expected == 7 {
                    h.status = ExecStatus::Done;
                }
            }
            7 => {
                if h.is_probe || h.expected == h.rc || !self[h.rsc].is(rf::MANAGED) {
                    h.status = ExecStatus::Done;
                    self[h.rsc].orig_role = Role::Stopped;
                    *on_fail = OnFail::Ignore;
                    self.set_next_role(h.rsc, Role::Unknown);
                }
            }
            8 => {
                if h.is_probe && h.rc != h.expected {
                    h.status = ExecStatus::Done;
                }
                if !expired || h.rc == h.expected {
                    self[h.rsc].orig_role = Role::Promoted;
                }
            }
            9 => {
                if !expired {
                    self[h.rsc].orig_role = Role::Promoted;
                }
                h.status = ExecStatus::Error;
            }
            6 => h.status = ExecStatus::ErrorFatal,
            3 if h.interval_ms > 0 => h.status = ExecStatus::NotSupported,
            2..=5 => {
                if !expired {
                    self.block_if_unrecoverable(h);
                }
                h.status = ExecStatus::ErrorHard;
            }
            _ => {
                if h.status == ExecStatus::Done {
                    h.status = ExecStatus::Error;
                }
            }
        }
    }

    /// A stop that failed for good on a node that cannot be fenced ends all recovery.
    fn block_if_unrecoverable(&mut self, h: &History) {
        if h.task != "stop" || self.can_fence(h.node) {
            return;
        }
        let text = format!(
            "No further recovery can be attempted for {} because {} on {} failed ({})",
            self[h.rsc].id,
            h.task,
            self[h.node].name,
            exit_status_text(h.rc)
        );
        self.error(text);
        self[h.rsc].clear(rf::MANAGED);
        self[h.rsc].set(rf::BLOCKED);
    }

    /// Whether an expired result is done with.
    fn process_expired(&mut self, h: &History, original: i32) -> bool {
        if h.masked && original != h.expected {
            if self[h.rsc].orig_role <= Role::Stopped {
                self[h.rsc].orig_role = Role::Unknown;
            }
            return true;
        }
        if h.rc == h.expected {
            return false;
        }
        if h.interval_ms == 0 {
            return true;
        }
        let n = &self[h.node];
        if n.online && !n.unclean {
            // The executor would not report the same failure again: the operation is made anew.
            self.expired_ops.insert(h.op);
            return true;
        }
        false
    }

    fn mask_probe_failure(
        &mut self,
        h: &History,
        last_failure: Option<OpRef>,
        on_fail: &mut OnFail,
    ) {
        let ban = self.banned_with(h.rsc);
        self.update_state(h, h.expected, last_failure, on_fail);
        self.record_failed(h);
        self.resource_location(ban, Some(h.node), -INFINITY, Reason::FailedProbe);
    }

    /// Adds an operation to the failed ones, once per node and key.
    pub(crate) fn record_failed(&mut self, h: &History) {
        if !self[h.node].online {
            return;
        }
        let key = self.op(h.op).key();
        let known = self.failed.iter().any(|f| f.node == h.node && self.op(f.op).key() == key);
        if !known {
            self.failed.push(FailedOp { op: h.op, node: h.node, rsc: h.rsc });
        }
    }

    /// What the configuration says about the failure of an operation: what to do, and the role
    /// that remains.
    fn failure_handling(&mut self, h: &History) -> (OnFail, Role) {
        let config = self.action_config(h.rsc, h.task, h.interval_ms, true);
        let meta = self.action_meta(h.rsc, Some(h.node), h.task, h.interval_ms, config);
        let value = meta.get("on-fail").map(str::to_owned);
        let on_fail = match self.parse_on_fail(h.rsc, h.task, h.interval_ms, value.as_deref()) {
            // The controller has found that fences do not help.
            OnFail::Fence if self.op(h.op).is_fence_held() => OnFail::Block,
            on_fail => on_fail,
        };
        (on_fail, self.role_after_failure(h.rsc, h.task, on_fail))
    }

    fn process_failure(
        &mut self,
        h: &History,
        strategy: OnFail,
        fail_role: Role,
        last_failure: &mut Option<OpRef>,
        on_fail: &mut OnFail,
    ) {
        *last_failure = Some(h.op);
        if self.config.symmetric || h.rc != 5 {
            let op = self.op(h.op);
            let when = op.last_rc_change().map_or("unknown time".into(), ctime_text);
            let reason = op.exit_reason().filter(|r| !r.is_empty());
            let text = format!(
                "Unexpected result ({}{}{}) was recorded for {} of {} on {} at {when}",
                exit_status_text(h.rc),
                if reason.is_some() { ": " } else { "" },
                reason.unwrap_or(""),
                if h.is_probe { "probe" } else { h.task },
                self[h.rsc].id,
                self[h.node].name,
            );
            self.warn(text);
            self.record_failed(h);
        }
        if *on_fail < strategy {
            *on_fail = strategy;
        }
        match h.task {
            "stop" => {
                self.resource_location(h.rsc, Some(h.node), -INFINITY, Reason::FailedStop);
            }
            "migrate_to" => self.failed_migrate_to(h),
            "migrate_from" => self.failed_migrate_from(h),
            "promote" => self[h.rsc].orig_role = Role::Promoted,
            "demote" => {
                if strategy == OnFail::Block {
                    self[h.rsc].orig_role = Role::Promoted;
                    self.set_next_role(h.rsc, Role::Stopped);
                } else if h.rc == 7 {
                    self[h.rsc].orig_role = Role::Stopped;
                } else {
                    self[h.rsc].orig_role = Role::Unpromoted;
                }
            }
            _ => {}
        }
        if h.is_probe && h.rc == 5 {
            self[h.rsc].orig_role = Role::Stopped;
        } else if self[h.rsc].orig_role < Role::Started {
            self.set_active(h.rsc);
        }
        if fail_role != Role::Started && self[h.rsc].next_role < fail_role {
            self.set_next_role(h.rsc, fail_role);
        }
        if fail_role == Role::Stopped {
            self.ban_everywhere(h);
        }
    }

    fn set_active(&mut self, rsc: RscIx) {
        let promotable = self.is_promotable(rsc);
        self[rsc].orig_role = if promotable { Role::Unpromoted } else { Role::Started };
    }

    fn update_state(
        &mut self,
        h: &History,
        rc: i32,
        last_failure: Option<OpRef>,
        on_fail: &mut OnFail,
    ) {
        let mut clear_past_failure = false;
        let r = h.rsc;
        if rc == 5 || h.masked {
            self[r].orig_role = Role::Stopped;
        } else if rc == 7 {
            clear_past_failure = true;
        } else {
            match h.task {
                "monitor" => {
                    let key = self.op(h.op).key();
                    clear_past_failure = last_failure.is_some_and(|f| self.op(f).key() == key);
                    if self[r].orig_role < Role::Started {
                        self.set_active(r);
                    }
                }
                "start" | "migrate_from" => {
                    self[r].orig_role = Role::Started;
                    clear_past_failure = true;
                }
                "stop" => {
                    self[r].orig_role = Role::Stopped;
                    clear_past_failure = true;
                }
                "promote" => {
                    self[r].orig_role = Role::Promoted;
                    clear_past_failure = true;
                }
                "demote" => {
                    clear_past_failure = *on_fail == OnFail::Demote;
                    self[r].orig_role = Role::Unpromoted;
                }
                "migrate_to" => self.succeeded_migrate_to(h),
                _ if self[r].orig_role < Role::Started => self.set_active(r),
                _ => {}
            }
        }
        if !clear_past_failure {
            return;
        }
        match *on_fail {
            OnFail::Stop | OnFail::Ban | OnFail::Standby | OnFail::Fence => {}
            OnFail::ResetRemote if self[r].remote_reconnect_ms > 0 => {}
            _ => {
                *on_fail = OnFail::Ignore;
                self.set_next_role(r, Role::Unknown);
            }
        }
    }

    fn process_pending(&mut self, h: &History, last_failure: Option<OpRef>) {
        if self.failure_is_newer(h, last_failure) {
            return;
        }
        match h.task {
            "start" => {
                self[h.rsc].set(rf::START_PENDING);
                self.set_active(h.rsc);
            }
            "promote" => self[h.rsc].orig_role = Role::Promoted,
            "migrate_to" if self[h.node].unclean => {
                let target = self.op(h.op).migrate_target();
                if let Some(target) = target.and_then(|t| self.find_node(t)) {
                    self.stop_action(h.rsc, Some(target), false);
                }
            }
            _ => {}
        }
        if self[h.rsc].pending_action.is_none() && !(h.interval_ms == 0 && h.task == "monitor") {
            let name = self.names.intern(h.task);
            self[h.rsc].pending_action = Some(name);
            self[h.rsc].pending_node = Some(h.node);
        }
    }

    fn failure_is_newer(&self, h: &History, last_failure: Option<OpRef>) -> bool {
        let Some(failure) = last_failure.map(|f| self.op(f)) else { return false };
        if failure.operation() != Some(h.task) || failure.interval_ms != h.interval_ms {
            return false;
        }
        match (self.op(h.op).last_rc_change(), failure.last_rc_change()) {
            (Some(this), Some(failed)) => failed >= this,
            _ => false,
        }
    }

    /// The failed probe that tells why a resource is not running somewhere.
    pub(crate) fn failed_probe(&self, rsc: RscIx, node: Option<NodeIx>) -> Option<i32> {
        let top = self.uber(rsc);
        let id = match self[top].def.children.first() {
            Some(inner) if self.is_clone(top) => &inner.id,
            _ => &self[rsc].id,
        };
        self.failed.iter().map(|f| self.op(f.op)).find_map(|op| {
            if !op.is_masked_probe_failure() {
                return None;
            }
            let on = op.on_node()?;
            let there = node.is_none_or(|n| self[n].name.eq_ignore_ascii_case(on));
            let (named, _, _) = cib_model::parse_op_key(op.key()?)?;
            (there && named == &**id).then_some(op.rc.unwrap_or(0))
        })
    }
}
