//! The policy engine: a pure function from a CIB and a time to a transition graph, with reasons.
//!
//! Planning goes one way: status (what is), constraints (what may be), assignment (where things
//! go), actions (what that takes), ordering (in which sequence), graph (the plan as data). Each
//! step adds to the tables of one working set.
//!
//! [`schedule`] does all of it; [`overview()`](overview::overview) stops after the first step and is
//! what monitors show.
//! Both are total: whatever is in a CIB, they answer.

#![forbid(unsafe_code)]

mod actions;
mod assignment;
mod base;
mod constraints;
pub mod explain;
mod graph;
mod notes;
mod ordering;
pub mod overview;
mod plan;
mod reasons;
mod status;

use std::sync::Arc;

use cib_model::{Model, Time};
use cib_xml::Doc;

pub use base::{ActionIx, NodeIx, RscIx};
pub use notes::Note;
pub use plan::{Change, Plan, Problem};
pub use reasons::{Contribution, Reason, Reasons};
pub use status::PlanFlags;

/// Plans for a CIB, at a time.
///
/// `transition_id` becomes the number of the transition. The same arguments give the same plan,
/// to the byte.
pub fn schedule(cib: &Arc<Doc>, now: Time, flags: PlanFlags, transition_id: u32) -> Plan {
    let model = Arc::new(Model::from_doc(cib, now));
    schedule_model(model, now, flags, transition_id)
}

/// As [`schedule`], for a CIB that was read already.
pub fn schedule_model(model: Arc<Model>, now: Time, flags: PlanFlags, transition_id: u32) -> Plan {
    plan(base::Ws::new(model, now, flags), transition_id)
}

/// As [`schedule`], for a CIB that was taken in already.
pub fn schedule_present(present: overview::Present, transition_id: u32) -> Plan {
    plan(present.0, transition_id)
}

fn plan(mut ws: base::Ws, transition_id: u32) -> Plan {
    ws.apply_node_health();
    ws.unpack_constraints();
    ws.apply_node_criteria();
    ws.create_internal_constraints();
    ws.handle_config_changes();
    ws.assign_resources();
    ws.schedule_resource_actions();
    ws.order_remote_actions();
    ws.schedule_fencing_and_shutdowns();
    ws.apply_orderings();
    let summary = plan::summarize(&mut ws);
    let transition = ws.create_graph(transition_id);
    Plan::new(transition, summary, ws)
}
