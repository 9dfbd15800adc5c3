//! The lab: hosts, faults and clients for end-to-end tests.
//!
//! A [`Lab`] is a set of [`cli_hosts::Hosts`] plus what only tests need: OpenIPMI's `ipmi_sim` as
//! a foreign BMC, clients that measure who answers when, packet loss, and set-up of a cluster's
//! files. Everything of `Hosts` (power, exec, partition, freeze...) is there through `Deref`.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use tests_lab::{Bmc, Lab};
//! let lab = Lab::cluster("move-vip", 3).bmc(Bmc::IpmiSim).build()?;
//! lab.power_on_all()?;
//! let probe = lab.arp_probe("10.77.0.50".parse()?, Duration::from_millis(5))?;
//! lab.wait_until(Duration::from_secs(20), "the address answers", || probe.last().is_some());
//! lab.power_off("node1")?;
//! # Ok(())
//! # }
//! ```
//!
//! Needs root and, depending on what is used, `ipmi_sim` (package openipmi) and `nft` (package
//! nftables). A missing tool is an error, never a skipped test.

mod arp;
mod cluster;
mod ipmi_sim;
mod operate;
mod peers;
mod postgresql;
mod probe;
mod serve;
mod systemd;
mod watch;

pub use cluster::systole;
pub use operate::{Answers, Cluster, Fencing, HttpWatch, PATIENCE, asked_for};
pub use postgresql::{Failover, Insert, Postgresql};
pub use probe::{ArpProbe, Sample, TcpProbe};
pub use serve::Server;
pub use watch::{ArpWatch, Tenure};

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cli_hosts::{BmcSettings, Config, HostConfig, Hosts};
use fence_agents_ipmi::{CipherSuite, Secret};
use ipmi_sim::Simulator;

/// Name of the host clients run on.
pub const CLIENT: &str = "client";
/// User name of all BMCs.
pub const BMC_USER: &str = "ADMIN";
/// Password of all BMCs.
pub const BMC_PASSWORD: &str = "secret";

/// Which BMC each host gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bmc {
    /// None.
    None,
    /// Our own, cipher suites 3 and 17.
    Embedded,
    /// OpenIPMI's `ipmi_sim`, cipher suite 3 only.
    IpmiSim,
}

/// What a lab is to be like.
#[derive(Debug, Clone)]
pub struct LabBuilder {
    name: String,
    hosts: Vec<String>,
    command: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    persistent: Vec<PathBuf>,
    files: Vec<(PathBuf, PathBuf)>,
    bmc: Bmc,
    /// Links made in a folder that comes first in the hosts' PATH: name and target.
    tools: Vec<(String, PathBuf)>,
    /// Content of files on each host's disk: path on the host, content, readable by all.
    contents: Vec<(PathBuf, Vec<u8>, bool)>,
    /// Links on each host's disk.
    links: Vec<(PathBuf, PathBuf)>,
    /// Process 1 of the hosts is systemd.
    systemd: bool,
}

impl LabBuilder {
    /// The command each host starts when it is powered on.
    pub fn command<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable in the environment of everything on the hosts.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// A folder of each host's own that outlives power cycles.
    pub fn persistent(mut self, folder: impl Into<PathBuf>) -> Self {
        self.persistent.push(folder.into());
        self
    }

    /// Lays a file of the machine over another on all hosts.
    pub fn file(mut self, on_host: impl Into<PathBuf>, content: impl Into<PathBuf>) -> Self {
        self.files.push((on_host.into(), content.into()));
        self
    }

    /// Which BMC the hosts get; the embedded one unless said otherwise.
    pub fn bmc(mut self, bmc: Bmc) -> Self {
        self.bmc = bmc;
        self
    }

    /// Makes a program available under a name in the hosts' PATH, before the machine's.
    pub fn tool(mut self, name: &str, program: impl Into<PathBuf>) -> Self {
        self.tools.push((name.to_owned(), program.into()));
        self
    }

    /// Writes a file to each host's disk before it is first powered on. The path must be in a
    /// persistent folder.
    pub fn content(mut self, on_host: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.contents.push((on_host.into(), content.into(), true));
        self
    }

    /// The same for a file only root may read.
    pub fn secret(mut self, on_host: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.contents.push((on_host.into(), content.into(), false));
        self
    }

    /// Makes a link on each host's disk, in a persistent folder.
    pub fn link(mut self, on_host: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.links.push((on_host.into(), target.into()));
        self
    }

    /// Makes the lab; the hosts are off, the client is on.
    pub fn build(self) -> anyhow::Result<Lab> {
        ensure!(nix::unistd::geteuid().is_root(), "the lab needs root");
        for program in systemd::PROGRAMS.iter().filter(|_| self.systemd) {
            ensure!(Path::new(program).exists(), "{program} is missing (packages systemd, dbus)");
        }
        let folder = tempfile::Builder::new().prefix(&format!("lab-{}-", self.name)).tempdir()?;
        let tools = folder.path().join("tools");
        std::fs::create_dir(&tools)?;
        for (name, program) in &self.tools {
            std::os::unix::fs::symlink(program, tools.join(name))?;
        }
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/bin".into());
        let path =
            std::env::join_paths([tools.clone()].into_iter().chain(std::env::split_paths(&path)))?;
        let mut env = vec![("PATH".into(), path), ("HOME".into(), "/root".into())];
        // Agents take the tools from here.
        env.push(("HA_SBIN_DIR".into(), tools.into_os_string()));
        env.extend(self.env.iter().cloned());
        let groups = self.systemd.then(|| systemd::ControlGroups::new(folder.path()));
        env.extend(groups.as_ref().map(systemd::ControlGroups::env));
        let work = folder.path().join("hosts");
        let mut files = self.files.clone();
        // Names of all hosts and BMCs, for everybody.
        files.push(("/etc/hosts".into(), work.join("hosts")));
        let host = |name: &String| HostConfig {
            name: name.clone(),
            command: self.command.clone(),
            command_is_init: self.systemd,
            env: env.clone(),
            persistent: self.persistent.clone(),
            files: files.clone(),
            has_bmc: true,
        };
        let mut hosts: Vec<HostConfig> = self.hosts.iter().map(host).collect();
        let mut client = HostConfig::new(CLIENT, &[]);
        client.env = env.clone();
        client.files.clone_from(&files);
        client.has_bmc = false;
        hosts.push(client);
        let bmc = (self.bmc == Bmc::Embedded).then(|| BmcSettings {
            user: BMC_USER.into(),
            password: Secret::new(BMC_PASSWORD),
            suites: vec![CipherSuite::Suite3, CipherSuite::Suite17],
        });
        let hosts = Arc::new(Hosts::new(Config { work, hosts, bmc })?);
        let mut lab = Lab {
            simulators: Vec::new(),
            hosts,
            nodes: self.hosts.clone(),
            folder: Some(folder),
            _groups: groups,
        };
        for name in &self.hosts {
            self.fill_disk(&lab, name)?;
            if self.bmc == Bmc::IpmiSim {
                lab.simulators.push(Simulator::start(&lab.hosts, name)?);
            }
        }
        lab.simulators.iter().try_for_each(|simulator| simulator.wait_until_ready(&lab.hosts))?;
        lab.power_on(CLIENT)?;
        Ok(lab)
    }

    fn fill_disk(&self, lab: &Lab, name: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        for (path, content, readable) in &self.contents {
            let path = self.on_disk(lab, name, path)?;
            std::fs::write(&path, content)?;
            let mode = if *readable { 0o644 } else { 0o600 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        }
        for (path, target) in &self.links {
            std::os::unix::fs::symlink(target, self.on_disk(lab, name, path)?)?;
        }
        Ok(())
    }

    fn on_disk(&self, lab: &Lab, name: &str, path: &Path) -> anyhow::Result<PathBuf> {
        let kept = self.persistent.iter().any(|folder| path.starts_with(folder));
        ensure!(kept, "{} is in no persistent folder", path.display());
        let path = lab.disk(name, path)?;
        let folder = path.parent().context("a path with a folder")?;
        std::fs::create_dir_all(folder)?;
        Ok(path)
    }
}

/// Hosts, BMCs and a client. Dropping it ends everything; if the test is failing its folder is
/// kept for a look.
pub struct Lab {
    simulators: Vec<Simulator>,
    hosts: Arc<Hosts>,
    nodes: Vec<String>,
    folder: Option<tempfile::TempDir>,
    // Removed when the hosts are gone.
    _groups: Option<systemd::ControlGroups>,
}

impl Deref for Lab {
    type Target = Hosts;

    fn deref(&self) -> &Hosts {
        &self.hosts
    }
}

impl Lab {
    /// A lab with `count` hosts named `node1`, `node2`... that run nothing.
    pub fn builder(name: &str, count: usize) -> LabBuilder {
        LabBuilder {
            name: name.to_owned(),
            hosts: (1..=count).map(|number| format!("node{number}")).collect(),
            command: Vec::new(),
            env: Vec::new(),
            persistent: Vec::new(),
            files: Vec::new(),
            bmc: Bmc::Embedded,
            tools: Vec::new(),
            contents: Vec::new(),
            links: Vec::new(),
            systemd: false,
        }
    }

    /// Names of the cluster's hosts, without the client.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Powers the cluster's hosts on.
    pub fn power_on_nodes(&self) -> anyhow::Result<()> {
        Ok(self.nodes.iter().try_for_each(|name| self.power_on(name))?)
    }

    /// Waits until the condition holds and returns how long that took. Panics with the end of
    /// each host's console when the time is up.
    #[track_caller]
    pub fn wait_until(
        &self,
        timeout: Duration,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> Duration {
        let began = Instant::now();
        while !condition() {
            if began.elapsed() >= timeout {
                panic!("not within {timeout:?}: {what}\n{}", self.consoles());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        began.elapsed()
    }

    /// The last lines of what each host's command printed.
    pub fn consoles(&self) -> String {
        const LINES: usize = 40;
        let mut text = String::new();
        for name in &self.nodes {
            text.push_str(&format!("---- console of {name}\n"));
            let path = self.folder(name).map(|folder| folder.join("console.log"));
            let console = path.map(|path| std::fs::read(path).unwrap_or_default());
            let console = String::from_utf8_lossy(&console.unwrap_or_default()).into_owned();
            let lines: Vec<&str> = console.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }

    /// Runs a shell script on a host; an error unless it ends with 0. Returns its output.
    pub fn sh(&self, host: &str, script: &str) -> anyhow::Result<String> {
        let output = self.exec(host, &["sh", "-c", script], Duration::from_secs(60))?;
        ensure!(output.success(), "{script} on {host}: {:?} {}", output.code(), output.stderr);
        Ok(output.stdout)
    }

    /// Answers on `port` with the host's name until the server is dropped.
    pub fn serve(&self, host: &str, port: u16) -> anyhow::Result<Server> {
        Server::start(&self.hosts, host, port)
    }

    /// Asks from the client again and again whose address it is.
    pub fn arp_probe(&self, address: Ipv4Addr, interval: Duration) -> anyhow::Result<ArpProbe> {
        ArpProbe::start(&self.hosts, address, interval)
    }

    /// Asks from the client without end whose address it is, and hears all who answer.
    pub fn arp_watch(&self, address: Ipv4Addr, interval: Duration) -> anyhow::Result<ArpWatch> {
        ArpWatch::start(&self.hosts, address, interval)
    }

    /// Connects from the client again and again and reads what the server says.
    pub fn tcp_probe(&self, to: SocketAddr, interval: Duration) -> anyhow::Result<TcpProbe> {
        TcpProbe::start(&self.hosts, to, interval)
    }

    /// The host an ARP answer came from, by its hardware address.
    pub fn host_of_mac(&self, mac: [u8; 6]) -> Option<&str> {
        let names = self.names().iter();
        names.map(String::as_str).find(|name| self.mac(name).is_ok_and(|known| known == mac))
    }

    /// Loses this share of a host's packets in the cluster's network, both ways.
    pub fn lose_packets(&self, host: &str, percent: u8) -> anyhow::Result<()> {
        ensure!(percent <= 100, "{percent} % is more than all");
        let rule = format!("numgen random mod 100 < {percent} drop");
        self.filter(
            host,
            &[("input", &format!("iif eth0 {rule}")), ("output", &format!("oif eth0 {rule}"))],
        )
    }

    /// Loses everything `from` sends to `to` in the cluster's network; the other way stays open.
    pub fn lose_one_way(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let address = self.address(from)?;
        self.filter(to, &[("input", &format!("iif eth0 ip saddr {address} drop"))])
    }

    /// Ends the loss of packets on a host.
    pub fn lose_nothing(&self, host: &str) -> anyhow::Result<()> {
        self.sh(host, "nft delete table inet lab").map(drop)
    }

    fn filter(&self, host: &str, rules: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut script = String::from("table inet lab {\n");
        for hook in ["input", "output"] {
            script.push_str(&format!("chain {hook} {{ type filter hook {hook} priority 0;\n"));
            for (_, rule) in rules.iter().filter(|(chain, _)| *chain == hook) {
                script.push_str(rule);
                script.push('\n');
            }
            script.push_str("}\n");
        }
        script.push_str("}\n");
        self.sh(host, &format!("nft -f - <<'END'\n{script}END"))
            .context("nft (package nftables) must be installed")
            .map(drop)
    }

    /// The IPMI log-in for a host's BMC as a fence agent takes it on standard input.
    pub fn fence_options(&self, host: &str) -> anyhow::Result<String> {
        let ip = self.bmc_address(host)?;
        Ok(format!("ip={ip}\nusername={BMC_USER}\npassword={BMC_PASSWORD}\n"))
    }

    /// Stops a host's `ipmi_sim` (frozen BMC) or lets it go on.
    pub fn freeze_ipmi_sim(&self, host: &str, frozen: bool) -> anyhow::Result<()> {
        match self.simulators.iter().find(|simulator| simulator.host() == host) {
            Some(simulator) => simulator.freeze(frozen),
            None => bail!("{host} has no ipmi_sim"),
        }
    }

    /// Lets a host's `ipmi_sim` say "done" to everything and do nothing.
    pub fn make_ipmi_sim_lie(&self, host: &str, lies: bool) -> anyhow::Result<()> {
        match self.simulators.iter().find(|simulator| simulator.host() == host) {
            Some(simulator) => {
                simulator.set_lying(lies);
                Ok(())
            }
            None => bail!("{host} has no ipmi_sim"),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("the lab's folder is kept: {}", folder.keep().display());
        }
    }
}
