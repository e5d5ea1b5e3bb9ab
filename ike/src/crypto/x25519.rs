//! Curve25519 for IKEv2 (RFC 8031).

use std::fmt;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::{CryptoError, KeyExchangeMethod, KeyPair, Randomness, Secret};
use crate::wire::Group;

/// The method; 32 octets of public value and of secret.
#[derive(Debug)]
pub(crate) struct X25519;

impl KeyExchangeMethod for X25519 {
    fn id(&self) -> Group {
        Group::X25519
    }

    fn generate(&self, randomness: &mut dyn Randomness) -> Result<Box<dyn KeyPair>, CryptoError> {
        let mut octets = Zeroizing::new([0; 32]);
        randomness.fill(octets.as_mut_slice());
        Ok(Box::new(X25519KeyPair::new(&octets)))
    }
}

struct X25519KeyPair {
    secret: StaticSecret,
    public: PublicKey,
}

impl X25519KeyPair {
    fn new(octets: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*octets);
        let public = PublicKey::from(&secret);
        Self { secret, public }
    }
}

impl KeyPair for X25519KeyPair {
    fn group(&self) -> Group {
        Group::X25519
    }

    fn public_value(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        // RFC 8031 §3.1: a public value of another length ends the exchange.
        let peer: [u8; 32] = peer.try_into().map_err(|_| CryptoError::PublicValue)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(peer));
        // RFC 8031 §5 with RFC 7748 §6.1: an all-zero result comes from a point of small order.
        if !shared.was_contributory() {
            return Err(CryptoError::PublicValue);
        }
        Ok(Secret::from_slice(shared.as_bytes()))
    }
}

impl fmt::Debug for X25519KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519KeyPair(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::{Counting, hex, hex_array};

    fn alice() -> X25519KeyPair {
        X25519KeyPair::new(&hex_array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    }

    /// RFC 7748 §6.1.
    #[test]
    fn both_sides_agree_on_the_secret_of_rfc_7748() {
        let alice = alice();
        let bob = X25519KeyPair::new(&hex_array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        assert_eq!(alice.public_value(), hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        assert_eq!(bob.public_value(), hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(alice.agree(bob.public_value()).unwrap().as_bytes(), shared);
        assert_eq!(bob.agree(alice.public_value()).unwrap().as_bytes(), shared);
    }

    #[test]
    fn a_public_value_of_small_order_is_refused() {
        assert_eq!(alice().agree(&[0; 32]), Err(CryptoError::PublicValue));
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(alice().agree(&one), Err(CryptoError::PublicValue));
    }

    #[test]
    fn a_public_value_of_another_length_is_refused() {
        assert_eq!(alice().agree(&[9; 31]), Err(CryptoError::PublicValue));
        assert_eq!(alice().agree(&[9; 33]), Err(CryptoError::PublicValue));
    }

    #[test]
    fn a_key_pair_can_be_agreed_more_than_once() {
        let mut randomness = Counting(1);
        let ours = X25519.generate(&mut randomness).unwrap();
        let first = X25519.generate(&mut randomness).unwrap();
        let second = X25519.generate(&mut randomness).unwrap();
        assert!(ours.agree(&[0; 32]).is_err());
        assert_eq!(ours.agree(first.public_value()).unwrap(), first.agree(ours.public_value()).unwrap());
        assert_eq!(ours.agree(second.public_value()).unwrap(), second.agree(ours.public_value()).unwrap());
    }

    #[test]
    fn a_key_pair_is_not_printed() {
        assert_eq!(format!("{:?}", alice()), "X25519KeyPair(..)");
    }
}
