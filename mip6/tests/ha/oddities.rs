//! Messages that are no updates (RFC 6275 §9.2, §9.3.3).

use std::net::Ipv6Addr;

use mip6::action::{Authority, HomeAgentAction as Action, HomeAgentInput as Input};
use mip6::address::CareOfAddress;
use mip6::wire::{BindingErrorStatus, MobilityMessage};

use crate::lab::*;

fn message(source: Ipv6Addr, care_of: Option<CareOfAddress>, message: Vec<u8>) -> Input {
    Input::MobilityMessage { source, care_of, destination: agent(), authority: Authority::None, message }
}

fn unknown() -> Vec<u8> {
    vec![59, 0, 200, 0, 0, 0, 0, 0]
}

/// To whom a Binding Error goes, and which home address it names.
fn binding_error(actions: &[Action]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    actions.iter().find_map(|action| match action {
        Action::SendBindingError { destination, message } => {
            let Ok(MobilityMessage::BindingError(error)) = MobilityMessage::parse(message) else { panic!() };
            assert_eq!(error.status, BindingErrorStatus::UnrecognizedType);
            Some((*destination, error.home_address.0))
        }
        _ => None,
    })
}

#[test]
fn an_unknown_type_is_answered_to_the_address_in_the_header() {
    let mut lab = Lab::new(config());
    let from = address("2001:db8:9::9");
    assert_eq!(binding_error(&lab.hand(message(from, None, unknown()))), Some((from, Ipv6Addr::UNSPECIFIED)));
    let actions = lab.hand(message(home().0, Some(care_of(1)), unknown()));
    assert_eq!(binding_error(&actions), Some((care_of(1).0, home().0)));
}

#[test]
fn an_unknown_type_from_no_unicast_address_is_not_answered() {
    let mut lab = Lab::new(config());
    for from in ["::", "ff02::1", "ff0e::1"] {
        assert!(dropped(&lab.hand(message(address(from), None, unknown()))), "{from}");
    }
}

#[test]
fn binding_errors_are_limited() {
    let mut lab = Lab::new(config());
    for _ in 0..1000 {
        lab.hand(message(address("2001:db8:9::9"), None, unknown()));
    }
    assert_eq!(lab.agent.stats().binding_errors, 10);
    lab.pass(1000);
    assert!(binding_error(&lab.hand(message(address("2001:db8:9::9"), None, unknown()))).is_some());
}

/// Anybody can send them, and a log that strangers fill is of no use.
#[test]
fn of_many_messages_that_are_dropped_only_some_are_told_and_the_others_are_counted() {
    let mut lab = Lab::new(config());
    let flood = |lab: &mut Lab| -> usize {
        (0..1000).filter(|_| dropped(&lab.hand(message(address("2001:db8:9::9"), None, vec![1])))).count()
    };
    assert_eq!(flood(&mut lab), 50);
    lab.pass(1000);
    let actions = lab.hand(message(address("2001:db8:9::9"), None, vec![1]));
    let [Action::Audit(sentence)] = &actions[..] else { panic!("{actions:?}") };
    assert!(sentence.ends_with("; 950 before it were dropped without a word"), "{sentence}");
    assert_eq!(flood(&mut lab), 9);
    assert_eq!(lab.agent.stats().dropped, 2001);
}

#[test]
fn known_types_that_are_not_for_a_home_agent_are_dropped() {
    let mut lab = Lab::new(config());
    for kind in [0, 1, 2, 3, 4, 6, 7] {
        let mut octets = vec![0; 24];
        octets[..3].copy_from_slice(&[59, 2, kind]);
        assert!(dropped(&lab.hand(message(home().0, Some(care_of(1)), octets))), "{kind}");
    }
}

#[test]
fn a_malformed_update_is_dropped_and_changes_nothing() {
    let mut lab = Lab::bound();
    let Input::MobilityMessage { message: good, .. } = Update::away(2, care_of(2)).input() else { panic!() };
    let piggy_backed = [&[58], &good[1..]].concat();
    let too_long = [&[59, 9], &good[2..]].concat();
    let overrun = [&good[..15], &[200], &good[16..]].concat();
    for octets in [vec![], good[..31].to_vec(), piggy_backed, too_long, overrun] {
        let actions = lab.hand(Input::MobilityMessage {
            source: home().0,
            care_of: Some(care_of(2)),
            destination: agent(),
            authority: Authority::Owner { key_mobility: true },
            message: octets,
        });
        assert!(dropped(&actions), "{actions:?}");
    }
    assert_eq!(lab.agent.bindings().next().unwrap().sequence, 1);
}

#[test]
fn an_answer_of_the_kernel_that_nobody_waits_for_is_only_noted() {
    let mut lab = Lab::bound();
    for done in [true, false] {
        assert!(dropped(&lab.done(done)));
    }
    assert_eq!(lab.agent.bindings().count(), 1);
}
