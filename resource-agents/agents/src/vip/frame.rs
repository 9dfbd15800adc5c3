//! The frames that tell neighbours about an address. Pure.
//!
//! Sources: RFC 826 (ARP), RFC 5227 (probe and announcement), RFC 4861 §4.4 and §7.2.6
//! (neighbour advertisement).

use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) type Mac = [u8; 6];

/// Ethernet type of ARP.
pub(super) const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;
const BROADCAST: Mac = [0xff; 6];
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What an ARP frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arp {
    /// "Who has this address?", asked without claiming one.
    Probe,
    /// "I have this address", as a question for itself.
    AnnounceRequest,
    /// "I have this address", as an answer nobody asked for.
    AnnounceReply,
}

/// An ARP frame about `ip`, sent by `mac` to everybody.
pub(super) fn arp(what: Arp, mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let (operation, sender_ip, target_mac): (u16, _, Mac) = match what {
        Arp::Probe => (1, Ipv4Addr::UNSPECIFIED, [0; 6]),
        Arp::AnnounceRequest => (1, ip, [0; 6]),
        Arp::AnnounceReply => (2, ip, BROADCAST),
    };
    let mut frame = ethernet(BROADCAST, mac, TYPE_ARP);
    frame.extend([0, 1, 8, 0, 6, 4]); // Ethernet, IPv4, lengths of their addresses
    frame.extend(operation.to_be_bytes());
    frame.extend(mac);
    frame.extend(sender_ip.octets());
    frame.extend(target_mac);
    frame.extend(ip.octets());
    frame
}

/// The hardware address that claims `ip` in this ARP frame, if it is one that does so and comes
/// from somebody else.
pub(super) fn claimed_by(frame: &[u8], ip: Ipv4Addr, own: Mac) -> Option<Mac> {
    let arp = frame.get(14..42)?;
    let is_arp = frame[12..14] == TYPE_ARP.to_be_bytes() && arp[..6] == [0, 1, 8, 0, 6, 4];
    let sender: Mac = arp[8..14].try_into().ok()?;
    (is_arp && arp[14..18] == ip.octets() && sender != own).then_some(sender)
}

/// An unsolicited neighbour advertisement for `ip`, sent by `mac` to all nodes.
pub(super) fn advertisement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    const NEXT_HEADER_ICMPV6: u8 = 58;
    const OVERRIDE: u8 = 0x20;
    let mut message = vec![136, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(ip.octets());
    message.extend([2, 1]); // option: the target's hardware address, eight bytes long
    message.extend(mac);
    let sum = checksum(ip, ALL_NODES, NEXT_HEADER_ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = ethernet(ALL_NODES_MAC, mac, TYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([NEXT_HEADER_ICMPV6, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame
}

/// RFC 8200 §8.1: over the pseudo-header and the message, whose own checksum field is zero.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, next_header: u8, message: &[u8]) -> u16 {
    debug_assert!(message.len().is_multiple_of(2));
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
    };
    let mut sum = words(&from.octets()) + words(&to.octets()) + words(message);
    sum += message.len() as u32 + u32::from(next_header);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A hardware address as people write it.
pub(super) fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests;
