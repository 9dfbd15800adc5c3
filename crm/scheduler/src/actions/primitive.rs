//! Which starts, stops, promotions and demotions a resource needs.

use cib_model::Role;

use crate::base::{ActionIx, MultiplyActive, NodeIx, RscIx, Variant, Ws, af, ar, rf, task};

/// One step between roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stop,
    Start,
    Promote,
    Demote,
    /// There is no such step: something is wrong with the roles.
    Invalid,
}

/// The next step on the way from a role to another, with the role that it leads to; `None` if
/// nothing has to be done.
fn next_step(role: Role, goal: Role) -> Option<(Step, Role)> {
    let down = goal <= Role::Stopped;
    match role {
        Role::Unknown if goal == Role::Unknown => Some((Step::Invalid, Role::Unknown)),
        Role::Unknown => Some((Step::Stop, Role::Stopped)),
        Role::Stopped if down => None,
        Role::Stopped if goal == Role::Started => Some((Step::Start, Role::Started)),
        Role::Stopped => Some((Step::Start, Role::Unpromoted)),
        Role::Started if down => Some((Step::Stop, Role::Stopped)),
        Role::Started | Role::Unpromoted if goal == Role::Promoted => {
            Some((Step::Promote, Role::Promoted))
        }
        Role::Started => None,
        Role::Unpromoted if goal == Role::Unpromoted => None,
        Role::Unpromoted => Some((Step::Stop, Role::Stopped)),
        Role::Promoted if goal == Role::Promoted => None,
        Role::Promoted if goal == Role::Unknown => Some((Step::Demote, Role::Stopped)),
        Role::Promoted => Some((Step::Demote, Role::Unpromoted)),
    }
}

/// What stands between a resource's present and its intended state.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    stop: bool,
    promote: bool,
    moving: bool,
    migrate: bool,
}

impl Ws {
    /// Makes all actions of a resource.
    pub(crate) fn create_actions(&mut self, rsc: RscIx) {
        match self[rsc].variant {
            Variant::Primitive => self.create_primitive_actions(rsc),
            Variant::Group => self.create_group_actions(rsc),
            Variant::Clone => self.create_clone_actions(rsc),
            Variant::Bundle => self.create_bundle_actions(rsc),
        }
    }

    fn create_group_actions(&mut self, rsc: RscIx) {
        for member in self[rsc].children.clone() {
            self.create_actions(member);
        }
        let mut names = vec![task::START, task::RUNNING, task::STOP, task::STOPPED];
        if self.meta_true(rsc, "promotable") {
            names.extend([task::DEMOTE, task::DEMOTED, task::PROMOTE, task::PROMOTED]);
        }
        for name in names {
            let end = self.rsc_pseudo(rsc, name, true, true);
            let pending = match name {
                task::RUNNING => self.is_pending_inside(rsc, task::START),
                task::PROMOTED => self.is_pending_inside(rsc, task::PROMOTE),
                _ => false,
            };
            self.heed_pending_inside(end, pending);
        }
    }

    fn create_primitive_actions(&mut self, rsc: RscIx) {
        if self[rsc].next_role == Role::Unknown {
            let there = self[rsc].assigned.is_some();
            self.set_next_role(rsc, if there { Role::Started } else { Role::Stopped });
        }
        let (current, all_active, clean_active) = self.active_node(rsc);
        for source in self[rsc].dangling_sources.clone().into_iter().rev() {
            let stop = self.stop_action(rsc, Some(source), false);
            self[stop].set(af::MIGRATION_ABORT);
        }
        let assigned = self[rsc].assigned_node();
        let mut needs = Needs::default();
        if current.is_some()
            && assigned.is_some()
            && current != assigned
            && self[rsc].next_role >= Role::Started
        {
            needs.moving = true;
            needs.migrate = self.can_migrate(rsc, current);
            needs.stop = true;
        }
        self.check_multiply_active(rsc, current, (all_active, clean_active), &mut needs);
        if self[rsc].is(rf::START_PENDING) {
            let start = self.start_action(rsc, assigned, true);
            self[start].set(af::ALWAYS_IN_GRAPH);
        }
        if self.config.under_way && self[rsc].is(rf::MANAGED) {
            self.heed_pending(rsc, current, &mut needs);
        }
        if needs.moving {
            // It is stopped anyway.
        } else if self[rsc].is(rf::FAILED) {
            if self[rsc].is(rf::STOP_IF_FAILED) {
                needs.stop = true;
            } else if self[rsc].next_role == Role::Promoted {
                needs.promote = true;
            }
        } else if self[rsc].is(rf::BLOCKED) {
            needs.stop = true;
        } else if self[rsc].orig_role > Role::Started && current.is_some() && assigned.is_some() {
            let start = self.start_action(rsc, assigned, true);
            if !self[start].is(af::OPTIONAL) {
                needs.stop = true;
            }
        }
        self.restart_actions(rsc, needs);
        let mut role = self[rsc].orig_role;
        while role != self[rsc].next_role {
            let Some((step, next)) = next_step(role, self[rsc].next_role) else { break };
            self.do_step(rsc, step, assigned, false);
            if step == Step::Invalid {
                break;
            }
            role = next;
        }
        self.recurring_actions(rsc);
        if let (true, Some(current), Some(target)) = (needs.migrate, current, assigned) {
            self.migration_actions(rsc, current, target);
        }
    }

    /// What is under way ends before anything else is done with the resource.
    fn heed_pending(&mut self, rsc: RscIx, current: Option<NodeIx>, needs: &mut Needs) {
        let promoted = self[rsc].next_role == Role::Promoted;
        // Where it has migrated away from, its stop leaves it running.
        let left = |node: NodeIx| self[rsc].dangling_sources.contains(&node);
        let leaves = self[rsc].pending_node.is_some_and(left);
        match self[rsc].pending_action {
            Some(task::STOP) if current.is_some() && !leaves => {
                needs.stop = true;
                needs.migrate = false;
            }
            Some(task::DEMOTE) if promoted && self[rsc].orig_role == Role::Promoted => {
                needs.promote = true;
                self.demote_action(rsc, current, false);
            }
            Some(task::PROMOTE) if promoted => {
                let assigned = self[rsc].assigned_node();
                let promote = self.promote_action(rsc, assigned, true);
                self[promote].set(af::ALWAYS_IN_GRAPH);
            }
            _ => {}
        }
    }

    fn check_multiply_active(
        &mut self,
        rsc: RscIx,
        current: Option<NodeIx>,
        (all, clean): (u32, u32),
        needs: &mut Needs,
    ) {
        let (source, target) = (self[rsc].partial_source, self[rsc].partial_target);
        let mut multiple = false;
        if source.is_some()
            && target.is_some()
            && needs.migrate
            && all == 2
            && current == source
            && self[rsc].assigned_node() == target
        {
            // The migration goes on.
        } else if source.is_some() || target.is_some() {
            needs.stop = true;
            needs.migrate = false;
            self[rsc].partial_source = None;
            self[rsc].partial_target = None;
        } else if self[rsc].is(rf::NEEDS_FENCING) {
            multiple = all > 1;
        } else {
            multiple = clean > 1;
        }
        if !multiple {
            self[rsc].clear(rf::STOP_UNEXPECTED);
            return;
        }
        let class = self[rsc].def.class.clone();
        let text = format!(
            "{} resource {} might be active on {all} nodes",
            class.as_deref().unwrap_or("Untyped"),
            self[rsc].id
        );
        self.error(text);
        match self[rsc].multiply_active {
            MultiplyActive::Restart => needs.stop = true,
            MultiplyActive::Unexpected => {
                needs.stop = true;
                self[rsc].set(rf::STOP_UNEXPECTED);
            }
            _ => {}
        }
    }

    /// All the way down and up again; what turns out not to be needed stays optional.
    fn restart_actions(&mut self, rsc: RscIx, needs: Needs) {
        self[rsc].set(rf::RESTARTING);
        let mut role = self[rsc].orig_role;
        while role != Role::Stopped {
            let Some((step, next)) = next_step(role, Role::Stopped) else { break };
            self.do_step(rsc, step, None, !needs.stop);
            role = next;
        }
        let orig = self[rsc].orig_role;
        while orig <= self[rsc].next_role && role != orig && !self[rsc].is(rf::BLOCKED) {
            let Some((step, next)) = next_step(role, orig) else { break };
            let required = needs.stop || (next == Role::Promoted && needs.promote);
            let node = self[rsc].assigned_node();
            self.do_step(rsc, step, node, !required);
            if step == Step::Invalid {
                break;
            }
            role = next;
        }
        self[rsc].clear(rf::RESTARTING);
    }

    fn do_step(&mut self, rsc: RscIx, step: Step, node: Option<NodeIx>, optional: bool) {
        match step {
            Step::Stop => self.stop_everywhere(rsc, optional),
            Step::Start => self.start_on(rsc, node, optional),
            Step::Promote => self.promote_on(rsc, node, optional),
            Step::Demote => {
                for node in self[rsc].active.clone() {
                    if !self.is_expected_on(rsc, Some(node)) {
                        self.demote_action(rsc, Some(node), optional);
                    }
                }
            }
            Step::Invalid => {}
        }
    }

    /// Whether a multiply active resource may stay on a node.
    fn is_expected_on(&self, rsc: RscIx, node: Option<NodeIx>) -> bool {
        let r = &self[rsc];
        r.is(rf::STOP_UNEXPECTED | rf::RESTARTING)
            && r.next_role > Role::Stopped
            && node.is_some()
            && r.assigned_node() == node
    }

    fn stop_everywhere(&mut self, rsc: RscIx, optional: bool) {
        let mut optional = optional;
        for node in self[rsc].active.clone() {
            if self.is_expected_on(rsc, Some(node)) {
                continue;
            }
            let assigned = self[rsc].assigned_node();
            if let Some(target) = self[rsc].partial_target {
                if node == target && assigned == Some(node) {
                    continue;
                }
                optional = false;
            }
            let stop = self.stop_action(rsc, Some(node), optional);
            if assigned.is_none() {
                self.set_reason(stop, Some("node availability"), true);
            } else if self[rsc].is(rf::RESTARTING | rf::STOP_UNEXPECTED) {
                self.set_reason(stop, Some("being multiply active"), true);
            }
            if !self[rsc].is(rf::MANAGED) {
                self[stop].clear(af::RUNNABLE);
            }
            if self[rsc].is(rf::NEEDS_UNFENCING) {
                let unfence = self.fence_op(node, Some("on"), true, None, false);
                self.order_actions(Some(stop), Some(unfence), ar::THEN_IMPLIES_FIRST);
                if !self.is_unfenced_node(node) {
                    let text = format!(
                        "Stopping {} until {} can be unfenced",
                        self[rsc].id, self[node].name
                    );
                    self.error(text);
                }
            }
        }
    }

    fn start_on(&mut self, rsc: RscIx, node: Option<NodeIx>, optional: bool) {
        let start = self.start_action(rsc, node, true);
        if let Some(node) = node {
            self.order_vs_unfencing(rsc, node, start, ar::FIRST_IMPLIES_THEN);
        }
        if self[start].is(af::RUNNABLE) && !optional {
            self[start].clear(af::OPTIONAL);
        }
        if self.is_expected_on(rsc, node) {
            self[start].set(af::PSEUDO);
        }
    }

    fn promote_on(&mut self, rsc: RscIx, node: Option<NodeIx>, optional: bool) {
        let on =
            |ws: &Ws, name| node.map(|n| ws.actions_exact(rsc, name, 0, n)).unwrap_or_default();
        let starts = on(self, task::START);
        if starts.iter().all(|s| self[*s].is(af::RUNNABLE)) {
            let promote = self.promote_action(rsc, node, optional);
            if self.is_expected_on(rsc, node) {
                self[promote].set(af::PSEUDO);
            }
        } else {
            for promote in on(self, task::PROMOTE) {
                self[promote].clear(af::RUNNABLE);
            }
        }
    }

    /// Removes what an executor knows about a resource.
    pub(crate) fn schedule_cleanup(&mut self, rsc: RscIx, node: NodeIx, optional: bool) {
        let flags = if optional { ar::FIRST_IMPLIES_THEN } else { ar::ORDERED };
        if self[rsc].is(rf::FAILED) || self[node].unclean || !self[node].online {
            return;
        }
        self.delete_action(rsc, node, optional);
        self.order_rscs(rsc, task::STOP, rsc, task::DELETE, flags);
        self.order_rscs(rsc, task::DELETE, rsc, task::START, flags);
    }

    fn delete_action(&mut self, rsc: RscIx, node: NodeIx, optional: bool) -> ActionIx {
        self.rsc_action(rsc, task::DELETE, 0, task::DELETE, Some(node), optional)
    }
}
