//! How often a resource failed on a node, from node attributes.

use cib_model::{Str, add_scores, base_name, parse_score, scan_int, seconds_of_ms};

use crate::base::{NodeIx, OpRef, RscIx, Ws, rf, task};

/// How the names of attributes begin that tell of failures: how many, and when the last was.
pub(crate) const FAILURES: [&str; 2] = ["fail-count-", "last-failure-"];

/// Which failures count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// Leave out what expired.
    pub(crate) effective: bool,
    /// Add those of resources that run inside.
    pub(crate) launched: bool,
}

impl Count {
    /// Only what has not expired.
    pub(crate) const EFFECTIVE: Count = Count { effective: true, launched: false };
}

impl Ws {
    /// The fail count, and when it last rose (0 if never).
    pub(crate) fn failcount(
        &mut self,
        node: NodeIx,
        rsc: RscIx,
        count: Count,
        op: Option<OpRef>,
    ) -> (i32, i64) {
        let (mut failures, mut last) = self.recorded_failures(node, rsc);
        if failures > 0 && self[rsc].failure_expiration_ms > 0 && self.blocks(node, rsc, op) {
            let text = format!(
                "Ignoring failure timeout for {} because it conflicts with on-fail=block",
                self[rsc].id
            );
            self.warn(text);
            self[rsc].failure_expiration_ms = 0;
        }
        let expiration = self[rsc].failure_expiration_ms;
        let expires = count.effective && failures > 0 && last > 0 && expiration > 0;
        if expires && self.now() > last + seconds_of_ms(expiration) {
            failures = 0;
        }
        if count.launched && !self.is_bundled(rsc) {
            for inner in self[rsc].launched.clone() {
                let (more, inner_last) = self.failcount(node, inner, count, op);
                failures += more;
                last = last.max(inner_last);
            }
        }
        if failures > 0 { (failures, last) } else { (failures, 0) }
    }

    /// Sums over attributes `fail-count-RSC#OPERATION_INTERVAL` and `last-failure-…`.
    pub(crate) fn recorded_failures(&self, node: NodeIx, rsc: RscIx) -> (i32, i64) {
        if !self[node].has_failures {
            return (0, 0);
        }
        let r = &self[rsc];
        let name: &Str = r.history_id.as_ref().unwrap_or(&r.id);
        let unique = r.is(rf::UNIQUE);
        let name = if unique { name } else { base_name(name) };
        let applies = |rest: &str| -> bool {
            let Some(rest) = rest.strip_prefix(name) else { return false };
            let rest = match rest.strip_prefix(':').filter(|_| !unique) {
                Some(numbered) => {
                    let digits = numbered.trim_start_matches(|c: char| c.is_ascii_digit());
                    if digits.len() == numbered.len() { rest } else { digits }
                }
                None => rest,
            };
            rest.strip_prefix('#').and_then(|op| op.rsplit_once('_')).is_some_and(|(op, n)| {
                !op.is_empty() && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())
            })
        };
        let (mut failures, mut last) = (0, 0);
        let [fail_count, last_failure] = FAILURES;
        for (attr, value) in self[node].attrs.iter() {
            if let Some(rest) = attr.strip_prefix(fail_count) {
                if let Some(n) = parse_score(value).filter(|_| applies(rest)) {
                    failures = add_scores(failures, n);
                }
            } else if let Some(rest) = attr.strip_prefix(last_failure)
                && let Some(at) = scan_int(value).filter(|_| applies(rest))
            {
                last = last.max(at);
            }
        }
        (failures, last)
    }

    /// Whether the failure is of an operation that blocks the resource.
    fn blocks(&self, node: NodeIx, rsc: RscIx, op: Option<OpRef>) -> bool {
        let name = base_name(&self[rsc].id).to_owned();
        let def = self[rsc].def.clone();
        if *def.id != *name {
            return false;
        }
        let blocking = def.ops.iter().filter(|o| o.on_fail.as_deref() == Some("block"));
        for conf in blocking {
            let matched = match op {
                Some(op) => self.is_matched_failure(&name, &conf.name, conf.interval_ms, op),
                None => self
                    .recorded_with(node, &name, conf)
                    .into_iter()
                    .any(|op| self.is_matched_failure(&name, &conf.name, conf.interval_ms, op)),
            };
            if matched {
                return true;
            }
        }
        false
    }

    fn recorded_with(&self, node: NodeIx, rsc: &str, conf: &cib_model::OpDef) -> Vec<OpRef> {
        let mut ops = self.ops_of(&self[node].name, rsc);
        ops.retain(|at| {
            let recorded = self.op(*at);
            recorded.operation() == Some(&conf.name) && recorded.interval_ms == conf.interval_ms
        });
        ops
    }

    fn is_matched_failure(&self, rsc: &str, name: &str, interval: u32, op: OpRef) -> bool {
        let op = self.op(op);
        let same = op.operation().is_some_and(|o| o.eq_ignore_ascii_case(name));
        if op.interval_ms != interval || !same {
            return false;
        }
        let id = op.id().unwrap_or("");
        if id.eq_ignore_ascii_case(&format!("{rsc}_last_failure_0")) {
            return true;
        }
        id.eq_ignore_ascii_case(&format!("{rsc}_{name}_{interval}"))
            && op.rc.unwrap_or(0) != op.target_rc
    }

    /// Schedules that a fail count is forgotten.
    pub(crate) fn clear_failcount(&mut self, rsc: RscIx, node: NodeIx) -> crate::base::ActionIx {
        let name = task::CLEAR_FAILCOUNT;
        let action = self.rsc_action(rsc, name, 0, name, Some(node), false);
        self[action].meta.set("op_no_wait", "true");
        action
    }
}
