//! Links that lose, double and swap.

use std::time::Duration;

use ike::{Config, Input};
use proptest::prelude::*;

use crate::world::*;

/// Attach, another child, rekey a child, rekey the IKE SA, delete a child. Every order is given once the last one is done.
fn story(world: &mut World, mut keep: impl FnMut(&Datagram) -> bool) {
    let pause = Duration::from_secs(70);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.advance_with(pause, &mut keep);
    let Some(ike_sa) = world.hosts[MN].established().first().copied() else { return };
    world.input(MN, Input::CreateChild(ike_sa, payload()));
    world.advance_with(pause, &mut keep);
    let first = world.hosts[HA].living().first().map(|child| child.id);
    if let Some(child) = first {
        world.input(HA, Input::RekeyChild(child));
    }
    world.advance_with(pause, &mut keep);
    world.input(MN, Input::RekeyIke(ike_sa));
    world.advance_with(pause, &mut keep);
    let last = world.hosts[MN].living().last().map(|child| child.id);
    if let Some(child) = last {
        world.input(MN, Input::DeleteChild(child));
    }
    world.advance_with(pause, &mut keep);
}

fn assert_story(world: &World) {
    world.assert_agreed();
    world.assert_repetitions_identical();
    assert_eq!(world.hosts[MN].living().len(), 1);
    assert_eq!([MN, HA].map(|host| world.hosts[host].rekeyed()), [1, 1]);
    assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
}

/// RFC 7296 §2.1.
#[test]
fn each_message_may_be_lost_once_and_its_repetition_is_the_same() {
    let mut world = World::new();
    story(&mut world, |_| true);
    assert_story(&world);
    let messages = world.sent.len();
    for lost in 0..messages {
        let (mut world, mut number) = (World::new(), 0);
        story(&mut world, |_| {
            number += 1;
            number != lost + 1
        });
        assert_story(&world);
        assert!(world.hosts.iter().any(|host| host.engine.stats().retransmitted > 0), "message {lost}");
    }
}

/// RFC 7296 §2.1: a repeated request has no effect but the same answer.
#[test]
fn each_message_may_come_twice() {
    let mut world = World::new();
    world.input(MN, Input::Connect(Box::new(connect())));
    let twice = |world: &mut World| {
        while let Some(datagram) = world.wire.pop_front() {
            world.deliver(datagram.clone());
            let seen = world.wire.len();
            world.deliver(datagram);
            // What the repetition brings is the answer once more; it has no effect either.
            world.wire.truncate(seen.max(1) + 1);
        }
    };
    twice(&mut world);
    let ike_sa = world.ike_sa(MN);
    world.input(MN, Input::CreateChild(ike_sa, payload()));
    twice(&mut world);
    world.input(HA, Input::RekeyIke(world.ike_sa(HA)));
    twice(&mut world);
    let child = world.hosts[MN].living()[0].id;
    world.input(MN, Input::RekeyChild(child));
    twice(&mut world);
    assert_eq!(world.hosts[MN].children.len(), 3, "no child was made twice");
    assert_eq!(world.hosts[HA].children.len(), 3);
    assert_eq!(world.hosts[MN].living().len(), 2);
    world.assert_agreed();
    world.assert_repetitions_identical();
    assert!(world.hosts[HA].engine.stats().repeated > 0);
}

/// RFC 7296 §2.3: an old request is outside of the window and gets nothing.
#[test]
fn an_old_message_is_not_answered() {
    let mut world = World::attached();
    let all = world.sent.clone();
    world.input(MN, Input::CheckLiveness(world.ike_sa(MN)));
    world.run();
    world.input(MN, Input::CheckLiveness(world.ike_sa(MN)));
    world.run();
    let before = world.sent.len();
    for (from, seen, bytes) in all {
        let endpoints = ike::Endpoints { local: seen.remote, remote: seen.local };
        world.deliver(Datagram { to: 1 - from, endpoints, bytes });
    }
    assert_eq!(world.sent.len(), before);
    assert_eq!(world.hosts[HA].engine.len(), 1);
    world.assert_agreed();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is lost, the two agree in the end, and no repetition was changed.
    #[test]
    fn the_two_agree_in_the_end_whatever_is_lost(pattern in proptest::collection::vec(any::<bool>(), 1..400), seed in 1u64..1000) {
        // With liveness checks a side that the other has given up notices.
        let config = Config { liveness: Some(Duration::from_secs(20)), ..quiet() };
        let mut world = World::with(config.clone(), config, seed);
        let (mut number, mut run) = (0, 0);
        story(&mut world, |_| {
            number += 1;
            let lost = pattern.get(number % pattern.len()).copied().unwrap_or(false) && run < 3;
            run = if lost { run + 1 } else { 0 };
            !lost
        });
        world.advance(Duration::from_secs(700));
        world.assert_agreed();
        world.assert_repetitions_identical();
    }

    /// Datagrams that come in any order and any number.
    #[test]
    fn any_order_is_survived(picks in proptest::collection::vec((0usize..64, any::<bool>()), 0..60), seed in 1u64..1000) {
        let mut world = World::attached_with(seed);
        let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
        world.input(MN, Input::CreateChild(ike_sas[MN], payload()));
        world.input(HA, Input::CreateChild(ike_sas[HA], payload()));
        let child = world.hosts[HA].living()[0].id;
        world.input(HA, Input::RekeyChild(child));
        world.input(MN, Input::RekeyIke(ike_sas[MN]));
        for (pick, again) in picks {
            if world.wire.is_empty() {
                break;
            }
            let index = pick % world.wire.len();
            let datagram = world.wire[index].clone();
            if !again {
                world.wire.remove(index);
            }
            world.deliver(datagram);
            while world.wire.len() > 40 {
                world.wire.pop_front();
            }
        }
        world.advance(Duration::from_secs(600));
        world.assert_agreed();
        world.assert_repetitions_identical();
        prop_assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
        prop_assert_eq!(world.hosts[MN].living().len(), 3);
    }
}
