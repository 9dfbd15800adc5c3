//! The client's side of one session, without socket or clock.
//!
//! ```text
//! Opening --response--> Rakp2 --proof--> Rakp4 --proof--> Privilege --granted--> Idle <--> Busy
//!    |  refused suite: next suite                                                  |
//!    +--------------------------- any error, or time is up -----------------> Ended
//! ```
//!
//! Every request is sent again after a while until it is answered or its time is up. Requests
//! inside the session keep their number but get a new sequence number each time (IPMI 2.0
//! §13.9.2), so that the BMC can tell a repetition from a replay.

use std::collections::VecDeque;
use std::time::Duration;

use crate::chassis::code;
use crate::crypto::{CipherSuite, Entropy, ReplayWindow, SessionKeys, same};
use crate::error::Error;
use crate::rakp::{
    Exchange, OpenRequest, OpenResponse, PASSWORD_BYTES_MAX, Privilege, Rakp1, Rakp2, Rakp34,
    USER_BYTES_MAX, status,
};
use crate::secret::Secret;
use crate::wire::{self, Message, Packet, Sealed, payload};

/// How long to wait and how often to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time until a request is sent again for the first time; doubles from then on.
    pub retry_first: Duration,
    /// Longest time between two repetitions.
    pub retry_max: Duration,
    /// Time for the whole log-in.
    pub login_timeout: Duration,
    /// Time for one command.
    pub command_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_millis(200),
            retry_max: Duration::from_secs(1),
            login_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(3),
        }
    }
}

/// What a session needs to know.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// User name, at most 16 bytes.
    pub user: String,
    /// Password, at most 20 bytes.
    pub password: Secret,
    /// The BMC's own key (Kg); empty if it has none.
    pub bmc_key: Secret,
    /// Cipher suites to try in turn; the next one only if the BMC refuses or ignores the one
    /// before. The BMC's refusal is not signed, so someone on the wire can force the last one:
    /// give only one suite to rule that out.
    pub suites: Vec<CipherSuite>,
    /// Privilege level to ask for.
    pub privilege: Privilege,
    /// Waiting and repeating.
    pub timing: Timing,
}

/// What the session tells its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Logged in; commands may be sent.
    Ready(CipherSuite),
    /// The answer to the command that was out: completion code and data.
    Answer {
        /// IPMI completion code; 0 is success.
        code: u8,
        /// Data after the completion code.
        data: Vec<u8>,
    },
    /// The session is over.
    Failed(Error),
}

/// The session as agreed, once logged in.
struct Session {
    suite: CipherSuite,
    keys: SessionKeys,
    bmc_session: u32,
    sequence: u32,
    window: ReplayWindow,
    next_number: u8,
}

/// What RAKP messages 3 and 4 are about.
struct Handshake {
    suite: CipherSuite,
    bmc_session: u32,
    console_random: [u8; 16],
}

enum State {
    Opening { suite_at: usize },
    Rakp2(Handshake),
    Rakp4 { session: Box<Session>, expected: Vec<u8> },
    Privilege { session: Box<Session>, request: Message },
    Idle(Box<Session>),
    Busy { session: Box<Session>, request: Message },
    Ended,
}

/// The repetition of whatever is out.
struct Pending {
    /// Outside the session: the datagram itself. Inside it is sealed anew each time.
    datagram: Vec<u8>,
    during: &'static str,
    began: Duration,
    deadline: Duration,
    resend_at: Duration,
    interval: Duration,
}

/// One session with one BMC.
pub struct Client {
    config: ClientConfig,
    entropy: Box<dyn Entropy + Send>,
    console_session: u32,
    login_began: Duration,
    state: State,
    pending: Option<Pending>,
    tag: u8,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Client {
    /// Begins to log in. An error means that the configuration cannot work with any BMC.
    pub fn new(
        config: ClientConfig,
        mut entropy: Box<dyn Entropy + Send>,
        now: Duration,
    ) -> Result<Self, Error> {
        if config.user.len() > USER_BYTES_MAX {
            let reason = format!("the user name is longer than {USER_BYTES_MAX} bytes");
            return Err(Error::Unusable(reason));
        }
        if config.password.bytes().len() > PASSWORD_BYTES_MAX {
            let reason = format!("the password is longer than {PASSWORD_BYTES_MAX} bytes");
            return Err(Error::Unusable(reason));
        }
        if config.suites.is_empty() {
            return Err(Error::Unusable("no cipher suite is given".into()));
        }
        let mut number = [0; 4];
        entropy.fill(&mut number);
        let mut client = Self {
            config,
            entropy,
            // Zero means "no session".
            console_session: u32::from_le_bytes(number).max(1),
            login_began: now,
            state: State::Ended,
            pending: None,
            tag: number[0],
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        };
        client.open(now, 0);
        Ok(client)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Client::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.resend_at.min(pending.deadline))
    }

    /// Whether a command may be sent.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle(_))
    }

    /// Sends a command. Panics unless [`Client::is_idle`].
    pub fn command(&mut self, now: Duration, net_fn: u8, command: u8, data: &[u8]) {
        let State::Idle(mut session) = std::mem::replace(&mut self.state, State::Ended) else {
            panic!("a command was sent while the session was not idle");
        };
        let request = session.request(net_fn, command, data);
        let timeout = self.config.timing.command_timeout;
        self.state = State::Busy { session, request };
        self.begin(now, Vec::new(), "waiting for the answer to a command", now + timeout);
    }

    /// Tells the BMC that the session is over; its answer is not waited for.
    pub fn close(&mut self) {
        if let State::Idle(session) | State::Busy { session, .. } = &mut self.state {
            let data = session.bmc_session.to_le_bytes();
            let request = session.request(code::NET_FN_APP, code::CLOSE_SESSION, &data);
            let datagram = session.seal(&request, self.entropy.as_mut());
            self.outbox.push_back(datagram);
        }
        self.state = State::Ended;
        self.pending = None;
    }

    /// Takes a datagram from the BMC's address. Anything that does not belong to the session is
    /// ignored.
    pub fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        match wire::parse(datagram) {
            Some(Packet::Plain { kind, payload }) => self.handle_plain(now, kind, payload),
            Some(Packet::Sealed(sealed)) => self.handle_sealed(now, &sealed),
            _ => {}
        }
    }

    /// Repeats what is out, or gives up.
    pub fn handle_timeout(&mut self, now: Duration) {
        let Some(pending) = &mut self.pending else { return };
        if now >= pending.deadline {
            let (during, waited) = (pending.during, now - pending.began);
            if let State::Opening { suite_at } = self.state
                && suite_at + 1 < self.config.suites.len()
            {
                // Some BMCs ignore proposals they do not know.
                self.open(now, suite_at + 1);
                return;
            }
            self.fail(Error::NoAnswer { during, waited });
            return;
        }
        if now >= pending.resend_at {
            pending.interval = (pending.interval * 2).min(self.config.timing.retry_max);
            pending.resend_at = now + pending.interval;
            self.transmit();
        }
    }

    fn begin(
        &mut self,
        now: Duration,
        datagram: Vec<u8>,
        during: &'static str,
        deadline: Duration,
    ) {
        let interval = self.config.timing.retry_first;
        self.pending = Some(Pending {
            datagram,
            during,
            began: now,
            deadline,
            resend_at: now + interval,
            interval,
        });
        self.transmit();
    }

    fn transmit(&mut self) {
        let Some(pending) = &self.pending else { return };
        let datagram = match &mut self.state {
            State::Privilege { session, request } | State::Busy { session, request } => {
                session.seal(request, self.entropy.as_mut())
            }
            _ => pending.datagram.clone(),
        };
        self.outbox.push_back(datagram);
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Ended;
        self.pending = None;
        self.events.push_back(Event::Failed(error));
    }

    fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    /// Time by which the log-in must be done; while suites remain to be tried, each gets its
    /// share.
    fn login_deadline(&self, suite_at: usize) -> Duration {
        let share = (suite_at + 1) as u32;
        let total = self.config.suites.len() as u32;
        self.login_began + self.config.timing.login_timeout * share / total
    }

    fn open(&mut self, now: Duration, suite_at: usize) {
        let request = OpenRequest {
            tag: self.next_tag(),
            privilege: self.config.privilege as u8,
            console_session: self.console_session,
            algorithms: self.config.suites[suite_at].algorithms(),
        };
        self.state = State::Opening { suite_at };
        let datagram = wire::plain(payload::OPEN_REQUEST, &request.to_bytes());
        self.begin(now, datagram, "opening a session", self.login_deadline(suite_at));
    }

    fn handle_plain(&mut self, now: Duration, kind: u8, bytes: &[u8]) {
        match (&self.state, kind) {
            (State::Opening { suite_at }, payload::OPEN_RESPONSE) => {
                let suite_at = *suite_at;
                if let Some(response) = OpenResponse::parse(bytes) {
                    self.handle_open_response(now, suite_at, &response);
                }
            }
            (State::Rakp2(_), payload::RAKP_2) => {
                if let Some(message) = Rakp2::parse(bytes) {
                    self.handle_rakp2(now, &message);
                }
            }
            (State::Rakp4 { .. }, payload::RAKP_4) => {
                if let Some(message) = Rakp34::parse(bytes) {
                    self.handle_rakp4(now, &message);
                }
            }
            _ => {}
        }
    }

    fn handle_open_response(&mut self, now: Duration, suite_at: usize, response: &OpenResponse) {
        if response.tag != self.tag {
            return;
        }
        let suite = self.config.suites[suite_at];
        let Some((bmc_session, algorithms)) = response.chosen else {
            return self.handle_open_refusal(now, suite_at, response.status);
        };
        if response.console_session != self.console_session {
            return;
        }
        if algorithms != suite.algorithms() || bmc_session == 0 {
            // The BMC chose something else than it was offered.
            return self.handle_open_refusal(now, suite_at, status::NO_MATCHING_SUITE);
        }
        let mut console_random = [0; 16];
        self.entropy.fill(&mut console_random);
        let message = Rakp1 {
            tag: self.next_tag(),
            bmc_session,
            console_random,
            role: self.role(),
            user: self.config.user.as_bytes().to_vec(),
        };
        self.state = State::Rakp2(Handshake { suite, bmc_session, console_random });
        let datagram = wire::plain(payload::RAKP_1, &message.to_bytes());
        let deadline = self.login_began + self.config.timing.login_timeout;
        self.begin(now, datagram, "logging in (RAKP message 1)", deadline);
    }

    fn handle_open_refusal(&mut self, now: Duration, suite_at: usize, code: u8) {
        let is_about_suite = matches!(
            code,
            status::INVALID_AUTHENTICATION
                | status::INVALID_INTEGRITY
                | status::INVALID_CONFIDENTIALITY
                | status::NO_MATCHING_SUITE
        );
        if is_about_suite && suite_at + 1 < self.config.suites.len() {
            return self.open(now, suite_at + 1);
        }
        self.fail(match code {
            _ if is_about_suite => {
                let numbers = self.config.suites.iter().map(|suite| suite.number().to_string());
                Error::NoCipherSuite { tried: numbers.collect::<Vec<_>>().join(", ") }
            }
            status::NO_RESOURCES | status::NO_RESOURCES_AT_ROLE => Error::NoFreeSession,
            status::INVALID_ROLE | status::UNAUTHORIZED_ROLE => {
                Error::privilege(&self.config.user, self.config.privilege)
            }
            _ => Error::Refused { during: "to open a session", status: code },
        });
    }

    /// Look the user up by name alone: the level is what we ask for, not part of the name.
    fn role(&self) -> u8 {
        0x10 | self.config.privilege as u8
    }

    fn handle_rakp2(&mut self, now: Duration, message: &Rakp2) {
        if message.tag != self.tag {
            return;
        }
        let Some((bmc_random, bmc_guid, code)) = &message.proof else {
            let user = self.config.user.clone();
            return self.fail(match message.status {
                status::UNAUTHORIZED_NAME | status::INVALID_NAME_LENGTH => {
                    Error::UnknownUser { user }
                }
                status::INVALID_ROLE | status::UNAUTHORIZED_ROLE => {
                    Error::privilege(&user, self.config.privilege)
                }
                status::INVALID_CODE => Error::WrongPassword { user },
                status::NO_RESOURCES | status::NO_RESOURCES_AT_ROLE => Error::NoFreeSession,
                status => Error::Refused { during: "RAKP message 1", status },
            });
        };
        if message.console_session != self.console_session {
            return;
        }
        let State::Rakp2(handshake) = &self.state else { return };
        let exchange = Exchange {
            suite: handshake.suite,
            password: &self.config.password,
            bmc_key: &self.config.bmc_key,
            console_session: self.console_session,
            bmc_session: handshake.bmc_session,
            console_random: handshake.console_random,
            bmc_random: *bmc_random,
            bmc_guid: *bmc_guid,
            role: self.role(),
            user: self.config.user.as_bytes(),
        };
        let bmc_session = handshake.bmc_session;
        let proven = same(&exchange.code2(), code);
        let reply = Rakp34 {
            tag: self.tag.wrapping_add(1),
            status: if proven { status::OK } else { status::INVALID_CODE },
            session: bmc_session,
            code: if proven { exchange.code3().to_vec() } else { Vec::new() },
        };
        let session = Box::new(Session {
            suite: handshake.suite,
            keys: exchange.session_keys(),
            bmc_session,
            sequence: 0,
            window: ReplayWindow::default(),
            next_number: 0,
        });
        let expected = exchange.code4();
        let datagram = wire::plain(payload::RAKP_3, &reply.to_bytes());
        if !proven {
            // Frees the BMC's half-open session.
            self.outbox.push_back(datagram);
            return self.fail(Error::WrongPassword { user: self.config.user.clone() });
        }
        self.tag = reply.tag;
        self.state = State::Rakp4 { session, expected };
        let deadline = self.login_began + self.config.timing.login_timeout;
        self.begin(now, datagram, "logging in (RAKP message 3)", deadline);
    }

    fn handle_rakp4(&mut self, now: Duration, message: &Rakp34) {
        if message.tag != self.tag {
            return;
        }
        let user = self.config.user.clone();
        if message.status != status::OK {
            return self.fail(match message.status {
                status::INVALID_CODE => Error::WrongPassword { user },
                status::NO_RESOURCES | status::NO_RESOURCES_AT_ROLE => Error::NoFreeSession,
                status::INVALID_ROLE | status::UNAUTHORIZED_ROLE => {
                    Error::privilege(&user, self.config.privilege)
                }
                status => Error::Refused { during: "RAKP message 3", status },
            });
        }
        if message.session != self.console_session {
            return;
        }
        let State::Rakp4 { mut session, expected } =
            std::mem::replace(&mut self.state, State::Ended)
        else {
            return;
        };
        if !same(&expected, &message.code) {
            // The password matched in message 2, so this is the BMC's own key.
            return self.fail(Error::WrongPassword { user });
        }
        let level = [self.config.privilege as u8];
        let request = session.request(code::NET_FN_APP, code::SET_SESSION_PRIVILEGE, &level);
        self.state = State::Privilege { session, request };
        let deadline = self.login_began + self.config.timing.login_timeout;
        self.begin(now, Vec::new(), "setting the privilege level", deadline);
    }

    fn handle_sealed(&mut self, _now: Duration, sealed: &Sealed<'_>) {
        let console_session = self.console_session;
        let (State::Privilege { session, request } | State::Busy { session, request }) =
            &mut self.state
        else {
            return;
        };
        if sealed.session != console_session {
            return;
        }
        let Some(bytes) = sealed.open(&session.keys) else { return };
        if !session.window.accept(sealed.sequence) {
            return;
        }
        let Some(answer) = Message::parse(&bytes) else { return };
        let belongs = answer.net_fn == request.net_fn | 1
            && answer.number == request.number
            && answer.command == request.command;
        let (true, Some((code, data))) = (belongs, answer.data.split_first()) else { return };
        self.pending = None;
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Privilege { session, .. } => self.handle_privilege(session, *code, data),
            State::Busy { session, .. } => {
                self.state = State::Idle(session);
                self.events.push_back(Event::Answer { code: *code, data: data.to_vec() });
            }
            _ => unreachable!("checked above"),
        }
    }

    /// IPMI 2.0 §22.18: 80h and 81h say that the level is not available or above the limit.
    fn handle_privilege(&mut self, session: Box<Session>, code: u8, data: &[u8]) {
        let granted = data.first().is_some_and(|level| level & 0x0f >= self.config.privilege as u8);
        match code {
            0 if granted => {
                self.events.push_back(Event::Ready(session.suite));
                self.state = State::Idle(session);
            }
            0 | 0x80 | 0x81 | 0xd4 => {
                self.state = State::Idle(session);
                self.close();
                self.fail(Error::privilege(&self.config.user, self.config.privilege));
            }
            code => {
                self.state = State::Idle(session);
                self.close();
                self.fail(Error::Completion { command: "Set Session Privilege Level", code });
            }
        }
    }
}

impl Session {
    fn request(&mut self, net_fn: u8, command: u8, data: &[u8]) -> Message {
        let number = self.next_number;
        self.next_number = (number + 1) % 64;
        Message { net_fn, number, command, data: data.to_vec() }
    }

    fn seal(&mut self, request: &Message, entropy: &mut dyn Entropy) -> Vec<u8> {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        let bytes = request.to_bytes();
        wire::sealed(&self.keys, self.bmc_session, self.sequence, &bytes, entropy)
    }
}
