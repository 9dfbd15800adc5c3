//! One fencing operation, as its owner directs it: levels, devices, attempts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use membership_base::{Instant, Rng};

use crate::State;
use crate::device::Configuration;

/// Added to an agent's time-out before a silent executor is given up.
const EXECUTOR_GRACE: Duration = Duration::from_secs(3);

/// What is asked for.
pub(crate) struct Order {
    pub(crate) target: String,
    pub(crate) action: String,
    pub(crate) timeout_ms: u64,
}

/// What the owner has to do next.
pub(crate) enum Step {
    Wait,
    List { device: String },
    Run { attempt: u64, executor: String, device: String, action: String, timeout_ms: u64 },
    End { state: State, device: Option<String>, executor: Option<String> },
}

/// One agent run that is to be made.
#[derive(Clone, Debug)]
struct Task {
    device: String,
    action: String,
    timeout_ms: u64,
    tries: u32,
    delay: Duration,
    /// Switching on again after a confirmed off: its failure does not undo the fence.
    optional: bool,
}

#[derive(Clone, Debug)]
struct Flight {
    attempt: u64,
    executor: String,
    deadline: Instant,
}

pub(crate) struct Operation {
    order: Order,
    local: String,
    members: BTreeSet<String>,
    /// Devices that have to be asked whether they know the target.
    to_list: VecDeque<String>,
    listing: usize,
    capable: BTreeSet<String>,
    planned: bool,
    levels: VecDeque<VecDeque<Task>>,
    delays: BTreeMap<String, Duration>,
    /// Of the task at the front: who may still try it.
    executors: VecDeque<String>,
    fresh_task: bool,
    not_before: Instant,
    attempts: u64,
    flight: Option<Flight>,
    errors: Vec<String>,
    last: (Option<String>, Option<String>),
    outcome: Option<State>,
    config: Configuration,
}

impl Operation {
    pub(crate) fn new(
        config: &Configuration,
        listed: &BTreeMap<String, Vec<String>>,
        members: &BTreeSet<String>,
        local: &str,
        order: Order,
        now: Instant,
        rng: &mut Rng,
    ) -> Operation {
        let mut to_list = VecDeque::new();
        let mut capable = BTreeSet::new();
        let in_levels: Option<BTreeSet<&String>> = config
            .levels_for(&order.target)
            .map(|levels| levels.iter().flat_map(|l| &l.devices).collect());
        let mut delays = BTreeMap::new();
        for device in config.devices.values() {
            if in_levels.as_ref().is_some_and(|d| !d.contains(&device.id)) {
                continue;
            }
            delays.insert(device.id.clone(), device.delay(&order.target, rng));
            match (device.covers(&order.target), listed.get(&device.id)) {
                (Some(true), _) => _ = capable.insert(device.id.clone()),
                (Some(false), _) => {}
                (None, Some(hosts)) if device.listed_covers(hosts, &order.target) => {
                    capable.insert(device.id.clone());
                }
                (None, _) => to_list.push_back(device.id.clone()),
            }
        }
        Operation {
            order,
            local: local.to_owned(),
            members: members.clone(),
            to_list,
            listing: 0,
            capable,
            planned: false,
            levels: VecDeque::new(),
            delays,
            executors: VecDeque::new(),
            fresh_task: true,
            not_before: now,
            attempts: 0,
            flight: None,
            errors: Vec::new(),
            last: (None, None),
            outcome: None,
            config: config.clone(),
        }
    }

    pub(crate) fn target(&self) -> &str {
        &self.order.target
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.flight {
            Some(flight) => Some(flight.deadline),
            None if self.planned => Some(self.not_before),
            None => None,
        }
    }

    /// The device's answer to `list` is here.
    pub(crate) fn listed(
        &mut self,
        config: &Configuration,
        device: &str,
        hosts: &[String],
        error: Option<String>,
    ) {
        self.listing = self.listing.saturating_sub(1);
        if config.devices.get(device).is_some_and(|d| d.listed_covers(hosts, &self.order.target)) {
            self.capable.insert(device.to_owned());
        } else if let Some(error) = error {
            self.errors.push(format!("{device} could not say whom it can fence: {error}"));
        }
    }

    /// It is not needed any more: it ends, unless an agent has been run for it.
    pub(crate) fn withdraw(&mut self) {
        if self.attempts == 0 && self.outcome.is_none() {
            let text = "withdrawn before anything was done: it is not needed any more";
            self.outcome = Some(State::Failed(text.to_owned()));
        }
    }

    /// Whether it ends without anything having been done.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.attempts == 0 && self.outcome.is_some()
    }

    /// An attempt has ended.
    pub(crate) fn ran(&mut self, now: Instant, attempt: u64, error: Option<String>) {
        let Some(flight) = self.flight.take_if(|f| f.attempt == attempt) else { return };
        let Some(task) = self.levels.front().and_then(|level| level.front()) else { return };
        self.last = (Some(task.device.clone()), Some(flight.executor.clone()));
        self.not_before = now;
        match error {
            None => self.task_done(),
            Some(error) => {
                let text = format!("{} on {}: {error}", task.device, flight.executor);
                if self.errors.last() != Some(&text) {
                    self.errors.push(text);
                }
                if self.executors.is_empty() {
                    self.task_failed();
                }
            }
        }
    }

    fn task_done(&mut self) {
        self.fresh_task = true;
        if let Some(level) = self.levels.front_mut() {
            level.pop_front();
            if level.is_empty() {
                self.outcome = Some(State::Done);
            }
        }
    }

    fn task_failed(&mut self) {
        let optional =
            self.levels.front().and_then(|level| level.front()).is_some_and(|task| task.optional);
        if optional {
            self.task_done();
        } else {
            self.fresh_task = true;
            self.levels.pop_front();
        }
    }

    /// A member that was running an attempt may be gone.
    pub(crate) fn members_changed(&mut self, now: Instant, members: &BTreeSet<String>) {
        self.members = members.clone();
        self.executors.retain(|e| members.contains(e));
        if let Some(flight) = &self.flight
            && !members.contains(&flight.executor)
        {
            let (attempt, executor) = (flight.attempt, flight.executor.clone());
            self.ran(now, attempt, Some(format!("node {executor} was lost")));
        }
    }

    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if let Some(state) = self.outcome.take() {
            return self.end(state);
        }
        if let Some(device) = self.to_list.pop_front() {
            self.listing += 1;
            return Step::List { device };
        }
        if self.listing > 0 {
            return Step::Wait;
        }
        if !self.planned {
            self.plan(now);
        }
        if let Some(flight) = self.flight.clone() {
            if flight.deadline > now {
                return Step::Wait;
            }
            let error = format!("no answer from node {}", flight.executor);
            self.ran(now, flight.attempt, Some(error));
            return self.next(now);
        }
        let Some(task) = self.levels.front().and_then(|level| level.front()).cloned() else {
            let state = State::Failed(self.failure());
            return self.end(state);
        };
        if std::mem::take(&mut self.fresh_task) {
            self.executors = self.executors_for(&task);
            if self.executors.is_empty() {
                let text = format!(
                    "no other node is there to run {}, and a node that cuts its own power cannot \
                     switch it on again",
                    task.device
                );
                self.errors.push(text);
            }
            self.not_before = now + task.delay;
        }
        if self.not_before > now {
            return Step::Wait;
        }
        let Some(executor) = self.executors.pop_front() else {
            self.task_failed();
            return self.next(now);
        };
        self.attempts += 1;
        let attempt = self.attempts;
        let deadline = now + Duration::from_millis(task.timeout_ms) + EXECUTOR_GRACE;
        self.flight = Some(Flight { attempt, executor: executor.clone(), deadline });
        let Task { device, action, timeout_ms, .. } = task;
        Step::Run { attempt, executor, device, action, timeout_ms }
    }

    fn end(&self, state: State) -> Step {
        Step::End { state, device: self.last.0.clone(), executor: self.last.1.clone() }
    }

    fn failure(&self) -> String {
        if self.errors.is_empty() {
            let Order { target, action, .. } = &self.order;
            return format!(
                "no configured device can do '{action}' for node {target}: add one, or name the \
                 node in the pcmk_host_list or pcmk_host_map of one"
            );
        }
        self.errors.join("; ")
    }

    /// The owner tries first, as often as the device allows, then each other member once. Nobody
    /// cuts his own power: the agent would end with it, before it switches the power on again.
    fn executors_for(&self, task: &Task) -> VecDeque<String> {
        let others = self.members.iter().filter(|m| **m != self.local && **m != self.order.target);
        let mut out = VecDeque::new();
        let alone = self.members.len() == 1;
        if self.local != self.order.target || (alone && task.action == "on") {
            out.extend(std::iter::repeat_n(self.local.clone(), task.tries as usize));
        }
        out.extend(others.cloned());
        out
    }

    /// Levels of the topology where it speaks of the target, else each capable device on its own.
    fn plan(&mut self, now: Instant) {
        self.planned = true;
        self.not_before = now;
        let levels: Vec<Vec<String>> = match self.config.levels_for(&self.order.target) {
            Some(levels) => {
                // Being named in a level is enough: the topology is what the operator vouches for.
                let all_there = |l: &&&crate::Level| {
                    l.devices.iter().all(|d| self.config.devices.contains_key(d))
                };
                levels.iter().filter(all_there).map(|l| l.devices.clone()).collect()
            }
            None => {
                let mut ids: Vec<&String> = self.capable.iter().collect();
                ids.sort_by_key(|id| (Reverse(self.config.devices[*id].priority()), *id));
                ids.into_iter().map(|id| vec![id.clone()]).collect()
            }
        };
        for devices in levels {
            // Several devices feed the node together: all have to be off before any is on again.
            let split = devices.len() > 1 && self.order.action == "reboot";
            let first = if split { "off" } else { self.order.action.as_str() };
            let mut tasks: VecDeque<Task> =
                devices.iter().map(|d| self.task(d, first, false)).collect();
            if split {
                tasks.extend(devices.iter().map(|d| self.task(d, "on", true)));
            }
            self.levels.push_back(tasks);
        }
    }

    fn task(&self, device: &str, action: &str, optional: bool) -> Task {
        let config = &self.config.devices[device];
        let delay = if optional || action == "on" { None } else { self.delays.get(device) };
        Task {
            device: device.to_owned(),
            action: action.to_owned(),
            timeout_ms: config.timeout_ms(action).unwrap_or(self.order.timeout_ms),
            tries: config.tries(action),
            delay: delay.copied().unwrap_or_default(),
            optional,
        }
    }
}
