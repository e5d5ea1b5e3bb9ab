//! The policies of a mobile node and of a home agent, as functions of what stands: the desired set is computed anew at
//! each change and the kernel is told the difference.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress, Prefix};

use super::child::{ANY, BINDING_REQID, ICMPV6, MOBILITY_HEADER, PREFIX_DISCOVERY_REQID, PREFIX_DISCOVERY_TYPES};
use crate::kernel::op::{
    Direction, Mode, Net, Op, Policy, PolicyKey, PolicyType, Protocol, Selector, Template, Verdict,
};

/// Policies by their identity.
pub type Policies = BTreeMap<PolicyKey, Policy>;

/// Signalling between home address and home agent.
const SIGNALLING: u32 = 10;
/// Policies of this priority number and above are for tunnels, those below for signalling.
pub const TUNNELS_FROM: u32 = RETURN_ROUTABILITY;
/// Return routability: above payload (RFC 4877 §7.2.4).
const RETURN_ROUTABILITY: u32 = 12;
/// Payload.
pub(super) const PAYLOAD: u32 = 100;
/// What is left of a home address's traffic: nothing may leave unprotected.
const REST: u32 = 200;

/// The tunnels of a home address: where they end and which SAs they use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnels {
    /// The mobile node's end.
    pub care_of: CareOfAddress,
    /// reqid of the return-routability SA that is sent under, if it stands.
    pub return_routability: Option<u32>,
    /// reqid of the payload SA that is sent under, if it stands.
    pub payload: Option<u32>,
}

/// The policies of a mobile node: `tunnels` is none at home (RFC 4877 §4.2: tunnel policies are made inactive there).
pub fn mobile_node(home: HomeAddress, agent: HomeAgentAddress, tunnels: Option<Tunnels>) -> Policies {
    let (home_net, agent_net) = (host(home.0), host(agent.0));
    let (home_ip, agent_ip) = (IpAddr::V6(home.0), IpAddr::V6(agent.0));
    let mut set = Set::default();
    // RFC 4877 §4.1: ESP is in use on every BU and BA, at home and away.
    set.main(Direction::Out, pair(home_net, agent_net, MOBILITY_HEADER), SIGNALLING, transport(BINDING_REQID));
    set.main(Direction::In, pair(agent_net, home_net, MOBILITY_HEADER), SIGNALLING, transport(BINDING_REQID));
    let (solicitation, advertisement) = PREFIX_DISCOVERY_TYPES;
    set.main(Direction::Out, typed(home_net, agent_net, solicitation), SIGNALLING, transport(PREFIX_DISCOVERY_REQID));
    for selector in inbound_typed(agent_net, home_net, advertisement) {
        set.main(Direction::In, selector, SIGNALLING, transport(PREFIX_DISCOVERY_REQID));
    }
    let Some(tunnels) = tunnels else { return set.0 };
    // RFC 4877 §4.2: in transport mode a BU carries the Home Address option, a BA the type 2 routing header.
    let option = route_optimization(Protocol::DestinationOptions, home_ip, agent_ip, false);
    set.sub(Direction::Out, pair(home_net, agent_net, MOBILITY_HEADER), option);
    set.sub(Direction::Out, typed(home_net, agent_net, solicitation), option);
    let header = |optional| route_optimization(Protocol::Routing, UNSPECIFIED, UNSPECIFIED, optional);
    set.sub(Direction::In, pair(agent_net, home_net, MOBILITY_HEADER), header(false));
    set.sub(Direction::In, pair(agent_net, home_net, ICMPV6), header(true));
    let care_of = IpAddr::V6(tunnels.care_of.0);
    if let Some(reqid) = tunnels.return_routability {
        // HoTI is type 1; the kernel tells types of what it sends itself.
        let selector = Selector { source_port: Some(1), ..pair(home_net, ANY, MOBILITY_HEADER) };
        set.main(Direction::Out, selector, RETURN_ROUTABILITY, tunnel(care_of, agent_ip, reqid));
    }
    if let Some(reqid) = tunnels.payload {
        set.main(Direction::Out, pair(home_net, ANY, 0), PAYLOAD, tunnel(care_of, agent_ip, reqid));
    } else {
        set.block(Direction::Out, pair(home_net, ANY, 0));
    }
    // Addresses are left open: what is still on its way to or from the old care-of address during a move is accepted,
    // for it is the SA that proves the sender (RFC 6275 §11.3.3).
    set.main(Direction::In, pair(ANY, home_net, 0), PAYLOAD, tunnel(UNSPECIFIED, UNSPECIFIED, 0));
    set.0
}

/// The policies that a home agent holds once for all mobile nodes of these prefixes.
pub fn home_agent(agent: HomeAgentAddress, prefixes: &[Prefix]) -> Policies {
    let agent_net = host(agent.0);
    let mut set = Set::default();
    for prefix in prefixes {
        let prefix = Net { address: IpAddr::V6(prefix.address()), len: prefix.length() };
        // RFC 4877 §7.2.1: generic entries keep an unprotected BU from slipping through. reqid 0: any mobile node's SA,
        // whose own selector binds it to its home address.
        set.main(Direction::In, pair(prefix, agent_net, MOBILITY_HEADER), SIGNALLING, transport(0));
        set.main(Direction::Out, pair(agent_net, prefix, MOBILITY_HEADER), SIGNALLING, transport(BINDING_REQID));
        let (solicitation, advertisement) = PREFIX_DISCOVERY_TYPES;
        for selector in inbound_typed(prefix, agent_net, solicitation) {
            set.main(Direction::In, selector, SIGNALLING, transport(0));
        }
        set.main(
            Direction::Out,
            typed(agent_net, prefix, advertisement),
            SIGNALLING,
            transport(PREFIX_DISCOVERY_REQID),
        );
        // Optional: a BU from home has no Home Address option (RFC 6275 §11.5.5).
        let option = route_optimization(Protocol::DestinationOptions, UNSPECIFIED, UNSPECIFIED, true);
        set.sub(Direction::In, pair(prefix, agent_net, MOBILITY_HEADER), option);
        set.sub(Direction::In, pair(prefix, agent_net, ICMPV6), option);
    }
    set.0
}

/// The policies that a home agent holds for one bound home address.
pub fn binding(home: HomeAddress, agent: HomeAgentAddress, tunnels: Tunnels) -> Policies {
    let home_net = host(home.0);
    let (care_of, agent) = (IpAddr::V6(tunnels.care_of.0), IpAddr::V6(agent.0));
    let mut set = Set::default();
    if let Some(reqid) = tunnels.return_routability {
        // The kernel cannot tell the types of what it forwards: every Mobility Header for the home address takes this SA.
        let selector = pair(ANY, home_net, MOBILITY_HEADER);
        set.main(Direction::Out, selector, RETURN_ROUTABILITY, tunnel(agent, care_of, reqid));
    }
    if let Some(reqid) = tunnels.payload {
        set.main(Direction::Out, pair(ANY, home_net, 0), PAYLOAD, tunnel(agent, care_of, reqid));
    } else {
        set.block(Direction::Out, pair(ANY, home_net, 0));
    }
    // RFC 6275 §10.4.5: while it is bound, packets of the home address are accepted only from its tunnel. The SA's selector
    // proves the inner source, so the outer source need not be checked, and packets of a move are not lost.
    for direction in [Direction::In, Direction::Forward] {
        set.main(direction, pair(home_net, ANY, 0), PAYLOAD, tunnel(UNSPECIFIED, UNSPECIFIED, 0));
    }
    set.0
}

/// The key of the policy by which a binding's tunnels are migrated.
pub fn payload_policy(home: HomeAddress, at_home_agent: bool) -> PolicyKey {
    let home = host(home.0);
    let selector = if at_home_agent { pair(ANY, home, 0) } else { pair(home, ANY, 0) };
    PolicyKey { kind: PolicyType::Main, direction: Direction::Out, selector }
}

/// What turns one set of policies into another: first what is new or different, then what is no longer wanted, so that
/// nothing is unprotected in between.
pub fn difference(old: &Policies, new: &Policies) -> Vec<Op> {
    let set = new.values().filter(|policy| old.get(&policy.key) != Some(policy)).cloned().map(Op::SetPolicy);
    let gone = old.keys().filter(|key| !new.contains_key(key)).copied().map(Op::DeletePolicy);
    set.chain(gone).collect()
}

const UNSPECIFIED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn host(address: Ipv6Addr) -> Net {
    Net { address: IpAddr::V6(address), len: 128 }
}

fn pair(source: Net, destination: Net, protocol: u8) -> Selector {
    Selector { source, destination, protocol, source_port: None, destination_port: None }
}

fn typed(source: Net, destination: Net, icmp_type: u8) -> Selector {
    Selector { source_port: Some(u16::from(icmp_type)), destination_port: Some(0), ..pair(source, destination, ICMPV6) }
}

/// Behind HAO or RT2 Linux 6.1 takes the extension header's octets for type and code and sees type 58 code 2; newer ones see
/// the type. One of the two selectors matches on each.
fn inbound_typed(source: Net, destination: Net, icmp_type: u8) -> [Selector; 2] {
    [
        typed(source, destination, icmp_type),
        Selector { destination_port: Some(2), ..typed(source, destination, ICMPV6) },
    ]
}

fn transport(reqid: u32) -> Template {
    Template {
        protocol: Protocol::Esp,
        mode: Mode::Transport,
        source: UNSPECIFIED,
        destination: UNSPECIFIED,
        reqid,
        optional: false,
    }
}

pub(super) fn tunnel(source: IpAddr, destination: IpAddr, reqid: u32) -> Template {
    Template { protocol: Protocol::Esp, mode: Mode::Tunnel, source, destination, reqid, optional: false }
}

fn route_optimization(protocol: Protocol, source: IpAddr, destination: IpAddr, optional: bool) -> Template {
    Template { protocol, mode: Mode::RouteOptimization, source, destination, reqid: 0, optional }
}

#[derive(Default)]
struct Set(Policies);

impl Set {
    fn main(&mut self, direction: Direction, selector: Selector, priority: u32, template: Template) {
        self.add(PolicyType::Main, direction, selector, priority, Verdict::Allow(vec![template]));
    }

    fn sub(&mut self, direction: Direction, selector: Selector, template: Template) {
        self.add(PolicyType::Sub, direction, selector, SIGNALLING, Verdict::Allow(vec![template]));
    }

    fn block(&mut self, direction: Direction, selector: Selector) {
        self.add(PolicyType::Main, direction, selector, REST, Verdict::Block);
    }

    fn add(&mut self, kind: PolicyType, direction: Direction, selector: Selector, priority: u32, verdict: Verdict) {
        let key = PolicyKey { kind, direction, selector };
        self.0.insert(key, Policy { key, priority, verdict });
    }
}
