//! The ICMPv6 messages that mobility needs.

use super::octets::Octets;
use super::{
    DiscoveryReply, DiscoveryRequest, Malformed, MobilePrefixAdvertisement, MobilePrefixSolicitation,
    NeighbourAdvertisement, NeighbourSolicitation, RouterAdvertisement, RouterSolicitation,
};

/// The IPv6 Next Header value of ICMPv6.
pub const ICMPV6: u8 = 58;

/// The ICMPv6 types of RFC 4861 §4 and RFC 6275 §6.5 to §6.8.
pub mod icmp6_type {
    /// Router Solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router Advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour Solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour Advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Home Agent Address Discovery Request.
    pub const DISCOVERY_REQUEST: u8 = 144;
    /// Home Agent Address Discovery Reply.
    pub const DISCOVERY_REPLY: u8 = 145;
    /// Mobile Prefix Solicitation.
    pub const MOBILE_PREFIX_SOLICITATION: u8 = 146;
    /// Mobile Prefix Advertisement.
    pub const MOBILE_PREFIX_ADVERTISEMENT: u8 = 147;
}

/// An ICMPv6 message that mobility needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Icmp6Message {
    /// Type 133.
    RouterSolicitation(RouterSolicitation),
    /// Type 134.
    RouterAdvertisement(RouterAdvertisement),
    /// Type 135.
    NeighbourSolicitation(NeighbourSolicitation),
    /// Type 136.
    NeighbourAdvertisement(NeighbourAdvertisement),
    /// Type 144.
    DiscoveryRequest(DiscoveryRequest),
    /// Type 145.
    DiscoveryReply(DiscoveryReply),
    /// Type 146.
    MobilePrefixSolicitation(MobilePrefixSolicitation),
    /// Type 147.
    MobilePrefixAdvertisement(MobilePrefixAdvertisement),
}

impl Icmp6Message {
    /// Reads a message from its type octet on. The checksum is not looked at, see
    /// [`checksum::icmp6_is_correct`](super::checksum::icmp6_is_correct); neither is the hop limit, which is the shell's.
    ///
    /// # Errors
    /// [`Malformed`] where RFC 4861 §6.1, §7.1 say that the message is dropped, and for types not named here.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut octets = Octets::new(message);
        let [kind, code] = octets.array()?;
        octets.u16()?;
        let parsed = match kind {
            icmp6_type::ROUTER_SOLICITATION => Self::RouterSolicitation(RouterSolicitation::parse_body(octets)?),
            icmp6_type::ROUTER_ADVERTISEMENT => Self::RouterAdvertisement(RouterAdvertisement::parse_body(octets)?),
            icmp6_type::NEIGHBOUR_SOLICITATION => {
                Self::NeighbourSolicitation(NeighbourSolicitation::parse_body(octets)?)
            }
            icmp6_type::NEIGHBOUR_ADVERTISEMENT => {
                Self::NeighbourAdvertisement(NeighbourAdvertisement::parse_body(octets)?)
            }
            icmp6_type::DISCOVERY_REQUEST => Self::DiscoveryRequest(DiscoveryRequest::parse_body(octets)?),
            icmp6_type::DISCOVERY_REPLY => Self::DiscoveryReply(DiscoveryReply::parse_body(octets)?),
            icmp6_type::MOBILE_PREFIX_SOLICITATION => {
                Self::MobilePrefixSolicitation(MobilePrefixSolicitation::parse_body(octets)?)
            }
            icmp6_type::MOBILE_PREFIX_ADVERTISEMENT => {
                Self::MobilePrefixAdvertisement(MobilePrefixAdvertisement::parse_body(octets)?)
            }
            kind => return Err(Malformed::Icmp6Type(kind)),
        };
        // RFC 4861 §6.1, §7.1; RFC 6275 §6.5 to §6.8: the code of all of them is 0.
        if code == 0 { Ok(parsed) } else { Err(Malformed::Icmp6Code(code)) }
    }

    /// The octets from the type on, with a checksum of zero.
    pub fn write(&self) -> Vec<u8> {
        let mut message = vec![self.kind(), 0, 0, 0];
        match self {
            Self::RouterSolicitation(body) => body.write_body(&mut message),
            Self::RouterAdvertisement(body) => body.write_body(&mut message),
            Self::NeighbourSolicitation(body) => body.write_body(&mut message),
            Self::NeighbourAdvertisement(body) => body.write_body(&mut message),
            Self::DiscoveryRequest(body) => body.write_body(&mut message),
            Self::DiscoveryReply(body) => body.write_body(&mut message),
            Self::MobilePrefixSolicitation(body) => body.write_body(&mut message),
            Self::MobilePrefixAdvertisement(body) => body.write_body(&mut message),
        }
        message
    }

    /// The ICMPv6 type.
    pub fn kind(&self) -> u8 {
        match self {
            Self::RouterSolicitation(_) => icmp6_type::ROUTER_SOLICITATION,
            Self::RouterAdvertisement(_) => icmp6_type::ROUTER_ADVERTISEMENT,
            Self::NeighbourSolicitation(_) => icmp6_type::NEIGHBOUR_SOLICITATION,
            Self::NeighbourAdvertisement(_) => icmp6_type::NEIGHBOUR_ADVERTISEMENT,
            Self::DiscoveryRequest(_) => icmp6_type::DISCOVERY_REQUEST,
            Self::DiscoveryReply(_) => icmp6_type::DISCOVERY_REPLY,
            Self::MobilePrefixSolicitation(_) => icmp6_type::MOBILE_PREFIX_SOLICITATION,
            Self::MobilePrefixAdvertisement(_) => icmp6_type::MOBILE_PREFIX_ADVERTISEMENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_other_than_zero_is_refused() {
        assert_eq!(Icmp6Message::parse(&[133, 1, 0, 0, 0, 0, 0, 0]), Err(Malformed::Icmp6Code(1)));
    }

    #[test]
    fn types_that_are_not_ours_are_refused() {
        assert_eq!(Icmp6Message::parse(&[128, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::Icmp6Type(128)));
        assert_eq!(Icmp6Message::parse(&[133, 0, 0]), Err(Malformed::Truncated));
    }
}
