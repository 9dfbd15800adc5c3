//! From 2.10 to 3.0.
//!
//! Blocks that refer to another one by `id-ref` first get its content, and become references again
//! at the end if their content is still the same.

use cib_xml::{Doc, Node, NodeId};

use super::Dropped;

/// Starts the ids of blocks that stand for references.
const UNFOLDED: &str = "_cibtr-2_";
/// Starts the ids of everything that the upgrade makes.
const MADE: &str = "_2TO3_";

const CLUSTER_OPTIONS: [(&str, &str); 13] = [
    ("cluster_recheck_interval", "cluster-recheck-interval"),
    ("dc_deadtime", "dc-deadtime"),
    ("election_timeout", "election-timeout"),
    ("no_quorum_policy", "no-quorum-policy"),
    ("remove_after_stop", "remove-after-stop"),
    ("shutdown_escalation", "shutdown-escalation"),
    ("startup_fencing", "startup-fencing"),
    ("stonith_action", "stonith-action"),
    ("stonith_enabled", "stonith-enabled"),
    ("stop_orphan_actions", "stop-orphan-actions"),
    ("stop_orphan_resources", "stop-orphan-resources"),
    ("symmetric_cluster", "symmetric-cluster"),
    ("transition_idle_timeout", "cluster-delay"),
];

const DEFAULTS: [(&str, &str, &str); 6] = [
    ("default-action-timeout", "op_defaults", "timeout"),
    ("default_action_timeout", "op_defaults", "timeout"),
    ("default-resource-stickiness", "rsc_defaults", "resource-stickiness"),
    ("default_resource_stickiness", "rsc_defaults", "resource-stickiness"),
    ("is-managed-default", "rsc_defaults", "is-managed"),
    ("is_managed_default", "rsc_defaults", "is-managed"),
];

/// Is told what is not taken along.
type Tell<'a> = &'a mut dyn FnMut(Dropped);

/// What makes a configuration that 2.10 accepts one that 3.0 accepts, in this order.
pub(super) const PASSES: [fn(&mut Doc, Tell<'_>); 3] = [|doc, _| unfold(doc), transform, fold];

fn transform(doc: &mut Doc, tell: Tell<'_>) {
    let root = doc.root_id();
    doc.set_attr(root, "validate-with", "pacemaker-3.0");
    cluster_options(doc);
    for id in named(doc, &["node"]) {
        if doc.node(id).attr("type") == Some("normal") {
            doc.set_attr(id, "type", "member");
        }
    }
    for id in named(doc, &["primitive", "template"]) {
        parameters(doc, id);
        meta(doc, id);
        requires(doc, id, tell);
        operations(doc, id);
    }
    for id in named(doc, &["rsc_colocation"]) {
        doc.remove_attr(id, "score-attribute");
        doc.remove_attr(id, "score-attribute-mangle");
    }
}

fn named(doc: &Doc, names: &[&str]) -> Vec<NodeId> {
    let root = doc.root();
    root.descendants().filter(|n| names.contains(&n.name())).map(Node::id).collect()
}

fn children(doc: &Doc, id: NodeId, name: &str) -> Vec<NodeId> {
    doc.node(id).children_named(name).map(Node::id).collect()
}

fn attr(doc: &Doc, id: NodeId, name: &str) -> String {
    doc.node(id).attr(name).unwrap_or_default().to_string()
}

/// Drops a block that holds nothing any more.
fn drop_empty(doc: &mut Doc, block: NodeId) {
    if doc.node(block).children().next().is_none() {
        doc.detach(block);
    }
}

fn blocks(doc: &Doc) -> Vec<NodeId> {
    named(doc, &["cluster_property_set", "instance_attributes", "meta_attributes"])
}

fn unfold(doc: &mut Doc) {
    for id in blocks(doc) {
        let node = doc.node(id);
        let Some(target) = node.attr("id-ref").map(str::to_string) else { continue };
        let kind = node.name();
        let all = doc.root().descendants();
        let found = { all }.find(|n| n.name() == kind && n.attr("id") == Some(&target));
        let Some(content) = found.map(Doc::from_node) else { continue };
        let new_id = format!("{UNFOLDED}{target}");
        doc.clear_attrs(id);
        content.root().attrs().for_each(|(name, value)| doc.set_attr(id, name, value));
        doc.set_attr(id, "id", &new_id);
        for child in content.root().all_children() {
            doc.append_copy(id, child);
        }
        let below: Vec<NodeId> = doc.node(id).descendants().map(Node::id).collect();
        for inner in below.into_iter().filter(|inner| *inner != id) {
            if let Some(old) = doc.node(inner).attr("id").map(str::to_string) {
                doc.set_attr(inner, "id", &format!("_{new_id}__{old}"));
            }
        }
    }
}

/// Whether two elements are the same but for ids.
fn same(a: Node<'_>, b: Node<'_>) -> bool {
    let attrs = |n: Node<'_>| -> Vec<(String, String)> {
        let others = n.attrs().filter(|(name, _)| *name != "id");
        let mut all: Vec<_> = others.map(|(n, v)| (n.to_string(), v.to_string())).collect();
        all.sort();
        all
    };
    let (left, right): (Vec<_>, Vec<_>) = (a.children().collect(), b.children().collect());
    a.name() == b.name()
        && attrs(a) == attrs(b)
        && left.len() == right.len()
        && left.iter().zip(&right).all(|(x, y)| same(*x, *y))
}

fn fold(doc: &mut Doc, tell: Tell<'_>) {
    for id in blocks(doc) {
        let node = doc.node(id);
        let Some(target) = node.attr("id").and_then(|i| i.strip_prefix(UNFOLDED)) else {
            continue;
        };
        let target = target.to_string();
        let kind = node.name();
        let found = doc
            .root()
            .descendants()
            .find(|n| n.name() == kind && n.attr("id") == Some(target.as_str()));
        if found.is_none() {
            tell(Dropped::Reference { block: kind.to_string(), target });
        } else if found.is_some_and(|original| same(original, node)) {
            let below: Vec<NodeId> = node.all_children().map(Node::id).collect();
            below.into_iter().for_each(|child| doc.detach(child));
            doc.clear_attrs(id);
            doc.set_attr(id, "id-ref", &target);
        }
    }
}

/// Puts an nvpair into the defaults, unless they say something about this already.
fn to_defaults(doc: &mut Doc, pair: NodeId, section: &str) {
    doc.detach(pair);
    let Some(configuration) = doc.root().child("configuration").map(Node::id) else { return };
    let section_id = match doc.node(configuration).child(section).map(Node::id) {
        Some(id) => id,
        None => doc.append_element(configuration, section),
    };
    let sets = children(doc, section_id, "meta_attributes");
    let name = attr(doc, pair, "name");
    let known = sets
        .iter()
        .any(|set| doc.node(*set).children_named("nvpair").any(|p| p.attr("name") == Some(&name)));
    if known {
        return;
    }
    let own = sets.into_iter().find(|set| doc.node(*set).attr("id").is_some());
    let set = own.unwrap_or_else(|| {
        let set = doc.append_element(section_id, "meta_attributes");
        doc.set_attr(set, "id", &format!("{MADE}-{}", section.replace('_', "-")));
        set
    });
    doc.attach(set, pair, None);
}

fn cluster_options(doc: &mut Doc) {
    let mut moved: Vec<(NodeId, &str)> = Vec::new();
    let sets = named(doc, &["cluster_property_set"]);
    for set in &sets {
        for pair in children(doc, *set, "nvpair") {
            let name = attr(doc, pair, "name");
            let value = attr(doc, pair, "value");
            if let Some((_, new)) = CLUSTER_OPTIONS.iter().find(|(old, _)| *old == name) {
                doc.set_attr(pair, "name", new);
                continue;
            }
            if let Some((_, section, new)) = DEFAULTS.iter().find(|(old, ..)| *old == name) {
                doc.set_attr(pair, "name", new);
                moved.push((pair, section));
                continue;
            }
            match name.replace('_', "-").as_str() {
                "cluster-infrastructure"
                    if matches!(
                        value.as_str(),
                        "heartbeat"
                            | "openais"
                            | "classic openais"
                            | "classic openais (with plugin)"
                            | "cman"
                    ) =>
                {
                    doc.detach(pair);
                }
                "default-resource-failure-stickiness" if value == "-INFINITY" => {
                    doc.set_attr(pair, "name", "migration-threshold");
                    doc.set_attr(pair, "value", "1");
                    moved.push((pair, "rsc_defaults"));
                }
                "default-resource-failure-stickiness"
                | "default-migration-threshold"
                | "expected-quorum-votes"
                | "notification-agent"
                | "notification-recipient" => doc.detach(pair),
                _ => {}
            }
        }
    }
    for section in ["op_defaults", "rsc_defaults"] {
        for (pair, _) in moved.iter().filter(|(_, s)| *s == section) {
            to_defaults(doc, *pair, section);
        }
    }
    sets.into_iter().for_each(|set| drop_empty(doc, set));
}

fn parameters(doc: &mut Doc, rsc: NodeId) {
    for set in children(doc, rsc, "instance_attributes") {
        let pairs = children(doc, set, "nvpair");
        let had = !pairs.is_empty();
        for pair in pairs {
            let name = attr(doc, pair, "name");
            if name == "pcmk_arg_map" {
                let value = attr(doc, pair, "value");
                match value.strip_prefix("port:").filter(|rest| !rest.contains(',')) {
                    Some(argument) => {
                        doc.set_attr(pair, "name", "pcmk_host_argument");
                        doc.set_attr(pair, "value", argument);
                    }
                    None => doc.detach(pair),
                }
                continue;
            }
            let action = name.strip_prefix("pcmk_").and_then(|n| n.strip_suffix("_cmd"));
            if let Some(action @ ("list" | "monitor" | "off" | "on" | "reboot" | "status")) = action
            {
                doc.set_attr(pair, "name", &format!("pcmk_{action}_action"));
            }
        }
        if had {
            drop_empty(doc, set);
        }
    }
}

fn meta(doc: &mut Doc, rsc: NodeId) {
    for set in children(doc, rsc, "meta_attributes") {
        let pairs = children(doc, set, "nvpair");
        let had = !pairs.is_empty();
        for pair in pairs {
            let name = attr(doc, pair, "name");
            let new = match name.as_str() {
                "isolation" | "isolation-host" | "isolation-instance" | "isolation-wrapper" => {
                    ("target-role", "Stopped")
                }
                "resource-failure-stickiness" | "resource_failure_stickiness" => {
                    if attr(doc, pair, "value") != "-INFINITY" {
                        doc.detach(pair);
                        continue;
                    }
                    ("migration-threshold", "1")
                }
                _ => continue,
            };
            let known = doc
                .node(set)
                .children_named("nvpair")
                .any(|p| p.id() != pair && p.attr("name") == Some(new.0));
            if known {
                doc.detach(pair);
            } else {
                doc.set_attr(pair, "name", new.0);
                doc.set_attr(pair, "value", new.1);
            }
        }
        if had {
            drop_empty(doc, set);
        }
    }
}

/// Where a resource's `requires` comes from.
enum Requires {
    /// An attribute; id and value of the nvpair to make.
    New(String, String),
    /// An nvpair elsewhere.
    Moved(NodeId),
}

/// What an operation needs to be allowed belongs to the resource, and only for starting.
fn requires(doc: &mut Doc, rsc: NodeId, tell: Tell<'_>) {
    let known = doc
        .node(rsc)
        .children_named("meta_attributes")
        .any(|set| set.children_named("nvpair").any(|p| p.attr("name") == Some("requires")));
    let rsc_id = attr(doc, rsc, "id");
    let mut found: Option<(String, Requires)> = None;
    let ops: Vec<NodeId> =
        children(doc, rsc, "operations").into_iter().flat_map(|o| children(doc, o, "op")).collect();
    for op in ops {
        let starts = matches!(doc.node(op).attr("name"), Some("start" | "promote"));
        let counts = starts && !known;
        if let Some(value) = doc.node(op).attr("requires").map(str::to_string) {
            doc.remove_attr(op, "requires");
            if counts && found.is_none() {
                let pair = format!("{MADE}{}-meta-requires", attr(doc, op, "id"));
                found = Some((format!("{MADE}{rsc_id}-meta"), Requires::New(pair, value)));
            }
        }
        for kind in ["meta_attributes", "instance_attributes"] {
            for set in children(doc, op, kind) {
                let set_id = attr(doc, set, "id");
                let mut changed = false;
                for pair in children(doc, set, "nvpair") {
                    if doc.node(pair).attr("name") == Some("requires") {
                        doc.detach(pair);
                        changed = true;
                        if !starts {
                            tell(Dropped::Option {
                                block: kind,
                                block_id: set_id.clone(),
                                operation: attr(doc, op, "id"),
                                resource: rsc_id.clone(),
                                name: "requires",
                            });
                        }
                        if counts && found.is_none() {
                            found = Some((format!("{MADE}{set_id}"), Requires::Moved(pair)));
                        }
                    }
                }
                if changed {
                    drop_empty(doc, set);
                }
            }
        }
    }
    let Some((set_id, pair)) = found else { return };
    let set = doc.append_element(rsc, "meta_attributes");
    doc.set_attr(set, "id", &set_id);
    match pair {
        Requires::Moved(pair) => doc.attach(set, pair, None),
        Requires::New(id, value) => {
            let pair = doc.append_element(set, "nvpair");
            for (name, text) in [("id", id.as_str()), ("name", "requires"), ("value", &value)] {
                doc.set_attr(pair, name, text);
            }
        }
    }
}

/// Meta-attributes of operations that were written as parameters.
fn operations(doc: &mut Doc, rsc: NodeId) {
    const META: [&str; 7] = [
        "interval-origin",
        "start-delay",
        "enabled",
        "on-fail",
        "record-pending",
        "role",
        "timeout",
    ];
    let ops: Vec<NodeId> =
        children(doc, rsc, "operations").into_iter().flat_map(|o| children(doc, o, "op")).collect();
    for op in ops {
        for set in children(doc, op, "instance_attributes") {
            let set_id = attr(doc, set, "id");
            let mut changed = false;
            for pair in children(doc, set, "nvpair") {
                let name = attr(doc, pair, "name");
                if !META.contains(&name.as_str()) {
                    continue;
                }
                doc.detach(pair);
                changed = true;
                let metas = children(doc, op, "meta_attributes");
                let known = doc.node(op).attr(&name).is_some()
                    || metas.iter().any(|m| {
                        let mut pairs = doc.node(*m).children_named("nvpair");
                        pairs.any(|p| p.attr("name") == Some(&name))
                    });
                if known {
                    continue;
                }
                let own = metas.into_iter().find(|m| doc.node(*m).attr("id").is_some());
                let target = own.unwrap_or_else(|| {
                    let target = doc.append_element(op, "meta_attributes");
                    doc.set_attr(target, "id", &format!("{MADE}{set_id}"));
                    target
                });
                doc.attach(target, pair, None);
            }
            if changed {
                drop_empty(doc, set);
            }
        }
    }
}
