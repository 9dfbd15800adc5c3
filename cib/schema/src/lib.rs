//! The CIB grammar as data: validation with positions, version ladder, upgrade steps.
//!
//! The grammar stands once, in `cib.grammar`, with the versions in which a rule holds where it
//! changed. The latest series is checked strictly; older schemas leniently (what was added later
//! is accepted), except where the difference decides whether an upgrade has something to do.

#![forbid(unsafe_code)]

mod grammar;
mod ladder;
mod relax_ng;
mod upgrade;
mod validate;

pub use ladder::{Schema, compare_names};
pub use relax_ng::{relax_ng, relax_ng_of};
pub use upgrade::{Dropped, Step, UpgradeError, latest, upgrade, upgrade_told};
pub use validate::{Problem, validate, validate_changed, validate_with};

/// Name of the newest schema.
pub const LATEST: &str = "pacemaker-4.0";
