//! Algorithms of an IKE SA (RFC 7296 §2.7, §3.3).

use super::{has_types, integrity, no_proposal_chosen, offered};
use crate::config::{Config, IkeSuite};
use crate::crypto::{KeyExchangeMethod, RING};
use crate::fault::Fault;
use crate::wire::{Group, IntegrityId, NotifyType, Proposal, Protocol, SecurityAssociation, Transform};

const ENCRYPTION: u8 = 1;
const PRF: u8 = 2;
const INTEGRITY: u8 = 3;
const GROUP: u8 = 4;

/// What was agreed for an IKE SA.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) suite: IkeSuite,
    pub(crate) group: Group,
    /// The peer's SPI in the proposal, if it rekeys.
    pub(crate) spi: Option<u64>,
    number: u8,
    transforms: Vec<Transform>,
}

impl Chosen {
    /// RFC 7296 §3.3.6: the answer has one proposal with the offered number and one transform of each type. `spi` is ours
    /// if this rekeys.
    pub(crate) fn answer(&self, spi: Option<u64>) -> SecurityAssociation {
        let transforms = self.transforms.clone();
        let proposal = match spi {
            Some(spi) => Proposal::ike_rekey(self.number, spi, transforms),
            None => Proposal::ike(self.number, transforms),
        };
        SecurityAssociation { proposals: vec![proposal] }
    }
}

/// The groups of the configuration that can be calculated.
pub(crate) fn groups(config: &Config) -> impl Iterator<Item = &'static dyn KeyExchangeMethod> {
    config.groups.iter().filter_map(|id| RING.group(*id))
}

/// Everything that we accept: one proposal for each suite, numbered from 1 (RFC 7296 §3.3), AEAD and others apart.
pub(crate) fn offer(config: &Config, spi: Option<u64>) -> SecurityAssociation {
    let proposals = (1u8..).zip(&config.ike_suites).map(|(number, suite)| {
        let (encryption, key_bits, integrity) = suite.ids();
        let mut transforms = vec![Transform::encryption(encryption, key_bits), Transform::prf(suite.prf_id())];
        if integrity != IntegrityId::None {
            transforms.push(Transform::integrity(integrity));
        }
        transforms.extend(groups(config).map(|group| Transform::group(group.id())));
        match spi {
            Some(spi) => Proposal::ike_rekey(number, spi, transforms),
            None => Proposal::ike(number, transforms),
        }
    });
    SecurityAssociation { proposals: proposals.collect() }
}

/// The responder's choice: our preferred suite; the group of the KE payload if it is acceptable, else the one to ask for.
pub(crate) fn choose(config: &Config, offer: &SecurityAssociation, ke: Group, rekey: bool) -> Result<Chosen, Fault> {
    for suite in &config.ike_suites {
        for proposal in &offer.proposals {
            let Some(chosen) = fit(config, proposal, *suite, Some(ke), rekey) else { continue };
            if chosen.group != ke {
                // RFC 7296 §1.2: the initiator is told the group to use, and tries again.
                return Err(Fault::Peer {
                    notify: NotifyType::InvalidKePayload,
                    data: chosen.group.code().to_be_bytes().to_vec(),
                    reason: format!("key exchange with {ke}, wanted {}", chosen.group),
                });
            }
            return Ok(chosen);
        }
    }
    Err(no_proposal_chosen("no acceptable algorithms for the IKE SA"))
}

/// RFC 7296 §3.3.6: the initiator checks that the answer is one of the suites that it offered, with the group of its KE.
pub(crate) fn check(config: &Config, answer: &SecurityAssociation, ke: Group, rekey: bool) -> Result<Chosen, Fault> {
    let [proposal] = answer.proposals.as_slice() else {
        return Err(Fault::syntax("the answer has not just one proposal"));
    };
    let index = usize::from(proposal.number).checked_sub(1);
    let suite = index.and_then(|index| config.ike_suites.get(index));
    let chosen = suite.and_then(|suite| fit(config, proposal, *suite, None, rekey));
    match chosen {
        Some(chosen) if chosen.group == ke && chosen.transforms.len() == proposal.transforms.len() => Ok(chosen),
        _ => Err(no_proposal_chosen("the answer chooses algorithms that were not offered")),
    }
}

fn fit(config: &Config, proposal: &Proposal, suite: IkeSuite, ke: Option<Group>, rekey: bool) -> Option<Chosen> {
    // RFC 7296 §3.3.1: no SPI at first, eight octets when rekeying.
    let spi = proposal.spi64().filter(|spi| *spi != 0);
    if proposal.protocol != Protocol::Ike || spi.is_some() != rekey || (!rekey && !proposal.spi.is_empty()) {
        return None;
    }
    // RFC 7296 §3.3.3, §5: encryption, PRF and key exchange are needed, NONE is no key exchange.
    if !has_types(proposal, &[ENCRYPTION, PRF, GROUP], &[ENCRYPTION, PRF, INTEGRITY, GROUP]) {
        return None;
    }
    let (encryption, key_bits, integrity_id) = suite.ids();
    let encryption = offered(proposal, &Transform::encryption(encryption, key_bits))?;
    let prf = offered(proposal, &Transform::prf(suite.prf_id()))?;
    let integrity = integrity(proposal, integrity_id)?;
    let has = |group: Group| offered(proposal, &Transform::group(group)).is_some();
    let group = ke
        .filter(|ke| groups(config).any(|group| group.id() == *ke) && has(*ke))
        .or_else(|| groups(config).map(|group| group.id()).find(|group| has(*group)))?;
    let mut transforms = vec![encryption.clone(), prf.clone()];
    transforms.extend(integrity);
    transforms.push(Transform::group(group));
    Some(Chosen { suite, group, spi, number: proposal.number, transforms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{EncryptionId, PrfId};

    #[test]
    fn an_offer_is_answered_with_one_transform_of_each_type() {
        let config = Config::default();
        let chosen = choose(&config, &offer(&config, None), Group::P256, false).unwrap();
        assert_eq!((chosen.suite, chosen.group), (IkeSuite::AesGcm16_256, Group::P256));
        let answer = chosen.answer(None);
        assert_eq!(answer.proposals[0].transforms.len(), 3);
        assert!(check(&config, &answer, Group::P256, false).is_ok());
        assert!(check(&config, &answer, Group::X25519, false).is_err());
    }

    #[test]
    fn a_group_that_was_not_offered_is_not_asked_for() {
        let config = Config { groups: vec![Group::P256], ..Config::default() };
        let offer = offer(&config, None);
        let ours = Config { groups: vec![Group::X25519], ..Config::default() };
        assert_eq!(choose(&ours, &offer, Group::P256, false).unwrap_err().notify().0, NotifyType::NoProposalChosen);
    }

    #[test]
    fn an_answer_with_a_transform_too_many_is_refused() {
        let config = Config::default();
        let mut answer = choose(&config, &offer(&config, None), Group::X25519, false).unwrap().answer(None);
        answer.proposals[0].transforms.push(Transform::group(Group::P256));
        assert!(check(&config, &answer, Group::X25519, false).is_err());
    }

    #[test]
    fn encryption_without_integrity_is_no_suite_unless_it_is_an_aead() {
        let config = Config::default();
        let transforms = vec![
            Transform::encryption(EncryptionId::AesCbc, 256),
            Transform::prf(PrfId::HmacSha256),
            Transform::group(Group::X25519),
        ];
        let offer = SecurityAssociation { proposals: vec![Proposal::ike(1, transforms)] };
        assert!(choose(&config, &offer, Group::X25519, false).is_err());
    }

    /// RFC 7296 §3.3.5, §3.3.6: a key length where there is none, or none where there has to be one, costs its transform only.
    #[test]
    fn a_key_length_too_many_or_too_few_makes_its_transform_unacceptable() {
        let config = Config::default();
        let with = |at: usize, attributes: Vec<crate::wire::Attribute>| {
            let mut offer = offer(&config, None);
            offer.proposals.truncate(1);
            offer.proposals[0].transforms[at].attributes = attributes;
            offer
        };
        let length = |bits| crate::wire::Attribute::Short { kind: crate::wire::transform::KEY_LENGTH, value: bits };
        assert!(choose(&config, &with(0, vec![length(256)]), Group::X25519, false).is_ok());
        assert!(choose(&config, &with(0, vec![]), Group::X25519, false).is_err(), "AES without its key length");
        assert!(choose(&config, &with(0, vec![length(192)]), Group::X25519, false).is_err());
        assert!(choose(&config, &with(1, vec![length(256)]), Group::X25519, false).is_err(), "a PRF with one");
        let mut offer = with(0, vec![]);
        offer.proposals[0].transforms.push(Transform::encryption(EncryptionId::AesGcm16, 256));
        assert!(choose(&config, &offer, Group::X25519, false).is_ok(), "the other one is as good as before");
    }

    /// RFC 7296 §3.3.3: integrity NONE beside an AEAD is accepted and repeated.
    #[test]
    fn integrity_none_beside_an_aead_is_accepted() {
        let config = Config::default();
        let mut offer = offer(&config, None);
        offer.proposals[0].transforms.push(Transform::integrity(IntegrityId::None));
        let chosen = choose(&config, &offer, Group::X25519, false).unwrap();
        assert_eq!(chosen.suite, IkeSuite::AesGcm16_256);
        assert!(chosen.answer(None).proposals[0].transforms.contains(&Transform::integrity(IntegrityId::None)));
    }

    /// RFC 8247 §2: what must not be used is not accepted, whatever else is offered beside it.
    #[test]
    fn weak_algorithms_are_never_chosen() {
        let config = Config::default();
        let weak = [
            vec![Transform::new(crate::wire::TransformId::Encryption(EncryptionId::from_code(2)))],
            vec![Transform::new(crate::wire::TransformId::Encryption(EncryptionId::TripleDes))],
            vec![Transform::new(crate::wire::TransformId::Encryption(EncryptionId::Null))],
        ];
        for encryption in weak {
            for (prf, integrity, group) in [(1, 1, 1), (2, 2, 2), (5, 12, 22), (5, 12, 5), (5, 12, 14)] {
                let transforms = [
                    encryption.clone(),
                    vec![
                        Transform::prf(PrfId::from_code(prf)),
                        Transform::integrity(IntegrityId::from_code(integrity)),
                        Transform::group(Group::from_code(group)),
                    ],
                ]
                .concat();
                let offer = SecurityAssociation { proposals: vec![Proposal::ike(1, transforms)] };
                let refused = choose(&config, &offer, Group::from_code(group), false).unwrap_err();
                assert_eq!(refused.notify().0, NotifyType::NoProposalChosen);
            }
        }
        // Good encryption does not make up for a weak PRF, integrity algorithm or group.
        for (prf, integrity, group) in
            [(1, 12, 31), (2, 12, 31), (5, 1, 31), (5, 2, 31), (5, 12, 1), (5, 12, 2), (5, 12, 22)]
        {
            let transforms = vec![
                Transform::encryption(EncryptionId::AesCbc, 256),
                Transform::prf(PrfId::from_code(prf)),
                Transform::integrity(IntegrityId::from_code(integrity)),
                Transform::group(Group::from_code(group)),
            ];
            let offer = SecurityAssociation { proposals: vec![Proposal::ike(1, transforms)] };
            assert!(choose(&config, &offer, Group::from_code(group), false).is_err(), "{prf} {integrity} {group}");
        }
    }

    #[test]
    fn an_unknown_transform_type_makes_its_proposal_unacceptable_and_no_other() {
        let config = Config::default();
        let mut offer = offer(&config, None);
        offer.proposals[0].transforms.push(Transform::new(crate::wire::TransformId::Other { kind: 6, id: 35 }));
        let chosen = choose(&config, &offer, Group::X25519, false).unwrap();
        assert_eq!(chosen.suite, IkeSuite::AesCbc256HmacSha256);
    }
}
