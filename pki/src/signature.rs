//! Signatures by a certificate's key (RFC 7427).

use rustls::SignatureScheme;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::EndEntityCert;

/// How something is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// ECDSA with P-256 and SHA-256; the signature is an Ecdsa-Sig-Value (DER).
    EcdsaP256Sha256,
    /// ECDSA with P-384 and SHA-384; the signature is an Ecdsa-Sig-Value (DER).
    EcdsaP384Sha384,
    /// Ed25519 (RFC 8420).
    Ed25519,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and 32 octets of salt; 2048 to 8192 bits.
    RsaPssSha256,
}

/// A signature proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The certificate cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// The key is of another kind, or the scheme is unknown to the provider.
    #[error("the key in the certificate is not one for this kind of signature")]
    OtherKey,
    /// The signature is wrong.
    #[error("the signature is not by the key in the certificate")]
    Wrong,
}

/// Whether `signature` over `octets` is by the key of `certificate` (DER). The certificate itself is not verified.
///
/// # Errors
/// It is not; see [`SignatureError`].
pub fn verify_signature(
    certificate: &[u8],
    scheme: Scheme,
    octets: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let der = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| SignatureError::Unreadable)?;
    let algorithm = scheme.algorithm().ok_or(SignatureError::OtherKey)?;
    // CVE-2013-2944, CVE-2020-16088: nothing but Ok is a success, and no error becomes one on its way.
    certificate.verify_signature(algorithm, octets, signature).map_err(|error| match error {
        webpki::Error::InvalidSignatureForPublicKey => SignatureError::Wrong,
        _ => SignatureError::OtherKey,
    })
}

impl Scheme {
    fn algorithm(self) -> Option<&'static dyn SignatureVerificationAlgorithm> {
        let scheme = match self {
            Self::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::EcdsaP384Sha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            Self::Ed25519 => SignatureScheme::ED25519,
            Self::RsaPssSha256 => SignatureScheme::RSA_PSS_SHA256,
        };
        let mapping = rustls::crypto::ring::default_provider().signature_verification_algorithms.mapping;
        // The first one has the curve that the scheme names.
        mapping.iter().find(|(known, _)| *known == scheme).and_then(|(_, algorithms)| algorithms.first()).copied()
    }
}
