//! Runs seeds of the simulator: `tests-sim [--nodes N,…] [--seeds COUNT] [--from SEED]
//! [--chaos SECONDS] [--trace]`. Without `--from` the seeds are fresh; they are printed, and a
//! failing one with the command that replays it.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::panic::{UnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tests_sim::{Report, Scenario, run};

struct Options {
    nodes: Vec<u32>,
    seeds: u64,
    from: u64,
    chaos_ms: u64,
    trace: bool,
}

fn options() -> Result<Options, String> {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs() * 1000);
    let mut out =
        Options { nodes: vec![2, 3, 5], seeds: 150, from: fresh, chaos_ms: 40_000, trace: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--trace" {
            out.trace = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{arg}: no number"));
        match arg.as_str() {
            "--nodes" => {
                out.nodes = value
                    .split(',')
                    .map(|n| n.parse().map_err(|_| format!("{arg}: no number")))
                    .collect::<Result<_, _>>()?;
            }
            "--seeds" => out.seeds = number(&value)?,
            "--from" => out.from = number(&value)?,
            "--chaos" => out.chaos_ms = number(&value)? * 1000,
            _ => return Err(format!("{arg} is no option")),
        }
    }
    Ok(out)
}

thread_local! {
    /// Text and place of this thread's last panic.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic says, for the report of the run that it ends.
fn keep_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANIC.set(info.to_string());
        default(info);
    }));
}

/// A run whose panic is a violation like any other: the other runs go on.
fn contained(run: impl FnOnce() -> Report + UnwindSafe) -> Report {
    catch_unwind(run).unwrap_or_else(|_| Report {
        violation: Some(PANIC.take()),
        digest: 0,
        counts: Default::default(),
    })
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("tests-sim: {error}");
            return ExitCode::from(64);
        }
    };
    keep_panics();
    let jobs: Vec<(u32, u64)> = options
        .nodes
        .iter()
        .flat_map(|n| (0..options.seeds).map(|s| (*n, options.from + s)))
        .collect();
    let last = options.from + options.seeds.saturating_sub(1);
    println!("seeds {} to {last}, nodes {:?}", options.from, options.nodes);
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let totals: [AtomicU64; 5] = Default::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let ix = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some((nodes, seed)) = jobs.get(ix).copied() else { break };
                    let (chaos_ms, trace) = (options.chaos_ms, options.trace);
                    let report = contained(|| run(&Scenario { nodes, seed, chaos_ms, trace }));
                    for (total, count) in totals.iter().zip(report.counts) {
                        total.fetch_add(count, Ordering::Relaxed);
                    }
                    if let Some(violation) = report.violation {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!(
                            "seed {seed} on {nodes} nodes: {violation}\n  replay: cargo run \
                             --release -p tests-sim -- --nodes {nodes} --from {seed} --seeds 1 \
                             --chaos {} --trace",
                            chaos_ms / 1000
                        );
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    let [packets, agents, fences, writes, faults] = totals.map(AtomicU64::into_inner);
    println!(
        "{packets} datagrams, {agents} agent runs, {fences} fences, {writes} acknowledged \
         changes, {faults} faults"
    );
    println!("{} passed, {failed} failed", jobs.len() as u64 - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_violation_with_its_text_and_place() {
        keep_panics();
        let report = contained(|| panic!("an invariant of the ring is broken"));
        let violation = report.violation.unwrap_or_default();
        assert!(violation.contains("an invariant of the ring is broken"), "{violation}");
        assert!(violation.contains(file!()), "{violation}");
    }
}
