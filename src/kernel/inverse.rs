//! What undoes an operation. The kernel's objects that are ours are remembered here, because most of them cannot be read back whole.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::op::{Address, Move, Op, Policy, PolicyKey, Protocol, Route, RouteOptimization, SaKey};

/// Removes something of ours, or puts a value back. What is gone already counts as removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Undo {
    /// Delete an SA.
    Sa(SaKey),
    /// Delete a policy.
    Policy(PolicyKey),
    /// Delete an address.
    Address(Address),
    /// Delete a route.
    Route(Route),
    /// Delete a proxy entry.
    Proxy { interface: u32, address: std::net::Ipv6Addr },
    /// Put a value back.
    Sysctl { path: String, value: String },
    /// Put the kernel's own threshold for hashing back.
    SpdHash,
}

/// What is ours in the kernel.
#[derive(Debug, Default)]
pub(super) struct Ours {
    sas: Vec<SaKey>,
    states: BTreeMap<SaKey, RouteOptimization>,
    policies: BTreeMap<PolicyKey, Policy>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    proxies: Vec<(u32, std::net::Ipv6Addr)>,
    sysctls: Vec<(String, String)>,
    spd_hash: bool,
}

impl Ours {
    /// What removes what this operation makes, for the journal; none if it makes nothing.
    pub(super) fn trace(&self, op: &Op, sysctl: &dyn Fn(&str) -> Option<String>) -> Vec<Undo> {
        match op {
            Op::SpdHash { .. } => vec![Undo::SpdHash],
            Op::AddSa(sa) => vec![Undo::Sa(sa.key)],
            Op::CopySa { from, to } => vec![Undo::Sa(SaKey { destination: *to, ..*from })],
            Op::SetRouteOptimization(state) => vec![Undo::Sa(state.key)],
            Op::SetPolicy(policy) => vec![Undo::Policy(policy.key)],
            Op::Migrate { moves, .. } => self.moved(moves).into_iter().map(|(_, to)| Undo::Sa(to)).collect(),
            Op::AddAddress(address) => vec![Undo::Address(*address)],
            Op::SetRoute(route) => vec![Undo::Route(*route)],
            Op::AddProxy { interface, address } => vec![Undo::Proxy { interface: *interface, address: *address }],
            Op::Sysctl { path, .. } if self.sysctls.iter().any(|(known, _)| known == path) => Vec::new(),
            Op::Sysctl { path, .. } => {
                sysctl(path).map(|value| Undo::Sysctl { path: path.clone(), value }).into_iter().collect()
            }
            Op::DeleteSa(_)
            | Op::DeletePolicy(_)
            | Op::DeleteAddress(_)
            | Op::DeleteRoute(_)
            | Op::DeleteProxy { .. }
            | Op::SetNeighbour { .. }
            | Op::DeleteNeighbour { .. } => Vec::new(),
        }
    }

    /// What takes this one operation back within its transaction; an SA that was deleted cannot be had back.
    pub(super) fn reverse(&self, op: &Op, sysctl: &dyn Fn(&str) -> Option<String>) -> Vec<Op> {
        match op {
            Op::AddSa(sa) => vec![Op::DeleteSa(sa.key)],
            Op::CopySa { from, to } => vec![Op::DeleteSa(SaKey { destination: *to, ..*from })],
            Op::SetRouteOptimization(state) => vec![match self.states.get(&state.key) {
                Some(old) => Op::SetRouteOptimization(*old),
                None => Op::DeleteSa(state.key),
            }],
            Op::SetPolicy(Policy { key, .. }) => vec![match self.policies.get(key) {
                Some(old) => Op::SetPolicy(old.clone()),
                None => Op::DeletePolicy(*key),
            }],
            Op::DeletePolicy(key) => self.policies.get(key).cloned().map(Op::SetPolicy).into_iter().collect(),
            Op::Migrate { policy, moves } => {
                let back = moves.iter().map(|m| Move { from: m.to, to: m.from, reqid: m.reqid }).collect();
                vec![Op::Migrate { policy: *policy, moves: back }]
            }
            Op::AddAddress(address) if self.addresses.contains(address) => Vec::new(),
            Op::AddAddress(address) => vec![Op::DeleteAddress(*address)],
            Op::DeleteAddress(address) => vec![Op::AddAddress(*address)],
            Op::SetRoute(route) => {
                let old = self.routes.iter().find(|old| same_route(old, route));
                vec![old.map_or(Op::DeleteRoute(*route), |old| Op::SetRoute(*old))]
            }
            Op::DeleteRoute(route) => vec![Op::SetRoute(*route)],
            Op::AddProxy { interface, address } => vec![Op::DeleteProxy { interface: *interface, address: *address }],
            Op::DeleteProxy { interface, address } => vec![Op::AddProxy { interface: *interface, address: *address }],
            Op::Sysctl { path, .. } => {
                sysctl(path).map(|value| Op::Sysctl { path: path.clone(), value }).into_iter().collect()
            }
            Op::SpdHash { .. } | Op::DeleteSa(_) | Op::SetNeighbour { .. } | Op::DeleteNeighbour { .. } => Vec::new(),
        }
    }

    /// Takes note of an operation that was carried out.
    pub(super) fn note(&mut self, op: &Op, old_sysctl: Option<String>) {
        match op {
            Op::SpdHash { .. } => self.spd_hash = true,
            Op::AddSa(sa) => self.sas.push(sa.key),
            Op::CopySa { from, to } => self.sas.push(SaKey { destination: *to, ..*from }),
            Op::DeleteSa(key) => {
                self.sas.retain(|known| known != key);
                self.states.remove(key);
            }
            Op::SetRouteOptimization(state) => drop(self.states.insert(state.key, *state)),
            Op::SetPolicy(policy) => drop(self.policies.insert(policy.key, policy.clone())),
            Op::DeletePolicy(key) => drop(self.policies.remove(key)),
            Op::Migrate { moves, .. } => {
                for (from, to) in self.moved(moves) {
                    self.sas.iter_mut().filter(|key| **key == from).for_each(|key| *key = to);
                }
            }
            Op::AddAddress(address) => {
                self.addresses.retain(|known| known != address);
                self.addresses.push(*address);
            }
            Op::DeleteAddress(address) => self.addresses.retain(|known| known != address),
            Op::SetRoute(route) => {
                self.routes.retain(|known| !same_route(known, route));
                self.routes.push(*route);
            }
            Op::DeleteRoute(route) => self.routes.retain(|known| !same_route(known, route)),
            Op::AddProxy { interface, address } => self.proxies.push((*interface, *address)),
            Op::DeleteProxy { interface, address } => self.proxies.retain(|known| *known != (*interface, *address)),
            Op::Sysctl { path, .. } => {
                if let Some(old) = old_sysctl.filter(|_| !self.sysctls.iter().any(|(known, _)| known == path)) {
                    self.sysctls.push((path.clone(), old));
                }
            }
            Op::SetNeighbour { .. } | Op::DeleteNeighbour { .. } => {}
        }
    }

    /// Everything of ours, in the order in which it is best removed: first policies, so that no packet looks for an SA.
    pub(super) fn all(&self) -> Vec<Undo> {
        let policies = self.policies.keys().copied().map(Undo::Policy);
        let sas = self.sas.iter().chain(self.states.keys()).copied().map(Undo::Sa);
        let proxies =
            self.proxies.iter().map(|(interface, address)| Undo::Proxy { interface: *interface, address: *address });
        let routes = self.routes.iter().copied().map(Undo::Route);
        let addresses = self.addresses.iter().copied().map(Undo::Address);
        let sysctls =
            self.sysctls.iter().rev().map(|(path, value)| Undo::Sysctl { path: path.clone(), value: value.clone() });
        let hash = self.spd_hash.then_some(Undo::SpdHash);
        policies.chain(sas).chain(proxies).chain(routes).chain(addresses).chain(sysctls).chain(hash).collect()
    }

    /// ESP SAs of ours with the addresses of a move, before and after. The reqid is not part of the name, and an SA at
    /// these addresses that does not move is removed by its old name all the same.
    fn moved(&self, moves: &[Move]) -> Vec<(SaKey, SaKey)> {
        let at = |key: &SaKey, (source, destination): (IpAddr, IpAddr)| SaKey { source, destination, ..*key };
        let esp = |key: &&SaKey| key.protocol == Protocol::Esp;
        moves
            .iter()
            .flat_map(|m| {
                let here = move |key: &&SaKey| (key.source, key.destination) == m.from;
                self.sas.iter().filter(esp).filter(here).map(move |key| (*key, at(key, m.to)))
            })
            .collect()
    }
}

fn same_route(one: &Route, other: &Route) -> bool {
    (one.destination, one.metric) == (other.destination, other.metric)
}
