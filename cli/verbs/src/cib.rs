//! `systole cib`: the CIB as a whole.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, ensure};
use cib_store::{Operation, Target};
use cib_xml::patch::{self, Positions};
use cib_xml::{Doc, Node, Style};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::print_json;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print the CIB, or a part of it
    Show {
        /// `resources`, `constraints`, `nodes`, `crm_config`, `status`, …
        section: Option<String>,
        /// The elements that this XPath expression finds
        #[arg(long, conflicts_with = "section")]
        xpath: Option<String>,
    },
    /// Replace the CIB, or one section, by a file's content
    Replace {
        /// The file; `-` for standard input
        file: PathBuf,
        /// Only this section
        #[arg(long)]
        section: Option<String>,
    },
    /// Bring in what was changed in a file; what others have changed meanwhile stays
    Push {
        /// The changed file; `-` for standard input
        file: PathBuf,
        /// The file before the change, as `systole cib show` has printed it
        #[arg(long)]
        base: PathBuf,
    },
    /// Print the patchset that leads from one file to another
    Diff {
        /// The file before
        old: PathBuf,
        /// The file after; without one, the CIB of the running cluster
        new: Option<PathBuf>,
    },
    /// Apply a patchset, as `systole cib diff` makes it
    Patch {
        /// The file; `-` for standard input
        file: PathBuf,
    },
    /// Change the CIB in an editor ($VISUAL, else $EDITOR, else vi)
    Edit,
    /// Bring the CIB to the latest schema
    Upgrade,
    /// Write the schemas as RELAX NG files, for programs that read them: the CIB's as
    /// pacemaker-X.Y.rng, that of the tools' results as api/api-result.rng
    Schemas {
        /// The folder; programs look in /usr/share/pacemaker
        folder: PathBuf,
    },
}

impl Verb {
    /// Does what needs no running cluster; gives back what does.
    pub(crate) fn run_alone(self) -> Result<anyhow::Result<()>, Verb> {
        match self {
            Verb::Diff { old, new: Some(new) } => Ok(diff(&old, read_cib(&new))),
            Verb::Schemas { folder } => Ok(schemas(&folder)),
            verb => Err(verb),
        }
    }
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show { section, xpath } => show(session, section, xpath),
        Verb::Replace { file, section } => {
            let xml = read(&file)?;
            parse(&file, &xml)?;
            let target = section.map_or(Target::Whole, Target::Section);
            session.change(Operation::Replace { target, xml })
        }
        Verb::Push { file, base } => push(session, &read_cib(&base)?, read_cib(&file)?),
        Verb::Diff { old, new: Some(new) } => diff(&old, read_cib(&new)),
        Verb::Diff { old, new: None } => diff(&old, session.cib()),
        Verb::Patch { file } => {
            let xml = read(&file)?;
            parse(&file, &xml)?;
            session.change(Operation::Patch { xml })
        }
        Verb::Edit => edit(session),
        Verb::Upgrade => session.change(Operation::Upgrade { max: None }),
        Verb::Schemas { folder } => schemas(&folder),
    }
}

fn show(
    session: &mut Session,
    section: Option<String>,
    xpath: Option<String>,
) -> anyhow::Result<()> {
    let cib = session.cib()?;
    let found: Vec<Node<'_>> = match (&section, &xpath) {
        (_, Some(expression)) => {
            let found = cib.xpath_elements(expression);
            let found = found.map_err(|e| anyhow!("'{expression}' is no XPath: {e}"))?;
            ensure!(!found.is_empty(), "nothing in the CIB is found by '{expression}'");
            found.into_iter().map(|id| cib.node(id)).collect()
        }
        (Some(name), _) => {
            let node = cib.root().descendants().find(|node| node.name() == name);
            vec![node.with_context(|| {
                let configuration = cib.root().child("configuration");
                let known = configuration.into_iter().flat_map(|c| c.children());
                let known: Vec<&str> = known.map(|node| node.name()).collect();
                format!("the CIB has no section '{name}', but {}, status", known.join(", "))
            })?]
        }
        (None, None) => vec![cib.root()],
    };
    if session.json {
        let all: Vec<Value> = found.into_iter().map(as_json).collect();
        match &all[..] {
            [one] if xpath.is_none() => print_json(one),
            _ => print_json(&all),
        }
    } else {
        found.iter().for_each(|node| out!("{}", node.to_xml(Style::Pretty)));
    }
    Ok(())
}

fn schemas(folder: &Path) -> anyhow::Result<()> {
    let mut next = Some(cib_schema::Schema::FIRST);
    while let Some(schema) = next {
        let file = folder.join(format!("{schema}.rng"));
        let text = cib_schema::relax_ng(schema).unwrap_or_default();
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        next = schema.next();
    }
    let file = folder.join("api/api-result.rng");
    std::fs::create_dir_all(folder.join("api"))
        .and_then(|()| std::fs::write(&file, cli_tools::results_schema()))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// An element with its attributes and what is in it.
pub(crate) fn as_json(node: Node<'_>) -> Value {
    let attributes: serde_json::Map<String, Value> =
        node.attrs().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let children: Vec<Value> = node.children().map(as_json).collect();
    json!({ "element": node.name(), "attributes": attributes, "children": children })
}

fn diff(old: &Path, new: anyhow::Result<Doc>) -> anyhow::Result<()> {
    if let Some(patchset) = patch::make(&read_cib(old)?, &new?, Positions::Count) {
        out!("{}", patchset.root().to_xml(Style::Pretty));
    }
    Ok(())
}

/// Has the cluster make the changes that lead from `base` to `new`, whatever its version is by now.
fn push(session: &mut Session, base: &Doc, mut new: Doc) -> anyhow::Result<()> {
    let root = new.root_id();
    for field in patch::VERSION_FIELDS {
        new.set_attr(root, field, base.root().attr(field).unwrap_or("0"));
    }
    let Some(mut patchset) = patch::make(base, &new, Positions::Count) else {
        outln!("There is nothing to change.");
        return Ok(());
    };
    if let Some(version) = patchset.root().child("version").map(|node| node.id()) {
        patchset.detach(version);
    }
    session.change(Operation::Patch { xml: patchset.root().to_xml(Style::Compact) }).context(
        "the changes do not fit the cluster's CIB; make them again in what 'systole cib show' prints",
    )
}

fn edit(session: &mut Session) -> anyhow::Result<()> {
    let base = session.cib()?;
    let path = std::env::temp_dir().join(format!("systole-cib-{}.xml", std::process::id()));
    let what = || format!("cannot write {}", path.display());
    // It may hold passwords.
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(base.root().to_xml(Style::Pretty).as_bytes()))
        .with_context(what)?;
    let editor = ["VISUAL", "EDITOR"].into_iter().find_map(std::env::var_os);
    let editor = editor.unwrap_or_else(|| "vi".into());
    // As others do it, the variable may hold options too.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec $0 \"$1\""]).arg(&editor).arg(&path);
    let status = command.status().context("cannot run /bin/sh")?;
    let result = if status.success() {
        read_cib(&path).and_then(|new| push(session, &base, new))
    } else {
        Err(anyhow!("{} failed: nothing is changed", editor.display()))
    };
    match result {
        Ok(()) => Ok(std::fs::remove_file(&path)?),
        Err(error) => Err(error.context(format!("what you wrote is kept in {}", path.display()))),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() != "-" {
        let what = || format!("cannot read {}", file.display());
        return cli_tools::input::read_file(file).with_context(what);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

/// Refuses here already what is no XML, with the place.
fn parse(file: &Path, text: &str) -> anyhow::Result<Doc> {
    Doc::parse(text).with_context(|| format!("{} is not a CIB", file.display()))
}

/// A CIB in a file; `-` is standard input.
pub(crate) fn read_cib(file: &Path) -> anyhow::Result<Doc> {
    parse(file, &read(file)?)
}
