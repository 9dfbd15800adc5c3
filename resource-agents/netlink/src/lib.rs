//! Links, addresses, bridges and veth pairs through rtnetlink, synchronously.
//!
//! The agents are one-shot processes that must answer in milliseconds, and the hosts of the demo
//! are built from namespaces; neither wants an async runtime. One [`Netlink`] is one socket in the
//! network namespace of the thread that opened it, and it stays in that namespace even if the
//! thread moves on.
//!
//! Invariants:
//! - every request is acknowledged by the kernel (`NLM_F_ACK`) or is a dump read to its end;
//! - a dump the kernel marks as interrupted is read again, so a listing is never half old;
//! - an entry that cannot be decoded is an error, never silently left out: a missing address
//!   would be read as "not running here".

#![forbid(unsafe_code)]

mod address;
mod link;
mod neighbour;
mod route;
mod socket;

pub use address::{Address, NewAddress};
pub use link::{Link, LinkKind, VethPeer};
pub use neighbour::Neighbour;
pub use route::{NewRoute, Route};
pub use socket::{Error, Netlink};

use std::os::fd::BorrowedFd;

/// A network namespace as the kernel takes it in a request.
#[derive(Debug, Clone, Copy)]
pub enum Namespace<'a> {
    /// The network namespace of the process with this id (as seen by the caller).
    Pid(u32),
    /// The namespace behind an open `/proc/PID/ns/net` or a bind mount of one.
    Fd(BorrowedFd<'a>),
}
