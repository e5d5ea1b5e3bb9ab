//! IKE SAs and what they can be.

pub(crate) mod answer;
pub(crate) mod auth;
pub(crate) mod child;
pub(crate) mod create_child;
pub(crate) mod established;
pub(crate) mod exchange;
pub(crate) mod generation;
pub(crate) mod informational;
pub(crate) mod init;
pub(crate) mod payloads;
pub(crate) mod rekey;
pub(crate) mod respond;
pub(crate) mod tasks;
pub(crate) mod window;

#[cfg(test)]
mod child_group;
#[cfg(test)]
mod flaws;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod misbehaviour;
#[cfg(test)]
mod pair;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::action::{Action, Audit, CloseReason, Endpoints, IkeSaId, PeerPolicy};
use crate::config::Config;
use crate::crypto::Randomness;
use crate::fault::Fault;
use crate::registry::Registry;
use crate::stats::Stats;
use crate::wire::{ExchangeType, Header, Identity, Notify, NotifyType, Payload};

use generation::{Generation, Patience};
use window::Arrival;

/// How long the answer to the last request of an IKE SA that has ended is kept for repetitions of that request.
pub(crate) const LINGER: Duration = Duration::from_secs(30);

/// No timer runs longer, so that no owner's setting can overflow the clock.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a handler may use besides its own IKE SA.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) random: &'a mut (dyn Randomness + Send),
    pub(crate) actions: &'a mut VecDeque<Action>,
    pub(crate) registry: &'a mut Registry,
    pub(crate) stats: &'a mut Stats,
    /// All other IKE SAs, for INITIAL_CONTACT.
    pub(crate) others: &'a mut BTreeMap<IkeSaId, IkeSa>,
}

impl Context<'_> {
    pub(crate) fn emit(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.random.fill(&mut octets);
        octets
    }

    /// RFC 7296 §2.10: 32 octets are 256 bits, and as long as the key of the PRF.
    pub(crate) fn nonce(&mut self) -> Result<crate::wire::Nonce, Fault> {
        let octets = self.octets(32);
        crate::wire::Nonce::new(octets).map_err(|error| Fault::Local(error.to_string()))
    }

    /// The moment after this time; a time without end is a century.
    pub(crate) fn after(&self, time: Duration) -> Instant {
        self.now + time.min(CENTURY)
    }

    /// RFC 7296 §2.8.1: up to a tenth is taken off at random, so that the two sides seldom rekey at once.
    pub(crate) fn jittered(&mut self, lifetime: Duration) -> Duration {
        let mut octets = [0; 2];
        self.random.fill(&mut octets);
        let part = u32::from(u16::from_be_bytes(octets));
        lifetime.saturating_sub((lifetime / 10 / u32::from(u16::MAX)).saturating_mul(part))
    }
}

/// One IKE SA, whatever its state.
#[derive(Debug)]
pub(crate) struct IkeSa {
    pub(crate) id: IkeSaId,
    pub(crate) endpoints: Endpoints,
    pub(crate) state: State,
}

/// Where an IKE SA stands. A handler takes the state and gives the next one.
#[derive(Debug)]
pub(crate) enum State {
    /// Initiator: IKE_SA_INIT is on its way.
    InitSent(Box<init::InitSent>),
    /// Initiator: the owner signs.
    Signing(Box<auth::Signing>),
    /// Initiator: IKE_AUTH is on its way.
    AuthSent(Box<auth::AuthSent>),
    /// Initiator: the owner verifies the responder's signature.
    Checking(Box<auth::Checking>),
    /// Responder: IKE_SA_INIT is answered.
    HalfOpen(Box<respond::HalfOpen>),
    /// Responder: IKE_AUTH has come, and the owner is asked.
    Answering(Box<answer::Answering>),
    /// Both sides are authenticated.
    Established(Box<established::Established>),
    /// Over for the owner; lives on for repetitions only.
    Ended(Box<Ended>),
    /// To be dropped.
    Gone,
}

/// An IKE SA that has ended for the owner, but answers repetitions, or still tells the peer.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) generation: Generation,
    pub(crate) until: Instant,
    /// What the peer is told when it has answered what is outstanding.
    pub(crate) last_word: Option<Vec<Payload>>,
}

/// An answer of the owner.
#[derive(Debug)]
pub(crate) enum OwnersAnswer {
    PeerIdentified(Result<Box<PeerPolicy>, String>),
    SignatureVerified(Result<(), String>),
    Signed(Result<Vec<u8>, String>),
    Authorized(Result<Option<crate::action::Lease>, String>, Option<crate::action::ChildDecision>),
    ChildJudged(crate::action::ChildDecision),
}

impl IkeSa {
    pub(crate) fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Gone)
    }

    pub(crate) fn audit(&self, ctx: &mut Context<'_>, identity: Option<&Identity>, reason: impl Into<String>) {
        ctx.emit(Action::Audit(Audit {
            ike_sa: Some(self.id),
            remote: Some(self.endpoints.remote),
            identity: identity.cloned(),
            reason: reason.into(),
        }));
    }

    pub(crate) fn closed(&self, ctx: &mut Context<'_>, tag: u64, reason: CloseReason) {
        ctx.emit(Action::Closed { ike_sa: self.id, tag, reason });
    }

    /// The owner's mark, as long as we are building it.
    pub(crate) fn attempt(&self) -> Option<u64> {
        match &self.state {
            State::InitSent(state) => Some(state.connect.tag),
            State::Signing(state) => Some(state.auth.connect.tag),
            State::AuthSent(state) => Some(state.auth.connect.tag),
            State::Checking(state) => Some(state.auth.connect.tag),
            State::HalfOpen(_) | State::Answering(_) | State::Established(_) | State::Ended(_) | State::Gone => None,
        }
    }

    /// A message that names one of our SPIs.
    pub(crate) fn on_message(&mut self, ctx: &mut Context<'_>, from: Endpoints, header: &Header, bytes: &[u8]) {
        self.state = match self.take_state() {
            State::InitSent(state) => self.init_answered(ctx, state, header, bytes),
            State::AuthSent(state) => self.auth_answered(ctx, state, header, bytes),
            State::HalfOpen(state) => self.auth_requested(ctx, state, from, header, bytes),
            State::Established(state) => self.established_message(ctx, state, from, header, bytes),
            State::Ended(state) => self.ended_message(ctx, state, from, header, bytes),
            // RFC 7296 §2.1: what is repeated while the owner is asked gets its answer when that is there.
            state @ (State::Signing(_) | State::Checking(_) | State::Answering(_) | State::Gone) => state,
        };
    }

    /// The timer of this IKE SA.
    pub(crate) fn on_timer(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now;
        self.state = match self.take_state() {
            State::InitSent(state) => self.init_timer(ctx, state),
            State::AuthSent(state) => self.auth_timer(ctx, state),
            State::Established(state) => self.established_timer(ctx, state),
            State::Signing(state) if now >= state.until => {
                self.audit(ctx, Some(&state.auth.connect.remote_id), "the owner did not sign in time");
                self.closed(ctx, state.auth.connect.tag, CloseReason::Unanswered);
                State::Gone
            }
            State::Checking(state) if now >= state.until => {
                self.peer_failed(ctx, state.auth, "the responder's signature was not verified in time")
            }
            State::HalfOpen(state) if now >= state.until => State::Gone,
            State::Answering(state) if now >= state.half.until => {
                self.audit(
                    ctx,
                    Some(&state.request.id.identity),
                    "a question about this peer was not answered in time",
                );
                if let Some(tag) = state.step.tag() {
                    self.closed(ctx, tag, CloseReason::Unanswered);
                }
                State::Gone
            }
            State::Ended(mut state) => match state.generation.on_timer(ctx, self.endpoints) {
                Patience::Left if now < state.until => State::Ended(state),
                _ => State::Gone,
            },
            state => state,
        };
    }

    /// When [`Self::on_timer`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::InitSent(state) => Some(state.wire.due()),
            State::Signing(state) => Some(state.until),
            State::AuthSent(state) => state.auth.generation.deadline(),
            State::Checking(state) => Some(state.until),
            State::HalfOpen(state) => Some(state.until),
            State::Answering(state) => Some(state.half.until),
            State::Established(state) => state.deadline(),
            State::Ended(state) => Some(state.generation.deadline().map_or(state.until, |at| at.min(state.until))),
            State::Gone => None,
        }
    }

    /// The owner's answer to a question. One that nobody asked (any more) is without effect.
    pub(crate) fn on_answer(&mut self, ctx: &mut Context<'_>, answer: OwnersAnswer) {
        self.state = match (self.take_state(), answer) {
            (State::Signing(state), OwnersAnswer::Signed(signature)) => self.signed(ctx, state, signature),
            (State::Checking(state), OwnersAnswer::SignatureVerified(verdict)) => {
                self.responder_checked(ctx, state, verdict)
            }
            (State::Answering(state), answer) => self.owner_answered(ctx, state, answer),
            (State::Established(state), OwnersAnswer::ChildJudged(decision)) => self.child_judged(ctx, state, decision),
            (state, _) => state,
        };
    }

    /// The end points have moved: outstanding requests go on from the new ones.
    pub(crate) fn on_move(&mut self, ctx: &mut Context<'_>, mut endpoints: Endpoints) {
        // RFC 7296 §2.23: once on port 4500 an IKE SA stays there, also after a move.
        if self.endpoints.local.port() == FLOATED && endpoints.local.port() != FLOATED {
            endpoints.local.set_port(FLOATED);
            endpoints.remote.set_port(self.endpoints.remote.port());
        }
        self.endpoints = endpoints;
        match &mut self.state {
            State::AuthSent(state) => state.auth.generation.moved(ctx, endpoints),
            State::Established(state) => {
                state.generations_mut().for_each(|generation| generation.moved(ctx, endpoints))
            }
            State::Ended(state) => state.generation.moved(ctx, endpoints),
            State::InitSent(_) => {
                self.state = match self.take_state() {
                    State::InitSent(state) => self.init_moved(ctx, state),
                    state => state,
                };
            }
            State::Signing(_) | State::Checking(_) | State::HalfOpen(_) | State::Answering(_) | State::Gone => {}
        }
    }

    /// The owner wants this IKE SA to end.
    pub(crate) fn on_close(&mut self, ctx: &mut Context<'_>) {
        self.state = match self.take_state() {
            State::Established(state) => self.close_established(ctx, state, CloseReason::Local),
            State::InitSent(state) => self.abandon(ctx, state.connect.tag),
            State::Signing(state) => self.abandon(ctx, state.auth.connect.tag),
            // The peer may have established its side: it hears of the end.
            State::AuthSent(state) => self.abandon_half_built(ctx, state.auth),
            State::Checking(state) => self.abandon_half_built(ctx, state.auth),
            State::Answering(state) => match state.step.tag() {
                Some(tag) => self.abandon(ctx, tag),
                None => State::Gone,
            },
            State::HalfOpen(_) | State::Gone => State::Gone,
            State::Ended(state) => State::Ended(state),
        };
    }

    fn abandon(&self, ctx: &mut Context<'_>, tag: u64) -> State {
        self.closed(ctx, tag, CloseReason::Local);
        State::Gone
    }

    /// Another IKE SA of the same peer has taken over (RFC 7296 §2.4): no word to the peer, which knows.
    pub(crate) fn replaced(mut self, ctx: &mut Context<'_>) {
        if let State::Established(state) = self.take_state() {
            self.tear_down(ctx, &state, CloseReason::Replaced);
        }
    }

    /// RFC 7296 §2.4: the peer has no other IKE SA with us; older ones of the same identity are closed.
    pub(crate) fn close_others(
        &self,
        ctx: &mut Context<'_>,
        identity: &Identity,
        meant: impl Fn(&established::Established) -> bool,
    ) {
        for older in ctx.registry.others_of(identity, self.id) {
            let spared = |ike_sa: &IkeSa| matches!(&ike_sa.state, State::Established(other) if !meant(other));
            if ctx.others.get(&older).is_some_and(spared) {
                continue;
            }
            if let Some(ike_sa) = ctx.others.remove(&older) {
                ike_sa.replaced(ctx);
                ctx.registry.forget(older);
            }
        }
    }

    /// A peer that builds one IKE SA after the other and takes none down has the newest of them.
    pub(crate) fn make_room(&self, ctx: &mut Context<'_>, identity: &Identity) {
        let others = ctx.registry.others_of(identity, self.id);
        let surplus = (others.len() + 1).saturating_sub(ctx.config.ike_sas_per_peer);
        for oldest in others.into_iter().take(surplus) {
            if let Some(ike_sa) = ctx.others.remove(&oldest) {
                ike_sa.replaced(ctx);
                ctx.registry.forget(oldest);
            }
        }
    }

    /// Lives on for as long as it takes to tell the peer or to answer repetitions.
    pub(crate) fn ended(&self, ctx: &Context<'_>, generation: Generation) -> State {
        let longest = match generation.outgoing.outstanding() {
            // The retransmissions end by themselves.
            Some(_) => Duration::from_secs(600),
            None => LINGER,
        };
        State::Ended(Box::new(Ended { generation, until: ctx.now + longest, last_word: None }))
    }

    fn ended_message(
        &mut self,
        ctx: &mut Context<'_>,
        mut state: Box<Ended>,
        from: Endpoints,
        header: &Header,
        bytes: &[u8],
    ) -> State {
        if state.generation.channel.opener.authenticate(bytes).is_err() {
            ctx.stats.forged += 1;
            return State::Ended(state);
        }
        if header.flags.response {
            if state.generation.outgoing.answered(header.message_id).is_some() {
                state.until = ctx.now + LINGER;
                if let Some(payloads) = state.last_word.take() {
                    return self.tell_and_end(ctx, state.generation, payloads);
                }
            }
            return State::Ended(state);
        }
        match state.generation.incoming.arrival(header.message_id) {
            Arrival::Repeated(answer) => {
                let bytes = answer.to_vec();
                ctx.stats.repeated += 1;
                ctx.emit(Action::Send { endpoints: from, bytes });
            }
            // RFC 7296 §2.25.2: a close request for what is being closed gets a normal answer.
            Arrival::New if header.exchange == ExchangeType::Informational => {
                if let Err(fault) = state.generation.answer(ctx, from, ExchangeType::Informational, &[]) {
                    self.audit(ctx, None, fault.to_string());
                }
            }
            Arrival::New | Arrival::Dropped => ctx.stats.out_of_window += 1,
        }
        State::Ended(state)
    }

    /// Tells the peer that it failed to prove its identity, after it has established its side (RFC 7296 §2.21.2).
    pub(crate) fn peer_failed(&self, ctx: &mut Context<'_>, mut auth: auth::Auth, reason: &str) -> State {
        ctx.stats.authentication_failed += 1;
        self.audit(ctx, Some(&auth.connect.remote_id), reason);
        self.closed(ctx, auth.connect.tag, CloseReason::Authentication(format!("responder: {reason}")));
        auth.generation.outgoing.forget();
        let payloads = vec![Payload::Notify(Notify::new(NotifyType::AuthenticationFailed))];
        self.tell_and_end(ctx, auth.generation, payloads)
    }

    fn abandon_half_built(&self, ctx: &mut Context<'_>, mut auth: auth::Auth) -> State {
        self.closed(ctx, auth.connect.tag, CloseReason::Local);
        match auth.generation.outgoing.forget() {
            // Unanswered, the peer may never have seen it: what it has is half-open and dies by itself.
            Some(_) => State::Gone,
            None => self.tell_and_end(ctx, auth.generation, vec![Payload::Delete(crate::wire::Delete::Ike)]),
        }
    }

    /// One last INFORMATIONAL request. RFC 7296 §2.3: not before what is outstanding is answered.
    pub(crate) fn tell_and_end(
        &self,
        ctx: &mut Context<'_>,
        mut generation: Generation,
        payloads: Vec<Payload>,
    ) -> State {
        if generation.outgoing.outstanding().is_some() {
            let mut state = self.ended(ctx, generation);
            if let State::Ended(ended) = &mut state {
                ended.last_word = Some(payloads);
            }
            return state;
        }
        let sent = generation.request(
            ctx,
            self.endpoints,
            ExchangeType::Informational,
            &payloads,
            exchange::Purpose::DeleteIke,
        );
        match sent {
            Ok(()) => self.ended(ctx, generation),
            Err(fault) => {
                self.audit(ctx, None, fault.to_string());
                State::Gone
            }
        }
    }
}

/// The port of IKE and ESP in UDP once a NAT is found (RFC 7296 §2.23).
pub(crate) const FLOATED: u16 = 4500;
