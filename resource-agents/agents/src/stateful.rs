//! `stateful`: a promotable resource that is nothing but a file holding its role.

use std::process::{Command, Stdio};

use crate::metadata::{Action, Kind, Metadata, Parameter};
use crate::ocf::{Context, ExitCode, Failure};
use crate::statefile::StateFile;

pub(crate) const METADATA: Metadata = Metadata {
    name: "stateful",
    short: "Pretends to run something that can be promoted",
    long: "Keeps a file with its role, and a promotion score for each host. Does nothing else; \
           meant for trying out and testing promotable clones.",
    parameters: &[
        Parameter::new(
            "state",
            Kind::Text,
            None,
            "State file",
            "Absolute path of the file that holds the role. By default it is named after the \
             resource and lies where it does not outlive a restart of the host.",
        )
        .unique(),
        Parameter::new(
            "promoted_score",
            Kind::Integer,
            Some("10"),
            "Score while promoted",
            "Promotion score the host has while the resource is promoted on it.",
        )
        .reloadable(),
        Parameter::new(
            "unpromoted_score",
            Kind::Integer,
            Some("5"),
            "Score while unpromoted",
            "Promotion score the host has while the resource runs unpromoted on it.",
        )
        .reloadable(),
        Parameter::new(
            "notify_log",
            Kind::Text,
            None,
            "File for notifications",
            "If set, each notification adds a line to this file: type, operation, hosts.",
        )
        .reloadable(),
    ],
    actions: &[
        Action::new("start", 20),
        Action::new("stop", 20),
        Action::monitor(20, 10, Some("Promoted")),
        Action::monitor(20, 11, Some("Unpromoted")),
        Action::new("promote", 20),
        Action::new("demote", 20),
        Action::new("notify", 20),
        Action::new("reload-agent", 20),
        Action::new("validate-all", 20),
        Action::new("meta-data", 5),
    ],
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Stopped,
    Unpromoted,
    Promoted,
}

pub(crate) fn act(context: &Context, action: &str) -> Result<(), Failure> {
    let possible = StateFile::possible(context, "stateful");
    if action == "stop" {
        // Before the role is read: a damaged state file must not keep it from stopping.
        publish(None);
        return possible.map_or(Ok(()), |state| state.remove());
    }
    if action == "monitor" {
        let Some(state) = possible else { return Err(Failure::answer(ExitCode::NotRunning)) };
        return match role(&state)? {
            Role::Unpromoted => Ok(()),
            Role::Promoted => Err(Failure::answer(ExitCode::Promoted)),
            Role::Stopped => Err(Failure::answer(ExitCode::NotRunning)),
        };
    }
    let state = StateFile::of(context, "stateful")?;
    let scores = Scores::of(context)?;
    if action == "validate-all" {
        return Ok(());
    }
    let role = role(&state)?;
    match action {
        "start" => {
            if role == Role::Promoted {
                return Err(Failure::answer(ExitCode::Promoted));
            }
            state.write("unpromoted")?;
            publish(Some(scores.unpromoted));
            Ok(())
        }
        "promote" => {
            require_running(role)?;
            state.write("promoted")?;
            publish(Some(scores.promoted));
            Ok(())
        }
        "demote" => {
            require_running(role)?;
            state.write("unpromoted")?;
            publish(Some(scores.unpromoted));
            Ok(())
        }
        "reload-agent" => {
            require_running(role)?;
            let promoted = role == Role::Promoted;
            publish(Some(if promoted { scores.promoted } else { scores.unpromoted }));
            Ok(())
        }
        "notify" => note_notification(context),
        _ => Err(Failure::answer(ExitCode::Unimplemented)),
    }
}

fn role(state: &StateFile) -> Result<Role, Failure> {
    match state.read()?.as_deref() {
        None => Ok(Role::Stopped),
        Some("promoted") => Ok(Role::Promoted),
        Some("unpromoted") => Ok(Role::Unpromoted),
        Some(other) => {
            let path = state.path().display();
            Err(Failure::generic(format!("State file {path} holds no role but \"{other}\"")))
        }
    }
}

fn require_running(role: Role) -> Result<(), Failure> {
    match role {
        Role::Stopped => Err(Failure::new(ExitCode::NotRunning, "Not running")),
        Role::Unpromoted | Role::Promoted => Ok(()),
    }
}

struct Scores {
    promoted: i32,
    unpromoted: i32,
}

impl Scores {
    fn of(context: &Context) -> Result<Self, Failure> {
        let score = |name| {
            Ok(context.parsed::<i32>(name, "a whole number")?.expect("metadata has a default"))
        };
        Ok(Self { promoted: score("promoted_score")?, unpromoted: score("unpromoted_score")? })
    }
}

/// Sets or removes this host's promotion score. The resource itself works without it, so a
/// cluster that cannot be reached (or is not there, as under a tester) is only worth a warning.
fn publish(score: Option<i32>) {
    let value = score.map(|score| format!("--update={score}"));
    let change = value.as_deref().unwrap_or("--delete");
    // The tool takes the resource's name from OCF_RESOURCE_INSTANCE.
    let attempts = [
        ("crm_attribute", vec!["--promotion", "--lifetime=reboot", change]),
        ("crm_master", vec!["--lifetime=reboot", change]),
    ];
    for (tool, arguments) in attempts {
        let mut command = Command::new(tool);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => return,
            Ok(status) => {
                eprintln!("{tool} could not change the promotion score ({status})");
                return;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => eprintln!("{tool} could not be started: {error}"),
        }
    }
}

fn note_notification(context: &Context) -> Result<(), Failure> {
    let Some(path) = context.parameter("notify_log") else { return Ok(()) };
    let value = |name: &str| {
        context.variable(&format!("OCF_RESKEY_CRM_meta_notify_{name}")).unwrap_or("-").trim()
    };
    let operation = value("operation");
    let hosts = value(&format!("{operation}_uname"));
    let line = format!("{} {operation} {hosts}\n", value("type"));
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
        .map_err(|error| Failure::generic(format!("Cannot write notify_log {path}: {error}")))
}
