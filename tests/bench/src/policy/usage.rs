//! What a process, or a piece of this one, costs.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::{ClockId, clock_gettime};

/// What a process used from its start to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Processor time, of user and system.
    pub(crate) cpu: Duration,
    /// The most memory that it had, in bytes. Never less than this process had when it started it:
    /// whoever wants to compare stays small until then.
    pub(crate) peak: u64,
    /// Whether it ended with status 0.
    pub(crate) success: bool,
}

/// Runs a program, without its output, and says what it used.
///
/// # Errors
/// If it cannot be run.
pub(crate) fn of(command: &mut Command) -> anyhow::Result<Usage> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().with_context(|| format!("run {command:?}"))?;
    let pid = i32::try_from(child.id()).context("a process id fits")?;
    let mut status = 0;
    // SAFETY: a `rusage` is numbers only, for which zeroes are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the types that the call wants.
    let ended = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
    ensure!(ended == pid, "wait for {command:?}: {}", io::Error::last_os_error());
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    let success = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    Ok(Usage { cpu: time(usage.ru_utime) + time(usage.ru_stime), peak, success })
}

/// Processor time that `work` took, with what it made.
///
/// # Errors
/// If the clock cannot be read.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> anyhow::Result<(Duration, T)> {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let before = now()?;
    let made = work();
    Ok((now()? - before, made))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{of, timed};

    #[test]
    fn processes_and_work_are_measured() {
        let usage =
            of(Command::new("sh").args(["-c", "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done"]));
        assert!(usage.unwrap().peak > 100_000);
        assert!(!of(&mut Command::new("false")).unwrap().success);
        assert!(of(&mut Command::new("/there-is-no-such-program")).is_err());
        let (took, sum) =
            timed(|| (0..1_000_000_u64).map(std::hint::black_box).sum::<u64>()).unwrap();
        assert!(!took.is_zero());
        assert_eq!(sum, 499_999_500_000);
    }
}
