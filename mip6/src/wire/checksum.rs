//! The Internet checksum of Mobility Header and ICMPv6 messages, for captures and tests: on sending the kernel fills it in.

use std::net::Ipv6Addr;

use super::{ICMPV6, MOBILITY_HEADER};

/// Where the checksum stands in a Mobility Header.
const IN_MOBILITY: usize = 4;
/// Where the checksum stands in an ICMPv6 message.
const IN_ICMP6: usize = 2;

/// The checksum of a Mobility Header message, whatever stands in its own field now.
///
/// RFC 6275 §6.1.1: next header 135 in the pseudo header; the home address stands for the source where a Home Address
/// option is, and for the destination where a type 2 routing header is.
pub fn mobility(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    checksum(source, destination, MOBILITY_HEADER, message, IN_MOBILITY)
}

/// Whether the checksum of a Mobility Header message is right.
pub fn mobility_is_correct(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> bool {
    message.get(IN_MOBILITY..IN_MOBILITY + 2) == Some(&mobility(source, destination, message).to_be_bytes())
}

/// Writes the checksum into a Mobility Header message; one without room for it stays as it is.
pub fn fill_mobility(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) {
    let sum = mobility(source, destination, message);
    put(message, IN_MOBILITY, sum);
}

/// The checksum of an ICMPv6 message, whatever stands in its own field now (RFC 4443 §2.3).
pub fn icmp6(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    checksum(source, destination, ICMPV6, message, IN_ICMP6)
}

/// Whether the checksum of an ICMPv6 message is right.
pub fn icmp6_is_correct(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> bool {
    message.get(IN_ICMP6..IN_ICMP6 + 2) == Some(&icmp6(source, destination, message).to_be_bytes())
}

/// Writes the checksum into an ICMPv6 message; one without room for it stays as it is.
pub fn fill_icmp6(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) {
    let sum = icmp6(source, destination, message);
    put(message, IN_ICMP6, sum);
}

fn put(message: &mut [u8], field: usize, sum: u16) {
    if let Some(octets) = message.get_mut(field..field + 2) {
        octets.copy_from_slice(&sum.to_be_bytes());
    }
}

/// RFC 8200 §8.1: addresses, upper-layer length, next header, message. `field` is the even offset taken as zero.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, message: &[u8], field: usize) -> u16 {
    let length = u64::try_from(message.len()).unwrap_or(u64::MAX);
    let mut sum = words(&source.octets()) + words(&destination.octets()) + length + u64::from(next_header);
    sum += words(message);
    // What stands in the checksum's own field was counted too: its one's complement takes it out again.
    sum += message.get(field..field + 2).map_or(0, |own| 0xffff - words(own));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn words(octets: &[u8]) -> u64 {
    octets
        .chunks(2)
        .map(|word| match *word {
            [high, low] => u64::from(u16::from_be_bytes([high, low])),
            [high] => u64::from(high) << 8,
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_checksum_is_that_of_the_pseudo_header_and_the_message() {
        // By hand: 2·fe80 + 1 + 2 + length 8 + next header 58 + 8000 = 27d45 -> 7d47 -> complement 82b8.
        let mut message = vec![0x80, 0, 0, 0, 0, 0, 0, 0];
        let (one, two) = (address("fe80::1"), address("fe80::2"));
        assert_eq!(icmp6(one, two, &message), 0x82b8);
        fill_icmp6(one, two, &mut message);
        assert_eq!(message[2..4], [0x82, 0xb8]);
        assert!(icmp6_is_correct(one, two, &message));
        assert!(!icmp6_is_correct(one, address("fe80::3"), &message));
        message[5] ^= 1;
        assert!(!icmp6_is_correct(one, two, &message));
    }

    #[test]
    fn a_mobility_header_counts_as_protocol_135() {
        let mut message = vec![59, 0, 0, 0, 0, 0, 0, 0];
        let (one, two) = (address("fe80::1"), address("fe80::2"));
        // By hand: 2·fe80 + 1 + 2 + length 8 + next header 135 + 3b00 = 23892 -> 3894 -> complement c76b.
        assert_eq!(mobility(one, two, &message), 0xc76b);
        fill_mobility(one, two, &mut message);
        assert!(mobility_is_correct(one, two, &message));
    }

    #[test]
    fn a_message_without_a_checksum_field_is_not_correct() {
        for length in 0..4 {
            assert!(!icmp6_is_correct(address("::"), address("::"), &vec![0xff; length]));
        }
    }
}
