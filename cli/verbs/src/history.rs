//! `systole history`: who changed what, what the cluster did because of it, and the way back.
//!
//! It reads the record that this node's daemon keeps, so it also works while the daemon is down.

mod list;
mod place;
mod record;
mod replay;
mod show;
mod undo;

use std::path::PathBuf;

use anyhow::Context;
use cib_xml::patch::{self, Positions};
use clap::Subcommand;
use serde_json::json;

use crate::changes::words;
use crate::history::record::Record;
use crate::print_json;

/// Changes are called by the version of the configuration that they led to (`0.12`), transitions
/// by number and run of their DC (`17-3fa2`). Every node keeps a record of its own, for root only;
/// after a loss of power its last entries may be missing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder in which the daemon keeps its state
    #[arg(long, global = true, default_value = "/var/lib/pacemaker")]
    state_dir: PathBuf,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Changes and transitions, the newest last
    List(list::Args),
    /// One of them with all that is known
    Show {
        /// Which; of a transition the number will do
        id: String,
    },
    /// What differs between the configurations that two of them had
    Compare {
        /// Which
        from: String,
        /// Which; `now` is the running cluster
        #[arg(default_value = "now")]
        to: String,
    },
    /// Make the plan of a transition again from its input, and tell whether it is the same
    Replay(replay::Args),
    /// Take a change back, after showing what that means
    Undo(undo::Args),
}

pub(crate) fn run(args: Args, json: bool) -> anyhow::Result<i32> {
    let record = Record::of(&args.state_dir);
    match args.verb.unwrap_or_else(|| Verb::List(list::Args::default())) {
        Verb::List(args) => list::run(&record, &args, json)?,
        Verb::Show { id } => show::run(&record.find(&id)?, json),
        Verb::Compare { from, to } => compare(&record, &from, &to, json)?,
        Verb::Replay(args) => return replay::run(&record, &args, json),
        Verb::Undo(args) => return undo::run(&record, &args, json),
    }
    Ok(0)
}

fn compare(record: &Record, from: &str, to: &str, json: bool) -> anyhow::Result<()> {
    let configuration = |id: &str| {
        place::configuration(record, id).with_context(|| format!("{id} cannot be compared"))
    };
    let (old, new) = (configuration(from)?, configuration(to)?);
    let patch = patch::make(&old, &new, Positions::Ignore);
    let changes = patch.as_ref().map_or_else(Vec::new, words);
    if json {
        print_json(&json!({ "from": from, "to": to, "changes": changes }));
    } else if changes.is_empty() {
        outln!("{from} and {to} have the same configuration.");
    } else {
        outln!("From {from} to {to}:");
        changes.iter().for_each(|line| outln!("  {line}"));
    }
    Ok(())
}
