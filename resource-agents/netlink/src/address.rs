//! Addresses: listing, adding with label, flags and lifetimes, removing.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::{Error, Netlink};

/// One address on one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Interface number.
    pub link: u32,
    /// The address itself (for IPv4 the local end).
    pub ip: IpAddr,
    /// Length of the network part in bits.
    pub prefix_len: u8,
    /// IPv4 label, such as `eth0:vip`.
    pub label: Option<String>,
    /// IPv4 broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Duplicate address detection still runs: the address cannot be used yet.
    pub tentative: bool,
    /// Duplicate address detection found another owner.
    pub dad_failed: bool,
    /// Not chosen as a source for new connections.
    pub deprecated: bool,
    /// A secondary (IPv4) or temporary (IPv6) address.
    pub secondary: bool,
    /// Valid on this link or this host only.
    pub local_scope: bool,
}

/// An address to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAddress {
    /// Interface number.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of the network part in bits.
    pub prefix_len: u8,
    /// IPv4 label; the kernel takes at most 15 bytes.
    pub label: Option<String>,
    /// IPv4 broadcast address; none means none.
    pub broadcast: Option<Ipv4Addr>,
    /// IPv6: use at once, without duplicate address detection.
    pub nodad: bool,
    /// IPv6: seconds the address is preferred as a source; `Some(0)` makes it deprecated from the
    /// start so that it is never chosen as a source. None means for ever.
    pub preferred_lft_s: Option<u32>,
    /// Do not let the kernel make the route to the address's network.
    pub no_prefix_route: bool,
}

impl NewAddress {
    /// An address with nothing special about it.
    pub fn new(link: u32, ip: IpAddr, prefix_len: u8) -> Self {
        Self {
            link,
            ip,
            prefix_len,
            label: None,
            broadcast: None,
            nodad: false,
            preferred_lft_s: None,
            no_prefix_route: false,
        }
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn message_for(link: u32, ip: IpAddr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(ip);
    message.header.prefix_len = prefix_len;
    message.header.index = link;
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    message
}

impl Netlink {
    /// Lists the addresses of both families in the namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let entries = self.dump(request, "list addresses")?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| match entry {
                RouteNetlinkMessage::NewAddress(message) => Address::from_message(message),
                _ => None,
            })
            .collect())
    }

    /// Adds an address. An address that is already there is refused with `EEXIST`.
    pub fn add_address(&mut self, new: &NewAddress) -> Result<(), Error> {
        self.put_address(new, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds an address or changes the lifetimes and flags of one that is there.
    pub fn replace_address(&mut self, new: &NewAddress) -> Result<(), Error> {
        self.put_address(new, NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn put_address(&mut self, new: &NewAddress, flags: u16) -> Result<(), Error> {
        let mut message = message_for(new.link, new.ip, new.prefix_len);
        if new.ip.is_loopback() {
            message.header.scope = AddressScope::Host;
        }
        let mut address_flags = AddressFlags::empty();
        if new.nodad {
            message.header.flags |= AddressHeaderFlags::Nodad;
            address_flags |= AddressFlags::Nodad;
        }
        if new.no_prefix_route {
            address_flags |= AddressFlags::Noprefixroute;
        }
        if !address_flags.is_empty() {
            message.attributes.push(AddressAttribute::Flags(address_flags));
        }
        if let Some(label) = &new.label {
            message.attributes.push(AddressAttribute::Label(label.clone()));
        }
        if let Some(broadcast) = new.broadcast {
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        if let Some(seconds) = new.preferred_lft_s {
            let mut lifetimes = CacheInfo::default();
            lifetimes.ifa_preferred = seconds;
            lifetimes.ifa_valid = u32::MAX;
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        self.request(RouteNetlinkMessage::NewAddress(message), flags, || {
            format!("add address {}/{} to interface number {}", new.ip, new.prefix_len, new.link)
        })
    }

    /// Removes an address. One that is not there is refused with `EADDRNOTAVAIL`.
    pub fn delete_address(&mut self, link: u32, ip: IpAddr, prefix_len: u8) -> Result<(), Error> {
        let message = message_for(link, ip, prefix_len);
        self.request(RouteNetlinkMessage::DelAddress(message), 0, || {
            format!("remove address {ip}/{prefix_len} from interface number {link}")
        })
    }
}

impl Address {
    fn from_message(message: AddressMessage) -> Option<Self> {
        let mut local = None;
        let mut remote = None;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let mut label = None;
        let mut broadcast = None;
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(ip),
                AddressAttribute::Address(ip) => remote = Some(ip),
                AddressAttribute::Label(text) => label = Some(text),
                AddressAttribute::Broadcast(ip) => broadcast = Some(ip),
                AddressAttribute::Flags(all) => flags = all,
                _ => {}
            }
        }
        Some(Self {
            link: message.header.index,
            ip: local.or(remote)?,
            prefix_len: message.header.prefix_len,
            label,
            broadcast,
            tentative: flags.contains(AddressFlags::Tentative),
            dad_failed: flags.contains(AddressFlags::Dadfailed),
            deprecated: flags.contains(AddressFlags::Deprecated),
            secondary: flags.contains(AddressFlags::Secondary),
            local_scope: message.header.scope != AddressScope::Universe,
        })
    }
}
