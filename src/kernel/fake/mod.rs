//! A kernel in memory for simulations: it refuses what Linux refuses, and lets pass what Linux lets pass.

mod migrate;
mod path;

pub use path::{Datagram, Dropped, Packet, Received, Seal};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::op::{Address, EspSa, Op, Policy, PolicyKey, Protocol, Route, RouteOptimization, SaKey};
use super::{Done, Failure, Kernel};

/// Which Linux is pretended: they see types of packets that arrive differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// 6.1: behind a Home Address option or a type 2 routing header the types of ICMPv6 are misread, those of the Mobility
    /// Header are read.
    Linux6_1,
    /// 6.12: the types of ICMPv6 are read, those of the Mobility Header never.
    #[default]
    Linux6_12,
}

/// What stands in the pretended kernel.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    release: Release,
    sas: BTreeMap<Name, Sa>,
    states: BTreeMap<SaKey, RouteOptimization>,
    policies: BTreeMap<PolicyKey, Policy>,
    addresses: Vec<Address>,
    proxies: Vec<(u32, Ipv6Addr)>,
    routes: Vec<Route>,
    /// How many SAs were ever made: a newer one is preferred.
    made: u64,
    /// The operation of the next batch that is refused.
    refusal: Option<usize>,
}

/// The kernel knows an ESP SA by destination and SPI; the source is not part of its name.
type Name = (IpAddr, u32);

#[derive(Clone, Debug)]
struct Sa {
    esp: EspSa,
    made: u64,
    sent: u64,
    /// The highest sequence number received, and which of the 64 before it were.
    window: (u64, u64),
}

/// `errno` and its reason.
type Refusal = (i32, &'static str);

const NO_SUCH_SA: Refusal = (libc::ESRCH, "no such SA");

impl FakeKernel {
    /// An empty kernel.
    pub fn new(release: Release) -> Self {
        Self { release, ..Self::default() }
    }

    /// The operation with this index of the next batch, or its last one, is refused for want of memory.
    pub fn refuse_next(&mut self, index: usize) {
        self.refusal = Some(index);
    }

    /// Removes everything, as a process that leaves does.
    pub fn restore(&mut self) {
        *self = Self::new(self.release);
    }

    /// Whether nothing stands.
    pub fn is_empty(&self) -> bool {
        self.sas.is_empty()
            && self.states.is_empty()
            && self.policies.is_empty()
            && self.addresses.is_empty()
            && self.proxies.is_empty()
    }

    /// Whether an interface has this address.
    pub fn has_address(&self, address: Ipv6Addr) -> bool {
        self.addresses.iter().any(|known| known.address == address)
    }

    /// The addresses of all interfaces.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The ESP SAs, without their traffic.
    pub fn esp_sas(&self) -> impl Iterator<Item = &EspSa> {
        self.sas.values().map(|sa| &sa.esp)
    }

    /// The policies.
    pub fn policies(&self) -> &BTreeMap<PolicyKey, Policy> {
        &self.policies
    }

    /// For which addresses neighbour solicitations are answered, and on which interface.
    pub fn proxies(&self) -> &[(u32, Ipv6Addr)] {
        &self.proxies
    }

    /// The default route that is used.
    pub fn default_route(&self) -> Option<&Route> {
        self.routes.iter().filter(|route| route.destination.1 == 0).min_by_key(|route| route.metric)
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::AddSa(sa) => {
                self.made += 1;
                self.insert(Sa { esp: sa.clone(), made: self.made, sent: 0, window: (0, 0) })
            }
            Op::DeleteSa(key) if key.protocol == Protocol::Esp => {
                self.sas.remove(&name(key)).map(drop).ok_or(NO_SUCH_SA)
            }
            Op::DeleteSa(key) => self.states.remove(key).map(drop).ok_or(NO_SUCH_SA),
            Op::CopySa { from, to } => {
                let mut copy = self.sas.get(&name(from)).cloned().ok_or(NO_SUCH_SA)?;
                copy.esp.key.destination = *to;
                self.made += 1;
                copy.made = self.made;
                self.insert(copy)
            }
            Op::SetRouteOptimization(state) => {
                self.states.insert(state.key, *state);
                Ok(())
            }
            Op::SetPolicy(policy) => {
                self.policies.insert(policy.key, policy.clone());
                Ok(())
            }
            Op::DeletePolicy(key) => self.policies.remove(key).map(drop).ok_or((libc::ENOENT, "no such policy")),
            Op::Migrate { policy, moves } => self.migrate(policy, moves),
            Op::AddAddress(address) => {
                self.addresses.retain(|known| known != address);
                self.addresses.push(*address);
                Ok(())
            }
            Op::DeleteAddress(address) => {
                self.addresses.retain(|known| known != address);
                // A route does without its preferred source when that is gone.
                let gone = |source: &Ipv6Addr| !self.addresses.iter().any(|known| known.address == *source);
                for route in &mut self.routes {
                    route.preferred_source.take_if(|source| gone(source));
                }
                Ok(())
            }
            Op::SetRoute(route) => {
                if route.preferred_source.is_some_and(|source| !self.has_address(source)) {
                    return Err((libc::EINVAL, "the preferred source is no address of ours"));
                }
                self.routes.retain(|known| !same_route(known, route));
                self.routes.push(*route);
                Ok(())
            }
            Op::DeleteRoute(route) => {
                self.routes.retain(|known| !same_route(known, route));
                Ok(())
            }
            Op::AddProxy { interface, address } => {
                self.proxies.retain(|known| known != &(*interface, *address));
                self.proxies.push((*interface, *address));
                Ok(())
            }
            Op::DeleteProxy { interface, address } => {
                self.proxies.retain(|known| known != &(*interface, *address));
                Ok(())
            }
            Op::SpdHash { .. } | Op::SetNeighbour { .. } | Op::DeleteNeighbour { .. } | Op::Sysctl { .. } => Ok(()),
        }
    }

    fn insert(&mut self, sa: Sa) -> Result<(), Refusal> {
        let name = name(&sa.esp.key);
        if self.sas.contains_key(&name) {
            return Err((libc::EEXIST, "this SPI is taken"));
        }
        self.sas.insert(name, sa);
        Ok(())
    }
}

fn name(key: &SaKey) -> Name {
    (key.destination, key.spi)
}

fn same_route(one: &Route, other: &Route) -> bool {
    (one.destination, one.metric) == (other.destination, other.metric)
}

impl Kernel for FakeKernel {
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure> {
        let before = self.clone();
        let refused = self.refusal.take().map(|index| index.min(batch.len().saturating_sub(1)));
        for (index, op) in batch.iter().enumerate() {
            let result = match refused {
                Some(refused) if refused == index => Err((libc::ENOMEM, "out of memory")),
                _ => self.carry_out(op),
            };
            if let Err((errno, reason)) = result {
                *self = Self { refusal: None, ..before };
                return Err(Failure {
                    index,
                    operation: match op {
                        Op::AddSa(sa) => format!("AddSa({:?})", sa.key),
                        op => format!("{op:?}"),
                    },
                    errno: Some(errno),
                    reason: reason.into(),
                    left_behind: Vec::new(),
                });
            }
        }
        Ok(Done { messages: u32::try_from(batch.len()).unwrap_or(u32::MAX) })
    }
}
