//! Private keys.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PSS_SHA256,
    RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

/// How a signature is made (RFC 7427 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// ecdsa-with-SHA256 over P-256, DER.
    EcdsaP256Sha256,
    /// ecdsa-with-SHA384 over P-384, DER.
    EcdsaP384Sha384,
    /// Ed25519.
    Ed25519,
    /// RSASSA-PSS with SHA2-256.
    RsaPssSha256,
}

/// Why a key or a certificate file is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is no PEM of the kind that is wanted.
    #[error("not the PEM that is wanted here: {0}")]
    Pem(String),
    /// A key of a kind that is not supported.
    #[error("this private key is neither ECDSA P-256, ECDSA P-384, Ed25519 nor RSA of 2048 to 4096 bits, in PKCS#8")]
    Unsupported,
    /// The key cannot sign in this way.
    #[error("this key cannot make {0:?} signatures")]
    Scheme(SignatureScheme),
    /// Signing failed.
    #[error("signing failed")]
    Signing,
}

enum Kind {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key that signs.
pub struct PrivateKey {
    kind: Kind,
    random: SystemRandom,
}

impl PrivateKey {
    /// Reads a key from PKCS#8 PEM.
    ///
    /// # Errors
    /// The text is no PEM, or the key is of an unsupported kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| KeyError::Pem(error.to_string()))?;
        let (octets, random) = (der.secret_pkcs8_der(), SystemRandom::new());
        let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, octets, &random).ok();
        let kind = ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Kind::P256)
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Kind::P384))
            .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(octets).ok().map(Kind::Ed25519))
            .or_else(|| RsaKeyPair::from_pkcs8(octets).ok().map(Kind::Rsa));
        Ok(Self { kind: kind.ok_or(KeyError::Unsupported)?, random })
    }

    /// In which ways it can sign, by preference.
    pub fn schemes(&self) -> &'static [SignatureScheme] {
        match self.kind {
            Kind::P256(_) => &[SignatureScheme::EcdsaP256Sha256],
            Kind::P384(_) => &[SignatureScheme::EcdsaP384Sha384],
            Kind::Ed25519(_) => &[SignatureScheme::Ed25519],
            Kind::Rsa(_) => &[SignatureScheme::RsaPssSha256],
        }
    }

    /// Signs.
    ///
    /// # Errors
    /// The key cannot sign in this way.
    pub fn sign(&self, scheme: SignatureScheme, octets: &[u8]) -> Result<Vec<u8>, KeyError> {
        if !self.schemes().contains(&scheme) {
            return Err(KeyError::Scheme(scheme));
        }
        match &self.kind {
            Kind::P256(key) | Kind::P384(key) => key
                .sign(&self.random, octets)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Signing),
            Kind::Ed25519(key) => Ok(key.sign(octets).as_ref().to_vec()),
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PSS_SHA256, &self.random, octets, &mut signature).map_err(|_| KeyError::Signing)?;
                Ok(signature)
            }
        }
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}
