//! `cargo xtask chaos`: rounds of random faults on real daemons.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use tests_chaos::{Report, Script, keep_folder, run, shrink};

const USAGE: &str = "usage: cargo xtask chaos (--minutes N | --rounds N) [--hosts 2|3|5] \
                     [--seed S] [--replay FILE] [--tries N] [--keep FOLDER] [--keep-all]";
/// Attempts to find a shorter list of faults that still fails.
const TRIES: usize = 8;

struct Options {
    minutes: Option<u64>,
    rounds: Option<u64>,
    hosts: Vec<usize>,
    seed: u64,
    replay: Option<PathBuf>,
    tries: usize,
    keep: PathBuf,
    keep_all: bool,
}

fn options(mut args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let mut options = Options {
        minutes: None,
        rounds: None,
        hosts: vec![3, 2, 5],
        seed: fresh * 1000,
        replay: None,
        tries: TRIES,
        keep: "target/chaos".into(),
        keep_all: false,
    };
    while let Some(arg) = args.next() {
        if arg == "--keep-all" {
            options.keep_all = true;
            continue;
        }
        let value = args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"))?;
        let number = || value.parse::<u64>().with_context(|| format!("{arg} {value}\n{USAGE}"));
        match arg.as_str() {
            "--minutes" => options.minutes = Some(number()?),
            "--rounds" => options.rounds = Some(number()?),
            "--hosts" => {
                let hosts = number()?;
                ensure!((2..=9).contains(&hosts), "{hosts} hosts are not between 2 and 9");
                options.hosts = vec![hosts as usize];
            }
            "--seed" => options.seed = number()?,
            "--replay" => options.replay = Some(value.into()),
            "--tries" => options.tries = number()? as usize,
            "--keep" => options.keep = value.into(),
            _ => bail!("{arg} is not an option\n{USAGE}"),
        }
    }
    if options.replay.is_some() && options.minutes.is_none() {
        options.rounds.get_or_insert(1);
    }
    if options.rounds == Some(0) {
        options.hosts.iter().for_each(|hosts| print!("{}", Script::draw(*hosts, options.seed)));
    }
    ensure!(options.minutes.is_some() || options.rounds.is_some(), "{USAGE}");
    Ok(options)
}

/// Sums over all rounds.
#[derive(Default)]
struct Total {
    rounds: u64,
    failed: u64,
    faults: usize,
    fences: usize,
    acknowledged: usize,
    longest: Duration,
}

impl Total {
    fn add(&mut self, script: &Script, report: &Report) {
        self.rounds += 1;
        self.failed += u64::from(!report.violations.is_empty());
        self.faults += script.faults.len();
        self.fences += report.fences;
        self.acknowledged += report.acknowledged;
        self.longest = self.longest.max(report.settled);
    }
}

fn tell(round: u64, seed: u64, script: &Script, report: &Report) {
    let verdict = report.violations.first().map_or("passed", String::as_str);
    println!(
        "round {round}: seed {seed}, {} hosts, {} faults, {} fences, {} changes, runs again after \
         {:.1} s and {} starts by hand (longest pause of the machine {:.1} s): {verdict}",
        script.hosts,
        script.faults.len(),
        report.fences,
        report.acknowledged,
        report.settled.as_secs_f64(),
        report.started,
        report.stall.as_secs_f64(),
    );
}

/// Looks for a shorter list that still violates something, and leaves it in the round's folder.
fn shorten(script: &Script, tries: usize, folder: &Path) -> anyhow::Result<()> {
    let scratch = folder.join("shorter");
    let shorter =
        shrink(&script.faults, tries, |faults| match run(&script.with(faults), &scratch, false) {
            Ok(report) => !report.violations.is_empty(),
            Err(error) => {
                eprintln!("a shorter list could not be tried: {error:#}");
                false
            }
        });
    let path = folder.join("shortest");
    std::fs::write(&path, script.with(&shorter).to_string())?;
    println!(
        "  shortest list that failed: {} of {} faults, cargo xtask chaos --replay {}",
        shorter.len(),
        script.faults.len(),
        path.display()
    );
    Ok(())
}

fn chaos(options: &Options) -> anyhow::Result<bool> {
    let replay = match &options.replay {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let script = text.parse::<Script>().map_err(anyhow::Error::msg);
            Some(script.with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    let begun = Instant::now();
    let time = options.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let mut total = Total::default();
    for round in 1.. {
        let over = time.is_some_and(|time| begun.elapsed() >= time);
        if over || options.rounds.is_some_and(|rounds| round > rounds) {
            break;
        }
        let seed = options.seed + round - 1;
        let hosts = options.hosts[(seed % options.hosts.len() as u64) as usize];
        let script = replay.clone().unwrap_or_else(|| Script::draw(hosts, seed));
        let folder = keep_folder(&options.keep, script.hosts, seed);
        let report = run(&script, &folder, options.keep_all)
            .with_context(|| format!("round {round}, seed {seed}"))?;
        tell(round, seed, &script, &report);
        total.add(&script, &report);
        if !report.violations.is_empty() {
            println!("  logs, CIBs and all violations: {}", folder.display());
            shorten(&script, options.tries, &folder)?;
        }
    }
    println!(
        "{} rounds, {} faults, {} fences, {} acknowledged changes, everything ran again after at \
         most {:.1} s",
        total.rounds,
        total.faults,
        total.fences,
        total.acknowledged,
        total.longest.as_secs_f64()
    );
    println!("{} passed, {} failed", total.rounds - total.failed, total.failed);
    Ok(total.failed == 0)
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| chaos(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(64)
        }
    }
}
