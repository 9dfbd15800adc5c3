//! How replicas come to the same table, and notice if they have not.
//!
//! When a view begins, every member tells what its own node has. What all have told is the table, and
//! what was changed since the view began is applied to it: so it is a function of what was said in the
//! view, and the same on all members whatever each had before. That a member of the view before is
//! still one means nothing: it may have been cut off or paused while the others went on without it.
//!
//! Where all members have come together from the view before, they had the same table already. If
//! that is not so, somebody has made a mistake, which is said and undone.

use std::collections::{BTreeMap, BTreeSet};

use membership_base::Instant;

use crate::{Attribute, Attributes, Change, Effect, Message, Unwritten, Update};

/// Most bytes of changes that are kept until all members have told what they have. Beyond that each
/// member keeps the table that it has; they are compared again in the next view.
const CHANGES_MAX: usize = 64 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Merge {
    /// What each member has told so far.
    told: BTreeMap<String, Vec<Update>>,
    /// What they have to tell if all have the same table; nothing where they may differ.
    expected: Option<BTreeMap<String, Vec<Update>>>,
    /// The changes since the view began.
    changes: Vec<Message>,
    /// About how large they are.
    bytes: usize,
}

impl Attributes {
    /// The whole table as changes that make it, if all members of the view have the same one.
    pub fn agreed(&self) -> Option<Vec<Update>> {
        let nodes: BTreeSet<&String> = self.table.values().flat_map(|a| a.values.keys()).collect();
        let all = nodes.into_iter().flat_map(|node| self.values_of(node)).collect();
        self.merge.is_none().then_some(all)
    }

    pub(crate) fn view(&mut self, id: u64, members: Vec<String>, apart: bool) {
        let members: BTreeSet<String> = members.into_iter().collect();
        if id == self.view && members == self.members {
            return; // only the verdict on quorum has changed
        }
        for attribute in self.table.values_mut() {
            attribute.values.retain(|node, _| members.contains(node));
        }
        self.table.retain(|_, a| !a.values.is_empty());
        for unwritten in self.unwritten.values_mut() {
            unwritten.nodes.retain(|node| members.contains(node));
        }
        let same = self.merge.is_none() && !apart;
        let of = |node: &String| (node.clone(), self.values_of(node));
        let expected = same.then(|| members.iter().map(of).collect());
        (self.view, self.members) = (id, members);
        self.merge = Some(Merge { told: BTreeMap::new(), expected, changes: Vec::new(), bytes: 0 });
        let values = self.values_of(&self.local);
        self.effects.push_back(Effect::Broadcast(Message::Own { view: id, values }));
    }

    fn values_of(&self, node: &str) -> Vec<Update> {
        let of = |(name, a): (&String, &Attribute)| {
            Some(Update {
                dampen_ms: Some(a.dampen_ms),
                private: a.private,
                set: a.set.clone(),
                ..Update::set(node, name, a.values.get(node)?)
            })
        };
        self.table.iter().filter_map(of).collect()
    }

    /// Keeps a change for the table that all will have.
    pub(crate) fn remember(&mut self, change: &Message) {
        let Some(merge) = &mut self.merge else { return };
        merge.bytes = merge.bytes.saturating_add(size(change));
        if merge.bytes <= CHANGES_MAX {
            merge.changes.push(change.clone());
            return;
        }
        let told = &merge.told;
        let silent: Vec<&str> =
            self.members.iter().filter(|m| !told.contains_key(*m)).map(String::as_str).collect();
        let text = format!(
            "{} did not tell its node attributes, and too much has changed since to wait for it: \
             what members know of them may differ until the membership changes; restart its daemon",
            silent.join(", ")
        );
        self.merge = None;
        self.effects.push_back(Effect::Error(text));
    }

    pub(crate) fn told(&mut self, now: Instant, sender: String, view: u64, values: Vec<Update>) {
        let Some(merge) = self.merge.as_mut().filter(|_| view == self.view) else { return };
        if !self.members.contains(&sender) {
            return;
        }
        merge.told.insert(sender, values);
        if merge.told.len() < self.members.len() {
            return;
        }
        let Some(merge) = self.merge.take() else { return };
        if merge.expected.as_ref() == Some(&merge.told) {
            return;
        }
        if let Some(expected) = &merge.expected {
            self.report(expected, &merge.told);
        }
        self.rebuild(now, merge);
    }

    fn report(
        &mut self,
        expected: &BTreeMap<String, Vec<Update>>,
        told: &BTreeMap<String, Vec<Update>>,
    ) {
        let differs = told.iter().filter(|(node, values)| expected.get(*node) != Some(values));
        let nodes: Vec<&str> = differs.map(|(node, _)| node.as_str()).collect();
        let text = format!(
            "the node attributes of {} are not the same here as on that node, though both have seen \
             the same changes: what the node says is taken; this is a defect, please report it with \
             the logs of all members",
            nodes.join(", ")
        );
        self.effects.push_back(Effect::Error(text));
    }

    fn rebuild(&mut self, now: Instant, merge: Merge) {
        let old = std::mem::take(&mut self.table);
        for (node, values) in merge.told {
            for update in values.into_iter().filter(|u| u.node == node) {
                self.apply(now, update);
            }
        }
        merge.changes.into_iter().for_each(|change| self.change(now, change));
        // The CIB may be another partition's: write also what this replica had before, and remove
        // what nobody has any more.
        self.mark_all(now);
        for (name, Attribute { private, set, values, .. }) in old {
            let gone: BTreeSet<String> =
                values.into_keys().filter(|node| self.get(node, &name).is_none()).collect();
            if self.writer && !private && !gone.is_empty() {
                let new = Unwritten { nodes: BTreeSet::new(), due: now, set };
                self.unwritten.entry(name).or_insert(new).nodes.extend(gone);
            }
        }
    }
}

fn size(message: &Message) -> usize {
    let of = |u: &Update| {
        let value = if let Change::Set(value) = &u.change { value.len() } else { 0 };
        size_of::<Update>() + u.name.len() + u.node.len() + value
    };
    match message {
        Message::Update(updates) | Message::Own { values: updates, .. } => {
            updates.iter().map(of).sum()
        }
        Message::Clear { node, prefix } => size_of::<Message>() + node.len() + prefix.len(),
    }
}
