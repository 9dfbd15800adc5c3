//! The main loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use cib_store::Who;
use crm_api::{Event, EventKind, Request, Response, exit};
use crm_controller::Level;
use crm_executor::{Outcome, Status, code};
use crm_history::Fact;
use crm_node::{Effect, Input, Node};
use membership_base::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::agents::Agents;
use crate::archive::Archive;
use crate::files::CibFiles;
use crate::plan::Computed;
use crate::ring::{Ring, RingEvent};
use crate::secrets::Secrets;
use crate::started::StartedFiles;
use crate::{Options, fence, ipc};

/// Inputs that are taken before the timers get their turn again.
const BURST: usize = 64;
/// Exit status of a daemon that must not be started again by itself.
const EXIT_FATAL: i32 = 100;

/// What reaches the main loop.
pub(crate) enum Incoming {
    /// For the node's machines.
    Node(Input),
    /// From the ring.
    Ring(RingEvent),
    /// A plan, by its number, or why there is none.
    Planned(u32, Result<Computed, String>),
    /// From a tool.
    Asked(ipc::Asked),
    /// A CIB could not be written.
    DiskFailed(String),
}

/// Runs the daemon until it is told to leave; the process's exit status.
///
/// # Errors
/// If it cannot start: the configuration, the key, the folders or the socket are not as they must
/// be. Nothing has been changed then.
pub fn run(options: Options) -> anyhow::Result<i32> {
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
    sender: mpsc::UnboundedSender<Incoming>,
    receiver: mpsc::UnboundedReceiver<Incoming>,
    asked: mpsc::Receiver<ipc::Asked>,
    /// Tools that wait for an answer.
    clients: BTreeMap<u64, mpsc::Sender<Response>>,
    client_count: u64,
    subscribers: Vec<(Who, mpsc::Sender<Response>)>,
    /// How to end a resource agent's run.
    kills: BTreeMap<crm_executor::RunId, oneshot::Sender<()>>,
    exit: Option<i32>,
}

/// The machines' clock: nanoseconds since the daemon's start.
#[derive(Clone, Copy)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn now(self) -> Instant {
        Instant(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Daemon {
    fn start(options: Options) -> anyhow::Result<Daemon> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let clock = Clock(std::time::Instant::now());
        let files = CibFiles::open(&options.state_dir.join("cib")).with_context(|| {
            format!("cannot use the folder {}", options.state_dir.join("cib").display())
        })?;
        let loaded = files.load().context("cannot read the CIB")?;
        loaded.warnings.iter().for_each(|text| error!("{text}"));
        let prepared = Ring::prepare(&options)?;
        let archive = Archive::start(&options.state_dir, &loaded.doc)
            .context("cannot start the thread that keeps the history")?;
        let folder = options.run_dir.join("started");
        let (started_files, started) = StartedFiles::open(folder.clone())
            .with_context(|| format!("cannot use the folder {}", folder.display()))?;
        let wall = wall();
        let node = Node::new(crm_node::Setup {
            local: prepared.local,
            nodes: prepared.nodes.clone(),
            cluster: prepared.cluster.clone(),
            life: prepared.incarnation,
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            cib: loaded.doc,
            started,
            encrypted: prepared.encrypted,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let (asked_sender, asked) = mpsc::channel(256);
        ipc::listen(&options.run_dir.join("systole.sock"), asked_sender)?;
        info!("node {} of cluster '{}' starts", node.name(), prepared.cluster);
        let to_loop = sender.clone();
        let ring = prepared.start(move |event| {
            // The loop is gone only when the process ends.
            let _ = to_loop.send(Incoming::Ring(event));
        })?;
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
            asked,
            clients: BTreeMap::new(),
            client_count: 0,
            subscribers: Vec::new(),
            kills: BTreeMap::new(),
            exit: None,
        })
    }

    async fn serve(mut self) -> anyhow::Result<i32> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch signals")?;
        loop {
            let wait = match self.node.poll_timeout() {
                Some(at) => at.since(self.clock.now()),
                None => Duration::from_secs(3600),
            };
            tokio::select! {
                biased;
                _ = terminate.recv() => self.input(Input::Shutdown),
                _ = interrupt.recv() => self.input(Input::Shutdown),
                Some(incoming) = self.receiver.recv() => {
                    self.take(incoming);
                    for _ in 1..BURST {
                        let Ok(incoming) = self.receiver.try_recv() else { break };
                        self.take(incoming);
                    }
                }
                Some(asked) = self.asked.recv() => self.take(Incoming::Asked(asked)),
                () = tokio::time::sleep(wait) => {}
            }
            let now = self.clock.now();
            if self.node.poll_timeout().is_some_and(|at| at <= now) {
                self.node.handle_timeout(now);
                self.carry_out();
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
                error!(
                    "the CIB cannot be written to {reason}; the change is not acknowledged; see \
                     that the disk has room, then start the daemon again"
                );
                self.fatal("a node that cannot keep the CIB must not go on as if it could");
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.node.handle(self.clock.now(), input);
        self.carry_out();
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
                Effect::Send { bytes, guarantee } => self.ring.send(bytes, guarantee),
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
                Effect::SetAside { doc, reason } => match self.files.set_aside(&doc) {
                    Ok(path) => warn!("{reason}; the other CIB is kept as {}", path.display()),
                    Err(error) => error!("{reason}; the other CIB could not be kept: {error}"),
                },
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
                        error!("what {resource} was started with is not noted in {folder}: {error}");
                    }
                }
                Effect::KillAgent { run } => {
                    if let Some(kill) = self.kills.remove(&run) {
                        let _ = kill.send(());
                    }
                }
                Effect::RunFenceAgent { run, device, agent, options, timeout_ms } => {
                    match self.secrets.fill_in(&device, options) {
                        Ok(options) => self.run_fence_agent(run, agent, options, timeout_ms),
                        Err(reason) => {
                            self.tell(Input::FenceAgentFinished { run, result: Err(reason) })
                        }
                    }
                }
                Effect::KeepSecret { asked: Some((asker, number)), at_ms, change } => {
                    let error = self.secrets.keep(&change, at_ms).err();
                    self.tell(Input::SecretKept { asker, number, error });
                }
                Effect::KeepSecret { asked: None, at_ms, change } => {
                    self.secrets.keep_newer(&change, at_ms);
                }
                Effect::LookAtSecrets { view, places } => {
                    let secrets = self.secrets.times(places);
                    self.tell(Input::SecretsFound { view, secrets });
                }
                Effect::ReadSecrets { places } => {
                    for (at_ms, change) in self.secrets.to_tell(places) {
                        self.tell(Input::SecretRead { at_ms, change });
                    }
                }
                Effect::Schedule { plan, cib, now_s } => {
                    let compute = move || crate::plan::compute(cib, now_s, plan);
                    self.in_background(move || Incoming::Planned(plan, compute()));
                }
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
                    self.ring.leave();
                    info!("left the cluster");
                    self.exit = Some(0);
                }
                Effect::Fatal(reason) => self.fatal(&reason),
            }
        }
    }

    /// An input for the machines that comes of carrying out an effect: taken after it.
    fn tell(&self, input: Input) {
        // The loop's own end of the channel is open as long as the daemon lives.
        let _ = self.sender.send(Incoming::Node(input));
    }

    /// Work that takes a while, away from the loop.
    fn in_background(&self, work: impl FnOnce() -> Incoming + Send + 'static) {
        let sender = self.sender.clone();
        tokio::task::spawn_blocking(move || {
            let _ = sender.send(work());
        });
    }

    fn planned(&mut self, plan: u32, computed: Result<Computed, String>) {
        let path = computed.as_ref().ok().and_then(|computed| self.archive.offer(computed));
        let input = path.map(|path| path.to_string_lossy().into_owned());
        let result = computed.map(|computed| computed.transition);
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
                let _ = sender.send(Incoming::Node(Input::Metadata { agent, text }));
            }
            let _ = sender.send(Incoming::Node(Input::AgentFinished { run, outcome }));
        });
    }

    fn run_fence_agent(
        &mut self,
        run: crm_fencer::RunId,
        agent: String,
        options: Vec<(String, String)>,
        timeout_ms: u64,
    ) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let (kill, killed) = oneshot::channel();
            let timer = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(timeout_ms)).await;
                let _ = kill.send(());
                // The run owns the other end until it is over; only then may this one go.
                std::future::pending::<()>().await;
            });
            let result = fence::run(&agent, options, killed).await;
            timer.abort();
            let _ = sender.send(Incoming::Node(Input::FenceAgentFinished { run, result }));
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

    /// Ends at once. Whatever runs here must not go on once others take it over, so the host goes
    /// down with the daemon where that is safe to do.
    fn fatal(&mut self, reason: &str) {
        error!("{reason}: stopping at once");
        if in_own_pid_namespace() {
            error!("restarting this host");
            nix::unistd::sync();
            let Err(error) = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT);
            error!("this host cannot be restarted: {error}");
        }
        self.exit = Some(EXIT_FATAL);
    }
}

/// Whether process 1 here is that of a host made of namespaces, so that `reboot(2)` ends this host
/// and not the machine that it is on.
fn in_own_pid_namespace() -> bool {
    /// The inode number of the first PID namespace (`PROC_PID_INIT_INO` in the kernel's headers).
    const FIRST: &str = "pid:[4026531836]";
    std::fs::read_link(Path::new("/proc/self/ns/pid")).is_ok_and(|link| link != Path::new(FIRST))
}
