//! Peers that want children to have a key exchange of their own.

use super::pair::{ID, OURS, Pair, THEIRS, request};
use crate::action::{Action, EspSuite, Input};
use crate::negotiate::esp;
use crate::sa::payloads::{Parts, notify};
use crate::wire::{ExchangeType, Group, Message, Notify, NotifyType, Payload, Transform};

/// Our request for a child, as the peer reads it.
fn asked(pair: &mut Pair) -> (Message, Vec<u8>) {
    let sent = pair.ours();
    let [bytes] = &sent[..] else { panic!("{} datagrams", sent.len()) };
    (pair.read(bytes), bytes.clone())
}

/// What we ask next when the peer answers like that.
fn asked_again(pair: &mut Pair, refusal: Payload) -> (Message, Vec<u8>) {
    let sent = pair.reply(ExchangeType::CreateChildSa, &[refusal]);
    let [bytes] = &sent[..] else { panic!("{} datagrams", sent.len()) };
    (pair.read(bytes), bytes.clone())
}

fn group(message: &Message) -> Option<Group> {
    Parts(&message.payloads).ke().map(|ke| ke.group)
}

fn wants(group: Group) -> Payload {
    Payload::Notify(Notify::with_data(NotifyType::InvalidKePayload, group.code().to_be_bytes().to_vec()))
}

fn children(pair: &Pair) -> usize {
    pair.did.iter().filter(|action| matches!(action, Action::InstallChild(_))).count()
}

/// The peer answers for itself; both have the same keys then.
fn agree(pair: &mut Pair, bytes: Vec<u8>) {
    pair.peer.handle(pair.now, Input::Datagram { endpoints: THEIRS, bytes });
    let mut theirs = None;
    while let Some(action) = pair.peer.poll() {
        match action {
            Action::JudgeChild { ike_sa, offer } => {
                pair.peer.handle(pair.now, Input::ChildJudged(ike_sa, super::pair::yes(&offer)));
            }
            Action::InstallChild(child) => theirs = Some(child),
            Action::Send { bytes, .. } => pair.us.handle(pair.now, Input::Datagram { endpoints: OURS, bytes }),
            _ => {}
        }
    }
    pair.ours();
    let ours = pair.did.iter().rev().find_map(|action| match action {
        Action::InstallChild(child) => Some(child),
        _ => None,
    });
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    assert_eq!(ours.inbound.encryption.as_bytes(), theirs.outbound.encryption.as_bytes());
}

#[test]
fn a_child_refused_without_a_key_exchange_is_asked_for_with_one() {
    let mut pair = Pair::new();
    pair.us.handle(pair.now, Input::CreateChild(ID, request()));
    let (first, _) = asked(&mut pair);
    assert_eq!(group(&first), None);
    let (second, bytes) = asked_again(&mut pair, notify(NotifyType::NoProposalChosen));
    assert_eq!(group(&second), Some(Group::X25519));
    // NONE stands among the groups for a peer that refused because of something else.
    let offer = Parts(&second.payloads).sa().unwrap();
    assert!(offer.proposals.iter().all(|proposal| proposal.transforms.contains(&Transform::group(Group::None))));
    agree(&mut pair, bytes);
    // The next child has one from the start, and so has a rekeying.
    let (child, ..) = pair.child();
    pair.us.handle(pair.now, Input::RekeyChild(child));
    let (rekeying, bytes) = asked(&mut pair);
    assert!(Parts(&rekeying.payloads).has(NotifyType::RekeySa));
    assert_eq!(group(&rekeying), Some(Group::X25519));
    agree(&mut pair, bytes);
}

#[test]
fn the_group_that_the_peer_names_is_taken_if_it_is_ours() {
    let mut pair = Pair::new();
    pair.us.handle(pair.now, Input::CreateChild(ID, request()));
    asked(&mut pair);
    asked_again(&mut pair, notify(NotifyType::NoProposalChosen));
    let (third, bytes) = asked_again(&mut pair, wants(Group::P256));
    assert_eq!(group(&third), Some(Group::P256));
    agree(&mut pair, bytes);
    // One that we cannot calculate is the end of it, and so is the one that we have sent.
    for unusable in [Group::Modp2048, Group::P256] {
        pair.us.handle(pair.now, Input::CreateChild(ID, request()));
        asked(&mut pair);
        assert!(pair.reply(ExchangeType::CreateChildSa, &[wants(unusable)]).is_empty());
        let failed = |action: &&Action| matches!(action, Action::ChildFailed { .. });
        assert!(pair.did.iter().rev().take(2).any(|action| failed(&action)));
    }
}

#[test]
fn a_peer_that_names_one_group_after_the_other_is_not_followed_for_ever() {
    let mut pair = Pair::new();
    pair.us.handle(pair.now, Input::CreateChild(ID, request()));
    asked(&mut pair);
    for round in 0..20 {
        let wanted = if round % 2 == 0 { Group::P256 } else { Group::X25519 };
        let sent = pair.reply(ExchangeType::CreateChildSa, &[wants(wanted)]);
        let Some(bytes) = sent.first() else {
            assert!(pair.did.iter().any(|action| matches!(action, Action::ChildFailed { .. })));
            return;
        };
        pair.read(bytes);
    }
    panic!("followed twenty times");
}

#[test]
fn a_child_refused_with_a_key_exchange_too_has_failed() {
    let mut pair = Pair::new();
    pair.us.handle(pair.now, Input::CreateChild(ID, request()));
    asked(&mut pair);
    asked_again(&mut pair, notify(NotifyType::NoProposalChosen));
    let before = children(&pair);
    assert!(pair.reply(ExchangeType::CreateChildSa, &[notify(NotifyType::NoProposalChosen)]).is_empty());
    assert!(pair.did.iter().any(|action| matches!(action, Action::ChildFailed { .. })));
    assert_eq!(children(&pair), before);
}

#[test]
fn an_answer_with_a_key_exchange_has_to_be_whole() {
    let mut pair = Pair::new();
    pair.us.handle(pair.now, Input::CreateChild(ID, request()));
    asked(&mut pair);
    let (second, _) = asked_again(&mut pair, notify(NotifyType::NoProposalChosen));
    let parts = Parts(&second.payloads);
    let suites = [EspSuite::AesGcm16_256];
    let ke = esp::Exchange::CreateChild(group(&second));
    let chosen = esp::choose(&crate::Config::default(), &suites, parts.sa().unwrap(), ke).unwrap();
    assert_eq!(chosen.group, Some(Group::X25519));
    // The group is confirmed but the KE payload is missing.
    let ts = second.payloads.iter().filter(|payload| matches!(payload, Payload::TsI(_) | Payload::TsR(_))).cloned();
    let answer: Vec<Payload> = [Payload::Sa(chosen.answer(6000)), super::pair::nonce()].into_iter().chain(ts).collect();
    let sent = pair.reply(ExchangeType::CreateChildSa, &answer);
    // The peer holds a child that we do not have: it is told so.
    let told = pair.read(&sent[0]);
    assert!(matches!(&told.payloads[..], [Payload::Delete(_)]), "{told:?}");
    assert!(pair.did.iter().any(|action| matches!(action, Action::ChildFailed { .. })));
}
