//! The working set and the questions that all steps ask of it.

use std::sync::{Arc, OnceLock};

use cib_model::{
    Attrs, HealthScores, HistoryOp, INFINITY, Model, NoQuorumPolicy, Role, Str, Time, add_scores,
    eq_ci, is_true,
};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::table::Probe;
use super::{
    Action, ActionIx, Names, Node, NodeIx, NodeKind, Rsc, RscIx, Slot, Sym, Table, Variant, rf,
};
use crate::reasons::{Reason, Reasons};

/// A relation between actions that are not looked up yet.
#[derive(Clone, Debug)]
pub(crate) struct Ordering {
    pub(crate) flags: u32,
    pub(crate) rsc1: Option<RscIx>,
    pub(crate) key1: Option<(Sym, u32)>,
    pub(crate) action1: Option<ActionIx>,
    pub(crate) rsc2: Option<RscIx>,
    pub(crate) key2: Option<(Sym, u32)>,
    pub(crate) action2: Option<ActionIx>,
}

/// Flags of colocations.
pub(crate) mod cf {
    /// Configured by somebody (rather than implied by a group, say).
    pub(crate) const EXPLICIT: u32 = 1;
    /// The dependent has a say in the placement of the primary.
    pub(crate) const INFLUENCE: u32 = 2;
}

/// A colocation of two resources.
#[derive(Clone, Debug)]
pub(crate) struct Coloc {
    pub(crate) id: Str,
    pub(crate) dependent: RscIx,
    pub(crate) primary: RscIx,
    pub(crate) score: i32,
    pub(crate) dependent_role: Role,
    pub(crate) primary_role: Role,
    pub(crate) attr: Str,
    pub(crate) flags: u32,
}

/// A location constraint, made of all nodes to which it applies.
#[derive(Clone, Debug)]
pub(crate) struct LocationCon {
    pub(crate) id: Str,
    pub(crate) rsc: RscIx,
    pub(crate) nodes: Vec<(NodeIx, i32)>,
    pub(crate) role: Role,
    pub(crate) probe: Probe,
}

/// A ticket.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) id: Str,
    pub(crate) granted: bool,
    pub(crate) standby: bool,
}

/// Names one recorded operation: node state, resource, operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpRef {
    pub(crate) state: u32,
    pub(crate) rsc: u32,
    pub(crate) op: u32,
}

impl OpRef {
    /// The operation, of a model that it was found in.
    pub(crate) fn of(self, model: &Model) -> &HistoryOp {
        let history = model.node_states[self.state as usize].history.as_ref();
        let resources = history.expect("an operation reference names an existing history");
        &resources[self.rsc as usize].ops[self.op as usize]
    }
}

/// Nodes of a resource or of its parts: mostly one.
pub(crate) type Places = SmallVec<[NodeIx; 4]>;

/// The recorded history of one resource on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistRsc {
    pub(crate) state: u32,
    pub(crate) rsc: u32,
}

/// Recorded history by resource id.
pub(crate) type HistoryIndex = FxHashMap<Str, Vec<HistRsc>>;

/// An operation that counts as failed.
#[derive(Clone, Debug)]
pub(crate) struct FailedOp {
    pub(crate) op: OpRef,
    pub(crate) node: NodeIx,
    pub(crate) rsc: RscIx,
}

/// A recorded operation whose parameters can be checked only after assignment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParamCheck {
    pub(crate) op: OpRef,
    pub(crate) rsc: RscIx,
    pub(crate) node: NodeIx,
    /// Whether it is about clearing the last failure (rather than about an active operation).
    pub(crate) last_failure: bool,
}

/// How nodes are chosen among equals, and whether capacity counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    Default,
    Utilization,
    Minimal,
    Balanced,
}

/// Cluster options as the planner needs them.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) now: Time,
    pub(crate) quorate: bool,
    pub(crate) fencing_enabled: bool,
    /// Whether there is any fencing device.
    pub(crate) have_fencing: bool,
    pub(crate) unfencing: bool,
    pub(crate) concurrent_fencing: bool,
    pub(crate) stop_all: bool,
    pub(crate) symmetric: bool,
    pub(crate) stop_removed: bool,
    pub(crate) cancel_removed: bool,
    pub(crate) in_maintenance: bool,
    pub(crate) start_failure_fatal: bool,
    pub(crate) startup_fencing: bool,
    pub(crate) shutdown_lock: bool,
    pub(crate) fence_remote_without_quorum: bool,
    pub(crate) probe_resources: bool,
    pub(crate) have_remote_nodes: bool,
    /// Whether secrets may have been taken out of the CIB.
    pub(crate) sanitized: bool,
    /// Whether plans are made with operations under way.
    pub(crate) under_way: bool,
    /// Whether scores are to be noted.
    pub(crate) show_scores: bool,
    /// Whether capacities are to be noted.
    pub(crate) show_utilization: bool,
    pub(crate) no_quorum: NoQuorumPolicy,
    pub(crate) fence_action: Str,
    pub(crate) priority_fencing_ms: u32,
    pub(crate) placement: Placement,
    pub(crate) shutdown_lock_ms: u32,
    pub(crate) node_pending_ms: u32,
    pub(crate) health: HealthScores,
}

/// The working set.
pub(crate) struct Ws {
    pub(crate) model: Arc<Model>,
    pub(crate) config: Config,
    pub(crate) names: Names,
    pub(crate) graph_names: crate::graph::GraphNames,
    pub(crate) nodes: Vec<Node>,
    /// Nodes by name.
    pub(crate) node_order: Vec<NodeIx>,
    pub(crate) rscs: Vec<Rsc>,
    /// Resources at the top, by falling priority.
    pub(crate) top: Vec<RscIx>,
    pub(crate) by_id: FxHashMap<Str, RscIx>,
    /// Instances by the name under which a node's history knows them.
    pub(crate) by_history_id: FxHashMap<Str, Vec<RscIx>>,
    pub(crate) actions: Vec<Action>,
    pub(crate) singletons: FxHashMap<Sym, ActionIx>,
    /// Made when it is first asked for: few plans need it.
    pub(crate) by_history: OnceLock<HistoryIndex>,
    /// Operations that expired: their parameters count as changed.
    pub(crate) expired_ops: FxHashSet<OpRef>,
    pub(crate) failed: Vec<FailedOp>,
    pub(crate) param_checks: Vec<ParamCheck>,
    pub(crate) stop_needed: Vec<RscIx>,
    pub(crate) locations: Vec<LocationCon>,
    pub(crate) colocs: Vec<Coloc>,
    pub(crate) orderings: Vec<Ordering>,
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) dc: Option<NodeIx>,
    pub(crate) recheck_by: Option<i64>,
    pub(crate) notes: Vec<crate::Note>,
    pub(crate) problems: Vec<(bool, String)>,
    pub(crate) ninstances: u32,
    pub(crate) disabled: u32,
    pub(crate) blocked: u32,
    pub(crate) reasons: Reasons,
    /// How deep relations are being worked out.
    pub(crate) depth: u32,
}

/// Which of a resource's nodes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Current,
    CurrentOrPending,
    Assigned,
}

impl Ws {
    pub(crate) fn warn(&mut self, text: String) {
        self.problems.push((false, text));
    }

    pub(crate) fn error(&mut self, text: String) {
        self.problems.push((true, text));
    }

    pub(crate) fn now(&self) -> i64 {
        self.config.now.seconds
    }

    /// Notes that the plan has to be made again at a time, if that is in the future.
    pub(crate) fn recheck_at(&mut self, at: i64) {
        if at > self.now() && self.recheck_by.is_none_or(|by| by > at) {
            self.recheck_by = Some(at);
        }
    }

    pub(crate) fn op(&self, op: OpRef) -> &HistoryOp {
        op.of(&self.model)
    }

    // Nodes

    pub(crate) fn find_node(&self, name: &str) -> Option<NodeIx> {
        self.node_order.iter().copied().find(|n| eq_ci(&self[*n].name, name))
    }

    pub(crate) fn find_node_any(&self, id: Option<&str>, name: Option<&str>) -> Option<NodeIx> {
        let by_id =
            id.and_then(|id| self.node_order.iter().copied().find(|n| eq_ci(&self[*n].id, id)));
        by_id.or_else(|| name.and_then(|name| self.find_node(name)))
    }

    /// A remote or guest node.
    pub(crate) fn is_remote_kind(&self, node: NodeIx) -> bool {
        self[node].kind == NodeKind::Remote
    }

    /// The resource that a guest node runs in.
    pub(crate) fn node_launcher(&self, node: NodeIx) -> Option<RscIx> {
        self[node].remote.filter(|_| self.is_remote_kind(node)).and_then(|r| self[r].launcher)
    }

    /// A node that a resource of the cluster makes.
    pub(crate) fn is_guest(&self, node: NodeIx) -> bool {
        self.node_launcher(node).is_some()
    }

    /// A remote node that exists on its own.
    pub(crate) fn is_remote(&self, node: NodeIx) -> bool {
        self.is_remote_kind(node) && !self.is_guest(node)
    }

    pub(crate) fn is_bundle_node(&self, node: NodeIx) -> bool {
        self.is_guest(node) && self[node].remote.is_some_and(|r| self.is_bundled(r))
    }

    /// Whether a node can run resources, its scores aside.
    pub(crate) fn available(&self, node: NodeIx) -> bool {
        let n = &self[node];
        n.online && !n.shutdown && !n.unclean && !n.standby && !n.maintenance
    }

    /// Whether a node can run what has this score on it.
    pub(crate) fn available_at(&self, node: NodeIx, score: i32) -> bool {
        score >= 0 && self.available(node)
    }

    pub(crate) fn any_available(&self, table: &Table) -> bool {
        table.iter().any(|(n, s)| self.available_at(n, s.score))
    }

    /// A node attribute; with `target` `host` that of a guest node's host.
    pub(crate) fn node_attr(
        &self,
        node: NodeIx,
        name: &str,
        target: Option<&str>,
        place: Where,
    ) -> Option<&str> {
        let host = match self.node_launcher(node) {
            Some(container) if target.is_some_and(|t| eq_ci(t, "host")) => match place {
                Where::Assigned => self[container].assigned_node(),
                _ => self[container].active.first().copied(),
            }?,
            _ => node,
        };
        self[host].attrs.get(name)
    }

    pub(crate) fn attr(&self, node: NodeIx, name: &str) -> Option<&str> {
        self[node].attrs.get(name)
    }

    pub(crate) fn shutdown_requested(&self, node: NodeIx) -> bool {
        self.attr(node, "shutdown").is_some_and(|v| v != "0")
    }

    /// Whether a node can be fenced. Without a node: whether any can.
    pub(crate) fn can_fence(&self, node: NodeIx) -> bool {
        if let Some(launcher) = self.node_launcher(node) {
            let hosts = self[launcher].active.iter();
            return hosts.copied().all(|host| self[host].online || self.can_fence(host));
        }
        let c = &self.config;
        if !c.fencing_enabled || !c.have_fencing {
            return false;
        }
        if c.quorate || c.no_quorum == NoQuorumPolicy::Ignore {
            return true;
        }
        if !self[node].online {
            return false;
        }
        if self.is_remote_kind(node) && !c.fence_remote_without_quorum {
            let remote = self[node].remote;
            return remote.is_none_or(|r| self[r].allowed.nodes().all(|n| self[n].online));
        }
        true
    }

    // Resources

    pub(crate) fn is_primitive(&self, rsc: RscIx) -> bool {
        self[rsc].variant == Variant::Primitive
    }

    pub(crate) fn is_group(&self, rsc: RscIx) -> bool {
        self[rsc].variant == Variant::Group
    }

    pub(crate) fn is_clone(&self, rsc: RscIx) -> bool {
        self[rsc].variant == Variant::Clone
    }

    pub(crate) fn is_bundle(&self, rsc: RscIx) -> bool {
        self[rsc].variant == Variant::Bundle
    }

    pub(crate) fn is_anonymous_clone(&self, rsc: Option<RscIx>) -> bool {
        rsc.is_some_and(|r| self.is_clone(r) && !self[r].is(rf::UNIQUE))
    }

    pub(crate) fn is_unique_clone(&self, rsc: Option<RscIx>) -> bool {
        rsc.is_some_and(|r| self.is_clone(r) && self[r].is(rf::UNIQUE))
    }

    /// The outermost resource that it is part of; a bundle counts only if `with_bundle`.
    pub(crate) fn top_of(&self, rsc: RscIx, with_bundle: bool) -> RscIx {
        let mut top = rsc;
        while let Some(parent) = self[top].parent {
            if !with_bundle && self.is_bundle(parent) {
                break;
            }
            top = parent;
        }
        top
    }

    /// The outermost resource that it is part of, short of a bundle.
    pub(crate) fn uber(&self, rsc: RscIx) -> RscIx {
        self.top_of(rsc, false)
    }

    /// Whether it is a bundle or part of one.
    pub(crate) fn is_bundled(&self, rsc: RscIx) -> bool {
        self.is_bundle(self.top_of(rsc, true))
    }

    /// Whether `rsc` is somewhere above `child`.
    pub(crate) fn is_parent(&self, child: RscIx, rsc: RscIx) -> bool {
        let mut at = self[child].parent;
        while let Some(parent) = at {
            if parent == rsc {
                return true;
            }
            at = self[parent].parent;
        }
        false
    }

    pub(crate) fn is_promotable(&self, rsc: RscIx) -> bool {
        self[self.uber(rsc)].is(rf::PROMOTABLE)
    }

    /// Its id without an instance number, for anonymous instances.
    pub(crate) fn printable_id(&self, rsc: RscIx) -> &Str {
        if self[rsc].is(rf::UNIQUE) { &self[rsc].id } else { &self[rsc].def.id }
    }

    pub(crate) fn meta_true(&self, rsc: RscIx, name: &str) -> bool {
        is_true(self[rsc].meta.get(name))
    }

    pub(crate) fn flag_anywhere(&self, rsc: RscIx, flag: u32) -> bool {
        self[rsc].is(flag) || self[rsc].children.iter().any(|c| self.flag_anywhere(*c, flag))
    }

    pub(crate) fn set_recursive(&mut self, rsc: RscIx, flags: u32) {
        self[rsc].set(flags);
        for child in self[rsc].children.clone() {
            self.set_recursive(child, flags);
        }
    }

    /// The resource of an id, also one under which only a node's history knows it.
    pub(crate) fn find_rsc(&self, id: &str) -> Option<RscIx> {
        if let Some(rsc) = self.by_id.get(id) {
            return Some(*rsc);
        }
        self.by_history_id.get(id)?.iter().copied().min()
    }

    /// Sets under which name a node's history knows an anonymous instance.
    pub(crate) fn set_history_id(&mut self, rsc: RscIx, id: Option<Str>) {
        if let Some(old) = std::mem::replace(&mut self[rsc].history_id, id.clone())
            && let Some(named) = self.by_history_id.get_mut(&old)
        {
            named.retain(|r| *r != rsc);
        }
        if let Some(id) = id {
            self.by_history_id.entry(id).or_default().push(rsc);
        }
    }

    /// Below `rsc`, the instance whose id, or configured id, is `id`.
    pub(crate) fn find_in_clone(&self, rsc: RscIx, id: &str, on: Option<NodeIx>) -> Option<RscIx> {
        let r = &self[rsc];
        let named = &*r.id == id || &*r.def.id == id;
        let there = on.is_none_or(|n| r.active.contains(&n));
        if named && there && self.is_clone(self.uber(rsc)) {
            return Some(rsc);
        }
        r.children.iter().find_map(|c| self.find_in_clone(*c, id, on))
    }

    /// Role as recorded (`current`) or intended; of collective resources the greatest of any part.
    pub(crate) fn state(&self, rsc: RscIx, current: bool) -> Role {
        let r = &self[rsc];
        match r.variant {
            Variant::Primitive => {
                if current {
                    r.orig_role
                } else {
                    r.next_role
                }
            }
            Variant::Group | Variant::Clone => {
                r.children.iter().map(|c| self.state(*c, current)).max().unwrap_or(Role::Unknown)
            }
            Variant::Bundle => Role::Unknown,
        }
    }

    /// Whether any (or all) of it is active on a node that counts.
    pub(crate) fn is_active(&self, rsc: RscIx, all: bool) -> bool {
        let r = &self[rsc];
        match r.variant {
            Variant::Primitive => r.active.iter().any(|n| {
                let node = &self[*n];
                node.unclean || node.online || !r.is(rf::MANAGED)
            }),
            Variant::Group => {
                let mut parts = r.children.iter().map(|c| self.is_active(*c, all));
                if all { parts.all(|a| a) } else { parts.any(|a| a) }
            }
            Variant::Clone => {
                let mut parts = r.children.iter().map(|c| self.is_active(*c, all));
                if all { parts.all(|a| a) } else { parts.any(|a| a) }
            }
            Variant::Bundle => self.is_bundle_active(rsc, all),
        }
    }

    fn is_bundle_active(&self, rsc: RscIx, all: bool) -> bool {
        for replica in &self[rsc].bundle.replicas {
            let parts = [replica.ip, replica.child, Some(replica.container), replica.remote];
            for part in parts.into_iter().flatten() {
                if self.is_active(part, all) != all {
                    return !all;
                }
            }
        }
        all
    }

    /// All nodes of a resource's parts, each once, in order of discovery.
    pub(crate) fn locations_of(&self, rsc: RscIx, place: Where, into: &mut Places) {
        let r = &self[rsc];
        let mut add = |node: NodeIx| {
            if !into.contains(&node) {
                into.push(node);
            }
        };
        if !r.children.is_empty() {
            for child in &r.children {
                self.locations_of(*child, place, into);
            }
            return;
        }
        match place {
            Where::Current => r.active.iter().copied().for_each(add),
            Where::CurrentOrPending => {
                r.active.iter().copied().for_each(&mut add);
                r.pending_node.into_iter().for_each(add);
            }
            Where::Assigned => r.assigned_node().into_iter().for_each(add),
        }
    }

    /// The node of a resource, if all its parts are on the same one.
    pub(crate) fn location(&self, rsc: RscIx, place: Where) -> Option<NodeIx> {
        let mut nodes = Places::new();
        self.locations_of(rsc, place, &mut nodes);
        if nodes.len() == 1 { Some(nodes[0]) } else { None }
    }

    /// The node to consider as the current one among those where it is active, with the number of
    /// all of these and of the clean ones.
    pub(crate) fn active_node(&self, rsc: RscIx) -> (Option<NodeIx>, u32, u32) {
        let mut nodes = Places::new();
        let mut owner = rsc;
        if self.is_bundle(rsc) {
            let containers = self[rsc].bundle.replicas.iter().map(|r| r.container);
            let active: Vec<RscIx> = containers.filter(|c| !self[*c].active.is_empty()).collect();
            match active[..] {
                [] => return (None, 0, 0),
                [one] => {
                    owner = one;
                    nodes.extend_from_slice(&self[one].active);
                }
                _ => {
                    for container in active {
                        for node in &self[container].active {
                            if !nodes.contains(node) {
                                nodes.push(*node);
                            }
                        }
                    }
                }
            }
        } else {
            nodes.extend_from_slice(&self[rsc].active);
        }
        let r = &self[owner];
        let clean = |n: NodeIx| self[n].online && !self[n].unclean;
        let mut chosen: Option<NodeIx> = None;
        let mut happy = 0;
        for node in &nodes {
            happy += u32::from(clean(*node));
            if let Some(source) = r.partial_source {
                if source == *node {
                    chosen = Some(*node);
                }
            } else if !r.is(rf::NEEDS_FENCING) && clean(*node) && chosen.is_none_or(|c| !clean(c)) {
                chosen = Some(*node);
            }
            if chosen.is_none() {
                chosen = Some(*node);
            }
        }
        (chosen, nodes.len() as u32, happy)
    }

    pub(crate) fn current_node(&self, rsc: RscIx) -> Option<NodeIx> {
        // The common case needs no counting.
        if let [one] = self[rsc].active[..]
            && !self.is_bundle(rsc)
        {
            return Some(one);
        }
        self.active_node(rsc).0
    }

    pub(crate) fn set_next_role(&mut self, rsc: RscIx, role: Role) {
        self[rsc].next_role = role;
    }

    /// Adds a score for a resource with all its parts, on one node or everywhere.
    pub(crate) fn resource_location(
        &mut self,
        rsc: RscIx,
        node: Option<NodeIx>,
        score: i32,
        why: Reason,
    ) {
        match node {
            Some(node) => self.node_score(rsc, node, score, &why),
            None => {
                for at in 0..self.node_order.len() {
                    self.node_score(rsc, self.node_order[at], score, &why);
                }
                if score == -INFINITY {
                    self[rsc].assigned = None;
                }
            }
        }
    }

    fn node_score(&mut self, rsc: RscIx, node: NodeIx, score: i32, why: &Reason) {
        for at in 0..self[rsc].children.len() {
            let child = self[rsc].children[at];
            self.node_score(child, node, score, why);
        }
        let base = self[node].base;
        let row = &mut self[rsc].allowed;
        if row.get(node).is_none() {
            row.insert(node, base);
        }
        row.add(node, score);
        if score != 0 {
            self.reasons.score(rsc, node, score, why);
        }
    }

    /// Lets a resource with all its parts run on any node, but for nodes that it is not looked for
    /// on.
    pub(crate) fn allow_everywhere(&mut self, rsc: RscIx) {
        let mut row = self.base_row();
        for node in &self.node_order {
            if self[*node].base.probe == Probe::Never {
                row.remove(*node);
            }
        }
        self.allow_also(rsc, &row);
    }

    fn allow_also(&mut self, rsc: RscIx, row: &Table) {
        if self[rsc].is(rf::EXCLUSIVE_PROBES) {
            return;
        }
        for at in 0..self[rsc].children.len() {
            self.allow_also(self[rsc].children[at], row);
        }
        self[rsc].allowed.add_missing(row);
    }

    /// Makes a row of all nodes with the scores that they have for every resource.
    pub(crate) fn base_row(&self) -> Table {
        let mut row = Table::with_room(self.nodes.len());
        for node in &self.node_order {
            row.insert(*node, self[*node].base);
        }
        row
    }

    /// Makes a row of all nodes, all with one score.
    pub(crate) fn full_row(&self, score: i32) -> Table {
        let mut table = Table::with_room(self.nodes.len());
        for node in &self.node_order {
            table.insert(*node, Slot { score, ..self[*node].base });
        }
        table
    }

    /// The cell of a resource's parent, or its own if it has none.
    pub(crate) fn top_allowed(&self, rsc: RscIx, node: NodeIx) -> Option<&Slot> {
        self[self[rsc].parent.unwrap_or(rsc)].allowed.get(node)
    }

    pub(crate) fn top_allowed_mut(&mut self, rsc: RscIx, node: NodeIx) -> Option<&mut Slot> {
        let owner = self[rsc].parent.unwrap_or(rsc);
        self[owner].allowed.get_mut(node)
    }

    /// Whether the configuration keeps the resource from running (or from being promoted).
    pub(crate) fn is_disabled(&self, rsc: RscIx) -> bool {
        match self[rsc].meta.get("target-role").and_then(Role::parse) {
            Some(Role::Stopped) => true,
            Some(Role::Unpromoted) => self.is_promotable(rsc),
            _ => false,
        }
    }

    /// The resource's parameters on a node.
    pub(crate) fn params(&mut self, rsc: RscIx, node: Option<NodeIx>) -> &mut Attrs {
        let at = self.params_at(rsc, node);
        &mut self[rsc].params[at].1
    }

    /// The place of [`Ws::params`] among those of the resource.
    pub(crate) fn params_at(&mut self, rsc: RscIx, node: Option<NodeIx>) -> usize {
        // What no rule speaks of is the same on every node.
        let node = node.map(|node| if self.params_vary(rsc) { node } else { NodeIx(0) });
        if let Some(at) = self[rsc].params.iter().position(|(n, _)| *n == node) {
            return at;
        }
        let params = self.unpack_params(rsc, node);
        self[rsc].params.push((node, params));
        self[rsc].params.len() - 1
    }

    fn params_vary(&self, rsc: RscIx) -> bool {
        let r = &self[rsc];
        r.def.params.have_rules() || r.parent.is_some_and(|parent| self.params_vary(parent))
    }

    /// Adds to a score of a row.
    pub(crate) fn bump(slot: &mut Slot, score: i32) {
        slot.score = add_scores(slot.score, score);
    }
}
