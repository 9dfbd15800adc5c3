//! The envelope of every datagram: who sent it, sealed so that nobody outside the cluster can read,
//! alter or repeat it.
//!
//! Layout: version, mode, hash of the cluster's name, sender, incarnation, salt, counter, then the
//! frame (AES-256-GCM with the header as associated data; or plain when encryption is switched
//! off). Each sender seals with a key of its own, derived with HKDF-SHA256 from the cluster's key,
//! the sender, its incarnation, a random salt and the upper half of the counter, so one sealing
//! serves all receivers. The nonce is the counter: it never repeats under one key.
//!
//! A receiver takes a counter once (sliding window), and never goes back to a smaller incarnation
//! of a sender while it remembers a larger one. What a receiver that has itself restarted could
//! still be fooled with, an old incarnation's traffic, does no harm: frames count only from peers
//! that name the receiver's own incarnation (see `peers`).

use membership_base::{Incarnation, NodeId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};

/// The only version of the envelope so far.
pub const VERSION: u8 = 1;
const HEADER: usize = 34;
const TAG: usize = 16;
/// Bytes that sealing adds to a frame.
pub(crate) const OVERHEAD: usize = HEADER + TAG;
const WINDOW_WORDS: u64 = 64;

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Too short, or another version of the envelope.
    #[error("not a datagram of this protocol")]
    Malformed,
    /// Encrypted while we expect plain, or the other way round.
    #[error("encryption is switched on at one side only")]
    Mode,
    /// Another cluster's name.
    #[error("from another cluster")]
    Cluster,
    /// A node that is not in the node list, or our own id.
    #[error("from a node that is not in our node list, or has our own id")]
    Sender,
    /// Decryption failed: another key, or altered bytes.
    #[error("the key does not fit")]
    Key,
    /// Seen before, or too old to tell.
    #[error("repeated")]
    Replay,
    /// Authentic, but not a frame.
    #[error("not a frame")]
    Frame,
}

pub(crate) struct Header {
    pub(crate) sender: NodeId,
    incarnation: Incarnation,
    salt: u64,
    counter: u64,
}

/// The cluster's secret, ready to derive keys from.
pub(crate) struct Keyring {
    secret: Option<Prk>,
    cluster: u32,
}

impl Keyring {
    /// `key` is the content of the key file; `None` switches encryption off.
    pub(crate) fn new(cluster_name: &str, key: Option<&[u8]>) -> Keyring {
        let digest = ring::digest::digest(&ring::digest::SHA256, cluster_name.as_bytes());
        let mut word = [0; 4];
        word.copy_from_slice(&digest.as_ref()[..4]);
        let salt = Salt::new(HKDF_SHA256, digest.as_ref());
        Keyring { secret: key.map(|k| salt.extract(k)), cluster: u32::from_le_bytes(word) }
    }

    fn mode(&self) -> u8 {
        u8::from(self.secret.is_some())
    }

    fn derive(&self, h: &Header) -> Option<LessSafeKey> {
        let secret = self.secret.as_ref()?;
        let parts = [
            b"systole ring frame v1".as_slice(),
            &h.sender.0.to_le_bytes(),
            &h.incarnation.0.to_le_bytes(),
            &h.salt.to_le_bytes(),
            &epoch(h.counter).to_le_bytes(),
        ];
        let okm = secret.expand(&parts, &AES_256_GCM).expect("32 bytes are a legal HKDF output");
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }

    /// Reads the header without any claim to its truth.
    pub(crate) fn peek(&self, bytes: &[u8]) -> Result<Header, Reject> {
        if bytes.len() < HEADER || bytes[0] != VERSION {
            return Err(Reject::Malformed);
        }
        if bytes[1] != self.mode() {
            return Err(Reject::Mode);
        }
        if word32(&bytes[2..6]) != self.cluster {
            return Err(Reject::Cluster);
        }
        Ok(Header {
            sender: NodeId(word32(&bytes[6..10])),
            incarnation: Incarnation(word64(&bytes[10..18])),
            salt: word64(&bytes[18..26]),
            counter: word64(&bytes[26..34]),
        })
    }
}

fn epoch(counter: u64) -> u64 {
    counter >> 32
}

fn word32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |acc, b| acc << 8 | u32::from(*b))
}

fn word64(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |acc, b| acc << 8 | u64::from(*b))
}

fn nonce(counter: u64) -> Nonce {
    let mut raw = [0; 12];
    raw[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(raw)
}

/// Seals our own frames.
pub(crate) struct Sealer {
    header: Header,
    key: Option<LessSafeKey>,
}

impl Sealer {
    pub(crate) fn new(
        keyring: &Keyring,
        me: NodeId,
        incarnation: Incarnation,
        salt: u64,
    ) -> Sealer {
        let header = Header { sender: me, incarnation, salt, counter: 0 };
        let key = keyring.derive(&header);
        Sealer { header, key }
    }

    pub(crate) fn seal(&mut self, keyring: &Keyring, frame: &[u8]) -> Vec<u8> {
        let before = epoch(self.header.counter);
        self.header.counter += 1;
        if epoch(self.header.counter) != before {
            self.key = keyring.derive(&self.header);
        }
        let h = &self.header;
        let mut out = Vec::with_capacity(OVERHEAD + frame.len());
        out.push(VERSION);
        out.push(keyring.mode());
        out.extend_from_slice(&keyring.cluster.to_le_bytes());
        out.extend_from_slice(&h.sender.0.to_le_bytes());
        out.extend_from_slice(&h.incarnation.0.to_le_bytes());
        out.extend_from_slice(&h.salt.to_le_bytes());
        out.extend_from_slice(&h.counter.to_le_bytes());
        debug_assert_eq!(out.len(), HEADER);
        out.extend_from_slice(frame);
        if let Some(key) = &self.key {
            let (header, body) = out.split_at_mut(HEADER);
            let tag = key
                .seal_in_place_separate_tag(nonce(h.counter), Aad::from(&*header), body)
                .expect("a datagram is far below the cipher's limit");
            out.extend_from_slice(tag.as_ref());
        }
        out
    }
}

/// Which counters of one sender were seen: the last `WINDOW_WORDS * 64` or so.
struct Window {
    top: u64,
    words: [u64; WINDOW_WORDS as usize],
}

impl Window {
    fn new() -> Window {
        Window { top: 0, words: [0; WINDOW_WORDS as usize] }
    }

    fn slot(counter: u64) -> (usize, u64) {
        // The remainder is below 64, so the conversion cannot lose anything.
        ((counter / 64 % WINDOW_WORDS) as usize, 1 << (counter % 64))
    }

    fn is_fresh(&self, counter: u64) -> bool {
        if counter > self.top {
            return true;
        }
        if self.top / 64 - counter / 64 >= WINDOW_WORDS {
            return false;
        }
        let (word, bit) = Window::slot(counter);
        self.words[word] & bit == 0
    }

    fn mark(&mut self, counter: u64) {
        if counter > self.top {
            let steps = (counter / 64 - self.top / 64).min(WINDOW_WORDS);
            for step in 0..steps {
                let (word, _) = Window::slot(counter - step * 64);
                self.words[word] = 0;
            }
            self.top = counter;
        }
        let (word, bit) = Window::slot(counter);
        self.words[word] |= bit;
    }
}

/// Opens one peer's frames.
pub(crate) struct Opener {
    incarnation: Incarnation,
    salt: u64,
    epoch: u64,
    key: Option<LessSafeKey>,
    window: Window,
}

/// An opened datagram.
pub(crate) struct Opened {
    pub(crate) frame: Vec<u8>,
    /// `Some` if the sender started anew since the last datagram that we took from it.
    pub(crate) new_incarnation: Option<Incarnation>,
}

/// Opens `bytes`, whose header is `h`, and updates what is known of the sender.
pub(crate) fn open(
    keyring: &Keyring,
    slot: &mut Option<Opener>,
    h: &Header,
    bytes: &[u8],
) -> Result<Opened, Reject> {
    let known = slot.as_ref().filter(|o| o.incarnation == h.incarnation && o.salt == h.salt);
    if known.is_none() && slot.as_ref().is_some_and(|o| o.incarnation >= h.incarnation) {
        return Err(Reject::Replay);
    }
    if known.is_some_and(|o| !o.window.is_fresh(h.counter)) {
        return Err(Reject::Replay);
    }
    let same_key = known.filter(|o| o.epoch == epoch(h.counter));
    let (frame, new_key) = match same_key {
        Some(o) => (decrypt(o.key.as_ref(), h, bytes)?, None),
        None => {
            let key = keyring.derive(h);
            (decrypt(key.as_ref(), h, bytes)?, Some(key))
        }
    };
    let new_incarnation = known.is_none().then_some(h.incarnation);
    if new_incarnation.is_some() {
        *slot = Some(Opener {
            incarnation: h.incarnation,
            salt: h.salt,
            epoch: epoch(h.counter),
            key: None,
            window: Window::new(),
        });
    }
    let opener = slot.as_mut().expect("it was there or has just been made");
    if let Some(key) = new_key
        && epoch(h.counter) >= opener.epoch
    {
        opener.key = key;
        opener.epoch = epoch(h.counter);
    }
    opener.window.mark(h.counter);
    Ok(Opened { frame, new_incarnation })
}

fn decrypt(key: Option<&LessSafeKey>, h: &Header, bytes: &[u8]) -> Result<Vec<u8>, Reject> {
    let (header, body) = bytes.split_at_checked(HEADER).ok_or(Reject::Malformed)?;
    let mut frame = body.to_vec();
    if let Some(key) = key {
        let len = key
            .open_in_place(nonce(h.counter), Aad::from(header), &mut frame)
            .map_err(|_| Reject::Key)?
            .len();
        frame.truncate(len);
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_of(key: &[u8]) -> Keyring {
        Keyring::new("alpha", Some(key))
    }

    #[test]
    fn opens_what_it_sealed_once_only() {
        let keys = ring_of(&[7; 128]);
        let mut sealer = Sealer::new(&keys, NodeId(1), Incarnation(5), 9);
        let mut slot = None;
        let first = sealer.seal(&keys, b"hello");
        let second = sealer.seal(&keys, b"again");
        for bytes in [&second, &first] {
            let h = keys.peek(bytes).unwrap();
            assert_eq!(h.sender, NodeId(1));
            assert!(open(&keys, &mut slot, &h, bytes).is_ok());
            assert_eq!(open(&keys, &mut slot, &h, bytes).err(), Some(Reject::Replay));
        }
    }

    #[test]
    fn refuses_other_keys_altered_bytes_and_older_incarnations() {
        let keys = ring_of(&[7; 128]);
        let mut sealer = Sealer::new(&keys, NodeId(1), Incarnation(5), 9);
        let bytes = sealer.seal(&keys, b"hello");
        let h = keys.peek(&bytes).unwrap();
        assert_eq!(open(&ring_of(&[8; 128]), &mut None, &h, &bytes).err(), Some(Reject::Key));
        for at in HEADER..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(open(&keys, &mut None, &h, &bad).err(), Some(Reject::Key));
        }
        let mut slot = None;
        let newer = Sealer::new(&keys, NodeId(1), Incarnation(6), 9).seal(&keys, b"new");
        let opened = open(&keys, &mut slot, &keys.peek(&newer).unwrap(), &newer).unwrap();
        assert_eq!(opened.new_incarnation, Some(Incarnation(6)));
        assert_eq!(open(&keys, &mut slot, &h, &bytes).err(), Some(Reject::Replay));
        assert_eq!(Keyring::new("alpha", None).peek(&bytes).err(), Some(Reject::Mode));
        assert_eq!(Keyring::new("beta", Some(&[7; 128])).peek(&bytes).err(), Some(Reject::Cluster));
    }

    #[test]
    fn the_window_remembers_thousands_and_forgets_the_rest() {
        let mut window = Window::new();
        for counter in [1, 3, 2, 4000, 100, 9000] {
            assert!(window.is_fresh(counter), "{counter}");
            window.mark(counter);
            assert!(!window.is_fresh(counter), "{counter}");
        }
        assert!(!window.is_fresh(4), "too far behind to tell");
        assert!(window.is_fresh(8999));
    }
}
