//! What the kernel holds for a mobile node, and what leads from there to what is wanted. It is written down only when the kernel
//! has carried it out, so what fails is planned anew from what really stands.

use std::net::{IpAddr, Ipv6Addr};

use ike::action::ChildId;
use mip6::action::{Interface, Location};
use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress};

use super::MobileNode;
use super::movement::hold;
use crate::kernel::op::{Address, Op, Policy, Protocol, Route, RouteOptimization, SaKey};
use crate::rfc4877::child::{Child, Side};
use crate::rfc4877::movement;
use crate::rfc4877::spd::{self, Policies, Tunnels};

/// The loopback interface, where the home address lives while away: on the link it would be taken for neighbour discovery.
const LOOPBACK: u32 = 1;
/// The metric of our routes: better than what the kernel makes of Router Advertisements (1024).
pub(super) const METRIC: u32 = 100;

const NO_TUNNELS: Tunnels =
    Tunnels { care_of: CareOfAddress(Ipv6Addr::UNSPECIFIED), return_routability: None, payload: None };

/// What stands for the home address.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) policies: Policies,
    /// Where the home address lives.
    home: Option<Address>,
    /// The states that put it for the care-of address.
    optimized: Option<(HomeAddress, CareOfAddress)>,
    /// Inbound SAs beside those of the children.
    pub(super) copies: Vec<Copy>,
    /// Care-of addresses.
    pub(super) held: Vec<CareOfAddress>,
}

/// A copy of a child's inbound SA at another care-of address: of the one that was left softly, or is being gone to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) of: ChildId,
    pub(super) at: CareOfAddress,
    pub(super) key: SaKey,
}

impl MobileNode {
    /// The policies that are wanted here.
    fn desired(&self, home_address: HomeAddress) -> Policies {
        let tunnels = match self.location {
            Location::Away(care_of) => {
                Some(movement::tunnels(self.children_of(home_address).iter().map(|(_, child)| child), care_of.address))
            }
            Location::Home { .. } => None,
            // Nothing leaves, until we are somewhere again.
            Location::Nowhere => Some(NO_TUNNELS),
        };
        spd::mobile_node(home_address, self.settings.home_agent, tunnels)
    }

    pub(super) fn children_of(&self, home_address: HomeAddress) -> Vec<(ChildId, Child)> {
        let all = self.children.iter().map(|(id, (_, child))| (*id, *child));
        all.filter(|(_, child)| child.home_address == home_address).collect()
    }

    /// The first half of a movement, what the Binding Update needs: the home address, signalling, copies of SAs, the route.
    pub(super) fn arrival(&self, soft: bool) -> (Vec<Op>, Standing) {
        let mut ops = Vec::new();
        let mut next = self.standing.clone();
        if let Location::Away(care_of) = self.location
            && !next.held.contains(&care_of.address)
        {
            ops.extend(hold(&care_of));
            next.held.push(care_of.address);
        }
        if let Some(home_address) = self.home_address {
            let agent = self.settings.home_agent;
            if let Some((old, _)) = next.optimized.take_if(|(known, _)| *known != home_address) {
                // RFC 4877 §9: on a different address the old one is used no more.
                ops.extend(route_optimization_keys(old, agent).map(Op::DeleteSa));
            }
            let desired = self.desired(home_address);
            match self.location {
                Location::Away(care_of) => {
                    ops.extend(route_optimization(home_address, agent, care_of.address));
                    next.optimized = Some((home_address, care_of.address));
                    // The sub policies come with the update: they put the Home Address option into it.
                    next.policies = self.signalling_first(home_address, &desired);
                    ops.extend(spd::difference(&self.standing.policies, &next.policies));
                    next.seat(away(home_address), &mut ops);
                    if soft {
                        self.copy_to(home_address, care_of.address, &mut next, &mut ops);
                    }
                }
                Location::Home { interface, router } => {
                    // RFC 4877 §4.2: at home the tunnel policies are inactive; the SAs stay for the next departure.
                    ops.extend(spd::difference(&self.standing.policies, &desired));
                    next.policies = desired;
                    next.seat(self.at_home(home_address, interface), &mut ops);
                    // RFC 6275 §11.5.5: the home agent's link-layer address is learned from its advertisement, so that nobody
                    // is asked from the home address while it is still registered elsewhere.
                    ops.extend(router.link_layer.map(|link_layer| Op::SetNeighbour {
                        interface: interface.0,
                        address: agent.0,
                        link_layer,
                    }));
                }
                Location::Nowhere => {
                    ops.extend(spd::difference(&self.standing.policies, &desired));
                    next.policies = desired;
                }
            }
        }
        // After the home address, which it prefers as source.
        ops.extend(self.route());
        (ops, next)
    }

    /// The policies between two places: signalling as it is to be, the tunnels as they were. From home, nothing leaves until
    /// there are some.
    fn signalling_first(&self, home_address: HomeAddress, desired: &Policies) -> Policies {
        let is_tunnel = |policy: &Policy| policy.priority >= spd::TUNNELS_FROM;
        let current = &self.standing.policies;
        let blocked = spd::mobile_node(home_address, self.settings.home_agent, Some(NO_TUNNELS));
        let has_tunnels = current.contains_key(&movement::guiding_policy(home_address, Side::MobileNode));
        let signalling = desired.iter().filter(|(_, policy)| !is_tunnel(policy));
        let tunnels = if has_tunnels { current } else { &blocked };
        let tunnels = tunnels.iter().filter(|(_, policy)| is_tunnel(policy));
        signalling.chain(tunnels).map(|(key, policy)| (*key, policy.clone())).collect()
    }

    /// A soft handover receives at both addresses.
    fn copy_to(&self, home_address: HomeAddress, to: CareOfAddress, next: &mut Standing, ops: &mut Vec<Op>) {
        let (ids, children): (Vec<ChildId>, Vec<Child>) = self.children_of(home_address).into_iter().unzip();
        let received = self.standing.received_at(to);
        ops.extend(movement::copies(&children, to, &received));
        for (id, child) in ids.into_iter().zip(&children) {
            if !child.purpose.transport() && child.care_of != to && !received.contains(&child.inbound_spi) {
                next.copies.push(Copy { of: id, at: to, key: child.inbound_key_at(to) });
            }
        }
    }

    /// The second half: tunnels and the policies that name them.
    pub(super) fn tunnels(&self) -> (Vec<Op>, Policies) {
        let Some(home_address) = self.home_address else { return (Vec::new(), self.standing.policies.clone()) };
        let desired = self.desired(home_address);
        let current = &self.standing.policies;
        let Location::Away(care_of) = self.location else { return (spd::difference(current, &desired), desired) };
        let children: Vec<Child> = self.children_of(home_address).into_iter().map(|(_, child)| child).collect();
        let payload = movement::guiding_policy(home_address, Side::MobileNode);
        let received = self.standing.received_at(care_of.address);
        (movement::carry(&children, care_of.address, &received, current, &desired, payload), desired)
    }

    /// The kernel has carried [`Self::tunnels`] out. Gives back the SAs that are of no use any more.
    pub(super) fn tunnels_stand(&mut self, desired: Policies) -> Vec<SaKey> {
        self.standing.policies = desired;
        let (Some(home_address), Location::Away(care_of)) = (self.home_address, self.location) else {
            return Vec::new();
        };
        let to = care_of.address;
        let mut useless = Vec::new();
        for (id, (_, child)) in &mut self.children {
            if child.home_address != home_address || child.purpose.transport() || child.care_of == to {
                continue;
            }
            let old = std::mem::replace(&mut child.care_of, to);
            // The copy is the child's own now, and what was its own is a copy.
            let copy = self.standing.copies.iter().position(|copy| copy.of == *id && copy.at == to);
            if let Some(copy) = copy {
                self.standing.copies.swap_remove(copy);
                let key = child.inbound_key_at(old);
                match self.standing.held.contains(&old) {
                    true => self.standing.copies.push(Copy { of: *id, at: old, key }),
                    false => useless.push(key),
                }
            }
        }
        useless
    }

    /// The default route of a place, and the router's link-layer address so that no neighbour solicitation delays the update.
    fn route(&self) -> Vec<Op> {
        let (interface, router) = match self.location {
            Location::Away(care_of) => (care_of.interface, care_of.router),
            Location::Home { interface, router } => (interface, router),
            Location::Nowhere => return Vec::new(),
        };
        let neighbour = router.link_layer.map(|link_layer| Op::SetNeighbour {
            interface: interface.0,
            address: router.address,
            link_layer,
        });
        let away = matches!(self.location, Location::Away(_));
        let route = Op::SetRoute(Route {
            destination: (Ipv6Addr::UNSPECIFIED, 0),
            gateway: Some(router.address),
            interface: interface.0,
            // RFC 6275 §11.3.1: the home address is the preferred source; said by the route because many kernels do not.
            preferred_source: self.home_address.filter(|_| away).map(|home| home.0),
            metric: METRIC,
            local: false,
        });
        neighbour.into_iter().chain([route]).collect()
    }

    fn at_home(&self, home_address: HomeAddress, interface: Interface) -> Address {
        let len = self.settings.home_prefix_len;
        Address { interface: interface.0, address: home_address.0, len, home: true }
    }
}

impl Standing {
    /// The home address comes to its new place first, so there is always one and connections do not break.
    fn seat(&mut self, address: Address, ops: &mut Vec<Op>) {
        ops.push(Op::AddAddress(address));
        if let Some(old) = self.home.replace(address).filter(|old| *old != address) {
            ops.push(Op::DeleteAddress(old));
        }
    }

    /// Inbound SPIs of which a copy stands at this care-of address.
    fn received_at(&self, at: CareOfAddress) -> Vec<u32> {
        self.copies.iter().filter(|copy| copy.at == at).map(|copy| copy.key.spi).collect()
    }

    /// Takes the copies out that this holds for.
    pub(super) fn take_copies(&mut self, gone: impl Fn(&Copy) -> bool) -> Vec<SaKey> {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.copies).into_iter().partition(gone);
        self.copies = kept;
        gone.into_iter().map(|copy| copy.key).collect()
    }
}

fn away(home_address: HomeAddress) -> Address {
    Address { interface: LOOPBACK, address: home_address.0, len: 128, home: true }
}

fn route_optimization_keys(home_address: HomeAddress, agent: HomeAgentAddress) -> [SaKey; 2] {
    let home = IpAddr::V6(home_address.0);
    [
        SaKey { protocol: Protocol::DestinationOptions, source: home, destination: IpAddr::V6(agent.0), spi: 0 },
        // From anybody: the routing header is read before the Home Address option, so the sender is not known yet.
        SaKey { protocol: Protocol::Routing, source: IpAddr::V6(Ipv6Addr::UNSPECIFIED), destination: home, spi: 0 },
    ]
}

fn route_optimization(home: HomeAddress, agent: HomeAgentAddress, care_of: CareOfAddress) -> [Op; 2] {
    let [option, header] = route_optimization_keys(home, agent);
    [
        Op::SetRouteOptimization(RouteOptimization { key: option, care_of: care_of.0, wildcard: false }),
        Op::SetRouteOptimization(RouteOptimization { key: header, care_of: care_of.0, wildcard: true }),
    ]
}
