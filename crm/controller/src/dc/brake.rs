//! When failures that would have members fenced are left alone instead.
//!
//! A failed stop makes the node unclean: fencing it is how its resources are recovered. If the same
//! resource cannot be stopped on node after node, the fault is the resource's, and so is it if the
//! same node fails again each time that it is back: more fences take down what still works and
//! bring nothing back. Then the resource is blocked where it is, with the reason.
//!
//! The brake is for members, and for failures of resources there. A node that is lost is always
//! fenced, or nothing of it could be recovered; so is one that somebody wants fenced.
//!
//! All members remember which lives of which nodes were to end so, and tell each other when they
//! come together: the DC is fenced like others, and the next one has to know.

use membership_base::{Incarnation, Instant, NodeId};
use std::collections::{BTreeMap, BTreeSet};

use crate::machine::Controller;
use crate::{Effect, Level, MemberFence, Message, NEVER, Options};

/// More fences of members than this are not remembered: the oldest are forgotten first. Every limit
/// that can be set is smaller.
const REMEMBERED_MAX: usize = 1000;

/// Fences of members, by the node's name and its life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brake {
    past: BTreeMap<(String, Incarnation), Past>,
    /// Resources that are blocked on a node, by the node's name and its life.
    held: BTreeSet<(String, Incarnation, String)>,
}

/// Why a member was to be fenced, and when: seconds from the origin of this node's clock, negative
/// before that.
#[derive(Clone, Debug)]
struct Past {
    resource: String,
    at_s: i64,
}

fn seconds(now: Instant) -> i64 {
    i64::try_from(now.as_millis() / 1000).unwrap_or(i64::MAX)
}

/// What becomes of a member that a failure would have fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is fenced.
    Fence,
    /// The resource is blocked there, for this reason.
    Hold(String),
    /// It is blocked there already.
    Held,
}

impl Brake {
    /// Whether a member is fenced because a resource failed there.
    pub(crate) fn verdict(
        &mut self,
        now: Instant,
        fence: &MemberFence,
        options: &Options,
        nodes: usize,
    ) -> Verdict {
        let MemberFence { target, life, resource } = fence;
        let limit = usize::try_from(options.fence_limit).unwrap_or(usize::MAX);
        // What has been asked for once is not counted twice, nor taken back.
        if limit == 0 || self.past.contains_key(&(target.clone(), *life)) {
            return Verdict::Fence;
        }
        let held = (target.clone(), *life, resource.clone());
        if self.held.contains(&held) {
            return Verdict::Held;
        }
        let recent = || self.recent(now, options);
        let of_resource = recent().filter(|(_, past)| past.resource == *resource).count();
        let of_node = recent().filter(|((node, _), _)| node == target).count();
        let what = if of_resource >= limit {
            format!("{of_resource} nodes were fenced because {resource} failed there")
        } else if of_node >= limit {
            format!("{target} was fenced {of_node} times because of failures of resources")
        } else if recent().count() >= limit.saturating_mul(2).max(nodes) {
            let all = recent().count();
            format!("{all} nodes were fenced because of failures of resources")
        } else {
            return Verdict::Fence;
        };
        self.held.insert(held);
        let minutes = options.fence_limit_interval_ms / 60_000;
        Verdict::Hold(format!(
            "{target} is not fenced for it, as {what} within {minutes} min (fence-limit={limit}): \
             repair {resource}, then 'systole resource cleanup {resource}'"
        ))
    }

    fn recent(
        &self,
        now: Instant,
        options: &Options,
    ) -> impl Iterator<Item = (&(String, Incarnation), &Past)> {
        let interval_s = i64::try_from(options.fence_limit_interval_ms / 1000).unwrap_or(i64::MAX);
        let since_s = seconds(now).saturating_sub(interval_s);
        self.past.iter().filter(move |(_, past)| past.at_s > since_s)
    }

    /// A member is to be fenced, and was known to be so many seconds ago.
    pub(crate) fn note(&mut self, now: Instant, fence: MemberFence, age_s: u64) {
        let at_s = seconds(now).saturating_sub(i64::try_from(age_s).unwrap_or(i64::MAX));
        let past = Past { resource: fence.resource, at_s };
        self.past.entry((fence.target, fence.life)).or_insert(past);
        while self.past.len() > REMEMBERED_MAX {
            let oldest = self.past.iter().min_by_key(|(_, past)| past.at_s);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            self.past.remove(&oldest);
        }
    }

    /// The resource has failed again on the node, or what is known of it there was forgotten: what
    /// was decided of an earlier failure does not count.
    pub(crate) fn failed_again(&mut self, target: &str, resource: &str) {
        self.held.retain(|(node, _, of)| node != target || of != resource);
    }

    /// What others have to know, with how long it is ago, in seconds.
    pub(crate) fn told(&self, now: Instant, options: &Options) -> Vec<(MemberFence, u64)> {
        let told = |((target, life), past): (&(String, Incarnation), &Past)| {
            let (target, resource) = (target.clone(), past.resource.clone());
            let age_s = seconds(now).saturating_sub(past.at_s);
            (MemberFence { target, life: *life, resource }, u64::try_from(age_s).unwrap_or(0))
        };
        self.recent(now, options).map(told).collect()
    }
}

impl Controller {
    /// Before fences are asked for: those of members that would not help are not.
    pub(super) fn brake_fences(&mut self, now: Instant) {
        let nodes = self.setup.nodes.len();
        let members: Vec<(NodeId, String)> =
            self.view.members.iter().map(|id| (*id, self.name(*id).to_owned())).collect();
        let Some(dc) = &mut self.dc else { return };
        let mut said = Vec::new();
        for (target, fence) in &mut dc.fences {
            let due = fence.asked.is_none() && fence.action_id.is_some() && fence.not_before <= now;
            let member = members.iter().find(|(_, name)| name == target);
            let (true, Some((to, _)), Some(resource)) = (due, member, &fence.failed) else {
                continue;
            };
            let life = fence.life.unwrap_or(Incarnation(0));
            let (target, resource) = (target.clone(), resource.clone());
            let asked = MemberFence { target, life, resource };
            match self.brake.verdict(now, &asked, &self.options, nodes) {
                Verdict::Fence => {
                    self.brake.note(now, asked.clone(), 0);
                    said.push(Message::MemberFence(asked));
                }
                Verdict::Hold(reason) => {
                    fence.not_before = NEVER;
                    said.push(Message::Hold { to: *to, resource: asked.resource, reason });
                }
                Verdict::Held => fence.not_before = NEVER,
            }
        }
        for message in said {
            if let Message::Hold { to, resource, reason } = &message {
                let text = format!("{resource} is blocked on {}: {reason}", self.name(*to));
                self.log(Level::Error, text);
            }
            self.broadcast(message);
        }
    }

    /// The DC has this node keep a resource as it is, although its failure would have this node
    /// fenced: the history says so, so every plan knows, whoever makes it.
    pub(crate) fn hold(&mut self, resource: &str, reason: &str) {
        let (id, name) = (self.setup.local, self.name(self.setup.local).to_owned());
        let writes = self.history.hold(&id.to_string(), &name, resource, reason);
        if !writes.is_empty() {
            self.effects.push_back(Effect::Cib(writes));
        }
        self.broadcast(Message::Replan { reason: format!("{resource} is blocked on {name}") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Instant {
        Instant(minutes * 60_000_000_000)
    }

    fn fence(target: &str, life: u64, resource: &str) -> MemberFence {
        MemberFence { target: target.into(), life: Incarnation(life), resource: resource.into() }
    }

    /// Asks for the fence, and has it carried out unless it is held.
    fn ask(brake: &mut Brake, minutes: u64, fence: MemberFence) -> Verdict {
        let verdict = brake.verdict(at(minutes), &fence, &Options::default(), 3);
        if verdict == Verdict::Fence {
            brake.note(at(minutes), fence, 0);
        }
        verdict
    }

    fn is_hold(verdict: &Verdict, words: &str) -> bool {
        matches!(verdict, Verdict::Hold(reason) if reason.contains(words))
    }

    #[test]
    fn a_resource_that_fails_on_node_after_node_is_blocked_on_the_third() {
        let mut brake = Brake::default();
        assert_eq!(ask(&mut brake, 100, fence("a", 1, "r")), Verdict::Fence);
        assert_eq!(ask(&mut brake, 101, fence("b", 1, "r")), Verdict::Fence);
        let third = ask(&mut brake, 102, fence("c", 1, "r"));
        assert!(is_hold(&third, "2 nodes were fenced because r failed there"), "{third:?}");
        assert!(is_hold(&third, "systole resource cleanup r"), "{third:?}");
        assert_eq!(ask(&mut brake, 102, fence("c", 1, "r")), Verdict::Held);
        assert_eq!(ask(&mut brake, 102, fence("c", 1, "other")), Verdict::Fence);
        brake.failed_again("c", "r");
        assert!(is_hold(&ask(&mut brake, 103, fence("a", 2, "r")), "2 nodes"));
        assert_eq!(ask(&mut brake, 170, fence("b", 2, "r")), Verdict::Fence, "an hour later");
    }

    #[test]
    fn a_node_that_fails_each_time_that_it_is_back_is_left_alone() {
        let mut brake = Brake::default();
        assert_eq!(ask(&mut brake, 100, fence("a", 1, "r")), Verdict::Fence);
        assert_eq!(ask(&mut brake, 101, fence("a", 2, "s")), Verdict::Fence);
        assert!(is_hold(&ask(&mut brake, 102, fence("a", 3, "t")), "a was fenced 2 times"));
    }

    #[test]
    fn the_whole_cluster_has_a_limit_too() {
        let mut brake = Brake::default();
        for (n, target) in ["a", "b", "c", "d"].into_iter().enumerate() {
            assert_eq!(ask(&mut brake, 100, fence(target, 1, &format!("r{n}"))), Verdict::Fence);
        }
        assert!(is_hold(&ask(&mut brake, 100, fence("e", 1, "r9")), "4 nodes were fenced"));
        let large = brake.verdict(at(100), &fence("f", 1, "r9"), &Options::default(), 16);
        assert_eq!(large, Verdict::Fence, "it grows with the cluster");
    }

    #[test]
    fn a_fence_that_is_tried_again_counts_once_and_is_not_taken_back() {
        let mut brake = Brake::default();
        for _ in 0..10 {
            assert_eq!(ask(&mut brake, 100, fence("a", 1, "r")), Verdict::Fence);
        }
        assert_eq!(ask(&mut brake, 100, fence("b", 1, "r")), Verdict::Fence);
        assert_eq!(ask(&mut brake, 100, fence("b", 1, "r")), Verdict::Fence);
    }

    #[test]
    fn who_comes_later_learns_of_it() {
        let (mut brake, mut other) = (Brake::default(), Brake::default());
        ask(&mut brake, 100, fence("a", 1, "r"));
        ask(&mut brake, 110, fence("b", 1, "r"));
        let options = Options::default();
        // Its clock has another origin.
        for (fence, age_s) in brake.told(at(115), &options) {
            other.note(at(20), fence.clone(), age_s);
            other.note(at(21), fence, 0);
        }
        assert!(is_hold(&ask(&mut other, 21, fence("c", 1, "r")), "2 nodes"));
        assert_eq!(brake.told(at(165), &options).len(), 1, "the first is over an hour ago");
    }

    #[test]
    fn no_limit_means_none() {
        let mut brake = Brake::default();
        let options = Options { fence_limit: 0, ..Options::default() };
        for life in 0..20 {
            let fence = fence("a", life, "r");
            assert_eq!(brake.verdict(at(1), &fence, &options, 3), Verdict::Fence);
            brake.note(at(1), fence, 0);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut brake = Brake::default();
        for life in 0..2000 {
            brake.note(at(life), fence("a", life, "r"), 0);
        }
        assert_eq!(brake.past.len(), REMEMBERED_MAX);
        assert!(brake.past.contains_key(&("a".into(), Incarnation(1999))));
    }
}
