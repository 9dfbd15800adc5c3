//! One case for each rule of votequorum(5).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use membership_base::{Instant, NodeId};
use membership_quorum::{Control, Rules, TieBreaker, Votequorum};

const NOW: Instant = Instant(1);

fn rules(nodes: u32) -> Rules {
    Rules {
        enabled: true,
        me: NodeId(1),
        votes: (1..=nodes).map(|n| (NodeId(n), 1)).collect(),
        expected_votes: nodes,
        two_node: false,
        wait_for_all: false,
        tie_breaker: None,
        last_man_standing: None,
    }
}

fn ids(list: &[u32]) -> Vec<NodeId> {
    list.iter().copied().map(NodeId).collect()
}

/// One node's counter sees a view in which all others say the same as it does.
fn see(counter: &mut Votequorum, members: &[u32]) -> bool {
    let attachment = counter.attachment();
    let all = ids(members).into_iter().map(|m| (m, attachment.clone())).collect();
    counter.view(NOW, &ids(members), &all)
}

/// Counters of several nodes see one view together; they must agree.
fn together(counters: &mut BTreeMap<u32, Votequorum>, members: &[u32]) -> bool {
    let said = members.iter().map(|m| (NodeId(*m), counters[m].attachment())).collect();
    let verdicts: Vec<bool> = members
        .iter()
        .map(|m| counters.get_mut(m).unwrap().view(NOW, &ids(members), &said))
        .collect();
    assert!(verdicts.iter().all(|v| *v == verdicts[0]), "one verdict for all: {verdicts:?}");
    verdicts[0]
}

fn counters(rules: &Rules) -> BTreeMap<u32, Votequorum> {
    let one = |n: &NodeId| (n.0, Votequorum::new(Rules { me: *n, ..rules.clone() }));
    rules.votes.keys().map(one).collect()
}

#[test]
fn more_than_half_is_quorate() {
    for (nodes, present, quorate) in
        [(1, 1, true), (2, 1, false), (3, 1, false), (3, 2, true), (4, 2, false), (4, 3, true)]
    {
        let members: Vec<u32> = (1..=present).collect();
        let mut counter = Votequorum::new(rules(nodes));
        assert_eq!(see(&mut counter, &members), quorate, "{present} of {nodes}");
    }
}

#[test]
fn votes_count_not_nodes() {
    let mut r = rules(3);
    r.votes.insert(NodeId(1), 3);
    r.expected_votes = 5;
    assert!(see(&mut Votequorum::new(r.clone()), &[1]));
    assert!(!see(&mut Votequorum::new(r), &[2, 3]));
}

#[test]
fn without_a_provider_every_partition_is_quorate() {
    let mut counter = Votequorum::new(Rules { enabled: false, ..rules(5) });
    assert!(see(&mut counter, &[1]));
    assert!(counter.transitional(&ids(&[1])));
}

#[test]
fn two_node_needs_both_once_and_then_one() {
    let r = Rules { two_node: true, wait_for_all: true, ..rules(2) };
    let mut counter = Votequorum::new(r);
    assert!(!see(&mut counter, &[1]), "waits for all");
    assert!(counter.status().waiting_for_all);
    assert!(see(&mut counter, &[1, 2]));
    assert!(see(&mut counter, &[1]));
    assert_eq!(counter.status().flags, ["Quorate", "2Node", "WaitForAll"]);
    assert_eq!(counter.status().quorum, 1);
}

#[test]
fn waiting_ends_by_joining_one_that_has_seen_all() {
    let r = Rules { wait_for_all: true, ..rules(4) };
    let mut all = counters(&r);
    assert!(!together(&mut all, &[1, 2, 3]), "a majority, but not all seen");
    assert!(together(&mut all, &[1, 2, 3, 4]));
    assert!(together(&mut all, &[1, 2, 3]));
    all.insert(3, Votequorum::new(Rules { me: NodeId(3), ..r.clone() }));
    assert!(!together(&mut all, &[3]));
    assert!(together(&mut all, &[1, 2, 3]), "the others have seen all");
}

#[test]
fn waiting_can_be_cancelled() {
    let mut counter = Votequorum::new(Rules { wait_for_all: true, ..rules(3) });
    assert!(!see(&mut counter, &[1, 2]));
    assert_eq!(counter.control(Control::CancelWaitForAll), Some(true));
    assert!(see(&mut counter, &[1, 2]), "and stays so in the next view");
}

#[test]
fn one_half_of_an_even_split_goes_on() {
    for (breaker, winner, loser) in [
        (TieBreaker::Lowest, [1, 2], [3, 4]),
        (TieBreaker::Highest, [3, 4], [1, 2]),
        (TieBreaker::List(ids(&[3, 1])), [3, 2], [1, 4]),
    ] {
        let r = Rules { tie_breaker: Some(breaker), ..rules(4) };
        assert!(see(&mut Votequorum::new(r.clone()), &winner));
        assert!(!see(&mut Votequorum::new(r), &loser));
    }
}

#[test]
fn the_last_men_stand() {
    let window = Duration::from_secs(10);
    let r = Rules { last_man_standing: Some(window), ..rules(5) };
    let mut all = counters(&r);
    assert!(together(&mut all, &[1, 2, 3, 4, 5]));
    assert!(together(&mut all, &[1, 2, 3]));
    let at = all[&1].poll_timeout().expect("a timer runs");
    assert_eq!(at, NOW + window);
    let control = all.get_mut(&1).unwrap().handle_timeout(at).expect("the first member asks");
    assert_eq!(all.get_mut(&2).unwrap().handle_timeout(at), None);
    for n in 1..=3 {
        assert_eq!(all.get_mut(&n).unwrap().control(control), None, "still quorate");
    }
    assert_eq!(all[&2].status().expected_votes, 3);
    assert!(together(&mut all, &[1, 2]), "two of three");
    assert!(!together(&mut all, &[4]), "five expected");
    assert!(together(&mut all, &[1, 2, 3, 4]), "it grows again");
    assert_eq!(all[&1].status().expected_votes, 4);
}

#[test]
fn who_missed_the_shrinking_learns_of_it() {
    let r = Rules { last_man_standing: Some(Duration::from_secs(1)), ..rules(5) };
    let mut all = counters(&r);
    together(&mut all, &[1, 2, 3, 4, 5]);
    together(&mut all, &[1, 2, 3]);
    for n in 1..=3 {
        all.get_mut(&n).unwrap().control(Control::Shrink);
    }
    assert!(!together(&mut all, &[4, 5]), "the others expect five");
    assert!(together(&mut all, &[2, 3, 4]));
    assert_eq!(all[&4].status().expected_votes, 3);
}

#[test]
fn who_is_left_behind_by_the_last_men_does_not_go_on_without_them() {
    let window = Some(Duration::from_secs(1));
    let r = Rules { last_man_standing: window, wait_for_all: true, ..rules(5) };
    let mut all = counters(&r);
    assert!(together(&mut all, &[1, 2, 3, 4, 5]));
    // They are cut off one after the other, and the rest shrinks each time.
    for left in 3..=5u32 {
        let rest: Vec<u32> = [1, 2, 3, 4].into_iter().filter(|n| *n < 8 - left).collect();
        assert!(!together(&mut all, &[8 - left]), "alone");
        assert!(together(&mut all, &rest), "{rest:?}");
        for n in &rest {
            all.get_mut(n).unwrap().control(Control::Shrink);
        }
    }
    assert!(all[&1].is_quorate() && all[&2].is_quorate());
    assert!(!together(&mut all, &[3, 4, 5]), "three of five, but the others go on");
    assert!(together(&mut all, &[1, 3, 4, 5]), "until they meet one that has kept quorum");
}

#[test]
fn a_daemon_that_is_started_anew_waits_anew() {
    let r = Rules { two_node: true, wait_for_all: true, ..rules(2) };
    let mut all = counters(&r);
    assert!(together(&mut all, &[1, 2]) && together(&mut all, &[1]));
    let mut anew = Votequorum::new(Rules { me: NodeId(2), ..r });
    let said = [(NodeId(2), anew.attachment())].into();
    assert!(!anew.view(NOW, &ids(&[2]), &said), "the other one may be going on");
    all.insert(2, anew);
    assert!(together(&mut all, &[1, 2]));
}

#[test]
fn the_operator_sets_expected_votes() {
    let mut counter = Votequorum::new(rules(5));
    assert!(!see(&mut counter, &[1, 2]));
    assert_eq!(counter.control(Control::ExpectedVotes(3)), Some(true));
    assert_eq!(counter.control(Control::ExpectedVotes(1)), None);
    assert_eq!(counter.status().expected_votes, 2, "not below what is present");
}

#[test]
fn at_most_one_partition_is_quorate() {
    for nodes in 1..=7u32 {
        for breaker in [None, Some(TieBreaker::Lowest), Some(TieBreaker::Highest)] {
            for split in 0..(1u32 << nodes) {
                let side = |bit| (1..=nodes).filter(|n| split >> (n - 1) & 1 == bit).collect();
                let (left, right): (Vec<u32>, Vec<u32>) = (side(0), side(1));
                let r = Rules { tie_breaker: breaker.clone(), ..rules(nodes) };
                let quorate = |m: &[u32]| !m.is_empty() && see(&mut Votequorum::new(r.clone()), m);
                assert!(!(quorate(&left) && quorate(&right)), "{left:?} {right:?}");
            }
        }
    }
}

#[test]
fn controls_survive_the_wire_and_nonsense_does_not() {
    for control in [Control::ExpectedVotes(7), Control::CancelWaitForAll, Control::Shrink] {
        assert_eq!(Control::decode(&control.encode()), Some(control));
    }
    for bytes in [&[][..], &[1], &[1, 0, 0, 0, 0], &[9, 0, 0, 0, 0], &[1, 1, 0, 0, 0, 0]] {
        assert_eq!(Control::decode(bytes), None);
    }
}

/// What an exclusive partition knows is known to somebody in every other one that may ever act.
#[test]
fn any_two_exclusive_partitions_share_a_node_whatever_the_rules() {
    let tie = |breaker| Rules { tie_breaker: Some(breaker), ..rules(4) };
    let uneven = Rules {
        votes: (1..=5).map(|n| (NodeId(n), if n == 1 { 3 } else { 1 })).collect(),
        expected_votes: 7,
        ..rules(5)
    };
    let two = Rules { two_node: true, ..rules(2) };
    let none = Rules { enabled: false, ..rules(3) };
    let all = [rules(3), rules(5), tie(TieBreaker::Lowest), uneven, two, none];
    for rules in all {
        let counter = Votequorum::new(rules.clone());
        let nodes: Vec<NodeId> = rules.votes.keys().copied().collect();
        let subset = |bits: u32| {
            let picked = nodes.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
            picked.map(|(_, node)| *node).collect::<Vec<_>>()
        };
        let subsets: Vec<Vec<NodeId>> = (1..1 << nodes.len()).map(subset).collect();
        let exclusive: Vec<_> = subsets.iter().filter(|s| counter.is_exclusive(s)).collect();
        assert!(exclusive.iter().any(|s| **s == nodes), "all together: {rules:?}");
        for (a, b) in exclusive.iter().flat_map(|a| exclusive.iter().map(move |b| (a, b))) {
            assert!(a.iter().any(|n| b.contains(n)), "{a:?} and {b:?}: {rules:?}");
        }
    }
}
