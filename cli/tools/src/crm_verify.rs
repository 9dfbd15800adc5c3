//! `crm_verify`: whether a configuration is valid, and what is odd about it.

use std::sync::Arc;

use cib_model::{Model, Time};
use cib_xml::{Doc, Style};
use crm_scheduler::{PlanFlags, schedule_model};

use crate::args::{Given, Opt, flag, value};
use crate::cib::{connect, write_file};
use crate::dates::Date;
use crate::exit;
use crate::log::Level;
use crate::output::Out;

pub(crate) const OPTIONS: &[Opt] = &[
    flag("live-check", 'L', "Check the running cluster's configuration"),
    value("xml-file", 'x', "Check this file"),
    flag("xml-pipe", 'p', "Check what comes on the standard input"),
    value("xml-text", 'X', "Check this text"),
    value("save-xml", 'S', "Write what is checked to this file"),
];

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match load(given) {
        Ok(doc) => {
            if let Some(path) = given.get("save-xml") {
                let text = doc.root().to_xml(Style::Pretty);
                if let Err(e) = write_file(std::path::Path::new(path), &text) {
                    out.fail(&format!("Cannot write {path}: {e}"));
                    return exit::CANTCREAT;
                }
            }
            verify_and_tell(doc, out)
        }
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn load(given: &Given) -> Result<Doc, (i32, String)> {
    let unreadable = |e: cib_xml::ParseError| {
        (exit::DATAERR, format!("Verification failed: Unable to parse CIB XML: {e}"))
    };
    let read = |path: &str| -> Result<Doc, (i32, String)> {
        let text = crate::input::read_text(path)
            .map_err(|(code, text)| (code, format!("Verification failed: {text}")))?;
        Doc::parse(&text).map_err(unreadable)
    };
    if let Some(path) = given.get("xml-file") {
        return read(path);
    }
    if let Some(text) = given.get("xml-text") {
        return Doc::parse(text).map_err(unreadable);
    }
    if given.has("xml-pipe") {
        return read("-");
    }
    if !given.has("live-check") {
        return Err((exit::NOINPUT, "No input specified".into()));
    }
    let failed = |e: cib_store::StoreError| {
        (e.exit_code(), format!("Verification failed: {}", e.kind.text()))
    };
    connect().map_err(failed)?.read().map_err(failed)
}

/// What was found.
#[derive(Default)]
struct Findings {
    errors: usize,
    warnings: usize,
    /// In order, whether an error and what; whether they are shown depends on the verbosity.
    lines: Vec<(bool, String)>,
    /// Why the rest was not looked at.
    unusable: Option<String>,
    /// The cluster is to trust nodes that it has not seen.
    blind_faith: bool,
}

impl Findings {
    fn error(&mut self, text: &str) {
        self.errors += 1;
        self.lines.push((true, text.to_owned()));
    }

    fn warning(&mut self, text: &str) {
        self.warnings += 1;
        self.lines.push((false, text.to_owned()));
    }
}

/// Whether a message of the scheduler is about the configuration rather than about what happened.
fn is_configuration(error: bool, text: &str) -> bool {
    if error {
        return !text.starts_with("Preventing ") && !text.contains(" is active on ");
    }
    text.ends_with("cannot be fenced")
        || text.starts_with("Cannot invert ")
        || text.starts_with("No resource, template, or tag")
        || text.starts_with("Support for ")
}

/// What is wrong (`true`) or odd (`false`) with a configuration, in words.
pub fn verify(doc: Doc) -> Vec<(bool, String)> {
    let mut found = check(doc);
    found.lines.extend(found.unusable.map(|text| (true, text)));
    found.lines
}

fn verify_and_tell(doc: Doc, out: &mut Out) -> i32 {
    let mut found = check(doc);
    if let Some(text) = &found.unusable {
        out.error(text);
    }
    if found.blind_faith && !out.quiet {
        let text = "Blind faith: not fencing unseen nodes";
        crate::log::write("unpack_config", "unpack", Level::Warning, out.verbose, text);
    }
    if found.errors > 0 {
        found.lines.push((true, "CIB did not pass schema validation".into()));
    }
    report(&found, out)
}

fn check(mut doc: Doc) -> Findings {
    let mut found = Findings::default();
    if doc.root().name() != "cib" {
        let name = doc.root().name();
        found.unusable = Some(format!("Input is not a CIB (outermost element is {name} not cib)"));
        found.errors += 1;
        return found;
    }
    if doc.root().child("status").is_none() {
        let root = doc.root_id();
        doc.append_element(root, "status");
    }
    let problems = cib_schema::validate(&doc);
    for problem in &problems {
        found.error(&problem.to_string());
    }
    if problems.is_empty() && cib_schema::upgrade(&mut doc, None).is_err() {
        found.unusable = Some(format!(
            "The cluster will NOT be able to use this configuration.\nPlease manually update the \
             configuration to conform to the {} syntax.",
            cib_schema::LATEST
        ));
        found.errors += 1;
    }
    if found.errors == 0 {
        let now = Time::from_epoch(Date::now().epoch());
        let model = Arc::new(Model::from_doc(&Arc::new(doc), now));
        let fences = ["fencing-enabled", "startup-fencing"].iter().all(|o| model.options.flag(o));
        found.blind_faith = !fences;
        let plan = schedule_model(model, now, PlanFlags::default(), 0);
        let mut seen = Vec::new();
        for problem in plan.problems() {
            if !is_configuration(problem.error, &problem.text) || seen.contains(&problem.text) {
                continue;
            }
            if problem.error {
                found.error(&problem.text);
            } else {
                found.warning(&problem.text);
            }
            seen.push(problem.text);
        }
    }
    found
}

fn report(found: &Findings, out: &mut Out) -> i32 {
    if found.errors == 0 && found.warnings == 0 {
        return exit::OK;
    }
    let verbose = out.is_xml() || (out.verbose > 0 && !out.quiet);
    if verbose {
        for (error, text) in &found.lines {
            let level = if *error { "error" } else { "warning" };
            out.error(&format!("{level}: {text}"));
        }
    }
    if !out.quiet {
        let what = if found.errors > 0 { "invalid" } else { "may need attention" };
        let hint = if verbose { "" } else { " (-V may provide more detail)" };
        out.error(&format!("Configuration {what}{hint}"));
    }
    exit::CONFIG
}
