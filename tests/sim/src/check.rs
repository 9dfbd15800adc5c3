//! What must hold, checked as things happen.

use std::collections::{BTreeMap, BTreeSet};

use cib_store::Version;
use membership_base::{NodeId, View};

/// More fences of one host for one fault than any chain of them needs: that for the loss, one for the
/// life that it hit, and so on with growing pauses.
const CUTS_MAX: u32 = 4;

/// What the checkers have seen; the first violation is kept.
#[derive(Default)]
pub struct Checker {
    /// Where each resource physically runs.
    active: BTreeMap<String, BTreeSet<NodeId>>,
    /// The node that last ran a resource and has neither stopped it, nor been looked at and found
    /// without it, nor been fenced since.
    holder: BTreeMap<String, NodeId>,
    /// Which instance of a clone was last started on a host.
    instances: BTreeMap<(String, NodeId), String>,
    /// What was delivered in each view, as the first member saw it.
    orders: BTreeMap<(u64, NodeId), Vec<(NodeId, u64)>>,
    views: BTreeMap<(u64, NodeId), Vec<NodeId>>,
    /// Members of quorate views that rule out any other quorate one without one of them.
    exclusive: BTreeSet<Vec<NodeId>>,
    versions: BTreeMap<NodeId, Version>,
    acknowledged: BTreeSet<String>,
    /// How often a host's power was cut since the last fault.
    power_cuts: BTreeMap<NodeId, u32>,
    /// The CIB that members of a view hold at a version, and who was seen with it first.
    replicas: BTreeMap<(u64, Vec<NodeId>, Version), (NodeId, String)>,
    /// Hosts that were said to be off and are not: what they run does not count, for nobody can know
    /// better. They have to stop it as soon as they hear of it.
    believed_off: BTreeSet<NodeId>,
    /// The node attributes that members of a view hold after so many of its messages, likewise.
    attributes: BTreeMap<(u64, Vec<NodeId>, usize), (NodeId, u64)>,
    /// What was violated first.
    pub violation: Option<String>,
}

impl Checker {
    fn fail(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// A resource has become active on a host that saw these members when it began to start it.
    pub fn started(&mut self, resource: &str, host: NodeId, members: &[NodeId]) {
        if let Some(holder) = self.holder.get(resource).filter(|h| **h != host)
            && !members.contains(holder)
        {
            self.fail(format!(
                "invariant 2: {resource} is started on node {host} though node {holder}, which \
                 had it, is neither fenced nor a member"
            ));
        }
        self.holder.insert(resource.to_owned(), host);
        let active = self.active.entry(resource.to_owned()).or_default();
        active.insert(host);
        let active: BTreeSet<NodeId> = active.difference(&self.believed_off).copied().collect();
        if active.len() > 1 {
            let hosts = format!("{active:?}");
            self.fail(format!("invariant 1: {resource} is active on {hosts}"));
        }
    }

    /// An instance of a clone has become active. There may be one on each host.
    pub fn instance_started(&mut self, clone: &str, instance: &str, host: NodeId) {
        let hosts = self.active.entry(clone.to_owned()).or_default();
        let known = self.instances.insert((clone.to_owned(), host), instance.to_owned());
        if !hosts.insert(host)
            && let Some(known) = known.filter(|known| known != instance)
        {
            self.fail(format!("clone-node-max: {known} and {instance} are active on {host}"));
        }
    }

    /// A resource has been migrated.
    pub fn moved(&mut self, resource: &str, from: NodeId, to: NodeId) {
        self.stopped(resource, from);
        self.started(resource, to, &[]);
    }

    /// A resource has been stopped, or died, or was looked for and is not there.
    pub fn stopped(&mut self, resource: &str, host: NodeId) {
        if let Some(active) = self.active.get_mut(resource) {
            active.remove(&host);
        }
        if self.holder.get(resource) == Some(&host) {
            self.holder.remove(resource);
        }
    }

    /// A host has lost its power: nothing runs there, but nobody may conclude it from silence.
    pub fn power_lost(&mut self, host: NodeId) {
        self.believed_off.remove(&host);
        self.active.values_mut().for_each(|hosts| _ = hosts.remove(&host));
    }

    /// Something new goes wrong, that fences may be for.
    pub fn fault(&mut self) {
        self.power_cuts.clear();
    }

    /// A fence device has cut a host's power. Each fence has a loss that it is for: one may end the
    /// life that was back from that loss, and another one the next, but no more.
    pub fn power_cut(&mut self, host: NodeId) {
        let count = self.power_cuts.entry(host).or_default();
        *count += 1;
        if *count > CUTS_MAX {
            let text = format!("invariant 5: host {host} is fenced {count} times for one fault");
            self.fail(text);
        }
    }

    /// A host's fence was confirmed by its device.
    pub fn fenced(&mut self, host: NodeId) {
        self.holder.retain(|_, holder| *holder != host);
    }

    /// A host's fence device says that it has cut the power, and has not.
    pub fn fence_claimed(&mut self, host: NodeId) {
        self.believed_off.insert(host);
    }

    /// A host's daemon has left and says that it has stopped all but this.
    pub fn ended(&mut self, host: NodeId, left: &[String]) {
        self.believed_off.remove(&host);
        let runs = |(resource, hosts): &(&String, &BTreeSet<NodeId>)| {
            // What a clone's instance is called on its node.
            let named = |left: &String| left.split(':').next() == Some(resource.as_str());
            hosts.contains(&host) && !left.iter().any(named)
        };
        if let Some((resource, _)) = self.active.iter().find(runs) {
            let text = format!("node {host} has ended, and {resource} still runs there");
            self.fail(text);
        }
    }

    /// Where a resource runs.
    pub fn active(&self, resource: &str) -> Vec<NodeId> {
        self.active.get(resource).map(|a| a.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether a resource runs on a host.
    pub fn is_active(&self, resource: &str, host: NodeId) -> bool {
        self.active.get(resource).is_some_and(|hosts| hosts.contains(&host))
    }

    /// A host installs a view, having left `before`.
    pub fn view(&mut self, host: NodeId, before: &View, view: &View) {
        if view.quorate && view.exclusive && self.exclusive.insert(view.members.clone()) {
            let apart = |other: &&Vec<NodeId>| !other.iter().any(|n| view.members.contains(n));
            let other = self.exclusive.iter().find(apart).cloned();
            if let Some(other) = other {
                let members = &view.members;
                self.fail(format!("invariant 3: both {members:?} and {other:?} can be quorate"));
            }
        }
        self.views.insert((view.id, host), view.members.clone());
        let differs = view.members.iter().find(|other| {
            self.views.get(&(view.id, **other)).is_some_and(|members| *members != view.members)
        });
        if let Some(other) = differs {
            let text = format!(
                "invariant 3: nodes {host} and {other} have different members in view {}",
                view.id
            );
            self.fail(text);
        }
        for other in view.came_with_us.iter().filter(|o| **o != host) {
            let (mine, theirs) =
                (self.orders.get(&(before.id, host)), self.orders.get(&(before.id, *other)));
            // The other one may be on its way here still; it must not know less than is common.
            let (Some(mine), Some(theirs)) = (mine, theirs) else { continue };
            let common = mine.len().min(theirs.len());
            if mine[..common] != theirs[..common] {
                let text = format!(
                    "invariant 3: nodes {host} and {other} saw different orders in view {}",
                    before.id
                );
                self.fail(text);
            }
        }
    }

    /// A host is handed a message, named by its sender and a digest, in a view.
    pub fn delivered(&mut self, host: NodeId, view: &View, sender: NodeId, digest: u64) {
        let order = self.orders.entry((view.id, host)).or_default();
        order.push((sender, digest));
        let at = order.len() - 1;
        let differs = view.members.iter().filter(|m| **m != host).find(|other| {
            let theirs = self.orders.get(&(view.id, **other)).and_then(|o| o.get(at));
            theirs.is_some_and(|theirs| *theirs != (sender, digest))
        });
        if let Some(other) = differs {
            let text = format!(
                "invariant 3: message {at} of view {} differs on nodes {host} and {other}",
                view.id
            );
            self.fail(text);
        }
    }

    /// A host's CIB has this version now.
    pub fn version(&mut self, host: NodeId, version: Version) {
        if let Some(old) = self.versions.insert(host, version)
            && version < old
        {
            self.fail(format!(
                "invariant 4: node {host} goes from version {old} back to {version}"
            ));
        }
    }

    /// A host is in sync in a view, at this version, with a CIB of this digest: so is everybody who
    /// is at that version in that view.
    pub fn replica(&mut self, host: NodeId, view: &View, version: Version, digest: String) {
        let (first, known) = self
            .replicas
            .entry((view.id, view.members.clone(), version))
            .or_insert_with(|| (host, digest.clone()));
        if *known != digest {
            let text = format!(
                "invariant 3: the CIBs of nodes {first} and {host} differ at version {version} in \
                 view {}",
                view.id
            );
            self.fail(text);
        }
    }

    /// A host has been handed a message and holds node attributes of this digest, which it takes for
    /// those of all members: so does everybody who has been handed the same ones.
    pub fn attributes(&mut self, host: NodeId, view: &View, digest: u64) {
        let at = self.orders.get(&(view.id, host)).map_or(0, Vec::len);
        let (first, known) =
            *self.attributes.entry((view.id, view.members.clone(), at)).or_insert((host, digest));
        if known != digest {
            let text = format!(
                "invariant 3: the node attributes of nodes {first} and {host} differ after message \
                 {at} of view {}",
                view.id
            );
            self.fail(text);
        }
    }

    /// A host starts with what its disk holds: status is not stored, so only the configuration's
    /// version counts.
    pub fn booted(&mut self, host: NodeId) {
        self.versions.remove(&host);
    }

    /// A client was told that its change is made.
    pub fn acknowledged(&mut self, mark: &str) {
        self.acknowledged.insert(mark.to_owned());
    }

    /// How many changes were acknowledged.
    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    /// At the end: every acknowledged change is in this CIB.
    pub fn complete(&mut self, host: NodeId, cib: cib_xml::Node<'_>) {
        let there: BTreeSet<&str> = cib.descendants().filter_map(|n| n.attr("id")).collect();
        let lost = self.acknowledged.iter().find(|mark| !there.contains(mark.as_str()));
        if let Some(lost) = lost.cloned() {
            self.fail(format!("invariant 4: {lost} was acknowledged and is not on node {host}"));
        }
    }

    /// Something else that must hold.
    pub fn require(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.fail(text());
        }
    }
}
