//! Between the CIB and the machines: what they write becomes operations, what changes becomes
//! what they understand.

use std::collections::BTreeMap;

use cib_store::{Operation, Target, Who};
use cib_xml::{Doc, Node, Style};
use crm_attributes::Written;
use crm_controller::{CibChange, CibWrite, Options, Seen};
use membership_base::{NodeId, View};

use crate::Setup;

/// How the cluster itself signs its changes.
pub(crate) const CONTROLLER: &str = "controller";
pub(crate) const ATTRIBUTES: &str = "attributes";

/// Access rights of the cluster itself.
pub(crate) fn internal(client: &str) -> Who {
    Who { user: "root".to_owned(), client: client.to_owned(), internal: true, ..Who::default() }
}

fn section(name: &str, xml: String) -> Operation {
    Operation::Modify {
        target: Target::Section(name.to_owned()),
        xml,
        allow_create: true,
        score: false,
    }
}

/// The controller's changes as one operation.
pub(crate) fn controller_writes(writes: Vec<CibWrite>) -> Operation {
    let operation = |write| match write {
        CibWrite::Status(xml) => section("status", xml),
        CibWrite::Nodes(xml) => section("nodes", xml),
        CibWrite::Options(xml) => section("crm_config", xml),
        CibWrite::Root(xml) => {
            Operation::Modify { target: Target::Whole, xml, allow_create: false, score: false }
        }
        CibWrite::Delete(xpath) => Operation::DeleteAll { xpath },
    };
    Operation::Transaction(writes.into_iter().map(operation).collect())
}

/// Changed attributes as one operation on `<status>`.
pub(crate) fn attribute_writes(
    written: Vec<Written>,
    nodes: &BTreeMap<NodeId, String>,
) -> Operation {
    let mut operations = Vec::new();
    for Written { node, name, value, set } in written {
        let id = nodes.iter().find(|(_, n)| **n == node).map(|(id, _)| id.to_string());
        let id = id.unwrap_or_else(|| node.clone());
        let set = set.unwrap_or_else(|| format!("status-{id}"));
        let pair: String = format!("{set}-{name}")
            .chars()
            .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '.' })
            .collect();
        match value {
            Some(value) => {
                let xml = attribute_xml(&id, &node, &set, &pair, &name, &value);
                operations.push(section("status", xml));
            }
            None => operations.push(Operation::DeleteAll {
                xpath: format!(
                    "/cib/status/node_state[@id='{id}']/transient_attributes\
                     /instance_attributes[@id='{set}']/nvpair[@id='{pair}']"
                ),
            }),
        }
    }
    Operation::Transaction(operations)
}

fn attribute_xml(id: &str, uname: &str, set: &str, pair: &str, name: &str, value: &str) -> String {
    let mut doc = Doc::new("node_state");
    let root = doc.root_id();
    doc.set_attr(root, "id", id);
    doc.set_attr(root, "uname", uname);
    let transient = doc.append_element(root, "transient_attributes");
    doc.set_attr(transient, "id", id);
    let block = doc.append_element(transient, "instance_attributes");
    doc.set_attr(block, "id", set);
    let nvpair = doc.append_element(block, "nvpair");
    doc.set_attr(nvpair, "id", pair);
    doc.set_attr(nvpair, "name", name);
    doc.set_attr(nvpair, "value", value);
    doc.root().to_xml(Style::Compact)
}

/// What a patchset means for the plan, given whose change it is.
pub(crate) fn classify(patch: Node<'_>, config_changed: bool, client: &str) -> CibChange {
    let mut change = CibChange { configuration: config_changed, ..CibChange::default() };
    for element in patch.children_named("change") {
        let path = element.attr("path").unwrap_or_default();
        if !path.starts_with("/cib/status") {
            continue;
        }
        let deletes = element.attr("operation") == Some("delete");
        let inside = |name: &str| element.descendants().any(|n| n.name() == name);
        if path.contains("transient_attributes") || inside("transient_attributes") {
            change.attributes = true;
        }
        if deletes && client != CONTROLLER && (path.contains("/lrm") || path.contains("node_state"))
        {
            change.history_removed = true;
        }
    }
    change
}

/// The nodes that were members once, by their `<node_state>`.
pub(crate) fn seen_nodes(cib: Node<'_>) -> Vec<Seen> {
    let states = cib.child("status").into_iter().flat_map(|s| s.children_named("node_state"));
    let member = |n: &Node<'_>| n.attr("in_ccm").is_some() || n.child("lrm").is_some();
    let seen = |n: Node<'_>| {
        let node = NodeId(n.attr("id")?.parse().ok()?);
        Some(Seen { node, down: n.attr("expected") == Some("down") })
    };
    states.filter(member).filter_map(seen).collect()
}

/// The transient attributes of members.
pub(crate) fn stored_attributes(cib: Node<'_>, view: &View, setup: &Setup) -> Vec<Written> {
    let mut stored = Vec::new();
    for state in cib.child("status").into_iter().flat_map(|s| s.children_named("node_state")) {
        let id = state.attr("id").and_then(|id| id.parse().ok()).map(NodeId);
        let member = id.filter(|id| view.members.contains(id));
        let Some(node) = member.and_then(|id| setup.nodes.get(&id)) else { continue };
        let kept = state.children_named("transient_attributes").flat_map(|t| t.children());
        for set in kept.filter(|s| s.name() == "instance_attributes") {
            for name in set.children_named("nvpair").filter_map(|pair| pair.attr("name")) {
                stored.push(Written {
                    node: node.clone(),
                    name: name.to_owned(),
                    value: None,
                    set: set.attr("id").map(str::to_owned),
                });
            }
        }
    }
    stored
}

/// The options that the controller obeys.
pub(crate) fn controller_options(cib: Node<'_>) -> Options {
    let mut options = Options::default();
    let sets = cib.child("configuration").and_then(|c| c.child("crm_config"));
    let pairs = sets.into_iter().flat_map(|c| c.descendants()).filter(|n| n.name() == "nvpair");
    for pair in pairs {
        let (Some(name), Some(value)) = (pair.attr("name"), pair.attr("value")) else { continue };
        if name == "fence-limit" {
            options.fence_limit = value.trim().parse().unwrap_or(options.fence_limit);
            continue;
        }
        let parsed = cib_model::text::parse_ms(value).and_then(|ms| u64::try_from(ms).ok());
        let Some(ms) = parsed else { continue };
        match name {
            "dc-deadtime" => options.dc_deadtime_ms = ms,
            "cluster-recheck-interval" => options.recheck_ms = ms,
            "stonith-timeout" | "fencing-timeout" => options.fencing_timeout_ms = ms,
            "shutdown-escalation" => options.shutdown_escalation_ms = ms,
            "fence-limit-interval" => options.fence_limit_interval_ms = ms,
            "cluster-delay" => options.cluster_delay_ms = ms,
            _ => {}
        }
    }
    options
}
