//! Parameters and meta-attributes of resources.

use std::collections::HashSet;

use cib_model::{ResourceKind, Time};
use cib_store::{Operation, Target};
use cib_xml::{Doc, Style, quoted};

use super::{Fail, Work, refused, usage};
use crate::checks;
use crate::cib::merging;
use crate::dates::Date;
use crate::exit;
use crate::nvattrs::{Pair, select};
use crate::output::{Element, Out};
use crate::show::{base, meta};

/// Kind of block that is read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Params,
    Meta,
    Utilization,
    Element,
}

impl Kind {
    fn of(work: &Work<'_>) -> Kind {
        match work.given.last_of(&["meta", "utilization", "element"]) {
            Some("meta") => Kind::Meta,
            Some("utilization") => Kind::Utilization,
            Some("element") => Kind::Element,
            _ => Kind::Params,
        }
    }

    fn block(self) -> &'static str {
        match self {
            Kind::Params => "instance_attributes",
            Kind::Meta => "meta_attributes",
            Kind::Utilization => "utilization",
            Kind::Element => "",
        }
    }
}

pub(super) fn get(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let at = work.rsc()?;
    let name = work.given.get("get-parameter").unwrap_or_default().to_string();
    let id = work.cluster.rsc(at).id.to_string();
    let current = match &work.cluster.rsc(at).nodes[..] {
        [node] => Some(work.cluster.node(*node).name.to_string()),
        [] => None,
        _ => {
            out.error(&format!(
                "{id} is active on more than one node, returning the default value for {name}"
            ));
            None
        }
    };
    let value = match Kind::of(work) {
        Kind::Params => {
            let now = Time::from_epoch(Date::now().epoch());
            let model = work.cluster.model.clone();
            let all = crm_scheduler::overview::parameters(model, now, &id, current.as_deref());
            all.into_iter().find(|(n, _)| **n == *name).map(|(_, value)| value.to_string())
        }
        Kind::Meta => meta(work.cluster.rsc(at), &name).map(str::to_string),
        Kind::Element => {
            let attrs = &work.cluster.rsc(at).def.attrs;
            attrs.iter().find(|(n, _)| **n == *name).map(|(_, value)| value.to_string())
        }
        Kind::Utilization => {
            let found = lookup(work, base(&id), Kind::Utilization, None, None, Some(&name));
            found.ok().and_then(|pairs| pairs.first().map(|p| p.value.clone()))
        }
    };
    match value {
        Some(value) => {
            out.line(&value);
            let item = Element::new("item").attr("name", &name).text(value);
            let list = Element::new("list").attr("name", "attributes").attr("count", 1);
            out.xml(list.child(item));
        }
        None => out.error(&format!("Attribute '{name}' not found for '{id}'")),
    }
    Ok(())
}

/// The nvpairs of a resource; none is no error.
fn lookup(
    work: &mut Work<'_>,
    rsc: &str,
    kind: Kind,
    set: Option<&str>,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<Pair>, Fail> {
    let mut path = format!("/cib/configuration/resources//*[@id={}]", quoted(rsc));
    if kind != Kind::Element {
        path.push_str(&format!("/{}", kind.block()));
        if let Some(set) = set {
            path.push_str(&format!("[@id={}]", quoted(set)));
        }
    }
    path.push_str("//nvpair");
    for (attr, value) in [("id", id), ("name", name)] {
        if let Some(value) = value {
            path.push_str(&format!("[@{attr}={}]", quoted(value)));
        }
    }
    match select(work.cib.as_mut(), path) {
        Ok(pairs) => Ok(pairs),
        Err(e) if e.exit_code() == exit::NOSUCH => Ok(Vec::new()),
        Err(e) => Err(refused(e)),
    }
}

/// As [`lookup`], and says if there are several.
fn search(
    work: &mut Work<'_>,
    rsc: &str,
    kind: Kind,
    (set, id, name): (Option<&str>, Option<&str>, &str),
    out: &mut Out,
) -> Result<Vec<Pair>, Fail> {
    let pairs = lookup(work, rsc, kind, set, id, Some(name))?;
    if pairs.len() > 1 {
        crate::crm_attribute::show_several(&pairs, name, out);
        out.line("");
    }
    Ok(pairs)
}

/// Which resources a change of a meta-attribute applies to.
fn targets(
    work: &mut Work<'_>,
    at: usize,
    what: (Option<&str>, Option<&str>, &str),
    kind: Kind,
    verb: &str,
    given: &str,
    out: &mut Out,
) -> Result<Vec<usize>, Fail> {
    if work.force {
        return Ok(vec![at]);
    }
    let rsc = work.cluster.rsc(at);
    let name = what.2;
    let parent = rsc.parent.filter(|p| work.cluster.rsc(*p).def.kind == ResourceKind::Clone);
    if let Some(parent) = parent {
        if search(work, given, kind, what, out)?.len() == 1 {
            return Ok(vec![at]);
        }
        let id = work.cluster.rsc(parent).id.to_string();
        out.line(&format!("Performing {verb} of '{name}' on '{id}', the parent of '{given}'"));
        return Ok(vec![parent]);
    }
    if rsc.parent.is_none() && rsc.def.kind == ResourceKind::Clone {
        let child = rsc.children.first().copied();
        let primitive = |c: &usize| work.cluster.rsc(*c).def.kind == ResourceKind::Primitive;
        if let Some(child) = child.filter(primitive) {
            let id = work.cluster.rsc(child).def.id.to_string();
            if search(work, &id, kind, what, out)?.len() == 1 {
                out.line(&format!(
                    "A value for '{name}' already exists in child '{id}', performing {verb} on \
                     that instead of '{given}'"
                ));
                return Ok(vec![child]);
            }
        }
        return Ok(vec![at]);
    }
    let mut found = Vec::new();
    matching(work, at, what, kind, 0, &mut found, out)?;
    Ok(found)
}

fn matching(
    work: &mut Work<'_>,
    at: usize,
    what: (Option<&str>, Option<&str>, &str),
    kind: Kind,
    depth: u32,
    found: &mut Vec<usize>,
    out: &mut Out,
) -> Result<(), Fail> {
    let is_clone = work.cluster.rsc(at).def.kind == ResourceKind::Clone;
    let children = work.cluster.rsc(at).children.clone();
    for child in children.into_iter().take(if is_clone { 1 } else { usize::MAX }) {
        matching(work, child, what, kind, depth + 1, found, out)?;
    }
    let id = work.cluster.rsc(at).def.id.to_string();
    let here = search(work, &id, kind, what, out)?;
    if depth == 0 || here.len() == 1 {
        found.push(at);
    }
    Ok(())
}

/// A changed parameter.
struct Change {
    rsc: usize,
    set: Option<String>,
    id: String,
    /// Whether the block is named in the message: it is new, or it was given.
    show_set: bool,
}

fn element_name(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Primitive => "primitive",
        ResourceKind::Group => "group",
        ResourceKind::Clone => "clone",
        ResourceKind::Bundle => "bundle",
    }
}

pub(super) fn set(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let name = work.given.get("set-parameter").unwrap_or_default().to_string();
    let Some(value) = work.given.get("parameter-value").filter(|v| !v.is_empty()) else {
        return usage("You need to supply a value with the -v option");
    };
    let at = work.rsc()?;
    let kind = Kind::of(work);
    if kind == Kind::Element {
        change_element(work, at, &name, Some(value))?;
        out.line(&format!("Set attribute: name={name} value={value}"));
        return Ok(());
    }
    let mut changes = Vec::new();
    let given = work.name.clone();
    update(work, at, &given, &name, value, kind, &mut HashSet::new(), &mut changes, out)?;
    let mut list = Element::new("resource-settings");
    for change in &changes {
        let rsc = work.cluster.rsc(change.rsc);
        let id = &change.id;
        let set = match &change.set {
            Some(set) if change.show_set => format!(" set={set}"),
            _ => String::new(),
        };
        let shown = &rsc.def.id;
        out.line(&format!("Set '{shown}' option: id={id}{set} name={name} value={value}"));
        let pair = Element::new("nvpair").attr("id", id).attr("value", value).attr("name", &name);
        let block = Element::new(kind.block()).maybe("id", change.set.as_ref()).child(pair);
        let element = Element::new(element_name(rsc.def.kind)).attr("id", &rsc.id);
        list.push(element.child(block));
    }
    if !changes.is_empty() {
        out.xml(list);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "called in one place and by itself")]
fn update(
    work: &mut Work<'_>,
    at: usize,
    given: &str,
    name: &str,
    value: &str,
    kind: Kind,
    seen: &mut HashSet<usize>,
    changes: &mut Vec<Change>,
    out: &mut Out,
) -> Result<(), Fail> {
    let set = work.given.get("set-name").map(str::to_string);
    let id = work.given.get("nvpair").map(str::to_string);
    let what = (set.as_deref(), id.as_deref(), name);
    let top = work.cluster.rsc(work.cluster.top(at, false)).def.id.to_string();
    if id.is_none() && !work.force {
        search(work, &top, Kind::Element, (None, None, name), out)?;
    }
    let mut list = if kind == Kind::Params {
        if !work.force {
            let metas = lookup(work, &top, Kind::Meta, what.0, what.1, Some(name))?;
            if let Some(first) = metas.first() {
                if !out.quiet {
                    let found = &first.id;
                    out.error(&format!(
                        "WARNING: There is already a meta attribute for '{top}' called '{name}' \
                         (id={found})"
                    ));
                    out.error(&format!(
                        "         Delete '{found}' first or use the force option to override"
                    ));
                }
                return Err((76, String::new()));
            }
        }
        vec![at]
    } else {
        targets(work, at, what, kind, "update", given, out)?
    };
    if (set.is_some() || id.is_some())
        && let Some(last) = list.pop()
    {
        list = vec![last];
    }
    for rsc in list {
        let rsc_id = work.cluster.rsc(rsc).def.id.to_string();
        let found = search(work, &rsc_id, kind, what, out)?;
        let (pair_id, block) = match &found[..] {
            [one] => (one.id.clone(), None),
            [] => {
                let block = set.clone().unwrap_or_else(|| format!("{rsc_id}-{}", kind.block()));
                let pair = id.clone().unwrap_or_else(|| format!("{block}-{name}"));
                (pair, Some(block))
            }
            _ => return Err((76, String::new())),
        };
        let mut doc;
        let pair = match &block {
            None => {
                doc = Doc::new("nvpair");
                doc.root_id()
            }
            Some(block) => {
                doc = Doc::new(element_name(work.cluster.rsc(rsc).def.kind));
                let root = doc.root_id();
                doc.set_attr(root, "id", &rsc_id);
                let holder = doc.append_element(root, kind.block());
                doc.set_attr(holder, "id", block);
                doc.append_element(holder, "nvpair")
            }
        };
        for (attr, text) in [("id", pair_id.as_str()), ("name", name), ("value", value)] {
            doc.set_attr(pair, attr, text);
        }
        let xml = doc.root().to_xml(Style::Compact);
        if kind == Kind::Params {
            check(work, &xml)?;
        }
        work.cib.merge("resources", xml).map_err(refused)?;
        let show_set = block.is_some() || set.is_some();
        let known = block.or(set.clone()).or_else(|| {
            let holder = work.cluster.doc.root().find_id(&pair_id)?.parent()?;
            holder.attr("id").map(str::to_string)
        });
        changes.push(Change { rsc, set: known, id: pair_id, show_set });
        if work.given.has("recursive") && kind == Kind::Meta {
            seen.insert(rsc);
            for colocation in work.cluster.rsc(rsc).with_this.clone() {
                let colocation = work.cluster.view.colocations[colocation].clone();
                let other = colocation.dependent;
                if colocation.score > 0 && !seen.contains(&other) {
                    let id = work.cluster.rsc(other).id.to_string();
                    update(work, other, &id, name, value, kind, seen, changes, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Refuses a parameter that its agent would not take, unless it is forced. The agents of this machine
/// are those of a running cluster, and need not be those that a file is meant for.
fn check(work: &Work<'_>, xml: &str) -> Result<(), Fail> {
    if work.force || !work.checked || !work.cib.is_live() {
        return Ok(());
    }
    let before = &work.cluster.doc;
    // None: whoever makes the change will say why it cannot be made.
    let Some(after) = checks::changed(before, &merging("resources", xml.to_string())) else {
        return Ok(());
    };
    let found = checks::new_problems(before, &after, &checks::Installed);
    match found.is_empty() {
        true => Ok(()),
        false => Err((
            exit::INVALID_PARAM,
            format!(
                "{}\nNothing is changed; --force makes the change all the same",
                found.join("\n")
            ),
        )),
    }
}

/// Sets or removes an attribute of the resource's element.
fn change_element(
    work: &mut Work<'_>,
    at: usize,
    name: &str,
    value: Option<&str>,
) -> Result<(), Fail> {
    let id = work.cluster.rsc(at).def.id.to_string();
    let resources = work.cluster.doc.root().child("configuration");
    let resources = resources.and_then(|c| c.child("resources"));
    let found = resources
        .and_then(|r| r.descendants().find(|n| n.attr("id") == Some(&*id)))
        .ok_or((exit::NOSUCH, String::new()))?;
    let mut doc = Doc::from_node(found);
    let root = doc.root_id();
    match value {
        Some(value) => doc.set_attr(root, name, value),
        None => {
            doc.remove_attr(root, name);
        }
    }
    let xml = doc.root().to_xml(Style::Compact);
    let op = Operation::Replace { target: Target::Section("resources".into()), xml };
    work.cib.apply(&op, false).map(|_| ()).map_err(refused)
}

pub(super) fn delete(work: &mut Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let name = work.given.get("delete-parameter").unwrap_or_default().to_string();
    let set = work.given.get("set-name").map(str::to_string);
    let id = work.given.get("nvpair").map(str::to_string);
    let what = (set.as_deref(), id.as_deref(), name.as_str());
    let at = work.rsc()?;
    let kind = Kind::of(work);
    if id.is_none() && !work.force {
        let top = work.cluster.rsc(work.cluster.top(at, false)).def.id.to_string();
        search(work, &top, Kind::Element, (None, None, &name), out)?;
    }
    if kind == Kind::Element {
        change_element(work, at, &name, None)?;
        out.line(&format!("Deleted attribute: {name}"));
        return Ok(());
    }
    let given = work.name.clone();
    let list = if kind == Kind::Meta {
        targets(work, at, what, kind, "delete", &given, out)?
    } else {
        vec![at]
    };
    for rsc in list {
        let rsc_id = work.cluster.rsc(rsc).def.id.to_string();
        let found = search(work, &rsc_id, kind, what, out)?;
        let pair = match &found[..] {
            [] => continue,
            [one] => one.id.clone(),
            _ => return Err((76, String::new())),
        };
        let mut doc = Doc::new("nvpair");
        let root = doc.root_id();
        doc.set_attr(root, "id", &pair);
        doc.set_attr(root, "name", &name);
        let xml = doc.root().to_xml(Style::Compact);
        work.cib.delete("resources", xml).map_err(refused)?;
        let set = set.as_ref().map(|s| format!(" set={s}")).unwrap_or_default();
        out.line(&format!("Deleted '{rsc_id}' option: id={pair}{set} name={name}"));
    }
    Ok(())
}
