//! `crm_shadow`: works on a copy of the CIB.

use std::path::Path;

use cib_store::{Operation, Target};
use cib_xml::patch::{self, Positions};
use cib_xml::{Doc, Style};

use crate::args::{Given, Opt, Value, flag, opt, value};
use crate::cib::{Cib, connect_real, env, shadow_file, write_file};
use crate::exit;
use crate::input::{self, Failure};
use crate::output::{Element, Out};
use crate::patch_text;

pub(crate) const OPTIONS: &[Opt] = &[
    flag("which", 'w', "Print the name of the shadow CIB in use"),
    flag("display", 'p', "Print the shadow CIB in use"),
    flag("diff", 'd', "Print what differs between the shadow CIB in use and the real one"),
    flag("file", 'F', "Print the path of the shadow CIB in use"),
    value("create", 'c', "Make a shadow CIB of this name from the real one"),
    value("create-empty", 'e', "Make an empty shadow CIB of this name"),
    value("commit", 'C', "Put this shadow CIB's configuration in the place of the real one"),
    value("delete", 'D', "Delete this shadow CIB"),
    flag("edit", 'E', "Edit the shadow CIB in use"),
    value("reset", 'r', "Make this shadow CIB anew from the real one"),
    value("switch", 's', "Use this shadow CIB"),
    flag("force", 'f', "Even if it is dangerous"),
    flag("batch", 'b', "Start no shell"),
    flag("all", 'a', "With --commit: the status as well"),
    value("validate-with", 'v', "With --create-empty: the schema"),
    opt("locally", ' ', Value::No, ""),
];

const COMMANDS: [&str; 11] = [
    "which",
    "display",
    "diff",
    "file",
    "create",
    "create-empty",
    "commit",
    "delete",
    "edit",
    "reset",
    "switch",
];

pub(crate) fn run(given: &Given, out: &mut Out) -> i32 {
    let result = match given.last_of(&COMMANDS) {
        None => Err((exit::USAGE, "No query or command option supplied".to_string())),
        Some("which") => active().map(|name| {
            out.line(&name);
            out.xml(Element::new("shadow").attr("instance", &name));
            exit::OK
        }),
        Some("file") => active().map(|name| {
            let path = shadow_file(&name);
            out.line(&path.to_string_lossy());
            let element = Element::new("shadow").attr("instance", &name);
            out.xml(element.attr("file", path.to_string_lossy()));
            exit::OK
        }),
        Some("display") => display(out),
        Some("diff") => diff(out),
        Some("edit") => edit(),
        Some("switch") => switch(given, out),
        Some("create") => create(given, out),
        Some("create-empty") => create_empty(given, out),
        Some("reset") => reset(given, out),
        Some("commit") => commit(given, out),
        Some(_) => delete(given, out),
    };
    result.unwrap_or_else(|(code, text)| {
        out.fail(&text);
        code
    })
}

fn active() -> Result<String, Failure> {
    env("CIB_shadow").ok_or((exit::NOSUCH, "No active shadow configuration defined".to_string()))
}

fn must_exist(name: &str) -> Result<(), Failure> {
    if shadow_file(name).exists() {
        return Ok(());
    }
    let text = format!("Could not access shadow instance '{name}': No such file or directory");
    Err((exit::NOSUCH, text))
}

fn read_shadow(name: &str) -> Result<Doc, Failure> {
    must_exist(name)?;
    let path = shadow_file(name);
    let text = input::read_text(&path.to_string_lossy())?;
    input::parse(&text, &path.to_string_lossy())
}

fn read_real() -> Result<Doc, Failure> {
    let failed = |e: cib_store::StoreError| {
        (e.exit_code(), format!("Could not connect to CIB: {}", e.kind.text()))
    };
    connect_real().map_err(failed)?.read().map_err(failed)
}

fn display(out: &mut Out) -> Result<i32, Failure> {
    let name = active()?;
    let text = read_shadow(&name)?.root().to_xml(Style::Pretty);
    out.print(&text);
    let content = Element::new("content").raw(text);
    out.xml(Element::new("shadow").attr("instance", &name).child(content));
    Ok(exit::OK)
}

fn diff(out: &mut Out) -> Result<i32, Failure> {
    let name = active()?;
    must_exist(&name)?;
    let old = read_real()?;
    let new = read_shadow(&name)?;
    let patchset = patch::make(&old, &new, Positions::Count);
    let mut element = Element::new("shadow").attr("instance", &name);
    let code = if patchset.is_some() { exit::ERROR } else { exit::OK };
    if let Some(patchset) = patchset {
        out.print(&patch_text::describe(&patchset));
        let text = patchset.root().to_xml(Style::Pretty);
        element.push(Element::new("xml-patchset").raw(text));
    }
    out.xml(element);
    Ok(code)
}

fn edit() -> Result<i32, Failure> {
    let name = active()?;
    must_exist(&name)?;
    let editor = env("EDITOR").ok_or((exit::NOSUCH, "No value for EDITOR defined".to_string()))?;
    let status = std::process::Command::new(&editor).arg(shadow_file(&name)).status();
    match status {
        Ok(status) if status.success() => Ok(exit::OK),
        Ok(_) => Err((exit::ERROR, format!("{editor} failed"))),
        Err(e) => Err((exit::ERROR, format!("Could not start {editor}: {e}"))),
    }
}

/// Says how to use the shadow CIB, or starts a shell that does.
fn enter(given: &Given, out: &mut Out, name: &str, why: &str) -> Result<i32, Failure> {
    if given.has("batch") || !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let text =
            format!("{why}, enter the following into your shell:\n\texport CIB_shadow={name}");
        out.line(&text);
        out.xml(Element::new("instruction").text(text));
        return Ok(exit::OK);
    }
    let shell = env("SHELL").unwrap_or_else(|| "/bin/sh".into());
    out.line("Setting up shadow instance");
    out.line("Type Ctrl-D to exit the crm_shadow shell");
    out.flush();
    let status = std::process::Command::new(&shell)
        .env("CIB_shadow", name)
        .env("PS1", format!("shadow[{name}] # "))
        .status();
    match status {
        Ok(_) => Ok(exit::OK),
        Err(e) => Err((exit::ERROR, format!("Failed to launch shell '{shell}': {e}"))),
    }
}

fn write(path: &Path, doc: &Doc, name: &str) -> Result<(), Failure> {
    if let Some(dir) = path.parent() {
        // If this fails, so does the write, with a better message.
        let _ = std::fs::create_dir_all(dir);
    }
    write_file(path, &doc.root().to_xml(Style::Pretty))
        .map_err(|e| (exit::CANTCREAT, format!("Could not create shadow instance '{name}': {e}")))
}

fn must_not_exist(given: &Given, name: &str) -> Result<(), Failure> {
    if given.has("force") || !shadow_file(name).exists() {
        return Ok(());
    }
    let text = format!(
        "A shadow instance '{name}' already exists.\nTo prevent accidental destruction of the \
         shadow file, the --force flag is required in order to proceed."
    );
    Err((exit::CANTCREAT, text))
}

const CREATED: &str = "A new shadow instance was created. To begin using it";

fn create(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let name = given.get("create").unwrap_or_default();
    must_not_exist(given, name)?;
    let doc = read_real()?;
    write(&shadow_file(name), &doc, name)?;
    enter(given, out, name, CREATED)
}

fn create_empty(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let name = given.get("create-empty").unwrap_or_default();
    must_not_exist(given, name)?;
    let mut doc = cib_store::empty_cib();
    let root = doc.root_id();
    if let Some(schema) = given.get("validate-with") {
        doc.set_attr(root, "validate-with", schema);
    }
    write(&shadow_file(name), &doc, name)?;
    let schema = doc.root().attr("validate-with").unwrap_or_default();
    out.line(&format!("Created new {schema} configuration"));
    enter(given, out, name, CREATED)
}

/// Refuses a dangerous command without `--force`.
fn unless_forced(given: &Given, name: &str, what: &str, of: &str) -> Result<(), Failure> {
    if given.has("force") {
        return Ok(());
    }
    let other = match env("CIB_shadow") {
        Some(active) if active != name => format!(
            "\nAdditionally, the supplied shadow instance ({name}) is not the same as the active \
             one ({active})."
        ),
        _ => String::new(),
    };
    let text = format!(
        "{what}{other}\nTo prevent accidental destruction of the {of}, the --force flag is \
         required in order to proceed."
    );
    Err((exit::USAGE, text))
}

fn reset(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let name = given.get("reset").unwrap_or_default();
    let what = "The reset command overwrites the active shadow configuration.";
    unless_forced(given, name, what, "shadow file")?;
    let doc = read_real()?;
    write(&shadow_file(name), &doc, name)?;
    enter(given, out, name, CREATED)
}

fn switch(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let name = given.get("switch").unwrap_or_default();
    must_exist(name)?;
    enter(given, out, name, "To switch to the named shadow instance")
}

fn commit(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let name = given.get("commit").unwrap_or_default();
    let what = "The commit command overwrites the active cluster configuration.";
    unless_forced(given, name, what, "cluster")?;
    let doc = read_shadow(name)?;
    let failed = |text: &str, e: &cib_store::StoreError| {
        (e.exit_code(), format!("{text}: {}", e.kind.text()))
    };
    let mut real: Box<dyn Cib> =
        connect_real().map_err(|e| failed("Could not connect to CIB", &e))?;
    let (target, node) = if given.has("all") {
        (Target::Whole, Some(doc.root()))
    } else {
        (Target::Section("configuration".into()), doc.root().child("configuration"))
    };
    let xml = node.map(|n| n.to_xml(Style::Compact)).unwrap_or_default();
    let text = format!("Could not commit shadow instance '{name}' to the CIB");
    real.apply(&Operation::Replace { target, xml }, true).map_err(|e| failed(&text, &e))?;
    out.flush();
    Ok(exit::OK)
}

fn delete(given: &Given, out: &mut Out) -> Result<i32, Failure> {
    let name = given.get("delete").unwrap_or_default();
    let what = "The delete command removes the specified shadow file.";
    unless_forced(given, name, what, "shadow file")?;
    match std::fs::remove_file(shadow_file(name)) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => {
            let text = format!("Could not remove shadow file '{name}': {e}");
            return Err((exit::ERROR, text));
        }
    }
    if env("CIB_shadow").as_deref() == Some(name) {
        let text = "Remember to unset the CIB_shadow variable by entering the following into your \
                    shell:\n\tunset CIB_shadow";
        out.line(text);
        out.xml(Element::new("instruction").text(text));
    }
    Ok(exit::OK)
}
