//! Identities as certificates carry them (RFC 4945 §3.1, §5.1.3.6).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// An identity that a certificate can vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An iPAddress of 4 octets.
    Ipv4(Ipv4Addr),
    /// An iPAddress of 16 octets.
    Ipv6(Ipv6Addr),
    /// A dNSName.
    Fqdn(String),
    /// An rfc822Name.
    Email(String),
    /// The subject, DER.
    Dn(Vec<u8>),
}

impl Identity {
    /// The identity that a text stands for: an IP address, `name@domain`, or a domain name.
    pub fn from_text(text: &str) -> Self {
        if let Ok(address) = text.parse() {
            Self::Ipv6(address)
        } else if let Ok(address) = text.parse() {
            Self::Ipv4(address)
        } else if text.contains('@') {
            Self::Email(text.to_owned())
        } else {
            Self::Fqdn(text.to_owned())
        }
    }

    /// Whether the certificate carries this very identity. Whole names are compared, whatever their length, and there are no
    /// wildcards (RFC 4945 §3.1.2): the class of CVE-2013-6075.
    pub(crate) fn is_carried_by(&self, certificate: &X509Certificate<'_>) -> bool {
        if let Self::Dn(subject) = self {
            return certificate.subject().as_raw() == subject.as_slice();
        }
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        names.value.general_names.iter().any(|name| match (self, name) {
            (Self::Ipv4(address), GeneralName::IPAddress(octets)) => *octets == address.octets(),
            (Self::Ipv6(address), GeneralName::IPAddress(octets)) => *octets == address.octets(),
            // RFC 4945 §3.1.2: names of hosts do not depend on case.
            (Self::Fqdn(own), GeneralName::DNSName(name)) => own.eq_ignore_ascii_case(name),
            (Self::Email(own), GeneralName::RFC822Name(name)) => same_mailbox(own, name),
            _ => false,
        })
    }
}

/// The domain does not depend on case, the mailbox before it does (RFC 5280 §7.5).
fn same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, domain)), Some((other_local, other_domain))) => {
            local == other_local && domain.eq_ignore_ascii_case(other_domain)
        }
        _ => false,
    }
}

/// The identities of a certificate in words, for messages.
pub(crate) fn names_of(certificate: &X509Certificate<'_>) -> String {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return "nobody by a subjectAltName".into() };
    let names: Vec<String> = names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => (*name).to_owned(),
            GeneralName::IPAddress(octets) => match <[u8; 16]>::try_from(*octets) {
                Ok(octets) => Ipv6Addr::from(octets).to_string(),
                Err(_) => format!("{octets:?}"),
            },
            other => format!("{other:?}"),
        })
        .collect();
    names.join(", ")
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Fqdn(name) | Self::Email(name) => f.write_str(name),
            Self::Dn(_) => f.write_str("a distinguished name"),
        }
    }
}
