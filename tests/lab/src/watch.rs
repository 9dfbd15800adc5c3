//! A client that never stops asking whose an address is, and hears everybody who answers.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use cli_hosts::Hosts;
use resource_agents_netlink::Netlink;

use crate::CLIENT;
use crate::arp::ArpSocket;

/// A time during which all claims to the address came from one host. Two hosts that both answer
/// show as many short tenures, one host's after the other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// Hardware address of the owner.
    pub mac: [u8; 6],
    /// When its first claim arrived.
    pub first: Instant,
    /// When its last claim arrived.
    pub last: Instant,
    /// The longest time between two of its claims.
    pub gap: Duration,
    /// Number of claims.
    pub claims: u64,
}

struct Shared {
    ends: AtomicBool,
    tenures: Mutex<Vec<Tenure>>,
}

/// The watching thread.
pub struct ArpWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ArpWatch {
    pub(crate) fn start(hosts: &Hosts, to: Ipv4Addr, interval: Duration) -> anyhow::Result<Self> {
        let (mac, ip) = (hosts.mac(CLIENT)?, hosts.address(CLIENT)?);
        let open = || -> anyhow::Result<ArpSocket> {
            let link = Netlink::open()?.link_index("eth0")?;
            Ok(ArpSocket::open(link, mac, ip)?)
        };
        let socket = hosts.network(CLIENT)?.run(open)?.context("open a packet socket")?;
        let shared =
            Arc::new(Shared { ends: AtomicBool::new(false), tenures: Mutex::new(Vec::new()) });
        let for_thread = Arc::clone(&shared);
        let work = move || {
            while !for_thread.ends.load(Ordering::Relaxed) {
                // A question that could not be sent is followed by the next.
                let _ = socket.ask(to);
                let asked = Instant::now();
                while let Some(wait) = interval.checked_sub(asked.elapsed()) {
                    // Whole milliseconds, and never none, or the thread would spin.
                    let wait = wait.max(Duration::from_millis(1));
                    if let Ok(Some(mac)) = socket.answer(to, wait) {
                        for_thread.note(mac, Instant::now());
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("watch".into()).spawn(work)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Who had the address when, in order.
    pub fn tenures(&self) -> Vec<Tenure> {
        self.shared.tenures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who has claimed the address within the last `window`; the last one if there were several.
    pub fn owner(&self, window: Duration) -> Option<[u8; 6]> {
        let tenures = self.shared.tenures.lock().unwrap_or_else(PoisonError::into_inner);
        tenures.last().filter(|tenure| tenure.last.elapsed() <= window).map(|tenure| tenure.mac)
    }
}

impl Shared {
    fn note(&self, mac: [u8; 6], now: Instant) {
        let mut tenures = self.tenures.lock().unwrap_or_else(PoisonError::into_inner);
        match tenures.last_mut() {
            Some(tenure) if tenure.mac == mac => {
                tenure.gap = tenure.gap.max(now - tenure.last);
                tenure.last = now;
                tenure.claims += 1;
            }
            _ => {
                tenures.push(Tenure { mac, first: now, last: now, gap: Duration::ZERO, claims: 1 })
            }
        }
    }
}

impl Drop for ArpWatch {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
