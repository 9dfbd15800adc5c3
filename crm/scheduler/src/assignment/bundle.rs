//! Bundles: containers are placed like instances, everything else follows them.

use cib_model::{INFINITY, Role, add_scores};

use crate::base::{
    Assigned, Coloc, NodeIx, Replica, RscIx, Variant, Where, Ws, cf, merge_sort, rf,
};

impl Ws {
    pub(crate) fn assign_bundle(
        &mut self,
        rsc: RscIx,
        prefer: Option<NodeIx>,
        stop_if_fail: bool,
    ) -> Option<NodeIx> {
        self[rsc].set(rf::ASSIGNING);
        self.show_scores(rsc, "bundle");
        let mut containers = self.containers(rsc);
        merge_sort(&mut containers, &mut |a, b| self.compare_instances(a, b));
        let (max, per_host) = (self[rsc].bundle.max, self[rsc].bundle.per_host);
        self.assign_instances(rsc, &containers, max, per_host);
        for replica in self[rsc].bundle.replicas.clone() {
            self.assign_replica(&replica, prefer, stop_if_fail);
        }
        if let Some(inner) = self.bundled_clone(rsc) {
            let own: Vec<NodeIx> =
                self[rsc].bundle.replicas.iter().filter_map(|r| r.node).collect();
            for (node, slot) in self[inner].allowed.iter_mut() {
                slot.score = if own.contains(&node) { 0 } else { -INFINITY };
            }
            self.assign(inner, prefer, stop_if_fail);
        }
        self[rsc].clear(rf::ASSIGNING | rf::UNASSIGNED);
        None
    }

    fn assign_replica(&mut self, replica: &Replica, prefer: Option<NodeIx>, stop_if_fail: bool) {
        if let Some(ip) = replica.ip {
            self.assign(ip, prefer, stop_if_fail);
        }
        let host = self[replica.container].assigned_node();
        if let Some(remote) = replica.remote {
            let host_remote = host.filter(|h| self.is_remote_kind(*h)).and_then(|h| self[h].remote);
            if let Some(connection) = host_remote {
                // The connection has to be made from where the host's own connection is.
                self.add_colocation(Coloc {
                    id: "#replica-remote-with-host-remote".into(),
                    dependent: remote,
                    primary: connection,
                    score: INFINITY,
                    dependent_role: Role::Unknown,
                    primary_role: Role::Unknown,
                    attr: "#uname".into(),
                    flags: cf::INFLUENCE,
                });
            }
            self.assign(remote, prefer, stop_if_fail);
        }
        let Some(child) = replica.child else { return };
        let nodes: Vec<NodeIx> = self[child].allowed.nodes().collect();
        for node in nodes {
            let score = if replica.node != Some(node) {
                -INFINITY
            } else if self.threshold_reached(child, node).is_none() {
                INFINITY
            } else {
                continue;
            };
            if let Some(slot) = self[child].allowed.get_mut(node) {
                slot.score = score;
            }
        }
        let Some(clone) = self[child].parent else { return };
        self[clone].set(rf::ASSIGNING);
        self.assign(child, replica.node, stop_if_fail);
        self[clone].clear(rf::ASSIGNING);
    }

    /// The host of a bundle's node, any other node itself.
    fn host_of(&self, node: NodeIx) -> Option<NodeIx> {
        match self.node_launcher(node).filter(|_| self.is_bundle_node(node)) {
            Some(container) => self.location(container, Where::Assigned),
            None => Some(node),
        }
    }

    fn compatible_container(&self, dependent: RscIx, bundle: RscIx) -> Option<RscIx> {
        let on = |node: NodeIx| {
            let containers = self[bundle].bundle.replicas.iter().map(|r| r.container);
            let mut fit =
                containers.filter(|c| self.instance_matches(*c, node, Role::Unknown, false, None));
            fit.next()
        };
        if let Some(node) = self.location(dependent, Where::Assigned).and_then(|n| self.host_of(n))
        {
            return on(node);
        }
        let nodes = self.sorted_nodes(&self[dependent].allowed, None);
        nodes.into_iter().filter_map(|n| self.host_of(n)).find_map(on)
    }

    /// A colocation whose primary is a bundle.
    pub(crate) fn depends_on_bundle(
        &mut self,
        dependent: RscIx,
        bundle: RscIx,
        coloc: usize,
    ) -> i32 {
        if self[bundle].is(rf::UNASSIGNED) {
            return 0;
        }
        let c = self.colocs[coloc].clone();
        if self[c.dependent].variant > Variant::Group {
            match self.compatible_container(dependent, bundle) {
                Some(container) => return self.apply_coloc(dependent, container, coloc, true),
                None if c.score >= INFINITY => {
                    self.assign_to(dependent, None, true, true);
                }
                None => {}
            }
            return 0;
        }
        let mut delta = 0;
        let mut hosts = Vec::new();
        for replica in self[bundle].bundle.replicas.clone() {
            let container = replica.container;
            if c.score < INFINITY {
                let own = self.apply_coloc(dependent, container, coloc, false);
                delta = add_scores(delta, own);
                continue;
            }
            let Some(node) = self.location(container, Where::Assigned) else { continue };
            if self.flag_anywhere(container, rf::BLOCKED) {
                continue;
            }
            let promoted =
                replica.child.is_some_and(|child| self[child].next_role >= Role::Promoted);
            if c.primary_role >= Role::Promoted && !promoted {
                continue;
            }
            hosts.push(Assigned { node, score: 0 });
        }
        if c.score >= INFINITY {
            self.intersect(dependent, &hosts, false);
        }
        delta
    }
}
