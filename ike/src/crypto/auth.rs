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
