//! What speaks for and against a node, each with the change that would undo it.

use cib_model::{Constraint, Str, readable_score};

use super::Line;
use super::change::{Change, is_of};
use crate::base::{NodeIx, RscIx, Variant, Ws, rf};
use crate::reasons::{Contribution, Reason};

/// One fact.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// The node that it is about, if it is about one.
    pub(super) node: Option<NodeIx>,
    /// What it adds to the score there.
    pub(super) score: Option<i32>,
    /// What it is, as half a sentence.
    pub(super) text: String,
    /// What would undo it.
    pub(super) change: Option<Change>,
}

impl Fact {
    pub(super) fn line(&self) -> Line {
        let sign = |s: i32| {
            let text = readable_score(s).to_string();
            if s > 0 { format!("+{text}") } else { text }
        };
        Line { score: self.score.map(sign), text: self.text.clone() }
    }

    /// As a sentence of its own.
    pub(super) fn told(&self, ws: &Ws) -> String {
        let line = self.line();
        match (self.node, line.score) {
            (Some(node), Some(score)) => format!("{}: {score}, {}", ws[node].name, line.text),
            (Some(node), None) => format!("{}: {}", ws[node].name, line.text),
            (None, _) => line.text,
        }
    }
}

/// The primitive that stands for a resource on a node: where parts follow the first, the first;
/// of a clone, the instance on the node, or one that has no node.
pub(super) fn leaf(ws: &Ws, rsc: RscIx, node: NodeIx) -> RscIx {
    let r = &ws[rsc];
    let next = match r.variant {
        Variant::Primitive => None,
        Variant::Group => r.children.first().copied(),
        Variant::Bundle => {
            let containers: Vec<RscIx> = r.bundle.replicas.iter().map(|p| p.container).collect();
            instance(ws, &containers, node)
        }
        Variant::Clone => instance(ws, &r.children, node),
    };
    next.map_or(rsc, |next| leaf(ws, next, node))
}

fn instance(ws: &Ws, instances: &[RscIx], node: NodeIx) -> Option<RscIx> {
    let is_at = |r: &&RscIx| {
        super::places(ws, **r).contains(&node) || super::active(ws, **r).contains(&node)
    };
    let free = |r: &&RscIx| super::places(ws, **r).is_empty();
    instances
        .iter()
        .find(is_at)
        .or_else(|| instances.iter().find(free))
        .or(instances.first())
        .copied()
}

/// Everything about a node: its state first, then what makes up the score.
pub(super) fn of_node(ws: &Ws, rsc: RscIx, node: NodeIx) -> Vec<Fact> {
    let leaf = leaf(ws, rsc, node);
    let mut facts = of_state(ws, node);
    let mut seen: Vec<&Contribution> = Vec::new();
    for c in ws.reasons.of(leaf, node).filter(|c| c.score != 0) {
        // The same thing is said once; a group's members each add the stickiness of their own.
        if seen.iter().any(|s| s.why == c.why && s.score == c.score) {
            continue;
        }
        seen.push(c);
        facts.push(fact(ws, leaf, c));
    }
    facts.extend(promotion(ws, leaf, node));
    facts
}

/// The promotion score that the agent has set on a node, and by which name.
pub(super) fn promotion_score(ws: &Ws, rsc: RscIx, node: NodeIx) -> Option<(String, &str)> {
    let mut names = ["master", "promotion"].into_iter().flat_map(|prefix| {
        [format!("{prefix}-{}", configured(ws, rsc)), format!("{prefix}-{}", ws[rsc].id)]
    });
    names.find_map(|name| ws[node].attrs.get(&name).map(|value| (name.clone(), value)))
}

fn promotion(ws: &Ws, rsc: RscIx, node: NodeIx) -> Option<Fact> {
    let (name, value) = promotion_score(ws, rsc, node).filter(|_| ws.is_promotable(rsc))?;
    let score = Some(cib_model::parse_score(value)?);
    let text = format!("promotion score that the agent has set ({name})");
    Some(Fact { node: Some(node), score, text, change: None })
}

fn of_state(ws: &Ws, node: NodeIx) -> Vec<Fact> {
    let n = &ws[node];
    let name = n.name.clone();
    let mut facts = Vec::new();
    let mut add = |text: &str, change: Option<Change>| {
        facts.push(Fact { node: Some(node), score: None, text: text.to_owned(), change });
    };
    if n.unclean {
        let text = if ws.can_fence(node) {
            "the node is lost, and nothing of it runs elsewhere before it is fenced"
        } else {
            "the node is lost and cannot be fenced"
        };
        add(text, (!ws.is_remote_kind(node)).then(|| Change::ConfirmDown(name.clone())));
    } else if n.shutdown {
        add("the node is leaving", None);
    } else if !n.online {
        add("the node is offline", Some(Change::NodeUp(name.clone())));
    } else if n.pending {
        add("the node is joining", None);
    } else if n.fail_standby {
        add("the node is in standby because of a failure (on-fail=standby)", None);
    } else if n.standby {
        add("the node is in standby", Some(Change::Unstandby(name.clone())));
    }
    if n.maintenance {
        add("the node is in maintenance", Some(Change::Unmaintenance(name)));
    }
    facts
}

fn fact(ws: &Ws, rsc: RscIx, c: &Contribution) -> Fact {
    let (text, change) = words(ws, rsc, c.node, &c.why);
    Fact { node: Some(c.node), score: Some(c.score), text, change }
}

fn words(ws: &Ws, rsc: RscIx, node: NodeIx, why: &Reason) -> (String, Option<Change>) {
    let id = configured(ws, rsc);
    let name = ws[node].name.clone();
    let cleanup = || Some(Change::Cleanup { rsc: id.clone(), node: name.clone() });
    match why {
        Reason::RemoteConnectionDefault => ("connections may be made anywhere".to_owned(), None),
        Reason::Location(constraint) => location(ws, rsc, node, constraint),
        Reason::Stickiness => (
            "it runs there already (resource-stickiness)".to_owned(),
            Some(Change::NoStickiness(id)),
        ),
        Reason::NotManaged => {
            ("it is not managed, so it is left there".to_owned(), Some(Change::Manage(id)))
        }
        Reason::Removed => ("it is no longer configured".to_owned(), None),
        Reason::FailedOperation => (failed(ws, rsc, node, "an operation failed"), cleanup()),
        Reason::FailedStop => (failed(ws, rsc, node, "a stop failed"), cleanup()),
        Reason::FailedProbe => (failed(ws, rsc, node, "a probe failed"), cleanup()),
        Reason::HardError => {
            (failed(ws, rsc, node, "a failure says that it cannot run on this node"), cleanup())
        }
        Reason::FatalError => {
            (failed(ws, rsc, node, "a failure says that it cannot run on any node"), cleanup())
        }
        Reason::MigrationThreshold => (threshold(ws, rsc, node), cleanup()),
        Reason::Ticket => ticket(ws, rsc),
        Reason::TargetRole => ("it is to be stopped".to_owned(), None),
        Reason::InstanceLimit => ("there are enough instances already".to_owned(), None),
        Reason::Utilization => (capacity(ws, rsc, node), None),
        Reason::ShutdownLock => {
            let lock = ws[rsc].lock_node.map_or("a node", |n| &*ws[n].name).to_owned();
            (format!("it is kept for {lock}, which was shut down cleanly (shutdown-lock)"), None)
        }
        Reason::Colocation(constraint) => colocation(ws, rsc, constraint),
    }
}

/// The id under which it is configured.
pub(super) fn configured(ws: &Ws, rsc: RscIx) -> Str {
    ws[rsc].def.id.clone()
}

fn location(ws: &Ws, rsc: RscIx, node: NodeIx, id: &Str) -> (String, Option<Change>) {
    let found = ws.model.constraints.iter().find_map(|c| match c {
        // A rule is known by its own id.
        Constraint::Location(l) => {
            let rule = l.rule.as_ref().is_some_and(|r| r.id == *id);
            (rule || is_of(c, id)).then_some(l)
        }
        _ => None,
    });
    let Some(location) = found else {
        let sick = ws[node].attrs.iter().filter(|(name, _)| name.starts_with("#health"));
        let sick: Vec<String> = sick.map(|(name, value)| format!("{name}={value}")).collect();
        return (
            format!("the node's health ({}, node-health-strategy={id})", sick.join(", ")),
            None,
        );
    };
    let id = &location.id;
    // Names that the field's tools give to what a move or a ban makes.
    if id.starts_with("cli-ban-") || id.starts_with("cli-prefer-") {
        let target = match &location.target {
            cib_model::LocationTarget::Resource(target) => target.clone(),
            _ => configured(ws, rsc),
        };
        let what = if id.starts_with("cli-ban-") { "a ban" } else { "a move" };
        let change = Change::Clear { rsc: target, id: id.clone() };
        return (format!("constraint {id}, which {what} left behind"), Some(change));
    }
    let rule = if location.rule.is_some() { ", whose rule applies here" } else { "" };
    (format!("location constraint {id}{rule}"), Some(Change::RemoveConstraint(id.clone())))
}

fn colocation(ws: &Ws, rsc: RscIx, id: &Str) -> (String, Option<Change>) {
    let mut own = vec![rsc];
    while let Some(parent) = ws[own[own.len() - 1]].parent {
        own.push(parent);
    }
    let of_id = || ws.colocs.iter().filter(|c| c.id == *id);
    let where_is = |other: RscIx| match &super::places(ws, other)[..] {
        [] => format!("{}, which has no node", ws[other].id),
        nodes => format!("{} (on {})", ws[other].id, super::names(ws, nodes)),
    };
    let with = of_id().find(|c| own.contains(&c.dependent)).map(|c| {
        let apart = if c.score < 0 { "apart from" } else { "together with" };
        format!("{apart} {}", where_is(c.primary))
    });
    let text = with.or_else(|| {
        let c = of_id().find(|c| own.contains(&c.primary))?;
        Some(format!("{} depends on it and has wishes of its own", ws[c.dependent].id))
    });
    let text = text.unwrap_or_else(|| "a resource it depends on".to_owned());
    let constraint = ws.model.constraints.iter().find(|c| is_of(c, id));
    match constraint {
        Some(_) => (format!("colocation {id}: {text}"), Some(Change::RemoveConstraint(id.clone()))),
        None if id.contains("group") => (format!("member of the same group: {text}"), None),
        None => (text, None),
    }
}

fn failed(ws: &Ws, rsc: RscIx, node: NodeIx, what: &str) -> String {
    let family = |other: RscIx| other == rsc || configured(ws, other) == configured(ws, rsc);
    let found = ws.failed.iter().rev().find(|f| f.node == node && family(f.rsc));
    let Some(found) = found else { return what.to_owned() };
    let op = ws.op(found.op);
    let name = op.operation().unwrap_or("operation");
    let code = op.rc.unwrap_or(-1);
    let mut text = format!("{what}: {name} ended with {code}");
    text.push_str(&format!(" ({})", cib_model::exit_status_text(code).to_lowercase()));
    if let Some(reason) = op.exit_reason().filter(|r| !r.is_empty()) {
        text.push_str(&format!(", '{reason}'"));
    }
    text
}

fn threshold(ws: &Ws, rsc: RscIx, node: NodeIx) -> String {
    // The group or clone may be banned for the failure of a part.
    let parts = super::primitives(ws, ws.uber(rsc));
    let counts = parts.iter().map(|p| (*p, ws.recorded_failures(node, *p)));
    let worst = counts.max_by_key(|(_, (count, _))| *count);
    let Some((part, (count, last))) = worst else { return "it failed too often".to_owned() };
    let p = &ws[part];
    let times = match count {
        cib_model::INFINITY => "failed in a way that rules the node out".to_owned(),
        n => format!("failed {n} time{} there", if n == 1 { "" } else { "s" }),
    };
    let limit = readable_score(p.ban_after_failures);
    let mut text = format!("{} {times} (migration-threshold={limit})", configured(ws, part));
    if p.failure_expiration_ms > 0 && last > 0 {
        let left = last + i64::from(p.failure_expiration_ms) / 1000 - ws.now();
        text.push_str(&format!("; forgotten in {} s (failure-timeout)", left.max(0)));
    }
    text
}

fn ticket(ws: &Ws, rsc: RscIx) -> (String, Option<Change>) {
    let mut at = Some(rsc);
    while let Some(r) = at {
        let withheld = |t: &&crate::base::RscTicket| {
            !ws.tickets[t.ticket].granted || ws.tickets[t.ticket].standby
        };
        if let Some(t) = ws[r].tickets.iter().find(withheld) {
            let t = &ws.tickets[t.ticket];
            let state = if t.granted { "in standby" } else { "not granted to this site" };
            let change = Change::Grant(t.id.clone());
            return (format!("its ticket {} is {state}", t.id), Some(change));
        }
        at = ws[r].parent;
    }
    ("its ticket is not granted".to_owned(), None)
}

fn capacity(ws: &Ws, rsc: RscIx, node: NodeIx) -> String {
    let free =
        |name: &str| ws[node].utilization.iter().find(|(n, _)| &**n == name).map_or(0, |(_, v)| *v);
    let short: Vec<String> = ws[rsc]
        .utilization
        .iter()
        .filter(|(name, needed)| *needed > free(name))
        .map(|(name, needed)| format!("{name}: needs {needed}, {} left", free(name)))
        .collect();
    match short.is_empty() {
        true => "it does not fit there with what goes with it (utilization)".to_owned(),
        false => format!("it does not fit there ({})", short.join("; ")),
    }
}

/// Whether it, or something that it is part of, is flagged.
pub(super) fn flagged(ws: &Ws, rsc: RscIx, flag: u32) -> bool {
    ws[rsc].is(flag) || ws[rsc].parent.is_some_and(|p| flagged(ws, p, flag))
}

/// Whether it is blocked by a failure.
pub(super) fn blocked(ws: &Ws, rsc: RscIx) -> bool {
    flagged(ws, rsc, rf::BLOCKED)
}
