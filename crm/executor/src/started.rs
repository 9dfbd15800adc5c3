//! What resources were started with.
//!
//! A stop has to undo what its start did, so it needs the parameters that the start was given: those
//! of the configuration may have been changed since, or be gone with the resource. The same holds for
//! whatever else concerns the resource as it is (a demotion, a notification, a probe).

use std::collections::BTreeMap;

use membership_base::mutant::{Mutant, mutant};
use serde::{Deserialize, Serialize};

use crate::{Agent, Operation, Outcome, Status, code};

/// The agent and the parameters that a resource was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedWith {
    /// The agent that was called.
    pub agent: Agent,
    /// Its parameters, sorted by name, without what the cluster adds for each call.
    pub params: Vec<(String, String)>,
}

impl StartedWith {
    fn of(operation: &Operation) -> StartedWith {
        let own = operation.params.iter().filter(|(name, _)| !is_added(name));
        let mut params: Vec<_> = own.cloned().collect();
        params.sort();
        StartedWith { agent: operation.agent.clone(), params }
    }
}

/// Whether the cluster adds the parameter itself, for one call.
fn is_added(name: &str) -> bool {
    name.starts_with("CRM_meta_") || name == "crm_feature_set"
}

#[derive(Clone, Debug)]
struct Entry {
    with: StartedWith,
    /// A migration may bring the resource here at any time: that it is not found does not count yet.
    inbound: bool,
}

/// What was started on this node and is not known to have stopped since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Started(BTreeMap<String, Entry>);

impl Started {
    pub(crate) fn new(kept: BTreeMap<String, StartedWith>) -> Started {
        let entry = |with| Entry { with, inbound: false };
        Started(kept.into_iter().map(|(resource, with)| (resource, entry(with))).collect())
    }

    /// The resources, and what they were started with.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &StartedWith)> {
        self.0.iter().map(|(resource, entry)| (resource.as_str(), &entry.with))
    }

    /// Those that were started here, and not only may arrive.
    pub(crate) fn here(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, entry)| !entry.inbound).map(|(resource, _)| resource.as_str())
    }

    /// Makes an operation ready to be run. A start is noted: what is returned has to be kept in a
    /// place that outlives the daemon before the agent is called. What concerns a resource as it was
    /// started gets the parameters of its start.
    ///
    /// # Errors
    /// A resource that still runs with other parameters is not started: its next stop could only undo
    /// one of the two.
    pub(crate) fn prepare(
        &mut self,
        operation: &mut Operation,
    ) -> Result<Option<StartedWith>, Outcome> {
        match operation.action.as_str() {
            // A fence device runs nowhere, and is used with the parameters that it has now.
            _ if operation.agent.class == "stonith" => Ok(None),
            "start" => {
                if self.differs(operation) {
                    return Err(Outcome::broken(
                        Status::Error,
                        code::ERROR,
                        format!(
                            "{} was started here with other parameters and has not been stopped \
                             since; stop it first",
                            operation.resource
                        ),
                    ));
                }
                let with = StartedWith::of(operation);
                Ok(Some(self.set(&operation.resource, with, false)))
            }
            // The target would expect what was never started: a stop and a start do instead.
            "migrate_to" if self.differs(operation) => Err(Outcome::broken(
                Status::Error,
                code::ERROR,
                format!(
                    "the parameters of {} were changed since it was started: it has to be stopped \
                     and started instead of migrated",
                    operation.resource
                ),
            )),
            "reload-agent" => Ok(None),
            // A recurring monitor has parameters of its own.
            _ if operation.interval_ms > 0 => Ok(None),
            action => {
                if let Some(Entry { with, .. }) = self.0.get(&operation.resource)
                    && !mutant(Mutant::StopParameters)
                {
                    operation.agent = with.agent.clone();
                    operation.params.retain(|(name, _)| is_added(name));
                    operation.params.extend(with.params.iter().cloned());
                }
                // What arrives runs with what its source was started with.
                let arrives = action == "migrate_from";
                let with = arrives.then(|| StartedWith::of(operation));
                Ok(with.map(|with| self.set(&operation.resource, with, false)))
            }
        }
    }

    /// Whether the resource was started here with something else than the operation is given.
    fn differs(&self, operation: &Operation) -> bool {
        let entry = self.0.get(&operation.resource).filter(|entry| !entry.inbound);
        entry.is_some_and(|entry| entry.with != StartedWith::of(operation))
    }

    /// A resource may arrive here by a migration, started with what the migration was given.
    pub(crate) fn expect(&mut self, migration: &Operation) -> Option<StartedWith> {
        let known = self.0.contains_key(&migration.resource);
        (!known).then(|| self.set(&migration.resource, StartedWith::of(migration), true))
    }

    /// Takes in how an operation ended. What is returned has to be kept, or forgotten if it is
    /// nothing.
    pub(crate) fn ended(
        &mut self,
        operation: &Operation,
        outcome: &Outcome,
    ) -> Option<Option<StartedWith>> {
        let entry = self.0.get(&operation.resource)?;
        if outcome.status != Status::Done || operation.interval_ms > 0 {
            return None;
        }
        match (operation.action.as_str(), outcome.code) {
            // What is on its way here can still come after a stop that has found nothing.
            ("stop", code::OK) if !entry.inbound => {}
            ("monitor", code::NOT_RUNNING) if !entry.inbound => {}
            ("reload-agent", code::OK) => {
                let with = StartedWith::of(operation);
                return Some(Some(self.set(&operation.resource, with, false)));
            }
            _ => return None,
        }
        self.0.remove(&operation.resource);
        Some(None)
    }

    fn set(&mut self, resource: &str, with: StartedWith, inbound: bool) -> StartedWith {
        self.0.insert(resource.to_owned(), Entry { with: with.clone(), inbound });
        with
    }
}

#[cfg(test)]
mod tests {
    use membership_base::Instant;

    use super::*;
    use crate::{Effect, Executor, Input, Report, RunId};

    fn op(action: &str, ip: Option<&str>) -> Operation {
        let agent = Agent { class: "ocf".into(), provider: Some("p".into()), name: "Ip".into() };
        let meta = ("CRM_meta_timeout".to_owned(), "20000".to_owned());
        let ip = ip.map(|ip| ("ip".to_owned(), ip.to_owned()));
        Operation {
            resource: "vip".into(),
            action: action.into(),
            interval_ms: 0,
            timeout_ms: 20_000,
            start_delay_ms: 0,
            agent,
            params: ip.into_iter().chain([meta]).collect(),
            tag: action.into(),
        }
    }

    /// An executor, and what its driver keeps.
    struct Rig {
        executor: Executor,
        kept: BTreeMap<String, StartedWith>,
        reports: Vec<Report>,
        called: Vec<(String, Option<String>)>,
    }

    impl Rig {
        fn new(kept: BTreeMap<String, StartedWith>) -> Rig {
            let executor = Executor::new(kept.clone());
            Rig { executor, kept, reports: Vec::new(), called: Vec::new() }
        }

        /// Carries an operation out; the agent answers with the code.
        fn run(&mut self, operation: Operation, code: i32) {
            self.input(Input::Execute(operation), code);
        }

        fn input(&mut self, input: Input, code: i32) {
            self.executor.handle(Instant(0), input);
            while let Some(effect) = self.executor.poll_effect() {
                match effect {
                    Effect::Run { run, operation, keep } => {
                        self.kept.extend(keep.map(|with| (operation.resource.clone(), with)));
                        let ip = operation.params.iter().find(|(name, _)| name == "ip");
                        let ip = ip.map(|(_, value)| value.clone());
                        self.called.push((operation.action, ip));
                        self.finish(run, code);
                    }
                    Effect::Keep { resource, with: Some(with) } => {
                        self.kept.insert(resource, with);
                    }
                    Effect::Keep { resource, with: None } => {
                        self.kept.remove(&resource);
                    }
                    Effect::Report(report) => self.reports.push(report),
                    _ => {}
                }
            }
        }

        fn finish(&mut self, run: RunId, code: i32) {
            let outcome = Outcome::done(code);
            self.executor.handle(Instant(1), Input::Finished { run, outcome });
        }

        fn last_call(&self) -> (&str, Option<&str>) {
            self.called.last().map(|(action, ip)| (action.as_str(), ip.as_deref())).unwrap()
        }
    }

    #[test]
    fn a_stop_gets_the_parameters_of_its_start_though_they_were_changed_or_removed() {
        for (now, promised) in [(Some("2"), "changed"), (None, "removed")] {
            let mut rig = Rig::new(BTreeMap::new());
            rig.run(op("start", Some("1")), 0);
            for action in ["promote", "demote", "notify", "monitor", "stop"] {
                rig.run(op(action, now), 0);
                assert_eq!(rig.last_call(), (action, Some("1")), "{promised}");
            }
            assert!(rig.kept.is_empty(), "it has stopped");
            rig.run(op("start", Some("2")), 0);
            assert_eq!(rig.last_call(), ("start", Some("2")));
        }
    }

    #[test]
    fn the_report_says_with_which_parameters_a_probe_was_made() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.run(op("start", Some("1")), 0);
        rig.run(op("monitor", Some("2")), 0);
        let params = &rig.reports.last().unwrap().operation.params;
        assert!(params.contains(&("ip".into(), "1".into())), "{params:?}");
        assert!(params.iter().any(|(name, _)| name == "CRM_meta_timeout"), "{params:?}");
    }

    #[test]
    fn what_was_started_is_known_to_the_next_daemon_on_the_same_host() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.run(op("start", Some("1")), 0);
        let mut next = Rig::new(rig.kept);
        next.run(op("stop", None), 0);
        assert_eq!(next.last_call(), ("stop", Some("1")));
        assert!(next.kept.is_empty());
    }

    #[test]
    fn a_start_is_kept_before_its_agent_is_called_and_until_a_stop_has_succeeded() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.run(op("start", Some("1")), 1);
        rig.run(op("stop", Some("2")), 1);
        assert_eq!(rig.kept.len(), 1, "neither a failed start nor a failed stop ends it");
        rig.run(op("stop", Some("2")), 0);
        assert!(rig.kept.is_empty());
    }

    #[test]
    fn what_is_not_there_any_more_may_be_started_with_other_parameters() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.run(op("start", Some("1")), 0);
        rig.run(op("monitor", Some("2")), code::NOT_RUNNING);
        rig.run(op("start", Some("2")), 0);
        assert_eq!(rig.last_call(), ("start", Some("2")));
    }

    #[test]
    fn what_runs_with_other_parameters_is_not_started() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.run(op("start", Some("1")), 0);
        rig.run(op("start", Some("1")), 0);
        rig.run(op("start", Some("2")), 0);
        assert_eq!(rig.called.len(), 2, "the same start again does no harm");
        let outcome = &rig.reports.last().unwrap().outcome;
        assert_eq!((outcome.status, outcome.code), (Status::Error, code::ERROR));
        assert!(outcome.reason.contains("stop it first"), "{}", outcome.reason);
    }

    #[test]
    fn what_runs_with_other_parameters_is_not_migrated() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.run(op("start", Some("1")), 0);
        rig.run(op("migrate_to", Some("2")), 0);
        let outcome = &rig.reports.last().unwrap().outcome;
        assert_eq!((outcome.status, outcome.code), (Status::Error, code::ERROR));
        rig.run(op("migrate_to", Some("1")), 0);
        assert_eq!(rig.last_call(), ("migrate_to", Some("1")));
    }

    #[test]
    fn a_reload_that_succeeds_changes_what_a_stop_gets() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.run(op("start", Some("1")), 0);
        rig.run(op("reload-agent", Some("2")), 1);
        rig.run(op("notify", Some("2")), 0);
        assert_eq!(rig.last_call(), ("notify", Some("1")), "the reload failed");
        rig.run(op("reload-agent", Some("2")), 0);
        rig.run(op("stop", Some("3")), 0);
        assert_eq!(rig.last_call(), ("stop", Some("2")));
    }

    #[test]
    fn what_may_arrive_by_a_migration_is_looked_for_with_the_parameters_of_its_source() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.input(Input::Expect(op("migrate_to", Some("1"))), 0);
        rig.run(op("monitor", Some("2")), code::NOT_RUNNING);
        assert_eq!(rig.last_call(), ("monitor", Some("1")));
        rig.run(op("monitor", Some("2")), 0);
        assert_eq!(rig.last_call(), ("monitor", Some("1")), "it may have arrived since");
        rig.run(op("migrate_from", Some("2")), 0);
        assert_eq!(rig.last_call(), ("migrate_from", Some("1")), "that is what arrives");
        rig.run(op("stop", Some("2")), 0);
        assert_eq!(rig.last_call(), ("stop", Some("1")));
    }

    #[test]
    fn what_arrives_after_a_stop_is_stopped_with_the_parameters_of_its_source_as_well() {
        let mut rig = Rig::new(BTreeMap::new());
        rig.input(Input::Expect(op("migrate_to", Some("1"))), 0);
        rig.run(op("stop", Some("1")), 0);
        rig.run(op("stop", Some("2")), 0);
        assert_eq!(rig.last_call(), ("stop", Some("1")), "its source was held up");
        rig.run(op("start", Some("2")), 0);
        rig.run(op("stop", Some("3")), 0);
        assert_eq!(rig.last_call(), ("stop", Some("2")));
        assert!(rig.kept.is_empty());
    }

    #[test]
    fn a_fence_device_is_used_as_it_is_configured_now() {
        let mut rig = Rig::new(BTreeMap::new());
        for (action, ip) in [("start", "1"), ("monitor", "2"), ("start", "3")] {
            let mut operation = op(action, Some(ip));
            operation.agent.class = "stonith".into();
            rig.run(operation, 0);
            assert_eq!(rig.last_call(), (action, Some(ip)));
        }
        assert!(rig.kept.is_empty());
    }
}
