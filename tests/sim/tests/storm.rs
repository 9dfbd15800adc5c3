//! Many nodes have to be fenced at once.

use tests_sim::{Scenario, all_stops_fail, one_stop_fails_everywhere, refused_everywhere};

#[test]
fn nodes_that_cannot_stop_anything_are_fenced_and_come_back() {
    for nodes in [3, 5] {
        for seed in 1..=4 {
            let scenario =
                Scenario { nodes, seed, chaos_ms: 0, trace: std::env::var("TRACE").is_ok() };
            let violation = all_stops_fail(&scenario).violation;
            assert_eq!(violation, None, "seed {seed} on {nodes} nodes");
        }
    }
}

fn holds(script: fn(&Scenario) -> tests_sim::Report) {
    for nodes in [3, 5] {
        for seed in 1..=4 {
            let scenario = Scenario { nodes, seed, chaos_ms: 0, trace: false };
            let violation = script(&scenario).violation;
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
