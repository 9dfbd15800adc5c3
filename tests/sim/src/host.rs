//! One simulated host: its disk, its daemon, what physically happens on it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cib_store::{Version, disk};
use crm_executor::StartedWith;
use crm_node::{Node, Setup};
use membership_base::{Guarantee, Incarnation, Instant, NodeId, View};
use membership_quorum::{Rules, Votequorum};
use membership_totem::{NodeLinks, Settings, Totem};

use crate::world::{Run, WALL_MS};

/// What survives a loss of power.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) cib: Option<Vec<u8>>,
    pub(crate) ring_seq: u64,
    pub(crate) incarnation: Incarnation,
}

/// A daemon that is up.
pub(crate) struct Daemon {
    pub(crate) totem: Totem,
    pub(crate) node: Node,
    pub(crate) quorum: Votequorum,
    pub(crate) view: View,
    /// The view in which messages are delivered: between two views only those who go on together
    /// deliver the same.
    pub(crate) delivering: View,
    /// Distinguishes this daemon from earlier ones, so that late events of those are dropped.
    pub(crate) life: u64,
    /// Messages that the ring has not taken yet, in order.
    pub(crate) outbox: VecDeque<(Vec<u8>, Guarantee)>,
    /// The view and version at which its CIB was compared with the others' last.
    pub(crate) compared: Option<(u64, Version)>,
    /// What it has heard first since it asked for its last plan.
    pub(crate) missed: Option<String>,
}

/// One simulated host.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) power: bool,
    /// How often it has lost its power.
    pub(crate) outages: u32,
    pub(crate) disk: Disk,
    pub(crate) daemon: Option<Daemon>,
    /// What its wall clock showed, or would have shown, when the simulation began.
    pub(crate) clock: Duration,
    /// Until then nothing happens on it.
    pub(crate) paused_until: Instant,
    /// The time of its next wake-up that is in the queue.
    pub(crate) wake_at: Option<Instant>,
    /// What was started, for the next daemon; gone with the power.
    pub(crate) started: BTreeMap<String, StartedWith>,
    /// With which parameter each resource was last activated here.
    pub(crate) at: BTreeMap<String, String>,
    /// The recurring operation that each resource was last called by.
    pub(crate) recurring: BTreeMap<String, String>,
    /// What was migrated away from here and not stopped or started here since, and the recurring
    /// operation that it had then.
    pub(crate) moved_away: BTreeMap<String, Option<String>>,
    /// Agents that are running, by run.
    pub(crate) running: BTreeMap<crm_executor::RunId, Run>,
}

impl Host {
    pub(crate) fn new(id: NodeId) -> Host {
        Host {
            id,
            power: true,
            outages: 0,
            disk: Disk::default(),
            daemon: None,
            clock: Duration::from_millis(WALL_MS),
            paused_until: Instant(0),
            wake_at: None,
            started: BTreeMap::new(),
            at: BTreeMap::new(),
            recurring: BTreeMap::new(),
            moved_away: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// Starts a daemon from what is on disk.
    pub(crate) fn boot(&mut self, now: Instant, nodes: &BTreeMap<NodeId, String>, rules: &Rules) {
        let incarnation = self.disk.incarnation.next(self.clock + now.since(Instant(0)));
        self.disk.incarnation = incarnation;
        let links = |id: &NodeId| NodeLinks { node: *id, links: vec![0] };
        let mut settings = Settings::new(self.id, nodes.keys().map(links).collect());
        settings.incarnation = incarnation;
        settings.salt = incarnation.0.wrapping_mul(0x9e37_79b9);
        settings.ring_seq = self.disk.ring_seq;
        let cib = match &self.disk.cib {
            Some(bytes) => {
                disk::from_bytes(bytes, None).expect("what was written whole can be read")
            }
            None => cib_store::empty_cib(),
        };
        let node = Node::new(Setup {
            local: self.id,
            nodes: nodes.clone(),
            votes: rules.votes.clone(),
            cluster: "sim".to_owned(),
            life: incarnation,
            encrypted: true,
            wall_ms: u64::try_from(self.clock.as_millis()).unwrap_or(u64::MAX),
            cib,
            started: self.started.clone(),
            version: "sim".to_owned(),
        });
        self.daemon = Some(Daemon {
            totem: Totem::new(settings, now),
            quorum: Votequorum::new(Rules { me: self.id, ..rules.clone() }),
            node,
            view: View::default(),
            delivering: View::default(),
            life: incarnation.0,
            outbox: VecDeque::new(),
            compared: None,
            missed: None,
        });
        self.running.clear();
    }
}
