//! `systole cib`: the CIB as a whole.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use cib_store::{Operation, Target};
use cib_xml::{Doc, Style};
use clap::Subcommand;

use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print the CIB, or one section of it
    Show {
        /// `resources`, `constraints`, `nodes`, `crm_config`, `status`, …
        section: Option<String>,
    },
    /// Replace the CIB, or one section, by a file's content
    Replace {
        /// The file; `-` for standard input
        file: PathBuf,
        /// Only this section
        #[arg(long)]
        section: Option<String>,
    },
    /// Apply a patchset, as `crm_diff` makes it
    Patch {
        /// The file; `-` for standard input
        file: PathBuf,
    },
    /// Bring the CIB to the latest schema
    Upgrade,
}

pub(crate) fn run(session: &mut Session, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show { section } => {
            let cib = session.cib()?;
            let node = match &section {
                None => Some(cib.root()),
                Some(name) => cib.root().descendants().find(|n| n.name() == name),
            };
            let node = node.with_context(|| {
                format!("the CIB has no section '{}'", section.unwrap_or_default())
            })?;
            print!("{}", node.to_xml(Style::Pretty));
            Ok(())
        }
        Verb::Replace { file, section } => {
            let xml = read_checked(&file)?;
            let target = section.map_or(Target::Whole, Target::Section);
            session.change(Operation::Replace { target, xml })
        }
        Verb::Patch { file } => {
            let xml = read_checked(&file)?;
            session.change(Operation::Patch { xml })
        }
        Verb::Upgrade => session.change(Operation::Upgrade { max: None }),
    }
}

/// A file's content, refused here already if it is no XML, with the place.
fn read_checked(file: &PathBuf) -> anyhow::Result<String> {
    let mut text = String::new();
    let name = file.display();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    }
    Doc::parse(&text).with_context(|| format!("{name} is not a CIB"))?;
    Ok(text)
}
