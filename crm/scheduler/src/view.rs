//! What is, for those who show it: nodes, resources, failures.

mod text;

use cib_model::{HistoryOp, Role};

use crate::base::{NodeIx, NodeKind, RscIx, Variant, Ws, rf};
use crate::status::Count;

/// What kind of node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeClass {
    /// A full member of the cluster.
    Member,
    /// A remote node.
    Remote,
    /// A remote node that a resource of the cluster makes.
    Guest,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its id in the CIB.
    pub id: String,
    /// What kind of node it is.
    pub class: NodeClass,
    /// Whether it takes part.
    pub online: bool,
    /// Whether an operator wants it to run nothing.
    pub standby: bool,
    /// Whether it runs nothing because of a failure.
    pub standby_on_fail: bool,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// Whether its state is unknown, so that it has to be fenced.
    pub unclean: bool,
    /// Whether it is about to join.
    pub pending: bool,
    /// Whether it wants to leave.
    pub shutdown: bool,
    /// Whether it is the designated controller.
    pub is_dc: bool,
    /// Whether it is expected to be a member.
    pub expected_up: bool,
    /// Less than 0 if it is sick (red), 0 if it is not well (yellow), else 1.
    pub health: i32,
    /// Ids of the resources that are active there.
    pub resources: Vec<String>,
    /// Node attributes, permanent and transient.
    pub attributes: Vec<(String, String)>,
}

/// Flags of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceState {
    /// No longer in the configuration.
    pub removed: bool,
    /// The cluster may start and stop it.
    pub managed: bool,
    /// Nothing can be done with it because of a failure.
    pub blocked: bool,
    /// It failed.
    pub failed: bool,
    /// A failure of it is ignored.
    pub failure_ignored: bool,
    /// It is in maintenance.
    pub maintenance: bool,
    /// The configuration keeps it stopped, or from being promoted.
    pub disabled: bool,
    /// All of it is active.
    pub active: bool,
    /// Any of it is active.
    pub partly_active: bool,
    /// A clone or bundle whose instances differ.
    pub unique: bool,
    /// A promotable clone.
    pub promotable: bool,
    /// Made up by the cluster, as parts of bundles are.
    pub internal: bool,
}

/// A resource with its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceView {
    /// Its id, with instance number.
    pub id: String,
    /// Its id as it is shown: without instance number for anonymous instances.
    pub shown_id: String,
    /// Primitive, group, clone or bundle.
    pub kind: Variant,
    /// `class:provider:type` of primitives, as far as each is there.
    pub agent: String,
    /// Role at present.
    pub role: Role,
    /// `target-role`, as configured.
    pub target_role: Option<String>,
    /// Nodes where it is active.
    pub nodes: Vec<String>,
    /// The operation that is under way.
    pub pending: Option<String>,
    /// The node to which it is locked.
    pub locked_to: Option<String>,
    /// Failures after which a node is avoided.
    pub migration_threshold: i32,
    /// Flags.
    pub state: ResourceState,
    /// Members, instances, or of a bundle for each replica address, container, connection and
    /// what is inside.
    pub children: Vec<ResourceView>,
}

/// An operation that counts as failed.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedOperation {
    /// The node where it failed.
    pub node: String,
    /// The resource.
    pub resource: String,
    /// What was recorded.
    pub operation: HistoryOp,
}

/// The present state of a cluster.
pub struct Status {
    ws: Ws,
}

impl Status {
    pub(crate) fn new(ws: Ws) -> Status {
        Status { ws }
    }

    pub(crate) fn into_ws(self) -> Ws {
        self.ws
    }

    /// Whether the partition has quorum.
    pub fn quorate(&self) -> bool {
        self.ws.config.quorate
    }

    /// Whether the whole cluster is in maintenance.
    pub fn in_maintenance(&self) -> bool {
        self.ws.config.in_maintenance
    }

    /// Whether the cluster keeps all resources stopped.
    pub fn stop_all(&self) -> bool {
        self.ws.config.stop_all
    }

    /// Name of the designated controller.
    pub fn dc(&self) -> Option<&str> {
        self.ws.dc.map(|dc| &*self.ws[dc].name)
    }

    /// Number of resource instances; of those disabled; of those blocked.
    pub fn counts(&self) -> (u32, u32, u32) {
        (self.ws.ninstances, self.ws.disabled, self.ws.blocked)
    }

    /// Nodes, by name.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.ws.node_order.iter().map(|n| self.ws.node_view(*n)).collect()
    }

    /// Resources in the order of the configuration.
    pub fn resources(&self) -> Vec<ResourceView> {
        self.ws.top.iter().map(|r| self.ws.resource_view(*r)).collect()
    }

    /// Operations that failed.
    pub fn failed(&self) -> Vec<FailedOperation> {
        let view = |f: &crate::base::FailedOp| FailedOperation {
            node: self.ws[f.node].name.to_string(),
            resource: self.ws[f.rsc].id.to_string(),
            operation: self.ws.op(f.op).clone(),
        };
        self.ws.failed.iter().map(view).collect()
    }

    /// Fail count of a resource on a node, with the time of the last failure in seconds since
    /// the epoch (0 if there is none). Unknown names have none.
    pub fn fail_count(&mut self, resource: &str, node: &str) -> (i32, i64) {
        let found = (self.ws.find_rsc(resource), self.ws.find_node(node));
        let (Some(rsc), Some(node)) = found else { return (0, 0) };
        self.ws.failcount(node, rsc, Count::default(), None)
    }

    /// Nodes and resources as people read them, without frame: lines of the node list, then lines
    /// of the resource list. With `pending` operations under way are named.
    pub fn text(&self, pending: bool) -> (Vec<String>, Vec<String>) {
        (self.ws.node_list(), self.ws.resource_list(pending))
    }
}

impl Ws {
    pub(crate) fn node_text(&self, node: NodeIx) -> String {
        self[node].name.to_string()
    }

    fn node_view(&self, node: NodeIx) -> NodeView {
        let n = &self[node];
        NodeView {
            name: n.name.to_string(),
            id: n.id.to_string(),
            class: match n.kind {
                NodeKind::Cluster => NodeClass::Member,
                NodeKind::Remote if self.is_guest(node) => NodeClass::Guest,
                NodeKind::Remote => NodeClass::Remote,
            },
            online: n.online,
            standby: n.standby,
            standby_on_fail: n.fail_standby,
            maintenance: n.maintenance,
            unclean: n.unclean,
            pending: n.pending,
            shutdown: n.shutdown,
            is_dc: self.dc == Some(node),
            expected_up: n.expected_up,
            health: self.node_health(node),
            resources: n.running.iter().map(|r| self[*r].id.to_string()).collect(),
            attributes: n.attrs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        }
    }

    fn resource_view(&self, rsc: RscIx) -> ResourceView {
        let r = &self[rsc];
        let parts = [&r.def.class, &r.def.provider, &r.def.agent];
        let agent: Vec<&str> = parts.into_iter().filter_map(|p| p.as_deref()).collect();
        let mut children: Vec<RscIx> = r.children.clone();
        for replica in &r.bundle.replicas {
            let parts = [replica.ip, Some(replica.container), replica.remote, replica.child];
            children.extend(parts.into_iter().flatten());
        }
        let name = |n: &NodeIx| self[*n].name.to_string();
        ResourceView {
            id: r.id.to_string(),
            shown_id: self.printable_id(rsc).to_string(),
            kind: r.variant,
            agent: agent.join(":"),
            role: self.state(rsc, true),
            target_role: r.meta.get("target-role").map(str::to_owned),
            nodes: r.active.iter().map(name).collect(),
            pending: r.pending_action.map(|p| self.names.text(p).to_string()),
            locked_to: r.lock_node.as_ref().map(name),
            migration_threshold: r.ban_after_failures,
            state: ResourceState {
                removed: r.is(rf::REMOVED),
                managed: r.is(rf::MANAGED),
                blocked: r.is(rf::BLOCKED),
                failed: r.is(rf::FAILED),
                failure_ignored: r.is(rf::IGNORE_FAILURE),
                maintenance: r.is(rf::MAINTENANCE),
                disabled: self.is_disabled(rsc),
                active: self.is_active(rsc, true),
                partly_active: self.is_active(rsc, false),
                unique: r.is(rf::UNIQUE),
                promotable: r.is(rf::PROMOTABLE),
                internal: self.meta_true(rsc, "internal_rsc"),
            },
            children: children.into_iter().map(|c| self.resource_view(c)).collect(),
        }
    }
}
