//! IKE_SA_INIT and IKE_AUTH between two engines: what stands in the end, and what does not.

use std::time::Duration;

use crate::world::*;
use ike::action::{Connect, EspSuite, RemoteAuth};
use ike::crypto::Secret;
use ike::wire::{Group, Identity, NotifyType};
use ike::{Action, CloseReason, Config, Input};

fn attach(world: &mut World, connect: Connect) {
    world.input(MN, Input::Connect(Box::new(connect)));
    world.run();
}

/// RFC 7296 §1.2.
#[test]
fn two_engines_with_a_shared_secret_get_an_ike_sa_and_a_child() {
    let world = World::attached();
    assert_eq!(world.sent.len(), 4, "four messages are enough");
    let child = world.hosts[MN].living()[0];
    assert_eq!((child.tag, child.transport, child.suite, child.esn), (77, true, EspSuite::AesGcm16_256, true));
    assert_eq!(world.hosts[HA].living()[0].tag, 99);
    assert!(child.initiator && child.replaces.is_none() && !child.encapsulate);
    assert_eq!(world.hosts[HA].engine.half_open(), 0);
    assert_eq!([MN, HA].map(|host| world.hosts[host].engine.established()), [1, 1]);
    assert_eq!(world.hosts[HA].engine.endpoints(world.ike_sa(HA)), Some(endpoints(HOME_AGENT, CARE_OF)));
}

/// RFC 7296 §2.8: the responder can receive before the initiator knows.
#[test]
fn the_child_is_installed_before_its_answer_is_sent_and_after_the_ike_sa_is_announced() {
    let world = World::attached();
    let log = &world.hosts[HA].log;
    let tail: Vec<_> = log[log.len() - 3..].iter().map(|event| format!("{event:?}")).collect();
    assert!(tail[0].contains("Established") && tail[1].contains("Installed") && tail[2] == "Sent", "{tail:?}");
}

/// RFC 7427, with signatures by way of the owners.
#[test]
fn two_engines_with_certificates_get_an_ike_sa_and_a_child() {
    let mut world = World::new();
    world.hosts[HA].owner.certificates = true;
    attach(&mut world, connect_with_certificates());
    world.assert_agreed();
    assert_eq!(world.hosts[MN].living().len(), 1);
}

/// RFC 7296 §4: the responder by certificate, the initiator by shared secret, is possible.
#[test]
fn a_certificate_where_a_shared_secret_is_demanded_is_refused() {
    let mut world = World::new();
    attach(&mut world, connect_with_certificates());
    assert!(matches!(world.hosts[MN].closed()[..], [CloseReason::Authentication(_)]));
    assert!(world.hosts[HA].audits()[0].contains("not made with a shared secret"), "{:?}", world.hosts[HA].audits());
    assert!(world.hosts[HA].established().is_empty());
}

/// RFC 7296 §2.19, §3.15.
#[test]
fn an_address_is_asked_for_and_granted() {
    let mut world = World::new();
    world.hosts[HA].owner.lease = Ok(Some(lease()));
    attach(&mut world, Connect { address: Some(address_request()), ..connect() });
    let granted = world.hosts[MN].log.iter().find_map(|event| match event {
        Event::Did(Action::Established { lease, .. }) => lease.clone(),
        _ => None,
    });
    assert_eq!(granted, Some(lease()));
    world.assert_agreed();
}

/// RFC 7296 §3.15.4: without the address no child; the IKE SA stays.
#[test]
fn without_an_address_there_is_no_child_but_the_ike_sa_stands() {
    let mut world = World::new();
    world.hosts[HA].owner.lease = Err("the pool is empty".into());
    attach(&mut world, Connect { address: Some(address_request()), ..connect() });
    assert_eq!(world.hosts[MN].failed(), [Some(NotifyType::InternalAddressFailure)]);
    assert!(world.hosts[MN].living().is_empty() && world.hosts[HA].living().is_empty());
    assert_eq!([MN, HA].map(|host| world.hosts[host].engine.established()), [1, 1]);
}

/// RFC 7296 §1.2: a refused first child leaves the IKE SA up, and another can be made.
#[test]
fn a_refused_first_child_can_be_made_later() {
    for notify in [NotifyType::TsUnacceptable, NotifyType::NoProposalChosen, NotifyType::FailedCpRequired] {
        let mut world = World::new();
        world.hosts[HA].owner.refuse = Some(notify);
        attach(&mut world, connect());
        assert_eq!(world.hosts[MN].failed(), [Some(notify)]);
        assert_eq!([MN, HA].map(|host| world.hosts[host].engine.established()), [1, 1]);
        world.hosts[HA].owner.refuse = None;
        world.input(MN, Input::CreateChild(world.ike_sa(MN), binding_update()));
        world.run();
        assert_eq!(world.hosts[MN].living().len(), 1);
        world.assert_agreed();
    }
}

/// RFC 6023.
#[test]
fn an_ike_sa_without_a_child_is_possible() {
    let mut world = World::new();
    attach(&mut world, Connect { child: None, ..connect() });
    assert_eq!([MN, HA].map(|host| world.hosts[host].engine.established()), [1, 1]);
    assert!(world.hosts[MN].living().is_empty() && world.hosts[MN].failed().is_empty());
}

/// RFC 7296 §2.9: the responder narrows, the initiator sees it.
#[test]
fn selectors_are_narrowed_to_what_the_responder_grants() {
    let mut world = World::new();
    let narrow = binding_update();
    world.hosts[HA].owner.narrow = Some((narrow.remote_selectors.clone(), narrow.local_selectors.clone()));
    attach(&mut world, Connect { child: Some(payload()), ..connect() });
    let child = world.hosts[MN].living()[0];
    assert_eq!((&child.local_selectors, &child.remote_selectors), (&narrow.local_selectors, &narrow.remote_selectors));
    world.assert_agreed();
}

/// An owner that grants more than was asked for is not obeyed.
#[test]
fn selectors_that_were_not_offered_are_not_granted() {
    let mut world = World::new();
    let wide = payload();
    world.hosts[HA].owner.narrow = Some((wide.remote_selectors, wide.local_selectors));
    attach(&mut world, connect());
    assert_eq!(world.hosts[MN].failed(), [Some(NotifyType::TsUnacceptable)]);
    assert!(world.hosts[HA].living().is_empty());
}

/// RFC 7296 §2.21.2.
#[test]
fn a_wrong_shared_secret_is_refused_with_authentication_failed_and_audited() {
    let mut world = World::new();
    world.hosts[HA].owner.psk = b"another secret".to_vec();
    attach(&mut world, connect());
    let reason = "initiator: the peer answers AUTHENTICATION_FAILED".to_owned();
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Authentication(reason)]);
    assert_eq!(world.hosts[HA].audits(), ["the shared secrets differ"]);
    assert!(world.hosts[MN].engine.is_empty());
    world.advance(Duration::from_secs(40));
    assert!(world.hosts[HA].engine.is_empty(), "nothing is left of it");
    assert_eq!(world.hosts[HA].engine.half_open(), 0);
}

/// RFC 7296 §2.21.2: the initiator refuses after the responder has established its side, and says so.
#[test]
fn a_responder_with_a_wrong_shared_secret_is_told_and_gives_up_its_side() {
    let mut world = World::new();
    attach(&mut world, Connect { remote_auth: RemoteAuth::Psk(Secret::new(b"not the one".to_vec())), ..connect() });
    let closed = world.hosts[MN].closed();
    assert_eq!(closed, [CloseReason::Authentication("responder: the shared secrets differ".into())]);
    assert!(world.hosts[MN].established().is_empty());
    assert!(matches!(world.hosts[HA].closed()[..], [CloseReason::Authentication(_)]));
    assert!(world.hosts[HA].living().is_empty());
    world.advance(Duration::from_secs(700));
    assert!(world.hosts.iter().all(|host| host.engine.is_empty()));
}

#[test]
fn an_unknown_identity_is_refused_and_audited() {
    let mut world = World::new();
    world.hosts[HA].owner.identify = Err("nobody knows it".into());
    attach(&mut world, connect());
    assert!(matches!(world.hosts[MN].closed()[..], [CloseReason::Authentication(_)]));
    assert_eq!(world.hosts[HA].audits(), ["nobody knows it"]);
    assert!(world.hosts[HA].closed().is_empty(), "the owner never knew of it");
}

#[test]
fn a_certificate_that_the_responder_does_not_trust_is_refused() {
    let mut world = World::new();
    world.hosts[HA].owner.certificates = true;
    world.hosts[HA].owner.verify = Err("revoked".into());
    attach(&mut world, connect_with_certificates());
    assert_eq!(world.hosts[HA].audits(), ["revoked"]);
    assert_eq!(world.hosts[HA].closed(), [CloseReason::Authentication("revoked".into())]);
    assert!(matches!(world.hosts[MN].closed()[..], [CloseReason::Authentication(_)]));
}

#[test]
fn a_certificate_that_the_initiator_does_not_trust_ends_both_sides() {
    let mut world = World::new();
    world.hosts[HA].owner.certificates = true;
    world.hosts[MN].owner.verify = Err("expired".into());
    attach(&mut world, connect_with_certificates());
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Authentication("responder: expired".into())]);
    assert!(matches!(world.hosts[HA].closed()[..], [CloseReason::Authentication(_)]));
    assert!(world.hosts[HA].living().is_empty());
}

#[test]
fn a_key_that_does_not_sign_ends_the_attempt_on_its_own_side() {
    for (silent_side, other) in [(MN, HA), (HA, MN)] {
        let mut world = World::new();
        world.hosts[HA].owner.certificates = true;
        world.hosts[silent_side].owner.sign = Err("the token is gone".into());
        attach(&mut world, connect_with_certificates());
        assert!(matches!(world.hosts[MN].closed()[..], [CloseReason::Authentication(_)]), "{silent_side} {other}");
        world.advance(Duration::from_secs(40));
        assert!(world.hosts.iter().all(|host| host.engine.is_empty()));
    }
}

/// RFC 7296 §1.2: the responder's identity is the one we wanted, or nothing.
#[test]
fn a_responder_with_another_identity_is_refused() {
    let mut world = World::new();
    world.hosts[HA].owner.local_id = Identity::Fqdn("other.example.org".into());
    attach(&mut world, connect());
    let closed = format!("{:?}", world.hosts[MN].closed());
    assert!(closed.contains("fqdn:other.example.org, not fqdn:ha.example.org"), "{closed}");
    assert!(world.hosts[HA].living().is_empty());
}

/// RFC 7296 §1.2: another group is asked for, and all is offered again.
#[test]
fn invalid_ke_payload_leads_to_the_group_that_is_wanted() {
    let mut world = World::with(quiet(), Config { groups: vec![Group::P256], ..quiet() }, 3);
    attach(&mut world, connect());
    assert_eq!(world.sent.len(), 6);
    world.assert_agreed();
}

/// RFC 7296 §2.6.1: a cookie and another group, one after the other.
#[test]
fn a_cookie_and_another_group_are_both_followed() {
    let config = Config { groups: vec![Group::P256], cookie_threshold: 0, ..quiet() };
    let mut world = World::with(quiet(), config, 4);
    attach(&mut world, connect());
    assert_eq!(world.sent.len(), 8);
    assert_eq!(world.hosts[HA].engine.stats().cookies, 1, "the cookie is kept for the other group");
    world.assert_agreed();
}

/// RFC 7296 §2.6: nothing is kept before the cookie is back.
#[test]
fn a_responder_that_asks_for_a_cookie_keeps_nothing() {
    let mut world = World::with(quiet(), Config { cookie_threshold: 0, ..quiet() }, 5);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.step();
    assert!(world.hosts[HA].engine.is_empty());
    world.run();
    world.assert_agreed();
}

#[test]
fn no_common_algorithm_is_a_hint_that_shortens_the_attempt() {
    let mut world = World::with(
        Config { ike_suites: vec![ike::IkeSuite::AesGcm16_256], ..quiet() },
        Config { ike_suites: vec![ike::IkeSuite::AesCbc256HmacSha256], ..quiet() },
        6,
    );
    attach(&mut world, connect());
    assert!(world.hosts[MN].closed().is_empty(), "RFC 7296 §2.21.1: nobody has vouched for it");
    world.advance(Duration::from_secs(10));
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Refused(NotifyType::NoProposalChosen)]);
    assert!(world.hosts[HA].engine.is_empty());
}

#[test]
fn every_suite_and_group_works() {
    for suite in [ike::IkeSuite::AesGcm16_256, ike::IkeSuite::AesCbc256HmacSha256] {
        for group in Config::default().groups {
            let config = Config { ike_suites: vec![suite], groups: vec![group], ..quiet() };
            let mut world = World::with(config.clone(), config, 7);
            attach(&mut world, connect());
            world.assert_agreed();
            let named = world.hosts[MN].log.iter().find_map(|event| match event {
                Event::Did(Action::KeyLog(keys)) => Some((keys.encryption_name, keys.integrity_name)),
                _ => None,
            });
            assert!(named.is_some(), "the keys are logged");
        }
    }
}

/// RFC 7296 §2.23.
#[test]
fn behind_a_nat_the_ike_sa_floats_and_esp_is_encapsulated() {
    let mut world = World::new();
    world.nat = Some("[2001:db8:ff::1]:31337".parse().unwrap());
    attach(&mut world, connect());
    assert_eq!([MN, HA].map(|host| world.hosts[host].living()[0].encapsulate), [true, true]);
    let ours = world.hosts[MN].engine.endpoints(world.ike_sa(MN)).unwrap();
    assert_eq!((ours.local.port(), ours.remote.port()), (4500, 4500));
    let theirs = world.hosts[HA].engine.endpoints(world.ike_sa(HA)).unwrap();
    assert_eq!(theirs, endpoints("[2001:db8:1::1]:4500", "[2001:db8:ff::1]:31337"));
}

/// RFC 7296 §2.4.
#[test]
fn initial_contact_closes_older_ike_sas_of_the_same_identity_and_no_others() {
    let mut world = World::attached();
    attach(&mut world, Connect { initial_contact: true, ..connect() });
    assert_eq!(world.hosts[HA].closed(), [CloseReason::Replaced]);
    assert_eq!(world.hosts[HA].removed().len(), 1);
    assert_eq!(world.hosts[HA].engine.established(), 1);
    let mut world = World::attached();
    attach(
        &mut world,
        Connect { local_id: Identity::Rfc822("b@example.org".into()), initial_contact: true, ..connect() },
    );
    assert_eq!(world.hosts[HA].engine.established(), 2);
    let mut world = World::attached();
    attach(&mut world, connect());
    assert_eq!(world.hosts[HA].engine.established(), 2);
}

/// A question that is never answered dies with its half-open IKE SA.
#[test]
fn a_silent_owner_does_not_leave_state_behind() {
    for silent in [MN, HA] {
        let mut world = World::new();
        world.hosts[HA].owner.certificates = true;
        world.hosts[silent].owner.silent = true;
        attach(&mut world, connect_with_certificates());
        world.advance(Duration::from_secs(120));
        assert!(world.hosts.iter().all(|host| host.engine.is_empty()), "{silent}");
        assert_eq!(world.hosts[MN].closed().len(), 1);
    }
}

/// RFC 7296 §2.4: the keys of the packet analyser are those of the other side.
#[test]
fn both_sides_log_the_same_keys() {
    let world = World::attached();
    let keys = [MN, HA].map(|host| {
        world.hosts[host].log.iter().find_map(|event| match event {
            Event::Did(Action::KeyLog(keys)) => Some(keys),
            _ => None,
        })
    });
    let [Some(ours), Some(theirs)] = keys else { panic!("a key log is missing") };
    assert_eq!(ours.spis, theirs.spis);
    assert!(ours.encryption == theirs.encryption && ours.integrity == theirs.integrity);
    assert!(!format!("{ours:?}").contains(&format!("{:?}", ours.encryption.0.as_bytes())));
}
