//! What the rest of the process sees of the ring.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use membership_base::{Delivered, Incarnation, NodeId, View};
use membership_conf::{CmapEntry, Config};
use membership_quorum::Control;
use membership_totem::{Guarantee, Reason};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::address::{self, AddressError};
use crate::driver::{Driver, Mail, Wiring};
use crate::keyfile::{self, Key, KeyError};
use crate::pulse::Pulse;
use crate::state;

/// Largest message.
const MESSAGE_MAX: usize = 64 << 20;
/// Bytes that may wait to be sent before [`Transport::submit`] says busy.
const BACKLOG_MAX: usize = 16 << 20;
/// Mails that may wait for the thread; more are refused as [`SubmitError::Busy`].
const MAIL_MAX: usize = 4096;
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Where the key is if `corosync.conf` does not say.
pub fn default_key_path() -> PathBuf {
    PathBuf::from("/etc/corosync/authkey")
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// The local node's name or address, if the host's name and addresses do not tell.
    pub local: Option<String>,
    /// The key. `None`: read the configured or default key file, unless the configuration switches
    /// encryption off.
    pub key: Option<Key>,
    /// Folder for what must survive a restart.
    pub state_dir: PathBuf,
    /// What [`begin_incarnation`] has given for this start, if others need to know it as well.
    /// `None`: begin one.
    pub incarnation: Option<Incarnation>,
    /// Lock the whole process's memory.
    pub lock_memory: bool,
    /// The sign of life of what the ring speaks for; without it the ring speaks for a node as long
    /// as the process runs.
    pub pulse: Option<Pulse>,
}

impl Options {
    /// Options with nothing special.
    pub fn new(config: Config, state_dir: PathBuf) -> Options {
        Options {
            config,
            local: None,
            key: None,
            state_dir,
            incarnation: None,
            lock_memory: false,
            pulse: None,
        }
    }
}

/// Begins a new incarnation of this node: a number that grows with every start, whatever the clock
/// does. It is kept in `state_dir`, which is [`Options::state_dir`]. Call it once for each start.
///
/// # Errors
/// If it cannot be kept.
pub fn begin_incarnation(state_dir: &Path) -> Result<Incarnation, StartError> {
    state::begin_incarnation(state_dir)
        .map_err(|source| StartError::State { path: state_dir.to_owned(), source })
}

/// Why the ring cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The local node cannot be found.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There is no usable key, and encryption is not switched off.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A socket cannot be opened.
    #[error("link {link}: cannot use {address}")]
    Socket {
        /// The link.
        link: u8,
        /// The local address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// What must survive a restart cannot be kept.
    #[error("cannot write to {path}; see that the disk has room and may be written to", path = path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Threads or event descriptors are refused.
    #[error("the system refuses a thread or descriptor: {0}")]
    System(#[from] io::Error),
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many wait; [`Event::Ready`] tells when there is room again.
    #[error("too many messages wait to be sent")]
    Busy,
    /// Larger than 64 MiB.
    #[error("the message is larger than 64 MiB")]
    TooLarge,
    /// The ring was left.
    #[error("the ring was left")]
    Stopped,
}

/// What happens, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A new membership, or a new verdict on quorum for the same one. Sometimes two come in a row:
    /// first the members that came along from the old view, then, after what could not be made
    /// safe in the old view was delivered to them, the new one.
    View(View),
    /// An ordered message.
    Delivered(Delivered),
    /// The ring is being formed: nothing is delivered until the next view, and the present one is
    /// in doubt.
    Gathering(Reason),
    /// This machine stood still for so long; others may have gone on without it.
    Paused(Duration),
    /// After [`SubmitError::Busy`]: there is room again.
    Ready,
    /// The ring was left; no event follows.
    Stopped,
}

/// One link as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its number.
    pub link: u8,
    /// The local address.
    pub local: String,
    /// Peer, its address (empty if not resolved), and whether it is heard on this link.
    pub peers: Vec<(NodeId, String, bool)>,
}

/// State for tools.
#[derive(Clone, Debug)]
pub struct Status {
    /// The local node.
    pub me: NodeId,
    /// The last view announced.
    pub view: View,
    /// The ring.
    pub ring: membership_totem::Status,
    /// Votes.
    pub quorum: membership_quorum::Status,
    /// Links.
    pub links: Vec<LinkStatus>,
    /// Whether the ring's thread has real-time priority.
    pub realtime: bool,
    /// Whether datagrams are encrypted.
    pub encrypted: bool,
    /// All keys: the file's, and those that show the present state.
    pub cmap: Vec<CmapEntry>,
}

pub(crate) type Sink = Box<dyn FnMut(Event) + Send>;

/// What both threads see.
pub(crate) struct Shared {
    pub(crate) wake: EventFd,
    /// Bytes submitted and not yet in the ring.
    pub(crate) waiting: AtomicUsize,
    /// Somebody was told to wait.
    pub(crate) wants_ready: AtomicBool,
    pub(crate) stopped: AtomicBool,
}

impl Shared {
    pub(crate) fn ring_bell(&self) {
        // The only error is an overflow of the counter, and then the bell rings already.
        let _ = self.wake.write(1);
    }

    pub(crate) fn is_roomy(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < BACKLOG_MAX / 2
    }
}

/// The running ring. Clones are the same ring. It goes on until [`Transport::leave`]; the thread
/// does not end when the handles are dropped.
#[derive(Clone)]
pub struct Transport {
    me: NodeId,
    mail: SyncSender<Mail>,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Transport {
    /// Starts the ring. `sink` is called on the ring's thread for everything that happens and must
    /// return at once. Warnings of the configuration are logged.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options, sink: Sink) -> Result<Transport, StartError> {
        let config = &options.config;
        for warning in &config.warnings {
            tracing::warn!(%warning, "corosync.conf");
        }
        let me = address::find_local(config, options.local.as_deref())?;
        let key = if config.totem.encrypted {
            let path = config.totem.keyfile.clone().map_or_else(default_key_path, PathBuf::from);
            Some(options.key.clone().map_or_else(|| keyfile::load_key(&path), Ok)?)
        } else {
            tracing::warn!("encryption is switched off: anybody on the network can take part");
            None
        };
        let incarnation = match options.incarnation {
            Some(incarnation) => incarnation,
            None => begin_incarnation(&options.state_dir)?,
        };
        let saved = state::Saved { incarnation, ..state::load(&options.state_dir) };
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let shared = Arc::new(Shared {
            wake: EventFd::from_value_and_flags(0, flags).map_err(io::Error::from)?,
            waiting: AtomicUsize::new(0),
            wants_ready: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let (mail, inbox): (SyncSender<Mail>, Receiver<Mail>) = sync_channel(MAIL_MAX);
        let wiring = Wiring { shared: shared.clone(), mail: mail.clone(), inbox, sink };
        let driver = Driver::new(options, me, key, saved, wiring)?;
        let thread = thread::Builder::new().name("ring".to_owned()).spawn(move || driver.run())?;
        Ok(Transport { me, mail, shared, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// The local node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Sends a message to all members, in order. It comes back to the local node as well, exactly
    /// once, as long as this process lives.
    ///
    /// # Errors
    /// If it was not accepted; then it will not be delivered.
    pub fn submit(&self, bytes: Vec<u8>, guarantee: Guarantee) -> Result<(), SubmitError> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(SubmitError::Stopped);
        }
        if bytes.len() >= MESSAGE_MAX {
            return Err(SubmitError::TooLarge);
        }
        let waiting = self.shared.waiting.load(Ordering::Acquire);
        if waiting > 0 && waiting + bytes.len() > BACKLOG_MAX {
            self.shared.wants_ready.store(true, Ordering::Release);
            // The ring may have run dry in between: it looks again when the bell rings.
            self.shared.ring_bell();
            return Err(SubmitError::Busy);
        }
        self.post(Mail::Submit(bytes, guarantee))
    }

    /// Sets the expected votes on all members of the partition.
    ///
    /// # Errors
    /// If the ring was left.
    pub fn set_expected_votes(&self, votes: u32) -> Result<(), SubmitError> {
        self.post(Mail::Control(Control::ExpectedVotes(votes)))
    }

    /// Ends the waiting for all nodes on all members of the partition.
    ///
    /// # Errors
    /// If the ring was left.
    pub fn cancel_wait_for_all(&self) -> Result<(), SubmitError> {
        self.post(Mail::Control(Control::CancelWaitForAll))
    }

    /// Asks for the state; the answer is given to `answer` on the ring's thread.
    ///
    /// # Errors
    /// If the ring was left.
    pub fn status_with(&self, answer: Box<dyn FnOnce(Status) + Send>) -> Result<(), SubmitError> {
        self.post(Mail::Status(answer))
    }

    /// Asks for the state and waits for it, at most two seconds.
    pub fn status(&self) -> Option<Status> {
        let (sender, receiver) = channel();
        let answer = move |status| {
            // Nobody waits any more if this fails.
            let _ = sender.send(status);
        };
        self.status_with(Box::new(answer)).ok()?;
        receiver.recv_timeout(ANSWER_MAX).ok()
    }

    /// Leaves the ring, so that the others go on without waiting for a time-out, and waits for the
    /// thread to end. Messages accepted before are sent first, if that takes no longer than
    /// half a second. Must not be called from the callback.
    pub fn leave(&self) {
        self.insist(Mail::Leave);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Stops without a word to the others, as if the process had died. For tests.
    #[doc(hidden)]
    pub fn kill(&self) {
        self.insist(Mail::Kill);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn post(&self, mail: Mail) -> Result<(), SubmitError> {
        let cost = mail.cost();
        self.shared.waiting.fetch_add(cost, Ordering::AcqRel);
        let sent = self.mail.try_send(mail).map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::Busy,
            TrySendError::Disconnected(_) => SubmitError::Stopped,
        });
        if let Err(error) = sent {
            self.shared.waiting.fetch_sub(cost, Ordering::AcqRel);
            self.shared.wants_ready.fetch_or(error == SubmitError::Busy, Ordering::AcqRel);
        }
        self.shared.ring_bell();
        sent
    }

    /// Posts what cannot be asked for again, waiting for room if there is none.
    fn insist(&self, mail: Mail) {
        self.shared.ring_bell();
        // It fails only if the thread has ended, and then there is nothing left to end.
        let _ = self.mail.send(mail);
        self.shared.ring_bell();
    }
}

/// Reads the bell's counter away.
pub(crate) fn silence(bell: &EventFd) {
    let _ = bell.read();
}
