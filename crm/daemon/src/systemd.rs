//! systemd units as resources, through D-Bus.
//!
//! While a unit is a resource, systemd must neither restart it behind the cluster's back nor stop
//! it before the cluster daemon when the host goes down: a drop-in in `/run` says so from the
//! start to the stop. A unit that dies is noticed at once, by its change of state.
//!
//! Source: `org.freedesktop.systemd1(5)`, `systemd.unit(5)`, `sd_booted(3)`.

use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use crm_executor::{Operation, Outcome, Status, code};
use tokio::sync::oneshot;
use zbus::export::futures_core::Stream;
use zbus::{Connection, OwnedObjectPath, proxy};

/// There if and only if process 1 is systemd.
const BOOTED: &str = "/run/systemd/system";
/// The drop-in of a unit that is a resource.
const DROP_IN: &str = "50-systole.conf";
/// Pause between two looks at a unit that is about to change its state.
const LOOK: Duration = Duration::from_millis(200);

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn reload(&self) -> zbus::Result<()>;
    fn subscribe(&self) -> zbus::Result<()>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

#[proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    #[zbus(property(emits_changed_signal = "false"))]
    fn active_state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn load_state(&self) -> zbus::Result<String>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Service",
    default_service = "org.freedesktop.systemd1"
)]
trait Service {
    #[zbus(property(emits_changed_signal = "false"))]
    fn result(&self) -> zbus::Result<String>;
}

/// The full name of the unit that an agent's name stands for: one without a suffix is a service
/// (`systemd.unit(5)`).
pub(crate) fn unit_name(agent: &str) -> String {
    if agent.contains('.') { agent.to_owned() } else { format!("{agent}.service") }
}

/// Carries out `operation` on a unit. When killed it gives up waiting: systemd owns the unit's
/// processes, and its own time-outs end them.
pub(crate) async fn run(operation: &Operation, kill: oneshot::Receiver<()>) -> Outcome {
    let (action, unit) = (operation.action.as_str(), unit_name(&operation.agent.name));
    if unit.contains('/') {
        let reason = format!("'{unit}' is no name of a systemd unit");
        return Outcome::broken(Status::Done, code::NOT_CONFIGURED, reason);
    }
    if !Path::new(BOOTED).exists() {
        return not_installed(action, format!("systemd does not run this node, so no {unit} here"));
    }
    tokio::select! {
        result = carry_out(action, &unit) => result.unwrap_or_else(|error| {
            let reason = format!("systemd cannot be asked about {unit}: {error}");
            Outcome::broken(Status::Error, code::ERROR, reason)
        }),
        _ = kill => {
            Outcome::broken(Status::TimedOut, code::ERROR, format!("{unit} took too long"))
        }
    }
}

/// What is not there cannot run, so it is stopped.
fn not_installed(action: &str, reason: String) -> Outcome {
    match action {
        "stop" => Outcome::done(code::OK),
        _ => Outcome::broken(Status::NotInstalled, code::NOT_INSTALLED, reason),
    }
}

/// Where the reason stands.
fn journal(unit: &str) -> String {
    format!("see 'journalctl -u {unit}' on this node")
}

async fn carry_out(action: &str, unit: &str) -> zbus::Result<Outcome> {
    let bus = Connection::system().await?;
    let manager = ManagerProxy::new(&bus).await?;
    let path = manager.load_unit(unit).await?;
    let state = UnitProxy::builder(&bus).path(&path).build().await?;
    let broken = |reason| Ok(Outcome::broken(Status::Done, code::ERROR, reason));
    match (action, state.load_state().await?.as_str()) {
        ("start" | "stop" | "monitor", "not-found") => {
            let reason = format!("there is no systemd unit {unit} on this node");
            return Ok(not_installed(action, reason));
        }
        ("start", "masked") => return broken(format!("{unit} is masked: 'systemctl unmask' it")),
        ("start", load @ ("bad-setting" | "error")) => {
            let remedy = format!("see 'systemctl status {unit}' on this node");
            return broken(format!("systemd cannot load {unit} ({load}): {remedy}"));
        }
        _ => {}
    }
    match action {
        "start" => {
            if let Err(error) = take_over(&manager, unit).await? {
                return broken(format!("cannot write {}: {error}", drop_in(unit).display()));
            }
            match job(&manager, action, unit).await?.as_str() {
                "done" | "skipped" => Ok(Outcome::done(code::OK)),
                result => {
                    let cause = ServiceProxy::builder(&bus).path(&path).build().await?;
                    // Units of other types have no such word.
                    let cause = cause.result().await.map(|word| format!(", {word}"));
                    let cause = cause.unwrap_or_default();
                    let remedy = journal(unit);
                    broken(format!("{unit} did not start (job {result}{cause}); {remedy}"))
                }
            }
        }
        "stop" => {
            let result = job(&manager, action, unit).await?;
            hand_back(&manager, unit).await?;
            match result.as_str() {
                "done" | "skipped" => Ok(Outcome::done(code::OK)),
                result => broken(format!("{unit} did not stop (job {result}); {}", journal(unit))),
            }
        }
        "monitor" => Ok(loop {
            match state.active_state().await?.as_str() {
                "active" | "reloading" | "refreshing" => break Outcome::done(code::OK),
                // It will be one or the other; the operation's time-out ends the wait.
                "activating" | "deactivating" => tokio::time::sleep(LOOK).await,
                // A unit that failed does not run; that it was meant to is the cluster's to say.
                _ => break Outcome::done(code::NOT_RUNNING),
            }
        }),
        _ => Ok(Outcome::done(code::UNIMPLEMENTED)),
    }
}

/// Queues a job and waits until systemd says that it is done; the job's result.
async fn job(manager: &ManagerProxy<'_>, action: &str, unit: &str) -> zbus::Result<String> {
    manager.subscribe().await?;
    let mut removed = manager.receive_job_removed().await?;
    let job = match action {
        "start" => manager.start_unit(unit, "replace").await?,
        _ => manager.stop_unit(unit, "replace").await?,
    };
    while let Some(signal) = next(&mut removed).await {
        let args = signal.args()?;
        if *args.job() == job {
            return Ok(args.result().clone());
        }
    }
    Err(lost())
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

fn lost() -> zbus::Error {
    zbus::Error::Failure("the connection to systemd was lost".into())
}

fn drop_in(unit: &str) -> PathBuf {
    [BOOTED, &format!("{unit}.d"), DROP_IN].iter().collect()
}

/// Makes a unit the cluster's to keep running.
async fn take_over(manager: &ManagerProxy<'_>, unit: &str) -> zbus::Result<io::Result<()>> {
    let mut text = "[Unit]\nBefore=systole.service\n".to_owned();
    if unit.ends_with(".service") {
        text.push_str("\n[Service]\nRestart=no\n");
    }
    let path = drop_in(unit);
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(Ok(()));
    }
    let folder = path.with_file_name("");
    if let Err(error) = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text)) {
        return Ok(Err(error));
    }
    manager.reload().await?;
    Ok(Ok(()))
}

/// Makes a unit an ordinary one again.
async fn hand_back(manager: &ManagerProxy<'_>, unit: &str) -> zbus::Result<()> {
    let path = drop_in(unit);
    if std::fs::remove_file(&path).is_ok() {
        // There may be drop-ins of others.
        let _ = std::fs::remove_dir(path.with_file_name(""));
        manager.reload().await?;
    }
    Ok(())
}

/// Returns when the unit is no longer active.
///
/// # Errors
/// If systemd or the bus ends: monitors have to do then.
pub(crate) async fn wait_until_dead(agent: &str) -> zbus::Result<()> {
    let bus = Connection::system().await?;
    let manager = ManagerProxy::new(&bus).await?;
    manager.subscribe().await?;
    let path = manager.load_unit(&unit_name(agent)).await?;
    let properties = zbus::fdo::PropertiesProxy::builder(&bus)
        .destination("org.freedesktop.systemd1")
        .path(&path)
        .build()
        .await?;
    let mut changes = properties.receive_properties_changed().await?;
    let unit = UnitProxy::builder(&bus).path(&path).build().await?;
    while matches!(unit.active_state().await?.as_str(), "active" | "reloading" | "refreshing") {
        next(&mut changes).await.ok_or_else(lost)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_suffix_is_a_service() {
        assert_eq!(unit_name("nginx"), "nginx.service");
        assert_eq!(unit_name("getty@tty1"), "getty@tty1.service");
        assert_eq!(unit_name("srv-data.mount"), "srv-data.mount");
        assert_eq!(
            drop_in("nginx.service"),
            Path::new("/run/systemd/system/nginx.service.d/50-systole.conf")
        );
    }

    #[test]
    fn what_is_not_there_is_stopped() {
        assert_eq!(not_installed("stop", "gone".into()).code, code::OK);
        assert_eq!(not_installed("monitor", "gone".into()).status, Status::NotInstalled);
    }
}
