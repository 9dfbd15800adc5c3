//! Fence agents as processes: options on standard input, the verdict in the exit code.
//!
//! Source: the fence-agents API (`FenceAgentAPI.md` of the fence-agents project).

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::oneshot;

use crate::process;

/// Where fence agents are looked for.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Runs a fence agent; its standard output if it exits with 0, else why it did not.
pub(crate) async fn run(
    agent: &str,
    options: Vec<(String, String)>,
    kill: oneshot::Receiver<()>,
) -> Result<String, String> {
    let command = command(agent)?;
    let mut input = Vec::new();
    for (name, value) in options {
        // A line break would smuggle in another option.
        let value = value.replace(['\n', '\r'], " ");
        input.extend_from_slice(format!("{name}={value}\n").as_bytes());
    }
    let ended = process::run(command, input, kill)
        .await
        .map_err(|error| format!("the fence agent {agent} cannot be run: {error}"))?;
    match ended.status.code() {
        Some(0) => Ok(ended.stdout),
        Some(code) => Err(match last_line(&ended.stderr).or(last_line(&ended.stdout)) {
            Some(line) => line.to_owned(),
            None => format!("{agent} ended with code {code}"),
        }),
        None => Err(format!("{agent} was ended before it was done")),
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// The installed program of that name, else the agent that is part of this program.
fn command(agent: &str) -> Result<Command, String> {
    let plain = agent.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !agent.starts_with("fence_") || !plain {
        return Err(format!("'{agent}' is no name of a fence agent"));
    }
    if let Some(path) = installed(agent) {
        return Ok(Command::new(path));
    }
    if fence_is_native(agent) {
        let mut command = Command::new("/proc/self/exe");
        command.arg(agent);
        return Ok(command);
    }
    Err(format!("the fence agent {agent} is not installed on this node"))
}

fn installed(agent: &str) -> Option<PathBuf> {
    let own = std::env::var_os("HA_SBIN_DIR").map(PathBuf::from);
    let folders = own.into_iter().chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(agent)).find(|path: &PathBuf| Path::exists(path))
}

fn fence_is_native(agent: &str) -> bool {
    matches!(agent, "fence_ipmilan" | "fence_systole_ipmi")
}

/// What a device's monitor reads: its parameters without those that are for the cluster.
pub(crate) fn monitor_options(params: &[(String, String)]) -> Vec<(String, String)> {
    let own = params.iter().filter(|(name, _)| {
        !name.starts_with("CRM_meta_") && !name.starts_with("pcmk_") && name != "crm_feature_set"
    });
    let action = ("action".to_owned(), "monitor".to_owned());
    std::iter::once(action).chain(own.cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_that_are_none_and_missing_agents_are_refused() {
        for (agent, expected) in [
            ("../bin/sh", "no name"),
            ("sh", "no name"),
            ("fence_/x", "no name"),
            ("fence_nothing_of_the_kind", "not installed"),
        ] {
            let (_kill, killed) = oneshot::channel();
            let error = run(agent, vec![], killed).await.unwrap_err();
            assert!(error.contains(expected), "{agent}: {error}");
        }
    }

    #[test]
    fn a_monitor_gets_no_cluster_parameters() {
        let params = [("ip", "x"), ("pcmk_host_list", "n1"), ("CRM_meta_timeout", "1")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        let names: Vec<String> = monitor_options(&params).into_iter().map(|o| o.0).collect();
        assert_eq!(names, ["action", "ip"]);
    }
}
