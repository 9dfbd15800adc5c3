use super::*;

/// Counts up, so that packets are the same every time.
pub(crate) struct Counting(pub(crate) u8);

impl Entropy for Counting {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn hashes_match_published_vectors() {
    // RFC 2202 test case 2 and RFC 4231 test case 2.
    let (key, text) = (b"Jefe".as_slice(), b"what do ya want for nothing?".as_slice());
    assert_eq!(
        hex(&CipherSuite::Suite3.hash(key, &[text])),
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    );
    assert_eq!(
        hex(&CipherSuite::Suite17.hash(key, &[&text[..5], &text[5..]])),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn what_is_encrypted_can_be_decrypted() {
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        let keys = SessionKeys::new(suite, &[7; 20]);
        for length in 0..=65 {
            let text: Vec<u8> = (0..length).collect();
            let encrypted = keys.encrypt(&text, &mut Counting(1));
            assert_eq!(encrypted.len() % 16, 0);
            assert_eq!(keys.decrypt(&encrypted).unwrap().as_slice(), text);
        }
    }
}

#[test]
fn damaged_text_never_panics() {
    let keys = SessionKeys::new(CipherSuite::Suite3, &[7; 20]);
    let encrypted = keys.encrypt(b"hello", &mut Counting(1));
    for length in 0..encrypted.len() {
        assert!(keys.decrypt(&encrypted[..length]).is_none());
    }
    for at in 0..encrypted.len() * 8 {
        let mut damaged = encrypted.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        let _ = keys.decrypt(&damaged);
    }
}

#[test]
fn no_number_counts_twice() {
    let mut window = ReplayWindow::default();
    let verdicts = [0, 1, 1, 5, 3, 3, 5, 40, 8, 9, 9, 41, 40, 200, 169, 168, 170]
        .map(|number| (number, window.accept(number)));
    let accepted: Vec<u32> = verdicts.iter().filter(|(_, ok)| *ok).map(|(n, _)| *n).collect();
    assert_eq!(accepted, [1, 5, 3, 40, 9, 41, 200, 169, 170]);
    assert!(window.accept(u32::MAX));
    assert!(!window.accept(u32::MAX));
}
