//! The main loop.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cib_store::Who;
use cib_xml::Doc;
use crm_api::secret::{Change, Place};
use crm_api::{Event, EventKind, Request, Response, exit};
use crm_controller::Level;
use crm_executor::{Outcome, Status, code};
use crm_history::Fact;
use crm_node::{Effect, Input, Node};
use membership_base::NodeId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::agents::Agents;
use crate::alive::{Alive, BEAT};
use crate::archive::Archive;
use crate::clock::{Clock, wall};
use crate::errands::Errands;
use crate::files::CibFiles;
use crate::plan::{Computed, Failed, Planner};
use crate::ring::{Ring, RingEvent};
use crate::secrets::Secrets;
use crate::started::StartedFiles;
use crate::{Options, fence, ipc, lock, panics, plan, queue};

/// Inputs that are taken before the timers get their turn again.
const BURST: usize = 64;
/// Requests of tools that may wait for their answer.
const CLIENTS_MAX: usize = 10_000;
/// Exit status of a daemon that must not be started again by itself.
const EXIT_FATAL: i32 = 100;
/// Exit status of a daemon that has left because it cannot write: it may be started again, and joins
/// once it can.
const EXIT_DISK: i32 = 74;

/// What reaches the main loop.
pub(crate) enum Incoming {
    /// For the node's machines.
    Node(Input),
    /// From the ring.
    Ring(RingEvent),
    /// A plan, by its number, or why there is none.
    Planned(u32, Result<Computed, Failed>),
    /// From a tool.
    Asked(ipc::Asked),
    /// A CIB could not be written.
    DiskFailed(String),
}

impl Incoming {
    /// Bytes of it that others on the network decide on.
    pub(crate) fn len(&self) -> usize {
        match self {
            Incoming::Ring(RingEvent::Node(Input::Delivered(delivered))) => delivered.bytes.len(),
            _ => 0,
        }
    }
}

/// Runs the daemon until it is told to leave; the process's exit status.
///
/// # Errors
/// If it cannot start: the configuration, the key, the folders or the socket are not as they must
/// be. Nothing has been changed then.
pub fn run(options: Options) -> anyhow::Result<i32> {
    panics::abort_unless_contained();
    // Memory holds secrets: no other user's debugger and no core file gets at it.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        warn!("other programs of this user may read the daemon's memory: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("systole-worker")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let status = runtime.block_on(async { Daemon::start(options)?.serve().await });
    // Agents' output may still be read: nobody waits for that.
    runtime.shutdown_background();
    status
}

struct Daemon {
    node: Node,
    ring: Ring,
    files: Arc<CibFiles>,
    started: StartedFiles,
    archive: Archive,
    agents: Agents,
    secrets: Secrets,
    clock: Clock,
    sender: queue::Sender,
    receiver: queue::Receiver,
    /// What the loop tells itself, which comes before everything else.
    own: VecDeque<Input>,
    errands: Errands,
    planner: Planner,
    alive: Alive,
    requests: ipc::Requests,
    /// Tools that wait for an answer.
    clients: BTreeMap<u64, mpsc::Sender<Response>>,
    client_count: u64,
    subscribers: Vec<(Who, mpsc::Sender<Response>)>,
    /// How to end a resource agent's run.
    kills: BTreeMap<crm_executor::RunId, oneshot::Sender<()>>,
    exit: Option<i32>,
    /// The CIB could not be written: this node is leaving.
    disk_failed: bool,
    /// As long as they are held no other daemon starts here.
    _locks: [File; 2],
}

impl Daemon {
    fn start(options: Options) -> anyhow::Result<Daemon> {
        let locks = lock::take(&options)?;
        let (sender, receiver) = queue::channel();
        let alive = Alive::new();
        let clock = Clock::start();
        let files = CibFiles::open(&options.state_dir.join("cib")).with_context(|| {
            format!("cannot use the folder {}", options.state_dir.join("cib").display())
        })?;
        let loaded = files.load().context("cannot read the CIB")?;
        loaded.warnings.iter().for_each(|text| error!("{text}"));
        files.try_to_write(&loaded.doc).with_context(|| {
            format!(
                "the CIB cannot be written to {}; this node does not join the cluster before it can: \
                 see that the disk has room",
                files.folder().display()
            )
        })?;
        let prepared = Ring::prepare(&options)?;
        let archive = Archive::start(&options.state_dir, &loaded.doc)
            .context("cannot start the thread that keeps the history")?;
        let folder = options.run_dir.join("started");
        let (started_files, started) = StartedFiles::open(folder.clone())
            .with_context(|| format!("cannot use the folder {}", folder.display()))?;
        let node = Node::new(crm_node::Setup {
            local: prepared.local,
            nodes: prepared.nodes.clone(),
            votes: prepared.votes.clone(),
            cluster: prepared.cluster.clone(),
            life: prepared.incarnation,
            wall_ms: clock.wall_ms(),
            cib: loaded.doc,
            started,
            encrypted: prepared.encrypted,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let requests = ipc::listen(&options.run_dir.join("systole.sock"))?;
        info!("node {} of cluster '{}' starts", node.name(), prepared.cluster);
        let to_loop = sender.clone();
        let ring = prepared.start(alive.pulse(), move |event| {
            to_loop.send_message(Incoming::Ring(event));
        })?;
        let errands =
            Errands::start(sender.clone()).context("cannot start the thread that writes files")?;
        let secrets = Secrets::new(&options.state_dir);
        Ok(Daemon {
            node,
            ring,
            files: Arc::new(files),
            started: started_files,
            archive,
            agents: Agents::new(sender.clone(), secrets.clone()),
            secrets,
            clock,
            sender,
            receiver,
            own: VecDeque::new(),
            errands,
            planner: Planner::default(),
            alive,
            requests,
            clients: BTreeMap::new(),
            client_count: 0,
            subscribers: Vec::new(),
            kills: BTreeMap::new(),
            exit: None,
            disk_failed: false,
            _locks: locks,
        })
    }

    async fn serve(mut self) -> anyhow::Result<i32> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch signals")?;
        self.alive.ready();
        loop {
            self.alive.beat();
            if let Some(wall_ms) = self.clock.wall_moved() {
                self.input(Input::Clock { wall_ms });
            }
            let wait = match self.node.poll_timeout() {
                Some(at) => at.since(self.clock.now()).min(BEAT),
                None => BEAT,
            };
            tokio::select! {
                biased;
                _ = terminate.recv() => self.input(Input::Shutdown),
                _ = interrupt.recv() => self.input(Input::Shutdown),
                Some(incoming) = self.receiver.recv() => {
                    self.take(incoming);
                    for _ in 1..BURST {
                        let Some(incoming) = self.receiver.try_recv() else { break };
                        self.take(incoming);
                    }
                }
                Some(asked) = self.requests.next() => self.take(Incoming::Asked(asked)),
                () = tokio::time::sleep(wait) => {}
            }
            // Tools get their turn however busy the cluster is.
            let waiting: Vec<_> = self.requests.waiting().collect();
            waiting.into_iter().for_each(|asked| self.take(Incoming::Asked(asked)));
            let now = self.clock.now();
            if self.node.poll_timeout().is_some_and(|at| at <= now) {
                self.node.handle_timeout(now);
                self.carry_out();
                self.take_own();
            }
            if let Some(status) = self.exit {
                if status == 0 {
                    self.archive.finish();
                }
                return Ok(status);
            }
        }
    }

    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Node(input) => self.input(input),
            Incoming::Ring(RingEvent::Node(input)) => self.input(input),
            Incoming::Ring(RingEvent::Ready) => self.ring.flush(),
            Incoming::Ring(RingEvent::Gathering(reason)) => {
                info!("looking for the members: {reason}");
                self.publish(EventKind::Gathering { reason });
            }
            Incoming::Planned(plan, computed) => self.planned(plan, computed),
            Incoming::Asked(asked) => self.asked(asked),
            Incoming::DiskFailed(reason) => {
                // What this node does not keep it does not vouch for, so it can leave in good order.
                if !self.disk_failed {
                    error!(
                        "the CIB cannot be written to {reason}; this node keeps no change any more \
                         and leaves the cluster: see that the disk has room, then start the daemon \
                         again"
                    );
                    self.disk_failed = true;
                    self.input(Input::Shutdown);
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.own.push_back(input);
        self.take_own();
    }

    fn take_own(&mut self) {
        while let Some(input) = self.own.pop_front() {
            if matches!(input, Input::Shutdown) {
                self.alive.stopping();
            }
            self.node.handle(self.clock.now(), input);
            self.carry_out();
        }
    }

    fn asked(&mut self, asked: ipc::Asked) {
        let ipc::Asked { who, request, answer } = asked;
        let to = answer.clone();
        let reply = move |response| {
            // A tool that has hung up does not want its answer.
            let _ = to.try_send(response);
        };
        match request {
            Request::Subscribe => {
                reply(Response::Done);
                self.subscribers.push((who, answer));
            }
            Request::Membership | Request::Cmap { .. } if self.node.restricts(&who) => {
                let reason = format!(
                    "user {} may not see the membership: it is not subject to access rules",
                    who.user
                );
                reply(Response::Failed { code: exit::INSUFFICIENT_PRIVILEGES, reason });
            }
            Request::Membership => self.ring.membership(answer),
            Request::Cmap { prefix } => self.ring.cmap(prefix, answer),
            Request::ExpectVotes(votes) if who.user == "root" => {
                reply(self.ring.expect_votes(votes));
            }
            Request::CancelWaitForAll if who.user == "root" => {
                reply(self.ring.cancel_wait_for_all());
            }
            request => {
                if self.ring.is_busy() {
                    let reason = "too much waits to be told to the other members; try again later";
                    reply(Response::Failed { code: exit::BUSY, reason: reason.to_owned() });
                    return;
                }
                if self.clients.len() >= CLIENTS_MAX {
                    self.clients.retain(|_, client| !client.is_closed());
                }
                if self.clients.len() >= CLIENTS_MAX {
                    let reason = format!("{CLIENTS_MAX} requests wait for their answer already");
                    reply(Response::Failed { code: exit::BUSY, reason });
                    return;
                }
                self.client_count += 1;
                let id = self.client_count;
                self.clients.insert(id, answer);
                self.input(Input::Client { id, who, request });
            }
        }
    }

    /// Does everything that the node wants done.
    fn carry_out(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { bytes, guarantee } => {
                    if let Err(reason) = self.ring.send(bytes, guarantee) {
                        self.tell(Input::Fail { reason });
                    }
                }
                Effect::Persist { snapshot, version } => {
                    let at_ms = u64::try_from(wall().as_millis()).unwrap_or(u64::MAX);
                    self.archive.fact(at_ms, Fact::Configuration(Arc::clone(&snapshot)));
                    let files = Arc::clone(&self.files);
                    self.in_background(move || match files.save(&snapshot) {
                        Ok(()) => Incoming::Node(Input::Persisted { version }),
                        Err(error) => {
                            let folder = files.folder().display();
                            Incoming::DiskFailed(format!("{folder}: {error}"))
                        }
                    });
                }
                Effect::SetAside { doc, reason } => self.set_aside(doc, reason),
                Effect::RunAgent { run, operation, keep } => {
                    let kept = keep.map(|with| self.started.keep(&operation.resource, Some(with)));
                    match kept.transpose() {
                        Ok(_) => self.run_agent(run, operation),
                        Err(error) => {
                            let reason = format!(
                                "what {} is started with cannot be kept in {}: {error}",
                                operation.resource,
                                self.started.folder().display()
                            );
                            let outcome = Outcome::broken(Status::Error, code::ERROR, reason);
                            self.tell(Input::AgentFinished { run, outcome });
                        }
                    }
                }
                Effect::KeepStarted { resource, with } => {
                    if let Err(error) = self.started.keep(&resource, with) {
                        let folder = self.started.folder().display();
                        error!(
                            "what {resource} was started with is not noted in {folder}: {error}"
                        );
                    }
                }
                Effect::KillAgent { run } => {
                    if let Some(kill) = self.kills.remove(&run) {
                        let _ = kill.send(());
                    }
                }
                Effect::RunFenceAgent { run, device, agent, options, timeout_ms } => {
                    self.run_fence_agent(run, device, agent, options, timeout_ms);
                }
                Effect::KeepSecret { asked, at_ms, change } => {
                    self.keep_secret(asked, at_ms, change);
                }
                Effect::LookAtSecrets { view, places } => self.look_at_secrets(view, places),
                Effect::ReadSecrets { places } => self.read_secrets(places),
                Effect::Schedule { plan, cib, now_s } => self.plan(plan, cib, now_s),
                Effect::KeepInput => self.archive.keep(),
                Effect::History { at_ms, fact } => self.archive.fact(at_ms, fact),
                Effect::Reply { id, response } => {
                    if let Some(client) = self.clients.remove(&id) {
                        let _ = client.try_send(response);
                    }
                }
                Effect::Event(kind) => self.publish(kind),
                Effect::Log(level, text) => self.log(level, text),
                Effect::Leave => {
                    // The ring's thread must not wait for this one.
                    self.receiver.close();
                    self.ring.leave();
                    info!("left the cluster");
                    self.exit = Some(if self.disk_failed { EXIT_DISK } else { 0 });
                }
                Effect::LeaveRing => self.ring.leave(),
                Effect::RestartHost => restart_host(),
                Effect::Ended { .. } => self.exit = Some(EXIT_FATAL),
            }
        }
    }

    /// An input for the machines that comes of carrying out an effect: taken after it.
    fn tell(&mut self, input: Input) {
        self.own.push_back(input);
    }

    /// Work that takes a while, away from the loop.
    fn in_background(&self, work: impl FnOnce() -> Incoming + Send + 'static) {
        let sender = self.sender.clone();
        tokio::task::spawn_blocking(move || sender.send_from_thread(work()));
    }

    fn set_aside(&self, doc: Doc, reason: String) {
        let (files, why) = (Arc::clone(&self.files), reason.clone());
        let sent = self.errands.send(move || {
            match files.set_aside(&doc) {
                Ok(path) => warn!("{reason}; the other CIB is kept as {}", path.display()),
                Err(error) => error!("{reason}; the other CIB could not be kept: {error}"),
            }
            Vec::new()
        });
        if let Err(error) = sent {
            error!("{why}; the other CIB could not be kept: {error}");
        }
    }

    fn keep_secret(&mut self, asked: Option<(NodeId, u64)>, at_ms: u64, change: Change) {
        let (secrets, place) = (self.secrets.clone(), change.place.clone());
        let sent = self.errands.send(move || match asked {
            Some((asker, number)) => {
                let error = secrets.keep(&change, at_ms).err();
                vec![Incoming::Node(Input::SecretKept { asker, number, error })]
            }
            None => {
                secrets.keep_newer(&change, at_ms);
                Vec::new()
            }
        });
        match (sent, asked) {
            (Ok(()), _) => {}
            (Err(reason), Some((asker, number))) => {
                self.tell(Input::SecretKept { asker, number, error: Some(reason) });
            }
            (Err(reason), None) => {
                warn!("the secret value of {place} is not kept: {reason}; run 'cibsecret sync'");
            }
        }
    }

    fn look_at_secrets(&mut self, view: u64, places: Vec<Place>) {
        let secrets = self.secrets.clone();
        let sent = self.errands.send(move || {
            vec![Incoming::Node(Input::SecretsFound { view, secrets: secrets.times(places) })]
        });
        if let Err(reason) = sent {
            warn!("this node says that it has no secrets: {reason}; run 'cibsecret sync'");
            self.tell(Input::SecretsFound { view, secrets: Vec::new() });
        }
    }

    fn read_secrets(&self, places: Vec<(Place, u64)>) {
        let secrets = self.secrets.clone();
        let sent = self.errands.send(move || {
            let read = secrets.to_tell(places).into_iter();
            read.map(|(at_ms, change)| Incoming::Node(Input::SecretRead { at_ms, change }))
                .collect()
        });
        if let Err(reason) = sent {
            warn!("this node's secrets are not told to the others: {reason}; run 'cibsecret sync'");
        }
    }

    fn plan(&self, plan: u32, cib: Arc<Doc>, now_s: u64) {
        let (planner, sender) = (self.planner.clone(), self.sender.clone());
        tokio::spawn(async move {
            let compute = move |cib, now_s| plan::compute(cib, now_s, plan);
            let computed = planner.plan(cib, now_s, compute).await;
            sender.send(Incoming::Planned(plan, computed)).await;
        });
    }

    fn planned(&mut self, plan: u32, computed: Result<Computed, Failed>) {
        let (result, input) = match computed {
            Ok(computed) => {
                let path = self.archive.offer(&computed);
                (Ok(computed.transition), path.map(|path| path.to_string_lossy().into_owned()))
            }
            Err(Failed { mut reason, input }) => {
                let keep = |(cib, now_s)| self.archive.keep_failed(&cib, now_s);
                if let Some(path) = input.and_then(keep) {
                    reason = format!(
                        "{reason}; its input is kept as {}: please report it with that file. \
                         What runs goes on, and the next change leads to another attempt",
                        path.display()
                    );
                }
                (Err(reason), None)
            }
        };
        self.input(Input::Planned { plan, result, input });
    }

    fn run_agent(&mut self, run: crm_executor::RunId, operation: crm_executor::Operation) {
        let (kill, killed) = oneshot::channel();
        self.kills.retain(|_, kill| !kill.is_closed());
        self.kills.insert(run, kill);
        let (agents, sender) = (self.agents.clone(), self.sender.clone());
        tokio::spawn(async move {
            let (agent, metadata) = (operation.agent.clone(), agents.metadata(&operation));
            let (outcome, metadata) = tokio::join!(agents.run(operation, killed), metadata);
            if let Some(text) = metadata {
                sender.send(Incoming::Node(Input::Metadata { agent, text })).await;
            }
            sender.send(Incoming::Node(Input::AgentFinished { run, outcome })).await;
        });
    }

    fn run_fence_agent(
        &mut self,
        run: crm_fencer::RunId,
        device: String,
        agent: String,
        options: Vec<(String, String)>,
        timeout_ms: u64,
    ) {
        let (sender, secrets) = (self.sender.clone(), self.secrets.clone());
        tokio::spawn(async move {
            let options = match secrets.filled_in(device, options).await {
                Ok(options) => options,
                Err(reason) => {
                    let result = Err(reason);
                    sender.send(Incoming::Node(Input::FenceAgentFinished { run, result })).await;
                    return;
                }
            };
            let (kill, killed) = oneshot::channel();
            let timer = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(timeout_ms)).await;
                let _ = kill.send(());
                // The run owns the other end until it is over; only then may this one go.
                std::future::pending::<()>().await;
            });
            let result = fence::run(&agent, options, killed).await;
            timer.abort();
            sender.send(Incoming::Node(Input::FenceAgentFinished { run, result })).await;
        });
    }

    fn publish(&mut self, kind: EventKind) {
        if let EventKind::Membership { members, quorate, .. } = &kind {
            let quorum = if *quorate { "with quorum" } else { "without quorum" };
            info!("members: {} ({quorum})", members.join(", "));
        }
        if self.subscribers.is_empty() {
            return;
        }
        let at_ms = u64::try_from(wall().as_millis()).unwrap_or(u64::MAX);
        // That the CIB has changed says nothing of it; everything else may tell what is denied.
        let for_all = kind == EventKind::CibChanged;
        let event = Response::Event(Event { at_ms, kind });
        let node = &self.node;
        // Who does not keep up is hung up on: it can ask again.
        self.subscribers.retain(|(who, subscriber)| {
            let may_see = for_all || !node.restricts(who);
            if may_see {
                subscriber.try_send(event.clone()).is_ok()
            } else {
                !subscriber.is_closed()
            }
        });
    }

    fn log(&mut self, level: Level, text: String) {
        let name = match level {
            Level::Error => {
                error!("{text}");
                "error"
            }
            Level::Warning => {
                warn!("{text}");
                "warning"
            }
            Level::Notice => {
                info!("{text}");
                "notice"
            }
            Level::Info => {
                info!("{text}");
                "info"
            }
        };
        self.publish(EventKind::Log { level: name.to_owned(), text });
    }
}

/// Restarts this host as it is, without an orderly end of anything: others have taken over what runs
/// here, so every moment counts.
fn restart_host() {
    let Err(error) = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT);
    error!("this host cannot be restarted ({error}): what runs here is stopped instead");
}
