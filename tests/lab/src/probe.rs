//! Clients that ask again and again, and remember who answered when.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use cli_hosts::Hosts;
use resource_agents_netlink::Netlink;

use crate::CLIENT;
use crate::arp::ArpSocket;

/// One answer, or the lack of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample<A> {
    /// When the question was asked.
    pub asked: Instant,
    /// When the answer was there, or was given up on.
    pub ended: Instant,
    /// The answer.
    pub answer: Option<A>,
}

/// Most samples kept; a probe that runs longer forgets its first ones.
const SAMPLES_MAX: usize = 1_000_000;

struct Shared<A> {
    ends: AtomicBool,
    samples: Mutex<Vec<Sample<A>>>,
}

/// A thread that asks.
struct Probe<A> {
    shared: Arc<Shared<A>>,
    thread: Option<JoinHandle<()>>,
}

impl<A: Clone + PartialEq + Send + 'static> Probe<A> {
    /// Runs `ask` every `interval`; `ask` must not take much longer than that.
    fn start(
        interval: Duration,
        mut ask: impl FnMut() -> Option<A> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let shared =
            Arc::new(Shared { ends: AtomicBool::new(false), samples: Mutex::new(Vec::new()) });
        let for_thread = Arc::clone(&shared);
        let work = move || {
            while !for_thread.ends.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = ask();
                let ended = Instant::now();
                let mut samples = lock(&for_thread.samples);
                if samples.len() >= SAMPLES_MAX {
                    samples.remove(0);
                }
                samples.push(Sample { asked, ended, answer });
                drop(samples);
                std::thread::sleep(interval.saturating_sub(asked.elapsed()));
            }
        };
        let thread = std::thread::Builder::new().name("probe".into()).spawn(work)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn samples(&self) -> Vec<Sample<A>> {
        lock(&self.shared.samples).clone()
    }

    fn last(&self) -> Option<A> {
        lock(&self.shared.samples).last().and_then(|sample| sample.answer.clone())
    }

    /// First answer asked for after `since` that `wanted` accepts.
    fn first_after(&self, since: Instant, wanted: impl Fn(&A) -> bool) -> Option<Sample<A>> {
        let samples = lock(&self.shared.samples);
        let at = samples.partition_point(|sample| sample.asked < since);
        samples[at..].iter().find(|s| s.answer.as_ref().is_some_and(&wanted)).cloned()
    }

    /// Longest time from one answer to the next, since `since` and up to now.
    fn longest_gap(&self, since: Instant) -> Duration {
        let samples = lock(&self.shared.samples);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for sample in samples.iter().filter(|sample| sample.asked >= since) {
            if sample.answer.is_some() {
                longest = longest.max(sample.ended - last);
                last = sample.ended;
            }
        }
        longest.max(last.elapsed())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl<A> Drop for Probe<A> {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks by ARP whose address it is. Unlike a connection it does not depend on what the client's
/// kernel remembers, so it sees a move within one interval.
pub struct ArpProbe(Probe<[u8; 6]>);

impl ArpProbe {
    pub(crate) fn start(hosts: &Hosts, to: Ipv4Addr, interval: Duration) -> anyhow::Result<Self> {
        let (mac, ip) = (hosts.mac(CLIENT)?, hosts.address(CLIENT)?);
        let open = || -> anyhow::Result<ArpSocket> {
            let link = Netlink::open()?.link_index("eth0")?;
            Ok(ArpSocket::open(link, mac, ip)?)
        };
        let socket = hosts.network(CLIENT)?.run(open)?.context("open a packet socket")?;
        let ask = move || {
            let asked = Instant::now();
            socket.ask(to).ok()?;
            // Two owners at once would both answer; the tests look at that with `samples`.
            while asked.elapsed() < interval {
                let wait = interval.saturating_sub(asked.elapsed());
                if let Ok(Some(owner)) = socket.answer(to, wait) {
                    return Some(owner);
                }
            }
            None
        };
        Ok(Self(Probe::start(interval, ask)?))
    }

    /// Hardware address that answered last; none if the last question had no answer.
    pub fn last(&self) -> Option<[u8; 6]> {
        self.0.last()
    }

    /// All samples so far.
    pub fn samples(&self) -> Vec<Sample<[u8; 6]>> {
        self.0.samples()
    }

    /// First answer of another than `mac` to a question after `since`.
    pub fn first_other_after(&self, since: Instant, mac: [u8; 6]) -> Option<Sample<[u8; 6]>> {
        self.0.first_after(since, |owner| *owner != mac)
    }

    /// Longest time without an answer since `since`.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        self.0.longest_gap(since)
    }
}

/// Connects and reads what the server says.
pub struct TcpProbe(Probe<String>);

/// How long one connection may take. Short, because a lost SYN is only sent again after a second.
const CONNECT_WAIT: Duration = Duration::from_millis(40);

impl TcpProbe {
    pub(crate) fn start(hosts: &Hosts, to: SocketAddr, interval: Duration) -> anyhow::Result<Self> {
        let network = hosts.network(CLIENT)?;
        let mut entered = false;
        let ask = move || {
            if !entered {
                // The probe's own thread moves to the client for good.
                network.enter().ok()?;
                entered = true;
            }
            let mut stream = TcpStream::connect_timeout(&to, CONNECT_WAIT).ok()?;
            stream.set_read_timeout(Some(CONNECT_WAIT)).ok()?;
            let mut text = String::new();
            let read = Read::by_ref(&mut stream).take(4096).read_to_string(&mut text);
            read.ok().map(|_| text)
        };
        Ok(Self(Probe::start(interval, ask)?))
    }

    /// What was said last; none if the last connection failed.
    pub fn last(&self) -> Option<String> {
        self.0.last()
    }

    /// All samples so far.
    pub fn samples(&self) -> Vec<Sample<String>> {
        self.0.samples()
    }

    /// First answer after `since` that is not `text`.
    pub fn first_other_after(&self, since: Instant, text: &str) -> Option<Sample<String>> {
        self.0.first_after(since, |said| said != text)
    }

    /// Longest time without an answer since `since`.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        self.0.longest_gap(since)
    }
}
