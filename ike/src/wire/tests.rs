//! Properties of all payloads: what is written is read back, and no octets from outside make the parser panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        (0..0x8000_u16, any::<u16>()).prop_map(|(kind, value)| Attribute::Short { kind, value }),
        (0..0x8000_u16, octets(9)).prop_map(|(kind, value)| Attribute::Long { kind, value }),
    ]
}

fn transform() -> impl Strategy<Value = Transform> {
    let id = prop_oneof![
        any::<u16>().prop_map(|id| TransformId::Encryption(EncryptionId::from_code(id))),
        any::<u16>().prop_map(|id| TransformId::Prf(PrfId::from_code(id))),
        any::<u16>().prop_map(|id| TransformId::Integrity(IntegrityId::from_code(id))),
        (0..40_u16).prop_map(|id| TransformId::Group(Group::from_code(id))),
        (0..3_u16).prop_map(|id| TransformId::Esn(Esn::from_code(id))),
        (6..=255_u8, any::<u16>()).prop_map(|(kind, id)| TransformId::Other { kind, id }),
    ];
    (id, vec(attribute(), 0..4)).prop_map(|(id, attributes)| Transform { id, attributes })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u8>(), any::<u8>(), octets(9), vec(transform(), 0..6)).prop_map(|(number, protocol, spi, transforms)| {
        Proposal { number, protocol: Protocol::from_code(protocol), spi, transforms }
    })
}

fn identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(Identity::Ipv4),
        any::<Ipv6Addr>().prop_map(Identity::Ipv6),
        "[a-z0-9.-]{1,40}".prop_map(Identity::Fqdn),
        "[a-zäß]{1,20}@[a-z.]{1,20}".prop_map(Identity::Rfc822),
        octets(40).prop_map(Identity::DerAsn1Dn),
        octets(40).prop_map(Identity::KeyId),
        (12..=255_u8, octets(20)).prop_map(|(kind, data)| Identity::Other { kind, data }),
    ]
}

fn identification() -> impl Strategy<Value = Identification> {
    (identity(), any::<[u8; 3]>()).prop_map(|(identity, reserved)| Identification { identity, reserved })
}

pub(super) fn selector() -> impl Strategy<Value = TrafficSelector> {
    let addresses = prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(one, other)| (IpAddr::from(one.min(other)), one.max(other).into())),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(one, other)| (IpAddr::from(one.min(other)), one.max(other).into())),
    ];
    let ports = prop_oneof![
        Just((0, u16::MAX)),
        Just((u16::MAX, 0)),
        any::<(u16, u16)>().prop_map(|(one, other)| (one.min(other), one.max(other))),
    ];
    (prop_oneof![Just(0), any::<u8>()], ports, addresses).prop_map(
        |(protocol, (start_port, end_port), (start, end))| TrafficSelector {
            protocol,
            start_port,
            end_port,
            start,
            end,
        },
    )
}

fn selectors() -> impl Strategy<Value = TrafficSelectors> {
    let unknown = (9..=255_u8, any::<u8>(), vec(any::<u8>(), 4..20));
    (vec(selector(), 1..6), vec(unknown, 0..3)).prop_map(|(selectors, unknown)| TrafficSelectors { selectors, unknown })
}

fn cfg_attribute() -> impl Strategy<Value = CfgAttribute> {
    let prefix = || prop::option::of((any::<Ipv6Addr>(), 0..=128_u8));
    prop_oneof![
        any::<Option<Ipv4Addr>>().prop_map(CfgAttribute::InternalIp4Address),
        any::<Option<Ipv4Addr>>().prop_map(CfgAttribute::InternalIp4Dns),
        prefix().prop_map(CfgAttribute::InternalIp6Address),
        any::<Option<Ipv6Addr>>().prop_map(CfgAttribute::InternalIp6Dns),
        prefix().prop_map(CfgAttribute::InternalIp6Subnet),
        (16..0x8000_u16, octets(30)).prop_map(|(kind, data)| CfgAttribute::Other { kind, data }),
    ]
}

fn delete() -> impl Strategy<Value = Delete> {
    prop_oneof![
        Just(Delete::Ike),
        vec(any::<u32>(), 0..9).prop_map(Delete::Esp),
        vec(any::<u32>(), 0..9).prop_map(Delete::Ah),
        (4..=255_u8, vec(any::<[u8; 3]>(), 0..9)).prop_map(|(protocol, spis)| Delete::Other {
            protocol,
            spi_size: 3,
            count: spis.len().try_into().unwrap(),
            spis: spis.concat(),
        }),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        vec(proposal(), 1..5).prop_map(|proposals| Payload::Sa(SecurityAssociation { proposals })),
        (any::<u16>(), octets(70))
            .prop_map(|(group, data)| Payload::Ke(KeyExchange { group: Group::from_code(group), data })),
        identification().prop_map(Payload::IdI),
        identification().prop_map(Payload::IdR),
        (any::<u8>(), octets(70))
            .prop_map(|(code, data)| Payload::Cert(Certificate { encoding: CertEncoding::from_code(code), data })),
        (any::<u8>(), octets(70)).prop_map(|(code, authority)| Payload::CertReq(CertificateRequest {
            encoding: CertEncoding::from_code(code),
            authority
        })),
        (any::<u8>(), octets(70))
            .prop_map(|(code, data)| Payload::Auth(Authentication { method: AuthMethod::from_code(code), data })),
        vec(any::<u8>(), 16..=256).prop_map(|octets| Payload::Nonce(Nonce::new(octets).unwrap())),
        (any::<u8>(), octets(9), any::<u16>(), octets(70)).prop_map(|(protocol, spi, kind, data)| {
            Payload::Notify(Notify {
                protocol: Protocol::from_code(protocol),
                spi,
                kind: NotifyType::from_code(kind),
                data,
            })
        }),
        delete().prop_map(Payload::Delete),
        octets(40).prop_map(|data| Payload::VendorId(VendorId(data))),
        selectors().prop_map(Payload::TsI),
        selectors().prop_map(Payload::TsR),
        (any::<u8>(), vec(cfg_attribute(), 0..6))
            .prop_map(|(kind, attributes)| Payload::Cp(Configuration { kind: CfgType::from_code(kind), attributes })),
        octets(40).prop_map(|data| Payload::Eap(Eap(data))),
        (prop_oneof![1..33_u8, 49..=255_u8], octets(40))
            .prop_map(|(kind, data)| Payload::Other { kind, data })
            // What an unauthenticated fragment carries is not a chain; nothing may follow it.
            .prop_filter("fragment", |payload| payload.kind() != PayloadType::Fragment),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    (any::<(u64, u64)>(), 0..16_u8, any::<u8>(), any::<(bool, bool, bool)>(), any::<u32>()).prop_map(
        |(spis, minor, exchange, (initiator, higher_version, response), message_id)| {
            let flags = Flags { initiator, higher_version, response };
            let mut header = Header::new(spis, ExchangeType::from_code(exchange), flags, message_id);
            header.version.minor = minor;
            header
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let encrypted = (any::<u8>(), octets(60))
        .prop_map(|(first, data)| Payload::Encrypted(Encrypted { first: PayloadType::from_code(first), data }));
    (header(), vec(payload(), 0..8), prop::option::of(encrypted)).prop_map(|(header, mut payloads, encrypted)| {
        payloads.extend(encrypted);
        Message { header, payloads }
    })
}

/// RFC 7296 §2.5, §3.2, §3.3.1, §3.3.2, §3.4, §3.8, §3.13, §3.15: what is reserved is ignored, in every payload that has something.
#[test]
fn reserved_octets_and_bits_are_ignored() {
    let selector = TrafficSelector::any(crate::wire::ts::EVERY_IPV6);
    let transforms = vec![Transform::encryption(EncryptionId::AesCbc, 256), Transform::esn(Esn::No)];
    // Where they are, from the generic header on.
    let cases = [
        (
            Payload::Sa(SecurityAssociation { proposals: vec![Proposal::esp(1, 4096, transforms)] }),
            vec![5, 17, 21, 29, 33],
        ),
        (Payload::Ke(KeyExchange { group: Group::X25519, data: vec![7; 32] }), vec![6, 7]),
        (Payload::Auth(Authentication { method: AuthMethod::SharedKey, data: vec![7; 32] }), vec![5, 6, 7]),
        (Payload::TsI(TrafficSelectors::new(vec![selector])), vec![5, 6, 7]),
        (Payload::Cp(Configuration { kind: CfgType::Request, attributes: vec![] }), vec![5, 6, 7]),
        (Payload::Notify(Notify::new(NotifyType::InitialContact)), vec![]),
        (Payload::Delete(Delete::Ike), vec![]),
        (Payload::VendorId(VendorId(vec![1])), vec![]),
    ];
    for (payload, reserved) in cases {
        let (first, octets) = write_chain(std::slice::from_ref(&payload)).unwrap();
        // The critical bit of a known payload and the seven reserved bits of the generic header.
        for at in reserved.into_iter().chain([1]) {
            assert_eq!(octets[at], 0, "{first}, octet {at} is sent as zero");
            let mut changed = octets.clone();
            changed[at] = 0xff;
            assert_eq!(parse_chain(first, &changed), Ok(vec![payload.clone()]), "{first}, octet {at}");
        }
    }
}

proptest! {
    #[test]
    fn each_payload_is_read_back_as_it_was_written(payload in payload()) {
        let (first, octets) = write_chain(std::slice::from_ref(&payload)).unwrap();
        prop_assert_eq!(parse_chain(first, &octets), Ok(vec![payload]));
    }

    #[test]
    fn each_message_is_read_back_as_it_was_written(message in message()) {
        let octets = message.write().unwrap();
        prop_assert_eq!(Message::parse(&octets), Ok(message));
    }

    #[test]
    fn each_single_fault_is_refused_or_read_as_something_that_can_be_written(
        message in message(), at in any::<prop::sample::Index>(), octet in any::<u8>()
    ) {
        let mut octets = message.write().unwrap();
        let at = at.index(octets.len());
        octets[at] = octet;
        if let Ok(read) = Message::parse(&octets) {
            // Reserved bits are lost; the values are not.
            let again = read.write().unwrap();
            prop_assert_eq!(Message::parse(&again), Ok(read));
        }
    }

    #[test]
    fn a_message_that_was_cut_off_is_refused(message in message(), length in any::<prop::sample::Index>()) {
        let mut octets = message.write().unwrap();
        octets.truncate(length.index(octets.len()));
        prop_assert!(Message::parse(&octets).is_err());
    }

    #[test]
    fn arbitrary_octets_never_panic(first in any::<u8>(), octets in octets(300)) {
        let _ = Message::parse(&octets);
        let _ = DigitalSignature::parse(&octets);
        let _ = HashAlgorithm::parse_list(&octets);
        for kind in [first].into_iter().chain(33..=53) {
            if let Ok(payloads) = parse_chain(PayloadType::from_code(kind), &octets) {
                prop_assert!(write_chain(&payloads).is_ok());
            }
        }
    }

    #[test]
    fn an_arbitrary_body_of_each_payload_never_panics(kind in 33..=53_u8, body in octets(300)) {
        let length = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
        let chain = [&[0, 0, length[0], length[1]], body.as_slice()].concat();
        if let Ok(payloads) = parse_chain(PayloadType::from_code(kind), &chain) {
            let (first, octets) = write_chain(&payloads).unwrap();
            prop_assert_eq!(parse_chain(first, &octets), Ok(payloads));
        }
    }
}
