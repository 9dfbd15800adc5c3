//! Actions of clones and bundles: those of their instances, and markers around them.

use cib_model::INFINITY;

use crate::base::{ActionIx, RscIx, Sym, Ws, af, rf, task};

/// What instances do, taken together.
#[derive(Clone, Copy, Debug, Default)]
struct Activity {
    active: bool,
    starting: bool,
    stopping: bool,
    restarting: bool,
}

impl Ws {
    fn note_activity(&self, instance: RscIx, activity: &mut Activity) {
        let r = &self[instance];
        if !self.is_primitive(instance) {
            r.children.iter().for_each(|c| self.note_activity(*c, activity));
            return;
        }
        let (mut starting, mut stopping) = (false, false);
        for action in &r.actions {
            let a = &self[*action];
            if a.is(af::OPTIONAL) {
                continue;
            }
            starting |= a.task == task::START && a.is(af::RUNNABLE);
            stopping |= a.task == task::STOP && a.any(af::PSEUDO | af::RUNNABLE);
        }
        activity.active |= !r.active.is_empty();
        activity.starting |= starting;
        activity.stopping |= stopping;
        activity.restarting |= starting && stopping;
    }

    fn create_instance_actions(&mut self, collective: RscIx, instances: &[RscIx]) {
        let mut activity = Activity::default();
        for instance in instances {
            self.create_actions(*instance);
            self.note_activity(*instance, &mut activity);
        }
        let start = self.rsc_pseudo(collective, task::START, !activity.starting, true);
        let started = self.rsc_pseudo(collective, task::RUNNING, !activity.starting, false);
        self[started].priority = INFINITY;
        let pending = instances.iter().any(|i| self.is_pending_inside(*i, task::START));
        self.heed_pending_inside(started, pending);
        if activity.active || activity.starting {
            self[started].set(af::RUNNABLE);
        }
        let stop = self.rsc_pseudo(collective, task::STOP, !activity.stopping, true);
        let stopped = self.rsc_pseudo(collective, task::STOPPED, !activity.stopping, true);
        self[stopped].priority = INFINITY;
        if !activity.restarting {
            self[stop].set(af::MIGRATABLE);
        }
        if self.is_clone(collective) {
            self.start_stop_notifications(collective, start, started, stop, stopped);
        }
    }

    /// Whether that is under way for a primitive in a resource.
    pub(crate) fn is_pending_inside(&self, rsc: RscIx, task: Sym) -> bool {
        let r = &self[rsc];
        r.pending_action == Some(task)
            || r.children.iter().any(|c| self.is_pending_inside(*c, task))
    }

    /// What is ordered after a whole group or clone waits for what is under way in it: the action
    /// that stands for its end is then part of the plan, though it is none that has to be done.
    pub(crate) fn heed_pending_inside(&mut self, end: ActionIx, pending: bool) {
        if pending && self.config.under_way {
            self[end].set(af::ALWAYS_IN_GRAPH);
        }
    }

    pub(crate) fn create_clone_actions(&mut self, clone: RscIx) {
        let instances = self[clone].children.clone();
        self.create_instance_actions(clone, &instances);
        if self[clone].is(rf::PROMOTABLE) {
            self.create_promotable_actions(clone);
        }
    }

    pub(crate) fn create_bundle_actions(&mut self, bundle: RscIx) {
        for replica in self[bundle].bundle.replicas.clone() {
            let parts = [replica.ip, Some(replica.container), replica.remote];
            parts.into_iter().flatten().for_each(|part| self.create_actions(part));
        }
        let containers = self.containers(bundle);
        self.create_instance_actions(bundle, &containers);
        let Some(inner) = self.bundled_clone(bundle) else { return };
        self.create_actions(inner);
        if self[inner].is(rf::PROMOTABLE) {
            self.rsc_pseudo(bundle, task::PROMOTE, true, true);
            let promoted = self.rsc_pseudo(bundle, task::PROMOTED, true, true);
            self[promoted].priority = INFINITY;
            self.rsc_pseudo(bundle, task::DEMOTE, true, true);
            let demoted = self.rsc_pseudo(bundle, task::DEMOTED, true, true);
            self[demoted].priority = INFINITY;
        }
    }

    fn role_changes(&self, rsc: RscIx, promoting: &mut bool, demoting: &mut bool) {
        let r = &self[rsc];
        if !r.children.is_empty() {
            r.children.iter().for_each(|c| self.role_changes(*c, promoting, demoting));
            return;
        }
        for action in r.actions.iter().filter(|a| !self[**a].is(af::OPTIONAL)) {
            *promoting |= self[*action].task == task::PROMOTE;
            *demoting |= self[*action].task == task::DEMOTE;
        }
    }

    fn create_promotable_actions(&mut self, clone: RscIx) {
        let (mut promoting, mut demoting) = (false, false);
        for instance in self[clone].children.clone() {
            self.create_actions(instance);
            self.role_changes(instance, &mut promoting, &mut demoting);
        }
        let promote = self.rsc_pseudo(clone, task::PROMOTE, !promoting, true);
        let promoted = self.rsc_pseudo(clone, task::PROMOTED, !promoting, true);
        self[promoted].priority = INFINITY;
        let pending = self.is_pending_inside(clone, task::PROMOTE);
        self.heed_pending_inside(promoted, pending);
        let demote = (task::DEMOTE, !demoting);
        self.role_notifications(clone, promote, promoted, demote);
        for instance in self[clone].children.clone() {
            self[instance].priority = self[clone].priority;
        }
    }
}
