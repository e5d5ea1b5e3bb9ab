//! Our private key.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PSS_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::signature::Scheme;

/// A private key. It signs, and is never shown.
///
/// The decoded file is wiped after reading; `ring`, which holds the key from then on, does not wipe it.
pub struct PrivateKey(Kind);

enum Kind {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key cannot be had or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no `BEGIN PRIVATE KEY`.
    #[error("there is no private key in PEM form, or it is encrypted: {0}")]
    Missing(String),
    /// PKCS#1 or SEC1.
    #[error("the key is not in PKCS#8 form: convert it with `openssl pkcs8 -topk8 -nodes`")]
    NotPkcs8,
    /// Another kind of key, or a broken one.
    #[error("the key is broken, or neither P-256, P-384, Ed25519 nor RSA of 2048 to 8192 bits: {0}")]
    Unsupported(String),
    /// The key cannot sign so.
    #[error("this key cannot make such signatures")]
    OtherScheme,
    /// `ring` failed, for want of randomness.
    #[error("the signature could not be made")]
    Failed,
    /// The certificate to compare with.
    #[error("the certificate cannot be read")]
    UnreadableCertificate,
}

impl PrivateKey {
    /// The first key in `pem`, which has to be in the form of PKCS#8, not encrypted.
    ///
    /// # Errors
    /// There is none, or one that cannot be used; see [`KeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|error| KeyError::Missing(error.to_string()))?;
        let der = Zeroizing::new(der);
        let PrivateKeyDer::Pkcs8(pkcs8) = &*der else { return Err(KeyError::NotPkcs8) };
        let octets = pkcs8.secret_pkcs8_der();
        let random = SystemRandom::new();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, octets, &random) {
            return Ok(Self(Kind::P256(pair)));
        }
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, octets, &random) {
            return Ok(Self(Kind::P384(pair)));
        }
        // Not checked against a public key, as most files hold none: OpenSSL writes the first version of PKCS#8.
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(octets) {
            return Ok(Self(Kind::Ed25519(pair)));
        }
        match RsaKeyPair::from_pkcs8(octets) {
            Ok(pair) => Ok(Self(Kind::Rsa(pair))),
            Err(rejected) => Err(KeyError::Unsupported(rejected.to_string())),
        }
    }

    /// The kinds of signatures that the key makes.
    #[must_use]
    pub fn schemes(&self) -> &'static [Scheme] {
        match self.0 {
            Kind::P256(_) => &[Scheme::EcdsaP256Sha256],
            Kind::P384(_) => &[Scheme::EcdsaP384Sha384],
            Kind::Ed25519(_) => &[Scheme::Ed25519],
            Kind::Rsa(_) => &[Scheme::RsaPssSha256],
        }
    }

    /// Signs `octets`.
    ///
    /// # Errors
    /// The key does not make such signatures, or the system gave no randomness.
    pub fn sign(&self, scheme: Scheme, octets: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match (&self.0, scheme) {
            (Kind::P256(pair), Scheme::EcdsaP256Sha256) | (Kind::P384(pair), Scheme::EcdsaP384Sha384) => {
                let signature = pair.sign(&random, octets).map_err(|_| KeyError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
            (Kind::Ed25519(pair), Scheme::Ed25519) => Ok(pair.sign(octets).as_ref().to_vec()),
            (Kind::Rsa(pair), Scheme::RsaPssSha256) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &random, octets, &mut signature).map_err(|_| KeyError::Failed)?;
                Ok(signature)
            }
            (Kind::P256(_) | Kind::P384(_) | Kind::Ed25519(_) | Kind::Rsa(_), _) => Err(KeyError::OtherScheme),
        }
    }

    /// Whether `certificate` (DER) is for this key.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn belongs_to(&self, certificate: &[u8]) -> Result<bool, KeyError> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| KeyError::UnreadableCertificate)?;
        let public = match &self.0 {
            Kind::P256(pair) | Kind::P384(pair) => pair.public_key().as_ref(),
            Kind::Ed25519(pair) => pair.public_key().as_ref(),
            Kind::Rsa(pair) => pair.public_key().as_ref(),
        };
        Ok(certificate.public_key().subject_public_key.data.as_ref() == public)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, ..)", self.schemes())
    }
}
