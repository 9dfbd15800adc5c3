//! How relations and flags of collective resources' actions follow from those of their parts.

use cib_model::Role;
use smallvec::SmallVec;

use crate::base::{ActionIx, NodeIx, RscIx, Sym, Variant, Where, Ws, af, ar, rf, task};

/// Which side of a relation changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) first: bool,
    pub(crate) then: bool,
}

impl Changed {
    pub(crate) fn add(&mut self, other: Changed) {
        self.first |= other.first;
        self.then |= other.then;
    }
}

impl Ws {
    /// The parts of a collective resource that count as its instances.
    pub(crate) fn instances(&self, rsc: RscIx) -> Vec<RscIx> {
        if self.is_bundle(rsc) { self.containers(rsc) } else { self[rsc].children.clone() }
    }

    /// An action's flags, for a node if that is given.
    pub(crate) fn action_flags(&mut self, action: ActionIx, node: Option<NodeIx>) -> u32 {
        let Some(rsc) = self[action].rsc else { return self[action].flags };
        match self[rsc].variant {
            Variant::Primitive => self[action].flags,
            Variant::Group => self.group_flags(action, rsc, node),
            Variant::Clone => {
                let instances = SmallVec::<[_; 16]>::from_slice(&self[rsc].children);
                self.collective_flags(action, rsc, &instances, node)
            }
            Variant::Bundle => self.bundle_flags(action, rsc, node),
        }
    }

    fn group_flags(&mut self, action: ActionIx, rsc: RscIx, node: Option<NodeIx>) -> u32 {
        let mut flags = af::OPTIONAL | af::RUNNABLE | af::PSEUDO;
        let own = self[action].task;
        for at in 0..self[rsc].children.len() {
            let member = self[rsc].children[at];
            let wanted = self.complex_task(member, own);
            match self.first_action(member, wanted, node) {
                Some(found) => {
                    let member_flags = self.action_flags(found, node);
                    if flags & af::OPTIONAL != 0 && member_flags & af::OPTIONAL == 0 {
                        flags &= !af::OPTIONAL;
                        self[action].clear(af::OPTIONAL);
                    }
                    if wanted != own
                        && flags & af::RUNNABLE != 0
                        && member_flags & af::RUNNABLE == 0
                    {
                        flags &= !af::RUNNABLE;
                        self[action].clear(af::RUNNABLE);
                    }
                }
                None if !matches!(wanted, task::STOP | task::DEMOTE) => flags &= !af::RUNNABLE,
                None => {}
            }
        }
        flags
    }

    /// The action of instances that a collective resource's action stands for.
    fn instance_task(&self, action: ActionIx, rsc: RscIx) -> Sym {
        let a = &self[action];
        let Some(instance) = self[rsc].children.first() else { return task::NONE };
        let mut name = a.task;
        if matches!(a.task, task::NOTIFY | task::NOTIFIED) {
            let text = self.names.text(a.name);
            name = match text.split_once("_notify_") {
                Some((_, "stop")) => task::STOP,
                Some((_, "stopped")) => task::STOPPED,
                Some((_, "start")) => task::START,
                Some((_, "running")) => task::RUNNING,
                Some((_, "promote")) => task::PROMOTE,
                Some((_, "promoted")) => task::PROMOTED,
                Some((_, "demote")) => task::DEMOTE,
                Some((_, "demoted")) => task::DEMOTED,
                _ => task::NONE,
            };
        }
        self.complex_task(*instance, name)
    }

    fn collective_flags(
        &mut self,
        action: ActionIx,
        rsc: RscIx,
        instances: &[RscIx],
        node: Option<NodeIx>,
    ) -> u32 {
        let wanted = self.instance_task(action, rsc);
        let mut flags = af::OPTIONAL | af::RUNNABLE | af::PSEUDO;
        let mut any_runnable = false;
        for instance in instances {
            let on = if self.is_primitive(*instance) { node } else { None };
            let Some(found) = self.first_action(*instance, wanted, on) else { continue };
            let instance_flags = self.action_flags(found, node);
            if flags & af::OPTIONAL != 0 && instance_flags & af::OPTIONAL == 0 {
                flags &= !af::OPTIONAL;
                self[action].clear(af::OPTIONAL);
            }
            any_runnable |= instance_flags & af::RUNNABLE != 0;
        }
        if !any_runnable {
            flags &= !af::RUNNABLE;
            if node.is_none() {
                self[action].clear(af::RUNNABLE);
            }
        }
        flags
    }

    fn bundle_flags(&mut self, action: ActionIx, rsc: RscIx, node: Option<NodeIx>) -> u32 {
        if let Some(inner) = self.bundled_clone(rsc) {
            let inside = matches!(
                self.complex_task(inner, self[action].task),
                task::NONE
                    | task::NOTIFY
                    | task::NOTIFIED
                    | task::PROMOTE
                    | task::PROMOTED
                    | task::DEMOTE
                    | task::DEMOTED
            );
            if inside {
                let instances = SmallVec::<[_; 16]>::from_slice(&self[inner].children);
                return self.collective_flags(action, rsc, &instances, node);
            }
        }
        let containers = self.containers(rsc);
        self.collective_flags(action, rsc, &containers, node)
    }

    /// Works one kind of relation out in the manner of `rsc`, which is the one of either action.
    #[allow(clippy::too_many_arguments, reason = "they are one thought")]
    pub(crate) fn update_ordered(
        &mut self,
        rsc: RscIx,
        first: ActionIx,
        then: ActionIx,
        node: Option<NodeIx>,
        flags: u32,
        filter: u32,
        kind: u32,
    ) -> Changed {
        match self[rsc].variant {
            Variant::Primitive => self.update_plain(first, then, flags, filter, kind),
            Variant::Group => self.update_group(first, then, node, flags, filter, kind),
            _ => self.update_instances(first, then, node, flags, filter, kind),
        }
    }

    fn update_group(
        &mut self,
        first: ActionIx,
        then: ActionIx,
        node: Option<NodeIx>,
        flags: u32,
        filter: u32,
        kind: u32,
    ) -> Changed {
        let mut changed = self.update_plain(first, then, flags, filter, kind);
        let Some(group) = self[then].rsc else { return changed };
        for member in self[group].children.clone() {
            let wanted = self[then].task;
            if let Some(own) = self.first_action(member, wanted, node) {
                changed.add(self.update_ordered(member, first, own, node, flags, filter, kind));
            }
        }
        changed
    }

    fn update_instances(
        &mut self,
        first: ActionIx,
        then: ActionIx,
        node: Option<NodeIx>,
        flags: u32,
        filter: u32,
        kind: u32,
    ) -> Changed {
        let Some(then_rsc) = self[then].rsc else { return Changed::default() };
        if self.can_interleave(first, then) {
            return self.update_interleaved(first, then, node, filter, kind);
        }
        let mut changed = self.update_plain(first, then, flags, filter, kind);
        for instance in self.instances(then_rsc) {
            let wanted = self[then].task;
            let Some(own) = self.first_action(instance, wanted, node) else { continue };
            if self.action_flags(own, node) & af::RUNNABLE == 0 {
                continue;
            }
            let own_changed = self.update_ordered(instance, first, own, node, flags, filter, kind);
            changed.add(own_changed);
            if own_changed.then {
                for k in (0..self[own].after.len()).rev() {
                    let after = self[own].after[k].action;
                    self.update_for_orderings(after);
                }
            }
        }
        changed
    }

    /// Whether instances wait for the one on their node only.
    fn can_interleave(&self, first: ActionIx, then: ActionIx) -> bool {
        let (Some(r1), Some(r2)) = (self[first].rsc, self[then].rsc) else { return false };
        if r1 == r2 || self[r1].variant < Variant::Clone || self[r2].variant < Variant::Clone {
            return false;
        }
        let name = self[then].name;
        let down = self[then].interval == 0
            && (self.names.ends_with(name, "stop") || self.names.ends_with(name, "demote"));
        self.meta_true(if down { r1 } else { r2 }, "interleave")
    }

    fn update_interleaved(
        &mut self,
        first: ActionIx,
        then: ActionIx,
        node: Option<NodeIx>,
        filter: u32,
        kind: u32,
    ) -> Changed {
        let mut changed = Changed::default();
        let (Some(first_rsc), Some(then_rsc)) = (self[first].rsc, self[then].rsc) else {
            return changed;
        };
        let first_task = self.instance_task(first, first_rsc);
        let name = self[first].name;
        let current = self[first].interval == 0
            && (self.names.ends_with(name, "stopped") || self.names.ends_with(name, "demoted"));
        for then_instance in self.instances(then_rsc) {
            let found =
                self.compatible_instance(then_instance, first_rsc, Role::Unknown, current, None);
            let Some(first_instance) = found else {
                let mandatory = kind & (ar::UNRUNNABLE_FIRST_BLOCKS | ar::FIRST_IMPLIES_THEN) != 0;
                if !current && mandatory && self.assign_to(then_instance, None, true, true) {
                    changed.then = true;
                }
                continue;
            };
            let first_own = self.instance_action(first, first_instance, first_task, node, true);
            let Some(first_own) = first_own else { continue };
            let wanted = self[then].task;
            let then_own = self.instance_action(then, then_instance, wanted, node, false);
            let Some(then_own) = then_own else { continue };
            if self.order_actions(Some(first_own), Some(then_own), kind) {
                changed.first = true;
                changed.then = true;
            }
            // The action may be that of a resource inside of the instance's container.
            let flags = match self[first_instance].variant {
                Variant::Primitive => self[first_own].flags,
                _ => self.action_flags(first_own, node),
            };
            let own =
                self.update_ordered(then_instance, first_own, then_own, node, flags, filter, kind);
            changed.add(own);
        }
        changed
    }

    fn instance_action(
        &self,
        action: ActionIx,
        instance: RscIx,
        name: Sym,
        node: Option<NodeIx>,
        for_first: bool,
    ) -> Option<ActionIx> {
        let own = self[action].task;
        let roles = matches!(own, task::PROMOTE | task::PROMOTED | task::DEMOTE | task::DEMOTED);
        let inside = if for_first { !matches!(own, task::STOP | task::STOPPED) } else { roles };
        match self.inside(instance).filter(|_| inside) {
            Some(child) => self.first_action(child, name, None),
            None => self.first_action(instance, name, node),
        }
    }

    /// Whether an instance is on a node (or one with the same value of an attribute), in a role.
    pub(crate) fn instance_matches(
        &self,
        instance: RscIx,
        node: NodeIx,
        role: Role,
        current: bool,
        attr: Option<&str>,
    ) -> bool {
        if role != Role::Unknown && role != self.state(instance, current) {
            return false;
        }
        if self.flag_anywhere(instance, rf::BLOCKED) {
            return false;
        }
        let place = if current { Where::Current } else { Where::Assigned };
        let Some(own) = self.location(instance, place) else { return false };
        match attr {
            Some(attr) => {
                let value = |n| self.coloc_attr(n, attr, Some(instance));
                match (value(own), value(node)) {
                    (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                    (None, None) => true,
                    _ => false,
                }
            }
            None => own == node,
        }
    }

    /// The instance of `rsc` that goes with `with`.
    pub(crate) fn compatible_instance(
        &self,
        with: RscIx,
        rsc: RscIx,
        role: Role,
        current: bool,
        attr: Option<&str>,
    ) -> Option<RscIx> {
        let place = if current { Where::Current } else { Where::Assigned };
        let instances = self.instances(rsc);
        let on = |node: NodeIx| {
            instances.iter().copied().find(|i| self.instance_matches(*i, node, role, current, attr))
        };
        if let Some(node) = self.location(with, place) {
            return on(node);
        }
        self.sorted_nodes(&self[with].allowed, None).into_iter().find_map(on)
    }
}
