//! Three nodes' machines over a perfect ring: who becomes the DC, what is carried out, what is
//! fenced. Plans are made by hand here; agents and devices answer at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crm_api::secret::{Change, Place, Secret};
use crm_api::{EventKind, Request, Response};
use crm_executor::Outcome;
use crm_graph::{Action, ActionKind, Resource, Synapse, Transition};
use crm_node::{Effect, Input, Node, Setup};
use membership_base::{Delivered, Instant, NodeId, View};

type Planner = fn(&cib_xml::Doc, u32) -> Transition;

struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    /// What each node still has to hear, in the ring's order.
    rings: BTreeMap<NodeId, VecDeque<Delivered>>,
    views: BTreeMap<NodeId, View>,
    view_count: u64,
    now: u64,
    planner: Planner,
    log: Vec<String>,
    replies: Vec<(NodeId, Response)>,
    planned: usize,
    fence_works: bool,
    /// The time that the last plan was made for, in seconds since the epoch.
    planned_for: u64,
    /// A node on which secrets cannot be kept, and one on which that takes for ever.
    disk_full: Option<NodeId>,
    disk_hangs: Option<NodeId>,
    encrypted: bool,
    /// What is on each node's disk, also while it is down.
    kept: BTreeMap<NodeId, BTreeMap<Place, (u64, Change)>>,
}

fn names() -> BTreeMap<NodeId, String> {
    (1..=3).map(|n| (NodeId(n), format!("n{n}"))).collect()
}

impl Cluster {
    fn new(planner: Planner) -> Cluster {
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            rings: BTreeMap::new(),
            views: BTreeMap::new(),
            view_count: 0,
            now: 0,
            planner,
            log: Vec::new(),
            replies: Vec::new(),
            planned: 0,
            fence_works: true,
            planned_for: 0,
            disk_full: None,
            disk_hangs: None,
            encrypted: true,
            kept: BTreeMap::new(),
        };
        (1..=3).for_each(|n| cluster.boot(n));
        cluster
    }

    fn boot(&mut self, n: u32) {
        let setup = Setup {
            local: NodeId(n),
            nodes: names(),
            votes: names().keys().map(|id| (*id, 1)).collect(),
            cluster: "test".into(),
            life: membership_base::Incarnation(self.now + u64::from(n)),
            encrypted: self.encrypted,
            wall_ms: 1_700_000_000_000,
            cib: cib_store::empty_cib(),
            started: BTreeMap::new(),
            version: "0".into(),
        };
        self.nodes.insert(NodeId(n), Node::new(setup));
        self.rings.insert(NodeId(n), VecDeque::new());
    }

    fn now(&self) -> Instant {
        Instant(self.now * 1_000_000)
    }

    fn view(&mut self, members: &[u32]) {
        self.view_count += 1;
        let members: Vec<NodeId> = members.iter().map(|n| NodeId(*n)).collect();
        for id in &members {
            let before = self.views.get(id).cloned().unwrap_or_default();
            let came_with_us = members
                .iter()
                .filter(|m| *m == id || before.members.contains(m))
                .copied()
                .collect();
            let view = View {
                id: self.view_count,
                members: members.clone(),
                quorate: members.len() > 1,
                exclusive: members.len() > 1,
                came_with_us,
                met: Vec::new(),
            };
            self.views.insert(*id, view.clone());
            self.input(*id, Input::View(view));
        }
    }

    fn crash(&mut self, n: u32) {
        self.nodes.remove(&NodeId(n));
        self.rings.remove(&NodeId(n));
        self.views.remove(&NodeId(n));
    }

    fn input(&mut self, id: NodeId, input: Input) {
        let now = self.now();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handle(now, input);
        }
        self.carry_out(id);
    }

    fn carry_out(&mut self, id: NodeId) {
        while let Some(effect) = self.nodes.get_mut(&id).and_then(Node::poll_effect) {
            match effect {
                Effect::Send { bytes, .. } => {
                    for member in self.views[&id].members.clone() {
                        let delivered = Delivered { sender: id, bytes: bytes.clone() };
                        if let Some(ring) = self.rings.get_mut(&member) {
                            ring.push_back(delivered);
                        }
                    }
                }
                Effect::Persist { version, .. } => self.input(id, Input::Persisted { version }),
                Effect::RunAgent { run, operation, .. } => {
                    self.log.push(format!("{id}: {}_{}", operation.resource, operation.action));
                    let outcome = Outcome::done(0);
                    self.input(id, Input::AgentFinished { run, outcome });
                }
                Effect::RunFenceAgent { run, options, .. } => {
                    let target = &options.iter().find(|o| o.0 == "nodename").expect("a target").1;
                    self.log.push(format!("{id}: fence {target}"));
                    let works = self.fence_works;
                    let result = if works { Ok(String::new()) } else { Err("no answer".into()) };
                    self.input(id, Input::FenceAgentFinished { run, result });
                }
                Effect::KeepSecret { .. } if self.disk_hangs == Some(id) => {}
                Effect::KeepSecret { asked, at_ms, change } => {
                    self.log.push(format!("{id}: keeps {change:?}"));
                    let error = (self.disk_full == Some(id)).then(|| "disk full".to_owned());
                    let kept = self.kept.entry(id).or_default();
                    kept.insert(change.place.clone(), (at_ms, change));
                    if let Some((asker, number)) = asked {
                        self.input(id, Input::SecretKept { asker, number, error });
                    }
                }
                Effect::LookAtSecrets { view, places } => {
                    let kept = self.kept.entry(id).or_default();
                    let found = |place: Place| Some((kept.get(&place)?.0, place));
                    let found = places.into_iter().filter_map(found);
                    let secrets = found.map(|(at_ms, place)| (place, at_ms)).collect();
                    self.input(id, Input::SecretsFound { view, secrets });
                }
                Effect::ReadSecrets { places } => {
                    for (place, _) in places {
                        let (at_ms, change) = self.kept[&id][&place].clone();
                        self.input(id, Input::SecretRead { at_ms, change });
                    }
                }
                Effect::Schedule { plan, cib, now_s } => {
                    self.planned_for = now_s;
                    self.planned += 1;
                    let result = Ok((self.planner)(&cib, plan));
                    self.input(id, Input::Planned { plan, result, input: None });
                }
                Effect::Reply { response, .. } => self.replies.push((id, response)),
                Effect::Event(EventKind::Membership { .. }) => {}
                Effect::Leave => self.log.push(format!("{id}: leaves")),
                Effect::LeaveRing => self.log.push(format!("{id}: leaves the ring")),
                _ => {}
            }
        }
    }

    /// Delivers and lets time pass until `until`, in milliseconds.
    fn run(&mut self, until: u64) {
        for _ in 0..100_000 {
            let next = self.rings.iter_mut().find_map(|(id, r)| Some((*id, r.pop_front()?)));
            if let Some((id, delivered)) = next {
                self.input(id, Input::Delivered(delivered));
                continue;
            }
            let due = self.nodes.values().filter_map(Node::poll_timeout).min();
            let Some(due) = due.map(Instant::as_millis).filter(|due| *due <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(due);
            let now = self.now();
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.handle_timeout(now);
                }
                self.carry_out(id);
            }
            self.now += 1;
        }
        panic!("it does not come to rest: {:?}", self.log);
    }

    /// Root of node 1 sets a secret.
    fn set_secret(&mut self, user: &str) {
        self.set_secret_to(user, "open sesame");
    }

    fn set_secret_to(&mut self, user: &str, value: &str) {
        let place = Place::new("r", "password").expect("plain names");
        let change = Change { place, value: Some(Secret::new(value).expect("a line")) };
        let who = cib_store::Who { user: user.into(), ..cib_store::Who::default() };
        let request = Request::KeepSecret(change);
        self.input(NodeId(1), Input::Client { id: 7, who, request });
    }

    fn cib(&self, n: u32) -> cib_xml::Node<'_> {
        self.nodes[&NodeId(n)].cib().root()
    }

    fn load(&mut self, n: u32, resources: &str) {
        let operation = cib_store::Operation::Replace {
            target: cib_store::Target::Section("resources".into()),
            xml: format!("<resources>{resources}</resources>"),
        };
        let who =
            cib_store::Who { user: "root".into(), client: "test".into(), ..Default::default() };
        let request = Request::Cib { operation, force: false };
        self.input(NodeId(n), Input::Client { id: 1, who, request });
    }
}

fn action(id: u32, kind: ActionKind, operation: &str, node: u32) -> Action {
    Action {
        id,
        kind,
        operation: operation.into(),
        key: format!("r_{operation}_0"),
        internal_key: None,
        on_node: Some(format!("n{node}").into()),
        on_node_uuid: Some(node.to_string().into()),
        router_node: None,
        resource: Some(Arc::new(Resource {
            id: "r".into(),
            long_id: None,
            class: "ocf".into(),
            provider: Some("test".into()),
            agent: "Dummy".into(),
        })),
        attributes: vec![("CRM_meta_timeout".into(), "20000".into())],
        downed: vec![],
        reason: None,
        params: vec![],
        maintenance: vec![],
        shutdown_lock: None,
    }
}

fn plan(actions: Vec<(Action, Vec<u32>)>) -> Transition {
    let synapse = |(action, inputs): (Action, Vec<u32>)| Synapse {
        id: action.id,
        priority: 0,
        action,
        inputs,
    };
    Transition { synapses: actions.into_iter().map(synapse).collect(), ..Transition::default() }
}

fn op_count(cib: &cib_xml::Doc, operation: &str) -> usize {
    let ops = cib.root().descendants().filter(|n| n.name() == "lrm_rsc_op");
    ops.filter(|n| n.attr("operation") == Some(operation)).count()
}

/// Starts `r` once; fences whoever is lost, before it starts `r` elsewhere.
fn planner(cib: &cib_xml::Doc, _plan: u32) -> Transition {
    let unclean = cib.root().descendants().find(|n| {
        n.name() == "node_state"
            && n.attr("in_ccm") == Some("false")
            && n.attr("expected") == Some("member")
    });
    if let Some(state) = unclean {
        let lost: u32 = state.attr("id").and_then(|id| id.parse().ok()).expect("a node id");
        let mut fence = action(1, ActionKind::Cluster, "stonith", lost);
        fence.attributes.push(("CRM_meta_stonith_action".into(), "off".into()));
        return plan(vec![(fence, vec![]), (action(2, ActionKind::Resource, "start", 2), vec![1])]);
    }
    if op_count(cib, "start") == 0 && cib.root().find_id("r").is_some() {
        let stop = action(1, ActionKind::Resource, "stop", 3);
        return plan(vec![(stop, vec![]), (action(2, ActionKind::Resource, "start", 1), vec![1])]);
    }
    plan(vec![])
}

const RESOURCES: &str = "<primitive id='r' class='ocf' provider='pacemaker' type='Dummy'/>\
    <primitive id='st' class='stonith' type='fence_x'><instance_attributes id='st-p'>\
    <nvpair id='st-l' name='pcmk_host_list' value='n1 n2 n3'/></instance_attributes></primitive>";

fn started() -> Cluster {
    let mut cluster = Cluster::new(planner);
    cluster.view(&[1, 2, 3]);
    cluster.run(100);
    cluster.load(2, RESOURCES);
    cluster.run(200);
    cluster
}

#[test]
fn one_dc_joins_all_and_has_the_plan_carried_out_in_order() {
    let cluster = started();
    assert!(
        matches!(cluster.replies[..], [(NodeId(2), Response::Cib(_))]),
        "{:?}",
        cluster.replies
    );
    assert_eq!(cluster.log, ["3: r_stop", "1: r_start"]);
    for n in 1..=3 {
        let cib = cluster.cib(n);
        assert_eq!(cib.attr("dc-uuid"), Some("1"));
        assert_eq!(cib.attr("have-quorum"), Some("1"));
        let states = cib.descendants().filter(|s| s.name() == "node_state");
        assert_eq!(states.filter(|s| s.attr("crmd") == Some("online")).count(), 3);
        let op = cib.find_id("r_last_0").expect("the history is in the CIB");
        assert!(op.attr("transition-magic").is_some_and(|m| m.starts_with("0:0;")));
    }
}

#[test]
fn a_lost_node_is_fenced_before_anything_starts_elsewhere() {
    let mut cluster = started();
    cluster.log.clear();
    cluster.crash(1);
    cluster.view(&[2, 3]);
    cluster.run(400);
    assert_eq!(cluster.log, ["2: fence n1", "2: r_start"]);
    let cib = cluster.cib(3);
    assert_eq!(cib.attr("dc-uuid"), Some("2"));
    let state = cib.find_id("1").map(|_| ()).and_then(|()| {
        cib.descendants().find(|n| n.name() == "node_state" && n.attr("id") == Some("1"))
    });
    assert_eq!(state.and_then(|s| s.attr("expected")), Some("down"));
}

#[test]
fn without_a_confirmed_fence_nothing_starts_and_it_is_tried_again() {
    let mut cluster = started();
    cluster.log.clear();
    cluster.fence_works = false;
    cluster.crash(1);
    cluster.view(&[2, 3]);
    cluster.run(60_000);
    assert!(cluster.log.iter().all(|l| l.contains("fence")), "{:?}", cluster.log);
    assert!(cluster.log.len() > 6 && cluster.log.len() < 60, "{:?}", cluster.log.len());
    cluster.fence_works = true;
    cluster.run(80_000);
    assert_eq!(cluster.log.last().map(String::as_str), Some("2: r_start"));
}

#[test]
fn a_node_that_rejoins_brings_its_history_and_the_dc_stays() {
    let mut cluster = started();
    cluster.crash(3);
    cluster.view(&[1, 2]);
    cluster.run(400);
    cluster.boot(3);
    cluster.view(&[1, 2, 3]);
    cluster.run(600);
    for n in 1..=3 {
        assert_eq!(cluster.cib(n).attr("dc-uuid"), Some("1"));
        assert!(cluster.cib(n).find_id("r_last_0").is_some(), "node {n} has the history");
    }
}

fn root(operation: cib_store::Operation) -> Input {
    let who =
        cib_store::Who { user: "root".into(), client: "cibadmin".into(), ..Default::default() };
    Input::Client { id: 1, who, request: Request::Cib { operation, force: true } }
}

/// What the cluster itself keeps in a CIB.
fn kept(cib: cib_xml::Node<'_>) -> Vec<String> {
    let mut kept: Vec<String> = cib
        .descendants()
        .filter(|n| match n.name() {
            "node" | "node_state" | "lrm_rsc_op" => true,
            "nvpair" => n
                .parent()
                .and_then(|p| p.attr("id"))
                .is_some_and(|id| id == "cib-bootstrap-options" || id.starts_with("status-")),
            _ => false,
        })
        .map(|n| {
            let attributes = n.attrs().filter(|(name, _)| *name != "crm-debug-origin");
            format!("{} {:?}", n.name(), attributes.collect::<Vec<_>>())
        })
        .collect();
    kept.sort();
    kept.push(format!("{:?} {:?}", cib.attr("have-quorum"), cib.attr("dc-uuid")));
    kept
}

#[test]
fn what_the_cluster_keeps_in_the_cib_is_written_again_whoever_has_removed_it() {
    use cib_store::{Operation, Target};
    let mut cluster = started();
    let who = cib_store::Who { user: "root".into(), client: "t".into(), ..Default::default() };
    let request = Request::UpdateAttributes(vec![crm_attributes::Update::set("", "ping", "100")]);
    cluster.input(NodeId(3), Input::Client { id: 7, who, request });
    cluster.run(300);
    let before = kept(cluster.cib(1));
    assert!(before.iter().any(|line| line.contains("r_last_0")), "{before:#?}");
    let old = cluster.cib(1).to_xml(cib_xml::Style::Compact);
    let stale = old
        .replace("in_ccm=\"true\"", "in_ccm=\"false\"")
        .replace("r_start_0", "r_stop_0")
        .replace("admin_epoch=\"0\"", "admin_epoch=\"7\"");
    let stale_whole = Operation::Replace { target: Target::Whole, xml: stale };
    let delete = |xpath: &str| Operation::DeleteAll { xpath: xpath.to_owned() };
    let operations = [
        delete("/cib/status/node_state[@id='2']"),
        delete("/cib/status/node_state/lrm"),
        delete("//transient_attributes"),
        delete("/cib/configuration/nodes/node"),
        delete("//cluster_property_set"),
        stale_whole,
        Operation::Erase,
    ];
    let mut until = 300;
    for operation in operations {
        let what = format!("{operation:?}");
        cluster.input(NodeId(2), root(operation));
        until += 1000;
        cluster.run(until);
        for n in 1..=3 {
            let after = kept(cluster.cib(n));
            assert_eq!(after, before, "after {} on node {n}", &what[..what.len().min(80)]);
        }
    }
    // The cluster works on: what is configured again is started.
    let is_r = |n: &cib_xml::Node<'_>| n.name() == "primitive";
    assert!(!cluster.cib(1).descendants().any(|n| is_r(&n)), "the rest is gone");
    cluster.planner = |cib, _| {
        let online = |n: cib_xml::Node<'_>| n.attr("in_ccm") == Some("true");
        let states = cib.root().descendants().filter(|n| n.name() == "node_state");
        match states.filter(|n| online(*n)).count() == 3 && cib.root().find_id("st").is_some() {
            true if op_count(cib, "promote") == 0 => {
                plan(vec![(action(1, ActionKind::Resource, "promote", 1), vec![])])
            }
            _ => plan(vec![]),
        }
    };
    cluster.log.clear();
    cluster.load(2, RESOURCES);
    cluster.run(until + 1000);
    assert_eq!(cluster.log, ["1: r_promote"]);
    // A member that is to leave does not wait for ever.
    cluster.planner = |cib, _| {
        let leaves = |n: &cib_xml::Node<'_>| {
            n.attr("in_ccm") == Some("true")
                && n.descendants().any(|pair| pair.attr("name") == Some("shutdown"))
        };
        let states = cib.root().descendants().filter(|n| n.name() == "node_state");
        let leaving = states.filter(leaves).filter_map(|n| n.attr("id")?.parse().ok());
        let stop = |node| (action(node, ActionKind::Cluster, "do_shutdown", node), vec![]);
        plan(leaving.map(stop).collect())
    };
    cluster.log.clear();
    cluster.input(NodeId(2), root(Operation::Erase));
    cluster.input(NodeId(3), Input::Shutdown);
    cluster.run(until + 2000);
    assert_eq!(cluster.log, ["3: leaves"]);
}

/// An operator's way to have a resource probed again.
#[test]
fn an_entry_of_the_history_that_was_removed_alone_is_not_written_again() {
    let mut cluster = started();
    let planned = cluster.planned;
    cluster.planner = |_, _| plan(vec![]);
    let xpath = "//lrm_resource[@id='r']".to_owned();
    cluster.input(NodeId(2), root(cib_store::Operation::DeleteAll { xpath }));
    cluster.run(1000);
    assert!(cluster.cib(1).find_id("r_last_0").is_none());
    assert!(cluster.planned > planned, "it is planned for");
}

#[test]
fn a_ticket_that_is_granted_or_revoked_is_planned_for() {
    let mut cluster = started();
    let planned = cluster.planned;
    let xml =
        "<status><tickets><ticket_state id='t' granted='true'/></tickets></status>".to_owned();
    let target = cib_store::Target::Section("status".into());
    let grant = cib_store::Operation::Modify { target, xml, allow_create: true, score: false };
    cluster.input(NodeId(2), root(grant));
    cluster.run(1000);
    assert_eq!(cluster.planned, planned + 1);
}

#[test]
fn plans_and_history_go_by_the_wall_clock_as_it_was_set_last() {
    let mut cluster = Cluster::new(planner);
    cluster.view(&[1, 2, 3]);
    cluster.run(100);
    let before = cluster.planned_for;
    let hour_later = 1_700_000_000_000 + 3_600_000;
    (1..=3).for_each(|n| cluster.input(NodeId(n), Input::Clock { wall_ms: hour_later }));
    cluster.load(2, RESOURCES);
    cluster.run(200);
    assert!((3600..3700).contains(&(cluster.planned_for - before)), "{}", cluster.planned_for);
    let op = cluster.cib(1).find_id("r_last_0").expect("the history is in the CIB");
    let changed: u64 = op.attr("last-rc-change").expect("a time").parse().unwrap();
    assert!(changed >= hour_later / 1000, "{changed}");
}

#[test]
fn an_attribute_reaches_every_cib() {
    let mut cluster = started();
    let who = cib_store::Who { user: "root".into(), client: "t".into(), ..Default::default() };
    let request = Request::UpdateAttributes(vec![crm_attributes::Update::set("", "ping", "100")]);
    cluster.input(NodeId(3), Input::Client { id: 7, who, request });
    cluster.run(300);
    for n in 1..=3 {
        let pair = cluster.cib(n).find_id("status-3-ping").expect("it is in the CIB");
        assert_eq!(pair.attr("value"), Some("100"));
    }
    assert_eq!(cluster.replies.last(), Some(&(NodeId(3), Response::Done)));
}

#[test]
fn a_hostile_name_removes_nothing_but_what_it_names() {
    let mut cluster = started();
    let update = |cluster: &mut Cluster, set: &str, change: crm_attributes::Change, until: u64| {
        let who = cib_store::Who { user: "root".into(), client: "t".into(), ..Default::default() };
        let set = Some(set.to_owned());
        let update =
            crm_attributes::Update { set, ..crm_attributes::Update::new("n3", "a", change) };
        let request = Request::UpdateAttributes(vec![update]);
        cluster.input(NodeId(3), Input::Client { id: 7, who, request });
        cluster.run(until);
    };
    let blocks = |cluster: &Cluster| -> Vec<(String, usize)> {
        let all = cluster.cib(1).descendants().filter(|n| n.name() == "instance_attributes");
        let of = |n: cib_xml::Node<'_>| {
            Some((n.attr("id")?.to_owned(), n.children_named("nvpair").count()))
        };
        all.filter_map(of).filter(|(id, _)| !id.starts_with("st")).collect()
    };
    let mut until = 200;
    let (set, delete) = (crm_attributes::Change::Set("1".into()), crm_attributes::Change::Delete);
    for hostile in ["x' or '1'='1", "x\" or \"1\"=\"1", "'\"]/..|//*"] {
        let before = blocks(&cluster);
        until += 100;
        update(&mut cluster, hostile, set.clone(), until);
        assert_eq!(blocks(&cluster).len(), before.len() + 1);
        until += 100;
        update(&mut cluster, hostile, delete.clone(), until);
        let gone = blocks(&cluster).into_iter().find(|(id, _)| id == hostile);
        assert_eq!(gone.map(|(_, pairs)| pairs), Some(0), "{hostile}");
        let feature_sets = cluster.cib(1).descendants();
        let kept = feature_sets.filter(|n| n.attr("name") == Some("#feature-set")).count();
        assert_eq!(kept, 3, "after {hostile}");
    }
}

#[test]
fn every_node_says_which_feature_set_it_has() {
    let mut cluster = started();
    let said = |cluster: &Cluster, node: u32, of: u32| {
        let pair = cluster.cib(node).find_id(&format!("status-{of}-.feature-set"))?;
        pair.attr("value").map(str::to_owned)
    };
    for (node, of) in [(1, 1), (1, 3), (2, 1), (3, 2)] {
        let told = said(&cluster, node, of);
        assert_eq!(told.as_deref(), Some(cib_model::FEATURE_SET), "{of} on {node}");
    }
    cluster.crash(3);
    cluster.view(&[1, 2]);
    cluster.run(1000);
    cluster.boot(3);
    cluster.view(&[1, 2, 3]);
    cluster.run(2000);
    assert!(said(&cluster, 1, 3).is_some());
}

#[test]
fn a_request_too_large_for_the_ring_is_refused_at_once_and_nothing_waits_for_it() {
    let mut cluster = started();
    cluster.replies.clear();
    let who = cib_store::Who { user: "root".into(), client: "t".into(), ..Default::default() };
    let value = "x".repeat(crm_node::MESSAGE_MAX + 1);
    let request = Request::UpdateAttributes(vec![crm_attributes::Update::set("", "a", &value)]);
    cluster.input(NodeId(1), Input::Client { id: 7, who, request });
    let reason = failure(&cluster.replies[0].1);
    assert!(reason.contains("smaller changes"), "{reason}");
    // The DC still plans: it does not wait for a message that never comes.
    let before = cluster.planned;
    cluster.load(1, "");
    cluster.run(2000);
    assert!(cluster.planned > before);
}

#[test]
fn no_name_is_the_local_node_in_a_query_as_in_an_update() {
    let mut cluster = started();
    let who = cib_store::Who { user: "root".into(), client: "t".into(), ..Default::default() };
    let request = Request::UpdateAttributes(vec![crm_attributes::Update::set("", "ping", "100")]);
    cluster.input(NodeId(3), Input::Client { id: 7, who: who.clone(), request });
    cluster.run(300);
    for (n, found) in [(3, 1), (2, 0)] {
        let request =
            Request::QueryAttributes { name: Some("ping".into()), node: Some(String::new()) };
        cluster.input(NodeId(n), Input::Client { id: 8, who: who.clone(), request });
        cluster.run(10);
        let Some((_, Response::Attributes(all))) = cluster.replies.last() else {
            panic!("not attributes: {:?}", cluster.replies.last())
        };
        assert_eq!(all.len(), found, "node {n}");
    }
}

fn failure(response: &Response) -> &str {
    match response {
        Response::Failed { reason, .. } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_secret_is_kept_by_all_members_before_the_tool_is_answered() {
    let mut cluster = Cluster::new(|_, _| plan(vec![]));
    cluster.view(&[1, 2, 3]);
    cluster.run(1000);
    cluster.set_secret("root");
    assert!(cluster.replies.is_empty());
    cluster.run(2000);
    assert_eq!(cluster.replies, [(NodeId(1), Response::Done)]);
    let kept = cluster.log.iter().filter(|line| line.contains("keeps")).collect::<Vec<_>>();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept.iter().all(|line| !line.contains("sesame")), "{kept:?}");
}

#[test]
fn a_secret_that_not_all_members_keep_is_an_error_that_names_them() {
    let mut cluster = Cluster::new(|_, _| plan(vec![]));
    (cluster.disk_full, cluster.disk_hangs) = (Some(NodeId(2)), Some(NodeId(3)));
    cluster.view(&[1, 2, 3]);
    cluster.run(1000);
    cluster.set_secret("root");
    cluster.run(2000);
    assert!(cluster.replies.is_empty());
    cluster.crash(3);
    cluster.view(&[1, 2]);
    let reason = failure(&cluster.replies[0].1);
    assert!(reason.contains("n2: disk full") && reason.contains("n3 was lost"), "{reason}");
}

#[test]
fn a_secret_goes_over_an_encrypted_ring_only_and_from_root_only() {
    let mut cluster = Cluster::new(|_, _| plan(vec![]));
    cluster.encrypted = false;
    cluster.boot(1);
    cluster.view(&[1, 2, 3]);
    cluster.run(1000);
    cluster.set_secret("root");
    cluster.set_secret("hacluster");
    cluster.run(2000);
    let reasons: Vec<&str> = cluster.replies.iter().map(|(_, r)| failure(r)).collect();
    assert!(reasons[0].contains("not encrypted") && reasons[1].contains("only root"));
    assert!(!cluster.log.iter().any(|line| line.contains("keeps")));
}

/// Three members, and a resource whose password is kept as a secret.
fn with_a_secret() -> Cluster {
    let mut cluster = Cluster::new(|_, _| plan(vec![]));
    cluster.view(&[1, 2, 3]);
    cluster.run(100);
    cluster.load(
        1,
        "<primitive id='r' class='ocf' provider='pacemaker' type='Dummy'><instance_attributes \
         id='i'><nvpair id='n' name='password' value='lrm://'/></instance_attributes></primitive>",
    );
    cluster.run(200);
    cluster
}

#[test]
fn a_node_that_was_away_has_the_newest_secret_before_anything_is_started() {
    let mut cluster = with_a_secret();
    cluster.set_secret_to("root", "before");
    cluster.run(300);
    // The one that comes back is the DC then; one that lacks it all is there as well.
    cluster.crash(1);
    cluster.view(&[2, 3]);
    cluster.run(400);
    let place = Place::new("r", "password").expect("plain names");
    let value = Some(Secret::new("open sesame").expect("a line"));
    let change = Change { place: place.clone(), value: value.clone() };
    let who = cib_store::Who { user: "root".into(), ..cib_store::Who::default() };
    let request = Request::KeepSecret(change);
    cluster.input(NodeId(3), Input::Client { id: 7, who, request });
    cluster.run(500);
    cluster.crash(2);
    cluster.kept.remove(&NodeId(2));
    cluster.boot(1);
    cluster.boot(2);
    // Something is started as soon as there is a DC.
    cluster.planner = |cib, _| match op_count(cib, "start") {
        0 => plan(vec![(action(1, ActionKind::Resource, "start", 1), vec![])]),
        _ => plan(vec![]),
    };
    cluster.log.clear();
    cluster.view(&[1, 2, 3]);
    cluster.run(1000);
    for n in 1..=3 {
        assert_eq!(cluster.kept[&NodeId(n)][&place].1.value, value, "node {n}");
    }
    let at = |what: &str| cluster.log.iter().position(|line| line.contains(what));
    let (one, two, start) = (at("1: keeps"), at("2: keeps"), at("r_start"));
    assert!(one.is_some() && one < start && two.is_some() && two < start, "{:?}", cluster.log);
    assert_eq!(at("3: keeps"), None);

    // Nothing is told where all have come together.
    cluster.log.clear();
    cluster.crash(2);
    cluster.view(&[1, 3]);
    cluster.run(2000);
    assert_eq!(cluster.log.iter().find(|line| line.contains("keeps")), None);
}

/// The first value is set through a node whose clock is ahead, the next one through another while a
/// third is away.
#[test]
fn the_last_change_of_a_secret_counts_whatever_the_clocks_say() {
    let mut cluster = with_a_secret();
    let hour_ahead = 1_700_000_000_000 + 3_600_000;
    cluster.input(NodeId(1), Input::Clock { wall_ms: hour_ahead });
    cluster.set_secret_to("root", "before");
    cluster.run(300);
    cluster.crash(3);
    cluster.view(&[1, 2]);
    cluster.run(400);
    cluster.input(NodeId(1), Input::Clock { wall_ms: 1_700_000_000_000 });
    cluster.set_secret_to("root", "open sesame");
    cluster.run(500);
    cluster.boot(3);
    cluster.view(&[1, 2, 3]);
    cluster.run(1000);
    let place = Place::new("r", "password").expect("plain names");
    let value = Some(Secret::new("open sesame").expect("a line"));
    for n in 1..=3 {
        assert_eq!(cluster.kept[&NodeId(n)][&place].1.value, value, "node {n}");
    }
    // Also on members whose daemons have been restarted since: they are told.
    (2..=3).for_each(|n| cluster.crash(n));
    cluster.view(&[1]);
    cluster.run(1200);
    (2..=3).for_each(|n| cluster.boot(n));
    cluster.view(&[1, 2, 3]);
    cluster.run(1500);
    cluster.set_secret_to("root", "third");
    cluster.run(1600);
    let times: Vec<u64> = (1..=3).map(|n| cluster.kept[&NodeId(n)][&place].0).collect();
    assert!(times.iter().all(|at| *at > hour_ahead && *at == times[0]), "{times:?}");
}

/// They wait for the ring, which may hand back nothing for a while.
#[test]
fn answers_that_wait_for_the_ring_are_bounded() {
    let mut cluster = started();
    let who = || cib_store::Who { user: "root".into(), client: "t".into(), ..Default::default() };
    cluster.replies.clear();
    for id in 0..20_000 {
        let request = Request::ClearAttributes { node: "n1".into(), prefix: "x".into() };
        cluster.input(NodeId(3), Input::Client { id, who: who(), request });
    }
    let refused = cluster.replies.len();
    assert!(refused > 0 && refused < 20_000, "{refused}");
    assert!(matches!(&cluster.replies[0].1,
        Response::Failed { code: crm_api::exit::BUSY, reason } if reason.contains("again")));
}
