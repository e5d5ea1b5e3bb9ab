//! Registrations that are accepted, and what they set going (RFC 6275 §10.3.1, §10.4.1).

use std::time::Duration;

use mip6::action::{Authority, HomeAgentAction as Action, HomeAgentInput as Input, UnbindReason, Via};
use mip6::address::HomeAddress;
use mip6::wire::{AcknowledgementFlags, BindingStatus, Lifetime, MobilityOption};

use crate::lab::*;

#[test]
fn a_new_binding_is_probed_bound_announced_and_acknowledged_in_that_order() {
    let mut lab = Lab::new(config());
    let actions = lab.update(Update { flags: AHLK, ..Update::away(7, care_of(1)) });
    // L: the link-local address with the same interface identifier is defended too.
    assert_eq!(
        actions,
        [Action::ProbeDuplicate { address: home().0 }, Action::ProbeDuplicate { address: address("fe80::100") },]
    );
    assert_eq!(lab.agent.deadline(), Some(lab.now + Duration::from_secs(1)));
    assert!(lab.pass(999).is_empty(), "the second is not over");
    assert_eq!(
        lab.pass(1),
        [Action::Bind {
            home_address: home(),
            from: None,
            to: care_of(1),
            key_mobility: true,
            lifetime: Duration::from_secs(420),
        }]
    );
    assert_eq!(lab.agent.bindings().count(), 0, "not before the kernel has it");
    let actions = lab.done(true);
    let [announced, announced_too, send, judged] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*announced, Action::AnnounceProxy { home_address: home() });
    assert_eq!(*announced_too, Action::AnnounceProxy { home_address: HomeAddress(address("fe80::100")) });
    #[rustfmt::skip]
    assert_eq!(*send, Action::SendMobilityMessage {
        home_address: home(),
        via: Via::CareOf(care_of(1)),
        message: vec![59, 1, 6, 0, 0, 0, 0, 0x80, 0, 7, 0, 105, 1, 2, 0, 0],
    });
    assert_eq!(
        *judged,
        Action::Judged { home_address: home(), status: BindingStatus::Accepted, sequence: 7, reason: None }
    );
    let binding = *lab.agent.bindings().next().unwrap();
    assert_eq!((binding.care_of, binding.sequence, binding.lifetime), (care_of(1), 7, Lifetime(105)));
    assert!(binding.key_mobility && binding.link_local);
    assert_eq!(binding.expires, lab.now + Duration::from_secs(420));
}

#[test]
fn without_l_only_the_home_address_is_defended() {
    let mut lab = Lab::new(config());
    assert_eq!(lab.update(Update::away(1, care_of(1))), [Action::ProbeDuplicate { address: home().0 }]);
    lab.pass(1000);
    let announced = |action: &&Action| matches!(action, Action::AnnounceProxy { .. });
    assert_eq!(lab.done(true).iter().filter(announced).count(), 1);
}

#[test]
fn a_retransmission_does_not_start_the_probe_anew_and_the_newest_number_is_answered() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(1, care_of(1)));
    lab.pass(900);
    assert_eq!(lab.update(Update::away(2, care_of(2))), []);
    let actions = lab.pass(100);
    assert!(matches!(actions[..], [Action::Bind { to, .. }] if to == care_of(2)), "{actions:?}");
    let (via, acknowledgement) = acknowledgement(&lab.done(true));
    assert_eq!((via, acknowledgement.sequence), (Via::CareOf(care_of(2)), 2));
}

#[test]
fn a_copy_during_the_probe_is_not_answered() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(5, care_of(1)));
    for old in [5, 4] {
        assert!(dropped(&lab.update(Update::away(old, care_of(1)))));
    }
    lab.pass(1000);
    assert_eq!(acknowledgement(&lab.done(true)).1.sequence, 5);
}

#[test]
fn a_retransmission_that_adds_l_has_the_link_local_address_probed() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(1, care_of(1)));
    lab.pass(500);
    let actions = lab.update(Update { flags: AHLK, ..Update::away(2, care_of(1)) });
    assert!(actions.contains(&Action::ProbeDuplicate { address: address("fe80::100") }));
    assert!(lab.pass(999).is_empty());
    assert!(matches!(lab.pass(1)[..], [Action::Bind { .. }]));
}

#[test]
fn another_node_with_the_home_address_makes_it_134() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(1, care_of(1)));
    let actions = lab.hand(Input::Duplicate { address: home().0 });
    assert_eq!(refused(&actions), BindingStatus::DuplicateAddressDetectionFailed);
    assert_eq!(acknowledgement(&actions).1.sequence, 1);
    assert!(lab.pass(2000).is_empty(), "the probe is over");
    // No binding came to be, so that any number is accepted.
    lab.register(Update::away(1, care_of(1)));
}

#[test]
fn another_node_with_the_link_local_address_makes_it_134_only_with_l() {
    let mut lab = Lab::new(config());
    lab.update(Update { flags: AHLK, ..Update::away(1, care_of(1)) });
    let actions = lab.hand(Input::Duplicate { address: address("fe80::100") });
    assert_eq!(refused(&actions), BindingStatus::DuplicateAddressDetectionFailed);
    lab.update(Update::away(2, care_of(1)));
    assert_eq!(lab.hand(Input::Duplicate { address: address("fe80::100") }), []);
    assert!(matches!(lab.pass(1000)[..], [Action::Bind { .. }]));
}

#[test]
fn a_claim_on_a_bound_address_is_only_noted() {
    let mut lab = Lab::bound();
    assert!(dropped(&lab.hand(Input::Duplicate { address: home().0 })));
    assert_eq!(lab.agent.bindings().count(), 1);
}

#[test]
fn a_neighbour_is_no_rival_of_a_home_address_that_is_not_bound() {
    let mut lab = Lab::new(config());
    let claim = || Input::Duplicate { address: home().0 };
    assert_eq!(lab.hand(claim()), [], "a mobile node at home, or a host that is none");
    lab.register(Update::away(1, care_of(1)));
    lab.update(Update { lifetime: 0, ..Update::away(2, care_of(1)) });
    assert_eq!(lab.hand(claim()), [], "it announces itself on its return");
}

#[test]
fn a_refresh_skips_the_probe_and_is_not_announced() {
    let mut lab = Lab::bound();
    lab.pass(60_000);
    assert_eq!(
        lab.update(Update::away(2, care_of(1))),
        [Action::Bind {
            home_address: home(),
            from: Some(care_of(1)),
            to: care_of(1),
            key_mobility: false,
            lifetime: Duration::from_secs(420),
        }]
    );
    let actions = lab.done(true);
    assert!(matches!(actions[..], [Action::SendMobilityMessage { .. }, Action::Judged { .. }]), "{actions:?}");
    assert_eq!(lab.agent.bindings().next().unwrap().expires, lab.now + Duration::from_secs(420));
}

#[test]
fn a_move_names_where_it_came_from() {
    let mut lab = Lab::bound();
    let actions = lab.update(Update::away(2, care_of(2)));
    assert!(
        matches!(actions[..], [Action::Bind { from, to, .. }] if from == Some(care_of(1)) && to == care_of(2)),
        "{actions:?}"
    );
    assert_eq!(lab.agent.bindings().next().unwrap().care_of, care_of(1), "the old binding stands until it is done");
    lab.done(true);
    assert_eq!(lab.agent.bindings().next().unwrap().care_of, care_of(2));
}

#[test]
fn the_alternate_care_of_address_is_registered_and_the_answer_goes_where_the_update_came_from() {
    let mut lab = Lab::new(config());
    let update = Update { options: vec![MobilityOption::AlternateCareOf(care_of(3))], ..Update::away(1, care_of(9)) };
    lab.update(update);
    assert!(matches!(lab.pass(1000)[..], [Action::Bind { to, .. }] if to == care_of(3)));
    // RFC 6275 §9.5.4.
    assert_eq!(acknowledgement(&lab.done(true)).0, Via::CareOf(care_of(9)));
}

#[test]
fn a_kernel_that_refuses_makes_it_130_and_the_old_binding_stands() {
    let mut lab = Lab::bound();
    lab.update(Update::away(2, care_of(2)));
    assert_eq!(refused(&lab.done(false)), BindingStatus::InsufficientResources);
    let binding = lab.agent.bindings().next().unwrap();
    assert_eq!((binding.care_of, binding.sequence), (care_of(1), 1));
    // Its number was not accepted, so it may come again.
    lab.refresh(Update::away(2, care_of(2)));
}

#[test]
fn a_kernel_that_refuses_a_new_binding_leaves_none() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(1, care_of(1)));
    lab.pass(1000);
    assert_eq!(refused(&lab.done(false)), BindingStatus::InsufficientResources);
    assert_eq!((lab.agent.bindings().count(), lab.agent.deadline()), (0, None));
}

#[test]
fn an_update_that_comes_while_the_kernel_works_is_carried_out_next() {
    let mut lab = Lab::bound();
    lab.update(Update::away(2, care_of(2)));
    assert_eq!(lab.update(Update::away(3, care_of(3))), []);
    assert_eq!(lab.update(Update::away(4, care_of(4))), [], "the newest takes its place");
    assert!(dropped(&lab.update(Update::away(3, care_of(3)))));
    let actions = lab.done(true);
    assert_eq!(acknowledgement(&actions).1.sequence, 2);
    assert!(
        matches!(actions.last(), Some(Action::Bind { from, to, .. }) if *from == Some(care_of(2)) && *to == care_of(4)),
        "{actions:?}"
    );
    assert_eq!(acknowledgement(&lab.done(true)).1.sequence, 4);
}

#[test]
fn a_deletion_that_comes_while_the_kernel_works_is_carried_out_next() {
    let mut lab = Lab::bound();
    lab.update(Update::away(2, care_of(2)));
    assert_eq!(lab.update(Update::at_home(3)), []);
    let actions = lab.done(true);
    let unbound = Action::Unbind { home_address: home(), care_of: care_of(2), reason: UnbindReason::Deregistered };
    assert!(actions.contains(&unbound), "{actions:?}");
    assert_eq!(lab.agent.bindings().count(), 0);
}

#[test]
fn k_is_granted_if_asked_for_and_possible() {
    for (asked, possible) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut lab = Lab::new(config());
        let acknowledgement = lab.register(Update {
            flags: if asked { AHLK } else { AH },
            authority: Authority::Owner { key_mobility: possible },
            ..Update::away(1, care_of(1))
        });
        let granted = acknowledgement.flags.contains(AcknowledgementFlags::KEY_MOBILITY);
        assert_eq!(granted, asked && possible);
    }
}

#[test]
fn an_update_without_a_is_acknowledged_all_the_same() {
    // RFC 6275 §10.3.1.
    let mut lab = Lab::new(config());
    let update = Update { flags: mip6::wire::UpdateFlags::HOME_REGISTRATION, ..Update::away(1, care_of(1)) };
    assert!(lab.register(update).status.is_accepted());
}

#[test]
fn flags_and_options_of_extensions_are_no_reason_to_refuse() {
    let mut lab = Lab::new(config());
    let mut update = Update { flags: mip6::wire::UpdateFlags(0xffff), ..Update::away(1, care_of(1)) };
    update.options.push(MobilityOption::Other { kind: 250, data: vec![1, 2, 3] });
    let acknowledgement = lab.register(update);
    assert_eq!(acknowledgement.status, BindingStatus::Accepted);
    assert_eq!(acknowledgement.flags, AcknowledgementFlags::KEY_MOBILITY, "but nothing is granted that we are not");
}

#[test]
fn a_binding_ends_with_its_lifetime() {
    let mut lab = Lab::bound();
    assert_eq!(lab.agent.deadline(), Some(lab.now + Duration::from_secs(420)));
    assert!(lab.pass(419_999).is_empty());
    assert_eq!(
        lab.pass(1),
        [Action::Unbind { home_address: home(), care_of: care_of(1), reason: UnbindReason::Expired }]
    );
    assert_eq!((lab.agent.bindings().count(), lab.agent.stats().expired), (0, 1));
    assert_eq!(lab.agent.deadline(), None);
    // A lapsed binding counts as new: any number, and a probe.
    lab.register(Update::away(1, care_of(1)));
}

#[test]
fn a_late_timer_does_not_let_an_expired_binding_be_refreshed() {
    let mut lab = Lab::bound();
    lab.now += Duration::from_secs(421);
    let actions = lab.update(Update::away(2, care_of(1)));
    assert!(
        matches!(actions[..], [Action::Unbind { reason: UnbindReason::Expired, .. }, Action::ProbeDuplicate { .. }]),
        "{actions:?}"
    );
}

#[test]
fn a_kernel_that_never_answers_does_not_hold_the_entry_for_ever() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(1, care_of(1)));
    lab.pass(1000);
    assert_eq!(
        lab.pass(420_000),
        [Action::Unbind { home_address: home(), care_of: care_of(1), reason: UnbindReason::Expired }]
    );
    assert_eq!(lab.agent.deadline(), None);
}

#[test]
fn a_full_cache_makes_it_130_and_leaves_the_others_alone() {
    let mut lab = Lab::new(mip6::ha::Config { max_bindings: 1, ..config() });
    lab.register(Update::away(1, care_of(1)));
    let other = Update { source: address("2001:db8:1::200"), ..Update::away(1, care_of(2)) };
    assert_eq!(refused(&lab.update(other.clone())), BindingStatus::InsufficientResources);
    assert_eq!(lab.agent.bindings().count(), 1);
    // A deleted entry makes room.
    lab.update(Update::at_home(2));
    lab.register(other);
}
