//! Changes of secrets, told to all members and answered once each of them has kept its copy; and
//! what members that come together tell each other, so that one that was away has them all.
//!
//! Members say which secrets they have, and of when, before they greet the others: whoever has the
//! newest then tells its value before the DC can know all, and so before anything is started.
//!
//! Which is the newest goes by the order of the ring, not by the members' clocks: when a change is
//! delivered it gets a time that is later than that of all before it, which all members know of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cib_model::{Model, ResourceDef, Time};
use cib_xml::Doc;
use crm_api::secret::{Change, MARK, Place};
use crm_api::{Response, exit};
use crm_controller::Seen;
use membership_base::{Instant, NodeId, Rng};
use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::{Effect, Message};

/// What members say to each other about secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum SecretMessage {
    /// Everybody keeps this.
    Keep {
        /// The sender's number for it.
        number: u64,
        /// When it was asked for, by the sender's clock: milliseconds since the epoch.
        at_ms: u64,
        change: Change,
    },
    /// The answer of one member.
    Kept {
        /// Who asked.
        asker: NodeId,
        number: u64,
        /// Why it could not be kept.
        error: Option<String>,
    },
    /// What the sender has of the secrets that the CIB names, and of when each is.
    Have { view: u64, secrets: Vec<(Place, u64)> },
    /// Whoever has none, or one of before, keeps this.
    Fill { at_ms: u64, change: Change },
}

/// What this node's tools wait for.
#[derive(Default)]
pub(crate) struct Secrets {
    asked: BTreeMap<u64, Asked>,
    count: u64,
    /// Nodes seen before: the controller is told that the CIB is that of all once this node has
    /// looked at its secrets.
    synced: Option<Vec<Seen>>,
    /// Of when the newest known value of each secret is.
    newest: BTreeMap<Place, u64>,
    /// Members have said what they have since this daemon was started.
    looked: bool,
    /// What the members of this view have said that they have.
    had: BTreeMap<NodeId, BTreeMap<Place, u64>>,
}

struct Asked {
    client: u64,
    /// Members that have not answered; empty until the ring has delivered the change.
    waiting: BTreeSet<NodeId>,
    errors: Vec<String>,
}

impl Secrets {
    fn know(&mut self, place: &Place, at_ms: u64) {
        let newest = self.newest.entry(place.clone()).or_default();
        *newest = at_ms.max(*newest);
    }
}

impl Node {
    /// A tool wants a secret changed. Only root may do that, and only over an encrypted ring.
    pub(crate) fn keep_secret(&mut self, now: Instant, client: u64, user: &str, change: Change) {
        if user != "root" {
            let reason = format!("user {user} may not change secrets: only root may");
            return self.fail(client, exit::INSUFFICIENT_PRIVILEGES, &reason);
        }
        if !self.setup.encrypted {
            let reason = "secrets do not go over a ring that is not encrypted: set crypto_cipher \
                          and crypto_hash in corosync.conf";
            return self.fail(client, exit::ERROR, reason);
        }
        if let Err(reason) = change.check() {
            return self.fail(client, exit::DATAERR, &reason);
        }
        self.secrets.count += 1;
        // An answer to an earlier incarnation has none of these numbers: they are far apart.
        let first = Rng::new(self.setup.life.0).next_u64();
        let number = first.wrapping_add(self.secrets.count);
        let asked = Asked { client, waiting: BTreeSet::new(), errors: Vec::new() };
        self.secrets.asked.insert(number, asked);
        let at_ms = self.wall_ms(now);
        self.send(Message::Secret(SecretMessage::Keep { number, at_ms, change }));
    }

    pub(crate) fn secret_delivered(&mut self, sender: NodeId, message: SecretMessage) {
        match message {
            SecretMessage::Keep { number, at_ms, change } => {
                if sender == self.setup.local
                    && let Some(asked) = self.secrets.asked.get_mut(&number)
                {
                    asked.waiting = self.view.members.iter().copied().collect();
                }
                match change.check() {
                    Ok(()) => {
                        // A clock that is behind does not make the last change an old one.
                        let newest = self.secrets.newest.entry(change.place.clone()).or_default();
                        let at_ms = at_ms.max(newest.saturating_add(1));
                        *newest = at_ms;
                        let asked = Some((sender, number));
                        self.effects.push_back(Effect::KeepSecret { asked, at_ms, change });
                    }
                    Err(error) => self.secret_kept(sender, number, Some(error)),
                }
            }
            SecretMessage::Kept { asker, number, error } if asker == self.setup.local => {
                let name = self.setup.nodes.get(&sender).cloned().unwrap_or_default();
                if let Some(asked) = self.secrets.asked.get_mut(&number) {
                    asked.waiting.remove(&sender);
                    asked.errors.extend(error.map(|e| format!("node {name}: {e}")));
                }
                self.answer_secret(number);
            }
            SecretMessage::Kept { .. } => {}
            SecretMessage::Have { view, secrets } => {
                if view == self.view.id {
                    for (place, at_ms) in &secrets {
                        self.secrets.know(place, *at_ms);
                    }
                    self.secrets.looked = true;
                    self.secrets.had.insert(sender, secrets.into_iter().collect());
                    self.tell_newest();
                }
            }
            SecretMessage::Fill { at_ms, change } => {
                if sender != self.setup.local && change.check().is_ok() && change.value.is_some() {
                    self.secrets.know(&change.place, at_ms);
                    self.effects.push_back(Effect::KeepSecret { asked: None, at_ms, change });
                }
            }
        }
    }

    /// The CIB is that of all. Members that were apart tell each other what they have first.
    pub(crate) fn secrets_synced(&mut self, now: Instant, seen: Vec<Seen>) {
        let apart = self.view.members.iter().any(|id| !self.view.came_with_us.contains(id));
        let places = match (apart || !self.secrets.looked) && self.setup.encrypted {
            true => marked(self.cib(), self.wall_ms(now)),
            false => Vec::new(),
        };
        if places.is_empty() {
            self.controller.handle(now, crm_controller::Input::Synced { seen });
        } else {
            self.secrets.synced = Some(seen);
            self.effects.push_back(Effect::LookAtSecrets { view: self.view.id, places });
        }
    }

    /// [`Effect::LookAtSecrets`] has been carried out.
    pub(crate) fn secrets_found(&mut self, now: Instant, view: u64, secrets: Vec<(Place, u64)>) {
        if view != self.view.id {
            return;
        }
        self.send(Message::Secret(SecretMessage::Have { view, secrets }));
        if let Some(seen) = self.secrets.synced.take() {
            self.controller.handle(now, crm_controller::Input::Synced { seen });
        }
    }

    /// Once all members have said what they have: of those who have the newest of a secret, the one
    /// with the lowest number tells it, if somebody has another or none.
    fn tell_newest(&mut self) {
        let had = &self.secrets.had;
        if !self.view.members.iter().all(|id| had.contains_key(id)) {
            return;
        }
        let Some(own) = had.get(&self.setup.local) else { return };
        let mut places = Vec::new();
        for (place, at_ms) in own {
            let newest = had.values().filter_map(|has| has.get(place)).max();
            let has_it = |has: &BTreeMap<Place, u64>| has.get(place) == newest;
            let teller = had.iter().find(|(_, has)| has_it(has)).map(|(id, _)| *id);
            if teller == Some(self.setup.local) && !had.values().all(has_it) {
                places.push((place.clone(), *at_ms));
            }
        }
        if !places.is_empty() {
            self.effects.push_back(Effect::ReadSecrets { places });
        }
    }

    /// A part of [`Effect::ReadSecrets`] has been carried out.
    pub(crate) fn fill_secret(&mut self, at_ms: u64, change: Change) {
        self.send(Message::Secret(SecretMessage::Fill { at_ms, change }));
    }

    /// This node has done its part of a change.
    pub(crate) fn secret_kept(&mut self, asker: NodeId, number: u64, error: Option<String>) {
        self.send(Message::Secret(SecretMessage::Kept { asker, number, error }));
    }

    /// Members that are gone will not answer.
    pub(crate) fn secrets_view_changed(&mut self) {
        self.secrets.synced = None;
        self.secrets.had.clear();
        let members: BTreeSet<NodeId> = self.view.members.iter().copied().collect();
        let mut numbers = Vec::new();
        for (number, asked) in &mut self.secrets.asked {
            let before = asked.waiting.len();
            for lost in asked.waiting.difference(&members) {
                let name = self.setup.nodes.get(lost).cloned().unwrap_or_default();
                asked.errors.push(format!("node {name} was lost before it answered"));
            }
            asked.waiting.retain(|id| members.contains(id));
            if asked.waiting.len() < before {
                numbers.push(*number);
            }
        }
        numbers.into_iter().for_each(|number| self.answer_secret(number));
    }

    fn answer_secret(&mut self, number: u64) {
        if !self.secrets.asked.get(&number).is_some_and(|asked| asked.waiting.is_empty()) {
            return;
        }
        let Some(Asked { client, errors, .. }) = self.secrets.asked.remove(&number) else { return };
        if errors.is_empty() {
            self.reply(client, Response::Done);
        } else {
            self.fail(client, exit::ERROR, &errors.join("; "));
        }
    }
}

/// The parameters of resources that the CIB says are secret.
fn marked(cib: &Doc, wall_ms: u64) -> Vec<Place> {
    let resources = cib.root().child("configuration").and_then(|c| c.child("resources"));
    let mut all = resources.into_iter().flat_map(|r| r.descendants());
    if !all.any(|element| element.attr("value") == Some(MARK)) {
        return Vec::new();
    }
    let seconds = i64::try_from(wall_ms / 1000).unwrap_or(i64::MAX);
    let model = Model::from_doc(&Arc::new(cib.clone()), Time::from_epoch(seconds));
    let mut found = Vec::new();
    let mut defs: Vec<&Arc<ResourceDef>> = model.resources.iter().collect();
    while let Some(def) = defs.pop() {
        defs.extend(&def.children);
        let pairs = def.params.0.iter().flat_map(|block| &block.pairs);
        let names = pairs.filter(|pair| &*pair.value == MARK).map(|pair| &*pair.name);
        found.extend(names.filter_map(|name| Place::new(&def.id, name).ok()));
    }
    found.sort();
    found.dedup();
    found
}
