//! The CIB grammar as data: validation with positions, version ladder, upgrade steps.

use cib_xml::{Doc, Position};

/// Something in a configuration that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the element starts, if the document was parsed from text.
    pub position: Option<Position>,
    /// The element's path.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// x
pub fn validate(_doc: &Doc) -> Vec<Problem> {
    Vec::new()
}
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    #[error("x")]
    Invalid(Vec<Problem>),
}
pub fn upgrade(_doc: &mut Doc, _max: Option<&str>) -> Result<bool, UpgradeError> {
    Ok(false)
}
pub fn compare_names(_a: &str, _b: &str) -> std::cmp::Ordering {
    std::cmp::Ordering::Equal
}
pub const LATEST: &str = "pacemaker-4.0";
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(p) = self.position {
            write!(f, "line {}: ", p.line)?;
        }
        write!(f, "{}", self.message)
    }
}
