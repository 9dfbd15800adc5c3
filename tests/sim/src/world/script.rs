//! Runs in which what happens is laid down, and how soon the cluster has to be done with it.

use crm_api::Request;
use crm_node::Input;
use membership_base::{Instant, NodeId};

use super::{Report, Reverse, Scenario, What, World, ms, operator, option, resources};

/// How long the start takes that must not hold up anything.
const SLOW_MS: u64 = 60_000;

/// How often a node loses its power for a moment.
const OUTAGES: u32 = 3;

/// Which wish of an operator is about `db`.
const DB: usize = 2;

/// While `web` takes a minute to start, `vip` dies, and then the node that `vip` is on: each time
/// it is back long before `web` is. All the while clients change the configuration.
pub fn slow_start(scenario: &Scenario) -> Report {
    let mut world = World::started(scenario);
    if world.checker.violation.is_none() {
        world.slow_start();
    }
    world.report()
}

/// For some seconds everything dies wherever it runs, and neither stops nor starts: all nodes have
/// to be fenced, the DC among them. When that is over, and an operator has cleaned up, everything
/// runs, on all nodes.
pub fn all_stops_fail(scenario: &Scenario) -> Report {
    let mut world = World::started(scenario);
    world.faults.agents_fail_per_mille = 1000;
    world.until(16_000);
    world.faults.agents_fail_per_mille = 0;
    world.until(70_000);
    let request = Request::ForgetResource { node: None, resource: None };
    let up = world.hosts.values().find(|host| host.daemon.is_some()).map(|host| host.id);
    if let Some(id) = up {
        world.input(id, Input::Client { id: 0, who: operator(), request });
    }
    world.until(85_000);
    let (well, places) = (world.is_well(), world.places());
    let on = world.hosts.values().filter(|host| host.power).count();
    world.checker.require(well, || format!("{on} hosts are on; {}", places.join(", ")));
    world.report()
}

/// A node loses its power for a moment, again and again, and is back before its fence device, which
/// is slow, has cut the power for it. Boots are fast.
pub fn short_outages(scenario: &Scenario) -> Report {
    let mut world = World::started(scenario);
    world.faults.slow_bmc_ms = 1000;
    world.faults.fast_boots = true;
    for nth in 0..OUTAGES {
        let id = NodeId(1 + nth % scenario.nodes);
        world.checker.fault();
        world.cut_power(id);
        world.after(500, 700, What::Boot(id));
        let now_ms = world.now.as_millis();
        world.until(now_ms + 40_000);
        let (well, places) = (world.is_well(), world.places());
        world.checker.require(well, || format!("after outage {nth}: {}", places.join(", ")));
    }
    // Each may cost the life that its fence hits, and hardly ever one more.
    let fences = world.counts[2];
    world
        .checker
        .require(fences <= OUTAGES.into(), || format!("{fences} fences for {OUTAGES} outages"));
    world.report()
}

/// The DC has `db` migrated, and is cut off together with its source just then, on a network that
/// migrations do not need: the others, who are the majority, may not have heard of it. They fence
/// both, and start `db` on yet another node.
pub fn cut_off_migration(scenario: &Scenario) -> Report {
    let mut world = World::started(scenario);
    world.faults.migrates_apart = true;
    world.faults.slow_bmc_ms = 2000;
    let dc = world.hosts[&NodeId(1)].daemon.as_ref().and_then(|daemon| {
        let id = daemon.node.cib().root().attr("dc-uuid")?.parse().ok()?;
        Some(NodeId(id))
    });
    let others = |world: &World, busy: &[NodeId]| -> Vec<NodeId> {
        world.names.keys().copied().filter(|id| !busy.contains(id)).collect()
    };
    let dc = dc.unwrap_or_default();
    // The DC is not the source.
    if world.home("db") == dc {
        let to = others(&world, &[dc]).first().copied().unwrap_or_default();
        world.ask_for(dc, resources::move_to(world.cast, DB, to.0.into()).1);
        world.until(12_000);
    }
    let home = world.home("db");
    let free = others(&world, &[dc, home]);
    let [target, other, ..] = free[..] else { return world.report() };
    world.faults.cuts_off_migrations = true;
    world.ask_for(dc, resources::move_to(world.cast, DB, target.0.into()).1);
    // The others are together, and the fences have not ended, when they are told where it belongs.
    let now_ms = world.now.as_millis();
    world.until(now_ms + 1000);
    world.ask_for(target, resources::move_to(world.cast, DB, other.0.into()).1);
    world.until(25_000);
    world.faults.side.clear();
    world.until(45_000);
    let (well, places) = (world.is_well(), world.places());
    world.checker.require(well, || format!("after the partition: {}", places.join(", ")));
    world.report()
}

/// `vip` dies wherever it runs, and can be stopped nowhere: after two fences it is blocked where it
/// is then, with the reason, and all that it costs is `vip`. Once it is repaired and cleaned up,
/// everything runs.
pub fn one_stop_fails_everywhere(scenario: &Scenario) -> Report {
    let mut world = World::started(scenario);
    world.answers.insert(("vip".to_owned(), "stop".to_owned()), crm_executor::code::ERROR);
    for at_s in 2..=14 {
        let home = world.home("vip");
        world.checker.stopped("vip", home);
        world.until(at_s * 8_000);
    }
    let fences = world.counts[2];
    world.checker.require(fences == 2, || format!("{fences} nodes were fenced for vip"));
    let said = world.hosts.values().filter_map(|host| host.daemon.as_ref()).all(|daemon| {
        let cib = daemon.node.cib();
        let told = cib.root().descendants().filter_map(|node| node.attr("exit-reason"));
        told.into_iter().any(|reason| reason.contains("2 nodes were fenced because vip failed"))
    });
    world.checker.require(said, || "nobody says why vip is blocked".to_owned());
    world.answers.clear();
    let request = Request::ForgetResource { node: None, resource: Some("vip".to_owned()) };
    world.input(NodeId(1), Input::Client { id: 0, who: operator(), request });
    world.until(125_000);
    let (well, places) = (world.is_well(), world.places());
    world.checker.require(well, || format!("after the repair: {}", places.join(", ")));
    world.report()
}

/// The agent of `web` refuses its parameters whatever it is asked for, from the beginning: nobody
/// is fenced, and everything else runs.
pub fn refused_everywhere(scenario: &Scenario) -> Report {
    let mut world = World::new(scenario.clone());
    for action in ["monitor", "start", "stop"] {
        let refused = crm_executor::code::NOT_CONFIGURED;
        world.answers.insert(("web".to_owned(), action.to_owned()), refused);
    }
    world.boot_all();
    world.until(30_000);
    let fences = world.counts[2];
    world.checker.require(fences == 0, || format!("{fences} nodes were fenced for web"));
    let others: Vec<&str> = world.cast.once().filter(|id| *id != "web").collect();
    for id in others {
        let up = world.checker.active(id).len() == 1;
        world.checker.require(up, || format!("{id} does not run"));
    }
    world.report()
}

/// A stop fails, and the device of the node that is to be fenced for it says that it has cut the
/// power, and has not. The node hears of it: it stops all that it runs, or restarts its host if it is
/// told to, and is a member again once it was started again.
pub fn fence_that_does_nothing(scenario: &Scenario, reaction: &str) -> Report {
    let mut world = World::started(scenario);
    let request = option("fence-reaction", reaction);
    world.input(NodeId(1), Input::Client { id: 0, who: operator(), request });
    world.until(12_000);
    let home = world.home("vip");
    world.faults.lying_bmcs.insert(home);
    world.answers.insert(("vip".to_owned(), "stop".to_owned()), crm_executor::code::ERROR);
    world.checker.stopped("vip", home);
    for step in 0..100 {
        world.until(12_000 + step * 50);
        if world.counts[2] > 0 {
            world.answers.clear();
        }
    }
    let fences = world.counts[2];
    world.checker.require(fences == 1, || format!("node {home} was fenced {fences} times"));
    world.until(20_000);
    let quiet = world.cast.once().all(|id| world.checker.active(id).len() < 2);
    let places = world.places();
    world.checker.require(quiet, || format!("node {home} goes on: {places:?}"));
    let restarted = world.hosts[&home].outages > 0;
    world.checker.require(restarted == (reaction == "panic"), || format!("restarted: {restarted}"));
    world.until(60_000);
    let request = Request::ForgetResource { node: None, resource: None };
    world.input(NodeId(1), Input::Client { id: 0, who: operator(), request });
    world.until(80_000);
    let (well, places) = (world.is_well(), world.places());
    world.checker.require(well, || format!("in the end: {}", places.join(", ")));
    world.report()
}

impl World {
    /// An operator who does not wait for the answer.
    fn ask_for(&mut self, at: NodeId, request: Request) {
        self.input(at, Input::Client { id: 0, who: operator(), request });
    }

    fn boot_all(&mut self) {
        for id in self.names.keys().copied().collect::<Vec<_>>() {
            self.after(0, 500, What::Boot(id));
        }
        self.schedule(Instant(0) + ms(1500), What::Write);
        self.calm = true;
    }

    /// A cluster that has started.
    fn started(scenario: &Scenario) -> World {
        let mut world = World::new(scenario.clone());
        world.boot_all();
        world.until(10_000);
        world.checker.require(world.is_well(), || "the cluster did not start".to_owned());
        world
    }

    /// Goes on until that time, in milliseconds, or to the first violation.
    pub(super) fn until(&mut self, at_ms: u64) {
        let end = Instant(0) + ms(at_ms);
        while self.checker.violation.is_none() {
            let Some(Reverse(event)) = self.queue.pop() else { break };
            if event.at > end {
                self.queue.push(Reverse(event));
                break;
            }
            self.now = event.at;
            self.step(event.what);
        }
        self.now = self.now.max(end);
    }

    fn home(&self, resource: &str) -> NodeId {
        self.checker.active(resource).first().copied().unwrap_or_default()
    }

    fn starts_web(&self) -> Option<NodeId> {
        let starts = |r: &super::agents::Run| r.resource == "web" && r.action == "start";
        self.hosts.values().find(|h| h.running.values().any(starts)).map(|h| h.id)
    }

    fn slow_start(&mut self) {
        self.durations.insert(("web".to_owned(), "start".to_owned()), ms(SLOW_MS));
        let home = self.home("web");
        self.checker.stopped("web", home);
        self.until(14_000);
        let starting = self.starts_web();
        self.checker.require(starting.is_some(), || "web is not being started".to_owned());

        let home = self.home("vip");
        self.trace(|| format!("vip dies on {home}"));
        self.checker.stopped("vip", home);
        self.until(17_000);
        self.expect_vip("when it died");

        let home = self.home("vip");
        if Some(home) != starting && self.checker.violation.is_none() {
            self.cut_power(home);
            self.until(22_000);
            self.expect_vip("when its node lost power");
            self.schedule(self.now, What::Boot(home));
        }
        // What web depends on may have moved with the node: then it starts once more.
        self.durations.clear();
        self.until(14_000 + SLOW_MS + 10_000);
        let well = self.is_well();
        let state = self.places();
        self.checker.require(well, || format!("in the end not all is well: {}", state.join(", ")));
    }

    fn expect_vip(&mut self, when: &str) {
        let (up, slow) = (self.checker.active("vip").len() == 1, self.starts_web().is_some());
        self.checker.require(slow, || format!("the start of web was over {when}"));
        self.checker.require(up, || format!("vip was held up by the start of web {when}"));
    }
}
