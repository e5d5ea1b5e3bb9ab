//! The keys of an IKE SA (RFC 7296 §2.14, §2.18).

use super::{CryptoError, Prf, Protection, Secret};

/// What the keys of children and of the next IKE SA are made from.
#[derive(Debug)]
pub struct SkD(pub(crate) Secret);

/// What AUTH covers an identity with: SK_pi or SK_pr.
#[derive(Debug)]
pub struct SkP(pub(crate) Secret);

/// What protects the messages of one direction.
#[derive(Debug)]
pub struct DirectionKeys {
    /// SK_ei or SK_er; for AEAD the key, then the salt.
    pub encryption: Secret,
    /// SK_ai or SK_ar; empty for AEAD.
    pub integrity: Secret,
}

/// All keys of one IKE SA.
#[derive(Debug)]
pub struct IkeKeys {
    /// SK_d.
    pub sk_d: SkD,
    /// SK_ei and SK_ai: messages of the original initiator.
    pub initiator: DirectionKeys,
    /// SK_er and SK_ar: messages of the original responder.
    pub responder: DirectionKeys,
    /// SK_pi.
    pub sk_pi: SkP,
    /// SK_pr.
    pub sk_pr: SkP,
}

impl IkeKeys {
    /// The keys of an IKE SA made by IKE_SA_INIT. `shared` is g^ir, `nonces` are Ni and Nr, `spis` SPIi and SPIr.
    ///
    /// # Errors
    /// [`CryptoError::TooMuchKeyMaterial`], which the algorithms of [`super::RING`] never reach.
    pub fn initial(
        prf: &dyn Prf,
        protection: &dyn Protection,
        shared: &Secret,
        nonces: (&[u8], &[u8]),
        spis: (u64, u64),
    ) -> Result<Self, CryptoError> {
        // RFC 7296 §2.14: SKEYSEED = prf(Ni | Nr, g^ir).
        let key = [nonces.0, nonces.1].concat();
        let skeyseed = prf.prf(&key, &[shared.as_bytes()]);
        Self::expand(prf, protection, &skeyseed, nonces, spis)
    }

    /// The keys of an IKE SA that takes over from another. `old_prf` and `old` are of the old one, `prf` and all
    /// others of the new one.
    ///
    /// # Errors
    /// As [`IkeKeys::initial`].
    pub fn rekeyed(
        (old_prf, old): (&dyn Prf, &SkD),
        prf: &dyn Prf,
        protection: &dyn Protection,
        shared: &Secret,
        nonces: (&[u8], &[u8]),
        spis: (u64, u64),
    ) -> Result<Self, CryptoError> {
        // RFC 7296 §2.18: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), with the old prf.
        let skeyseed = old_prf.prf(old.0.as_bytes(), &[shared.as_bytes(), nonces.0, nonces.1]);
        Self::expand(prf, protection, &skeyseed, nonces, spis)
    }

    fn expand(
        prf: &dyn Prf,
        protection: &dyn Protection,
        skeyseed: &Secret,
        nonces: (&[u8], &[u8]),
        spis: (u64, u64),
    ) -> Result<Self, CryptoError> {
        let prf_len = prf.output_len();
        let integrity = protection.integrity_key_len();
        let encryption = protection.encryption_key_len();
        // RFC 7296 §2.14: {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr).
        let lengths = [prf_len, integrity, integrity, encryption, encryption, prf_len, prf_len];
        let seed: &[&[u8]] = &[nonces.0, nonces.1, &spis.0.to_be_bytes(), &spis.1.to_be_bytes()];
        let material = prf.prf_plus(skeyseed.as_bytes(), seed, lengths.iter().sum())?;
        let [sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr] = split(&material, lengths)?;
        Ok(Self {
            sk_d: SkD(sk_d),
            initiator: DirectionKeys { encryption: sk_ei, integrity: sk_ai },
            responder: DirectionKeys { encryption: sk_er, integrity: sk_ar },
            sk_pi: SkP(sk_pi),
            sk_pr: SkP(sk_pr),
        })
    }
}

/// Cuts key material into keys of these lengths.
pub(crate) fn split<const N: usize>(material: &Secret, lengths: [usize; N]) -> Result<[Secret; N], CryptoError> {
    let mut rest = material.as_bytes();
    let mut keys = Vec::with_capacity(N);
    for length in lengths {
        let (key, following) = rest.split_at_checked(length).ok_or(CryptoError::KeyLength)?;
        keys.push(Secret::from_slice(key));
        rest = following;
    }
    keys.try_into().map_err(|_| CryptoError::KeyLength)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cbc::AesCbc256HmacSha256;
    use crate::crypto::gcm::{AES_GCM_16_128, AES_GCM_16_256};
    use crate::crypto::prf::{HMAC_SHA256, HMAC_SHA384};
    use crate::crypto::test_support::{SPIS, hex, ike_keys, rising};

    // The expected values were calculated from the formulas of RFC 7296 §2.13, §2.14 and §2.18 with Python's `hmac`.

    #[test]
    fn an_aead_takes_no_integrity_keys_out_of_the_schedule() {
        let keys = ike_keys(&AES_GCM_16_256);
        assert_eq!(keys.sk_d.0.as_bytes(), hex("37cbc2c40a1b374be69763d5b94a836c675cd5962e004228946d51c86ea7eb11"));
        assert_eq!(keys.initiator.integrity.as_bytes(), hex(""));
        assert_eq!(keys.responder.integrity.as_bytes(), hex(""));
        assert_eq!(
            keys.initiator.encryption.as_bytes(),
            hex("8701813ad3e2978bcf2e8c8c9565197bf7baf08a5b2c0095415c756db2761864c8b9c973")
        );
        assert_eq!(
            keys.responder.encryption.as_bytes(),
            hex("fbbe3eed25b1ac8eb2ff3714f32ceeab4a03ec7aaa0c4fd6c6fd33a03a9c013dbf523408")
        );
        assert_eq!(keys.sk_pi.0.as_bytes(), hex("39e34aa32363a23ac922c5e05506da7bbf42c30290deb8a94793ab8317b3f247"));
        assert_eq!(keys.sk_pr.0.as_bytes(), hex("024ed1f9dfd39ad52535b52aaafc5bae398b1e7b7bb02c4a6403b786d7abf94c"));
    }

    #[test]
    fn integrity_keys_come_before_encryption_keys() {
        let keys = ike_keys(&AesCbc256HmacSha256);
        assert_eq!(keys.sk_d.0.as_bytes(), hex("37cbc2c40a1b374be69763d5b94a836c675cd5962e004228946d51c86ea7eb11"));
        assert_eq!(
            keys.initiator.integrity.as_bytes(),
            hex("8701813ad3e2978bcf2e8c8c9565197bf7baf08a5b2c0095415c756db2761864")
        );
        assert_eq!(
            keys.responder.integrity.as_bytes(),
            hex("c8b9c973fbbe3eed25b1ac8eb2ff3714f32ceeab4a03ec7aaa0c4fd6c6fd33a0")
        );
        assert_eq!(
            keys.initiator.encryption.as_bytes(),
            hex("3a9c013dbf52340839e34aa32363a23ac922c5e05506da7bbf42c30290deb8a9")
        );
        assert_eq!(
            keys.responder.encryption.as_bytes(),
            hex("4793ab8317b3f247024ed1f9dfd39ad52535b52aaafc5bae398b1e7b7bb02c4a")
        );
        assert_eq!(keys.sk_pi.0.as_bytes(), hex("6403b786d7abf94c3df3db3dea62f9c948fce66add433519a7c705a5e406300e"));
        assert_eq!(keys.sk_pr.0.as_bytes(), hex("fb73dcb6c330ba8dc299af46c4e212209738870b8ca5d00a28e1a32595147409"));
    }

    #[test]
    fn a_rekeyed_ike_sa_starts_with_the_old_prf_and_goes_on_with_the_new() {
        let old = ike_keys(&AES_GCM_16_256).sk_d;
        let shared = Secret::from_slice(&rising(0xc0));
        let nonces: (&[u8], &[u8]) = (&rising(0x10), &rising(0x50));
        let spis = (SPIS.1, SPIS.0);
        let keys =
            IkeKeys::rekeyed((&HMAC_SHA256, &old), &HMAC_SHA384, &AES_GCM_16_128, &shared, nonces, spis).unwrap();
        assert_eq!(
            keys.sk_d.0.as_bytes(),
            hex("bf82a450675bf1c7a85d7b7eb894c75cdc698c50fc1327fe1afd6fd09feebb2bad6cbddb035f49e3bc92ba5c8b82a715")
        );
        assert_eq!(keys.initiator.integrity.as_bytes(), hex(""));
        assert_eq!(keys.responder.integrity.as_bytes(), hex(""));
        assert_eq!(keys.initiator.encryption.as_bytes(), hex("eb066314ca0ba0aa3374cb9b4f19a9f05a79736c"));
        assert_eq!(keys.responder.encryption.as_bytes(), hex("261fa0a8c3c2910c58d82ae75de25e79818735a9"));
        assert_eq!(
            keys.sk_pi.0.as_bytes(),
            hex("8cf8d6fb8940d3c04e040be254c9025dc2d5670b6f44e7f98bc4144de170e472c93147eafa3fbcc959d52214961e25e7")
        );
        assert_eq!(
            keys.sk_pr.0.as_bytes(),
            hex("ae181ff749a7203a3db49a44a1a9ab637efffde1f7ac47aaafe0ede9d0c5d14fd69b287ea0b3d83d3dd6791c434e112f")
        );
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = format!("{:?}", ike_keys(&AES_GCM_16_256));
        assert!(keys.contains("sk_d: SkD(Secret(..))"), "{keys}");
        assert!(!keys.contains("55"), "{keys}");
    }
}
