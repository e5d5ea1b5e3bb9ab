//! What is said when both sides want something at once (RFC 7296 §2.25), and the collisions that implementations get wrong.

use super::child;
use super::pair::*;
use super::payloads::Parts;
use crate::action::{Action, ChildRequest, CloseReason, Input};
use crate::config::Config;
use crate::crypto::RING;
use crate::negotiate::{esp, ike};
use crate::wire::{
    Delete, EncryptionId, ExchangeType, Group, KeyExchange, Message, Notify, NotifyType, Payload, TrafficSelector,
    TrafficSelectors, Transform,
};

const CREATE: ExchangeType = ExchangeType::CreateChildSa;
const INFORM: ExchangeType = ExchangeType::Informational;

fn ke(group: Group) -> Payload {
    let key = RING.group(group).unwrap().generate(&mut Counting(9)).unwrap();
    Payload::Ke(KeyExchange { group, data: key.public_value().to_vec() })
}

fn ike_rekey() -> Vec<Payload> {
    vec![Payload::Sa(ike::offer(&Config::default(), Some(7))), nonce(), ke(Group::X25519)]
}

/// The peer's rekeying of the child that stands.
fn child_rekey(pair: &Pair, spi: u32) -> Vec<Payload> {
    let (_, _, theirs) = pair.child();
    [vec![Payload::Notify(Notify::esp(NotifyType::RekeySa, theirs))], child_payloads(spi)].concat()
}

fn delete(spi: u32) -> Vec<Payload> {
    vec![Payload::Delete(Delete::Esp(vec![spi]))]
}

/// The peer's yes to our rekeying of the child that it has asked for: there our side is any, and the peer's its address.
fn rekey_answer(spi: u32) -> Vec<Payload> {
    let mut answer = child_answer(spi);
    answer[2] = Payload::TsI(TrafficSelectors::new(request().remote_selectors));
    answer[3] = Payload::TsR(TrafficSelectors::new(request().local_selectors));
    answer
}

/// The peer's yes to a child of ours, with its SPI.
fn child_answer(spi: u32) -> Vec<Payload> {
    let request = request();
    let offer = esp::offer(&request.suites, 4096);
    let chosen = esp::choose(&Config::default(), &request.suites, &offer, esp::Exchange::IkeAuth).unwrap();
    let ts = |selectors: &[TrafficSelector]| TrafficSelectors::new(selectors.to_vec());
    vec![
        Payload::Sa(chosen.answer(spi)),
        nonce(),
        Payload::TsI(ts(&request.local_selectors)),
        Payload::TsR(ts(&request.remote_selectors)),
    ]
}

/// An IKE SA under which a request of ours is on its way.
fn with(input: impl Fn(&Pair) -> Input) -> (Pair, Message) {
    let mut pair = Pair::new();
    let input = input(&pair);
    pair.us.handle(pair.now, input);
    let [sent] = &pair.ours()[..] else { panic!("one request") };
    let message = pair.read(sent);
    (pair, message)
}

fn rekeying_child() -> (Pair, Message) {
    with(|pair| Input::RekeyChild(pair.child().0))
}

fn deleting_child() -> (Pair, Message) {
    with(|pair| Input::DeleteChild(pair.child().0))
}

fn creating_child() -> (Pair, Message) {
    with(|_| Input::CreateChild(ID, ChildRequest { tag: 9, ..request() }))
}

fn rekeying_ike() -> (Pair, Message) {
    with(|_| Input::RekeyIke(ID))
}

fn closing() -> (Pair, Message) {
    with(|_| Input::Close(ID))
}

fn kind(answer: &Message) -> NotifyType {
    only_notify(answer).kind
}

/// RFC 7296 §2.25.1.
#[test]
fn a_rekeying_of_a_child_that_we_are_closing_is_a_temporary_failure() {
    let (mut pair, _) = deleting_child();
    let payloads = child_rekey(&pair, 5000);
    assert_eq!(kind(&pair.ask(CREATE, payloads)), NotifyType::TemporaryFailure);
}

/// RFC 7296 §2.25.1.
#[test]
fn a_rekeying_of_a_child_that_we_are_rekeying_gets_a_normal_answer() {
    let (mut pair, _) = rekeying_child();
    let payloads = child_rekey(&pair, 5000);
    assert!(Parts(&pair.ask(CREATE, payloads).payloads).sa().is_some());
    assert_eq!(pair.us.children(ID).len(), 2);
}

/// RFC 7296 §1.4.1, §2.25.1: the crossing Delete is answered without one.
#[test]
fn a_close_of_a_child_that_we_are_closing_is_answered_without_a_delete() {
    let (mut pair, ours) = deleting_child();
    let (_, spi, theirs) = pair.child();
    assert_eq!(ours.payloads, delete(spi), "our own inbound SPI");
    assert!(pair.ask(INFORM, delete(theirs)).payloads.is_empty());
    assert!(pair.reply(INFORM, &[]).is_empty());
    assert!(pair.us.children(ID).is_empty());
    let removed = pair.did.iter().filter(|action| matches!(action, Action::RemoveChild(_))).count();
    assert_eq!((removed, pair.us.established()), (1, 1));
}

/// RFC 7296 §2.25.1: and our own rekeying, which comes too late then, is forgotten.
#[test]
fn a_close_of_a_child_that_we_are_rekeying_is_answered_with_a_delete() {
    let (mut pair, _) = rekeying_child();
    let (_, spi, theirs) = pair.child();
    assert_eq!(pair.ask(INFORM, delete(theirs)).payloads, delete(spi));
    assert!(pair.reply(CREATE, &[Payload::Notify(Notify::esp(NotifyType::ChildSaNotFound, spi))]).is_empty());
    assert!(pair.us.children(ID).is_empty());
    assert_eq!(pair.us.established(), 1);
}

/// RFC 7296 §2.25.1.
#[test]
fn a_rekeying_of_the_ike_sa_while_we_make_rekey_or_close_a_child_is_a_temporary_failure() {
    for busy in [creating_child, rekeying_child, deleting_child] {
        let (mut pair, _) = busy();
        assert_eq!(kind(&pair.ask(CREATE, ike_rekey())), NotifyType::TemporaryFailure);
        assert_eq!(pair.us.stats().ike_rekeyed, 0);
    }
}

/// RFC 7296 §2.25.2.
#[test]
fn a_rekeying_of_the_ike_sa_that_we_are_rekeying_gets_a_normal_answer() {
    let (mut pair, _) = rekeying_ike();
    assert!(Parts(&pair.ask(CREATE, ike_rekey()).payloads).sa().is_some());
}

/// RFC 7296 §2.25.2.
#[test]
fn a_rekeying_of_the_ike_sa_that_we_are_closing_is_a_temporary_failure() {
    let (mut pair, _) = closing();
    assert_eq!(kind(&pair.ask(CREATE, ike_rekey())), NotifyType::TemporaryFailure);
}

/// RFC 7296 §1.4.1, §2.25.2: an empty answer, and the rekeying or close of our own is forgotten.
#[test]
fn a_close_of_the_ike_sa_that_we_are_rekeying_or_closing_gets_an_empty_answer_and_ends_it() {
    for (busy, reason) in [(rekeying_ike as fn() -> _, CloseReason::PeerDeleted), (closing, CloseReason::Local)] {
        let (mut pair, _) = busy();
        let answer = pair.ask(INFORM, vec![Payload::Delete(Delete::Ike)]);
        assert!(answer.payloads.is_empty());
        assert_eq!(pair.closed(), Some(&reason));
        assert_eq!((pair.us.established(), pair.us.children(ID).len()), (0, 0));
        // Nothing of ours is sent again.
        pair.now += std::time::Duration::from_secs(20);
        pair.us.handle(pair.now, Input::Timeout);
        assert!(pair.ours().is_empty());
    }
}

/// RFC 7296 §1.3.2, §2.25.2.
#[test]
fn a_child_that_the_peer_makes_or_rekeys_while_we_rekey_the_ike_sa_is_a_temporary_failure() {
    let (mut pair, _) = rekeying_ike();
    assert_eq!(kind(&pair.ask(CREATE, child_payloads(5000))), NotifyType::TemporaryFailure);
    let payloads = child_rekey(&pair, 5001);
    assert_eq!(kind(&pair.ask(CREATE, payloads)), NotifyType::TemporaryFailure);
    assert_eq!(pair.us.children(ID).len(), 1);
}

/// RFC 7296 §2.25.2.
#[test]
fn a_child_that_the_peer_deletes_while_we_rekey_the_ike_sa_gets_a_normal_answer() {
    let (mut pair, _) = rekeying_ike();
    let (_, spi, theirs) = pair.child();
    assert_eq!(pair.ask(INFORM, delete(theirs)).payloads, delete(spi));
}

/// RFC 7296 §1.3.2: nothing new is begun on an IKE SA that is being rekeyed.
#[test]
fn an_order_for_a_child_waits_until_the_ike_sa_is_rekeyed() {
    let (mut pair, ours) = rekeying_ike();
    assert!(Parts(&ours.payloads).ke().is_some(), "RFC 7296 §1.3.2: KEi is always there");
    pair.us.handle(pair.now, Input::CreateChild(ID, request()));
    assert!(pair.ours().is_empty());
}

/// Crossed rekeying in which the peer answers ours with TS_UNACCEPTABLE: the peer's child stays, and the peer deletes the old one.
#[test]
fn a_crossed_rekeying_of_which_one_side_is_refused_leaves_the_other_child() {
    for refusal in [NotifyType::TsUnacceptable, NotifyType::TemporaryFailure, NotifyType::ChildSaNotFound] {
        let (mut pair, _) = rekeying_child();
        let (old, spi, theirs) = pair.child();
        let payloads = child_rekey(&pair, 5000);
        pair.ask(CREATE, payloads);
        let refusal = Payload::Notify(Notify::new(refusal));
        assert!(pair.reply(CREATE, &[refusal]).is_empty(), "nothing is deleted by us");
        assert_eq!(pair.us.children(ID).len(), 2);
        assert_eq!(pair.ask(INFORM, delete(theirs)).payloads, delete(spi));
        let left = pair.us.children(ID);
        assert!(left.len() == 1 && left[0] != old);
        // What is left is a whole child.
        pair.us.handle(pair.now, Input::RekeyChild(left[0]));
        let sent = pair.ours();
        assert!(pair.read(&sent[0]).notify(NotifyType::RekeySa).is_some());
    }
}

/// The peer rekeys one child twice before it deletes it.
#[test]
fn the_same_child_rekeyed_twice_before_it_is_deleted_is_replaced_once() {
    let mut pair = Pair::new();
    let (_, spi, theirs) = pair.child();
    let payloads = child_rekey(&pair, 5000);
    let again = [payloads[..1].to_vec(), child_payloads(5001)].concat();
    assert!(Parts(&pair.ask(CREATE, payloads).payloads).sa().is_some());
    assert_eq!(kind(&pair.ask(CREATE, again)), NotifyType::TemporaryFailure);
    assert_eq!(pair.ask(INFORM, delete(theirs)).payloads, delete(spi));
    assert_eq!(pair.us.children(ID).len(), 1);
}

/// RFC 7296 §1.3, §2.25: another group is followed at once, but two groups asked for in turn are not followed for ever.
#[test]
fn invalid_ke_payload_is_followed_when_the_ike_sa_is_rekeyed_and_not_for_ever() {
    let (mut pair, ours) = rekeying_ike();
    assert_eq!(Parts(&ours.payloads).ke().unwrap().group, Group::X25519, "the group that the peer knows");
    let wants = |group: u16| [Payload::Notify(Notify::with_data(NotifyType::InvalidKePayload, vec![0, group as u8]))];
    let sent = pair.reply(CREATE, &wants(19));
    let [again] = &sent[..] else { panic!("one more request") };
    let again = pair.read(again);
    assert_eq!(Parts(&again.payloads).ke().unwrap().group, Group::P256);
    let offers = |message: &Message| Parts(&message.payloads).sa().unwrap().proposals.len();
    assert_eq!(offers(&again), offers(&ours), "all suites are offered again");
    for message in [&ours, &again] {
        let group = Transform::group(Parts(&message.payloads).ke().unwrap().group);
        let proposals = &Parts(&message.payloads).sa().unwrap().proposals;
        assert!(proposals.iter().all(|proposal| proposal.transforms.contains(&group)), "RFC 7296 §1.3, §3.4");
    }
    assert!(pair.reply(CREATE, &wants(31)).is_empty(), "not at once");
    let mut requests = 0;
    for _ in 0..600 {
        pair.now += std::time::Duration::from_secs(1);
        pair.us.handle(pair.now, Input::Timeout);
        for sent in pair.ours() {
            let message = pair.read(&sent);
            if Parts(&message.payloads).ke().is_some() {
                requests += 1;
                let other = if Parts(&message.payloads).ke().unwrap().group == Group::P256 { 31 } else { 19 };
                pair.reply(CREATE, &wants(other));
            }
        }
    }
    assert!((2..=8).contains(&requests), "{requests}");
}

/// RFC 7296 §3.3.6: the peer has gone over to keys that were never offered: that is the end, not a reason to go on as before.
#[test]
fn an_answer_to_a_rekeying_of_the_ike_sa_that_was_not_offered_ends_it() {
    let (mut pair, ours) = rekeying_ike();
    let config = Config::default();
    let chosen = ike::choose(&config, Parts(&ours.payloads).sa().unwrap(), Group::X25519, true).unwrap();
    let mut answer = chosen.answer(Some(8));
    answer.proposals[0].transforms[0] = Transform::encryption(EncryptionId::AesCbc, 128);
    let sent = pair.reply(CREATE, &[Payload::Sa(answer), nonce(), ke(Group::X25519)]);
    assert_eq!(pair.read(&sent[0]).payloads, [Payload::Delete(Delete::Ike)]);
    pair.reply(INFORM, &[]);
    assert!(matches!(pair.closed(), Some(CloseReason::Protocol(_))));
    assert_eq!(pair.us.stats().ike_rekeyed, 0);
}

/// RFC 7296 §2.9.2: selectors narrowed at a rekeying: the child goes back and the old one stays.
#[test]
fn a_child_that_the_peer_narrows_when_we_rekey_it_is_given_back() {
    let (mut pair, ours) = rekeying_child();
    let (old, spi, _) = pair.child();
    assert_eq!(ours.notify(NotifyType::RekeySa).unwrap().spi32(), Some(spi), "our own inbound SPI");
    let new = Parts(&ours.payloads).sa().unwrap().proposals[0].spi32().unwrap();
    let mut answer = rekey_answer(5000);
    let home = "2001:db8:1::2".parse().unwrap();
    answer[2] = Payload::TsI(TrafficSelectors::new(vec![TrafficSelector::any(home..=home)]));
    let sent = pair.reply(CREATE, &answer);
    assert_eq!(pair.read(&sent[0]).payloads, delete(new));
    assert_eq!(pair.us.children(ID), [old]);
    // An answer with the same selectors is one.
    let (mut pair, _) = rekeying_child();
    let (old, spi, _) = pair.child();
    let sent = pair.reply(CREATE, &rekey_answer(5000));
    assert_eq!(pair.read(&sent[0]).payloads, delete(spi));
    assert!(pair.us.children(ID).iter().any(|child| *child != old));
}

/// RFC 7296 §1.3.1, §4: without room for more the old child and the IKE SA stay, and it can be deleted and made anew.
#[test]
fn no_additional_sas_costs_the_rekeying_only() {
    let (mut pair, _) = rekeying_child();
    let (old, ..) = pair.child();
    assert!(pair.reply(CREATE, &[Payload::Notify(Notify::new(NotifyType::NoAdditionalSas))]).is_empty());
    assert_eq!((pair.us.children(ID), pair.us.established()), (vec![old], 1));
    pair.us.handle(pair.now, Input::DeleteChild(old));
    pair.us.handle(pair.now, Input::CreateChild(ID, request()));
    assert_eq!(pair.ours().len(), 1);
    let sent = pair.reply(INFORM, &[]);
    assert!(Parts(&pair.read(&sent[0]).payloads).ts_i().is_some());
    pair.reply(CREATE, &child_answer(5000));
    assert_eq!(pair.us.children(ID).len(), 1);
}

/// RFC 7296 §2.25: the peer does not have the child any more: it goes here as well and is made anew.
#[test]
fn a_child_that_the_peer_does_not_know_is_made_anew() {
    let (mut pair, ours) = rekeying_child();
    let (old, spi, _) = pair.child();
    assert!(ours.notify(NotifyType::RekeySa).is_some());
    let sent = pair.reply(CREATE, &[Payload::Notify(Notify::esp(NotifyType::ChildSaNotFound, spi))]);
    let message = pair.read(&sent[0]);
    assert!(message.notify(NotifyType::RekeySa).is_none() && Parts(&message.payloads).sa().is_some());
    assert!(Parts(&message.payloads).ke().is_none(), "RFC 7296 §3.4: no group is offered, so no KE");
    assert!(!pair.us.children(ID).contains(&old));
}

/// RFC 7296 §3.10.1, §1.3.1: an error that nobody knows is a failure of the request and of nothing else.
#[test]
fn an_unknown_error_in_an_answer_is_a_failed_request() {
    let (mut pair, _) = creating_child();
    assert!(pair.reply(CREATE, &[Payload::Notify(Notify::new(NotifyType::Other(9999)))]).is_empty());
    let failed = pair
        .did
        .iter()
        .any(|action| matches!(action, Action::ChildFailed { tag: 9, notify: Some(NotifyType::Other(9999)), .. }));
    assert!(failed && pair.us.established() == 1);
}

/// RFC 7296 §2.21.3: INVALID_SYNTAX ends the IKE SA on both sides, without a Delete.
#[test]
fn invalid_syntax_in_an_answer_ends_the_ike_sa() {
    for busy in [creating_child, rekeying_ike, deleting_child] {
        let (mut pair, ours) = busy();
        let sent = pair.reply(ours.header.exchange, &[Payload::Notify(Notify::new(NotifyType::InvalidSyntax))]);
        assert!(sent.is_empty());
        assert_eq!(pair.closed(), Some(&CloseReason::Refused(NotifyType::InvalidSyntax)));
        assert!(pair.us.is_empty());
        assert!(pair.did.iter().any(|action| matches!(action, Action::RemoveChild(_))));
    }
}

/// RFC 7296 §2.25: not at once, with growing pauses, and not for ever.
#[test]
fn a_temporary_failure_is_tried_again_later_and_not_for_ever() {
    let (mut pair, _) = creating_child();
    let start = pair.now;
    let mut at = Vec::new();
    pair.reply(CREATE, &[Payload::Notify(Notify::new(NotifyType::TemporaryFailure))]);
    for _ in 0..10_000 {
        pair.now += std::time::Duration::from_millis(100);
        pair.us.handle(pair.now, Input::Timeout);
        if !pair.ours().is_empty() {
            at.push((pair.now - start).as_secs_f64());
            pair.reply(CREATE, &[Payload::Notify(Notify::new(NotifyType::TemporaryFailure))]);
        }
    }
    assert_eq!(at.len(), 8, "{at:?}");
    assert!(at[0] >= 0.8 && at[7] > 200.0, "{at:?}");
    assert!(at.windows(3).all(|three| three[2] - three[1] > three[1] - three[0]), "{at:?}");
    let failed = pair.did.iter().filter(|action| matches!(action, Action::ChildFailed { .. })).count();
    assert_eq!((failed, pair.us.established()), (1, 1));
}

/// The owner deletes a child while its replacement is on the way: that one is not wanted either.
#[test]
fn a_child_that_is_deleted_while_it_is_rekeyed_does_not_come_back() {
    let (mut pair, ours) = rekeying_child();
    let (old, spi, _) = pair.child();
    let new = Parts(&ours.payloads).sa().unwrap().proposals[0].spi32().unwrap();
    pair.us.handle(pair.now, Input::DeleteChild(old));
    assert!(pair.ours().is_empty(), "the window is taken");
    let sent = pair.reply(CREATE, &rekey_answer(5000));
    let first = pair.read(&sent[0]).payloads;
    let second = pair.reply(INFORM, &[]);
    let second = pair.read(&second[0]).payloads;
    assert_eq!([first, second], [delete(spi), delete(new)]);
    pair.reply(INFORM, &[]);
    assert!(pair.us.children(ID).is_empty());
}

/// RFC 7296 §1.3.1: what comes back in tunnel mode is not wanted and deleted.
#[test]
fn transport_mode_that_is_not_confirmed_is_given_back() {
    let (mut pair, ours) = with(|_| Input::CreateChild(ID, ChildRequest { transport: true, tag: 9, ..request() }));
    assert!(ours.notify(NotifyType::UseTransportMode).is_some());
    let new = Parts(&ours.payloads).sa().unwrap().proposals[0].spi32().unwrap();
    let sent = pair.reply(CREATE, &child_answer(5000));
    assert_eq!(pair.read(&sent[0]).payloads, delete(new));
    assert_eq!(pair.us.children(ID).len(), 1);
    let mut confirmed = child_answer(5000);
    confirmed.insert(0, Payload::Notify(Notify::new(NotifyType::UseTransportMode)));
    let request = ChildRequest { transport: true, ..request() };
    assert!(child::answered(&request, Parts(&confirmed)).is_ok());
}
