//! Making and finding actions.

use cib_model::{Attrs, NoQuorumPolicy, Role};
use smallvec::SmallVec;

use crate::base::{
    Action, ActionIx, NodeIx, OnFail, Rels, Requires, RscIx, Sym, Variant, Ws, af, rf, task,
};

/// Some actions of one resource: mostly one at most.
pub(crate) type Actions = SmallVec<[ActionIx; 4]>;

impl Ws {
    /// The action of a resource that is told by name and interval, made if there is none.
    /// With a node only one for that node counts, or one that had none yet.
    pub(crate) fn rsc_action(
        &mut self,
        rsc: RscIx,
        name: Sym,
        interval: u32,
        task: Sym,
        node: Option<NodeIx>,
        optional: bool,
    ) -> ActionIx {
        let found = self.find_actions(rsc, name, interval, node).first().copied();
        let action = found
            .unwrap_or_else(|| self.new_action(Some(rsc), name, interval, task, node, optional));
        self.update_optional(action, optional);
        let a = &self[action];
        if let (Some(node), Some(op), false) = (a.node, a.op, a.is(af::ATTRS_EVALUATED)) {
            let extra = self.op_params(rsc, Some(op), node);
            self[action].extra = extra;
            self[action].set(af::ATTRS_EVALUATED);
        }
        self.update_runnable(action);
        action
    }

    /// An action of no resource, made if there is none.
    pub(crate) fn cluster_action(
        &mut self,
        name: &str,
        task: Sym,
        node: Option<NodeIx>,
        optional: bool,
    ) -> ActionIx {
        let name = self.names.intern(name);
        let found = self.singletons.get(&name).copied();
        let action = found.unwrap_or_else(|| self.new_action(None, name, 0, task, node, optional));
        self.update_optional(action, optional);
        action
    }

    /// A marker of no resource.
    pub(crate) fn pseudo_action(&mut self, name: &str) -> ActionIx {
        let sym = self.names.intern(name);
        if let Some(found) = self.singletons.get(&sym) {
            return *found;
        }
        let action = self.new_action(None, sym, 0, sym, None, true);
        self[action].set(af::PSEUDO | af::RUNNABLE);
        action
    }

    /// A marker of a collective resource.
    pub(crate) fn rsc_pseudo(
        &mut self,
        rsc: RscIx,
        name: Sym,
        optional: bool,
        runnable: bool,
    ) -> ActionIx {
        let action = self.rsc_action(rsc, name, 0, name, None, optional);
        self[action].set(af::PSEUDO);
        if runnable {
            self[action].set(af::RUNNABLE);
        }
        action
    }

    fn new_action(
        &mut self,
        rsc: Option<RscIx>,
        name: Sym,
        interval: u32,
        task: Sym,
        node: Option<NodeIx>,
        optional: bool,
    ) -> ActionIx {
        let mut flags = af::RUNNABLE;
        if optional {
            flags |= af::OPTIONAL;
        }
        if task == task::LRM_DELETE {
            flags |= af::ON_DC;
        }
        let (mut meta, mut op, mut needs) = (Attrs::new(), None, Requires::Nothing);
        if let Some(rsc) = rsc {
            let text = self.names.text(task).clone();
            op = self.action_config(rsc, &text, interval, true);
            if op.is_none() && self.names.text(name).contains("_notify_") {
                op = self.action_config(rsc, "notify", 0, true);
            }
            meta = self.action_meta(rsc, node, &text, interval, op);
            needs = self.action_requires(rsc, task);
        }
        let ix = ActionIx(self.actions.len() as u32);
        self.actions.push(Action {
            rsc,
            node,
            name,
            interval,
            task,
            cancel_task: None,
            flags,
            needs,
            reason: None,
            priority: 0,
            meta,
            extra: Attrs::new(),
            op,
            before: Rels::new(),
            after: Rels::new(),
            runnable_before: 0,
            required_runnable_before: 0,
        });
        match rsc {
            Some(rsc) => self[rsc].actions.push(ix),
            None => {
                self.singletons.insert(name, ix);
            }
        }
        ix
    }

    fn action_requires(&self, rsc: RscIx, name: Sym) -> Requires {
        let r = &self[rsc];
        if !matches!(name, task::START | task::PROMOTE) {
            Requires::Nothing
        } else if r.is(rf::NEEDS_FENCING) {
            Requires::Fencing
        } else if r.is(rf::NEEDS_QUORUM) {
            Requires::Quorum
        } else {
            Requires::Nothing
        }
    }

    fn update_optional(&mut self, action: ActionIx, optional: bool) {
        let a = &self[action];
        let unmanaged = a.rsc.is_some_and(|r| !self[r].is(rf::MANAGED));
        if unmanaged && a.node.is_some() && !a.is(af::PSEUDO) && !a.meta.has("interval") {
            self[action].set(af::OPTIONAL);
        } else if !optional {
            self[action].clear(af::OPTIONAL);
        }
    }

    fn update_runnable(&mut self, action: ActionIx) {
        let a = &self[action];
        let (Some(rsc), on_dc) = (a.rsc, a.is(af::ON_DC)) else { return };
        if a.is(af::PSEUDO) {
            return;
        }
        let Some(node) = a.node else {
            self[action].clear(af::RUNNABLE);
            return;
        };
        let n = &self[node];
        if !on_dc && !n.online && (!self.is_guest(node) || n.remote_reset) {
            let stop = self[action].task == task::STOP;
            self[action].clear(af::RUNNABLE);
            if self[rsc].is(rf::MANAGED) && stop && !self[node].unclean {
                self.fence_node(node, "stop is unrunnable", false);
            }
        } else if !on_dc && n.pending {
            self[action].clear(af::RUNNABLE);
        } else if self[action].needs == Requires::Nothing {
            self.set_reason(action, None, true);
            if self.is_guest(node) && !self.can_fence(node) {
                self[action].clear(af::RUNNABLE);
            } else {
                self[action].set(af::RUNNABLE);
            }
        } else {
            match self.quorum_policy(rsc) {
                NoQuorumPolicy::Stop => {
                    self[action].clear(af::RUNNABLE);
                    self.set_reason(action, Some("no quorum"), true);
                }
                NoQuorumPolicy::Freeze => {
                    let grows = self[rsc].next_role > self[rsc].orig_role;
                    if grows || !self.is_active(rsc, true) {
                        self[action].clear(af::RUNNABLE);
                        self.set_reason(action, Some("quorum freeze"), true);
                    }
                }
                _ => self[action].set(af::RUNNABLE),
            }
        }
    }

    fn quorum_policy(&mut self, rsc: RscIx) -> NoQuorumPolicy {
        if self.config.quorate {
            return NoQuorumPolicy::Ignore;
        }
        if self.config.no_quorum != NoQuorumPolicy::Demote {
            return self.config.no_quorum;
        }
        if self[rsc].orig_role < Role::Unpromoted {
            return NoQuorumPolicy::Stop;
        }
        if self[rsc].next_role > Role::Unpromoted {
            self.set_next_role(rsc, Role::Unpromoted);
        }
        NoQuorumPolicy::Ignore
    }

    /// Sets why an action is as it is, unless something was said already and is to stay.
    pub(crate) fn set_reason(&mut self, action: ActionIx, reason: Option<&str>, overwrite: bool) {
        if self[action].reason.is_none() || overwrite {
            self[action].reason = reason.map(Into::into);
        }
    }

    // Finding actions. Lists are in order of creation.

    /// Actions of a resource by name and interval. An action without node is taken for the one
    /// that is asked for, if any.
    pub(crate) fn find_actions(
        &mut self,
        rsc: RscIx,
        name: Sym,
        interval: u32,
        node: Option<NodeIx>,
    ) -> Actions {
        let mut found = Actions::new();
        for at in 0..self[rsc].actions.len() {
            let ix = self[rsc].actions[at];
            let a = &mut self[ix];
            if a.name != name || a.interval != interval {
                continue;
            }
            match (node, a.node) {
                (None, _) => found.push(ix),
                (Some(_), None) => {
                    a.node = node;
                    found.push(ix);
                }
                (Some(wanted), Some(is)) if wanted == is => found.push(ix),
                _ => {}
            }
        }
        found
    }

    /// As [`Ws::find_actions`] for what does not recur.
    pub(crate) fn actions_of(&mut self, rsc: RscIx, node: Option<NodeIx>, name: Sym) -> Actions {
        self.find_actions(rsc, name, 0, node)
    }

    /// Actions that are on this very node.
    pub(crate) fn actions_exact(
        &self,
        rsc: RscIx,
        name: Sym,
        interval: u32,
        node: NodeIx,
    ) -> Actions {
        let fits = |a: &ActionIx| {
            let a = &self[*a];
            a.name == name && a.interval == interval && a.node == Some(node)
        };
        self[rsc].actions.iter().copied().filter(fits).collect()
    }

    /// The newest action of a resource that does something, on a node if that is given.
    pub(crate) fn first_action(
        &self,
        rsc: RscIx,
        task: Sym,
        node: Option<NodeIx>,
    ) -> Option<ActionIx> {
        self[rsc].actions.iter().rev().copied().find(|a| {
            let a = &self[*a];
            a.task == task && (node.is_none() || a.node == node)
        })
    }

    /// The newest action of a resource of this name.
    pub(crate) fn first_named(
        &self,
        rsc: RscIx,
        name: Sym,
        interval: u32,
        node: Option<NodeIx>,
    ) -> Option<ActionIx> {
        self[rsc].actions.iter().rev().copied().find(|a| {
            let a = &self[*a];
            a.name == name && a.interval == interval && (node.is_none() || a.node == node)
        })
    }

    pub(crate) fn start_action(
        &mut self,
        rsc: RscIx,
        node: Option<NodeIx>,
        optional: bool,
    ) -> ActionIx {
        self.rsc_action(rsc, task::START, 0, task::START, node, optional)
    }

    pub(crate) fn stop_action(
        &mut self,
        rsc: RscIx,
        node: Option<NodeIx>,
        optional: bool,
    ) -> ActionIx {
        self.rsc_action(rsc, task::STOP, 0, task::STOP, node, optional)
    }

    pub(crate) fn promote_action(
        &mut self,
        rsc: RscIx,
        node: Option<NodeIx>,
        optional: bool,
    ) -> ActionIx {
        self.rsc_action(rsc, task::PROMOTE, 0, task::PROMOTE, node, optional)
    }

    pub(crate) fn demote_action(
        &mut self,
        rsc: RscIx,
        node: Option<NodeIx>,
        optional: bool,
    ) -> ActionIx {
        self.rsc_action(rsc, task::DEMOTE, 0, task::DEMOTE, node, optional)
    }

    /// The key that names an action everywhere.
    pub(crate) fn key_text(&self, action: ActionIx) -> String {
        let a = &self[action];
        let name = self.names.text(a.name);
        match a.rsc {
            Some(rsc) => [&*self[rsc].id, "_", name, "_", &a.interval.to_string()].concat(),
            None => name.to_string(),
        }
    }

    /// For primitives the action itself, for others the marker of its completion too.
    pub(crate) fn complex_task(&self, rsc: RscIx, name: Sym) -> Sym {
        if !name.is_known() {
            return task::NONE;
        }
        if self[rsc].variant == Variant::Primitive { name.uncompleted() } else { name }
    }

    pub(crate) fn role_after_failure(&self, rsc: RscIx, name: &str, on_fail: OnFail) -> Role {
        match on_fail {
            OnFail::Stop => Role::Stopped,
            OnFail::ResetRemote if self[rsc].remote_reconnect_ms != 0 => Role::Stopped,
            _ if name == "promote" => Role::Unpromoted,
            _ => Role::Started,
        }
    }
}
