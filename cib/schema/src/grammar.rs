//! The grammar text as tables.

use std::sync::OnceLock;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::Schema;

/// What an attribute may contain.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    Text,
    Id,
    Ref,
    Bool,
    Int,
    Count,
    Level,
    Score,
    Ports,
    Names,
    Words(Vec<&'static str>),
}

/// The schemas that a rule belongs to, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    since: Schema,
    until: Schema,
}

impl Range {
    pub(crate) fn holds(self, schema: Schema) -> bool {
        self.since <= schema && schema <= self.until
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Attr {
    pub(crate) name: &'static str,
    pub(crate) kind: Type,
    pub(crate) required: bool,
    pub(crate) range: Range,
}

/// How many children there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    One,
    Optional,
    Any,
    Some,
}

impl Count {
    pub(crate) fn allows(self, n: usize) -> bool {
        match self {
            Count::One => n == 1,
            Count::Optional => n <= 1,
            Count::Any => true,
            Count::Some => n >= 1,
        }
    }
}

/// Children of any of these kinds, counted together.
#[derive(Clone, Debug)]
pub(crate) struct Children {
    pub(crate) keys: Vec<usize>,
    pub(crate) count: Count,
    /// Not needed in an element that refers to another one with `id-ref`.
    pub(crate) unless_ref: bool,
    pub(crate) range: Range,
}

/// Alternatives: each is a list of (name, required).
pub(crate) type Alternatives = Vec<Vec<(&'static str, bool)>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    /// What the grammar calls it; several elements can have the same tag.
    pub(crate) key: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) attrs: Vec<Attr>,
    pub(crate) one_of: Vec<(Alternatives, Range)>,
    pub(crate) at_most_one: Vec<Vec<&'static str>>,
    pub(crate) children: Vec<Children>,
    pub(crate) deny_names: Vec<(Vec<&'static str>, Range)>,
    pub(crate) deny_pairs: Vec<(Vec<&'static str>, Range)>,
    pub(crate) needs_value: Option<Range>,
    /// Text may be in it.
    pub(crate) text: bool,
    pub(crate) open: bool,
    pub(crate) date_operands: bool,
    pub(crate) ocf_provider: bool,
}

/// All elements; number 0 is the root.
pub(crate) struct Grammar {
    pub(crate) elements: Vec<Element>,
    /// Schemas with rules that the one before does not have, or without some of its rules.
    changes: FxHashSet<Schema>,
}

impl Grammar {
    /// Whether a schema accepts the same as the one before.
    pub(crate) fn same_as_before(&self, schema: Schema) -> bool {
        !self.changes.contains(&schema)
    }
}

/// The grammar, read when first used.
pub(crate) fn grammar() -> &'static Grammar {
    static GRAMMAR: OnceLock<Grammar> = OnceLock::new();
    GRAMMAR.get_or_init(|| read(include_str!("cib.grammar")))
}

/// Reads a grammar, which is part of the program: nobody else writes one.
pub(crate) fn read(text: &'static str) -> Grammar {
    let mut index: FxHashMap<&str, usize> = FxHashMap::default();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| words(l.split('#').next().unwrap_or_default()))
        .filter(|w| !w.is_empty())
        .collect();
    for line in lines.iter().filter(|l| l[0] == "element") {
        index.insert(line[1], index.len());
    }
    let mut elements: Vec<Element> = Vec::new();
    let mut changes = FxHashSet::default();
    for line in &lines {
        if line[0] == "element" {
            let key = line[1];
            let tag = line.get(2).unwrap_or(&line[1]);
            elements.push(Element { key, tag, ..Element::default() });
            continue;
        }
        let (rule, range) = split_range(line);
        changes.insert(range.since);
        changes.extend(range.until.next());
        if rule[0] == "like" {
            let like = elements[index[rule[1]]].clone();
            let last = elements.last_mut().expect("a rule stands below an element");
            *last = Element { key: last.key, tag: last.tag, ..like };
            continue;
        }
        let element = elements.last_mut().expect("a rule stands below an element");
        read_rule(element, rule, range, &index);
    }
    Grammar { elements, changes }
}

/// Words with quotes around those that contain blanks.
fn words(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("quotes are closed"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        out.push(word);
        rest = after.trim_start();
    }
    out
}

fn split_range<'a, 'b>(line: &'a [&'b str]) -> (&'a [&'b str], Range) {
    let mut range = Range { since: Schema::FIRST, until: Schema::LATEST };
    let mut line = line;
    while let [rest @ .., word @ ("since" | "until"), version] = line {
        let version = Schema::version(version).expect("the grammar names versions");
        if *word == "since" {
            range.since = version;
        } else {
            range.until = version;
        }
        line = rest;
    }
    (line, range)
}

fn read_rule(
    element: &mut Element,
    rule: &[&'static str],
    range: Range,
    index: &FxHashMap<&str, usize>,
) {
    let count = |word: &str| match word {
        "1" => Count::One,
        "?" => Count::Optional,
        "*" => Count::Any,
        "+" => Count::Some,
        other => unreachable!("the grammar counts with {other}"),
    };
    let key = |word: &&str| *index.get(word).unwrap_or_else(|| unreachable!("no element {word}"));
    let (unless_ref, rule) = match rule {
        ["unless-ref", rest @ ..] => (true, rest),
        _ => (false, rule),
    };
    match rule {
        ["attr", name, kind] => {
            let required = kind.ends_with('!');
            let kind = read_type(kind.trim_end_matches('!'));
            element.attrs.push(Attr { name, kind, required, range });
        }
        ["one-of", rest @ ..] => {
            let alternative = |words: &[&'static str]| {
                let each = |w: &&'static str| (w.trim_end_matches('!'), w.ends_with('!'));
                words.iter().map(each).collect::<Vec<_>>()
            };
            let all = rest.split(|w| *w == "|").map(alternative).collect();
            element.one_of.push((all, range));
        }
        ["at-most-one", rest @ ..] => {
            let names = rest.iter().copied().filter(|w| *w != "|").collect();
            element.at_most_one.push(names);
        }
        ["child", name, n] => {
            let keys = vec![key(name)];
            element.children.push(Children { keys, count: count(n), unless_ref, range });
        }
        ["choose", n, names @ ..] => {
            let keys = names.iter().map(key).collect();
            element.children.push(Children { keys, count: count(n), unless_ref, range });
        }
        ["deny-name", names @ ..] => element.deny_names.push((names.to_vec(), range)),
        ["deny-pair", names @ ..] => element.deny_pairs.push((names.to_vec(), range)),
        ["needs-value"] => element.needs_value = Some(range),
        ["text"] => element.text = true,
        ["open"] => element.open = true,
        ["date-operands"] => element.date_operands = true,
        ["ocf-provider"] => element.ocf_provider = true,
        other => unreachable!("the grammar has no rule {other:?}"),
    }
}

fn read_type(text: &'static str) -> Type {
    match text {
        "text" => Type::Text,
        "id" => Type::Id,
        "ref" => Type::Ref,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "count" => Type::Count,
        "level" => Type::Level,
        "score" => Type::Score,
        "ports" => Type::Ports,
        "names" => Type::Names,
        words => Type::Words(words.split('|').collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::grammar;
    use crate::{Schema, relax_ng};

    #[test]
    fn schemas_without_changes_are_the_same() {
        let mut same = 0;
        let mut before = Schema::FIRST;
        while let Some(schema) = before.next() {
            if grammar().same_as_before(schema) {
                same += 1;
                assert_eq!(relax_ng(schema), relax_ng(before), "{schema}");
            }
            before = schema;
        }
        assert!(same > 5 && !grammar().same_as_before(Schema::LATEST), "{same}");
    }
}
