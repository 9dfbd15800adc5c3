//! The neighbour table: which hardware address answers for an IP address.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};

use crate::{Error, Netlink};

/// One entry of the neighbour (ARP or ND) table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Interface number.
    pub link: u32,
    /// The neighbour's address.
    pub ip: IpAddr,
    /// Hardware address, if known.
    pub mac: Option<Vec<u8>>,
}

impl Netlink {
    /// Lists the neighbour table of the namespace, both families.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, Error> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let entries = self.dump(request, "list neighbours")?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| match entry {
                RouteNetlinkMessage::NewNeighbour(message) => from_message(message),
                _ => None,
            })
            .collect())
    }
}

fn from_message(message: NeighbourMessage) -> Option<Neighbour> {
    let mut ip = None;
    let mut mac = None;
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(v4.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(v6.into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(bytes),
            _ => {}
        }
    }
    Some(Neighbour { link: message.header.ifindex, ip: ip?, mac })
}
