//! What IKEv2 calculates (RFC 7296 §2.13 to §2.18), over a table of algorithms.
//!
//! Nothing here fetches randomness: it is handed in as [`Randomness`].

mod auth;
mod cbc;
mod channel;
mod child;
mod cookie;
mod ecp;
mod gcm;
mod group;
mod keys;
mod nat;
mod prf;
mod protection;
mod provider;
mod secret;
mod x25519;

#[cfg(test)]
pub(crate) mod test_support;

pub use auth::{psk_auth, signed_octets, verify_psk_auth};
pub use channel::{Channel, OpenError, Opener, SealError, Sealer};
pub use child::{ChildKeys, EspKeys, child_keys, esp_key_lengths};
pub use cookie::{COOKIE_LEN, cookie, verify_cookie};
pub use group::{KeyExchangeMethod, KeyPair};
pub use keys::{DirectionKeys, IkeKeys, SkD, SkP};
pub use nat::nat_detection;
pub use prf::Prf;
pub use protection::Protection;
pub use provider::{Provider, RING};
pub use secret::Secret;

/// A source of unpredictable octets. The engine is handed one; tests hand it a seeded one.
pub trait Randomness {
    /// Fills `octets`.
    fn fill(&mut self, octets: &mut [u8]);
}

/// Why a calculation was refused. The text never tells a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The peer's public value has a wrong length, is no point of the curve or leads to an all-zero secret.
    #[error("the peer's public key exchange value is not valid")]
    PublicValue,
    /// A key has a length that the algorithm does not take.
    #[error("a key has the wrong length")]
    KeyLength,
    /// prf+ gives at most 255 blocks (RFC 7296 §2.13).
    #[error("more key material than prf+ can give")]
    TooMuchKeyMaterial,
    /// The source of randomness gave no usable secret.
    #[error("no usable random octets")]
    Randomness,
    /// The integrity check failed.
    #[error("the integrity check failed")]
    Integrity,
    /// As many messages as one key may protect.
    #[error("the key is used up")]
    UsedUp,
}
