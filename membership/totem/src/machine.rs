//! The machine: inputs, effects, timers, and the way of a datagram to its handler.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use membership_base::{Delivered, Guarantee, Incarnation, Instant, NodeId, Rng};

use crate::commit::Forming;
use crate::gather::Gather;
use crate::outbox::{Assembler, Outbox};
use crate::peers::{Challenge, Liveness, Peer, SOON};
use crate::seal::{self, ALL, Header, Keyring, OVERHEAD, Opener, Reject, Sealer};
use crate::settings::Settings;
use crate::store::Ring;
use crate::wire::{ATTACHMENT_MAX, DATA_HEADER, Frame, NODES_MAX, Phase, RingId, Token};

/// Ring sequence numbers are made durable this far ahead, so that forming a ring never waits for
/// the disk.
const PERSIST_AHEAD: u64 = 1 << 20;

/// A ring's number is believed up to this far ahead of those that we know: more than all rings of a
/// million restarts.
const RING_SEQ_AHEAD: u64 = 1 << 40;

/// The good-bye is not repeated later, so it goes out as several datagrams at once.
const LEAVE_REPEAT: usize = 3;

/// What the driver tells the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin; once.
    Start,
    /// A datagram arrived on a link.
    Packet {
        /// The link's number.
        link: u8,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Send a message to all members, the local node included.
    Submit {
        /// Comes back in [`Effect::Refused`].
        ticket: u64,
        /// The message.
        bytes: Vec<u8>,
        /// When it may be delivered.
        guarantee: Guarantee,
    },
    /// What all members of the next view shall know of this one: at most 64 bytes, the rest is cut
    /// off. See [`RingView::attachments`].
    Attach(Vec<u8>),
    /// Leave the ring; nothing happens afterwards.
    Leave,
}

/// A new membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingView {
    /// Grows with every view.
    pub id: u64,
    /// The ring. A transitional view has the id of the ring that is about to be installed.
    pub ring: RingId,
    /// Ascending.
    pub members: Vec<NodeId>,
    /// Members that come together with us from the view before, ascending.
    pub came_with_us: Vec<NodeId>,
    /// Members of rings that were agreed since the view before and not installed here, ascending:
    /// any of them may have installed such a ring. Empty in a transitional view.
    pub met: Vec<NodeId>,
    /// What each member had given as its attachment when the view was agreed; empty in a
    /// transitional view. The same on all members.
    pub attachments: BTreeMap<NodeId, Vec<u8>>,
    /// Announced only to deliver what could not be made safe in the view before; another view
    /// follows at once.
    pub transitional: bool,
}

/// Why the machine forms a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has just been started.
    Start,
    /// The node is silent.
    Silent(NodeId),
    /// The node left on its own.
    Left(NodeId),
    /// The node was started anew.
    Restarted(NodeId),
    /// The node forms a ring.
    Asked(NodeId),
    /// The node is in another ring that can be joined with ours.
    Merge(NodeId),
    /// The token was lost.
    TokenLoss,
    /// The commit token was lost, or recovery did not come to an end.
    CommitLoss,
    /// The members did not agree in time.
    NoConsensus,
    /// The local node was paused for too long to know what happened meanwhile.
    Paused,
    /// The node does not receive messages although its heartbeats arrive.
    NotReceiving(NodeId),
    /// The node has other messages than we have under the same numbers.
    Diverged(NodeId),
}

/// What the machine tells the driver.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a datagram. The same bytes go to several nodes.
    Transmit {
        /// Receiver.
        to: NodeId,
        /// Link to use.
        link: u8,
        /// The datagram.
        bytes: Arc<Vec<u8>>,
    },
    /// A message, in its place in the order.
    Deliver(Delivered),
    /// A new membership, in its place in the order.
    View(RingView),
    /// A submitted message was not taken: too many wait, it is too large, or the ring was left.
    Refused {
        /// Of the `Submit`.
        ticket: u64,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Make this durable soon and hand it back as `Settings::ring_seq` at the next start.
    Persist {
        /// No ring below this number will be used after a restart.
        ring_seq: u64,
    },
    /// The machine begins to form a ring: until the next view nothing is delivered.
    Gathering(Reason),
    /// A peer's liveness changed.
    Peer {
        /// The peer.
        node: NodeId,
        /// What it is now.
        liveness: Liveness,
    },
    /// A link to a peer went up or down.
    Link {
        /// The peer.
        node: NodeId,
        /// The link's number.
        link: u8,
        /// Whether it works.
        up: bool,
    },
    /// The local node was paused this long: what it believed of the cluster may be outdated. What
    /// has arrived meanwhile is outdated as well: the driver shall throw it away.
    Paused(Duration),
    /// A peer has other messages than we have under the same numbers, which must never happen. We
    /// leave its ring, and nobody comes along with us into the next view, so that the layers above
    /// compare what they have.
    Diverged {
        /// The peer.
        with: NodeId,
        /// The number of a message up to which the two orders are not the same.
        seq: u64,
    },
    /// A peer has restarted with an incarnation that is not larger than the one before: its state
    /// folder was lost and its clock set back, or it runs twice.
    IncarnationFell {
        /// The peer.
        node: NodeId,
        /// What it had.
        from: Incarnation,
        /// What it has.
        to: Incarnation,
    },
    /// A frame names a ring number so far ahead that no cluster comes to it; it is not believed.
    RingNumberRefused {
        /// Who sent the frame, as far as one can tell.
        from: NodeId,
        /// The number.
        ring_seq: u64,
    },
    /// A datagram was not taken.
    Rejected {
        /// The link's number.
        link: u8,
        /// Why.
        reject: Reject,
    },
}

/// State of one peer, for tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Whether it is heard.
    pub liveness: Liveness,
    /// Whether it says that it hears us.
    pub hears_us: bool,
    /// Silence after which it is suspected now.
    pub suspect_after: Duration,
    /// Link number and whether it works.
    pub links: Vec<(u8, bool)>,
}

/// State of the machine, for tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub phase: Phase,
    /// The installed ring.
    pub ring: RingId,
    /// Its members.
    pub members: Vec<NodeId>,
    /// All peers.
    pub peers: Vec<PeerStatus>,
    /// Bytes that wait to be sent.
    pub backlog: usize,
    /// Tokens accepted on the installed ring.
    pub tokens: u64,
    /// Highest message number of the installed ring.
    pub high: u64,
}

/// A token or commit token that was sent and may have been lost.
pub(crate) struct Unconfirmed {
    pub(crate) ring: RingId,
    pub(crate) token_seq: u64,
    pub(crate) to: NodeId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) interval: Duration,
    pub(crate) tries: u32,
    pub(crate) at: Instant,
}

/// The deadlines of the machine; heartbeat deadlines of peers are kept with the peers.
#[derive(Default)]
pub(crate) struct Timers {
    pub(crate) heartbeat: Option<Instant>,
    pub(crate) probe: Option<Instant>,
    pub(crate) token_loss: Option<Instant>,
    pub(crate) hold: Option<Instant>,
    pub(crate) wake: Option<Instant>,
    pub(crate) join: Option<Instant>,
    pub(crate) consensus: Option<Instant>,
    pub(crate) start: Option<Instant>,
}

/// The ring as seen by one node. See the crate's head for what it promises.
pub struct Totem {
    pub(crate) settings: Settings,
    pub(crate) me: NodeId,
    pub(crate) now: Instant,
    pub(crate) phase: Phase,
    pub(crate) keyring: Keyring,
    sealer: Sealer,
    /// For the numbers of challenges.
    rng: Rng,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// The installed ring; before the first one, a ring of the local node alone with number 0.
    pub(crate) ring: Ring,
    pub(crate) forming: Option<Forming>,
    /// Members of rings that were agreed since the last installation.
    pub(crate) met: BTreeSet<NodeId>,
    pub(crate) gather: Gather,
    /// How often the gather phase was entered.
    pub(crate) generation: u64,
    /// The highest ring number seen anywhere.
    pub(crate) ring_seq: u64,
    persisted: u64,
    pub(crate) outbox: Outbox,
    pub(crate) assembler: Assembler,
    pub(crate) timers: Timers,
    pub(crate) unconfirmed: Option<Unconfirmed>,
    /// The token, while it rests here.
    pub(crate) held: Option<Token>,
    pub(crate) idle_visits: u32,
    /// Since when `aru` has not moved although messages are missing.
    pub(crate) stalled: Option<(u64, Instant)>,
    pub(crate) heartbeat_soon: bool,
    pub(crate) last_heartbeat: Instant,
    pub(crate) attachment: Vec<u8>,
    pub(crate) effects: VecDeque<Effect>,
}

impl Totem {
    /// A machine that does nothing until [`Input::Start`]. `now` is the driver's clock.
    ///
    /// # Panics
    /// If the local node is not among the nodes, or there are more than 256 nodes.
    pub fn new(settings: Settings, now: Instant) -> Totem {
        assert!(settings.nodes.iter().any(|n| n.node == settings.me), "the local node is a node");
        assert!(settings.nodes.len() <= NODES_MAX, "more nodes than a frame can name");
        let me = settings.me;
        let keyring = Keyring::new(&settings.cluster_name, settings.key.as_deref());
        let sealer = Sealer::new(&keyring, me, settings.incarnation, settings.salt);
        let peers = settings.nodes.iter().filter(|n| n.node != me);
        let peers = peers.map(|n| (n.node, Peer::new(n, now))).collect();
        Totem {
            me,
            now,
            phase: Phase::Idle,
            keyring,
            sealer,
            rng: Rng::new(settings.salt),
            peers,
            ring: Ring::new(RingId { seq: 0, rep: me }, vec![me]),
            forming: None,
            met: BTreeSet::new(),
            gather: Gather::default(),
            generation: 0,
            ring_seq: settings.ring_seq,
            persisted: settings.ring_seq,
            outbox: Outbox::new(settings.backlog),
            assembler: Assembler::new(settings.message_max),
            timers: Timers::default(),
            unconfirmed: None,
            held: None,
            idle_visits: 0,
            stalled: None,
            heartbeat_soon: false,
            last_heartbeat: now,
            attachment: Vec::new(),
            effects: VecDeque::new(),
            settings,
        }
    }

    /// One input.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let paused = self.advance(now);
        match input {
            Input::Packet { .. } if paused => {}
            Input::Start => self.start(),
            Input::Packet { link, bytes } => self.on_packet(link, &bytes),
            Input::Submit { ticket, bytes, guarantee } => self.submit(ticket, bytes, guarantee),
            Input::Attach(mut bytes) => {
                bytes.truncate(ATTACHMENT_MAX);
                self.attachment = bytes;
            }
            Input::Leave => self.leave(),
        }
        self.finish();
    }

    /// Time has reached [`Totem::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        if !matches!(self.phase, Phase::Idle | Phase::Left) {
            self.due_peers();
            self.due_gather();
            self.due_token();
        }
        self.finish();
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Totem::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Idle | Phase::Left) {
            return None;
        }
        let t = &self.timers;
        [t.heartbeat, t.probe, t.token_loss, t.hold, t.wake, t.join, t.consensus, t.start]
            .into_iter()
            .flatten()
            .chain(self.unconfirmed.as_ref().map(|u| u.at))
            .chain(self.soon_deadline())
            .chain(self.peers_deadline())
            .chain(self.gather_deadline())
            .min()
    }

    /// Bytes of accepted messages that are not in the ring yet.
    pub fn backlog(&self) -> usize {
        self.outbox.len_bytes()
    }

    /// State for tools.
    pub fn status(&self) -> Status {
        Status {
            phase: self.phase,
            ring: self.ring.id,
            members: self.ring.members.clone(),
            peers: self.peers.values().map(|p| p.status(self)).collect(),
            backlog: self.outbox.len_bytes(),
            tokens: self.ring.token_seq,
            high: self.ring.high,
        }
    }

    /// The only way from phase to phase.
    pub(crate) fn enter(&mut self, phase: Phase) {
        assert!(self.phase.leads_to(phase), "{:?} does not lead to {phase:?}", self.phase);
        self.phase = phase;
    }

    fn start(&mut self) {
        if self.phase != Phase::Idle {
            return;
        }
        self.timers.start = Some(self.now + self.settings.timing.start);
        self.timers.heartbeat = Some(self.now);
        self.note_ring_seq(self.ring_seq);
        self.start_gather(Reason::Start);
        self.beat(false);
    }

    /// Moves the clock; true if the machine was not called for too long.
    fn advance(&mut self, now: Instant) -> bool {
        let gap = now.since(self.now);
        self.now = self.now.max(now);
        let alone = self.phase == Phase::Operational && self.ring.members.len() == 1;
        let inactive = matches!(self.phase, Phase::Idle | Phase::Left);
        if inactive || gap <= self.settings.timing.heartbeat + self.settings.timing.pause {
            return false;
        }
        self.effects.push_back(Effect::Paused(gap));
        // Whoever was silent may have been so because we did not listen.
        self.forgive_peers();
        if !alone {
            self.start_gather(Reason::Paused);
        }
        true
    }

    fn finish(&mut self) {
        if self.soon_deadline().is_some_and(|at| at <= self.now) {
            self.heartbeat_soon = false;
            self.beat(false);
        }
    }

    /// When to send a heartbeat out of turn.
    fn soon_deadline(&self) -> Option<Instant> {
        let active = !matches!(self.phase, Phase::Idle | Phase::Left);
        (self.heartbeat_soon && active).then(|| self.last_heartbeat + SOON)
    }

    fn submit(&mut self, ticket: u64, bytes: Vec<u8>, guarantee: Guarantee) {
        if self.phase == Phase::Left || bytes.len() > self.settings.message_max {
            self.effects.push_back(Effect::Refused { ticket, bytes });
            return;
        }
        if let Err(bytes) = self.outbox.push(bytes, guarantee == Guarantee::Safe) {
            self.effects.push_back(Effect::Refused { ticket, bytes });
            return;
        }
        self.work_arrived();
    }

    fn leave(&mut self) {
        if matches!(self.phase, Phase::Idle | Phase::Left) {
            self.enter(Phase::Left);
            return;
        }
        let targets: Vec<NodeId> = self.peers.keys().copied().collect();
        for _ in 0..LEAVE_REPEAT {
            self.send_bytes(&targets, &Frame::Leave.encode(), true);
        }
        self.enter(Phase::Left);
        self.held = None;
        self.unconfirmed = None;
        self.forming = None;
    }

    fn on_packet(&mut self, link: u8, bytes: &[u8]) {
        if matches!(self.phase, Phase::Idle | Phase::Left) {
            return;
        }
        if let Err(reject) = self.try_packet(link, bytes)
            && reject != Reject::Replay
        {
            self.effects.push_back(Effect::Rejected { link, reject });
        }
    }

    fn try_packet(&mut self, link: u8, bytes: &[u8]) -> Result<(), Reject> {
        let header = self.keyring.peek(bytes)?;
        let from = header.sender;
        let peer = self.peers.get_mut(&from).ok_or(Reject::Sender)?;
        let place = (self.me, link);
        let opened = seal::open(&self.keyring, &mut peer.opener, &header, place, bytes)?;
        let frame = Frame::decode(&opened.frame).map_err(|_| Reject::Frame)?;
        if let Frame::Challenge(number) = frame {
            self.send(&[from], &Frame::Answer(number));
        }
        if opened.proven {
            self.on_frame(from, link, frame);
            return Ok(());
        }
        match frame {
            Frame::Answer(number) if peer_awaits(&self.peers, from, number) => {
                self.on_proof(from, &header);
                Ok(())
            }
            _ => self.challenge(from, &header),
        }
    }

    /// Something came from an incarnation that we do not know. It may be a new one, or somebody
    /// repeats what an earlier one has sent: only the former can answer.
    fn challenge(&mut self, from: NodeId, header: &Header) -> Result<(), Reject> {
        let (now, timing) = (self.now, &self.settings.timing);
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(()) };
        // While the one that we know is heard, only a later one can have taken its place.
        if header.incarnation <= peer.incarnation && peer.is_heard_within(now, timing.suspect) {
            return Err(Reject::Unproven);
        }
        let challenge = peer.challenge.get_or_insert_with(|| Challenge {
            number: self.rng.next_u64(),
            first: now,
            last: None,
        });
        if challenge.last.is_some_and(|at| now.since(at) < SOON) {
            return Ok(());
        }
        challenge.last = Some(now);
        let (number, waiting) = (challenge.number, now.since(challenge.first));
        let unanswered = waiting > timing.suspect;
        self.send(&[from], &Frame::Challenge(number));
        if unanswered { Err(Reject::Unproven) } else { Ok(()) }
    }

    /// The incarnation with this header has answered our challenge: it is there now.
    fn on_proof(&mut self, from: NodeId, header: &Header) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.challenge = None;
        peer.opener = Some(Opener::new(header));
        let (before, now) = (peer.incarnation, header.incarnation);
        if now <= before {
            self.effects.push_back(Effect::IncarnationFell { node: from, from: before, to: now });
        }
        self.on_new_incarnation(from, now);
    }

    fn on_frame(&mut self, from: NodeId, link: u8, frame: Frame) {
        if let Some(seq) = frame.ring_seq().filter(|seq| !self.is_plausible(*seq)) {
            self.effects.push_back(Effect::RingNumberRefused { from, ring_seq: seq });
            return;
        }
        if !matches!(frame, Frame::Leave) {
            self.on_heard(from, link);
        }
        match &frame {
            Frame::Heartbeat(h) => return self.on_heartbeat(from, link, h),
            Frame::Join(j) => self.on_heard_list(from, &j.heard),
            _ => {}
        }
        // Nothing but signs of life is believed before the peer has named our incarnation.
        if !self.peers.get(&from).is_some_and(|p| p.verified) {
            self.heartbeat_soon = true;
            return;
        }
        match frame {
            Frame::Heartbeat(_) | Frame::Challenge(_) => {}
            Frame::Answer(_) => self.on_needless_answer(from),
            Frame::Join(join) => self.on_join(from, join),
            Frame::Commit(commit) => self.on_commit(from, commit),
            Frame::Token(token) => self.on_token(from, token),
            Frame::Data(data) => self.on_data(from, data),
            Frame::Wake(ring) => self.on_wake(ring),
            Frame::TokenAck(ring, token_seq) => self.on_token_evidence(from, ring, token_seq),
            Frame::Leave => self.on_leave(from),
        }
    }

    /// Remembers the highest ring number, and asks for a durable reserve in time.
    pub(crate) fn note_ring_seq(&mut self, seq: u64) {
        self.ring_seq = self.ring_seq.max(seq);
        if self.ring_seq.saturating_add(PERSIST_AHEAD / 4) > self.persisted {
            self.persisted = self.ring_seq.saturating_add(PERSIST_AHEAD);
            self.effects.push_back(Effect::Persist { ring_seq: self.persisted });
        }
    }

    /// Bytes of a data frame's body, with room left to wrap it again in recovery.
    pub(crate) fn body_max(&self) -> usize {
        self.settings.datagram.saturating_sub(OVERHEAD + 2 * DATA_HEADER).max(512)
    }

    /// Whether a ring may have this number. Without encryption anybody can claim one, and what is
    /// believed once is kept on disk.
    fn is_plausible(&self, ring_seq: u64) -> bool {
        ring_seq <= self.ring_seq.saturating_add(RING_SEQ_AHEAD)
    }

    /// The incarnation that we know is still there, whoever sent what made us ask.
    fn on_needless_answer(&mut self, from: NodeId) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.challenge = None;
        }
    }

    /// Sends a frame to some nodes, each over its best link.
    pub(crate) fn send(&mut self, targets: &[NodeId], frame: &Frame) {
        self.send_bytes(targets, &frame.encode(), false);
    }

    /// Sends an encoded frame; `every_link` is for when the best link is in doubt.
    pub(crate) fn send_bytes(&mut self, targets: &[NodeId], frame: &[u8], every_link: bool) {
        let mut by_link: BTreeMap<u8, Vec<NodeId>> = BTreeMap::new();
        for to in targets {
            let Some(peer) = self.peers.get(to) else { continue };
            match peer.best_link().filter(|_| !every_link) {
                Some(link) => by_link.entry(link).or_default().push(*to),
                None => peer.links().for_each(|l| by_link.entry(l).or_default().push(*to)),
            }
        }
        for (link, targets) in by_link {
            self.transmit(link, &targets, frame);
        }
    }

    /// Seals a frame once for all that it goes to over this link.
    pub(crate) fn transmit(&mut self, link: u8, targets: &[NodeId], frame: &[u8]) {
        let to = if let [only] = targets { *only } else { ALL };
        let bytes = Arc::new(self.sealer.seal(&self.keyring, to, link, frame));
        for to in targets {
            self.effects.push_back(Effect::Transmit { to: *to, link, bytes: bytes.clone() });
        }
    }
}

/// Whether `from` was asked for this number.
fn peer_awaits(peers: &BTreeMap<NodeId, Peer>, from: NodeId, number: u64) -> bool {
    let challenge = peers.get(&from).and_then(|p| p.challenge.as_ref());
    challenge.is_some_and(|c| c.number == number)
}
