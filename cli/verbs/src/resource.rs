//! `systole resource`: resources, groups and clones.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use cib_store::{Operation, Target};
use cib_xml::{Doc, Node, NodeId, Style, quoted};
use clap::{Args, Subcommand};
use crm_api::Request;
use crm_scheduler::overview::{Overview, RscView};
use serde::Serialize;

use crate::agents;
use crate::session::{Session, add_pairs, merge, pair, pairs_of, xml_id};
use crate::{print_json, print_list, status};

/// Kinds of elements that are resources.
const KINDS: [&str; 5] = ["primitive", "group", "clone", "master", "bundle"];

#[derive(Args)]
pub(crate) struct Create {
    /// The new resource's name
    id: String,
    /// The agent: CLASS:PROVIDER:NAME, CLASS:NAME, or an OCF agent's name alone
    agent: String,
    /// Parameters NAME=VALUE …, then `op ACTION NAME=VALUE …` and `meta NAME=VALUE …`, as often
    /// as wanted
    words: Vec<String>,
    /// Run it on every node (or on `clone-max` of them)
    #[arg(long)]
    clone: bool,
    /// Run it on every node and promote one instance
    #[arg(long, conflicts_with = "clone")]
    promotable: bool,
    /// Put it at the end of this group, which is made if it is not there
    #[arg(long, conflicts_with_all = ["clone", "promotable"])]
    group: Option<String>,
    /// Make it, but do not start it
    #[arg(long)]
    disabled: bool,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a resource
    Create(Create),
    /// Remove resources with all constraints on them
    Delete {
        /// Their names
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// All resources
    List,
    /// Agents that are installed on this node
    Agents {
        /// Only of this class (ocf, stonith, systemd, lsb, service) or provider (ocf:PROVIDER);
        /// without it, all of ocf and stonith
        spec: Option<String>,
    },
    /// What an agent does, with its parameters and operations
    Describe {
        /// The agent: CLASS:PROVIDER:NAME, CLASS:NAME, or an OCF agent's name alone
        agent: String,
    },
    /// A resource's configuration, as XML
    Show {
        /// Its name
        id: String,
    },
    /// Set parameters NAME=VALUE … (an empty value removes)
    Update {
        /// Its name
        id: String,
        /// NAME=VALUE
        #[arg(required = true)]
        pairs: Vec<String>,
    },
    /// Set meta-attributes NAME=VALUE … (an empty value removes)
    Meta {
        /// Its name
        id: String,
        /// NAME=VALUE
        #[arg(required = true)]
        pairs: Vec<String>,
    },
    /// Start resources
    Enable {
        /// Their names
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Stop resources and keep them stopped
    Disable {
        /// Their names
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Take care of resources again
    Manage {
        /// Their names
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Leave resources as they are, whatever happens
    Unmanage {
        /// Their names
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Prefer a node for a resource until `clear`
    Move {
        /// Its name
        id: String,
        /// Where to
        node: String,
    },
    /// Keep a resource off a node until `clear`
    Ban {
        /// Its name
        id: String,
        /// Off which node
        node: String,
    },
    /// Undo `move` and `ban`
    Clear {
        /// Its name
        id: String,
    },
    /// Forget failures, and look anew at what runs where
    #[command(visible_alias = "refresh")]
    Cleanup {
        /// Only this resource
        id: Option<String>,
        /// Only on this node
        #[arg(long)]
        node: Option<String>,
    },
    /// Put resources into a group, in this order
    Group {
        /// The group's name; it is made if it is not there
        group: String,
        /// The resources
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Run a resource or group on every node
    Clone {
        /// Its name
        id: String,
        /// Meta-attributes NAME=VALUE
        pairs: Vec<String>,
    },
    /// Run a resource or group on every node and promote one instance
    Promotable {
        /// Its name
        id: String,
        /// Meta-attributes NAME=VALUE
        pairs: Vec<String>,
    },
}

#[derive(Serialize)]
struct Listed {
    id: String,
    kind: String,
    agent: Option<String>,
    members: Vec<String>,
}

impl Verb {
    /// Does what needs no running cluster; gives back what does.
    pub(crate) fn run_alone(self, json: bool) -> Result<anyhow::Result<()>, Verb> {
        match self {
            Verb::Agents { spec } => Ok(agents::list(spec.as_deref(), json)),
            Verb::Describe { agent } => Ok(agents::describe(&agent, json)),
            verb => Err(verb),
        }
    }
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Agents { spec } => agents::list(spec.as_deref(), session.json),
        Verb::Describe { agent } => agents::describe(&agent, session.json),
        Verb::Create(create) => make(session, &create),
        Verb::Delete { ids } => ids.iter().try_for_each(|id| delete(session, id)),
        Verb::List => list(session),
        Verb::Show { id } => {
            let cib = session.cib()?;
            let found = find(&cib, &id)?;
            match session.json {
                true => print_json(&crate::cib::as_json(found)),
                false => out!("{}", found.to_xml(Style::Pretty)),
            }
            Ok(())
        }
        Verb::Update { id, pairs } => set_pairs(session, &id, "instance_attributes", &pairs),
        Verb::Meta { id, pairs } => set_pairs(session, &id, "meta_attributes", &pairs),
        Verb::Enable { ids } => each_meta(session, &ids, "target-role="),
        Verb::Disable { ids } => each_meta(session, &ids, "target-role=Stopped"),
        Verb::Manage { ids } => each_meta(session, &ids, "is-managed="),
        Verb::Unmanage { ids } => each_meta(session, &ids, "is-managed=false"),
        Verb::Move { id, node } => place(session, &id, &node, "prefer", "INFINITY"),
        Verb::Ban { id, node } => place(session, &id, &node, "ban", "-INFINITY"),
        Verb::Clear { id } => {
            let xpath = format!(
                "/cib/configuration/constraints/rsc_location[@rsc={}][starts-with(@id,'cli-')]",
                quoted(&id)
            );
            session.delete(
                &xpath,
                &format!(
                    "constraint left by 'move' or 'ban' of {id}; see 'systole constraint list'"
                ),
            )
        }
        Verb::Cleanup { id, node } => {
            let Some(id) = id else {
                session.ask(Request::ForgetResource { node, resource: None })?;
                return Ok(());
            };
            let cib = session.cib()?;
            let names = executor_names(&status::view_of(cib.clone()), &id);
            if names.is_empty() {
                find(&cib, &id)?;
            }
            names.into_iter().try_for_each(|name| {
                let (node, resource) = (node.clone(), Some(name));
                session.ask(Request::ForgetResource { node, resource }).map(|_| ())
            })
        }
        Verb::Group { group, ids } => make_group(session, &group, &ids),
        Verb::Clone { id, pairs } => wrap(session, &id, &pairs, false),
        Verb::Promotable { id, pairs } => wrap(session, &id, &pairs, true),
    }
}

fn resources(cib: &Doc) -> Option<Node<'_>> {
    cib.root().child("configuration")?.child("resources")
}

/// The resource called `id`; the error names one that is spelled alike.
pub(crate) fn find<'a>(cib: &'a Doc, id: &str) -> anyhow::Result<Node<'a>> {
    let all = || {
        let all = resources(cib).into_iter().flat_map(|r| r.descendants());
        all.filter(|n| KINDS.contains(&n.name()))
    };
    if let Some(found) = all().find(|n| n.attr("id") == Some(id)) {
        return Ok(found);
    }
    let names: Vec<&str> = all().filter_map(|n| n.attr("id")).collect();
    match names.is_empty() {
        true => bail!("there is no resource '{id}': there are no resources at all"),
        false => bail!("there is no resource '{id}'; the resources are {}", names.join(", ")),
    }
}

/// What the executors call a resource, or all that is inside of it: the names in the operation
/// history. Resources that were deleted and are still known count as well.
fn executor_names(view: &Overview, id: &str) -> BTreeSet<String> {
    fn add(view: &Overview, rsc: &RscView, names: &mut BTreeSet<String>) {
        if rsc.children.is_empty() {
            let own = if rsc.unique { &rsc.id } else { &rsc.def.id };
            names.insert(rsc.history_id.as_deref().unwrap_or(own).to_owned());
        }
        rsc.children.iter().for_each(|ix| add(view, &view.resources[*ix], names));
    }
    let mut names = BTreeSet::new();
    let named = |rsc: &&RscView| *rsc.id == *id || *rsc.shown_id == *id || *rsc.def.id == *id;
    view.resources.iter().filter(named).for_each(|rsc| add(view, rsc, &mut names));
    names
}

fn set_class(doc: &mut Doc, element: NodeId, agent: &str) -> anyhow::Result<()> {
    let agent = agents::named(agent)?;
    doc.set_attr(element, "class", &agent.class);
    if let Some(provider) = &agent.provider {
        doc.set_attr(element, "provider", provider);
    }
    doc.set_attr(element, "type", &agent.name);
    Ok(())
}

/// What follows the agent on the command line, taken apart.
#[derive(Default)]
struct Words {
    params: Vec<String>,
    meta: Vec<String>,
    /// Action and its NAME=VALUE words.
    ops: Vec<(String, Vec<String>)>,
}

fn sort_words(words: &[String]) -> anyhow::Result<Words> {
    let mut out = Words::default();
    let mut words = words.iter();
    let mut section = "params";
    while let Some(word) = words.next() {
        match word.as_str() {
            "meta" | "params" => section = word,
            "op" => {
                section = "op";
                let action = words.next().context("'op' has to be followed by an action")?;
                out.ops.push((action.clone(), Vec::new()));
            }
            _ => {
                pair(word)?;
                match section {
                    "meta" => out.meta.push(word.clone()),
                    "op" => {
                        let op = out.ops.last_mut().context("a value before the action")?;
                        op.1.push(word.clone());
                    }
                    _ => out.params.push(word.clone()),
                }
            }
        }
    }
    Ok(out)
}

/// The `<primitive>` that the words describe.
pub(crate) fn primitive(
    id: &str,
    agent: &str,
    words: &[String],
    disabled: bool,
) -> anyhow::Result<Doc> {
    let mut words = sort_words(words)?;
    let mut doc = Doc::new("primitive");
    let root = doc.root_id();
    doc.set_attr(root, "id", id);
    set_class(&mut doc, root, agent)?;
    if disabled {
        words.meta.push("target-role=Stopped".to_owned());
    }
    add_pairs(&mut doc, root, "instance_attributes", id, &words.params)?;
    add_pairs(&mut doc, root, "meta_attributes", id, &words.meta)?;
    if words.ops.is_empty() {
        words.ops.push(("monitor".to_owned(), vec!["interval=10s".to_owned()]));
    }
    let operations = doc.append_element(root, "operations");
    for (action, pairs) in &words.ops {
        let mut pairs: Vec<(&str, &str)> =
            pairs.iter().map(|p| pair(p)).collect::<anyhow::Result<_>>()?;
        if !pairs.iter().any(|p| p.0 == "interval") {
            pairs.insert(0, ("interval", "0s"));
        }
        let interval = pairs.iter().find(|p| p.0 == "interval").map_or("0s", |p| p.1);
        let op = doc.append_element(operations, "op");
        doc.set_attr(op, "id", &xml_id(&format!("{id}-{action}-{interval}")));
        doc.set_attr(op, "name", action);
        for (name, value) in pairs {
            doc.set_attr(op, name, value);
        }
    }
    Ok(doc)
}

fn make(session: &mut Session, create: &Create) -> anyhow::Result<()> {
    let doc = primitive(&create.id, &create.agent, &create.words, create.disabled)?;
    if let Some(group) = &create.group {
        let cib = session.cib()?;
        if find(&cib, &create.id).is_ok() {
            bail!("there is a resource '{}' already", create.id);
        }
        let mut element = Doc::new("group");
        let root = element.root_id();
        element.set_attr(root, "id", group);
        element.append_copy(root, doc.root());
        return session.merge("resources", &element);
    }
    if create.clone || create.promotable {
        return session.create("resources", &wrapped(doc.root(), &[], create.promotable)?);
    }
    session.create("resources", &doc)
}

/// `inner` inside of a clone.
fn wrapped(inner: Node<'_>, pairs: &[String], promotable: bool) -> anyhow::Result<Doc> {
    let id = format!("{}-clone", inner.attr("id").unwrap_or_default());
    let mut doc = Doc::new("clone");
    let root = doc.root_id();
    doc.set_attr(root, "id", &id);
    doc.append_copy(root, inner);
    let mut pairs = pairs.to_vec();
    if promotable {
        pairs.push("promotable=true".to_owned());
    }
    add_pairs(&mut doc, root, "meta_attributes", &id, &pairs)?;
    Ok(doc)
}

/// Replaces a resource by another element, in one operation.
fn replace_by(session: &mut Session, old: &[&str], new: &Doc) -> anyhow::Result<()> {
    let mut operations = Vec::new();
    for id in old {
        let xpath = format!("/cib/configuration/resources//*[@id={}]", quoted(id));
        operations.push(Operation::DeleteAll { xpath });
    }
    operations.push(merge("resources", new));
    session.change(Operation::Transaction(operations))
}

fn wrap(session: &mut Session, id: &str, pairs: &[String], promotable: bool) -> anyhow::Result<()> {
    let cib = session.cib()?;
    let inner = find(&cib, id)?;
    if inner.parent().is_some_and(|p| p.name() != "resources") {
        bail!(
            "{id} is part of {} already",
            inner.parent().and_then(|p| p.attr("id")).unwrap_or("something")
        );
    }
    replace_by(session, &[id], &wrapped(inner, pairs, promotable)?)
}

fn make_group(session: &mut Session, group: &str, ids: &[String]) -> anyhow::Result<()> {
    let cib = session.cib()?;
    let mut doc = Doc::new("group");
    let root = doc.root_id();
    doc.set_attr(root, "id", group);
    for id in ids {
        let element = find(&cib, id)?;
        if element.name() != "primitive" {
            bail!("{id} is a {}: only primitives can be in a group", element.name());
        }
        doc.append_copy(root, element);
    }
    let old: Vec<&str> = ids.iter().map(String::as_str).collect();
    replace_by(session, &old, &doc)
}

fn delete(session: &mut Session, id: &str) -> anyhow::Result<()> {
    let cib = session.cib()?;
    let element = find(&cib, id)?;
    // The last member takes its group or clone along.
    let mut top = element;
    while let Some(parent) = top.parent().filter(|p| KINDS.contains(&p.name())) {
        if parent.children().filter(|c| KINDS.contains(&c.name())).count() > 1 {
            break;
        }
        top = parent;
    }
    let mut operations = Vec::new();
    let gone = top.descendants().filter(|n| KINDS.contains(&n.name()));
    for id in gone.filter_map(|n| n.attr("id")) {
        let id = quoted(id);
        let by =
            ["rsc", "with-rsc", "first", "then"].map(|name| format!("@{name}={id}")).join(" or ");
        operations.push(Operation::DeleteAll {
            xpath: format!("/cib/configuration/constraints/*[{by}]"),
        });
        operations.push(Operation::DeleteAll {
            xpath: format!("/cib/configuration/constraints//resource_ref[@id={id}]"),
        });
    }
    let top_id = quoted(top.attr("id").unwrap_or_default());
    operations.push(Operation::DeleteAll {
        xpath: format!("/cib/configuration/resources//*[@id={top_id}]"),
    });
    session.change(Operation::Transaction(operations))
}

fn list(session: &mut Session) -> anyhow::Result<()> {
    let cib = session.cib()?;
    let top = resources(&cib).into_iter().flat_map(|r| r.children());
    let items: Vec<Listed> = top
        .filter(|n| KINDS.contains(&n.name()))
        .map(|n| Listed {
            id: n.attr("id").unwrap_or_default().to_owned(),
            kind: n.name().to_owned(),
            agent: n.attr("type").map(|name| {
                let class = n.attr("class").unwrap_or_default();
                match n.attr("provider") {
                    Some(provider) => format!("{class}:{provider}:{name}"),
                    None => format!("{class}:{name}"),
                }
            }),
            members: n
                .descendants()
                .filter(|m| m.name() == "primitive" && m.id() != n.id())
                .filter_map(|m| m.attr("id").map(str::to_owned))
                .collect(),
        })
        .collect();
    print_list(session.json, &items, |i| match &i.agent {
        Some(agent) => format!("{} ({agent})", i.id),
        None => format!("{} ({} of {})", i.id, i.kind, i.members.join(", ")),
    });
    Ok(())
}

fn each_meta(session: &mut Session, ids: &[String], text: &str) -> anyhow::Result<()> {
    ids.iter().try_for_each(|id| set_pairs(session, id, "meta_attributes", &[text.to_owned()]))
}

/// Sets name-value pairs of a resource where they stand, or in its first block; an empty value
/// removes a pair.
fn set_pairs(session: &mut Session, id: &str, block: &str, pairs: &[String]) -> anyhow::Result<()> {
    let cib = session.cib()?;
    let element = find(&cib, id)?;
    let mut operations = Vec::new();
    let mut doc = Doc::new(element.name());
    let root = doc.root_id();
    doc.set_attr(root, "id", id);
    let set_id = element
        .child(block)
        .and_then(|b| b.attr("id"))
        .map_or_else(|| format!("{id}-{block}"), str::to_owned);
    let mut set = None;
    for text in pairs {
        let (name, value) = pair(text)?;
        if value.is_empty() {
            if pairs_of(element, block).iter().any(|p| p.0 == name) {
                let xpath = format!(
                    "/cib/configuration/resources//*[@id={}]/{block}/nvpair[@name={}]",
                    quoted(id),
                    quoted(name)
                );
                operations.push(Operation::DeleteAll { xpath });
            }
            continue;
        }
        let holder = *set.get_or_insert_with(|| {
            let holder = doc.append_element(root, block);
            doc.set_attr(holder, "id", &set_id);
            holder
        });
        let there = element
            .children_named(block)
            .flat_map(|b| b.children_named("nvpair"))
            .find(|p| p.attr("name") == Some(name))
            .and_then(|p| p.attr("id"));
        let pair_id = there.map_or_else(|| xml_id(&format!("{set_id}-{name}")), str::to_owned);
        let nvpair = doc.append_element(holder, "nvpair");
        doc.set_attr(nvpair, "id", &pair_id);
        doc.set_attr(nvpair, "name", name);
        doc.set_attr(nvpair, "value", value);
    }
    if set.is_some() {
        operations.push(Operation::Modify {
            target: Target::Section("resources".to_owned()),
            xml: doc.root().to_xml(Style::Compact),
            allow_create: false,
            score: false,
        });
    }
    if operations.is_empty() {
        return Ok(());
    }
    session.change(Operation::Transaction(operations))
}

/// The constraint that `move` and `ban` leave, named as in the field so that every tool's `clear`
/// finds it.
fn place(
    session: &mut Session,
    id: &str,
    node: &str,
    kind: &str,
    score: &str,
) -> anyhow::Result<()> {
    find(&session.cib()?, id)?;
    let info = session.info()?;
    if !info.nodes.iter().any(|(_, name, _)| name == node) {
        let names: Vec<&str> = info.nodes.iter().map(|(_, n, _)| n.as_str()).collect();
        bail!("there is no node '{node}'; the nodes are {}", names.join(", "));
    }
    let mut doc = Doc::new("rsc_location");
    let root = doc.root_id();
    let constraint = match kind {
        "ban" => format!("cli-ban-{id}-on-{node}"),
        _ => format!("cli-prefer-{id}"),
    };
    doc.set_attr(root, "id", &constraint);
    doc.set_attr(root, "rsc", id);
    doc.set_attr(root, "role", "Started");
    doc.set_attr(root, "node", node);
    doc.set_attr(root, "score", score);
    session.merge("constraints", &doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_primitive() {
        let words: Vec<String> =
            "ip=10.0.0.1 op monitor interval=1s timeout=5s meta migration-threshold=3"
                .split(' ')
                .map(str::to_owned)
                .collect();
        let doc = primitive("vip", "ocf:systole:vip", &words, false).unwrap();
        assert_eq!(
            doc.root().to_xml(Style::Compact),
            "<primitive id=\"vip\" class=\"ocf\" provider=\"systole\" type=\"vip\">\
             <instance_attributes id=\"vip-instance_attributes\"><nvpair \
             id=\"vip-instance_attributes-ip\" name=\"ip\" value=\"10.0.0.1\"/>\
             </instance_attributes><meta_attributes id=\"vip-meta_attributes\"><nvpair \
             id=\"vip-meta_attributes-migration-threshold\" name=\"migration-threshold\" \
             value=\"3\"/></meta_attributes><operations><op id=\"vip-monitor-1s\" \
             name=\"monitor\" interval=\"1s\" timeout=\"5s\"/></operations></primitive>"
        );
    }

    #[test]
    fn a_resource_is_cleaned_up_under_the_names_that_executors_know_all_of_it_by() {
        let primitive =
            |id: &str| format!("<primitive id=\"{id}\" class=\"ocf\" provider=\"t\" type=\"x\"/>");
        let clone = |id, unique, inner: String| {
            format!(
                "<clone id=\"{id}\"><meta_attributes id=\"{id}-m\"><nvpair id=\"{id}-n\" \
                 name=\"globally-unique\" value=\"{unique}\"/></meta_attributes>{inner}</clone>"
            )
        };
        let group = |id, members: [&str; 2]| {
            format!("<group id=\"{id}\">{}</group>", members.map(primitive).concat())
        };
        let node = |id| format!("<node id=\"{id}\" uname=\"n{id}\"/>");
        let state = |id| {
            format!(
                "<node_state id=\"{id}\" uname=\"n{id}\" in_ccm=\"true\" crmd=\"online\" \
                 join=\"member\" expected=\"member\"/>"
            )
        };
        let resources = [
            primitive("p"),
            group("g", ["a", "b"]),
            clone("c", "false", group("h", ["d", "e"])),
            clone("u", "true", primitive("f")),
        ];
        let xml = format!(
            "<cib crm_feature_set=\"3.19.0\" validate-with=\"pacemaker-3.9\" epoch=\"1\" \
             num_updates=\"0\" admin_epoch=\"0\" have-quorum=\"1\"><configuration><crm_config/>\
             <nodes>{}</nodes><resources>{}</resources><constraints/></configuration>\
             <status>{}</status></cib>",
            ["1", "2"].map(node).concat(),
            resources.concat(),
            ["1", "2"].map(state).concat(),
        );
        let view = status::view_of(Doc::parse(&xml).unwrap());
        for (id, expected) in [
            ("p", &["p"][..]),
            ("g", &["a", "b"]),
            ("a", &["a"]),
            ("c", &["d", "e"]),
            ("h", &["d", "e"]),
            ("d", &["d"]),
            ("u", &["f:0", "f:1"]),
            ("f", &["f:0", "f:1"]),
            ("f:1", &["f:1"]),
            ("nothing", &[]),
        ] {
            let names: Vec<String> = executor_names(&view, id).into_iter().collect();
            assert_eq!(names, expected, "{id}");
        }
    }

    #[test]
    fn wrong_words_are_named() {
        for (agent, words, expected) in [
            ("ocf:a", vec![], "names no agent"),
            ("Dummy", vec!["ip".to_owned()], "'ip' is not of the form"),
            ("Dummy", vec!["op".to_owned()], "followed by an action"),
        ] {
            let error = primitive("r", agent, &words, false).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
