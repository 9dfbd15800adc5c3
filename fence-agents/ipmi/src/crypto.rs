//! The cipher suites: key exchange, integrity and confidentiality. IPMI 2.0 §13.28 to §13.32.

use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Where random bytes come from.
pub trait Entropy {
    /// Fills the whole buffer with bytes nobody can guess.
    fn fill(&mut self, buffer: &mut [u8]);
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        // Without randomness there is no safe way on.
        getrandom::fill(buffer).expect("the operating system has a random source");
    }
}

/// The cipher suites we speak (IPMI 2.0 table 22-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Suite3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Suite17,
}

impl CipherSuite {
    /// The suite with this number, if we speak it.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::Suite3),
            17 => Some(Self::Suite17),
            _ => None,
        }
    }

    /// Number of the suite.
    pub fn number(self) -> u8 {
        match self {
            Self::Suite3 => 3,
            Self::Suite17 => 17,
        }
    }

    /// Numbers of the authentication, integrity and confidentiality algorithms.
    pub(crate) fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Suite3 => [1, 1, 1],
            Self::Suite17 => [3, 4, 1],
        }
    }

    pub(crate) fn from_algorithms(algorithms: [u8; 3]) -> Option<Self> {
        [Self::Suite3, Self::Suite17].into_iter().find(|suite| suite.algorithms() == algorithms)
    }

    /// Length of the integrity code of a packet and of RAKP message 4.
    pub(crate) fn code_len(self) -> usize {
        match self {
            Self::Suite3 => 12,
            Self::Suite17 => 16,
        }
    }

    /// The keyed hash of the suite over all parts in turn.
    pub(crate) fn hash(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Suite3 => hash_with::<Hmac<Sha1>>(key, parts),
            Self::Suite17 => hash_with::<Hmac<Sha256>>(key, parts),
        }
    }
}

fn hash_with<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// Whether both are equal, taking the same time wherever they differ.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The keys of one session, made from its session integrity key.
pub(crate) struct SessionKeys {
    suite: CipherSuite,
    integrity: Zeroizing<Vec<u8>>,
    confidentiality: Zeroizing<[u8; 16]>,
}

const BLOCK: usize = 16;

impl SessionKeys {
    /// IPMI 2.0 §13.32: K1 and K2 are the keyed hash of a constant of 20 equal bytes.
    pub(crate) fn new(suite: CipherSuite, session_integrity_key: &[u8]) -> Self {
        let integrity = suite.hash(session_integrity_key, &[&[1; 20]]);
        let second = suite.hash(session_integrity_key, &[&[2; 20]]);
        let mut confidentiality = Zeroizing::new([0; 16]);
        confidentiality.copy_from_slice(&second[..16]);
        Self { suite, integrity, confidentiality }
    }

    /// The integrity code over the signed part of a packet.
    pub(crate) fn sign(&self, signed: &[u8]) -> Vec<u8> {
        self.suite.hash(&self.integrity, &[signed])[..self.suite.code_len()].to_vec()
    }

    pub(crate) fn code_len(&self) -> usize {
        self.suite.code_len()
    }

    pub(crate) fn verify(&self, signed: &[u8], code: &[u8]) -> bool {
        same(&self.sign(signed), code)
    }

    /// Encrypts: initialization vector, payload, pad 1, 2, 3..., length of the pad (§13.29).
    pub(crate) fn encrypt(&self, payload: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        let pad = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        let mut plain = Zeroizing::new(payload.to_vec());
        plain.extend((1..=pad).map(|byte| byte as u8));
        plain.push(pad as u8);
        let mut vector = [0; BLOCK];
        entropy.fill(&mut vector);
        let length = plain.len();
        let cipher = cbc::Encryptor::<Aes128>::new(&(*self.confidentiality).into(), &vector.into());
        let encrypted = cipher
            .encrypt_padded::<NoPadding>(&mut plain, length)
            .expect("the plain text is whole blocks");
        [vector.as_slice(), encrypted].concat()
    }

    /// Decrypts; `None` if the lengths or the pad are wrong.
    pub(crate) fn decrypt(&self, encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (vector, blocks) = encrypted.split_at_checked(BLOCK)?;
        if blocks.is_empty() || !blocks.len().is_multiple_of(BLOCK) {
            return None;
        }
        let vector: [u8; BLOCK] = vector.try_into().ok()?;
        let mut plain = Zeroizing::new(blocks.to_vec());
        let cipher = cbc::Decryptor::<Aes128>::new(&(*self.confidentiality).into(), &vector.into());
        cipher.decrypt_padded::<NoPadding>(&mut plain).ok()?;
        let pad = usize::from(*plain.last()?);
        let length = plain.len().checked_sub(1 + pad).filter(|_| pad < BLOCK)?;
        let padding_fits = plain[length..length + pad].iter().zip(1..).all(|(a, b)| *a == b);
        plain.truncate(length);
        padding_fits.then_some(plain)
    }
}

/// Remembers which session sequence numbers were seen, so that no packet counts twice.
/// IPMI 2.0 §13.9.3 asks for a window of at least 15 behind the highest number.
#[derive(Debug, Default)]
pub(crate) struct ReplayWindow {
    highest: u32,
    /// Bit n: the number `highest - n` was seen.
    seen: u64,
}

impl ReplayWindow {
    /// True exactly once for each acceptable number. Call only for packets whose signature is
    /// right.
    pub(crate) fn accept(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        if behind >= 32 || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
pub(crate) mod tests;
