//! Which interface an address belongs on, and with what prefix length. Pure.

use std::net::{IpAddr, Ipv4Addr};

use resource_agents_netlink::{Address, Link, LinkKind, Route};

/// What the configuration says about the place.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) ip: IpAddr,
    pub(super) prefix_len: Option<u8>,
    pub(super) nic: Option<String>,
}

/// Where the address is to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) link: Link,
    pub(super) prefix_len: u8,
}

fn bits_max(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Reads a prefix length given in bits or, for IPv4, as a mask. `None` if it does not fit.
pub(super) fn prefix_len(text: &str, ip: IpAddr) -> Option<u8> {
    let text = text.trim();
    if let Ok(bits) = text.parse::<u8>() {
        return (bits <= bits_max(ip)).then_some(bits);
    }
    let mask = u32::from(text.parse::<Ipv4Addr>().ok().filter(|_| ip.is_ipv4())?);
    // Ones, then zeros, and nothing else.
    (mask.leading_ones() + mask.trailing_zeros() == 32).then(|| mask.leading_ones() as u8)
}

/// Last address of the network, if the network is large enough to have a broadcast address.
pub(super) fn last_of_network(ip: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    (prefix_len < 31).then(|| Ipv4Addr::from(u32::from(ip) | (u32::MAX >> prefix_len)))
}

/// Whether both addresses are in one network of this prefix length.
fn same_network(a: IpAddr, b: IpAddr, prefix_len: u8) -> bool {
    let differing = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
        _ => return false,
    };
    differing >= u32::from(prefix_len)
}

/// Finds the place: the wished interface, else the one whose own network contains the address
/// (the narrowest such network wins), else the one the narrowest direct route leads through. A
/// default route or one through a gateway is no hint: the address would not be reachable there.
pub(super) fn find(
    wish: &Wish,
    links: &[Link],
    addresses: &[Address],
    routes: &[Route],
) -> Result<Place, String> {
    let usable = |index: u32| links.iter().find(|link| link.index == index);
    let candidate = |link: &&Link| match &wish.nic {
        Some(nic) => link.name == *nic,
        None => link.kind != LinkKind::Loopback && link.up,
    };
    let by_address = addresses
        .iter()
        .filter(|own| own.ip != wish.ip && own.prefix_len < bits_max(own.ip))
        .filter(|own| same_network(own.ip, wish.ip, own.prefix_len))
        .filter_map(|own| Some((own.prefix_len, usable(own.link).filter(candidate)?)));
    let by_route = routes
        .iter()
        .filter(|route| route.gateway.is_none() && route.prefix_len > 0)
        .filter(|route| {
            route.destination.is_some_and(|to| same_network(to, wish.ip, route.prefix_len))
        })
        .filter_map(|route| Some((route.prefix_len, usable(route.link?).filter(candidate)?)));
    let narrowest = by_address
        .max_by_key(|(prefix_len, _)| *prefix_len)
        .or_else(|| by_route.max_by_key(|(prefix_len, _)| *prefix_len));
    if let Some((prefix_len, link)) = narrowest {
        let prefix_len = wish.prefix_len.unwrap_or(prefix_len);
        return Ok(Place { link: link.clone(), prefix_len });
    }
    let Some(nic) = &wish.nic else {
        let ip = wish.ip;
        return Err(format!(
            "No interface has a network that contains {ip}; set nic to choose one"
        ));
    };
    let link = links.iter().find(|link| link.name == *nic);
    let link = link.ok_or_else(|| format!("There is no interface {nic}"))?;
    Ok(Place {
        link: link.clone(),
        prefix_len: wish.prefix_len.unwrap_or_else(|| bits_max(wish.ip)),
    })
}

#[cfg(test)]
mod tests;
