//! `systole node`: nodes and their attributes.

use anyhow::bail;
use cib_xml::{Doc, quoted};
use clap::Subcommand;
use crm_api::{Request, Response};
use crm_attributes::{Change, Update};
use serde::Serialize;

use crate::print_list;
use crate::session::{Session, pair, xml_id};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// All nodes with their membership
    List,
    /// Move everything away and let nothing run there
    Standby {
        /// Which node; the local one if not given
        node: Option<String>,
    },
    /// Let resources run there again
    Unstandby {
        /// Which node; the local one if not given
        node: Option<String>,
    },
    /// Leave everything there as it is, whatever happens
    Maintenance {
        /// Which node; the local one if not given
        node: Option<String>,
    },
    /// Take care of the node again
    Unmaintenance {
        /// Which node; the local one if not given
        node: Option<String>,
    },
    /// Permanent attributes: show all, or set NAME=VALUE … (an empty value removes)
    Attribute {
        /// Which node
        node: String,
        /// NAME=VALUE
        pairs: Vec<String>,
    },
    /// Transient attributes: show all, or set NAME=VALUE … (an empty value removes)
    Transient {
        /// Which node
        node: String,
        /// NAME=VALUE
        pairs: Vec<String>,
    },
}

#[derive(Serialize)]
struct Listed {
    id: u32,
    name: String,
    member: bool,
    dc: bool,
}

#[derive(Serialize)]
struct Item {
    name: String,
    value: String,
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(session),
        Verb::Standby { node } => set_or_local(session, node, "standby", "on"),
        Verb::Unstandby { node } => set_or_local(session, node, "standby", ""),
        Verb::Maintenance { node } => set_or_local(session, node, "maintenance", "true"),
        Verb::Unmaintenance { node } => set_or_local(session, node, "maintenance", ""),
        Verb::Attribute { node, pairs } if pairs.is_empty() => show_permanent(session, &node),
        Verb::Attribute { node, pairs } => pairs.iter().try_for_each(|text| {
            let (name, value) = pair(text)?;
            set_permanent(session, &node, name, value)
        }),
        Verb::Transient { node, pairs } if pairs.is_empty() => show_transient(session, &node),
        Verb::Transient { node, pairs } => {
            let mut updates = Vec::new();
            for text in &pairs {
                let (name, value) = pair(text)?;
                let change = if value.is_empty() { Change::Delete } else { Change::parse(value) };
                updates.push(Update::new(&node, name, change));
            }
            session.ask(Request::UpdateAttributes(updates))?;
            Ok(())
        }
    }
}

fn list(session: &mut Session) -> anyhow::Result<()> {
    let info = session.info()?;
    let nodes: Vec<Listed> = info
        .nodes
        .iter()
        .map(|(id, name, member)| Listed {
            id: id.0,
            name: name.clone(),
            member: *member,
            dc: info.dc.as_ref() == Some(name),
        })
        .collect();
    print_list(session.json, &nodes, |n| {
        let state = if n.member { "member" } else { "lost" };
        let dc = if n.dc { " (DC)" } else { "" };
        format!("{} {} {state}{dc}", n.id, n.name)
    });
    Ok(())
}

fn set_or_local(
    session: &mut Session,
    node: Option<String>,
    name: &str,
    value: &str,
) -> anyhow::Result<()> {
    let node = match node {
        Some(node) => node,
        None => session.info()?.name,
    };
    set_permanent(session, &node, name, value)
}

fn node_id(session: &mut Session, node: &str) -> anyhow::Result<String> {
    let info = session.info()?;
    match info.nodes.iter().find(|(_, name, _)| name == node) {
        Some((id, ..)) => Ok(id.to_string()),
        None => {
            let names: Vec<&str> = info.nodes.iter().map(|(_, n, _)| n.as_str()).collect();
            bail!("there is no node '{node}'; the nodes are {}", names.join(", "))
        }
    }
}

/// Sets a permanent attribute, or removes it if the value is empty.
pub(crate) fn set_permanent(
    session: &mut Session,
    node: &str,
    name: &str,
    value: &str,
) -> anyhow::Result<()> {
    let id = node_id(session, node)?;
    let set = format!("nodes-{id}");
    if value.is_empty() {
        let xpath =
            format!("/cib/configuration/nodes/node[@id='{id}']//nvpair[@name={}]", quoted(name));
        return session.delete(
            &xpath,
            &format!("attribute {name} on node {node}; see 'systole node attribute {node}'"),
        );
    }
    let mut doc = Doc::new("nodes");
    let root = doc.root_id();
    let element = doc.append_element(root, "node");
    doc.set_attr(element, "id", &id);
    doc.set_attr(element, "uname", node);
    let block = doc.append_element(element, "instance_attributes");
    doc.set_attr(block, "id", &set);
    let nvpair = doc.append_element(block, "nvpair");
    doc.set_attr(nvpair, "id", &xml_id(&format!("{set}-{name}")));
    doc.set_attr(nvpair, "name", name);
    doc.set_attr(nvpair, "value", value);
    session.merge("nodes", &doc)
}

fn show_permanent(session: &mut Session, node: &str) -> anyhow::Result<()> {
    let id = node_id(session, node)?;
    let cib = session.cib()?;
    let nodes = cib.root().child("configuration").and_then(|c| c.child("nodes"));
    let element = nodes.and_then(|n| n.children().find(|c| c.attr("id") == Some(&id)));
    let items: Vec<Item> = element
        .map(|e| crate::session::pairs_of(e, "instance_attributes"))
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| Item { name, value })
        .collect();
    print_list(session.json, &items, |i| format!("{}={}", i.name, i.value));
    Ok(())
}

fn show_transient(session: &mut Session, node: &str) -> anyhow::Result<()> {
    let request = Request::QueryAttributes { name: None, node: Some(node.to_owned()) };
    let Response::Attributes(found) = session.ask(request)? else {
        bail!("an unexpected answer");
    };
    let items: Vec<Item> = found.into_iter().map(|(name, _, value)| Item { name, value }).collect();
    print_list(session.json, &items, |i| format!("{}={}", i.name, i.value));
    Ok(())
}
