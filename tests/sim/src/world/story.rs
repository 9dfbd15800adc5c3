//! Stories: what happens to a cluster, written down line by line, and what it does, told line by
//! line.
//!
//! A story begins with what it is about and a cluster: `nodes COUNT` (3 unless said otherwise),
//! `votes NODE COUNT`, `wait-for-all`, `with shop|net|pg` (more resources than `vip`, `temp`, `db`
//! and `web`, which starts after `db`; see `resources.rs`), `option NAME=VALUE`. Its steps begin
//! when that cluster is up and has nothing to do:
//!
//! - `at SECONDSs STEP`: what happens then, see [`World::step_of`]; from the last step on time goes
//!   on to the next one
//! - `at SECONDSs expect CLAIM`: what must be true then, see [`World::claim`]
//!
//! Nothing is left to chance, so the same story is told alike as long as the machines do the same.

use std::collections::BTreeSet;

use cib_store::{Operation, Target};
use crm_api::{Request, Response};
use crm_executor::code;
use crm_node::Input;
use membership_base::{Instant, NodeId};

use super::luck::Luck;
use super::resources::{self, Cast};
use super::{PROMOTED, Scenario, What, World, ms, operator, option};
use crate::check::Checker;

/// When a story begins: the cluster has come up by then.
const BEGIN_MS: u64 = 12_000;

/// How a story went.
pub struct Told {
    /// Each step, and what happened from there to the next one.
    pub log: String,
    /// Expectations that were not met, and invariants that were violated.
    pub wrong: Vec<String>,
}

/// What is told of a run: only of stories anything is.
#[derive(Default)]
pub(super) struct Teller {
    on: bool,
    lines: Vec<String>,
    /// What nodes have said, in words.
    said: Vec<String>,
    /// Memberships that were told of.
    views: BTreeSet<(u64, Vec<NodeId>, bool)>,
    /// Nodes whose fence fails: that is told once, not each time that it is tried.
    unfenceable: BTreeSet<NodeId>,
    /// The operator's last request, by its number.
    asked: u64,
    /// What came of it.
    answer: Option<Result<(), String>>,
    wrong: Vec<String>,
    /// Nobody fences: what has lost its power is down.
    unfenced: bool,
}

/// Plays a story.
///
/// # Panics
///
/// If a line means nothing.
#[must_use]
pub fn play(story: &str) -> Told {
    let lines = || story.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let (steps, header): (Vec<&str>, Vec<&str>) = lines().partition(|l| l.starts_with("at "));
    let mut world = World::of_story(&header);
    for line in steps {
        let (at, step) = line["at ".len()..].split_once(' ').expect("a step has a time");
        let seconds: f64 = at.trim_end_matches('s').parse().expect("a time is a number");
        world.until(BEGIN_MS + (seconds * 1000.0) as u64);
        world.teller.lines.push(format!("> {line}"));
        match step.strip_prefix("expect ") {
            Some(claim) => world.expect(claim),
            None => world.step_of(step),
        }
    }
    let Teller { lines, mut wrong, .. } = world.teller;
    wrong.extend(world.checker.violation);
    Told { log: lines.join("\n") + "\n", wrong }
}

fn pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or_else(|| panic!("{text} is not a pair"))
}

fn modify(section: &str, xml: String) -> Request {
    let target = Target::Section(section.to_owned());
    let operation = Operation::Modify { target, xml, allow_create: true, score: false };
    Request::Cib { operation, force: false }
}

/// A resource as the element that it is part of, with an option.
fn meta(id: &str, name: &str, value: &str) -> Request {
    let element = match id {
        "shop" => "group",
        _ if id.ends_with("-clone") => "clone",
        _ => "primitive",
    };
    let xml = format!(
        "<resources><{element} id=\"{id}\"><meta_attributes id=\"{id}-meta\"><nvpair \
         id=\"{id}-{name}\" name=\"{name}\" value=\"{value}\"/></meta_attributes></{element}>\
         </resources>"
    );
    modify("resources", xml)
}

fn location(kind: &str, resource: &str, role: &str, (node, score): (&str, &str)) -> Request {
    let xml = format!(
        "<constraints><rsc_location id=\"{kind}-{resource}\" rsc=\"{resource}\" {role}\
         node=\"{node}\" score=\"{score}\"/></constraints>"
    );
    modify("constraints", xml)
}

/// An attribute of a node.
fn attribute(id: NodeId, node: &str, (name, value): (&str, &str)) -> Request {
    let xml = format!(
        "<nodes><node id=\"{id}\" uname=\"{node}\"><instance_attributes id=\"nodes-{id}\"><nvpair \
         id=\"nodes-{id}-{name}\" name=\"{name}\" value=\"{value}\"/></instance_attributes></node>\
         </nodes>"
    );
    modify("nodes", xml)
}

impl World {
    /// A cluster that is up, with nothing left to do.
    fn of_story(header: &[&str]) -> World {
        let words = |line: &&str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let header: Vec<Vec<String>> = header.iter().map(words).collect();
        let find = |word: &str| {
            let own = header.iter().filter(|line| line[0] == word);
            own.map(|line| line[1..].iter().map(String::as_str).collect())
                .collect::<Vec<Vec<&str>>>()
        };
        let known = ["nodes", "votes", "wait-for-all", "with", "option"];
        let strange = header.iter().find(|line| !known.contains(&line[0].as_str()));
        assert!(strange.is_none(), "what is {strange:?}?");
        let nodes = find("nodes").first().map_or(3, |n| n[0].parse().expect("a number of nodes"));
        let mut world = World::new(Scenario { nodes, seed: 1, chaos_ms: 0, trace: false });
        world.rng = Luck::of(1);
        world.rng.hold();
        world.cast = Cast::with(&find("with").concat());
        world.teller.on = true;
        for vote in find("votes") {
            let id = world.named(vote[0]);
            world.rules.votes.insert(id, vote[1].parse().expect("a number of votes"));
        }
        world.rules.expected_votes = world.rules.votes.values().sum();
        world.rules.wait_for_all |= !find("wait-for-all").is_empty();
        world.checker = Checker::new(world.rules.clone());
        world.calm = true;
        for id in world.names.keys().copied().collect::<Vec<_>>() {
            world.schedule(Instant(0), What::Boot(id));
        }
        world.until(1_500);
        world.ask(NodeId(1), resources::load(world.cast, &world.names.clone()), None);
        world.until(2_000);
        for pairs in find("option") {
            let (name, value) = pair(pairs[0]);
            world.teller.unfenced |= (name, value) == ("stonith-enabled", "false");
            world.ask(NodeId(1), option(name, value), None);
        }
        world.until(BEGIN_MS);
        let well = world.is_well();
        world.checker.require(well, || "the cluster did not start".to_owned());
        world.teller.lines.clear();
        world.counts = [0; 5];
        world
    }

    /// Adds to what is told, but for what was told just now.
    pub(super) fn tell(&mut self, text: impl FnOnce(&World) -> String) {
        if self.teller.on {
            let line = format!("  {}", text(self));
            if self.teller.lines.last() != Some(&line) {
                self.teller.lines.push(line);
            }
        }
    }

    /// A fence is tried.
    pub(super) fn tell_fence(&mut self, id: NodeId, target: NodeId, action: &str) {
        if !self.teller.unfenceable.contains(&target) {
            self.tell(|w| format!("{} has {} fenced: {action}", w.names[&id], w.names[&target]));
        }
    }

    /// A fence has failed or has been confirmed.
    pub(super) fn tell_fenced(&mut self, target: NodeId, confirmed: Option<&str>) {
        let name = self.names.get(&target).cloned().unwrap_or_default();
        if let Some(action) = confirmed {
            self.teller.unfenceable.remove(&target);
            self.tell(|_| format!("the fence device of {name} confirms: {action}"));
        } else if self.teller.unfenceable.insert(target) {
            self.tell(|_| format!("the fence device of {name} does not answer, again and again"));
        }
    }

    /// A node has said something for people.
    pub(super) fn heard(&mut self, id: NodeId, text: &str) {
        if self.teller.on {
            self.teller.said.push(format!("{}: {text}", self.names[&id]));
        }
    }

    /// A membership is told of once, not once for each member.
    pub(super) fn tell_view(&mut self, id: NodeId) {
        let Some(view) = self.hosts[&id].daemon.as_ref().map(|d| d.view.clone()) else { return };
        let quorate = view.quorate;
        if self.teller.on && self.teller.views.insert((view.id, view.members.clone(), quorate)) {
            let names: Vec<&str> = view.members.iter().map(|id| &*self.names[id]).collect();
            let quorum = if quorate { "quorate" } else { "without quorum" };
            let names = names.join(" ");
            self.tell(|_| format!("membership: {names}, {quorum}"));
        }
    }

    /// The operator's last request was answered.
    pub(super) fn answered(&mut self, client: u64, response: &Response) {
        let own = client == self.teller.asked && !matches!(response, Response::Event(_));
        if !self.teller.on || !own {
            return;
        }
        let answer = match response {
            Response::Failed { reason, .. } => Err(reason.clone()),
            _ => Ok(()),
        };
        let text = match &answer {
            Ok(()) => "the operator is told that it is done".to_owned(),
            Err(reason) => format!("the operator is refused: {reason}"),
        };
        self.teller.answer = Some(answer);
        self.tell(|_| text);
    }

    fn named(&self, name: &str) -> NodeId {
        let found = self.names.iter().find(|(_, known)| *known == name);
        *found.unwrap_or_else(|| panic!("{name} is not a node")).0
    }

    fn ask(&mut self, id: NodeId, request: Request, mark: Option<String>) {
        self.teller.answer = None;
        self.writes += 1;
        let client = self.writes;
        self.teller.asked = client;
        self.checker.asked(client, id, self.now, mark);
        self.input(id, Input::Client { id: client, who: operator(), request });
    }

    fn boot_named(&mut self, id: NodeId) {
        let takes = ms(1000);
        self.schedule(self.now + takes, What::Boot(id));
    }

    /// What a step does.
    fn step_of(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        self.checker.fault();
        match words[..] {
            ["power", "off", ref names @ ..] => {
                for id in names.iter().map(|name| self.named(name)).collect::<Vec<_>>() {
                    self.cut_power(id);
                    if self.teller.unfenced {
                        self.checker.fenced(id);
                    }
                }
            }
            ["power", "on", ref names @ ..] => {
                names.iter().for_each(|name| self.boot_named(self.named(name)));
            }
            ["kill", "daemon", "on", name] => self.kill_daemon(self.named(name)),
            ["start", "daemon", "on", name] => self.boot_named(self.named(name)),
            ["shut", "down", name] => self.input(self.named(name), Input::Shutdown),
            ["pause", name, "for", time] => {
                let seconds: u64 = time.trim_end_matches('s').parse().expect("a duration");
                let (id, until) = (self.named(name), self.now + ms(seconds * 1000));
                self.host(id).paused_until = until;
            }
            ["partition", ref sides @ ..] => {
                let side = sides.iter().take_while(|word| **word != "|");
                self.faults.side = side.map(|name| self.named(name)).collect();
            }
            ["heal"] => self.faults.side.clear(),
            [name, "hears", "nothing"] => self.faults.deaf = Some(self.named(name)),
            [_, "hears", "again"] => self.faults.deaf = None,
            [name, "fence", "device", "fails"] => {
                _ = self.faults.dead_bmcs.insert(self.named(name))
            }
            [name, "fence", "device", "works"] => {
                _ = self.faults.dead_bmcs.remove(&self.named(name))
            }
            ["fence", "devices", "take", time] => {
                let seconds: u64 = time.trim_end_matches('s').parse().expect("a duration");
                self.faults.slow_bmc_ms = seconds * 1000;
            }
            ["on", name, ref words @ ..] => self.operator_on(self.named(name), words),
            [resource, ref words @ ..] => self.happens_to(resource, words),
            [] => panic!("a step says nothing"),
        }
    }

    /// What happens to a resource, or is the matter with its agent.
    fn happens_to(&mut self, resource: &str, words: &[&str]) {
        let key = |action: &str| (resource.to_owned(), action.to_owned());
        match *words {
            ["dies"] => {
                let homes = self.checker.active(resource);
                homes.into_iter().for_each(|home| self.is_gone(home, resource));
            }
            ["dies", "on", name] => self.is_gone(self.named(name), resource),
            ["cannot", action] => _ = self.answers.insert(key(action), code::ERROR),
            ["refuses", action] => _ = self.answers.insert(key(action), code::NOT_CONFIGURED),
            ["can", action, "again"] => _ = self.answers.remove(&key(action)),
            [action, "takes", time] => {
                let seconds: u64 = time.trim_end_matches('s').parse().expect("a duration");
                self.durations.insert(key(action), ms(seconds * 1000));
            }
            _ => panic!("what happens to {resource}: {words:?}?"),
        }
    }

    /// What an operator asks a node for.
    fn operator_on(&mut self, id: NodeId, words: &[&str]) {
        let mut mark = None;
        let request = match *words {
            ["set", text] => {
                let (name, value) = pair(text);
                option(name, value)
            }
            ["stop", resource] => meta(resource, "target-role", "Stopped"),
            ["start", resource] => meta(resource, "target-role", "Started"),
            ["set", resource, text] => {
                let (name, value) = pair(text);
                meta(resource, name, value)
            }
            ["move", resource, "to", node] => location("move", resource, "", (node, "INFINITY")),
            ["promote", resource, "on", node] => {
                let clone = format!("{resource}-clone");
                location("promote", &clone, "role=\"Promoted\" ", (node, "1000"))
            }
            ["node", node, text] => attribute(self.named(node), node, pair(text)),
            ["remove", resource] => {
                let target = Target::Section("resources".to_owned());
                let xml = Some(format!("<primitive id=\"{resource}\"/>"));
                Request::Cib { operation: Operation::Delete { target, xml }, force: false }
            }
            ["clean", "up", resource] => {
                Request::ForgetResource { node: None, resource: Some(resource.to_owned()) }
            }
            ["fence", node] => Request::Fence {
                target: node.to_owned(),
                action: "reboot".to_owned(),
                timeout_ms: 60_000,
            },
            ["confirm", node, "is", "down"] => {
                let target = self.named(node);
                self.checker.fenced(target);
                Request::ConfirmFenced { target: node.to_owned() }
            }
            ["write", name] => {
                mark = Some(name.to_owned());
                option(name, "1")
            }
            _ => panic!("what is the operator to do: {words:?}?"),
        };
        self.ask(id, request, mark);
    }

    fn expect(&mut self, claim: &str) {
        let verdict = match self.claim(claim) {
            Ok(()) => "  so it is".to_owned(),
            Err(is) => {
                self.teller.wrong.push(format!("expected {claim}: {is}"));
                format!("  WRONG: {is}")
            }
        };
        self.teller.lines.push(verdict);
    }

    /// Whether something is true, or what is.
    fn claim(&self, claim: &str) -> Result<(), String> {
        let words: Vec<&str> = claim.split_whitespace().collect();
        let daemon = |name: &str| self.hosts[&self.named(name)].daemon.as_ref();
        let is = |holds: bool, is: String| if holds { Ok(()) } else { Err(is) };
        let places = self.places().join(", ");
        match words[..] {
            ["all", "well"] => is(self.is_well(), places),
            ["pg", "promoted", "on", ref names @ ..] => self.is_active_on(PROMOTED, names),
            ["pg", "promoted", "nowhere"] => self.is_active_on(PROMOTED, &[]),
            ["nothing", "left", "to", "do"] => {
                let left = self.left_to_do();
                is(left.is_none(), left.clone().unwrap_or_default())
            }
            [count, "fence" | "fences"] => {
                let fences = self.counts[2].to_string();
                is(fences == count, format!("{fences} fences"))
            }
            ["refused", ref text @ ..] => match &self.teller.answer {
                Some(Err(reason)) => is(reason.contains(&text.join(" ")), reason.clone()),
                other => Err(format!("the answer is {other:?}")),
            },
            ["done"] => is(self.teller.answer == Some(Ok(())), format!("{:?}", self.teller.answer)),
            ["no", "answer"] => {
                is(self.teller.answer.is_none(), format!("{:?}", self.teller.answer))
            }
            ["said", ref text @ ..] => {
                let text = text.join(" ");
                let said = self.teller.said.iter().any(|line| line.contains(&text));
                is(said, format!("said was\n{}", self.teller.said.join("\n")))
            }
            [mark, "written", "on", ref names @ ..] => self.is_written(mark, names),
            [name, "up"] => is(daemon(name).is_some(), "it is down".to_owned()),
            [name, "down"] => is(daemon(name).is_none(), "it is up".to_owned()),
            [name, "quorate"] => {
                is(daemon(name).is_some_and(|d| d.view.quorate), "it has no quorum".to_owned())
            }
            [name, "without", "quorum"] => {
                is(daemon(name).is_some_and(|d| !d.view.quorate), "it has quorum".to_owned())
            }
            [resource, "running"] => {
                let count = self.checker.active(resource).len();
                is(count == 1, format!("it is active {count} times"))
            }
            [resource, "stopped"] => self.is_active_on(resource, &[]),
            [resource, "on", ref names @ ..] => self.is_active_on(resource, names),
            _ => panic!("what is 'expect {claim}'?"),
        }
    }

    fn is_active_on(&self, resource: &str, names: &[&str]) -> Result<(), String> {
        let homes = self.checker.active(resource);
        let homes: Vec<&str> = homes.iter().map(|id| &*self.names[id]).collect();
        if homes == names { Ok(()) } else { Err(format!("{resource} is on {homes:?}")) }
    }

    /// Whether just these nodes have a change of the configuration.
    fn is_written(&self, mark: &str, names: &[&str]) -> Result<(), String> {
        let has = |cib: cib_xml::Node<'_>| cib.descendants().any(|n| n.attr("id") == Some(mark));
        let hosts = self.hosts.values().filter(|host| {
            host.daemon.as_ref().is_some_and(|daemon| has(daemon.node.cib().root()))
        });
        let there: Vec<&str> = hosts.map(|host| &*self.names[&host.id]).collect();
        if there == names { Ok(()) } else { Err(format!("{mark} is on {there:?}")) }
    }
}
