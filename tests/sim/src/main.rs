//! Runs seeds of the simulator: `tests-sim [--nodes N,…] [--seeds COUNT] [--from SEED]
//! [--chaos SECONDS] [--script NAME] [--trace]`. Without `--from` the seeds are fresh; they are printed, and a
//! failing one with the command that replays it.
//!
//! `--mutant NAME` breaks a promise on purpose and runs until a checker finds it, for 300 runs at
//! most; `--mutants` does so with each promise in turn. Both need the feature `mutants`.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::panic::{UnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use membership_base::mutant::{self, Mutant};
use tests_sim::{Report, SCRIPTS, Scenario, Script, run};

/// Within so many runs a broken promise has to be found.
const MUTANT_RUNS: u64 = 300;

/// What follows at once from a step is nested in it, deeper than a thread's usual stack.
const STACK: usize = 64 << 20;

struct Options {
    nodes: Vec<u32>,
    seeds: u64,
    from: u64,
    chaos_ms: u64,
    trace: bool,
    mutants: Vec<Mutant>,
    script: Option<Script>,
}

fn options() -> Result<Options, String> {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs() * 1000);
    let mut out = Options {
        nodes: vec![2, 3, 5],
        seeds: 150,
        from: fresh,
        chaos_ms: 40_000,
        trace: false,
        mutants: Vec::new(),
        script: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--trace" => {
                out.trace = true;
                continue;
            }
            "--mutants" => {
                out.mutants = Mutant::ALL.to_vec();
                continue;
            }
            _ => {}
        }
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("{arg}: not a number: {text}"));
        match arg.as_str() {
            "--nodes" => {
                out.nodes = value
                    .split(',')
                    .map(|n| n.parse().map_err(|_| format!("{arg}: not a number: {n}")))
                    .collect::<Result<_, _>>()?;
            }
            "--seeds" => out.seeds = number(&value)?,
            "--from" => out.from = number(&value)?,
            "--chaos" => out.chaos_ms = number(&value)? * 1000,
            "--script" => {
                let found = SCRIPTS.iter().find(|(name, _)| *name == value);
                let (_, script) = found.ok_or_else(|| format!("unknown script: {value}"))?;
                out.script = Some(*script);
            }
            "--mutant" => out.mutants.push(named(&value)?),
            _ => return Err(format!("unknown option: {arg}")),
        }
    }
    if !out.mutants.is_empty() && !mutant::BUILT_IN {
        return Err("this build cannot break promises: build it with --features mutants".into());
    }
    Ok(out)
}

fn named(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
    let names: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    found.copied().ok_or_else(|| format!("unknown mutant: {name} (known: {})", names.join(", ")))
}

thread_local! {
    /// Text and place of this thread's last panic.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic says, for the report of the run that it ends.
fn keep_panics() {
    std::panic::set_hook(Box::new(move |info| PANIC.set(info.to_string())));
}

/// A run whose panic is a violation like any other: the other runs go on.
fn contained(run: impl FnOnce() -> Report + UnwindSafe) -> Report {
    catch_unwind(run).unwrap_or_else(|_| Report {
        violation: Some(PANIC.take()),
        digest: 0,
        counts: Default::default(),
    })
}

/// A run with a promise broken, or none.
fn run_with(mutant: Option<Mutant>, job: &Job) -> Report {
    #[cfg(feature = "mutants")]
    mutant::set(mutant);
    let _ = mutant;
    contained(|| job.script.unwrap_or(run)(&job.scenario))
}

/// Does these runs on all processors until `done` says so of a report.
fn on_all_processors(jobs: &[Job], each: impl Fn(usize, &Job) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while stop.load(Ordering::Relaxed) == 0 {
            let ix = next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(job) = jobs.get(ix) else { break };
            if each(ix, job) {
                stop.store(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let thread = std::thread::Builder::new().stack_size(STACK);
            if let Err(error) = thread.spawn_scoped(scope, work) {
                eprintln!("tests-sim: cannot start a thread: {error}");
            }
        }
    });
}

/// A run of a seed.
struct Job {
    scenario: Scenario,
    script: Option<Script>,
}

/// What a broken promise is looked for with: random runs, and for each seed one that lays down what
/// happens.
fn hunts(options: &Options) -> Vec<Job> {
    let each = MUTANT_RUNS.div_ceil(options.nodes.len() as u64 + 1);
    let mut jobs = Vec::new();
    for seed in options.from..options.from + each {
        let &Options { chaos_ms, trace, .. } = options;
        let of = |nodes| Scenario { nodes, seed, chaos_ms, trace };
        jobs.extend(options.nodes.iter().map(|nodes| Job { scenario: of(*nodes), script: None }));
        let (_, script) = SCRIPTS[(seed % SCRIPTS.len() as u64) as usize];
        jobs.push(Job { scenario: of(5), script: Some(script) });
    }
    jobs
}

fn scenarios(options: &Options) -> Vec<Job> {
    let &Options { from, seeds, chaos_ms, trace, script, .. } = options;
    let of = |seed, nodes| Scenario { nodes, seed, chaos_ms, trace };
    let nodes = options.nodes.iter();
    let of_size = |nodes: &u32| (from..from + seeds).map(|seed| of(seed, *nodes)).collect();
    let all = nodes.flat_map::<Vec<Scenario>, _>(of_size);
    all.map(|scenario| Job { scenario, script }).collect()
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
    let good = if options.mutants.is_empty() { seeds(&options) } else { mutants(&options) };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all seeds; whether none of them has failed.
fn seeds(options: &Options) -> bool {
    let jobs = scenarios(options);
    let last = options.from + options.seeds.saturating_sub(1);
    println!("seeds {} to {last}, nodes {:?}", options.from, options.nodes);
    let (ran, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let totals: [AtomicU64; 5] = Default::default();
    on_all_processors(&jobs, |_, job| {
        let report = run_with(None, job);
        ran.fetch_add(1, Ordering::Relaxed);
        for (total, count) in totals.iter().zip(report.counts) {
            total.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(violation) = report.violation {
            failed.fetch_add(1, Ordering::Relaxed);
            let Scenario { nodes, seed, chaos_ms, .. } = job.scenario;
            println!(
                "seed {seed} on {nodes} nodes: {violation}\n  replay: cargo run --release -p \
                 tests-sim -- --nodes {nodes} --from {seed} --seeds 1 --chaos {} --trace",
                chaos_ms / 1000
            );
        }
        false
    });
    let failed = failed.load(Ordering::Relaxed);
    let [packets, agents, fences, writes, faults] = totals.map(AtomicU64::into_inner);
    println!(
        "{packets} datagrams, {agents} agent runs, {fences} fences, {writes} acknowledged \
         changes, {faults} faults"
    );
    let passed = ran.load(Ordering::Relaxed).saturating_sub(failed);
    println!("{passed} passed, {failed} failed");
    failed == 0 && passed == jobs.len() as u64
}

/// Breaks each promise in turn; whether a checker has found all of them.
fn mutants(options: &Options) -> bool {
    let jobs = if options.script.is_some() { scenarios(options) } else { hunts(options) };
    println!("seeds from {}, nodes {:?}", options.from, options.nodes);
    let mut survived = 0;
    for mutant in &options.mutants {
        let name = mutant.name();
        match hunt(*mutant, &jobs) {
            Some(Found { ix, violation }) => {
                let Scenario { nodes, seed, .. } = &jobs[ix].scenario;
                let run = ix + 1;
                println!("{name:28} run {run:3}, seed {seed} on {nodes} nodes: {violation}");
            }
            None => {
                survived += 1;
                println!("{name:28} SURVIVED {} runs", jobs.len());
            }
        }
    }
    println!("{} passed, {survived} failed", options.mutants.len() - survived);
    survived == 0
}

struct Found {
    /// Index of the run.
    ix: usize,
    violation: String,
}

/// The first run that finds a broken promise. A run that fails without it as well says nothing.
fn hunt(mutant: Mutant, jobs: &[Job]) -> Option<Found> {
    let first: Mutex<Option<Found>> = Mutex::new(None);
    on_all_processors(jobs, |ix, job| {
        let Some(violation) = run_with(Some(mutant), job).violation else { return false };
        if run_with(None, job).violation.is_some() {
            return false;
        }
        let mut first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if first.as_ref().is_none_or(|known| ix < known.ix) {
            *first = Some(Found { ix, violation });
        }
        true
    });
    first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
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
