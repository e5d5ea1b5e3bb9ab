//! Our keys and certificates, and the authorities that we trust, as read from the files that the configuration names.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use conf::model::{CertificateFiles, Model};
use ike::action::{KeyHandle, LocalAuth, RemoteAuth, SignatureScheme};
use ike::wire::Identity;

use crate::private_file;

/// There is one key.
const KEY: KeyHandle = KeyHandle(0);

/// Our certificate and its key.
struct Own {
    chain: Vec<Vec<u8>>,
    key: pki::PrivateKey,
}

/// What we prove our identity with, and whom we believe.
#[derive(Default)]
pub(super) struct Credentials {
    own: Option<Own>,
    authorities: pki::Authorities,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// Name the file and what is wrong with it.
    pub(super) fn read(model: &Model) -> Result<Self, String> {
        let own = model.certificate.as_ref().map(own).transpose()?;
        let mut authorities = Vec::new();
        for path in &model.authorities {
            authorities.extend(chain(path)?);
        }
        let authorities = pki::Authorities::new(&authorities).map_err(|error| error.to_string())?;
        Ok(Self { own, authorities })
    }

    /// What keeps peers from believing our certificate, as far as we can tell ourselves: the wrong identity, the time,
    /// what it may be used for. The second list is what will keep them soon.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn oddities(&self, model: &Model, now: SystemTime) -> Result<(Vec<String>, Option<String>), String> {
        let (Some(own), Some(files)) = (&self.own, &model.certificate) else { return Ok((Vec::new(), None)) };
        let first = own.chain.first().map(Vec::as_slice).unwrap_or_default();
        let at = |what: String| format!("{}: {what}", files.chain.display());
        let described = pki::describe(first, now).map_err(|error| at(error.to_string()))?;
        let soon = described.expires_soon(now).map(at);
        let mut odd: Vec<_> = described.oddities.iter().cloned().map(at).collect();
        // RFC 4945 §3.1: the identity that we send has to stand in our certificate.
        if !described.names.iter().any(|name| name.matches(&in_certificates(&model.identity))) {
            let names = described.readable_names();
            odd.push(at(format!("the certificate is for {names}, but [identity] says `{}`", model.identity)));
        }
        Ok((odd, soon))
    }

    /// How we prove our identity by certificate.
    pub(super) fn local(&self) -> LocalAuth {
        let (chain, schemes) = match &self.own {
            Some(own) => (own.chain.clone(), own.key.schemes().iter().copied().map(to_ike).collect()),
            None => (Vec::new(), Vec::new()),
        };
        LocalAuth::Certificate { chain, key: KEY, schemes }
    }

    /// How a peer proves its identity by certificate.
    pub(super) fn remote(&self) -> RemoteAuth {
        RemoteAuth::Certificate { authorities: self.authorities().to_vec() }
    }

    /// SHA-1 of the public key of each authority that we trust.
    pub(super) fn authorities(&self) -> &[[u8; 20]] {
        self.authorities.key_ids()
    }

    /// Signs with our key.
    pub(super) fn sign(&self, _: KeyHandle, scheme: SignatureScheme, octets: &[u8]) -> Result<Vec<u8>, String> {
        let own = self.own.as_ref().ok_or("we have no certificate")?;
        own.key.sign(to_pki(scheme), octets).map_err(|error| error.to_string())
    }

    /// Judges a peer's chain and signature.
    pub(super) fn verify(
        &self,
        identity: &Identity,
        chain: &[Vec<u8>],
        scheme: SignatureScheme,
        octets: &[u8],
        signature: &[u8],
    ) -> Result<(), String> {
        let identity = name(identity).ok_or_else(|| format!("{identity} cannot stand in a certificate"))?;
        let end_entity = chain.first().ok_or("no certificate came with the signature")?;
        pki::verify(chain, &self.authorities, SystemTime::now(), &identity).map_err(|error| error.to_string())?;
        pki::verify_signature(end_entity, to_pki(scheme), octets, signature).map_err(|error| error.to_string())
    }
}

/// Reads the files with certificates and keys that a configuration names, as a start would, and looks for what would
/// keep peers from believing us; what will only do so soon is the result.
///
/// # Errors
/// Name the file, and what is wrong with it.
pub fn check(model: &Model) -> Result<Option<String>, String> {
    let (odd, soon) = Credentials::read(model)?.oddities(model, SystemTime::now())?;
    if odd.is_empty() { Ok(soon) } else { Err(odd.join("\n")) }
}

/// An identity of the configuration, as certificates have it.
#[must_use]
pub fn in_certificates(identity: &conf::model::Identity) -> pki::Identity {
    match identity {
        conf::model::Identity::Ipv6(address) => pki::Identity::Ipv6(*address),
        conf::model::Identity::Email(name) => pki::Identity::Email(name.clone()),
        conf::model::Identity::DomainName(name) => pki::Identity::Fqdn(name.clone()),
    }
}

fn own(files: &CertificateFiles) -> Result<Own, String> {
    let at = |path: &Path| format!("{}: ", path.display());
    let chain = chain(&files.chain)?;
    let text = private_file::read_key(&files.key)?;
    let key = pki::PrivateKey::from_pem(&text).map_err(|error| at(&files.key) + &error.to_string())?;
    let first = chain.first().map(Vec::as_slice).unwrap_or_default();
    if !key.belongs_to(first).map_err(|error| at(&files.chain) + &error.to_string())? {
        return Err(at(&files.key) + &format!("this is not the key of the certificate in {}", files.chain.display()));
    }
    Ok(Own { chain, key })
}

fn chain(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    pki::certificates(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn name(identity: &Identity) -> Option<pki::Identity> {
    Some(match identity {
        Identity::Ipv4(address) => pki::Identity::Ipv4(*address),
        Identity::Ipv6(address) => pki::Identity::Ipv6(*address),
        Identity::Fqdn(name) => pki::Identity::Fqdn(name.clone()),
        Identity::Rfc822(name) => pki::Identity::Email(name.clone()),
        Identity::DerAsn1Dn(name) => pki::Identity::Dn(name.clone()),
        Identity::KeyId(_) | Identity::Other { .. } => return None,
    })
}

fn to_pki(scheme: SignatureScheme) -> pki::Scheme {
    match scheme {
        SignatureScheme::EcdsaP256Sha256 => pki::Scheme::EcdsaP256Sha256,
        SignatureScheme::EcdsaP384Sha384 => pki::Scheme::EcdsaP384Sha384,
        SignatureScheme::Ed25519 => pki::Scheme::Ed25519,
        SignatureScheme::RsaPssSha256 => pki::Scheme::RsaPssSha256,
    }
}

fn to_ike(scheme: pki::Scheme) -> SignatureScheme {
    match scheme {
        pki::Scheme::EcdsaP256Sha256 => SignatureScheme::EcdsaP256Sha256,
        pki::Scheme::EcdsaP384Sha384 => SignatureScheme::EcdsaP384Sha384,
        pki::Scheme::Ed25519 => SignatureScheme::Ed25519,
        pki::Scheme::RsaPssSha256 => SignatureScheme::RsaPssSha256,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_others_may_use_is_not_taken_even_if_the_configuration_was_checked_before() {
        let folder = std::env::temp_dir().join(format!("homeward-credentials-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let now = SystemTime::now();
        let validity = pki::Validity { not_before: now, not_after: now + std::time::Duration::from_secs(3600) };
        let made = pki::Authority::create("ca", validity).unwrap();
        let files = CertificateFiles { chain: folder.join("ca.pem"), key: folder.join("ca.key") };
        fs::write(&files.chain, &made.certificate_pem).unwrap();
        fs::write(&files.key, made.key_pem.as_bytes()).unwrap();
        let read_with = |mode| {
            fs::set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
            own(&files).map(drop)
        };
        let results = [0o600, 0o400, 0o640, 0o604].map(read_with);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((&results[0], &results[1]), (&Ok(()), &Ok(())));
        for refused in &results[2..] {
            assert!(refused.as_ref().unwrap_err().contains("ca.key is a private key, but others may use it"));
        }
    }
}
