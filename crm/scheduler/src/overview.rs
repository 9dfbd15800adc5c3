//! What is known about a cluster, as plain data for those who show it.
//!
//! [`overview`] takes a CIB in exactly as planning does, then copies out what people and programs
//! ask for: which nodes are up, where resources are active, what failed, what is banned from where.
//! With [`Present`] planning goes on from there.

use std::sync::Arc;

use cib_model::{HistoryOp, Model, ResourceDef, Role, Str, Time, eq_ci, parse_score_with};

use crate::base::{NodeIx, RscIx, Where, Ws, rf};
use crate::status::PlanFlags;

/// A cluster at one moment.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The CIB that this is of.
    model: Arc<Model>,
    /// Nodes by name.
    pub nodes: Vec<NodeView>,
    /// All resources: the configured ones, instances of clones, parts of bundles, removed ones.
    pub resources: Vec<RscView>,
    /// Resources that are not part of another one, as indices of `resources`, in order.
    pub top: Vec<usize>,
    /// The DC, as an index of `nodes`.
    pub dc: Option<usize>,
    /// Number of resource instances.
    pub instances: u32,
    /// Those of them that are to stay stopped.
    pub disabled: u32,
    /// Those of them that cannot be touched because of a failure.
    pub blocked: u32,
    /// Failed operations.
    pub failed: Vec<OpView>,
    /// Location constraints with negative scores.
    pub bans: Vec<BanView>,
    /// Location constraints.
    pub locations: Vec<LocationView>,
    /// Colocation constraints.
    pub colocations: Vec<ColocationView>,
    /// Recorded operations by node, in the order of the status.
    pub history: Vec<NodeHistoryView>,
    /// Whether the cluster as a whole is in maintenance.
    pub in_maintenance: bool,
    /// Whether all resources are to be stopped.
    pub stop_all: bool,
    /// Errors (true) and warnings about the configuration.
    pub problems: Vec<(bool, String)>,
}

/// The kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeSort {
    /// A full member of the cluster.
    Cluster,
    /// A node without the cluster's software stack, connected from the cluster.
    Remote,
    /// A remote node that runs in a resource of the cluster.
    Guest,
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its id.
    pub id: Str,
    /// Its name.
    pub name: Str,
    /// What it is.
    pub sort: NodeSort,
    /// Whether it is up.
    pub online: bool,
    /// Whether it is put into standby.
    pub standby: bool,
    /// Whether it is in standby because of a failure.
    pub fail_standby: bool,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// Whether it is joining.
    pub pending: bool,
    /// Whether it is to be fenced.
    pub unclean: bool,
    /// Whether it is leaving.
    pub shutdown: bool,
    /// Whether it is expected to be up.
    pub expected_up: bool,
    /// Its health: below zero red, zero yellow, above zero green.
    pub health: i32,
    /// Its attributes, by name.
    pub attrs: Vec<(Str, Str)>,
    /// What is active on it, as indices of resources.
    pub running: Vec<usize>,
    /// For guests: the resource that it runs in.
    pub launcher: Option<usize>,
    /// For guests: the node that it runs on.
    pub host: Option<usize>,
    /// Attributes that ping resources set, with the value that they have when all is well.
    pub expected: Vec<(Str, i32)>,
}

/// A resource.
#[derive(Clone, Debug)]
pub struct RscView {
    /// Its id; instances have a number at the end.
    pub id: Str,
    /// Its id as it is shown: without the number if instances are all the same.
    pub shown_id: Str,
    /// Its definition.
    pub def: Arc<ResourceDef>,
    /// What it is part of.
    pub parent: Option<usize>,
    /// Its parts.
    pub children: Vec<usize>,
    /// Its meta-attributes.
    pub meta: Vec<(Str, Str)>,
    /// Whether it is no longer configured.
    pub removed: bool,
    /// Whether it cannot be touched because of a failure.
    pub blocked: bool,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// Whether the cluster may start and stop it.
    pub managed: bool,
    /// Whether it failed.
    pub failed: bool,
    /// Whether a failure of it is ignored.
    pub failure_ignored: bool,
    /// Whether it can be promoted.
    pub promotable: bool,
    /// Whether its instances are told apart.
    pub unique: bool,
    /// Whether it is to stay stopped.
    pub disabled: bool,
    /// Whether all of it is active.
    pub active: bool,
    /// Whether any of it is active.
    pub partly_active: bool,
    /// Its role.
    pub role: Role,
    /// The highest role of its parts.
    pub state: Role,
    /// Nodes where it is active.
    pub nodes: Vec<usize>,
    /// The one node where all of it is active.
    pub location: Option<usize>,
    /// The node that it counts as being on, of several, or that it is about to be on.
    pub current: Option<usize>,
    /// For clones: how many instances there may be.
    pub clone_max: i32,
    /// The operation that is under way.
    pub pending: Option<Str>,
    /// The node that it is locked to.
    pub locked_to: Option<usize>,
    /// Failures after which a node is banned.
    pub ban_after: i32,
    /// Nodes where it may run or was looked for.
    pub allowed: Vec<usize>,
    /// Exit statuses of failed probes: on no particular node, then by node.
    pub probe_anywhere: Option<i32>,
    /// Exit statuses of failed probes by node.
    pub probes: Vec<(usize, i32)>,
    /// Location constraints of it, as indices.
    pub locations: Vec<usize>,
    /// Colocations in which it depends on something, as indices.
    pub this_with: Vec<usize>,
    /// Colocations in which something depends on it, as indices.
    pub with_this: Vec<usize>,
    /// What nodes call it in their history.
    pub history_id: Option<Str>,
    /// For bundles: what each container consists of.
    pub replicas: Vec<ReplicaView>,
}

/// One container of a bundle.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    /// Its number.
    pub offset: i32,
    /// Its address.
    pub address: Option<Str>,
    /// The resource for the address.
    pub ip: Option<usize>,
    /// What runs in it.
    pub child: Option<usize>,
    /// The container.
    pub container: usize,
    /// The connection to it.
    pub remote: Option<usize>,
}

/// A recorded operation.
#[derive(Clone, Debug)]
pub struct OpView {
    /// The node that recorded it.
    pub node: usize,
    /// The operation.
    pub op: HistoryOp,
}

/// What one node recorded.
#[derive(Clone, Debug)]
pub struct NodeHistoryView {
    /// The node.
    pub node: usize,
    /// Resources that are configured or known, in the order of the status.
    pub resources: Vec<RscHistoryView>,
}

/// What one node recorded about one resource.
#[derive(Clone, Debug)]
pub struct RscHistoryView {
    /// The resource, as the node names it.
    pub id: Str,
    /// The resource.
    pub rsc: usize,
    /// How often it failed there.
    pub fail_count: i32,
    /// When it failed last, seconds since 1970, 0 for never.
    pub last_failure: i64,
    /// Where the model has it: the node's state, and the entry there.
    at: (usize, usize),
}

/// A location constraint with a negative score.
#[derive(Clone, Debug)]
pub struct BanView {
    /// The constraint's id.
    pub id: Str,
    /// The resource.
    pub rsc: usize,
    /// The node.
    pub node: usize,
    /// The score.
    pub score: i32,
    /// The role to which it applies; unknown for all.
    pub role: Role,
}

/// A location constraint.
#[derive(Clone, Debug)]
pub struct LocationView {
    /// The constraint's id.
    pub id: Str,
    /// Nodes with scores.
    pub nodes: Vec<(usize, i32)>,
}

/// A colocation constraint.
#[derive(Clone, Debug)]
pub struct ColocationView {
    /// The constraint's id.
    pub id: Str,
    /// The resource that depends.
    pub dependent: usize,
    /// The resource that it depends on.
    pub primary: usize,
    /// The score.
    pub score: i32,
    /// The role of the dependent to which it applies; unknown for all.
    pub dependent_role: Role,
    /// The role that the other must have; unknown for any.
    pub primary_role: Role,
    /// The node attribute that has to be the same.
    pub attr: Str,
}

impl Overview {
    /// What is recorded in an entry of [`Overview::history`].
    pub fn ops(&self, history: &RscHistoryView) -> &[HistoryOp] {
        let (state, entry) = history.at;
        let entries = self.model.node_states[state].history.as_deref().unwrap_or_default();
        &entries[entry].ops
    }
}

/// Takes a CIB in, with constraints: also with what a lost ticket leads to.
pub fn overview(model: Arc<Model>, now: Time) -> Overview {
    let mut ws = Ws::new(model, now, PlanFlags::default());
    ws.unpack_constraints();
    view(&mut ws)
}

/// A CIB that was taken in, without constraints: just what is. It can be shown, and planned for.
pub struct Present(pub(crate) Ws);

impl Present {
    /// Takes a CIB in.
    pub fn new(model: Arc<Model>, now: Time, flags: PlanFlags) -> Present {
        Present(Ws::new(model, now, flags))
    }

    /// What is.
    pub fn overview(&mut self) -> Overview {
        view(&mut self.0)
    }
}

fn view(ws: &mut Ws) -> Overview {
    let order: Vec<NodeIx> = ws.node_order.clone();
    let place = |node: NodeIx| order.iter().position(|n| *n == node);
    let history = history(ws, &order);
    let nodes = order.iter().map(|n| node_view(ws, *n, &place)).collect();
    let count = ws.rscs.len();
    let resources = (0..count).map(|r| rsc_view(ws, RscIx(r as u32), &order)).collect();
    let failed = ws
        .failed
        .iter()
        .filter_map(|f| Some(OpView { node: place(f.node)?, op: ws.op(f.op).clone() }))
        .collect();
    let mut bans = Vec::new();
    // The last ones first, as people know it from the field's status.
    for location in ws.locations.iter().rev() {
        for (node, score) in location.nodes.iter().rev().filter(|(_, score)| *score < 0) {
            let Some(node) = place(*node) else { continue };
            let rsc = location.rsc.0 as usize;
            let (id, role) = (location.id.clone(), location.role);
            bans.push(BanView { id, rsc, node, score: *score, role });
        }
    }
    let locations = ws.locations.iter().map(|l| LocationView {
        id: l.id.clone(),
        nodes: l.nodes.iter().filter_map(|(n, score)| Some((place(*n)?, *score))).collect(),
    });
    let colocations = ws.colocs.iter().map(|c| ColocationView {
        id: c.id.clone(),
        dependent: c.dependent.0 as usize,
        primary: c.primary.0 as usize,
        score: c.score,
        dependent_role: c.dependent_role,
        primary_role: c.primary_role,
        attr: c.attr.clone(),
    });
    Overview {
        model: ws.model.clone(),
        locations: locations.collect(),
        colocations: colocations.collect(),
        nodes,
        resources,
        top: ws.top.iter().map(|r| r.0 as usize).collect(),
        dc: ws.dc.and_then(place),
        instances: ws.ninstances,
        disabled: ws.disabled,
        blocked: ws.blocked,
        failed,
        bans,
        history,
        in_maintenance: ws.config.in_maintenance,
        stop_all: ws.config.stop_all,
        problems: ws.problems.clone(),
    }
}

/// The parameters of a resource on a node.
pub fn parameters(model: Arc<Model>, now: Time, rsc: &str, node: Option<&str>) -> Vec<(Str, Str)> {
    let mut ws = Ws::new(model, now, PlanFlags::default());
    let Some(ix) = ws.rscs.iter().position(|r| &*r.id == rsc) else { return Vec::new() };
    let node = node.and_then(|n| ws.find_node_any(None, Some(n)));
    let params = ws.params(RscIx(ix as u32), node);
    params.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn node_view(ws: &mut Ws, ix: NodeIx, place: &dyn Fn(NodeIx) -> Option<usize>) -> NodeView {
    let sort = if ws.is_guest(ix) {
        NodeSort::Guest
    } else if ws.is_remote_kind(ix) {
        NodeSort::Remote
    } else {
        NodeSort::Cluster
    };
    let launcher = ws.node_launcher(ix);
    let host = launcher.and_then(|l| ws.current_node(l)).and_then(place);
    let running = ws[ix].running.clone();
    let mut expected = Vec::new();
    for rsc in &running {
        if matches!(ws[*rsc].def.agent.as_deref(), Some("ping" | "pingd")) {
            let params = ws.params(*rsc, Some(ix));
            let name = params.get("name").unwrap_or("pingd").into();
            let hosts = params.get("host_list").map_or(0, |h| h.split(' ').count()) as i32;
            let each = params.get("multiplier").and_then(|m| m.trim().parse().ok()).unwrap_or(1);
            expected.push((name, hosts.saturating_mul(each)));
        }
    }
    let node = &ws[ix];
    NodeView {
        id: node.id.clone(),
        name: node.name.clone(),
        sort,
        online: node.online,
        standby: node.standby,
        fail_standby: node.fail_standby,
        maintenance: node.maintenance,
        pending: node.pending,
        unclean: node.unclean,
        shutdown: node.shutdown,
        expected_up: node.expected_up,
        health: ws.node_health(ix),
        attrs: node.attrs.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
        running: running.iter().map(|r| r.0 as usize).collect(),
        launcher: launcher.map(|l| l.0 as usize),
        host,
        expected,
    }
}

impl Ws {
    /// Less than 0 for a red node, 0 for a yellow one, else 1.
    fn node_health(&self, node: NodeIx) -> i32 {
        let strategy = self.model.options.get("node-health-strategy").unwrap_or("none");
        if eq_ci(strategy, "none") {
            return 1;
        }
        let health = self.config.health;
        let mut worst = 1;
        for (_, value) in self[node].attrs.iter().filter(|(n, _)| n.starts_with("#health")) {
            // A color says it by itself, whatever score it stands for.
            if eq_ci(value, "yellow") {
                worst = 0;
                continue;
            }
            let Some(score) = parse_score_with(value, health) else { continue };
            if eq_ci(value, "red") || score <= health.red {
                return -1;
            }
            if score <= health.yellow && health.yellow != health.green {
                worst = 0;
            }
        }
        worst
    }
}

fn rsc_view(ws: &Ws, ix: RscIx, order: &[NodeIx]) -> RscView {
    let place = |node: NodeIx| order.iter().position(|n| *n == node);
    let rsc = &ws[ix];
    let at = |r: RscIx| r.0 as usize;
    let mut allowed: Vec<usize> = rsc.allowed.nodes().filter_map(place).collect();
    if allowed.is_empty() {
        allowed = order.iter().copied().filter(|n| rsc.is_known_on(*n)).filter_map(place).collect();
    }
    allowed.sort_unstable();
    let by_node = |node: &NodeIx| Some((place(*node)?, ws.failed_probe(ix, Some(*node))?));
    let probes = order.iter().filter_map(by_node).collect();
    let replica = |r: &crate::base::Replica| ReplicaView {
        offset: r.offset,
        address: r.ipaddr.clone(),
        ip: r.ip.map(at),
        child: r.child.map(at),
        container: at(r.container),
        remote: r.remote.map(at),
    };
    RscView {
        id: rsc.id.clone(),
        shown_id: ws.printable_id(ix).clone(),
        def: rsc.def.clone(),
        parent: rsc.parent.map(at),
        children: rsc.children.iter().copied().map(at).collect(),
        meta: rsc.meta.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
        removed: rsc.is(rf::REMOVED),
        blocked: rsc.is(rf::BLOCKED),
        maintenance: rsc.is(rf::MAINTENANCE),
        managed: rsc.is(rf::MANAGED),
        failed: rsc.is(rf::FAILED),
        failure_ignored: rsc.is(rf::IGNORE_FAILURE),
        promotable: rsc.is(rf::PROMOTABLE),
        unique: rsc.is(rf::UNIQUE),
        disabled: ws.is_disabled(ix),
        active: ws.is_active(ix, true),
        partly_active: ws.is_active(ix, false),
        role: rsc.orig_role,
        state: ws.state(ix, true),
        nodes: rsc.active.iter().copied().filter_map(place).collect(),
        location: ws.location(ix, Where::Current).and_then(place),
        current: ws.current_node(ix).or(rsc.pending_node).and_then(place),
        clone_max: rsc.clone.max,
        pending: rsc.pending_action.map(|a| ws.names.text(a).clone()),
        locked_to: rsc.lock_node.and_then(place),
        ban_after: rsc.ban_after_failures,
        allowed,
        probe_anywhere: ws.failed_probe(ix, None),
        probes,
        locations: rsc.locations.clone(),
        this_with: rsc.this_with.clone(),
        with_this: rsc.with_this.clone(),
        history_id: rsc.history_id.clone(),
        replicas: rsc.bundle.replicas.iter().map(replica).collect(),
    }
}

fn history(ws: &Ws, order: &[NodeIx]) -> Vec<NodeHistoryView> {
    let mut out = Vec::new();
    for (at, state) in ws.model.node_states.iter().enumerate() {
        let found = ws.find_node_any(state.id.as_deref(), state.name.as_deref());
        let (Some(node), Some(history)) = (found, &state.history) else { continue };
        let Some(place) = order.iter().position(|n| *n == node) else { continue };
        if !ws[node].online {
            continue;
        }
        let mut resources = Vec::new();
        for (entry_at, entry) in history.iter().enumerate() {
            let Some(id) = &entry.id() else { continue };
            let Some(rsc) = ws.find_rsc(id) else { continue };
            let (fail_count, last_failure) = ws.recorded_failures(node, rsc);
            let last_failure = if fail_count > 0 { last_failure } else { 0 };
            resources.push(RscHistoryView {
                id: (&**id).into(),
                rsc: rsc.0 as usize,
                fail_count,
                last_failure,
                at: (at, entry_at),
            });
        }
        out.push(NodeHistoryView { node: place, resources });
    }
    out
}
