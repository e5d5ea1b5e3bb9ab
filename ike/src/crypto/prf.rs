//! Pseudorandom functions (RFC 7296 §2.13, RFC 4868).

use std::fmt;

use ring::hmac;
use zeroize::Zeroizing;

use super::{CryptoError, Secret};
use crate::wire::PrfId;

/// A pseudorandom function. Its key may have any length, its output is also its preferred key length.
pub trait Prf: Send + Sync + fmt::Debug {
    /// Its transform id.
    fn id(&self) -> PrfId;

    /// Octets of output, and of the keys made for it (SK_d, SK_pi, SK_pr).
    fn output_len(&self) -> usize;

    /// prf(key, parts joined).
    fn prf(&self, key: &[u8], parts: &[&[u8]]) -> Secret;

    /// prf+(key, seed joined): `length` octets.
    ///
    /// # Errors
    /// [`CryptoError::TooMuchKeyMaterial`] for more than 255 times the output length.
    fn prf_plus(&self, key: &[u8], seed: &[&[u8]], length: usize) -> Result<Secret, CryptoError> {
        let mut material = Zeroizing::new(Vec::with_capacity(length.saturating_add(self.output_len())));
        let mut block = Secret::new(Vec::new());
        let mut counter = 0_u8;
        while material.len() < length {
            // RFC 7296 §2.13: T1 = prf(K, S | 1), Tn = prf(K, Tn-1 | S | n), n is one octet.
            counter = counter.checked_add(1).ok_or(CryptoError::TooMuchKeyMaterial)?;
            let number = [counter];
            let mut parts = vec![block.as_bytes()];
            parts.extend_from_slice(seed);
            parts.push(&number);
            block = self.prf(key, &parts);
            material.extend_from_slice(block.as_bytes());
        }
        material.truncate(length);
        Ok(Secret::from_slice(&material))
    }
}

/// HMAC with a hash of the SHA-2 family.
#[derive(Debug)]
pub(crate) struct Hmac {
    id: PrfId,
    output_len: usize,
    algorithm: &'static hmac::Algorithm,
}

pub(crate) static HMAC_SHA256: Hmac = Hmac { id: PrfId::HmacSha256, output_len: 32, algorithm: &hmac::HMAC_SHA256 };
pub(crate) static HMAC_SHA384: Hmac = Hmac { id: PrfId::HmacSha384, output_len: 48, algorithm: &hmac::HMAC_SHA384 };
pub(crate) static HMAC_SHA512: Hmac = Hmac { id: PrfId::HmacSha512, output_len: 64, algorithm: &hmac::HMAC_SHA512 };

impl Prf for Hmac {
    fn id(&self) -> PrfId {
        self.id
    }

    fn output_len(&self) -> usize {
        self.output_len
    }

    fn prf(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let mut context = hmac::Context::with_key(&hmac::Key::new(*self.algorithm, key));
        for part in parts {
            context.update(part);
        }
        Secret::from_slice(context.sign().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    /// RFC 4231 §4.2 (key of 20 octets 0x0b, "Hi There").
    #[test]
    fn hmac_gives_the_values_of_rfc_4231_case_1() {
        let key = [0x0b; 20];
        let parts: &[&[u8]] = &[b"Hi ", b"There"];
        assert_eq!(
            HMAC_SHA256.prf(&key, parts).as_bytes(),
            hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        );
        assert_eq!(
            HMAC_SHA384.prf(&key, parts).as_bytes(),
            hex("afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6")
        );
        assert_eq!(
            HMAC_SHA512.prf(&key, parts).as_bytes(),
            hex(
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
            )
        );
    }

    /// RFC 4231 §4.3 (key "Jefe").
    #[test]
    fn hmac_takes_a_key_shorter_than_its_output() {
        assert_eq!(
            HMAC_SHA256.prf(b"Jefe", &[b"what do ya want ", b"for nothing?"]).as_bytes(),
            hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
    }

    /// RFC 4231 §4.7 (a key of 131 octets).
    #[test]
    fn hmac_takes_a_key_longer_than_its_block() {
        assert_eq!(
            HMAC_SHA256.prf(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]).as_bytes(),
            hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        );
    }

    /// RFC 5869 §A.1: HKDF-Expand is T(n) = HMAC(PRK, T(n-1) | info | n), which is just prf+ with the seed as `info`.
    #[test]
    fn prf_plus_gives_the_values_of_rfc_5869() {
        let prk = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let info = hex("f0f1f2f3f4f5f6f7f8f9");
        let okm = hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
        assert_eq!(HMAC_SHA256.prf_plus(&prk, &[&info], 42).unwrap().as_bytes(), okm);
        assert_eq!(HMAC_SHA256.prf_plus(&prk, &[&info[..3], &info[3..]], 42).unwrap().as_bytes(), okm);
    }

    #[test]
    fn prf_plus_ends_after_255_blocks() {
        assert_eq!(HMAC_SHA256.prf_plus(b"key", &[b"seed"], 255 * 32).unwrap().len(), 255 * 32);
        assert_eq!(HMAC_SHA256.prf_plus(b"key", &[b"seed"], 255 * 32 + 1), Err(CryptoError::TooMuchKeyMaterial));
    }
}
