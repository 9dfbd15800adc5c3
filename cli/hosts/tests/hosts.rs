//! Hosts with real namespaces. Needs root; without it the tests only run when the end-to-end run
//! insists (`SYSTOLE_E2E=1`), and then fail.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cli_hosts::{BmcSettings, Config, HostConfig, Hosts};
use fence_agents_ipmi::{
    BmcFault, ChassisControl, CipherSuite, ClientConfig, Connection, Privilege, Secret, Timing,
};
use nix::libc;
use nix::sys::signal::Signal;

fn may_run() -> bool {
    if nix::unistd::geteuid().is_root() || std::env::var_os("SYSTOLE_E2E").is_some() {
        return true;
    }
    println!("not run: making hosts needs root");
    false
}

const WAIT: Duration = Duration::from_secs(10);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hosts-{name}-{}", std::process::id()));
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server in shell: says the host's name to whoever connects. Bash listens on nothing, so the
/// host's command keeps a counter file instead, and the test talks to sockets it opens itself.
const COMMAND: &[&str] = &["sh", "-c", "echo boot >>/var/lib/systole-test/boots; exec sleep 1000"];

fn config(folder: &Folder) -> Config {
    let host = |name: &str| {
        let mut host = HostConfig::new(name, COMMAND);
        host.persistent.push("/var/lib/systole-test".into());
        host
    };
    let mut client = HostConfig::new("client", &[]);
    client.has_bmc = false;
    Config {
        work: folder.0.clone(),
        hosts: vec![host("alpha"), host("beta"), client],
        bmc: Some(BmcSettings {
            user: "admin".into(),
            password: Secret::new("secret"),
            suites: vec![CipherSuite::Suite17],
        }),
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {WAIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn boots(hosts: &Hosts, name: &str) -> usize {
    let path = hosts.disk(name, Path::new("/var/lib/systole-test/boots")).unwrap();
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Serves the host's name on port 80 from a thread in the host's network.
fn serve(hosts: &Hosts, name: &'static str) {
    let listen = || std::net::TcpListener::bind("0.0.0.0:80");
    let listener = hosts.network(name).unwrap().run(listen).unwrap().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(name.as_bytes());
        }
    });
}

/// What answers when `from` connects to the address of `to`.
fn ask(hosts: &Hosts, from: &str, to: &str) -> Option<String> {
    let address = SocketAddr::from((hosts.address(to).unwrap(), 80));
    let connect = || {
        let wait = Duration::from_millis(300);
        let mut stream = TcpStream::connect_timeout(&address, wait).ok()?;
        stream.set_read_timeout(Some(wait)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    hosts.network(from).unwrap().run(connect).unwrap()
}

fn log_in(hosts: &Hosts, from: &str, to: &str) -> Result<Connection, fence_agents_ipmi::Error> {
    let config = ClientConfig {
        user: "admin".into(),
        password: Secret::new("secret"),
        bmc_key: Secret::new([]),
        suites: vec![CipherSuite::Suite17],
        privilege: Privilege::Operator,
        timing: Timing { login_timeout: Duration::from_secs(2), ..Timing::default() },
    };
    let address = hosts.bmc_address(to).unwrap().to_string();
    hosts.network(from).unwrap().run(|| Connection::open(&address, 623, config)).unwrap()
}

#[test]
fn hosts_live_and_die() {
    if !may_run() {
        return;
    }
    let folder = Folder::new("live");
    let hosts = Hosts::new(config(&folder)).unwrap();
    hosts.power_on_all().unwrap();
    until("the commands run", || boots(&hosts, "alpha") == 1 && boots(&hosts, "beta") == 1);
    assert!(!Path::new("/var/lib/systole-test").exists(), "nothing is made on the machine");

    let run = |name: &str, script: &str| hosts.exec(name, &["sh", "-c", script], WAIT).unwrap();
    assert_eq!(run("alpha", "uname -n").stdout, "alpha\n");
    let output = run("beta", "echo out; echo err >&2; exit 3");
    assert_eq!((output.code(), output.stdout.as_str()), (Some(3), "out\n"));
    assert_eq!(output.stderr, "err\n");
    // Own process numbers, own /run, own disk.
    assert!(run("alpha", "kill -0 1 && test $$ -lt 100").success());
    assert!(run("alpha", "touch /run/mark /var/lib/systole-test/mark").success());
    assert!(!run("beta", "test -e /run/mark || test -e /var/lib/systole-test/mark").success());
    let slow = hosts.exec("alpha", &["sleep", "100"], Duration::from_millis(50)).unwrap();
    assert!(slow.status.is_none());

    for name in ["alpha", "beta"] {
        serve(&hosts, name);
        assert_eq!(ask(&hosts, "client", name).as_deref(), Some(name));
    }
    hosts.power_off("alpha").unwrap();
    assert!(!hosts.is_on("alpha").unwrap());
    assert_eq!(ask(&hosts, "client", "alpha"), None);
    assert_eq!(ask(&hosts, "client", "beta").as_deref(), Some("beta"));
    assert!(hosts.exec("alpha", &["true"], WAIT).is_err());

    hosts.power_on("alpha").unwrap();
    until("the command runs again", || boots(&hosts, "alpha") == 2);
    assert!(!run("alpha", "test -e /run/mark").success(), "/run is empty after a power cycle");
    assert!(run("alpha", "test -e /var/lib/systole-test/mark").success(), "the disk is not");
    // A host whose process 1 ends is off.
    let init = hosts.processes("alpha").unwrap().iter().map(|(pid, _)| *pid).min().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(init), Signal::SIGKILL).unwrap();
    until("the host is seen to be off", || !hosts.is_on("alpha").unwrap());
    hosts.power_on("alpha").unwrap();
    until("the command runs again", || boots(&hosts, "alpha") == 3);

    // One that restarts itself boots again. (Perl is what every Debian has.)
    let (call, magic, again, restart) =
        (libc::SYS_reboot, 0xfee1_dead_u32, 0x2812_1969, libc::RB_AUTOBOOT);
    let script = format!("syscall({call}, {magic}, {again}, {restart})");
    hosts.spawn("alpha", &["perl", "-e", &script]).unwrap();
    until("the command runs again", || boots(&hosts, "alpha") == 4);
    // Its command may run before the log has it.
    until("the log tells of it", || {
        let events = hosts.power_log().events();
        events.last().is_some_and(|e| e.on && e.by == "restarted by itself")
    });
}

#[test]
fn the_bmc_switches_its_host_and_outlives_it() {
    if !may_run() {
        return;
    }
    let folder = Folder::new("bmc");
    let hosts = Hosts::new(config(&folder)).unwrap();
    hosts.power_on_all().unwrap();
    serve(&hosts, "beta");
    assert_eq!(ask(&hosts, "client", "beta").as_deref(), Some("beta"));
    let mut bmc = log_in(&hosts, "alpha", "beta").unwrap();
    assert!(bmc.chassis_status().unwrap().power_on);
    bmc.chassis_control(ChassisControl::PowerDown).unwrap();
    assert!(!hosts.is_on("beta").unwrap());
    assert_eq!(ask(&hosts, "client", "beta"), None);
    assert!(!bmc.chassis_status().unwrap().power_on);
    bmc.chassis_control(ChassisControl::PowerUp).unwrap();
    assert!(bmc.chassis_status().unwrap().power_on);
    until("the command runs again", || boots(&hosts, "beta") == 2);
    bmc.chassis_control(ChassisControl::PowerCycle).unwrap();
    assert!(!bmc.chassis_status().unwrap().power_on);
    until("it is on again", || hosts.is_on("beta").unwrap());
    bmc.chassis_control(ChassisControl::SoftShutdown).unwrap();
    until("it is off", || !hosts.is_on("beta").unwrap());
    let states: Vec<(bool, String)> = hosts
        .power_log()
        .events()
        .into_iter()
        .filter(|event| event.host == "beta")
        .map(|event| (event.on, event.by))
        .collect();
    let expected = [
        (true, "operator"),
        (false, "BMC: power off"),
        (true, "BMC: power on"),
        (false, "BMC: power cycle"),
        (true, "BMC: power cycle"),
        (false, "BMC: soft shutdown"),
    ];
    assert_eq!(states, expected.map(|(on, by)| (on, by.to_owned())));
    hosts.set_bmc_fault("beta", BmcFault::Frozen).unwrap();
    assert!(log_in(&hosts, "alpha", "beta").is_err());
    hosts.set_bmc_fault("beta", BmcFault::None).unwrap();
    assert!(log_in(&hosts, "alpha", "beta").is_ok());
}

#[test]
fn partitions_and_frozen_hosts() {
    if !may_run() {
        return;
    }
    let folder = Folder::new("split");
    let hosts = Hosts::new(config(&folder)).unwrap();
    hosts.power_on_all().unwrap();
    serve(&hosts, "alpha");
    serve(&hosts, "beta");
    hosts.partition(&[&["beta"]]).unwrap();
    assert_eq!(ask(&hosts, "client", "beta"), None);
    assert_eq!(ask(&hosts, "client", "alpha").as_deref(), Some("alpha"));
    // The BMCs' network is another one.
    assert!(log_in(&hosts, "alpha", "beta").is_ok());
    // A host that is switched on during a partition is still on its side of it.
    hosts.power_off("beta").unwrap();
    hosts.power_on("beta").unwrap();
    serve(&hosts, "beta");
    assert_eq!(ask(&hosts, "alpha", "beta"), None);
    hosts.heal().unwrap();
    until("the network is whole", || ask(&hosts, "client", "beta").as_deref() == Some("beta"));
    hosts.set_cable("beta", false).unwrap();
    assert_eq!(ask(&hosts, "client", "beta"), None);
    hosts.heal().unwrap();
    until("the cable is plugged in", || ask(&hosts, "client", "beta").as_deref() == Some("beta"));

    let script = "while :; do echo x >>/run/ticks; sleep 0.01; done";
    hosts.spawn("alpha", &["sh", "-c", script]).unwrap();
    let ticks = || {
        let output = hosts.exec("alpha", &["cat", "/run/ticks"], WAIT).unwrap();
        output.stdout.lines().count()
    };
    until("it ticks", || ticks() > 3);
    hosts.freeze("alpha").unwrap();
    let frozen = ticks();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ticks(), frozen);
    hosts.thaw("alpha").unwrap();
    until("it ticks again", || ticks() > frozen);
    // Two if it is just starting a sleep.
    assert!(hosts.signal("alpha", "/run/ticks", Signal::SIGKILL).unwrap() >= 1);
    let ticking = || hosts.processes("alpha").unwrap().iter().any(|(_, l)| l.contains("ticks"));
    until("it is waited for by process 1", || !ticking());
    // A frozen host can be powered off, with a command nobody waits for on it.
    hosts.spawn("alpha", &["sleep", "1000"]).unwrap();
    hosts.freeze("alpha").unwrap();
    hosts.power_off("alpha").unwrap();
    assert!(!hosts.is_on("alpha").unwrap());
}

#[test]
fn one_run_at_a_time_and_nothing_left_behind() {
    if !may_run() {
        return;
    }
    let folder = Folder::new("end");
    let hosts = Hosts::new(config(&folder)).unwrap();
    hosts.power_on_all().unwrap();
    assert!(matches!(Hosts::new(config(&folder)), Err(cli_hosts::Error::Busy(_))));
    let pids: Vec<i32> =
        hosts.processes("alpha").unwrap().into_iter().map(|(pid, _)| pid).collect();
    assert!(pids.len() >= 2);
    drop(hosts);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }
    let again = Hosts::new(config(&folder)).unwrap();
    again.power_on("alpha").unwrap();
    until("the disk was kept", || boots(&again, "alpha") == 2);
}

#[test]
fn an_init_system_is_process_1() {
    if !may_run() {
        return;
    }
    let folder = Folder::new("init");
    let mut host = HostConfig::new("alpha", &["sleep", "1000"]);
    host.command_is_init = true;
    let config = Config { work: folder.0.clone(), hosts: vec![host], bmc: None };
    let hosts = Hosts::new(config).unwrap();
    hosts.power_on("alpha").unwrap();
    let output = hosts.exec("alpha", &["cat", "/proc/1/cmdline"], WAIT).unwrap();
    assert_eq!(output.stdout, ["sleep", "1000", ""].join("\0"));
    hosts.power_off("alpha").unwrap();
    assert!(!hosts.is_on("alpha").unwrap());
    hosts.power_on("alpha").unwrap();
    let processes = hosts.processes("alpha").unwrap();
    // What ends the host with this process is the other one.
    assert_eq!(processes.len(), 2, "{processes:?}");
}
