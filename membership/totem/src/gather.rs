//! The gather phase: all that shall be in the next ring send each other the same two sets.
//!
//! The sets (members, and which of them failed) only grow within one gather, so they settle. Each
//! entry into the phase has a number, the generation; the commit token repeats the generations it
//! is based on, which is how late joins and late commit tokens are told from current ones.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use membership_base::{Incarnation, Instant, NodeId};

use crate::machine::{Effect, Reason, Timers, Totem};
use crate::peers::Liveness;
use crate::wire::{Frame, Join, NODES_MAX, Phase};

struct Seen {
    generation: u64,
    members: BTreeSet<NodeId>,
    failed: BTreeSet<NodeId>,
}

#[derive(Default)]
pub(crate) struct Gather {
    members: BTreeSet<NodeId>,
    /// With the incarnation that failed; zero is any.
    failed: BTreeMap<NodeId, Incarnation>,
    joins: BTreeMap<NodeId, Seen>,
    /// Members that only others hear so far, and until when we wait for a sign of theirs.
    waiting: BTreeMap<NodeId, Instant>,
}

impl Gather {
    /// Those that shall form the ring, ascending.
    pub(crate) fn candidates(&self) -> Vec<NodeId> {
        self.members.iter().filter(|m| !self.failed.contains_key(m)).copied().collect()
    }

    /// The generation of a candidate's last join.
    pub(crate) fn generation_of(&self, node: NodeId) -> u64 {
        self.joins.get(&node).map_or(0, |s| s.generation)
    }

    fn agrees(&self, seen: &Seen) -> bool {
        seen.members == self.members && seen.failed.iter().eq(self.failed.keys())
    }

    fn agreed_by(&self, node: NodeId) -> bool {
        self.joins.get(&node).is_some_and(|s| self.agrees(s))
    }
}

impl Totem {
    pub(crate) fn gather_deadline(&self) -> Option<Instant> {
        if self.phase != Phase::Gather {
            return None;
        }
        self.gather.waiting.values().min().copied()
    }

    /// Drops whatever was being formed and begins to agree anew. The installed ring stays as the
    /// old ring until another one is installed.
    pub(crate) fn start_gather(&mut self, reason: Reason) {
        if self.phase == Phase::Left {
            return;
        }
        self.enter(Phase::Gather);
        self.generation += 1;
        self.forming = None;
        self.held = None;
        self.unconfirmed = None;
        self.stalled = None;
        let timing = &self.settings.timing;
        self.timers = Timers {
            heartbeat: self.timers.heartbeat,
            probe: self.timers.probe,
            start: self.timers.start,
            join: Some(self.now + timing.join),
            consensus: Some(self.now + timing.consensus),
            ..Timers::default()
        };
        self.effects.push_back(Effect::Gathering(reason));
        let mut gather = Gather::default();
        gather.members.extend(&self.ring.members);
        for peer in self.peers.values() {
            if self.is_reachable_for_ring(peer.id) {
                gather.members.insert(peer.id);
            }
            let gone = peer.left || peer.liveness == Liveness::Dead;
            let deaf = reason == Reason::NotReceiving(peer.id);
            if gather.members.contains(&peer.id) && (gone || deaf) {
                gather.failed.insert(peer.id, peer.incarnation);
            }
        }
        self.gather = gather;
        self.send_join();
        self.due_consensus();
    }

    fn send_join(&mut self) {
        let join = Frame::Join(Join {
            generation: self.generation,
            ring_seq: self.ring_seq,
            heard: self.heard_list(),
            members: self.gather.members.iter().copied().collect(),
            failed: self.gather.failed.iter().map(|(n, i)| (*n, *i)).collect(),
        });
        let targets: Vec<NodeId> =
            self.gather.members.iter().filter(|m| **m != self.me).copied().collect();
        self.send(&targets, &join);
    }

    pub(crate) fn on_join(&mut self, from: NodeId, join: Join) {
        self.note_ring_seq(join.ring_seq);
        let Some(peer) = self.peers.get(&from) else { return };
        // A join that was long on its way speaks of a gather that is over.
        if peer.left || join.generation <= peer.gathered {
            return;
        }
        match self.phase {
            Phase::Operational if self.ring.contains(from) => {
                if join.generation <= self.ring.generations.get(&from).copied().unwrap_or(0) {
                    return;
                }
                self.start_gather(Reason::Asked(from));
            }
            Phase::Operational => {
                // Whether or not another attempt with it is due here: it waits between its own, and
                // two that answer only at their own times can miss each other for ever.
                if !self.is_reachable_for_ring(from) {
                    return;
                }
                self.start_gather(Reason::Merge(from));
            }
            Phase::Commit | Phase::Recovery => {
                let Some(forming) = &self.forming else { return };
                let known = forming.ring.generations.get(&from).copied();
                if known.is_none_or(|g| join.generation <= g) {
                    return;
                }
                self.start_gather(Reason::Asked(from));
            }
            Phase::Gather => {}
            Phase::Idle | Phase::Left => return,
        }
        if self.phase == Phase::Gather {
            self.merge_join(from, join);
        }
    }

    fn merge_join(&mut self, from: NodeId, join: Join) {
        if self.gather.failed.contains_key(&from) {
            return;
        }
        if !self.gather.members.contains(&from) && !self.is_reachable_for_ring(from) {
            return;
        }
        let seen = Seen {
            generation: join.generation,
            members: join.members.iter().copied().collect(),
            failed: join.failed.iter().map(|(n, _)| *n).collect(),
        };
        let size = |s: &Seen| (s.generation, s.members.len() + s.failed.len());
        if self.gather.joins.get(&from).is_some_and(|old| size(old) > size(&seen)) {
            return;
        }
        let changed = self.merge_sets(from, &join);
        let agrees = self.gather.agrees(&seen);
        self.gather.joins.insert(from, seen);
        if changed {
            self.send_join();
        } else if !agrees {
            // It does not know all that we know, perhaps because a join was lost.
            self.timers.join = Some(self.now.min(self.timers.join.unwrap_or(self.now)));
        }
        self.due_consensus();
    }

    /// Takes over what the sender of a join knows; true if that was news.
    fn merge_sets(&mut self, from: NodeId, join: &Join) -> bool {
        let (me, incarnation) = (self.me, self.settings.incarnation);
        let mut changed = self.gather.members.insert(from);
        if join
            .failed
            .iter()
            .any(|(n, i)| *n == me && (*i == Incarnation::default() || *i == incarnation))
        {
            // It will go on without us; then we go on without it.
            let theirs = self.peers.get(&from).map_or_else(Incarnation::default, |p| p.incarnation);
            self.gather.failed.insert(from, theirs);
            return true;
        }
        if join.failed.iter().any(|(third, _)| self.is_claimant_at_fault(from, *third)) {
            let theirs = self.peers.get(&from).map_or_else(Incarnation::default, |p| p.incarnation);
            self.gather.failed.insert(from, theirs);
            return true;
        }
        for node in &join.members {
            if self.gather.members.len() >= NODES_MAX || !self.is_configured(*node) {
                continue;
            }
            if self.gather.members.insert(*node) {
                changed = true;
                if !self.peers.get(node).is_none_or(|p| p.is_present()) {
                    let until = self.now + self.settings.timing.suspect;
                    self.gather.waiting.insert(*node, until);
                }
            }
        }
        for (node, incarnation) in &join.failed {
            if *node != me && self.gather.members.contains(node) {
                changed |= self.gather.failed.insert(*node, *incarnation).is_none();
            }
        }
        changed
    }

    /// Somebody will not form a ring with a third node, but we hear both: one of the two has to stay
    /// out. Whether it is the one that says so.
    ///
    /// A node that hears nobody gives up all others one by one, and one that loses datagrams gives up
    /// any: believed, it would take the quorum from nodes that are well. So the worse connected of
    /// the two stays out; if they are equal, the one whose heartbeats arrive less regularly, then
    /// the one that does not hear the other though it is heard, then the one with the higher number.
    /// All who hear both decide the same, for the sums come from what everybody says of itself.
    fn is_claimant_at_fault(&self, claimant: NodeId, third: NodeId) -> bool {
        let known = self.gather.failed.contains_key(&third) || third == self.me;
        let (Some(a), Some(b)) = (self.peers.get(&claimant), self.peers.get(&third)) else {
            return false;
        };
        // What is not heard any more is not defended: its silence may only not be long enough yet.
        let heard =
            b.is_connected() && b.is_heard_within(self.now, self.settings.timing.suspect / 2);
        // A claimant that hears it has another reason, or only passes on what it was told.
        if known || !heard || self.hears(claimant, third) {
            return false;
        }
        let (ours, theirs) = (self.connections_of(claimant), self.connections_of(third));
        if ours != theirs {
            return ours < theirs;
        }
        match a.compare_spacing(b) {
            Ordering::Equal if self.hears(third, claimant) => true,
            Ordering::Equal => claimant > third,
            worse => worse == Ordering::Greater,
        }
    }

    /// How many members a node hears, and how many hear it.
    fn connections_of(&self, node: NodeId) -> usize {
        let others = || self.gather.members.iter().filter(|m| **m != node);
        others().filter(|m| self.hears(node, **m)).count()
            + others().filter(|m| self.hears(**m, node)).count()
    }

    /// A peer is heard while we gather: if everybody hears it, it shall be in.
    pub(crate) fn consider_member(&mut self, from: NodeId) {
        let due = self.peers.get(&from).is_some_and(|p| p.merge_due(self.now));
        if due && !self.gather.members.contains(&from) && self.is_reachable_for_ring(from) {
            self.gather.members.insert(from);
            self.send_join();
        }
        self.due_consensus();
    }

    fn is_configured(&self, node: NodeId) -> bool {
        node == self.me || self.peers.contains_key(&node)
    }

    /// A peer died, left, or is not the process any more that we knew.
    pub(crate) fn on_peer_gone(&mut self, id: NodeId, reason: Reason) {
        if matches!(reason, Reason::Restarted(_)) {
            self.ring.generations.remove(&id);
            if let Some(forming) = &mut self.forming {
                forming.ring.generations.remove(&id);
            }
        }
        match self.phase {
            Phase::Operational if self.ring.contains(id) => self.start_gather(reason),
            Phase::Commit | Phase::Recovery
                if self.forming.as_ref().is_some_and(|f| f.ring.contains(id)) =>
            {
                self.start_gather(reason);
            }
            Phase::Gather if matches!(reason, Reason::Restarted(_)) => {
                self.gather.joins.remove(&id);
            }
            Phase::Gather if self.gather.members.contains(&id) => self.fail(&[id]),
            _ => {}
        }
    }

    fn fail(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            let incarnation =
                self.peers.get(node).map_or_else(Incarnation::default, |p| p.incarnation);
            self.gather.failed.entry(*node).or_insert(incarnation);
            self.gather.waiting.remove(node);
        }
        self.send_join();
        self.due_consensus();
    }

    pub(crate) fn due_gather(&mut self) {
        let now = self.now;
        if self.timers.start.is_some_and(|at| at <= now) {
            self.timers.start = None;
            self.due_consensus();
        }
        if self.phase != Phase::Gather {
            return;
        }
        if self.timers.join.is_some_and(|at| at <= now) {
            self.timers.join = Some(now + self.settings.timing.join);
            self.send_join();
        }
        let mut absent: Vec<NodeId> = Vec::new();
        let peers = &self.peers;
        self.gather.waiting.retain(|node, until| {
            if peers.get(node).is_some_and(|p| p.is_present()) {
                return false;
            }
            if *until <= now {
                absent.push(*node);
            }
            *until > now
        });
        if !absent.is_empty() {
            self.fail(&absent);
        }
        self.due_no_consensus();
    }

    fn due_no_consensus(&mut self) {
        if self.phase != Phase::Gather || self.timers.consensus.is_none_or(|at| at > self.now) {
            return;
        }
        let others = self.gather.candidates().into_iter().filter(|n| *n != self.me);
        let silent: Vec<NodeId> = others.filter(|n| !self.gather.agreed_by(*n)).collect();
        if silent.is_empty() {
            self.start_gather(Reason::NoConsensus);
        } else {
            self.timers.consensus = Some(self.now + self.settings.timing.consensus);
            self.fail(&silent);
        }
    }

    /// If all agree, the one with the lowest id goes on to the commit phase.
    pub(crate) fn due_consensus(&mut self) {
        if self.phase != Phase::Gather || self.waits_for_start() {
            return;
        }
        let candidates = self.gather.candidates();
        if candidates.iter().all(|n| *n == self.me || self.gather.agreed_by(*n))
            && candidates.first() == Some(&self.me)
        {
            self.begin_commit(&candidates);
        }
    }

    /// A starting node waits a moment: alone for anybody to be heard, and at the start of the whole
    /// cluster for all others, so that they do not form rings one node at a time.
    fn waits_for_start(&self) -> bool {
        if self.timers.start.is_none_or(|at| at <= self.now) {
            return false;
        }
        let alone = self.gather.candidates() == [self.me];
        let joins_others = self.peers.values().any(|p| p.is_connected() && p.ring.seq > 0);
        let complete = self.peers.values().all(|p| self.gather.agreed_by(p.id));
        !complete && (alone || !joins_others)
    }
}
