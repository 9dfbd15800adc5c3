//! A controller in views that the test makes up, with the others' words put in their mouths.

use std::time::Duration;

use crm_executor::{Agent, Outcome, Report, code};
use crm_graph::{Action, ActionKind, Synapse, Transition};
use membership_base::Guarantee;

use super::*;
use crate::{CibChange, Fenced, MemberFence};

mod fences;

const NOW: Instant = Instant(1_000_000_000);

struct Test {
    controller: Controller,
    view: u64,
    seen: Vec<Seen>,
    nobody_new: bool,
}

impl Test {
    /// The controller of node `local` of three, all of them members.
    fn new(local: u32) -> Test {
        let controller = Controller::new(Setup {
            local: NodeId(local),
            nodes: (1..=3).map(|n| (NodeId(n), format!("n{n}"))).collect(),
            cluster_name: "c".into(),
            life: Incarnation(u64::from(local)),
            wall_ms: 1_700_000_000_000,
            left_running: BTreeMap::new(),
        });
        let mut test = Test { controller, view: 0, seen: Vec::new(), nobody_new: true };
        test.view(&[(1, 1), (2, 2), (3, 3)]);
        test
    }

    fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.controller.handle(NOW, input);
        std::iter::from_fn(|| self.controller.poll_effect()).collect()
    }

    fn hear(&mut self, sender: u32, message: Message) -> Vec<Effect> {
        self.handle(Input::Delivered { sender: NodeId(sender), message })
    }

    /// A view of these nodes, with their daemons' lives: all say hello, and that they have told
    /// their history.
    fn view(&mut self, members: &[(u32, u64)]) -> Vec<Effect> {
        self.view_with(members, (2, &[]))
    }

    /// The same, with what one of them is doing.
    fn view_with(&mut self, members: &[(u32, u64)], busy: (u32, &[Underway])) -> Vec<Effect> {
        self.view += 1;
        let ids: Vec<NodeId> = members.iter().map(|(id, _)| NodeId(*id)).collect();
        let came_with_us = ids.iter().copied().filter(|_| self.nobody_new).collect();
        let view = View {
            id: self.view,
            quorate: true,
            exclusive: true,
            members: ids.clone(),
            came_with_us,
            met: Vec::new(),
        };
        let mut effects = self.handle(Input::View(view));
        effects.extend(self.handle(Input::Synced { seen: self.seen.clone() }));
        for (id, life) in members {
            let hello = Hello {
                view: self.view,
                is_dc: false,
                was_quorate: true,
                started: true,
                life: Incarnation(*life),
                busy: if *id == busy.0 { busy.1.to_vec() } else { Vec::new() },
                arriving: BTreeMap::new(),
                latest_s: 0,
                member_fences: Vec::new(),
            };
            effects.extend(self.hear(*id, Message::Hello(Box::new(hello))));
        }
        for (id, _) in members {
            effects.extend(self.hear(*id, Message::Told { view: self.view }));
        }
        effects
    }

    /// Node 2 has found `db` inactive, and node 1 is told to migrate it there.
    fn migrating() -> Test {
        let mut test = Test::new(2);
        test.run("monitor", code::NOT_RUNNING);
        let mut operation = operation("migrate_to");
        operation.params.push(("CRM_meta_migrate_target".into(), "n2".into()));
        let (to, node) = (NodeId(1), "n1".to_owned());
        test.hear(1, Message::Execute { to, operation, node, instance: false });
        test
    }

    /// The DC has something done on node 2.
    fn run(&mut self, action: &str, code: i32) {
        let operation = operation(action);
        let (to, node) = (NodeId(2), "n2".to_owned());
        let execute = Message::Execute { to, operation: operation.clone(), node, instance: false };
        self.hear(1, execute);
        let report = Report {
            operation,
            call: 1,
            outcome: Outcome::done(code),
            started: NOW,
            ran: Duration::ZERO,
            queued: Duration::ZERO,
        };
        for effect in self.handle(Input::Report(report)) {
            if let Effect::Broadcast(message) = effect {
                self.hear(2, message);
            }
        }
    }

    /// The plan that the DC has asked for has these nodes fenced; one that was overtaken is made
    /// again.
    fn plan(&mut self, nodes: &[&str]) -> Vec<Effect> {
        let mut effects = Vec::new();
        loop {
            let plan = self.controller.plans;
            effects.extend(self.handle(fencing(plan, nodes)));
            if self.controller.plans == plan {
                return effects;
            }
        }
    }

    /// Whether the controller tells in the next view what it knows of `db`.
    fn tells(&mut self, members: &[(u32, u64)]) -> bool {
        self.tells_with(members, &[])
    }

    /// The same, with what node 1 is doing.
    fn tells_with(&mut self, members: &[(u32, u64)], busy: &[Underway]) -> bool {
        let effects = self.view_with(members, (1, busy));
        effects.iter().any(|effect| match effect {
            Effect::Cib(writes) => writes
                .iter()
                .any(|w| matches!(w, CibWrite::Status(xml) if xml.contains("id=\"db\""))),
            _ => false,
        })
    }
}

fn operation(action: &str) -> Operation {
    Operation {
        resource: "db".into(),
        action: action.into(),
        interval_ms: 0,
        timeout_ms: 20_000,
        start_delay_ms: 0,
        agent: Agent { class: "ocf".into(), provider: Some("x".into()), name: "y".into() },
        params: Vec::new(),
        tag: format!("1:1:{}:{action}", if action == "monitor" { 7 } else { 0 }),
    }
}

/// What an earlier daemon has left running is probed for once, as soon as this node has joined: what
/// is no longer configured would never be found otherwise, and so never be stopped.
#[test]
fn what_an_earlier_daemon_left_running_is_probed_for_once() {
    let mut test = Test::new(2);
    let agent = operation("start").agent;
    test.controller.setup.left_running = BTreeMap::from([("old".to_owned(), agent.clone())]);
    let all = [(1, 1), (2, 2), (3, 3)];
    let probes = |effects: Vec<Effect>| -> Vec<Operation> {
        let probe = |effect| match effect {
            Effect::Execute(crm_executor::Input::Execute(operation)) => Some(operation),
            _ => None,
        };
        effects.into_iter().filter_map(probe).collect()
    };
    let [probe] = &probes(test.view(&all))[..] else { panic!("one probe is expected") };
    assert_eq!((probe.resource.as_str(), probe.action.as_str()), ("old", "monitor"));
    assert_eq!((probe.interval_ms, &probe.agent), (0, &agent));
    assert!(probes(test.view(&all)).is_empty(), "it was looked for already");

    let report = Report {
        operation: probe.clone(),
        call: 1,
        outcome: Outcome::done(code::OK),
        started: NOW,
        ran: Duration::ZERO,
        queued: Duration::ZERO,
    };
    let effects = test.handle(Input::Report(report));
    let told = effects.iter().any(|effect| match effect {
        Effect::Cib(writes) => {
            writes.iter().any(|w| matches!(w, CibWrite::Status(xml) if xml.contains("id=\"old\"")))
        }
        _ => false,
    });
    assert!(told, "its history says that it runs: {effects:?}");
}

/// The target has looked for the resource by a clock that is an hour ahead: by its source's clock the
/// migration would be earlier than that, and a plan would take it not to have arrived.
#[test]
fn a_migration_is_later_than_what_its_target_did_before_whatever_the_clocks_say() {
    let mut test = Test::new(2);
    let report = |operation, started| Report {
        operation,
        call: 1,
        outcome: Outcome::done(code::OK),
        started,
        ran: Duration::ZERO,
        queued: Duration::ZERO,
    };
    let said = |effects: Vec<Effect>| -> WireReport {
        let result = effects.into_iter().find_map(|effect| match effect {
            Effect::Broadcast(Message::Result { report }) => Some(*report),
            _ => None,
        });
        result.expect("a result is told")
    };
    let mut probed = said(test.handle(Input::Report(report(operation("monitor"), NOW))));
    probed.started_s += 3600;
    test.hear(3, Message::Result { report: Box::new(probed.clone()) });
    let mut migration = operation("migrate_to");
    migration.params.push(("CRM_meta_migrate_target".into(), "n3".into()));
    let told = said(test.handle(Input::Report(report(migration, NOW))));
    assert!(told.started_s >= probed.started_s);
    let told = said(test.handle(Input::Report(report(operation("start"), NOW))));
    assert!(told.started_s < probed.started_s, "nothing else is affected");
}

/// A member that never greets holds up the election: who it is has to be in the log.
#[test]
fn a_member_that_does_not_greet_is_named_ever_less_often() {
    let mut test = Test::new(2);
    let members = vec![NodeId(1), NodeId(2), NodeId(3)];
    let came_with_us = members.clone();
    let view =
        View { id: 9, quorate: true, exclusive: true, members, came_with_us, ..View::default() };
    test.handle(Input::View(view));
    test.handle(Input::Synced { seen: Vec::new() });
    for id in [1, 2] {
        let hello = Hello {
            view: 9,
            is_dc: false,
            was_quorate: true,
            started: true,
            life: Incarnation(id),
            busy: Vec::new(),
            arriving: BTreeMap::new(),
            latest_s: 0,
            member_fences: Vec::new(),
        };
        test.hear(u32::try_from(id).unwrap(), Message::Hello(Box::new(hello)));
    }
    let mut said = Vec::new();
    for _ in 0..3 {
        let at = test.controller.poll_timeout().expect("it is waited for");
        test.controller.handle_timeout(at);
        while let Some(effect) = test.controller.poll_effect() {
            if let Effect::Log(Level::Warning, text) = effect {
                said.push((at.since(NOW).as_secs(), text));
            }
        }
    }
    let times: Vec<u64> = said.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [5, 10, 20]);
    assert!(said.iter().all(|(_, text)| text.contains("n3") && !text.contains("n1")), "{said:?}");
}

/// The target of a migration looks for the resource with the parameters that the source has.
#[test]
fn the_target_of_a_migration_expects_the_resource_with_its_parameters() {
    let mut test = Test::new(2);
    let mut operation = operation("migrate_to");
    operation.params.push(("CRM_meta_migrate_target".into(), "n2".into()));
    operation.params.push(("ip".into(), "1".into()));
    let (to, node) = (NodeId(1), "n1".to_owned());
    let order = Message::Execute { to, operation: operation.clone(), node, instance: false };
    let effects = test.hear(1, order);
    assert!(effects.contains(&Effect::Execute(crm_executor::Input::Expect(operation))));
}

/// A lost node's state has to say that it is expected to run, or it would pass for safely down. That
/// another one is down is in the CIB, and would be news if it were said again.
#[test]
fn a_node_that_is_not_known_to_be_down_is_expected_to_run() {
    for (down, said) in [(false, true), (true, false)] {
        let mut test = Test::new(2);
        test.seen = vec![Seen { node: NodeId(1), down }];
        let told = lost(&test.view(&[(2, 2), (3, 3)]), "n1");
        assert_eq!(told.contains("expected=\"member\""), said, "{told}");
        assert!(!told.contains("expected=\"down\""), "{told}");
    }
}

/// What it was told to migrate there would arrive at a host that knows nothing of it.
#[test]
fn a_node_that_is_lost_or_was_away_is_no_target_of_what_has_not_begun() {
    let lost_target = |effects: &[Effect]| {
        let node = "n3".to_owned();
        effects.contains(&Effect::Execute(crm_executor::Input::TargetLost { node }))
    };
    let mut test = Test::new(2);
    test.nobody_new = true;
    assert!(!lost_target(&test.view(&[(1, 1), (2, 2), (3, 3)])));
    assert!(lost_target(&test.view(&[(1, 1), (2, 2)])));
    test.nobody_new = false;
    assert!(lost_target(&test.view(&[(1, 1), (2, 2), (3, 3)])));
}

/// What is told of a lost node.
fn lost(effects: &[Effect], name: &str) -> String {
    let writes = effects.iter().filter_map(|effect| match effect {
        Effect::Cib(writes) => Some(writes),
        _ => None,
    });
    let of_node = |write: &&CibWrite| match write {
        CibWrite::Status(xml) => xml.contains(&format!("uname=\"{name}\"")),
        _ => false,
    };
    format!("{:?}", writes.flatten().find(of_node)).replace('\\', "")
}

/// The confirmation may come while the members change, so that the CIB does not have it yet.
#[test]
fn a_confirmed_fence_is_known_as_long_as_all_members_have_heard_of_it() {
    for (nobody_new, expected) in [(true, "expected=\"down\""), (false, "expected=\"member\"")] {
        let mut test = Test::new(1);
        test.seen = vec![Seen { node: NodeId(3), down: false }];
        test.handle(is_fenced(3, false));
        test.nobody_new = nobody_new;
        let told = lost(&test.view(&[(1, 1), (2, 2)]), "n3");
        assert!(told.contains(expected), "{told}");
        // It is back, and lost again.
        test.view(&[(1, 1), (2, 2), (3, 4)]);
        let told = lost(&test.view(&[(1, 1), (2, 2)]), "n3");
        assert!(told.contains("expected=\"member\""), "{told}");
    }
}

/// Its new daemon is a member before it is heard, and is lost before or after that.
#[test]
fn a_fence_that_is_confirmed_when_the_node_is_back_says_nothing_of_its_new_life() {
    for (heard, back) in [(true, true), (false, true), (false, false)] {
        let mut test = Test::new(1);
        test.seen = vec![Seen { node: NodeId(3), down: false }];
        test.view(&[(1, 1), (2, 2)]);
        test.view += 1;
        test.handle(Input::View(View {
            id: test.view,
            quorate: true,
            exclusive: true,
            members: (1..=3).map(NodeId).collect(),
            came_with_us: (1..=2).map(NodeId).collect(),
            met: Vec::new(),
        }));
        let fenced = is_fenced(3, true);
        if back {
            test.handle(fenced.clone());
        }
        if heard {
            test.view(&[(1, 1), (2, 2), (3, 4)]);
        }
        let told = lost(&test.view(&[(1, 1), (2, 2)]), "n3");
        assert!(told.contains("expected=\"member\""), "{told}");
        if !back {
            let told = lost(&test.handle(fenced), "n3");
            assert_eq!(told, "None", "it was for the life before");
        }
    }
}

#[test]
fn what_may_have_arrived_from_a_lost_node_is_looked_for_again() {
    let busy = [Underway::of_operation(&operation("migrate_to"), "n1", false)];
    assert!(Test::migrating().tells_with(&[(1, 1), (2, 2)], &busy), "its source goes on");
    assert!(!Test::migrating().tells(&[(1, 1), (2, 2)]), "its source has ended it unheard");
    assert!(!Test::migrating().tells(&[(2, 2), (3, 3)]), "its source is lost");
    assert!(!Test::migrating().tells(&[(1, 9), (2, 2), (3, 3)]), "its source was started anew");
}

/// What a node says when it has ended an operation, well.
fn has_ended(node: &str, operation: Operation) -> Message {
    let report = WireReport {
        node: node.into(),
        operation,
        call: 1,
        outcome: Outcome::done(code::OK),
        started_s: 0,
        ran_ms: 0,
        queued_ms: 0,
    };
    Message::Result { report: Box::new(report) }
}

/// Nobody has asked for it: a daemon that was restarted looks for what it left running.
#[test]
fn a_plan_from_before_a_result_that_nobody_waits_for_is_made_again() {
    let mut test = Test::new(1);
    test.view(&[(1, 1), (2, 2), (3, 3)]);
    test.plan(&["n3"]);
    let message = Message::Replan { reason: "the test wants one".into() };
    test.hear(2, message);
    let plan = test.controller.plans;
    test.hear(2, has_ended("n2", operation("start")));
    test.handle(fencing(plan, &["n3"]));
    assert!(test.controller.plans > plan, "the plan is carried out");
}

/// Only its source says where it is, until the target has done its part.
#[test]
fn what_was_heard_to_have_ended_is_looked_for_once_its_source_is_gone() {
    let ended = || {
        let mut test = Test::migrating();
        test.hear(1, has_ended("n1", operation("migrate_to")));
        test
    };
    assert!(ended().tells(&[(1, 1), (2, 2)]), "its source tells");
    assert!(!ended().tells(&[(2, 2), (3, 3)]), "its source is lost");
    assert!(!ended().tells(&[(1, 9), (2, 2)]), "its source was started anew");
    let mut fenced = ended();
    fenced.handle(is_fenced(1, false));
    assert!(!fenced.tells(&[(2, 2), (3, 3)]), "its source is fenced");
    for done in ["migrate_from", "stop"] {
        let mut test = ended();
        test.run(done, code::OK);
        assert!(test.tells(&[(2, 2), (3, 3)]), "{done}");
    }
}

#[test]
fn what_has_arrived_is_known_whatever_becomes_of_its_source() {
    let mut test = Test::migrating();
    test.run("migrate_from", code::OK);
    assert!(test.tells(&[(2, 2), (3, 3)]));
}

/// Its source goes on with it unheard, so it may arrive after this node has stopped it.
#[test]
fn what_was_stopped_while_its_source_was_out_of_reach_is_looked_for_again() {
    let mut test = Test::migrating();
    assert!(!test.tells(&[(2, 2)]));
    test.run("stop", code::OK);
    assert!(!test.tells(&[(2, 2), (3, 3)]), "its source is still lost");
    test.run("stop", code::OK);
    assert!(!test.tells(&[(1, 1), (2, 2), (3, 3)]), "its source is back");
    test.run("stop", code::OK);
    assert!(test.tells(&[(2, 2), (3, 3)]), "nothing is under way any more");
}

/// Who is told to forget what it found out about `db`.
fn searches(effects: &[Effect]) -> Vec<u32> {
    let search = |effect: &Effect| match effect {
        Effect::Broadcast(Message::Forget { to, resource, tag: Some(_) }) => {
            assert_eq!(resource.as_deref(), Some("db"));
            Some(to.0)
        }
        _ => None,
    };
    effects.iter().filter_map(search).collect()
}

#[test]
fn a_migration_that_no_plan_counts_on_is_searched_for_when_it_has_ended() {
    let mut test = Test::new(1);
    let mut operation = operation("migrate_to");
    operation.params.push(("CRM_meta_migrate_target".into(), "n2".into()));
    let effects = test.hear(3, has_ended("n3", operation));
    assert_eq!(searches(&effects), [2]);
}

/// Node 1 hears that node 3 is to migrate `db` to node 2.
fn migrating_to_2() -> (Test, Message) {
    let mut operation = operation("migrate_to");
    operation.params.push(("CRM_meta_migrate_target".into(), "n2".into()));
    let (to, node) = (NodeId(3), "n3".to_owned());
    let execute = Message::Execute { to, operation, node, instance: false };
    let mut test = Test::new(1);
    test.hear(1, execute.clone());
    (test, execute)
}

/// The life of node `n` that the tests begin with has the number `n` too.
fn is_fenced(node: u32, outdated: bool) -> Input {
    Input::Fenced(Fenced {
        tickets: vec![],
        target: format!("n{node}"),
        action: "off".into(),
        error: None,
        client: "x".into(),
        life: Some(Incarnation(u64::from(node))),
        outdated,
    })
}

#[test]
fn what_a_fenced_node_was_migrating_is_searched_for_before_anything_else() {
    let (mut test, _) = migrating_to_2();
    assert_eq!(searches(&test.handle(is_fenced(3, false))), [2]);
    assert_eq!(searches(&test.handle(is_fenced(3, false))), [0; 0], "once");
}

/// Its new daemon does not know what the lost node may still send to it.
#[test]
fn a_target_that_was_started_anew_is_searched_as_well() {
    let (mut test, _) = migrating_to_2();
    test.view(&[(1, 1), (2, 9)]);
    assert_eq!(searches(&test.handle(is_fenced(3, false))), [2]);

    let (mut test, _) = migrating_to_2();
    test.view(&[(1, 1), (2, 9), (3, 3)]);
    assert_eq!(searches(&test.handle(is_fenced(3, false))), [0; 0], "its source was heard");
}

#[test]
fn a_migration_begins_when_all_know_of_it() {
    let (_, migration) = migrating_to_2();
    assert_eq!(migration.guarantee(), Guarantee::Safe);
    let (to, node) = (NodeId(3), "n3".to_owned());
    let start = Message::Execute { to, operation: operation("start"), node, instance: false };
    assert_eq!(start.guarantee(), Guarantee::Agreed);
}

#[test]
fn what_goes_to_another_node_is_not_doubted_here() {
    let mut test = Test::new(2);
    test.run("monitor", code::NOT_RUNNING);
    let mut operation = operation("migrate_to");
    operation.params.push(("CRM_meta_migrate_target".into(), "n3".into()));
    let (to, node) = (NodeId(1), "n1".to_owned());
    test.hear(1, Message::Execute { to, operation, node, instance: false });
    assert!(test.tells(&[(2, 2), (3, 3)]));
}

/// Node 2 was apart for a moment, in which nobody else's view changed, and ended a start there.
#[test]
fn what_a_member_has_ended_unheard_is_not_waited_for() {
    let all = [(1, 1), (2, 2), (3, 3)];
    let start = Underway::of_operation(&operation("start"), "n2", false);
    let mut test = Test::new(1);
    for (busy, phase) in [(vec![start], Phase::DcTransition), (vec![], Phase::DcIdle)] {
        test.view_with(&all, (2, &busy));
        while test.controller.phase() == Phase::DcPlanning {
            let (plan, result) = (test.controller.plans, Ok(Transition::default()));
            test.handle(Input::Planned { plan, result, input: None });
        }
        assert_eq!(test.controller.phase(), phase);
    }
}

/// What a search has found may have come before it was asked for: it is asked for again.
#[test]
fn a_search_that_a_member_may_not_have_heard_of_is_repeated() {
    let (mut test, _) = migrating_to_2();
    assert_eq!(searches(&test.handle(is_fenced(3, false))), [2]);
    assert_eq!(searches(&test.view(&[(1, 1), (2, 2)])), [2]);
}

/// Whoever removes the states of the members: one that leaves as it was told is not fenced for that.
#[test]
fn a_member_that_was_told_to_leave_is_expected_to_be_down_also_when_that_is_written_again() {
    let mut test = Test::new(1);
    let plan = test.controller.plans;
    let Input::Planned { result: Ok(mut transition), input, .. } = fencing(plan, &["n3"]) else {
        panic!("it is a plan");
    };
    transition.synapses[0].action.operation = "do_shutdown".into();
    test.handle(Input::Planned { plan, result: Ok(transition), input });
    let effects =
        test.handle(Input::CibChanged(CibChange { kept_changed: true, ..CibChange::default() }));
    assert!(lost(&effects, "n3").contains("expected=\"down\""), "{effects:?}");
    assert!(lost(&effects, "n2").contains("expected=\"member\""), "{effects:?}");
}

/// Plans are made of what all members say of themselves.
#[test]
fn no_plan_is_made_from_a_cib_before_the_members_have_written_their_histories_again() {
    let mut test = Test::new(1);
    test.plan(&[]);
    let changed = || Input::CibChanged(CibChange { kept_changed: true, ..CibChange::default() });
    let mut effects = test.handle(changed());
    for node in [1, 2] {
        effects.extend(test.hear(node, Message::Told { view: test.view }));
    }
    let planned =
        |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Schedule { .. }));
    assert!(!planned(&effects), "{effects:?}");
    assert!(planned(&test.hear(3, Message::Told { view: test.view })));
}

#[test]
fn a_node_that_holds_a_failed_resource_says_so_in_its_history() {
    let mut test = Test::new(2);
    test.run("monitor", code::OK);
    test.run("stop", code::ERROR);
    let (to, resource) = (NodeId(2), "db".to_owned());
    let reason = "n2 is not fenced for it".to_owned();
    let effects = test.hear(1, Message::Hold { to, resource, reason });
    let text = format!("{effects:?}").replace('\\', "");
    assert_eq!(text.matches("fence-held=\"true\"").count(), 2, "{text}");
    assert!(text.contains("exit-reason=\"it failed; n2 is not fenced for it\""), "{text}");
    let replan = |effect: &Effect| matches!(effect, Effect::Broadcast(Message::Replan { .. }));
    assert!(effects.iter().any(replan), "the plan has to know");
    assert!(test.tells(&[(1, 1), (2, 2)]), "and whoever is the DC next");
}

/// A plan that has `db` stopped on node 2.
fn stopping(plan: u32) -> Input {
    let Input::Planned { result: Ok(mut transition), .. } = fencing(plan, &["n2"]) else {
        unreachable!("it is a plan")
    };
    let action = &mut transition.synapses[0].action;
    action.kind = ActionKind::Resource;
    action.operation = "stop".into();
    action.attributes.clear();
    action.resource = Some(std::sync::Arc::new(crm_graph::Resource {
        id: "db".into(),
        long_id: None,
        class: "ocf".into(),
        provider: Some("x".into()),
        agent: "y".into(),
    }));
    transition.id = plan;
    Input::Planned { plan, result: Ok(transition), input: None }
}

#[test]
fn a_stop_that_fails_each_time_is_planned_and_tried_ever_less_often() {
    let mut test = Test::new(1);
    let mut now = NOW;
    let (mut plans, mut stops) = (0, 0);
    let mut todo = vec![Effect::Schedule { plan: 1 }];
    let end = NOW + Duration::from_secs(60);
    while now < end {
        let inputs: Vec<Input> = todo
            .drain(..)
            .filter_map(|effect| match effect {
                Effect::Schedule { plan } => {
                    plans += 1;
                    Some(stopping(plan))
                }
                Effect::Broadcast(Message::Execute { operation, .. }) => {
                    stops += 1;
                    let Message::Result { mut report } = has_ended("n2", operation) else {
                        unreachable!("it is a result")
                    };
                    report.outcome = Outcome::done(code::ERROR);
                    let message = Message::Result { report };
                    Some(Input::Delivered { sender: NodeId(2), message })
                }
                // The fail count makes another plan.
                Effect::Attributes(_) => {
                    let change = CibChange { attributes: true, ..CibChange::default() };
                    Some(Input::CibChanged(change))
                }
                _ => None,
            })
            .collect();
        if inputs.is_empty() {
            now = test.controller.poll_timeout().expect("it is tried again");
            test.controller.handle_timeout(now);
        }
        for input in inputs {
            now = now + Duration::from_millis(10);
            test.controller.handle(now, input);
            todo.extend(std::iter::from_fn(|| test.controller.poll_effect()));
        }
        todo.extend(std::iter::from_fn(|| test.controller.poll_effect()));
    }
    assert!((6..=12).contains(&stops), "{stops} stops in a minute");
    assert!(plans <= 3 * stops, "{plans} plans for {stops} stops");
}

/// A plan that has these nodes fenced, in no order.
fn fencing(plan: u32, nodes: &[&str]) -> Input {
    fencing_for(plan, nodes, None)
}

/// The same, for a reason.
fn fencing_for(plan: u32, nodes: &[&str], reason: Option<String>) -> Input {
    let action = |(id, node): (u32, &&str)| Action {
        id,
        kind: ActionKind::Cluster,
        operation: "stonith".into(),
        key: format!("stonith-{node}-reboot"),
        internal_key: None,
        on_node: Some((*node).into()),
        on_node_uuid: None,
        router_node: None,
        resource: None,
        attributes: vec![("CRM_meta_stonith_action".into(), "reboot".into())],
        downed: vec![],
        params: vec![],
        maintenance: vec![],
        shutdown_lock: None,
        reason: reason.as_deref().map(Into::into),
    };
    let synapse = |action: Action| Synapse { id: action.id, priority: 0, action, inputs: vec![] };
    let synapses = (1..).zip(nodes).map(action).map(synapse).collect();
    Input::Planned {
        plan,
        result: Ok(Transition { synapses, ..Transition::default() }),
        input: None,
    }
}
