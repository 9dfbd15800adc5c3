//! A whole cluster in one process: machines, a bad network, pauses, crashes, and the checkers of
//! what the ring promises. One seed, one run.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use membership_base::{Incarnation, Instant, NodeId, Rng};
use membership_totem::{
    Effect, Guarantee, Input, NodeLinks, Phase, Reject, RingId, RingView, Settings, Totem,
};

pub fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    View(RingView),
    /// Sender, its incarnation, number, and whether it asked for safe delivery.
    Message(NodeId, u64, u64, bool),
}

pub struct Node {
    pub machine: Option<Totem>,
    pub incarnation: u64,
    /// Instead of one more.
    pub next_incarnation: Option<u64>,
    persisted: u64,
    paused_until: Option<Instant>,
    inbox: Vec<(u8, Vec<u8>)>,
    /// One log for each incarnation.
    pub logs: BTreeMap<u64, Vec<(Instant, Entry)>>,
    pub submitted: BTreeMap<u64, Vec<u64>>,
    counter: u64,
    pub left: bool,
}

/// Somebody on the path without the key: sees every datagram, and holds back, redirects, repeats,
/// duplicates and corrupts as it likes.
#[derive(Default)]
pub struct Attacker {
    pub per_mille: u64,
    pub captured: Vec<(NodeId, u8, Vec<u8>)>,
}

impl Attacker {
    const CAPTURED: usize = 400;

    /// Looks at a datagram, and may corrupt it. Some: a captured one is to be sent after this time.
    fn act(
        &mut self,
        rng: &mut Rng,
        nodes: u64,
        (to, link): (NodeId, u8),
        bytes: &mut [u8],
    ) -> Option<Duration> {
        if self.captured.len() < Self::CAPTURED {
            self.captured.push((to, link, bytes.to_vec()));
        } else if rng.chance(50) || bytes.len() < 160 && rng.chance(300) {
            let at = rng.below(Self::CAPTURED as u64) as usize;
            self.captured[at] = (to, link, bytes.to_vec());
        }
        if !rng.chance(self.per_mille) {
            return None;
        }
        match rng.below(4) {
            0 => {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
                None
            }
            // The datagram itself, at once or later, most often to somebody else.
            1 | 2 => {
                self.captured.push((NodeId(1 + rng.below(nodes) as u32), link, bytes.to_vec()));
                let last = self.captured.len() - 1;
                self.captured.swap(0, last);
                self.captured.truncate(Self::CAPTURED);
                Some(Duration::from_micros(rng.below(3_000)))
            }
            _ => Some(Duration::from_micros(rng.below(2_000_000))),
        }
    }

    /// What to send, and where to: the last that it decided on, or anything.
    fn pick(&mut self, rng: &mut Rng, nodes: u64) -> (NodeId, u8, Vec<u8>) {
        let at = if rng.chance(500) { 0 } else { rng.below(self.captured.len() as u64) as usize };
        let (to, link, bytes) = self.captured[at].clone();
        let to = if rng.chance(500) { NodeId(1 + rng.below(nodes) as u32) } else { to };
        (to, link, bytes)
    }
}

pub struct World {
    pub now: Instant,
    pub rng: Rng,
    pub nodes: BTreeMap<NodeId, Node>,
    wire: BTreeMap<(Instant, u64), (NodeId, u8, Vec<u8>)>,
    packets: u64,
    pub sent: u64,
    pub loss_per_mille: u64,
    pub delay: (Duration, Duration),
    /// Nothing passes from the first to the second on this link.
    pub cut: BTreeSet<(NodeId, NodeId, u8)>,
    /// Datagrams above this size never reach this node.
    pub black_hole: Option<(NodeId, usize)>,
    /// Nothing but heartbeats reaches this node; not encrypted.
    pub only_heartbeats: Option<NodeId>,
    /// This node loses as much of what it sends and of what it is sent.
    pub lossy: Option<(NodeId, u64)>,
    pub encrypted: bool,
    pub attacker: Option<Attacker>,
    /// Datagrams that a machine refused, and orders that it found to differ.
    pub rejected: u64,
    pub diverged: u64,
    last_heartbeat: BTreeMap<NodeId, (NodeId, u8, Vec<u8>)>,
    spoofed: u8,
    pub links: u8,
    pub trace: bool,
    pub tune: fn(&mut Settings),
}

impl World {
    pub fn new(seed: u64, count: u32) -> World {
        let blank = || Node {
            machine: None,
            incarnation: 0,
            next_incarnation: None,
            persisted: 0,
            paused_until: None,
            inbox: Vec::new(),
            logs: BTreeMap::new(),
            submitted: BTreeMap::new(),
            counter: 0,
            left: false,
        };
        World {
            now: Instant(1_000_000_000),
            rng: Rng::new(seed),
            nodes: (1..=count).map(|n| (NodeId(n), blank())).collect(),
            wire: BTreeMap::new(),
            packets: 0,
            sent: 0,
            loss_per_mille: 0,
            delay: (Duration::from_micros(50), Duration::from_micros(150)),
            cut: BTreeSet::new(),
            black_hole: None,
            only_heartbeats: None,
            lossy: None,
            encrypted: false,
            attacker: None,
            rejected: 0,
            diverged: 0,
            last_heartbeat: BTreeMap::new(),
            spoofed: 0,
            links: 1,
            trace: std::env::var_os("TRACE").is_some(),
            tune: |_| {},
        }
    }

    pub fn start(&mut self, id: NodeId) {
        let links: Vec<u8> = (0..self.links).collect();
        let all = self.nodes.keys().map(|n| NodeLinks { node: *n, links: links.clone() }).collect();
        let node = self.nodes.get_mut(&id).unwrap();
        node.incarnation = node.next_incarnation.take().unwrap_or(node.incarnation + 1);
        node.left = false;
        node.paused_until = None;
        node.inbox.clear();
        let mut settings = Settings::new(id, all);
        settings.incarnation = Incarnation(node.incarnation);
        settings.ring_seq = node.persisted;
        settings.salt = self.rng.next_u64();
        settings.cluster_name = "alpha".into();
        settings.key = self.encrypted.then(|| vec![7; 128]);
        (self.tune)(&mut settings);
        node.logs.insert(node.incarnation, Vec::new());
        node.machine = Some(Totem::new(settings, self.now));
        self.input(id, Input::Start);
    }

    pub fn start_all(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        ids.into_iter().for_each(|id| self.start(id));
    }

    pub fn crash(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).unwrap().machine = None;
    }

    pub fn leave(&mut self, id: NodeId) {
        self.input(id, Input::Leave);
        let node = self.nodes.get_mut(&id).unwrap();
        node.machine = None;
        node.left = true;
    }

    pub fn pause(&mut self, id: NodeId, length: Duration) {
        self.nodes.get_mut(&id).unwrap().paused_until = Some(self.now + length);
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].machine.is_some()
    }

    pub fn submit(&mut self, id: NodeId, guarantee: Guarantee, size: usize) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.machine.is_none() || node.paused_until.is_some() {
            return;
        }
        node.counter += 1;
        let (counter, incarnation) = (node.counter, node.incarnation);
        node.submitted.entry(incarnation).or_default().push(counter);
        let mut bytes = incarnation.to_le_bytes().to_vec();
        bytes.extend_from_slice(&counter.to_le_bytes());
        bytes.push(u8::from(guarantee == Guarantee::Safe));
        bytes.resize(17 + size, 0);
        self.input(id, Input::Submit { ticket: counter, bytes, guarantee });
    }

    pub fn input(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        if let Some(machine) = &mut self.nodes.get_mut(&id).unwrap().machine {
            machine.handle(now, input);
            self.drain(id);
        }
    }

    fn drain(&mut self, id: NodeId) {
        loop {
            let node = self.nodes.get_mut(&id).unwrap();
            let Some(effect) = node.machine.as_mut().and_then(Totem::poll_effect) else { return };
            let log = node.logs.get_mut(&node.incarnation).unwrap();
            if self.trace && !matches!(effect, Effect::Transmit { .. } | Effect::Deliver(_)) {
                println!("{:9.3} {id}: {effect:?}", self.now.0 as f64 / 1e6);
            }
            match effect {
                Effect::Transmit { to, link, bytes } => self.transmit(id, to, link, &bytes),
                Effect::View(view) => log.push((self.now, Entry::View(view))),
                Effect::Deliver(d) => {
                    let word =
                        |at: usize| u64::from_le_bytes(d.bytes[at..at + 8].try_into().unwrap());
                    let safe = d.bytes[16] == 1;
                    log.push((self.now, Entry::Message(d.sender, word(0), word(8), safe)));
                }
                Effect::Persist { ring_seq } => node.persisted = ring_seq,
                Effect::Refused { ticket, .. } => {
                    node.submitted.entry(node.incarnation).or_default().retain(|t| *t != ticket);
                }
                Effect::Paused(_) => node.inbox.clear(),
                Effect::Rejected { .. } if self.attacker.is_some() || self.spoofed > 0 => {
                    self.rejected += 1;
                }
                // Its own earlier incarnation's datagrams may still be under way.
                Effect::Rejected { reject: Reject::Unproven, .. } => self.rejected += 1,
                Effect::Rejected { reject, .. } => panic!("{id} rejects {reject:?}"),
                Effect::Diverged { .. } => self.diverged += 1,
                _ => {}
            }
        }
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, link: u8, bytes: &[u8]) {
        self.sent += 1;
        let is_heartbeat = !self.encrypted && bytes.get(39) == Some(&1);
        if self.only_heartbeats == Some(to) && !is_heartbeat {
            return;
        }
        if is_heartbeat {
            self.last_heartbeat.insert(from, (to, link, bytes.to_vec()));
        }
        if self.black_hole.is_some_and(|(node, size)| node == to && bytes.len() > size) {
            return;
        }
        if self.cut.contains(&(from, to, link)) || self.rng.chance(self.loss_per_mille) {
            return;
        }
        if let Some((node, per_mille)) = self.lossy
            && (node == from || node == to)
            && self.rng.chance(per_mille)
        {
            return;
        }
        let mut bytes = bytes.to_vec();
        let nodes = self.nodes.len() as u64;
        if let Some(attacker) = &mut self.attacker
            && let Some(after) = attacker.act(&mut self.rng, nodes, (to, link), &mut bytes)
        {
            let (to, link, bytes) = attacker.pick(&mut self.rng, nodes);
            self.packets += 1;
            self.wire.insert((self.now + after, self.packets), (to, link, bytes));
            if self.rng.chance(500) {
                return;
            }
        }
        let at = self.now + self.rng.between(self.delay.0, self.delay.1);
        self.packets += 1;
        self.wire.insert((at, self.packets), (to, link, bytes.clone()));
        if self.loss_per_mille > 0 && self.rng.chance(10) {
            let at = at + self.rng.between(self.delay.0, self.delay.1);
            self.packets += 1;
            self.wire.insert((at, self.packets), (to, link, bytes));
        }
    }

    pub fn captured(&self) -> Vec<(NodeId, u8, Vec<u8>)> {
        self.attacker.as_ref().map(|a| a.captured.clone()).unwrap_or_default()
    }

    /// A heartbeat of `from` as it would send it, but for the ring's number. Not encrypted.
    pub fn spoof_heartbeat(&mut self, to: NodeId, from: NodeId, ring_seq: u64) {
        let (_, _, mut bytes) = self.last_heartbeat.get(&from).cloned().unwrap();
        // The counter is a little ahead of what was seen; the ring's number is after receiver, link,
        // kind, three bytes and the generation.
        let counter = u64::from_le_bytes(bytes[26..34].try_into().unwrap()) + 100;
        bytes[26..34].copy_from_slice(&counter.to_le_bytes());
        self.spoofed += 1;
        bytes[51..59].copy_from_slice(&ring_seq.to_le_bytes());
        bytes[34..38].copy_from_slice(&to.0.to_le_bytes());
        self.input(to, Input::Packet { link: 0, bytes });
    }

    /// Cuts every path between the two groups, in both directions.
    pub fn partition(&mut self, left: &[NodeId], right: &[NodeId]) {
        for a in left {
            for b in right {
                for link in 0..self.links {
                    self.cut.insert((*a, *b, link));
                    self.cut.insert((*b, *a, link));
                }
            }
        }
    }

    pub fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done` holds; false if it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if !self.step(end) {
                self.now = end;
                return done(self);
            }
        }
        true
    }

    fn step(&mut self, end: Instant) -> bool {
        let packet = self.wire.keys().next().map(|k| k.0);
        let wake = |n: &Node| match n.paused_until {
            Some(at) => n.machine.as_ref().map(|_| at),
            None => n.machine.as_ref().and_then(Totem::poll_timeout),
        };
        let timer = self.nodes.iter().filter_map(|(id, n)| Some((wake(n)?, *id))).min();
        let next = [packet, timer.map(|t| t.0)].into_iter().flatten().min();
        let Some(next) = next.filter(|n| *n <= end) else { return false };
        self.now = self.now.max(next);
        if packet == Some(next) {
            let (_, (to, link, bytes)) = self.wire.pop_first().unwrap();
            let node = self.nodes.get_mut(&to).unwrap();
            if node.paused_until.is_some() {
                if node.inbox.len() < 500 {
                    node.inbox.push((link, bytes));
                }
            } else {
                self.input(to, Input::Packet { link, bytes });
            }
        } else if let Some((_, id)) = timer {
            let node = self.nodes.get_mut(&id).unwrap();
            if node.paused_until.take().is_some() {
                while !self.nodes[&id].inbox.is_empty() {
                    let (link, bytes) = self.nodes.get_mut(&id).unwrap().inbox.remove(0);
                    self.input(id, Input::Packet { link, bytes });
                }
            }
            let now = self.now;
            if let Some(machine) = &mut self.nodes.get_mut(&id).unwrap().machine {
                machine.handle_timeout(now);
                self.drain(id);
            }
        }
        true
    }

    pub fn log(&self, id: NodeId) -> &[(Instant, Entry)] {
        let node = &self.nodes[&id];
        &node.logs[&node.incarnation]
    }

    pub fn view(&self, id: NodeId) -> Option<&RingView> {
        self.log(id).iter().rev().find_map(|(_, e)| match e {
            Entry::View(v) => Some(v),
            Entry::Message(..) => None,
        })
    }

    /// All of `ids` are operational in one and the same ring that has exactly them.
    pub fn is_one_ring(&self, ids: &[NodeId]) -> bool {
        let rings: BTreeSet<RingId> =
            ids.iter().filter_map(|id| self.view(*id).map(|v| v.ring)).collect();
        rings.len() == 1
            && ids.iter().all(|id| {
                self.view(*id).is_some_and(|v| v.members == ids)
                    && self.nodes[id].machine.as_ref().unwrap().status().phase == Phase::Operational
            })
    }

    pub fn up(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, n)| n.machine.is_some()).map(|(id, _)| *id).collect()
    }

    /// All that must hold whatever happened.
    pub fn check(&self) {
        let lives: Vec<Life> = self
            .nodes
            .iter()
            .flat_map(|(id, n)| n.logs.iter().map(move |(i, log)| Life::new(*id, *i, log)))
            .collect();
        for life in &lives {
            life.check_alone();
        }
        for a in &lives {
            for b in &lives {
                check_pair(a, b);
            }
        }
        self.check_safe(&lives);
    }

    /// What must hold in the end, when nothing is under way: every message that a surviving process
    /// submitted was delivered to it, and once.
    pub fn check_own_delivered(&self) {
        for (id, node) in self.nodes.iter().filter(|(_, n)| n.machine.is_some()) {
            let sent = node.submitted.get(&node.incarnation).cloned().unwrap_or_default();
            let own: Vec<u64> = node.logs[&node.incarnation]
                .iter()
                .filter_map(|(_, e)| match e {
                    Entry::Message(s, i, n, _) if s == id && *i == node.incarnation => Some(*n),
                    _ => None,
                })
                .collect();
            assert_eq!(own, sent, "node {id} gets its own messages once and in order");
        }
    }

    /// A safe message delivered in a view reaches every member of it that lives on.
    fn check_safe(&self, lives: &[Life]) {
        for life in lives {
            for section in life.sections.iter().filter(|s| !s.view.transitional) {
                for message in section.messages.iter().filter(|m| m.3) {
                    for other in lives.iter().filter(|o| {
                        let node = &self.nodes[&o.node];
                        node.machine.is_some() && node.incarnation == o.incarnation
                    }) {
                        let member =
                            other.sections.iter().any(|s| s.view.ring == section.view.ring);
                        if member && section.view.members.contains(&other.node) {
                            let has = other.sections.iter().any(|s| s.messages.contains(message));
                            assert!(
                                has,
                                "safe {message:?} of {:?} is missing at {}",
                                section.view, other.node
                            );
                        }
                    }
                }
            }
        }
    }
}

type Message = (NodeId, u64, u64, bool);

struct Section {
    view: RingView,
    messages: Vec<Message>,
}

/// One process from start to end, cut into views.
struct Life {
    node: NodeId,
    incarnation: u64,
    sections: Vec<Section>,
    orphans: usize,
}

impl Life {
    fn new(node: NodeId, incarnation: u64, log: &[(Instant, Entry)]) -> Life {
        let mut life = Life { node, incarnation, sections: Vec::new(), orphans: 0 };
        for (_, entry) in log {
            match entry {
                Entry::View(view) => {
                    life.sections.push(Section { view: view.clone(), messages: Vec::new() });
                }
                Entry::Message(s, i, n, safe) => match life.sections.last_mut() {
                    Some(section) => section.messages.push((*s, *i, *n, *safe)),
                    None => life.orphans += 1,
                },
            }
        }
        life
    }

    fn check_alone(&self) {
        assert_eq!(self.orphans, 0, "nothing is delivered before the first view");
        let mut seen = BTreeSet::new();
        let mut last = 0;
        for section in &self.sections {
            assert!(section.view.id > last, "view ids grow");
            last = section.view.id;
            assert!(section.view.members.contains(&self.node));
            assert!(section.view.came_with_us.contains(&self.node));
            for m in &section.messages {
                assert!(seen.insert(*m), "{m:?} twice at {}", self.node);
                let from = section.view.transitional || section.view.members.contains(&m.0);
                assert!(from, "the sender is a member");
            }
        }
    }

    /// The regular view at `at` and everything up to the next regular view, with that view.
    fn step(&self, at: usize) -> (Vec<Message>, Option<&RingView>) {
        let mut messages = self.sections[at].messages.clone();
        for section in &self.sections[at + 1..] {
            if !section.view.transitional {
                return (messages, Some(&section.view));
            }
            messages.extend(&section.messages);
        }
        (messages, None)
    }
}

fn check_pair(a: &Life, b: &Life) {
    for (i, sa) in a.sections.iter().enumerate().filter(|(_, s)| !s.view.transitional) {
        let find = |s: &Section| s.view.ring == sa.view.ring && !s.view.transitional;
        let Some(j) = b.sections.iter().position(find) else { continue };
        let sb = &b.sections[j];
        assert_eq!(sa.view.members, sb.view.members, "one ring, one membership");
        let common = sa.messages.len().min(sb.messages.len());
        assert_eq!(sa.messages[..common], sb.messages[..common], "same order in {:?}", sa.view);
        let ((ma, va), (mb, vb)) = (a.step(i), b.step(j));
        if let (Some(va), Some(vb)) = (va, vb)
            && va.ring == vb.ring
        {
            assert!(va.came_with_us.contains(&b.node), "{} came along with {}", b.node, a.node);
            assert_eq!(ma, mb, "virtual synchrony from {:?} to {va:?}", sa.view);
        }
    }
}
