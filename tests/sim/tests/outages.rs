//! A node that is back before its fence has reached the switch.

use tests_sim::{Scenario, short_outages};

/// Each outage may cost the life that its fence hits, and hardly ever one more.
const OUTAGES: u64 = 3;

#[test]
fn a_node_that_is_back_before_its_fence_is_not_fenced_again_and_again() {
    for nodes in [3, 5] {
        for seed in 1..=2 {
            let scenario = Scenario { nodes, seed, chaos_ms: 0, trace: false };
            let report = short_outages(&scenario);
            assert_eq!(report.violation, None, "seed {seed} on {nodes} nodes");
            let [_, _, fences, ..] = report.counts;
            eprintln!("{fences} fences");
            assert!(fences <= OUTAGES, "seed {seed} on {nodes} nodes: {fences} fences");
        }
    }
}
