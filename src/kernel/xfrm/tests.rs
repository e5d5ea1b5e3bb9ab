//! What is written can be read, and what is cut off or lies does no harm. Linux answers with the layouts of its requests.

use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::read::{KernelPolicy, Sa, spd_hash};
use super::write;
use crate::kernel::netlink::Request;
use crate::kernel::op::{
    Direction, EspKeys, EspSa, Mode, Move, Net, Policy, PolicyKey, PolicyType, Protocol, RouteOptimization, SaKey,
    Selector, Template, Verdict,
};

const HOME: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2));
const AGENT: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));
const CARE_OF: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 7));
const KEY: SaKey = SaKey { protocol: Protocol::Esp, source: HOME, destination: AGENT, spi: 0x1234_5678 };

fn selector() -> Selector {
    let net = |address, len| Net { address, len };
    Selector {
        source: net(HOME, 128),
        destination: net(AGENT, 64),
        protocol: 135,
        source_port: Some(5),
        destination_port: None,
    }
}

fn sa(keys: EspKeys) -> EspSa {
    EspSa {
        key: KEY,
        mode: Mode::Tunnel,
        reqid: 0x1001,
        selector: selector(),
        keys,
        replay_window: 32,
        esn: false,
        encapsulation: None,
    }
}

fn gcm() -> EspKeys {
    EspKeys::AesGcm16(Zeroizing::new((0..36).collect()))
}

fn cbc() -> EspKeys {
    EspKeys::AesCbcHmacSha256 {
        encryption: Zeroizing::new((0..32).collect()),
        integrity: Zeroizing::new((32..64).collect()),
    }
}

fn policy() -> Policy {
    let template = Template {
        protocol: Protocol::Esp,
        mode: Mode::Tunnel,
        source: CARE_OF,
        destination: AGENT,
        reqid: 0x1001,
        optional: true,
    };
    let option = Template {
        protocol: Protocol::DestinationOptions,
        mode: Mode::RouteOptimization,
        source: HOME,
        destination: AGENT,
        reqid: 0,
        optional: false,
    };
    Policy {
        key: PolicyKey { kind: PolicyType::Sub, direction: Direction::Forward, selector: selector() },
        priority: 77,
        verdict: Verdict::Allow(vec![template, option]),
    }
}

fn octets_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V6(address) => address.octets().to_vec(),
        IpAddr::V4(address) => address.octets().to_vec(),
    }
}

/// The value of the first attribute of this type behind a structure of `skip` octets, read without the codec.
fn attribute(request: &Request, skip: usize, wanted: u16) -> Option<Vec<u8>> {
    let mut octets = &request.body()[skip..];
    while octets.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([octets[0], octets[1]]));
        if u16::from_ne_bytes([octets[2], octets[3]]) == wanted {
            return Some(octets[4..length].to_vec());
        }
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[test]
fn an_sa_has_the_layout_of_xfrm_usersa_info() {
    let request = write::add_sa(&sa(gcm()));
    let body = request.body();
    assert_eq!(request.kind(), 0x10);
    // The destination of a selector is masked to its length, for Linux compares all of it.
    assert_eq!(body[..16], octets_of("2001:db8:1::".parse().unwrap()));
    assert_eq!(body[16..32], octets_of(HOME));
    assert_eq!(body[32..44], [0, 0, 0, 0, 0, 5, 0xff, 0xff, 10, 0, 64, 128], "ports, masks, family, lengths");
    assert_eq!(body[44], 135);
    assert_eq!(body[56..72], octets_of(AGENT));
    assert_eq!(body[72..77], [0x12, 0x34, 0x56, 0x78, 50], "SPI in network order, protocol");
    assert_eq!(body[80..96], octets_of(HOME));
    assert_eq!(body[96..128], [0xff; 32], "no limits");
    assert_eq!(body[208..212], 0x1001u32.to_ne_bytes());
    assert_eq!(body[212..217], [10, 0, 1, 32, 0], "family, mode, window, flags");
    let key = attribute(&request, 224, 18).unwrap();
    assert!(key.starts_with(b"rfc4106(gcm(aes))\0"));
    assert_eq!(key[64..72], [288u32.to_ne_bytes(), 128u32.to_ne_bytes()].concat());
    assert_eq!(key[72..], (0..36).collect::<Vec<u8>>());
}

#[test]
fn all_entries_of_a_migration_stand_in_one_attribute() {
    let turned = |(a, b)| (b, a);
    let (from, to) = ((CARE_OF, AGENT), (HOME, AGENT));
    let moves = [Move { from, to, reqid: 9 }, Move { from: turned(from), to: turned(to), reqid: 9 }];
    let request = write::migrate(&policy().key, &moves, Some((4500, 4501)));
    assert_eq!(request.kind(), 0x21);
    let entries = attribute(&request, 64, 17).unwrap();
    assert_eq!(entries.len(), 2 * 76);
    let first = [octets_of(AGENT), octets_of(CARE_OF), octets_of(AGENT), octets_of(HOME)].concat();
    assert_eq!(entries[..64], first, "old destination, old source, new destination, new source");
    assert_eq!(entries[64..76], [&[50, 1, 0, 0][..], &9u32.to_ne_bytes(), &[10, 0, 10, 0]].concat());
    let encapsulation = attribute(&request, 64, 4).unwrap();
    assert_eq!(encapsulation[..6], [2, 0, 0x11, 0x94, 0x11, 0x95]);
    assert_eq!(attribute(&write::migrate(&policy().key, &moves, None), 64, 4), None);
}

#[test]
fn what_is_read_of_an_sa_makes_the_same_sa() {
    for (keys, window, esn) in [(gcm(), 32, false), (cbc(), 0, false), (gcm(), 128, false), (cbc(), 64, true)] {
        let whole = EspSa { replay_window: window, esn, encapsulation: Some((4500, 1024)), ..sa(keys) };
        let request = write::add_sa(&whole);
        let read = Sa::read(request.body()).unwrap();
        assert_eq!(read.ends(), (HOME, AGENT));
        assert_eq!(read.encapsulation(), Some((4500, 1024)));
        let copy = read.copy_to(CARE_OF);
        let expected = write::add_sa(&EspSa { key: SaKey { destination: CARE_OF, ..KEY }, ..whole.clone() });
        assert_eq!((copy.kind(), copy.body()), (expected.kind(), expected.body()));
        // Nothing was sent under it: it comes back as it was.
        assert_eq!(Sa::read(request.body()).unwrap().again().body(), request.body());
    }
}

#[test]
fn an_sa_that_was_used_comes_back_behind_its_sequence_numbers() {
    let with_replay = |oseq: u32| {
        let mut octets = write::add_sa(&sa(gcm())).body().to_vec();
        octets.extend([16, 0, 10, 0]);
        for word in [oseq, 4, 0xf] {
            octets.extend(word.to_ne_bytes());
        }
        octets
    };
    let replay = |octets: &[u8]| attribute(&Sa::read(octets).unwrap().again(), 224, 10).unwrap();
    let words = |oseq: u32| [oseq.to_ne_bytes(), 4u32.to_ne_bytes(), 0xfu32.to_ne_bytes()].concat();
    assert_eq!(replay(&with_replay(100)), words(100 + 1024));
    assert_eq!(replay(&with_replay(0)), words(0));
    // At the end of the numbers there it stays: the kernel sends nothing more under it (RFC 4303 §3.3.3).
    assert_eq!(replay(&with_replay(u32::MAX - 3)), words(u32::MAX));
}

#[test]
fn a_policy_is_read_as_it_was_written() {
    let policy = policy();
    let Verdict::Allow(templates) = &policy.verdict else { unreachable!() };
    let request = write::set_policy(&policy, true);
    assert_eq!(request.kind(), 0x19);
    assert_eq!(request.body()[152..162], [&77u32.to_ne_bytes()[..], &[0, 0, 0, 0, 2, 0]].concat());
    assert_eq!(attribute(&request, 168, 16), Some(vec![1, 0, 0, 0, 0, 0]));
    let read = KernelPolicy::read(request.body()).unwrap();
    assert_eq!(read.templates(), *templates);
    let again = read.again();
    assert_eq!((again.kind(), again.body()), (0x13, request.body()));
    let block = Policy { verdict: Verdict::Block, ..policy };
    let request = write::set_policy(&block, false);
    assert_eq!((request.kind(), request.body()[161]), (0x13, 1));
    assert_eq!(KernelPolicy::read(request.body()).unwrap().templates(), []);
}

#[test]
fn a_route_optimisation_state_has_its_care_of_address_and_may_be_wild() {
    let IpAddr::V6(care_of) = CARE_OF else { unreachable!() };
    let key = SaKey { protocol: Protocol::Routing, spi: 0, ..KEY };
    let request = write::set_route_optimization(&RouteOptimization { key, care_of, wildcard: true }, false);
    assert_eq!(request.body()[212..217], [10, 0, 2, 0, 8]);
    assert_eq!(attribute(&request, 224, 14), Some(octets_of(CARE_OF)));
}

#[test]
fn thresholds_are_read_as_they_were_written() {
    assert_eq!(spd_hash(write::set_spd_hash((0, 128)).body()), Ok((0, 128)));
    assert!(spd_hash(&[0; 4]).is_err());
    assert!(spd_hash(&[0; 3]).is_err());
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_refused_or_has_fewer_attributes() {
    let sa = write::add_sa(&EspSa { encapsulation: Some((1, 2)), replay_window: 200, ..sa(cbc()) });
    let policy = write::set_policy(&policy(), false);
    for length in 0..sa.body().len() {
        let read = Sa::read(&sa.body()[..length]);
        assert!(length >= 224 || read.is_err(), "{length}");
    }
    for length in 0..policy.body().len() {
        let read = KernelPolicy::read(&policy.body()[..length]);
        assert!(length >= 168 || read.is_err(), "{length}");
    }
}

#[test]
fn keys_are_not_printed() {
    let text = format!("{:?}", sa(cbc()));
    assert!(text.contains("AesCbcHmacSha256 { .. }"), "{text}");
    assert!(!text.contains("33, 34"), "{text}");
}

proptest! {
    #[test]
    fn answers_of_any_octets_do_no_harm(start in 0usize..224, octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut body = vec![0; start];
        body.extend(octets);
        drop(Sa::read(&body).map(Sa::again));
        drop(KernelPolicy::read(&body).map(|policy| policy.templates()));
        drop(spd_hash(&body));
    }
}
