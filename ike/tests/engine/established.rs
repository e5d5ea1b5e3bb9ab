//! What happens under an IKE SA that stands: children, rekeying, ends, liveness, lifetimes.

use std::time::Duration;

use ike::action::{ChildRequest, EspSuite};
use ike::wire::NotifyType;
use ike::{Action, CloseReason, Config, Input};

use crate::world::*;

/// RFC 7296 §1.3.1.
#[test]
fn another_child_is_made_by_either_side() {
    for host in [MN, HA] {
        let mut world = World::attached();
        world.input(host, Input::CreateChild(world.ike_sa(host), payload()));
        world.run();
        world.assert_agreed();
        assert_eq!(world.hosts[MN].living().len(), 2);
        assert_eq!(world.hosts[host].living()[1].tag, 78);
    }
}

#[test]
fn a_refused_child_costs_nothing_but_itself() {
    let mut world = World::attached();
    world.hosts[HA].owner.refuse = Some(NotifyType::TsUnacceptable);
    world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
    world.run();
    assert_eq!(world.hosts[MN].failed(), [Some(NotifyType::TsUnacceptable)]);
    world.assert_agreed();
}

#[test]
fn no_common_esp_suite_is_no_proposal_chosen() {
    let mut world = World::attached();
    let request = ChildRequest { suites: vec![EspSuite::AesGcm16_128], ..payload() };
    world.input(MN, Input::CreateChild(world.ike_sa(MN), request));
    world.run();
    assert_eq!(world.hosts[MN].failed(), [Some(NotifyType::NoProposalChosen)]);
}

/// RFC 7296 §2.3: one request at a time; the others wait.
#[test]
fn requests_wait_for_the_window_and_come_in_order() {
    let mut world = World::attached();
    for tag in 1..=5 {
        world.input(MN, Input::CreateChild(world.ike_sa(MN), ChildRequest { tag, ..payload() }));
    }
    assert_eq!(world.wire.len(), 1);
    world.run();
    let tags: Vec<_> = world.hosts[MN].living().iter().map(|child| child.tag).collect();
    assert_eq!(tags, [77, 1, 2, 3, 4, 5]);
}

#[test]
fn a_peer_does_not_get_more_children_than_the_limit() {
    let mut world = World::with(quiet(), Config { children_limit: 2, ..quiet() }, 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    for _ in 0..3 {
        world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
    }
    world.run();
    assert_eq!(world.hosts[MN].failed(), [Some(NotifyType::NoAdditionalSas); 2]);
    assert_eq!(world.hosts[HA].living().len(), 2);
}

/// RFC 7296 §2.8, §2.9.2: selectors, mode and mark stay, whoever rekeys.
#[test]
fn a_child_is_rekeyed_by_either_side_and_keeps_what_it_is() {
    for host in [MN, HA] {
        let mut world = World::attached();
        let old = [MN, HA].map(|host| world.hosts[host].living()[0].id);
        world.input(host, Input::RekeyChild(old[host]));
        world.run();
        world.assert_agreed();
        for side in [MN, HA] {
            let children = world.hosts[side].living();
            let [new] = children[..] else { panic!("one child is left") };
            let before = &world.hosts[side].children[0];
            assert_eq!(new.replaces, Some(old[side]));
            assert_eq!((new.tag, new.transport), (before.tag, before.transport));
            assert_eq!(new.local_selectors, before.local_selectors);
            assert_eq!(new.remote_selectors, before.remote_selectors);
            assert!(new.inbound.encryption != before.inbound.encryption);
            assert_eq!(world.hosts[side].removed(), [old[side]]);
            assert_eq!(new.initiator, side == host);
        }
        world.assert_repetitions_identical();
    }
}

/// RFC 7296 §2.8.1: the soft lifetime with its jitter.
#[test]
fn a_child_is_rekeyed_before_its_lifetime_ends() {
    let mut world = World::attached();
    world.advance(Duration::from_secs(3 * 3600));
    assert!(world.hosts[MN].children.len() >= 3);
    assert_eq!(world.hosts[MN].living().len(), 1);
    world.assert_agreed();
}

/// RFC 7296 §1.3.2, §2.18: name and children stay.
#[test]
fn an_ike_sa_is_rekeyed_by_either_side_and_its_children_go_on() {
    for host in [MN, HA] {
        let mut world = World::attached();
        for round in 1..=3 {
            world.input(host, Input::RekeyIke(world.ike_sa(host)));
            world.run();
            assert_eq!([MN, HA].map(|host| world.hosts[host].rekeyed()), [round, round]);
        }
        assert!(world.hosts.iter().all(|host| host.removed().is_empty() && host.closed().is_empty()));
        // Both sides can still start exchanges, now with the roles changed.
        world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
        world.run();
        world.input(HA, Input::CreateChild(world.ike_sa(HA), payload()));
        world.run();
        let child = world.hosts[HA].living()[0].id;
        world.input(HA, Input::RekeyChild(child));
        world.run();
        world.assert_agreed();
        assert_eq!(world.hosts[MN].living().len(), 3);
        world.assert_repetitions_identical();
    }
}

#[test]
fn ike_sas_live_on_through_many_lifetimes() {
    let mut world = World::attached();
    world.advance(Duration::from_secs(48 * 3600));
    assert!(world.hosts[MN].rekeyed() >= 10);
    assert!(world.hosts[MN].closed().is_empty());
    assert_eq!(world.hosts[MN].engine.len(), 1);
    world.assert_agreed();
}

/// RFC 7296 §1.4.1.
#[test]
fn a_child_is_deleted_by_either_side() {
    for host in [MN, HA] {
        let mut world = World::attached();
        let child = world.hosts[host].living()[0].id;
        world.input(host, Input::DeleteChild(child));
        world.run();
        assert!(world.hosts.iter().all(|host| host.living().is_empty()));
        assert_eq!([MN, HA].map(|host| world.hosts[host].engine.established()), [1, 1]);
    }
}

#[test]
fn a_child_that_the_owner_cannot_install_is_deleted_with_the_peer() {
    let mut world = World::attached();
    let child = world.hosts[HA].living()[0].id;
    world.input(HA, Input::InstallFailed(child));
    world.run();
    assert!(world.hosts[MN].living().is_empty());
}

/// RFC 7296 §1.4.1: the end of an IKE SA is the end of its children, which are gone first.
#[test]
fn an_ike_sa_is_closed_by_either_side() {
    for host in [MN, HA] {
        let mut world = World::attached();
        world.input(host, Input::Close(world.ike_sa(host)));
        world.run();
        assert_eq!(world.hosts[host].closed(), [CloseReason::Local]);
        assert_eq!(world.hosts[1 - host].closed(), [CloseReason::PeerDeleted]);
        for host in &world.hosts {
            assert!(host.living().is_empty());
            let position =
                |wanted: &str| host.log.iter().position(|event| format!("{event:?}").contains(wanted)).unwrap();
            assert!(position("RemoveChild") < position("Closed"));
        }
        world.advance(Duration::from_secs(60));
        assert!(world.hosts.iter().all(|host| host.engine.is_empty()));
    }
}

#[test]
fn a_closing_ike_sa_takes_no_more_orders() {
    let mut world = World::attached();
    let ike_sa = world.ike_sa(MN);
    world.input(MN, Input::CheckLiveness(ike_sa));
    world.input(MN, Input::CreateChild(ike_sa, payload()));
    world.input(MN, Input::Close(ike_sa));
    world.input(MN, Input::CreateChild(ike_sa, payload()));
    world.run();
    assert_eq!(world.hosts[MN].failed(), [None, None]);
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Local]);
    world.input(MN, Input::CreateChild(ike_sa, payload()));
    assert_eq!(world.hosts[MN].failed().len(), 3);
}

#[test]
fn an_attempt_can_be_given_up_at_any_time() {
    for messages in 0..4 {
        let mut world = World::new();
        world.input(MN, Input::Connect(Box::new(connect())));
        (0..messages).for_each(|_| _ = world.step());
        let id = ike::IkeSaId(1);
        world.input(MN, Input::Close(id));
        world.run();
        world.advance(Duration::from_secs(700));
        assert_eq!(world.hosts[MN].closed(), [CloseReason::Local], "after {messages} messages");
        assert!(world.hosts[MN].engine.is_empty());
    }
}

/// RFC 7296 §2.4.
#[test]
fn a_silent_peer_is_asked_and_answers() {
    let config = Config { liveness: Some(Duration::from_secs(10)), ..quiet() };
    let mut world = World::with(config, quiet(), 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    world.advance(Duration::from_secs(35));
    assert_eq!(world.hosts[MN].alive(), 3);
    assert_eq!(world.hosts[HA].alive(), 0);
    world.input(HA, Input::CheckLiveness(world.ike_sa(HA)));
    world.run();
    assert_eq!(world.hosts[HA].alive(), 1);
}

/// RFC 7296 §2.1, §2.4: only after repeated unanswered tries, with growing pauses; then the children go as well.
#[test]
fn a_peer_that_is_gone_is_given_up_after_all_tries() {
    let config = Config { liveness: Some(Duration::from_secs(10)), ..quiet() };
    let mut world = World::with(config, quiet(), 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    let before = world.sent.len();
    world.advance_with(Duration::from_secs(60), |_| false);
    assert!(world.hosts[MN].closed().is_empty());
    world.advance_with(Duration::from_secs(20), |_| false);
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Unanswered]);
    assert!(world.hosts[MN].living().is_empty());
    assert_eq!(world.sent.len() - before, 7);
    world.assert_repetitions_identical();
}

/// RFC 7296 §2.8: an IKE SA that cannot be rekeyed ends with its hard lifetime.
#[test]
fn the_hard_lifetime_ends_an_ike_sa() {
    let config = Config {
        ike_lifetime: ike::action::Lifetime { rekey: Duration::from_secs(2000), hard: Duration::from_secs(900) },
        ..quiet()
    };
    let mut world = World::with(config, quiet(), 1);
    world.input(MN, Input::Connect(Box::new(connect())));
    world.run();
    world.advance(Duration::from_secs(899));
    assert!(world.hosts[MN].closed().is_empty());
    world.advance(Duration::from_secs(120));
    assert_eq!(world.hosts[MN].closed(), [CloseReason::Expired]);
    assert_eq!(world.hosts[HA].closed(), [CloseReason::PeerDeleted]);
}

#[test]
fn a_child_with_a_short_hard_lifetime_ends_with_it() {
    let mut world = World::attached();
    let lifetime = ike::action::Lifetime { rekey: Duration::from_secs(500), hard: Duration::from_secs(100) };
    world.input(MN, Input::CreateChild(world.ike_sa(MN), ChildRequest { lifetime, ..payload() }));
    world.run();
    assert_eq!(world.hosts[MN].living().len(), 2);
    world.advance(Duration::from_secs(99));
    assert_eq!(world.hosts[MN].living().len(), 2);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.hosts[MN].living().len(), 1);
    world.assert_agreed();
}

/// An owner that does not judge a child in time: the peer hears TEMPORARY_FAILURE, tries again, and gives up in the end.
#[test]
fn a_child_that_is_never_judged_fails_in_the_end() {
    let mut world = World::attached();
    world.hosts[HA].owner.silent = true;
    world.input(MN, Input::CreateChild(world.ike_sa(MN), payload()));
    world.advance(Duration::from_secs(35));
    assert!(world.hosts[MN].failed().is_empty());
    assert!(world.hosts[HA].audits().iter().any(|reason| reason.contains("did not judge the child in time")));
    world.hosts[HA].owner.silent = false;
    world.advance(Duration::from_secs(60));
    assert_eq!(world.hosts[MN].living().len(), 2);
    world.assert_agreed();
}

#[test]
fn a_late_answer_to_a_question_changes_nothing() {
    let mut world = World::attached();
    let ike_sa = world.ike_sa(HA);
    let before = world.sent.len();
    world.input(HA, Input::SignatureVerified(ike_sa, Err("late".into())));
    world.input(HA, Input::Signed(ike_sa, Err("late".into())));
    world.input(HA, Input::PeerIdentified(ike_sa, Err("late".into())));
    world.input(HA, Input::Authorized { ike_sa, lease: Err("late".into()), child: None });
    let decision = ike::action::ChildDecision::Refuse { notify: NotifyType::TsUnacceptable, reason: "late".to_owned() };
    world.input(HA, Input::ChildJudged(ike_sa, decision));
    assert_eq!(world.sent.len(), before);
    world.assert_agreed();
}

/// The key log names each generation once on each side.
#[test]
fn each_generation_is_logged_once() {
    let mut world = World::attached();
    world.input(MN, Input::RekeyIke(world.ike_sa(MN)));
    world.run();
    for host in &world.hosts {
        let logged = host.log.iter().filter(|event| matches!(event, Event::Did(Action::KeyLog(_)))).count();
        assert_eq!(logged, 2);
    }
}
