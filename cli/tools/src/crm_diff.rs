//! `crm_diff`: makes and applies patchsets.

use cib_xml::patch::{self, PatchError, Positions};
use cib_xml::{Doc, Style};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::exit;
use crate::input::{self, Failure};
use crate::output::{Element, Out};

pub(crate) const OPTIONS: &[Opt] = &[
    value("original", 'o', "The old XML, in this file"),
    value("original-string", 'O', "The old XML"),
    value("new", 'n', "The new XML, in this file"),
    value("new-string", 'N', "The new XML"),
    value("patch", 'p', "Apply the patchset in this file to the old XML"),
    flag("cib", 'c', "Both are CIBs: the order of attributes does not count, and add a digest"),
    flag("no-version", 'u', "Without versions"),
    flag("stdin", 's', "What is not given is read from the standard input"),
    opt("filter", 'f', Value::No, ""),
];

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    match perform(given, out) {
        Ok(code) => code,
        Err((code, text)) => {
            out.fail(&text);
            code
        }
    }
}

fn xml(given: &Given, string: &str, file: &str) -> Result<Option<Doc>, Failure> {
    match given.last_of(&[string, file]) {
        None if given.has("stdin") => {
            let text = input::read_text("-")?;
            input::parse(&text, "the standard input").map(Some)
        }
        None => Ok(None),
        Some(which) => {
            let source = given.get(which).unwrap_or_default();
            let text = if which == file { input::read_text(source)? } else { source.to_string() };
            let what = if which == file { source } else { "the XML given" };
            input::parse(&text, what).map(Some)
        }
    }
}

fn perform(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let as_cib = given.has("cib");
    let no_version = given.has("no-version");
    if as_cib && no_version {
        return Err((exit::USAGE, "-u/--no-version incompatible with -c/--cib".into()));
    }
    let old = xml(given, "original-string", "original")?
        .ok_or((exit::USAGE, "Original XML is required: use -o or -O".to_string()))?;
    if let Some(path) = given.get("patch") {
        if no_version {
            out.error("Warning: -u/--no-version ignored with -p/--patch");
        }
        let patchset = input::parse(&input::read_text(path)?, path)?;
        return apply(old, &patchset, as_cib, out);
    }
    let new = xml(given, "new-string", "new")?
        .ok_or((exit::USAGE, "New XML or a patchset is required: use -n, -N or -p".to_string()))?;
    make(&old, new, as_cib, no_version, out)
}

fn apply(mut old: Doc, patchset: &Doc, as_cib: bool, out: &mut Out) -> Result<i32, Failure> {
    match patch::apply(&mut old, patchset, as_cib) {
        Ok(()) => {
            let text = old.root().to_xml(Style::Pretty);
            out.print(&text);
            out.xml(Element::new("updated").raw(text));
            Ok(exit::OK)
        }
        Err(error) => {
            let (code, text) = match error {
                PatchError::OldData => (103, "Update was older than existing configuration"),
                PatchError::Failed(_) => (1, "Application of update diff failed"),
                PatchError::Invalid(_) => (70, "Invalid argument"),
            };
            Err((code, format!("Could not apply patch: {text}")))
        }
    }
}

fn make(
    old: &Doc,
    new: Doc,
    as_cib: bool,
    no_version: bool,
    out: &mut Out,
) -> Result<i32, Failure> {
    let mut new = new;
    if no_version {
        // The versions of both are taken as the same.
        let root = new.root_id();
        for field in patch::VERSION_FIELDS {
            match old.root().attr(field) {
                Some(value) => new.set_attr(root, field, value),
                None => {
                    new.remove_attr(root, field);
                }
            }
        }
    }
    let positions = if as_cib { Positions::Ignore } else { Positions::Count };
    let Some(mut patchset) = patch::make(old, &new, positions) else { return Ok(exit::OK) };
    if no_version && let Some(version) = patchset.root().child("version").map(|v| v.id()) {
        patchset.detach(version);
    } else if as_cib {
        patch::add_digest(&mut patchset, new.root());
    }
    let text = patchset.root().to_xml(Style::Pretty);
    out.print(&text);
    out.xml(Element::new("patchset").raw(text));
    Ok(exit::ERROR)
}
