//! The lab itself: what it says happens really happens. Runs only in the end-to-end run
//! (`SYSTOLE_E2E=1`, as root), where a missing tool is a failure.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tests_lab::{BMC_PASSWORD, BMC_USER, Bmc, CLIENT, Lab};

const WAIT: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

fn asked_for() -> bool {
    let asked = std::env::var_os("SYSTOLE_E2E").is_some_and(|value| value == "1");
    if !asked {
        println!("not run: needs root, openipmi, ipmitool and nftables; set SYSTOLE_E2E=1");
    }
    asked
}

/// Power commands of a foreign console to a foreign BMC really switch the host.
#[test]
fn ipmitool_switches_hosts_through_ipmi_sim() {
    if !asked_for() {
        return;
    }
    let lab = Lab::builder("ipmi", 2)
        .bmc(Bmc::IpmiSim)
        .persistent("/var/lib/lab-test")
        .command(["sh", "-c", "echo boot >>/var/lib/lab-test/boots; exec sleep 1000"])
        .build()
        .unwrap();
    lab.power_on_nodes().unwrap();
    let ip = lab.bmc_address("node2").unwrap();
    let power = |word: &str| {
        let login = format!("-I lanplus -C 3 -H {ip} -U {BMC_USER} -P {BMC_PASSWORD}");
        lab.sh("node1", &format!("ipmitool {login} chassis power {word}")).unwrap()
    };
    let to = lab.address("node2").unwrap();
    let arp = lab.arp_probe(to, STEP).unwrap();
    let _server = lab.serve("node2", 80).unwrap();
    let tcp = lab.tcp_probe(SocketAddr::from((to, 80)), STEP).unwrap();
    let mac = lab.mac("node2").unwrap();
    assert_eq!(lab.host_of_mac(mac), Some("node2"));
    lab.wait_until(WAIT, "node2 answers", || {
        arp.last() == Some(mac) && tcp.last().as_deref() == Some("node2")
    });
    assert!(power("status").contains("is on"));

    let cut = Instant::now();
    power("off");
    let off = Instant::now();
    assert!(!lab.is_on("node2").unwrap());
    assert!(power("status").contains("is off"));
    std::thread::sleep(Duration::from_millis(300));
    // From the moment the power was off there is not a single answer.
    let log = lab.power_log().events();
    let event = log.iter().rfind(|event| event.host == "node2").unwrap();
    assert_eq!((event.on, event.by.as_str()), (false, "ipmi_sim: set power 0"));
    assert!(event.at > cut && event.at < off);
    assert!(!arp.samples().iter().any(|s| s.asked > event.at && s.answer.is_some()));
    assert!(!tcp.samples().iter().any(|s| s.asked > event.at && s.answer.is_some()));
    assert!(arp.longest_gap(off) >= Duration::from_millis(250));
    assert!(lab.processes("node2").is_err());

    power("on");
    lab.wait_until(WAIT, "node2 answers again", || arp.last() == Some(mac));
    power("cycle");
    lab.wait_until(WAIT, "node2 was started three times", || {
        lab.sh("node2", "cat /var/lib/lab-test/boots").is_ok_and(|text| text.lines().count() == 3)
    });
    lab.make_ipmi_sim_lie("node2", true).unwrap();
    power("off");
    assert!(power("status").contains("is on") && lab.is_on("node2").unwrap());
}

/// Our fence agent, in the client's network, fences a host through `ipmi_sim`.
#[test]
fn the_fence_agent_fences_through_ipmi_sim() {
    if !asked_for() {
        return;
    }
    let lab = Lab::builder("fence", 1).bmc(Bmc::IpmiSim).build().unwrap();
    lab.power_on_nodes().unwrap();
    let mut options = lab.fence_options("node1").unwrap();
    options.push_str("action=off\n");
    let args: Vec<String> =
        options.lines().map(|line| format!("--{}", line.replace('_', "-"))).collect();
    let fence = || fence_agents_ipmi::run("fence_systole_ipmi", &args);
    let began = Instant::now();
    assert_eq!(lab.network(CLIENT).unwrap().run(fence).unwrap(), 0);
    assert!(!lab.is_on("node1").unwrap());
    println!("fenced in {:?}", began.elapsed());
    lab.power_on("node1").unwrap();
    lab.make_ipmi_sim_lie("node1", true).unwrap();
    let args: Vec<String> =
        args.iter().cloned().chain(["--power-timeout=0.5".to_owned()]).collect();
    let fence = || fence_agents_ipmi::run("fence_systole_ipmi", &args);
    assert_eq!(lab.network(CLIENT).unwrap().run(fence).unwrap(), 1);
    lab.freeze_ipmi_sim("node1", true).unwrap();
    let args: Vec<String> =
        args.iter().cloned().chain(["--login-timeout=0.5".to_owned()]).collect();
    let fence = || fence_agents_ipmi::run("fence_systole_ipmi", &args);
    assert_eq!(lab.network(CLIENT).unwrap().run(fence).unwrap(), 1);
    assert!(lab.is_on("node1").unwrap());
}

#[test]
fn an_address_that_moves_is_seen_to_move() {
    if !asked_for() {
        return;
    }
    let lab = Lab::builder("move", 2).build().unwrap();
    lab.power_on_nodes().unwrap();
    let vip: Ipv4Addr = "10.77.0.250".parse().unwrap();
    let arp = lab.arp_probe(vip, STEP).unwrap();
    let (one, two) = (lab.mac("node1").unwrap(), lab.mac("node2").unwrap());
    assert_eq!(arp.last(), None);
    lab.sh("node1", &format!("ip addr add {vip}/24 dev eth0")).unwrap();
    lab.wait_until(WAIT, "node1 has the address", || arp.last() == Some(one));
    let cut = Instant::now();
    lab.power_off("node1").unwrap();
    lab.sh("node2", &format!("ip addr add {vip}/24 dev eth0")).unwrap();
    lab.wait_until(WAIT, "node2 has it", || arp.first_other_after(cut, one).is_some());
    assert_eq!(arp.first_other_after(cut, one).unwrap().answer, Some(two));
    assert!(arp.longest_gap(cut) < Duration::from_secs(2));
}

#[test]
fn lost_packets_and_one_way_links() {
    if !asked_for() {
        return;
    }
    let lab = Lab::builder("loss", 2).build().unwrap();
    lab.power_on_nodes().unwrap();
    let ping = |from: &str, to: &str, count: u32| -> u32 {
        let to = lab.address(to).unwrap();
        let script = format!("ping -n -q -c {count} -i 0.01 -W 0.2 {to} || true");
        let text = lab.sh(from, &script).unwrap();
        let part = text.split(" received").next().unwrap().rsplit(' ').next().unwrap();
        part.parse().unwrap()
    };
    assert_eq!(ping("node1", "node2", 5), 5);
    lab.lose_packets("node2", 30).unwrap();
    let received = ping("node1", "node2", 100);
    assert!((20..=80).contains(&received), "about half of the pings come back: {received}");
    lab.lose_nothing("node2").unwrap();
    assert_eq!(ping("node1", "node2", 5), 5);
    lab.lose_one_way("node1", "node2").unwrap();
    assert_eq!(ping("node1", "node2", 3), 0);
    assert_eq!(ping(CLIENT, "node2", 3), 3);
    lab.lose_nothing("node2").unwrap();
}

/// Files of a cluster's host are there before its first start, with the secret one secret.
#[test]
fn a_cluster_host_has_its_files() {
    if !asked_for() {
        return;
    }
    let lab = Lab::cluster_with("files", 3, "    token: 700\n")
        .command(["sleep", "1000"])
        .build()
        .unwrap();
    lab.power_on("node3").unwrap();
    let conf = lab.sh("node3", "cat /etc/corosync/corosync.conf").unwrap();
    assert!(conf.contains("token: 700") && conf.contains("name: node3"));
    let mode = lab.sh("node3", "stat -c '%a %s' /etc/corosync/authkey").unwrap();
    assert_eq!(mode, "600 128\n");
    lab.sh("node3", "test -L /usr/lib/ocf/resource.d/systole/vip").unwrap();
    lab.sh("node3", "test -d /var/lib/pacemaker && ! test -e /run/systole").unwrap();
    assert!(lab.sh("node3", "getent hosts bmc-node1").unwrap().starts_with("10.77.1.1 "));
    let tool = lab.sh("node3", "command -v crm_mon").unwrap();
    assert!(tool.contains("/tools/"), "{tool}");
    assert!(!std::path::Path::new("/etc/corosync/authkey").exists());
}

/// Standard input of a command on a host comes from nowhere, so a tool that reads it ends.
#[test]
fn commands_do_not_wait_for_input() {
    if !asked_for() {
        return;
    }
    let lab = Lab::builder("input", 1).bmc(Bmc::None).build().unwrap();
    lab.power_on_nodes().unwrap();
    assert_eq!(lab.sh("node1", "cat").unwrap(), "");
}
