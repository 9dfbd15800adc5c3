//! What every machine shares: time as data, seeded randomness, node ids, views and deliveries.
//!
//! Protocols and policies in this project have no clock, socket, file or randomness of their own.
//! They are handed an [`Instant`] with each input, and an [`Rng`] when they are made; the daemon
//! fills these from the real machine, the simulator from a seed.

#![forbid(unsafe_code)]

pub mod mutant;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on a monotonic clock, in nanoseconds from an origin that the driver chose.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(pub u64);

impl Instant {
    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds from the clock's origin, rounded down.
    pub fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, rhs: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, rhs: Instant) -> Duration {
        self.since(rhs)
    }
}

/// A cluster node's number, `nodeid` in `corosync.conf`; never 0 for a real node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which start of a node's daemon something belongs to. It grows with every start of the same
/// node, whatever its clock does; numbers of different nodes say nothing about each other.
///
/// The transport makes it, once for each start, and everybody else is handed it: two parts of one
/// daemon never disagree about which start they belong to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// No clock and no number of restarts comes to a higher one.
    pub const MAX: Incarnation = Incarnation(1 << 62);

    /// The incarnation of a start at this time since the epoch, after the one that the node
    /// remembers: larger than that, even if the clock was set back. Time is in it only so that a
    /// node that remembers nothing takes no number that it had before.
    pub fn next(self, clock: Duration) -> Incarnation {
        let micros = u64::try_from(clock.as_micros()).unwrap_or(u64::MAX).min(Self::MAX.0);
        Incarnation(micros.max(self.0.saturating_add(1)))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a message may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// As soon as its place in the order is settled.
    Agreed,
    /// When every member is known to have it, so that no single loss can undo it.
    Safe,
}

/// The membership that a node is in, as the layers above the ring see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The ring's sequence number: it grows with every new membership on every member.
    pub id: u64,
    /// The members, ascending; always contains the local node.
    pub members: Vec<NodeId>,
    /// Whether this partition may act (see the `membership-quorum` crate).
    pub quorate: bool,
    /// Whether no other part of the configured nodes can have quorum without a member of this one,
    /// now or later, by the configured votes alone. A partition that is quorate by other rules (one
    /// of two nodes, by the operator's word, after others were given up) is not.
    #[serde(default)]
    pub exclusive: bool,
    /// The members that came here together with the local node from the view before, ascending;
    /// always contains the local node. They have delivered the same messages as the local node up
    /// to here. A member that is not in this list is new, or came another way (it was cut off, or
    /// restarted), even if it was a member of the view before: its state must be compared.
    #[serde(default)]
    pub came_with_us: Vec<NodeId>,
    /// Nodes that a ring was agreed with since the view before, though it was not installed here:
    /// each of them may have installed it, and so have been in a view with the local node.
    #[serde(default)]
    pub met: Vec<NodeId>,
}

/// A message as the ring hands it up: every member of a view gets the same ones in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Who sent it (possibly the local node).
    pub sender: NodeId,
    /// What it said.
    pub bytes: Vec<u8>,
}

/// Small seeded generator (SplitMix64): the same seed gives the same numbers on every machine.
/// Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `limit - 1`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next_u64() % limit }
    }

    /// True with a probability of `per_mille` in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A duration between `low` and `high`, both included.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX - 1);
        low + Duration::from_nanos(self.below(span + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_larger_than_the_one_before_whatever_the_clock_does() {
        let before = Incarnation::default().next(Duration::from_secs(2_000_000_000));
        for clock in [0, 1, 1_000_000_000, 1_999_999_999, 2_000_000_000, 2_000_000_001, u64::MAX] {
            let next = before.next(Duration::from_secs(clock));
            assert!(next > before && next <= Incarnation::MAX, "{next} at {clock}");
        }
    }
}
