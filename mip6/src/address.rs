//! Addresses with roles: swapping them does not compile.

use std::fmt;
use std::net::Ipv6Addr;

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Ipv6Addr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

role!(
    /// Where a mobile node can always be reached (RFC 6275 §3.2).
    HomeAddress
);
role!(
    /// Where a mobile node is just now (RFC 6275 §3.2).
    CareOfAddress
);
role!(
    /// A home agent's global address on the home link.
    HomeAgentAddress
);

/// An IPv6 prefix: address bits beyond the length are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: Ipv6Addr,
    len: u8,
}

impl Prefix {
    /// The prefix of `len` bits (at most 128) that holds `address`.
    pub fn new(address: Ipv6Addr, len: u8) -> Self {
        let len = len.min(128);
        Self { address: Ipv6Addr::from_bits(address.to_bits() & Self::mask(len)), len }
    }

    fn mask(len: u8) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
    }

    /// The first address.
    pub fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// The length in bits.
    pub fn length(&self) -> u8 {
        self.len
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        address.to_bits() & Self::mask(self.len) == self.address.to_bits()
    }

    /// The address in this prefix with the low bits of `interface_identifier`.
    pub fn with_identifier(&self, interface_identifier: u128) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits() | (interface_identifier & !Self::mask(self.len)))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
