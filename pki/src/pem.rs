//! Certificates out of PEM text.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The text holds no certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no `BEGIN CERTIFICATE`.
    #[error("there is no certificate in PEM form")]
    Empty,
    /// The form is broken.
    #[error("the PEM form is broken: {0}")]
    Broken(String),
}

/// The certificates (DER) in `pem`, in their order; what else there is, is passed over.
///
/// # Errors
/// There is none, or one is broken.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem).map(|found| found.map(|der| der.to_vec())).collect();
    match found {
        Ok(none) if none.is_empty() => Err(PemError::Empty),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(PemError::Broken(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::{PemError, certificates};

    #[test]
    fn all_certificates_come_in_their_order_and_keys_are_passed_over() {
        let pem = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n\
                   -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n\
                   -----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(pem.as_bytes()), Ok(vec![vec![1, 2, 3], vec![4, 5, 6]]));
    }

    #[test]
    fn text_without_certificates_or_with_a_broken_one_is_refused() {
        assert_eq!(certificates(b"nothing"), Err(PemError::Empty));
        let cut = b"-----BEGIN CERTIFICATE-----\nAQID\n";
        assert!(matches!(certificates(cut), Err(PemError::Broken(_))));
        let no_base64 = b"-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n";
        assert!(matches!(certificates(no_base64), Err(PemError::Broken(_))));
    }
}
