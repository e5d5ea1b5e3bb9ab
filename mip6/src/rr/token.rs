//! Cookies, nonce indices and keygen tokens (RFC 6275 §5.2.2 to §5.2.5).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a mobile node puts into a Home Test Init, to know the answer by; new for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeInitCookie(pub [u8; 8]);

/// What a mobile node puts into a Care-of Test Init, to know the answer by; new for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CareOfInitCookie(pub [u8; 8]);

/// Which of a correspondent's nonces (and keys) a token was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NonceIndex(pub u16);

macro_rules! token {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Zeroizing<[u8; 8]>);

        impl $name {
            /// From its octets.
            pub fn new(octets: [u8; 8]) -> Self {
                Self(Zeroizing::new(octets))
            }

            /// Its octets.
            pub fn octets(&self) -> &[u8; 8] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(other.0.as_slice()).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

token!(
    /// Shows that its holder can be reached at the home address.
    HomeKeygenToken
);
token!(
    /// Shows that its holder can be reached at the care-of address.
    CareOfKeygenToken
);
