//! Changes of secrets, told to all members and answered once each of them has kept its copy.

use std::collections::{BTreeMap, BTreeSet};

use crm_api::secret::Change;
use crm_api::{Response, exit};
use membership_base::NodeId;
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
}

/// What this node's tools wait for.
#[derive(Default)]
pub(crate) struct Secrets {
    asked: BTreeMap<u64, Asked>,
    count: u64,
}

struct Asked {
    client: u64,
    /// Members that have not answered; empty until the ring has delivered the change.
    waiting: BTreeSet<NodeId>,
    errors: Vec<String>,
}

impl Node {
    /// A tool wants a secret changed. Only root may do that, and only over an encrypted ring.
    pub(crate) fn keep_secret(&mut self, client: u64, user: &str, change: Change) {
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
        // An answer to an earlier life of this daemon has none of these numbers.
        let number = self.setup.life + self.secrets.count;
        let asked = Asked { client, waiting: BTreeSet::new(), errors: Vec::new() };
        self.secrets.asked.insert(number, asked);
        self.send(Message::Secret(SecretMessage::Keep { number, change }));
    }

    pub(crate) fn secret_delivered(&mut self, sender: NodeId, message: SecretMessage) {
        match message {
            SecretMessage::Keep { number, change } => {
                if sender == self.setup.local
                    && let Some(asked) = self.secrets.asked.get_mut(&number)
                {
                    asked.waiting = self.view.members.iter().copied().collect();
                }
                match change.check() {
                    Ok(()) => {
                        self.effects.push_back(Effect::KeepSecret {
                            asker: sender,
                            number,
                            change,
                        });
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
        }
    }

    /// This node has done its part of a change.
    pub(crate) fn secret_kept(&mut self, asker: NodeId, number: u64, error: Option<String>) {
        self.send(Message::Secret(SecretMessage::Kept { asker, number, error }));
    }

    /// Members that are gone will not answer.
    pub(crate) fn secrets_view_changed(&mut self) {
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
