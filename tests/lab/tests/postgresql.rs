//! A database's primary loses its power while a client inserts. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`, as root); needs postgresql-15 and resource-agents.

use std::collections::BTreeSet;

use tests_lab::{Postgresql, asked_for};

#[test]
fn no_acknowledged_insert_is_lost() {
    if !asked_for() {
        return;
    }
    let database = Postgresql::start().unwrap();
    let failover = database.cut_power_of_primary().unwrap();
    println!("{failover:?}");

    // A while later, with the old primary's host back, still all is there; nobody else is promoted.
    database.cluster.wait_formed();
    database.stays(&failover.new);
    let all = database.inserts();
    let stored: BTreeSet<u32> = database.stored().unwrap().into_iter().collect();
    let lost: Vec<_> = all.iter().filter(|insert| !stored.contains(&insert.number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let after = all.iter().filter(|insert| insert.at_ms > failover.off_ms).count();
    println!("{} inserts acknowledged, {after} of them by {}", all.len(), failover.new);
}
