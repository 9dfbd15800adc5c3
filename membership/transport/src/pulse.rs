//! The sign of life of what the ring speaks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A heartbeat between the loop that uses the ring and the ring's thread. While it is older than
/// its limit the thread does nothing, just as if it did not run: the others then find the node
/// silent and treat it as lost, which it is. Once it beats again the ring goes on as after a pause.
#[derive(Clone, Debug)]
pub struct Pulse {
    begin: Instant,
    /// Nanoseconds since `begin`.
    last: Arc<AtomicU64>,
    limit: Duration,
}

impl Pulse {
    /// One that beats now, and that may pause for as long as `limit`.
    pub fn new(limit: Duration) -> Pulse {
        Pulse { begin: Instant::now(), last: Arc::new(AtomicU64::new(0)), limit }
    }

    /// The loop is alive.
    pub fn beat(&self) {
        let since = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Release);
    }

    /// How long the loop has not answered, if that is longer than it may be.
    pub(crate) fn overdue(&self) -> Option<Duration> {
        let last = Duration::from_nanos(self.last.load(Ordering::Acquire));
        let pause = self.begin.elapsed().saturating_sub(last);
        (pause > self.limit).then_some(pause)
    }
}
