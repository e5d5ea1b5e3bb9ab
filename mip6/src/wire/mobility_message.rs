//! The Mobility Header (RFC 6275 §6.1.1).
//!
//! ```text
//! Payload Proto | Header Len | MH Type | Reserved   | 4
//! Checksum                                          | 2
//! Message Data
//! ```

use super::octets::Octets;
use super::{
    BindingAcknowledgement, BindingError, BindingRefreshRequest, BindingUpdate, CareOfTest, CareOfTestInit, HomeTest,
    HomeTestInit, Malformed,
};

/// The IPv6 Next Header value of a Mobility Header.
pub const MOBILITY_HEADER: u8 = 135;

/// IPPROTO_NONE: nothing follows a Mobility Header.
const NO_NEXT_HEADER: u8 = 59;

/// The MH types of RFC 6275 §6.1.2 to §6.1.9.
pub mod mobility_type {
    /// Binding Refresh Request.
    pub const BINDING_REFRESH_REQUEST: u8 = 0;
    /// Home Test Init.
    pub const HOME_TEST_INIT: u8 = 1;
    /// Care-of Test Init.
    pub const CARE_OF_TEST_INIT: u8 = 2;
    /// Home Test.
    pub const HOME_TEST: u8 = 3;
    /// Care-of Test.
    pub const CARE_OF_TEST: u8 = 4;
    /// Binding Update.
    pub const BINDING_UPDATE: u8 = 5;
    /// Binding Acknowledgement.
    pub const BINDING_ACKNOWLEDGEMENT: u8 = 6;
    /// Binding Error.
    pub const BINDING_ERROR: u8 = 7;
}

/// A message in a Mobility Header.
#[derive(Debug, PartialEq, Eq)]
pub enum MobilityMessage {
    /// Type 0.
    BindingRefreshRequest(BindingRefreshRequest),
    /// Type 1.
    HomeTestInit(HomeTestInit),
    /// Type 2.
    CareOfTestInit(CareOfTestInit),
    /// Type 3.
    HomeTest(HomeTest),
    /// Type 4.
    CareOfTest(CareOfTest),
    /// Type 5.
    BindingUpdate(BindingUpdate),
    /// Type 6.
    BindingAcknowledgement(BindingAcknowledgement),
    /// Type 7.
    BindingError(BindingError),
    /// A type without a name here.
    Other(OtherMessage),
}

/// A message of an unknown type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherMessage {
    /// The MH type, above 7.
    pub kind: u8,
    /// What follows the checksum: 8n + 2 octets. On writing it is filled with zeros up to that, and cut at 2042 octets.
    pub data: Vec<u8>,
}

impl MobilityMessage {
    /// Reads a message from its "Payload Proto" octet on. The checksum is not looked at, see
    /// [`checksum::mobility_is_correct`](super::checksum::mobility_is_correct).
    ///
    /// # Errors
    /// [`Malformed`] where RFC 6275 §9.2 says that the message is dropped.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut header = Octets::new(message);
        // RFC 6275 §6.1.1: Reserved is ignored on reception.
        let [payload_proto, length, kind, _reserved] = header.array()?;
        // RFC 6275 §9.2: anything but "no next header" is dropped.
        if payload_proto != NO_NEXT_HEADER {
            return Err(Malformed::PayloadProto(payload_proto));
        }
        header.u16()?;
        // RFC 6275 §6.1.1: the length is in units of 8 octets and does not count the first 8; six of those were read.
        let data = header.take(usize::from(length) * 8 + 2)?;
        // RFC 6275 §9.2: the length covers at least what is fixed for the type.
        let shortest = match kind {
            mobility_type::HOME_TEST_INIT
            | mobility_type::CARE_OF_TEST_INIT
            | mobility_type::BINDING_UPDATE
            | mobility_type::BINDING_ACKNOWLEDGEMENT => 1,
            mobility_type::HOME_TEST | mobility_type::CARE_OF_TEST | mobility_type::BINDING_ERROR => 2,
            _ => 0,
        };
        if length < shortest {
            return Err(Malformed::HeaderLength { kind, length });
        }
        let octets = Octets::new(data);
        Ok(match kind {
            mobility_type::BINDING_REFRESH_REQUEST => {
                Self::BindingRefreshRequest(BindingRefreshRequest::parse_data(octets)?)
            }
            mobility_type::HOME_TEST_INIT => Self::HomeTestInit(HomeTestInit::parse_data(octets)?),
            mobility_type::CARE_OF_TEST_INIT => Self::CareOfTestInit(CareOfTestInit::parse_data(octets)?),
            mobility_type::HOME_TEST => Self::HomeTest(HomeTest::parse_data(octets)?),
            mobility_type::CARE_OF_TEST => Self::CareOfTest(CareOfTest::parse_data(octets)?),
            mobility_type::BINDING_UPDATE => Self::BindingUpdate(BindingUpdate::parse_data(octets)?),
            mobility_type::BINDING_ACKNOWLEDGEMENT => {
                Self::BindingAcknowledgement(BindingAcknowledgement::parse_data(octets)?)
            }
            mobility_type::BINDING_ERROR => Self::BindingError(BindingError::parse_data(octets)?),
            kind => Self::Other(OtherMessage { kind, data: data.to_vec() }),
        })
    }

    /// The octets from "Payload Proto" on, a multiple of 8, with a checksum of zero.
    pub fn write(&self) -> Vec<u8> {
        // RFC 6275 §6.1.1: "no next header", reserved zero; the length is filled in below.
        let mut message = vec![NO_NEXT_HEADER, 0, self.kind(), 0, 0, 0];
        match self {
            Self::BindingRefreshRequest(data) => data.write_data(&mut message),
            Self::HomeTestInit(data) => data.write_data(&mut message),
            Self::CareOfTestInit(data) => data.write_data(&mut message),
            Self::HomeTest(data) => data.write_data(&mut message),
            Self::CareOfTest(data) => data.write_data(&mut message),
            Self::BindingUpdate(data) => data.write_data(&mut message),
            Self::BindingAcknowledgement(data) => data.write_data(&mut message),
            Self::BindingError(data) => data.write_data(&mut message),
            Self::Other(other) => {
                message.extend(other.data.iter().take(2042));
                message.resize(message.len().max(8).next_multiple_of(8), 0);
            }
        }
        let length = u8::try_from((message.len() / 8).saturating_sub(1)).unwrap_or(u8::MAX);
        if let Some(octet) = message.get_mut(1) {
            *octet = length;
        }
        message
    }

    /// The MH type.
    pub fn kind(&self) -> u8 {
        match self {
            Self::BindingRefreshRequest(_) => mobility_type::BINDING_REFRESH_REQUEST,
            Self::HomeTestInit(_) => mobility_type::HOME_TEST_INIT,
            Self::CareOfTestInit(_) => mobility_type::CARE_OF_TEST_INIT,
            Self::HomeTest(_) => mobility_type::HOME_TEST,
            Self::CareOfTest(_) => mobility_type::CARE_OF_TEST,
            Self::BindingUpdate(_) => mobility_type::BINDING_UPDATE,
            Self::BindingAcknowledgement(_) => mobility_type::BINDING_ACKNOWLEDGEMENT,
            Self::BindingError(_) => mobility_type::BINDING_ERROR,
            Self::Other(other) => other.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_says_its_whole_length() {
        let longest = MobilityMessage::Other(OtherMessage { kind: 200, data: vec![1; 2042] });
        let octets = longest.write();
        assert_eq!((octets.len(), octets[1]), (2048, 255));
        assert_eq!(MobilityMessage::parse(&octets), Ok(longest));
    }

    #[test]
    fn something_piggy_backed_is_refused() {
        let octets = [6, 1, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 1, 1, 2, 0, 0];
        assert_eq!(MobilityMessage::parse(&octets), Err(Malformed::PayloadProto(6)));
    }

    #[test]
    fn a_header_shorter_than_its_type_is_refused() {
        for (kind, shortest) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (6, 1), (7, 2)] {
            for length in 0..shortest {
                let mut octets = vec![0; (usize::from(length) + 1) * 8];
                octets[..3].copy_from_slice(&[59, length, kind]);
                assert_eq!(MobilityMessage::parse(&octets), Err(Malformed::HeaderLength { kind, length }));
            }
        }
    }

    #[test]
    fn a_header_longer_than_the_packet_is_refused() {
        let octets = [59, 2, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 1, 1, 2, 0, 0];
        assert_eq!(MobilityMessage::parse(&octets), Err(Malformed::Truncated));
        assert_eq!(MobilityMessage::parse(&[]), Err(Malformed::Truncated));
    }

    #[test]
    fn reserved_octets_are_ignored() {
        let octets = [59, 0, 0, 0xff, 0, 0, 0xff, 0xff];
        assert!(MobilityMessage::parse(&octets).is_ok());
    }

    #[test]
    fn an_unknown_type_survives() {
        let octets = [59, 1, 200, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        let message = MobilityMessage::parse(&octets).unwrap();
        assert_eq!(message.kind(), 200);
        assert_eq!(message.write(), octets);
    }
}
