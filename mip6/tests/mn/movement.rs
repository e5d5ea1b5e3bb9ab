//! From link to link.

use mip6::action::{Location, MobileNodeAction, MobileNodeInput};
use mip6::mn::MobileNode;

use crate::host::{Host, LTE, TestRouter, WLAN, ms, names, prefix, relocations, router_a, router_b, secs};

#[test]
fn a_link_that_comes_up_is_solicited_at_once() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    assert_eq!(host.take(), [MobileNodeAction::SolicitRouter(WLAN)]);
}

#[test]
fn solicitations_become_rarer_but_never_end_while_no_router_answers() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.pass(secs(200));
    let times = host.times(|action| matches!(action, MobileNodeAction::SolicitRouter(_)));
    let times: Vec<_> = times.iter().map(std::time::Duration::as_millis).collect();
    assert_eq!(times, [0, 100, 300, 700, 1500, 3100, 6300, 12_700, 25_500, 51_100, 83_100, 115_100, 147_100, 179_100]);
    host.advertise(WLAN, &router_a());
    host.take();
    host.pass(secs(100));
    assert!(!host.has(|action| matches!(action, MobileNodeAction::SolicitRouter(_))));
}

#[test]
fn the_address_comes_first_then_the_move_then_the_update() {
    let mut host = Host::new();
    host.secure();
    host.up(WLAN, 1);
    host.take();
    host.advertise(WLAN, &router_a());
    let done = host.take();
    assert_eq!(names(&done), ["add", "probe", "relocate", "update"]);
    let care_of = host.care_of();
    assert!(prefix("2001:db8:a::").contains(care_of.address.0));
    assert_eq!(care_of.prefix, prefix("2001:db8:a::"));
    assert_eq!(care_of.interface, WLAN);
    assert_eq!(care_of.router.address, router_a().address);
    assert_eq!(care_of.router.link_layer, Some([2, 0, 0, 0, 0, 0xa]));
    assert_eq!(done[0], MobileNodeAction::AddCareOf(care_of));
    assert_eq!(done[1], MobileNodeAction::ProbeDuplicate { interface: WLAN, address: care_of.address.0 });
    assert_eq!(relocations(&done), [(Location::Nowhere, Location::Away(care_of), false)]);
}

#[test]
fn a_hard_handover_removes_the_old_address_after_the_update() {
    let mut host = Host::bound();
    let old = host.care_of();
    host.down(WLAN);
    assert_eq!(host.take(), [], "a link that is lost for a moment changes nothing yet");
    assert_eq!(host.node.location(), Location::Away(old));
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_b());
    let done = host.take();
    assert_eq!(names(&done), ["solicit", "add", "probe", "relocate", "update", "remove"]);
    assert_eq!(relocations(&done), [(Location::Away(old), Location::Away(host.care_of()), false)]);
    assert_eq!(done.last(), Some(&MobileNodeAction::RemoveCareOf(old)));
}

#[test]
fn the_same_link_again_is_no_movement() {
    let mut host = Host::bound();
    let before = host.care_of();
    host.down(WLAN);
    host.pass(secs(3));
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    assert_eq!(names(&host.take()), ["solicit"]);
    assert_eq!(host.care_of(), before);
    host.pass(secs(100));
    assert!(host.updates().is_empty());
}

#[test]
fn a_router_of_the_same_name_with_another_link_layer_address_is_another_router() {
    let mut host = Host::bound();
    let before = host.care_of();
    let other = TestRouter { address: router_a().address, ..TestRouter::new(0x77, "2001:db8:a::") };
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &other);
    let done = host.take();
    assert_eq!(names(&done), ["solicit", "relocate", "update"], "the address stays, the way changes");
    assert_eq!(host.care_of().address, before.address);
    assert_ne!(host.care_of().router, before.router);
}

#[test]
fn from_a_to_b_and_back_to_a_gives_the_old_address_again() {
    let mut host = Host::bound();
    let at_a = host.care_of();
    for router in [router_b(), router_a()] {
        host.down(WLAN);
        host.up(WLAN, 1);
        host.advertise(WLAN, &router);
        host.pass(ms(300));
        host.acknowledge_last();
    }
    assert_eq!(host.care_of(), at_a);
    assert_eq!(host.node.binding().unwrap().care_of, at_a.address);
}

#[test]
fn a_better_link_is_taken_softly_and_the_old_address_lingers() {
    let mut host = Host::bound();
    let old = host.care_of();
    host.up(LTE, 2);
    host.take();
    host.advertise(LTE, &router_b());
    let done = host.take();
    assert_eq!(names(&done), ["add", "probe", "relocate", "update"]);
    assert_eq!(relocations(&done), [(Location::Away(old), Location::Away(host.care_of()), true)]);
    host.acknowledge_last_of(&done);
    host.pass(ms(1999));
    assert!(!host.has(|action| matches!(action, MobileNodeAction::RemoveCareOf(_))));
    host.pass(ms(1));
    assert!(host.has(|action| *action == MobileNodeAction::RemoveCareOf(old)));
}

#[test]
fn without_lingering_no_handover_is_soft() {
    let mut host = Host::bound_with(|config| config.linger = ms(0));
    host.up(LTE, 2);
    host.advertise(LTE, &router_b());
    let done = host.take();
    assert_eq!(names(&done), ["solicit", "add", "probe", "relocate", "update", "remove"]);
    assert!(!relocations(&done)[0].2);
}

#[test]
fn back_on_a_link_whose_address_still_lingers_it_is_not_added_twice() {
    let mut host = Host::bound();
    let at_a = host.care_of();
    host.up(LTE, 2);
    host.advertise(LTE, &router_b());
    let at_b = host.care_of();
    host.pass(secs(1));
    host.take();
    host.down(LTE);
    let done = host.take();
    assert_eq!(names(&done), ["relocate", "update", "remove"]);
    assert_eq!(relocations(&done), [(Location::Away(at_b), Location::Away(at_a), false)]);
    host.pass(secs(10));
    assert!(!host.has(|action| *action == MobileNodeAction::RemoveCareOf(at_a)), "it is the primary one again");
}

#[test]
fn a_lingering_address_goes_with_its_link() {
    let mut host = Host::bound();
    let old = host.care_of();
    host.up(LTE, 2);
    host.advertise(LTE, &router_b());
    host.take();
    host.down(WLAN);
    assert_eq!(host.take(), [MobileNodeAction::RemoveCareOf(old)]);
}

#[test]
fn of_two_equal_links_the_owner_says_whether_the_newest_is_used() {
    for newest_link in [true, false] {
        let mut host = Host::bound_with(|config| config.newest_link = newest_link);
        host.up(LTE, 1);
        host.advertise(LTE, &router_b());
        assert_eq!(host.care_of().interface, if newest_link { LTE } else { WLAN });
        host.advertise(WLAN, &router_a());
        assert_eq!(host.care_of().interface, if newest_link { LTE } else { WLAN }, "hearing a router is not news");
    }
}

#[test]
fn a_worse_link_is_only_for_need() {
    let mut host = Host::bound();
    host.up(LTE, 0);
    host.advertise(LTE, &router_b());
    assert_eq!(host.care_of().interface, WLAN);
    host.take();
    host.down(WLAN);
    assert_eq!(host.care_of().interface, LTE);
    assert_eq!(names(&host.take()), ["add", "probe", "relocate", "update", "remove"]);
}

#[test]
fn a_duplicate_is_given_up_at_once_for_another_address() {
    let mut host = Host::bound();
    let old = host.care_of();
    host.handle(MobileNodeInput::Duplicate { interface: WLAN, address: old.address.0 });
    let done = host.take();
    assert_eq!(names(&done), ["remove", "add", "probe", "relocate", "update"]);
    let new = host.care_of();
    assert_ne!(new.address, old.address);
    assert!(new.prefix.contains(new.address.0));
    assert_eq!(relocations(&done), [(Location::Away(old), Location::Away(new), false)]);
}

#[test]
fn after_three_duplicates_the_link_is_given_up_until_it_comes_up_again() {
    let mut host = Host::bound();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let address = host.care_of().address;
        assert!(!seen.contains(&address));
        seen.push(address);
        host.handle(MobileNodeInput::Duplicate { interface: WLAN, address: address.0 });
    }
    assert_eq!(host.node.location(), Location::Nowhere);
    host.advertise(WLAN, &router_a());
    assert_eq!(host.node.location(), Location::Nowhere);
    host.pass(secs(100));
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    assert!(!seen.contains(&host.care_of().address), "the address that collided is not tried again");
}

#[test]
fn a_duplicate_of_an_address_that_is_not_ours_is_ignored() {
    let mut host = Host::bound();
    host.handle(MobileNodeInput::Duplicate { interface: LTE, address: host.care_of().address.0 });
    host.handle(MobileNodeInput::Duplicate { interface: WLAN, address: router_a().address });
    assert_eq!(host.take(), []);
}

#[test]
fn an_address_that_the_kernel_refuses_is_replaced() {
    let mut host = Host::bound();
    let old = host.care_of();
    host.handle(MobileNodeInput::CareOfRefused(old));
    assert_eq!(names(&host.take()), ["add", "probe", "relocate", "update"], "nothing is there to be removed");
    assert_ne!(host.care_of().address, old.address);
}

#[test]
fn another_seed_gives_other_addresses() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    let one = host.care_of().address;
    let config = mip6::mn::Config::new(crate::host::home_prefix());
    host.node = MobileNode::new(config, [8; 32]);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    assert_ne!(host.care_of().address, one);
}

#[test]
fn a_lost_link_whose_address_ends_leaves_us_nowhere() {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a().with_prefix(|prefix| (prefix.valid, prefix.preferred) = (600, 300)));
    let old = host.care_of();
    host.down(WLAN);
    host.take();
    host.pass(secs(599));
    assert_eq!(host.take(), []);
    host.pass(secs(1));
    assert_eq!(
        host.take(),
        [
            MobileNodeAction::Relocate { from: Location::Away(old), to: Location::Nowhere, soft: false },
            MobileNodeAction::RemoveCareOf(old)
        ]
    );
}

#[test]
fn old_addresses_do_not_pile_up_however_often_routers_make_us_move() {
    let mut host = Host::bound_with(|config| config.linger = secs(60));
    let mut in_use = router_a();
    let mut held = 1_usize;
    for number in 0..20_u8 {
        let next = TestRouter::new(0x20 + number, &format!("2001:db8:{:x}::", 0x20 + u16::from(number)));
        host.advertise(WLAN, &next);
        host.advertise(WLAN, &in_use.clone().with(|advertisement| advertisement.router_lifetime = 0));
        in_use = next;
        assert_eq!(host.care_of().router.address, in_use.address);
        for action in host.take() {
            match action {
                MobileNodeAction::AddCareOf(_) => held += 1,
                MobileNodeAction::RemoveCareOf(_) => held -= 1,
                _ => (),
            }
        }
        assert!(held <= 5, "the one in use and four old ones");
    }
    assert_eq!(held, 5);
}
