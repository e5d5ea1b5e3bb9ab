//! The keys of a CHILD_SA (RFC 7296 §2.17).

use super::keys::split;
use super::{CryptoError, Prf, Secret, SkD};
use crate::action::EspSuite;

/// The keys of one ESP SA, as the kernel wants them.
#[derive(Debug)]
pub struct EspKeys {
    /// For AES-GCM the key, then four octets of salt (RFC 4106 §8.1).
    pub encryption: Secret,
    /// Empty for AEAD.
    pub integrity: Secret,
}

/// The keys of both directions. The roles are those of the exchange that makes the child.
#[derive(Debug)]
pub struct ChildKeys {
    /// What the initiator sends.
    pub initiator: EspKeys,
    /// What the responder sends.
    pub responder: EspKeys,
}

/// Octets of encryption key (with the salt) and of integrity key.
pub fn esp_key_lengths(suite: EspSuite) -> (usize, usize) {
    match suite {
        EspSuite::AesGcm16_256 => (36, 0),
        EspSuite::AesGcm16_128 => (20, 0),
        EspSuite::AesCbc256HmacSha256 => (32, 32),
    }
}

/// The keys of a child. `shared` is g^ir of its own key exchange if there was one; `nonces` are Ni and Nr of the
/// exchange that makes it.
///
/// # Errors
/// [`CryptoError::TooMuchKeyMaterial`], which no suite reaches.
pub fn child_keys(
    prf: &dyn Prf,
    sk_d: &SkD,
    suite: EspSuite,
    shared: Option<&Secret>,
    nonces: (&[u8], &[u8]),
) -> Result<ChildKeys, CryptoError> {
    let (encryption, integrity) = esp_key_lengths(suite);
    // RFC 7296 §2.17: the initiator's direction first; in each, encryption before integrity.
    let lengths = [encryption, integrity, encryption, integrity];
    // RFC 7296 §2.17: KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr).
    let seed: &[&[u8]] = &[shared.map_or(&[], Secret::as_bytes), nonces.0, nonces.1];
    let keymat = prf.prf_plus(sk_d.0.as_bytes(), seed, lengths.iter().sum())?;
    let [initiator_e, initiator_a, responder_e, responder_a] = split(&keymat, lengths)?;
    Ok(ChildKeys {
        initiator: EspKeys { encryption: initiator_e, integrity: initiator_a },
        responder: EspKeys { encryption: responder_e, integrity: responder_a },
    })
}
