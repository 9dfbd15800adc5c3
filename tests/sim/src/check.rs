//! What must hold, checked as things happen: one function a sentence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cib_store::Version;
use membership_base::{Instant, NodeId, View};
use membership_quorum::{Rules, TieBreaker};

/// More fences of one host for one fault than any chain of them needs: that for the loss, one for the
/// life that it hit, and so on with growing pauses.
const CUTS_MAX: u32 = 4;

/// Once the faults are over, a request is answered within this time.
pub const ANSWER_TIME: Duration = Duration::from_secs(20);

/// A client's request that waits for its answer.
struct Waiting {
    host: NodeId,
    asked: Instant,
    /// What it puts into the CIB.
    mark: Option<String>,
}

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
    /// How votes are counted.
    rules: Option<Rules>,
    versions: BTreeMap<NodeId, Version>,
    acknowledged: BTreeSet<String>,
    waiting: BTreeMap<u64, Waiting>,
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

/// The sentences.
impl Checker {
    fn invariant_at_most_one_active(&mut self, resource: &str) {
        let counts = |host: &NodeId| !self.believed_off.contains(host);
        let hosts: Vec<NodeId> = self.active(resource).into_iter().filter(counts).collect();
        self.require(hosts.len() < 2, || format!("invariant 1: {resource} is active on {hosts:?}"));
    }

    fn invariant_one_instance_on_a_host(&mut self, known: &str, instance: &str, host: NodeId) {
        self.require(known == instance, || {
            format!("clone-node-max: {known} and {instance} are active on {host}")
        });
    }

    fn invariant_nothing_starts_elsewhere_before_a_fence(
        &mut self,
        resource: &str,
        host: NodeId,
        members: &[NodeId],
    ) {
        let holder = self.holder.get(resource).filter(|h| **h != host && !members.contains(h));
        if let Some(holder) = holder {
            let text = format!(
                "invariant 2: {resource} is started on node {host} though node {holder}, which \
                 had it, is neither fenced nor a member"
            );
            self.fail(text);
        }
    }

    /// By an arithmetic of its own.
    fn invariant_quorate_views_hold_a_majority(&mut self, view: &View) {
        let Some(rules) = self.rules.as_ref().filter(|_| view.quorate) else { return };
        let of = |nodes: &[NodeId]| nodes.iter().filter_map(|n| rules.votes.get(n)).sum::<u32>();
        let nodes: Vec<NodeId> = rules.votes.keys().copied().collect();
        let (votes, all) = (2 * of(&view.members), of(&nodes));
        let breaks_tie =
            rules.tie_breaker == Some(TieBreaker::Lowest) && view.members.first() == nodes.first();
        let may = votes > all || (votes == all && (breaks_tie || rules.two_node));
        self.require(may, || {
            format!("invariant 3: {:?} are quorate without a majority of the votes", view.members)
        });
    }

    fn invariant_members_agree_who_is_in_a_view(&mut self, host: NodeId, view: &View) {
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
    }

    fn invariant_who_goes_on_together_has_seen_the_same(
        &mut self,
        host: NodeId,
        before: &View,
        view: &View,
    ) {
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

    fn invariant_one_order_in_a_view(&mut self, host: NodeId, view: &View, at: usize) {
        let nth = |node: &NodeId| self.orders.get(&(view.id, *node)).and_then(|o| o.get(at));
        let mine = nth(&host);
        let mut others = view.members.iter().filter(|m| **m != host);
        let differs = others.find(|other| nth(other).is_some_and(|theirs| Some(theirs) != mine));
        if let Some(other) = differs {
            let text = format!(
                "invariant 3: message {at} of view {} differs on nodes {host} and {other}",
                view.id
            );
            self.fail(text);
        }
    }

    fn invariant_replicas_are_equal_at_equal_version(
        &mut self,
        host: NodeId,
        view: &View,
        version: Version,
        digest: String,
    ) {
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

    fn invariant_node_attributes_are_equal(&mut self, host: NodeId, view: &View, digest: u64) {
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

    fn invariant_who_leaves_has_stopped_what_it_ran(&mut self, host: NodeId, left: &[String]) {
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

    fn invariant_versions_do_not_go_back(&mut self, host: NodeId, old: Version, new: Version) {
        self.require(new >= old, || {
            format!("invariant 4: node {host} goes from version {old} back to {new}")
        });
    }

    fn invariant_what_was_acknowledged_is_there(&mut self, host: NodeId, cib: cib_xml::Node<'_>) {
        let there: BTreeSet<&str> = cib.descendants().filter_map(|n| n.attr("id")).collect();
        let lost = self.acknowledged.iter().find(|mark| !there.contains(mark.as_str()));
        if let Some(lost) = lost.cloned() {
            self.fail(format!("invariant 4: {lost} was acknowledged and is not on node {host}"));
        }
    }

    fn invariant_a_fault_costs_a_few_fences_at_most(&mut self, host: NodeId) {
        let count = self.power_cuts.get(&host).copied().unwrap_or_default();
        self.require(count <= CUTS_MAX, || {
            format!("invariant 5: host {host} is fenced {count} times for one fault")
        });
    }

    fn invariant_a_request_is_answered_once(&mut self, host: NodeId, id: u64, waits: bool) {
        self.require(waits, || {
            format!("answers: node {host} answers request {id}, for which nobody waits")
        });
    }

    fn invariant_every_request_is_answered(&mut self, by: Instant) {
        let late = self.waiting.iter().find(|(_, w)| by.since(w.asked) > ANSWER_TIME);
        if let Some((id, Waiting { host, asked, .. })) = late {
            let text = format!(
                "answers: node {host} has not answered request {id} of {} s for {} s",
                asked.as_millis() / 1000,
                by.since(*asked).as_secs()
            );
            self.fail(text);
        }
    }

    fn invariant_a_plan_knows_what_its_dc_knows(&mut self, host: NodeId, missed: Option<&str>) {
        self.require(missed.is_none(), || {
            let what = missed.unwrap_or_default();
            format!("plans: node {host} carries out a plan from before it heard that {what}")
        });
    }
}

/// What happens.
impl Checker {
    /// A checker for a cluster whose votes are counted like this.
    pub fn new(rules: Rules) -> Checker {
        Checker { rules: Some(rules), ..Checker::default() }
    }

    fn fail(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// Something else that must hold.
    pub fn require(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.fail(text());
        }
    }

    /// A resource has become active on a host that saw these members when it began to start it.
    pub fn started(&mut self, resource: &str, host: NodeId, members: &[NodeId]) {
        self.invariant_nothing_starts_elsewhere_before_a_fence(resource, host, members);
        self.holder.insert(resource.to_owned(), host);
        self.active.entry(resource.to_owned()).or_default().insert(host);
        self.invariant_at_most_one_active(resource);
    }

    /// An instance of a clone has become active. There may be one on each host.
    pub fn instance_started(&mut self, clone: &str, instance: &str, host: NodeId) {
        let hosts = self.active.entry(clone.to_owned()).or_default();
        let known = self.instances.insert((clone.to_owned(), host), instance.to_owned());
        if !hosts.insert(host)
            && let Some(known) = known
        {
            self.invariant_one_instance_on_a_host(&known, instance, host);
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
        self.daemon_lost(host);
    }

    /// A host has lost its daemon: nobody waits for its answers.
    pub fn daemon_lost(&mut self, host: NodeId) {
        self.waiting.retain(|_, waiting| waiting.host != host);
    }

    /// Something new goes wrong, that fences may be for.
    pub fn fault(&mut self) {
        self.power_cuts.clear();
    }

    /// A fence device has cut a host's power. Each fence has a loss that it is for: one may end the
    /// life that was back from that loss, and another one the next, but no more.
    pub fn power_cut(&mut self, host: NodeId) {
        *self.power_cuts.entry(host).or_default() += 1;
        self.invariant_a_fault_costs_a_few_fences_at_most(host);
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
        self.invariant_who_leaves_has_stopped_what_it_ran(host, left);
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
        self.invariant_quorate_views_hold_a_majority(view);
        self.views.insert((view.id, host), view.members.clone());
        self.invariant_members_agree_who_is_in_a_view(host, view);
        self.invariant_who_goes_on_together_has_seen_the_same(host, before, view);
    }

    /// A host is handed a message, named by its sender and a digest, in a view.
    pub fn delivered(&mut self, host: NodeId, view: &View, sender: NodeId, digest: u64) {
        let order = self.orders.entry((view.id, host)).or_default();
        order.push((sender, digest));
        let at = order.len() - 1;
        self.invariant_one_order_in_a_view(host, view, at);
    }

    /// A host's CIB has this version now.
    pub fn version(&mut self, host: NodeId, version: Version) {
        if let Some(old) = self.versions.insert(host, version) {
            self.invariant_versions_do_not_go_back(host, old, version);
        }
    }

    /// A host is in sync in a view, at this version, with a CIB of this digest: so is everybody who
    /// is at that version in that view.
    pub fn replica(&mut self, host: NodeId, view: &View, version: Version, digest: String) {
        self.invariant_replicas_are_equal_at_equal_version(host, view, version, digest);
    }

    /// A host has been handed a message and holds node attributes of this digest, which it takes for
    /// those of all members: so does everybody who has been handed the same ones.
    pub fn attributes(&mut self, host: NodeId, view: &View, digest: u64) {
        self.invariant_node_attributes_are_equal(host, view, digest);
    }

    /// A host starts with what its disk holds: status is not stored, so only the configuration's
    /// version counts.
    pub fn booted(&mut self, host: NodeId) {
        self.versions.remove(&host);
    }

    /// A client asks a host for something, for a change that can be recognised by its mark, say.
    pub fn asked(&mut self, id: u64, host: NodeId, now: Instant, mark: Option<String>) {
        self.waiting.insert(id, Waiting { host, asked: now, mark });
    }

    /// A host answers a client. Returns the mark of what was asked for, if that was done.
    pub fn answered(&mut self, host: NodeId, id: u64, done: bool) -> Option<String> {
        let waiting = self.waiting.remove(&id);
        self.invariant_a_request_is_answered_once(host, id, waiting.is_some());
        let mark = waiting.and_then(|waiting| waiting.mark).filter(|_| done);
        self.acknowledged.extend(mark.clone());
        mark
    }

    /// A DC carries out a plan that it has asked for before it heard of this.
    pub fn carries_out(&mut self, host: NodeId, missed: Option<&str>) {
        self.invariant_a_plan_knows_what_its_dc_knows(host, missed);
    }

    /// At the end, on each host: every acknowledged change is in its CIB.
    pub fn complete(&mut self, host: NodeId, cib: cib_xml::Node<'_>) {
        self.invariant_what_was_acknowledged_is_there(host, cib);
    }

    /// The faults are over: from now on requests have their time.
    pub fn healed(&mut self, now: Instant) {
        self.waiting.values_mut().for_each(|waiting| waiting.asked = now);
    }

    /// Looks at what has to be done by a time, the faults being over.
    pub fn due(&mut self, now: Instant) {
        self.invariant_every_request_is_answered(now);
    }
}
