//! Process 1 of a host.
//!
//! It starts the host's command, or hands over to it where that is an init system.
//!
//! It is a fork of the process that makes the hosts, from a thread that already is in the host's
//! namespaces, and never returns. The other threads do not exist in it and may have held any
//! lock at the fork, so it allocates nothing and takes no lock: system calls only, with
//! everything they need prepared before.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::libc;
use nix::unistd::{ForkResult, fork};

use crate::{Context, Error};

/// The command process 1 starts.
pub(crate) struct InitCommand {
    /// Absolute.
    pub(crate) path: CString,
    /// The first is the name the command is started by.
    pub(crate) arguments: Vec<CString>,
    /// `NAME=VALUE` each.
    pub(crate) environment: Vec<CString>,
}

/// Everything process 1 needs, made ready before the fork.
pub(crate) struct InitPlan<'a> {
    pub(crate) command: Option<InitCommand>,
    /// The command takes the place of process 1.
    pub(crate) command_is_init: bool,
    /// Read end of the pipe that ends when the maker ends.
    pub(crate) life: BorrowedFd<'a>,
    /// Write end of the pipe that says one byte when the host is up.
    pub(crate) ready: BorrowedFd<'a>,
    /// Where the command's output goes.
    pub(crate) console: BorrowedFd<'a>,
}

/// What process 1 says through `ready`.
pub(crate) const READY: u8 = b'R';
/// Ready, but `/proc` still is the machine's: mounting one was refused.
pub(crate) const READY_WITHOUT_PROC: u8 = b'P';

/// Makes process 1 out of the calling thread, which must already have left for a new PID
/// namespace for its children. Returns its process number as the caller sees it.
pub(crate) fn start(plan: &InitPlan<'_>) -> Result<i32, Error> {
    let null_terminated = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let command = plan.command.as_ref();
    let arguments = command.map(|c| null_terminated(&c.arguments)).unwrap_or_default();
    let environment = command.map(|c| null_terminated(&c.environment)).unwrap_or_default();
    let raw = RawPlan {
        path: command.map_or(ptr::null(), |c| c.path.as_ptr()),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        command_is_init: plan.command_is_init,
        life: plan.life.as_raw_fd(),
        ready: plan.ready.as_raw_fd(),
        console: plan.console.as_raw_fd(),
    };
    // SAFETY: the child only runs `RawPlan::run`, which makes nothing but system calls.
    match unsafe { fork() }.context(|| "start process 1 of a host".into())? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => raw.run(),
    }
}

/// The plan as pointers and numbers that stay valid in the child.
struct RawPlan {
    path: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    command_is_init: bool,
    life: RawFd,
    ready: RawFd,
    console: RawFd,
}

impl RawPlan {
    fn run(&self) -> ! {
        // SAFETY: system calls on descriptors of our own and on memory prepared before the fork,
        // of which the child has its copy.
        unsafe {
            libc::setsid();
            libc::umask(0o022);
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            libc::dup2(null, 0);
            libc::dup2(self.console, 1);
            libc::dup2(self.console, 2);
            self.close_everything_else();
            libc::chdir(c"/".as_ptr());
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            let proc = c"proc".as_ptr();
            let mounted = libc::mount(proc, c"/proc".as_ptr(), proc, flags, ptr::null()) == 0;

            let mut signals: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut signals);
            libc::sigprocmask(libc::SIG_SETMASK, &signals, ptr::null_mut());
            if self.command_is_init {
                self.hand_over(mounted);
            }
            if !self.path.is_null() && libc::fork() == 0 {
                libc::setsid();
                self.execute();
            }
            libc::sigaddset(&mut signals, libc::SIGCHLD);
            libc::sigprocmask(libc::SIG_SETMASK, &signals, ptr::null_mut());
            let children = libc::signalfd(-1, &signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            self.say_ready(mounted);
            self.live(children)
        }
    }

    unsafe fn say_ready(&self, mounted: bool) {
        let word = if mounted { READY } else { READY_WITHOUT_PROC };
        // SAFETY: a descriptor of our own and a local byte.
        unsafe {
            libc::write(self.ready, (&raw const word).cast(), 1);
            libc::close(self.ready);
        }
    }

    /// Becomes the command.
    unsafe fn execute(&self) -> ! {
        // SAFETY: the lists end with null and were prepared before the fork.
        unsafe {
            libc::execve(self.path, self.arguments, self.environment);
            say(b"host: the command cannot be started\n");
            libc::_exit(127)
        }
    }

    /// Leaves process 1 to the command. A child stays behind to end the host with its maker.
    unsafe fn hand_over(&self, mounted: bool) -> ! {
        // SAFETY: system calls on own descriptors and local memory. `reboot` ends the namespace
        // that it is called in and not the machine, because process 1 is ours.
        unsafe {
            if libc::getpid() != 1 {
                say(b"host: not the first process of its namespace\n");
                libc::_exit(127);
            }
            if libc::fork() == 0 {
                libc::close(self.ready);
                let mut wait = libc::pollfd { fd: self.life, events: libc::POLLIN, revents: 0 };
                while wait.revents == 0 {
                    libc::poll(&raw mut wait, 1, -1);
                }
                libc::reboot(libc::RB_POWER_OFF);
                libc::_exit(0);
            }
            self.say_ready(mounted);
            self.execute()
        }
    }

    /// Closes all descriptors but the three standard ones and the two pipes: above all the
    /// maker's ends of other hosts' pipes.
    unsafe fn close_everything_else(&self) {
        let (low, high) = (self.life.min(self.ready), self.life.max(self.ready));
        for (first, last) in [(3, low - 1), (low + 1, high - 1), (high + 1, i32::MAX)] {
            if first <= last {
                // SAFETY: nothing in this process uses these descriptors any more.
                unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            }
        }
    }

    /// Reaps orphans until the maker is gone; with process 1 the whole namespace ends.
    unsafe fn live(&self, children: RawFd) -> ! {
        // SAFETY: system calls on own descriptors and local memory.
        unsafe {
            let mut wait = [
                libc::pollfd { fd: self.life, events: libc::POLLIN, revents: 0 },
                libc::pollfd { fd: children, events: libc::POLLIN, revents: 0 },
            ];
            loop {
                libc::poll(wait.as_mut_ptr(), 2, -1);
                if wait[0].revents != 0 {
                    libc::_exit(0);
                }
                let mut drained = [0_u8; size_of::<libc::signalfd_siginfo>()];
                while libc::read(children, drained.as_mut_ptr().cast(), drained.len()) > 0 {}
                while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
            }
        }
    }
}

/// Writes to the console.
unsafe fn say(text: &[u8]) {
    // SAFETY: the pointer and length describe `text`.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}
