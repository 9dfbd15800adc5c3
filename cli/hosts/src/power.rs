//! The wire between a BMC and its host, and the log of what was switched when.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use fence_agents_ipmi::{ChassisControl, PowerControl, PowerError};

use crate::hosts::Inner;

/// How long a power cycle stays off.
const CYCLE_PAUSE: Duration = Duration::from_secs(1);
/// How long a soft shutdown waits for the host's processes to end.
const SOFT_WAIT: Duration = Duration::from_secs(20);

/// Something that happened to a host's power.
#[derive(Debug, Clone)]
pub struct PowerEvent {
    /// When, for measuring.
    pub at: Instant,
    /// When, for people.
    pub wall_clock: SystemTime,
    /// Which host.
    pub host: String,
    /// The state it has now.
    pub on: bool,
    /// Who did it: "BMC: power off", "operator".
    pub by: String,
}

/// The log, shared.
#[derive(Debug, Clone, Default)]
pub struct PowerLog(Arc<Mutex<Vec<PowerEvent>>>);

/// Events kept; older ones are dropped.
const EVENTS_MAX: usize = 10_000;

impl PowerLog {
    pub(crate) fn note(&self, host: &str, on: bool, by: &str) {
        let mut events = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if events.len() >= EVENTS_MAX {
            events.remove(0);
        }
        events.push(PowerEvent {
            at: Instant::now(),
            wall_clock: SystemTime::now(),
            host: host.to_owned(),
            on,
            by: by.to_owned(),
        });
    }

    /// All events so far, oldest first.
    pub fn events(&self) -> Vec<PowerEvent> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// What the BMC of one host switches.
pub(crate) struct HostPower {
    /// Weak: the hosts own their BMCs.
    pub(crate) hosts: Weak<Inner>,
    pub(crate) at: usize,
}

impl PowerControl for HostPower {
    fn is_on(&mut self) -> bool {
        self.hosts.upgrade().is_some_and(|hosts| hosts.is_on(self.at))
    }

    fn control(&mut self, control: ChassisControl) -> Result<(), PowerError> {
        let hosts = self.hosts.upgrade().ok_or(PowerError::Failed)?;
        let by = format!("BMC: {}", control.name());
        let at = self.at;
        let failed = |_| PowerError::Failed;
        match control {
            ChassisControl::PowerDown => hosts.power_off(at, &by).map_err(failed),
            ChassisControl::PowerUp => hosts.power_on(at, &by).map_err(failed),
            ChassisControl::HardReset => {
                hosts.power_off(at, &by).map_err(failed)?;
                hosts.power_on(at, &by).map_err(failed)
            }
            ChassisControl::PowerCycle => {
                hosts.power_off(at, &by).map_err(failed)?;
                let hosts = self.hosts.clone();
                let later = move || {
                    std::thread::sleep(CYCLE_PAUSE);
                    if let Some(hosts) = hosts.upgrade() {
                        let _ = hosts.power_on(at, &by);
                    }
                };
                in_background(later)
            }
            ChassisControl::SoftShutdown => {
                let hosts = self.hosts.clone();
                let later = move || soft_shutdown(&hosts, at, &by);
                in_background(later)
            }
            ChassisControl::Diagnostic => Err(PowerError::Unsupported),
        }
    }
}

fn in_background(work: impl FnOnce() + Send + 'static) -> Result<(), PowerError> {
    let started = std::thread::Builder::new().name("power".into()).spawn(work);
    started.map(drop).map_err(|_| PowerError::Failed)
}

/// Asks all processes of the host to end, and cuts the power when they have or the time is up.
fn soft_shutdown(hosts: &Weak<Inner>, at: usize, by: &str) {
    let deadline = Instant::now() + SOFT_WAIT;
    let Some(first) = hosts.upgrade() else { return };
    first.terminate_all(at);
    drop(first);
    loop {
        let Some(hosts) = hosts.upgrade() else { return };
        if hosts.is_idle(at) || Instant::now() >= deadline {
            let _ = hosts.power_off(at, by);
            return;
        }
        drop(hosts);
        std::thread::sleep(Duration::from_millis(50));
    }
}
