//! Interface identifiers that are stable on a link and tell nothing elsewhere (RFC 7217).

use ring::hmac;

use crate::action::Interface;
use crate::address::{CareOfAddress, Prefix};

/// The secret of the identifiers.
#[derive(Debug)]
pub(super) struct Identifiers(hmac::Key);

impl Identifiers {
    /// From the engine's seed; another label than any other use of it, so that nothing correlates.
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let secret = hmac::sign(&root, b"interface identifiers");
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()))
    }

    /// The address for this prefix on this interface after so many collisions: always the same, so that a node that
    /// returns to a link has its old care-of address again.
    pub(super) fn address(&self, interface: Interface, prefix: Prefix, collisions: u8) -> CareOfAddress {
        let mut identifier = 0;
        for attempt in 0..=u8::MAX {
            identifier = self.identifier(interface, prefix, collisions, attempt);
            // RFC 7217 §5: an identifier that is reserved is passed over.
            if !is_reserved(identifier) {
                break;
            }
        }
        CareOfAddress(prefix.with_identifier(identifier.into()))
    }

    fn identifier(&self, interface: Interface, prefix: Prefix, collisions: u8, attempt: u8) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&prefix.address().octets());
        context.update(&[prefix.length()]);
        context.update(&interface.0.to_be_bytes());
        context.update(&[collisions, attempt]);
        context.sign().as_ref().iter().take(8).fold(0, |sum, &octet| (sum << 8) | u64::from(octet))
    }
}

/// RFC 5453: subnet-router anycast, the IANA Ethernet block, reserved subnet anycast (the home agents' among them).
fn is_reserved(identifier: u64) -> bool {
    identifier == 0
        || (0x0200_5eff_fe00_0000..=0x0200_5eff_feff_ffff).contains(&identifier)
        || (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_depends_on_secret_prefix_interface_and_collisions_alone() {
        let (one, other) = (Identifiers::new(&[1; 32]), Identifiers::new(&[2; 32]));
        let prefix = Prefix::new("2001:db8:1::".parse().unwrap(), 64);
        let elsewhere = Prefix::new("2001:db8:2::".parse().unwrap(), 64);
        let base = one.address(Interface(1), prefix, 0);
        assert!(prefix.contains(base.0));
        assert_eq!(base, Identifiers::new(&[1; 32]).address(Interface(1), prefix, 0));
        let low = |address: CareOfAddress| address.0.to_bits() & u128::from(u64::MAX);
        for different in [
            other.address(Interface(1), prefix, 0),
            one.address(Interface(2), prefix, 0),
            one.address(Interface(1), elsewhere, 0),
            one.address(Interface(1), prefix, 1),
        ] {
            assert_ne!(low(base), low(different));
        }
    }

    #[test]
    fn anycast_identifiers_are_reserved() {
        assert!(is_reserved(0));
        assert!(is_reserved(0xfdff_ffff_ffff_fffe), "Mobile IPv6 home agents anycast");
        assert!(is_reserved(0x0200_5eff_fe00_5213));
        assert!(!is_reserved(1));
    }
}
