//! What removes a thing of ours, or puts back what was there: for the journal, and for the end.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::netlink::{Netlink, Outcome, Request};
use super::op::{Address, PolicyKey, Protocol, Route, SaKey};
use super::ours::Entry;
use super::{route, sysctl, xfrm};

/// In the order in which it is best done: policies first, so that no packet looks for an SA that is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Undo {
    /// Delete a policy.
    Policy(PolicyKey),
    /// Delete an SA.
    Sa(SaKey),
    /// Delete a proxy entry.
    Proxy { interface: u32, address: Ipv6Addr },
    /// Delete a route.
    Route(Route),
    /// Delete an address.
    Address(Address),
    /// Put an address of others back.
    PutAddress(Address),
    /// Put a value back.
    Sysctl { path: String, value: String },
    /// Put the thresholds for hashing policies back.
    SpdHash { local: u8, remote: u8 },
}

impl Undo {
    pub(super) fn proxy(interface: u32, address: Ipv6Addr) -> Self {
        Self::Proxy { interface, address }
    }

    /// What undoes what this entry says stands; none if it says that nothing does.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        match entry {
            Entry::Sa(key, value) => value.is_some().then_some(Self::Sa(*key)),
            Entry::State(key, value) => value.is_some().then_some(Self::Sa(*key)),
            Entry::Policy(key, value) => value.is_some().then_some(Self::Policy(*key)),
            Entry::Address(_, value) => value.map(Self::Address),
            Entry::Theirs(_, value) => value.map(Self::PutAddress),
            Entry::Route(_, value) => value.map(Self::Route),
            Entry::Proxy((interface, address), stands) => stands.then(|| Self::proxy(*interface, *address)),
            Entry::Sysctl(path, value) => {
                value.as_ref().map(|value| Self::Sysctl { path: path.clone(), value: value.clone() })
            }
            Entry::SpdHash(value) => value.map(|(local, remote)| Self::SpdHash { local, remote }),
        }
    }

    /// What it takes.
    fn means(&self) -> Means<'_> {
        match self {
            Self::Policy(key) => Means::Xfrm(xfrm::write::delete_policy(key)),
            Self::Sa(key) => Means::Xfrm(xfrm::write::delete_sa(key)),
            Self::SpdHash { local, remote } => Means::Xfrm(xfrm::write::set_spd_hash((*local, *remote))),
            Self::Proxy { interface, address } => Means::Route(route::delete_proxy(*interface, *address)),
            Self::Route(route) => Means::Route(route::delete_route(route)),
            Self::Address(address) => Means::Route(route::delete_address(address)),
            Self::PutAddress(address) => Means::Route(route::add_address(address)),
            Self::Sysctl { path, value } => Means::Sysctl(path, value),
        }
    }
}

enum Means<'a> {
    Xfrm(Request),
    Route(Request),
    Sysctl(&'a str, &'a str),
}

/// What came of undoing.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// What failed and why.
    pub(super) left_behind: Vec<String>,
    /// The ESP SAs that were there until now.
    pub(super) esp_sas: Vec<SaKey>,
}

/// Undoes all of this, whatever fails. What is gone already counts as removed.
pub(super) fn undo_all<'a>(
    xfrm: &mut Netlink,
    route: &mut Netlink,
    undos: impl IntoIterator<Item = &'a Undo>,
) -> Undone {
    // A setting for all interfaces comes before those of single ones, which it changes along.
    let mut undos: Vec<&Undo> = undos.into_iter().collect();
    undos.sort_by_key(|undo| matches!(undo, Undo::Sysctl { path, .. } if !path.contains("/all/")));
    let (mut to_xfrm, mut to_route, mut settings) = (Vec::new(), Vec::new(), Vec::new());
    let mut undone = Undone::default();
    for undo in undos {
        match undo.means() {
            Means::Xfrm(request) => to_xfrm.push((undo, request)),
            Means::Route(request) => to_route.push((undo, request)),
            Means::Sysctl(path, value) => settings.push((undo, path, value)),
        }
    }
    for (socket, requests) in [(xfrm, to_xfrm), (route, to_route)] {
        let (undos, requests): (Vec<&Undo>, Vec<Request>) = requests.into_iter().unzip();
        let outcomes = socket.exchange(&requests);
        for (undo, outcome) in undos.into_iter().zip(outcomes) {
            undone.note(undo, outcome);
        }
    }
    for (undo, path, value) in settings {
        undone.note(undo, sysctl::write(path, value).map(|()| Vec::new()));
    }
    undone
}

impl Undone {
    fn note(&mut self, undo: &Undo, outcome: Outcome) {
        match (outcome, undo) {
            (Ok(_), Undo::Sa(key)) if key.protocol == Protocol::Esp => self.esp_sas.push(*key),
            (Ok(_), _) => {}
            (Err(refused), _) if refused.is_gone() => {}
            (Err(refused), _) => self.left_behind.push(format!("{undo:?} ({})", refused.reason)),
        }
    }
}
