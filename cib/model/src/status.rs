//! The recorded status: node states and operation history.

use std::fmt;
use std::sync::Arc;

use cib_xml::{Attr, Doc, Node, NodeId};
use smallvec::SmallVec;

use crate::attrs::Str;
use crate::model::Reader;
use crate::nvpair::Blocks;
use crate::text::{scan_int, scan_prefix};

/// How the execution of an operation ended, apart from the agent's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ExecStatus {
    Unknown,
    Pending,
    Done,
    Cancelled,
    TimedOut,
    NotSupported,
    Error,
    ErrorHard,
    ErrorFatal,
    NotInstalled,
    NotConnected,
    Invalid,
    NoFenceDevice,
    NoSecrets,
}

impl ExecStatus {
    /// From the number in the history; `None` if there is no such status.
    pub fn from_code(code: i32) -> Option<ExecStatus> {
        Some(match code {
            -2 => ExecStatus::Unknown,
            -1 => ExecStatus::Pending,
            0 => ExecStatus::Done,
            1 => ExecStatus::Cancelled,
            2 => ExecStatus::TimedOut,
            3 => ExecStatus::NotSupported,
            4 => ExecStatus::Error,
            5 => ExecStatus::ErrorHard,
            6 => ExecStatus::ErrorFatal,
            7 => ExecStatus::NotInstalled,
            8 => ExecStatus::NotConnected,
            9 => ExecStatus::Invalid,
            10 => ExecStatus::NoFenceDevice,
            11 => ExecStatus::NoSecrets,
            _ => return None,
        })
    }
}

/// One `<lrm_rsc_op>`.
#[derive(Clone, Debug)]
pub struct HistoryOp {
    /// Interval in milliseconds.
    pub interval_ms: u32,
    /// The exit status that was expected, from the transition key; -1 without a key.
    pub target_rc: i32,
    /// Number of the call, -1 for a pending one.
    pub call_id: i32,
    /// Exit status, if it is a number.
    pub rc: Option<i32>,
    /// Execution status as a number, if it is one.
    pub status: Option<i32>,
    /// Its name, if it is a usual one.
    usual: Option<&'static str>,
    recorded: Recorded,
}

/// An element of a history. Most of a CIB is history, and of most of that little is ever asked for:
/// its words stay where they are.
#[derive(Clone)]
struct Recorded {
    source: Arc<HistorySource>,
    element: NodeId,
}

/// The document that a history is read from, and where in it the names are that matter.
pub(crate) struct HistorySource {
    doc: Arc<Doc>,
    words: [Option<u32>; Word::NAMES.len()],
    /// What the attribute of each name says, where that is asked for of every operation.
    facts: Vec<Option<Fact>>,
}

/// Attributes that are kept as they are written.
#[derive(Clone, Copy)]
enum Word {
    Id,
    Operation,
    Key,
    Magic,
    OnNode,
    ExitReason,
    Digest,
    RestartDigest,
    SecureDigest,
    ForceRestart,
    SecureParams,
    FeatureSet,
    FenceHeld,
    MigrateSource,
    MigrateTarget,
    LastRcChange,
    ExecTime,
    QueueTime,
    Class,
    Provider,
    Type,
    Container,
    ShutdownLock,
}

impl Word {
    /// What they are called in the CIB, in the order above.
    const NAMES: [&str; Word::ShutdownLock as usize + 1] = [
        "id",
        "operation",
        "operation_key",
        "transition-magic",
        "on_node",
        "exit-reason",
        "op-digest",
        "op-restart-digest",
        "op-secure-digest",
        "op-force-restart",
        "op-secure-params",
        "crm_feature_set",
        "fence-held",
        "migrate_source",
        "migrate_target",
        "last-rc-change",
        "exec-time",
        "queue-time",
        "class",
        "provider",
        "type",
        "container",
        "shutdown-lock",
    ];
}

/// What nearly all operations are, most frequent first: these are not looked up again.
const USUAL: [&str; 7] =
    ["monitor", "start", "stop", "promote", "demote", "migrate_to", "migrate_from"];

/// Attributes of an `<lrm_rsc_op>` that are read at once.
#[derive(Clone, Copy)]
enum Fact {
    Interval,
    CallId,
    Rc,
    Status,
    Key,
    Operation,
}

impl Fact {
    fn named(name: &str) -> Option<Fact> {
        Some(match name {
            "interval" => Fact::Interval,
            "call-id" => Fact::CallId,
            "rc-code" => Fact::Rc,
            "op-status" => Fact::Status,
            "transition-key" => Fact::Key,
            "operation" => Fact::Operation,
            _ => return None,
        })
    }
}

impl HistorySource {
    pub(crate) fn new(doc: &Arc<Doc>) -> Arc<HistorySource> {
        let mut words = [None; Word::NAMES.len()];
        let mut facts = Vec::new();
        for (number, name) in (0..).zip(doc.names()) {
            if let Some(word) = Word::NAMES.iter().position(|known| *known == name) {
                words[word] = Some(number);
            }
            facts.push(Fact::named(name));
        }
        Arc::new(HistorySource { doc: doc.clone(), words, facts })
    }
}

impl Recorded {
    fn new(node: Node<'_>, source: &Arc<HistorySource>) -> Recorded {
        Recorded { source: source.clone(), element: node.id() }
    }

    fn attrs(&self) -> impl Iterator<Item = Attr<'_>> {
        self.source.doc.node(self.element).numbered_attrs()
    }

    fn word(&self, word: Word) -> Option<&str> {
        let name = self.source.words[word as usize]?;
        self.source.doc.node(self.element).numbered_attr(name)
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.attrs().map(|attr| (attr.name(), attr.value()))).finish()
    }
}

impl HistoryOp {
    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.recorded.word(Word::Id)
    }

    /// Name of the operation.
    pub fn operation(&self) -> Option<&str> {
        self.usual.or_else(|| self.recorded.word(Word::Operation))
    }

    /// Key of the operation, or where an old entry has none, its id.
    pub fn key(&self) -> Option<&str> {
        self.recorded.word(Word::Key).filter(|key| !key.is_empty()).or_else(|| self.id())
    }

    /// The transition magic.
    pub fn magic(&self) -> Option<&str> {
        self.recorded.word(Word::Magic)
    }

    /// Node that it ran on, as recorded.
    pub fn on_node(&self) -> Option<&str> {
        self.recorded.word(Word::OnNode)
    }

    /// Why it failed, in the agent's words.
    pub fn exit_reason(&self) -> Option<&str> {
        self.recorded.word(Word::ExitReason)
    }

    /// Whether its failure does not have the node fenced, because that has not helped elsewhere.
    pub fn is_fence_held(&self) -> bool {
        self.recorded.word(Word::FenceHeld) == Some("true")
    }

    /// Digest over all parameters.
    pub fn digest(&self) -> Option<&str> {
        self.recorded.word(Word::Digest)
    }

    /// Digest over parameters that need a restart.
    pub fn restart_digest(&self) -> Option<&str> {
        self.recorded.word(Word::RestartDigest)
    }

    /// Digest over parameters that are not secret.
    pub fn secure_digest(&self) -> Option<&str> {
        self.recorded.word(Word::SecureDigest)
    }

    /// Names of parameters that need a restart.
    pub fn force_restart(&self) -> Option<&str> {
        self.recorded.word(Word::ForceRestart)
    }

    /// Names of secret parameters.
    pub fn secure_params(&self) -> Option<&str> {
        self.recorded.word(Word::SecureParams)
    }

    /// Feature set of the node that recorded it.
    pub fn feature_set(&self) -> Option<&str> {
        self.recorded.word(Word::FeatureSet)
    }

    /// Where a migration came from.
    pub fn migrate_source(&self) -> Option<&str> {
        self.recorded.word(Word::MigrateSource)
    }

    /// Where a migration goes.
    pub fn migrate_target(&self) -> Option<&str> {
        self.recorded.word(Word::MigrateTarget)
    }

    /// When the result changed last, seconds since the epoch.
    pub fn last_rc_change(&self) -> Option<i64> {
        self.recorded.word(Word::LastRcChange).and_then(scan_int)
    }

    /// How long it took in milliseconds, as written.
    pub fn exec_time(&self) -> Option<&str> {
        self.recorded.word(Word::ExecTime)
    }

    /// How long it waited in milliseconds, as written.
    pub fn queue_time(&self) -> Option<&str> {
        self.recorded.word(Word::QueueTime)
    }

    /// Whether this is a probe.
    pub fn is_probe(&self) -> bool {
        self.interval_ms == 0 && self.usual == Some("monitor")
    }

    /// Whether this is a probe that failed because the service is not installed there or cannot
    /// run: that says "not running" rather than "failed".
    pub fn is_masked_probe_failure(&self) -> bool {
        self.is_probe() && (matches!(self.rc, Some(2 | 5)) || self.status == Some(7))
    }

    /// Transition number and sender, from the magic (`status:rc;key`).
    pub fn transition(&self) -> Option<(i64, &str)> {
        let (_, key) = self.magic()?.split_once(';')?;
        decode_key(key).map(|(transition, _, sender)| (transition, sender.trim()))
    }

    fn read(node: Node<'_>, source: &Arc<HistorySource>) -> HistoryOp {
        let mut op = HistoryOp {
            interval_ms: 0,
            target_rc: -1,
            call_id: -1,
            rc: None,
            status: None,
            usual: None,
            recorded: Recorded::new(node, source),
        };
        for attr in node.numbered_attrs() {
            let Some(fact) = source.facts[attr.name_index()] else { continue };
            let value = attr.value();
            match fact {
                Fact::Interval => {
                    let interval = scan_int(value).and_then(|n| u32::try_from(n).ok());
                    op.interval_ms = interval.unwrap_or(0);
                }
                Fact::CallId => op.call_id = scan_int(value).map_or(-1, clamped),
                Fact::Rc => op.rc = scan_int(value).map(clamped),
                Fact::Status => op.status = scan_int(value).map(clamped),
                Fact::Key => op.target_rc = decode_key(value).map_or(-1, |d| clamped(d.1)),
                Fact::Operation => op.usual = USUAL.into_iter().find(|name| *name == value),
            }
        }
        op
    }
}

fn clamped(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

/// Transition, expected exit status and sender of a transition key
/// (`action:transition:rc:uuid`).
fn decode_key(key: &str) -> Option<(i64, i64, &str)> {
    let mut rest = key;
    let mut number = || {
        let (number, after) = scan_prefix(rest)?;
        rest = after.strip_prefix(':').or_else(|| after.split_once(':').map(|(_, rest)| rest))?;
        Some(number)
    };
    let (_action, transition, rc) = (number()?, number()?, number()?);
    Some((transition, rc, rest))
}

/// What one `<lrm_resource>` records.
#[derive(Clone, Debug)]
pub struct ResourceHistory {
    /// Operations in document order. Most resources do not run on most nodes, where a probe is all
    /// that is recorded.
    pub ops: SmallVec<[HistoryOp; 1]>,
    recorded: Recorded,
}

impl ResourceHistory {
    fn read(node: Node<'_>, source: &Arc<HistorySource>) -> ResourceHistory {
        let ops = node.children_named("lrm_rsc_op").map(|op| HistoryOp::read(op, source));
        let mut ops: SmallVec<_> = ops.collect();
        // Room to spare would be most of a model's memory.
        ops.shrink_to_fit();
        ResourceHistory { ops, recorded: Recorded::new(node, source) }
    }

    /// The resource's id as the executor knows it.
    pub fn id(&self) -> Option<&str> {
        self.recorded.word(Word::Id)
    }

    /// Class of the agent.
    pub fn class(&self) -> Option<&str> {
        self.recorded.word(Word::Class)
    }

    /// Provider of the agent.
    pub fn provider(&self) -> Option<&str> {
        self.recorded.word(Word::Provider)
    }

    /// Name of the agent.
    pub fn agent(&self) -> Option<&str> {
        self.recorded.word(Word::Type)
    }

    /// The container that it ran in.
    pub fn container(&self) -> Option<&str> {
        self.recorded.word(Word::Container)
    }

    /// When the resource was locked to this node, seconds since the epoch, 0 if it was not.
    pub fn shutdown_lock(&self) -> i64 {
        self.recorded.word(Word::ShutdownLock).and_then(scan_int).unwrap_or(0)
    }

    /// All attributes of the element.
    pub fn attrs(&self) -> Vec<(Str, Str)> {
        self.recorded.attrs().map(|attr| (attr.name().into(), attr.value().into())).collect()
    }
}

/// Everything that a node's executor records.
pub type NodeHistory = Vec<ResourceHistory>;

/// One `<node_state>`.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The node's id.
    pub id: Option<Str>,
    /// The node's name.
    pub name: Option<Str>,
    /// Whether, or since when, it is a member of the cluster layer.
    pub in_ccm: Option<Str>,
    /// Whether, or since when, its controller is there.
    pub crmd: Option<Str>,
    /// How far it is in joining.
    pub join: Option<Str>,
    /// In which state it is expected to be.
    pub expected: Option<Str>,
    /// For remote nodes: whether the connection was put into maintenance.
    pub in_maintenance: bool,
    /// For remote nodes: whether it was fenced since the last connection.
    pub fenced: bool,
    /// Transient attributes, if there is such a section.
    pub transient: Option<Blocks>,
    /// Transient utilization.
    pub utilization: Blocks,
    /// Operation history, if there is such a section.
    pub history: Option<NodeHistory>,
}

impl NodeState {
    pub(crate) fn read(
        reader: &Reader<'_>,
        source: &Arc<HistorySource>,
        node: Node<'_>,
    ) -> NodeState {
        let owned = |name: &str| node.attr(name).map(Str::from);
        let number = |name: &str| node.attr(name).and_then(scan_int).unwrap_or(0);
        let transient = node.child("transient_attributes");
        let history = node.child("lrm").and_then(|l| l.child("lrm_resources"));
        NodeState {
            id: owned("id"),
            name: owned("uname"),
            in_ccm: owned("in_ccm"),
            crmd: owned("crmd"),
            join: owned("join"),
            expected: owned("expected"),
            in_maintenance: number("node_in_maintenance") > 0,
            fenced: number("node_fenced") > 0,
            transient: transient.map(|t| Blocks::read(reader, t, "instance_attributes", "")),
            utilization: transient
                .map(|t| Blocks::read(reader, t, "utilization", ""))
                .unwrap_or_default(),
            history: history.map(|h| {
                let entries = h.children_named("lrm_resource");
                let mut list = Vec::with_capacity(entries.clone().count());
                list.extend(entries.map(|entry| ResourceHistory::read(entry, source)));
                list
            }),
        }
    }
}

/// Resource, operation and interval of an operation key.
pub fn parse_op_key(key: &str) -> Option<(&str, &str, u32)> {
    let (rest, interval) = key.rsplit_once('_')?;
    let interval = interval.parse().ok()?;
    for name in ["migrate_from", "migrate_to"] {
        if let Some(rsc) = rest.strip_suffix(name).and_then(|r| r.strip_suffix('_')) {
            return (!rsc.is_empty()).then_some((rsc, name, interval));
        }
    }
    let (rsc, name) = rest.rsplit_once('_')?;
    for phase in ["_pre_notify", "_post_notify", "_confirmed-pre_notify", "_confirmed-post_notify"]
    {
        if let Some(base) = rsc.strip_suffix(phase) {
            return Some((base, &rest[base.len() + 1..], interval));
        }
    }
    (!rsc.is_empty()).then_some((rsc, name, interval))
}

/// An exit status in words.
pub fn exit_status_text(code: i32) -> &'static str {
    match code {
        0 => "OK",
        1 => "Error occurred",
        2 => "Invalid parameter",
        3 => "Unimplemented",
        4 => "Insufficient privileges",
        5 => "Not installed",
        6 => "Not configured",
        7 => "Not running",
        8 => "Promoted",
        9 => "Failed in promoted role",
        64 => "Incorrect usage",
        65 => "Invalid data given",
        66 => "Input file not available",
        67 => "User does not exist",
        68 => "Host does not exist",
        69 => "Necessary service unavailable",
        70 => "Internal software bug",
        71 => "Operating system error occurred",
        72 => "System file not available",
        73 => "Cannot create output file",
        74 => "I/O error occurred",
        75 => "Temporary failure, try again",
        76 => "Protocol violated",
        77 => "Insufficient privileges",
        78 => "Invalid configuration",
        100 => "Fatal error occurred, will not respawn",
        101 => "System panic required",
        102 => "Not connected",
        103 => "Update was older than existing configuration",
        104 => "Digest mismatch",
        105 => "No such object",
        106 => "Quorum required",
        107 => "Operation not safe",
        108 => "Requested item already exists",
        109 => "Multiple items match request",
        110 => "Requested item has expired",
        111 => "Requested item is not yet in effect",
        112 => "Could not determine status",
        113 => "Not applicable under current conditions",
        124 => "Timeout occurred",
        190 => "Service is active but might fail soon",
        191 => "Service is promoted but might fail soon",
        193 => "No exit status available",
        255 => "Error occurred",
        129..255 => "Interrupted by signal",
        _ => "Unknown exit status",
    }
}
