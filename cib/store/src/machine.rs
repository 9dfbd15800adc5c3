//! The replica.
//!
//! Every change is broadcast and applied by all members in the order of the ring, so members of a
//! view have the same CIB. What is promised:
//!
//! * A write is answered when it was applied locally and, if it changed the configuration, when
//!   nodes with the majority of the configured votes (or all members, if they have fewer) have it on
//!   disk and the partition has quorum. So what was acknowledged survives every failure that leaves
//!   a quorum.
//! * A partition can be quorate though another one may be as well (`two_node`, the operator's word):
//!   see [`View::exclusive`]. There a write is answered only once all others are known to be down,
//!   in order or fenced, and have not been met since by any member. That begins a new generation, so nothing that they have been through in
//!   views of their own wins over it. Without fencing nobody ever knows: what such a partition has
//!   acknowledged may then lose against the other.
//! * When a view begins, members compare. If they differ, one state is chosen on all of them by the
//!   same rule: the higher term (generation, then view); then the last change from a quorate view;
//!   then the higher version; then has been in sync since its start; then the lower node id. Its owner sends it, everybody takes it over at the same point of the
//!   order, and what loses is handed out to be kept in a file unless the winner has seen it before.
//! * The term names a quorate view: it is the view's number, and more than the highest term that a
//!   member brought. Another view has the highest that was brought. It is stored with the CIB, and a
//!   disk counts for an acknowledgement only if it has the view's term. Any two quorate views share a
//!   node, so what was acknowledged in a term is part of the state that wins in every later one, and
//!   what a node has that was left behind in an older term loses, however high its version. (A count
//!   would not do: of a view that ended early, one member may have come to its term and the others,
//!   who count on without it, to the same number later.)
//! * The version never goes back: if a loser's was higher, the winner's state gets a higher one.
//! * A write is done at most once, also when it is repeated after a view change: results of past
//!   writes are part of the replicated state.
//! * What the cluster's own parts write is not repeated: it tells what was so in a view, and they
//!   tell anew what is so in the next one ([`ErrorKind::Overtaken`]).
//!
//! All members agree at the same message of the order, and a write is only applied in the view in
//! which it was sent, so no write is ever between two states of the CIB.

mod agree;
mod disks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cib_xml::Doc;
use membership_base::mutant::{Mutant, mutant};
use membership_base::{Incarnation, Instant, NodeId, View};

use crate::apply::{Applied, Context, apply};
use crate::disk;
use crate::error::{ErrorKind, StoreError};
use crate::message::{Done, Lineage, Message, State, Write, WriteId};
use crate::operation::{Operation, Output, Who};
use crate::version::{Term, Version};

/// Unanswered writes of one node that may be under way: later ones wait.
const WINDOW: u64 = 256;
/// Requests that may wait at one node.
const REQUESTS_MAX: usize = 16_384;
/// So many changes in one snapshot are a stream of them.
const STREAM: u32 = 4;
/// Snapshots of a stream of changes begin no closer than this: each is shared by more of them, and
/// they have to wait less for the disks than if each few had their own.
const GATHERING: Duration = Duration::from_millis(5);
/// States of the configuration by which a winner recognises an older self.
const HISTORY_MAX: usize = 64;
/// How long members may take to say what they have before that is reported; then twice as long.
const STATES_WAIT: Duration = Duration::from_secs(5);

/// What a replica starts with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node.
    pub local: NodeId,
    /// Its name, for `update-origin`.
    pub uname: String,
    /// Which start of this node this is; unlike that of any other.
    pub boot: Incarnation,
    /// All configured nodes with their votes.
    pub votes: BTreeMap<NodeId, u32>,
    /// What was on disk, or [`crate::empty_cib`].
    pub doc: Doc,
}

/// What happens to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// The membership changed.
    View(View),
    /// A message arrived in order.
    Delivered {
        /// Who sent it.
        sender: NodeId,
        /// What it says.
        message: Message,
    },
    /// Something local wants something.
    Request {
        /// Names the request in the reply; unique among the waiting ones.
        id: u64,
        /// Who asks.
        who: Who,
        /// What for.
        op: Operation,
        /// Change even without quorum.
        force: bool,
        /// Wall clock in seconds since 1970.
        now_seconds: i64,
    },
    /// A snapshot is on disk.
    Persisted {
        /// The version of [`Effect::Persist`].
        version: Version,
    },
}

/// What a replica wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send to all members, this one included, in total order.
    Broadcast(Message),
    /// Write to disk, then say so with [`Input::Persisted`]. One at a time.
    Persist {
        /// The configuration, for [`disk::to_bytes`].
        snapshot: Arc<Doc>,
        /// Its version.
        version: Version,
    },
    /// The answer to a request.
    Reply {
        /// Which one.
        id: u64,
        /// The answer.
        result: Result<Output, StoreError>,
    },
    /// The CIB changed.
    Changed {
        /// The version before.
        old: Version,
        /// The version after.
        new: Version,
        /// What changed.
        patch: Arc<Doc>,
        /// Whether the configuration did.
        config_changed: bool,
        /// The node where the change comes from.
        origin: NodeId,
        /// Who asked for what; nothing where the CIB was taken over from `origin`.
        asked: Option<Asked>,
    },
    /// This state lost against another one, which has not seen its configuration.
    SetAside {
        /// The state.
        doc: Doc,
        /// Why, in a sentence.
        reason: String,
    },
    /// Something that an operator should know.
    Warning(String),
    /// This node cannot hold the CIB that others hold: it must not go on as a member.
    Failed(String),
    /// All members of the view have the same CIB.
    Synced {
        /// Its version.
        version: Version,
    },
}

/// Who asked for a change, for what, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who.
    pub who: Who,
    /// Name of the operation, as [`Operation::name`] has it.
    pub operation: &'static str,
    /// Wall clock of the origin, in seconds since 1970.
    pub at_s: i64,
}

/// A request that was broadcast, or waits to be.
#[derive(Clone, Debug)]
struct Pending {
    request: u64,
    write: Write,
    /// Broadcast in the current view.
    sent: bool,
}

/// A request that was applied and waits for disks.
#[derive(Clone, Debug)]
struct Applying {
    request: u64,
    write: Write,
    version: Version,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Alone before the first view, or comparing.
    Comparing {
        states: BTreeMap<NodeId, State>,
    },
    /// Waiting for the winner's state.
    Adopting {
        winner: NodeId,
        lost: bool,
        /// Who cannot read it.
        unreadable: BTreeMap<NodeId, String>,
    },
    Synced,
}

/// A replica of the CIB.
#[derive(Debug)]
pub struct Store {
    local: NodeId,
    uname: String,
    boot: Incarnation,
    votes: BTreeMap<NodeId, u32>,
    doc: Doc,
    version: Version,
    /// The configuration is known to be valid.
    valid: bool,
    view: View,
    phase: Phase,
    /// See the module's page.
    term: Term,
    /// The highest term that a member brought into the view, and what goes with it.
    view_term: Term,
    /// Nodes that a member has met since the CIB was told last that they are down.
    met: BTreeSet<NodeId>,
    /// The others are known to be down, where they could have quorum as well.
    settled: bool,
    /// It was said that they are not.
    said_unsettled: bool,
    view_committed: Version,
    /// The version of the last change that came in a quorate view, or was there when one began.
    committed: Version,
    lived: bool,
    done: Done,
    history: VecDeque<Lineage>,
    next_seq: u64,
    pending: VecDeque<Pending>,
    applying: Vec<Applying>,
    /// What each member has on disk, as far as it said so: the newest term and version.
    durable: BTreeMap<NodeId, (Term, Version)>,
    /// The same for the local disk, and what is being written.
    local_durable: (Term, Version),
    persisting: Option<(Term, Version)>,
    /// When the last snapshot began, and how many changes of the configuration are first in it.
    snapshot: (Instant, u32),
    /// Changes of the configuration since.
    unsaved: u32,
    /// A snapshot waits until then for more changes.
    gathering: Option<Instant>,
    /// When to say next whose states are missing, and how long that has been.
    states_due: Option<(Instant, Duration)>,
    now: Instant,
    effects: VecDeque<Effect>,
}

impl Store {
    /// A replica that knows nobody yet; what is in `setup.doc` counts as being on disk.
    pub fn new(mut setup: Setup) -> Store {
        let (term, committed) = disk::take_term(&mut setup.doc);
        let version = Version::of(&setup.doc);
        let mut store = Store {
            local: setup.local,
            uname: setup.uname,
            boot: setup.boot,
            votes: setup.votes,
            doc: setup.doc,
            version,
            valid: false,
            view: View::default(),
            phase: Phase::Comparing { states: BTreeMap::new() },
            term,
            view_term: term,
            met: BTreeSet::new(),
            settled: false,
            said_unsettled: false,
            states_due: None,
            view_committed: committed,
            committed,
            lived: false,
            done: Done::default(),
            history: VecDeque::new(),
            next_seq: 0,
            pending: VecDeque::new(),
            applying: Vec::new(),
            durable: BTreeMap::new(),
            local_durable: (term, version),
            persisting: None,
            snapshot: (Instant(0), 0),
            unsaved: 0,
            gathering: None,
            now: Instant(0),
            effects: VecDeque::new(),
        };
        store.remember_lineage();
        store
    }

    /// The CIB with status. Clone it for use elsewhere: that is a memory copy.
    pub fn doc(&self) -> &Doc {
        &self.doc
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether all members of the current view have the same CIB.
    pub fn is_synced(&self) -> bool {
        matches!(self.phase, Phase::Synced)
    }

    /// Takes one input. Drain [`Store::poll_effect`] before the next one.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::View(view) => self.on_view(view),
            Input::Delivered { sender, message } => self.on_message(sender, message),
            Input::Request { id, who, op, force, now_seconds } => {
                self.on_request(id, who, op, force, now_seconds);
            }
            Input::Persisted { version } => self.on_persisted(version),
        }
        // Nothing keeps node ids between inputs.
        let _ = self.doc.compact();
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.gathering.is_some_and(|at| at <= now) {
            self.persist();
        }
        self.ask_for_states();
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Store::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.gathering, self.states_due.map(|(at, _)| at)].into_iter().flatten().min()
    }

    fn emit(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    fn reply(&mut self, id: u64, result: Result<Output, StoreError>) {
        self.emit(Effect::Reply { id, result });
    }

    // Membership

    fn on_view(&mut self, view: View) {
        self.durable.retain(|node, _| view.members.contains(node));
        self.met.extend(view.members.iter().chain(&view.met).filter(|node| **node != self.local));
        self.view = view;
        (self.settled, self.said_unsettled) = (false, false);
        self.states_due = Some((self.now + STATES_WAIT, STATES_WAIT));
        self.phase = Phase::Comparing { states: BTreeMap::new() };
        let pending = std::mem::take(&mut self.pending);
        let (overtaken, repeated) = pending.into_iter().partition(|p| p.write.who.internal);
        self.pending = repeated;
        self.overtaken(overtaken);
        self.tell_state();
    }

    /// Answers what was said in a view that has ended.
    fn overtaken(&mut self, said: VecDeque<Pending>) {
        for pending in said {
            self.reply(pending.request, Err(ErrorKind::Overtaken.into()));
        }
    }

    fn on_message(&mut self, sender: NodeId, message: Message) {
        match message {
            Message::State(state) => self.on_state(sender, state),
            Message::Unreadable { view, reason } if view == self.view.id => {
                self.on_unreadable(sender, reason);
            }
            Message::Unreadable { .. } => {}
            Message::Full { view, xml, version, done, history } => {
                self.on_full(sender, view, &xml, version, done, history);
            }
            Message::Write(write) => {
                if self.is_synced() && write.view == self.view.id {
                    self.on_write(write);
                }
            }
            Message::Persisted { term, version } => {
                let known = self.durable.entry(sender).or_insert((term, version));
                *known = (*known).max((term, version));
                self.on_read_by(sender);
                self.acknowledge();
            }
        }
    }

    fn synced(&mut self) {
        self.phase = Phase::Synced;
        self.lived = true;
        self.states_due = None;
        self.begin_term();
        self.settle();
        self.emit(Effect::Synced { version: self.version });
        self.resolve_pending();
        self.persist();
        self.tell_durable();
        self.send_pending();
    }

    /// Looks up what became of this node's writes in the state that all have now: a client's that
    /// are not part of it are to be broadcast again.
    fn resolve_pending(&mut self) {
        let applying = std::mem::take(&mut self.applying);
        let applied = applying.into_iter().map(|a| Pending {
            request: a.request,
            write: a.write,
            sent: true,
        });
        let mut all: Vec<Pending> = applied.chain(self.pending.drain(..)).collect();
        all.sort_by_key(|p| p.write.id.seq);
        for mut pending in all {
            match self.done.result(pending.write.id) {
                Some(Some(kind)) => self.reply(pending.request, Err(kind.into())),
                Some(None) => self.applying.push(Applying {
                    request: pending.request,
                    write: pending.write,
                    version: self.version,
                }),
                None if pending.sent && pending.write.who.internal => {
                    self.overtaken([pending].into());
                }
                None => {
                    pending.sent = false;
                    self.pending.push_back(pending);
                }
            }
        }
        self.acknowledge();
    }

    // Requests

    fn on_request(&mut self, id: u64, who: Who, op: Operation, force: bool, now_seconds: i64) {
        if op.is_query() {
            let cx = Context {
                who: &who,
                origin: &self.uname,
                now_seconds: None,
                validate: false,
                valid: false,
                check_features: false,
            };
            let result = apply(&mut self.doc, &op, &cx).map(|a| Output { xml: a.output });
            return self.reply(id, result);
        }
        if self.pending.len() >= REQUESTS_MAX {
            return self.reply(id, Err(ErrorKind::Busy.into()));
        }
        let write = Write {
            id: WriteId { origin: self.local, boot: self.boot, seq: self.next_seq },
            view: 0,
            quorate: false,
            uname: self.uname.clone(),
            who,
            force,
            now_seconds,
            op,
        };
        self.next_seq += 1;
        self.pending.push_back(Pending { request: id, write, sent: false });
        self.send_pending();
    }

    /// Broadcasts what waits, as far as the window allows; refuses what needs a quorum that is not
    /// there.
    fn send_pending(&mut self) {
        if !self.is_synced() {
            return;
        }
        let view = &self.view;
        let mut refused = Vec::new();
        self.pending.retain(|p| {
            let may = view.quorate || p.sent || p.write.force || p.write.who.internal;
            if !may {
                refused.push(p.request);
            }
            may
        });
        let first = self.pending.front().map_or(0, |p| p.write.id.seq);
        let mut messages = Vec::new();
        for pending in &mut self.pending {
            if pending.write.id.seq >= first + WINDOW {
                break;
            }
            if !pending.sent {
                pending.sent = true;
                (pending.write.view, pending.write.quorate) = (view.id, view.quorate);
                messages.push(Message::Write(pending.write.clone()));
            }
        }
        messages.into_iter().for_each(|m| self.emit(Effect::Broadcast(m)));
        refused.into_iter().for_each(|id| self.reply(id, Err(ErrorKind::NoQuorum.into())));
    }

    /// Applies a write: the same on every member.
    fn on_write(&mut self, write: Write) {
        if !self.done.begin(write.id) {
            return;
        }
        let result = if write.quorate || write.force || write.who.internal {
            let cx = Context {
                who: &write.who,
                origin: &write.uname,
                now_seconds: Some(write.now_seconds),
                validate: true,
                valid: self.valid,
                check_features: true,
            };
            apply(&mut self.doc, &write.op, &cx)
        } else {
            Err(ErrorKind::NoQuorum.into())
        };
        self.done.finish(write.id, result.as_ref().err().map(|e| e.kind));
        let request = match self.pending.iter().position(|p| p.write.id == write.id) {
            Some(at) => self.pending.remove(at).map(|p| p.request),
            None => None,
        };
        match result {
            Ok(applied) => self.applied(write, applied, request),
            Err(error) => {
                if let Some(request) = request {
                    self.reply(request, Err(error));
                }
            }
        }
        self.send_pending();
    }

    fn applied(&mut self, write: Write, applied: Applied, request: Option<u64>) {
        let Applied { old, new, config_changed, patch, .. } = applied;
        let told_down = if write.who.internal { disks::told_down(&write.op) } else { Vec::new() };
        self.version = new;
        self.valid |= config_changed && !write.op.is_status_only();
        if self.view.quorate {
            self.committed = new;
        }
        if mutant(Mutant::Diverging)
            && config_changed
            && self.votes.keys().max() == Some(&self.local)
        {
            let root = self.doc.root_id();
            self.doc.set_attr(root, "diverges", "true");
        }
        if config_changed {
            self.remember_lineage();
        }
        if let Some(patch) = patch {
            self.emit(Effect::Changed {
                old,
                new,
                patch: Arc::new(patch),
                config_changed,
                origin: write.id.origin,
                asked: Some(Asked {
                    who: write.who.clone(),
                    operation: write.op.name(),
                    at_s: write.now_seconds,
                }),
            });
        }
        match request {
            Some(request) if config_changed => {
                self.applying.push(Applying { request, write, version: new });
            }
            Some(request) => self.reply(request, Ok(Output::default())),
            None => {}
        }
        if config_changed {
            self.unsaved += 1;
            self.persist();
        }
        self.told_down(&told_down);
        if !self.settled {
            self.settle();
        }
    }

    fn remember_lineage(&mut self) {
        let lineage = lineage(&self.doc);
        if self.history.back() != Some(&lineage) {
            self.history.push_back(lineage);
        }
        while self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }
}

/// What identifies a state of a configuration among those that one lineage went through.
fn lineage(doc: &Doc) -> Lineage {
    let version = Version::of(doc);
    let root = doc.root();
    let names = ["cib-last-written", "update-origin", "update-client", "update-user"];
    let text = names.map(|n| root.attr(n).unwrap_or_default()).join("|");
    (version.admin_epoch, version.epoch, text)
}
