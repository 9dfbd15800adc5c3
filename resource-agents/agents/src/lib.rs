//! The native OCF agents: vip, container, dummy, stateful.
//!
//! Each agent is a process of its own that speaks the OCF Resource Agent API 1.1: the action is
//! the first argument, parameters come as `OCF_RESKEY_*` variables, the result is the exit code
//! and, for people, a line `ocf-exit-reason:...` on standard error. All live in one executable;
//! the name it is started by (`.../resource.d/systole/vip`) chooses the agent.
//!
//! Invariants:
//! - every action is idempotent: starting what runs and stopping what is stopped succeed;
//! - `monitor` says "running" only after it has looked, and "not running" only when it is sure;
//! - `stop` succeeds only when the resource is seen to be gone;
//! - `monitor` and `stop` answer by what is there, whatever the parameters: what cannot have been
//!   started with them is not running (a stop that failed for a typo would cost the node its power);
//! - a parameter is never executed by a shell unless its description says so.

mod container;
mod dummy;
mod metadata;
mod ocf;
mod process;
mod statefile;
mod stateful;
mod vip;

pub use ocf::ExitCode;

use std::collections::BTreeMap;
use std::path::Path;

use metadata::Metadata;
use ocf::{Context, Failure};

/// Provider the agents are installed under: `ocf:systole:NAME`.
pub const PROVIDER: &str = "systole";

/// One agent: its description and what it does for each action it supports.
struct Agent {
    metadata: &'static Metadata,
    /// Carries out one action that its metadata lists.
    act: fn(&Context, &str) -> Result<(), Failure>,
}

/// The agents in this executable.
const AGENTS: &[Agent] = &[
    Agent { metadata: &vip::METADATA, act: vip::act },
    Agent { metadata: &container::METADATA, act: container::act },
    Agent { metadata: &dummy::METADATA, act: dummy::act },
    Agent { metadata: &process::METADATA, act: process::act },
    Agent { metadata: &stateful::METADATA, act: stateful::act },
];

fn find(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.metadata.name == name)
}

/// Names of the agents, to be installed as `resource.d/systole/NAME`.
pub fn names() -> impl Iterator<Item = &'static str> {
    AGENTS.iter().map(|agent| agent.metadata.name)
}

/// The agent meant when the executable was started as `path`, if it was started as one: the
/// folder above the name must be the provider's, so that a stray program called `dummy` is not.
pub fn name_from_path(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?;
    (folder == PROVIDER).then(|| find(name))?.map(|agent| agent.metadata.name)
}

/// Runs the agent `name` with `args` (the action first) in this process's environment, and
/// returns the OCF exit code.
pub fn run(name: &str, args: &[String]) -> i32 {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    run_with(name, args, environment).code()
}

fn run_with(name: &str, args: &[String], environment: BTreeMap<String, String>) -> ExitCode {
    let Some(agent) = find(name) else {
        eprintln!("ocf-exit-reason:There is no agent called {name}");
        return ExitCode::NotInstalled;
    };
    let action = args.first().map_or("", String::as_str);
    match action {
        "meta-data" | "metadata" => {
            say(&agent.metadata.to_xml());
            return ExitCode::Success;
        }
        "usage" | "help" | "--help" | "-h" => {
            say(&format!("{}\n", agent.metadata.usage()));
            return ExitCode::Success;
        }
        _ if !agent.metadata.supports(action) => {
            eprintln!("{}", agent.metadata.usage());
            return ExitCode::Unimplemented;
        }
        _ => {}
    }
    let context = Context::new(environment, action, agent.metadata);
    match (agent.act)(&context, action) {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            if let Some(reason) = &failure.reason {
                eprintln!("ocf-exit-reason:{}", reason.replace('\n', " "));
            }
            failure.code
        }
    }
}

/// A reader that went away is no reason to fail.
fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
