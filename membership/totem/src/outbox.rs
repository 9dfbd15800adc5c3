//! Messages on their way into the ring and out of it: several small ones share a frame, a large one
//! is cut into pieces and put together again.
//!
//! A message counts as sent when its last piece is in the ring. If the ring changes before that,
//! its pieces so far are forgotten everywhere and it starts again in the new ring, so it arrives
//! whole and once, or not at all if its sender is lost.

use std::collections::{BTreeMap, VecDeque};

use membership_base::{Delivered, NodeId};

const WHOLE: u8 = 0;
const FIRST: u8 = 1;
const MIDDLE: u8 = 2;
const LAST: u8 = 3;
/// Kind and length; a first piece has the message's total length as well.
const PIECE_HEADER: usize = 5;
const FIRST_HEADER: usize = 9;
/// Smallest remainder of a frame that is worth a piece of a large message.
const PIECE_WORTH: usize = 256;

struct Pending {
    bytes: Vec<u8>,
    safe: bool,
    sent: usize,
}

pub(crate) struct Outbox {
    queue: VecDeque<Pending>,
    bytes: usize,
    limit: usize,
}

impl Outbox {
    pub(crate) fn new(limit: usize) -> Outbox {
        Outbox { queue: VecDeque::new(), bytes: 0, limit }
    }

    /// Takes a message, or gives it back when the queue is full. An empty queue takes any.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, safe: bool) -> Result<(), Vec<u8>> {
        let cost = bytes.len() + PIECE_HEADER;
        if !self.queue.is_empty() && self.bytes + cost > self.limit {
            return Err(bytes);
        }
        self.bytes += cost;
        self.queue.push_back(Pending { bytes, safe, sent: 0 });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// The next frame's body of at most `room` bytes, and whether a message in it asks for safe
    /// delivery.
    pub(crate) fn next_body(&mut self, room: usize) -> Option<(Vec<u8>, bool)> {
        let mut body = Vec::new();
        let mut safe = false;
        while let Some(front) = self.queue.front_mut() {
            let space = room.saturating_sub(body.len());
            let left = front.bytes.len() - front.sent;
            if front.sent == 0 && left + PIECE_HEADER <= space {
                put_piece(&mut body, WHOLE, &front.bytes);
            } else if front.sent > 0 && left + PIECE_HEADER <= space {
                put_piece(&mut body, LAST, &front.bytes[front.sent..]);
            } else if body.is_empty() || space >= PIECE_WORTH {
                // Small messages are not cut: they open the next frame instead.
                if front.sent == 0 && left + PIECE_HEADER <= room && !body.is_empty() {
                    break;
                }
                put_cut(&mut body, front, space);
                safe |= front.safe;
                break;
            } else {
                break;
            }
            safe |= front.safe;
            self.bytes -= front.bytes.len() + PIECE_HEADER;
            self.queue.pop_front();
        }
        (!body.is_empty()).then_some((body, safe))
    }

    /// The ring has changed: a message that was sent in part starts again.
    pub(crate) fn restart(&mut self) {
        if let Some(front) = self.queue.front_mut() {
            front.sent = 0;
        }
    }
}

fn put_piece(body: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("a piece fits into a frame");
    body.push(kind);
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(bytes);
}

/// As much of `front` as fits into `space` bytes, never all of it.
fn put_cut(body: &mut Vec<u8>, front: &mut Pending, space: usize) {
    let header = if front.sent == 0 { FIRST_HEADER } else { PIECE_HEADER };
    let rest = front.bytes.len() - front.sent;
    let take = space.saturating_sub(header).min(rest.saturating_sub(1));
    let part = &front.bytes[front.sent..front.sent + take];
    if front.sent == 0 {
        let total = u32::try_from(front.bytes.len()).expect("messages are limited far below 4 GiB");
        let len = u32::try_from(part.len()).expect("a piece fits into a frame");
        body.push(FIRST);
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(&total.to_le_bytes());
        body.extend_from_slice(part);
    } else {
        put_piece(body, MIDDLE, part);
    }
    front.sent += take;
}

struct Partial {
    bytes: Vec<u8>,
    total: usize,
}

/// Puts pieces together, per sender.
pub(crate) struct Assembler {
    partial: BTreeMap<NodeId, Partial>,
    message_max: usize,
}

impl Assembler {
    pub(crate) fn new(message_max: usize) -> Assembler {
        Assembler { partial: BTreeMap::new(), message_max }
    }

    /// Forgets every message that is not complete.
    pub(crate) fn clear(&mut self) {
        self.partial.clear();
    }

    /// Takes a frame's body; complete messages go to `out`. Nonsense in it is skipped: all members
    /// see the same body and skip the same.
    pub(crate) fn take(&mut self, sender: NodeId, body: &[u8], out: &mut Vec<Delivered>) {
        let mut rest = body;
        while let Some((kind, len, mut tail)) = piece_header(rest) {
            let mut total = 0;
            if kind == FIRST {
                let Some((raw, after)) = tail.split_at_checked(4) else { return };
                total = raw.iter().rev().fold(0, |acc, b| acc << 8 | usize::from(*b));
                tail = after;
            }
            let Some((bytes, after)) = tail.split_at_checked(len) else { return };
            rest = after;
            match kind {
                WHOLE => out.push(Delivered { sender, bytes: bytes.to_vec() }),
                FIRST if total <= self.message_max => {
                    // The promised total is not allocated before the bytes arrive.
                    self.partial.insert(sender, Partial { bytes: bytes.to_vec(), total });
                }
                MIDDLE | LAST => self.more(sender, kind, bytes, out),
                _ => return,
            }
        }
    }

    fn more(&mut self, sender: NodeId, kind: u8, bytes: &[u8], out: &mut Vec<Delivered>) {
        let Some(partial) = self.partial.get_mut(&sender) else { return };
        if partial.bytes.len() + bytes.len() > partial.total {
            self.partial.remove(&sender);
            return;
        }
        partial.bytes.extend_from_slice(bytes);
        if kind == LAST
            && let Some(done) = self.partial.remove(&sender)
            && done.bytes.len() == done.total
        {
            out.push(Delivered { sender, bytes: done.bytes });
        }
    }
}

fn piece_header(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (head, tail) = bytes.split_at_checked(PIECE_HEADER)?;
    let len = head[1..].iter().rev().fold(0, |acc, b| acc << 8 | usize::from(*b));
    Some((head[0], len, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pump(outbox: &mut Outbox, room: usize) -> (Vec<Vec<u8>>, usize) {
        let mut assembler = Assembler::new(1 << 20);
        let (mut out, mut frames) = (Vec::new(), 0);
        while let Some((body, _)) = outbox.next_body(room) {
            assert!(body.len() <= room);
            assembler.take(NodeId(1), &body, &mut out);
            frames += 1;
        }
        (out.into_iter().map(|d| d.bytes).collect(), frames)
    }

    #[test]
    fn sizes_around_the_frame_arrive_whole() {
        for room in [300, 1300] {
            for size in (0..40).chain(280..320).chain(1280..1310).chain([5000, 100_000]) {
                let mut outbox = Outbox::new(1 << 20);
                let sent: Vec<Vec<u8>> = vec![vec![1; size], vec![], vec![2; size], vec![3; 7]];
                for m in &sent {
                    outbox.push(m.clone(), false).unwrap();
                }
                assert_eq!(pump(&mut outbox, room).0, sent, "room {room} size {size}");
                assert_eq!(outbox.len_bytes(), 0);
            }
        }
    }

    #[test]
    fn small_ones_share_a_frame() {
        let mut outbox = Outbox::new(1 << 20);
        (0..100).for_each(|i| outbox.push(vec![i; 64], false).unwrap());
        assert_eq!(pump(&mut outbox, 1300).1, 6);
    }

    #[test]
    fn a_full_queue_gives_back_but_an_empty_one_takes_any() {
        let mut outbox = Outbox::new(100);
        outbox.push(vec![0; 1000], true).unwrap();
        assert_eq!(outbox.push(vec![1], false), Err(vec![1]));
    }

    #[test]
    fn restart_sends_all_again_and_the_assembler_forgets() {
        let mut outbox = Outbox::new(1 << 20);
        let message: Vec<u8> = (0..3000u32).map(|i| i.to_le_bytes()[0]).collect();
        outbox.push(message.clone(), true).unwrap();
        let mut assembler = Assembler::new(1 << 20);
        let mut out = Vec::new();
        let (body, safe) = outbox.next_body(1300).unwrap();
        assert!(safe);
        assembler.take(NodeId(1), &body, &mut out);
        assembler.clear();
        outbox.restart();
        while let Some((body, _)) = outbox.next_body(1300) {
            assembler.take(NodeId(1), &body, &mut out);
        }
        assert_eq!(out, vec![Delivered { sender: NodeId(1), bytes: message }]);
    }
}
