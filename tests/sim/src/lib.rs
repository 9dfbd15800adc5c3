//! A whole cluster in one process, under a seeded clock and network.
//!
//! The machines are those of the daemon, ring and policy engine included; what is simulated is the
//! world around them: datagrams that are lost, late or cut off, disks that lose what was not
//! synced, hosts that lose power, pause or lose their daemon, agents and BMCs that are slow or
//! fail. A run is a function of its [`Scenario`]; a failing one is replayed from its seed.
//!
//! What must hold (the design page's invariants) is checked by [`check::Checker`] at every step:
//!
//! 1. an unclonable resource is active on at most one host, the promoted role of a clone as well,
//!    and an instance of a clone on a host at most once;
//! 2. nothing of a lost node is started elsewhere before its fence is confirmed;
//! 3. members that proceed together have seen the same messages in the same order, and every
//!    quorate view holds a majority;
//! 4. an acknowledged change is there at the end, and no version goes back;
//! 5. once the faults are over and an operator has cleaned up, everything runs where it should, and
//!    nothing is left to do;
//! 6. the same CIB gives the same plan.

#![forbid(unsafe_code)]

pub mod check;
mod host;
mod world;

pub use world::{
    Report, Scenario, Told, all_stops_fail, cut_off_migration, fence_that_does_nothing,
    one_stop_fails_everywhere, play, refused_everywhere, run, short_outages, slow_start,
};

/// A run in which what happens is laid down.
pub type Script = fn(&Scenario) -> Report;

/// Those that find what random runs find seldom, by name.
pub const SCRIPTS: [(&str, Script); 2] =
    [("cut-off-migration", cut_off_migration), ("short-outages", short_outages)];
