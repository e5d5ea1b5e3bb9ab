//! The options of neighbour discovery (RFC 4861 §4.6, RFC 6275 §7).

use super::octets::Octets;
use super::{Malformed, PrefixInformation};

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const ADVERTISEMENT_INTERVAL: u8 = 7;
const HOME_AGENT_INFORMATION: u8 = 8;

/// An option of a neighbour discovery message or of a Mobile Prefix Advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighbourOption {
    /// Type 1: the sender's Ethernet address.
    SourceLinkLayer([u8; 6]),
    /// Type 2: the target's Ethernet address.
    TargetLinkLayer([u8; 6]),
    /// Type 3: a prefix of the link.
    Prefix(PrefixInformation),
    /// Type 5: the link's MTU in octets.
    Mtu(u32),
    /// Type 7: the longest time between two advertisements, in milliseconds (RFC 6275 §7.3).
    AdvertisementInterval(u32),
    /// Type 8: the router as a home agent (RFC 6275 §7.4).
    HomeAgentInformation {
        /// Higher is preferred; 0 is the default.
        preference: u16,
        /// For how many seconds it serves as a home agent; never 0.
        lifetime: u16,
    },
    /// An option without a name here, or of another size than its type usually has.
    Other {
        /// Its type.
        kind: u8,
        /// What follows the length: 8n + 6 octets. On writing it is filled with zeros up to that, and cut at 2038 octets.
        data: Vec<u8>,
    },
}

impl NeighbourOption {
    /// All options of a message, from the octets behind its fixed part.
    pub(super) fn parse_all(octets: Octets<'_>) -> Result<Vec<Self>, Malformed> {
        let mut octets = octets;
        let mut options = Vec::new();
        while !octets.is_empty() {
            let [kind, length] = octets.array()?;
            // RFC 4861 §4.6: length zero would go round for ever; the whole message is discarded.
            let wrong = Malformed::OptionLength { kind, length };
            let size = usize::from(length).checked_mul(8).and_then(|size| size.checked_sub(2)).ok_or(wrong)?;
            let data = octets.take(size).map_err(|_| wrong)?;
            options.push(Self::parse_known(kind, data).unwrap_or_else(|| Self::Other { kind, data: data.to_vec() }));
        }
        Ok(options)
    }

    fn parse_known(kind: u8, data: &[u8]) -> Option<Self> {
        let mut octets = Octets::new(data);
        let option = match kind {
            SOURCE_LINK_LAYER => Self::SourceLinkLayer(octets.array().ok()?),
            TARGET_LINK_LAYER => Self::TargetLinkLayer(octets.array().ok()?),
            PREFIX_INFORMATION => Self::Prefix(PrefixInformation::parse(&mut octets)?),
            MTU => {
                octets.u16().ok()?;
                Self::Mtu(octets.u32().ok()?)
            }
            ADVERTISEMENT_INTERVAL => {
                octets.u16().ok()?;
                Self::AdvertisementInterval(octets.u32().ok()?)
            }
            HOME_AGENT_INFORMATION => {
                octets.u16().ok()?;
                Self::HomeAgentInformation { preference: octets.u16().ok()?, lifetime: octets.u16().ok()? }
            }
            _ => return None,
        };
        octets.is_empty().then_some(option)
    }

    /// Appends the options to a message.
    pub(super) fn write_all(options: &[Self], message: &mut Vec<u8>) {
        for option in options {
            option.write_one(message);
        }
    }

    fn write_one(&self, message: &mut Vec<u8>) {
        let (kind, mut data) = match self {
            Self::SourceLinkLayer(address) => (SOURCE_LINK_LAYER, address.to_vec()),
            Self::TargetLinkLayer(address) => (TARGET_LINK_LAYER, address.to_vec()),
            Self::Prefix(prefix) => (PREFIX_INFORMATION, prefix.write()),
            Self::Mtu(mtu) => (MTU, [&[0, 0][..], &mtu.to_be_bytes()].concat()),
            Self::AdvertisementInterval(interval) => {
                (ADVERTISEMENT_INTERVAL, [&[0, 0][..], &interval.to_be_bytes()].concat())
            }
            Self::HomeAgentInformation { preference, lifetime } => (
                HOME_AGENT_INFORMATION,
                [&[0, 0], preference.to_be_bytes().as_slice(), &lifetime.to_be_bytes()].concat(),
            ),
            Self::Other { kind, data } => (*kind, data.iter().take(2038).copied().collect()),
        };
        let size = (data.len() + 2).next_multiple_of(8);
        data.resize(size - 2, 0);
        message.push(kind);
        message.push(u8::try_from(size / 8).unwrap_or(u8::MAX));
        message.extend(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(octets: &[u8]) -> Result<Vec<NeighbourOption>, Malformed> {
        NeighbourOption::parse_all(Octets::new(octets))
    }

    #[test]
    fn an_option_of_length_zero_is_refused_at_once() {
        assert_eq!(parse(&[24, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::OptionLength { kind: 24, length: 0 }));
    }

    #[test]
    fn an_option_that_runs_past_its_message_is_refused() {
        assert_eq!(parse(&[1, 2, 0, 0, 0, 0, 0, 0]), Err(Malformed::OptionLength { kind: 1, length: 2 }));
        assert_eq!(parse(&[1]), Err(Malformed::Truncated));
    }

    #[test]
    fn the_options_of_a_home_agent_have_their_layout() {
        // RFC 6275 §7.3, §7.4.
        let octets = [7, 1, 0, 0, 0, 0, 0x05, 0xdc, 8, 1, 0, 0, 0, 9, 7, 8];
        let options = [
            NeighbourOption::AdvertisementInterval(1500),
            NeighbourOption::HomeAgentInformation { preference: 9, lifetime: 1800 },
        ];
        assert_eq!(parse(&octets).unwrap(), options);
        let mut written = Vec::new();
        NeighbourOption::write_all(&options, &mut written);
        assert_eq!(written, octets);
    }

    #[test]
    fn unknown_options_and_long_link_layer_addresses_survive() {
        let mut octets = vec![200, 1, 1, 2, 3, 4, 5, 6, 1, 2];
        octets.extend([7; 14]);
        let options = parse(&octets).unwrap();
        assert!(matches!(&options[1], NeighbourOption::Other { kind: 1, data } if data.len() == 14));
        let mut written = Vec::new();
        NeighbourOption::write_all(&options, &mut written);
        assert_eq!(written, octets);
    }
}
