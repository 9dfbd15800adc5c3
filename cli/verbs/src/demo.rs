//! `systole demo`: a real three-node cluster on this machine, and a failover to watch.
//!
//! Every node is a host of its own (namespaces) with a BMC of its own, and runs the real daemon;
//! nothing but this program is needed, and not even root.

mod steps;
mod work;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use cli_hosts::{BmcSettings, Config, HostConfig, Hosts};
use crm_api::{Event, Request, Response};
use crm_ipc::Client;
use fence_agents_ipmi::{CipherSuite, Secret};

use crate::session::Session;
use crate::{advice, status};
use steps::Steps;
use work::Work;

const NODES: [&str; 3] = ["alpha", "beta", "gamma"];
const CLIENT: &str = "client";
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at the status; what stays for one is shown.
const LOOK: Duration = Duration::from_millis(200);
/// Log-in of the BMCs, which nobody outside of the demo can reach.
const BMC_USER: &str = "admin";
const BMC_PASSWORD: &str = "demo-password";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after the failover instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
    /// Folder for the hosts' disks and logs
    #[arg(long)]
    work: Option<PathBuf>,
    /// Be the demo's web service (used by the demo itself)
    #[arg(long, hide = true)]
    serve: Option<u16>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(port) = args.serve {
        return serve(port);
    }
    let is_root = nix::unistd::geteuid().is_root();
    cli_hosts::become_root()?;
    let stop = watch_for_interrupt()?;
    let work = Work::new(args.work.as_deref())?;
    let result = Demo::new(&work, is_root, &stop).and_then(|demo| demo.play(args));
    // Ctrl-C is how it is meant to end, at any moment.
    if stop.load(Ordering::Acquire) { Ok(()) } else { result }
}

/// The web service behind the VIP: says which host answers.
fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 1024];
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut request);
        let length = name.len() + 1;
        let _ = write!(
            stream,
            "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}\n"
        );
    }
    Ok(())
}

fn watch_for_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    use nix::sys::signal::{SigSet, Signal};
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGHUP);
    signals.thread_block().context("cannot catch signals")?;
    let flag = Arc::clone(&stop);
    thread::spawn(move || {
        while signals.wait().is_ok() {
            flag.store(true, Ordering::Release);
        }
    });
    Ok(stop)
}

struct Demo {
    hosts: Hosts,
    /// Whether the user is root, who needs no user namespace.
    is_root: bool,
    stop: Arc<AtomicBool>,
}

/// What the client sees and the cluster tells, with wall-clock milliseconds.
enum Seen {
    Answer { at_ms: u64, by: String },
    Event(Event),
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the user. Nobody may be reading any more: then it is still to be cleaned up.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

impl Demo {
    fn new(work: &Work, is_root: bool, stop: &Arc<AtomicBool>) -> anyhow::Result<Demo> {
        let work = work.path.as_path();
        let exe = std::env::current_exe().context("cannot find this program")?;
        work::clear(work)?;
        work::write_configuration(work)?;
        work::link_tools(work, &exe)?;
        let mut hosts: Vec<HostConfig> = NODES.iter().map(|n| work::node(n, work, &exe)).collect();
        hosts.push(HostConfig { has_bmc: false, ..HostConfig::new(CLIENT, &[]) });
        let hosts = Hosts::new(Config {
            work: work.to_owned(),
            hosts,
            bmc: Some(BmcSettings {
                user: BMC_USER.to_owned(),
                password: Secret::new(BMC_PASSWORD),
                suites: vec![CipherSuite::Suite17],
            }),
        })?;
        Ok(Demo { hosts, is_root, stop: Arc::clone(stop) })
    }

    fn play(self, args: &Args) -> anyhow::Result<()> {
        let begun = Instant::now();
        say("Starting three hosts, each with its own BMC, and a client …");
        self.hosts.power_on_all()?;
        self.wait("the cluster to form", |demo| {
            demo.client_of(NODES[0]).is_ok_and(|mut c| {
                matches!(c.ask(&Request::Info), Ok(Response::Info(info))
                    if info.dc.is_some() && info.nodes.iter().all(|n| n.2))
            })
        })?;
        self.configure()?;
        let (sender, seen) = mpsc::channel();
        let probe = self.probe(sender.clone())?;
        self.wait_for_answer(&seen, None)?;
        let up = begun.elapsed();
        // The web service answers before its start is over and known everywhere.
        thread::sleep(Duration::from_secs(1));
        say(&format!(
            "\nThe VIP {VIP} answers {:.2} s after the hosts were powered on.\n",
            up.as_secs_f64()
        ));
        self.show_status(NODES[0])?;
        let survivor = self.fail_over(&sender, &seen)?;
        probe.store(true, Ordering::Release);
        if !args.once {
            self.linger(survivor)?;
        }
        Ok(())
    }

    fn wait(&self, what: &str, mut ready: impl FnMut(&Demo) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !ready(self) {
            self.check_stop()?;
            if begun.elapsed() > PATIENCE {
                bail!(
                    "waited {} s for {what} in vain; see the logs in {}",
                    PATIENCE.as_secs(),
                    self.hosts.folder(NODES[0])?.display()
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn check_stop(&self) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Acquire) {
            say("\nCleaning up.");
            bail!("interrupted");
        }
        Ok(())
    }

    /// The folder of a node's socket, as seen from outside of the host.
    fn run_dir(&self, node: &str) -> anyhow::Result<PathBuf> {
        let processes = self.hosts.processes(node)?;
        let (pid, _) = processes.first().with_context(|| format!("nothing runs on {node}"))?;
        Ok(PathBuf::from(format!("/proc/{pid}/root/run/systole")))
    }

    fn client_of(&self, node: &str) -> anyhow::Result<Client> {
        Ok(Client::connect_to(&self.run_dir(node)?.join("systole.sock"))?)
    }

    fn configure(&self) -> anyhow::Result<()> {
        say("Configuring it, as an operator would:");
        let exe = std::env::current_exe().context("cannot find this program")?;
        let serve = format!("command={} demo --serve {PORT}", exe.display());
        let ip = format!("ip={VIP}");
        let mut commands: Vec<Vec<String>> = Vec::new();
        let mut add =
            |words: &[&str]| commands.push(words.iter().map(|w| (*w).to_owned()).collect());
        add(&["property", "set", "stonith-action=off"]);
        for name in NODES {
            let bmc = format!("ip={}", self.hosts.bmc_address(name)?);
            let hosts = format!("pcmk_host_list={name}");
            let id = format!("fence-{name}");
            let user = format!("username={BMC_USER}");
            let password = format!("password={BMC_PASSWORD}");
            add(&[
                "stonith",
                "create",
                &id,
                "fence_systole_ipmi",
                &bmc,
                &user,
                &password,
                "lanplus=1",
                "cipher=17",
                &hosts,
                "op",
                "monitor",
                "interval=30s",
            ]);
        }
        add(&[
            "resource",
            "create",
            "vip",
            "ocf:systole:vip",
            &ip,
            "cidr_netmask=24",
            "op",
            "monitor",
            "interval=2s",
            "--group",
            "web",
        ]);
        add(&[
            "resource",
            "create",
            "server",
            "ocf:systole:process",
            &serve,
            "op",
            "monitor",
            "interval=2s",
            "--group",
            "web",
        ]);
        // In this process: a password on a command line would be everybody's to read. What is odd
        // is told of the whole: on the way to it, nodes are without a fence device.
        let mut session = Session::part_of_more(self.client_of(NODES[0])?);
        for words in &commands {
            say(&format!("  systole {}", shown(words)));
            crate::run_in(&mut session, words)
                .with_context(|| format!("'systole {}' failed", shown(words)))?;
        }
        advice::of(&session.cib()?).iter().for_each(|text| say(&format!("warning: {text}")));
        Ok(())
    }

    /// Asks the VIP from the client host every few milliseconds; ends when the flag is set.
    fn probe(&self, sender: mpsc::Sender<Seen>) -> anyhow::Result<Arc<AtomicBool>> {
        let end = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&end);
        let network = self.hosts.network(CLIENT)?;
        thread::spawn(move || {
            let _ = network.run(|| {
                while !stop.load(Ordering::Acquire) {
                    if let Some(by) = ask_vip()
                        && sender.send(Seen::Answer { at_ms: now_ms(), by }).is_err()
                    {
                        return;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            });
        });
        Ok(end)
    }

    /// Waits until the VIP answers, from another host than `not`; who answers, and when.
    fn wait_for_answer(
        &self,
        seen: &mpsc::Receiver<Seen>,
        not: Option<&str>,
    ) -> anyhow::Result<(u64, String)> {
        let begun = Instant::now();
        loop {
            self.check_stop()?;
            match seen.recv_timeout(Duration::from_millis(100)) {
                Ok(Seen::Answer { at_ms, by }) if Some(by.as_str()) != not => {
                    return Ok((at_ms, by));
                }
                _ if begun.elapsed() > PATIENCE => {
                    self.show_status(NODES[2])?;
                    bail!("the VIP did not answer within {} s", PATIENCE.as_secs());
                }
                _ => {}
            }
        }
    }

    fn show_status(&self, node: &str) -> anyhow::Result<()> {
        say(&format!("$ systole status\n{}", self.status(node)?));
        Ok(())
    }

    fn status(&self, node: &str) -> anyhow::Result<String> {
        status::text_of(&mut Session::over(self.client_of(node)?, false))
    }

    /// A node that was up all the time.
    fn fail_over(
        &self,
        sender: &mpsc::Sender<Seen>,
        seen: &mpsc::Receiver<Seen>,
    ) -> anyhow::Result<&'static str> {
        while seen.try_recv().is_ok() {}
        let (_, holder) = self.wait_for_answer(seen, None)?;
        let survivor = NODES.into_iter().find(|n| *n != holder).context("there are three nodes")?;
        let mut client = self.client_of(survivor)?;
        client.ask(&Request::Subscribe)?;
        let events = sender.clone();
        thread::spawn(move || {
            while let Ok(response) = client.receive() {
                if let Response::Event(event) = response
                    && events.send(Seen::Event(event)).is_err()
                {
                    return;
                }
            }
        });
        say(&format!("Now the power of {holder}, which holds the VIP, is cut.\n"));
        let cut_ms = now_ms();
        self.hosts.power_off(&holder)?;
        let mut steps = Steps::new(cut_ms, &holder);
        say(&steps::line(0, &format!("power of {holder} cut")));
        let begun = Instant::now();
        while !steps.complete() {
            self.check_stop()?;
            if begun.elapsed() > PATIENCE {
                self.show_status(survivor)?;
                bail!("the VIP did not come back within {} s", PATIENCE.as_secs());
            }
            if let Ok(seen) = seen.recv_timeout(Duration::from_millis(100))
                && let Some(line) = steps.note(&seen)
            {
                say(&line);
            }
        }
        say(&format!("\nNow {holder} is switched on again.\n"));
        let on_ms = now_ms();
        self.hosts.power_on(&holder)?;
        self.wait(&format!("{holder} to be back"), |demo| {
            demo.client_of(survivor).is_ok_and(|mut c| {
                matches!(c.ask(&Request::Info), Ok(Response::Info(info))
                    if info.nodes.iter().all(|n| n.2))
            })
        })?;
        let back = now_ms().saturating_sub(on_ms) as f64 / 1000.0;
        say(&format!("{holder} is a member again after {back:.2} s.\n"));
        // What runs there is probed before the node counts as ready.
        thread::sleep(Duration::from_millis(500));
        self.show_status(survivor)?;
        Ok(survivor)
    }

    /// Says what to try, and shows the status whenever it has changed, until the user ends it.
    fn linger(&self, survivor: &str) -> anyhow::Result<()> {
        say("The cluster stays up until Ctrl-C. Things to try in another terminal:\n");
        let exe = std::env::current_exe().context("cannot find this program")?;
        let exe = exe.display();
        for (node, words) in [
            (NODES[0], "status --watch"),
            (NODES[0], "cluster status"),
            (survivor, "stonith history"),
            (NODES[0], "node standby beta"),
            (NODES[1], "crm_mon -1"),
        ] {
            let dir = self.run_dir(node)?;
            say(&format!("  SYSTOLE_RUN_DIR={} {exe} {words}", dir.display()));
        }
        let (client, _) = *self.hosts.processes(CLIENT)?.first().context("the client is on")?;
        let user = if self.is_root { "" } else { " --user --preserve-credentials" };
        let enter = format!("nsenter --target {client}{user} --net");
        say("\nFrom the client host:\n");
        say(&format!("  {enter} curl http://{VIP}/"));
        for (node, action) in [(NODES[0], "status"), (NODES[2], "off")] {
            let bmc = self.hosts.bmc_address(node)?;
            say(&format!(
                "  {enter} ipmitool -I lanplus -C 17 -H {bmc} -U {BMC_USER} -P {BMC_PASSWORD} \
                 chassis power {action}"
            ));
        }
        let console = self.hosts.folder(NODES[0])?.join("console.log");
        say(&format!("\nLogs: {}\n", console.display()));
        let mut last = String::new();
        let mut shown = self.status(NODES[0]).unwrap_or_default();
        loop {
            self.check_stop()?;
            // Of a node that answers: any may be off by now.
            if let Some(status) = NODES.iter().find_map(|node| self.status(node).ok()) {
                if status == last && status != shown {
                    say(&format!("$ systole status\n{status}"));
                    shown.clone_from(&status);
                }
                last = status;
            }
            thread::sleep(LOOK);
        }
    }
}

/// A command line for people: without secrets, quoted where it has to be.
fn shown(words: &[String]) -> String {
    let word = |w: &String| match w.split_once('=') {
        Some(("password", _)) => "password=…".to_owned(),
        _ if w.contains(' ') => format!("'{w}'"),
        _ => w.clone(),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn ask_vip() -> Option<String> {
    let address = SocketAddr::from((VIP, PORT));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(50))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.trim().to_owned()).filter(|b| !b.is_empty())
}
