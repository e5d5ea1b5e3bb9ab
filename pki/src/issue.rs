//! An authority of our own, and the certificates that it issues (RFC 5280, RFC 4945 §5).

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::{Zeroize, Zeroizing};

use crate::identity::Identity;
use crate::pem::{PemError, certificates};
use crate::usage;

/// From when until when a certificate holds, both included, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment; at most 9999-12-31T23:59:59Z (RFC 5280 §4.1.2.5).
    pub not_after: SystemTime,
}

/// A new certificate and its key.
pub struct Issued {
    /// The chain in PEM form, the new certificate first, without an authority that signed itself.
    pub certificate_pem: String,
    /// The private key in PEM form (PKCS#8).
    pub key_pem: Zeroizing<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// A certificate cannot be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The time is before 1970, after 9999, or ends before it begins.
    #[error("a certificate cannot be valid for such a time")]
    Validity,
    /// The certificate would be worthless before its end.
    #[error("the authority itself ends before that, at {0}")]
    OutlivesAuthority(String),
    /// Only addresses, domain names and mail addresses can be written into a certificate.
    #[error("a certificate for {0} cannot be issued")]
    Identity(String),
    /// The authority's name.
    #[error("an authority needs a name of 1 to 64 characters")]
    Name,
    /// The authority's certificate.
    #[error("the authority's certificate: {0}")]
    Pem(#[from] PemError),
    /// The authority's certificate is none of an authority.
    #[error("the certificate that should issue is not one of an authority")]
    NotAnAuthority,
    /// The authority's certificate and key do not belong together.
    #[error("the authority's key is not the one of its certificate")]
    OtherKey,
    /// Making or reading a key, or writing the certificate.
    #[error("{0}")]
    Failed(String),
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Whoever can issue certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
    /// What has to follow each certificate that is issued: the authority and those above it, if it is not on top.
    above: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority, which signs for itself: P-256, keyCertSign and cRLSign.
    ///
    /// # Errors
    /// The name or the time cannot be, or the system gave no randomness.
    pub fn create(name: &str, validity: Validity) -> Result<Issued, IssueError> {
        // RFC 5280 appendix A.1: ub-common-name.
        if name.trim().is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(IssueError::Name);
        }
        let mut params = parameters(name, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(issued(certificate.pem(), &mut key))
    }

    /// An authority from its certificate — the first one in `certificate`; those above it may follow — and its key.
    ///
    /// # Errors
    /// They cannot be read, do not belong together, or are not those of an authority.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IssueError> {
        let chain = certificates(certificate.as_bytes())?;
        let own = chain.first().ok_or(PemError::Empty)?;
        let (_, parsed) = X509Certificate::from_der(own).map_err(|_| IssueError::NotAnAuthority)?;
        if !parsed.is_ca() || !usage::may_issue(&parsed).unwrap_or(false) {
            return Err(IssueError::NotAnAuthority);
        }
        let key = KeyPair::from_pem(key)?;
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(IssueError::OtherKey);
        }
        let not_after = at(parsed.validity().not_after.timestamp()).ok_or(IssueError::Validity)?;
        let above = certificate_blocks(certificate).filter(|block| !is_self_issued(block)).fold(
            String::new(),
            |mut above, block| {
                above.push_str(block);
                above.push('\n');
                above
            },
        );
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(own.as_slice()), key)?;
        Ok(Self { issuer, not_after, above })
    }

    /// The last moment at which what the authority issues can be verified.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// A new key and a certificate for `identity`: P-256, digitalSignature, id-kp-ipsecIKE, subjectAltName.
    ///
    /// # Errors
    /// The identity or the time cannot be, or the system gave no randomness.
    pub fn issue(&self, identity: &Identity, validity: Validity) -> Result<Issued, IssueError> {
        // In whole seconds, as certificates have them.
        if since_1970(validity.not_after)? > since_1970(self.not_after)? {
            return Err(IssueError::OutlivesAuthority(crate::verify::moment(self.not_after)));
        }
        let text = identity.to_string();
        let unusable = || IssueError::Identity(text.clone());
        let name = match identity {
            Identity::Ipv4(address) => SanType::IpAddress(IpAddr::V4(*address)),
            Identity::Ipv6(address) => SanType::IpAddress(IpAddr::V6(*address)),
            Identity::Fqdn(name) => SanType::DnsName(name.as_str().try_into().map_err(|_| unusable())?),
            Identity::Email(name) => SanType::Rfc822Name(name.as_str().try_into().map_err(|_| unusable())?),
            Identity::Dn(_) => return Err(unusable()),
        };
        // The Subject is for people only (RFC 4945 §3.1.9), and no longer than ub-common-name.
        let subject: String = text.chars().take(64).collect();
        let mut params = parameters(&subject, validity)?;
        params.subject_alt_names = vec![name];
        // RFC 4945 §5.1.3.2, §5.1.3.12: what IKE needs, and no more.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])];
        params.use_authority_key_identifier_extension = true;
        let mut key = KeyPair::generate()?;
        let mut pem = params.signed_by(&key, &self.issuer)?.pem();
        pem.push_str(&self.above);
        Ok(issued(pem, &mut key))
    }
}

/// Each certificate in `pem`, still in PEM form, without the text between.
fn certificate_blocks(pem: &str) -> impl Iterator<Item = &str> {
    pem.split_inclusive("-----END CERTIFICATE-----")
        .filter_map(|part| part.find("-----BEGIN CERTIFICATE-----").and_then(|start| part.get(start..)))
}

/// RFC 4945 §3.3: trust anchors are not sent; the peer has to have them.
fn is_self_issued(block: &str) -> bool {
    let der = certificates(block.as_bytes()).unwrap_or_default();
    der.first()
        .and_then(|der| X509Certificate::from_der(der).ok())
        .is_none_or(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}

fn issued(certificate_pem: String, key: &mut KeyPair) -> Issued {
    let key_pem = Zeroizing::new(key.serialize_pem());
    key.zeroize();
    Issued { certificate_pem, key_pem }
}

fn parameters(name: &str, validity: Validity) -> Result<CertificateParams, IssueError> {
    if validity.not_after < validity.not_before {
        return Err(IssueError::Validity);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(validity.not_before)?;
    params.not_after = epoch + since_1970(validity.not_after)?;
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// RFC 5280 §4.1.2.2: positive, at most 20 octets; here with 126 bits that nobody can guess.
fn serial() -> Result<SerialNumber, IssueError> {
    let mut octets = [0; 16];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| IssueError::Failed("the system gave no randomness".to_owned()))?;
    if let Some(first) = octets.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(SerialNumber::from_slice(&octets))
}

/// Whole seconds, in the years from 1970 to 9999.
fn since_1970(time: SystemTime) -> Result<Duration, IssueError> {
    /// 9999-12-31T23:59:59Z
    const LAST: u64 = 253_402_300_799;
    let seconds = time.duration_since(UNIX_EPOCH).map_err(|_| IssueError::Validity)?.as_secs();
    if seconds > LAST { Err(IssueError::Validity) } else { Ok(Duration::from_secs(seconds)) }
}

/// A moment from seconds since 1970.
pub(crate) fn at(seconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}
