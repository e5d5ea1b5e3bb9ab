//! Mobile Prefix Solicitation and Advertisement (RFC 6275 §6.7, §6.8).
//!
//! ```text
//! Identifier | 2     Identifier | 2
//! Reserved   | 2     M O        | 2
//! Options            Options
//! ```

use super::octets::Octets;
use super::{Malformed, NeighbourOption, PrefixInformation};

const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;

/// Asks the home agent for the home prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MobilePrefixSolicitation {
    /// Ties the advertisement to the solicitation.
    pub identifier: u16,
    /// Options; none is defined.
    pub options: Vec<NeighbourOption>,
}

/// The home prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MobilePrefixAdvertisement {
    /// As in the solicitation; free if there was none.
    pub identifier: u16,
    /// M: addresses come by DHCPv6.
    pub managed: bool,
    /// O: other configuration comes by DHCPv6.
    pub other: bool,
    /// Prefix Information options.
    pub options: Vec<NeighbourOption>,
}

impl MobilePrefixSolicitation {
    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        let identifier = octets.u16()?;
        octets.u16()?;
        // RFC 6275 §6.7: options that are not known are ignored.
        Ok(Self { identifier, options: NeighbourOption::parse_all(octets)? })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        message.extend(self.identifier.to_be_bytes());
        message.extend([0; 2]);
        NeighbourOption::write_all(&self.options, message);
    }
}

impl MobilePrefixAdvertisement {
    /// The prefixes it tells of.
    pub fn prefixes(&self) -> impl Iterator<Item = &PrefixInformation> {
        self.options.iter().filter_map(|option| match option {
            NeighbourOption::Prefix(prefix) => Some(prefix),
            _ => None,
        })
    }

    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        let identifier = octets.u16()?;
        let [flags, _reserved] = octets.array()?;
        Ok(Self {
            identifier,
            managed: flags & MANAGED != 0,
            other: flags & OTHER != 0,
            options: NeighbourOption::parse_all(octets)?,
        })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        let flag = |set, bit| if set { bit } else { 0 };
        message.extend(self.identifier.to_be_bytes());
        message.extend([flag(self.managed, MANAGED) | flag(self.other, OTHER), 0]);
        NeighbourOption::write_all(&self.options, message);
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::Icmp6Message;

    use super::*;

    #[test]
    fn a_solicitation_is_eight_octets() {
        let message = Icmp6Message::MobilePrefixSolicitation(MobilePrefixSolicitation {
            identifier: 0x0a0b,
            options: Vec::new(),
        });
        assert_eq!(message.write(), [146, 0, 0, 0, 0x0a, 0x0b, 0, 0]);
        assert_eq!(Icmp6Message::parse(&message.write()), Ok(message));
    }

    #[test]
    fn an_advertisement_holds_its_prefixes() {
        let prefix = PrefixInformation {
            address: "2001:db8:1::".parse().unwrap(),
            length: 64,
            on_link: true,
            autonomous: true,
            router_address: false,
            valid: 100,
            preferred: 50,
        };
        let advertisement = MobilePrefixAdvertisement {
            identifier: 0x0a0b,
            managed: true,
            other: false,
            options: vec![NeighbourOption::Prefix(prefix)],
        };
        assert_eq!(advertisement.prefixes().collect::<Vec<_>>(), [&prefix]);
        let message = Icmp6Message::MobilePrefixAdvertisement(advertisement);
        let octets = message.write();
        assert_eq!(octets[..10], [147, 0, 0, 0, 0x0a, 0x0b, 0x80, 0, 3, 4]);
        assert_eq!(Icmp6Message::parse(&octets), Ok(message));
    }
}
