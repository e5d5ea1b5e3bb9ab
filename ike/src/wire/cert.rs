//! Certificate payload: `| encoding | data … |` (RFC 7296 §3.6).

use super::WireError;
use super::reader::Reader;

codes! {
    /// The form of a certificate or of a request for one.
    CertEncoding: u8 {
        Pkcs7X509 = 1, "PKCS #7 wrapped X.509";
        X509Signature = 4, "X.509 signature";
        Crl = 7, "CRL";
        HashAndUrlX509 = 12, "hash and URL of X.509";
        HashAndUrlBundle = 13, "hash and URL of a bundle";
        OcspContent = 14, "OCSP content";
        RawPublicKey = 15, "raw public key";
    }
}

/// One certificate; the end entity's comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its form.
    pub encoding: CertEncoding,
    /// Its octets; for `X509Signature` one DER certificate.
    pub data: Vec<u8>,
}

impl Certificate {
    /// A DER X.509 certificate.
    pub fn x509(der: Vec<u8>) -> Self {
        Self { encoding: CertEncoding::X509Signature, data: der }
    }

    /// Parses the payload's body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if there is no encoding octet.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let encoding = CertEncoding::from_code(reader.u8()?);
        Ok(Self { encoding, data: reader.rest().to_vec() })
    }

    /// Writes the payload's body.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.code());
        out.extend_from_slice(&self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    #[test]
    fn a_certificate_has_the_octets_of_the_rfc() {
        let mut octets = Vec::new();
        Certificate::x509(vec![0x30, 0]).write(&mut octets);
        assert_eq!(octets, hex("04 3000"));
        assert_eq!(Certificate::parse(&octets), Ok(Certificate::x509(vec![0x30, 0])));
        assert_eq!(Certificate::parse(&[]), Err(WireError::Truncated));
    }
}
