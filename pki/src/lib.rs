//! Keys and certificates: decisions without I/O. The time, the files and the random numbers of a caller come as arguments.

#![forbid(unsafe_code)]

mod identity;
mod issue;
mod key;
mod verify;

pub use identity::Identity;
pub use issue::{Authority, IssueError, Issued, Validity};
pub use key::{KeyError, PrivateKey, SignatureScheme};
pub use verify::{VerifyError, authority_key_hash, verify, verify_signature};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The certificates of a PEM text, DER, in their order.
///
/// # Errors
/// The text is no PEM, or holds no certificate.
pub fn read_chain(pem: &[u8]) -> Result<Vec<Vec<u8>>, KeyError> {
    let chain: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| KeyError::Pem(error.to_string()))?;
    if chain.is_empty() { Err(KeyError::Pem("there is no certificate in it".into())) } else { Ok(chain) }
}
