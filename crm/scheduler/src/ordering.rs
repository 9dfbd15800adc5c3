//! Relations between actions: made from constraints, then worked out until nothing changes.

mod constraints;
mod relations;
mod update;
mod variants;
