//! The initiator's IKE_AUTH (RFC 7296 §1.2, §2.15, §2.19).

use std::time::Instant;

use super::child::{self, NewChild};
use super::established::Established;
use super::exchange::Purpose;
use super::generation::{Generation, Patience};
use super::init::certificate_request;
use super::payloads::{Parts, notify};
use super::{Context, IkeSa, State};
use crate::action::{Action, CloseReason, Connect, RemoteAuth, SignatureScheme};
use crate::auth::scheme::{self, Carriage};
use crate::auth::{self as proof, Proof, Verdict};
use crate::crypto::{OpenError, signed_octets};
use crate::fault::Fault;
use crate::wire::{
    Authentication, CfgAttribute, CfgType, Configuration, ExchangeType, HashAlgorithm, Header, Identification,
    Identity, Nonce, NotifyType, Payload,
};

/// What the initiator has after IKE_SA_INIT.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) connect: Box<Connect>,
    pub(crate) generation: Generation,
    /// The first request and the first response as they were on the wire; with retries the last ones (RFC 7296 §2.15).
    messages: (Vec<u8>, Vec<u8>),
    nonces: (Nonce, Nonce),
    hashes: Option<Vec<HashAlgorithm>>,
    nat: bool,
    child_spi: Option<u32>,
    /// INITIAL_CONTACT was sent.
    contact: bool,
}

/// The owner signs.
#[derive(Debug)]
pub(crate) struct Signing {
    pub(crate) auth: Auth,
    pub(crate) until: Instant,
    scheme: SignatureScheme,
    carriage: Carriage,
}

/// IKE_AUTH is on its way.
#[derive(Debug)]
pub(crate) struct AuthSent {
    pub(crate) auth: Auth,
}

/// The owner verifies the responder's signature; the rest of the response waits.
#[derive(Debug)]
pub(crate) struct Checking {
    pub(crate) auth: Auth,
    pub(crate) until: Instant,
    payloads: Vec<Payload>,
}

impl Auth {
    pub(crate) fn new(
        connect: Box<Connect>,
        generation: Generation,
        messages: (Vec<u8>, Vec<u8>),
        nonces: (Nonce, Nonce),
        hashes: Option<Vec<HashAlgorithm>>,
        nat: bool,
    ) -> Self {
        Auth { connect, generation, messages, nonces, hashes, nat, child_spi: None, contact: false }
    }

    fn our_octets(&self) -> Vec<u8> {
        let id = Identification::new(self.connect.local_id.clone());
        let channel = &self.generation.channel;
        signed_octets(self.generation.prf, &self.messages.0, self.nonces.1.as_bytes(), &channel.sk_pi, &id.body())
    }

    fn their_octets(&self, id: &Identification) -> Vec<u8> {
        let channel = &self.generation.channel;
        signed_octets(self.generation.prf, &self.messages.1, self.nonces.0.as_bytes(), &channel.sk_pr, &id.body())
    }
}

impl IkeSa {
    /// IKE_SA_INIT is through: prove who we are.
    pub(crate) fn authenticate(&mut self, ctx: &mut Context<'_>, auth: Auth, childless: bool) -> State {
        // RFC 6023 §3: without a child only towards a peer that has said it can.
        if auth.connect.child.is_none() && !childless {
            let reason = "the peer cannot do without a first CHILD_SA";
            self.closed(ctx, auth.connect.tag, CloseReason::Protocol(reason.into()));
            return State::Gone;
        }
        let octets = auth.our_octets();
        match proof::prove(auth.generation.prf, &auth.connect.local_auth, &octets, auth.hashes.as_deref()) {
            Ok(Proof::Ready(payload)) => self.auth_send(ctx, auth, payload),
            Ok(Proof::Sign(scheme, carriage)) => match &auth.connect.local_auth {
                crate::action::LocalAuth::Certificate { key, .. } => {
                    ctx.emit(Action::Sign { ike_sa: self.id, key: *key, scheme, octets });
                    let until = ctx.after(ctx.config.half_open_timeout);
                    State::Signing(Box::new(Signing { auth, until, scheme, carriage }))
                }
                crate::action::LocalAuth::Psk(_) => self.we_failed(ctx, auth, "a shared secret does not sign"),
            },
            Err(fault) => self.we_failed(ctx, auth, &fault.to_string()),
        }
    }

    /// We cannot prove who we are. The peer has nothing but a half-open IKE SA.
    fn we_failed(&self, ctx: &mut Context<'_>, auth: Auth, reason: &str) -> State {
        ctx.stats.authentication_failed += 1;
        self.audit(ctx, Some(&auth.connect.local_id), reason);
        self.closed(ctx, auth.connect.tag, CloseReason::Authentication(format!("initiator: {reason}")));
        State::Gone
    }

    pub(crate) fn signed(
        &mut self,
        ctx: &mut Context<'_>,
        state: Box<Signing>,
        signature: Result<Vec<u8>, String>,
    ) -> State {
        let Signing { auth, scheme, carriage, .. } = *state;
        match signature {
            Ok(signature) => match scheme::write(scheme, carriage, signature) {
                Some(payload) => self.auth_send(ctx, auth, payload),
                None => self.we_failed(ctx, auth, "the owner's signature does not have its scheme's form"),
            },
            Err(reason) => self.we_failed(ctx, auth, &reason),
        }
    }

    /// Sends IKE_AUTH. RFC 7296 appendix C: IDi, CERT, INITIAL_CONTACT, CERTREQ, IDr, AUTH, CP, USE_TRANSPORT_MODE, SA, TSi, TSr.
    fn auth_send(&mut self, ctx: &mut Context<'_>, mut auth: Auth, payload: Authentication) -> State {
        let mut payloads = vec![Payload::IdI(Identification::new(auth.connect.local_id.clone()))];
        payloads.extend(proof::certificates(&auth.connect.local_auth));
        auth.contact = auth.connect.initial_contact && !self.crossed(ctx, &auth.connect.remote_id);
        if auth.contact {
            payloads.push(notify(NotifyType::InitialContact));
        }
        if let RemoteAuth::Certificate { authorities } = &auth.connect.remote_auth
            && !authorities.is_empty()
        {
            payloads.push(certificate_request(authorities));
        }
        payloads.push(Payload::IdR(Identification::new(auth.connect.remote_id.clone())));
        payloads.push(Payload::Auth(payload));
        // RFC 7296 §2.19: the request for an address precedes SA.
        if let Some(request) = &auth.connect.address {
            let mut attributes =
                vec![CfgAttribute::InternalIp6Address(request.suggestion.map(|address| (address, 64)))];
            if request.dns {
                attributes.push(CfgAttribute::InternalIp6Dns(None));
            }
            payloads.push(Payload::Cp(Configuration { kind: CfgType::Request, attributes }));
        }
        if let Some(request) = &auth.connect.child {
            let spi = ctx.registry.new_esp_spi(self.id, ctx.random);
            auth.child_spi = Some(spi);
            let offer = child::offer(request, spi);
            payloads.extend(offer.mode);
            payloads.extend([offer.sa, offer.ts_i, offer.ts_r]);
        }
        match auth.generation.request(ctx, self.endpoints, ExchangeType::IkeAuth, &payloads, Purpose::Auth) {
            Ok(()) => State::AuthSent(Box::new(AuthSent { auth })),
            Err(fault) => self.we_failed(ctx, auth, &fault.to_string()),
        }
    }

    /// RFC 7296 §2.4: whether the peer has built an IKE SA with us meanwhile, which is no remnant of its past.
    fn crossed(&self, ctx: &Context<'_>, peer: &Identity) -> bool {
        ctx.registry.others_of(peer, self.id).iter().any(|other| {
            let state = ctx.others.get(other).map(|ike_sa| &ike_sa.state);
            matches!(state, Some(State::Established(established)) if !established.connected)
        })
    }

    /// A message while IKE_AUTH is outstanding.
    pub(crate) fn auth_answered(
        &mut self,
        ctx: &mut Context<'_>,
        mut state: Box<AuthSent>,
        header: &Header,
        bytes: &[u8],
    ) -> State {
        let generation = &mut state.auth.generation;
        let awaited = generation.outgoing.outstanding().is_some_and(|sent| sent.message_id == header.message_id);
        if !header.flags.response || header.flags.initiator || header.exchange != ExchangeType::IkeAuth || !awaited {
            // RFC 7296 §1.4: nothing else is listened to before the IKE SA stands.
            ctx.stats.out_of_window += 1;
            return State::AuthSent(state);
        }
        match generation.channel.opener.open(bytes) {
            Err(OpenError::Frame(_) | OpenError::Unauthentic(_)) => {
                ctx.stats.forged += 1;
                State::AuthSent(state)
            }
            Err(OpenError::Contents(error)) => {
                generation.outgoing.answered(header.message_id);
                self.peer_broke_protocol(ctx, state.auth, format!("the IKE_AUTH response: {error}"))
            }
            Ok(message) => {
                generation.outgoing.answered(header.message_id);
                self.auth_judge(ctx, state.auth, message.payloads)
            }
        }
    }

    fn auth_judge(&mut self, ctx: &mut Context<'_>, auth: Auth, payloads: Vec<Payload>) -> State {
        let parts = Parts(&payloads);
        let (Some(id), Some(payload)) = (parts.id_r(), parts.auth()) else {
            return match parts.error() {
                Some(NotifyType::AuthenticationFailed) => {
                    self.we_failed(ctx, auth, "the peer answers AUTHENTICATION_FAILED")
                }
                // RFC 7296 §1.2, §2.21.2: without AUTH there is no IKE SA.
                Some(error) => {
                    self.closed(ctx, auth.connect.tag, CloseReason::Refused(error));
                    State::Gone
                }
                None => self.peer_broke_protocol(ctx, auth, "an IKE_AUTH response without IDr or AUTH".into()),
            };
        };
        // RFC 7296 §1.2: the responder may answer with another identity; we wanted just this one.
        if id.identity != auth.connect.remote_id {
            let reason = format!("the responder is {}, not {}", id.identity, auth.connect.remote_id);
            return self.peer_failed(ctx, auth, &reason);
        }
        let octets = auth.their_octets(id);
        match proof::judge(auth.generation.prf, &auth.connect.remote_auth, &octets, payload) {
            Ok(Verdict::Proved) => self.auth_finish(ctx, auth, payloads),
            Ok(Verdict::Verify(scheme, signature)) => {
                ctx.emit(Action::VerifySignature {
                    ike_sa: self.id,
                    identity: id.identity.clone(),
                    chain: proof::chain(&payloads),
                    scheme,
                    octets,
                    signature,
                });
                let until = ctx.after(ctx.config.half_open_timeout);
                State::Checking(Box::new(Checking { auth, until, payloads }))
            }
            Err(fault) => self.peer_failed(ctx, auth, &reason_of(&fault)),
        }
    }

    pub(crate) fn responder_checked(
        &mut self,
        ctx: &mut Context<'_>,
        state: Box<Checking>,
        verdict: Result<(), String>,
    ) -> State {
        let Checking { auth, payloads, .. } = *state;
        match verdict {
            Ok(()) => self.auth_finish(ctx, auth, payloads),
            Err(reason) => self.peer_failed(ctx, auth, &reason),
        }
    }

    /// Both sides have proved who they are: the IKE SA stands, with or without its first child.
    fn auth_finish(&mut self, ctx: &mut Context<'_>, auth: Auth, payloads: Vec<Payload>) -> State {
        let parts = Parts(&payloads);
        let Auth { connect, generation, nonces, nat, child_spi, contact, .. } = auth;
        let Connect { remote_id, address, child, tag, .. } = *connect;
        ctx.registry.authenticated(self.id, &remote_id);
        let lease = address.and_then(|_| parts.lease());
        let mut established = Established::new(ctx, tag, remote_id, generation, nat);
        established.announce(ctx, self, lease);
        // RFC 7296 §2.4: who said that this is the only IKE SA, we or the peer, has no other one any more. What the peer has
        // built meanwhile is not meant by our word.
        if parts.has(NotifyType::InitialContact) {
            self.close_others(ctx, &established.peer, |_| true);
        } else if contact {
            self.close_others(ctx, &established.peer, |other| other.connected);
        }
        let Some((request, spi)) = child.zip(child_spi) else {
            return self.settle(ctx, Box::new(established));
        };
        // RFC 7296 §1.2, §1.3.1: a first child that fails leaves the IKE SA as it is.
        match child::answered(&request, parts) {
            Ok(agreed) => {
                let current = &established.current;
                let keys = child::keys(current, agreed.chosen.suite, None, (&nonces.0, &nonces.1));
                match keys {
                    Ok(keys) => {
                        let new = NewChild { agreed, spi, initiator: true, replaces: None, keys };
                        self.install(ctx, &mut established, new);
                    }
                    Err(fault) => self.child_refused(ctx, &mut established, request.tag, spi, (None, true), &fault),
                }
            }
            Err((refusal, fault)) => self.child_refused(ctx, &mut established, request.tag, spi, refusal, &fault),
        }
        self.settle(ctx, Box::new(established))
    }

    pub(crate) fn auth_timer(&mut self, ctx: &mut Context<'_>, mut state: Box<AuthSent>) -> State {
        match state.auth.generation.on_timer(ctx, self.endpoints) {
            Patience::Left => State::AuthSent(state),
            Patience::Exhausted => {
                self.closed(ctx, state.auth.connect.tag, CloseReason::Unanswered);
                State::Gone
            }
        }
    }

    /// RFC 7296 §2.21.2: the peer may have established its side, so it hears of the end.
    fn peer_broke_protocol(&self, ctx: &mut Context<'_>, auth: Auth, reason: String) -> State {
        self.audit(ctx, Some(&auth.connect.remote_id), reason.clone());
        self.closed(ctx, auth.connect.tag, CloseReason::Protocol(reason));
        self.tell_and_end(ctx, auth.generation, vec![notify(NotifyType::InvalidSyntax)])
    }
}

/// The reason without the frame around it.
pub(crate) fn reason_of(fault: &Fault) -> String {
    match fault {
        Fault::Peer { reason, .. } => reason.clone(),
        Fault::Local(reason) | Fault::Crypto(reason) => reason.clone(),
    }
}
