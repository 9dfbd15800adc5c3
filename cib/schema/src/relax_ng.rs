//! The grammar as RELAX NG in its XML syntax, for programs that read schemas themselves.
//!
//! One file per schema holds everything, without references to other files. It allows what
//! [`crate::validate_with`] allows, with two exceptions that the language cannot say or that nobody
//! needs: identifiers and references to them are compared by the reader's `ID` and `IDREF` types, and
//! a comma-separated list has no limit.

use std::fmt::Write;

use crate::Schema;
use crate::grammar::{Attr, Children, Count, Element, Grammar, Type, grammar, read};

/// The schema file for `schema`; `None` for [`Schema::NONE`], which allows everything.
pub fn relax_ng(schema: Schema) -> Option<String> {
    (schema != Schema::NONE).then(|| Writer { grammar: grammar(), schema }.all())
}

/// The schema file for another grammar in the language of `cib.grammar`, whose first element is
/// the root. It is part of the program that asks: a mistake in it is a panic.
pub fn relax_ng_of(text: &'static str) -> String {
    Writer { grammar: &read(text), schema: Schema::LATEST }.all()
}

/// Name of the pattern for what is not looked at. No element of the grammar is called so.
const ANY: &str = "any-content";

const ANYTHING: &str = "  <define name=\"any-content\">
    <zeroOrMore>
      <choice>
        <attribute><anyName/></attribute>
        <text/>
        <element>
          <anyName/>
          <ref name=\"any-content\"/>
        </element>
      </choice>
    </zeroOrMore>
  </define>
";

/// A part of a schema.
#[derive(Clone)]
enum Pattern {
    /// Something without content, such as `<text/>`.
    Leaf(&'static str),
    /// Something with other patterns in it, such as `<choice>`.
    Nested(&'static str, Vec<Pattern>),
    Define(String, Box<Pattern>),
    Element(String, Vec<Pattern>),
    Attribute(String, Box<Pattern>),
    Ref(String),
    Value(String),
    /// A type of the XML Schema library, with limits as name and value.
    Data(&'static str, Vec<(&'static str, &'static str)>),
    /// Any text but these.
    Except(Vec<&'static str>),
}

impl Pattern {
    fn write(&self, text: &mut String, depth: usize) {
        let pad = "  ".repeat(depth);
        let mut nested = |open: String, name: &str, patterns: &[Pattern]| {
            let _ = writeln!(text, "{pad}<{open}>");
            patterns.iter().for_each(|pattern| pattern.write(text, depth + 1));
            let _ = writeln!(text, "{pad}</{name}>");
        };
        match self {
            Pattern::Leaf(name) => _ = writeln!(text, "{pad}<{name}/>"),
            Pattern::Nested(name, all) => nested((*name).to_owned(), name, all),
            Pattern::Define(name, one) => {
                nested(format!("define name=\"{name}\""), "define", std::slice::from_ref(one));
            }
            Pattern::Element(name, all) => {
                nested(format!("element name=\"{name}\""), "element", all);
            }
            Pattern::Attribute(name, one) => {
                let open = format!("attribute name=\"{name}\"");
                nested(open, "attribute", std::slice::from_ref(one));
            }
            Pattern::Ref(name) => _ = writeln!(text, "{pad}<ref name=\"{name}\"/>"),
            Pattern::Value(value) => _ = writeln!(text, "{pad}<value>{value}</value>"),
            Pattern::Data(name, limits) if limits.is_empty() => {
                let _ = writeln!(text, "{pad}<data type=\"{name}\"/>");
            }
            Pattern::Data(name, limits) => {
                let _ = writeln!(text, "{pad}<data type=\"{name}\">");
                for (limit, value) in limits {
                    let _ = writeln!(text, "{pad}  <param name=\"{limit}\">{value}</param>");
                }
                let _ = writeln!(text, "{pad}</data>");
            }
            Pattern::Except(values) => {
                let values = values.iter().map(|word| Pattern::Value(word.to_string())).collect();
                let _ = writeln!(text, "{pad}<data type=\"string\">");
                Pattern::Nested("except", vec![one_of(values)]).write(text, depth + 1);
                let _ = writeln!(text, "{pad}</data>");
            }
        }
    }
}

fn one_of(mut patterns: Vec<Pattern>) -> Pattern {
    match patterns.len() {
        1 => patterns.remove(0),
        _ => Pattern::Nested("choice", patterns),
    }
}

fn optional(pattern: Pattern) -> Pattern {
    Pattern::Nested("optional", vec![pattern])
}

fn together(mut patterns: Vec<Pattern>) -> Pattern {
    match patterns.len() {
        0 => Pattern::Leaf("empty"),
        1 => patterns.remove(0),
        _ => Pattern::Nested("group", patterns),
    }
}

/// One way to write an element: its attributes with whether they are required, and its children.
#[derive(Clone, Default)]
struct Variant<'a> {
    names: Vec<(&'a str, bool)>,
    /// Children that have to be there because nothing else says what the element is about.
    needed: Vec<&'a str>,
    by_reference: bool,
}

struct Writer<'g> {
    grammar: &'g Grammar,
    schema: Schema,
}

impl Writer<'_> {
    /// The whole file.
    fn all(&self) -> String {
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <grammar xmlns=\"http://relaxng.org/ns/structure/1.0\" \
             datatypeLibrary=\"http://www.w3.org/2001/XMLSchema-datatypes\">\n",
        );
        let root = Pattern::Ref(self.grammar.elements[0].key.to_owned());
        Pattern::Nested("start", vec![root]).write(&mut text, 1);
        let mut wanted = vec![0];
        let mut next = 0;
        let mut any = false;
        while let Some(key) = wanted.get(next) {
            let element = &self.grammar.elements[*key];
            next += 1;
            any |= element.open;
            let content = Box::new(self.element(element));
            Pattern::Define(element.key.to_owned(), content).write(&mut text, 1);
            for key in self.children(element).iter().flat_map(|rule| &rule.keys) {
                if !wanted.contains(key) {
                    wanted.push(*key);
                }
            }
        }
        if any {
            text.push_str(ANYTHING);
        }
        text.push_str("</grammar>\n");
        text
    }

    fn element(&self, element: &Element) -> Pattern {
        if element.open {
            return Pattern::Element(element.tag.to_owned(), vec![Pattern::Ref(ANY.into())]);
        }
        let mut variants = self.variants(element);
        // Attributes that every variant has stand before the choice.
        let mut mentioned: Vec<&str> = variants
            .iter()
            .flat_map(|variant| variant.names.iter().map(|(name, _)| *name))
            .collect();
        if element.date_operands {
            mentioned.extend(["operation", "start", "end"]);
        }
        let common = self.names(element).filter(|name| !mentioned.contains(name));
        let common = common.map(|name| (name, false)).collect::<Vec<_>>();
        let mut content = self.attributes(element, &common);
        if element.date_operands {
            content.push(self.date_operands(element));
        } else if variants.len() == 1 {
            content.extend(self.variant(element, &variants.remove(0)));
        } else {
            let variants = variants.iter().map(|variant| together(self.variant(element, variant)));
            content.push(Pattern::Nested("choice", variants.collect()));
        }
        if element.text {
            // Text stands between children as well.
            let patterns = vec![together(content), Pattern::Leaf("text")];
            content = vec![Pattern::Nested("interleave", patterns)];
        }
        if content.is_empty() {
            content.push(Pattern::Leaf("empty"));
        }
        Pattern::Element(element.tag.to_owned(), content)
    }

    /// Names of the element's attributes, each once.
    fn names<'a>(&self, element: &'a Element) -> impl Iterator<Item = &'a str> + use<'a> {
        let schema = self.schema;
        let here = move |attr: &&Attr| attr.range.holds(schema);
        element.attrs.iter().enumerate().filter(move |(_, attr)| here(attr)).filter_map(
            move |(at, attr)| {
                let before = element.attrs[..at].iter().filter(here);
                let again = before.into_iter().any(|earlier| earlier.name == attr.name);
                (!again).then_some(attr.name)
            },
        )
    }

    /// Child rules that hold; later ones for the same children replace earlier ones.
    fn children<'a>(&self, element: &'a Element) -> Vec<&'a Children> {
        let mut rules: Vec<&Children> = Vec::new();
        for rule in element.children.iter().filter(|rule| rule.range.holds(self.schema)) {
            rules.retain(|earlier| !earlier.keys.iter().any(|key| rule.keys.contains(key)));
            rules.push(rule);
        }
        rules
    }

    /// Every combination of the element's alternatives.
    fn variants<'a>(&self, element: &'a Element) -> Vec<Variant<'a>> {
        let mut variants = vec![Variant::default()];
        let here = element.one_of.iter().filter(|(_, range)| range.holds(self.schema));
        for (alternatives, _) in here {
            let combine = |so_far: &Variant<'a>, alternative: &'a Vec<(&'static str, bool)>| {
                let mut variant = so_far.clone();
                for (name, required) in alternative {
                    if self.names(element).any(|known| known == *name) {
                        variant.names.push((name, *required));
                    } else {
                        variant.needed.push(name);
                    }
                }
                let has = |wanted| alternative.iter().any(|(name, _)| *name == wanted);
                variant.by_reference |= has("id-ref") && !has("id");
                variant
            };
            variants = variants
                .iter()
                .flat_map(|so_far| alternatives.iter().map(|a| combine(so_far, a)))
                .collect();
        }
        variants
    }

    fn variant(&self, element: &Element, variant: &Variant<'_>) -> Vec<Pattern> {
        let mut patterns = self.attributes(element, &variant.names);
        if variant.by_reference {
            return patterns;
        }
        // A child that an alternative names stands in that one only.
        let named = |tag: &str| {
            let here = element.one_of.iter().filter(|(_, range)| range.holds(self.schema));
            let names = here.flat_map(|(alternatives, _)| alternatives.iter().flatten());
            !self.names(element).any(|attr| attr == tag)
                && names.into_iter().any(|(n, _)| *n == tag)
        };
        let mut children = Vec::new();
        for rule in self.children(element) {
            let tags = || rule.keys.iter().map(|key| self.grammar.elements[*key].tag);
            let needed = tags().any(|tag| variant.needed.contains(&tag));
            if tags().any(named) && !needed {
                continue;
            }
            children.push(self.counted(rule, needed));
        }
        match children.len() {
            0 => {}
            1 => patterns.append(&mut children),
            _ => patterns.push(Pattern::Nested("interleave", children)),
        }
        patterns
    }

    fn counted(&self, rule: &Children, needed: bool) -> Pattern {
        let refer = |key: &usize| Pattern::Ref(self.grammar.elements[*key].key.to_owned());
        let one = one_of(rule.keys.iter().map(refer).collect());
        match rule.count {
            Count::One => one,
            Count::Optional if needed => one,
            Count::Optional => optional(one),
            Count::Any if needed => Pattern::Nested("oneOrMore", vec![one]),
            Count::Any => Pattern::Nested("zeroOrMore", vec![one]),
            Count::Some => Pattern::Nested("oneOrMore", vec![one]),
        }
    }

    /// Patterns for these attributes, and for what the rules say of several of them together.
    fn attributes(&self, element: &Element, names: &[(&str, bool)]) -> Vec<Pattern> {
        let mut done: Vec<&str> = Vec::new();
        let mut patterns = Vec::new();
        let has = |wanted: &str| names.iter().any(|(name, _)| *name == wanted);
        if element.ocf_provider && has("class") {
            done.extend(["class", "provider"]);
            patterns.push(self.provider(element));
        }
        if has("name") && has("value") && self.needs_value(element) {
            done.extend(["name", "value"]);
            patterns.push(self.name_and_value(element, names));
        }
        for group in &element.at_most_one {
            let group: Vec<&str> = group.iter().copied().filter(|n| has(n)).collect();
            if !group.is_empty() {
                let choice = group.iter().map(|name| self.attribute(element, name)).collect();
                patterns.push(optional(one_of(choice)));
                done.extend(group);
            }
        }
        for (name, required) in names.iter().filter(|(name, _)| !done.contains(name)) {
            let attribute = self.attribute(element, name);
            let required = *required || self.required(element, name);
            patterns.push(if required { attribute } else { optional(attribute) });
        }
        patterns
    }

    fn rules<'a>(&self, element: &'a Element, name: &str) -> Vec<&'a Attr> {
        let fits = |attr: &&Attr| attr.name == name && attr.range.holds(self.schema);
        element.attrs.iter().filter(fits).collect()
    }

    fn required(&self, element: &Element, name: &str) -> bool {
        self.rules(element, name).iter().any(|attr| attr.required)
    }

    /// An attribute with all that it may be.
    fn attribute(&self, element: &Element, name: &str) -> Pattern {
        let mut kinds: Vec<Pattern> = Vec::new();
        let mut words: Vec<&str> = Vec::new();
        for rule in self.rules(element, name) {
            match &rule.kind {
                Type::Words(more) => {
                    more.iter().copied().for_each(|word| {
                        if !words.contains(&word) {
                            words.push(word);
                        }
                    });
                }
                other => kinds.push(self.kind(other)),
            }
        }
        kinds.extend(words.into_iter().map(|word| Pattern::Value(word.to_owned())));
        if name == "name" {
            let denied = self.denied_names(element);
            if !denied.is_empty() {
                kinds = vec![Pattern::Except(denied)];
            }
        }
        Pattern::Attribute(name.to_owned(), Box::new(one_of(kinds)))
    }

    fn kind(&self, kind: &Type) -> Pattern {
        let value = |text: &str| Pattern::Value(text.to_owned());
        let plain = |name| Pattern::Data(name, Vec::new());
        match kind {
            Type::Text => Pattern::Leaf("text"),
            Type::Id => plain("ID"),
            Type::Ref => plain("IDREF"),
            Type::Bool => plain("boolean"),
            Type::Int => plain("integer"),
            Type::Count => plain("nonNegativeInteger"),
            Type::Level if self.schema.major() >= 4 => {
                Pattern::Data("positiveInteger", vec![("maxInclusive", "9")])
            }
            Type::Level => plain("positiveInteger"),
            Type::Score => {
                let ends = ["INFINITY", "+INFINITY", "-INFINITY"].map(value);
                one_of([plain("integer")].into_iter().chain(ends).collect())
            }
            Type::Ports => Pattern::Data("string", vec![("pattern", "[0-9\\-]+")]),
            Type::Names => {
                let list = "[a-zA-Z0-9_.\\-]+(,[a-zA-Z0-9_.\\-]+)*";
                Pattern::Data("string", vec![("pattern", list)])
            }
            Type::Words(words) => one_of(words.iter().map(|word| value(word)).collect()),
        }
    }

    fn denied_names(&self, element: &Element) -> Vec<&'static str> {
        let here = element.deny_names.iter().filter(|(_, range)| range.holds(self.schema));
        here.flat_map(|(names, _)| names.clone()).collect()
    }

    fn needs_value(&self, element: &Element) -> bool {
        let pairs = element.deny_pairs.iter().any(|(_, range)| range.holds(self.schema));
        pairs || element.needs_value.is_some_and(|range| range.holds(self.schema))
    }

    /// A name and its value, of which some do not go together.
    fn name_and_value(&self, element: &Element, names: &[(&str, bool)]) -> Pattern {
        let attribute = |name: &str, of| Pattern::Attribute(name.to_owned(), Box::new(of));
        let name_required = names.iter().any(|(name, required)| *name == "name" && *required);
        let must = element.needs_value.is_some_and(|range| range.holds(self.schema));
        let value = |of| {
            let value = attribute("value", of);
            if must { value } else { optional(value) }
        };
        let pairs = element.deny_pairs.iter().filter(|(_, range)| range.holds(self.schema));
        let pairs: Vec<&Vec<&str>> = pairs.map(|(words, _)| words).collect();
        let mut denied = self.denied_names(element);
        denied.extend(pairs.iter().filter_map(|words| words.first().copied()));
        let of = match denied.is_empty() {
            true => Pattern::Leaf("text"),
            false => Pattern::Except(denied),
        };
        let name = attribute("name", of);
        let name = if name_required { name } else { optional(name) };
        let mut ways = vec![together(vec![name, value(Pattern::Leaf("text"))])];
        for words in pairs {
            if let Some((name, values)) = words.split_first() {
                let name = attribute("name", Pattern::Value(name.to_string()));
                ways.push(together(vec![name, value(Pattern::Except(values.to_vec()))]));
            }
        }
        one_of(ways)
    }

    /// An agent of class `ocf` has a provider, one of another class has none.
    fn provider(&self, element: &Element) -> Pattern {
        let class = |of| Pattern::Attribute("class".into(), Box::new(of));
        let mut others: Vec<Pattern> = Vec::new();
        for rule in self.rules(element, "class") {
            if let Type::Words(words) = &rule.kind {
                let words = words.iter().filter(|word| **word != "ocf");
                others = words.map(|word| Pattern::Value(word.to_string())).collect();
            }
        }
        let ocf = vec![class(Pattern::Value("ocf".into())), self.attribute(element, "provider")];
        one_of(vec![together(ocf), class(one_of(others))])
    }

    /// Which limits belong to which comparison with a date.
    fn date_operands(&self, element: &Element) -> Pattern {
        let attribute = |name: &str| self.attribute(element, name);
        let child = |tag: &str| Pattern::Ref(tag.to_owned());
        let operation = |word: &str| {
            Pattern::Attribute("operation".into(), Box::new(Pattern::Value(word.to_owned())))
        };
        let range = one_of(vec![
            together(vec![attribute("start"), optional(attribute("end"))]),
            attribute("end"),
        ]);
        let mut ways = vec![
            together(vec![operation("in_range"), range, optional(child("duration"))]),
            together(vec![operation("gt"), attribute("start")]),
            together(vec![operation("lt"), attribute("end")]),
            together(vec![operation("date_spec"), child("date_spec")]),
        ];
        let known = self.rules(element, "operation");
        for word in ["eq", "neq"] {
            let knows =
                |attr: &&Attr| matches!(&attr.kind, Type::Words(words) if words.contains(&word));
            if known.iter().any(knows) {
                let limits = ["start", "end"].map(|name| optional(attribute(name)));
                let children = ["duration", "date_spec"].map(|tag| optional(child(tag)));
                let children = Pattern::Nested("interleave", children.into());
                let all = [operation(word)].into_iter().chain(limits).chain([children]);
                ways.push(together(all.collect()));
            }
        }
        one_of(ways)
    }
}
