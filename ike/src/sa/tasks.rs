//! Our own requests under an established IKE SA: queued, and started one at a time (RFC 7296 §2.3).

use std::time::Duration;

use super::auth::reason_of;
use super::child::{self, ChildState};
use super::established::Established;
use super::exchange::{ChildExchange, IkeExchange, Purpose, Task, Work};
use super::{Context, IkeSa, State};
use crate::action::{Action, ChildId, ChildRequest, CloseReason};
use crate::crypto::KeyPair;
use crate::fault::Fault;
use crate::negotiate::ike;
use crate::wire::{Delete, ExchangeType, Group, KeyExchange, Notify, NotifyType, Payload};

/// RFC 7296 §2.25: the pause after the first TEMPORARY_FAILURE; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// With the doubling, a request is tried again for about four minutes.
pub(crate) const MAX_ATTEMPTS: u32 = 8;

impl IkeSa {
    /// Starts what can be started, and sets the timers that depend on it. Every way through an established IKE SA ends here.
    pub(crate) fn settle(&self, ctx: &mut Context<'_>, mut established: Box<Established>) -> State {
        while established.current.outgoing.free().is_some() {
            let now = ctx.now;
            // RFC 7296 §2.25.1: no rekeying of the IKE SA while the peer's request for a child is open.
            let judging = established.judging.is_some();
            let ready = |task: &Task| task.not_before <= now && !(judging && matches!(task.work, Work::RekeyIke(_)));
            let Some(position) = established.queue.iter().position(ready) else { break };
            let task = established.queue.remove(position);
            self.perform(ctx, &mut established, task);
        }
        let idle = established.current.outgoing.free().is_some() && established.closing.is_none();
        established.liveness_at =
            ctx.config.liveness.filter(|_| idle).and_then(|silence| established.heard.checked_add(silence));
        let waiting = established.queue.iter().map(|task| task.not_before).filter(|at| *at > ctx.now);
        established.task_at = waiting.min();
        State::Established(established)
    }

    fn perform(&self, ctx: &mut Context<'_>, established: &mut Established, task: Task) {
        let Task { work, attempt, .. } = task;
        let started = match work {
            Work::CreateChild(request) => {
                let tag = request.tag;
                let started = self.start_child(ctx, established, request, None, attempt);
                if started.is_err() {
                    ctx.emit(Action::ChildFailed { ike_sa: self.id, tag, notify: None });
                }
                started
            }
            Work::RekeyChild(id) => match established.children.get(&id) {
                Some(child) if child.state == ChildState::Installed => {
                    let request = child.request.clone();
                    self.start_child(ctx, established, request, Some(id), attempt)
                }
                // It was deleted or replaced meanwhile.
                Some(_) | None => Ok(()),
            },
            Work::RekeyIke(group) => self.start_ike_rekey(ctx, established, group, attempt),
            Work::DeleteChild(id) => match established.children.get(&id) {
                // RFC 7296 §1.4.1: a Delete names our own inbound SPI.
                Some(child) => {
                    let delete = Delete::Esp(vec![child.spi_in]);
                    self.inform(ctx, established, vec![Payload::Delete(delete)], Purpose::DeleteChild(id))
                }
                None => Ok(()),
            },
            Work::DeleteSpi(spi) => {
                let delete = Delete::Esp(vec![spi]);
                self.inform(ctx, established, vec![Payload::Delete(delete)], Purpose::DeleteSpi(spi))
            }
            Work::Liveness => self.inform(ctx, established, Vec::new(), Purpose::Liveness),
            // RFC 7296 §2.8: the Delete of the IKE SA itself is its last request.
            Work::Close => self.inform(ctx, established, vec![Payload::Delete(Delete::Ike)], Purpose::DeleteIke),
        };
        if let Err(fault) = started {
            self.audit(ctx, Some(&established.peer), reason_of(&fault));
        }
    }

    fn inform(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        payloads: Vec<Payload>,
        purpose: Purpose,
    ) -> Result<(), Fault> {
        established.current.request(ctx, self.endpoints, ExchangeType::Informational, &payloads, purpose)
    }

    /// CREATE_CHILD_SA for a child. RFC 7296 §1.3.3: REKEY_SA names the inbound SPI of the one that is replaced, and the mode
    /// is repeated; §2.9.2: so are the selectors.
    fn start_child(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        request: ChildRequest,
        replaces: Option<ChildId>,
        attempt: u32,
    ) -> Result<(), Fault> {
        let nonce = ctx.nonce()?;
        // RFC 7296 §1.3.1: a key exchange of the child's own is optional; it costs both sides time at every attachment and is
        // left to peers that want it. NONE lets them say that this child needs none.
        let key = established.child_group.map(|group| super::init::key_pair(ctx, group)).transpose()?;
        let mut groups: Vec<Group> = key.iter().flat_map(|_| ike::groups(ctx.config)).map(|group| group.id()).collect();
        groups.extend(key.iter().map(|_| Group::None));
        let spi = ctx.registry.new_esp_spi(self.id, ctx.random);
        let offer = child::offer_with(&request, spi, &groups);
        let old = replaces.and_then(|old| established.children.get(&old));
        let mut payloads = Vec::new();
        payloads.extend(old.map(|old| Payload::Notify(Notify::esp(NotifyType::RekeySa, old.spi_in))));
        payloads.extend(offer.mode);
        let ke = |key: &dyn KeyPair| KeyExchange { group: key.group(), data: key.public_value().to_vec() };
        payloads.extend([offer.sa, Payload::Nonce(nonce.clone())]);
        payloads.extend(key.as_deref().map(ke).map(Payload::Ke));
        payloads.extend([offer.ts_i, offer.ts_r]);
        let purpose = Purpose::Child(ChildExchange::new(request, spi, (nonce, key), replaces, attempt));
        established
            .current
            .request(ctx, self.endpoints, ExchangeType::CreateChildSa, &payloads, purpose)
            .inspect_err(|_| ctx.registry.release_esp_spi(self.id, spi))
    }

    /// CREATE_CHILD_SA for the next generation. RFC 7296 §1.3.2: new SPIs in the proposals, and always a KE payload.
    fn start_ike_rekey(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        group: Option<Group>,
        attempt: u32,
    ) -> Result<(), Fault> {
        // RFC 7296 §1.3: the KE payload is of a group that the peer will accept, as it has before.
        let group = group.unwrap_or(established.current.group);
        let (nonce, key) = (ctx.nonce()?, super::init::key_pair(ctx, group)?);
        let spi = ctx.registry.new_ike_spi(self.id, ctx.random);
        let payloads = [
            Payload::Sa(ike::offer(ctx.config, Some(spi))),
            Payload::Nonce(nonce.clone()),
            Payload::Ke(KeyExchange { group, data: key.public_value().to_vec() }),
        ];
        let purpose = Purpose::RekeyIke(IkeExchange { spi, nonce, key, attempt });
        established
            .current
            .request(ctx, self.endpoints, ExchangeType::CreateChildSa, &payloads, purpose)
            .inspect_err(|_| ctx.registry.release_ike_spi(self.id, spi))
    }

    /// RFC 7296 §2.25: tries again, but not at once and not for ever. Gives the work back when it has been tried enough.
    pub(crate) fn try_again(
        &self,
        ctx: &mut Context<'_>,
        established: &mut Established,
        work: Work,
        attempt: u32,
    ) -> Result<(), Work> {
        if attempt >= MAX_ATTEMPTS {
            return Err(work);
        }
        let pause = ctx.jittered(FIRST_PAUSE.saturating_mul(1 << attempt.min(MAX_ATTEMPTS)));
        established.queue.push(Task { work, not_before: ctx.after(pause), attempt: attempt + 1 });
        Ok(())
    }

    /// Ends a child by an exchange with the peer.
    pub(crate) fn delete_child(&self, ctx: &mut Context<'_>, established: &mut Established, id: ChildId) {
        if let Some(child) = established.children.get_mut(&id)
            && child.state != ChildState::Deleting
        {
            child.state = ChildState::Deleting;
            child.rekey_at = None;
            established.enqueue(ctx, Work::DeleteChild(id));
        }
    }

    /// Ends the IKE SA by an exchange with the peer; what else was planned is not started any more.
    pub(crate) fn close_established(
        &self,
        ctx: &mut Context<'_>,
        mut established: Box<Established>,
        reason: CloseReason,
    ) -> State {
        if established.closing.is_none() {
            for task in std::mem::take(&mut established.queue) {
                if let Work::CreateChild(request) = task.work {
                    ctx.emit(Action::ChildFailed { ike_sa: self.id, tag: request.tag, notify: None });
                }
            }
            established.closing = Some(reason);
            established.enqueue(ctx, Work::Close);
        }
        self.settle(ctx, established)
    }

    /// The owner's orders about an established IKE SA.
    pub(crate) fn on_order(&mut self, ctx: &mut Context<'_>, work: Work) {
        self.state = match self.take_state() {
            State::Established(mut established) if established.closing.is_none() => {
                match work {
                    Work::DeleteChild(id) => {
                        // What is on its way to replace it is not wanted either.
                        let replacing = |exchange: &&mut ChildExchange| exchange.replaces == Some(id);
                        established.child_exchanges().filter(replacing).for_each(|exchange| exchange.unwanted = true);
                        self.delete_child(ctx, &mut established, id);
                    }
                    Work::Close => return self.state = self.close_established(ctx, established, CloseReason::Local),
                    Work::Liveness if established.waits_for(|work| matches!(work, Work::Liveness)) => {}
                    work => established.enqueue(ctx, work),
                }
                self.settle(ctx, established)
            }
            state => {
                if let Work::CreateChild(request) = work {
                    ctx.emit(Action::ChildFailed { ike_sa: self.id, tag: request.tag, notify: None });
                }
                state
            }
        };
    }
}
