//! One UDP socket for each link; many datagrams with one system call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// Datagrams per system call.
const BATCH: usize = 64;
const BUFFER_BYTES: usize = 8 << 20;
/// Datagrams for which the kernel had no room are waited for this long.
const WAIT_MS: i32 = 2;

pub(crate) struct LinkSocket {
    pub(crate) link: u8,
    socket: Socket,
    buffers: Vec<Vec<u8>>,
}

/// A datagram to send.
pub(crate) struct Outgoing {
    pub(crate) to: SockAddr,
    pub(crate) bytes: Arc<Vec<u8>>,
}

impl LinkSocket {
    /// Binds to the local address of a link. `datagram_max` is the largest one to receive.
    pub(crate) fn bind(link: u8, local: SocketAddr, datagram_max: usize) -> io::Result<LinkSocket> {
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
        let buffers = (0..BATCH).map(|_| vec![0; datagram_max]).collect();
        Ok(LinkSocket { link, socket, buffers })
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
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut parts: Vec<libc::iovec> = self
            .buffers
            .iter_mut()
            .map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() })
            .collect();
        for ((header, name), part) in headers.iter_mut().zip(&mut names).zip(&mut parts) {
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = NAME_LEN;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the headers point into `names`, `parts` and `self.buffers`, which outlive the
        // call, and their lengths are the true ones.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
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
            if let Some(from) = from.as_socket().filter(|_| whole) {
                each(&from, &self.buffers[at][..len]);
            }
        }
        Ok(count == BATCH)
    }

    /// Sends all, in order. What the kernel refuses is dropped: the ring sends again what matters.
    pub(crate) fn send(&self, queue: &[Outgoing]) {
        for chunk in queue.chunks(BATCH) {
            let mut done = 0;
            let mut waited = false;
            while done < chunk.len() {
                match self.send_some(&chunk[done..]) {
                    Ok(count) => done += count.max(1),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock && !waited => {
                        waited = true;
                        self.wait_writable();
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    // The first datagram of the rest is the one that cannot be sent.
                    Err(_) => done += 1,
                }
            }
        }
    }

    fn send_some(&self, chunk: &[Outgoing]) -> io::Result<usize> {
        let mut parts: Vec<libc::iovec> = chunk
            .iter()
            .map(|o| libc::iovec {
                iov_base: o.bytes.as_ptr().cast_mut().cast(),
                iov_len: o.bytes.len(),
            })
            .collect();
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for ((header, part), out) in headers.iter_mut().zip(&mut parts).zip(chunk) {
            header.msg_hdr.msg_name = out.to.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = out.to.len();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let count = libc::c_uint::try_from(chunk.len().min(BATCH)).unwrap_or(0);
        // SAFETY: the headers point into `parts` and `chunk`, which outlive the call; the kernel
        // only reads what they point to.
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
