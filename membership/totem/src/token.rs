//! The ring at work: the token, messages, delivery, and the token's rest when there is no work.
//!
//! The visit of a token: answer requests, number and send new messages as flow control allows, ask
//! for what is missing, write down how far we have received (`aru`), pass on. Part of a large batch
//! is sent after the token was passed on, so that the next member can begin; therefore a message
//! counts as missing only if it was numbered before the token's previous visit.

use membership_base::{Delivered, NodeId};
use std::sync::Arc;
use std::time::Duration;

use crate::machine::{Effect, Reason, Totem, Unconfirmed};
use crate::store::{Inserted, Ring};
use crate::wire::{Data, Frame, Phase, REQUESTS_MAX, RingId, Token};

/// Batches up to this size go out whole before the token.
const BEFORE_TOKEN_MIN: usize = 4;
/// A member that has something to send asks again for the token after this time.
const WAKE_AGAIN: Duration = Duration::from_millis(5);
const RETRANSMIT_DOUBLINGS: u32 = 4;
/// Messages may be numbered this many windows ahead of what every member has received.
const OUTSTANDING_WINDOWS: u64 = 4;
const NOBODY: NodeId = NodeId(0);

impl Totem {
    /// The ring whose token we accept now.
    fn active(&mut self) -> Option<&mut Ring> {
        match self.phase {
            Phase::Operational => Some(&mut self.ring),
            Phase::Recovery => self.forming.as_mut().map(|f| &mut f.ring),
            _ => None,
        }
    }

    fn others(&mut self) -> Vec<NodeId> {
        let me = self.me;
        self.active()
            .map_or_else(Vec::new, |r| r.members.iter().filter(|m| **m != me).copied().collect())
    }

    /// Sends a token of either kind and keeps it until there is a sign that it arrived.
    pub(crate) fn send_reliably(&mut self, to: NodeId, ring: RingId, seq: u64, bytes: Vec<u8>) {
        self.send_bytes(&[to], &bytes, false);
        let interval = self.settings.timing.token_retransmit;
        let at = self.now + interval;
        self.unconfirmed =
            Some(Unconfirmed { ring, token_seq: seq, to, bytes, interval, tries: 0, at });
    }

    pub(crate) fn confirm_sent(&mut self) {
        self.unconfirmed = None;
    }

    /// `from` has seen the token with this number.
    pub(crate) fn on_token_evidence(&mut self, from: NodeId, ring: RingId, token_seq: u64) {
        let fits = |u: &Unconfirmed| u.ring == ring && u.to == from && token_seq >= u.token_seq;
        if self.unconfirmed.as_ref().is_some_and(fits) {
            self.confirm_sent();
        }
    }

    pub(crate) fn on_token(&mut self, from: NodeId, token: Token) {
        let me = self.me;
        let Some(ring) = self.active() else { return };
        // A token comes from the member before us, and from nobody else.
        if ring.id != token.ring || ring.previous_before(me) != from {
            return;
        }
        if token.token_seq <= ring.token_seq {
            let ack = Frame::TokenAck(token.ring, token.token_seq);
            self.send(&[from], &ack);
            return;
        }
        let (seq, digest) = token.digest;
        if ring.digest_at(seq).is_some_and(|ours| ours != digest) {
            return self.diverged(from, seq);
        }
        ring.token_seq = token.token_seq;
        let idle = token.seq == ring.passed_seq
            && token.aru == token.seq
            && token.requests.is_empty()
            && token.pending.is_empty()
            && ring.delivered == token.seq;
        let rep = ring.id.rep;
        self.confirm_sent();
        self.timers.wake = None;
        self.timers.hold = None;
        let limit = match self.phase {
            Phase::Recovery => self.settings.timing.commit,
            _ => self.settings.timing.token,
        };
        self.timers.token_loss = Some(self.now + limit);
        let idle = idle && self.outbox.is_empty() && self.phase == Phase::Operational;
        self.idle_visits = if idle { self.idle_visits.saturating_add(1) } else { 0 };
        if rep == self.me && self.idle_visits > self.settings.idle_visits {
            self.timers.hold = Some(self.now + self.settings.timing.hold);
            let ack = Frame::TokenAck(token.ring, token.token_seq);
            self.held = Some(token);
            self.send(&[from], &ack);
        } else {
            self.use_token(token);
        }
    }

    /// One visit of the token.
    pub(crate) fn use_token(&mut self, mut token: Token) {
        let answered = self.answer_requests(&mut token);
        self.ask_for_missing(&mut token);
        let mut batch = self.number_messages(&mut token, answered);
        let Some(ring) = self.active() else { return };
        let sent = answered + u32::try_from(batch.len()).unwrap_or(u32::MAX);
        token.sent = token.sent.saturating_sub(ring.sent).saturating_add(sent);
        ring.sent = sent;
        self.write_aru(&mut token);
        self.write_pending(&mut token);
        token.token_seq += 1;

        let others = self.others();
        let late = if batch.len() <= BEFORE_TOKEN_MIN { 0 } else { batch.len() / 2 };
        let after = batch.split_off(batch.len() - late);
        batch.into_iter().for_each(|d| self.send(&others, &Frame::Data(d)));
        self.pass_token(&token);
        after.into_iter().for_each(|d| self.send(&others, &Frame::Data(d)));

        if self.phase == Phase::Recovery {
            let done = self.forming.as_ref().is_some_and(|f| f.ring.safe >= token.install_seq);
            if token.pending.is_empty() && done {
                self.install();
            }
        } else {
            self.deliver_ready();
            self.watch_aru(&token);
        }
    }

    fn pass_token(&mut self, token: &Token) {
        let me = self.me;
        let Some(ring) = self.active() else { return };
        ring.token_seq = token.token_seq;
        ring.passed_seq = token.seq;
        let to = ring.next_after(me);
        self.send_reliably(to, token.ring, token.token_seq, Frame::Token(token.clone()).encode());
    }

    fn answer_requests(&mut self, token: &mut Token) -> u32 {
        let me = self.me;
        let mut answers: Vec<(NodeId, Data)> = Vec::new();
        let Some(ring) = self.active() else { return 0 };
        token.requests.retain(|(seq, who)| match ring.get(*seq) {
            _ if *who == me || !ring.contains(*who) => false,
            Some(data) => {
                answers.push((*who, data.clone()));
                false
            }
            None => true,
        });
        let count = u32::try_from(answers.len()).unwrap_or(u32::MAX);
        answers.into_iter().for_each(|(to, data)| self.send(&[to], &Frame::Data(data)));
        count
    }

    fn ask_for_missing(&mut self, token: &mut Token) {
        let me = self.me;
        let Some(ring) = self.active() else { return };
        let until = ring.passed_seq.min(token.seq);
        for seq in ring.aru + 1..=until {
            if token.requests.len() >= REQUESTS_MAX {
                return;
            }
            if ring.get(seq).is_none() {
                token.requests.push((seq, me));
            }
        }
    }

    /// Numbers as many waiting messages as flow control allows.
    fn number_messages(&mut self, token: &mut Token, answered: u32) -> Vec<Data> {
        let (window, visit) = (self.settings.window, self.settings.visit);
        let outstanding = token.seq.saturating_sub(token.aru);
        if outstanding > u64::from(window) * OUTSTANDING_WINDOWS {
            return Vec::new();
        }
        let Some(ring) = self.active() else { return Vec::new() };
        let by_others = token.sent.saturating_sub(ring.sent).saturating_add(answered);
        let allowance = window.saturating_sub(by_others).min(visit);
        let mut batch = Vec::new();
        for _ in 0..allowance {
            let Some(data) = self.next_message(token.ring, token.seq + 1) else { break };
            token.seq += 1;
            if let Some(ring) = self.active() {
                ring.insert(data.clone());
            }
            batch.push(data);
        }
        batch
    }

    fn next_message(&mut self, ring: RingId, seq: u64) -> Option<Data> {
        let origin = self.me;
        if self.phase == Phase::Recovery {
            let forming = self.forming.as_mut()?;
            let old = forming.queue.pop_first()?;
            let body = Arc::new(self.ring.get(old)?.wrapped());
            return Some(Data { ring, seq, origin, safe: false, recovered: true, body });
        }
        let (body, safe) = self.outbox.next_body(self.body_max())?;
        Some(Data { ring, seq, origin, safe, recovered: false, body: Arc::new(body) })
    }

    /// `aru` is lowered by whoever received less, and raised again only by who lowered it.
    fn write_aru(&mut self, token: &mut Token) {
        let me = self.me;
        let Some(ring) = self.active() else { return };
        let ours = ring.aru.min(token.seq);
        if ours < token.aru || token.aru_setter == me || token.aru_setter == NOBODY {
            token.aru = ours;
            token.aru_setter = if ours == token.seq { NOBODY } else { me };
        }
        // What was reported at two visits in a row was not lowered by anyone in between.
        if let Some(before) = ring.passed_aru {
            ring.safe = ring.safe.max(before.min(token.aru));
        }
        ring.passed_aru = Some(token.aru);
        // Whoever comes next has received that much, or nearly so: it can compare.
        let until = ring.aru.min(token.aru);
        token.digest = ring.digest_at(until).map_or((0, 0), |digest| (until, digest));
    }

    fn write_pending(&mut self, token: &mut Token) {
        let me = self.me;
        let queue_empty = self.forming.as_ref().is_none_or(|f| f.queue.is_empty());
        if self.phase == Phase::Recovery && queue_empty && token.pending.contains(&me) {
            token.pending.retain(|n| *n != me);
            if token.pending.is_empty() {
                token.install_seq = token.seq;
            }
        }
    }

    /// A member whose `aru` stands still although messages are sent again receives no data.
    fn watch_aru(&mut self, token: &Token) {
        let setter = token.aru_setter;
        if token.aru == token.seq || setter == NOBODY || setter == self.me {
            self.stalled = None;
            return;
        }
        match self.stalled {
            Some((aru, since)) if aru == token.aru => {
                if self.now.since(since) > self.settings.timing.token {
                    self.start_gather(Reason::NotReceiving(setter));
                }
            }
            _ => self.stalled = Some((token.aru, self.now)),
        }
    }

    /// Another member has other messages under the same numbers.
    pub(crate) fn diverged(&mut self, with: NodeId, seq: u64) {
        self.effects.push_back(Effect::Diverged { with, seq });
        self.ring.disown(self.me);
        self.start_gather(Reason::Diverged(with));
    }

    pub(crate) fn on_data(&mut self, from: NodeId, data: Data) {
        match self.phase {
            Phase::Operational | Phase::Gather if data.ring == self.ring.id => {
                let seq = data.seq;
                match self.ring.insert(data) {
                    Inserted::New if self.phase == Phase::Operational => self.deliver_ready(),
                    Inserted::New | Inserted::Ignored => {}
                    Inserted::Conflict => self.diverged(from, seq),
                }
            }
            Phase::Commit | Phase::Recovery => self.on_recovery_data(from, data),
            _ => {}
        }
    }

    fn on_recovery_data(&mut self, from: NodeId, data: Data) {
        let Some(forming) = self.forming.as_mut().filter(|f| f.ring.id == data.ring) else {
            return;
        };
        if data.recovered
            && self.phase == Phase::Recovery
            && let Ok(old) = Data::unwrapped(&data.body)
            && old.ring == self.ring.id
        {
            forming.queue.remove(&old.seq);
            let seq = old.seq;
            if self.ring.insert(old) == Inserted::Conflict {
                return self.diverged(from, seq);
            }
        }
        let seq = data.seq;
        if forming.ring.insert(data) == Inserted::Conflict {
            self.diverged(from, seq);
        }
    }

    /// Delivers what is next in order and as safe as it asked to be.
    pub(crate) fn deliver_ready(&mut self) {
        let mut out: Vec<Delivered> = Vec::new();
        let ring = &mut self.ring;
        while let Some(data) = ring.get(ring.delivered + 1) {
            if data.safe && data.seq > ring.safe {
                break;
            }
            if !data.recovered {
                self.assembler.take(data.origin, &data.body, &mut out);
            }
            ring.delivered += 1;
        }
        ring.release();
        self.effects.extend(out.into_iter().map(Effect::Deliver));
    }

    /// A ring of one: everything is in order and safe at once.
    pub(crate) fn pump_alone(&mut self) {
        let room = self.body_max();
        while let Some((body, safe)) = self.outbox.next_body(room) {
            let seq = self.ring.high + 1;
            let (ring, origin) = (self.ring.id, self.me);
            let body = Arc::new(body);
            self.ring.insert(Data { ring, seq, origin, safe, recovered: false, body });
            self.ring.safe = seq;
            self.deliver_ready();
        }
    }

    /// There is something to send.
    pub(crate) fn work_arrived(&mut self) {
        if self.phase != Phase::Operational {
            return;
        }
        if self.ring.members.len() == 1 {
            self.pump_alone();
        } else if self.held.is_some() {
            self.idle_visits = 0;
            self.release_token();
        } else if self.timers.wake.is_none() {
            self.timers.wake = Some(self.now + WAKE_AGAIN);
            // Only a token that has found no work for long may be at rest.
            if self.idle_visits >= self.settings.idle_visits / 2 {
                self.ask_for_token();
            }
        }
    }

    fn ask_for_token(&mut self) {
        let RingId { rep, .. } = self.ring.id;
        if rep != self.me {
            self.send(&[rep], &Frame::Wake(self.ring.id));
        }
    }

    pub(crate) fn on_wake(&mut self, ring: RingId) {
        if self.phase == Phase::Operational && ring == self.ring.id {
            self.idle_visits = 0;
            self.release_token();
        }
    }

    fn release_token(&mut self) {
        if let Some(token) = self.held.take() {
            self.timers.hold = None;
            self.use_token(token);
        }
    }

    pub(crate) fn due_token(&mut self) {
        let now = self.now;
        if self.timers.hold.is_some_and(|at| at <= now) {
            self.release_token();
        }
        if self.timers.wake.is_some_and(|at| at <= now) {
            self.timers.wake = None;
            if self.phase == Phase::Operational && !self.outbox.is_empty() {
                self.timers.wake = Some(now + WAKE_AGAIN);
                self.ask_for_token();
            }
        }
        self.retransmit();
        if self.timers.token_loss.is_some_and(|at| at <= now) {
            self.timers.token_loss = None;
            match self.phase {
                Phase::Operational => self.start_gather(Reason::TokenLoss),
                Phase::Commit | Phase::Recovery => self.due_commit_loss(),
                _ => {}
            }
        }
    }

    fn retransmit(&mut self) {
        let Some(mut sent) = self.unconfirmed.take() else { return };
        if sent.at <= self.now {
            // The best link may be the reason: the second and later tries use all.
            self.send_bytes(&[sent.to], &sent.bytes, sent.tries > 0);
            sent.tries += 1;
            sent.at = self.now + sent.interval * 2u32.pow(sent.tries.min(RETRANSMIT_DOUBLINGS));
        }
        self.unconfirmed = Some(sent);
    }
}
