//! Certificates that are issued here are verified here, and what a key signs its certificate verifies.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pki::{
    Authorities, Authority, Identity, IssueError, Issued, KeyError, PrivateKey, Scheme, SignatureError, Validity,
    certificates, verify, verify_signature,
};

fn day(days: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(days * 86_400)
}

fn valid(from: u64, until: u64) -> Validity {
    Validity { not_before: day(from), not_after: day(until) }
}

fn authority() -> (Issued, Authority) {
    let issued = Authority::create("Homeward test", valid(20_000, 30_000)).unwrap();
    let authority = Authority::from_pem(&issued.certificate_pem, &issued.key_pem).unwrap();
    (issued, authority)
}

fn der(issued: &Issued) -> Vec<Vec<u8>> {
    certificates(issued.certificate_pem.as_bytes()).unwrap()
}

fn mn() -> Identity {
    "mn.example.org".parse().unwrap()
}

#[test]
fn what_is_issued_is_verified_for_its_identity_and_time_only() {
    let (ca, authority) = authority();
    let authorities = Authorities::new(der(&ca)).unwrap();
    for name in ["mn.example.org", "mn@example.org", "2001:db8::2", "192.0.2.2"] {
        let identity: Identity = name.parse().unwrap();
        let chain = der(&authority.issue(&identity, valid(20_100, 20_200)).unwrap());
        assert_eq!(chain.len(), 1, "the authority on top is not sent");
        assert_eq!(verify(&chain, &authorities, day(20_150), &identity), Ok(()), "{name}");
        assert!(verify(&chain, &authorities, day(20_201), &identity).is_err(), "{name}");
        assert!(verify(&chain, &authorities, day(20_099), &identity).is_err(), "{name}");
        assert!(verify(&chain, &authorities, day(20_150), &"x.example.org".parse().unwrap()).is_err(), "{name}");
    }
}

#[test]
fn a_certificate_has_the_profile_of_ike_and_a_serial_number_of_its_own() {
    let (_, authority) = authority();
    let issue = || der(&authority.issue(&mn(), valid(20_100, 20_200)).unwrap()).remove(0);
    let (first, second) = (issue(), issue());
    let (_, parsed) = x509_parser::parse_x509_certificate(&first).unwrap();
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "digitalSignature and nothing else");
    let purposes = parsed.extended_key_usage().unwrap().unwrap().value;
    assert_eq!(purposes.other.iter().map(|oid| oid.to_id_string()).collect::<Vec<_>>(), ["1.3.6.1.5.5.7.3.17"]);
    assert!(!purposes.server_auth && !purposes.any);
    assert!(!parsed.is_ca());
    assert_eq!(parsed.raw_serial().len(), 16);
    let (_, other) = x509_parser::parse_x509_certificate(&second).unwrap();
    assert_ne!(parsed.raw_serial(), other.raw_serial());
}

#[test]
fn what_cannot_be_issued_is_refused() {
    let (ca, authority) = authority();
    let refused = |identity: &Identity, validity| authority.issue(identity, validity).unwrap_err();
    assert!(matches!(refused(&mn(), valid(20_100, 30_001)), IssueError::OutlivesAuthority(_)));
    assert_eq!(refused(&mn(), valid(20_100, 20_099)), IssueError::Validity);
    assert!(matches!(refused(&Identity::Dn(vec![0x30, 0]), valid(20_100, 20_200)), IssueError::Identity(_)));
    assert!(matches!(refused(&Identity::Fqdn("ä".into()), valid(20_100, 20_200)), IssueError::Identity(_)));
    assert_eq!(Authority::create("", valid(1, 2)).unwrap_err(), IssueError::Name);
    let before_1970 = Validity { not_before: UNIX_EPOCH - Duration::from_secs(1), not_after: day(1) };
    assert_eq!(Authority::create("x", before_1970).unwrap_err(), IssueError::Validity);
    assert_eq!(Authority::create("x", valid(1, 3_000_000)).unwrap_err(), IssueError::Validity);

    let other = Authority::create("Other", valid(20_000, 30_000)).unwrap();
    let swapped = Authority::from_pem(&ca.certificate_pem, &other.key_pem);
    assert_eq!(swapped.unwrap_err(), IssueError::OtherKey);
    let peer = authority.issue(&mn(), valid(20_100, 20_200)).unwrap();
    let no_authority = Authority::from_pem(&peer.certificate_pem, &peer.key_pem);
    assert_eq!(no_authority.unwrap_err(), IssueError::NotAnAuthority);
}

#[test]
fn a_certificate_may_last_as_long_as_its_authority_though_clocks_count_less_than_seconds() {
    let validity =
        |nanoseconds| Validity { not_before: day(20_000), not_after: day(30_000) + Duration::from_nanos(nanoseconds) };
    let made = Authority::create("Homeward test", validity(999_999_999)).unwrap();
    let authority = Authority::from_pem(&made.certificate_pem, &made.key_pem).unwrap();
    for nanoseconds in [0, 1, 999_999_999] {
        assert!(authority.issue(&mn(), validity(nanoseconds)).is_ok(), "{nanoseconds}");
    }
    let longer = authority.issue(&mn(), validity(1_000_000_000)).unwrap_err();
    assert!(matches!(longer, IssueError::OutlivesAuthority(_)));
}

#[test]
fn an_authority_below_another_sends_itself_along() {
    let (ca, authority) = authority();
    let _ = authority;
    let top = rcgen::KeyPair::from_pem(&ca.key_pem).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca.certificate_pem, top).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Below");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let below = params.signed_by(&key, &issuer).unwrap().pem();
    let both = format!("# below\n{below}# top\n{}", ca.certificate_pem);
    let authority = Authority::from_pem(&both, &key.serialize_pem()).unwrap();
    let chain = der(&authority.issue(&mn(), valid(20_100, 20_200)).unwrap());
    assert_eq!(chain.len(), 2);
    assert_eq!(verify(&chain, &Authorities::new(der(&ca)).unwrap(), day(20_150), &mn()), Ok(()));
}

/// A key of each kind, with a certificate.
fn keys() -> Vec<(PrivateKey, Vec<u8>, Scheme)> {
    let kinds: [(&rcgen::SignatureAlgorithm, Scheme); 3] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Scheme::EcdsaP256Sha256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Scheme::EcdsaP384Sha384),
        (&rcgen::PKCS_ED25519, Scheme::Ed25519),
    ];
    let made = kinds.into_iter().map(|(algorithm, scheme)| {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        (pair.serialize_pem(), scheme)
    });
    let rsa = (include_str!("rsa.key").to_owned(), Scheme::RsaPssSha256);
    made.chain([rsa])
        .map(|(pem, scheme)| {
            let pair = rcgen::KeyPair::from_pem(&pem).unwrap();
            let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap().der().to_vec();
            (PrivateKey::from_pem(pem.as_bytes()).unwrap(), certificate, scheme)
        })
        .collect()
}

#[test]
fn what_a_key_signs_its_certificate_verifies_and_no_other() {
    let keys = keys();
    for (index, (key, certificate, scheme)) in keys.iter().enumerate() {
        assert_eq!(key.schemes(), [*scheme]);
        let signature = key.sign(*scheme, b"octets").unwrap();
        assert_eq!(verify_signature(certificate, *scheme, b"octets", &signature), Ok(()), "{scheme:?}");
        assert_eq!(verify_signature(certificate, *scheme, b"octetz", &signature), Err(SignatureError::Wrong));
        assert_eq!(verify_signature(certificate, *scheme, b"octets", b""), Err(SignatureError::Wrong));
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(verify_signature(certificate, *scheme, b"octets", &changed), Err(SignatureError::Wrong));
        }
        assert!(key.belongs_to(certificate).unwrap());
        for (other, (_, certificate, other_scheme)) in keys.iter().enumerate() {
            if other != index {
                assert!(!key.belongs_to(certificate).unwrap());
                assert_eq!(key.sign(*other_scheme, b"octets"), Err(KeyError::OtherScheme));
                let result = verify_signature(certificate, *scheme, b"octets", &signature);
                assert_eq!(result, Err(SignatureError::OtherKey), "{scheme:?} {other_scheme:?}");
            }
        }
    }
    let (_, authority) = authority();
    let (first, second) = (authority.issue(&mn(), valid(1, 2)).unwrap(), authority.issue(&mn(), valid(1, 2)).unwrap());
    let key = PrivateKey::from_pem(first.key_pem.as_bytes()).unwrap();
    assert!(key.belongs_to(&der(&first)[0]).unwrap() && !key.belongs_to(&der(&second)[0]).unwrap());
    let signature = key.sign(Scheme::EcdsaP256Sha256, b"octets").unwrap();
    let by_another = verify_signature(&der(&second)[0], Scheme::EcdsaP256Sha256, b"octets", &signature);
    assert_eq!(by_another, Err(SignatureError::Wrong));
}

#[test]
fn what_is_no_key_of_ours_is_refused_with_its_reason() {
    let of = |pem: &str| PrivateKey::from_pem(pem.as_bytes()).unwrap_err();
    assert!(matches!(of("nothing"), KeyError::Missing(_)));
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAQID\n-----END EC PRIVATE KEY-----\n";
    assert_eq!(of(sec1), KeyError::NotPkcs8);
    let rubbish = "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n";
    assert!(matches!(of(rubbish), KeyError::Unsupported(_)));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQID\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(matches!(of(encrypted), KeyError::Missing(_)));
    assert_eq!(verify_signature(b"\x30\x00", Scheme::Ed25519, b"", b""), Err(SignatureError::Unreadable));
}

#[test]
fn a_key_is_not_in_the_debug_output() {
    let (issued, authority) = authority();
    let key = PrivateKey::from_pem(issued.key_pem.as_bytes()).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey([EcdsaP256Sha256], ..)");
    assert!(!format!("{issued:?}{authority:?}").contains("PRIVATE KEY"));
}
