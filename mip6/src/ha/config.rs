//! A home agent's settings.

use std::time::{Duration, Instant};

use crate::address::{HomeAddress, HomeAgentAddress, Prefix};
use crate::wire::{BindingStatus, Lifetime};

/// A home agent's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our global addresses on the home link; updates to any other address are dropped.
    pub addresses: Vec<HomeAgentAddress>,
    /// The prefixes of the home link.
    pub prefixes: Vec<HomePrefix>,
    /// The longest lifetime that is granted to a binding.
    pub max_lifetime: Duration,
    /// How many home addresses may be registered at once; one more is refused with status 130.
    pub max_bindings: usize,
    /// MaxRtrAdvInterval, the longest time between two Router Advertisements (at least 70 ms); none: we send none.
    pub advertise: Option<Duration>,
    /// The longest random delay before a Router Solicitation is answered. RFC 4861 §6.2.6 has 500 ms, so that several
    /// routers of a link do not answer at once; zero fits where we are the only one.
    pub solicited_delay: Duration,
    /// Our preference as a home agent: higher wins, 0 is everybody's default (RFC 6275 §7.4).
    pub preference: u16,
    /// Our link-layer address on the home link, for the advertisements. RFC 6275 §7.5 demands it of a home agent.
    pub link_layer: Option<[u8; 6]>,
}

/// A prefix of the home link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomePrefix {
    /// The prefix.
    pub prefix: Prefix,
    /// How long it is valid. No binding outlives it.
    pub valid: PrefixLifetime,
    /// How long new connections may use it; not longer than `valid`.
    pub preferred: PrefixLifetime,
}

/// How long a prefix lasts (RFC 4861 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixLifetime {
    /// For ever.
    Infinite,
    /// For this long from whenever one asks: renewed by each advertisement.
    Fixed(Duration),
    /// Until then: it runs down.
    Until(Instant),
}

impl Config {
    /// One address and one prefix, with the defaults of RFC 4861 §6.2.1 and RFC 6275: prefix valid for 30 days and
    /// preferred for 7, bindings of at most an hour, no advertisements.
    pub fn new(address: HomeAgentAddress, prefix: Prefix) -> Self {
        Self {
            addresses: vec![address],
            prefixes: vec![HomePrefix {
                prefix,
                valid: PrefixLifetime::Fixed(Duration::from_secs(2_592_000)),
                preferred: PrefixLifetime::Fixed(Duration::from_secs(604_800)),
            }],
            max_lifetime: Duration::from_secs(3600),
            max_bindings: 100_000,
            advertise: None,
            solicited_delay: Duration::from_millis(500),
            preference: 0,
            link_layer: None,
        }
    }

    /// The prefix a home address is in, if it is valid for one unit of lifetime at least.
    pub(super) fn prefix_of(&self, home_address: HomeAddress, now: Instant) -> Option<&HomePrefix> {
        self.prefixes
            .iter()
            .find(|home| home.prefix.contains(home_address.0) && !home.valid.units(now).is_some_and(Lifetime::is_zero))
    }

    /// What of a requested lifetime is granted now, and the status that goes with it; `None` outside the home prefixes.
    pub(super) fn grant(
        &self,
        home_address: HomeAddress,
        requested: Lifetime,
        now: Instant,
    ) -> Option<(Lifetime, BindingStatus)> {
        let prefix = self.prefix_of(home_address, now)?;
        // RFC 6275 §10.3.1: never longer than asked for, than the prefix is valid, or than local policy wants it. A
        // policy below one unit would be a deletion: one unit it is.
        let policy = Lifetime::at_most(self.max_lifetime).max(Lifetime(1));
        let valid = prefix.valid.units(now);
        let granted = requested.min(policy).min(valid.unwrap_or(Lifetime::MAX));
        // RFC 6275 §10.3.1: status 1 if the prefix is deprecated, will be before the binding ends, or ends with it.
        // Lifetimes of prefixes are compared without their two low bits. The preferred lifetime limits nothing.
        let deprecated = prefix.preferred.units(now).is_some_and(|preferred| preferred < granted);
        let ends = valid.is_some_and(|valid| valid <= granted);
        let status = if deprecated || ends { BindingStatus::PrefixDiscoveryNecessary } else { BindingStatus::Accepted };
        Some((granted, status))
    }
}

impl PrefixLifetime {
    /// How much of it is left; `None`: no end.
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        match self {
            Self::Infinite => None,
            Self::Fixed(duration) => Some(duration),
            Self::Until(end) => Some(end.saturating_duration_since(now)),
        }
    }

    /// In seconds as Prefix Information options have it: all ones for ever.
    pub(super) fn seconds(self, now: Instant) -> u32 {
        self.remaining(now).map_or(u32::MAX, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX - 1))
    }

    /// In units of a binding's lifetime; `None` if that is longer than any binding.
    fn units(self, now: Instant) -> Option<Lifetime> {
        self.remaining(now).filter(|left| *left <= Lifetime::MAX.duration()).map(Lifetime::at_most)
    }
}
