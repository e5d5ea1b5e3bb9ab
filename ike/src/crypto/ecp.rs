//! The random ECP groups of 256 and 384 bits (RFC 5903).

use std::fmt;
use std::marker::PhantomData;

use ::p256::NistP256;
use ::p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ::p256::elliptic_curve::{CurveArithmetic, PublicKey, SecretKey, ecdh};
use ::p384::NistP384;
use zeroize::Zeroizing;

use super::{CryptoError, KeyExchangeMethod, KeyPair, Randomness, Secret};
use crate::wire::Group;

/// A method: a public value is x | y, a secret is x.
pub(crate) struct Ecp<C> {
    group: Group,
    /// Octets of a coordinate.
    len: usize,
    curve: PhantomData<fn() -> C>,
}

/// 64 octets of public value, 32 of secret.
pub(crate) static P256: Ecp<NistP256> = Ecp { group: Group::P256, len: 32, curve: PhantomData };
/// 96 octets of public value, 48 of secret.
pub(crate) static P384: Ecp<NistP384> = Ecp { group: Group::P384, len: 48, curve: PhantomData };

/// A random string is no scalar once in 2^32 times; a source that fails so often is broken.
const TRIES: usize = 8;

/// What is calculated with needs of its curve.
trait Arithmetic:
    CurveArithmetic<AffinePoint: FromSec1Point<Self> + ToSec1Point<Self>, FieldBytesSize: ModulusSize>
{
}

impl<C> Arithmetic for C where
    C: CurveArithmetic<AffinePoint: FromSec1Point<C> + ToSec1Point<C>, FieldBytesSize: ModulusSize>
{
}

impl<C: Arithmetic> KeyExchangeMethod for Ecp<C> {
    fn id(&self) -> Group {
        self.group
    }

    fn generate(&self, randomness: &mut dyn Randomness) -> Result<Box<dyn KeyPair>, CryptoError> {
        let mut octets = Zeroizing::new(vec![0; self.len]);
        for _ in 0..TRIES {
            randomness.fill(octets.as_mut_slice());
            if let Ok(secret) = SecretKey::<C>::from_slice(octets.as_slice()) {
                return Ok(Box::new(EcpKeyPair::new(self.group, secret)));
            }
        }
        Err(CryptoError::Randomness)
    }
}

impl<C> fmt::Debug for Ecp<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ecp({})", self.group)
    }
}

struct EcpKeyPair<C: CurveArithmetic> {
    group: Group,
    secret: SecretKey<C>,
    /// x | y.
    public: Vec<u8>,
}

/// SEC 1 §2.3.3: the mark of an uncompressed point, which IKEv2 leaves out.
const UNCOMPRESSED: u8 = 4;

impl<C: Arithmetic> EcpKeyPair<C> {
    fn new(group: Group, secret: SecretKey<C>) -> Self {
        let point = secret.public_key().to_sec1_point(false);
        // RFC 5903 §7: the public value is x | y.
        let public = point.as_bytes().strip_prefix(&[UNCOMPRESSED]).unwrap_or_default().to_vec();
        Self { group, secret, public }
    }
}

impl<C: Arithmetic> KeyPair for EcpKeyPair<C> {
    fn group(&self) -> Group {
        self.group
    }

    fn public_value(&self) -> &[u8] {
        &self.public
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        if peer.len() != self.public.len() {
            return Err(CryptoError::PublicValue);
        }
        let mut point = vec![UNCOMPRESSED];
        point.extend_from_slice(peer);
        // RFC 6989 §2.3: a public value that is not on the curve is refused.
        let peer = PublicKey::<C>::from_sec1_bytes(&point).map_err(|_| CryptoError::PublicValue)?;
        // RFC 5903 §7: the shared secret is the x coordinate.
        let shared = ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), peer.as_affine());
        Ok(Secret::from_slice(shared.raw_secret_bytes().as_slice()))
    }
}

impl<C: CurveArithmetic> fmt::Debug for EcpKeyPair<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcpKeyPair({}, ..)", self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::{Counting, hex};

    const INITIATOR: &str = "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433";
    const RESPONDER: &str = "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53";

    fn pair(secret: &str) -> EcpKeyPair<NistP256> {
        EcpKeyPair::new(Group::P256, SecretKey::from_slice(&hex(secret)).unwrap())
    }

    /// RFC 5903 §8.1.
    #[test]
    fn both_sides_agree_on_the_256_bit_secret_of_rfc_5903() {
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

    /// RFC 5903 §8.2.
    #[test]
    fn both_sides_agree_on_the_384_bit_secret_of_rfc_5903() {
        let pair =
            |secret: &str| EcpKeyPair::<NistP384>::new(Group::P384, SecretKey::from_slice(&hex(secret)).unwrap());
        let initiator =
            pair("099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194");
        let responder =
            pair("41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC");
        assert_eq!(
            initiator.public_value(),
            hex("667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA\
                 9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C")
        );
        assert_eq!(
            responder.public_value(),
            hex("E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571\
                 DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C")
        );
        let shared =
            hex("11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746");
        assert_eq!(initiator.agree(responder.public_value()).unwrap().as_bytes(), shared);
        assert_eq!(responder.agree(initiator.public_value()).unwrap().as_bytes(), shared);
    }

    #[test]
    fn a_public_value_of_the_other_curve_is_refused() {
        let large = P384.generate(&mut Counting(1)).unwrap();
        let small = P256.generate(&mut Counting(1)).unwrap();
        assert_eq!(large.agree(small.public_value()), Err(CryptoError::PublicValue));
        assert_eq!(small.agree(large.public_value()), Err(CryptoError::PublicValue));
        let mut off = large.public_value().to_vec();
        off[95] ^= 1;
        assert_eq!(large.agree(&off), Err(CryptoError::PublicValue));
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
        let methods: [&dyn KeyExchangeMethod; 2] = [&P256, &P384];
        for method in methods {
            let mut randomness = Counting(1);
            let ours = method.generate(&mut randomness).unwrap();
            let theirs = method.generate(&mut randomness).unwrap();
            assert!(ours.agree(&vec![0; theirs.public_value().len()]).is_err());
            for _ in 0..2 {
                assert_eq!(ours.agree(theirs.public_value()).unwrap(), theirs.agree(ours.public_value()).unwrap());
            }
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
