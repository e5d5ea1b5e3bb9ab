//! What must hold at every step, and what must hold when all is quiet again.

use std::collections::{BTreeMap, BTreeSet};

use homeward::kernel::fake::{Datagram, FakeKernel, Packet};
use homeward::kernel::op::SaKey;
use homeward::rfc4877::child::{Child, Purpose};
use homeward::rfc4877::movement;
use homeward::rfc4877::spd::{self, Policies};
use ike::wire::Identity;
use mip6::action::Location;
use mip6::address::{CareOfAddress, HomeAddress, Prefix};

use crate::hand::ICMPV6;
use crate::hosts::{AGENT, CORRESPONDENT, Place, identity};
use crate::world::World;

/// Looks at what must never be.
pub(crate) fn at_every_step(world: &mut World) {
    let mut found = Vec::new();
    for (number, mobile) in world.mobiles.iter_mut().enumerate() {
        let said = mobile.hand.violations.drain(..);
        found.extend(said.map(|violation| format!("mn{number}: {violation}")));
        let home_address = mobile.node.as_ref().and_then(|node| node.home_address());
        let Some(home_address) = home_address.filter(|home| mobile.hand.kernel.has_address(home.0)) else { continue };
        // What a router that is not at home gets to see.
        if mobile.way_out().is_some_and(|place| place != Place::Home)
            && mobile.hand.kernel.would_tunnel(&echo(home_address, CORRESPONDENT)) == Ok(false)
        {
            found.push(format!("mn{number}: a packet of the home address leaves outside the tunnel"));
        }
    }
    found.extend(world.agent_hand.violations.drain(..).map(|violation| format!("ha: {violation}")));
    let owners: BTreeMap<_, _> =
        world.agent.ike_sas().map(|(ike_sa, identity, _)| (ike_sa, identity.clone())).collect();
    let mut holders: BTreeMap<HomeAddress, BTreeSet<Identity>> = BTreeMap::new();
    for (_, ike_sa, child) in world.agent.children() {
        if let Some(owner) = owners.get(&ike_sa) {
            holders.entry(child.home_address).or_default().insert(owner.clone());
        }
    }
    for (home_address, holders) in holders.into_iter().filter(|(_, holders)| holders.len() > 1) {
        found.push(format!("ha: {home_address} belongs to {holders:?}"));
    }
    for violation in found {
        world.say(|| format!("VIOLATION {violation}"));
        world.violations.push(violation);
    }
}

/// Whether both sides agree in everything, as far as it is not on its way.
pub(crate) fn consistent(world: &World) -> Result<(), String> {
    for number in 0..world.mobiles.len() {
        mobile(world, number).map_err(|reason| format!("mn{number}: {reason}"))?;
    }
    agent(world).map_err(|reason| format!("ha: {reason}"))?;
    for number in 0..world.mobiles.len() {
        reachable(world, number).map_err(|reason| format!("mn{number}: {reason}"))?;
    }
    Ok(())
}

fn mobile(world: &World, number: usize) -> Result<(), String> {
    let mobile = &world.mobiles[number];
    let kernel = &mobile.hand.kernel;
    let known: Vec<_> = world.agent.ike_sas().filter(|(_, who, _)| **who == identity(number)).collect();
    let Some(node) = &mobile.node else {
        ensure(kernel.is_empty(), || "it does not run and left something in the kernel".into())?;
        return ensure(known.is_empty(), || "it does not run and the home agent has an IKE SA with it".into());
    };
    let location = node.location();
    let place = |interface: u32, prefix: Prefix| {
        let place = mobile.place(interface);
        ensure(place.is_some_and(|place| place.prefix() == prefix), || {
            format!("it believes to be on {prefix}, its interface is in {place:?}")
        })
    };
    let (children, policies): (Vec<Child>, _) = (node.children().map(|(_, child)| *child).collect(), node.policies());
    let endpoints = node.ike_endpoints();
    match known.as_slice() {
        [] => ensure(endpoints.is_none(), || "only it has an IKE SA".into())?,
        [(_, _, at_agent)] => {
            let turned = at_agent.map(|at| (at.remote, at.local));
            let ours = endpoints.map(|at| (at.local, at.remote));
            ensure(ours == turned, || format!("IKE speaks between {ours:?}, at the home agent {turned:?}"))?;
        }
        several => return Err(format!("the home agent has {} IKE SAs with it", several.len())),
    }
    let bound =
        world.agent.bound().find(|(home, ..)| Some(*home) == node.home_address()).map(|(_, care_of, _)| care_of);
    let desired = match (location, node.home_address()) {
        (Location::Away(care_of), Some(home)) => {
            place(care_of.interface.0, care_of.prefix)?;
            let binding = node.binding().map(|binding| binding.care_of);
            ensure(binding == Some(care_of.address), || format!("at {} it is bound to {binding:?}", care_of.address))?;
            ensure(bound == Some(care_of.address), || {
                format!("at {} the home agent has it at {bound:?}", care_of.address)
            })?;
            all_purposes(&children, care_of.address)?;
            let tunnels = movement::tunnels(children.iter(), care_of.address);
            spd::mobile_node(home, AGENT, Some(tunnels))
        }
        (Location::Home { interface, .. }, home) => {
            place(interface.0, Place::Home.prefix())?;
            ensure(node.binding().is_none(), || "it is bound at home".into())?;
            ensure(bound.is_none(), || "it is at home and the home agent has a binding".into())?;
            match home {
                Some(home) => spd::mobile_node(home, AGENT, None),
                None => Policies::new(),
            }
        }
        (Location::Nowhere, None) if mobile.plugged == [None; 2] => Policies::new(),
        (Location::Away(_) | Location::Nowhere, _) => return Err(format!("it is still at {location:?}")),
    };
    ensure(*policies == desired, || format!("its policies are {policies:#?}\nand should be {desired:#?}"))?;
    ensure(*kernel.policies() == desired, || format!("the kernel has {:#?}\ndesired {desired:#?}", kernel.policies()))?;
    same_sas(kernel, &children)?;
    crosswise(world, number, &children, matches!(location, Location::Away(_)))
}

/// RFC 4877 §7.3: one of each, and where we are.
fn all_purposes(children: &[Child], care_of: CareOfAddress) -> Result<(), String> {
    let purposes = [Purpose::Binding, Purpose::PrefixDiscovery, Purpose::ReturnRoutability, Purpose::Payload];
    for purpose in purposes {
        let found: Vec<_> = children.iter().filter(|child| child.purpose == purpose).collect();
        ensure(!found.is_empty(), || format!("there is no CHILD_SA for {purpose:?}"))?;
        let astray = found.iter().find(|child| !purpose.transport() && child.care_of != care_of);
        ensure(astray.is_none(), || format!("a tunnel is elsewhere: {astray:?}"))?;
    }
    Ok(())
}

/// Each CHILD_SA is there on the other side, with the SPIs turned.
fn crosswise(world: &World, number: usize, children: &[Child], away: bool) -> Result<(), String> {
    let owner = identity(number);
    let own: BTreeSet<_> =
        world.agent.ike_sas().filter(|(_, who, _)| **who == owner).map(|(ike_sa, ..)| ike_sa).collect();
    type Pair = (Purpose, HomeAddress, u32, u32, Option<CareOfAddress>);
    let place = |child: &Child| (away && !child.purpose.transport()).then_some(child.care_of);
    let ours: BTreeSet<Pair> = children
        .iter()
        .map(|child| (child.purpose, child.home_address, child.inbound_spi, child.outbound_spi, place(child)))
        .collect();
    let theirs: BTreeSet<Pair> = world
        .agent
        .children()
        .filter(|(_, ike_sa, _)| own.contains(ike_sa))
        .map(|(_, _, child)| (child.purpose, child.home_address, child.outbound_spi, child.inbound_spi, place(child)))
        .collect();
    ensure(ours == theirs, || format!("CHILD_SAs {ours:08x?}\nat the home agent {theirs:08x?}"))
}

/// The kernel's SAs are those of the children.
fn same_sas(kernel: &FakeKernel, children: &[Child]) -> Result<(), String> {
    let standing: BTreeSet<SaKey> = kernel.esp_sas().map(|sa| sa.key).collect();
    let wanted: BTreeSet<SaKey> =
        children.iter().flat_map(|child| [child.inbound_key(), child.outbound_key()]).collect();
    let show = |keys: BTreeSet<&SaKey>| format!("{keys:08x?}");
    ensure(standing == wanted, || {
        let (left, missing) = (standing.difference(&wanted).collect(), wanted.difference(&standing).collect());
        format!("SAs left over: {}, missing: {}", show(left), show(missing))
    })
}

fn agent(world: &World) -> Result<(), String> {
    let kernel = &world.agent_hand.kernel;
    let mut desired = spd::home_agent(AGENT, &[Place::Home.prefix()]);
    for (home_address, care_of, policies) in world.agent.bound() {
        let children: Vec<Child> = world
            .agent
            .children()
            .map(|(.., child)| *child)
            .filter(|child| child.home_address == home_address)
            .collect();
        let binding = movement::binding_policies(home_address, AGENT, &children, care_of);
        ensure(*policies == binding, || format!("the policies of {home_address} are not what its children want"))?;
        desired.extend(binding);
    }
    ensure(*kernel.policies() == desired, || {
        let keys = |policies: &Policies| policies.keys().copied().collect::<BTreeSet<_>>();
        let (standing, wanted) = (keys(kernel.policies()), keys(&desired));
        format!(
            "policies left over: {:?}, missing: {:?}, or others in templates",
            standing.difference(&wanted).collect::<Vec<_>>(),
            wanted.difference(&standing).collect::<Vec<_>>()
        )
    })?;
    let children: Vec<Child> = world.agent.children().map(|(.., child)| *child).collect();
    same_sas(kernel, &children)?;
    let proxies: BTreeSet<_> = kernel.proxies().iter().map(|(_, address)| HomeAddress(*address)).collect();
    let bound: BTreeSet<_> = world.agent.bound().map(|(home_address, ..)| home_address).collect();
    ensure(proxies == bound, || format!("it answers for {proxies:?}, bound are {bound:?}"))?;
    let mobiles: BTreeSet<_> = world.mobiles.iter().filter_map(|mobile| mobile.node.as_ref()?.home_address()).collect();
    ensure(bound.is_subset(&mobiles), || format!("bound are {bound:?}, home addresses are {mobiles:?}"))
}

/// Virtual pings: to the correspondent, the home agent and the other mobile nodes, and back.
fn reachable(world: &World, number: usize) -> Result<(), String> {
    let Some(own) = world.mobiles[number].node.as_ref().and_then(|node| node.home_address()) else { return Ok(()) };
    let others = world.mobiles.iter().enumerate().filter(|(other, _)| *other != number);
    let others = others.filter_map(|(_, mobile)| Some(mobile.node.as_ref()?.home_address()?.0));
    for target in [CORRESPONDENT, AGENT.0].into_iter().chain(others) {
        let mut kernels = Kernels::new(world);
        let there = kernels.carry(world, Some(number), echo(own, target));
        there.map_err(|reason| format!("a packet to {target} does not arrive: {reason}"))?;
        let back = Datagram { source: target, destination: own.0, ..echo(own, target) };
        let from = world.mobiles.iter().position(|mobile| {
            mobile.node.as_ref().and_then(|n| n.home_address()).is_some_and(|home| home.0 == target)
        });
        let back = kernels.carry(world, from, back);
        back.map_err(|reason| format!("a packet from {target} does not arrive: {reason}"))?;
    }
    Ok(())
}

fn echo(from: HomeAddress, to: std::net::Ipv6Addr) -> Datagram {
    Datagram { source: from.0, destination: to, protocol: ICMPV6, kind: 128, octets: Vec::new() }
}

/// Copies of the kernels, so that a look changes nothing.
struct Kernels {
    agent: FakeKernel,
    mobiles: Vec<FakeKernel>,
}

impl Kernels {
    fn new(world: &World) -> Self {
        Self {
            agent: world.agent_hand.kernel.clone(),
            mobiles: world.mobiles.iter().map(|mobile| mobile.hand.kernel.clone()).collect(),
        }
    }

    /// Carries a datagram to its end, by tunnels and the home agent. `from`: a mobile node; else the home agent or who is
    /// beyond it.
    fn carry(&mut self, world: &World, from: Option<usize>, datagram: Datagram) -> Result<(), String> {
        let target = datagram.destination;
        let (mut packet, mut forwarded) = match from {
            Some(number) => {
                world.mobiles[number].way_out().ok_or("there is no way out")?;
                (self.mobiles[number].send(datagram, None)?, false)
            }
            None if datagram.source == AGENT.0 => (self.agent.send(datagram, None)?, true),
            None => (plain(datagram), false),
        };
        loop {
            if let Some(number) = world.mobile_at(packet.destination) {
                let kernel = &mut self.mobiles[number];
                let received = kernel.open(&packet)?;
                let received = kernel.deliver(received)?;
                let arrived = received.datagram.destination == target && kernel.has_address(target);
                return if arrived { Ok(()) } else { Err("it reaches another".into()) };
            }
            if packet.destination == target && forwarded {
                let arrived = packet.seal.is_none() && target == CORRESPONDENT;
                return if arrived { Ok(()) } else { Err(format!("nobody is at {target}")) };
            }
            if forwarded {
                return Err(format!("nobody is at {}", packet.destination));
            }
            // To the home agent, or by it as the router of the home link.
            let received = self.agent.open(&packet)?;
            if received.datagram.destination == AGENT.0 {
                self.agent.deliver(received)?;
                return if target == AGENT.0 { Ok(()) } else { Err("it ends at the home agent".into()) };
            }
            packet = self.agent.forward(received)?;
            forwarded = true;
        }
    }
}

fn plain(datagram: Datagram) -> Packet {
    Packet {
        source: datagram.source,
        destination: datagram.destination,
        home_address_option: None,
        routing_header: None,
        seal: None,
        datagram,
    }
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}
