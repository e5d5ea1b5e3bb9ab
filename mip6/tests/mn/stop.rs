//! The end: de-registered, and everything as it was.

use mip6::action::{MobileNodeAction, MobileNodeInput, Via};
use mip6::wire::{BindingStatus, Lifetime, MobilityOption};

use crate::host::{Host, LTE, WLAN, ms, names, router_a, router_b, router_home, secs};

#[test]
fn stopping_on_a_foreign_link_deletes_the_binding_from_there() {
    let mut host = Host::bound();
    let care_of = host.care_of();
    host.handle(MobileNodeInput::Stop);
    let (via, update) = host.last_update();
    assert_eq!(via, Via::CareOf(care_of.address));
    assert_eq!(update.lifetime, Lifetime(0));
    assert_eq!(update.options, [MobilityOption::AlternateCareOf(care_of.address)]);
    host.acknowledge_last();
    let done = host.take();
    assert_eq!(names(&done), ["update", "unbound", "remove", "stopped"]);
    assert!(done.contains(&MobileNodeAction::RemoveCareOf(care_of)));
    assert_eq!(host.node.deadline(), None);
    host.up(LTE, 9);
    host.advertise(LTE, &router_b());
    host.handle(MobileNodeInput::Timeout);
    assert_eq!(host.take(), [], "nothing comes after the end");
}

#[test]
fn stopping_does_not_wait_long_for_a_silent_home_agent() {
    let mut host = Host::bound();
    host.handle(MobileNodeInput::Stop);
    host.pass(secs(10));
    let times: Vec<_> = host.updates().iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(times, [0, 500, 1000]);
    assert_eq!(host.times(|action| matches!(action, MobileNodeAction::Stopped)), [ms(1500)]);
    assert_eq!(names(&host.take()), ["update", "update", "update", "remove", "stopped"]);
}

#[test]
fn stopping_at_home_before_the_deregistration_is_acknowledged_waits_for_it() {
    let mut host = Host::bound();
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_home());
    host.pass(ms(100));
    host.take();
    host.handle(MobileNodeInput::Stop);
    assert_eq!(host.last_update().0, Via::Direct);
    host.acknowledge_last();
    assert_eq!(names(&host.take()), ["update", "announce", "unbound", "stopped"]);
}

#[test]
fn stopping_with_nothing_to_say_or_no_way_to_say_it_is_immediate() {
    let mut nowhere = Host::new();
    nowhere.handle(MobileNodeInput::Stop);
    assert_eq!(nowhere.take(), [MobileNodeAction::Stopped]);

    let mut unregistered = Host::new();
    unregistered.up(WLAN, 1);
    unregistered.advertise(WLAN, &router_a());
    unregistered.take();
    unregistered.handle(MobileNodeInput::Stop);
    assert_eq!(names(&unregistered.take()), ["remove", "stopped"]);

    let mut lost = Host::bound();
    lost.down(WLAN);
    lost.handle(MobileNodeInput::Stop);
    assert_eq!(names(&lost.take()), ["remove", "stopped"]);

    let mut unsecured = Host::bound();
    unsecured.handle(MobileNodeInput::Unsecured);
    unsecured.handle(MobileNodeInput::Stop);
    assert_eq!(names(&unsecured.take()), ["remove", "stopped"]);
}

#[test]
fn what_makes_the_answer_impossible_ends_the_wait() {
    for input in [MobileNodeInput::LinkDown(WLAN), MobileNodeInput::Unsecured] {
        let mut host = Host::bound();
        host.handle(MobileNodeInput::Stop);
        host.take();
        host.handle(input);
        assert_eq!(names(&host.take()), ["remove", "stopped"]);
    }
    let mut host = Host::bound();
    host.handle(MobileNodeInput::Stop);
    host.refuse(BindingStatus::InsufficientResources);
    assert_eq!(names(&host.take()), ["update", "refused", "remove", "stopped"]);
}

#[test]
fn lingering_addresses_are_removed_too() {
    let mut host = Host::bound();
    host.up(LTE, 2);
    host.advertise(LTE, &router_b());
    host.take();
    host.handle(MobileNodeInput::Stop);
    host.acknowledge_last();
    assert_eq!(names(&host.take()), ["update", "unbound", "remove", "remove", "stopped"]);
}

#[test]
fn a_node_that_stops_goes_nowhere_any_more() {
    let mut host = Host::bound();
    host.handle(MobileNodeInput::Stop);
    host.take();
    host.up(LTE, 2);
    host.advertise(LTE, &router_b());
    host.secure();
    host.handle(MobileNodeInput::Stop);
    assert_eq!(host.take(), []);
}

#[test]
fn an_address_that_the_kernel_refuses_while_stopping_is_not_removed() {
    let mut host = Host::bound();
    let care_of = host.care_of();
    host.handle(MobileNodeInput::Stop);
    host.handle(MobileNodeInput::CareOfRefused(care_of));
    host.acknowledge_last();
    assert_eq!(names(&host.take()), ["update", "unbound", "stopped"]);
}
