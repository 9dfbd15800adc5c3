//! From decided actions to the transition graph.

mod details;
mod inputs;

pub(crate) use details::GraphNames;

use crm_graph::{Synapse, Transition};

use crate::base::{Action, ActionIx, RscIx, Variant, Ws, af, rf, task};

/// Number of an action within the transition.
pub(crate) fn number(action: ActionIx) -> u32 {
    action.0 + 1
}

/// Whether an action has to be carried out, as far as its relations say.
fn is_wanted(action: &Action) -> bool {
    action.is(af::RUNNABLE) && (!action.is(af::OPTIONAL) || action.is(af::ALWAYS_IN_GRAPH))
}

impl Ws {
    /// Puts all that has to be done into a graph.
    pub(crate) fn create_graph(&mut self, id: u32) -> Transition {
        let options = &self.model.options;
        let option = |name: &str| options.get(name).unwrap_or("").to_owned();
        let migration_limit = cib_model::scan_int(&option("migration-limit"));
        let mut graph = Transition {
            id,
            cluster_delay: option("cluster-delay"),
            fencing_timeout: option("fencing-timeout"),
            failed_stop_offset: "INFINITY".into(),
            failed_start_offset: if self.config.start_failure_fatal { "INFINITY" } else { "1" }
                .into(),
            batch_limit: cib_model::scan_int(&option("batch-limit")).unwrap_or(0) as i32,
            migration_limit: migration_limit.filter(|l| *l > 0).map(|l| l as i32),
            recheck_by: None,
            synapses: Vec::with_capacity(self.actions.iter().filter(|a| is_wanted(a)).count()),
            outside: Vec::new(),
        };
        for rsc in self.top.clone() {
            self.graph_resource(rsc, &mut graph);
        }
        if !self.maintenance_changes().is_empty() {
            let action = self.pseudo_action("maintenance_nodes");
            self[action].set(af::ALWAYS_IN_GRAPH);
        }
        for at in (0..self.actions.len()).rev() {
            self.graph_action(ActionIx(at as u32), &mut graph);
        }
        graph.recheck_by = self.recheck_by;
        self.add_outside(&mut graph);
        graph
    }

    fn graph_resource(&mut self, rsc: RscIx, graph: &mut Transition) {
        match self[rsc].variant {
            Variant::Primitive | Variant::Group => self.graph_own(rsc, graph),
            Variant::Clone => {
                for action in self[rsc].actions.clone().into_iter().rev() {
                    self.action_flags(action, None);
                }
                self.create_notifications(rsc);
                for child in self[rsc].children.clone() {
                    self.graph_resource(child, graph);
                }
                self.graph_own(rsc, graph);
            }
            Variant::Bundle => {
                if let Some(inner) = self.bundled_clone(rsc) {
                    self.graph_resource(inner, graph);
                }
                for replica in self[rsc].bundle.replicas.clone() {
                    if let Some(remote) = replica.remote
                        && let Some(address) = self.host_address(remote)
                    {
                        self.params(remote, None).set("addr", &address);
                    }
                    let parts = [replica.ip, Some(replica.container), replica.remote];
                    for part in parts.into_iter().flatten() {
                        self.graph_resource(part, graph);
                    }
                }
            }
        }
    }

    fn graph_own(&mut self, rsc: RscIx, graph: &mut Transition) {
        for action in self[rsc].actions.clone().into_iter().rev() {
            self.graph_action(action, graph);
        }
        for child in self[rsc].children.clone() {
            self.graph_resource(child, graph);
        }
    }

    fn graph_action(&mut self, action: ActionIx, graph: &mut Transition) {
        if !self[action].is(af::INPUTS_MERGED) {
            self.merge_inputs(action);
        }
        if self[action].is(af::ADDED_TO_GRAPH) || !self.belongs_in_graph(action) {
            return;
        }
        self[action].set(af::ADDED_TO_GRAPH);
        let a = &self[action];
        let priority = a.rsc.map_or(0, |r| self[r].priority).max(a.priority).max(0);
        let mut inputs = Vec::new();
        for i in (0..self[action].before.len()).rev() {
            if self.input_counts(action, i) {
                self[action].before[i].graphed = true;
                inputs.push(number(self[action].before[i].action));
            }
        }
        let described = self.describe(action);
        let id = graph.synapses.len() as u32;
        graph.synapses.push(Synapse { id, priority, action: described, inputs });
    }

    /// Heads of actions that are waited for in vain.
    fn add_outside(&mut self, graph: &mut Transition) {
        let mut wanted: Vec<u32> =
            graph.synapses.iter().flat_map(|s| s.inputs.iter().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        for id in wanted {
            let action = ActionIx(id - 1);
            if !self[action].is(af::ADDED_TO_GRAPH) {
                let head = self.describe_head(action);
                graph.outside.push(head);
            }
        }
    }

    /// Whether an action has to be carried out, and can be.
    pub(crate) fn belongs_in_graph(&self, action: ActionIx) -> bool {
        let a = &self[action];
        if !is_wanted(a) {
            return false;
        }
        if let Some(rsc) = a.rsc.filter(|_| a.task != task::MONITOR) {
            // Nothing happens to what is not managed, but for recurring actions and their ends.
            let once = a.meta.get("interval").is_none_or(|i| i == "0");
            if !self[rsc].is(rf::MANAGED) && once {
                return false;
            }
        }
        if a.is(af::PSEUDO) || matches!(a.task, task::STONITH | task::DO_SHUTDOWN) {
            return true;
        }
        let Some(node) = a.node else { return false };
        if a.is(af::ON_DC) || (self.is_guest(node) && !self[node].remote_reset) {
            return true;
        }
        self[node].online && !self[node].unclean
    }
}
