//! A document against the grammar.

use cib_xml::{Doc, Kind, Node, NodeId, Position};
use rustc_hash::FxHashMap;

use crate::Schema;
use crate::grammar::{Count, Element, Grammar, Type, grammar};

/// More problems than these are not listed.
const PROBLEMS_MAX: usize = 100;

/// Something in a configuration that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the element starts, if the document was parsed from text.
    pub position: Option<Position>,
    /// Name of the element that is wrong.
    pub element: String,
    /// Its path.
    pub path: String,
    /// The attribute that is wrong, if it is one.
    pub attribute: Option<String>,
    /// The id that it refers to, if that is what is wrong: no element has it.
    pub dangling: Option<String>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(p) = self.position {
            write!(f, "line {}, ", p.line)?;
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What is wrong with `doc` according to the schema that it names; nothing if it names `none`.
pub fn validate(doc: &Doc) -> Vec<Problem> {
    let root = doc.root();
    match root.attr("validate-with").map(Schema::named) {
        Some(Some(schema)) => validate_with(doc, schema),
        Some(None) => {
            let name = root.attr("validate-with").unwrap_or_default();
            vec![problem(root, format!("there is no schema called {name:?}"))]
        }
        None => vec![problem(root, "attribute validate-with is missing".into())],
    }
}

/// What is wrong with `doc` according to `schema`. Schemas before the latest series are checked
/// leniently: what a later one added is accepted in all.
pub fn validate_with(doc: &Doc, schema: Schema) -> Vec<Problem> {
    if schema == Schema::NONE {
        return Vec::new();
    }
    let mut check = Check::new(schema);
    let root = doc.root();
    if let Some(rules) = check.rules_of(root) {
        check.element(root, rules);
        check.references();
    } else {
        check.problems.push(problem(root, format!("<{}> is no <cib>", root.name())));
    }
    check.problems
}

/// What is wrong with `doc`, in which nothing was wrong before the named attributes of these
/// elements were changed, and nothing else was: the same as [`validate`] says, for what the change
/// costs if ids and references are not among them.
pub fn validate_changed(doc: &Doc, changed: &[(NodeId, Vec<&str>)]) -> Vec<Problem> {
    let Some(Some(schema)) = doc.root().attr("validate-with").map(Schema::named) else {
        return validate(doc);
    };
    if schema == Schema::NONE {
        return Vec::new();
    }
    let mut check = Check::new(schema);
    for (id, names) in changed {
        let node = doc.node(*id);
        let Some(rules) = check.rules_of(node) else { return validate(doc) };
        let elsewhere = |name: &&str| {
            let attrs = rules.attrs.iter().filter(|a| a.name == *name);
            let linked = attrs.map(|a| &a.kind).any(|k| matches!(k, Type::Id | Type::Ref));
            linked || matches!(*name, "validate-with" | "id" | "id-ref")
        };
        if names.iter().any(elsewhere) {
            return validate(doc);
        }
        if !rules.open {
            check.itself(node, rules);
        }
    }
    check.problems
}

fn problem(node: Node<'_>, message: String) -> Problem {
    let path = cib_xml::path_of(node);
    let element = node.name().to_string();
    Problem { position: node.position(), element, path, attribute: None, dangling: None, message }
}

struct Check<'a> {
    grammar: &'static Grammar,
    schema: Schema,
    problems: Vec<Problem>,
    ids: FxHashMap<&'a str, Node<'a>>,
    /// Attributes that hold the id of another element: the element, their name and value.
    references: Vec<(Node<'a>, &'static str, &'a str)>,
}

impl<'a> Check<'a> {
    fn new(schema: Schema) -> Check<'a> {
        Check {
            grammar: grammar(),
            schema,
            problems: Vec::new(),
            ids: FxHashMap::default(),
            references: Vec::new(),
        }
    }

    /// The rules for an element, or those of the nearest open one that it is in; none if it is not
    /// allowed where it is.
    fn rules_of(&self, node: Node<'_>) -> Option<&'static Element> {
        let Some(parent) = node.parent() else {
            return self.grammar.elements.first().filter(|root| root.tag == node.name());
        };
        let above = self.rules_of(parent)?;
        if above.open {
            return Some(above);
        }
        let mut key = None;
        for (keys, ..) in self.allowed(above) {
            key = keys.iter().find(|k| self.grammar.elements[**k].tag == node.name()).or(key);
        }
        key.map(|key| &self.grammar.elements[*key])
    }

    /// The rules for children that hold: later ones for the same children replace earlier ones.
    fn allowed(&self, rules: &'static Element) -> Vec<(&'static [usize], Count, bool)> {
        let mut allowed: Vec<(&[usize], Count, bool)> = Vec::new();
        for rule in rules.children.iter().filter(|r| r.range.holds(self.schema)) {
            allowed.retain(|(keys, ..)| !keys.iter().any(|k| rule.keys.contains(k)));
            allowed.push((&rule.keys, rule.count, rule.unless_ref));
        }
        allowed
    }

    fn say(&mut self, node: Node<'_>, message: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem(node, message));
        }
    }

    fn say_of(&mut self, node: Node<'_>, attribute: &str, message: String) {
        if self.problems.len() < PROBLEMS_MAX {
            let attribute = Some(attribute.to_string());
            self.problems.push(Problem { attribute, ..problem(node, message) });
        }
    }

    fn element(&mut self, node: Node<'a>, rules: &'static Element) {
        if rules.open {
            return;
        }
        self.itself(node, rules);
        self.children(node, rules);
    }

    /// The element without what is in it.
    fn itself(&mut self, node: Node<'a>, rules: &'static Element) {
        self.attributes(node, rules);
        self.alternatives(node, rules);
        self.special(node, rules);
    }

    fn attributes(&mut self, node: Node<'a>, rules: &'static Element) {
        let schema = self.schema;
        let mut required_there = 0;
        for (name, value) in node.attrs() {
            // Mostly one rule, but there may be another one for other contents.
            let mut known = rules.attrs.iter().filter(|a| a.name == name && a.range.holds(schema));
            let Some(first) = known.next() else {
                let names = rules.attrs.iter().filter(|a| a.range.holds(schema));
                let hint = nearest(name, names.map(|a| a.name));
                self.say_of(node, name, format!("attribute {name} is not allowed here{hint}"));
                continue;
            };
            let mut rules = std::iter::once(first).chain(known);
            let mismatch = rules.clone().map(|a| self.mismatch(&a.kind, value)).min();
            if let Some(expected) = mismatch.flatten() {
                self.say_of(node, name, format!("{name}={value:?}: expected {expected}"));
            }
            if rules.clone().any(|a| matches!(a.kind, Type::Id)) {
                self.unique(node, value.trim());
            }
            required_there += rules.clone().filter(|a| a.required).count();
            if let Some(attr) = rules.find(|a| matches!(a.kind, Type::Ref)) {
                self.references.push((node, attr.name, value.trim()));
            }
        }
        let required = rules.attrs.iter().filter(|a| a.required && a.range.holds(schema));
        if required.clone().count() == required_there {
            return;
        }
        for attr in required {
            if node.attr(attr.name).is_none() {
                self.say(node, format!("attribute {} is missing", attr.name));
            }
        }
    }

    fn unique(&mut self, node: Node<'a>, id: &'a str) {
        if let Some(first) = self.ids.insert(id, node) {
            let place = match first.position() {
                Some(p) => format!("line {}", p.line),
                None => cib_xml::path_of(first),
            };
            self.say(node, format!("id {id:?} is used already, see {place}"));
        }
    }

    /// Whether there is what is referred to.
    fn references(&mut self) {
        for (node, name, id) in std::mem::take(&mut self.references) {
            if self.ids.contains_key(id) || !is_name(id) {
                continue;
            }
            if self.problems.len() >= PROBLEMS_MAX {
                break;
            }
            let hint = nearest(id, self.ids.keys().copied());
            let message = format!("{name}={id:?} refers to nothing that there is{hint}");
            let (attribute, dangling) = (Some(name.to_string()), Some(id.to_string()));
            self.problems.push(Problem { attribute, dangling, ..problem(node, message) });
        }
    }

    /// What was expected instead of `value`, if it is not of this type.
    fn mismatch(&self, kind: &Type, value: &str) -> Option<String> {
        let word = |text: &str| Some(text.to_string());
        let trimmed = if matches!(kind, Type::Text) { value } else { value.trim() };
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        let integer = |t: &str| digits(t.strip_prefix(['-', '+']).unwrap_or(t));
        let unsigned = |t: &str| digits(t.strip_prefix('+').unwrap_or(t));
        match kind {
            Type::Text => None,
            Type::Id | Type::Ref if is_name(trimmed) => None,
            Type::Id | Type::Ref => word(
                "an id: a letter or underscore, then letters, digits, dots, dashes or underscores",
            ),
            Type::Bool if matches!(trimmed, "true" | "false" | "1" | "0") => None,
            Type::Bool => word("true or false"),
            Type::Int if integer(trimmed) => None,
            Type::Int => word("an integer"),
            Type::Count if unsigned(trimmed) => None,
            Type::Count => word("an integer that is not negative"),
            Type::Level => {
                let limit = if self.schema.major() >= 4 { 9 } else { u64::MAX };
                let level = trimmed.strip_prefix('+').unwrap_or(trimmed).parse::<u64>();
                match level {
                    Ok(n) if (1..=limit).contains(&n) => None,
                    _ if limit == 9 => word("a level from 1 to 9"),
                    _ => word("a level from 1"),
                }
            }
            Type::Score if integer(trimmed) => None,
            Type::Score if matches!(value, "INFINITY" | "+INFINITY" | "-INFINITY") => None,
            Type::Score => word("a score: an integer, INFINITY or -INFINITY"),
            Type::Ports => {
                let good =
                    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                if good { None } else { word("a port or a range of ports such as 80-90") }
            }
            Type::Names => {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
                let name = |n: &str| !n.is_empty() && n.bytes().all(allowed);
                if value.split(',').all(name) { None } else { word("ids with commas between them") }
            }
            Type::Words(words) if words.contains(&trimmed) => None,
            Type::Words(words) => {
                let list = match words.split_last() {
                    Some((last, rest)) if !rest.is_empty() => {
                        format!("{} or {last}", rest.join(", "))
                    }
                    _ => words.join(""),
                };
                Some(format!("{list}{}", nearest(value, words.iter().copied())))
            }
        }
    }

    fn alternatives(&mut self, node: Node<'a>, rules: &'static Element) {
        let present = |name: &str| {
            node.attr(name).is_some() || (name != "role" && node.child(name).is_some())
        };
        let schema = self.schema;
        for (alternatives, _) in rules.one_of.iter().filter(|(_, range)| range.holds(schema)) {
            let complete = |a: &&Vec<(&'static str, bool)>| {
                let anything = a.iter().any(|(name, _)| present(name));
                anything && a.iter().all(|(name, required)| !required || present(name))
            };
            let chosen = alternatives.iter().find(complete);
            let Some(chosen) = chosen else {
                let text = |a: &Vec<(&'static str, bool)>| {
                    let needed: Vec<&str> = a.iter().filter(|n| n.1).map(|n| n.0).collect();
                    match needed.is_empty() {
                        true => format!("<{}>", a.first().map_or("", |n| n.0)),
                        false => needed.join(" and "),
                    }
                };
                let list: Vec<String> = alternatives.iter().map(text).collect();
                self.say(node, format!("needs {}", list.join(", or ")));
                continue;
            };
            let stray = alternatives
                .iter()
                .flatten()
                .map(|(name, _)| *name)
                .find(|name| present(name) && chosen.iter().all(|(own, _)| own != name));
            if let (Some(stray), Some((first, _))) = (stray, chosen.first()) {
                self.say(node, format!("{stray} is not allowed together with {first}"));
            }
        }
        for names in &rules.at_most_one {
            let there: Vec<&str> =
                names.iter().copied().filter(|n| node.attr(n).is_some()).collect();
            if there.len() > 1 {
                self.say(node, format!("only one of {} is allowed", there.join(", ")));
            }
        }
    }

    fn special(&mut self, node: Node<'a>, rules: &'static Element) {
        let schema = self.schema;
        if rules.needs_value.is_some_and(|r| r.holds(schema))
            && node.attr("value").is_none()
            && node.attr("id-ref").is_none()
        {
            self.say(node, "attribute value is missing".into());
        }
        let denies = !rules.deny_names.is_empty() || !rules.deny_pairs.is_empty();
        if let Some(name) = node.attr("name").filter(|_| denies) {
            let denied = |(names, range): &&(Vec<&str>, crate::grammar::Range)| {
                range.holds(schema) && names.contains(&name)
            };
            if rules.deny_names.iter().any(|d| denied(&d)) {
                self.say(node, format!("option {name} is no longer supported"));
            }
            let value = node.attr("value").unwrap_or_default();
            let pair = rules
                .deny_pairs
                .iter()
                .find(|(names, range)| range.holds(schema) && names.first() == Some(&name));
            if pair.is_some_and(|(names, _)| names[1..].contains(&value)) {
                self.say(node, format!("{name}={value:?} is no longer supported"));
            }
        }
        if rules.ocf_provider {
            match (node.attr("class"), node.attr("provider")) {
                (Some("ocf"), None) => {
                    self.say(node, "attribute provider is missing (class ocf needs one)".into());
                }
                (Some(class), Some(_)) if class != "ocf" => {
                    self.say(node, format!("class {class} has no provider"));
                }
                _ => {}
            }
        }
        if rules.date_operands {
            self.date_operands(node);
        }
    }

    fn date_operands(&mut self, node: Node<'a>) {
        let has = |name: &str| node.attr(name).is_some();
        let (start, end) = (has("start"), has("end"));
        let (duration, spec) =
            (node.child("duration").is_some(), node.child("date_spec").is_some());
        let operation = node.attr("operation").unwrap_or_default();
        let wrong = match operation {
            "in_range" if !start && !end => Some("needs start or end"),
            "in_range" if spec => Some("has no date_spec"),
            "gt" if !start => Some("needs start"),
            "gt" if end || duration || spec => Some("has nothing but start"),
            "lt" if !end => Some("needs end"),
            "lt" if start || duration || spec => Some("has nothing but end"),
            "date_spec" if !spec => Some("needs a date_spec"),
            "date_spec" if start || end || duration => Some("has nothing but a date_spec"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.say(node, format!("operation {operation} {wrong}"));
        }
    }

    fn children(&mut self, node: Node<'a>, rules: &'static Element) {
        let grammar = self.grammar;
        // Operations may refer to others and have their own beside them.
        let by_reference =
            !rules.one_of.is_empty() && node.attr("id-ref").is_some() && node.attr("id").is_none();
        let allowed = self.allowed(rules).into_iter();
        let mut counted: Vec<_> = allowed.map(|(keys, count, un)| (keys, count, 0, un)).collect();
        for child in node.all_children() {
            match child.kind() {
                Kind::Comment => continue,
                Kind::Text => {
                    self.say(node, format!("text is not allowed here: {:?}", child.text().trim()));
                    continue;
                }
                Kind::Element => {}
            }
            let mut found = None;
            for (keys, _, n, _) in &mut counted {
                let key = keys.iter().find(|k| grammar.elements[**k].tag == child.name());
                if let Some(key) = key {
                    *n += 1;
                    found = Some(*key);
                }
            }
            match found {
                Some(key) if !(by_reference && counted.iter().any(|c| c.0.contains(&key))) => {
                    self.element(child, &grammar.elements[key]);
                }
                _ => {
                    let tags = counted.iter().flat_map(|(keys, ..)| keys.iter());
                    let tags = tags.map(|k| grammar.elements[*k].tag);
                    let hint = nearest(child.name(), tags);
                    let inside = node.name();
                    let name = child.name();
                    self.say(child, format!("<{name}> is not allowed in <{inside}>{hint}"));
                }
            }
        }
        for (keys, count, n, unless_ref) in counted {
            if count.allows(n) || (unless_ref && by_reference) {
                continue;
            }
            let tags: Vec<String> =
                keys.iter().map(|k| format!("<{}>", grammar.elements[*k].tag)).collect();
            let tags = tags.join(" or ");
            let text = if n == 0 {
                format!("needs {tags}")
            } else {
                format!("has {n} {tags}, expected one")
            };
            self.say(node, text);
        }
    }
}

/// Whether `text` is a name in the sense of XML without colons, as ids have to be.
fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{b7}'))
}

/// ` (did you mean x?)` for the candidate that is spelled most alike, if any is.
fn nearest<'b>(word: &str, candidates: impl Iterator<Item = &'b str>) -> String {
    let length = word.chars().count();
    let limit = (length / 3).max(1);
    candidates
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= limit && *d < length)
        .min()
        .map(|(_, c)| format!(" (did you mean {c}?)"))
        .unwrap_or_default()
}

/// Edit distance without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
