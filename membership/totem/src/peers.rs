//! Who is there: heartbeats, suspicion, links.
//!
//! Every datagram of a peer is a sign of life. A silent peer becomes *suspect* after a time that
//! follows the measured spacing of its heartbeats, and is then probed in short intervals; it is
//! *dead* when it stays silent, and *alive* again with the first sign. Only death touches the ring.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use membership_base::{Incarnation, Instant, NodeId};

use crate::machine::{Effect, PeerStatus, Reason, Totem};
use crate::seal::Opener;
use crate::settings::{NodeLinks, Timing};
use crate::wire::{Frame, Heard, Heartbeat, Phase, RingId};

/// Shortest spacing of heartbeats that are sent out of turn.
pub(crate) const SOON: Duration = Duration::from_millis(2);
const MERGE_BACKOFF_FIRST: Duration = Duration::from_millis(100);
const MERGE_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Never heard.
    Unheard,
    /// Heard in time.
    Alive,
    /// Silent for longer than its heartbeats' spacing explains; being probed.
    Suspect,
    /// Silent for so long that it is left out of the ring.
    Dead,
}

struct Link {
    number: u8,
    last_heard: Option<Instant>,
    up: bool,
}

/// A number that a peer was asked to send back.
pub(crate) struct Challenge {
    pub(crate) number: u64,
    pub(crate) first: Instant,
    pub(crate) last: Option<Instant>,
}

pub(crate) struct Peer {
    pub(crate) id: NodeId,
    links: Vec<Link>,
    pub(crate) opener: Option<Opener>,
    /// Asked of an incarnation of it that we do not know.
    pub(crate) challenge: Option<Challenge>,
    pub(crate) incarnation: Incarnation,
    /// It has named our incarnation at least once in this incarnation of its own.
    pub(crate) verified: bool,
    pub(crate) liveness: Liveness,
    /// Since when it is suspect or dead.
    since: Instant,
    last_heard: Instant,
    last_beat: Option<Instant>,
    spacing_mean: Duration,
    spacing_deviation: Duration,
    /// The longest recent spacing; it decays.
    spacing_peak: Duration,
    /// Whom it hears, and on which links.
    heard: BTreeMap<NodeId, u8>,
    hears_us: bool,
    pub(crate) phase: Phase,
    pub(crate) ring: RingId,
    ring_members: Vec<NodeId>,
    /// Its gathers up to this one are over.
    pub(crate) gathered: u64,
    /// It said good-bye in this incarnation.
    pub(crate) left: bool,
    merge_after: Instant,
    merge_backoff: Duration,
}

impl Peer {
    pub(crate) fn new(node: &NodeLinks, now: Instant) -> Peer {
        let links =
            node.links.iter().map(|number| Link { number: *number, last_heard: None, up: false });
        Peer {
            id: node.node,
            links: links.collect(),
            opener: None,
            challenge: None,
            incarnation: Incarnation::default(),
            verified: false,
            liveness: Liveness::Unheard,
            since: now,
            last_heard: now,
            last_beat: None,
            spacing_mean: Duration::ZERO,
            spacing_deviation: Duration::ZERO,
            spacing_peak: Duration::ZERO,
            heard: BTreeMap::new(),
            hears_us: false,
            phase: Phase::Idle,
            ring: RingId::default(),
            ring_members: Vec::new(),
            gathered: 0,
            left: false,
            merge_after: now,
            merge_backoff: MERGE_BACKOFF_FIRST,
        }
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = u8> + '_ {
        self.links.iter().map(|l| l.number)
    }

    /// The first link that works both ways, else one that works towards us; none if in doubt.
    pub(crate) fn best_link(&self) -> Option<u8> {
        if self.liveness != Liveness::Alive {
            return None;
        }
        let up = || self.links.iter().filter(|l| l.up);
        up().find(|l| self.hears_on(l.number)).or_else(|| up().next()).map(|l| l.number)
    }

    fn hears_on(&self, link: u8) -> bool {
        self.hears_us && self.heard.get(&self.id).is_some_and(|mask| mask >> link & 1 != 0)
    }

    pub(crate) fn is_present(&self) -> bool {
        !self.left && matches!(self.liveness, Liveness::Alive | Liveness::Suspect)
    }

    /// Whose heartbeats come less regularly: `Greater` if ours do by an eighth.
    pub(crate) fn compare_spacing(&self, other: &Peer) -> Ordering {
        let (ours, theirs) = (self.spacing_mean, other.spacing_mean);
        if ours > theirs + theirs / 8 {
            Ordering::Greater
        } else if theirs > ours + ours / 8 {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }

    pub(crate) fn is_heard_within(&self, now: Instant, time: Duration) -> bool {
        self.is_present() && now.since(self.last_heard) < time
    }

    /// Heard, hearing us, and authentic.
    pub(crate) fn is_connected(&self) -> bool {
        self.is_present() && self.verified && self.hears_us
    }

    /// Whether we may try again to form a ring together.
    pub(crate) fn merge_due(&self, now: Instant) -> bool {
        self.merge_after <= now
    }

    fn suspect_after(&self, timing: &Timing) -> Duration {
        let steady = self.spacing_mean + self.spacing_deviation * 6;
        let peak = self.spacing_peak + self.spacing_peak / 2;
        steady.max(peak).clamp(timing.suspect, timing.suspect_max.max(timing.suspect))
    }

    fn measure(&mut self, now: Instant, interval: Duration) {
        let Some(last) = self.last_beat.replace(now) else { return };
        let gap = now.since(last);
        // Heartbeats out of turn would make the spacing look shorter than it is.
        if gap < interval / 2 {
            return;
        }
        if self.spacing_mean.is_zero() {
            self.spacing_mean = gap;
        }
        let error = gap.abs_diff(self.spacing_mean);
        self.spacing_mean = (self.spacing_mean * 15 + gap) / 16;
        self.spacing_deviation = (self.spacing_deviation * 15 + error) / 16;
        self.spacing_peak = gap.max(self.spacing_peak - self.spacing_peak / 512);
    }

    pub(crate) fn status(&self, machine: &Totem) -> PeerStatus {
        PeerStatus {
            node: self.id,
            liveness: self.liveness,
            hears_us: self.hears_us,
            suspect_after: self.suspect_after(&machine.settings.timing),
            links: self.links.iter().map(|l| (l.number, l.up)).collect(),
        }
    }
}

impl Totem {
    pub(crate) fn peers_deadline(&self) -> Option<Instant> {
        let timing = &self.settings.timing;
        let deadline = |p: &Peer| match p.liveness {
            Liveness::Alive => Some(p.last_heard + p.suspect_after(timing)),
            Liveness::Suspect => Some(p.since + timing.confirm),
            Liveness::Unheard | Liveness::Dead => None,
        };
        self.peers.values().filter_map(deadline).min()
    }

    pub(crate) fn due_peers(&mut self) {
        let now = self.now;
        if self.timers.heartbeat.is_some_and(|at| at <= now) {
            self.timers.heartbeat = Some(now + self.settings.timing.heartbeat);
            self.check_links();
            self.beat(false);
        }
        let ids: Vec<NodeId> = self.peers.keys().copied().collect();
        for id in ids {
            self.check_silence(id);
        }
        if self.timers.probe.is_some_and(|at| at <= now) {
            let any = self.peers.values().any(|p| p.liveness == Liveness::Suspect);
            self.timers.probe = any.then(|| now + self.settings.timing.probe);
            if any {
                self.beat(true);
            }
        }
    }

    fn check_silence(&mut self, id: NodeId) {
        let (now, timing) = (self.now, &self.settings.timing);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match peer.liveness {
            Liveness::Alive if now >= peer.last_heard + peer.suspect_after(timing) => {
                peer.liveness = Liveness::Suspect;
                peer.since = now;
                self.timers.probe = Some(now);
            }
            Liveness::Suspect if now >= peer.since + timing.confirm => {
                peer.liveness = Liveness::Dead;
                peer.since = now;
                peer.hears_us = false;
                peer.last_beat = None;
            }
            _ => return,
        }
        let liveness = peer.liveness;
        self.effects.push_back(Effect::Peer { node: id, liveness });
        if liveness == Liveness::Dead {
            self.on_peer_gone(id, Reason::Silent(id));
        }
    }

    fn check_links(&mut self) {
        let (now, timing) = (self.now, &self.settings.timing);
        for peer in self.peers.values_mut() {
            let limit = peer.suspect_after(timing);
            for link in &mut peer.links {
                let silent = link.last_heard.is_none_or(|at| now.since(at) >= limit);
                if link.up && silent {
                    link.up = false;
                    let (node, link) = (peer.id, link.number);
                    self.effects.push_back(Effect::Link { node, link, up: false });
                }
            }
        }
    }

    /// After a pause of our own: nobody's silence counts.
    pub(crate) fn forgive_peers(&mut self) {
        for peer in self.peers.values_mut() {
            if matches!(peer.liveness, Liveness::Alive | Liveness::Suspect) {
                peer.liveness = Liveness::Alive;
                peer.last_heard = self.now;
                peer.last_beat = None;
            }
        }
    }

    /// Sends heartbeats to all peers on all links, or probes to the suspects only.
    pub(crate) fn beat(&mut self, probe: bool) {
        if !probe {
            self.last_heartbeat = self.now;
        }
        let mut by_link: BTreeMap<u8, Vec<NodeId>> = BTreeMap::new();
        for peer in self.peers.values() {
            if !probe || peer.liveness == Liveness::Suspect {
                peer.links().for_each(|l| by_link.entry(l).or_default().push(peer.id));
            }
        }
        for (link, targets) in by_link {
            self.beat_on(link, &targets, probe);
        }
    }

    fn beat_on(&mut self, link: u8, targets: &[NodeId], probe: bool) {
        let frame = Frame::Heartbeat(Heartbeat {
            probe,
            phase: self.phase,
            link,
            generation: self.generation,
            ring: self.ring.id,
            token_seq: self.ring.token_seq,
            heard: self.heard_list(),
            members: self.ring.members.clone(),
        });
        self.transmit(link, targets, &frame.encode());
    }

    pub(crate) fn heard_list(&self) -> Vec<Heard> {
        let present = self.peers.values().filter(|p| p.is_present());
        let mask = |p: &Peer| {
            p.links.iter().filter(|l| l.up && l.number < 8).fold(0, |m, l| m | 1u8 << l.number)
        };
        present.map(|p| Heard { node: p.id, incarnation: p.incarnation, links: mask(p) }).collect()
    }

    pub(crate) fn on_new_incarnation(&mut self, from: NodeId, incarnation: Incarnation) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let known = peer.incarnation != Incarnation::default();
        peer.incarnation = incarnation;
        peer.verified = false;
        peer.hears_us = false;
        peer.left = false;
        peer.gathered = 0;
        peer.heard.clear();
        peer.last_beat = None;
        peer.phase = Phase::Idle;
        self.heartbeat_soon = true;
        if known {
            self.on_peer_gone(from, Reason::Restarted(from));
        }
    }

    pub(crate) fn on_heard(&mut self, from: NodeId, link: u8) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.left {
            return;
        }
        peer.last_heard = now;
        if let Some(entry) = peer.links.iter_mut().find(|l| l.number == link) {
            entry.last_heard = Some(now);
            if !entry.up {
                entry.up = true;
                self.heartbeat_soon = true;
                self.effects.push_back(Effect::Link { node: from, link, up: true });
            }
        }
        if peer.liveness != Liveness::Alive {
            if peer.liveness != Liveness::Suspect {
                self.heartbeat_soon = true;
            }
            peer.liveness = Liveness::Alive;
            peer.since = now;
            self.effects.push_back(Effect::Peer { node: from, liveness: Liveness::Alive });
        }
    }

    /// Takes in whom a peer hears.
    pub(crate) fn on_heard_list(&mut self, from: NodeId, heard: &[Heard]) {
        let (me, incarnation) = (self.me, self.settings.incarnation);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let ours = heard.iter().find(|h| h.node == me && h.incarnation == incarnation);
        peer.heard = heard.iter().map(|h| (h.node, h.links)).collect();
        // Under its own id a peer's entry tells on which links it hears us.
        peer.heard.insert(from, ours.map_or(0, |h| h.links));
        peer.hears_us = ours.is_some();
        if ours.is_some() {
            peer.verified = true;
        } else {
            self.heartbeat_soon = true;
        }
    }

    pub(crate) fn on_heartbeat(&mut self, from: NodeId, link: u8, beat: &Heartbeat) {
        if beat.probe {
            self.beat_on(link, &[from], false);
        }
        let (now, interval) = (self.now, self.settings.timing.heartbeat);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.left {
            return;
        }
        peer.phase = beat.phase;
        peer.ring = beat.ring;
        peer.ring_members.clone_from(&beat.members);
        let over = match beat.phase {
            Phase::Operational => beat.generation,
            _ => beat.generation.saturating_sub(1),
        };
        peer.gathered = peer.gathered.max(over);
        if !beat.probe {
            peer.measure(now, interval);
        }
        self.on_heard_list(from, &beat.heard);
        if !self.peers.get(&from).is_some_and(|p| p.verified) {
            return;
        }
        self.note_ring_seq(beat.ring.seq);
        self.on_token_evidence(from, beat.ring, beat.token_seq);
        match self.phase {
            Phase::Operational => self.consider_merge(from),
            Phase::Gather => self.consider_member(from),
            _ => {}
        }
    }

    /// A peer in another ring, or in none: if everybody hears everybody, form one ring.
    fn consider_merge(&mut self, from: NodeId) {
        let Some(peer) = self.peers.get(&from) else { return };
        if !peer.is_connected() {
            return;
        }
        if self.ring.contains(from) {
            // It has gone on without us, and we missed its joins.
            if peer.phase == Phase::Operational && peer.ring.seq > self.ring.id.seq {
                self.start_gather(Reason::Asked(from));
            }
            return;
        }
        let elsewhere = matches!(peer.phase, Phase::Operational | Phase::Gather);
        if elsewhere && peer.merge_due(self.now) && self.is_reachable_for_ring(from) {
            self.start_gather(Reason::Merge(from));
        }
    }

    /// Whether `node` and its ring can be joined with ours: as far as we have been told, everybody
    /// here hears everybody there.
    pub(crate) fn is_reachable_for_ring(&self, node: NodeId) -> bool {
        let Some(peer) = self.peers.get(&node).filter(|p| p.is_connected()) else { return false };
        let there = peer.ring_members.iter().filter(|m| **m != node);
        there.chain([&node]).all(|b| self.ring.members.iter().all(|a| self.hear_each_other(*a, *b)))
    }

    /// Whether `a` hears `b` in time on any link, as far as it has said so.
    pub(crate) fn hears(&self, a: NodeId, b: NodeId) -> bool {
        if a == self.me {
            return self
                .peers
                .get(&b)
                .is_some_and(|p| p.is_present() && p.links.iter().any(|l| l.up));
        }
        // What a peer hears of us stands under its own id.
        let whom = if b == self.me { a } else { b };
        let heard = self.peers.get(&a).and_then(|p| p.heard.get(&whom));
        heard.is_some_and(|links| *links != 0)
    }

    fn hear_each_other(&self, a: NodeId, b: NodeId) -> bool {
        if a == b {
            return true;
        }
        if a == self.me || b == self.me {
            let other = if a == self.me { b } else { a };
            return self.peers.get(&other).is_some_and(Peer::is_connected);
        }
        // A node that we do not know is in somebody else's node list only: no ring with it.
        let (Some(p), Some(q)) = (self.peers.get(&a), self.peers.get(&b)) else { return false };
        // A member of ours that is itself lost does not stand in the way.
        !p.is_present() || (p.heard.contains_key(&b) && q.heard.contains_key(&a))
    }

    /// After a view: whoever was to be merged and is still not in waits longer each time.
    pub(crate) fn settle_merges(&mut self) {
        let now = self.now;
        for peer in self.peers.values_mut() {
            if self.ring.contains(peer.id) {
                peer.merge_backoff = MERGE_BACKOFF_FIRST;
            } else if peer.is_connected() {
                peer.merge_after = now + peer.merge_backoff;
                peer.merge_backoff = (peer.merge_backoff * 2).min(MERGE_BACKOFF_MAX);
            }
        }
    }

    pub(crate) fn on_leave(&mut self, from: NodeId) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.left {
            return;
        }
        peer.left = true;
        peer.liveness = Liveness::Dead;
        peer.since = self.now;
        peer.hears_us = false;
        self.effects.push_back(Effect::Peer { node: from, liveness: Liveness::Dead });
        self.on_peer_gone(from, Reason::Left(from));
    }
}
