//! The policy engine as a piece of work that takes a moment, and that may fail.
//!
//! It runs on a thread of this process rather than in one of its own: the snapshot of the CIB is
//! shared and the plan handed over as it is, where a process would have to be started and both to
//! be written and read for every event. What a process would give, that a bug in the engine does
//! not end the daemon, is had by containing its panics. A plan that takes too long is given up: its
//! thread cannot be ended, so only so many of them are left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cib_model::{Model, Time};
use cib_xml::Doc;
use crm_graph::{ActionKind, Transition};
use crm_scheduler::PlanFlags;
use tokio::sync::oneshot;

use crate::inputs::Series;
use crate::panics;

/// How long a plan may take. The largest clusters are planned in seconds.
const PLAN_TIME: Duration = Duration::from_secs(120);
/// Enough for the deepest chains of resources; only what is used of it costs memory.
const STACK: usize = 64 << 20;
/// Plans that were given up and whose threads have not ended.
const LOST_MAX: usize = 2;

/// A plan, and where its input belongs.
pub(crate) struct Computed {
    /// What it was made from.
    pub(crate) cib: Arc<Doc>,
    /// For when, in seconds since the epoch.
    pub(crate) now_s: u64,
    pub(crate) transition: Transition,
    pub(crate) series: Series,
    /// How many inputs of the series are kept; all if it is negative.
    pub(crate) series_max: i64,
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) reason: String,
    /// What it was to be made from, if it is the policy engine that failed.
    pub(crate) input: Option<(Arc<Doc>, u64)>,
}

/// Has plans made, on threads.
#[derive(Clone, Default)]
pub(crate) struct Planner {
    /// Threads that are making a plan.
    running: Arc<AtomicUsize>,
}

impl Planner {
    /// The plan for a CIB at a time (seconds since the epoch), by `compute`.
    pub(crate) async fn plan(
        &self,
        cib: Arc<Doc>,
        now_s: u64,
        compute: impl FnOnce(Arc<Doc>, u64) -> Result<Computed, String> + Send + 'static,
    ) -> Result<Computed, Failed> {
        let running = Arc::clone(&self.running);
        if running.fetch_add(1, Ordering::Relaxed) > LOST_MAX {
            running.fetch_sub(1, Ordering::Relaxed);
            let reason = format!(
                "{LOST_MAX} plans that took too long have not ended: restart the daemon of this \
                 node, so that another one becomes DC, and report it"
            );
            return Err(Failed { reason, input: None });
        }
        let input = Arc::clone(&cib);
        let (done, computed) = oneshot::channel();
        let work = move || {
            let result = panics::contain(|| compute(cib, now_s));
            running.fetch_sub(1, Ordering::Relaxed);
            // A plan that was given up is not waited for.
            let _ = done.send(result);
        };
        let thread = std::thread::Builder::new().name("systole-planner".to_owned());
        if let Err(error) = thread.stack_size(STACK).spawn(work) {
            self.running.fetch_sub(1, Ordering::Relaxed);
            let reason = format!("the system refuses a thread: {error}");
            return Err(Failed { reason, input: None });
        }
        let reason = match tokio::time::timeout(PLAN_TIME, computed).await {
            Ok(Ok(Ok(Ok(computed)))) => return Ok(computed),
            Ok(Ok(Ok(Err(reason)))) => return Err(Failed { reason, input: None }),
            Ok(Ok(Err(panic))) => format!("the policy engine has a bug: {panic}"),
            Ok(Err(_)) => "the policy engine has ended without a word".to_owned(),
            Err(_) => format!("the policy engine has not ended within {} s", PLAN_TIME.as_secs()),
        };
        Err(Failed { reason, input: Some((input, now_s)) })
    }
}

/// Computes the plan for a CIB at a time (seconds since the epoch).
pub(crate) fn compute(cib: Arc<Doc>, now_s: u64, plan: u32) -> Result<Computed, String> {
    let now = i64::try_from(now_s).map_err(|_| "the clock is beyond all bounds".to_owned())?;
    let flags = PlanFlags { under_way: true, ..PlanFlags::default() };
    let now = Time::from_epoch(now);
    let model = Arc::new(Model::from_doc(&cib, now));
    let plan = crm_scheduler::schedule_model(Arc::clone(&model), now, flags, plan);
    let mut problems = plan.problems().peekable();
    let actions = plan.transition.synapses.iter().map(|s| &s.action);
    let fences =
        actions.into_iter().any(|a| a.kind == ActionKind::Cluster && &*a.operation == "stonith");
    let series = if problems.peek().is_none() && !fences {
        Series::Input
    } else if problems.any(|problem| problem.error) {
        Series::Error
    } else {
        Series::Warn
    };
    drop(problems);
    let value = model.options.get(series.option()).and_then(cib_model::scan_int);
    let series_max = value.unwrap_or(series.default_max());
    Ok(Computed { cib, now_s, transition: plan.transition, series, series_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cib() -> Arc<Doc> {
        Arc::new(cib_store::empty_cib())
    }

    /// It is planned as `crm_simulate` plans it, which upgrades it first.
    #[test]
    fn a_cib_of_an_older_schema_is_planned_in_the_words_of_the_latest() {
        let starts = |managed: &str| {
            let xml = format!(
                r#"<cib validate-with="pacemaker-2.10" admin_epoch="0" epoch="1" num_updates="0"
                have-quorum="1"><configuration><crm_config><cluster_property_set id="o">
                <nvpair id="o-s" name="stonith-enabled" value="false"/>
                <nvpair id="o-m" name="is-managed-default" value="{managed}"/>
                </cluster_property_set></crm_config><nodes><node id="1" uname="n1"/></nodes>
                <resources><primitive id="r" class="ocf" provider="pacemaker" type="Dummy"/>
                </resources><constraints/></configuration><status><node_state id="1" uname="n1"
                in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>"#
            );
            let doc = Arc::new(Doc::parse(&xml).expect("it is XML"));
            let plan = compute(doc, 1_700_000_000, 1).expect("a plan").transition;
            plan.synapses.iter().any(|s| &*s.action.key == "r_start_0")
        };
        assert!(starts("true"));
        assert!(!starts("false"), "the latest schema has that in rsc_defaults");
    }

    #[tokio::test]
    async fn a_panic_of_the_policy_engine_costs_a_plan_and_keeps_its_input() {
        let planner = Planner::default();
        let failed = planner.plan(cib(), 7, |_, _| panic!("a bug")).await.err().unwrap();
        assert!(failed.reason.contains("has a bug: a bug"), "{}", failed.reason);
        assert_eq!(failed.input.unwrap().1, 7);
        let plan = planner.plan(cib(), 7, |cib, now_s| compute(cib, now_s, 1)).await;
        assert!(plan.is_ok(), "the next one is made");
    }

    #[tokio::test(start_paused = true)]
    async fn plans_that_do_not_end_are_given_up_and_only_so_many_are_left_behind() {
        let planner = Planner::default();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        for _ in 0..=LOST_MAX {
            let held = Arc::clone(&held);
            let failed = planner.plan(cib(), 7, move |_, _| {
                let held = held.lock().unwrap_or_else(|e| e.into_inner());
                let _ = held.recv();
                Err(String::new())
            });
            let failed = failed.await.err().unwrap();
            assert!(failed.reason.contains("not ended within"), "{}", failed.reason);
            assert!(failed.input.is_some());
        }
        let refused = planner.plan(cib(), 7, |_, _| Err(String::new())).await.err().unwrap();
        assert!(refused.reason.contains("restart the daemon"), "{}", refused.reason);
        drop(release);
    }

    #[test]
    fn release_builds_can_contain_a_panic() {
        let manifest = include_str!("../../../Cargo.toml");
        assert!(!manifest.contains("panic = \"abort\""));
    }
}
