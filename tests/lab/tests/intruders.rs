//! Users who may not talk to the cluster, and a daemon too many: neither holds up root or the
//! cluster. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tests_lab::{Cluster, asked_for};

#[test]
fn a_second_daemon_is_refused_and_takes_nothing_from_the_first() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("second", 2);
    let again = || {
        let words = ["systole", "daemon"];
        let output = cluster.exec("node1", &words, Duration::from_secs(20)).unwrap();
        assert!(!output.success() && output.code().is_some());
        output.stderr
    };
    assert!(again().contains("another systole daemon"), "{}", again());
    cluster.must("node1", "status");
}

#[test]
fn strangers_with_many_connections_and_long_command_lines_hold_up_nobody() {
    if !asked_for() {
        return;
    }
    let cluster = Cluster::start("strangers", 2);
    let memory = || {
        let script = "awk '/VmRSS/ {print $2}' /proc/$(cat /run/systole/systole.lock)/status";
        cluster.sh("node1", script).unwrap().trim().parse::<u64>().unwrap()
    };
    let before = memory();
    // Another user, 10 MB of arguments, and as many connections as there ever were.
    let script = r#"
import os, socket, sys
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, sys.argv[0]] + ["x" * 100000] * 20)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
kept, first = [], b""
for n in range(600):
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/systole/systole.sock")
    kept.append(s)
for s in kept[:3]:
    first += s.recv(4096)
print(first)
sys.stdout.flush()
sys.stdin.read()
"#;
    cluster.sh("node1", &format!("cat >/tmp/many.py <<'END'\n{script}END")).unwrap();
    let hold =
        "rm -f /tmp/hold; mkfifo /tmp/hold; python3 /tmp/many.py </tmp/hold >/tmp/said 2>&1 &
        exec 3>/tmp/hold; until grep -q may /tmp/said; do sleep 0.1; done;
        systole status >/dev/null && crm_attribute --query --name cluster-name; cat /tmp/said";
    let said = cluster.sh("node1", hold).unwrap();
    assert!(said.contains("may not talk to the cluster"), "{said}");
    assert!(said.contains("scope=crm_config"), "root is answered: {said}");
    let after = memory();
    assert!(after < before + 100_000, "{before} kB, then {after} kB");
}
