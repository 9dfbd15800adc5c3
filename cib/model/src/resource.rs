//! Resource definitions: primitives, groups, clones, bundles, with templates applied.

use std::sync::Arc;

use cib_xml::Node;

use crate::attrs::Str;
use crate::model::Reader;
use crate::nvpair::Blocks;
use crate::text::{eq_ci, parse_bool, parse_interval_ms, scan_min_int};

/// What a resource does, or is to do, on a node. Ordered by how much that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing is known, or no role is meant in particular.
    #[default]
    Unknown,
    /// Not running.
    Stopped,
    /// Running.
    Started,
    /// Running in the lesser of two roles.
    Unpromoted,
    /// Running in the greater of two roles.
    Promoted,
}

impl Role {
    /// A role from its name in any case, also the names of earlier releases.
    pub fn parse(text: &str) -> Option<Role> {
        Some(match text.to_ascii_lowercase().as_str() {
            "stopped" => Role::Stopped,
            "started" => Role::Started,
            "slave" | "unpromoted" => Role::Unpromoted,
            "master" | "promoted" => Role::Promoted,
            _ => return None,
        })
    }

    /// Its name.
    pub fn text(self) -> &'static str {
        match self {
            Role::Unknown => "Unknown",
            Role::Stopped => "Stopped",
            Role::Started => "Started",
            Role::Unpromoted => "Unpromoted",
            Role::Promoted => "Promoted",
        }
    }
}

/// The four kinds of resources, simplest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// One service.
    Primitive,
    /// Primitives that belong together, in order.
    Group,
    /// A primitive or group that runs several times.
    Clone,
    /// Containers, each perhaps with an instance of a primitive inside.
    Bundle,
}

/// What agents of a class can be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentClass {
    /// They come from different providers.
    pub provider: bool,
    /// Clones of them may be unique.
    pub unique: bool,
    /// Clones of them may be promotable.
    pub promotable: bool,
    /// They are fencing devices, with parameters that the fencer interprets.
    pub fencing: bool,
}

/// What agents of a class can be used for.
pub fn capabilities(class: Option<&str>) -> AgentClass {
    match class {
        Some(c) if eq_ci(c, "ocf") => {
            AgentClass { provider: true, unique: true, promotable: true, fencing: false }
        }
        Some(c) if eq_ci(c, "stonith") => {
            AgentClass { provider: false, unique: true, promotable: false, fencing: true }
        }
        _ => AgentClass::default(),
    }
}

/// One `<op>`.
#[derive(Clone, Debug, PartialEq)]
pub struct OpDef {
    /// Its id.
    pub id: Option<Str>,
    /// Name of the operation.
    pub name: Str,
    /// Interval in milliseconds, 0 where it does not recur.
    pub interval_ms: u32,
    /// Whether it is switched on, where that is said.
    pub enabled: Option<bool>,
    /// The role in which it runs, as written.
    pub role: Option<Str>,
    /// Time-out as written in the element.
    pub timeout: Option<Str>,
    /// What to do on failure, as written in the element.
    pub on_fail: Option<Str>,
    /// All of the element's attributes: they count as meta-attributes.
    pub attrs: Vec<(Str, Str)>,
    /// Meta-attributes.
    pub meta: Blocks,
    /// Parameters for this operation only.
    pub params: Blocks,
}

/// The configuration of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceDef {
    /// What it is.
    pub kind: ResourceKind,
    /// Its id.
    pub id: Str,
    /// Class of the agent, for primitives.
    pub class: Option<Str>,
    /// Provider of the agent, for classes that have one.
    pub provider: Option<Str>,
    /// Name of the agent.
    pub agent: Option<Str>,
    /// A note for people.
    pub description: Option<Str>,
    /// The element's attributes: they count as meta-attributes.
    pub attrs: Vec<(Str, Str)>,
    /// Meta-attributes.
    pub meta: Blocks,
    /// Parameters.
    pub params: Blocks,
    /// What it needs of a node.
    pub utilization: Blocks,
    /// Operations.
    pub ops: Vec<OpDef>,
    /// The template that it is made from.
    pub template: Option<Str>,
    /// Members of a group; what a clone or bundle holds.
    pub children: Vec<Arc<ResourceDef>>,
    /// The container, network and storage of a bundle.
    pub bundle: Option<Box<BundleDef>>,
}

/// A directory of the host that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Path on the host.
    pub source: Str,
    /// Path in the container.
    pub target: Str,
    /// Options.
    pub options: Option<Str>,
    /// Whether each replica has its own directory below `source`.
    pub per_replica: bool,
}

/// A port of the host that is passed to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// Port or range on the host.
    pub source: Str,
    /// Port or range in the container.
    pub target: Str,
}

/// What a bundle is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BundleDef {
    /// `docker` or `podman`.
    pub agent: &'static str,
    /// How many instances may be promoted; 0 if they are not promotable.
    pub promoted_max: i32,
    /// Number of containers.
    pub replicas: i32,
    /// How many of them may run on one host.
    pub replicas_per_host: i32,
    /// What is run in the container.
    pub run_command: Option<Str>,
    /// Further options for the container runtime.
    pub options: Option<Str>,
    /// The image.
    pub image: Option<Str>,
    /// Network of the containers.
    pub network: Option<Str>,
    /// First address that is handed out.
    pub ip_range_start: Option<Str>,
    /// Netmask of the addresses.
    pub host_netmask: Option<Str>,
    /// Interface for the addresses.
    pub host_interface: Option<Str>,
    /// Port at which the remote executor listens.
    pub control_port: Option<Str>,
    /// Whether containers know each other's names.
    pub add_host: bool,
    /// Ports.
    pub ports: Vec<PortMapping>,
    /// Directories.
    pub mounts: Vec<Mount>,
}

impl ResourceDef {
    /// A primitive made up by the cluster.
    pub fn primitive(id: &str, class: &str, provider: &str, agent: &str) -> ResourceDef {
        let attrs = [("id", id), ("class", class), ("provider", provider), ("type", agent)];
        let some = |v: &str| (!v.is_empty()).then(|| Str::from(v));
        ResourceDef {
            kind: ResourceKind::Primitive,
            id: id.into(),
            class: some(class),
            provider: some(provider),
            agent: some(agent),
            description: None,
            attrs: attrs
                .iter()
                .filter(|(_, v)| !v.is_empty())
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            meta: Blocks::default(),
            params: Blocks::default(),
            utilization: Blocks::default(),
            ops: Vec::new(),
            template: None,
            children: Vec::new(),
            bundle: None,
        }
    }

    /// Whether this is the connection to a remote node.
    pub fn is_remote_connection(&self) -> bool {
        let is = |v: &Option<Str>, want: &str| v.as_deref().is_some_and(|v| eq_ci(v, want));
        is(&self.agent, "remote") && is(&self.class, "ocf") && is(&self.provider, "pacemaker")
    }

    /// Reads a resource element; `None` if it is not a resource or cannot be one.
    pub(crate) fn read(reader: &Reader<'_>, node: Node<'_>) -> Option<ResourceDef> {
        let id = node.attr("id").filter(|id| !id.is_empty())?;
        let kind = match node.name() {
            "primitive" => ResourceKind::Primitive,
            "group" => ResourceKind::Group,
            "clone" | "master" => ResourceKind::Clone,
            "bundle" => ResourceKind::Bundle,
            _ => {
                reader.error(format!("Ignoring resource '{id}' of unknown type '{}'", node.name()));
                return None;
            }
        };
        let template = match node.attr("template") {
            None => None,
            Some(name) => Some(reader.template(name).filter(|_| name != id).or_else(|| {
                reader.error(format!("Ignoring resource '{id}': no template named '{name}'"));
                None
            })?),
        };
        let base = template.unwrap_or(node);
        let own_id = Str::from(id);
        let further = base.attrs().filter(|(n, _)| *n != "id");
        let attrs: Vec<(Str, Str)> = std::iter::once((reader.common("id"), own_id.clone()))
            .chain(further.map(|(n, v)| (reader.common(n), reader.common(v))))
            .collect();
        let value =
            |name: &str| attrs.iter().find(|(n, _)| &**n == name).map(|(_, value)| value.clone());
        let mut def = ResourceDef {
            kind,
            id: own_id,
            class: value("class"),
            provider: value("provider"),
            agent: value("type"),
            description: value("description"),
            attrs,
            meta: read_blocks(reader, node, template, "meta_attributes"),
            params: read_blocks(reader, node, template, "instance_attributes"),
            utilization: read_blocks(reader, node, template, "utilization"),
            ops: read_ops(reader, node, template),
            template: node.attr("template").map(Str::from),
            children: Vec::new(),
            bundle: None,
        };
        let unsupported = |c: &str| eq_ci(c, "nagios") || eq_ci(c, "upstart");
        if def.class.as_deref().is_some_and(unsupported) {
            return None;
        }
        def.read_content(reader, node)?;
        if node.name() == "master" {
            let mut promotable = Blocks::of(&[("promotable", "true")]);
            promotable.0.append(&mut def.meta.0);
            def.meta = promotable;
        }
        Some(def)
    }

    fn read_content(&mut self, reader: &Reader<'_>, node: Node<'_>) -> Option<()> {
        let below = |n: Node<'_>| ResourceDef::read(reader, n).map(Arc::new);
        match self.kind {
            ResourceKind::Primitive => {}
            ResourceKind::Group => {
                self.children = node.children_named("primitive").filter_map(below).collect();
                if self.children.is_empty() {
                    reader.error(format!("Group {} has no members", self.id));
                    return None;
                }
            }
            ResourceKind::Clone => {
                let inner = node.children().find(|n| matches!(n.name(), "primitive" | "group"));
                let Some(inner) = inner.and_then(below) else {
                    reader.error(format!("{} has nothing to clone", self.id));
                    return None;
                };
                self.children = vec![inner];
            }
            ResourceKind::Bundle => {
                self.bundle = Some(Box::new(BundleDef::read(node)?));
                self.children = node.child("primitive").and_then(below).into_iter().collect();
            }
        }
        Some(())
    }
}

fn read_blocks(
    reader: &Reader<'_>,
    node: Node<'_>,
    template: Option<Node<'_>>,
    kind: &str,
) -> Blocks {
    let mut blocks = Blocks::read(reader, node, kind, "");
    if let Some(template) = template {
        // The resource's own blocks go first at equal score.
        blocks.0.extend(Blocks::read(reader, template, kind, "").0);
        blocks.0.sort_by_key(|b| -i64::from(b.score));
    }
    blocks
}

fn read_ops(reader: &Reader<'_>, node: Node<'_>, template: Option<Node<'_>>) -> Vec<OpDef> {
    let read = |holder: Node<'_>| -> Option<Vec<OpDef>> {
        let ops = holder.child("operations").and_then(|o| reader.resolve(o))?;
        Some(ops.children_named("op").map(|op| read_op(reader, op)).collect())
    };
    let mut own = read(node).unwrap_or_default();
    if let Some(inherited) = template.and_then(read) {
        let same = |a: &OpDef, b: &OpDef| a.name == b.name && op_role(a) == op_role(b);
        for op in inherited {
            if !own.iter().any(|o| same(o, &op)) {
                own.push(op);
            }
        }
    }
    own
}

/// The role that tells operations of one name apart when a resource overrides its template.
fn op_role(op: &OpDef) -> Option<Role> {
    let role = op.role.as_deref().and_then(Role::parse)?;
    (!matches!(role, Role::Started | Role::Unpromoted)).then_some(role)
}

fn read_op(reader: &Reader<'_>, node: Node<'_>) -> OpDef {
    // But for its id, others have the same.
    let attr = |(name, value): (&str, &str)| match name {
        "id" => (reader.common(name), Str::from(value)),
        _ => (reader.common(name), reader.common(value)),
    };
    let attrs: Vec<(Str, Str)> = node.attrs().map(attr).collect();
    let value = |name: &str| attrs.iter().find(|(n, _)| &**n == name).map(|(_, value)| value);
    OpDef {
        id: value("id").cloned(),
        name: value("name").cloned().unwrap_or_else(|| reader.common("")),
        interval_ms: parse_interval_ms(value("interval").map(|value| &**value)),
        enabled: value("enabled").and_then(|value| parse_bool(value)),
        role: value("role").cloned(),
        timeout: value("timeout").cloned(),
        on_fail: value("on-fail").cloned(),
        meta: Blocks::read(reader, node, "meta_attributes", ""),
        params: Blocks::read(reader, node, "instance_attributes", ""),
        attrs,
    }
}

impl OpDef {
    /// An operation made up by the cluster.
    pub fn made_up(prefix: &str, name: &str, interval: &str, timeout: Option<&str>) -> OpDef {
        let id: Str = format!("{prefix}-{name}-{interval}").into();
        let mut attrs: Vec<(Str, Str)> = vec![
            ("id".into(), id.clone()),
            ("interval".into(), interval.into()),
            ("name".into(), name.into()),
        ];
        attrs.extend(timeout.map(|t| ("timeout".into(), t.into())));
        OpDef {
            id: Some(id),
            name: name.into(),
            interval_ms: parse_interval_ms(Some(interval)),
            enabled: None,
            role: None,
            timeout: timeout.map(Str::from),
            on_fail: None,
            attrs,
            meta: Blocks::default(),
            params: Blocks::default(),
        }
    }

    /// Whether it is switched off.
    pub fn disabled(&self) -> bool {
        self.enabled == Some(false)
    }
}

impl BundleDef {
    fn read(node: Node<'_>) -> Option<BundleDef> {
        let (agent, container) = match (node.child("docker"), node.child("podman")) {
            (Some(c), _) => ("docker", c),
            (None, Some(c)) => ("podman", c),
            _ => return None,
        };
        let owned = |name: &str| container.attr(name).map(Str::from);
        let promoted = container.attr("promoted-max").or(container.attr("masters"));
        let promoted_max = scan_min_int(promoted, 0);
        let replicas = match container.attr("replicas") {
            None if promoted_max > 0 => promoted_max,
            text => scan_min_int(text, 1),
        };
        let mut bundle = BundleDef {
            agent,
            promoted_max,
            replicas,
            replicas_per_host: scan_min_int(container.attr("replicas-per-host"), 1),
            run_command: owned("run-command"),
            options: owned("options"),
            image: owned("image"),
            network: owned("network"),
            add_host: true,
            ..BundleDef::default()
        };
        if let Some(network) = node.child("network") {
            bundle.read_network(network);
        }
        if let Some(storage) = node.child("storage") {
            bundle.mounts =
                storage.children_named("storage-mapping").filter_map(read_mount).collect();
        }
        Some(bundle)
    }

    fn read_network(&mut self, network: Node<'_>) {
        let owned = |name: &str| network.attr(name).map(Str::from);
        self.ip_range_start = owned("ip-range-start");
        self.host_netmask = owned("host-netmask");
        self.host_interface = owned("host-interface");
        self.control_port = owned("control-port");
        self.add_host = network.attr("add-host").and_then(parse_bool).unwrap_or(true);
        for mapping in network.children_named("port-mapping") {
            let port = mapping.attr("port");
            let source = port.or(mapping.attr("range")).filter(|s| !s.is_empty());
            if let Some(source) = source {
                let internal = mapping.attr("internal-port").filter(|_| port.is_some());
                self.ports.push(PortMapping {
                    source: source.into(),
                    target: internal.unwrap_or(source).into(),
                });
            }
        }
    }
}

fn read_mount(node: Node<'_>) -> Option<Mount> {
    let whole = node.attr("source-dir");
    Some(Mount {
        source: whole.or(node.attr("source-dir-root"))?.into(),
        target: node.attr("target-dir")?.into(),
        options: node.attr("options").map(Str::from),
        per_replica: whole.is_none(),
    })
}
