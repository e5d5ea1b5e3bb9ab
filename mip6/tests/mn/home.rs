//! Coming home, and leaving it again.

use mip6::action::{Location, MobileNodeAction, Via};
use mip6::wire::{BindingStatus, Lifetime, UpdateFlags};

use crate::host::{
    Host, LTE, WLAN, accepted, home_address, ms, names, relocations, router_a, router_b, router_home, secs,
};

fn come_home(host: &mut Host) {
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_home());
}

#[test]
fn coming_home_deletes_the_binding_and_then_tells_the_neighbours() {
    let mut host = Host::bound();
    let old = host.care_of();
    come_home(&mut host);
    let (via, update) = host.last_update();
    assert_eq!(via, Via::Direct);
    assert_eq!(update.lifetime, Lifetime(0));
    assert_eq!(update.options, [], "no alternate care-of address from home");
    assert!(update.flags.contains(UpdateFlags::ACKNOWLEDGE.with(UpdateFlags::HOME_REGISTRATION)));
    let done = host.take();
    assert_eq!(names(&done), ["solicit", "relocate", "update", "remove"]);
    let (from, to, soft) = relocations(&done)[0];
    assert_eq!(from, Location::Away(old));
    assert!(matches!(to, Location::Home { interface: WLAN, router } if router.address == router_home().address));
    assert!(!soft);
    host.pass(ms(30));
    host.answer(accepted(update.sequence, Lifetime(0)));
    assert_eq!(
        host.take(),
        [
            MobileNodeAction::AnnounceHome { interface: WLAN, home_address: home_address() },
            MobileNodeAction::Unbound { home_address: home_address(), round_trip: ms(30) }
        ]
    );
    assert!(host.node.binding().is_none());
    host.pass(secs(1000));
    assert!(host.updates().is_empty());
}

#[test]
fn home_is_where_the_home_prefix_is_on_link_and_nowhere_else() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_home().with(|advertisement| advertisement.router_lifetime = 0));
    assert!(
        matches!(host.node.location(), Location::Home { .. }),
        "a home agent need not be a default router (RFC 6275 §7.4)"
    );
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_home().with_prefix(|prefix| prefix.length = 56));
    assert_eq!(host.node.location(), Location::Nowhere);
}

#[test]
fn beginning_at_home_there_is_nothing_to_delete() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_home());
    host.secure();
    host.pass(secs(100));
    assert_eq!(names(&host.take()), ["solicit", "relocate"]);
}

#[test]
fn beginning_at_home_a_binding_of_an_earlier_life_is_deleted() {
    let mut host = Host::with(|config| config.binding_may_exist = true);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_home());
    host.secure();
    let (via, update) = host.last_update();
    assert_eq!((via, update.lifetime), (Via::Direct, Lifetime(0)));
    host.refuse(BindingStatus::NotHomeAgent);
    let done = host.take();
    assert_eq!(names(&done), ["solicit", "relocate", "update", "announce", "unbound"], "there was none");
}

#[test]
fn a_deregistration_is_repeated_until_the_binding_cannot_be_there_any_more() {
    let mut host = Host::bound();
    come_home(&mut host);
    host.pass(secs(20));
    let times: Vec<_> = host.updates().iter().map(|(at, ..)| at.as_secs()).collect();
    assert_eq!(times, [0, 1, 3, 7, 15]);
    host.take();
    host.pass(secs(420));
    assert!(names(&host.take()).ends_with(&["announce", "unbound"]));
    host.pass(secs(1000));
    assert!(host.updates().is_empty());
}

#[test]
fn leaving_home_before_the_deregistration_is_acknowledged_registers_at_once() {
    // The flaw: UMIP stayed stuck for ever here.
    let mut host = Host::bound();
    come_home(&mut host);
    let late = host.last_update().1.sequence;
    host.take();
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_b());
    assert_eq!(names(&host.take()), ["solicit", "add", "probe", "relocate", "update"]);
    host.answer(accepted(late, Lifetime(0)));
    assert!(!host.has(|action| matches!(action, MobileNodeAction::Unbound { .. })), "that was for another place");
    host.pass(secs(2));
    let (via, update) = host.last_update();
    assert_eq!(via, Via::CareOf(host.care_of().address));
    assert_ne!(update.lifetime, Lifetime(0));
    host.acknowledge_last();
    assert_eq!(host.node.binding().unwrap().care_of, host.care_of().address);
}

#[test]
fn home_and_away_again_and_again_never_gets_stuck() {
    let mut host = Host::bound();
    for round in 0..30 {
        come_home(&mut host);
        if round % 3 == 0 {
            host.pass(ms(700));
        }
        host.down(WLAN);
        host.up(WLAN, 1);
        host.advertise(WLAN, &router_a());
        host.pass(ms(40));
    }
    host.pass(secs(1));
    host.acknowledge_last();
    assert_eq!(host.node.binding().unwrap().care_of, host.care_of().address);
    come_home(&mut host);
    host.pass(secs(1));
    host.acknowledge_last();
    assert!(host.node.binding().is_none());
    assert!(host.has(|action| matches!(action, MobileNodeAction::Unbound { .. })));
}

#[test]
fn an_accepted_registration_that_comes_after_home_was_reached_is_not_taken_for_the_deregistration() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    host.secure();
    let registration = host.last_update().1.sequence;
    come_home(&mut host);
    assert_eq!(host.last_update().1.lifetime, Lifetime(0), "the home agent may hold what it has not acknowledged");
    host.answer(accepted(registration, Lifetime(105)));
    assert!(host.node.binding().is_none());
    assert!(!host.has(|action| matches!(action, MobileNodeAction::Unbound { .. })));
}

#[test]
fn home_beats_a_foreign_link_of_equal_preference_but_not_a_better_one() {
    let mut host = Host::bound();
    host.up(LTE, 1);
    host.advertise(LTE, &router_home());
    assert!(matches!(host.node.location(), Location::Home { interface: LTE, .. }));
    assert!(relocations(&host.take()).iter().all(|(_, _, soft)| *soft), "the foreign link still works");
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    assert!(matches!(host.node.location(), Location::Home { .. }));
    let mut host = Host::bound();
    host.up(LTE, 0);
    host.advertise(LTE, &router_home());
    assert!(matches!(host.node.location(), Location::Away(_)));
}

#[test]
fn the_home_link_lost_for_a_moment_is_no_movement() {
    let mut host = Host::bound();
    come_home(&mut host);
    host.acknowledge_last();
    host.take();
    come_home(&mut host);
    assert_eq!(names(&host.take()), ["solicit"]);
}

#[test]
fn a_home_prefix_that_is_no_longer_on_link_ends_the_stay() {
    let mut host = Host::bound();
    come_home(&mut host);
    host.acknowledge_last();
    host.advertise(WLAN, &router_a());
    host.advertise(WLAN, &router_home().with_prefix(|prefix| (prefix.valid, prefix.preferred) = (0, 0)));
    assert!(matches!(host.node.location(), Location::Away(_)));
}
