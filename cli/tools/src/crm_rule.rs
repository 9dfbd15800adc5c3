//! `crm_rule`: whether rules with dates are in effect.

use std::cmp::Ordering;

use cib_model::Time;
use cib_xml::{Doc, Node};

use crate::args::{Given, Opt, flag, value};
use crate::cib::connect;
use crate::dates::{Date, Duration};
use crate::exit;
use crate::input;
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    flag("check", 'c', "Check whether a rule is in effect"),
    value("date", 'd', "At this time rather than now"),
    value("rule", 'r', "The rule's id; may be given several times"),
    value("xml-text", 'X', "Take this as the CIB, - for the standard input"),
];

/// What came out.
enum Verdict {
    InEffect,
    /// As `InEffect`, of a rule that has no beginning and no end.
    Satisfied,
    Expired,
    NotYet,
    Unknown(i32, &'static str),
}

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match perform(given, out) {
        Ok(code) => code,
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn perform(given: &Given, out: &mut Out) -> Result<i32, (i32, String)> {
    if !given.has("check") {
        return Err((exit::USAGE, "No mode operation given".into()));
    }
    let rules = given.all("rule");
    if rules.is_empty() {
        return Err((exit::USAGE, "--check requires use of --rule=".into()));
    }
    let now = match given.get("date") {
        Some(text) => {
            Date::parse(text).ok_or((exit::DATAERR, format!("No valid date given: '{text}'")))?
        }
        None => Date::now(),
    };
    let doc = match given.get("xml-text") {
        Some("-") => {
            let text = input::read_text("-")?;
            Doc::parse(&text).map_err(|e| {
                log(&text, &e);
                (exit::DATAERR, "Couldn't parse input from STDIN".to_string())
            })?
        }
        Some(text) => Doc::parse(text).map_err(|e| {
            log(text, &e);
            (exit::DATAERR, format!("Couldn't parse input string: {text}"))
        })?,
        None => connect()
            .and_then(|mut cib| cib.read())
            .map_err(|e| (e.exit_code(), format!("Could not read the CIB: {}", e.kind.text())))?,
    };
    let mut last = exit::OK;
    for rule in rules {
        last = report(rule, check(&doc, rule, now), out);
    }
    Ok(last)
}

/// Writes to the log what is wrong with a text and where.
fn log(text: &str, error: &cib_xml::ParseError) {
    // What does not start as XML is not worth a closer look.
    let start = text.len() - text.trim_start().len();
    let (line, column, reason) = if text[start..].starts_with('<') {
        (error.position.line, error.position.column, error.reason.as_str())
    } else {
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let column = start - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        (line, column, "Start tag expected, '<' not found")
    };
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let mark = format!("{}^", " ".repeat(column.saturating_sub(1)));
    let what = format!("Entity: line {line}: parser error : {reason}");
    for part in [what.as_str(), source, &mark] {
        crate::log::error("parse", "crm_rule", &format!("XML Error: {part}"));
    }
}

fn report(id: &str, verdict: Verdict, out: &mut Out) -> i32 {
    let code = match verdict {
        Verdict::InEffect => {
            out.line(&format!("Rule {id} is still in effect"));
            exit::OK
        }
        Verdict::Satisfied => {
            out.line(&format!("Rule {id} satisfies conditions"));
            exit::OK
        }
        Verdict::Expired => {
            out.line(&format!("Rule {id} is expired"));
            110
        }
        Verdict::NotYet => {
            out.line(&format!("Rule {id} has not yet taken effect"));
            111
        }
        Verdict::Unknown(code, reason) => {
            let text = format!("Could not determine whether rule {id} is in effect: {reason}");
            out.error(&text);
            code
        }
    };
    out.xml(Element::new("rule-check").attr("rule-id", id).attr("rc", code));
    code
}

fn check(doc: &Doc, id: &str, now: Date) -> Verdict {
    let rule = doc.root().descendants().find(|n| n.name() == "rule" && n.attr("id") == Some(id));
    let Some(rule) = rule else { return Verdict::Unknown(exit::NOSUCH, "Rule not found") };
    let dates: Vec<Node<'_>> =
        rule.descendants().filter(|n| n.name() == "date_expression").collect();
    let date = match dates[..] {
        [] => return Verdict::Unknown(3, "Rule does not have a date expression"),
        [one] => one,
        _ => return Verdict::Unknown(3, "Rule has more than one date expression"),
    };
    if date.attr("operation") == Some("date_spec") {
        let spec = date.child("date_spec").filter(|s| s.attr("years").is_some());
        let Some(spec) = spec else {
            let reason = "Rule must either not use date_spec, or use date_spec with years=";
            return Verdict::Unknown(3, reason);
        };
        return match cib_model::compare_date_spec(spec, Time::from_epoch(now.epoch())) {
            Some(Ordering::Less) => Verdict::NotYet,
            Some(Ordering::Equal) => Verdict::Satisfied,
            Some(Ordering::Greater) => Verdict::Expired,
            None => Verdict::Unknown(exit::DATAERR, "Error parsing rule"),
        };
    }
    check_range(date, now)
}

fn check_range(date: Node<'_>, now: Date) -> Verdict {
    let read = |name| date.attr(name).and_then(Date::parse);
    let (start, mut end) = (read("start"), read("end"));
    if let (Some(start), None, Some(duration)) = (start, end, date.child("duration")) {
        end = Some(start.plus(duration_of(duration), 1));
    }
    let now = now.epoch();
    let (before, after) = match date.attr("operation").unwrap_or("in_range") {
        "in_range" => {
            (start.is_some_and(|s| now < s.epoch()), end.is_some_and(|e| now > e.epoch()))
        }
        "gt" => (start.is_none_or(|s| now <= s.epoch()), false),
        "lt" => (false, end.is_none_or(|e| now >= e.epoch())),
        _ => return Verdict::Unknown(3, "Rule has an unknown operation"),
    };
    if before {
        Verdict::NotYet
    } else if after {
        Verdict::Expired
    } else {
        Verdict::InEffect
    }
}

fn duration_of(node: Node<'_>) -> Duration {
    let get = |name| node.attr(name).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
    Duration {
        years: get("years"),
        months: get("months"),
        days: get("weeks") * 7 + get("days"),
        seconds: get("hours") * 3600 + get("minutes") * 60 + get("seconds"),
    }
}
