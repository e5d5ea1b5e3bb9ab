//! Neighbour Solicitation and Neighbour Advertisement (RFC 4861 §4.3, §4.4).
//!
//! ```text
//! R S O (advertisement only) | 4
//! Target Address             | 16
//! Options
//! ```

use std::net::Ipv6Addr;

use super::octets::Octets;
use super::{Malformed, NeighbourOption};

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A Neighbour Solicitation: "who has this address?"
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourSolicitation {
    /// Which address.
    pub target: Ipv6Addr,
    /// Options.
    pub options: Vec<NeighbourOption>,
}

/// A Neighbour Advertisement: "I have this address."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourAdvertisement {
    /// Which address.
    pub target: Ipv6Addr,
    /// R: the sender is a router.
    pub router: bool,
    /// S: it answers a solicitation.
    pub solicited: bool,
    /// O: what caches hold is to be replaced.
    pub overrides: bool,
    /// Options.
    pub options: Vec<NeighbourOption>,
}

impl NeighbourSolicitation {
    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        octets.u32()?;
        Ok(Self { target: target(&mut octets)?, options: NeighbourOption::parse_all(octets)? })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        message.extend([0; 4]);
        message.extend(self.target.octets());
        NeighbourOption::write_all(&self.options, message);
    }
}

impl NeighbourAdvertisement {
    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        let [flags, _, _, _] = octets.array()?;
        Ok(Self {
            target: target(&mut octets)?,
            router: flags & ROUTER != 0,
            solicited: flags & SOLICITED != 0,
            overrides: flags & OVERRIDE != 0,
            options: NeighbourOption::parse_all(octets)?,
        })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        let flag = |set, bit| if set { bit } else { 0 };
        let flags = flag(self.router, ROUTER) | flag(self.solicited, SOLICITED) | flag(self.overrides, OVERRIDE);
        message.extend([flags, 0, 0, 0]);
        message.extend(self.target.octets());
        NeighbourOption::write_all(&self.options, message);
    }
}

/// RFC 4861 §7.1.1, §7.1.2: the target is no multicast address.
fn target(octets: &mut Octets<'_>) -> Result<Ipv6Addr, Malformed> {
    let target = octets.address()?;
    if target.is_multicast() { Err(Malformed::Address) } else { Ok(target) }
}

#[cfg(test)]
mod tests {
    use crate::wire::Icmp6Message;

    use super::*;

    #[test]
    fn an_advertisement_has_its_flags_in_the_first_octet() {
        #[rustfmt::skip]
        let octets = [
            136, 0, 0, 0, 0x20, 0, 0, 0,
            0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
            2, 1, 2, 0, 0, 0, 0, 1,
        ];
        let message = Icmp6Message::NeighbourAdvertisement(NeighbourAdvertisement {
            target: "2001:db8:1::100".parse().unwrap(),
            router: false,
            solicited: false,
            overrides: true,
            options: vec![NeighbourOption::TargetLinkLayer([2, 0, 0, 0, 0, 1])],
        });
        assert_eq!(message.write(), octets);
        assert_eq!(Icmp6Message::parse(&octets), Ok(message));
    }

    #[test]
    fn a_solicitation_is_twenty_four_octets() {
        let message = Icmp6Message::NeighbourSolicitation(NeighbourSolicitation {
            target: "2001:db8:1::100".parse().unwrap(),
            options: Vec::new(),
        });
        let octets = message.write();
        assert_eq!((octets.len(), octets[0]), (24, 135));
        assert_eq!(Icmp6Message::parse(&octets), Ok(message));
    }

    #[test]
    fn a_multicast_target_is_refused() {
        let mut octets = [0; 24];
        octets[0] = 135;
        octets[8] = 0xff;
        assert_eq!(Icmp6Message::parse(&octets), Err(Malformed::Address));
    }
}
