//! A node of the working set.

use cib_model::{Attrs, Str};
use rustc_hash::FxHashMap;

use super::{RscIx, Slot, Sym};
use crate::status::digest::Digests;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Cluster,
    /// A remote or guest node.
    Remote,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: Str,
    pub(crate) name: Str,
    pub(crate) kind: NodeKind,
    /// What rows start from for this node.
    pub(crate) base: Slot,
    pub(crate) attrs: Attrs,
    /// Whether attributes tell of failures of any resource.
    pub(crate) has_failures: bool,
    pub(crate) utilization: Vec<(Str, i32)>,
    pub(crate) online: bool,
    pub(crate) shutdown: bool,
    pub(crate) unclean: bool,
    pub(crate) pending: bool,
    pub(crate) maintenance: bool,
    pub(crate) standby: bool,
    /// Standby because an operation failed.
    pub(crate) fail_standby: bool,
    pub(crate) seen: bool,
    pub(crate) expected_up: bool,
    /// Whether its history was gone through.
    pub(crate) unpacked: bool,
    /// Whether its connection has to be made anew after recovery.
    pub(crate) remote_reset: bool,
    pub(crate) remote_fenced: bool,
    /// Whether its executor was told about maintenance.
    pub(crate) remote_maint: bool,
    pub(crate) probes_allowed: bool,
    pub(crate) running: Vec<RscIx>,
    /// The connection, for remote nodes.
    pub(crate) remote: Option<RscIx>,
    /// Sum of the priorities of what runs there.
    pub(crate) priority: i32,
    pub(crate) num_resources: i32,
    pub(crate) digests: FxHashMap<(RscIx, Sym, u32), Digests>,
}

impl Node {
    pub(crate) fn new(id: &str, name: &str, kind: NodeKind, score: i32) -> Node {
        let mut attrs = Attrs::new();
        let kind_text = if kind == NodeKind::Remote { "remote" } else { "cluster" };
        attrs.set("#kind", kind_text);
        Node {
            id: id.into(),
            name: name.into(),
            kind,
            base: Slot { present: true, score, ..Slot::default() },
            attrs,
            utilization: Vec::new(),
            online: false,
            shutdown: false,
            unclean: false,
            pending: false,
            has_failures: false,
            maintenance: false,
            standby: false,
            fail_standby: false,
            seen: false,
            expected_up: false,
            unpacked: false,
            remote_reset: false,
            remote_fenced: false,
            remote_maint: false,
            probes_allowed: true,
            running: Vec::new(),
            remote: None,
            priority: 0,
            num_resources: 0,
            digests: FxHashMap::default(),
        }
    }
}
