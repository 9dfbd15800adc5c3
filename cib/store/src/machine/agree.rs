//! How members come to the same CIB when a view begins: each says what it has, one is chosen by the
//! same rule everywhere, and all take that over.

use std::collections::BTreeMap;
use std::sync::Arc;

use cib_xml::patch::{self, Positions};
use cib_xml::{Doc, Style, digest};
use membership_base::NodeId;

use super::{Effect, Message, Phase, Store, lineage};
use crate::message::{Done, Lineage, State};
use crate::version::{Term, Version};

impl Store {
    pub(super) fn tell_state(&mut self) {
        let state = State {
            view: self.view.id,
            version: self.version,
            digest: self.digest(),
            config_digest: self.config_digest(),
            term: self.term,
            committed: self.committed,
            lived: self.lived,
            met: self.met.iter().copied().collect(),
        };
        self.emit(Effect::Broadcast(Message::State(state)));
    }

    /// Digest of the whole replicated state: the CIB, and the results of past writes.
    pub(super) fn digest(&self) -> String {
        let done = Message::Full {
            view: 0,
            xml: digest::v2_unfiltered(self.doc.root()),
            version: self.version,
            done: self.done.clone(),
            history: Vec::new(),
        };
        digest::md5_hex(&done.encode())
    }

    pub(super) fn config_digest(&self) -> String {
        self.doc.root().child("configuration").map(digest::v2).unwrap_or_default()
    }

    pub(super) fn on_state(&mut self, sender: NodeId, state: State) {
        if state.view != self.view.id || !self.view.members.contains(&sender) {
            return;
        }
        let Phase::Comparing { states } = &mut self.phase else { return };
        states.insert(sender, state);
        if states.len() < self.view.members.len() {
            return;
        }
        let states = std::mem::take(states);
        self.states_due = None;
        let rank = |(node, s): &(&NodeId, &State)| {
            (s.term, s.committed.config(), s.version, s.lived, std::cmp::Reverse(**node))
        };
        let Some((winner, best)) = states.iter().max_by_key(rank) else { return };
        (self.view_term, self.view_committed) = (best.term, best.committed);
        let met = states.values().flat_map(|state| &state.met);
        self.met = met.filter(|node| self.votes.contains_key(node)).copied().collect();
        if states.values().all(|s| s.digest == best.digest) {
            self.synced();
            return;
        }
        let mine = &states[&self.local];
        let lost = mine.digest != best.digest && mine.config_digest != best.config_digest;
        if *winner == self.local {
            let version = merged_version(best, &states);
            let full = Message::Full {
                view: self.view.id,
                xml: self.doc.root().to_xml(Style::Compact),
                version,
                done: self.done.clone(),
                history: self.history.iter().cloned().collect(),
            };
            self.emit(Effect::Broadcast(full));
        }
        self.phase = Phase::Adopting { winner: *winner, lost, unreadable: BTreeMap::new() };
    }

    pub(super) fn on_full(
        &mut self,
        sender: NodeId,
        view: u64,
        xml: &str,
        version: Version,
        done: Done,
        history: Vec<Lineage>,
    ) {
        let Phase::Adopting { winner, lost, .. } = self.phase else { return };
        if sender != winner || view != self.view.id {
            return;
        }
        // The winner took it from its own memory, so only a broken peer, or one of another release,
        // sends what cannot be read.
        let mut doc = match Doc::parse(xml) {
            Ok(doc) => doc,
            Err(error) => {
                let (view, reason) = (self.view.id, error.to_string());
                return self.emit(Effect::Broadcast(Message::Unreadable { view, reason }));
            }
        };
        version.write(&mut doc);
        if lost {
            self.set_aside(winner, &history);
        }
        let config_before = self.config_digest();
        let old = self.version;
        let patch = patch::make(&self.doc, &doc, Positions::Count);
        (self.doc, self.version, self.valid) = (doc, version, false);
        (self.done, self.history) = (done, history.into());
        if let Some(patch) = patch {
            let config_changed = config_before != self.config_digest() || !old.same_config(version);
            self.emit(Effect::Changed {
                old,
                new: version,
                patch: Arc::new(patch),
                config_changed,
                origin: winner,
                asked: None,
            });
        }
        self.remember_lineage();
        self.synced();
    }

    /// A member cannot read the winner's CIB. Nobody else's may be taken instead: it is the one that
    /// has what was acknowledged. If nobody can read it, resources go on as they are, and the log
    /// says why nothing else happens.
    pub(super) fn on_unreadable(&mut self, sender: NodeId, reason: String) {
        let members = self.view.members.len();
        let Phase::Adopting { winner, unreadable, .. } = &mut self.phase else { return };
        unreadable.insert(sender, reason.clone());
        let text = format!("node {sender} cannot read the CIB that node {winner} sends: {reason}");
        let all = unreadable.len() == members;
        self.emit(Effect::Warning(text));
        if all {
            let text = "no member can read the CIB that all have to take over, so nothing can be \
                        planned or changed: restart the cluster's daemons with a release that can, \
                        or with another cib.xml";
            self.emit(Effect::Warning(text.to_owned()));
        }
        // Others may have taken it over before.
        let others: Vec<NodeId> = self.durable.keys().copied().collect();
        others.into_iter().for_each(|node| self.on_read_by(node));
    }

    /// A member has taken the CIB over. If this node cannot read it, it cannot go on among those who
    /// can.
    pub(super) fn on_read_by(&mut self, node: NodeId) {
        let Phase::Adopting { winner, unreadable, .. } = &self.phase else { return };
        let Some(reason) = unreadable.get(&self.local).filter(|_| node != self.local) else {
            return;
        };
        // What was said in an earlier view has an earlier term.
        let taken = self.durable.get(&node).is_some_and(|(term, _)| *term > self.view_term);
        if taken {
            let text = format!(
                "this node cannot read the CIB of node {winner}, which the others have taken over: \
                 {reason}"
            );
            self.emit(Effect::Failed(text));
        }
    }

    /// Some members have not said what they have. None can be left out: it may be the one that has
    /// what was acknowledged, and it is a member, so it would go on with another CIB. It is asked
    /// again, and named.
    pub(super) fn ask_for_states(&mut self) {
        let Some((_, waited)) = self.states_due.filter(|(at, _)| *at <= self.now) else { return };
        let Phase::Comparing { states } = &self.phase else { return };
        let silent = self.view.members.iter().filter(|member| !states.contains_key(member));
        let silent: Vec<String> = silent.map(NodeId::to_string).collect();
        let text = format!(
            "nothing can be planned or changed: node {} has not said in {} s which CIB it has, and \
             cannot be left out, since it may be the one with the last changes; if it stays like \
             that, restart its daemon, or fence it",
            silent.join(", "),
            waited.as_secs()
        );
        self.states_due = Some((self.now + waited, waited * 2));
        self.emit(Effect::Warning(text));
        // A member that has not heard this node's state is in the same situation.
        self.tell_state();
    }

    /// Hands out the local state if the winner has never had its configuration.
    pub(super) fn set_aside(&mut self, winner: NodeId, history: &[Lineage]) {
        let mine = lineage(&self.doc);
        if self.version == Version::default() || history.contains(&mine) {
            return;
        }
        let reason = format!(
            "node {winner} has a CIB that wins over the local one of version {}, and that does not \
             contain the local changes",
            self.version
        );
        self.emit(Effect::SetAside { doc: self.doc.clone(), reason });
    }

    /// The term of the view, by what all its members know alike.
    pub(super) fn begin_term(&mut self) {
        (self.term, self.committed) = match self.view.quorate {
            true => {
                let Term { generation, view } = self.view_term;
                let view = self.view.id.max(view.saturating_add(1));
                (Term { generation, view }, self.version)
            }
            false => (self.view_term, self.view_committed),
        };
    }
}

/// The version that a winner's state gets, so that nobody's goes back and no number names two
/// configurations.
fn merged_version(best: &State, states: &BTreeMap<NodeId, State>) -> Version {
    let highest = states.values().map(|s| s.version).max().unwrap_or(best.version);
    let same_number_other_config = states
        .values()
        .any(|s| s.version.same_config(best.version) && s.config_digest != best.config_digest);
    if highest.config() > best.version.config() || same_number_other_config {
        Version { epoch: highest.epoch + 1, num_updates: 0, ..highest }
    } else {
        Version { num_updates: highest.num_updates + 1, ..best.version }
    }
}
