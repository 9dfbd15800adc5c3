//! What the daemon of a survivor tells about a failover.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use crm_api::{Event, EventKind, Request, Response};
use crm_ipc::Client;
use tests_lab::Cluster;

/// A connection to the daemon of a node, from outside of the host.
pub(crate) fn client_of(cluster: &Cluster, node: &str) -> anyhow::Result<Client> {
    Ok(Client::connect_to(&run_dir_of(cluster, node)?.join("systole.sock"))?)
}

/// The folder with the socket of a node's daemon, as it is reached from outside of the host.
pub(crate) fn run_dir_of(cluster: &Cluster, node: &str) -> anyhow::Result<PathBuf> {
    let processes = cluster.processes(node)?;
    let (pid, _) = processes.first().with_context(|| format!("nothing runs on {node}"))?;
    Ok(PathBuf::from(format!("/proc/{pid}/root/run/systole")))
}

/// Events of one node's daemon, heard from now on.
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

/// The steps of a failover, in this order.
pub(crate) const STEPS: [&str; 4] =
    ["loss suspected", "new membership", "fence confirmed", "start done"];

impl Events {
    pub(crate) fn of(cluster: &Cluster, node: &str) -> anyhow::Result<Self> {
        let mut client = client_of(cluster, node)?;
        client.ask(&Request::Subscribe)?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        // Ends with the connection, at the latest when the host is switched off.
        std::thread::Builder::new().name("events".into()).spawn(move || {
            while let Ok(response) = client.receive() {
                if let Response::Event(event) = response {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        })?;
        Ok(Self(events))
    }

    /// When each of [`STEPS`] of `lost`'s failover was, in milliseconds after `since_ms`.
    pub(crate) fn steps(&self, since_ms: u64, lost: &str, resource: &str) -> [Option<u64>; 4] {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut steps = [None; 4];
        for event in events.iter().filter(|event| event.at_ms >= since_ms) {
            let step = match &event.kind {
                EventKind::Gathering { .. } => 0,
                EventKind::Membership { lost: gone, .. } if gone.iter().any(|n| n == lost) => 1,
                EventKind::FencingEnded { target, error: None, .. } if target == lost => 2,
                EventKind::Operation { resource: which, action, code: 0, .. }
                    if which == resource && action == "start" =>
                {
                    3
                }
                _ => continue,
            };
            steps[step].get_or_insert(event.at_ms - since_ms);
        }
        steps
    }
}

/// Milliseconds since the epoch, as events have them.
pub(crate) fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
