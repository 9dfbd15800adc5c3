//! Times from fault to recovery, and memory.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Context;
use crm_api::{Request, Response};
use tests_lab::{ArpWatch, Bmc, Cluster, Lab, Postgresql};

use crate::memory;
use crate::report::Report;
use crate::steps::{Events, STEPS, client_of, wall_ms};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const NODES: usize = 3;
/// How many resources the larger cluster has.
const DUMMIES: usize = 50;
/// How long nothing happens before the next fault.
const CALM: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each fault is repeated
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Print JSON with all values instead of a table
    #[arg(long)]
    json: bool,
    /// Use OpenIPMI's ipmi_sim as BMCs instead of our own
    #[arg(long)]
    ipmi_sim: bool,
    /// Measure PostgreSQL, too (needs openipmi, postgresql-15 and resource-agents)
    #[arg(long)]
    postgresql: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let bmc = if args.ipmi_sim { Bmc::IpmiSim } else { Bmc::Embedded };
    let mut bench = Bench::new(bmc)?;
    for run in 1..=args.runs {
        eprintln!("run {run} of {}", args.runs);
        bench.cold_start()?;
        bench.planned_move()?;
        bench.fault("power cut", |cluster, node| Ok(cluster.power_off(node)?))?;
        bench.fault("partition", |cluster, node| {
            cluster.isolate(node);
            Ok(())
        })?;
    }
    eprintln!("memory");
    bench.memory("idle")?;
    bench.add_dummies()?;
    bench.memory(&format!("{DUMMIES} resources"))?;
    let mut report = bench.report;
    drop(bench.cluster);
    for run in (1..=args.runs).filter(|_| args.postgresql) {
        eprintln!("PostgreSQL, run {run} of {}", args.runs);
        let took = Postgresql::start()?.cut_power_of_primary()?.took;
        report.add("PostgreSQL, power cut of the primary: writes again", "s", took.as_secs_f64());
    }
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

/// A cluster of three with a VIP and a fence device for each node.
struct Bench {
    cluster: Cluster,
    report: Report,
}

impl Bench {
    fn new(bmc: Bmc) -> anyhow::Result<Self> {
        let cluster = Cluster::start_lab(Lab::cluster("figures", NODES).bmc(bmc).build()?);
        cluster.make_fence_devices();
        cluster.make_vip("vip", VIP, "");
        let bench = Self { cluster, report: Report::default() };
        bench.settle();
        Ok(bench)
    }

    /// Waits until all nodes are members and nothing is left to be done, for a while.
    fn settle(&self) {
        self.cluster.wait_formed();
        let mut since = Instant::now();
        self.cluster.wait("nothing is left to be done", || {
            if !self.is_idle() {
                since = Instant::now();
            }
            since.elapsed() >= CALM
        });
    }

    fn is_idle(&self) -> bool {
        let info = |node: &String| match client_of(&self.cluster, node).ok()?.ask(&Request::Info) {
            Ok(Response::Info(info)) => Some(info),
            _ => None,
        };
        let infos: Vec<_> = self.cluster.nodes().iter().filter_map(info).collect();
        let dc_is_idle =
            infos.iter().any(|info| info.dc.as_ref() == Some(&info.name) && info.state == "S_IDLE");
        infos.len() == NODES && dc_is_idle
    }

    /// The watch, the owner of the address, and another node.
    fn start_of_fault(&self) -> anyhow::Result<(ArpWatch, String, String)> {
        let watch = self.cluster.watch(VIP);
        let owner = self.cluster.wait_owner(&watch, None);
        let survivor = self.cluster.another(&[&owner]).to_owned();
        Ok((watch, owner, survivor))
    }

    fn cold_start(&mut self) -> anyhow::Result<()> {
        for node in self.cluster.nodes() {
            self.cluster.power_off(node)?;
        }
        let watch = self.cluster.watch(VIP);
        let began = Instant::now();
        self.cluster.power_on_nodes()?;
        self.cluster.wait_owner(&watch, None);
        let tenures = watch.tenures();
        let first = tenures.first().context("an owner")?.first;
        anyhow::ensure!(first > began, "the address answers without power");
        self.report.add("cold start: VIP answers", "s", (first - began).as_secs_f64());
        self.settle();
        for node in self.cluster.nodes() {
            let off = self.cluster.switched_off(node, began);
            anyhow::ensure!(off.is_none(), "{node} was fenced at a cold start");
        }
        Ok(())
    }

    fn planned_move(&mut self) -> anyhow::Result<()> {
        let (watch, old, _) = self.start_of_fault()?;
        let since = Instant::now();
        self.cluster.must(&old, &format!("node standby {old}"));
        self.cluster.wait_owner(&watch, Some(&old));
        let tenures = watch.tenures();
        let [before, after, ..] = &tenures[..] else { anyhow::bail!("no move: {tenures:?}") };
        let add = |report: &mut Report, name: &str, value: Duration| {
            report.add(&format!("planned move: {name}"), "s", value.as_secs_f64());
        };
        add(&mut self.report, "VIP unreachable", after.first - before.last);
        add(&mut self.report, "VIP answers elsewhere", after.first - since);
        self.cluster.must(&old, &format!("node unstandby {old}"));
        self.settle();
        Ok(())
    }

    /// Lets something happen to the owner of the address and waits for it elsewhere.
    fn fault(
        &mut self,
        name: &str,
        happens: impl Fn(&Cluster, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (watch, old, survivor) = self.start_of_fault()?;
        let events = Events::of(&self.cluster, &survivor)?;
        let (since, since_ms) = (Instant::now(), wall_ms());
        happens(&self.cluster, &old)?;
        self.cluster.wait_owner(&watch, Some(&old));
        let tenures = watch.tenures();
        let [.., before, after] = &tenures[..] else { anyhow::bail!("no move: {tenures:?}") };
        let off = self.cluster.switched_off(&old, since).context("the old owner is off")?;
        anyhow::ensure!(after.first > off.at, "two owners at once: {tenures:?}");
        // The rest of the events of the failover, too.
        self.settle();
        let steps = events.steps(since_ms, &old, "vip");
        for (step, at) in STEPS.iter().zip(steps) {
            if let Some(at) = at {
                self.report.add(&format!("{name}:   {step}"), "s", at as f64 / 1000.0);
            }
        }
        let answers = (after.first - since).as_secs_f64();
        self.report.add(&format!("{name}: VIP answers elsewhere"), "s", answers);
        let silent = (after.first - before.last).as_secs_f64();
        self.report.add(&format!("{name}: VIP unreachable"), "s", silent);
        Ok(())
    }

    fn memory(&mut self, when: &str) -> anyhow::Result<()> {
        for node in self.cluster.nodes() {
            let memory = memory::of_daemon(&self.cluster, node)?;
            self.report.add(&format!("memory of a daemon, {when}: PSS"), "KiB", memory.share);
            self.report.add(&format!("memory of a daemon, {when}: RSS"), "KiB", memory.resident);
        }
        Ok(())
    }

    fn add_dummies(&self) -> anyhow::Result<()> {
        let node = &self.cluster.nodes()[0];
        for number in 1..=DUMMIES {
            let create =
                format!("resource create dummy{number} ocf:systole:dummy op monitor interval=10s");
            self.cluster.must(node, &create);
        }
        self.settle();
        // Each has its monitor's result on the one node where it runs.
        let cib = self.cluster.sh(node, "cibadmin --query")?;
        let monitors = cib.lines().filter(|line| line.contains("_monitor_10000\" operation="));
        let started = monitors.filter(|line| line.contains("id=\"dummy")).count();
        anyhow::ensure!(started == DUMMIES, "{started} resources run, not {DUMMIES}");
        Ok(())
    }
}
