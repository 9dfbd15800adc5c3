//! The responder's driver: one thread, one UDP socket, and faults to play with.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bmc::{Bmc, BmcConfig, PowerControl, PowerError};
use crate::chassis::ChassisControl;
use crate::crypto::OsEntropy;
use crate::wire::DATAGRAM_BYTES_MAX;

/// How a BMC misbehaves, for trying out what the cluster makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BmcFault {
    /// It works.
    None = 0,
    /// It answers nothing.
    Frozen = 1,
    /// It says "done" to power commands and does nothing.
    Lying = 2,
    /// It answers power commands with an error.
    Failing = 3,
}

impl BmcFault {
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Frozen,
            2 => Self::Lying,
            3 => Self::Failing,
            _ => Self::None,
        }
    }
}

/// How often the thread looks whether it should end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Shared {
    ends: AtomicBool,
    fault: AtomicU8,
}

/// Controls a running BMC from other threads.
#[derive(Debug, Clone)]
pub struct BmcHandle(Arc<Shared>);

impl BmcHandle {
    /// Makes the BMC misbehave from now on, or behave again.
    pub fn set_fault(&self, fault: BmcFault) {
        self.0.fault.store(fault as u8, Ordering::Relaxed);
    }

    /// How it misbehaves now.
    pub fn fault(&self) -> BmcFault {
        BmcFault::from_number(self.0.fault.load(Ordering::Relaxed))
    }
}

/// A BMC that answers on a UDP socket from a thread of its own until it is dropped.
pub struct BmcServer {
    handle: BmcHandle,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl BmcServer {
    /// Starts to answer on `socket`. The socket may come from another network namespace than the
    /// caller's.
    pub fn start(
        socket: UdpSocket,
        config: BmcConfig,
        power: Box<dyn PowerControl + Send>,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        socket.set_read_timeout(Some(LOOK_INTERVAL))?;
        let shared = Arc::new(Shared { ends: AtomicBool::new(false), fault: AtomicU8::new(0) });
        let handle = BmcHandle(shared);
        let for_thread = handle.clone();
        let bmc = Bmc::new(config, Box::new(OsEntropy));
        let thread = std::thread::Builder::new()
            .name("bmc".into())
            .spawn(move || serve(&socket, bmc, power, &for_thread))?;
        Ok(Self { handle, address, thread: Some(thread) })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Controls it from elsewhere.
    pub fn handle(&self) -> BmcHandle {
        self.handle.clone()
    }
}

impl Drop for BmcServer {
    fn drop(&mut self) {
        self.handle.0.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was already reported by the thread.
            let _ = thread.join();
        }
    }
}

fn serve(
    socket: &UdpSocket,
    mut bmc: Bmc,
    power: Box<dyn PowerControl + Send>,
    handle: &BmcHandle,
) {
    let epoch = Instant::now();
    let mut power = Faulty { power, handle: handle.clone() };
    let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
    while !handle.0.ends.load(Ordering::Relaxed) {
        let (length, peer) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => continue,
                // An earlier answer's refusal comes back as an error of the next receive.
                ErrorKind::ConnectionRefused => continue,
                _ => {
                    std::thread::sleep(LOOK_INTERVAL);
                    continue;
                }
            },
        };
        if handle.fault() == BmcFault::Frozen {
            continue;
        }
        let answer = bmc.handle_datagram(epoch.elapsed(), peer, &buffer[..length], &mut power);
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, peer);
        }
    }
}

/// The power switch with the faults in front of it.
struct Faulty {
    power: Box<dyn PowerControl + Send>,
    handle: BmcHandle,
}

impl PowerControl for Faulty {
    fn is_on(&mut self) -> bool {
        self.power.is_on()
    }

    fn control(&mut self, control: ChassisControl) -> Result<(), PowerError> {
        match self.handle.fault() {
            BmcFault::None | BmcFault::Frozen => self.power.control(control),
            BmcFault::Lying => Ok(()),
            BmcFault::Failing => Err(PowerError::Failed),
        }
    }
}
