//! The ring's promises under loss, delay, partitions, pauses, crashes and restarts.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "seeds and traces")]

#[path = "support/world.rs"]
mod world;

use membership_base::{NodeId, Rng};
use membership_totem::{Guarantee, Input, NodeLinks, Settings, Totem};
use std::time::Duration;
use world::{Attacker, Entry, World, ms};

fn ids(range: std::ops::RangeInclusive<u32>) -> Vec<NodeId> {
    range.map(NodeId).collect()
}

fn formed(seed: u64, count: u32) -> World {
    let mut world = World::new(seed, count);
    world.start_all();
    let all = world.up();
    assert!(world.run_until(ms(500), |w| w.is_one_ring(&all)), "formed in time");
    world
}

#[test]
fn one_node_forms_at_once_and_delivers_to_itself() {
    let mut world = World::new(1, 1);
    world.start(NodeId(1));
    assert!(world.is_one_ring(&[NodeId(1)]), "without waiting");
    world.submit(NodeId(1), Guarantee::Safe, 10);
    world.submit(NodeId(1), Guarantee::Agreed, 100_000);
    world.check_own_delivered();
    world.check();
}

#[test]
fn three_nodes_form_one_ring_quickly_and_as_the_first_view() {
    for seed in 0..50 {
        let mut world = World::new(seed, 3);
        world.encrypted = true;
        let begin = world.now;
        world.start_all();
        assert!(world.run_until(ms(50), |w| w.is_one_ring(&ids(1..=3))), "seed {seed}");
        assert!(world.now.since(begin) < ms(50));
        for id in ids(1..=3) {
            assert_eq!(world.log(id).len(), 1, "no smaller ring before");
        }
    }
}

#[test]
fn a_node_without_peers_waits_a_moment_and_goes_on_alone() {
    let mut world = World::new(3, 3);
    world.start(NodeId(2));
    assert!(world.run_until(ms(200), |w| w.is_one_ring(&[NodeId(2)])));
    world.run_for(ms(2000));
    world.start(NodeId(1));
    assert!(world.run_until(ms(100), |w| w.is_one_ring(&ids(1..=2))), "joins quickly");
    assert_eq!(world.log(NodeId(1)).len(), 1, "and has no ring of its own before");
}

#[test]
fn lost_node_is_out_within_half_a_second() {
    for seed in 0..100 {
        let mut world = formed(seed, 3);
        let settle = world.rng.between(ms(300), ms(2000));
        world.run_for(settle);
        let begin = world.now;
        let victim = NodeId(1 + (seed % 3) as u32);
        world.crash(victim);
        let rest = world.up();
        assert!(world.run_until(ms(500), |w| w.is_one_ring(&rest)), "seed {seed}");
        let took = world.now.since(begin);
        assert!(took < ms(450), "took {took:?}");
        world.check();
    }
}

#[test]
fn sixteen_nodes_lose_one_as_fast() {
    let mut world = formed(5, 16);
    world.run_for(ms(1000));
    world.crash(NodeId(7));
    let rest = world.up();
    assert!(world.run_until(ms(450), |w| w.is_one_ring(&rest)));
}

#[test]
fn a_leaving_node_is_out_at_once() {
    let mut world = formed(5, 3);
    world.run_for(ms(500));
    world.leave(NodeId(2));
    assert!(world.run_until(ms(10), |w| w.is_one_ring(&[NodeId(1), NodeId(3)])));
    world.start(NodeId(2));
    assert!(world.run_until(ms(100), |w| w.is_one_ring(&ids(1..=3))));
}

#[test]
fn a_restart_between_two_heartbeats_is_noticed() {
    let mut world = formed(6, 3);
    world.run_for(ms(500));
    world.crash(NodeId(3));
    world.start(NodeId(3));
    let before = world.view(NodeId(1)).unwrap().id;
    assert!(world.run_until(ms(200), |w| {
        w.view(NodeId(1)).unwrap().id > before && w.is_one_ring(&ids(1..=3))
    }));
    assert_eq!(world.view(NodeId(1)).unwrap().came_with_us, ids(1..=2));
    world.check();
}

#[test]
fn nobody_is_evicted_on_a_bad_network() {
    for seed in 0..20 {
        let mut world = formed(seed, 3);
        world.loss_per_mille = 200;
        world.delay = (ms(0), ms(30));
        let before = world.view(NodeId(1)).unwrap().ring;
        for _ in 0..60 {
            let id = NodeId(1 + world.rng.below(3) as u32);
            world.submit(id, Guarantee::Agreed, 50);
            world.run_for(ms(1000));
        }
        for id in ids(1..=3) {
            assert_eq!(
                world.view(id).unwrap().ring,
                before,
                "seed {seed}: the same ring all along"
            );
        }
        world.run_for(ms(3000));
        world.check();
        world.check_own_delivered();
    }
}

#[test]
fn idle_rings_answer_within_a_rotation() {
    for guarantee in [Guarantee::Agreed, Guarantee::Safe] {
        let mut world = formed(8, 3);
        for round in 0..20 {
            let settle = world.rng.between(ms(200), ms(900));
            world.run_for(settle);
            let sender = NodeId(1 + round % 3);
            let (begin, len) = (world.now, world.log(sender).len());
            world.submit(sender, guarantee, 50);
            let heard = world.run_until(ms(4), |w| w.log(sender).len() > len);
            assert!(heard, "{guarantee:?} from {sender} in round {round}");
            let took = world.now.since(begin);
            // Hops take 50 to 150 microseconds here.
            assert!(took < Duration::from_micros(1500), "{guarantee:?} {took:?}");
        }
    }
}

#[test]
fn an_idle_ring_is_quiet() {
    let mut world = formed(9, 3);
    world.run_for(ms(2000));
    let before = world.sent;
    world.run_for(ms(10_000));
    // 6 heartbeats per 50 ms, and a token round every 200 ms.
    let per_second = (world.sent - before) / 10;
    assert!(per_second < 250, "{per_second} packets a second");
}

#[test]
fn large_messages_arrive_whole() {
    let mut world = formed(10, 3);
    world.submit(NodeId(1), Guarantee::Agreed, 8 << 20);
    world.submit(NodeId(2), Guarantee::Safe, 300_000);
    world.submit(NodeId(3), Guarantee::Agreed, 5);
    world.run_for(ms(3000));
    world.check();
    world.check_own_delivered();
}

#[test]
fn a_full_backlog_refuses_and_says_so() {
    let mut world = World::new(1, 2);
    world.tune = |s| s.backlog = 10_000;
    world.start(NodeId(1));
    for _ in 0..100 {
        world.submit(NodeId(1), Guarantee::Agreed, 1000);
    }
    assert!(world.nodes[&NodeId(1)].submitted[&1].len() < 12);
    world.run_for(ms(500));
    world.check_own_delivered();
}

#[test]
fn a_paused_node_distrusts_itself() {
    for length in [260, 300, 400, 600, 2000] {
        let mut world = formed(11, 3);
        world.run_for(ms(500));
        let before = world.view(NodeId(2)).unwrap().id;
        world.pause(NodeId(2), ms(length));
        world.run_for(ms(length + 1000));
        assert!(world.is_one_ring(&ids(1..=3)), "{length} ms");
        assert!(world.view(NodeId(2)).unwrap().id > before, "{length} ms: a new view");
        for (_, entry) in world.log(NodeId(1)) {
            let together = matches!(entry, Entry::View(v) if v.members.contains(&NodeId(3)));
            assert!(together, "{length} ms: the others stay together: {entry:?}");
        }
        world.check();
    }
}

#[test]
fn a_pause_of_all_together_ends_quickly() {
    for seed in 0..30 {
        let mut world = formed(seed, 3);
        world.run_for(ms(500));
        let before = world.view(NodeId(1)).unwrap().id;
        let length = ms(270 + seed * 50);
        ids(1..=3).into_iter().for_each(|id| world.pause(id, length));
        world.run_for(length);
        let whole = world.run_until(ms(60), |w| {
            w.view(NodeId(1)).unwrap().id > before && w.is_one_ring(&ids(1..=3))
        });
        assert!(whole, "seed {seed}");
        for id in ids(1..=3) {
            assert_eq!(world.view(id).unwrap().came_with_us, ids(1..=3), "seed {seed}");
        }
    }
}

/// A path that loses large datagrams only: heartbeats pass, messages do not.
#[test]
fn a_node_that_gets_no_large_datagrams_is_left_out_in_the_end() {
    let mut world = World::new(15, 3);
    world.tune = |s| s.timing.token = ms(1000);
    world.start_all();
    assert!(world.run_until(ms(500), |w| w.is_one_ring(&ids(1..=3))));
    world.black_hole = Some((NodeId(3), 700));
    world.submit(NodeId(1), Guarantee::Agreed, 1000);
    assert!(world.run_until(ms(3000), |w| w.is_one_ring(&ids(1..=2))));
    world.check();
}

#[test]
fn a_link_may_fail_without_a_new_view() {
    let mut world = World::new(12, 3);
    world.links = 2;
    world.start_all();
    assert!(world.run_until(ms(500), |w| w.is_one_ring(&ids(1..=3))));
    world.run_for(ms(1000));
    let before = world.view(NodeId(1)).unwrap().ring;
    for a in ids(1..=3) {
        for b in ids(1..=3) {
            world.cut.insert((a, b, 0));
        }
    }
    for _ in 0..50 {
        world.submit(NodeId(2), Guarantee::Safe, 100);
        world.run_for(ms(100));
    }
    world.check_own_delivered();
    assert_eq!(world.view(NodeId(1)).unwrap().ring, before);
}

#[test]
fn half_broken_connections_settle() {
    // Nodes 1 and 3 cannot reach each other; 2 reaches both.
    let mut world = formed(13, 3);
    world.run_for(ms(500));
    world.partition(&[NodeId(1)], &[NodeId(3)]);
    world.run_for(ms(3000));
    let before: Vec<u64> = ids(1..=3).iter().map(|id| world.view(*id).unwrap().id).collect();
    world.run_for(ms(10_000));
    let after: Vec<u64> = ids(1..=3).iter().map(|id| world.view(*id).unwrap().id).collect();
    assert_eq!(before, after, "no ring after ring");
    world.cut.clear();
    assert!(world.run_until(ms(6000), |w| w.is_one_ring(&ids(1..=3))));
    world.check();
}

/// After failures each waits longer before it tries again. Two that answered at their own times only
/// could miss each other for ever.
#[test]
fn a_node_answers_a_join_while_it_waits_with_its_own() {
    for seed in 0..20 {
        let mut world = formed(seed, 2);
        world.partition(&[NodeId(1)], &[NodeId(2)]);
        world.run_for(ms(1_000));
        world.cut.clear();
        // The first one hears heartbeats and tries in vain, ever less often.
        world.only_heartbeats = Some(NodeId(2));
        let in_vain = world.rng.between(ms(20_000), ms(30_000));
        world.run_for(in_vain);
        let views = |w: &World| w.log(NodeId(1)).len();
        assert!(!world.is_one_ring(&ids(1..=2)) && views(&world) > 5, "seed {seed}");
        world.crash(NodeId(2));
        world.only_heartbeats = None;
        world.start(NodeId(2));
        assert!(world.run_until(ms(1_000), |w| w.is_one_ring(&ids(1..=2))), "seed {seed}");
    }
}

/// The others hear it well, so it takes them a round of consensus or two to give it up.
#[test]
fn a_node_that_cannot_hear_is_left_out() {
    for seed in 0..20 {
        let mut world = formed(14 + seed, 3);
        world.run_for(ms(500 + 13 * seed));
        world.cut.insert((NodeId(1), NodeId(2), 0));
        world.cut.insert((NodeId(3), NodeId(2), 0));
        let left_out = |w: &World| w.is_one_ring(&[NodeId(1), NodeId(3)]);
        assert!(world.run_until(ms(3000), left_out), "seed {seed}");
        world.check();
    }
}

/// Nothing reaches it, or nothing of it reaches anybody, or a part is lost: the others stay in one
/// ring, all of them, all the time.
fn only_one_is_left_out(seed: u64, count: u32, break_it: fn(&mut World, NodeId)) {
    let mut world = formed(seed, count);
    world.run_for(ms(500 + 13 * seed));
    let bad = NodeId(1 + (seed % u64::from(count)) as u32);
    let rest: Vec<NodeId> = world.up().into_iter().filter(|id| *id != bad).collect();
    break_it(&mut world, bad);
    world.run_for(ms(6000));
    for id in &rest {
        for (_, entry) in world.log(*id) {
            if let Entry::View(view) = entry {
                let together = rest.iter().all(|r| view.members.contains(r));
                assert!(together, "seed {seed}, {count} nodes, {bad} is bad: {id} has {view:?}");
            }
        }
    }
    world.check();
}

fn deafen(world: &mut World, node: NodeId) {
    for other in world.up() {
        world.cut.insert((other, node, 0));
    }
}

fn mute(world: &mut World, node: NodeId) {
    for other in world.up() {
        world.cut.insert((node, other, 0));
    }
}

#[test]
fn a_deaf_node_takes_nobody_with_it() {
    for seed in 0..30 {
        for count in [3, 5] {
            only_one_is_left_out(seed, count, deafen);
        }
    }
}

#[test]
fn a_mute_node_takes_nobody_with_it() {
    for seed in 0..30 {
        for count in [3, 5] {
            only_one_is_left_out(seed, count, mute);
        }
    }
}

#[test]
fn a_node_that_loses_a_third_takes_nobody_with_it() {
    for seed in 0..200 {
        for count in [3, 5] {
            only_one_is_left_out(seed, count, |world, node| {
                world.lossy = Some((node, 200 + world.rng.below(300)));
            });
        }
    }
}

/// Anything may happen for a while; then all must be well again.
fn chaos(seed: u64, count: u32) {
    disturb(World::new(seed, count), seed, count);
}

fn disturb(mut world: World, seed: u64, count: u32) -> World {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let all = ids(1..=count);
    if rng.chance(300) {
        world.links = 2;
    }
    world.start_all();
    world.loss_per_mille = rng.below(4) * 70;
    world.delay = (ms(0), Duration::from_micros(100 + rng.below(20_000)));
    for _ in 0..rng.below(120) {
        let id = NodeId(1 + rng.below(u64::from(count)) as u32);
        match rng.below(100) {
            0..=64 => {
                let guarantee = if rng.chance(400) { Guarantee::Safe } else { Guarantee::Agreed };
                let size = if rng.chance(100) { 40_000 } else { rng.below(400) as usize };
                for _ in 0..rng.below(20) {
                    world.submit(id, guarantee, size);
                }
            }
            65..=69 => {
                let cut = rng.below(u64::from(count)) as usize;
                world.partition(&all[..cut], &all[cut..]);
            }
            70..=73 => {
                let other = NodeId(1 + rng.below(u64::from(count)) as u32);
                world.cut.insert((id, other, 0));
            }
            74..=83 => world.cut.clear(),
            84..=87 => world.crash(id),
            88..=94 if !world.is_up(id) => world.start(id),
            95..=97 => world.pause(id, ms(rng.below(1200))),
            98 if world.is_up(id) => world.leave(id),
            99 => world.loss_per_mille = rng.below(4) * 70,
            _ => {}
        }
        let longest = if rng.chance(700) { 8_000 } else { 700_000 };
        world.run_for(Duration::from_micros(rng.below(longest)));
    }
    world.cut.clear();
    if let Some(attacker) = &mut world.attacker {
        attacker.per_mille = 0;
    }
    world.loss_per_mille = 0;
    world.delay = (Duration::from_micros(50), Duration::from_micros(150));
    for id in &all {
        if !world.is_up(*id) {
            world.start(*id);
        }
    }
    let whole = world.run_until(ms(15_000), |w| w.is_one_ring(&all));
    assert!(whole, "seed {seed}: one ring in the end");
    world.run_for(ms(2000));
    assert!(world.is_one_ring(&all), "seed {seed}: and it stays");
    world.check();
    world.check_own_delivered();
    let newest = world.log(NodeId(1)).iter().filter(|(_, e)| matches!(e, Entry::View(_))).count();
    assert!(newest > 0);
    world
}

/// Somebody on the path without the key cannot make two members deliver different things.
#[test]
fn chaos_with_an_attacker_on_the_path() {
    for seed in seeds() {
        for count in [3, 5] {
            let mut world = World::new(seed, count);
            world.encrypted = true;
            world.attacker =
                Some(Attacker { per_mille: 100 + seed % 5 * 100, ..Attacker::default() });
            let world = disturb(world, seed, count);
            assert!(world.rejected > 0, "seed {seed}: it was at work");
            assert_eq!(world.diverged, 0, "seed {seed}: no two orders");
        }
    }
}

/// Its clock was set back, and it has lost what it kept of its earlier starts.
#[test]
fn a_node_with_a_lower_incarnation_gets_in_once_the_other_one_is_silent() {
    let mut world = World::new(16, 3);
    world.nodes.get_mut(&NodeId(3)).unwrap().next_incarnation = Some(1000);
    world.start_all();
    assert!(world.run_until(ms(500), |w| w.is_one_ring(&ids(1..=3))));
    world.run_for(ms(500));
    world.crash(NodeId(3));
    world.nodes.get_mut(&NodeId(3)).unwrap().next_incarnation = Some(10);
    world.start(NodeId(3));
    assert!(world.run_until(ms(2000), |w| w.is_one_ring(&ids(1..=3))));
    world.check();
}

/// A node's datagrams of a time when its clock was far ahead, sent again after it was set right.
#[test]
fn captured_datagrams_of_a_high_incarnation_lock_nobody_out() {
    let mut world = World::new(17, 3);
    world.encrypted = true;
    world.nodes.get_mut(&NodeId(3)).unwrap().next_incarnation = Some(1 << 60);
    world.attacker = Some(Attacker::default());
    world.start_all();
    assert!(world.run_until(ms(500), |w| w.is_one_ring(&ids(1..=3))));
    ids(1..=3).into_iter().for_each(|id| world.crash(id));
    world.run_for(ms(1000));
    let captured = world.captured();
    let node = world.nodes.get_mut(&NodeId(3)).unwrap();
    node.next_incarnation = Some(10);
    world.start(NodeId(1));
    world.start(NodeId(2));
    let replay = |world: &mut World| {
        for (to, link, bytes) in &captured {
            world.input(*to, Input::Packet { link: *link, bytes: bytes.clone() });
        }
    };
    replay(&mut world);
    world.start(NodeId(3));
    for _ in 0..20 {
        replay(&mut world);
        world.run_for(ms(20));
    }
    assert!(world.run_until(ms(500), |w| w.is_one_ring(&ids(1..=3))));
    world.run_for(ms(300));
    let before = world.view(NodeId(1)).unwrap().ring;
    replay(&mut world);
    world.run_for(ms(1000));
    assert_eq!(world.view(NodeId(1)).unwrap().ring, before, "it disturbs nobody");
    world.check();
}

/// Without encryption anybody can send this.
#[test]
fn a_spoofed_ring_number_is_not_believed() {
    let mut world = formed(18, 3);
    for seq in [u64::MAX, 1 << 62, 1 << 50] {
        let before = world.view(NodeId(1)).unwrap().ring.seq;
        world.spoof_heartbeat(NodeId(1), NodeId(2), seq);
        world.run_for(ms(100));
        world.crash(NodeId(3));
        assert!(world.run_until(ms(1000), |w| w.is_one_ring(&ids(1..=2))));
        world.start(NodeId(3));
        assert!(world.run_until(ms(1000), |w| w.is_one_ring(&ids(1..=3))));
        let after = world.view(NodeId(1)).unwrap().ring.seq;
        assert!(after < before + (1 << 30), "{seq}: {before} to {after}");
    }
    world.check();
}

#[test]
fn chaos_of_two() {
    seeds().for_each(|seed| chaos(seed, 2));
}

#[test]
fn chaos_of_three() {
    seeds().for_each(|seed| chaos(seed, 3));
}

#[test]
fn chaos_of_five() {
    seeds().for_each(|seed| chaos(seed, 5));
}

/// `SEEDS=from-to` runs others.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("SEEDS").ok();
    let parsed = given.as_deref().and_then(|s| s.split_once('-'));
    let bounds = parsed.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (from, to) = bounds.unwrap_or((0, 60));
    from..to
}

proptest::proptest! {
    #[test]
    fn no_bytes_can_crash_the_machine(bytes in proptest::collection::vec(0u8..=255, 0..300)) {
        let nodes = vec![
            NodeLinks { node: NodeId(1), links: vec![0] },
            NodeLinks { node: NodeId(2), links: vec![0] },
        ];
        let mut settings = Settings::new(NodeId(1), nodes);
        settings.key = None;
        settings.cluster_name = "alpha".into();
        let now = membership_base::Instant(5);
        let mut machine = Totem::new(settings.clone(), now);
        settings.me = NodeId(2);
        let mut other = Totem::new(settings, now);
        machine.handle(now, membership_totem::Input::Start);
        other.handle(now, membership_totem::Input::Start);
        // They get to know each other, so that the frame is what it is about.
        let mut header = Vec::new();
        for _ in 0..6 {
            for bytes in sent(&mut other) {
                header = bytes[..34].to_vec();
                machine.handle(now, membership_totem::Input::Packet { link: 0, bytes });
            }
            for bytes in sent(&mut machine) {
                other.handle(now, membership_totem::Input::Packet { link: 0, bytes });
            }
        }
        header[33] = 0x7f;
        header.extend_from_slice(&[1, 0, 0, 0, 0]);
        header.extend_from_slice(&bytes);
        machine.handle(now, membership_totem::Input::Packet { link: 0, bytes: header });
        machine.handle(now, membership_totem::Input::Packet { link: 9, bytes });
        while machine.poll_effect().is_some() {}
    }
}

fn sent(machine: &mut Totem) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(effect) = machine.poll_effect() {
        if let membership_totem::Effect::Transmit { bytes, .. } = effect {
            all.push(bytes.to_vec());
        }
    }
    all
}

#[test]
fn the_phases_and_their_order() {
    let table: Vec<String> = membership_totem::Phase::STEPS
        .iter()
        .map(|(from, to)| format!("{from:?}: {to:?}"))
        .collect();
    assert_eq!(
        table,
        [
            "Idle: [Gather, Left]",
            "Gather: [Gather, Commit, Left]",
            "Commit: [Gather, Recovery, Left]",
            "Recovery: [Gather, Operational, Left]",
            "Operational: [Gather, Left]",
            "Left: [Left]",
        ]
    );
}
