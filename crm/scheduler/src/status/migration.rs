//! What migrations left behind: where the resource is after one that worked, failed or was cut
//! short.

use cib_model::{HistoryOp, Role, Str};

use super::history::compare_ops;
use super::outcome::History;
use crate::base::{OpRef, RscIx, Ws, rf};

impl Ws {
    /// The one recorded operation of a kind, to or from `peer` if that is given.
    fn find_op(
        &self,
        rsc: &str,
        name: &str,
        node: &str,
        peer: Option<&str>,
        target_rc: Option<i32>,
    ) -> Option<OpRef> {
        let fits = |op: &HistoryOp| {
            let other = match name {
                "migrate_to" => op.migrate_target(),
                "migrate_from" => op.migrate_source(),
                _ => None,
            };
            op.operation() == Some(name)
                && (peer.is_none() || !name.starts_with("migrate") || other == peer)
        };
        let mut found = self.ops_of(node, rsc).into_iter().filter(|o| fits(self.op(*o)));
        let one = found.next()?;
        if found.next().is_some() {
            return None;
        }
        let op = self.op(one);
        let done = |rc| op.rc == Some(rc) && op.status == Some(0);
        target_rc.is_none_or(done).then_some(one)
    }

    fn unknown_on(&self, rsc: RscIx, node: &str) -> bool {
        let id = self[rsc].id.clone();
        self.ops_of(node, &id).into_iter().all(|o| self.op(o).rc.is_none_or(|rc| rc == 193))
    }

    /// Whether something other than a monitor was recorded after `op`.
    fn acted_after(&self, rsc: &str, node: &str, op: OpRef) -> bool {
        if self.history_of(node, rsc).count() != 1 {
            return false;
        }
        self.ops_of(node, rsc).into_iter().any(|other| {
            let name = self.op(other).operation();
            other != op
                && matches!(name, Some("start" | "stop" | "migrate_to" | "migrate_from"))
                && compare_ops(self.op(other), self.op(op)) > 0
        })
    }

    /// Whether what was recorded after `op` is no more than a stop that is still under way: the one
    /// that ends a migration. Who waits for what is under way before it plans never sees that.
    fn only_stops_after(&self, rsc: &str, node: &str, op: OpRef) -> bool {
        let newer = |other: &HistoryOp| compare_ops(other, self.op(op)) > 0;
        let acts = |name| matches!(name, Some("start" | "stop" | "migrate_to" | "migrate_from"));
        self.config.under_way
            && self.ops_of(node, rsc).into_iter().filter(|other| *other != op).all(|other| {
                let other = self.op(other);
                let stops = other.operation() == Some("stop") && other.status == Some(-1);
                !acts(other.operation()) || stops || !newer(other)
            })
    }

    fn not_running_after(&self, rsc: &str, node: &str, op: OpRef) -> bool {
        self.find_op(rsc, "monitor", node, None, Some(7))
            .is_some_and(|m| compare_ops(self.op(m), self.op(op)) > 0)
    }

    fn newer_state(&self, rsc: &str, node: &str, to: Option<OpRef>, from: Option<OpRef>) -> bool {
        let Some(mut op) = from.or(to) else { return false };
        let source = self.op(op).migrate_source();
        if let (Some(to), true) = (to, from.is_some())
            && source.is_some_and(|s| s.eq_ignore_ascii_case(node))
        {
            op = to;
        }
        self.acted_after(rsc, node, op) || self.not_running_after(rsc, node, op)
    }

    /// Source and target of a migration, if the record makes sense.
    fn migration_nodes(&mut self, h: &History, at_source: bool) -> Option<(Str, Str)> {
        let op = self.op(h.op);
        let (source, target) = (op.migrate_source()?, op.migrate_target()?);
        let own = if at_source { source } else { target };
        let sound = own.eq_ignore_ascii_case(&self[h.node].name);
        sound.then(|| (source.into(), target.into()))
    }

    pub(crate) fn succeeded_migrate_to(&mut self, h: &History) {
        let Some((source, target)) = self.migration_nodes(h, true) else { return };
        let id = self[h.rsc].id.clone();
        let source_newer = self.acted_after(&id, &source, h.op);
        let from = self.find_op(&id, "migrate_from", &target, Some(&source), None);
        let (mut from_rc, mut from_status) = (0, -1);
        if let Some(from) = from {
            from_rc = self.op(from).rc.unwrap_or(0);
            from_status = self.op(from).status.unwrap_or(-1);
            let succeeded = from_rc == 0 && from_status == 0;
            if source_newer && !(succeeded && self.only_stops_after(&id, &source, h.op)) {
                return;
            }
        }
        let target_newer = self.newer_state(&id, &target, Some(h.op), from);
        if source_newer && target_newer {
            return;
        }
        if from_rc == 0 && from_status == 0 {
            // It runs on the target, but was not stopped on the source yet.
            self[h.rsc].orig_role = Role::Stopped;
            self[h.rsc].dangling_sources.push(h.node);
            return;
        }
        self[h.rsc].orig_role = Role::Started;
        let target_node = self.find_node(&target);
        let active_target = target_node.filter(|n| !target_newer && self[*n].online);
        if from_status != -1 {
            match active_target {
                Some(node) => self.add_running(h.rsc, node, true),
                None => self.fail_migration(h.rsc),
            }
            return;
        }
        if target_node.is_some_and(|n| self[n].online) && self.unknown_on(h.rsc, &target) {
            return;
        }
        if let Some(node) = active_target {
            let source_node = self.find_node(&source);
            self.add_running(h.rsc, node, false);
            if let Some(from) = source_node.filter(|n| self[*n].online) {
                self[h.rsc].partial_target = Some(node);
                self[h.rsc].partial_source = Some(from);
            }
        } else if !source_newer {
            self.fail_migration(h.rsc);
        }
    }

    fn fail_migration(&mut self, rsc: RscIx) {
        self[rsc].set(rf::FAILED | rf::STOP_IF_FAILED);
        self[rsc].clear(rf::MIGRATABLE);
    }

    pub(crate) fn failed_migrate_to(&mut self, h: &History) {
        let Some((source, target)) = self.migration_nodes(h, true) else { return };
        self[h.rsc].orig_role = Role::Started;
        let id = self[h.rsc].id.clone();
        let from = self.find_op(&id, "migrate_from", &target, Some(&source), Some(0));
        if !self.unknown_on(h.rsc, &target) && !self.newer_state(&id, &target, Some(h.op), from) {
            if let Some(node) = self.find_node(&target).filter(|n| self[*n].online) {
                self.add_running(h.rsc, node, false);
            }
        } else if !self.acted_after(&id, &source, h.op) {
            self[h.rsc].dangling_sources.push(h.node);
        }
    }

    pub(crate) fn failed_migrate_from(&mut self, h: &History) {
        let Some((source, target)) = self.migration_nodes(h, false) else { return };
        self[h.rsc].orig_role = Role::Started;
        let id = self[h.rsc].id.clone();
        let to = self.find_op(&id, "migrate_to", &source, Some(&target), Some(0));
        if !self.unknown_on(h.rsc, &source)
            && !self.newer_state(&id, &source, to, Some(h.op))
            && let Some(node) = self.find_node(&source).filter(|n| self[*n].online)
        {
            self.add_running(h.rsc, node, true);
        }
    }
}
