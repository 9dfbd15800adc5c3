//! Access control: who may read and write which parts of a CIB.
//!
//! Permissions of a user's target and groups, by way of roles, mark elements as readable, writable
//! or denied; an element without a mark is as its parent, and the root without one is denied. A
//! denial beats other marks of the same element. The superuser, the cluster's own user and the
//! cluster itself may do everything, and so may everybody unless `enable-acl` is true.

use cib_xml::patch::{self, Positions};
use cib_xml::{Doc, Found, Node, NodeId, XPath, XPathError};

use crate::error::{ErrorKind, StoreError};
use crate::operation::Who;

/// Users to whom no rules apply.
const PRIVILEGED: [&str; 2] = ["root", "hacluster"];

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Nothing.
    Deny,
}

/// The permissions that apply to somebody, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<(Mode, String)>);

/// Marks of one element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Marked readable.
    pub read: bool,
    /// Marked writable.
    pub write: bool,
    /// Marked denied.
    pub deny: bool,
}

impl Marks {
    fn readable(self) -> bool {
        !self.deny && (self.read || self.write)
    }

    fn writable(self) -> bool {
        !self.deny && self.write
    }
}

/// Whether rules apply to this user at all.
pub fn required(who: &Who) -> bool {
    !who.internal && !who.user.is_empty() && !PRIVILEGED.contains(&who.user.as_str())
}

/// Whether the configuration turns access control on.
pub fn enabled(doc: &Doc) -> bool {
    let Some(config) = doc.root().child("configuration").and_then(|c| c.child("crm_config")) else {
        return false;
    };
    let score = |set: &Node<'_>| match set.attr("score") {
        Some("INFINITY" | "+INFINITY") => i64::MAX,
        Some(text) => text.parse().unwrap_or(0),
        None => 0,
    };
    let mut sets: Vec<Node<'_>> = config.children_named("cluster_property_set").collect();
    sets.sort_by_key(|s| (s.attr("id") != Some("cib-bootstrap-options"), -score(s).max(-i64::MAX)));
    let pair = sets
        .into_iter()
        .find_map(|s| s.children_named("nvpair").find(|p| p.attr("name") == Some("enable-acl")));
    let value = pair.and_then(|p| p.attr("value")).unwrap_or_default().to_ascii_lowercase();
    matches!(value.as_str(), "true" | "on" | "yes" | "y" | "1")
}

impl Rules {
    /// The permissions that `doc` gives to `who`.
    pub fn of(doc: &Doc, who: &Who) -> Rules {
        let mut rules = Rules::default();
        let acls = doc.root().child("configuration").and_then(|c| c.child("acls"));
        let Some(acls) = acls else { return rules };
        for holder in acls.children() {
            let name = holder.attr("name").or(holder.attr("id")).unwrap_or_default();
            let meant = match holder.name() {
                "acl_target" => name == who.user,
                "acl_group" => who.groups.iter().any(|g| g == name),
                _ => false,
            };
            if !meant {
                continue;
            }
            for part in holder.children() {
                match part.name() {
                    "role" => {
                        let role = acls
                            .children_named("acl_role")
                            .find(|r| r.attr("id").is_some() && r.attr("id") == part.attr("id"));
                        if let Some(role) = role {
                            role.children_named("acl_permission").for_each(|p| rules.add(p));
                        }
                    }
                    "acl_permission" => rules.add(part),
                    _ => {}
                }
            }
        }
        rules
    }

    fn add(&mut self, permission: Node<'_>) {
        let mode = match permission.attr("kind") {
            Some("read") => Mode::Read,
            Some("write") => Mode::Write,
            Some("deny") => Mode::Deny,
            _ => return,
        };
        let attr = |name| permission.attr(name);
        let (tag, reference, attribute) =
            (attr("object-type"), attr("reference"), attr("attribute"));
        let xpath = match attr("xpath") {
            Some(xpath) => xpath.to_string(),
            None if tag.is_none() && reference.is_none() => return,
            None => {
                let tag = tag.unwrap_or("*");
                let reference = reference.map(cib_xml::quoted);
                match (reference, attribute) {
                    (Some(id), Some(name)) => format!("//{tag}[@id={id} and @{name}]"),
                    (Some(id), None) => format!("//{tag}[@id={id}]"),
                    (None, Some(name)) => format!("//{tag}[@{name}]"),
                    (None, None) => format!("//{tag}"),
                }
            }
        };
        self.0.push((mode, xpath));
    }

    /// Whether there are none, so that nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements that an expression is about: those selected, and those whose attributes are.
    /// Expressions that are none select nothing.
    fn matches(doc: &Doc, xpath: &str) -> Vec<NodeId> {
        let found = doc.xpath(xpath).unwrap_or_default();
        let element = |f: Found| match f {
            Found::Document => Some(doc.root_id()),
            Found::Attr(id, _) => Some(id),
            Found::Node(id) if doc.node(id).is_element() => Some(id),
            Found::Node(id) => doc.node(id).parent().map(|p| p.id()),
        };
        found.into_iter().filter_map(element).collect()
    }

    /// The marks of every node of `doc`, by its index.
    pub fn marks(&self, doc: &Doc) -> Vec<Marks> {
        let mut marks = vec![Marks::default(); doc.arena_len()];
        for (mode, xpath) in &self.0 {
            for id in Rules::matches(doc, xpath) {
                let mark = &mut marks[id.index()];
                match mode {
                    Mode::Read => mark.read = true,
                    Mode::Write => mark.write = true,
                    Mode::Deny => mark.deny = true,
                }
            }
        }
        marks
    }
}

/// What `who` may read of `doc`: `None` for everything.
///
/// # Errors
/// If it is nothing.
pub fn readable_copy(doc: &Doc, who: &Who) -> Result<Option<Doc>, StoreError> {
    if !required(who) || !enabled(doc) {
        return Ok(None);
    }
    let rules = Rules::of(doc, who);
    let mut copy = doc.clone();
    let marks = rules.marks(&copy);
    let denied = || StoreError::from(ErrorKind::Denied);
    if rules.is_empty() {
        return Err(denied());
    }
    for (mode, xpath) in &rules.0 {
        if *mode != Mode::Deny {
            continue;
        }
        for id in Rules::matches(&copy, xpath) {
            if !purge(&mut copy, id, &marks) && id == copy.root_id() {
                return Err(denied());
            }
        }
    }
    let root = copy.root_id();
    if purge(&mut copy, root, &marks) { Ok(Some(copy)) } else { Err(denied()) }
}

/// Removes what is not readable at and below `id`; says whether something is left. An element that
/// is only there for what is readable below keeps no attributes but its id.
fn purge(doc: &mut Doc, id: NodeId, marks: &[Marks]) -> bool {
    if marks.get(id.index()).is_some_and(|m| m.readable()) {
        return true;
    }
    let names: Vec<String> =
        doc.node(id).attrs().map(|a| a.0.to_string()).filter(|n| n != "id").collect();
    for name in names {
        doc.remove_attr(id, &name);
    }
    let children: Vec<NodeId> = doc.node(id).all_children().map(|c| c.id()).collect();
    let mut left = false;
    for child in children {
        // Comments and text are the element's own.
        if doc.node(child).is_element() {
            left |= purge(doc, child, marks);
        } else {
            doc.detach(child);
        }
    }
    if !left {
        doc.detach(id);
    }
    left
}

/// What somebody may do with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and change it.
    Write,
    /// Read it.
    Read,
    /// Nothing.
    Denied,
}

/// What `who` may do with each node of `doc`, by its index, whether or not access control is on.
pub fn access(doc: &Doc, who: &Who) -> Vec<Access> {
    let marks = Rules::of(doc, who).marks(doc);
    let mut out = vec![Access::Denied; doc.arena_len()];
    for node in doc.root().descendants() {
        let mark = marks[node.id().index()];
        let above = node.parent().map_or(Access::Denied, |p| out[p.id().index()]);
        out[node.id().index()] = if mark.deny {
            Access::Denied
        } else if mark.write {
            Access::Write
        } else if mark.read {
            Access::Read
        } else {
            above
        };
    }
    out
}

/// A decision about part of a change, for people who want to see why it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is about creating an element.
    pub creation: bool,
    /// What was decided about what, and by which kind of rule.
    pub text: String,
}

/// What access control decides about every difference between two states of a CIB: denied changes
/// and all creations. Nothing if `who` may do everything.
pub fn decisions(before: &Doc, after: &Doc, who: &Who) -> Vec<Decision> {
    if !required(who) || !enabled(before) {
        return Vec::new();
    }
    let rules = Rules::of(before, who);
    let (old, new) = (rules.marks(before), rules.marks(after));
    let mut all = Decisions { user: &who.user, none: rules.is_empty(), old, new, out: Vec::new() };
    let mut created = Vec::new();
    all.changes(before.root(), after.root(), &mut created);
    created.into_iter().for_each(|node| all.creation(node));
    all.out
}

struct Decisions<'a> {
    user: &'a str,
    /// Whether there are no rules at all.
    none: bool,
    old: Vec<Marks>,
    new: Vec<Marks>,
    out: Vec<Decision>,
}

impl Decisions<'_> {
    fn say(&mut self, creation: bool, text: String) {
        self.out.push(Decision { creation, text });
    }

    /// Whether a node may be changed; if not, it is said which rule forbids it.
    fn check(&mut self, node: Node<'_>, attr: Option<&str>, fresh: bool) -> bool {
        let marks = if fresh { &self.new } else { &self.old };
        let (allowed, kind) = match nearest(node, marks) {
            _ if self.none => (false, "Lack of"),
            Some(mark) if mark.writable() => (true, ""),
            Some(_) => (false, "Parent"),
            None => (false, "Default"),
        };
        if !allowed {
            let path = cib_xml::path_of(node);
            let attr = attr.map_or(String::new(), |a| format!("[@{a}]"));
            let user = self.user;
            let access = "read/write access";
            self.say(false, format!("{kind} ACL denies user '{user}' {access} to {path}{attr}"));
        }
        allowed
    }

    fn changes<'d>(&mut self, old: Node<'_>, new: Node<'d>, created: &mut Vec<Node<'d>>) {
        for (name, value) in old.attrs() {
            match new.attr(name) {
                None => {
                    self.check(old, None, false);
                }
                Some(other) if other != value => {
                    self.check(old, Some(name), false);
                }
                Some(_) => {}
            }
        }
        for (name, _) in new.attrs().filter(|(name, _)| old.attr(name).is_none()) {
            self.check(old, Some(name), false);
        }
        let key = |n: Node<'_>| (n.name().to_string(), n.attr("id").map(str::to_string));
        for child in old.children() {
            match new.children().find(|c| key(*c) == key(child)) {
                Some(same) => self.changes(child, same, created),
                None => {
                    self.check(child, None, false);
                }
            }
        }
        created.extend(new.children().filter(|c| !old.children().any(|o| key(o) == key(*c))));
    }

    fn creation(&mut self, node: Node<'_>) {
        let name = node.name();
        let id = node.attr("id").map_or(String::new(), |id| format!(" with id=\"{id}\""));
        if scaffolding(node) {
            let text = format!("Creation of <{name}> scaffolding{id} is implicitly allowed");
            self.say(true, text);
        } else if self.check(node, None, true) {
            self.say(true, format!("ACLs allow creation of <{name}>{id}"));
        } else {
            self.say(true, format!("ACLs disallow creation of <{name}>{id}"));
            return;
        }
        node.children().for_each(|child| self.creation(child));
    }
}

/// The rules that a change by `who` has to keep, `None` if there are none.
pub(crate) fn guard(doc: &Doc, who: &Who) -> Option<Guard> {
    if !required(who) || !enabled(doc) {
        return None;
    }
    let rules = Rules::of(doc, who);
    let marks = rules.marks(doc);
    let access = access(doc, who);
    let readable = readable_copy(doc, who).ok().flatten();
    Some(Guard { before: doc.clone(), rules, marks, access, readable })
}

/// Rules for one change.
///
/// Who may not read something must not learn it from what becomes of a change either: whether an
/// element is found by what it holds, or differs from what it is to be. So a change is looked for
/// in what its user can read, and one of something else is refused, whatever would come of it.
/// Only that an id is taken cannot be hidden.
pub(crate) struct Guard {
    before: Doc,
    rules: Rules,
    marks: Vec<Marks>,
    access: Vec<Access>,
    /// What the user can read, with the elements' former numbers; `None` if that is nothing.
    readable: Option<Doc>,
}

impl Guard {
    /// Whether the user may read an element. What was made by the same change may be read.
    pub(crate) fn sees(&self, id: NodeId) -> bool {
        self.access.get(id.index()).is_none_or(|access| *access != Access::Denied)
    }

    /// Whether the user may read an element and everything in it.
    pub(crate) fn sees_all(&self, node: Node<'_>) -> bool {
        node.descendants().all(|n| self.sees(n.id()))
    }

    /// The elements of `doc` that an expression selects in what the user can read.
    pub(crate) fn elements(&self, doc: &Doc, xpath: &XPath) -> Result<Vec<NodeId>, XPathError> {
        let Some(readable) = &self.readable else { return Ok(Vec::new()) };
        let found = xpath.select(readable)?.into_iter().filter_map(|found| match found {
            Found::Document => Some(readable.root_id()),
            Found::Node(id) if readable.node(id).is_element() => Some(id),
            Found::Node(_) | Found::Attr(..) => None,
        });
        let there = |id: &NodeId| {
            let above = std::iter::successors(Some(doc.node(*id)), |n| n.parent());
            above.last().is_some_and(|top| top.id() == doc.root_id())
        };
        Ok(found.filter(there).filter(|id| self.sees(*id)).collect())
    }

    /// A refusal without what it says about things that the user may not read.
    pub(crate) fn discreet(&self, error: StoreError) -> StoreError {
        if error.kind == ErrorKind::Denied || self.sees_all(self.before.root()) {
            return error;
        }
        StoreError { detail: String::new(), ..error }
    }

    /// Verifies everything that differs between the former state and `doc`.
    pub(crate) fn check(&self, doc: &Doc) -> Result<(), StoreError> {
        let Some(changes) = patch::make(&self.before, doc, Positions::Ignore) else {
            return Ok(());
        };
        let after = self.rules.marks(doc);
        let denied = |what: &str, path: &str, known: bool| {
            let path = if known { path } else { "something that you may not read" };
            Err(StoreError::new(ErrorKind::Denied, format!("no permission to {what} {path}")))
        };
        for change in changes.root().children_named("change") {
            let path = change.attr("path").unwrap_or_default();
            match change.attr("operation") {
                Some(operation @ ("delete" | "modify")) => {
                    let node = patch::find_path(&self.before, path);
                    // With an element goes what is in it.
                    let whole = |id: NodeId| {
                        let mut inside = self.before.node(id).descendants();
                        operation == "modify" || !inside.any(|n| self.marks[n.id().index()].deny)
                    };
                    let may = |id| writable(&self.before, id, &self.marks) && whole(id);
                    if !node.is_some_and(may) {
                        return denied(operation, path, node.is_some_and(|id| self.sees(id)));
                    }
                }
                Some("move") => {
                    // The order of what is in an element is part of it.
                    let node = patch::find_path(&self.before, path);
                    let parent = node.and_then(|id| Some(self.before.node(id).parent()?.id()));
                    if !parent.is_some_and(|id| writable(&self.before, id, &self.marks)) {
                        return denied("move", path, node.is_some_and(|id| self.sees(id)));
                    }
                }
                Some("create") => {
                    let place = change.attr("position").and_then(|p| p.parse().ok()).unwrap_or(0);
                    let parent = patch::find_path(doc, path);
                    let new = parent.and_then(|p| doc.node(p).all_children().nth(place));
                    if !new.is_some_and(|new| may_create(new, &after)) {
                        let before = patch::find_path(&self.before, path);
                        return denied(
                            "create something in",
                            path,
                            before.is_none_or(|id| self.sees(id)),
                        );
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The nearest mark at or above the node that decides about writing.
fn nearest(node: Node<'_>, marks: &[Marks]) -> Option<Marks> {
    std::iter::successors(Some(node), |n| n.parent())
        .map(|n| marks.get(n.id().index()).copied().unwrap_or_default())
        .find(|mark| mark.writable() || mark.deny)
}

fn writable(doc: &Doc, id: NodeId, marks: &[Marks]) -> bool {
    nearest(doc.node(id), marks).is_some_and(|mark| mark.writable())
}

/// Elements with no attribute but an id may be created by everybody, except below `acls`.
fn scaffolding(node: Node<'_>) -> bool {
    node.attrs().all(|(name, _)| name == "id")
        && std::iter::successors(node.parent(), |n| n.parent()).all(|n| n.name() != "acls")
}

/// Whether the new element and all in it may be created.
fn may_create(node: Node<'_>, marks: &[Marks]) -> bool {
    if !node.is_element() {
        return true;
    }
    (scaffolding(node) || writable(node.doc(), node.id(), marks))
        && node.children().all(|c| may_create(c, marks))
}

#[cfg(test)]
mod tests {
    use super::{ErrorKind, Who};
    use crate::{Context, Operation, Target, apply, query};
    use cib_xml::{Doc, Style};

    const CIB: &str = r#"<cib validate-with="none" admin_epoch="0" epoch="1" num_updates="0"><configuration><crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="e" name="enable-acl" value="true"/></cluster_property_set></crm_config><nodes/><resources><primitive id="a" class="x"/><primitive id="secret" class="x"/></resources><constraints/><acls><acl_target id="ann"><role id="r"/></acl_target><acl_group id="staff"><role id="r"/></acl_group><acl_role id="r"><acl_permission id="p1" kind="read" xpath="/cib"/><acl_permission id="p2" kind="write" xpath="//resources"/><acl_permission id="p3" kind="deny" reference="secret"/></acl_role></acls></configuration><status/></cib>"#;

    fn run(user: &str, op: &Operation) -> Result<String, ErrorKind> {
        let mut doc = Doc::parse(CIB).unwrap();
        let who = Who { user: user.into(), ..Who::default() };
        let cx = Context {
            who: &who,
            origin: "",
            now_seconds: None,
            validate: true,
            valid: false,
            check_features: false,
        };
        let before = doc.root().to_xml(Style::Compact);
        let result = apply(&mut doc, op, &cx).map_err(|e| e.kind);
        if result.is_err() {
            assert_eq!(doc.root().to_xml(Style::Compact), before);
        }
        result.map(|_| doc.root().to_xml(Style::Compact))
    }

    fn modify(section: &str, xml: &str) -> Operation {
        let target = Target::Section(section.into());
        Operation::Modify { target, xml: xml.into(), allow_create: true, score: false }
    }

    #[test]
    fn reading_is_filtered() {
        let doc = Doc::parse(CIB).unwrap();
        let mut who = Who { user: "ann".into(), ..Who::default() };
        let text = query(&doc, &who, &Target::Whole).unwrap().root().to_xml(Style::Compact);
        assert!(text.contains("id=\"a\"") && !text.contains("id=\"secret\""));
        who.user = "bob".into();
        assert_eq!(query(&doc, &who, &Target::Whole).unwrap_err().kind, ErrorKind::Denied);
        who.groups = vec!["staff".into()];
        assert!(query(&doc, &who, &Target::Whole).is_ok());
        who.user = "root".into();
        assert!(query(&doc, &who, &Target::Whole).unwrap().root().find_id("secret").is_some());
    }

    #[test]
    fn decisions_name_their_rule() {
        let before = Doc::parse(CIB).unwrap();
        let changed = CIB
            .replace("id=\"a\" class=\"x\"/>", "id=\"a\" class=\"x\"/><template id=\"t\"/>")
            .replace("id=\"secret\" class=\"x\"", "id=\"secret\" class=\"y\"")
            .replace("<nodes/>", "<nodes><node id=\"1\" uname=\"n\"/></nodes>");
        let after = Doc::parse(&changed).unwrap();
        let who = |user: &str| Who { user: user.into(), ..Who::default() };
        let text = |user: &str| -> Vec<String> {
            super::decisions(&before, &after, &who(user)).into_iter().map(|d| d.text).collect()
        };
        assert_eq!(text("root"), Vec::<String>::new());
        assert_eq!(
            text("ann"),
            [
                "Parent ACL denies user 'ann' read/write access to \
                 /cib/configuration/resources/primitive[@id='secret'][@class]",
                "Default ACL denies user 'ann' read/write access to \
                 /cib/configuration/nodes/node[@id='1']",
                "ACLs disallow creation of <node> with id=\"1\"",
                "Creation of <template> scaffolding with id=\"t\" is implicitly allowed",
            ]
        );
        assert!(text("bob")[0].starts_with("Lack of ACL denies user 'bob'"));
    }

    #[test]
    fn writing_is_checked() {
        let change = modify("resources", r#"<primitive id="a" class="y"/>"#);
        assert!(run("ann", &change).is_ok() && run("hacluster", &change).is_ok());
        let create = modify("resources", r#"<primitive id="b" class="y"/>"#);
        assert!(run("ann", &create).is_ok());
        for bad in [
            modify("resources", r#"<primitive id="secret" class="y"/>"#),
            modify("nodes", r#"<node id="1" uname="n"/>"#),
            modify("acls", r#"<acl_role id="mine"/>"#),
            Operation::Erase,
        ] {
            assert_eq!(run("ann", &bad), Err(ErrorKind::Denied), "{bad:?}");
        }
        assert_eq!(run("bob", &change), Err(ErrorKind::Denied));
    }

    #[test]
    fn what_is_hidden_does_not_show_in_what_becomes_of_a_change() {
        let untouched = |op: &Operation| run("ann", op).map(|cib| cib.contains("epoch=\"1\""));
        let xpath = |text: &str| Target::XPath(text.into());
        // Not found, whether or not the guess is right.
        for class in ["x", "y"] {
            let search = format!("<primitive id=\"secret\" class=\"{class}\"/>");
            let target = Target::Section("resources".into());
            assert_eq!(untouched(&Operation::Delete { target, xml: Some(search) }), Ok(true));
            let guess = format!("//primitive[@id='a' and ../*[@id='secret' and @class='{class}']]");
            assert_eq!(untouched(&Operation::delete_xpath(guess.clone())), Ok(true));
            let xml = "<primitive id=\"a\" class=\"y\"/>".to_owned();
            let replace = Operation::Replace { target: xpath(&guess), xml: xml.clone() };
            assert_eq!(run("ann", &replace), Err(ErrorKind::NoSuchItem));
            let create = Operation::Create { target: xpath(&guess), xml };
            assert_eq!(run("ann", &create), Err(ErrorKind::NoSuchItem));
            // Refused, whether or not that is what it is already.
            let same = format!("<primitive id=\"secret\" class=\"{class}\"/>");
            assert_eq!(run("ann", &modify("resources", &same)), Err(ErrorKind::Denied));
            let whole = format!("<resources><primitive id=\"a\" class=\"x\"/>{same}</resources>");
            let target = Target::Section("resources".into());
            let replace = Operation::Replace { target, xml: whole };
            assert_eq!(run("ann", &replace), Err(ErrorKind::Denied));
        }
        let whole = Operation::delete_xpath("//resources".into());
        assert_eq!(run("ann", &whole), Err(ErrorKind::Denied), "with what is denied in it");
    }

    #[test]
    fn comments_are_hidden_with_what_they_are_in() {
        let doc = Doc::parse(
            &CIB.replace("<nodes/>", "<nodes><!-- rack 7 --><node id=\"1\"/></nodes>")
                .replace("kind=\"read\" xpath=\"/cib\"", "kind=\"read\" xpath=\"//node\""),
        )
        .unwrap();
        let who = Who { user: "ann".into(), ..Who::default() };
        let text = query(&doc, &who, &Target::Whole).unwrap().root().to_xml(Style::Compact);
        assert!(text.contains("<node id=\"1\"/>") && !text.contains("rack"), "{text}");
    }
}
