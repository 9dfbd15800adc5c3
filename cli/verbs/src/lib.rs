//! The operator's verbs, in one grammar: `systole NOUN VERB …`.
//!
//! Every query takes `--json`, with which errors and warnings are JSON as well: an object a line, on
//! the standard error. Verbs that change something do it in one CIB operation and say what
//! they did; an error says what to do about it.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

/// Prints on the standard output, where a reader may go away at any time.
macro_rules! out {
    ($($part:tt)*) => { cli_tools::print::print(format_args!($($part)*)) };
}

/// Prints a line on the standard output.
macro_rules! outln {
    ($($part:tt)*) => { out!("{}\n", format_args!($($part)*)) };
}

/// Prints a line on the standard error.
macro_rules! complain {
    ($($part:tt)*) => {
        cli_tools::print::complain(format_args!("{}\n", format_args!($($part)*)))
    };
}

mod advice;
mod agents;
mod apply;
mod changes;
mod cib;
mod cluster;
mod constraint;
mod demo;
mod explain;
mod history;
mod node;
mod property;
mod resource;
mod session;
mod status;
mod stonith;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::session::Session;

/// What the daemon is to be started with; the binary links the two.
#[derive(Clone, Debug, clap::Args)]
pub struct DaemonArgs {
    /// The cluster's configuration
    #[arg(long, default_value = "/etc/corosync/corosync.conf")]
    pub config: PathBuf,
    /// The folder for the CIB and other state
    #[arg(long, default_value = "/var/lib/pacemaker")]
    pub state_dir: PathBuf,
    /// The folder for the socket (default: $SYSTOLE_RUN_DIR, else /run/systole)
    #[arg(long)]
    pub run_dir: Option<PathBuf>,
    /// The local node's name, where host name and addresses do not tell
    #[arg(long)]
    pub node: Option<String>,
}

/// What only the binary can do, because it needs the daemon or the agents.
pub enum Outer {
    /// Run the daemon.
    Daemon(DaemonArgs),
    /// Make a key.
    Keygen(PathBuf),
}

#[derive(Parser)]
#[command(
    name = "systole",
    version,
    about = "High-availability cluster resource manager with fencing",
    arg_required_else_help = true
)]
struct Cli {
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Make changes too that cannot be right: unknown names, missing agents, invalid values
    #[arg(long, global = true)]
    force: bool,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// Run the cluster daemon of this node
    Daemon(DaemonArgs),
    /// Make the cluster's secret key
    Keygen {
        /// Where to
        #[arg(long, default_value = "/etc/corosync/authkey")]
        out: PathBuf,
    },
    /// Start a three-node cluster on this machine and show a failover
    Demo(demo::Args),
    /// What runs where, what failed, and why
    Status(status::Args),
    /// Why a resource is, or is not, where it is; or why each action is planned
    Explain(explain::Args),
    /// Make the configuration what a file says, after showing what that means
    Apply(apply::Args),
    /// Who changed what, what the cluster did because of it, and the way back
    History(history::Args),
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Resources, groups and clones
    #[command(subcommand)]
    Resource(resource::Verb),
    /// Where and in which order resources run
    #[command(subcommand)]
    Constraint(constraint::Verb),
    /// Fence devices and fencing
    #[command(subcommand)]
    Stonith(stonith::Verb),
    /// Nodes
    #[command(subcommand)]
    Node(node::Verb),
    /// Options of the cluster
    #[command(subcommand)]
    Property(property::Verb),
    /// The cluster information base as a whole
    #[command(subcommand)]
    Cib(cib::Verb),
    /// Print a completion script for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Runs a command line (with the program's name first); the exit status, or what the binary has
/// to do itself.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<i32, Outer> {
    let args: Vec<OsString> = args.into_iter().collect();
    let wants_json = args.iter().skip(1).take_while(|a| *a != "--").any(|a| a == "--json");
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json => {
            let text = error.to_string();
            let text = text.trim().trim_start_matches("error: ");
            return Ok(fail(text, crm_api::exit::USAGE, true));
        }
        Err(error) => {
            // Help and version are errors to clap; a closed standard output is nobody's loss.
            let _ = error.print();
            return Ok(if error.use_stderr() { crm_api::exit::USAGE } else { 0 });
        }
    };
    let result = match cli.noun {
        Noun::Daemon(args) => return Err(Outer::Daemon(args)),
        Noun::Keygen { out } => return Err(Outer::Keygen(out)),
        Noun::Demo(args) => demo::run(&args).map(|()| 0),
        Noun::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "systole", &mut script);
            out!("{}", String::from_utf8_lossy(&script));
            Ok(0)
        }
        Noun::Man => man().map(|()| 0),
        Noun::Explain(args) if !args.needs_cluster() => {
            explain::run_on_file(&args, cli.json).map(|()| 0)
        }
        Noun::Cluster(cluster::Verb::Status) => {
            let session = Session::for_command(cli.json, cli.force);
            session.and_then(|mut session| cluster::status(&mut session))
        }
        Noun::Cluster(verb) => match verb.run_alone(cli.json) {
            Ok(result) => result.map(|()| 0),
            Err(verb) => connected(Noun::Cluster(verb), cli.json, cli.force).map(|()| 0),
        },
        Noun::Resource(verb) => match verb.run_alone(cli.json) {
            Ok(result) => result.map(|()| 0),
            Err(verb) => connected(Noun::Resource(verb), cli.json, cli.force).map(|()| 0),
        },
        Noun::Cib(verb) => match verb.run_alone() {
            Ok(result) => result.map(|()| 0),
            Err(verb) => connected(Noun::Cib(verb), cli.json, cli.force).map(|()| 0),
        },
        Noun::History(args) => history::run(args, cli.json),
        Noun::Apply(args) => {
            let session = Session::for_command(cli.json, cli.force);
            session.and_then(|mut session| apply::run(&mut session, &args))
        }
        noun => connected(noun, cli.json, cli.force).map(|()| 0),
    };
    let status = result.unwrap_or_else(|error| {
        let code = error.downcast_ref::<crm_ipc::Error>().map(crm_ipc::Error::exit_code);
        fail(&format!("{error:#}"), code.unwrap_or(crm_api::exit::ERROR), cli.json)
    });
    Ok(cli_tools::print::exit_status(status))
}

/// Says why a command fails; its exit status.
fn fail(text: &str, status: i32, json: bool) -> i32 {
    match json {
        true => complain!("{}", serde_json::json!({ "error": text, "exit_status": status })),
        false => complain!("systole: {text}"),
    }
    status
}

/// Runs a command line (without the program's name) that is one of several which belong together.
fn run_in(session: &mut Session, words: &[String]) -> anyhow::Result<()> {
    let words = std::iter::once("systole").chain(words.iter().map(String::as_str));
    carry_out(Cli::try_parse_from(words)?.noun, session)
}

fn connected(noun: Noun, json: bool, force: bool) -> anyhow::Result<()> {
    carry_out(noun, &mut Session::for_command(json, force)?)
}

fn carry_out(noun: Noun, session: &mut Session) -> anyhow::Result<()> {
    match noun {
        Noun::Status(args) => status::run(session, &args),
        Noun::Explain(args) => explain::run(session, &args),
        Noun::Apply(args) => apply::run(session, &args).map(|_| ()),
        Noun::Cluster(verb) => cluster::run(session, verb),
        Noun::Resource(verb) => resource::run(session, verb),
        Noun::Constraint(verb) => constraint::run(session, verb),
        Noun::Stonith(verb) => stonith::run(session, verb),
        Noun::Node(verb) => node::run(session, verb),
        Noun::Property(verb) => property::run(session, verb),
        Noun::Cib(verb) => cib::run(session, verb),
        Noun::History(args) => history::run(args, session.json).map(|_| ()),
        Noun::Daemon(_)
        | Noun::Keygen { .. }
        | Noun::Demo(_)
        | Noun::Completion { .. }
        | Noun::Man => Ok(()),
    }
}

fn man() -> anyhow::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    out!("{}", String::from_utf8_lossy(&page));
    Ok(())
}

/// Prints a list as JSON, or a line each as `line` says.
fn print_list<T: serde::Serialize>(json: bool, items: &[T], line: impl Fn(&T) -> String) {
    if json {
        print_json(&items);
    } else {
        items.iter().for_each(|item| outln!("{}", line(item)));
    }
}

fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => outln!("{text}"),
        Err(error) => complain!("systole: cannot print as JSON: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_an_exit_status() {
        let run = |words: &str| run(words.split(' ').map(OsString::from)).ok();
        assert_eq!(run("systole nonsense"), Some(crm_api::exit::USAGE));
        assert_eq!(run("systole --version"), Some(0));
    }
}
