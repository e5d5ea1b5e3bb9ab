//! Mobile Prefix Solicitations and their answers (RFC 6275 §10.6).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::advertise::prefix_options;
use super::binding_cache::Entry;
use super::home_agent::HomeAgent;
use crate::action::{HomeAgentAction, Via};
use crate::address::HomeAddress;
use crate::wire::{Icmp6Message, MobilePrefixAdvertisement};

/// RFC 6275 §6.8: a mobile node is sent one advertisement in this time at most.
const SPACING: Duration = Duration::from_secs(1);
/// How many mobile nodes are answered within [`SPACING`]; the others ask again after three seconds.
const MOST: usize = 4096;

/// Whom an advertisement was sent to within the last second.
#[derive(Debug, Default)]
pub(super) struct Answered(BTreeMap<HomeAddress, Instant>);

impl Answered {
    /// Whether this one may be answered; if so, it counts as answered.
    fn allows(&mut self, now: Instant, home_address: HomeAddress) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < SPACING;
        if self.0.get(&home_address).is_some_and(is_recent) {
            return false;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, at| is_recent(at));
        }
        let allowed = self.0.len() < MOST;
        if allowed {
            self.0.insert(home_address, now);
        }
        allowed
    }
}

impl HomeAgent {
    /// A Mobile Prefix Solicitation came under ESP.
    pub(super) fn prefix_solicitation(&mut self, now: Instant, source: Ipv6Addr, message: &[u8]) {
        let home_address = HomeAddress(source);
        let solicitation = match Icmp6Message::parse(message) {
            Ok(Icmp6Message::MobilePrefixSolicitation(solicitation)) => solicitation,
            Ok(other) => {
                return self.drop_message(now, format!("ICMPv6 type {} from {source} is no question", other.kind()));
            }
            Err(malformed) => return self.drop_message(now, format!("prefix solicitation from {source}: {malformed}")),
        };
        // RFC 6275 §10.6.3: with a routing header to where the node is, plainly if it is at home.
        let via = match self.cache.get(home_address).and_then(Entry::binding) {
            Some(binding) => Via::CareOf(binding.care_of),
            None if self.config.prefix_of(home_address, now).is_some() => Via::Direct,
            None => {
                return self.drop_message(now, format!("prefix solicitation from {source}, which is not of this home"));
            }
        };
        if !self.answered.allows(now, home_address) {
            return self.drop_message(now, format!("prefix solicitation from {source} too soon after the last"));
        }
        self.stats.prefix_advertisements += 1;
        // RFC 6275 §6.8: the identifier is that of the solicitation; M and O stay clear without DHCPv6.
        let message = Icmp6Message::MobilePrefixAdvertisement(MobilePrefixAdvertisement {
            identifier: solicitation.identifier,
            managed: false,
            other: false,
            // RFC 6275 §10.6.2: the whole list each time.
            options: prefix_options(&self.config, now).collect(),
        })
        .write();
        self.actions.push_back(HomeAgentAction::SendPrefixAdvertisement { home_address, via, message });
    }
}
