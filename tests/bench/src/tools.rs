//! How quickly tools answer, and how many changes of the CIB a cluster takes.
//!
//! Three hosts made of namespaces run the real daemon; the tools and the client of the changes run
//! beside them and reach the first one's socket. A change is one of the configuration: answered
//! when the disks of a majority have it. If `PATH` has tools that are not ours, both do the same
//! with a CIB in a file, which needs no cluster of theirs.

use std::collections::VecDeque;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cib_model::{Model, Time};
use cib_store::{Operation, Target};
use cib_xml::Doc;
use crm_api::Request;
use crm_ipc::Client;
use serde_json::{Value, json};
use tests_lab::{Bmc, Cluster, Lab};

use crate::installed;
use crate::policy::shape::{Shape, State};
use crate::steps::{client_of, run_dir_of};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each tool is run
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// How many changes are made for each figure
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    changes: u32,
    /// Sizes of the CIBs that are changed, in kB
    #[arg(long, default_values_t = [10, 1000], value_delimiter = ',')]
    sizes: Vec<usize>,
    /// Changes that the client leaves unanswered at a time; with one it waits for each
    #[arg(long, default_values_t = [1, 20], value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..))]
    under_way: Vec<u16>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// How long each of many things took.
struct Times {
    name: String,
    /// In order of their length.
    sorted: Vec<Duration>,
    /// All of them together, from the first's begin to the last's end.
    total: Duration,
    /// The median of the other program's, if there is one.
    other: Option<Duration>,
    /// Processor time of all daemons meanwhile.
    cpu: Duration,
}

impl Times {
    fn new(name: String, mut times: Vec<Duration>, total: Duration) -> Times {
        times.sort();
        Times { name, sorted: times, total, other: None, cpu: Duration::ZERO }
    }

    /// What `percent` of all are not above.
    fn quantile(&self, percent: usize) -> Duration {
        let at = (self.sorted.len() * percent).div_ceil(100).max(1) - 1;
        self.sorted.get(at).copied().unwrap_or_default()
    }

    fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.total.as_secs_f64().max(1e-9)
    }

    /// Processor time of all daemons for each.
    fn cpu_each(&self) -> Duration {
        self.cpu / u32::try_from(self.sorted.len().max(1)).unwrap_or(u32::MAX)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "median_ms": ms(self.quantile(50)),
            "p99_ms": ms(self.quantile(99)),
            "per_second": self.per_second(),
            "other_median_ms": self.other.map(ms),
            "daemons_cpu_ms": ms(self.cpu_each()),
        })
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let reading = read_large()?;
    let files = with_files(usize::from(args.runs))?;
    let cluster = Cluster::start_lab(Lab::cluster("tools", 3).bmc(Bmc::None).build()?);
    let node = cluster.nodes()[0].clone();
    let live = on_cluster(&run_dir_of(&cluster, &node)?, usize::from(args.runs))?;
    let mut client = client_of(&cluster, &node)?;
    let mut changes = Vec::new();
    for size in args.sizes.iter().map(|kb| kb * 1000) {
        fill(&mut client, size)?;
        for window in args.under_way.iter().map(|n| usize::from(*n)) {
            let client = &mut client_of(&cluster, &node)?;
            let before = daemons_cpu(&cluster)?;
            let mut times = change(client, size, window, args.changes)?;
            times.cpu = daemons_cpu(&cluster)?.saturating_sub(before);
            changes.push(times);
        }
    }
    if args.json {
        let list = |times: &[Times]| times.iter().map(Times::json).collect::<Vec<_>>();
        let [bytes, parse, validate, index] = reading;
        println!(
            "{:#}",
            json!({
                "reading": {
                    "bytes": bytes, "parse_ms": parse, "validate_ms": validate, "index_ms": index,
                },
                "files": list(&files), "tools": list(&live), "changes": list(&changes),
            })
        );
        return Ok(());
    }
    let [bytes, parse, validate, index] = reading;
    println!(
        "a CIB of {:.1} MB: parsed in {parse:.1} ms, validated in {validate:.1} ms, indexed in \
         {index:.1} ms, together {:.1} ms\n",
        bytes / 1e6,
        parse + validate + index
    );
    print_tools("tools with a CIB in a file", &files);
    print_tools("tools on a running node", &live);
    let width = changes.iter().map(|times| times.name.len()).max().unwrap_or_default();
    println!(
        "{:width$}  {:>9}  {:>9}  {:>9}  {:>15}",
        "changes", "a second", "median ms", "p99 ms", "daemons' cpu ms"
    );
    for times in &changes {
        let (median, p99) = (ms(times.quantile(50)), ms(times.quantile(99)));
        println!(
            "{:width$}  {:9.0}  {median:9.2}  {p99:9.2}  {:15.2}",
            times.name,
            times.per_second(),
            ms(times.cpu_each())
        );
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn print_tools(title: &str, tools: &[Times]) {
    let width = tools.iter().map(|times| times.name.len()).max().unwrap_or_default();
    let width = width.max(title.len());
    println!("{title:width$}  {:>9}  {:>9}  {:>8}", "median ms", "p99 ms", "other is");
    for times in tools {
        let (median, p99) = (times.quantile(50), times.quantile(99));
        let other = times.other.map(|other| other.as_secs_f64() / median.as_secs_f64().max(1e-9));
        let other = other.map_or("-".to_owned(), |ratio| format!("{ratio:.1}x"));
        println!("{:width$}  {:9.2}  {:9.2}  {other:>8}", times.name, ms(median), ms(p99));
    }
    println!();
}

/// Bytes of a CIB of about 8 MB, and the milliseconds of the steps of taking it in.
fn read_large() -> anyhow::Result<[f64; 4]> {
    let shape = Shape {
        nodes: 16,
        resources: 740,
        state: State::NodeLost,
        spread: None,
        independent: false,
    };
    let mut bytes = Vec::new();
    shape.write(&mut bytes)?;
    let text = String::from_utf8(bytes)?;
    let mut best = [f64::MAX; 3];
    for _ in 0..5 {
        let begin = Instant::now();
        let doc = Doc::parse(&text)?;
        let parsed = Instant::now();
        let problems = cib_schema::validate(&doc);
        let validated = Instant::now();
        let doc = Arc::new(doc);
        let model = Model::from_doc(&doc, Time::from_epoch(1_700_000_000));
        let indexed = Instant::now();
        ensure!(problems.is_empty() && !model.resources.is_empty(), "the CIB made is not valid");
        let steps = [parsed - begin, validated - parsed, indexed - validated];
        for (best, step) in best.iter_mut().zip(steps) {
            *best = best.min(ms(step));
        }
    }
    let [parse, validate, index] = best;
    Ok([text.len() as f64, parse, validate, index])
}

/// The tools that are run, with their arguments.
const TOOLS: [(&str, &[&str]); 3] = [
    ("cibadmin", &["--query"]),
    ("crm_attribute", &["--name", "cluster-name", "--query", "--default", "none"]),
    ("crm_attribute", &["--name", "bench", "--update", "1"]),
];

fn named(tool: &str, words: &[&str]) -> String {
    format!("{tool} {}", words.join(" "))
}

fn with_files(runs: usize) -> anyhow::Result<Vec<Times>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cib.xml");
    let mut all = Vec::new();
    for (tool, words) in TOOLS {
        // Each begins with the same file.
        let shape =
            Shape { nodes: 3, resources: 30, state: State::Cold, spread: None, independent: false };
        shape.write(&mut std::fs::File::create(&path)?)?;
        let env = ("CIB_file", path.as_path());
        let other = installed::other_on_path(tool)?;
        let mut times = (Vec::new(), Vec::new());
        for _ in 0..runs {
            times.0.push(once(&tests_lab::systole(), tool, words, env)?);
            if let Some(other) = &other {
                times.1.push(once(other, tool, words, env)?);
            }
        }
        let total = times.0.iter().sum();
        let mut ours = Times::new(named(tool, words), times.0, total);
        ours.other = other.map(|_| Times::new(String::new(), times.1, total).quantile(50));
        all.push(ours);
    }
    Ok(all)
}

fn on_cluster(run_dir: &Path, runs: usize) -> anyhow::Result<Vec<Times>> {
    let mut all = Vec::new();
    for (tool, words) in TOOLS {
        let begin = Instant::now();
        let once = |_| once(&tests_lab::systole(), tool, words, ("SYSTOLE_RUN_DIR", run_dir));
        let times: Vec<Duration> = (0..runs).map(once).collect::<anyhow::Result<_>>()?;
        all.push(Times::new(named(tool, words), times, begin.elapsed()));
    }
    Ok(all)
}

/// Wall time of one run of a tool.
fn once(
    program: &Path,
    tool: &str,
    words: &[&str],
    (name, value): (&str, &Path),
) -> anyhow::Result<Duration> {
    let mut command = Command::new(program);
    command.arg0(tool).args(words).env(name, value);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status().with_context(|| format!("run {tool}"))?;
    let took = begin.elapsed();
    ensure!(status.success(), "{} failed ({status})", named(tool, words));
    Ok(took)
}

/// Processor time that the daemons have used since their start. Unlike the other figures it hardly
/// depends on what else the machine does.
fn daemons_cpu(cluster: &Cluster) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for node in cluster.nodes() {
        for (pid, _) in cluster.processes(node)? {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The name, which is in brackets, may hold anything; 11 fields later is user time.
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            ticks += fields.skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        }
    }
    let hz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("a clock")?;
    Ok(Duration::from_secs_f64(ticks as f64 / hz as f64))
}

/// Makes the CIB about `size` bytes large. Templates do it without giving the cluster work.
fn fill(client: &mut Client, size: usize) -> anyhow::Result<()> {
    let mut xml = String::from("<resources>");
    let mut count = 0;
    while xml.len() < size {
        xml.push_str(&format!(
            "<template id=\"t{count}\" class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\">\
             <instance_attributes id=\"t{count}-i\"><nvpair id=\"t{count}-i-fake\" name=\"fake\" \
             value=\"{count}\"/></instance_attributes><operations><op id=\"t{count}-m\" \
             name=\"monitor\" interval=\"10s\"/></operations></template>"
        ));
        count += 1;
    }
    xml.push_str("</resources>");
    let target = Target::Section("resources".into());
    client.ask(&cib(Operation::Replace { target, xml }))?;
    Ok(())
}

fn cib(operation: Operation) -> Request {
    Request::Cib { operation, force: false }
}

/// Makes `count` changes of the configuration through one connection.
fn change(client: &mut Client, size: usize, window: usize, count: u32) -> anyhow::Result<Times> {
    let begin = Instant::now();
    let mut sent = VecDeque::new();
    let mut times = Vec::new();
    let mut next = 0..count;
    while times.len() < count as usize {
        if sent.len() < window
            && let Some(number) = next.next()
        {
            let xml = format!(
                "<cluster_property_set id=\"bench\"><nvpair id=\"bench-number\" name=\"number\" \
                 value=\"{window}-{number}\"/></cluster_property_set>"
            );
            let target = Target::Section("crm_config".into());
            let modify = Operation::Modify { target, xml, allow_create: true, score: false };
            sent.push_back(Instant::now());
            client.send(&cib(modify))?;
            continue;
        }
        client.receive()?;
        let since: Instant = sent.pop_front().context("an answer to nothing")?;
        times.push(since.elapsed());
    }
    let how = match window {
        1 => "waiting for each".to_owned(),
        window => format!("{window} under way"),
    };
    let name = format!("{} KB, {how}", size / 1000);
    Ok(Times::new(name, times, begin.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        let times = Times::new("x".into(), times, Duration::from_secs(2));
        assert_eq!(times.quantile(50), Duration::from_millis(50));
        assert_eq!(times.quantile(99), Duration::from_millis(99));
        assert_eq!(times.per_second(), 50.0);
        let none = Times::new("x".into(), Vec::new(), Duration::ZERO);
        assert_eq!(none.quantile(99), Duration::ZERO);
    }
}
