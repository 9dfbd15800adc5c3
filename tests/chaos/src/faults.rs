//! Faults: drawn from a seed, written as text, read again.
//!
//! A list of faults is a text file: first the cluster (`hosts 3 boot 1000`), then one fault a
//! line with the time in milliseconds when it begins and how long it lasts:
//! `at 1200 for 800 stop-daemon node2`. Lines that begin with `#` are comments.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::random::Random;

/// Names of the resources whose activity is recorded, without the clone.
pub(crate) const RESOURCES: [&str; 5] = ["alpha", "beta", "gamma", "first", "second"];
/// The one of them that migrates.
pub(crate) const MIGRATES: &str = "gamma";
/// A clone of which one instance is promoted, and the name of that one's activity.
pub(crate) const ROLES: &str = "roles";
pub(crate) const PROMOTED: &str = "roles.promoted";
/// The resource that an operator makes and deletes again.
pub(crate) const EXTRA: &str = "extra";

/// What all agents are told to do, what those of [`ROLES`] are, and those of [`MIGRATES`].
const ACTIONS: [&str; 3] = ["start", "stop", "monitor"];
const ROLE_ACTIONS: [&str; 5] = ["start", "stop", "monitor", "promote", "demote"];
const MIGRATION_ACTIONS: [&str; 5] = ["start", "stop", "monitor", "migrate_to", "migrate_from"];
/// Within which time faults begin.
const BEGIN_MS_MAX: u64 = 14_000;
const LAST_MS_MAX: u64 = 6_000;
/// Half of the faults are this short: what is lost is back before anything is done about it.
const SHORT_MS: u64 = 1_500;

/// A cable that flaps is unplugged so long, and plugged in, in turns.
pub(crate) const FLAP_MS: [u64; 4] = [150, 400, 250, 600];
/// Time from an outage to the next one.
pub(crate) const OUTAGE_MS: u64 = (FLAP_MS[0] + FLAP_MS[1] + FLAP_MS[2] + FLAP_MS[3]) / 2;

/// What the agent of a resource is told to do.
fn actions(resource: &str) -> &'static [&'static str] {
    match resource {
        ROLES => &ROLE_ACTIONS,
        MIGRATES => &MIGRATION_ACTIONS,
        _ => &ACTIONS,
    }
}

/// A number of a host, from 1.
pub(crate) type Host = usize;

/// The name that the lab gives a host.
pub(crate) fn host_name(host: Host) -> String {
    format!("node{host}")
}

/// What goes wrong with a fence device or an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It says that it failed.
    Fails,
    /// It says nothing while the fault lasts.
    Hangs,
    /// It takes a second for each request.
    Slow,
}

/// What an operator does. What has an end is undone then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Gives a resource another parameter.
    Update(String),
    /// Puts a node in standby.
    Standby(Host),
    /// Moves a resource to a node.
    Move(String, Host),
    /// Stops a resource.
    Disable(String),
    /// Puts the cluster in maintenance mode.
    Maintenance,
    /// Fences a node.
    Fence(Host),
    /// Makes a resource, and deletes it in the end.
    Create,
    /// Forgets failures.
    Cleanup,
    /// Sets a transient attribute of a node.
    Attribute(Host),
    /// Has a node leave in good order; it starts again in the end.
    Leave(Host),
}

/// A kind of fault with those that it hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Power is lost, and back in the end.
    CutPower(Vec<Host>),
    /// SIGKILL of the daemon; the host's service manager starts it again.
    KillDaemon(Host),
    /// SIGSTOP of the daemon.
    StopDaemon(Host),
    /// Everything on the host stops.
    Freeze(Host),
    /// Groups of hosts that do not hear each other.
    Split(Vec<Vec<Host>>),
    /// The second one does not hear the first one.
    OneWay(Host, Host),
    /// The cable is unplugged and plugged in again.
    Flap(Host),
    /// This share of packets is lost, both ways.
    Lose(Host, u8),
    /// The fence device of a host.
    Device(Host, Trouble),
    /// An action of a resource on a host.
    Agent(String, String, Host, Trouble),
    /// No room on the disk with the CIB.
    FillDisk(Host),
    /// Processes that take all the time they get.
    Hog(Host),
    /// An operator's command.
    Operator(Command),
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, after the cluster runs everything.
    pub at_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
    /// What it is.
    pub kind: Kind,
}

/// What happens in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How many hosts there are.
    pub hosts: usize,
    /// How long a host takes to boot.
    pub boot_ms: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Script {
    /// The script that a seed stands for.
    pub fn draw(hosts: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let boot_ms = *random.pick(&[0, 300, 1000, 3000]);
        // Half of the rounds have it in for one host: then the others have no excuse.
        let focus = random.chance(2).then(|| random.below(hosts) + 1);
        let most = *random.pick(&[4, 4, 9, 18]);
        let count = 2 + random.below(most);
        let mut faults: Vec<Fault> =
            (0..count).map(|_| draw_fault(&mut random, hosts, focus)).collect();
        faults.sort_by_key(|fault| fault.at_ms);
        Self { hosts, boot_ms, faults }
    }

    /// The same cluster with other faults.
    pub fn with(&self, faults: &[Fault]) -> Self {
        Self { faults: faults.to_vec(), ..*self }
    }
}

fn draw_fault(random: &mut Random, hosts: usize, focus: Option<Host>) -> Fault {
    let at_ms = random.below_u64(BEGIN_MS_MAX);
    let longest = if random.chance(2) { SHORT_MS } else { LAST_MS_MAX };
    let for_ms = 300 + random.below_u64(longest - 300);
    Fault { at_ms, for_ms, kind: draw_kind(random, hosts, focus) }
}

fn draw_kind(random: &mut Random, hosts: usize, focus: Option<Host>) -> Kind {
    let host = focus.unwrap_or_else(|| random.below(hosts) + 1);
    let other = (1..hosts).map(|step| (host - 1 + step) % hosts + 1).collect::<Vec<_>>();
    let other = *random.pick(&other);
    match random.below(16) {
        0 => Kind::CutPower(vec![host]),
        1 if focus.is_none() => {
            let all = random.chance(3);
            let hit = (1..=hosts).filter(|_| all || random.chance(2)).collect::<Vec<_>>();
            Kind::CutPower(if hit.is_empty() { vec![host] } else { hit })
        }
        1 | 2 => Kind::KillDaemon(host),
        3 => Kind::StopDaemon(host),
        4 => Kind::Freeze(host),
        5 | 6 => draw_split(random, hosts, host, focus.is_some()),
        7 if random.chance(2) => Kind::OneWay(host, other),
        7 => Kind::OneWay(other, host),
        8 => Kind::Flap(host),
        9 => Kind::Lose(host, *random.pick(&[5, 10, 20, 30])),
        10 => Kind::Device(
            host,
            *random.pick(&[Trouble::Fails, Trouble::Hangs, Trouble::Slow, Trouble::Slow]),
        ),
        11 => {
            let trouble = *random.pick(&[Trouble::Fails, Trouble::Hangs]);
            let resource = if random.chance(4) { ROLES } else { *random.pick(&RESOURCES) };
            let action = *random.pick(actions(resource));
            Kind::Agent(resource.into(), action.into(), host, trouble)
        }
        12 => Kind::FillDisk(host),
        13 => Kind::Hog(host),
        _ => Kind::Operator(draw_command(random, host)),
    }
}

/// One host alone, or groups as they come: two, three, pairs.
fn draw_split(random: &mut Random, hosts: usize, host: Host, alone: bool) -> Kind {
    let count = if alone { 1 } else { 2 + random.below(2) };
    let mut groups = vec![Vec::new(); count];
    for member in 1..=hosts {
        groups[random.below(count)].push(member);
    }
    groups.retain(|group| !group.is_empty());
    if groups.len() < 2 {
        let others = (1..=hosts).filter(|member| *member != host).collect();
        groups = vec![vec![host], others];
    }
    Kind::Split(groups)
}

fn draw_command(random: &mut Random, host: Host) -> Command {
    let resource = || RESOURCES.map(str::to_owned);
    match random.below(14) {
        0..3 => Command::Update(random.pick(&resource()).clone()),
        10 => Command::Update(ROLES.to_owned()),
        11 => Command::Leave(host),
        12 => Command::Move(MIGRATES.to_owned(), host),
        3 => Command::Standby(host),
        4 => Command::Move(random.pick(&resource()[..3]).clone(), host),
        5 => Command::Disable(random.pick(&resource()).clone()),
        6 => Command::Maintenance,
        7 => Command::Fence(host),
        8 => Command::Create,
        _ if random.chance(2) => Command::Cleanup,
        _ => Command::Attribute(host),
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fails => "fails",
            Self::Hangs => "hangs",
            Self::Slow => "slow",
        })
    }
}

fn list(hosts: &[Host]) -> String {
    hosts.iter().map(|host| host_name(*host)).collect::<Vec<_>>().join(",")
}

impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(resource) => write!(f, "update {resource}"),
            Self::Standby(host) => write!(f, "standby node{host}"),
            Self::Move(resource, host) => write!(f, "move {resource} node{host}"),
            Self::Disable(resource) => write!(f, "disable {resource}"),
            Self::Maintenance => f.write_str("maintenance"),
            Self::Fence(host) => write!(f, "fence node{host}"),
            Self::Create => f.write_str("create"),
            Self::Cleanup => f.write_str("cleanup"),
            Self::Attribute(host) => write!(f, "attribute node{host}"),
            Self::Leave(host) => write!(f, "leave node{host}"),
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutPower(hosts) => write!(f, "cut-power {}", list(hosts)),
            Self::KillDaemon(host) => write!(f, "kill-daemon node{host}"),
            Self::StopDaemon(host) => write!(f, "stop-daemon node{host}"),
            Self::Freeze(host) => write!(f, "freeze node{host}"),
            Self::Split(groups) => {
                let groups: Vec<String> = groups.iter().map(|group| list(group)).collect();
                write!(f, "split {}", groups.join(" "))
            }
            Self::OneWay(from, to) => write!(f, "one-way node{from} node{to}"),
            Self::Flap(host) => write!(f, "flap node{host}"),
            Self::Lose(host, percent) => write!(f, "lose node{host} {percent}"),
            Self::Device(host, trouble) => write!(f, "device node{host} {trouble}"),
            Self::Agent(resource, action, host, trouble) => {
                write!(f, "agent {resource} {action} node{host} {trouble}")
            }
            Self::FillDisk(host) => write!(f, "fill-disk node{host}"),
            Self::Hog(host) => write!(f, "hog node{host}"),
            Self::Operator(command) => write!(f, "operator {command}"),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} for {} {}", self.at_ms, self.for_ms, self.kind)
    }
}

impl Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hosts {} boot {}", self.hosts, self.boot_ms)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

/// Reads words of a line; hosts must exist.
struct Words<'a> {
    words: std::str::SplitWhitespace<'a>,
    hosts: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        self.words.next().ok_or_else(|| "the line ends too early".to_owned())
    }

    fn literal(&mut self, expected: &str) -> Result<(), String> {
        let word = self.next()?;
        if word == expected { Ok(()) } else { Err(format!("'{word}' instead of '{expected}'")) }
    }

    fn number<T: FromStr>(&mut self) -> Result<T, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("'{word}' is not a number"))
    }

    fn to_host(&self, word: &str) -> Result<Host, String> {
        let host = word.strip_prefix("node").and_then(|number| number.parse().ok());
        host.filter(|host| (1..=self.hosts).contains(host))
            .ok_or_else(|| format!("there is no host '{word}'"))
    }

    fn host(&mut self) -> Result<Host, String> {
        let word = self.next()?;
        self.to_host(word)
    }

    fn to_hosts(&self, word: &str) -> Result<Vec<Host>, String> {
        word.split(',').map(|word| self.to_host(word)).collect()
    }

    fn resource(&mut self) -> Result<String, String> {
        let word = self.next()?;
        if word == ROLES || RESOURCES.contains(&word) {
            Ok(word.to_owned())
        } else {
            Err(format!("there is no resource '{word}'"))
        }
    }

    fn action(&mut self, resource: &str) -> Result<String, String> {
        let word = self.next()?;
        let known = actions(resource).contains(&word).then(|| word.to_owned());
        known.ok_or_else(|| format!("'{word}' is not an action"))
    }

    fn trouble(&mut self) -> Result<Trouble, String> {
        match self.next()? {
            "fails" => Ok(Trouble::Fails),
            "hangs" => Ok(Trouble::Hangs),
            "slow" => Ok(Trouble::Slow),
            word => Err(format!("'{word}' is not a kind of trouble")),
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        Ok(match self.next()? {
            "update" => Command::Update(self.resource()?),
            "standby" => Command::Standby(self.host()?),
            "move" => Command::Move(self.resource()?, self.host()?),
            "disable" => Command::Disable(self.resource()?),
            "maintenance" => Command::Maintenance,
            "fence" => Command::Fence(self.host()?),
            "create" => Command::Create,
            "cleanup" => Command::Cleanup,
            "attribute" => Command::Attribute(self.host()?),
            "leave" => Command::Leave(self.host()?),
            word => return Err(format!("'{word}' is not an operator's command")),
        })
    }

    fn kind(&mut self) -> Result<Kind, String> {
        Ok(match self.next()? {
            "cut-power" => {
                let hosts = self.next()?;
                Kind::CutPower(self.to_hosts(hosts)?)
            }
            "kill-daemon" => Kind::KillDaemon(self.host()?),
            "stop-daemon" => Kind::StopDaemon(self.host()?),
            "freeze" => Kind::Freeze(self.host()?),
            "split" => {
                let groups: Vec<&str> = self.words.by_ref().collect();
                Kind::Split(groups.iter().map(|g| self.to_hosts(g)).collect::<Result<_, _>>()?)
            }
            "one-way" => Kind::OneWay(self.host()?, self.host()?),
            "flap" => Kind::Flap(self.host()?),
            "lose" => Kind::Lose(self.host()?, self.number()?),
            "device" => Kind::Device(self.host()?, self.trouble()?),
            "agent" => {
                let resource = self.resource()?;
                let action = self.action(&resource)?;
                Kind::Agent(resource, action, self.host()?, self.trouble()?)
            }
            "fill-disk" => Kind::FillDisk(self.host()?),
            "hog" => Kind::Hog(self.host()?),
            "operator" => Kind::Operator(self.command()?),
            word => return Err(format!("'{word}' is not a fault")),
        })
    }

    fn end(&mut self) -> Result<(), String> {
        self.words.next().map_or(Ok(()), |word| Err(format!("'{word}' is too much")))
    }
}

fn read_fault(line: &str, hosts: usize) -> Result<Fault, String> {
    let mut words = Words { words: line.split_whitespace(), hosts };
    words.literal("at")?;
    let at_ms = words.number()?;
    words.literal("for")?;
    let for_ms = words.number()?;
    let kind = words.kind()?;
    words.end()?;
    Ok(Fault { at_ms, for_ms, kind })
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbered = (1..).zip(text.lines().map(str::trim));
        let mut lines = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (_, head) = lines.next().ok_or("it is empty")?;
        let mut words = Words { words: head.split_whitespace(), hosts: 0 };
        words.literal("hosts")?;
        let hosts = words.number()?;
        words.literal("boot")?;
        let boot_ms = words.number()?;
        words.end()?;
        if !(2..=9).contains(&hosts) {
            return Err(format!("{hosts} hosts are not between 2 and 9"));
        }
        let fault = |(number, line)| {
            read_fault(line, hosts).map_err(|error| format!("line {number}: {error}"))
        };
        let faults = lines.map(fault).collect::<Result<_, _>>()?;
        Ok(Self { hosts, boot_ms, faults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_script_again_and_another_seed_another_one() {
        let scripts: Vec<Script> = (0..50).map(|seed| Script::draw(3, seed)).collect();
        for (seed, script) in (0..).zip(&scripts) {
            assert_eq!(*script, Script::draw(3, seed));
        }
        assert_ne!(scripts[0], scripts[1]);
    }

    #[test]
    fn every_script_reads_back_from_its_text() {
        for hosts in [2, 3, 5] {
            for seed in 0..300 {
                let script = Script::draw(hosts, seed);
                assert_eq!(script.to_string().parse(), Ok(script));
            }
        }
    }

    #[test]
    fn all_kinds_of_faults_are_drawn() {
        let faults = (0..400).flat_map(|seed| Script::draw(5, seed).faults);
        let mut kinds: Vec<String> = faults
            .map(|fault| {
                let words = fault.kind.to_string();
                let count = if words.starts_with("operator") { 2 } else { 1 };
                words.split(' ').take(count).collect::<Vec<_>>().join(" ")
            })
            .collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), 12 + 10, "{kinds:?}");
    }

    #[test]
    fn groups_of_a_split_hold_every_host_once() {
        for seed in 0..400 {
            for fault in Script::draw(5, seed).faults {
                let Kind::Split(groups) = fault.kind else { continue };
                assert!(groups.len() >= 2, "{groups:?}");
                let mut all = groups.concat();
                all.sort_unstable();
                assert_eq!(all, [1, 2, 3, 4, 5], "{groups:?}");
            }
        }
    }

    #[test]
    fn what_is_no_script_is_refused_with_its_line() {
        for (text, expected) in [
            ("", "empty"),
            ("hosts 1 boot 0", "between 2 and 9"),
            ("hosts 3 boot 0\n\nat 1 for 2 flap node4", "line 3: there is no host 'node4'"),
            ("hosts 3 boot 0\nat 1 for x flap node1", "'x' is not a number"),
            ("hosts 3 boot 0\nat 1 for 2 flap node1 node2", "'node2' is too much"),
            ("hosts 3 boot 0\nat 1 for 2 agent none stop node1 fails", "no resource 'none'"),
            ("hosts 3 boot 0\nat 1 for 2 flood node1", "'flood' is not a fault"),
        ] {
            let error = text.parse::<Script>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
