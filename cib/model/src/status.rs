//! The recorded status: node states and operation history.

use cib_xml::{Attr, Doc, Node, Text};
use smallvec::SmallVec;

use crate::attrs::Str;
use crate::model::Reader;
use crate::nvpair::Blocks;
use crate::text::scan_int;

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
    pub fn from_code(code: i64) -> Option<ExecStatus> {
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryOp {
    /// Its id.
    pub id: Option<Text>,
    /// Name of the operation.
    pub operation: Option<Text>,
    /// Key of the operation, or where an old entry has none, its id.
    pub key: Option<Text>,
    /// Interval in milliseconds.
    pub interval_ms: u32,
    /// Number of the call, -1 for a pending one.
    pub call_id: i64,
    /// Exit status, if it is a number.
    pub rc: Option<i64>,
    /// Execution status as a number, if it is one.
    pub status: Option<i64>,
    /// The exit status that was expected, from the transition key; -1 without a key.
    pub target_rc: i64,
    /// The transition magic.
    pub magic: Option<Text>,
    /// When the result changed last, seconds since the epoch.
    pub last_rc_change: Option<i64>,
    /// Node that it ran on, as recorded.
    pub on_node: Option<Text>,
    /// Why it failed, in the agent's words.
    pub exit_reason: Option<Text>,
    /// Digest over all parameters.
    pub digest: Option<Text>,
    /// Digest over parameters that need a restart.
    pub restart_digest: Option<Text>,
    /// Digest over parameters that are not secret.
    pub secure_digest: Option<Text>,
    /// Names of parameters that need a restart.
    pub force_restart: Option<Text>,
    /// Names of secret parameters.
    pub secure_params: Option<Text>,
    /// Feature set of the node that recorded it.
    pub feature_set: Option<Text>,
    /// Where a migration came from.
    pub migrate_source: Option<Text>,
    /// Where a migration goes.
    pub migrate_target: Option<Text>,
    /// Seconds or milliseconds that it took and queued, as written.
    pub timings: (Option<Text>, Option<Text>),
}

impl HistoryOp {
    /// Whether this is a probe.
    pub fn is_probe(&self) -> bool {
        self.interval_ms == 0 && self.operation.as_deref() == Some("monitor")
    }

    /// Whether this is a probe that failed because the service is not installed there or cannot
    /// run: that says "not running" rather than "failed".
    pub fn is_masked_probe_failure(&self) -> bool {
        self.is_probe() && (matches!(self.rc, Some(2 | 5)) || self.status == Some(7))
    }

    /// Transition number and sender, from the magic (`status:rc;key`).
    pub fn transition(&self) -> Option<(i64, &str)> {
        let (_, key) = self.magic.as_deref()?.split_once(';')?;
        decode_key(key).map(|(transition, _, sender)| (transition, sender))
    }

    fn fill(&mut self, node: Node<'_>, names: &HistoryNames) {
        (self.call_id, self.target_rc) = (-1, -1);
        for attr in node.numbered_attrs() {
            if let Some(set) = names.0[attr.name_index()] {
                set(self, attr);
            }
        }
        if self.key.is_none() {
            self.key.clone_from(&self.id);
        }
    }
}

/// What an attribute of an `<lrm_rsc_op>` sets.
type Setter = fn(&mut HistoryOp, Attr<'_>);

/// For each name in a document, what it sets: most of a CIB is history, so its attributes are gone
/// through once rather than looked up by name.
pub(crate) struct HistoryNames(Vec<Option<Setter>>);

impl HistoryNames {
    pub(crate) fn of(doc: &Doc) -> HistoryNames {
        HistoryNames(doc.names().map(setter).collect())
    }
}

fn setter(name: &str) -> Option<Setter> {
    Some(match name {
        "id" => |op, a| op.id = Some(a.text()),
        "operation" => |op, a| op.operation = Some(a.text()),
        "operation_key" => |op, a| op.key = Some(a.text()).filter(|key| !key.is_empty()),
        "interval" => |op, a| {
            op.interval_ms = scan_int(a.value()).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        },
        "call-id" => |op, a| op.call_id = scan_int(a.value()).unwrap_or(-1),
        "rc-code" => |op, a| op.rc = scan_int(a.value()),
        "op-status" => |op, a| op.status = scan_int(a.value()),
        "transition-key" => |op, a| op.target_rc = decode_key(a.value()).map_or(-1, |d| d.1),
        "transition-magic" => |op, a| op.magic = Some(a.text()),
        "last-rc-change" => |op, a| op.last_rc_change = scan_int(a.value()),
        "on_node" => |op, a| op.on_node = Some(a.text()),
        "exit-reason" => |op, a| op.exit_reason = Some(a.text()),
        "op-digest" => |op, a| op.digest = Some(a.text()),
        "op-restart-digest" => |op, a| op.restart_digest = Some(a.text()),
        "op-secure-digest" => |op, a| op.secure_digest = Some(a.text()),
        "op-force-restart" => |op, a| op.force_restart = Some(a.text()),
        "op-secure-params" => |op, a| op.secure_params = Some(a.text()),
        "crm_feature_set" => |op, a| op.feature_set = Some(a.text()),
        "migrate_source" => |op, a| op.migrate_source = Some(a.text()),
        "migrate_target" => |op, a| op.migrate_target = Some(a.text()),
        "exec-time" => |op, a| op.timings.0 = Some(a.text()),
        "queue-time" => |op, a| op.timings.1 = Some(a.text()),
        _ => return None,
    })
}

/// Transition, expected exit status and sender of a transition key
/// (`action:transition:rc:uuid`).
fn decode_key(key: &str) -> Option<(i64, i64, &str)> {
    let mut parts = key.splitn(4, ':');
    let mut number = || parts.next().and_then(scan_int);
    let (_action, transition, rc) = (number()?, number()?, number()?);
    Some((transition, rc, parts.next()?.trim()))
}

/// What one `<lrm_resource>` records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceHistory {
    /// The resource's id as the executor knows it.
    pub id: Option<Text>,
    /// Class of the agent.
    pub class: Option<Text>,
    /// Provider of the agent.
    pub provider: Option<Text>,
    /// Name of the agent.
    pub agent: Option<Text>,
    /// The container that it ran in.
    pub container: Option<Text>,
    /// When the resource was locked to this node, seconds since the epoch, 0 if it was not.
    pub shutdown_lock: i64,
    /// Operations in document order. Most resources do not run on most nodes, where a probe is all
    /// that is recorded.
    pub ops: SmallVec<[HistoryOp; 1]>,
    /// Further attributes of the element.
    pub others: Vec<(Str, Text)>,
}

impl ResourceHistory {
    fn fill(&mut self, node: Node<'_>, names: &HistoryNames) {
        let ops = node.children_named("lrm_rsc_op");
        // Counted first: room to spare would be most of a model's memory.
        self.ops.resize_with(ops.clone().count(), HistoryOp::default);
        for (op, node) in self.ops.iter_mut().zip(ops) {
            op.fill(node, names);
        }
        for attr in node.numbered_attrs() {
            match attr.name() {
                "id" => self.id = Some(attr.text()),
                "class" => self.class = Some(attr.text()),
                "provider" => self.provider = Some(attr.text()),
                "type" => self.agent = Some(attr.text()),
                "container" => self.container = Some(attr.text()),
                name => {
                    if name == "shutdown-lock" {
                        self.shutdown_lock = scan_int(attr.value()).unwrap_or(0);
                    }
                    self.others.push((name.into(), attr.text()));
                }
            }
        }
    }

    /// All attributes of the element.
    pub fn attrs(&self) -> Vec<(Str, Str)> {
        let own = [
            ("id", &self.id),
            ("class", &self.class),
            ("provider", &self.provider),
            ("type", &self.agent),
            ("container", &self.container),
        ];
        let own = own.into_iter().filter_map(|(n, v)| Some((n.into(), Str::from(&**v.as_ref()?))));
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
                let mut list = Vec::new();
                list.resize_with(entries.clone().count(), ResourceHistory::default);
                for (entry, node) in list.iter_mut().zip(entries) {
                    entry.fill(node, names);
                }
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
pub fn exit_status_text(code: i64) -> &'static str {
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
