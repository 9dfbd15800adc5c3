//! Which node we are, and where the others are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use membership_base::NodeId;
use membership_conf::Config;

/// Why the node's place in the cluster cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The name given explicitly is nobody's.
    #[error("no node in corosync.conf has the name or address \"{0}\"")]
    NoSuchNode(String),
    /// Neither name nor address fits.
    #[error(
        "this host is none of the nodes in corosync.conf: none is named \"{hostname}\" and none \
         of their addresses is configured here; add the node, or set its `name` to \"{hostname}\""
    )]
    NotFound {
        /// What the host calls itself.
        hostname: String,
    },
    /// More than one node's address is ours.
    #[error("this host has addresses of several nodes in corosync.conf ({0}); set their `name`")]
    Ambiguous(String),
    /// An address of the local node cannot be resolved.
    #[error("ring{link}_addr \"{address}\" of the local node has no address: {problem}")]
    Unresolved {
        /// The link.
        link: u8,
        /// As in the file.
        address: String,
        /// What the resolver says.
        problem: String,
    },
}

/// The local node: the one named `name` if given, else the one whose name is the host's, else the
/// one that has an address of this host.
///
/// # Errors
/// If there is no such node, or no single one.
pub fn find_local(config: &Config, name: Option<&str>) -> Result<NodeId, AddressError> {
    if let Some(name) = name {
        let fits = |n: &&membership_conf::Node| {
            n.name.as_deref() == Some(name) || n.addresses.values().any(|a| a == name)
        };
        let node = config.nodes.iter().find(fits);
        return node.map(|n| n.id).ok_or_else(|| AddressError::NoSuchNode(name.to_owned()));
    }
    let hostname = nix::unistd::gethostname().unwrap_or_default();
    let hostname = hostname.to_string_lossy().into_owned();
    let short = hostname.split('.').next().unwrap_or(&hostname);
    for candidate in [hostname.as_str(), short] {
        let named = |n: &&membership_conf::Node| n.name.as_deref() == Some(candidate);
        if let Some(node) = config.nodes.iter().find(named) {
            return Ok(node.id);
        }
    }
    let ours = local_addresses();
    let here = |address: &String| {
        let ips = resolve_all(address);
        ips.iter().any(|ip| ours.contains(ip))
    };
    let fitting: Vec<NodeId> =
        config.nodes.iter().filter(|n| n.addresses.values().any(here)).map(|n| n.id).collect();
    match fitting.as_slice() {
        [one] => Ok(*one),
        [] => Err(AddressError::NotFound { hostname }),
        many => {
            let list: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(AddressError::Ambiguous(list.join(", ")))
        }
    }
}

fn local_addresses() -> BTreeSet<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return BTreeSet::new() };
    all.filter_map(|i| {
        let address = i.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    })
    .collect()
}

fn resolve_all(address: &str) -> Vec<IpAddr> {
    match (address, 0).to_socket_addrs() {
        Ok(found) => found.map(|a| a.ip()).collect(),
        Err(_) => Vec::new(),
    }
}

/// The address of a name, in the family that `ip_version` prefers (IPv6 first, if not given).
pub(crate) fn resolve(
    address: &str,
    port: u16,
    ip_version: Option<&str>,
) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> =
        (address, port).to_socket_addrs().map_err(|e| e.to_string())?.collect();
    let v4 = found.iter().find(|a| a.is_ipv4());
    let v6 = found.iter().find(|a| a.is_ipv6());
    let chosen = match ip_version {
        Some("ipv4") => v4,
        Some("ipv6") => v6,
        Some("ipv4-6") => v4.or(v6),
        _ => v6.or(v4),
    };
    chosen.copied().ok_or_else(|| "no address of the wanted IP version".to_owned())
}

/// Where to send to: by node and link.
pub(crate) type Places = BTreeMap<(NodeId, u8), SocketAddr>;

/// An address that could not be resolved yet.
#[derive(Clone, Debug)]
pub(crate) struct Unresolved {
    pub(crate) node: NodeId,
    pub(crate) link: u8,
    pub(crate) address: String,
    pub(crate) port: u16,
}

/// Resolves all addresses; those of the local node must succeed.
pub(crate) fn resolve_nodes(
    config: &Config,
    me: NodeId,
) -> Result<(Places, Vec<Unresolved>), AddressError> {
    let (mut places, mut later) = (Places::new(), Vec::new());
    for node in &config.nodes {
        for (link, address) in &node.addresses {
            let port = config.port(*link);
            match resolve(address, port, config.totem.ip_version.as_deref()) {
                Ok(place) => {
                    places.insert((node.id, *link), place);
                }
                Err(problem) if node.id == me => {
                    let (link, address) = (*link, address.clone());
                    return Err(AddressError::Unresolved { link, address, problem });
                }
                Err(problem) => {
                    tracing::warn!(node = %node.id, link, %address, %problem, "no address yet");
                    later.push(Unresolved {
                        node: node.id,
                        link: *link,
                        address: address.clone(),
                        port,
                    });
                }
            }
        }
    }
    Ok((places, later))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(nodes: &[(&str, &str)]) -> Config {
        let one = |(at, (name, address)): (usize, &(&str, &str))| {
            format!("node {{\nname: {name}\nring0_addr: {address}\nnodeid: {}\n}}\n", at + 1)
        };
        let nodes: String = nodes.iter().enumerate().map(one).collect();
        membership_conf::parse(&format!("nodelist {{\n{nodes}}}\n")).unwrap()
    }

    #[test]
    fn finds_the_local_node_by_word_name_or_address() {
        let by_word = config(&[("a", "203.0.113.251"), ("b", "203.0.113.252")]);
        assert_eq!(find_local(&by_word, Some("b")).unwrap(), NodeId(2));
        assert_eq!(find_local(&by_word, Some("203.0.113.251")).unwrap(), NodeId(1));
        assert!(matches!(find_local(&by_word, Some("c")), Err(AddressError::NoSuchNode(_))));
        let error = find_local(&by_word, None).unwrap_err();
        assert!(matches!(error, AddressError::NotFound { .. }), "{error}");
        let here = config(&[("a", "203.0.113.251"), ("b", "127.0.0.1")]);
        assert_eq!(find_local(&here, None).unwrap(), NodeId(2));
        let name = nix::unistd::gethostname().unwrap().to_string_lossy().into_owned();
        let named = config(&[(&name, "203.0.113.251"), ("b", "127.0.0.1")]);
        assert_eq!(find_local(&named, None).unwrap(), NodeId(1));
    }

    #[test]
    fn the_wanted_ip_version_is_chosen() {
        assert!(resolve("127.0.0.1", 1, None).unwrap().is_ipv4());
        assert!(resolve("::1", 1, Some("ipv4-6")).unwrap().is_ipv6());
        assert!(resolve("::1", 1, Some("ipv4")).is_err());
    }
}
