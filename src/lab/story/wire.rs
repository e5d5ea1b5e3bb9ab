//! What a packet of an access link is, as far as it can be told from outside.

use std::net::Ipv6Addr;

use crate::lab::capture::Packet;

/// An Ethernet header without tags.
const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const ESP: u8 = 50;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
/// Home agent address discovery (144, 145) needs no protection; these do (RFC 6275 §5.4).
const PREFIX_DISCOVERY: [u8; 2] = [146, 147];
const IKE_PORT: u16 = 500;
/// RFC 7296 §3.1.
const IKE_SA_INIT: u8 = 34;
const IKE_RESPONSE: u8 = 0x20;

/// What follows the IPv6 header of signalling: of ESP by itself only at home, elsewhere that is the tunnel with the flows in it.
pub(super) const AWAY: &[u8] = &[UDP, ROUTING, ICMPV6, DESTINATION_OPTIONS, MOBILITY];
pub(super) const AT_HOME: &[u8] = &[UDP, ROUTING, ESP, ICMPV6, DESTINATION_OPTIONS, MOBILITY];

/// A packet's addresses and nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A request that begins an IKE SA, by its initiator's SPI.
    IkeSaInit(u64),
    /// ESP behind a destination options header: what a mobile node signals from its care-of address.
    FromCareOf,
    /// ESP behind a routing header: what a home agent signals to a care-of address.
    ToCareOf,
    /// ESP by itself: a tunnel, or signalling at home.
    Esp,
    /// Mobility signalling that is not protected.
    Bare,
    /// Anything else.
    Other,
}

/// Reads a captured packet; none if it is not IPv6.
pub(super) fn read(packet: &Packet) -> Option<Seen> {
    let ip = packet.octets.get(ETHERNET..)?;
    if packet.octets.get(12..ETHERNET)? != [0x86, 0xdd] {
        return None;
    }
    let address = |at: usize| ip.get(at..at + 16)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
    let what = nature(*ip.get(6)?, ip.get(IPV6_HEADER..)?).unwrap_or(What::Other);
    Some(Seen { source: address(8)?, destination: address(24)?, what })
}

fn nature(first: u8, payload: &[u8]) -> Option<What> {
    let (mut next, mut rest, mut outermost) = (first, payload, None);
    loop {
        match next {
            ROUTING | DESTINATION_OPTIONS => {
                outermost = outermost.or(Some(next));
                let (following, length) = (*rest.first()?, usize::from(*rest.get(1)?));
                next = following;
                rest = rest.get((length + 1) * 8..)?;
            }
            ESP => {
                return Some(match outermost {
                    Some(DESTINATION_OPTIONS) => What::FromCareOf,
                    Some(_) => What::ToCareOf,
                    None => What::Esp,
                });
            }
            MOBILITY => return Some(What::Bare),
            ICMPV6 if PREFIX_DISCOVERY.contains(rest.first()?) => return Some(What::Bare),
            UDP => return ike(rest),
            _ => return None,
        }
    }
}

fn ike(udp: &[u8]) -> Option<What> {
    let port = u16::from_be_bytes(*udp.get(2..)?.first_chunk()?);
    let message = udp.get(8..)?;
    let begins = port == IKE_PORT && *message.get(18)? == IKE_SA_INIT && *message.get(19)? & IKE_RESPONSE == 0;
    begins.then(|| message.first_chunk().map(|spi| What::IkeSaInit(u64::from_be_bytes(*spi))))?
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn packet(next: u8, payload: &[u8]) -> Packet {
        let mut octets = vec![0; 12];
        octets.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64]);
        octets.extend_from_slice(&[0; 32]);
        octets.extend_from_slice(payload);
        Packet { at: SystemTime::UNIX_EPOCH, sent: false, octets }
    }

    fn what(next: u8, payload: &[u8]) -> What {
        read(&packet(next, payload)).unwrap().what
    }

    #[test]
    fn signalling_is_known_by_the_headers_before_esp() {
        let behind = |next: u8| {
            let mut header = [0; 24];
            (header[0], header[1]) = (next, 2);
            header
        };
        assert_eq!(what(60, &behind(50)), What::FromCareOf);
        assert_eq!(what(43, &behind(50)), What::ToCareOf);
        assert_eq!(what(50, &[0; 8]), What::Esp);
    }

    #[test]
    fn signalling_outside_esp_is_found_behind_extension_headers_too() {
        let mut behind_an_option = [0; 32];
        (behind_an_option[0], behind_an_option[1]) = (135, 2);
        assert_eq!(what(60, &behind_an_option), What::Bare);
        assert_eq!(what(135, &[0; 8]), What::Bare);
        assert_eq!(what(58, &[146, 0]), What::Bare);
        assert_eq!(what(58, &[128, 0]), What::Other);
    }

    #[test]
    fn only_the_request_begins_an_ike_sa() {
        let mut udp = vec![1, 244, 1, 244, 0, 36, 0, 0];
        udp.extend_from_slice(&7_u64.to_be_bytes());
        udp.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 0x08]);
        assert_eq!(what(17, &udp), What::IkeSaInit(7));
        udp[8 + 19] = 0x20;
        assert_eq!(what(17, &udp), What::Other);
    }
}
