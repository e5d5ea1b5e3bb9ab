//! How a signature travels in the AUTH payload: method 14 (RFC 7427), or method 9 (RFC 4754) for peers that do not know it.

use crate::action::SignatureScheme;
use crate::wire::{AuthMethod, Authentication, DigitalSignature, HashAlgorithm};

/// What we announce in IKE_SA_INIT: the hashes of all the schemes that the owner may be asked to verify.
pub(crate) const ANNOUNCED: [HashAlgorithm; 3] =
    [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Identity];

/// How an AUTH payload carries a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// Method 14: `AlgorithmIdentifier` and signature (RFC 7427 §3).
    DigitalSignature,
    /// Method 9: r and s of P-256 side by side (RFC 4754 §7).
    Ecdsa256,
}

/// RFC 7427 §4: of what our key can do, the first whose hash the peer announced. A peer that announced none knows only the
/// older methods, of which we speak number 9.
pub(crate) fn choose(
    ours: &[SignatureScheme],
    announced: Option<&[HashAlgorithm]>,
) -> Option<(SignatureScheme, Carriage)> {
    let (scheme, carriage) = match announced {
        Some(hashes) => {
            (ours.iter().find(|scheme| hashes.contains(&HashAlgorithm::of(**scheme))), Carriage::DigitalSignature)
        }
        None => (ours.iter().find(|scheme| **scheme == SignatureScheme::EcdsaP256Sha256), Carriage::Ecdsa256),
    };
    scheme.map(|scheme| (*scheme, carriage))
}

/// The AUTH payload with this signature; none if the signature does not have the scheme's form.
pub(crate) fn write(scheme: SignatureScheme, carriage: Carriage, signature: Vec<u8>) -> Option<Authentication> {
    let (method, data) = match carriage {
        Carriage::DigitalSignature => {
            (AuthMethod::DigitalSignature, DigitalSignature::new(scheme, signature).write().ok()?)
        }
        Carriage::Ecdsa256 => (AuthMethod::EcdsaP256, ecdsa_der_to_fixed(&signature)?),
    };
    Some(Authentication { method, data })
}

/// Scheme and signature of an AUTH payload; none for a method or an algorithm that we do not know.
pub(crate) fn read(auth: &Authentication) -> Option<(SignatureScheme, Vec<u8>)> {
    match auth.method {
        AuthMethod::DigitalSignature => {
            let signature = DigitalSignature::parse(&auth.data).ok()?;
            Some((signature.scheme()?, signature.signature))
        }
        AuthMethod::EcdsaP256 => Some((SignatureScheme::EcdsaP256Sha256, ecdsa_fixed_to_der(&auth.data)?)),
        _ => None,
    }
}

fn ecdsa_fixed_to_der(data: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = data.split_at_checked(32)?;
    if s.len() != 32 {
        return None;
    }
    let body = [der_integer(r)?, der_integer(s)?].concat();
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.extend_from_slice(&body);
    Some(der)
}

/// A DER INTEGER from an unsigned big-endian number of at most 32 octets.
fn der_integer(number: &[u8]) -> Option<Vec<u8>> {
    let start = number.iter().position(|octet| *octet != 0).unwrap_or(number.len());
    let digits = number.get(start..)?;
    let sign = digits.first().is_none_or(|first| first & 0x80 != 0);
    let mut der = vec![2, u8::try_from(digits.len() + usize::from(sign)).ok()?];
    if sign {
        der.push(0);
    }
    der.extend_from_slice(digits);
    Some(der)
}

/// `ECDSA-Sig-Value` of P-256 as r and s of 32 octets each.
fn ecdsa_der_to_fixed(der: &[u8]) -> Option<Vec<u8>> {
    let (body, rest) = der_element(0x30, der)?;
    let (r, after_r) = der_element(2, body)?;
    let (s, after_s) = der_element(2, after_r)?;
    if !rest.is_empty() || !after_s.is_empty() {
        return None;
    }
    Some([fixed_32(r)?, fixed_32(s)?].concat())
}

/// Content and remainder of a DER element with a one-octet length.
fn der_element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([found, length], rest) = der.split_first_chunk::<2>()?;
    if *found != tag || *length >= 0x80 {
        return None;
    }
    rest.split_at_checked(usize::from(*length))
}

fn fixed_32(integer: &[u8]) -> Option<[u8; 32]> {
    let digits = integer.strip_prefix(&[0]).unwrap_or(integer);
    let padding = 32usize.checked_sub(digits.len())?;
    let mut fixed = [0; 32];
    fixed.get_mut(padding..)?.copy_from_slice(digits);
    Some(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [SignatureScheme; 4] = [
        SignatureScheme::EcdsaP256Sha256,
        SignatureScheme::EcdsaP384Sha384,
        SignatureScheme::Ed25519,
        SignatureScheme::RsaPssSha256,
    ];

    #[test]
    fn every_scheme_survives_the_way_through_an_auth_payload() {
        for scheme in ALL {
            let auth = write(scheme, Carriage::DigitalSignature, b"signature".to_vec()).unwrap();
            assert_eq!(read(&auth), Some((scheme, b"signature".to_vec())));
        }
    }

    #[test]
    fn a_method_that_is_not_spoken_is_no_signature() {
        for method in [AuthMethod::RsaSignature, AuthMethod::Null, AuthMethod::SharedKey, AuthMethod::Other(200)] {
            assert_eq!(read(&Authentication { method, data: vec![0; 64] }), None);
        }
        assert_eq!(read(&Authentication { method: AuthMethod::DigitalSignature, data: vec![12, 0x30] }), None);
        assert_eq!(read(&Authentication { method: AuthMethod::EcdsaP256, data: vec![1; 63] }), None);
        assert_eq!(read(&Authentication { method: AuthMethod::EcdsaP256, data: vec![1; 65] }), None);
    }

    #[test]
    fn a_hash_that_the_peer_did_not_announce_is_not_used() {
        assert_eq!(
            choose(&ALL, Some(&[HashAlgorithm::Sha384])),
            Some((SignatureScheme::EcdsaP384Sha384, Carriage::DigitalSignature))
        );
        assert_eq!(choose(&[SignatureScheme::Ed25519], Some(&[HashAlgorithm::Sha256])), None);
        assert_eq!(choose(&ALL, None), Some((SignatureScheme::EcdsaP256Sha256, Carriage::Ecdsa256)));
        assert_eq!(choose(&[SignatureScheme::RsaPssSha256], None), None);
    }

    #[test]
    fn an_ecdsa_signature_changes_between_der_and_fixed_length_and_back() {
        let mut small = [0; 32];
        small[31] = 9;
        for (r, s) in [([0xff; 32], [1; 32]), (small, [0x7f; 32]), ([0x80; 32], small)] {
            let fixed = [r, s].concat();
            let auth = Authentication { method: AuthMethod::EcdsaP256, data: fixed };
            let (scheme, der) = read(&auth).unwrap();
            assert_eq!(write(scheme, Carriage::Ecdsa256, der), Some(auth));
        }
        for broken in [&[0x30, 0x81, 0x00][..], &[0x30, 3, 2, 1, 1], &[0x30, 0], &[]] {
            assert_eq!(ecdsa_der_to_fixed(broken), None);
        }
    }
}
