//! That the main loop is alive, as the ring and the service manager are told.
//!
//! The loop comes round at least every [`BEAT`]. Once it has not for [`LOOP_LIMIT`] the ring's
//! thread falls silent, so that the other nodes find this one lost; systemd's watchdog, which is
//! more patient (`WatchdogSec` in the unit), then ends the daemon and starts it again.

use std::time::{Duration, Instant};

use membership_transport::Pulse;
use sd_notify::NotifyState;
use tracing::debug;

/// How often the main loop comes round at the least.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// How long one round may take. The longest thing in one is a change of a large CIB, far below a
/// second; files are written elsewhere. So this leaves room for a machine that is ten times too
/// busy, and is still short enough that the cluster can help itself.
const LOOP_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Alive {
    pulse: Pulse,
    /// How often the service manager wants to hear of us, if it does.
    watchdog: Option<Duration>,
    told: Option<Instant>,
}

impl Alive {
    pub(crate) fn new() -> Alive {
        // Half of the limit, as sd_watchdog_enabled(3) advises.
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Alive { pulse: Pulse::new(LOOP_LIMIT), watchdog, told: None }
    }

    /// For the ring.
    pub(crate) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// The loop comes round.
    pub(crate) fn beat(&mut self) {
        self.pulse.beat();
        if let Some(pause) = self.watchdog
            && self.told.is_none_or(|at| at.elapsed() >= pause)
        {
            tell(&[NotifyState::Watchdog]);
            self.told = Some(Instant::now());
        }
    }

    /// The daemon is up.
    pub(crate) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The daemon leaves in good order, which may take a while.
    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

/// Tells the service manager, where there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("the service manager cannot be told: {error}");
    }
}
