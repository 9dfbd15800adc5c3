//! Fencing and unfencing of nodes, and node shutdowns.

use cib_model::{Str, eq_ci};

use crate::base::{ActionIx, NodeIx, NodeKind, RscIx, Ws, af, ar, rf, task};
use crate::status::digest::DigestMatch;

impl Ws {
    /// The fencing action of a node, made if there is none. It stays optional unless it is asked
    /// for in earnest and possible.
    pub(crate) fn fence_op(
        &mut self,
        node: NodeIx,
        op: Option<&str>,
        optional: bool,
        reason: Option<&str>,
        priority_delay: bool,
    ) -> ActionIx {
        let op: Str = op.map_or_else(|| self.config.fence_action.clone(), Str::from);
        let mut optional = optional;
        let key = format!("stonith-{}-{op}", self[node].name);
        let sym = self.names.intern(&key);
        let action = match self.singletons.get(&sym) {
            Some(found) => *found,
            None => {
                let action = self.cluster_action(&key, task::STONITH, Some(node), true);
                let (name, id) = (self[node].name.clone(), self[node].id.clone());
                let meta = &mut self[action].meta;
                meta.set("on_node", &name);
                meta.set("on_node_uuid", &id);
                meta.set("stonith_action", &op);
                if self.config.unfencing && self.add_device_digests(action, node) {
                    optional = false;
                }
                action
            }
        };
        let delayed = priority_delay || self[action].meta.has("priority-fencing-delay");
        if self.config.priority_fencing_ms > 0 && delayed {
            let delay = self.priority_delay(node).to_string();
            self[action].meta.set("priority-fencing-delay", &delay);
        }
        if !optional && self.can_fence(node) {
            self[action].clear(af::OPTIONAL);
            self.set_reason(action, reason, false);
        } else if reason.is_some() && self[action].reason.is_none() {
            self[action].reason = reason.map(Str::from);
        }
        action
    }

    /// Adds digests of all devices that unfence; says whether one of them changed since then.
    fn add_device_digests(&mut self, action: ActionIx, node: NodeIx) -> bool {
        let mut devices = Vec::new();
        for rsc in self.top.clone() {
            self.unfencing_devices(rsc, &mut devices);
        }
        let (mut all, mut secure) = (String::new(), String::new());
        let mut changed = false;
        for device in devices.into_iter().rev() {
            let agent: Str = self[device].def.agent.clone().unwrap_or_else(|| "".into());
            let found = self.compare_fencing_digest(device, &agent, node);
            changed |= found.matches == DigestMatch::Mismatch;
            let id = &self[device].id;
            all.push_str(&format!("{id}:{agent}:{},", found.all));
            let digest = found.secure.as_deref().unwrap_or("");
            secure.push_str(&format!("{id}:{agent}:{digest},"));
        }
        self[action].meta.set("digests-all", &all);
        self[action].meta.set("digests-secure", &secure);
        changed
    }

    fn unfencing_devices(&self, rsc: RscIx, into: &mut Vec<RscIx>) {
        let r = &self[rsc];
        if !r.children.is_empty() {
            r.children.iter().for_each(|c| self.unfencing_devices(*c, into));
        } else if r.is(rf::FENCE_DEVICE) {
            let provides = r.meta.get("provides").is_some_and(|v| eq_ci(v, "unfencing"));
            if r.is(rf::NEEDS_UNFENCING) || provides {
                into.push(rsc);
            }
        }
    }

    /// Seconds by which fencing of the node that runs what matters most is delayed when the
    /// cluster fell into halves.
    fn priority_delay(&self, node: NodeIx) -> i64 {
        let n = &self[node];
        if n.kind != NodeKind::Cluster || n.online {
            return 0;
        }
        let members = || self.nodes.iter().filter(|n| n.kind == NodeKind::Cluster);
        let (count, online) = (members().count(), members().filter(|n| n.online).count());
        let top = members().map(|n| n.priority).max().unwrap_or(0);
        let lowest = members().map(|n| n.priority).min().unwrap_or(0);
        if online > count / 2 || lowest == top || n.priority < top {
            return 0;
        }
        cib_model::seconds_of_ms(self.config.priority_fencing_ms)
    }

    /// Schedules unfencing of a node, or of all that a device may be used for.
    pub(crate) fn trigger_unfencing(
        &mut self,
        rsc: Option<RscIx>,
        node: Option<NodeIx>,
        reason: &str,
    ) {
        if !self.config.unfencing || rsc.is_some_and(|r| !self[r].is(rf::FENCE_DEVICE)) {
            return;
        }
        let fit = |ws: &Ws, n: NodeIx| ws[n].online && !ws[n].unclean && !ws[n].shutdown;
        if let Some(node) = node.filter(|n| fit(self, *n)) {
            self.fence_op(node, Some("on"), false, Some(reason), false);
        } else if let Some(rsc) = rsc {
            let nodes: Vec<NodeIx> = self[rsc].allowed.nodes().filter(|n| fit(self, *n)).collect();
            for node in nodes {
                self.fence_op(node, Some("on"), false, Some(reason), false);
            }
        }
    }

    fn is_unfenced(&self, node: NodeIx) -> bool {
        self.attr(node, "#node-unfenced").is_some_and(|v| v != "0")
    }

    /// An action of a resource that needs an unfenced node waits for that.
    pub(crate) fn order_vs_unfencing(
        &mut self,
        rsc: RscIx,
        node: NodeIx,
        action: ActionIx,
        order: u32,
    ) {
        let device = self[rsc].is(rf::FENCE_DEVICE) && self.config.unfencing;
        if !device && !self[rsc].is(rf::NEEDS_UNFENCING) {
            return;
        }
        let unfence = self.fence_op(node, Some("on"), true, None, false);
        self.order_actions(Some(unfence), Some(action), order);
        if !self.is_unfenced(node) {
            let reason =
                format!("required by {} {}", self[rsc].id, self.names.text(self[action].task));
            self.trigger_unfencing(None, Some(node), &reason);
        }
    }

    /// A restart waits for unfencing in between.
    pub(crate) fn order_restart_vs_unfence(&mut self, node: NodeIx, rsc: RscIx) {
        let unfence = self.fence_op(node, Some("on"), true, None, false);
        self.order_key_then(rsc, task::STOP, unfence, ar::ORDERED | ar::IF_ON_SAME_NODE);
        self.order_action_then_key(
            unfence,
            rsc,
            task::START,
            ar::FIRST_IMPLIES_SAME_NODE_THEN | ar::IF_ON_SAME_NODE,
        );
    }

    fn is_managed_anywhere(&self, rsc: RscIx) -> bool {
        self[rsc].is(rf::MANAGED) || self[rsc].children.iter().any(|c| self.is_managed_anywhere(*c))
    }

    /// Fences unclean nodes, shuts down those that want to leave; the DC goes last.
    pub(crate) fn schedule_fencing_and_shutdowns(&mut self) {
        let managed = self.top.iter().any(|r| self.is_managed_anywhere(*r));
        let mut dc_down = None;
        let (mut fencing_ops, mut shutdown_ops): (Vec<ActionIx>, Vec<ActionIx>) =
            (Vec::new(), Vec::new());
        for node in self.node_order.clone() {
            let is_dc = self.dc == Some(node);
            if self.is_guest(node) {
                if self[node].remote_reset && managed && self.can_fence(node) {
                    self.fence_guest(node);
                }
                continue;
            }
            let mut fenced = false;
            if managed && self[node].unclean && self.can_fence(node) {
                fenced = true;
                let fencing = self.fence_op(node, None, false, Some("node is unclean"), false);
                let text = format!("Scheduling node {} for fencing", self[node].name);
                self.warn(text);
                self.order_vs_fencing(fencing);
                if is_dc {
                    dc_down = Some(fencing);
                } else {
                    let last = fencing_ops.last().copied();
                    if let Some(last) = last.filter(|_| !self.config.concurrent_fencing) {
                        self.order_actions(Some(last), Some(fencing), ar::ORDERED);
                    }
                    fencing_ops.push(fencing);
                }
            } else if !self.is_remote_kind(node) && self[node].online && self[node].shutdown {
                let down = self.shutdown_action(node);
                if is_dc {
                    dc_down = Some(down);
                } else {
                    shutdown_ops.push(down);
                }
            }
            if !fenced && self[node].unclean {
                let text = format!("Node {} is unclean but cannot be fenced", self[node].name);
                self.warn(text);
            }
        }
        if let Some(down) = dc_down {
            self.order_dc_last(down, &fencing_ops, &shutdown_ops);
        }
    }

    fn order_dc_last(&mut self, down: ActionIx, fencing: &[ActionIx], shutdowns: &[ActionIx]) {
        if self[down].task == task::DO_SHUTDOWN {
            for op in shutdowns.iter().rev() {
                self.order_actions(Some(*op), Some(down), ar::ORDERED);
            }
        }
        if self.config.concurrent_fencing {
            for op in fencing.iter().rev() {
                self.order_actions(Some(*op), Some(down), ar::ORDERED);
            }
        } else if let Some(last) = fencing.last() {
            self.order_actions(Some(*last), Some(down), ar::ORDERED);
        }
    }

    fn shutdown_action(&mut self, node: NodeIx) -> ActionIx {
        let name = format!("do_shutdown-{}", self[node].name);
        let down = self.cluster_action(&name, task::DO_SHUTDOWN, Some(node), false);
        for at in (0..self.actions.len()).rev() {
            let stop = ActionIx(at as u32);
            let a = &self[stop];
            if a.node != Some(node) || a.task != task::STOP {
                continue;
            }
            let Some(rsc) = a.rsc else { continue };
            let r = &self[rsc];
            if r.is(rf::MAINTENANCE) || self[node].maintenance || !r.any(rf::MANAGED | rf::BLOCKED)
            {
                continue;
            }
            self[stop].clear(af::OPTIONAL);
            self.order_both(stop, down, ar::ORDERED | ar::UNRUNNABLE_FIRST_BLOCKS);
        }
        self[down].meta.set("op_no_wait", "true");
        down
    }

    /// A guest node is fenced by recovering what makes it.
    fn fence_guest(&mut self, node: NodeIx) {
        let Some(launcher) = self.node_launcher(node) else { return };
        let stop = self.first_action(launcher, task::STOP, None);
        let starts = self.first_action(launcher, task::START, None).is_some();
        let op = if starts { "reboot" } else { "off" };
        let fencing = self.fence_op(node, Some(op), false, Some("guest is unclean"), false);
        self[fencing].set(af::PSEUDO | af::RUNNABLE);
        let tight = ar::UNRUNNABLE_FIRST_BLOCKS | ar::FIRST_IMPLIES_THEN;
        match stop {
            Some(stop) if self[stop].is(af::PSEUDO) => {
                if let Some(host) = self[stop].node {
                    let host_fencing = self.fence_op(host, None, false, None, false);
                    self.order_actions(Some(host_fencing), Some(fencing), tight);
                }
            }
            Some(stop) => {
                self.order_actions(Some(stop), Some(fencing), tight);
            }
            None => {
                let remote = self[node].remote;
                let stop = remote.and_then(|r| self.first_action(r, task::STOP, None));
                if let Some(stop) = stop {
                    self.order_actions(Some(stop), Some(fencing), ar::ORDERED);
                }
            }
        }
        self.order_vs_fencing(fencing);
    }

    /// Nothing that needs a node fenced starts before that, and stops there come for free.
    fn order_vs_fencing(&mut self, fencing: ActionIx) {
        for rsc in self.top.clone() {
            self.rsc_vs_fencing(rsc, fencing);
        }
    }

    fn rsc_vs_fencing(&mut self, rsc: RscIx, fencing: ActionIx) {
        if !self[rsc].children.is_empty() {
            for child in self[rsc].children.clone() {
                self.rsc_vs_fencing(child, fencing);
            }
        } else if self[rsc].is(rf::MANAGED) {
            self.start_vs_fencing(rsc, fencing);
            self.stop_vs_fencing(rsc, fencing);
        }
    }

    fn known_on(&self, rsc: RscIx, node: NodeIx) -> bool {
        let parent = self[rsc].parent;
        self[rsc].is_known_on(node)
            || (self.is_primitive(rsc)
                && self.is_anonymous_clone(parent)
                && parent.is_some_and(|p| self[p].is_known_on(node)))
    }

    fn start_vs_fencing(&mut self, rsc: RscIx, fencing: ActionIx) {
        use crate::base::Requires;
        let Some(target) = self[fencing].node else { return };
        for action in self[rsc].actions.clone().into_iter().rev() {
            match self[action].needs {
                Requires::Nothing => {}
                Requires::Fencing => {
                    self.order_actions(Some(fencing), Some(action), ar::ORDERED);
                }
                Requires::Quorum => {
                    let maybe_there = self[action].task == task::START
                        && self[rsc].allowed.get(target).is_some()
                        && !self.known_on(rsc, target);
                    if maybe_there {
                        let flags = ar::ORDERED | ar::UNRUNNABLE_FIRST_BLOCKS;
                        self.order_actions(Some(fencing), Some(action), flags);
                    }
                }
            }
        }
    }

    fn stop_vs_fencing(&mut self, rsc: RscIx, fencing: ActionIx) {
        let Some(target) = self[fencing].node else { return };
        let top = self.uber(rsc);
        let stops = self.actions_of(rsc, Some(target), task::STOP);
        let implicit = self[rsc].is(rf::NEEDS_FENCING) || self.is_guest(target);
        let bundled = self.is_bundled(rsc);
        let parent_stop = if implicit { self.first_action(top, task::STOP, None) } else { None };
        for stop in stops {
            self[stop].set(af::PSEUDO | af::RUNNABLE);
            if implicit {
                if !bundled {
                    self.order_actions(Some(fencing), Some(stop), ar::GUEST_ALLOWED);
                }
                self.order_actions(Some(fencing), parent_stop, ar::GUEST_ALLOWED);
            }
            if self[rsc].is(rf::NOTIFY) {
                self.notify_after_fencing(stop, rsc, fencing);
            }
        }
        for demote in self.actions_of(rsc, Some(target), task::DEMOTE) {
            let gone = self[demote].node.is_none_or(|n| !self[n].online || self[n].unclean);
            if gone || self[rsc].is(rf::FAILED) {
                self[demote].set(af::PSEUDO | af::RUNNABLE);
                if implicit && !bundled {
                    self.order_actions(
                        Some(fencing),
                        Some(demote),
                        ar::GUEST_ALLOWED | ar::ORDERED,
                    );
                }
            }
        }
    }

    pub(crate) fn is_unfenced_node(&self, node: NodeIx) -> bool {
        self.is_unfenced(node)
    }
}
