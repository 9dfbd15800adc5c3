//! A short round of faults of many kinds, checked as `cargo xtask chaos` checks its rounds. Runs only
//! in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tests_chaos::{Script, run};
use tests_lab::asked_for;

const FAULTS: &str = "\
hosts 3 boot 300
at 200 for 500 operator update alpha
at 500 for 2500 cut-power node2
at 1000 for 2000 device node2 slow
at 2500 for 600 operator create
at 6000 for 4000 split node1,node2 node3
at 7000 for 1000 operator update beta
at 11000 for 2000 agent gamma monitor node1 fails
at 11500 for 300 kill-daemon node3
";

#[test]
fn what_must_hold_holds_through_a_short_list_of_faults() {
    if !asked_for() {
        return;
    }
    let script: Script = FAULTS.parse().unwrap();
    let keep = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
    let report = run(&script, &keep, false).unwrap();
    assert_eq!(report.violations, [""; 0], "see {}", keep.display());
    assert!(report.fences > 0 && report.acknowledged > 0, "{report:?}");
}
