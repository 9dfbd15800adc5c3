//! The responder: a BMC without socket or clock, for demonstrations and tests.
//!
//! One datagram in, at most one out. Sessions are few and expire; half-open ones expire soon, so
//! that nobody can lock the owner out by opening sessions without logging in.

mod commands;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::chassis::ChassisControl;
use crate::crypto::{CipherSuite, Entropy, ReplayWindow, SessionKeys, same};
use crate::rakp::{
    Exchange, OpenRequest, OpenResponse, PASSWORD_BYTES_MAX, Privilege, Rakp1, Rakp2, Rakp34,
    USER_BYTES_MAX, status,
};
use crate::secret::Secret;
use crate::wire::{self, Message, Packet, Sealed, payload};

/// Sessions at a time, half-open ones included.
const SESSIONS_MAX: usize = 16;
/// IPMI 2.0 §6.11.13: a session without traffic ends after 60 s.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Time to get from Open Session to RAKP message 3.
const HALF_OPEN_MAX: Duration = Duration::from_secs(10);

/// Someone who may log in.
#[derive(Debug, Clone)]
pub struct User {
    /// Name, at most 16 bytes.
    pub name: String,
    /// Password, at most 20 bytes.
    pub password: Secret,
    /// Highest privilege level.
    pub privilege: Privilege,
}

/// What a BMC is set up with.
#[derive(Debug, Clone)]
pub struct BmcConfig {
    /// Who may log in.
    pub users: Vec<User>,
    /// Cipher suites it accepts.
    pub suites: Vec<CipherSuite>,
    /// Its own key (Kg); empty for none.
    pub bmc_key: Secret,
    /// Its globally unique number.
    pub guid: [u8; 16],
}

/// The power switch behind a BMC.
pub trait PowerControl {
    /// Whether the power is on.
    fn is_on(&mut self) -> bool;
    /// Carries a command out. When it returns `Ok` the command is accepted; a soft shutdown goes
    /// on afterwards.
    fn control(&mut self, control: ChassisControl) -> Result<(), PowerError>;
}

/// Why a power command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerError {
    /// This BMC cannot do that.
    Unsupported,
    /// It went wrong.
    Failed,
}

/// A log-in that is under way.
struct HalfOpen {
    console_session: u32,
    suite: CipherSuite,
    /// RAKP message 1 as it came, with our random number and answer, so that a repetition gets
    /// the same answer.
    proposed: Option<Proposed>,
}

struct Proposed {
    message: Rakp1,
    bmc_random: [u8; 16],
    answer: Vec<u8>,
    user: usize,
}

/// A logged-in session.
struct Active {
    console_session: u32,
    keys: SessionKeys,
    sequence: u32,
    window: ReplayWindow,
    /// The level asked for at log-in, and the one in force.
    limit: Privilege,
    privilege: Privilege,
    /// RAKP message 3 and its answer, for repetitions.
    login: (Rakp34, Vec<u8>),
    /// The last request and its answer, for repetitions.
    last: Option<(Message, Message)>,
}

enum Phase {
    HalfOpen(HalfOpen),
    Active(Box<Active>),
}

struct BmcSession {
    peer: SocketAddr,
    last_seen: Duration,
    phase: Phase,
}

impl BmcSession {
    fn expires(&self) -> Duration {
        let limit = match self.phase {
            Phase::HalfOpen(_) => HALF_OPEN_MAX,
            Phase::Active(_) => IDLE_MAX,
        };
        self.last_seen + limit
    }
}

/// A BMC.
pub struct Bmc {
    config: BmcConfig,
    entropy: Box<dyn Entropy + Send>,
    sessions: BTreeMap<u32, BmcSession>,
}

impl Bmc {
    /// Sets a BMC up. Panics if a user's name or password is longer than IPMI 2.0 allows.
    pub fn new(config: BmcConfig, entropy: Box<dyn Entropy + Send>) -> Self {
        for user in &config.users {
            assert!(user.name.len() <= USER_BYTES_MAX, "user name too long");
            assert!(user.password.bytes().len() <= PASSWORD_BYTES_MAX, "password too long");
        }
        Self { config, entropy, sessions: BTreeMap::new() }
    }

    /// Number of sessions, half-open ones included.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Takes one datagram and returns the answer, if it gets one.
    pub fn handle_datagram(
        &mut self,
        now: Duration,
        peer: SocketAddr,
        datagram: &[u8],
        power: &mut dyn PowerControl,
    ) -> Option<Vec<u8>> {
        self.sessions.retain(|_, session| session.expires() > now);
        match wire::parse(datagram)? {
            Packet::Ping { tag } => Some(wire::pong(tag)),
            Packet::Plain15 { payload } => {
                Some(wire::plain15(&self.answer_outside(payload)?.to_bytes()))
            }
            Packet::Plain { kind: payload::IPMI, payload } => {
                Some(wire::plain(payload::IPMI, &self.answer_outside(payload)?.to_bytes()))
            }
            Packet::Plain { kind: payload::OPEN_REQUEST, payload } => {
                self.open(now, peer, &OpenRequest::parse(payload)?)
            }
            Packet::Plain { kind: payload::RAKP_1, payload } => {
                self.rakp1(now, Rakp1::parse(payload)?)
            }
            Packet::Plain { kind: payload::RAKP_3, payload } => {
                self.rakp3(now, Rakp34::parse(payload)?)
            }
            Packet::Plain { .. } => None,
            Packet::Sealed(sealed) => self.handle_sealed(now, &sealed, power),
        }
    }

    fn free_slot(&mut self) -> bool {
        if self.sessions.len() < SESSIONS_MAX {
            return true;
        }
        // Room is made at the cost of the half-open session that waits longest.
        let oldest = self
            .sessions
            .iter()
            .filter(|(_, session)| matches!(session.phase, Phase::HalfOpen(_)))
            .min_by_key(|(_, session)| session.last_seen)
            .map(|(number, _)| *number);
        oldest.is_some_and(|number| self.sessions.remove(&number).is_some())
    }

    fn open(&mut self, now: Duration, peer: SocketAddr, request: &OpenRequest) -> Option<Vec<u8>> {
        let answer = |status, chosen, privilege| {
            let response = OpenResponse {
                tag: request.tag,
                status,
                privilege,
                console_session: request.console_session,
                chosen,
            };
            Some(wire::plain(payload::OPEN_RESPONSE, &response.to_bytes()))
        };
        let offered = CipherSuite::from_algorithms(request.algorithms);
        let Some(suite) = offered.filter(|suite| self.config.suites.contains(suite)) else {
            return answer(status::NO_MATCHING_SUITE, None, request.privilege);
        };
        if request.privilege > Privilege::Administrator as u8 {
            return answer(status::INVALID_ROLE, None, request.privilege);
        }
        let highest = Privilege::Administrator as u8;
        let privilege = if request.privilege == 0 { highest } else { request.privilege };
        // A repetition gets the session it already has.
        let known = self.sessions.iter().find(|(_, session)| {
            session.peer == peer
                && matches!(&session.phase, Phase::HalfOpen(half)
                    if half.console_session == request.console_session
                        && half.suite == suite
                        && half.proposed.is_none())
        });
        if let Some((number, _)) = known {
            return answer(status::OK, Some((*number, suite.algorithms())), privilege);
        }
        if !self.free_slot() {
            return answer(status::NO_RESOURCES, None, privilege);
        }
        let number = self.new_number();
        let half = HalfOpen { console_session: request.console_session, suite, proposed: None };
        let session = BmcSession { peer, last_seen: now, phase: Phase::HalfOpen(half) };
        self.sessions.insert(number, session);
        answer(status::OK, Some((number, suite.algorithms())), privilege)
    }

    fn new_number(&mut self) -> u32 {
        loop {
            let mut bytes = [0; 4];
            self.entropy.fill(&mut bytes);
            let number = u32::from_le_bytes(bytes);
            if number != 0 && !self.sessions.contains_key(&number) {
                return number;
            }
        }
    }

    fn rakp1(&mut self, now: Duration, message: Rakp1) -> Option<Vec<u8>> {
        let refuse = |status, console_session| {
            let reply = Rakp2 { tag: message.tag, status, console_session, proof: None };
            Some(wire::plain(payload::RAKP_2, &reply.to_bytes()))
        };
        let number = message.bmc_session;
        let Some(session) = self.sessions.get_mut(&number) else {
            return refuse(status::INVALID_SESSION, 0);
        };
        let Phase::HalfOpen(half) = &mut session.phase else {
            return refuse(status::INVALID_SESSION, 0);
        };
        let (console_session, suite) = (half.console_session, half.suite);
        match &half.proposed {
            Some(known) if known.message == message => return Some(known.answer.clone()),
            Some(_) => return refuse(status::INVALID_SESSION, console_session),
            None => {}
        }
        let verdict = authorize(&self.config.users, &message);
        let user = match verdict {
            Ok(user) => user,
            Err(status) => {
                self.sessions.remove(&number);
                return refuse(status, console_session);
            }
        };
        let mut bmc_random = [0; 16];
        self.entropy.fill(&mut bmc_random);
        let exchange = Exchange {
            suite,
            password: &self.config.users[user].password,
            bmc_key: &self.config.bmc_key,
            console_session,
            bmc_session: number,
            console_random: message.console_random,
            bmc_random,
            bmc_guid: self.config.guid,
            role: message.role,
            user: &message.user,
        };
        let reply = Rakp2 {
            tag: message.tag,
            status: status::OK,
            console_session,
            proof: Some((bmc_random, self.config.guid, exchange.code2().to_vec())),
        };
        let answer = wire::plain(payload::RAKP_2, &reply.to_bytes());
        session.last_seen = now;
        half.proposed = Some(Proposed { message, bmc_random, answer: answer.clone(), user });
        Some(answer)
    }

    fn rakp3(&mut self, now: Duration, message: Rakp34) -> Option<Vec<u8>> {
        let refuse = |status, session| {
            let reply = Rakp34 { tag: message.tag, status, session, code: Vec::new() };
            Some(wire::plain(payload::RAKP_4, &reply.to_bytes()))
        };
        let number = message.session;
        let Some(session) = self.sessions.get_mut(&number) else {
            return refuse(status::INVALID_SESSION, 0);
        };
        let half = match &session.phase {
            Phase::HalfOpen(half) => half,
            Phase::Active(active) if active.login.0 == message => {
                return Some(active.login.1.clone());
            }
            Phase::Active(_) => return refuse(status::INVALID_SESSION, 0),
        };
        let console_session = half.console_session;
        let Some(proposed) = &half.proposed else {
            return refuse(status::INVALID_SESSION, console_session);
        };
        if message.status != status::OK {
            // The console gives up, most likely over a wrong password.
            self.sessions.remove(&number);
            return None;
        }
        let user = &self.config.users[proposed.user];
        let exchange = Exchange {
            suite: half.suite,
            password: &user.password,
            bmc_key: &self.config.bmc_key,
            console_session,
            bmc_session: number,
            console_random: proposed.message.console_random,
            bmc_random: proposed.bmc_random,
            bmc_guid: self.config.guid,
            role: proposed.message.role,
            user: &proposed.message.user,
        };
        if !same(&exchange.code3(), &message.code) {
            self.sessions.remove(&number);
            return refuse(status::INVALID_CODE, console_session);
        }
        let reply = Rakp34 {
            tag: message.tag,
            status: status::OK,
            session: console_session,
            code: exchange.code4(),
        };
        let answer = wire::plain(payload::RAKP_4, &reply.to_bytes());
        let asked = Privilege::from_number(proposed.message.role & 0x0f);
        let limit = asked.unwrap_or(user.privilege).min(user.privilege);
        let active = Active {
            console_session,
            keys: exchange.session_keys(),
            sequence: 0,
            window: ReplayWindow::default(),
            limit,
            privilege: limit.min(Privilege::User),
            login: (message, answer.clone()),
            last: None,
        };
        session.last_seen = now;
        session.phase = Phase::Active(Box::new(active));
        Some(answer)
    }

    fn handle_sealed(
        &mut self,
        now: Duration,
        sealed: &Sealed<'_>,
        power: &mut dyn PowerControl,
    ) -> Option<Vec<u8>> {
        let session = self.sessions.get_mut(&sealed.session)?;
        let Phase::Active(active) = &mut session.phase else { return None };
        let bytes = sealed.open(&active.keys)?;
        if !active.window.accept(sealed.sequence) {
            return None;
        }
        session.last_seen = now;
        let request = Message::parse(&bytes)?;
        if request.net_fn & 1 == 1 {
            return None;
        }
        let mut ends = false;
        let repeated = active.last.as_ref().filter(|(known, _)| *known == request);
        let answer = match repeated {
            // Carried out already; only its answer was lost.
            Some((_, answer)) => answer.clone(),
            None => {
                let reply = commands::inside(&self.config, active, &request, power);
                ends = reply.closes == Some(sealed.session);
                let answer = reply.message(&request);
                active.last = Some((request, answer.clone()));
                answer
            }
        };
        active.sequence = active.sequence.checked_add(1).unwrap_or(1);
        let datagram = wire::sealed(
            &active.keys,
            active.console_session,
            active.sequence,
            &answer.to_bytes(),
            self.entropy.as_mut(),
        );
        if ends {
            self.sessions.remove(&sealed.session);
        }
        Some(datagram)
    }

    fn answer_outside(&self, payload: &[u8]) -> Option<Message> {
        let request = Message::parse(payload)?;
        (request.net_fn & 1 == 0)
            .then(|| commands::outside(&self.config, &request).message(&request))
    }
}

/// Finds the user RAKP message 1 names; the error is the status to refuse with.
fn authorize(users: &[User], message: &Rakp1) -> Result<usize, u8> {
    if message.user.len() > USER_BYTES_MAX {
        return Err(status::INVALID_NAME_LENGTH);
    }
    let level = message.role & 0x0f;
    if level > Privilege::Administrator as u8 {
        return Err(status::INVALID_ROLE);
    }
    let user = users.iter().position(|user| user.name.as_bytes() == message.user);
    let user = user.ok_or(status::UNAUTHORIZED_NAME)?;
    if level > users[user].privilege as u8 {
        return Err(status::UNAUTHORIZED_ROLE);
    }
    Ok(user)
}

#[cfg(test)]
mod tests;
