//! The plan in words: one line for each change.

use cib_model::{Role, Str};

use crate::base::{ActionIx, NodeIx, RscIx, Sym, Ws, af, rf, task};

/// Something that will be different when the plan has been carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// All of it, as one line.
    pub text: String,
    /// What is done: `Start`, `Fence (reboot)` ...
    pub what: String,
    /// The resource; for what is done to a node there is none.
    pub resource: Option<Str>,
    /// Role before and after.
    pub roles: (Role, Role),
    /// Whether there is more to say than where it runs.
    pub roles_matter: bool,
    /// The node where the resource was, or to which something is done.
    pub from: Option<String>,
    /// The node where the resource will be.
    pub to: Option<String>,
    /// Why.
    pub reason: Option<Str>,
    /// Whether it cannot be done.
    pub blocked: bool,
}

/// Changes, and the widths of the columns of their lines so far.
pub(super) struct Summary<'a> {
    ws: &'a mut Ws,
    out: Vec<Change>,
    rsc_width: usize,
    detail_width: usize,
}

impl<'a> Summary<'a> {
    pub(super) fn new(ws: &'a mut Ws) -> Summary<'a> {
        Summary { ws, out: Vec::new(), rsc_width: 5, detail_width: 5 }
    }

    pub(super) fn changes(mut self) -> Vec<Change> {
        for at in (0..self.ws.actions.len()).rev() {
            self.node_line(ActionIx(at as u32));
        }
        for rsc in self.ws.top.clone() {
            self.resource_lines(rsc);
        }
        self.out
    }

    fn node_line(&mut self, action: ActionIx) {
        let ws = &*self.ws;
        let a = &ws[action];
        if a.rsc.is_some() || a.is(af::OPTIONAL) {
            return;
        }
        let what = match a.task {
            task::DO_SHUTDOWN => "Shutdown".to_owned(),
            task::STONITH => format!("Fence ({})", a.meta.get("stonith_action").unwrap_or("")),
            _ => return,
        };
        let node = a.node.map_or(String::new(), |n| match ws.node_launcher(n) {
            Some(launcher) => format!("{} (resource: {})", ws[n].name, ws[launcher].id),
            None => ws[n].name.to_string(),
        });
        // What has no reason goes without saying.
        let Some(reason) = &a.reason else { return };
        let change = Change {
            text: format!("{what} {node} '{reason}'"),
            what,
            resource: None,
            roles: (Role::Unknown, Role::Unknown),
            roles_matter: false,
            from: Some(node),
            to: None,
            reason: Some(reason.clone()),
            blocked: false,
        };
        self.out.push(change);
    }

    fn resource_lines(&mut self, rsc: RscIx) {
        if self.ws.is_bundle(rsc) {
            for replica in self.ws[rsc].bundle.replicas.clone() {
                let parts = [replica.ip, Some(replica.container), replica.remote, replica.child];
                parts.into_iter().flatten().for_each(|part| self.resource_lines(part));
            }
            return;
        }
        if !self.ws[rsc].children.is_empty() {
            for child in self.ws[rsc].children.clone() {
                self.resource_lines(child);
            }
            return;
        }
        let next = self.ws[rsc].assigned_node();
        let mut current = None;
        if !self.ws[rsc].active.is_empty() {
            current = self.ws.current_node(rsc);
            if self.ws[rsc].orig_role == Role::Stopped {
                self.ws[rsc].orig_role = Role::Started;
            }
        }
        if current.is_none() && self.ws[rsc].is(rf::REMOVED) {
            return;
        }
        self.change(rsc, current, next);
    }

    fn find(&mut self, rsc: RscIx, node: Option<NodeIx>, name: Sym) -> Option<ActionIx> {
        self.ws.actions_of(rsc, node, name).first().copied()
    }

    fn needed(&self, action: Option<ActionIx>) -> bool {
        action.is_some_and(|a| !self.ws[a].is(af::OPTIONAL))
    }

    fn change(&mut self, rsc: RscIx, current: Option<NodeIx>, next: Option<NodeIx>) {
        let r = &self.ws[rsc];
        if !r.is(rf::MANAGED) || (current.is_none() && next.is_none()) {
            return;
        }
        let moving = current.is_some() && next.is_some() && current != next;
        let start = self.find(rsc, next, task::START);
        let runnable = |s: &Self, a: Option<ActionIx>| a.is_some_and(|a| s.ws[a].is(af::RUNNABLE));
        let start_node = if runnable(self, start) { current } else { None };
        let mut stop = self.find(rsc, start_node, task::STOP);
        if stop.is_none() && self.ws[rsc].is(rf::STOP_UNEXPECTED) {
            stop = self.find(rsc, None, task::STOP);
        }
        let promote = self.find(rsc, next, task::PROMOTE);
        let demote = self.find(rsc, next, task::DEMOTE);
        let blocked_start = start.is_some() && !runnable(self, start);
        let r = &self.ws[rsc];
        let (role, next_role, failed) = (r.orig_role, r.next_role, r.is(rf::FAILED));
        let reload = r.is(rf::RELOAD);
        if role == next_role {
            let Some(target) = next else { return };
            let migrate = self.find(rsc, Some(target), task::MIGRATE_FROM);
            if current.is_some() && runnable(self, migrate) {
                self.item("Migrate", rsc, current, next, start, None);
            } else if reload {
                self.item("Reload", rsc, current, next, start, None);
            } else if !self.needed(start) {
                if self.needed(demote) && self.needed(promote) {
                    self.item("Re-promote", rsc, current, next, promote, demote);
                }
            } else if blocked_start {
                let told = stop.is_some_and(|s| self.ws[s].reason.is_some());
                self.item("Stop", rsc, current, None, stop, if told { stop } else { start });
            } else if moving {
                let what = if failed { "Recover" } else { "Move" };
                self.item(what, rsc, current, next, stop, None);
            } else if failed {
                self.item("Recover", rsc, current, None, stop, None);
            } else {
                self.item("Restart", rsc, current, next, start, None);
            }
            return;
        }
        if stop.is_some() && (next_role == Role::Stopped || blocked_start) {
            for node in self.ws[rsc].active.clone() {
                let own = self.find(rsc, Some(node), task::STOP);
                let told = own.is_some_and(|s| self.ws[s].reason.is_some());
                self.item("Stop", rsc, Some(node), None, own, if told { own } else { start });
            }
        } else if stop.is_some() && self.ws[rsc].is(rf::FAILED | rf::STOP_IF_FAILED) {
            self.item("Recover", rsc, current, next, stop, start);
        } else if moving {
            self.item("Move", rsc, current, next, stop, None);
        } else if reload {
            self.item("Reload", rsc, current, next, start, None);
        } else if self.needed(stop) {
            self.item("Restart", rsc, current, next, start, None);
        } else if role == Role::Promoted {
            self.item("Demote", rsc, current, next, demote, None);
        } else if next_role == Role::Promoted {
            self.item("Promote", rsc, current, next, promote, None);
        } else if role == Role::Stopped && next_role > Role::Stopped {
            self.item("Start", rsc, current, next, start, None);
        }
    }

    fn details(&self, rsc: RscIx, origin: Option<NodeIx>, destination: Option<NodeIx>) -> String {
        let r = &self.ws[rsc];
        let need_role = role_matters((r.orig_role, r.next_role));
        let same_role = r.orig_role == r.next_role;
        let (role, next) = (r.orig_role.text(), r.next_role.text());
        let name = |n: NodeIx| self.ws[n].name.to_string();
        match (origin, destination) {
            (None, None) => String::new(),
            (None, Some(to)) if need_role => format!("{role} -> {next} {}", name(to)),
            (None, Some(to)) => name(to),
            (Some(from), None) if need_role => format!("{role} {}", name(from)),
            (Some(from), None) => name(from),
            (Some(from), Some(to)) if from == to => match (same_role, need_role) {
                (true, true) => format!("{role} {}", name(from)),
                (true, false) => name(from),
                (false, _) => format!("{role} -> {next} {}", name(from)),
            },
            (Some(from), Some(to)) if same_role && need_role => {
                format!("{} -> {} {role}", name(from), name(to))
            }
            (Some(from), Some(to)) if same_role => format!("{} -> {}", name(from), name(to)),
            (Some(from), Some(to)) => {
                format!("{role} {} -> {next} {}", name(from), name(to))
            }
        }
    }

    fn item(
        &mut self,
        change: &str,
        rsc: RscIx,
        origin: Option<NodeIx>,
        destination: Option<NodeIx>,
        action: Option<ActionIx>,
        source: Option<ActionIx>,
    ) {
        let Some(action) = action else { return };
        let source = source.unwrap_or(action);
        let id = self.ws[rsc].id.clone();
        if id.len() > self.rsc_width {
            self.rsc_width = id.len() + 2;
        }
        let details = self.details(rsc, origin, destination);
        self.detail_width = self.detail_width.max(details.len());
        let blocked = !self.ws[action].is(af::RUNNABLE);
        let reason = self.ws[source].reason.clone();
        let why = match &reason {
            Some(reason) if blocked => format!("  due to {reason} (blocked)"),
            Some(reason) => format!("  due to {reason}"),
            None if blocked => "  blocked".to_owned(),
            None => String::new(),
        };
        let (w, d) = (self.rsc_width, self.detail_width);
        let r = &self.ws[rsc];
        let roles = (r.orig_role, r.next_role);
        let name = |n: NodeIx| self.ws[n].name.to_string();
        self.out.push(Change {
            text: format!("{change:<8}   {id:<w$}   ( {details:>d$} ){why}"),
            what: change.to_owned(),
            resource: Some(id),
            roles,
            roles_matter: role_matters(roles),
            from: origin.map(name),
            to: destination.map(name),
            reason,
            blocked,
        });
    }
}

/// Whether there is more to say than where something runs.
fn role_matters((before, after): (Role, Role)) -> bool {
    before > Role::Started || after > Role::Unpromoted
}
