//! Authenticated peers that do what our own engine never does.

use super::child;
use super::pair::*;
use super::payloads::Parts;
use super::{IkeSa, State};
use crate::action::{Action, CloseReason, Input};
use crate::config::Config;
use crate::crypto::RING;
use crate::engine::Engine;
use crate::negotiate::{esp, ike};
use crate::wire::{
    Delete, EncryptionId, ExchangeType, Group, KeyExchange, Notify, NotifyType, Payload, PayloadType,
    SecurityAssociation, TrafficSelector, TrafficSelectors, Transform, WireError,
};

/// RFC 7296 §2.5.
#[test]
fn an_unknown_payload_that_is_not_critical_is_passed_over() {
    let mut pair = Pair::new();
    let answer = pair.ask(ExchangeType::Informational, vec![Payload::Other { kind: 200, data: vec![1, 2, 3] }]);
    assert!(answer.payloads.is_empty());
    assert_eq!(pair.us.established(), 1);
}

/// RFC 7296 §2.5, §2.21.3: a critical one is named in the answer and the IKE SA stays; what is malformed ends it.
#[test]
fn an_unknown_critical_payload_costs_its_request_and_a_malformed_one_the_ike_sa() {
    let cases = [
        (WireError::UnsupportedCritical(200), NotifyType::UnsupportedCriticalPayload, vec![200], 1),
        (WireError::Truncated, NotifyType::InvalidSyntax, vec![], 0),
    ];
    for (error, kind, data, left) in cases {
        let mut pair = Pair::new();
        pair.us.within(pair.now, ID, |us, ctx| {
            let State::Established(established) = us.take_state() else { panic!("not established") };
            let which = established.current.local_spi();
            let fault = super::respond::contents_fault(error);
            us.state = us.refuse_request(ctx, established, which, OURS, ExchangeType::Informational, &fault);
        });
        let answer = pair.ours().pop().unwrap();
        pair.peer.within(pair.now, ID, |peer, _| {
            let State::Established(established) = &mut peer.state else { panic!("not established") };
            let answer = established.current.channel.opener.open(&answer).unwrap();
            assert_eq!((only_notify(&answer).kind, &only_notify(&answer).data), (kind, &data));
        });
        assert_eq!(pair.us.established(), left);
    }
}

/// RFC 7296 §1.4.1, §2.25.1.
#[test]
fn a_delete_of_unknown_children_is_answered_without_a_delete() {
    let mut pair = Pair::new();
    let answer = pair.ask(ExchangeType::Informational, vec![Payload::Delete(Delete::Esp(vec![1, 2, 3]))]);
    assert!(answer.payloads.is_empty());
    let (_, ours, theirs) = pair.child();
    let answer = pair.ask(
        ExchangeType::Informational,
        vec![Payload::Delete(Delete::Esp(vec![theirs, theirs])), Payload::Delete(Delete::Ah(vec![theirs]))],
    );
    assert_eq!(answer.payloads, [Payload::Delete(Delete::Esp(vec![ours]))], "once, and with our own SPI");
    assert!(pair.us.children(ID).is_empty());
}

/// RFC 7296 §2.25: the SPI comes back.
#[test]
fn a_rekeying_of_an_unknown_child_is_child_sa_not_found() {
    let mut pair = Pair::new();
    let mut payloads = child_payloads(5000);
    payloads.insert(0, Payload::Notify(Notify::esp(NotifyType::RekeySa, 0xdead_beef)));
    let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
    assert_eq!(*only_notify(&answer), Notify::esp(NotifyType::ChildSaNotFound, 0xdead_beef));
    assert_eq!(pair.us.children(ID).len(), 1);
}

/// RFC 7296 §2.9.2: a rekeying is no way to narrow a child.
#[test]
fn a_rekeying_with_narrower_selectors_or_another_mode_is_refused() {
    let mut pair = Pair::new();
    let (_, _, theirs) = pair.child();
    let other = "2001:db8:1::3".parse().unwrap();
    let mut payloads = child_payloads(5000);
    payloads[2] = Payload::TsI(TrafficSelectors::new(vec![TrafficSelector::any(other..=other)]));
    payloads.insert(0, Payload::Notify(Notify::esp(NotifyType::RekeySa, theirs)));
    let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
    assert_eq!(only_notify(&answer).kind, NotifyType::TsUnacceptable);
    assert_eq!(pair.us.children(ID).len(), 1);
}

/// A peer that replaces its child for ever and deletes none.
#[test]
fn replaced_children_do_not_pile_up() {
    let mut pair = Pair::new();
    for spi in 5000..5400 {
        let (_, _, theirs) = pair.child();
        let mut payloads = child_payloads(spi);
        payloads.insert(0, Payload::Notify(Notify::esp(NotifyType::RekeySa, theirs)));
        pair.ask(ExchangeType::CreateChildSa, payloads);
    }
    assert_eq!(pair.us.children(ID).len(), 128);
}

/// RFC 7296 §1.3.1, §1.3: a key exchange of the child's own, with a group that we know, or the request for one.
#[test]
fn a_peer_may_have_forward_secrecy_for_its_child() {
    let mut pair = Pair::new();
    let with_group = |ke: Group, data: Vec<u8>| {
        let mut payloads = child_payloads(5000);
        if let Payload::Sa(sa) = &mut payloads[0] {
            sa.proposals[0].transforms.extend([Transform::group(Group::Modp2048), Transform::group(Group::X25519)]);
        }
        payloads.insert(2, Payload::Ke(KeyExchange { group: ke, data }));
        payloads
    };
    let answer = pair.ask(ExchangeType::CreateChildSa, with_group(Group::Modp2048, vec![2; 256]));
    assert_eq!(
        (only_notify(&answer).kind, &only_notify(&answer).data[..]),
        (NotifyType::InvalidKePayload, &[0, 31][..])
    );
    let key = RING.group(Group::X25519).unwrap().generate(&mut Counting(9)).unwrap();
    let answer = pair.ask(ExchangeType::CreateChildSa, with_group(Group::X25519, key.public_value().to_vec()));
    assert_eq!(Parts(&answer.payloads).ke().unwrap().group, Group::X25519);
    assert_eq!(pair.us.children(ID).len(), 2);
    // An all-zero public value makes no secret: it is refused, and as a wrong payload it ends the IKE SA.
    pair.ask(ExchangeType::CreateChildSa, with_group(Group::X25519, vec![0; 32]));
    assert!(matches!(pair.closed(), Some(CloseReason::Protocol(_))));
}

/// RFC 7296 §2.21.3: INVALID_SYNTAX is fatal; the answer is repeated for a repeated request.
#[test]
fn a_request_without_its_payloads_ends_the_ike_sa() {
    for missing in 0..4 {
        let mut pair = Pair::new();
        let mut payloads = child_payloads(5000);
        payloads.remove(missing);
        let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
        assert_eq!(only_notify(&answer).kind, NotifyType::InvalidSyntax);
        assert!(matches!(pair.closed(), Some(CloseReason::Protocol(_))));
        assert!(pair.did.iter().any(|action| matches!(action, Action::RemoveChild(_))));
        assert_eq!(pair.us.established(), 0);
    }
}

/// CVE-2014-2338: no exchange but IKE_AUTH establishes, and none does so twice.
#[test]
fn an_exchange_that_does_not_belong_here_ends_the_ike_sa() {
    for exchange in [ExchangeType::IkeAuth, ExchangeType::IkeSaInit, ExchangeType::Other(250)] {
        let mut pair = Pair::new();
        let answer = pair.ask(exchange, Vec::new());
        assert_eq!(only_notify(&answer).kind, NotifyType::InvalidSyntax);
        assert_eq!(pair.us.established(), 0);
    }
}

/// RFC 7296 §1.3.2, §2.18: an IKE SA is not rekeyed without KE, without a new SPI or with weak algorithms.
#[test]
fn a_rekeying_of_the_ike_sa_has_to_be_whole() {
    let key = RING.group(Group::X25519).unwrap().generate(&mut Counting(9)).unwrap();
    let ke = Payload::Ke(KeyExchange { group: Group::X25519, data: key.public_value().to_vec() });
    let config = Config::default();
    let weak = |mut sa: SecurityAssociation| {
        for proposal in &mut sa.proposals {
            proposal.transforms[0] = Transform::encryption(EncryptionId::AesCbc, 128);
        }
        sa
    };
    let cases = [
        (vec![Payload::Sa(ike::offer(&config, Some(7))), nonce()], NotifyType::InvalidSyntax),
        (vec![Payload::Sa(ike::offer(&config, None)), nonce(), ke.clone()], NotifyType::NoProposalChosen),
        (vec![Payload::Sa(weak(ike::offer(&config, Some(7)))), nonce(), ke], NotifyType::NoProposalChosen),
    ];
    for (payloads, wanted) in cases {
        let mut pair = Pair::new();
        let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
        assert_eq!(only_notify(&answer).kind, wanted);
        assert_eq!(pair.us.stats().ike_rekeyed, 0);
    }
}

/// RFC 7296 §3.10.1, §3.12, §2.20: what we do not know in a request changes nothing, and is answered.
#[test]
fn unknown_notifies_vendor_ids_and_settings_are_passed_over() {
    let mut pair = Pair::new();
    let answer = pair.ask(
        ExchangeType::Informational,
        vec![
            Payload::Notify(Notify::new(NotifyType::Other(9000))),
            Payload::Notify(Notify::new(NotifyType::Other(40000))),
            Payload::Notify(Notify::esp(NotifyType::InvalidSpi, 7)),
            Payload::VendorId(crate::wire::VendorId(b"somebody".to_vec())),
            Payload::Notify(Notify::with_data(NotifyType::SetWindowSize, vec![0, 0, 0, 5])),
            Payload::Cp(crate::wire::Configuration { kind: crate::wire::CfgType::Set, attributes: Vec::new() }),
            // RFC 7296 §2.20: which version? None that we tell.
            Payload::Cp(crate::wire::Configuration {
                kind: crate::wire::CfgType::Request,
                attributes: vec![crate::wire::CfgAttribute::Other { kind: 7, data: Vec::new() }],
            }),
        ],
    );
    assert!(answer.payloads.is_empty());
    assert_eq!((pair.us.established(), pair.us.children(ID).len()), (1, 1));
}

/// RFC 7296 §2.9, §1.3.1, §3.3.6: the answer to our request is a part of it, or the child goes back.
#[test]
fn an_answer_that_was_not_asked_for_is_no_child() {
    let request = request();
    let chosen = |spi| {
        esp::choose(&Config::default(), &request.suites, &esp::offer(&request.suites, 4096), esp::Exchange::IkeAuth)
            .unwrap()
            .answer(spi)
    };
    let ts = |selectors: &[TrafficSelector]| TrafficSelectors::new(selectors.to_vec());
    let (local, remote) = (&request.local_selectors, &request.remote_selectors);
    let good = vec![Payload::Sa(chosen(5000)), Payload::TsI(ts(local)), Payload::TsR(ts(remote))];
    assert!(child::answered(&request, Parts(&good)).is_ok());
    let held = |payloads: &[Payload]| child::answered(&request, Parts(payloads)).unwrap_err().0;
    let wide = vec![Payload::Sa(chosen(5000)), Payload::TsI(ts(remote)), Payload::TsR(ts(remote))];
    assert_eq!(held(&wide), (None, true));
    let empty = vec![Payload::Sa(chosen(5000)), Payload::TsI(ts(&[])), Payload::TsR(ts(remote))];
    assert_eq!(held(&empty), (None, true));
    let transport = [good.clone(), vec![Payload::Notify(Notify::new(NotifyType::UseTransportMode))]].concat();
    assert_eq!(held(&transport), (None, true));
    let mut two = good.clone();
    two[0] = Payload::Sa(SecurityAssociation { proposals: [chosen(5000).proposals, chosen(5001).proposals].concat() });
    assert_eq!(held(&two), (None, true));
    let refused = vec![Payload::Notify(Notify::new(NotifyType::Other(9999)))];
    assert_eq!(held(&refused), (Some(NotifyType::Other(9999)), false));
    assert_eq!(held(&[]), (None, false));
}

/// RFC 7296 §2.25.2, §2.8.2: while the IKE SA is replaced nothing is made under it, and the old one is not replaced again.
#[test]
fn a_replaced_generation_makes_no_children_and_no_generations() {
    let mut pair = Pair::new();
    let key = RING.group(Group::X25519).unwrap().generate(&mut Counting(9)).unwrap();
    let ke = Payload::Ke(KeyExchange { group: Group::X25519, data: key.public_value().to_vec() });
    let rekey = vec![Payload::Sa(ike::offer(&Config::default(), Some(7))), nonce(), ke];
    let answer = pair.ask(ExchangeType::CreateChildSa, rekey.clone());
    assert!(Parts(&answer.payloads).sa().is_some());
    // The peer stays on the old generation.
    let answer = pair.ask(ExchangeType::CreateChildSa, rekey);
    assert_eq!(only_notify(&answer).kind, NotifyType::TemporaryFailure);
    let answer = pair.ask(ExchangeType::CreateChildSa, child_payloads(5000));
    assert_eq!(only_notify(&answer).kind, NotifyType::TemporaryFailure);
    let answer = pair.ask(ExchangeType::Informational, vec![Payload::Delete(Delete::Ike)]);
    assert!(answer.payloads.is_empty());
    assert_eq!((pair.us.established(), pair.us.children(ID).len()), (1, 1));
    assert!(pair.closed().is_none());
}

/// The chain of an IKE_AUTH request has a bound, and URLs are not followed (CVE-2022-40617).
#[test]
fn certificates_of_other_forms_are_passed_over() {
    let cert = |encoding, octet| Payload::Cert(crate::wire::Certificate { encoding, data: vec![octet] });
    let mut payloads = vec![cert(crate::wire::CertEncoding::HashAndUrlX509, 1)];
    payloads.extend((0..20).map(|octet| cert(crate::wire::CertEncoding::X509Signature, octet)));
    let chain = crate::auth::chain(&payloads);
    assert_eq!((chain.len(), &chain[0][..]), (10, &[0][..]));
    assert_eq!(payloads[0].kind(), PayloadType::Cert);
}

/// An IKE SA that is dropped from the tables leaves nothing in them.
#[test]
fn an_end_gives_everything_back() {
    let mut pair = Pair::new();
    let (child, ..) = pair.child();
    pair.us.handle(pair.now, Input::Close(ID));
    pair.run();
    assert_eq!((pair.us.len(), pair.us.ike_sa_of(child), pair.us.deadline()), (0, None, None));
    assert_eq!(pair.us.half_open(), 0);
    fn is_send<T: Send>() {}
    is_send::<Engine>();
    is_send::<IkeSa>();
}
