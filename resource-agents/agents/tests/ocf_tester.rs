//! Every agent against `ocf-tester`, the compliance checker of the distribution's package
//! `resource-agents`, and the address agent against the kernel. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`, as root), where a missing tool is a failure.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use resource_agents_netlink::{Netlink, NewAddress, VethPeer};

fn asked_for() -> bool {
    let asked = std::env::var_os("SYSTOLE_E2E").is_some_and(|value| value == "1");
    if !asked {
        println!("not run: needs root and installed tools; set SYSTOLE_E2E=1");
    }
    asked
}

/// A folder with the agents as links, as an installation has them.
struct Installed(PathBuf);

impl Installed {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ocf-{name}-{}", std::process::id()));
        let agents = folder.join("systole");
        std::fs::create_dir_all(&agents).unwrap();
        // A copy next to the links: the checker also runs the agents as another user.
        let program = folder.join("systole-agent");
        std::fs::copy(env!("CARGO_BIN_EXE_systole-agent"), &program).unwrap();
        for agent in resource_agents_agents::names() {
            std::os::unix::fs::symlink(&program, agents.join(agent)).unwrap();
        }
        Self(folder)
    }

    fn agent(&self, name: &str) -> PathBuf {
        self.0.join("systole").join(name)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn passes(agent: &Path, parameters: &[&str]) {
    let mut command = Command::new("ocf-tester");
    command.args(["-n", "test"]);
    for parameter in parameters {
        command.args(["-o", parameter]);
    }
    let output = command.arg(agent).output().expect("ocf-tester (package resource-agents)");
    let text = text(&output);
    assert!(output.status.success() && text.contains("passed all tests"), "{text}");
    assert!(!text.contains("* rc="), "{text}");
}

#[test]
fn dummy_and_stateful() {
    if !asked_for() {
        return;
    }
    let installed = Installed::new("dummy");
    for agent in ["dummy", "stateful"] {
        let state = installed.0.join(format!("{agent}.state"));
        passes(&installed.agent(agent), &[&format!("state={}", state.display())]);
    }
}

/// Leaves for a network namespace of the thread's own with `eth0` = 10.77.0.1/24 and
/// fd77::1/64, whose neighbour `far` is in the same namespace.
fn own_network() -> Netlink {
    unshare(CloneFlags::CLONE_NEWNET).expect("root");
    let mut netlink = Netlink::open().unwrap();
    let peer = VethPeer { name: "far", namespace: None, mac: None };
    netlink.add_veth("eth0", peer).unwrap();
    for name in ["lo", "eth0", "far"] {
        let index = netlink.link_index(name).unwrap();
        netlink.set_up(index, true).unwrap();
    }
    let eth0 = netlink.link_index("eth0").unwrap();
    for (text, prefix_len) in [("10.77.0.1", 24), ("fd77::1", 64)] {
        let mut new = NewAddress::new(eth0, text.parse().unwrap(), prefix_len);
        new.nodad = true;
        netlink.add_address(&new).unwrap();
    }
    netlink
}

#[test]
fn vip() {
    if !asked_for() {
        return;
    }
    let test = || {
        own_network();
        let installed = Installed::new("vip");
        passes(&installed.agent("vip"), &["ip=10.77.0.99"]);
        passes(&installed.agent("vip"), &["ip=10.77.0.98", "nic=eth0", "iflabel=vip"]);
        passes(&installed.agent("vip"), &["ip=fd77::99"]);
    };
    std::thread::spawn(test).join().unwrap();
}

fn act(agent: &Path, action: &str, parameters: &[(&str, &str)]) -> Output {
    let mut command = Command::new(agent);
    command.arg(action).env("OCF_RESOURCE_INSTANCE", "test");
    for (name, value) in parameters {
        command.env(format!("OCF_RESKEY_{name}"), value);
    }
    command.output().unwrap()
}

#[test]
fn vip_starts_fast_and_keeps_its_siblings() {
    if !asked_for() {
        return;
    }
    let test = || {
        let mut netlink = own_network();
        let installed = Installed::new("vip-fast");
        let agent = installed.agent("vip");
        let first = [("ip", "10.88.0.1"), ("nic", "eth0"), ("cidr_netmask", "24")];
        let second = [("ip", "10.88.0.2"), ("nic", "eth0"), ("cidr_netmask", "24")];
        let started = Instant::now();
        let output = act(&agent, "start", &first);
        let took = started.elapsed();
        assert!(output.status.success(), "{}", text(&output));
        // Four further announcements take 800 ms; they must not hold up the start.
        assert!(took < Duration::from_millis(500), "start took {took:?}");
        assert!(act(&agent, "start", &second).status.success());
        // The first is the network's primary address: without care its end takes the second.
        assert!(act(&agent, "stop", &first).status.success());
        let ip: IpAddr = "10.88.0.2".parse().unwrap();
        let addresses = netlink.addresses().unwrap();
        assert!(addresses.iter().any(|address| address.ip == ip));
        assert_eq!(act(&agent, "monitor", &first).status.code(), Some(7));
        assert_eq!(act(&agent, "monitor", &second).status.code(), Some(0));
        assert!(act(&agent, "stop", &second).status.success());
    };
    std::thread::spawn(test).join().unwrap();
}

#[test]
fn vip_refuses_what_cannot_work() {
    if !asked_for() {
        return;
    }
    let test = || {
        let mut netlink = own_network();
        let installed = Installed::new("vip-refuse");
        let agent = installed.agent("vip");
        let output = act(&agent, "start", &[("ip", "192.0.2.1")]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("ocf-exit-reason:No interface has a network"));
        let elsewhere = [("ip", "10.77.0.9"), ("nic", "eth7")];
        assert_eq!(act(&agent, "start", &elsewhere).status.code(), Some(1));
        assert_eq!(act(&agent, "monitor", &elsewhere).status.code(), Some(7));
        assert_eq!(act(&agent, "stop", &elsewhere).status.code(), Some(0));
        // An address on an interface that was set down is not "running".
        let address = [("ip", "10.77.0.9"), ("nic", "eth0")];
        assert!(act(&agent, "start", &address).status.success());
        let eth0 = netlink.link_index("eth0").unwrap();
        netlink.set_up(eth0, false).unwrap();
        let output = act(&agent, "monitor", &address);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("which is down"));
    };
    std::thread::spawn(test).join().unwrap();
}
