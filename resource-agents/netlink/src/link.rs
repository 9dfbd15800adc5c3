//! Links: listing, veth pairs, bridges, up and down, bridge membership, namespaces.

use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};

use crate::{Error, Namespace, Netlink};

/// What sort of device a link is, as far as the agents care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// The loopback device.
    Loopback,
    /// One end of a veth pair.
    Veth,
    /// A bridge.
    Bridge,
    /// Hardware and everything else; the kernel's name of the kind if it gives one.
    Other(Option<String>),
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of the interface in this namespace.
    pub index: u32,
    /// Name, such as `eth0`.
    pub name: String,
    /// Hardware address; six bytes for Ethernet, may be empty.
    pub mac: Vec<u8>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Has carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// Is an Ethernet-like device that uses ARP.
    pub arp: bool,
    /// Sort of device.
    pub kind: LinkKind,
    /// Index of the bridge (or other master) it is a port of.
    pub master: Option<u32>,
}

/// The other end of a veth pair to be made.
#[derive(Debug, Clone, Copy)]
pub struct VethPeer<'a> {
    /// Name of the other end.
    pub name: &'a str,
    /// Namespace to make it in; none means this one.
    pub namespace: Option<Namespace<'a>>,
    /// Hardware address; none leaves the choice to the kernel.
    pub mac: Option<[u8; 6]>,
}

impl Netlink {
    /// Lists all interfaces of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let entries = self.dump(request, "list network interfaces")?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| match entry {
                RouteNetlinkMessage::NewLink(message) => Some(Link::from_message(message)),
                _ => None,
            })
            .collect())
    }

    /// Finds an interface by name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    /// Index of the interface with this name; an error if there is none.
    pub fn link_index(&mut self, name: &str) -> Result<u32, Error> {
        self.link(name)?.map(|link| link.index).ok_or_else(|| Error::NoSuchLink(name.to_owned()))
    }

    /// Makes a veth pair; this end stays in the socket's namespace.
    pub fn add_veth(&mut self, name: &str, peer: VethPeer<'_>) -> Result<(), Error> {
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.name.to_owned()));
        if let Some(mac) = peer.mac {
            other.attributes.push(LinkAttribute::Address(mac.to_vec()));
        }
        if let Some(namespace) = peer.namespace {
            other.attributes.push(namespace.attribute());
        }
        let info = vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ];
        self.add_link(name, info)
    }

    /// Makes a bridge without spanning tree and without multicast snooping, which would delay or
    /// drop the first packets of a cluster that speaks multicast.
    pub fn add_bridge(&mut self, name: &str) -> Result<(), Error> {
        let data = vec![InfoBridge::ForwardDelay(0), InfoBridge::MulticastSnooping(false)];
        let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(data))];
        self.add_link(name, info)
    }

    fn add_link(&mut self, name: &str, info: Vec<LinkInfo>) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let request = RouteNetlinkMessage::NewLink(message);
        self.request(request, NLM_F_CREATE | NLM_F_EXCL, || format!("make interface {name}"))
    }

    /// Removes an interface (and with one end of a veth pair the other).
    pub fn delete_link(&mut self, index: u32) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let request = RouteNetlinkMessage::DelLink(message);
        self.request(request, 0, || format!("remove interface number {index}"))
    }

    fn set_link(
        &mut self,
        index: u32,
        what: &str,
        change: impl FnOnce(&mut LinkMessage),
    ) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        change(&mut message);
        let request = RouteNetlinkMessage::SetLink(message);
        self.request(request, 0, || format!("{what} (interface number {index})"))
    }

    /// Sets an interface up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), Error> {
        let what = if up { "set an interface up" } else { "set an interface down" };
        self.set_link(index, what, |message| {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        })
    }

    /// Makes the interface a port of a bridge, or takes it out with `None`.
    pub fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<(), Error> {
        self.set_link(index, "change the bridge of an interface", |message| {
            message.attributes.push(LinkAttribute::Controller(master.unwrap_or(0)));
        })
    }

    /// Moves the interface to another network namespace.
    pub fn set_namespace(&mut self, index: u32, namespace: Namespace<'_>) -> Result<(), Error> {
        self.set_link(index, "move an interface to another namespace", |message| {
            message.attributes.push(namespace.attribute());
        })
    }

    /// Gives the interface (which must be down) another name.
    pub fn rename_link(&mut self, index: u32, name: &str) -> Result<(), Error> {
        self.set_link(index, "rename an interface", |message| {
            message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        })
    }

    /// Sets the hardware address.
    pub fn set_mac(&mut self, index: u32, mac: [u8; 6]) -> Result<(), Error> {
        self.set_link(index, "set a hardware address", |message| {
            message.attributes.push(LinkAttribute::Address(mac.to_vec()));
        })
    }
}

impl Namespace<'_> {
    fn attribute(&self) -> LinkAttribute {
        match self {
            Self::Pid(pid) => LinkAttribute::NetNsPid(*pid),
            Self::Fd(fd) => LinkAttribute::NetNsFd(fd.as_raw_fd()),
        }
    }
}

impl Link {
    fn from_message(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: Vec::new(),
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            arp: message.header.link_layer_type == LinkLayerType::Ether
                && !flags.contains(LinkFlags::Noarp),
            kind: LinkKind::Other(None),
            master: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(mac) => link.mac = mac,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(master) => link.master = Some(master),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            link.kind = match kind {
                                InfoKind::Veth => LinkKind::Veth,
                                InfoKind::Bridge => LinkKind::Bridge,
                                other => LinkKind::Other(Some(other.to_string())),
                            };
                        }
                    }
                }
                _ => {}
            }
        }
        if flags.contains(LinkFlags::Loopback) {
            link.kind = LinkKind::Loopback;
        }
        link
    }
}
