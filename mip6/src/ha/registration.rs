//! Carrying out what was judged valid: probe, bind, acknowledge, delete (RFC 6275 §9.5.4, §10.3).

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::binding_cache::{Binding, Entry, link_local};
use super::home_agent::HomeAgent;
use super::judge::{Refusal, Registration, Request, Update};
use crate::action::{HomeAgentAction, UnbindReason, Via};
use crate::address::{CareOfAddress, HomeAddress};
use crate::wire::{AcknowledgementFlags, BindingAcknowledgement, BindingStatus, Lifetime, MobilityMessage};

/// How long a deleted binding's sequence number is remembered (RFC 6275 §12).
pub const MAX_DELETE_BCE: Duration = Duration::from_secs(10);

/// How long an answer to the probe for a home address is waited for: one probe, one second (RFC 4862 §5.4).
pub const DUPLICATE_DETECTION: Duration = Duration::from_secs(1);

impl HomeAgent {
    /// Carries out a valid update.
    pub(super) fn carry(&mut self, now: Instant, update: Update) {
        let home_address = update.request().home_address;
        match (update, self.cache.take(home_address)) {
            (_, Some(Entry::Moving { registration, lifetime, previous, next: _, until })) => {
                // The kernel is at work; the newest update waits for it.
                let next = Some(update);
                self.cache.put(home_address, Entry::Moving { registration, lifetime, previous, next, until });
            }
            (Update::Register(registration), Some(Entry::Bound(previous))) => {
                // RFC 6275 §10.3.1: no duplicate address detection where a binding exists.
                self.bind(now, registration, Some(previous));
            }
            (Update::Register(registration), Some(Entry::Probing { registration: earlier, until })) => {
                // The probe goes on, and the newest update will be answered; what it asks for beside is probed anew.
                if registration.link_local && !earlier.link_local {
                    self.probe(now, registration);
                } else {
                    self.cache.put(home_address, Entry::Probing { registration, until });
                }
            }
            (Update::Register(registration), Some(Entry::Deleted { .. })) => self.probe(now, registration),
            (Update::Register(registration), None) => {
                if self.cache.has_room(self.config.max_bindings) {
                    self.probe(now, registration);
                } else {
                    self.refuse(no_resources(&registration.request, "the binding cache is full"));
                }
            }
            (Update::Deregister(request), Some(Entry::Bound(binding))) => {
                self.unbind(home_address, binding.care_of, UnbindReason::Deregistered);
                self.delete(now, request);
            }
            (Update::Deregister(request), Some(Entry::Probing { .. } | Entry::Deleted { .. })) => {
                // It overtook the probe, or the answer to an earlier one was lost: nothing is left to undo.
                self.delete(now, request);
            }
            (Update::Deregister(request), None) => self.refuse(no_binding(&request)),
        }
    }

    /// The kernel has carried out [`HomeAgentAction::Bind`], or has not.
    pub(super) fn bind_done(&mut self, now: Instant, home_address: HomeAddress, done: bool) {
        match self.cache.take(home_address) {
            Some(Entry::Moving { registration, lifetime, previous, next, .. }) => {
                if done {
                    self.bound(now, &registration, lifetime, previous.as_ref());
                } else {
                    // The old binding stands, if there is one.
                    if let Some(previous) = previous {
                        self.cache.put(home_address, Entry::Bound(previous));
                    }
                    self.refuse(no_resources(&registration.request, "the kernel refused the tunnel"));
                }
                if let Some(next) = next {
                    self.carry(now, next);
                }
            }
            other => {
                if let Some(entry) = other {
                    self.cache.put(home_address, entry);
                }
                self.audit(format!("the kernel is done with {home_address}, which nobody waits for"));
            }
        }
    }

    /// A node on the home link has this address.
    pub(super) fn duplicate(&mut self, address: Ipv6Addr) {
        let home_address = self.cache.probed(address);
        match self.cache.take(home_address) {
            // RFC 6275 §10.3.1: if one address fails, the whole update does.
            Some(Entry::Probing { registration, .. }) => self.refuse(refusal(
                &registration.request,
                BindingStatus::DuplicateAddressDetectionFailed,
                "another node on the home link has the address",
            )),
            Some(entry @ (Entry::Moving { .. } | Entry::Bound(_))) => {
                self.cache.put(home_address, entry);
                self.audit(format!("another node on the home link claims {address}"));
            }
            // Neighbours advertise their addresses as they like, a mobile node at home among them.
            Some(entry @ Entry::Deleted { .. }) => self.cache.put(home_address, entry),
            None => (),
        }
    }

    /// The deadline of this home address has come.
    pub(super) fn entry_due(&mut self, now: Instant, home_address: HomeAddress) {
        match self.cache.take(home_address) {
            Some(Entry::Probing { registration, .. }) => self.bind(now, registration, None),
            Some(Entry::Moving { registration, .. }) => {
                // The kernel never answered in all that time: whatever it did is to be undone.
                self.unbind(home_address, registration.care_of, UnbindReason::Expired);
            }
            Some(Entry::Bound(binding)) => self.unbind(home_address, binding.care_of, UnbindReason::Expired),
            Some(Entry::Deleted { .. }) | None => (),
        }
    }

    /// The home address may not be used any more.
    pub(super) fn withdraw(&mut self, home_address: HomeAddress) {
        match self.cache.take(home_address) {
            Some(Entry::Bound(binding)) => self.unbind(home_address, binding.care_of, UnbindReason::Withdrawn),
            Some(Entry::Moving { registration, .. }) => {
                self.unbind(home_address, registration.care_of, UnbindReason::Withdrawn);
            }
            // Its last sequence number is still good for refusing late updates.
            Some(deleted @ Entry::Deleted { .. }) => self.cache.put(home_address, deleted),
            Some(Entry::Probing { .. }) | None => (),
        }
    }

    /// Answers no.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.stats.refused += 1;
        self.acknowledge(
            refusal.home_address,
            refusal.via,
            BindingAcknowledgement {
                status: refusal.status,
                flags: AcknowledgementFlags::NONE,
                sequence: refusal.sequence,
                lifetime: Lifetime::ZERO,
                options: Vec::new(),
            },
        );
        self.judged(refusal.home_address, refusal.status, refusal.sequence, Some(refusal.reason));
    }

    /// RFC 6275 §10.3.1: duplicate address detection before a new binding is acknowledged.
    fn probe(&mut self, now: Instant, registration: Registration) {
        let home_address = registration.request.home_address;
        let until = now + DUPLICATE_DETECTION;
        self.cache.put(home_address, Entry::Probing { registration, until });
        for address in defended(home_address, registration.link_local) {
            self.actions.push_back(HomeAgentAction::ProbeDuplicate { address });
        }
    }

    fn bind(&mut self, now: Instant, registration: Registration, previous: Option<Binding>) {
        let Registration { request, care_of: to, lifetime: asked, .. } = registration;
        let home_address = request.home_address;
        let Some((lifetime, _)) = self.config.grant(home_address, asked, now) else {
            // The prefix ran out since the update was judged; what stands of it expires with it.
            if let Some(previous) = previous {
                self.cache.put(home_address, Entry::Bound(previous));
            }
            let reason = "the home prefix is not valid any more";
            return self.refuse(refusal(&request, BindingStatus::NotHomeSubnet, reason));
        };
        let until = now + lifetime.duration();
        self.cache.put(home_address, Entry::Moving { registration, lifetime, previous, next: None, until });
        self.actions.push_back(HomeAgentAction::Bind {
            home_address,
            from: previous.map(|previous| previous.care_of),
            to,
            key_mobility: request.key_mobility,
            lifetime: lifetime.duration(),
        });
    }

    fn bound(&mut self, now: Instant, registration: &Registration, lifetime: Lifetime, previous: Option<&Binding>) {
        let Registration { request, care_of, link_local, .. } = *registration;
        let home_address = request.home_address;
        // The prefix was looked at a moment ago; should it have ended since, the binding does with the next deadline.
        let status = self
            .config
            .grant(home_address, lifetime, now)
            .map_or(BindingStatus::PrefixDiscoveryNecessary, |(_, status)| status);
        self.cache.put(
            home_address,
            Entry::Bound(Binding {
                home_address,
                care_of,
                sequence: request.sequence,
                lifetime,
                expires: now + lifetime.duration(),
                key_mobility: request.key_mobility,
                link_local,
            }),
        );
        // RFC 6275 §10.4.1: the home link is told at once that the home address is to be found here.
        let defended_before = previous.is_some_and(|previous| previous.link_local || !link_local);
        if !defended_before {
            for address in defended(home_address, link_local) {
                self.actions.push_back(HomeAgentAction::AnnounceProxy { home_address: HomeAddress(address) });
            }
        }
        // RFC 6275 §10.3.1: acknowledged whatever A says, with what was granted.
        self.accept(&request, status, lifetime);
    }

    /// RFC 6275 §10.3.2: the entry is not forgotten at once, so that a late update is recognised.
    fn delete(&mut self, now: Instant, request: Request) {
        let until = now + MAX_DELETE_BCE;
        self.cache.put(request.home_address, Entry::Deleted { sequence: request.sequence, until });
        self.accept(&request, BindingStatus::Accepted, Lifetime::ZERO);
    }

    fn unbind(&mut self, home_address: HomeAddress, care_of: CareOfAddress, reason: UnbindReason) {
        if reason == UnbindReason::Expired {
            self.stats.expired += 1;
        }
        self.actions.push_back(HomeAgentAction::Unbind { home_address, care_of, reason });
    }

    fn accept(&mut self, request: &Request, status: BindingStatus, lifetime: Lifetime) {
        self.stats.accepted += 1;
        let flags = if request.key_mobility { AcknowledgementFlags::KEY_MOBILITY } else { AcknowledgementFlags::NONE };
        self.acknowledge(
            request.home_address,
            request.via,
            BindingAcknowledgement { status, flags, sequence: request.sequence, lifetime, options: Vec::new() },
        );
        self.judged(request.home_address, status, request.sequence, None);
    }

    fn acknowledge(&mut self, home_address: HomeAddress, via: Via, acknowledgement: BindingAcknowledgement) {
        let message = MobilityMessage::BindingAcknowledgement(acknowledgement).write();
        self.actions.push_back(HomeAgentAction::SendMobilityMessage { home_address, via, message });
    }

    fn judged(&mut self, home_address: HomeAddress, status: BindingStatus, sequence: u16, reason: Option<&str>) {
        let reason = reason.map(str::to_owned);
        self.actions.push_back(HomeAgentAction::Judged { home_address, status, sequence, reason });
    }
}

/// RFC 6275 §10.3.1: with L the link-local address of the same interface identifier is defended as well.
fn defended(home_address: HomeAddress, with_link_local: bool) -> impl Iterator<Item = Ipv6Addr> {
    std::iter::once(home_address.0).chain(with_link_local.then(|| link_local(home_address)))
}

fn refusal(request: &Request, status: BindingStatus, reason: &'static str) -> Refusal {
    Refusal { home_address: request.home_address, via: request.via, status, sequence: request.sequence, reason }
}

fn no_resources(request: &Request, reason: &'static str) -> Refusal {
    refusal(request, BindingStatus::InsufficientResources, reason)
}

fn no_binding(request: &Request) -> Refusal {
    refusal(request, BindingStatus::NotHomeAgent, "there is no binding to delete")
}
