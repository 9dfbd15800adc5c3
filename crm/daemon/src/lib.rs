//! The daemon: carries out what one node's machines want done.
//!
//! It translates and routes. What is to be done is decided in `crm-node` and below; there is no
//! policy here.

mod agents;
mod alive;
mod archive;
mod clock;
mod daemon;
mod errands;
mod fence;
mod files;
mod folder;
mod inputs;
mod ipc;
mod lock;
mod panics;
mod plan;
mod process;
mod queue;
mod record;
mod ring;
mod secrets;
mod started;
mod systemd;

use std::path::PathBuf;

// A daemon that can break its promises on purpose is never built.
const _: () =
    assert!(!membership_base::mutant::BUILT_IN, "the feature `mutants` is for the simulator");

pub use daemon::run;
pub use files::{CibFiles, Loaded};

/// Where the daemon finds and keeps its things.
#[derive(Clone, Debug)]
pub struct Options {
    /// `corosync.conf`.
    pub config: PathBuf,
    /// The folder with the CIB (`cib/`), the inputs of plans (`pengine/`), the record of what
    /// happened (`systole/`), and the ring's number.
    pub state_dir: PathBuf,
    /// The folder with the socket, and with what was started on this host (`started/`).
    pub run_dir: PathBuf,
    /// The local node's name; found by host name or address if not given.
    pub node: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        let run_dir = std::env::var_os("SYSTOLE_RUN_DIR").unwrap_or_else(|| "/run/systole".into());
        Options {
            config: "/etc/corosync/corosync.conf".into(),
            state_dir: "/var/lib/pacemaker".into(),
            run_dir: run_dir.into(),
            node: None,
        }
    }
}

/// Sends the log to standard error, where systemd (or whoever started the daemon) takes it;
/// `SYSTOLE_LOG` sets the filter, as `debug` or `crm_daemon=debug`.
pub fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SYSTOLE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A second subscriber is refused; the first one then goes on.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .try_init();
}
