//! What a certificate may be used for: KeyUsage and ExtendedKeyUsage for IKE (RFC 4945 §5.1.3).

use webpki::{ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, RequiredEkuNotFoundContext};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;

/// id-kp-ipsecIKE, 1.3.6.1.5.5.7.3.17.
pub(crate) const IPSEC_IKE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x11];
/// anyExtendedKeyUsage, 2.5.29.37.0.
const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// RFC 4945 §5.1.3.12: with the extension a certificate is for IKE only if it says so, or says any; without it, it is.
///
/// The same holds for the authorities between: one that is confined to other purposes vouches for nobody in IKE.
pub(crate) struct ForIke;

impl ExtendedKeyUsageValidator for ForIke {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let (mut fits, mut present) = (false, Vec::new());
        for purpose in purposes {
            let purpose = purpose?;
            fits |= purpose == KeyPurposeId::new(IPSEC_IKE) || purpose == KeyPurposeId::new(ANY);
            present.push(purpose.to_decoded_oid());
        }
        if fits || present.is_empty() {
            return Ok(());
        }
        let required = webpki::KeyUsage::required(IPSEC_IKE);
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

/// RFC 4945 §5.1.3.2: who has a KeyUsage proves itself with digitalSignature or nonRepudiation.
pub(crate) fn may_sign(certificate: &X509Certificate<'_>) -> Result<bool, X509Error> {
    let usage = certificate.key_usage()?;
    Ok(usage.is_none_or(|usage| usage.value.digital_signature() || usage.value.non_repudiation()))
}

/// RFC 5280 §6.1.4 (n): who has a KeyUsage issues certificates with keyCertSign.
pub(crate) fn may_issue(certificate: &X509Certificate<'_>) -> Result<bool, X509Error> {
    Ok(certificate.key_usage()?.is_none_or(|usage| usage.value.key_cert_sign()))
}
