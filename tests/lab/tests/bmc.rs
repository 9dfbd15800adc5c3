//! BMCs that refuse, hang or lie: nothing is started twice, the reason is said, and all goes on by
//! itself once the BMC does its work. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tests_lab::{ArpWatch, BMC_PASSWORD, Cluster, asked_for};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// How long nothing may happen after fencing has failed.
const STILL: Duration = Duration::from_secs(3);

/// Hangs the owner of the address while its BMC does not do its work, and lets the BMC work again
/// after a while. The hung node's kernel goes on answering, so a second owner would be seen.
fn fence_fails_then_works(
    cluster: &Cluster,
    watch: &ArpWatch,
    words: &[&str],
    break_it: impl FnOnce(&str),
    mend_it: impl FnOnce(&str),
) {
    let owner = cluster.wait_owner(watch, None);
    let other = cluster.another(&[&owner]).to_owned();
    let tenures = watch.tenures().len();
    break_it(&owner);
    cluster.must(&other, "stonith history --clear");
    let since = Instant::now();
    cluster.freeze(&owner).unwrap();

    let mut reason = String::new();
    cluster.wait("the history says that fencing failed", || {
        let failed = cluster.fencing_of(&other, &owner).into_iter().find(|e| e.state == "failed");
        failed.map(|entry| reason = entry.reason).is_some()
    });
    println!("{owner} after {:?}: {reason}", since.elapsed());
    for word in words {
        assert!(reason.contains(word), "{word} is not in the reason: {reason}");
    }
    // The status tells it too, in words, except while it is being tried again.
    cluster.wait("the status says why", || {
        let status = cluster.ok(&other, "status").unwrap_or_default();
        status.contains(&owner) && status.contains(&reason)
    });
    let still = || {
        cluster.fencing_of(&other, &owner).iter().all(|entry| entry.state != "done")
            && cluster.owner(watch).as_deref() == Some(&owner)
    };
    cluster.stays(STILL, "nothing is started elsewhere", still);
    assert_eq!(watch.tenures().len(), tenures, "one owner only: {:?}", watch.tenures());
    assert!(cluster.fenced(since).is_empty());

    let mended = Instant::now();
    mend_it(&owner);
    let new = cluster.wait_owner(watch, Some(&owner));
    let off = cluster.switched_off(&owner, mended).expect("the BMC switches the node off");
    let last = watch.tenures().pop().unwrap();
    assert!(last.first > off.at, "{new} answers only after {owner} is off");
    println!("{owner} to {new}: {:?} after the BMC works", last.first - mended);
    assert_eq!(watch.tenures().len(), tenures + 1);
    cluster.wait_formed();
    cluster.wait("the status is clean again", || {
        cluster.ok(&other, "status").is_ok_and(|status| !status.contains(&reason))
    });
}

#[test]
fn a_bmc_that_does_not_do_its_work_blocks_recovery_and_says_so() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("bmc", 3);
    cluster.make_fence_devices();
    // An agent that waits for long would make this test long.
    for node in cluster.nodes() {
        let words = format!("resource update fence-{node} login_timeout=1 power_timeout=2");
        cluster.must("node1", &words);
    }
    cluster.make_vip("vip", VIP, "");
    let watch = cluster.watch(VIP);
    cluster.wait_owner(&watch, None);

    println!("The BMC says no.");
    let script = |node: &str| cluster.folder(node).unwrap().join("bmc/chassis.sh");
    let good = std::fs::read_to_string(script("node1")).unwrap();
    // It still says whether the host is on.
    let bad = good.replacen("shift\n", "shift\n[ \"$1\" = set ] && exit 1\n", 1);
    assert_ne!(good, bad);
    fence_fails_then_works(
        &cluster,
        &watch,
        &["fence-"],
        |node| replace(&script(node), &bad),
        |node| replace(&script(node), &good),
    );

    println!("The password is wrong.");
    let password = |node: &str, password: &str| {
        let other = cluster.another(&[node]);
        cluster.must(other, &format!("resource update fence-{node} password={password}"));
    };
    fence_fails_then_works(
        &cluster,
        &watch,
        &["fence-", "password"],
        |node| password(node, "mistyped"),
        |node| password(node, BMC_PASSWORD),
    );

    println!("The BMC hangs.");
    fence_fails_then_works(
        &cluster,
        &watch,
        &["fence-", "answer"],
        |node| cluster.freeze_ipmi_sim(node, true).unwrap(),
        |node| cluster.freeze_ipmi_sim(node, false).unwrap(),
    );

    println!("The BMC says yes and does nothing.");
    fence_fails_then_works(
        &cluster,
        &watch,
        &["fence-"],
        |node| cluster.make_ipmi_sim_lie(node, true).unwrap(),
        |node| cluster.make_ipmi_sim_lie(node, false).unwrap(),
    );
}

/// Replaces a script in one step: it may be running.
fn replace(path: &std::path::Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, path).unwrap();
}
