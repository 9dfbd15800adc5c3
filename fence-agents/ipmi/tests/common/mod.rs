//! A BMC on the loopback interface, and the agent as a process.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "shared between test files")]

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use fence_agents_ipmi::{
    BmcConfig, BmcServer, ChassisControl, CipherSuite, PowerControl, PowerError, Privilege, Secret,
    User,
};

/// A power switch that notes what it was told.
#[derive(Clone, Default)]
pub struct Switch(Arc<Mutex<(bool, Vec<&'static str>)>>);

impl Switch {
    pub fn set(&self, on: bool) {
        self.0.lock().unwrap().0 = on;
    }

    pub fn log(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().1.clone()
    }
}

impl PowerControl for Switch {
    fn is_on(&mut self) -> bool {
        self.0.lock().unwrap().0
    }

    fn control(&mut self, control: ChassisControl) -> Result<(), PowerError> {
        let mut state = self.0.lock().unwrap();
        state.1.push(control.name());
        state.0 = !matches!(control, ChassisControl::PowerDown | ChassisControl::SoftShutdown);
        Ok(())
    }
}

pub fn bmc(suites: &[CipherSuite], switch: &Switch) -> BmcServer {
    let user = |name: &str, password: &str, privilege| User {
        name: name.into(),
        password: Secret::new(password),
        privilege,
    };
    let config = BmcConfig {
        users: vec![
            user("ADMIN", "secret", Privilege::Administrator),
            user("viewer", "look-only", Privilege::User),
        ],
        suites: suites.to_vec(),
        bmc_key: Secret::new([]),
        guid: [0xa1; 16],
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    BmcServer::start(socket, config, Box::new(switch.clone())).unwrap()
}

/// The options every action needs, for the agent's standard input.
pub fn lines(bmc: &BmcServer, user: &str, password: &str) -> String {
    let port = bmc.address().port();
    format!("ip=127.0.0.1\nipport={port}\nusername={user}\npassword={password}\n")
}

/// Runs the agent; exit code, output and error output.
pub fn agent(input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fence_systole_ipmi"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Whether the end-to-end run was asked for; without it tests that need installed tools return
/// at once.
pub fn asked_for() -> bool {
    let asked = std::env::var_os("SYSTOLE_E2E").is_some_and(|value| value == "1");
    if !asked {
        println!("not run: needs ipmitool, freeipmi-tools and openipmi; set SYSTOLE_E2E=1");
    }
    asked
}

/// Runs a tool that must be installed.
pub fn tool(name: &str, args: &[&str]) -> (bool, String) {
    let output: Output = Command::new(name)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{name} must be installed: {error}"));
    let bytes = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&bytes).into_owned())
}
