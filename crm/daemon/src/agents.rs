//! Resource agents as processes: OCF, LSB, and fence devices as resources.
//!
//! Environment and exit codes: OCF Resource Agent API 1.1; what clusters add to it: Pacemaker
//! Administration, "OCF Resource Agents".

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crm_executor::{Agent, Operation, Outcome, Status, code};
use crm_node::Input;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::daemon::Incoming;
use crate::process::{self, Ended};
use crate::secrets::Secrets;
use crate::{fence, queue, systemd};

/// Where OCF agents live (`OCF_ROOT`).
const OCF_ROOT: &str = "/usr/lib/ocf";
/// The provider whose agents are part of this program.
const NATIVE_PROVIDER: &str = "systole";

/// How long an agent may take to say what it is, and with it its first operation's result.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// What runs resource agents.
#[derive(Clone)]
pub(crate) struct Agents {
    /// Fence devices that are started here: a probe finds only these.
    devices: Arc<Mutex<BTreeSet<String>>>,
    /// Resources whose systemd unit is watched for its death.
    watches: Arc<Mutex<BTreeMap<String, AbortHandle>>>,
    /// Where a death is told.
    sender: queue::Sender,
    /// Agents that have been asked what they are.
    asked: Arc<Mutex<BTreeSet<Agent>>>,
    secrets: Secrets,
}

impl Agents {
    pub(crate) fn new(sender: queue::Sender, secrets: Secrets) -> Agents {
        let (devices, watches, asked) = Default::default();
        Agents { devices, watches, sender, asked, secrets }
    }

    /// Calls the agent and waits for its end.
    pub(crate) async fn run(
        &self,
        mut operation: Operation,
        kill: oneshot::Receiver<()>,
    ) -> Outcome {
        let (resource, params) = (operation.resource.clone(), operation.params.clone());
        match self.secrets.filled_in(resource, params).await {
            Ok(params) => operation.params = params,
            // A stop that fails has the node fenced: the agent may well do without.
            Err(reason) if operation.action == "stop" => {
                warn!("{} is stopped without its secrets: {reason}", operation.resource);
            }
            Err(reason) => {
                return Outcome::broken(Status::Done, code::NOT_CONFIGURED, reason);
            }
        }
        if let Some(flaw) = operation.agent.flaw() {
            return Outcome::broken(Status::NotInstalled, code::NOT_INSTALLED, flaw);
        }
        match operation.agent.class.as_str() {
            "ocf" => ocf(&operation, kill).await,
            "stonith" => self.device(&operation, kill).await,
            "systemd" => self.unit(&operation, kill).await,
            "lsb" => lsb(&operation, kill).await,
            "service" if Path::new("/etc/init.d").join(&operation.agent.name).exists() => {
                lsb(&operation, kill).await
            }
            "service" => self.unit(&operation, kill).await,
            class => Outcome::broken(
                Status::NotInstalled,
                code::NOT_INSTALLED,
                format!("agents of class '{class}' are not supported"),
            ),
        }
    }

    async fn unit(&self, operation: &Operation, kill: oneshot::Receiver<()>) -> Outcome {
        let watches = || self.watches.lock().unwrap_or_else(|e| e.into_inner());
        let monitor = operation.action == "monitor";
        if !monitor && let Some(watch) = watches().remove(&operation.resource) {
            watch.abort();
        }
        let outcome = systemd::run(operation, kill).await;
        if monitor && operation.interval_ms > 0 && outcome.code == code::OK {
            let mut watches = watches();
            let watched = watches.get(&operation.resource).is_some_and(|w| !w.is_finished());
            if !watched {
                watches.insert(operation.resource.clone(), self.watch(operation));
            }
        }
        outcome
    }

    /// Has the unit's monitors called as soon as it dies, which is before they are due.
    fn watch(&self, operation: &Operation) -> AbortHandle {
        let (unit, resource) = (operation.agent.name.clone(), operation.resource.clone());
        let sender = self.sender.clone();
        let watch = tokio::spawn(async move {
            match systemd::wait_until_dead(&unit).await {
                Ok(()) => sender.send(Incoming::Node(Input::CheckNow { resource })).await,
                Err(error) => debug!("{unit} is not watched any more: {error}"),
            }
        });
        watch.abort_handle()
    }

    /// What the agent of an operation prints for `meta-data`, the first time that it is called.
    pub(crate) fn metadata(
        &self,
        operation: &Operation,
    ) -> impl Future<Output = Option<String>> + Send + use<> {
        let (agent, asked) = (operation.agent.clone(), Arc::clone(&self.asked));
        let new = agent.class == "ocf"
            && agent.flaw().is_none()
            && asked.lock().unwrap_or_else(|e| e.into_inner()).insert(agent.clone());
        let question = Operation {
            resource: agent.name.clone(),
            action: "meta-data".to_owned(),
            interval_ms: 0,
            timeout_ms: 0,
            start_delay_ms: 0,
            agent,
            params: Vec::new(),
            tag: String::new(),
        };
        async move {
            if !new {
                return None;
            }
            let (kill, killed) = oneshot::channel();
            let timer = tokio::spawn(async move {
                tokio::time::sleep(METADATA_TIMEOUT).await;
                let _ = kill.send(());
                // The run owns the other end until it is over; only then may this one go.
                std::future::pending::<()>().await;
            });
            let answer = ocf(&question, killed).await;
            timer.abort();
            if answer.code != code::OK {
                // It may be installed, or mended, later.
                asked.lock().unwrap_or_else(|e| e.into_inner()).remove(&question.agent);
                return None;
            }
            Some(answer.output)
        }
    }

    async fn device(&self, operation: &Operation, kill: oneshot::Receiver<()>) -> Outcome {
        let id = operation.resource.clone();
        let probe = operation.action == "monitor" && operation.interval_ms == 0;
        let started = || self.devices.lock().unwrap_or_else(|e| e.into_inner());
        match operation.action.as_str() {
            "stop" => {
                started().remove(&id);
                return Outcome::done(code::OK);
            }
            "monitor" if probe => {
                let here = started().contains(&id);
                return Outcome::done(if here { code::OK } else { code::NOT_RUNNING });
            }
            "start" | "monitor" => {}
            _ => return Outcome::done(code::UNIMPLEMENTED),
        }
        let options = fence::monitor_options(&operation.params);
        match fence::run(&operation.agent.name, options, kill).await {
            Ok(_) => {
                started().insert(id);
                Outcome::done(code::OK)
            }
            Err(reason) => Outcome::broken(Status::Done, code::ERROR, reason),
        }
    }
}

/// The agent's name is a possible one.
fn ocf_command(operation: &Operation) -> Command {
    let provider = operation.agent.provider.as_deref().unwrap_or("heartbeat");
    let name = &operation.agent.name;
    let path: PathBuf = [OCF_ROOT, "resource.d", provider, name].iter().collect();
    let mut command = if path.exists() || provider != NATIVE_PROVIDER {
        let mut command = Command::new(&path);
        command.arg(&operation.action);
        command
    } else {
        let mut command = Command::new("/proc/self/exe");
        command.args(["agent", name, &operation.action]);
        command
    };
    command
        .env("OCF_ROOT", OCF_ROOT)
        .env("OCF_RA_VERSION_MAJOR", "1")
        .env("OCF_RA_VERSION_MINOR", "1")
        .env("OCF_RESOURCE_INSTANCE", &operation.resource)
        .env("OCF_RESOURCE_TYPE", name)
        .env("OCF_RESOURCE_PROVIDER", provider)
        .env("HA_LOGFACILITY", "daemon")
        .env("HA_debug", "0")
        .current_dir("/");
    for (name, value) in &operation.params {
        command.env(format!("OCF_RESKEY_{name}"), value);
    }
    command
}

async fn ocf(operation: &Operation, kill: oneshot::Receiver<()>) -> Outcome {
    let command = ocf_command(operation);
    outcome(&operation.agent, process::run(command, Vec::new(), kill).await)
}

fn outcome(agent: &Agent, ended: std::io::Result<Ended>) -> Outcome {
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let reason = format!("the agent {agent} is not installed on this node");
            return Outcome::broken(Status::NotInstalled, code::NOT_INSTALLED, reason);
        }
        // A file that nobody can execute is no agent; other errors may pass.
        Err(error) if cannot_be_executed(&error) => {
            let reason = format!("the agent {agent} cannot be executed on this node: {error}");
            return Outcome::broken(Status::NotInstalled, code::NOT_INSTALLED, reason);
        }
        Err(error) => {
            let reason = format!("the agent {agent} cannot be run: {error}");
            return Outcome::broken(Status::Error, code::ERROR, reason);
        }
    };
    let reason = exit_reason(&ended.stderr);
    match ended.status.code() {
        Some(code) => Outcome { status: Status::Done, code, reason, output: ended.stdout },
        None => {
            let signal = ended.status.signal().unwrap_or(0);
            let reason = format!("the agent {agent} was ended by signal {signal}");
            Outcome::broken(Status::Error, code::ERROR, reason)
        }
    }
}

fn cannot_be_executed(error: &std::io::Error) -> bool {
    let no_program = error.raw_os_error() == Some(libc::ENOEXEC);
    no_program || matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotADirectory)
}

/// The last reason that the agent gave (OCF 1.1, "Exit reasons").
fn exit_reason(stderr: &str) -> String {
    let mut reasons = stderr.lines().filter_map(|l| l.strip_prefix("ocf-exit-reason:"));
    reasons.next_back().unwrap_or_default().trim().to_owned()
}

async fn lsb(operation: &Operation, kill: oneshot::Receiver<()>) -> Outcome {
    let name = &operation.agent.name;
    let monitor = operation.action == "monitor";
    let mut command = Command::new(Path::new("/etc/init.d").join(name));
    command.arg(if monitor { "status" } else { operation.action.as_str() });
    let mut outcome = outcome(&operation.agent, process::run(command, Vec::new(), kill).await);
    if outcome.status == Status::Done {
        // Linux Standard Base, "Init Script Actions": status codes differ from OCF's.
        outcome.code = match (monitor, outcome.code) {
            (true, 1..=3) => code::NOT_RUNNING,
            (true, 4) => code::ERROR,
            (_, code) => code,
        };
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_exit_reason_counts() {
        assert_eq!(exit_reason("x\nocf-exit-reason:a\nocf-exit-reason:b c\ny\n"), "b c");
        assert_eq!(exit_reason("nothing"), "");
    }

    fn operation(provider: &str, name: &str) -> Operation {
        Operation {
            resource: "r".into(),
            action: "start".into(),
            interval_ms: 0,
            timeout_ms: 1000,
            start_delay_ms: 0,
            agent: Agent {
                class: "ocf".into(),
                provider: Some(provider.into()),
                name: name.into(),
            },
            params: vec![],
            tag: String::new(),
        }
    }

    #[test]
    fn names_that_lead_out_of_the_agents_folder_are_refused() {
        for (provider, name) in [("..", "Dummy"), (".", "x"), ("a/b", "x"), ("p", "../x")] {
            assert!(operation(provider, name).agent.flaw().is_some(), "{provider}:{name}");
        }
        assert_eq!(operation("heartbeat", "Dummy").agent.flaw(), None);
    }

    #[tokio::test]
    async fn a_missing_agent_is_named() {
        let operation = operation("nobody", "Nothing");
        let (_kill, killed) = oneshot::channel();
        let (sender, _receiver) = queue::channel();
        let secrets = Secrets::new(Path::new("/nowhere"));
        let outcome = Agents::new(sender, secrets).run(operation, killed).await;
        assert_eq!(outcome.code, code::NOT_INSTALLED);
        assert!(outcome.reason.contains("ocf:nobody:Nothing"), "{}", outcome.reason);
    }
}
