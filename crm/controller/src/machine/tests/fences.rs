//! Fences: of whom, for what, and what counts.

use super::*;

fn fences(effects: &[Effect]) -> Vec<(&str, u64)> {
    let fence = |effect: &'_ Effect| match effect {
        Effect::Fence { target, ticket, .. } => Some((target.clone(), *ticket)),
        _ => None,
    };
    let targets = ["n1", "n2", "n3"];
    let found = effects.iter().filter_map(fence);
    found
        .filter_map(|(name, ticket)| Some((*targets.iter().find(|t| **t == name)?, ticket)))
        .collect()
}

#[test]
fn a_dc_that_is_being_fenced_leaves_the_others_to_the_next_one() {
    let mut test = Test::new(1);
    let effects = test.handle(fencing(1, &["n1"]));
    let [("n1", ticket)] = fences(&effects)[..] else { panic!("{effects:?}") };
    test.handle(Input::Delivered {
        sender: NodeId(2),
        message: Message::Replan { reason: "a stop failed".into() },
    });
    let effects = test.handle(fencing(2, &["n1", "n2"]));
    assert_eq!(fences(&effects), [], "its power may be cut between their off and on");
    assert!(test.controller.poll_timeout().is_none_or(|at| at > NOW), "nor does it try at once");

    // Its own fence fails: it goes on.
    let fenced = Fenced {
        tickets: vec![ticket],
        target: "n1".into(),
        action: "reboot".into(),
        error: Some("no answer".into()),
        client: "x".into(),
        life: Some(Incarnation(1)),
        outdated: false,
    };
    let effects = test.handle(Input::Fenced(fenced));
    assert_eq!(fences(&effects).first().map(|f| f.0), Some("n2"), "{effects:?}");
}

/// The DC of three has asked for a fence of node 3, which is lost. Returns its ticket.
fn fencing_the_third() -> (Test, u64) {
    let mut test = Test::new(1);
    test.view(&[(1, 1), (2, 2)]);
    let effects = test.plan(&["n3"]);
    let [("n3", ticket)] = fences(&effects)[..] else { panic!("{effects:?}") };
    (test, ticket)
}

fn third_is_fenced(ticket: u64) -> Input {
    Input::Fenced(Fenced {
        tickets: vec![ticket],
        target: "n3".into(),
        action: "reboot".into(),
        error: None,
        client: "controller".into(),
        life: Some(Incarnation(3)),
        outdated: true,
    })
}

/// The fence for an earlier life ends the one that has just joined, its *on* brings up the next one,
/// which a second fence would end, and so on.
#[test]
fn a_node_lost_while_its_fence_is_under_way_may_return_before_it_is_fenced_again() {
    for returns in [true, false] {
        let (mut test, ticket) = fencing_the_third();
        test.nobody_new = false;
        test.view(&[(1, 1), (2, 2), (3, 4)]);
        test.nobody_new = true;
        test.view(&[(1, 1), (2, 2)]);
        let effects = test.plan(&["n3"]);
        assert_eq!(fences(&effects), [], "one is under way");
        let effects = test.handle(third_is_fenced(ticket));
        assert_eq!(fences(&effects), [], "its node is on its way back");
        let told = effects.iter().find_map(|effect| match effect {
            Effect::Log(_, text) if text.contains("n3 is fenced") => Some(text.as_str()),
            _ => None,
        });
        assert!(told.is_some_and(|text| text.contains("in 5 s")), "{effects:?}");
        let next = if returns {
            test.view(&[(1, 1), (2, 2), (3, 5)]);
            test.plan(&[])
        } else {
            test.plan(&["n3"])
        };
        assert_eq!(fences(&next), [], "it has time");
        test.controller.handle_timeout(NOW + Duration::from_secs(6));
        let next: Vec<Effect> = std::iter::from_fn(|| test.controller.poll_effect()).collect();
        assert_eq!(fences(&next).len(), usize::from(!returns), "{next:?}");
    }
}

#[test]
fn a_fence_of_a_life_that_was_back_for_a_while_counts_if_that_life_has_said_so() {
    let (mut test, ticket) = fencing_the_third();
    test.nobody_new = false;
    test.view(&[(1, 1), (2, 2), (3, 3)]);
    test.nobody_new = true;
    test.view(&[(1, 1), (2, 2)]);
    assert_eq!(fences(&test.plan(&["n3"])), [], "one is under way");
    let effects = test.handle(third_is_fenced(ticket));
    let states = |effects: &[Effect]| format!("{effects:?}").contains("fenced\\\" join=");
    assert!(states(&effects), "{effects:?}");
    assert_eq!(fences(&effects), []);
}

#[test]
fn a_fence_that_a_new_plan_does_not_need_is_withdrawn_once() {
    let withdrawn = |effects: &[Effect]| {
        let tickets = effects.iter().filter_map(|effect| match effect {
            Effect::WithdrawFence { ticket } => Some(*ticket),
            _ => None,
        });
        tickets.collect::<Vec<_>>()
    };
    let (mut test, ticket) = fencing_the_third();
    test.view(&[(1, 1), (2, 2)]);
    assert_eq!(withdrawn(&test.plan(&["n3"])), [0; 0], "it is needed");
    test.nobody_new = false;
    test.view(&[(1, 1), (2, 2), (3, 3)]);
    assert_eq!(withdrawn(&test.plan(&[])), [ticket]);
    test.nobody_new = true;
    test.hear(2, Message::Replan { reason: "x".into() });
    assert_eq!(withdrawn(&test.plan(&[])), [0; 0]);
    let Input::Fenced(fenced) = third_is_fenced(ticket) else { unreachable!() };
    let error = Some("withdrawn".to_owned());
    test.handle(Input::Fenced(Fenced { error, ..fenced }));
    // That was no failure: the next one is asked for at once.
    test.view(&[(1, 1), (2, 2)]);
    assert_eq!(fences(&test.plan(&["n3"])).len(), 1);
}

/// The controller of node 1, which has heard that `db` had two nodes fenced.
fn with_two_fences_of_members() -> Test {
    let mut test = Test::new(1);
    for target in ["n2", "n3"] {
        let fence =
            MemberFence { target: target.into(), life: Incarnation(70), resource: "db".into() };
        test.hear(2, Message::MemberFence(fence));
    }
    test
}

fn holds(effects: &[Effect]) -> Vec<(u32, &str)> {
    let hold = |effect| match effect {
        &Effect::Broadcast(Message::Hold { to, ref resource, .. }) => {
            Some((to.0, resource.as_str()))
        }
        _ => None,
    };
    effects.iter().filter_map(hold).collect()
}

#[test]
fn a_member_is_not_fenced_for_what_has_had_others_fenced_in_vain() {
    let reason = Some(crm_graph::failed_there("db:1"));
    let mut test = with_two_fences_of_members();
    let effects = test.handle(fencing_for(1, &["n2"], reason.clone()));
    assert_eq!((fences(&effects), holds(&effects)), (vec![], vec![(2, "db")]));
    assert!(test.controller.poll_timeout().is_none_or(|at| at > NOW), "nor does it try at once");
    // It is said once, however often the plan is made before the history says so.
    test.hear(2, Message::Replan { reason: "x".into() });
    let effects = test.handle(fencing_for(2, &["n2"], reason));
    assert_eq!((fences(&effects), holds(&effects)), (vec![], vec![]));
}

#[test]
fn a_node_that_is_lost_or_to_be_fenced_for_another_reason_always_is() {
    let failed = Some(crm_graph::failed_there("db"));
    let mut test = with_two_fences_of_members();
    test.view(&[(1, 1), (2, 2)]);
    // The plan that was being made when it was lost does not count.
    test.handle(fencing_for(1, &["n3"], failed.clone()));
    let effects = test.handle(fencing_for(2, &["n3"], failed));
    assert_eq!(fences(&effects).first().map(|f| f.0), Some("n3"), "{effects:?}");
    for reason in [None, Some("termination was requested".to_owned())] {
        let mut test = with_two_fences_of_members();
        let effects = test.handle(fencing_for(1, &["n2"], reason));
        assert_eq!(fences(&effects).first().map(|f| f.0), Some("n2"), "{effects:?}");
    }
}

#[test]
fn whoever_is_the_dc_next_knows_which_members_were_fenced() {
    let mut test = Test::new(1);
    let effects = test.handle(fencing_for(1, &["n2"], Some(crm_graph::failed_there("db"))));
    let said = |effect: &Effect| match effect {
        Effect::Broadcast(Message::MemberFence(fence)) => Some(fence.clone()),
        _ => None,
    };
    let fence = MemberFence { target: "n2".into(), life: Incarnation(2), resource: "db".into() };
    assert_eq!(effects.iter().filter_map(said).collect::<Vec<_>>(), std::slice::from_ref(&fence));
    // Everything that a joining node reports about itself.
    let effects = test.view(&[(1, 1), (3, 3)]);
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Broadcast(Message::Hello(hello)) => Some(hello.member_fences.clone()),
        _ => None,
    });
    assert_eq!(told, Some(vec![(fence, 0)]));
}
