//! The Prefix Information option (RFC 4861 §4.6.2, with the R bit of RFC 6275 §7.2).
//!
//! ```text
//! Type 3 | Length 4 | Prefix Length | L A R  | 4
//! Valid Lifetime                            | 4
//! Preferred Lifetime                        | 4
//! Reserved                                  | 4
//! Prefix                                    | 16
//! ```

use std::net::Ipv6Addr;

use super::octets::Octets;
use crate::address::Prefix;

const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
const ROUTER_ADDRESS: u8 = 0x20;

/// A prefix of the link, possibly with the router's own address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixInformation {
    /// The prefix, or the router's whole address in it if `router_address` is set.
    pub address: Ipv6Addr,
    /// How many bits of it are the prefix, at most 128.
    pub length: u8,
    /// L: addresses of the prefix are on the link.
    pub on_link: bool,
    /// A: addresses may be formed from the prefix.
    pub autonomous: bool,
    /// R: `address` is a global address of the router.
    pub router_address: bool,
    /// For how many seconds the prefix is valid; all ones: for ever.
    pub valid: u32,
    /// For how many seconds addresses from it are preferred; all ones: for ever.
    pub preferred: u32,
}

impl PrefixInformation {
    /// The prefix alone.
    pub fn prefix(&self) -> Prefix {
        Prefix::new(self.address, self.length)
    }

    /// The router's global address, if it is told.
    pub fn router(&self) -> Option<Ipv6Addr> {
        self.router_address.then_some(self.address)
    }

    /// From what follows the option's length; `None` if it is cut short or longer than an address.
    pub(super) fn parse(octets: &mut Octets<'_>) -> Option<Self> {
        let [length, flags] = octets.array().ok()?;
        let (valid, preferred) = (octets.u32().ok()?, octets.u32().ok()?);
        octets.u32().ok()?;
        let address = octets.address().ok()?;
        (length <= 128).then_some(Self {
            address,
            length,
            on_link: flags & ON_LINK != 0,
            autonomous: flags & AUTONOMOUS != 0,
            router_address: flags & ROUTER_ADDRESS != 0,
            valid,
            preferred,
        })
    }

    /// What follows the option's length: 30 octets.
    pub(super) fn write(&self) -> Vec<u8> {
        let flag = |set, bit| if set { bit } else { 0 };
        let flags =
            flag(self.on_link, ON_LINK) | flag(self.autonomous, AUTONOMOUS) | flag(self.router_address, ROUTER_ADDRESS);
        let mut data = vec![self.length, flags];
        data.extend(self.valid.to_be_bytes());
        data.extend(self.preferred.to_be_bytes());
        data.extend([0; 4]);
        data.extend(self.address.octets());
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_rfc() {
        let prefix = PrefixInformation {
            address: "2001:db8:1::1".parse().unwrap(),
            length: 64,
            on_link: true,
            autonomous: true,
            router_address: true,
            valid: 0x0001_5180,
            preferred: 0x3840,
        };
        let data = prefix.write();
        #[rustfmt::skip]
        assert_eq!(data, [
            64, 0xe0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0,
            0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        ]);
        assert_eq!(PrefixInformation::parse(&mut Octets::new(&data)), Some(prefix));
        assert_eq!(prefix.prefix().to_string(), "2001:db8:1::/64");
        assert_eq!(prefix.router(), Some(prefix.address));
    }

    #[test]
    fn a_prefix_longer_than_an_address_is_not_read() {
        let mut data = [0; 30];
        data[0] = 129;
        assert_eq!(PrefixInformation::parse(&mut Octets::new(&data)), None);
    }
}
