//! What all agents share: exit codes, failures with their reason, parameters and meta
//! attributes. Source of the rules: OCF Resource Agent API 1.1.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::metadata::Metadata;

/// Exit codes of the OCF Resource Agent API 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// The action succeeded; for monitor: running (and, if promotable, unpromoted).
    Success = 0,
    /// Generic failure, may be tried again.
    Generic = 1,
    /// A parameter's value is wrong on this host.
    Arguments = 2,
    /// The agent does not know the action.
    Unimplemented = 3,
    /// The agent lacks a right it needs.
    Permission = 4,
    /// Something the agent needs is not installed on this host.
    NotInstalled = 5,
    /// The configuration is wrong on every host.
    Configured = 6,
    /// Cleanly stopped.
    NotRunning = 7,
    /// Running in the promoted role.
    Promoted = 8,
    /// Failed in the promoted role.
    FailedPromoted = 9,
}

impl ExitCode {
    /// The number to exit with.
    pub fn code(self) -> i32 {
        self as i32
    }
}

/// An action that did not end with "success", with the reason for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: ExitCode,
    pub(crate) reason: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: ExitCode, reason: impl Display) -> Self {
        Self { code, reason: Some(reason.to_string()) }
    }

    /// A failure that may be tried again.
    pub(crate) fn generic(reason: impl Display) -> Self {
        Self::new(ExitCode::Generic, reason)
    }

    /// An answer that is no error and needs no reason, such as "not running".
    pub(crate) fn answer(code: ExitCode) -> Self {
        Self { code, reason: None }
    }
}

/// Everything an action may look at: parameters with the defaults of the metadata applied.
pub(crate) struct Context {
    environment: BTreeMap<String, String>,
    metadata: &'static Metadata,
    action: String,
}

impl Context {
    pub(crate) fn new(
        environment: BTreeMap<String, String>,
        action: &str,
        metadata: &'static Metadata,
    ) -> Self {
        Self { environment, metadata, action: action.to_owned() }
    }

    /// A variable of the environment; empty counts as not set.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter's value, or its default from the metadata.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        debug_assert!(self.metadata.parameter(name).is_some(), "undeclared parameter {name}");
        self.variable(&format!("OCF_RESKEY_{name}")).or_else(|| {
            self.metadata.parameter(name).and_then(|p| p.default).filter(|text| !text.is_empty())
        })
    }

    /// A parameter that must be set.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.parameter(name).ok_or_else(|| {
            Failure::new(ExitCode::Configured, format!("Required parameter {name} is not set"))
        })
    }

    /// A parameter of any type with a text form; a value that cannot be read is a
    /// configuration error naming the parameter.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, kind: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.parameter(name) else { return Ok(None) };
        text.trim()
            .parse()
            .map(Some)
            .map_err(|_| Failure::new(ExitCode::Configured, format!("{name}={text} is not {kind}")))
    }

    /// The same for actions that go by what is there: a value that cannot be read is the default.
    pub(crate) fn readable<T: FromStr>(&self, name: &str) -> Option<T> {
        let given = self.parameter(name).and_then(|text| text.trim().parse().ok());
        let default = || self.metadata.parameter(name)?.default?.parse().ok();
        given.or_else(default)
    }

    /// A yes-or-no parameter in any of the spellings OCF agents take.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        let text = self.parameter(name).unwrap_or("false");
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "1" => Ok(true),
            "false" | "no" | "n" | "off" | "0" => Ok(false),
            _ => Err(Failure::new(
                ExitCode::Configured,
                format!("{name}={text} is neither true nor false"),
            )),
        }
    }

    /// Name of the resource, with the clone number if it has one.
    pub(crate) fn instance(&self) -> &str {
        self.variable("OCF_RESOURCE_INSTANCE").unwrap_or("undefined")
    }

    /// A monitor with interval 0 asks on a host that may lack everything the resource needs.
    pub(crate) fn is_probe(&self) -> bool {
        self.action == "monitor"
            && self.variable("OCF_RESKEY_CRM_meta_interval").is_none_or(|text| text == "0")
    }

    /// Name of the host as the cluster knows it, if told.
    pub(crate) fn node(&self) -> Option<&str> {
        self.variable("OCF_RESKEY_CRM_meta_on_node")
    }

    /// How long this action may take before it is killed.
    pub(crate) fn timeout(&self) -> Duration {
        let text = self.variable("OCF_RESKEY_CRM_meta_timeout");
        let milliseconds = text.and_then(|text| text.parse().ok()).unwrap_or(20_000);
        Duration::from_millis(milliseconds)
    }

    /// How deep validate-all and monitor should look (`OCF_CHECK_LEVEL`).
    pub(crate) fn check_level(&self) -> u32 {
        self.variable("OCF_CHECK_LEVEL").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Folder for state that must not outlive a restart of the host.
    pub(crate) fn state_folder(&self) -> PathBuf {
        PathBuf::from(self.variable("HA_RSCTMP").unwrap_or("/run/resource-agents"))
    }

    /// The whole environment, sorted by name.
    pub(crate) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }
}
