//! What agents, BMCs and the key file say.

use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use cib_model::Time;
use crm_executor::Agent;
use crm_fencer::{Configuration, Effect, Fencer, Input};
use crm_node::Input as NodeInput;
use fence_agents_ipmi::{
    Bmc, BmcConfig, ChassisControl, CipherSuite, Client, ClientConfig, Entropy, PowerControl,
    PowerError, Privilege, Secret, Timing, User,
};
use membership_base::{Incarnation, Instant, NodeId};

use crate::members::Pair;
use crate::text;

/// What a resource agent prints for `meta-data`.
pub fn metadata(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let agent =
        Agent { class: "ocf".to_owned(), provider: Some("x".to_owned()), name: "y".to_owned() };
    let mut pair = Pair::new();
    pair.input(NodeId(1), NodeInput::Metadata { agent, text: text.to_owned() });
    pair.settle();
}

/// What a fence agent prints for `list`: the operation that asked for it ends.
pub fn fence_list(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let doc = cib_xml::Doc::parse(
        "<cib><configuration><resources><primitive id=\"d\" class=\"stonith\" \
         type=\"fence_x\"/></resources></configuration></cib>",
    );
    let doc = doc.expect("the document is sound");
    let configuration = Configuration::from_cib(doc.root(), Time::from_epoch(0));
    let mut fencer = Fencer::new("n1", Incarnation(1), 0);
    let mut now = Instant(0);
    fencer.handle(now, Input::View(vec!["n1".to_owned()]));
    fencer.handle(now, Input::Configure(configuration));
    fencer.handle(
        now,
        Input::Request {
            ticket: 1,
            target: "n2".to_owned(),
            action: "off".to_owned(),
            life: None,
            client: "fuzz".to_owned(),
            timeout_ms: 1000,
        },
    );
    for _ in 0..100 {
        let Some(effect) = fencer.poll_effect() else {
            let Some(due) = fencer.poll_timeout() else { break };
            now = now.max(due);
            fencer.handle_timeout(now);
            continue;
        };
        match effect {
            Effect::Broadcast(message) => {
                fencer.handle(now, Input::Delivered("n1".to_owned(), message));
            }
            Effect::Run { run, .. } => {
                fencer.handle(now, Input::Finished { run, result: Ok(text.to_owned()) });
            }
            Effect::Ended { .. } => return,
        }
    }
    panic!("the operation does not end");
}

/// Counts up, so that a session is the same every time.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

struct Switch;

impl PowerControl for Switch {
    fn is_on(&mut self) -> bool {
        true
    }

    fn control(&mut self, _: ChassisControl) -> Result<(), PowerError> {
        Ok(())
    }
}

/// Datagrams that a client gets at most in one session here.
const REPLIES_MAX: usize = 12;

/// One session with a BMC that answers as it should; `meddle` sees every reply with its number, and
/// says what comes in its place. The BMC gets that as well, as if it were a request.
fn session(meddle: &mut dyn FnMut(usize, Vec<u8>) -> Vec<u8>) {
    let (user, password) = ("admin".to_owned(), Secret::new("secret"));
    let suites = vec![CipherSuite::Suite17, CipherSuite::Suite3];
    let config = ClientConfig {
        user: user.clone(),
        password: password.clone(),
        bmc_key: Secret::new(""),
        suites: suites.clone(),
        privilege: Privilege::Operator,
        timing: Timing::default(),
    };
    let bmc = BmcConfig {
        users: vec![User { name: user, password, privilege: Privilege::Administrator }],
        suites,
        bmc_key: Secret::new(""),
        guid: [7; 16],
    };
    let mut bmc = Bmc::new(bmc, Box::new(Counting(100)));
    let mut now = Duration::ZERO;
    let client = Client::new(config, Box::new(Counting(1)), now);
    let mut client = client.expect("the configuration is sound");
    let peer = ([127, 0, 0, 1], 623).into();
    let mut replies = 0;
    while replies < REPLIES_MAX {
        while client.poll_event().is_some() {}
        if client.is_idle() {
            client.command(now, 0, 1, &[]);
        }
        let Some(request) = client.poll_transmit() else {
            let Some(due) = client.poll_timeout() else { return };
            now = now.max(due);
            client.handle_timeout(now);
            continue;
        };
        if let Some(reply) = bmc.handle_datagram(now, peer, &request, &mut Switch) {
            let reply = meddle(replies, reply);
            replies += 1;
            client.handle_datagram(now, &reply);
            let _ = bmc.handle_datagram(now, peer, &reply, &mut Switch);
        }
    }
}

/// Replies of a session that goes well, each with its number in front.
pub(crate) fn replies() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    session(&mut |number, reply| {
        all.push([&[number as u8], &reply[..]].concat());
        reply
    });
    all
}

/// What a BMC answers: the first byte says to which request.
pub fn ipmi(data: &[u8]) {
    let Some((at, datagram)) = data.split_first() else { return };
    session(&mut |number, reply| match number == usize::from(*at) {
        true => datagram.to_vec(),
        false => reply,
    });
}

/// The cluster's key file: it is taken if it has a sane length and is not one byte over and over.
pub fn key(data: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    let open = std::fs::OpenOptions::new().write(true).mode(0o600).open(file.path());
    std::io::Write::write_all(&mut open.expect("it is ours"), data).expect("there is room");
    let taken = membership_transport::load_key(file.path()).is_ok();
    let random = data.iter().any(|byte| Some(byte) != data.first());
    assert_eq!(taken, random && (128..=4096).contains(&data.len()), "{} bytes", data.len());
}
