//! Transforms and their attributes (RFC 7296 §3.3.2, §3.3.5).
//!
//! ```text
//! | 0 last / 3 more | 0 | length (2) | type (1) | 0 | id (2) | attributes …
//! ```

use super::reader::Reader;
use super::{WireError, length16};

codes! {
    /// Transform type 1.
    EncryptionId: u16 {
        TripleDes = 3, "ENCR_3DES";
        Null = 11, "ENCR_NULL";
        AesCbc = 12, "ENCR_AES_CBC";
        AesCtr = 13, "ENCR_AES_CTR";
        AesCcm8 = 14, "ENCR_AES_CCM_8";
        AesCcm12 = 15, "ENCR_AES_CCM_12";
        AesCcm16 = 16, "ENCR_AES_CCM_16";
        AesGcm8 = 18, "ENCR_AES_GCM_8";
        AesGcm12 = 19, "ENCR_AES_GCM_12";
        AesGcm16 = 20, "ENCR_AES_GCM_16";
        ChaCha20Poly1305 = 28, "ENCR_CHACHA20_POLY1305";
    }
}

codes! {
    /// Transform type 2.
    PrfId: u16 {
        HmacMd5 = 1, "PRF_HMAC_MD5";
        HmacSha1 = 2, "PRF_HMAC_SHA1";
        Aes128Xcbc = 4, "PRF_AES128_XCBC";
        HmacSha256 = 5, "PRF_HMAC_SHA2_256";
        HmacSha384 = 6, "PRF_HMAC_SHA2_384";
        HmacSha512 = 7, "PRF_HMAC_SHA2_512";
        Aes128Cmac = 8, "PRF_AES128_CMAC";
    }
}

codes! {
    /// Transform type 3.
    IntegrityId: u16 {
        None = 0, "NONE";
        HmacMd5_96 = 1, "AUTH_HMAC_MD5_96";
        HmacSha1_96 = 2, "AUTH_HMAC_SHA1_96";
        AesXcbc96 = 5, "AUTH_AES_XCBC_96";
        HmacSha256_128 = 12, "AUTH_HMAC_SHA2_256_128";
        HmacSha384_192 = 13, "AUTH_HMAC_SHA2_384_192";
        HmacSha512_256 = 14, "AUTH_HMAC_SHA2_512_256";
    }
}

codes! {
    /// Transform type 4, the key exchange method; also in the KE payload.
    Group: u16 {
        None = 0, "NONE";
        Modp768 = 1, "MODP_768";
        Modp1024 = 2, "MODP_1024";
        Modp1536 = 5, "MODP_1536";
        Modp2048 = 14, "MODP_2048";
        Modp3072 = 15, "MODP_3072";
        Modp4096 = 16, "MODP_4096";
        Modp6144 = 17, "MODP_6144";
        Modp8192 = 18, "MODP_8192";
        P256 = 19, "ECP_256";
        P384 = 20, "ECP_384";
        P521 = 21, "ECP_521";
        X25519 = 31, "CURVE25519";
        X448 = 32, "CURVE448";
        MlKem512 = 35, "ML_KEM_512";
        MlKem768 = 36, "ML_KEM_768";
        MlKem1024 = 37, "ML_KEM_1024";
    }
}

codes! {
    /// Transform type 5.
    Esn: u16 {
        No = 0, "32-bit sequence numbers";
        Yes = 1, "extended sequence numbers";
    }
}

/// A transform's type and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransformId {
    /// Type 1.
    Encryption(EncryptionId),
    /// Type 2.
    Prf(PrfId),
    /// Type 3.
    Integrity(IntegrityId),
    /// Type 4.
    Group(Group),
    /// Type 5.
    Esn(Esn),
    /// A type without a name here.
    Other {
        /// The transform type.
        kind: u8,
        /// The transform id.
        id: u16,
    },
}

impl TransformId {
    /// The transform type on the wire.
    pub fn kind(self) -> u8 {
        match self {
            Self::Encryption(_) => 1,
            Self::Prf(_) => 2,
            Self::Integrity(_) => 3,
            Self::Group(_) => 4,
            Self::Esn(_) => 5,
            Self::Other { kind, .. } => kind,
        }
    }

    /// The transform id on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Encryption(id) => id.code(),
            Self::Prf(id) => id.code(),
            Self::Integrity(id) => id.code(),
            Self::Group(id) => id.code(),
            Self::Esn(id) => id.code(),
            Self::Other { id, .. } => id,
        }
    }

    fn from_codes(kind: u8, id: u16) -> Self {
        match kind {
            1 => Self::Encryption(EncryptionId::from_code(id)),
            2 => Self::Prf(PrfId::from_code(id)),
            3 => Self::Integrity(IntegrityId::from_code(id)),
            4 => Self::Group(Group::from_code(id)),
            5 => Self::Esn(Esn::from_code(id)),
            kind => Self::Other { kind, id },
        }
    }
}

/// Attribute type of the key length (RFC 7296 §3.3.5).
pub const KEY_LENGTH: u16 = 14;

/// Attributes that one transform may have; the RFC defines one.
const MAX_ATTRIBUTES: usize = 8;

/// A transform attribute. The type has 15 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Type and value in four octets.
    Short {
        /// The attribute type.
        kind: u16,
        /// Its value.
        value: u16,
    },
    /// Type, length and value.
    Long {
        /// The attribute type.
        kind: u16,
        /// Its value.
        value: Vec<u8>,
    },
}

/// One algorithm of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Which.
    pub id: TransformId,
    /// Its attributes. A transform with one that is unknown must not be chosen (RFC 7296 §3.3.6).
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// A transform without attributes.
    pub fn new(id: TransformId) -> Self {
        Self { id, attributes: Vec::new() }
    }

    /// An encryption transform with a key length in bits.
    pub fn encryption(id: EncryptionId, key_bits: u16) -> Self {
        let attributes = vec![Attribute::Short { kind: KEY_LENGTH, value: key_bits }];
        Self { id: TransformId::Encryption(id), attributes }
    }

    /// A pseudorandom function.
    pub fn prf(id: PrfId) -> Self {
        Self::new(TransformId::Prf(id))
    }

    /// An integrity algorithm.
    pub fn integrity(id: IntegrityId) -> Self {
        Self::new(TransformId::Integrity(id))
    }

    /// A key exchange method.
    pub fn group(id: Group) -> Self {
        Self::new(TransformId::Group(id))
    }

    /// Whether sequence numbers are extended.
    pub fn esn(id: Esn) -> Self {
        Self::new(TransformId::Esn(id))
    }

    /// The key length in bits, if that attribute is there.
    pub fn key_length(&self) -> Option<u16> {
        self.attributes.iter().find_map(|attribute| match attribute {
            Attribute::Short { kind: KEY_LENGTH, value } => Some(*value),
            Attribute::Short { .. } | Attribute::Long { .. } => None,
        })
    }

    /// Whether it has any attribute that is not one key length in its short form: such a transform must not be chosen
    /// (RFC 7296 §3.3, §3.3.5, §3.3.6).
    pub fn has_unknown_attribute(&self) -> bool {
        !matches!(self.attributes.as_slice(), [] | [Attribute::Short { kind: KEY_LENGTH, .. }])
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let kind = reader.u8()?;
        reader.u8()?;
        let id = TransformId::from_codes(kind, reader.u16()?);
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(WireError::TooMany("transform attributes"));
            }
            let kind = reader.u16()?;
            let value = reader.u16()?;
            attributes.push(if kind & SHORT != 0 {
                Attribute::Short { kind: kind & !SHORT, value }
            } else {
                Attribute::Long { kind, value: reader.take(usize::from(value))?.to_vec() }
            });
        }
        Ok(Self { id, attributes })
    }

    pub(crate) fn write(&self, more: bool, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut attributes = Vec::new();
        for attribute in &self.attributes {
            match attribute {
                Attribute::Short { kind, value } => {
                    attributes.extend_from_slice(&(kind | SHORT).to_be_bytes());
                    attributes.extend_from_slice(&value.to_be_bytes());
                }
                Attribute::Long { kind, value } => {
                    attributes.extend_from_slice(&(kind & !SHORT).to_be_bytes());
                    attributes.extend_from_slice(&length16(value.len(), "transform attribute")?.to_be_bytes());
                    attributes.extend_from_slice(value);
                }
            }
        }
        out.extend_from_slice(&[if more { 3 } else { 0 }, 0]);
        out.extend_from_slice(&length16(attributes.len().saturating_add(8), "transform")?.to_be_bytes());
        out.extend_from_slice(&[self.id.kind(), 0]);
        out.extend_from_slice(&self.id.code().to_be_bytes());
        out.extend_from_slice(&attributes);
        Ok(())
    }
}

/// The bit of an attribute type that says: no length, two octets of value.
const SHORT: u16 = 0x8000;
