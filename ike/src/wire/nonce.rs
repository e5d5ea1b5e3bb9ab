//! Nonce payload (RFC 7296 §3.9).

use super::WireError;

/// Ni or Nr: 16 to 256 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

impl Nonce {
    /// A nonce of these octets.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if there are not 16 to 256.
    pub fn new(octets: Vec<u8>) -> Result<Self, WireError> {
        // RFC 7296 §2.10, §3.9: at least 16 octets (and half the PRF's key), at most 256.
        if !(16..=256).contains(&octets.len()) {
            return Err(WireError::Malformed { payload: "Nonce", reason: "not 16 to 256 octets" });
        }
        Ok(Self(octets))
    }

    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parses the payload's body.
    ///
    /// # Errors
    /// As [`Nonce::new`].
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        Self::new(body.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_has_16_to_256_octets() {
        assert!(Nonce::new(vec![0; 15]).is_err());
        assert!(Nonce::new(vec![0; 16]).is_ok());
        assert!(Nonce::new(vec![0; 256]).is_ok());
        assert!(Nonce::new(vec![0; 257]).is_err());
    }
}
