//! The engine: one mouth, one exit.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Instant;

use ring::digest;

use crate::action::{Action, Audit, ChildId, Connect, Endpoints, IkeSaId, Input};
use crate::config::Config;
use crate::crypto::Randomness;
use crate::guard::Guard;
use crate::registry::{Fingerprint, Registry};
use crate::sa::exchange::Work;
use crate::sa::init::write;
use crate::sa::{Context, IkeSa, OwnersAnswer, State, respond};
use crate::stats::Stats;
use crate::timer::Timers;
use crate::wire::{ExchangeType, Flags, Header, Notify, NotifyType, Payload};

/// All IKE SAs of one owner. See the crate's documentation for how it is driven.
pub struct Engine {
    config: Config,
    random: Box<dyn Randomness + Send>,
    ike_sas: BTreeMap<IkeSaId, IkeSa>,
    registry: Registry,
    timers: Timers,
    guard: Guard,
    actions: VecDeque<Action>,
    stats: Stats,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("ike_sas", &self.ike_sas.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without any IKE SA.
    pub fn new(config: Config, random: Box<dyn Randomness + Send>) -> Self {
        Engine {
            config,
            random,
            ike_sas: BTreeMap::new(),
            registry: Registry::default(),
            timers: Timers::default(),
            guard: Guard::new(),
            actions: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes one input. `now` never goes back. The actions that follow are to be drained with [`Self::poll`] before the next
    /// input.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Datagram { endpoints, bytes } => self.datagram(now, endpoints, &bytes),
            Input::Timeout => {
                while let Some(ike_sa) = self.timers.due(now) {
                    self.with(now, ike_sa, IkeSa::on_timer);
                }
            }
            Input::Connect(connect) => self.connect(now, connect),
            Input::CreateChild(ike_sa, request) => {
                let tag = request.tag;
                if !self.with(now, ike_sa, |sa, ctx| sa.on_order(ctx, Work::CreateChild(request))) {
                    self.actions.push_back(Action::ChildFailed { ike_sa, tag, notify: None });
                }
            }
            Input::RekeyChild(child) => self.child_order(now, child, Work::RekeyChild(child)),
            Input::RekeyIke(ike_sa) => self.order(now, ike_sa, Work::RekeyIke(None)),
            Input::DeleteChild(child) | Input::InstallFailed(child) => {
                self.child_order(now, child, Work::DeleteChild(child));
            }
            Input::Close(ike_sa) => _ = self.with(now, ike_sa, IkeSa::on_close),
            Input::CheckLiveness(ike_sa) => self.order(now, ike_sa, Work::Liveness),
            Input::Move(ike_sa, endpoints) => _ = self.with(now, ike_sa, |sa, ctx| sa.on_move(ctx, endpoints)),
            Input::PeerIdentified(ike_sa, answer) => self.answer(now, ike_sa, OwnersAnswer::PeerIdentified(answer)),
            Input::SignatureVerified(ike_sa, answer) => {
                self.answer(now, ike_sa, OwnersAnswer::SignatureVerified(answer));
            }
            Input::Signed(ike_sa, answer) => self.answer(now, ike_sa, OwnersAnswer::Signed(answer)),
            Input::Authorized { ike_sa, lease, child } => {
                self.answer(now, ike_sa, OwnersAnswer::Authorized(lease, child));
            }
            Input::ChildJudged(ike_sa, decision) => self.answer(now, ike_sa, OwnersAnswer::ChildJudged(decision)),
        }
    }

    /// The next action, in the order in which they have to be carried out.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Between which addresses an IKE SA speaks; none if there is no such IKE SA.
    pub fn endpoints(&self, ike_sa: IkeSaId) -> Option<Endpoints> {
        self.ike_sas.get(&ike_sa).map(|ike_sa| ike_sa.endpoints)
    }

    /// The IKE SA that [`Connect`] with this tag is building, until it is established.
    pub fn attempt(&self, tag: u64) -> Option<IkeSaId> {
        self.ike_sas.values().find(|ike_sa| ike_sa.attempt() == Some(tag)).map(|ike_sa| ike_sa.id)
    }

    /// How many IKE SAs are established.
    pub fn established(&self) -> usize {
        self.ike_sas.values().filter(|ike_sa| matches!(ike_sa.state, State::Established(_))).count()
    }

    /// The children of an established IKE SA, by age.
    pub fn children(&self, ike_sa: IkeSaId) -> Vec<ChildId> {
        match self.ike_sas.get(&ike_sa).map(|ike_sa| &ike_sa.state) {
            Some(State::Established(established)) => established.children.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// The IKE SA of a child.
    pub fn ike_sa_of(&self, child: ChildId) -> Option<IkeSaId> {
        self.registry.by_child(child)
    }

    /// How many IKE SAs strangers have begun and not finished.
    pub fn half_open(&self) -> usize {
        self.registry.half_open_count()
    }

    /// How many IKE SAs there are in any state, those included that only answer repetitions any more.
    pub fn len(&self) -> usize {
        self.ike_sas.len()
    }

    /// Whether there is no IKE SA in any state.
    pub fn is_empty(&self) -> bool {
        self.ike_sas.is_empty()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn connect(&mut self, now: Instant, connect: Box<Connect>) {
        let id = self.registry.name_ike_sa();
        let ike_sa = IkeSa::connect(&mut self.context(now), id, connect);
        self.keep(ike_sa);
    }

    fn datagram(&mut self, now: Instant, from: Endpoints, bytes: &[u8]) {
        self.stats.datagrams += 1;
        let Ok((header, _, _)) = Header::parse(bytes) else {
            self.stats.strangers += 1;
            return;
        };
        if header.version.major > 2 {
            // RFC 7296 §2.5: a higher major version is dropped, and the sender told ours.
            return self.answer_stranger(now, from, &header, NotifyType::InvalidMajorVersion);
        }
        // RFC 7296 §3.1: the initiator's SPI is never zero.
        if header.version.major != 2 || header.initiator_spi == 0 {
            self.stats.strangers += 1;
            return;
        }
        // RFC 7296 §2.6: an IKE SA is found by our SPI alone, wherever the message comes from.
        let ours = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        if ours == 0 {
            return self.first_message(now, from, &header, bytes);
        }
        let found = self.registry.by_spi(ours);
        if !found.is_some_and(|ike_sa| self.with(now, ike_sa, |sa, ctx| sa.on_message(ctx, from, &header, bytes))) {
            self.stats.strangers += 1;
            // RFC 7296 §2.21.4: a request under an unknown IKE SA may be answered, seldom; a response never.
            self.answer_stranger(now, from, &header, NotifyType::InvalidIkeSpi);
        }
    }

    fn first_message(&mut self, now: Instant, from: Endpoints, header: &Header, bytes: &[u8]) {
        let first = header.exchange == ExchangeType::IkeSaInit
            && header.flags.initiator
            && !header.flags.response
            && header.message_id == 0;
        if !first {
            self.stats.strangers += 1;
            return;
        }
        let fingerprint = fingerprint(bytes);
        if let Some(ike_sa) = self.registry.by_request(&fingerprint) {
            self.with(now, ike_sa, |sa, ctx| sa.init_repeated(ctx, from));
            return;
        }
        let mut guard = std::mem::replace(&mut self.guard, Guard::new());
        let ike_sa = respond::init_requested(&mut self.context(now), &mut guard, from, header, bytes, fingerprint);
        self.guard = guard;
        if let Some(ike_sa) = ike_sa {
            self.keep(ike_sa);
        }
    }

    /// RFC 7296 §1.5: an unprotected answer copies the SPIs, the Message ID and the exchange type of the request.
    fn answer_stranger(&mut self, now: Instant, from: Endpoints, header: &Header, kind: NotifyType) {
        if header.flags.response || !self.guard.may_answer(now) {
            return;
        }
        let data = match kind {
            NotifyType::InvalidMajorVersion => vec![2],
            _ => Vec::new(),
        };
        let flags = Flags { initiator: !header.flags.initiator, higher_version: false, response: true };
        let spis = (header.initiator_spi, header.responder_spi);
        let answer = Header::new(spis, header.exchange, flags, header.message_id);
        if let Ok(bytes) = write(answer, vec![Payload::Notify(Notify::with_data(kind, data))]) {
            self.actions.push_back(Action::Send { endpoints: from, bytes });
        }
    }

    fn answer(&mut self, now: Instant, ike_sa: IkeSaId, answer: OwnersAnswer) {
        self.with(now, ike_sa, |sa, ctx| sa.on_answer(ctx, answer));
    }

    fn order(&mut self, now: Instant, ike_sa: IkeSaId, work: Work) {
        self.with(now, ike_sa, |sa, ctx| sa.on_order(ctx, work));
    }

    fn child_order(&mut self, now: Instant, child: ChildId, work: Work) {
        match self.registry.by_child(child) {
            Some(ike_sa) => self.order(now, ike_sa, work),
            None => self.actions.push_back(Action::Audit(Audit {
                ike_sa: None,
                remote: None,
                identity: None,
                reason: format!("an order for child {}, which is not there", child.0),
            })),
        }
    }

    /// Lets an IKE SA act, and keeps it with its new timer, or gives back all it had. Says whether there is such an IKE SA.
    fn with(&mut self, now: Instant, id: IkeSaId, act: impl FnOnce(&mut IkeSa, &mut Context<'_>)) -> bool {
        let Some(mut ike_sa) = self.ike_sas.remove(&id) else {
            self.timers.set(id, None);
            return false;
        };
        act(&mut ike_sa, &mut self.context(now));
        self.keep(ike_sa);
        true
    }

    fn keep(&mut self, ike_sa: IkeSa) {
        self.timers.set(ike_sa.id, ike_sa.deadline());
        match ike_sa.state {
            State::Gone => self.registry.forget(ike_sa.id),
            _ => _ = self.ike_sas.insert(ike_sa.id, ike_sa),
        }
    }

    /// For the tests of what a peer may do that this engine never does.
    #[cfg(test)]
    pub(crate) fn within(&mut self, now: Instant, id: IkeSaId, act: impl FnOnce(&mut IkeSa, &mut Context<'_>)) {
        assert!(self.with(now, id, act), "no such IKE SA");
    }

    fn context(&mut self, now: Instant) -> Context<'_> {
        Context {
            now,
            config: &self.config,
            random: self.random.as_mut(),
            actions: &mut self.actions,
            registry: &mut self.registry,
            stats: &mut self.stats,
            others: &mut self.ike_sas,
        }
    }
}

/// RFC 7296 §2.1: a repeated IKE_SA_INIT request is known by its octets.
fn fingerprint(bytes: &[u8]) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    fingerprint
}
