//! Reaching the runtime through its Docker-compatible REST socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Runtime, State};
use crate::ocf::Failure;

/// An answer longer than this is not one we asked for.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long an answer may take, above what the request itself takes.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// The runtime's socket.
pub(super) struct Socket {
    path: String,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Socket {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned() }
    }

    fn call(&self, method: &str, target: &str, wait: Duration) -> Result<Answer, Failure> {
        self.exchange(method, target, wait).map_err(|error| {
            Failure::generic(format!("{method} {target} through {} failed: {error}", self.path))
        })
    }

    fn exchange(&self, method: &str, target: &str, wait: Duration) -> std::io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(wait + ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        // HTTP/1.0: the answer ends with the connection and is never sent in chunks.
        write!(
            stream,
            "{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
        parse(&bytes).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
    }

    /// A call that changes something: 2xx and "not modified" are success, "not found" too where
    /// being gone is the aim.
    fn change(
        &self,
        method: &str,
        target: &str,
        wait: Duration,
        gone_is_fine: bool,
    ) -> Result<(), Failure> {
        let answer = self.call(method, target, wait)?;
        match answer.status {
            200..=299 | 304 => Ok(()),
            404 if gone_is_fine => Ok(()),
            status => {
                let json: serde_json::Value =
                    serde_json::from_slice(&answer.body).unwrap_or_default();
                let message = json["message"].as_str().unwrap_or("no message");
                Err(Failure::generic(format!("{method} {target}: {status}: {message}")))
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: bytes[end + 4..].to_vec() })
}

impl Runtime for Socket {
    fn state(&self, name: &str) -> Result<State, Failure> {
        let answer = self.call("GET", &format!("/containers/{name}/json"), Duration::ZERO)?;
        if answer.status == 404 {
            return Ok(State::Absent);
        }
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let state = &json["State"];
        let (200, Some(running)) = (answer.status, state["Running"].as_bool()) else {
            let reason =
                format!("The runtime does not tell the state of {name}: {}", answer.status);
            return Err(Failure::generic(reason));
        };
        Ok(if running {
            State::Running
        } else {
            State::Ended {
                status: state["Status"].as_str().unwrap_or("unknown").to_owned(),
                exit_code: state["ExitCode"].as_i64().unwrap_or(0),
            }
        })
    }

    fn stop(&self, name: &str, patience: Duration) -> Result<(), Failure> {
        let target = format!("/containers/{name}/stop?t={}", patience.as_secs());
        self.change("POST", &target, patience, true)
    }

    fn kill(&self, name: &str) -> Result<(), Failure> {
        self.change("POST", &format!("/containers/{name}/kill"), Duration::ZERO, true)
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        self.change("DELETE", &format!("/containers/{name}?force=true"), Duration::ZERO, true)
    }

    fn resume(&self, name: &str) -> Result<(), Failure> {
        self.change("POST", &format!("/containers/{name}/start"), Duration::ZERO, false)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answers() {
        let answer = parse(b"HTTP/1.0 404 Not Found\r\nA: b\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (404, b"{}".as_slice()));
        assert!(parse(b"HTTP/1.0 200 OK\r\nA: b\r\n").is_none());
        assert!(parse(b"hello\r\n\r\n").is_none());
    }
}
