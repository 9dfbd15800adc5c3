//! The client's driver: one UDP socket, one session, one command at a time, blocking.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use crate::chassis::{ChassisControl, ChassisStatus, code};
use crate::client::{Client, ClientConfig, Event};
use crate::crypto::{CipherSuite, OsEntropy};
use crate::error::Error;
use crate::wire::DATAGRAM_BYTES_MAX;

/// A logged-in session with a BMC.
pub struct Connection {
    socket: UdpSocket,
    address: String,
    user: String,
    epoch: Instant,
    client: Client,
    suite: CipherSuite,
    /// Last word of the network about the address, kept to explain a silence.
    refused: Option<String>,
}

impl Connection {
    /// Logs in to the BMC at `host` (name or address) and `port`.
    pub fn open(host: &str, port: u16, config: ClientConfig) -> Result<Self, Error> {
        let address = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let unreachable = |reason: String| Error::Unreachable { address: address.clone(), reason };
        let mut peers = (host, port).to_socket_addrs().map_err(|e| unreachable(e.to_string()))?;
        let peer = peers.next().ok_or_else(|| unreachable("the name has no address".into()))?;
        let any: SocketAddr =
            if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).map_err(|e| unreachable(e.to_string()))?;
        // Connected: only this peer's datagrams come in, and the network's refusals are seen.
        socket.connect(peer).map_err(|e| unreachable(e.to_string()))?;
        let user = config.user.clone();
        let client = Client::new(config, Box::new(OsEntropy), Duration::ZERO)?;
        let mut connection = Self {
            socket,
            address,
            user,
            epoch: Instant::now(),
            client,
            suite: CipherSuite::Suite3,
            refused: None,
        };
        match connection.next_event()? {
            Event::Ready(suite) => connection.suite = suite,
            _ => return Err(Error::Malformed { command: "log in" }),
        }
        Ok(connection)
    }

    /// The cipher suite that was agreed on.
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// Drives the session until it has something to say.
    fn next_event(&mut self) -> Result<Event, Error> {
        loop {
            while let Some(datagram) = self.client.poll_transmit() {
                if let Err(error) = self.socket.send(&datagram) {
                    // The network may recover; the session's own time limit decides.
                    self.refused = Some(error.to_string());
                }
            }
            match self.client.poll_event() {
                Some(Event::Failed(error)) => return Err(self.explain(error)),
                Some(event) => return Ok(event),
                None => {}
            }
            let Some(due) = self.client.poll_timeout() else { return Err(Error::Closed) };
            let now = self.epoch.elapsed();
            if now >= due {
                self.client.handle_timeout(now);
                continue;
            }
            // Zero would mean "wait for ever".
            let wait = (due - now).max(Duration::from_millis(1));
            let set = self.socket.set_read_timeout(Some(wait));
            set.map_err(|error| self.unreachable(error.to_string()))?;
            let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    self.refused = None;
                    self.client.handle_datagram(self.epoch.elapsed(), &buffer[..length]);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => self.refused = Some(error.to_string()),
                },
            }
        }
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { address: self.address.clone(), reason }
    }

    /// A silence with a refusal of the network in it is not a frozen BMC.
    fn explain(&mut self, error: Error) -> Error {
        match (&error, self.refused.take()) {
            (Error::NoAnswer { .. }, Some(reason)) => self.unreachable(reason),
            _ => error,
        }
    }

    fn command(
        &mut self,
        name: &'static str,
        net_fn: u8,
        command: u8,
        data: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if !self.client.is_idle() {
            return Err(Error::Closed);
        }
        self.client.command(self.epoch.elapsed(), net_fn, command, data);
        match self.next_event()? {
            Event::Answer { code: 0, data } => Ok(data),
            Event::Answer { code: 0xd4, .. } => Err(Error::InsufficientPrivilege {
                user: self.user.clone(),
                what: format!("use {name}"),
            }),
            Event::Answer { code, .. } => Err(Error::Completion { command: name, code }),
            Event::Ready(_) | Event::Failed(_) => Err(Error::Malformed { command: name }),
        }
    }

    /// Asks whether the power is on.
    pub fn chassis_status(&mut self) -> Result<ChassisStatus, Error> {
        const NAME: &str = "Get Chassis Status";
        let data = self.command(NAME, code::NET_FN_CHASSIS, code::GET_CHASSIS_STATUS, &[])?;
        ChassisStatus::parse(&data).ok_or(Error::Malformed { command: NAME })
    }

    /// Switches the power. Success means that the BMC took the command, not that the state has
    /// changed: read it back.
    pub fn chassis_control(&mut self, control: ChassisControl) -> Result<(), Error> {
        let data = [control as u8];
        self.command("Chassis Control", code::NET_FN_CHASSIS, code::CHASSIS_CONTROL, &data)?;
        Ok(())
    }
}

impl Drop for Connection {
    /// Tells the BMC, so that its few sessions do not run out.
    fn drop(&mut self) {
        self.client.close();
        while let Some(datagram) = self.client.poll_transmit() {
            let _ = self.socket.send(&datagram);
        }
    }
}
