//! A certificate authority and the certificates that it issues, with the profile of RFC 4945 §5.

use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

use crate::identity::Identity;
use crate::verify::IPSEC_IKE;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub from: SystemTime,
    /// The last one.
    pub until: SystemTime,
}

impl Validity {
    /// From an hour before `now`, for clocks that go slow, for so many days.
    pub fn days(now: SystemTime, days: u32) -> Self {
        let from = now - Duration::from_secs(3600);
        Self { from, until: now + Duration::from_secs(u64::from(days) * 86_400) }
    }
}

/// A certificate with its key, PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: Zeroizing<String>,
}

/// Why no certificate was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// This identity cannot stand in a subjectAltName.
    #[error("{0} cannot stand in a certificate")]
    Identity(String),
    /// What the library says.
    #[error("{0}")]
    Library(String),
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self::Library(error.to_string())
    }
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority with an ECDSA P-256 key and a certificate signed by itself.
    ///
    /// # Errors
    /// What the library says.
    pub fn create(name: &str, validity: Validity) -> Result<Issued, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = params(name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// The authority of a certificate and its key, PEM.
    ///
    /// # Errors
    /// One of them is not readable.
    pub fn load(certificate: &str, key: &str) -> Result<Self, IssueError> {
        let key = KeyPair::from_pem(key)?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(certificate, key)? })
    }

    /// Issues a certificate for an identity with a new ECDSA P-256 key.
    ///
    /// # Errors
    /// The identity cannot stand in a certificate.
    pub fn issue(&self, identity: &Identity, validity: Validity) -> Result<Issued, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = params(&identity.to_string(), validity);
        let text = |name: &str| Ia5String::try_from(name).map_err(|_| IssueError::Identity(name.to_owned()));
        params.subject_alt_names = vec![match identity {
            Identity::Ipv4(address) => SanType::IpAddress((*address).into()),
            Identity::Ipv6(address) => SanType::IpAddress((*address).into()),
            Identity::Fqdn(name) => SanType::DnsName(text(name)?),
            Identity::Email(name) => SanType::Rfc822Name(text(name)?),
            Identity::Dn(_) => return Err(IssueError::Identity(identity.to_string())),
        }];
        // RFC 4945 §5.1.3.2, §5.1.3.12.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(IPSEC_IKE.to_vec())];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    params
}
