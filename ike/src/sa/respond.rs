//! The responder's IKE_SA_INIT, without state until a request deserves it (RFC 7296 §2.6), and the arrival of IKE_AUTH.

use std::time::Instant;

use super::answer::{Answering, AuthRequest, Step};
use super::auth::reason_of;
use super::generation::{Generation, algorithms};
use super::init::{abilities, behind_nat, certificate_request, key_pair, write};
use super::payloads::{Parts, needed, notify};
use super::window::Arrival;
use super::{Context, IkeSa, State};
use crate::action::{Action, Audit, CloseReason, Endpoints};
use crate::auth as proof;
use crate::crypto::{IkeKeys, OpenError, signed_octets};
use crate::fault::Fault;
use crate::guard::Guard;
use crate::negotiate::ike;
use crate::registry::{Fingerprint, Network};
use crate::wire::{
    ExchangeType, Flags, HashAlgorithm, Header, Identification, KeyExchange, Message, Nonce, Notify, NotifyType,
    Payload, WireError,
};

/// The longest IKE_SA_INIT request that is looked at. RFC 7296 §2 asks for 3000 octets; the request is kept until IKE_AUTH, so
/// that its length times the limit of half-open IKE SAs is what strangers can take of our memory.
const MAX_REQUEST: usize = 8192;

/// IKE_SA_INIT is answered; IKE_AUTH is awaited.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub(crate) generation: Generation,
    /// The request and our response, as they were on the wire.
    pub(crate) messages: (Vec<u8>, Vec<u8>),
    pub(crate) nonces: (Nonce, Nonce),
    pub(crate) hashes: Option<Vec<HashAlgorithm>>,
    pub(crate) nat: bool,
    pub(crate) until: Instant,
}

impl HalfOpen {
    pub(crate) fn our_octets(&self, id: &Identification) -> Vec<u8> {
        let channel = &self.generation.channel;
        signed_octets(self.generation.prf, &self.messages.1, self.nonces.0.as_bytes(), &channel.sk_pr, &id.body())
    }

    pub(crate) fn their_octets(&self, id: &Identification) -> Vec<u8> {
        let channel = &self.generation.channel;
        signed_octets(self.generation.prf, &self.messages.0, self.nonces.1.as_bytes(), &channel.sk_pi, &id.body())
    }
}

/// A stranger's IKE_SA_INIT request that is no repetition of one that has its IKE SA. Gives the half-open IKE SA, if the
/// request deserves one.
pub(crate) fn init_requested(
    ctx: &mut Context<'_>,
    guard: &mut Guard,
    from: Endpoints,
    header: &Header,
    bytes: &[u8],
    fingerprint: Fingerprint,
) -> Option<IkeSa> {
    if bytes.len() > MAX_REQUEST {
        ctx.stats.strangers += 1;
        return None;
    }
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(WireError::UnsupportedCritical(kind)) => {
            // RFC 7296 §2.5: the only form of rejection, with the type of the payload.
            if guard.may_answer(ctx.now) {
                refuse(ctx, from, header, Notify::with_data(NotifyType::UnsupportedCriticalPayload, vec![kind]));
            }
            return None;
        }
        Err(_) => {
            ctx.stats.strangers += 1;
            return None;
        }
    };
    let parts = Parts(&message.payloads);
    let (Some(offer), Some(ke), Some(nonce)) = (parts.sa(), parts.ke(), parts.nonce()) else {
        // RFC 7296 §2.21.1: nothing is said to what nobody has vouched for.
        ctx.stats.strangers += 1;
        return None;
    };
    let half_open = ctx.registry.half_open_count();
    // RFC 7296 §2.6: before the cookie is back nothing is kept and nothing expensive is calculated.
    if half_open >= ctx.config.cookie_threshold {
        let (address, spi) = (from.remote_ip(), header.initiator_spi);
        let returned = parts
            .notify(NotifyType::Cookie)
            .is_some_and(|cookie| guard.accepts(ctx.now, ctx.random, nonce.as_bytes(), address, spi, &cookie.data));
        if !returned {
            let cookie = guard.cookie(ctx.now, ctx.random, nonce.as_bytes(), address, spi);
            ctx.stats.cookies += 1;
            refuse(ctx, from, header, Notify::with_data(NotifyType::Cookie, cookie));
            return None;
        }
    }
    let network = Network::from(from.remote_ip());
    if half_open >= ctx.config.half_open_limit
        || ctx.registry.half_open_count_of(network) >= ctx.config.half_open_per_network
    {
        ctx.stats.half_open_refused += 1;
        return None;
    }
    let built = ike::choose(ctx.config, offer, ke.group, false)
        .and_then(|chosen| half_open_sa(ctx, from, header, bytes, parts, (ke, nonce), &chosen));
    match built {
        Ok(ike_sa) => {
            ctx.registry.half_open(ike_sa.id, fingerprint, network);
            Some(ike_sa)
        }
        Err(fault) => {
            let (kind, data) = fault.notify();
            if kind == NotifyType::InvalidKePayload {
                refuse(ctx, from, header, Notify::with_data(kind, data.to_vec()));
            } else if guard.may_answer(ctx.now) {
                if kind == NotifyType::NoProposalChosen {
                    refuse(ctx, from, header, Notify::new(kind));
                }
                ctx.emit(Action::Audit(Audit {
                    ike_sa: None,
                    remote: Some(from.remote),
                    identity: None,
                    reason: format!("IKE_SA_INIT is refused: {}", reason_of(&fault)),
                }));
            }
            None
        }
    }
}

/// An unprotected answer that leaves no state behind.
fn refuse(ctx: &mut Context<'_>, from: Endpoints, header: &Header, notify: Notify) {
    let flags = Flags { initiator: false, higher_version: false, response: true };
    let header = Header::new((header.initiator_spi, 0), ExchangeType::IkeSaInit, flags, 0);
    if let Ok(bytes) = write(header, vec![Payload::Notify(notify)]) {
        ctx.emit(Action::Send { endpoints: from, bytes });
    }
}

fn half_open_sa(
    ctx: &mut Context<'_>,
    from: Endpoints,
    header: &Header,
    bytes: &[u8],
    parts: Parts<'_>,
    (ke, nonce_i): (&KeyExchange, &Nonce),
    chosen: &ike::Chosen,
) -> Result<IkeSa, Fault> {
    let key = key_pair(ctx, chosen.group)?;
    let shared = key.agree(&ke.data).map_err(|error| Fault::Crypto(error.to_string()))?;
    let nonce_r = ctx.nonce()?;
    let (prf, protection) = algorithms(chosen.suite)?;
    let id = ctx.registry.name_ike_sa();
    let spis = (header.initiator_spi, ctx.registry.new_ike_spi(id, ctx.random));
    let built = IkeKeys::initial(prf, protection, &shared, (nonce_i.as_bytes(), nonce_r.as_bytes()), spis)
        .map_err(|error| Fault::Crypto(error.to_string()))
        .and_then(|keys| Generation::new(ctx, (chosen.suite, chosen.group), keys, spis, false, 1))
        .and_then(|generation| {
            // RFC 7296 appendix C: SA, KE, Nr, NAT_DETECTION, CERTREQ, other notifies.
            let mut payloads = vec![
                Payload::Sa(chosen.answer(None)),
                Payload::Ke(KeyExchange { group: chosen.group, data: key.public_value().to_vec() }),
                Payload::Nonce(nonce_r.clone()),
            ];
            payloads.extend(abilities(ctx, spis, from));
            if !ctx.config.authorities.is_empty() {
                payloads.push(certificate_request(&ctx.config.authorities));
            }
            payloads.push(notify(NotifyType::ChildlessIkev2Supported));
            let flags = Flags { initiator: false, higher_version: false, response: true };
            Ok((generation, write(Header::new(spis, ExchangeType::IkeSaInit, flags, 0), payloads)?))
        });
    let (generation, response) = built.inspect_err(|_| ctx.registry.forget(id))?;
    ctx.emit(Action::Send { endpoints: from, bytes: response.clone() });
    // The notify's SPIs are those of the request, where ours is still zero.
    let nat = ctx.config.nat_detection && behind_nat(parts, (header.initiator_spi, 0), from);
    let half = HalfOpen {
        generation,
        messages: (bytes.to_vec(), response),
        nonces: (nonce_i.clone(), nonce_r),
        hashes: parts.hashes(),
        nat,
        until: ctx.after(ctx.config.half_open_timeout),
    };
    Ok(IkeSa { id, endpoints: from, state: State::HalfOpen(Box::new(half)) })
}

impl IkeSa {
    /// The same IKE_SA_INIT request once more: the same answer while IKE_AUTH is awaited, none later (RFC 7296 §2.1).
    pub(crate) fn init_repeated(&self, ctx: &mut Context<'_>, from: Endpoints) {
        if let State::HalfOpen(half) = &self.state {
            ctx.stats.repeated += 1;
            ctx.emit(Action::Send { endpoints: from, bytes: half.messages.1.clone() });
        }
    }

    /// A message under a half-open IKE SA.
    pub(crate) fn auth_requested(
        &mut self,
        ctx: &mut Context<'_>,
        mut state: Box<HalfOpen>,
        from: Endpoints,
        header: &Header,
        bytes: &[u8],
    ) -> State {
        // RFC 7296 §1.4: nothing but IKE_AUTH is listened to before the IKE SA stands.
        let fits = header.exchange == ExchangeType::IkeAuth && !header.flags.response && header.flags.initiator;
        if !fits || state.generation.incoming.arrival(header.message_id) != Arrival::New {
            ctx.stats.out_of_window += 1;
            return State::HalfOpen(state);
        }
        let message = match state.generation.channel.opener.open(bytes) {
            Ok(message) => message,
            Err(OpenError::Frame(_) | OpenError::Unauthentic(_)) => {
                ctx.stats.forged += 1;
                return State::HalfOpen(state);
            }
            Err(OpenError::Contents(error)) => {
                self.endpoints = from;
                let fault = contents_fault(error);
                return self.reject(ctx, *state, from, None, None, &fault);
            }
        };
        // RFC 7296 §2.23: the request may come from another port than IKE_SA_INIT did; its sender knows the keys.
        self.endpoints = from;
        match AuthRequest::read(message.payloads) {
            Ok(request) => {
                state.generation.incoming.suspend();
                ctx.emit(Action::IdentifyPeer {
                    ike_sa: self.id,
                    claimed: request.id.identity.clone(),
                    wanted: request.wanted.clone(),
                    endpoints: from,
                });
                State::Answering(Box::new(Answering { half: *state, request, from, step: Step::Identifying }))
            }
            Err(fault) => self.reject(ctx, *state, from, None, None, &fault),
        }
    }

    /// Ends a half-open IKE SA with an error in the protected response (RFC 7296 §2.21.2).
    pub(crate) fn reject(
        &mut self,
        ctx: &mut Context<'_>,
        half: HalfOpen,
        from: Endpoints,
        identity: Option<&Identification>,
        tag: Option<u64>,
        fault: &Fault,
    ) -> State {
        let (kind, data) = match fault {
            // The peer learns nothing of our own troubles.
            Fault::Local(_) => (NotifyType::AuthenticationFailed, &[][..]),
            fault => fault.notify(),
        };
        if kind == NotifyType::AuthenticationFailed {
            ctx.stats.authentication_failed += 1;
        }
        self.audit(ctx, identity.map(|id| &id.identity), reason_of(fault));
        if let Some(tag) = tag {
            self.closed(ctx, tag, CloseReason::Authentication(reason_of(fault)));
        }
        let mut generation = half.generation;
        match generation.answer_notify(ctx, from, ExchangeType::IkeAuth, (kind, data)) {
            Ok(()) => self.ended(ctx, generation),
            Err(fault) => {
                self.audit(ctx, None, reason_of(&fault));
                State::Gone
            }
        }
    }
}

impl AuthRequest {
    /// Takes an IKE_AUTH request apart.
    fn read(payloads: Vec<Payload>) -> Result<Self, Fault> {
        let parts = Parts(&payloads);
        let id = needed(parts.id_i(), "IDi")?.clone();
        let wanted = parts.id_r().map(|id| id.identity.clone());
        // RFC 7296 §2.16: without AUTH the initiator wants EAP, which is not spoken here.
        let auth = parts.auth().cloned().ok_or_else(|| {
            Fault::peer(NotifyType::AuthenticationFailed, "IKE_AUTH without AUTH: EAP is not supported")
        })?;
        // RFC 7296 §1.2, RFC 6023 §3: a child has all of its payloads or none.
        let child = [parts.sa().is_some(), parts.ts_i().is_some(), parts.ts_r().is_some()];
        if child.iter().any(|present| *present != child[0]) {
            return Err(Fault::syntax("IKE_AUTH has some payloads of a child and not all"));
        }
        let chain = proof::chain(&payloads);
        Ok(AuthRequest { id, wanted, auth, chain, payloads })
    }
}

/// RFC 7296 §2.5, §2.21.2: what is told of contents that cannot be read.
pub(crate) fn contents_fault(error: WireError) -> Fault {
    match error {
        WireError::UnsupportedCritical(kind) => {
            Fault::Peer { notify: NotifyType::UnsupportedCriticalPayload, data: vec![kind], reason: error.to_string() }
        }
        error => Fault::syntax(error.to_string()),
    }
}
