//! The initiator's IKE_SA_INIT (RFC 7296 §1.2, §2.6, §2.7, §2.23).

use super::generation::{Generation, algorithms};
use super::payloads::{Parts, needed};
use super::window::{Retransmission, Step};
use super::{Context, FLOATED, IkeSa, State, auth};
use crate::action::{Action, CloseReason, Connect, Endpoints, IkeSaId};
use crate::auth::scheme;
use crate::crypto::{IkeKeys, KeyPair, RING, nat_detection};
use crate::fault::Fault;
use crate::negotiate::ike;
use crate::wire::{
    CertificateRequest, ExchangeType, Flags, Group, HashAlgorithm, Header, KeyExchange, Message, Nonce, Notify,
    NotifyType, Payload,
};

/// RFC 7296 §2.6: how many corrections (COOKIE, INVALID_KE_PAYLOAD) one attempt follows. Both can be forged.
const MAX_ROUNDS: u32 = 6;

/// RFC 7296 §2.6: a cookie has 1 to 64 octets.
const COOKIE_LENGTHS: std::ops::RangeInclusive<usize> = 1..=64;

/// IKE_SA_INIT is on its way.
#[derive(Debug)]
pub(crate) struct InitSent {
    pub(crate) connect: Box<Connect>,
    pub(crate) wire: Retransmission,
    spi: u64,
    nonce: Nonce,
    key: Box<dyn KeyPair>,
    cookie: Option<Vec<u8>>,
    rounds: u32,
    refused: Option<NotifyType>,
}

/// What an accepted response brings.
struct Accepted {
    generation: Generation,
    nonce_r: Nonce,
    hashes: Option<Vec<HashAlgorithm>>,
    childless: bool,
    nat: bool,
}

impl IkeSa {
    /// Starts an IKE SA.
    pub(crate) fn connect(ctx: &mut Context<'_>, id: IkeSaId, connect: Box<Connect>) -> Self {
        let mut ike_sa = IkeSa { id, endpoints: connect.endpoints, state: State::Gone };
        ike_sa.state = ike_sa.init_start(ctx, connect);
        ike_sa
    }

    fn init_start(&self, ctx: &mut Context<'_>, connect: Box<Connect>) -> State {
        let group = ike::groups(ctx.config).next().map(|group| group.id());
        match group.ok_or_else(|| Fault::Local("no usable key exchange method is configured".into())) {
            Ok(group) => match self.init_send(ctx, group) {
                Ok((spi, nonce, key, wire)) => State::InitSent(Box::new(InitSent {
                    connect,
                    wire,
                    spi,
                    nonce,
                    key,
                    cookie: None,
                    rounds: 0,
                    refused: None,
                })),
                Err(fault) => self.init_failed(ctx, &connect, fault),
            },
            Err(fault) => self.init_failed(ctx, &connect, fault),
        }
    }

    fn init_failed(&self, ctx: &mut Context<'_>, connect: &Connect, fault: Fault) -> State {
        self.audit(ctx, Some(&connect.remote_id), fault.to_string());
        self.closed(ctx, connect.tag, CloseReason::Protocol(fault.to_string()));
        State::Gone
    }

    fn init_send(
        &self,
        ctx: &mut Context<'_>,
        group: Group,
    ) -> Result<(u64, Nonce, Box<dyn KeyPair>, Retransmission), Fault> {
        let spi = ctx.registry.new_ike_spi(self.id, ctx.random);
        let nonce = ctx.nonce()?;
        let key = key_pair(ctx, group)?;
        let wire = self.init_request(ctx, spi, &nonce, key.as_ref(), None)?;
        Ok((spi, nonce, key, wire))
    }

    /// Builds and sends the request. RFC 7296 §2.6: a cookie comes first and all else is as before; §1.2: all suites are
    /// offered again, whatever group the KE payload is of.
    fn init_request(
        &self,
        ctx: &mut Context<'_>,
        spi: u64,
        nonce: &Nonce,
        key: &dyn KeyPair,
        cookie: Option<&[u8]>,
    ) -> Result<Retransmission, Fault> {
        let mut payloads = Vec::new();
        if let Some(cookie) = cookie {
            payloads.push(Payload::Notify(Notify::with_data(NotifyType::Cookie, cookie.to_vec())));
        }
        payloads.push(Payload::Sa(ike::offer(ctx.config, None)));
        payloads.push(Payload::Ke(KeyExchange { group: key.group(), data: key.public_value().to_vec() }));
        payloads.push(Payload::Nonce(nonce.clone()));
        payloads.extend(abilities(ctx, (spi, 0), self.endpoints));
        let flags = Flags { initiator: true, higher_version: false, response: false };
        let bytes = write(Header::new((spi, 0), ExchangeType::IkeSaInit, flags, 0), payloads)?;
        ctx.emit(Action::Send { endpoints: self.endpoints, bytes: bytes.clone() });
        Ok(Retransmission::new(ctx.now, ctx.config, bytes))
    }

    /// A response to IKE_SA_INIT. Nobody has vouched for it yet: what is wrong with it is a hint at most (§2.21.1).
    pub(crate) fn init_answered(
        &mut self,
        ctx: &mut Context<'_>,
        state: Box<InitSent>,
        header: &Header,
        bytes: &[u8],
    ) -> State {
        let fits = header.exchange == ExchangeType::IkeSaInit
            && header.flags.response
            && !header.flags.initiator
            && header.message_id == 0;
        let Some(message) = Message::parse(bytes).ok().filter(|_| fits) else {
            ctx.stats.strangers += 1;
            return State::InitSent(state);
        };
        let parts = Parts(&message.payloads);
        if parts.sa().is_none() {
            return self.init_corrected(ctx, state, parts);
        }
        match init_accept(ctx, &state, header, parts, self.endpoints) {
            Ok(accepted) => {
                // RFC 7296 §2.23: with a NAT between us the rest goes over port 4500.
                if accepted.nat {
                    self.endpoints.local.set_port(FLOATED);
                    self.endpoints.remote.set_port(FLOATED);
                }
                let request = state.wire.bytes().to_vec();
                let Accepted { generation, nonce_r, hashes, childless, nat } = accepted;
                let auth = auth::Auth::new(
                    state.connect,
                    generation,
                    (request, bytes.to_vec()),
                    (state.nonce, nonce_r),
                    hashes,
                    nat,
                );
                self.authenticate(ctx, auth, childless)
            }
            Err(fault) => {
                self.audit(ctx, None, format!("an IKE_SA_INIT response is passed over: {fault}"));
                State::InitSent(state)
            }
        }
    }

    /// COOKIE and INVALID_KE_PAYLOAD lead to another request, in any order (RFC 7296 §2.6.1); the rest is a hint.
    fn init_corrected(&mut self, ctx: &mut Context<'_>, mut state: Box<InitSent>, parts: Parts<'_>) -> State {
        let cookie = parts.notify(NotifyType::Cookie).map(|notify| &notify.data);
        let cookie =
            cookie.filter(|cookie| COOKIE_LENGTHS.contains(&cookie.len()) && state.cookie.as_ref() != Some(cookie));
        let group = parts.notify(NotifyType::InvalidKePayload).and_then(|notify| {
            let group = Group::from_code(u16::from_be_bytes(notify.data.as_slice().try_into().ok()?));
            // RFC 7296 §1.2: only a group that we have offered is followed.
            (group != state.key.group()).then(|| ike::groups(ctx.config).find(|offered| offered.id() == group))?
        });
        if (cookie.is_some() || group.is_some()) && state.rounds < MAX_ROUNDS {
            state.rounds += 1;
            if let Some(cookie) = cookie {
                state.cookie = Some(cookie.clone());
            }
            let key = group.map(|group| key_pair(ctx, group.id())).transpose();
            let sent = key.and_then(|key| {
                if let Some(key) = key {
                    state.key = key;
                }
                self.init_request(ctx, state.spi, &state.nonce, state.key.as_ref(), state.cookie.as_deref())
            });
            match sent {
                Ok(wire) => state.wire = wire,
                Err(fault) => return self.init_failed(ctx, &state.connect, fault),
            }
        } else if let Some(error) = parts.error()
            && error != NotifyType::InvalidKePayload
            && state.refused.is_none()
        {
            self.audit(ctx, None, format!("IKE_SA_INIT is refused, without proof: {error}"));
            state.refused = Some(error);
            state.wire.lose_patience(ctx.config);
        }
        State::InitSent(state)
    }

    pub(crate) fn init_timer(&mut self, ctx: &mut Context<'_>, mut state: Box<InitSent>) -> State {
        match state.wire.on_timer(ctx.now, ctx.config) {
            Step::Wait => State::InitSent(state),
            Step::Again => {
                ctx.stats.retransmitted += 1;
                ctx.emit(Action::Send { endpoints: self.endpoints, bytes: state.wire.bytes().to_vec() });
                State::InitSent(state)
            }
            Step::GiveUp => {
                let reason = state.refused.map_or(CloseReason::Unanswered, CloseReason::Refused);
                self.closed(ctx, state.connect.tag, reason);
                State::Gone
            }
        }
    }

    /// NAT_DETECTION covers the addresses, and the cookie is bound to ours: after a move the attempt starts afresh, with
    /// another SPI, so that it is no changed repetition (RFC 7296 §2.1).
    pub(crate) fn init_moved(&mut self, ctx: &mut Context<'_>, mut state: Box<InitSent>) -> State {
        if !ctx.config.nat_detection && state.cookie.is_none() {
            state.wire.restart(ctx.now, ctx.config);
            ctx.stats.retransmitted += 1;
            ctx.emit(Action::Send { endpoints: self.endpoints, bytes: state.wire.bytes().to_vec() });
            return State::InitSent(state);
        }
        ctx.registry.release_ike_spi(self.id, state.spi);
        self.init_start(ctx, state.connect)
    }
}

/// Judges a response that has an SA payload; nothing is kept of one that is refused.
fn init_accept(
    ctx: &mut Context<'_>,
    state: &InitSent,
    header: &Header,
    parts: Parts<'_>,
    endpoints: Endpoints,
) -> Result<Accepted, Fault> {
    let answer = needed(parts.sa(), "SA")?;
    let ke = needed(parts.ke(), "KE")?;
    let nonce_r = needed(parts.nonce(), "Nonce")?.clone();
    let chosen = ike::check(ctx.config, answer, state.key.group(), false)?;
    if header.responder_spi == 0 || ke.group != chosen.group {
        return Err(Fault::syntax("no responder SPI, or KE of another group"));
    }
    let spis = (state.spi, header.responder_spi);
    let shared = state.key.agree(&ke.data).map_err(|error| Fault::Crypto(error.to_string()))?;
    let (prf, protection) = algorithms(chosen.suite)?;
    let nonces = (state.nonce.as_bytes(), nonce_r.as_bytes());
    let keys =
        IkeKeys::initial(prf, protection, &shared, nonces, spis).map_err(|error| Fault::Crypto(error.to_string()))?;
    let generation = Generation::new(ctx, (chosen.suite, chosen.group), keys, spis, true, 1)?;
    Ok(Accepted {
        generation,
        nonce_r,
        hashes: parts.hashes(),
        childless: parts.has(NotifyType::ChildlessIkev2Supported),
        nat: ctx.config.nat_detection && behind_nat(parts, spis, endpoints),
    })
}

/// A fresh key pair.
pub(crate) fn key_pair(ctx: &mut Context<'_>, group: Group) -> Result<Box<dyn KeyPair>, Fault> {
    let method = RING.group(group).ok_or_else(|| Fault::Local(format!("{group} cannot be calculated")))?;
    method.generate(ctx.random).map_err(|error| Fault::Local(error.to_string()))
}

/// What both sides say of themselves in IKE_SA_INIT. RFC 7296 §2.23: both NAT_DETECTION notifies; RFC 7427 §4: the hashes.
pub(crate) fn abilities(ctx: &Context<'_>, spis: (u64, u64), endpoints: Endpoints) -> Vec<Payload> {
    let mut notifies = Vec::new();
    if ctx.config.nat_detection {
        for (kind, address) in [
            (NotifyType::NatDetectionSourceIp, endpoints.local),
            (NotifyType::NatDetectionDestinationIp, endpoints.remote),
        ] {
            notifies.push(Notify::with_data(kind, nat_detection(spis, address)));
        }
    }
    let hashes = HashAlgorithm::write_list(&scheme::ANNOUNCED);
    notifies.push(Notify::with_data(NotifyType::SignatureHashAlgorithms, hashes));
    notifies.into_iter().map(Payload::Notify).collect()
}

/// RFC 7296 §2.23: a NAT is there if the peer's view of an address is not ours. A peer that sends no view has none.
pub(crate) fn behind_nat(parts: Parts<'_>, spis: (u64, u64), endpoints: Endpoints) -> bool {
    let differs = |kind: NotifyType, address| {
        let mut views = parts.notifies().filter(|notify| notify.kind == kind).peekable();
        let expected = nat_detection(spis, address);
        views.peek().is_some() && !views.any(|notify| notify.data == expected)
    };
    differs(NotifyType::NatDetectionSourceIp, endpoints.remote)
        || differs(NotifyType::NatDetectionDestinationIp, endpoints.local)
}

/// RFC 7296 §3.7: which authorities we trust.
pub(crate) fn certificate_request(authorities: &[[u8; 20]]) -> Payload {
    Payload::CertReq(CertificateRequest::x509(authorities))
}

/// The octets of an unprotected message.
pub(crate) fn write(header: Header, payloads: Vec<Payload>) -> Result<Vec<u8>, Fault> {
    Message { header, payloads }.write().map_err(|error| Fault::Local(error.to_string()))
}
