//! What can go wrong, in words an administrator can act on.

use std::time::Duration;

use ipmi_rs_core::connection::CompletionErrorCode;

use crate::rakp::Privilege;

/// Why talking to a BMC failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is wrong, or the network says that nobody is there.
    #[error("BMC {address} is unreachable: {reason}")]
    Unreachable {
        /// Address and port as asked for.
        address: String,
        /// What the network said.
        reason: String,
    },
    /// Nothing came back: the BMC is off, frozen, or behind a broken network.
    #[error(
        "no answer from the BMC within {:.1} s while {during}: it is off the network or frozen",
        .waited.as_secs_f32()
    )]
    NoAnswer {
        /// What was going on.
        during: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The BMC proved to know another password than the one given.
    #[error("wrong password for user \"{user}\" (or wrong BMC key)")]
    WrongPassword {
        /// The user's name.
        user: String,
    },
    /// The BMC has no such user.
    #[error("the BMC does not know the user \"{user}\", or the user may not log in over the LAN")]
    UnknownUser {
        /// The user's name.
        user: String,
    },
    /// The user may not do this.
    #[error("insufficient privilege: user \"{user}\" may not {what}")]
    InsufficientPrivilege {
        /// The user's name.
        user: String,
        /// What was refused.
        what: String,
    },
    /// No cipher suite suits both sides.
    #[error("the BMC accepts none of the cipher suites {tried}")]
    NoCipherSuite {
        /// Numbers of the suites that were offered.
        tried: String,
    },
    /// The BMC has no room for another session.
    #[error("the BMC has no free session")]
    NoFreeSession,
    /// The BMC refused a step of the log-in.
    #[error("the BMC refused {during} with status {status:#04x}")]
    Refused {
        /// Which step.
        during: &'static str,
        /// RMCP+ status code, IPMI 2.0 table 13-15.
        status: u8,
    },
    /// The BMC carried the command out with an error.
    #[error("the BMC answered \"{}\" ({code:#04x}) to {command}", completion_text(*.code))]
    Completion {
        /// Which command.
        command: &'static str,
        /// IPMI completion code.
        code: u8,
    },
    /// An answer was signed but makes no sense.
    #[error("the BMC's answer to {command} is malformed")]
    Malformed {
        /// Which command.
        command: &'static str,
    },
    /// The BMC ended the session.
    #[error("the session with the BMC is closed")]
    Closed,
    /// The user's name or password cannot be used with IPMI 2.0.
    #[error("{0}")]
    Unusable(String),
}

impl Error {
    /// Whether logging in again might help.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Closed | Self::NoFreeSession)
    }

    pub(crate) fn privilege(user: &str, wanted: Privilege) -> Self {
        Self::InsufficientPrivilege {
            user: user.to_owned(),
            what: format!("log in with the privilege level \"{}\"", wanted.name()),
        }
    }
}

/// A completion code in words.
fn completion_text(code: u8) -> &'static str {
    match CompletionErrorCode::try_from(code) {
        Ok(CompletionErrorCode::NodeBusy) => "busy",
        Ok(CompletionErrorCode::InvalidCommand | CompletionErrorCode::InvalidCommandForLun) => {
            "command not known"
        }
        Ok(CompletionErrorCode::ProcessingTimeout) => "took too long",
        Ok(CompletionErrorCode::OutOfSpace) => "out of space",
        Ok(CompletionErrorCode::InvalidDataFieldInRequest) => "invalid data",
        Ok(CompletionErrorCode::InsufficientPrivilege) => "insufficient privilege",
        Ok(CompletionErrorCode::CannotExecuteCommandInCurrentState) => {
            "not possible in the present state"
        }
        Ok(CompletionErrorCode::ResponseUnavailable { .. }) => "not ready",
        Ok(CompletionErrorCode::DestinationUnavailable) => "destination unavailable",
        Ok(CompletionErrorCode::Unspecified) => "unspecified error",
        _ => "error",
    }
}
