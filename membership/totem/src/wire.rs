//! Frames as bytes.
//!
//! Little-endian, fixed fields first, lists with a 16-bit length. Every read checks its bounds and
//! every list its limit, so that no input can panic or make the reader allocate more than a small
//! multiple of the datagram's own size. The format is ours; nothing else speaks it.

use std::sync::Arc;

use membership_base::{Incarnation, NodeId};

/// Most nodes that a frame may name.
pub(crate) const NODES_MAX: usize = 256;
/// Most retransmission requests that a token may carry.
pub(crate) const REQUESTS_MAX: usize = 64;
/// Longest attachment to a view, in bytes.
pub(crate) const ATTACHMENT_MAX: usize = 64;
/// Highest value of a counter: whatever is added to it here cannot overflow.
const COUNT_MAX: u64 = 1 << 62;
/// Bytes of a data frame before its body.
pub(crate) const DATA_HEADER: usize = 1 + 12 + 8 + 4 + 1;

/// The identity of a ring: two rings never share one, because a representative never uses a
/// sequence number twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId {
    /// Grows with every ring on every member.
    pub seq: u64,
    /// The member with the lowest id, which made the ring.
    pub rep: NodeId,
}

/// What the machine is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not started yet.
    #[default]
    Idle,
    /// Agreeing on who will be in the next ring.
    Gather,
    /// Agreed; the commit token is going round.
    Commit,
    /// Exchanging what some members missed of the ring before.
    Recovery,
    /// The ring carries messages.
    Operational,
    /// Left on request; nothing is sent any more.
    Left,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end before the frame does.
    #[error("the frame is cut short")]
    Short,
    /// A byte that names a kind has a value that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A list is longer than allowed.
    #[error("a list of {0} entries is too long")]
    Long(usize),
    /// A counter has a value that no cluster comes to.
    #[error("{0} is too large for a counter")]
    Large(u64),
    /// There are bytes after the end of the frame.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// A peer that the sender of a frame hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Bit *n*: heard on link *n*.
    pub(crate) links: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// The receiver shall answer at once.
    pub(crate) probe: bool,
    pub(crate) phase: Phase,
    pub(crate) link: u8,
    /// How many times the sender has entered the gather phase.
    pub(crate) generation: u64,
    pub(crate) ring: RingId,
    /// The last token that the sender accepted on `ring`.
    pub(crate) token_seq: u64,
    pub(crate) heard: Vec<Heard>,
    /// The members of `ring`.
    pub(crate) members: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    /// How many times the sender has entered the gather phase.
    pub(crate) generation: u64,
    /// The highest ring sequence number that the sender knows.
    pub(crate) ring_seq: u64,
    pub(crate) heard: Vec<Heard>,
    pub(crate) members: Vec<NodeId>,
    /// Nodes that shall not be in the next ring, with the incarnation that this is about (zero: any).
    pub(crate) failed: Vec<(NodeId, Incarnation)>,
}

/// What a member knew of its old ring when it entered the commit phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OldRing {
    pub(crate) ring: RingId,
    /// All messages up to here were received.
    pub(crate) aru: u64,
    /// The highest message received.
    pub(crate) high: u64,
    /// All messages up to here are known to be at all members.
    pub(crate) safe: u64,
    /// The running digest of the messages up to `aru`.
    pub(crate) digest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitMember {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) generation: u64,
    pub(crate) old: Option<OldRing>,
    /// What the layer above this member wants all members of the new view to know.
    pub(crate) attachment: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) ring: RingId,
    pub(crate) token_seq: u64,
    pub(crate) members: Vec<CommitMember>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) ring: RingId,
    pub(crate) token_seq: u64,
    /// The highest message sequence number given out.
    pub(crate) seq: u64,
    pub(crate) aru: u64,
    /// A sequence number, and the running digest of all messages up to it, as the member had it
    /// that passed the token on: the next one compares.
    pub(crate) digest: (u64, u64),
    /// Who lowered `aru`; 0 is nobody.
    pub(crate) aru_setter: NodeId,
    /// Data frames sent during the last rotation.
    pub(crate) sent: u32,
    /// In recovery: all messages up to here must be everywhere before the ring may be installed.
    pub(crate) install_seq: u64,
    /// In recovery: members that still have something to send again.
    pub(crate) pending: Vec<NodeId>,
    /// Messages asked for, and by whom.
    pub(crate) requests: Vec<(u64, NodeId)>,
}

/// A numbered message of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) ring: RingId,
    pub(crate) seq: u64,
    pub(crate) origin: NodeId,
    /// To be delivered only when every member has it.
    pub(crate) safe: bool,
    /// The body is an encoded message of the old ring.
    pub(crate) recovered: bool,
    pub(crate) body: Arc<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Heartbeat(Heartbeat),
    Join(Join),
    Commit(Commit),
    Token(Token),
    Data(Data),
    /// A member has something to send: the representative shall not hold the token.
    Wake(RingId),
    /// The token with this number arrived.
    TokenAck(RingId, u64),
    /// The sender leaves for good.
    Leave,
    /// Whoever it is meant for shall show that it is there, by sending the number back.
    Challenge(u64),
    /// The number of a challenge.
    Answer(u64),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Kind(other)),
        }
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        let mut raw = [0; 2];
        raw.copy_from_slice(self.take(2)?);
        Ok(u16::from_le_bytes(raw))
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        let mut raw = [0; 4];
        raw.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(raw))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        let mut raw = [0; 8];
        raw.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(raw))
    }

    /// A number that only grows, and starts low.
    fn count(&mut self) -> Result<u64, WireError> {
        let value = self.u64()?;
        if value <= COUNT_MAX { Ok(value) } else { Err(WireError::Large(value)) }
    }

    fn node(&mut self) -> Result<NodeId, WireError> {
        Ok(NodeId(self.u32()?))
    }

    fn incarnation(&mut self) -> Result<Incarnation, WireError> {
        Ok(Incarnation(self.u64()?))
    }

    fn ring(&mut self) -> Result<RingId, WireError> {
        Ok(RingId { seq: self.count()?, rep: self.node()? })
    }

    fn list<T>(
        &mut self,
        limit: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = usize::from(self.u16()?);
        if count > limit {
            return Err(WireError::Long(count));
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn heard(&mut self) -> Result<Vec<Heard>, WireError> {
        self.list(NODES_MAX, |r| {
            Ok(Heard { node: r.node()?, incarnation: r.incarnation()?, links: r.u8()? })
        })
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.0.len())) }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn node(&mut self, value: NodeId) {
        self.u32(value.0);
    }

    fn incarnation(&mut self, value: Incarnation) {
        self.u64(value.0);
    }

    fn ring(&mut self, value: RingId) {
        self.u64(value.seq);
        self.node(value.rep);
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        let count = u16::try_from(items.len()).expect("lists are limited well below 65536");
        self.0.extend_from_slice(&count.to_le_bytes());
        items.iter().for_each(|i| item(self, i));
    }

    fn heard(&mut self, items: &[Heard]) {
        self.list(items, |w, h| {
            w.node(h.node);
            w.incarnation(h.incarnation);
            w.u8(h.links);
        });
    }
}

impl Phase {
    /// Every phase with those that may follow it.
    pub const STEPS: [(Phase, &'static [Phase]); 6] = [
        (Phase::Idle, &[Phase::Gather, Phase::Left]),
        (Phase::Gather, &[Phase::Gather, Phase::Commit, Phase::Left]),
        (Phase::Commit, &[Phase::Gather, Phase::Recovery, Phase::Left]),
        (Phase::Recovery, &[Phase::Gather, Phase::Operational, Phase::Left]),
        (Phase::Operational, &[Phase::Gather, Phase::Left]),
        (Phase::Left, &[Phase::Left]),
    ];

    /// Whether `next` may follow.
    pub fn leads_to(self, next: Phase) -> bool {
        Phase::STEPS.iter().any(|(from, to)| *from == self && to.contains(&next))
    }

    fn code(self) -> u8 {
        match self {
            Phase::Idle => 0,
            Phase::Gather => 1,
            Phase::Commit => 2,
            Phase::Recovery => 3,
            Phase::Operational => 4,
            Phase::Left => 5,
        }
    }

    fn from_code(code: u8) -> Result<Phase, WireError> {
        Ok(match code {
            0 => Phase::Idle,
            1 => Phase::Gather,
            2 => Phase::Commit,
            3 => Phase::Recovery,
            4 => Phase::Operational,
            5 => Phase::Left,
            other => return Err(WireError::Kind(other)),
        })
    }
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(128));
        match self {
            Frame::Heartbeat(h) => encode_heartbeat(&mut w, h),
            Frame::Join(j) => encode_join(&mut w, j),
            Frame::Commit(c) => encode_commit(&mut w, c),
            Frame::Token(t) => encode_token(&mut w, t),
            Frame::Data(d) => d.encode_into(&mut w),
            Frame::Wake(ring) => {
                w.u8(6);
                w.ring(*ring);
            }
            Frame::TokenAck(ring, seq) => {
                w.u8(7);
                w.ring(*ring);
                w.u64(*seq);
            }
            Frame::Leave => w.u8(8),
            Frame::Challenge(number) => {
                w.u8(9);
                w.u64(*number);
            }
            Frame::Answer(number) => {
                w.u8(10);
                w.u64(*number);
            }
        }
        w.0
    }

    /// The highest ring number that it tells of.
    pub(crate) fn ring_seq(&self) -> Option<u64> {
        match self {
            Frame::Heartbeat(h) => Some(h.ring.seq),
            Frame::Join(j) => Some(j.ring_seq),
            Frame::Commit(c) => Some(c.ring.seq),
            _ => None,
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Frame, WireError> {
        let mut r = Reader(bytes);
        let frame = match r.u8()? {
            1 => decode_heartbeat(&mut r)?,
            2 => decode_join(&mut r)?,
            3 => decode_commit(&mut r)?,
            4 => decode_token(&mut r)?,
            5 => Frame::Data(Data::decode_from(&mut r)?),
            6 => Frame::Wake(r.ring()?),
            7 => Frame::TokenAck(r.ring()?, r.count()?),
            8 => Frame::Leave,
            9 => Frame::Challenge(r.u64()?),
            10 => Frame::Answer(r.u64()?),
            other => return Err(WireError::Kind(other)),
        };
        r.end()?;
        Ok(frame)
    }
}

impl Data {
    fn encode_into(&self, w: &mut Writer) {
        w.0.reserve(DATA_HEADER + self.body.len());
        w.u8(5);
        w.ring(self.ring);
        w.u64(self.seq);
        w.node(self.origin);
        w.u8(u8::from(self.safe) | u8::from(self.recovered) << 1);
        w.0.extend_from_slice(&self.body);
    }

    fn decode_from(r: &mut Reader<'_>) -> Result<Data, WireError> {
        let (ring, seq, origin, flags) = (r.ring()?, r.count()?, r.node()?, r.u8()?);
        if flags > 3 {
            return Err(WireError::Kind(flags));
        }
        let body = Arc::new(r.rest().to_vec());
        Ok(Data { ring, seq, origin, safe: flags & 1 != 0, recovered: flags & 2 != 0, body })
    }

    /// The running digest of an order that goes on with this message. It is there to notice
    /// differences, not to withstand somebody who has the key.
    pub(crate) fn digest_after(&self, before: u64) -> u64 {
        let flags = u64::from(self.safe) | u64::from(self.recovered) << 1;
        let head = [self.seq, u64::from(self.origin.0), flags, self.body.len() as u64];
        let words = self
            .body
            .chunks(8)
            .map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        head.into_iter().chain(words).fold(before, |digest, word| {
            let mixed = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        })
    }

    /// The body of a recovery message: this message of the old ring as bytes.
    pub(crate) fn wrapped(&self) -> Vec<u8> {
        let mut w = Writer(Vec::new());
        self.encode_into(&mut w);
        w.0
    }

    /// The inverse of [`Data::wrapped`].
    pub(crate) fn unwrapped(bytes: &[u8]) -> Result<Data, WireError> {
        match Frame::decode(bytes)? {
            Frame::Data(data) if !data.recovered => Ok(data),
            _ => Err(WireError::Kind(bytes.first().copied().unwrap_or(0))),
        }
    }
}

fn encode_heartbeat(w: &mut Writer, h: &Heartbeat) {
    w.u8(1);
    w.u8(u8::from(h.probe));
    w.u8(h.phase.code());
    w.u8(h.link);
    w.u64(h.generation);
    w.ring(h.ring);
    w.u64(h.token_seq);
    w.heard(&h.heard);
    w.list(&h.members, |w, n| w.node(*n));
}

fn decode_heartbeat(r: &mut Reader<'_>) -> Result<Frame, WireError> {
    Ok(Frame::Heartbeat(Heartbeat {
        probe: r.flag()?,
        phase: Phase::from_code(r.u8()?)?,
        link: r.u8()?,
        generation: r.count()?,
        ring: r.ring()?,
        token_seq: r.count()?,
        heard: r.heard()?,
        members: r.list(NODES_MAX, Reader::node)?,
    }))
}

fn encode_join(w: &mut Writer, j: &Join) {
    w.u8(2);
    w.u64(j.generation);
    w.u64(j.ring_seq);
    w.heard(&j.heard);
    w.list(&j.members, |w, n| w.node(*n));
    w.list(&j.failed, |w, (n, i)| {
        w.node(*n);
        w.incarnation(*i);
    });
}

fn decode_join(r: &mut Reader<'_>) -> Result<Frame, WireError> {
    Ok(Frame::Join(Join {
        generation: r.count()?,
        ring_seq: r.count()?,
        heard: r.heard()?,
        members: r.list(NODES_MAX, Reader::node)?,
        failed: r.list(NODES_MAX, |r| Ok((r.node()?, r.incarnation()?)))?,
    }))
}

fn encode_commit(w: &mut Writer, c: &Commit) {
    w.u8(3);
    w.ring(c.ring);
    w.u64(c.token_seq);
    w.list(&c.members, |w, m| {
        w.node(m.node);
        w.incarnation(m.incarnation);
        w.u64(m.generation);
        w.u8(u8::from(m.old.is_some()));
        if let Some(old) = m.old {
            w.ring(old.ring);
            w.u64(old.aru);
            w.u64(old.high);
            w.u64(old.safe);
            w.u64(old.digest);
        }
        w.list(&m.attachment, |w, b| w.u8(*b));
    });
}

fn decode_commit(r: &mut Reader<'_>) -> Result<Frame, WireError> {
    let (ring, token_seq) = (r.ring()?, r.count()?);
    let members = r.list(NODES_MAX, |r| {
        let (node, incarnation, generation) = (r.node()?, r.incarnation()?, r.count()?);
        let old = if r.flag()? {
            Some(OldRing {
                ring: r.ring()?,
                aru: r.count()?,
                high: r.count()?,
                safe: r.count()?,
                digest: r.u64()?,
            })
        } else {
            None
        };
        let attachment = r.list(ATTACHMENT_MAX, Reader::u8)?;
        Ok(CommitMember { node, incarnation, generation, old, attachment })
    })?;
    Ok(Frame::Commit(Commit { ring, token_seq, members }))
}

fn encode_token(w: &mut Writer, t: &Token) {
    w.u8(4);
    w.ring(t.ring);
    w.u64(t.token_seq);
    w.u64(t.seq);
    w.u64(t.aru);
    w.u64(t.digest.0);
    w.u64(t.digest.1);
    w.node(t.aru_setter);
    w.u32(t.sent);
    w.u64(t.install_seq);
    w.list(&t.pending, |w, n| w.node(*n));
    w.list(&t.requests, |w, (s, n)| {
        w.u64(*s);
        w.node(*n);
    });
}

fn decode_token(r: &mut Reader<'_>) -> Result<Frame, WireError> {
    Ok(Frame::Token(Token {
        ring: r.ring()?,
        token_seq: r.count()?,
        seq: r.count()?,
        aru: r.count()?,
        digest: (r.count()?, r.u64()?),
        aru_setter: r.node()?,
        sent: r.u32()?,
        install_seq: r.count()?,
        pending: r.list(NODES_MAX, Reader::node)?,
        requests: r.list(REQUESTS_MAX, |r| Ok((r.count()?, r.node()?)))?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Any bytes are refused or mean exactly one frame.
        #[test]
        fn what_is_read_is_written_the_same(
            kind in 0u8..12,
            mut bytes in proptest::collection::vec(prop_oneof![3 => 0u8..3, 1 => 0u8..=255], 0..120),
        ) {
            bytes.insert(0, kind);
            if let Ok(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.encode(), bytes);
            }
        }
    }

    #[test]
    fn lists_are_limited() {
        let mut bytes = Frame::Wake(RingId::default()).encode();
        bytes[0] = 4;
        bytes.extend_from_slice(&[0; 8 * 6 + 4 + 4]);
        bytes.extend_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(Frame::decode(&bytes), Err(WireError::Long(65_535)));
    }

    #[test]
    fn a_counter_that_could_overflow_is_not_a_frame() {
        let ring = |seq| Frame::Wake(RingId { seq, rep: NodeId(1) });
        assert_eq!(Frame::decode(&ring(COUNT_MAX).encode()), Ok(ring(COUNT_MAX)));
        for seq in [COUNT_MAX + 1, u64::MAX] {
            assert_eq!(Frame::decode(&ring(seq).encode()), Err(WireError::Large(seq)));
        }
    }

    #[test]
    fn a_wrapped_message_survives() {
        let data = Data {
            ring: RingId { seq: 5, rep: NodeId(1) },
            seq: 9,
            origin: NodeId(2),
            safe: true,
            recovered: false,
            body: Arc::new(vec![1, 2, 3]),
        };
        assert_eq!(Data::unwrapped(&data.wrapped()), Ok(data));
    }
}
