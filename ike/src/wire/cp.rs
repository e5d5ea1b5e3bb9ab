//! Configuration payload: `| type | reserved (3) | attributes … |`, each `| type (2) | length (2) | value … |`
//! (RFC 7296 §3.15).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::reader::Reader;
use super::{WireError, length16};

codes! {
    /// What the payload is for.
    CfgType: u8 {
        Request = 1, "CFG_REQUEST";
        Reply = 2, "CFG_REPLY";
        Set = 3, "CFG_SET";
        Ack = 4, "CFG_ACK";
    }
}

/// Attributes that are looked at.
const MAX_ATTRIBUTES: usize = 64;

/// One attribute. `None` is an empty value: "any" in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CfgAttribute {
    /// INTERNAL_IP4_ADDRESS.
    InternalIp4Address(Option<Ipv4Addr>),
    /// INTERNAL_IP4_DNS.
    InternalIp4Dns(Option<Ipv4Addr>),
    /// INTERNAL_IP6_ADDRESS: an address and the length of its prefix in bits (0 to 128).
    InternalIp6Address(Option<(Ipv6Addr, u8)>),
    /// INTERNAL_IP6_DNS.
    InternalIp6Dns(Option<Ipv6Addr>),
    /// INTERNAL_IP6_SUBNET: an address and the length of its prefix in bits.
    InternalIp6Subnet(Option<(Ipv6Addr, u8)>),
    /// An attribute without a name here.
    Other {
        /// Its type, 15 bits.
        kind: u16,
        /// Its value.
        data: Vec<u8>,
    },
}

const INTERNAL_IP4_ADDRESS: u16 = 1;
const INTERNAL_IP4_DNS: u16 = 3;
const INTERNAL_IP6_ADDRESS: u16 = 8;
const INTERNAL_IP6_DNS: u16 = 10;
const INTERNAL_IP6_SUBNET: u16 = 15;
/// RFC 7296 §3.15.1: the highest bit of the type is reserved.
const TYPE: u16 = 0x7fff;

impl CfgAttribute {
    /// The attribute type on the wire.
    pub fn kind(&self) -> u16 {
        match self {
            Self::InternalIp4Address(_) => INTERNAL_IP4_ADDRESS,
            Self::InternalIp4Dns(_) => INTERNAL_IP4_DNS,
            Self::InternalIp6Address(_) => INTERNAL_IP6_ADDRESS,
            Self::InternalIp6Dns(_) => INTERNAL_IP6_DNS,
            Self::InternalIp6Subnet(_) => INTERNAL_IP6_SUBNET,
            Self::Other { kind, .. } => kind & TYPE,
        }
    }

    fn parse(kind: u16, value: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            INTERNAL_IP4_ADDRESS => Self::InternalIp4Address(optional(value, ipv4)?),
            INTERNAL_IP4_DNS => Self::InternalIp4Dns(optional(value, ipv4)?),
            INTERNAL_IP6_ADDRESS => Self::InternalIp6Address(optional(value, prefix)?),
            INTERNAL_IP6_DNS => Self::InternalIp6Dns(optional(value, ipv6)?),
            INTERNAL_IP6_SUBNET => Self::InternalIp6Subnet(optional(value, prefix)?),
            kind => Self::Other { kind, data: value.to_vec() },
        })
    }

    fn value(&self) -> Vec<u8> {
        match self {
            Self::InternalIp4Address(value) | Self::InternalIp4Dns(value) => {
                value.map(|address| address.octets().to_vec()).unwrap_or_default()
            }
            Self::InternalIp6Dns(value) => value.map(|address| address.octets().to_vec()).unwrap_or_default(),
            Self::InternalIp6Address(value) | Self::InternalIp6Subnet(value) => value
                .map(|(address, length)| {
                    let mut octets = address.octets().to_vec();
                    octets.push(length);
                    octets
                })
                .unwrap_or_default(),
            Self::Other { data, .. } => data.clone(),
        }
    }
}

/// A request, a reply, or an unsolicited setting and its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Which.
    pub kind: CfgType,
    /// In their order.
    pub attributes: Vec<CfgAttribute>,
}

impl Configuration {
    /// Parses the payload's body.
    ///
    /// # Errors
    /// If an attribute does not fit or a known one does not have its length.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let kind = CfgType::from_code(reader.u8()?);
        reader.array::<3>()?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(WireError::TooMany("configuration attributes"));
            }
            let kind = reader.u16()? & TYPE;
            let length = reader.u16()?;
            attributes.push(CfgAttribute::parse(kind, reader.take(usize::from(length))?)?);
        }
        Ok(Self { kind, attributes })
    }

    /// Writes the payload's body.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if a value does not fit its length field.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        for attribute in &self.attributes {
            let value = attribute.value();
            out.extend_from_slice(&attribute.kind().to_be_bytes());
            out.extend_from_slice(&length16(value.len(), "configuration attribute")?.to_be_bytes());
            out.extend_from_slice(&value);
        }
        Ok(())
    }
}

fn optional<T>(value: &[u8], read: fn(&[u8]) -> Option<T>) -> Result<Option<T>, WireError> {
    if value.is_empty() {
        return Ok(None);
    }
    read(value).map(Some).ok_or(WireError::Malformed { payload: "CP", reason: "an attribute has a wrong value" })
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn ipv6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

/// RFC 7296 §3.15.1: 17 octets, an address and the length of its prefix.
fn prefix(value: &[u8]) -> Option<(Ipv6Addr, u8)> {
    let (length, address) = value.split_last()?;
    Some((ipv6(address)?, *length)).filter(|(_, length)| *length <= 128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    #[test]
    fn a_request_and_a_reply_have_the_octets_of_the_rfc() {
        let home = "2001:db8::1".parse().unwrap();
        for (kind, attributes, octets) in [
            (
                CfgType::Request,
                vec![CfgAttribute::InternalIp6Address(None), CfgAttribute::InternalIp6Dns(None)],
                "01 000000 0008 0000 000a 0000",
            ),
            (
                CfgType::Reply,
                vec![
                    CfgAttribute::InternalIp6Address(Some((home, 64))),
                    CfgAttribute::InternalIp6Dns(Some(home)),
                    CfgAttribute::Other { kind: 20, data: vec![1] },
                ],
                "02 000000 0008 0011 20010db8000000000000000000000001 40 \
                 000a 0010 20010db8000000000000000000000001 0014 0001 01",
            ),
        ] {
            let cp = Configuration { kind, attributes };
            let mut written = Vec::new();
            cp.write(&mut written).unwrap();
            assert_eq!(written, hex(octets));
            assert_eq!(Configuration::parse(&written), Ok(cp));
        }
    }

    #[test]
    fn the_reserved_bit_of_an_attribute_is_ignored() {
        let cp = Configuration::parse(&hex("01 000000 8008 0000")).unwrap();
        assert_eq!(cp.attributes, [CfgAttribute::InternalIp6Address(None)]);
    }

    #[test]
    fn an_address_of_another_length_is_refused() {
        for octets in [
            "02 000000 0008 0010 20010db8000000000000000000000001",
            "02 000000 0008 0011 20010db8000000000000000000000001 81",
            "02 000000 0008 0011 20010db8000000000000000000000001",
            "02 000000 000a 0004 20010db8",
            "02 000000 0008",
            "02 0000",
        ] {
            assert!(Configuration::parse(&hex(octets)).is_err(), "{octets}");
        }
    }

    #[test]
    fn attributes_without_a_length_come_to_an_end() {
        let octets = [hex("01 000000"), hex("0014 0000").repeat(MAX_ATTRIBUTES + 1)].concat();
        assert_eq!(Configuration::parse(&octets), Err(WireError::TooMany("configuration attributes")));
    }
}
