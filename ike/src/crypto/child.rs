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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::gcm::AES_GCM_16_256;
    use crate::crypto::prf::HMAC_SHA256;
    use crate::crypto::test_support::{hex, ike_keys, rising};

    // The expected values were calculated from the formulas of RFC 7296 §2.17 with Python's `hmac`.

    #[test]
    fn the_initiators_keys_come_first_and_encryption_before_integrity() {
        let sk_d = ike_keys(&AES_GCM_16_256).sk_d;
        let nonces: (&[u8], &[u8]) = (&rising(0x10), &rising(0x50));
        let keys = child_keys(&HMAC_SHA256, &sk_d, EspSuite::AesCbc256HmacSha256, None, nonces).unwrap();
        assert_eq!(
            keys.initiator.encryption.as_bytes(),
            hex("40ad6c26387d3dee01cb091e52ce427215b0d32983d9ba4b6c77317737c0638f")
        );
        assert_eq!(
            keys.initiator.integrity.as_bytes(),
            hex("f982167ee12cdb34dbfff1a42e45684ca9bb6f01db34650852b23205165bb7f8")
        );
        assert_eq!(
            keys.responder.encryption.as_bytes(),
            hex("c112167bdadf19634dfc0e82db7b7109443131feac87542d2ec123a3c90c1387")
        );
        assert_eq!(
            keys.responder.integrity.as_bytes(),
            hex("28c72e9371896bd55f7f7727d37de6c640f6a6c11bc115523e27786237f88038")
        );
    }

    #[test]
    fn a_key_exchange_of_its_own_goes_in_front_of_the_nonces() {
        let sk_d = ike_keys(&AES_GCM_16_256).sk_d;
        let nonces: (&[u8], &[u8]) = (&rising(0x10), &rising(0x50));
        let shared = Secret::from_slice(&rising(0xc0));
        let keys = child_keys(&HMAC_SHA256, &sk_d, EspSuite::AesGcm16_256, Some(&shared), nonces).unwrap();
        assert_eq!(
            keys.initiator.encryption.as_bytes(),
            hex("c6798591e1eed7c2b421ef72e08cf0a86ab77513284f9813c37b8de556344de260368822")
        );
        assert_eq!(
            keys.responder.encryption.as_bytes(),
            hex("699255486489ed108381b476907e92eb3ce00837a0f290c0d60cde2965c2a30ee49b28f8")
        );
        assert!(keys.initiator.integrity.is_empty());
        assert!(keys.responder.integrity.is_empty());
    }

    #[test]
    fn a_key_for_aes_gcm_ends_with_its_salt() {
        assert_eq!(esp_key_lengths(EspSuite::AesGcm16_256), (32 + 4, 0));
        assert_eq!(esp_key_lengths(EspSuite::AesGcm16_128), (16 + 4, 0));
    }
}
