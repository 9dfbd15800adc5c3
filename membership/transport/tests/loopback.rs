//! Three rings' ends in one process, over real sockets on the loopback interface.

#![allow(clippy::unwrap_used)]

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use membership_base::{NodeId, View};
use membership_transport::{
    Event, Guarantee, Key, Options, Pulse, StartError, SubmitError, Transport,
};

/// Longest wait for anything; far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

struct End {
    transport: Transport,
    events: Receiver<Event>,
    _state: tempfile::TempDir,
}

fn config(port: u16, count: u32, extra: &str) -> membership_conf::Config {
    let node = |n: u32| format!("node {{\nname: n{n}\nnodeid: {n}\nring0_addr: 127.0.0.{n}\n}}\n");
    let nodes: String = (1..=count).map(node).collect();
    membership_conf::parse(&format!(
        "totem {{\ncluster_name: loop\ninterface {{\nlinknumber: 0\nmcastport: {port}\n}}\n{extra}\n}}\n\
         quorum {{\nprovider: corosync_votequorum\n}}\nnodelist {{\n{nodes}}}\n"
    ))
    .unwrap()
}

fn start(port: u16, count: u32, me: u32) -> End {
    start_with(port, count, me, None)
}

fn start_with(port: u16, count: u32, me: u32, pulse: Option<Pulse>) -> End {
    let state = tempfile::tempdir().unwrap();
    let mut options = Options::new(config(port, count, ""), state.path().to_owned());
    options.local = Some(format!("n{me}"));
    options.key = Some(Key::from_bytes((0..=255).collect()));
    options.pulse = pulse;
    let (sender, events) = channel();
    let sink = Box::new(move |event| {
        let _ = sender.send(event);
    });
    End { transport: Transport::start(options, sink).unwrap(), events, _state: state }
}

impl End {
    fn next(&self) -> Event {
        match self.events.recv_timeout(PATIENCE) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => panic!("{}: nothing happens", self.transport.me()),
            Err(RecvTimeoutError::Disconnected) => panic!("the thread ended"),
        }
    }

    /// Waits for the view with these members.
    fn view_of(&self, members: &[u32]) -> View {
        loop {
            if let Event::View(view) = self.next()
                && view.members.iter().map(|n| n.0).eq(members.iter().copied())
            {
                return view;
            }
        }
    }

    fn messages(&self, count: usize) -> Vec<(NodeId, Vec<u8>)> {
        let mut out = Vec::new();
        while out.len() < count {
            match self.next() {
                Event::Delivered(d) => out.push((d.sender, d.bytes)),
                Event::View(view) => panic!("{}: a view {view:?}", self.transport.me()),
                _ => {}
            }
        }
        out
    }
}

#[test]
fn three_form_a_ring_agree_on_the_order_and_go_on_without_one() {
    let ends: Vec<End> = (1..=3).map(|me| start(35_405, 3, me)).collect();
    for end in &ends {
        assert!(end.view_of(&[1, 2, 3]).quorate);
    }
    for round in 0..1000u32 {
        let end = &ends[round as usize % 3];
        let size = if round % 100 == 0 { 50_000 } else { 40 };
        let mut bytes = round.to_le_bytes().to_vec();
        bytes.resize(size, 7);
        let guarantee = if round % 5 == 0 { Guarantee::Safe } else { Guarantee::Agreed };
        end.transport.submit(bytes, guarantee).unwrap();
    }
    let orders: Vec<_> = ends.iter().map(|e| e.messages(1000)).collect();
    assert!(orders[0] == orders[1] && orders[1] == orders[2], "one order");
    for me in 1..=3u32 {
        let own = orders[0].iter().filter(|(s, _)| s.0 == me);
        let numbers: Vec<u32> =
            own.map(|(_, b)| u32::from_le_bytes(b[..4].try_into().unwrap())).collect();
        let sent: Vec<u32> = (0..1000).filter(|r| r % 3 == me - 1).collect();
        assert_eq!(numbers, sent, "every sender's own order, nothing lost");
    }

    let status = ends[0].transport.status().unwrap();
    assert!(status.encrypted && status.quorum.quorate);
    assert_eq!(status.quorum.total_votes, 3);
    assert!(status.links[0].peers.iter().all(|(_, _, up)| *up), "{:?}", status.links);
    assert!(status.cmap.iter().any(|e| e.key == "runtime.members.3.status"));

    ends[2].transport.kill();
    for end in &ends[..2] {
        let view = end.view_of(&[1, 2]);
        assert!(view.quorate);
        assert_eq!(view.came_with_us, [NodeId(1), NodeId(2)]);
    }
    let begin = Instant::now();
    ends[1].transport.leave();
    assert_eq!(ends[1].events.iter().last(), Some(Event::Stopped));
    assert_eq!(ends[1].transport.submit(vec![1], Guarantee::Agreed), Err(SubmitError::Stopped));
    assert!(!ends[0].view_of(&[1]).quorate, "one of three");
    assert!(begin.elapsed() < Duration::from_secs(5));
    ends[0].transport.leave();
}

#[test]
fn busy_is_told_and_so_is_its_end() {
    let end = start(35_406, 2, 1);
    end.view_of(&[1]);
    // A second node that never comes does not matter: a ring of one takes everything at once, so
    // fill faster than the thread can read.
    let mut busy = false;
    for _ in 0..2000 {
        match end.transport.submit(vec![0; 1 << 20], Guarantee::Agreed) {
            Err(SubmitError::Busy) => {
                busy = true;
                break;
            }
            other => other.unwrap(),
        }
    }
    if busy {
        while end.next() != Event::Ready {}
    }
    let large = vec![0; 64 << 20];
    assert_eq!(end.transport.submit(large, Guarantee::Agreed), Err(SubmitError::TooLarge));
    end.transport.leave();
}

#[test]
fn a_new_verdict_on_quorum_is_a_new_view() {
    let end = start(35_407, 3, 1);
    let first = end.view_of(&[1]);
    assert!(!first.quorate);
    end.transport.set_expected_votes(1).unwrap();
    let second = end.view_of(&[1]);
    assert!(second.quorate && second.id > first.id);
    end.transport.leave();
}

#[test]
fn without_a_key_it_does_not_start_unless_encryption_is_off_in_words() {
    let state = tempfile::tempdir().unwrap();
    let missing = format!("keyfile: {}", state.path().join("none").display());
    let start = |extra: &str| {
        let mut options = Options::new(config(35_408, 1, extra), state.path().to_owned());
        options.local = Some("n1".to_owned());
        Transport::start(options, Box::new(|_| {}))
    };
    let error = start(&missing).err().unwrap();
    assert!(matches!(error, StartError::Key(_)));
    assert!(error.to_string().contains("systole keygen"), "{error}");
    let off = format!("{missing}\ncrypto_cipher: none\ncrypto_hash: none");
    let transport = start(&off).unwrap();
    assert!(!transport.status().unwrap().encrypted);
    transport.leave();
}

#[test]
fn a_node_whose_main_loop_does_not_answer_is_lost_until_it_does() {
    let limit = Duration::from_secs(2);
    let pulse = Pulse::new(limit);
    let ends = [start(35_435, 2, 1), start_with(35_435, 2, 2, Some(pulse.clone()))];
    // The view of both is what the loop still answers for.
    let together = |end: &End| loop {
        pulse.beat();
        match end.events.recv_timeout(Duration::from_millis(100)) {
            Ok(Event::View(view)) if view.members.len() == 2 => break,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the thread ended"),
        }
    };
    ends.iter().for_each(together);
    ends[0].view_of(&[1]);
    together(&ends[0]);
    ends[0].transport.kill();
    pulse.beat();
    ends[1].transport.kill();
}
