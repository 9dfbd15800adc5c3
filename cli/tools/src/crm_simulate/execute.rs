//! Pretending to carry a transition out: every action succeeds, and is written into the history.

use std::collections::BTreeSet;

use cib_xml::{Doc, Node, NodeId};
use crm_graph::{Action, ActionKind, Transition};
use crm_scheduler::Plan;

/// What came of it.
pub(super) struct Done {
    /// One line for each action, in the order of execution.
    pub(super) lines: Vec<String>,
    /// Whether all actions were reached.
    pub(super) complete: bool,
}

/// What is to be carried out.
pub(super) struct Pretended {
    transition: Transition,
    /// Ids of its actions' resources that the plan knows as such.
    known: BTreeSet<String>,
}

impl Pretended {
    pub(super) fn new(plan: Plan) -> Pretended {
        let resources = plan.transition.synapses.iter().filter_map(|s| s.action.resource.as_ref());
        let ids = resources.flat_map(|r| std::iter::once(&r.id).chain(&r.long_id));
        let known = ids.filter(|id| plan.has_resource(id)).cloned().collect();
        Pretended { transition: plan.transition, known }
    }

    /// Carries it out on `doc`.
    pub(super) fn execute(&self, doc: &mut Doc) -> Done {
        let mut lines = Vec::new();
        let mut confirmed: BTreeSet<u32> = BTreeSet::new();
        let mut open: Vec<usize> = (0..self.transition.synapses.len()).collect();
        loop {
            let before = open.len();
            open.retain(|at| {
                let synapse = &self.transition.synapses[*at];
                let ready = synapse.inputs.iter().all(|input| confirmed.contains(input));
                if ready {
                    perform(doc, &self.known, &synapse.action, &mut lines);
                    confirmed.insert(synapse.action.id);
                }
                !ready
            });
            if open.is_empty() || open.len() == before {
                return Done { lines, complete: open.is_empty() };
            }
        }
    }
}

fn perform(doc: &mut Doc, known: &BTreeSet<String>, action: &Action, lines: &mut Vec<String>) {
    let node = action.on_node.as_deref();
    match action.kind {
        ActionKind::Pseudo => {
            let on = node.map_or(String::new(), |n| format!(" on {n}"));
            lines.push(format!("Pseudo action:   {}{on}", action.key));
        }
        ActionKind::Cluster if action.operation == "stonith" => {
            let op = action.attribute("CRM_meta_stonith_action").unwrap_or("");
            lines.push(format!("Fencing {} ({op})", node.unwrap_or("")));
            if !op.eq_ignore_ascii_case("on") {
                fence(doc, node.unwrap_or(""), action.on_node_uuid.as_deref());
            }
        }
        ActionKind::Cluster => {
            let what = &action.operation;
            let on = node.unwrap_or("");
            lines.push(match &action.resource {
                Some(rsc) => format!("Cluster action:  {what} for {} on {on}", rsc.id),
                None => format!("Cluster action:  {what} on {on}"),
            });
        }
        ActionKind::Resource => resource_action(doc, known, action, lines),
    }
}

fn resource_action(
    doc: &mut Doc,
    known: &BTreeSet<String>,
    action: &Action,
    lines: &mut Vec<String>,
) {
    let (Some(rsc), Some(node)) = (&action.resource, action.on_node.as_deref()) else { return };
    let long = rsc.long_id.as_deref().filter(|l| known.contains(*l));
    let name = if known.contains(&rsc.id) { &rsc.id } else { long.unwrap_or(&rsc.id) };
    let operation = action.operation.as_str();
    let interval: u32 =
        action.attribute("CRM_meta_interval").and_then(|i| i.parse().ok()).unwrap_or(0);
    let repeated = match operation {
        "delete" | "meta-data" => String::new(),
        _ if interval > 0 => format!("={interval}"),
        _ => String::new(),
    };
    lines.push(format!("Resource action: {name:<15} {operation}{repeated} on {node}"));
    if matches!(operation, "delete" | "meta-data") {
        return;
    }
    let id = match &action.router_node {
        Some(_) => node,
        None => action.on_node_uuid.as_deref().unwrap_or(node),
    };
    let state = node_state(doc, node, Some(id));
    let history = history_of(doc, state, name, rsc);
    record(doc, history, action, &rsc.id, interval);
}

fn find(doc: &Doc, parent: NodeId, test: impl Fn(Node<'_>) -> bool) -> Option<NodeId> {
    doc.node(parent).children().find(|c| test(*c)).map(Node::id)
}

fn child(doc: &mut Doc, parent: NodeId, name: &str) -> NodeId {
    match find(doc, parent, |c| c.name() == name) {
        Some(found) => found,
        None => doc.append_element(parent, name),
    }
}

/// The state entry of a node, made if there is none.
fn node_state(doc: &mut Doc, name: &str, id: Option<&str>) -> NodeId {
    let root = doc.root_id();
    let status = child(doc, root, "status");
    let named = |c: Node<'_>| c.name() == "node_state" && c.attr("uname") == Some(name);
    if let Some(found) = find(doc, status, named) {
        return found;
    }
    let id = id.unwrap_or(name);
    let known = |c: Node<'_>| c.name() == "node_state" && c.attr("id") == Some(id);
    let state = match find(doc, status, known) {
        Some(found) => found,
        None => {
            let made = doc.append_element(status, "node_state");
            doc.set_attr(made, "id", id);
            made
        }
    };
    doc.set_attr(state, "uname", name);
    state
}

/// The history of a resource on a node, made if there is none.
fn history_of(doc: &mut Doc, state: NodeId, name: &str, rsc: &crm_graph::Resource) -> NodeId {
    let lrm = child(doc, state, "lrm");
    let list = child(doc, lrm, "lrm_resources");
    for id in [name, &rsc.id] {
        let own = |c: Node<'_>| c.name() == "lrm_resource" && c.attr("id") == Some(id);
        if let Some(found) = find(doc, list, own) {
            return found;
        }
    }
    let entry = doc.append_element(list, "lrm_resource");
    doc.set_attr(entry, "id", &rsc.id);
    doc.set_attr(entry, "class", &rsc.class);
    if let Some(provider) = &rsc.provider {
        doc.set_attr(entry, "provider", provider);
    }
    doc.set_attr(entry, "type", &rsc.agent);
    entry
}

/// Writes the result of an action: the one that was hoped for.
fn record(doc: &mut Doc, history: NodeId, action: &Action, rsc: &str, interval: u32) {
    let task = match action.operation.as_str() {
        "reload" | "reload-agent" => "start",
        other => other,
    };
    let rc = action.attribute("CRM_meta_op_target_rc").unwrap_or("0").to_owned();
    let call = doc
        .node(history)
        .children()
        .filter_map(|c| c.attr("call-id").and_then(cib_model::scan_int))
        .fold(0, i64::max)
        + 1;
    let key = format!("{rsc}_{task}_{interval}");
    let id = match task {
        "notify" => {
            let meta = |name| action.attribute(name).unwrap_or("");
            let (kind, about) = (meta("CRM_meta_notify_type"), meta("CRM_meta_notify_operation"));
            format!("{rsc}_{kind}_notify_{about}_0")
        }
        "migrate_to" | "migrate_from" => key.clone(),
        _ if interval > 0 => key.clone(),
        _ => format!("{rsc}_last_0"),
    };
    let op = match find(doc, history, |c| c.attr("id") == Some(&id)) {
        Some(found) => found,
        None => doc.append_element(history, "lrm_rsc_op"),
    };
    let transition_key = format!("{call}:-1:{rc}:xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    let magic = format!("0:{rc};{transition_key}");
    let call = call.to_string();
    let interval = interval.to_string();
    let node = action.on_node.as_deref().unwrap_or("");
    for (name, value) in [
        ("id", id.as_str()),
        ("operation_key", &key),
        ("operation", task),
        ("crm-debug-origin", "crm_simulate"),
        ("crm_feature_set", crm_scheduler::FEATURE_SET),
        ("transition-key", &transition_key),
        ("transition-magic", &magic),
        ("exit-reason", ""),
        ("on_node", node),
        ("call-id", &call),
        ("rc-code", &rc),
        ("op-status", "0"),
        ("interval", &interval),
    ] {
        doc.set_attr(op, name, value);
    }
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    doc.set_attr(op, "last-rc-change", &seconds.to_string());
    doc.set_attr(op, "exec-time", "0");
    doc.set_attr(op, "queue-time", "0");
    if task.starts_with("migrate_") {
        for name in ["migrate_source", "migrate_target"] {
            if let Some(node) = action.attribute(&format!("CRM_meta_{name}")) {
                doc.set_attr(op, name, node);
            }
        }
    }
}

/// Writes that a node is down, and forgets what was known about it.
fn fence(doc: &mut Doc, node: &str, id: Option<&str>) {
    let state = node_state(doc, node, id);
    for (name, value) in
        [("in_ccm", "false"), ("crmd", "offline"), ("join", "down"), ("expected", "down")]
    {
        doc.set_attr(state, name, value);
    }
    for name in ["lrm", "transient_attributes"] {
        while let Some(found) = find(doc, state, |c| c.name() == name) {
            doc.detach(found);
        }
    }
}
