//! The execution of one transition graph: which actions may go, which are under way, when it is
//! over. It knows nothing of nodes or messages.

use std::collections::{BTreeMap, BTreeSet};

use crm_graph::{Action, ActionKind, Transition};
use membership_base::Instant;

/// An action that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// When it is taken to be lost.
    pub(crate) deadline: Instant,
}

/// One transition while it is carried out.
pub(crate) struct Execution {
    pub(crate) transition: Transition,
    /// Synapses that have not fired, by index.
    waiting: BTreeSet<usize>,
    completed: BTreeSet<u32>,
    failed: BTreeSet<u32>,
    flights: BTreeMap<u32, Flight>,
    /// Why a new plan is wanted; nothing is started any more once this is set.
    pub(crate) aborted: Option<String>,
}

impl Execution {
    pub(crate) fn new(transition: Transition) -> Execution {
        let waiting = (0..transition.synapses.len()).collect();
        Execution {
            transition,
            waiting,
            completed: BTreeSet::new(),
            failed: BTreeSet::new(),
            flights: BTreeMap::new(),
            aborted: None,
        }
    }

    /// The action with this number.
    pub(crate) fn action(&self, id: u32) -> Option<&Action> {
        self.transition.synapses.iter().map(|s| &s.action).find(|a| a.id == id)
    }

    /// Takes the next action that may go. Pseudo-actions complete as they are taken and are not
    /// returned. The caller has to call [`Execution::started`] or [`Execution::complete`].
    pub(crate) fn next(&mut self) -> Option<Action> {
        loop {
            if self.aborted.is_some() {
                return None;
            }
            let limit = usize::try_from(self.transition.batch_limit).unwrap_or(0);
            if limit > 0 && self.flights.len() >= limit {
                return None;
            }
            let synapses = &self.transition.synapses;
            let ready = self.waiting.iter().copied().filter(|ix| {
                let synapse = &synapses[*ix];
                synapse.inputs.iter().all(|i| self.completed.contains(i))
                    && self.within_migration_limit(&synapse.action)
            });
            // The first of the highest priority.
            let ix = ready.max_by_key(|ix| (synapses[*ix].priority, std::cmp::Reverse(*ix)))?;
            self.waiting.remove(&ix);
            let action = &self.transition.synapses[ix].action;
            if action.kind == ActionKind::Pseudo {
                self.completed.insert(action.id);
                continue;
            }
            return Some(action.clone());
        }
    }

    fn within_migration_limit(&self, action: &Action) -> bool {
        let migrates = |a: &Action| matches!(a.operation.as_str(), "migrate_to" | "migrate_from");
        let Some(limit) = self.transition.migration_limit.and_then(|l| usize::try_from(l).ok())
        else {
            return true;
        };
        if !migrates(action) {
            return true;
        }
        let now = self
            .flights
            .keys()
            .filter_map(|id| self.action(*id))
            .filter(|a| migrates(a) && a.on_node == action.on_node);
        now.count() < limit
    }

    pub(crate) fn started(&mut self, id: u32, deadline: Instant) {
        self.flights.insert(id, Flight { deadline });
    }

    /// The action is done as it was wanted; says whether it was known to be under way.
    pub(crate) fn complete(&mut self, id: u32) -> bool {
        self.completed.insert(id);
        self.flights.remove(&id).is_some()
    }

    /// The action did not do what was wanted: nothing that waits for it will go.
    pub(crate) fn fail(&mut self, id: u32, reason: &str) -> bool {
        self.failed.insert(id);
        self.abort(reason);
        self.flights.remove(&id).is_some()
    }

    /// The action goes on, but this transition no longer waits for it.
    pub(crate) fn forget(&mut self, id: u32) {
        self.flights.remove(&id);
    }

    /// Starts nothing any more; the first reason is kept.
    pub(crate) fn abort(&mut self, reason: &str) {
        self.aborted.get_or_insert_with(|| reason.to_owned());
    }

    /// Actions under way.
    pub(crate) fn flights(&self) -> impl Iterator<Item = (u32, &Flight)> {
        self.flights.iter().map(|(id, flight)| (*id, flight))
    }

    /// Nothing is under way and nothing more can go.
    pub(crate) fn is_over(&self) -> bool {
        self.flights.is_empty()
    }

    /// How many actions never went.
    pub(crate) fn left(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crm_graph::Synapse;

    fn synapse(id: u32, kind: ActionKind, priority: i32, inputs: &[u32]) -> Synapse {
        let action = Action {
            id,
            kind,
            operation: "start".into(),
            key: format!("r{id}_start_0"),
            internal_key: None,
            on_node: Some("n1".into()),
            on_node_uuid: None,
            router_node: None,
            resource: None,
            attributes: vec![],
            downed: vec![],
            reason: None,
            params: vec![],
            maintenance: vec![],
            shutdown_lock: None,
        };
        Synapse { id, priority, action, inputs: inputs.to_vec() }
    }

    fn execution(batch_limit: i32, synapses: Vec<Synapse>) -> Execution {
        Execution::new(Transition { batch_limit, synapses, ..Transition::default() })
    }

    fn take(execution: &mut Execution) -> Vec<u32> {
        let mut out = Vec::new();
        while let Some(action) = execution.next() {
            execution.started(action.id, Instant(1));
            out.push(action.id);
        }
        out
    }

    #[test]
    fn actions_go_after_their_inputs_and_by_priority() {
        use ActionKind::{Pseudo, Resource};
        let mut execution = execution(
            0,
            vec![
                synapse(1, Resource, 0, &[]),
                synapse(2, Resource, 10, &[]),
                synapse(3, Pseudo, 0, &[1, 2]),
                synapse(4, Resource, 0, &[3]),
            ],
        );
        assert_eq!(take(&mut execution), [2, 1]);
        execution.complete(1);
        assert_eq!(take(&mut execution), []);
        execution.complete(2);
        assert_eq!(take(&mut execution), [4]);
        assert!(!execution.is_over());
        execution.complete(4);
        assert!(execution.is_over());
        assert_eq!(execution.left(), 0);
    }

    #[test]
    fn a_failure_holds_back_what_waits_for_it() {
        use ActionKind::Resource;
        let mut execution =
            execution(0, vec![synapse(1, Resource, 0, &[]), synapse(2, Resource, 0, &[1])]);
        take(&mut execution);
        execution.fail(1, "it broke");
        assert_eq!(take(&mut execution), []);
        assert!(execution.is_over());
        assert_eq!(execution.left(), 1);
        assert_eq!(execution.aborted.as_deref(), Some("it broke"));
    }

    #[test]
    fn the_batch_limit_holds() {
        let all = (1..=5).map(|id| synapse(id, ActionKind::Resource, 0, &[])).collect();
        let mut execution = execution(2, all);
        assert_eq!(take(&mut execution), [1, 2]);
        execution.complete(1);
        assert_eq!(take(&mut execution), [3]);
    }
}
