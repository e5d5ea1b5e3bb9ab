//! The process: one event loop that hands everything that happens to the node and does what the node wants.

mod build;
mod credentials;
pub mod home_agent;
mod key_log;
mod lock;
pub mod mobile_node;
mod reception;
mod refusals;
mod repair;
pub mod shell;
mod world;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ike::action::Endpoints;
use mip6::action::{HomeAgentInput, Interface, MobileNodeInput};
use mip6::address::CareOfAddress;
use mip6::wire::{Icmp6Message, NeighbourAdvertisement, NeighbourOption, RouterSolicitation, icmp6_type};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use crate::kernel::drops::{Dropped, Drops};
use crate::kernel::event::{Events, Link};
use crate::net::icmp6;
use crate::net::mobility;
use conf::model::Model;
use credentials::Credentials;
pub use credentials::{check, in_certificates};
use home_agent::HomeAgent;
use mobile_node::MobileNode;
use reception::Reception;
use world::World;

/// How long a node that was told to stop may take for its farewells.
const FAREWELL: Duration = Duration::from_secs(3);
/// So many Mobility Header messages are worked off before anything else has its turn.
const BURST: usize = 64;
/// How often the kernel is asked what it has dropped.
const DROPS: Duration = Duration::from_secs(5);

/// Runs until it is told to stop (SIGTERM, SIGINT), and leaves the kernel as it was.
///
/// # Errors
/// What keeps it from starting, in words for an operator.
pub async fn run(model: Model) -> Result<(), String> {
    let credentials = Arc::new(Credentials::read(&model)?);
    // No reason to stay down: a clock may be set later, and a peer may think otherwise.
    let (odd, soon) = credentials.oddities(&model, SystemTime::now())?;
    for remark in odd.into_iter().chain(soon) {
        warn!(event = "certificate", "{remark}");
    }
    let mut world = World::open(&model, credentials.clone())?;
    let mut events = Events::open().map_err(|error| format!("cannot listen to the kernel's events: {error}"))?;
    let mut signals = Signals::new().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let mut node = build::node(model, &credentials, &world)?;
    let started = node.start(&mut world).map_err(|failure| failure.to_string());
    if let Err(message) = started {
        world.restore();
        return Err(message);
    }
    info!(event = "started");
    if let Node::HomeAgent(agent, _) = &mut node {
        let lost = world.lost();
        agent.tell_lost(Instant::now(), &lost, &mut world);
    }
    for link in world.links() {
        node.link(&link, &mut world);
    }
    let result = serve(&mut node, &mut world, &mut events, &mut signals).await;
    world.restore();
    info!(event = "stopped");
    result.map_err(|error| error.to_string())
}

async fn serve(node: &mut Node, world: &mut World, events: &mut Events, signals: &mut Signals) -> io::Result<()> {
    let mut stop_at: Option<Instant> = None;
    let mut drops = Drops::new();
    let mut look = tokio::time::interval(DROPS);
    let (ike, mobility, icmp6) = world.sockets();
    let mut from_ike = Reception::new("ike");
    let mut from_mobility = Reception::new("mobility");
    let mut from_icmp6 = Reception::new("icmp6");
    let mut from_kernel = Reception::new("links");
    loop {
        if node.finished() || stop_at.is_some_and(|at| at <= Instant::now()) {
            return Ok(());
        }
        let deadline = [node.deadline(), stop_at].into_iter().flatten().min();
        // In no fixed order: who floods one socket keeps neither the others nor timers nor the operator waiting.
        tokio::select! {
            received = mobility.readable() => {
                received?;
                for _ in 0..BURST {
                    let Some(Some(message)) = from_mobility.take(mobility.try_recv()).await? else { break };
                    node.mobility(message, world);
                }
            }
            received = icmp6.recv() => {
                if let Some(received) = from_icmp6.take(received).await? {
                    node.icmp6(received, world);
                }
            }
            links = events.next() => {
                for link in from_kernel.take(links).await?.unwrap_or_default() {
                    if world.changed(&link) {
                        node.link(&link, world);
                    }
                }
            }
            received = ike.recv() => {
                if let Some(received) = from_ike.take(received).await? {
                    let endpoints = Endpoints { local: received.local, remote: received.remote };
                    node.ike(endpoints, received.bytes, world);
                }
            }
            () = maybe(deadline) => node.timeout(world),
            _ = look.tick() => report(&mut drops),
            order = signals.next() => match order {
                Order::Stop if stop_at.is_some() => return Ok(()),
                Order::Stop => {
                    info!(event = "stopping");
                    stop_at = Some(Instant::now() + FAREWELL);
                    node.stop(world);
                }
                Order::CheckLiveness => node.order(ike::action::Input::CheckLiveness, world),
                Order::Rekey => node.rekey(world),
            },
        }
    }
}

/// Says what the kernel refused before we saw it.
fn report(drops: &mut Drops) {
    for Dropped { packets, reason, suspicious } in drops.look() {
        match suspicious {
            true => warn!(event = "packets_refused", packets, reason),
            false => debug!(event = "packets_refused", packets, reason),
        }
    }
}

async fn maybe(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// What an operator can tell the process by a signal.
enum Order {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGUSR1: ask every peer whether it is there.
    CheckLiveness,
    /// SIGUSR2: rekey every CHILD_SA and IKE SA.
    Rekey,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    liveness: Signal,
    rekey: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            liveness: signal(SignalKind::user_defined1())?,
            rekey: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.liveness.recv() => Order::CheckLiveness,
            _ = self.rekey.recv() => Order::Rekey,
        }
    }
}

/// What this process is.
enum Node {
    /// A home agent; its interface on the home link.
    HomeAgent(Box<HomeAgent>, Interface),
    /// A mobile node; its interfaces by name, with their preferences.
    MobileNode(Box<MobileNode>, BTreeMap<String, u32>),
}

impl Node {
    fn start(&mut self, world: &mut World) -> Result<(), crate::kernel::Failure> {
        match self {
            Self::HomeAgent(node, _) => node.start(Instant::now(), world),
            Self::MobileNode(node, interfaces) => {
                let names: Vec<String> = interfaces.keys().cloned().collect();
                node.start(&names, world)
            }
        }
    }

    fn link(&mut self, link: &Link, world: &mut World) {
        let Self::MobileNode(node, interfaces) = self else { return };
        let Some(preference) = interfaces.get(&link.name).copied() else { return };
        let interface = Interface(link.index);
        let input = if link.running {
            MobileNodeInput::LinkUp { interface, preference }
        } else {
            MobileNodeInput::LinkDown(interface)
        };
        info!(event = if link.running { "link_up" } else { "link_down" }, interface = link.name);
        node.mobility(Instant::now(), input, world);
    }

    fn ike(&mut self, endpoints: Endpoints, bytes: Vec<u8>, world: &mut World) {
        match self {
            Self::HomeAgent(node, _) => node.ike_datagram(Instant::now(), endpoints, bytes, world),
            Self::MobileNode(node, _) => node.ike_datagram(Instant::now(), endpoints, bytes, world),
        }
    }

    fn mobility(&mut self, received: mobility::Received, world: &mut World) {
        let now = Instant::now();
        match self {
            Self::HomeAgent(node, _) => {
                let care_of = received.home_address_option_care_of.map(CareOfAddress);
                node.mobility_message(now, received.source, care_of, received.destination, received.message, world);
            }
            Self::MobileNode(node, _) => {
                let input = MobileNodeInput::MobilityMessage {
                    source: received.source,
                    destination: received.destination,
                    message: received.message,
                };
                node.mobility(now, input, world);
            }
        }
    }

    fn icmp6(&mut self, received: icmp6::Received, world: &mut World) {
        let now = Instant::now();
        match self {
            Self::HomeAgent(node, home) => {
                if let Some(input) = for_home_agent(received, *home) {
                    node.mobility(now, input, world);
                }
            }
            Self::MobileNode(node, _) => {
                if let Some(input) = for_mobile_node(received) {
                    node.mobility(now, input, world);
                }
            }
        }
    }

    fn timeout(&mut self, world: &mut World) {
        match self {
            Self::HomeAgent(node, _) => node.timeout(Instant::now(), world),
            Self::MobileNode(node, _) => node.timeout(Instant::now(), world),
        }
    }

    fn order(&mut self, order: fn(ike::action::IkeSaId) -> ike::action::Input, world: &mut World) {
        match self {
            Self::HomeAgent(node, _) => node.order(Instant::now(), order, world),
            Self::MobileNode(node, _) => node.order(Instant::now(), order, world),
        }
    }

    fn rekey(&mut self, world: &mut World) {
        match self {
            Self::HomeAgent(node, _) => node.rekey(Instant::now(), world),
            Self::MobileNode(node, _) => node.rekey(Instant::now(), world),
        }
    }

    fn stop(&mut self, world: &mut World) {
        match self {
            Self::HomeAgent(node, _) => node.stop(Instant::now(), world),
            Self::MobileNode(node, _) => node.stop(Instant::now(), world),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::HomeAgent(node, _) => node.deadline(),
            Self::MobileNode(node, _) => node.deadline(),
        }
    }

    fn finished(&self) -> bool {
        match self {
            Self::HomeAgent(node, _) => node.finished(),
            Self::MobileNode(node, _) => node.finished(),
        }
    }
}

/// What an ICMPv6 message is for a home agent whose home link is `home`. The socket has passed neighbour discovery only
/// with a hop limit of 255: no router forwarded it.
fn for_home_agent(received: icmp6::Received, home: Interface) -> Option<HomeAgentInput> {
    let icmp6::Received { kind, source, message, interface, .. } = received;
    let at_home = Interface(interface) == home;
    match kind {
        icmp6_type::ROUTER_SOLICITATION if at_home => Some(HomeAgentInput::RouterSolicitation { source }),
        icmp6_type::NEIGHBOUR_ADVERTISEMENT if at_home => {
            target(&message).map(|address| HomeAgentInput::Duplicate { address })
        }
        icmp6_type::MOBILE_PREFIX_SOLICITATION => Some(HomeAgentInput::PrefixSolicitation { source, message }),
        _ => None,
    }
}

/// What an ICMPv6 message is for a mobile node.
fn for_mobile_node(received: icmp6::Received) -> Option<MobileNodeInput> {
    let icmp6::Received { kind, source, message, routing_header_care_of, .. } = received;
    let interface = Interface(received.interface);
    match kind {
        icmp6_type::ROUTER_ADVERTISEMENT => Some(MobileNodeInput::RouterAdvertisement { interface, source, message }),
        icmp6_type::NEIGHBOUR_ADVERTISEMENT => {
            target(&message).map(|address| MobileNodeInput::Duplicate { interface, address })
        }
        // RFC 6275 §11.4.3: one without a type 2 routing header is discarded.
        icmp6_type::MOBILE_PREFIX_ADVERTISEMENT if routing_header_care_of.is_none() => {
            let reason = format!("a mobile prefix advertisement from {source} has no type 2 routing header");
            // Anybody can send them, as many as he likes.
            debug!(event = "refused", reason);
            None
        }
        icmp6_type::MOBILE_PREFIX_ADVERTISEMENT => Some(MobileNodeInput::PrefixAdvertisement { source, message }),
        _ => None,
    }
}

/// A Router Solicitation (RFC 4861 §4.1).
fn router_solicitation(link_layer: Option<[u8; 6]>) -> Vec<u8> {
    let options = link_layer.map(NeighbourOption::SourceLinkLayer).into_iter().collect();
    Icmp6Message::RouterSolicitation(RouterSolicitation { options }).write()
}

/// A neighbour advertisement that nobody asked for: it overrides what is cached (RFC 4861 §7.2.6).
fn unsolicited_advertisement(target: Ipv6Addr, link_layer: Option<[u8; 6]>) -> Vec<u8> {
    let options = link_layer.map(NeighbourOption::TargetLinkLayer).into_iter().collect();
    // RFC 6275 §10.4.1: R is clear, also where a home agent speaks for the mobile node, which is no router; §11.5.5: S is
    // clear and O is set.
    let advertisement = NeighbourAdvertisement { target, router: false, solicited: false, overrides: true, options };
    Icmp6Message::NeighbourAdvertisement(advertisement).write()
}

/// The target of a neighbour advertisement.
fn target(message: &[u8]) -> Option<Ipv6Addr> {
    match Icmp6Message::parse(message) {
        Ok(Icmp6Message::NeighbourAdvertisement(advertisement)) => Some(advertisement.target),
        Ok(_) => None,
        Err(error) => {
            debug!(event = "refused", reason = format!("neighbour advertisement: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(kind: u8, message: Vec<u8>) -> icmp6::Received {
        icmp6::Received {
            kind,
            source: "2001:db8:1::1".parse().unwrap(),
            destination: "2001:db8:1::100".parse().unwrap(),
            interface: 2,
            hop_limit: 255,
            home_address_option_care_of: None,
            routing_header_care_of: None,
            message,
        }
    }

    #[test]
    fn an_announcement_is_of_no_router_was_not_asked_for_and_overrides() {
        let target = "2001:db8:1::100".parse().unwrap();
        let message = unsolicited_advertisement(target, Some([2, 0, 0, 0, 0, 1]));
        #[rustfmt::skip]
        assert_eq!(message, [
            136, 0, 0, 0, 0x20, 0, 0, 0,
            0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
            2, 1, 2, 0, 0, 0, 0, 1,
        ]);
    }

    #[test]
    fn a_mobile_prefix_advertisement_counts_only_with_a_type_2_routing_header() {
        let plain = received(icmp6::MOBILE_PREFIX_ADVERTISEMENT, vec![147, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(for_mobile_node(plain.clone()), None);
        let source = plain.source;
        let routed = icmp6::Received { routing_header_care_of: Some("2001:db8:a::1".parse().unwrap()), ..plain };
        let message = routed.message.clone();
        assert_eq!(for_mobile_node(routed), Some(MobileNodeInput::PrefixAdvertisement { source, message }));
    }

    #[test]
    fn neighbour_discovery_of_other_links_is_not_for_a_home_agent() {
        let announced = received(icmp6::NEIGHBOUR_ADVERTISEMENT, unsolicited_advertisement(Ipv6Addr::LOCALHOST, None));
        let duplicate = HomeAgentInput::Duplicate { address: Ipv6Addr::LOCALHOST };
        assert_eq!(for_home_agent(announced.clone(), Interface(2)), Some(duplicate));
        assert_eq!(for_home_agent(announced, Interface(3)), None);
        let solicited = received(icmp6::ROUTER_SOLICITATION, router_solicitation(None));
        assert_eq!(for_home_agent(solicited, Interface(3)), None);
    }
}
