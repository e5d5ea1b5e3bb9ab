//! The home registration: the one entry of the binding update list that goes to the home agent (RFC 6275 §11.7.1, §11.7.3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Binding;
use super::pace::Pace;
use super::time::{BackOff, later};
use super::update::{Timing, Update, Wish};
use crate::action::{MobileNodeAction, Via};
use crate::address::{CareOfAddress, HomeAddress, HomeAgentAddress};
use crate::wire::{
    AcknowledgementFlags, BindingAcknowledgement, BindingStatus, BindingUpdate, Lifetime, MobilityMessage,
    MobilityOption, UpdateFlags, sequence_is_newer,
};

/// Answers of status 135 that are followed at once; later ones wait for the back-off, as something is wrong then.
const QUICK_CORRECTIONS: u32 = 2;

/// How often and how fast a de-registration is tried when everything is to stop: nobody waits for long then.
const STOP_TRIES: u32 = 3;
const STOP_INTERVAL: Duration = Duration::from_millis(500);

/// Who registers with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) home_address: HomeAddress,
    pub(super) home_agent: HomeAgentAddress,
}

/// The home registration.
#[derive(Debug)]
pub(super) struct Registration {
    timing: Timing,
    security: Security,
    wish: Wish,
    state: State,
    binding: Option<Binding>,
    at_agent: AtAgent,
    /// Of the next update.
    sequence: u16,
    pace: Pace,
}

/// RFC 6275 §5.1: updates go under IPsec or not at all.
#[derive(Clone, Copy, Debug)]
enum Security {
    Never,
    Gone(Peer),
    Standing(Peer),
}

#[derive(Debug)]
enum State {
    /// Nothing is to be done, or nothing can be.
    Idle,
    /// An update waits for its acknowledgement.
    Updating(Update),
    /// The home agent knows.
    Settled { refresh: Instant },
    /// The home agent refused; another place or other SAs may change its mind.
    Refused,
    /// RFC 6275 §11.7.1: after status 134 the home address is not used again.
    Barred,
}

/// Whether the home agent may hold a binding of ours.
#[derive(Clone, Copy, Debug)]
enum AtAgent {
    /// One of an earlier life.
    Unknown,
    Nothing,
    /// None later than this.
    Until(Instant),
}

/// What the rest of the node tells at each step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Packets can be sent.
    pub(super) attached: bool,
    /// RFC 6275 §11.7.1: no binding outlives the home address or the care-of address.
    pub(super) longest: Duration,
}

/// An accepted registration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registered {
    pub(super) prefix_discovery_necessary: bool,
}

impl Registration {
    pub(super) fn new(timing: Timing, may_be_bound: bool, sequence: u16) -> Self {
        Self {
            timing,
            security: Security::Never,
            wish: Wish::Nothing,
            state: State::Idle,
            binding: None,
            at_agent: if may_be_bound { AtAgent::Unknown } else { AtAgent::Nothing },
            sequence,
            pace: Pace::default(),
        }
    }

    pub(super) fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// With whom updates may be exchanged now.
    pub(super) fn peer(&self) -> Option<Peer> {
        match self.security {
            Security::Standing(peer) => Some(peer),
            Security::Never | Security::Gone(_) => None,
        }
    }

    /// Whether another home address or home agent was known before.
    pub(super) fn is_stranger(&self, peer: Peer) -> bool {
        match self.security {
            Security::Never => false,
            Security::Gone(known) | Security::Standing(known) => known != peer,
        }
    }

    /// Whether no answer is waited for.
    pub(super) fn is_done(&self) -> bool {
        !matches!(self.state, State::Updating(_))
    }

    /// Updates may be sent.
    pub(super) fn secured(&mut self, now: Instant, peer: Peer) {
        match self.security {
            // Only the SAs are new.
            Security::Standing(known) if known == peer && !matches!(self.state, State::Refused | State::Barred) => {
                return;
            }
            Security::Standing(known) | Security::Gone(known) if known != peer => {
                // Nothing more can be said for the old home address, which is not ours any more.
                self.binding = None;
                self.at_agent = AtAgent::Nothing;
            }
            Security::Never | Security::Gone(_) | Security::Standing(_) => (),
        }
        self.security = Security::Standing(peer);
        self.begin(now);
    }

    /// Nothing may be sent any more.
    pub(super) fn unsecured(&mut self) {
        if let Security::Standing(peer) = self.security {
            self.security = Security::Gone(peer);
        }
        self.state = State::Idle;
    }

    /// We are somewhere else now. RFC 6275 §11.8: each care-of address has its own back-off, and what was under way
    /// for another place ends here. So a de-registration that nobody answers holds nothing up once home is left.
    pub(super) fn want(&mut self, now: Instant, wish: Wish) {
        self.wish = wish;
        if !matches!(self.state, State::Barred) {
            self.begin(now);
        }
    }

    /// De-registers quickly and gives up early.
    pub(super) fn stop(&mut self, now: Instant, wish: Wish) {
        self.wish = wish;
        self.begin(now);
        if let State::Updating(update) = &mut self.state {
            *update = Update::new(BackOff::new(now, STOP_INTERVAL, STOP_INTERVAL)).with_tries(STOP_TRIES);
        }
    }

    /// The link is back: what could not be sent goes out now.
    pub(super) fn resume(&mut self, now: Instant) {
        let back_off = BackOff::new(now, self.first_interval(now), self.timing.max);
        if let State::Updating(update) = &mut self.state {
            update.back_off = back_off;
        }
    }

    /// The home agent asks for an update, or has forgotten us.
    pub(super) fn renew(&mut self, now: Instant, forgotten: bool) {
        if let (State::Settled { .. }, Wish::Register(_)) = (&self.state, self.wish) {
            if forgotten {
                self.binding = None;
                self.at_agent = AtAgent::Nothing;
            }
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Instant) {
        let is_wanted = match self.wish {
            Wish::Nothing => false,
            Wish::Register(_) => true,
            Wish::Deregister { .. } => self.may_be_bound(now),
        };
        let back_off = BackOff::new(now, self.first_interval(now), self.timing.max);
        self.state = match self.security {
            Security::Standing(_) if is_wanted => State::Updating(Update::new(back_off)),
            Security::Never | Security::Gone(_) | Security::Standing(_) => State::Idle,
        };
    }

    /// RFC 6275 §11.8: a first registration takes the home agent longer, as it probes for duplicates. After a gap it is a
    /// first one again (§11.7.1).
    fn first_interval(&self, now: Instant) -> Duration {
        let is_bound = self.binding.as_ref().is_some_and(|binding| binding.expires > now);
        match self.wish {
            Wish::Register(_) if !is_bound => self.timing.initial_first_reg,
            Wish::Nothing | Wish::Register(_) | Wish::Deregister { .. } => self.timing.initial,
        }
    }

    fn may_be_bound(&self, now: Instant) -> bool {
        match self.at_agent {
            AtAgent::Unknown => true,
            AtAgent::Nothing => false,
            AtAgent::Until(end) => end > now,
        }
    }

    /// Does what the time has come for.
    pub(super) fn drive(
        &mut self,
        now: Instant,
        circumstances: &Circumstances,
        actions: &mut VecDeque<MobileNodeAction>,
    ) {
        // RFC 6275 §11.1: an entry without remaining lifetime is deleted.
        if let Some(binding) = self.binding.take_if(|binding| binding.expires <= now) {
            actions.push_back(MobileNodeAction::Audit(format!(
                "the binding of {} to {} ran out without an answer of the home agent",
                binding.home_address, binding.care_of
            )));
        }
        self.outlived(now, actions);
        let (true, Security::Standing(peer)) = (circumstances.attached, self.security) else { return };
        if let State::Settled { refresh } = self.state
            && refresh <= now
        {
            self.begin(now);
        }
        let State::Updating(update) = &mut self.state else { return };
        if !update.back_off.is_due(now) {
            return;
        }
        if update.is_exhausted() {
            actions.push_back(MobileNodeAction::Audit("the home agent does not answer the de-registration".into()));
            self.state = State::Idle;
        } else if let Some(free) = self.pace.wait(now) {
            // RFC 6275 §11.5.3, §11.8: MAX_UPDATE_RATE. What goes out then is the newest wish.
            update.back_off.reschedule(free);
        } else {
            self.transmit(now, peer, circumstances.longest, actions);
        }
    }

    /// A de-registration that nobody answers is done when the binding cannot be there any more.
    fn outlived(&mut self, now: Instant, actions: &mut VecDeque<MobileNodeAction>) {
        if let (State::Updating(update), Wish::Deregister { .. }, AtAgent::Until(end)) =
            (&self.state, self.wish, self.at_agent)
            && end <= now
        {
            actions.push_back(MobileNodeAction::Audit(
                "the binding ran out at the home agent before it answered the de-registration".into(),
            ));
            let round_trip = update.waited(now);
            self.unbound(round_trip, actions);
        }
    }

    fn transmit(&mut self, now: Instant, peer: Peer, longest: Duration, actions: &mut VecDeque<MobileNodeAction>) {
        let State::Updating(update) = &mut self.state else { return };
        // RFC 6275 §11.7.1: H and A; K only if the IKE end points can be moved. L stays 0: the home address is of the home
        // link, our link-local address is made anew on each link, so their identifiers differ.
        let mut flags = UpdateFlags::ACKNOWLEDGE.with(UpdateFlags::HOME_REGISTRATION);
        if self.timing.key_mobility {
            flags = flags.with(UpdateFlags::KEY_MOBILITY);
        }
        let (via, lifetime) = match self.wish {
            Wish::Nothing => return,
            // RFC 6275 §11.7.1: never zero, as that would delete.
            Wish::Register(care_of) => {
                (Via::CareOf(care_of), Lifetime::at_most(self.timing.lifetime.min(longest)).max(Lifetime(1)))
            }
            Wish::Deregister { via, .. } => (via, Lifetime::ZERO),
        };
        let options = match via {
            // RFC 6275 §11.7.1, RFC 4877 §4.3: ESP does not protect the address in the IPv6 header, so the option tells it.
            Via::CareOf(care_of) => vec![MobilityOption::AlternateCareOf(care_of)],
            // RFC 4877 §4.3: not needed from home, where the care-of address is the home address.
            Via::Direct => Vec::new(),
        };
        // RFC 6275 §11.8: each transmission has a sequence number of its own.
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let attempt = update.sent(now, sequence, lifetime);
        self.pace.sent(now);
        if !lifetime.is_zero() {
            let end = later(now, lifetime.duration());
            self.at_agent = AtAgent::Until(match self.at_agent {
                AtAgent::Until(earlier) => earlier.max(end),
                AtAgent::Unknown | AtAgent::Nothing => end,
            });
        } else if let AtAgent::Unknown = self.at_agent {
            self.at_agent = AtAgent::Until(later(now, self.timing.lifetime));
        }
        let update = BindingUpdate { sequence, flags, lifetime, options };
        actions.push_back(MobileNodeAction::SendBindingUpdate {
            home_address: peer.home_address,
            home_agent: peer.home_agent,
            via,
            message: MobilityMessage::BindingUpdate(update).write(),
            sequence,
            attempt,
        });
    }

    /// A Binding Acknowledgement that came protected from the home agent (RFC 6275 §11.7.3).
    pub(super) fn acknowledged(
        &mut self,
        now: Instant,
        acknowledgement: &BindingAcknowledgement,
        actions: &mut VecDeque<MobileNodeAction>,
    ) -> Option<Registered> {
        let (State::Updating(update), Security::Standing(peer)) = (&mut self.state, self.security) else {
            actions.push_back(MobileNodeAction::Audit("an acknowledgement that nobody waits for was dropped".into()));
            return None;
        };
        if acknowledgement.status == BindingStatus::SequenceOutOfWindow {
            let last = self.sequence.wrapping_sub(1);
            // It answers an update that has been overtaken by one with a good number.
            if update.has_sent() && !sequence_is_newer(last, acknowledgement.sequence) {
                // RFC 6275 §11.7.3: the next number is the one after that which the home agent saw last.
                self.sequence = acknowledgement.sequence.wrapping_add(1);
                if update.corrected() <= QUICK_CORRECTIONS {
                    update.back_off.reschedule(now);
                }
                actions.push_back(MobileNodeAction::Refused {
                    home_address: peer.home_address,
                    status: acknowledgement.status,
                    retry: true,
                });
            }
            return None;
        }
        // RFC 6275 §11.7.3: the number is that of an outstanding update; each transmission of it counts.
        let Some(answered) = update.find(acknowledgement.sequence) else {
            actions.push_back(MobileNodeAction::Audit(format!(
                "an acknowledgement of the unknown sequence number {} was dropped",
                acknowledgement.sequence
            )));
            return None;
        };
        let round_trip = now.saturating_duration_since(answered.sent);
        match (self.wish, acknowledgement.status) {
            (Wish::Register(care_of), status) if status.is_accepted() => {
                // RFC 6275 §11.7.3: what remains of our own count, less what the home agent cut off. The count began when
                // the update was sent, so the answer's way is taken off too, and we are never later than the home agent.
                let cut = answered.lifetime.duration().saturating_sub(acknowledgement.lifetime.duration());
                let remaining = answered.lifetime.duration().saturating_sub(round_trip).saturating_sub(cut);
                self.registered(now, peer, care_of, acknowledgement, remaining, round_trip, actions)
            }
            // Status 133 answers a de-registration if there is no binding to delete (RFC 6275 §10.3.2).
            (Wish::Deregister { .. }, status) if status.is_accepted() || status == BindingStatus::NotHomeAgent => {
                self.unbound(round_trip, actions);
                None
            }
            (Wish::Nothing | Wish::Register(_) | Wish::Deregister { .. }, status) => {
                self.refused(now, peer, status, actions);
                None
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all of an acknowledgement, once")]
    fn registered(
        &mut self,
        now: Instant,
        peer: Peer,
        care_of: CareOfAddress,
        acknowledgement: &BindingAcknowledgement,
        remaining: Duration,
        round_trip: Duration,
        actions: &mut VecDeque<MobileNodeAction>,
    ) -> Option<Registered> {
        if remaining.is_zero() {
            if let State::Updating(update) = &mut self.state {
                update.back_off.reschedule(later(now, self.timing.max));
            }
            actions.push_back(MobileNodeAction::Audit("the home agent granted a binding of no lifetime".into()));
            return None;
        }
        let prefix_discovery_necessary = acknowledgement.status == BindingStatus::PrefixDiscoveryNecessary;
        // RFC 6275 §11.7.1, §11.7.3: well before the end. The quarter that is left of 420 s holds eight transmissions
        // (0, 1, 3, 7, … 95 s), so the loss of several does not end the binding; earlier would only be more traffic. With
        // status 1 the next one should come after prefix discovery, so that has more time.
        let refresh = if prefix_discovery_necessary { remaining / 8 * 7 } else { remaining / 4 * 3 };
        // RFC 6275 §11.7.3: the home agent may ask for more frequent updates.
        let advice = acknowledgement.refresh_advice().filter(|advice| !advice.is_zero());
        let refresh = advice.map_or(refresh, |advice| refresh.min(advice.duration()));
        self.state = State::Settled { refresh: later(now, refresh) };
        self.at_agent = AtAgent::Until(later(now, acknowledgement.lifetime.duration()));
        // RFC 6275 §11.7.3: K counts only where it was asked for.
        let key_mobility =
            self.timing.key_mobility && acknowledgement.flags.contains(AcknowledgementFlags::KEY_MOBILITY);
        self.binding = Some(Binding {
            home_address: peer.home_address,
            home_agent: peer.home_agent,
            care_of,
            expires: later(now, remaining),
            key_mobility,
        });
        actions.push_back(MobileNodeAction::Bound {
            home_address: peer.home_address,
            care_of,
            lifetime: remaining,
            key_mobility,
            round_trip,
        });
        Some(Registered { prefix_discovery_necessary })
    }

    fn unbound(&mut self, round_trip: Duration, actions: &mut VecDeque<MobileNodeAction>) {
        self.state = State::Idle;
        self.binding = None;
        self.at_agent = AtAgent::Nothing;
        let (Security::Standing(peer), Wish::Deregister { announce, .. }) = (self.security, self.wish) else { return };
        if let Some(interface) = announce {
            // RFC 6275 §11.5.5: the neighbours still know the home agent under our home address.
            actions.push_back(MobileNodeAction::AnnounceHome { interface, home_address: peer.home_address });
        }
        actions.push_back(MobileNodeAction::Unbound { home_address: peer.home_address, round_trip });
    }

    fn refused(&mut self, now: Instant, peer: Peer, status: BindingStatus, actions: &mut VecDeque<MobileNodeAction>) {
        let State::Updating(update) = &mut self.state else { return };
        // RFC 6275 §11.7.3: what time may heal is tried again, slowly; what it will not heal is left alone.
        let retry = !update.is_hurried()
            && matches!(
                status,
                BindingStatus::ReasonUnspecified | BindingStatus::InsufficientResources | BindingStatus::Other(_)
            );
        if retry {
            update.back_off.reschedule(later(now, self.timing.max));
        } else if status == BindingStatus::DuplicateAddressDetectionFailed {
            self.state = State::Barred;
        } else {
            self.state = State::Refused;
        }
        if matches!(status, BindingStatus::DuplicateAddressDetectionFailed | BindingStatus::NotHomeAgent) {
            self.binding = None;
            self.at_agent = AtAgent::Nothing;
        }
        actions.push_back(MobileNodeAction::Refused { home_address: peer.home_address, status, retry });
    }

    pub(super) fn deadline(&self, attached: bool) -> Option<Instant> {
        let end = match (&self.state, self.wish, self.at_agent) {
            (State::Updating(_), Wish::Deregister { .. }, AtAgent::Until(end)) => Some(end),
            _ => None,
        };
        let step = match (&self.state, self.security) {
            (State::Updating(update), Security::Standing(_)) if attached => Some(update.back_off.due()),
            (State::Settled { refresh }, Security::Standing(_)) if attached => Some(*refresh),
            _ => None,
        };
        let expiry = self.binding.as_ref().map(|binding| binding.expires);
        end.into_iter().chain(step).chain(expiry).min()
    }
}
