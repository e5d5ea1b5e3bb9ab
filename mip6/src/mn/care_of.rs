//! The care-of addresses that the kernel holds for us.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::identifier::Identifiers;
use super::time::{Until, later};
use crate::action::{CareOf, Interface, MobileNodeAction};
use crate::address::{CareOfAddress, Prefix};

/// RFC 7217 §6: IDGEN_RETRIES, so many addresses are tried on one prefix.
const IDGEN_RETRIES: u8 = 3;

/// Old addresses that are kept at once: a stranger's advertisements may make us move, but not make us pile up addresses.
const MAX_LINGERING: usize = 4;

/// Prefixes whose collisions are remembered; the bound is for the same reason.
const MAX_COLLISIONS: usize = 64;

/// All care-of addresses, and what is known about collisions.
#[derive(Debug)]
pub(super) struct CareOfAddresses {
    identifiers: Identifiers,
    held: Vec<Held>,
    collisions: BTreeMap<(Interface, Prefix), Collisions>,
}

#[derive(Debug)]
struct Held {
    care_of: CareOf,
    /// The attachment of its interface on which it was last seen to be good.
    attachment: u64,
    valid: Until,
    stay: Stay,
}

#[derive(Clone, Copy, Debug)]
enum Stay {
    /// RFC 6275 §11.5.4: the one that is registered, or is to be.
    Primary,
    /// An old one that is still received on.
    Lingering { until: Instant },
}

#[derive(Clone, Copy, Debug, Default)]
struct Collisions {
    /// RFC 7217 §5: the DAD_Counter; it stays, so that the address stays.
    counter: u8,
    /// In the present attachment.
    tries: u8,
}

impl CareOfAddresses {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Self { identifiers: Identifiers::new(seed), held: Vec::new(), collisions: BTreeMap::new() }
    }

    /// The address that is ours on this prefix.
    pub(super) fn address(&self, interface: Interface, prefix: Prefix) -> CareOfAddress {
        let counter = self.collisions.get(&(interface, prefix)).map_or(0, |collisions| collisions.counter);
        self.identifiers.address(interface, prefix, counter)
    }

    /// Whether no further address is to be tried on this prefix.
    pub(super) fn is_spent(&self, interface: Interface, prefix: Prefix) -> bool {
        self.collisions.get(&(interface, prefix)).is_some_and(|collisions| collisions.tries >= IDGEN_RETRIES)
    }

    /// Whether the address is there and valid.
    pub(super) fn is_usable(&self, now: Instant, care_of: &CareOf) -> bool {
        self.find(care_of).is_some_and(|held| !held.valid.is_past(now))
    }

    /// How long the address stays valid.
    pub(super) fn remaining(&self, now: Instant, care_of: &CareOf) -> Duration {
        self.find(care_of).map_or(Duration::ZERO, |held| held.valid.remaining(now))
    }

    /// The attachment on which the address was last seen to be good.
    pub(super) fn attachment(&self, care_of: &CareOf) -> Option<u64> {
        self.find(care_of).map(|held| held.attachment)
    }

    /// The address becomes the primary one; it is added if it is not there.
    pub(super) fn take(
        &mut self,
        care_of: CareOf,
        valid: Until,
        attachment: u64,
        actions: &mut VecDeque<MobileNodeAction>,
    ) {
        if let Some(held) = self.find_mut(&care_of) {
            *held = Held { care_of, attachment, valid, stay: Stay::Primary };
            return;
        }
        self.held.push(Held { care_of, attachment, valid, stay: Stay::Primary });
        actions.push_back(MobileNodeAction::AddCareOf(care_of));
        // RFC 4429 §3.1, RFC 6275 §11.5.3: the address is used while it is probed; a mobile node does not wait a second.
        actions
            .push_back(MobileNodeAction::ProbeDuplicate { interface: care_of.interface, address: care_of.address.0 });
    }

    /// An advertisement told how long the address stays valid.
    pub(super) fn refresh(&mut self, care_of: &CareOf, valid: Until, attachment: u64) {
        if let Some(held) = self.find_mut(care_of) {
            held.valid = valid;
            held.attachment = attachment;
        }
    }

    /// The address is no longer the primary one and goes after a while (at the next [`Self::sweep`] if that is nothing).
    pub(super) fn release(&mut self, now: Instant, care_of: &CareOf, linger: Duration) {
        if let Some(held) = self.find_mut(care_of) {
            held.stay = Stay::Lingering { until: later(now, linger) };
        }
        let lingering = self.held.iter().filter(|held| matches!(held.stay, Stay::Lingering { .. })).count();
        let surplus = lingering.saturating_sub(MAX_LINGERING);
        let old = self.held.iter_mut().filter(|held| matches!(held.stay, Stay::Lingering { .. }));
        for held in old.take(surplus) {
            held.stay = Stay::Lingering { until: now };
        }
    }

    /// RFC 6275 §11.5.4: old addresses of a link that cannot be reached are of no use. The primary one waits for what comes.
    pub(super) fn link_down(&mut self, now: Instant, interface: Interface) {
        for held in self.held.iter_mut().filter(|held| held.care_of.interface == interface) {
            if matches!(held.stay, Stay::Lingering { .. }) {
                held.stay = Stay::Lingering { until: now };
            }
        }
    }

    /// A new attachment: what was tried on the last one does not count.
    pub(super) fn link_up(&mut self, interface: Interface) {
        for (_, collisions) in self.collisions.iter_mut().filter(|((of, _), _)| *of == interface) {
            collisions.tries = 0;
        }
    }

    /// Another node has the address: it is given up, and the prefix gets another one. `false` if it is none of ours.
    pub(super) fn collided(
        &mut self,
        interface: Interface,
        address: Ipv6Addr,
        actions: &mut VecDeque<MobileNodeAction>,
    ) -> bool {
        let Some(care_of) = self.give_up(interface, address) else { return false };
        // RFC 4862 §5.4.5: not used for a moment longer.
        actions.push_back(MobileNodeAction::RemoveCareOf(care_of));
        true
    }

    /// The kernel would not have the address: it is not there, and the prefix gets another one.
    pub(super) fn refused(&mut self, care_of: &CareOf) -> bool {
        self.give_up(care_of.interface, care_of.address.0).is_some()
    }

    fn give_up(&mut self, interface: Interface, address: Ipv6Addr) -> Option<CareOf> {
        let is_it = |held: &Held| held.care_of.interface == interface && held.care_of.address.0 == address;
        let place = self.held.iter().position(is_it)?;
        let care_of = self.held.remove(place).care_of;
        let key = (interface, care_of.prefix);
        if !self.collisions.contains_key(&key) && self.collisions.len() >= MAX_COLLISIONS {
            self.collisions.pop_first();
        }
        let collisions = self.collisions.entry(key).or_default();
        collisions.counter = collisions.counter.wrapping_add(1);
        collisions.tries = collisions.tries.saturating_add(1);
        Some(care_of)
    }

    /// Removes what has lingered long enough or is valid no more.
    pub(super) fn sweep(&mut self, now: Instant, actions: &mut VecDeque<MobileNodeAction>) {
        self.held.retain(|held| match held.stay {
            Stay::Lingering { until } if until <= now || held.valid.is_past(now) => {
                actions.push_back(MobileNodeAction::RemoveCareOf(held.care_of));
                false
            }
            Stay::Lingering { .. } | Stay::Primary => true,
        });
    }

    /// Removes all.
    pub(super) fn clear(&mut self, actions: &mut VecDeque<MobileNodeAction>) {
        actions.extend(self.held.drain(..).map(|held| MobileNodeAction::RemoveCareOf(held.care_of)));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let ends = self.held.iter().filter_map(|held| match held.stay {
            Stay::Primary => held.valid.instant(),
            Stay::Lingering { until } => Until::At(until).min(held.valid).instant(),
        });
        ends.min()
    }

    fn find(&self, care_of: &CareOf) -> Option<&Held> {
        self.held.iter().find(|held| is_same(&held.care_of, care_of))
    }

    fn find_mut(&mut self, care_of: &CareOf) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| is_same(&held.care_of, care_of))
    }
}

/// The router may change under an address.
fn is_same(one: &CareOf, other: &CareOf) -> bool {
    one.interface == other.interface && one.address == other.address
}
