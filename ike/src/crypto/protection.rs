//! How the contents of an SK payload are protected (RFC 7296 §3.14, RFC 5282).

use std::fmt;

use super::{CryptoError, DirectionKeys, Randomness};
use crate::wire::{EncryptionId, IntegrityId};

/// An encryption algorithm with a key length, and the integrity algorithm if it needs one.
pub trait Protection: Send + Sync + fmt::Debug {
    /// The encryption algorithm.
    fn encryption(&self) -> EncryptionId;

    /// The length of its key in bits, without a salt.
    fn key_bits(&self) -> u16;

    /// The integrity algorithm; [`IntegrityId::None`] for AEAD.
    fn integrity(&self) -> IntegrityId;

    /// Octets of SK_ei and SK_er, with the salt for AEAD.
    fn encryption_key_len(&self) -> usize;

    /// Octets of SK_ai and SK_ar; zero for AEAD.
    fn integrity_key_len(&self) -> usize;

    /// Octets of the IV in front of the encrypted octets.
    fn iv_len(&self) -> usize;

    /// Octets of the integrity check value at the end.
    fn icv_len(&self) -> usize;

    /// What the plaintext has to be a multiple of.
    fn block_len(&self) -> usize;

    /// The names by which tshark's table of IKEv2 decryption keys knows the two algorithms.
    fn tshark_names(&self) -> (&'static str, &'static str);

    /// An IV for the message number `counter` under one key; a number is never used twice.
    fn iv(&self, counter: u64, randomness: &mut dyn Randomness) -> Vec<u8>;

    /// Encrypts `text` in place and appends the check value, which also covers `head` and `iv`.
    ///
    /// # Errors
    /// [`CryptoError::KeyLength`] if a key, the IV or the padding has the wrong length.
    fn seal(&self, keys: &DirectionKeys, head: &[u8], iv: &[u8], text: &mut Vec<u8>) -> Result<(), CryptoError>;

    /// Checks and removes the check value, then decrypts `text` in place.
    ///
    /// # Errors
    /// [`CryptoError::Integrity`] if the check value is wrong or the lengths cannot be right.
    fn open(&self, keys: &DirectionKeys, head: &[u8], iv: &[u8], text: &mut Vec<u8>) -> Result<(), CryptoError>;
}
