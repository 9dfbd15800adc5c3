//! All hosts together.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fence_agents_ipmi::{BmcConfig, BmcFault, BmcServer, Privilege, Secret, User};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config::{Config, Plan};
use crate::exec::{self, Output};
use crate::host::{Host, ProcessHandle};
use crate::namespace::NetworkNamespace;
use crate::power::{HostPower, PowerLog};
use crate::switch::Switch;
use crate::{Context, Error};

/// UDP port of the BMCs.
const BMC_PORT: u16 = 623;

/// What BMC threads and the owner share. Locks: a host before the switch.
pub(crate) struct Inner {
    switch: Mutex<Switch>,
    hosts: Vec<Mutex<Host>>,
    names: Vec<String>,
    log: PowerLog,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not keep hosts from being switched off.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Inner {
    pub(crate) fn is_on(&self, at: usize) -> bool {
        lock(&self.hosts[at]).init().is_some()
    }

    pub(crate) fn power_on(self: &Arc<Self>, at: usize, by: &str) -> Result<(), Error> {
        let mut host = lock(&self.hosts[at]);
        if host.init().is_some() {
            return Ok(());
        }
        host.power_on(&mut lock(&self.switch))?;
        self.log.note(&self.names[at], true, by);
        if let Some(init) = host.init() {
            self.watch(at, init)?;
        }
        Ok(())
    }

    /// Sees to it that a host that restarts itself comes back.
    fn watch(self: &Arc<Self>, at: usize, init: i32) -> Result<(), Error> {
        let watched = ProcessHandle::open(init)?;
        let hosts = Arc::downgrade(self);
        let restart = move || {
            watched.wait_for_end();
            if let Some(hosts) = hosts.upgrade() {
                hosts.restarted(at, init);
            }
        };
        let started = std::thread::Builder::new().name("restart".into()).spawn(restart);
        started.map(drop).context(|| "start a thread".into())
    }

    /// Process 1 of a host has ended: if that was a restart (and nobody has cut the power since),
    /// the host boots.
    fn restarted(self: &Arc<Self>, at: usize, init: i32) {
        if !lock(&self.hosts[at]).restarts(init) {
            return;
        }
        let by = "restarted by itself";
        self.log.note(&self.names[at], false, by);
        if let Err(error) = self.power_on(at, by) {
            eprintln!("{}: does not boot again: {error}", self.names[at]);
        }
    }

    pub(crate) fn power_off(&self, at: usize, by: &str) -> Result<(), Error> {
        let mut host = lock(&self.hosts[at]);
        let was_on = host.init().is_some();
        host.power_off(&mut lock(&self.switch))?;
        if was_on {
            self.log.note(&self.names[at], false, by);
        }
        Ok(())
    }

    fn processes(&self, at: usize) -> Vec<i32> {
        lock(&self.hosts[at]).init().map(exec::processes).unwrap_or_default()
    }

    pub(crate) fn terminate_all(&self, at: usize) {
        let init = lock(&self.hosts[at]).init();
        for pid in self.processes(at).into_iter().filter(|pid| Some(*pid) != init) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Nothing but process 1 runs on the host.
    pub(crate) fn is_idle(&self, at: usize) -> bool {
        self.processes(at).len() <= 1
    }
}

/// Hosts on this machine. Dropping this powers everything off.
pub struct Hosts {
    // The BMCs' threads end before the hosts do.
    bmcs: Vec<Option<BmcServer>>,
    inner: Arc<Inner>,
    work: PathBuf,
    _lock: Flock<File>,
}

impl Hosts {
    /// Makes the switch and the BMCs; all hosts are still off. Ends what an earlier run in the
    /// same work folder left behind.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        fs::create_dir_all(&config.work).context(|| format!("make {}", config.work.display()))?;
        let lock = lock_folder(&config.work)?;
        let mut hosts = Vec::new();
        let mut names = Vec::new();
        for (number, host) in (1_u8..).zip(config.hosts.iter().cloned()) {
            let folder = config.work.join(&host.name);
            fs::create_dir_all(&folder).context(|| format!("make {}", folder.display()))?;
            names.push(host.name.clone());
            let host = Host::new(host, number, folder);
            host.sweep();
            hosts.push(Mutex::new(host));
        }
        write_hosts_file(&config)?;
        let inner = Arc::new(Inner {
            switch: Mutex::new(Switch::new()?),
            hosts,
            names,
            log: PowerLog::default(),
        });
        let mut made = Self { bmcs: Vec::new(), inner, work: config.work.clone(), _lock: lock };
        for (at, host) in config.hosts.iter().enumerate() {
            let bmc = match &config.bmc {
                Some(settings) if host.has_bmc => Some(made.start_bmc(at, settings)?),
                _ => None,
            };
            made.bmcs.push(bmc);
        }
        Ok(made)
    }

    fn start_bmc(&self, at: usize, settings: &crate::BmcSettings) -> Result<BmcServer, Error> {
        let plan = Plan::new(at as u8 + 1);
        let socket = {
            let mut switch = lock(&self.inner.switch);
            switch.add_bmc_address(plan.bmc_ip())?;
            switch.bind(plan.bmc_ip(), BMC_PORT)?
        };
        let user = User {
            name: settings.user.clone(),
            password: settings.password.clone(),
            privilege: Privilege::Administrator,
        };
        let mut guid = [0x77; 16];
        guid[0] = plan.bmc_ip().octets()[3];
        let config = BmcConfig {
            users: vec![user],
            suites: settings.suites.clone(),
            bmc_key: Secret::new([]),
            guid,
        };
        let power = HostPower { hosts: Arc::downgrade(&self.inner), at };
        BmcServer::start(socket, config, Box::new(power)).context(|| "start a BMC".into())
    }

    fn at(&self, name: &str) -> Result<usize, Error> {
        let at = self.inner.names.iter().position(|known| known == name);
        at.ok_or_else(|| Error::NoSuchHost(name.to_owned()))
    }

    /// Names of the hosts, host 1 first.
    pub fn names(&self) -> &[String] {
        &self.inner.names
    }

    /// Address of a host in the cluster's network.
    pub fn address(&self, name: &str) -> Result<Ipv4Addr, Error> {
        Ok(Plan::new(self.at(name)? as u8 + 1).cluster_ip())
    }

    /// Hardware address of a host in the cluster's network.
    pub fn mac(&self, name: &str) -> Result<[u8; 6], Error> {
        Ok(Plan::new(self.at(name)? as u8 + 1).mac(0))
    }

    /// Address of a host's BMC; the port is 623.
    pub fn bmc_address(&self, name: &str) -> Result<Ipv4Addr, Error> {
        Ok(Plan::new(self.at(name)? as u8 + 1).bmc_ip())
    }

    /// Folder of a host: `console.log` with the command's output, `disk/` with the persistent
    /// folders.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        Ok(self.work.join(&self.inner.names[self.at(name)?]))
    }

    /// Where a persistent folder of a host is kept on the machine.
    pub fn disk(&self, name: &str, path: &Path) -> Result<PathBuf, Error> {
        Ok(crate::mounts::disk_folder(&self.folder(name)?, path))
    }

    /// Whether a host is on.
    pub fn is_on(&self, name: &str) -> Result<bool, Error> {
        Ok(self.inner.is_on(self.at(name)?))
    }

    /// Powers a host on and starts its command. On already is fine.
    pub fn power_on(&self, name: &str) -> Result<(), Error> {
        self.inner.power_on(self.at(name)?, "operator")
    }

    /// Powers all hosts on.
    pub fn power_on_all(&self) -> Result<(), Error> {
        self.inner.names.iter().try_for_each(|name| self.power_on(name))
    }

    /// Cuts a host's power. When this returns, nothing of the host runs or answers any more.
    pub fn power_off(&self, name: &str) -> Result<(), Error> {
        self.inner.power_off(self.at(name)?, "operator")
    }

    /// The same with a note in the power log of who did it.
    pub fn set_power(&self, name: &str, on: bool, by: &str) -> Result<(), Error> {
        let at = self.at(name)?;
        if on { self.inner.power_on(at, by) } else { self.inner.power_off(at, by) }
    }

    /// What was switched when.
    pub fn power_log(&self) -> PowerLog {
        self.inner.log.clone()
    }

    /// Makes a host's BMC misbehave, or behave again.
    pub fn set_bmc_fault(&self, name: &str, fault: BmcFault) -> Result<(), Error> {
        match &self.bmcs[self.at(name)?] {
            Some(bmc) => bmc.handle().set_fault(fault),
            None => return Err(Error::Config(format!("host {name} has no embedded BMC"))),
        }
        Ok(())
    }

    /// Process 1 of a host, as this process sees it.
    fn init(&self, name: &str) -> Result<i32, Error> {
        let init = lock(&self.inner.hosts[self.at(name)?]).init();
        init.ok_or_else(|| Error::Off(name.to_owned()))
    }

    /// The network namespace of a host that is on. The handle keeps it alive even when the host
    /// is switched off, but without its cables.
    pub fn network(&self, name: &str) -> Result<NetworkNamespace, Error> {
        NetworkNamespace::of_process(self.init(name)?)
    }

    /// The network namespace of the switch.
    pub fn switch_network(&self) -> NetworkNamespace {
        lock(&self.inner.switch).namespace().clone()
    }

    /// Starts a command in the switch's network; it is killed when the hosts are dropped.
    pub fn spawn_in_switch(&self, command: Command) -> Result<Child, Error> {
        lock(&self.inner.switch).spawn(command)
    }

    /// Gives the switch a BMC's address, for a BMC that is not ours.
    pub fn add_bmc_address(&self, name: &str) -> Result<Ipv4Addr, Error> {
        let ip = self.bmc_address(name)?;
        lock(&self.inner.switch).add_bmc_address(ip)?;
        Ok(ip)
    }

    /// Runs a command on a host and collects its output; kills it when `timeout` is over.
    pub fn exec<S: AsRef<OsStr>>(
        &self,
        name: &str,
        command: &[S],
        timeout: Duration,
    ) -> Result<Output, Error> {
        let (init, env) = self.init_and_env(name)?;
        let command: Vec<&OsStr> = command.iter().map(AsRef::as_ref).collect();
        exec::collect(exec::start(init, &env, &command, Stdio::piped, false)?, timeout)
    }

    /// Starts a command on a host without waiting for it; its output is thrown away. It is a
    /// process of the host like any other: `signal` ends it, or the end of the host does.
    pub fn spawn<S: AsRef<OsStr>>(&self, name: &str, command: &[S]) -> Result<(), Error> {
        let (init, env) = self.init_and_env(name)?;
        let command: Vec<&OsStr> = command.iter().map(AsRef::as_ref).collect();
        exec::spawn(init, &env, &command)
    }

    fn init_and_env(&self, name: &str) -> Result<(i32, Vec<(OsString, OsString)>), Error> {
        let host = lock(&self.inner.hosts[self.at(name)?]);
        let init = host.init().ok_or_else(|| Error::Off(name.to_owned()))?;
        Ok((init, host.config.env.clone()))
    }

    /// All processes of a host with their command lines, as this process numbers them.
    pub fn processes(&self, name: &str) -> Result<Vec<(i32, String)>, Error> {
        let pids = exec::processes(self.init(name)?);
        Ok(pids.into_iter().map(|pid| (pid, exec::command_line(pid))).collect())
    }

    /// Sends a signal to each process of the host (except process 1) whose command line contains
    /// `part`. Returns how many there were.
    pub fn signal(&self, name: &str, part: &str, signal: Signal) -> Result<usize, Error> {
        let init = self.init(name)?;
        let mut count = 0;
        for (pid, line) in self.processes(name)? {
            if pid != init && line.contains(part) {
                kill(Pid::from_raw(pid), signal).context(|| format!("signal process {pid}"))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Stops all processes of a host as they are: the host hangs, but its kernel still answers.
    pub fn freeze(&self, name: &str) -> Result<(), Error> {
        let init = self.init(name)?;
        let mut stopped = Vec::new();
        // A process may start another while we go through the list; once all are stopped none
        // can.
        loop {
            let found = exec::processes(init);
            let new: Vec<i32> = found.into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            signal_each(&new, Signal::SIGSTOP);
            stopped.extend(new);
        }
    }

    /// Lets a frozen host go on.
    pub fn thaw(&self, name: &str) -> Result<(), Error> {
        signal_each(&exec::processes(self.init(name)?), Signal::SIGCONT);
        Ok(())
    }

    /// Splits the cluster's network: each group can only talk within itself; hosts in no group
    /// stay together. The BMCs' network is not affected. Replaces an earlier partition.
    pub fn partition(&self, groups: &[&[&str]]) -> Result<(), Error> {
        let mut assignment = vec![0; self.inner.names.len()];
        for (group, members) in (1..).zip(groups) {
            for name in *members {
                assignment[self.at(name)?] = group;
            }
        }
        for (host, group) in self.inner.hosts.iter().zip(assignment) {
            let mut host = lock(host);
            host.group = group;
            lock(&self.inner.switch).set_group(host.number, group)?;
        }
        Ok(())
    }

    /// Joins the cluster's network again and plugs all cables in.
    pub fn heal(&self) -> Result<(), Error> {
        self.partition(&[])?;
        self.inner.names.iter().try_for_each(|name| self.set_cable(name, true))
    }

    /// Unplugs a host's cable to the cluster's network, or plugs it in again.
    pub fn set_cable(&self, name: &str, plugged: bool) -> Result<(), Error> {
        let number = self.at(name)? as u8 + 1;
        lock(&self.inner.switch).set_cable(number, plugged)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // First the BMCs: none may power a host on again.
        self.bmcs.clear();
        for at in 0..self.inner.hosts.len() {
            let _ = self.inner.power_off(at, "end of the run");
        }
    }
}

/// Processes that are gone already are passed over.
fn signal_each(pids: &[i32], signal: Signal) {
    for pid in pids {
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

/// One run at a time in one folder.
fn lock_folder(work: &Path) -> Result<Flock<File>, Error> {
    let path = work.join("lock");
    let file = File::create(&path).context(|| format!("open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::Busy(work.display().to_string()))
}

/// A hosts file with all hosts' and BMCs' names, for hosts that want it (`files`).
fn write_hosts_file(config: &Config) -> Result<(), Error> {
    let path = config.work.join("hosts");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&path)?;
        writeln!(file, "127.0.0.1 localhost\n::1 localhost")?;
        for (number, host) in (1_u8..).zip(&config.hosts) {
            let plan = Plan::new(number);
            writeln!(file, "{} {}", plan.cluster_ip(), host.name)?;
            writeln!(file, "{} bmc-{}", plan.bmc_ip(), host.name)?;
        }
        Ok(())
    };
    write().context(|| format!("write {}", path.display()))
}
