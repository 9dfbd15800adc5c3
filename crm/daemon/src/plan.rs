//! The policy engine as a piece of work that takes a moment.

use cib_model::Time;
use cib_xml::Doc;
use crm_graph::Transition;
use crm_scheduler::PlanFlags;

/// Computes the plan for a CIB at a time (seconds since the epoch).
pub(crate) fn compute(cib: &Doc, now_s: u64, plan: u32) -> Result<Transition, String> {
    let now = i64::try_from(now_s).map_err(|_| "the clock is beyond all bounds".to_owned())?;
    let flags = PlanFlags { under_way: true, ..PlanFlags::default() };
    Ok(crm_scheduler::schedule(cib, Time::from_epoch(now), flags, plan).transition)
}
