//! What members say to each other, and what they find on their disks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cib_store::{Operation, Target, Who, disk};
use crm_api::Request;
use crm_executor::Outcome;
use crm_node::{Effect, Input, Node, Setup};
use membership_base::{Delivered, Incarnation, Instant, NodeId, View};
use membership_totem::{self as totem, NodeLinks, Settings, Totem};

const US: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);

fn at_ms(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

fn root() -> Who {
    Who { user: "root".to_owned(), client: "fuzz".to_owned(), ..Who::default() }
}

/// Two nodes over a perfect ring, whose disks and agents answer at once.
pub(crate) struct Pair {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    ring: VecDeque<Delivered>,
    /// Everything that was said, in its order.
    said: Vec<Vec<u8>>,
}

/// Messages that a pair carries at most: it need not come to rest on what is made up.
const MESSAGES_MAX: usize = 200;

impl Pair {
    pub(crate) fn new() -> Pair {
        let names: BTreeMap<NodeId, String> =
            [(US, "n1"), (PEER, "n2")].map(|(id, name)| (id, name.to_owned())).into();
        let node = |local| {
            Node::new(Setup {
                local,
                nodes: names.clone(),
                votes: names.keys().map(|id| (*id, 1)).collect(),
                cluster: "fuzz".to_owned(),
                life: Incarnation(u64::from(local.0)),
                wall_ms: 1_700_000_000_000,
                cib: cib_store::empty_cib(),
                started: BTreeMap::new(),
                encrypted: true,
                version: "0".to_owned(),
            })
        };
        let nodes = names.keys().map(|id| (*id, node(*id))).collect();
        let mut pair = Pair { nodes, ring: VecDeque::new(), said: Vec::new() };
        for id in [US, PEER] {
            pair.input(
                id,
                Input::View(View {
                    id: 1,
                    members: vec![US, PEER],
                    quorate: true,
                    exclusive: true,
                    came_with_us: vec![id],
                    met: Vec::new(),
                }),
            );
        }
        pair.settle();
        pair
    }

    pub(crate) fn input(&mut self, id: NodeId, input: Input) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.handle(at_ms(1), input);
        let effects: Vec<Effect> = std::iter::from_fn(|| node.poll_effect()).collect();
        for effect in effects {
            match effect {
                Effect::Send { bytes, .. } => {
                    self.said.push(bytes.clone());
                    self.ring.push_back(Delivered { sender: id, bytes });
                }
                Effect::Persist { version, .. } => self.input(id, Input::Persisted { version }),
                Effect::RunAgent { run, .. } => {
                    self.input(id, Input::AgentFinished { run, outcome: Outcome::done(0) });
                }
                Effect::RunFenceAgent { run, .. } => {
                    self.input(id, Input::FenceAgentFinished { run, result: Ok("n2".to_owned()) });
                }
                Effect::LookAtSecrets { view, .. } => {
                    self.input(id, Input::SecretsFound { view, secrets: Vec::new() });
                }
                _ => {}
            }
        }
    }

    /// Delivers what is under way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MESSAGES_MAX {
            let Some(message) = self.ring.pop_front() else { return };
            for id in [US, PEER] {
                self.input(id, Input::Delivered(message.clone()));
            }
        }
    }
}

/// Messages of a running pair, so that they are always those of this version.
pub(crate) fn said() -> Vec<Vec<u8>> {
    let xml = "<resources><primitive id=\"d\" class=\"stonith\" type=\"fence_x\"/></resources>";
    let requests = [
        Request::Cib {
            operation: Operation::Modify {
                target: Target::Section("resources".to_owned()),
                xml: xml.to_owned(),
                allow_create: true,
                score: false,
            },
            force: false,
        },
        Request::Fence { target: "n2".to_owned(), action: "off".to_owned(), timeout_ms: 1000 },
        Request::ConfirmFenced { target: "n2".to_owned() },
        Request::ForgetResource { node: None, resource: None },
        Request::ClearAttributes { node: String::new(), prefix: "a".to_owned() },
    ];
    let mut pair = Pair::new();
    for (id, request) in requests.into_iter().enumerate() {
        pair.input(US, Input::Client { id: id as u64, who: root(), request });
        pair.settle();
    }
    pair.said
}

/// A message of a member in the ring's order, as it is after it was opened: node and planner take
/// it, and so do the messages that follow from it.
pub fn ring(data: &[u8]) {
    let mut pair = Pair::new();
    pair.ring.push_back(Delivered { sender: PEER, bytes: data.to_vec() });
    pair.settle();
    for node in pair.nodes.values_mut() {
        if let Some(due) = node.poll_timeout() {
            node.handle_timeout(due);
        }
        while node.poll_effect().is_some() {}
    }
}

/// Two members' rings without a key, and all datagrams between them until both have a view of two.
struct Rings {
    members: BTreeMap<NodeId, Totem>,
    now: Instant,
    sent: Vec<Vec<u8>>,
}

impl Rings {
    fn formed() -> Rings {
        let all = || [US, PEER].map(|node| NodeLinks { node, links: vec![0] }).to_vec();
        let member = |id| (id, Totem::new(Settings::new(id, all()), at_ms(0)));
        let members = [US, PEER].map(member).into();
        let mut rings = Rings { members, now: at_ms(0), sent: Vec::new() };
        rings.members.values_mut().for_each(|m| m.handle(at_ms(0), totem::Input::Start));
        let mut views = 0;
        for _ in 0..1000 {
            views += rings.step();
            if views >= 2 {
                break;
            }
        }
        rings
    }

    /// Carries what was sent, then goes to the next time-out. How many have got a view of two.
    fn step(&mut self) -> usize {
        let mut views = 0;
        let mut packets = Vec::new();
        for member in self.members.values_mut() {
            while let Some(effect) = member.poll_effect() {
                match effect {
                    totem::Effect::Transmit { to, link, bytes } => packets.push((to, link, bytes)),
                    totem::Effect::View(view) if view.members.len() == 2 => views += 1,
                    _ => {}
                }
            }
        }
        if packets.is_empty() {
            let due = self.members.values().filter_map(Totem::poll_timeout).min();
            self.now = due.unwrap_or(self.now).max(self.now);
            self.members.values_mut().for_each(|m| m.handle_timeout(self.now));
        }
        for (to, link, bytes) in packets {
            self.sent.push(bytes.to_vec());
            if let Some(member) = self.members.get_mut(&to) {
                member.handle(self.now, totem::Input::Packet { link, bytes: bytes.to_vec() });
            }
        }
        views
    }
}

/// Datagrams of a ring that forms.
pub(crate) fn sent() -> Vec<Vec<u8>> {
    let mut sent = Rings::formed().sent;
    sent.dedup();
    sent
}

/// A datagram without encryption: anybody can send it. The ring takes it and goes on.
pub fn packet(data: &[u8]) {
    let mut rings = Rings::formed();
    for member in rings.members.values_mut() {
        member.handle(rings.now, totem::Input::Packet { link: 0, bytes: data.to_vec() });
    }
    rings.now = rings.now + Duration::from_millis(1);
    for _ in 0..20 {
        rings.step();
    }
}

/// A CIB on disk, perhaps with its digest: what can be read is written so that it can be read again.
pub fn on_disk(data: &[u8]) {
    let marker = b"\n----\n";
    let cut = data.windows(marker.len()).position(|window| window == marker);
    let (xml, sig) = match cut {
        Some(at) => (&data[..at], Some(&data[at + marker.len()..])),
        None => (data, None),
    };
    let _ = disk::from_bytes(xml, sig);
    if let Ok(doc) = disk::from_bytes(xml, None) {
        let files = disk::to_bytes(&doc);
        let again = disk::from_bytes(&files.xml, Some(&files.sig));
        assert!(again.is_ok(), "what was written is refused: {:?}", again.err());
    }
}
