//! The table of algorithms. Another algorithm is another entry.

use super::cbc::AesCbc256HmacSha256;
use super::ecp::{P256, P384};
use super::gcm::{AES_GCM_16_128, AES_GCM_16_256};
use super::prf::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use super::x25519::X25519;
use super::{KeyExchangeMethod, Prf, Protection};
use crate::wire::{EncryptionId, Group, IntegrityId, PrfId};

/// What can be calculated, each list by preference.
#[derive(Clone, Copy, Debug)]
pub struct Provider {
    /// Pseudorandom functions.
    pub prfs: &'static [&'static dyn Prf],
    /// Key exchange methods.
    pub groups: &'static [&'static dyn KeyExchangeMethod],
    /// Protections of SK payloads.
    pub protections: &'static [&'static dyn Protection],
}

/// ring, with x25519-dalek, p256 and p384 for key pairs that can be agreed more than once and aes for CBC.
pub static RING: Provider = Provider {
    prfs: &[&HMAC_SHA256, &HMAC_SHA384, &HMAC_SHA512],
    groups: &[&X25519, &P256, &P384],
    protections: &[&AES_GCM_16_256, &AES_GCM_16_128, &AesCbc256HmacSha256],
};

impl Provider {
    /// The pseudorandom function with this transform id.
    pub fn prf(&self, id: PrfId) -> Option<&'static dyn Prf> {
        self.prfs.iter().copied().find(|prf| prf.id() == id)
    }

    /// The key exchange method with this transform id.
    pub fn group(&self, id: Group) -> Option<&'static dyn KeyExchangeMethod> {
        self.groups.iter().copied().find(|group| group.id() == id)
    }

    /// The protection with this encryption algorithm, key length in bits and integrity algorithm.
    pub fn protection(
        &self,
        encryption: EncryptionId,
        key_bits: u16,
        integrity: IntegrityId,
    ) -> Option<&'static dyn Protection> {
        self.protections.iter().copied().find(|protection| {
            protection.encryption() == encryption
                && protection.key_bits() == key_bits
                && protection.integrity() == integrity
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_found_by_all_of_its_ids() {
        assert!(RING.prf(PrfId::HmacSha256).is_some());
        assert!(RING.prf(PrfId::HmacMd5).is_none());
        assert!(RING.group(Group::X25519).is_some());
        assert!(RING.group(Group::Modp2048).is_none());
        assert!(RING.protection(EncryptionId::AesGcm16, 256, IntegrityId::None).is_some());
        // RFC 7296 §3.3.3: an AEAD is not combined with an integrity algorithm.
        assert!(RING.protection(EncryptionId::AesGcm16, 256, IntegrityId::HmacSha256_128).is_none());
        assert!(RING.protection(EncryptionId::AesGcm16, 192, IntegrityId::None).is_none());
        assert!(RING.protection(EncryptionId::AesCbc, 256, IntegrityId::HmacSha256_128).is_some());
        assert!(RING.protection(EncryptionId::AesCbc, 256, IntegrityId::None).is_none());
    }
}
