//! Many nodes have to be fenced at once.

use tests_sim::{Scenario, all_stops_fail};

#[test]
fn nodes_that_cannot_stop_anything_are_fenced_and_come_back() {
    for nodes in [3, 5] {
        for seed in 1..=4 {
            let scenario = Scenario { nodes, seed, chaos_ms: 0, trace: false };
            let violation = all_stops_fail(&scenario).violation;
            assert_eq!(violation, None, "seed {seed} on {nodes} nodes");
        }
    }
}
