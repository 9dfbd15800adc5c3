//! Why an operation was refused.

use serde::{Deserialize, Serialize};

/// The kinds of refusal, each with the exit status that tools give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ErrorKind {
    /// What is to be read or changed is not there.
    NoSuchItem,
    /// What is to be created exists.
    Exists,
    /// The request makes no sense: no input, an unknown section, not XML.
    Invalid,
    /// The XPath expression is wrong or selects no elements.
    BadXPath,
    /// The result would not be valid under its schema.
    SchemaInvalid,
    /// The configuration cannot be brought to the schema that was asked for.
    UpgradeFailed,
    /// The request starts from a state that is older than the CIB.
    OldData,
    /// A patchset does not fit.
    DiffFailed,
    /// The input has another digest than it says.
    Digest,
    /// The user may not do this.
    Denied,
    /// The partition has no quorum.
    NoQuorum,
    /// The CIB needs a newer implementation.
    TooNew,
    /// Not allowed within a transaction.
    NotInTransaction,
    /// The root element of the CIB is broken.
    Corrupt,
    /// Too many requests wait already.
    Busy,
    /// Nobody answers: the cluster does not run here.
    NotConnected,
    /// The membership changed before all had what a part of the cluster itself wrote.
    Overtaken,
    /// The answer takes too long.
    TimedOut,
}

impl ErrorKind {
    /// The exit status of tools for it.
    pub fn exit_code(self) -> i32 {
        match self {
            ErrorKind::NoSuchItem => 105,
            ErrorKind::Exists => 108,
            ErrorKind::Invalid => 70,
            ErrorKind::BadXPath => 105,
            ErrorKind::SchemaInvalid | ErrorKind::UpgradeFailed | ErrorKind::Corrupt => 78,
            ErrorKind::OldData => 103,
            ErrorKind::DiffFailed => 1,
            ErrorKind::Digest => 104,
            ErrorKind::Denied => 4,
            ErrorKind::NoQuorum => 106,
            ErrorKind::TooNew => 76,
            ErrorKind::NotInTransaction => 3,
            ErrorKind::Busy => 113,
            ErrorKind::NotConnected => 102,
            ErrorKind::TimedOut => 124,
            ErrorKind::Overtaken => 75,
        }
    }

    /// The kind that tools show with this exit status.
    pub fn from_exit_code(code: i32) -> Option<ErrorKind> {
        const ALL: [ErrorKind; 16] = [
            ErrorKind::NoSuchItem,
            ErrorKind::Exists,
            ErrorKind::Invalid,
            ErrorKind::SchemaInvalid,
            ErrorKind::UpgradeFailed,
            ErrorKind::OldData,
            ErrorKind::DiffFailed,
            ErrorKind::Digest,
            ErrorKind::Denied,
            ErrorKind::NoQuorum,
            ErrorKind::TooNew,
            ErrorKind::NotInTransaction,
            ErrorKind::Corrupt,
            ErrorKind::Busy,
            ErrorKind::NotConnected,
            ErrorKind::TimedOut,
        ];
        ALL.into_iter().find(|kind| kind.exit_code() == code)
    }

    /// What tools print for it.
    pub fn text(self) -> &'static str {
        match self {
            ErrorKind::NoSuchItem | ErrorKind::BadXPath => "No such device or address",
            ErrorKind::Exists => "File exists",
            ErrorKind::Invalid => "Invalid argument",
            ErrorKind::SchemaInvalid => "Update does not conform to the configured schema",
            ErrorKind::UpgradeFailed => "Schema transform failed",
            ErrorKind::OldData => "Update was older than existing configuration",
            ErrorKind::DiffFailed => "Application of update diff failed",
            ErrorKind::Digest => "Digest comparison failed",
            ErrorKind::Denied => "Permission denied",
            ErrorKind::NoQuorum => "Quorum required",
            ErrorKind::TooNew => "Protocol not supported",
            ErrorKind::NotInTransaction => "Operation not supported",
            ErrorKind::Corrupt => "Local copy of the CIB is corrupt",
            ErrorKind::Busy => "Resource temporarily unavailable",
            ErrorKind::NotConnected => "Transport endpoint is not connected",
            ErrorKind::Overtaken => "The membership changed meanwhile",
            ErrorKind::TimedOut => "Timer expired",
        }
    }
}

/// A refused operation. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{detail}", kind.text(), if detail.is_empty() { "" } else { ": " })]
pub struct StoreError {
    /// What sort of refusal.
    pub kind: ErrorKind,
    /// More about it, may be empty.
    pub detail: String,
    /// What was refused, as XML (`<failed>…</failed>`), where the field reports it.
    pub output: Option<String>,
}

impl StoreError {
    /// A refusal with a reason.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> StoreError {
        StoreError { kind, detail: detail.into(), output: None }
    }

    /// The exit status of tools for it.
    pub fn exit_code(&self) -> i32 {
        self.kind.exit_code()
    }
}

impl From<ErrorKind> for StoreError {
    fn from(kind: ErrorKind) -> StoreError {
        StoreError::new(kind, "")
    }
}
