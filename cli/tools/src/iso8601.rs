//! `iso8601`: shows dates, durations and periods.

use crate::args::{Given, Opt, flag, value};
use crate::dates::{Date, Duration, parse_period};
use crate::exit;
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    flag("now", 'n', "The current time"),
    value("date", 'd', "This date"),
    value("period", 'p', "This period"),
    value("duration", 'D', "This duration"),
    value("expected", 'E', "Fail if the result is not this"),
    flag("seconds", 's', "As seconds since the year 0"),
    flag("epoch", 'S', "As seconds since 1970"),
    flag("local", 'L', "In its own zone"),
    flag("ordinal", 'O', "As year and day of the year"),
    flag("week", 'W', "As year, week and day of the week"),
];

/// Seconds from the start of the year 0 to 1970.
const YEAR_ZERO: i64 = 62_167_219_200;

fn show(date: Date, given: &Given) -> String {
    if given.has("seconds") {
        (date.epoch() + YEAR_ZERO).to_string()
    } else if given.has("epoch") {
        date.epoch().to_string()
    } else if given.has("ordinal") {
        date.ordinal_text()
    } else if given.has("week") {
        date.week_text()
    } else {
        date.text(given.has("local"))
    }
}

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let wrong = |out: &mut Out, what: &str, text: &str| {
        out.fail(&format!("Invalid {what} specified: {text}"));
        exit::INVALID_PARAM
    };
    let mut date = None;
    if let Some(text) = given.get("date") {
        match Date::parse(text) {
            Some(parsed) => date = Some(parsed),
            None => return wrong(out, "date/time", text),
        }
    } else if given.has("now") {
        date = Some(Date::now());
    }
    if let Some(date) = date {
        let text = show(date, given);
        out.line(&format!(
            "{}: {text}",
            if given.has("date") { "Date" } else { "Current date/time" }
        ));
        out.xml(Element::new("date").text(text));
    }
    let mut duration = None;
    if let Some(text) = given.get("duration") {
        let Some(parsed) = Duration::parse(text) else { return wrong(out, "duration", text) };
        duration = Some(parsed);
        out.line(&format!("Duration: {}", parsed.text()));
        out.xml(Element::new("duration").text(parsed.text()));
    }
    if let Some(text) = given.get("period") {
        let Some((start, end)) = parse_period(text) else { return wrong(out, "interval", text) };
        let (start, end) = (show(start, given), show(end, given));
        out.line(&format!("Period: {start} to {end}"));
        let (start, end) = (Element::new("start").text(start), Element::new("end").text(end));
        out.xml(Element::new("period").child(start).child(end));
    }
    let (Some(mut date), duration) = (date, duration) else { return exit::OK };
    if let Some(duration) = duration {
        date = date.plus(duration, 1);
        let text = if given.last_of(&["seconds", "epoch", "ordinal", "week"]).is_some() {
            show(date, given)
        } else {
            date.text(true)
        };
        out.line(&format!("Duration ends at: {text}"));
        out.xml(Element::new("duration_ends").text(text));
    }
    match given.get("expected") {
        Some(expected) if expected != show(date, given) => {
            out.fail(&format!("The result is {}, not {expected}", show(date, given)));
            exit::ERROR
        }
        _ => exit::OK,
    }
}
