//! INFORMATIONAL under an established IKE SA: ends of children and of the IKE SA, liveness, errors (RFC 7296 §1.4).

use super::auth::reason_of;
use super::established::{Established, Which};
use super::exchange::Purpose;
use super::{Context, IkeSa, State};
use crate::action::{Action, CloseReason, Endpoints};
use crate::wire::{Delete, ExchangeType, NotifyType, Payload};

impl IkeSa {
    /// The peer has answered an INFORMATIONAL request of ours. RFC 7296 §2.21: whatever is in the answer, it is done.
    pub(crate) fn informed(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        purpose: Purpose,
    ) -> State {
        match purpose {
            Purpose::Liveness => ctx.emit(Action::Alive(self.id)),
            Purpose::DeleteChild(id) => self.remove_child(ctx, &mut established, id),
            Purpose::DeleteSpi(spi) => ctx.registry.release_esp_spi(self.id, spi),
            Purpose::DeleteIke if established.is_current(which) => {
                let reason = established.closing.clone().unwrap_or(CloseReason::Local);
                self.tear_down(ctx, &established, reason);
                return State::Gone;
            }
            Purpose::DeleteIke => {
                established.retired.retain(|retired| retired.generation.local_spi() != which);
                ctx.registry.release_ike_spi(self.id, which);
            }
            // IKE_AUTH is answered before an IKE SA is established; the others do not come here.
            Purpose::Auth | Purpose::Child(_) | Purpose::RekeyIke(_) => {}
        }
        self.settle(ctx, established)
    }

    /// The peer's INFORMATIONAL request. RFC 7296 §1.4: it is always answered.
    pub(crate) fn informational_requested(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        from: Endpoints,
        payloads: &[Payload],
    ) -> State {
        let mut answer = Vec::new();
        let mut end = None;
        for payload in payloads {
            match payload {
                Payload::Delete(Delete::Ike) => end = Some(CloseReason::PeerDeleted),
                Payload::Delete(Delete::Esp(spis)) => {
                    let paired = self.children_deleted(ctx, &mut established, spis);
                    if !paired.is_empty() {
                        answer.push(Payload::Delete(Delete::Esp(paired)));
                    }
                }
                Payload::Notify(notify) => match notify.kind {
                    // RFC 7296 §2.21.2: the initiator does not believe who we are.
                    NotifyType::AuthenticationFailed => {
                        let reason = "the peer answers AUTHENTICATION_FAILED";
                        end = Some(CloseReason::Authentication(reason.into()));
                    }
                    // RFC 7296 §2.21.3: fatal on both sides.
                    NotifyType::InvalidSyntax => end = Some(CloseReason::Refused(notify.kind)),
                    // RFC 7296 §3.10.1: other errors in requests change nothing.
                    kind if kind.is_error() => {
                        self.audit(ctx, Some(&established.peer), format!("the peer notifies {kind}"))
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        if let Some(generation) = established.generation_mut(which)
            && let Err(fault) = generation.answer(ctx, from, ExchangeType::Informational, &answer)
        {
            self.audit(ctx, Some(&established.peer), reason_of(&fault));
        }
        match end {
            Some(reason) => self.generation_ended(ctx, established, which, reason),
            None => self.settle(ctx, established),
        }
    }

    /// RFC 7296 §1.4.1: the children that the peer deletes go on both sides; the answer names our inbound SPIs, except of those
    /// that we are deleting with a request of our own.
    fn children_deleted(&self, ctx: &mut Context<'_>, established: &mut Established, spis: &[u32]) -> Vec<u32> {
        let mut paired = Vec::new();
        for spi in spis {
            let Some(id) = established.child_by_outbound(*spi) else {
                established.child_exchanges().for_each(|exchange| exchange.unknown_deleted(*spi));
                continue;
            };
            let crossing = established.generations().any(|generation| {
                let outstanding = generation.outgoing.outstanding();
                outstanding.is_some_and(|sent| matches!(sent.purpose, Purpose::DeleteChild(ours) if ours == id))
            });
            if !crossing {
                paired.extend(established.children.get(&id).map(|child| child.spi_in));
            }
            self.remove_child(ctx, established, id);
        }
        paired
    }

    /// The peer has ended one generation.
    fn generation_ended(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        reason: CloseReason,
    ) -> State {
        let deleted = reason == CloseReason::PeerDeleted;
        if deleted && !established.is_current(which) {
            // A replaced or redundant one; its last answer is kept for a while.
            if let Some(rival) = established.rival.take_if(|rival| rival.generation.local_spi() == which) {
                self.retire(ctx, &mut established, rival.generation);
            }
            return self.settle(ctx, established);
        }
        if deleted && let Some(rival) = established.rival.take() {
            // RFC 7296 §2.8.2: the peer has gone over to its own generation and never saw our rekeying, which is forgotten.
            if let Some(Purpose::RekeyIke(ours)) = established.current.outgoing.forget() {
                ctx.registry.release_ike_spi(self.id, ours.spi);
            }
            self.turn_to(ctx, &mut established, rival.generation);
            return self.settle(ctx, established);
        }
        let reason = established.closing.clone().unwrap_or(reason);
        self.tear_down(ctx, &established, reason);
        self.linger(ctx, *established, which)
    }
}
