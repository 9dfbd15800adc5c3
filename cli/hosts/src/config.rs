//! What the hosts are to be like.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use fence_agents_ipmi::{CipherSuite, Secret};

use crate::Error;

/// Most hosts there is room for in the address plan.
pub(crate) const HOSTS_MAX: usize = 90;

/// All hosts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder for the hosts' disks and logs; made if missing. Must not be below `/run`, which
    /// each host has for itself.
    pub work: PathBuf,
    /// The hosts; the first is host 1.
    pub hosts: Vec<HostConfig>,
    /// Credentials of the embedded BMCs; without, the hosts have none.
    pub bmc: Option<BmcSettings>,
}

/// How to log in to the embedded BMCs.
#[derive(Debug, Clone)]
pub struct BmcSettings {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Cipher suites the BMCs accept.
    pub suites: Vec<CipherSuite>,
}

/// One host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Host name, also the name of its folder.
    pub name: String,
    /// Command process 1 starts when the host is powered on; empty for none. A name without a
    /// slash is looked for in the `PATH` of `env`.
    pub command: Vec<OsString>,
    /// The command is the host's process 1 itself, as an init system is.
    pub command_is_init: bool,
    /// Environment of the command and of everything run on the host.
    pub env: Vec<(OsString, OsString)>,
    /// Folders of the host's own that outlive a power cycle, such as `/var/lib/pacemaker`. Each
    /// is kept below the host's folder.
    pub persistent: Vec<PathBuf>,
    /// Files laid over the machine's: path on the host, path of the content.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// Has a BMC (if the configuration has any).
    pub has_bmc: bool,
}

impl HostConfig {
    /// A host that starts `command`, with the caller's `PATH` and a BMC.
    pub fn new(name: &str, command: &[&str]) -> Self {
        let path =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        Self {
            name: name.to_owned(),
            command: command.iter().map(OsString::from).collect(),
            command_is_init: false,
            env: vec![("PATH".into(), path), ("HOME".into(), "/root".into())],
            persistent: Vec::new(),
            files: Vec::new(),
            has_bmc: true,
        }
    }
}

/// Addresses of host number `number` (from 1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    number: u8,
}

impl Plan {
    pub(crate) fn new(number: u8) -> Self {
        Self { number }
    }

    pub(crate) fn cluster_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    pub(crate) fn cluster_ip6(self) -> std::net::Ipv6Addr {
        std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.number.into())
    }

    pub(crate) fn management_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, 100 + self.number)
    }

    pub(crate) fn bmc_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, self.number)
    }

    /// Hardware address of `eth0` (network 0) or `eth1` (network 1).
    pub(crate) fn mac(self, network: u8) -> [u8; 6] {
        [0x02, 0x77, 0, 0, network, self.number]
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.work.is_absolute() || self.work.starts_with("/run") {
            let work = self.work.display();
            return Err(Error::Config(format!("{work} is not an absolute path outside of /run")));
        }
        if self.hosts.is_empty() || self.hosts.len() > HOSTS_MAX {
            return Err(Error::Config(format!("there must be 1 to {HOSTS_MAX} hosts")));
        }
        for (at, host) in self.hosts.iter().enumerate() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if host.name.is_empty() || host.name.len() > 63 || !host.name.chars().all(allowed) {
                return Err(Error::Config(format!("\"{}\" is not a host name", host.name)));
            }
            if self.hosts[..at].iter().any(|other| other.name == host.name) {
                return Err(Error::Config(format!("two hosts are named {}", host.name)));
            }
            if host.command_is_init && host.command.is_empty() {
                return Err(Error::Config(format!("{} has no command for process 1", host.name)));
            }
            let mut paths = host.persistent.iter().chain(host.files.iter().map(|(path, _)| path));
            if let Some(path) = paths.find(|path| !path.is_absolute()) {
                return Err(Error::Config(format!("{} is not an absolute path", path.display())));
            }
        }
        Ok(())
    }
}
