use super::*;

const MAC: Mac = [0x02, 0, 0, 0, 0, 0x2a];
const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn arp_frames_byte_for_byte() {
    let head = "ffffffffffff02000000002a0806000108000604";
    assert_eq!(
        hex(&arp(Arp::Probe, MAC, IP)),
        format!("{head}000102000000002a000000000000000000000a000005")
    );
    assert_eq!(
        hex(&arp(Arp::AnnounceRequest, MAC, IP)),
        format!("{head}000102000000002a0a0000050000000000000a000005")
    );
    assert_eq!(
        hex(&arp(Arp::AnnounceReply, MAC, IP)),
        format!("{head}000202000000002a0a000005ffffffffffff0a000005")
    );
}

#[test]
fn claims_are_seen_and_own_frames_are_not() {
    let other = [2, 0, 0, 0, 0, 9];
    let claim = arp(Arp::AnnounceReply, other, IP);
    assert_eq!(claimed_by(&claim, IP, MAC), Some(other));
    assert_eq!(claimed_by(&claim, IP, other), None);
    assert_eq!(claimed_by(&claim, Ipv4Addr::new(10, 0, 0, 6), MAC), None);
    assert_eq!(claimed_by(&arp(Arp::Probe, other, IP), IP, MAC), None);
    for length in 0..claim.len() {
        assert_eq!(claimed_by(&claim[..length], IP, MAC), None);
    }
}

#[test]
fn advertisement_is_whole_and_sums_to_zero() {
    let ip: Ipv6Addr = "fd00::5".parse().unwrap();
    let frame = advertisement(MAC, ip);
    assert_eq!(hex(&frame[..22]), "33330000000102000000002a86dd6000000000203aff");
    assert_eq!(frame.len(), 14 + 40 + 32);
    assert_eq!(frame[54], 136);
    // A receiver sums everything including the checksum field and must get all ones.
    let sent = u16::from_be_bytes([frame[56], frame[57]]);
    let mut message = frame[54..].to_vec();
    message[2..4].fill(0);
    assert_eq!(checksum(ip, ALL_NODES, 58, &message), sent);
    assert_eq!(checksum(ip, ALL_NODES, 58, &frame[54..]), 0);
}
