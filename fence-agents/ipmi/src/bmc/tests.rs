//! The client's session and the BMC against each other, with no sockets and no clock: datagrams
//! are handed over by the test, which may lose, repeat, delay or change them.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::client::{Client, ClientConfig, Event, Timing};
use crate::crypto::tests::Counting;
use crate::error::Error;

struct Switch {
    on: bool,
    commands: Vec<ChassisControl>,
}

impl PowerControl for Switch {
    fn is_on(&mut self) -> bool {
        self.on
    }

    fn control(&mut self, control: ChassisControl) -> Result<(), PowerError> {
        self.commands.push(control);
        self.on = !matches!(control, ChassisControl::PowerDown);
        Ok(())
    }
}

struct Pair {
    now: Duration,
    client: Client,
    bmc: Bmc,
    power: Switch,
    /// Datagrams of either side so far.
    sent: usize,
}

const PEER: ([u8; 4], u16) = ([10, 0, 0, 1], 4000);

fn users() -> Vec<User> {
    let user = |name: &str, password: &str, privilege| User {
        name: name.into(),
        password: Secret::new(password),
        privilege,
    };
    vec![
        user("ADMIN", "secret", Privilege::Administrator),
        user("oper", "op", Privilege::Operator),
        user("viewer", "look", Privilege::User),
    ]
}

fn bmc(suites: &[CipherSuite]) -> Bmc {
    let config = BmcConfig {
        users: users(),
        suites: suites.to_vec(),
        bmc_key: Secret::new([]),
        guid: [5; 16],
    };
    Bmc::new(config, Box::new(Counting(100)))
}

fn config(user: &str, password: &str) -> ClientConfig {
    ClientConfig {
        user: user.into(),
        password: Secret::new(password),
        bmc_key: Secret::new([]),
        suites: vec![CipherSuite::Suite17, CipherSuite::Suite3],
        privilege: Privilege::Operator,
        timing: Timing::default(),
    }
}

/// What the network does with a datagram.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Deliver,
    Lose,
    Twice,
}

impl Pair {
    fn new(config: ClientConfig, suites: &[CipherSuite]) -> Self {
        let now = Duration::ZERO;
        let client = Client::new(config, Box::new(Counting(1)), now).unwrap();
        let power = Switch { on: true, commands: Vec::new() };
        Self { now, client, bmc: bmc(suites), power, sent: 0 }
    }

    /// Runs until the client says something; `fate` is asked for each datagram by its number.
    fn run(&mut self, fate: impl Fn(usize) -> Fate) -> Event {
        loop {
            while let Some(datagram) = self.client.poll_transmit() {
                self.sent += 1;
                let times = match fate(self.sent) {
                    Fate::Lose => 0,
                    Fate::Deliver => 1,
                    Fate::Twice => 2,
                };
                for _ in 0..times {
                    self.deliver(&datagram, &fate);
                }
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            self.now = self.client.poll_timeout().expect("something is always pending");
            self.client.handle_timeout(self.now);
        }
    }

    fn deliver(&mut self, datagram: &[u8], fate: &impl Fn(usize) -> Fate) {
        let peer = SocketAddr::from(PEER);
        let answer = self.bmc.handle_datagram(self.now, peer, datagram, &mut self.power);
        let Some(answer) = answer else { return };
        self.sent += 1;
        let times = match fate(self.sent) {
            Fate::Lose => 0,
            Fate::Deliver => 1,
            Fate::Twice => 2,
        };
        for _ in 0..times {
            self.client.handle_datagram(self.now, &answer);
        }
    }

    fn login(&mut self) -> Event {
        self.run(|_| Fate::Deliver)
    }

    fn command(&mut self, command: u8, data: &[u8]) -> (u8, Vec<u8>) {
        self.client.command(self.now, 0, command, data);
        match self.run(|_| Fate::Deliver) {
            Event::Answer { code, data } => (code, data),
            other => panic!("{other:?}"),
        }
    }
}

const BOTH: &[CipherSuite] = &[CipherSuite::Suite3, CipherSuite::Suite17];

#[test]
fn power_is_switched_and_read_back_with_each_suite() {
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        let mut pair = Pair::new(config("ADMIN", "secret"), &[suite]);
        assert_eq!(pair.login(), Event::Ready(suite));
        let (code, status) = pair.command(1, &[]);
        assert_eq!((code, status[0] & 1), (0, 1));
        assert_eq!(pair.command(2, &[0]), (0, vec![]));
        let (code, status) = pair.command(1, &[]);
        assert_eq!((code, status[0] & 1), (0, 0));
        // A host that is off can be neither reset nor cycled.
        assert_eq!(pair.command(2, &[2]).0, 0xd5);
        assert_eq!(pair.command(2, &[3]).0, 0xd5);
        assert_eq!(pair.command(2, &[9]).0, 0xcc);
        assert_eq!(pair.command(0x77, &[]).0, 0xc1);
        assert_eq!(pair.command(2, &[1]).0, 0);
        assert!(pair.power.on);
        pair.client.close();
        let goodbye = pair.client.poll_transmit().unwrap();
        pair.deliver(&goodbye, &|_| Fate::Deliver);
        assert_eq!(pair.bmc.session_count(), 0);
    }
}

#[test]
fn the_better_suite_is_taken_when_both_can() {
    let mut pair = Pair::new(config("ADMIN", "secret"), BOTH);
    assert_eq!(pair.login(), Event::Ready(CipherSuite::Suite17));
}

#[test]
fn wrong_credentials_are_told_apart() {
    let failed = |config: ClientConfig| {
        let mut pair = Pair::new(config, BOTH);
        let event = pair.login();
        // The rejected log-in leaves nothing behind on the BMC.
        while let Some(datagram) = pair.client.poll_transmit() {
            pair.deliver(&datagram, &|_| Fate::Deliver);
        }
        assert_eq!(pair.bmc.session_count(), 0, "{event:?}");
        match event {
            Event::Failed(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(failed(config("ADMIN", "Secret")).starts_with("wrong password"));
    assert!(failed(config("ADMIN", "")).starts_with("wrong password"));
    assert!(failed(config("nobody", "secret")).contains("does not know the user"));
    assert!(failed(config("viewer", "look")).starts_with("insufficient privilege"));
    let keyed = ClientConfig { bmc_key: Secret::new([1; 20]), ..config("ADMIN", "secret") };
    let mut pair = Pair::new(keyed, BOTH);
    assert!(matches!(pair.login(), Event::Failed(Error::WrongPassword { .. })));
}

#[test]
fn a_user_may_look_but_not_touch() {
    let look = ClientConfig { privilege: Privilege::User, ..config("viewer", "look") };
    let mut pair = Pair::new(look, BOTH);
    assert_eq!(pair.login(), Event::Ready(CipherSuite::Suite17));
    assert_eq!(pair.command(1, &[]).0, 0);
    assert_eq!(pair.command(2, &[0]).0, 0xd4);
    assert!(pair.power.on);
}

#[test]
fn no_common_suite_is_said() {
    let only = ClientConfig { suites: vec![CipherSuite::Suite17], ..config("ADMIN", "secret") };
    let mut pair = Pair::new(only, &[CipherSuite::Suite3]);
    let tried = "17".to_owned();
    assert_eq!(pair.login(), Event::Failed(Error::NoCipherSuite { tried }));
}

#[test]
fn silence_ends_in_time() {
    let mut pair = Pair::new(config("ADMIN", "secret"), BOTH);
    let event = pair.run(|_| Fate::Lose);
    assert!(matches!(event, Event::Failed(Error::NoAnswer { .. })), "{event:?}");
    assert_eq!(pair.now, Timing::default().login_timeout);
    assert!(pair.sent > 4, "requests are repeated");
}

/// Whatever single datagram is lost or doubled: the log-in succeeds and the power command is
/// carried out once.
#[test]
fn one_lost_or_doubled_datagram_changes_nothing() {
    for fate in [Fate::Lose, Fate::Twice] {
        for at in 1..=12 {
            let mut pair = Pair::new(config("ADMIN", "secret"), BOTH);
            let network = |number| if number == at { fate } else { Fate::Deliver };
            assert_eq!(pair.run(network), Event::Ready(CipherSuite::Suite17), "at {at}");
            pair.client.command(pair.now, 0, 2, &[0]);
            let event = pair.run(network);
            assert_eq!(event, Event::Answer { code: 0, data: vec![] }, "at {at}");
            assert_eq!(pair.power.commands, [ChassisControl::PowerDown], "at {at}");
        }
    }
}

/// An old "the power is off" must never answer a new question.
#[test]
fn replayed_answers_do_not_count() {
    let mut pair = Pair::new(config("ADMIN", "secret"), BOTH);
    pair.login();
    pair.power.on = false;
    let peer = SocketAddr::from(PEER);
    pair.client.command(pair.now, 0, 1, &[]);
    let request = pair.client.poll_transmit().unwrap();
    let old = pair.bmc.handle_datagram(pair.now, peer, &request, &mut pair.power).unwrap();
    pair.client.handle_datagram(pair.now, &old);
    assert!(matches!(pair.client.poll_event(), Some(Event::Answer { code: 0, .. })));
    pair.power.on = true;
    // 63 further requests, and the number of the old one comes round again.
    for _ in 0..63 {
        assert_eq!(pair.command(1, &[]).1[0] & 1, 1);
    }
    pair.client.command(pair.now, 0, 1, &[]);
    pair.client.handle_datagram(pair.now, &old);
    assert_eq!(pair.client.poll_event(), None);
    // Nor does the BMC carry an old request out again.
    let replayed = pair.bmc.handle_datagram(pair.now, peer, &request, &mut pair.power);
    assert_eq!(replayed, None);
}

#[test]
fn changed_datagrams_do_not_count() {
    let mut pair = Pair::new(config("ADMIN", "secret"), BOTH);
    pair.login();
    let peer = SocketAddr::from(PEER);
    pair.client.command(pair.now, 0, 2, &[0]);
    let request = pair.client.poll_transmit().unwrap();
    for at in 0..request.len() * 8 {
        let mut changed = request.clone();
        changed[at / 8] ^= 1 << (at % 8);
        // Two bytes of the RMCP header carry nothing; the rest must be as it was signed.
        if !(8..24).contains(&at) {
            let answer = pair.bmc.handle_datagram(pair.now, peer, &changed, &mut pair.power);
            assert_eq!(answer, None, "bit {at}");
        }
    }
    assert!(pair.power.commands.is_empty());
}

#[test]
fn half_open_sessions_do_not_lock_the_owner_out() {
    let mut bmc = bmc(BOTH);
    let mut power = Switch { on: true, commands: Vec::new() };
    for number in 0..1000_u32 {
        let request = OpenRequest {
            tag: 0,
            privilege: 0,
            console_session: number + 1,
            algorithms: [1, 1, 1],
        };
        let datagram = wire::plain(payload::OPEN_REQUEST, &request.to_bytes());
        let peer = SocketAddr::from(PEER);
        bmc.handle_datagram(Duration::ZERO, peer, &datagram, &mut power).unwrap();
    }
    assert_eq!(bmc.session_count(), SESSIONS_MAX);
    let mut pair = Pair::new(config("ADMIN", "secret"), BOTH);
    pair.bmc = bmc;
    assert_eq!(pair.login(), Event::Ready(CipherSuite::Suite17));
}

#[test]
fn sessions_expire() {
    let mut pair = Pair::new(config("ADMIN", "secret"), BOTH);
    pair.login();
    pair.now += IDLE_MAX;
    pair.client.command(pair.now, 0, 1, &[]);
    assert!(matches!(pair.run(|_| Fate::Deliver), Event::Failed(Error::NoAnswer { .. })));
    assert_eq!(pair.bmc.session_count(), 0);
}

#[test]
fn noise_is_ignored() {
    let mut bmc = bmc(BOTH);
    let mut power = Switch { on: true, commands: Vec::new() };
    let mut noise = 12345_u32;
    let peer = SocketAddr::from(PEER);
    for round in 0..20_000_usize {
        let mut datagram = vec![6, 0, 0xff, 7, 6];
        for _ in 0..round % 90 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            datagram.push((noise >> 24) as u8);
        }
        if let Some(kind) = datagram.get_mut(5) {
            *kind = [0, 0x10, 0x12, 0x14, 0xc0][round % 5];
        }
        let _ = bmc.handle_datagram(Duration::ZERO, peer, &datagram, &mut power);
    }
    assert!(power.commands.is_empty());
}
