//! Router Advertisements (RFC 4861 §6.2, RFC 6275 §7).

use std::net::Ipv6Addr;
use std::time::Duration;

use mip6::action::{HomeAgentAction as Action, HomeAgentInput as Input};
use mip6::ha::Config;
use mip6::wire::{Icmp6Message, NeighbourOption, RouterAdvertisement, RouterFlags};

use crate::lab::*;

fn advertising(seconds: u64) -> Config {
    Config {
        advertise: Some(Duration::from_secs(seconds)),
        link_layer: Some([2, 0, 0, 0, 0, 1]),
        preference: 9,
        ..config()
    }
}

/// All advertisements among the actions, with whom they go to.
fn advertisements(actions: &[Action]) -> Vec<(Ipv6Addr, RouterAdvertisement)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::SendRouterAdvertisement { destination, message } => match Icmp6Message::parse(message) {
                Ok(Icmp6Message::RouterAdvertisement(advertisement)) => Some((*destination, advertisement)),
                other => panic!("{other:?}"),
            },
            _ => None,
        })
        .collect()
}

fn all_nodes() -> Ipv6Addr {
    address("ff02::1")
}

/// The home agent just after its first input, and what it advertised then.
fn first(config: Config) -> (Lab, Vec<(Ipv6Addr, RouterAdvertisement)>) {
    let mut lab = Lab::new(config.clone());
    lab.agent = mip6::ha::HomeAgent::new(config, [3; 32]);
    let actions = lab.hand(Input::Timeout);
    (lab, advertisements(&actions))
}

fn solicit(lab: &mut Lab, source: &str) -> Vec<(Ipv6Addr, RouterAdvertisement)> {
    let actions = lab.hand(Input::RouterSolicitation { source: address(source) });
    advertisements(&actions)
}

#[test]
fn an_advertisement_tells_all_that_a_mobile_node_needs() {
    let (_, sent) = first(advertising(600));
    let [(destination, advertisement)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*destination, all_nodes());
    assert_eq!((advertisement.flags, advertisement.router_lifetime), (RouterFlags::HOME_AGENT, 1800));
    assert_eq!(advertisement.link_layer(), Some([2, 0, 0, 0, 0, 1]));
    assert_eq!(advertisement.interval(), Some(600_000));
    let prefixes: Vec<_> = advertisement.prefixes().collect();
    let [prefix] = prefixes[..] else { panic!("{prefixes:?}") };
    // RFC 6275 §7.2: our whole address, with R.
    assert_eq!(prefix.router(), Some(agent()));
    assert_eq!(prefix.prefix().to_string(), "2001:db8:1::/64");
    assert!(prefix.on_link && prefix.autonomous);
    assert_eq!((prefix.valid, prefix.preferred), (2_592_000, 604_800));
    assert!(advertisement.options.contains(&NeighbourOption::HomeAgentInformation { preference: 9, lifetime: 1800 }));
}

#[test]
fn the_home_agent_information_is_left_out_where_it_says_nothing() {
    let (_, sent) = first(Config { preference: 0, ..advertising(600) });
    assert!(!sent[0].1.options.iter().any(|option| matches!(option, NeighbourOption::HomeAgentInformation { .. })));
}

#[test]
fn frequent_advertisements_tell_a_little_more_than_their_interval() {
    let (_, sent) = first(Config { advertise: Some(Duration::from_millis(10)), ..advertising(1) });
    // RFC 6275 §7.5: never below 70 ms, and 20 ms added.
    assert_eq!((sent[0].1.interval(), sent[0].1.router_lifetime), (Some(90), 1));
}

#[test]
fn advertisements_come_at_uneven_times_within_their_bounds() {
    let (mut lab, _) = first(advertising(30));
    let mut gaps = std::collections::BTreeSet::new();
    for count in 0..40 {
        let deadline = lab.agent.deadline().unwrap();
        let gap = deadline - lab.now;
        let longest = Duration::from_secs(if count < 3 { 16 } else { 30 });
        assert!((Duration::from_millis(9900)..=longest).contains(&gap), "{count}: {gap:?}");
        gaps.insert(gap);
        lab.now = deadline;
        let actions = lab.hand(Input::Timeout);
        assert_eq!(advertisements(&actions).len(), 1);
    }
    assert!(gaps.len() > 20, "{gaps:?}");
}

#[test]
fn a_node_that_asks_is_answered_alone_within_the_delay() {
    let (mut lab, _) = first(advertising(600));
    assert!(solicit(&mut lab, "fe80::9").is_empty());
    let deadline = lab.agent.deadline().unwrap();
    assert!(deadline - lab.now <= Duration::from_millis(500));
    assert!(solicit(&mut lab, "fe80::9").is_empty(), "asking twice is asking once");
    lab.now = deadline;
    let actions = lab.hand(Input::Timeout);
    let sent = advertisements(&actions);
    assert!(matches!(&sent[..], [(destination, _)] if *destination == address("fe80::9")), "{sent:?}");
}

#[test]
fn without_a_delay_the_answer_is_immediate() {
    let (mut lab, _) = first(Config { solicited_delay: Duration::ZERO, ..advertising(600) });
    assert_eq!(solicit(&mut lab, "fe80::9").len(), 1);
}

#[test]
fn a_node_without_an_address_is_answered_together_with_all_and_not_too_soon() {
    let (mut lab, _) = first(advertising(600));
    assert!(solicit(&mut lab, "::").is_empty());
    // RFC 4861 §6.2.6: three seconds after the last.
    assert_eq!(lab.agent.deadline(), Some(lab.now + Duration::from_secs(3)));
    let actions = lab.pass(3000);
    assert!(matches!(&advertisements(&actions)[..], [(destination, _)] if *destination == all_nodes()));
}

#[test]
fn a_flood_of_solicitations_does_not_become_a_flood_of_advertisements() {
    let (mut lab, _) = first(Config { solicited_delay: Duration::ZERO, ..advertising(600) });
    let before = lab.agent.stats().router_advertisements;
    for asking in 0..10_000_u32 {
        lab.agent.handle(
            lab.now,
            Input::RouterSolicitation { source: Ipv6Addr::from_bits((0xfe80 << 112) + u128::from(asking) + 1) },
        );
    }
    assert!(lab.agent.stats().router_advertisements - before <= 20);
    let (mut lab, _) = first(advertising(600));
    for asking in 0..10_000_u32 {
        lab.now += Duration::from_micros(10);
        lab.agent.handle(
            lab.now,
            Input::RouterSolicitation { source: Ipv6Addr::from_bits((0xfe80 << 112) + u128::from(asking) + 1) },
        );
    }
    lab.pass(1000);
    assert!(lab.agent.stats().router_advertisements <= 24, "{:?}", lab.agent.stats());
}

#[test]
fn who_does_not_advertise_does_not_answer() {
    let mut lab = Lab::new(config());
    assert!(solicit(&mut lab, "fe80::9").is_empty());
    assert_eq!(lab.agent.deadline(), None);
}

#[test]
fn who_stops_says_so_and_is_no_home_agent_any_more() {
    let (mut lab, _) = first(advertising(600));
    let actions = lab.hand(Input::Stop);
    let sent = advertisements(&actions);
    let [(destination, advertisement)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*destination, all_nodes());
    assert_eq!((advertisement.router_lifetime, advertisement.flags), (0, RouterFlags::NONE));
    assert!(!advertisement.options.iter().any(|option| matches!(option, NeighbourOption::HomeAgentInformation { .. })));
    assert_eq!(lab.agent.deadline(), None);
}
