//! `crm_error`: what a code means.

use nix::errno::Errno;

use crate::args::{Given, Opt, flag};
use crate::exit::{self, EXITS, LEGACY, RETURNS};
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    flag("name", 'n', "Show the name of the code as well"),
    flag("list", 'l', "Show all known codes"),
    flag("exit", 'X', "Take the code as the exit status of a tool"),
    flag("rc", 'r', "Take the code as a return code"),
];

/// Name and text of a system error.
fn system(code: i32) -> Option<(String, String)> {
    let errno = Errno::from_raw(code);
    if code <= 0 || errno == Errno::UnknownErrno {
        return None;
    }
    let text = std::io::Error::from_raw_os_error(code).to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_string();
    Some((format!("{errno:?}"), text))
}

fn lookup(code: i32, given: &Given) -> (String, String) {
    let row = |rows: &[exit::Row], code: i32| {
        rows.iter().find(|r| r.0 == code).map(|r| (r.1.to_string(), r.2.to_string()))
    };
    if given.has("exit") {
        row(EXITS, code).unwrap_or(("CRM_EX_UNKNOWN".into(), "Unknown exit status".into()))
    } else if given.has("rc") {
        let unknown = || match code {
            1.. => format!("Unknown error {code}"),
            _ => "Error".into(),
        };
        row(RETURNS, code).or(system(code)).unwrap_or_else(|| ("Unknown".into(), unknown()))
    } else if code == 0 {
        ("pcmk_ok".into(), "OK".into())
    } else {
        let code = code.abs();
        row(LEGACY, code).or(system(code)).unwrap_or(("Unknown".into(), "Unknown error".into()))
    }
}

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let with_name = given.has("name");
    let listing = given.has("list");
    let mut codes = Vec::new();
    if listing && given.has("exit") {
        codes.extend(EXITS.iter().map(|r| r.0));
    } else if listing && given.has("rc") {
        codes.extend(RETURNS.iter().map(|r| r.0));
        codes.extend((1..=200).filter(|c| system(*c).is_some()));
    } else if listing {
        codes.push(0);
        codes.extend((1..=200).filter(|c| system(*c).is_some()));
        codes.extend(LEGACY.iter().map(|r| r.0));
    } else {
        for text in &given.rest {
            match text.parse() {
                Ok(code) => codes.push(code),
                Err(_) => {
                    out.fail(&format!("{text} is not a number"));
                    return exit::USAGE;
                }
            }
        }
    }
    for code in codes {
        let (name, text) = lookup(code, given);
        match (listing, with_name) {
            (true, true) => out.line(&format!("{code:5}: {name:26}  {text}")),
            (true, false) => out.line(&format!("{code:5}: {text}")),
            (false, true) => out.line(&format!("{name} - {text}")),
            (false, false) => out.line(&text),
        }
        let element = Element::new("result-code").attr("code", code);
        out.xml(element.maybe("name", with_name.then_some(name)).attr("description", text));
    }
    exit::OK
}
