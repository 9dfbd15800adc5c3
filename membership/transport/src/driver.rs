//! The thread's loop: datagrams, mail and timers into the machines; effects out of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use membership_base::{Delivered, Instant, NodeId, View};
use membership_conf::{CmapEntry, CmapValue, Config, TieBreaker};
use membership_quorum::{Control, Rules, Votequorum};
use membership_totem::{Effect, Guarantee, Input, NodeLinks, RingView, Settings, Timing, Totem};
use socket2::SockAddr;

use crate::address::{self, Places, Unresolved};
use crate::handle::{Event, LinkStatus, Options, Shared, Sink, StartError, Status, silence};
use crate::keyfile::{self, Key};
use crate::pulse::Pulse;
use crate::realtime;
use crate::socket::{LinkSocket, Outgoing};
use crate::state::{self, Saved};

/// Headers of IPv4 and UDP; IPv6's are twenty bytes longer.
const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;
const DATAGRAM_MAX: usize = 65_507;
/// Reads of one socket before timers and mail get their turn.
const READS: usize = 4;
/// Batches thrown away after a pause: as much as the largest receive buffer can hold.
const DISCARD_READS: usize = 1000;
/// How often a pulse that is overdue is looked at again.
const PULSE_CHECK: Duration = Duration::from_millis(50);
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// How long a leaving node tries to send what it has accepted, and lingers so that the others can
/// ask for it again.
const LEAVE_MAX: Duration = Duration::from_millis(500);
const LEAVE_LINGER: Duration = Duration::from_millis(20);
/// Rejected datagrams are logged this often at most.
const REJECT_LOG: Duration = Duration::from_secs(10);

/// The last byte of every message tells for whom it is.
const FOR_USER: u8 = 0;
const FOR_QUORUM: u8 = 1;

/// What other threads want.
pub(crate) enum Mail {
    Submit(Vec<u8>, Guarantee),
    Control(Control),
    Status(Box<dyn FnOnce(Status) + Send>),
    Resolved(NodeId, u8, SocketAddr),
    Leave,
    Kill,
}

impl Mail {
    /// Bytes that it adds to the backlog.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Mail::Submit(bytes, _) => bytes.len() + 8,
            _ => 0,
        }
    }
}

/// What joins the thread with the handles.
pub(crate) struct Wiring {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mail: SyncSender<Mail>,
    pub(crate) inbox: Receiver<Mail>,
    pub(crate) sink: Sink,
}

pub(crate) struct Driver {
    me: NodeId,
    config: Config,
    machine: Totem,
    quorum: Votequorum,
    sockets: Vec<LinkSocket>,
    places: Places,
    targets: BTreeMap<(NodeId, u8), SockAddr>,
    known_sources: BTreeSet<IpAddr>,
    outgoing: Vec<(u8, Vec<Outgoing>)>,
    shared: Arc<Shared>,
    mail: SyncSender<Mail>,
    inbox: Receiver<Mail>,
    unresolved: Vec<Unresolved>,
    sink: Sink,
    saver: Sender<Saved>,
    saved: Saved,
    view: View,
    backlog: usize,
    lock_memory: bool,
    pulse: Option<Pulse>,
    realtime: bool,
    encrypted: bool,
    leaving: Option<Instant>,
    /// By socket: something has arrived.
    readable: Vec<bool>,
    rejected: (u64, Option<Instant>),
    /// The vote counter has something new for the others to learn with the next view.
    attach: bool,
    /// What the sockets hold is outdated.
    discarding: bool,
    done: bool,
}

impl Driver {
    pub(crate) fn new(
        options: Options,
        me: NodeId,
        key: Option<Key>,
        saved: Saved,
        wiring: Wiring,
    ) -> Result<Driver, StartError> {
        let Wiring { shared, mail, inbox, sink } = wiring;
        let Options { config, state_dir, lock_memory, pulse, .. } = options;
        let (places, unresolved) = address::resolve_nodes(&config, me)?;
        let mut sockets = Vec::new();
        let mut v6 = false;
        for (_, link) in places.keys().filter(|(node, _)| *node == me) {
            let local = places[&(me, *link)];
            v6 |= local.is_ipv6();
            let socket = LinkSocket::bind(*link, local).map_err(|source| StartError::Socket {
                link: *link,
                address: local.to_string(),
                source,
            })?;
            sockets.push(socket);
        }
        let encrypted = key.is_some();
        let salt = keyfile::random_u64()?;
        let settings = settings(&config, me, key, saved, salt, &sockets, v6);
        let quorum = Votequorum::new(rules(&config, me));
        let mut driver = Driver {
            me,
            machine: Totem::new(settings, realtime::now()),
            quorum,
            outgoing: sockets.iter().map(|s| (s.link, Vec::new())).collect(),
            sockets,
            targets: BTreeMap::new(),
            known_sources: BTreeSet::new(),
            places: Places::new(),
            shared,
            mail,
            inbox,
            unresolved,
            sink,
            saver: state::writer(state_dir)?,
            saved,
            view: View::default(),
            backlog: 0,
            lock_memory,
            pulse,
            realtime: false,
            encrypted,
            leaving: None,
            readable: Vec::new(),
            rejected: (0, None),
            attach: true,
            discarding: false,
            done: false,
            config,
        };
        places.into_iter().for_each(|((node, link), place)| driver.place(node, link, place));
        Ok(driver)
    }

    fn place(&mut self, node: NodeId, link: u8, place: SocketAddr) {
        self.places.insert((node, link), place);
        self.targets.insert((node, link), place.into());
        self.known_sources.insert(place.ip());
    }

    /// The thread. Ends after leaving.
    pub(crate) fn run(mut self) {
        self.prepare_thread();
        self.resolve_rest();
        let now = realtime::now();
        self.drain();
        self.machine.handle(now, Input::Start);
        self.drain();
        while !self.done {
            self.wait();
            self.await_pulse();
            self.read_sockets();
            self.read_mail();
            self.run_timers();
            self.finish_leaving();
        }
        self.shared.stopped.store(true, Ordering::Release);
        (self.sink)(Event::Stopped);
    }

    /// Does nothing for as long as nobody is there whom the ring could speak for.
    fn await_pulse(&self) {
        let Some(pulse) = &self.pulse else { return };
        let Some(pause) = pulse.overdue() else { return };
        if self.leaving.is_some() {
            return;
        }
        tracing::error!(
            "the daemon's main loop has not answered for {} s: this node sends nothing until it \
             does, so that the other nodes can take over from it; look for a disk that does not \
             answer, or a machine that is short of memory or processor time",
            pause.as_secs()
        );
        while pulse.overdue().is_some() {
            thread::sleep(PULSE_CHECK);
        }
        tracing::warn!("the daemon's main loop answers again: this node takes part again");
    }

    fn prepare_thread(&mut self) {
        if self.config.sched_rr {
            match realtime::raise_priority() {
                Ok(()) => self.realtime = true,
                Err(error) => tracing::warn!(
                    %error,
                    "no real-time priority: a busy machine may be taken for a dead one"
                ),
            }
        }
        if self.lock_memory
            && let Err(error) = realtime::lock_memory()
        {
            tracing::warn!(%error, "memory is not locked");
        }
    }

    /// Names that had no address are asked for again, on a thread of their own.
    fn resolve_rest(&mut self) {
        let mut rest = std::mem::take(&mut self.unresolved);
        if rest.is_empty() {
            return;
        }
        let (mail, shared) = (self.mail.clone(), self.shared.clone());
        let version = self.config.totem.ip_version.clone();
        let ask = move || {
            while !rest.is_empty() && !shared.stopped.load(Ordering::Acquire) {
                thread::sleep(RESOLVE_AGAIN);
                rest.retain(|u| match address::resolve(&u.address, u.port, version.as_deref()) {
                    Ok(place) => {
                        tracing::info!(node = %u.node, link = u.link, %place, "address found");
                        let _ = mail.send(Mail::Resolved(u.node, u.link, place));
                        shared.ring_bell();
                        false
                    }
                    Err(_) => true,
                });
            }
        };
        if let Err(error) = thread::Builder::new().name("ring-resolve".to_owned()).spawn(ask) {
            tracing::warn!(%error, "addresses will not be asked for again");
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.map(|at| at.min(realtime::now() + LEAVE_LINGER));
        [self.machine.poll_timeout(), self.quorum.poll_timeout(), leaving]
            .into_iter()
            .flatten()
            .min()
    }

    /// Waits for a datagram, mail or a deadline. What is readable is noted in `readable`.
    fn wait(&mut self) {
        let timeout = self.deadline().map(|at| {
            let left = at.since(realtime::now());
            libc::timespec {
                tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let fd = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds: Vec<libc::pollfd> = self.sockets.iter().map(|s| fd(s.fd())).collect();
        fds.push(fd(self.shared.wake.as_raw_fd()));
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = libc::nfds_t::try_from(fds.len()).unwrap_or(0);
        // SAFETY: `fds` holds `count` valid structures, and `timeout` is null or points to a value
        // that outlives the call. Errors and interruptions only make the loop go round.
        let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), count, timeout, std::ptr::null()) };
        self.readable.clear();
        // On an error the flags are not written; then everything is looked at.
        self.readable.extend(fds.iter().map(|f| ready < 0 || f.revents != 0));
        if self.readable.pop() == Some(true) {
            silence(&self.shared.wake);
        }
    }

    fn read_sockets(&mut self) {
        self.discard_old();
        for at in 0..self.sockets.len() {
            if !self.readable.get(at).is_some_and(|r| *r) {
                continue;
            }
            for _ in 0..READS {
                let link = self.sockets[at].link;
                let mut batch: Vec<Vec<u8>> = Vec::new();
                let known = &self.known_sources;
                let take = |from: &SocketAddr, bytes: &[u8]| {
                    if known.contains(&from.ip()) {
                        batch.push(bytes.to_vec());
                    }
                };
                let more = match self.sockets[at].receive(take) {
                    Ok(more) => more,
                    Err(error) => {
                        tracing::warn!(link, %error, "cannot receive");
                        false
                    }
                };
                for bytes in batch {
                    if self.discarding {
                        break;
                    }
                    self.machine.handle(realtime::now(), Input::Packet { link, bytes });
                    self.drain();
                }
                if !more {
                    break;
                }
            }
        }
        self.flush();
    }

    /// After a pause: what lies in the sockets is as old as the pause was long.
    fn discard_old(&mut self) {
        if !std::mem::take(&mut self.discarding) {
            return;
        }
        for socket in &mut self.sockets {
            for _ in 0..DISCARD_READS {
                if !socket.receive(|_, _| {}).unwrap_or(false) {
                    break;
                }
            }
        }
    }

    fn read_mail(&mut self) {
        while let Ok(mail) = self.inbox.try_recv() {
            let cost = mail.cost();
            match mail {
                Mail::Submit(bytes, guarantee) => {
                    self.submit(bytes, FOR_USER, guarantee);
                    self.shared.waiting.fetch_sub(cost, Ordering::AcqRel);
                }
                Mail::Control(control) => {
                    self.submit(control.encode(), FOR_QUORUM, Guarantee::Agreed);
                }
                Mail::Status(answer) => answer(self.status()),
                Mail::Resolved(node, link, place) => self.place(node, link, place),
                Mail::Leave => {
                    self.leaving.get_or_insert(realtime::now() + LEAVE_MAX);
                }
                Mail::Kill => self.done = true,
            }
        }
        self.flush();
    }

    fn submit(&mut self, mut bytes: Vec<u8>, kind: u8, guarantee: Guarantee) {
        bytes.push(kind);
        let input = Input::Submit { ticket: 0, bytes, guarantee };
        self.machine.handle(realtime::now(), input);
        self.drain();
    }

    fn run_timers(&mut self) {
        let now = realtime::now();
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
            self.drain();
        }
        if self.quorum.poll_timeout().is_some_and(|at| at <= now)
            && let Some(control) = self.quorum.handle_timeout(now)
        {
            self.submit(control.encode(), FOR_QUORUM, Guarantee::Agreed);
        }
        self.flush();
    }

    /// Leaves when everything accepted has been sent, or the time for it is over.
    fn finish_leaving(&mut self) {
        let Some(until) = self.leaving else { return };
        let now = realtime::now();
        if self.machine.backlog() > 0 && now < until {
            return;
        }
        if now + LEAVE_LINGER < until {
            self.leaving = Some(now + LEAVE_LINGER);
            return;
        }
        if now < until {
            return;
        }
        self.machine.handle(now, Input::Leave);
        self.drain();
        self.flush();
        self.done = true;
    }

    /// Carries out what the machine wants, except that datagrams are collected for
    /// [`Driver::flush`].
    fn drain(&mut self) {
        self.drain_effects();
        while std::mem::take(&mut self.attach) {
            self.machine.handle(realtime::now(), Input::Attach(self.quorum.attachment()));
            self.drain_effects();
        }
        self.update_backlog();
    }

    fn drain_effects(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Transmit { to, link, bytes } => self.transmit(to, link, bytes),
                Effect::Deliver(delivered) => self.deliver(delivered),
                Effect::View(view) => self.new_view(view),
                Effect::Persist { ring_seq } => {
                    self.saved.ring_seq = ring_seq;
                    // The writer ends with this thread only.
                    let _ = self.saver.send(self.saved);
                }
                Effect::Refused { .. } => tracing::error!("the ring has no room for a message"),
                Effect::Gathering(reason) => {
                    tracing::info!(?reason, "forming a ring");
                    (self.sink)(Event::Gathering(reason));
                }
                Effect::Peer { node, liveness } => tracing::info!(%node, ?liveness, "peer"),
                Effect::Link { node, link, up } => tracing::info!(%node, link, up, "link"),
                Effect::Paused(length) => {
                    tracing::warn!(?length, "this machine stood still");
                    self.discarding = true;
                    (self.sink)(Event::Paused(length));
                }
                Effect::Diverged { with, seq } => tracing::error!(
                    %with,
                    seq,
                    "this node and another one have different messages under the same number; \
                     leaving its ring, so that all compare what they have; please report this"
                ),
                Effect::IncarnationFell { node, from, to } => tracing::warn!(
                    %node,
                    %from,
                    %to,
                    "the node has restarted with a number that is not larger than the one before: \
                     its state folder was lost and its clock set back"
                ),
                Effect::RingNumberRefused { from, ring_seq } => {
                    let text = format!(
                        "node {from} names ring {ring_seq}, which no cluster comes to; if \
                         encryption is switched off, somebody on the network may send this"
                    );
                    self.rejected(0, &text);
                }
                Effect::Rejected { link, reject } => self.rejected(link, &reject.to_string()),
            }
        }
    }

    fn transmit(&mut self, to: NodeId, link: u8, bytes: Arc<Vec<u8>>) {
        let Some(target) = self.targets.get(&(to, link)) else { return };
        if let Some((_, queue)) = self.outgoing.iter_mut().find(|(l, _)| *l == link) {
            queue.push(Outgoing { node: to, to: target.clone(), bytes });
        }
    }

    fn flush(&mut self) {
        for ((_, queue), socket) in self.outgoing.iter_mut().zip(&self.sockets) {
            if !queue.is_empty() {
                socket.send(queue);
                queue.clear();
            }
        }
    }

    fn deliver(&mut self, mut delivered: Delivered) {
        match delivered.bytes.pop() {
            Some(FOR_USER) => (self.sink)(Event::Delivered(delivered)),
            Some(FOR_QUORUM) => {
                let Some(control) = Control::decode(&delivered.bytes) else { return };
                let changed = self.quorum.control(control);
                self.attach = true;
                if let Some(quorate) = changed {
                    let (id, members) = (self.view.id + 1, self.view.members.clone());
                    let exclusive = self.quorum.is_exclusive(&members);
                    let came_with_us = members.clone();
                    let met = Vec::new();
                    self.announce(View { id, members, quorate, exclusive, came_with_us, met });
                }
            }
            _ => tracing::error!(sender = %delivered.sender, "a message of an unknown kind"),
        }
    }

    fn new_view(&mut self, view: RingView) {
        let quorate = if view.transitional {
            self.quorum.transitional(&view.members)
        } else {
            let verdict = self.quorum.view(realtime::now(), &view.members, &view.attachments);
            self.attach = true;
            verdict
        };
        let RingView { id, members, came_with_us, met, .. } = view;
        let exclusive = self.quorum.is_exclusive(&members);
        self.announce(View { id, members, quorate, exclusive, came_with_us, met });
    }

    fn announce(&mut self, view: View) {
        let members: Vec<u32> = view.members.iter().map(|n| n.0).collect();
        tracing::info!(id = view.id, ?members, quorate = view.quorate, "view");
        self.view = view.clone();
        (self.sink)(Event::View(view));
    }

    /// Tells the submitting threads how much waits in the machine.
    fn update_backlog(&mut self) {
        let backlog = self.machine.backlog();
        if backlog > self.backlog {
            self.shared.waiting.fetch_add(backlog - self.backlog, Ordering::AcqRel);
        } else {
            self.shared.waiting.fetch_sub(self.backlog - backlog, Ordering::AcqRel);
        }
        self.backlog = backlog;
        if self.shared.wants_ready.load(Ordering::Acquire)
            && self.shared.is_roomy()
            && self.shared.wants_ready.swap(false, Ordering::AcqRel)
        {
            (self.sink)(Event::Ready);
        }
    }

    fn rejected(&mut self, link: u8, reject: &str) {
        self.rejected.0 += 1;
        let now = realtime::now();
        if self.rejected.1.is_none_or(|at| now.since(at) >= REJECT_LOG) {
            self.rejected.1 = Some(now);
            tracing::warn!(link, reject, count = self.rejected.0, "datagrams not taken");
        }
    }

    fn status(&self) -> Status {
        let ring = self.machine.status();
        let links = self.sockets.iter().map(|socket| {
            let link = socket.link;
            let place =
                |node| self.places.get(&(node, link)).map_or(String::new(), |p| p.ip().to_string());
            let peers = ring.peers.iter().filter_map(|p| {
                let (_, up) = p.links.iter().find(|(l, _)| *l == link)?;
                Some((p.node, place(p.node), *up))
            });
            LinkStatus { link, local: place(self.me), peers: peers.collect() }
        });
        let links = links.collect();
        let quorum = self.quorum.status();
        let cmap = self.cmap(&quorum);
        Status {
            me: self.me,
            view: self.view.clone(),
            quorum,
            links,
            realtime: self.realtime,
            encrypted: self.encrypted,
            cmap,
            ring,
        }
    }

    fn cmap(&self, quorum: &membership_quorum::Status) -> Vec<CmapEntry> {
        let mut all = self.config.cmap.clone();
        let mut add = |key: String, value| all.push(CmapEntry { key, value });
        let at = self.config.nodes.iter().position(|n| n.id == self.me).unwrap_or(0);
        let at = u32::try_from(at).unwrap_or(0);
        add("nodelist.local_node_pos".to_owned(), CmapValue::U32(at));
        let waiting = u8::from(quorum.waiting_for_all);
        let votequorum = |name: &str| format!("runtime.votequorum.{name}");
        add(votequorum("this_node_id"), CmapValue::U32(self.me.0));
        add(votequorum("wait_for_all_status"), CmapValue::U8(waiting));
        add(votequorum("ev_barrier"), CmapValue::U32(quorum.highest_expected));
        for node in &self.config.nodes {
            let member = self.view.members.contains(&node.id);
            let state = if member { "joined" } else { "left" };
            let key = format!("runtime.members.{}.status", node.id);
            add(key, CmapValue::Text(state.to_owned()));
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }
}

fn settings(
    config: &Config,
    me: NodeId,
    key: Option<Key>,
    saved: Saved,
    salt: u64,
    sockets: &[LinkSocket],
    v6: bool,
) -> Settings {
    let links: BTreeSet<u8> = sockets.iter().map(|s| s.link).collect();
    let nodes = config.nodes.iter().map(|n| NodeLinks {
        node: n.id,
        links: n.addresses.keys().filter(|l| links.contains(l)).copied().collect(),
    });
    let mut s = Settings::new(me, nodes.collect());
    let headers = if v6 { HEADERS_V6 } else { HEADERS_V4 };
    s.datagram = (config.totem.netmtu as usize).min(DATAGRAM_MAX + HEADERS_V4) - headers;
    s.cluster_name.clone_from(&config.totem.cluster_name);
    s.key = key.map(Key::into_bytes);
    s.incarnation = saved.incarnation;
    s.salt = salt;
    s.ring_seq = saved.ring_seq;
    s.timing = timing(config);
    // The handle counts what waits; the machine takes what the handle has let pass.
    s.backlog = usize::MAX / 2;
    // The kernel counts about twice a datagram's size against the buffer; the retransmissions of
    // what did not fit would cost more than the smaller window does.
    let room = sockets.iter().map(LinkSocket::receive_buffer).min().unwrap_or(0);
    let fits = room / 2 / (2 * s.datagram.max(1));
    let window = config.totem.window.unwrap_or(s.window);
    s.window = window.min(u32::try_from(fits).unwrap_or(u32::MAX)).max(8);
    s.visit = config.totem.max_messages.unwrap_or(s.window / 2).max(1);
    s
}

fn timing(config: &Config) -> Timing {
    let t = &config.totem;
    let d = Timing::default();
    let heartbeat = t.heartbeat_interval.unwrap_or(d.heartbeat);
    let suspect = t.heartbeat_suspect.unwrap_or(d.suspect);
    Timing {
        heartbeat,
        suspect,
        suspect_max: t.heartbeat_suspect_max.unwrap_or(d.suspect_max).max(suspect),
        confirm: t.heartbeat_confirm.unwrap_or(d.confirm),
        token: t.token,
        token_retransmit: t.token_retransmit.unwrap_or(d.token_retransmit),
        hold: t.hold.unwrap_or(d.hold).min(t.token / 4),
        join: t.join.unwrap_or(d.join),
        consensus: t.consensus.unwrap_or(d.consensus),
        commit: d.commit.max(t.token / 6),
        // A pause that could have made others suspect us counts as one.
        pause: suspect.saturating_sub(heartbeat),
        ..d
    }
}

fn rules(config: &Config, me: NodeId) -> Rules {
    let q = &config.quorum;
    Rules {
        enabled: q.enabled,
        me,
        votes: config.nodes.iter().map(|n| (n.id, n.votes)).collect(),
        expected_votes: config.expected_votes(),
        two_node: q.two_node,
        wait_for_all: q.wait_for_all,
        tie_breaker: q.auto_tie_breaker.as_ref().map(|b| match b {
            TieBreaker::Lowest => membership_quorum::TieBreaker::Lowest,
            TieBreaker::Highest => membership_quorum::TieBreaker::Highest,
            TieBreaker::List(list) => membership_quorum::TieBreaker::List(list.clone()),
        }),
        last_man_standing: q.last_man_standing.then_some(q.last_man_standing_window),
    }
}
