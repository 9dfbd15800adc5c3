//! What an operation does to a CIB.
//!
//! Everything happens in place within a [`Doc`] transaction: what fails is undone at the cost of
//! what it wrote, so that a status update of some hundred bytes costs the same on a large CIB as on
//! a small one. Only operations that rebuild everything (replacing the whole CIB, patchsets,
//! upgrades) keep a copy of the former state, from which their patchset is made.
//!
//! The rules are those of `cibadmin`'s manual and the established implementation's behaviour:
//! changes of the configuration count `epoch` up, set `num_updates` to 0 and note who made them;
//! other changes count `num_updates` up; nothing is done if the result is not valid under its schema.

mod conclude;

use cib_xml::patch::{self, PatchError, Positions};
use cib_xml::{Doc, Found, Kind, Node, NodeId, XPath};

use self::conclude::conclude;
use crate::acl::{self, Guard};
use crate::error::{ErrorKind, StoreError};
use crate::operation::{Operation, Target, Who};
use crate::version::Version;

/// Most steps of a transaction.
const TRANSACTION_STEPS_MAX: usize = 100_000;

/// Sections and the element that each is a child of.
const SECTIONS: [(&str, &str); 13] = [
    ("status", "/cib"),
    ("configuration", "/cib"),
    ("crm_config", "/cib/configuration"),
    ("nodes", "/cib/configuration"),
    ("resources", "/cib/configuration"),
    ("constraints", "/cib/configuration"),
    ("op_defaults", "/cib/configuration"),
    ("rsc_defaults", "/cib/configuration"),
    ("acls", "/cib/configuration"),
    ("fencing-topology", "/cib/configuration"),
    ("tags", "/cib/configuration"),
    ("alerts", "/cib/configuration"),
    ("cib", ""),
];

/// The circumstances of an operation, the same on every replica.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub who: &'a Who,
    /// Name of the node that it comes from, for `update-origin`; empty for none.
    pub origin: &'a str,
    /// Wall clock in seconds since 1970, for `cib-last-written`; `None` leaves out the note of who
    /// wrote when.
    pub now_seconds: Option<i64>,
    /// Whether a result that its schema does not allow is refused.
    pub validate: bool,
    /// Whether its schema is known to allow what the CIB is now.
    pub valid: bool,
    /// Whether to refuse CIBs of newer feature sets than ours.
    pub check_features: bool,
}

/// What an operation did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The result of a query.
    pub output: Option<Doc>,
    /// The version before.
    pub old: Version,
    /// The version after.
    pub new: Version,
    /// Whether the configuration changed.
    pub config_changed: bool,
    /// What changed, as a patchset without digest; `None` if nothing did.
    pub patch: Option<Doc>,
}

type Run<T> = Result<T, StoreError>;

/// The absolute path of a section, such as `/cib/configuration/resources`; `None` if there is none
/// of that name.
pub fn section_path(section: &str) -> Option<String> {
    if section == "all" {
        return Some("/cib".into());
    }
    let (name, parent) = SECTIONS.iter().find(|(name, _)| *name == section)?;
    Some(format!("{parent}/{name}"))
}

/// Performs `op` on `doc`.
///
/// # Errors
/// If it is refused; then `doc` is as it was.
pub fn apply(doc: &mut Doc, op: &Operation, cx: &Context<'_>) -> Run<Applied> {
    let old = Version::of(doc);
    if let Operation::Query { target, no_children, paths } = op {
        let output = read(doc, cx.who, target, *no_children, *paths)?;
        let output = Some(output);
        return Ok(Applied { output, old, new: old, config_changed: false, patch: None });
    }
    let before = needs_copy(op).then(|| doc.clone());
    doc.begin();
    match change(doc, before.as_ref(), op, cx, old) {
        Ok(change) => {
            let journal = doc.commit();
            let patch = match &before {
                Some(before) => patch::make(before, doc, Positions::Count),
                None => patch::from_journal(doc, &journal).map(|d| d.patch),
            };
            let new = Version::of(doc);
            Ok(Applied { output: None, old, new, config_changed: change.unwrap_or(false), patch })
        }
        Err(error) => {
            doc.rollback();
            Err(error)
        }
    }
}

/// Reads from `doc` what `who` may see of `target`.
///
/// # Errors
/// If nothing is there, or the user may read nothing.
pub fn query(doc: &Doc, who: &Who, target: &Target) -> Run<Doc> {
    read(doc, who, target, false, false)
}

fn read(doc: &Doc, who: &Who, target: &Target, no_children: bool, paths: bool) -> Run<Doc> {
    match acl::readable_copy(doc, who)? {
        Some(filtered) => select(&filtered, target, no_children, paths),
        None => select(doc, target, no_children, paths),
    }
}

/// Whether the patchset is to be made by comparison.
fn needs_copy(op: &Operation) -> bool {
    match op {
        Operation::Patch { .. } | Operation::Upgrade { .. } | Operation::Erase => true,
        Operation::Replace { target, .. } => !matches!(target, Target::Section(s) if s == "status"),
        Operation::Transaction(all) => all.iter().any(needs_copy),
        _ => false,
    }
}

/// The change with all that follows from it: `None` for no change, else whether it is one of the
/// configuration.
fn change(
    doc: &mut Doc,
    before: Option<&Doc>,
    op: &Operation,
    cx: &Context<'_>,
    old: Version,
) -> Run<Option<bool>> {
    let Some(guard) = acl::guard(doc, cx.who) else {
        perform(doc, op, None)?;
        return conclude(doc, before, op, cx, old);
    };
    let done = perform(doc, op, Some(&guard)).and_then(|()| guard.check(doc));
    done.and_then(|()| conclude(doc, before, op, cx, old)).map_err(|error| guard.discreet(error))
}

/// Makes a change, of what its user may see where there is a guard.
fn perform(doc: &mut Doc, op: &Operation, guard: Option<&Guard>) -> Run<()> {
    match op {
        Operation::Query { .. } => Ok(()),
        Operation::Create { target, xml } => create(doc, target, &input(xml)?, guard),
        Operation::Modify { target, xml, allow_create, score } => {
            modify(doc, target, &input(xml)?, *allow_create, *score, guard)
        }
        Operation::Delete { target, xml } => delete(doc, target, xml.as_deref(), guard),
        Operation::DeleteAll { xpath } => {
            let found = elements(doc, xpath, guard)?;
            // Against document order, so that a parent is still there when its child goes.
            for id in found.into_iter().rev() {
                delete_one(doc, id)?;
            }
            Ok(())
        }
        Operation::Replace { target, xml } => replace(doc, target, &input(xml)?, guard),
        Operation::Patch { xml } => {
            let patch = input(xml)?;
            if guard.is_some_and(|guard| !touches_only_what_is_seen(doc, &patch, guard)) {
                return Err(ErrorKind::Denied.into());
            }
            patch::apply(doc, &patch, true).map_err(|error| match error {
                PatchError::OldData => ErrorKind::OldData.into(),
                PatchError::Failed(reason) => StoreError::new(ErrorKind::DiffFailed, reason),
                PatchError::Invalid(reason) => StoreError::new(ErrorKind::Invalid, reason),
            })
        }
        Operation::Erase => erase(doc),
        Operation::BumpEpoch => {
            let version = Version::of(doc);
            Version { epoch: version.epoch + 1, ..version }.write(doc);
            Ok(())
        }
        Operation::Upgrade { max } => upgrade(doc, max.as_deref()),
        Operation::Transaction(steps) => {
            if steps.len() > TRANSACTION_STEPS_MAX {
                return Err(StoreError::new(ErrorKind::Invalid, "too many steps"));
            }
            for step in steps {
                if matches!(step, Operation::Transaction(_) | Operation::Query { .. }) {
                    return Err(ErrorKind::NotInTransaction.into());
                }
                perform(doc, step, guard)?;
            }
            Ok(())
        }
    }
}

fn input(xml: &str) -> Run<Doc> {
    Doc::parse(xml).map_err(|e| StoreError::new(ErrorKind::Invalid, e.to_string()))
}

fn elements(doc: &Doc, xpath: &str, guard: Option<&Guard>) -> Run<Vec<NodeId>> {
    let found = match guard {
        None => doc.xpath_elements(xpath),
        Some(guard) => XPath::parse(xpath).and_then(|xpath| guard.elements(doc, &xpath)),
    };
    found.map_err(|e| StoreError::new(ErrorKind::BadXPath, e.to_string()))
}

/// Whether every element that a patchset names may be read.
fn touches_only_what_is_seen(doc: &Doc, patch: &Doc, guard: &Guard) -> bool {
    let paths = patch.root().children_named("change").filter_map(|change| change.attr("path"));
    paths.filter_map(|path| patch::find_path(doc, path)).all(|id| guard.sees(id))
}

/// The element of a section in `doc`, which may also be a part with a `cib` on top.
fn section(doc: &Doc, name: &str) -> Run<Option<NodeId>> {
    let Some(path) = section_path(name) else {
        return Err(StoreError::new(ErrorKind::Invalid, format!("there is no section {name}")));
    };
    let mut at = Some(doc.root()).filter(|r| r.name() == "cib");
    for part in path.split('/').skip(2) {
        at = at.and_then(|n| n.child(part));
    }
    Ok(at.map(|n| n.id()))
}

/// The part of the input that an operation on `target` is about: with a section and a whole CIB as
/// input, that section of it.
fn relevant<'a>(target: &Target, input: &'a Doc) -> Run<Node<'a>> {
    match target {
        Target::Section(name) if input.root().name() == "cib" => match section(input, name)? {
            Some(id) => Ok(input.node(id)),
            None => Err(StoreError::new(ErrorKind::Invalid, format!("no {name} in the input"))),
        },
        _ => Ok(input.root()),
    }
}

fn section_name(target: &Target) -> Option<&str> {
    match target {
        Target::Section(name) => Some(name),
        _ => None,
    }
}

fn whole(target: &Target) -> bool {
    match target {
        Target::Whole => true,
        Target::Section(name) => name == "all" || name == "cib",
        Target::XPath(_) => false,
    }
}

fn create(doc: &mut Doc, target: &Target, input: &Doc, guard: Option<&Guard>) -> Run<()> {
    if let Target::XPath(xpath) = target {
        let first = elements(doc, xpath, guard)?.first().copied();
        let parent = first.ok_or(StoreError::new(ErrorKind::NoSuchItem, xpath.as_str()))?;
        doc.append_copy(parent, input.root());
        return Ok(());
    }
    let new = relevant(target, input)?;
    if whole(target) && (new.name() == "cib" || matches!(target, Target::Section(_))) {
        return modify(doc, target, input, false, false, guard);
    }
    let name = section_name(target).unwrap_or("cib");
    let Some(parent) = section(doc, name)? else {
        return Err(StoreError::new(ErrorKind::Invalid, format!("there is no {name} yet")));
    };
    let add = |doc: &mut Doc, new: Node<'_>| -> Run<()> {
        if new.is_element() && child_like(doc.node(parent), new.name(), new.attr("id")).is_some() {
            return Err(exists(new));
        }
        let id = doc.append_copy(parent, new);
        strip_replace(doc, id);
        Ok(())
    };
    if new.name() == name {
        new.all_children().try_for_each(|child| add(doc, child))
    } else {
        add(doc, new)
    }
}

/// `replace` was an instruction in old times and is never kept.
fn strip_replace(doc: &mut Doc, top: NodeId) {
    let ids: Vec<NodeId> = doc
        .node(top)
        .descendants()
        .filter(|n| n.attr("replace").is_some())
        .map(|n| n.id())
        .collect();
    for id in ids {
        doc.remove_attr(id, "replace");
    }
}

/// The refusal to create what is there, with the report that goes with it.
fn exists(new: Node<'_>) -> StoreError {
    let mut report = Doc::new("failed");
    let update = report.append_element(report.root_id(), "failed_update");
    report.append_copy(update, new);
    if let Some(id) = new.attr("id") {
        report.set_attr(update, "id", id);
    }
    report.set_attr(update, "object-type", new.name());
    report.set_attr(update, "operation", "cib_create");
    report.set_attr(update, "reason", ErrorKind::Exists.text());
    let output = Some(report.root().to_xml(cib_xml::Style::Pretty));
    StoreError { kind: ErrorKind::Exists, detail: String::new(), output }
}

fn child_like<'a>(parent: Node<'a>, name: &str, id: Option<&str>) -> Option<Node<'a>> {
    parent.children().find(|c| c.name() == name && id.is_none_or(|id| c.attr("id") == Some(id)))
}

fn modify(
    doc: &mut Doc,
    target: &Target,
    input: &Doc,
    allow_create: bool,
    score: bool,
    guard: Option<&Guard>,
) -> Run<()> {
    if let Target::XPath(xpath) = target {
        let found = elements(doc, xpath, guard)?;
        for top in &found {
            if let Some(id) = find_update(doc.node(*top), input.root()) {
                return merge(doc, id, input.root(), score, guard);
            }
        }
        return Err(StoreError::new(ErrorKind::NoSuchItem, xpath.as_str()));
    }
    let update = relevant(target, input)?;
    let name = section_name(target).unwrap_or("cib");
    let top = match section(doc, name)? {
        Some(top) => top,
        None => new_section(doc, name)?,
    };
    if let Some(id) = find_update(doc.node(top), update) {
        return merge(doc, id, update, score, guard);
    }
    if !allow_create {
        return Err(ErrorKind::NoSuchItem.into());
    }
    doc.append_copy(top, update);
    Ok(())
}

fn new_section(doc: &mut Doc, name: &str) -> Run<NodeId> {
    let parent = SECTIONS.iter().find(|(n, _)| *n == name).map(|(_, parent)| *parent);
    let parent = match parent {
        Some("/cib") => Some(doc.root_id()),
        Some("/cib/configuration") => doc.root().child("configuration").map(|c| c.id()),
        _ => None,
    };
    match parent {
        Some(parent) => Ok(doc.append_element(parent, name)),
        None => Err(StoreError::new(ErrorKind::Invalid, format!("no place for {name}"))),
    }
}

/// The first element at or below `top` with the name and id of `update`; no id only matches none.
fn find_update(top: Node<'_>, update: Node<'_>) -> Option<NodeId> {
    let (name, id) = (update.name(), update.attr("id"));
    let fits = |n: &Node<'_>| n.name() == name && n.attr("id") == id;
    // Most updates are of a direct child: look there before going through everything.
    Some(top)
        .filter(&fits)
        .or_else(|| top.children().find(&fits))
        .or_else(|| top.descendants().find(&fits))
        .map(|n| n.id())
}

/// Merges `update` into `target`: attributes are set, children merged into the like ones or added.
fn merge(
    doc: &mut Doc,
    target: NodeId,
    update: Node<'_>,
    score: bool,
    guard: Option<&Guard>,
) -> Run<()> {
    let says = update.attrs().any(|(name, _)| name != "id");
    if says && guard.is_some_and(|guard| !guard.sees(target)) {
        return Err(ErrorKind::Denied.into());
    }
    for (name, value) in update.attrs() {
        set_value(doc, target, name, value, score);
    }
    for child in update.all_children() {
        match child.kind() {
            Kind::Text => {}
            Kind::Comment => {
                let known = doc
                    .node(target)
                    .all_children()
                    .any(|c| c.kind() == Kind::Comment && c.text() == child.text());
                if !known {
                    doc.append_copy(target, child);
                }
            }
            Kind::Element => {
                let like = match (child.attr("id"), child.attr("id-ref")) {
                    (Some(id), _) => child_like(doc.node(target), child.name(), Some(id)),
                    (None, Some(reference)) => doc
                        .node(target)
                        .children_named(child.name())
                        .find(|c| c.attr("id-ref") == Some(reference)),
                    (None, None) => doc.node(target).child(child.name()),
                };
                match like.map(|n| n.id()) {
                    Some(id) => merge(doc, id, child, score, guard)?,
                    None if score => {
                        let id = doc.append_element(target, child.name());
                        merge(doc, id, child, score, guard)?;
                    }
                    None => {
                        doc.append_copy(target, child);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Sets an attribute; with `score`, `name++` adds one to a present value and `name+=N` adds N.
fn set_value(doc: &mut Doc, id: NodeId, name: &str, value: &str, score: bool) {
    let old = doc.node(id).attr(name);
    let step = value.strip_prefix(name).filter(|_| score && old.is_some());
    let step = match step {
        Some("++") => Some(1),
        Some(rest) => rest.strip_prefix("+=").map(|n| parse_score(n).unwrap_or(1)),
        None => None,
    };
    match step {
        Some(step) => {
            let old = old.and_then(parse_score).unwrap_or(0);
            let sum = add_scores(old, step).to_string();
            doc.set_attr(id, name, &sum);
        }
        None => doc.set_attr(id, name, value),
    }
}

const INFINITY: i64 = 1_000_000;

fn parse_score(text: &str) -> Option<i64> {
    match text.trim() {
        "INFINITY" | "+INFINITY" => Some(INFINITY),
        "-INFINITY" => Some(-INFINITY),
        "red" => Some(-INFINITY),
        "yellow" | "green" => Some(0),
        number => Some(number.parse::<i64>().ok()?.clamp(-INFINITY, INFINITY)),
    }
}

/// Minus infinity beats plus infinity, both beat everything else.
fn add_scores(a: i64, b: i64) -> i64 {
    if a <= -INFINITY || b <= -INFINITY {
        -INFINITY
    } else if a >= INFINITY || b >= INFINITY {
        INFINITY
    } else {
        (a + b).clamp(-INFINITY, INFINITY)
    }
}

fn delete(doc: &mut Doc, target: &Target, xml: Option<&str>, guard: Option<&Guard>) -> Run<()> {
    if let Target::XPath(xpath) = target {
        return match elements(doc, xpath, guard)?.first() {
            Some(id) => delete_one(doc, *id),
            None => Ok(()),
        };
    }
    let Some(xml) = xml else {
        return Err(StoreError::new(ErrorKind::Invalid, "nothing says what to delete"));
    };
    let input = input(xml)?;
    let search = relevant(target, &input)?;
    let name = section_name(target).unwrap_or("cib");
    let Some(top) = section(doc, name)? else { return Ok(()) };
    let remove = |doc: &mut Doc, search: Node<'_>| {
        let seen = |n: &Node<'_>| guard.is_none_or(|guard| guard.sees(n.id()));
        let fits = |n: &Node<'_>| fits_search(*n, search) && seen(n);
        let found = doc.node(top).descendants().skip(1).find(fits);
        if let Some(id) = found.map(|n| n.id()) {
            doc.detach(id);
        }
    };
    if search.name() == name && section_name(target).is_some() {
        search.children().for_each(|child| remove(doc, child));
    } else {
        remove(doc, search);
    }
    Ok(())
}

fn delete_one(doc: &mut Doc, id: NodeId) -> Run<()> {
    if id == doc.root_id() {
        return Err(StoreError::new(ErrorKind::Invalid, "the whole CIB is not to be deleted"));
    }
    doc.detach(id);
    Ok(())
}

fn fits_search(node: Node<'_>, search: Node<'_>) -> bool {
    node.is_element()
        && node.name() == search.name()
        && search.attrs().all(|(name, value)| {
            node.attr(name).is_some_and(|have| have.eq_ignore_ascii_case(value))
        })
}

fn replace(doc: &mut Doc, target: &Target, input: &Doc, guard: Option<&Guard>) -> Run<()> {
    let seen = |node: Node<'_>| match guard {
        Some(guard) if !guard.sees_all(node) => Err(StoreError::from(ErrorKind::Denied)),
        _ => Ok(()),
    };
    if let Target::XPath(xpath) = target {
        let first = elements(doc, xpath, guard)?.first().copied();
        let old = first.ok_or(StoreError::new(ErrorKind::NoSuchItem, xpath.as_str()))?;
        seen(doc.node(old))?;
        if old == doc.root_id() {
            return replace_whole(doc, input.root());
        }
        let parent = doc.node(old).parent().map(|p| p.id());
        doc.detach(old);
        if let Some(parent) = parent {
            doc.append_copy(parent, input.root());
        }
        return Ok(());
    }
    let new = relevant(target, input)?;
    if new.name() == "cib" {
        seen(doc.root())?;
        return replace_whole(doc, new);
    }
    let top = match section_name(target) {
        Some(name) if name != "all" && name != new.name() => section(doc, name)?,
        _ => Some(doc.root_id()),
    };
    let id = new.attr("id");
    let found = top.and_then(|top| {
        doc.node(top)
            .descendants()
            .skip(1)
            .find(|n| n.name() == new.name() && id.is_none_or(|id| n.attr("id") == Some(id)))
            .map(|n| n.id())
    });
    let Some(old) = found else { return Err(ErrorKind::NoSuchItem.into()) };
    seen(doc.node(old))?;
    let parent = doc.node(old).parent().map(|p| p.id());
    let copy = doc.copy_detached(new);
    if let Some(parent) = parent {
        doc.attach(parent, copy, Some(old));
    }
    doc.detach(old);
    Ok(())
}

fn replace_whole(doc: &mut Doc, new: Node<'_>) -> Run<()> {
    if new.name() != "cib" {
        return Err(StoreError::new(ErrorKind::Invalid, format!("<{}> is no CIB", new.name())));
    }
    let current = Version::of(doc);
    let part = Doc::from_node(new);
    let given = Version::of(&part);
    if given < current {
        let detail = format!("version {given} is older than {current}");
        return Err(StoreError::new(ErrorKind::OldData, detail));
    }
    let root = doc.root_id();
    let children: Vec<NodeId> = doc.root().all_children().map(|c| c.id()).collect();
    children.into_iter().for_each(|id| doc.detach(id));
    doc.clear_attrs(root);
    for (name, value) in new.attrs() {
        doc.set_attr(root, name, value);
    }
    for child in new.all_children().filter(|c| c.kind() != Kind::Text) {
        doc.append_copy(root, child);
    }
    Ok(())
}

fn erase(doc: &mut Doc) -> Run<()> {
    let root = doc.root_id();
    let children: Vec<NodeId> = doc.root().all_children().map(|c| c.id()).collect();
    children.into_iter().for_each(|id| doc.detach(id));
    let empty = crate::empty_cib();
    for child in empty.root().children() {
        doc.append_copy(root, child);
    }
    let admin_epoch = Version::of(doc).admin_epoch + 1;
    doc.set_attr(root, "admin_epoch", &admin_epoch.to_string());
    Ok(())
}

/// An upgrade counts `admin_epoch` up and starts the others at 1 again.
fn upgrade(doc: &mut Doc, max: Option<&str>) -> Run<()> {
    let changed = cib_schema::upgrade(doc, max)
        .map_err(|e| StoreError::new(ErrorKind::SchemaInvalid, e.to_string()))?;
    if changed {
        let admin_epoch = Version::of(doc).admin_epoch + 1;
        Version { admin_epoch, epoch: 1, num_updates: 1 }.write(doc);
    }
    Ok(())
}

fn select(doc: &Doc, target: &Target, no_children: bool, paths: bool) -> Run<Doc> {
    let copy = |node: Node<'_>| {
        if no_children {
            let mut out = Doc::new(node.name());
            let root = out.root_id();
            node.attrs().for_each(|(name, value)| out.set_attr(root, name, value));
            out
        } else if node.id() == doc.root_id() {
            doc.clone()
        } else {
            Doc::from_node(node)
        }
    };
    let name = match target {
        Target::Whole => "cib",
        Target::Section(name) => name,
        Target::XPath(xpath) => return select_xpath(doc, xpath, paths, copy),
    };
    match section(doc, name)? {
        Some(id) => Ok(copy(doc.node(id))),
        None => Err(ErrorKind::NoSuchItem.into()),
    }
}

fn select_xpath(doc: &Doc, xpath: &str, paths: bool, copy: impl Fn(Node<'_>) -> Doc) -> Run<Doc> {
    let bad = |e: cib_xml::XPathError| StoreError::new(ErrorKind::BadXPath, e.to_string());
    let found = XPath::parse(xpath).and_then(|x| x.select(doc)).map_err(bad)?;
    if found.is_empty() {
        return Err(StoreError::new(ErrorKind::NoSuchItem, xpath));
    }
    if let ([Found::Node(id)], false) = (found.as_slice(), paths)
        && doc.node(*id).is_element()
    {
        return Ok(copy(doc.node(*id)));
    }
    let mut out = Doc::new("xpath-query");
    let root = out.root_id();
    for item in found {
        let id = match &item {
            Found::Node(id) | Found::Attr(id, _) => *id,
            Found::Document => doc.root_id(),
        };
        let node = doc.node(id);
        if paths {
            let path = out.append_element(root, "xpath-query-path");
            out.set_attr(path, "id", &cib_xml::path_of(node));
        } else if let Found::Attr(_, name) = &item {
            out.set_attr(root, name, node.attr(name).unwrap_or_default());
        } else if node.is_element() {
            out.append_copy(root, copy(node).root());
        } else {
            out.append_copy(root, node);
        }
    }
    Ok(out)
}
