//! Many nodes have to be fenced at once.

use tests_sim::{Scenario, all_stops_fail, one_stop_fails_everywhere, refused_everywhere};

/// A run's violation. What follows at once from a step is nested in it, deeper than the stack of a
/// test's thread where many plans are given up in the same moment.
fn with_room(script: fn(&Scenario) -> tests_sim::Report, scenario: &Scenario) -> Option<String> {
    let scenario = scenario.clone();
    let run = std::thread::Builder::new().stack_size(256 << 20);
    let run = run.spawn(move || script(&scenario).violation).expect("a thread can be started");
    run.join().expect("the run does not panic")
}

#[test]
fn nodes_that_cannot_stop_anything_are_fenced_and_come_back() {
    for nodes in [3, 5] {
        for seed in 1..=4 {
            let scenario = Scenario { nodes, seed, chaos_ms: 0, trace: false };
            let violation = with_room(all_stops_fail, &scenario);
            assert_eq!(violation, None, "seed {seed} on {nodes} nodes");
        }
    }
}

fn holds(script: fn(&Scenario) -> tests_sim::Report) {
    for nodes in [3, 5] {
        for seed in 1..=4 {
            let scenario = Scenario { nodes, seed, chaos_ms: 0, trace: false };
            let violation = with_room(script, &scenario);
            assert_eq!(violation, None, "seed {seed} on {nodes} nodes");
        }
    }
}

#[test]
fn a_resource_that_can_be_stopped_nowhere_has_two_nodes_fenced_and_is_then_blocked() {
    holds(one_stop_fails_everywhere);
}

#[test]
fn an_agent_that_refuses_everything_has_nobody_fenced() {
    holds(refused_everywhere);
}
