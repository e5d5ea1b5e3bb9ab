//! Security association payload: proposals (RFC 7296 §3.3).
//!
//! ```text
//! | 0 last / 2 more | 0 | length (2) | number | protocol | SPI size | transforms | SPI … | transforms …
//! ```

use super::reader::Reader;
use super::{Transform, WireError, length8, length16};

codes! {
    /// What an SPI belongs to.
    Protocol: u8 {
        None = 0, "none";
        Ike = 1, "IKE";
        Ah = 2, "AH";
        Esp = 3, "ESP";
    }
}

/// Proposals that are looked at. Two handfuls are common; each costs a comparison with each of ours.
pub const MAX_PROPOSALS: usize = 32;

/// The offered or the chosen proposals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAssociation {
    /// By preference.
    pub proposals: Vec<Proposal>,
}

/// One proposal: one of each transform type is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// 1 for the first, one more for each following; in a response that of the chosen one.
    pub number: u8,
    /// IKE, AH or ESP.
    pub protocol: Protocol,
    /// Empty in IKE_SA_INIT, 8 octets when an IKE SA is rekeyed, 4 for ESP and AH.
    pub spi: Vec<u8>,
    /// By preference within each type.
    pub transforms: Vec<Transform>,
}

impl Proposal {
    /// A proposal for an initial IKE SA.
    pub fn ike(number: u8, transforms: Vec<Transform>) -> Self {
        Self { number, protocol: Protocol::Ike, spi: Vec::new(), transforms }
    }

    /// A proposal that rekeys an IKE SA; `spi` is the sender's new one.
    pub fn ike_rekey(number: u8, spi: u64, transforms: Vec<Transform>) -> Self {
        Self { number, protocol: Protocol::Ike, spi: spi.to_be_bytes().to_vec(), transforms }
    }

    /// A proposal for ESP; `spi` is the sender's inbound one.
    pub fn esp(number: u8, spi: u32, transforms: Vec<Transform>) -> Self {
        Self { number, protocol: Protocol::Esp, spi: spi.to_be_bytes().to_vec(), transforms }
    }

    /// The SPI, if it has the four octets of ESP and AH.
    pub fn spi32(&self) -> Option<u32> {
        self.spi.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// The SPI, if it has the eight octets of IKE.
    pub fn spi64(&self) -> Option<u64> {
        self.spi.as_slice().try_into().ok().map(u64::from_be_bytes)
    }

    fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let number = reader.u8()?;
        let protocol = Protocol::from_code(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = reader.u8()?;
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        let mut transforms = Vec::new();
        for left in (0..count).rev() {
            let last = reader.u8()?;
            reader.u8()?;
            let length = reader.u16()?;
            transforms.push(Transform::parse(reader.body(length, 4)?)?);
            // RFC 7296 §3.3.2: 0 for the last transform, 3 for the others.
            if last != if left == 0 { 0 } else { 3 } {
                return Err(malformed("wrong last-substructure octet of a transform"));
            }
        }
        if !reader.is_empty() {
            return Err(malformed("octets after the last transform"));
        }
        Ok(Self { number, protocol, spi, transforms })
    }

    fn write(&self, more: bool, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut transforms = Vec::new();
        let mut rest = self.transforms.as_slice();
        while let [transform, following @ ..] = rest {
            transform.write(!following.is_empty(), &mut transforms)?;
            rest = following;
        }
        let length = transforms.len().saturating_add(self.spi.len()).saturating_add(8);
        out.extend_from_slice(&[if more { 2 } else { 0 }, 0]);
        out.extend_from_slice(&length16(length, "proposal")?.to_be_bytes());
        out.push(self.number);
        out.push(self.protocol.code());
        out.push(length8(self.spi.len(), "SPI")?);
        out.push(length8(self.transforms.len(), "list of transforms")?);
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&transforms);
        Ok(())
    }
}

impl SecurityAssociation {
    /// Parses the payload's body.
    ///
    /// # Errors
    /// If a length or a last-substructure octet contradicts the octets, or there is no proposal.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let mut proposals = Vec::new();
        while !reader.is_empty() {
            if proposals.len() == MAX_PROPOSALS {
                return Err(WireError::TooMany("proposals"));
            }
            let last = reader.u8()?;
            reader.u8()?;
            let length = reader.u16()?;
            proposals.push(Proposal::parse(reader.body(length, 4)?)?);
            // RFC 7296 §3.3.1: 0 for the last proposal, 2 for the others.
            if last != if reader.is_empty() { 0 } else { 2 } {
                return Err(malformed("wrong last-substructure octet of a proposal"));
            }
        }
        if proposals.is_empty() {
            return Err(malformed("no proposal"));
        }
        Ok(Self { proposals })
    }

    /// Writes the payload's body.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if a value does not fit its length field.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut rest = self.proposals.as_slice();
        while let [proposal, following @ ..] = rest {
            proposal.write(!following.is_empty(), out)?;
            rest = following;
        }
        Ok(())
    }
}

fn malformed(reason: &'static str) -> WireError {
    WireError::Malformed { payload: "SA", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    use crate::wire::{Attribute, EncryptionId, Group, PrfId};

    const OCTETS: &str =
        "0000 0024 01 01 00 03  0300 000c 01 00 0014 800e0100  0300 0008 02 00 0005  0000 0008 04 00 001f";

    #[test]
    fn a_proposal_has_the_octets_of_the_rfc() {
        let sa = SecurityAssociation {
            proposals: vec![Proposal::ike(
                1,
                vec![
                    Transform::encryption(EncryptionId::AesGcm16, 256),
                    Transform::prf(PrfId::HmacSha256),
                    Transform::group(Group::X25519),
                ],
            )],
        };
        let mut octets = Vec::new();
        sa.write(&mut octets).unwrap();
        assert_eq!(octets, hex(OCTETS));
        assert_eq!(SecurityAssociation::parse(&octets), Ok(sa));
    }

    #[test]
    fn the_spi_sizes_are_those_of_the_protocols() {
        assert_eq!(Proposal::esp(1, 7, Vec::new()).spi32(), Some(7));
        assert_eq!(Proposal::esp(1, 7, Vec::new()).spi64(), None);
        assert_eq!(Proposal::ike_rekey(1, 7, Vec::new()).spi64(), Some(7));
        assert_eq!(Proposal::ike(1, Vec::new()).spi32(), None);
    }

    #[test]
    fn counts_and_last_marks_that_contradict_the_octets_are_refused() {
        let good = hex(OCTETS);
        // The proposal's mark and length, the number of transforms, the marks of the first and the last transform.
        for (at, value) in [(0, 2), (3, 0x23), (3, 0x25), (3, 7), (7, 2), (7, 4), (8, 0), (28, 3), (31, 7), (11, 3)] {
            let mut octets = good.clone();
            octets[at] = value;
            assert!(SecurityAssociation::parse(&octets).is_err(), "octet {at} is {value}");
        }
        assert!(SecurityAssociation::parse(&[]).is_err());
    }

    #[test]
    fn a_second_or_longer_key_length_counts_as_unknown() {
        let mut transform = Transform::encryption(EncryptionId::AesCbc, 256);
        assert!(!transform.has_unknown_attribute());
        assert_eq!(transform.key_length(), Some(256));
        transform.attributes.push(Attribute::Short { kind: 14, value: 128 });
        assert!(transform.has_unknown_attribute());
        transform.attributes = vec![Attribute::Long { kind: 14, value: vec![1, 0] }];
        assert!(transform.has_unknown_attribute());
        assert_eq!(transform.key_length(), None);
        assert!(!Transform::prf(PrfId::HmacSha256).has_unknown_attribute());
    }

    #[test]
    fn more_proposals_than_the_bound_are_refused() {
        let mut octets = Vec::new();
        let proposals = vec![Proposal::ike(1, Vec::new()); MAX_PROPOSALS + 1];
        SecurityAssociation { proposals }.write(&mut octets).unwrap();
        assert_eq!(SecurityAssociation::parse(&octets), Err(WireError::TooMany("proposals")));
    }
}
