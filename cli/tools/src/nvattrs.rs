//! Named values in a CIB: cluster options, node attributes, defaults.

use cib_store::{ErrorKind, Operation, StoreError, Target};
use cib_xml::{Doc, Style, quoted};

use crate::cib::Cib;

/// Where a named value stands.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// `crm_config`, `nodes`, `status`, `rsc_defaults`, `op_defaults` or `tickets`.
    pub section: String,
    /// Id of the node, for `nodes` and `status`.
    pub node: Option<String>,
    /// Whether that node is a remote one.
    pub remote: bool,
    /// Kind of block other than the usual one: `utilization`.
    pub set_type: Option<String>,
    /// Only in the block of this id.
    pub set_name: Option<String>,
}

/// A named value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Id of the nvpair.
    pub id: String,
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// Why a named value was not read or changed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// There are several; these.
    Several(Vec<Pair>),
    /// The CIB says no.
    Cib(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Cib(error)
    }
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Failure {
        Failure::Cib(kind.into())
    }
}

fn search(place: &Place, id: Option<&str>, name: Option<&str>) -> Result<String, StoreError> {
    let section = if place.section == "tickets" { "status" } else { &place.section };
    let base = cib_store::section_path(section)
        .ok_or(StoreError::new(ErrorKind::Invalid, format!("there is no section {section}")))?;
    let mut path = format!("/{base}");
    let mut set = place.set_type.clone().unwrap_or("instance_attributes".into());
    match place.section.as_str() {
        "crm_config" => set = "cluster_property_set".into(),
        "rsc_defaults" | "op_defaults" => set = "meta_attributes".into(),
        "tickets" => path.push_str("//tickets"),
        _ => {
            let node = place.node.as_deref().ok_or(StoreError::from(ErrorKind::Invalid))?;
            let element = if section == "status" { "node_state" } else { "node" };
            if section == "status" {
                set = "transient_attributes".into();
            }
            path.push_str(&format!("//{element}[@id={}]", quoted(node)));
        }
    }
    path.push_str(&format!("//{set}"));
    if let Some(name) = &place.set_name {
        path.push_str(&format!("[@id={}]", quoted(name)));
    }
    path.push_str("//nvpair");
    let mut tests = Vec::new();
    tests.extend(id.map(|id| format!("@id={}", quoted(id))));
    tests.extend(name.map(|name| format!("@name={}", quoted(name))));
    if !tests.is_empty() {
        path.push_str(&format!("[{}]", tests.join(" and ")));
    }
    Ok(path)
}

/// The values at `place`, with this id or name if given.
///
/// # Errors
/// If there is none, or the CIB cannot be read.
pub fn find(
    cib: &mut dyn Cib,
    place: &Place,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<Pair>, StoreError> {
    select(cib, search(place, id, name)?)
}

/// The nvpairs that an XPath expression selects.
///
/// # Errors
/// If there is none, or the CIB cannot be read.
pub fn select(cib: &mut dyn Cib, xpath: String) -> Result<Vec<Pair>, StoreError> {
    let target = Target::XPath(xpath);
    let op = Operation::Query { target, no_children: false, paths: false };
    let found = cib.apply(&op, false)?.output.ok_or(StoreError::from(ErrorKind::NoSuchItem))?;
    let root = found.root();
    let pair = |n: cib_xml::Node<'_>| Pair {
        id: n.attr("id").unwrap_or_default().into(),
        name: n.attr("name").unwrap_or_default().into(),
        value: n.attr("value").unwrap_or_default().into(),
    };
    Ok(match root.name() {
        "nvpair" => vec![pair(root)],
        _ => root.children_named("nvpair").map(pair).collect(),
    })
}

fn one(mut pairs: Vec<Pair>) -> Result<Pair, Failure> {
    match pairs.len() {
        1 => Ok(pairs.remove(0)),
        _ => Err(Failure::Several(pairs)),
    }
}

/// Sets a value: changes the one that is there, or makes it with all that it stands in.
///
/// # Errors
/// If there are several, or the change is refused.
pub fn set(
    cib: &mut dyn Cib,
    place: &Place,
    id: Option<&str>,
    name: Option<&str>,
    value: &str,
) -> Result<(), Failure> {
    let known = match find(cib, place, id, name) {
        Ok(pairs) => Some(one(pairs)?.id),
        Err(error) if error.kind == ErrorKind::NoSuchItem => None,
        Err(error) => return Err(error.into()),
    };
    let section = if place.section == "tickets" { "status" } else { &place.section };
    let mut doc;
    match known {
        Some(id) => {
            doc = Doc::new("nvpair");
            let root = doc.root_id();
            fill(&mut doc, root, &id, name, value);
        }
        None => {
            let set = place.set_name.clone().unwrap_or_else(|| block_name(place));
            let id = match id {
                Some(id) => id.to_string(),
                None => sanitize(&format!("{set}-{}", name.unwrap_or_default())),
            };
            let name = name.or(Some(&id)).map(str::to_string);
            doc = scaffold(place, &set);
            let block = deepest(&doc);
            let pair = doc.append_element(block, "nvpair");
            fill(&mut doc, pair, &id, name.as_deref(), value);
        }
    }
    let xml = doc.root().to_xml(Style::Compact);
    Ok(cib.merge(section, xml)?)
}

fn fill(doc: &mut Doc, pair: cib_xml::NodeId, id: &str, name: Option<&str>, value: &str) {
    doc.set_attr(pair, "id", id);
    if let Some(name) = name {
        doc.set_attr(pair, "name", name);
    }
    doc.set_attr(pair, "value", value);
}

/// The innermost element of a document that has one in each.
fn deepest(doc: &Doc) -> cib_xml::NodeId {
    let mut at = doc.root();
    while let Some(child) = at.children().next() {
        at = child;
    }
    at.id()
}

fn block_name(place: &Place) -> String {
    match (place.section.as_str(), &place.node, &place.set_type) {
        ("crm_config", ..) => "cib-bootstrap-options".into(),
        ("tickets", ..) => "status-tickets".into(),
        (section, Some(node), None) => format!("{section}-{node}"),
        (section, Some(node), Some(kind)) => format!("{section}-{node}-{kind}"),
        (section, None, _) => format!("{section}-options"),
    }
}

/// The elements around a new nvpair.
fn scaffold(place: &Place, set: &str) -> Doc {
    let node = place.node.as_deref().unwrap_or_default();
    let kind = place.set_type.as_deref().unwrap_or("instance_attributes");
    let mut doc;
    let block = match place.section.as_str() {
        "crm_config" => {
            doc = Doc::new("crm_config");
            let root = doc.root_id();
            doc.append_element(root, "cluster_property_set")
        }
        "rsc_defaults" | "op_defaults" => {
            doc = Doc::new(&place.section);
            let root = doc.root_id();
            doc.append_element(root, "meta_attributes")
        }
        "tickets" => {
            doc = Doc::new("status");
            let root = doc.root_id();
            let tickets = doc.append_element(root, "tickets");
            doc.append_element(tickets, kind)
        }
        "status" => {
            doc = Doc::new("node_state");
            let root = doc.root_id();
            doc.set_attr(root, "id", node);
            let transient = doc.append_element(root, "transient_attributes");
            doc.set_attr(transient, "id", node);
            doc.append_element(transient, kind)
        }
        _ if place.remote => {
            doc = Doc::new("nodes");
            let root = doc.root_id();
            let element = doc.append_element(root, "node");
            for (name, value) in [("type", "remote"), ("id", node), ("uname", node)] {
                doc.set_attr(element, name, value);
            }
            doc.append_element(element, kind)
        }
        _ => {
            doc = Doc::new("node");
            let root = doc.root_id();
            doc.set_attr(root, "id", node);
            doc.append_element(root, kind)
        }
    };
    doc.set_attr(block, "id", set);
    doc
}

/// Replaces what may not be in an XML id by dots.
pub fn sanitize(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for (ix, c) in id.chars().enumerate() {
        let good = if ix == 0 {
            c.is_alphabetic() || c == '_'
        } else {
            c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '\u{b7}')
        };
        out.push(if good {
            c
        } else if ix == 0 {
            '_'
        } else {
            '.'
        });
    }
    out
}

/// Deletes a value and says which nvpair it was.
///
/// # Errors
/// If there is none or several, or the change is refused.
pub fn delete(
    cib: &mut dyn Cib,
    place: &Place,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Option<String>, Failure> {
    let found = match id {
        Some(_) => None,
        None => Some(one(find(cib, place, None, name)?)?.id),
    };
    let mut doc = Doc::new("nvpair");
    let root = doc.root_id();
    doc.set_attr(root, "id", id.or(found.as_deref()).unwrap_or_default());
    if let Some(name) = name {
        doc.set_attr(root, "name", name);
    }
    let section = if place.section == "tickets" { "status" } else { &place.section };
    cib.delete(section, doc.root().to_xml(Style::Compact))?;
    Ok(found)
}

/// The id of a node by its name, and whether it is a remote or guest one.
///
/// # Errors
/// If there is no such node, or the CIB cannot be read.
pub fn node_id(cib: &mut dyn Cib, uname: &str) -> Result<(String, bool), StoreError> {
    let doc = cib.read()?;
    let configuration = doc.root().child("configuration");
    let nodes = configuration.and_then(|c| c.child("nodes"));
    let node = nodes.and_then(|n| {
        n.children_named("node")
            .find(|n| n.attr("uname").is_some_and(|u| u.eq_ignore_ascii_case(uname)))
    });
    if let Some(node) = node {
        let remote = node.attr("type") == Some("remote");
        return Ok((node.attr("id").unwrap_or_default().to_string(), remote));
    }
    let (guests, remotes) = remote_nodes(&doc);
    let state = doc.root().child("status").and_then(|s| {
        s.children_named("node_state")
            .find(|n| n.attr("remote_node") == Some("true") && n.attr("id") == Some(uname))
    });
    if guests.iter().chain(&remotes).any(|n| n == uname) || state.is_some() {
        return Ok((uname.to_string(), true));
    }
    Err(ErrorKind::NoSuchItem.into())
}

/// Names of guest nodes and of remote nodes, in the order of the configuration.
pub fn remote_nodes(doc: &Doc) -> (Vec<String>, Vec<String>) {
    let (mut guests, mut remotes) = (Vec::new(), Vec::new());
    let resources = doc.root().child("configuration").and_then(|c| c.child("resources"));
    let Some(resources) = resources else { return (guests, remotes) };
    for primitive in resources.descendants().filter(|n| n.name() == "primitive") {
        let is = |name, value| primitive.attr(name) == Some(value);
        if is("class", "ocf") && is("provider", "pacemaker") && is("type", "remote") {
            remotes.extend(primitive.attr("id").map(str::to_string));
        }
        for pair in primitive.children_named("meta_attributes").flat_map(|m| m.children()) {
            if pair.attr("name") == Some("remote-node") {
                guests.extend(pair.attr("value").map(str::to_string));
            }
        }
    }
    (guests, remotes)
}

/// The local node's name: what the cluster told an agent, or the host's name.
pub fn local_node() -> String {
    for name in ["OCF_RESKEY_CRM_meta_on_node", "OCF_RESKEY_CRM_meta_physical_host"] {
        if let Some(node) = crate::cib::env(name) {
            return node;
        }
    }
    if crate::cib::env("CIB_file").is_none()
        && crate::cib::env("CIB_shadow").is_none()
        && let Ok(crm_api::Response::Info(info)) = crate::live::ask(&crm_api::Request::Info)
    {
        return info.name;
    }
    nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
