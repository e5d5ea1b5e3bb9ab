//! Where the home address stands in each signalling message, and that none goes unprotected: as seen on the links.

use std::net::Ipv6Addr;
use std::time::Duration;

use homeward::lab::attached::address;
use homeward::lab::topology::{HOME_AGENT, HOME_PREFIX};
use homeward::lab::{Attached, Capture, Host, Link, Packet, PingFlow, SceneOptions};
use homeward::real_kernel_test;

use crate::packets::{self, ESP, Ip};
use crate::{PATIENCE, attach};

const ICMPV6: u8 = 58;
const MOBILITY_HEADER: u8 = 135;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// What goes into the protected transport-mode SAs of a purpose, and what comes out of them: the SPIs.
fn spis(pair: &Attached, purpose: &str) -> (u32, u32) {
    let child = pair.mn.wait_for(0, "child", PATIENCE, |event| event.text("purpose") == purpose).unwrap();
    let spi = |field| u32::from_str_radix(&child.text(field), 16).unwrap();
    (spi("outbound"), spi("inbound"))
}

fn is_esp(ip: &Ip, spi: u32) -> bool {
    ip.protocol == ESP && ip.payload.get(..4) == Some(&spi.to_be_bytes())
}

fn all(packets: &[Packet]) -> Vec<Ip> {
    packets.iter().filter_map(packets::ip).collect()
}

/// Packets under none of the SAs that hold what has to be protected.
fn unprotected(packets: &[Ip]) -> Vec<&Ip> {
    let in_the_clear = |ip: &&Ip| {
        ip.protocol == MOBILITY_HEADER || ip.protocol == ICMPV6 && matches!(ip.payload.first(), Some(144..=147))
    };
    packets.iter().filter(in_the_clear).collect()
}

/// The neighbour discovery messages of a type about an address, with the sender's link-layer address.
fn about(packets: &[Packet], kind: u8, target: Ipv6Addr) -> Vec<(Vec<u8>, Ip)> {
    let found = packets.iter().filter_map(|packet| Some((packet.octets[6..12].to_vec(), packets::ip(packet)?)));
    let is_it = |ip: &Ip| {
        ip.protocol == ICMPV6 && ip.payload.first() == Some(&kind) && ip.payload.get(8..24) == Some(&target.octets())
    };
    found.filter(|(_, ip)| is_it(ip)).collect()
}

/// A host asks for the link-layer address of another one; the answer that it gets.
fn asks(host: &Host, address: Ipv6Addr, target: Ipv6Addr, wire: &Capture) -> (Vec<u8>, Ip) {
    let flow = PingFlow::start(host, Some(address), target, Duration::from_millis(50)).unwrap();
    let answers = |packet: &Packet| {
        let mut about = about(std::slice::from_ref(packet), NEIGHBOUR_ADVERTISEMENT, target);
        about.pop().filter(|(_, ip)| ip.destination == address)
    };
    let packet = wire.wait_for("the answer", PATIENCE, |packet| answers(packet).is_some()).unwrap();
    drop(flow);
    answers(&packet).unwrap()
}

/// That an advertisement speaks for an address as RFC 6275 §10.4.1 and §11.5.5 have it: R and S clear, O set, with the
/// link-layer address of its sender.
fn assert_announces((sender, ip): &(Vec<u8>, Ip)) {
    assert_eq!(ip.destination, ALL_NODES);
    assert_eq!(ip.payload[4], 0x20, "{ip:?}");
    assert_eq!(ip.payload[24..32], [&[2, 1], sender.as_slice()].concat(), "{ip:?}");
}

real_kernel_test!(away_from_home_signalling_carries_the_home_address_before_esp_and_never_goes_unprotected, {
    let (pair, scene, _files) = attach(SceneOptions::default());
    let wire = scene.capture(Link::B, None).unwrap();
    let bound = pair.move_to(&scene, Link::B).unwrap();
    let (home, care_of) = (pair.home_address, address(&bound, "care_of").unwrap());
    // Asked for on the first link; a movement does not ask again.
    let (solicitations, advertisements) = spis(&pair, "prefix-discovery");
    let told = pair.mn.wait("home_prefix", PATIENCE).unwrap();
    assert!(told.text("prefix").contains("::/64"), "{told:?}");
    pair.reaches_correspondent(&scene).unwrap();
    let (updates, acknowledgements) = spis(&pair, "binding");
    let packets = all(&wire.stop());
    assert_eq!(unprotected(&packets), Vec::<&Ip>::new());
    let under = |spi| packets.iter().filter(move |ip| is_esp(ip, spi)).collect::<Vec<_>>();
    assert!(!under(updates).is_empty() && !under(acknowledgements).is_empty());
    for ip in under(updates).into_iter().chain(under(solicitations)) {
        assert_eq!((ip.source, ip.destination, ip.home_address_option), (care_of, HOME_AGENT, Some(home)), "{ip:?}");
        assert_eq!(ip.type_2_routing_header, None);
    }
    for ip in under(acknowledgements).into_iter().chain(under(advertisements)) {
        assert_eq!((ip.source, ip.destination, ip.type_2_routing_header), (HOME_AGENT, care_of, Some(home)), "{ip:?}");
        assert_eq!(ip.home_address_option, None);
    }
    // Nothing else has an option: no neighbour discovery, nothing to a link-local or multicast address.
    let signals = |ip: &&Ip| is_esp(ip, updates) || is_esp(ip, solicitations);
    assert!(packets.iter().filter(|ip| ip.home_address_option.is_some()).all(|ip| signals(&ip)));
    // What is tunnelled has neither.
    let (sent, received) = spis(&pair, "payload");
    assert!(!under(sent).is_empty() && !under(received).is_empty());
    for ip in under(sent).into_iter().chain(under(received)) {
        assert_eq!((ip.home_address_option, ip.type_2_routing_header), (None, None), "{ip:?}");
    }
});

real_kernel_test!(the_home_prefix_is_asked_for_and_told_under_esp, {
    let scene = homeward::lab::Scene::new(SceneOptions::default()).unwrap();
    let wire = scene.capture(Link::A, None).unwrap();
    let node = homeward::lab::Node::default();
    let files = crate::configurations(homeward::lab::Auth::Certificate, &node);
    let pair = Attached::start(crate::program(), &scene, &files, &node.id).unwrap();
    pair.mn.wait("home_prefix", PATIENCE).unwrap();
    let bound = pair.mn.wait("bound", PATIENCE).unwrap();
    let (home, care_of) = (pair.home_address, address(&bound, "care_of").unwrap());
    let (solicitations, advertisements) = spis(&pair, "prefix-discovery");
    let packets = all(&wire.stop());
    assert_eq!(unprotected(&packets), Vec::<&Ip>::new());
    let asked = packets.iter().find(|ip| is_esp(ip, solicitations)).unwrap();
    assert_eq!((asked.source, asked.destination, asked.home_address_option), (care_of, HOME_AGENT, Some(home)));
    let told = packets.iter().find(|ip| is_esp(ip, advertisements)).unwrap();
    assert_eq!((told.source, told.destination, told.type_2_routing_header), (HOME_AGENT, care_of, Some(home)));
});

real_kernel_test!(coming_home_is_signalled_plainly_and_told_to_the_neighbours, {
    let scene = homeward::lab::Scene::new(SceneOptions::default()).unwrap();
    let wire = scene.capture(Link::Home, None).unwrap();
    let node = homeward::lab::Node::default();
    let files = crate::configurations(homeward::lab::Auth::Certificate, &node);
    let pair = Attached::start(crate::program(), &scene, &files, &node.id).unwrap();
    let home = pair.home_address;
    let (updates, acknowledgements) = spis(&pair, "binding");

    // While the node was away: probed before it was bound, then announced.
    let before = wire.packets();
    let probes = about(&before, NEIGHBOUR_SOLICITATION, home);
    assert!(probes.iter().any(|(_, ip)| ip.source.is_unspecified()), "{probes:?}");
    let announced = about(&before, NEIGHBOUR_ADVERTISEMENT, home);
    assert!(!announced.is_empty());
    for announcement in &announced {
        assert_announces(announcement);
    }
    let agent = announced[0].0.clone();
    // RFC 6275 §10.4.1: the home agent answers for it, with its own link-layer address and as no router.
    let at = |number| Ipv6Addr::from_bits(HOME_PREFIX.to_bits() | number);
    let neighbour = scene.add_host("neighbour", Link::Home, at(0x77)).unwrap();
    let answer = asks(&neighbour, at(0x77), home, &wire);
    assert_eq!((&answer.0, answer.1.payload[4] & 0x80), (&agent, 0), "{answer:?}");

    let seen = wire.packets().len();
    pair.go_home(&scene).unwrap();
    wire.wait_for("the mobile node's announcement", PATIENCE, |packet| {
        about(std::slice::from_ref(packet), NEIGHBOUR_ADVERTISEMENT, home).iter().any(|(sender, _)| *sender != agent)
    })
    .unwrap();
    // RFC 6275 §11.5.5: now the mobile node answers for itself, and the answer is for who asked.
    let late = scene.add_host("late", Link::Home, at(0x78)).unwrap();
    let answer = asks(&late, at(0x78), home, &wire);
    let answerer = answer.0.clone();
    assert_eq!(answer.1.payload[4] & 0xe0, 0x60, "solicited, overrides, of no router: {answer:?}");
    let after = wire.stop().split_off(seen);
    let packets = all(&after);
    assert_eq!(unprotected(&packets), Vec::<&Ip>::new());
    let update = packets.iter().position(|ip| is_esp(ip, updates)).unwrap();
    let ip = &packets[update];
    assert_eq!((ip.source, ip.destination, ip.home_address_option), (home, HOME_AGENT, None), "{ip:?}");
    let ip = packets.iter().find(|ip| is_esp(ip, acknowledgements) && ip.destination == home).unwrap();
    assert_eq!((ip.source, ip.type_2_routing_header), (HOME_AGENT, None), "{ip:?}");

    // Nothing was sent from the home address on this link before the update, and nobody was asked whether it is free.
    let is_update = |packet: &&Packet| packets::ip(packet).is_some_and(|ip| is_esp(&ip, updates));
    let node = after.iter().find(is_update).unwrap().octets[6..12].to_vec();
    assert_ne!(node, agent);
    let of_node = |packet: &&Packet| packet.octets[6..12] == *node;
    assert_eq!(answerer, node);
    let by_node: Vec<Packet> = after.iter().filter(of_node).cloned().collect();
    let first = all(&by_node).into_iter().find(|ip| ip.source == home).unwrap();
    assert!(is_esp(&first, updates), "{first:?}");
    assert!(about(&by_node, NEIGHBOUR_SOLICITATION, home).is_empty());
    let announced = about(&by_node, NEIGHBOUR_ADVERTISEMENT, home);
    assert!(announced.iter().any(|(_, ip)| ip.destination == ALL_NODES), "{announced:?}");
    for announcement in announced.iter().filter(|(_, ip)| ip.destination == ALL_NODES) {
        assert_announces(announcement);
    }
});
