//! Chains that prove an identity, and chains that do not.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pki::{Authorities, AuthorityError, Identity, VerifyError, verify};
use proptest::prelude::{any, proptest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

/// 2030-01-01; certificates are valid from 2029 to 2031 unless a test says otherwise.
const NOW: u64 = 1_893_456_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn peer_params(sans: Vec<SanType>) -> CertificateParams {
    let mut params = params("peer");
    params.subject_alt_names = sans;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ipsec_ike()];
    params
}

fn ipsec_ike() -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn mn() -> Identity {
    Identity::Fqdn("mn.example.org".into())
}

/// An authority that can issue, and its certificate.
struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn between(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, params: &CertificateParams) -> Vec<u8> {
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().to_vec()
    }

    fn trusted(&self) -> Authorities {
        Authorities::new([&self.der]).unwrap()
    }

    fn try_peer(&self, params: &CertificateParams, expected: &Identity) -> Result<(), VerifyError> {
        verify(&[self.issue(params)], &self.trusted(), now(), expected)
    }
}

fn root() -> Ca {
    Ca::root(authority_params("root"))
}

#[test]
fn a_chain_over_an_intermediate_proves_each_name_in_the_certificate() {
    let root = root();
    let between = root.between(authority_params("between"));
    let address: IpAddr = "2001:db8::2".parse().unwrap();
    let mail = SanType::Rfc822Name("mn@example.org".try_into().unwrap());
    let v4 = SanType::IpAddress("192.0.2.1".parse().unwrap());
    let peer = between.issue(&peer_params(vec![dns("mn.example.org"), mail, SanType::IpAddress(address), v4]));
    let chain = [peer, between.der.clone()];
    for name in ["mn.example.org", "MN.Example.org", "mn@example.org", "2001:db8::2", "192.0.2.1"] {
        assert_eq!(verify(&chain, &root.trusted(), now(), &name.parse().unwrap()), Ok(()), "{name}");
    }
    for name in ["n.example.org", "mn.example.or", "MN@example.org", "2001:db8::3", "192.0.2.2"] {
        let result = verify(&chain, &root.trusted(), now(), &name.parse().unwrap());
        assert!(matches!(result, Err(VerifyError::WrongIdentity { .. })), "{name} {result:?}");
    }
}

#[test]
fn a_chain_without_its_intermediate_names_the_authority_that_is_missing() {
    let root = root();
    let between = root.between(authority_params("between"));
    let peer = between.issue(&peer_params(vec![dns("mn.example.org")]));
    let error = verify(&[peer], &root.trusted(), now(), &mn()).unwrap_err();
    assert_eq!(error, VerifyError::UnknownAuthority { subject: "CN=peer".into(), issuer: "CN=between".into() });
}

#[test]
fn an_unknown_authority_is_named() {
    let (ours, other) = (root(), Ca::root(authority_params("other")));
    let between = other.between(authority_params("between"));
    let peer = between.issue(&peer_params(vec![dns("mn.example.org")]));
    let chain = [peer, between.der.clone(), other.der.clone()];
    let error = verify(&chain, &ours.trusted(), now(), &mn()).unwrap_err();
    assert_eq!(error, VerifyError::UnknownAuthority { subject: "CN=peer".into(), issuer: "CN=other".into() });
    assert_eq!(
        error.to_string(),
        "the authority `CN=other`, on which the certificate of `CN=peer` rests, is not trusted"
    );
    let nobody = Authorities::default();
    assert!(matches!(verify(&chain, &nobody, now(), &mn()), Err(VerifyError::UnknownAuthority { .. })));
}

#[test]
fn an_authority_of_the_same_name_with_another_key_is_not_taken_for_it() {
    let (ours, other) = (root(), root());
    let peer = other.issue(&peer_params(vec![dns("mn.example.org")]));
    let chain = [peer, other.der.clone()];
    assert_eq!(verify(&chain, &ours.trusted(), now(), &mn()), Err(VerifyError::BadSignature("CN=peer".into())));
}

#[test]
fn the_time_of_every_certificate_in_the_chain_counts() {
    let (early, late) = (date_time_ymd(2029, 6, 1), date_time_ymd(2030, 6, 1));
    let moments = |error: VerifyError| match error {
        VerifyError::Expired { subject, not_after } => (subject, not_after),
        VerifyError::NotYetValid { subject, not_before } => (subject, not_before),
        other => (other.to_string(), String::new()),
    };
    for changed in ["root", "between", "peer"] {
        for expired in [true, false] {
            let time = |mut params: CertificateParams, name: &str| {
                if name == changed && expired {
                    params.not_after = early;
                } else if name == changed {
                    params.not_before = late;
                }
                params
            };
            let root = Ca::root(time(authority_params("root"), "root"));
            let between = root.between(time(authority_params("between"), "between"));
            let peer = between.issue(&time(peer_params(vec![dns("mn.example.org")]), "peer"));
            let chain = [peer, between.der.clone()];
            let error = verify(&chain, &root.trusted(), now(), &mn()).unwrap_err();
            assert_eq!(matches!(error, VerifyError::Expired { .. }), expired, "{error}");
            let (subject, moment) = moments(error);
            assert_eq!(subject, format!("CN={changed}"));
            assert!(
                moment.starts_with(if expired { "Jun  1 00:00:00 2029" } else { "Jun  1 00:00:00 2030" }),
                "{moment}"
            );
        }
    }
}

#[test]
fn a_renewed_authority_with_the_same_key_is_good_beside_the_expired_one() {
    let key = KeyPair::generate().unwrap();
    let mut old = authority_params("root");
    old.not_after = date_time_ymd(2029, 6, 1);
    let new = authority_params("root");
    let ders = [old.self_signed(&key).unwrap().der().to_vec(), new.self_signed(&key).unwrap().der().to_vec()];
    let ca = Ca { der: ders[0].clone(), issuer: Issuer::new(new, key) };
    let peer = ca.issue(&peer_params(vec![dns("mn.example.org")]));
    assert_eq!(verify(&[&peer], &Authorities::new(&ders).unwrap(), now(), &mn()), Ok(()));
    assert!(matches!(verify(&[&peer], &ca.trusted(), now(), &mn()), Err(VerifyError::Expired { .. })));
}

#[test]
fn the_first_and_the_last_second_of_the_validity_count() {
    let root = root();
    let mut params = peer_params(vec![dns("mn.example.org")]);
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    let peer = root.issue(&params);
    let at = |seconds| verify(&[&peer], &root.trusted(), UNIX_EPOCH + Duration::from_secs(seconds), &mn());
    assert_eq!(at(NOW), Ok(()));
    assert!(matches!(at(NOW - 1), Err(VerifyError::NotYetValid { .. })));
    assert!(matches!(at(NOW + 1), Err(VerifyError::Expired { .. })));
}

#[test]
fn a_wrong_identity_names_both() {
    let error = root().try_peer(&peer_params(vec![dns("other.example.org")]), &mn()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the peer says that it is `mn.example.org`, but its certificate is for `other.example.org`, `CN=peer`"
    );
}

#[test]
fn neither_the_subject_nor_a_wildcard_nor_a_longer_name_proves_a_domain_name() {
    let root = root();
    let mut subject_only = peer_params(vec![]);
    subject_only.distinguished_name.push(DnType::CommonName, "mn.example.org");
    assert!(matches!(root.try_peer(&subject_only, &mn()), Err(VerifyError::WrongIdentity { .. })));
    for name in ["*.example.org", "mn.example.org.evil.org", "mn.example.or", "mn.example.org."] {
        let result = root.try_peer(&peer_params(vec![dns(name)]), &mn());
        assert!(matches!(result, Err(VerifyError::WrongIdentity { .. })), "{name}");
    }
    let as_mail = peer_params(vec![SanType::Rfc822Name("mn.example.org".try_into().unwrap())]);
    assert!(matches!(root.try_peer(&as_mail, &mn()), Err(VerifyError::WrongIdentity { .. })));
}

#[test]
fn the_whole_subject_proves_a_distinguished_name() {
    let root = root();
    // SEQUENCE { SET { SEQUENCE { 2.5.4.3, UTF8String "peer" } } }
    let peer = b"\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04peer".to_vec();
    assert_eq!(root.try_peer(&peer_params(vec![]), &Identity::Dn(peer.clone())), Ok(()));
    let longer = b"\x30\x10\x31\x0e\x30\x0c\x06\x03\x55\x04\x03\x0c\x05peers".to_vec();
    let cut = peer[..peer.len() - 1].to_vec();
    for other in [longer, cut, Vec::new()] {
        let result = root.try_peer(&peer_params(vec![]), &Identity::Dn(other));
        assert!(matches!(result, Err(VerifyError::WrongIdentity { .. })), "{result:?}");
    }
}

#[test]
fn a_certificate_is_for_ike_if_it_says_so_says_any_or_says_nothing() {
    let root = root();
    let with = |usages: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = peer_params(vec![dns("mn.example.org")]);
        params.extended_key_usages = usages;
        root.try_peer(&params, &mn())
    };
    let (server, any) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any);
    assert_eq!(with(vec![]), Ok(()));
    assert_eq!(with(vec![any]), Ok(()));
    assert_eq!(with(vec![server.clone(), ipsec_ike()]), Ok(()));
    assert_eq!(with(vec![server, ExtendedKeyUsagePurpose::ClientAuth]), Err(VerifyError::ExtendedKeyUsage));
}

#[test]
fn an_authority_between_for_other_purposes_vouches_for_nobody() {
    let root = root();
    let mut params = authority_params("between");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let between = root.between(params);
    let chain = [between.issue(&peer_params(vec![dns("mn.example.org")])), between.der.clone()];
    assert_eq!(verify(&chain, &root.trusted(), now(), &mn()), Err(VerifyError::ExtendedKeyUsage));
}

#[test]
fn a_key_usage_has_to_allow_signatures() {
    let root = root();
    let with = |usages: Vec<KeyUsagePurpose>| {
        let mut params = peer_params(vec![dns("mn.example.org")]);
        params.key_usages = usages;
        root.try_peer(&params, &mn())
    };
    assert_eq!(with(vec![]), Ok(()));
    assert_eq!(with(vec![KeyUsagePurpose::ContentCommitment]), Ok(()));
    assert_eq!(with(vec![KeyUsagePurpose::KeyEncipherment]), Err(VerifyError::KeyUsage("CN=peer".into())));
}

#[test]
fn a_peer_cannot_issue_for_another() {
    let root = root();
    let peer = root.between(peer_params(vec![dns("evil.example.org")]));
    let chain = [peer.issue(&peer_params(vec![dns("mn.example.org")])), peer.der.clone()];
    let result = verify(&chain, &root.trusted(), now(), &mn());
    assert!(matches!(result, Err(VerifyError::NotAnAuthority(_))), "{result:?}");

    // One that claims to be an authority but whose keyUsage says otherwise.
    let mut params = authority_params("between");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let between = root.between(params);
    let chain = [between.issue(&peer_params(vec![dns("mn.example.org")])), between.der.clone()];
    let result = verify(&chain, &root.trusted(), now(), &mn());
    assert!(matches!(result, Err(VerifyError::NotAnAuthority(_))), "{result:?}");
}

#[test]
fn an_authority_is_not_a_peer_and_a_peer_no_authority() {
    let root = root();
    let mut params = authority_params("between");
    params.subject_alt_names = vec![dns("mn.example.org")];
    let between = root.between(params);
    let result = verify(&[&between.der], &root.trusted(), now(), &mn());
    assert_eq!(result, Err(VerifyError::AuthorityAsPeer("CN=between".into())));

    let peer = root.issue(&peer_params(vec![dns("mn.example.org")]));
    assert_eq!(Authorities::new([&peer]).unwrap_err(), AuthorityError::NotAnAuthority("CN=peer".into()));
    assert!(matches!(Authorities::new([&root.der[1..]]), Err(AuthorityError::Unreadable(1, _))));
}

#[test]
fn the_path_length_of_the_authority_on_top_counts() {
    let mut params = authority_params("root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = Ca::root(params);
    assert_eq!(root.try_peer(&peer_params(vec![dns("mn.example.org")]), &mn()), Ok(()));
    let between = root.between(authority_params("between"));
    let chain = [between.issue(&peer_params(vec![dns("mn.example.org")])), between.der.clone()];
    let result = verify(&chain, &root.trusted(), now(), &mn());
    assert!(matches!(result, Err(VerifyError::NotAnAuthority(_))), "{result:?}");
}

#[test]
fn name_constraints_cannot_be_bypassed_by_any_kind_of_name() {
    let constrained = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        let root = root();
        let mut params = authority_params("between");
        params.name_constraints = Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
        let between = root.between(params);
        move |name: SanType, expected: &Identity| {
            let chain = [between.issue(&peer_params(vec![name])), between.der.clone()];
            verify(&chain, &root.trusted(), now(), expected)
        }
    };
    let forbidden = Err(VerifyError::NameConstraints("CN=peer".into()));
    let evil = Identity::Fqdn("evil.example.com".into());
    let within = constrained(vec![GeneralSubtree::DnsName("example.org".into())], vec![]);
    assert_eq!(within(dns("mn.example.org"), &mn()), Ok(()));
    assert_eq!(within(dns("evil.example.com"), &evil), forbidden);
    let without = constrained(vec![], vec![GeneralSubtree::DnsName("example.com".into())]);
    assert_eq!(without(dns("EVIL.example.com"), &evil), forbidden);
    let mail = SanType::Rfc822Name("mn@evil.example.com".try_into().unwrap());
    let mails = constrained(vec![GeneralSubtree::Rfc822Name("example.org".into())], vec![]);
    assert_eq!(mails(mail, &"mn@evil.example.com".parse().unwrap()), forbidden);
}

#[test]
fn a_changed_octet_anywhere_is_never_accepted() {
    let root = root();
    let peer = root.issue(&peer_params(vec![dns("mn.example.org")]));
    let trusted = root.trusted();
    assert_eq!(verify(&[&peer], &trusted, now(), &mn()), Ok(()));
    for at in 0..peer.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = peer.clone();
            changed[at] ^= change;
            assert!(verify(&[&changed], &trusted, now(), &mn()).is_err(), "octet {at} ^ {change:#x}");
        }
    }
    let mut tampered = peer.clone();
    *tampered.last_mut().unwrap() ^= 1;
    assert_eq!(verify(&[&tampered], &trusted, now(), &mn()), Err(VerifyError::BadSignature("CN=peer".into())));
}

#[test]
fn no_certificate_and_too_many_are_refused() {
    let root = root();
    let none: [&[u8]; 0] = [];
    assert_eq!(verify(&none, &root.trusted(), now(), &mn()), Err(VerifyError::Empty));
    let peer = root.issue(&peer_params(vec![dns("mn.example.org")]));
    let fill = |count| std::iter::once(&peer).chain(std::iter::repeat_n(&root.der, count)).collect::<Vec<_>>();
    assert_eq!(verify(&fill(7), &root.trusted(), now(), &mn()), Ok(()));
    assert_eq!(verify(&fill(8), &root.trusted(), now(), &mn()), Err(VerifyError::TooMany(9)));
    // Rubbish beside a good certificate does no harm; in its place it is told.
    let rubbish = b"\x30\x03\x02\x01\x00".to_vec();
    assert_eq!(verify(&[peer, rubbish.clone()], &root.trusted(), now(), &mn()), Ok(()));
    assert!(matches!(verify(&[rubbish], &root.trusted(), now(), &mn()), Err(VerifyError::Unreadable(_))));
}

#[test]
fn circles_in_the_chain_come_to_an_end() {
    let root = root();
    let (left, right) = (Ca::root(authority_params("left")), Ca::root(authority_params("right")));
    // Each of the two issued the other.
    let cross = |params: CertificateParams, of: &Ca, by: &Ca| {
        params.signed_by(of.issuer.key(), &by.issuer).unwrap().der().to_vec()
    };
    let left_by_right = cross(authority_params("left"), &left, &right);
    let right_by_left = cross(authority_params("right"), &right, &left);
    let chain = [left.issue(&peer_params(vec![dns("mn.example.org")])), left_by_right, right_by_left];
    let result = verify(&chain, &root.trusted(), now(), &mn());
    assert!(matches!(result, Err(VerifyError::UnknownAuthority { .. })), "{result:?}");
}

#[test]
fn what_a_certificate_says_cannot_steer_a_terminal() {
    let other = Ca::root(authority_params("\u{1b}[2Jroot"));
    let peer = other.issue(&peer_params(vec![dns("mn.example.org")]));
    let error = verify(&[peer], &root().trusted(), now(), &mn()).unwrap_err().to_string();
    assert!(error.contains("root") && !error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn the_key_id_of_an_authority_is_the_sha1_of_its_public_key() {
    let key = KeyPair::generate().unwrap();
    let der = authority_params("root").self_signed(&key).unwrap().der().to_vec();
    let expected = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        &rcgen::PublicKeyData::subject_public_key_info(&key),
    );
    let authorities = Authorities::new([der]).unwrap();
    assert_eq!(authorities.key_ids().first().expect("one authority").as_slice(), expected.as_ref());
}

proptest! {
    #[test]
    fn garbage_never_panics(chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..4)) {
        let _ = verify(&chain, &Authorities::default(), now(), &mn()).unwrap_err().to_string();
        let _ = Authorities::new(&chain);
        let _ = pki::certificates(&chain.concat());
        for one in &chain {
            let _ = Identity::Dn(one.clone()).to_string();
        }
    }

    #[test]
    fn a_certificate_cut_and_mended_never_panics(at in 0usize..600, cut in 0usize..8, mend in proptest::collection::vec(any::<u8>(), 0..8)) {
        thread_local! {
            static PARTS: (Ca, Vec<u8>) = {
                let root = root();
                let peer = root.issue(&peer_params(vec![dns("mn.example.org")]));
                (root, peer)
            };
        }
        PARTS.with(|(root, peer)| {
            let at = at.min(peer.len());
            let mut changed = peer.clone();
            changed.splice(at..(at + cut).min(peer.len()), mend);
            if changed != *peer {
                assert!(verify(&[&changed, &root.der], &root.trusted(), now(), &mn()).is_err());
            }
        });
    }
}
