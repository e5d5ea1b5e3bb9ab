//! Traffic selector payloads (RFC 7296 §3.13): `| number | reserved (3) | selectors … |`, each
//! `| type | protocol | length (2) | start port (2) | end port (2) | start address | end address |`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::reader::Reader;
use super::{WireError, length8, length16};

/// Protocol number of the Mobility Header.
pub const MOBILITY_HEADER: u8 = 135;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Every IPv6 address.
pub const EVERY_IPV6: RangeInclusive<Ipv6Addr> = Ipv6Addr::UNSPECIFIED..=Ipv6Addr::from_bits(u128::MAX);
/// Every IPv4 address.
pub const EVERY_IPV4: RangeInclusive<Ipv4Addr> = Ipv4Addr::UNSPECIFIED..=Ipv4Addr::BROADCAST;

const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;

/// Some traffic: a protocol, a range of ports and a range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficSelector {
    /// The IP protocol, 0 for any.
    pub protocol: u8,
    /// The first port. Mobility Header: type << 8. ICMP: type << 8 | code. OPAQUE: 65535, with an end of 0.
    pub start_port: u16,
    /// The last port.
    pub end_port: u16,
    /// The first address.
    pub start: IpAddr,
    /// The last address, of the same family.
    pub end: IpAddr,
}

impl TrafficSelector {
    /// All traffic of these addresses.
    pub fn any(addresses: RangeInclusive<Ipv6Addr>) -> Self {
        Self::protocol(addresses, 0)
    }

    /// All traffic of one protocol.
    pub fn protocol(addresses: RangeInclusive<Ipv6Addr>, protocol: u8) -> Self {
        Self::ports(addresses, protocol, 0..=u16::MAX)
    }

    /// Some ports of one protocol.
    pub fn ports(addresses: RangeInclusive<Ipv6Addr>, protocol: u8, ports: RangeInclusive<u16>) -> Self {
        let (start, end) = addresses.into_inner();
        let (start_port, end_port) = ports.into_inner();
        Self { protocol, start_port, end_port, start: start.into(), end: end.into() }
    }

    /// All traffic of these IPv4 addresses.
    pub fn any_ipv4(addresses: RangeInclusive<Ipv4Addr>) -> Self {
        let (start, end) = addresses.into_inner();
        Self { protocol: 0, start_port: 0, end_port: u16::MAX, start: start.into(), end: end.into() }
    }

    /// Mobility Header messages of one type.
    pub fn mobility_header(addresses: RangeInclusive<Ipv6Addr>, mh_type: u8) -> Self {
        Self::mobility_header_types(addresses, mh_type..=mh_type)
    }

    /// Mobility Header messages of some types, as the Binding Update and its acknowledgement, 5 to 6.
    pub fn mobility_header_types(addresses: RangeInclusive<Ipv6Addr>, types: RangeInclusive<u8>) -> Self {
        let (first, last) = types.into_inner();
        // RFC 7296 §3.13.1: the MH type is in the eight most significant bits, the rest is zero, in both port fields.
        Self::ports(addresses, MOBILITY_HEADER, u16::from(first) << 8..=u16::from(last) << 8)
    }

    /// ICMPv6 messages of one type and any code.
    pub fn icmpv6(addresses: RangeInclusive<Ipv6Addr>, icmp_type: u8) -> Self {
        // RFC 7296 §3.13.1: the type is in the eight most significant bits, the code in the least significant.
        let start = u16::from(icmp_type) << 8;
        Self::ports(addresses, ICMPV6, start..=start | 0xff)
    }

    /// Whether the ports are OPAQUE: traffic whose ports cannot be seen (RFC 4301 §4.4.1.1).
    pub fn is_opaque(&self) -> bool {
        (self.start_port, self.end_port) == OPAQUE
    }

    /// Whether all traffic of `other` is traffic of this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other).is_some_and(|both| both == *other)
    }

    /// The traffic that is in both.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.start.is_ipv4() != other.start.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (ours, theirs) if ours == theirs => ours,
            _ => return None,
        };
        let (start_port, end_port) = self.intersect_ports(other)?;
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start <= end).then_some(Self { protocol, start_port, end_port, start, end })
    }

    fn intersect_ports(&self, other: &Self) -> Option<(u16, u16)> {
        const ANY: (u16, u16) = (0, u16::MAX);
        let ours = (self.start_port, self.end_port);
        let theirs = (other.start_port, other.end_port);
        // RFC 4301 §4.4.1.1: ANY includes OPAQUE; OPAQUE meets nothing else.
        match (ours, theirs) {
            (OPAQUE, OPAQUE | ANY) | (ANY, OPAQUE) => Some(OPAQUE),
            (OPAQUE, _) | (_, OPAQUE) => None,
            _ => {
                let (start, end) = (ours.0.max(theirs.0), ours.1.min(theirs.1));
                (start <= end).then_some((start, end))
            }
        }
    }

    fn parse(kind: u8, protocol: u8, body: &[u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(body);
        let start_port = reader.u16()?;
        let end_port = reader.u16()?;
        let (start, end) = match kind {
            TS_IPV4_ADDR_RANGE => (IpAddr::from(reader.array::<4>()?), IpAddr::from(reader.array::<4>()?)),
            TS_IPV6_ADDR_RANGE => (IpAddr::from(reader.array::<16>()?), IpAddr::from(reader.array::<16>()?)),
            _ => return Ok(None),
        };
        if !reader.is_empty() {
            return Err(WireError::Length);
        }
        let selector = Self { protocol, start_port, end_port, start, end };
        if start > end || (start_port > end_port && !selector.is_opaque()) {
            return Err(malformed("a range ends before it starts"));
        }
        Ok(Some(selector))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let (kind, addresses) = match (self.start, self.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => (TS_IPV4_ADDR_RANGE, [start.octets(), end.octets()].concat()),
            (IpAddr::V6(start), IpAddr::V6(end)) => (TS_IPV6_ADDR_RANGE, [start.octets(), end.octets()].concat()),
            _ => return Err(malformed("two address families in one selector")),
        };
        out.extend_from_slice(&[kind, self.protocol]);
        out.extend_from_slice(&length16(addresses.len().saturating_add(8), "traffic selector")?.to_be_bytes());
        out.extend_from_slice(&self.start_port.to_be_bytes());
        out.extend_from_slice(&self.end_port.to_be_bytes());
        out.extend_from_slice(&addresses);
        Ok(())
    }
}

/// RFC 7296 §3.13.1: how the port fields say OPAQUE.
const OPAQUE: (u16, u16) = (u16::MAX, 0);

/// For the log: `2001:db8::1 proto 135 ports 0x0500-0x0500`.
impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.start)?;
        if self.start != self.end {
            write!(f, "-{}", self.end)?;
        }
        if self.protocol != 0 {
            write!(f, " proto {}", self.protocol)?;
        }
        match (self.start_port, self.end_port) {
            (0, u16::MAX) => Ok(()),
            OPAQUE => f.write_str(" ports opaque"),
            (start, end) if matches!(self.protocol, MOBILITY_HEADER | ICMPV6) => {
                write!(f, " ports {start:#06x}-{end:#06x}")
            }
            (start, end) => write!(f, " ports {start}-{end}"),
        }
    }
}

/// A TSi or TSr payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficSelectors {
    /// Those of address ranges.
    pub selectors: Vec<TrafficSelector>,
    /// Selectors of other types, without the type and length: type, protocol, rest. None of them can be agreed on.
    pub unknown: Vec<(u8, u8, Vec<u8>)>,
}

impl TrafficSelectors {
    /// A payload of these selectors.
    pub fn new(selectors: Vec<TrafficSelector>) -> Self {
        Self { selectors, unknown: Vec::new() }
    }

    /// Parses the payload's body.
    ///
    /// # Errors
    /// If the number of selectors is not that of the octets or is zero, or a range ends before it starts.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let count = reader.u8()?;
        reader.array::<3>()?;
        let mut selectors = Vec::new();
        let mut unknown = Vec::new();
        for _ in 0..count {
            let kind = reader.u8()?;
            let protocol = reader.u8()?;
            let length = reader.u16()?;
            let body = reader.body(length, 4)?;
            match TrafficSelector::parse(kind, protocol, body)? {
                Some(selector) => selectors.push(selector),
                None => unknown.push((kind, protocol, body.to_vec())),
            }
        }
        if count == 0 || !reader.is_empty() {
            return Err(malformed("the number of selectors is not that of the octets"));
        }
        Ok(Self { selectors, unknown })
    }

    /// Writes the payload's body.
    ///
    /// # Errors
    /// [`WireError::TooLong`] for more than 255 selectors, [`WireError::Malformed`] for one of two address families.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let count = self.selectors.len().saturating_add(self.unknown.len());
        out.extend_from_slice(&[length8(count, "list of traffic selectors")?, 0, 0, 0]);
        for selector in &self.selectors {
            selector.write(out)?;
        }
        for (kind, protocol, rest) in &self.unknown {
            out.extend_from_slice(&[*kind, *protocol]);
            out.extend_from_slice(&length16(rest.len().saturating_add(4), "traffic selector")?.to_be_bytes());
            out.extend_from_slice(rest);
        }
        Ok(())
    }
}

/// The offered traffic that is also allowed, in the order of the offer and without selectors that others cover.
///
/// RFC 7296 §2.9: the responder may narrow, and what it answers has to be a subset of what was offered. Empty:
/// TS_UNACCEPTABLE.
pub fn narrow(offered: &[TrafficSelector], allowed: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut narrowed: Vec<TrafficSelector> = Vec::new();
    for offer in offered {
        for both in allowed.iter().filter_map(|allowed| offer.intersect(allowed)) {
            if narrowed.iter().any(|selector| selector.covers(&both)) {
                continue;
            }
            narrowed.retain(|selector| !both.covers(selector));
            // RFC 7296 §3.13: the payload that answers holds 255. An answer with fewer is still a subset.
            if narrowed.len() == MAX_SELECTORS {
                return narrowed;
            }
            narrowed.push(both);
        }
    }
    narrowed
}

/// What one payload can hold.
pub const MAX_SELECTORS: usize = 255;

/// Whether each of `selectors` is covered by one of `by`.
pub fn all_covered(selectors: &[TrafficSelector], by: &[TrafficSelector]) -> bool {
    selectors.iter().all(|selector| by.iter().any(|outer| outer.covers(selector)))
}

fn malformed(reason: &'static str) -> WireError {
    WireError::Malformed { payload: "TS", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    use crate::wire::tests::selector;
    use proptest::prelude::*;

    fn host(last: u16) -> RangeInclusive<Ipv6Addr> {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        address..=address
    }

    #[test]
    fn a_mobility_header_type_is_in_the_high_octet_of_both_ports() {
        let mut octets = Vec::new();
        TrafficSelectors::new(vec![TrafficSelector::mobility_header(host(1), 5)]).write(&mut octets).unwrap();
        assert_eq!(
            octets,
            hex("01 000000 08 87 0028 0500 0500 20010db8000000000000000000000001 20010db8000000000000000000000001")
        );
    }

    #[test]
    fn an_icmpv6_type_comes_with_any_code() {
        let selector = TrafficSelector::icmpv6(host(1), 146);
        assert_eq!((selector.protocol, selector.start_port, selector.end_port), (58, 0x9200, 0x92ff));
        assert_eq!(selector.to_string(), "2001:db8::1 proto 58 ports 0x9200-0x92ff");
    }

    #[test]
    fn any_is_every_protocol_port_and_address() {
        let mut octets = Vec::new();
        TrafficSelectors::new(vec![TrafficSelector::any(EVERY_IPV6)]).write(&mut octets).unwrap();
        assert_eq!(octets, [hex("01 000000 08 00 0028 0000 ffff"), vec![0; 16], vec![255; 16]].concat());
        octets.clear();
        TrafficSelectors::new(vec![TrafficSelector::any_ipv4(EVERY_IPV4)]).write(&mut octets).unwrap();
        assert_eq!(octets, hex("01 000000 07 00 0010 0000 ffff 00000000 ffffffff"));
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for octets in [
            "00 000000",
            "02 000000 07 00 0010 0000 ffff 00000000 ffffffff",
            "01 000000 07 00 0010 0000 ffff 00000000 ffffffff 00",
            "01 000000 07 00 0010 0000 ffff 00000002 00000001",
            "01 000000 07 00 0010 0002 0001 00000000 ffffffff",
            "01 000000 07 00 0003 0000 ffff 00000000 ffffffff",
            "01 000000 07 00 0014 0000 ffff 00000000 ffffffff 00000000",
            "01 000000 08 00 0010 0000 ffff 00000000 ffffffff",
        ] {
            assert!(TrafficSelectors::parse(&hex(octets)).is_err(), "{octets}");
        }
    }

    #[test]
    fn opaque_ports_are_within_any_and_nothing_else() {
        let any = TrafficSelector::any(host(1));
        let opaque = TrafficSelectors::parse(&hex("01 000000 07 00 0010 ffff 0000 00000000 ffffffff")).unwrap();
        assert!(opaque.selectors[0].is_opaque());
        let opaque = TrafficSelector { start_port: u16::MAX, end_port: 0, ..any };
        assert!(any.covers(&opaque));
        assert!(!opaque.covers(&any));
        assert!(opaque.covers(&opaque));
        assert_eq!(opaque.intersect(&TrafficSelector::ports(host(1), 17, 1..=2)), None);
        assert_eq!(opaque.intersect(&any), Some(opaque));
    }

    #[test]
    fn a_coarse_offer_is_narrowed_to_the_allowed_types() {
        // A peer of the RFC 3776 kind offers all of protocol 135.
        let offered = [TrafficSelector::protocol(EVERY_IPV6, MOBILITY_HEADER)];
        let allowed = [TrafficSelector::mobility_header(host(1), 5)];
        assert_eq!(narrow(&offered, &allowed), allowed);
    }

    #[test]
    fn a_type_with_a_low_octet_of_ff_is_narrowed_to_the_type() {
        let offered = [TrafficSelector::ports(host(1), MOBILITY_HEADER, 0x0500..=0x05ff)];
        let allowed = [TrafficSelector::mobility_header(host(1), 5)];
        assert_eq!(narrow(&offered, &allowed), allowed);
        let range = [TrafficSelector::mobility_header_types(host(1), 5..=6)];
        assert_eq!((range[0].start_port, range[0].end_port), (0x0500, 0x0600));
        assert_eq!(narrow(&range, &allowed), allowed);
    }

    #[test]
    fn anothers_address_is_narrowed_to_nothing() {
        let offered = [TrafficSelector::mobility_header(host(2), 5)];
        assert_eq!(narrow(&offered, &[TrafficSelector::mobility_header(host(1), 5)]), []);
        assert_eq!(narrow(&offered, &[TrafficSelector::any_ipv4(EVERY_IPV4)]), []);
        assert_eq!(narrow(&offered, &[TrafficSelector::icmpv6(EVERY_IPV6, 146)]), []);
    }

    #[test]
    fn covered_selectors_are_left_out() {
        // RFC 7296 §2.9: the first of an offer may be the packet that caused it, within the second.
        let specific = TrafficSelector::mobility_header(host(1), 5);
        let all = TrafficSelector::any(host(1));
        assert_eq!(narrow(&[specific, all], &[all]), [all]);
        assert_eq!(narrow(&[all, specific], &[all]), [all]);
    }

    #[test]
    fn an_answer_never_has_more_selectors_than_a_payload_holds() {
        let some: Vec<_> =
            (0..40_u16).map(|at| TrafficSelector::ports(EVERY_IPV6, 17, at * 100..=at * 100 + 50)).collect();
        let hosts: Vec<_> = (0..40).map(|at| TrafficSelector::any(host(at))).collect();
        let narrowed = narrow(&some, &hosts);
        assert_eq!(narrowed.len(), MAX_SELECTORS);
        assert!(TrafficSelectors::new(narrowed).write(&mut Vec::new()).is_ok());
    }

    #[test]
    fn two_address_families_in_one_selector_are_not_written() {
        let mixed = TrafficSelector { end: Ipv4Addr::BROADCAST.into(), ..TrafficSelector::any(host(1)) };
        assert!(TrafficSelectors::new(vec![mixed]).write(&mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn an_intersection_is_covered_by_both(one in selector(), other in selector()) {
            prop_assert!(one.covers(&one));
            prop_assert_eq!(one.intersect(&other), other.intersect(&one));
            if let Some(both) = one.intersect(&other) {
                prop_assert!(one.covers(&both));
                prop_assert!(other.covers(&both));
            }
        }

        #[test]
        fn what_is_narrowed_is_offered_and_allowed(
            offered in prop::collection::vec(selector(), 0..6), allowed in prop::collection::vec(selector(), 0..6)
        ) {
            let narrowed = narrow(&offered, &allowed);
            prop_assert!(all_covered(&narrowed, &offered));
            prop_assert!(all_covered(&narrowed, &allowed));
            for (offer, allow) in offered.iter().flat_map(|offer| allowed.iter().map(move |allow| (offer, allow))) {
                if let Some(both) = offer.intersect(allow) {
                    prop_assert!(narrowed.iter().any(|selector| selector.covers(&both)));
                }
            }
        }
    }
}
