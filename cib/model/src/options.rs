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
    /// Who reads it.
    pub part: Part,
    /// What it is for.
    pub about: &'static str,
    check: Check,
}

/// The parts of the cluster that read options, as the field divides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The one that plans.
    Scheduler,
    /// The one that carries plans out and knows who is there.
    Controller,
    /// The one that keeps the CIB.
    Cib,
}

impl OptionDef {
    /// Its type, in the words of agents' metadata.
    pub fn kind(&self) -> &'static str {
        match self.check {
            Check::Any => "string",
            Check::Bool => "boolean",
            Check::Duration => "duration",
            Check::Integer | Check::PositiveInteger => "integer",
            Check::Percentage => "percentage",
            Check::OneOf(_) => "select",
        }
    }

    /// The values to choose from, if it is that kind of option.
    pub fn choices(&self) -> &'static [&'static str] {
        match self.check {
            Check::OneOf(list) => list,
            _ => &[],
        }
    }

    const fn about(self, part: Part, about: &'static str) -> OptionDef {
        OptionDef { part, about, ..self }
    }
}

const fn option(name: &'static str, default: &'static str, check: Check) -> OptionDef {
    OptionDef { default: Some(default), check, ..plain(name) }
}

const fn renamed(
    name: &'static str,
    former: &'static str,
    default: &'static str,
    check: Check,
) -> OptionDef {
    OptionDef { former: Some(former), default: Some(default), check, ..plain(name) }
}

const fn plain(name: &'static str) -> OptionDef {
    let (former, default, check) = (None, None, Check::Any);
    OptionDef { name, former, default, part: Part::Scheduler, about: "", check }
}

const QUORUM: Check = Check::OneOf(&["stop", "freeze", "ignore", "demote", "fence", "suicide"]);
const HEALTH: Check =
    Check::OneOf(&["none", "migrate-on-red", "only-green", "progressive", "custom"]);
const PLACEMENT: Check = Check::OneOf(&["default", "utilization", "minimal", "balanced"]);

/// All cluster options.
pub const OPTIONS: &[OptionDef] = &[
    plain("dc-version").about(
        Part::Controller,
        "Version of the software on the designated controller (set by the cluster)",
    ),
    plain("cluster-infrastructure")
        .about(Part::Controller, "What messages and membership come from (set by the cluster)"),
    plain("cluster-name").about(Part::Controller, "Name of the cluster, for people"),
    option("dc-deadtime", "20s", Check::Duration)
        .about(Part::Controller, "How long a starting node waits for others"),
    option("cluster-recheck-interval", "15min", Check::Duration)
        .about(Part::Controller, "How often to look for changes that time alone brings"),
    option("election-timeout", "2min", Check::Duration)
        .about(Part::Controller, "How long the choice of a designated controller may take"),
    option("shutdown-escalation", "20min", Check::Duration)
        .about(Part::Controller, "How long a node may take to leave before it just exits"),
    renamed("join-integration-timeout", "crmd-integration-timeout", "3min", Check::Duration)
        .about(Part::Controller, "How long a joining node may take to answer"),
    renamed("join-finalization-timeout", "crmd-finalization-timeout", "30min", Check::Duration)
        .about(Part::Controller, "How long joining may take as a whole"),
    renamed("transition-delay", "crmd-transition-delay", "0s", Check::Duration)
        .about(Part::Controller, "How long to wait for further changes before acting"),
    option("fence-limit", "2", Check::Integer).about(
        Part::Controller,
        "How often, within fence-limit-interval, members may be fenced because of failures of the \
         same resource, or the same member because of any; in the whole cluster twice as often, or \
         once for each node. Then the failed resource is blocked. 0 for no limit",
    ),
    option("fence-limit-interval", "1h", Check::Duration)
        .about(Part::Controller, "The time for which fence-limit counts"),
    option("no-quorum-policy", "stop", QUORUM)
        .about(Part::Scheduler, "What to do with resources in a partition without quorum"),
    option("shutdown-lock", "false", Check::Bool)
        .about(Part::Scheduler, "Keep resources with a node that is shut down"),
    option("shutdown-lock-limit", "0", Check::Duration).about(
        Part::Scheduler,
        "How long resources are kept with a node that is shut down, 0 for ever",
    ),
    option("enable-acl", "false", Check::Bool)
        .about(Part::Cib, "Whether users have only the rights that the acls section gives them"),
    option("symmetric-cluster", "true", Check::Bool)
        .about(Part::Scheduler, "Whether resources may run on any node unless told otherwise"),
    option("maintenance-mode", "false", Check::Bool)
        .about(Part::Scheduler, "Whether to leave all resources alone"),
    option("start-failure-is-fatal", "true", Check::Bool)
        .about(Part::Scheduler, "Whether one failed start bans a resource from the node"),
    option("enable-startup-probes", "true", Check::Bool)
        .about(Part::Scheduler, "Whether to look for active resources on nodes that join"),
    option("fence-remote-without-quorum", "false", Check::Bool)
        .about(Part::Scheduler, "Whether remote nodes may be fenced without quorum"),
    renamed("fencing-enabled", "stonith-enabled", "true", Check::Bool).about(
        Part::Scheduler,
        "Whether nodes may be fenced: never switch this off with shared data",
    ),
    renamed("fencing-action", "stonith-action", "reboot", Check::OneOf(&["reboot", "off"]))
        .about(Part::Scheduler, "What fencing a node means"),
    renamed("fencing-reaction", "fence-reaction", "stop", Check::OneOf(&["stop", "panic"])).about(
        Part::Controller,
        "What a node does that is told of its own fence: stop what it runs, or restart its host",
    ),
    renamed("fencing-timeout", "stonith-timeout", "60s", Check::Duration)
        .about(Part::Scheduler, "How long fencing a node may take"),
    option("have-watchdog", "false", Check::Bool)
        .about(Part::Scheduler, "Whether nodes have a watchdog (set by the cluster)"),
    renamed("fencing-watchdog-timeout", "stonith-watchdog-timeout", "0", Check::Any)
        .about(Part::Controller, "After what time a lost node counts as stopped by its watchdog"),
    renamed("fencing-max-attempts", "stonith-max-attempts", "10", Check::PositiveInteger).about(
        Part::Controller,
        "How often fencing is tried before the cluster waits for a reason to try again",
    ),
    option("concurrent-fencing", "true", Check::Bool)
        .about(Part::Scheduler, "Whether several nodes may be fenced at a time"),
    option("startup-fencing", "true", Check::Bool)
        .about(Part::Scheduler, "Whether nodes that nobody has seen yet are fenced"),
    option("priority-fencing-delay", "0", Check::Duration).about(
        Part::Scheduler,
        "How long to spare the node with the more important resources when a cluster splits",
    ),
    option("node-pending-timeout", "0", Check::Duration)
        .about(Part::Scheduler, "How long a node may take to join before it is fenced, 0 for ever"),
    option("cluster-delay", "60s", Check::Duration)
        .about(Part::Scheduler, "How long messages between nodes may take at most"),
    option("load-threshold", "80%", Check::Percentage)
        .about(Part::Controller, "Share of processor time that the cluster may cause"),
    option("node-action-limit", "0", Check::Integer).about(
        Part::Scheduler,
        "How many actions may run at a time on a node, 0 for twice its processors",
    ),
    option("batch-limit", "0", Check::Integer).about(
        Part::Scheduler,
        "How many actions may run at a time in the cluster, 0 to adapt to the load",
    ),
    option("migration-limit", "-1", Check::Integer).about(
        Part::Scheduler,
        "How many live migrations may run at a time on a node, -1 for no limit",
    ),
    plain("cluster-ipc-limit")
        .about(Part::Cib, "How many messages may wait for a client before it is dropped"),
    option("stop-all-resources", "false", Check::Bool)
        .about(Part::Scheduler, "Whether to keep all resources stopped"),
    renamed("stop-removed-resources", "stop-orphan-resources", "true", Check::Bool).about(
        Part::Scheduler,
        "Whether to stop resources that were taken out of the configuration",
    ),
    renamed("cancel-removed-actions", "stop-orphan-actions", "true", Check::Bool).about(
        Part::Scheduler,
        "Whether to cancel recurring actions that were taken out of the configuration",
    ),
    option("pe-error-series-max", "-1", Check::Integer)
        .about(Part::Scheduler, "How many plan inputs with errors to keep, -1 for all"),
    option("pe-warn-series-max", "5000", Check::Integer)
        .about(Part::Scheduler, "How many plan inputs with warnings to keep, -1 for all"),
    option("pe-input-series-max", "4000", Check::Integer)
        .about(Part::Scheduler, "How many other plan inputs to keep, -1 for all"),
    option("node-health-strategy", "none", HEALTH)
        .about(Part::Scheduler, "What attributes about the health of nodes lead to"),
    option("node-health-base", "0", Check::Integer)
        .about(Part::Scheduler, "Score that every node has before its health counts"),
    option("node-health-green", "0", Check::Integer)
        .about(Part::Scheduler, "Score that the health \"green\" stands for"),
    option("node-health-yellow", "0", Check::Integer)
        .about(Part::Scheduler, "Score that the health \"yellow\" stands for"),
    option("node-health-red", "-INFINITY", Check::Integer)
        .about(Part::Scheduler, "Score that the health \"red\" stands for"),
    option("placement-strategy", "default", PLACEMENT)
        .about(Part::Scheduler, "How resources are spread over nodes"),
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
