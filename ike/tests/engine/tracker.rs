//! What went wrong with other implementations in the field: links that lose, swap and bounce just when both sides renew.

use std::collections::BTreeSet;
use std::time::Duration;

use ike::wire::{Header, NotifyType};
use ike::{CloseReason, Config, Endpoints, Input};

use crate::world::*;

const NEW: &str = "[2001:db8:3::3]:500";

fn first_child(world: &World, host: usize) -> ike::ChildId {
    world.hosts[host].living()[0].id
}

/// Takes the oldest datagram off the wire without delivering it.
fn hold(world: &mut World) -> Datagram {
    world.wire.pop_front().unwrap()
}

/// Both can still start exchanges, and have one child of each kind in the end.
fn assert_whole(world: &mut World) {
    for host in [MN, HA] {
        let ike_sa = world.ike_sa(host);
        let alive = world.hosts[host].alive();
        world.input(host, Input::CheckLiveness(ike_sa));
        world.advance(Duration::from_secs(5));
        assert_eq!(world.hosts[host].alive(), alive + 1);
    }
    world.assert_agreed();
    world.assert_repetitions_identical();
    assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
}

/// Crossed rekeying of a child, one lost packet, and TEMPORARY_FAILURE from the rekeying of the IKE SA: one child is left.
#[test]
fn a_crossed_child_rekeying_with_a_lost_packet_and_temporary_failure_leaves_one_child() {
    for seed in 1..8 {
        for lost in 0..14 {
            let mut world = World::attached_with(seed);
            let children = [MN, HA].map(|host| first_child(&world, host));
            let ike_sa = world.ike_sa(HA);
            world.input(MN, Input::RekeyChild(children[MN]));
            world.input(HA, Input::RekeyIke(ike_sa));
            world.input(HA, Input::RekeyChild(children[HA]));
            let mut number = 0;
            world.advance_with(Duration::from_secs(200), |_| {
                number += 1;
                number != lost + 1
            });
            assert_eq!(world.hosts[MN].living().len(), 1, "seed {seed}, lost {lost}");
            assert_eq!([MN, HA].map(|host| world.hosts[host].rekeyed()), [1, 1], "seed {seed}, lost {lost}");
            assert_whole(&mut world);
        }
    }
}

/// The responder gives a new child up at once, and its Delete overtakes the answer that made it.
#[test]
fn a_delete_that_overtakes_the_answer_leaves_no_half_of_a_child() {
    let mut world = World::attached();
    world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
    world.step();
    let answer = hold(&mut world);
    let new = world.hosts[HA].living()[1].id;
    world.input(HA, Input::InstallFailed(new));
    world.run();
    assert_eq!(world.hosts[HA].living().len(), 1);
    world.deliver(answer);
    world.run();
    assert_eq!(world.hosts[MN].failed(), [None]);
    assert_eq!(world.hosts[MN].living().len(), 1);
    assert_whole(&mut world);
}

/// The same when a child is rekeyed: the old one stays and is rekeyed a little later.
#[test]
fn a_delete_that_overtakes_the_answer_to_a_rekeying_costs_only_time() {
    let mut world = World::attached();
    let old = first_child(&world, MN);
    world.input(MN, Input::RekeyChild(old));
    world.step();
    let answer = hold(&mut world);
    let new = world.hosts[HA].living()[1].id;
    world.input(HA, Input::InstallFailed(new));
    world.run();
    world.deliver(answer);
    world.run();
    assert_eq!(world.hosts[MN].living().iter().map(|child| child.id).collect::<Vec<_>>(), [old]);
    world.advance(Duration::from_secs(120));
    assert_eq!(world.hosts[MN].living().len(), 1);
    assert_ne!(world.hosts[MN].living()[0].id, old);
    assert_whole(&mut world);
}

/// The Delete of the old child comes before the answer that made the new one (within half a second, in the wrong order).
#[test]
fn the_answer_to_a_crossed_rekeying_and_its_delete_may_come_in_any_order() {
    for seed in 1..16 {
        for swap in 0..6 {
            let mut world = World::attached_with(seed);
            let children = [MN, HA].map(|host| first_child(&world, host));
            world.input(MN, Input::RekeyChild(children[MN]));
            world.input(HA, Input::RekeyChild(children[HA]));
            for _ in 0..swap {
                world.step();
            }
            if world.wire.len() > 1 {
                world.wire.make_contiguous().reverse();
            }
            world.run();
            world.advance(Duration::from_secs(60));
            assert_eq!(world.hosts[MN].living().len(), 1, "seed {seed}, {swap} messages");
            assert_whole(&mut world);
        }
    }
}

/// The link bounces while the IKE SA is rekeyed: the new keys stay.
#[test]
fn an_ike_sa_that_is_rekeyed_while_the_link_bounces_stays() {
    for host in [MN, HA] {
        for bounces in 1..6 {
            let mut world = World::attached();
            let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
            world.input(host, Input::RekeyIke(ike_sas[host]));
            for bounce in 0..bounces {
                // One message gets through, then the link is gone and another one is there.
                world.step();
                world.lose();
                let care_of = if bounce % 2 == 0 { NEW } else { CARE_OF };
                let moved = endpoints(care_of, HOME_AGENT);
                world.input(MN, Input::Move(ike_sas[MN], moved));
                world.input(HA, Input::Move(ike_sas[HA], Endpoints { local: moved.remote, remote: moved.local }));
            }
            world.advance(Duration::from_secs(120));
            assert_eq!([MN, HA].map(|host| world.hosts[host].rekeyed()), [1, 1], "{bounces} bounces");
            assert_eq!(world.hosts[MN].living().len(), 1);
            assert_whole(&mut world);
        }
    }
}

/// RFC 7296 §1.3.2, §2.18, §3.1: who rekeys is the original initiator of the new keys, and both sides count from zero; the old
/// keys count on.
#[test]
fn roles_and_message_ids_are_those_of_the_new_keys() {
    for host in [MN, HA] {
        let mut world = World::attached();
        let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
        let header = |world: &World, from: usize| {
            Header::parse(&world.sent.iter().rfind(|(sender, ..)| *sender == from).unwrap().2).unwrap().0
        };
        world.input(host, Input::RekeyIke(ike_sas[host]));
        let request = header(&world, host);
        world.run();
        let delete = header(&world, host);
        assert_eq!((delete.initiator_spi, delete.responder_spi), (request.initiator_spi, request.responder_spi));
        assert_eq!(
            delete.message_id,
            request.message_id + 1,
            "the Delete is the next and last request of the old keys"
        );
        for side in [MN, HA] {
            world.input(side, Input::CheckLiveness(ike_sas[side]));
            let sent = header(&world, side);
            assert_ne!(sent.initiator_spi, request.initiator_spi);
            assert_eq!((sent.message_id, sent.flags.initiator), (0, side == host));
            world.run();
            let answer = header(&world, 1 - side);
            assert_eq!((answer.message_id, answer.flags.initiator), (0, side != host));
            assert!(answer.flags.response);
        }
    }
}

/// After a rekeying with swapped roles, all of what was under the old keys comes again: nobody hears INVALID_IKE_SPI.
#[test]
fn late_messages_after_a_rekeying_with_swapped_roles_are_no_strangers() {
    for late in [0, 30, 90] {
        let mut world = World::attached();
        world.input(HA, Input::RekeyIke(world.ike_sa(HA)));
        world.run();
        world.input(MN, Input::RekeyIke(world.ike_sa(MN)));
        world.run();
        world.advance(Duration::from_secs(late));
        let answers: Vec<_> = world.sent.iter().map(|(from, seen, bytes)| (*from, *seen, bytes.clone())).collect();
        for (from, seen, bytes) in answers {
            let (header, _, _) = Header::parse(&bytes).unwrap();
            if header.flags.response {
                let endpoints = Endpoints { local: seen.remote, remote: seen.local };
                let before = world.sent.len();
                world.deliver(Datagram { to: 1 - from, endpoints, bytes });
                assert_eq!(world.sent.len(), before, "RFC 7296 §2.21.4: a response is never answered");
            }
        }
        assert_whole(&mut world);
        assert_eq!(world.hosts[MN].living().len(), 1);
    }
}

/// A rekeying is unanswered for long while it is ordered once more: one child, not two.
#[test]
fn a_rekeying_that_is_ordered_again_while_it_waits_makes_one_child() {
    for host in [MN, HA] {
        let mut world = World::attached();
        let old = first_child(&world, host);
        world.input(host, Input::RekeyChild(old));
        world.advance_with(Duration::from_secs(20), |_| false);
        world.input(host, Input::RekeyChild(old));
        world.advance(Duration::from_secs(120));
        assert_eq!(world.hosts[host].children.len(), 2);
        assert_eq!(world.hosts[host].living().len(), 1);
        assert_whole(&mut world);
    }
}

/// A rekeying times out for good: the IKE SA and all its children go, and what replaces them is one of each.
#[test]
fn a_rekeying_that_times_out_leaves_nothing_behind_for_its_replacement() {
    let mut world = World::attached();
    let old = first_child(&world, MN);
    world.input(MN, Input::RekeyChild(old));
    world.advance_with(Duration::from_secs(60), |_| false);
    let replacement = ike::action::Connect { initial_contact: true, ..connect() };
    world.input(MN, Input::Connect(Box::new(replacement)));
    world.advance_with(Duration::from_secs(30), |datagram| {
        let (header, _, _) = Header::parse(&datagram.bytes).unwrap();
        header.exchange != ike::wire::ExchangeType::CreateChildSa
    });
    world.advance(Duration::from_secs(120));
    assert_eq!([MN, HA].map(|host| world.hosts[host].closed()), [[CloseReason::Replaced], [CloseReason::Replaced]]);
    assert_eq!([MN, HA].map(|host| world.hosts[host].living().len()), [1, 1]);
    world.assert_agreed();
}

/// Both initiate at once, each with INITIAL_CONTACT: whatever they keep, they keep the same.
#[test]
fn ike_sas_that_cross_are_the_same_on_both_sides() {
    for first in [MN, HA] {
        for steps in 0..8 {
            let mut world = World::new();
            world.hosts[MN].owner.local_id = mn_id();
            world.hosts[HA].owner.local_id = ha_id();
            let ours = ike::action::Connect { initial_contact: true, ..connect() };
            let theirs = ike::action::Connect {
                endpoints: endpoints(HOME_AGENT, CARE_OF),
                local_id: ha_id(),
                remote_id: mn_id(),
                initial_contact: true,
                ..connect()
            };
            let mut orders = [(MN, ours), (HA, theirs)];
            if first == HA {
                orders.reverse();
            }
            let [(one, order), (other, crossing)] = orders;
            world.input(one, Input::Connect(Box::new(order)));
            for _ in 0..steps {
                world.step();
            }
            world.input(other, Input::Connect(Box::new(crossing)));
            world.run();
            world.advance(Duration::from_secs(700));
            let spis = |host: usize| -> BTreeSet<_> {
                world.hosts[host].living().iter().map(|child| child.inbound.spi.min(child.outbound.spi)).collect()
            };
            assert_eq!(spis(MN), spis(HA), "crossed after {steps} messages");
            assert!(!spis(MN).is_empty());
        }
    }
}

/// CREATE_CHILD_SA of a responder that is done, while the initiator still checks its certificate: it waits and is answered once.
#[test]
fn create_child_sa_while_the_certificate_is_checked_is_answered_later() {
    let mut world = World::new();
    world.hosts[HA].owner.certificates = true;
    world.input(MN, Input::Connect(Box::new(connect_with_certificates())));
    world.step();
    world.step();
    world.hosts[MN].owner.silent = true;
    world.step();
    world.step();
    assert_eq!([MN, HA].map(|host| world.hosts[host].engine.established()), [0, 1]);
    world.input(HA, Input::CreateChild(world.ike_sa(HA), payload()));
    world.run();
    world.hosts[MN].owner.silent = false;
    world.input(MN, Input::SignatureVerified(ike::IkeSaId(1), Ok(())));
    world.advance(Duration::from_secs(5));
    assert_eq!(world.hosts[MN].living().len(), 2);
    assert_whole(&mut world);
}

/// The owner cannot install what it has asked for: the child goes, once, and nothing starts again by itself.
#[test]
fn a_child_that_the_initiator_cannot_install_is_deleted_and_not_made_again() {
    let mut world = World::attached();
    world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
    world.run();
    let new = world.hosts[MN].living()[1].id;
    let before = world.sent.len();
    world.input(MN, Input::InstallFailed(new));
    world.input(MN, Input::InstallFailed(new));
    world.run();
    world.advance(Duration::from_secs(600));
    assert_eq!(world.sent.len() - before, 2, "a Delete and its answer");
    assert_eq!(world.hosts[MN].living().len(), 1);
    world.assert_agreed();
}

/// RFC 7296 §2.4: messages that were recorded and are played again do not show that the peer lives.
#[test]
fn a_dead_peer_is_noticed_while_its_old_messages_are_replayed() {
    let config = Config { liveness: Some(Duration::from_secs(20)), ..quiet() };
    let mut world = World::with(quiet(), config, 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    world.input(MN, Input::CheckLiveness(world.ike_sa(MN)));
    world.run();
    world.input(HA, Input::CheckLiveness(world.ike_sa(HA)));
    world.run();
    let recorded: Vec<_> = world.sent.iter().filter(|(from, ..)| *from == MN).cloned().collect();
    for _ in 0..60 {
        for (_, seen, bytes) in &recorded {
            let endpoints = Endpoints { local: seen.remote, remote: seen.local };
            world.deliver(Datagram { to: HA, endpoints, bytes: bytes.clone() });
            world.lose();
        }
        world.advance_with(Duration::from_secs(3), |_| false);
    }
    assert_eq!(world.hosts[HA].closed(), [CloseReason::Unanswered]);
}

/// RFC 7296 §2.3: also at the end of its lifetime an IKE SA sends nothing beyond the window; the Delete waits for the answer.
#[test]
fn the_end_of_a_lifetime_keeps_to_the_window() {
    let config = Config {
        ike_lifetime: ike::action::Lifetime { rekey: Duration::from_secs(2000), hard: Duration::from_secs(900) },
        ..quiet()
    };
    let mut world = World::with(config, quiet(), 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    world.advance(Duration::from_secs(890));
    world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
    let request = world.sent.last().unwrap().2.clone();
    world.advance_with(Duration::from_secs(15), |_| false);
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Expired]);
    assert!(world.sent.iter().rev().take(3).all(|(_, _, bytes)| *bytes == request), "the same request and no other");
    world.advance(Duration::from_secs(60));
    assert_eq!(world.hosts[HA].closed(), [CloseReason::PeerDeleted]);
    assert!(world.hosts.iter().all(|host| host.living().is_empty()));
    world.assert_repetitions_identical();
}

/// CVE-2024-2357: a local fault (our key does not sign) leaves nothing half-dead: the repeated request gets the same answer.
#[test]
fn a_local_error_leaves_nothing_half_dead() {
    let mut world = World::new();
    world.hosts[HA].owner.certificates = true;
    world.hosts[HA].owner.sign = Err("the token is gone".into());
    world.input(MN, Input::Connect(Box::new(connect_with_certificates())));
    let mut answers = 0;
    world.advance_with(Duration::from_secs(10), |datagram| {
        let answer = datagram.to == MN && datagram.bytes[18] == 35;
        answers += u32::from(answer);
        !answer || answers > 3
    });
    assert_eq!(answers, 4, "three were lost");
    assert!(matches!(world.hosts[MN].closed()[..], [CloseReason::Authentication(_)]));
    world.assert_repetitions_identical();
    world.advance(Duration::from_secs(60));
    assert!(world.hosts.iter().all(|host| host.engine.is_empty()));
}

/// RFC 7296 §2.9, §1.3.1: refusals come and go; the number of children is what was granted.
#[test]
fn a_refusal_is_no_child_on_either_side() {
    for notify in [NotifyType::TsUnacceptable, NotifyType::NoAdditionalSas, NotifyType::NoProposalChosen] {
        let mut world = World::attached();
        world.hosts[HA].owner.refuse = Some(notify);
        world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
        world.run();
        world.hosts[HA].owner.refuse = None;
        world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
        world.run();
        assert_eq!(world.hosts[MN].failed(), [Some(notify)]);
        assert_eq!(world.hosts[MN].living().len(), 2);
        assert_whole(&mut world);
    }
}
