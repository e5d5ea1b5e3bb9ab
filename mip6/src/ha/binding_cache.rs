//! The binding cache (RFC 6275 §9.1, §10.1): one entry for each home address, found by address or by deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Instant;

use super::judge::{Registration, Update};
use crate::address::{CareOfAddress, HomeAddress, Prefix};
use crate::wire::Lifetime;

/// A home registration that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whose.
    pub home_address: HomeAddress,
    /// Where it is.
    pub care_of: CareOfAddress,
    /// The sequence number of the last accepted update.
    pub sequence: u16,
    /// What was granted.
    pub lifetime: Lifetime,
    /// When it ends.
    pub expires: Instant,
    /// K: the IKE end points move along.
    pub key_mobility: bool,
    /// L: the link-local address with the same interface identifier is defended too.
    pub link_local: bool,
}

/// What is known of a home address.
#[derive(Debug)]
pub(super) enum Entry {
    /// A new binding waits for duplicate address detection.
    Probing { registration: Registration, until: Instant },
    /// The kernel is making or moving the tunnel.
    Moving {
        registration: Registration,
        /// What was granted.
        lifetime: Lifetime,
        previous: Option<Binding>,
        /// The newest update that came meanwhile.
        next: Option<Update>,
        until: Instant,
    },
    /// It stands.
    Bound(Binding),
    /// It was deleted: only the sequence number is remembered (RFC 6275 §10.3.2).
    Deleted { sequence: u16, until: Instant },
}

impl Entry {
    /// The sequence number that the next one has to exceed.
    pub(super) fn sequence(&self) -> u16 {
        match self {
            Self::Probing { registration, .. } => registration.request.sequence,
            Self::Moving { registration, next, .. } => {
                next.as_ref().map_or(&registration.request, Update::request).sequence
            }
            Self::Bound(binding) => binding.sequence,
            Self::Deleted { sequence, .. } => *sequence,
        }
    }

    /// The binding that stands now, be it about to move.
    pub(super) fn binding(&self) -> Option<&Binding> {
        match self {
            Self::Bound(binding) => Some(binding),
            Self::Moving { previous, .. } => previous.as_ref(),
            Self::Probing { .. } | Self::Deleted { .. } => None,
        }
    }

    fn deadline(&self) -> Instant {
        match self {
            Self::Probing { until, .. } | Self::Moving { until, .. } | Self::Deleted { until, .. } => *until,
            Self::Bound(binding) => binding.expires,
        }
    }

    fn probed_link_local(&self) -> Option<Ipv6Addr> {
        match self {
            Self::Probing { registration, .. } if registration.link_local => {
                Some(link_local(registration.request.home_address))
            }
            Self::Probing { .. } | Self::Moving { .. } | Self::Bound(_) | Self::Deleted { .. } => None,
        }
    }

    fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted { .. })
    }
}

/// All entries. Bounded: the engine asks [`BindingCache::has_room`] before it makes a new one.
#[derive(Debug, Default)]
pub(super) struct BindingCache {
    entries: BTreeMap<HomeAddress, Entry>,
    /// Each entry's deadline, and nothing else.
    deadlines: BTreeSet<(Instant, HomeAddress)>,
    /// The deadlines of deleted entries once more, to know who goes first.
    deleted: BTreeSet<(Instant, HomeAddress)>,
    /// Whose link-local addresses are being probed.
    probed: BTreeMap<Ipv6Addr, HomeAddress>,
}

impl BindingCache {
    pub(super) fn get(&self, home_address: HomeAddress) -> Option<&Entry> {
        self.entries.get(&home_address)
    }

    pub(super) fn put(&mut self, home_address: HomeAddress, entry: Entry) {
        self.take(home_address);
        let key = (entry.deadline(), home_address);
        if entry.is_deleted() {
            self.deleted.insert(key);
        }
        if let Some(address) = entry.probed_link_local() {
            self.probed.insert(address, home_address);
        }
        self.deadlines.insert(key);
        self.entries.insert(home_address, entry);
    }

    pub(super) fn take(&mut self, home_address: HomeAddress) -> Option<Entry> {
        let entry = self.entries.remove(&home_address)?;
        let key = (entry.deadline(), home_address);
        self.deadlines.remove(&key);
        self.deleted.remove(&key);
        if let Some(address) = entry.probed_link_local() {
            self.probed.remove(&address);
        }
        Some(entry)
    }

    /// Whether one more home address fits below `most`; deleted entries make room, the oldest first.
    pub(super) fn has_room(&mut self, most: usize) -> bool {
        if self.entries.len() < most {
            return true;
        }
        match self.deleted.first() {
            Some(&(_, oldest)) => self.take(oldest).is_some() && self.entries.len() < most,
            None => false,
        }
    }

    /// The entry whose deadline has come, if any.
    pub(super) fn due(&self, now: Instant) -> Option<HomeAddress> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, home_address)| *home_address)
    }

    /// The home address for which this address is probed, itself or its link-local companion.
    pub(super) fn probed(&self, address: Ipv6Addr) -> HomeAddress {
        self.probed.get(&address).copied().unwrap_or(HomeAddress(address))
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (HomeAddress, &Entry)> {
        self.entries.iter().map(|(home_address, entry)| (*home_address, entry))
    }
}

/// The link-local address with the interface identifier of a home address.
pub(super) fn link_local(home_address: HomeAddress) -> Ipv6Addr {
    Prefix::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64).with_identifier(home_address.0.to_bits())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn home(last: u16) -> HomeAddress {
        HomeAddress(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last))
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test starts its clock anywhere")]
    fn the_oldest_deleted_entry_makes_room_and_no_other() {
        let start = Instant::now();
        let mut cache = BindingCache::default();
        for last in 1..=2 {
            let until = start + Duration::from_secs(u64::from(10 - last));
            cache.put(home(last), Entry::Deleted { sequence: last, until });
        }
        assert!(cache.has_room(3) && cache.has_room(2));
        assert!(cache.get(home(1)).is_some() && cache.get(home(2)).is_none(), "2 would have gone first");
        assert_eq!(cache.deadline(), Some(start + Duration::from_secs(9)));
        let binding = Binding {
            home_address: home(1),
            care_of: CareOfAddress(home(9).0),
            sequence: 1,
            lifetime: Lifetime(1),
            expires: start,
            key_mobility: false,
            link_local: false,
        };
        cache.put(home(1), Entry::Bound(binding));
        assert!(!cache.has_room(1));
        assert_eq!(cache.due(start), Some(home(1)));
        cache.take(home(1));
        assert_eq!((cache.deadline(), cache.entries().count()), (None, 0));
    }
}
