//! Authentication payload: `| method | reserved (3) | data … |` (RFC 7296 §3.8).

use super::WireError;
use super::reader::Reader;

codes! {
    /// How an identity is proved.
    AuthMethod: u8 {
        RsaSignature = 1, "RSA digital signature";
        SharedKey = 2, "shared key message integrity code";
        DssSignature = 3, "DSS digital signature";
        EcdsaP256 = 9, "ECDSA with SHA-256 on P-256";
        EcdsaP384 = 10, "ECDSA with SHA-384 on P-384";
        EcdsaP521 = 11, "ECDSA with SHA-512 on P-521";
        Null = 13, "NULL authentication";
        DigitalSignature = 14, "digital signature";
    }
}

/// The proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// How.
    pub method: AuthMethod,
    /// For [`AuthMethod::DigitalSignature`] a [`super::DigitalSignature`].
    pub data: Vec<u8>,
}

impl Authentication {
    /// Parses the payload's body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] under four octets.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let method = AuthMethod::from_code(reader.u8()?);
        reader.array::<3>()?;
        Ok(Self { method, data: reader.rest().to_vec() })
    }

    /// Writes the payload's body.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.method.code(), 0, 0, 0]);
        out.extend_from_slice(&self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    #[test]
    fn an_authentication_has_the_octets_of_the_rfc() {
        let auth = Authentication { method: AuthMethod::SharedKey, data: vec![7] };
        let mut octets = Vec::new();
        auth.write(&mut octets);
        assert_eq!(octets, hex("02 000000 07"));
        assert_eq!(Authentication::parse(&hex("02 ffffff 07")), Ok(auth));
        assert_eq!(Authentication::parse(&hex("02 0000")), Err(WireError::Truncated));
    }
}
