//! From 3.10 to 4.0.
//!
//! References by `id-ref` are first replaced by copies of what they name, and what is left of the
//! copies becomes references again at the end: so each step need not know about them. Which
//! elements were there before is kept in a mark meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use cib_xml::{Doc, Node, NodeId};

use super::Dropped;

/// Starts the ids of everything that the upgrade makes.
const PREFIX: &str = "pcmk__3_10_upgrade-";
/// Attribute that says whether an element was there before (1) or is a copy (0).
const MARK: &str = "original";
/// When copies of copies are made no further.
const NODES_MAX: usize = 1_000_000;
const SETS: [&str; 4] =
    ["cluster_property_set", "instance_attributes", "meta_attributes", "utilization"];

/// Hears what is left behind.
type Tell<'a> = &'a mut dyn FnMut(Dropped);

/// Rewrites a configuration that 3.10 accepts.
pub(super) fn transform(doc: &mut Doc, tell: Tell<'_>) {
    resolve(doc);
    let root = doc.root_id();
    doc.set_attr(root, "validate-with", "pacemaker-4.0");
    sort_sets(doc);
    values(doc, tell);
    duplicates(doc);
    ping_nodes(doc);
    promotable(doc);
    split_locations(doc);
    lifetimes(doc, tell);
    unsupported(doc, tell);
    finish(doc);
}

fn all(doc: &Doc) -> Vec<NodeId> {
    let root = doc.root();
    std::iter::once(root).chain(root.descendants()).map(Node::id).collect()
}

fn named(doc: &Doc, name: &str) -> Vec<NodeId> {
    doc.root().descendants().filter(|n| n.name() == name).map(Node::id).collect()
}

fn attr(doc: &Doc, id: NodeId, name: &str) -> String {
    doc.node(id).attr(name).unwrap_or_default().to_string()
}

fn children(doc: &Doc, id: NodeId, name: &str) -> Vec<NodeId> {
    doc.node(id).children_named(name).map(Node::id).collect()
}

/// An element that is not part of the document yet.
fn element(doc: &mut Doc, name: &str, attrs: &[(&str, &str)]) -> NodeId {
    let source = Doc::new(name);
    let id = doc.copy_detached(source.root());
    attrs.iter().for_each(|(name, value)| doc.set_attr(id, name, value));
    id
}

/// Another element just like it, with all below.
fn duplicate(doc: &mut Doc, source: NodeId) -> NodeId {
    let part = Doc::from_node(doc.node(source));
    doc.copy_detached(part.root())
}

/// A copy of an element with all below, marked as one.
fn copy(doc: &mut Doc, source: NodeId) -> NodeId {
    let id = duplicate(doc, source);
    mark(doc, id, "0");
    id
}

fn mark(doc: &mut Doc, top: NodeId, value: &str) {
    let ids: Vec<NodeId> =
        std::iter::once(top).chain(doc.node(top).descendants().map(Node::id)).collect();
    ids.into_iter().for_each(|id| doc.set_attr(id, MARK, value));
}

/// Puts copies in the place of references.
fn resolve(doc: &mut Doc) {
    let mut by_id: BTreeMap<(String, String), NodeId> = BTreeMap::new();
    let mut references = Vec::new();
    for id in all(doc) {
        let node = doc.node(id);
        if node.attr("id-ref").is_some() {
            references.push(id);
        } else if let Some(name) = node.attr("id") {
            by_id.entry((node.name().to_string(), name.to_string())).or_insert(id);
        }
        doc.set_attr(id, MARK, "1");
    }
    // What is referred to may itself hold references: those below first.
    let mut rounds = references.len();
    references.reverse();
    while !references.is_empty() {
        let mut copies = Vec::new();
        for id in std::mem::take(&mut references) {
            if doc.arena_len() > NODES_MAX {
                return;
            }
            let name = doc.node(id).name().to_string();
            let wanted = attr(doc, id, "id-ref");
            // What refers to something that it is itself part of cannot be resolved.
            let mut at = doc.node(id).parent();
            let mut inside = false;
            while let Some(up) = at {
                inside |= up.name() == name && up.attr("id") == Some(&wanted);
                at = up.parent();
            }
            let target = by_id.get(&(name, wanted)).copied().filter(|_| !inside);
            let Some(parent) = doc.node(id).parent().map(Node::id) else { continue };
            if let Some(target) = target {
                let new = copy(doc, target);
                if let Some(other) = doc.node(id).attr("name").map(str::to_string)
                    && doc.node(id).name() == "nvpair"
                {
                    let new_id = format!("{PREFIX}{}-{other}", attr(doc, target, "id"));
                    doc.set_attr(new, "id", &new_id);
                    doc.set_attr(new, "name", &other);
                }
                doc.attach(parent, new, Some(id));
                copies.push(new);
            }
            doc.detach(id);
        }
        if rounds == 0 {
            break;
        }
        rounds -= 1;
        for new in copies {
            let inner = doc.node(new).descendants().filter(|n| n.attr("id-ref").is_some());
            references.extend(inner.map(Node::id));
        }
    }
}

/// Order of a block among its siblings, greatest score first.
fn set_order(node: Node<'_>) -> (u8, i64) {
    if node.name() == "cluster_property_set" && node.attr("id") == Some("cib-bootstrap-options") {
        return (0, 0);
    }
    match node.attr("score").unwrap_or("0").trim() {
        "INFINITY" | "+INFINITY" => (1, 0),
        "-INFINITY" => (5, 0),
        text => match text.parse::<i64>().unwrap_or(0) {
            score @ 1.. => (2, -score),
            0 => (3, 0),
            score => (4, -score),
        },
    }
}

fn sort_sets(doc: &mut Doc) {
    for id in all(doc) {
        let sets = doc.node(id).children().filter(|n| SETS.contains(&n.name()));
        let mut sets: Vec<(u8, i64, NodeId)> = sets
            .map(|n| {
                let (class, score) = set_order(n);
                (class, score, n.id())
            })
            .collect();
        sets.sort_by_key(|(class, score, _)| (*class, *score));
        for (_, _, set) in sets {
            doc.detach(set);
            doc.attach(id, set, None);
        }
    }
}

/// Options that got another name, or are gone.
fn values(doc: &mut Doc, tell: Tell<'_>) {
    for id in named(doc, "nvpair") {
        let node = doc.node(id);
        let option = node.parent().is_some_and(|p| p.name() == "cluster_property_set");
        let Some(value) = node.attr("value") else {
            doc.detach(id);
            continue;
        };
        if !option {
            continue;
        }
        match node.attr("name").unwrap_or_default() {
            "crmd-finalization-timeout" => doc.set_attr(id, "name", "join-finalization-timeout"),
            "crmd-integration-timeout" => doc.set_attr(id, "name", "join-integration-timeout"),
            "crmd-transition-delay" => doc.set_attr(id, "name", "transition-delay"),
            "remove-after-stop" => {
                let name = attr(doc, id, "id");
                let why = "the remove-after-stop property is unsupported";
                tell(Dropped::Unsupported(format!("nvpair {name} because {why}")));
                doc.detach(id);
            }
            "stonith-action" if value == "poweroff" => doc.set_attr(id, "value", "off"),
            _ => {}
        }
    }
    for id in named(doc, "date_spec") {
        if doc.node(id).attr("moon").is_some() {
            let name = attr(doc, id, "id");
            let why = "moon phase is no longer supported";
            let text = format!("moon attribute from date spec {name} because {why}");
            tell(Dropped::Unsupported(text));
        }
        doc.remove_attr(id, "moon");
    }
    for id in named(doc, "fencing-level") {
        if attr(doc, id, "index").trim().parse::<f64>().is_ok_and(|index| index > 9.0) {
            doc.detach(id);
        }
    }
}

/// Of several values with one name in a block only the one that counts stays.
fn duplicates(doc: &mut Doc) {
    for set in all(doc) {
        let pairs: Vec<(String, bool, NodeId)> = doc
            .node(set)
            .children_named("nvpair")
            .map(|p| {
                let unset = p.attr("value") == Some("#default");
                (p.attr("name").unwrap_or_default().to_string(), unset, p.id())
            })
            .collect();
        let mut drop = Vec::new();
        for (at, (name, unset, id)) in pairs.iter().enumerate() {
            let mut after = pairs[at + 1..].iter().filter(|(n, ..)| n == name);
            let superseded =
                if *unset { after.next().is_some() } else { after.any(|(_, unset, _)| *unset) };
            // Since the last time that the name was unset, is there another value before this?
            let known = pairs[..at]
                .iter()
                .rev()
                .filter(|(n, ..)| n == name)
                .take_while(|(_, unset, _)| !*unset)
                .count();
            if superseded || (!*unset && known > 0) {
                drop.push(*id);
            }
        }
        drop.into_iter().for_each(|id| doc.detach(id));
    }
}

fn constraints(doc: &Doc) -> Option<NodeId> {
    let configuration = doc.root().child("configuration")?;
    configuration.child("constraints").map(Node::id)
}

/// Ping nodes become members that nothing may run on.
fn ping_nodes(doc: &mut Doc) {
    for id in named(doc, "node") {
        if doc.node(id).attr("type") != Some("ping") {
            continue;
        }
        doc.set_attr(id, "type", "member");
        let uname = attr(doc, id, "uname");
        if let Some(constraints) = constraints(doc) {
            let attrs = [
                ("id", &*format!("{PREFIX}ping-node-ban-{uname}")),
                ("rsc-pattern", ".*"),
                ("node", &uname),
                ("score", "-INFINITY"),
                ("resource-discovery", "never"),
            ];
            let ban = element(doc, "rsc_location", &attrs);
            doc.attach(constraints, ban, None);
        }
    }
}

/// `master` is a promotable clone, `masters` is how many instances may be promoted.
fn promotable(doc: &mut Doc) {
    for id in named(doc, "master") {
        doc.rename(id, "clone");
        let set_id = format!("{PREFIX}promotable-legacy-{}-meta_attributes", attr(doc, id, "id"));
        let set = element(doc, "meta_attributes", &[("id", &set_id), ("score", "INFINITY")]);
        let pair_id = format!("{set_id}-promotable");
        let attrs = [("id", &*pair_id), ("name", "promotable"), ("value", "true")];
        let pair = element(doc, "nvpair", &attrs);
        doc.attach(set, pair, None);
        let first = doc.node(id).all_children().next().map(Node::id);
        doc.attach(id, set, first);
    }
    for id in all(doc) {
        if let Some(masters) = doc.node(id).attr("masters").map(str::to_string) {
            doc.remove_attr(id, "masters");
            doc.set_attr(id, "promoted-max", &masters);
        }
    }
}

/// A location constraint has one rule: one with several becomes several.
fn split_locations(doc: &mut Doc) {
    let mut replaced: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in named(doc, "rsc_location") {
        let rules = children(doc, id, "rule");
        let Some(parent) = doc.node(id).parent().map(Node::id) else { continue };
        if rules.len() < 2 {
            continue;
        }
        let old_id = attr(doc, id, "id");
        let attrs: Vec<(String, String)> =
            doc.node(id).attrs().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let sets = children(doc, id, "resource_set");
        let ends = children(doc, id, "lifetime");
        let mut new_ids = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            let new = element(doc, "rsc_location", &[]);
            attrs.iter().for_each(|(name, value)| doc.set_attr(new, name, value));
            let new_id = format!("{PREFIX}{old_id}-{}", at + 1);
            doc.set_attr(new, "id", &new_id);
            doc.set_attr(new, MARK, "0");
            new_ids.push(new_id);
            doc.attach(parent, new, Some(id));
            // The first one keeps the definitions, the others refer to them.
            let part = |doc: &mut Doc, part: NodeId| {
                let part = if at == 0 { duplicate(doc, part) } else { copy(doc, part) };
                doc.attach(new, part, None);
            };
            sets.iter().for_each(|s| part(doc, *s));
            doc.detach(*rule);
            doc.attach(new, *rule, None);
            ends.iter().for_each(|e| part(doc, *e));
        }
        doc.detach(id);
        replaced.insert(old_id, new_ids);
    }
    for id in named(doc, "acl_permission") {
        if let Some(new_ids) = replaced.get(&attr(doc, id, "reference")) {
            let any: Vec<String> = new_ids.iter().map(|i| format!("@id = '{i}'")).collect();
            doc.remove_attr(id, "reference");
            doc.set_attr(id, "xpath", &format!("//*[{}]", any.join(" or ")));
        }
    }
}

/// What was limited in time by an element of its own gets a rule.
fn lifetimes(doc: &mut Doc, tell: Tell<'_>) {
    keep_rules(doc);
    for id in named(doc, "lifetime") {
        let Some(parent) = doc.node(id).parent() else { continue };
        let (parent, is_location) = (parent.id(), parent.name() == "rsc_location");
        doc.detach(id);
        let name = attr(doc, parent, "id");
        if !is_location {
            tell(Dropped::Unsupported(format!(
                "lifetime element from constraint {name} because lifetime elements are no longer \
                 supported. Any rules contained there will no longer apply to the constraint"
            )));
            continue;
        }
        let both_id = format!("{PREFIX}{name}-lifetime-and-rule");
        let both = element(doc, "rule", &[("id", &both_id), ("boolean-op", "and")]);
        match children(doc, parent, "rule").first().copied() {
            Some(rule) => {
                doc.detach(rule);
                doc.attach(both, rule, None);
            }
            None => {
                let rule_id = format!("{PREFIX}{name}-node-score-rule");
                let rule = element(doc, "rule", &[("id", &rule_id)]);
                if let Some(score) = doc.node(parent).attr("score").map(str::to_string) {
                    doc.set_attr(rule, "score", &score);
                }
                let attrs = [
                    ("id", &*format!("{rule_id}-expr")),
                    ("attribute", "#uname"),
                    ("operation", "eq"),
                    ("value", &attr(doc, parent, "node")),
                ];
                let expression = element(doc, "expression", &attrs);
                doc.attach(rule, expression, None);
                doc.attach(both, rule, None);
            }
        }
        doc.remove_attr(parent, "node");
        doc.remove_attr(parent, "score");
        let rules = children(doc, id, "rule");
        let holder = if rules.len() > 1 {
            let any_id = format!("{PREFIX}{name}-lifetime-or-rule");
            let any = element(doc, "rule", &[("id", &any_id), ("boolean-op", "or")]);
            doc.attach(both, any, None);
            any
        } else {
            both
        };
        for rule in rules {
            doc.detach(rule);
            doc.attach(holder, rule, None);
        }
        doc.attach(parent, both, None);
    }
}

/// Rules of colocations and orders that something else refers to move to a constraint that applies
/// to nothing.
fn keep_rules(doc: &mut Doc) {
    let Some(holder) = constraints(doc) else { return };
    let in_dropped = |node: Node<'_>| {
        let mut at = node.parent();
        while let Some(up) = at {
            if up.name() == "lifetime" {
                let place = up.parent().map(|p| p.name());
                return matches!(place, Some("rsc_colocation" | "rsc_order"));
            }
            at = up.parent();
        }
        false
    };
    let mut live = Vec::new();
    let rules: Vec<Node<'_>> = doc.root().descendants().filter(|n| n.name() == "rule").collect();
    for rule in &rules {
        let top = rule.parent().is_some_and(|p| p.name() == "lifetime");
        if !top || !in_dropped(*rule) || rule.attr(MARK) != Some("1") {
            continue;
        }
        let id = rule.attr("id");
        if rules.iter().any(|r| r.attr("id") == id && !in_dropped(*r)) {
            live.push(rule.id());
        }
    }
    if live.is_empty() {
        return;
    }
    let name = format!("{PREFIX}coloc-order-lifetime-rules");
    let location = element(doc, "rsc_location", &[("id", &name), ("rsc-pattern", "a^")]);
    let rule_id = format!("{name}-rule");
    let rule = element(doc, "rule", &[("id", &rule_id), ("score", "-INFINITY")]);
    for id in live {
        doc.detach(id);
        doc.attach(rule, id, None);
    }
    doc.attach(location, rule, None);
    doc.attach(holder, location, None);
}

/// Resources that can no longer be, with what refers to them.
fn unsupported(doc: &mut Doc, tell: Tell<'_>) {
    let gone_class = |node: Node<'_>| {
        let class = node.attr("class").unwrap_or_default().to_ascii_lowercase();
        class == "nagios" || class == "upstart"
    };
    let mut drop: BTreeSet<NodeId> = BTreeSet::new();
    let mut templates: BTreeSet<String> = BTreeSet::new();
    let everything = all(doc);
    for id in &everything {
        let node = doc.node(*id);
        if node.name() == "template" && gone_class(node) {
            templates.insert(attr(doc, *id, "id"));
            drop.insert(*id);
        }
    }
    for id in &everything {
        let node = doc.node(*id);
        let template = node.attr("template").is_some_and(|t| templates.contains(t));
        let gone = match node.name() {
            "primitive" => gone_class(node) || template,
            "bundle" => node.child("rkt").is_some(),
            _ => false,
        };
        if gone {
            drop.insert(*id);
        }
    }
    for id in &everything {
        let node = doc.node(*id);
        let empty = match node.name() {
            "group" => node.children_named("primitive").all(|p| drop.contains(&p.id())),
            "clone" => node
                .descendants()
                .filter(|n| n.name() == "primitive")
                .all(|p| drop.contains(&p.id())),
            _ => false,
        };
        if empty {
            drop.insert(*id);
        }
    }
    let resources: BTreeSet<String> = drop
        .iter()
        .filter(|id| doc.node(**id).name() != "template")
        .map(|id| attr(doc, *id, "id"))
        .collect();
    let is_gone =
        |node: Node<'_>, name: &str| node.attr(name).is_some_and(|rsc| resources.contains(rsc));
    for id in &everything {
        let node = doc.node(*id);
        let gone = match node.name() {
            "resource_ref" => is_gone(node, "id"),
            "resource_set" => node.children_named("resource_ref").all(|r| is_gone(r, "id")),
            "rsc_location" | "rsc_ticket" | "rsc_colocation" | "rsc_order" => {
                let named = ["rsc", "with-rsc", "first", "then"];
                let mut sets = node.children_named("resource_set").peekable();
                let empty = sets.peek().is_some()
                    && sets.all(|s| s.children_named("resource_ref").all(|r| is_gone(r, "id")));
                named.iter().any(|n| is_gone(node, n)) || empty
            }
            "nvpair" => {
                let meta = node.parent().filter(|p| p.name() == "meta_attributes");
                let holder = meta.and_then(Node::parent).map(|p| p.name());
                match node.attr("name") {
                    Some("restart-type") => matches!(
                        holder,
                        Some(
                            "template"
                                | "primitive"
                                | "group"
                                | "clone"
                                | "bundle"
                                | "rsc_defaults"
                        )
                    ),
                    Some("can_fail" | "role_after_failure") => {
                        matches!(holder, Some("op" | "op_defaults"))
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        if gone {
            drop.insert(*id);
        }
    }
    let told = everything.iter().filter(|id| drop.contains(id)).map(|id| doc.node(*id));
    told.filter_map(why_dropped).for_each(|text| tell(Dropped::Unsupported(text)));
    drop.into_iter().for_each(|id| doc.detach(id));
}

/// What goes and why, for elements that go by themselves and not with another one.
fn why_dropped(node: Node<'_>) -> Option<String> {
    let id = node.attr("id").unwrap_or_default();
    let no_longer = |what: &str| format!("because {what} are no longer supported");
    let classes = || no_longer(&format!("{} resources", class_of(node)));
    Some(match node.name() {
        "template" => format!("template {id} {}", classes()),
        "primitive" => format!("resource {id} {}", classes()),
        "bundle" => format!("bundle resource {id} {}", no_longer("rkt containers")),
        kind @ ("group" | "clone") => format!("{kind} {id} because it would become empty"),
        "nvpair" => {
            let set = node.parent().and_then(|set| set.attr("id")).unwrap_or_default();
            let name = node.attr("name").unwrap_or_default();
            let instead = match name {
                "restart-type" => "the \"kind\" attribute for relevant constraints",
                _ => "the \"on-fail\" operation attribute instead",
            };
            format!(
                "{name} meta-attribute from {set} because it is no longer supported. Consider \
                 setting {instead}"
            )
        }
        _ => return None,
    })
}

/// The class of a resource, or of its template.
fn class_of<'a>(node: Node<'a>) -> &'a str {
    let template = || {
        let name = node.attr("template")?;
        let mut above = std::iter::successors(Some(node), |node| node.parent());
        let mut all = above.find(|n| n.name() == "resources")?.children_named("template");
        all.find(|t| t.attr("id") == Some(name))?.attr("class")
    };
    node.attr("class").or_else(template).unwrap_or_default()
}

/// Copies become references again, and marks go.
fn finish(doc: &mut Doc) {
    let everything = all(doc);
    let id_of = |id: NodeId| doc.node(id).attr("id").map(str::to_string);
    let ids: BTreeSet<String> = everything.iter().filter_map(|id| id_of(*id)).collect();
    let originals: BTreeSet<String> = everything
        .iter()
        .filter(|id| doc.node(**id).attr(MARK) == Some("1"))
        .filter_map(|id| id_of(*id))
        .collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut gone: BTreeSet<NodeId> = BTreeSet::new();
    for id in &everything {
        if gone.contains(id) {
            continue;
        }
        let Some(name) = doc.node(*id).attr("id").map(str::to_string) else { continue };
        let original = doc.node(*id).attr(MARK) == Some("1");
        if !original && (originals.contains(&name) || seen.contains(&name)) {
            let below: Vec<NodeId> = doc.node(*id).all_children().map(Node::id).collect();
            gone.extend(doc.node(*id).descendants().map(Node::id));
            below.into_iter().for_each(|child| doc.detach(child));
            doc.clear_attrs(*id);
            doc.set_attr(*id, "id-ref", &name);
        }
        seen.insert(name);
    }
    for id in everything.into_iter().filter(|id| !gone.contains(id)) {
        doc.remove_attr(id, MARK);
        let dangling = doc.node(id).name() == "acl_permission"
            && doc.node(id).attr("reference").is_some_and(|r| !ids.contains(r));
        if dangling {
            doc.remove_attr(id, "reference");
            doc.set_attr(id, "xpath", "/*[false()]");
        }
    }
}
