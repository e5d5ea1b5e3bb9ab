//! Router Advertisements on the home link (RFC 4861 §6.2, RFC 6275 §7).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::config::{Config, HomePrefix};
use super::home_agent::HomeAgent;
use crate::action::HomeAgentAction;
use crate::entropy::Entropy;
use crate::limit::Limit;
use crate::wire::{Icmp6Message, NeighbourOption, PrefixInformation, RouterAdvertisement, RouterFlags};

/// ff02::1.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 6275 §7.5: the shortest allowed MaxRtrAdvInterval and MinRtrAdvInterval.
const SHORTEST_MAX: Duration = Duration::from_millis(70);
const SHORTEST_MIN: Duration = Duration::from_millis(30);
/// RFC 4861 §10: MIN_DELAY_BETWEEN_RAS, and what RFC 6275 §7.5 allows where advertisements are frequent.
const MIN_DELAY: Duration = Duration::from_secs(3);
/// RFC 4861 §10: MAX_INITIAL_RTR_ADVERTISEMENTS, each at most MAX_INITIAL_RTR_ADVERT_INTERVAL after the last.
const INITIAL: u8 = 3;
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// How many single answers may wait; whoever asks beyond is answered together with all nodes.
const WAITING: usize = 16;

/// When what is to be advertised.
#[derive(Debug)]
pub(super) struct Advertiser {
    /// When all nodes are told next; none before the first input.
    next: Option<Instant>,
    /// When all nodes were told last.
    last: Option<Instant>,
    initial: u8,
    /// Who asked and when it is answered; at most [`WAITING`].
    waiting: BTreeMap<Ipv6Addr, Instant>,
    limit: Limit,
}

impl Advertiser {
    pub(super) fn new() -> Self {
        Self {
            next: None,
            last: None,
            initial: INITIAL,
            waiting: BTreeMap::new(),
            limit: Limit::new(Duration::from_millis(50), 20),
        }
    }

    /// When the next advertisement is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.waiting.values().copied()).min()
    }

    /// RFC 4861 §6.2.4: after a time between the shortest and the longest interval; sooner for the first few.
    fn told(&mut self, now: Instant, longest: Duration, entropy: &mut Entropy) {
        let mut interval = entropy.between(shortest_interval(longest), longest);
        if self.initial > 0 {
            self.initial -= 1;
            interval = interval.min(INITIAL_INTERVAL);
        }
        self.last = Some(now);
        self.next = Some(now + interval);
        self.waiting.clear();
    }

    fn solicited(&mut self, now: Instant, source: Ipv6Addr, delay: Duration, longest: Duration) {
        let at = now + delay;
        if !source.is_unspecified() && !source.is_multicast() && self.waiting.len() < WAITING {
            // A second question while the answer is on its way changes nothing.
            self.waiting.entry(source).or_insert(at);
            return;
        }
        // RFC 4861 §6.2.6: all nodes are not told more often than this.
        let spacing = MIN_DELAY.min(shortest_interval(longest));
        let earliest = self.last.map_or(at, |last| at.max(last + spacing));
        self.next = Some(self.next.map_or(earliest, |next| next.min(earliest)));
    }
}

impl HomeAgent {
    /// A Router Solicitation came.
    pub(super) fn router_solicitation(&mut self, now: Instant, source: Ipv6Addr) {
        let Some(longest) = longest_interval(&self.config) else { return };
        // Solicitations are not authenticated: what they make us send is bounded.
        if self.advertiser.limit.allows(now) {
            let delay = self.entropy.between(Duration::ZERO, self.config.solicited_delay);
            self.advertiser.solicited(now, source, delay, longest);
        }
    }

    /// Sends what is due.
    pub(super) fn advertise_due(&mut self, now: Instant) {
        let Some(longest) = longest_interval(&self.config) else { return };
        if self.advertiser.next.is_none_or(|next| next <= now) {
            self.advertiser.told(now, longest, &mut self.entropy);
            self.advertise(now, ALL_NODES);
        }
        let due: Vec<Ipv6Addr> =
            self.advertiser.waiting.iter().filter(|(_, at)| **at <= now).map(|(source, _)| *source).collect();
        for source in due {
            self.advertiser.waiting.remove(&source);
            self.advertise(now, source);
        }
    }

    /// RFC 4861 §6.2.5: who stops says so. H is cleared too, which takes us from others' lists (RFC 6275 §10.5.1).
    pub(super) fn advertise_end(&mut self, now: Instant) {
        if let Some(longest) = longest_interval(&self.config) {
            let mut advertisement = advertisement(&self.config, now, longest);
            advertisement.router_lifetime = 0;
            advertisement.flags = RouterFlags::NONE;
            // RFC 6275 §7.4: never without H.
            advertisement.options.retain(|option| !matches!(option, NeighbourOption::HomeAgentInformation { .. }));
            self.send_advertisement(ALL_NODES, advertisement);
        }
    }

    fn advertise(&mut self, now: Instant, destination: Ipv6Addr) {
        if let Some(longest) = longest_interval(&self.config) {
            let advertisement = advertisement(&self.config, now, longest);
            self.send_advertisement(destination, advertisement);
        }
    }

    fn send_advertisement(&mut self, destination: Ipv6Addr, advertisement: RouterAdvertisement) {
        self.stats.router_advertisements += 1;
        let message = Icmp6Message::RouterAdvertisement(advertisement).write();
        self.actions.push_back(HomeAgentAction::SendRouterAdvertisement { destination, message });
    }
}

/// The home prefixes as options; the first address of ours in each stands for it with R (RFC 6275 §7.2).
pub(super) fn prefix_options(config: &Config, now: Instant) -> impl Iterator<Item = NeighbourOption> {
    config.prefixes.iter().map(move |HomePrefix { prefix, valid, preferred }| {
        let router = config.addresses.iter().find(|own| prefix.contains(own.0));
        let valid = valid.seconds(now);
        NeighbourOption::Prefix(PrefixInformation {
            address: router.map_or(prefix.address(), |own| own.0),
            length: prefix.length(),
            on_link: true,
            autonomous: true,
            router_address: router.is_some(),
            valid,
            preferred: preferred.seconds(now).min(valid),
        })
    })
}

fn advertisement(config: &Config, now: Instant, longest: Duration) -> RouterAdvertisement {
    // RFC 4861 §6.2.1: three intervals, as a rule, and at most 9000 s; RFC 6275 §7.5: at least one second.
    let router_lifetime = u16::try_from((longest * 3).as_secs().clamp(1, 9000)).unwrap_or(9000);
    // RFC 6275 §7.5: home agents always tell their link-layer address.
    let link_layer = config.link_layer.map(NeighbourOption::SourceLinkLayer);
    // RFC 6275 §7.5: below 200 ms, 20 ms are added for the sake of slow clocks.
    let grace = if longest < Duration::from_millis(200) { Duration::from_millis(20) } else { Duration::ZERO };
    let interval = u32::try_from((longest + grace).as_millis()).unwrap_or(u32::MAX);
    // RFC 6275 §7.4: not sent where it would only say the defaults; its lifetime is never zero.
    let information = (config.preference != 0)
        .then_some(NeighbourOption::HomeAgentInformation { preference: config.preference, lifetime: router_lifetime });
    RouterAdvertisement {
        hop_limit: 64,
        // RFC 6275 §10.4.4: M and O stay clear without DHCPv6.
        flags: RouterFlags::HOME_AGENT,
        router_lifetime,
        reachable_time: 0,
        retrans_timer: 0,
        options: link_layer
            .into_iter()
            .chain(prefix_options(config, now))
            .chain([NeighbourOption::AdvertisementInterval(interval)])
            .chain(information)
            .collect(),
    }
}

fn longest_interval(config: &Config) -> Option<Duration> {
    // RFC 4861 §6.2.1: at most 1800 s.
    config.advertise.map(|longest| longest.clamp(SHORTEST_MAX, Duration::from_secs(1800)))
}

/// RFC 4861 §6.2.1: a third of the longest interval, three quarters of a short one.
fn shortest_interval(longest: Duration) -> Duration {
    let shortest = if longest >= Duration::from_secs(9) { longest * 33 / 100 } else { longest * 3 / 4 };
    shortest.max(SHORTEST_MIN)
}
