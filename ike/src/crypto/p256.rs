//! The 256-bit random ECP group (RFC 5903).

use std::fmt;

use ::p256::elliptic_curve::sec1::ToSec1Point;
use ::p256::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use super::{CryptoError, KeyExchangeMethod, KeyPair, Randomness, Secret};
use crate::wire::Group;

/// The method; 64 octets of public value (x | y), 32 of secret.
#[derive(Debug)]
pub(crate) struct P256;

/// A random string is no scalar once in 2^32 times; a source that fails so often is broken.
const TRIES: usize = 8;

impl KeyExchangeMethod for P256 {
    fn id(&self) -> Group {
        Group::P256
    }

    fn generate(&self, randomness: &mut dyn Randomness) -> Result<Box<dyn KeyPair>, CryptoError> {
        let mut octets = Zeroizing::new([0; 32]);
        for _ in 0..TRIES {
            randomness.fill(octets.as_mut_slice());
            if let Ok(secret) = SecretKey::from_slice(octets.as_slice()) {
                return Ok(Box::new(P256KeyPair::new(secret)));
            }
        }
        Err(CryptoError::Randomness)
    }
}

struct P256KeyPair {
    secret: SecretKey,
    /// x | y.
    public: Vec<u8>,
}

/// SEC 1 §2.3.3: the mark of an uncompressed point, which IKEv2 leaves out.
const UNCOMPRESSED: u8 = 4;

impl P256KeyPair {
    fn new(secret: SecretKey) -> Self {
        let point = secret.public_key().to_sec1_point(false);
        // RFC 5903 §7: the public value is x | y.
        let public = point.as_bytes().strip_prefix(&[UNCOMPRESSED]).unwrap_or_default().to_vec();
        Self { secret, public }
    }
}

impl KeyPair for P256KeyPair {
    fn group(&self) -> Group {
        Group::P256
    }

    fn public_value(&self) -> &[u8] {
        &self.public
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        if peer.len() != 64 {
            return Err(CryptoError::PublicValue);
        }
        let mut point = vec![UNCOMPRESSED];
        point.extend_from_slice(peer);
        // RFC 6989 §2.3: a public value that is not on the curve is refused.
        let peer = PublicKey::from_sec1_bytes(&point).map_err(|_| CryptoError::PublicValue)?;
        // RFC 5903 §7: the shared secret is the x coordinate.
        let shared = ::p256::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), peer.as_affine());
        Ok(Secret::from_slice(shared.raw_secret_bytes().as_slice()))
    }
}

impl fmt::Debug for P256KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256KeyPair(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::{Counting, hex};

    const INITIATOR: &str = "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433";
    const RESPONDER: &str = "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53";

    fn pair(secret: &str) -> P256KeyPair {
        P256KeyPair::new(SecretKey::from_slice(&hex(secret)).unwrap())
    }

    /// RFC 5903 §8.1.
    #[test]
    fn both_sides_agree_on_the_secret_of_rfc_5903() {
        let initiator = pair(INITIATOR);
        let responder = pair(RESPONDER);
        assert_eq!(
            initiator.public_value(),
            hex("DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180\
                 5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3")
        );
        assert_eq!(
            responder.public_value(),
            hex("D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63\
                 56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB")
        );
        let shared = hex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE");
        assert_eq!(initiator.agree(responder.public_value()).unwrap().as_bytes(), shared);
        assert_eq!(responder.agree(initiator.public_value()).unwrap().as_bytes(), shared);
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let mut point = pair(RESPONDER).public_value().to_vec();
        point[63] ^= 1;
        assert_eq!(pair(INITIATOR).agree(&point), Err(CryptoError::PublicValue));
        assert_eq!(pair(INITIATOR).agree(&[0; 64]), Err(CryptoError::PublicValue));
        assert_eq!(pair(INITIATOR).agree(&[0xff; 64]), Err(CryptoError::PublicValue));
    }

    #[test]
    fn a_public_value_of_another_length_is_refused() {
        let point = pair(RESPONDER).public_value().to_vec();
        assert_eq!(pair(INITIATOR).agree(&point[..63]), Err(CryptoError::PublicValue));
        assert_eq!(pair(INITIATOR).agree(&[]), Err(CryptoError::PublicValue));
        let mut compressed = vec![2];
        compressed.extend_from_slice(&point[..32]);
        assert_eq!(pair(INITIATOR).agree(&compressed), Err(CryptoError::PublicValue));
    }

    #[test]
    fn a_key_pair_can_be_agreed_more_than_once() {
        let mut randomness = Counting(1);
        let ours = P256.generate(&mut randomness).unwrap();
        let theirs = P256.generate(&mut randomness).unwrap();
        assert!(ours.agree(&[0; 64]).is_err());
        for _ in 0..2 {
            assert_eq!(ours.agree(theirs.public_value()).unwrap(), theirs.agree(ours.public_value()).unwrap());
        }
    }

    #[test]
    fn a_source_that_only_gives_zeros_yields_no_key() {
        struct Zeros;
        impl Randomness for Zeros {
            fn fill(&mut self, octets: &mut [u8]) {
                octets.fill(0);
            }
        }
        assert_eq!(P256.generate(&mut Zeros).err(), Some(CryptoError::Randomness));
    }
}
