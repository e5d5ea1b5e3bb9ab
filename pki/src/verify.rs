//! Whether a certificate chain vouches for an identity, and a signature is its holder's.

use std::time::SystemTime;

use ring::digest;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, names_of};
use crate::key::SignatureScheme;

/// id-kp-ipsecIKE (RFC 4945 §5.1.3.12): 1.3.6.1.5.5.7.3.17.
pub(crate) const IPSEC_IKE: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 17];
const ANY_EXTENDED_KEY_USAGE: [u64; 5] = [2, 5, 29, 37, 0];

/// Why a certificate or a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No chain to a trusted authority, or a broken one.
    #[error("the certificate of {subject} is not to be trusted: {reason}")]
    Chain {
        /// The subject of the end entity.
        subject: String,
        /// Why.
        reason: String,
    },
    /// A certificate for somebody else.
    #[error("the certificate is for {found}, not for {wanted}")]
    Identity {
        /// Who was claimed.
        wanted: String,
        /// Who it is for.
        found: String,
    },
    /// A certificate that is not to be used for this (RFC 4945 §5.1.3.2).
    #[error("the certificate's key usage does not allow digital signatures")]
    KeyUsage,
    /// No certificate at all, or octets that are none.
    #[error("these octets are no certificate")]
    Malformed,
    /// Not made by the certificate's key.
    #[error("the signature is not by the key of the certificate")]
    Signature,
}

/// Verifies that `chain` (DER, end entity first) leads to one of the `authorities` (DER) at the time `now`, may be used for IKE,
/// and carries `identity`.
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    chain: &[Vec<u8>],
    authorities: &[Vec<u8>],
    now: SystemTime,
    identity: &Identity,
) -> Result<(), VerifyError> {
    let (first, intermediates) = chain.split_first().ok_or(VerifyError::Malformed)?;
    let (_, certificate) = X509Certificate::from_der(first).map_err(|_| VerifyError::Malformed)?;
    let refused = |error: webpki::Error| VerifyError::Chain {
        subject: certificate.subject().to_string(),
        reason: in_words(&error),
    };
    let der = CertificateDer::from(first.as_slice());
    let end_entity = EndEntityCert::try_from(&der).map_err(refused)?;
    let authorities: Vec<CertificateDer<'_>> =
        authorities.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<TrustAnchor<'_>> =
        authorities.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    let intermediates: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let algorithms = default_provider().signature_verification_algorithms;
    end_entity
        .verify_for_usage(
            algorithms.all,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(since_epoch),
            IkePurpose,
            None,
            None,
        )
        .map_err(refused)?;
    // RFC 4945 §5.1.3.2: if there is a key usage, digitalSignature or nonRepudiation is in it.
    if let Ok(Some(usage)) = certificate.key_usage()
        && !usage.value.digital_signature()
        && !usage.value.non_repudiation()
    {
        return Err(VerifyError::KeyUsage);
    }
    if identity.is_carried_by(&certificate) {
        Ok(())
    } else {
        Err(VerifyError::Identity { wanted: identity.to_string(), found: names_of(&certificate) })
    }
}

/// Verifies a signature by the key of a certificate.
///
/// # Errors
/// It is not by that key, or the key is of another kind than the scheme.
pub fn verify_signature(
    certificate: &[u8],
    scheme: SignatureScheme,
    octets: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    let der = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| VerifyError::Malformed)?;
    let algorithm = match scheme {
        SignatureScheme::EcdsaP256Sha256 => webpki::ring::ECDSA_P256_SHA256,
        SignatureScheme::EcdsaP384Sha384 => webpki::ring::ECDSA_P384_SHA384,
        SignatureScheme::Ed25519 => webpki::ring::ED25519,
        SignatureScheme::RsaPssSha256 => webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    };
    certificate.verify_signature(algorithm, octets, signature).map_err(|_| VerifyError::Signature)
}

/// SHA-1 of an authority's SubjectPublicKeyInfo, as CERTREQ names it (RFC 7296 §3.7).
///
/// # Errors
/// The octets are no certificate.
pub fn authority_key_hash(certificate: &[u8]) -> Result<[u8; 20], VerifyError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| VerifyError::Malformed)?;
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate.public_key().raw);
    hash.as_ref().try_into().map_err(|_| VerifyError::Malformed)
}

/// RFC 4945 §5.1.3.12: no extended key usage at all, or one with ipsecIKE or anyExtendedKeyUsage.
struct IkePurpose;

impl ExtendedKeyUsageValidator for IkePurpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut none = true;
        for purpose in purposes {
            none = false;
            let purpose: Vec<usize> = purpose?.to_decoded_oid().into_iter().collect();
            let is = |oid: &[u64]| purpose.iter().map(|arc| *arc as u64).eq(oid.iter().copied());
            if is(&IPSEC_IKE) || is(&ANY_EXTENDED_KEY_USAGE) {
                return Ok(());
            }
        }
        if none {
            Ok(())
        } else {
            Err(webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
                required: webpki::KeyUsage::client_auth(),
                present: Vec::new(),
            }))
        }
    }
}

fn in_words(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnknownIssuer => "its authority is unknown here".into(),
        webpki::Error::CertExpired { .. } => "it has expired".into(),
        webpki::Error::CertNotValidYet { .. } => "it is not valid yet".into(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "its extended key usage does not include IKE".into(),
        other => other.to_string(),
    }
}
