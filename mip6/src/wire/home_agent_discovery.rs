//! Home Agent Address Discovery Request and Reply (RFC 6275 §6.5, §6.6).
//!
//! ```text
//! Identifier | 2     Identifier           | 2
//! Reserved   | 2     Reserved             | 2
//!                    Home Agent Addresses | 16 each
//! ```

use super::Malformed;
use super::octets::Octets;
use crate::address::HomeAgentAddress;

/// Asks, by the anycast address of the home prefix, for home agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoveryRequest {
    /// Ties the reply to the request.
    pub identifier: u16,
}

/// The home agents of a home link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryReply {
    /// As in the request.
    pub identifier: u16,
    /// The most preferred first.
    pub addresses: Vec<HomeAgentAddress>,
}

impl DiscoveryRequest {
    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        let identifier = octets.u16()?;
        octets.u16()?;
        Ok(Self { identifier })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        message.extend(self.identifier.to_be_bytes());
        message.extend([0; 2]);
    }
}

impl DiscoveryReply {
    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        let identifier = octets.u16()?;
        octets.u16()?;
        let mut addresses = Vec::new();
        while !octets.is_empty() {
            addresses.push(HomeAgentAddress(octets.address()?));
        }
        Ok(Self { identifier, addresses })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        message.extend(self.identifier.to_be_bytes());
        message.extend([0; 2]);
        for address in &self.addresses {
            message.extend(address.0.octets());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::Icmp6Message;

    use super::*;

    #[test]
    fn request_and_reply_have_their_layout() {
        let request = Icmp6Message::DiscoveryRequest(DiscoveryRequest { identifier: 0x0102 });
        assert_eq!(request.write(), [144, 0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(Icmp6Message::parse(&request.write()), Ok(request));
        let address = HomeAgentAddress("2001:db8:1::1".parse().unwrap());
        let reply = Icmp6Message::DiscoveryReply(DiscoveryReply { identifier: 0x0102, addresses: vec![address; 2] });
        let octets = reply.write();
        assert_eq!((octets.len(), &octets[..8]), (40, &[145, 0, 0, 0, 1, 2, 0, 0][..]));
        assert_eq!(Icmp6Message::parse(&octets), Ok(reply));
    }

    #[test]
    fn half_an_address_is_refused() {
        assert_eq!(Icmp6Message::parse(&[145, 0, 0, 0, 1, 2, 0, 0, 0x20, 1]), Err(Malformed::Truncated));
    }
}
