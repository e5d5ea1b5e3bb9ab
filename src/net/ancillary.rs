//! What travels beside a datagram: source address and interface, hop limit, type 2 routing header, Home Address option.

use std::net::Ipv6Addr;

use nix::libc;
use nix::sys::socket::ControlMessageOwned;

/// RFC 6275 §6.4.1: the routing header that carries a home address.
const ROUTING_TYPE_2: u8 = 2;
/// RFC 6275 §6.3: option type of the Home Address option.
const HOME_ADDRESS_OPTION: u8 = 201;
const PAD1: u8 = 0;

/// How a datagram is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// Source address; none: the kernel's choice.
    pub(super) source: Option<Ipv6Addr>,
    /// Out of this interface; 0: by the route.
    pub(super) interface: u32,
    /// Hop limit; none: the kernel's choice.
    pub(super) hop_limit: Option<u8>,
    /// Through this care-of address by a type 2 routing header.
    pub(super) care_of: Option<Ipv6Addr>,
}

impl Outgoing {
    /// The control messages as `sendmsg` takes them (RFC 3542 §6).
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut control = Vec::with_capacity(128);
        let source = self.source.unwrap_or(Ipv6Addr::UNSPECIFIED);
        append(&mut control, libc::IPV6_PKTINFO, &[&source.octets(), &self.interface.to_ne_bytes()]);
        if let Some(hop_limit) = self.hop_limit {
            append(&mut control, libc::IPV6_HOPLIMIT, &[&i32::from(hop_limit).to_ne_bytes()]);
        }
        if let Some(care_of) = self.care_of {
            // RFC 6275 §6.4.1: length 2, one segment left. The kernel puts the care-of address into the IPv6 header, and what the
            // datagram was sent to, the home address, into the routing header; it fills in "next header" as well.
            let header = [0, 2, ROUTING_TYPE_2, 1, 0, 0, 0, 0];
            append(&mut control, libc::IPV6_RTHDR, &[&header, &care_of.octets()]);
        }
        control
    }
}

/// Appends one `struct cmsghdr` (length with header, level, type) with its data, padded to the size of a word.
fn append(control: &mut Vec<u8>, kind: i32, data: &[&[u8]]) {
    const WORD: usize = size_of::<usize>();
    let len = WORD + 2 * size_of::<i32>() + data.iter().map(|part| part.len()).sum::<usize>();
    control.extend_from_slice(&len.to_ne_bytes());
    control.extend_from_slice(&libc::IPPROTO_IPV6.to_ne_bytes());
    control.extend_from_slice(&kind.to_ne_bytes());
    for part in data {
        control.extend_from_slice(part);
    }
    control.resize(control.len().next_multiple_of(WORD), 0);
}

/// What the kernel told about a datagram that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Incoming {
    /// Destination address: after a type 2 routing header was processed the home address.
    pub(super) destination: Option<Ipv6Addr>,
    /// The interface where it came in.
    pub(super) interface: u32,
    /// Hop limit.
    pub(super) hop_limit: Option<u8>,
    /// From the Home Address option. The kernel has swapped it with the source address: it is the care-of address.
    pub(super) option_care_of: Option<Ipv6Addr>,
    /// From the type 2 routing header, after the kernel swapped it with the destination address: the care-of address.
    pub(super) routing_care_of: Option<Ipv6Addr>,
}

impl Incoming {
    /// Takes up one control message; those that nobody asked for are left.
    pub(super) fn take(&mut self, message: ControlMessageOwned) {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                self.destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                self.interface = info.ipi6_ifindex;
            }
            ControlMessageOwned::Ipv6HopLimit(hop_limit) => self.hop_limit = u8::try_from(hop_limit).ok(),
            ControlMessageOwned::Unknown(unknown) if unknown.cmsg_header.cmsg_level == libc::IPPROTO_IPV6 => {
                match unknown.cmsg_header.cmsg_type {
                    // Several headers of a kind may stand in a packet; one of them holds what we look for.
                    libc::IPV6_DSTOPTS => {
                        self.option_care_of = self.option_care_of.or(home_address_option(&unknown.data_bytes))
                    }
                    libc::IPV6_RTHDR => {
                        self.routing_care_of = self.routing_care_of.or(type_2_routing_header(&unknown.data_bytes))
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// The address in the Home Address option of a Destination Options header, if there is one (RFC 6275 §6.3).
fn home_address_option(header: &[u8]) -> Option<Ipv6Addr> {
    let mut options = header.get(2..)?;
    loop {
        let (kind, rest) = options.split_first()?;
        if *kind == PAD1 {
            options = rest;
            continue;
        }
        let (len, rest) = rest.split_first()?;
        let (data, rest) = rest.split_at_checked(usize::from(*len))?;
        if *kind == HOME_ADDRESS_OPTION {
            return <[u8; 16]>::try_from(data).ok().map(Ipv6Addr::from);
        }
        options = rest;
    }
}

/// The address in a type 2 routing header, if it is one (RFC 6275 §6.4.1).
fn type_2_routing_header(header: &[u8]) -> Option<Ipv6Addr> {
    let [_next_header, 2, ROUTING_TYPE_2, _segments_left, _, _, _, _, address @ ..] = header else { return None };
    <[u8; 16]>::try_from(address).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0xc);

    fn destination_options(before: &[u8], data: &[u8]) -> Vec<u8> {
        let mut header = vec![135, 2];
        header.extend_from_slice(before);
        header.extend_from_slice(&[HOME_ADDRESS_OPTION, u8::try_from(data.len()).unwrap()]);
        header.extend_from_slice(data);
        header
    }

    #[test]
    fn the_home_address_option_is_found_behind_padding() {
        for before in [&[][..], &[0], &[0, 0, 0], &[1, 2, 0, 0], &[0, 1, 0, 5, 2, 0, 0]] {
            assert_eq!(
                home_address_option(&destination_options(before, &CARE_OF.octets())),
                Some(CARE_OF),
                "behind {before:?}"
            );
        }
    }

    #[test]
    fn a_home_address_option_of_another_length_is_none() {
        assert_eq!(home_address_option(&destination_options(&[], &CARE_OF.octets()[..15])), None);
        assert_eq!(home_address_option(&destination_options(&[], &[0; 17])), None);
        assert_eq!(home_address_option(&[135, 0, 1, 4, 0, 0, 0, 0]), None);
    }

    #[test]
    fn only_a_type_2_routing_header_holds_a_care_of_address() {
        let header = |len, kind| [&[135, len, kind, 0, 0, 0, 0, 0][..], &CARE_OF.octets()].concat();
        assert_eq!(type_2_routing_header(&header(2, 2)), Some(CARE_OF));
        assert_eq!(type_2_routing_header(&header(2, 0)), None);
        assert_eq!(type_2_routing_header(&header(4, 2)), None);
        assert_eq!(type_2_routing_header(&header(2, 2)[..23]), None);
    }

    #[test]
    fn control_messages_are_laid_out_as_the_kernel_reads_them() {
        let outgoing = Outgoing { source: Some(CARE_OF), interface: 7, hop_limit: Some(255), care_of: Some(CARE_OF) };
        let control = outgoing.encode();
        // 16 octets of header each: 20 of packet information, 4 of hop limit and 24 of routing header, padded to 8.
        let word = |at: usize| usize::from_ne_bytes(control[at..at + size_of::<usize>()].try_into().unwrap());
        assert_eq!((word(0), word(40), word(64), control.len()), (36, 20, 40, 104));
        assert_eq!(control[16..32], CARE_OF.octets());
        assert_eq!(control[32..36], 7_u32.to_ne_bytes());
        assert_eq!(control[56..60], 255_i32.to_ne_bytes());
        assert_eq!(control[80..88], [0, 2, 2, 1, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn no_octets_make_the_readers_panic(header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = home_address_option(&header);
            let _ = type_2_routing_header(&header);
        }
    }
}
