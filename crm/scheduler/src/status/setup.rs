//! Options and nodes, and the order in which the status is taken in.

use std::sync::{Arc, OnceLock};

use cib_model::{
    Attrs, Model, NoQuorumPolicy, NodeType, RuleInput, Str, Time, numeric_cmp, scan_int,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::base::{Config, Names, Node, NodeIx, NodeKind, Placement, Ws};
use crate::reasons::Reasons;
use crate::status::FAILURES;

/// What a caller wants beyond the plan itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanFlags {
    /// Note scores.
    pub show_scores: bool,
    /// Note what nodes have to offer and resources take.
    pub show_utilization: bool,
    /// Secrets may have been taken out of the CIB: changed digests of secret parameters are to be
    /// forgiven.
    pub sanitized: bool,
    /// Operations that are recorded as pending go on while the plan is carried out: a stop or
    /// demotion that is no longer wanted is undone after it has ended, and what comes after a
    /// promotion waits for it.
    pub under_way: bool,
}

impl Ws {
    /// Takes a CIB in: afterwards everything about the present is known, nothing about the plan.
    pub(crate) fn new(model: Arc<Model>, now: Time, flags: PlanFlags) -> Ws {
        let config = read_config(&model, now, flags);
        let mut ws = Ws {
            config,
            names: Names::default(),
            graph_names: crate::graph::GraphNames::default(),
            nodes: Vec::new(),
            node_order: Vec::new(),
            rscs: Vec::new(),
            top: Vec::new(),
            by_id: FxHashMap::default(),
            by_history_id: FxHashMap::default(),
            actions: Vec::new(),
            singletons: FxHashMap::default(),
            by_history: OnceLock::new(),
            expired_ops: FxHashSet::default(),
            failed: Vec::new(),
            param_checks: Vec::new(),
            stop_needed: Vec::new(),
            locations: Vec::new(),
            colocs: Vec::new(),
            orderings: Vec::new(),
            tickets: Vec::new(),
            dc: None,
            recheck_by: None,
            notes: Vec::new(),
            problems: Vec::new(),
            ninstances: 0,
            disabled: 0,
            blocked: 0,
            reasons: Reasons::default(),
            depth: 0,
            model,
        };
        let model = ws.model.clone();
        for note in &model.notes {
            ws.problems.push((note.error, note.text.clone()));
        }
        for (name, value) in model.options.invalid() {
            ws.error(format!(
                "Using default value for cluster option '{name}' because '{value}' is invalid"
            ));
        }
        if let Some(at) = model.next_change {
            ws.recheck_at(at);
        }
        ws.unpack_nodes();
        ws.unpack_resources();
        ws.unpack_status();
        for rsc in ws.top.clone() {
            ws.count_instances(rsc);
        }
        ws
    }

    /// Adds a node; its place among the others follows from its name.
    pub(crate) fn create_node(
        &mut self,
        id: &str,
        name: &str,
        kind: NodeKind,
        score: i32,
    ) -> NodeIx {
        if self.find_node(name).is_some() {
            self.warn(format!("More than one node entry has name '{name}'"));
        }
        if kind == NodeKind::Remote {
            self.config.have_remote_nodes = true;
        }
        let ix = NodeIx(self.nodes.len() as u32);
        self.nodes.push(Node::new(id, name, kind, score));
        let at = self
            .node_order
            .iter()
            .position(|n| numeric_cmp(name, &self[*n].name) != std::cmp::Ordering::Greater)
            .unwrap_or(self.node_order.len());
        self.node_order.insert(at, ix);
        ix
    }

    fn unpack_nodes(&mut self) {
        let model = self.model.clone();
        for def in &model.nodes {
            let kind = match def.kind {
                Some(NodeType::Member) => NodeKind::Cluster,
                Some(NodeType::Remote) => NodeKind::Remote,
                None => {
                    self.error(format!("Ignoring node {} with unrecognized type", def.name));
                    break;
                }
            };
            let node = self.create_node(&def.id, &def.name, kind, def.score);
            self.startup_fencing(node);
            let input = RuleInput { now: Some(self.config.now), ..RuleInput::default() };
            let (mut attrs, mut utilization) = (Attrs::new(), Attrs::new());
            let mut next = None;
            def.attrs.unpack(&input, &mut attrs, &mut next);
            def.utilization.unpack(&input, &mut utilization, &mut next);
            next.into_iter().for_each(|at| self.recheck_at(at));
            self.add_node_attrs(node, &attrs, false);
            self[node].utilization = capacity(&utilization);
        }
        for name in &model.resource_nodes {
            if self.find_node(name).is_none() {
                self.create_node(name, name, NodeKind::Remote, 0);
            }
        }
    }

    /// A node of which nothing was ever heard may be running anything.
    pub(crate) fn startup_fencing(&mut self, node: NodeIx) {
        let startup = self.config.startup_fencing;
        let n = &mut self[node];
        if n.kind == NodeKind::Remote && n.remote.is_none() {
            return;
        }
        n.unclean = startup;
    }

    /// Adds what is known about a node in itself, and attributes as configured or recorded.
    pub(crate) fn add_node_attrs(&mut self, node: NodeIx, attrs: &Attrs, overwrite: bool) {
        let model = self.model.clone();
        let (id, name) = (self[node].id.clone(), self[node].name.clone());
        let is_dc = model.dc_uuid.as_deref().is_some_and(|dc| dc.eq_ignore_ascii_case(&id));
        if self.dc.is_none() && is_dc {
            self.dc = Some(node);
        }
        let own_dc = self.dc == Some(node);
        let cluster_name = model.options.get("cluster-name");
        let table = &mut self[node].attrs;
        table.set("#uname", &name);
        table.set("#id", &id);
        table.set("#is_dc", if own_dc { "true" } else { "false" });
        if let Some(cluster) = cluster_name {
            table.set("#cluster-name", cluster);
        }
        for (name, value) in attrs.iter() {
            if overwrite {
                table.set_str(name, value);
            } else {
                table.set_default(name, value);
            }
        }
        let failure = |name: &str| FAILURES.iter().any(|prefix| name.starts_with(prefix));
        let has_failures = attrs.iter().any(|(name, _)| failure(name));
        if !table.has("#site-name") {
            if let Some(site) = table.get_str("site-name").cloned() {
                table.set("#site-name", &site);
            } else if let Some(cluster) = cluster_name {
                table.set("#site-name", cluster);
            }
        }
        self[node].has_failures |= has_failures;
    }

    fn count_instances(&mut self, rsc: crate::base::RscIx) {
        use crate::base::rf;
        use cib_model::Role;
        if self.is_bundle(rsc) {
            for replica in self[rsc].bundle.replicas.clone() {
                let parts = [replica.ip, replica.child, Some(replica.container), replica.remote];
                parts.into_iter().flatten().for_each(|p| self.count_instances(p));
            }
        } else if !self[rsc].children.is_empty() {
            for child in self[rsc].children.clone() {
                self.count_instances(child);
            }
        } else if !self[rsc].is(rf::REMOVED) || self[rsc].orig_role > Role::Stopped {
            self.ninstances += 1;
            self.disabled += u32::from(self.is_disabled(rsc));
            self.blocked += u32::from(self[rsc].is(rf::BLOCKED));
        }
    }
}

/// Capacities or needs as numbers; what is none counts as 0.
pub(crate) fn capacity(attrs: &Attrs) -> Vec<(Str, i32)> {
    let number = |v: &str| scan_int(v).unwrap_or(0).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    attrs.iter().map(|(n, v)| (n.clone(), number(v))).collect()
}

fn read_config(model: &Model, now: Time, flags: PlanFlags) -> Config {
    let o = &model.options;
    let fencing_enabled = o.flag("fencing-enabled");
    let no_quorum = match o.no_quorum_policy() {
        NoQuorumPolicy::Fence if !fencing_enabled => NoQuorumPolicy::Stop,
        NoQuorumPolicy::Fence if !model.no_quorum_panic && !model.have_quorum => {
            NoQuorumPolicy::Stop
        }
        policy => policy,
    };
    let placement = match o.get("placement-strategy").map(str::to_ascii_lowercase).as_deref() {
        Some("utilization") => Placement::Utilization,
        Some("minimal") => Placement::Minimal,
        Some("balanced") => Placement::Balanced,
        _ => Placement::Default,
    };
    let shutdown_lock = o.flag("shutdown-lock");
    Config {
        now,
        quorate: model.have_quorum,
        fencing_enabled,
        have_fencing: o.flag("have-watchdog"),
        unfencing: model.unfencing,
        concurrent_fencing: o.flag("concurrent-fencing"),
        stop_all: o.flag("stop-all-resources"),
        symmetric: o.flag("symmetric-cluster"),
        stop_removed: o.flag("stop-removed-resources"),
        cancel_removed: o.flag("cancel-removed-actions"),
        in_maintenance: o.flag("maintenance-mode"),
        start_failure_fatal: o.flag("start-failure-is-fatal"),
        startup_fencing: fencing_enabled && o.flag("startup-fencing"),
        shutdown_lock,
        fence_remote_without_quorum: o.flag("fence-remote-without-quorum"),
        probe_resources: o.flag("enable-startup-probes"),
        have_remote_nodes: false,
        sanitized: flags.sanitized,
        under_way: flags.under_way,
        show_scores: flags.show_scores,
        show_utilization: flags.show_utilization,
        no_quorum,
        fence_action: o.get("fencing-action").unwrap_or("reboot").into(),
        priority_fencing_ms: o.duration_ms("priority-fencing-delay"),
        placement,
        shutdown_lock_ms: if shutdown_lock { o.duration_ms("shutdown-lock-limit") } else { 0 },
        node_pending_ms: o.duration_ms("node-pending-timeout"),
        health: o.health_scores(),
    }
}
