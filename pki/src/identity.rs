//! Identities as IKE sends them, and as certificates hold them (RFC 4945 §3.1).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// Who somebody is. The derived equality compares spelling; see [`Identity::matches`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR, an iPAddress of four octets.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR, an iPAddress of sixteen octets.
    Ipv6(Ipv6Addr),
    /// ID_FQDN, a dNSName.
    Fqdn(String),
    /// ID_RFC822_ADDR, an rfc822Name.
    Email(String),
    /// ID_DER_ASN1_DN, the Subject: the DER encoding of a Name.
    Dn(Vec<u8>),
}

impl Identity {
    /// Whether a certificate that holds `self` proves `expected`: both are of the same kind and equal in all their
    /// length. The case of domains does not count, and `*` is a character like any other.
    #[must_use]
    pub fn matches(&self, expected: &Self) -> bool {
        match (self, expected) {
            // RFC 4945 §3.1.1: addresses bit by bit.
            (Self::Ipv4(held), Self::Ipv4(expected)) => held == expected,
            (Self::Ipv6(held), Self::Ipv6(expected)) => held == expected,
            // RFC 4945 §3.1.2: without regard to case, without wildcards.
            (Self::Fqdn(held), Self::Fqdn(expected)) => held.eq_ignore_ascii_case(expected),
            // RFC 5280 §7.5: the part before the @ exactly, the host without regard to case.
            (Self::Email(held), Self::Email(expected)) => match (held.rsplit_once('@'), expected.rsplit_once('@')) {
                (Some((held, held_host)), Some((expected, expected_host))) => {
                    held == expected && held_host.eq_ignore_ascii_case(expected_host)
                }
                _ => false,
            },
            // RFC 4945 §3.1.5: the whole encoding.
            (Self::Dn(held), Self::Dn(expected)) => held == expected,
            (Self::Ipv4(_) | Self::Ipv6(_) | Self::Fqdn(_) | Self::Email(_) | Self::Dn(_), _) => false,
        }
    }

    /// The identities that a certificate proves: its subjectAltNames and its Subject as a whole.
    ///
    /// RFC 4945 §3.1.9: domain names and addresses inside of the Subject are none.
    pub(crate) fn all_of(certificate: &X509Certificate<'_>) -> Vec<Self> {
        let alternatives = match certificate.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter().filter_map(Self::of_name).collect(),
            Ok(None) | Err(_) => Vec::new(),
        };
        let subject = certificate.subject();
        let subject = subject.iter_rdn().next().is_some().then(|| Self::Dn(subject.as_raw().to_vec()));
        alternatives.into_iter().chain(subject).collect()
    }

    fn of_name(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Fqdn((*name).to_owned())),
            GeneralName::RFC822Name(name) => Some(Self::Email((*name).to_owned())),
            // An address is exactly as long as one; anything else is none, whatever it begins with.
            GeneralName::IPAddress(octets) => match (<[u8; 4]>::try_from(*octets), <[u8; 16]>::try_from(*octets)) {
                (Ok(octets), _) => Some(Self::Ipv4(octets.into())),
                (_, Ok(octets)) => Some(Self::Ipv6(octets.into())),
                _ => None,
            },
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::URI(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Fqdn(name) | Self::Email(name) => name.escape_debug().fmt(f),
            Self::Dn(der) => match X509Name::from_der(der) {
                Ok(([], name)) => readable(&name).fmt(f),
                _ => write!(f, "a name of {} octets that cannot be read", der.len()),
            },
        }
    }
}

/// A name from a certificate for people; nothing in it can steer a terminal.
pub(crate) fn readable(name: &X509Name<'_>) -> String {
    let text = name.to_string();
    if text.is_empty() { "a certificate without a subject".to_owned() } else { text.escape_debug().to_string() }
}

/// The text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity is a domain name (mn.example.org), a mail address (mn@example.org) or an IP address")]
pub struct NotAnIdentity;

impl FromStr for Identity {
    type Err = NotAnIdentity;

    /// An address, a `name@domain` or a domain name.
    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ipv6(address));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ipv4(address));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        let is_domain = |name: &str| name.len() <= 253 && name.split('.').all(label);
        match text.split_once('@') {
            Some((name, domain))
                if (1..=64).contains(&name.len())
                    && name.chars().all(|c| c.is_ascii_graphic())
                    && is_domain(domain) =>
            {
                Ok(Self::Email(text.to_owned()))
            }
            None if is_domain(text) => Ok(Self::Fqdn(text.to_owned())),
            _ => Err(NotAnIdentity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    fn fqdn(name: &str) -> Identity {
        Identity::Fqdn(name.into())
    }

    fn email(name: &str) -> Identity {
        Identity::Email(name.into())
    }

    #[test]
    fn identities_are_equal_in_all_their_length_or_not_at_all() {
        assert!(fqdn("MN.example.org").matches(&fqdn("mn.Example.ORG")));
        for (held, expected) in [
            ("mn.example.org", "mn.example.or"),
            ("mn.example.or", "mn.example.org"),
            ("mn.example.org\0.evil.org", "mn.example.org"),
            ("mn.example.org", "mn.example.org."),
            ("*.example.org", "mn.example.org"),
            ("example.org", "mn.example.org"),
            ("", "mn.example.org"),
        ] {
            assert!(!fqdn(held).matches(&fqdn(expected)), "{held:?} {expected:?}");
        }
        assert!(email("mn@Example.org").matches(&email("mn@example.org")));
        assert!(!email("MN@example.org").matches(&email("mn@example.org")));
        assert!(!email("").matches(&email("")));
        assert!(!Identity::Dn(vec![0x30, 0]).matches(&Identity::Dn(vec![0x30, 0, 0])));
    }

    #[test]
    fn identities_of_different_kinds_are_never_equal() {
        assert!(!fqdn("2001:db8::1").matches(&"2001:db8::1".parse().unwrap()));
        assert!(!fqdn("mn@example.org").matches(&email("mn@example.org")));
        let mapped = Identity::Ipv6("::ffff:192.0.2.1".parse().unwrap());
        assert!(!mapped.matches(&Identity::Ipv4("192.0.2.1".parse().unwrap())));
    }

    #[test]
    fn an_identity_is_told_from_its_form() {
        assert_eq!("mn.example.org".parse(), Ok(fqdn("mn.example.org")));
        assert_eq!("mn@example.org".parse(), Ok(email("mn@example.org")));
        assert_eq!("2001:db8::1".parse(), Ok(Identity::Ipv6("2001:db8::1".parse().unwrap())));
        assert_eq!("192.0.2.1".parse(), Ok(Identity::Ipv4("192.0.2.1".parse().unwrap())));
        for wrong in ["", "@", "a@", "@a", "a b", "a..b", "*.example.org", "a@b@c", "a:b"] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_cannot_steer_a_terminal() {
        assert_eq!(fqdn("a\u{1b}[2Jb").to_string(), "a\\u{1b}[2Jb");
        assert_eq!(Identity::Dn(vec![1, 2, 3]).to_string(), "a name of 3 octets that cannot be read");
    }
}
