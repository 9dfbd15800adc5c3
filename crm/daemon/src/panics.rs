//! What a panic does: one in the policy engine costs a plan, every other one ends the daemon.
//!
//! The policy engine is a pure function, so nothing is left half done when it panics; and the next
//! DC would panic over the same input. Anything else may have been in the middle of a change, which
//! is as bad as a crash and treated like one.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has every panic that is not contained end the process, on whatever thread it is.
pub(crate) fn abort_unless_contained() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if !CONTAINED.get() {
            std::process::abort();
        }
        LAST.replace(in_words(info));
    }));
}

/// Does `work`, which must not touch anything that outlives it.
///
/// # Errors
/// Where it panicked and why.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    CONTAINED.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(false);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        // With its place, if the hook is there.
        Some(LAST.take()).filter(|last| !last.is_empty()).or(text).unwrap_or_default()
    })
}

fn in_words(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line()));
    let reason = info.payload_as_str().unwrap_or("no reason given");
    format!("{reason}{}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// What the test's other half, a process of its own, gets told that it is that.
    const INSIDE: &str = "SYSTOLE_TEST_PANICS";

    #[test]
    fn a_contained_panic_is_told_and_every_other_one_ends_the_process() {
        if std::env::var_os(INSIDE).is_some() {
            abort_unless_contained();
            eprintln!("contained: {:?}", contain(|| panic!("a bug")));
            let thread = std::thread::spawn(|| panic!("another bug"));
            let _ = thread.join();
            eprintln!("still here");
            return;
        }
        let name = "panics::tests::a_contained_panic_is_told_and_every_other_one_ends_the_process";
        let mut inside = Command::new(std::env::current_exe().unwrap());
        inside.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
        let output = inside.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "{stderr}");
        assert!(stderr.contains("contained: Err(\"a bug at crm/daemon/src/panics.rs:"), "{stderr}");
        assert!(!stderr.contains("still here"), "{stderr}");
    }
}
