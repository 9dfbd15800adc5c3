//! Printing to readers that may go away, as `head` does.
//!
//! A reader that went away needs no more, and its leaving ends nothing halfway: what follows is not
//! printed, and the command goes on to its end. What prints without end asks [`reader_is_gone`].

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static GONE: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicBool = AtomicBool::new(false);

/// Writes to the standard output, at once.
pub fn print(text: Arguments<'_>) {
    if reader_is_gone() {
        return;
    }
    let mut out = std::io::stdout().lock();
    let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) else { return };
    GONE.store(true, Ordering::Relaxed);
    if error.kind() != ErrorKind::BrokenPipe {
        FAILED.store(true, Ordering::Relaxed);
        complain(format_args!("systole: the results cannot be written: {error}\n"));
    }
}

/// Writes to the standard error. There is nobody to tell if that fails.
pub fn complain(text: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// Whether nothing more can be written to the standard output.
pub fn reader_is_gone() -> bool {
    GONE.load(Ordering::Relaxed)
}

/// The exit status of a command that has done its part: not 0 if its results could not be written
/// though somebody wants them.
pub fn exit_status(status: i32) -> i32 {
    match FAILED.load(Ordering::Relaxed) && status == 0 {
        true => crm_api::exit::ERROR,
        false => status,
    }
}
