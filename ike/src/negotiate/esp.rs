//! Algorithms of a CHILD_SA (RFC 7296 §2.7, §3.3, §1.3.1).

use super::{has_types, integrity, no_proposal_chosen, offered};
use crate::action::EspSuite;
use crate::config::Config;
use crate::fault::Fault;
use crate::wire::{
    EncryptionId, Esn, Group, IntegrityId, NotifyType, Proposal, Protocol, SecurityAssociation, Transform, TransformId,
};

const ENCRYPTION: u8 = 1;
const INTEGRITY: u8 = 3;
const GROUP: u8 = 4;
const ESN: u8 = 5;

/// In which exchange a child is made: that decides what becomes of an offered key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// IKE_AUTH: there is none, and an offered group is passed over (RFC 7296 §1.2).
    IkeAuth,
    /// CREATE_CHILD_SA with or without a KE payload.
    CreateChild(Option<Group>),
}

/// What was agreed for a CHILD_SA.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) suite: EspSuite,
    pub(crate) esn: bool,
    /// The group of the child's own key exchange.
    pub(crate) group: Option<Group>,
    /// The peer's SPI: where it receives.
    pub(crate) spi: u32,
    number: u8,
    transforms: Vec<Transform>,
}

impl Chosen {
    /// RFC 7296 §3.3.6: one proposal with the offered number, one transform of each type, and our own SPI.
    pub(crate) fn answer(&self, spi: u32) -> SecurityAssociation {
        SecurityAssociation { proposals: vec![Proposal::esp(self.number, spi, self.transforms.clone())] }
    }
}

fn ids(suite: EspSuite) -> (EncryptionId, u16, IntegrityId) {
    match suite {
        EspSuite::AesGcm16_256 => (EncryptionId::AesGcm16, 256, IntegrityId::None),
        EspSuite::AesGcm16_128 => (EncryptionId::AesGcm16, 128, IntegrityId::None),
        EspSuite::AesCbc256HmacSha256 => (EncryptionId::AesCbc, 256, IntegrityId::HmacSha256_128),
    }
}

/// One proposal for each suite, without a key exchange: RFC 7296 §1.2 has none in IKE_AUTH.
pub(crate) fn offer(suites: &[EspSuite], spi: u32) -> SecurityAssociation {
    offer_with(suites, spi, &[])
}

/// One proposal for each suite, with these groups for a key exchange of the child's own. RFC 7296 §3.3.2: both kinds of sequence
/// numbers are offered, the extended ones first.
pub(crate) fn offer_with(suites: &[EspSuite], spi: u32, groups: &[Group]) -> SecurityAssociation {
    let proposals = (1u8..).zip(suites).map(|(number, suite)| {
        let (encryption, key_bits, integrity) = ids(*suite);
        let mut transforms = vec![Transform::encryption(encryption, key_bits)];
        if integrity != IntegrityId::None {
            transforms.push(Transform::integrity(integrity));
        }
        transforms.extend(groups.iter().map(|group| Transform::group(*group)));
        transforms.extend([Transform::esn(Esn::Yes), Transform::esn(Esn::No)]);
        Proposal::esp(number, spi, transforms)
    });
    SecurityAssociation { proposals: proposals.collect() }
}

/// The responder's choice, by the order of `suites`.
pub(crate) fn choose(
    config: &Config,
    suites: &[EspSuite],
    offer: &SecurityAssociation,
    exchange: Exchange,
) -> Result<Chosen, Fault> {
    let mut wanted = None;
    for suite in suites {
        for proposal in &offer.proposals {
            let Some(fit) = fit(proposal, *suite) else { continue };
            match group(config, proposal, exchange) {
                PfsChoice::Without => return Ok(fit),
                PfsChoice::None(transform) => {
                    return Ok(Chosen { transforms: [fit.transforms, vec![transform]].concat(), ..fit });
                }
                PfsChoice::With(group) => {
                    let transforms = [fit.transforms, vec![Transform::group(group)]].concat();
                    return Ok(Chosen { transforms, group: Some(group), ..fit });
                }
                PfsChoice::Ask(group) => wanted = wanted.or(Some(group)),
                PfsChoice::Impossible => {}
            }
        }
    }
    match wanted {
        // RFC 7296 §1.3: the group of the chosen proposal is not that of the KE payload.
        Some(group) => Err(Fault::Peer {
            notify: NotifyType::InvalidKePayload,
            data: group.code().to_be_bytes().to_vec(),
            reason: format!("the child's key exchange has to be with {group}"),
        }),
        None => Err(no_proposal_chosen("no acceptable algorithms for the child")),
    }
}

/// RFC 7296 §3.3.6: the initiator checks that the answer is one of the suites that it offered, with the group of its KE payload
/// if it sent one. Then NONE was offered as well, and a peer that leaves the group out means that.
pub(crate) fn check(suites: &[EspSuite], answer: &SecurityAssociation, ke: Option<Group>) -> Result<Chosen, Fault> {
    let [proposal] = answer.proposals.as_slice() else {
        return Err(Fault::syntax("the answer has not just one proposal"));
    };
    let index = usize::from(proposal.number).checked_sub(1);
    let chosen = index.and_then(|index| suites.get(index)).and_then(|suite| fit(proposal, *suite));
    let mut groups = proposal.transforms.iter().filter_map(|transform| match transform.id {
        TransformId::Group(group) => Some(group),
        _ => None,
    });
    let (group, more) = (groups.next(), groups.next());
    let of_group = usize::from(group.is_some());
    let group = group.filter(|group| *group != Group::None);
    match chosen {
        Some(chosen)
            if chosen.transforms.len() + of_group == proposal.transforms.len()
                && more.is_none()
                && (of_group == 0 || ke.is_some())
                && (group.is_none() || group == ke) =>
        {
            Ok(Chosen { group, ..chosen })
        }
        _ => Err(no_proposal_chosen("the answer chooses algorithms that were not offered")),
    }
}

fn fit(proposal: &Proposal, suite: EspSuite) -> Option<Chosen> {
    // RFC 7296 §3.3.3: ESP needs encryption and a word on sequence numbers.
    if proposal.protocol != Protocol::Esp
        || !has_types(proposal, &[ENCRYPTION, ESN], &[ENCRYPTION, INTEGRITY, GROUP, ESN])
    {
        return None;
    }
    // RFC 4303 §2.1: zero is no SPI on the wire and values up to 255 are reserved.
    let spi = proposal.spi32().filter(|spi| *spi > 255)?;
    let (encryption, key_bits, integrity_id) = ids(suite);
    let encryption = offered(proposal, &Transform::encryption(encryption, key_bits))?.clone();
    let integrity = integrity(proposal, integrity_id)?;
    let esn = [Esn::Yes, Esn::No].into_iter().find(|esn| offered(proposal, &Transform::esn(*esn)).is_some())?;
    let mut transforms = vec![encryption];
    transforms.extend(integrity);
    transforms.push(Transform::esn(esn));
    Some(Chosen { suite, esn: esn == Esn::Yes, group: None, spi, number: proposal.number, transforms })
}

/// What to do about the groups of a proposal.
enum PfsChoice {
    /// The proposal has none.
    Without,
    /// NONE is offered and taken.
    None(Transform),
    /// The KE payload's is offered and known.
    With(Group),
    /// This one could be used, but the KE payload is of another.
    Ask(Group),
    /// None is known.
    Impossible,
}

fn group(config: &Config, proposal: &Proposal, exchange: Exchange) -> PfsChoice {
    if !proposal.transforms.iter().any(|transform| matches!(transform.id, TransformId::Group(_))) {
        return PfsChoice::Without;
    }
    let none = offered(proposal, &Transform::group(Group::None)).cloned();
    let has = |group: Group| offered(proposal, &Transform::group(group)).is_some();
    match exchange {
        Exchange::IkeAuth => none.map_or(PfsChoice::Without, PfsChoice::None),
        Exchange::CreateChild(ke) => {
            let known = || super::ike::groups(config).map(|group| group.id()).filter(|group| has(*group));
            if let Some(group) = known().find(|group| Some(*group) == ke) {
                return PfsChoice::With(group);
            }
            // RFC 7296 §3.3.6: with NONE chosen the KE payload is ignored.
            if let Some(none) = none {
                return PfsChoice::None(none);
            }
            known().next().map_or(PfsChoice::Impossible, PfsChoice::Ask)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [EspSuite; 3] = [EspSuite::AesGcm16_256, EspSuite::AesGcm16_128, EspSuite::AesCbc256HmacSha256];

    fn with_groups(groups: &[Group]) -> SecurityAssociation {
        let mut offer = offer(&SUITES, 4096);
        for proposal in &mut offer.proposals {
            proposal.transforms.extend(groups.iter().map(|group| Transform::group(*group)));
        }
        offer
    }

    fn choose_with(groups: &[Group], exchange: Exchange) -> Result<Chosen, Fault> {
        choose(&Config::default(), &SUITES, &with_groups(groups), exchange)
    }

    #[test]
    fn each_of_our_offers_is_acceptable_to_us() {
        for suite in SUITES {
            let chosen = choose(&Config::default(), &[suite], &offer(&SUITES, 4096), Exchange::IkeAuth).unwrap();
            assert_eq!((chosen.suite, chosen.spi, chosen.esn), (suite, 4096, true));
            assert_eq!(check(&SUITES, &chosen.answer(5000), None).unwrap().spi, 5000);
        }
    }

    /// RFC 7296 §1.2, §3.3.2: no group, both kinds of sequence numbers, one proposal for each suite.
    #[test]
    fn our_offers_have_no_group_and_both_kinds_of_sequence_numbers() {
        let offer = offer(&SUITES, 4096);
        assert_eq!(offer.proposals.iter().map(|proposal| proposal.number).collect::<Vec<_>>(), [1, 2, 3]);
        for proposal in &offer.proposals {
            let esn: Vec<_> = proposal.transforms.iter().filter(|transform| transform.id.kind() == ESN).collect();
            assert_eq!(esn, [&Transform::esn(Esn::Yes), &Transform::esn(Esn::No)]);
            assert!(proposal.transforms.iter().all(|transform| transform.id.kind() != GROUP));
            assert_eq!(proposal.spi32(), Some(4096));
        }
    }

    /// RFC 7296 §3.3.2: who offers one kind of sequence numbers gets that kind.
    #[test]
    fn the_only_kind_of_sequence_numbers_that_is_offered_is_taken() {
        for only in [Esn::Yes, Esn::No] {
            let mut offer = offer(&SUITES, 4096);
            for proposal in &mut offer.proposals {
                proposal.transforms.retain(|transform| {
                    !matches!(transform.id, TransformId::Esn(_)) || *transform == Transform::esn(only)
                });
            }
            let chosen = choose(&Config::default(), &SUITES, &offer, Exchange::IkeAuth).unwrap();
            assert_eq!(chosen.esn, only == Esn::Yes);
        }
    }

    /// RFC 8221 §5, §6, RFC 4877 §4.3: no weak encryption, and no encryption without integrity, NULL least of all.
    #[test]
    fn weak_and_null_algorithms_are_never_chosen() {
        let refused = |transforms: Vec<Transform>| {
            let transforms = [transforms, vec![Transform::esn(Esn::No)]].concat();
            let offer = SecurityAssociation { proposals: vec![Proposal::esp(1, 4096, transforms)] };
            choose(&Config::default(), &SUITES, &offer, Exchange::IkeAuth).unwrap_err().notify().0
        };
        let encryption = |code| Transform::new(TransformId::Encryption(EncryptionId::from_code(code)));
        let good = Transform::integrity(IntegrityId::HmacSha256_128);
        // DES_IV64, DES, 3DES, IDEA, Blowfish, 3IDEA, DES_IV32, NULL.
        for code in [1, 2, 3, 5, 7, 8, 9, 11] {
            assert_eq!(refused(vec![encryption(code), good.clone()]), NotifyType::NoProposalChosen, "{code}");
            assert_eq!(refused(vec![encryption(code)]), NotifyType::NoProposalChosen, "{code}");
        }
        let cbc = Transform::encryption(EncryptionId::AesCbc, 256);
        // NONE, MD5, SHA-1, DES-MAC, KPDK-MD5.
        for code in [0, 1, 2, 3, 4] {
            let integrity = Transform::integrity(IntegrityId::from_code(code));
            assert_eq!(refused(vec![cbc.clone(), integrity]), NotifyType::NoProposalChosen, "{code}");
        }
        assert_eq!(refused(vec![cbc]), NotifyType::NoProposalChosen, "no integrity at all");
    }

    #[test]
    fn an_answer_has_the_group_of_our_ke_payload_or_none() {
        let chosen = |groups: &[Group], ke| choose_with(groups, Exchange::CreateChild(ke)).unwrap().answer(5000);
        let check = |answer: &SecurityAssociation, ke| check(&SUITES, answer, ke).map(|chosen| chosen.group);
        let (with, none) = (chosen(&[Group::P256], Some(Group::P256)), chosen(&[Group::None], Some(Group::P256)));
        assert_eq!(check(&with, Some(Group::P256)).unwrap(), Some(Group::P256));
        assert_eq!(check(&none, Some(Group::P256)).unwrap(), None);
        assert_eq!(check(&chosen(&[], None), Some(Group::P256)).unwrap(), None);
        assert!(check(&with, Some(Group::X25519)).is_err());
        assert!(check(&with, None).is_err() && check(&none, None).is_err());
    }

    #[test]
    fn a_group_in_ike_auth_is_passed_over_and_none_is_repeated() {
        assert!(choose_with(&[Group::Modp2048], Exchange::IkeAuth).unwrap().group.is_none());
        let chosen = choose_with(&[Group::P256, Group::None], Exchange::IkeAuth).unwrap();
        assert!(chosen.transforms.contains(&Transform::group(Group::None)));
        // RFC 7296 §3.3.6: with NONE chosen a KE payload is ignored.
        let offered = Exchange::CreateChild(Some(Group::Modp2048));
        let chosen = choose_with(&[Group::Modp2048, Group::None], offered).unwrap();
        assert!(chosen.group.is_none() && chosen.transforms.contains(&Transform::group(Group::None)));
    }

    #[test]
    fn the_group_of_the_ke_payload_is_taken_if_it_is_offered_and_known() {
        let groups = [Group::Modp2048, Group::P256];
        assert_eq!(choose_with(&groups, Exchange::CreateChild(Some(Group::P256))).unwrap().group, Some(Group::P256));
        let (notify, data) = match choose_with(&groups, Exchange::CreateChild(Some(Group::Modp2048))) {
            Err(Fault::Peer { notify, data, .. }) => (notify, data),
            other => panic!("{other:?}"),
        };
        assert_eq!((notify, data), (NotifyType::InvalidKePayload, vec![0, 19]));
        assert_eq!(
            choose_with(&[Group::Modp2048], Exchange::CreateChild(Some(Group::Modp2048))).unwrap_err().notify().0,
            NotifyType::NoProposalChosen
        );
    }

    #[test]
    fn a_proposal_without_a_word_on_sequence_numbers_is_passed_over() {
        let mut offer = offer(&SUITES, 4096);
        offer.proposals[0].transforms.retain(|transform| !matches!(transform.id, TransformId::Esn(_)));
        let chosen = choose(&Config::default(), &SUITES, &offer, Exchange::IkeAuth).unwrap();
        assert_eq!(chosen.suite, EspSuite::AesGcm16_128);
    }

    #[test]
    fn a_reserved_spi_is_no_spi() {
        assert!(choose(&Config::default(), &SUITES, &offer(&SUITES, 255), Exchange::IkeAuth).is_err());
    }
}
