//! CHILD_SAs: what is offered, what is agreed, and their life (RFC 7296 §1.3.1, §2.9, §2.17).

use std::time::{Duration, Instant};

use super::auth::reason_of;
use super::established::Established;
use super::exchange::Work;
use super::generation::Generation;
use super::payloads::{Parts, notify};
use super::{Context, IkeSa};
use crate::action::{Action, ChildDecision, ChildId, ChildOffer, ChildRequest, ChildSa, EspSa};
use crate::config::Config;
use crate::crypto::{ChildKeys, EspKeys, Secret, child_keys};
use crate::fault::Fault;
use crate::negotiate::esp;
use crate::wire::ts::all_covered;
use crate::wire::{Group, Nonce, Notify, NotifyType, Payload, SecurityAssociation, TrafficSelectors};

/// When a child is rekeyed whose replacement was given up.
const NEXT_REKEYING: Duration = Duration::from_secs(60);

/// A CHILD_SA pair that is installed.
#[derive(Debug)]
pub(crate) struct Child {
    /// With the agreed selectors and mode; what a rekeying repeats.
    pub(crate) request: ChildRequest,
    /// Our inbound SPI.
    pub(crate) spi_in: u32,
    /// The peer's inbound SPI.
    pub(crate) spi_out: u32,
    /// When a rekeying is started; none once it is under way.
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) expires: Instant,
    pub(crate) state: ChildState,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildState {
    /// In use.
    Installed,
    /// Replaced by this one; its end is awaited from whoever replaced it.
    Superseded(ChildId),
    /// We are deleting it.
    Deleting,
}

/// What both sides agreed on.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) chosen: esp::Chosen,
    /// With the agreed selectors and mode.
    pub(crate) request: ChildRequest,
}

/// Everything that is needed to install a child.
#[derive(Debug)]
pub(crate) struct NewChild {
    pub(crate) agreed: Agreed,
    /// Our inbound SPI.
    pub(crate) spi: u32,
    pub(crate) initiator: bool,
    pub(crate) replaces: Option<ChildId>,
    pub(crate) keys: ChildKeys,
}

/// The payloads of a request for a child.
pub(crate) struct Offer {
    pub(crate) mode: Option<Payload>,
    pub(crate) sa: Payload,
    pub(crate) ts_i: Payload,
    pub(crate) ts_r: Payload,
}

/// What the peer said when it refused, if it did, and whether it holds the child nevertheless, so that it has to be told.
pub(crate) type Refusal = (Option<NotifyType>, bool);

/// RFC 4301 §4.4.1.3: TSi is what the side that starts the exchange may send.
pub(crate) fn offer(request: &ChildRequest, spi: u32) -> Offer {
    payloads(request, esp::offer(&request.suites, spi))
}

/// As [`offer`], with these groups for a key exchange of the child's own.
pub(crate) fn offer_with(request: &ChildRequest, spi: u32, groups: &[Group]) -> Offer {
    payloads(request, esp::offer_with(&request.suites, spi, groups))
}

fn payloads(request: &ChildRequest, sa: SecurityAssociation) -> Offer {
    Offer {
        mode: request.transport.then(|| notify(NotifyType::UseTransportMode)),
        sa: Payload::Sa(sa),
        ts_i: Payload::TsI(TrafficSelectors::new(request.local_selectors.clone())),
        ts_r: Payload::TsR(TrafficSelectors::new(request.remote_selectors.clone())),
    }
}

/// What the peer asks for, seen from here: its TSr is our side. None if it asks for no child.
pub(crate) fn offered(parts: Parts<'_>) -> Option<ChildOffer> {
    parts.sa()?;
    Some(ChildOffer {
        local_selectors: parts.ts_r()?.to_vec(),
        remote_selectors: parts.ts_i()?.to_vec(),
        transport: parts.has(NotifyType::UseTransportMode),
    })
}

/// The initiator reads the answer to [`offer`].
pub(crate) fn answered(request: &ChildRequest, parts: Parts<'_>) -> Result<Agreed, (Refusal, Fault)> {
    answered_with(request, parts, None)
}

/// The initiator reads the answer to [`offer_with`], sent with a KE payload of this group.
pub(crate) fn answered_with(
    request: &ChildRequest,
    parts: Parts<'_>,
    ke: Option<Group>,
) -> Result<Agreed, (Refusal, Fault)> {
    let (Some(sa), Some(ts_i), Some(ts_r)) = (parts.sa(), parts.ts_i(), parts.ts_r()) else {
        let error = parts.error();
        let reason = error.map_or_else(|| "the answer has neither a child nor an error".to_owned(), |e| e.to_string());
        return Err(((error, false), Fault::peer(error.unwrap_or(NotifyType::InvalidSyntax), reason)));
    };
    // From here on the peer has the child: if we do not want it, it has to be told.
    let refuse = |fault: Fault| ((None, true), fault);
    let chosen = esp::check(&request.suites, sa, ke).map_err(refuse)?;
    // RFC 7296 §2.9: the answer is a subset of what was asked for.
    if ts_i.is_empty()
        || ts_r.is_empty()
        || !all_covered(ts_i, &request.local_selectors)
        || !all_covered(ts_r, &request.remote_selectors)
    {
        return Err(refuse(Fault::peer(
            NotifyType::TsUnacceptable,
            "the answer has selectors that were not asked for",
        )));
    }
    // RFC 7296 §1.3.1: a responder that falls back to tunnel mode gets its child back.
    if parts.has(NotifyType::UseTransportMode) != request.transport {
        return Err(refuse(Fault::peer(
            NotifyType::NoProposalChosen,
            "the answer has another mode than was asked for",
        )));
    }
    let request = ChildRequest { local_selectors: ts_i.to_vec(), remote_selectors: ts_r.to_vec(), ..request.clone() };
    Ok(Agreed { chosen, request })
}

/// The responder carries out the owner's decision.
pub(crate) fn judged(
    config: &Config,
    decision: ChildDecision,
    offer: &ChildOffer,
    parts: Parts<'_>,
    exchange: esp::Exchange,
) -> Result<Agreed, Fault> {
    let request = match decision {
        ChildDecision::Accept(request) => request,
        ChildDecision::Refuse { notify, reason } => return Err(Fault::peer(notify, reason)),
    };
    // RFC 7296 §2.9: what the owner grants has to be a subset of what was offered; it is not trusted blindly.
    let subset = all_covered(&request.local_selectors, &offer.local_selectors)
        && all_covered(&request.remote_selectors, &offer.remote_selectors);
    if request.local_selectors.is_empty() || request.remote_selectors.is_empty() || !subset {
        return Err(Fault::peer(NotifyType::TsUnacceptable, "the owner grants no subset of the offered selectors"));
    }
    if request.transport && !offer.transport {
        return Err(Fault::peer(NotifyType::NoProposalChosen, "the owner wants transport mode, which is not offered"));
    }
    let sa = super::payloads::needed(parts.sa(), "SA")?;
    let chosen = esp::choose(config, &request.suites, sa, exchange)?;
    Ok(Agreed { chosen, request })
}

/// The payloads of the answer. RFC 7296 §1.3.1: transport mode is confirmed; TSi is the peer's side.
pub(crate) fn answer(agreed: &Agreed, spi: u32) -> Vec<Payload> {
    let mut payloads = Vec::new();
    if agreed.request.transport {
        payloads.push(notify(NotifyType::UseTransportMode));
    }
    payloads.push(Payload::Sa(agreed.chosen.answer(spi)));
    payloads.push(Payload::TsI(TrafficSelectors::new(agreed.request.remote_selectors.clone())));
    payloads.push(Payload::TsR(TrafficSelectors::new(agreed.request.local_selectors.clone())));
    payloads
}

/// The error notify that goes with a fault.
pub(crate) fn refusal(fault: &Fault) -> Payload {
    let (kind, data) = fault.notify();
    Payload::Notify(Notify::with_data(kind, data.to_vec()))
}

/// RFC 7296 §2.17: the keys of both directions.
pub(crate) fn keys(
    generation: &Generation,
    suite: crate::action::EspSuite,
    shared: Option<&Secret>,
    (initiator, responder): (&Nonce, &Nonce),
) -> Result<ChildKeys, Fault> {
    let nonces = (initiator.as_bytes(), responder.as_bytes());
    child_keys(generation.prf, &generation.channel.sk_d, suite, shared, nonces)
        .map_err(|error| Fault::Crypto(error.to_string()))
}

impl IkeSa {
    /// Makes a child known to the owner and to this IKE SA.
    pub(crate) fn install(&self, ctx: &mut Context<'_>, established: &mut Established, new: NewChild) -> ChildId {
        let NewChild { agreed: Agreed { chosen, request }, spi, initiator, replaces, keys } = new;
        let id = ctx.registry.name_child(self.id);
        let lifetime = request.lifetime;
        let soft = ctx.jittered(lifetime.rekey);
        let rekey_at = ctx.after(soft);
        let (ours, theirs) =
            if initiator { (keys.initiator, keys.responder) } else { (keys.responder, keys.initiator) };
        ctx.stats.children += 1;
        ctx.emit(Action::InstallChild(Box::new(ChildSa {
            id,
            ike_sa: self.id,
            tag: request.tag,
            initiator,
            replaces,
            transport: request.transport,
            suite: chosen.suite,
            inbound: esp_sa(spi, theirs),
            outbound: esp_sa(chosen.spi, ours),
            local_selectors: request.local_selectors.clone(),
            remote_selectors: request.remote_selectors.clone(),
            endpoints: self.endpoints,
            encapsulate: established.nat,
            esn: chosen.esn,
        })));
        let child = Child {
            request,
            spi_in: spi,
            spi_out: chosen.spi,
            rekey_at: Some(rekey_at),
            expires: ctx.after(lifetime.hard),
            state: ChildState::Installed,
        };
        established.children.insert(id, child);
        id
    }

    /// A child is gone; gives its SPI back.
    pub(crate) fn remove_child(&self, ctx: &mut Context<'_>, established: &mut Established, id: ChildId) {
        if let Some(child) = established.children.remove(&id) {
            ctx.registry.release_esp_spi(self.id, child.spi_in);
            ctx.registry.release_child(self.id, id);
            ctx.emit(Action::RemoveChild(id));
            // What it was to replace goes on if it is still there, and is replaced a little later.
            let restored = ChildState::Superseded(id);
            for child in established.children.values_mut().filter(|child| child.state == restored) {
                child.state = ChildState::Installed;
                let pause = ctx.jittered(NEXT_REKEYING);
                child.rekey_at = Some(ctx.after(pause));
            }
        }
    }

    /// A child that we asked for does not come about; the IKE SA stays (RFC 7296 §1.3.1).
    pub(crate) fn child_refused(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        tag: u64,
        spi: u32,
        (error, held): Refusal,
        fault: &Fault,
    ) {
        self.audit(ctx, Some(&established.peer), format!("a child is refused: {}", reason_of(fault)));
        self.release_refused(ctx, established, spi, held);
        ctx.emit(Action::ChildFailed { ike_sa: self.id, tag, notify: error });
    }

    /// Gives the SPI of a child back that did not come about; at once, or when the peer has deleted its half.
    pub(crate) fn release_refused(&self, ctx: &mut Context<'_>, established: &mut Established, spi: u32, held: bool) {
        match held {
            true => established.enqueue(ctx, Work::DeleteSpi(spi)),
            false => ctx.registry.release_esp_spi(self.id, spi),
        }
    }
}

fn esp_sa(spi: u32, keys: EspKeys) -> EspSa {
    EspSa { spi, encryption: keys.encryption, integrity: keys.integrity }
}
