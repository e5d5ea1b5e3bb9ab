//! The ends of bindings (RFC 6275 §10.3.2).

use mip6::action::{HomeAgentAction as Action, HomeAgentInput as Input, UnbindReason, Via};
use mip6::address::CareOfAddress;
use mip6::wire::{AcknowledgementFlags, BindingStatus, Lifetime, MobilityOption};

use crate::lab::*;

fn unbound(reason: UnbindReason) -> Action {
    Action::Unbind { home_address: home(), care_of: care_of(1), reason }
}

#[test]
fn from_home_the_tunnel_goes_first_and_the_answer_has_no_routing_header() {
    let mut lab = Lab::bound();
    let actions = lab.update(Update::at_home(2));
    assert_eq!(
        actions,
        [
            unbound(UnbindReason::Deregistered),
            Action::SendMobilityMessage {
                home_address: home(),
                via: Via::Direct,
                message: vec![59, 1, 6, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 2, 0, 0],
            },
            Action::Judged { home_address: home(), status: BindingStatus::Accepted, sequence: 2, reason: None },
        ]
    );
    assert_eq!(lab.agent.bindings().count(), 0);
}

#[test]
fn every_way_to_ask_for_it_is_understood() {
    let home_as_care_of = CareOfAddress(home().0);
    let away = Update::away(2, care_of(2));
    for (update, via) in [
        // Lifetime zero from a foreign link, with and without the alternate care-of address.
        (Update { lifetime: 0, ..away.clone() }, Via::CareOf(care_of(2))),
        (Update { lifetime: 0, options: vec![], ..away.clone() }, Via::CareOf(care_of(2))),
        // The home address as care-of address, with a lifetime.
        (
            Update { options: vec![MobilityOption::AlternateCareOf(home_as_care_of)], ..away.clone() },
            Via::CareOf(care_of(2)),
        ),
        // From home, with a lifetime.
        (Update { lifetime: 105, ..Update::at_home(2) }, Via::Direct),
        // From home, with the home address as alternate care-of address, with and without a lifetime.
        (Update { options: vec![MobilityOption::AlternateCareOf(home_as_care_of)], ..Update::at_home(2) }, Via::Direct),
        (
            Update {
                lifetime: 105,
                options: vec![MobilityOption::AlternateCareOf(home_as_care_of)],
                ..Update::at_home(2)
            },
            Via::Direct,
        ),
        // From home, with a Home Address option that says the same as the header.
        (Update { header: Some(home_as_care_of), ..Update::at_home(2) }, Via::Direct),
    ] {
        let mut lab = Lab::bound();
        let actions = lab.update(update.clone());
        assert_eq!(actions[0], unbound(UnbindReason::Deregistered), "{update:?}");
        let (answered_via, acknowledgement) = acknowledgement(&actions);
        assert_eq!(answered_via, via, "{update:?}");
        assert_eq!(
            (acknowledgement.status, acknowledgement.sequence, acknowledgement.lifetime),
            (BindingStatus::Accepted, 2, Lifetime::ZERO)
        );
        assert!(acknowledgement.options.is_empty());
    }
}

#[test]
fn k_is_granted_for_the_way_home_too() {
    let mut lab = Lab::bound();
    let (_, acknowledgement) = acknowledgement(&lab.update(Update { flags: AHLK, ..Update::at_home(2) }));
    assert_eq!(acknowledgement.flags, AcknowledgementFlags::KEY_MOBILITY);
}

#[test]
fn without_a_binding_it_is_133() {
    let mut lab = Lab::new(config());
    let actions = lab.update(Update::at_home(1));
    assert_eq!(refused(&actions), BindingStatus::NotHomeAgent);
    assert_eq!(acknowledgement(&actions).0, Via::Direct);
}

#[test]
fn a_late_update_is_135_for_ten_seconds() {
    let mut lab = Lab::bound();
    lab.update(Update::at_home(3));
    lab.pass(9_999);
    let actions = lab.update(Update::away(2, care_of(1)));
    assert_eq!(refused(&actions), BindingStatus::SequenceOutOfWindow);
    assert_eq!(acknowledgement(&actions).1.sequence, 3);
    lab.pass(1);
    assert_eq!(lab.agent.deadline(), None);
    lab.register(Update::away(2, care_of(1)));
}

#[test]
fn a_retransmitted_deletion_is_answered_again() {
    let mut lab = Lab::bound();
    lab.update(Update::at_home(2));
    let actions = lab.update(Update::at_home(3));
    assert!(acknowledgement(&actions).1.status.is_accepted());
    assert!(!actions.iter().any(|action| matches!(action, Action::Unbind { .. })));
}

#[test]
fn leaving_home_again_at_once_is_a_new_binding() {
    let mut lab = Lab::bound();
    lab.update(Update::at_home(2));
    lab.register(Update::away(3, care_of(2)));
}

#[test]
fn returning_home_during_the_probe_ends_it() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(1, care_of(1)));
    let actions = lab.update(Update::at_home(2));
    assert!(acknowledgement(&actions).1.status.is_accepted());
    assert!(lab.pass(5000).is_empty());
    assert_eq!(lab.agent.bindings().count(), 0);
}

#[test]
fn a_withdrawn_binding_goes_without_a_word_to_the_node() {
    let mut lab = Lab::bound();
    assert_eq!(lab.hand(Input::Withdraw(home())), [unbound(UnbindReason::Withdrawn)]);
    assert_eq!(lab.hand(Input::Withdraw(home())), []);
    assert_eq!((lab.agent.bindings().count(), lab.agent.deadline()), (0, None));
}

#[test]
fn withdrawal_ends_a_probe_and_what_the_kernel_works_on() {
    let mut lab = Lab::new(config());
    lab.update(Update::away(1, care_of(1)));
    assert_eq!(lab.hand(Input::Withdraw(home())), []);
    assert!(lab.pass(1000).is_empty());
    lab.update(Update::away(2, care_of(1)));
    lab.pass(1000);
    assert_eq!(lab.hand(Input::Withdraw(home())), [unbound(UnbindReason::Withdrawn)]);
    assert!(dropped(&lab.done(true)), "too late");
    assert_eq!(lab.agent.bindings().count(), 0);
}

#[test]
fn a_stop_drops_all_bindings_and_nothing_happens_after_it() {
    let mut lab = Lab::bound();
    assert_eq!(lab.hand(Input::Stop), [unbound(UnbindReason::Withdrawn)]);
    assert_eq!(lab.update(Update::away(9, care_of(2))), []);
    assert_eq!(lab.agent.deadline(), None);
}
