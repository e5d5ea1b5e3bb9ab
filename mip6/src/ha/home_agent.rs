//! The engine: one mouth, one exit.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::advertise::Advertiser;
use super::binding_cache::{Binding, BindingCache, Entry};
use super::config::Config;
use super::judge::{Received, Verdict, judge};
use super::prefix_discovery::Answered;
use super::stats::Stats;
use crate::action::{Authority, HomeAgentAction, HomeAgentInput};
use crate::address::{CareOfAddress, HomeAddress};
use crate::binding_errors::BindingErrors;
use crate::entropy::Entropy;
use crate::limit::Limit;
use crate::wire::MobilityMessage;

/// A home agent (RFC 6275 §10).
///
/// Hand it each event by [`handle`](Self::handle), [`HomeAgentInput::Timeout`] once at the start, and whenever
/// [`deadline`](Self::deadline) has come; after each, carry out what [`poll`](Self::poll) returns until it returns none.
#[derive(Debug)]
pub struct HomeAgent {
    pub(super) config: Config,
    pub(super) cache: BindingCache,
    pub(super) advertiser: Advertiser,
    pub(super) answered: Answered,
    pub(super) entropy: Entropy,
    pub(super) actions: VecDeque<HomeAgentAction>,
    pub(super) stats: Stats,
    errors: BindingErrors,
    /// How many sentences about dropped messages may be said, and how many were not.
    told: Limit,
    untold: u64,
    stopped: bool,
}

impl HomeAgent {
    /// A home agent with an empty binding cache. `entropy` is random; it makes the times of advertisements.
    pub fn new(config: Config, entropy: [u8; 32]) -> Self {
        Self {
            config,
            cache: BindingCache::default(),
            advertiser: Advertiser::new(),
            answered: Answered::default(),
            entropy: Entropy::new(entropy),
            actions: VecDeque::new(),
            stats: Stats::default(),
            errors: BindingErrors::new(),
            told: Limit::new(Duration::from_millis(100), 50),
            untold: 0,
            stopped: false,
        }
    }

    /// Takes one event in. After [`HomeAgentInput::Stop`] nothing has an effect any more.
    pub fn handle(&mut self, now: Instant, input: HomeAgentInput) {
        if self.stopped {
            return;
        }
        // What is over is over before anything new is looked at.
        self.timers(now);
        match input {
            HomeAgentInput::Timeout => (),
            HomeAgentInput::MobilityMessage { source, care_of, destination, authority, message } => {
                self.mobility_message(now, source, care_of, destination, authority, &message);
            }
            HomeAgentInput::BindDone { home_address, done } => self.bind_done(now, home_address, done),
            HomeAgentInput::Duplicate { address } => self.duplicate(address),
            HomeAgentInput::RouterSolicitation { source } => self.router_solicitation(now, source),
            HomeAgentInput::PrefixSolicitation { source, message } => self.prefix_solicitation(now, source, &message),
            HomeAgentInput::Withdraw(home_address) => self.withdraw(home_address),
            HomeAgentInput::Stop => return self.stop(now),
        }
        self.timers(now);
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<HomeAgentAction> {
        self.actions.pop_front()
    }

    /// When [`HomeAgentInput::Timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        self.cache.deadline().into_iter().chain(self.advertiser.deadline()).min()
    }

    /// The bindings that stand, by home address. One that the kernel is moving is shown as it was, and does not expire
    /// before the kernel has answered.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.cache.entries().filter_map(|(_, entry)| entry.binding())
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn audit(&mut self, sentence: String) {
        self.actions.push_back(HomeAgentAction::Audit(sentence));
    }

    /// Anybody can send what is dropped: of many messages at once only some are told.
    pub(super) fn drop_message(&mut self, now: Instant, sentence: String) {
        self.stats.dropped += 1;
        if !self.told.allows(now) {
            self.untold += 1;
            return;
        }
        match std::mem::take(&mut self.untold) {
            0 => self.audit(sentence),
            untold => self.audit(format!("{sentence}; {untold} before it were dropped without a word")),
        }
    }

    fn timers(&mut self, now: Instant) {
        while let Some(home_address) = self.cache.due(now) {
            self.entry_due(now, home_address);
        }
        self.advertise_due(now);
    }

    fn mobility_message(
        &mut self,
        now: Instant,
        source: Ipv6Addr,
        care_of: Option<CareOfAddress>,
        destination: Ipv6Addr,
        authority: Authority,
        message: &[u8],
    ) {
        match MobilityMessage::parse(message) {
            Ok(MobilityMessage::BindingUpdate(update)) => {
                self.stats.updates += 1;
                let received = Received { source, care_of, destination, authority, update: &update };
                match judge(&self.config, &self.cache, now, &received) {
                    Verdict::Drop(reason) => {
                        let from = care_of.map_or(String::new(), |care_of| format!(" at {care_of}"));
                        self.drop_message(now, format!("{source}{from}: {reason}"));
                    }
                    Verdict::Refuse(refusal) => self.refuse(refusal),
                    Verdict::Carry(update) => self.carry(now, update),
                }
            }
            Ok(MobilityMessage::Other(other)) => self.unknown_type(now, source, care_of, other.kind),
            Ok(
                other @ (MobilityMessage::BindingRefreshRequest(_)
                | MobilityMessage::HomeTestInit(_)
                | MobilityMessage::CareOfTestInit(_)
                | MobilityMessage::HomeTest(_)
                | MobilityMessage::CareOfTest(_)
                | MobilityMessage::BindingAcknowledgement(_)
                | MobilityMessage::BindingError(_)),
            ) => self.drop_message(now, format!("mobility header type {} from {source} is not for us", other.kind())),
            // RFC 6275 §9.2: dropped; the ICMPv6 errors that go with it are the kernel's.
            Err(malformed) => self.drop_message(now, format!("mobility message from {source}: {malformed}")),
        }
    }

    /// RFC 6275 §9.2: an unknown type is answered by a Binding Error.
    fn unknown_type(&mut self, now: Instant, source: Ipv6Addr, care_of: Option<CareOfAddress>, kind: u8) {
        self.drop_message(now, format!("mobility header type {kind} from {source} is unknown"));
        // RFC 6275 §9.3.3: to the address in the IPv6 header; the home address only if an option told it.
        let (destination, home_address) = match care_of {
            Some(care_of) => (care_of.0, Some(HomeAddress(source))),
            None => (source, None),
        };
        if let Some(message) = self.errors.unknown_type(now, destination, home_address) {
            self.stats.binding_errors += 1;
            self.actions.push_back(HomeAgentAction::SendBindingError { destination, message });
        }
    }

    fn stop(&mut self, now: Instant) {
        let all: Vec<HomeAddress> = self
            .cache
            .entries()
            .filter(|(_, entry)| !matches!(entry, Entry::Deleted { .. }))
            .map(|(home_address, _)| home_address)
            .collect();
        for home_address in all {
            self.withdraw(home_address);
        }
        self.advertise_end(now);
        self.stopped = true;
    }
}
