//! Notifications: telling clone instances what happens to the others.

use cib_model::{INFINITY, Role, Str, numeric_cmp};

use crate::base::{ActionIx, NodeIx, Notify, RscIx, Sym, Ws, af, ar, rf, task};

type Entries = Vec<(RscIx, Option<NodeIx>)>;

fn words(list: impl Iterator<Item = Str>) -> Str {
    let mut text = String::new();
    for word in list {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word);
    }
    // An empty value would not reach the agent.
    if text.is_empty() { " ".into() } else { text.into() }
}

impl Ws {
    fn notify_name(&mut self, kind: &str, name: Sym) -> Sym {
        let text = format!("{kind}_notify_{}", self.names.text(name));
        self.names.intern(&text)
    }

    fn notify_pseudo(
        &mut self,
        rsc: RscIx,
        about: ActionIx,
        task: Sym,
        kind: &str,
        (phase, operation): (&str, Sym),
    ) -> ActionIx {
        let name = self.notify_name(kind, self[about].task);
        let optional = self[about].is(af::OPTIONAL);
        let notify = self.rsc_action(rsc, name, 0, task, None, optional);
        let about = self.names.text(self[about].task).clone();
        let operation = self.names.text(operation).clone();
        let a = &mut self[notify];
        a.set(af::PSEUDO);
        a.meta.set("notify_key_type", kind);
        a.meta.set("notify_key_operation", &about);
        a.meta.set("notify_type", phase);
        a.meta.set("notify_operation", &operation);
        notify
    }

    /// Markers around an action (or only after it) in which instances are told about it.
    fn notification(
        &mut self,
        rsc: RscIx,
        name: Sym,
        action: Option<ActionIx>,
        complete: Option<ActionIx>,
    ) -> Option<Box<Notify>> {
        if !self[rsc].is(rf::NOTIFY) {
            return None;
        }
        let mut n = Box::new(Notify { action: Some(name), ..Notify::default() });
        if let Some(action) = action {
            let pre = self.notify_pseudo(rsc, action, task::NOTIFY, "pre", ("pre", name));
            let kind = "confirmed-pre";
            let done = self.notify_pseudo(rsc, action, task::NOTIFIED, kind, ("pre", name));
            self[pre].set(af::RUNNABLE);
            self[done].set(af::RUNNABLE);
            self.order_actions(Some(pre), Some(done), ar::ORDERED);
            self.order_actions(Some(done), Some(action), ar::ORDERED);
            (n.pre, n.pre_done) = (Some(pre), Some(done));
        }
        if let Some(complete) = complete {
            let runnable = self[complete].is(af::RUNNABLE);
            let marker = |ws: &mut Ws, task, kind| {
                let action = ws.notify_pseudo(rsc, complete, task, kind, ("post", name));
                ws[action].priority = INFINITY;
                ws[action].clear(af::RUNNABLE);
                ws[action].set(if runnable { af::RUNNABLE } else { 0 });
                action
            };
            let post = marker(self, task::NOTIFY, "post");
            let done = marker(self, task::NOTIFIED, "confirmed-post");
            self.order_actions(Some(complete), Some(post), ar::FIRST_IMPLIES_THEN);
            self.order_actions(Some(post), Some(done), ar::FIRST_IMPLIES_THEN);
            (n.post, n.post_done) = (Some(post), Some(done));
        }
        if action.is_some() && complete.is_some() {
            self.order_actions(n.pre_done, n.post, ar::ORDERED);
        }
        Some(n)
    }

    pub(crate) fn start_stop_notifications(
        &mut self,
        clone: RscIx,
        start: ActionIx,
        started: ActionIx,
        stop: ActionIx,
        stopped: ActionIx,
    ) {
        if self[clone].clone.start_notify.is_none() {
            let n = self.notification(clone, task::START, Some(start), Some(started));
            self[clone].clone.start_notify = n;
        }
        if self[clone].clone.stop_notify.is_none() {
            let n = self.notification(clone, task::STOP, Some(stop), Some(stopped));
            self[clone].clone.stop_notify = n;
            let done = self[clone].clone.stop_notify.as_ref().and_then(|n| n.post_done);
            let pre = self[clone].clone.start_notify.as_ref().and_then(|n| n.pre);
            self.order_actions(done, pre, ar::ORDERED);
        }
    }

    pub(crate) fn role_notifications(
        &mut self,
        clone: RscIx,
        promote: ActionIx,
        promoted: ActionIx,
        (demote, optional): (Sym, bool),
    ) {
        if self[clone].clone.promote_notify.is_none() {
            let n = self.notification(clone, task::PROMOTE, Some(promote), Some(promoted));
            self[clone].clone.promote_notify = n;
        }
        let demote = self.rsc_pseudo(clone, demote, optional, true);
        let demoted = self.rsc_pseudo(clone, task::DEMOTED, optional, true);
        self[demoted].priority = INFINITY;
        if self[clone].clone.demote_notify.is_some() {
            return;
        }
        let n = self.notification(clone, task::DEMOTE, Some(demote), Some(demoted));
        self[clone].clone.demote_notify = n;
        let c = &self[clone].clone;
        let done = |n: &Option<Box<Notify>>| n.as_ref().and_then(|n| n.post_done);
        let pre = |n: &Option<Box<Notify>>| n.as_ref().and_then(|n| n.pre);
        let orders = [
            (done(&c.stop_notify), pre(&c.promote_notify)),
            (done(&c.start_notify), pre(&c.promote_notify)),
            (done(&c.demote_notify), pre(&c.promote_notify)),
            (done(&c.demote_notify), pre(&c.start_notify)),
            (done(&c.demote_notify), pre(&c.stop_notify)),
        ];
        for (first, then) in orders {
            self.order_actions(first, then, ar::ORDERED);
        }
    }

    /// Makes the notifications of a clone once all else is decided.
    pub(crate) fn create_notifications(&mut self, clone: RscIx) {
        let c = &mut self[clone].clone;
        let all = [
            c.start_notify.take(),
            c.stop_notify.take(),
            c.promote_notify.take(),
            c.demote_notify.take(),
        ];
        for mut n in all.into_iter().flatten() {
            self.collect_entries(clone, true, &mut n);
            self.add_variables(clone, &mut n);
            self.create_notify_actions(clone, &n);
        }
    }

    fn collect_entries(&self, rsc: RscIx, activity: bool, n: &mut Notify) {
        n.allowed.get_or_insert(rsc);
        let r = &self[rsc];
        if !r.children.is_empty() {
            r.children.iter().for_each(|c| self.collect_entries(*c, activity, n));
            return;
        }
        let entry = (rsc, r.active.first().copied());
        match r.orig_role {
            Role::Stopped => n.inactive.push(entry),
            Role::Started => n.active.push(entry),
            Role::Unpromoted => {
                n.unpromoted.push(entry);
                n.active.push(entry);
            }
            Role::Promoted => {
                n.promoted.push(entry);
                n.active.push(entry);
            }
            Role::Unknown => {}
        }
        if !activity {
            return;
        }
        for action in &r.actions {
            let a = &self[*action];
            let Some(node) = a.node.filter(|_| !a.is(af::OPTIONAL)) else { continue };
            let lost = a.task == task::STOP && self[node].unclean;
            if !lost && !a.is(af::RUNNABLE) {
                continue;
            }
            match a.task {
                task::START => n.start.push((rsc, Some(node))),
                task::STOP => n.stop.push((rsc, Some(node))),
                task::PROMOTE => n.promote.push((rsc, Some(node))),
                task::DEMOTE => n.demote.push((rsc, Some(node))),
                _ => {}
            }
        }
    }

    /// Names of resources and of nodes, each resource once.
    fn entry_words(&self, entries: &mut Entries, with_node: bool) -> (Str, Str) {
        let node_id = |n: Option<NodeIx>| n.map(|n| self[n].id.clone());
        entries.sort_by(|a, b| {
            let ids = self[a.0].id.cmp(&self[b.0].id);
            ids.then_with(|| match (node_id(a.1), node_id(b.1)) {
                (Some(a), Some(b)) => a.cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            })
        });
        let mut kept: Entries = Vec::new();
        for entry in entries.iter() {
            if with_node && entry.1.is_none() {
                continue;
            }
            if kept.last().is_none_or(|l| self[l.0].id != self[entry.0].id) {
                kept.push(*entry);
            }
        }
        let ids = words(kept.iter().map(|e| self[e.0].id.clone()));
        let nodes = words(kept.iter().filter_map(|e| e.1).map(|n| self[n].name.clone()));
        (ids, nodes)
    }

    fn add_variables(&mut self, rsc: RscIx, n: &mut Notify) {
        let own = n.action;
        let mut keys: Vec<(Str, Str)> = Vec::new();
        let required = (!n.stop.is_empty() && own == Some(task::STOP))
            || (!n.start.is_empty() && own == Some(task::START))
            || (!n.demote.is_empty() && own == Some(task::DEMOTE))
            || (!n.promote.is_empty() && own == Some(task::PROMOTE));
        let lists: [(&[&str], &mut Entries); 7] = [
            (&["stop"], &mut n.stop),
            (&["start"], &mut n.start),
            (&["demote"], &mut n.demote),
            (&["promote"], &mut n.promote),
            (&["active"], &mut n.active),
            (&["unpromoted", "slave"], &mut n.unpromoted),
            (&["promoted", "master"], &mut n.promoted),
        ];
        for (names, entries) in lists {
            let (ids, nodes) = self.entry_words(entries, true);
            for name in names {
                keys.push((format!("notify_{name}_resource").into(), ids.clone()));
                keys.push((format!("notify_{name}_uname").into(), nodes.clone()));
            }
        }
        let (ids, _) = self.entry_words(&mut n.inactive, false);
        keys.push(("notify_inactive_resource".into(), ids));
        let allowed = n.allowed.unwrap_or(rsc);
        let mut available: Vec<NodeIx> = self[allowed].allowed.nodes().collect();
        available.sort_by(|a, b| numeric_cmp(&self[*a].name, &self[*b].name));
        let name = |n: &NodeIx| self[*n].name.clone();
        keys.push(("notify_available_uname".into(), words(available.iter().map(name))));
        if self[rsc].meta.get("container-attribute-target") == Some("host") {
            let host = |n: &NodeIx| {
                let launcher = self.node_launcher(*n);
                let host = launcher.and_then(|l| self.current_node(l)).unwrap_or(*n);
                self[host].name.clone()
            };
            keys.push(("notify_all_hosts".into(), words(self.node_order.iter().map(host))));
        }
        keys.push(("notify_all_uname".into(), words(self.node_order.iter().map(name))));
        n.keys = keys;
        if required {
            for action in [n.pre, n.pre_done, n.post, n.post_done].into_iter().flatten() {
                self[action].clear(af::OPTIONAL);
            }
        }
    }

    fn add_keys(&mut self, action: ActionIx, n: &Notify) {
        for (name, value) in &n.keys {
            self[action].meta.set_str(name, value);
        }
    }

    fn notify_action(
        &mut self,
        rsc: RscIx,
        node: NodeIx,
        op: Option<ActionIx>,
        done: Option<ActionIx>,
        n: &Notify,
    ) -> Option<ActionIx> {
        let (op, done) = (op?, done?);
        if !self[node].online || !self[op].is(af::RUNNABLE) {
            return None;
        }
        let name = {
            let meta = &self[op].meta;
            let (kind, about) = (meta.get("notify_type")?, meta.get("notify_operation")?);
            format!("{kind}_notify_{about}")
        };
        let name = self.names.intern(&name);
        let (task, optional) = (self[op].task, self[op].is(af::OPTIONAL));
        let notify = self.rsc_action(rsc, name, 0, task, Some(node), optional);
        let meta = self[op].meta.clone();
        meta.iter().for_each(|(k, v)| self[notify].meta.set_default(k, v));
        self.add_keys(notify, n);
        self.order_actions(Some(op), Some(notify), ar::ORDERED);
        self.order_actions(Some(notify), Some(done), ar::ORDERED);
        Some(notify)
    }

    fn post_notify_action(&mut self, rsc: RscIx, node: NodeIx, n: &Notify) {
        if let Some(notify) = self.notify_action(rsc, node, n.post, n.post_done, n) {
            self[notify].priority = INFINITY;
        }
        if n.post_done.is_none() {
            return;
        }
        // Monitors wait until everybody knows.
        for monitor in self[rsc].actions.clone().into_iter().rev() {
            let a = &self[monitor];
            let recurs = a.meta.get("interval").is_some_and(|i| i != "0");
            if recurs && a.task != task::CANCEL {
                self.order_actions(n.post_done, Some(monitor), ar::ORDERED);
            }
        }
    }

    fn create_notify_actions(&mut self, rsc: RscIx, n: &Notify) {
        if !self[rsc].children.is_empty() {
            for child in self[rsc].children.clone() {
                self.create_notify_actions(child, n);
            }
            return;
        }
        for op in self[rsc].actions.clone() {
            let a = &self[op];
            let about = matches!(a.task, task::START | task::STOP | task::PROMOTE | task::DEMOTE);
            if about && !a.is(af::OPTIONAL) && a.node.is_some() {
                self.add_keys(op, n);
            }
        }
        let name = n.action.unwrap_or(task::NONE);
        let nothing = match name {
            task::START => n.start.is_empty(),
            task::PROMOTE => n.promote.is_empty(),
            task::DEMOTE => n.demote.is_empty(),
            _ => false,
        };
        if nothing {
            return;
        }
        if self[rsc].orig_role != Role::Stopped && matches!(name, task::STOP | task::DEMOTE) {
            self.notify_going_down(rsc, name, n);
        }
        if self[rsc].next_role != Role::Stopped && matches!(name, task::START | task::PROMOTE) {
            self.notify_going_up(rsc, name, n);
        }
    }

    fn notify_going_down(&mut self, rsc: RscIx, name: Sym, n: &Notify) {
        let stop = self.first_action(rsc, task::STOP, None);
        for node in self[rsc].active.clone() {
            let lost = self[node].unclean || self[node].remote_reset;
            if lost && stop.is_some_and(|s| self[s].is(af::PSEUDO)) {
                continue;
            }
            self.notify_action(rsc, node, n.pre, n.pre_done, n);
            if name == task::DEMOTE || stop.is_none_or(|s| self[s].is(af::OPTIONAL)) {
                self.post_notify_action(rsc, node, n);
            }
        }
    }

    fn notify_going_up(&mut self, rsc: RscIx, name: Sym, n: &Notify) {
        let start = self.first_action(rsc, task::START, None);
        let remote = start.and_then(|s| self[s].node).and_then(|node| self[node].remote);
        let remote_start = remote.and_then(|r| self.first_action(r, task::START, None));
        if remote_start.is_some_and(|s| !self[s].is(af::RUNNABLE)) {
            return;
        }
        let Some(node) = self[rsc].assigned_node() else {
            let text = format!("{} is not allocated but has a next role", self[rsc].id);
            self.error(text);
            return;
        };
        if name != task::START || start.is_none_or(|s| self[s].is(af::OPTIONAL)) {
            self.notify_action(rsc, node, n.pre, n.pre_done, n);
        }
        self.post_notify_action(rsc, node, n);
    }

    /// Fencing stops instances as a side effect: the others are told after it.
    pub(crate) fn notify_after_fencing(&mut self, stop: ActionIx, rsc: RscIx, fencing: ActionIx) {
        let Some(mut n) = self.notification(rsc, task::STOP, None, Some(fencing)) else { return };
        self.collect_entries(rsc, false, &mut n);
        let node = self[stop].node.map(|node| self[node].name.clone());
        n.keys.push(("notify_stop_resource".into(), self[rsc].id.clone()));
        n.keys.push(("notify_stop_uname".into(), node.unwrap_or_else(|| " ".into())));
        let top = self.uber(rsc);
        self.create_notify_actions(top, &n);
    }
}
