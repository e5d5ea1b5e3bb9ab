//! The links we are on, their routers and prefixes, and which of them is to be used (RFC 6275 §11.5.1 to §11.5.3).

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::router::{RouterEntry, RouterPreference};
use super::time::{BackOff, Until, later};
use crate::action::{CareOf, Interface, Location, MobileNodeAction, Router};
use crate::address::Prefix;
use crate::wire::RouterAdvertisement;

/// Routers remembered on one link. Anyone on it can pretend to be as many as he likes.
const MAX_ROUTERS: usize = 8;

/// How long the router in use may take to answer when it is doubted. A router answers a solicitation within
/// MAX_RA_DELAY_TIME, 0.5 s (RFC 4861 §6.2.6). If it is too slow once, a move between two routers of one link is all that
/// happens.
const ANSWER: Duration = Duration::from_secs(1);

/// The router in use is doubted no more often than this: MIN_DELAY_BETWEEN_RAS (RFC 4861 §10). So strangers cannot make us
/// solicit without end.
const DOUBT_INTERVAL: Duration = Duration::from_secs(3);

/// How links are chosen and routers sought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preferences {
    pub(super) home_prefix: Prefix,
    pub(super) newest_link: bool,
    pub(super) solicit_initial: Duration,
    pub(super) solicit_max: Duration,
}

/// All links that are up.
#[derive(Debug)]
pub(super) struct Links {
    preferences: Preferences,
    up: BTreeMap<Interface, Link>,
    attachments: u64,
}

#[derive(Debug)]
struct Link {
    preference: u32,
    /// Grows with each link that comes up.
    attachment: u64,
    routers: BTreeMap<Ipv6Addr, RouterEntry>,
    search: Search,
    doubt: Doubt,
}

/// Whether a router is sought.
#[derive(Debug)]
enum Search {
    Quiet,
    Soliciting(BackOff),
}

/// Whether the router in use is still there (RFC 6275 §11.5.1: a new router alone is no proof that we moved).
#[derive(Debug)]
enum Doubt {
    None { last: Option<Instant> },
    Answer { router: Ipv6Addr, from: Instant, until: Instant },
}

/// A place to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Home { interface: Interface, router: Router },
    Foreign { interface: Interface, prefix: Prefix, router: Router },
}

/// What makes one place better than another, the most important first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The owner's will goes before all else.
    preference: u32,
    /// At home nothing needs to be tunnelled.
    home: bool,
    /// Only if the newest link is wanted.
    newest: u64,
    /// Who has no reason to move stays.
    same: Sameness,
    /// RFC 6275 §4.6: unique local addresses only if there is nothing else.
    global: bool,
    router: RouterPreference,
    attachment: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sameness {
    None,
    Prefix,
    PrefixAndRouter,
}

impl Links {
    pub(super) fn new(preferences: Preferences) -> Self {
        Self { preferences, up: BTreeMap::new(), attachments: 0 }
    }

    /// The link can carry packets.
    pub(super) fn link_up(&mut self, now: Instant, interface: Interface, preference: u32, location: &Location) {
        let search = Search::Soliciting(self.preferences.back_off(now));
        if let Some(link) = self.up.get_mut(&interface) {
            // RFC 6275 §11.5.1: a hint of the link layer; it may have been moved without ever going down.
            link.preference = preference;
            if let Some(router) = router_in_use(location, interface) {
                link.doubt(now, router);
            }
            return;
        }
        self.attachments = self.attachments.wrapping_add(1);
        let link = Link {
            preference,
            attachment: self.attachments,
            routers: BTreeMap::new(),
            search,
            doubt: Doubt::None { last: None },
        };
        self.up.insert(interface, link);
    }

    /// The link is lost, and with it all that was heard on it.
    pub(super) fn link_down(&mut self, interface: Interface) {
        self.up.remove(&interface);
    }

    /// A router advertised itself.
    ///
    /// # Errors
    /// Why the advertisement is not used.
    pub(super) fn advertised(
        &mut self,
        now: Instant,
        interface: Interface,
        source: Ipv6Addr,
        advertisement: &RouterAdvertisement,
        location: &Location,
    ) -> Result<(), &'static str> {
        // RFC 4861 §6.1.2: routers speak from their link-local address.
        if !source.is_unicast_link_local() {
            return Err("its source is not link-local");
        }
        let home_prefix = self.preferences.home_prefix;
        let link = self.up.get_mut(&interface).ok_or("the link is down")?;
        let in_use = router_in_use(location, interface);
        let prefix_in_use = match location {
            Location::Away(care_of) => care_of.prefix,
            Location::Nowhere | Location::Home { .. } => home_prefix,
        };
        let is_new = !link.routers.contains_key(&source);
        let mut entry = match link.routers.remove(&source) {
            Some(entry) => entry,
            None => RouterEntry::new(now),
        };
        entry.advertised(now, home_prefix, advertisement);
        if entry.is_useful(now, home_prefix) {
            link.make_room(in_use);
            link.routers.insert(source, entry);
        }
        if let Doubt::Answer { router, .. } = link.doubt
            && router == source
        {
            link.doubt = Doubt::None { last: Some(now) };
        }
        if let Some(in_use) = in_use
            && is_new
            && in_use != source
            && link.routers.contains_key(&source)
            && link.routers.contains_key(&in_use)
            && !link.routers.get(&source).is_some_and(|entry| entry.has(prefix_in_use))
        {
            // RFC 6275 §11.5.1: a new router with other prefixes: either it has joined the link, or we have left it.
            link.doubt(now, in_use);
        }
        Ok(())
    }

    /// Forgets what has run out, doubts the router in use if it has been silent for too long, seeks where there is none.
    pub(super) fn expire(&mut self, now: Instant, location: &Location) {
        let preferences = self.preferences;
        for (interface, link) in &mut self.up {
            if let Doubt::Answer { router, until, .. } = link.doubt
                && until <= now
            {
                link.routers.remove(&router);
                link.doubt = Doubt::None { last: Some(now) };
            }
            for entry in link.routers.values_mut() {
                entry.expire(now);
            }
            link.routers.retain(|_, entry| entry.is_useful(now, preferences.home_prefix));
            if let Some(router) = router_in_use(location, *interface)
                && let Some(silent) = link.silent_at(router)
                && silent <= now
            {
                link.doubt(now, router);
            }
            let is_content = link.offers_a_place(now, preferences.home_prefix);
            match (&link.search, &link.doubt) {
                (Search::Soliciting(_), Doubt::None { .. }) if is_content => link.search = Search::Quiet,
                (Search::Quiet, _) if !is_content => link.search = Search::Soliciting(preferences.back_off(now)),
                (Search::Quiet | Search::Soliciting(_), _) => (),
            }
        }
    }

    /// The place is in use from here on. What was heard of its link while it was not in use may be long ago, and the link
    /// another one since (RFC 6275 §11.5.1): its router is asked.
    pub(super) fn taken(&mut self, now: Instant, location: &Location) {
        for (interface, link) in &mut self.up {
            if let Some(router) = router_in_use(location, *interface)
                && let Some(entry) = link.routers.get(&router)
                && later(entry.heard(), DOUBT_INTERVAL) < now
            {
                link.doubt(now, router);
            }
        }
    }

    /// Sends the solicitations that are due.
    pub(super) fn solicit(&mut self, now: Instant, actions: &mut VecDeque<MobileNodeAction>) {
        let preferences = self.preferences;
        for (interface, link) in &mut self.up {
            if let Doubt::Answer { from, .. } = link.doubt
                && from <= now
                && matches!(link.search, Search::Quiet)
            {
                link.search = Search::Soliciting(preferences.back_off(now));
            }
            if let Search::Soliciting(back_off) = &mut link.search
                && back_off.is_due(now)
            {
                actions.push_back(MobileNodeAction::SolicitRouter(*interface));
                // RFC 4861 §6.3.7 sends three at 4 s and gives up; RFC 7559 §2 has the interval grow instead, since a
                // host whose three were lost would be cut off. The first intervals are short, as a link that has just
                // come up often loses the first packet, and a mobile node's outage is what this decides. There is
                // no random delay before the first: RFC 4861 §6.3.7 exempts a node that has just moved.
                back_off.sent(now);
            }
        }
    }

    /// The best place to be, if there is any.
    pub(super) fn best(
        &self,
        now: Instant,
        location: &Location,
        is_spent: impl Fn(Interface, Prefix) -> bool,
    ) -> Option<Place> {
        let mut best: Option<(Rank, Place)> = None;
        for (&interface, link) in &self.up {
            for (&address, entry) in &link.routers {
                let router = Router { address, link_layer: entry.link_layer() };
                let rank = |home, same, global| Rank {
                    preference: link.preference,
                    home,
                    newest: if self.preferences.newest_link { link.attachment } else { 0 },
                    same,
                    global,
                    router: entry.preference(),
                    attachment: link.attachment,
                };
                // RFC 6275 §11.5.2: the home link is where the home prefix is on-link.
                let home = entry.has_on_link(now, self.preferences.home_prefix).then(|| {
                    let same = sameness(location, interface, None, address);
                    (rank(true, same, true), Place::Home { interface, router })
                });
                let foreign = entry.preferred(now).filter(|prefix| !is_spent(interface, *prefix)).map(|prefix| {
                    let same = sameness(location, interface, Some(prefix), address);
                    let global = !prefix.address().is_unique_local();
                    (rank(false, same, global), Place::Foreign { interface, prefix, router })
                });
                for candidate in home.into_iter().chain(foreign) {
                    if best.as_ref().is_none_or(|(rank, _)| candidate.0 > *rank) {
                        best = Some(candidate);
                    }
                }
            }
        }
        best.map(|(_, place)| place)
    }

    /// Whether packets can be sent from there.
    pub(super) fn is_attached(&self, now: Instant, location: &Location) -> bool {
        match location {
            Location::Nowhere => false,
            Location::Away(care_of) => self.valid(now, care_of).is_some(),
            Location::Home { interface, .. } => self.up.get(interface).is_some_and(|link| {
                link.routers.values().any(|entry| entry.has_on_link(now, self.preferences.home_prefix))
            }),
        }
    }

    /// How long the address stays valid, if its router and prefix are there.
    pub(super) fn valid(&self, now: Instant, care_of: &CareOf) -> Option<Until> {
        self.up.get(&care_of.interface)?.routers.get(&care_of.router.address)?.valid(now, care_of.prefix)
    }

    /// Which attachment to a link this is.
    pub(super) fn attachment(&self, interface: Interface) -> Option<u64> {
        self.up.get(&interface).map(|link| link.attachment)
    }

    pub(super) fn deadline(&self, now: Option<Instant>, location: &Location) -> Option<Instant> {
        let ends = self.up.iter().flat_map(|(interface, link)| {
            let search = match &link.search {
                Search::Quiet => None,
                Search::Soliciting(back_off) => Some(back_off.due()),
            };
            let doubt = match (&link.doubt, &link.search) {
                (Doubt::None { .. }, _) => {
                    router_in_use(location, *interface).and_then(|router| link.silent_at(router))
                }
                (Doubt::Answer { from, .. }, Search::Quiet) => Some(*from),
                (Doubt::Answer { until, .. }, Search::Soliciting(_)) => Some(*until),
            };
            let entries = link.routers.values().filter_map(move |entry| entry.deadline(now));
            search.into_iter().chain(doubt).chain(entries)
        });
        ends.min()
    }
}

impl Preferences {
    fn back_off(&self, now: Instant) -> BackOff {
        BackOff::new(now, self.solicit_initial, self.solicit_max)
    }
}

impl Link {
    fn doubt(&mut self, now: Instant, router: Ipv6Addr) {
        if let Doubt::None { last } = self.doubt {
            let from = last.map_or(now, |last| later(last, DOUBT_INTERVAL).max(now));
            self.doubt = Doubt::Answer { router, from, until: later(from, ANSWER) };
        }
    }

    /// When the router's next advertisements are overdue.
    fn silent_at(&self, router: Ipv6Addr) -> Option<Instant> {
        self.routers.get(&router).and_then(RouterEntry::silent_at)
    }

    fn offers_a_place(&self, now: Instant, home_prefix: Prefix) -> bool {
        let mut entries = self.routers.values();
        entries.any(|entry| entry.has_on_link(now, home_prefix) || entry.preferred(now).next().is_some())
    }

    /// Forgets the router that was silent the longest, but not the one in use.
    fn make_room(&mut self, in_use: Option<Ipv6Addr>) {
        while self.routers.len() >= MAX_ROUTERS {
            let others = self.routers.iter().filter(|(address, _)| Some(**address) != in_use);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.heard()).map(|(address, _)| *address) else {
                break;
            };
            self.routers.remove(&oldest);
        }
    }
}

/// The router we use on that interface.
fn router_in_use(location: &Location, interface: Interface) -> Option<Ipv6Addr> {
    match location {
        Location::Away(care_of) if care_of.interface == interface => Some(care_of.router.address),
        Location::Home { interface: of, router } if *of == interface => Some(router.address),
        Location::Nowhere | Location::Away(_) | Location::Home { .. } => None,
    }
}

/// `prefix`: none is the home prefix.
fn sameness(location: &Location, interface: Interface, prefix: Option<Prefix>, router: Ipv6Addr) -> Sameness {
    let (of, at, by) = match location {
        Location::Nowhere => return Sameness::None,
        Location::Away(care_of) => (care_of.interface, Some(care_of.prefix), care_of.router.address),
        Location::Home { interface, router } => (*interface, None, router.address),
    };
    match of == interface && at == prefix {
        false => Sameness::None,
        true if by == router => Sameness::PrefixAndRouter,
        true => Sameness::Prefix,
    }
}
