//! What the machine is told once, at its making.

use std::time::Duration;

use membership_base::{Incarnation, NodeId};

/// A configured node and the links on which it has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLinks {
    /// The node's id.
    pub node: NodeId,
    /// Link numbers 0 to 7, ascending.
    pub links: Vec<u8>,
}

/// All time limits. [`Timing::default`] is meant for a LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Interval of heartbeats to every configured peer on every link.
    pub heartbeat: Duration,
    /// Shortest silence after which a peer is suspected.
    pub suspect: Duration,
    /// Longest silence that adaptation may allow before a peer is suspected.
    pub suspect_max: Duration,
    /// A suspected peer that stays silent for this long is given up.
    pub confirm: Duration,
    /// Interval of probes to a suspected peer.
    pub probe: Duration,
    /// Without a token for this long the ring is formed anew.
    pub token: Duration,
    /// First interval after which a token is sent again; it doubles up to sixteen times that.
    pub token_retransmit: Duration,
    /// How long an idle ring's token rests at the representative.
    pub hold: Duration,
    /// Interval of join messages in the gather phase.
    pub join: Duration,
    /// Members that do not agree within this time are left out.
    pub consensus: Duration,
    /// Longest time for the commit token's two rounds, and for one round in recovery.
    pub commit: Duration,
    /// How long a starting node waits for all configured nodes before it does with fewer.
    pub start: Duration,
    /// If the machine is called later than its timers by this much, it was paused and distrusts
    /// its own view.
    pub pause: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        let ms = Duration::from_millis;
        Timing {
            heartbeat: ms(50),
            suspect: ms(250),
            suspect_max: ms(1000),
            confirm: ms(100),
            probe: ms(10),
            token: ms(3000),
            token_retransmit: ms(8),
            hold: ms(200),
            join: ms(20),
            consensus: ms(1000),
            commit: ms(500),
            start: ms(150),
            pause: ms(200),
        }
    }
}

/// What the machine is told once, at its making.
#[derive(Clone)]
pub struct Settings {
    /// The local node.
    pub me: NodeId,
    /// All configured nodes, the local one among them.
    pub nodes: Vec<NodeLinks>,
    /// The cluster's name: datagrams of clusters with another name are not ours.
    pub cluster_name: String,
    /// Content of the key file; `None` switches encryption and authentication off.
    pub key: Option<Vec<u8>>,
    /// Which start of this node this is; no two starts have the same.
    pub incarnation: Incarnation,
    /// Random at every start.
    pub salt: u64,
    /// The last value of `Effect::Persist` that was stored, 0 at the very first start.
    pub ring_seq: u64,
    /// Time limits.
    pub timing: Timing,
    /// Most data frames that may be under way in one rotation of the token.
    pub window: u32,
    /// Most data frames that one member sends at one visit of the token.
    pub visit: u32,
    /// Visits of the token without any work after which the representative holds it.
    pub idle_visits: u32,
    /// Largest datagram to send, in bytes.
    pub datagram: usize,
    /// Largest message, in bytes.
    pub message_max: usize,
    /// Bytes of messages that may wait before `Input::Submit` is refused.
    pub backlog: usize,
}

impl Settings {
    /// Settings with defaults for everything that has one.
    pub fn new(me: NodeId, nodes: Vec<NodeLinks>) -> Settings {
        Settings {
            me,
            nodes,
            cluster_name: String::new(),
            key: None,
            incarnation: Incarnation(1),
            salt: 0,
            ring_seq: 0,
            timing: Timing::default(),
            window: 256,
            visit: 128,
            idle_visits: 1,
            datagram: 1452,
            message_max: 64 << 20,
            backlog: 16 << 20,
        }
    }
}
