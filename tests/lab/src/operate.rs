//! A cluster as its operator and its clients have it: verbs in, answers and addresses out.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cli_hosts::{Hosts, PowerEvent};
use serde_json::Value;

use crate::{ArpWatch, BMC_PASSWORD, BMC_USER, Bmc, CLIENT, Lab, LabBuilder, Tenure};

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Pause between two looks through an operator's tool.
const LOOK: Duration = Duration::from_millis(50);
/// An owner of an address that was silent for longer than this counts as none.
const SILENCE: Duration = Duration::from_millis(100);
/// Pause between two questions of a watch.
const STEP: Duration = Duration::from_millis(5);

/// Whether the end-to-end tests were asked for; says why not.
pub fn asked_for() -> bool {
    let asked = std::env::var_os("SYSTOLE_E2E").is_some_and(|value| value == "1");
    if !asked {
        println!("not run: needs root, openipmi and nftables; set SYSTOLE_E2E=1");
    }
    asked
}

/// A running cluster whose nodes have `ipmi_sim` as BMCs.
pub struct Cluster {
    lab: Lab,
}

impl Deref for Cluster {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// An entry of the fencing history.
#[derive(Debug, Clone)]
pub struct Fencing {
    /// The node that was to be fenced.
    pub target: String,
    /// `pending`, `done` or `failed`.
    pub state: String,
    /// Why it failed.
    pub reason: String,
}

impl Cluster {
    /// Powers `count` nodes on and waits until they are one cluster with quorum. No resources, no
    /// fence devices.
    pub fn start(name: &str, count: usize) -> Self {
        let lab = Self::lab(name, count).build();
        Self::start_lab(lab.expect("a lab (root, openipmi)"))
    }

    /// The lab of [`Cluster::start`], not built yet. Its hosts take a moment to boot, as real ones
    /// do: a fenced node that was back before its fence is confirmed might get everything again.
    pub fn lab(name: &str, count: usize) -> LabBuilder {
        let boot = ["sh", "-c", "sleep 1; exec systole daemon"];
        Lab::cluster(name, count).command(boot).bmc(Bmc::IpmiSim)
    }

    /// The same with a lab made elsewhere.
    pub fn start_lab(lab: Lab) -> Self {
        let cluster = Self { lab };
        cluster.power_on_nodes().expect("hosts that can be switched on");
        cluster.wait_formed();
        cluster
    }

    /// Waits until all nodes are members and have a DC.
    #[track_caller]
    pub fn wait_formed(&self) {
        let nodes = self.nodes().to_vec();
        self.wait("all nodes are members", || {
            nodes.iter().all(|node| {
                let Ok(seen) = self.json(node, "cluster status") else { return false };
                let members = seen["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
                seen["quorate"] == true
                    && seen["dc"].is_string()
                    && members.len() == nodes.len()
                    && members.iter().all(|member| member["member"] == true)
            })
        });
    }

    /// Waits until the DC has nothing to do.
    #[track_caller]
    pub fn settle(&self) {
        let idle = || {
            let seen = self.nodes().iter().find_map(|node| self.json(node, "cluster status").ok());
            let dc = seen.as_ref().and_then(|seen| seen["dc"].as_str());
            dc.and_then(|dc| self.json(dc, "cluster status").ok())
                .is_some_and(|seen| seen["state"] == "S_IDLE")
        };
        // Something that is said just now may still be on its way.
        self.wait("the cluster is idle", || {
            idle() && {
                std::thread::sleep(LOOK);
                idle()
            }
        });
    }

    /// Waits until `condition` holds. Panics with consoles and status when it takes too long.
    #[track_caller]
    pub fn wait(&self, what: &str, condition: impl FnMut() -> bool) -> Duration {
        self.wait_for(PATIENCE, what, condition)
    }

    /// The same with another patience.
    #[track_caller]
    pub fn wait_for(
        &self,
        patience: Duration,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> Duration {
        let began = Instant::now();
        while !condition() {
            if began.elapsed() >= patience {
                let status = self.nodes().iter().find_map(|node| self.ok(node, "status").ok());
                let status = status.unwrap_or_default();
                self.keep_cib();
                panic!("not within {patience:?}: {what}\n{}\n{status}", self.consoles());
            }
            std::thread::sleep(LOOK);
        }
        began.elapsed()
    }

    /// Keeps each node's CIB beside its console, for whoever looks into a failure.
    fn keep_cib(&self) {
        for node in self.nodes() {
            if let (Ok(cib), Ok(folder)) = (self.ok(node, "cib show"), self.folder(node)) {
                let _ = std::fs::write(folder.join("cib.xml"), cib);
            }
        }
    }

    /// Checks again and again, for `time`, that `condition` holds.
    #[track_caller]
    pub fn stays(&self, time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
        let began = Instant::now();
        while began.elapsed() < time {
            assert!(
                condition(),
                "not true after {:?}: {what}\n{}",
                began.elapsed(),
                self.consoles()
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Runs `systole` on a node with words separated by blanks; an error if it fails.
    pub fn ok(&self, node: &str, words: &str) -> anyhow::Result<String> {
        self.ok_words(node, &words.split_whitespace().collect::<Vec<_>>())
    }

    /// The same with words that may hold blanks.
    pub fn ok_words(&self, node: &str, words: &[&str]) -> anyhow::Result<String> {
        let command: Vec<&str> = ["systole"].iter().chain(words).copied().collect();
        let output = self.exec(node, &command, PATIENCE)?;
        ensure!(output.success(), "{command:?} on {node}: {:?} {}", output.code(), output.stderr);
        Ok(output.stdout)
    }

    /// Runs a verb that must succeed.
    #[track_caller]
    pub fn must(&self, node: &str, words: &str) -> String {
        match self.ok(node, words) {
            Ok(text) => text,
            Err(error) => panic!("{error:#}\n{}", self.consoles()),
        }
    }

    /// Runs a verb that must fail; what it says about that.
    #[track_caller]
    pub fn must_fail(&self, node: &str, words: &str) -> String {
        let error = self.ok(node, words).err();
        error.unwrap_or_else(|| panic!("'systole {words}' succeeds")).to_string()
    }

    /// A verb's result as JSON. That `cluster status` finds no quorum is a result as well.
    pub fn json(&self, node: &str, words: &str) -> anyhow::Result<Value> {
        const NO_QUORUM: i32 = 106;
        let command: Vec<&str> =
            ["systole", "--json"].into_iter().chain(words.split(' ')).collect();
        let output = self.exec(node, &command, PATIENCE)?;
        let found = words == "cluster status" && output.code() == Some(NO_QUORUM);
        ensure!(
            output.success() || found,
            "{command:?} on {node}: {:?} {}",
            output.code(),
            output.stderr
        );
        let text = output.stdout;
        serde_json::from_str(&text).with_context(|| format!("'{words}' printed: {text}"))
    }

    /// A fence device for each node, which knows only this node.
    pub fn make_fence_devices(&self) {
        for node in self.nodes() {
            let ip = self.bmc_address(node).expect("a BMC");
            self.must(
                &self.nodes()[0],
                &format!(
                    "stonith create fence-{node} fence_systole_ipmi ip={ip} username={BMC_USER} \
                     password={BMC_PASSWORD} lanplus=1 cipher=3 pcmk_host_list={node} \
                     op monitor interval=10s"
                ),
            );
        }
    }

    /// An address as a resource, which stays where it is unless it has to move.
    pub fn make_vip(&self, id: &str, ip: Ipv4Addr, more: &str) {
        self.must(
            &self.nodes()[0],
            &format!(
                "resource create {id} ocf:systole:vip ip={ip} cidr_netmask=24 \
                 op monitor interval=2s meta resource-stickiness=100 {more}"
            ),
        );
    }

    /// Watches an address from the client.
    pub fn watch(&self, ip: Ipv4Addr) -> ArpWatch {
        self.arp_watch(ip, STEP).expect("a packet socket on the client")
    }

    /// The node that has the watched address now.
    pub fn owner(&self, watch: &ArpWatch) -> Option<String> {
        self.host_of_mac(watch.owner(SILENCE)?).map(str::to_owned)
    }

    /// Waits until a node other than `not` has the address; its name.
    #[track_caller]
    pub fn wait_owner(&self, watch: &ArpWatch, not: Option<&str>) -> String {
        let mut owner = None;
        self.wait(&format!("the address answers, but not from {not:?}"), || {
            owner = self.owner(watch).filter(|owner| Some(owner.as_str()) != not);
            owner.is_some()
        });
        owner.expect("waited for")
    }

    /// Who had the address, in order, by name.
    pub fn owners(&self, watch: &ArpWatch) -> Vec<String> {
        let name = |tenure: &Tenure| self.host_of_mac(tenure.mac).unwrap_or("somebody").to_owned();
        watch.tenures().iter().map(name).collect()
    }

    /// The last time a node was switched off, if that was after `since`.
    pub fn switched_off(&self, node: &str, since: Instant) -> Option<PowerEvent> {
        let events = self.power_log().events();
        events.into_iter().rfind(|event| event.host == node && !event.on && event.at >= since)
    }

    /// Names of nodes that a BMC has switched off since `since`.
    pub fn fenced(&self, since: Instant) -> BTreeSet<String> {
        let events = self.power_log().events().into_iter();
        let fences = events.filter(|e| !e.on && e.at >= since && e.by.starts_with("ipmi_sim"));
        fences.map(|event| event.host).collect()
    }

    /// The fencing history of a node, oldest first.
    #[track_caller]
    pub fn fencing_of(&self, seen_from: &str, target: &str) -> Vec<Fencing> {
        let history = match self.json(seen_from, "stonith history") {
            Ok(history) => history,
            Err(error) => panic!("{error:#}\n{}", self.consoles()),
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = history.as_array().map(Vec::as_slice).unwrap_or_default();
        let entries = entries.iter().map(|entry| Fencing {
            target: text(&entry["target"]),
            state: text(&entry["state"]),
            reason: text(&entry["reason"]),
        });
        entries.filter(|entry| entry.target == target).collect()
    }

    /// A node other than the given ones.
    pub fn another(&self, than: &[&str]) -> &str {
        let other = self.nodes().iter().find(|node| !than.contains(&node.as_str()));
        other.expect("another node")
    }

    /// Cuts a node off from all other nodes, but not from clients: what the others send does not
    /// reach it, and what it sends does not reach them. Ends with [`Lab::lose_nothing`] or when
    /// the node is switched off.
    pub fn isolate(&self, node: &str) {
        let others = self.nodes().iter().filter(|name| *name != node);
        let addresses = others.map(|name| self.address(name).expect("a host").to_string());
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let script = format!(
            "table inet lab {{\n\
             chain input {{ type filter hook input priority 0;\n\
             iif eth0 ip saddr {{ {addresses} }} drop\n}}\n\
             chain output {{ type filter hook output priority 0;\n\
             oif eth0 ip daddr {{ {addresses} }} drop\n}}\n}}\n"
        );
        let done = self.sh(node, &format!("nft -f - <<'END'\n{script}END"));
        done.expect("nft (package nftables)");
    }

    /// Ends the isolation of all nodes in the same moment. One after the other would be another
    /// story: the first two would be a majority that has to fence the third.
    pub fn join_all(&self) {
        let began = Instant::now();
        let moment = Duration::from_millis(500);
        let join = |node: &String| {
            let wait = moment.saturating_sub(began.elapsed()).as_secs_f64();
            let script = format!("sleep {wait}; exec nft delete table inet lab");
            self.sh(node, &script).expect("a node that is on and isolated");
        };
        std::thread::scope(|scope| {
            self.nodes().iter().for_each(|node| _ = scope.spawn(move || join(node)));
        });
    }

    /// Watches from the client who answers HTTP on an address.
    pub fn watch_http(&self, to: SocketAddr) -> HttpWatch {
        HttpWatch::start(self, to).expect("the client's network")
    }
}

/// A time during which all answers came from one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// What was answered: the host's name.
    pub by: String,
    /// When the first question was asked.
    pub first: Instant,
    /// When the last answer was there.
    pub last: Instant,
    /// The longest time between two answers.
    pub gap: Duration,
}

/// A client that asks a web server for its host's name without end.
pub struct HttpWatch {
    shared: Arc<(AtomicBool, Mutex<Vec<Answers>>)>,
    thread: Option<JoinHandle<()>>,
}

impl HttpWatch {
    fn start(hosts: &Hosts, to: SocketAddr) -> anyhow::Result<Self> {
        let network = hosts.network(CLIENT)?;
        let shared = Arc::new((AtomicBool::new(false), Mutex::new(Vec::new())));
        let for_thread = Arc::clone(&shared);
        let work = move || {
            if network.enter().is_err() {
                return;
            }
            while !for_thread.0.load(Ordering::Relaxed) {
                let asked = Instant::now();
                if let Some(by) = ask(to) {
                    note(
                        &mut for_thread.1.lock().unwrap_or_else(PoisonError::into_inner),
                        by,
                        asked,
                    );
                }
                std::thread::sleep(STEP.saturating_sub(asked.elapsed()));
            }
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(work)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Who answered when, in order.
    pub fn answers(&self) -> Vec<Answers> {
        self.shared.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who answered a question that was asked after `since`.
    pub fn answered_after(&self, since: Instant) -> Option<String> {
        self.answers().pop().filter(|answers| answers.last > since).map(|answers| answers.by)
    }
}

impl Drop for HttpWatch {
    fn drop(&mut self) {
        self.shared.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Body of the server's answer.
fn ask(to: SocketAddr) -> Option<String> {
    // Short, because a lost SYN is only sent again after a second.
    const WAIT: Duration = Duration::from_millis(100);
    let mut stream = TcpStream::connect_timeout(&to, WAIT).ok()?;
    stream.set_read_timeout(Some(WAIT)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    Read::by_ref(&mut stream).take(4096).read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.trim().to_owned()).filter(|body| !body.is_empty())
}

fn note(answers: &mut Vec<Answers>, by: String, asked: Instant) {
    let now = Instant::now();
    match answers.last_mut() {
        Some(last) if last.by == by => {
            last.gap = last.gap.max(now - last.last);
            last.last = now;
        }
        _ => answers.push(Answers { by, first: asked, last: now, gap: Duration::ZERO }),
    }
}
