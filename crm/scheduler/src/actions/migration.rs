//! Live migration.

use crate::base::{ActionIx, NodeIx, RscIx, Ws, af, ar, rf, task};

impl Ws {
    /// Whether a resource may be moved without a stop.
    pub(crate) fn can_migrate(&self, rsc: RscIx, current: Option<NodeIx>) -> bool {
        let r = &self[rsc];
        let clean = |node: Option<NodeIx>| node.is_some_and(|n| !self[n].unclean);
        r.is(rf::MIGRATABLE | rf::MANAGED)
            && !r.any(rf::FAILED | rf::START_PENDING)
            && clean(current)
            && clean(r.assigned_node())
    }

    fn migration_meta(&mut self, action: ActionIx, source: NodeIx, target: NodeIx) {
        let (source, target) = (self[source].name.clone(), self[target].name.clone());
        let meta = &mut self[action].meta;
        meta.set("migrate_source", &source);
        meta.set("migrate_target", &target);
    }

    /// Replaces stop and start by a migration, unless relations forbid it later.
    pub(crate) fn migration_actions(&mut self, rsc: RscIx, current: NodeIx, target: NodeIx) {
        let partial = self[rsc].partial_target.is_some();
        let start = self.start_action(rsc, Some(target), true);
        let stop = self.stop_action(rsc, Some(current), true);
        let to = task::MIGRATE_TO;
        let from = task::MIGRATE_FROM;
        let migrate_to = (!partial).then(|| self.rsc_action(rsc, to, 0, to, Some(current), true));
        let migrate_from = self.rsc_action(rsc, from, 0, from, Some(target), true);
        self[start].set(af::MIGRATABLE | af::PSEUDO);
        self[stop].set(af::MIGRATABLE);
        self[migrate_from].set(af::MIGRATABLE);
        let needs = self[start].needs;
        let blocks = ar::ORDERED | ar::UNMIGRATABLE_THEN_BLOCKS;
        match migrate_to {
            Some(migrate_to) => {
                self[migrate_to].set(af::MIGRATABLE);
                self[migrate_to].needs = needs;
                self.order_rscs(rsc, task::MONITOR, rsc, to, ar::ORDERED);
                self.order_rscs(rsc, to, rsc, from, blocks);
            }
            None => {
                self[migrate_from].needs = needs;
                self.order_rscs(rsc, task::MONITOR, rsc, from, ar::ORDERED);
            }
        }
        self.order_rscs(rsc, from, rsc, task::STOP, blocks);
        self.order_rscs(rsc, from, rsc, task::START, blocks | ar::FIRST_ELSE_THEN);
        if let Some(migrate_to) = migrate_to {
            self.migration_meta(migrate_to, current, target);
            if !self[rsc].is(rf::REMOTE_CONNECTION) {
                // The history has to say that a migration was under way if it is cut short.
                self[migrate_to].meta.set("record-pending", "true");
            }
        }
        self.migration_meta(migrate_from, current, target);
    }
}
