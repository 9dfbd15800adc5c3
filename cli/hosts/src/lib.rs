//! Hosts on one machine: namespaces, bridges, power through an embedded BMC.
//!
//! Each host has network, PID, mount, UTS and IPC namespaces of its own and a process 1 that
//! starts one command and reaps its orphans. A "switch" (a network namespace with two bridges)
//! joins the hosts: one bridge for the cluster's traffic (`eth0`), one for the BMCs (`eth1`).
//! Nothing is left on the machine: no named namespace, no interface, no address, no mount. Needs
//! root, or [`become_root`] called first thing in `main`, and no external command.
//!
//! Invariants:
//! - a host that is powered off cannot answer: its cable is pulled before its processes are
//!   killed, and `power_off` returns only when its last process is gone;
//! - everything ends with the process that made it, however that ends: process 1 of each host
//!   watches a pipe whose other end only the maker holds, and a namespace dies with its process
//!   1; so Ctrl-C needs no handler;
//! - a BMC is not part of its host: it answers while the host is off.
//!
//! Addresses, all inside the namespaces: host N has 10.77.0.N/24 and fd77::N/64 on `eth0` and
//! 10.77.1.(100+N)/24 on `eth1`; its BMC is 10.77.1.N port 623.

mod config;
mod exec;
mod host;
mod hosts;
mod init;
mod mounts;
mod namespace;
mod power;
mod stage;
mod switch;

pub use config::{BmcSettings, Config, HostConfig};
pub use exec::Output;
pub use hosts::Hosts;
pub use namespace::NetworkNamespace;
pub use power::{PowerEvent, PowerLog};
pub use stage::become_root;

use std::io;

/// Why something with the hosts did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted, in words.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The network refused.
    #[error(transparent)]
    Network(#[from] resource_agents_netlink::Error),
    /// There is no host of this name.
    #[error("there is no host named {0}")]
    NoSuchHost(String),
    /// The host is off, so nothing can be done on it.
    #[error("host {0} is off")]
    Off(String),
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// Another run uses the work folder.
    #[error("the work folder {0} is in use by another run")]
    Busy(String),
}

impl Error {
    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }
}

/// Gives a system error its "cannot ..." in words.
pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::System { what: what(), source: error.into() })
    }
}
