//! Which resource goes to which node.

mod bundle;
mod clone;
mod colocated;
mod colocation;
mod criteria;
mod group;
mod instances;
mod nodes;
mod primitive;
mod promotable;
mod utilization;
