//! systemd units as resources, through D-Bus.
//!
//! Source: `org.freedesktop.systemd1(5)`.

use crm_executor::{Operation, Outcome, Status, code};
use tokio::sync::oneshot;
use zbus::OwnedObjectPath;
use zbus::{Connection, proxy};

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
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

/// Carries out `operation` on a unit. When killed it gives up waiting: systemd owns the unit's
/// processes, and its own time-outs end them.
pub(crate) async fn run(operation: &Operation, name: &str, kill: oneshot::Receiver<()>) -> Outcome {
    // A name without a suffix is a service (`systemd.unit(5)`).
    let unit = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
    let gave_up =
        || Outcome::broken(Status::TimedOut, code::ERROR, format!("{unit} took too long"));
    tokio::select! {
        result = carry_out(&operation.action, &unit) => result.unwrap_or_else(|error| {
            let reason = format!("systemd cannot be asked about {unit}: {error}");
            Outcome::broken(Status::Error, code::ERROR, reason)
        }),
        _ = kill => gave_up(),
    }
}

async fn carry_out(action: &str, unit: &str) -> zbus::Result<Outcome> {
    let bus = Connection::system().await?;
    let manager = ManagerProxy::new(&bus).await?;
    match action {
        "start" | "stop" => {
            let state = unit_proxy(&bus, &manager, unit).await?;
            if action == "start" && state.load_state().await? == "not-found" {
                let reason = format!("there is no systemd unit {unit} on this node");
                return Ok(Outcome::broken(Status::NotInstalled, code::NOT_INSTALLED, reason));
            }
            job(&manager, action, unit).await
        }
        "monitor" => {
            let state = unit_proxy(&bus, &manager, unit).await?.active_state().await?;
            Ok(match state.as_str() {
                "active" | "reloading" | "activating" => Outcome::done(code::OK),
                "deactivating" | "inactive" => Outcome::done(code::NOT_RUNNING),
                "failed" => {
                    // A unit that failed does not run; that it was meant to is the cluster's to say.
                    Outcome::done(code::NOT_RUNNING)
                }
                other => {
                    let reason = format!("{unit} is {other}");
                    Outcome::broken(Status::Done, code::ERROR, reason)
                }
            })
        }
        _ => Ok(Outcome::done(code::UNIMPLEMENTED)),
    }
}

async fn unit_proxy<'a>(
    bus: &'a Connection,
    manager: &ManagerProxy<'_>,
    unit: &str,
) -> zbus::Result<UnitProxy<'a>> {
    let path = manager.load_unit(unit).await?;
    UnitProxy::builder(bus).path(path).build().await
}

/// Queues a job and waits until systemd says that it is done.
async fn job(manager: &ManagerProxy<'_>, action: &str, unit: &str) -> zbus::Result<Outcome> {
    manager.subscribe().await?;
    let mut removed = manager.receive_job_removed().await?;
    let job = match action {
        "start" => manager.start_unit(unit, "replace").await?,
        _ => manager.stop_unit(unit, "replace").await?,
    };
    loop {
        let signal = std::future::poll_fn(|context| {
            use zbus::export::futures_core::Stream;
            std::pin::Pin::new(&mut removed).poll_next(context)
        })
        .await;
        let Some(signal) = signal else {
            return Err(zbus::Error::Failure("the connection to systemd was lost".into()));
        };
        let args = signal.args()?;
        if *args.job() != job {
            continue;
        }
        return Ok(match args.result().as_str() {
            "done" | "skipped" => Outcome::done(code::OK),
            result => {
                let reason = format!("systemd could not {action} {unit}: the job ended '{result}'");
                Outcome::broken(Status::Done, code::ERROR, reason)
            }
        });
    }
}
