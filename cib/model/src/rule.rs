//! Rules: conditions on time, node attributes, resources and operations.

use std::cmp::Ordering;

use cib_xml::Node;
use regex::Regex;

use crate::attrs::{Attrs, Str};
use crate::model::Reader;
use crate::resource::Role;
use crate::score::parse_score;
use crate::text::{compare_versions, eq_ci, parse_interval_ms, scan_int, scan_prefix};
use crate::time::Time;

/// When a rule's outcome will change next, in seconds since the epoch, as far as one was looked at.
pub type NextChange = Option<i64>;

fn sooner(next: &mut NextChange, at: i64) {
    if next.is_none_or(|n| at < n) {
        *next = Some(at);
    }
}

/// What `%0` to `%9` stand for in rules of a constraint with a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submatches(pub Vec<String>);

impl Submatches {
    /// The matches of `regex` in `text`, `None` if there is none.
    pub(crate) fn of(regex: &Regex, text: &str) -> Option<Submatches> {
        let captures = regex.captures(text)?;
        let part = |m: Option<regex::Match<'_>>| m.map_or("", |m| m.as_str()).to_owned();
        Some(Submatches(captures.iter().map(part).collect()))
    }

    /// Replaces `%0` to `%9` in `text`.
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek().and_then(|d| d.to_digit(10))) {
                ('%', Some(digit)) => {
                    chars.next();
                    out.push_str(self.0.get(digit as usize).map_or("", String::as_str));
                }
                _ => out.push(c),
            }
        }
        out
    }
}

/// What rules may look at. Whatever is `None` makes conditions on it fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleInput<'a> {
    /// The time to assume.
    pub now: Option<Time>,
    /// Attributes of the node in question.
    pub node_attrs: Option<&'a Attrs>,
    /// Parameters of the resource, for `value-source="param"`.
    pub params: Option<&'a Attrs>,
    /// Meta-attributes of the resource, for `value-source="meta"`.
    pub meta: Option<&'a Attrs>,
    /// Class, provider and type of the resource.
    pub agent: (Option<&'a str>, Option<&'a str>, Option<&'a str>),
    /// Name and interval in milliseconds of the operation.
    pub op: Option<(&'a str, u32)>,
    /// Matches of a constraint's pattern.
    pub submatches: Option<&'a Submatches>,
}

/// How conditions of a rule are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// All must hold.
    And,
    /// One must hold.
    Or,
}

/// A `<rule>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its id.
    pub id: Str,
    /// How its conditions are joined, `None` if that is not valid: the rule never holds.
    pub combine: Option<Combine>,
    /// The score that it gives, where it is used in a location constraint.
    pub score: Option<Str>,
    /// The node attribute that holds the score.
    pub score_attribute: Option<Str>,
    /// The role that it applies to, as written.
    pub role: Option<Str>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A rule within the rule.
    Rule(Rule),
    /// A comparison with a node attribute.
    Attribute {
        /// Name of the attribute.
        attribute: Str,
        /// The comparison.
        op: Comparison,
        /// Compared as what; `None` if that follows from the operation.
        kind: Option<ValueKind>,
        /// The value to compare with.
        value: Option<Str>,
        /// Where that value comes from.
        source: ValueSource,
    },
    /// Time within bounds, both inclusive.
    InRange(Option<Time>, Option<Time>),
    /// After a time.
    After(Time),
    /// Before a time.
    Before(Time),
    /// Calendar fields: for each given field the inclusive bounds.
    DateSpec(Vec<(DateField, Option<i64>, Option<i64>)>),
    /// Class, provider and type of the resource, where given.
    Resource(Option<Str>, Option<Str>, Option<Str>),
    /// Name of the operation, and its interval in milliseconds where given.
    Operation(Str, Option<u32>),
    /// Something not understood: never holds.
    Invalid,
}

/// A field that a date specification may bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DateField {
    Year,
    Month,
    Monthday,
    Hour,
    Minute,
    Second,
    Yearday,
    Weekyear,
    Week,
    Weekday,
}

/// Operations of an attribute condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Defined,
    NotDefined,
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
}

/// As what values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ValueKind {
    String,
    Integer,
    Number,
    Version,
}

/// Where the value to compare with comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// It stands in the condition.
    Literal,
    /// It names a parameter of the resource.
    Param,
    /// It names a meta-attribute of the resource.
    Meta,
}

impl Rule {
    pub(crate) fn read(reader: &Reader<'_>, node: Node<'_>) -> Rule {
        let owned = |name: &str, n: Node<'_>| n.attr(name).map(Str::from);
        let Some(node) = reader.resolve(node) else {
            return Rule {
                id: "".into(),
                combine: None,
                score: None,
                score_attribute: None,
                role: None,
                conditions: Vec::new(),
            };
        };
        let combine = match node.attr("boolean-op") {
            None => Some(Combine::And),
            Some(op) if eq_ci(op, "and") => Some(Combine::And),
            Some(op) if eq_ci(op, "or") => Some(Combine::Or),
            Some(_) => None,
        };
        Rule {
            id: node.attr("id").unwrap_or("").into(),
            combine: combine.filter(|_| node.attr("id").is_some()),
            score: owned("score", node),
            score_attribute: owned("score-attribute", node),
            role: owned("role", node),
            conditions: node.children().map(|c| Condition::read(reader, c)).collect(),
        }
    }

    /// A rule that joins others, for configurations with a `lifetime`.
    pub(crate) fn joined(id: &str, combine: Combine, rules: Vec<Rule>) -> Rule {
        Rule {
            id: id.into(),
            combine: Some(combine),
            score: None,
            score_attribute: None,
            role: None,
            conditions: rules.into_iter().map(Condition::Rule).collect(),
        }
    }

    /// The score as a number; `None` if there is none or it is not valid.
    pub fn score_value(&self) -> Option<i32> {
        self.score.as_deref().and_then(parse_score)
    }

    /// The role that it applies to; `Err` if that is not valid.
    #[allow(clippy::result_unit_err, reason = "there is just one thing to say")]
    pub fn role_value(&self) -> Result<Role, ()> {
        self.role.as_deref().map_or(Ok(Role::Unknown), |r| Role::parse(r).ok_or(()))
    }

    /// Whether the rule holds; times at which that changes lower `next`.
    pub fn evaluate(&self, input: &RuleInput<'_>, next: &mut NextChange) -> bool {
        let Some(combine) = self.combine else { return false };
        if self.conditions.is_empty() {
            return true;
        }
        for condition in &self.conditions {
            match (condition.evaluate(input, next), combine) {
                (true, Combine::Or) => return true,
                (false, Combine::And) => return false,
                _ => {}
            }
        }
        combine == Combine::And
    }

    /// Whether any condition looks at a node attribute.
    pub fn uses_node_attributes(&self) -> bool {
        self.conditions.iter().any(|c| match c {
            Condition::Rule(rule) => rule.uses_node_attributes(),
            Condition::Attribute { .. } => true,
            _ => false,
        })
    }
}

impl Condition {
    fn read(reader: &Reader<'_>, node: Node<'_>) -> Condition {
        let owned = |name: &str| node.attr(name).map(Str::from);
        let no_id = node.attr("id").is_none_or(str::is_empty);
        match node.name() {
            "rule" => Condition::Rule(Rule::read(reader, node)),
            _ if no_id => Condition::Invalid,
            "expression" => read_attribute(node).unwrap_or(Condition::Invalid),
            "date_expression" => read_date(reader, node).unwrap_or(Condition::Invalid),
            "rsc_expression" => {
                Condition::Resource(owned("class"), owned("provider"), owned("type"))
            }
            "op_expression" => match node.attr("name") {
                Some(name) => Condition::Operation(
                    name.into(),
                    node.attr("interval").map(|i| parse_interval_ms(Some(i))),
                ),
                None => Condition::Invalid,
            },
            _ => Condition::Invalid,
        }
    }

    fn evaluate(&self, input: &RuleInput<'_>, next: &mut NextChange) -> bool {
        let matches = |want: &Option<Str>, is: Option<&str>| {
            want.as_deref().is_none_or(|want| is == Some(want))
        };
        match self {
            Condition::Rule(rule) => rule.evaluate(input, next),
            Condition::Attribute { attribute, op, kind, value, source } => {
                compare_attribute(input, attribute, *op, *kind, value.as_deref(), *source)
            }
            Condition::InRange(start, end) => in_range(input.now, *start, *end, next),
            Condition::After(start) => input.now.is_some_and(|now| {
                if now.seconds > start.seconds {
                    return true;
                }
                sooner(next, start.seconds + 1);
                false
            }),
            Condition::Before(end) => input.now.is_some_and(|now| {
                if now.seconds < end.seconds {
                    sooner(next, end.seconds);
                    return true;
                }
                false
            }),
            Condition::DateSpec(bounds) => {
                input.now.is_some_and(|now| bounds.iter().all(|b| side(now, *b).is_eq()))
            }
            Condition::Resource(class, provider, agent) => {
                matches(class, input.agent.0)
                    && matches(provider, input.agent.1)
                    && matches(agent, input.agent.2)
            }
            Condition::Operation(name, interval) => input
                .op
                .is_some_and(|(op, ms)| op == &**name && interval.is_none_or(|want| want == ms)),
            Condition::Invalid => false,
        }
    }
}

fn read_attribute(node: Node<'_>) -> Option<Condition> {
    let op = match node.attr("operation")?.to_ascii_lowercase().as_str() {
        "defined" => Comparison::Defined,
        "not_defined" => Comparison::NotDefined,
        "eq" => Comparison::Eq,
        "ne" => Comparison::Ne,
        "lt" => Comparison::Lt,
        "lte" => Comparison::Lte,
        "gt" => Comparison::Gt,
        "gte" => Comparison::Gte,
        _ => return None,
    };
    let kind = match node.attr("type").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("string") => Some(ValueKind::String),
        Some("integer") => Some(ValueKind::Integer),
        Some("number") => Some(ValueKind::Number),
        Some("version") => Some(ValueKind::Version),
        Some(_) => return None,
    };
    let source = match node.attr("value-source").map(str::to_ascii_lowercase).as_deref() {
        None | Some("literal") => ValueSource::Literal,
        Some("param") => ValueSource::Param,
        Some("meta") => ValueSource::Meta,
        Some(_) => return None,
    };
    let value = node.attr("value").map(Str::from);
    let needs_value = !matches!(op, Comparison::Defined | Comparison::NotDefined);
    if needs_value != value.is_some() {
        return None;
    }
    Some(Condition::Attribute {
        attribute: node.attr("attribute")?.into(),
        op,
        kind,
        value,
        source,
    })
}

fn read_date(reader: &Reader<'_>, node: Node<'_>) -> Option<Condition> {
    let time = |name: &str| match node.attr(name) {
        None => Some(None),
        Some(text) => Time::parse(text, reader.now).map(Some),
    };
    let op = node.attr("operation").unwrap_or("in_range").to_ascii_lowercase();
    match op.as_str() {
        "in_range" => {
            let (start, mut end) = (time("start")?, time("end")?);
            if start.is_none() && end.is_none() {
                return None;
            }
            if let (None, Some(duration)) = (end, node.child("duration")) {
                end = Some(add_duration(start?, duration)?);
            }
            Some(Condition::InRange(start, end))
        }
        "date_spec" => read_date_spec(node.child("date_spec")?).map(Condition::DateSpec),
        "gt" => Some(Condition::After(time("start")??)),
        "lt" => Some(Condition::Before(time("end")??)),
        _ => None,
    }
}

fn add_duration(start: Time, duration: Node<'_>) -> Option<Time> {
    duration.attr("id")?;
    let get = |name: &str| match duration.attr(name) {
        None => Some(0),
        Some(text) => scan_int(text),
    };
    let months = get("years")?.saturating_mul(12).saturating_add(get("months")?);
    let days = get("weeks")?.saturating_mul(7).saturating_add(get("days")?);
    let seconds = days
        .saturating_mul(86_400)
        .saturating_add(get("hours")?.saturating_mul(3600))
        .saturating_add(get("minutes")?.saturating_mul(60))
        .saturating_add(get("seconds")?);
    Some(start.plus_months(months.clamp(-100_000, 100_000)).plus(seconds))
}

/// Fields of a date with the bounds of each.
type DateSpec = Vec<(DateField, Option<i64>, Option<i64>)>;

fn read_date_spec(node: Node<'_>) -> Option<DateSpec> {
    const FIELDS: [(&str, DateField); 10] = [
        ("years", DateField::Year),
        ("months", DateField::Month),
        ("monthdays", DateField::Monthday),
        ("hours", DateField::Hour),
        ("minutes", DateField::Minute),
        ("seconds", DateField::Second),
        ("yeardays", DateField::Yearday),
        ("weekyears", DateField::Weekyear),
        ("weeks", DateField::Week),
        ("weekdays", DateField::Weekday),
    ];
    node.attr("id")?;
    let mut bounds = Vec::new();
    for (name, field) in FIELDS {
        if let Some(text) = node.attr(name) {
            let (low, high) = parse_bounds(text)?;
            bounds.push((field, low, high));
        }
    }
    Some(bounds)
}

fn parse_bounds(text: &str) -> Option<(Option<i64>, Option<i64>)> {
    let exact = |t: &str| match t {
        "" => Some(None),
        _ => scan_prefix(t).filter(|(_, rest)| rest.is_empty()).map(|(n, _)| Some(n)),
    };
    match text.split_once('-') {
        Some(("", "")) => None,
        Some((low, high)) => Some((exact(low)?, exact(high)?)),
        None => exact(text)?.map(|n| (Some(n), Some(n))),
    }
}

/// Where `now` lies as the `<date_spec>` `node` sees it, by the first field that is out of its bounds;
/// `None` if it cannot be read.
pub fn compare_date_spec(node: Node<'_>, now: Time) -> Option<Ordering> {
    let bounds = read_date_spec(node)?;
    Some(bounds.into_iter().map(|b| side(now, b)).find(|s| s.is_ne()).unwrap_or(Ordering::Equal))
}

fn side(now: Time, (field, low, high): (DateField, Option<i64>, Option<i64>)) -> Ordering {
    let f = now.fields();
    let value = match field {
        DateField::Year => f.year,
        DateField::Month => i64::from(f.month),
        DateField::Monthday => i64::from(f.day),
        DateField::Hour => i64::from(f.hour),
        DateField::Minute => i64::from(f.minute),
        DateField::Second => i64::from(f.second),
        DateField::Yearday => i64::from(f.year_day),
        DateField::Weekyear => f.week_year,
        DateField::Week => i64::from(f.week),
        DateField::Weekday => i64::from(f.week_day),
    };
    if low.is_some_and(|l| value < l) {
        Ordering::Less
    } else if high.is_some_and(|h| value > h) {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

fn in_range(
    now: Option<Time>,
    start: Option<Time>,
    end: Option<Time>,
    next: &mut NextChange,
) -> bool {
    let Some(now) = now else { return false };
    if let Some(start) = start.filter(|s| now.seconds < s.seconds) {
        sooner(next, start.seconds);
        return false;
    }
    if let Some(end) = end {
        if now.seconds > end.seconds {
            return false;
        }
        sooner(next, end.seconds + 1);
    }
    true
}

fn compare_attribute(
    input: &RuleInput<'_>,
    attribute: &str,
    op: Comparison,
    kind: Option<ValueKind>,
    value: Option<&str>,
    source: ValueSource,
) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let expanded = input.submatches.map(|s| s.expand(attribute));
    let name = expanded.as_deref().unwrap_or(attribute);
    let actual = input.node_attrs.and_then(|a| a.get(name));
    let reference = value.and_then(|v| match source {
        ValueSource::Literal => Some(v),
        ValueSource::Param => input.params.and_then(|p| p.get(v)),
        ValueSource::Meta => input.meta.and_then(|m| m.get(v)),
    });
    let relational =
        matches!(op, Comparison::Lt | Comparison::Lte | Comparison::Gt | Comparison::Gte);
    let kind = kind.unwrap_or_else(|| {
        let dotted = |v: Option<&str>| v.is_some_and(|v| v.contains('.'));
        if !relational {
            ValueKind::String
        } else if dotted(actual) || dotted(reference) {
            ValueKind::Number
        } else {
            ValueKind::Integer
        }
    });
    let order = match (actual, reference) {
        (None, None) => Equal,
        (Some(_), None) => Greater,
        (None, Some(_)) => Less,
        (Some(a), Some(b)) => compare_values(a, b, kind),
    };
    match op {
        Comparison::Defined => actual.is_some(),
        Comparison::NotDefined => actual.is_none(),
        Comparison::Eq => order == Equal,
        Comparison::Ne => order != Equal,
        _ if actual.is_none() || reference.is_none() => false,
        Comparison::Lt => order == Less,
        Comparison::Lte => order != Greater,
        Comparison::Gt => order == Greater,
        Comparison::Gte => order != Less,
    }
}

fn compare_values(a: &str, b: &str, kind: ValueKind) -> std::cmp::Ordering {
    let as_text = || a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase());
    match kind {
        ValueKind::String => as_text(),
        ValueKind::Integer => match (scan_int(a), scan_int(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => as_text(),
        },
        ValueKind::Number => match (scan_float(a), scan_float(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal),
            _ => as_text(),
        },
        ValueKind::Version => compare_versions(a, b),
    }
}

/// The decimal number that a text begins with.
fn scan_float(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let end = text
        .char_indices()
        .take_while(|(i, c)| {
            c.is_ascii_digit()
                || matches!(c, '.' | 'e' | 'E')
                || (matches!(c, '+' | '-') && {
                    *i == 0 || matches!(text.as_bytes()[i - 1], b'e' | b'E')
                })
        })
        .last()
        .map(|(i, _)| i + 1)?;
    // Shorten until what is left is a number: "1e" begins with one.
    (1..=end).rev().find_map(|n| text.get(..n)?.parse().ok())
}
