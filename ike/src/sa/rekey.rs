//! The next generation of an IKE SA (RFC 7296 §1.3.2, §2.8.2, §2.18, §2.25.2).

use super::auth::reason_of;
use super::established::{Established, Rival, Which};
use super::exchange::{IkeExchange, Purpose, Task, Work, lowest};
use super::generation::{Generation, algorithms};
use super::init::key_pair;
use super::payloads::{Parts, needed};
use super::{Context, IkeSa, State};
use crate::action::{Action, CloseReason, Endpoints};
use crate::crypto::{IkeKeys, Secret};
use crate::fault::Fault;
use crate::negotiate::ike;
use crate::wire::{Delete, ExchangeType, Group, KeyExchange, Nonce, NotifyType, Payload};

impl IkeSa {
    /// The answer to our own rekeying of the IKE SA.
    pub(crate) fn ike_rekeyed(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        exchange: IkeExchange,
        payloads: &[Payload],
    ) -> State {
        let parts = Parts(payloads);
        if !established.is_current(which) {
            ctx.registry.release_ike_spi(self.id, exchange.spi);
            return self.settle(ctx, established);
        }
        match next_generation(ctx, &established.current, &exchange, parts) {
            Ok((next, nonce)) => {
                let ours = lowest(&exchange.nonce, &nonce);
                match established.rival.take() {
                    // RFC 7296 §2.8.2: the generation with the lowest of the four nonces goes, by the hand of who made it; the
                    // maker of the other one deletes the old generation.
                    Some(rival) if ours < rival.lowest => {
                        self.end_generation(ctx, &mut established, next);
                        self.turn_to(ctx, &mut established, rival.generation);
                    }
                    rival => {
                        if let Some(rival) = rival {
                            self.retire(ctx, &mut established, rival.generation);
                        }
                        let old = std::mem::replace(&mut established.current, next);
                        self.end_generation(ctx, &mut established, old);
                        self.renewed(ctx, &mut established);
                    }
                }
            }
            Err(fault) => return self.ike_not_rekeyed(ctx, established, exchange, parts, &fault),
        }
        self.settle(ctx, established)
    }

    fn ike_not_rekeyed(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        exchange: IkeExchange,
        parts: Parts<'_>,
        fault: &Fault,
    ) -> State {
        ctx.registry.release_ike_spi(self.id, exchange.spi);
        if let Some(rival) = established.rival.take() {
            // The peer's own rekeying stands.
            self.turn_to(ctx, &mut established, rival.generation);
            return self.settle(ctx, established);
        }
        self.audit(ctx, Some(&established.peer), format!("the IKE SA is not rekeyed: {}", reason_of(fault)));
        // RFC 7296 §3.3.6: an answer that is none of what was offered ends it: the peer is on another generation than we are.
        if parts.sa().is_some() {
            let reason = format!("the answer to a rekeying of the IKE SA: {}", reason_of(fault));
            return self.close_established(ctx, established, CloseReason::Protocol(reason));
        }
        let asked = parts.notify(NotifyType::InvalidKePayload).and_then(|notify| {
            let group = Group::from_code(u16::from_be_bytes(notify.data.as_slice().try_into().ok()?));
            let known = ike::groups(ctx.config).any(|offered| offered.id() == group);
            (known && group != exchange.key.group()).then_some(group)
        });
        if asked.is_some() && exchange.attempt == 0 {
            // At once, but only once: two groups asked for in turn are no reason to ask for ever.
            established.queue.push(Task { work: Work::RekeyIke(asked), not_before: ctx.now, attempt: 1 });
            return self.settle(ctx, established);
        }
        match self.try_again(ctx, &mut established, Work::RekeyIke(asked), exchange.attempt) {
            Ok(()) => self.settle(ctx, established),
            // RFC 7296 §2.25: after several minutes of it the IKE SA is closed.
            Err(_) => {
                let reason = CloseReason::Protocol("the peer does not let the IKE SA be rekeyed".into());
                self.close_established(ctx, established, reason)
            }
        }
    }

    /// The peer rekeys the IKE SA.
    pub(crate) fn ike_rekey_requested(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        from: Endpoints,
        parts: Parts<'_>,
    ) -> State {
        match self.answer_ike_rekey(ctx, &mut established, which, from, parts) {
            Ok(()) => self.settle(ctx, established),
            Err(fault) => self.refuse_request(ctx, established, which, from, ExchangeType::CreateChildSa, &fault),
        }
    }

    fn answer_ike_rekey(
        &mut self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        which: Which,
        from: Endpoints,
        parts: Parts<'_>,
    ) -> Result<(), Fault> {
        let offer = needed(parts.sa(), "SA")?;
        let nonce_i = needed(parts.nonce(), "Nonce")?;
        let ke = needed(parts.ke(), "KE")?;
        let rekeying = rekeyable(established, which)?;
        let chosen = ike::choose(ctx.config, offer, ke.group, true)?;
        let peer_spi = chosen.spi.ok_or_else(|| Fault::syntax("a rekeying without a new SPI"))?;
        let key = key_pair(ctx, chosen.group)?;
        let shared = key.agree(&ke.data).map_err(|error| Fault::Crypto(error.to_string()))?;
        let nonce_r = ctx.nonce()?;
        let spi = ctx.registry.new_ike_spi(self.id, ctx.random);
        let spis = (peer_spi, spi);
        let payloads = [
            Payload::Sa(chosen.answer(Some(spi))),
            Payload::Nonce(nonce_r.clone()),
            Payload::Ke(KeyExchange { group: chosen.group, data: key.public_value().to_vec() }),
        ];
        let algorithms = (chosen.suite, chosen.group);
        let next = rekeyed(ctx, &established.current, algorithms, &shared, (nonce_i, &nonce_r), spis, false)
            .and_then(|next| {
                established.current.answer(ctx, from, ExchangeType::CreateChildSa, &payloads)?;
                Ok(next)
            })
            .inspect_err(|_| ctx.registry.release_ike_spi(self.id, spi))?;
        if rekeying {
            // RFC 7296 §2.25.2: a normal answer; which generation stays is known when ours is answered.
            established.rival = Some(Rival { generation: next, lowest: lowest(nonce_i, &nonce_r) });
        } else {
            self.turn_to(ctx, established, next);
        }
        Ok(())
    }

    /// The peer's generation takes over; the peer deletes the old one.
    pub(crate) fn turn_to(&self, ctx: &mut Context<'_>, established: &mut Established, next: Generation) {
        let old = std::mem::replace(&mut established.current, next);
        self.retire(ctx, established, old);
        self.renewed(ctx, established);
    }

    /// RFC 7296 §2.8: children and the name stay; the lifetimes begin again.
    fn renewed(&self, ctx: &mut Context<'_>, established: &mut Established) {
        let lifetime = ctx.config.ike_lifetime;
        let soft = ctx.jittered(lifetime.rekey);
        established.rekey_at = Some(ctx.after(soft));
        established.expires = ctx.after(lifetime.hard);
        established.queue.retain(|task| !matches!(task.work, Work::RekeyIke(_)));
        ctx.stats.ike_rekeyed += 1;
        ctx.emit(Action::IkeRekeyed(self.id));
    }

    /// Deletes one generation by an exchange under itself (RFC 7296 §1.3.2).
    fn end_generation(&self, ctx: &mut Context<'_>, established: &mut Established, mut generation: Generation) {
        let payloads = [Payload::Delete(Delete::Ike)];
        let sent = generation.request(ctx, self.endpoints, ExchangeType::Informational, &payloads, Purpose::DeleteIke);
        if let Err(fault) = sent {
            self.audit(ctx, Some(&established.peer), reason_of(&fault));
        }
        self.retire(ctx, established, generation);
    }
}

/// Whether the peer may rekey now, and if so whether we are doing the same.
fn rekeyable(established: &Established, which: Which) -> Result<bool, Fault> {
    let not_now = |reason: &str| Err(Fault::peer(NotifyType::TemporaryFailure, reason));
    // RFC 7296 §2.8.2: a generation that was replaced is not replaced again.
    if !established.is_current(which) || established.rival.is_some() {
        return not_now("this generation was replaced already");
    }
    if established.closing.is_some() {
        return not_now("the IKE SA is being closed");
    }
    // RFC 7296 §2.25.1: not while a child is created, rekeyed or closed.
    if established.judging.is_some() {
        return not_now("a child is being created");
    }
    match established.current.outgoing.outstanding().map(|outstanding| &outstanding.purpose) {
        Some(Purpose::Child(_) | Purpose::DeleteChild(_) | Purpose::DeleteSpi(_)) => {
            not_now("a child is being created, rekeyed or closed")
        }
        Some(Purpose::DeleteIke) => not_now("the IKE SA is being closed"),
        Some(Purpose::RekeyIke(_)) => Ok(true),
        Some(Purpose::Auth | Purpose::Liveness) | None => Ok(false),
    }
}

/// The generation that the answer to our rekeying makes, and the peer's nonce.
fn next_generation(
    ctx: &mut Context<'_>,
    current: &Generation,
    exchange: &IkeExchange,
    parts: Parts<'_>,
) -> Result<(Generation, Nonce), Fault> {
    if let (None, Some(error)) = (parts.sa(), parts.error()) {
        return Err(Fault::peer(error, error.to_string()));
    }
    let chosen = ike::check(ctx.config, needed(parts.sa(), "SA")?, exchange.key.group(), true)?;
    let (ke, nonce) = (needed(parts.ke(), "KE")?, needed(parts.nonce(), "Nonce")?);
    let peer_spi = chosen.spi.ok_or_else(|| Fault::syntax("an answer without a new SPI"))?;
    if ke.group != chosen.group {
        return Err(Fault::syntax("KE of another group"));
    }
    let shared = exchange.key.agree(&ke.data).map_err(|error| Fault::Crypto(error.to_string()))?;
    let spis = (exchange.spi, peer_spi);
    let next = rekeyed(ctx, current, (chosen.suite, chosen.group), &shared, (&exchange.nonce, nonce), spis, true)?;
    Ok((next, nonce.clone()))
}

/// RFC 7296 §2.18: SKEYSEED from the old SK_d with the old PRF, new SPIs, Message IDs from 0.
fn rekeyed(
    ctx: &mut Context<'_>,
    current: &Generation,
    (suite, group): (crate::config::IkeSuite, Group),
    shared: &Secret,
    nonces: (&Nonce, &Nonce),
    spis: (u64, u64),
    initiator: bool,
) -> Result<Generation, Fault> {
    let (prf, protection) = algorithms(suite)?;
    let old = (current.prf, &current.channel.sk_d);
    let nonces = (nonces.0.as_bytes(), nonces.1.as_bytes());
    let keys = IkeKeys::rekeyed(old, prf, protection, shared, nonces, spis)
        .map_err(|error| Fault::Crypto(error.to_string()))?;
    Generation::new(ctx, (suite, group), keys, spis, initiator, 0)
}
