//! AES-GCM with a 16-octet check value in SK payloads (RFC 5282).

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{CryptoError, DirectionKeys, Protection, Randomness};
use crate::wire::{EncryptionId, IntegrityId};

/// AES-GCM with one key length.
#[derive(Debug)]
pub(crate) struct AesGcm16 {
    key_bits: u16,
    key_len: usize,
    algorithm: &'static aead::Algorithm,
    tshark: &'static str,
}

pub(crate) static AES_GCM_16_256: AesGcm16 = AesGcm16 {
    key_bits: 256,
    key_len: 32,
    algorithm: &aead::AES_256_GCM,
    tshark: "AES-GCM-256 with 16 octet ICV [RFC5282]",
};
pub(crate) static AES_GCM_16_128: AesGcm16 = AesGcm16 {
    key_bits: 128,
    key_len: 16,
    algorithm: &aead::AES_128_GCM,
    tshark: "AES-GCM-128 with 16 octet ICV [RFC5282]",
};

/// RFC 5282 §4: four octets of salt, the last of the keying material.
const SALT_LEN: usize = 4;
/// RFC 5282 §3.1: eight octets of IV go with each message.
const IV_LEN: usize = 8;
const ICV_LEN: usize = 16;

impl AesGcm16 {
    /// The key, and the nonce: salt, then IV (RFC 5282 §4).
    fn key_and_nonce(&self, keys: &DirectionKeys, iv: &[u8]) -> Result<(LessSafeKey, Nonce), CryptoError> {
        let (key, salt) = keys.encryption.as_bytes().split_at_checked(self.key_len).ok_or(CryptoError::KeyLength)?;
        if salt.len() != SALT_LEN || iv.len() != IV_LEN {
            return Err(CryptoError::KeyLength);
        }
        let nonce = Nonce::try_assume_unique_for_key(&[salt, iv].concat()).map_err(|_| CryptoError::KeyLength)?;
        let key = UnboundKey::new(self.algorithm, key).map_err(|_| CryptoError::KeyLength)?;
        Ok((LessSafeKey::new(key), nonce))
    }
}

impl Protection for AesGcm16 {
    fn encryption(&self) -> EncryptionId {
        EncryptionId::AesGcm16
    }

    fn key_bits(&self) -> u16 {
        self.key_bits
    }

    fn integrity(&self) -> IntegrityId {
        IntegrityId::None
    }

    fn encryption_key_len(&self) -> usize {
        self.key_len.saturating_add(SALT_LEN)
    }

    fn integrity_key_len(&self) -> usize {
        0
    }

    fn iv_len(&self) -> usize {
        IV_LEN
    }

    fn icv_len(&self) -> usize {
        ICV_LEN
    }

    fn block_len(&self) -> usize {
        // RFC 5282 §3: no padding is needed, the pad length is still there.
        1
    }

    fn tshark_names(&self) -> (&'static str, &'static str) {
        (self.tshark, "NONE [RFC4306]")
    }

    fn iv(&self, counter: u64, _: &mut dyn Randomness) -> Vec<u8> {
        // RFC 5282 §3.1: unique for each message under one key; a counter is the simplest way.
        counter.to_be_bytes().to_vec()
    }

    fn seal(&self, keys: &DirectionKeys, head: &[u8], iv: &[u8], text: &mut Vec<u8>) -> Result<(), CryptoError> {
        let (key, nonce) = self.key_and_nonce(keys, iv)?;
        // RFC 5282 §5.1: the associated data ends with SK's generic header; the IV is not in it.
        key.seal_in_place_append_tag(nonce, Aad::from(head), text).map_err(|_| CryptoError::KeyLength)
    }

    fn open(&self, keys: &DirectionKeys, head: &[u8], iv: &[u8], text: &mut Vec<u8>) -> Result<(), CryptoError> {
        let (key, nonce) = self.key_and_nonce(keys, iv)?;
        let length = key.open_in_place(nonce, Aad::from(head), text).map_err(|_| CryptoError::Integrity)?.len();
        text.truncate(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use crate::crypto::test_support::hex;

    fn keys(encryption: &str) -> DirectionKeys {
        DirectionKeys { encryption: Secret::new(hex(encryption)), integrity: Secret::new(Vec::new()) }
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test case 16 (AES-256). Its 96-bit
    /// IV cafebabe facedbaddecaf888 is salt | IV here, so the salt has to come after the key.
    #[test]
    fn aes_256_gcm_gives_the_values_of_the_gcm_specification() {
        let keys = keys("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308cafebabe");
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let iv = hex("facedbaddecaf888");
        let plain = hex(PLAIN);
        let mut text = plain.clone();
        AES_GCM_16_256.seal(&keys, &aad, &iv, &mut text).unwrap();
        assert_eq!(
            text,
            hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b")
        );
        AES_GCM_16_256.open(&keys, &aad, &iv, &mut text).unwrap();
        assert_eq!(text, plain);
    }

    /// The same, test case 4 (AES-128).
    #[test]
    fn aes_128_gcm_gives_the_values_of_the_gcm_specification() {
        let keys = keys("feffe9928665731c6d6a8f9467308308cafebabe");
        let mut text = hex(PLAIN);
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        AES_GCM_16_128.seal(&keys, &aad, &hex("facedbaddecaf888"), &mut text).unwrap();
        assert_eq!(
            text,
            hex("42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47")
        );
    }

    const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";

    #[test]
    fn a_key_without_its_salt_is_refused() {
        let keys = DirectionKeys { encryption: Secret::new(vec![1; 32]), integrity: Secret::new(Vec::new()) };
        assert_eq!(AES_GCM_16_256.seal(&keys, &[], &[0; 8], &mut vec![0; 4]), Err(CryptoError::KeyLength));
    }
}
