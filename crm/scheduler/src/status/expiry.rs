//! Failures that are too old to count.

use cib_model::{ExecStatus, seconds_of_ms};

use super::digest::DigestMatch;
use super::failcount::Count;
use super::outcome::History;
use crate::base::{ParamCheck, RscIx, Ws, ar};

impl Ws {
    /// Whether a result expired; schedules that the fail count is cleared where that is due.
    pub(crate) fn check_expiry(&mut self, h: &History) -> bool {
        if h.status == ExecStatus::NotInstalled {
            return false;
        }
        let expiration = seconds_of_ms(self[h.rsc].failure_expiration_ms);
        let (mut expired, mut clear) = (false, false);
        let mut unexpired_failures = 0;
        let effective = Count { effective: true, launched: false };
        if expiration > 0
            && let Some(last_run) = self.op(h.op).last_rc_change()
        {
            let now = self.now();
            expired = now >= last_run + expiration && !self.ignores_timeout(h);
            let (count, last) = self.failcount(h.node, h.rsc, effective, Some(h.op));
            unexpired_failures = count;
            let limit = last + expiration + 1;
            if count != 0 && now < limit {
                self.recheck_at(limit);
            }
        }
        if expired {
            if self.failcount(h.node, h.rsc, Count::default(), Some(h.op)).0 != 0 {
                if unexpired_failures == 0 {
                    clear = true;
                } else {
                    expired = false;
                }
            } else if h.last_failure && self[h.rsc].remote_reconnect_ms > 0 {
                clear = true;
            }
        }
        if !expired && h.last_failure && self.parameters_changed(h) {
            clear = true;
        }
        if clear {
            let action = self.clear_failcount(h.rsc, h.node);
            if self.config.fencing_enabled && self[h.rsc].remote_reconnect_ms > 0 {
                self.order_after_remote_fencing(action, h.rsc);
            }
        }
        let harmless = matches!(h.rc, 0 | 7 | 8 | 190 | 191);
        expired && !(h.interval_ms == 0 && h.task == "monitor" && harmless)
    }

    /// A remote connection's failure counts until its node was fenced.
    fn ignores_timeout(&self, h: &History) -> bool {
        let waits = self[h.rsc].remote_reconnect_ms > 0
            && self.config.fencing_enabled
            && h.interval_ms != 0
            && h.task.eq_ignore_ascii_case("monitor");
        waits && self.find_node(&self[h.rsc].id).is_some_and(|n| !self[n].remote_fenced)
    }

    fn parameters_changed(&mut self, h: &History) -> bool {
        if !matches!(h.task, "start" | "monitor") {
            return false;
        }
        if self.needs_host_address(h.rsc) {
            let check = ParamCheck { op: h.op, rsc: h.rsc, node: h.node, last_failure: true };
            self.param_checks.push(check);
            return false;
        }
        let found = self.compare_digest(h.rsc, h.op, h.node);
        !matches!(found.matches, DigestMatch::Unknown | DigestMatch::Match)
    }

    fn order_after_remote_fencing(&mut self, action: crate::base::ActionIx, connection: RscIx) {
        let id = self[connection].id.clone();
        if let Some(node) = self.find_node(&id) {
            let fence = self.fence_op(node, None, true, None, false);
            self.order_actions(Some(fence), Some(action), ar::FIRST_IMPLIES_THEN);
        }
    }
}
