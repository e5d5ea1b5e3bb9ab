//! AUTH data of method 14: `| length | AlgorithmIdentifier (DER) | signature … |` (RFC 7427 §3).

use super::reader::Reader;
use super::{WireError, length8};
use crate::action::SignatureScheme;

codes! {
    /// What SIGNATURE_HASH_ALGORITHMS lists (RFC 7427 §4, RFC 8420 §2).
    HashAlgorithm: u16 {
        Sha1 = 1, "SHA1";
        Sha256 = 2, "SHA2-256";
        Sha384 = 3, "SHA2-384";
        Sha512 = 4, "SHA2-512";
        Identity = 5, "Identity";
    }
}

impl HashAlgorithm {
    /// The hash that a scheme needs the peer to have announced.
    pub fn of(scheme: SignatureScheme) -> Self {
        match scheme {
            SignatureScheme::EcdsaP256Sha256 | SignatureScheme::RsaPssSha256 => Self::Sha256,
            SignatureScheme::EcdsaP384Sha384 => Self::Sha384,
            SignatureScheme::Ed25519 => Self::Identity,
        }
    }

    /// The data of a SIGNATURE_HASH_ALGORITHMS notification.
    pub fn write_list(list: &[Self]) -> Vec<u8> {
        list.iter().flat_map(|hash| hash.code().to_be_bytes()).collect()
    }

    /// Parses the data of a SIGNATURE_HASH_ALGORITHMS notification.
    ///
    /// # Errors
    /// [`WireError::Truncated`] for an odd number of octets.
    pub fn parse_list(data: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut reader = Reader::new(data);
        let mut list = Vec::new();
        while !reader.is_empty() {
            list.push(Self::from_code(reader.u16()?));
        }
        Ok(list)
    }
}

/// A signature and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigitalSignature {
    /// The DER `AlgorithmIdentifier`, at most 255 octets.
    pub algorithm: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl DigitalSignature {
    /// A signature of one of our schemes.
    pub fn new(scheme: SignatureScheme, signature: Vec<u8>) -> Self {
        Self { algorithm: algorithm_identifier(scheme).to_vec(), signature }
    }

    /// The scheme, if it is one of ours.
    pub fn scheme(&self) -> Option<SignatureScheme> {
        ACCEPTED.iter().find(|(_, algorithm)| *algorithm == self.algorithm).map(|(scheme, _)| *scheme)
    }

    /// Parses the AUTH data.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the algorithm does not fit.
    pub fn parse(data: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(data);
        let length = reader.u8()?;
        let algorithm = reader.take(usize::from(length))?.to_vec();
        Ok(Self { algorithm, signature: reader.rest().to_vec() })
    }

    /// The AUTH data.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if the algorithm has more than 255 octets.
    pub fn write(&self) -> Result<Vec<u8>, WireError> {
        let mut data = vec![length8(self.algorithm.len(), "AlgorithmIdentifier")?];
        data.extend_from_slice(&self.algorithm);
        data.extend_from_slice(&self.signature);
        Ok(data)
    }
}

/// The DER `AlgorithmIdentifier` of a scheme.
pub fn algorithm_identifier(scheme: SignatureScheme) -> &'static [u8] {
    match scheme {
        SignatureScheme::EcdsaP256Sha256 => ECDSA_WITH_SHA256,
        SignatureScheme::EcdsaP384Sha384 => ECDSA_WITH_SHA384,
        SignatureScheme::Ed25519 => ED25519,
        SignatureScheme::RsaPssSha256 => RSA_PSS_SHA256,
    }
}

/// What is taken for which scheme: RSASSA-PSS occurs with and without the NULL parameters of its hashes (RFC 4055 §2.1
/// wants both accepted).
const ACCEPTED: &[(SignatureScheme, &[u8])] = &[
    (SignatureScheme::EcdsaP256Sha256, ECDSA_WITH_SHA256),
    (SignatureScheme::EcdsaP384Sha384, ECDSA_WITH_SHA384),
    (SignatureScheme::Ed25519, ED25519),
    (SignatureScheme::RsaPssSha256, RSA_PSS_SHA256),
    (SignatureScheme::RsaPssSha256, RSA_PSS_SHA256_WITHOUT_NULL),
];

/// RFC 7427 §A.3.2: 1.2.840.10045.4.3.2, no parameters.
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// RFC 7427 §A.3.3: 1.2.840.10045.4.3.3, no parameters.
const ECDSA_WITH_SHA384: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// RFC 8420 §A.1: 1.3.101.112, no parameters.
const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// RFC 7427 §A.4.3: SHA-256, MGF1 with SHA-256, 32 octets of salt.
const RSA_PSS_SHA256: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x01, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x20,
];
const RSA_PSS_SHA256_WITHOUT_NULL: &[u8] = &[
    0x30, 0x3d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x30, 0xa0, 0x0d, 0x30, 0x0b,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0xa1, 0x1a, 0x30, 0x18, 0x06, 0x09, 0x2a, 0x86,
    0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x01, 0xa2, 0x03, 0x02, 0x01, 0x20,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    const SCHEMES: [SignatureScheme; 4] = [
        SignatureScheme::EcdsaP256Sha256,
        SignatureScheme::EcdsaP384Sha384,
        SignatureScheme::Ed25519,
        SignatureScheme::RsaPssSha256,
    ];

    #[test]
    fn each_scheme_is_read_back() {
        for scheme in SCHEMES {
            let signature = DigitalSignature::new(scheme, vec![1, 2, 3]);
            let read = DigitalSignature::parse(&signature.write().unwrap()).unwrap();
            assert_eq!(read, signature);
            assert_eq!(read.scheme(), Some(scheme));
        }
    }

    #[test]
    fn the_algorithm_comes_after_its_length() {
        let data = DigitalSignature::new(SignatureScheme::EcdsaP256Sha256, vec![0xaa]).write().unwrap();
        assert_eq!(data, hex("0c 300a06082a8648ce3d040302 aa"));
    }

    #[test]
    fn each_algorithm_is_one_der_sequence() {
        for (_, algorithm) in ACCEPTED {
            assert_eq!(algorithm[0], 0x30);
            assert_eq!(usize::from(algorithm[1]), algorithm.len() - 2);
        }
        for (at, length) in [(14, 0x34), (16, 0x0f), (18, 0x0d), (33, 0x1c), (35, 0x1a), (48, 0x0d)] {
            assert_eq!(RSA_PSS_SHA256[at], length, "length at {at}");
        }
    }

    #[test]
    fn other_algorithms_and_parameters_are_no_scheme() {
        let mut other = DigitalSignature::new(SignatureScheme::RsaPssSha256, Vec::new());
        // A salt of 20 octets instead of 32.
        *other.algorithm.last_mut().unwrap() = 20;
        assert_eq!(other.scheme(), None);
        other.algorithm.clear();
        assert_eq!(other.scheme(), None);
        assert_eq!(DigitalSignature::parse(&[]), Err(WireError::Truncated));
        assert_eq!(DigitalSignature::parse(&[5, 1, 2]), Err(WireError::Truncated));
    }

    #[test]
    fn hash_algorithms_are_listed_in_two_octets_each() {
        let list = SCHEMES.map(HashAlgorithm::of);
        let data = HashAlgorithm::write_list(&list);
        assert_eq!(data, hex("0002 0003 0005 0002"));
        assert_eq!(HashAlgorithm::parse_list(&data), Ok(list.to_vec()));
        assert_eq!(HashAlgorithm::parse_list(&data[1..]), Err(WireError::Truncated));
    }
}
