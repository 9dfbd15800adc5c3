//! OpenIPMI's `ipmi_sim` as the BMC of a host.
//!
//! For each chassis command it runs a script, which passes the words on through a pipe to a
//! thread of the lab; that thread really switches the host and answers through another pipe.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cli_hosts::Hosts;
use fence_agents_ipmi::{CipherSuite, ClientConfig, Connection, Privilege, Secret, Timing};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{BMC_PASSWORD, BMC_USER};

/// Asks the lab; each question carries the script's process number so that an answer nobody
/// waited for is not taken for the next one.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
shift
echo "$$ $*" >requests
while read -r who result text; do
    [ "$who" = "$$" ] || continue
    [ -z "$text" ] || echo "$text"
    exit "$result"
done <answers
exit 1
"#;

const EMULATOR: &str = "mc_setbmc 0x20\n\
    mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
    sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";

fn lan_conf(host: &str, ip: Ipv4Addr, script: &Path) -> String {
    let auths: String = ["callback", "user", "operator", "admin"]
        .iter()
        .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
        .collect();
    format!(
        "name \"{host}\"\nset_working_mc 0x20\n  startlan 1\n    addr {ip} 623\n    \
         priv_limit admin\n{auths}    guid a123456789abcdefa123456789abcdef\n  endlan\n  \
         chassis_control \"{} 0x20\"\n  user 1 true \"\" \"\" user 10 none md2 md5 straight\n  \
         user 2 true \"{BMC_USER}\" \"{BMC_PASSWORD}\" admin 10 none md2 md5 straight\n",
        script.display()
    )
}

/// A running simulator.
pub(crate) struct Simulator {
    host: String,
    ip: Ipv4Addr,
    child: Child,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    lies: AtomicBool,
}

impl Simulator {
    pub(crate) fn start(hosts: &Arc<Hosts>, host: &str) -> anyhow::Result<Self> {
        let folder = hosts.folder(host)?.join("bmc");
        fs::create_dir_all(folder.join("state"))?;
        let ip = hosts.add_bmc_address(host)?;
        let script = folder.join("chassis.sh");
        fs::write(&script, SCRIPT)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        fs::write(folder.join("lan.conf"), lan_conf(host, ip, &script))?;
        fs::write(folder.join("node.emu"), EMULATOR)?;
        // Open for both, so that a pipe neither ends nor makes anyone wait for the other side.
        let pipe = |name: &str| -> anyhow::Result<File> {
            let path = folder.join(name);
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
            Ok(OpenOptions::new().read(true).write(true).open(path)?)
        };
        let (requests, answers) = (pipe("requests")?, pipe("answers")?);
        let shared = Arc::new(Shared::default());
        let switch = Switch {
            hosts: Arc::downgrade(hosts),
            host: host.to_owned(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("chassis".into())
            .spawn(move || switch.serve(requests, answers))?;
        let mut command = Command::new("ipmi_sim");
        command
            .args(["-n", "-c", "lan.conf", "-f", "node.emu", "-s", "state"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("output"))?)
            .stderr(Stdio::null());
        let child = hosts
            .spawn_in_switch(command)
            .context("ipmi_sim (package openipmi) must be installed")?;
        Ok(Self { host: host.to_owned(), ip, child, shared, thread: Some(thread) })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Logs in until it works.
    pub(crate) fn wait_until_ready(&self, hosts: &Hosts) -> anyhow::Result<()> {
        let config = ClientConfig {
            user: BMC_USER.into(),
            password: Secret::new(BMC_PASSWORD),
            bmc_key: Secret::new([]),
            suites: vec![CipherSuite::Suite3],
            privilege: Privilege::Operator,
            timing: Timing { login_timeout: Duration::from_secs(1), ..Timing::default() },
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let address = self.ip.to_string();
        loop {
            let open = || Connection::open(&address, 623, config.clone()).map(drop);
            match hosts.switch_network().run(open)? {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let in_time = Instant::now() < deadline;
                    ensure!(in_time, "ipmi_sim of {} does not answer: {error}", self.host);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    pub(crate) fn set_lying(&self, lies: bool) {
        self.shared.lies.store(lies, Ordering::Relaxed);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The lab's end of the pipes.
struct Switch {
    hosts: std::sync::Weak<Hosts>,
    host: String,
    shared: Arc<Shared>,
}

impl Switch {
    fn serve(&self, mut requests: File, mut answers: File) {
        let mut text = String::new();
        while !self.shared.ends.load(Ordering::Relaxed) {
            let mut wait = [PollFd::new(requests.as_fd(), PollFlags::POLLIN)];
            if poll(&mut wait, PollTimeout::from(50_u8)).unwrap_or(0) == 0 {
                continue;
            }
            let mut buffer = [0; 4096];
            let Ok(length) = requests.read(&mut buffer) else { return };
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
            while let Some((line, rest)) = text.split_once('\n') {
                let answer = self.answer(line);
                text = rest.to_owned();
                if answers.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }

    /// `NUMBER get power`, `NUMBER set power 0`... gives `NUMBER RESULT [TEXT]`.
    fn answer(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let number = words.next().unwrap_or("0");
        let words: Vec<&str> = words.collect();
        let Some(hosts) = self.hosts.upgrade() else { return format!("{number} 1\n") };
        let set = |on: bool| {
            let by = format!("ipmi_sim: {}", words.join(" "));
            self.shared.lies.load(Ordering::Relaxed) || hosts.set_power(&self.host, on, &by).is_ok()
        };
        let (done, text) = match words[..] {
            ["get", "power"] => {
                let on = hosts.is_on(&self.host).unwrap_or(false);
                (true, format!("power:{}", u8::from(on)))
            }
            ["get", "boot"] => (true, "boot:none".to_owned()),
            ["set", "power", "0"] | ["set", "shutdown", _] => (set(false), String::new()),
            ["set", "power", "1"] => (set(true), String::new()),
            ["set", "reset", _] => (set(false) && set(true), String::new()),
            ["check", ..] | ["set", "boot", _] => (true, String::new()),
            _ => (false, String::new()),
        };
        format!("{number} {} {text}\n", u8::from(!done))
    }
}
