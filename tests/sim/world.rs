//! A clock that only we move, links that lose, double and delay, and the hosts on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use homeward::daemon::home_agent::HomeAgent;
use homeward::daemon::mobile_node::MobileNode;
use homeward::daemon::shell::Shell;
use homeward::kernel::fake::Packet;
use ike::action::Endpoints;
use mip6::action::{HomeAgentInput, Interface, MobileNodeInput};
use mip6::address::CareOfAddress;
use mip6::wire::icmp6_type;

use crate::hand::{Hand, ICMPV6, MOBILITY_HEADER, Sent};
use crate::hosts::{AGENT, FIRST, Mobile, Place, Setup};
use crate::random::Random;
use crate::trace::speaks;
use crate::verdict;

/// What the links do to packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// So many in a thousand are lost.
    pub(crate) loss: usize,
    /// So many in a thousand arrive twice.
    pub(crate) doubled: usize,
    /// Each takes a time between these: they overtake each other.
    pub(crate) delay: (Duration, Duration),
}

impl Weather {
    pub(crate) const GOOD: Self =
        Self { loss: 0, doubled: 0, delay: (Duration::from_millis(5), Duration::from_millis(5)) };
}

/// What arrives somewhere.
#[derive(Clone, Debug)]
enum Arrival {
    Ike {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Packet(Packet),
    /// At one interface of a mobile node, if it is still plugged into that place.
    OnLink {
        mobile: usize,
        interface: usize,
        place: Place,
        message: Vec<u8>,
    },
    /// At the home agent's interface.
    AtHome(Vec<u8>),
    /// A foreign router's turn to advertise.
    Advertise(Place),
    Solicited {
        place: Place,
        mobile: usize,
        interface: usize,
    },
}

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) random: Random,
    start: Instant,
    pub(crate) time: Duration,
    queue: BTreeMap<(Duration, u64), Arrival>,
    number: u64,
    pub(crate) weather: Weather,
    pub(crate) agent: HomeAgent,
    pub(crate) agent_hand: Hand,
    pub(crate) mobiles: Vec<Mobile>,
    /// Steps in a row in which no time has passed.
    idle_steps: u32,
    pub(crate) violations: Vec<String>,
}

impl World {
    pub(crate) fn new(setup: Setup, seed: u64) -> Self {
        let start = Instant::now();
        let mut random = Random::new(seed);
        let agent = setup.home_agent(&mut random);
        let agent_hand = setup.hand(&mut random);
        let mobile =
            |random: &mut Random| Mobile { node: None, hand: setup.hand(random), plugged: [None; 2], farewell: None };
        let mobiles = (0..setup.mobiles).map(|_| mobile(&mut random)).collect();
        let mut world = Self {
            setup,
            random,
            start,
            time: Duration::ZERO,
            queue: BTreeMap::new(),
            number: 0,
            weather: Weather::GOOD,
            agent,
            agent_hand,
            mobiles,
            idle_steps: 0,
            violations: Vec::new(),
        };
        world.agent.start(world.start, &mut world.agent_hand).expect("the home agent starts");
        for mobile in 0..world.mobiles.len() {
            world.start_mobile(mobile);
        }
        for place in Place::FOREIGN {
            world.later(Duration::from_millis(100), Arrival::Advertise(place));
        }
        world.flush();
        world
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.time
    }

    pub(crate) fn say(&self, sentence: impl FnOnce() -> String) {
        if self.setup.trace {
            println!("{:>9.3} {}", self.time.as_secs_f64(), sentence());
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.time + duration;
        while self.violations.is_empty() {
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.deadline();
            let next = [arrival, deadline].into_iter().flatten().min().filter(|at| *at <= end);
            let Some(next) = next else {
                self.time = end;
                return;
            };
            if next > self.time {
                self.idle_steps = 0;
                self.time = next;
                crate::trace::set(next);
            }
            self.idle_steps += 1;
            if self.idle_steps > 10_000 {
                self.violations.push("a host spins: no time passes".into());
            }
            if arrival.is_some_and(|at| at <= self.time) {
                if let Some((_, arrival)) = self.queue.pop_first() {
                    self.arrive(arrival);
                }
            } else {
                self.timeouts();
            }
            self.flush();
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let mobiles = self.mobiles.iter().flat_map(|mobile| {
            let deadline = mobile.node.as_ref().and_then(MobileNode::deadline);
            [deadline.map(|at| at.saturating_duration_since(self.start)), mobile.farewell].into_iter().flatten()
        });
        let agent = self.agent.deadline().map(|at| at.saturating_duration_since(self.start));
        mobiles.chain(agent).min().map(|at| at.max(self.time))
    }

    fn timeouts(&mut self) {
        let now = self.now();
        if self.agent.deadline().is_some_and(|at| at <= now) {
            speaks(None);
            self.agent.timeout(now, &mut self.agent_hand);
        }
        for (number, mobile) in self.mobiles.iter_mut().enumerate() {
            if let Some(node) = mobile.node.as_mut().filter(|node| node.deadline().is_some_and(|at| at <= now)) {
                speaks(Some(number));
                node.timeout(now, &mut mobile.hand);
            }
        }
    }

    /// Puts on the wire what the hosts want sent, looks at what must never be, and ends what is done.
    pub(crate) fn flush(&mut self) {
        for sent in std::mem::take(&mut self.agent_hand.sent) {
            self.sent_by_agent(sent);
        }
        for number in 0..self.mobiles.len() {
            let mobile = &mut self.mobiles[number];
            for sent in std::mem::take(&mut mobile.hand.sent) {
                self.sent_by_mobile(number, sent);
            }
            let mobile = &mut self.mobiles[number];
            let over = mobile.farewell.is_some_and(|at| at <= self.time)
                || mobile.node.as_ref().is_some_and(MobileNode::finished);
            if over {
                mobile.farewell = None;
                mobile.node = None;
                mobile.hand.kernel.restore();
                self.say(|| format!("mn{number} has ended"));
            }
        }
        verdict::at_every_step(self);
    }

    // What the hosts send.

    fn sent_by_agent(&mut self, sent: Sent) {
        match sent {
            Sent::Ike { from, to, bytes } => self.travel(Arrival::Ike { from, to, bytes }),
            Sent::Packet(packet) => self.travel(Arrival::Packet(packet)),
            Sent::OnLink { message, .. } => self.link_multicast(Place::Home, &message),
            Sent::Probe(address) => {
                let defended = self.mobiles.iter().any(|mobile| mobile.is_at(address, Place::Home));
                if defended {
                    self.say(|| format!("a mobile node defends {address} at home"));
                    let (now, duplicate) = (self.now(), HomeAgentInput::Duplicate { address });
                    speaks(None);
                    self.agent.mobility(now, duplicate, &mut self.agent_hand);
                }
            }
        }
    }

    fn sent_by_mobile(&mut self, number: usize, sent: Sent) {
        let mobile = &self.mobiles[number];
        match sent {
            Sent::Ike { from, to, bytes } => {
                let IpAddr::V6(source) = from.ip() else { return };
                // A socket does not send from an address that is not there.
                if mobile.hand.kernel.has_address(source) && mobile.way_out().is_some() {
                    self.travel(Arrival::Ike { from, to, bytes });
                } else {
                    self.say(|| format!("mn{number}: no way out for IKE from {source}"));
                }
            }
            Sent::Packet(packet) => match mobile.way_out() {
                Some(_) => self.travel(Arrival::Packet(packet)),
                None => self.say(|| format!("mn{number}: no way out for a packet")),
            },
            Sent::OnLink { interface, message } => {
                let index = interface.0 as usize - FIRST;
                match mobile.place(interface.0) {
                    Some(Place::Home) => self.travel(Arrival::AtHome(message)),
                    Some(place) if message.first() == Some(&icmp6_type::ROUTER_SOLICITATION) => {
                        self.travel(Arrival::Solicited { place, mobile: number, interface: index });
                    }
                    Some(_) | None => {}
                }
            }
            // Nobody has our care-of addresses, unless a scenario says so.
            Sent::Probe(_) => {}
        }
    }

    fn link_multicast(&mut self, place: Place, message: &[u8]) {
        for mobile in 0..self.mobiles.len() {
            for interface in 0..2 {
                if self.mobiles[mobile].plugged[interface] == Some(place) {
                    self.travel(Arrival::OnLink { mobile, interface, place, message: message.to_vec() });
                }
            }
        }
    }

    fn travel(&mut self, arrival: Arrival) {
        let Weather { loss, doubled, delay } = self.weather;
        if self.random.happens(loss) {
            self.say(|| format!("lost: {arrival:.80?}"));
            return;
        }
        if self.random.happens(doubled) {
            let time = self.random.between(delay.0, delay.1);
            self.later(time, arrival.clone());
        }
        let time = self.random.between(delay.0, delay.1);
        self.later(time, arrival);
    }

    fn later(&mut self, time: Duration, arrival: Arrival) {
        self.number += 1;
        self.queue.insert((self.time + time, self.number), arrival);
    }

    // What arrives.

    fn arrive(&mut self, arrival: Arrival) {
        let now = self.now();
        match arrival {
            Arrival::Advertise(place) => {
                let message = self.advertisement(place);
                self.link_multicast(place, &message);
                self.later(self.setup.advertise, Arrival::Advertise(place));
            }
            Arrival::Solicited { place, mobile, interface } => {
                let message = self.advertisement(place);
                self.travel(Arrival::OnLink { mobile, interface, place, message });
            }
            Arrival::OnLink { mobile: number, interface, place, message } => {
                let mobile = &mut self.mobiles[number];
                let (true, Some(node)) = (mobile.plugged[interface] == Some(place), &mut mobile.node) else { return };
                if message.first() == Some(&icmp6_type::ROUTER_ADVERTISEMENT) {
                    let interface = Interface((interface + FIRST) as u32);
                    let input = MobileNodeInput::RouterAdvertisement { interface, source: place.router(), message };
                    speaks(Some(number));
                    node.mobility(now, input, &mut mobile.hand);
                }
            }
            Arrival::AtHome(message) => {
                if message.first() == Some(&icmp6_type::ROUTER_SOLICITATION) {
                    let input = HomeAgentInput::RouterSolicitation { source: Ipv6Addr::UNSPECIFIED };
                    speaks(None);
                    self.agent.mobility(now, input, &mut self.agent_hand);
                }
            }
            Arrival::Ike { from, to, bytes } => self.ike_arrives(from, to, bytes),
            Arrival::Packet(packet) if packet.destination == AGENT.0 => self.reaches_agent(&packet),
            Arrival::Packet(packet) => match self.mobile_at(packet.destination) {
                Some(number) => self.reaches_mobile(number, &packet),
                // The home agent routes for its link.
                None if Place::Home.prefix().contains(packet.destination) && packet.source != AGENT.0 => {
                    self.reaches_agent(&packet);
                }
                None => self.say(|| format!("nobody is at {}", packet.destination)),
            },
        }
    }

    fn advertisement(&self, place: Place) -> Vec<u8> {
        place.advertisement(self.setup.interval_told.then_some(self.setup.advertise))
    }

    /// The mobile node that is reached at this address now.
    pub(crate) fn mobile_at(&self, address: Ipv6Addr) -> Option<usize> {
        let place = Place::ALL.into_iter().find(|place| place.prefix().contains(address))?;
        self.mobiles.iter().position(|mobile| mobile.is_at(address, place))
    }

    fn ike_arrives(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let now = self.now();
        let endpoints = Endpoints { local: to, remote: from };
        let IpAddr::V6(destination) = to.ip() else { return };
        if destination == AGENT.0 {
            speaks(None);
            return self.agent.ike_datagram(now, endpoints, bytes, &mut self.agent_hand);
        }
        let Some(number) = self.mobile_at(destination) else {
            return self.say(|| format!("no IKE is at {destination}"));
        };
        let mobile = &mut self.mobiles[number];
        if let Some(node) = &mut mobile.node {
            speaks(Some(number));
            node.ike_datagram(now, endpoints, bytes, &mut mobile.hand);
        }
    }

    fn reaches_agent(&mut self, packet: &Packet) {
        let now = self.now();
        let opened = self.agent_hand.kernel.open(packet);
        let received = match opened {
            Ok(received) if received.datagram.destination == AGENT.0 => self.agent_hand.kernel.deliver(received),
            Ok(received) => match self.agent_hand.kernel.forward(received) {
                Ok(packet) => return self.travel(Arrival::Packet(packet)),
                Err(reason) => Err(reason),
            },
            Err(reason) => Err(reason),
        };
        match received {
            Ok(received) => {
                let (datagram, care_of) = (received.datagram, received.care_of.map(CareOfAddress));
                let (source, message) = (datagram.source, datagram.octets);
                match (datagram.protocol, datagram.kind) {
                    (MOBILITY_HEADER, _) => {
                        let destination = datagram.destination;
                        let hand = &mut self.agent_hand;
                        speaks(None);
                        self.agent.mobility_message(now, source, care_of, destination, message, hand);
                    }
                    (ICMPV6, icmp6_type::MOBILE_PREFIX_SOLICITATION) => {
                        let input = HomeAgentInput::PrefixSolicitation { source, message };
                        speaks(None);
                        self.agent.mobility(now, input, &mut self.agent_hand);
                    }
                    _ => {}
                }
            }
            Err(reason) => self.say(|| format!("ha drops a packet from {}: {reason}", packet.source)),
        }
    }

    fn reaches_mobile(&mut self, number: usize, packet: &Packet) {
        let now = self.now();
        let mobile = &mut self.mobiles[number];
        let kernel = &mut mobile.hand.kernel;
        let received = kernel.open(packet).and_then(|received| kernel.deliver(received));
        let (Some(node), Ok(received)) = (&mut mobile.node, &received) else {
            return self.say(|| format!("mn{number} drops a packet from {}: {received:?}", packet.source));
        };
        let datagram = received.datagram.clone();
        let (source, message) = (datagram.source, datagram.octets);
        let input = match (datagram.protocol, datagram.kind) {
            (MOBILITY_HEADER, _) => {
                MobileNodeInput::MobilityMessage { source, destination: datagram.destination, message }
            }
            (ICMPV6, icmp6_type::MOBILE_PREFIX_ADVERTISEMENT) => {
                MobileNodeInput::PrefixAdvertisement { source, message }
            }
            _ => return,
        };
        speaks(Some(number));
        node.mobility(now, input, &mut mobile.hand);
    }

    // What scenarios do.

    pub(crate) fn mobility(&mut self, number: usize, input: MobileNodeInput) {
        let now = self.now();
        let mobile = &mut self.mobiles[number];
        if let Some(node) = &mut mobile.node {
            speaks(Some(number));
            node.mobility(now, input, &mut mobile.hand);
        }
        self.flush();
    }

    /// Plugs an interface into a place, or pulls it out. `noticed`: the kernel tells of it.
    pub(crate) fn plug(&mut self, number: usize, index: usize, place: Option<Place>, noticed: bool) {
        let interface = Interface((index + FIRST) as u32);
        let old = std::mem::replace(&mut self.mobiles[number].plugged[index], place);
        self.say(|| format!("mn{number} interface {} goes from {old:?} to {place:?}", interface.0));
        let silent = !noticed && old.is_some() && place.is_some();
        if !silent && old.is_some() {
            self.mobility(number, MobileNodeInput::LinkDown(interface));
        }
        if !silent && place.is_some() {
            let preference = self.setup.preferences[index];
            self.mobility(number, MobileNodeInput::LinkUp { interface, preference });
        }
    }

    pub(crate) fn start_mobile(&mut self, number: usize) {
        self.say(|| format!("mn{number} starts"));
        let now = self.now();
        let mobile = &mut self.mobiles[number];
        if mobile.node.is_none() {
            speaks(Some(number));
            mobile.start(now, &self.setup, number, &mut self.random);
        }
        self.flush();
    }

    /// As by SIGTERM.
    pub(crate) fn stop_mobile(&mut self, number: usize) {
        self.say(|| format!("mn{number} is told to stop"));
        let now = self.now();
        let mobile = &mut self.mobiles[number];
        if let Some(node) = &mut mobile.node {
            speaks(Some(number));
            node.stop(now, &mut mobile.hand);
            mobile.farewell.get_or_insert(self.time + Duration::from_secs(3));
        }
        self.flush();
    }

    /// As by SIGKILL: the journal cleans the kernel when it starts again.
    pub(crate) fn kill_mobile(&mut self, number: usize) {
        self.say(|| format!("mn{number} is killed"));
        let mobile = &mut self.mobiles[number];
        (mobile.node, mobile.farewell) = (None, None);
        mobile.hand.kernel.restore();
    }

    /// The home agent loses everything and starts again.
    pub(crate) fn restart_agent(&mut self) {
        self.say(|| "ha is killed and starts again".into());
        self.agent_hand.kernel.restore();
        self.agent = self.setup.home_agent(&mut self.random);
        let (now, refusals) = (self.now(), std::mem::take(&mut self.agent_hand.refusals));
        speaks(None);
        self.agent.start(now, &mut self.agent_hand).expect("the home agent starts");
        self.agent_hand.refusals = refusals;
        self.flush();
    }

    pub(crate) fn order_mobile(
        &mut self,
        number: usize,
        order: impl FnOnce(ike::action::IkeSaId) -> ike::action::Input,
    ) {
        let now = self.now();
        let mobile = &mut self.mobiles[number];
        if let Some(node) = &mut mobile.node {
            speaks(Some(number));
            node.order(now, order, &mut mobile.hand);
        }
        self.flush();
    }

    pub(crate) fn order_agent(&mut self, order: impl Fn(ike::action::IkeSaId) -> ike::action::Input) {
        let now = self.now();
        speaks(None);
        self.agent.order(now, order, &mut self.agent_hand as &mut dyn Shell);
        self.flush();
    }

    pub(crate) fn withdraw(&mut self, home_address: mip6::address::HomeAddress) {
        let now = self.now();
        speaks(None);
        self.agent.mobility(now, HomeAgentInput::Withdraw(home_address), &mut self.agent_hand);
        self.flush();
    }
}
