//! What of ours stands in the kernel. It is remembered, because most of it cannot be read back whole and told from others'.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use super::op::{
    Address, EspSa, Mode, Move, Op, Policy, PolicyKey, Protocol, Route, RouteOptimization, SaKey, Template, Verdict,
};
use super::undo::Undo;

/// What is remembered of an ESP SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sa {
    pub(super) reqid: u32,
    mode: Mode,
    pub(super) encapsulation: Option<(u16, u16)>,
}

impl From<&EspSa> for Sa {
    fn from(sa: &EspSa) -> Self {
        Self { reqid: sa.reqid, mode: sa.mode, encapsulation: sa.encapsulation }
    }
}

/// An address or a proxy entry: interface and address.
pub(super) type At = (u32, Ipv6Addr);
/// What makes a route the same route: destination and metric.
type RouteKey = ((Ipv6Addr, u8), u32);

/// One thing that is remembered, with its value; none: it does not stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Sa(SaKey, Option<Sa>),
    State(SaKey, Option<RouteOptimization>),
    Policy(PolicyKey, Option<Policy>),
    Address(At, Option<Address>),
    /// An address of others that was changed or removed, as it was.
    Theirs(At, Option<Address>),
    Route(RouteKey, Option<Route>),
    Proxy(At, bool),
    /// The value that a setting had before us.
    Sysctl(String, Option<String>),
    /// The thresholds that the kernel had before us.
    SpdHash(Option<(u8, u8)>),
}

/// What of others was found in the kernel before a batch.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) addresses: BTreeMap<At, Address>,
    pub(super) proxies: BTreeSet<At>,
    pub(super) spd_hash: Option<(u8, u8)>,
    /// A policy, a state or a route that is there already and is not ours is replaced.
    pub(super) take_over: bool,
    /// Values of settings.
    pub(super) sysctls: Vec<(String, String)>,
}

/// What is ours in the kernel.
#[derive(Debug, Default)]
pub(super) struct Ours {
    sas: BTreeMap<SaKey, Sa>,
    states: BTreeMap<SaKey, RouteOptimization>,
    policies: BTreeMap<PolicyKey, Policy>,
    addresses: BTreeMap<At, Address>,
    theirs: BTreeMap<At, Address>,
    routes: BTreeMap<RouteKey, Route>,
    proxies: BTreeSet<At>,
    sysctls: BTreeMap<String, String>,
    spd_hash: Option<(u8, u8)>,
}

impl Ours {
    /// What an operation changes of it.
    pub(super) fn effects(&self, op: &Op, seen: &Seen) -> Vec<Entry> {
        match op {
            Op::SpdHash { .. } => vec![Entry::SpdHash(self.spd_hash.or(seen.spd_hash))],
            Op::AddSa(sa) => vec![Entry::Sa(sa.key, Some(sa.into()))],
            Op::CopySa { from, to } => {
                vec![Entry::Sa(SaKey { destination: *to, ..*from }, self.sas.get(from).copied())]
            }
            Op::DeleteSa(key) => vec![Entry::Sa(*key, None), Entry::State(*key, None)],
            Op::SetRouteOptimization(state) => vec![Entry::State(state.key, Some(*state))],
            Op::SetPolicy(policy) => vec![Entry::Policy(policy.key, Some(policy.clone()))],
            Op::DeletePolicy(key) => vec![Entry::Policy(*key, None)],
            Op::Migrate { policy, moves } => self.migrated(policy, moves),
            Op::AddAddress(address) => {
                let at = (address.interface, address.address);
                match seen.addresses.get(&at).filter(|_| !self.addresses.contains_key(&at)) {
                    None => vec![Entry::Address(at, Some(*address))],
                    Some(theirs) if theirs.home == address.home => Vec::new(),
                    Some(theirs) => vec![self.theirs(at, theirs)],
                }
            }
            Op::DeleteAddress(address) => {
                let at = (address.interface, address.address);
                let theirs = seen.addresses.get(&at).filter(|_| !self.addresses.contains_key(&at));
                vec![theirs.map_or(Entry::Address(at, None), |theirs| self.theirs(at, theirs))]
            }
            Op::SetRoute(route) => vec![Entry::Route(route_key(route), Some(*route))],
            Op::DeleteRoute(route) => vec![Entry::Route(route_key(route), None)],
            Op::AddProxy { interface, address } => {
                let at = (*interface, *address);
                vec![Entry::Proxy(at, self.proxies.contains(&at) || !seen.proxies.contains(&at))]
            }
            Op::DeleteProxy { interface, address } => vec![Entry::Proxy((*interface, *address), false)],
            Op::Sysctl { path, .. } => {
                let before = |path: &String, value: &String| self.sysctls.get(path).unwrap_or(value).clone();
                let touched = seen.sysctls.iter().filter(|(of, _)| of == path || is_below(of, path));
                touched.map(|(of, value)| Entry::Sysctl(of.clone(), Some(before(of, value)))).collect()
            }
            Op::SetNeighbour { .. } | Op::DeleteNeighbour { .. } => Vec::new(),
        }
    }

    /// The first state of an address of others is the one to put back.
    fn theirs(&self, at: At, found: &Address) -> Entry {
        Entry::Theirs(at, Some(*self.theirs.get(&at).unwrap_or(found)))
    }

    /// Remembers a value, and gives back the one that it replaces.
    pub(super) fn put(&mut self, entry: Entry) -> Entry {
        fn swap<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> Option<V> {
            match value {
                Some(value) => map.insert(key.clone(), value),
                None => map.remove(key),
            }
        }
        match entry {
            Entry::Sa(key, value) => Entry::Sa(key, swap(&mut self.sas, &key, value)),
            Entry::State(key, value) => Entry::State(key, swap(&mut self.states, &key, value)),
            Entry::Policy(key, value) => Entry::Policy(key, swap(&mut self.policies, &key, value)),
            Entry::Address(at, value) => Entry::Address(at, swap(&mut self.addresses, &at, value)),
            Entry::Theirs(at, value) => Entry::Theirs(at, swap(&mut self.theirs, &at, value)),
            Entry::Route(key, value) => Entry::Route(key, swap(&mut self.routes, &key, value)),
            Entry::Proxy(at, true) => Entry::Proxy(at, !self.proxies.insert(at)),
            Entry::Proxy(at, false) => Entry::Proxy(at, self.proxies.remove(&at)),
            Entry::Sysctl(path, value) => {
                let old = swap(&mut self.sysctls, &path, value);
                Entry::Sysctl(path, old)
            }
            Entry::SpdHash(value) => Entry::SpdHash(std::mem::replace(&mut self.spd_hash, value)),
        }
    }

    /// Everything of ours.
    pub(super) fn all(&self) -> BTreeSet<Undo> {
        let hash = self.spd_hash.map(|(local, remote)| Undo::SpdHash { local, remote });
        let sas = self.sas.keys().chain(self.states.keys()).copied().map(Undo::Sa);
        let proxies = self.proxies.iter().map(|(interface, address)| Undo::proxy(*interface, *address));
        let sysctls =
            self.sysctls.iter().map(|(path, value)| Undo::Sysctl { path: path.clone(), value: value.clone() });
        let policies = self.policies.keys().copied().map(Undo::Policy);
        let routes = self.routes.values().copied().map(Undo::Route);
        let addresses = self.addresses.values().copied().map(Undo::Address);
        let theirs = self.theirs.values().copied().map(Undo::PutAddress);
        policies
            .chain(sas)
            .chain(proxies)
            .chain(routes)
            .chain(addresses)
            .chain(theirs)
            .chain(sysctls)
            .chain(hash)
            .collect()
    }

    /// Whether there is something that this undoing is for.
    pub(super) fn needs(&self, undo: &Undo) -> bool {
        match undo {
            Undo::Policy(key) => self.policies.contains_key(key),
            Undo::Sa(key) => self.sas.contains_key(key) || self.states.contains_key(key),
            Undo::Proxy { interface, address } => self.proxies.contains(&(*interface, *address)),
            Undo::Route(route) => self.routes.get(&route_key(route)) == Some(route),
            Undo::Address(address) => self.addresses.get(&(address.interface, address.address)) == Some(address),
            Undo::PutAddress(address) => self.theirs.get(&(address.interface, address.address)) == Some(address),
            Undo::Sysctl { path, .. } => self.sysctls.contains_key(path),
            Undo::SpdHash { .. } => self.spd_hash.is_some(),
        }
    }

    pub(super) fn has_policy(&self, key: &PolicyKey) -> bool {
        self.policies.contains_key(key)
    }

    pub(super) fn has_sa(&self, key: &SaKey) -> bool {
        self.sas.contains_key(key)
    }

    pub(super) fn state(&self, key: &SaKey) -> Option<&RouteOptimization> {
        self.states.get(key)
    }

    pub(super) fn has_address(&self, at: &At) -> bool {
        self.addresses.contains_key(at)
    }

    pub(super) fn has_proxy(&self, at: &At) -> bool {
        self.proxies.contains(at)
    }

    pub(super) fn has_route(&self, route: &Route) -> bool {
        self.routes.contains_key(&route_key(route))
    }

    pub(super) fn has_sysctl(&self, path: &str) -> bool {
        self.sysctls.contains_key(path)
    }

    /// The templates of a policy of ours.
    pub(super) fn templates(&self, key: &PolicyKey) -> &[Template] {
        match self.policies.get(key).map(|policy| &policy.verdict) {
            Some(Verdict::Allow(templates)) => templates,
            _ => &[],
        }
    }

    /// The ESP tunnel SAs of ours that a move is for.
    pub(super) fn moving(&self, entry: &Move) -> impl Iterator<Item = (&SaKey, &Sa)> {
        let (source, destination) = entry.from;
        let at = |spi| SaKey { protocol: Protocol::Esp, destination, source, spi };
        let reqid = entry.reqid;
        // Linux takes reqid 0 in a migration for any.
        self.sas
            .range(at(0)..=at(u32::MAX))
            .filter(move |(_, sa)| sa.mode == Mode::Tunnel && (reqid == 0 || sa.reqid == reqid))
    }

    fn migrated(&self, policy: &PolicyKey, moves: &[Move]) -> Vec<Entry> {
        let mut effects = Vec::new();
        for entry in moves {
            for (key, sa) in self.moving(entry) {
                effects.push(Entry::Sa(*key, None));
                effects.push(Entry::Sa(moved(key, entry), Some(*sa)));
            }
        }
        if let Some(Policy { key, priority, verdict: Verdict::Allow(templates) }) = self.policies.get(policy) {
            let to = |t: &Template| match moves.iter().find(|entry| matches(t, entry)) {
                Some(entry) => Template { source: entry.to.0, destination: entry.to.1, ..*t },
                None => *t,
            };
            let verdict = Verdict::Allow(templates.iter().map(to).collect());
            effects.push(Entry::Policy(*policy, Some(Policy { key: *key, priority: *priority, verdict })));
        }
        effects
    }
}

/// An SA's name after a move.
pub(super) fn moved(key: &SaKey, entry: &Move) -> SaKey {
    let (source, destination) = entry.to;
    SaKey { source, destination, ..*key }
}

/// Whether a move is for this template.
pub(super) fn matches(template: &Template, entry: &Move) -> bool {
    template.protocol == Protocol::Esp
        && template.mode == Mode::Tunnel
        && (entry.reqid == 0 || template.reqid == entry.reqid)
        && (template.source, template.destination) == entry.from
}

/// Linux sets `conf/*/forwarding` along with `conf/all/forwarding`.
pub(super) fn is_below(path: &str, all: &str) -> bool {
    match (all.split_once("/conf/all/"), path.rsplit_once('/')) {
        (Some((family, "forwarding")), Some((folder, "forwarding"))) => {
            folder.strip_prefix(family).is_some_and(|rest| rest.starts_with("/conf/"))
        }
        _ => false,
    }
}

fn route_key(route: &Route) -> RouteKey {
    (route.destination, route.metric)
}
