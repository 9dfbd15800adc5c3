//! Running commands on a host that is on.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

use crate::namespace::on_thread;
use crate::{Context, Error};

/// Output longer than this is cut off.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended; `None` if it was killed because its time was up.
    pub status: Option<ExitStatus>,
    /// Its standard output.
    pub stdout: String,
    /// Its error output.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Its exit code, if it ended by itself.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }
}

/// Starts a command on the host whose process 1 is `init`, as a child of that process 1.
pub(crate) fn spawn(
    init: i32,
    env: &[(OsString, OsString)],
    command: &[&OsStr],
) -> Result<(), Error> {
    let mut go_between = start(init, env, command, Stdio::null, true)?;
    go_between.wait().context(|| "wait for a command to start".into())?;
    Ok(())
}

/// Starts a command in all namespaces of the host whose process 1 is `init`.
///
/// A namespace only ends when its last process was waited for, and a child of ours is waited for
/// by us alone. So a command that goes on unattended must not be one: it is `detached` by a second
/// fork, after which the host's process 1 waits for it.
pub(crate) fn start(
    init: i32,
    env: &[(OsString, OsString)],
    command: &[&OsStr],
    stdio: fn() -> Stdio,
    detached: bool,
) -> Result<Child, Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Config("no command is given".into()));
    };
    on_thread(|| {
        let kinds = [
            ("ipc", CloneFlags::CLONE_NEWIPC),
            ("uts", CloneFlags::CLONE_NEWUTS),
            ("net", CloneFlags::CLONE_NEWNET),
            ("pid", CloneFlags::CLONE_NEWPID),
            // Last, for it changes what /proc/PID means.
            ("mnt", CloneFlags::CLONE_NEWNS),
        ];
        let open = |(kind, flag): (&str, CloneFlags)| {
            let path = format!("/proc/{init}/ns/{kind}");
            Ok((File::open(&path).context(|| format!("open {path}"))?, flag))
        };
        let namespaces = kinds.into_iter().map(open).collect::<Result<Vec<_>, Error>>()?;
        // A mount namespace can only be entered by who shares its root folder with nobody.
        unshare(CloneFlags::CLONE_FS).context(|| "leave the shared root folder".into())?;
        for (file, flag) in &namespaces {
            setns(file.as_fd(), *flag).context(|| "enter the host's namespaces".into())?;
        }
        let mut command = Command::new(program);
        if detached {
            // SAFETY: only makes system calls.
            unsafe { command.pre_exec(detach) };
        }
        command
            .args(arguments)
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .context(|| format!("start {}", program.display()))
    })
}

/// Forks once more and ends the one in between.
fn detach() -> io::Result<()> {
    // SAFETY: between fork and exec, and only makes system calls.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above.
            unsafe { libc::setsid() };
            Ok(())
        }
        // SAFETY: ends this process at once.
        _ => unsafe { libc::_exit(0) },
    }
}

/// Collects a command's output until it ends or its time is up.
pub(crate) fn collect(mut child: Child, timeout: Duration) -> Result<Output, Error> {
    let deadline = Instant::now() + timeout;
    let mut streams = [
        child.stdout.take().map(|pipe| (std::os::fd::OwnedFd::from(pipe), Vec::new())),
        child.stderr.take().map(|pipe| (std::os::fd::OwnedFd::from(pipe), Vec::new())),
    ];
    let mut open = [streams[0].is_some(), streams[1].is_some()];
    let mut status = None;
    // The output ends when the command does, or its children that hold the pipes.
    while status.is_none() || open != [false; 2] {
        status = match status {
            None => child.try_wait().context(|| "wait for a command".into())?,
            known => known,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        // Once the command itself has ended, only what is already there is read.
        let pause = if status.is_some() { 0 } else { left.as_millis().clamp(1, 20) as u16 };
        if !read_some(&mut streams, &mut open, pause)? && status.is_some() {
            break;
        }
    }
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let [stdout, stderr] = streams.map(|stream| {
        let bytes = stream.map(|(_, bytes)| bytes).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Ok(Output { status, stdout, stderr })
}

type Stream = Option<(std::os::fd::OwnedFd, Vec<u8>)>;

/// Waits up to `pause_ms` and reads what is there; whether anything was.
fn read_some(
    streams: &mut [Stream; 2],
    open: &mut [bool; 2],
    pause_ms: u16,
) -> Result<bool, Error> {
    let mut ready = [false; 2];
    {
        let mut which = Vec::new();
        let mut fds = Vec::new();
        for (at, stream) in streams.iter().enumerate() {
            if let (true, Some((fd, _))) = (open[at], stream) {
                which.push(at);
                fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut fds, PollTimeout::from(pause_ms)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Error::system("wait for output", error)),
        }
        for (at, fd) in which.into_iter().zip(&fds) {
            ready[at] = fd.revents().is_some_and(|events| !events.is_empty());
        }
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        let (true, Some((fd, bytes))) = (ready[at], stream) else { continue };
        let mut buffer = [0; 64 * 1024];
        match read_fd(fd.as_raw_fd(), &mut buffer) {
            Ok(0) => open[at] = false,
            Ok(length) => {
                let room = OUTPUT_BYTES_MAX - bytes.len();
                bytes.extend(&buffer[..length.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => open[at] = false,
        }
    }
    Ok(ready != [false; 2])
}

fn read_fd(fd: i32, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `buffer`.
    let length = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

/// All processes of the host whose process 1 is `init`, as the caller sees them.
pub(crate) fn processes(init: i32) -> Vec<i32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(&init.to_string()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let pid = name.parse().ok()?;
            (namespace(&name)? == own).then_some(pid)
        })
        .collect()
}

/// First word of a process's command line.
pub(crate) fn command_line(pid: i32) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(4096).read_to_end(&mut bytes);
    }
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}
