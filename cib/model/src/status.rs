//! The recorded status: node states and operation history.

use cib_xml::{Doc, Node, Pieces, Text};
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
#[derive(Clone, Debug, PartialEq)]
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
    /// When the result changed last, seconds since the epoch.
    pub last_rc_change: Option<i64>,
    texts: Pieces<{ Words::COUNT }>,
}

/// The attributes of an `<lrm_rsc_op>` that are kept as they are written.
#[derive(Clone, Copy)]
enum Words {
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
    MigrateSource,
    MigrateTarget,
    ExecTime,
    QueueTime,
}

impl Words {
    const COUNT: usize = Words::QueueTime as usize + 1;
}

/// The other attributes.
struct Numbers {
    interval_ms: u32,
    target_rc: i32,
    call_id: i32,
    rc: Option<i32>,
    status: Option<i32>,
    last_rc_change: Option<i64>,
}

impl HistoryOp {
    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.word(Words::Id)
    }

    /// Name of the operation.
    pub fn operation(&self) -> Option<&str> {
        self.word(Words::Operation)
    }

    /// Key of the operation, or where an old entry has none, its id.
    pub fn key(&self) -> Option<&str> {
        self.word(Words::Key).filter(|key| !key.is_empty()).or_else(|| self.id())
    }

    /// The transition magic.
    pub fn magic(&self) -> Option<&str> {
        self.word(Words::Magic)
    }

    /// Node that it ran on, as recorded.
    pub fn on_node(&self) -> Option<&str> {
        self.word(Words::OnNode)
    }

    /// Why it failed, in the agent's words.
    pub fn exit_reason(&self) -> Option<&str> {
        self.word(Words::ExitReason)
    }

    /// Digest over all parameters.
    pub fn digest(&self) -> Option<&str> {
        self.word(Words::Digest)
    }

    /// Digest over parameters that need a restart.
    pub fn restart_digest(&self) -> Option<&str> {
        self.word(Words::RestartDigest)
    }

    /// Digest over parameters that are not secret.
    pub fn secure_digest(&self) -> Option<&str> {
        self.word(Words::SecureDigest)
    }

    /// Names of parameters that need a restart.
    pub fn force_restart(&self) -> Option<&str> {
        self.word(Words::ForceRestart)
    }

    /// Names of secret parameters.
    pub fn secure_params(&self) -> Option<&str> {
        self.word(Words::SecureParams)
    }

    /// Feature set of the node that recorded it.
    pub fn feature_set(&self) -> Option<&str> {
        self.word(Words::FeatureSet)
    }

    /// Where a migration came from.
    pub fn migrate_source(&self) -> Option<&str> {
        self.word(Words::MigrateSource)
    }

    /// Where a migration goes.
    pub fn migrate_target(&self) -> Option<&str> {
        self.word(Words::MigrateTarget)
    }

    /// How long it took in milliseconds, as written.
    pub fn exec_time(&self) -> Option<&str> {
        self.word(Words::ExecTime)
    }

    /// How long it waited in milliseconds, as written.
    pub fn queue_time(&self) -> Option<&str> {
        self.word(Words::QueueTime)
    }

    #[inline]
    fn word(&self, word: Words) -> Option<&str> {
        self.texts.get(word as usize)
    }

    /// Whether this is a probe.
    pub fn is_probe(&self) -> bool {
        self.interval_ms == 0 && self.operation() == Some("monitor")
    }

    /// Whether this is a probe that failed because the service is not installed there or cannot
    /// run: that says "not running" rather than "failed".
    pub fn is_masked_probe_failure(&self) -> bool {
        self.is_probe() && (matches!(self.rc, Some(2 | 5)) || self.status == Some(7))
    }

    /// Transition number and sender, from the magic (`status:rc;key`).
    pub fn transition(&self) -> Option<(i64, &str)> {
        let (_, key) = self.magic()?.split_once(';')?;
        decode_key(key).map(|(transition, _, sender)| (transition, sender))
    }

    fn read(node: Node<'_>, names: &HistoryNames) -> HistoryOp {
        let mut numbers = Numbers {
            interval_ms: 0,
            target_rc: -1,
            call_id: -1,
            rc: None,
            status: None,
            last_rc_change: None,
        };
        let texts = node.pieces(|attr| match names.0[attr.name_index()]? {
            Meaning::Words(words) => Some(words as usize),
            Meaning::Number(set) => {
                set(&mut numbers, attr.value());
                None
            }
        });
        let Numbers { interval_ms, target_rc, call_id, rc, status, last_rc_change } = numbers;
        HistoryOp { interval_ms, target_rc, call_id, rc, status, last_rc_change, texts }
    }
}

/// What an attribute of an `<lrm_rsc_op>` means.
#[derive(Clone, Copy)]
enum Meaning {
    Words(Words),
    Number(fn(&mut Numbers, &str)),
}

/// For each name in a document, what it means: most of a CIB is history, so its attributes are gone
/// through once rather than looked up by name.
pub(crate) struct HistoryNames(Vec<Option<Meaning>>);

impl HistoryNames {
    pub(crate) fn of(doc: &Doc) -> HistoryNames {
        HistoryNames(doc.names().map(Meaning::of).collect())
    }
}

impl Meaning {
    fn of(name: &str) -> Option<Meaning> {
        use Meaning::Number;
        let words = match name {
            "interval" => {
                return Some(Number(|op, v| {
                    let number = scan_int(v).and_then(|n| u32::try_from(n).ok());
                    op.interval_ms = number.unwrap_or(0);
                }));
            }
            "call-id" => {
                return Some(Number(|op, v| op.call_id = scan_int(v).map(clamped).unwrap_or(-1)));
            }
            "rc-code" => return Some(Number(|op, v| op.rc = scan_int(v).map(clamped))),
            "op-status" => return Some(Number(|op, v| op.status = scan_int(v).map(clamped))),
            "transition-key" => {
                return Some(Number(|op, v| {
                    op.target_rc = decode_key(v).map_or(-1, |d| clamped(d.1))
                }));
            }
            "last-rc-change" => return Some(Number(|op, v| op.last_rc_change = scan_int(v))),
            "id" => Words::Id,
            "operation" => Words::Operation,
            "operation_key" => Words::Key,
            "transition-magic" => Words::Magic,
            "on_node" => Words::OnNode,
            "exit-reason" => Words::ExitReason,
            "op-digest" => Words::Digest,
            "op-restart-digest" => Words::RestartDigest,
            "op-secure-digest" => Words::SecureDigest,
            "op-force-restart" => Words::ForceRestart,
            "op-secure-params" => Words::SecureParams,
            "crm_feature_set" => Words::FeatureSet,
            "migrate_source" => Words::MigrateSource,
            "migrate_target" => Words::MigrateTarget,
            "exec-time" => Words::ExecTime,
            "queue-time" => Words::QueueTime,
            _ => return None,
        };
        Some(Meaning::Words(words))
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
    Some((transition, rc, rest.trim()))
}

/// What one `<lrm_resource>` records.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceHistory {
    /// When the resource was locked to this node, seconds since the epoch, 0 if it was not.
    pub shutdown_lock: i64,
    /// Operations in document order. Most resources do not run on most nodes, where a probe is all
    /// that is recorded.
    pub ops: SmallVec<[HistoryOp; 1]>,
    /// Further attributes of the element.
    pub others: Vec<(Str, Text)>,
    texts: Pieces<{ OWN.len() }>,
}

/// The attributes of an `<lrm_resource>` that most have.
const OWN: [&str; 5] = ["id", "class", "provider", "type", "container"];

impl ResourceHistory {
    fn read(node: Node<'_>, names: &HistoryNames) -> ResourceHistory {
        let ops = node.children_named("lrm_rsc_op");
        // Counted first: room to spare would be most of a model's memory.
        let mut read = SmallVec::with_capacity(ops.clone().count());
        read.extend(ops.map(|op| HistoryOp::read(op, names)));
        let (mut shutdown_lock, mut others) = (0, Vec::new());
        let texts = node.pieces(|attr| {
            let name = attr.name();
            let own = OWN.iter().position(|own| *own == name);
            if own.is_none() {
                if name == "shutdown-lock" {
                    shutdown_lock = scan_int(attr.value()).unwrap_or(0);
                }
                others.push((name.into(), attr.text()));
            }
            own
        });
        ResourceHistory { shutdown_lock, ops: read, others, texts }
    }

    /// The resource's id as the executor knows it.
    pub fn id(&self) -> Option<&str> {
        self.texts.get(0)
    }

    /// The same, to be kept.
    pub fn id_text(&self) -> Option<Text> {
        self.texts.text(0)
    }

    /// Class of the agent.
    pub fn class(&self) -> Option<&str> {
        self.texts.get(1)
    }

    /// Provider of the agent.
    pub fn provider(&self) -> Option<&str> {
        self.texts.get(2)
    }

    /// Name of the agent.
    pub fn agent(&self) -> Option<&str> {
        self.texts.get(3)
    }

    /// The container that it ran in.
    pub fn container(&self) -> Option<&str> {
        self.texts.get(4)
    }

    /// All attributes of the element.
    pub fn attrs(&self) -> Vec<(Str, Str)> {
        let own = OWN.iter().zip(0..);
        let own = own.filter_map(|(name, n)| Some(((*name).into(), self.texts.get(n)?.into())));
        own.chain(self.others.iter().map(|(n, v)| (n.clone(), Str::from(&**v)))).collect()
    }
}

/// Everything that a node's executor records.
pub type NodeHistory = Vec<ResourceHistory>;

/// One `<node_state>`.
#[derive(Clone, Debug, PartialEq)]
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
    pub(crate) fn read(reader: &Reader<'_>, names: &HistoryNames, node: Node<'_>) -> NodeState {
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
                list.extend(entries.map(|entry| ResourceHistory::read(entry, names)));
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
