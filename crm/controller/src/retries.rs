//! Actions that fail each time that they are tried: the next try waits, longer each time.
//!
//! A failed action leads to a new plan at once, and the plan may well want the same again: a stop
//! whose failure neither blocks the resource nor has the node fenced, for one. Only that action
//! waits. The rest of the plan is carried out, and a plan that is made meanwhile does not have it
//! tried sooner.

use std::collections::BTreeMap;
use std::time::Duration;

use crm_executor::Status;
use crm_graph::{Action, ActionKind};
use membership_base::Instant;

use crate::WireReport;

/// The pause after the second failure in a row; there is none after the first.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Failures further apart than this are not in a row, and are forgotten.
const IN_A_ROW: Duration = Duration::from_secs(180);

/// Resource, operation, node.
type Key = (String, String, String);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    not_before: Instant,
}

/// What has failed last time it was tried, and when it may be tried again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retries {
    failed: BTreeMap<Key, Failures>,
    timer: Option<Instant>,
}

impl Retries {
    /// An operation has ended. Returns what there is to say about the next try.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        report: &WireReport,
        good: bool,
    ) -> Option<String> {
        let (operation, node) = (&report.operation, &report.node);
        if operation.interval_ms > 0 || report.outcome.status == Status::Cancelled {
            return None;
        }
        let key = (operation.resource.clone(), operation.action.clone(), node.clone());
        if good {
            self.failed.remove(&key);
            return None;
        }
        self.failed.retain(|_, f| now - f.last < IN_A_ROW);
        let first = Failures { count: 0, last: now, not_before: now };
        let failures = self.failed.entry(key).or_insert(first);
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        let doublings = failures.count.checked_sub(2)?.min(20);
        let pause = (PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX);
        failures.not_before = now + pause;
        Some(format!(
            "{} of {} on {node} has failed {} times in a row: if it is wanted again, it is not \
             tried for {} ms",
            operation.action,
            operation.resource,
            failures.count,
            pause.as_millis()
        ))
    }

    /// A node or a resource is to be looked at with fresh eyes; of none, all are.
    pub(crate) fn forget(&mut self, node: Option<&str>, resource: Option<&str>) {
        self.failed.retain(|(r, _, n), _| {
            node.is_some_and(|node| node != n) || resource.is_some_and(|resource| resource != r)
        });
    }

    /// Whether an action has to wait.
    pub(crate) fn holds(&self, now: Instant, action: &Action) -> bool {
        let (ActionKind::Resource, Some(resource), Some(node)) =
            (action.kind, &action.resource, &action.on_node)
        else {
            return false;
        };
        let once = action.attribute("CRM_meta_interval").is_none_or(|interval| interval == "0");
        let waits = || {
            let key = (resource.id.to_string(), action.operation.to_string(), node.to_string());
            self.failed.get(&key).is_some_and(|f| f.not_before > now)
        };
        once && !self.failed.is_empty() && waits()
    }

    /// Whether something that has failed may not be tried yet.
    pub(crate) fn waits(&self, now: Instant) -> bool {
        self.failed.values().any(|f| f.not_before > now)
    }

    /// The step of the machine is over.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.timer = self.failed.values().map(|f| f.not_before).filter(|at| *at > now).min();
    }

    /// When something may be tried again.
    pub(crate) fn timer(&self) -> Option<Instant> {
        self.timer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crm_executor::{Agent, Operation, Outcome};

    fn ms(n: u64) -> Instant {
        Instant(n * 1_000_000)
    }

    fn report(resource: &str, interval_ms: u64) -> WireReport {
        WireReport {
            node: "a".into(),
            operation: Operation {
                resource: resource.into(),
                action: "stop".into(),
                interval_ms,
                timeout_ms: 0,
                start_delay_ms: 0,
                agent: Agent { class: "ocf".into(), provider: None, name: "x".into() },
                params: vec![],
                tag: String::new(),
            },
            call: 1,
            outcome: Outcome::done(1),
            started_s: 0,
            ran_ms: 0,
            queued_ms: 0,
        }
    }

    /// Fails as soon as it may be tried, for that long; how often.
    fn tries(retries: &mut Retries, until_ms: u64) -> u32 {
        let (mut now, mut count) = (ms(0), 0);
        while now < ms(until_ms) {
            retries.ended(now, &report("r", 0), false);
            count += 1;
            retries.tick(now);
            now = retries.timer().unwrap_or(now + Duration::from_millis(20));
        }
        count
    }

    #[test]
    fn what_fails_at_once_each_time_is_tried_a_few_times_a_minute_at_most() {
        let mut retries = Retries::default();
        let minute = tries(&mut retries, 60_000);
        assert!((8..=12).contains(&minute), "{minute}");
        let mut retries = Retries::default();
        let hour = tries(&mut retries, 3_600_000);
        assert!(hour <= 75, "{hour}");
    }

    #[test]
    fn the_second_try_comes_at_once_and_what_succeeds_is_forgotten() {
        let mut retries = Retries::default();
        assert_eq!(retries.ended(ms(0), &report("r", 0), false), None);
        assert!(!retries.waits(ms(0)));
        let said = retries.ended(ms(1), &report("r", 0), false).unwrap();
        assert!(said.contains("stop of r on a has failed 2 times"), "{said}");
        assert!(retries.waits(ms(100)) && !retries.waits(ms(101)));
        retries.ended(ms(2), &report("r", 0), true);
        assert!(!retries.waits(ms(3)));
    }

    #[test]
    fn monitors_and_what_failed_long_ago_do_not_count() {
        let mut retries = Retries::default();
        for n in 0..5 {
            assert_eq!(retries.ended(ms(n), &report("r", 10), false), None);
            assert_eq!(retries.ended(ms(n * 200_000), &report("r", 0), false), None);
        }
    }

    #[test]
    fn cleaning_up_has_it_tried_at_once() {
        for (node, resource) in [(None, Some("r")), (Some("a"), None), (None, None)] {
            let mut retries = Retries::default();
            for n in 0..5 {
                retries.ended(ms(n), &report("r", 0), false);
            }
            retries.forget(Some("b"), None);
            retries.forget(None, Some("s"));
            assert!(retries.waits(ms(6)));
            retries.forget(node, resource);
            assert!(!retries.waits(ms(6)), "{node:?} {resource:?}");
        }
    }
}
