//! Octets that nobody may see.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Key material: wiped when dropped, compared in constant time, never printed, copied only by [`Secret::duplicate`].
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over; the vector's own memory is wiped in the end.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// Copies the octets. The original is the caller's to wipe.
    pub fn from_slice(octets: &[u8]) -> Self {
        Self::new(octets.to_vec())
    }

    /// The octets themselves, for a calculation or for the kernel.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second copy, for another owner.
    pub fn duplicate(&self) -> Self {
        Self::from_slice(&self.0)
    }
}

impl PartialEq for Secret {
    /// Takes a time that depends on the lengths only.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::from_slice(b"hunter2")), "Secret(..)");
    }

    #[test]
    fn secrets_are_equal_if_all_octets_are() {
        let secret = Secret::from_slice(b"abc");
        assert_eq!(secret, secret.duplicate());
        assert_ne!(secret, Secret::from_slice(b"abd"));
        assert_ne!(secret, Secret::from_slice(b"ab"));
        assert_ne!(secret, Secret::from_slice(b"abcd"));
    }
}
