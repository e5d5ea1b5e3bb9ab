//! What our messages look like on the wire, and which of the peer's are taken.

use std::collections::BTreeSet;
use std::time::Duration;

use ike::wire::{
    ExchangeType, Flags, Group, Header, Message, Notify, NotifyType, Payload, PayloadType, TransformId, VendorId,
};
use ike::{Config, Input};

use crate::world::*;

fn initial(world: &World) -> Vec<Message> {
    let unprotected = world.sent.iter().filter_map(|(_, _, bytes)| Message::parse(bytes).ok());
    unprotected.filter(|message| message.header.exchange == ExchangeType::IkeSaInit).collect()
}

fn requests(world: &World) -> Vec<Message> {
    initial(world).into_iter().filter(|message| !message.header.flags.response).collect()
}

fn part(message: &Message, wanted: PayloadType) -> Vec<&Payload> {
    message.payloads.iter().filter(|payload| payload.kind() == wanted).collect()
}

/// RFC 7296 §2.6, §3.1: a cookie comes first, the rest is octet for octet as before, and the responder's SPI is still zero.
#[test]
fn a_retry_with_a_cookie_changes_nothing_else() {
    let mut world = World::with(quiet(), Config { cookie_threshold: 0, ..quiet() }, 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    let [first, second] = &requests(&world)[..] else { panic!("two requests") };
    assert_eq!(second.header, first.header);
    assert_eq!((second.header.responder_spi, second.header.message_id), (0, 0));
    let Payload::Notify(cookie) = &second.payloads[0] else { panic!("the cookie comes first") };
    assert!(cookie.kind == NotifyType::Cookie && (1..=64).contains(&cookie.data.len()));
    assert_eq!(second.payloads[1..], first.payloads[..]);
    world.assert_agreed();
}

/// RFC 7296 §1.2, §2.6, §3.4: another group changes the KE payload; nonce, SPI and the whole list of suites stay.
#[test]
fn a_retry_with_another_group_offers_all_suites_again() {
    let mut world = World::with(quiet(), Config { groups: vec![Group::P256], ..quiet() }, 3);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    let [first, second] = &requests(&world)[..] else { panic!("two requests") };
    assert_eq!(second.header, first.header);
    for kind in [PayloadType::Sa, PayloadType::Nonce] {
        assert_eq!(part(first, kind), part(second, kind));
    }
    for message in [first, second] {
        let (Payload::Ke(ke), Payload::Sa(sa)) = (part(message, PayloadType::Ke)[0], part(message, PayloadType::Sa)[0])
        else {
            panic!("KE and SA")
        };
        let offered = |group| {
            sa.proposals
                .iter()
                .all(|proposal| proposal.transforms.iter().any(|transform| transform.id == TransformId::Group(group)))
        };
        assert!(offered(ke.group));
    }
    world.assert_agreed();
}

/// RFC 7296 §1.3: a rekeying begins with the group in use, which the peer is known to accept, not with our favourite.
#[test]
fn a_rekeying_of_the_ike_sa_begins_with_the_group_in_use() {
    let mut world = World::with(quiet(), Config { groups: vec![Group::P256], ..quiet() }, 3);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    let before = world.sent.len();
    world.input(MN, Input::RekeyIke(world.ike_sa(MN)));
    world.run();
    assert_eq!(world.sent.len() - before, 4, "CREATE_CHILD_SA and the Delete, each with its answer");
    assert_eq!([MN, HA].map(|host| world.hosts[host].rekeyed()), [1, 1]);
}

/// RFC 7296 §2.2: from zero on for each side's own requests; the response has that of its request.
#[test]
fn message_ids_count_the_requests_of_each_side() {
    let mut world = World::attached();
    for host in [MN, HA, MN, HA, HA] {
        world.input(host, Input::CheckLiveness(world.ike_sa(host)));
        world.run();
    }
    let ids: Vec<_> = world.sent.iter().map(|(from, _, bytes)| (*from, Header::parse(bytes).unwrap().0)).collect();
    let of = |response: bool| {
        let chosen = ids.iter().filter(move |(_, header)| header.flags.response == response);
        chosen.map(|(from, header)| (*from, header.message_id)).collect::<Vec<_>>()
    };
    assert_eq!(of(false), [(MN, 0), (MN, 1), (MN, 2), (HA, 0), (MN, 3), (HA, 1), (HA, 2)]);
    assert_eq!(of(true), [(HA, 0), (HA, 1), (HA, 2), (MN, 0), (HA, 3), (MN, 1), (MN, 2)]);
}

/// RFC 7296 §3.5: an address is a name like any other; it need be neither that of the packets nor in the selectors.
#[test]
fn an_address_as_identity_need_not_be_that_of_the_packets() {
    for id in [ike::wire::Identity::Ipv6(home()), ike::wire::Identity::Ipv4("192.0.2.1".parse().unwrap())] {
        let mut world = World::new();
        let order = ike::action::Connect { local_id: id, ..connect() };
        world.input(MN, Input::Connect(Box::new(order)));
        world.run();
        assert_eq!(world.hosts[HA].living().len(), 1);
        world.assert_agreed();
    }
}

/// RFC 7296 §3.3, §2.7: numbered from one without gaps; those with and without encryption and integrity in one stand apart.
#[test]
fn proposals_are_numbered_and_of_one_kind_each() {
    let world = World::attached();
    let Payload::Sa(sa) = part(&requests(&world)[0], PayloadType::Sa)[0].clone() else { panic!("SA") };
    let numbers: Vec<_> = sa.proposals.iter().map(|proposal| proposal.number).collect();
    assert_eq!(numbers, [1, 2]);
    let integrity = |at: usize| {
        sa.proposals[at].transforms.iter().any(|transform| matches!(transform.id, TransformId::Integrity(_)))
    };
    assert!(!integrity(0) && integrity(1));
    assert!(sa.proposals.iter().all(|proposal| proposal.spi.is_empty()));
}

/// RFC 7296 §2.10, §3.9: as long as the PRF's key, and never the same.
#[test]
fn nonces_are_as_long_as_the_key_of_the_prf_and_never_used_twice() {
    let mut nonces = BTreeSet::new();
    for seed in 1..20 {
        let mut world = World::with(quiet(), quiet(), seed);
        world.input(MN, Input::Connect(Box::new(connect())));
        world.input(MN, Input::Connect(Box::new(connect())));
        world.run();
        for message in initial(&world) {
            let Payload::Nonce(nonce) = part(&message, PayloadType::Nonce)[0].clone() else { panic!("nonce") };
            assert_eq!(nonce.as_bytes().len(), 32);
            assert!(nonces.insert(nonce.as_bytes().to_vec()));
        }
    }
}

/// RFC 7296 §2.5, §3.1, §3.2: version 2.0, no reserved bit, no critical payload, the R flag in responses only.
#[test]
fn reserved_bits_are_zero_in_all_that_is_sent() {
    let mut world = World::with(quiet(), Config { cookie_threshold: 0, groups: vec![Group::P256], ..quiet() }, 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    world.input(HA, Input::RekeyIke(world.ike_sa(HA)));
    world.run();
    for (_, _, bytes) in &world.sent {
        assert_eq!(bytes[17], 0x20);
        assert_eq!(bytes[19] & !0x28, 0, "flags other than I and R");
        let (mut kind, mut at) = (bytes[16], 28);
        while kind != 0 && at < bytes.len() {
            assert_eq!(bytes[at + 1], 0, "critical or reserved bits");
            (kind, at) = match kind {
                46 => (0, bytes.len()),
                _ => (bytes[at], at + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]))),
            };
        }
        let (header, _, _) = Header::parse(bytes).unwrap();
        assert_ne!(header.initiator_spi, 0);
    }
}

/// RFC 7296 §2: three thousand octets are taken, and more than that; what no message needs is not kept.
#[test]
fn long_requests_are_taken_up_to_a_bound() {
    for (octets, taken) in [(1280, true), (3000, true), (8000, true), (9000, false)] {
        let mut world = World::new();
        world.input(MN, Input::Connect(Box::new(connect())));
        let mut message = Message::parse(&world.wire.pop_front().unwrap().bytes).unwrap();
        let length = message.write().unwrap().len();
        message.payloads.push(Payload::VendorId(VendorId(vec![7; octets - length - 4])));
        let bytes = message.write().unwrap();
        assert_eq!(bytes.len(), octets);
        world.deliver(Datagram { to: HA, endpoints: endpoints(HOME_AGENT, CARE_OF), bytes });
        assert_eq!(world.hosts[HA].engine.half_open() == 1, taken, "{octets}");
    }
}

/// RFC 7296 §2.1: two initiators that happen to have the same SPI (behind one NAT, on one port) are told apart by all of their
/// request.
#[test]
fn two_initiators_with_the_same_spi_get_an_ike_sa_each() {
    let mut world = World::new();
    world.input(MN, Input::Connect(Box::new(connect())));
    let first = world.wire.pop_front().unwrap();
    let mut message = Message::parse(&first.bytes).unwrap();
    for payload in &mut message.payloads {
        if let Payload::Nonce(nonce) = payload {
            *nonce = ike::wire::Nonce::new(vec![9; 32]).unwrap();
        }
    }
    let second = Datagram { bytes: message.write().unwrap(), ..first.clone() };
    for datagram in [&first, &second, &first, &second] {
        world.deliver(datagram.clone());
    }
    let answers: Vec<_> = world.wire.drain(..).map(|datagram| datagram.bytes).collect();
    assert_eq!(world.hosts[HA].engine.half_open(), 2);
    assert_eq!((&answers[0], &answers[1]), (&answers[2], &answers[3]), "each gets its own answer again");
    assert_ne!(answers[0][8..16], answers[1][8..16], "another SPI");
}

/// RFC 7296 §2.1: once IKE_AUTH is through, the first request again is neither a new one nor answered.
#[test]
fn the_first_request_is_not_answered_again_when_the_ike_sa_stands() {
    let mut world = World::attached();
    let first = world.sent[0].2.clone();
    let before = world.sent.len();
    world.deliver(Datagram { to: HA, endpoints: endpoints(HOME_AGENT, CARE_OF), bytes: first });
    assert_eq!((world.sent.len(), world.hosts[HA].engine.len()), (before, 1));
}

/// RFC 7296 §2.6: a wrong cookie is as good as none: the right one is asked for again, and nothing is kept.
#[test]
fn a_wrong_cookie_is_as_good_as_none() {
    let mut world = World::with(quiet(), Config { cookie_threshold: 0, ..quiet() }, 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.step();
    world.step();
    let right = world.wire.pop_front().unwrap();
    let mut message = Message::parse(&right.bytes).unwrap();
    for wrong in [vec![], vec![0; 33], vec![1; 64]] {
        message.payloads[0] = Payload::Notify(Notify::with_data(NotifyType::Cookie, wrong));
        world.deliver(Datagram { bytes: message.write().unwrap(), ..right.clone() });
        let answer = Message::parse(&world.wire.pop_front().unwrap().bytes).unwrap();
        assert!(answer.notify(NotifyType::Cookie).is_some());
        assert!(world.hosts[HA].engine.is_empty());
    }
    // The right one from another address is a wrong one.
    let elsewhere = endpoints(HOME_AGENT, "[2001:db8:bad::1]:500");
    world.deliver(Datagram { endpoints: elsewhere, ..right.clone() });
    assert!(world.hosts[HA].engine.is_empty());
    world.deliver(right);
    assert_eq!(world.hosts[HA].engine.half_open(), 1);
}

/// RFC 7296 §2.8.1: the two sides do not rekey at the same moment: up to a tenth of the lifetime is taken off at random.
#[test]
fn rekeying_has_a_jitter() {
    let mut times = BTreeSet::new();
    for seed in 1..12 {
        let mut world = World::attached_with(seed);
        let start = world.now;
        let deadlines = [MN, HA].map(|host| (world.hosts[host].engine.deadline().unwrap() - start).as_millis());
        for deadline in deadlines {
            assert!((3_240_000..=3_600_000).contains(&deadline), "{deadline}");
            times.insert(deadline / 1000);
        }
        world.advance(Duration::from_secs(1));
    }
    assert!(times.len() > 15, "{times:?}");
}

/// RFC 7296 §2.3, §2.4: an unanswered request of ours keeps nobody from being answered.
#[test]
fn a_request_is_answered_while_our_own_is_unanswered() {
    let mut world = World::attached();
    let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
    for host in [MN, HA] {
        world.input(host, Input::CreateChild(ike_sas[host], payload()));
    }
    let ours = world.wire.pop_front().unwrap();
    world.run();
    assert_eq!(world.hosts[HA].living().len(), 2, "the home agent's is through");
    world.deliver(ours);
    world.run();
    assert_eq!(world.hosts[HA].living().len(), 3);
    world.assert_agreed();
}

/// RFC 7296 §2.21.4, §1.5: the answer to an INVALID_IKE_SPI or INVALID_MAJOR_VERSION is nothing.
#[test]
fn unprotected_errors_are_never_answered() {
    let mut world = World::attached();
    for kind in [NotifyType::InvalidIkeSpi, NotifyType::InvalidMajorVersion, NotifyType::InvalidSpi] {
        for (exchange, response) in
            [(ExchangeType::Informational, true), (ExchangeType::IkeSaInit, true), (ExchangeType::Informational, false)]
        {
            let flags = Flags { initiator: true, higher_version: false, response };
            let header = Header::new((7, 0), exchange, flags, 0);
            let bytes = Message { header, payloads: vec![Payload::Notify(Notify::new(kind))] }.write().unwrap();
            let before = world.sent.len();
            world.deliver(Datagram { to: HA, endpoints: endpoints(HOME_AGENT, CARE_OF), bytes });
            assert_eq!(world.sent.len(), before, "{kind}");
        }
    }
    assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
    world.assert_agreed();
}
