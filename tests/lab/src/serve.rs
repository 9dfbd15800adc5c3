//! A server on a host that says the host's name to whoever connects.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use cli_hosts::Hosts;

/// A running server. It listens in the host's network but is a thread of the test: when the host
/// is powered off it is cut off, and a host that is powered on again needs a new one.
pub struct Server {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(hosts: &Hosts, host: &str, port: u16) -> anyhow::Result<Self> {
        // Any address of the host, those to come included.
        let bind = || TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port));
        let listener = hosts.network(host)?.run(bind)?;
        let listener = listener.with_context(|| format!("listen on port {port} of {host}"))?;
        listener.set_nonblocking(true)?;
        let ends = Arc::new(AtomicBool::new(false));
        let (for_thread, name) = (Arc::clone(&ends), host.to_owned());
        let thread = std::thread::Builder::new().name("server".into()).spawn(move || {
            while !for_thread.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        let _ = stream.write_all(name.as_bytes());
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        })?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
