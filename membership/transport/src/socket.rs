//! One UDP socket for each link; many datagrams with one system call.
//!
//! Datagrams of one size to one node go through the kernel as one packet (segmentation offload, both
//! ways), which is what makes large messages cheap. Where the kernel or the device refuses that,
//! they go one by one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use membership_base::NodeId;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// Packets per system call when sending.
const BATCH: usize = 64;
/// Packets per system call when receiving; each may be a train of datagrams.
const BATCH_IN: usize = 16;
/// The largest packet that UDP has.
const PACKET_MAX: usize = 65_535;
/// Datagrams in one packet, and their bytes.
const TRAIN_MAX: usize = 60;
const TRAIN_BYTES: usize = 64_000;
const BUFFER_BYTES: usize = 8 << 20;
/// Datagrams for which the kernel had no room are waited for this long.
const WAIT_MS: i32 = 2;

pub(crate) struct LinkSocket {
    pub(crate) link: u8,
    socket: Socket,
    buffers: Vec<Vec<u8>>,
    /// Whether trains of datagrams can be sent; false after the first refusal.
    trains: AtomicBool,
}

/// A datagram to send.
pub(crate) struct Outgoing {
    pub(crate) node: NodeId,
    pub(crate) to: SockAddr,
    pub(crate) bytes: Arc<Vec<u8>>,
}

/// Room for one control message, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

impl LinkSocket {
    /// Binds to the local address of a link.
    pub(crate) fn bind(link: u8, local: SocketAddr) -> io::Result<LinkSocket> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        grow_buffers(&socket);
        // Interactive, low delay; a network that does not look at it does no harm.
        let _ = match local {
            SocketAddr::V4(_) => socket.set_tos_v4(0xb8),
            SocketAddr::V6(_) => socket.set_tclass_v6(0xb8),
        };
        socket.bind(&local.into())?;
        accept_trains(&socket);
        let buffers = (0..BATCH_IN).map(|_| vec![0; PACKET_MAX]).collect();
        Ok(LinkSocket { link, socket, buffers, trains: AtomicBool::new(true) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The bytes that the kernel grants for datagrams received but not read.
    pub(crate) fn receive_buffer(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(0)
    }

    /// Reads what is there, at most one batch; true if there may be more.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&SocketAddr, &[u8])) -> io::Result<bool> {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut names: [libc::sockaddr_storage; BATCH_IN] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH_IN] = unsafe { std::mem::zeroed() };
        let mut controls = [Control([0; 64]); BATCH_IN];
        let mut parts: Vec<libc::iovec> = self
            .buffers
            .iter_mut()
            .map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() })
            .collect();
        for (at, header) in headers.iter_mut().enumerate() {
            header.msg_hdr.msg_name = ptr::from_mut(&mut names[at]).cast();
            header.msg_hdr.msg_namelen = NAME_LEN;
            header.msg_hdr.msg_iov = &raw mut parts[at];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::from_mut(&mut controls[at]).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>();
        }
        // SAFETY: the headers point into `names`, `controls`, `parts` and `self.buffers`, which
        // outlive the call, and their lengths are the true ones.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_IN as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
                _ => Err(error),
            };
        }
        let count = usize::try_from(count).unwrap_or(0);
        for at in 0..count {
            let header = &headers[at];
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let len = usize::try_from(header.msg_len).unwrap_or(0).min(self.buffers[at].len());
            // SAFETY: the kernel wrote the sender's address of this length into `names[at]`.
            let from = unsafe {
                let storage = ptr::from_ref(&names[at]).cast();
                SockAddr::new(ptr::read(storage), header.msg_hdr.msg_namelen)
            };
            let Some(from) = from.as_socket().filter(|_| whole && len > 0) else { continue };
            let size = train_size(&header.msg_hdr).unwrap_or(len);
            self.buffers[at][..len].chunks(size).for_each(|datagram| each(&from, datagram));
        }
        Ok(count == BATCH_IN)
    }

    /// Sends all; the order is kept for each node. What the kernel refuses is dropped: the ring
    /// sends again what matters.
    pub(crate) fn send(&self, queue: &mut [Outgoing]) {
        queue.sort_by_key(|o| o.node);
        let mut rest: &[Outgoing] = queue;
        let mut waited = false;
        while !rest.is_empty() {
            let trains = self.trains.load(Ordering::Relaxed);
            let lengths = train_lengths(rest, trains);
            match self.send_some(rest, &lengths) {
                Ok(sent) => {
                    let datagrams: usize = lengths[..sent.max(1)].iter().sum();
                    rest = &rest[datagrams..];
                    waited = false;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !waited => {
                    waited = true;
                    self.wait_writable();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A device that cannot cut trains says so with EIO, an old kernel with EINVAL.
                Err(_) if trains && lengths[0] > 1 => self.trains.store(false, Ordering::Relaxed),
                // The first datagram of the rest is the one that cannot be sent.
                Err(_) => rest = &rest[1..],
            }
        }
    }

    /// Sends the first datagrams of `queue` as packets of `lengths` datagrams each; tells how many
    /// packets went.
    fn send_some(&self, queue: &[Outgoing], lengths: &[usize]) -> io::Result<usize> {
        let total: usize = lengths.iter().sum();
        let part = |o: &Outgoing| libc::iovec {
            iov_base: o.bytes.as_ptr().cast_mut().cast(),
            iov_len: o.bytes.len(),
        };
        let mut parts: Vec<libc::iovec> = queue[..total].iter().map(part).collect();
        let mut controls = [Control([0; 64]); BATCH];
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut first = 0;
        for (at, length) in lengths.iter().enumerate() {
            let head = &queue[first];
            let header = &mut headers[at].msg_hdr;
            header.msg_name = head.to.as_ptr().cast_mut().cast();
            header.msg_namelen = head.to.len();
            header.msg_iov = &raw mut parts[first];
            header.msg_iovlen = *length;
            if *length > 1 {
                header.msg_control = ptr::from_mut(&mut controls[at]).cast();
                header.msg_controllen = size_of::<Control>();
                put_train_size(header, head.bytes.len());
            }
            first += length;
        }
        let count = libc::c_uint::try_from(lengths.len()).unwrap_or(0);
        // SAFETY: the headers point into `parts`, `controls` and `queue`, which outlive the call;
        // each has as many parts as its length says; the kernel only reads.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(usize::try_from(sent).unwrap_or(0))
    }

    fn wait_writable(&self) {
        let mut fd =
            libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one valid structure, and its number is 1.
        unsafe { libc::poll(&raw mut fd, 1, WAIT_MS) };
    }
}

const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

/// Large buffers ride out a burst; without the right to force them the system's limit must do.
fn grow_buffers(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt};
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
        let _ = SockRef::from(socket).set_recv_buffer_size(BUFFER_BYTES);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER_BYTES).is_err() {
        let _ = SockRef::from(socket).set_send_buffer_size(BUFFER_BYTES);
    }
}

/// Lets the kernel hand over trains of datagrams whole. Without it they come one by one.
fn accept_trains(socket: &Socket) {
    let on: libc::c_int = 1;
    // SAFETY: the value is a C int that outlives the call, and its length is the true one.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// How the first datagrams of the queue go into packets: datagrams of one size to one node together,
/// the last of which may be shorter.
fn train_lengths(queue: &[Outgoing], trains: bool) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut rest = queue;
    while let Some(head) = rest.first()
        && lengths.len() < BATCH
    {
        let size = head.bytes.len();
        let most = if trains { (TRAIN_BYTES / size.max(1)).clamp(1, TRAIN_MAX) } else { 1 };
        let mut length = 1;
        while length < most
            && rest[length - 1].bytes.len() == size
            && rest.get(length).is_some_and(|o| o.node == head.node && o.bytes.len() <= size)
        {
            length += 1;
        }
        lengths.push(length);
        rest = &rest[length..];
    }
    lengths
}

/// Tells the kernel at which size to cut the train. The header's control room is a [`Control`].
fn put_train_size(header: &mut libc::msghdr, size: usize) {
    let size = u16::try_from(size).unwrap_or(u16::MAX);
    // SAFETY: the control room is 64 bytes, aligned to 8, more than one message with two bytes of
    // data needs; `CMSG_FIRSTHDR` is therefore not null and `CMSG_DATA` is inside it.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(2) as usize;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(2) as usize;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast(), size);
    }
}

/// The size of the datagrams in a received train, if it is one.
fn train_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control room and set its length, so the macros stay
    // inside it; the data of this kind of message is a C int.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            if found.cmsg_level == libc::SOL_UDP && found.cmsg_type == libc::UDP_GRO {
                let size: libc::c_int = ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                return usize::try_from(size).ok().filter(|s| *s > 0);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(node: u32, size: usize, fill: u8, to: SocketAddr) -> Outgoing {
        Outgoing { node: NodeId(node), to: to.into(), bytes: Arc::new(vec![fill; size]) }
    }

    #[test]
    fn trains_are_datagrams_of_one_size_to_one_node() {
        let to: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let queue: Vec<Outgoing> =
            [(1, 1400), (1, 1400), (1, 60), (1, 1400), (2, 1400), (2, 1401), (2, 9), (2, 9)]
                .map(|(node, size)| outgoing(node, size, 0, to))
                .into();
        assert_eq!(train_lengths(&queue, true), [3, 1, 1, 2, 1]);
        assert_eq!(train_lengths(&queue, false), [1; 8]);
        let many: Vec<Outgoing> = (0..100).map(|_| outgoing(1, 1400, 0, to)).collect();
        assert_eq!(train_lengths(&many, true), [45, 45, 10]);
    }

    #[test]
    fn what_is_sent_arrives_cut_as_it_was() {
        for trains in [true, false] {
            let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let sender = LinkSocket::bind(0, local).unwrap();
            let mut receiver = LinkSocket::bind(0, local).unwrap();
            sender.trains.store(trains, Ordering::Relaxed);
            let to = receiver.socket.local_addr().unwrap().as_socket().unwrap();
            let sizes = [1400, 1400, 1400, 700, 30, 30, 1, 1400, 9000, 40_000];
            let mut queue: Vec<Outgoing> =
                sizes.iter().zip(1..).map(|(s, n)| outgoing(1, *s, n, to)).collect();
            sender.send(&mut queue);
            let mut got: Vec<(usize, u8)> = Vec::new();
            while got.len() < sizes.len() {
                let mut fd = libc::pollfd { fd: receiver.fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one valid structure.
                assert_eq!(unsafe { libc::poll(&raw mut fd, 1, 10_000) }, 1, "{got:?}");
                receiver.receive(|_, bytes| got.push((bytes.len(), bytes[0]))).unwrap();
            }
            let sent: Vec<(usize, u8)> = sizes.iter().copied().zip(1..).collect();
            assert_eq!(got, sent, "trains: {trains}");
        }
    }
}
