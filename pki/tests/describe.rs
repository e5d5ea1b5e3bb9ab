//! What is said about certificates, and what is found odd about them.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pki::{Authority, Description, Validity, certificates, describe};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// 2030-01-01; certificates are valid from 2029 to 2031.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

fn day(days: i64) -> SystemTime {
    let span = Duration::from_secs(86_400 * days.unsigned_abs());
    if days < 0 { now() - span } else { now() + span }
}

fn described(change: impl FnOnce(&mut CertificateParams)) -> Description {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "mn");
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params.subject_alt_names = vec![SanType::DnsName("mn.example.org".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])];
    change(&mut params);
    let mut above = CertificateParams::default();
    above.distinguished_name = rcgen::DistinguishedName::new();
    above.distinguished_name.push(DnType::CommonName, "top");
    above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(above, KeyPair::generate().unwrap());
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    describe(certificate.der(), now()).unwrap()
}

#[test]
fn what_is_issued_here_has_nothing_odd_about_it() {
    let validity = Validity { not_before: day(-1), not_after: day(100) };
    let made = Authority::create("Homeward test", validity).unwrap();
    let authority = Authority::from_pem(&made.certificate_pem, &made.key_pem).unwrap();
    let issued = authority.issue(&"mn@example.org".parse().unwrap(), validity).unwrap();
    let of = |pem: &str| describe(&certificates(pem.as_bytes()).unwrap()[0], now()).unwrap();
    let (top, peer) = (of(&made.certificate_pem), of(&issued.certificate_pem));
    assert!(top.authority && !peer.authority);
    assert_eq!((top.oddities, top.names), (vec![], vec![]));
    assert_eq!((peer.oddities.as_slice(), peer.readable_names().as_str()), ([].as_slice(), "`mn@example.org`"));
    assert_eq!((peer.subject.as_str(), peer.issuer.as_str()), ("CN=mn@example.org", "CN=Homeward test"));
    assert_eq!((peer.not_before, peer.not_after), (validity.not_before, validity.not_after));
    assert_eq!((peer.key.as_str(), peer.signature.as_str()), ("ECDSA, P-256", "ECDSA with SHA-256"));
    assert_eq!((peer.key_usage.as_deref(), peer.purposes.as_deref()), (Some("Digital Signature"), Some("ipsecIKE")));
    assert_eq!((peer.serial.len(), peer.fingerprint.len()), (16 * 3 - 1, 32 * 3 - 1));
}

#[test]
fn whatever_keeps_a_certificate_from_being_used_is_named() {
    let odd = |change: &dyn Fn(&mut CertificateParams)| described(change).oddities;
    assert_eq!(odd(&|_| ()), Vec::<String>::new());
    let one = |change: &dyn Fn(&mut CertificateParams), what: &str| {
        let found = odd(change);
        assert!(matches!(found.as_slice(), [one] if one.contains(what)), "{what}: {found:?}");
    };
    one(&|params| params.not_after = date_time_ymd(2029, 12, 31), "it expired at Dec 31");
    one(&|params| params.not_before = date_time_ymd(2030, 1, 2), "it is not valid yet, only from Jan  2");
    one(&|params| params.subject_alt_names.clear(), "no subjectAltName");
    one(
        &|params| params.subject_alt_names.push(SanType::DnsName("*.example.org".try_into().unwrap())),
        "`*.example.org`",
    );
    one(&|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement], "neither digitalSignature nor");
    one(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], "neither ipsecIKE nor any");
    one(
        &|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        },
        "lacks keyCertSign",
    );
    one(
        &|params| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        },
        "not understood, 1.3.6.1.4.1.99999.1",
    );
    one(
        &|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "top");
        },
        "signed itself",
    );
}

#[test]
fn a_certificate_without_usages_may_do_anything() {
    let described = described(|params| {
        params.key_usages.clear();
        params.extended_key_usages.clear();
    });
    assert_eq!((described.key_usage, described.purposes, described.oddities), (None, None, vec![]));
}

#[test]
fn two_weeks_before_its_end_a_certificate_says_so() {
    let described = described(|_| ());
    let end = described.not_after;
    let days = |days: u64| end - Duration::from_secs(days * 86_400);
    assert_eq!(described.expires_soon(days(14)), None);
    assert!(described.expires_soon(days(13)).unwrap().contains("Jan  1"));
    assert_eq!(described.expires_soon(end + Duration::from_secs(1)), None);
}

#[test]
fn what_is_no_certificate_is_refused() {
    assert!(describe(&[0x30, 0], now()).is_err());
}
