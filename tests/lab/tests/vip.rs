//! An address that moves: planned, and when its node loses power, hangs or is cut off. What counts
//! is what the client sees. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tests_lab::{ArpWatch, Cluster, asked_for};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// A takeover by force: the new owner's first claim comes after the old one's power is off, and
/// the old one says nothing more. Returns the new owner.
fn taken_over(cluster: &Cluster, watch: &ArpWatch, old: &str, since: Instant) -> String {
    let new = cluster.wait_owner(watch, Some(old));
    let off = cluster.switched_off(old, since).expect("the old owner was switched off");
    let tenures = watch.tenures();
    let [.., before, after] = &tenures[..] else { panic!("two owners, not {tenures:?}") };
    assert!(
        after.first > off.at,
        "{new} answered {:?} before {old} was switched off",
        off.at - after.first
    );
    // An answer that was on its way when the power went may still arrive.
    let late = before.last.saturating_duration_since(off.at);
    assert!(late < Duration::from_millis(20), "{old} answered {late:?} after its power went");
    println!(
        "{old} to {new}: off after {:?}, answers after {:?}, nobody for {:?}",
        off.at - since,
        after.first - since,
        after.first - before.last
    );
    // The history tells it too, from any node.
    let last = cluster.fencing_of(&new, old).pop().expect("an entry in the fencing history");
    assert_eq!(last.state, "done", "{last:?}");
    new
}

/// The node is switched on again by its device and comes back; the address stays where it is.
fn comes_back(cluster: &Cluster, watch: &ArpWatch, owner: &str) {
    cluster.wait_formed();
    let stays = || cluster.owners(watch).last().map(String::as_str) == Some(owner);
    cluster.stays(Duration::from_millis(1500), "the address stays where it is", stays);
}

#[test]
fn the_address_is_on_one_node_at_a_time_whatever_happens() {
    if !asked_for() {
        return;
    }
    let began = Instant::now();
    let cluster = Cluster::start("vip", 3);
    cluster.make_fence_devices();
    cluster.make_vip("vip", VIP, "");
    let watch = cluster.watch(VIP);
    let mut owners = vec![cluster.wait_owner(&watch, None)];
    println!("answers {:?} after the start", began.elapsed());

    // Planned: a short gap, and nobody is fenced.
    let since = Instant::now();
    let old = owners[0].clone();
    cluster.must(&old, &format!("node standby {old}"));
    let new = cluster.wait_owner(&watch, Some(&old));
    let tenures = watch.tenures();
    let gap = tenures[1].first - tenures[0].last;
    println!("standby: {old} to {new}, nobody for {gap:?}");
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    cluster.must(&old, &format!("node unstandby {old}"));
    owners.push(new);
    comes_back(&cluster, &watch, &owners[1]);
    assert!(cluster.fenced(since).is_empty());

    // Power cut.
    let old = owners[1].clone();
    let since = Instant::now();
    cluster.power_off(&old).unwrap();
    owners.push(taken_over(&cluster, &watch, &old, since));
    comes_back(&cluster, &watch, &owners[2]);

    // Hung: its kernel goes on answering for the address until it is switched off.
    let old = owners[2].clone();
    let since = Instant::now();
    cluster.freeze(&old).unwrap();
    owners.push(taken_over(&cluster, &watch, &old, since));
    assert_eq!(cluster.fenced(since), [old.clone()].into());
    comes_back(&cluster, &watch, &owners[3]);

    // Cut off from the others, but not from the client.
    let old = owners[3].clone();
    let since = Instant::now();
    cluster.isolate(&old);
    owners.push(taken_over(&cluster, &watch, &old, since));
    assert_eq!(cluster.fenced(since), [old.clone()].into());
    comes_back(&cluster, &watch, &owners[4]);

    // Two owners at once would have shown as one after the other, again and again.
    assert_eq!(cluster.owners(&watch), owners);
}
