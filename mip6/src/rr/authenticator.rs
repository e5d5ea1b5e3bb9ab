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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{MobilityMessage, MobilityOption, checksum};

    // Recomputed from RFC 6275 §5.2.5 and §6.2.7 with another implementation of HMAC-SHA1; Kcn is 00 01 … 13, the home
    // nonce 10 … 17 with index 7, the care-of nonce 20 … 27 with index 8.
    const HOME_TOKEN: [u8; 8] = [0xeb, 0xac, 0x63, 0x1a, 0xe2, 0xff, 0x65, 0x74];
    const CARE_OF_TOKEN: [u8; 8] = [0x0a, 0xf9, 0x1c, 0xf5, 0x0a, 0x52, 0xc6, 0x88];
    #[rustfmt::skip]
    const UPDATE: [u8; 32] = [
        0x3b, 3, 5, 0, 0xb7, 0x28, 0x12, 0x34, 0x80, 0, 0, 0x69, 4, 4, 0, 7, 0, 8, 5, 12,
        0x69, 0xc7, 0x14, 0x7d, 0x66, 0x3c, 0x2c, 0x42, 0x3f, 0x5a, 0xbf, 0xdb,
    ];
    #[rustfmt::skip]
    const DELETION: [u8; 32] = [
        0x3b, 3, 5, 0, 0x26, 0x4c, 0x12, 0x35, 0x80, 0, 0, 0, 4, 4, 0, 7, 0, 0, 5, 12,
        0xba, 0xee, 0x89, 0xe4, 0xd2, 0xb2, 0x06, 0xc4, 0x96, 0x62, 0xec, 0x98,
    ];
    #[rustfmt::skip]
    const ACKNOWLEDGEMENT: [u8; 32] = [
        0x3b, 3, 6, 0, 0xe5, 0xe8, 0, 0, 0x12, 0x34, 0, 0x69, 1, 4, 0, 0, 0, 0, 5, 12,
        0x7e, 0x05, 0x1a, 0x14, 0xe7, 0x13, 0x6e, 0x24, 0xc1, 0xad, 0xb4, 0x48,
    ];

    fn addresses() -> (Ipv6Addr, Ipv6Addr, Ipv6Addr) {
        let parse = |text: &str| text.parse().unwrap();
        (parse("2001:db8:1::100"), parse("2001:db8:f::1"), parse("2001:db8:2::2"))
    }

    fn key() -> BindingManagementKey {
        BindingManagementKey::new(&HomeKeygenToken::new(HOME_TOKEN), &CareOfKeygenToken::new(CARE_OF_TOKEN))
    }

    fn deletion_key() -> BindingManagementKey {
        BindingManagementKey::for_deletion(&HomeKeygenToken::new(HOME_TOKEN))
    }

    #[test]
    fn the_key_is_the_hash_of_the_tokens() {
        assert_eq!(key().0[..5], [0x2f, 0x13, 0xf8, 0x92, 0x18]);
        assert_eq!(key().0[16..], [0x88, 0xca, 0x00, 0x18]);
        assert_eq!(deletion_key().0[..5], [0xa6, 0xe0, 0xd6, 0xaf, 0xde]);
    }

    #[test]
    fn the_authenticators_of_update_deletion_and_acknowledgement_are_those_of_the_formula() {
        let (home, care_of, correspondent) = addresses();
        assert!(key().verify(care_of, correspondent, &UPDATE));
        // RFC 6275 §6.2.7: the home address stands for the care-of address when the binding is deleted from home.
        assert!(deletion_key().verify(home, correspondent, &DELETION));
        assert!(key().verify(care_of, correspondent, &ACKNOWLEDGEMENT));
        assert!(!key().verify(home, correspondent, &UPDATE));
        assert!(!deletion_key().verify(care_of, correspondent, &UPDATE));
    }

    #[test]
    fn any_flipped_bit_but_those_of_the_checksum_is_seen() {
        let (_, care_of, correspondent) = addresses();
        for bit in 0..UPDATE.len() * 8 {
            let mut message = UPDATE;
            message[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key().verify(care_of, correspondent, &message), CHECKSUM.contains(&(bit / 8)), "bit {bit}");
        }
    }

    #[test]
    fn a_message_we_write_and_sign_is_that_of_the_vectors() {
        let (home, care_of, correspondent) = addresses();
        let Ok(MobilityMessage::BindingUpdate(mut update)) = MobilityMessage::parse(&UPDATE) else { panic!() };
        assert_eq!(update.options[0], MobilityOption::NonceIndices { home: 7, care_of: 8 });
        update.options[1] = MobilityOption::BindingAuthorizationData(vec![0; AUTHENTICATOR]);
        let mut message = MobilityMessage::BindingUpdate(update).write();
        key().sign(care_of, correspondent, &mut message);
        checksum::fill_mobility(home, correspondent, &mut message);
        assert_eq!(message, UPDATE);
        assert!(checksum::mobility_is_correct(home, correspondent, &DELETION));
        assert!(checksum::mobility_is_correct(correspondent, home, &ACKNOWLEDGEMENT));
    }

    #[test]
    fn a_message_without_room_for_an_authenticator_is_not_verified() {
        let (_, care_of, correspondent) = addresses();
        for length in 0..18 {
            assert!(!key().verify(care_of, correspondent, &UPDATE[..length]));
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", key()), "BindingManagementKey(..)");
    }
}
