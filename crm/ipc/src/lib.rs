//! Frames on the daemon's socket, and a blocking client for tools.
//!
//! A frame is a length (4 bytes, little endian, of what follows), the protocol's version (1 byte),
//! and one postcard-encoded [`Request`] or [`Response`].

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crm_api::{PROTOCOL, Request, Response, exit};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest frame that is taken.
pub const FRAME_MAX: usize = 256 << 20;

/// Where the daemon listens: `systole.sock` in `SYSTOLE_RUN_DIR`, by default in `/run/systole`.
pub fn socket_path() -> PathBuf {
    let dir = std::env::var_os("SYSTOLE_RUN_DIR").unwrap_or_else(|| "/run/systole".into());
    PathBuf::from(dir).join("systole.sock")
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error(
        "cannot reach the cluster daemon at {path}: {source}; start it with \
         'systemctl start systole' (or 'systole daemon')"
    )]
    Connect {
        /// The socket.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the cluster daemon broke: {0}")]
    Broken(#[from] io::Error),
    /// The daemon does not answer.
    #[error(
        "the cluster daemon on this node has not answered within {0} s: it may be waiting for \
         other nodes or a disk, or be overloaded; see 'systole status' and its log. What was \
         asked for may still be done"
    )]
    TimedOut(u64),
    /// What came makes no sense.
    #[error("the cluster daemon speaks another protocol: {0}")]
    Protocol(String),
    /// The daemon says no.
    #[error("{reason}")]
    Failed {
        /// Exit status for the tool.
        code: i32,
        /// Why, in words.
        reason: String,
    },
}

impl Error {
    /// The exit status that a tool ends with.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Connect { .. } | Error::Broken(_) => exit::DISCONNECT,
            Error::TimedOut(_) => exit::TIMEOUT,
            Error::Protocol(_) => 76,
            Error::Failed { code, .. } => *code,
        }
    }
}

/// A message as a frame.
///
/// # Errors
/// If it is larger than [`FRAME_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let bytes = vec![0, 0, 0, 0, PROTOCOL];
    let mut bytes =
        postcard::to_extend(message, bytes).map_err(|e| Error::Protocol(e.to_string()))?;
    let length = bytes.len() - 4;
    if length > FRAME_MAX {
        return Err(Error::Protocol(format!("a message of {length} bytes is too large")));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// A message from what follows a frame's length.
///
/// # Errors
/// If the version is another one, or the bytes are no such message.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    match body.split_first() {
        Some((&PROTOCOL, rest)) => {
            postcard::from_bytes(rest).map_err(|e| Error::Protocol(e.to_string()))
        }
        Some((version, _)) => Err(Error::Protocol(format!("version {version}"))),
        None => Err(Error::Protocol("an empty frame".to_owned())),
    }
}

/// How long the daemon may take for an answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How long the daemon may take to answer this request.
fn time_for(request: &Request) -> Duration {
    match request {
        // Answered once the fence has ended: several devices, each tried more than once.
        Request::Fence { timeout_ms, .. } => {
            ANSWER_TIME + Duration::from_millis(*timeout_ms).saturating_mul(4)
        }
        _ => ANSWER_TIME,
    }
}

/// A tool's connection to the local daemon.
pub struct Client {
    stream: UnixStream,
    /// For the next answer; for ever if there is none.
    patience: Option<Duration>,
}

impl Client {
    /// Connects to the local daemon.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect() -> Result<Client, Error> {
        Client::connect_to(&socket_path())
    }

    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect_to(path: &Path) -> Result<Client, Error> {
        match UnixStream::connect(path) {
            Ok(stream) => Client::over(stream),
            Err(source) => Err(Error::Connect { path: path.display().to_string(), source }),
        }
    }

    fn over(stream: UnixStream) -> Result<Client, Error> {
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        let mut client = Client { stream, patience: None };
        client.wait_for(Some(ANSWER_TIME))?;
        Ok(client)
    }

    fn wait_for(&mut self, patience: Option<Duration>) -> Result<(), Error> {
        if self.patience != patience {
            self.stream.set_read_timeout(patience)?;
            self.patience = patience;
        }
        Ok(())
    }

    /// Asks and waits for the answer; a refusal is an error. After [`Request::Subscribe`],
    /// [`Client::receive`] waits for events without a limit.
    ///
    /// # Errors
    /// If the connection breaks, there is no answer in time, or the daemon says no.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        self.wait_for(Some(time_for(request)))?;
        self.send(request)?;
        let response = self.receive()?;
        if *request == Request::Subscribe {
            self.wait_for(None)?;
        }
        Ok(response)
    }

    /// Asks without waiting: answers come in the order of the requests. Who asks more than the
    /// daemon reads ahead has to take answers in between.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn send(&mut self, request: &Request) -> Result<(), Error> {
        let Err(error) = self.stream.write_all(&encode(request)?) else { return Ok(()) };
        // The daemon hangs up on whom it refuses, and has said why before.
        match self.receive() {
            Err(refusal @ Error::Failed { .. }) => Err(refusal),
            _ => Err(self.broken(error)),
        }
    }

    /// Waits for the next answer or event.
    ///
    /// # Errors
    /// If the connection breaks, nothing comes in time, or the daemon says no.
    pub fn receive(&mut self) -> Result<Response, Error> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| self.broken(error))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_MAX {
            return Err(Error::Protocol(format!("a frame of {length} bytes")));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(|error| self.broken(error))?;
        match decode(&body)? {
            Response::Failed { code, reason } => Err(Error::Failed { code, reason }),
            response => Ok(response),
        }
    }

    fn broken(&self, error: io::Error) -> Error {
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Error::Broken(error);
        }
        // A late answer must not pass for that of the next request.
        let _ = self.stream.shutdown(Shutdown::Both);
        Error::TimedOut(self.patience.unwrap_or(ANSWER_TIME).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_written() {
        let frame = encode(&Request::Info).unwrap();
        assert_eq!(u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        assert_eq!(decode::<Request>(&frame[4..]).unwrap(), Request::Info);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(decode::<Request>(&[]).is_err());
        assert!(decode::<Request>(&[9, 0]).is_err());
        assert!(decode::<Request>(&[PROTOCOL, 255, 255]).is_err());
    }

    fn connected() -> (Client, UnixStream) {
        let (tool, daemon) = UnixStream::pair().unwrap();
        (Client::over(tool).unwrap(), daemon)
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_given_up_on_in_words() {
        let (mut client, _daemon) = connected();
        assert_eq!(client.stream.read_timeout().unwrap(), Some(ANSWER_TIME));
        client.wait_for(Some(Duration::from_millis(1))).unwrap();
        let error = client.receive().unwrap_err();
        assert_eq!(error.exit_code(), exit::TIMEOUT);
        assert!(error.to_string().contains("has not answered within"), "{error}");
        assert!(matches!(client.ask(&Request::Info), Err(Error::Broken(_))), "no answer is late");
    }

    #[test]
    fn a_fence_may_take_as_long_as_its_agents_and_events_as_long_as_they_like() {
        let fence =
            Request::Fence { target: "n".into(), action: "off".into(), timeout_ms: 120_000 };
        assert!(time_for(&fence) > Duration::from_secs(120));
        let (mut client, mut daemon) = connected();
        daemon.write_all(&encode(&Response::Done).unwrap()).unwrap();
        client.ask(&Request::Subscribe).unwrap();
        assert_eq!(client.stream.read_timeout().unwrap(), None);
    }

    #[test]
    fn a_refusal_is_told_to_who_was_hung_up_on_before_asking() {
        let (mut client, mut daemon) = connected();
        let no = Response::Failed { code: exit::INSUFFICIENT_PRIVILEGES, reason: "no".to_owned() };
        daemon.write_all(&encode(&no).unwrap()).unwrap();
        drop(daemon);
        let error = client.ask(&Request::Info).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (4, "no"));
    }
}
