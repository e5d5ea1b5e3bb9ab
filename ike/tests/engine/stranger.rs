//! Those who cannot prove anything: they leave no state, cause no panic, and get little.

use std::time::Duration;

use ike::action::Connect;
use ike::wire::{ExchangeType, Flags, Header, Message, Notify, NotifyType, Payload, Version};
use ike::{Action, CloseReason, Config, Input};
use proptest::prelude::*;

use crate::world::*;

const STRANGER: &str = "[2001:db8:bad::1]:500";

fn unprotected(header: Header, payloads: Vec<Payload>) -> Vec<u8> {
    Message { header, payloads }.write().unwrap()
}

fn from_stranger(world: &mut World, to: usize, bytes: Vec<u8>) {
    let local = if to == HA { HOME_AGENT } else { CARE_OF };
    world.input(to, Input::Datagram { endpoints: endpoints(local, STRANGER), bytes });
}

fn answers(world: &mut World) -> Vec<Message> {
    world.wire.drain(..).map(|datagram| Message::parse(&datagram.bytes).unwrap()).collect()
}

/// The SPIs of the IKE SA of [`World::attached`].
fn spis(world: &World) -> (u64, u64) {
    let (header, _, _) = Header::parse(&world.sent.last().unwrap().2).unwrap();
    (header.initiator_spi, header.responder_spi)
}

fn request() -> Flags {
    Flags { initiator: true, higher_version: false, response: false }
}

fn response() -> Flags {
    Flags { initiator: false, higher_version: false, response: true }
}

/// RFC 7296 §2.21.4, §1.5.
#[test]
fn a_request_under_an_unknown_ike_sa_is_answered_seldom_and_a_response_never() {
    let mut world = World::attached();
    let bytes = unprotected(Header::new((7, 8), ExchangeType::Informational, request(), 3), Vec::new());
    from_stranger(&mut world, HA, bytes.clone());
    let [answer] = &answers(&mut world)[..] else { panic!("one answer") };
    assert_eq!((answer.header.initiator_spi, answer.header.responder_spi), (7, 8));
    assert_eq!((answer.header.message_id, answer.header.exchange), (3, ExchangeType::Informational));
    assert!(answer.header.flags.response && answer.notify(NotifyType::InvalidIkeSpi).is_some());
    (0..100).for_each(|_| from_stranger(&mut world, HA, bytes.clone()));
    assert!(answers(&mut world).len() < 25);
    world.advance(Duration::from_secs(60));
    let bytes = unprotected(Header::new((7, 8), ExchangeType::Informational, response(), 3), Vec::new());
    from_stranger(&mut world, HA, bytes);
    assert!(answers(&mut world).is_empty());
}

/// RFC 7296 §2.5, §3.1.
#[test]
fn a_higher_major_version_is_answered_with_ours_and_leaves_nothing() {
    let mut world = World::new();
    let mut header = Header::new((7, 0), ExchangeType::IkeSaInit, request(), 0);
    header.version = Version { major: 3, minor: 1 };
    from_stranger(&mut world, HA, unprotected(header, Vec::new()));
    let [answer] = &answers(&mut world)[..] else { panic!("one answer") };
    assert_eq!(answer.header.version.major, 2);
    assert!(answer.notify(NotifyType::InvalidMajorVersion).is_some());
    assert!(world.hosts[HA].engine.is_empty());
    header.version = Version { major: 1, minor: 0 };
    from_stranger(&mut world, HA, unprotected(header, Vec::new()));
    assert!(answers(&mut world).is_empty());
}

/// RFC 7296 §2.5.
#[test]
fn an_unknown_critical_payload_in_ike_sa_init_is_named_and_an_uncritical_one_passed_over() {
    for (critical, answered) in [(0x80, NotifyType::UnsupportedCriticalPayload), (0, NotifyType::Cookie)] {
        let mut world = World::with(quiet(), Config { cookie_threshold: 0, ..quiet() }, 1);
        world.input(MN, Input::Connect(Box::new(connect())));
        let mut bytes = world.wire.pop_front().unwrap().bytes;
        // A payload of type 200 in front of the others.
        let first = std::mem::replace(&mut bytes[16], 200);
        bytes.splice(28..28, [first, critical, 0, 5, 9]);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[24..28].copy_from_slice(&length.to_be_bytes());
        from_stranger(&mut world, HA, bytes);
        let [answer] = &answers(&mut world)[..] else { panic!("one answer") };
        let notify = answer.notify(answered).unwrap();
        if critical != 0 {
            assert_eq!(notify.data, [200]);
        }
        assert!(world.hosts[HA].engine.is_empty());
    }
}

/// RFC 7296 §2.6: no more than the limit, whatever comes.
#[test]
fn half_open_ike_sas_are_bounded_and_die() {
    let config = Config { half_open_limit: 10, cookie_threshold: 1000, ..quiet() };
    let mut world = World::with(quiet(), config, 1);
    for _ in 0..30 {
        world.input(MN, Input::Connect(Box::new(connect())));
        let datagram = world.wire.pop_back().unwrap();
        world.lose();
        world.deliver(datagram);
        world.lose();
    }
    assert_eq!(world.hosts[HA].engine.half_open(), 10);
    assert_eq!(world.hosts[HA].engine.stats().half_open_refused, 20);
    world.advance_with(Duration::from_secs(31), |_| false);
    assert_eq!((world.hosts[HA].engine.half_open(), world.hosts[HA].engine.len()), (0, 0));
}

/// Who can receive can return cookies: a single host that begins IKE SAs and never goes on leaves room for the others.
#[test]
fn one_network_does_not_take_all_half_open_ike_sas() {
    let config = Config { half_open_limit: 100, half_open_per_network: 10, cookie_threshold: 1000, ..quiet() };
    let mut world = World::with(quiet(), config, 1);
    let begin = |world: &mut World, remote: &str| {
        world.input(MN, Input::Connect(Box::new(connect())));
        let bytes = world.wire.pop_back().unwrap().bytes;
        world.lose();
        world.input(HA, Input::Datagram { endpoints: endpoints(HOME_AGENT, remote), bytes });
        world.lose();
    };
    (1..=30).for_each(|host| begin(&mut world, &format!("[2001:db8:bad::{host}]:500")));
    assert_eq!(world.hosts[HA].engine.half_open(), 10);
    begin(&mut world, "[2001:db8:bad:1::1]:500");
    begin(&mut world, "192.0.2.1:500");
    assert_eq!(world.hosts[HA].engine.half_open(), 12);
    assert_eq!(world.hosts[HA].engine.stats().half_open_refused, 20);
    // What has died counts no more.
    world.advance_with(Duration::from_secs(31), |_| false);
    begin(&mut world, STRANGER);
    assert_eq!(world.hosts[HA].engine.half_open(), 1);
}

/// Whoever has proved its identity cannot fill our memory either.
#[test]
fn a_peer_that_only_ever_builds_ike_sas_has_the_newest_ones() {
    let mut world = World::with(quiet(), Config { ike_sas_per_peer: 3, ..quiet() }, 1);
    for _ in 0..10 {
        world.input(MN, Input::Connect(Box::new(Connect { initial_contact: false, ..connect() })));
        world.run();
    }
    let agent = &world.hosts[HA];
    assert_eq!((agent.engine.established(), agent.engine.len(), agent.engine.half_open()), (3, 3, 0));
    assert_eq!(agent.closed(), vec![CloseReason::Replaced; 7]);
    assert_eq!(agent.living().len(), 3, "what was built under the others is gone");
    // Those that are left are the newest: they answer.
    let alive = world.hosts[MN].alive();
    world.input(MN, Input::CheckLiveness(world.ike_sa(MN)));
    world.run();
    assert_eq!(world.hosts[MN].alive(), alive + 1);
}

/// RFC 7296 §2.21.4: a forged INVALID_IKE_SPI is a reason to ask, seldom, and for nothing else.
#[test]
fn a_forged_notify_leads_to_one_liveness_check_and_changes_nothing() {
    let mut world = World::attached();
    let header = Header::new(spis(&world), ExchangeType::Informational, response(), 0);
    let forged = unprotected(header, vec![Payload::Notify(Notify::new(NotifyType::InvalidIkeSpi))]);
    for _ in 0..50 {
        from_stranger(&mut world, MN, forged.clone());
        world.run();
    }
    assert_eq!(world.hosts[MN].alive(), 1);
    assert!(world.hosts[MN].closed().is_empty());
    world.advance(Duration::from_secs(11));
    from_stranger(&mut world, MN, forged);
    world.run();
    assert_eq!(world.hosts[MN].alive(), 2);
    world.assert_agreed();
}

/// RFC 7296 §2.4: a peer that has lost its memory is told by INVALID_IKE_SPI, which proves nothing; a new IKE SA that is proved
/// takes the place of the old one, on both sides, without waiting for the last retransmission.
#[test]
fn a_peer_that_has_forgotten_everything_is_found_out_and_replaced_by_its_new_self() {
    let mut world = World::attached();
    world.hosts[HA].reboot(quiet(), 99);
    let old = world.ike_sa(MN);
    world.input(MN, Input::CheckLiveness(old));
    world.run();
    assert_eq!(world.hosts[MN].doubtful(), 1);
    // Each repetition is answered so as well: once in a while is enough.
    world.advance(Duration::from_secs(4));
    assert_eq!((world.hosts[MN].doubtful(), world.hosts[MN].closed()), (1, Vec::new()));
    world.input(MN, Input::Connect(Box::new(Connect { initial_contact: true, tag: 7, ..connect() })));
    world.run();
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Replaced]);
    assert_eq!((world.hosts[MN].engine.established(), world.hosts[HA].engine.established()), (1, 1));
    assert_eq!(world.hosts[MN].living().len(), 1);
    world.assert_agreed();
}

/// RFC 7296 §1.5, §2.21.4: INVALID_SPI names what we send under, comes from where we send to, and is a reason to ask, seldom.
#[test]
fn a_peer_that_lost_a_child_says_so_and_is_asked() {
    let mut world = World::attached();
    let spi = world.hosts[MN].living()[0].outbound.spi;
    let tell = |world: &mut World, spi, remote| {
        let ends = endpoints(HOME_AGENT, CARE_OF);
        world.hosts[HA].engine.handle(world.now, Input::UnknownSpi { endpoints: ends, spi });
        let Some(Action::Send { bytes, .. }) = world.hosts[HA].engine.poll() else { return };
        world.input(MN, Input::Datagram { endpoints: endpoints(CARE_OF, remote), bytes });
        world.run();
    };
    tell(&mut world, spi ^ 1, HOME_AGENT);
    tell(&mut world, spi, STRANGER);
    assert_eq!((world.hosts[MN].doubtful(), world.hosts[MN].alive()), (0, 0));
    (0..100).for_each(|_| tell(&mut world, spi, HOME_AGENT));
    assert_eq!((world.hosts[MN].doubtful(), world.hosts[MN].alive()), (1, 1));
    world.assert_agreed();
}

/// RFC 7296 §2.4: the owner that gives up what a peer without any IKE SA had (its bindings, its address) must not see it without
/// one in between.
#[test]
fn a_peer_that_begins_anew_is_never_without_an_ike_sa() {
    let mut world = World::attached();
    world.hosts[MN].reboot(quiet(), 99);
    world.input(MN, Input::Connect(Box::new(Connect { initial_contact: true, ..connect() })));
    world.run();
    let log = &world.hosts[HA].log;
    let at = |wanted: fn(&Action) -> bool| {
        log.iter().rposition(|event| matches!(event, Event::Did(action) if wanted(action))).unwrap()
    };
    let established = at(|action| matches!(action, Action::Established { .. }));
    let closed = at(|action| matches!(action, Action::Closed { reason: CloseReason::Replaced, .. }));
    assert!(established < closed);
    world.assert_agreed();
}

/// RFC 7296 §2.21.1: no forged error ends an attempt.
#[test]
fn forged_errors_do_not_end_an_attempt() {
    for kind in [
        NotifyType::NoProposalChosen,
        NotifyType::AuthenticationFailed,
        NotifyType::InvalidSyntax,
        NotifyType::Other(8000),
    ] {
        let mut world = World::new();
        world.input(MN, Input::Connect(Box::new(connect())));
        let (header, _, _) = Header::parse(&world.sent[0].2).unwrap();
        let header = Header::new((header.initiator_spi, 9), ExchangeType::IkeSaInit, response(), 0);
        from_stranger(&mut world, MN, unprotected(header, vec![Payload::Notify(Notify::new(kind))]));
        assert!(world.hosts[MN].closed().is_empty());
        world.run();
        world.assert_agreed();
        assert_eq!(world.hosts[MN].living().len(), 1);
    }
}

/// RFC 7296 §1.2: a forged INVALID_KE_PAYLOAD with a group that was never offered is not followed; §2.6: nor cookies for ever.
#[test]
fn forged_corrections_are_followed_only_so_far() {
    let mut world = World::new();
    world.input(MN, Input::Connect(Box::new(connect())));
    let (header, _, _) = Header::parse(&world.sent[0].2).unwrap();
    let header = Header::new((header.initiator_spi, 0), ExchangeType::IkeSaInit, response(), 0);
    world.lose();
    for group in [0u16, 1, 2, 14, 99] {
        let notify = Notify::with_data(NotifyType::InvalidKePayload, group.to_be_bytes().to_vec());
        from_stranger(&mut world, MN, unprotected(header, vec![Payload::Notify(notify)]));
    }
    assert!(world.wire.is_empty());
    for cookie in 0..50u8 {
        let notify = Notify::with_data(NotifyType::Cookie, vec![cookie; 8]);
        from_stranger(&mut world, MN, unprotected(header, vec![Payload::Notify(notify)]));
    }
    assert!(world.wire.len() <= 6);
    world.lose();
    world.advance(Duration::from_secs(5));
    world.assert_agreed();
    assert_eq!(world.hosts[MN].living().len(), 1, "the peer that asks for no cookie does not mind one");
}

/// RFC 7296 §1.4: nothing but IKE_AUTH is listened to under a half-open IKE SA.
#[test]
fn informational_before_authentication_is_dropped() {
    let mut world = World::new();
    world.input(MN, Input::Connect(Box::new(connect())));
    world.step();
    let (header, _, _) = Header::parse(&world.sent[1].2).unwrap();
    let spis = (header.initiator_spi, header.responder_spi);
    for exchange in [ExchangeType::Informational, ExchangeType::CreateChildSa, ExchangeType::Other(99)] {
        let delete = Payload::Delete(ike::wire::Delete::Ike);
        from_stranger(&mut world, HA, unprotected(Header::new(spis, exchange, request(), 1), vec![delete]));
    }
    world.run();
    world.assert_agreed();
    assert_eq!(world.hosts[MN].living().len(), 1);
}

/// A reachable panic counts as a vulnerability: what is written here is only that there is none, and that nothing is left.
fn survives(world: &mut World, bytes: Vec<u8>, to: usize) {
    from_stranger(world, to, bytes);
    world.lose();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Every message of an attachment, changed in some octets, from anywhere, at any time.
    #[test]
    fn changed_datagrams_do_no_harm(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        which in 0usize..4,
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let template = World::attached();
        let mut bytes = template.sent[which].2.clone();
        for (index, value) in &changes {
            let index = index.index(bytes.len());
            bytes[index] ^= *value | 1;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            if bytes.len() >= 28 {
                let length = u32::try_from(bytes.len()).unwrap();
                bytes[24..28].copy_from_slice(&length.to_be_bytes());
            }
        }
        // In each state of an attachment with the same seed.
        for steps in 0..4 {
            let mut world = World::new();
            world.input(MN, Input::Connect(Box::new(connect())));
            (0..steps).for_each(|_| _ = world.step());
            let wire = world.wire.clone();
            for to in [MN, HA] {
                survives(&mut world, bytes.clone(), to);
            }
            world.wire = wire;
            world.advance(Duration::from_secs(120));
            // A changed IKE_SA_INIT message is believed until AUTH shows that it was changed; nothing else has an effect.
            let undisturbed = world.hosts[MN].living().len() == 1;
            let fooled = which < 2 && world.hosts[MN].closed().len() == 1;
            prop_assert!(undisturbed || fooled, "{:#?}", world.hosts[MN].log);
            prop_assert!(world.hosts[HA].engine.half_open() == 0);
            world.assert_agreed();
        }
    }

    /// Any octets at all.
    #[test]
    fn any_octets_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), header in any::<bool>()) {
        let mut world = World::attached();
        let mut bytes = bytes;
        if header {
            let (initiator, responder) = spis(&world);
            let length = u32::try_from(bytes.len() + 28).unwrap();
            let front = [&initiator.to_be_bytes()[..], &responder.to_be_bytes(), &[46, 0x20, 37, 0x08, 0, 0, 0, 2], &length.to_be_bytes()];
            bytes.splice(0..0, front.concat());
        }
        for to in [MN, HA] {
            survives(&mut world, bytes.clone(), to);
        }
        world.assert_agreed();
        prop_assert!(world.hosts.iter().all(|host| host.engine.len() == 1 && host.closed().is_empty()));
    }
}

/// RFC 7296 §2.21.3, §3.10.1: what the peer itself sends wrong ends the IKE SA; here it is a peer that never comes back.
#[test]
fn an_attempt_without_any_answer_ends() {
    let mut world = World::new();
    world.input(MN, Input::Connect(Box::new(connect())));
    world.advance_with(Duration::from_secs(70), |_| false);
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Unanswered]);
    assert!(world.hosts[MN].engine.is_empty() && world.hosts[MN].engine.deadline().is_none());
}
