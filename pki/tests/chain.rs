//! What is issued is believed, by the right people, for the right time, for the right name; all else is not.

use std::time::{Duration, SystemTime};

use pki::{
    Authority, Identity, Issued, PrivateKey, SignatureScheme, Validity, VerifyError, authority_key_hash, read_chain,
    verify, verify_signature,
};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

struct Made {
    authority: Vec<Vec<u8>>,
    chain: Vec<Vec<u8>>,
    key: PrivateKey,
}

fn der(issued: &Issued) -> Vec<Vec<u8>> {
    read_chain(issued.certificate.as_bytes()).unwrap()
}

fn make(identity: &str) -> Made {
    let root = Authority::create("Example CA", Validity::days(now(), 100)).unwrap();
    let authority = Authority::load(&root.certificate, &root.key).unwrap();
    let issued = authority.issue(&Identity::from_text(identity), Validity::days(now(), 10)).unwrap();
    Made { authority: der(&root), chain: der(&issued), key: PrivateKey::from_pem(issued.key.as_bytes()).unwrap() }
}

#[test]
fn a_certificate_vouches_for_each_kind_of_identity() {
    for identity in ["mn1.example.org", "mn1@example.org", "2001:db8:1::100", "192.0.2.1"] {
        let made = make(identity);
        assert_eq!(verify(&made.chain, &made.authority, now(), &Identity::from_text(identity)), Ok(()), "{identity}");
    }
}

#[test]
fn names_of_hosts_do_not_depend_on_case_and_mailboxes_do() {
    let made = make("mn1.example.org");
    assert_eq!(verify(&made.chain, &made.authority, now(), &Identity::Fqdn("MN1.Example.org".into())), Ok(()));
    let made = make("Mn1@example.org");
    assert_eq!(verify(&made.chain, &made.authority, now(), &Identity::Email("Mn1@EXAMPLE.org".into())), Ok(()));
    assert!(verify(&made.chain, &made.authority, now(), &Identity::Email("mn1@example.org".into())).is_err());
}

#[test]
fn a_certificate_for_another_identity_is_refused_and_both_are_named() {
    let made = make("mn1.example.org");
    for other in ["mn2.example.org", "mn1.example.or", "mn1.example.org.evil", "mn1.example.org\0", "2001:db8:1::100"] {
        let error = verify(&made.chain, &made.authority, now(), &Identity::from_text(other)).unwrap_err();
        let VerifyError::Identity { wanted, found } = &error else { panic!("{other}: {error}") };
        assert_eq!((wanted.as_str(), found.as_str()), (other, "mn1.example.org"));
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (made, other) = (make("mn1.example.org"), make("mn1.example.org"));
    let error = verify(&made.chain, &other.authority, now(), &Identity::from_text("mn1.example.org")).unwrap_err();
    assert!(error.to_string().contains("not to be trusted"), "{error}");
    assert!(verify(&made.chain, &[], now(), &Identity::from_text("mn1.example.org")).is_err());
}

#[test]
fn a_certificate_is_believed_only_while_it_is_valid() {
    let made = make("mn1.example.org");
    let identity = Identity::from_text("mn1.example.org");
    let at =
        |time: SystemTime| verify(&made.chain, &made.authority, time, &identity).map_err(|error| error.to_string());
    let day = Duration::from_secs(86_400);
    assert_eq!(at(now() + 9 * day), Ok(()));
    assert!(at(now() + 11 * day).unwrap_err().contains("expired"));
    assert!(at(now() - day).unwrap_err().contains("not valid yet"));
}

#[test]
fn a_signature_is_believed_only_for_its_octets_and_its_key() {
    let (made, other) = (make("mn1.example.org"), make("mn1.example.org"));
    let scheme = SignatureScheme::EcdsaP256Sha256;
    let signature = made.key.sign(scheme, b"octets").unwrap();
    assert_eq!(verify_signature(&made.chain[0], scheme, b"octets", &signature), Ok(()));
    assert_eq!(verify_signature(&made.chain[0], scheme, b"Octets", &signature), Err(VerifyError::Signature));
    assert_eq!(verify_signature(&other.chain[0], scheme, b"octets", &signature), Err(VerifyError::Signature));
    let mut tampered = signature.clone();
    *tampered.last_mut().unwrap() ^= 1;
    assert_eq!(verify_signature(&made.chain[0], scheme, b"octets", &tampered), Err(VerifyError::Signature));
    assert!(verify_signature(&made.chain[0], SignatureScheme::Ed25519, b"octets", &signature).is_err());
    assert!(made.key.sign(SignatureScheme::Ed25519, b"octets").is_err());
}

#[test]
fn octets_that_are_no_certificate_are_refused() {
    let made = make("mn1.example.org");
    let identity = Identity::from_text("mn1.example.org");
    assert_eq!(verify(&[], &made.authority, now(), &identity), Err(VerifyError::Malformed));
    for end in 0..made.chain[0].len() {
        let cut = vec![made.chain[0][..end].to_vec()];
        assert!(verify(&cut, &made.authority, now(), &identity).is_err(), "{end} octets");
        assert!(authority_key_hash(&cut[0]).is_err());
    }
    assert!(read_chain(b"nothing here").is_err());
    assert!(PrivateKey::from_pem(b"nothing here").is_err());
}
