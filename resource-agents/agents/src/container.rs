//! `container`: a container run by Podman or Docker.

mod api;
mod command;

use std::time::Duration;

use crate::metadata::{Action, Kind, Metadata, Parameter};
use crate::ocf::{Context, ExitCode, Failure};

pub(crate) const METADATA: Metadata = Metadata {
    name: "container",
    short: "A container run by Podman or Docker",
    long: "Creates and starts a container from an image, watches it, and stops and removes it. \
           Uses the runtime's command or, if a socket is given, its REST interface. A container \
           of the same name that is left over is replaced at start (or started again with \
           reuse), so the container always matches the configuration.",
    parameters: &[
        Parameter::new("image", Kind::Text, None, "Image", "Image to run.").required(),
        Parameter::new(
            "name",
            Kind::Text,
            None,
            "Name of the container",
            "By default the name of the resource.",
        )
        .unique(),
        Parameter::new(
            "runtime",
            Kind::Text,
            Some("auto"),
            "Runtime",
            "\"podman\", \"docker\", the absolute path of a compatible command, or \"auto\" for \
             the first of podman and docker that is installed.",
        ),
        Parameter::new(
            "socket",
            Kind::Text,
            None,
            "Socket of the REST interface",
            "Path of the runtime's Docker-compatible socket. If set, state, stop, kill and \
             removal go through it and not through the command.",
        ),
        Parameter::new(
            "run_opts",
            Kind::Text,
            None,
            "Options for run",
            "Further options for the runtime's run command, split at spaces; quotes are obeyed.",
        ),
        Parameter::new(
            "run_cmd",
            Kind::Text,
            None,
            "Command in the container",
            "Command and arguments instead of the image's own, split at spaces; quotes are \
             obeyed.",
        ),
        Parameter::new(
            "network",
            Kind::Text,
            None,
            "Network",
            "Network of the container, such as \"host\" or the name of a network of the runtime.",
        ),
        Parameter::new(
            "port",
            Kind::Text,
            None,
            "Published ports",
            "Ports to publish, as [ADDRESS:]HOSTPORT:PORT[/PROTOCOL], separated by commas or \
             spaces.",
        ),
        Parameter::new(
            "allow_pull",
            Kind::Boolean,
            Some("false"),
            "Fetch a missing image",
            "Fetch the image at start if this host does not have it. Off, start fails at once \
             on a host without the image.",
        ),
        Parameter::new(
            "reuse",
            Kind::Boolean,
            Some("false"),
            "Keep the container",
            "Start a stopped container of this name again instead of replacing it, and do not \
             remove it at stop.",
        ),
        Parameter::new(
            "stop_timeout",
            Kind::Integer,
            Some("10"),
            "Seconds to stop in peace",
            "How long the container has to end by itself at stop before it is killed; never \
             more than three quarters of the stop action's own timeout.",
        )
        .reloadable(),
        Parameter::new(
            "monitor_cmd",
            Kind::Text,
            None,
            "Check inside the container",
            "Command run by the container's shell (sh -c) at each monitor; the container counts \
             as failed when it does not end with 0.",
        )
        .reloadable(),
    ],
    actions: &[
        Action::new("start", 90),
        Action::new("stop", 90),
        Action::monitor(30, 30, None),
        Action::new("reload-agent", 30),
        Action::new("validate-all", 30),
        Action::new("meta-data", 5),
    ],
};

/// All parameters, read and checked.
struct Config {
    image: String,
    name: String,
    run_opts: Vec<String>,
    run_cmd: Vec<String>,
    network: Option<String>,
    ports: Vec<String>,
    allow_pull: bool,
    reuse: bool,
    stop_timeout: Duration,
    monitor_cmd: Option<String>,
    runtime: String,
    socket: Option<String>,
}

/// State of a container as the runtime tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// There is no container of the name.
    Absent,
    /// It runs.
    Running,
    /// It exists but does not run; the runtime's word and the exit code.
    Ended { status: String, exit_code: i64 },
}

/// A way to reach the runtime.
trait Runtime {
    fn state(&self, name: &str) -> Result<State, Failure>;
    /// Asks the container to end, and kills it after `patience`.
    fn stop(&self, name: &str, patience: Duration) -> Result<(), Failure>;
    fn kill(&self, name: &str) -> Result<(), Failure>;
    fn remove(&self, name: &str) -> Result<(), Failure>;
    fn resume(&self, name: &str) -> Result<(), Failure>;
}

pub(crate) fn act(context: &Context, action: &str) -> Result<(), Failure> {
    if matches!(action, "monitor" | "stop") {
        return match (Config::of_what_is_there(context), action) {
            (Some(config), "monitor") => monitor(context, &config),
            (Some(config), _) => stop(&config),
            (None, "monitor") => Err(Failure::answer(ExitCode::NotRunning)),
            (None, _) => Ok(()),
        };
    }
    let config = Config::of(context)?;
    match action {
        "start" => start(&config),
        "reload-agent" => monitor(context, &config),
        "validate-all" => {
            if context.check_level() >= 10 {
                config.command()?;
            }
            Ok(())
        }
        _ => Err(Failure::answer(ExitCode::Unimplemented)),
    }
}

fn configured(reason: String) -> Failure {
    Failure::new(ExitCode::Configured, reason)
}

impl Config {
    fn of(context: &Context) -> Result<Self, Failure> {
        let words = |name: &str| {
            command::split(context.parameter(name).unwrap_or(""))
                .ok_or_else(|| configured(format!("{name} has a quote that does not end")))
        };
        let name = Self::name(context)?;
        let image = context.required("image")?.to_owned();
        if image.starts_with('-') {
            return Err(configured(format!("image={image} is not a name of an image")));
        }
        let seconds = context.parsed::<u64>("stop_timeout", "a number of seconds")?.unwrap_or(10);
        let patience_max = context.timeout() * 3 / 4;
        let separators = [',', ' '];
        let ports = context.parameter("port").unwrap_or("").split(separators);
        Ok(Self {
            image,
            name,
            run_opts: words("run_opts")?,
            run_cmd: words("run_cmd")?,
            network: context.parameter("network").map(str::to_owned),
            ports: ports.filter(|port| !port.is_empty()).map(str::to_owned).collect(),
            allow_pull: context.flag("allow_pull")?,
            reuse: context.flag("reuse")?,
            stop_timeout: Duration::from_secs(seconds).min(patience_max),
            monitor_cmd: context.parameter("monitor_cmd").map(str::to_owned),
            runtime: context.parameter("runtime").unwrap_or("auto").to_owned(),
            socket: context.parameter("socket").map(str::to_owned),
        })
    }

    fn name(context: &Context) -> Result<String, Failure> {
        let name = context.parameter("name").unwrap_or(context.instance()).replace(':', "-");
        let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(valid) {
            return Err(configured(format!("name={name} is not a name for a container")));
        }
        Ok(name)
    }

    /// What it takes to look for the container and to stop it; none if no container can have the
    /// name, or no runtime is the one that is named.
    fn of_what_is_there(context: &Context) -> Option<Self> {
        let name = Self::name(context).ok()?;
        let runtime = context.parameter("runtime").unwrap_or("auto").to_owned();
        let socket = context.parameter("socket").map(str::to_owned);
        let unknown = |f: Failure| f.code == ExitCode::Configured;
        if socket.is_none() && command::Command::find(&runtime).is_err_and(unknown) {
            return None;
        }
        let seconds = context.readable::<u64>("stop_timeout").unwrap_or(10);
        Some(Self {
            image: String::new(),
            name,
            run_opts: Vec::new(),
            run_cmd: Vec::new(),
            network: None,
            ports: Vec::new(),
            allow_pull: false,
            // What is not known to be of no use is not removed.
            reuse: context.flag("reuse").unwrap_or(true),
            stop_timeout: Duration::from_secs(seconds).min(context.timeout() * 3 / 4),
            monitor_cmd: context.parameter("monitor_cmd").map(str::to_owned),
            runtime,
            socket,
        })
    }

    fn command(&self) -> Result<command::Command, Failure> {
        command::Command::find(&self.runtime)
    }

    fn runtime(&self) -> Result<Box<dyn Runtime>, Failure> {
        match &self.socket {
            Some(path) if !std::path::Path::new(path).exists() => {
                Err(Failure::new(ExitCode::NotInstalled, format!("There is no socket {path}")))
            }
            Some(path) => Ok(Box::new(api::Socket::new(path))),
            None => Ok(Box::new(self.command()?)),
        }
    }
}

fn start(config: &Config) -> Result<(), Failure> {
    let runtime = config.runtime()?;
    match runtime.state(&config.name)? {
        State::Running => return Ok(()),
        State::Ended { .. } if config.reuse => runtime.resume(&config.name)?,
        State::Ended { .. } => {
            runtime.remove(&config.name)?;
            config.command()?.run(config)?;
        }
        State::Absent => config.command()?.run(config)?,
    }
    // A container that ends at once has not started. What its own check says first counts only
    // if it is ready; the start action's timeout ends the wait.
    loop {
        match runtime.state(&config.name)? {
            State::Running => {}
            State::Ended { status, exit_code } => {
                let reason =
                    format!("Container {} is {status} (exit code {exit_code})", config.name);
                return Err(Failure::generic(reason));
            }
            State::Absent => {
                return Err(Failure::generic(format!("Container {} vanished", config.name)));
            }
        }
        if check_inside(config)?.is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn stop(config: &Config) -> Result<(), Failure> {
    let runtime = match config.runtime() {
        // Without the runtime there can be no container of it. A socket comes and goes with its
        // server, and leaves containers: then the cluster knows whether one was started here.
        Err(failure) if failure.code == ExitCode::NotInstalled && config.socket.is_none() => {
            return Ok(());
        }
        other => other?,
    };
    if runtime.state(&config.name)? == State::Running {
        if let Err(failure) = runtime.stop(&config.name, config.stop_timeout) {
            eprintln!("{}", failure.reason.unwrap_or_default());
        }
        if runtime.state(&config.name)? == State::Running {
            runtime.kill(&config.name)?;
        }
    }
    let mut state = runtime.state(&config.name)?;
    if matches!(state, State::Ended { .. }) && !config.reuse {
        runtime.remove(&config.name)?;
        state = runtime.state(&config.name)?;
    }
    match state {
        State::Absent => Ok(()),
        State::Ended { .. } if config.reuse => Ok(()),
        _ => Err(Failure::generic(format!("Container {} is still there", config.name))),
    }
}

fn monitor(context: &Context, config: &Config) -> Result<(), Failure> {
    let runtime = match config.runtime() {
        Err(failure) if failure.code == ExitCode::NotInstalled && context.is_probe() => {
            return Err(Failure::answer(ExitCode::NotRunning));
        }
        other => other?,
    };
    match runtime.state(&config.name)? {
        State::Running => check_inside(config)?.map_err(Failure::generic),
        State::Absent => Err(Failure::answer(ExitCode::NotRunning)),
        State::Ended { status, exit_code } => {
            let reason = format!("Container {} is {status} (exit code {exit_code})", config.name);
            Err(Failure::new(ExitCode::NotRunning, reason))
        }
    }
}

/// Runs the check inside the container, if there is one. The inner result is the check's own.
fn check_inside(config: &Config) -> Result<Result<(), String>, Failure> {
    let Some(check) = &config.monitor_cmd else { return Ok(Ok(())) };
    config.command()?.check(&config.name, check)
}
