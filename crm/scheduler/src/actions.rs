//! The action table, and which actions each kind of resource needs.

mod bundle;
mod changes;
mod fencing;
mod instances;
mod meta;
mod migration;
mod notify;
mod primitive;
mod probes;
mod promotable;
mod recurring;
mod remote;
mod table;
