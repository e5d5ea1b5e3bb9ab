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

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "2001:db8:1::2";
    const AGENT: &str = "2001:db8:1::1";
    const CARE_OF: &str = "2001:db8:2::2";

    fn home() -> HomeAddress {
        HomeAddress(HOME.parse().unwrap())
    }

    fn agent() -> HomeAgentAddress {
        HomeAgentAddress(AGENT.parse().unwrap())
    }

    fn tunnels(return_routability: Option<u32>, payload: Option<u32>) -> Tunnels {
        Tunnels { care_of: CareOfAddress(CARE_OF.parse().unwrap()), return_routability, payload }
    }

    fn name(address: IpAddr) -> String {
        let known = [(HOME, "home"), (AGENT, "agent"), (CARE_OF, "care-of"), ("::", "*")];
        let known = known.iter().find(|(text, _)| text.parse::<IpAddr>().unwrap() == address);
        known.map_or_else(|| address.to_string(), |(_, name)| (*name).to_owned())
    }

    fn net(net: Net) -> String {
        match net.len {
            0 | 128 => name(net.address),
            len => format!("{}/{len}", net.address),
        }
    }

    /// One line for each policy, by priority: direction, selector (type/code), what it demands.
    fn table(policies: &Policies) -> Vec<String> {
        let mut policies: Vec<_> = policies.values().collect();
        policies.sort_by_key(|policy| (policy.key.kind, policy.priority, policy.key));
        let line = |policy: &Policy| {
            let key = &policy.key;
            let ports = match (key.selector.source_port, key.selector.destination_port) {
                (None, None) => String::new(),
                (source, destination) => {
                    let port = |port: Option<u16>| port.map_or_else(|| "*".to_owned(), |port| port.to_string());
                    format!(" {}/{}", port(source), port(destination))
                }
            };
            let demand = match &policy.verdict {
                Verdict::Block => "block".to_owned(),
                Verdict::Allow(templates) => templates
                    .iter()
                    .map(|t| {
                        let what = match (t.protocol, t.mode) {
                            (Protocol::Esp, Mode::Transport) => "transport".to_owned(),
                            (Protocol::Esp, Mode::Tunnel) => {
                                format!("tunnel {} {}", name(t.source), name(t.destination))
                            }
                            (Protocol::DestinationOptions, Mode::RouteOptimization) => "HAO".to_owned(),
                            (Protocol::Routing, Mode::RouteOptimization) => "RT2".to_owned(),
                            other => format!("{other:?}"),
                        };
                        let reqid = if t.reqid == 0 { String::new() } else { format!(" #{}", t.reqid) };
                        format!("{what}{reqid}{}", if t.optional { " optional" } else { "" })
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            format!(
                "{:?} {:?} {}>{} proto {}{ports}: {demand}",
                key.kind,
                key.direction,
                net(key.selector.source),
                net(key.selector.destination),
                key.selector.protocol
            )
        };
        policies.into_iter().map(line).collect()
    }

    /// RFC 4877 §6.1, §6.3: what a mobile node has at home; §4.2: no tunnels there.
    const SIGNALLING_AT_HOME: [&str; 5] = [
        "Main In agent>home proto 58 58/2: transport #2",
        "Main In agent>home proto 58 147/0: transport #2",
        "Main In agent>home proto 135: transport #1",
        "Main Out home>agent proto 58 146/0: transport #2",
        "Main Out home>agent proto 135: transport #1",
    ];

    /// RFC 4877 §4.2, RFC 6275 §11.3.2: what goes along away from home, beside ESP.
    const ROUTE_OPTIMIZATION: [&str; 4] = [
        "Sub In agent>home proto 58: RT2 optional",
        "Sub In agent>home proto 135: RT2",
        "Sub Out home>agent proto 58 146/0: HAO",
        "Sub Out home>agent proto 135: HAO",
    ];

    #[test]
    fn a_mobile_node_at_home_protects_its_signalling_and_has_no_tunnels() {
        assert_eq!(table(&mobile_node(home(), agent(), None)), SIGNALLING_AT_HOME);
    }

    /// RFC 4877 §6.2, §6.4, §7.2.4: return routability above payload; what is not protected does not leave.
    #[test]
    fn a_mobile_node_away_sends_everything_by_its_tunnels() {
        let expected = [
            &SIGNALLING_AT_HOME[..],
            &[
                "Main Out home>* proto 135 1/*: tunnel care-of agent #4096",
                "Main In *>home proto 0: tunnel * *",
                "Main Out home>* proto 0: tunnel care-of agent #4097",
            ],
            &ROUTE_OPTIMIZATION,
        ]
        .concat();
        assert_eq!(table(&mobile_node(home(), agent(), Some(tunnels(Some(4096), Some(4097))))), expected);
    }

    /// Nothing of a home address leaves the care-of address in the clear while the tunnels are being made.
    #[test]
    fn a_mobile_node_without_its_payload_sa_sends_nothing_but_signalling() {
        let expected = [
            &SIGNALLING_AT_HOME[..],
            &["Main In *>home proto 0: tunnel * *", "Main Out home>* proto 0: block"],
            &ROUTE_OPTIMIZATION,
        ]
        .concat();
        assert_eq!(table(&mobile_node(home(), agent(), Some(tunnels(None, None)))), expected);
    }

    /// RFC 4877 §7.2.1: for every address of the prefix, before anybody is known; another prefix is another set.
    #[test]
    fn a_home_agent_lets_no_unprotected_signalling_of_its_prefixes_slip_through() {
        let prefix = Prefix::new(AGENT.parse().unwrap(), 64);
        let one = home_agent(agent(), &[prefix]);
        assert_eq!(
            table(&one),
            [
                "Main In 2001:db8:1::/64>agent proto 58 58/2: transport",
                "Main In 2001:db8:1::/64>agent proto 58 146/0: transport",
                "Main In 2001:db8:1::/64>agent proto 135: transport",
                "Main Out agent>2001:db8:1::/64 proto 58 147/0: transport #2",
                "Main Out agent>2001:db8:1::/64 proto 135: transport #1",
                "Sub In 2001:db8:1::/64>agent proto 58: HAO optional",
                "Sub In 2001:db8:1::/64>agent proto 135: HAO optional",
            ]
        );
        let outside = Prefix::new("2001:db8:9::9".parse().unwrap(), 128);
        assert_eq!(home_agent(agent(), &[prefix, outside]).len(), 2 * one.len());
        assert!(home_agent(agent(), &[]).is_empty());
    }

    /// RFC 4877 §4.3, RFC 6275 §10.4.5: to the care-of address by the tunnels, and from the home address by nothing else.
    #[test]
    fn a_bound_home_address_is_reached_by_its_tunnels_only() {
        assert_eq!(
            table(&binding(home(), agent(), tunnels(Some(4096), Some(4097)))),
            [
                "Main Out *>home proto 135: tunnel agent care-of #4096",
                "Main In home>* proto 0: tunnel * *",
                "Main Out *>home proto 0: tunnel agent care-of #4097",
                "Main Forward home>* proto 0: tunnel * *",
            ]
        );
        assert_eq!(
            table(&binding(home(), agent(), tunnels(None, None))),
            [
                "Main In home>* proto 0: tunnel * *",
                "Main Forward home>* proto 0: tunnel * *",
                "Main Out *>home proto 0: block",
            ]
        );
    }

    /// RFC 4877 §7.2.4: a packet that two policies fit takes the one for signalling, then that of return routability.
    #[test]
    fn signalling_comes_before_return_routability_and_that_before_payload() {
        let set = mobile_node(home(), agent(), Some(tunnels(Some(4096), Some(4097))));
        let priority = |wanted: &str| {
            let (policy, _) = set
                .values()
                .map(|policy| (policy.priority, table(&Policies::from([(policy.key, policy.clone())]))))
                .find(|(_, line)| line[0].contains(wanted))
                .unwrap();
            policy
        };
        let order = ["Main Out home>agent proto 135", "Main Out home>* proto 135 1/*", "Main Out home>* proto 0"];
        let order = order.map(priority);
        assert!(order[0] < order[1] && order[1] < order[2], "{order:?}");
        assert!(order[0] < TUNNELS_FROM && order[1] >= TUNNELS_FROM);
    }

    /// The guide of migrations is a policy of the set it guides, outbound and for any protocol.
    #[test]
    fn the_payload_policy_is_in_the_set_of_its_side() {
        let mobile = mobile_node(home(), agent(), Some(tunnels(None, Some(4097))));
        assert!(mobile.contains_key(&payload_policy(home(), false)));
        assert!(!mobile.contains_key(&payload_policy(home(), true)));
        assert!(binding(home(), agent(), tunnels(None, Some(4097))).contains_key(&payload_policy(home(), true)));
        // Also when it blocks, so that it can be replaced by the one that passes.
        assert!(binding(home(), agent(), tunnels(None, None)).contains_key(&payload_policy(home(), true)));
    }

    /// New ones first, the unwanted last, what is the same not at all: nothing is unprotected in between.
    #[test]
    fn a_difference_adds_before_it_removes_and_leaves_the_rest_alone() {
        let away = mobile_node(home(), agent(), Some(tunnels(None, None)));
        let payload = mobile_node(home(), agent(), Some(tunnels(None, Some(4097))));
        let at_home = mobile_node(home(), agent(), None);
        assert!(difference(&away, &away).is_empty());
        let [Op::SetPolicy(set)] = &difference(&away, &payload)[..] else { panic!("the payload policy and no other") };
        assert_eq!(set.key, payload_policy(home(), false));
        let ops = difference(&payload, &at_home);
        assert!(ops.iter().all(|op| matches!(op, Op::DeletePolicy(_))));
        assert_eq!(ops.len(), payload.len() - at_home.len());
        let other = binding(home(), agent(), tunnels(None, None));
        let ops = difference(&payload, &other);
        let last_set = ops.iter().rposition(|op| matches!(op, Op::SetPolicy(_))).unwrap();
        let first_gone = ops.iter().position(|op| matches!(op, Op::DeletePolicy(_))).unwrap();
        assert!(last_set < first_gone);
    }
}
