//! A node that is back before its fence has reached the switch, and one that is cut off while it has
//! something migrated.

use tests_sim::{Report, Scenario, cut_off_migration, short_outages};

fn holds(script: fn(&Scenario) -> Report, sizes: &[u32], seeds: u64) {
    for nodes in sizes.iter().copied() {
        for seed in 1..=seeds {
            let report = script(&Scenario { nodes, seed, chaos_ms: 0, trace: false });
            assert_eq!(report.violation, None, "seed {seed} on {nodes} nodes");
        }
    }
}

#[test]
fn a_node_that_is_back_before_its_fence_is_not_fenced_again_and_again() {
    holds(short_outages, &[3, 5], 2);
}

#[test]
fn what_a_lost_dc_has_migrated_is_not_started_elsewhere_as_well() {
    holds(cut_off_migration, &[5], 8);
}
