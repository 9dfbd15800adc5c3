//! `vip`: an IP address that moves between hosts.

mod announce;
mod frame;
mod place;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::libc;
use resource_agents_netlink::{Address, Link, Netlink, NewAddress};

use crate::metadata::{Action, Kind, Metadata, Parameter};
use crate::ocf::{Context, ExitCode, Failure};
use announce::Announcement;
use place::{Place, Wish};

pub(crate) const METADATA: Metadata = Metadata {
    name: "vip",
    short: "An IPv4 or IPv6 address that moves between hosts",
    long: "Adds an address to a network interface, tells the neighbours at once where it now is \
           (gratuitous ARP or unsolicited neighbour advertisement, repeated in the background), \
           and checks that the address is still there. The interface is found by the address's \
           network when it is not given.",
    parameters: &[
        Parameter::new("ip", Kind::Text, None, "Address", "The IPv4 or IPv6 address.")
            .required()
            .unique(),
        Parameter::new(
            "cidr_netmask",
            Kind::Text,
            None,
            "Length of the network part",
            "In bits (24), or for IPv4 as a mask (255.255.255.0). By default that of the network \
             on the interface the address belongs to.",
        ),
        Parameter::new(
            "nic",
            Kind::Text,
            None,
            "Network interface",
            "Name of the interface. By default the one whose own network contains the address, \
             or the one a route to the address's network leads through.",
        ),
        Parameter::new(
            "iflabel",
            Kind::Text,
            None,
            "Label of the address",
            "IPv4 only: shown by tools as INTERFACE:LABEL; the whole has at most 15 characters.",
        ),
        Parameter::new(
            "broadcast",
            Kind::Text,
            None,
            "Broadcast address",
            "IPv4 only: an address, \"+\" for the network's last address, \"-\" for none. By \
             default the network's last address.",
        ),
        Parameter::new(
            "nodad",
            Kind::Boolean,
            Some("true"),
            "Use an IPv6 address at once",
            "IPv6 only: skip the kernel's duplicate address detection, which takes about a \
             second. The cluster already sees to it that only one host has the address.",
        ),
        Parameter::new(
            "preferred_lft",
            Kind::Text,
            Some("forever"),
            "IPv6 preferred lifetime",
            "IPv6 only: \"forever\" or seconds; 0 keeps the address from being used as the \
             source of outgoing connections.",
        ),
        Parameter::new(
            "conflict_wait",
            Kind::Integer,
            Some("0"),
            "Milliseconds to look for another owner",
            "IPv4 only: before the address is added, ask the network for another owner and wait \
             this long for an answer (at most 2000); start fails if there is one. 0 skips this.",
        )
        .reloadable(),
        Parameter::new(
            "arp_count",
            Kind::Integer,
            Some("5"),
            "Number of announcements",
            "How many times the neighbours are told after start (at most 100). The first is sent \
             before start returns, the others in the background. 0 for none.",
        )
        .reloadable(),
        Parameter::new(
            "arp_interval",
            Kind::Integer,
            Some("200"),
            "Milliseconds between announcements",
            "Pause between two announcements, 10 to 10000.",
        )
        .reloadable(),
    ],
    actions: &[
        Action::new("start", 20),
        Action::new("stop", 20),
        Action::monitor(20, 10, None),
        Action::new("reload-agent", 20),
        Action::new("validate-all", 20),
        Action::new("meta-data", 5),
    ],
};

/// Longest name of an interface or label the kernel takes, without the ending zero.
const LABEL_BYTES_MAX: usize = 15;

/// Bounds of the parameters that make the agent wait.
const CONFLICT_WAIT_MS_MAX: u64 = 2000;
const ANNOUNCEMENTS_MAX: u32 = 100;

/// All parameters, read and checked.
struct Config {
    wish: Wish,
    label: Option<String>,
    broadcast: Broadcast,
    nodad: bool,
    preferred_lft_s: Option<u32>,
    conflict_wait: Duration,
    announcements: u32,
    pause: Duration,
}

enum Broadcast {
    LastOfNetwork,
    None,
    Given(std::net::Ipv4Addr),
}

pub(crate) fn act(context: &Context, action: &str) -> Result<(), Failure> {
    if matches!(action, "monitor" | "stop") {
        return match (address(context), action) {
            (Ok(wish), "monitor") => monitor(context, &wish),
            (Ok(wish), _) => stop(&wish),
            // What is no address is on no interface.
            (Err(_), "monitor") => Err(Failure::answer(ExitCode::NotRunning)),
            (Err(_), _) => Ok(()),
        };
    }
    let config = Config::of(context)?;
    match action {
        "start" => start(&config),
        "reload-agent" => monitor(context, &config.wish),
        "validate-all" => validate(context, &config),
        _ => Err(Failure::answer(ExitCode::Unimplemented)),
    }
}

fn configured(reason: String) -> Failure {
    Failure::new(ExitCode::Configured, reason)
}

/// The address, and the interface if one is given: what tells whether it is there.
fn address(context: &Context) -> Result<Wish, Failure> {
    let text = context.required("ip")?;
    let ip = text
        .trim()
        .parse()
        .map_err(|_| configured(format!("ip={text} is not an IPv4 or IPv6 address")))?;
    let nic = nic_and_label(context).0;
    Ok(Wish { ip, prefix_len: None, nic })
}

/// The old notation INTERFACE:LABEL is understood as well.
fn nic_and_label(context: &Context) -> (Option<String>, Option<String>) {
    match context.parameter("nic").map(str::trim) {
        None => (None, None),
        Some(text) => match text.split_once(':') {
            Some((name, label)) => (Some(name.to_owned()), Some(label.to_owned())),
            None => (Some(text.to_owned()), None),
        },
    }
}

impl Config {
    fn of(context: &Context) -> Result<Self, Failure> {
        let wish = address(context)?;
        let ip = wish.ip;
        let prefix_len = match context.parameter("cidr_netmask") {
            None => None,
            Some(text) => Some(place::prefix_len(text, ip).ok_or_else(|| {
                configured(format!("cidr_netmask={text} does not fit the address {ip}"))
            })?),
        };
        let nic_label = nic_and_label(context).1;
        let label = context.parameter("iflabel").map(str::to_owned).or(nic_label);
        Ok(Self {
            wish: Wish { prefix_len, ..wish },
            label: label.filter(|_| ip.is_ipv4()),
            broadcast: broadcast(context)?,
            nodad: context.flag("nodad")?,
            preferred_lft_s: preferred_lft_s(context)?.filter(|_| ip.is_ipv6()),
            conflict_wait: milliseconds(context, "conflict_wait", 0, CONFLICT_WAIT_MS_MAX)?,
            announcements: context.parsed::<u32>("arp_count", "a number")?.unwrap_or(0),
            pause: milliseconds(context, "arp_interval", 10, 10_000)?,
        })
        .and_then(|config| {
            if config.announcements > ANNOUNCEMENTS_MAX {
                return Err(configured(format!("arp_count is above {ANNOUNCEMENTS_MAX}")));
            }
            Ok(config)
        })
    }
}

fn milliseconds(context: &Context, name: &str, min: u64, max: u64) -> Result<Duration, Failure> {
    let value = context.parsed::<u64>(name, "a number of milliseconds")?.unwrap_or(min);
    if !(min..=max).contains(&value) {
        return Err(configured(format!("{name}={value} is not within {min} to {max}")));
    }
    Ok(Duration::from_millis(value))
}

fn broadcast(context: &Context) -> Result<Broadcast, Failure> {
    match context.parameter("broadcast").map(str::trim) {
        None | Some("+") => Ok(Broadcast::LastOfNetwork),
        Some("-") => Ok(Broadcast::None),
        Some(text) => text.parse().map(Broadcast::Given).map_err(|_| {
            configured(format!("broadcast={text} is neither an IPv4 address nor \"+\" nor \"-\""))
        }),
    }
}

fn preferred_lft_s(context: &Context) -> Result<Option<u32>, Failure> {
    match context.parameter("preferred_lft").map(str::trim) {
        None | Some("forever") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            configured(format!("preferred_lft={text} is neither \"forever\" nor seconds"))
        }),
    }
}

/// The namespace's links and addresses as they are now.
struct Present {
    netlink: Netlink,
    links: Vec<Link>,
    addresses: Vec<Address>,
}

impl Present {
    fn look() -> Result<Self, Failure> {
        let mut netlink = Netlink::open().map_err(Failure::generic)?;
        let links = netlink.links().map_err(Failure::generic)?;
        let addresses = netlink.addresses().map_err(Failure::generic)?;
        Ok(Self { netlink, links, addresses })
    }

    /// Where the address is now; only on the wished interface if one is wished.
    fn holders(&self, wish: &Wish) -> Vec<(Link, Address)> {
        let held = self.addresses.iter().filter(|address| address.ip == wish.ip);
        held.filter_map(|address| {
            let link = self.links.iter().find(|link| link.index == address.link)?;
            let wished = wish.nic.as_ref().is_none_or(|nic| *nic == link.name);
            wished.then(|| (link.clone(), address.clone()))
        })
        .collect()
    }

    fn find_place(&mut self, wish: &Wish) -> Result<Place, Failure> {
        let routes = self.netlink.routes().map_err(Failure::generic)?;
        place::find(wish, &self.links, &self.addresses, &routes).map_err(Failure::generic)
    }
}

fn start(config: &Config) -> Result<(), Failure> {
    let mut present = Present::look()?;
    let ip = config.wish.ip;
    if let Some((link, address)) = present.holders(&config.wish).into_iter().next() {
        refuse_if_unusable(&link, &address)?;
        announce(config, &link);
        return Ok(());
    }
    let place = present.find_place(&config.wish)?;
    if !place.link.up {
        return Err(Failure::generic(format!("Interface {} is down", place.link.name)));
    }
    if !config.conflict_wait.is_zero() {
        refuse_if_owned(config, &place.link)?;
    }
    let new = new_address(config, &place)?;
    match present.netlink.add_address(&new) {
        Ok(()) => {}
        Err(error) if error.errno() == Some(libc::EEXIST) => {}
        Err(error) => {
            let code = match error.errno() {
                Some(libc::EPERM) => ExitCode::Permission,
                _ => ExitCode::Generic,
            };
            return Err(Failure::new(code, error));
        }
    }
    if ip.is_ipv6() && !config.nodad {
        wait_until_usable(config)?;
    }
    eprintln!("{ip}/{} is now on {}", place.prefix_len, place.link.name);
    announce(config, &place.link);
    Ok(())
}

fn new_address(config: &Config, place: &Place) -> Result<NewAddress, Failure> {
    let ip = config.wish.ip;
    let mut new = NewAddress::new(place.link.index, ip, place.prefix_len);
    if let Some(label) = &config.label {
        let label = format!("{}:{label}", place.link.name);
        if label.len() > LABEL_BYTES_MAX {
            let reason = format!("Label {label} is longer than {LABEL_BYTES_MAX} characters");
            return Err(Failure::new(ExitCode::Arguments, reason));
        }
        new.label = Some(label);
    }
    if let IpAddr::V4(v4) = ip {
        new.broadcast = match config.broadcast {
            Broadcast::Given(address) => Some(address),
            Broadcast::None => None,
            Broadcast::LastOfNetwork => place::last_of_network(v4, place.prefix_len),
        };
    }
    new.nodad = ip.is_ipv6() && config.nodad;
    new.preferred_lft_s = config.preferred_lft_s;
    Ok(new)
}

/// An address that is there but does not work must not count as running.
fn refuse_if_unusable(link: &Link, address: &Address) -> Result<(), Failure> {
    if address.dad_failed {
        let ip = address.ip;
        let reason = format!("{ip} on {} is a duplicate: another machine has it", link.name);
        return Err(Failure::generic(reason));
    }
    if !link.up {
        let reason = format!("{} is on {}, which is down", address.ip, link.name);
        return Err(Failure::generic(reason));
    }
    Ok(())
}

fn refuse_if_owned(config: &Config, link: &Link) -> Result<(), Failure> {
    let IpAddr::V4(ip) = config.wish.ip else { return Ok(()) };
    if !link.arp {
        return Ok(());
    }
    match announce::find_owner(link, ip, config.conflict_wait) {
        Ok(None) => Ok(()),
        Ok(Some(mac)) => {
            let owner = frame::mac_text(mac);
            let reason = format!("{ip} is already in use on {} by {owner}", link.name);
            Err(Failure::generic(reason))
        }
        Err(error) => {
            Err(Failure::generic(format!("Cannot look for another owner of {ip}: {error}")))
        }
    }
}

/// Waits for the kernel's duplicate address detection; takes the address away again if it failed.
fn wait_until_usable(config: &Config) -> Result<(), Failure> {
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let mut present = Present::look()?;
        let Some((link, address)) = present.holders(&config.wish).into_iter().next() else {
            return Err(Failure::generic(format!("{} vanished again", config.wish.ip)));
        };
        if address.dad_failed {
            let failure = refuse_if_unusable(&link, &address);
            let prefix_len = address.prefix_len;
            let _ = present.netlink.delete_address(link.index, address.ip, prefix_len);
            return failure;
        }
        if !address.tentative {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let reason = format!("{} is still being checked for duplicates", address.ip);
            return Err(Failure::generic(reason));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells the neighbours. The address works without, only later for those who remember another
/// host, so a failure is a warning and not a failed start.
fn announce(config: &Config, link: &Link) {
    if config.announcements == 0 || !link.arp {
        return;
    }
    let announcement = Announcement {
        link: link.clone(),
        ip: config.wish.ip,
        times: config.announcements,
        pause: config.pause,
    };
    if let Err(error) = announcement.start() {
        eprintln!("cannot announce {} on {}: {error}", config.wish.ip, link.name);
    }
}

fn stop(wish: &Wish) -> Result<(), Failure> {
    let mut present = Present::look()?;
    let before = present.addresses.clone();
    for (link, address) in present.holders(wish) {
        let removed = present.netlink.delete_address(link.index, address.ip, address.prefix_len);
        match removed {
            Ok(()) => eprintln!("{} is no longer on {}", address.ip, link.name),
            Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => {}
            Err(error) => return Err(Failure::generic(error)),
        }
        restore_siblings(&mut present.netlink, &before, &address)?;
    }
    let present = Present::look()?;
    match present.holders(wish).first() {
        None => Ok(()),
        Some((link, _)) => Err(Failure::generic(format!("{} is still on {}", wish.ip, link.name))),
    }
}

/// Removing the first address of a network can make the kernel remove the others of that network
/// (`promote_secondaries` off); they are not ours to lose.
fn restore_siblings(
    netlink: &mut Netlink,
    before: &[Address],
    removed: &Address,
) -> Result<(), Failure> {
    if removed.ip.is_ipv6() || removed.secondary {
        return Ok(());
    }
    let now = netlink.addresses().map_err(Failure::generic)?;
    let lost = before.iter().filter(|old| {
        old.link == removed.link
            && old.ip != removed.ip
            && old.secondary
            && !now.iter().any(|address| address.link == old.link && address.ip == old.ip)
    });
    for old in lost {
        let mut new = NewAddress::new(old.link, old.ip, old.prefix_len);
        new.label.clone_from(&old.label);
        new.broadcast = old.broadcast;
        match netlink.add_address(&new) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            Err(error) => return Err(Failure::generic(error)),
        }
    }
    Ok(())
}

fn monitor(context: &Context, wish: &Wish) -> Result<(), Failure> {
    let present = Present::look()?;
    let holders = present.holders(wish);
    let Some((link, address)) = holders.first() else {
        if context.is_probe() {
            return Err(Failure::answer(ExitCode::NotRunning));
        }
        let reason = format!("{} is on no interface", wish.ip);
        return Err(Failure::new(ExitCode::NotRunning, reason));
    };
    refuse_if_unusable(link, address)
}

fn validate(context: &Context, config: &Config) -> Result<(), Failure> {
    // OCF 1.1: only from level 10 on may the check look at this host.
    if context.check_level() >= 10 {
        let mut present = Present::look()?;
        if present.holders(&config.wish).is_empty() {
            present.find_place(&config.wish)?;
        }
    }
    Ok(())
}
