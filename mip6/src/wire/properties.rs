//! What holds for all octets and all values.

use std::net::Ipv6Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::address::{CareOfAddress, HomeAddress, HomeAgentAddress};
use crate::rr::{CareOfInitCookie, CareOfKeygenToken, HomeInitCookie, HomeKeygenToken, NonceIndex};

fn addresses() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from_bits)
}

fn mobility_options() -> impl Strategy<Value = Vec<MobilityOption>> {
    let option = prop_oneof![
        any::<u16>().prop_map(MobilityOption::BindingRefreshAdvice),
        addresses().prop_map(|address| MobilityOption::AlternateCareOf(CareOfAddress(address))),
        any::<(u16, u16)>().prop_map(|(home, care_of)| MobilityOption::NonceIndices { home, care_of }),
        (6..=u8::MAX, vec(any::<u8>(), 0..=255)).prop_map(|(kind, data)| MobilityOption::Other { kind, data }),
    ];
    (vec(option, 0..6), prop::option::of(vec(any::<u8>(), 0..40))).prop_map(|(mut options, authorization)| {
        options.extend(authorization.map(MobilityOption::BindingAuthorizationData));
        options
    })
}

fn mobility_messages() -> impl Strategy<Value = MobilityMessage> {
    let options = mobility_options;
    prop_oneof![
        options().prop_map(|options| MobilityMessage::BindingRefreshRequest(BindingRefreshRequest { options })),
        (any::<[u8; 8]>(), options()).prop_map(|(cookie, options)| {
            MobilityMessage::HomeTestInit(HomeTestInit { cookie: HomeInitCookie(cookie), options })
        }),
        (any::<[u8; 8]>(), options()).prop_map(|(cookie, options)| {
            MobilityMessage::CareOfTestInit(CareOfTestInit { cookie: CareOfInitCookie(cookie), options })
        }),
        (any::<(u16, [u8; 8], [u8; 8])>(), options()).prop_map(|((index, cookie, token), options)| {
            MobilityMessage::HomeTest(HomeTest {
                nonce_index: NonceIndex(index),
                cookie: HomeInitCookie(cookie),
                token: HomeKeygenToken::new(token),
                options,
            })
        }),
        (any::<(u16, [u8; 8], [u8; 8])>(), options()).prop_map(|((index, cookie, token), options)| {
            MobilityMessage::CareOfTest(CareOfTest {
                nonce_index: NonceIndex(index),
                cookie: CareOfInitCookie(cookie),
                token: CareOfKeygenToken::new(token),
                options,
            })
        }),
        (any::<(u16, u16, u16)>(), options()).prop_map(|((sequence, flags, lifetime), options)| {
            MobilityMessage::BindingUpdate(BindingUpdate {
                sequence,
                flags: UpdateFlags(flags),
                lifetime: Lifetime(lifetime),
                options,
            })
        }),
        (any::<(u8, u8, u16, u16)>(), options()).prop_map(|((status, flags, sequence, lifetime), options)| {
            MobilityMessage::BindingAcknowledgement(BindingAcknowledgement {
                status: status.into(),
                flags: AcknowledgementFlags(flags),
                sequence,
                lifetime: Lifetime(lifetime),
                options,
            })
        }),
        (any::<u8>(), addresses(), options()).prop_map(|(status, address, options)| {
            MobilityMessage::BindingError(BindingError {
                status: status.into(),
                home_address: HomeAddress(address),
                options,
            })
        }),
        (8..=u8::MAX, 0..=255_usize, any::<u8>()).prop_map(|(kind, units, fill)| {
            MobilityMessage::Other(OtherMessage { kind, data: vec![fill; units * 8 + 2] })
        }),
    ]
}

fn neighbour_options() -> impl Strategy<Value = Vec<NeighbourOption>> {
    let prefix = (addresses(), 0..=128_u8, any::<(bool, bool, bool, u32, u32)>()).prop_map(
        |(address, length, (on_link, autonomous, router_address, valid, preferred))| {
            NeighbourOption::Prefix(PrefixInformation {
                address,
                length,
                on_link,
                autonomous,
                router_address,
                valid,
                preferred,
            })
        },
    );
    let option = prop_oneof![
        any::<[u8; 6]>().prop_map(NeighbourOption::SourceLinkLayer),
        any::<[u8; 6]>().prop_map(NeighbourOption::TargetLinkLayer),
        prefix,
        any::<u32>().prop_map(NeighbourOption::Mtu),
        any::<u32>().prop_map(NeighbourOption::AdvertisementInterval),
        any::<(u16, u16)>()
            .prop_map(|(preference, lifetime)| NeighbourOption::HomeAgentInformation { preference, lifetime }),
        (9..=u8::MAX, 1..=255_usize, any::<u8>())
            .prop_map(|(kind, units, fill)| NeighbourOption::Other { kind, data: vec![fill; units * 8 - 2] }),
    ];
    vec(option, 0..6)
}

fn icmp6_messages() -> impl Strategy<Value = Icmp6Message> {
    let options = neighbour_options;
    let unicast = || addresses().prop_filter("a target is unicast", |address| !address.is_multicast());
    prop_oneof![
        options().prop_map(|options| Icmp6Message::RouterSolicitation(RouterSolicitation { options })),
        (any::<(u8, u8, u16, u32, u32)>(), options()).prop_map(
            |((hop_limit, flags, router_lifetime, reachable_time, retrans_timer), options)| {
                Icmp6Message::RouterAdvertisement(RouterAdvertisement {
                    hop_limit,
                    flags: RouterFlags(flags),
                    router_lifetime,
                    reachable_time,
                    retrans_timer,
                    options,
                })
            }
        ),
        (unicast(), options()).prop_map(|(target, options)| {
            Icmp6Message::NeighbourSolicitation(NeighbourSolicitation { target, options })
        }),
        (unicast(), any::<(bool, bool, bool)>(), options()).prop_map(
            |(target, (router, solicited, overrides), options)| {
                Icmp6Message::NeighbourAdvertisement(NeighbourAdvertisement {
                    target,
                    router,
                    solicited,
                    overrides,
                    options,
                })
            }
        ),
        any::<u16>().prop_map(|identifier| Icmp6Message::DiscoveryRequest(DiscoveryRequest { identifier })),
        (any::<u16>(), vec(addresses().prop_map(HomeAgentAddress), 0..5)).prop_map(|(identifier, addresses)| {
            Icmp6Message::DiscoveryReply(DiscoveryReply { identifier, addresses })
        }),
        (any::<u16>(), options()).prop_map(|(identifier, options)| {
            Icmp6Message::MobilePrefixSolicitation(MobilePrefixSolicitation { identifier, options })
        }),
        (any::<(u16, bool, bool)>(), options()).prop_map(|((identifier, managed, other), options)| {
            Icmp6Message::MobilePrefixAdvertisement(MobilePrefixAdvertisement { identifier, managed, other, options })
        }),
    ]
}

/// Octets that get past the first checks: the type is one of ours and the lengths are likely to be right.
fn plausible(header: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    (0..16_u8, vec(prop_oneof![0..8_u8, any::<u8>()], 0..120)).prop_map(move |(kind, body)| {
        let mut octets = [header, &body].concat();
        if header.len() > 2 {
            octets[1] = u8::try_from((octets.len() / 8).saturating_sub(1)).unwrap();
            octets[2] = kind;
        } else {
            octets[0] = [133, 134, 135, 136, 144, 145, 146, 147][usize::from(kind % 8)];
        }
        octets
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_again(message in mobility_messages()) {
        let octets = message.write();
        prop_assert_eq!(octets.len() % 8, 0);
        prop_assert_eq!(&octets[3..6], &[0, 0, 0], "reserved and checksum");
        prop_assert_eq!(MobilityMessage::parse(&octets), Ok(message));
    }

    #[test]
    fn what_was_written_as_icmp_is_read_again(message in icmp6_messages()) {
        let octets = message.write();
        prop_assert_eq!(&octets[1..4], &[0, 0, 0], "code and checksum");
        prop_assert_eq!(Icmp6Message::parse(&octets), Ok(message));
    }

    #[test]
    fn no_octets_panic(octets in vec(any::<u8>(), 0..300)) {
        let _ = MobilityMessage::parse(&octets);
        let _ = Icmp6Message::parse(&octets);
        let _ = home_address_in(&octets);
        let _ = Type2RoutingHeader::parse(&octets);
        let (one, two) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let mut filled = octets.clone();
        checksum::fill_mobility(one, two, &mut filled);
        prop_assert_eq!(checksum::mobility_is_correct(one, two, &filled), octets.len() >= 6);
        checksum::fill_icmp6(one, two, &mut filled);
        prop_assert_eq!(checksum::icmp6_is_correct(one, two, &filled), octets.len() >= 4);
    }

    #[test]
    fn no_plausible_octets_panic_and_what_is_read_is_written_and_read_again(
        mobility in plausible(&[59, 0, 0, 0, 0, 0]),
        icmp6 in plausible(&[0, 0]),
    ) {
        if let Ok(message) = MobilityMessage::parse(&mobility) {
            prop_assert_eq!(MobilityMessage::parse(&message.write()), Ok(message));
        }
        if let Ok(message) = Icmp6Message::parse(&icmp6) {
            prop_assert_eq!(Icmp6Message::parse(&message.write()), Ok(message));
        }
    }
}
