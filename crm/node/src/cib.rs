//! Between the CIB and the machines: what they write becomes operations, what changes becomes
//! what they understand.

use std::collections::BTreeMap;

use cib_model::Time;
use cib_store::{Operation, Target, Who};
use cib_xml::{Doc, Node, Style, quoted};
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
                    "/cib/status/node_state[@id={}]/transient_attributes\
                     /instance_attributes[@id={}]/nvpair[@id={}]",
                    quoted(&id),
                    quoted(&set),
                    quoted(&pair)
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

/// What a patchset means for the plan, and for those who keep a part of the CIB, which is `cib` now.
/// `internal` if one of the cluster's own parts has made the change.
pub(crate) fn classify(
    patch: Node<'_>,
    cib: Node<'_>,
    nodes: &BTreeMap<NodeId, String>,
    config_changed: bool,
    internal: bool,
) -> CibChange {
    let mut change = CibChange { configuration: config_changed, ..CibChange::default() };
    for element in patch.children_named("change") {
        let path = element.attr("path").unwrap_or_default();
        let inside = |name: &str| element.descendants().any(|n| n.name() == name);
        if path == "/cib" {
            let stands = |n: Node<'_>| matches!(n.attr("name"), Some("have-quorum" | "dc-uuid"));
            change.kept_changed |= !internal && element.descendants().any(stands);
        }
        if !(path.starts_with("/cib/status") || (path == "/cib" && inside("status"))) {
            continue;
        }
        if path.contains("/transient_attributes") || inside("transient_attributes") {
            change.attributes = true;
        }
        if path.starts_with("/cib/status/tickets") || inside("tickets") {
            change.tickets = true;
        }
        // Who removes entries of the history alone wants them forgotten: the resource is probed.
        let deletes = element.attr("operation") == Some("delete");
        let entry = deletes && path.contains("/lrm_resource[");
        change.history_removed |= !internal && entry;
        let state = path.starts_with("/cib/status/node_state") || inside("node_state");
        let all = deletes && path == "/cib/status";
        change.kept_changed |= !internal && (all || state && !entry);
    }
    change.kept_changed |= !internal && config_changed && lacks_kept(cib, nodes);
    change
}

/// Whether the configuration lacks what the controller writes there.
fn lacks_kept(cib: Node<'_>, nodes: &BTreeMap<NodeId, String>) -> bool {
    let section = |name| cib.child("configuration").and_then(|c| c.child(name));
    let written = |(id, name): (&NodeId, &String)| {
        let is = |n: Node<'_>| {
            n.attr("id") == Some(&id.to_string()) && n.attr("uname") == Some(name.as_str())
        };
        section("nodes").is_some_and(|nodes| nodes.children_named("node").any(is))
    };
    let bootstrap = section("crm_config").and_then(|config| {
        let mut sets = config.children_named("cluster_property_set");
        sets.find(|set| set.attr("id") == Some("cib-bootstrap-options"))
    });
    let set = |name: &str| {
        let is = |pair: Node<'_>| pair.attr("name") == Some(name);
        bootstrap.is_some_and(|set| set.children_named("nvpair").any(is))
    };
    !nodes.iter().all(written) || !crm_controller::BOOTSTRAP_OPTIONS.iter().all(|name| set(name))
}

/// The nodes that were members once, by their `<node_state>`. It does not count that one of `rivals`
/// is said to be down: that may be over.
pub(crate) fn seen_nodes(cib: Node<'_>, rivals: &[NodeId]) -> Vec<Seen> {
    let states = cib.child("status").into_iter().flat_map(|s| s.children_named("node_state"));
    let member = |n: &Node<'_>| n.attr("in_ccm").is_some() || n.child("lrm").is_some();
    let seen = |n: Node<'_>| {
        let node = NodeId(n.attr("id")?.parse().ok()?);
        let down = n.attr("expected") == Some("down") && !rivals.contains(&node);
        Some(Seen { node, down })
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

/// The options that the controller obeys, as the plans' own reader has them at this time.
pub(crate) fn controller_options(cib: Node<'_>, now: Time) -> Options {
    let set = cib_model::cluster_options(cib, now);
    let ms = |name: &str| u64::from(set.duration_ms(name));
    // A limit may be INFINITY; none is as good.
    let fence_limit = set.get("fence-limit").and_then(|limit| limit.trim().parse().ok());
    Options {
        dc_deadtime_ms: ms("dc-deadtime"),
        recheck_ms: ms("cluster-recheck-interval"),
        fencing_timeout_ms: ms("fencing-timeout"),
        shutdown_escalation_ms: ms("shutdown-escalation"),
        cluster_delay_ms: ms("cluster-delay"),
        fence_limit: fence_limit.unwrap_or(0),
        fence_limit_interval_ms: ms("fence-limit-interval"),
        panics: set.get("fence-reaction").is_some_and(|v| v.trim().eq_ignore_ascii_case("panic")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not set, and what is not valid, is as the table of options has it: the same as the
    /// controller begins with.
    #[test]
    fn the_controller_obeys_the_options_that_plans_are_made_with() {
        let read = |sets: &str, at: i64| {
            let xml = format!(
                "<cib><configuration><crm_config>{sets}</crm_config></configuration></cib>"
            );
            let doc = Doc::parse(&xml).expect("it is XML");
            controller_options(doc.root(), Time::from_epoch(at))
        };
        let set = |id: &str, attributes: &str, rule: &str, value: &str| {
            format!(
                "<cluster_property_set id='{id}' {attributes}>{rule}<nvpair id='{id}-t' \
                 name='stonith-timeout' value='{value}'/></cluster_property_set>"
            )
        };
        let timeout = |sets: &str| read(sets, 1_700_000_000).fencing_timeout_ms;
        assert_eq!(read("", 0), Options::default());
        assert_eq!(timeout(&set("a", "", "", "nonsense")), 60_000);
        let own = set("cib-bootstrap-options", "", "", "10s");
        assert_eq!(timeout(&(own.clone() + &set("b", "", "", "20s"))), 10_000, "it goes first");
        let scored = set("a", "score='9'", "", "30s") + &set("b", "score='1'", "", "40s");
        assert_eq!(timeout(&scored), 30_000, "the higher score goes first");
        let rule =
            "<rule id='r'><date_expression id='e' operation='gt' start='2030-01-01'/></rule>";
        let later = set("a", "score='9'", rule, "50s") + &set("b", "", "", "60s");
        assert_eq!(timeout(&later), 60_000, "not yet");
        assert_eq!(read(&later, 2_000_000_000).fencing_timeout_ms, 50_000);
    }
}
