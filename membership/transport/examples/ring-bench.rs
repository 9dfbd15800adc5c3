//! Measures the ring: several members in this process on the loopback interface, or one member of
//! a ring of processes.
//!
//! `ring-bench loop NODES SIZE SECONDS` runs everything here; `ring-bench join CONF KEY STATE NAME
//! SIZE SECONDS` is one member, which measures when SECONDS is not 0.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use membership_base::NodeId;
use membership_conf::Config;
use membership_transport::{Event, Guarantee, Key, Options, SubmitError, Transport, load_key};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["loop", nodes, size, seconds] => in_one(nodes.parse()?, size.parse()?, seconds.parse()?),
        ["join", conf, key, state, name, size, seconds] => {
            let config = membership_conf::parse(&std::fs::read_to_string(conf)?)?;
            let key = load_key(&PathBuf::from(key))?;
            let count = config.nodes.len();
            let (transport, events) = start(config, key, PathBuf::from(state), name)?;
            run(&transport, &events, count, size.parse()?, seconds.parse()?);
            Ok(())
        }
        _ => Err("see the head of this file".into()),
    }
}

fn start(
    config: Config,
    key: Key,
    state: PathBuf,
    name: &str,
) -> Result<(Transport, Receiver<Event>), Failure> {
    let mut options = Options::new(config, state);
    options.local = Some(name.to_owned());
    options.key = Some(key);
    let (sender, events) = channel();
    let sink = Box::new(move |event| {
        let _ = sender.send(event);
    });
    Ok((Transport::start(options, sink)?, events))
}

fn in_one(count: u32, size: usize, seconds: u64) -> Result<(), Failure> {
    let node = |n: u32| format!("node {{\nname: n{n}\nnodeid: {n}\nring0_addr: 127.0.0.{n}\n}}\n");
    let nodes: String = (1..=count).map(node).collect();
    let text = format!("nodelist {{\n{nodes}}}\nquorum {{\nprovider: corosync_votequorum\n}}\n");
    let config = membership_conf::parse(&text)?;
    let folder = std::env::temp_dir().join(format!("ring-bench-{}", std::process::id()));
    let mut ends = Vec::new();
    for n in 1..=count {
        let name = format!("n{n}");
        let key = Key::from_bytes((0..=255).collect());
        ends.push(start(config.clone(), key, folder.join(&name), &name)?);
    }
    let mut ends = ends.into_iter();
    let (transport, events) = ends.next().ok_or("at least one node")?;
    let mut others = Vec::new();
    for (other, theirs) in ends {
        others.push(other);
        // The others only listen, until their ring ends.
        std::thread::spawn(move || while theirs.recv().is_ok_and(|e| e != Event::Stopped) {});
    }
    run(&transport, &events, count as usize, size, seconds);
    others.iter().chain([&transport]).for_each(Transport::leave);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn run(transport: &Transport, events: &Receiver<Event>, count: usize, size: usize, seconds: u64) {
    let begin = Instant::now();
    while let Ok(event) = events.recv() {
        if matches!(event, Event::Gathering(_) | Event::Paused(_)) {
            println!("{:?} {event:?}", begin.elapsed());
        }
        if let Event::View(view) = event {
            println!("{:?} view {:?} quorate {}", begin.elapsed(), view.members, view.quorate);
            if view.members.len() == count && seconds > 0 {
                break;
            }
        }
    }
    for guarantee in [Guarantee::Agreed, Guarantee::Safe] {
        round_trips(transport, events, size, guarantee);
    }
    flood(transport, events, size, seconds);
}

/// Whether an event is a message of our own.
fn is_own(event: &Event, me: NodeId) -> bool {
    matches!(event, Event::Delivered(d) if d.sender == me)
}

fn round_trips(t: &Transport, events: &Receiver<Event>, size: usize, guarantee: Guarantee) {
    for (label, pause) in [("idle", 300), ("busy", 0)] {
        let mut times = Vec::new();
        for _ in 0..if pause > 0 { 10 } else { 1000 } {
            std::thread::sleep(Duration::from_millis(pause));
            let begin = Instant::now();
            if t.submit(vec![0; size], guarantee).is_err() {
                return;
            }
            while events.recv().is_ok_and(|e| !is_own(&e, t.me())) {}
            times.push(begin.elapsed());
        }
        times.sort();
        let (half, last) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("{guarantee:?} {label}: median {half:?}, 99% {last:?}");
    }
}

fn flood(t: &Transport, events: &Receiver<Event>, size: usize, seconds: u64) {
    let (mut sent, mut received) = (0u64, 0u64);
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    while Instant::now() < end || received < sent {
        while Instant::now() < end && sent - received < 20_000 {
            match t.submit(vec![0; size], Guarantee::Agreed) {
                Ok(()) => sent += 1,
                Err(SubmitError::Busy) => break,
                Err(_) => return,
            }
        }
        match events.recv() {
            Ok(event) if is_own(&event, t.me()) => received += 1,
            Ok(Event::View(view)) => println!("view {:?}", view.members),
            Ok(_) => {}
            Err(_) => return,
        }
        while let Ok(event) = events.try_recv() {
            received += u64::from(is_own(&event, t.me()));
        }
    }
    let rate = received as f64 / begin.elapsed().as_secs_f64();
    println!("{size} bytes: {rate:.0} messages a second, {:.1} MB/s", rate * size as f64 / 1e6);
}
