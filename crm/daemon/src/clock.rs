//! The machines' clock and the wall clock, and where one stands by the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use membership_base::Instant;
use nix::time::{ClockId, clock_gettime};
use tracing::warn;

/// The wall clock is looked at often; what it moves by less than this at a time is left alone.
const STEP_MS: u64 = 100;
/// A step of the wall clock that is told.
const TOLD_MS: u64 = 2_000;

/// Nanoseconds since the daemon's start, time in suspension included: what was to be done
/// meanwhile is due. It never goes back, unlike the wall clock.
pub(crate) struct Clock {
    start: Duration,
    /// Where the wall clock stood at the start: milliseconds since the epoch.
    wall_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let (start, wall) = (since_boot(), wall());
        Clock { start, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(crate) fn now(&self) -> Instant {
        let since = since_boot().saturating_sub(self.start);
        Instant(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// What the wall clock showed when this one began.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    /// What it would have shown then had it been right as it is now, if that is news.
    pub(crate) fn wall_moved(&mut self) -> Option<u64> {
        let moved = self.moved(wall())?;
        if moved.abs_diff(self.wall_ms) >= TOLD_MS {
            warn!(
                "the wall clock was set from {} s to {} s after the epoch; rules, time-outs of \
                 failures and the history go by the new time",
                (self.wall_ms + self.now().as_millis()) / 1000,
                (moved + self.now().as_millis()) / 1000
            );
        }
        self.wall_ms = moved;
        Some(moved)
    }

    fn moved(&self, wall: Duration) -> Option<u64> {
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let origin = wall_ms.saturating_sub(self.now().as_millis());
        (origin.abs_diff(self.wall_ms) >= STEP_MS).then_some(origin)
    }
}

/// The wall clock: time since the epoch.
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn since_boot() -> Duration {
    // Linux has had this clock for longer than anything else that is needed here.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_is_seen_and_its_drift_left_alone() {
        let mut clock = Clock::start();
        let hour = Duration::from_secs(3600);
        let ahead = clock.moved(wall() + hour).unwrap();
        assert!(ahead.abs_diff(clock.wall_ms + 3_600_000) < 60_000, "{ahead}");
        assert!(clock.moved(wall() - hour).unwrap() < clock.wall_ms);
        // Until somebody sets the clock of the machine that runs this.
        clock.wall_ms = ahead;
        assert!(clock.wall_moved().is_some_and(|moved| moved < ahead));
        assert_eq!(clock.moved(Duration::ZERO).map(|moved| moved < clock.wall_ms), Some(true));
    }
}
