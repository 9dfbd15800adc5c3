//! What is on which disk, and when that is enough to acknowledge a change.

use std::sync::Arc;

use cib_xml::Doc;
use membership_base::NodeId;
use membership_base::mutant::{Mutant, mutant};

use super::{Effect, GATHERING, Message, Output, STREAM, Store};
use crate::disk;
use crate::operation::{Operation, Target};
use crate::version::Version;

impl Store {
    /// Begins a new generation as soon as all nodes that could have quorum without this partition
    /// are known to be down. All members see that at the same place of the order, since they see it
    /// in the CIB.
    pub(super) fn settle(&mut self) {
        let alone = self.view.quorate && !self.view.exclusive;
        if !alone || self.settled || !self.is_synced() || !self.rivals().is_empty() {
            return;
        }
        self.settled = true;
        self.term.generation = self.term.generation.saturating_add(1);
        self.persist();
    }

    /// Configured nodes with votes that are not members, and that nobody knows to be down: a node
    /// counts as down when its fence was confirmed or when it has left in good order, until somebody
    /// meets it again. That it has come back may not have got into the CIB before it was lost.
    pub fn rivals(&self) -> Vec<NodeId> {
        let states = self.doc.root().child("status");
        let is_down = |node: NodeId| {
            let mut states = states.iter().flat_map(|s| s.children_named("node_state"));
            let id = node.to_string();
            let state = states.find(|state| state.attr("id") == Some(&id));
            let down = state.is_some_and(|state| state.attr("expected") == Some("down"));
            down && !self.met.contains(&node)
        };
        let missing = self.votes.iter().filter(|(node, votes)| {
            **votes > 0 && !self.view.members.contains(node) && !is_down(**node)
        });
        missing.map(|(node, _)| *node).collect()
    }

    /// The cluster has been told of these nodes that they are down.
    pub(super) fn told_down(&mut self, nodes: &[NodeId]) {
        self.met.retain(|node| !nodes.contains(node));
    }

    /// Whether anybody ever fences. Without that nothing is ever known of a node that is lost.
    pub(super) fn is_fencing(&self, now_seconds: i64) -> bool {
        let now = cib_model::Time::from_epoch(now_seconds);
        cib_model::cluster_options(self.doc.root(), now).flag("fencing-enabled")
    }

    /// Has the configuration written if the disk has another one, or has it from another term;
    /// changes that come while a write is under way are written together after it.
    pub(super) fn persist(&mut self) {
        self.gathering = None;
        let (term, version) = self.local_durable;
        let on_disk = term == self.term && version.same_config(self.version);
        if self.persisting.is_some() || on_disk {
            return;
        }
        let (began, changes) = self.snapshot;
        if changes >= STREAM && self.now < began + GATHERING {
            self.gathering = Some(began + GATHERING);
            return;
        }
        self.snapshot = (self.now, std::mem::take(&mut self.unsaved));
        let version = Version { num_updates: 0, ..self.version };
        self.persisting = Some((self.term, version));
        let snapshot = Arc::new(disk::snapshot(&self.doc, self.term, self.committed));
        self.emit(Effect::Persist { snapshot, version });
    }

    pub(super) fn on_persisted(&mut self, version: Version) {
        let Some(written) = self.persisting.filter(|(_, v)| *v == version) else { return };
        self.persisting = None;
        self.local_durable = written;
        self.tell_durable();
        self.persist();
    }

    pub(super) fn tell_durable(&mut self) {
        let (term, version) = self.local_durable;
        self.emit(Effect::Broadcast(Message::Persisted { term, version }));
    }

    /// Answers requests whose change enough disks have: a majority's by votes, or those of all members
    /// if a smaller partition has quorum by other rules, and nobody else can have it as well. Without
    /// quorum nothing is acknowledged but what was forced, since the other side may go on without it.
    /// Versions can be compared within a term only: that of another may stand for another state.
    pub(super) fn acknowledge(&mut self) {
        if !self.is_synced() {
            return;
        }
        let votes_of = |nodes: &mut dyn Iterator<Item = &NodeId>| {
            let votes = nodes.filter_map(|node| self.votes.get(node));
            votes.fold(0u64, |sum, votes| sum + u64::from(*votes))
        };
        let majority = votes_of(&mut self.votes.keys()) / 2 + 1;
        let all = votes_of(&mut self.view.members.iter()).max(1);
        let sole = self.view.exclusive || self.settled;
        let asked_at = self.applying.last().map(|a| a.write.now_seconds);
        let waits = self.view.quorate && !sole && asked_at.is_some_and(|at| self.is_fencing(at));
        let (quorate, term) = (self.view.quorate && !waits, self.term);
        let durable = &self.durable;
        let members = &self.view.members;
        let mut answered = Vec::new();
        let mut applying = std::mem::take(&mut self.applying);
        applying.retain(|a| {
            let has = |n: &&NodeId| {
                let known = durable.get(n).filter(|(of, _)| *of == term);
                known.is_some_and(|(_, v)| v.config() >= a.version.config())
            };
            let needed = if quorate || a.write.force { majority.min(all) } else { majority };
            let enough =
                votes_of(&mut members.iter().filter(has)) >= needed || mutant(Mutant::NoDisk);
            if enough {
                answered.push(a.request);
            }
            !enough
        });
        self.applying = applying;
        if waits && !self.applying.is_empty() && !self.said_unsettled {
            self.said_unsettled = true;
            let rivals: Vec<String> = self.rivals().iter().map(NodeId::to_string).collect();
            self.emit(Effect::Warning(format!(
                "changes of the configuration are not acknowledged yet: node {} is not known to be \
                 down and may have quorum as well, so its configuration could win later; fence it, \
                 or confirm that it is down (stonith_admin --confirm)",
                rivals.join(", ")
            )));
        }
        answered.into_iter().for_each(|id| self.reply(id, Ok(Output::default())));
    }
}

/// The nodes that an operation on the status says are down, whether or not that changes anything.
pub(super) fn told_down(op: &Operation) -> Vec<NodeId> {
    let Operation::Modify { target: Target::Section(section), xml, .. } = op else {
        return match op {
            Operation::Transaction(steps) => steps.iter().flat_map(told_down).collect(),
            _ => Vec::new(),
        };
    };
    // Most writes say nothing of it.
    if section != "status" || !xml.contains("expected") {
        return Vec::new();
    }
    let Ok(doc) = Doc::parse(xml) else { return Vec::new() };
    let state = doc.root();
    let down = state.name() == "node_state" && state.attr("expected") == Some("down");
    let id = state.attr("id").filter(|_| down).and_then(|id| id.parse().ok());
    id.map(NodeId).into_iter().collect()
}
