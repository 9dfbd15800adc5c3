//! A raw packet socket for asking who has an address.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const TYPE_ARP: u16 = 0x0806;

/// An ARP question from `(mac, ip)` for `target` (RFC 826).
fn question(mac: [u8; 6], ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// Who says in this frame that it has `target`: an answer, or an announcement of its own accord.
fn owner(frame: &[u8], target: Ipv4Addr) -> Option<[u8; 6]> {
    let arp = frame.get(12..42)?;
    let is_arp = arp[..8] == [0x08, 0x06, 0, 1, 8, 0, 6, 4];
    (is_arp && arp[16..20] == target.octets()).then(|| arp[10..16].try_into().ok())?
}

/// The socket, in the network namespace of the thread that opened it.
pub(crate) struct ArpSocket {
    fd: OwnedFd,
    mac: [u8; 6],
    ip: Ipv4Addr,
}

impl ArpSocket {
    pub(crate) fn open(link: u32, mac: [u8; 6], ip: Ipv4Addr) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(TYPE_ARP.to_be())) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros is a valid value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = TYPE_ARP.to_be();
        address.sll_ifindex = link as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let pointer = (&raw const address).cast::<libc::sockaddr>();
        // SAFETY: the pointer and length describe `address`, which outlives the call.
        if unsafe { libc::bind(fd.as_raw_fd(), pointer, length) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, mac, ip })
    }

    pub(crate) fn ask(&self, target: Ipv4Addr) -> io::Result<()> {
        let frame = question(self.mac, self.ip, target);
        // SAFETY: the pointer and length describe `frame`.
        let sent =
            unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits up to `wait` for somebody to claim `target`.
    pub(crate) fn answer(&self, target: Ipv4Addr, wait: Duration) -> io::Result<Option<[u8; 6]>> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let milliseconds = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
        if poll(&mut fds, PollTimeout::from(milliseconds))? == 0 {
            return Ok(None);
        }
        let mut buffer = [0_u8; 128];
        // SAFETY: the pointer and length describe `buffer`.
        let length =
            unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(length) {
            Ok(length) => Ok(owner(&buffer[..length], target).filter(|mac| *mac != self.mac)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_no_claim_and_an_answer_is() {
        let (mac, ip) = ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 0, 0, 1));
        let target = Ipv4Addr::new(10, 0, 0, 9);
        let frame = question(mac, ip, target);
        assert_eq!(frame.len(), 42);
        assert_eq!(owner(&frame, target), None);
        assert_eq!(owner(&frame, ip), Some(mac));
        for length in 0..frame.len() {
            assert_eq!(owner(&frame[..length], ip), None);
        }
    }
}
