//! A node that the others take to be down, and that is not.

use tests_sim::{Scenario, fence_that_does_nothing};

#[test]
fn a_node_that_is_told_of_its_own_fence_stops_what_it_runs_or_restarts() {
    for reaction in ["stop", "panic"] {
        for nodes in [3, 5] {
            for seed in 1..=2 {
                let scenario = Scenario { nodes, seed, chaos_ms: 0, trace: false };
                let report = fence_that_does_nothing(&scenario, reaction);
                assert_eq!(report.violation, None, "{reaction}, seed {seed} on {nodes} nodes");
            }
        }
    }
}
