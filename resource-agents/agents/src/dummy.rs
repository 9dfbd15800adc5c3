//! `dummy`: a resource that is nothing but a file, for trying out a cluster.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::thread::sleep;
use std::time::Duration;

use crate::metadata::{Action, Kind, Metadata, Parameter};
use crate::ocf::{Context, ExitCode, Failure};
use crate::statefile::StateFile;

pub(crate) const METADATA: Metadata = Metadata {
    name: "dummy",
    short: "Pretends to run something",
    long: "Keeps a file while it is \"running\". Does nothing else; meant for trying out and \
           testing a cluster. The failure knobs make chosen actions fail on chosen hosts.",
    parameters: &[
        Parameter::new(
            "state",
            Kind::Text,
            None,
            "State file",
            "Absolute path of the file whose existence means \"running\". By default it is named \
             after the resource and lies where it does not outlive a restart of the host.",
        )
        .unique(),
        Parameter::new(
            "passwd",
            Kind::Text,
            None,
            "A password that does nothing",
            "Ignored; for trying out secret parameters.",
        ),
        Parameter::new(
            "fake",
            Kind::Text,
            Some("dummy"),
            "A parameter that does nothing",
            "Ignored; a change of it is carried out by reload-agent instead of a restart.",
        )
        .reloadable(),
        Parameter::new(
            "op_sleep",
            Kind::Integer,
            Some("0"),
            "Seconds each action takes",
            "Number of seconds to sleep in every action; 0 for none.",
        )
        .reloadable(),
        Parameter::new(
            "fail_start_on",
            Kind::Text,
            None,
            "Hosts on which start fails",
            "Names of hosts, separated by spaces or commas, on which the start action fails.",
        )
        .reloadable(),
        Parameter::new(
            "fail_stop_on",
            Kind::Text,
            None,
            "Hosts on which stop fails",
            "Names of hosts, separated by spaces or commas, on which the stop action fails.",
        )
        .reloadable(),
        Parameter::new(
            "envfile",
            Kind::Text,
            None,
            "File for the environment",
            "If set, each action writes its environment to this file, one variable per line.",
        )
        .reloadable(),
    ],
    actions: &[
        Action::new("start", 20),
        Action::new("stop", 20),
        Action::monitor(20, 10, None),
        Action::new("reload-agent", 20),
        Action::new("migrate_to", 20),
        Action::new("migrate_from", 20),
        Action::new("validate-all", 20),
        Action::new("meta-data", 5),
    ],
};

pub(crate) fn act(context: &Context, action: &str) -> Result<(), Failure> {
    if matches!(action, "monitor" | "stop") {
        return look_or_stop(context, action);
    }
    let state = StateFile::of(context, "dummy")?;
    let pause_s = context.parsed::<u32>("op_sleep", "a number of seconds")?.unwrap_or(0);
    if action == "validate-all" {
        return Ok(());
    }
    write_environment(context)?;
    sleep(Duration::from_secs(pause_s.into()));
    match action {
        "start" => {
            fail_if_listed(context, "fail_start_on", action)?;
            state.write("running")
        }
        "reload-agent" => require_running(&state),
        "migrate_to" => {
            require_running(&state)?;
            let target = context.variable("OCF_RESKEY_CRM_meta_migrate_target").unwrap_or("-");
            eprintln!("moving live to {target}");
            state.remove()
        }
        "migrate_from" => state.write("running"),
        _ => Err(Failure::answer(ExitCode::Unimplemented)),
    }
}

/// The actions that go by what is there.
fn look_or_stop(context: &Context, action: &str) -> Result<(), Failure> {
    if let Err(failure) = write_environment(context) {
        eprintln!("{}", failure.reason.unwrap_or_default());
    }
    let pause_s = context.readable::<u32>("op_sleep").unwrap_or(0);
    sleep(Duration::from_secs(pause_s.into()));
    let state = StateFile::possible(context, "dummy");
    if action == "stop" {
        fail_if_listed(context, "fail_stop_on", action)?;
        return state.map_or(Ok(()), |state| state.remove());
    }
    let Some(state) = state else { return Err(Failure::answer(ExitCode::NotRunning)) };
    match state.read()? {
        Some(_) => Ok(()),
        None if context.is_probe() => Err(Failure::answer(ExitCode::NotRunning)),
        None => Err(Failure::new(
            ExitCode::NotRunning,
            format!("State file {} is missing", state.path().display()),
        )),
    }
}

fn require_running(state: &StateFile) -> Result<(), Failure> {
    match state.read()? {
        Some(_) => Ok(()),
        None => Err(Failure::new(ExitCode::NotRunning, "Not running")),
    }
}

fn fail_if_listed(context: &Context, parameter: &str, action: &str) -> Result<(), Failure> {
    let (Some(hosts), Some(node)) = (context.parameter(parameter), context.node()) else {
        return Ok(());
    };
    if hosts.split([' ', ',']).any(|host| host == node) {
        let reason = format!("{action} fails on {node} because {parameter} asks for it");
        return Err(Failure::generic(reason));
    }
    Ok(())
}

fn write_environment(context: &Context) -> Result<(), Failure> {
    let Some(path) = context.parameter("envfile") else { return Ok(()) };
    let mut text = String::new();
    for (name, value) in context.environment() {
        text.push_str(&format!("{name}={value}\n"));
    }
    // The environment may hold secret parameters.
    let file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|error| Failure::generic(format!("Cannot write envfile {path}: {error}")))
}
