//! How a side proves who it is (RFC 7296 §2.15).

pub(crate) mod scheme;

use crate::action::{LocalAuth, RemoteAuth, SignatureScheme};
use crate::crypto::{Prf, psk_auth, verify_psk_auth};
use crate::fault::Fault;
use crate::wire::{AuthMethod, Authentication, CertEncoding, Certificate, HashAlgorithm, NotifyType, Payload};

use scheme::Carriage;

/// Certificates of one chain that are looked at. RFC 7296 §3.6 asks for four.
const MAX_CHAIN: usize = 10;

/// Our AUTH payload, or what the owner has to sign for it.
#[derive(Debug)]
pub(crate) enum Proof {
    /// It is ready.
    Ready(Authentication),
    /// The owner's key has to sign the octets.
    Sign(SignatureScheme, Carriage),
}

/// How we prove our identity over these octets.
pub(crate) fn prove(
    prf: &dyn Prf,
    local: &LocalAuth,
    octets: &[u8],
    announced: Option<&[HashAlgorithm]>,
) -> Result<Proof, Fault> {
    match local {
        LocalAuth::Psk(psk) => {
            let data = psk_auth(prf, psk, octets);
            Ok(Proof::Ready(Authentication { method: AuthMethod::SharedKey, data }))
        }
        LocalAuth::Certificate { schemes, .. } => scheme::choose(schemes, announced)
            .map(|(scheme, carriage)| Proof::Sign(scheme, carriage))
            .ok_or_else(|| Fault::Local("our key makes no signature that the peer can verify".into())),
    }
}

/// What the peer's AUTH payload leaves to be done.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is right.
    Proved,
    /// The owner has to verify this signature.
    Verify(SignatureScheme, Vec<u8>),
}

/// Judges the peer's AUTH payload. RFC 7296 §1.2: with a shared secret the identity names the key that is used, so the
/// method has to be the one that goes with the identity.
pub(crate) fn judge(
    prf: &dyn Prf,
    remote: &RemoteAuth,
    octets: &[u8],
    auth: &Authentication,
) -> Result<Verdict, Fault> {
    let failed = |reason: &str| Fault::peer(NotifyType::AuthenticationFailed, reason);
    match remote {
        RemoteAuth::Psk(psk) => {
            if auth.method != AuthMethod::SharedKey {
                return Err(failed("AUTH is not made with a shared secret, as this identity has to"));
            }
            match verify_psk_auth(prf, psk, octets, &auth.data) {
                true => Ok(Verdict::Proved),
                false => Err(failed("the shared secrets differ")),
            }
        }
        RemoteAuth::Certificate { .. } => {
            if auth.method == AuthMethod::SharedKey {
                return Err(failed("AUTH is made with a shared secret, this identity has to use a certificate"));
            }
            scheme::read(auth)
                .map(|(scheme, signature)| Verdict::Verify(scheme, signature))
                .ok_or_else(|| failed("AUTH uses a signature algorithm that is not accepted"))
        }
    }
}

/// The peer's certificates. RFC 7296 §3.6: other forms (a URL above all) are not followed.
pub(crate) fn chain(payloads: &[Payload]) -> Vec<Vec<u8>> {
    let certificates = payloads.iter().filter_map(|payload| match payload {
        Payload::Cert(cert) if cert.encoding == CertEncoding::X509Signature => Some(cert.data.clone()),
        _ => None,
    });
    certificates.take(MAX_CHAIN).collect()
}

/// RFC 7296 §1.2: our certificates, the one with the key of AUTH first.
pub(crate) fn certificates(local: &LocalAuth) -> Vec<Payload> {
    match local {
        LocalAuth::Psk(_) => Vec::new(),
        LocalAuth::Certificate { chain, .. } => {
            chain.iter().map(|der| Payload::Cert(Certificate::x509(der.clone()))).collect()
        }
    }
}
