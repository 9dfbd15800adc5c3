//! Frames on the daemon's socket, and a blocking client for tools.
//!
//! A frame is a length (4 bytes, little endian, of what follows), the protocol's version (1 byte),
//! and one postcard-encoded [`Request`] or [`Response`].

use std::io::{self, Read, Write};
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

/// A tool's connection to the local daemon.
pub struct Client {
    stream: UnixStream,
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
            Ok(stream) => Ok(Client { stream }),
            Err(source) => Err(Error::Connect { path: path.display().to_string(), source }),
        }
    }

    /// Gives up on answers that take longer; `None` waits for ever.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        Ok(self.stream.set_read_timeout(timeout)?)
    }

    /// Asks and waits for the answer; a refusal is an error.
    ///
    /// # Errors
    /// If the connection breaks or the daemon says no.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        self.send(request)?;
        self.receive()
    }

    /// Asks without waiting: answers come in the order of the requests. Who asks more than the
    /// daemon reads ahead has to take answers in between.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn send(&mut self, request: &Request) -> Result<(), Error> {
        Ok(self.stream.write_all(&encode(request)?)?)
    }

    /// Waits for the next answer or event.
    ///
    /// # Errors
    /// If the connection breaks or the daemon says no.
    pub fn receive(&mut self) -> Result<Response, Error> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_MAX {
            return Err(Error::Protocol(format!("a frame of {length} bytes")));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        match decode(&body)? {
            Response::Failed { code, reason } => Err(Error::Failed { code, reason }),
            response => Ok(response),
        }
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
}
