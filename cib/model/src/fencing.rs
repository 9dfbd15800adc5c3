//! Fence devices and levels, resolved as every other resource is.

use std::collections::BTreeMap;

use cib_xml::Node;

use crate::attrs::Attrs;
use crate::model::{Reader, read_nodes};
use crate::nvpair::Blocks;
use crate::resource::{ResourceDef, ResourceKind};
use crate::rule::RuleInput;
use crate::text::eq_ci;
use crate::time::Time;

/// A fence device that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceDevice {
    /// The resource's id.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// Its parameters: blocks by score, references followed, rules at that time.
    pub params: BTreeMap<String, String>,
}

/// One `<fencing-level>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceLevel {
    /// Who it is for.
    pub target: FenceTarget,
    /// Levels are tried from the lowest number up.
    pub index: u32,
    /// All of these have to succeed.
    pub devices: Vec<String>,
}

/// The nodes that a level is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceTarget {
    /// This node.
    Name(String),
    /// Nodes whose name matches.
    Pattern(String),
    /// Nodes that have this attribute with this value.
    Attribute(String, String),
}

/// What a fencer needs of a CIB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fencing {
    /// Devices that the configuration does not want stopped, in its order.
    pub devices: Vec<FenceDevice>,
    /// In the order of the CIB.
    pub levels: Vec<FenceLevel>,
    /// Permanent node attributes, for levels by attribute: (node, name) to value.
    pub node_attributes: BTreeMap<(String, String), String>,
}

/// The fence devices and levels of a `<cib>` element at this time. Rules about a node do not hold: a
/// device has the same parameters whoever runs its agent.
pub fn fencing(cib: Node<'_>, now: Time) -> Fencing {
    let reader = Reader::new(cib, now);
    let section = |name: &str| cib.child("configuration").and_then(|c| c.child(name));
    let defaults = section("rsc_defaults")
        .map(|n| Blocks::read(&reader, n, "meta_attributes", ""))
        .unwrap_or_default();
    let mut out = Fencing::default();
    for node in section("resources").into_iter().flat_map(Node::children) {
        if node.name() == "template" {
            continue;
        }
        if let Some(def) = ResourceDef::read(&reader, node) {
            add_devices(&def, &mut vec![&defaults], now, &mut out.devices);
        }
    }
    let levels = section("fencing-topology").into_iter();
    out.levels = levels.flat_map(|n| n.children_named("fencing-level")).filter_map(level).collect();
    let input = RuleInput { now: Some(now), ..RuleInput::default() };
    for node in section("nodes").map(|n| read_nodes(&reader, n)).unwrap_or_default() {
        let mut attrs = Attrs::new();
        node.attrs.unpack(&input, &mut attrs, &mut None);
        for (name, value) in attrs.iter() {
            out.node_attributes
                .insert((node.name.to_string(), name.to_string()), value.to_string());
        }
    }
    out
}

/// The devices of a resource and of what it holds. `outer` has the meta-attributes around it, the
/// outermost first.
fn add_devices<'a>(
    def: &'a ResourceDef,
    outer: &mut Vec<&'a Blocks>,
    now: Time,
    out: &mut Vec<FenceDevice>,
) {
    let agent = (def.class.as_deref(), def.provider.as_deref(), def.agent.as_deref());
    let input = RuleInput { now: Some(now), agent, ..RuleInput::default() };
    outer.push(&def.meta);
    if def.kind == ResourceKind::Primitive && def.class.as_deref() == Some("stonith") {
        let mut meta = Attrs::new();
        outer.iter().rev().for_each(|blocks| blocks.unpack(&input, &mut meta, &mut None));
        if !meta.get("target-role").is_some_and(|role| eq_ci(role, "stopped")) {
            let mut params = Attrs::new();
            def.params.unpack(&input, &mut params, &mut None);
            out.push(FenceDevice {
                id: def.id.to_string(),
                agent: def.agent.as_deref().unwrap_or_default().to_owned(),
                params: params.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            });
        }
    }
    def.children.iter().for_each(|child| add_devices(child, outer, now, out));
    outer.pop();
}

fn level(node: Node<'_>) -> Option<FenceLevel> {
    let target = if let Some(name) = node.attr("target") {
        FenceTarget::Name(name.to_owned())
    } else if let Some(pattern) = node.attr("target-pattern") {
        FenceTarget::Pattern(pattern.to_owned())
    } else {
        let (name, value) = (node.attr("target-attribute")?, node.attr("target-value")?);
        FenceTarget::Attribute(name.to_owned(), value.to_owned())
    };
    let devices = node.attr("devices")?.split(',').map(|d| d.trim().to_owned()).collect();
    Some(FenceLevel { target, index: node.attr("index")?.parse().ok()?, devices })
}
