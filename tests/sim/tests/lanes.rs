//! What is slow holds up nothing but itself.

use tests_sim::{Scenario, slow_start};

#[test]
fn a_slow_start_does_not_delay_another_resources_recovery() {
    for nodes in [3, 5] {
        for seed in 1..=4 {
            let scenario = Scenario { nodes, seed, chaos_ms: 0, trace: false };
            let violation = slow_start(&scenario).violation;
            assert_eq!(violation, None, "seed {seed} on {nodes} nodes");
        }
    }
}
