//! Flaws that other implementations had, each by what it was; and IKE_AUTH messages that no engine of ours would send.

use super::exchange::Purpose;
use super::pair::*;
use super::payloads::Parts;
use super::{IkeSa, State};
use crate::action::{Action, CloseReason, Input};
use crate::auth::{Proof, prove};
use crate::config::Config;
use crate::negotiate::esp;
use crate::wire::{
    AuthMethod, CfgAttribute, CfgType, Configuration, Delete, ExchangeType, Group, Header, Identification, Identity,
    KeyExchange, Message, Notify, NotifyType, Payload, PayloadType, Transform, TransformId, VendorId,
};

/// The peer has got as far as IKE_AUTH; gives what it is about to send.
fn before_auth() -> (Pair, Message) {
    let mut pair = Pair::strangers();
    pair.peer.handle(pair.now, Input::Connect(Box::new(connect(THEIRS, "peer", "us"))));
    let init = pair.theirs();
    pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes: init });
    let answer = pair.ours().remove(0);
    pair.peer.handle(pair.now, Input::Datagram { endpoints: THEIRS, bytes: answer });
    let request = pair.theirs();
    let mut opened = None;
    pair.us.within(pair.now, ID, |us, _| {
        let State::HalfOpen(half) = &us.state else { panic!("not half-open") };
        opened = Some(half.generation.channel.opener.open(&request).unwrap());
    });
    (pair, opened.unwrap())
}

/// Sends another IKE_AUTH request than the peer's own; gives our answer to it, as the peer reads it.
fn auth_with(pair: &mut Pair, header: &Header, payloads: &[Payload]) -> Message {
    let mut bytes = None;
    pair.peer.within(pair.now, ID, |peer, ctx| {
        let State::AuthSent(state) = &mut peer.state else { panic!("no IKE_AUTH") };
        bytes = Some(state.auth.generation.channel.sealer.seal(header, payloads, ctx.random).unwrap());
    });
    auth_answer(pair, bytes.unwrap())
}

fn auth_answer(pair: &mut Pair, bytes: Vec<u8>) -> Message {
    pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes });
    let answer = pair.ours().remove(0);
    let mut opened = None;
    pair.peer.within(pair.now, ID, |peer, _| {
        let State::AuthSent(state) = &peer.state else { panic!("no IKE_AUTH") };
        opened = Some(state.auth.generation.channel.opener.open(&answer).unwrap());
    });
    opened.unwrap()
}

fn kinds(message: &Message) -> Vec<String> {
    let name = |payload: &Payload| match payload {
        Payload::Notify(notify) => notify.kind.to_string(),
        payload => payload.kind().to_string(),
    };
    message.payloads.iter().map(name).collect()
}

/// RFC 7296 appendix C, §2.5, §2.19: our own messages have the documented order, and no CP after SA.
#[test]
fn the_payloads_of_ike_auth_stand_in_the_order_of_the_rfc() {
    let mut pair = Pair::strangers();
    let mut wanted = connect(THEIRS, "peer", "us");
    wanted.initial_contact = true;
    wanted.address = Some(crate::action::AddressRequest { suggestion: None, dns: false });
    if let Some(child) = &mut wanted.child {
        child.transport = true;
    }
    pair.peer.handle(pair.now, Input::Connect(Box::new(wanted)));
    let init = pair.theirs();
    let init_kinds = kinds(&Message::parse(&init).unwrap());
    assert_eq!(init_kinds[..3], ["SA", "KE", "Nonce"]);
    assert_eq!(init_kinds[3..5], ["NAT_DETECTION_SOURCE_IP", "NAT_DETECTION_DESTINATION_IP"]);
    pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes: init });
    let answer = pair.ours().remove(0);
    assert_eq!(kinds(&Message::parse(&answer).unwrap())[..3], ["SA", "KE", "Nonce"]);
    pair.peer.handle(pair.now, Input::Datagram { endpoints: THEIRS, bytes: answer });
    let request = pair.theirs();
    let mut opened = None;
    pair.us.within(pair.now, ID, |us, _| {
        let State::HalfOpen(half) = &us.state else { panic!("not half-open") };
        opened = Some(half.generation.channel.opener.open(&request).unwrap());
    });
    let order = ["IDi", "INITIAL_CONTACT", "IDr", "AUTH", "CP", "USE_TRANSPORT_MODE", "SA", "TSi", "TSr"];
    assert_eq!(kinds(&opened.unwrap()), order);
}

/// RFC 7296 §1.7, §2.5: whatever the order, and with unknown payloads and vendor IDs in between.
#[test]
fn ike_auth_and_create_child_sa_are_accepted_in_any_order() {
    let (_, request) = before_auth();
    for turn in 0..request.payloads.len() {
        let (mut pair, request) = before_auth();
        let mut payloads = request.payloads.clone();
        payloads.rotate_left(turn);
        payloads.insert(turn / 2, Payload::Other { kind: 200, data: vec![1, 2] });
        payloads.push(Payload::VendorId(VendorId(b"critical".to_vec())));
        let answer = auth_with(&mut pair, &request.header, &payloads);
        assert_eq!(kinds(&answer), ["IDr", "AUTH", "SA", "TSi", "TSr"], "turned by {turn}");
    }
    for turn in 0..4 {
        let mut pair = Pair::new();
        let mut payloads = child_payloads(5000);
        payloads.rotate_left(turn);
        let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
        assert_eq!(kinds(&answer), ["SA", "Nonce", "TSi", "TSr"], "turned by {turn}");
    }
}

/// Missing payloads (CVE-2013-6467, CVE-2016-5391): an error, nothing established, nothing left half-dead.
#[test]
fn ike_auth_without_one_of_its_payloads_establishes_nothing() {
    let cases = [
        ("IDi", NotifyType::InvalidSyntax),
        ("AUTH", NotifyType::AuthenticationFailed),
        ("SA", NotifyType::InvalidSyntax),
        ("TSi", NotifyType::InvalidSyntax),
        ("TSr", NotifyType::InvalidSyntax),
    ];
    for (missing, wanted) in cases {
        let (mut pair, request) = before_auth();
        let mut payloads = request.payloads.clone();
        payloads.retain(|payload| payload.kind().to_string() != missing);
        assert_eq!(payloads.len() + 1, request.payloads.len(), "{missing}");
        let answer = auth_with(&mut pair, &request.header, &payloads);
        assert_eq!(only_notify(&answer).kind, wanted, "{missing}");
        assert_eq!(pair.us.established(), 0);
        pair.now += std::time::Duration::from_secs(60);
        pair.us.handle(pair.now, Input::Timeout);
        assert_eq!((pair.us.len(), pair.us.half_open()), (0, 0));
    }
}

/// Missing transforms: the child is refused and the IKE SA stands (RFC 7296 §1.2, §3.3.3).
#[test]
fn a_first_child_without_one_of_its_transforms_is_refused() {
    let (_, request) = before_auth();
    let count = Parts(&request.payloads).sa().unwrap().proposals[0].transforms.len();
    for missing in 0..count {
        let (mut pair, request) = before_auth();
        let mut payloads = request.payloads.clone();
        for payload in &mut payloads {
            if let Payload::Sa(sa) = payload {
                let removed = sa.proposals[0].transforms.remove(missing);
                // One kind of sequence numbers is enough; without both there is no word on them.
                sa.proposals[0].transforms.retain(|transform| transform.id.kind() != removed.id.kind());
            }
        }
        let answer = auth_with(&mut pair, &request.header, &payloads);
        assert!(answer.notify(NotifyType::NoProposalChosen).is_some(), "{missing}: {answer:?}");
        assert_eq!((pair.us.established(), pair.us.children(ID).len()), (1, 0));
    }
}

/// RFC 7296 §2.5, §2.21.2: nothing but the error is in the answer, and nothing is established.
#[test]
fn an_unknown_critical_payload_in_ike_auth_is_named_and_a_malformed_one_is_invalid_syntax() {
    let cases = [
        (PayloadType::from_code(200), vec![0, 0x80, 0, 4], NotifyType::UnsupportedCriticalPayload, vec![200]),
        (PayloadType::Nonce, vec![0, 0, 0, 5, 1], NotifyType::InvalidSyntax, vec![]),
        // RFC 7296 §3.1: an SK payload in another.
        (PayloadType::Encrypted, vec![0, 0, 0, 4], NotifyType::InvalidSyntax, vec![]),
    ];
    for (first, text, wanted, data) in cases {
        let (mut pair, request) = before_auth();
        let mut bytes = None;
        pair.peer.within(pair.now, ID, |peer, ctx| {
            let State::AuthSent(state) = &mut peer.state else { panic!("no IKE_AUTH") };
            let sealer = &mut state.auth.generation.channel.sealer;
            bytes = Some(sealer.seal_chain(&request.header, first, text, ctx.random).unwrap());
        });
        let answer = auth_answer(&mut pair, bytes.unwrap());
        assert_eq!((only_notify(&answer).kind, &only_notify(&answer).data), (wanted, &data));
        assert_eq!(pair.us.established(), 0);
    }
}

/// RFC 7296 §2.5, §2.21.3: the same under an IKE SA that stands, in each exchange, and without harm to it.
#[test]
fn an_unknown_critical_payload_is_named_in_each_exchange() {
    for exchange in [ExchangeType::CreateChildSa, ExchangeType::Informational] {
        let mut pair = Pair::new();
        let mut bytes = None;
        pair.peer.within(pair.now, ID, |peer, ctx| {
            let State::Established(established) = &mut peer.state else { panic!("not established") };
            let generation = &mut established.current;
            generation.request(ctx, THEIRS, exchange, &[], Purpose::Liveness).unwrap();
            let header =
                Header::new(generation.spis, exchange, crate::wire::Flags { initiator: true, ..Default::default() }, 2);
            let chain = vec![0, 0x80, 0, 4];
            bytes = Some(
                generation.channel.sealer.seal_chain(&header, PayloadType::from_code(99), chain, ctx.random).unwrap(),
            );
        });
        pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes: bytes.unwrap() });
        let sent = pair.ours();
        let answer = pair.read(&sent[0]);
        assert_eq!(only_notify(&answer), &Notify::with_data(NotifyType::UnsupportedCriticalPayload, vec![99]));
        assert_eq!((answer.header.exchange, pair.us.established()), (exchange, 1));
    }
}

/// RFC 7296 §2.16: EAP is asked for by leaving AUTH out; who is refused has no child and no IKE SA.
#[test]
fn a_wish_for_eap_is_refused() {
    let (mut pair, request) = before_auth();
    let mut payloads = request.payloads.clone();
    payloads.retain(|payload| !matches!(payload, Payload::Auth(_)));
    assert_eq!(only_notify(&auth_with(&mut pair, &request.header, &payloads)).kind, NotifyType::AuthenticationFailed);
    assert_eq!(pair.us.established(), 0);
}

/// Tri-state and empty proofs (CVE-2013-2944, CVE-2020-16088): an AUTH that is empty, cut, longer, of another method or of none.
#[test]
fn only_the_whole_proof_is_a_proof() {
    let changes: [fn(&mut crate::wire::Authentication); 6] = [
        |auth| auth.data.clear(),
        |auth| _ = auth.data.pop(),
        |auth| auth.data.push(0),
        |auth| auth.data.iter_mut().for_each(|octet| *octet = 0),
        |auth| auth.method = AuthMethod::Null,
        |auth| auth.method = AuthMethod::DigitalSignature,
    ];
    for change in changes {
        let (mut pair, request) = before_auth();
        let mut payloads = request.payloads.clone();
        for payload in &mut payloads {
            if let Payload::Auth(auth) = payload {
                change(auth);
            }
        }
        let answer = auth_with(&mut pair, &request.header, &payloads);
        assert_eq!(only_notify(&answer).kind, NotifyType::AuthenticationFailed);
        assert_eq!(pair.us.established(), 0);
    }
}

/// Identities compared without their length (CVE-2013-6075), on the initiator's side.
#[test]
fn an_identity_that_only_begins_like_the_wanted_one_is_another() {
    // The other side always says "us".
    for wanted in ["us.example.org", "u", "us.", "us us"] {
        let mut pair = Pair::strangers();
        pair.peer.handle(pair.now, Input::Connect(Box::new(connect(THEIRS, "peer", wanted))));
        pair.run();
        assert_eq!(pair.peer.established(), 0, "{wanted}");
        assert_eq!(pair.us.established(), 0, "{wanted}");
    }
}

/// An authenticated IKE_AUTH response without a child: the IKE SA stands, the owner hears that the child has failed.
#[test]
fn an_ike_auth_response_without_child_payloads_leaves_an_ike_sa_without_a_child() {
    // RFC 7296 §1.2, §2.21.2: the errors that belong to the child leave the IKE SA up as well.
    for error in [
        None,
        Some(NotifyType::NoProposalChosen),
        Some(NotifyType::TsUnacceptable),
        Some(NotifyType::SinglePairRequired),
        Some(NotifyType::InternalAddressFailure),
        Some(NotifyType::FailedCpRequired),
    ] {
        let mut pair = Pair::strangers();
        // This time we are the initiator.
        pair.us.handle(pair.now, Input::Connect(Box::new(connect(OURS, "us", "peer"))));
        let init = pair.ours().remove(0);
        pair.peer.handle(pair.now, Input::Datagram { endpoints: THEIRS, bytes: init });
        let answer = pair.theirs();
        pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes: answer });
        assert_eq!(pair.ours().len(), 1);
        pair.peer.within(pair.now, ID, |peer: &mut IkeSa, ctx| {
            let State::HalfOpen(half) = &mut peer.state else { panic!("not half-open") };
            let id = Identification::new(Identity::Fqdn("peer".into()));
            let local = crate::action::LocalAuth::Psk(psk());
            let Ok(Proof::Ready(auth)) = prove(half.generation.prf, &local, &half.our_octets(&id), None) else {
                panic!("no proof")
            };
            let mut payloads = vec![Payload::IdR(id), Payload::Auth(auth)];
            payloads.extend(error.map(|error| Payload::Notify(Notify::new(error))));
            // Its Message ID is that of the request.
            half.generation.answer(ctx, THEIRS, ExchangeType::IkeAuth, &payloads).unwrap();
        });
        let bytes = pair.theirs();
        pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes });
        assert!(pair.ours().is_empty());
        assert_eq!((pair.us.established(), pair.us.children(ID).len()), (1, 0));
        let failed = pair.did.iter().find_map(|action| match action {
            Action::ChildFailed { notify, .. } => Some(*notify),
            _ => None,
        });
        assert_eq!(failed, Some(error));
    }
}

/// A bad protocol id that is echoed in an error (CVE-2023-38710).
#[test]
fn a_bad_protocol_id_is_not_echoed() {
    for (protocol, spi) in [(77, vec![0; 4]), (1, vec![0; 8]), (3, vec![]), (3, vec![0; 255]), (0, vec![0; 4])] {
        let mut pair = Pair::new();
        let protocol = crate::wire::Protocol::from_code(protocol);
        let rekey = Notify { protocol, spi, kind: NotifyType::RekeySa, data: Vec::new() };
        let payloads = [vec![Payload::Notify(rekey)], child_payloads(5000)].concat();
        let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
        assert_eq!(only_notify(&answer), &Notify::new(NotifyType::InvalidSyntax));
    }
}

/// Bad selectors freed twice (CVE-2023-23009): selectors of unknown types only, and of a family that is not ours.
#[test]
fn selectors_that_cannot_be_agreed_on_cost_only_their_child() {
    let bodies = [vec![1, 0, 0, 0, 9, 0, 0, 8, 1, 2, 3, 4], {
        let mut ipv4 = vec![1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255];
        ipv4.extend([10, 0, 0, 1, 10, 0, 0, 1]);
        ipv4
    }];
    for body in bodies {
        let mut pair = Pair::new();
        let mut payloads = child_payloads(5000);
        payloads[2] = Payload::Other { kind: PayloadType::TsI.code(), data: body };
        let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
        if let Some(notify) = answer.notifies().next() {
            assert_eq!(notify.kind, NotifyType::TsUnacceptable);
        } else {
            assert!(Parts(&answer.payloads).ts_i().is_some_and(|selectors| selectors[0].start.is_ipv4()));
        }
        assert_eq!(pair.us.established(), 1);
    }
}

/// RFC 7296 §2.4: INITIAL_CONTACT counts in IKE_AUTH and nowhere else.
#[test]
fn initial_contact_outside_of_ike_auth_closes_nothing() {
    let mut pair = Pair::new();
    pair.peer.handle(pair.now, Input::Connect(Box::new(connect(THEIRS, "peer", "us"))));
    pair.run();
    assert_eq!(pair.us.established(), 2);
    let contact = Payload::Notify(Notify::new(NotifyType::InitialContact));
    assert!(pair.ask(ExchangeType::Informational, vec![contact.clone()]).payloads.is_empty());
    pair.ask(ExchangeType::CreateChildSa, [vec![contact], child_payloads(5000)].concat());
    assert_eq!(pair.us.established(), 2);
}

/// RFC 7296 §2.19, §2.20, §3.15: no reply that was not asked for; settings and versions are passed over.
#[test]
fn a_configuration_is_granted_only_where_it_is_asked_for() {
    for kind in [CfgType::Set, CfgType::Reply, CfgType::Ack, CfgType::Other(9)] {
        let (mut pair, request) = before_auth();
        let cp = Configuration { kind, attributes: vec![CfgAttribute::InternalIp6Address(None)] };
        let payloads = [vec![Payload::Cp(cp)], request.payloads.clone()].concat();
        let answer = auth_with(&mut pair, &request.header, &payloads);
        assert_eq!(kinds(&answer), ["IDr", "AUTH", "SA", "TSi", "TSr"]);
    }
    // RFC 7296 §3.15.1: attributes that we do not know, the old expiry among them, ask for nothing.
    let (mut pair, request) = before_auth();
    let attributes = [5, 7, 14, 16, 32767].map(|kind| CfgAttribute::Other { kind, data: vec![0; 4] }).to_vec();
    let cp = Configuration { kind: CfgType::Request, attributes };
    let payloads = [vec![Payload::Cp(cp)], request.payloads.clone()].concat();
    assert_eq!(kinds(&auth_with(&mut pair, &request.header, &payloads)), ["IDr", "AUTH", "SA", "TSi", "TSr"]);
}

/// Ids that mean something only inside (CVE-2014-9221), and public values that make no secret (CVE-2015-3240, CVE-2023-41913):
/// one unauthenticated packet leaves nothing and breaks nothing.
#[test]
fn internal_ids_and_degenerate_public_values_leave_nothing() {
    let p256 = |at: usize| {
        let key = crate::crypto::RING.group(Group::P256).unwrap().generate(&mut Counting(3)).unwrap();
        let mut point = key.public_value().to_vec();
        point[at] ^= 1;
        point
    };
    let mut values: Vec<(Group, Vec<u8>)> = vec![
        (Group::X25519, vec![0; 32]),
        (Group::X25519, [vec![1], vec![0; 31]].concat()),
        (Group::X25519, [vec![0xec], vec![0xff; 30], vec![0x7f]].concat()),
        (Group::X25519, vec![9; 31]),
        (Group::X25519, vec![9; 4096]),
        (Group::X25519, vec![]),
        (Group::P256, vec![0; 64]),
        (Group::P256, p256(0)),
        (Group::P256, p256(63)),
        (Group::P256, vec![0xff; 64]),
        (Group::P256, vec![4; 65]),
        (Group::P256, vec![1]),
        (Group::P384, vec![0; 96]),
        (Group::P384, vec![0xff; 96]),
        (Group::P384, vec![2; 64]),
    ];
    for id in [0, 1, 255, 256, 1022, 1023, 1024, 32767, 65535] {
        values.push((Group::from_code(id), vec![2; 128]));
    }
    for (group, data) in values {
        let mut pair = Pair::strangers();
        pair.peer.handle(pair.now, Input::Connect(Box::new(connect(THEIRS, "peer", "us"))));
        let mut init = Message::parse(&pair.theirs()).unwrap();
        for payload in &mut init.payloads {
            match payload {
                Payload::Ke(ke) => *ke = KeyExchange { group, data: data.clone() },
                Payload::Sa(sa) => {
                    for proposal in &mut sa.proposals {
                        proposal.transforms.retain(|transform| !matches!(transform.id, TransformId::Group(_)));
                        proposal.transforms.push(Transform::group(group));
                    }
                }
                _ => {}
            }
        }
        let bytes = init.write().unwrap();
        pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes });
        for answer in pair.ours() {
            let answer = Message::parse(&answer).unwrap();
            assert_eq!(only_notify(&answer).kind, NotifyType::NoProposalChosen, "{group}");
        }
        assert!(pair.us.is_empty() && pair.us.deadline().is_none(), "{group}");
    }
}

/// The same in a rekeying, from a peer that is authenticated: the IKE SA ends, for that is no accident.
#[test]
fn a_degenerate_public_value_in_a_rekeying_ends_the_ike_sa() {
    for data in [vec![0; 32], vec![9; 31], vec![]] {
        let mut pair = Pair::new();
        let sa = crate::negotiate::ike::offer(&Config::default(), Some(7));
        let ke = Payload::Ke(KeyExchange { group: Group::X25519, data });
        let answer = pair.ask(ExchangeType::CreateChildSa, vec![Payload::Sa(sa), nonce(), ke]);
        assert_eq!(only_notify(&answer).kind, NotifyType::InvalidSyntax);
        assert!(matches!(pair.closed(), Some(CloseReason::Protocol(_))));
        assert_eq!(pair.us.stats().ike_rekeyed, 0);
    }
}

/// RFC 7296 §2.21: a broken answer ends the IKE SA and the peer is told; one to nothing that we asked has no effect.
#[test]
fn a_broken_answer_ends_the_ike_sa_only_if_something_was_asked() {
    let broken = [Payload::Other { kind: PayloadType::Nonce.code(), data: vec![1] }];
    let mut pair = Pair::new();
    pair.us.handle(pair.now, Input::CheckLiveness(ID));
    assert_eq!(pair.ours().len(), 1);
    assert!(pair.reply(ExchangeType::Informational, &[]).is_empty());
    assert!(pair.reply(ExchangeType::Informational, &broken).is_empty());
    assert_eq!(pair.us.established(), 1, "nothing was asked");
    let mut pair = Pair::new();
    pair.us.handle(pair.now, Input::CheckLiveness(ID));
    pair.ours();
    let sent = pair.reply(ExchangeType::Informational, &broken);
    assert_eq!(pair.read(&sent[0]).payloads, [Payload::Delete(Delete::Ike)]);
    assert!(matches!(pair.closed(), Some(CloseReason::Protocol(_))));
}

/// RFC 7296 §2.22, §1.3.1: compression, padding against traffic analysis and non-first fragments are each side's own wish: they
/// are declined by silence, and the child stands.
#[test]
fn what_a_child_may_have_besides_is_declined_by_silence() {
    let mut pair = Pair::new();
    let wishes = [
        Notify::with_data(NotifyType::IpcompSupported, vec![0, 7, 2]),
        Notify::new(NotifyType::EspTfcPaddingNotSupported),
        Notify::new(NotifyType::NonFirstFragmentsAlso),
    ];
    let payloads = [wishes.into_iter().map(Payload::Notify).collect(), child_payloads(5000)].concat();
    let answer = pair.ask(ExchangeType::CreateChildSa, payloads);
    assert_eq!(kinds(&answer), ["SA", "Nonce", "TSi", "TSr"]);
}

/// RFC 7296 §3.3.6, §2.7: NONE is no key exchange for an IKE SA, and one transform of each type is chosen.
#[test]
fn an_ike_sa_without_a_key_exchange_is_not_rekeyed() {
    let mut pair = Pair::new();
    let mut sa = crate::negotiate::ike::offer(&Config::default(), Some(7));
    for proposal in &mut sa.proposals {
        proposal.transforms.retain(|transform| !matches!(transform.id, TransformId::Group(_)));
        proposal.transforms.push(Transform::group(Group::None));
    }
    let ke = Payload::Ke(KeyExchange { group: Group::None, data: Vec::new() });
    let answer = pair.ask(ExchangeType::CreateChildSa, vec![Payload::Sa(sa), nonce(), ke]);
    assert_eq!(only_notify(&answer).kind, NotifyType::NoProposalChosen);
    let request = request();
    let offer = esp::offer(&request.suites, 4096);
    let chosen = esp::choose(&Config::default(), &request.suites, &offer, esp::Exchange::IkeAuth).unwrap();
    let answer = chosen.answer(5000);
    let types: std::collections::BTreeSet<_> = answer.proposals[0].transforms.iter().map(|t| t.id.kind()).collect();
    assert_eq!((answer.proposals.len(), types.len()), (1, answer.proposals[0].transforms.len()));
}
