//! Routes: listing the main table, adding, removing.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::{Error, Netlink};

/// One unicast route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Network it leads to; none is the default route (of the family of `gateway`).
    pub destination: Option<IpAddr>,
    /// Length of the network part in bits; 0 for the default route.
    pub prefix_len: u8,
    /// True for IPv6.
    pub ipv6: bool,
    /// Next hop; none for a network on the link.
    pub gateway: Option<IpAddr>,
    /// Interface number.
    pub link: Option<u32>,
    /// Source address chosen for packets that go this way.
    pub preferred_source: Option<IpAddr>,
    /// Lower is preferred.
    pub metric: u32,
}

/// A route to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoute {
    /// Network and its prefix length; `None` is the default route.
    pub destination: Option<(IpAddr, u8)>,
    /// Next hop; none for a network on the link.
    pub gateway: Option<IpAddr>,
    /// Interface number; may be left to the kernel when there is a gateway.
    pub link: Option<u32>,
    /// Source address for packets that go this way.
    pub preferred_source: Option<IpAddr>,
}

fn message_for(new: &NewRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    let any = new.destination.map(|(ip, _)| ip).or(new.gateway).or(new.preferred_source);
    let ipv6 = any.is_some_and(|ip| ip.is_ipv6());
    message.header.address_family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope =
        if new.gateway.is_some() || ipv6 { RouteScope::Universe } else { RouteScope::Link };
    if let Some((ip, prefix_len)) = new.destination {
        message.header.destination_prefix_length = prefix_len;
        message.attributes.push(RouteAttribute::Destination(ip.into()));
    }
    if let Some(gateway) = new.gateway {
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    if let Some(link) = new.link {
        message.attributes.push(RouteAttribute::Oif(link));
    }
    if let Some(source) = new.preferred_source {
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    message
}

fn ip_of(address: RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(ip.into()),
        RouteAddress::Inet6(ip) => Some(ip.into()),
        _ => None,
    }
}

impl Netlink {
    /// Lists the unicast routes of the main table, both families.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let entries = self.dump(request, "list routes")?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| match entry {
                RouteNetlinkMessage::NewRoute(message) => Route::from_message(message),
                _ => None,
            })
            .collect())
    }

    /// Adds a route; one that is already there is refused with `EEXIST`.
    pub fn add_route(&mut self, new: &NewRoute) -> Result<(), Error> {
        let request = RouteNetlinkMessage::NewRoute(message_for(new));
        self.request(request, NLM_F_CREATE | NLM_F_EXCL, || format!("add route {new:?}"))
    }

    /// Removes a route; one that is not there is refused with `ESRCH`.
    pub fn delete_route(&mut self, route: &NewRoute) -> Result<(), Error> {
        let request = RouteNetlinkMessage::DelRoute(message_for(route));
        self.request(request, 0, || format!("remove route {route:?}"))
    }
}

impl Route {
    fn from_message(message: RouteMessage) -> Option<Self> {
        let mut table = u32::from(message.header.table);
        let mut route = Self {
            destination: None,
            prefix_len: message.header.destination_prefix_length,
            ipv6: message.header.address_family == AddressFamily::Inet6,
            gateway: None,
            link: None,
            preferred_source: None,
            metric: 0,
        };
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Table(number) => table = number,
                RouteAttribute::Destination(ip) => route.destination = ip_of(ip),
                RouteAttribute::Gateway(ip) => route.gateway = ip_of(ip),
                RouteAttribute::PrefSource(ip) => route.preferred_source = ip_of(ip),
                RouteAttribute::Oif(link) => route.link = Some(link),
                RouteAttribute::Priority(metric) => route.metric = metric,
                _ => {}
            }
        }
        let main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
        (main && message.header.kind == RouteType::Unicast).then_some(route)
    }
}
