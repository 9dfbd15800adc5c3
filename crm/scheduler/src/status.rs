//! From the CIB to what is known about the cluster: nodes, resources, and what history says.

mod bundle;
pub(crate) mod digest;
mod expiry;
mod failcount;
mod history;
mod lookup;
mod migration;
mod node_state;
mod outcome;
mod resources;
mod setup;

pub(crate) use failcount::{Count, FAILURES};
pub(crate) use history::{active_range, sorted_ops};
pub use setup::PlanFlags;
