//! Threads that visit namespaces. A namespace belongs to a thread, so a visit is a thread of its
//! own that does its work and ends; the visitor's own namespaces never change.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

use crate::{Context, Error};

/// Runs `work` on a thread of its own and hands its result back; a panic there goes on here.
pub(crate) fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A network namespace, kept alive by this handle.
#[derive(Debug, Clone)]
pub struct NetworkNamespace(Arc<File>);

impl NetworkNamespace {
    /// That of the calling thread.
    pub(crate) fn current() -> Result<Self, Error> {
        let file = File::open("/proc/thread-self/ns/net");
        Ok(Self(Arc::new(file.context(|| "open the network namespace".into())?)))
    }

    /// That of a process.
    pub(crate) fn of_process(pid: i32) -> Result<Self, Error> {
        let file = File::open(format!("/proc/{pid}/ns/net"));
        Ok(Self(Arc::new(file.context(|| format!("open the network namespace of {pid}"))?)))
    }

    /// A new, empty one.
    pub(crate) fn create() -> Result<Self, Error> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context(|| "make a network namespace".into())?;
            Self::current()
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Moves the calling thread, for good. Only for threads made for the purpose.
    pub fn enter(&self) -> Result<(), Error> {
        setns(self.fd(), CloneFlags::CLONE_NEWNET).context(|| "enter a network namespace".into())
    }

    /// Runs `work` in this namespace. Sockets opened there go on living there after the return.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }
}
