//! Identification payload: `| type | reserved (3) | data … |` (RFC 7296 §3.5).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::WireError;
use super::reader::Reader;

/// Who somebody says to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN.
    Fqdn(String),
    /// ID_RFC822_ADDR.
    Rfc822(String),
    /// ID_DER_ASN1_DN: a DER `Name`.
    DerAsn1Dn(Vec<u8>),
    /// ID_KEY_ID: opaque octets.
    KeyId(Vec<u8>),
    /// Another type of identity.
    Other {
        /// Its type.
        kind: u8,
        /// Its octets.
        data: Vec<u8>,
    },
}

impl Identity {
    /// The ID type on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Ipv4(_) => 1,
            Self::Fqdn(_) => 2,
            Self::Rfc822(_) => 3,
            Self::Ipv6(_) => 5,
            Self::DerAsn1Dn(_) => 9,
            Self::KeyId(_) => 11,
            Self::Other { kind, .. } => *kind,
        }
    }

    fn parse(kind: u8, data: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            1 => Self::Ipv4(<[u8; 4]>::try_from(data).map_err(|_| malformed("an IPv4 address has 4 octets"))?.into()),
            2 => Self::Fqdn(text(data)?),
            3 => Self::Rfc822(text(data)?),
            5 => Self::Ipv6(<[u8; 16]>::try_from(data).map_err(|_| malformed("an IPv6 address has 16 octets"))?.into()),
            9 => Self::DerAsn1Dn(data.to_vec()),
            11 => Self::KeyId(data.to_vec()),
            kind => Self::Other { kind, data: data.to_vec() },
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ipv4(address) => out.extend_from_slice(&address.octets()),
            Self::Ipv6(address) => out.extend_from_slice(&address.octets()),
            Self::Fqdn(name) | Self::Rfc822(name) => out.extend_from_slice(name.as_bytes()),
            Self::DerAsn1Dn(data) | Self::KeyId(data) | Self::Other { data, .. } => out.extend_from_slice(data),
        }
    }
}

/// For the log: the type and the value. Octets are written in hexadecimal, so that nobody can forge a line.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            Self::Fqdn(name) => write!(f, "fqdn:{}", name.escape_default()),
            Self::Rfc822(name) => write!(f, "email:{}", name.escape_default()),
            Self::DerAsn1Dn(data) => hex(f, "dn:", data),
            Self::KeyId(data) => hex(f, "keyid:", data),
            Self::Other { kind, data } => {
                write!(f, "id{kind}:")?;
                hex(f, "", data)
            }
        }
    }
}

/// The payload: an identity, with the reserved octets as they came, because AUTH covers them (RFC 7296 §2.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// Who.
    pub identity: Identity,
    /// Zero when we send it; ignored on receipt.
    pub reserved: [u8; 3],
}

impl Identification {
    /// The payload that we send.
    pub fn new(identity: Identity) -> Self {
        Self { identity, reserved: [0; 3] }
    }

    /// The payload without its generic header, as AUTH covers it (`RestOfInitIDPayload`, RFC 7296 §2.15).
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Parses the payload's body.
    ///
    /// # Errors
    /// If an address has the wrong length or a name is no printable ASCII.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let kind = reader.u8()?;
        let reserved = reader.array()?;
        Ok(Self { identity: Identity::parse(kind, reader.rest())?, reserved })
    }

    /// Writes the payload's body.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.identity.kind());
        out.extend_from_slice(&self.reserved);
        self.identity.write(out);
    }
}

/// RFC 7296 §3.5: no terminators in names; mail addresses may be UTF-8 (RFC 6532).
fn text(data: &[u8]) -> Result<String, WireError> {
    let text = std::str::from_utf8(data).map_err(|_| malformed("a name is not UTF-8"))?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(malformed("a name is empty or has control characters"));
    }
    Ok(text.to_owned())
}

fn hex(f: &mut fmt::Formatter<'_>, prefix: &str, data: &[u8]) -> fmt::Result {
    f.write_str(prefix)?;
    data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

fn malformed(reason: &'static str) -> WireError {
    WireError::Malformed { payload: "ID", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    #[test]
    fn identities_have_the_octets_of_the_rfc() {
        for (identity, octets, shown) in [
            (Identity::Ipv4(Ipv4Addr::new(192, 0, 2, 1)), "01000000 c0000201", "192.0.2.1"),
            (Identity::Fqdn("a.b".into()), "02000000 612e62", "fqdn:a.b"),
            (Identity::Rfc822("a@b".into()), "03000000 614062", "email:a@b"),
            (
                Identity::Ipv6("2001:db8::1".parse().unwrap()),
                "05000000 20010db8000000000000000000000001",
                "2001:db8::1",
            ),
            (Identity::DerAsn1Dn(vec![0x30, 0]), "09000000 3000", "dn:3000"),
            (Identity::KeyId(vec![0, 10]), "0b000000 000a", "keyid:000a"),
            (Identity::Other { kind: 10, data: vec![1] }, "0a000000 01", "id10:01"),
        ] {
            let id = Identification::new(identity.clone());
            assert_eq!(id.body(), hex(octets));
            assert_eq!(Identification::parse(&hex(octets)), Ok(id));
            assert_eq!(identity.to_string(), shown);
        }
    }

    #[test]
    fn the_reserved_octets_stay_part_of_what_is_authenticated() {
        let octets = hex("02010203 61");
        let id = Identification::parse(&octets).unwrap();
        assert_eq!(id.identity, Identity::Fqdn("a".into()));
        assert_eq!(id.body(), octets);
    }

    #[test]
    fn wrong_lengths_and_forged_names_are_refused() {
        for octets in [
            "01000000 c00002",
            "05000000 c0000201",
            "02000000",
            "02000000 610a62",
            "02000000 6100",
            "03000000 ff",
            "0200",
        ] {
            assert!(Identification::parse(&hex(octets)).is_err(), "{octets}");
        }
    }
}
