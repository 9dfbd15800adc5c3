//! Against other people's programs: `ipmitool` and FreeIPMI as consoles of the embedded BMC, and
//! OpenIPMI's `ipmi_sim` as a BMC for the fence agent. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`), where a missing tool is a failure.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

mod common;

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Switch, agent, asked_for, bmc, tool};
use fence_agents_ipmi::CipherSuite;

const SUITES: &[CipherSuite] = &[CipherSuite::Suite3, CipherSuite::Suite17];

#[test]
fn ipmitool_as_console() {
    if !asked_for() {
        return;
    }
    for suite in ["3", "17"] {
        let switch = Switch::default();
        let bmc = bmc(SUITES, &switch);
        let port = bmc.address().port().to_string();
        let run = |user: &str, password: &str, words: &[&str]| {
            let head = ["-I", "lanplus", "-C", suite, "-H", "127.0.0.1", "-p", &port];
            let tail = ["-N", "1", "-R", "2", "-U", user, "-P", password];
            tool("ipmitool", &[&head, &tail, words].concat())
        };
        let power = |word: &str| run("ADMIN", "secret", &["chassis", "power", word]);
        let told = |word: &str, expected: &str| {
            let (ok, text) = power(word);
            assert!(ok && text.contains(expected), "suite {suite}, {word}: {text}");
        };
        told("status", "Chassis Power is off");
        told("on", "Up/On");
        told("status", "Chassis Power is on");
        told("cycle", "Cycle");
        told("reset", "Reset");
        told("soft", "Soft");
        told("status", "Chassis Power is off");
        assert!(!power("reset").0);
        told("on", "Up/On");
        told("off", "Down/Off");
        told("status", "Chassis Power is off");
        assert_eq!(
            switch.log(),
            ["power on", "power cycle", "hard reset", "soft shutdown", "power on", "power off"]
        );
        let (ok, text) = run("ADMIN", "secret", &["mc", "info"]);
        assert!(ok && text.contains("IPMI Version              : 2.0"), "{text}");
        assert!(!run("ADMIN", "wrong", &["chassis", "power", "on"]).0);
        assert!(!run("nobody", "secret", &["chassis", "power", "on"]).0);
        let look = ["-L", "USER", "chassis", "power", "status"];
        assert!(run("viewer", "look-only", &look).0);
        let touch = ["-L", "USER", "chassis", "power", "on"];
        let (ok, text) = run("viewer", "look-only", &touch);
        assert!(!ok && text.contains("privilege"), "{text}");
        assert_eq!(switch.log().len(), 6);
    }
}

#[test]
fn freeipmi_as_console() {
    if !asked_for() {
        return;
    }
    for suite in ["3", "17"] {
        let switch = Switch::default();
        let bmc = bmc(SUITES, &switch);
        let host = format!("127.0.0.1:{}", bmc.address().port());
        let login = ["-D", "LAN_2_0", "-I", suite, "-h", &host, "-u", "ADMIN", "-p"];
        let power = |password: &str, word: &str| {
            let options = ["--session-timeout", "3000", "--retransmission-timeout", "500"];
            tool("ipmipower", &[&login, [password].as_slice(), &options, &[word]].concat())
        };
        let told = |word: &str, expected: &str| {
            let (_, text) = power("secret", word);
            assert!(text.trim().ends_with(expected), "suite {suite}, {word}: {text}");
        };
        told("--stat", ": off");
        told("--on", ": ok");
        told("--stat", ": on");
        told("--cycle", ": ok");
        told("--off", ": ok");
        told("--stat", ": off");
        assert_eq!(switch.log(), ["power on", "power cycle", "power off"]);
        let (_, text) = power("wrong", "--on");
        assert!(text.contains("password"), "{text}");
        let words = ["secret", "--get-chassis-status"];
        let (ok, text) = tool("ipmi-chassis", &[login.as_slice(), &words].concat());
        let state = text.lines().find(|line| line.starts_with("System Power"));
        assert!(ok && state.is_some_and(|line| line.ends_with("off")), "{text}");
        assert_eq!(switch.log().len(), 3);
    }
}

/// OpenIPMI's simulator with a host that is a file.
struct Simulator {
    child: Child,
    folder: PathBuf,
    port: u16,
}

const CHASSIS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
shift
while [ $# -gt 0 ]; do
    op=$1; name=$2; shift 2
    case "$op $name" in
        "get power") echo "power:$(cat power)" ;;
        "set power") echo "$1" >>log; [ -e lies ] || echo "$1" >power; shift ;;
        "set reset" | "set shutdown") echo "$name" >>log; shift ;;
        *) exit 1 ;;
    esac
done
"#;

impl Simulator {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ipmi-sim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("state")).unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = folder.join("chassis.sh");
        std::fs::write(&script, CHASSIS).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        std::fs::write(folder.join("power"), "1\n").unwrap();
        std::fs::write(
            folder.join("lan.conf"),
            format!(
                "name \"host\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n\
                 \x20   priv_limit admin\n    allowed_auths_callback none md2 md5 straight\n\
                 \x20   allowed_auths_user none md2 md5 straight\n\
                 \x20   allowed_auths_operator none md2 md5 straight\n\
                 \x20   allowed_auths_admin none md2 md5 straight\n\
                 \x20   guid a123456789abcdefa123456789abcdef\n  endlan\n\
                 \x20 chassis_control \"{} 0x20\"\n\
                 \x20 user 1 true \"\" \"\" user 10 none md2 md5 straight\n\
                 \x20 user 2 true \"ADMIN\" \"secret\" admin 10 none md2 md5 straight\n\
                 \x20 user 3 true \"viewer\" \"look\" user 10 none md2 md5 straight\n",
                script.display()
            ),
        )
        .unwrap();
        std::fs::write(
            folder.join("node.emu"),
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
             sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n",
        )
        .unwrap();
        let child = Command::new("ipmi_sim")
            .args(["-n", "-c", "lan.conf", "-f", "node.emu", "-s", "state"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ipmi_sim (package openipmi) must be installed");
        Self { child, folder, port }
    }

    fn options(&self, action: &str) -> String {
        let port = self.port;
        format!("ip=127.0.0.1\nipport={port}\nusername=ADMIN\npassword=secret\naction={action}\n")
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while agent(&format!("{}login_timeout=1\n", self.options("monitor"))).0 != 0 {
            assert!(Instant::now() < deadline, "ipmi_sim does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> impl AsRef<Path> + use<> {
        self.folder.join(name)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The simulator knows suite 3 only, so this is the way down from 17 as well.
#[test]
fn ipmi_sim_as_bmc() {
    if !asked_for() {
        return;
    }
    let simulator = Simulator::start("bmc");
    simulator.wait_until_ready();
    let run = |action: &str, more: &str| agent(&format!("{}{more}", simulator.options(action)));
    for cipher in ["", "cipher=3\n"] {
        assert_eq!(run("status", cipher).1, "Status: ON\n");
        let (code, out, err) = run("off", cipher);
        assert_eq!((code, out.as_str()), (0, "Success: Powered OFF\n"), "{err}");
        assert_eq!(run("status", cipher).0, 2);
        assert_eq!(run("on", cipher).1, "Success: Powered ON\n");
        assert_eq!(run("reboot", cipher).1, "Success: Rebooted\n");
    }
    assert_eq!(simulator.log(), "0\n1\n0\n1\n".repeat(2));
    let (code, _, err) = run("off", "cipher=17\n");
    assert!(code == 1 && err.contains("none of the cipher suites 17"), "{err}");
    let (code, _, err) = run("off", "password=wrong\n");
    assert!(code == 1 && err.contains("wrong password"), "{err}");
    let (code, _, err) = run("off", "username=nobody\n");
    assert!(code == 1 && err.contains("nobody"), "{err}");
    // The simulator enforces the session's level, though not the user's.
    let (code, _, err) = run("off", "privlvl=user\n");
    assert!(code == 1 && err.contains("privilege"), "{err}");
    std::fs::write(simulator.file("lies"), "").unwrap();
    let (code, out, err) = run("off", "power_timeout=0.5\n");
    assert!(code == 1 && out.is_empty() && err.contains("still on"), "{err}");
}
