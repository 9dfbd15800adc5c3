//! `process`: one program that runs in the foreground, kept as a resource.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, setsid};

use crate::metadata::{Action, Kind, Metadata, Parameter};
use crate::ocf::{Context, ExitCode, Failure};
use crate::statefile::StateFile;

/// How long a program that ends by itself right after its start is waited for.
const SETTLE: Duration = Duration::from_millis(50);
/// How long the program may take to end before it is killed.
const STOP_TIMEOUT_S: u64 = 10;

pub(crate) const METADATA: Metadata = Metadata {
    name: "process",
    short: "Runs a program",
    long: "Runs a program that stays in the foreground, in a session of its own, and ends its \
           whole process group on stop.",
    parameters: &[
        Parameter::new(
            "command",
            Kind::Text,
            None,
            "Program with arguments",
            "Absolute path of the program and its arguments, separated by blanks. No shell is \
             involved, so there is no quoting.",
        )
        .required(),
        Parameter::new(
            "state",
            Kind::Text,
            None,
            "State file",
            "Absolute path of the file that keeps the process id. By default it is named after \
             the resource and lies where it does not outlive a restart of the host.",
        )
        .unique(),
        Parameter::new(
            "stop_timeout",
            Kind::Integer,
            Some("10"),
            "Seconds until it is killed",
            "How many seconds the program may take to end after SIGTERM before it gets SIGKILL.",
        )
        .reloadable(),
    ],
    actions: &[
        Action::new("start", 20),
        Action::new("stop", 30),
        Action::monitor(20, 10, None),
        Action::new("reload-agent", 20),
        Action::new("validate-all", 20),
        Action::new("meta-data", 5),
    ],
};

pub(crate) fn act(context: &Context, action: &str) -> Result<(), Failure> {
    if matches!(action, "monitor" | "stop") {
        return match (StateFile::possible(context, "process"), action) {
            (Some(state), "monitor") => monitor(context, &state),
            (Some(state), _) => stop(context, &state),
            (None, "monitor") => Err(Failure::answer(ExitCode::NotRunning)),
            (None, _) => Ok(()),
        };
    }
    let command = context.parameter("command").unwrap_or_default().to_owned();
    let mut words = command.split_whitespace();
    let Some(program) = words.next().filter(|p| Path::new(p).is_absolute()) else {
        return Err(Failure::new(
            ExitCode::Configured,
            format!("command has to begin with the absolute path of a program, not \"{command}\""),
        ));
    };
    let state = StateFile::of(context, "process")?;
    match action {
        "validate-all" | "start" if !Path::new(program).exists() => Err(Failure::new(
            ExitCode::NotInstalled,
            format!("{program} is not there on this node"),
        )),
        "validate-all" => Ok(()),
        "start" => start(&state, program, words),
        "reload-agent" => monitor(context, &state),
        _ => Err(Failure::answer(ExitCode::Unimplemented)),
    }
}

fn monitor(context: &Context, state: &StateFile) -> Result<(), Failure> {
    if running(state)?.is_some() {
        return Ok(());
    }
    if state.read()?.is_some() && !context.is_probe() {
        let program = context.parameter("command").unwrap_or_default();
        let program = program.split_whitespace().next().unwrap_or("the program");
        return Err(Failure::new(ExitCode::NotRunning, format!("{program} has ended by itself")));
    }
    Err(Failure::answer(ExitCode::NotRunning))
}

/// What the state file says: the process and when it was started, in clock ticks since the host's
/// start, so that a number that was given to another process is not taken for ours.
fn running(state: &StateFile) -> Result<Option<Pid>, Failure> {
    let Some(text) = state.read()? else { return Ok(None) };
    let mut numbers = text.split_whitespace();
    let pid = numbers.next().and_then(|n| n.parse::<i32>().ok());
    let started = numbers.next().and_then(|n| n.parse::<u64>().ok());
    let (Some(pid), Some(started)) = (pid, started) else { return Ok(None) };
    Ok((start_time(pid) == Some(started)).then(|| Pid::from_raw(pid)))
}

/// Field 22 of `/proc/PID/stat` (proc(5)); none for a process that has ended.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let started = fields.nth(18)?.parse().ok()?;
    (!ended).then_some(started)
}

fn start<'a>(
    state: &StateFile,
    program: &str,
    arguments: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    if running(state)?.is_some() {
        return Ok(());
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            Ok(())
        });
    }
    let mut child = command
        .spawn()
        .map_err(|error| Failure::generic(format!("{program} cannot be started: {error}")))?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    let started = start_time(pid).unwrap_or(0);
    state.write(&format!("{pid} {started}"))?;
    sleep(SETTLE);
    match child.try_wait() {
        Ok(Some(status)) => {
            state.remove()?;
            Err(Failure::generic(format!("{program} ended right after its start: {status}")))
        }
        _ => Ok(()),
    }
}

fn stop(context: &Context, state: &StateFile) -> Result<(), Failure> {
    let Some(pid) = running(state)? else { return state.remove() };
    let patience_s = context.readable::<u64>("stop_timeout").unwrap_or(STOP_TIMEOUT_S);
    signal(pid, Signal::SIGTERM)?;
    let begun = Instant::now();
    let mut killed = false;
    while running(state)?.is_some() {
        if !killed && begun.elapsed() >= Duration::from_secs(patience_s) {
            killed = true;
            signal(pid, Signal::SIGKILL)?;
        }
        sleep(Duration::from_millis(5));
    }
    state.remove()
}

/// Tells the program's whole process group, or the program alone if it has left it.
fn signal(pid: Pid, signal: Signal) -> Result<(), Failure> {
    match killpg(pid, signal).or_else(|_| kill(pid, signal)) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(Failure::generic(format!("Process {pid} cannot be ended: {error}"))),
    }
}
