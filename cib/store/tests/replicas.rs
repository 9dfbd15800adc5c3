//! Replicas over an ideal ring with partitions, crashes and slow disks: they converge, never lose
//! what was acknowledged, and versions never go back.

use std::collections::{BTreeMap, VecDeque};

use cib_store::{Effect, Input, Message, Operation, Setup, Store, Target, Version, Who};
use cib_xml::{Doc, Style};
use membership_base::{Instant, NodeId, Rng, View};

struct Host {
    store: Store,
    disk: Doc,
    /// Snapshots that are being written.
    writing: VecDeque<(Doc, Version)>,
    view: u64,
    highest: Version,
    set_aside: usize,
}

struct Cluster {
    hosts: BTreeMap<u32, Option<Host>>,
    disks: BTreeMap<u32, Doc>,
    /// Messages in order, by view: everybody in the view gets all of them.
    queues: BTreeMap<u64, VecDeque<(NodeId, Message)>>,
    now: Instant,
    next_view: u64,
    next_boot: u64,
    next_request: u64,
    /// Requests that were acknowledged with success, by what they created.
    acknowledged: Vec<String>,
    open: BTreeMap<u64, String>,
    refused: usize,
    votes: BTreeMap<NodeId, u32>,
    two_node: bool,
    said: Vec<String>,
}

const NOW: Instant = Instant(0);

fn who() -> Who {
    Who { user: "root".into(), client: "test".into(), ..Who::default() }
}

fn create_op(id: &str) -> Operation {
    let target = Target::Section("resources".into());
    let xml = format!("<primitive id=\"{id}\" class=\"ocf\" provider=\"systole\" type=\"dummy\"/>");
    Operation::Create { target, xml }
}

impl Cluster {
    fn new(size: u32) -> Cluster {
        let mut cluster = Cluster {
            hosts: BTreeMap::new(),
            disks: BTreeMap::new(),
            queues: BTreeMap::new(),
            now: NOW,
            next_view: 1,
            next_boot: 1,
            next_request: 1,
            acknowledged: Vec::new(),
            open: BTreeMap::new(),
            refused: 0,
            votes: (1..=size).map(|n| (NodeId(n), 1)).collect(),
            two_node: false,
            said: Vec::new(),
        };
        for n in 1..=size {
            cluster.disks.insert(n, cib_store::empty_cib());
            cluster.hosts.insert(n, None);
        }
        (1..=size).for_each(|n| cluster.boot(n));
        cluster
    }

    fn boot(&mut self, n: u32) {
        let disk = self.disks[&n].clone();
        let store = Store::new(Setup {
            local: NodeId(n),
            uname: format!("node{n}"),
            boot: membership_base::Incarnation(self.next_boot),
            votes: self.votes.clone(),
            doc: disk.clone(),
        });
        self.next_boot += 1;
        let highest = store.version();
        let writing = VecDeque::new();
        let host = Host { store, disk, writing, view: 0, highest, set_aside: 0 };
        self.hosts.insert(n, Some(host));
    }

    fn crash(&mut self, n: u32) {
        if let Some(host) = self.hosts.get_mut(&n).and_then(Option::take) {
            self.disks.insert(n, host.disk);
        }
    }

    /// New views. Of what was under way in an old one, those who go on together get the same
    /// beginning; others another.
    fn partition(&mut self, groups: &[Vec<u32>], rng: &mut Rng) {
        if rng.chance(300) {
            self.deliver_all();
        }
        let queues = std::mem::take(&mut self.queues);
        for group in groups {
            for (view, queue) in &queues {
                let length = rng.below(queue.len() as u64 + 1) as usize;
                for (sender, message) in queue.iter().take(length) {
                    self.deliver(*view, group, *sender, message);
                }
            }
        }
        self.queues.clear();
        let total: u32 = self.votes.values().sum();
        for group in groups {
            let members: Vec<u32> =
                group.iter().copied().filter(|n| self.hosts[n].is_some()).collect();
            let votes: u32 = members.iter().map(|n| self.votes[&NodeId(*n)]).sum();
            let id = self.next_view;
            self.next_view += 1;
            let view = View {
                id,
                members: members.iter().map(|n| NodeId(*n)).collect(),
                quorate: self.two_node || votes * 2 > total,
                exclusive: votes * 2 > total,
                ..View::default()
            };
            for n in members {
                self.host(n).view = id;
                self.input(n, Input::View(view.clone()));
            }
        }
    }

    fn host(&mut self, n: u32) -> &mut Host {
        self.hosts.get_mut(&n).and_then(Option::as_mut).expect("the host is up")
    }

    fn input(&mut self, n: u32, input: Input) {
        let now = self.now;
        self.host(n).store.handle(now, input);
        self.carry_out(n);
    }

    fn carry_out(&mut self, n: u32) {
        loop {
            let host = self.host(n);
            let Some(effect) = host.store.poll_effect() else { break };
            match effect {
                Effect::Broadcast(message) => {
                    let message = Message::decode(&message.encode()).expect("what was encoded");
                    let view = host.view;
                    self.queues.entry(view).or_default().push_back((NodeId(n), message));
                }
                Effect::Persist { snapshot, version } => {
                    host.writing.push_back(((*snapshot).clone(), version));
                    assert_eq!(host.writing.len(), 1, "one snapshot at a time");
                }
                Effect::Reply { id, result } => match (self.open.remove(&id), result) {
                    (Some(name), Ok(_)) => self.acknowledged.push(name),
                    (Some(_), Err(_)) => self.refused += 1,
                    (None, _) => panic!("request {id} was answered twice"),
                },
                Effect::Changed { old, new, .. } => assert!(new > old, "{old} to {new}"),
                Effect::SetAside { .. } => host.set_aside += 1,
                Effect::Warning(text) | Effect::Failed(text) => self.said.push(text),
                Effect::Synced { .. } => {}
            }
        }
        let host = self.host(n);
        assert!(host.store.version() >= host.highest, "the version went back");
        host.highest = host.store.version();
    }

    fn deliver_one(&mut self, view: u64) -> bool {
        let Some((sender, message)) = self.queues.get_mut(&view).and_then(VecDeque::pop_front)
        else {
            return false;
        };
        let everyone: Vec<u32> = self.hosts.keys().copied().collect();
        self.deliver(view, &everyone, sender, &message);
        true
    }

    /// Delivers to those of `group` that are in the view.
    fn deliver(&mut self, view: u64, group: &[u32], sender: NodeId, message: &Message) {
        let present = |n: &&u32| self.hosts[*n].as_ref().is_some_and(|host| host.view == view);
        let present: Vec<u32> = group.iter().filter(present).copied().collect();
        for n in present {
            self.input(n, Input::Delivered { sender, message: message.clone() });
        }
    }

    fn finish_disk(&mut self, n: u32) {
        if self.hosts[&n].is_none() {
            return;
        }
        let host = self.host(n);
        if let Some((doc, version)) = host.writing.pop_front() {
            let files = cib_store::disk::to_bytes(&doc);
            host.disk =
                cib_store::disk::from_bytes(&files.xml, Some(&files.sig)).expect("what was stored");
            self.input(n, Input::Persisted { version });
        }
    }

    fn deliver_all(&mut self) {
        loop {
            let mut progress = false;
            for view in self.queues.keys().copied().collect::<Vec<_>>() {
                while self.deliver_one(view) {
                    progress = true;
                }
            }
            for n in self.hosts.keys().copied().collect::<Vec<_>>() {
                let writing = self.hosts[&n].as_ref().is_some_and(|h| !h.writing.is_empty());
                if writing {
                    self.finish_disk(n);
                    progress = true;
                }
            }
            if !progress && !self.wait() {
                return;
            }
        }
    }

    /// Lets time pass until something is due; false if nothing ever is.
    fn wait(&mut self) -> bool {
        let hosts = self.hosts.values().flatten();
        let Some(at) = hosts.filter_map(|host| host.store.poll_timeout()).min() else {
            return false;
        };
        self.now = self.now.max(at);
        for n in self.hosts.keys().copied().collect::<Vec<_>>() {
            if self.hosts[&n].is_some() {
                let now = self.now;
                self.host(n).store.handle_timeout(now);
                self.carry_out(n);
            }
        }
        true
    }

    fn request(&mut self, n: u32, name: &str, op: Operation, force: bool) {
        self.request_as(who(), n, name, op, force);
    }

    fn request_as(&mut self, who: Who, n: u32, name: &str, op: Operation, force: bool) {
        let id = self.next_request;
        self.next_request += 1;
        self.open.insert(id, name.to_string());
        let input = Input::Request { id, who, op, force, now_seconds: 1_700_000_000 };
        self.input(n, input);
    }

    fn assert_same(&self, members: &[u32]) {
        let text = |n: &u32| {
            let host = self.hosts[n].as_ref().expect("the host is up");
            assert!(host.store.is_synced(), "node {n} is not in sync");
            host.store.doc().root().to_xml(Style::Pretty)
        };
        for pair in members.windows(2) {
            assert_eq!(text(&pair[0]), text(&pair[1]), "nodes {} and {}", pair[0], pair[1]);
        }
    }

    fn has(&self, n: u32, id: &str) -> bool {
        self.hosts[&n].as_ref().expect("the host is up").store.doc().root().find_id(id).is_some()
    }
}

#[test]
fn writes_reach_everybody_and_are_acknowledged_when_durable() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.request(2, "a", create_op("a"), false);
    let view = c.host(1).view;
    while c.deliver_one(view) {}
    assert!(c.has(1, "a") && c.has(3, "a"));
    assert!(c.acknowledged.is_empty(), "acknowledged before any disk had it");
    c.finish_disk(2);
    while c.deliver_one(view) {}
    assert!(c.acknowledged.is_empty(), "acknowledged with one of three disks");
    c.finish_disk(3);
    while c.deliver_one(view) {}
    assert_eq!(c.acknowledged, ["a"]);
    let version = c.host(1).store.version();
    assert_eq!((version.epoch, version.num_updates), (1, 0));
    let root = c.host(1).store.doc().root().to_xml(Style::Compact);
    assert!(root.contains("update-origin=\"node2\" update-client=\"test\" update-user=\"root\""));
    assert!(root.contains("cib-last-written=\"Tue Nov 14 22:13:20 2023\""), "{root}");
}

#[test]
fn a_stream_of_changes_shares_snapshots_and_a_single_one_does_not_wait() {
    let mut c = Cluster::new(1);
    c.partition(&[vec![1]], &mut Rng::new(1));
    c.deliver_all();
    let view = c.host(1).view;
    let change = |c: &mut Cluster, n: u32| {
        let name = format!("r{n}");
        c.request(1, &name, create_op(&name), false);
        while c.deliver_one(view) {}
        c.host(1).writing.len()
    };
    for n in 0..3 {
        assert_eq!(change(&mut c, n), 1, "one at a time does not wait");
        c.finish_disk(1);
    }
    for n in 3..9 {
        assert_eq!(change(&mut c, n), 1);
    }
    c.finish_disk(1);
    assert_eq!(c.host(1).writing.len(), 1, "what came during the first one's snapshot");
    change(&mut c, 9);
    c.finish_disk(1);
    assert_eq!(c.host(1).writing.len(), 0, "they come as a stream");
    assert_eq!(change(&mut c, 10), 0);
    assert!(c.wait());
    assert_eq!(c.host(1).writing.len(), 1);
    c.deliver_all();
    assert_eq!(c.acknowledged.len(), 11);
}

#[test]
fn without_quorum_only_forced_writes_pass() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.partition(&[vec![1, 2], vec![3]], &mut rng);
    c.deliver_all();
    c.request(3, "lost", create_op("lost"), false);
    c.deliver_all();
    assert_eq!((c.refused, c.acknowledged.len()), (1, 0));
    c.request(3, "forced", create_op("forced"), true);
    c.request(1, "kept", create_op("kept"), false);
    c.deliver_all();
    assert_eq!(c.acknowledged.len(), 2);
    // The quorate side wins although the other one has the same version; the loser is set aside.
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.assert_same(&[1, 2, 3]);
    assert!(c.has(3, "kept") && !c.has(3, "forced"));
    assert_eq!(c.host(3).set_aside, 1);
    assert_eq!(c.host(1).set_aside + c.host(2).set_aside, 0);
}

#[test]
fn a_fresh_node_and_a_stale_one_take_over_without_setting_aside() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.request(1, "a", create_op("a"), false);
    c.deliver_all();
    c.crash(3);
    c.partition(&[vec![1, 2]], &mut rng);
    c.deliver_all();
    c.request(1, "b", create_op("b"), false);
    c.deliver_all();
    c.boot(3);
    c.crash(2);
    c.disks.insert(2, cib_store::empty_cib());
    c.boot(2);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.assert_same(&[1, 2, 3]);
    assert!(c.has(2, "a") && c.has(3, "b"));
    assert_eq!(c.host(2).set_aside + c.host(3).set_aside, 0);
}

/// It has lost what it kept of its earlier starts, and its clock was set back.
#[test]
fn a_node_that_begins_again_with_a_lower_incarnation_is_served() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.crash(3);
    c.next_boot = 1000;
    c.boot(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.request(3, "a", create_op("a"), false);
    c.deliver_all();
    c.crash(3);
    c.partition(&[vec![1, 2]], &mut rng);
    c.deliver_all();
    c.next_boot = 10;
    c.boot(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.request(3, "b", create_op("b"), false);
    c.deliver_all();
    c.assert_same(&[1, 2, 3]);
    assert!(c.has(1, "a") && c.has(1, "b"));
}

#[test]
fn a_write_repeated_after_a_view_change_is_done_once() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.request(1, "a", create_op("a"), false);
    // Nobody gets it: the ring broke.
    c.queues.clear();
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    assert_eq!(c.acknowledged, ["a"]);
    assert!(c.has(2, "a"));
    assert_eq!(c.host(1).store.version().epoch, 1);
}

/// It tells what was so in a view that is over.
#[test]
fn what_a_part_of_the_cluster_wrote_is_not_repeated_after_a_view_change() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    let internal = || Who { internal: true, ..who() };
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.request_as(internal(), 1, "lost", create_op("lost"), true);
    c.queues.clear();
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.request_as(internal(), 1, "kept", create_op("kept"), true);
    c.deliver_all();
    assert_eq!((c.acknowledged.as_slice(), c.refused), (["kept".to_owned()].as_slice(), 1));
    assert!(c.has(2, "kept") && !c.has(2, "lost"));
    // One that only node 1 has applied, in a partition whose state loses.
    c.partition(&[vec![1], vec![2, 3]], &mut rng);
    c.deliver_all();
    c.request_as(internal(), 1, "alone", create_op("alone"), true);
    let alone = c.host(1).view;
    while c.deliver_one(alone) {}
    assert!(c.has(1, "alone"));
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.assert_same(&[1, 2, 3]);
    assert!(!c.has(1, "alone"));
    assert!(c.open.is_empty(), "every request is answered: {:?}", c.open);
}

/// Node 1 applies changes that nobody else gets; the others go on, acknowledge one, and part.
#[test]
fn what_was_left_behind_loses_however_high_its_version() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    for name in ["x", "y", "z"] {
        c.request(1, name, create_op(name), false);
    }
    let view = c.host(1).view;
    let left_behind: Vec<_> = c.queues.remove(&view).into_iter().flatten().collect();
    for (sender, message) in left_behind {
        c.input(1, Input::Delivered { sender, message });
    }
    c.finish_disk(1);
    c.queues.clear();
    c.partition(&[vec![1], vec![2, 3]], &mut rng);
    c.deliver_all();
    c.request(2, "kept", create_op("kept"), false);
    c.deliver_all();
    assert_eq!(c.acknowledged, ["kept"]);
    assert!(c.host(1).store.version() > c.host(2).store.version());
    // Also after a restart: the term is on the disk.
    for n in [1, 2] {
        c.crash(n);
        c.boot(n);
    }
    c.partition(&[vec![1, 2], vec![3]], &mut rng);
    c.deliver_all();
    c.assert_same(&[1, 2]);
    assert!(c.has(1, "kept"));
}

/// Delivers `count` messages of the group's view to it and to nobody else.
fn deliver_to(c: &mut Cluster, group: &[u32], count: usize) {
    let view = c.host(group[0]).view;
    for _ in 0..count {
        let next = c.queues.get_mut(&view).and_then(VecDeque::pop_front);
        let (sender, message) = next.expect("a message is under way");
        c.deliver(view, group, sender, &message);
    }
}

/// Three nodes, of which node 1 has changes that were made without quorum.
fn one_with_forced_changes() -> (Cluster, Rng) {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.partition(&[vec![1], vec![2, 3]], &mut rng);
    for name in ["x", "y", "z"] {
        c.request(1, "", create_op(name), true);
    }
    // The others have not come to an agreement when all are together again.
    let alone = c.host(1).view;
    while c.deliver_one(alone) {}
    c.partition(&[vec![1, 2, 3]], &mut rng);
    (c, rng)
}

/// Only node 1 came to the end of a quorate view's comparison; the others go on without it.
#[test]
fn a_view_that_one_member_finished_does_not_win_over_a_later_one() {
    let (mut c, mut rng) = one_with_forced_changes();
    deliver_to(&mut c, &[1], 4);
    c.queues.clear();
    assert!(c.host(1).store.is_synced());
    c.partition(&[vec![1], vec![2, 3]], &mut rng);
    c.deliver_all();
    c.request(2, "kept", create_op("kept"), false);
    c.deliver_all();
    assert_eq!(c.acknowledged, ["", "", "", "kept"]);
    assert!(c.host(1).store.version() > c.host(2).store.version());
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.assert_same(&[1, 2, 3]);
    assert!(c.has(1, "kept"));
}

/// Node 2 has heard that node 1's state wins, but not that state.
#[test]
fn who_is_about_to_take_over_a_state_does_not_have_it() {
    let mut rng = Rng::new(1);
    let mut c = Cluster::new(3);
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.request(1, "kept", create_op("kept"), false);
    deliver_to(&mut c, &[1, 3], 1);
    c.finish_disk(1);
    c.finish_disk(3);
    deliver_to(&mut c, &[1, 3], 2);
    assert_eq!(c.acknowledged, ["kept"]);
    c.queues.clear();
    c.partition(&[vec![1, 3], vec![2]], &mut rng);
    for name in ["x", "y", "z"] {
        c.request(2, "", create_op(name), true);
    }
    let alone = c.host(2).view;
    while c.deliver_one(alone) {}
    c.queues.clear();
    c.partition(&[vec![1, 2], vec![3]], &mut rng);
    deliver_to(&mut c, &[2, 1], 2);
    c.queues.clear();
    assert!(!c.has(2, "kept"));
    c.partition(&[vec![1, 2, 3]], &mut rng);
    c.deliver_all();
    c.assert_same(&[1, 2, 3]);
    assert!(c.has(1, "kept"));
}

/// Random histories: replicas of a view agree, and what was acknowledged in a quorate partition is
/// never lost while disks are not.
#[test]
fn random_histories_keep_the_promises() {
    for seed in 0..200 {
        random_history(seed);
    }
}

fn random_history(seed: u64) {
    let mut rng = Rng::new(seed);
    let size = 3 + rng.below(3) as u32;
    let mut c = Cluster::new(size);
    let everyone: Vec<u32> = (1..=size).collect();
    c.partition(std::slice::from_ref(&everyone), &mut rng);
    let mut n_created = 0;
    for _ in 0..120 {
        let up: Vec<u32> = c.hosts.iter().filter(|h| h.1.is_some()).map(|h| *h.0).collect();
        let pick = up.get(rng.below(up.len() as u64) as usize).copied();
        match rng.below(100) {
            0..35 => {
                let views: Vec<u64> = c.queues.keys().copied().collect();
                if let Some(view) = views.get(rng.below(views.len() as u64) as usize) {
                    c.deliver_one(*view);
                }
            }
            35..52 => {
                if let Some(n) = pick {
                    c.finish_disk(n);
                }
            }
            52..68 => {
                if let Some(n) = pick {
                    let name = format!("r{n_created}");
                    n_created += 1;
                    c.request(n, &name, create_op(&name), false);
                }
            }
            68..75 => {
                if let Some(n) = pick {
                    let xml =
                        format!("<node_state id=\"{n}\" uname=\"node{n}\" crmd=\"{n_created}\"/>");
                    c.request(n, "", Operation::modify_status(xml), true);
                }
            }
            75..86 => {
                let cut = rng.below(u64::from(size)) as u32;
                let (a, b): (Vec<u32>, Vec<u32>) = everyone.iter().partition(|n| **n <= cut);
                c.partition(&[a, b], &mut rng);
            }
            86..94 => c.partition(std::slice::from_ref(&everyone), &mut rng),
            94..97 => {
                // At most one node is down at a time, so that a majority keeps its memory.
                if let (Some(n), true) = (pick, up.len() as u32 == size) {
                    c.crash(n);
                    c.partition(std::slice::from_ref(&everyone), &mut rng);
                }
            }
            _ => {
                let down = everyone.iter().copied().find(|n| c.hosts[n].is_none());
                if let Some(n) = down {
                    c.boot(n);
                    c.partition(std::slice::from_ref(&everyone), &mut rng);
                }
            }
        }
    }
    for n in &everyone {
        if c.hosts[n].is_none() {
            c.boot(*n);
        }
    }
    c.partition(std::slice::from_ref(&everyone), &mut rng);
    c.deliver_all();
    c.assert_same(&everyone);
    for name in c.acknowledged.iter().filter(|n| !n.is_empty()) {
        assert!(c.has(1, name), "seed {seed}: {name} was acknowledged and is lost");
    }
}

fn status(n: u32, expected: &str) -> Operation {
    let xml = format!("<node_state id=\"{n}\" uname=\"node{n}\" expected=\"{expected}\"/>");
    let target = Target::Section("status".into());
    Operation::Modify { target, xml, allow_create: true, score: false }
}

/// Both nodes of a `two_node` cluster, cut off from each other; node 1 has seen many more views.
fn split_of_two() -> (Cluster, Rng) {
    let (mut cluster, mut rng) = (Cluster::new(2), Rng::new(1));
    cluster.two_node = true;
    cluster.partition(&[vec![1, 2]], &mut rng);
    cluster.deliver_all();
    for n in [1, 2] {
        let internal = Who { internal: true, ..who() };
        cluster.request_as(internal, 1, &format!("state{n}"), status(n, "member"), true);
    }
    cluster.deliver_all();
    cluster.acknowledged.clear();
    cluster.partition(&[vec![2]], &mut rng);
    cluster.deliver_all();
    (1..=3).for_each(|_| cluster.partition(&[vec![1]], &mut rng));
    cluster.deliver_all();
    (cluster, rng)
}

#[test]
fn one_of_two_acknowledges_only_once_the_other_is_down_and_then_wins_over_it() {
    let (mut cluster, mut rng) = split_of_two();
    cluster.request(1, "left", create_op("left"), false);
    cluster.request(2, "right", create_op("right"), false);
    cluster.deliver_all();
    assert_eq!(cluster.acknowledged, [""; 0], "the other one may have quorum too");
    assert!(cluster.said.iter().any(|t| t.contains("node 1 is not known to be down")));
    // Node 2 has node 1 fenced.
    cluster.crash(1);
    let internal = Who { internal: true, ..who() };
    cluster.request_as(internal, 2, "fenced", status(1, "down"), true);
    cluster.deliver_all();
    assert!(cluster.acknowledged.contains(&"right".to_owned()), "{:?}", cluster.acknowledged);
    cluster.request(2, "later", create_op("later"), false);
    cluster.deliver_all();
    assert!(cluster.acknowledged.contains(&"later".to_owned()));
    cluster.crash(2);
    (1..=2).for_each(|n| cluster.boot(n));
    cluster.partition(&[vec![1, 2]], &mut rng);
    cluster.deliver_all();
    cluster.assert_same(&[1, 2]);
    assert!(cluster.has(1, "right") && cluster.has(1, "later") && !cluster.has(1, "left"));
}

/// It boots after its fence and meets the other one, which is as good as any other contact: it has
/// quorum from then on. But they part before that has got into the CIB.
#[test]
fn one_that_was_met_again_since_its_fence_counts_as_up() {
    let (mut cluster, mut rng) = split_of_two();
    let down = |cluster: &mut Cluster| {
        let internal = Who { internal: true, ..who() };
        cluster.request_as(internal, 2, "fenced", status(1, "down"), true);
        cluster.deliver_all();
    };
    cluster.crash(1);
    down(&mut cluster);
    cluster.boot(1);
    cluster.partition(&[vec![1, 2]], &mut rng);
    cluster.queues.clear();
    cluster.partition(&[vec![1], vec![2]], &mut rng);
    cluster.deliver_all();
    cluster.request(2, "right", create_op("right"), false);
    cluster.deliver_all();
    assert!(!cluster.acknowledged.contains(&"right".to_owned()), "{:?}", cluster.acknowledged);
    // That is news again, though the CIB has said so all the time.
    down(&mut cluster);
    assert!(cluster.acknowledged.contains(&"right".to_owned()), "{:?}", cluster.acknowledged);
}

#[test]
fn one_of_two_acknowledges_at_once_without_fencing_and_after_the_other_has_left() {
    let (mut cluster, _) = split_of_two();
    let xml = "<crm_config><cluster_property_set id=\"o\"><nvpair id=\"o-f\" \
               name=\"stonith-enabled\" value=\"false\"/></cluster_property_set></crm_config>";
    let target = Target::Section("crm_config".into());
    let xml = xml.to_owned();
    let off = Operation::Modify { target, xml, allow_create: true, score: false };
    cluster.request(2, "off", off, false);
    cluster.deliver_all();
    assert_eq!(cluster.acknowledged, ["off"], "nobody will ever know");

    let (mut cluster, mut rng) = (Cluster::new(2), Rng::new(1));
    cluster.two_node = true;
    cluster.partition(&[vec![1, 2]], &mut rng);
    cluster.deliver_all();
    let internal = Who { internal: true, ..who() };
    cluster.request_as(internal, 1, "left", status(1, "down"), true);
    cluster.deliver_all();
    cluster.crash(1);
    cluster.partition(&[vec![2]], &mut rng);
    cluster.request(2, "right", create_op("right"), false);
    cluster.deliver_all();
    assert!(cluster.acknowledged.contains(&"right".to_owned()));
}

#[test]
fn disks_count_by_their_nodes_votes() {
    let (mut cluster, mut rng) = (Cluster::new(5), Rng::new(1));
    cluster.votes.insert(NodeId(1), 3);
    (1..=5).for_each(|n| cluster.boot(n));
    cluster.partition(&[vec![1, 2, 3, 4, 5]], &mut rng);
    cluster.deliver_all();
    cluster.request(3, "x", create_op("x"), false);
    while cluster.queues.keys().copied().collect::<Vec<_>>().iter().any(|v| cluster.deliver_one(*v))
    {
    }
    for n in [3, 4, 5] {
        cluster.finish_disk(n);
    }
    while cluster.queues.keys().copied().collect::<Vec<_>>().iter().any(|v| cluster.deliver_one(*v))
    {
    }
    assert_eq!(cluster.acknowledged, [""; 0], "nodes 1 and 2 have quorum without these three");
    cluster.finish_disk(1);
    while cluster.queues.keys().copied().collect::<Vec<_>>().iter().any(|v| cluster.deliver_one(*v))
    {
    }
    assert_eq!(cluster.acknowledged, ["x"]);
}
