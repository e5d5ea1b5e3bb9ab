//! One router on a link, and the prefixes it announces.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::time::{Until, later};
use crate::address::Prefix;
use crate::wire::{PrefixInformation, RouterAdvertisement, is_unicast_routable};

/// Prefixes remembered of one router. It may be anyone.
const MAX_PREFIXES: usize = 16;

/// RFC 4862 §5.5.3: an unprotected advertisement does not shorten an address's life below this.
const TWO_HOURS: Duration = Duration::from_secs(2 * 3600);

/// RFC 4861 §6.2.1: MaxRtrAdvInterval is at most this, so a router that is no default router is heard within it.
const MAX_ADVERTISEMENT_INTERVAL: Duration = Duration::from_secs(1800);

/// So many advertisements may be lost in a row before the router is doubted.
const MISSED_ADVERTISEMENTS: u32 = 2;

/// RFC 4191 §2.1: what a router says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RouterPreference {
    Low,
    Medium,
    High,
}

/// What is known of a router.
#[derive(Debug)]
pub(super) struct RouterEntry {
    link_layer: Option<[u8; 6]>,
    heard: Instant,
    /// RFC 6275 §7.3: the longest time between two of its advertisements.
    interval: Option<Duration>,
    preference: RouterPreference,
    /// Until then it is a default router, if it is one.
    default_until: Option<Instant>,
    /// Then it is forgotten.
    forget: Instant,
    prefixes: BTreeMap<Prefix, PrefixEntry>,
}

#[derive(Debug)]
struct PrefixEntry {
    /// RFC 4861 §6.3.4: addresses of the prefix are on the link.
    on_link: Option<Until>,
    /// RFC 4862 §5.5.3: an address may be formed from it.
    autonomous: Option<Autonomous>,
}

#[derive(Clone, Copy, Debug)]
struct Autonomous {
    valid: Until,
    preferred: Until,
}

impl RouterEntry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            link_layer: None,
            heard: now,
            interval: None,
            preference: RouterPreference::Medium,
            default_until: None,
            forget: now,
            prefixes: BTreeMap::new(),
        }
    }

    /// Takes in an advertisement.
    pub(super) fn advertised(&mut self, now: Instant, home_prefix: Prefix, advertisement: &RouterAdvertisement) {
        self.heard = now;
        // RFC 4861 §6.3.4: what an advertisement leaves out stays as it was.
        self.link_layer = advertisement.link_layer().or(self.link_layer);
        self.interval = advertisement.interval().map(|interval| Duration::from_millis(interval.into()));
        self.preference = match (advertisement.flags.0 >> 3) & 3 {
            1 => RouterPreference::High,
            3 => RouterPreference::Low,
            // RFC 4191 §2.2: the reserved value counts as medium.
            _ => RouterPreference::Medium,
        };
        let lifetime = Duration::from_secs(advertisement.router_lifetime.into());
        // RFC 4861 §6.3.4: with lifetime zero it is no default router any more.
        self.default_until = Some(later(now, lifetime)).filter(|_| !lifetime.is_zero());
        self.forget = self.default_until.unwrap_or_else(|| later(now, MAX_ADVERTISEMENT_INTERVAL));
        for prefix in advertisement.prefixes() {
            self.announced(now, home_prefix, prefix);
        }
    }

    fn announced(&mut self, now: Instant, home_prefix: Prefix, information: &PrefixInformation) {
        let prefix = information.prefix();
        // RFC 4861 §6.3.4, RFC 4862 §5.5.3: the link-local prefix is not announced; nor is one of multicast or loopback.
        // A preferred lifetime above the valid one is a mistake.
        if !is_unicast_routable(prefix.with_identifier(1)) || information.preferred > information.valid {
            return;
        }
        if self.prefixes.len() >= MAX_PREFIXES && !self.prefixes.contains_key(&prefix) {
            return;
        }
        let (valid, preferred) = (Until::after(now, information.valid), Until::after(now, information.preferred));
        let entry = self.prefixes.entry(prefix).or_insert(PrefixEntry { on_link: None, autonomous: None });
        if information.on_link {
            entry.on_link = Some(valid);
        }
        // RFC 4862 §5.5.3: prefix and interface identifier make up an address, so 64 bits. An address of the home prefix
        // is no care-of address.
        let is_foreign = !home_prefix.contains(prefix.address()) && !prefix.contains(home_prefix.address());
        if information.autonomous && prefix.length() == 64 && is_foreign {
            entry.autonomous = match entry.autonomous {
                None => Some(Autonomous { valid, preferred }),
                Some(old) => Some(Autonomous { valid: prolonged(now, old.valid, valid), preferred }),
            };
        }
        entry.expire(now);
        if entry.is_void() {
            self.prefixes.remove(&prefix);
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.prefixes.retain(|_, entry| {
            entry.expire(now);
            !entry.is_void()
        });
    }

    /// Whether it can be used: as a default router with something to form an address from, or as a router at home.
    pub(super) fn is_useful(&self, now: Instant, home_prefix: Prefix) -> bool {
        self.forget > now && (self.default_until.is_some() || self.has_on_link(now, home_prefix))
    }

    /// Whether the prefix is on the link.
    pub(super) fn has_on_link(&self, now: Instant, prefix: Prefix) -> bool {
        let on_link = self.prefixes.get(&prefix).and_then(|entry| entry.on_link);
        on_link.is_some_and(|until| !until.is_past(now))
    }

    /// Whether it announces the prefix.
    pub(super) fn has(&self, prefix: Prefix) -> bool {
        self.prefixes.contains_key(&prefix)
    }

    /// The prefixes to form new care-of addresses from. RFC 6275 §11.5.4: they are those of a default router.
    pub(super) fn preferred(&self, now: Instant) -> impl Iterator<Item = Prefix> {
        let is_default = self.default_until.is_some_and(|until| until > now);
        let is_preferred =
            move |entry: &PrefixEntry| entry.autonomous.is_some_and(|times| !times.preferred.is_past(now));
        let prefixes = self.prefixes.iter().filter(move |(_, entry)| is_default && is_preferred(entry));
        prefixes.map(|(prefix, _)| *prefix)
    }

    /// How long an address of the prefix stays valid, if the router still routes for it.
    pub(super) fn valid(&self, now: Instant, prefix: Prefix) -> Option<Until> {
        let valid = self.prefixes.get(&prefix)?.autonomous?.valid;
        let is_default = self.default_until.is_some_and(|until| until > now);
        (is_default && !valid.is_past(now)).then_some(valid)
    }

    /// When its next advertisements are overdue, if it told how often they come (RFC 6275 §7.3).
    pub(super) fn silent_at(&self) -> Option<Instant> {
        // An interval below the least that RFC 6275 §7.5 allows would only make us solicit.
        let interval = self.interval?.max(Duration::from_millis(30));
        Some(later(self.heard, interval.saturating_mul(MISSED_ADVERTISEMENTS)))
    }

    pub(super) fn link_layer(&self) -> Option<[u8; 6]> {
        self.link_layer
    }

    pub(super) fn preference(&self) -> RouterPreference {
        self.preference
    }

    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// The next end, after `now`: the end of a preferred lifetime changes what is chosen, but leaves nothing to be done.
    pub(super) fn deadline(&self, now: Option<Instant>) -> Option<Instant> {
        let ends = self.prefixes.values().flat_map(|entry| {
            let autonomous = entry.autonomous.map(|times| [times.valid, times.preferred]).into_iter().flatten();
            entry.on_link.into_iter().chain(autonomous).filter_map(Until::instant)
        });
        ends.chain([self.forget]).filter(|end| now.is_none_or(|now| *end > now)).min()
    }
}

impl PrefixEntry {
    fn expire(&mut self, now: Instant) {
        self.on_link = self.on_link.filter(|until| !until.is_past(now));
        self.autonomous = self.autonomous.filter(|times| !times.valid.is_past(now));
    }

    fn is_void(&self) -> bool {
        self.on_link.is_none() && self.autonomous.is_none()
    }
}

/// RFC 4862 §5.5.3 (e): a shorter life is taken over only down to two hours, as anyone can announce one.
fn prolonged(now: Instant, old: Until, announced: Until) -> Until {
    let two_hours = Until::At(later(now, TWO_HOURS));
    if announced > two_hours || announced > old {
        announced
    } else if old <= two_hours {
        old
    } else {
        two_hours
    }
}
