//! The transition graph as data: what the scheduler decides and the controller carries out.
//!
//! A [`Transition`] is a set of [`Synapse`]s. A synapse fires its action once all of its inputs
//! have completed. The two sides share only this crate: the controller never links the scheduler.

#![forbid(unsafe_code)]

mod xml;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Text that many actions of a plan have in common.
pub type Str = Arc<str>;

/// A whole plan, from one CIB at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The number that the plan was given; part of every transition key.
    pub id: u32,
    /// `cluster-delay`, as configured (for example `60s`).
    pub cluster_delay: String,
    /// `fencing-timeout`, as configured.
    pub fencing_timeout: String,
    /// Value for `failed-stop-offset`.
    pub failed_stop_offset: String,
    /// Value for `failed-start-offset`.
    pub failed_start_offset: String,
    /// `batch-limit`: how many actions may be in flight in the cluster, 0 for no limit.
    pub batch_limit: i32,
    /// `migration-limit`, where it is set.
    pub migration_limit: Option<i32>,
    /// When the plan has to be made anew though nothing changed, in seconds since the epoch.
    pub recheck_by: Option<i64>,
    /// The actions with what they wait for.
    pub synapses: Vec<Synapse>,
    /// Actions that something waits for although they are not part of the plan: what waits for
    /// them is not done in this transition. Their parameters are not given.
    pub outside: Vec<Action>,
}

/// One action and the actions that have to complete before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synapse {
    /// Number of the synapse within the transition.
    pub id: u32,
    /// Higher is started first when a limit holds actions back.
    pub priority: i32,
    /// What to do.
    pub action: Action,
    /// Ids of the [`Action`]s that have to complete before.
    pub inputs: Vec<u32>,
}

/// Who carries an action out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionKind {
    /// An operation of a resource, on a node (`rsc_op`).
    Resource,
    /// A marker that nobody carries out (`pseudo_event`).
    Pseudo,
    /// An action of the cluster itself (`crm_event`): `stonith`, `do_shutdown`,
    /// `clear_failcount`, `lrm_delete`.
    Cluster,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Number of the action within the transition.
    pub id: u32,
    /// Who carries it out.
    pub kind: ActionKind,
    /// `start`, `stop`, `monitor`, `notify`, `stonith`, …
    pub operation: Str,
    /// `RESOURCE_OPERATION_INTERVAL`, the key under which its result is recorded.
    pub key: String,
    /// The key with the clone instance's number, where it differs from `key`.
    pub internal_key: Option<String>,
    /// Name of the node it is for.
    pub on_node: Option<Str>,
    /// That node's id in the CIB.
    pub on_node_uuid: Option<Str>,
    /// The cluster node that speaks for `on_node`, when it is a remote or guest node.
    pub router_node: Option<Str>,
    /// The resource, for resource actions and those that concern one.
    pub resource: Option<Arc<Resource>>,
    /// Parameters and `CRM_meta_*` values, sorted by name.
    pub attributes: Vec<(Str, Str)>,
    /// Ids of the nodes that are lost by this action.
    pub downed: Vec<Str>,
    /// Parameters whose names are no XML names (they start with a digit).
    pub params: Vec<(Str, Str)>,
    /// Ids of remote nodes with whether they are now in maintenance, for `maintenance_nodes`.
    pub maintenance: Vec<(Str, bool)>,
    /// When the resource was locked to this node, seconds since the epoch, if it is.
    pub shutdown_lock: Option<i64>,
    /// Why the action is there, in words, for people.
    pub reason: Option<Str>,
}

impl Action {
    /// The value of attribute `name`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| **n == *name).map(|(_, v)| &**v)
    }
}

/// Why a node is to be fenced on which a resource failed.
pub fn failed_there(resource: &str) -> String {
    format!("{resource}{FAILED_THERE}")
}

/// The resource of [`failed_there`], if that is the reason.
pub fn who_failed_there(reason: &str) -> Option<&str> {
    reason.strip_suffix(FAILED_THERE)
}

const FAILED_THERE: &str = " failed there";

/// The `<primitive>` of an action: which agent is to be called for which resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The id that the executor knows it by (without instance number for anonymous clones).
    pub id: Str,
    /// The id with instance number, where it differs.
    pub long_id: Option<Str>,
    /// `ocf`, `systemd`, `stonith`, `lsb`, `service`.
    pub class: Str,
    /// The provider, for classes that have one.
    pub provider: Option<Str>,
    /// The agent's name.
    pub agent: Str,
}
