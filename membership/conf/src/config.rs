//! The settings as types.

use std::collections::BTreeMap;
use std::time::Duration;

use membership_base::NodeId;

use crate::cmap::{self, CmapEntry, CmapValue};
use crate::keys;
use crate::tree::{self, ConfErrors, Findings, Section, Warning};

/// The port of link 0 when the file names none; link *n* has this plus *n*.
const PORT: u16 = 5405;
/// Links that a node may have.
const LINKS: u8 = 8;

/// A configured node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `nodeid`.
    pub id: NodeId,
    /// `name`.
    pub name: Option<String>,
    /// `ringN_addr` by link number: an address or a name to resolve.
    pub addresses: BTreeMap<u8, String>,
    /// `quorum_votes`.
    pub votes: u32,
    /// Where the node begins in the file.
    pub line: usize,
}

/// What carries the ring. All are UDP unicast here; the value is kept for tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// The default.
    #[default]
    Knet,
    /// One link, unicast.
    Udpu,
    /// Multicast in the original; unicast here.
    Udp,
}

/// `totem {}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotemConfig {
    /// `cluster_name`, empty if not given.
    pub cluster_name: String,
    /// `transport`.
    pub transport: Transport,
    /// `ip_version`; `None` lets the addresses decide.
    pub ip_version: Option<String>,
    /// `link_mode`, `passive` if not given.
    pub link_mode: String,
    /// False only if the file switches encryption off in words.
    pub encrypted: bool,
    /// `keyfile`; `None` is the usual place.
    pub keyfile: Option<String>,
    /// Time to loss of the token, with `token_coefficient` for each node above two.
    pub token: Duration,
    /// `token_retransmit`, if given.
    pub token_retransmit: Option<Duration>,
    /// `token_retransmits_before_loss_const`.
    pub token_retransmits: u32,
    /// `hold`, if given.
    pub hold: Option<Duration>,
    /// `join`, if given.
    pub join: Option<Duration>,
    /// `consensus`, if given.
    pub consensus: Option<Duration>,
    /// `window_size`, if given.
    pub window: Option<u32>,
    /// `max_messages`, if given.
    pub max_messages: Option<u32>,
    /// `netmtu`: largest IP packet to send.
    pub netmtu: u32,
    /// `heartbeat_interval`, if given.
    pub heartbeat_interval: Option<Duration>,
    /// `heartbeat_suspect`, if given.
    pub heartbeat_suspect: Option<Duration>,
    /// `heartbeat_suspect_max`, if given.
    pub heartbeat_suspect_max: Option<Duration>,
    /// `heartbeat_confirm`, if given.
    pub heartbeat_confirm: Option<Duration>,
    /// Port by link number, for links whose `interface {}` names one.
    pub ports: BTreeMap<u8, u16>,
}

/// `auto_tie_breaker_node`: which half of an even split goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TieBreaker {
    /// The one with the lowest node id.
    Lowest,
    /// The one with the highest node id.
    Highest,
    /// The one that has the first of these that is there.
    List(Vec<NodeId>),
}

/// `quorum {}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Whether a provider is named; without one every partition is quorate.
    pub enabled: bool,
    /// `expected_votes`; without it the sum of the nodes' votes.
    pub expected_votes: Option<u32>,
    /// `two_node`.
    pub two_node: bool,
    /// `wait_for_all`; on with `two_node` unless the file says 0. On with `last_man_standing` as
    /// well, because without it two partitions can be quorate.
    pub wait_for_all: bool,
    /// `auto_tie_breaker` and its node.
    pub auto_tie_breaker: Option<TieBreaker>,
    /// `last_man_standing`.
    pub last_man_standing: bool,
    /// `last_man_standing_window`.
    pub last_man_standing_window: Duration,
}

/// `logging {}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `debug`.
    pub debug: bool,
    /// `to_stderr`.
    pub to_stderr: bool,
    /// `to_syslog`.
    pub to_syslog: bool,
    /// `logfile`, if `to_logfile` is on.
    pub logfile: Option<String>,
    /// `syslog_facility`.
    pub syslog_facility: String,
    /// `syslog_priority`.
    pub syslog_priority: String,
    /// `timestamp`.
    pub timestamp: String,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `totem {}`.
    pub totem: TotemConfig,
    /// `nodelist {}`, in the file's order.
    pub nodes: Vec<Node>,
    /// `quorum {}`.
    pub quorum: Quorum,
    /// `logging {}`.
    pub logging: Logging,
    /// `system { sched_rr }`: real-time priority for the ring's thread.
    pub sched_rr: bool,
    /// All keys of the file, sorted.
    pub cmap: Vec<CmapEntry>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// The port of a link.
    pub fn port(&self, link: u8) -> u16 {
        self.totem.ports.get(&link).copied().unwrap_or(PORT + u16::from(link))
    }

    /// The votes of all configured nodes together, or `expected_votes` if given.
    pub fn expected_votes(&self) -> u32 {
        let sum = self.nodes.iter().fold(0, |acc: u32, n| acc.saturating_add(n.votes));
        self.quorum.expected_votes.unwrap_or(sum)
    }

    /// The node of this id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|n| n.id == id)
    }

    /// What tools call a node: its name, else its first address.
    pub fn node_name(&self, id: NodeId) -> Option<&str> {
        let node = self.node(id)?;
        node.name.as_deref().or_else(|| node.addresses.values().next().map(String::as_str))
    }
}

/// Reads the text of a file that is called `corosync.conf` in messages.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(text: &str) -> Result<Config, ConfErrors> {
    parse_named("corosync.conf", text)
}

/// Reads the text of the file of this name.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse_named(file: &str, text: &str) -> Result<Config, ConfErrors> {
    let mut found = Findings::new(file);
    let root = tree::read(text, &mut found);
    for entry in &root.entries {
        found.warn(entry.line, &entry.key, "stands outside of any section and is ignored");
    }
    for section in &root.sections {
        check_section(section, &section.name, &mut found);
    }
    let nodes = read_nodes(&root, &mut found);
    let totem = read_totem(&root, nodes.len(), &mut found);
    let quorum = read_quorum(&root, &nodes, &mut found);
    let logging = read_logging(&Values::of(&root, "logging"));
    let sched_rr = Values::of(&root, "system").switch("sched_rr").unwrap_or(true);
    if !found.errors.is_empty() {
        found.errors.sort_by_key(|e| e.line);
        return Err(ConfErrors(found.errors));
    }
    found.warnings.sort_by_key(|w| w.line);
    let cmap = cmap::flatten(&root);
    Ok(Config { totem, nodes, quorum, logging, sched_rr, cmap, warnings: found.warnings })
}

/// Judges every key of a section and below against the table.
fn check_section(section: &Section, path: &str, found: &mut Findings<'_>) {
    if !keys::SECTIONS.contains(&path) {
        found.warn(section.line, path, "unknown section, ignored");
        return;
    }
    let opaque = keys::OPAQUE.contains(&path);
    for entry in section.entries.iter().filter(|_| !opaque) {
        let name = format!("{path}.{}", entry.key);
        let Some(key) = keys::find(path, &entry.key) else {
            found.warn(entry.line, &name, "unknown key, ignored");
            continue;
        };
        match key.kind.read(&entry.value) {
            Err((expected, example)) => found.error(
                entry.line,
                &name,
                format!("\"{}\" is not {expected}", entry.value),
                format!("write for example `{}: {example}`", entry.key),
            ),
            Ok(_) if !key.used => found.warn(entry.line, &name, "accepted, but has no effect"),
            Ok(_) => {}
        }
    }
    if path == "quorum.device" {
        let text = "quorum devices are not supported: the device's votes do not count";
        found.warn(section.line, path, text);
    }
    for child in &section.sections {
        check_section(child, &format!("{path}.{}", child.name), found);
    }
}

/// The keys of all sections of one name; a later line overrides an earlier one.
struct Values<'a> {
    sections: Vec<&'a Section>,
    path: &'a str,
}

impl<'a> Values<'a> {
    fn of(root: &'a Section, path: &'a str) -> Values<'a> {
        Values { sections: root.sections.iter().filter(|s| s.name == path).collect(), path }
    }

    fn one(section: &'a Section, path: &'a str) -> Values<'a> {
        Values { sections: vec![section], path }
    }

    /// Line and value; nothing if the key is absent or was already found wrong.
    fn get(&self, name: &str) -> Option<(usize, CmapValue)> {
        let entry = self.sections.iter().rev().find_map(|s| s.get(name))?;
        let value = keys::find(self.path, name)?.kind.read(&entry.value).ok()?;
        Some((entry.line, value))
    }

    fn line(&self, name: &str) -> usize {
        let entry = self.sections.iter().rev().find_map(|s| s.get(name));
        let section = self.sections.last().map_or(1, |s| s.line);
        entry.map_or(section, |e| e.line)
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.get(name)?.1 {
            CmapValue::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<u32> {
        match self.get(name)?.1 {
            CmapValue::U8(n) => Some(n.into()),
            CmapValue::U16(n) => Some(n.into()),
            CmapValue::U32(n) => Some(n),
            CmapValue::U64(_) | CmapValue::Text(_) => None,
        }
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        self.number(name).map(|n| Duration::from_millis(n.into()))
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.number(name).map(|n| n != 0)
    }

    fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).and_then(|t| keys::switch(&t))
    }
}

fn read_nodes(root: &Section, found: &mut Findings<'_>) -> Vec<Node> {
    let lists = root.sections.iter().filter(|s| s.name == "nodelist");
    let mut nodes: Vec<Node> = Vec::new();
    for section in lists.flat_map(|l| &l.sections).filter(|s| s.name == "node") {
        let values = Values::one(section, "nodelist.node");
        let addresses: BTreeMap<u8, String> = (0..LINKS)
            .filter_map(|link| Some((link, values.text(&format!("ring{link}_addr"))?)))
            .collect();
        let Some(id) = values.number("nodeid") else {
            if section.get("nodeid").is_none() {
                found.error(
                    section.line,
                    "nodelist.node.nodeid",
                    "is missing",
                    "give every node a number of its own, such as `nodeid: 1`",
                );
            }
            continue;
        };
        if addresses.is_empty() {
            found.error(
                section.line,
                "nodelist.node.ring0_addr",
                format!("node {id} has no address"),
                "write its address or name, such as `ring0_addr: 192.0.2.1`",
            );
        }
        let node = Node {
            id: NodeId(id),
            name: values.text("name"),
            addresses,
            votes: values.number("quorum_votes").unwrap_or(1),
            line: section.line,
        };
        check_unique(&node, &nodes, found);
        nodes.push(node);
    }
    if nodes.is_empty() && found.errors.is_empty() {
        found.error(
            1,
            "nodelist",
            "no node is configured",
            "write a `nodelist { node { ring0_addr: ... nodeid: ... } }`",
        );
    }
    if nodes.len() > 256 {
        found.error(nodes[256].line, "nodelist", "more than 256 nodes", "remove some");
    }
    nodes
}

fn check_unique(node: &Node, before: &[Node], found: &mut Findings<'_>) {
    for other in before {
        if other.id == node.id {
            let problem =
                format!("{} is also the number of the node in line {}", node.id, other.line);
            let remedy = "give every node a number of its own";
            found.error(node.line, "nodelist.node.nodeid", problem, remedy);
        }
        if node.name.is_some() && other.name == node.name {
            let name = node.name.as_deref().unwrap_or("");
            let problem = format!("\"{name}\" is also the name of the node in line {}", other.line);
            found.error(node.line, "nodelist.node.name", problem, "give every node its own name");
        }
        for (link, address) in &node.addresses {
            if other.addresses.get(link) == Some(address) {
                let key = format!("nodelist.node.ring{link}_addr");
                let problem = format!("{address} is also of the node in line {}", other.line);
                found.error(node.line, &key, problem, "give every node its own address");
            }
        }
    }
}

fn read_totem(root: &Section, nodes: usize, found: &mut Findings<'_>) -> TotemConfig {
    let v = Values::of(root, "totem");
    let above_two = u32::try_from(nodes.saturating_sub(2)).unwrap_or(0);
    let token = v.number("token").unwrap_or(3000);
    let coefficient = v.number("token_coefficient").unwrap_or(650);
    let token = u64::from(token) + u64::from(coefficient) * u64::from(above_two);
    if v.get("key").is_some() {
        found.error(
            v.line("key"),
            "totem.key",
            "the key would stand in a file that everybody may read",
            "put it into a file of mode 0400 (`systole keygen` makes one) and name it in `keyfile`",
        );
    }
    let totem = TotemConfig {
        cluster_name: v.text("cluster_name").unwrap_or_default(),
        transport: match v.text("transport").as_deref() {
            Some("udpu") => Transport::Udpu,
            Some("udp") => Transport::Udp,
            _ => Transport::Knet,
        },
        ip_version: v.text("ip_version"),
        link_mode: v.text("link_mode").unwrap_or_else(|| "passive".to_owned()),
        encrypted: is_encrypted(&v, found),
        keyfile: v.text("keyfile"),
        token: Duration::from_millis(token),
        token_retransmit: v.millis("token_retransmit"),
        token_retransmits: v.number("token_retransmits_before_loss_const").unwrap_or(4),
        hold: v.millis("hold"),
        join: v.millis("join"),
        consensus: v.millis("consensus"),
        window: v.number("window_size"),
        max_messages: v.number("max_messages"),
        netmtu: v.number("netmtu").unwrap_or(1500),
        heartbeat_interval: v.millis("heartbeat_interval"),
        heartbeat_suspect: v.millis("heartbeat_suspect"),
        heartbeat_suspect_max: v.millis("heartbeat_suspect_max"),
        heartbeat_confirm: v.millis("heartbeat_confirm"),
        ports: read_ports(&v),
    };
    check_times(&totem, &v, found);
    totem
}

fn read_ports(totem: &Values<'_>) -> BTreeMap<u8, u16> {
    let all = totem.sections.iter().flat_map(|s| &s.sections);
    let interfaces = all.filter(|s| s.name == "interface");
    let port = |s: &Section| {
        let v = Values::one(s, "totem.interface");
        let link = v.number("linknumber").or_else(|| v.number("ringnumber")).unwrap_or(0);
        Some((u8::try_from(link).ok()?, u16::try_from(v.number("mcastport")?).ok()?))
    };
    interfaces.filter_map(port).collect()
}

fn is_encrypted(v: &Values<'_>, found: &mut Findings<'_>) -> bool {
    let (cipher, hash) = (v.text("crypto_cipher"), v.text("crypto_hash"));
    match (cipher.as_deref(), hash.as_deref()) {
        (None, None) => v.switch("secauth") != Some(false),
        (Some("none"), None | Some("none")) => false,
        (Some("none"), Some(_)) => {
            let text = "authentication without encryption does not exist here: \
                        messages are encrypted as well";
            found.warn(v.line("crypto_cipher"), "totem.crypto_cipher", text);
            true
        }
        _ => true,
    }
}

fn check_times(totem: &TotemConfig, v: &Values<'_>, found: &mut Findings<'_>) {
    let suspect = totem.heartbeat_suspect.unwrap_or(Duration::from_millis(250));
    let interval = totem.heartbeat_interval.unwrap_or(Duration::from_millis(50));
    if suspect < interval * 2 {
        let (line, name) = if totem.heartbeat_suspect.is_some() {
            (v.line("heartbeat_suspect"), "totem.heartbeat_suspect")
        } else {
            (v.line("heartbeat_interval"), "totem.heartbeat_interval")
        };
        let problem = format!(
            "a node would be suspected after {} ms although its heartbeats come every {} ms",
            suspect.as_millis(),
            interval.as_millis()
        );
        let remedy = "make heartbeat_suspect at least twice heartbeat_interval, better five times";
        found.error(line, name, problem, remedy);
    }
    if totem.consensus.is_some_and(|c| c < totem.token) {
        let text = "shorter than the token timeout";
        found.warn(v.line("consensus"), "totem.consensus", text);
    }
}

fn read_quorum(root: &Section, nodes: &[Node], found: &mut Findings<'_>) -> Quorum {
    let v = Values::of(root, "quorum");
    let two_node = v.flag("two_node").unwrap_or(false);
    let last_man_standing = v.flag("last_man_standing").unwrap_or(false);
    let expected_votes = v.number("expected_votes");
    let breaker = v.flag("auto_tie_breaker").unwrap_or(false);
    let quorum = Quorum {
        enabled: v.get("provider").is_some(),
        expected_votes,
        two_node,
        wait_for_all: v.flag("wait_for_all").unwrap_or(two_node || last_man_standing),
        auto_tie_breaker: breaker.then(|| read_tie_breaker(&v, nodes, found)),
        last_man_standing,
        last_man_standing_window: v
            .millis("last_man_standing_window")
            .unwrap_or(Duration::from_secs(10)),
    };
    let votes: u64 = nodes.iter().map(|n| u64::from(n.votes)).sum();
    let expected = expected_votes.map_or(votes, u64::from);
    if two_node && !nodes.is_empty() && (nodes.len() > 2 || expected != 2) {
        let problem = format!("{} nodes with {expected} expected votes, not 2", nodes.len());
        let remedy = "remove `two_node` unless there are exactly two nodes with one vote each";
        found.error(v.line("two_node"), "quorum.two_node", problem, remedy);
    }
    if last_man_standing && !quorum.wait_for_all {
        let text = "with `last_man_standing` but without waiting two partitions can be quorate";
        found.warn(v.line("wait_for_all"), "quorum.wait_for_all", text);
    }
    if two_node && breaker {
        let problem = "does not go together with `two_node`, which lets both halves go on";
        let remedy = "keep one of the two";
        found.error(v.line("auto_tie_breaker"), "quorum.auto_tie_breaker", problem, remedy);
    }
    if !quorum.enabled && !v.sections.is_empty() {
        let text = "no provider is named: every partition counts as quorate";
        found.warn(v.line("provider"), "quorum.provider", text);
    }
    quorum
}

fn read_tie_breaker(v: &Values<'_>, nodes: &[Node], found: &mut Findings<'_>) -> TieBreaker {
    let text = v.text("auto_tie_breaker_node").unwrap_or_else(|| "lowest".to_owned());
    match text.as_str() {
        "lowest" => return TieBreaker::Lowest,
        "highest" => return TieBreaker::Highest,
        _ => {}
    }
    let ids: Option<Vec<NodeId>> =
        text.split_whitespace().map(|w| w.parse().ok().map(NodeId)).collect();
    match ids {
        Some(ids) if ids.iter().all(|id| nodes.iter().any(|n| n.id == *id)) => {
            TieBreaker::List(ids)
        }
        _ => {
            found.error(
                v.line("auto_tie_breaker_node"),
                "quorum.auto_tie_breaker_node",
                format!("\"{text}\" is not `lowest`, `highest` or a list of configured node ids"),
                "write for example `auto_tie_breaker_node: lowest`",
            );
            TieBreaker::Lowest
        }
    }
}

fn read_logging(v: &Values<'_>) -> Logging {
    let on = |name: &str, default: bool| v.switch(name).unwrap_or(default);
    let text = |name: &str, default: &str| v.text(name).unwrap_or_else(|| default.to_owned());
    Logging {
        debug: matches!(v.text("debug").as_deref(), Some("on" | "yes" | "trace")),
        to_stderr: on("to_stderr", true),
        to_syslog: on("to_syslog", true),
        logfile: v.text("logfile").filter(|_| on("to_logfile", false)),
        syslog_facility: text("syslog_facility", "daemon"),
        syslog_priority: text("syslog_priority", "info"),
        timestamp: text("timestamp", "hires"),
    }
}
