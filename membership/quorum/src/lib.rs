//! Vote counting in the manner of votequorum, as a pure function of the view.
//!
//! The rules, from votequorum(5):
//!
//! - A partition is quorate with `expected_votes / 2 + 1` votes or more.
//! - `two_node`: one of two nodes is enough.
//! - `wait_for_all`: after its start a node is not quorate before it has seen all nodes at once, or
//!   joins a member that has. It can be cancelled. A daemon that is started anew waits anew, as
//!   votequorum has it: who was away does not know whether the others go on without it, and of two
//!   nodes (`two_node`) the one that was fenced would otherwise fence the other one.
//! - `auto_tie_breaker`: of two halves the one with the named node goes on.
//! - `last_man_standing`: a partition that was quorate for a while expects only the votes it has,
//!   so that it can shrink further, down to two votes, or to one with a tie breaker. Those that were
//!   left behind may be the majority of what the configuration expects; so with `wait_for_all` who
//!   has lost quorum waits again, for all nodes or for one that has kept it.
//! - `allow_downscale` and `expected_votes_tracking` are not supported (the manual calls the former
//!   incomplete): expected votes go down by the above or by the operator's word only.
//!
//! Every member must come to the same verdict. So what one member knows and others may not (whether
//! it has seen all nodes, how many votes it expects) travels with the agreement on the view as an
//! [`attachment`](Votequorum::attachment), and what happens within a view ([`Control`]) travels as
//! an ordered message and is applied by all members at the same place.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use membership_base::mutant::{Mutant, mutant};
use membership_base::{Instant, NodeId};

/// Fewest votes that `last_man_standing` goes down to without a tie breaker.
const LAST_MEN: u32 = 2;

/// Which half of an even split goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TieBreaker {
    /// The one with the lowest configured node id.
    Lowest,
    /// The one with the highest configured node id.
    Highest,
    /// The one with the first of these nodes that is in either half.
    List(Vec<NodeId>),
}

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// False: no quorum provider is configured and every partition is quorate.
    pub enabled: bool,
    /// The local node.
    pub me: NodeId,
    /// Configured nodes and their votes.
    pub votes: BTreeMap<NodeId, u32>,
    /// All votes together, or the configured `expected_votes`.
    pub expected_votes: u32,
    /// One of two is enough.
    pub two_node: bool,
    /// Not quorate before all nodes were seen at once.
    pub wait_for_all: bool,
    /// Which half of an even split goes on.
    pub tie_breaker: Option<TieBreaker>,
    /// How long a partition must be quorate before it expects fewer votes.
    pub last_man_standing: Option<Duration>,
}

/// A change within a view, applied by every member in the same place of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The operator sets the expected votes; not below the votes that are present.
    ExpectedVotes(u32),
    /// The operator says that nodes which were not seen are not running.
    CancelWaitForAll,
    /// `last_man_standing`: expect only the votes that are present.
    Shrink,
}

impl Control {
    /// As bytes for an ordered message.
    pub fn encode(self) -> Vec<u8> {
        let (kind, number) = match self {
            Control::ExpectedVotes(votes) => (1, votes),
            Control::CancelWaitForAll => (2, 0),
            Control::Shrink => (3, 0),
        };
        [&[kind][..], &u32::to_le_bytes(number)].concat()
    }

    /// From bytes; `None` if they are not a control.
    pub fn decode(bytes: &[u8]) -> Option<Control> {
        let (kind, number) = bytes.split_first()?;
        let number = u32::from_le_bytes(number.try_into().ok()?);
        match kind {
            1 if number > 0 => Some(Control::ExpectedVotes(number)),
            2 => Some(Control::CancelWaitForAll),
            3 => Some(Control::Shrink),
            _ => None,
        }
    }
}

/// What one member tells the others when a view is agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    waiting: bool,
    quorate: bool,
    expected: u32,
}

impl Known {
    fn encode(self) -> Vec<u8> {
        let flags = u8::from(self.waiting) | u8::from(self.quorate) << 1;
        [&[flags][..], &self.expected.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Known> {
        let (flags, number) = bytes.split_first()?;
        let expected = u32::from_le_bytes(number.try_into().ok()?);
        Some(Known { waiting: flags & 1 != 0, quorate: flags & 2 != 0, expected })
    }
}

/// A node in the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVotes {
    /// The node.
    pub node: NodeId,
    /// Its votes.
    pub votes: u32,
    /// Whether it is in this partition.
    pub member: bool,
}

/// For `corosync-quorumtool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether this partition may act.
    pub quorate: bool,
    /// Votes expected now.
    pub expected_votes: u32,
    /// Votes that the configuration expects.
    pub highest_expected: u32,
    /// Votes present.
    pub total_votes: u32,
    /// Votes needed.
    pub quorum: u32,
    /// Not all nodes have been seen yet, and that is waited for.
    pub waiting_for_all: bool,
    /// As the tool names them: `Quorate`, `2Node`, `WaitForAll`, `LastManStanding`,
    /// `AutoTieBreaker`.
    pub flags: Vec<&'static str>,
    /// All configured nodes.
    pub nodes: Vec<NodeVotes>,
}

/// The vote counter of one node.
#[derive(Clone, Debug)]
pub struct Votequorum {
    rules: Rules,
    members: Vec<NodeId>,
    known: Known,
    shrink_at: Option<Instant>,
}

impl Votequorum {
    /// A counter that has seen nobody yet.
    pub fn new(rules: Rules) -> Votequorum {
        let known =
            Known { waiting: rules.wait_for_all, quorate: false, expected: rules.expected_votes };
        Votequorum { members: vec![rules.me], rules, known, shrink_at: None }
    }

    /// What the other members must know of this one, to be attached to the next view. It changes
    /// with every call that can change the verdict.
    pub fn attachment(&self) -> Vec<u8> {
        self.known.encode()
    }

    /// Whether this partition may act, as of the last call.
    pub fn is_quorate(&self) -> bool {
        self.known.quorate
    }

    /// A new view, with the attachments of its members. Returns whether it may act.
    pub fn view(
        &mut self,
        now: Instant,
        members: &[NodeId],
        attachments: &BTreeMap<NodeId, Vec<u8>>,
    ) -> bool {
        let known: Vec<Known> = attachments.values().filter_map(|b| Known::decode(b)).collect();
        // Who was quorate knows of shrinking and of the operator's word; the others do not.
        let informed = known.iter().any(|k| k.quorate);
        let expected = known.iter().filter(|k| k.quorate || !informed).map(|k| k.expected).max();
        let lost = self.members.iter().any(|m| !members.contains(m));
        self.members = members.to_vec();
        self.known.expected = expected.unwrap_or(self.known.expected).max(self.total_votes());
        self.known.waiting = known.iter().all(|k| k.waiting) && self.rules.wait_for_all;
        self.judge();
        let shrinks = self.may_shrink();
        match self.rules.last_man_standing {
            Some(window) if shrinks && (lost || self.shrink_at.is_none()) => {
                self.shrink_at = Some(now + window);
            }
            _ if !shrinks => self.shrink_at = None,
            _ => {}
        }
        self.known.quorate
    }

    /// Whether these members, which came along from the current view, may act while they finish
    /// what was under way in it.
    pub fn transitional(&self, members: &[NodeId]) -> bool {
        !self.rules.enabled || (!self.known.waiting && self.is_enough(members, self.known.expected))
    }

    /// Whether no other part of the configured nodes can be quorate without one of these members,
    /// by the configured votes and tie breaker: what these alone know cannot be missed by others.
    pub fn is_exclusive(&self, members: &[NodeId]) -> bool {
        let r = &self.rules;
        let all = r.votes.values().fold(0u32, |acc, v| acc.saturating_add(*v));
        let votes = self.votes_of(members);
        if r.two_node || !r.enabled {
            return votes == all;
        }
        let expected = all.max(r.expected_votes);
        votes > expected / 2
            || (u64::from(votes) * 2 == u64::from(expected) && self.breaks_tie(members))
    }

    /// A control message at its place in the order. Returns the verdict if it has changed.
    pub fn control(&mut self, control: Control) -> Option<bool> {
        let before = self.known.quorate;
        match control {
            Control::ExpectedVotes(votes) => self.known.expected = votes.max(self.total_votes()),
            Control::CancelWaitForAll => self.known.waiting = false,
            Control::Shrink => {
                if self.may_shrink() {
                    self.known.expected = self.total_votes();
                }
                self.shrink_at = None;
            }
        }
        self.judge();
        (self.known.quorate != before).then_some(self.known.quorate)
    }

    /// When to call [`Votequorum::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.shrink_at
    }

    /// Time has come: a control to send as an ordered message, if this member is the one to do it.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Control> {
        if self.shrink_at.is_none_or(|at| at > now) {
            return None;
        }
        self.shrink_at = None;
        let first = self.members.first() == Some(&self.rules.me);
        (first && self.may_shrink()).then_some(Control::Shrink)
    }

    /// For tools.
    pub fn status(&self) -> Status {
        let r = &self.rules;
        let flags = [
            (self.known.quorate, "Quorate"),
            (r.two_node, "2Node"),
            (r.wait_for_all, "WaitForAll"),
            (r.last_man_standing.is_some(), "LastManStanding"),
            (r.tie_breaker.is_some(), "AutoTieBreaker"),
        ];
        let node = |(node, votes): (&NodeId, &u32)| NodeVotes {
            node: *node,
            votes: *votes,
            member: self.members.contains(node),
        };
        Status {
            quorate: self.known.quorate,
            expected_votes: self.known.expected,
            highest_expected: r.expected_votes.max(self.known.expected),
            total_votes: self.total_votes(),
            quorum: self.quorum(self.known.expected),
            waiting_for_all: self.known.waiting,
            flags: flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect(),
            nodes: r.votes.iter().map(node).collect(),
        }
    }

    fn judge(&mut self) {
        if !self.rules.enabled {
            self.known.quorate = true;
            return;
        }
        if self.total_votes() >= self.rules.expected_votes {
            self.known.waiting = false;
        }
        self.known.quorate =
            !self.known.waiting && self.is_enough(&self.members, self.known.expected);
        let left_behind = !self.known.quorate && self.rules.last_man_standing.is_some();
        self.known.waiting |= left_behind && self.rules.wait_for_all;
    }

    fn is_enough(&self, members: &[NodeId], expected: u32) -> bool {
        let votes = self.votes_of(members);
        if votes == 0 {
            return false;
        }
        votes >= self.quorum(expected)
            || (u64::from(votes) * 2 == u64::from(expected) && self.breaks_tie(members))
    }

    fn quorum(&self, expected: u32) -> u32 {
        let half = expected / 2;
        if self.rules.two_node { 1 } else { half + u32::from(!mutant(Mutant::WeakQuorum)) }
    }

    fn breaks_tie(&self, members: &[NodeId]) -> bool {
        let configured = || self.rules.votes.keys();
        let holder = match &self.rules.tie_breaker {
            None => None,
            Some(TieBreaker::Lowest) => configured().next(),
            Some(TieBreaker::Highest) => configured().next_back(),
            // Only the first can be known to both halves without talking to each other.
            Some(TieBreaker::List(list)) => list.first(),
        };
        holder.is_some_and(|h| members.contains(h))
    }

    fn may_shrink(&self) -> bool {
        let total = self.total_votes();
        let least = if self.rules.tie_breaker.is_some() { 1 } else { LAST_MEN };
        self.rules.last_man_standing.is_some()
            && self.known.quorate
            && total < self.known.expected
            && total >= least
    }

    fn total_votes(&self) -> u32 {
        self.votes_of(&self.members)
    }

    fn votes_of(&self, members: &[NodeId]) -> u32 {
        let votes = members.iter().filter_map(|m| self.rules.votes.get(m));
        votes.fold(0, |acc, v| acc.saturating_add(*v))
    }
}
