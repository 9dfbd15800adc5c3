//! The typed view of a CIB.
//!
//! [`Model::from_doc`] turns the tree into plain data: options, nodes, resource definitions,
//! constraints, rules, and the recorded status. It is total: whatever is wrong in a CIB becomes a
//! [`Note`], never an error, because a cluster must go on with what it can make out. Above this
//! crate nobody looks at an XML attribute by name.
//!
//! Values of configured names (parameters, meta-attributes, node attributes) stay text in
//! [`Attrs`], since agents define them; everything the cluster itself interprets is an enum or a
//! number here.

#![forbid(unsafe_code)]

mod attrs;
mod constraint;
mod fencing;
mod model;
mod nvpair;
mod options;
mod resource;
mod rule;
mod score;
mod status;
pub mod text;
mod time;

pub use attrs::{Attrs, Str};
pub use constraint::{
    Colocation, Constraint, Location, LocationTarget, Order, OrderKind, ResourceSet,
    TicketConstraint,
};
pub use fencing::{FenceDevice, FenceLevel, FenceTarget, Fencing, fencing};
pub use model::{Model, NodeDef, NodeType, Note, TicketState, cluster_options};
pub use nvpair::{Block, Blocks, Nvpair};
pub use options::{NoQuorumPolicy, OPTIONS, OptionDef, Options, Part};
pub use resource::{
    AgentClass, BundleDef, Mount, OpDef, PortMapping, ResourceDef, ResourceKind, Role, capabilities,
};
pub use rule::{
    Combine, Comparison, Condition, DateField, NextChange, Rule, RuleInput, Submatches, ValueKind,
    ValueSource, compare_date_spec,
};
pub use score::{
    HealthScores, INFINITY, add_scores, parse_score, parse_score_with, readable_score,
};
pub use status::{
    ExecStatus, HistoryOp, NodeHistory, NodeState, ResourceHistory, exit_status_text, parse_op_key,
};
pub use text::{
    base_name, compare_versions, eq_ci, is_true, numeric_cmp, parse_bool, parse_interval_ms,
    parse_ms, scan_int, scan_min_int, seconds_of_ms, timeout_ms,
};
pub use time::{Time, ctime_text, parse_duration_seconds};

/// The feature set (`crm_feature_set`) of plans, histories and CIBs, in the field's numbering:
/// Pacemaker's 3.0.
pub const FEATURE_SET: &str = "3.20.5";
