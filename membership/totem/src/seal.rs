//! The envelope of every datagram: who sent it and to whom, sealed so that nobody outside the cluster
//! can read, alter, redirect or repeat it.
//!
//! Layout: version, mode, hash of the cluster's name, sender, incarnation, salt, counter; then,
//! sealed, the receiver, the link and the frame (AES-256-GCM-SIV with the header as associated data;
//! or plain when encryption is switched off). Each sender seals with a key of its own, derived with
//! HKDF-SHA256 from the cluster's key, the sender, its incarnation, a random salt and the upper half
//! of the counter, so one sealing serves all receivers. The nonce is the counter. It repeats only
//! if the machine itself is repeated (a virtual machine that is cloned, or resumed from a snapshot,
//! with its memory); then this cipher gives away no more than which datagrams are the same.
//!
//! Receiver and link are inside, so that nobody on the way learns which datagrams are tokens.
//!
//! A receiver takes a counter once (sliding window). It takes nothing from an incarnation that it
//! does not know before that has answered a challenge, because what was recorded earlier cannot.

use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Key, Nonce, Tag};
use membership_base::{Incarnation, NodeId};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};

/// The version of the envelope and of the frames in it.
pub const VERSION: u8 = 2;
const HEADER: usize = 34;
/// Receiver and link.
const ADDRESS: usize = 5;
const TAG: usize = 16;
/// Bytes that sealing adds to a frame.
pub(crate) const OVERHEAD: usize = HEADER + ADDRESS + TAG;
/// As a receiver: every node. No node has this number.
pub(crate) const ALL: NodeId = NodeId(0);
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
    /// Meant for another node or link: somebody on the way redirects datagrams.
    #[error("meant for another node or link; somebody redirects datagrams")]
    Misdirected,
    /// Of an incarnation of its sender that does not answer.
    #[error(
        "from an incarnation of its sender that does not answer; somebody repeats old datagrams, \
         or two nodes have the same id"
    )]
    Unproven,
    /// Authentic, but not a frame.
    #[error("not a frame")]
    Frame,
}

pub(crate) struct Header {
    pub(crate) sender: NodeId,
    pub(crate) incarnation: Incarnation,
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

    fn derive(&self, h: &Header) -> Option<Aes256GcmSiv> {
        let secret = self.secret.as_ref()?;
        let parts = [
            b"systole ring frame v2".as_slice(),
            &h.sender.0.to_le_bytes(),
            &h.incarnation.0.to_le_bytes(),
            &h.salt.to_le_bytes(),
            &epoch(h.counter).to_le_bytes(),
        ];
        let okm = secret.expand(&parts, HKDF_SHA256).expect("32 bytes are a legal HKDF output");
        let mut key = Key::<Aes256GcmSiv>::default();
        okm.fill(&mut key).expect("the output is as long as the key");
        Some(Aes256GcmSiv::new(&key))
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
        let incarnation = Incarnation(word64(&bytes[10..18]));
        if incarnation > Incarnation::MAX {
            return Err(Reject::Malformed);
        }
        Ok(Header {
            sender: NodeId(word32(&bytes[6..10])),
            incarnation,
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
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// Seals our own frames.
pub(crate) struct Sealer {
    header: Header,
    key: Option<Aes256GcmSiv>,
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

    /// Seals a frame for `to`, or for [`ALL`], over this link.
    pub(crate) fn seal(
        &mut self,
        keyring: &Keyring,
        to: NodeId,
        link: u8,
        frame: &[u8],
    ) -> Vec<u8> {
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
        out.extend_from_slice(&to.0.to_le_bytes());
        out.push(link);
        out.extend_from_slice(frame);
        if let Some(key) = &self.key {
            let (header, body) = out.split_at_mut(HEADER);
            let tag = key
                .encrypt_inout_detached(&nonce(h.counter), header, body.into())
                .expect("a datagram is far below the cipher's limit");
            out.extend_from_slice(&tag);
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

/// Opens one peer's frames: those of the incarnation that has proven to be there.
pub(crate) struct Opener {
    incarnation: Incarnation,
    salt: u64,
    epoch: u64,
    key: Option<Aes256GcmSiv>,
    window: Window,
}

impl Opener {
    /// For the incarnation that has just answered a challenge with a datagram that has this header.
    pub(crate) fn new(h: &Header) -> Opener {
        let (incarnation, salt, epoch) = (h.incarnation, h.salt, epoch(h.counter));
        let mut window = Window::new();
        window.mark(h.counter);
        Opener { incarnation, salt, epoch, key: None, window }
    }

    fn knows(&self, h: &Header) -> bool {
        (self.incarnation, self.salt) == (h.incarnation, h.salt)
    }
}

/// An opened datagram.
pub(crate) struct Opened {
    pub(crate) frame: Vec<u8>,
    /// It is from the incarnation that has proven to be there, and was not seen before. Otherwise
    /// whoever has the key has sealed it at some time.
    pub(crate) proven: bool,
}

/// Opens `bytes`, whose header is `h` and which came to `me` on `link`.
pub(crate) fn open(
    keyring: &Keyring,
    slot: &mut Option<Opener>,
    h: &Header,
    (me, link): (NodeId, u8),
    bytes: &[u8],
) -> Result<Opened, Reject> {
    let Some(opener) = slot.as_mut().filter(|o| o.knows(h)) else {
        let frame = unwrap(decrypt(keyring.derive(h).as_ref(), h, bytes)?, me, link)?;
        return Ok(Opened { frame, proven: false });
    };
    if !opener.window.is_fresh(h.counter) {
        return Err(Reject::Replay);
    }
    let unknown_key = opener.epoch != epoch(h.counter) || opener.key.is_none();
    let new_key = unknown_key.then(|| keyring.derive(h)).flatten();
    let key = new_key.as_ref().or(opener.key.as_ref());
    let frame = unwrap(decrypt(key, h, bytes)?, me, link)?;
    if new_key.is_some() && epoch(h.counter) >= opener.epoch {
        opener.key = new_key;
        opener.epoch = epoch(h.counter);
    }
    opener.window.mark(h.counter);
    Ok(Opened { frame, proven: true })
}

fn decrypt(key: Option<&Aes256GcmSiv>, h: &Header, bytes: &[u8]) -> Result<Vec<u8>, Reject> {
    let (header, body) = bytes.split_at_checked(HEADER).ok_or(Reject::Malformed)?;
    let Some(key) = key else { return Ok(body.to_vec()) };
    let (body, tag) = body.split_at_checked(body.len().saturating_sub(TAG)).ok_or(Reject::Key)?;
    let tag = Tag::try_from(tag).map_err(|_| Reject::Key)?;
    let mut frame = body.to_vec();
    key.decrypt_inout_detached(&nonce(h.counter), header, frame.as_mut_slice().into(), &tag)
        .map_err(|_| Reject::Key)?;
    Ok(frame)
}

/// Takes receiver and link off, if they are ours.
fn unwrap(mut sealed: Vec<u8>, me: NodeId, link: u8) -> Result<Vec<u8>, Reject> {
    let (address, _) = sealed.split_at_checked(ADDRESS).ok_or(Reject::Frame)?;
    let to = NodeId(word32(&address[..4]));
    if (to != me && to != ALL) || address[4] != link {
        return Err(Reject::Misdirected);
    }
    sealed.drain(..ADDRESS);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_of(key: &[u8]) -> Keyring {
        Keyring::new("alpha", Some(key))
    }

    const HERE: (NodeId, u8) = (NodeId(2), 0);

    fn sealed(keys: &Keyring, incarnation: u64, to: NodeId, frame: &[u8]) -> Vec<u8> {
        Sealer::new(keys, NodeId(1), Incarnation(incarnation), 9).seal(keys, to, 0, frame)
    }

    #[test]
    fn opens_what_it_sealed_once_only() {
        let keys = ring_of(&[7; 128]);
        let mut sealer = Sealer::new(&keys, NodeId(1), Incarnation(5), 9);
        let answer = sealer.seal(&keys, HERE.0, 0, b"answer");
        let mut slot = Some(Opener::new(&keys.peek(&answer).unwrap()));
        let first = sealer.seal(&keys, HERE.0, 0, b"hello");
        let second = sealer.seal(&keys, ALL, 0, b"again");
        for (bytes, text) in [(&second, b"again"), (&first, b"hello")] {
            let h = keys.peek(bytes).unwrap();
            assert_eq!(h.sender, NodeId(1));
            let opened = open(&keys, &mut slot, &h, HERE, bytes).unwrap();
            assert!(opened.proven && opened.frame == text);
            assert_eq!(open(&keys, &mut slot, &h, HERE, bytes).err(), Some(Reject::Replay));
        }
        let h = keys.peek(&answer).unwrap();
        assert_eq!(open(&keys, &mut slot, &h, HERE, &answer).err(), Some(Reject::Replay));
    }

    #[test]
    fn refuses_other_keys_and_altered_bytes() {
        let keys = ring_of(&[7; 128]);
        let bytes = sealed(&keys, 5, ALL, b"hello");
        let h = keys.peek(&bytes).unwrap();
        let other = ring_of(&[8; 128]);
        assert_eq!(open(&other, &mut None, &h, HERE, &bytes).err(), Some(Reject::Key));
        for at in 6..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let Ok(h) = keys.peek(&bad) else { continue };
            assert_eq!(open(&keys, &mut None, &h, HERE, &bad).err(), Some(Reject::Key), "{at}");
        }
        for length in 0..bytes.len() {
            assert!(open(&keys, &mut None, &h, HERE, &bytes[..length]).is_err());
        }
        assert_eq!(Keyring::new("alpha", None).peek(&bytes).err(), Some(Reject::Mode));
        assert_eq!(Keyring::new("beta", Some(&[7; 128])).peek(&bytes).err(), Some(Reject::Cluster));
    }

    #[test]
    fn what_is_for_another_node_or_link_is_refused() {
        for keys in [ring_of(&[7; 128]), Keyring::new("alpha", None)] {
            let bytes = sealed(&keys, 5, NodeId(2), b"token");
            let h = keys.peek(&bytes).unwrap();
            assert!(open(&keys, &mut None, &h, HERE, &bytes).is_ok());
            for elsewhere in [(NodeId(3), 0), (NodeId(2), 1)] {
                let result = open(&keys, &mut None, &h, elsewhere, &bytes);
                assert_eq!(result.err(), Some(Reject::Misdirected));
            }
        }
    }

    #[test]
    fn another_incarnation_is_opened_but_not_proven_whichever_is_larger() {
        let keys = ring_of(&[7; 128]);
        let known = keys.peek(&sealed(&keys, 5, ALL, b"answer")).unwrap();
        for incarnation in [4, 6] {
            let mut slot = Some(Opener::new(&known));
            let bytes = sealed(&keys, incarnation, ALL, b"hello");
            let h = keys.peek(&bytes).unwrap();
            assert!(!open(&keys, &mut slot, &h, HERE, &bytes).unwrap().proven);
            assert!(!open(&keys, &mut slot, &h, HERE, &bytes).unwrap().proven);
        }
        let mut far = sealed(&keys, 5, ALL, b"hello");
        far[17] = 0x7f;
        assert_eq!(keys.peek(&far).err(), Some(Reject::Malformed), "an impossible incarnation");
    }

    /// A virtual machine that was resumed from a snapshot of its memory repeats its counters.
    #[test]
    fn a_repeated_nonce_gives_away_neither_content_nor_key_stream() {
        let keys = ring_of(&[7; 128]);
        let one = sealed(&keys, 5, ALL, b"attack at dawn!!");
        let two = sealed(&keys, 5, ALL, b"attack at dusk!!");
        assert_eq!(one[..HEADER], two[..HEADER], "the same key and nonce");
        let same = one[HEADER..].iter().zip(&two[HEADER..]).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{same} bytes are the same");
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
