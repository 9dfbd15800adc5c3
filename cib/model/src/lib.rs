//! The typed view of a CIB: options, nvpair blocks, rules, dates, scores, operation history.

pub mod text;
