//! What is configured and recorded about resources.

use cib_model::{ResourceKind, Role, Time};
use cib_xml::{Doc, Node, Style};

use super::{Fail, Work};
use crate::dates::Date;
use crate::exit;
use crate::output::{Element, Out};
use crate::show::{Cluster, Filter, Show, status_text, time_text};

fn add_names(cluster: &Cluster, ix: usize, list: &mut Vec<String>) {
    let rsc = cluster.rsc(ix);
    if rsc.children.is_empty() {
        list.push(rsc.id.to_string());
    }
    rsc.children.iter().for_each(|c| add_names(cluster, *c, list));
}

pub(super) fn names(work: &Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let mut list = Vec::new();
    work.cluster.view.top.iter().for_each(|r| add_names(&work.cluster, *r, &mut list));
    if list.is_empty() {
        out.error("NO resources configured\n");
        return Err((exit::NOSUCH, String::new()));
    }
    let count = list.len();
    let mut xml = Element::new("list").attr("name", "resource names").attr("count", count);
    for name in list {
        out.line(&name);
        xml.push(Element::new("item").attr("name", "resource").text(name));
    }
    out.xml(xml);
    Ok(())
}

pub(super) fn locate(work: &Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let cluster = &work.cluster;
    let at = work.rsc()?;
    let rsc = cluster.rsc(at);
    let top = cluster.top(at, false);
    let by_base =
        rsc.history_id.as_deref() == Some(&*work.name) || crate::show::base(&rsc.id) == work.name;
    let clone = if rsc.def.kind == ResourceKind::Clone {
        Some(at)
    } else {
        let shared = cluster.rsc(top).def.kind == ResourceKind::Clone && !rsc.unique;
        (shared && by_base && *rsc.id != *work.name).then_some(top)
    };
    let list = match clone {
        Some(clone) => cluster.rsc(clone).children.clone(),
        None => vec![at],
    };
    let mut found: Vec<(String, bool)> = Vec::new();
    for ix in list {
        let each = cluster.rsc(ix);
        let promoted = each.promotable && each.state == Role::Promoted;
        for node in &each.nodes {
            found.insert(0, (cluster.node(*node).name.to_string(), promoted));
        }
    }
    let name = &work.name;
    let mut xml = Element::new("nodes").attr("resource", name);
    if found.is_empty() && !out.quiet && !out.is_xml() {
        out.error(&format!("resource {name} is NOT running"));
    }
    for (node, promoted) in found {
        let role = if promoted { " Promoted" } else { "" };
        out.line(&if out.quiet {
            node.clone()
        } else {
            format!("resource {name} is running on: {node}{role}")
        });
        let element = Element::new("node").maybe("state", promoted.then_some("promoted"));
        xml.push(element.text(node));
    }
    out.xml(xml);
    Ok(())
}

/// A resource's element with the content of its template.
fn expanded(doc: &Doc, found: Node<'_>) -> Doc {
    let own = Doc::from_node(found);
    let template = found.attr("template").and_then(|t| doc.root().find_id(t));
    let Some(template) = template else { return own };
    let mut out = Doc::new(found.name());
    let root = out.root_id();
    for (name, value) in template.attrs().chain(found.attrs()) {
        if name != "template" {
            out.set_attr(root, name, value);
        }
    }
    template.children().chain(found.children()).for_each(|child| {
        out.append_copy(root, child);
    });
    out
}

pub(super) fn config(work: &Work<'_>, with_template: bool, out: &mut Out) -> Result<(), Fail> {
    let cluster = &work.cluster;
    let at = work.rsc()?;
    let show = Show { pending: true, ..Show::default() };
    let all = Filter::all();
    cluster.print_rsc(at, show, &all, &all, out);
    let id = &cluster.rsc(at).def.id;
    let resources = cluster.doc.root().child("configuration").and_then(|c| c.child("resources"));
    let found = resources.and_then(|r| r.descendants().find(|n| n.attr("id") == Some(id.as_ref())));
    let text = match found {
        None => String::new(),
        Some(node) if with_template => expanded(&cluster.doc, node).root().to_xml(Style::Pretty),
        Some(node) => node.to_xml(Style::Pretty),
    };
    out.line("Resource XML:");
    out.print(&text);
    let mut xml = Element::new("resource_config");
    if let Some(element) = cluster.rsc_xml(at, show, &all, &all) {
        xml.push(element);
    }
    out.xml(xml.child(Element::new("xml").raw(text)));
    Ok(())
}

/// The operations of a history that are still in effect.
fn in_effect(ops: &[Node<'_>]) -> usize {
    let (mut start, mut stop, mut monitor, mut promoted) = (None, None, None, None);
    for (ix, op) in ops.iter().enumerate() {
        match op.attr("operation") {
            Some("stop") if op.attr("op-status") == Some("0") => stop = Some(ix),
            Some("start" | "migrate_from") => start = Some(ix),
            Some("monitor") if monitor <= stop && matches!(op.attr("rc-code"), Some("0" | "8")) => {
                monitor = Some(ix);
            }
            Some("promote" | "demote") => promoted = Some(ix),
            _ => {}
        }
    }
    let start = start.or(promoted).or(monitor);
    if start < stop { ops.len() } else { start.unwrap_or(0) }
}

pub(super) fn operations(work: &Work<'_>, active: bool, out: &mut Out) -> Result<(), Fail> {
    let cluster = &work.cluster;
    let host = work.node_name();
    let mut xml = Element::new("operations");
    let status = cluster.doc.root().child("status");
    for state in status.iter().flat_map(|s| s.children_named("node_state")) {
        let node = cluster.view.nodes.iter().find(|n| Some(&*n.id) == state.attr("id"));
        let name = match node {
            Some(node) => node.name.as_ref(),
            None => continue,
        };
        if host.as_ref().is_some_and(|h| h != name) {
            continue;
        }
        let lrm = state.child("lrm").and_then(|l| l.child("lrm_resources"));
        for entry in lrm.iter().flat_map(|l| l.children_named("lrm_resource")) {
            let id = entry.attr("id").unwrap_or_default();
            if !work.name.is_empty() && work.name != id {
                continue;
            }
            let mut ops: Vec<Node<'_>> = entry.children_named("lrm_rsc_op").collect();
            let call = |n: &Node<'_>| n.attr("call-id").and_then(|c| c.parse::<i64>().ok());
            ops.sort_by_key(call);
            let from = if active { in_effect(&ops) } else { 0 };
            for op in &ops[from..] {
                operation(cluster, id, name, *op, out, &mut xml);
            }
        }
    }
    if !xml.is_empty() {
        out.xml(xml);
    }
    Ok(())
}

fn operation(
    cluster: &Cluster,
    id: &str,
    node: &str,
    op: Node<'_>,
    out: &mut Out,
    xml: &mut Element,
) {
    let key = op.attr("operation_key").or(op.attr("id")).unwrap_or_default();
    let get = |name: &str| op.attr(name).unwrap_or_default();
    let status = status_text(op.attr("op-status").and_then(|s| s.parse().ok()));
    let change = op.attr("last-rc-change").and_then(|t| t.parse().ok()).map(time_text);
    let found = cluster.find(id);
    let what = match found {
        Some(ix) => {
            let rsc = cluster.rsc(ix);
            let show = Show { rsc_only: true, pending: true, ..Show::default() };
            cluster.primitive_text(ix, &rsc.shown_id, rsc.current, show, false)
        }
        None => format!("Unknown resource {id}"),
    };
    let timing = change
        .as_ref()
        .map(|at| format!(", last-rc-change='{at}', exec={}ms", get("exec-time")))
        .unwrap_or_default();
    let (call, rc) = (get("call-id"), get("rc-code"));
    out.line(&format!("{what}: {key} (node={node}, call={call}, rc={rc}{timing}): {status}"));
    let mut element = Element::new("operation")
        .attr("op", key)
        .attr("node", node)
        .attr("call", call)
        .attr("rc", rc)
        .attr("status", status);
    if let Some(ix) = found {
        let def = &cluster.rsc(ix).def;
        let class = def.class.as_deref().unwrap_or_default();
        let has = cib_model::capabilities(Some(class)).provider;
        let provider = def.provider.as_deref().filter(|_| has).unwrap_or_default();
        let agent = format!("{class}:{provider}:{}", def.agent.as_deref().unwrap_or_default());
        element = element.attr("rsc", &cluster.rsc(ix).shown_id).attr("agent", agent);
    }
    if let Some(at) = change {
        element = element.attr("last-rc-change", at).maybe("exec-time", op.attr("exec-time"));
    }
    xml.push(element);
}

/// Digest over parameters, whatever their order.
pub(crate) fn hash<T: AsRef<str>>(params: &[(T, T)]) -> String {
    let mut sorted: Vec<_> = params.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
    sorted.sort_unstable();
    let mut doc = Doc::new("parameters");
    let root = doc.root_id();
    sorted.iter().for_each(|(name, value)| doc.set_attr(root, name, value));
    cib_xml::digest::on_disk(doc.root())
}

pub(super) fn digests(work: &Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let cluster = &work.cluster;
    let at = work.rsc()?;
    let rsc = cluster.rsc(at);
    if rsc.def.kind != ResourceKind::Primitive {
        return Err((exit::ERROR, String::new()));
    }
    let node = work.node_name().unwrap_or_default();
    let now = Time::from_epoch(Date::now().epoch());
    let params =
        crm_scheduler::overview::parameters(cluster.model.clone(), now, &rsc.id, Some(&node));
    let mut all: Vec<(String, String)> =
        params.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let history = work.node.and_then(|n| best_op(cluster, n, at));
    let task = history.and_then(|op| op.attr("operation")).unwrap_or("start");
    let recorded = history.and_then(|op| op.attr("interval")).and_then(|i| i.parse().ok());
    let mut interval: u32 = recorded.unwrap_or(0);
    let mut timeout = None;
    for pair in &work.given.rest {
        let Some((name, value)) = pair.split_once('=') else {
            let text = format!("Error parsing '{pair}' as a name=value pair");
            return super::usage(&text);
        };
        match name {
            "CRM_meta_interval" => interval = value.parse().unwrap_or(interval),
            "CRM_meta_timeout" => timeout = Some(value.to_string()),
            _ => {
                all.retain(|(n, _)| n != name);
                all.push((name.into(), value.into()));
            }
        }
    }
    all.retain(|(name, _)| !matches!(name.as_str(), "id" | "crm_feature_set" | "op-digest"));
    let listed = |attr: &str| -> Option<Vec<String>> {
        let list = history?.attr(attr)?;
        Some(list.split_whitespace().map(str::to_string).collect())
    };
    let secret = match history {
        None => Some(vec!["passwd".into(), "password".into(), "user".into()]),
        Some(_) => listed("op-secure-params"),
    };
    let secret = secret.unwrap_or_default();
    let private: Vec<_> = all.iter().filter(|(n, _)| !secret.contains(n)).cloned().collect();
    let restart = history.filter(|op| op.attr("op-restart-digest").is_some()).map(|_| {
        let keep = listed("op-force-restart").unwrap_or_default();
        all.iter().filter(|(n, _)| keep.contains(n)).cloned().collect::<Vec<_>>()
    });
    if interval > 0
        && let Some(timeout) = timeout
    {
        all.push(("CRM_meta_timeout".into(), timeout));
    }
    let action = match (interval, task) {
        (0, "monitor") => "probe action".to_string(),
        (0, task) => format!("{task} action"),
        (ms, task) => format!("{ms}ms-interval {task} action"),
    };
    out.line(&format!("Digests for {} {action} on {node}", rsc.id));
    let mut xml = Element::new("digests")
        .attr("resource", &rsc.id)
        .attr("node", &node)
        .attr("task", task)
        .attr("interval", format!("{interval}ms"));
    let kinds = [
        ("all", "all parameters", Some(all)),
        ("nonprivate", "non-private parameters", Some(private)),
        ("nonreloadable", "non-reloadable parameters", restart),
    ];
    for (kind, words, params) in kinds {
        let Some(mut params) = params else { continue };
        params.sort_by(|a, b| b.cmp(a));
        let digest = hash(&params);
        out.line(&format!("{digest} ({words})"));
        let mut element = Element::new("parameters");
        for (name, value) in params {
            element = element.attr(&name, value);
        }
        let each = Element::new("digest").attr("type", kind).attr("hash", digest);
        xml.push(each.child(element));
    }
    out.xml(xml);
    Ok(())
}

/// The recorded operation that says most about a resource's parameters on a node: a start or probe
/// with a digest for reloads, else one that does not recur, else any.
fn best_op(cluster: &Cluster, node: usize, ix: usize) -> Option<Node<'_>> {
    let node = cluster.node(node);
    let rsc = cluster.rsc(ix);
    let history = rsc.history_id.as_deref().unwrap_or(&rsc.id);
    let status = cluster.doc.root().child("status")?;
    let state =
        status.children_named("node_state").find(|s| s.attr("id") == Some(node.id.as_ref()))?;
    let list = state.child("lrm")?.child("lrm_resources")?;
    let entry = list.children_named("lrm_resource").find(|e| e.attr("id") == Some(history))?;
    let rank = |op: &Node<'_>| {
        let recurs = !matches!(op.attr("interval"), None | Some("0"));
        let call: i64 = op.attr("call-id").and_then(|c| c.parse().ok()).unwrap_or(-1);
        let start = matches!(op.attr("operation"), Some("start" | "monitor" | "migrate_from"));
        (op.attr("op-restart-digest").is_some(), start && !recurs, !recurs, call)
    };
    entry.children_named("lrm_rsc_op").max_by_key(rank)
}
