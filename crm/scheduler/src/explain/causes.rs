//! What keeps a resource as a whole from running, from being promoted or from being touched.

use std::collections::BTreeSet;

use cib_model::{Constraint, INFINITY, NoQuorumPolicy, Role, Str, readable_score};

use super::change::Change;
use super::facts::{self, Fact};
use crate::base::{ActionIx, RscIx, Where, Ws, ar, rf, task};

/// How far a chain of resources that wait for one another is followed.
const DEPTH_MAX: usize = 16;

fn cause(text: String, change: Option<Change>) -> Fact {
    Fact { node: None, score: None, text, change }
}

/// What keeps `rsc` from running or from being touched.
pub(super) fn of(ws: &Ws, rsc: RscIx) -> Vec<Fact> {
    let mut found = Vec::new();
    Causes { ws, seen: BTreeSet::new(), found: &mut found }.collect(rsc, 0);
    found
}

struct Causes<'a> {
    ws: &'a Ws,
    seen: BTreeSet<RscIx>,
    found: &'a mut Vec<Fact>,
}

impl Causes<'_> {
    fn add(&mut self, text: String, change: Option<Change>) {
        if !self.found.iter().any(|f| f.text == text) {
            self.found.push(cause(text, change));
        }
    }

    fn collect(&mut self, rsc: RscIx, depth: usize) {
        if depth > DEPTH_MAX || !self.seen.insert(rsc) {
            return;
        }
        self.options(rsc);
        for part in super::primitives(self.ws, rsc) {
            self.own(part);
            self.waits(part, depth);
        }
    }

    /// Cluster options and quorum.
    fn options(&mut self, rsc: RscIx) {
        let c = &self.ws.config;
        if c.in_maintenance {
            let change = Change::Option { name: "maintenance-mode", value: "false" };
            let text = "the cluster is in maintenance-mode: it changes nothing";
            self.add(text.to_owned(), Some(change));
        }
        if c.stop_all {
            let change = Change::Option { name: "stop-all-resources", value: "false" };
            self.add("stop-all-resources is set".to_owned(), Some(change));
        }
        if c.fencing_enabled && !c.have_fencing && !facts::flagged(self.ws, rsc, rf::FENCE_DEVICE) {
            let text = "fencing is enabled and no fence device is configured: nothing is started \
                        (make one with 'systole stonith create', or switch fencing off in words)";
            let change = Change::Option { name: "fencing-enabled", value: "false" };
            self.add(text.to_owned(), Some(change));
        }
        if !c.symmetric {
            let text = "symmetric-cluster is off: resources run only where a location constraint \
                        lets them";
            self.add(text.to_owned(), None);
        }
        if !c.quorate {
            let does = match c.no_quorum {
                NoQuorumPolicy::Stop => "everything is stopped",
                NoQuorumPolicy::Freeze => "what runs goes on, nothing is started",
                NoQuorumPolicy::Demote => "promoted instances are demoted, all else is stopped",
                NoQuorumPolicy::Fence => "all nodes of this partition are fenced",
                NoQuorumPolicy::Ignore => return,
            };
            let text = format!("this partition has no quorum: {does} (no-quorum-policy)");
            self.add(text, Some(Change::Quorum));
        }
    }

    fn own(&mut self, rsc: RscIx) {
        let ws = self.ws;
        let r = &ws[rsc];
        if r.is(rf::REMOVED) && r.parent.is_none() {
            self.add(format!("{} is no longer configured", r.id), None);
        }
        if facts::blocked(ws, rsc) {
            self.blocked(rsc);
        } else if let Some((owner, name)) = switched_off(ws, rsc) {
            let text = format!("{owner} is not managed ({name})");
            self.add(text, Some(Change::Manage(owner)));
        }
        if let Some(role) = ws[rsc].meta.get("target-role").and_then(Role::parse)
            && (role == Role::Stopped || (role == Role::Unpromoted && ws.is_promotable(rsc)))
        {
            let owner = owner_of(ws, rsc, "target-role");
            let text = format!("{owner} has target-role={}", role.text());
            self.add(text, Some(Change::Enable(owner)));
        }
    }

    /// A failure that only a person can mend.
    fn blocked(&mut self, rsc: RscIx) {
        let ws = self.ws;
        let id = facts::configured(ws, rsc);
        let found = ws.failed.iter().rev().find(|f| facts::configured(ws, f.rsc) == id);
        let Some(found) = found else {
            return self.add(format!("{id} is blocked by a failure"), None);
        };
        let op = ws.op(found.op);
        let what = op.operation().unwrap_or("an operation");
        let (node, code) = (ws[found.node].name.clone(), op.rc.unwrap_or(-1));
        let mut text = format!("{id} is blocked: {what} on {node} failed with {code}");
        if let Some(reason) = op.exit_reason().filter(|r| !r.is_empty()) {
            text.push_str(&format!(", '{reason}'"));
        }
        if what == "stop" && !ws.config.fencing_enabled {
            text.push_str("; without fencing only a person can say that it is stopped");
        }
        text.push_str(&format!(
            " (once that is mended: systole resource cleanup {id} --node {node})"
        ));
        self.add(text, Some(Change::Cleanup { rsc: id, node }));
    }

    /// Follows what a start that cannot happen waits for.
    fn waits(&mut self, rsc: RscIx, depth: usize) {
        let ws = self.ws;
        let Some(start) = ws.first_action(rsc, task::START, None) else { return };
        if ws[start].is(crate::base::af::RUNNABLE) {
            return;
        }
        for (first, name) in blockers(ws, start) {
            let (id, then) = (facts::configured(ws, first), facts::configured(ws, rsc));
            let by = match order_between(ws, first, rsc) {
                Some(order) => format!(" ({order})"),
                None => String::new(),
            };
            let text = format!("{then} waits for the {name} of {id}, which cannot happen{by}");
            let change = order_between(ws, first, rsc).map(Change::RemoveConstraint);
            self.add(text, change);
            self.collect(top_by_config(ws, first), depth + 1);
            self.nowhere(first);
        }
        if let Some(reason) = &ws[start].reason
            && reason.starts_with("colocation with")
        {
            let text = format!("{} cannot start: {reason}", facts::configured(ws, rsc));
            self.add(text, None);
        }
    }

    /// A resource on which the asked one waits may have no node; what speaks against each counts.
    fn nowhere(&mut self, rsc: RscIx) {
        let ws = self.ws;
        if !super::places(ws, rsc).is_empty() {
            return;
        }
        for node in ws.node_order.iter().rev() {
            for fact in facts::of_node(ws, rsc, *node) {
                if fact.score.is_none_or(|s| s <= -INFINITY) && fact.change.is_some() {
                    let text = format!("{}, {}", facts::configured(ws, rsc), fact.told(ws));
                    self.add(text, fact.change);
                }
            }
        }
    }
}

/// Why nothing of a promotable clone is to be promoted; nothing if something is.
pub(super) fn of_promotion(ws: &Ws, rsc: RscIx) -> Vec<Fact> {
    let clone = ws.uber(rsc);
    let parts = super::primitives(ws, clone);
    if !ws.is_promotable(rsc) || parts.iter().any(|p| ws[*p].next_role == Role::Promoted) {
        return Vec::new();
    }
    let mut facts =
        vec![cause(format!("no instance of {} can be promoted", ws[clone].def.id), None)];
    for part in parts {
        let Some(node) = ws.location(part, Where::Assigned) else { continue };
        let set = facts::promotion_score(ws, part, node);
        let instance = instance_of(ws, part, clone);
        let score = ws[instance].promotion_priority;
        let text = match set {
            None => "its agent has set no promotion score".to_owned(),
            Some((_, own)) if score < 0 => format!(
                "the agent's promotion score is {own}, the sum with constraints {}",
                readable_score(score)
            ),
            Some((_, own)) => format!("the promotion score is {own}"),
        };
        facts.push(Fact {
            node: None,
            score: None,
            text: format!("{}: {text}", ws[node].name),
            change: None,
        });
        // What bans the promoted role from a node is a constraint on the clone.
        for at in &ws[clone].locations {
            let con = &ws.locations[*at];
            let here = con.nodes.iter().find(|(n, s)| *n == node && *s < 0);
            if let Some((_, score)) = here.filter(|_| con.role == Role::Promoted) {
                facts.push(Fact {
                    node: Some(node),
                    score: Some(*score),
                    text: format!("constraint {} on the promoted role", con.id),
                    change: Some(Change::RemoveConstraint(con.id.clone())),
                });
            }
        }
    }
    facts
}

/// The meta-attribute, and whose it is, by which a resource is not managed.
fn switched_off(ws: &Ws, rsc: RscIx) -> Option<(Str, &'static str)> {
    let off = |name: &str, value: bool| {
        ws[rsc].meta.get(name).and_then(cib_model::parse_bool) == Some(value)
    };
    if off("is-managed", false) {
        return Some((owner_of(ws, rsc, "is-managed"), "is-managed=false"));
    }
    off("maintenance", true).then(|| (owner_of(ws, rsc, "maintenance"), "maintenance=true"))
}

/// The innermost resource around `rsc` whose own definition sets a meta-attribute.
fn owner_of(ws: &Ws, rsc: RscIx, name: &str) -> Str {
    let mut at = Some(rsc);
    while let Some(r) = at {
        let def = &ws[r].def;
        let set = |p: &cib_model::Nvpair| &*p.name == name;
        let meta = def.meta.0.iter().any(|b| b.pairs.iter().any(set));
        if meta || def.attrs.iter().any(|(n, _)| &**n == name) {
            return def.id.clone();
        }
        at = ws[r].parent;
    }
    facts::configured(ws, rsc)
}

/// Resources with the action for which `action` waits and that cannot happen.
fn blockers(ws: &Ws, action: ActionIx) -> Vec<(RscIx, String)> {
    let mut found: Vec<(RscIx, String)> = Vec::new();
    let mut open = vec![action];
    let mut seen: BTreeSet<ActionIx> = BTreeSet::new();
    let own = ws[action].rsc;
    while let Some(at) = open.pop() {
        if !seen.insert(at) {
            continue;
        }
        for rel in &ws[at].before {
            let first = &ws[rel.action];
            let blocks = rel.flags & (ar::UNRUNNABLE_FIRST_BLOCKS | ar::MIN_RUNNABLE) != 0;
            if !blocks || first.is(crate::base::af::RUNNABLE) {
                continue;
            }
            match first.rsc {
                Some(rsc) if Some(rsc) != own && ws.is_primitive(rsc) => {
                    let name = ws.names.text(first.task).to_string();
                    if !found.iter().any(|(r, n)| *r == rsc && *n == name) {
                        found.push((rsc, name));
                    }
                }
                _ => open.push(rel.action),
            }
        }
    }
    found
}

/// The resource as a constraint names it: a primitive's clone or bundle, or itself.
fn top_by_config(ws: &Ws, rsc: RscIx) -> RscIx {
    match ws[rsc].parent {
        Some(parent) if !ws.is_group(parent) => parent,
        _ => rsc,
    }
}

/// The id of a configured order between two resources or what they are part of.
fn order_between(ws: &Ws, first: RscIx, then: RscIx) -> Option<Str> {
    let family = |rsc: RscIx| {
        let mut ids = vec![facts::configured(ws, rsc)];
        let mut at = ws[rsc].parent;
        while let Some(parent) = at {
            ids.push(facts::configured(ws, parent));
            at = ws[parent].parent;
        }
        ids
    };
    let (firsts, thens) = (family(first), family(then));
    let names = |id: &Option<Str>, ids: &[Str]| id.as_ref().is_some_and(|i| ids.contains(i));
    ws.model.constraints.iter().find_map(|c| {
        let Constraint::Order(order) = c else { return None };
        let pair = names(&order.first, &firsts) && names(&order.then, &thens);
        let member =
            |ids: &[Str]| order.sets.iter().any(|s| s.members.iter().any(|m| ids.contains(m)));
        (pair || (member(&firsts) && member(&thens))).then(|| order.id.clone())
    })
}

/// The instance of `clone` that a part belongs to.
fn instance_of(ws: &Ws, part: RscIx, clone: RscIx) -> RscIx {
    let mut at = part;
    while let Some(parent) = ws[at].parent.filter(|p| *p != clone) {
        at = parent;
    }
    at
}
