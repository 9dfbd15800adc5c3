//! Framing: RMCP, the two session headers, and the IPMI message inside. Pure.
//! IPMI 2.0 §13.1 (RMCP), §13.6 (session headers), §13.8 (LAN messages).

use crate::crypto::{Entropy, SessionKeys};

/// Longest datagram looked at; anything longer is not ours.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 1024;

const RMCP_HEADER: [u8; 4] = [6, 0, 0xff, 7];
const CLASS_ASF: u8 = 6;
const CLASS_IPMI: u8 = 7;
const AUTH_NONE: u8 = 0;
const AUTH_RMCP_PLUS: u8 = 6;

/// Payload types, IPMI 2.0 table 13-16.
pub(crate) mod payload {
    pub(crate) const IPMI: u8 = 0x00;
    pub(crate) const OPEN_REQUEST: u8 = 0x10;
    pub(crate) const OPEN_RESPONSE: u8 = 0x11;
    pub(crate) const RAKP_1: u8 = 0x12;
    pub(crate) const RAKP_2: u8 = 0x13;
    pub(crate) const RAKP_3: u8 = 0x14;
    pub(crate) const RAKP_4: u8 = 0x15;
}

/// Address of the BMC and of a remote console in IPMI messages.
const BMC_ADDRESS: u8 = 0x20;
const CONSOLE_ADDRESS: u8 = 0x81;

/// A datagram taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// ASF presence ping with its tag.
    Ping { tag: u8 },
    /// IPMI 1.5 framing without session and authentication.
    Plain15 { payload: &'a [u8] },
    /// RMCP+ outside a session.
    Plain { kind: u8, payload: &'a [u8] },
    /// RMCP+ inside a session, still to be verified and decrypted.
    Sealed(Sealed<'a>),
}

/// A packet inside a session as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sealed<'a> {
    pub(crate) session: u32,
    pub(crate) sequence: u32,
    kind: u8,
    encrypted: bool,
    payload: &'a [u8],
    /// From the authentication type to the end of the datagram.
    whole: &'a [u8],
    /// Pad, its length, next header and integrity code.
    trailer: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Takes a datagram apart. `None` for everything that is not RMCP or IPMI as we speak it.
pub(crate) fn parse(datagram: &[u8]) -> Option<Packet<'_>> {
    if datagram.len() > DATAGRAM_BYTES_MAX || *datagram.first()? != RMCP_HEADER[0] {
        return None;
    }
    let body = datagram.get(4..)?;
    match datagram[3] {
        CLASS_ASF => {
            // IANA number of ASF, message type "presence ping".
            let is_ping = body.get(..5)? == [0, 0, 0x11, 0xbe, 0x80];
            is_ping.then_some(Packet::Ping { tag: *body.get(5)? })
        }
        CLASS_IPMI => match *body.first()? {
            AUTH_NONE => {
                let length = usize::from(*body.get(9)?);
                Some(Packet::Plain15 { payload: body.get(10..10 + length)? })
            }
            AUTH_RMCP_PLUS => parse_rmcp_plus(body),
            _ => None,
        },
        _ => None,
    }
}

fn parse_rmcp_plus(body: &[u8]) -> Option<Packet<'_>> {
    let kind = *body.get(1)?;
    let session = u32_at(body, 2)?;
    let sequence = u32_at(body, 6)?;
    let length = usize::from(u16::from_le_bytes(body.get(10..12)?.try_into().ok()?));
    let payload = body.get(12..12 + length)?;
    if kind & 0xc0 == 0 {
        return (session == 0).then_some(Packet::Plain { kind: kind & 0x3f, payload });
    }
    // Inside a session everything must be signed.
    (kind & 0x40 != 0).then_some(Packet::Sealed(Sealed {
        session,
        sequence,
        kind: kind & 0x3f,
        encrypted: kind & 0x80 != 0,
        payload,
        whole: body,
        trailer: &body[12 + length..],
    }))
}

impl Sealed<'_> {
    /// Verifies and decrypts. `None` unless the packet is signed with these keys, encrypted, and
    /// carries an IPMI message.
    pub(crate) fn open(&self, keys: &SessionKeys) -> Option<Vec<u8>> {
        let signed_len = self.whole.len().checked_sub(keys.code_len())?;
        let (signed, code) = self.whole.split_at(signed_len);
        if !keys.verify(signed, code) {
            return None;
        }
        let trailer = self.trailer.get(..self.trailer.len().checked_sub(keys.code_len())?)?;
        let [pad @ .., pad_len, 7] = trailer else { return None };
        let fits = pad.len() == usize::from(*pad_len) && self.encrypted;
        (fits && self.kind == payload::IPMI)
            .then(|| keys.decrypt(self.payload))?
            .map(|p| p.to_vec())
    }
}

/// A datagram outside a session.
pub(crate) fn plain(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = RMCP_HEADER.to_vec();
    out.extend([AUTH_RMCP_PLUS, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend((payload.len() as u16).to_le_bytes());
    out.extend(payload);
    out
}

/// A datagram in IPMI 1.5 framing without session.
pub(crate) fn plain15(payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() < 256, "IPMI 1.5 has one byte for the length");
    let mut out = RMCP_HEADER.to_vec();
    out.extend([AUTH_NONE, 0, 0, 0, 0, 0, 0, 0, 0, payload.len() as u8]);
    out.extend(payload);
    out
}

/// The answer to a presence ping: IPMI is supported.
pub(crate) fn pong(tag: u8) -> Vec<u8> {
    let mut out = vec![6, 0, 0xff, CLASS_ASF, 0, 0, 0x11, 0xbe, 0x40, tag, 0, 16];
    out.extend([0, 0, 0x11, 0xbe, 0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    out
}

/// An encrypted and signed datagram inside a session.
pub(crate) fn sealed(
    keys: &SessionKeys,
    session: u32,
    sequence: u32,
    message: &[u8],
    entropy: &mut dyn Entropy,
) -> Vec<u8> {
    let encrypted = keys.encrypt(message, entropy);
    let mut body = vec![AUTH_RMCP_PLUS, 0xc0 | payload::IPMI];
    body.extend(session.to_le_bytes());
    body.extend(sequence.to_le_bytes());
    body.extend((encrypted.len() as u16).to_le_bytes());
    body.extend(encrypted);
    let pad = (4 - (body.len() + 2) % 4) % 4;
    body.extend(std::iter::repeat_n(0xff, pad));
    body.extend([pad as u8, 7]);
    let code = keys.sign(&body);
    [RMCP_HEADER.as_slice(), &body, &code].concat()
}

/// An IPMI request or response message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Network function; even for requests, odd for responses.
    pub(crate) net_fn: u8,
    /// The requester's number of the request, 0 to 63.
    pub(crate) number: u8,
    pub(crate) command: u8,
    /// For responses the first byte is the completion code.
    pub(crate) data: Vec<u8>,
}

/// Two's complement checksum: the sum of all bytes and the checksum is zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

impl Message {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let is_response = self.net_fn & 1 == 1;
        let (to, from) = if is_response {
            (CONSOLE_ADDRESS, BMC_ADDRESS)
        } else {
            (BMC_ADDRESS, CONSOLE_ADDRESS)
        };
        let mut out = vec![to, self.net_fn << 2];
        out.push(checksum(&out));
        out.extend([from, self.number << 2, self.command]);
        out.extend(&self.data);
        out.push(checksum(&out[3..]));
        out
    }

    /// `None` if it is too short or a checksum is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(3)?;
        let [_from, number, command, data @ .., _sum] = rest else { return None };
        let sums_fit = checksum(head) == 0 && checksum(rest) == 0;
        sums_fit.then(|| Self {
            net_fn: head[1] >> 2,
            number: number >> 2,
            command: *command,
            data: data.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests;
