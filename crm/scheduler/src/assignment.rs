//! Which resource goes to which node.

mod bundle;
mod clone;
mod colocated;
mod colocation;
mod criteria;
mod group;
pub(crate) mod instances;
mod nodes;
mod primitive;
mod promotable;
mod utilization;
