//! What waits for the main loop: bounded in number and in bytes.
//!
//! Whoever brings something waits while the queue is full. For the ring's thread that means that
//! the node falls silent, as one must whose main loop does not keep up; it never waits the other way
//! round. What the loop tells itself does not go through here.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::daemon::Incoming;

/// Things that may wait.
const WAITING_MAX: usize = 4096;
/// Bytes of the ring's messages that may wait; a larger one waits alone.
const BYTES_MAX: usize = 128 << 20;

/// The way into the queue.
#[derive(Clone)]
pub(crate) struct Sender {
    sender: mpsc::Sender<Incoming>,
    bytes: Arc<Bytes>,
}

/// The loop's end.
pub(crate) struct Receiver {
    receiver: mpsc::Receiver<Incoming>,
    bytes: Arc<Bytes>,
}

pub(crate) fn channel() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let bytes = Arc::new(Bytes::default());
    (Sender { sender, bytes: Arc::clone(&bytes) }, Receiver { receiver, bytes })
}

// In all three, an error means that the loop has ended, and nobody wants to know any more.
impl Sender {
    /// From a task.
    pub(crate) async fn send(&self, incoming: Incoming) {
        let _ = self.sender.send(incoming).await;
    }

    /// From a thread that may wait.
    pub(crate) fn send_from_thread(&self, incoming: Incoming) {
        let _ = self.sender.blocking_send(incoming);
    }

    /// From the ring's thread.
    pub(crate) fn send_message(&self, incoming: Incoming) {
        self.bytes.add(incoming.len());
        let _ = self.sender.blocking_send(incoming);
    }
}

impl Receiver {
    pub(crate) async fn recv(&mut self) -> Option<Incoming> {
        let incoming = self.receiver.recv().await?;
        self.bytes.remove(incoming.len());
        Some(incoming)
    }

    pub(crate) fn try_recv(&mut self) -> Option<Incoming> {
        let incoming = self.receiver.try_recv().ok()?;
        self.bytes.remove(incoming.len());
        Some(incoming)
    }

    /// Nothing is taken any more: nobody waits for room.
    pub(crate) fn close(&mut self) {
        self.receiver.close();
        self.bytes.lift();
    }
}

#[derive(Default)]
struct Bytes {
    /// Bytes that wait, and whether the limit is lifted.
    waiting: Mutex<(usize, bool)>,
    room: Condvar,
}

impl Bytes {
    fn add(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |(waiting, lifted): &mut (usize, bool)| {
            !*lifted && *waiting > 0 && waiting.saturating_add(bytes) > BYTES_MAX
        };
        let waited = self.room.wait_while(waiting, full);
        waited.unwrap_or_else(PoisonError::into_inner).0 += bytes;
    }

    fn remove(&self, bytes: usize) {
        if bytes > 0 {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.0 = waiting.0.saturating_sub(bytes);
            self.room.notify_all();
        }
    }

    fn lift(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::RingEvent;
    use crm_node::Input;
    use membership_base::{Delivered, NodeId};

    fn message(bytes: usize) -> Incoming {
        let delivered = Delivered { sender: NodeId(1), bytes: vec![0; bytes] };
        Incoming::Ring(RingEvent::Node(Input::Delivered(delivered)))
    }

    #[test]
    fn the_ring_waits_while_too_much_waits_for_the_loop_and_no_longer() {
        let (sender, mut receiver) = channel();
        sender.send_message(message(BYTES_MAX));
        let (sent, is_sent) = std::sync::mpsc::channel();
        let second = sender.clone();
        let thread = std::thread::spawn(move || {
            second.send_message(message(1));
            sent.send(()).unwrap();
        });
        assert_eq!(receiver.bytes.waiting.lock().unwrap().0, BYTES_MAX);
        assert!(is_sent.try_recv().is_err());
        assert!(receiver.try_recv().is_some());
        is_sent.recv().unwrap();
        thread.join().unwrap();
        assert!(receiver.try_recv().is_some());
        assert_eq!(receiver.bytes.waiting.lock().unwrap().0, 0);
    }

    #[test]
    fn at_the_end_nobody_waits_for_room() {
        let (sender, mut receiver) = channel();
        for _ in 0..WAITING_MAX {
            sender.send_message(message(BYTES_MAX / WAITING_MAX));
        }
        let thread = std::thread::spawn(move || {
            sender.send_message(message(2 * BYTES_MAX));
            sender.send_from_thread(message(0));
        });
        receiver.close();
        thread.join().unwrap();
    }
}
