//! The policy engine as a piece of work that takes a moment.

use std::sync::Arc;

use cib_model::{Model, Time};
use cib_xml::Doc;
use crm_graph::{ActionKind, Transition};
use crm_scheduler::PlanFlags;

use crate::inputs::Series;

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
