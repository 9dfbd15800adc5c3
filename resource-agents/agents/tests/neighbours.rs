//! What the address agent does to the neighbours: they learn of a move at once, and an owner that
//! is still there is found. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::time::{Duration, Instant};

use cli_hosts::{Config, HostConfig, Hosts};

const WAIT: Duration = Duration::from_secs(10);

struct Place {
    hosts: Hosts,
    folder: std::path::PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("vip-agent-{}", std::process::id()));
        let hosts = ["one", "two", "client"].map(|name| HostConfig::new(name, &[])).to_vec();
        let hosts = Hosts::new(Config { work: folder.clone(), hosts, bmc: None }).unwrap();
        hosts.power_on_all().unwrap();
        Self { hosts, folder }
    }

    fn sh(&self, host: &str, script: &str) -> (i32, String, String) {
        let output = self.hosts.exec(host, &["sh", "-c", script], WAIT).unwrap();
        (output.code().unwrap(), output.stdout, output.stderr)
    }

    fn agent(&self, host: &str, action: &str, ip: &str, more: &str) -> (i32, String) {
        let program = env!("CARGO_BIN_EXE_systole-agent");
        let script = format!("OCF_RESKEY_ip={ip} {more} {program} vip {action}");
        let (code, _, err) = self.sh(host, &script);
        (code, err)
    }

    /// Whom the client believes to have the address, without asking the network.
    fn known_owner(&self, ip: &str) -> Option<&'static str> {
        let (_, table, _) = self.sh("client", &format!("ip neigh show {ip} dev eth0"));
        ["one", "two"].into_iter().find(|host| {
            let mac = self.hosts.mac(host).unwrap().map(|byte| format!("{byte:02x}")).join(":");
            table.contains(&mac)
        })
    }
}

#[test]
fn neighbours_follow_at_once() {
    if std::env::var_os("SYSTOLE_E2E").is_none_or(|value| value != "1") {
        println!("not run: needs root, iproute2 and ping; set SYSTOLE_E2E=1");
        return;
    }
    let place = Place::new();
    for ip in ["10.77.0.50", "fd77::50"] {
        place.hosts.power_on("one").unwrap();
        assert_eq!(place.agent("one", "start", ip, "").0, 0);
        assert_eq!(place.sh("client", &format!("ping -c 1 -W 2 {ip}")).0, 0);
        assert_eq!(place.known_owner(ip), Some("one"));
        place.hosts.power_off("one").unwrap();
        let began = Instant::now();
        assert_eq!(place.agent("two", "start", ip, "").0, 0);
        while place.known_owner(ip) != Some("two") {
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(1), "the client was not told of {ip}");
        }
        assert_eq!(place.sh("client", &format!("ping -c 1 -W 2 {ip}")).0, 0);
    }
    // The address is on "two"; whoever looks before starting finds it, whoever does not look
    // gets it all the same.
    place.hosts.power_on("one").unwrap();
    let look = "OCF_RESKEY_conflict_wait=200";
    let (code, reason) = place.agent("one", "start", "10.77.0.50", look);
    assert!(code == 1 && reason.contains("in use on eth0 by 02:77:00:00:00:02"), "{reason}");
    assert_eq!(place.agent("one", "monitor", "10.77.0.50", "").0, 7);
    assert_eq!(place.agent("two", "stop", "10.77.0.50", "").0, 0);
    let began = Instant::now();
    assert_eq!(place.agent("one", "start", "10.77.0.50", look).0, 0);
    let took = began.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_secs(1)).contains(&took), "{took:?}");
    // The kernel's own check, for those who want it.
    let (code, reason) = place.agent("one", "start", "fd77::50", "OCF_RESKEY_nodad=false");
    assert!(code == 1 && reason.contains("duplicate"), "{reason}");
    assert_eq!(place.agent("one", "monitor", "fd77::50", "").0, 7);
}
