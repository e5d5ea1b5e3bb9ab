//! End points that move (RFC 4877 §7.4) and those that do not.

use std::time::Duration;

use ike::{Action, Endpoints, Input};

use crate::world::*;

const NEW: &str = "[2001:db8:3::3]:500";

/// The octets of the last datagram of a host and where it went.
fn last(world: &World, host: usize) -> (Endpoints, Vec<u8>) {
    let (_, endpoints, bytes) = world.sent.iter().rfind(|(from, ..)| *from == host).unwrap();
    (*endpoints, bytes.clone())
}

/// RFC 7296 §2.1, RFC 4877 §7.4: bit for bit the same, at once, from the new end points.
#[test]
fn an_outstanding_request_goes_on_from_the_new_end_points_bit_for_bit() {
    for order in 0..4 {
        let mut world = World::attached();
        let ike_sa = world.ike_sa(MN);
        let child = world.hosts[MN].living()[0].id;
        let input = match order {
            0 => Input::CreateChild(ike_sa, payload()),
            1 => Input::RekeyChild(child),
            2 => Input::RekeyIke(ike_sa),
            _ => Input::CheckLiveness(ike_sa),
        };
        world.input(MN, input);
        let (_, before) = last(&world, MN);
        world.lose();
        let moved = endpoints(NEW, HOME_AGENT);
        world.input(MN, Input::Move(ike_sa, moved));
        assert_eq!(last(&world, MN), (moved, before));
        world.run();
        world.advance(Duration::from_secs(5));
        world.assert_agreed();
        world.assert_repetitions_identical();
        assert_eq!(world.hosts[MN].engine.endpoints(ike_sa), Some(moved));
    }
}

#[test]
fn ike_auth_goes_on_from_the_new_end_points() {
    let mut world = World::new();
    world.input(MN, Input::Connect(Box::new(connect())));
    world.step();
    world.step();
    let (_, before) = last(&world, MN);
    world.lose();
    let moved = endpoints(NEW, HOME_AGENT);
    world.input(MN, Input::Move(ike::IkeSaId(1), moved));
    assert_eq!(last(&world, MN), (moved, before));
    world.run();
    world.assert_agreed();
    assert_eq!(world.hosts[MN].living()[0].endpoints, moved);
    assert_eq!(world.hosts[HA].living()[0].endpoints, endpoints(HOME_AGENT, NEW));
}

/// NAT_DETECTION covers the addresses: IKE_SA_INIT starts afresh instead of looking like a NAT.
#[test]
fn ike_sa_init_starts_afresh_and_finds_no_nat() {
    let mut world = World::new();
    world.input(MN, Input::Connect(Box::new(connect())));
    let (_, before) = last(&world, MN);
    world.lose();
    world.input(MN, Input::Move(ike::IkeSaId(1), endpoints(NEW, HOME_AGENT)));
    assert_ne!(last(&world, MN).1[..8], before[..8], "another SPI");
    world.run();
    world.assert_agreed();
    assert!(!world.hosts[MN].living()[0].encapsulate);
}

/// RFC 7296 §2.11: the answer goes where the request came from; the end points are the owner's to move.
#[test]
fn an_authentic_request_from_elsewhere_is_answered_there_and_moves_nothing() {
    let mut world = World::attached();
    world.input(MN, Input::CheckLiveness(world.ike_sa(MN)));
    let mut datagram = world.wire.pop_front().unwrap();
    datagram.endpoints.remote = NEW.parse().unwrap();
    world.deliver(datagram);
    assert_eq!(last(&world, HA).0, endpoints(HOME_AGENT, NEW));
    let ike_sa = world.ike_sa(HA);
    assert_eq!(world.hosts[HA].engine.endpoints(ike_sa), Some(endpoints(HOME_AGENT, CARE_OF)));
    world.run();
    world.input(HA, Input::CheckLiveness(ike_sa));
    assert_eq!(last(&world, HA).0, endpoints(HOME_AGENT, CARE_OF));
}

/// Both sides move, as after a binding update with the K bit: new children speak of the new end points.
#[test]
fn new_children_have_the_new_end_points_and_old_ones_stay() {
    let mut world = World::attached();
    let moved = endpoints(NEW, HOME_AGENT);
    world.input(MN, Input::Move(world.ike_sa(MN), moved));
    world.input(HA, Input::Move(world.ike_sa(HA), Endpoints { local: moved.remote, remote: moved.local }));
    assert_eq!(world.wire.len(), 0, "nothing is said about it");
    world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
    world.run();
    assert_eq!(world.hosts[MN].living()[1].endpoints, moved);
    world.assert_agreed();
}

/// RFC 7296 §2.23.
#[test]
fn port_4500_stays_4500() {
    let mut world = World::new();
    world.nat = Some("[2001:db8:ff::1]:31337".parse().unwrap());
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    let ike_sa = world.ike_sa(MN);
    world.input(MN, Input::Move(ike_sa, endpoints(NEW, HOME_AGENT)));
    let now = world.hosts[MN].engine.endpoints(ike_sa).unwrap();
    assert_eq!(now, endpoints("[2001:db8:3::3]:4500", "[2001:db8:1::1]:4500"));
    let theirs = world.ike_sa(HA);
    world.input(HA, Input::Move(theirs, endpoints(HOME_AGENT, NEW)));
    let now = world.hosts[HA].engine.endpoints(theirs).unwrap();
    assert_eq!(now, endpoints("[2001:db8:1::1]:4500", "[2001:db8:3::3]:31337"));
}

/// A move while the owner is asked: the answer still finds its way, and so do the end points.
#[test]
fn a_move_while_the_owner_signs_is_obeyed() {
    let mut world = World::new();
    world.hosts[HA].owner.certificates = true;
    world.hosts[MN].owner.silent = true;
    world.input(MN, Input::Connect(Box::new(connect_with_certificates())));
    world.run();
    let question = world.hosts[MN].log.iter().find_map(|event| match event {
        Event::Did(Action::Sign { ike_sa, .. }) => Some(*ike_sa),
        _ => None,
    });
    let moved = endpoints(NEW, HOME_AGENT);
    world.input(MN, Input::Move(question.unwrap(), moved));
    world.input(MN, Input::Signed(question.unwrap(), Ok(vec![1, 2, 3])));
    assert_eq!(last(&world, MN).0, moved);
}
