//! The lab of a round: its hosts with disks that can be full, its agents, and the ways to make
//! each fault happen and end.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use tests_lab::{BMC_PASSWORD, BMC_USER, Bmc, Lab};

use crate::faults::{
    Command, EXTRA, FLAP_MS, Fault, Host, Kind, MIGRATES, RESOURCES, ROLES, Trouble, host_name,
};
use crate::ledger::{Cut, Evidence, Power, read};

/// The resource that runs on all hosts.
pub(crate) const EVERYWHERE: &str = "everywhere";
/// Resources that run once, and not because of an operator's command.
const SINGLE: [&str; 3] = [RESOURCES[0], RESOURCES[1], RESOURCES[2]];
const GROUP: &str = "pair";

const SCRIPTS: [(&str, &str); 3] = [
    ("ledger.sh", include_str!("../agents/ledger.sh")),
    ("fence.sh", include_str!("../agents/fence.sh")),
    ("host.sh", include_str!("../agents/host.sh")),
];
const AGENT: &str = "/usr/lib/ocf/resource.d/chaos";
const AGENT_TIMES: &str =
    "op monitor interval=1s timeout=10s op start timeout=10s op stop timeout=10s";
const MIGRATION: &str =
    "op migrate_to timeout=10s op migrate_from timeout=10s meta allow-migrate=true";
/// Where a node keeps the CIB.
const DISK: &str = "/var/lib/pacemaker";
/// Room there.
const DISK_SIZE: &str = "size=32m,mode=755";
const DAEMON: &str = "systole daemon";
/// What an operator waits for a command.
pub(crate) const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// Microseconds on the clock of ledger and logs.
pub(crate) fn now_us() -> u64 {
    to_us(SystemTime::now())
}

fn to_us(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Small file systems that outlive their host's power, below a folder of the lab.
struct Disks(Vec<PathBuf>);

impl Disks {
    fn mount(lab: &Lab) -> anyhow::Result<Self> {
        let mut disks = Self(Vec::new());
        for host in lab.nodes() {
            let path = lab.disk(host, Path::new(DISK))?;
            fs::create_dir_all(&path)?;
            mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(DISK_SIZE))?;
            disks.0.push(path);
        }
        Ok(disks)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

/// Lets what this thread and its threads mount be seen nowhere else.
pub(crate) fn keep_mounts_private() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("the lab needs root")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("make mounts private")
}

/// A lab in which faults can be made to happen.
pub(crate) struct Stage {
    // Before the lab: its folder is removed with it.
    _disks: Disks,
    pub(crate) lab: Lab,
    /// Folder of ledger, control files and scripts.
    outside: tempfile::TempDir,
    commands: Mutex<File>,
    /// The cut of the network that goes on, and those that are over.
    cuts: Mutex<(Option<Cut>, Vec<Cut>)>,
    /// Something is violated: no further faults.
    pub(crate) over: AtomicBool,
}

impl Stage {
    /// Makes the hosts, which are off.
    pub(crate) fn new(hosts: usize, boot_ms: u64) -> anyhow::Result<Self> {
        let outside = tempfile::Builder::new().prefix("chaos-").tempdir()?;
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(outside.path().join("control"))?;
        File::create(outside.path().join("ledger"))?;
        let place = outside.path().to_str().context("a folder with a plain name")?;
        for (name, text) in SCRIPTS {
            let path = outside.path().join(name);
            fs::write(&path, text.replace("@OUTSIDE@", place))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        let boot = format!("{:.3}", Duration::from_millis(boot_ms).as_secs_f64());
        let script = |name: &str| outside.path().join(name);
        let lab = Lab::cluster("chaos", hosts)
            .command([script("host.sh").into_os_string(), boot.into()])
            .bmc(Bmc::Embedded)
            .tool("fence_chaos", script("fence.sh"))
            .persistent(AGENT)
            .link(Path::new(AGENT).join("ledger"), script("ledger.sh"))
            .build()?;
        let commands = Mutex::new(File::create(outside.path().join("commands.log"))?);
        let _disks = Disks::mount(&lab)?;
        let cuts = Mutex::default();
        Ok(Self { _disks, lab, outside, commands, cuts, over: AtomicBool::new(false) })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.outside.path()
    }

    /// A line for whoever looks into a failure.
    pub(crate) fn note(&self, text: &str) {
        let at = crate::ledger::time(now_us());
        let _ = writeln!(lock(&self.commands), "{at} {text}");
    }

    /// Runs a tool on a host; whether it succeeded. Its outcome is noted.
    pub(crate) fn run(&self, host: &str, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.note(&format!("{host}: {line}"));
        let result = self.lab.exec(host, &words, COMMAND_PATIENCE);
        let (done, text) = match result {
            Ok(output) if output.success() => (true, "done".to_owned()),
            Ok(output) => (false, format!("{:?} {}", output.code(), output.stderr.trim())),
            Err(error) => (false, error.to_string()),
        };
        self.note(&format!("{host}: {line}: {text}"));
        done
    }

    /// The output of a tool that succeeds.
    pub(crate) fn ask(&self, host: &str, line: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.lab.exec(host, &words, COMMAND_PATIENCE)?;
        ensure!(output.success(), "{line} on {host}: {:?} {}", output.code(), output.stderr.trim());
        Ok(output.stdout)
    }

    /// Devices and resources.
    pub(crate) fn configure(&self) -> anyhow::Result<()> {
        let must = |line: &str| self.ask("node1", line).map(drop);
        for node in self.lab.nodes() {
            let ip = self.lab.bmc_address(node)?;
            must(&format!(
                "systole --force stonith create fence-{node} fence_chaos ip={ip} \
                 username={BMC_USER} password={BMC_PASSWORD} lanplus=1 cipher=3 \
                 pcmk_host_list={node} op monitor interval=10s"
            ))?;
        }
        let create = |id: &str, more: &str| {
            must(&format!("systole resource create {id} ocf:chaos:ledger value=v0 {more}"))
        };
        create(EVERYWHERE, &format!("{AGENT_TIMES} --clone"))?;
        let monitor = "op monitor interval=900ms timeout=10s role=Promoted";
        let roles = "op promote timeout=10s op demote timeout=10s --promotable";
        create(ROLES, &format!("{AGENT_TIMES} {monitor} {roles}"))?;
        for id in SINGLE {
            let migrates = if id == MIGRATES { MIGRATION } else { "" };
            create(id, &format!("{AGENT_TIMES} {migrates}"))?;
        }
        RESOURCES[SINGLE.len()..]
            .iter()
            .try_for_each(|id| create(id, &format!("{AGENT_TIMES} --group {GROUP}")))
    }

    /// Ledger, power log and cuts so far.
    pub(crate) fn evidence(&self) -> anyhow::Result<Evidence> {
        let text = fs::read_to_string(self.folder().join("ledger"))?;
        let entries = read(&text).map_err(anyhow::Error::msg)?;
        let power = self.lab.power_log().events().into_iter().map(|event| Power {
            at_us: to_us(event.wall_clock),
            by_device: event.by.starts_with("BMC"),
            host: event.host,
            on: event.on,
        });
        let (current, past) = &*lock(&self.cuts);
        let cuts = past.iter().chain(current).cloned().collect();
        Ok(Evidence { entries, power: power.collect(), cuts })
    }

    /// Makes a fault happen and ends it when its time is over. What is not possible just now, on
    /// a host that is off, is noted and left out.
    pub(crate) fn play(&self, number: usize, fault: &Fault, since: Instant) {
        self.sleep_until(since + Duration::from_millis(fault.at_ms));
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        self.note(&format!("fault: {fault}"));
        let until = Instant::now() + Duration::from_millis(fault.for_ms);
        if let Err(error) = self.begin(number, &fault.kind, until) {
            self.note(&format!("fault: {fault}: {error:#}"));
        }
        self.sleep_until(until);
        if let Err(error) = self.end(number, &fault.kind) {
            self.note(&format!("end of fault: {fault}: {error:#}"));
        }
        self.note(&format!("end of fault: {fault}"));
    }

    fn sleep_until(&self, until: Instant) {
        const SLICE: Duration = Duration::from_millis(100);
        while !self.over.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    fn begin(&self, number: usize, kind: &Kind, until: Instant) -> anyhow::Result<()> {
        let lab = &self.lab;
        match kind {
            Kind::CutPower(hosts) => {
                hosts.iter().try_for_each(|host| Ok(lab.power_off(&host_name(*host))?))
            }
            Kind::KillDaemon(host) => self.signal(*host, Signal::SIGKILL),
            Kind::StopDaemon(host) => self.signal(*host, Signal::SIGSTOP),
            Kind::Freeze(host) => Ok(lab.freeze(&host_name(*host))?),
            Kind::Split(groups) => self.split(groups),
            Kind::OneWay(from, to) => {
                let from = lab.address(&host_name(*from))?;
                self.filter(number, *to, &format!("ip saddr {from} drop"), "")
            }
            Kind::Flap(host) => self.flap(&host_name(*host), until),
            Kind::Lose(host, percent) => {
                let rule = format!("numgen random mod 100 < {percent} drop");
                self.filter(number, *host, &rule, &rule)
            }
            Kind::Device(host, trouble) => {
                Ok(File::create(self.control_of_device(*host, *trouble)).map(drop)?)
            }
            Kind::Agent(resource, action, host, trouble) => {
                let control = self.control_of_agent(resource, action, *host, *trouble);
                Ok(File::create(control).map(drop)?)
            }
            Kind::FillDisk(host) => self.fill_disk(&host_name(*host)),
            Kind::Hog(host) => {
                let left = until.saturating_duration_since(Instant::now()).as_secs_f64();
                let hog = format!("exec timeout {left:.1} sh -c 'while :; do :; done'");
                (0..2).try_for_each(|_| Ok(lab.spawn(&host_name(*host), &["sh", "-c", &hog])?))
            }
            Kind::Operator(Command::Leave(host)) => {
                self.run(&host_name(*host), "systole cluster stop");
                Ok(())
            }
            Kind::Operator(command) => {
                self.operate(number, command);
                Ok(())
            }
        }
    }

    fn end(&self, number: usize, kind: &Kind) -> anyhow::Result<()> {
        let lab = &self.lab;
        match kind {
            Kind::CutPower(hosts) => {
                hosts.iter().try_for_each(|host| Ok(lab.power_on(&host_name(*host))?))
            }
            Kind::StopDaemon(host) => self.signal(*host, Signal::SIGCONT),
            Kind::Freeze(host) => Ok(lab.thaw(&host_name(*host))?),
            Kind::Split(_) => self.heal(),
            Kind::Flap(host) => Ok(lab.set_cable(&host_name(*host), true)?),
            Kind::OneWay(_, host) | Kind::Lose(host, _) => {
                let line = format!("nft delete table inet chaos{number}");
                self.ask(&host_name(*host), &line).map(drop)
            }
            Kind::Device(host, trouble) => remove(&self.control_of_device(*host, *trouble)),
            Kind::Agent(resource, action, host, trouble) => {
                remove(&self.control_of_agent(resource, action, *host, *trouble))
            }
            Kind::FillDisk(host) => remove(&self.filler(&host_name(*host))?),
            Kind::KillDaemon(_) | Kind::Hog(_) => Ok(()),
            Kind::Operator(Command::Leave(host)) => self.start_daemon(&host_name(*host)),
            Kind::Operator(command) => {
                if let Some(line) = undo(command) {
                    self.run(&self.operators_host(number), &line);
                }
                Ok(())
            }
        }
    }

    fn signal(&self, host: Host, signal: Signal) -> anyhow::Result<()> {
        let count = self.lab.signal(&host_name(host), DAEMON, signal)?;
        ensure!(count > 0, "no daemon runs there");
        Ok(())
    }

    fn split(&self, groups: &[Vec<Host>]) -> anyhow::Result<()> {
        let groups: Vec<Vec<String>> = groups
            .iter()
            .map(|group| group.iter().map(|host| host_name(*host)).collect())
            .collect();
        let words: Vec<Vec<&str>> =
            groups.iter().map(|group| group.iter().map(String::as_str).collect()).collect();
        let words: Vec<&[&str]> = words.iter().map(Vec::as_slice).collect();
        let mut cuts = lock(&self.cuts);
        Self::close(&mut cuts);
        self.lab.partition(&words)?;
        cuts.0 = Some(Cut { from_us: now_us(), to_us: u64::MAX, groups });
        Ok(())
    }

    fn heal(&self) -> anyhow::Result<()> {
        let mut cuts = lock(&self.cuts);
        Self::close(&mut cuts);
        Ok(self.lab.partition(&[])?)
    }

    fn close((current, past): &mut (Option<Cut>, Vec<Cut>)) {
        past.extend(current.take().map(|cut| Cut { to_us: now_us(), ..cut }));
    }

    fn flap(&self, host: &str, until: Instant) -> anyhow::Result<()> {
        let mut plugged = true;
        for period in FLAP_MS.iter().cycle() {
            if Instant::now() >= until || self.over.load(Ordering::Relaxed) {
                break;
            }
            plugged = !plugged;
            self.lab.set_cable(host, plugged)?;
            self.sleep_until(until.min(Instant::now() + Duration::from_millis(*period)));
        }
        Ok(())
    }

    /// Drops packets of the cluster's network by these rules for what comes in and goes out.
    fn filter(&self, number: usize, host: Host, input: &str, output: &str) -> anyhow::Result<()> {
        let chain = |hook: &str, side: &str, rule: &str| match rule {
            "" => String::new(),
            rule => format!(
                "chain {hook} {{ type filter hook {hook} priority 0; {side} eth0 {rule}; }}\n"
            ),
        };
        let (input, output) = (chain("input", "iif", input), chain("output", "oif", output));
        let table = format!("table inet chaos{number} {{\n{input}{output}}}\n");
        let script = format!("nft -f - <<'END'\n{table}END");
        self.lab.sh(&host_name(host), &script).map(drop)
    }

    fn control(&self, name: &str) -> PathBuf {
        self.folder().join("control").join(name)
    }

    fn control_of_device(&self, host: Host, trouble: Trouble) -> PathBuf {
        self.control(&format!("device.node{host}.{trouble}"))
    }

    fn control_of_agent(&self, id: &str, action: &str, host: Host, trouble: Trouble) -> PathBuf {
        self.control(&format!("agent.{id}.{action}.node{host}.{trouble}"))
    }

    fn filler(&self, host: &str) -> anyhow::Result<PathBuf> {
        Ok(self.lab.disk(host, Path::new(DISK))?.join("filler"))
    }

    fn fill_disk(&self, host: &str) -> anyhow::Result<()> {
        let mut file = File::create(self.filler(host)?)?;
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// The host on which an operator sits.
    fn operators_host(&self, number: usize) -> String {
        let nodes = self.lab.nodes();
        nodes[number % nodes.len()].clone()
    }

    fn operate(&self, number: usize, command: &Command) {
        let resource = "systole resource";
        let line = match command {
            Command::Update(id) => format!("{resource} update {id} value=v{}", number + 1),
            Command::Standby(host) => format!("systole node standby node{host}"),
            Command::Move(id, host) => format!("{resource} move {id} node{host}"),
            Command::Disable(id) => format!("{resource} disable {id}"),
            Command::Maintenance => "systole property set maintenance-mode=true".to_owned(),
            Command::Fence(host) => format!("systole stonith fence node{host}"),
            Command::Create => {
                format!("{resource} create {EXTRA} ocf:chaos:ledger value=v0 {AGENT_TIMES}")
            }
            Command::Cleanup => "crm_resource --cleanup".to_owned(),
            // That is done on the node itself.
            Command::Leave(_) => return,
            Command::Attribute(host) => {
                format!("attrd_updater -n chaos -U {} -N node{host}", number + 1)
            }
        };
        self.run(&self.operators_host(number), &line);
    }

    /// Ends all faults that may still be there, whatever had become of their own end, and has what
    /// is off or ended started again, as an operator would.
    pub(crate) fn repair(&self) {
        let _ = self.heal();
        let controls = fs::read_dir(self.folder().join("control"));
        controls.into_iter().flatten().flatten().for_each(|file| _ = remove(&file.path()));
        for host in self.lab.nodes() {
            let _ = self.lab.set_cable(host, true);
            let _ = self.filler(host).and_then(|path| remove(&path));
            let _ = self.lab.thaw(host);
            let tables = "nft list tables inet | while read -r _ _ table; do \
                          nft delete table inet $table; done";
            let _ = self.lab.sh(host, tables);
        }
    }

    /// Starts what is off, and not only because a fence is under way, or has ended; how many hosts
    /// that were.
    pub(crate) fn start_what_is_off(&self) -> usize {
        const STAYS_OFF: Duration = Duration::from_secs(3);
        let events = self.lab.power_log().events();
        let switched = |host: &str| events.iter().rfind(|event| event.host == host);
        let mut started = 0;
        for host in self.lab.nodes() {
            let Ok(processes) = self.lab.processes(host) else {
                if switched(host).is_some_and(|event| event.at.elapsed() < STAYS_OFF) {
                    continue;
                }
                self.note(&format!("{host} is off and is switched on"));
                let _ = self.lab.power_on(host);
                started += 1;
                continue;
            };
            let runs = |part: &str| processes.iter().any(|(_, line)| line.contains(part));
            if !runs("host.sh") && !runs(DAEMON) {
                self.note(&format!("{host} has no daemon, one is started"));
                let _ = self.start_daemon(host);
                started += 1;
            }
        }
        started
    }

    fn start_daemon(&self, host: &str) -> anyhow::Result<()> {
        let script = self.folder().join("host.sh");
        Ok(self.lab.spawn(host, &[script.as_os_str(), "0".as_ref()])?)
    }

    /// Copies what tells about the round.
    pub(crate) fn keep(&self, to: &Path) -> anyhow::Result<()> {
        for name in ["ledger", "commands.log"] {
            fs::copy(self.folder().join(name), to.join(name))?;
        }
        let mut power = String::new();
        for event in self.lab.power_log().events() {
            let (at, state) = (to_us(event.wall_clock), if event.on { "on" } else { "off" });
            let at = crate::ledger::time(at);
            power.push_str(&format!("{at} {} {state}: {}\n", event.host, event.by));
        }
        fs::write(to.join("power.log"), power)?;
        for host in self.lab.nodes() {
            let console = self.lab.folder(host)?.join("console.log");
            let _ = fs::copy(console, to.join(format!("{host}.log")));
            self.keep_plans(host, &to.join(format!("{host}.plans")))?;
            let asked = [
                ("cib.xml", "cibadmin -Q"),
                ("status", "systole status"),
                ("cluster", "systole cluster status"),
                ("attributes", "attrd_updater -Q -A -n chaos"),
            ];
            for (name, line) in asked {
                let text = self.ask(host, line).unwrap_or_else(|error| format!("{error:#}\n"));
                fs::write(to.join(format!("{host}.{name}")), text)?;
            }
        }
        Ok(())
    }

    /// Copies the inputs of plans that were not made without errors or fences.
    fn keep_plans(&self, host: &str, to: &Path) -> anyhow::Result<()> {
        let plans = fs::read_dir(self.lab.disk(host, &Path::new(DISK).join("pengine"))?);
        fs::create_dir_all(to)?;
        for plan in plans.into_iter().flatten().flatten() {
            let name = plan.file_name();
            if !name.to_string_lossy().starts_with("pe-input") {
                fs::copy(plan.path(), to.join(name))?;
            }
        }
        Ok(())
    }

    /// What hosts have printed that no daemon may print.
    pub(crate) fn panics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for host in self.lab.nodes() {
            let console = self.lab.folder(host).map(|folder| folder.join("console.log"));
            let text = console.ok().and_then(|path| fs::read(path).ok()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let panics = text.lines().filter(|line| line.contains("panicked at"));
            found.extend(panics.map(|line| format!("invariant 7: {host}: {line}")));
        }
        found
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// What ends a command's effect.
pub(crate) fn undo(command: &Command) -> Option<String> {
    Some(match command {
        Command::Standby(host) => format!("systole node unstandby node{host}"),
        Command::Move(id, _) => format!("systole resource clear {id}"),
        Command::Disable(id) => format!("systole resource enable {id}"),
        Command::Maintenance => "systole property set maintenance-mode=".to_owned(),
        Command::Create => format!("systole resource delete {EXTRA}"),
        Command::Update(_)
        | Command::Fence(_)
        | Command::Cleanup
        | Command::Attribute(_)
        | Command::Leave(_) => return None,
    })
}
