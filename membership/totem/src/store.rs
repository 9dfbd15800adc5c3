//! One ring's messages: what was received, delivered, and is known to be everywhere.

use std::collections::{BTreeMap, VecDeque};

use membership_base::NodeId;

use crate::wire::{Data, RingId};

/// Most messages kept or awaited ahead of the oldest one kept; flow control stays far below.
pub(crate) const SPAN_MAX: u64 = 1 << 16;

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

    /// Keeps a message; false if it is known, no longer wanted, or absurdly far ahead.
    pub(crate) fn insert(&mut self, data: Data) -> bool {
        let Some(offset) = data.seq.checked_sub(self.base) else { return false };
        if offset >= SPAN_MAX {
            return false;
        }
        let at = usize::try_from(offset).expect("bounded by SPAN_MAX");
        if self.messages.len() <= at {
            self.messages.resize_with(at + 1, || None);
        }
        if self.messages[at].is_some() {
            return false;
        }
        self.high = self.high.max(data.seq);
        self.messages[at] = Some(data);
        while self.get(self.aru + 1).is_some() {
            self.aru += 1;
        }
        true
    }

    /// Drops what every member has and we have delivered.
    pub(crate) fn release(&mut self) {
        let until = self.safe.min(self.delivered);
        while self.base <= until && self.messages.pop_front().is_some() {
            self.base += 1;
        }
    }
}
