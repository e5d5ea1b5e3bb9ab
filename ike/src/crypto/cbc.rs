//! AES-CBC with HMAC-SHA2-256-128 in SK payloads, encrypt-then-MAC (RFC 7296 §3.14, RFC 3602, RFC 4868).

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ring::hmac;
use subtle::ConstantTimeEq;

use super::{CryptoError, DirectionKeys, Protection, Randomness};
use crate::wire::{EncryptionId, IntegrityId};

/// AES-CBC with a 256-bit key and HMAC-SHA2-256-128.
#[derive(Debug)]
pub(crate) struct AesCbc256HmacSha256;

const KEY_LEN: usize = 32;
const BLOCK_LEN: usize = 16;
/// RFC 4868 §2.1.1: the key is as long as the hash.
const INTEGRITY_KEY_LEN: usize = 32;
/// RFC 4868 §2.1.2: the first half of the hash.
const ICV_LEN: usize = 16;

impl Protection for AesCbc256HmacSha256 {
    fn encryption(&self) -> EncryptionId {
        EncryptionId::AesCbc
    }

    fn key_bits(&self) -> u16 {
        256
    }

    fn integrity(&self) -> IntegrityId {
        IntegrityId::HmacSha256_128
    }

    fn encryption_key_len(&self) -> usize {
        KEY_LEN
    }

    fn integrity_key_len(&self) -> usize {
        INTEGRITY_KEY_LEN
    }

    fn iv_len(&self) -> usize {
        BLOCK_LEN
    }

    fn icv_len(&self) -> usize {
        ICV_LEN
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn tshark_names(&self) -> (&'static str, &'static str) {
        ("AES-CBC-256 [RFC3602]", "HMAC_SHA2_256_128 [RFC4868]")
    }

    fn iv(&self, _: u64, randomness: &mut dyn Randomness) -> Vec<u8> {
        // RFC 7296 §3.14: unpredictable for each message.
        let mut iv = vec![0; BLOCK_LEN];
        randomness.fill(&mut iv);
        iv
    }

    fn seal(&self, keys: &DirectionKeys, head: &[u8], iv: &[u8], text: &mut Vec<u8>) -> Result<(), CryptoError> {
        let integrity = integrity_key(keys)?;
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(keys.encryption.as_bytes(), iv)
            .map_err(|_| CryptoError::KeyLength)?;
        let length = text.len();
        cipher.encrypt_padded::<NoPadding>(text, length).map_err(|_| CryptoError::KeyLength)?;
        let icv = check_value(&integrity, head, iv, text);
        text.extend_from_slice(&icv);
        Ok(())
    }

    fn open(&self, keys: &DirectionKeys, head: &[u8], iv: &[u8], text: &mut Vec<u8>) -> Result<(), CryptoError> {
        let integrity = integrity_key(keys)?;
        let length = text.len().checked_sub(ICV_LEN).ok_or(CryptoError::Integrity)?;
        let icv = text.split_off(length);
        // RFC 7296 §3.14: the check value is looked at before anything is decrypted.
        if !bool::from(check_value(&integrity, head, iv, text).ct_eq(&icv)) {
            return Err(CryptoError::Integrity);
        }
        let cipher = cbc::Decryptor::<Aes256>::new_from_slices(keys.encryption.as_bytes(), iv)
            .map_err(|_| CryptoError::KeyLength)?;
        cipher.decrypt_padded::<NoPadding>(text).map_err(|_| CryptoError::Integrity)?;
        Ok(())
    }
}

fn integrity_key(keys: &DirectionKeys) -> Result<hmac::Key, CryptoError> {
    if keys.integrity.len() != INTEGRITY_KEY_LEN {
        return Err(CryptoError::KeyLength);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, keys.integrity.as_bytes()))
}

/// Over the whole message up to the check value (RFC 7296 §3.14).
fn check_value(key: &hmac::Key, head: &[u8], iv: &[u8], encrypted: &[u8]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(key);
    context.update(head);
    context.update(iv);
    context.update(encrypted);
    context.sign().as_ref().iter().copied().take(ICV_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use crate::crypto::test_support::hex;

    fn keys() -> DirectionKeys {
        DirectionKeys {
            encryption: Secret::new(hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")),
            integrity: Secret::new(vec![0x0b; 32]),
        }
    }

    /// NIST SP 800-38A, F.2.5 (CBC-AES256.Encrypt).
    #[test]
    fn aes_256_cbc_gives_the_values_of_sp_800_38a() {
        let iv = hex("000102030405060708090a0b0c0d0e0f");
        let plain = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let mut text = plain.clone();
        AesCbc256HmacSha256.seal(&keys(), b"head", &iv, &mut text).unwrap();
        assert_eq!(text[..32], hex("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"));
        AesCbc256HmacSha256.open(&keys(), b"head", &iv, &mut text).unwrap();
        assert_eq!(text, plain);
    }

    /// RFC 4868 §2.7.2.1, test case AUTH256-1: the check value is the first half of HMAC-SHA-256.
    #[test]
    fn the_check_value_is_the_one_of_rfc_4868() {
        let key = integrity_key(&DirectionKeys {
            encryption: Secret::new(Vec::new()),
            integrity: Secret::new(vec![0x0b; 32]),
        })
        .unwrap();
        assert_eq!(check_value(&key, b"Hi", b" ", b"There"), hex("198a607eb44bfbc69903a0f1cf2bbdc5"));
    }

    #[test]
    fn a_change_anywhere_is_noticed() {
        let iv = vec![7; 16];
        let mut sealed = vec![1; 32];
        AesCbc256HmacSha256.seal(&keys(), b"head", &iv, &mut sealed).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x80;
            assert_eq!(AesCbc256HmacSha256.open(&keys(), b"head", &iv, &mut changed), Err(CryptoError::Integrity));
        }
        assert_eq!(AesCbc256HmacSha256.open(&keys(), b"heaD", &iv, &mut sealed.clone()), Err(CryptoError::Integrity));
        let mut other = iv.clone();
        other[0] ^= 1;
        assert_eq!(
            AesCbc256HmacSha256.open(&keys(), b"head", &other, &mut sealed.clone()),
            Err(CryptoError::Integrity)
        );
    }

    #[test]
    fn octets_that_are_no_blocks_are_refused() {
        assert_eq!(AesCbc256HmacSha256.seal(&keys(), &[], &[0; 16], &mut vec![0; 17]), Err(CryptoError::KeyLength));
        let head: &[u8] = &[];
        let iv = [0; 16];
        let mut forged = vec![9; 17];
        forged.extend(check_value(&integrity_key(&keys()).unwrap(), head, &iv, &[9; 17]));
        assert_eq!(AesCbc256HmacSha256.open(&keys(), head, &iv, &mut forged), Err(CryptoError::Integrity));
        assert_eq!(AesCbc256HmacSha256.open(&keys(), head, &iv, &mut vec![0; 15]), Err(CryptoError::Integrity));
    }
}
