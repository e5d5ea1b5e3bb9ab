//! Mobile prefix discovery.

use std::net::Ipv6Addr;
use std::time::Duration;

use mip6::action::{MobileNodeAction, MobileNodeInput};
use mip6::wire::{
    BindingAcknowledgement, BindingStatus, Icmp6Message, Lifetime, MobilePrefixAdvertisement, NeighbourOption,
    PrefixInformation,
};

use crate::host::{Host, WLAN, accepted, address, home_agent, home_prefix, ms, router_a, router_home, secs};

fn registered() -> Host {
    let mut host = Host::new();
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_a());
    host.secure();
    host.acknowledge_last();
    host
}

fn solicitations(host: &Host) -> Vec<(Duration, u16)> {
    let solicitations = host.done.iter().filter_map(|(at, action)| match action {
        MobileNodeAction::SendPrefixSolicitation { message, .. } => match Icmp6Message::parse(message) {
            Ok(Icmp6Message::MobilePrefixSolicitation(solicitation)) => Some((*at, solicitation.identifier)),
            other => panic!("not a solicitation: {other:?}"),
        },
        _ => None,
    });
    solicitations.collect()
}

fn advertise(host: &mut Host, source: Ipv6Addr, identifier: u16, valid: u32, preferred: u32) {
    let information = PrefixInformation {
        address: home_agent().0,
        length: 64,
        on_link: true,
        autonomous: true,
        router_address: true,
        valid,
        preferred,
    };
    let advertisement = MobilePrefixAdvertisement {
        identifier,
        managed: false,
        other: false,
        options: vec![NeighbourOption::Prefix(information)],
    };
    let message = Icmp6Message::MobilePrefixAdvertisement(advertisement).write();
    host.handle(MobileNodeInput::PrefixAdvertisement { source, message });
}

fn home_prefixes(host: &Host) -> Vec<MobileNodeAction> {
    let actions = host.done.iter().map(|(_, action)| action);
    actions.filter(|action| matches!(action, MobileNodeAction::HomePrefix { .. })).cloned().collect()
}

#[test]
fn after_the_first_registration_the_home_prefix_is_asked_for_with_growing_intervals() {
    let mut host = registered();
    host.pass(secs(100));
    let times: Vec<_> = solicitations(&host).iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(times, [0, 3, 9, 21, 45], "then a home agent that does not know it is left alone");
    host.pass(secs(215));
    host.acknowledge_last();
    assert_eq!(solicitations(&host).len(), 6, "until the next registration");
}

#[test]
fn an_answer_tells_the_home_prefix_and_when_to_ask_again() {
    let mut host = registered();
    let (_, identifier) = solicitations(&host)[0];
    advertise(&mut host, home_agent().0, identifier, 2000, 1000);
    assert_eq!(
        home_prefixes(&host),
        [MobileNodeAction::HomePrefix { prefix: home_prefix(), valid: secs(2000), preferred: secs(1000) }]
    );
    for _ in 0..2 {
        host.pass(secs(315));
        host.acknowledge_last();
    }
    host.pass(secs(119));
    assert_eq!(solicitations(&host).len(), 1);
    host.pass(secs(1));
    let all = solicitations(&host);
    assert_eq!(all.len(), 2, "well before the preferred lifetime ends");
    assert_ne!(all[0].1, all[1].1, "each question has a name of its own");
}

#[test]
fn infinite_lifetimes_need_no_further_question() {
    let mut host = registered();
    let (_, identifier) = solicitations(&host)[0];
    advertise(&mut host, home_agent().0, identifier, u32::MAX, u32::MAX);
    assert_eq!(
        home_prefixes(&host),
        [MobileNodeAction::HomePrefix { prefix: home_prefix(), valid: Duration::MAX, preferred: Duration::MAX }]
    );
    for _ in 0..20 {
        host.pass(secs(315));
        host.acknowledge_last();
    }
    assert_eq!(solicitations(&host).len(), 1);
}

#[test]
fn what_nobody_asked_for_or_another_sent_is_dropped() {
    let mut host = registered();
    let (_, identifier) = solicitations(&host)[0];
    advertise(&mut host, address("2001:db8:bad::1"), identifier, 2000, 1000);
    advertise(&mut host, home_agent().0, identifier.wrapping_add(1), 2000, 1000);
    advertise(&mut host, home_agent().0, identifier, 1000, 2000);
    let message = vec![147, 0, 0, 0, 0, 0, 0, 0, 3, 0];
    host.handle(MobileNodeInput::PrefixAdvertisement { source: home_agent().0, message });
    assert_eq!(home_prefixes(&host), []);
    advertise(&mut host, home_agent().0, identifier, 2000, 1000);
    assert_eq!(home_prefixes(&host).len(), 1);
    advertise(&mut host, home_agent().0, identifier, 2000, 1000);
    assert_eq!(home_prefixes(&host).len(), 1, "answered already");
}

#[test]
fn an_unsolicited_answer_makes_us_ask_but_not_often() {
    let mut host = registered();
    let (_, identifier) = solicitations(&host)[0];
    advertise(&mut host, home_agent().0, identifier, u32::MAX, u32::MAX);
    for _ in 0..10 {
        host.pass(ms(100));
        advertise(&mut host, home_agent().0, 0, 100, 100);
    }
    assert_eq!(solicitations(&host).len(), 1);
    host.pass(secs(2));
    advertise(&mut host, home_agent().0, 0, 100, 100);
    assert_eq!(solicitations(&host).len(), 2);
    assert_eq!(home_prefixes(&host).len(), 1, "what it said does not count");
}

#[test]
fn status_1_asks_again_and_puts_the_refresh_off() {
    let mut host = registered();
    let (_, identifier) = solicitations(&host)[0];
    advertise(&mut host, home_agent().0, identifier, u32::MAX, u32::MAX);
    host.pass(secs(315));
    let sequence = host.last_update().1.sequence;
    let status = BindingStatus::PrefixDiscoveryNecessary;
    host.answer(BindingAcknowledgement { status, ..accepted(sequence, Lifetime(104)) });
    assert_eq!(solicitations(&host).len(), 2);
    assert!(host.node.binding().is_some());
    host.take();
    host.pass(secs(363));
    assert!(host.updates().is_empty());
    host.pass(secs(1));
    assert_eq!(host.updates().len(), 1);
}

#[test]
fn a_binding_never_outlives_the_home_prefix() {
    let mut host = registered();
    let (_, identifier) = solicitations(&host)[0];
    advertise(&mut host, home_agent().0, identifier, 400, 400);
    host.pass(secs(315));
    assert_eq!(host.last_update().1.lifetime, Lifetime(21), "85 s are left");
}

#[test]
fn at_home_nobody_asks() {
    let mut host = registered();
    host.take();
    host.down(WLAN);
    host.up(WLAN, 1);
    host.advertise(WLAN, &router_home());
    host.pass(secs(100));
    assert_eq!(solicitations(&host), []);
}
