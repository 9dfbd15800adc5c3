//! A round: a fresh cluster, faults, their end, and what must hold then.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::faults::{EXTRA, Kind, PROMOTED, RESOURCES, ROLES, Script, host_name};
use crate::ledger::Evidence;
use crate::need::fences_allowed;
use crate::stage::{EVERYWHERE, Stage, keep_mounts_private, undo};

/// How long a cluster may take until everything runs, at first and after the last fault.
const SETTLE: Duration = Duration::from_secs(90);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Pause between two changes of a writer.
const WRITE_PAUSE: Duration = Duration::from_millis(150);
const WRITERS: usize = 2;
/// A thread of ours that is late by more than this shows that the machine itself was paused, and
/// with it every host.
const STALL: Duration = Duration::from_millis(300);

/// What came out of a round.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was violated, the first one first.
    pub violations: Vec<String>,
    /// How often a device has cut a host's power.
    pub fences: usize,
    /// Changes that the cluster has acknowledged.
    pub acknowledged: usize,
    /// How long it took after the last fault until everything ran.
    pub settled: Duration,
    /// The longest time for which the machine did not run us.
    pub stall: Duration,
    /// How often a host was off, or without a daemon, after the faults, and had to be started.
    pub started: usize,
}

/// Runs a script on a cluster made for it. If something is violated, or if it `always` is wanted,
/// all that tells about the round is left in `keep`. An error says that it could not be run.
pub fn run(script: &Script, keep: &Path, always: bool) -> anyhow::Result<Report> {
    let work = || {
        keep_mounts_private()?;
        Round::start(script)?.run(keep, always)
    };
    // A thread of its own: what is mounted for a round ends with it.
    let joined = std::thread::scope(|scope| scope.spawn(work).join());
    joined.unwrap_or_else(|_| Err(anyhow::anyhow!("the round has panicked")))
}

struct Round<'a> {
    script: &'a Script,
    stage: Stage,
    /// Names of attributes whose change was acknowledged.
    acknowledged: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl<'a> Round<'a> {
    fn start(script: &'a Script) -> anyhow::Result<Self> {
        let stage = Stage::new(script.hosts, script.boot_ms)?;
        stage.lab.power_on_nodes()?;
        let round =
            Self { script, stage, acknowledged: Mutex::default(), ended: AtomicBool::new(false) };
        round.wait(Self::formed).context("the cluster does not form")?;
        round.stage.configure()?;
        round.wait(Self::settled).context("not everything runs at first")?;
        Ok(round)
    }

    fn run(&self, keep: &Path, always: bool) -> anyhow::Result<Report> {
        let mut report = Report::default();
        let begun = Instant::now();
        let stalls = std::thread::scope(|scope| {
            let stalls = scope.spawn(|| self.watch_machine());
            scope.spawn(|| self.watch_ledger());
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(move || self.write(writer))).collect();
            let faults = self.script.faults.iter().enumerate();
            let faults: Vec<_> = faults
                .map(|(number, fault)| scope.spawn(move || self.stage.play(number, fault, begun)))
                .collect();
            faults.into_iter().for_each(|fault| _ = fault.join());
            self.stage.note("the faults are over");
            self.stage.repair();
            self.ended.store(true, Ordering::Relaxed);
            writers.into_iter().for_each(|writer| _ = writer.join());
            stalls.join().unwrap_or_default()
        });
        report.stall = stalls;
        if !self.stage.over.load(Ordering::Relaxed) {
            self.settle(&mut report);
        }
        self.check(&mut report)?;
        if always || !report.violations.is_empty() {
            self.keep(&report, keep).context("keep what tells about the round")?;
        }
        Ok(report)
    }

    /// The longest time by which a thread of ours was late.
    fn watch_machine(&self) -> Duration {
        const STEP: Duration = Duration::from_millis(20);
        let mut longest = Duration::ZERO;
        while !self.ended.load(Ordering::Relaxed) {
            let before = Instant::now();
            std::thread::sleep(STEP);
            longest = longest.max(before.elapsed().saturating_sub(STEP));
        }
        longest
    }

    /// Ends the faults as soon as something is violated that can be seen at once.
    fn watch_ledger(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            let found = self.stage.evidence().map(|evidence| safety(&evidence));
            if found.is_ok_and(|found| !found.is_empty()) {
                self.stage.note("something is violated");
                self.stage.over.store(true, Ordering::Relaxed);
                return;
            }
            std::thread::sleep(2 * LOOK);
        }
    }

    /// Changes the CIB on one host after the other.
    fn write(&self, writer: usize) {
        let nodes = self.stage.lab.nodes();
        for number in 0.. {
            if self.ended.load(Ordering::Relaxed) || self.stage.over.load(Ordering::Relaxed) {
                return;
            }
            let host = &nodes[(number + writer) % nodes.len()];
            let name = format!("chaos-{writer}-{number}");
            let line = format!("crm_attribute -N node1 -n {name} -v {number} -l forever");
            if self.stage.run(host, &line) {
                self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            }
            std::thread::sleep(WRITE_PAUSE);
        }
    }

    /// Has everything run again after the faults, as an operator would, or says what does not.
    fn settle(&self, report: &mut Report) {
        let begun = Instant::now();
        let mut started = 0;
        let formed = self.wait(|round| {
            started += round.stage.start_what_is_off();
            round.formed()
        });
        report.started = started;
        let settled = formed.and_then(|()| {
            self.undo();
            self.wait(Self::settled)
        });
        report.settled = begun.elapsed();
        if let Err(error) = settled {
            let text = format!("invariant 5: {SETTLE:?} after the faults: {error:#}");
            report.violations.push(text);
        }
    }

    /// Takes back what operators did, and forgets failures.
    fn undo(&self) {
        for fault in &self.script.faults {
            let Kind::Operator(command) = &fault.kind else { continue };
            if let Some(line) = undo(command) {
                self.stage.run("node1", &line);
            }
        }
        self.stage.run("node1", "crm_resource --cleanup");
    }

    /// Waits until a condition holds, twice in a row; else says why it does not.
    fn wait(&self, mut condition: impl FnMut(&Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut before = false;
        loop {
            match condition(self) {
                Ok(()) if before => return Ok(()),
                Ok(()) => before = true,
                Err(error) if begun.elapsed() > SETTLE => return Err(error),
                Err(_) => before = false,
            }
            std::thread::sleep(LOOK);
        }
    }

    /// All nodes are members of one cluster.
    fn formed(&self) -> anyhow::Result<()> {
        self.dc().map(drop)
    }

    fn status(&self, node: &str) -> anyhow::Result<Value> {
        let text = self.stage.ask(node, "systole --json cluster status")?;
        serde_json::from_str(&text).context("JSON")
    }

    /// The DC, on which all agree, and its state.
    fn dc(&self) -> anyhow::Result<String> {
        let mut dcs = Vec::new();
        for node in self.stage.lab.nodes() {
            let seen = self.status(node)?;
            let members = seen["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let all = members.len() == self.script.hosts
                && members.iter().all(|member| member["member"] == true);
            ensure!(all && seen["quorate"] == true, "{node} does not see all nodes as members");
            dcs.push(seen["dc"].as_str().with_context(|| format!("{node} has no DC"))?.to_owned());
        }
        dcs.dedup();
        ensure!(dcs.len() == 1, "nodes have different DCs: {dcs:?}");
        dcs.pop().context("there are nodes")
    }

    /// One cluster, idle, with everything running as it is configured and all replicas equal.
    fn settled(&self) -> anyhow::Result<()> {
        let dc = self.dc()?;
        let state = self.status(&dc)?;
        ensure!(state["state"] == "S_IDLE", "the DC {dc} is in state {}", state["state"]);
        let evidence = self.stage.evidence()?;
        for resource in RESOURCES.into_iter().chain([EVERYWHERE, ROLES, PROMOTED]) {
            let on_all = resource == EVERYWHERE || resource == ROLES;
            let wanted = if on_all { self.script.hosts } else { 1 };
            let active = evidence.active(resource);
            ensure!(active.len() == wanted, "{resource} is active on {active:?}");
            let configured = if resource == PROMOTED { ROLES } else { resource };
            let line = format!("crm_resource -r {configured} -g value");
            let value = self.stage.ask(&dc, &line)?;
            let right = active.iter().all(|(_, active)| active == value.trim());
            ensure!(right, "{resource} is active as {active:?}, and {} is wanted", value.trim());
        }
        let extra = evidence.active(EXTRA);
        ensure!(extra.is_empty(), "the deleted {EXTRA} is active on {extra:?}");
        self.equal("cibadmin -Q", "invariant 4: the CIBs")?;
        self.equal("attrd_updater -Q -A -n chaos", "the attributes")
    }

    /// Every node has the same answer.
    fn equal(&self, line: &str, what: &str) -> anyhow::Result<()> {
        let nodes = self.stage.lab.nodes();
        let answer = |node: &str| self.stage.ask(node, line).unwrap_or_default();
        let first = answer(&nodes[0]);
        for node in &nodes[1..] {
            ensure!(answer(node) == first, "{what} of {} and {node} differ", nodes[0]);
        }
        Ok(())
    }

    /// What must hold whenever it is looked at, and in the end.
    fn check(&self, report: &mut Report) -> anyhow::Result<()> {
        let evidence = self.stage.evidence()?;
        report.violations.splice(0..0, safety(&evidence));
        let allowed = fences_allowed(self.script);
        for (host, allowed) in (1..).map(host_name).zip(allowed.each) {
            let fences = evidence.fences_of(&host);
            report.fences += fences;
            if fences > allowed && report.stall < STALL {
                report.violations.push(format!(
                    "invariant 5: {host} was fenced {fences} times, and the faults are a reason \
                     for {allowed}"
                ));
            }
        }
        if report.fences > allowed.all && report.stall < STALL {
            let (fences, allowed) = (report.fences, allowed.all);
            report.violations.push(format!(
                "invariant 5: there were {fences} fences, and the faults are a reason for {allowed}"
            ));
        }
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        report.acknowledged = acknowledged.len();
        if !self.stage.over.load(Ordering::Relaxed) {
            for host in self.stage.lab.nodes() {
                // A node that does not answer is no loss of a change; it has not settled.
                let Ok(cib) = self.stage.ask(host, "cibadmin -Q") else { continue };
                let lost = acknowledged.iter().filter(|n| !cib.contains(&format!("\"{n}\"")));
                let lost: Vec<&str> = lost.map(String::as_str).collect();
                if !lost.is_empty() {
                    let lost = lost.join(", ");
                    let text = format!("invariant 4: acknowledged and not on {host}: {lost}");
                    report.violations.push(text);
                }
            }
        }
        report.violations.extend(self.stage.panics());
        Ok(())
    }

    fn keep(&self, report: &Report, to: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(to)?;
        std::fs::write(to.join("faults"), self.script.to_string())?;
        std::fs::write(to.join("violations"), report.violations.join("\n") + "\n")?;
        self.stage.keep(to)
    }
}

/// What the ledger alone shows.
fn safety(evidence: &Evidence) -> Vec<String> {
    let names: Vec<&str> = RESOURCES.into_iter().chain([PROMOTED, EXTRA]).collect();
    let mut found = evidence.at_most_one_active(&names);
    found.extend(evidence.nothing_starts_before_the_fence(&names));
    let all: Vec<&str> = names.into_iter().chain([EVERYWHERE, ROLES]).collect();
    found.extend(evidence.stops_get_what_starts_got(&all));
    found
}

/// Where a round's remains are kept.
pub fn keep_folder(keep: &Path, hosts: usize, seed: u64) -> PathBuf {
    keep.join(format!("{hosts}-hosts-seed-{seed}"))
}
