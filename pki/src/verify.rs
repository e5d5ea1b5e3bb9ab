//! Whether a chain of certificates proves an identity (RFC 5280 §6, RFC 4945).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::identity::{Identity, readable};
use crate::usage::{self, ForIke};

/// More certificates in one chain are not looked at: a stranger sends them. Paths have at most six authorities between.
const MOST_CERTIFICATES: usize = 8;

/// Whom we trust.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// One for each of `anchors`.
    facts: Vec<Facts>,
    key_ids: Vec<[u8; 20]>,
}

/// What a trust anchor does not say about its certificate.
#[derive(Clone, Debug)]
struct Facts {
    subject: String,
    not_before: u64,
    not_after: u64,
    path_len: Option<u32>,
}

/// A certificate cannot be trusted as an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// It cannot be read.
    #[error("certificate {0} cannot be read: {1}")]
    Unreadable(usize, String),
    /// It says that it is none.
    #[error("`{0}` is not an authority: its basicConstraints or its keyUsage do not let it issue certificates")]
    NotAnAuthority(String),
}

impl Authorities {
    /// Trusts these certificates (DER), whoever issued them.
    ///
    /// # Errors
    /// One of them cannot be read (they are counted from 1), or is not one of an authority.
    pub fn new<C: AsRef<[u8]>>(certificates: impl IntoIterator<Item = C>) -> Result<Self, AuthorityError> {
        let mut all = Self::default();
        for (index, certificate) in certificates.into_iter().enumerate() {
            let der = CertificateDer::from(certificate.as_ref());
            let unreadable = |why: String| AuthorityError::Unreadable(index + 1, why);
            let anchor = anchor_from_trusted_cert(&der).map_err(|error| unreadable(error.to_string()))?;
            let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
            let subject = readable(parsed.subject());
            let constraints = parsed.basic_constraints().map_err(|error| unreadable(error.to_string()))?;
            // RFC 5280 §6.1.4 (k), (n): also for the one on top, so that a peer's certificate is not taken for one.
            let Some(constraints) = constraints.map(|extension| extension.value).filter(|found| found.ca) else {
                return Err(AuthorityError::NotAnAuthority(subject));
            };
            if !usage::may_issue(&parsed).map_err(|error| unreadable(error.to_string()))? {
                return Err(AuthorityError::NotAnAuthority(subject));
            }
            all.facts.push(Facts {
                subject,
                not_before: seconds(parsed.validity().not_before),
                not_after: seconds(parsed.validity().not_after),
                path_len: constraints.path_len_constraint,
            });
            all.key_ids.push(sha1(parsed.public_key().raw));
            all.anchors.push(anchor.to_owned());
        }
        Ok(all)
    }

    /// The SHA-1 of each authority's SubjectPublicKeyInfo, as CERTREQ lists them (RFC 7296 §3.7).
    #[must_use]
    pub fn key_ids(&self) -> &[[u8; 20]] {
        &self.key_ids
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// What is known about the certificates behind an anchor: several, if an authority was renewed with its key.
    fn facts_of<'a>(&'a self, anchor: &'a TrustAnchor<'_>) -> impl Iterator<Item = &'a Facts> {
        let same = |one: &&TrustAnchor<'_>| {
            one.subject == anchor.subject && one.subject_public_key_info == anchor.subject_public_key_info
        };
        self.anchors.iter().zip(&self.facts).filter(move |(one, _)| same(one)).map(|(_, facts)| facts)
    }
}

/// A chain does not prove the identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is no certificate.
    #[error("the peer sent no certificate")]
    Empty,
    /// More than eight.
    #[error("the peer sent {0} certificates, more than are looked at")]
    TooMany(usize),
    /// It cannot be read.
    #[error("a certificate of the peer cannot be read: {0}")]
    Unreadable(String),
    /// The chain ends at nobody that we trust.
    #[error("the authority `{issuer}`, on which the certificate of `{subject}` rests, is not trusted")]
    UnknownAuthority {
        /// Of the peer.
        subject: String,
        /// The last one in the chain.
        issuer: String,
    },
    /// It was valid.
    #[error("the certificate of `{subject}` expired at {not_after}")]
    Expired {
        /// Whose certificate, the peer's or that of an authority.
        subject: String,
        /// The last moment at which it was valid.
        not_after: String,
    },
    /// It will be valid.
    #[error("the certificate of `{subject}` is valid only from {not_before} on; is the clock right?")]
    NotYetValid {
        /// Whose certificate, the peer's or that of an authority.
        subject: String,
        /// The first moment at which it will be valid.
        not_before: String,
    },
    /// The chain is good, but somebody else's.
    #[error("the peer says that it is `{expected}`, but its certificate is for {}", names(found))]
    WrongIdentity {
        /// Who it has to be.
        expected: Identity,
        /// Whom the certificate is for.
        found: Vec<Identity>,
    },
    /// ExtendedKeyUsage.
    #[error("a certificate is not for IKE: its extendedKeyUsage has neither ipsecIKE nor any")]
    ExtendedKeyUsage,
    /// KeyUsage.
    #[error(
        "the certificate of `{0}` is not for signatures: its keyUsage has neither digitalSignature nor nonRepudiation"
    )]
    KeyUsage(String),
    /// Somebody changed something, or has another key than the authority of the same name.
    #[error("a signature in the chain of `{0}` is wrong")]
    BadSignature(String),
    /// An algorithm that is broken, weak or unknown.
    #[error("a certificate in the chain of `{0}` is signed in a way that is not accepted")]
    WeakSignature(String),
    /// An authority may not vouch for this name.
    #[error("an authority may not issue a certificate for `{0}`: its nameConstraints forbid it")]
    NameConstraints(String),
    /// Somebody issues who may not, or too far below.
    #[error("a certificate in the chain of `{0}` is issued by one that may not issue it")]
    NotAnAuthority(String),
    /// The peer's certificate is one of an authority.
    #[error("the certificate of `{0}` is one of an authority, not of a peer")]
    AuthorityAsPeer(String),
    /// Anything else.
    #[error("the certificate of `{0}` cannot be accepted: {1}")]
    Refused(String, String),
}

/// Whether `chain` (DER, the peer's certificate first, the others in any order) proves at `now` that the peer is
/// `expected`, by `authorities`.
///
/// # Errors
/// It does not; the error says why.
pub fn verify<C: AsRef<[u8]>>(
    chain: &[C],
    authorities: &Authorities,
    now: SystemTime,
    expected: &Identity,
) -> Result<(), VerifyError> {
    if chain.len() > MOST_CERTIFICATES {
        return Err(VerifyError::TooMany(chain.len()));
    }
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
    let (first, others) = chain.split_first().ok_or(VerifyError::Empty)?;
    let end_entity = EndEntityCert::try_from(first).map_err(|error| VerifyError::Unreadable(error.to_string()))?;
    let (_, peer) = X509Certificate::from_der(first).map_err(|error| VerifyError::Unreadable(error.to_string()))?;

    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let of_authorities = |path: &VerifiedPath<'_>| authorities_fit(path, authorities, now);
    end_entity
        .verify_for_usage(algorithms.all, &authorities.anchors, others, now, ForIke, None, Some(&of_authorities))
        .map_err(|error| explain(error, &peer, &chain, authorities))?;

    let unreadable = |error: x509_parser::error::X509Error| VerifyError::Unreadable(error.to_string());
    if !usage::may_sign(&peer).map_err(unreadable)? {
        return Err(VerifyError::KeyUsage(readable(peer.subject())));
    }
    let found = Identity::all_of(&peer);
    if found.iter().any(|held| held.matches(expected)) {
        Ok(())
    } else {
        Err(VerifyError::WrongIdentity { expected: expected.clone(), found })
    }
}

/// What the path building leaves open: the keyUsage of the authorities between, and time and depth of the one on top.
fn authorities_fit(path: &VerifiedPath<'_>, authorities: &Authorities, now: UnixTime) -> Result<(), webpki::Error> {
    for between in path.intermediate_certificates() {
        let der = between.der();
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| webpki::Error::BadDer)?;
        if !usage::may_issue(&parsed).map_err(|_| webpki::Error::MalformedExtensions)? {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
    }
    let depth = path.intermediate_certificates().count();
    let fits = |facts: &Facts| {
        if now.as_secs() < facts.not_before {
            Err(webpki::Error::CertNotValidYet { time: now, not_before: unix(facts.not_before) })
        } else if now.as_secs() > facts.not_after {
            Err(webpki::Error::CertExpired { time: now, not_after: unix(facts.not_after) })
        } else if facts.path_len.is_some_and(|most| usize::try_from(most).is_ok_and(|most| depth > most)) {
            Err(webpki::Error::PathLenConstraintViolated)
        } else {
            Ok(())
        }
    };
    let mut result = Err(webpki::Error::UnknownIssuer);
    for facts in authorities.facts_of(path.anchor()) {
        result = fits(facts);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn explain(
    error: webpki::Error,
    peer: &X509Certificate<'_>,
    chain: &[CertificateDer<'_>],
    authorities: &Authorities,
) -> VerifyError {
    use webpki::Error;
    let subject = readable(peer.subject());
    match error {
        Error::UnknownIssuer => VerifyError::UnknownAuthority { subject, issuer: last_issuer(peer, chain) },
        Error::CertExpired { not_after, .. } => VerifyError::Expired {
            subject: whose(chain, authorities, |_, until| until == not_after.as_secs()).unwrap_or(subject),
            not_after: moment(UNIX_EPOCH + Duration::from_secs(not_after.as_secs())),
        },
        Error::CertNotValidYet { not_before, .. } => VerifyError::NotYetValid {
            subject: whose(chain, authorities, |from, _| from == not_before.as_secs()).unwrap_or(subject),
            not_before: moment(UNIX_EPOCH + Duration::from_secs(not_before.as_secs())),
        },
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => VerifyError::ExtendedKeyUsage,
        Error::InvalidSignatureForPublicKey
        | Error::SignatureAlgorithmMismatch
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => VerifyError::BadSignature(subject),
        Error::UnsupportedSignatureAlgorithmContext(_) => VerifyError::WeakSignature(subject),
        Error::NameConstraintViolation => VerifyError::NameConstraints(subject),
        Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated => VerifyError::NotAnAuthority(subject),
        Error::CaUsedAsEndEntity => VerifyError::AuthorityAsPeer(subject),
        Error::BadDer | Error::BadDerTime | Error::MalformedExtensions | Error::TrailingData(_) => {
            VerifyError::Unreadable(error.to_string())
        }
        other => VerifyError::Refused(subject, other.to_string()),
    }
}

/// Goes up from the peer as far as the chain leads.
fn last_issuer(peer: &X509Certificate<'_>, chain: &[CertificateDer<'_>]) -> String {
    let parsed: Vec<_> =
        chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, parsed)| parsed).collect();
    let mut issuer = peer.issuer();
    // No path is longer than the chain, which may go in circles.
    for _ in &parsed {
        match parsed.iter().find(|one| one.subject() == issuer) {
            Some(above) => issuer = above.issuer(),
            None => break,
        }
    }
    readable(issuer)
}

/// The subject of the certificate with such a time of validity.
fn whose(chain: &[CertificateDer<'_>], authorities: &Authorities, is_it: impl Fn(u64, u64) -> bool) -> Option<String> {
    let mut sent = chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, parsed)| parsed);
    sent.find(|one| is_it(seconds(one.validity().not_before), seconds(one.validity().not_after)))
        .map(|one| readable(one.subject()))
        .or_else(|| {
            let mut trusted = authorities.facts.iter();
            trusted.find(|facts| is_it(facts.not_before, facts.not_after)).map(|facts| facts.subject.clone())
        })
}

fn names(found: &[Identity]) -> String {
    match found {
        [] => "nobody".to_owned(),
        found => found.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", "),
    }
}

fn sha1(octets: &[u8]) -> [u8; 20] {
    let mut hash = [0; 20];
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, octets);
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// Seconds since 1970; what is earlier counts as then.
fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

/// A time for people.
pub(crate) fn moment(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match i64::try_from(seconds).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok()) {
        Some(time) => time.to_string(),
        None => format!("{seconds} seconds after 1970"),
    }
}
