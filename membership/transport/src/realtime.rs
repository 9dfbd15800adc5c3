//! Priority and memory of the ring's thread, and the clock that it lives by.

use std::io;

use membership_base::Instant;

/// Above ordinary real-time work such as sound, below the kernel's own threads.
const PRIORITY: i32 = 50;

/// Round-robin real-time scheduling for the calling thread; children do not inherit it.
pub(crate) fn raise_priority() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: `param` lives through the call; 0 is the calling thread.
    let rc = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const param)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the process's pages in memory once they are touched.
pub(crate) fn lock_memory() -> io::Result<()> {
    // SAFETY: takes flags only and touches no memory of ours.
    let rc = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Time since boot, time in suspension included: a suspended machine shall notice.
pub(crate) fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; the clock exists on every Linux that Rust supports.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(rc, 0, "CLOCK_BOOTTIME can be read");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant(seconds * 1_000_000_000 + nanos)
}
