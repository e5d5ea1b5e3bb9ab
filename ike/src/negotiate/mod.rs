//! Which algorithms and which traffic: offers, choices, and the check that an answer is one of those offered.

pub(crate) mod esp;
pub(crate) mod ike;

use crate::fault::Fault;
use crate::wire::{IntegrityId, NotifyType, Proposal, Transform, TransformId};

/// RFC 7296 §3.3.6: a transform with an attribute that we do not know must not be chosen.
fn offered<'a>(proposal: &'a Proposal, wanted: &Transform) -> Option<&'a Transform> {
    proposal.transforms.iter().find(|transform| {
        transform.id == wanted.id && transform.key_length() == wanted.key_length() && !transform.has_unknown_attribute()
    })
}

/// RFC 7296 §3.3.6: a proposal with a transform type that we do not know, or without one that is needed, is passed over.
fn has_types(proposal: &Proposal, needed: &[u8], possible: &[u8]) -> bool {
    let kinds = || proposal.transforms.iter().map(|transform| transform.id.kind());
    needed.iter().all(|kind| kinds().any(|found| found == *kind)) && kinds().all(|kind| possible.contains(&kind))
}

/// The integrity transform that goes with a suite: none, one, or an offered NONE (RFC 7296 §3.3.3). The outer `None` says
/// that the proposal does not fit.
fn integrity(proposal: &Proposal, id: IntegrityId) -> Option<Option<Transform>> {
    let any = proposal.transforms.iter().any(|transform| matches!(transform.id, TransformId::Integrity(_)));
    if id == IntegrityId::None && !any {
        return Some(None);
    }
    offered(proposal, &Transform::integrity(id)).map(|transform| Some(transform.clone()))
}

fn no_proposal_chosen(reason: &str) -> Fault {
    Fault::peer(NotifyType::NoProposalChosen, reason)
}
