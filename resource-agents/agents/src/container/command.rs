//! Reaching the runtime through its command.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};
use std::time::Duration;

use super::{Config, Runtime, State};
use crate::ocf::{ExitCode, Failure};

/// The runtime's command, known to exist.
pub(super) struct Command {
    path: PathBuf,
}

/// Splits at blanks; single and double quotes keep words together, a backslash takes the next
/// character as it is. `None` if a quote does not end.
pub(super) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(characters.next()?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    Some(words)
}

impl Command {
    /// Finds the command for the parameter `runtime`.
    pub(super) fn find(runtime: &str) -> Result<Self, Failure> {
        let wanted: &[&str] = match runtime {
            "auto" => &["podman", "docker"],
            "podman" | "docker" => &[runtime],
            path if path.starts_with('/') => {
                let path = PathBuf::from(path);
                return if path.is_file() {
                    Ok(Self { path })
                } else {
                    Err(missing(&path.display().to_string()))
                };
            }
            other => {
                let reason = format!("runtime={other} is neither podman nor docker nor a path");
                return Err(Failure::new(ExitCode::Configured, reason));
            }
        };
        let folders = std::env::var_os("PATH").unwrap_or_default();
        for name in wanted {
            let found = std::env::split_paths(&folders)
                .map(|folder| folder.join(name))
                .find(|path| path.is_file());
            if let Some(path) = found {
                return Ok(Self { path });
            }
        }
        Err(missing(&wanted.join(" nor ")))
    }

    fn call(&self, arguments: &[&str]) -> Result<Output, Failure> {
        Process::new(&self.path)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::generic(format!("Cannot run {}: {error}", self.name())))
    }

    fn call_well(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.call(arguments)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let verb = arguments.first().copied().unwrap_or_default();
        Err(Failure::generic(format!("{} {verb} failed: {}", self.name(), complaint(&output))))
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(Path::new("runtime").as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Creates and starts the container.
    pub(super) fn run(&self, config: &Config) -> Result<(), Failure> {
        let has_image = self.call(&["image", "inspect", &config.image])?.status.success();
        if !has_image {
            if !config.allow_pull {
                let reason = format!("Image {} is not on this host", config.image);
                return Err(Failure::new(ExitCode::NotInstalled, reason));
            }
            self.call_well(&["pull", &config.image])?;
        }
        let mut arguments = vec!["run", "--detach", "--name", &config.name];
        if let Some(network) = &config.network {
            arguments.extend(["--network", network]);
        }
        for port in &config.ports {
            arguments.extend(["--publish", port]);
        }
        arguments.extend(config.run_opts.iter().map(String::as_str));
        arguments.push(&config.image);
        arguments.extend(config.run_cmd.iter().map(String::as_str));
        self.call_well(&arguments).map(|_| ())
    }

    /// Runs a check by the container's shell.
    pub(super) fn check(&self, name: &str, check: &str) -> Result<Result<(), String>, Failure> {
        let output = self.call(&["exec", name, "sh", "-c", check])?;
        if output.status.success() {
            return Ok(Ok(()));
        }
        let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
        Ok(Err(format!("monitor_cmd ended with {code}: {}", complaint(&output))))
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(ExitCode::NotInstalled, format!("{what} is not installed"))
}

/// The last line the command wrote to its error output, cut to a sane length.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    line.chars().take(300).collect()
}

impl Runtime for Command {
    fn state(&self, name: &str) -> Result<State, Failure> {
        const FORMAT: &str = "{{.State.Running}} {{.State.Status}} {{.State.ExitCode}}";
        let output = self.call(&["container", "inspect", "--format", FORMAT, name])?;
        if !output.status.success() {
            let complaint = complaint(&output).to_ascii_lowercase();
            // Any other failure says nothing about the container.
            if complaint.contains("no such") || complaint.contains("no container") {
                return Ok(State::Absent);
            }
            let reason = format!("{} inspect failed: {complaint}", self.name());
            return Err(Failure::generic(reason));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut words = text.split_whitespace();
        let running = words.next() == Some("true");
        let status = words.next().unwrap_or("unknown").to_owned();
        let exit_code = words.next().and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok(if running { State::Running } else { State::Ended { status, exit_code } })
    }

    fn stop(&self, name: &str, patience: Duration) -> Result<(), Failure> {
        let seconds = patience.as_secs().to_string();
        self.call_well(&["stop", "--time", &seconds, name]).map(|_| ())
    }

    fn kill(&self, name: &str) -> Result<(), Failure> {
        self.call_well(&["kill", name]).map(|_| ())
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        self.call_well(&["rm", "--force", name]).map(|_| ())
    }

    fn resume(&self, name: &str) -> Result<(), Failure> {
        self.call_well(&["start", name]).map(|_| ())
    }
}

#[cfg(test)]
mod tests;
