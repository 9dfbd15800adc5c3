//! One ring's messages: what was received, delivered, and is known to be everywhere.
//!
//! A running digest goes over all that was received without a gap. Members compare it, so that two
//! that number messages differently find out at once, whatever the reason.

use std::collections::{BTreeMap, VecDeque};

use membership_base::NodeId;

use crate::wire::{Data, RingId};

/// Most messages kept or awaited ahead of the oldest one kept; flow control stays far below.
pub(crate) const SPAN_MAX: u64 = 1 << 16;

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It was missing.
    New,
    /// It is there already, is no longer wanted, or is absurdly far ahead.
    Ignored,
    /// Another one has its number.
    Conflict,
}

/// A ring that is installed or being formed.
pub(crate) struct Ring {
    pub(crate) id: RingId,
    /// Ascending; the token goes round in this order.
    pub(crate) members: Vec<NodeId>,
    /// Each member's gather generation that led to this ring; joins up to it are stale.
    pub(crate) generations: BTreeMap<NodeId, u64>,
    messages: VecDeque<Option<Data>>,
    /// The sequence number of `messages[0]`.
    base: u64,
    /// The running digest up to `base - 1`, and for each message from there to `aru` up to it.
    digest: u64,
    digests: VecDeque<u64>,
    /// All messages up to here were received ("all received up to").
    pub(crate) aru: u64,
    /// The highest message received.
    pub(crate) high: u64,
    pub(crate) delivered: u64,
    /// All messages up to here are at every member.
    pub(crate) safe: u64,
    /// The last token that was accepted.
    pub(crate) token_seq: u64,
    /// `seq` of the token when it last passed on from here.
    pub(crate) passed_seq: u64,
    /// `aru` of the token when it last passed on from here.
    pub(crate) passed_aru: Option<u64>,
    /// Data frames sent at the last visit of the token.
    pub(crate) sent: u32,
}

impl Ring {
    pub(crate) fn new(id: RingId, members: Vec<NodeId>) -> Ring {
        debug_assert!(members.is_sorted());
        Ring {
            id,
            members,
            generations: BTreeMap::new(),
            messages: VecDeque::new(),
            base: 1,
            digest: 0,
            digests: VecDeque::new(),
            aru: 0,
            high: 0,
            delivered: 0,
            safe: 0,
            token_seq: 0,
            passed_seq: 0,
            passed_aru: None,
            sent: 0,
        }
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    /// The member after `node`, in token order.
    pub(crate) fn next_after(&self, node: NodeId) -> NodeId {
        let at = self.members.iter().position(|m| *m == node).unwrap_or(0);
        self.members[(at + 1) % self.members.len()]
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Data> {
        let at = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.messages.get(at)?.as_ref()
    }

    /// The running digest of all messages up to `seq`, if they are here and `seq` is not long past.
    pub(crate) fn digest_at(&self, seq: u64) -> Option<u64> {
        if seq + 1 == self.base {
            return Some(self.digest);
        }
        let at = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.digests.get(at).copied()
    }

    /// The member before `node`, in token order.
    pub(crate) fn previous_before(&self, node: NodeId) -> NodeId {
        let at = self.members.iter().position(|m| *m == node).unwrap_or(0);
        self.members[(at + self.members.len() - 1) % self.members.len()]
    }

    /// What is here is not what the other members have: nobody shares this ring with us any more.
    /// No ring has such a number, see `RING_STEP`.
    pub(crate) fn disown(&mut self, me: NodeId) {
        self.id = RingId { seq: self.id.seq + 1, rep: me };
    }

    /// Keeps a message.
    pub(crate) fn insert(&mut self, data: Data) -> Inserted {
        let Some(offset) = data.seq.checked_sub(self.base) else { return Inserted::Ignored };
        if offset >= SPAN_MAX {
            return Inserted::Ignored;
        }
        let at = usize::try_from(offset).expect("bounded by SPAN_MAX");
        if self.messages.len() <= at {
            self.messages.resize_with(at + 1, || None);
        }
        if let Some(known) = &self.messages[at] {
            return if *known == data { Inserted::Ignored } else { Inserted::Conflict };
        }
        self.high = self.high.max(data.seq);
        self.messages[at] = Some(data);
        while let Some(next) = self.get(self.aru + 1) {
            let before = self.digests.back().copied().unwrap_or(self.digest);
            let digest = next.digest_after(before);
            self.digests.push_back(digest);
            self.aru += 1;
        }
        Inserted::New
    }

    /// Drops what every member has and we have delivered.
    pub(crate) fn release(&mut self) {
        let until = self.safe.min(self.delivered);
        while self.base <= until && self.messages.pop_front().is_some() {
            self.base += 1;
            self.digest = self.digests.pop_front().unwrap_or(self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn data(seq: u64, body: &[u8]) -> Data {
        let ring = RingId { seq: 1024, rep: NodeId(1) };
        let body = Arc::new(body.to_vec());
        Data { ring, seq, origin: NodeId(2), safe: false, recovered: false, body }
    }

    fn ring() -> Ring {
        Ring::new(RingId { seq: 1024, rep: NodeId(1) }, vec![NodeId(1), NodeId(2)])
    }

    #[test]
    fn two_messages_with_one_number_are_a_conflict() {
        let mut ring = ring();
        assert_eq!(ring.insert(data(1, b"a")), Inserted::New);
        assert_eq!(ring.insert(data(1, b"a")), Inserted::Ignored);
        assert_eq!(ring.insert(data(1, b"b")), Inserted::Conflict);
        assert_eq!(ring.insert(data(1 + SPAN_MAX, b"far")), Inserted::Ignored);
    }

    #[test]
    fn the_digest_is_that_of_the_order_however_it_arrives_and_whatever_is_released() {
        let (mut one, mut two, mut other) = (ring(), ring(), ring());
        for seq in [1, 2, 3, 4] {
            one.insert(data(seq, b"x"));
            other.insert(data(seq, if seq == 2 { b"y" } else { b"x" }));
        }
        for seq in [4, 2, 1, 3] {
            two.insert(data(seq, b"x"));
        }
        two.delivered = 3;
        two.safe = 3;
        two.release();
        assert_eq!(two.digest_at(2), None, "long past");
        for seq in [3, 4] {
            assert_eq!(one.digest_at(seq), two.digest_at(seq));
            assert_ne!(one.digest_at(seq), other.digest_at(seq));
        }
        assert_eq!(one.digest_at(1), other.digest_at(1));
        assert_eq!(one.digest_at(5), None);
    }
}
