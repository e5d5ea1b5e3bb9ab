//! What a certificate says, and what is odd about it, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use crate::identity::{Identity, readable};
use crate::issue::at;
use crate::usage;
use crate::verify::moment;

/// Whoever has less time left should think of renewing: two weeks.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// A certificate for people. Nothing in the texts can steer a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The Subject.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The subjectAltNames that can prove an identity in IKE (RFC 4945 §5.1.3.6).
    pub names: Vec<Identity>,
    /// In hexadecimal.
    pub serial: String,
    /// The first moment at which it is valid.
    pub not_before: SystemTime,
    /// The last one.
    pub not_after: SystemTime,
    /// The kind and the size of the key.
    pub key: String,
    /// How it is signed.
    pub signature: String,
    /// Whether it is one of an authority.
    pub authority: bool,
    /// What keyUsage allows; nothing if there is no such extension, which allows all.
    pub key_usage: Option<String>,
    /// What extendedKeyUsage allows; nothing if there is no such extension, which allows all.
    pub purposes: Option<String>,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// What keeps it from being of use in IKE, as far as it alone can tell.
    pub oddities: Vec<String>,
}

impl Description {
    /// Says so if it is still valid, but will expire within two weeks.
    #[must_use]
    pub fn expires_soon(&self, now: SystemTime) -> Option<String> {
        let left = self.not_after.duration_since(now).ok()?;
        (left < SOON).then(|| format!("it expires soon, at {}", moment(self.not_after)))
    }

    /// The names for people.
    #[must_use]
    pub fn readable_names(&self) -> String {
        match self.names.as_slice() {
            [] => "nobody".to_owned(),
            names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        }
    }
}

/// The octets are no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub struct NotACertificate(String);

/// Describes `certificate` (DER) as it is at `now`.
///
/// # Errors
/// It cannot be read.
pub fn describe(certificate: &[u8], now: SystemTime) -> Result<Description, NotACertificate> {
    let unreadable = |error: String| NotACertificate(error);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(error.to_string()))?;
    let unfit = || unreadable("its time is before 1970".to_owned());
    let key_usage = parsed.key_usage().map_err(|error| unreadable(error.to_string()))?;
    let purposes = parsed.extended_key_usage().map_err(|error| unreadable(error.to_string()))?;
    let names = Identity::all_of(&parsed).into_iter().filter(|name| !matches!(name, Identity::Dn(_)));
    let mut described = Description {
        subject: readable(parsed.subject()),
        issuer: readable(parsed.issuer()),
        names: names.collect(),
        serial: hexadecimal(parsed.raw_serial()),
        not_before: at(parsed.validity().not_before.timestamp()).ok_or_else(unfit)?,
        not_after: at(parsed.validity().not_after.timestamp()).ok_or_else(unfit)?,
        key: key(parsed.public_key()).unwrap_or_else(|other| format!("unknown ({other})")),
        signature: signature(&parsed).unwrap_or_else(|other| format!("unknown ({other})")),
        authority: parsed.is_ca(),
        key_usage: key_usage.map(|usage| usage.value.to_string()),
        purposes: purposes.map(|usage| purposes_of(usage.value)),
        fingerprint: hexadecimal(digest(&SHA256, certificate).as_ref()),
        oddities: Vec::new(),
    };
    described.oddities = oddities(&described, &parsed, now);
    Ok(described)
}

fn oddities(described: &Description, parsed: &X509Certificate<'_>, now: SystemTime) -> Vec<String> {
    let mut odd = Vec::new();
    if now < described.not_before {
        odd.push(format!("it is not valid yet, only from {} on; is the clock right?", moment(described.not_before)));
    } else if now > described.not_after {
        odd.push(format!("it expired at {}", moment(described.not_after)));
    }
    if parsed.version() != X509Version::V3 {
        odd.push("it is not of version 3".to_owned());
    }
    if let Err(other) = key(parsed.public_key()) {
        odd.push(format!("its key is neither P-256, P-384, Ed25519 nor RSA of 2048 to 8192 bits: {other}"));
    }
    if let Err(other) = signature(parsed) {
        odd.push(format!("it is signed in a way that is not accepted: {other}"));
    }
    if described.authority {
        if !usage::may_issue(parsed).unwrap_or(false) {
            odd.push("it is one of an authority, but its keyUsage lacks keyCertSign".to_owned());
        }
    } else {
        odd.extend(oddities_of_a_peer(described, parsed));
    }
    // RFC 5280 §4.2: who does not know a critical extension refuses the certificate.
    odd.extend(parsed.extensions().iter().filter(|extension| extension.critical).filter_map(|extension| {
        let known = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::NameConstraints(_)
        );
        (!known).then(|| format!("it has a critical extension that is not understood, {}", extension.oid))
    }));
    odd
}

fn oddities_of_a_peer(described: &Description, parsed: &X509Certificate<'_>) -> Vec<String> {
    let mut odd = Vec::new();
    if described.names.is_empty() {
        odd.push(
            "it has no subjectAltName with a domain name, mail address or IP address: it proves no identity that \
             a configuration can name"
                .to_owned(),
        );
    }
    for name in described.names.iter().filter(|name| matches!(name, Identity::Fqdn(name) if name.contains('*'))) {
        odd.push(format!("`{name}` has a wildcard, which stands for nothing but itself"));
    }
    if !usage::may_sign(parsed).unwrap_or(false) {
        odd.push("its keyUsage has neither digitalSignature nor nonRepudiation".to_owned());
    }
    if let Ok(Some(purposes)) = parsed.extended_key_usage()
        && !purposes.value.any
        && !purposes.value.other.iter().any(|purpose| purpose.as_bytes() == usage::IPSEC_IKE)
    {
        odd.push("its extendedKeyUsage has neither ipsecIKE nor any".to_owned());
    }
    if described.subject == described.issuer {
        odd.push("it signed itself, and is not one of an authority".to_owned());
    }
    odd
}

/// What `crate::key` can sign with, or what it is instead.
fn key(info: &SubjectPublicKeyInfo<'_>) -> Result<String, String> {
    let algorithm = info.algorithm.algorithm.to_id_string();
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) if (2048..=8192).contains(&rsa.key_size()) => {
            Ok(format!("RSA, {} bits", rsa.key_size()))
        }
        Ok(PublicKey::RSA(rsa)) => Err(format!("RSA of {} bits", rsa.key_size())),
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => Ok("ECDSA, P-256".to_owned()),
                Some("1.3.132.0.34") => Ok("ECDSA, P-384".to_owned()),
                Some(other) => Err(format!("the curve {other}")),
                None => Err("a curve without a name".to_owned()),
            }
        }
        _ if algorithm == "1.3.101.112" => Ok("Ed25519".to_owned()),
        _ => Err(algorithm),
    }
}

/// What the verification of chains accepts, or what it is instead.
fn signature(parsed: &X509Certificate<'_>) -> Result<String, String> {
    let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
    Ok(match algorithm.as_str() {
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.3.101.112" => "Ed25519",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => return Err("SHA-1".to_owned()),
        "1.2.840.113549.1.1.4" => return Err("MD5".to_owned()),
        _ => return Err(algorithm),
    }
    .to_owned())
}

fn purposes_of(usage: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> String {
    let named = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let named = named.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned());
    let others = usage.other.iter().map(|purpose| {
        if purpose.as_bytes() == usage::IPSEC_IKE { "ipsecIKE".to_owned() } else { purpose.to_id_string() }
    });
    named.chain(others).collect::<Vec<_>>().join(", ")
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

/// `time` for people, in UTC.
#[must_use]
pub fn readable_time(time: SystemTime) -> String {
    moment(time.max(UNIX_EPOCH))
}
