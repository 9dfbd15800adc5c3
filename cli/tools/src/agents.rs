//! Agents on this machine: which there are, and what they say of themselves.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::devices;

const OCF_ROOT: &str = "/usr/lib/ocf";
/// The provider whose agents are part of this program, and its agents, for where no other file has
/// the name.
const NATIVE_PROVIDER: &str = "systole";
const NATIVE: [&str; 5] = ["container", "dummy", "process", "stateful", "vip"];
/// Where systemd looks for units (`systemd.unit(5)`).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// How long an agent may take to say what it is, and how much it may say.
const PATIENCE: Duration = Duration::from_secs(10);
const TEXT_MAX: u64 = 1 << 20;

/// An agent by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agent {
    /// `ocf`, `systemd`, `stonith`, `lsb` or `service`.
    pub class: String,
    /// The provider, for `ocf`.
    pub provider: Option<String>,
    /// Its own name.
    pub name: String,
}

impl std::fmt::Display for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.provider {
            Some(provider) => write!(f, "{}:{provider}:{}", self.class, self.name),
            None => write!(f, "{}:{}", self.class, self.name),
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// Providers of OCF agents.
pub fn providers() -> Vec<String> {
    let mut names = names_in(&Path::new(OCF_ROOT).join("resource.d"));
    names.push(NATIVE_PROVIDER.to_owned());
    sorted(names)
}

/// Names of the OCF agents of a provider.
pub fn ocf(provider: &str) -> Vec<String> {
    let mut names = match is_plain(provider) {
        true => names_in(&Path::new(OCF_ROOT).join("resource.d").join(provider)),
        false => Vec::new(),
    };
    if provider == NATIVE_PROVIDER {
        names.extend(NATIVE.map(str::to_owned));
    }
    sorted(names)
}

/// Names of the agents of a class other than `ocf`.
pub fn other(class: &str) -> Vec<String> {
    let names = match class {
        "lsb" => names_in(Path::new("/etc/init.d")),
        "stonith" => devices::installed(),
        "systemd" | "service" => UNITS
            .iter()
            .flat_map(|dir| names_in(Path::new(dir)))
            .filter_map(|name| name.strip_suffix(".service").map(str::to_owned))
            .filter(|name| !name.ends_with('@'))
            .collect(),
        _ => Vec::new(),
    };
    sorted(names)
}

/// All agents but those of systemd and init, which are every service of the machine.
pub fn all() -> Vec<Agent> {
    ["ocf", "stonith"].into_iter().filter_map(of).flatten().collect()
}

/// The agents of a class, or of a provider (`ocf:PROVIDER`); none if there is no such class.
pub fn of(spec: &str) -> Option<Vec<Agent>> {
    let named = |class: &str, provider: Option<&str>, names: Vec<String>| {
        let agent =
            |name| Agent { class: class.to_owned(), provider: provider.map(str::to_owned), name };
        names.into_iter().map(agent).collect::<Vec<Agent>>()
    };
    match spec.split_once(':') {
        Some(("ocf", provider)) => Some(named("ocf", Some(provider), ocf(provider))),
        None if spec == "ocf" => {
            Some(providers().iter().flat_map(|p| named("ocf", Some(p), ocf(p))).collect())
        }
        None if matches!(spec, "lsb" | "stonith" | "systemd" | "service") => {
            Some(named(spec, None, other(spec)))
        }
        _ => None,
    }
}

/// What can be the name of a file in a folder of agents.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-+".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

impl Agent {
    /// Whether it can be called on this machine.
    pub fn is_installed(&self) -> bool {
        let provider = self.provider.as_deref().unwrap_or_default();
        match self.class.as_str() {
            "ocf" => is_plain(&self.name) && ocf(provider).contains(&self.name),
            "stonith" | "lsb" => other(&self.class).contains(&self.name),
            "systemd" => self.is_unit(),
            "service" => other("lsb").contains(&self.name) || self.is_unit(),
            _ => false,
        }
    }

    fn is_unit(&self) -> bool {
        let name = match self.name.contains('.') {
            true => self.name.clone(),
            false => format!("{}.service", self.name),
        };
        // An instance has its template's file.
        let template = name.split_once('@').and_then(|(stem, rest)| {
            rest.rsplit_once('.').map(|(_, suffix)| format!("{stem}@.{suffix}"))
        });
        let names = [Some(name), template];
        let is_file = |name: &String| {
            !name.contains('/') && UNITS.iter().any(|dir| Path::new(dir).join(name).exists())
        };
        names.iter().flatten().any(is_file)
    }

    /// What it prints of itself; nothing for units and init scripts.
    ///
    /// # Errors
    /// If it cannot be called, takes too long, or says nothing.
    pub fn metadata(&self) -> Result<String, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{self} does not say what it is: {why}");
        let mut command = match (self.class.as_str(), self.provider.as_deref()) {
            ("ocf", Some(provider)) if is_plain(provider) && is_plain(&self.name) => {
                self.ocf_command(provider, "meta-data")
            }
            ("stonith", _) => {
                let mut command = devices::command(&self.name).map_err(|(_, text)| text)?;
                command.args(["-o", "metadata"]);
                command
            }
            _ => return Err(failed(&"agents of this kind have nothing to say")),
        };
        let text = ask(&mut command).map_err(|error| failed(&error))?;
        match text.contains("<resource-agent") {
            true => Ok(text),
            false => Err(failed(&"it prints no meta-data")),
        }
    }

    /// Has a native agent look at its parameters, not at this machine. Others are not asked: what
    /// they do for that differs, and may take its time.
    ///
    /// # Errors
    /// What is wrong, in the agent's words.
    pub fn validate(&self, params: &[(String, String)]) -> Result<(), String> {
        let native = self.class == "ocf" && NATIVE.contains(&self.name.as_str());
        let provider = self.provider.as_deref().filter(|p| *p == NATIVE_PROVIDER);
        let Some(provider) = provider.filter(|_| native) else { return Ok(()) };
        let mut command = self.ocf_command(provider, "validate-all");
        for (name, value) in params {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        command.env("OCF_RESOURCE_INSTANCE", "test").stdin(Stdio::null());
        let Ok(done) = command.output() else { return Ok(()) };
        let stderr = String::from_utf8_lossy(&done.stderr);
        let reason = stderr.lines().rev().find_map(|l| l.strip_prefix("ocf-exit-reason:"));
        // 2 and 6: OCF Resource Agent API 1.1, "Return codes".
        match (done.status.code(), reason) {
            (Some(2 | 6), Some(reason)) => Err(reason.trim().to_owned()),
            _ => Ok(()),
        }
    }

    fn ocf_command(&self, provider: &str, action: &str) -> Command {
        let path: PathBuf = [OCF_ROOT, "resource.d", provider, &self.name].iter().collect();
        let mut command = if path.exists() || provider != NATIVE_PROVIDER {
            Command::new(&path)
        } else {
            let mut command = Command::new("/proc/self/exe");
            command.args(["agent", &self.name]);
            command
        };
        command.arg(action).env("OCF_ROOT", OCF_ROOT);
        command
    }
}

/// What a command prints, within bounds.
fn ask(command: &mut Command) -> std::io::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.map(|stdout| stdout.take(TEXT_MAX).read_to_end(&mut text));
        read.transpose().map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    let begun = Instant::now();
    while child.try_wait()?.is_none() && begun.elapsed() < PATIENCE {
        if reader.is_finished() && begun.elapsed() > Duration::from_secs(1) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // One that has ended is not there to be killed.
    let _ = child.kill();
    child.wait()?;
    match begun.elapsed() < PATIENCE {
        true => reader.join().unwrap_or_else(|_| Ok(String::new())),
        false => Err(std::io::Error::other("it takes too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_agents_are_listed_and_others_are_not_invented() {
        assert!(providers().contains(&NATIVE_PROVIDER.to_owned()));
        assert!(ocf("systole").contains(&"vip".to_owned()));
        let agent = |class: &str, provider: Option<&str>, name: &str| Agent {
            class: class.to_owned(),
            provider: provider.map(str::to_owned),
            name: name.to_owned(),
        };
        assert!(agent("ocf", Some("systole"), "vip").is_installed());
        assert!(agent("stonith", None, "fence_ipmilan").is_installed());
        for missing in [
            agent("ocf", Some("systole"), "ip=10.0.0.1"),
            agent("ocf", Some(".."), "vip"),
            agent("ocf", Some("systole"), "../systole/vip"),
            agent("stonith", None, "fence_nothing"),
            agent("systemd", None, "../x"),
            agent("nonsense", None, "vip"),
        ] {
            assert!(!missing.is_installed(), "{missing}");
            assert!(missing.metadata().is_err(), "{missing}");
        }
    }

    #[test]
    fn an_agent_that_says_nothing_or_is_not_there_is_an_error() {
        assert!(ask(&mut Command::new("/no/such/agent")).is_err());
        let mut echo = Command::new("/bin/sh");
        echo.args(["-c", "echo hello"]);
        assert_eq!(ask(&mut echo).ok().as_deref(), Some("hello\n"));
    }
}
