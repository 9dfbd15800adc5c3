use super::*;
use crate::crypto::CipherSuite;
use crate::crypto::tests::Counting;

#[test]
fn messages_byte_for_byte() {
    // Get Channel Authentication Capabilities as consoles send it first.
    let request = Message { net_fn: 6, number: 0, command: 0x38, data: vec![0x8e, 0x04] };
    let bytes = [0x20, 0x18, 0xc8, 0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5];
    assert_eq!(request.to_bytes(), bytes);
    assert_eq!(Message::parse(&bytes), Some(request));
    let answer = Message { net_fn: 7, number: 3, command: 0x01, data: vec![0, 1] };
    assert_eq!(answer.to_bytes()[..2], [0x81, 0x1c]);
    assert_eq!(Message::parse(&answer.to_bytes()), Some(answer));
}

#[test]
fn damaged_messages_are_refused() {
    let bytes = Message { net_fn: 0, number: 5, command: 2, data: vec![0] }.to_bytes();
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert_eq!(Message::parse(&damaged), None);
    }
    for length in 0..bytes.len() {
        assert_eq!(Message::parse(&bytes[..length]), None);
    }
}

#[test]
fn presence_ping_and_pong() {
    let ping = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0x2a, 0, 0];
    assert_eq!(parse(&ping), Some(Packet::Ping { tag: 0x2a }));
    assert_eq!(pong(0x2a).len(), 28);
    assert_eq!(parse(&pong(0x2a)), None);
}

#[test]
fn sealed_packets_open_only_unchanged() {
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        let keys = SessionKeys::new(suite, &[9; 20]);
        for length in 0..40 {
            let message = vec![0x55; length];
            let datagram = sealed(&keys, 0x0102_0304, 7, &message, &mut Counting(0));
            // Signed part and code are multiples of four, as the specification wants it.
            assert_eq!(datagram.len() % 4, 0);
            let Some(Packet::Sealed(packet)) = parse(&datagram) else { panic!("not sealed") };
            assert_eq!((packet.session, packet.sequence), (0x0102_0304, 7));
            assert_eq!(packet.open(&keys), Some(message));
        }
        let datagram = sealed(&keys, 1, 1, &[1, 2, 3], &mut Counting(0));
        for at in 32..datagram.len() * 8 {
            let mut damaged = datagram.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            if let Some(Packet::Sealed(packet)) = parse(&damaged) {
                assert_eq!(packet.open(&keys), None, "bit {at}");
            }
        }
        for length in 0..datagram.len() {
            if let Some(Packet::Sealed(packet)) = parse(&datagram[..length]) {
                assert_eq!(packet.open(&keys), None, "length {length}");
            }
        }
    }
}
