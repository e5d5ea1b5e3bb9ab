//! Mobile prefix discovery (RFC 6275 §10.6).

use std::net::Ipv6Addr;
use std::time::Duration;

use mip6::action::{HomeAgentAction as Action, HomeAgentInput as Input, Via};
use mip6::ha::PrefixLifetime;
use mip6::wire::{Icmp6Message, MobilePrefixAdvertisement, MobilePrefixSolicitation, NeighbourOption};

use crate::lab::*;

fn solicitation(source: Ipv6Addr) -> Input {
    let options = vec![NeighbourOption::Other { kind: 200, data: vec![0; 6] }];
    let message =
        Icmp6Message::MobilePrefixSolicitation(MobilePrefixSolicitation { identifier: 0xbeef, options }).write();
    Input::PrefixSolicitation { source, message }
}

fn advertisement(actions: &[Action]) -> (Via, MobilePrefixAdvertisement) {
    let [Action::SendPrefixAdvertisement { home_address, via, message }] = actions else { panic!("{actions:?}") };
    assert_eq!(*home_address, home());
    match Icmp6Message::parse(message) {
        Ok(Icmp6Message::MobilePrefixAdvertisement(advertisement)) => (*via, advertisement),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bound_node_is_answered_where_it_is_with_its_identifier() {
    let mut lab = Lab::bound();
    let (via, advertisement) = advertisement(&lab.hand(solicitation(home().0)));
    assert_eq!((via, advertisement.identifier), (Via::CareOf(care_of(1)), 0xbeef));
    assert!(!advertisement.managed && !advertisement.other);
    let prefixes: Vec<_> = advertisement.prefixes().collect();
    assert!(matches!(prefixes[..], [prefix] if prefix.router() == Some(agent())), "{prefixes:?}");
}

#[test]
fn a_node_at_home_is_answered_plainly() {
    let mut lab = Lab::new(config());
    assert_eq!(advertisement(&lab.hand(solicitation(home().0))).0, Via::Direct);
}

#[test]
fn a_stranger_is_not_answered() {
    let mut lab = Lab::bound();
    assert!(dropped(&lab.hand(solicitation(address("2001:db8:9::9")))));
}

#[test]
fn one_node_is_answered_once_a_second() {
    let mut lab = Lab::bound();
    advertisement(&lab.hand(solicitation(home().0)));
    lab.pass(999);
    assert!(dropped(&lab.hand(solicitation(home().0))));
    lab.pass(1);
    advertisement(&lab.hand(solicitation(home().0)));
    assert_eq!(lab.agent.stats().prefix_advertisements, 2);
}

#[test]
fn a_prefix_that_runs_down_is_told_with_what_is_left() {
    let mut lab = Lab::new(config());
    let mut config = config();
    config.prefixes[0].valid = PrefixLifetime::Until(lab.now + Duration::from_secs(100));
    config.prefixes[0].preferred = PrefixLifetime::Infinite;
    lab.agent = mip6::ha::HomeAgent::new(config, [1; 32]);
    lab.pass(40_000);
    let (_, advertisement) = advertisement(&lab.hand(solicitation(home().0)));
    let prefix = *advertisement.prefixes().next().unwrap();
    assert_eq!((prefix.valid, prefix.preferred), (60, 60), "preferred for no longer than valid");
}

#[test]
fn what_is_no_solicitation_is_dropped() {
    let mut lab = Lab::bound();
    for message in [vec![], vec![146, 1, 0, 0, 0, 0, 0, 0], vec![133, 0, 0, 0, 0, 0, 0, 0], vec![146, 0, 0, 0, 0, 0]] {
        assert!(dropped(&lab.hand(Input::PrefixSolicitation { source: home().0, message })));
    }
}
