//! Key exchange methods (RFC 7296 §3.4).

use std::fmt;

use super::{CryptoError, Randomness, Secret};
use crate::wire::Group;

/// A way to agree on a secret.
pub trait KeyExchangeMethod: Send + Sync + fmt::Debug {
    /// Its transform id.
    fn id(&self) -> Group;

    /// A fresh key pair.
    ///
    /// # Errors
    /// [`CryptoError::Randomness`] if the source gives no usable secret.
    fn generate(&self, randomness: &mut dyn Randomness) -> Result<Box<dyn KeyPair>, CryptoError>;
}

/// One side's key pair; it stays usable, because a forged response must not burn the initiator's (RFC 7296 §2.4).
pub trait KeyPair: Send + fmt::Debug {
    /// Of which method.
    fn group(&self) -> Group;

    /// The public value as it stands in the KE payload.
    fn public_value(&self) -> &[u8];

    /// The shared secret g^ir with the peer's public value.
    ///
    /// # Errors
    /// [`CryptoError::PublicValue`] if that is not valid.
    fn agree(&self, peer: &[u8]) -> Result<Secret, CryptoError>;
}
