//! The IKE header (RFC 7296 §3.1).

use super::reader::Reader;
use super::{PayloadType, WireError};

codes! {
    /// What an exchange is for (RFC 7296 §3.1).
    ExchangeType: u8 {
        IkeSaInit = 34, "IKE_SA_INIT";
        IkeAuth = 35, "IKE_AUTH";
        CreateChildSa = 36, "CREATE_CHILD_SA";
        Informational = 37, "INFORMATIONAL";
        IkeSessionResume = 38, "IKE_SESSION_RESUME";
        IkeIntermediate = 43, "IKE_INTERMEDIATE";
        IkeFollowupKe = 44, "IKE_FOLLOWUP_KE";
    }
}

/// The version octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Four bits.
    pub major: u8,
    /// Four bits; ignored on receipt (RFC 7296 §3.1).
    pub minor: u8,
}

impl Version {
    /// IKEv2.
    pub const IKEV2: Self = Self { major: 2, minor: 0 };
}

/// The flags octet; its other bits are sent as zero and ignored on receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// I: the sender is the original initiator of the IKE SA.
    pub initiator: bool,
    /// V: the sender can speak a higher major version.
    pub higher_version: bool,
    /// R: this is a response.
    pub response: bool,
}

const INITIATOR: u8 = 0x08;
const HIGHER_VERSION: u8 = 0x10;
const RESPONSE: u8 = 0x20;

/// The header of a message. The first payload's type and the length belong to the message and are written with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The original initiator's SPI; never zero in a valid message.
    pub initiator_spi: u64,
    /// The responder's SPI; zero in the first message.
    pub responder_spi: u64,
    /// The protocol version.
    pub version: Version,
    /// What the exchange is for.
    pub exchange: ExchangeType,
    /// Who sends it, and in which role.
    pub flags: Flags,
    /// Counts the requests of each side from zero.
    pub message_id: u32,
}

impl Header {
    /// Octets on the wire.
    pub const LEN: usize = 28;

    /// An IKEv2 header.
    pub fn new(spis: (u64, u64), exchange: ExchangeType, flags: Flags, message_id: u32) -> Self {
        let (initiator_spi, responder_spi) = spis;
        Self { initiator_spi, responder_spi, version: Version::IKEV2, exchange, flags, message_id }
    }

    /// Splits a datagram into its header, the type of the first payload and the payloads.
    ///
    /// The version is not judged, so that a message of another version can still be answered.
    ///
    /// # Errors
    /// [`WireError::Truncated`] under 28 octets, [`WireError::Length`] if the length field is not the datagram's length.
    pub fn parse(datagram: &[u8]) -> Result<(Self, PayloadType, &[u8]), WireError> {
        let mut reader = Reader::new(datagram);
        let initiator_spi = reader.u64()?;
        let responder_spi = reader.u64()?;
        let first = PayloadType::from_code(reader.u8()?);
        let version = reader.u8()?;
        let exchange = ExchangeType::from_code(reader.u8()?);
        let flags = reader.u8()?;
        let message_id = reader.u32()?;
        let length = reader.u32()?;
        if u32::try_from(datagram.len()) != Ok(length) {
            return Err(WireError::Length);
        }
        let header = Self {
            initiator_spi,
            responder_spi,
            version: Version { major: version >> 4, minor: version & 0x0f },
            exchange,
            flags: Flags {
                initiator: flags & INITIATOR != 0,
                higher_version: flags & HIGHER_VERSION != 0,
                response: flags & RESPONSE != 0,
            },
            message_id,
        };
        Ok((header, first, reader.rest()))
    }

    /// The header's octets in front of `body` octets of payloads, the first of type `first`.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if the message would not fit its length field.
    pub fn write(&self, first: PayloadType, body: usize) -> Result<[u8; Self::LEN], WireError> {
        let length = body
            .checked_add(Self::LEN)
            .and_then(|length| u32::try_from(length).ok())
            .ok_or(WireError::TooLong("message"))?;
        let mut flags = 0;
        for (set, bit) in [
            (self.flags.initiator, INITIATOR),
            (self.flags.higher_version, HIGHER_VERSION),
            (self.flags.response, RESPONSE),
        ] {
            if set {
                flags |= bit;
            }
        }
        let mut octets = Vec::with_capacity(Self::LEN);
        octets.extend_from_slice(&self.initiator_spi.to_be_bytes());
        octets.extend_from_slice(&self.responder_spi.to_be_bytes());
        octets.push(first.code());
        octets.push(self.version.major << 4 | self.version.minor & 0x0f);
        octets.push(self.exchange.code());
        octets.push(flags);
        octets.extend_from_slice(&self.message_id.to_be_bytes());
        octets.extend_from_slice(&length.to_be_bytes());
        octets.try_into().map_err(|_| WireError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    const OCTETS: &str = "0102030405060708 1112131415161718 2e 20 23 28 00000001 0000001c";

    #[test]
    fn a_header_has_the_octets_of_the_rfc() {
        let (header, first, body) = Header::parse(&hex(OCTETS)).map(|(h, f, b)| (h, f, b.len())).unwrap();
        assert_eq!(
            header,
            Header::new(
                (0x0102_0304_0506_0708, 0x1112_1314_1516_1718),
                ExchangeType::IkeAuth,
                Flags { initiator: true, higher_version: false, response: true },
                1
            )
        );
        assert_eq!((first, body), (PayloadType::Encrypted, 0));
        assert_eq!(header.write(first, 0).unwrap().as_slice(), hex(OCTETS));
    }

    #[test]
    fn reserved_flags_are_ignored() {
        let mut octets = hex(OCTETS);
        octets[19] |= 0xc7;
        let (header, first, _) = Header::parse(&octets).unwrap();
        assert_eq!(header.write(first, 0).unwrap().as_slice(), hex(OCTETS));
    }

    #[test]
    fn a_length_that_is_not_the_datagrams_is_refused() {
        let mut octets = hex(OCTETS);
        octets.push(0);
        assert_eq!(Header::parse(&octets), Err(WireError::Length));
        octets[27] = 0x1e;
        assert_eq!(Header::parse(&octets), Err(WireError::Length));
        assert_eq!(Header::parse(&octets[..27]), Err(WireError::Truncated));
    }
}
