//! The whole of a CIB.

use std::cell::RefCell;
use std::sync::Arc;

use cib_xml::{Doc, Node};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::attrs::{Attrs, Str};
use crate::constraint::Constraint;
use crate::nvpair::Blocks;
use crate::options::Options;
use crate::resource::{OpDef, ResourceDef, ResourceKind};
use crate::rule::{NextChange, RuleInput};
use crate::status::{HistorySource, NodeState};
use crate::text::{eq_ci, is_true, scan_int};
use crate::time::Time;

/// Something wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it makes part of the configuration void (rather than being merely odd).
    pub error: bool,
    /// What it is.
    pub text: String,
}

/// The two types of configured nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// A full member.
    Member,
    /// A remote node.
    Remote,
}

/// One `<node>`.
#[derive(Clone, Debug)]
pub struct NodeDef {
    /// Its id.
    pub id: Str,
    /// Its name.
    pub name: Str,
    /// Its type; `None` if that is not known.
    pub kind: Option<NodeType>,
    /// A score for everything on it.
    pub score: i32,
    /// Permanent attributes.
    pub attrs: Blocks,
    /// What it has to offer.
    pub utilization: Blocks,
}

/// One `<ticket_state>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketState {
    /// Its id.
    pub id: Str,
    /// Whether it is granted.
    pub granted: bool,
    /// Whether it is in standby.
    pub standby: bool,
    /// When it was granted last, seconds since the epoch.
    pub last_granted: Option<i64>,
    /// All attributes.
    pub attrs: Vec<(Str, Str)>,
}

/// A CIB as typed data.
#[derive(Clone, Debug)]
pub struct Model {
    /// The time that was assumed for the options.
    pub now: Time,
    /// Schema named by the CIB.
    pub validate_with: Option<Str>,
    /// Feature set of the writer.
    pub feature_set: Option<Str>,
    /// Whether the partition has quorum.
    pub have_quorum: bool,
    /// Whether the loss of quorum calls for fencing even so.
    pub no_quorum_panic: bool,
    /// Id of the DC.
    pub dc_uuid: Option<Str>,
    /// Cluster options.
    pub options: Options,
    /// Configured nodes.
    pub nodes: Vec<NodeDef>,
    /// Nodes that exist because a resource makes them, in order of appearance.
    pub resource_nodes: Vec<Str>,
    /// Resources in configuration order; connections of guest nodes are added at the end.
    pub resources: Vec<Arc<ResourceDef>>,
    /// Names of templates.
    pub templates: Vec<Str>,
    /// Tags with what they name.
    pub tags: Vec<(Str, Vec<Str>)>,
    /// Constraints in configuration order.
    pub constraints: Vec<Constraint>,
    /// Defaults of resources' meta-attributes.
    pub rsc_defaults: Blocks,
    /// Defaults of operations' meta-attributes.
    pub op_defaults: Blocks,
    /// Whether some device or resource says that nodes need to be unfenced.
    pub unfencing: bool,
    /// States of nodes, in document order.
    pub node_states: Vec<NodeState>,
    /// States of tickets.
    pub tickets: Vec<TicketState>,
    /// When a rule's outcome changes next.
    pub next_change: NextChange,
    /// What is wrong with the configuration.
    pub notes: Vec<Note>,
}

/// Looks things up in the document while it is read.
pub(crate) struct Reader<'a> {
    pub(crate) now: Option<Time>,
    root: Node<'a>,
    resources: Option<Node<'a>>,
    ids: RefCell<Option<FxHashMap<&'a str, Vec<Node<'a>>>>>,
    notes: RefCell<Vec<Note>>,
    texts: RefCell<FxHashSet<Str>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(root: Node<'a>, now: Time) -> Reader<'a> {
        Reader {
            now: Some(now),
            root,
            resources: root.child("configuration").and_then(|c| c.child("resources")),
            ids: RefCell::new(None),
            notes: RefCell::new(Vec::new()),
            texts: RefCell::default(),
        }
    }

    /// Text that a configuration has many times: names, and values of few kinds.
    pub(crate) fn common(&self, text: &str) -> Str {
        let mut texts = self.texts.borrow_mut();
        if let Some(known) = texts.get(text) {
            return known.clone();
        }
        let new = Str::from(text);
        texts.insert(new.clone());
        new
    }

    pub(crate) fn error(&self, text: String) {
        self.notes.borrow_mut().push(Note { error: true, text });
    }

    /// The element itself, or what its `id-ref` names: an element of the same name.
    pub(crate) fn resolve<'n>(&self, node: Node<'n>) -> Option<Node<'n>>
    where
        'a: 'n,
    {
        let Some(id) = node.attr("id-ref") else { return Some(node) };
        let mut ids = self.ids.borrow_mut();
        let index = ids.get_or_insert_with(|| {
            let mut index: FxHashMap<&'a str, Vec<Node<'a>>> = FxHashMap::default();
            for n in self.root.descendants() {
                if let Some(id) = n.attr("id") {
                    index.entry(id).or_default().push(n);
                }
            }
            index
        });
        let found = index.get(id).and_then(|list| {
            let mut same = list.iter().filter(|n| n.name() == node.name());
            same.next().copied().filter(|_| same.next().is_none())
        });
        drop(ids);
        if found.is_none() {
            self.error(format!(
                "Ignoring reference to '{id}', which is not a valid {}",
                node.name()
            ));
        }
        found
    }

    pub(crate) fn template(&self, id: &str) -> Option<Node<'a>> {
        self.resources?.children_named("template").find(|t| t.attr("id") == Some(id))
    }
}

impl Model {
    /// Reads a whole CIB. `now` decides about rules in cluster options, and what a time of day
    /// without a date means. The document is kept: what is seldom asked of a history is read from it
    /// then. One of an older schema is upgraded first, so that everybody who plans reads the same.
    pub fn from_doc(doc: &Arc<Doc>, now: Time) -> Model {
        let doc = &cib_schema::latest(doc);
        let root = doc.root();
        let config = root.child("configuration");
        let section = |name: &str| config.and_then(|c| c.child(name));
        let reader = Reader::new(root, now);
        let blocks = |name: &str| {
            section(name)
                .map(|n| Blocks::read(&reader, n, "meta_attributes", ""))
                .unwrap_or_default()
        };
        let mut next_change = None;
        let owned = |name: &str| root.attr(name).map(Str::from);
        let status = root.child("status");
        let mut model = Model {
            now,
            validate_with: owned("validate-with"),
            feature_set: owned("crm_feature_set"),
            have_quorum: is_true(root.attr("have-quorum")),
            no_quorum_panic: root.attr("no-quorum-panic").and_then(scan_int).unwrap_or(0) != 0,
            dc_uuid: owned("dc-uuid"),
            options: read_options(&reader, section("crm_config"), now, &mut next_change),
            nodes: section("nodes").map(|n| read_nodes(&reader, n)).unwrap_or_default(),
            resource_nodes: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            tags: section("tags").map(read_tags).unwrap_or_default(),
            constraints: Vec::new(),
            rsc_defaults: blocks("rsc_defaults"),
            op_defaults: blocks("op_defaults"),
            unfencing: [section("resources"), section("rsc_defaults")]
                .into_iter()
                .flatten()
                .any(wants_unfencing),
            node_states: Vec::new(),
            tickets: Vec::new(),
            next_change,
            notes: Vec::new(),
        };
        model.read_resources(&reader);
        if let Some(constraints) = section("constraints") {
            for node in constraints.children() {
                Constraint::read(&reader, node, &mut model.constraints);
            }
        }
        let source = HistorySource::new(doc);
        for node in status.into_iter().flat_map(Node::children) {
            match node.name() {
                "node_state" => model.node_states.push(NodeState::read(&reader, &source, node)),
                "tickets" => model.tickets.extend(node.children().filter_map(read_ticket)),
                _ => {}
            }
        }
        model.notes.append(&mut reader.notes.into_inner());
        model
    }

    fn read_resources(&mut self, reader: &Reader<'_>) {
        let mut guests: Vec<Arc<ResourceDef>> = Vec::new();
        for node in reader.resources.into_iter().flat_map(Node::children) {
            if node.name() == "template" {
                self.templates.extend(node.attr("id").map(Str::from));
                continue;
            }
            let Some(def) = ResourceDef::read(reader, node) else { continue };
            if def.is_remote_connection() {
                self.add_resource_node(&def.id);
            } else {
                let holders: Vec<&ResourceDef> = match def.kind {
                    ResourceKind::Primitive => vec![&def],
                    ResourceKind::Group => def.children.iter().map(|c| &**c).collect(),
                    _ => Vec::new(),
                };
                let made: Vec<ResourceDef> =
                    holders.into_iter().filter_map(guest_connection).collect();
                for guest in made {
                    self.add_resource_node(&guest.id);
                    guests.push(Arc::new(guest));
                }
            }
            self.resources.push(Arc::new(def));
        }
        self.resources.append(&mut guests);
    }

    fn add_resource_node(&mut self, name: &Str) {
        if !self.resource_nodes.contains(name) {
            self.resource_nodes.push(name.clone());
        }
    }

    /// Resources made from template `id`, in configuration order.
    pub fn template_users(&self, id: &str) -> Vec<Str> {
        fn walk(defs: &[Arc<ResourceDef>], id: &str, into: &mut Vec<Str>) {
            for def in defs {
                if def.template.as_deref() == Some(id) {
                    into.push(def.id.clone());
                }
                walk(&def.children, id, into);
            }
        }
        let mut users = Vec::new();
        walk(&self.resources, id, &mut users);
        users
    }
}

/// The connection resource of the guest node that a primitive runs, if it does.
fn guest_connection(def: &ResourceDef) -> Option<ResourceDef> {
    // Rules do not count here: whether a node exists must not depend on the time.
    let mut found = Attrs::new();
    for block in def.meta.0.iter().rev() {
        for pair in &block.pairs {
            found.set_str(&pair.name, &pair.value);
        }
    }
    let name = found.get("remote-node")?;
    Some(remote_connection(
        name,
        Some(&def.id),
        (found.get("remote-allow-migrate"), found.get("is-managed")),
        found.get("remote-connect-timeout").or(Some("60s")),
        (found.get("remote-addr"), found.get("remote-port")),
    ))
}

/// The connection resource of a node that another resource (`container`) makes. `allow_migrate`
/// and `is_managed`, start time-out, address and port are set where given.
pub(crate) fn remote_connection(
    name: &str,
    container: Option<&str>,
    (allow_migrate, is_managed): (Option<&str>, Option<&str>),
    start_timeout: Option<&str>,
    (address, port): (Option<&str>, Option<&str>),
) -> ResourceDef {
    let mut def = ResourceDef::primitive(name, "ocf", "pacemaker", "remote");
    let mut meta = vec![("internal_rsc", "true")];
    meta.extend(container.map(|c| ("container", c)));
    meta.extend(allow_migrate.map(|v| ("allow-migrate", v)));
    meta.extend(is_managed.map(|v| ("is-managed", v)));
    def.meta = Blocks::of(&meta);
    let mut params = Vec::new();
    params.extend(address.map(|a| ("addr", a)));
    params.extend(port.map(|p| ("port", p)));
    if !params.is_empty() {
        def.params = Blocks::of(&params);
    }
    def.ops.push(OpDef::made_up(name, "monitor", "30s", Some("30s")));
    def.ops.extend(start_timeout.map(|t| OpDef::made_up(name, "start", "0", Some(t))));
    def
}

impl ResourceDef {
    /// The connection to the node inside a bundle's container.
    pub fn bundle_connection(
        name: &str,
        container: &str,
        address: &str,
        port: &str,
    ) -> ResourceDef {
        remote_connection(name, Some(container), (None, None), None, (Some(address), Some(port)))
    }
}

/// The cluster options of a `<cib>` element, with blocks in their order and rules at this time, as
/// [`Model::from_doc`] has them.
pub fn cluster_options(cib: Node<'_>, now: Time) -> Options {
    let reader = Reader::new(cib, now);
    let config = cib.child("configuration").and_then(|c| c.child("crm_config"));
    read_options(&reader, config, now, &mut None)
}

fn read_options(
    reader: &Reader<'_>,
    config: Option<Node<'_>>,
    now: Time,
    next: &mut NextChange,
) -> Options {
    let mut set = Attrs::new();
    if let Some(config) = config {
        let blocks = Blocks::read(reader, config, "cluster_property_set", "cib-bootstrap-options");
        blocks.unpack(&RuleInput { now: Some(now), ..RuleInput::default() }, &mut set, next);
    }
    Options::new(set)
}

pub(crate) fn read_nodes(reader: &Reader<'_>, nodes: Node<'_>) -> Vec<NodeDef> {
    let mut defs = Vec::new();
    for node in nodes.children_named("node") {
        let Some(id) = node.attr("id") else {
            reader.error("Ignoring <node> entry in configuration without id".into());
            continue;
        };
        let kind = match node.attr("type") {
            None => Some(NodeType::Member),
            Some(t) if eq_ci(t, "member") || eq_ci(t, "normal") || t == "ping" => {
                Some(NodeType::Member)
            }
            Some(t) if eq_ci(t, "remote") => Some(NodeType::Remote),
            Some(_) => None,
        };
        defs.push(NodeDef {
            id: id.into(),
            name: node.attr("uname").unwrap_or(id).into(),
            kind,
            score: node.attr("score").and_then(crate::score::parse_score).unwrap_or(0),
            attrs: Blocks::read(reader, node, "instance_attributes", ""),
            utilization: Blocks::read(reader, node, "utilization", ""),
        });
    }
    defs
}

fn read_tags(tags: Node<'_>) -> Vec<(Str, Vec<Str>)> {
    let mut out: Vec<(Str, Vec<Str>)> = Vec::new();
    for tag in tags.children_named("tag") {
        let Some(id) = tag.attr("id") else { continue };
        let refs = tag.children_named("obj_ref").filter_map(|r| r.attr("id"));
        let at = out.iter().position(|(name, _)| &**name == id).unwrap_or_else(|| {
            out.push((id.into(), Vec::new()));
            out.len() - 1
        });
        for reference in refs {
            if !out[at].1.iter().any(|r| &**r == reference) {
                out[at].1.push(reference.into());
            }
        }
    }
    out.retain(|(_, refs)| !refs.is_empty());
    out
}

fn read_ticket(node: Node<'_>) -> Option<TicketState> {
    let id = node.attr("id").filter(|id| !id.is_empty())?;
    Some(TicketState {
        id: id.into(),
        granted: is_true(node.attr("granted")),
        standby: is_true(node.attr("standby")),
        last_granted: node.attr("last-granted").and_then(scan_int),
        attrs: node
            .attrs()
            .filter(|(n, _)| *n != "id")
            .map(|(n, v)| (n.into(), v.into()))
            .collect(),
    })
}

fn wants_unfencing(section: Node<'_>) -> bool {
    section.descendants().filter(|n| n.name() == "meta_attributes").any(|set| {
        set.children_named("nvpair").any(|p| {
            matches!(p.attr("name"), Some("provides" | "requires"))
                && p.attr("value") == Some("unfencing")
        })
    })
}
