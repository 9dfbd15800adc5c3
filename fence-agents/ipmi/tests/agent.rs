//! The fence agent as a process against the embedded BMC on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

mod common;

use std::time::{Duration, Instant};

use common::{Switch, agent, bmc, lines};
use fence_agents_ipmi::{BmcFault, CipherSuite};

const SUITES: &[CipherSuite] = &[CipherSuite::Suite3, CipherSuite::Suite17];

#[test]
fn off_on_reboot_status_monitor() {
    for suites in [&SUITES[..1], &SUITES[1..], SUITES] {
        let switch = Switch::default();
        let bmc = bmc(suites, &switch);
        let options = lines(&bmc, "ADMIN", "secret");
        let run = |action: &str| agent(&format!("{options}action={action}\n"));
        assert_eq!(run("status"), (2, "Status: OFF\n".into(), String::new()));
        assert_eq!(run("monitor").0, 0);
        assert_eq!(run("off").1, "Success: Already OFF\n");
        assert_eq!(run("on"), (0, "Success: Powered ON\n".into(), String::new()));
        assert_eq!(run("status"), (0, "Status: ON\n".into(), String::new()));
        assert_eq!(run("on").1, "Success: Already ON\n");
        assert_eq!(run("reboot").1, "Success: Rebooted\n");
        assert_eq!(run("off"), (0, "Success: Powered OFF\n".into(), String::new()));
        assert_eq!(run("reboot").1, "Success: Rebooted\n");
        assert_eq!(switch.log(), ["power on", "power off", "power on", "power off", "power on"]);
    }
}

#[test]
fn it_is_done_in_milliseconds() {
    let switch = Switch::default();
    let bmc = bmc(SUITES, &switch);
    let options = lines(&bmc, "ADMIN", "secret");
    agent(&format!("{options}action=on\n"));
    let began = Instant::now();
    assert_eq!(agent(&format!("{options}action=off\n")).0, 0);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "off took {took:?}");
}

#[test]
fn failures_say_why_and_switch_nothing() {
    let switch = Switch::default();
    switch.set(true);
    let bmc = bmc(SUITES, &switch);
    let refused = |user: &str, password: &str, more: &str, reason: &str| {
        let options = lines(&bmc, user, password);
        let (code, out, err) = agent(&format!("{options}action=off\n{more}"));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(reason), "{err}");
        assert!(!err.contains(password), "{err}");
    };
    refused("ADMIN", "wrong-one", "", "wrong password");
    refused("nobody", "secret", "", "does not know the user");
    refused("viewer", "look-only", "", "insufficient privilege");
    refused("viewer", "look-only", "privlvl=user\n", "insufficient privilege");
    refused("ADMIN", "secret", "target=0x20\n", "bridging");
    assert!(switch.log().is_empty());
}

#[test]
fn faulty_bmcs_confirm_nothing() {
    let switch = Switch::default();
    switch.set(true);
    let bmc = bmc(SUITES, &switch);
    let short = "power_timeout=0.3\nlogin_timeout=0.5\nshell_timeout=0.5\naction=off\n";
    let options = format!("{}{short}", lines(&bmc, "ADMIN", "secret"));
    for (fault, reason) in [
        (BmcFault::Lying, "that the power is still on"),
        (BmcFault::Failing, "unspecified error"),
        (BmcFault::Frozen, "no answer from the BMC"),
    ] {
        bmc.handle().set_fault(fault);
        let (code, out, err) = agent(&options);
        assert_eq!((code, out.as_str()), (1, ""), "{fault:?}: {err}");
        assert!(err.contains(reason), "{fault:?}: {err}");
    }
    bmc.handle().set_fault(BmcFault::None);
    assert_eq!(agent(&options).0, 0);
    let address = lines(&bmc, "ADMIN", "secret");
    drop(bmc);
    let (code, _, err) = agent(&format!("{address}{short}"));
    assert_eq!(code, 1);
    assert!(err.contains("unreachable"), "{err}");
}

#[test]
fn a_password_script_is_run() {
    let switch = Switch::default();
    let bmc = bmc(SUITES, &switch);
    let script = std::env::temp_dir().join(format!("password-{}.sh", std::process::id()));
    std::fs::write(&script, "#!/bin/sh\necho secret\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&script, mode).unwrap();
    let options = lines(&bmc, "ADMIN", "");
    let input = format!("{options}password_script={}\naction=on\n", script.display());
    let result = agent(&input);
    std::fs::remove_file(&script).unwrap();
    assert_eq!(result.0, 0, "{}", result.2);
}

#[test]
fn local_actions_need_no_bmc() {
    let (code, xml, _) = agent("action=metadata\n");
    assert_eq!(code, 0);
    assert!(xml.contains("<resource-agent name=\"fence_systole_ipmi\""));
    assert_eq!(agent("action=validate-all\nip=192.0.2.1\n").0, 0);
    assert_eq!(agent("action=validate-all\n").0, 1);
    assert_eq!(agent("action=list\nip=192.0.2.1\n").1, "N/A\n");
}
