//! Sending announcements and looking for another owner, on a packet socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, fork, setsid};
use resource_agents_netlink::{Link, Netlink};

use super::frame::{self, Arp, Mac};

/// A series of announcements.
pub(super) struct Announcement {
    pub(super) link: Link,
    pub(super) ip: IpAddr,
    pub(super) times: u32,
    pub(super) pause: Duration,
}

impl Announcement {
    /// Sends the first announcement now and the others from a process of their own, which goes
    /// on after the agent has ended.
    pub(super) fn start(self) -> io::Result<()> {
        let socket = PacketSocket::open(&self.link)?;
        self.send(&socket)?;
        if self.times <= 1 {
            return Ok(());
        }
        // SAFETY: the process has a single thread here, so the child may use everything.
        match unsafe { fork() }? {
            ForkResult::Parent { .. } => Ok(()),
            ForkResult::Child => {
                let ended = self.go_on(&socket);
                // SAFETY: ends the child at once, without the parent's exit handlers.
                unsafe { libc::_exit(i32::from(ended.is_err())) }
            }
        }
    }

    fn send(&self, socket: &PacketSocket) -> io::Result<()> {
        let mac = socket.mac;
        match self.ip {
            IpAddr::V4(ip) => {
                // Some neighbours only listen to one of the two forms.
                socket.send(&frame::arp(Arp::AnnounceRequest, mac, ip))?;
                socket.send(&frame::arp(Arp::AnnounceReply, mac, ip))
            }
            IpAddr::V6(ip) => socket.send(&frame::advertisement(mac, ip)),
        }
    }

    /// The background part. Looks before every announcement whether the address is still here:
    /// announcing one that has moved on would lead the neighbours astray.
    fn go_on(&self, socket: &PacketSocket) -> io::Result<()> {
        let _ = setsid();
        // Whoever waits for the agent's output to end must not wait for us.
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        for standard in 0..3 {
            // SAFETY: both are open descriptors of this process.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
        let mut netlink = Netlink::open().map_err(io::Error::other)?;
        for _ in 1..self.times {
            std::thread::sleep(self.pause);
            let addresses = netlink.addresses().map_err(io::Error::other)?;
            let here = |address: &resource_agents_netlink::Address| {
                address.ip == self.ip && address.link == self.link.index
            };
            if !addresses.iter().any(here) {
                return Ok(());
            }
            self.send(socket)?;
        }
        Ok(())
    }
}

/// Asks the network for another owner of `ip` and waits up to `wait` for an answer.
pub(super) fn find_owner(link: &Link, ip: Ipv4Addr, wait: Duration) -> io::Result<Option<Mac>> {
    let socket = PacketSocket::open(link)?;
    let start = Instant::now();
    let probe = frame::arp(Arp::Probe, socket.mac, ip);
    socket.send(&probe)?;
    let mut second_probe = Some(start + wait / 2);
    let end = start + wait;
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(None);
        }
        if second_probe.is_some_and(|due| now >= due) {
            socket.send(&probe)?;
            second_probe = None;
        }
        let until = second_probe.unwrap_or(end);
        let Some(received) = socket.receive(until.saturating_duration_since(now))? else {
            continue;
        };
        if let Some(mac) = frame::claimed_by(&received, ip, socket.mac) {
            return Ok(Some(mac));
        }
    }
}

/// A raw packet socket bound to one Ethernet interface, receiving ARP only.
struct PacketSocket {
    fd: OwnedFd,
    mac: Mac,
}

impl PacketSocket {
    fn open(link: &Link) -> io::Result<Self> {
        let mac: Mac = link.mac.as_slice().try_into().map_err(|_| {
            io::Error::new(io::ErrorKind::Unsupported, "the interface has no Ethernet address")
        })?;
        let protocol = frame::TYPE_ARP.to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros is a valid value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = link.index as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let pointer = (&raw const address).cast::<libc::sockaddr>();
        // SAFETY: the pointer and length describe `address`, which outlives the call.
        if unsafe { libc::bind(fd.as_raw_fd(), pointer, length) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, mac })
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and length describe `frame`.
        let sent = unsafe {
            libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn receive(&self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let milliseconds = u16::try_from(wait.as_millis() + 1).unwrap_or(u16::MAX);
        if poll(&mut fds, PollTimeout::from(milliseconds))? == 0 {
            return Ok(None);
        }
        let mut buffer = [0_u8; 128];
        // SAFETY: the pointer and length describe `buffer`.
        let length =
            unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(buffer[..length.min(buffer.len())].to_vec())),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}
