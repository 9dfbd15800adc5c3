//! `cargo xtask`: everything that tests, in one command.
//!
//! - `cargo xtask test`: installs what the tests need, then passes every test;
//! - `cargo xtask quick`: what needs neither root nor packages;
//! - `cargo xtask chaos --minutes N`: random faults on real daemons, until the time is up;
//! - `cargo xtask ratchet`: takes newly passing conformance cases into the lists.

#![forbid(unsafe_code)]

mod conformance;
mod packages;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

/// The profile in which everything is built for tests: quick to build and quick enough to run.
const PROFILE: &str = "ci";
/// Fresh seeds of the simulator on each cluster size.
const SEEDS: &str = "150";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let result = match command.as_str() {
        "test" => test(true),
        "quick" => test(false),
        "ratchet" => ratchet(),
        "chaos" => chaos(),
        _ => {
            eprintln!("usage: cargo xtask test | quick | ratchet | chaos --minutes N");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

fn must(what: &str, command: &mut Command) -> anyhow::Result<()> {
    println!("\n== {what}");
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot run: {what}"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    println!("== {what}: {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Tests that passed and failed, and those that said that they cannot run here.
#[derive(Clone, Copy, Default)]
struct Count {
    passed: u64,
    failed: u64,
    not_run: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_run += other.not_run;
    }
}

/// Runs a command that prints its tests' results, shows its output and counts them.
fn counted(what: &str, command: &mut Command) -> anyhow::Result<Count> {
    println!("\n== {what}");
    let begun = Instant::now();
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot run: {what}"))?;
    let mut reader = Reader::default();
    if let Some(stdout) = child.stdout.take() {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
            let line = line.unwrap_or_default();
            if reader.shows(&line) {
                println!("{line}");
            }
        }
    }
    let status = child.wait()?;
    let mut count = reader.count;
    count.passed = count.passed.saturating_sub(count.not_run);
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    println!("== {what}: {:.0} s, {status}", begun.elapsed().as_secs_f64());
    Ok(count)
}

/// Counts the tests in what a command prints. Of what tests that pass print (`--show-output`) it
/// takes only that they were not run.
#[derive(Default)]
struct Reader {
    count: Count,
    in_successes: bool,
}

impl Reader {
    /// Whether a line is for people to see.
    fn shows(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.in_successes = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.in_successes = false;
        }
        if !self.in_successes {
            self.count.add(results(line));
        } else if line.starts_with("not run: ") {
            self.count.not_run += 1;
        }
        !self.in_successes
    }
}

/// What a closing line says: cargo's `test result: ok. 3 passed; 0 failed; …`, or a plain
/// `3 passed, 0 failed`.
fn results(line: &str) -> Count {
    let number = |word: &str| {
        let words: Vec<&str> = line.split([' ', ',', ';']).filter(|w| !w.is_empty()).collect();
        let at = words.iter().position(|w| *w == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    let plain = line.split(' ').next().is_some_and(|w| w.parse::<u64>().is_ok());
    if !line.starts_with("test result: ") && !plain {
        return Count::default();
    }
    match (number("passed"), number("failed")) {
        (Some(passed), Some(failed)) => Count { passed, failed, not_run: 0 },
        _ => Count::default(),
    }
}

fn test(everything: bool) -> anyhow::Result<()> {
    let suites = conformance::suites(&root(), !everything)?;
    if everything {
        packages::install()?;
    }
    must("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    must(
        "clippy",
        &mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    must("build", &mut cargo(&["build", "--profile", PROFILE, "--workspace", "--locked"]))?;
    let mut total = Count::default();
    let words = ["test", "--profile", PROFILE, "--workspace", "--locked", "--no-fail-fast"];
    let mut unit = cargo(&words);
    unit.args(["--exclude", "tests-lab"]);
    if everything {
        unit.env("SYSTOLE_E2E", "1");
    }
    unit.args(["--", "--show-output"]);
    total.add(counted("unit and golden tests", &mut unit)?);
    let simulator = target().join("tests-sim");
    total.add(counted("simulator", Command::new(simulator).args(["--seeds", SEEDS]))?);
    // The same seeds each time: that a checker finds nothing any more comes of what was changed.
    let mut mutants = cargo(&["run", "--profile", PROFILE, "--locked", "-p", "tests-sim"]);
    mutants.args(["--features", "mutants", "--", "--mutants", "--from", "1"]);
    total.add(counted("broken promises that the simulator has to find", &mut mutants)?);
    for suite in suites {
        total.add(suite.check(&root(), &target())?);
    }
    if everything {
        let mut lab = cargo(&["test", "--profile", PROFILE, "-p", "tests-lab", "--no-fail-fast"]);
        lab.args(["--", "--test-threads=1"]).env("SYSTOLE_E2E", "1");
        lab.env("SYSTOLE_BIN", target().join("systole"));
        total.add(counted("end-to-end tests", &mut lab)?);
    }
    let Count { passed, failed, not_run } = total;
    println!("\n{passed} passed, {failed} failed, {not_run} not run for want of root or packages");
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    Ok(())
}

/// The folder with what was built.
fn target() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(PROFILE)
}

fn ratchet() -> anyhow::Result<()> {
    must("build", &mut cargo(&["build", "--profile", PROFILE, "-p", "cli-systole"]))?;
    let suites = conformance::suites(&root(), false)?;
    suites.iter().try_for_each(|suite| suite.update(&root(), &target()))
}

/// Everything after `chaos` is for the program that does it.
fn chaos() -> anyhow::Result<()> {
    let words =
        ["build", "--profile", PROFILE, "--locked", "-p", "cli-systole", "-p", "tests-chaos"];
    must("build", &mut cargo(&words))?;
    let mut chaos = Command::new(target().join("tests-chaos"));
    chaos.args(std::env::args_os().skip(2)).env("SYSTOLE_BIN", target().join("systole"));
    must("chaos", &mut chaos)
}

#[cfg(test)]
mod tests {
    use super::{Reader, results};

    #[test]
    fn tests_that_say_that_they_were_not_run_are_counted_and_not_shown() {
        let output = "running 2 tests\ntest a ... ok\ntest b ... ok\n\nsuccesses:\n\n\
                      ---- b stdout ----\nnot run: needs root\n9 passed, 9 failed\n\n\
                      successes:\n    a\n    b\n\n\
                      test result: ok. 2 passed; 0 failed; 0 ignored";
        let mut reader = Reader::default();
        let shown: Vec<&str> = output.lines().filter(|line| reader.shows(line)).collect();
        assert_eq!(shown.len(), 5, "{shown:?}");
        let count = reader.count;
        assert_eq!((count.passed, count.failed, count.not_run), (2, 0, 1));
    }

    #[test]
    fn closing_lines_are_counted() {
        for (line, expected) in [
            ("test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured", (12, 3)),
            ("298 passed, 2 failed", (298, 2)),
            ("all 3 passed, none failed", (0, 0)),
            ("", (0, 0)),
        ] {
            let count = results(line);
            assert_eq!((count.passed, count.failed), expected, "{line}");
        }
    }
}
