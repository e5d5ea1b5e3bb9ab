//! A whole IKE message (RFC 7296 §3).

use super::{Header, Payload, WireError, parse_chain, write_chain};

/// Octets that a message may have: what fits in one UDP datagram.
pub const MAX_MESSAGE: usize = 65_535;

/// A header and its payloads: those on the wire, or those that were inside SK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The IKE header.
    pub header: Header,
    /// The payloads in their order.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Parses a datagram. An SK payload stays closed.
    ///
    /// # Errors
    /// [`WireError::MajorVersion`] if it is not IKEv2, else what is wrong with its octets.
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let (header, first, body) = Header::parse(datagram)?;
        // RFC 7296 §2.5: a higher major version is not looked into; a lower one is not IKEv2 at all.
        if header.version.major != 2 {
            return Err(WireError::MajorVersion(header.version.major));
        }
        Ok(Self { header, payloads: parse_chain(first, body)? })
    }

    /// The message's octets, unprotected.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if a value does not fit its length field.
    pub fn write(&self) -> Result<Vec<u8>, WireError> {
        let (first, body) = write_chain(&self.payloads)?;
        if body.len().saturating_add(Header::LEN) > MAX_MESSAGE {
            return Err(WireError::TooLong("message"));
        }
        let mut octets = self.header.write(first, body.len())?.to_vec();
        octets.extend_from_slice(&body);
        Ok(octets)
    }

    /// The first notification of this type.
    pub fn notify(&self, kind: super::NotifyType) -> Option<&super::Notify> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    /// All notifications in their order.
    pub fn notifies(&self) -> impl Iterator<Item = &super::Notify> {
        self.payloads.iter().filter_map(|payload| match payload {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::wire::{ExchangeType, Flags, Notify, NotifyType};

    #[test]
    fn another_major_version_is_told_apart() {
        let message = Message {
            header: Header::new((1, 0), ExchangeType::IkeSaInit, Flags::default(), 0),
            payloads: vec![Payload::Notify(Notify::new(NotifyType::Cookie))],
        };
        let mut octets = message.write().unwrap();
        assert!(Message::parse(&octets).unwrap().notify(NotifyType::Cookie).is_some());
        // RFC 7296 §3.1: the minor version is ignored.
        octets[17] = 0x2f;
        assert!(Message::parse(&octets).is_ok());
        octets[17] = 0x30;
        assert_eq!(Message::parse(&octets), Err(WireError::MajorVersion(3)));
        octets[17] = 0x10;
        assert_eq!(Message::parse(&octets), Err(WireError::MajorVersion(1)));
        assert_eq!(Header::parse(&octets).unwrap().0.version.major, 1);
    }
}
