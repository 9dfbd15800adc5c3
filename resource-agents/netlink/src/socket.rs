//! The socket: one request at a time, its acknowledgement or its dump.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself failed.
    #[error("netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused the request.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was asked, in words.
        what: String,
        /// The kernel's error number.
        source: io::Error,
    },
    /// The kernel's answer could not be decoded.
    #[error("netlink answer not understood while trying to {what}: {detail}")]
    Decode {
        /// What was asked, in words.
        what: String,
        /// What the decoder said.
        detail: String,
    },
    /// A listing kept changing while it was read.
    #[error("cannot {0}: the kernel's table changed during each of several reads")]
    Unsteady(String),
    /// No interface has this name.
    #[error("no network interface named {0}")]
    NoSuchLink(String),
}

impl Error {
    /// The kernel's error number, when it is the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket(source) => source.raw_os_error(),
            _ => None,
        }
    }
}

/// How often an interrupted dump is read again before giving up.
const DUMP_TRIES_MAX: u32 = 8;

/// An rtnetlink socket in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

enum DumpEnd {
    Complete(Vec<RouteNetlinkMessage>),
    Interrupted,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(Error::Socket)?;
        socket.bind_auto().map_err(Error::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(Error::Socket)?;
        Ok(Self { socket, sequence: 0 })
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<u32, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut buffer = vec![0; packet.buffer_len()];
        packet.serialize(&mut buffer);
        self.socket.send(&buffer, 0).map_err(Error::Socket)?;
        Ok(self.sequence)
    }

    /// Sends one request and waits for the kernel's acknowledgement.
    pub(crate) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        let sequence = self.send(message, flags | NLM_F_ACK)?;
        loop {
            let (data, _) = self.socket.recv_from_full().map_err(Error::Socket)?;
            for packet in Packets(&data) {
                let packet = match packet {
                    Ok(packet) => packet,
                    Err(detail) => return Err(Error::Decode { what: what(), detail }),
                };
                if packet.header.sequence_number != sequence {
                    continue;
                }
                if let NetlinkPayload::Error(answer) = packet.payload {
                    return match answer.code {
                        None => Ok(()),
                        Some(_) => Err(Error::Refused { what: what(), source: answer.to_io() }),
                    };
                }
            }
        }
    }

    /// Reads one whole table.
    pub(crate) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        what: &str,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        for _ in 0..DUMP_TRIES_MAX {
            match self.dump_once(message.clone(), what)? {
                DumpEnd::Complete(entries) => return Ok(entries),
                DumpEnd::Interrupted => {}
            }
        }
        Err(Error::Unsteady(what.to_owned()))
    }

    fn dump_once(&mut self, message: RouteNetlinkMessage, what: &str) -> Result<DumpEnd, Error> {
        let sequence = self.send(message, NLM_F_DUMP)?;
        let mut entries = Vec::new();
        let mut interrupted = false;
        loop {
            let (data, _) = self.socket.recv_from_full().map_err(Error::Socket)?;
            for packet in Packets(&data) {
                let packet =
                    packet.map_err(|detail| Error::Decode { what: what.to_owned(), detail })?;
                if packet.header.sequence_number != sequence {
                    continue;
                }
                interrupted |= packet.header.flags & NLM_F_DUMP_INTR != 0;
                match packet.payload {
                    NetlinkPayload::InnerMessage(entry) => entries.push(entry),
                    NetlinkPayload::Done(_) if interrupted => return Ok(DumpEnd::Interrupted),
                    NetlinkPayload::Done(_) => return Ok(DumpEnd::Complete(entries)),
                    NetlinkPayload::Error(answer) if answer.code.is_some() => {
                        return Err(Error::Refused {
                            what: what.to_owned(),
                            source: answer.to_io(),
                        });
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The packets of one datagram.
struct Packets<'a>(&'a [u8]);

impl Iterator for Packets<'_> {
    type Item = Result<NetlinkMessage<RouteNetlinkMessage>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?) as usize;
        let Some(packet) = self.0.get(..length).filter(|_| length >= 16) else {
            self.0 = &[];
            return Some(Err(format!("packet claims {length} bytes")));
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(NetlinkMessage::deserialize(packet).map_err(|error| error.to_string()))
    }
}
