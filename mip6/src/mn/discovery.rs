//! Mobile prefix discovery: how long the home address stays valid (RFC 6275 §11.4.2, §11.4.3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::registration::Peer;
use super::time::{BackOff, Until, later};
use crate::action::MobileNodeAction;
use crate::entropy::Entropy;
use crate::wire::{
    Icmp6Message, MobilePrefixAdvertisement, MobilePrefixSolicitation, PrefixInformation, is_unicast_routable,
};

/// RFC 6275 §12: INITIAL_SOLICIT_TIMER.
const INITIAL_SOLICIT_TIMER: Duration = Duration::from_secs(3);

/// RFC 6275 §11.8: the interval grows up to MAX_BINDACK_TIMEOUT; there a node may give up. Many home agents do not know
/// prefix discovery, so it does, until the next registration.
const MAX_TIMEOUT: Duration = Duration::from_secs(32);
const MAX_SOLICITATIONS: u32 = 5;

/// Prefixes taken from one advertisement: more than any home link has.
const MAX_PREFIXES: usize = 16;

/// What is known of the home prefix.
#[derive(Debug)]
pub(super) struct Discovery {
    entropy: Entropy,
    state: State,
    valid: Until,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked yet, or nobody answered.
    Unasked,
    Soliciting {
        identifier: u16,
        back_off: BackOff,
        sent: u32,
    },
    Informed {
        at: Instant,
        renew: Until,
    },
}

impl Discovery {
    pub(super) fn new(entropy: Entropy) -> Self {
        Self { entropy, state: State::Unasked, valid: Until::Forever }
    }

    /// Another home address: nothing is known of its prefix.
    pub(super) fn reset(&mut self) {
        self.state = State::Unasked;
        self.valid = Until::Forever;
    }

    /// How long the home address stays valid, as far as is known.
    pub(super) fn remaining(&self, now: Instant) -> Duration {
        self.valid.remaining(now)
    }

    /// A registration was accepted. `necessary`: the home agent says that prefixes have changed (status 1).
    pub(super) fn registered(&mut self, now: Instant, necessary: bool) {
        match self.state {
            State::Unasked => self.ask(now),
            State::Informed { .. } if necessary => self.ask(now),
            State::Soliciting { .. } | State::Informed { .. } => (),
        }
    }

    fn ask(&mut self, now: Instant) {
        // RFC 6275 §11.4.2: nobody who cannot read the solicitation can guess the identifier.
        let identifier = u16::from_be_bytes(self.entropy.octets());
        let back_off = BackOff::new(now, INITIAL_SOLICIT_TIMER, MAX_TIMEOUT);
        self.state = State::Soliciting { identifier, back_off, sent: 0 };
    }

    /// Sends what is due, if it can be sent.
    pub(super) fn drive(&mut self, now: Instant, peer: Peer, actions: &mut VecDeque<MobileNodeAction>) {
        if let State::Informed { renew, .. } = self.state
            && renew.is_past(now)
        {
            self.ask(now);
        }
        let State::Soliciting { identifier, back_off, sent } = &mut self.state else { return };
        if !back_off.is_due(now) {
            return;
        }
        if *sent >= MAX_SOLICITATIONS {
            actions.push_back(MobileNodeAction::Audit("the home agent does not answer prefix solicitations".into()));
            self.state = State::Unasked;
            return;
        }
        *sent += 1;
        back_off.sent(now);
        let solicitation = MobilePrefixSolicitation { identifier: *identifier, options: Vec::new() };
        actions.push_back(MobileNodeAction::SendPrefixSolicitation {
            home_address: peer.home_address,
            home_agent: peer.home_agent,
            message: Icmp6Message::MobilePrefixSolicitation(solicitation).write(),
        });
    }

    /// An advertisement that came protected from the home agent.
    ///
    /// # Errors
    /// Why it is not used.
    pub(super) fn advertised(
        &mut self,
        now: Instant,
        peer: Peer,
        advertisement: &MobilePrefixAdvertisement,
        actions: &mut VecDeque<MobileNodeAction>,
    ) -> Result<(), &'static str> {
        match self.state {
            State::Soliciting { identifier, sent: 1.., .. } if identifier == advertisement.identifier => (),
            // RFC 6275 §11.4.3: what was not asked for is discarded, but it may mean that something has changed. Not more
            // often than a solicitation would be repeated.
            State::Informed { at, .. } if later(at, INITIAL_SOLICIT_TIMER) <= now => {
                self.ask(now);
                return Err("nobody asked for it; asked now");
            }
            State::Unasked | State::Soliciting { .. } | State::Informed { .. } => return Err("nobody asked for it"),
        }
        // RFC 6275 §11.4.3: prefixes are taken as from a router on the home link (RFC 4862 §5.5.3).
        let is_good = |prefix: &&PrefixInformation| {
            prefix.preferred <= prefix.valid && is_unicast_routable(prefix.prefix().with_identifier(1))
        };
        let prefixes: Vec<_> = advertisement.prefixes().filter(is_good).take(MAX_PREFIXES).collect();
        if prefixes.is_empty() {
            return Err("it tells of no prefix");
        }
        let mut renew = Until::Forever;
        for information in prefixes {
            let prefix = information.prefix();
            let (valid, preferred) = (Until::after(now, information.valid), Until::after(now, information.preferred));
            if prefix.contains(peer.home_address.0) {
                self.valid = valid;
                renew = next(now, valid, preferred);
            }
            let (valid, preferred) = (valid.remaining(now), preferred.remaining(now));
            actions.push_back(MobileNodeAction::HomePrefix { prefix, valid, preferred });
        }
        self.state = State::Informed { at: now, renew };
        Ok(())
    }

    /// `None` if nothing is to be sent, or nothing may be.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Unasked => None,
            State::Soliciting { back_off, .. } => Some(back_off.due()),
            State::Informed { renew, .. } => renew.instant(),
        }
    }
}

/// RFC 6275 §11.4.2: before the address is deprecated, or else before it becomes invalid, and never in a hurry.
fn next(now: Instant, valid: Until, preferred: Until) -> Until {
    let end = if preferred.is_past(now) { valid } else { preferred };
    match end {
        Until::Forever => Until::Forever,
        Until::At(_) => Until::At(later(now, (end.remaining(now) / 4 * 3).max(MAX_TIMEOUT))),
    }
}
