//! CREATE_CHILD_SA for children: new ones and those that replace others, from both sides (RFC 7296 §1.3.1, §1.3.3, §2.8, §2.25).

use std::time::Instant;

use super::auth::reason_of;
use super::child::{self, Agreed, ChildState, NewChild};
use super::established::{Established, Which};
use super::exchange::{ChildExchange, ChildRival, Purpose, Task, Work, lowest};
use super::init::key_pair;
use super::payloads::{Parts, needed};
use super::tasks::MAX_ATTEMPTS;
use super::{Context, IkeSa, State};
use crate::action::{Action, ChildDecision, ChildId, ChildOffer, Endpoints};
use crate::crypto::Secret;
use crate::fault::Fault;
use crate::negotiate::{esp, ike};
use crate::wire::ts::all_covered;
use crate::wire::{ExchangeType, Group, KeyExchange, Nonce, Notify, NotifyType, Payload, Protocol};

/// The peer asks for a child, and the owner is asked.
#[derive(Debug)]
pub(crate) struct Judging {
    pub(crate) until: Instant,
    which: Which,
    from: Endpoints,
    offer: ChildOffer,
    payloads: Vec<Payload>,
}

impl IkeSa {
    /// The answer to our own CREATE_CHILD_SA for a child.
    pub(crate) fn child_created(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        exchange: ChildExchange,
        payloads: &[Payload],
    ) -> State {
        let parts = Parts(payloads);
        match self.agree(&mut established, which, &exchange, parts) {
            Ok((agreed, keys, nonce)) => {
                let new = NewChild { agreed, spi: exchange.spi, initiator: true, replaces: exchange.replaces, keys };
                let id = self.install(ctx, &mut established, new);
                if let Some(old) = exchange.replaces {
                    let ours = lowest(&exchange.nonce, &nonce);
                    self.replaced_by_us(ctx, &mut established, old, id, &ours, exchange.rival);
                }
            }
            Err((refusal, fault)) => match group_wanted(ctx, &exchange, refusal.0, parts) {
                Some(group) => {
                    established.child_group = Some(group);
                    ctx.registry.release_esp_spi(self.id, exchange.spi);
                    let work = match exchange.replaces {
                        Some(old) => Work::RekeyChild(old),
                        None => Work::CreateChild(exchange.request),
                    };
                    established.queue.push(Task { work, not_before: ctx.now, attempt: exchange.attempt + 1 });
                }
                None => self.child_not_created(ctx, &mut established, exchange, refusal, &fault),
            },
        }
        self.settle(ctx, established)
    }

    fn agree(
        &self,
        established: &mut Established,
        which: Which,
        exchange: &ChildExchange,
        parts: Parts<'_>,
    ) -> Result<(Agreed, crate::crypto::ChildKeys, Nonce), (child::Refusal, Fault)> {
        let agreed = child::answered_with(&exchange.request, parts, exchange.group())?;
        let refuse = |fault: Fault| ((None, true), fault);
        if exchange.deleted.contains(&agreed.chosen.spi) {
            // The Delete has overtaken the answer: the peer does not hold it any more.
            return Err(((None, false), Fault::peer(NotifyType::ChildSaNotFound, "the peer has deleted it already")));
        }
        if exchange.unwanted {
            return Err(refuse(Fault::Local("the child that it replaces was deleted meanwhile".into())));
        }
        // RFC 7296 §2.9.2: what replaces a child is not narrower than it.
        if exchange.replaces.is_some()
            && !(all_covered(&exchange.request.local_selectors, &agreed.request.local_selectors)
                && all_covered(&exchange.request.remote_selectors, &agreed.request.remote_selectors))
        {
            return Err(refuse(Fault::peer(NotifyType::TsUnacceptable, "the peer narrows a child by rekeying it")));
        }
        let shared = agree_on_key(exchange, agreed.chosen.group, parts).map_err(refuse)?;
        let nonce = needed(parts.nonce(), "Nonce").map_err(refuse)?.clone();
        let generation = established
            .generation_mut(which)
            .ok_or_else(|| refuse(Fault::Local("the generation of the exchange is gone".into())))?;
        let keys =
            child::keys(generation, agreed.chosen.suite, shared.as_ref(), (&exchange.nonce, &nonce)).map_err(refuse)?;
        Ok((agreed, keys, nonce))
    }

    /// RFC 7296 §2.8.1: of two children that replace the same one, that with the lowest of the four nonces goes, by the hand
    /// of who made it; the maker of the other one deletes the old child.
    fn replaced_by_us(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        old: ChildId,
        new: ChildId,
        ours: &[u8],
        rival: Option<ChildRival>,
    ) {
        let rival = rival.filter(|rival| established.children.contains_key(&rival.child));
        match rival {
            Some(rival) if *ours < *rival.lowest => self.delete_child(ctx, established, new),
            Some(rival) => {
                if let Some(redundant) = established.children.get_mut(&rival.child) {
                    redundant.state = ChildState::Superseded(new);
                    redundant.rekey_at = None;
                }
                self.delete_child(ctx, established, old);
            }
            None => self.delete_child(ctx, established, old),
        }
    }

    fn child_not_created(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        exchange: ChildExchange,
        refusal: child::Refusal,
        fault: &Fault,
    ) {
        let ChildExchange { request, spi, replaces, attempt, .. } = exchange;
        let (error, held) = refusal;
        let tag = request.tag;
        let Some(old) = replaces else {
            if error == Some(NotifyType::TemporaryFailure) {
                ctx.registry.release_esp_spi(self.id, spi);
                if self.try_again(ctx, established, Work::CreateChild(request), attempt).is_err() {
                    ctx.emit(Action::ChildFailed { ike_sa: self.id, tag, notify: error });
                }
                return;
            }
            return self.child_refused(ctx, established, tag, spi, refusal, fault);
        };
        self.release_refused(ctx, established, spi, held);
        // RFC 7296 §2.8.1: the peer has replaced the child itself; our attempt came too late.
        let superseded = established.children.get(&old).is_none_or(|child| child.state != ChildState::Installed);
        if superseded {
            return;
        }
        self.audit(ctx, Some(&established.peer), format!("a child is not rekeyed: {}", reason_of(fault)));
        if error == Some(NotifyType::ChildSaNotFound) {
            // RFC 7296 §2.25: the peer does not have it any more: it goes here as well, and is made anew.
            self.remove_child(ctx, established, old);
            established.enqueue(ctx, Work::CreateChild(request));
            return;
        }
        // After the last attempt the hard lifetime ends it.
        _ = self.try_again(ctx, established, Work::RekeyChild(old), attempt);
    }

    /// The peer's CREATE_CHILD_SA.
    pub(crate) fn create_child_requested(
        &mut self,
        ctx: &mut Context<'_>,
        established: Box<Established>,
        which: Which,
        from: Endpoints,
        payloads: Vec<Payload>,
    ) -> State {
        let parts = Parts(&payloads);
        let rekeys_ike = parts.sa().is_some_and(|sa| sa.proposals.iter().any(|p| p.protocol == Protocol::Ike));
        if rekeys_ike {
            return self.ike_rekey_requested(ctx, established, which, from, parts);
        }
        match self.create_child(ctx, established, which, from, payloads) {
            Ok(established) => self.settle(ctx, established),
            Err((established, fault)) => {
                self.refuse_request(ctx, established, which, from, ExchangeType::CreateChildSa, &fault)
            }
        }
    }

    fn create_child(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        from: Endpoints,
        payloads: Vec<Payload>,
    ) -> Result<Box<Established>, (Box<Established>, Fault)> {
        let parts = Parts(&payloads);
        let offer = match child_offer(parts) {
            Ok(offer) => offer,
            Err(fault) => return Err((established, fault)),
        };
        // RFC 7296 §2.25.2: not while the IKE SA itself is being replaced or closed.
        if let Some(fault) = busy(&established, which) {
            return Err((established, fault));
        }
        if let Some(rekey) = parts.notify(NotifyType::RekeySa) {
            return match self.rekey_child(ctx, &mut established, which, from, parts, rekey, &offer) {
                Ok(()) => Ok(established),
                Err(fault) => Err((established, fault)),
            };
        }
        if established.children.len() >= ctx.config.children_limit {
            return Err((
                established,
                Fault::peer(NotifyType::NoAdditionalSas, "it has as many children as one may have"),
            ));
        }
        if established.judging.is_some() {
            return Err((established, Fault::peer(NotifyType::TemporaryFailure, "another child is being judged")));
        }
        if let Some(generation) = established.generation_mut(which) {
            generation.incoming.suspend();
        }
        ctx.emit(Action::JudgeChild { ike_sa: self.id, offer: offer.clone() });
        let until = ctx.after(ctx.config.half_open_timeout);
        established.judging = Some(Judging { until, which, from, offer, payloads });
        Ok(established)
    }

    /// The owner's word on the child that the peer asks for.
    pub(crate) fn child_judged(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        decision: ChildDecision,
    ) -> State {
        let Some(judging) = established.judging.take() else { return State::Established(established) };
        let Judging { which, from, offer, payloads, .. } = judging;
        let parts = Parts(&payloads);
        let exchange = exchange_of(parts);
        let answered = match busy(&established, which) {
            Some(fault) => Err(fault),
            None => child::judged(ctx.config, decision, &offer, parts, exchange).and_then(|agreed| {
                self.answer_child(ctx, &mut established, which, from, parts, agreed, None).map(drop)
            }),
        };
        match answered {
            Ok(()) => self.settle(ctx, established),
            Err(fault) => self.refuse_request(ctx, established, which, from, ExchangeType::CreateChildSa, &fault),
        }
    }

    /// The owner has not answered: the peer may try again.
    pub(crate) fn judging_timed_out(&mut self, ctx: &mut Context<'_>, mut established: Box<Established>) -> State {
        let Some(judging) = established.judging.take() else { return self.settle(ctx, established) };
        let fault = Fault::peer(NotifyType::TemporaryFailure, "the owner did not judge the child in time");
        self.refuse_request(ctx, established, judging.which, judging.from, ExchangeType::CreateChildSa, &fault)
    }

    /// The peer replaces a child. Selectors, mode and the owner's mark stay, so the owner is not asked.
    #[expect(clippy::too_many_arguments, reason = "these are the parts of one request and where it came from")]
    fn rekey_child(
        &mut self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        which: Which,
        from: Endpoints,
        parts: Parts<'_>,
        rekey: &Notify,
        offer: &ChildOffer,
    ) -> Result<(), Fault> {
        // RFC 7296 §1.3.3: the notify names the peer's inbound SPI, which is where we send.
        let spi = rekey.spi32().filter(|_| rekey.protocol == Protocol::Esp);
        if rekey.spi32().is_none() || !matches!(rekey.protocol, Protocol::Esp | Protocol::Ah) {
            // RFC 7296 §3.10: no other protocol has children, and none is echoed.
            return Err(Fault::syntax("REKEY_SA does not name a child"));
        }
        let found = spi.and_then(|spi| established.child_by_outbound(spi));
        let Some((old, child)) = found.and_then(|id| Some((id, established.children.get(&id)?))) else {
            // RFC 7296 §2.25: the answer names the SPI that is not known.
            return self.child_not_found(ctx, established, which, from, rekey);
        };
        if child.state != ChildState::Installed {
            // RFC 7296 §2.25.1: it is being closed.
            return Err(Fault::peer(NotifyType::TemporaryFailure, "the child is being closed or was just replaced"));
        }
        // A peer that replaces and never deletes does not get more than twice the children.
        if established.children.len() >= ctx.config.children_limit.saturating_mul(2) {
            return Err(Fault::peer(NotifyType::NoAdditionalSas, "too many replaced children are not deleted"));
        }
        let decision = ChildDecision::Accept(child.request.clone());
        let agreed = child::judged(ctx.config, decision, offer, parts, exchange_of(parts))?;
        let (new, lowest) = self.answer_child(ctx, established, which, from, parts, agreed, Some(old))?;
        if let Some(child) = established.children.get_mut(&old) {
            child.state = ChildState::Superseded(new);
            child.rekey_at = None;
        }
        // RFC 7296 §2.25.1: we are rekeying it as well; the nonces will decide.
        for exchange in established.child_exchanges().filter(|exchange| exchange.replaces == Some(old)) {
            exchange.rival = Some(ChildRival { child: new, lowest: lowest.clone() });
        }
        Ok(())
    }

    fn child_not_found(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        which: Which,
        from: Endpoints,
        rekey: &Notify,
    ) -> Result<(), Fault> {
        let notify = Notify { kind: NotifyType::ChildSaNotFound, data: Vec::new(), ..rekey.clone() };
        match established.generation_mut(which) {
            Some(generation) => generation.answer(ctx, from, ExchangeType::CreateChildSa, &[Payload::Notify(notify)]),
            None => Err(Fault::Local("the generation of the exchange is gone".into())),
        }
    }

    /// Installs a child that the peer asked for and answers. Gives its name and the lower of the two nonces.
    #[expect(clippy::too_many_arguments, reason = "these are the parts of one request and where it came from")]
    fn answer_child(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        which: Which,
        from: Endpoints,
        parts: Parts<'_>,
        agreed: Agreed,
        replaces: Option<ChildId>,
    ) -> Result<(ChildId, Vec<u8>), Fault> {
        let nonce_i = needed(parts.nonce(), "Nonce")?;
        let nonce_r = ctx.nonce()?;
        let mut ke_r = None;
        let mut shared = None;
        // RFC 7296 §1.3.1: with a key exchange of its own if the peer offered one that we know.
        if let Some(group) = agreed.chosen.group {
            let ke_i = needed(parts.ke(), "KE")?;
            let key = key_pair(ctx, group)?;
            shared = Some(key.agree(&ke_i.data).map_err(|error| Fault::Crypto(error.to_string()))?);
            ke_r = Some(Payload::Ke(KeyExchange { group, data: key.public_value().to_vec() }));
        }
        let spi = ctx.registry.new_esp_spi(self.id, ctx.random);
        let mut payloads = child::answer(&agreed, spi);
        // RFC 7296 appendix C: Nr and KEr stand between SA and TSi.
        let position = payloads.len().saturating_sub(2);
        payloads.splice(position..position, std::iter::once(Payload::Nonce(nonce_r.clone())).chain(ke_r));
        let generation = established
            .generation_mut(which)
            .ok_or_else(|| Fault::Local("the generation of the exchange is gone".into()))?;
        let (keys, bytes) = child::keys(generation, agreed.chosen.suite, shared.as_ref(), (nonce_i, &nonce_r))
            .and_then(|keys| Ok((keys, generation.answer_later(ctx, ExchangeType::CreateChildSa, &payloads)?)))
            .inspect_err(|_| ctx.registry.release_esp_spi(self.id, spi))?;
        let new = NewChild { agreed, spi, initiator: false, replaces, keys };
        let id = self.install(ctx, established, new);
        // RFC 7296 §2.8: we can receive on the child before the peer hears of it.
        ctx.emit(Action::Send { endpoints: from, bytes });
        Ok((id, lowest(nonce_i, &nonce_r)))
    }
}

/// The secret of the child's own key exchange, if the answer has one.
fn agree_on_key(exchange: &ChildExchange, group: Option<Group>, parts: Parts<'_>) -> Result<Option<Secret>, Fault> {
    let (Some(group), Some(key)) = (group, &exchange.key) else { return Ok(None) };
    let ke = needed(parts.ke(), "KE")?;
    if ke.group != group {
        return Err(Fault::syntax("KE of another group"));
    }
    key.agree(&ke.data).map(Some).map_err(|error| Fault::Crypto(error.to_string()))
}

/// The group with which a refused child is to be tried again: the first if there was none and the peer perhaps wants one, else
/// the one that the peer names (RFC 7296 §1.3). Neither without end.
fn group_wanted(
    ctx: &Context<'_>,
    exchange: &ChildExchange,
    error: Option<NotifyType>,
    parts: Parts<'_>,
) -> Option<Group> {
    let mut groups = ike::groups(ctx.config).map(|group| group.id());
    match error? {
        NotifyType::NoProposalChosen if exchange.key.is_none() => groups.next(),
        NotifyType::InvalidKePayload if exchange.attempt < MAX_ATTEMPTS => {
            let data = &parts.notify(NotifyType::InvalidKePayload)?.data;
            let wanted = Group::from_code(u16::from_be_bytes(data.as_slice().try_into().ok()?));
            groups.find(|group| *group == wanted && Some(wanted) != exchange.group())
        }
        _ => None,
    }
}

/// What a CREATE_CHILD_SA request for a child has to have.
fn child_offer(parts: Parts<'_>) -> Result<ChildOffer, Fault> {
    needed(parts.sa(), "SA")?;
    needed(parts.nonce(), "Nonce")?;
    needed(parts.ts_i(), "TSi")?;
    needed(parts.ts_r(), "TSr")?;
    needed(child::offered(parts), "TS")
}

fn exchange_of(parts: Parts<'_>) -> esp::Exchange {
    esp::Exchange::CreateChild(parts.ke().map(|ke| ke.group))
}

/// RFC 7296 §2.25.2: no children are made under an IKE SA that is being replaced or closed.
fn busy(established: &Established, which: Which) -> Option<Fault> {
    let rekeying = established
        .current
        .outgoing
        .outstanding()
        .is_some_and(|outstanding| matches!(outstanding.purpose, Purpose::RekeyIke(_)));
    let current = established.is_current(which)
        || established.rival.as_ref().is_some_and(|rival| rival.generation.local_spi() == which);
    let on_rival = rekeying && !established.is_current(which);
    if current && (!rekeying || on_rival) && established.closing.is_none() {
        return None;
    }
    Some(Fault::peer(NotifyType::TemporaryFailure, "the IKE SA is being replaced or closed"))
}
