//! Movements: what of the kernel, the tunnels and IKE goes along.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use ike::action::{Endpoints, Input};
use mip6::action::{CareOf, Interface, Location, MobileNodeInput};
use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress};
use tracing::info;

use super::MobileNode;
use super::session::Session;
use crate::daemon::shell::Shell;
use crate::kernel::op::{Address, Op, Policy, Protocol, Route, RouteOptimization, SaKey};
use crate::rfc4877::child::{Child, Side};
use crate::rfc4877::movement::{self, Halves};
use crate::rfc4877::spd::{self, Policies};

/// The loopback interface, where the home address lives while away: on the link it would be taken for neighbour discovery.
const LOOPBACK: u32 = 1;
/// The metric of our default route: better than what the kernel makes of Router Advertisements (1024).
const METRIC: u32 = 100;

impl MobileNode {
    pub(super) fn add_care_of(&mut self, now: Instant, care_of: CareOf, shell: &mut dyn Shell) {
        // A movement begins with its address.
        self.netlink_messages = 0;
        if self.apply(&[Op::AddAddress(address(&care_of)), Op::SetRoute(own(&care_of))], shell) {
            info!(event = "care_of_usable", care_of = %care_of.address, interface = care_of.interface.0);
        } else {
            self.mip6.handle(now, MobileNodeInput::CareOfRefused(care_of));
        }
    }

    pub(super) fn remove_care_of(&mut self, now: Instant, care_of: CareOf, shell: &mut dyn Shell) {
        // The update may have to wait (RFC 6275 §11.8, MAX_UPDATE_RATE); the tunnels do not end at an address that is gone.
        self.finish_movement(now, shell);
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lingering).into_iter().partition(|(at, _)| *at == care_of.address);
        self.lingering = kept;
        let mut ops: Vec<Op> = gone.into_iter().map(|(_, key)| Op::DeleteSa(key)).collect();
        ops.extend([Op::DeleteRoute(own(&care_of)), Op::DeleteAddress(address(&care_of))]);
        self.apply(&ops, shell);
    }

    /// A movement is one plan in two halves: what the Binding Update needs comes before it, the tunnels follow right behind.
    pub(super) fn relocate(&mut self, now: Instant, from: Location, to: Location, soft: bool, shell: &mut dyn Shell) {
        info!(event = "relocate", from = %Place(from), to = %Place(to), soft);
        self.location = to;
        if !matches!(to, Location::Away(_)) {
            self.netlink_messages = 0;
        }
        let mut before = Vec::new();
        if let Some(home_address) = self.home_address {
            self.settle(home_address, from, to, soft, &mut before);
        }
        // After the home address, which it prefers as source.
        before.extend(self.route(to));
        self.apply(&before, shell);
        if !soft {
            self.after_update.extend(forgotten_router(from, to));
        }
        match (&self.session, to) {
            (Session::Established { ike_sa, successor, .. }, _) => {
                let succeeding = successor.is_some();
                self.endpoints_after_update = self
                    .ike
                    .endpoints(*ike_sa)
                    .and_then(|old| Some(Endpoints { local: self.local(old.local.port())?, ..old }));
                if succeeding {
                    self.restart_successor(now);
                }
            }
            (Session::Idle { .. }, Location::Away(_)) => self.connect(now),
            (Session::Connecting { .. }, _) => {
                // IKE_SA_INIT and IKE_AUTH began at an address that is gone; nothing is lost by starting again.
                self.restart_session(now);
            }
            // At home there is nothing to register and nothing to tunnel.
            (Session::Idle { .. }, Location::Home { .. } | Location::Nowhere) => {}
        }
    }

    /// Addresses, route-optimisation states, policies and tunnels of the home address at this place.
    fn settle(&mut self, home_address: HomeAddress, from: Location, to: Location, soft: bool, before: &mut Vec<Op>) {
        let agent = self.settings.home_agent;
        let children: Vec<Child> = self.children.values().copied().collect();
        let payload = movement::guiding_policy(home_address, Side::MobileNode);
        match to {
            Location::Away(care_of) => {
                before.extend(route_optimization(home_address, agent, care_of.address));
                before.push(Op::AddAddress(away(home_address)));
                if let Location::Home { interface, .. } = from {
                    before.push(Op::DeleteAddress(self.at_home(home_address, interface)));
                }
                let tunnels = movement::tunnels(children.iter(), care_of.address);
                let desired = spd::mobile_node(home_address, agent, Some(tunnels));
                // The sub policies come with the update: they put the Home Address option into it.
                let signalling = signalling_first(&self.policies, &desired);
                before.extend(spd::difference(&self.policies, &signalling));
                let halves = if soft { Halves::Outbound } else { Halves::Both };
                if soft {
                    before.extend(movement::copies(&children, care_of.address));
                }
                self.after_update.extend(movement::carry(
                    &children,
                    care_of.address,
                    halves,
                    &signalling,
                    &desired,
                    payload,
                ));
                let stranded: Vec<u32> = movement::stranded(&children, care_of.address, &desired, payload)
                    .iter()
                    .map(|child| child.inbound_spi)
                    .collect();
                for child in self.children.values_mut().filter(|c| !c.purpose.transport()) {
                    if stranded.contains(&child.inbound_spi) || child.care_of == care_of.address {
                        continue;
                    }
                    if soft {
                        self.lingering.push((child.care_of, child.inbound_key()));
                    }
                    child.care_of = care_of.address;
                }
                self.policies = desired;
            }
            Location::Home { interface, router } => {
                // RFC 4877 §4.2: at home the tunnel policies are inactive; the SAs stay for the next departure.
                let desired = spd::mobile_node(home_address, agent, None);
                before.extend(spd::difference(&self.policies, &desired));
                // On the link first, then off the loopback: there is always one, so connections do not break.
                before.push(Op::AddAddress(self.at_home(home_address, interface)));
                before.push(Op::DeleteAddress(away(home_address)));
                // RFC 6275 §11.5.5: the home agent's link-layer address is learned from its advertisement, so that nobody is
                // asked from the home address while it is still registered elsewhere.
                before.extend(router.link_layer.map(|link_layer| Op::SetNeighbour {
                    interface: interface.0,
                    address: agent.0,
                    link_layer,
                }));
                self.policies = desired;
            }
            Location::Nowhere => {}
        }
    }

    /// What is done once the update has left, and before anything else.
    pub(super) fn finish_movement(&mut self, now: Instant, shell: &mut dyn Shell) {
        let ops: Vec<Op> = self.after_update.drain(..).collect();
        if !ops.is_empty() {
            self.apply(&ops, shell);
        }
        if let (Some(endpoints), Session::Established { ike_sa, .. }) =
            (self.endpoints_after_update.take(), &self.session)
        {
            // RFC 4877 §7.4: the mobile node moves its IKE end point when the update is sent.
            self.ike_moved |= self.ike.endpoints(*ike_sa) != Some(endpoints);
            self.ike.handle(now, Input::Move(*ike_sa, endpoints));
        }
    }

    /// The default route of a place, and the router's link-layer address so that no neighbour solicitation delays the update.
    fn route(&self, to: Location) -> Vec<Op> {
        let (interface, router) = match to {
            Location::Away(care_of) => (care_of.interface, care_of.router),
            Location::Home { interface, router } => (interface, router),
            Location::Nowhere => return Vec::new(),
        };
        let neighbour = router.link_layer.map(|link_layer| Op::SetNeighbour {
            interface: interface.0,
            address: router.address,
            link_layer,
        });
        let route = Op::SetRoute(Route {
            destination: (Ipv6Addr::UNSPECIFIED, 0),
            gateway: Some(router.address),
            interface: interface.0,
            // RFC 6275 §11.3.1: the home address is the preferred source; said by the route because many kernels do not.
            preferred_source: self.home_address.filter(|_| matches!(to, Location::Away(_))).map(|home| home.0),
            metric: METRIC,
            local: false,
        });
        neighbour.into_iter().chain([route]).collect()
    }

    /// Our IKE address here: the care-of address, at home the home address (RFC 4877 §4.4, RFC 6275 §11.5.5).
    pub(super) fn local(&self, port: u16) -> Option<SocketAddr> {
        let address = match self.location {
            Location::Away(care_of) => care_of.address.0,
            Location::Home { .. } => self.home_address?.0,
            Location::Nowhere => return None,
        };
        Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, 0)))
    }

    fn at_home(&self, home_address: HomeAddress, interface: Interface) -> Address {
        let len = self.settings.home_prefix_len;
        Address { interface: interface.0, address: home_address.0, len, home: true }
    }
    /// The home address is known: everything that hangs on it is put in place.
    pub(super) fn adopt(&mut self, home_address: HomeAddress, shell: &mut dyn Shell) {
        if self.home_address == Some(home_address) {
            return;
        }
        let mut ops = Vec::new();
        if let Some(old) = self.home_address.take() {
            // RFC 4877 §9: on a different address the old one is used no more.
            ops.extend(spd::difference(&self.policies, &Policies::new()));
            ops.push(Op::DeleteAddress(away(old)));
            ops.extend(route_optimization_keys(old, self.settings.home_agent).map(Op::DeleteSa));
            self.policies = Policies::new();
        }
        self.home_address = Some(home_address);
        self.settle(home_address, Location::Nowhere, self.location, false, &mut ops);
        ops.extend(self.after_update.drain(..));
        ops.extend(self.route(self.location));
        info!(event = "home_address", %home_address);
        self.apply(&ops, shell);
    }
}

/// Packets that were sent while the link was gone wait in the kernel for the old router's link-layer address, for three
/// seconds; and as long as one waits TCP does not repeat it.
fn forgotten_router(from: Location, to: Location) -> Option<Op> {
    let router = |location| match location {
        Location::Away(care_of) => Some((care_of.interface.0, care_of.router.address)),
        Location::Home { interface, router } => Some((interface.0, router.address)),
        Location::Nowhere => None,
    };
    let (interface, address) = router(from).filter(|old| router(to) != Some(*old))?;
    Some(Op::DeleteNeighbour { interface, address })
}

fn address(care_of: &CareOf) -> Address {
    Address { interface: care_of.interface.0, address: care_of.address.0, len: care_of.prefix.length(), home: false }
}

/// Linux makes the local route of an address by a work queue. The answer to the update may be there before that has had the
/// processor, and would be dropped.
fn own(care_of: &CareOf) -> Route {
    Route {
        destination: (care_of.address.0, 128),
        gateway: None,
        interface: care_of.interface.0,
        preferred_source: None,
        metric: METRIC,
        local: true,
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

/// The policies between two places: signalling as it is to be, the tunnels as they were.
fn signalling_first(current: &Policies, desired: &Policies) -> Policies {
    let is_tunnel = |policy: &Policy| policy.priority >= spd::TUNNELS_FROM;
    let signalling = desired.iter().filter(|(_, policy)| !is_tunnel(policy));
    let tunnels = current.iter().filter(|(_, policy)| is_tunnel(policy));
    signalling.chain(tunnels).map(|(key, policy)| (*key, policy.clone())).collect()
}

struct Place(Location);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Location::Nowhere => f.write_str("nowhere"),
            Location::Away(care_of) => care_of.address.fmt(f),
            Location::Home { .. } => f.write_str("home"),
        }
    }
}
