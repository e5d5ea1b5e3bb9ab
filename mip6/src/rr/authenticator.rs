//! The binding management key and what it signs (RFC 6275 §5.2.5, §6.2.7).

use std::fmt;
use std::net::Ipv6Addr;

use ring::{digest, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{CareOfKeygenToken, HomeKeygenToken};

/// The length of an authenticator in octets: 96 bits.
pub const AUTHENTICATOR: usize = 12;

/// Where the checksum stands in a Mobility Header.
const CHECKSUM: std::ops::Range<usize> = 4..6;

/// Kbm: signs binding updates to a correspondent and their acknowledgements.
pub struct BindingManagementKey(Zeroizing<[u8; 20]>);

impl BindingManagementKey {
    /// Kbm = SHA1(home keygen token | care-of keygen token).
    pub fn new(home: &HomeKeygenToken, care_of: &CareOfKeygenToken) -> Self {
        Self::sha1(&[home.octets(), care_of.octets()])
    }

    /// Kbm = SHA1(home keygen token), for deleting a binding.
    pub fn for_deletion(home: &HomeKeygenToken) -> Self {
        Self::sha1(&[home.octets()])
    }

    /// The authenticator over a whole Mobility Header message that ends with the 12 octets of the authenticator itself.
    /// `care_of` is the care-of address the message is about, `correspondent` the correspondent's (home) address.
    ///
    /// First 96 bits of HMAC-SHA1(Kbm, care-of address | correspondent | MH data); the checksum counts as zero and the
    /// authenticator is not covered. `None` if the message is too short to hold one.
    pub fn authenticator(
        &self,
        care_of: Ipv6Addr,
        correspondent: Ipv6Addr,
        message: &[u8],
    ) -> Option<[u8; AUTHENTICATOR]> {
        let (covered, _) = message.split_last_chunk::<AUTHENTICATOR>()?;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.as_slice());
        let mut context = hmac::Context::with_key(&key);
        context.update(&care_of.octets());
        context.update(&correspondent.octets());
        // RFC 6275 §6.2.7: as if the checksum were zero.
        context.update(covered.get(..CHECKSUM.start)?);
        context.update(&[0; 2]);
        context.update(covered.get(CHECKSUM.end..)?);
        context.sign().as_ref().first_chunk().copied()
    }

    /// Writes the authenticator into the last 12 octets of a message; one too short for it stays as it is.
    pub fn sign(&self, care_of: Ipv6Addr, correspondent: Ipv6Addr, message: &mut [u8]) {
        if let Some(authenticator) = self.authenticator(care_of, correspondent, message)
            && let Some(last) = message.last_chunk_mut()
        {
            *last = authenticator;
        }
    }

    /// Whether the last 12 octets of a message are its authenticator.
    pub fn verify(&self, care_of: Ipv6Addr, correspondent: Ipv6Addr, message: &[u8]) -> bool {
        match (self.authenticator(care_of, correspondent, message), message.last_chunk::<AUTHENTICATOR>()) {
            (Some(right), Some(given)) => right.ct_eq(given).into(),
            _ => false,
        }
    }

    fn sha1(tokens: &[&[u8; 8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        for token in tokens {
            context.update(token.as_slice());
        }
        let mut key = Zeroizing::new([0; 20]);
        for (octet, hashed) in key.iter_mut().zip(context.finish().as_ref()) {
            *octet = *hashed;
        }
        Self(key)
    }
}

impl fmt::Debug for BindingManagementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BindingManagementKey(..)")
    }
}
