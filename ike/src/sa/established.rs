//! An IKE SA that stands: its generations, children, queue and timers (RFC 7296 §1.3, §1.4, §2.8).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::auth::reason_of;
use super::child::{Child, ChildState};
use super::create_child::Judging;
use super::exchange::{ChildExchange, Purpose, Task, Work};
use super::generation::{Generation, Patience};
use super::payloads::Parts;
use super::respond::contents_fault;
use super::window::Arrival;
use super::{Context, IkeSa, LINGER, State};
use crate::action::{Action, ChildId, CloseReason, Endpoints, Lease};
use crate::crypto::OpenError;
use crate::fault::Fault;
use crate::wire::{Delete, ExchangeType, Group, Header, Identity, Message, NotifyType, Payload};

/// Generations that are over but not yet forgotten. A peer can rekey as often as it likes; more than these it does not need.
const MAX_RETIRED: usize = 4;

/// RFC 7296 §2.21.4: how often an unprotected hint may lead to a liveness check.
const HINT_PAUSE: Duration = Duration::from_secs(10);

/// Both sides are authenticated.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) tag: u64,
    pub(crate) peer: Identity,
    /// Whether it was us who built this IKE SA, whoever has rekeyed it since.
    pub(crate) connected: bool,
    /// A NAT is between us: ESP goes in UDP.
    pub(crate) nat: bool,
    pub(crate) current: Generation,
    /// RFC 7296 §2.8.2: the peer's next generation while our own rekeying is not answered.
    pub(crate) rival: Option<Rival>,
    pub(crate) retired: Vec<Retired>,
    pub(crate) children: BTreeMap<ChildId, Child>,
    /// The group of the key exchange that the peer wants children to have; none until it has refused one without.
    pub(crate) child_group: Option<Group>,
    /// Filled by the owner and by timers only, never by the peer.
    pub(crate) queue: Vec<Task>,
    pub(crate) judging: Option<Judging>,
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) expires: Instant,
    /// Why the IKE SA is being closed, if it is.
    pub(crate) closing: Option<CloseReason>,
    pub(crate) heard: Instant,
    /// When the peer is asked whether it lives.
    pub(crate) liveness_at: Option<Instant>,
    /// When the next task may be tried again.
    pub(crate) task_at: Option<Instant>,
    hinted: Option<Instant>,
}

/// The peer's next generation, not yet known to be the one that stays.
#[derive(Debug)]
pub(crate) struct Rival {
    pub(crate) generation: Generation,
    /// The lower of its two nonces.
    pub(crate) lowest: Vec<u8>,
}

/// A generation that was replaced.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) generation: Generation,
    pub(crate) until: Instant,
}

/// Which generation is meant: our SPI of it.
pub(crate) type Which = u64;

impl Established {
    pub(crate) fn new(ctx: &mut Context<'_>, tag: u64, peer: Identity, current: Generation, nat: bool) -> Self {
        let lifetime = ctx.config.ike_lifetime;
        let soft = ctx.jittered(lifetime.rekey);
        let rekey_at = ctx.after(soft);
        Established {
            tag,
            peer,
            connected: current.initiator,
            nat,
            current,
            rival: None,
            retired: Vec::new(),
            children: BTreeMap::new(),
            child_group: None,
            queue: Vec::new(),
            judging: None,
            rekey_at: Some(rekey_at),
            expires: ctx.after(lifetime.hard),
            closing: None,
            heard: ctx.now,
            liveness_at: None,
            task_at: None,
            hinted: None,
        }
    }

    /// The owner learns that the IKE SA stands.
    pub(crate) fn announce(&self, ctx: &mut Context<'_>, ike_sa: &IkeSa, lease: Option<Lease>) {
        ctx.stats.established += 1;
        ctx.emit(Action::Established {
            ike_sa: ike_sa.id,
            tag: self.tag,
            peer: self.peer.clone(),
            endpoints: ike_sa.endpoints,
            lease,
        });
    }

    /// Something to do as soon as the window is free.
    pub(crate) fn enqueue(&mut self, ctx: &Context<'_>, work: Work) {
        self.queue.push(Task { work, not_before: ctx.now, attempt: 0 });
    }

    pub(crate) fn generation_mut(&mut self, which: Which) -> Option<&mut Generation> {
        self.generations_mut().find(|generation| generation.local_spi() == which)
    }

    pub(crate) fn is_current(&self, which: Which) -> bool {
        self.current.local_spi() == which
    }

    pub(crate) fn generations(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.current)
            .chain(self.rival.as_ref().map(|rival| &rival.generation))
            .chain(self.retired.iter().map(|retired| &retired.generation))
    }

    pub(crate) fn generations_mut(&mut self) -> impl Iterator<Item = &mut Generation> {
        std::iter::once(&mut self.current)
            .chain(self.rival.as_mut().map(|rival| &mut rival.generation))
            .chain(self.retired.iter_mut().map(|retired| &mut retired.generation))
    }

    fn which(&self, header: &Header) -> Option<Which> {
        let spis = (header.initiator_spi, header.responder_spi);
        self.generations().find(|generation| generation.spis == spis).map(Generation::local_spi)
    }

    /// The child with this outbound SPI: that is how the peer names it.
    pub(crate) fn child_by_outbound(&self, spi: u32) -> Option<ChildId> {
        self.children.iter().find(|(_, child)| child.spi_out == spi).map(|(id, _)| *id)
    }

    /// Our own CREATE_CHILD_SA requests for children that are not answered.
    pub(crate) fn child_exchanges(&mut self) -> impl Iterator<Item = &mut ChildExchange> {
        self.generations_mut().filter_map(|generation| match &mut generation.outgoing.outstanding_mut()?.purpose {
            Purpose::Child(exchange) => Some(exchange),
            _ => None,
        })
    }

    /// The earliest of all timers.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let children = self.children.values().flat_map(|child| {
            let expires = (child.state != ChildState::Deleting).then_some(child.expires);
            child.rekey_at.into_iter().chain(expires)
        });
        self.generations()
            .filter_map(Generation::deadline)
            .chain(children)
            .chain(self.retired.iter().map(|retired| retired.until))
            .chain(self.judging.as_ref().map(|judging| judging.until))
            .chain(self.rekey_at)
            .chain(self.task_at)
            .chain(self.liveness_at)
            .chain([self.expires])
            .min()
    }
}

impl IkeSa {
    /// A message under one of the generations.
    pub(crate) fn established_message(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        from: Endpoints,
        header: &Header,
        bytes: &[u8],
    ) -> State {
        let found = established.which(header).and_then(|which| Some((which, established.generation_mut(which)?)));
        let Some((which, generation)) = found else {
            self.hint(ctx, &mut established, header, bytes);
            return self.settle(ctx, established);
        };
        // RFC 7296 §3.1: the I flag says that the sender is the original initiator of this generation.
        if header.flags.initiator == generation.initiator {
            ctx.stats.strangers += 1;
            return State::Established(established);
        }
        let message = match generation.channel.opener.open(bytes) {
            Ok(message) => Ok(message),
            Err(OpenError::Contents(error)) => Err(error),
            Err(OpenError::Frame(_) | OpenError::Unauthentic(_)) => {
                self.hint(ctx, &mut established, header, bytes);
                return self.settle(ctx, established);
            }
        };
        let fresh = match header.flags.response {
            true => generation.outgoing.awaits(header.message_id),
            false => generation_arrival(ctx, generation, header.message_id, from),
        };
        if !fresh {
            // RFC 7296 §2.4: only a fresh message shows that the peer lives; an old one can come from anybody who kept it.
            return self.settle(ctx, established);
        }
        established.heard = ctx.now;
        match (header.flags.response, message) {
            (true, Ok(message)) => self.response(ctx, established, which, message),
            (true, Err(error)) => {
                self.protocol_error(ctx, established, which, format!("a response that cannot be read: {error}"))
            }
            (false, Ok(message)) => self.request(ctx, established, which, from, message),
            (false, Err(error)) => {
                let fault = contents_fault(error);
                self.refuse_request(ctx, established, which, from, header.exchange, &fault)
            }
        }
    }

    fn response(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        message: Message,
    ) -> State {
        if Parts(&message.payloads).has(NotifyType::InvalidSyntax) {
            // RFC 7296 §2.21.3: fatal on both sides: the peer has no IKE SA any more.
            let reason = "the peer answers INVALID_SYNTAX";
            self.audit(ctx, Some(&established.peer), reason);
            self.tear_down(ctx, &established, CloseReason::Refused(NotifyType::InvalidSyntax));
            return State::Gone;
        }
        let purpose = established.generation_mut(which).and_then(|g| g.outgoing.answered(message.header.message_id));
        match purpose {
            None => self.settle(ctx, established),
            Some(Purpose::Child(exchange)) => self.child_created(ctx, established, which, exchange, &message.payloads),
            Some(Purpose::RekeyIke(exchange)) => self.ike_rekeyed(ctx, established, which, exchange, &message.payloads),
            Some(purpose) => self.informed(ctx, established, which, purpose),
        }
    }

    fn request(
        &mut self,
        ctx: &mut Context<'_>,
        established: Box<Established>,
        which: Which,
        from: Endpoints,
        message: Message,
    ) -> State {
        match message.header.exchange {
            ExchangeType::CreateChildSa => self.create_child_requested(ctx, established, which, from, message.payloads),
            ExchangeType::Informational => {
                self.informational_requested(ctx, established, which, from, &message.payloads)
            }
            exchange => {
                let fault = Fault::syntax(format!("{exchange} under an established IKE SA"));
                self.refuse_request(ctx, established, which, from, exchange, &fault)
            }
        }
    }

    /// RFC 7296 §2.21.3: a faulty request under an IKE SA gets an error; INVALID_SYNTAX ends the IKE SA on both sides.
    pub(crate) fn refuse_request(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        from: Endpoints,
        exchange: ExchangeType,
        fault: &Fault,
    ) -> State {
        self.audit(ctx, Some(&established.peer), format!("{exchange} is refused: {}", reason_of(fault)));
        let notify = fault.notify();
        let fatal = notify.0 == NotifyType::InvalidSyntax;
        if let Some(generation) = established.generation_mut(which)
            && let Err(fault) = generation.answer_notify(ctx, from, exchange, notify)
        {
            self.audit(ctx, Some(&established.peer), reason_of(&fault));
        }
        if !fatal {
            return self.settle(ctx, established);
        }
        self.tear_down(ctx, &established, CloseReason::Protocol(reason_of(fault)));
        self.linger(ctx, *established, which)
    }

    /// RFC 7296 §2.21: a broken response makes no error message of its own, but the exchange has failed for good, and the IKE SA
    /// with it; the peer hears of the end.
    fn protocol_error(
        &mut self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        which: Which,
        reason: String,
    ) -> State {
        self.audit(ctx, Some(&established.peer), reason.clone());
        self.tear_down(ctx, &established, CloseReason::Protocol(reason));
        if let Some(generation) = established.generation_mut(which) {
            generation.outgoing.forget();
        }
        self.tell_and_end(ctx, established.current, vec![Payload::Delete(Delete::Ike)])
    }

    /// Keeps the answer to the last request for its repetitions.
    pub(crate) fn linger(&self, ctx: &mut Context<'_>, established: Established, which: Which) -> State {
        let Established { current, rival, retired, .. } = established;
        let mut all = std::iter::once(current)
            .chain(rival.map(|rival| rival.generation))
            .chain(retired.into_iter().map(|retired| retired.generation));
        match all.find(|generation| generation.local_spi() == which) {
            Some(mut generation) => {
                generation.outgoing.forget();
                self.ended(ctx, generation)
            }
            None => State::Gone,
        }
    }

    /// Puts a generation aside that was replaced. The oldest give way.
    pub(crate) fn retire(&self, ctx: &mut Context<'_>, established: &mut Established, generation: Generation) {
        established.retired.push(Retired { generation, until: ctx.now + LINGER * 2 });
        let surplus = established.retired.len().saturating_sub(MAX_RETIRED);
        for retired in established.retired.drain(..surplus) {
            ctx.registry.release_ike_spi(self.id, retired.generation.local_spi());
        }
    }

    /// The children, and then the IKE SA, are gone for the owner.
    pub(crate) fn tear_down(&self, ctx: &mut Context<'_>, established: &Established, reason: CloseReason) {
        for child in established.children.keys() {
            ctx.emit(Action::RemoveChild(*child));
        }
        self.closed(ctx, established.tag, reason);
    }

    /// RFC 7296 §2.4, §2.21.4: what nobody has vouched for changes nothing; an answer that may be INVALID_IKE_SPI is a reason to
    /// ask the peer, seldom, and for the owner perhaps one to build another IKE SA beside this one.
    fn hint(&self, ctx: &mut Context<'_>, established: &mut Established, header: &Header, bytes: &[u8]) {
        ctx.stats.forged += 1;
        let recently = established.hinted.is_some_and(|at| ctx.now.saturating_duration_since(at) < HINT_PAUSE);
        // RFC 7296 §1.5: it copies the exchange type of what we sent.
        let ours = matches!(header.exchange, ExchangeType::Informational | ExchangeType::CreateChildSa);
        if !header.flags.response || !ours || recently {
            return;
        }
        established.hinted = Some(ctx.now);
        self.audit(ctx, Some(&established.peer), "an answer without proof: the peer may not know this IKE SA any more");
        if established.current.outgoing.free().is_some() {
            established.enqueue(ctx, Work::Liveness);
        }
        let unknown = |message: Message| message.notify(NotifyType::InvalidIkeSpi).is_some();
        if established.closing.is_none() && Message::parse(bytes).is_ok_and(unknown) {
            ctx.emit(Action::Doubtful(self.id));
        }
    }

    /// All timers of an established IKE SA.
    pub(crate) fn established_timer(&mut self, ctx: &mut Context<'_>, mut established: Box<Established>) -> State {
        if ctx.now >= established.expires {
            // RFC 7296 §2.8: what could not be rekeyed in time ends, children and all.
            self.tear_down(ctx, &established, CloseReason::Expired);
            return self.tell_and_end(ctx, established.current, vec![Payload::Delete(Delete::Ike)]);
        }
        if established.current.on_timer(ctx, self.endpoints) == Patience::Exhausted {
            // RFC 7296 §2.1: a request without an answer is the end of the IKE SA and of all its children.
            let reason = established.closing.clone().unwrap_or(CloseReason::Unanswered);
            self.tear_down(ctx, &established, reason);
            return State::Gone;
        }
        if let Some(rival) = &mut established.rival {
            _ = rival.generation.on_timer(ctx, self.endpoints);
        }
        for mut retired in std::mem::take(&mut established.retired) {
            let patience = retired.generation.on_timer(ctx, self.endpoints);
            if patience == Patience::Left && ctx.now < retired.until {
                established.retired.push(retired);
            } else {
                ctx.registry.release_ike_spi(self.id, retired.generation.local_spi());
            }
        }
        self.children_timers(ctx, &mut established);
        if established.judging.as_ref().is_some_and(|judging| ctx.now >= judging.until) {
            return self.judging_timed_out(ctx, established);
        }
        if established.rekey_at.is_some_and(|at| ctx.now >= at) || established.current.outgoing.worn_out() {
            established.rekey_at = None;
            if !established.waits_for(|work| matches!(work, Work::RekeyIke(_))) {
                established.enqueue(ctx, Work::RekeyIke(None));
            }
        }
        // RFC 7296 §2.4: the peer has been silent for long enough to be asked.
        if established.liveness_at.is_some_and(|at| ctx.now >= at) {
            established.enqueue(ctx, Work::Liveness);
        }
        self.settle(ctx, established)
    }

    fn children_timers(&self, ctx: &mut Context<'_>, established: &mut Established) {
        let now = ctx.now;
        let expired: Vec<_> = established
            .children
            .iter()
            .filter(|(_, child)| now >= child.expires && child.state != ChildState::Deleting)
            .map(|(id, _)| *id)
            .collect();
        for id in expired {
            self.delete_child(ctx, established, id);
        }
        let mut due = Vec::new();
        for (id, child) in &mut established.children {
            if child.rekey_at.is_some_and(|at| now >= at) {
                child.rekey_at = None;
                if child.state == ChildState::Installed {
                    due.push(*id);
                }
            }
        }
        for id in due {
            established.enqueue(ctx, Work::RekeyChild(id));
        }
    }
}

impl Established {
    /// Whether a task of this kind is queued.
    pub(crate) fn waits_for(&self, kind: impl Fn(&Work) -> bool) -> bool {
        self.queue.iter().any(|task| kind(&task.work))
    }
}

/// Whether a request is new; a repeated one gets its answer again here, and one outside of the window nothing.
fn generation_arrival(ctx: &mut Context<'_>, generation: &Generation, message_id: u32, from: Endpoints) -> bool {
    match generation.incoming.arrival(message_id) {
        Arrival::New => true,
        Arrival::Repeated(answer) => {
            let bytes = answer.to_vec();
            ctx.stats.repeated += 1;
            ctx.emit(Action::Send { endpoints: from, bytes });
            false
        }
        Arrival::Dropped => {
            ctx.stats.out_of_window += 1;
            false
        }
    }
}
