//! The switch: two bridges in a network namespace of their own, and the cables to the hosts.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::JoinHandle;

use resource_agents_netlink::{Namespace, Netlink, NewAddress, VethPeer};

use crate::config::Plan;
use crate::namespace::NetworkNamespace;
use crate::{Context, Error};

const CLUSTER: &str = "cluster";
const MANAGEMENT: &str = "management";
const MANAGEMENT_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 1, 0xfe];

type Job = Box<dyn FnOnce() + Send>;

/// The switch. Dropping it ends its thread and with that what was started on it.
pub(crate) struct Switch {
    namespace: NetworkNamespace,
    netlink: Netlink,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Name of the switch's end of a host's cable.
fn port(number: u8, network: u8) -> String {
    format!("h{number}n{network}")
}

/// Name of the bridge for a group of hosts; group 0 is everybody's.
fn group_bridge(group: usize) -> String {
    if group == 0 { CLUSTER.to_owned() } else { format!("{CLUSTER}{group}") }
}

impl Switch {
    pub(crate) fn new() -> Result<Self, Error> {
        let namespace = NetworkNamespace::create()?;
        let netlink = namespace.run(Netlink::open)??;
        let (jobs, queue) = mpsc::channel::<Job>();
        let home = namespace.clone();
        // A thread that stays: processes started on it die when it ends.
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || {
                if home.enter().is_ok() {
                    queue.into_iter().for_each(|job| job());
                }
            })
            .context(|| "start a thread".into())?;
        let mut switch = Self { namespace, netlink, jobs: Some(jobs), thread: Some(thread) };
        for name in ["lo", CLUSTER, MANAGEMENT] {
            if name != "lo" {
                switch.netlink.add_bridge(name)?;
            }
            let index = switch.netlink.link_index(name)?;
            if name == MANAGEMENT {
                // Otherwise a bridge takes the lowest address of its ports and changes it when a
                // host comes or goes, and the BMCs' neighbours would send to nowhere.
                switch.netlink.set_mac(index, MANAGEMENT_MAC)?;
            }
            switch.netlink.set_up(index, true)?;
        }
        Ok(switch)
    }

    pub(crate) fn namespace(&self) -> &NetworkNamespace {
        &self.namespace
    }

    /// Lays both cables of a host to the namespace; the far ends are named `eth0` and `eth1`.
    pub(crate) fn connect(
        &mut self,
        plan: Plan,
        number: u8,
        host: &NetworkNamespace,
    ) -> Result<(), Error> {
        for (network, bridge) in [(0, CLUSTER), (1, MANAGEMENT)] {
            let name = port(number, network);
            let far = format!("eth{network}");
            let peer = VethPeer {
                name: &far,
                namespace: Some(Namespace::Fd(host.fd())),
                mac: Some(plan.mac(network)),
            };
            self.netlink.add_veth(&name, peer)?;
            let index = self.netlink.link_index(&name)?;
            let bridge = self.netlink.link_index(bridge)?;
            self.netlink.set_master(index, Some(bridge))?;
            self.netlink.set_up(index, true)?;
        }
        Ok(())
    }

    /// Pulls both cables; ones that are gone are fine.
    pub(crate) fn disconnect(&mut self, number: u8) -> Result<(), Error> {
        for network in [0, 1] {
            if let Some(link) = self.netlink.link(&port(number, network))? {
                self.netlink.delete_link(link.index)?;
            }
        }
        Ok(())
    }

    /// Plugs a host's cluster cable into the bridge of a group. A host that is off has none.
    pub(crate) fn set_group(&mut self, number: u8, group: usize) -> Result<(), Error> {
        let name = group_bridge(group);
        let bridge = match self.netlink.link(&name)? {
            Some(bridge) => bridge.index,
            None => {
                self.netlink.add_bridge(&name)?;
                let index = self.netlink.link_index(&name)?;
                self.netlink.set_up(index, true)?;
                index
            }
        };
        if let Some(port) = self.netlink.link(&port(number, 0))? {
            self.netlink.set_master(port.index, Some(bridge))?;
        }
        Ok(())
    }

    /// Sets a host's cluster cable up or down at the switch; the host sees its carrier go.
    pub(crate) fn set_cable(&mut self, number: u8, up: bool) -> Result<(), Error> {
        match self.netlink.link(&port(number, 0))? {
            Some(port) => Ok(self.netlink.set_up(port.index, up)?),
            None => Ok(()),
        }
    }

    /// Adds a BMC's address to the switch.
    pub(crate) fn add_bmc_address(&mut self, ip: Ipv4Addr) -> Result<(), Error> {
        let bridge = self.netlink.link_index(MANAGEMENT)?;
        Ok(self.netlink.add_address(&NewAddress::new(bridge, IpAddr::V4(ip), 24))?)
    }

    /// A socket bound to an address of the switch.
    pub(crate) fn bind(&self, ip: Ipv4Addr, port: u16) -> Result<UdpSocket, Error> {
        let bound = self.namespace.run(|| UdpSocket::bind((ip, port)))?;
        bound.context(|| format!("listen on {ip} port {port}"))
    }

    /// Starts a command in the switch's network. It is killed when the switch ends.
    pub(crate) fn spawn(&self, mut command: Command) -> Result<Child, Error> {
        use std::os::unix::process::CommandExt;
        let die_with_thread = || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: only makes a system call.
        unsafe { command.pre_exec(die_with_thread) };
        let (answer, result) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = answer.send(command.spawn());
        });
        let gone = || Error::Config("the switch has ended".into());
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?.context(|| "start a command in the switch".into())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
