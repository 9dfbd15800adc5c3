//! Moving resources, by constraints that the tool makes and removes.

use cib_model::{ResourceKind, Role};
use cib_store::{Operation, Target};
use cib_xml::{Doc, NodeId, Style, quoted};

use super::{Fail, Work, refused, usage};
use crate::cib::Cib;
use crate::dates::{Date, Duration};
use crate::exit;
use crate::output::Out;

/// When a constraint ends, if it does.
fn lifetime(work: &Work<'_>, out: &mut Out) -> Result<Option<String>, Fail> {
    let Some(text) = work.given.get("lifetime") else { return Ok(None) };
    let Some(duration) = Duration::parse(text) else {
        out.error(&format!(
            "Invalid duration specified: {text}\nDurations are written as in ISO 8601, for \
             example PT30M"
        ));
        return usage("Invalid --lifetime");
    };
    let end = Date::now().plus(duration, 1).text(true);
    out.line(&format!("Migration will take effect until: {end}"));
    Ok(Some(end))
}

struct Constraint<'a> {
    /// `ban` or `prefer`.
    ban: bool,
    rsc: &'a str,
    node: &'a str,
    role: Option<&'a str>,
    end: Option<&'a str>,
}

impl Constraint<'_> {
    fn to_xml(&self) -> String {
        let Constraint { rsc, node, .. } = self;
        let id =
            if self.ban { format!("cli-ban-{rsc}-on-{node}") } else { format!("cli-prefer-{rsc}") };
        let part = |ban: &str, prefer: &str| {
            if self.ban { format!("{id}-{ban}") } else { format!("cli-prefer-{prefer}-{rsc}") }
        };
        let score = if self.ban { "-INFINITY" } else { "INFINITY" };
        let mut doc = Doc::new("constraints");
        let root = doc.root_id();
        let set = |doc: &mut Doc, at: NodeId, attrs: &[(&str, &str)]| {
            attrs.iter().for_each(|(name, value)| doc.set_attr(at, name, value));
        };
        let location = doc.append_element(root, "rsc_location");
        let role = self.role.unwrap_or("Started");
        set(&mut doc, location, &[("id", &id), ("rsc", rsc), ("role", role)]);
        match self.end {
            None => set(&mut doc, location, &[("node", node), ("score", score)]),
            Some(end) => {
                let rule = doc.append_element(location, "rule");
                let rule_id = part("rule", "rule");
                set(&mut doc, rule, &[("id", &rule_id), ("score", score), ("boolean-op", "and")]);
                let expression = doc.append_element(rule, "expression");
                let attrs = [
                    ("id", &*part("expr", "expr")),
                    ("attribute", "#uname"),
                    ("operation", "eq"),
                    ("value", node),
                    ("type", "string"),
                ];
                set(&mut doc, expression, &attrs);
                let date = doc.append_element(rule, "date_expression");
                let date_id = part("lifetime", "lifetime-end");
                set(&mut doc, date, &[("id", &date_id), ("operation", "lt"), ("end", end)]);
            }
        }
        doc.root().to_xml(Style::Compact)
    }
}

fn ban_on(
    work: &mut Work<'_>,
    rsc: &str,
    node: &str,
    promoted: bool,
    out: &mut Out,
) -> Result<(), Fail> {
    let end = lifetime(work, out)?;
    let doing = if promoted { "being promoted" } else { "running" };
    out.line(&format!(
        "WARNING: Creating rsc_location constraint 'cli-ban-{rsc}-on-{node}' with a score of \
         -INFINITY for resource {rsc} on {node}.\n\tThis will prevent {rsc} from {doing} on \
         {node} until the constraint is removed using the clear option or by editing the CIB \
         with an appropriate tool.\n\tThis will be the case even if {node} is the last node in \
         the cluster"
    ));
    let role = promoted.then_some("Promoted");
    let constraint = Constraint { ban: true, rsc, node, role, end: end.as_deref() };
    work.cib.merge("constraints", constraint.to_xml()).map_err(refused)
}

fn promoted_only(work: &Work<'_>) -> bool {
    work.given.has("promoted") || work.given.has("master")
}

/// Nodes where a resource is active or promoted.
fn promoted_nodes(work: &Work<'_>, ix: usize) -> Vec<usize> {
    let cluster = &work.cluster;
    let children = cluster.rsc(ix).children.iter().map(|c| cluster.rsc(*c));
    children.filter(|c| c.state == Role::Promoted).filter_map(|c| c.current).collect()
}

/// Bans a resource from where it is.
fn ban_here(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let at = work.rsc()?;
    let name = work.name.clone();
    let promoted = promoted_only(work);
    let rsc = work.cluster.rsc(at);
    let active = active_nodes(work, at);
    if let [node] = active[..] {
        let node = work.cluster.node(node).name.to_string();
        return ban_on(work, &name, &node, promoted, out);
    }
    let count = active.len();
    if rsc.promotable {
        let promoted_on = promoted_nodes(work, at);
        if let [node] = promoted_on[..] {
            let node = work.cluster.node(node).name.to_string();
            return ban_on(work, &name, &node, promoted, out);
        }
        return usage(&format!(
            "Resource '{name}' not moved: active in {count} locations (promoted in {}).\nTo \
             prevent '{name}' from running on a specific location, specify a node.To prevent \
             '{name}' from being promoted at a specific location, specify a node and the \
             --promoted option.",
            promoted_on.len()
        ));
    }
    usage(&format!(
        "Resource '{name}' not moved: active in {count} locations.\nTo prevent '{name}' from \
         running on a specific location, specify a node."
    ))
}

/// Nodes that count as places where the resource is active.
fn active_nodes(work: &Work<'_>, ix: usize) -> Vec<usize> {
    let rsc = work.cluster.rsc(ix);
    if rsc.def.kind == ResourceKind::Clone {
        let online = |n: &usize| {
            let node = work.cluster.node(*n);
            node.online && !node.unclean
        };
        return rsc.nodes.iter().copied().filter(online).collect();
    }
    rsc.nodes.clone()
}

pub(super) fn ban(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    match work.node_name() {
        None => ban_here(work, out),
        Some(node) => {
            let name = work.name.clone();
            ban_on(work, &name, &node, promoted_only(work), out)
        }
    }
}

pub(super) fn move_to(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let Some(dest) = work.node else { return ban_here(work, out) };
    let mut at = work.rsc()?;
    let mut name = work.name.clone();
    let mut promoted = promoted_only(work);
    if promoted && !work.cluster.rsc(at).promotable {
        let top = work.cluster.top(at, false);
        if work.cluster.rsc(top).promotable {
            at = top;
            let parent = work.cluster.rsc(top).id.to_string();
            out.line(&format!("Using parent '{parent}' for move instead of '{name}'"));
            name = parent;
        } else {
            out.line(&format!("Ignoring --promoted option: {name} is not promotable"));
            promoted = false;
        }
    }
    let mut active = active_nodes(work, at);
    if work.cluster.rsc(at).promotable {
        let on = promoted_nodes(work, at);
        if promoted || !on.is_empty() {
            active = on;
        }
    }
    let is_clone = work.cluster.rsc(at).def.kind == ResourceKind::Clone;
    if active.len() > 1 && !is_clone {
        return Err((exit::MULTIPLE, String::new()));
    }
    let current = if let [one] = active[..] { Some(one) } else { None };
    if current == Some(dest) && !work.force {
        return Err((108, String::new()));
    }
    let dest_name = work.cluster.node(dest).name.to_string();
    clear_node(work, &name, None, false)?;
    clear_node(work, &name, Some(&dest_name), true)?;
    let end = lifetime(work, out)?;
    let role = promoted.then_some("Promoted");
    let constraint =
        Constraint { ban: false, rsc: &name, node: &dest_name, role, end: end.as_deref() };
    work.cib.merge("constraints", constraint.to_xml()).map_err(refused)?;
    if work.force && current != Some(dest) {
        match current {
            Some(current) => {
                let node = work.cluster.node(current).name.to_string();
                // The preference stands even if this is refused.
                let _ = ban_on(work, &name, &node, promoted, out);
            }
            None if active.len() > 1 => {
                let state = if promoted { "promoted" } else { "active" };
                let count = active.len();
                out.line(&format!(
                    "Resource '{name}' is currently {state} in {count} locations. One may now \
                     move to {dest_name}"
                ));
                out.line(&format!(
                    "To prevent '{name}' from being {state} at a specific location, specify a \
                     node"
                ));
            }
            None => {}
        }
    }
    Ok(())
}

fn remove(cib: &mut dyn Cib, xml: String) -> Result<(), Fail> {
    match cib.delete("constraints", xml) {
        Err(e) if e.exit_code() != exit::NOSUCH => Err(refused(e)),
        _ => Ok(()),
    }
}

/// Removes constraints made by this tool, for one node or for all.
fn clear_node(work: &mut Work<'_>, rsc: &str, node: Option<&str>, bans: bool) -> Result<(), Fail> {
    let nodes: Vec<String> = match node {
        Some(node) => vec![node.into()],
        None => work.cluster.view.nodes.iter().map(|n| n.name.to_string()).collect(),
    };
    for node in nodes {
        let xpath = format!(
            "//rsc_location[@id={}][rule[@id={}]/expression[@attribute='#uname' and @value={}]]",
            quoted(&format!("cli-prefer-{rsc}")),
            quoted(&format!("cli-prefer-rule-{rsc}")),
            quoted(&node)
        );
        let op = Operation::Delete { target: Target::XPath(xpath), xml: None };
        match work.cib.apply(&op, false) {
            Err(e) if e.exit_code() != exit::NOSUCH => return Err(refused(e)),
            _ => {}
        }
        let location = |id: String, node: Option<&str>| {
            let mut doc = Doc::new("constraints");
            let root = doc.root_id();
            let location = doc.append_element(root, "rsc_location");
            doc.set_attr(location, "id", &id);
            if let Some(node) = node {
                doc.set_attr(location, "node", node);
            }
            doc.root().to_xml(Style::Compact)
        };
        if bans {
            remove(work.cib.as_mut(), location(format!("cli-ban-{rsc}-on-{node}"), None))?;
        }
        let only = (!work.force).then_some(node.as_str());
        remove(work.cib.as_mut(), location(format!("cli-prefer-{rsc}"), only))?;
    }
    Ok(())
}

/// Ids of all location constraints, sorted.
fn location_ids(doc: &Doc) -> Vec<String> {
    let mut ids: Vec<String> = doc
        .root()
        .descendants()
        .filter(|n| n.name() == "rsc_location")
        .filter_map(|n| n.attr("id"))
        .map(str::to_string)
        .collect();
    ids.sort();
    ids
}

pub(super) fn clear(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let before = location_ids(&work.cluster.doc);
    let node = work.node_name();
    if work.given.has("expired") {
        clear_expired(work, node.as_deref())?;
    } else {
        let name = work.name.clone();
        clear_node(work, &name, node.as_deref(), true)?;
    }
    let after = work
        .cib
        .read()
        .map_err(|e| (e.exit_code(), format!("Could not get modified CIB: {}", e.kind.text())))?;
    let after = location_ids(&after);
    for id in before.iter().filter(|id| !after.contains(id)) {
        out.line(&format!("Removing constraint: {id}"));
    }
    Ok(())
}

fn clear_expired(work: &mut Work<'_>, node: Option<&str>) -> Result<(), Fail> {
    let now = Date::now().epoch();
    let mut over = Vec::new();
    for location in work.cluster.doc.root().descendants().filter(|n| n.name() == "rsc_location") {
        let (Some(id), rsc) = (location.attr("id"), location.attr("rsc").unwrap_or_default())
        else {
            continue;
        };
        let date_id = if id.starts_with("cli-ban-") {
            format!("{id}-lifetime")
        } else if id.starts_with("cli-prefer-") {
            format!("cli-prefer-lifetime-end-{rsc}")
        } else {
            continue;
        };
        if !work.name.is_empty() && rsc != work.name {
            continue;
        }
        if promoted_only(work) && !matches!(location.attr("role"), Some("Promoted" | "Master")) {
            continue;
        }
        let below: Vec<_> = location.descendants().collect();
        let on = |name: &str| {
            location.attr("node") == Some(name)
                || below
                    .iter()
                    .any(|n| n.attr("attribute") == Some("#uname") && n.attr("value") == Some(name))
        };
        if node.is_some_and(|n| !on(n)) {
            continue;
        }
        let date = below
            .iter()
            .find(|n| n.name() == "date_expression" && n.attr("id") == Some(&date_id))
            .and_then(|n| n.attr("end"))
            .and_then(Date::parse);
        if date.is_some_and(|end| end.epoch() < now) {
            over.push(id.to_string());
        }
    }
    for id in over {
        let mut doc = Doc::new("constraints");
        let root = doc.root_id();
        let location = doc.append_element(root, "rsc_location");
        doc.set_attr(location, "id", &id);
        remove(work.cib.as_mut(), doc.root().to_xml(Style::Compact))?;
    }
    Ok(())
}
