//! The commit token's two rounds, the recovery of the old ring's messages, and the installation of
//! the new ring.
//!
//! In the first round each member writes down what it has of its old ring and takes no more of it;
//! in the second all read it. Members with the same old ring send each other what some of them
//! missed, as numbered messages of the new ring, so that the new ring's own means (requests, `aru`)
//! carry them. A member installs the ring when the token shows that every member has all of them.

use std::collections::{BTreeMap, BTreeSet};

use membership_base::{Delivered, Incarnation, NodeId};

use crate::machine::{Effect, Reason, RingView, Totem};
use crate::store::Ring;
use crate::wire::{Commit, CommitMember, Frame, OldRing, Phase, RingId, Token};

/// The step between ring numbers. The number before a ring's own is for the transitional view; the
/// numbers after it are free for the layer above, should it announce the same members again.
const RING_STEP: u64 = 1024;

pub(crate) struct Forming {
    pub(crate) ring: Ring,
    infos: Vec<CommitMember>,
    /// Members that have the same old ring as we do, we among them.
    pub(crate) came: Vec<NodeId>,
    /// Messages of the old ring that we still have to send again.
    pub(crate) queue: BTreeSet<u64>,
}

impl Totem {
    /// Everybody agrees and we are the representative.
    pub(crate) fn begin_commit(&mut self, members: &[NodeId]) {
        let id = RingId { seq: self.ring_seq.saturating_add(RING_STEP), rep: self.me };
        self.note_ring_seq(id.seq);
        let infos = members.iter().map(|node| {
            let ours = *node == self.me;
            CommitMember {
                node: *node,
                incarnation: if ours {
                    self.settings.incarnation
                } else {
                    self.peers.get(node).map_or_else(Incarnation::default, |p| p.incarnation)
                },
                generation: if ours { self.generation } else { self.gather.generation_of(*node) },
                old: None,
                attachment: Vec::new(),
            }
        });
        let commit = Commit { ring: id, token_seq: 0, members: infos.collect() };
        self.take_commit(commit);
    }

    /// First sight of a commit token: fill in our part and pass it on.
    fn take_commit(&mut self, mut commit: Commit) {
        let ring = &self.ring;
        let digest = ring.digest_at(ring.aru).unwrap_or(0);
        let old =
            OldRing { ring: ring.id, aru: ring.aru, high: ring.high, safe: ring.safe, digest };
        for member in commit.members.iter_mut().filter(|m| m.node == self.me) {
            member.old = Some(old);
            member.attachment.clone_from(&self.attachment);
        }
        let mut ring = Ring::new(commit.ring, commit.members.iter().map(|m| m.node).collect());
        ring.generations = commit.members.iter().map(|m| (m.node, m.generation)).collect();
        ring.token_seq = commit.token_seq;
        self.enter(Phase::Commit);
        self.timers.join = None;
        self.timers.consensus = None;
        self.timers.token_loss = Some(self.now + self.settings.timing.commit);
        let alone = ring.members == [self.me];
        self.forming =
            Some(Forming { ring, infos: Vec::new(), came: Vec::new(), queue: BTreeSet::new() });
        if alone {
            self.enter_recovery(&commit.members);
            self.install();
        } else {
            self.pass_commit(commit);
        }
    }

    fn pass_commit(&mut self, mut commit: Commit) {
        let Some(forming) = &mut self.forming else { return };
        commit.token_seq += 1;
        let to = forming.ring.next_after(self.me);
        let (ring, token_seq) = (commit.ring, commit.token_seq);
        self.send_reliably(to, ring, token_seq, Frame::Commit(commit).encode());
    }

    pub(crate) fn on_commit(&mut self, from: NodeId, commit: Commit) {
        let ours = (self.settings.incarnation, self.generation);
        let mine = commit.members.iter().find(|m| m.node == self.me);
        let sorted = commit.members.is_sorted_by(|a, b| a.node < b.node);
        // It goes round as a token does.
        let at = commit.members.iter().position(|m| m.node == self.me).unwrap_or(0);
        let before = commit.members.iter().cycle().nth(at + commit.members.len().max(1) - 1);
        if before.map(|m| m.node) != Some(from) {
            return;
        }
        let current = mine.is_some_and(|m| (m.incarnation, m.generation) == ours);
        if !sorted || !current || commit.members.first().map(|m| m.node) != Some(commit.ring.rep) {
            return;
        }
        let known = match (&self.forming, self.phase) {
            (Some(f), Phase::Commit | Phase::Recovery) => Some((f.ring.id, f.ring.token_seq)),
            (_, Phase::Operational) => Some((self.ring.id, self.ring.token_seq)),
            _ => None,
        };
        match (self.phase, known) {
            (_, Some((ring, seq))) if ring == commit.ring && commit.token_seq <= seq => {
                self.send(&[from], &Frame::TokenAck(ring, commit.token_seq));
            }
            (Phase::Gather, _) => self.first_commit(commit),
            (Phase::Commit | Phase::Recovery, Some((ring, _))) if ring == commit.ring => {
                self.next_commit(commit);
            }
            _ => {}
        }
    }

    fn first_commit(&mut self, commit: Commit) {
        let members: Vec<NodeId> = commit.members.iter().map(|m| m.node).collect();
        let newer = commit.ring.seq > self.ring.id.seq && commit.token_seq > 0;
        let known = commit
            .members
            .iter()
            .all(|m| m.node == self.me || self.peers.get(&m.node).is_some_and(|p| p.verified));
        if members == self.gather.candidates() && newer && known {
            self.note_ring_seq(commit.ring.seq);
            self.take_commit(commit);
        }
    }

    fn next_commit(&mut self, commit: Commit) {
        if !commit.members.iter().all(|m| m.old.is_some()) {
            return;
        }
        self.confirm_sent();
        if let Some((with, seq)) = self.find_divergence(&commit.members) {
            return self.diverged(with, seq);
        }
        let Some(forming) = &mut self.forming else { return };
        forming.ring.token_seq = commit.token_seq;
        self.timers.token_loss = Some(self.now + self.settings.timing.commit);
        if self.phase == Phase::Commit {
            self.enter_recovery(&commit.members);
            self.pass_commit(commit);
        } else if commit.ring.rep == self.me {
            // The second round is complete: the first token of the new ring.
            self.use_token(Token {
                ring: commit.ring,
                token_seq: commit.token_seq,
                pending: commit.members.iter().map(|m| m.node).collect(),
                ..Token::default()
            });
        }
    }

    /// A member of our old ring that has other messages than we have.
    fn find_divergence(&self, infos: &[CommitMember]) -> Option<(NodeId, u64)> {
        let theirs = infos.iter().filter_map(|i| Some((i.node, i.old?)));
        let mut shared = theirs.filter(|(_, old)| old.ring == self.ring.id);
        let differs =
            |old: &OldRing| self.ring.digest_at(old.aru).is_some_and(|ours| ours != old.digest);
        shared.find(|(_, old)| differs(old)).map(|(node, old)| (node, old.aru))
    }

    fn enter_recovery(&mut self, infos: &[CommitMember]) {
        self.enter(Phase::Recovery);
        // Nobody installs the ring before all its members have come to here.
        self.met.extend(infos.iter().map(|info| info.node));
        let Some(forming) = &mut self.forming else { return };
        forming.infos = infos.to_vec();
        let mut came: Vec<(NodeId, OldRing)> = Vec::new();
        for info in infos {
            if let Some(old) = info.old.filter(|o| o.ring == self.ring.id) {
                came.push((info.node, old));
            }
        }
        forming.came = came.iter().map(|(n, _)| *n).collect();
        let low = came.iter().map(|(_, o)| o.aru).min().unwrap_or(0);
        let high = came.iter().map(|(_, o)| o.high).max().unwrap_or(0);
        let full = came.iter().map(|(_, o)| o.aru).max().unwrap_or(0);
        // One member that has all of the first part sends that; the rest everybody sends who has
        // it and has not seen it sent.
        let sender = came.iter().find(|(_, o)| o.aru == full).map(|(n, _)| *n);
        let ours = |seq: &u64| sender == Some(self.me) || *seq > full;
        if came.len() > 1 {
            let held = (low + 1..=high.min(self.ring.high)).filter(ours);
            forming.queue = held.filter(|seq| self.ring.get(*seq).is_some()).collect();
        }
    }

    /// The ring is complete: deliver the rest of the old one, announce the view, begin.
    pub(crate) fn install(&mut self) {
        let Some(forming) = self.forming.take() else { return };
        assert!(forming.came.contains(&self.me), "we always come along with ourselves");
        let same = forming.infos.iter().filter_map(|i| i.old.filter(|o| o.ring == self.ring.id));
        let safe = same.map(|o| o.safe).max().unwrap_or(0).max(self.ring.safe);
        let mut old = std::mem::replace(&mut self.ring, forming.ring);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        self.drain_regular(&mut old, safe, &mut before);
        self.drain_transitional(&mut old, &forming.came, &mut after);
        self.effects.extend(before.into_iter().map(Effect::Deliver));
        if !after.is_empty() {
            self.effects.push_back(Effect::View(RingView {
                id: self.ring.id.seq - 1,
                ring: self.ring.id,
                members: forming.came.clone(),
                came_with_us: forming.came.clone(),
                met: Vec::new(),
                attachments: BTreeMap::new(),
                transitional: true,
            }));
            self.effects.extend(after.into_iter().map(Effect::Deliver));
        }
        let mut met = std::mem::take(&mut self.met);
        met.retain(|node| !self.ring.members.contains(node));
        let met = met.into_iter().collect();
        self.effects.push_back(Effect::View(RingView {
            id: self.ring.id.seq,
            ring: self.ring.id,
            members: self.ring.members.clone(),
            came_with_us: forming.came,
            met,
            attachments: forming.infos.into_iter().map(|i| (i.node, i.attachment)).collect(),
            transitional: false,
        }));
        self.enter(Phase::Operational);
        self.timers.start = None;
        self.timers.token_loss = Some(self.now + self.settings.timing.token);
        self.idle_visits = 0;
        self.stalled = None;
        self.assembler.clear();
        self.outbox.restart();
        self.settle_merges();
        self.heartbeat_soon = true;
        self.deliver_ready();
        if self.ring.members.len() == 1 {
            self.timers.token_loss = None;
            self.pump_alone();
        }
    }

    /// Delivers in order up to the first message that is missing, or not safe as it asked to be.
    fn drain_regular(&mut self, old: &mut Ring, safe: u64, out: &mut Vec<Delivered>) {
        while let Some(data) = old.get(old.delivered + 1) {
            if data.safe && data.seq > safe {
                return;
            }
            if !data.recovered {
                self.assembler.take(data.origin, &data.body, out);
            }
            old.delivered += 1;
        }
    }

    /// Delivers what is left: after a gap only messages of members that came along, because what
    /// others sent may build on what is missing.
    fn drain_transitional(&mut self, old: &mut Ring, came: &[NodeId], out: &mut Vec<Delivered>) {
        let mut gap = false;
        for seq in old.delivered + 1..=old.high {
            match old.get(seq) {
                Some(data) if !data.recovered && (!gap || came.contains(&data.origin)) => {
                    self.assembler.take(data.origin, &data.body, out);
                }
                Some(_) => {}
                None => gap = true,
            }
        }
        old.delivered = old.high;
    }

    pub(crate) fn due_commit_loss(&mut self) {
        self.start_gather(Reason::CommitLoss);
    }
}
