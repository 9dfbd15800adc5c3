//! How fast the policy engine is.
//!
//! Two kinds of figures: of the steps (parsing, model, plan) within this process, and of whole
//! `crm_simulate` processes. All times are processor time, so that a busy machine matters little.
//! If `PATH` has a `crm_simulate` that is not ours, it does the same work in between.

pub(crate) mod shape;
mod usage;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use cib_model::{Model, Time};
use cib_xml::Doc;
use crm_scheduler::PlanFlags;
use serde_json::json;

use crate::installed::other_on_path;
use shape::{Shape, State};
use usage::Usage;

/// The clusters of the main table.
const SHAPES: [Shape; 5] = {
    const fn shape(nodes: usize, resources: usize, state: State, spread: Option<usize>) -> Shape {
        Shape { nodes, resources, state, spread, independent: false }
    }
    [
        shape(3, 30, State::NodeLost, None),
        shape(16, 200, State::NodeLost, None),
        shape(16, 200, State::Cold, None),
        shape(32, 1000, State::NodeLost, None),
        shape(32, 1000, State::NodeLost, Some(8)),
    ]
};
/// Sizes of the growth table.
const GROWTH: [usize; 6] = [100, 200, 400, 800, 1600, 3200];
/// What whole processes are asked to do: plan, and plan and pretend to carry it out.
const MODES: [&str; 2] = ["-R", "-S"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each figure is measured; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Measure the CIBs (*.xml) of this folder instead of generated ones
    #[arg(long, value_name = "FOLDER")]
    cibs: Option<PathBuf>,
    /// Write the generated CIBs into this folder and keep them
    #[arg(long, value_name = "FOLDER", conflicts_with = "cibs")]
    keep: Option<PathBuf>,
    /// Leave the other crm_simulate on PATH alone
    #[arg(long)]
    alone: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// A CIB on disk.
struct Case {
    name: String,
    path: PathBuf,
    bytes: u64,
}

impl Case {
    fn new(name: String, path: PathBuf) -> anyhow::Result<Case> {
        let bytes = path.metadata().with_context(|| format!("{}", path.display()))?.len();
        Ok(Case { name, path, bytes })
    }
}

/// Figures of one CIB.
struct Figures {
    /// Ours, for each of [`MODES`].
    processes: Vec<Usage>,
    /// The other program's, if there is one.
    others: Vec<Usage>,
    parse: Duration,
    validate: Duration,
    model: Duration,
    plan: Duration,
}

/// The programs to run.
struct Programs {
    ours: PathBuf,
    other: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let ours = tests_lab::systole();
    let other = if args.alone { None } else { other_on_path("crm_simulate")? };
    let bench = Bench { programs: Programs { ours, other }, runs: usize::from(args.runs) };
    if let Some(folder) = &args.cibs {
        return bench.folder(folder, args.json);
    }
    let scratch = tempfile::tempdir()?;
    let folder = args.keep.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let growth = GROWTH.map(|resources| Shape {
        nodes: 16,
        resources,
        state: State::NodeLost,
        spread: None,
        independent: true,
    });
    let cases = generate(folder, &SHAPES)?;
    let growing = generate(folder, &growth)?;
    // Processes first: see `Usage::peak`.
    let mut figures = bench.processes(&cases, bench.programs.other.as_deref())?;
    let mut growth = bench.processes(&growing, None)?;
    bench.steps(&cases, &mut figures)?;
    bench.steps(&growing, &mut growth)?;
    if args.json {
        println!(
            "{:#}",
            json!({
                "clusters": to_json(&cases, &figures), "growth": to_json(&growing, &growth),
            })
        );
    } else {
        print_main(&cases, &figures);
        println!("\nGrowth with independent resources on 16 nodes");
        print_growth(&growing, &growth);
    }
    Ok(())
}

fn generate(folder: &Path, shapes: &[Shape]) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for shape in shapes {
        let name = shape.name();
        let path = folder.join(name.replace(", ", " ").replace(' ', "-") + ".xml");
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let mut out = BufWriter::new(file);
        shape.write(&mut out)?;
        out.flush()?;
        cases.push(Case::new(name, path)?);
    }
    Ok(cases)
}

/// No further run of the other program is begun after this much of its processor time.
const OTHER_MAX: Duration = Duration::from_secs(5);

struct Bench {
    programs: Programs,
    runs: usize,
}

impl Bench {
    /// Whole processes, ours and the other program in turns. The other one is slow: it runs as often
    /// as [`OTHER_MAX`] allows.
    fn processes(&self, cases: &[Case], other: Option<&Path>) -> anyhow::Result<Vec<Figures>> {
        let mut all = Vec::new();
        for case in cases {
            let mut figures = Figures {
                processes: Vec::new(),
                others: Vec::new(),
                parse: Duration::ZERO,
                validate: Duration::ZERO,
                model: Duration::ZERO,
                plan: Duration::ZERO,
            };
            for mode in MODES {
                let simulate = |program: &Path| {
                    let mut command = Command::new(program);
                    command.arg0("crm_simulate").args([mode, "-x"]).arg(&case.path);
                    usage::of(&mut command)
                };
                let (mut ours, mut theirs, mut spent) = (Vec::new(), Vec::new(), Duration::ZERO);
                for _ in 0..self.runs {
                    ours.push(simulate(&self.programs.ours)?);
                    if let Some(other) = other.filter(|_| spent < OTHER_MAX) {
                        let usage = simulate(other)?;
                        spent += usage.cpu;
                        theirs.push(usage);
                    }
                }
                figures.processes.push(typical(&ours));
                figures.others.extend(other.map(|_| typical(&theirs)));
            }
            all.push(figures);
        }
        Ok(all)
    }

    /// The steps, within this process.
    fn steps(&self, cases: &[Case], figures: &mut [Figures]) -> anyhow::Result<()> {
        for (case, figures) in cases.iter().zip(figures) {
            let text = std::fs::read_to_string(&case.path)?;
            let mut took: [Vec<Duration>; 4] = Default::default();
            for _ in 0..self.runs {
                let (parse, doc) = usage::timed(|| Doc::parse(&text))?;
                let doc = doc.with_context(|| format!("{}", case.path.display()))?;
                let (validate, _) = usage::timed(|| cib_schema::validate(&doc))?;
                let (now, doc) = (time_of(&doc), Arc::new(doc));
                let (model, read) = usage::timed(|| Arc::new(Model::from_doc(&doc, now)))?;
                let flags = PlanFlags::default();
                let (plan, _made) =
                    usage::timed(|| crm_scheduler::schedule_model(read, now, flags, 1))?;
                for (list, value) in took.iter_mut().zip([parse, validate, model, plan]) {
                    list.push(value);
                }
            }
            let [parse, validate, model, plan] = took.map(|list| median(list.into_iter()));
            (figures.parse, figures.validate) = (parse, validate);
            (figures.model, figures.plan) = (model, plan);
        }
        Ok(())
    }

    /// All CIBs of a folder together, and the slowest of them.
    fn folder(&self, folder: &Path, json: bool) -> anyhow::Result<()> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .with_context(|| format!("read {}", folder.display()))?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "xml"))
            .collect();
        paths.sort();
        ensure!(!paths.is_empty(), "there is no *.xml in {}", folder.display());
        let mut cases = Vec::new();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            cases.push(Case::new(name, path)?);
        }
        let mut figures = self.processes(&cases, self.programs.other.as_deref())?;
        self.steps(&cases, &mut figures)?;
        if json {
            println!("{:#}", json!({ "cases": to_json(&cases, &figures) }));
            return Ok(());
        }
        let count = cases.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|at| std::cmp::Reverse(figures[*at].model + figures[*at].plan));
        let slowest = order.into_iter().take(10);
        let total = Case {
            name: format!("all {count}"),
            path: folder.to_owned(),
            bytes: cases.iter().map(|c| c.bytes).sum(),
        };
        let sum = sum(&figures);
        let mut rows: Vec<(&Case, &Figures)> = vec![(&total, &sum)];
        rows.extend(slowest.map(|at| (&cases[at], &figures[at])));
        print_rows(&rows);
        Ok(())
    }
}

/// The time to plan for: the one that the CIB was written at.
fn time_of(doc: &Doc) -> Time {
    let written = doc.root().attr("execution-date").and_then(cib_model::scan_int);
    Time::from_epoch(written.unwrap_or(1_700_000_000))
}

/// What several runs of one program come to.
fn typical(runs: &[Usage]) -> Usage {
    Usage {
        cpu: median(runs.iter().map(|u| u.cpu)),
        peak: runs.iter().map(|u| u.peak).max().unwrap_or_default(),
        success: runs.iter().all(|u| u.success),
    }
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Times added up; the largest of memories.
fn sum(figures: &[Figures]) -> Figures {
    let usage = |pick: fn(&Figures) -> &[Usage]| {
        (0..MODES.len())
            .filter(|_| figures.iter().all(|f| !pick(f).is_empty()))
            .map(|mode| Usage {
                cpu: figures.iter().map(|f| pick(f)[mode].cpu).sum(),
                peak: figures.iter().map(|f| pick(f)[mode].peak).max().unwrap_or_default(),
                success: figures.iter().all(|f| pick(f)[mode].success),
            })
            .collect()
    };
    Figures {
        processes: usage(|f| &f.processes),
        others: usage(|f| &f.others),
        parse: figures.iter().map(|f| f.parse).sum(),
        validate: figures.iter().map(|f| f.validate).sum(),
        model: figures.iter().map(|f| f.model).sum(),
        plan: figures.iter().map(|f| f.plan).sum(),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Megabytes (of 10⁶ bytes) a second.
fn speed(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9)
}

fn print_main(cases: &[Case], figures: &[Figures]) {
    print_rows(&cases.iter().zip(figures).collect::<Vec<_>>());
}

fn print_rows(rows: &[(&Case, &Figures)]) {
    let width = rows.iter().map(|(case, _)| case.name.len()).max().unwrap_or_default();
    println!(
        "{:width$}  {:>7}  {:>5}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>11}  {:>8}",
        "",
        "CIB",
        "parse",
        "validate",
        "model",
        "plan",
        "-R",
        "-S",
        "peak",
        "peak / CIB",
        "-R / -S"
    );
    println!(
        "{:width$}  {:>7}  {:>5}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>11}  {:>8}",
        "", "MB", "MB/s", "ms", "ms", "ms", "cpu ms", "cpu ms", "MB", "-R / -S", "other is"
    );
    for (case, f) in rows {
        let [plan, simulate] = [&f.processes[0], &f.processes[1]];
        let times = |usage: &Usage| usage.peak as f64 / case.bytes as f64;
        let other: Vec<String> = f
            .others
            .iter()
            .zip(&f.processes)
            .map(|(other, ours)| {
                let ratio = other.cpu.as_secs_f64() / ours.cpu.as_secs_f64().max(1e-9);
                let mark = if other.success && ours.success { "" } else { "!" };
                format!("{ratio:.0}x{mark}")
            })
            .collect();
        println!(
            "{:width$}  {:7.2}  {:5.0}  {:8.1}  {:8.1}  {:8.1}  {:8.0}  {:8.0}  {:8.0}  {:>11}  \
             {:>8}",
            case.name,
            case.bytes as f64 / 1e6,
            speed(case.bytes, f.parse),
            ms(f.validate),
            ms(f.model),
            ms(f.plan),
            ms(plan.cpu),
            ms(simulate.cpu),
            simulate.peak.max(plan.peak) as f64 / 1e6,
            format!("{:.1} / {:.1}", times(plan), times(simulate)),
            if other.is_empty() { "-".to_owned() } else { other.join(" / ") },
        );
    }
    let ended_well = |list: &[Usage]| list.iter().all(|usage| usage.success);
    if !rows.iter().all(|(_, f)| ended_well(&f.processes) && ended_well(&f.others)) {
        println!("not every process ended with status 0 (!: one of the two compared)");
    }
}

fn print_growth(cases: &[Case], figures: &[Figures]) {
    println!(
        "{:>9}  {:>7}  {:>8}  {:>8}  {:>13}  {:>9}",
        "resources", "CIB MB", "model ms", "plan ms", "us / resource", "-R cpu ms"
    );
    for ((case, f), resources) in cases.iter().zip(figures).zip(GROWTH) {
        println!(
            "{resources:>9}  {:7.2}  {:8.1}  {:8.1}  {:13.1}  {:9.0}",
            case.bytes as f64 / 1e6,
            ms(f.model),
            ms(f.plan),
            ms(f.model + f.plan) * 1e3 / resources as f64,
            ms(f.processes[0].cpu),
        );
    }
}

fn to_json(cases: &[Case], figures: &[Figures]) -> serde_json::Value {
    let usage = |list: &[Usage]| {
        let one = |(mode, u): (&&str, &Usage)| {
            json!({
                "mode": mode,
                "cpu_ms": ms(u.cpu),
                "peak_bytes": u.peak,
                "success": u.success,
            })
        };
        MODES.iter().zip(list).map(one).collect::<Vec<_>>()
    };
    cases
        .iter()
        .zip(figures)
        .map(|(case, f)| {
            json!({
                "name": case.name,
                "bytes": case.bytes,
                "parse_ms": ms(f.parse),
                "validate_ms": ms(f.validate),
                "model_ms": ms(f.model),
                "plan_ms": ms(f.plan),
                "processes": usage(&f.processes),
                "other": usage(&f.others),
            })
        })
        .collect()
}
