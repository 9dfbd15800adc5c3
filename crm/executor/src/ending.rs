//! The end of a node that the others take to be down: everything that it started is stopped.
//!
//! Nobody is left who could order the stops, so all begin at once, and those that fail because they
//! wait for another one (a file system that a database still uses) are tried again in a second and a
//! third round.

use std::time::Duration;

use membership_base::Instant;

use crate::started::StartedWith;
use crate::{Effect, Executor, Operation};

/// How often what cannot be stopped is tried.
const ROUNDS: u32 = 3;
/// What a stop may take: the configured limits went with the operations.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How far the end has come.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// The round of stops that is under way; nothing once it was said what is left.
    round: Option<u32>,
    /// What is added to the parameters of each stop.
    added: Vec<(String, String)>,
}

impl Executor {
    /// Nothing is carried out any more but the stops of what was started. What is running is ended.
    pub(crate) fn stop_all(&mut self, now: Instant, added: Vec<(String, String)>) {
        if self.ending.is_some() {
            return;
        }
        self.recurring.clear();
        for lane in self.lanes.values_mut() {
            lane.waiting.clear();
            if let Some(run) = lane.flight.as_mut().and_then(|flight| flight.give_up(now)) {
                self.effects.push_back(Effect::Kill { run });
            }
        }
        self.ending = Some(Ending { round: None, added });
        self.begin_round(now, 1);
    }

    /// Once a round is over, begins the next one, or says what is left.
    pub(crate) fn go_on_ending(&mut self, now: Instant) {
        let Some(round) = self.ending.as_ref().and_then(|ending| ending.round) else { return };
        if !self.lanes.is_empty() {
            return;
        }
        if round < ROUNDS && self.started.here().next().is_some() {
            self.begin_round(now, round + 1);
            return self.advance(now);
        }
        self.ending.iter_mut().for_each(|ending| ending.round = None);
        let left = self.started.here().map(str::to_owned).collect();
        self.effects.push_back(Effect::AllStopped { left });
    }

    fn begin_round(&mut self, now: Instant, round: u32) {
        let Some(ending) = &mut self.ending else { return };
        ending.round = Some(round);
        let stops = self.started.iter().map(|(resource, with)| stop(resource, with, &ending.added));
        let stops: Vec<Operation> = stops.collect();
        for operation in stops {
            self.calls += 1;
            let call = self.calls;
            self.enqueue(now, operation, call);
        }
    }
}

fn stop(resource: &str, with: &StartedWith, added: &[(String, String)]) -> Operation {
    let timeout_ms = u64::try_from(STOP_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    let timeout = ("CRM_meta_timeout".to_owned(), timeout_ms.to_string());
    Operation {
        resource: resource.to_owned(),
        action: "stop".to_owned(),
        interval_ms: 0,
        timeout_ms,
        start_delay_ms: 0,
        agent: with.agent.clone(),
        params: with.params.iter().chain(added).cloned().chain([timeout]).collect(),
        tag: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Agent, Input, Outcome, RunId, code};

    fn op(resource: &str, action: &str) -> Operation {
        let agent = Agent { class: "ocf".into(), provider: None, name: "x".into() };
        let with = StartedWith { agent, params: vec![("at".into(), resource.into())] };
        Operation { action: action.into(), timeout_ms: 1000, ..stop(resource, &with, &[]) }
    }

    fn drain(executor: &mut Executor) -> Vec<Effect> {
        std::iter::from_fn(|| executor.poll_effect()).collect()
    }

    /// What the agents are called for now.
    fn calls(executor: &mut Executor) -> Vec<(RunId, String)> {
        let call = |effect| match effect {
            Effect::Run { run, operation, .. } => {
                Some((run, format!("{} {}", operation.action, operation.resource)))
            }
            _ => None,
        };
        drain(executor).into_iter().filter_map(call).collect()
    }

    fn finish(executor: &mut Executor, run: RunId, code: i32) {
        executor.handle(Instant(1), Input::Finished { run, outcome: Outcome::done(code) });
    }

    fn stop_all() -> Input {
        Input::StopAll { added: vec![("CRM_meta_on_node".into(), "n1".into())] }
    }

    /// An executor that has started these.
    fn running(resources: &[&str]) -> Executor {
        let mut executor = Executor::new(BTreeMap::new());
        for resource in resources {
            executor.handle(Instant(0), Input::Execute(op(resource, "start")));
            let [(run, _)] = calls(&mut executor)[..] else { panic!("one start begins") };
            finish(&mut executor, run, code::OK);
        }
        drain(&mut executor);
        executor
    }

    #[test]
    fn all_that_was_started_is_stopped_and_what_fails_is_tried_again() {
        let mut executor = running(&["db", "fs"]);
        executor.handle(Instant(1), stop_all());
        let [(db, first), (fs, second)] = &calls(&mut executor)[..] else { panic!("two stops") };
        assert_eq!((first.as_str(), second.as_str()), ("stop db", "stop fs"));
        finish(&mut executor, *fs, code::ERROR);
        assert!(calls(&mut executor).is_empty(), "the round is not over");
        finish(&mut executor, *db, code::OK);
        let [(fs, again)] = &calls(&mut executor)[..] else { panic!("one stop") };
        assert_eq!(again, "stop fs");
        finish(&mut executor, *fs, code::OK);
        assert!(drain(&mut executor).contains(&Effect::AllStopped { left: Vec::new() }));
    }

    #[test]
    fn what_cannot_be_stopped_is_named_after_three_rounds() {
        let mut executor = running(&["db"]);
        executor.handle(Instant(1), stop_all());
        for _ in 0..ROUNDS {
            let [(run, _)] = calls(&mut executor)[..] else { panic!("one stop") };
            finish(&mut executor, run, code::ERROR);
        }
        assert!(drain(&mut executor).contains(&Effect::AllStopped { left: vec!["db".into()] }));
    }

    #[test]
    fn what_is_under_way_is_ended_and_nothing_else_begins() {
        let mut executor = running(&["db"]);
        executor.handle(Instant(0), Input::Execute(op("db", "monitor")));
        executor.handle(Instant(0), Input::Execute(op("db", "demote")));
        executor.handle(Instant(0), Input::Execute(op("web", "start")));
        let [(monitor, _), (start, _)] = calls(&mut executor)[..] else { panic!("two runs") };
        executor.handle(Instant(1), stop_all());
        executor.handle(Instant(1), Input::Execute(op("vip", "start")));
        let killed = [Effect::Kill { run: monitor }, Effect::Kill { run: start }];
        assert_eq!(drain(&mut executor), killed);
        finish(&mut executor, monitor, code::OK);
        finish(&mut executor, start, code::OK);
        let stops: Vec<_> = calls(&mut executor).into_iter().map(|(_, call)| call).collect();
        assert_eq!(stops, ["stop db", "stop web"]);
    }

    #[test]
    fn with_nothing_started_the_end_is_said_at_once() {
        let mut executor = running(&[]);
        executor.handle(Instant(1), stop_all());
        executor.handle(Instant(1), stop_all());
        assert_eq!(drain(&mut executor), [Effect::AllStopped { left: Vec::new() }]);
    }
}
