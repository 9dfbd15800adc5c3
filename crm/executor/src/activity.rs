//! What this executor has seen of whether resources may be active on its node, and what follows
//! from it for a stop that its agent refuses.
//!
//! The rule: an agent refuses an action if it is not there, cannot exist, or answers "not
//! installed" (5) or "wrong parameters" (2, 6), which OCF agents do before they have changed
//! anything. A stop that is refused is a success if this executor has not begun to start the
//! resource since it was last known to be stopped, and no monitor has found it, or left it open:
//! nothing can run then, and a failed stop would have the node fenced for a typo. If the resource
//! may be active (its agent was removed while it ran, say), the stop has failed, and the reason
//! says so: nobody else can tell whether it still runs.
//!
//! What an earlier daemon on this host has started and not stopped may be active as well.

use std::collections::BTreeMap;

use crate::{Operation, Outcome, Status, code};

/// Resources that may be active, and what was known before the start under way, if one is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(BTreeMap<String, State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Known to be stopped until the start that is under way, or that nobody has heard the end of.
    Starting,
    /// It was started here, or found.
    Active,
}

/// Whether the agent has not so much as tried.
fn is_refused(outcome: &Outcome) -> bool {
    let refusal = [code::ARGS, code::NOT_INSTALLED, code::NOT_CONFIGURED].contains(&outcome.code);
    match outcome.status {
        Status::NotInstalled => true,
        Status::Done => refusal,
        Status::Cancelled | Status::TimedOut | Status::Error => false,
    }
}

impl Activity {
    /// An earlier daemon may have left these running.
    pub(crate) fn new(left_running: impl Iterator<Item = String>) -> Activity {
        Activity(left_running.map(|resource| (resource, State::Active)).collect())
    }

    /// An agent is called.
    pub(crate) fn begins(&mut self, operation: &Operation) {
        if matches!(operation.action.as_str(), "start" | "migrate_from") {
            self.0.entry(operation.resource.clone()).or_insert(State::Starting);
        }
    }

    /// A call has ended: what it means for the resource, and how it is to be reported.
    pub(crate) fn ended(&mut self, operation: &Operation, outcome: Outcome) -> Outcome {
        let resource = &operation.resource;
        let refused = is_refused(&outcome);
        let done = |wanted| outcome.status == Status::Done && outcome.code == wanted;
        match operation.action.as_str() {
            "start" | "migrate_from" if refused => {
                self.0.retain(|known, state| known != resource || *state == State::Active);
            }
            "start" | "migrate_from" | "promote" => _ = self.found(resource),
            "stop" if refused => return self.refused_stop(operation, outcome),
            "stop" if done(code::OK) => _ = self.0.remove(resource),
            "monitor" if done(code::NOT_RUNNING) => _ = self.0.remove(resource),
            "monitor" if !refused && outcome.status != Status::Cancelled => {
                _ = self.found(resource);
            }
            _ => {}
        }
        outcome
    }

    fn found(&mut self, resource: &str) -> Option<State> {
        self.0.insert(resource.to_owned(), State::Active)
    }

    fn refused_stop(&self, operation: &Operation, outcome: Outcome) -> Outcome {
        let resource = &operation.resource;
        let why = match outcome.reason.as_str() {
            "" => format!("its agent answers {}", outcome.code),
            reason => reason.to_owned(),
        };
        if self.0.contains_key(resource) {
            let reason = format!(
                "{resource} was started on this node and cannot be stopped now: {why}; \
                 put the agent or its parameters right"
            );
            return Outcome { reason, ..outcome };
        }
        let reason = format!("nothing of {resource} runs on this node: {why}");
        Outcome { status: Status::Done, code: code::OK, reason, ..outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Agent;

    fn op(action: &str) -> Operation {
        Operation {
            resource: "r".into(),
            action: action.into(),
            interval_ms: 0,
            timeout_ms: 1000,
            start_delay_ms: 0,
            agent: Agent { class: "ocf".into(), provider: Some("p".into()), name: "x".into() },
            params: vec![],
            tag: String::new(),
        }
    }

    fn missing() -> Outcome {
        Outcome::broken(Status::NotInstalled, code::NOT_INSTALLED, "the agent is not installed")
    }

    /// How the last of these is reported, each given by its action and how the agent ended.
    fn last(calls: &[(&str, Outcome)]) -> Outcome {
        let mut activity = Activity::default();
        let mut reported = None;
        for (action, outcome) in calls {
            activity.begins(&op(action));
            reported = Some(activity.ended(&op(action), outcome.clone()));
        }
        reported.unwrap()
    }

    fn refusals() -> Vec<Outcome> {
        vec![missing(), Outcome::done(2), Outcome::done(5), Outcome::done(6)]
    }

    #[test]
    fn a_refused_stop_of_what_never_ran_here_is_a_success_with_a_reason() {
        for refusal in refusals() {
            for before in [None, Some(Outcome::done(7)), Some(refusal.clone())] {
                let before = before.map(|outcome| ("monitor", outcome));
                let start = ("start", refusal.clone());
                for started in [None, Some(start)] {
                    let stop = ("stop", refusal.clone());
                    let calls: Vec<_> =
                        before.clone().into_iter().chain(started).chain([stop]).collect();
                    let reported = last(&calls);
                    assert_eq!((reported.status, reported.code), (Status::Done, code::OK));
                    assert!(reported.reason.starts_with("nothing of r runs"), "{reported:?}");
                }
            }
        }
    }

    #[test]
    fn a_stop_that_is_refused_by_an_agent_that_vanished_while_the_resource_ran_has_failed() {
        let ways_to_run: [&[(&str, Outcome)]; 6] = [
            &[("start", Outcome::done(0))],
            &[("monitor", Outcome::done(0))],
            &[("monitor", Outcome::done(8))],
            &[("start", Outcome::broken(Status::TimedOut, 1, "late"))],
            &[("monitor", Outcome::done(1))],
            &[("migrate_from", Outcome::done(1))],
        ];
        for refusal in refusals() {
            for way in ways_to_run {
                // That its monitor is refused as well says nothing of the resource.
                let rest = [("monitor", refusal.clone()), ("start", refusal.clone())];
                let stop = ("stop", refusal.clone());
                let calls: Vec<_> = way.iter().cloned().chain(rest).chain([stop]).collect();
                let reported = last(&calls);
                assert_eq!((reported.status, reported.code), (refusal.status, refusal.code));
                assert!(reported.reason.contains("was started on this node"), "{reported:?}");
            }
        }
    }

    #[test]
    fn a_refused_stop_of_what_an_earlier_daemon_left_running_has_failed() {
        let mut activity = Activity::new(["r".to_owned()].into_iter());
        assert_eq!(activity.ended(&op("stop"), missing()).status, Status::NotInstalled);
    }

    #[test]
    fn what_was_stopped_or_found_gone_is_no_longer_known_as_active() {
        for end in [("stop", Outcome::done(0)), ("monitor", Outcome::done(7))] {
            let calls = [("start", Outcome::done(0)), end, ("stop", Outcome::done(6))];
            assert_eq!(last(&calls).code, code::OK);
        }
    }

    #[test]
    fn a_stop_that_fails_otherwise_has_failed() {
        for outcome in [Outcome::done(1), Outcome::broken(Status::Error, 5, "signal 11")] {
            let reported = last(&[("monitor", Outcome::done(7)), ("stop", outcome.clone())]);
            assert_eq!(reported, outcome);
        }
    }
}
