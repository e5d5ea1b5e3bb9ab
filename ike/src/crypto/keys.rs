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
