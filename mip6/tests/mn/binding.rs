//! The home registration: updates, their back-off and rate, acknowledgements of every kind.

use mip6::action::{MobileNodeAction, MobileNodeInput, Via};
use mip6::address::{HomeAddress, HomeAgentAddress};
use mip6::wire::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingErrorStatus, BindingRefreshRequest,
    BindingStatus, Lifetime, MobilityMessage, MobilityOption, UpdateFlags,
};

use crate::host::{
    Host, LTE, TestRouter, WLAN, accepted, address, advice, home_address, home_agent, ms, names, router_a, router_b,
    secs,
};

fn away() -> Host {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    host
}

fn bound_actions(host: &Host) -> Vec<(std::time::Duration, bool, std::time::Duration)> {
    let bound = host.done.iter().filter_map(|(_, action)| match action {
        MobileNodeAction::Bound { lifetime, key_mobility, round_trip, .. } => {
            Some((*lifetime, *key_mobility, *round_trip))
        }
        _ => None,
    });
    bound.collect()
}

#[test]
fn no_update_goes_out_before_the_security_associations_stand() {
    let mut host = away();
    host.pass(secs(100));
    assert!(host.updates().is_empty());
    host.secure();
    let (via, update) = host.last_update();
    let care_of = host.care_of().address;
    assert_eq!(via, Via::CareOf(care_of));
    assert_eq!(update.options, [MobilityOption::AlternateCareOf(care_of)]);
    let flags = UpdateFlags::ACKNOWLEDGE.with(UpdateFlags::HOME_REGISTRATION).with(UpdateFlags::KEY_MOBILITY);
    assert_eq!(update.flags, flags);
    assert_eq!(update.lifetime, Lifetime(105));
}

#[test]
fn k_is_not_set_where_the_owner_says_no() {
    let mut host = Host::with(|config| config.key_mobility = false);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    host.secure();
    assert!(!host.last_update().1.flags.contains(UpdateFlags::KEY_MOBILITY));
    host.acknowledge_last();
    assert_eq!(bound_actions(&host), [(secs(420), false, ms(0))], "K counts only where it was asked for");
}

#[test]
fn an_unanswered_first_registration_backs_off_from_a_second_and_a_half_to_32_seconds() {
    let mut host = away();
    host.secure();
    host.pass(secs(150));
    let times: Vec<_> = host.updates().iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(times, [0, 1500, 4500, 10500, 22500, 46500, 78500, 110_500, 142_500]);
    let sequences: Vec<_> = host.updates().iter().map(|(_, _, update)| update.sequence).collect();
    for pair in sequences.windows(2) {
        assert_eq!(pair[1], pair[0].wrapping_add(1), "each transmission has the next number");
    }
    let attempts = host.done.iter().filter_map(|(_, action)| match action {
        MobileNodeAction::SendBindingUpdate { attempt, .. } => Some(*attempt),
        _ => None,
    });
    assert_eq!(attempts.collect::<Vec<_>>(), (1..=9).collect::<Vec<u32>>());
}

#[test]
fn a_further_registration_backs_off_from_one_second() {
    let mut host = Host::bound();
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_b());
    host.pass(secs(20));
    let times: Vec<_> = host.updates().iter().map(|(at, ..)| at.as_secs()).collect();
    assert_eq!(times, [0, 1, 3, 7, 15]);
}

#[test]
fn an_acknowledgement_ends_the_retransmissions() {
    let mut host = away();
    host.secure();
    host.pass(ms(200));
    host.acknowledge_last();
    assert_eq!(bound_actions(&host), [(secs(420) - ms(200), true, ms(200))]);
    let binding = *host.node.binding().unwrap();
    assert_eq!((binding.home_address, binding.home_agent), (home_address(), home_agent()));
    assert_eq!(binding.care_of, host.care_of().address);
    host.take();
    host.pass(secs(300));
    assert!(host.updates().is_empty());
}

#[test]
fn an_acknowledgement_of_an_earlier_transmission_counts_with_its_own_round_trip() {
    let mut host = away();
    host.secure();
    let first = host.last_update().1.sequence;
    host.pass(ms(1700));
    assert_eq!(host.updates().len(), 2);
    host.answer(accepted(first, Lifetime(105)));
    assert_eq!(bound_actions(&host), [(ms(418_300), true, ms(1700))]);
}

#[test]
fn the_home_agent_may_shorten_the_lifetime_but_not_prolong_it() {
    for (granted, expected) in [(Lifetime(50), secs(200)), (Lifetime(105), secs(420)), (Lifetime(9999), secs(420))] {
        let mut host = away();
        host.secure();
        let sequence = host.last_update().1.sequence;
        host.answer(accepted(sequence, granted));
        assert_eq!(bound_actions(&host), [(expected, true, ms(0))], "{granted:?}");
        assert_eq!(host.node.binding().unwrap().expires, host.now + expected);
    }
}

#[test]
fn a_granted_lifetime_of_zero_is_no_binding() {
    let mut host = away();
    host.secure();
    let sequence = host.last_update().1.sequence;
    host.answer(accepted(sequence, Lifetime(0)));
    assert!(bound_actions(&host).is_empty());
    assert!(host.node.binding().is_none());
    host.take();
    host.pass(secs(31));
    assert!(host.updates().is_empty());
    host.pass(secs(1));
    assert_eq!(host.updates().len(), 1, "it is tried again, slowly");
}

#[test]
fn an_acknowledgement_without_matching_number_or_from_a_stranger_is_dropped() {
    let mut host = away();
    host.secure();
    let sequence = host.last_update().1.sequence;
    host.answer(accepted(sequence.wrapping_add(1), Lifetime(105)));
    let good = MobilityMessage::BindingAcknowledgement(accepted(sequence, Lifetime(105))).write();
    let stranger = address("2001:db8:bad::1");
    for (source, destination) in [(stranger, home_address().0), (home_agent().0, stranger)] {
        host.handle(MobileNodeInput::MobilityMessage { source, destination, message: good.clone() });
    }
    host.handle(MobileNodeInput::MobilityMessage {
        source: home_agent().0,
        destination: home_address().0,
        message: good[..good.len() - 1].to_vec(),
    });
    assert!(bound_actions(&host).is_empty());
    assert_eq!(host.times(|action| matches!(action, MobileNodeAction::Audit(_))).len(), 4);
    host.acknowledge_last();
    assert_eq!(bound_actions(&host).len(), 1);
    host.answer(accepted(sequence, Lifetime(105)));
    assert_eq!(bound_actions(&host).len(), 1, "a second one answers nothing");
}

#[test]
fn k_zero_in_the_acknowledgement_is_told() {
    let mut host = away();
    host.secure();
    let sequence = host.last_update().1.sequence;
    host.answer(BindingAcknowledgement { flags: AcknowledgementFlags::NONE, ..accepted(sequence, Lifetime(105)) });
    assert_eq!(bound_actions(&host), [(secs(420), false, ms(0))]);
    assert!(!host.node.binding().unwrap().key_mobility);
}

#[test]
fn a_binding_is_refreshed_after_three_quarters_of_its_life() {
    let mut host = Host::bound();
    host.pass(secs(314));
    assert!(host.updates().is_empty());
    host.pass(secs(1));
    assert_eq!(host.updates().len(), 1);
    host.pass(ms(999));
    assert_eq!(host.updates().len(), 1);
    host.pass(ms(1));
    assert_eq!(host.updates().len(), 2, "a refresh backs off from one second");
    host.acknowledge_last();
    assert_eq!(host.node.binding().unwrap().expires, host.now + secs(420));
}

#[test]
fn a_refresh_has_eight_transmissions_before_the_binding_ends() {
    let mut host = Host::bound();
    host.pass(secs(419));
    assert_eq!(host.updates().len(), 8);
    assert!(host.node.binding().is_some());
    host.pass(secs(1));
    assert!(host.node.binding().is_none());
    host.pass(secs(100));
    assert!(host.updates().len() > 8, "it goes on");
}

#[test]
fn the_home_agent_s_advice_makes_refreshes_more_frequent_but_never_later() {
    for (units, expected) in [(25, 100), (100, 315), (0, 315)] {
        let mut host = away();
        host.secure();
        let sequence = host.last_update().1.sequence;
        host.answer(BindingAcknowledgement { options: advice(units), ..accepted(sequence, Lifetime(105)) });
        host.take();
        host.pass(secs(expected - 1));
        assert!(host.updates().is_empty(), "{units}");
        host.pass(secs(1));
        assert_eq!(host.updates().len(), 1, "{units}");
    }
}

#[test]
fn a_binding_never_outlives_the_care_of_address() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    let router = router_a().with_prefix(|prefix| (prefix.valid, prefix.preferred) = (100, 100));
    host.advertise(WLAN, &router);
    host.pass(secs(10));
    host.secure();
    assert_eq!(host.last_update().1.lifetime, Lifetime(22), "90 s, rounded down");
}

#[test]
fn an_update_asks_for_four_seconds_at_least() {
    let mut host = Host::with(|config| config.lifetime = ms(1));
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    host.secure();
    assert_eq!(host.last_update().1.lifetime, Lifetime(1), "zero would delete");
}

#[test]
fn a_sequence_number_out_of_window_is_corrected_at_once() {
    let mut host = away();
    host.secure();
    let sequence = host.last_update().1.sequence;
    let theirs = sequence.wrapping_add(1000);
    host.answer(BindingAcknowledgement { status: BindingStatus::SequenceOutOfWindow, ..accepted(theirs, Lifetime(0)) });
    assert_eq!(host.updates().len(), 2);
    assert_eq!(host.last_update().1.sequence, theirs.wrapping_add(1));
    assert!(host.has(|action| matches!(action, MobileNodeAction::Refused { retry: true, .. })));
    host.acknowledge_last();
    assert_eq!(bound_actions(&host).len(), 1);
}

#[test]
fn an_answer_out_of_window_to_an_overtaken_update_changes_nothing() {
    let mut host = away();
    host.secure();
    let theirs = host.last_update().1.sequence.wrapping_add(1000);
    let wrong = BindingAcknowledgement { status: BindingStatus::SequenceOutOfWindow, ..accepted(theirs, Lifetime(0)) };
    host.answer(wrong.clone());
    host.answer(wrong);
    assert_eq!(host.updates().len(), 2);
    host.pass(secs(10));
    assert_eq!(host.updates()[2].2.sequence, theirs.wrapping_add(2), "no number is used twice");
}

#[test]
fn a_home_agent_that_is_never_content_with_a_number_is_not_flooded() {
    let mut host = away();
    host.secure();
    for _ in 0..1000 {
        let sequence = host.last_update().1.sequence;
        host.answer(BindingAcknowledgement {
            status: BindingStatus::SequenceOutOfWindow,
            ..accepted(sequence.wrapping_add(1000), Lifetime(0))
        });
        host.pass(ms(10));
    }
    assert!(host.updates().len() <= 8, "{} in ten seconds", host.updates().len());
}

#[test]
fn refusals_that_time_may_heal_are_tried_again_slowly() {
    for status in [BindingStatus::ReasonUnspecified, BindingStatus::InsufficientResources, BindingStatus::Other(200)] {
        let mut host = away();
        host.secure();
        host.refuse(status);
        assert!(host.has(|action| matches!(action, MobileNodeAction::Refused { retry: true, .. })), "{status}");
        host.take();
        host.pass(ms(31_999));
        assert!(host.updates().is_empty(), "{status}");
        host.pass(ms(1));
        assert_eq!(host.updates().len(), 1, "{status}");
    }
}

#[test]
fn refusals_that_time_does_not_heal_wait_for_a_move_or_new_associations() {
    for status in [
        BindingStatus::AdministrativelyProhibited,
        BindingStatus::HomeRegistrationNotSupported,
        BindingStatus::NotHomeSubnet,
        BindingStatus::NotHomeAgent,
        BindingStatus::RegistrationTypeChange,
        BindingStatus::InvalidCareOfAddress,
    ] {
        let mut host = away();
        host.secure();
        host.refuse(status);
        assert!(host.has(|action| matches!(action, MobileNodeAction::Refused { retry: false, .. })), "{status}");
        host.take();
        host.pass(secs(1000));
        assert!(host.updates().is_empty(), "{status}");
        host.down(WLAN);
        host.up(WLAN, 1);
        host.advertise(WLAN, &router_b());
        assert_eq!(host.updates().len(), 1, "{status}: elsewhere it is tried again");
        host.refuse(status);
        host.take();
        host.secure();
        assert_eq!(host.updates().len(), 1, "{status}: and with new associations");
    }
}

#[test]
fn after_a_duplicate_the_home_address_is_not_registered_from_anywhere() {
    let mut host = away();
    host.secure();
    host.refuse(BindingStatus::DuplicateAddressDetectionFailed);
    host.take();
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_b());
    host.pass(secs(1000));
    assert!(host.updates().is_empty());
    let other = HomeAddress(address("2001:db8:100::11"));
    host.handle(MobileNodeInput::Secured { home_address: other, home_agent: home_agent() });
    assert_eq!(host.updates().len(), 1, "another one is");
}

#[test]
fn without_security_associations_nothing_is_sent_until_they_are_back() {
    let mut host = away();
    host.secure();
    host.handle(MobileNodeInput::Unsecured);
    host.take();
    host.pass(secs(100));
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_b());
    host.pass(secs(100));
    host.mobility(MobilityMessage::BindingRefreshRequest(BindingRefreshRequest::default()));
    assert!(host.updates().is_empty());
    host.secure();
    assert_eq!(host.updates().len(), 1);
}

#[test]
fn rekeyed_associations_do_not_cause_an_update() {
    let mut host = Host::bound();
    host.secure();
    assert!(host.updates().is_empty());
    host.handle(MobileNodeInput::Unsecured);
    host.secure();
    assert_eq!(host.updates().len(), 1, "but those that were gone do");
}

#[test]
fn another_home_agent_gets_a_first_registration() {
    let mut host = Host::bound();
    let other = HomeAgentAddress(address("2001:db8:100::2"));
    host.handle(MobileNodeInput::Secured { home_address: home_address(), home_agent: other });
    assert!(host.node.binding().is_none());
    host.pass(ms(1500));
    let times: Vec<_> = host.updates().iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(times, [0, 1500]);
}

#[test]
fn no_more_than_three_updates_go_out_in_a_second_and_the_newest_wins() {
    let mut host = Host::bound_with(|config| config.linger = ms(0));
    host.pass(secs(10));
    for round in 0..20_u8 {
        host.down(WLAN);
        host.up(WLAN, 1);
        host.advertise(WLAN, &TestRouter::new(0x20 + round, &format!("2001:db8:{:x}::", 0x20 + u16::from(round))));
        host.pass(ms(10));
    }
    assert_eq!(host.updates().len(), 3);
    host.pass(ms(800));
    assert_eq!(host.updates().len(), 4);
    assert_eq!(host.last_update().0, Via::CareOf(host.care_of().address));
    host.pass(secs(60));
    let times: Vec<_> = host.updates().iter().map(|(at, ..)| *at).collect();
    for four in times.windows(4) {
        assert!(four[3] - four[0] >= secs(1), "{four:?}");
    }
}

#[test]
fn a_home_agent_that_has_lost_the_binding_gets_an_update() {
    let mut host = Host::bound();
    let error = |status, home_address| {
        MobilityMessage::BindingError(BindingError { status, home_address, options: Vec::new() })
    };
    host.mobility(error(BindingErrorStatus::UnrecognizedType, home_address()));
    host.mobility(error(BindingErrorStatus::UnknownBinding, HomeAddress(address("2001:db8:100::99"))));
    assert!(host.updates().is_empty());
    host.mobility(error(BindingErrorStatus::UnknownBinding, home_address()));
    assert_eq!(host.updates().len(), 1);
    assert!(host.node.binding().is_none());
    host.mobility(error(BindingErrorStatus::UnknownBinding, home_address()));
    assert_eq!(host.updates().len(), 1, "one is under way");
}

#[test]
fn after_a_gap_a_registration_is_a_first_one_again() {
    let mut host = Host::bound();
    host.handle(MobileNodeInput::Unsecured);
    host.pass(secs(421));
    assert!(host.node.binding().is_none());
    host.take();
    host.secure();
    host.pass(ms(1500));
    let times: Vec<_> = host.updates().iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(times, [421_000, 422_500]);
}

#[test]
fn a_binding_refresh_request_gets_an_update() {
    let mut host = Host::bound();
    host.mobility(MobilityMessage::BindingRefreshRequest(BindingRefreshRequest::default()));
    assert_eq!(host.updates().len(), 1);
    assert!(host.node.binding().is_some());
}

#[test]
fn while_the_link_is_lost_nothing_is_sent_and_then_at_once() {
    let mut host = away();
    host.secure();
    host.pass(ms(200));
    host.down(WLAN);
    host.take();
    host.pass(secs(5));
    assert!(host.updates().is_empty());
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    assert_eq!(names(&host.take()), ["solicit", "update"], "the same link again: no movement, but the update");
}

#[test]
fn each_care_of_address_has_its_own_back_off() {
    let mut host = away();
    host.secure();
    host.pass(secs(60));
    host.take();
    host.up(LTE, 2);
    host.advertise(LTE, &router_b());
    host.pass(ms(1500));
    assert_eq!(host.updates().len(), 2);
}
