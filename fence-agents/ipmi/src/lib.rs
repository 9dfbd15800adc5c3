//! IPMI 2.0 over RMCP+: session, client, embedded BMC, and the fence agent.
//!
//! Layers, innermost first: [`wire`](self) framing, crypto, RAKP messages (all pure); the client's
//! session [`Client`] and the responder [`Bmc`], both without sockets or clocks; then the thin
//! drivers [`Connection`] and [`BmcServer`]; then the fence agent, [`run`].
//!
//! Time is a [`std::time::Duration`] since any fixed moment the driver chooses; it never goes
//! backwards. Randomness comes in through [`Entropy`].
//!
//! Invariants:
//! - an answer counts only if it is signed with the session's key, belongs to this session, was
//!   not seen before and answers the request that is out: no old or forged packet can ever
//!   confirm that a host is off;
//! - passwords and keys are wiped after use and have no printable form;
//! - whatever comes from the network may be refused but never panics and never grows memory
//!   without bound.
//!
//! Source of the rules: Intelligent Platform Management Interface Specification Second
//! Generation v2.0 revision 1.1, chapters 13 (sessions), 22 (authentication commands) and 28
//! (chassis commands), cited below as "IPMI 2.0 §...".

#![forbid(unsafe_code)]

mod agent;
mod bmc;
mod chassis;
mod client;
mod connection;
mod crypto;
mod error;
mod rakp;
mod secret;
mod server;
mod wire;

pub use agent::{NAMES, run};
pub use bmc::{Bmc, BmcConfig, PowerControl, PowerError, User};
pub use chassis::{ChassisControl, ChassisStatus};
pub use client::{Client, ClientConfig, Event, Timing};
pub use connection::Connection;
pub use crypto::{CipherSuite, Entropy, OsEntropy};
pub use error::Error;
pub use rakp::Privilege;
pub use secret::Secret;
pub use server::{BmcFault, BmcHandle, BmcServer};
