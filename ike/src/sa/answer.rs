//! The responder's IKE_AUTH: who it is, whether it is true, what it may have, and the answer (RFC 7296 §1.2, §2.15, §2.19).

use super::auth::reason_of;
use super::child::{self, NewChild};
use super::established::Established;
use super::payloads::{Parts, notify};
use super::respond::HalfOpen;
use super::{Context, IkeSa, OwnersAnswer, State};
use crate::action::{
    Action, ChildDecision, ChildOffer, CloseReason, Endpoints, Lease, LocalAuth, PeerPolicy, SignatureScheme,
};
use crate::auth::scheme::{self, Carriage};
use crate::auth::{self as proof, Proof, Verdict};
use crate::fault::Fault;
use crate::negotiate::esp;
use crate::wire::{
    Authentication, CfgAttribute, CfgType, Configuration, ExchangeType, Identification, Identity, NotifyType, Payload,
};

/// The initiator's IKE_AUTH request, taken apart.
#[derive(Debug)]
pub(crate) struct AuthRequest {
    pub(crate) id: Identification,
    pub(crate) wanted: Option<Identity>,
    pub(crate) auth: Authentication,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) payloads: Vec<Payload>,
}

/// IKE_AUTH has come, and the owner is asked.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) half: HalfOpen,
    pub(crate) request: AuthRequest,
    /// Where the request came from, and where the answer goes.
    pub(crate) from: Endpoints,
    pub(crate) step: Step,
}

/// Which question is open.
#[derive(Debug)]
pub(crate) enum Step {
    /// Who is it?
    Identifying,
    /// Is its signature good?
    Verifying(Box<PeerPolicy>),
    /// What may it have?
    Authorizing(Box<PeerPolicy>),
    /// Our signature.
    Signing { policy: Box<PeerPolicy>, grant: Grant, scheme: SignatureScheme, carriage: Carriage },
}

/// What the owner grants.
#[derive(Debug)]
pub(crate) struct Grant {
    lease: Result<Option<Lease>, String>,
    child: Option<ChildDecision>,
}

impl Step {
    /// The owner's mark, once it has given one.
    pub(crate) fn tag(&self) -> Option<u64> {
        match self {
            Step::Identifying => None,
            Step::Verifying(policy) | Step::Authorizing(policy) | Step::Signing { policy, .. } => Some(policy.tag),
        }
    }
}

impl IkeSa {
    /// The owner's answer to the open question; an answer to another one changes nothing.
    pub(crate) fn owner_answered(
        &mut self,
        ctx: &mut Context<'_>,
        state: Box<Answering>,
        answer: OwnersAnswer,
    ) -> State {
        let Answering { half, request, from, step } = *state;
        let (half, request, step) = match (step, answer) {
            (Step::Identifying, OwnersAnswer::PeerIdentified(Ok(policy))) => {
                return self.judge_initiator(ctx, half, request, from, policy);
            }
            (Step::Identifying, OwnersAnswer::PeerIdentified(Err(reason))) => {
                let fault = Fault::peer(NotifyType::AuthenticationFailed, reason);
                return self.reject(ctx, half, from, Some(&request.id), None, &fault);
            }
            (Step::Verifying(policy), OwnersAnswer::SignatureVerified(Ok(()))) => {
                return self.authorize(ctx, half, request, from, policy);
            }
            (Step::Verifying(policy), OwnersAnswer::SignatureVerified(Err(reason))) => {
                let fault = Fault::peer(NotifyType::AuthenticationFailed, reason);
                return self.reject(ctx, half, from, Some(&request.id), Some(policy.tag), &fault);
            }
            (Step::Authorizing(policy), OwnersAnswer::Authorized(lease, child)) => {
                return self.prove_responder(ctx, half, request, from, policy, Grant { lease, child });
            }
            (Step::Signing { policy, grant, scheme, carriage }, OwnersAnswer::Signed(signature)) => {
                let payload = signature.and_then(|signature| {
                    scheme::write(scheme, carriage, signature)
                        .ok_or_else(|| "the owner's signature does not have its scheme's form".to_owned())
                });
                return match payload {
                    Ok(payload) => self.answer_auth(ctx, half, request, from, *policy, grant, payload),
                    Err(reason) => {
                        self.reject(ctx, half, from, Some(&request.id), Some(policy.tag), &Fault::Local(reason))
                    }
                };
            }
            (step, _) => (half, request, step),
        };
        State::Answering(Box::new(Answering { half, request, from, step }))
    }

    fn judge_initiator(
        &mut self,
        ctx: &mut Context<'_>,
        half: HalfOpen,
        request: AuthRequest,
        from: Endpoints,
        policy: Box<PeerPolicy>,
    ) -> State {
        let octets = half.their_octets(&request.id);
        match proof::judge(half.generation.prf, &policy.remote_auth, &octets, &request.auth) {
            Ok(Verdict::Proved) => self.authorize(ctx, half, request, from, policy),
            Ok(Verdict::Verify(scheme, signature)) => {
                ctx.emit(Action::VerifySignature {
                    ike_sa: self.id,
                    identity: request.id.identity.clone(),
                    chain: request.chain.clone(),
                    scheme,
                    octets,
                    signature,
                });
                State::Answering(Box::new(Answering { half, request, from, step: Step::Verifying(policy) }))
            }
            Err(fault) => self.reject(ctx, half, from, Some(&request.id), Some(policy.tag), &fault),
        }
    }

    /// The initiator has proved its identity.
    fn authorize(
        &mut self,
        ctx: &mut Context<'_>,
        half: HalfOpen,
        request: AuthRequest,
        from: Endpoints,
        policy: Box<PeerPolicy>,
    ) -> State {
        let parts = Parts(&request.payloads);
        ctx.emit(Action::Authorize {
            ike_sa: self.id,
            tag: policy.tag,
            identity: request.id.identity.clone(),
            address: parts.address_request(),
            child: child::offered(parts),
        });
        State::Answering(Box::new(Answering { half, request, from, step: Step::Authorizing(policy) }))
    }

    fn prove_responder(
        &mut self,
        ctx: &mut Context<'_>,
        half: HalfOpen,
        request: AuthRequest,
        from: Endpoints,
        policy: Box<PeerPolicy>,
        grant: Grant,
    ) -> State {
        let id = Identification::new(policy.local_id.clone());
        let octets = half.our_octets(&id);
        match proof::prove(half.generation.prf, &policy.local_auth, &octets, half.hashes.as_deref()) {
            Ok(Proof::Ready(payload)) => self.answer_auth(ctx, half, request, from, *policy, grant, payload),
            Ok(Proof::Sign(scheme, carriage)) => match &policy.local_auth {
                LocalAuth::Certificate { key, .. } => {
                    ctx.emit(Action::Sign { ike_sa: self.id, key: *key, scheme, octets });
                    let step = Step::Signing { policy, grant, scheme, carriage };
                    State::Answering(Box::new(Answering { half, request, from, step }))
                }
                LocalAuth::Psk(_) => {
                    let fault = Fault::Local("a shared secret does not sign".into());
                    self.reject(ctx, half, from, Some(&request.id), Some(policy.tag), &fault)
                }
            },
            Err(fault) => self.reject(ctx, half, from, Some(&request.id), Some(policy.tag), &fault),
        }
    }

    /// The answer: IDr, CERT, AUTH, CP, USE_TRANSPORT_MODE, SA, TSi, TSr (RFC 7296 appendix C).
    #[expect(clippy::too_many_arguments, reason = "these are the parts of the state that ends here")]
    fn answer_auth(
        &mut self,
        ctx: &mut Context<'_>,
        half: HalfOpen,
        request: AuthRequest,
        from: Endpoints,
        policy: PeerPolicy,
        grant: Grant,
        auth: Authentication,
    ) -> State {
        let parts = Parts(&request.payloads);
        let mut payloads = vec![Payload::IdR(Identification::new(policy.local_id.clone()))];
        payloads.extend(proof::certificates(&policy.local_auth));
        payloads.push(Payload::Auth(auth));
        let asked = parts.address_request();
        if let (Some(asked), Ok(Some(lease))) = (&asked, &grant.lease) {
            payloads.push(Payload::Cp(reply(lease, asked.dns)));
        }
        let (initial_contact, nonces) = (parts.has(NotifyType::InitialContact), half.nonces);
        let refused_address = match (&asked, &grant.lease) {
            (Some(_), Err(reason)) => Some(reason.clone()),
            (Some(_), Ok(None)) => Some("the owner grants no address".to_owned()),
            _ => None,
        };
        let mut generation = half.generation;
        let new = match (child::offered(parts), refused_address) {
            // RFC 7296 §3.15.4: without the address there is no child, and the IKE SA stays.
            (_, Some(reason)) => {
                self.audit(ctx, Some(&request.id.identity), format!("no address is given: {reason}"));
                payloads.push(notify(NotifyType::InternalAddressFailure));
                None
            }
            (None, None) => None,
            (Some(offer), None) => {
                let new = self.first_child(ctx, parts, &offer, grant.child, (&generation, &nonces));
                match new {
                    Ok(new) => {
                        payloads.extend(child::answer(&new.agreed, new.spi));
                        Some(new)
                    }
                    Err(fault) => {
                        let text = format!("the first child is refused: {}", reason_of(&fault));
                        self.audit(ctx, Some(&request.id.identity), text);
                        payloads.push(child::refusal(&fault));
                        None
                    }
                }
            }
        };
        let identity = request.id.identity;
        ctx.registry.authenticated(self.id, &identity);
        let bytes = match generation.answer_later(ctx, ExchangeType::IkeAuth, &payloads) {
            Ok(bytes) => bytes,
            Err(fault) => {
                self.audit(ctx, Some(&identity), reason_of(&fault));
                self.closed(ctx, policy.tag, CloseReason::Protocol(reason_of(&fault)));
                return State::Gone;
            }
        };
        let mut established = Established::new(ctx, policy.tag, identity, generation, half.nat);
        established.announce(ctx, self, None);
        // After the new one is known, so that the owner never believes the peer to be gone.
        if initial_contact {
            self.close_others(ctx, &established.peer, |_| true);
        }
        self.make_room(ctx, &established.peer);
        if let Some(new) = new {
            self.install(ctx, &mut established, new);
        }
        // RFC 7296 §2.8: we can receive on the child before the peer hears of it.
        ctx.emit(Action::Send { endpoints: from, bytes });
        self.settle(ctx, Box::new(established))
    }

    fn first_child(
        &self,
        ctx: &mut Context<'_>,
        parts: Parts<'_>,
        offer: &ChildOffer,
        decision: Option<ChildDecision>,
        (generation, nonces): (&super::generation::Generation, &(crate::wire::Nonce, crate::wire::Nonce)),
    ) -> Result<NewChild, Fault> {
        let decision =
            decision.ok_or_else(|| Fault::peer(NotifyType::TsUnacceptable, "the owner says nothing of it"))?;
        let agreed = child::judged(ctx.config, decision, offer, parts, esp::Exchange::IkeAuth)?;
        let keys = child::keys(generation, agreed.chosen.suite, None, (&nonces.0, &nonces.1))?;
        let spi = ctx.registry.new_esp_spi(self.id, ctx.random);
        Ok(NewChild { agreed, spi, initiator: false, replaces: None, keys })
    }
}

/// RFC 7296 §3.15.1: the address with the length of its prefix; name servers if they were asked for.
fn reply(lease: &Lease, dns: bool) -> Configuration {
    let mut attributes = vec![CfgAttribute::InternalIp6Address(Some((lease.address, lease.prefix_len)))];
    if dns {
        attributes.extend(lease.dns.iter().map(|server| CfgAttribute::InternalIp6Dns(Some(*server))));
    }
    Configuration { kind: CfgType::Reply, attributes }
}
