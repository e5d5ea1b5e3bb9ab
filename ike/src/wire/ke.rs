//! Key exchange payload: `| group (2) | reserved (2) | data … |` (RFC 7296 §3.4).

use super::reader::Reader;
use super::{Group, WireError};

/// One side's public value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExchange {
    /// Of which method.
    pub group: Group,
    /// The public value; its form is the method's (X25519: 32 octets, P-256: 64 octets x | y, RFC 5903 §7).
    pub data: Vec<u8>,
}

impl KeyExchange {
    /// Parses the payload's body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] under four octets.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let group = Group::from_code(reader.u16()?);
        reader.u16()?;
        Ok(Self { group, data: reader.rest().to_vec() })
    }

    /// Writes the payload's body.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group.code().to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    #[test]
    fn a_key_exchange_has_the_octets_of_the_rfc() {
        let ke = KeyExchange { group: Group::X25519, data: vec![0xaa; 2] };
        let mut octets = Vec::new();
        ke.write(&mut octets);
        assert_eq!(octets, hex("001f 0000 aaaa"));
        // The reserved octets are ignored.
        assert_eq!(KeyExchange::parse(&hex("001f ffff aaaa")), Ok(ke));
        assert_eq!(KeyExchange::parse(&hex("001f00")), Err(WireError::Truncated));
    }
}
