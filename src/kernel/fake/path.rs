//! The way of a packet through the policies and SAs.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::{FakeKernel, Release, Sa};
use crate::kernel::op::{
    Direction, EspKeys, Mode, Net, Policy, PolicyType, Protocol, SaKey, Selector, Template, Verdict,
};

/// What an upper layer sends or receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// From.
    pub source: Ipv6Addr,
    /// To.
    pub destination: Ipv6Addr,
    /// The upper layer's protocol.
    pub protocol: u8,
    /// Mobility Header or ICMPv6 type; 0 for what has none.
    pub kind: u8,
    /// Its octets.
    pub octets: Vec<u8>,
}

/// A packet on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// From, in the IPv6 header.
    pub source: Ipv6Addr,
    /// To, in the IPv6 header.
    pub destination: Ipv6Addr,
    /// The Home Address option.
    pub home_address_option: Option<Ipv6Addr>,
    /// The type 2 routing header.
    pub routing_header: Option<Ipv6Addr>,
    /// ESP.
    pub seal: Option<Seal>,
    /// What it carries.
    pub datagram: Datagram,
}

/// ESP around a datagram; who does not have the key cannot open it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seal {
    /// The SPI.
    pub spi: u32,
    /// Tunnel or transport.
    pub mode: Mode,
    sequence: u64,
    keys: EspKeys,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:08x} #{}", self.mode, self.spi, self.sequence)
    }
}

/// Why a packet went no further.
pub type Dropped = &'static str;

/// A datagram that arrived, and by what it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The datagram.
    pub datagram: Datagram,
    /// The address in the IPv6 header, if there was a Home Address option.
    pub care_of: Option<Ipv6Addr>,
    path: Vec<Step>,
}

/// One header that was taken off, and the state it was taken off by.
#[derive(Clone, Copy, Debug)]
struct Step {
    protocol: Protocol,
    mode: Mode,
    source: IpAddr,
    reqid: u32,
    selector: Option<Selector>,
}

/// What the headers that a packet needs are made from.
struct Plan {
    care_of: Option<Ipv6Addr>,
    sa: Option<super::Name>,
}

impl FakeKernel {
    /// Whether a datagram would leave, and if so whether in a tunnel.
    ///
    /// # Errors
    /// Why it would not.
    pub fn would_tunnel(&self, datagram: &Datagram) -> Result<bool, Dropped> {
        let plan = self.plan(datagram, true)?;
        Ok(plan.sa.and_then(|name| self.sas.get(&name)).is_some_and(|sa| sa.esp.mode == Mode::Tunnel))
    }

    /// Sends a datagram of this host. `care_of`: with a type 2 routing header by way of this address.
    ///
    /// # Errors
    /// Why it does not leave.
    pub fn send(&mut self, datagram: Datagram, care_of: Option<Ipv6Addr>) -> Result<Packet, Dropped> {
        let plan = self.plan(&datagram, true)?;
        let mut packet = self.seal(datagram, plan);
        if let Some(care_of) = care_of {
            packet.routing_header = Some(packet.destination);
            packet.destination = care_of;
        }
        Ok(packet)
    }

    /// Passes on a datagram that came in for another host.
    ///
    /// # Errors
    /// Why it does not leave.
    pub fn forward(&mut self, received: Received) -> Result<Packet, Dropped> {
        self.check(Direction::Forward, &received)?;
        let plan = self.plan(&received.datagram, false)?;
        Ok(self.seal(received.datagram, plan))
    }

    /// Takes the headers off a packet that reached this host.
    ///
    /// # Errors
    /// Why it goes no further.
    pub fn open(&mut self, packet: &Packet) -> Result<Received, Dropped> {
        let mut path = Vec::new();
        let (mut source, mut destination) = (packet.source, packet.destination);
        if let Some(home) = packet.routing_header {
            let home_address = |known: &&super::Address| known.address == home && known.home;
            let known = self.addresses.iter().any(|address| home_address(&address));
            let key = key(Protocol::Routing, Ipv6Addr::UNSPECIFIED, home);
            let state = self.states.get(&key).ok_or("a routing header without state")?;
            if !known || (state.care_of != destination && !state.care_of.is_unspecified()) {
                return Err("a routing header by way of another address");
            }
            path.push(Step::by_state(&key));
            destination = home;
        }
        if let Some(home) = packet.home_address_option {
            let keys = [key(Protocol::DestinationOptions, home, destination), ANY_HOME_ADDRESS];
            let found = keys.into_iter().find(|key| self.states.contains_key(key));
            path.push(Step::by_state(&found.ok_or("a home address option without state")?));
            source = home;
        }
        if let Some(seal) = &packet.seal {
            let sa = self.sas.get_mut(&(IpAddr::V6(destination), seal.spi)).ok_or("an unknown SPI")?;
            if sa.esp.keys != seal.keys || sa.esp.mode != seal.mode {
                return Err("ESP under another key");
            }
            sa.receive(seal.sequence)?;
            path.push(Step {
                protocol: Protocol::Esp,
                mode: sa.esp.mode,
                source: sa.esp.key.source,
                reqid: sa.esp.reqid,
                selector: Some(sa.esp.selector),
            });
        }
        let mut datagram = packet.datagram.clone();
        if packet.seal.as_ref().is_none_or(|seal| seal.mode != Mode::Tunnel) {
            // Checksums count the home address.
            if (datagram.source, datagram.destination) != (source, destination) {
                return Err("a wrong checksum");
            }
            (datagram.source, datagram.destination) = (source, destination);
        }
        let care_of = packet.home_address_option.map(|_| packet.source);
        Ok(Received { datagram, care_of, path })
    }

    /// Whether the policies let a datagram in that is for this host.
    ///
    /// # Errors
    /// Why not.
    pub fn deliver(&self, received: Received) -> Result<Received, Dropped> {
        self.check(Direction::In, &received)?;
        Ok(received)
    }

    fn plan(&self, datagram: &Datagram, local: bool) -> Result<Plan, Dropped> {
        // Types are known of what this host sends itself.
        let kind = (local || datagram.protocol == ICMPV6).then_some(datagram.kind);
        let flow = Flow::new(datagram, kind, 0);
        let mut plan = Plan { care_of: None, sa: None };
        for template in self.templates(Direction::Out, &flow)? {
            match template.mode {
                Mode::RouteOptimization => {
                    let state = self.states.get(&key(template.protocol, datagram.source, datagram.destination));
                    match state {
                        Some(state) => plan.care_of = Some(state.care_of),
                        None if template.optional => {}
                        None => return Err("no state for route optimisation"),
                    }
                }
                Mode::Transport | Mode::Tunnel => match self.sa_for(&template, &flow) {
                    Some(name) => plan.sa = Some(name),
                    None if template.optional => {}
                    None => return Err("no SA"),
                },
            }
        }
        Ok(plan)
    }

    fn seal(&mut self, datagram: Datagram, plan: Plan) -> Packet {
        let mut packet = Packet {
            source: datagram.source,
            destination: datagram.destination,
            home_address_option: None,
            routing_header: None,
            seal: None,
            datagram,
        };
        if let Some(sa) = plan.sa.and_then(|name| self.sas.get_mut(&name)) {
            sa.sent += 1;
            packet.seal =
                Some(Seal { spi: sa.esp.key.spi, mode: sa.esp.mode, sequence: sa.sent, keys: sa.esp.keys.clone() });
            if let (Mode::Tunnel, IpAddr::V6(source), IpAddr::V6(destination)) =
                (sa.esp.mode, sa.esp.key.source, sa.esp.key.destination)
            {
                (packet.source, packet.destination) = (source, destination);
            }
        }
        if let Some(care_of) = plan.care_of {
            packet.home_address_option = Some(packet.source);
            packet.source = care_of;
        }
        packet
    }

    /// The SA that a template asks for: of several the newest.
    fn sa_for(&self, template: &Template, flow: &Flow) -> Option<super::Name> {
        let ends = match template.mode {
            Mode::Tunnel => (template.source, template.destination),
            Mode::Transport | Mode::RouteOptimization => (flow.source, flow.destination),
        };
        let fits = |sa: &Sa| {
            sa.esp.mode == template.mode
                && (template.reqid == 0 || sa.esp.reqid == template.reqid)
                && (sa.esp.key.source, sa.esp.key.destination) == ends
                && flow.matches(&sa.esp.selector)
        };
        self.sas.iter().filter(|(_, sa)| fits(sa)).max_by_key(|(_, sa)| sa.made).map(|(name, _)| *name)
    }

    fn check(&self, direction: Direction, received: &Received) -> Result<(), Dropped> {
        let Received { datagram, path, .. } = received;
        let behind_option = path.iter().any(|step| step.mode == Mode::RouteOptimization);
        let flow = match (datagram.protocol, self.release, behind_option) {
            (ICMPV6, Release::Linux6_1, true) => Flow::new(datagram, Some(ICMPV6), 2),
            (ICMPV6, ..) | (MOBILITY_HEADER, Release::Linux6_1, true) => Flow::new(datagram, Some(datagram.kind), 0),
            _ => Flow::new(datagram, None, 0),
        };
        // What an SA may carry is looked at whatever the policies say.
        if path.iter().any(|step| step.selector.is_some_and(|selector| !flow.matches(&selector))) {
            return Err("the SA is not for such a packet");
        }
        let templates = self.templates(direction, &flow)?;
        let fits = |template: &Template, step: &Step| {
            template.protocol == step.protocol
                && template.mode == step.mode
                && (template.reqid == 0 || template.reqid == step.reqid)
                && (template.mode == Mode::Transport
                    || template.source.is_unspecified()
                    || template.source == step.source)
        };
        for template in templates.iter().filter(|template| !template.optional) {
            if !path.iter().any(|step| fits(template, step)) {
                return Err("the packet lacks what the policy demands");
            }
        }
        let asked_for = |step: &Step| templates.iter().any(|template| fits(template, step));
        if path.iter().any(|step| step.mode != Mode::Transport && !asked_for(step)) {
            return Err("no policy asks for that header");
        }
        Ok(())
    }

    /// What the policies demand of a packet: the best sub policy and the best main one together.
    fn templates(&self, direction: Direction, flow: &Flow) -> Result<Vec<Template>, Dropped> {
        let mut templates = Vec::new();
        for kind in [PolicyType::Sub, PolicyType::Main] {
            let fits = |policy: &&Policy| {
                policy.key.kind == kind && policy.key.direction == direction && flow.matches(&policy.key.selector)
            };
            match self.policies.values().filter(fits).min_by_key(|policy| policy.priority).map(|policy| &policy.verdict)
            {
                Some(Verdict::Allow(more)) => templates.extend(more),
                Some(Verdict::Block) => return Err("a policy blocks it"),
                None => {}
            }
        }
        Ok(templates)
    }
}

impl Sa {
    fn receive(&mut self, sequence: u64) -> Result<(), Dropped> {
        if self.esp.replay_window == 0 {
            return Ok(());
        }
        let (highest, seen) = self.window;
        self.window = if sequence > highest {
            (sequence, seen.checked_shl(u32::try_from(sequence - highest).unwrap_or(u32::MAX)).unwrap_or(0) | 1)
        } else {
            let age = highest - sequence;
            if age >= u64::from(self.esp.replay_window.min(64)) {
                return Err("older than the replay window");
            }
            if seen >> age & 1 == 1 {
                return Err("a replay");
            }
            (highest, seen | 1 << age)
        };
        Ok(())
    }
}

impl Step {
    fn by_state(key: &SaKey) -> Self {
        Self { protocol: key.protocol, mode: Mode::RouteOptimization, source: key.source, reqid: 0, selector: None }
    }
}

const ICMPV6: u8 = 58;
const MOBILITY_HEADER: u8 = 135;

const ANY_HOME_ADDRESS: SaKey = SaKey {
    protocol: Protocol::DestinationOptions,
    source: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    destination: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    spi: 0,
};

fn key(protocol: Protocol, source: Ipv6Addr, destination: Ipv6Addr) -> SaKey {
    SaKey { protocol, source: IpAddr::V6(source), destination: IpAddr::V6(destination), spi: 0 }
}

/// A packet as policies see it.
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: (u16, u16),
}

impl Flow {
    fn new(datagram: &Datagram, kind: Option<u8>, code: u16) -> Self {
        Self {
            source: IpAddr::V6(datagram.source),
            destination: IpAddr::V6(datagram.destination),
            protocol: datagram.protocol,
            ports: (kind.unwrap_or(0).into(), code),
        }
    }

    fn matches(&self, selector: &Selector) -> bool {
        within(self.source, &selector.source)
            && within(self.destination, &selector.destination)
            && (selector.protocol == 0 || selector.protocol == self.protocol)
            && selector.source_port.is_none_or(|port| port == self.ports.0)
            && selector.destination_port.is_none_or(|port| port == self.ports.1)
    }
}

fn within(address: IpAddr, net: &Net) -> bool {
    match (address, net.address) {
        (IpAddr::V6(address), IpAddr::V6(net_address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(net.len.min(128))).unwrap_or(0);
            (address.to_bits() ^ net_address.to_bits()) & mask == 0
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
    }
}
