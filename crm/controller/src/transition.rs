//! The execution of one transition graph: which actions may go, which it waits for, when it is
//! over. It knows nothing of nodes or messages.

use std::collections::BTreeSet;

use crm_graph::{Action, ActionKind, Transition};
use crm_history::Outcome;

/// One transition while it is carried out.
pub(crate) struct Execution {
    pub(crate) transition: Transition,
    /// Synapses that have not fired, by index.
    waiting: BTreeSet<usize>,
    completed: BTreeSet<u32>,
    /// Actions under way.
    flights: BTreeSet<u32>,
    /// Why a new plan is wanted; nothing is started any more once this is set.
    pub(crate) aborted: Option<String>,
    /// The file with the input of its plan.
    pub(crate) input: Option<String>,
}

impl Execution {
    pub(crate) fn new(transition: Transition, input: Option<String>) -> Execution {
        let waiting = (0..transition.synapses.len()).collect();
        Execution {
            transition,
            waiting,
            completed: BTreeSet::new(),
            flights: BTreeSet::new(),
            aborted: None,
            input,
        }
    }

    /// How many actions it has that somebody carries out.
    pub(crate) fn planned(&self) -> u32 {
        let actions = self.transition.synapses.iter().map(|s| &s.action);
        count(actions.filter(|action| action.kind != ActionKind::Pseudo).count())
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Outcome {
        match (&self.aborted, self.waiting.is_empty() && self.flights.is_empty()) {
            (_, true) => Outcome::Complete,
            (Some(_), false) => Outcome::Stopped,
            (None, false) => Outcome::Terminated,
        }
    }

    /// How it ended, in the form in which other programs look for it in the log.
    pub(crate) fn summary(&self) -> String {
        let (done, pending, left) = (self.completed.len(), self.flights.len(), self.waiting.len());
        let (skipped, incomplete) = if self.aborted.is_some() { (left, 0) } else { (0, left) };
        format!(
            "crmd: Transition {} (Complete={done}, Pending={pending}, Fired=0, Skipped={skipped}, \
             Incomplete={incomplete}, Source={}): {}",
            self.transition.id,
            self.input.as_deref().unwrap_or("none"),
            self.outcome()
        )
    }

    /// The action with this number.
    pub(crate) fn action(&self, id: u32) -> Option<&Action> {
        self.transition.synapses.iter().map(|s| &s.action).find(|a| a.id == id)
    }

    /// Takes the next action that may go. Pseudo-actions complete as they are taken and are not
    /// returned. The caller has to call [`Execution::started`] or [`Execution::complete`].
    ///
    /// What `held` says yes to does not go now. `others` is how much is under way that this
    /// transition does not know of: the batch limit is for all.
    pub(crate) fn next(&mut self, others: usize, held: impl Fn(&Action) -> bool) -> Option<Action> {
        loop {
            if self.aborted.is_some() {
                return None;
            }
            let limit = usize::try_from(self.transition.batch_limit).unwrap_or(0);
            if limit > 0 && self.flights.len() + others >= limit {
                return None;
            }
            let synapses = &self.transition.synapses;
            let ready = self.waiting.iter().copied().filter(|ix| {
                let synapse = &synapses[*ix];
                synapse.inputs.iter().all(|i| self.completed.contains(i))
                    && self.within_migration_limit(&synapse.action)
                    && !held(&synapse.action)
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
        let migrates = |a: &Action| matches!(&*a.operation, "migrate_to" | "migrate_from");
        let Some(limit) = self.transition.migration_limit.and_then(|l| usize::try_from(l).ok())
        else {
            return true;
        };
        if !migrates(action) {
            return true;
        }
        let now = self
            .flights
            .iter()
            .filter_map(|id| self.action(*id))
            .filter(|a| migrates(a) && a.on_node == action.on_node);
        now.count() < limit
    }

    /// The action is under way.
    pub(crate) fn started(&mut self, id: u32) {
        self.flights.insert(id);
    }

    /// The action turned out to be under way already, whatever it should have waited for.
    pub(crate) fn adopt(&mut self, id: u32) {
        let synapses = &self.transition.synapses;
        self.waiting.retain(|ix| synapses[*ix].action.id != id);
        self.flights.insert(id);
    }

    /// The action is done as it was wanted.
    pub(crate) fn complete(&mut self, id: u32) {
        self.completed.insert(id);
        self.flights.remove(&id);
    }

    /// The action did not do what was wanted: nothing that waits for it will go.
    pub(crate) fn fail(&mut self, id: u32, reason: &str) {
        self.abort(reason);
        self.flights.remove(&id);
    }

    /// Starts nothing any more; the first reason is kept.
    pub(crate) fn abort(&mut self, reason: &str) {
        self.aborted.get_or_insert_with(|| reason.to_owned());
    }

    /// Nothing of it is under way and nothing more will go, or it was given up. With `others`
    /// something else is under way: what could go otherwise waits for that to end.
    pub(crate) fn is_over(&self, others: bool) -> bool {
        let ready = |ix: &usize| {
            self.transition.synapses[*ix].inputs.iter().all(|i| self.completed.contains(i))
        };
        let waits = || others && self.waiting.iter().any(ready);
        self.aborted.is_some() || (self.flights.is_empty() && !waits())
    }

    /// The actions that never went though nobody has given the transition up, each with what it
    /// waits for: no more than a log line can hold.
    pub(crate) fn stuck(&self) -> Vec<String> {
        const SHOWN: usize = 5;
        if self.aborted.is_some() {
            return Vec::new();
        }
        let words = |action: &Action| match action.on_node.as_deref() {
            Some(node) => format!("{} on {node}", action.key),
            None => action.key.clone(),
        };
        let synapses = self.waiting.iter().map(|ix| &self.transition.synapses[*ix]);
        let real = synapses.filter(|s| s.action.kind != ActionKind::Pseudo);
        let stuck = real.map(|synapse| {
            let missing = synapse.inputs.iter().filter(|id| !self.completed.contains(id));
            let missing: Vec<String> =
                missing.filter_map(|id| self.action(*id)).map(words).collect();
            match missing.is_empty() {
                true => words(&synapse.action),
                false => format!("{} (waits for {})", words(&synapse.action), missing.join(", ")),
            }
        });
        stuck.take(SHOWN).collect()
    }

    /// How many actions never went.
    pub(crate) fn left(&self) -> u32 {
        count(self.waiting.len())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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
        Execution::new(Transition { batch_limit, synapses, ..Transition::default() }, None)
    }

    fn take(execution: &mut Execution) -> Vec<u32> {
        let mut out = Vec::new();
        while let Some(action) = execution.next(0, |_| false) {
            execution.started(action.id);
            out.push(action.id);
        }
        out
    }

    #[test]
    fn what_cannot_go_is_named_with_what_it_waits_for() {
        let synapses = vec![
            synapse(1, ActionKind::Resource, 0, &[]),
            synapse(2, ActionKind::Resource, 0, &[1, 7]),
        ];
        let transition = Transition { synapses, ..Transition::default() };
        let mut execution = Execution::new(transition, None);
        assert_eq!(
            execution.stuck(),
            ["r1_start_0 on n1", "r2_start_0 on n1 (waits for r1_start_0 on n1)"]
        );
        assert!(execution.next(0, |_| false).is_some_and(|action| action.id == 1));
        execution.complete(1);
        assert_eq!(execution.stuck(), ["r2_start_0 on n1"], "its input is not part of the plan");
        execution.abort("something happened");
        assert!(execution.stuck().is_empty(), "it was given up on purpose");
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
        assert!(!execution.is_over(false));
        execution.complete(4);
        assert!(execution.is_over(false));
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
        assert!(execution.is_over(false));
        assert_eq!(execution.left(), 1);
        assert_eq!(execution.aborted.as_deref(), Some("it broke"));
    }

    #[test]
    fn what_is_held_does_not_go_and_an_adopted_action_is_not_taken_again() {
        use ActionKind::Resource;
        let all =
            (1..=3).map(|id| synapse(id, Resource, 0, &[])).chain([synapse(4, Resource, 0, &[1])]);
        let mut execution = execution(0, all.collect());
        execution.adopt(1);
        let taken = execution.next(0, |action| action.id == 2).map(|action| action.id);
        assert_eq!(taken, Some(3));
        execution.complete(1);
        assert_eq!(take(&mut execution), [2, 4]);
    }

    #[test]
    fn what_is_held_by_something_else_is_not_over() {
        let two =
            [synapse(1, ActionKind::Resource, 0, &[]), synapse(2, ActionKind::Resource, 0, &[1])];
        let mut execution = execution(0, two.into());
        assert!(execution.next(1, |_| true).is_none());
        assert!(!execution.is_over(true), "its first action goes when the other has ended");
        assert_eq!(take(&mut execution), [1]);
        execution.complete(1);
        assert!(!execution.is_over(true) && execution.is_over(false));
        assert_eq!(take(&mut execution), [2]);
        execution.complete(2);
        assert!(execution.is_over(true), "nothing is left");
    }

    #[test]
    fn the_batch_limit_holds() {
        let all = (1..=5).map(|id| synapse(id, ActionKind::Resource, 0, &[])).collect();
        let mut execution = execution(2, all);
        assert_eq!(take(&mut execution), [1, 2]);
        execution.complete(1);
        assert!(execution.next(1, |_| false).is_none(), "something else is under way");
        assert_eq!(take(&mut execution), [3]);
    }
}
