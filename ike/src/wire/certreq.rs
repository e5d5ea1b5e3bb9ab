//! Certificate request payload: `| encoding | authorities … |` (RFC 7296 §3.7).

use super::reader::Reader;
use super::{CertEncoding, WireError};

/// Which authorities the sender trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The wanted form.
    pub encoding: CertEncoding,
    /// For X.509: SHA-1 hashes of the authorities' SubjectPublicKeyInfo, 20 octets each.
    pub authority: Vec<u8>,
}

impl CertificateRequest {
    /// A request for X.509 certificates under these authorities.
    pub fn x509(authorities: &[[u8; 20]]) -> Self {
        Self { encoding: CertEncoding::X509Signature, authority: authorities.concat() }
    }

    /// The hashes; a rest of fewer than 20 octets is left out.
    pub fn authorities(&self) -> impl Iterator<Item = [u8; 20]> {
        self.authority.chunks_exact(20).filter_map(|hash| hash.try_into().ok())
    }

    /// Parses the payload's body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if there is no encoding octet.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let encoding = CertEncoding::from_code(reader.u8()?);
        Ok(Self { encoding, authority: reader.rest().to_vec() })
    }

    /// Writes the payload's body.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.code());
        out.extend_from_slice(&self.authority);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_hashes_of_twenty_octets() {
        let request = CertificateRequest::x509(&[[1; 20], [2; 20]]);
        let mut octets = Vec::new();
        request.write(&mut octets);
        assert_eq!(octets, [vec![4], vec![1; 20], vec![2; 20]].concat());
        let mut read = CertificateRequest::parse(&octets).unwrap();
        read.authority.push(3);
        assert_eq!(read.authorities().collect::<Vec<_>>(), [[1; 20], [2; 20]]);
    }
}
