//! Router Advertisement (RFC 4861 §4.2, with the H bit of RFC 6275 §7.1).
//!
//! ```text
//! Cur Hop Limit | M O H ... | 2
//! Router Lifetime           | 2
//! Reachable Time            | 4
//! Retrans Timer             | 4
//! Options
//! ```

use std::fmt;

use super::octets::Octets;
use super::{Malformed, NeighbourOption, PrefixInformation};

/// A Router Advertisement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// The hop limit hosts are to use; 0: not told.
    pub hop_limit: u8,
    /// What the router is and offers.
    pub flags: RouterFlags,
    /// For how many seconds it is a default router; 0: it is none.
    pub router_lifetime: u16,
    /// Reachable time in milliseconds; 0: not told.
    pub reachable_time: u32,
    /// Time between neighbour solicitations in milliseconds; 0: not told.
    pub retrans_timer: u32,
    /// Options.
    pub options: Vec<NeighbourOption>,
}

impl RouterAdvertisement {
    /// The prefixes it tells of.
    pub fn prefixes(&self) -> impl Iterator<Item = &PrefixInformation> {
        self.options.iter().filter_map(|option| match option {
            NeighbourOption::Prefix(prefix) => Some(prefix),
            _ => None,
        })
    }

    /// The router's link-layer address, if it is told.
    pub fn link_layer(&self) -> Option<[u8; 6]> {
        self.options.iter().find_map(|option| match option {
            NeighbourOption::SourceLinkLayer(address) => Some(*address),
            _ => None,
        })
    }

    /// The longest time between two advertisements in milliseconds, if it is told (RFC 6275 §7.3).
    pub fn interval(&self) -> Option<u32> {
        self.options.iter().find_map(|option| match option {
            NeighbourOption::AdvertisementInterval(interval) => Some(*interval),
            _ => None,
        })
    }

    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        let [hop_limit, flags] = octets.array()?;
        Ok(Self {
            hop_limit,
            flags: RouterFlags(flags),
            router_lifetime: octets.u16()?,
            reachable_time: octets.u32()?,
            retrans_timer: octets.u32()?,
            options: NeighbourOption::parse_all(octets)?,
        })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        message.extend([self.hop_limit, self.flags.0]);
        message.extend(self.router_lifetime.to_be_bytes());
        message.extend(self.reachable_time.to_be_bytes());
        message.extend(self.retrans_timer.to_be_bytes());
        NeighbourOption::write_all(&self.options, message);
    }
}

/// The flags of a Router Advertisement, unknown ones included.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterFlags(pub u8);

impl RouterFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// M: addresses come by DHCPv6.
    pub const MANAGED: Self = Self(0x80);
    /// O: other configuration comes by DHCPv6.
    pub const OTHER: Self = Self(0x40);
    /// H: the router is a home agent (RFC 6275 §7.1).
    pub const HOME_AGENT: Self = Self(0x20);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those of `other`.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for RouterFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouterFlags({:#04x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::Icmp6Message;

    use super::*;

    #[test]
    fn the_layout_is_that_of_the_rfc() {
        #[rustfmt::skip]
        let octets = [
            134, 0, 0, 0, 64, 0x20, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2,
            1, 1, 2, 0, 0, 0, 0, 1,
            5, 1, 0, 0, 0, 0, 5, 220,
            7, 1, 0, 0, 0, 0, 0, 100,
        ];
        let advertisement = RouterAdvertisement {
            hop_limit: 64,
            flags: RouterFlags::HOME_AGENT,
            router_lifetime: 1800,
            reachable_time: 1,
            retrans_timer: 2,
            options: vec![
                NeighbourOption::SourceLinkLayer([2, 0, 0, 0, 0, 1]),
                NeighbourOption::Mtu(1500),
                NeighbourOption::AdvertisementInterval(100),
            ],
        };
        assert_eq!(advertisement.link_layer(), Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(advertisement.interval(), Some(100));
        let message = Icmp6Message::RouterAdvertisement(advertisement);
        assert_eq!(message.write(), octets);
        assert_eq!(Icmp6Message::parse(&octets), Ok(message));
    }

    #[test]
    fn a_short_advertisement_is_refused() {
        assert_eq!(Icmp6Message::parse(&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 1]), Err(Malformed::Truncated));
    }
}
