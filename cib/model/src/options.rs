//! Cluster options with their defaults.

use crate::attrs::{Attrs, Str};
use crate::score::{HealthScores, INFINITY, parse_score};
use crate::text::{eq_ci, is_interval, is_true, parse_bool, parse_interval_ms, scan_int};

/// How the text of an option is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Any,
    Bool,
    Duration,
    Integer,
    PositiveInteger,
    Percentage,
    OneOf(&'static [&'static str]),
}

/// A cluster option: name, former name, default.
#[derive(Clone, Copy, Debug)]
pub struct OptionDef {
    /// Its name.
    pub name: &'static str,
    /// A name that it had in earlier releases and is still taken under.
    pub former: Option<&'static str>,
    /// Its value where none or an invalid one is set.
    pub default: Option<&'static str>,
    check: Check,
}

const fn option(name: &'static str, default: &'static str, check: Check) -> OptionDef {
    OptionDef { name, former: None, default: Some(default), check }
}

const fn renamed(
    name: &'static str,
    former: &'static str,
    default: &'static str,
    check: Check,
) -> OptionDef {
    OptionDef { name, former: Some(former), default: Some(default), check }
}

const fn plain(name: &'static str) -> OptionDef {
    OptionDef { name, former: None, default: None, check: Check::Any }
}

const QUORUM: Check = Check::OneOf(&["stop", "freeze", "ignore", "demote", "fence", "suicide"]);
const HEALTH: Check =
    Check::OneOf(&["none", "migrate-on-red", "only-green", "progressive", "custom"]);
const PLACEMENT: Check = Check::OneOf(&["default", "utilization", "minimal", "balanced"]);

/// All cluster options.
pub const OPTIONS: &[OptionDef] = &[
    plain("dc-version"),
    plain("cluster-infrastructure"),
    plain("cluster-name"),
    option("dc-deadtime", "20s", Check::Duration),
    option("cluster-recheck-interval", "15min", Check::Duration),
    option("election-timeout", "2min", Check::Duration),
    option("shutdown-escalation", "20min", Check::Duration),
    renamed("join-integration-timeout", "crmd-integration-timeout", "3min", Check::Duration),
    renamed("join-finalization-timeout", "crmd-finalization-timeout", "30min", Check::Duration),
    renamed("transition-delay", "crmd-transition-delay", "0s", Check::Duration),
    option("no-quorum-policy", "stop", QUORUM),
    option("shutdown-lock", "false", Check::Bool),
    option("shutdown-lock-limit", "0", Check::Duration),
    option("enable-acl", "false", Check::Bool),
    option("symmetric-cluster", "true", Check::Bool),
    option("maintenance-mode", "false", Check::Bool),
    option("start-failure-is-fatal", "true", Check::Bool),
    option("enable-startup-probes", "true", Check::Bool),
    option("fence-remote-without-quorum", "false", Check::Bool),
    renamed("fencing-enabled", "stonith-enabled", "true", Check::Bool),
    renamed("fencing-action", "stonith-action", "reboot", Check::OneOf(&["reboot", "off"])),
    renamed("fencing-reaction", "fence-reaction", "stop", Check::Any),
    renamed("fencing-timeout", "stonith-timeout", "60s", Check::Duration),
    option("have-watchdog", "false", Check::Bool),
    renamed("fencing-watchdog-timeout", "stonith-watchdog-timeout", "0", Check::Any),
    renamed("fencing-max-attempts", "stonith-max-attempts", "10", Check::PositiveInteger),
    option("concurrent-fencing", "true", Check::Bool),
    option("startup-fencing", "true", Check::Bool),
    option("priority-fencing-delay", "0", Check::Duration),
    option("node-pending-timeout", "0", Check::Duration),
    option("cluster-delay", "60s", Check::Duration),
    option("load-threshold", "80%", Check::Percentage),
    option("node-action-limit", "0", Check::Integer),
    option("batch-limit", "0", Check::Integer),
    option("migration-limit", "-1", Check::Integer),
    plain("cluster-ipc-limit"),
    option("stop-all-resources", "false", Check::Bool),
    renamed("stop-removed-resources", "stop-orphan-resources", "true", Check::Bool),
    renamed("cancel-removed-actions", "stop-orphan-actions", "true", Check::Bool),
    option("pe-error-series-max", "-1", Check::Integer),
    option("pe-warn-series-max", "5000", Check::Integer),
    option("pe-input-series-max", "4000", Check::Integer),
    option("node-health-strategy", "none", HEALTH),
    option("node-health-base", "0", Check::Integer),
    option("node-health-green", "0", Check::Integer),
    option("node-health-yellow", "0", Check::Integer),
    option("node-health-red", "-INFINITY", Check::Integer),
    option("placement-strategy", "default", PLACEMENT),
];

impl Check {
    fn accepts(self, value: &str) -> bool {
        let infinite = matches!(value, "INFINITY" | "+INFINITY" | "-INFINITY");
        match self {
            Check::Any => true,
            Check::Bool => parse_bool(value).is_some(),
            Check::Duration => is_interval(value),
            Check::Integer => infinite || scan_int(value).is_some(),
            Check::PositiveInteger => value == "INFINITY" || scan_int(value).is_some_and(|n| n > 0),
            Check::Percentage => scan_int(value).is_some_and(|n| n >= 0),
            Check::OneOf(list) => list.iter().any(|v| eq_ci(v, value)),
        }
    }
}

/// What to do with resources in a partition without quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuorumPolicy {
    /// Keep what runs, start nothing.
    Freeze,
    /// Stop everything.
    Stop,
    /// Demote promoted instances, stop what is not promotable.
    Demote,
    /// Fence all nodes of the partition.
    Fence,
    /// Go on as if there were quorum.
    Ignore,
}

/// The cluster options as set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    set: Attrs,
}

impl Options {
    /// Options from name/value pairs; names of earlier releases are understood.
    pub fn new(set: Attrs) -> Options {
        Options { set }
    }

    /// What is set under exactly this name, valid or not.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.set.get(name)
    }

    /// Everything that is set, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Str, &Str)> {
        self.set.iter()
    }

    /// The effective value: what is set and valid, else the default.
    pub fn get(&self, name: &str) -> Option<&str> {
        let Some(def) = OPTIONS.iter().find(|o| o.name == name) else { return self.set.get(name) };
        let set = self.set.get(def.name).or_else(|| self.set.get(def.former?));
        let set = match set {
            // What earlier releases called it.
            Some("poweroff") if name == "fencing-action" => Some("off"),
            other => other,
        };
        set.filter(|v| def.check.accepts(v)).or(def.default)
    }

    /// Options whose set value is not valid, with that value.
    pub fn invalid(&self) -> impl Iterator<Item = (&'static str, &str)> {
        OPTIONS.iter().filter_map(|def| {
            let value = self.set.get(def.name).or_else(|| self.set.get(def.former?))?;
            (!def.check.accepts(value)).then_some((def.name, value))
        })
    }

    /// The effective value of a boolean option.
    pub fn flag(&self, name: &str) -> bool {
        is_true(self.get(name))
    }

    /// The effective value of a duration option, in milliseconds.
    pub fn duration_ms(&self, name: &str) -> u32 {
        parse_interval_ms(self.get(name))
    }

    /// The effective value of an option that is a score.
    pub fn score(&self, name: &str) -> i32 {
        self.get(name).and_then(parse_score).unwrap_or(0)
    }

    /// `no-quorum-policy` as configured.
    pub fn no_quorum_policy(&self) -> NoQuorumPolicy {
        match self.get("no-quorum-policy").map(str::to_ascii_lowercase).as_deref() {
            Some("ignore") => NoQuorumPolicy::Ignore,
            Some("freeze") => NoQuorumPolicy::Freeze,
            Some("demote") => NoQuorumPolicy::Demote,
            Some("fence" | "suicide") => NoQuorumPolicy::Fence,
            _ => NoQuorumPolicy::Stop,
        }
    }

    /// What the health words are worth under the configured strategy.
    pub fn health_scores(&self) -> HealthScores {
        match self.get("node-health-strategy").map(str::to_ascii_lowercase).as_deref() {
            Some("migrate-on-red") => HealthScores { red: -INFINITY, yellow: 0, green: 0 },
            Some("only-green") => HealthScores { red: -INFINITY, yellow: -INFINITY, green: 0 },
            Some("progressive" | "custom") => HealthScores {
                red: self.score("node-health-red"),
                yellow: self.score("node-health-yellow"),
                green: self.score("node-health-green"),
            },
            _ => HealthScores::default(),
        }
    }
}
