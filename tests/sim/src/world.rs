//! The world: time, network, power, faults, and the loop that drives the machines.

mod agents;
mod effects;
mod faults;
mod fencing;
mod luck;
mod resources;
mod script;
mod story;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use cib_model::Time;
use cib_store::{Operation, Target, Version, Who};
use crm_api::Request;
use crm_graph::Transition;
use crm_node::Input;
use crm_scheduler::PlanFlags;
use membership_base::{Instant, NodeId};
use membership_quorum::{Rules, TieBreaker};
use membership_totem as totem;

use crate::check::Checker;
use crate::host::Host;

pub(crate) use agents::Run;
use resources::PROMOTED;
pub use script::{
    all_stops_fail, cut_off_migration, fence_that_does_nothing, one_stop_fails_everywhere,
    refused_everywhere, short_outages, slow_start,
};
pub use story::{Told, play};

/// What a run is a function of.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Number of nodes.
    pub nodes: u32,
    /// Where all chance comes from.
    pub seed: u64,
    /// How long faults happen, in milliseconds of simulated time.
    pub chaos_ms: u64,
    /// Print what happens.
    pub trace: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The first violation of an invariant.
    pub violation: Option<String>,
    /// A digest of everything that happened: the same for the same scenario.
    pub digest: u64,
    /// Datagrams, agent runs, fences, acknowledged changes, faults.
    pub counts: [u64; 5],
}

/// More events than any run needs in which the machines do not chase each other.
const STEPS_MAX: u64 = 3_000_000;

/// A datagram that is larger carries messages.
const DATA: usize = 400;

enum What {
    Boot(NodeId),
    Packet {
        to: NodeId,
        bytes: Arc<Vec<u8>>,
    },
    Wake(NodeId),
    Resubmit(NodeId, u64),
    Persisted {
        host: NodeId,
        life: u64,
        version: Version,
        bytes: Vec<u8>,
    },
    Planned {
        host: NodeId,
        life: u64,
        plan: u32,
        transition: Box<Transition>,
    },
    AgentDone {
        host: NodeId,
        life: u64,
        run: crm_executor::RunId,
        fails: bool,
    },
    AgentKilled {
        host: NodeId,
        life: u64,
        run: crm_executor::RunId,
    },
    PowerSwitched {
        host: NodeId,
        life: u64,
        run: crm_fencer::RunId,
        action: String,
        target: NodeId,
    },
    FenceDone {
        host: NodeId,
        life: u64,
        run: crm_fencer::RunId,
        action: String,
        target: NodeId,
    },
    Fault,
    Cut(Option<NodeId>),
    Heal,
    Write,
}

impl What {
    /// The host that it happens on, where nothing happens while that one is paused.
    fn host(&self) -> Option<NodeId> {
        match self {
            What::Packet { to: host, .. }
            | What::Wake(host)
            | What::Resubmit(host, _)
            | What::Persisted { host, .. }
            | What::Planned { host, .. }
            | What::AgentDone { host, .. }
            | What::AgentKilled { host, .. }
            | What::PowerSwitched { host, .. }
            | What::FenceDone { host, .. } => Some(*host),
            What::Boot(_) | What::Fault | What::Cut(_) | What::Heal | What::Write => None,
        }
    }
}

struct Event {
    at: Instant,
    seq: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// Faults in force.
#[derive(Default)]
struct Faults {
    /// Hosts on one side of a partition; empty for none.
    side: BTreeSet<NodeId>,
    /// Who is not heard by whom.
    one_way: BTreeSet<(NodeId, NodeId)>,
    /// Nothing reaches this host, though it is heard.
    deaf: Option<NodeId>,
    /// Somebody on the path sends datagrams again, late, and to others.
    attack_per_mille: u64,
    loss_per_mille: u64,
    jitter_ms: u64,
    dead_bmcs: BTreeSet<NodeId>,
    /// Hosts whose fence device claims to cut the power and does not.
    lying_bmcs: BTreeSet<NodeId>,
    agents_fail_per_mille: u64,
    agents_slow_per_mille: u64,
    slow_plans_per_mille: u64,
    /// Added to what a fence device takes before and after it switches.
    slow_bmc_ms: u64,
    /// Hosts are up again as soon as they have power.
    fast_boots: bool,
    /// Migrations have a network of their own, which no partition concerns.
    migrates_apart: bool,
    /// With the next migration, its DC and its source are cut off from the others.
    cuts_off_migrations: bool,
    /// They are cut off as soon as the DC sends something that large: its source hears of it.
    cut_off: Option<(NodeId, NodeId)>,
    over: bool,
}

struct World {
    scenario: Scenario,
    cast: resources::Cast,
    rng: luck::Luck,
    now: Instant,
    seq: u64,
    steps: u64,
    queue: BinaryHeap<Reverse<Event>>,
    hosts: BTreeMap<NodeId, Host>,
    names: BTreeMap<NodeId, String>,
    rules: Rules,
    faults: Faults,
    checker: Checker,
    digest: DefaultHasher,
    counts: [u64; 5],
    writes: u64,
    loaded: bool,
    /// When to look next whether anything is left to do, and what was the last time.
    look_at: Instant,
    left: Option<String>,
    /// Nobody changes what is wanted, and agents take the time that they should.
    calm: bool,
    /// What happens now comes of a message that was delivered now.
    delivering: bool,
    /// How long agents take where it is laid down, by resource and action.
    durations: BTreeMap<(String, String), Duration>,
    /// What agents answer without doing anything where that is laid down, by resource and action.
    answers: BTreeMap<(String, String), i32>,
    teller: story::Teller,
}

/// Where the wall clocks stand at the beginning.
pub(crate) const WALL_MS: u64 = 1_700_000_000_000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs a scenario to its end or to the first violation.
pub fn run(scenario: &Scenario) -> Report {
    let mut world = World::new(scenario.clone());
    world.start();
    let heal_at = Instant(0) + ms(3000 + scenario.chaos_ms);
    let end = heal_at + ms(150_000);
    world.schedule(heal_at, What::Heal);
    let mut rested = false;
    while world.checker.violation.is_none() {
        let Some(Reverse(event)) = world.queue.pop() else { break };
        rested = event.at > heal_at + ms(5000) && world.rests();
        if event.at > end || rested {
            break;
        }
        world.now = event.at;
        world.steps += 1;
        let busy = world.steps > STEPS_MAX;
        world.checker.require(!busy, || "the cluster never comes to rest".to_owned());
        world.step(event.what);
    }
    world.finish(rested);
    world.report()
}

impl World {
    fn report(self) -> Report {
        Report {
            violation: self.checker.violation,
            digest: self.digest.finish(),
            counts: self.counts,
        }
    }

    fn new(scenario: Scenario) -> World {
        let names: BTreeMap<NodeId, String> =
            (1..=scenario.nodes).map(|n| (NodeId(n), format!("node{n}"))).collect();
        World {
            cast: resources::Cast::of(scenario.seed),
            rng: luck::Luck::of(scenario.seed),
            now: Instant(0),
            seq: 0,
            steps: 0,
            queue: BinaryHeap::new(),
            hosts: names.keys().map(|id| (*id, Host::new(*id))).collect(),
            checker: Checker::new(rules(&names, scenario.seed)),
            rules: rules(&names, scenario.seed),
            names,
            faults: Faults::default(),
            digest: DefaultHasher::new(),
            counts: [0; 5],
            writes: 0,
            loaded: false,
            look_at: Instant(0),
            left: None,
            calm: false,
            delivering: false,
            durations: BTreeMap::new(),
            answers: BTreeMap::new(),
            teller: story::Teller::default(),
            scenario,
        }
    }

    fn schedule(&mut self, at: Instant, what: What) {
        self.seq += 1;
        self.queue.push(Reverse(Event { at, seq: self.seq, what }));
    }

    fn after(&mut self, low_ms: u64, high_ms: u64, what: What) {
        let delay = self.rng.between(ms(low_ms), ms(high_ms));
        self.schedule(self.now + delay, what);
    }

    fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.scenario.trace {
            println!("{:>9.3} {}", self.now.0 as f64 / 1e9, text());
        }
    }

    fn start(&mut self) {
        for id in self.names.keys().copied().collect::<Vec<_>>() {
            self.set_clock(id);
            self.after(0, 500, What::Boot(id));
        }
        self.schedule(Instant(0) + ms(1500), What::Write);
        self.schedule(Instant(0) + ms(3000), What::Fault);
    }

    fn step(&mut self, what: What) {
        if let Some(resume) = what.host().and_then(|host| self.paused(host)) {
            self.schedule(resume, what);
            return;
        }
        self.delivering = matches!(what, What::Packet { .. });
        match what {
            What::Boot(id) => self.boot(id),
            What::Packet { to, bytes } => {
                let packet = totem::Input::Packet { link: 0, bytes: bytes.to_vec() };
                self.ring(to, |t, now| t.handle(now, packet));
            }
            What::Wake(id) => self.wake(id),
            What::Resubmit(id, life) => {
                if self.alive(id, life) {
                    self.submit_outbox(id);
                }
            }
            What::Persisted { host, life, version, bytes } => {
                if self.alive(host, life) {
                    self.host(host).disk.cib = Some(bytes);
                    self.input(host, Input::Persisted { version });
                }
            }
            What::Planned { host, life, plan, transition } => {
                if self.alive(host, life) {
                    let input = Some(format!("plan-{plan}"));
                    self.input(host, Input::Planned { plan, result: Ok(*transition), input });
                }
            }
            What::AgentDone { host, life, run, fails } => self.agent_done(host, life, run, fails),
            What::AgentKilled { host, life, run } => self.agent_killed(host, life, run),
            What::PowerSwitched { host, life, run, action, target } => {
                self.power_switched(host, life, run, action, target);
            }
            What::FenceDone { host, life, run, action, target } => {
                self.fence_done(host, life, run, &action, target);
            }
            What::Fault => self.fault(),
            What::Cut(id) => self.cut(id),
            What::Heal => self.heal(),
            What::Write => self.write(),
        }
    }

    fn host(&mut self, id: NodeId) -> &mut Host {
        self.hosts.get_mut(&id).expect("every configured node has a host")
    }

    fn alive(&self, id: NodeId, life: u64) -> bool {
        self.hosts[&id].daemon.as_ref().is_some_and(|d| d.life == life)
    }

    /// When a paused host goes on.
    fn paused(&self, id: NodeId) -> Option<Instant> {
        Some(self.hosts[&id].paused_until).filter(|at| *at > self.now)
    }

    fn boot(&mut self, id: NodeId) {
        let (now, names, rules) = (self.now, self.names.clone(), self.rules.clone());
        let host = self.host(id);
        host.power = true;
        if host.daemon.is_some() {
            return;
        }
        host.boot(now, &names, &rules);
        self.checker.booted(id);
        self.trace(|| format!("{id} boots"));
        self.tell(|w| format!("{} starts", w.names[&id]));
        let Some(daemon) = &self.host(id).daemon else { return };
        let attachment = daemon.quorum.attachment();
        self.ring(id, |t, now| {
            t.handle(now, totem::Input::Attach(attachment));
            t.handle(now, totem::Input::Start);
        });
    }

    fn wake(&mut self, id: NodeId) {
        let now = self.now;
        let host = self.host(id);
        if host.wake_at.is_none_or(|at| at > now) {
            return; // an older wake-up
        }
        host.wake_at = None;
        self.ring(id, |t, now| {
            if t.poll_timeout().is_some_and(|at| at <= now) {
                t.handle_timeout(now);
            }
        });
        if let Some(daemon) = &mut self.host(id).daemon
            && daemon.node.poll_timeout().is_some_and(|at| at <= now)
        {
            daemon.node.handle_timeout(now);
        }
        self.drain(id);
    }

    /// A client's change, or an operator's cleaning up once the faults are over.
    fn write(&mut self) {
        let up: Vec<NodeId> =
            self.hosts.values().filter(|h| h.daemon.is_some()).map(|h| h.id).collect();
        if !up.is_empty() && self.writes < 100_000 {
            let at = up[usize::try_from(self.rng.below(up.len() as u64)).unwrap_or(0)];
            self.writes += 1;
            let id = self.writes;
            let who = operator();
            let mut mark = None;
            let request = if self.faults.over && id.is_multiple_of(2) {
                Request::ForgetResource { node: None, resource: None }
            } else if self.faults.over {
                // One after the other, so that none is left out.
                resources::role_of(self.cast, usize::try_from(id / 2).unwrap_or(0), "Started").1
            } else if self.loaded && !self.calm && self.rng.chance(30) {
                self.whim()
            } else if self.loaded && self.rng.chance(100) {
                self.count_something()
            } else if self.loaded {
                let name = format!("mark-{id}");
                self.trace(|| format!("{at} is asked for {name}"));
                mark = Some(name.clone());
                option(&name, "1")
            } else {
                self.loaded = true;
                resources::load(self.cast, &self.names)
            };
            if self.paused(at).is_none() {
                self.checker.asked(id, at, self.now, mark);
                self.input(at, Input::Client { id, who, request });
            }
        }
        let pause = if self.faults.over { 5_000 } else { 200 };
        self.after(pause / 2, pause, What::Write);
    }

    /// All nodes are together, and everything runs where it should.
    fn is_well(&self) -> bool {
        let all = self.names.len();
        let together = self
            .hosts
            .values()
            .all(|h| h.daemon.as_ref().is_some_and(|d| d.view.members.len() == all));
        let homes = |r: &str| self.checker.active(r);
        together
            && self.cast.once().all(|r| homes(r).len() == 1)
            && self.cast.cloned().all(|r| homes(r).len() == all)
            && homes("shop-fs") == homes("shop-app")
            && homes("shop-vip") == homes("shop-app")
    }

    /// What the policy engine would still do, though nothing is under way.
    fn left_to_do(&self) -> Option<String> {
        if self.hosts.values().any(|host| !host.running.is_empty()) {
            return Some("agents are running".to_owned());
        }
        let agrees = |host: &&Host| {
            let node = host.daemon.as_ref().map(|daemon| &daemon.node);
            node.is_none_or(|node| node.is_synced() && node.attributes().agreed().is_some())
        };
        if let Some(host) = self.hosts.values().find(|host| !agrees(host)) {
            return Some(format!("node {} has not compared what it has", host.id));
        }
        let host = self.hosts.values().find(|host| host.daemon.is_some())?;
        let node = host.daemon.as_ref()?;
        let now_s = (host.clock + self.now.since(Instant(0))).as_secs();
        let now = Time::from_epoch(i64::try_from(now_s).unwrap_or(0));
        let flags = PlanFlags { under_way: true, ..PlanFlags::default() };
        let plan =
            crm_scheduler::schedule(&Arc::new(node.node.cib().clone()), now, flags, 0).transition;
        let actions = plan.synapses.iter().map(|s| &s.action);
        let real = actions.filter(|a| a.kind != crm_graph::ActionKind::Pseudo);
        let words: Vec<String> =
            real.map(|a| format!("{}@{}", a.key, a.on_node.as_deref().unwrap_or("-"))).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Whether all is well and nothing is left to do. Looked at now and then only: agents that
    /// monitor come and go.
    fn rests(&mut self) -> bool {
        if self.now < self.look_at || !self.is_well() {
            return false;
        }
        self.look_at = self.now + ms(50);
        self.left = self.left_to_do();
        self.left.is_none()
    }

    fn finish(&mut self, rested: bool) {
        if self.checker.violation.is_some() {
            return;
        }
        let well = self.is_well();
        let places: Vec<String> = self.places();
        self.checker.require(well, || {
            format!("invariant 5: after the faults not everything runs: {}", places.join(", "))
        });
        let left = self.left.take().unwrap_or_default();
        self.checker.require(rested, || format!("it never comes to rest, left to do: {left}"));
        self.checker.due(self.now);
        for host in self.hosts.values() {
            if let Some(daemon) = &host.daemon {
                self.checker.complete(host.id, daemon.node.cib().root());
                let agreed = daemon.node.attributes().agreed().is_some();
                self.checker.require(agreed, || {
                    format!("the node attributes of node {} were never compared", host.id)
                });
            }
        }
    }

    fn places(&self) -> Vec<String> {
        let all = self.cast.once().chain(self.cast.cloned());
        all.map(|r| format!("{r} on {:?}", self.checker.active(r))).collect()
    }
}

/// How votes are counted: two nodes as `two_node` has it; more of them now and then with unequal
/// votes, and of an even number always with a tie breaker.
fn rules(names: &BTreeMap<NodeId, String>, seed: u64) -> Rules {
    let heavy = names.len() > 2 && seed.is_multiple_of(4);
    let weight = |id: NodeId| if heavy && id == NodeId(1) { names.len() as u32 - 2 } else { 1 };
    let votes: BTreeMap<NodeId, u32> = names.keys().map(|id| (*id, weight(*id))).collect();
    let expected_votes: u32 = votes.values().sum();
    let two_node = names.len() == 2;
    Rules {
        enabled: true,
        me: NodeId(1),
        expected_votes,
        two_node,
        wait_for_all: two_node || seed.is_multiple_of(5),
        tie_breaker: (!two_node && expected_votes.is_multiple_of(2)).then_some(TieBreaker::Lowest),
        last_man_standing: None,
        votes,
    }
}

fn operator() -> Who {
    let (user, client) = ("root".to_owned(), "sim".to_owned());
    Who { user, client, ..Who::default() }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// Sets a cluster option.
fn option(name: &str, value: &str) -> Request {
    let xml = format!(
        "<crm_config><cluster_property_set id=\"marks\"><nvpair id=\"{name}\" name=\"{name}\" \
         value=\"{value}\"/></cluster_property_set></crm_config>"
    );
    let target = Target::Section("crm_config".to_owned());
    let operation = Operation::Modify { target, xml, allow_create: true, score: false };
    Request::Cib { operation, force: false }
}
