//! The ring as the daemon uses it: configuration in, views and messages out, nothing refused.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context;
use crm_api::{Membership, Response, exit};
use crm_node::Input;
use membership_base::{Incarnation, NodeId};
use membership_conf::Config;
use membership_transport::{self as transport, Event, Guarantee, Pulse, SubmitError, Transport};
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::Options;

/// The folder, inside of the daemon's, with what the ring must not forget.
const STATE: &str = "ring";

/// Bytes that may wait for the ring: what a node says by itself, and two of the largest messages.
const WAITING_MAX: usize = 256 << 20;
/// While this much waits, tools are asked to come again.
const BUSY_BYTES: usize = 8 << 20;

/// What the configuration says, before anything is started.
pub(crate) struct Prepared {
    pub(crate) local: NodeId,
    pub(crate) nodes: BTreeMap<NodeId, String>,
    pub(crate) votes: BTreeMap<NodeId, u32>,
    pub(crate) cluster: String,
    pub(crate) encrypted: bool,
    /// Of this start.
    pub(crate) incarnation: Incarnation,
    config: Config,
    options: Options,
}

/// What the ring has to say to the main loop.
pub(crate) enum RingEvent {
    /// For the node's machines.
    Node(Input),
    /// There is room again for messages.
    Ready,
    /// Members are being looked for, for this reason.
    Gathering(String),
}

/// The running ring.
pub(crate) struct Ring {
    transport: Transport,
    /// Messages that the ring has had no room for, in order.
    waiting: VecDeque<(Vec<u8>, Guarantee)>,
    waiting_bytes: usize,
    names: BTreeMap<NodeId, String>,
}

impl Ring {
    /// Reads `corosync.conf`, finds out who this node is, and begins a new incarnation of it.
    pub(crate) fn prepare(options: &Options) -> anyhow::Result<Prepared> {
        let path = options.config.display().to_string();
        let text = std::fs::read_to_string(&options.config).with_context(|| {
            format!("cannot read {path}; write it, or name another one with --config")
        })?;
        let config = membership_conf::parse_named(&path, &text)?;
        let local = transport::find_local(&config, options.node.as_deref())?;
        let name = |id| config.node_name(id).map_or_else(|| format!("node{id}"), str::to_owned);
        let nodes = config.nodes.iter().map(|n| (n.id, name(n.id))).collect();
        let votes = config.nodes.iter().map(|n| (n.id, n.votes)).collect();
        let cluster = config.totem.cluster_name.clone();
        let encrypted = config.totem.encrypted;
        let incarnation = transport::begin_incarnation(&options.state_dir.join(STATE))?;
        let options = options.clone();
        Ok(Prepared { local, nodes, votes, cluster, encrypted, incarnation, config, options })
    }

    /// Sends a message to all members; what the ring has no room for goes as soon as it has.
    ///
    /// # Errors
    /// If so much waits already that the ring cannot have moved for long. The message is lost then,
    /// and with it what the node counts on, so the node cannot go on.
    pub(crate) fn send(&mut self, bytes: Vec<u8>, guarantee: Guarantee) -> Result<(), String> {
        if self.waiting_bytes + bytes.len() > WAITING_MAX {
            return Err(format!(
                "messages of {} bytes wait for the ring, which takes none",
                self.waiting_bytes
            ));
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back((bytes, guarantee));
        self.flush();
        Ok(())
    }

    /// Whether tools have to wait before they ask for more.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting_bytes > BUSY_BYTES
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        while let Some((bytes, guarantee)) = self.waiting.pop_front() {
            let size = bytes.len();
            match self.transport.submit(bytes.clone(), guarantee) {
                Ok(()) => {}
                Err(SubmitError::Busy) => {
                    self.waiting.push_front((bytes, guarantee));
                    return;
                }
                // Nothing can be sent any more; the daemon is about to end.
                Err(SubmitError::Stopped) => {
                    self.waiting.clear();
                    self.waiting_bytes = 0;
                    return;
                }
                Err(SubmitError::TooLarge) => {
                    error!("a message of {size} bytes is too large for the ring");
                }
            }
            self.waiting_bytes -= size;
        }
    }

    /// Leaves the ring, so that the others need not find out by themselves.
    pub(crate) fn leave(&self) {
        self.transport.leave();
    }

    /// Answers what the ring and the votes look like.
    pub(crate) fn membership(&self, answer: mpsc::Sender<Response>) {
        let names = self.names.clone();
        // Only a stopped ring refuses; the tool then sees the connection end.
        let _ = self.transport.status_with(Box::new(move |status| {
            // A tool that has hung up does not want its answer.
            let _ = answer.try_send(Response::Membership(Box::new(membership(&status, &names))));
        }));
    }

    /// Answers the keys that start with `prefix`.
    pub(crate) fn cmap(&self, prefix: String, answer: mpsc::Sender<Response>) {
        let _ = self.transport.status_with(Box::new(move |status| {
            let entries = status.cmap.into_iter().filter(|e| e.key.starts_with(&prefix));
            let keys = entries
                .map(|e| (e.key, e.value.type_name().to_owned(), e.value.to_string()))
                .collect();
            let _ = answer.try_send(Response::Cmap(keys));
        }));
    }

    pub(crate) fn expect_votes(&self, votes: u32) -> Response {
        done(self.transport.set_expected_votes(votes))
    }

    pub(crate) fn cancel_wait_for_all(&self) -> Response {
        done(self.transport.cancel_wait_for_all())
    }
}

fn done(result: Result<(), SubmitError>) -> Response {
    match result {
        Ok(()) => Response::Done,
        Err(error) => Response::Failed { code: exit::ERROR, reason: error.to_string() },
    }
}

impl Prepared {
    /// Starts the ring's thread.
    pub(crate) fn start(
        self,
        pulse: Pulse,
        sink: impl Fn(RingEvent) + Send + 'static,
    ) -> anyhow::Result<Ring> {
        let mut options = transport::Options::new(self.config, self.options.state_dir.join(STATE));
        options.incarnation = Some(self.incarnation);
        options.local = self.options.node;
        options.lock_memory = false;
        options.pulse = Some(pulse);
        let names = self.nodes.clone();
        let in_words = move |reason: transport::Reason| {
            let name = |id: NodeId| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
            use transport::Reason as R;
            match reason {
                R::Start => "this node has started".to_owned(),
                R::Silent(id) => format!("node {} is silent", name(id)),
                R::Left(id) => format!("node {} leaves", name(id)),
                R::Restarted(id) => format!("node {} was started anew", name(id)),
                R::Asked(id) => format!("node {} asks for it", name(id)),
                R::Merge(id) => format!("node {} is there", name(id)),
                R::TokenLoss => "the token was lost".to_owned(),
                R::CommitLoss => "the commit token was lost".to_owned(),
                R::NoConsensus => "the members did not agree in time".to_owned(),
                R::Paused => "this machine stood still".to_owned(),
                R::Diverged(id) => {
                    format!("node {} has other messages under the same numbers", name(id))
                }
                R::NotReceiving(id) => format!("node {} does not receive", name(id)),
            }
        };
        let transport = Transport::start(
            options,
            Box::new(move |event| match event {
                Event::View(view) => sink(RingEvent::Node(Input::View(view))),
                Event::Delivered(delivered) => sink(RingEvent::Node(Input::Delivered(delivered))),
                Event::Ready => sink(RingEvent::Ready),
                Event::Gathering(reason) => sink(RingEvent::Gathering(in_words(reason))),
                Event::Paused(pause) => {
                    info!("this machine stood still for {} ms", pause.as_millis());
                }
                Event::Stopped => {}
            }),
        )?;
        Ok(Ring { transport, waiting: VecDeque::new(), waiting_bytes: 0, names: self.nodes })
    }
}

fn membership(status: &transport::Status, names: &BTreeMap<NodeId, String>) -> Membership {
    let address = |id: NodeId| {
        let peers = status.links.first().map(|l| &l.peers[..]).unwrap_or_default();
        match peers.iter().find(|(peer, ..)| *peer == id) {
            Some((_, address, _)) => address.clone(),
            None => status.links.first().map(|l| l.local.clone()).unwrap_or_default(),
        }
    };
    let votes =
        |id: NodeId| status.quorum.nodes.iter().find(|n| n.node == id).map_or(1, |n| n.votes);
    Membership {
        local: status.me,
        ring: status.view.id,
        representative: status.ring.ring.rep,
        quorate: status.quorum.quorate,
        expected_votes: status.quorum.expected_votes,
        highest_expected: status.quorum.highest_expected,
        total_votes: status.quorum.total_votes,
        quorum: status.quorum.quorum,
        flags: status.quorum.flags.iter().map(|f| (*f).to_owned()).collect(),
        members: status
            .view
            .members
            .iter()
            .map(|id| (*id, names.get(id).cloned().unwrap_or_default(), votes(*id), address(*id)))
            .collect(),
        links: status
            .links
            .iter()
            .map(|l| {
                let peers = l.peers.iter().map(|(id, _, up)| (*id, *up)).collect();
                (u32::from(l.link), l.local.clone(), peers)
            })
            .collect(),
    }
}
