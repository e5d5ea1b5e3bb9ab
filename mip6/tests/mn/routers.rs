//! What routers say, and what they keep silent about.

use mip6::action::{Location, MobileNodeAction, MobileNodeInput};
use mip6::wire::{NeighbourOption, PrefixInformation, RouterFlags};

use crate::host::{
    Host, LTE, TestRouter, WLAN, address, home_prefix, ms, names, prefix, relocations, router_a, router_b, secs,
};

fn on_link() -> Host {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.take();
    host
}

#[test]
fn a_malformed_advertisement_is_dropped() {
    let good = router_a().message();
    let mut wrong_code = good.clone();
    wrong_code[1] = 1;
    let mut endless_option = good.clone();
    endless_option[17] = 0;
    let mut long_option = good.clone();
    long_option[17] = 200;
    let mut other_type = good.clone();
    other_type[0] = 133;
    let cases = [good[..15].to_vec(), good[..20].to_vec(), wrong_code, endless_option, long_option, other_type, vec![]];
    for message in cases {
        let mut host = on_link();
        let source = router_a().address;
        host.handle(MobileNodeInput::RouterAdvertisement { interface: WLAN, source, message: message.clone() });
        assert_eq!(host.node.location(), Location::Nowhere, "{message:02x?}");
        assert!(matches!(host.take()[..], [MobileNodeAction::Audit(_)]), "{message:02x?}");
    }
}

#[test]
fn an_advertisement_not_from_a_link_local_address_or_on_a_link_that_is_down_is_dropped() {
    let mut host = on_link();
    for (interface, source) in [(WLAN, address("2001:db8:a::1")), (LTE, router_a().address)] {
        host.handle(MobileNodeInput::RouterAdvertisement { interface, source, message: router_a().message() });
        assert_eq!(host.node.location(), Location::Nowhere);
        assert!(matches!(host.take()[..], [MobileNodeAction::Audit(_)]));
    }
}

#[test]
fn an_unknown_option_is_skipped() {
    let mut host = on_link();
    let router = router_a().with(|advertisement| {
        advertisement.options.insert(0, NeighbourOption::Other { kind: 250, data: vec![0xff; 14] });
    });
    host.advertise(WLAN, &router);
    assert_eq!(host.care_of().prefix, prefix("2001:db8:a::"));
}

#[test]
fn a_prefix_that_no_address_can_be_formed_from_is_not_used() {
    let changes: [fn(&mut PrefixInformation); 8] = [
        |prefix| prefix.autonomous = false,
        |prefix| prefix.length = 63,
        |prefix| prefix.length = 65,
        |prefix| prefix.address = address("fe80::"),
        |prefix| prefix.address = address("ff0e::"),
        |prefix| prefix.valid = 0,
        |prefix| prefix.preferred = 0,
        |prefix| (prefix.valid, prefix.preferred) = (10, 20),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut host = on_link();
        host.advertise(WLAN, &router_a().with_prefix(change));
        assert_eq!(host.node.location(), Location::Nowhere, "case {number}");
        host.pass(ms(100));
        assert!(host.has(|action| matches!(action, MobileNodeAction::SolicitRouter(_))), "case {number}: it goes on");
    }
}

#[test]
fn the_home_prefix_gives_no_care_of_address_even_where_it_is_not_on_link() {
    let mut host = on_link();
    host.advertise(WLAN, &TestRouter::new(9, "2001:db8:100::").with_prefix(|prefix| prefix.on_link = false));
    assert_eq!(host.node.location(), Location::Nowhere);
    assert!(home_prefix().contains(address("2001:db8:100::")));
}

#[test]
fn a_router_that_is_no_default_router_is_not_used() {
    let mut host = on_link();
    host.advertise(WLAN, &router_a().with(|advertisement| advertisement.router_lifetime = 0));
    assert_eq!(host.node.location(), Location::Nowhere);
}

#[test]
fn a_router_that_resigns_is_replaced_by_another_on_the_link() {
    let mut host = Host::bound();
    host.advertise(WLAN, &router_b());
    host.advertise(WLAN, &router_a());
    let old = host.care_of();
    host.take();
    host.advertise(WLAN, &router_a().with(|advertisement| advertisement.router_lifetime = 0));
    let done = host.take();
    assert_eq!(host.care_of().router.address, router_b().address);
    assert_eq!(relocations(&done), [(Location::Away(old), Location::Away(host.care_of()), true)]);
}

#[test]
fn a_router_that_resigns_without_another_is_sought_again_and_the_address_kept() {
    let mut host = Host::bound();
    let before = host.node.location();
    host.advertise(WLAN, &router_a().with(|advertisement| advertisement.router_lifetime = 0));
    assert_eq!(names(&host.take()), ["solicit"]);
    assert_eq!(host.node.location(), before);
    host.advertise(WLAN, &router_a());
    assert_eq!(names(&host.take()), [""; 0]);
}

#[test]
fn a_router_that_is_heard_no_more_expires_and_is_sought() {
    let mut host = on_link();
    host.advertise(WLAN, &router_a().with(|advertisement| advertisement.router_lifetime = 30));
    host.take();
    host.pass(secs(29));
    host.advertise(WLAN, &router_a().with(|advertisement| advertisement.router_lifetime = 30));
    host.pass(secs(29));
    assert_eq!(host.take(), [], "each advertisement begins the time anew");
    host.pass(secs(1));
    assert_eq!(names(&host.take()), ["solicit"]);
}

#[test]
fn a_deprecated_prefix_is_left_for_another_and_kept_without_one() {
    let mut host = Host::bound();
    let deprecated = router_a().with_prefix(|prefix| prefix.preferred = 0);
    host.advertise(WLAN, &deprecated);
    assert!(relocations(&host.take()).is_empty());
    assert_eq!(host.care_of().prefix, prefix("2001:db8:a::"));
    let both = deprecated.with(|advertisement| {
        let mut new = advertisement.options[1].clone();
        let NeighbourOption::Prefix(information) = &mut new else { panic!("the second option is the prefix") };
        (information.address, information.preferred) = (address("2001:db8:aa::"), 3600);
        advertisement.options.push(new);
    });
    host.advertise(WLAN, &both);
    let done = host.take();
    assert_eq!(host.care_of().prefix, prefix("2001:db8:aa::"));
    assert!(relocations(&done)[0].2, "the old address is valid still");
}

#[test]
fn nobody_can_end_a_valid_address_by_an_advertisement() {
    let mut host = Host::bound();
    let old = host.care_of();
    host.advertise(WLAN, &router_a().with_prefix(|prefix| (prefix.valid, prefix.preferred) = (0, 0)));
    host.down(WLAN);
    host.pass(secs(7199));
    assert_eq!(host.node.location(), Location::Away(old));
    host.pass(secs(1));
    assert_eq!(host.node.location(), Location::Nowhere, "RFC 4862: two hours remain");
}

#[test]
fn a_global_prefix_is_preferred_to_a_unique_local_one() {
    let mut host = on_link();
    let local = TestRouter::new(0xa, "fd00:a::").with(|advertisement| {
        let mut new = advertisement.options[1].clone();
        let NeighbourOption::Prefix(information) = &mut new else { panic!("the second option is the prefix") };
        information.address = address("2001:db8:a::");
        advertisement.options.push(new);
    });
    host.advertise(WLAN, &local);
    assert_eq!(host.care_of().prefix, prefix("2001:db8:a::"));
    let mut host = on_link();
    host.advertise(WLAN, &TestRouter::new(0xa, "fd00:a::"));
    assert_eq!(host.care_of().prefix, prefix("fd00:a::"), "which is good enough if it is all there is");
}

#[test]
fn the_router_that_says_it_is_the_better_one_is_chosen_but_nobody_moves_for_it() {
    let high = router_b().with(|advertisement| advertisement.flags = RouterFlags(0x08));
    let mut host = on_link();
    host.advertise(WLAN, &router_a());
    host.advertise(WLAN, &high);
    assert_eq!(host.care_of().router.address, router_a().address, "who has no reason to move stays");
    host.advertise(WLAN, &TestRouter::new(0xc, "2001:db8:c::"));
    host.advertise(WLAN, &router_a().with(|advertisement| advertisement.router_lifetime = 0));
    assert_eq!(host.care_of().router.address, high.address);
}

#[test]
fn two_routers_on_one_link_are_no_movement_if_the_one_in_use_answers() {
    let mut host = Host::bound();
    host.advertise(WLAN, &router_b());
    assert_eq!(names(&host.take()), ["solicit"], "is the old one still there?");
    host.pass(ms(50));
    host.advertise(WLAN, &router_a());
    host.pass(secs(60));
    assert!(relocations(&host.take()).is_empty());
    assert_eq!(host.care_of().router.address, router_a().address);
}

#[test]
fn a_silent_move_is_noticed_by_the_new_router_s_advertisement() {
    let mut host = Host::bound();
    host.advertise(WLAN, &router_b());
    host.pass(ms(999));
    assert_eq!(host.care_of().router.address, router_a().address);
    host.pass(ms(1));
    assert_eq!(host.care_of().router.address, router_b().address);
    assert_eq!(host.updates().len(), 1);
}

#[test]
fn a_link_that_comes_up_again_without_having_gone_down_is_checked() {
    let mut host = Host::bound();
    host.up(WLAN, 1);
    assert_eq!(names(&host.take()), ["solicit"]);
    host.advertise(WLAN, &router_a());
    host.pass(secs(10));
    assert_eq!(names(&host.take()), [""; 0]);
}

#[test]
fn a_router_that_misses_its_own_interval_is_asked_and_then_given_up() {
    let punctual = router_a().with(|advertisement| {
        advertisement.options.push(NeighbourOption::AdvertisementInterval(1000));
    });
    let mut host = on_link();
    host.advertise(WLAN, &punctual);
    host.up(LTE, 0);
    host.advertise(LTE, &router_b());
    assert_eq!(host.care_of().interface, WLAN);
    host.take();
    host.pass(ms(1999));
    assert_eq!(host.take(), []);
    host.pass(ms(1));
    assert_eq!(host.take(), [MobileNodeAction::SolicitRouter(WLAN)]);
    host.advertise(WLAN, &punctual);
    host.pass(ms(1999));
    assert_eq!(names(&host.take()), [""; 0], "it was only late");
    host.pass(secs(5));
    assert_eq!(host.care_of().interface, LTE, "it is gone");
}

#[test]
fn a_flood_of_routers_takes_no_more_than_a_bounded_room_and_does_not_move_us() {
    let mut host = Host::bound();
    let before = host.care_of();
    for number in 0..2000_u16 {
        let mut router = TestRouter::new(0, &format!("2001:db8:{:x}::", 0x1000 + number));
        router.address = format!("fe80::{:x}", 0x1000 + number).parse().unwrap();
        host.advertise(WLAN, &router);
        if number % 100 == 0 {
            host.advertise(WLAN, &router_a());
        }
        host.pass(ms(5));
    }
    assert_eq!(host.care_of(), before);
    let solicitations = host.times(|action| matches!(action, MobileNodeAction::SolicitRouter(_))).len();
    assert!(solicitations <= 30, "{solicitations} solicitations in ten seconds");
    assert!(!host.has(|action| matches!(action, MobileNodeAction::AddCareOf(_))));
    assert!(format!("{:?}", host.node).len() < 30_000, "what is remembered has a bound");
}

#[test]
fn a_flood_of_prefixes_takes_no_more_than_a_bounded_room() {
    let mut host = Host::bound();
    for number in 0..2000_u16 {
        host.advertise(WLAN, &TestRouter::new(0xa, &format!("2001:db8:{:x}::", 0x1000 + number)));
    }
    assert_eq!(host.take(), []);
    assert!(format!("{:?}", host.node).len() < 30_000, "what is remembered has a bound");
}
