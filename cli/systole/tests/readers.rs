//! Commands whose reader goes away, as `head` does.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

const SYSTOLE: &str = env!("CARGO_BIN_EXE_systole");

/// Standard output or error that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn systole(words: &str) -> Command {
    let mut command = Command::new(SYSTOLE);
    // No daemon listens here.
    command.args(words.split(' ')).stdin(Stdio::null()).env("SYSTOLE_RUN_DIR", "/nonexistent");
    command
}

#[test]
fn a_command_whose_reader_goes_away_ends_quietly() {
    for words in [
        "man",
        "completion bash",
        "--help",
        "--tool-names",
        "crm_resource --help",
        "crm_error --list",
        "crm_resource --list-options=primitive",
        "crm_resource --list-options=primitive --output-as=xml",
    ] {
        let done = systole(words).stdout(closed()).output().unwrap();
        let stderr = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), stderr.as_str()), (Some(0), ""), "{words}");
    }
}

#[test]
fn a_command_whose_errors_nobody_reads_fails_as_it_would_anyway() {
    for words in ["status", "keygen --out /nonexistent/key", "crm_resource --nonsense", "cibadmin"]
    {
        let read = systole(words).output().unwrap();
        let unread = systole(words).stdout(closed()).stderr(closed()).output().unwrap();
        assert!(!read.status.success() && !read.stderr.is_empty(), "{words}");
        assert_eq!(unread.status.code(), read.status.code(), "{words}");
    }
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let done = systole("completion bash").stdout(full()).output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the results cannot be written"), "{stderr}");
}
