//! What the tests read in captured packets by themselves: from the Ethernet header on, IPv6 without fragments.

use std::net::Ipv6Addr;

use homeward::lab::Packet;

const UDP: u8 = 17;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;
pub(crate) const ESP: u8 = 50;

/// An IPv6 packet, taken apart as far as it can be read without keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    /// The home address of a Home Address option (RFC 6275 §6.3).
    pub(crate) home_address_option: Option<Ipv6Addr>,
    /// The home address of a type 2 routing header (RFC 6275 §6.4).
    pub(crate) type_2_routing_header: Option<Ipv6Addr>,
    /// The protocol behind these.
    pub(crate) protocol: u8,
    pub(crate) payload: Vec<u8>,
}

/// The packet, if it is one of IPv6.
pub(crate) fn ip(packet: &Packet) -> Option<Ip> {
    let octets = packet.octets.as_slice();
    if octets.get(12..14)? != [0x86, 0xdd] {
        return None;
    }
    let header = octets.get(14..54)?;
    let address = |octets: &[u8]| octets.try_into().ok().map(|octets: [u8; 16]| Ipv6Addr::from(octets));
    let mut ip = Ip {
        source: address(&header[8..24])?,
        destination: address(&header[24..40])?,
        home_address_option: None,
        type_2_routing_header: None,
        protocol: header[6],
        payload: octets.get(54..)?.to_vec(),
    };
    while let ROUTING | DESTINATION_OPTIONS = ip.protocol {
        let length = (usize::from(*ip.payload.get(1)?) + 1) * 8;
        let extension = ip.payload.get(..length)?.to_vec();
        if ip.protocol == ROUTING && extension[2] == 2 {
            ip.type_2_routing_header = Some(address(&extension[8..24])?);
        }
        if ip.protocol == DESTINATION_OPTIONS {
            // Option 201 of 16 octets; the padding before it is a PadN.
            let at = extension.windows(2).position(|pair| pair == [201, 16]);
            ip.home_address_option = at.and_then(|at| extension.get(at + 2..at + 18)).and_then(address);
        }
        ip.protocol = extension[0];
        ip.payload = ip.payload.get(length..)?.to_vec();
    }
    Some(ip)
}

/// The header of an IKE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ike {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) initiator_spi: u64,
    pub(crate) exchange: u8,
    pub(crate) response: bool,
    pub(crate) message_id: u32,
}

/// IKE_SA_INIT (RFC 7296 §3.1).
pub(crate) const IKE_SA_INIT: u8 = 34;

/// The IKE message that the packet holds, if it holds one.
pub(crate) fn ike(packet: &Packet) -> Option<Ike> {
    let ip = ip(packet)?;
    let port = |at: usize| ip.payload.get(at..at + 2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]));
    if ip.protocol != UDP || (port(0)? != 500 && port(2)? != 500) {
        return None;
    }
    let message = ip.payload.get(8..36)?;
    Some(Ike {
        source: ip.source,
        destination: ip.destination,
        initiator_spi: u64::from_be_bytes(message[..8].try_into().ok()?),
        exchange: message[18],
        response: message[19] & 0x20 != 0,
        message_id: u32::from_be_bytes(message[20..24].try_into().ok()?),
    })
}

/// Requests of IKE_SA_INIT among the packets.
pub(crate) fn ike_sa_inits(packets: &[Packet]) -> Vec<Ike> {
    packets.iter().filter_map(ike).filter(|ike| ike.exchange == IKE_SA_INIT && !ike.response).collect()
}
