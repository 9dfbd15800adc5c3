//! Clones: instances are spread over nodes, promoted ones chosen among them.

use cib_model::{INFINITY, Role, add_scores};

use crate::base::{Assigned, NodeIx, RscIx, Variant, Where, Ws, merge_sort, rf};

impl Ws {
    pub(crate) fn assign_clone(
        &mut self,
        rsc: RscIx,
        prefer: Option<NodeIx>,
        stop_if_fail: bool,
    ) -> Option<NodeIx> {
        if !self[rsc].is(rf::UNASSIGNED) || self[rsc].is(rf::ASSIGNING) {
            return None;
        }
        self[rsc].set(rf::ASSIGNING);
        if self[rsc].is(rf::PROMOTABLE) {
            self.add_promotion_scores(rsc);
        }
        for coloc in self.this_with(rsc) {
            let primary = self.colocs[coloc].primary;
            self.assign(primary, prefer, stop_if_fail);
        }
        for coloc in self.with_this(rsc) {
            self.add_dependent_scores(coloc, rsc);
        }
        self.show_scores(rsc, "clone");
        let mut children = self[rsc].children.clone();
        merge_sort(&mut children, &mut |a, b| self.compare_instances(a, b));
        self[rsc].children.clone_from(&children);
        let (max, node_max) = (self[rsc].clone.max, self[rsc].clone.node_max);
        self.assign_instances(rsc, &children, max, node_max);
        if self[rsc].is(rf::PROMOTABLE) {
            self.set_instance_roles(rsc);
        }
        self[rsc].clear(rf::UNASSIGNED | rf::ASSIGNING);
        None
    }

    fn max_per_node(&self, rsc: RscIx) -> i32 {
        match self[rsc].variant {
            Variant::Clone => self[rsc].clone.node_max,
            Variant::Bundle => self[rsc].bundle.per_host,
            _ => 1,
        }
    }

    /// Whether instances of a colocation's sides pair up node by node.
    fn can_interleave_coloc(&mut self, coloc: usize) -> bool {
        let (primary, dependent) = (self.colocs[coloc].primary, self.colocs[coloc].dependent);
        if self[dependent].variant <= Variant::Group || !self.meta_true(dependent, "interleave") {
            return false;
        }
        if self.max_per_node(dependent) != self.max_per_node(primary) {
            let text = format!(
                "Cannot interleave {} and {} because they do not support the same number of \
                 instances per node",
                self[dependent].id, self[primary].id
            );
            self.error(text);
            return false;
        }
        true
    }

    /// A colocation whose primary is a clone.
    pub(crate) fn depends_on_clone(&mut self, dependent: RscIx, clone: RscIx, coloc: usize) -> i32 {
        if self[clone].is(rf::UNASSIGNED) {
            return 0;
        }
        let c = self.colocs[coloc].clone();
        if self[clone].is(rf::PROMOTABLE) && c.primary_role != Role::Unknown {
            if self[dependent].is(rf::UNASSIGNED) {
                self.depends_on_promotable(dependent, clone, coloc);
                return 0;
            }
            if c.dependent_role == Role::Promoted {
                return self.promotable_dependent(dependent, clone, coloc);
            }
        }
        if self.can_interleave_coloc(coloc) {
            match self.compatible_instance(dependent, clone, Role::Unknown, false, None) {
                Some(instance) => return self.apply_coloc(dependent, instance, coloc, true),
                None if c.score >= INFINITY => {
                    self.assign_to(dependent, None, true, true);
                }
                None => {}
            }
            return 0;
        }
        let instances = self[clone].children.clone();
        if c.score >= INFINITY {
            let mut nodes = Vec::new();
            for instance in instances {
                if let Some(node) = self.location(instance, Where::Assigned)
                    && !self.flag_anywhere(instance, rf::BLOCKED)
                {
                    nodes.push(Assigned { node, score: 0 });
                }
            }
            self.intersect(dependent, &nodes, false);
            return 0;
        }
        let mut delta = 0;
        for instance in instances {
            delta = add_scores(delta, self.apply_coloc(dependent, instance, coloc, false));
        }
        delta
    }
}
