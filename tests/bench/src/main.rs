//! Figures as commands anyone can run: `cargo run --release -p tests-bench -- figures`,
//! `policy`, `tools`.
//!
//! For `figures` everything is measured from outside, on hosts made of namespaces that run the real
//! daemon: what counts is when a client sees the address answer. The steps in between come from the
//! daemon's own events. `policy` is about the policy engine alone, `tools` about the
//! compatible tools and changes of the CIB.

mod figures;
mod installed;
mod memory;
mod policy;
mod report;
mod steps;
mod tools;

use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;

/// Measures Systole on this machine.
#[derive(Parser)]
enum Verb {
    /// Times from fault to recovery, and memory. Needs root and nft (package nftables)
    Figures(figures::Args),
    /// Speed and memory of the policy engine
    Policy(policy::Args),
    /// How quickly tools answer, and changes of the CIB a second. Needs root
    Tools(tools::Args),
}

fn main() -> anyhow::Result<()> {
    let verb = Verb::parse();
    build_systole()?;
    match verb {
        Verb::Figures(args) => figures::run(&args),
        Verb::Policy(args) => policy::run(&args),
        Verb::Tools(args) => tools::run(&args),
    }
}

/// Builds what is measured, the way this program was built, unless `SYSTOLE_BIN` says where it is.
fn build_systole() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO");
    let (None, Some(cargo)) = (std::env::var_os("SYSTOLE_BIN"), cargo) else { return Ok(()) };
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "cli-systole"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let status = build.status().context("cannot run cargo")?;
    ensure!(status.success(), "systole could not be built");
    Ok(())
}
