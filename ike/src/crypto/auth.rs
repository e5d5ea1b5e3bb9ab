//! What AUTH is made over (RFC 7296 §2.15).

use super::{Prf, Secret, SkP};

/// The octets that a side signs: its own first message as sent, the peer's nonce, and its identity.
///
/// `id_body` is [`crate::wire::Identification::body`]; `sk_p` is SK_pi for the initiator's octets, SK_pr for the
/// responder's.
pub fn signed_octets(prf: &dyn Prf, first_message: &[u8], peer_nonce: &[u8], sk_p: &SkP, id_body: &[u8]) -> Vec<u8> {
    // RFC 7296 §2.15: RealMessage | NonceData of the other side | prf(SK_p, RestOfIDPayload).
    let maced = prf.prf(sk_p.0.as_bytes(), &[id_body]);
    [first_message, peer_nonce, maced.as_bytes()].concat()
}

/// The AUTH data of a side that proves to know `psk`.
pub fn psk_auth(prf: &dyn Prf, psk: &Secret, signed_octets: &[u8]) -> Vec<u8> {
    compute(prf, psk, signed_octets).as_bytes().to_vec()
}

/// Whether `data` proves that the peer knows `psk`; in constant time.
pub fn verify_psk_auth(prf: &dyn Prf, psk: &Secret, signed_octets: &[u8], data: &[u8]) -> bool {
    compute(prf, psk, signed_octets) == Secret::from_slice(data)
}

fn compute(prf: &dyn Prf, psk: &Secret, signed_octets: &[u8]) -> Secret {
    // RFC 7296 §2.15: AUTH = prf(prf(Shared Secret, "Key Pad for IKEv2"), <signed octets>), no terminating zero.
    let key = prf.prf(psk.as_bytes(), &[b"Key Pad for IKEv2"]);
    prf.prf(key.as_bytes(), &[signed_octets])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::gcm::AES_GCM_16_256;
    use crate::crypto::prf::HMAC_SHA256;
    use crate::crypto::test_support::{hex, ike_keys, rising};
    use crate::wire::{Identification, Identity};

    // The expected values were calculated from the formulas of RFC 7296 §2.15 with Python's `hmac`.

    fn octets() -> Vec<u8> {
        let id = Identification::new(Identity::Fqdn("mn.example".into())).body();
        signed_octets(&HMAC_SHA256, b"MESSAGE", &rising(0x50), &ike_keys(&AES_GCM_16_256).sk_pi, &id)
    }

    #[test]
    fn the_signed_octets_are_message_nonce_and_identity() {
        assert_eq!(
            octets(),
            hex(
                "4d455353414745505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f71d2317367345d4872299f6bf5548cc4824d11cac71e1e86d6a5551b15b093e8"
            )
        );
    }

    #[test]
    fn a_shared_secret_is_padded_before_it_is_used() {
        let psk = Secret::from_slice(b"secret");
        let auth = psk_auth(&HMAC_SHA256, &psk, &octets());
        assert_eq!(auth, hex("cef1178e0b6c2430e8b120aa2f9e7233241356b630b82c24a88057a862ff8c41"));
        assert!(verify_psk_auth(&HMAC_SHA256, &psk, &octets(), &auth));
    }

    #[test]
    fn a_proof_with_another_secret_or_length_is_refused() {
        let psk = Secret::from_slice(b"secret");
        let auth = psk_auth(&HMAC_SHA256, &psk, &octets());
        assert!(!verify_psk_auth(&HMAC_SHA256, &Secret::from_slice(b"Secret"), &octets(), &auth));
        assert!(!verify_psk_auth(&HMAC_SHA256, &psk, b"other", &auth));
        assert!(!verify_psk_auth(&HMAC_SHA256, &psk, &octets(), &auth[..31]));
        assert!(!verify_psk_auth(&HMAC_SHA256, &psk, &octets(), &[]));
    }
}
