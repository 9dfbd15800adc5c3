//! The driver of the ring: sockets, its own real-time thread, timers.
//!
//! [`Transport::start`] runs the machines of `membership-totem` and `membership-quorum` on a thread
//! of their own, so that nothing the rest of the process does can delay the token. What happens
//! comes out through one callback, called on that thread: it must hand the event on and return at
//! once. What is wanted goes in through [`Transport`], which is cheap to clone and never blocks
//! (except [`Transport::status`], which waits for the thread's answer).

mod address;
mod driver;
mod handle;
mod keyfile;
mod pulse;
mod realtime;
mod socket;
mod state;

pub use address::{AddressError, find_local};
pub use handle::{
    Event, LinkStatus, Options, StartError, Status, SubmitError, Transport, begin_incarnation,
    default_key_path,
};
pub use keyfile::{Key, KeyError, keygen, load_key};
pub use membership_totem::{Guarantee, Phase, Reason, RingId};
pub use pulse::Pulse;
