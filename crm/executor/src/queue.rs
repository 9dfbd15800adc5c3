//! The queues.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use membership_base::Instant;

use crate::activity::Activity;
use crate::ending::Ending;
use crate::started::{Started, StartedWith};
use crate::{Effect, Input, Operation, Outcome, RecurringTable, Report, RunId, Status, code};

/// How long a killed process group may take to end before its run is given up.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// The parameter of a `migrate_to` that names the node it goes to.
const MIGRATE_TARGET: &str = "CRM_meta_migrate_target";

#[derive(Clone, Debug)]
pub(crate) struct Recurring {
    operation: Operation,
    call: u32,
    /// When it runs next; `None` while it is queued or in flight.
    due: Option<Instant>,
    last: Option<(Status, i32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    operation: Operation,
    call: u32,
    queued_at: Instant,
    not_before: Instant,
}

#[derive(Clone, Debug)]
pub(crate) struct Flight {
    run: RunId,
    job: Job,
    started: Instant,
    deadline: Instant,
    timed_out: bool,
    /// Tags of cancellations that wait for the run to end.
    cancels: Vec<String>,
}

impl Flight {
    /// Its agent is to be ended before its time is over: by which run, unless that is under way.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<RunId> {
        let begun = std::mem::replace(&mut self.timed_out, true);
        (!begun).then(|| {
            self.deadline = now + KILL_GRACE;
            self.run
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) waiting: VecDeque<Job>,
    pub(crate) flight: Option<Flight>,
}

/// The executor of one node; see the crate's page.
#[derive(Clone, Debug, Default)]
pub struct Executor {
    pub(crate) lanes: BTreeMap<String, Lane>,
    pub(crate) recurring: RecurringTable,
    pub(crate) started: Started,
    activity: Activity,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) calls: u32,
    runs: u64,
    pub(crate) ending: Option<Ending>,
}

impl Executor {
    /// An executor that has called nothing yet. `started` is what an earlier daemon on this host has
    /// left running: all that was kept by [`Effect::Keep`].
    pub fn new(started: BTreeMap<String, StartedWith>) -> Executor {
        let activity = Activity::new(started.keys().cloned());
        Executor { activity, started: Started::new(started), ..Executor::default() }
    }

    /// Takes one input; drain [`Executor::poll_effect`] before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Finished { run, outcome } => self.finished(now, run, outcome),
            _ if self.ending.is_some() => {}
            Input::Execute(operation) => self.execute(now, operation),
            Input::Cancel { resource, action, interval_ms, tag } => {
                self.cancel(now, (resource, action, interval_ms), tag);
            }
            Input::Forget { resource } => self.end_recurring(now, |key| key.0 == resource),
            Input::Expect(migration) => {
                if let Some(with) = self.started.expect(&migration) {
                    let (resource, with) = (migration.resource, Some(with));
                    self.effects.push_back(Effect::Keep { resource, with });
                }
            }
            Input::TargetLost { node } => self.end_migrations(now, &node),
            Input::StopAll { added } => self.stop_all(now, added),
            Input::CheckNow { resource } => {
                for (key, recurring) in &mut self.recurring {
                    if key.0 == resource && recurring.due.is_some() {
                        recurring.due = Some(now);
                    }
                }
            }
        }
        self.advance(now);
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Executor::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lanes = self.lanes.values().filter_map(|lane| match &lane.flight {
            Some(flight) => Some(flight.deadline),
            None => lane.waiting.front().map(|job| job.not_before),
        });
        lanes.chain(self.recurring.values().filter_map(|r| r.due)).min()
    }

    /// Operations that have been asked for and not reported, recurring ones that had their first
    /// report left out.
    pub fn in_flight(&self) -> impl Iterator<Item = &Operation> {
        self.lanes
            .values()
            .flat_map(|lane| lane.flight.iter().map(|f| &f.job).chain(&lane.waiting))
            .map(|job| &job.operation)
            .filter(|op| {
                op.interval_ms == 0
                    || self.recurring.get(&recurring_key(op)).is_some_and(|r| r.last.is_none())
            })
    }

    fn execute(&mut self, now: Instant, operation: Operation) {
        self.calls += 1;
        let call = self.calls;
        // Monitors would find that the resource is not there any more, and count that as a failure.
        if ends_monitors(&operation.action) {
            self.end_recurring(now, |key| key.0 == operation.resource);
            if let Some(lane) = self.lanes.get_mut(&operation.resource) {
                lane.waiting.retain(|job| job.operation.interval_ms == 0);
            }
        }
        if operation.interval_ms > 0 {
            let key = recurring_key(&operation);
            if let Some(lane) = self.lanes.get_mut(&operation.resource) {
                lane.waiting.retain(|job| recurring_key(&job.operation) != key);
            }
            self.end_recurring(now, |known| *known == key);
            let recurring = Recurring { operation: operation.clone(), call, due: None, last: None };
            self.recurring.insert(key, recurring);
        }
        self.enqueue(now, operation, call);
    }

    /// Ends recurring operations. Whoever asked for one that has reported nothing yet still waits
    /// for its first report and is told that there will be none.
    fn end_recurring(&mut self, now: Instant, ends: impl Fn(&(String, String, u64)) -> bool) {
        let ended: Vec<_> = self.recurring.extract_if(.., |key, _| ends(key)).collect();
        for (_, Recurring { operation, call, last, .. }) in ended {
            if last.is_some() {
                continue;
            }
            let reason = "it was ended before its first result";
            self.effects.push_back(Effect::Report(Report {
                operation,
                call,
                outcome: Outcome::broken(Status::Cancelled, code::ERROR, reason),
                started: now,
                ran: Duration::ZERO,
                queued: Duration::ZERO,
            }));
        }
    }

    pub(crate) fn enqueue(&mut self, now: Instant, operation: Operation, call: u32) {
        let not_before = now + Duration::from_millis(operation.start_delay_ms);
        let lane = self.lanes.entry(operation.resource.clone()).or_default();
        lane.waiting.push_back(Job { operation, call, queued_at: now, not_before });
    }

    fn cancel(&mut self, now: Instant, key: (String, String, u64), tag: String) {
        let known = self.recurring.get(&key).map(|r| r.operation.clone());
        self.end_recurring(now, |known| *known == key);
        if let Some(lane) = self.lanes.get_mut(&key.0) {
            lane.waiting.retain(|job| recurring_key(&job.operation) != key);
            if let Some(flight) = &mut lane.flight
                && recurring_key(&flight.job.operation) == key
            {
                flight.cancels.push(tag);
                return;
            }
        }
        self.effects.push_back(Effect::Cancelled { operation: known, tag });
    }

    /// What waits for its turn was asked for when the target was there and expected it. The host that
    /// comes back may be another boot, which expects nothing.
    fn end_migrations(&mut self, now: Instant, target: &str) {
        let goes_there = |operation: &Operation| {
            let to = operation.params.iter().find(|(name, _)| name == MIGRATE_TARGET);
            operation.action == "migrate_to" && to.is_some_and(|(_, node)| node == target)
        };
        for lane in self.lanes.values_mut() {
            let (ended, kept) = lane.waiting.drain(..).partition(|j| goes_there(&j.operation));
            lane.waiting = kept;
            for Job { operation, call, queued_at, .. } in Vec::from(ended) {
                let reason = format!("{target} was lost before the migration to it began");
                self.effects.push_back(Effect::Report(Report {
                    operation,
                    call,
                    outcome: Outcome::broken(Status::Error, code::ERROR, reason),
                    started: now,
                    ran: Duration::ZERO,
                    queued: now - queued_at,
                }));
            }
        }
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        let due: Vec<_> = self
            .recurring
            .iter()
            .filter(|(_, r)| r.due.is_some_and(|due| due <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let recurring = self.recurring.get_mut(&key).expect("the key was just listed");
            recurring.due = None;
            let (mut operation, call) = (recurring.operation.clone(), recurring.call);
            operation.start_delay_ms = 0;
            self.enqueue(now, operation, call);
        }
        let names: Vec<String> = self.lanes.keys().cloned().collect();
        for name in names {
            self.expire(now, &name);
            self.launch(now, &name);
        }
        self.lanes.retain(|_, lane| lane.flight.is_some() || !lane.waiting.is_empty());
        if self.ending.is_some() && self.lanes.is_empty() {
            self.go_on_ending(now);
        }
    }

    /// Ends a run that is over its time.
    fn expire(&mut self, now: Instant, name: &str) {
        let Some(flight) = self.lanes.get_mut(name).and_then(|lane| lane.flight.as_mut()) else {
            return;
        };
        if flight.deadline > now {
            return;
        }
        if let Some(run) = flight.give_up(now) {
            self.effects.push_back(Effect::Kill { run });
        } else {
            let run = flight.run;
            let reason = "the agent could not be ended";
            let outcome = Outcome::broken(Status::TimedOut, code::ERROR, reason);
            self.finished(now, run, outcome);
        }
    }

    fn launch(&mut self, now: Instant, name: &str) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        if lane.flight.is_some() || lane.waiting.front().is_none_or(|job| job.not_before > now) {
            return;
        }
        let mut job = lane.waiting.pop_front().expect("the front was just looked at");
        self.runs += 1;
        let run = RunId(self.runs);
        let prepared = self.started.prepare(&mut job.operation);
        let operation = job.operation.clone();
        self.activity.begins(&operation);
        lane.flight = Some(Flight {
            run,
            deadline: now + Duration::from_millis(operation.timeout_ms.max(1)),
            job,
            started: now,
            timed_out: false,
            cancels: Vec::new(),
        });
        match prepared {
            Ok(keep) => self.effects.push_back(Effect::Run { run, operation, keep }),
            Err(outcome) => self.finished(now, run, outcome),
        }
    }

    fn finished(&mut self, now: Instant, run: RunId, outcome: Outcome) {
        let Some(lane) =
            self.lanes.values_mut().find(|l| l.flight.as_ref().is_some_and(|f| f.run == run))
        else {
            return;
        };
        let flight = lane.flight.take().expect("the lane was found by its flight");
        let Job { operation, call, queued_at, .. } = flight.job;
        let outcome = if flight.timed_out {
            let reason = format!(
                "{} of {} did not complete within {} ms",
                operation.action, operation.resource, operation.timeout_ms
            );
            Outcome { output: outcome.output, ..Outcome::broken(Status::TimedOut, 1, reason) }
        } else {
            outcome
        };
        let outcome = self.activity.ended(&operation, outcome);
        if let Some(with) = self.started.ended(&operation, &outcome) {
            let resource = operation.resource.clone();
            self.effects.push_back(Effect::Keep { resource, with });
        }
        if !flight.cancels.is_empty() {
            for tag in flight.cancels {
                let operation = Some(operation.clone());
                self.effects.push_back(Effect::Cancelled { operation, tag });
            }
            return;
        }
        if operation.interval_ms > 0 {
            let key = recurring_key(&operation);
            let Some(recurring) = self.recurring.get_mut(&key).filter(|r| r.call == call) else {
                return; // replaced or ended by a stop meanwhile
            };
            recurring.due = Some(now + Duration::from_millis(operation.interval_ms));
            let result = (outcome.status, outcome.code);
            if recurring.last.replace(result) == Some(result) {
                return;
            }
        }
        self.effects.push_back(Effect::Report(Report {
            operation,
            call,
            outcome,
            started: flight.started,
            ran: now - flight.started,
            queued: flight.started - queued_at,
        }));
    }
}

/// Whether a resource is expected not to run here any more, once this action has ended.
pub(crate) fn ends_monitors(action: &str) -> bool {
    matches!(action, "stop" | "migrate_to")
}

fn recurring_key(operation: &Operation) -> (String, String, u64) {
    (operation.resource.clone(), operation.action.clone(), operation.interval_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Agent;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn op(resource: &str, action: &str, interval_ms: u64) -> Operation {
        Operation {
            resource: resource.into(),
            action: action.into(),
            interval_ms,
            timeout_ms: 1000,
            start_delay_ms: 0,
            agent: Agent { class: "ocf".into(), provider: None, name: "x".into() },
            params: vec![],
            tag: format!("{action}-{interval_ms}"),
        }
    }

    fn drain(executor: &mut Executor) -> Vec<Effect> {
        std::iter::from_fn(|| executor.poll_effect()).collect()
    }

    fn runs(effects: &[Effect]) -> Vec<(RunId, &str)> {
        let run = |e| match e {
            &Effect::Run { run, ref operation, .. } => Some((run, operation.action.as_str())),
            _ => None,
        };
        effects.iter().filter_map(run).collect()
    }

    #[test]
    fn one_call_at_a_time_for_a_resource() {
        let mut executor = Executor::new(BTreeMap::new());
        executor.handle(at(0), Input::Execute(op("a", "start", 0)));
        executor.handle(at(0), Input::Execute(op("a", "stop", 0)));
        executor.handle(at(0), Input::Execute(op("b", "start", 0)));
        let effects = drain(&mut executor);
        assert_eq!(runs(&effects), [(RunId(1), "start"), (RunId(2), "start")]);
        executor.handle(at(5), Input::Finished { run: RunId(1), outcome: Outcome::done(0) });
        let effects = drain(&mut executor);
        assert!(matches!(&effects[0], Effect::Report(r) if r.call == 1 && r.outcome.code == 0));
        assert_eq!(runs(&effects), [(RunId(3), "stop")]);
    }

    #[test]
    fn a_migration_that_has_not_begun_ends_when_its_target_is_lost() {
        let mut executor = Executor::default();
        executor.handle(at(0), Input::Execute(op("a", "monitor", 0)));
        let mut migration = op("a", "migrate_to", 0);
        migration.params.push((MIGRATE_TARGET.into(), "n2".into()));
        executor.handle(at(1), Input::Execute(migration.clone()));
        drain(&mut executor);
        executor.handle(at(2), Input::TargetLost { node: "n3".into() });
        assert!(drain(&mut executor).is_empty(), "it goes elsewhere");
        executor.handle(at(2), Input::TargetLost { node: "n2".into() });
        let effects = drain(&mut executor);
        let [Effect::Report(report)] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(
            (report.outcome.status, report.operation.tag.as_str()),
            (Status::Error, "migrate_to-0")
        );
        executor.handle(at(3), Input::Finished { run: RunId(1), outcome: Outcome::done(0) });
        assert!(runs(&drain(&mut executor)).is_empty());
        // One that has begun goes on: its agent finds out what becomes of it.
        executor.handle(at(4), Input::Execute(migration));
        executor.handle(at(5), Input::TargetLost { node: "n2".into() });
        assert_eq!(runs(&drain(&mut executor)), [(RunId(2), "migrate_to")]);
    }

    #[test]
    fn no_monitor_looks_for_what_is_being_migrated_away() {
        let mut executor = Executor::new(BTreeMap::new());
        executor.handle(at(0), Input::Execute(op("a", "monitor", 100)));
        executor.handle(at(5), Input::Finished { run: RunId(1), outcome: Outcome::done(0) });
        executor.handle(at(10), Input::Execute(op("a", "migrate_to", 0)));
        drain(&mut executor);
        executor.handle(at(500), Input::Finished { run: RunId(2), outcome: Outcome::done(0) });
        let effects = drain(&mut executor);
        assert!(runs(&effects).is_empty(), "{effects:?}");
        assert_eq!(executor.poll_timeout(), None);
    }

    #[test]
    fn a_recurring_operation_reports_changes_only() {
        let mut executor = Executor::new(BTreeMap::new());
        executor.handle(at(0), Input::Execute(op("a", "monitor", 100)));
        let mut reports = Vec::new();
        let mut now = 0;
        for code in [0, 0, 7, 7, 0] {
            let effects = drain(&mut executor);
            let run = runs(&effects)[0].0;
            executor.handle(at(now), Input::Finished { run, outcome: Outcome::done(code) });
            reports.extend(drain(&mut executor).into_iter().filter_map(|e| match e {
                Effect::Report(r) => Some(r.outcome.code),
                _ => None,
            }));
            assert_eq!(executor.poll_timeout(), Some(at(now + 100)));
            now += 100;
            executor.handle_timeout(at(now));
        }
        assert_eq!(reports, [0, 7, 0]);
    }

    #[test]
    fn a_run_over_its_time_is_killed_and_reported_once() {
        let mut executor = Executor::new(BTreeMap::new());
        executor.handle(at(0), Input::Execute(op("a", "start", 0)));
        drain(&mut executor);
        executor.handle_timeout(at(1000));
        assert_eq!(drain(&mut executor), [Effect::Kill { run: RunId(1) }]);
        executor.handle(at(1001), Input::Finished { run: RunId(1), outcome: Outcome::done(0) });
        let effects = drain(&mut executor);
        assert!(
            matches!(&effects[..], [Effect::Report(r)] if r.outcome.status == Status::TimedOut)
        );
        assert_eq!(executor.poll_timeout(), None);
    }

    #[test]
    fn a_run_that_cannot_be_killed_does_not_block_for_ever() {
        let mut executor = Executor::new(BTreeMap::new());
        executor.handle(at(0), Input::Execute(op("a", "stop", 0)));
        drain(&mut executor);
        executor.handle_timeout(at(1000));
        executor.handle_timeout(at(6000));
        let effects = drain(&mut executor);
        assert!(matches!(&effects[1], Effect::Report(r) if r.outcome.status == Status::TimedOut));
    }

    #[test]
    fn a_refused_stop_is_reported_as_done_unless_the_resource_was_started() {
        for (before, reported) in [("monitor", code::OK), ("start", code::NOT_INSTALLED)] {
            let mut executor = Executor::new(BTreeMap::new());
            let end = |run, code| Input::Finished { run: RunId(run), outcome: Outcome::done(code) };
            executor.handle(at(0), Input::Execute(op("a", before, 0)));
            executor.handle(at(1), end(1, if before == "start" { 0 } else { 5 }));
            executor.handle(at(2), Input::Execute(op("a", "stop", 0)));
            drain(&mut executor);
            executor.handle(at(3), end(2, code::NOT_INSTALLED));
            let effects = drain(&mut executor);
            assert!(
                matches!(&effects[..], [Effect::Report(r)] if r.outcome.code == reported),
                "{before}: {effects:?}"
            );
        }
    }

    fn is_cancelled(effects: &[Effect]) -> bool {
        matches!(effects, [Effect::Report(r)] if r.outcome.status == Status::Cancelled)
    }

    #[test]
    fn a_monitor_that_ends_before_its_first_result_is_reported_all_the_same() {
        let forget = || Input::Forget { resource: "a".into() };
        let again = || Input::Execute(op("a", "monitor", 100));
        let stop = || Input::Execute(op("a", "stop", 0));
        for end in [forget, again, stop] {
            let mut executor = Executor::new(BTreeMap::new());
            executor.handle(at(0), Input::Execute(op("a", "monitor", 100)));
            drain(&mut executor);
            executor.handle(at(1), end());
            assert!(is_cancelled(&drain(&mut executor)));
            // The run that is under way is nobody's any more.
            executor.handle(at(2), Input::Finished { run: RunId(1), outcome: Outcome::done(0) });
            let effects = drain(&mut executor);
            assert!(!effects.iter().any(|e| matches!(e, Effect::Report(_))), "{effects:?}");
        }
    }

    #[test]
    fn cancel_waits_for_the_run_in_flight_and_stop_ends_monitors() {
        let mut executor = Executor::new(BTreeMap::new());
        executor.handle(at(0), Input::Execute(op("a", "monitor", 100)));
        drain(&mut executor);
        let cancel = |tag: &str| Input::Cancel {
            resource: "a".into(),
            action: "monitor".into(),
            interval_ms: 100,
            tag: tag.into(),
        };
        executor.handle(at(1), cancel("t"));
        assert!(is_cancelled(&drain(&mut executor)));
        executor.handle(at(2), Input::Finished { run: RunId(1), outcome: Outcome::done(0) });
        assert!(matches!(&drain(&mut executor)[..], [Effect::Cancelled { tag, .. }] if tag == "t"));
        executor.handle(at(3), Input::Execute(op("a", "monitor", 100)));
        executor.handle(at(3), Input::Finished { run: RunId(2), outcome: Outcome::done(0) });
        executor.handle(at(4), Input::Execute(op("a", "stop", 0)));
        executor.handle(at(5), Input::Finished { run: RunId(3), outcome: Outcome::done(0) });
        assert_eq!(executor.poll_timeout(), None);
    }
}
