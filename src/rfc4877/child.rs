//! The CHILD_SAs of RFC 4877: what each is for, how IKE names it on the wire and how the kernel holds it.
//!
//! On the wire the selectors are as fine as RFC 4877 §7.2 has them. In the kernel an SA's selector says only "protocol
//! 135" or "ICMPv6": Linux cannot tell Mobility Header types of incoming packets, so the type is checked again in user
//! space (docs/architecture.md).

use std::net::{IpAddr, Ipv6Addr};

use ike::action::{ChildSa, EspSuite};
use ike::wire::TrafficSelector;
use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress};

use crate::kernel::op::{EspKeys, EspSa, Mode, Move, Net, Op, Protocol, SaKey, Selector};

/// IP protocol number of the Mobility Header (RFC 6275 §6.1).
pub const MOBILITY_HEADER: u8 = 135;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Mobile Prefix Solicitation and Advertisement (RFC 6275 §6.7, §6.8).
pub const PREFIX_DISCOVERY_TYPES: (u8, u8) = (146, 147);

/// reqid of the SAs for binding updates and acknowledgements.
pub const BINDING_REQID: u32 = 1;
/// reqid of the SAs for mobile prefix discovery.
pub const PREFIX_DISCOVERY_REQID: u32 = 2;
/// Tunnel SAs have a reqid of their own each, from here on: a migration names just one pair with it.
const FIRST_TUNNEL_REQID: u32 = 0x1000;

/// What a CHILD_SA is for, in the order of creation (RFC 4877 §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Binding updates and acknowledgements, transport mode.
    Binding,
    /// Mobile prefix solicitations and advertisements, transport mode.
    PrefixDiscovery,
    /// HoTI and HoT, tunnel mode.
    ReturnRoutability,
    /// Everything else between the home address and its correspondents, tunnel mode.
    Payload,
}

impl Purpose {
    /// Those that follow the first one by CREATE_CHILD_SA.
    pub const LATER: [Self; 3] = [Self::PrefixDiscovery, Self::ReturnRoutability, Self::Payload];

    /// The mark under which IKE carries it.
    pub fn tag(self) -> u64 {
        match self {
            Self::Binding => 1,
            Self::PrefixDiscovery => 2,
            Self::ReturnRoutability => 3,
            Self::Payload => 4,
        }
    }

    /// The purpose of a mark, if it is one of ours.
    pub fn from_tag(tag: u64) -> Option<Self> {
        [Self::Binding, Self::PrefixDiscovery, Self::ReturnRoutability, Self::Payload]
            .into_iter()
            .find(|p| p.tag() == tag)
    }

    /// Whether it is a transport-mode SA between home address and home agent.
    pub fn transport(self) -> bool {
        matches!(self, Self::Binding | Self::PrefixDiscovery)
    }

    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::PrefixDiscovery => "prefix-discovery",
            Self::ReturnRoutability => "return-routability",
            Self::Payload => "payload",
        }
    }

    /// Traffic selectors as the mobile node proposes them: its own side and the home agent's (RFC 4877 §7.2). With no
    /// home address yet the mobile node's side is wide and the home agent narrows it (RFC 4877 §9).
    pub fn selectors(
        self,
        home_address: Option<HomeAddress>,
        home_agent: HomeAgentAddress,
    ) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
        let home = match home_address {
            Some(address) => (address.0, address.0),
            None => (Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX)),
        };
        let agent = (home_agent.0, home_agent.0);
        let any = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX));
        let (local, remote) = match self {
            Self::Binding => (
                // RFC 4877 §7.3: one pair serves both, so each side names what it sends; the Mobility Header type stands
                // in the high octet of the port (RFC 7296 §3.13.1).
                selector(home, MOBILITY_HEADER, types(5, 5)),
                selector(agent, MOBILITY_HEADER, types(6, 6)),
            ),
            Self::PrefixDiscovery => (
                selector(home, ICMPV6, codes(PREFIX_DISCOVERY_TYPES.0)),
                selector(agent, ICMPV6, codes(PREFIX_DISCOVERY_TYPES.1)),
            ),
            Self::ReturnRoutability => {
                (selector(home, MOBILITY_HEADER, types(1, 1)), selector(any, MOBILITY_HEADER, types(3, 3)))
            }
            Self::Payload => (selector(home, 0, (0, u16::MAX)), selector(any, 0, (0, u16::MAX))),
        };
        (vec![local], vec![remote])
    }
}

fn selector(range: (Ipv6Addr, Ipv6Addr), protocol: u8, ports: (u16, u16)) -> TrafficSelector {
    TrafficSelector {
        protocol,
        start_port: ports.0,
        end_port: ports.1,
        start: IpAddr::V6(range.0),
        end: IpAddr::V6(range.1),
    }
}

fn types(first: u8, last: u8) -> (u16, u16) {
    (u16::from(first) << 8, u16::from(last) << 8)
}

fn codes(icmp_type: u8) -> (u16, u16) {
    let first = u16::from(icmp_type) << 8;
    (first, first | 0xff)
}

/// On which side of the tunnel we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The mobile node: it sends from the home address.
    MobileNode,
    /// The home agent.
    HomeAgent,
}

/// A CHILD_SA as it stands in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// What it is for.
    pub purpose: Purpose,
    /// Which side we are.
    pub side: Side,
    /// Whose it is.
    pub home_address: HomeAddress,
    /// With which home agent.
    pub home_agent: HomeAgentAddress,
    /// The mobile node's tunnel end point; tunnel mode only.
    pub care_of: CareOfAddress,
    /// SPI of what we receive.
    pub inbound_spi: u32,
    /// SPI of what we send.
    pub outbound_spi: u32,
    /// The kernel's name for it in templates and migrations.
    pub reqid: u32,
    /// The peer made it to take over from another one.
    pub succeeds: bool,
}

/// Whether the peer made the SA to take over from another one.
fn succeeds(sa: &ChildSa) -> bool {
    sa.replaces.is_some() && !sa.initiator
}

/// The kernel's names for pairs: those in transport mode share theirs, each tunnel pair has its own.
#[derive(Debug)]
pub struct Reqids {
    next: u32,
}

impl Default for Reqids {
    fn default() -> Self {
        Self { next: FIRST_TUNNEL_REQID }
    }
}

impl Reqids {
    fn of(&mut self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Binding => BINDING_REQID,
            Purpose::PrefixDiscovery => PREFIX_DISCOVERY_REQID,
            Purpose::ReturnRoutability | Purpose::Payload => {
                let reqid = self.next;
                self.next = self.next.checked_add(1).unwrap_or(FIRST_TUNNEL_REQID);
                reqid
            }
        }
    }
}

impl Child {
    /// What IKE has made, as it is to stand in the kernel; none if its mark is none of ours or its end is no IPv6 address.
    pub fn new(
        sa: &ChildSa,
        side: Side,
        home_address: HomeAddress,
        home_agent: HomeAgentAddress,
        reqids: &mut Reqids,
    ) -> Option<Self> {
        let purpose = Purpose::from_tag(sa.tag)?;
        let mobile = match side {
            Side::MobileNode => sa.endpoints.local_ip(),
            Side::HomeAgent => sa.endpoints.remote_ip(),
        };
        let IpAddr::V6(care_of) = mobile else { return None };
        Some(Self {
            purpose,
            side,
            home_address,
            home_agent,
            care_of: CareOfAddress(care_of),
            inbound_spi: sa.inbound.spi,
            outbound_spi: sa.outbound.spi,
            reqid: reqids.of(purpose),
            succeeds: succeeds(sa),
        })
    }

    /// Its addresses, sender first, for what we send.
    fn outbound_ends(&self, care_of: CareOfAddress) -> (IpAddr, IpAddr) {
        let mobile = if self.purpose.transport() { self.home_address.0 } else { care_of.0 };
        let (mobile, agent) = (IpAddr::V6(mobile), IpAddr::V6(self.home_agent.0));
        match self.side {
            Side::MobileNode => (mobile, agent),
            Side::HomeAgent => (agent, mobile),
        }
    }

    /// The kernel's name of the SA that we send under.
    pub fn outbound_key(&self) -> SaKey {
        let (source, destination) = self.outbound_ends(self.care_of);
        SaKey { protocol: Protocol::Esp, source, destination, spi: self.outbound_spi }
    }

    /// The kernel's name of the SA that we receive under, were the care-of address `care_of`.
    pub fn inbound_key_at(&self, care_of: CareOfAddress) -> SaKey {
        let (destination, source) = self.outbound_ends(care_of);
        SaKey { protocol: Protocol::Esp, source, destination, spi: self.inbound_spi }
    }

    /// The kernel's name of the SA that we receive under.
    pub fn inbound_key(&self) -> SaKey {
        self.inbound_key_at(self.care_of)
    }

    /// What has to be said to move the outbound SA to another care-of address.
    pub fn outbound_move(&self, to: CareOfAddress) -> Move {
        Move { from: self.outbound_ends(self.care_of), to: self.outbound_ends(to), reqid: self.reqid }
    }

    /// What has to be said to move the inbound SA to another care-of address.
    pub fn inbound_move(&self, to: CareOfAddress) -> Move {
        let turned = |(a, b)| (b, a);
        Move { from: turned(self.outbound_ends(self.care_of)), to: turned(self.outbound_ends(to)), reqid: self.reqid }
    }

    /// What the SA may carry, as the kernel checks it: here an SA is bound to its home address.
    fn kernel_selector(&self, outbound: bool) -> Selector {
        let home = Net { address: IpAddr::V6(self.home_address.0), len: 128 };
        let (far, protocol) = match self.purpose {
            Purpose::Binding => (Net { address: IpAddr::V6(self.home_agent.0), len: 128 }, MOBILITY_HEADER),
            Purpose::PrefixDiscovery => (Net { address: IpAddr::V6(self.home_agent.0), len: 128 }, ICMPV6),
            Purpose::ReturnRoutability => (ANY, MOBILITY_HEADER),
            Purpose::Payload => (ANY, 0),
        };
        let from_home = outbound == (self.side == Side::MobileNode);
        let (source, destination) = if from_home { (home, far) } else { (far, home) };
        Selector { source, destination, protocol, source_port: None, destination_port: None }
    }

    /// The operations that install it. The inbound SA comes first: the peer may send as soon as it hears of it.
    pub fn install(&self, sa: &ChildSa) -> [Op; 2] {
        let make = |key: SaKey, half: &ike::action::EspSa, outbound: bool| {
            Op::AddSa(EspSa {
                key,
                mode: if self.purpose.transport() { Mode::Transport } else { Mode::Tunnel },
                reqid: self.reqid,
                selector: self.kernel_selector(outbound),
                keys: keys(sa.suite, half),
                replay_window: if outbound { 0 } else { REPLAY_WINDOW },
                esn: sa.esn,
                encapsulation: sa.encapsulate.then(|| {
                    let (local, remote) = (sa.endpoints.local.port(), sa.endpoints.remote.port());
                    if outbound { (local, remote) } else { (remote, local) }
                }),
            })
        };
        [make(self.inbound_key(), &sa.inbound, false), make(self.outbound_key(), &sa.outbound, true)]
    }

    /// The operations that remove it.
    pub fn remove(&self) -> [Op; 2] {
        [Op::DeleteSa(self.outbound_key()), Op::DeleteSa(self.inbound_key())]
    }
}

/// Every IPv6 address.
pub const ANY: Net = Net { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 };

/// Packets that may overtake each other without being taken for replays. RFC 4303 §3.4.3: at least 32. The most that the kernel's
/// plain form holds.
const REPLAY_WINDOW: u32 = 32;

fn keys(suite: EspSuite, half: &ike::action::EspSa) -> EspKeys {
    let copy = |secret: &ike::crypto::Secret| zeroize::Zeroizing::new(secret.as_bytes().to_vec());
    match suite {
        EspSuite::AesGcm16_256 | EspSuite::AesGcm16_128 => EspKeys::AesGcm16(copy(&half.encryption)),
        EspSuite::AesCbc256HmacSha256 => {
            EspKeys::AesCbcHmacSha256 { encryption: copy(&half.encryption), integrity: copy(&half.integrity) }
        }
    }
}

#[cfg(test)]
mod tests {
    use ike::action::{ChildId, Endpoints, IkeSaId};
    use ike::crypto::Secret;
    use ike::wire::TrafficSelectors;

    use super::*;

    const HOME: &str = "2001:db8:1::2";
    const AGENT: &str = "2001:db8:1::1";
    const CARE_OF: &str = "2001:db8:2::2";

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn child(purpose: Purpose, side: Side) -> Child {
        Child {
            purpose,
            side,
            home_address: HomeAddress(ip(HOME)),
            home_agent: HomeAgentAddress(ip(AGENT)),
            care_of: CareOfAddress(ip(CARE_OF)),
            inbound_spi: 0x1111,
            outbound_spi: 0x2222,
            reqid: 7,
            succeeds: false,
        }
    }

    /// Selectors as octets on the wire, `-` for the addresses of everybody.
    fn octets(selectors: &[TrafficSelector]) -> String {
        let mut written = Vec::new();
        TrafficSelectors::new(selectors.to_vec()).write(&mut written).unwrap();
        let (head, addresses) = written.split_at(12);
        let head: String = head.iter().map(|octet| format!("{octet:02x}")).collect();
        let (start, end) = (&addresses[..16], &addresses[16..]);
        let addresses = match (start == end, start) {
            (true, one) if one == ip(HOME).octets() => "home",
            (true, one) if one == ip(AGENT).octets() => "agent",
            (false, _) if start == [0; 16] && end == [255; 16] => "any",
            _ => "other",
        };
        format!("{head} {addresses}")
    }

    /// RFC 4877 §7.2, RFC 7296 §3.13.1: count, reserved, type 8, protocol, length 40, ports; then the addresses.
    #[test]
    fn the_selectors_of_the_four_children_have_the_octets_of_the_rfc() {
        let golden = [
            (Purpose::Binding, "010000000887002805000500 home", "010000000887002806000600 agent"),
            (Purpose::PrefixDiscovery, "01000000083a0028920092ff home", "01000000083a0028930093ff agent"),
            (Purpose::ReturnRoutability, "010000000887002801000100 home", "010000000887002803000300 any"),
            (Purpose::Payload, "01000000080000280000ffff home", "01000000080000280000ffff any"),
        ];
        for (purpose, ours, theirs) in golden {
            let (local, remote) = purpose.selectors(Some(HomeAddress(ip(HOME))), HomeAgentAddress(ip(AGENT)));
            assert_eq!((octets(&local), octets(&remote)), (ours.into(), theirs.into()), "{}", purpose.name());
            assert_eq!(Purpose::from_tag(purpose.tag()), Some(purpose));
        }
        assert_eq!(Purpose::from_tag(0), None);
        assert_eq!(Purpose::from_tag(5), None);
    }

    /// RFC 4877 §9: with no home address yet our side is wide in addresses, and in nothing else.
    #[test]
    fn without_a_home_address_only_the_addresses_of_our_side_are_wide() {
        let (local, remote) = Purpose::Binding.selectors(None, HomeAgentAddress(ip(AGENT)));
        assert_eq!(octets(&local), "010000000887002805000500 any");
        assert_eq!(octets(&remote), "010000000887002806000600 agent");
    }

    /// RFC 4877 §4.4, §7.3: the SAs for signalling are made for the home address, and a change of care-of address is nothing to them.
    #[test]
    fn transport_sas_are_named_by_the_home_address_and_never_move() {
        let to = CareOfAddress(ip("2001:db8:3::3"));
        for purpose in [Purpose::Binding, Purpose::PrefixDiscovery] {
            for side in [Side::MobileNode, Side::HomeAgent] {
                let child = child(purpose, side);
                let ends = match side {
                    Side::MobileNode => (ip(HOME), ip(AGENT)),
                    Side::HomeAgent => (ip(AGENT), ip(HOME)),
                };
                let key = child.outbound_key();
                assert_eq!((key.source, key.destination, key.spi), (ends.0.into(), ends.1.into(), 0x2222));
                let key = child.inbound_key();
                assert_eq!((key.source, key.destination, key.spi), (ends.1.into(), ends.0.into(), 0x1111));
                assert_eq!(child.inbound_key_at(to), child.inbound_key());
                let still = child.outbound_move(to);
                assert_eq!(still.from, still.to);
            }
        }
    }

    /// RFC 4877 §4.3: the outer addresses of tunnels are the care-of address and the home agent, and they are what moves.
    #[test]
    fn tunnel_sas_are_named_by_the_care_of_address_and_move_with_it() {
        let to = CareOfAddress(ip("2001:db8:3::3"));
        let (agent, old, new) = (IpAddr::V6(ip(AGENT)), IpAddr::V6(ip(CARE_OF)), IpAddr::V6(to.0));
        for purpose in [Purpose::ReturnRoutability, Purpose::Payload] {
            let mobile = child(purpose, Side::MobileNode);
            assert_eq!((mobile.outbound_key().source, mobile.outbound_key().destination), (old, agent));
            assert_eq!((mobile.inbound_key().source, mobile.inbound_key().destination), (agent, old));
            assert_eq!(mobile.inbound_key_at(to).destination, new);
            assert_eq!(mobile.outbound_move(to), Move { from: (old, agent), to: (new, agent), reqid: 7 });
            assert_eq!(mobile.inbound_move(to), Move { from: (agent, old), to: (agent, new), reqid: 7 });
            let home_agent = child(purpose, Side::HomeAgent);
            assert_eq!(home_agent.outbound_move(to), Move { from: (agent, old), to: (agent, new), reqid: 7 });
            assert_eq!(home_agent.inbound_move(to), Move { from: (old, agent), to: (new, agent), reqid: 7 });
        }
    }

    fn agreed(suite: EspSuite, encapsulate: bool) -> ChildSa {
        let half = |octet: u8| ike::action::EspSa {
            spi: u32::from(octet),
            encryption: Secret::new(vec![octet; 36]),
            integrity: Secret::new(vec![octet + 1; 32]),
        };
        ChildSa {
            id: ChildId(1),
            ike_sa: IkeSaId(1),
            tag: 1,
            initiator: true,
            replaces: None,
            transport: true,
            suite,
            inbound: half(1),
            outbound: half(3),
            local_selectors: Vec::new(),
            remote_selectors: Vec::new(),
            endpoints: Endpoints {
                local: "[2001:db8:2::2]:4500".parse().unwrap(),
                remote: "[2001:db8:1::1]:31337".parse().unwrap(),
            },
            encapsulate,
            esn: true,
        }
    }

    fn installed(child: &Child, sa: &ChildSa) -> [EspSa; 2] {
        child.install(sa).map(|op| match op {
            Op::AddSa(sa) => sa,
            other => panic!("{other:?}"),
        })
    }

    /// RFC 4877 §4.2: the kernel lets under an SA only its own home address through, on both sides and in both directions.
    #[test]
    fn an_sa_is_bound_to_its_home_address_by_its_selector() {
        let host = |text: &str| Net { address: IpAddr::V6(ip(text)), len: 128 };
        for (purpose, far, protocol) in [
            (Purpose::Binding, host(AGENT), 135),
            (Purpose::PrefixDiscovery, host(AGENT), 58),
            (Purpose::ReturnRoutability, ANY, 135),
            (Purpose::Payload, ANY, 0),
        ] {
            for side in [Side::MobileNode, Side::HomeAgent] {
                let [inbound, outbound] = installed(&child(purpose, side), &agreed(EspSuite::AesGcm16_256, false));
                let (from_home, to_home) = match side {
                    Side::MobileNode => (outbound, inbound),
                    Side::HomeAgent => (inbound, outbound),
                };
                let selector = |source, destination| Selector {
                    source,
                    destination,
                    protocol,
                    source_port: None,
                    destination_port: None,
                };
                assert_eq!(from_home.selector, selector(host(HOME), far));
                assert_eq!(to_home.selector, selector(far, host(HOME)));
            }
        }
    }

    /// RFC 4303 §3.4.3 (CVE-2006-4436, a replay window of zero): what we receive has one of 32 at least, and extended sequence numbers
    /// as they were agreed. RFC 7296 §2.8: the inbound SA comes first.
    #[test]
    fn the_inbound_sa_comes_first_and_has_a_replay_window() {
        for purpose in [Purpose::Binding, Purpose::PrefixDiscovery, Purpose::ReturnRoutability, Purpose::Payload] {
            let child = child(purpose, Side::MobileNode);
            let [inbound, outbound] = installed(&child, &agreed(EspSuite::AesGcm16_256, false));
            assert_eq!((inbound.key, outbound.key), (child.inbound_key(), child.outbound_key()));
            assert!(inbound.replay_window >= 32 && inbound.esn && outbound.esn);
            assert_eq!((inbound.reqid, outbound.reqid, inbound.encapsulation), (7, 7, None));
            let mode = if purpose.transport() { Mode::Transport } else { Mode::Tunnel };
            assert_eq!((inbound.mode, outbound.mode), (mode, mode));
        }
    }

    /// RFC 4877 §4.3: each suite has an integrity algorithm of its own or is one with encryption; none goes without.
    #[test]
    fn each_direction_has_its_own_keys() {
        let child = child(Purpose::Binding, Side::HomeAgent);
        let key = |octet: u8, len: usize| zeroize::Zeroizing::new(vec![octet; len]);
        for suite in [EspSuite::AesGcm16_256, EspSuite::AesGcm16_128] {
            let [inbound, outbound] = installed(&child, &agreed(suite, false));
            assert_eq!(inbound.keys, EspKeys::AesGcm16(key(1, 36)));
            assert_eq!(outbound.keys, EspKeys::AesGcm16(key(3, 36)));
        }
        let [inbound, outbound] = installed(&child, &agreed(EspSuite::AesCbc256HmacSha256, false));
        let keys = |octet| EspKeys::AesCbcHmacSha256 { encryption: key(octet, 36), integrity: key(octet + 1, 32) };
        assert_eq!((inbound.keys, outbound.keys), (keys(1), keys(3)));
    }

    /// RFC 7296 §2.23: behind a NAT the UDP ports are those of IKE, each direction's source first.
    #[test]
    fn encapsulation_takes_the_ports_of_ike() {
        let [inbound, outbound] =
            installed(&child(Purpose::Payload, Side::MobileNode), &agreed(EspSuite::AesGcm16_256, true));
        assert_eq!(inbound.encapsulation, Some((31337, 4500)));
        assert_eq!(outbound.encapsulation, Some((4500, 31337)));
    }

    #[test]
    fn what_was_installed_is_what_is_removed() {
        for side in [Side::MobileNode, Side::HomeAgent] {
            let child = child(Purpose::Payload, side);
            let added: Vec<_> = installed(&child, &agreed(EspSuite::AesGcm16_256, false)).map(|sa| sa.key).into();
            let mut removed: Vec<_> = child
                .remove()
                .into_iter()
                .map(|op| match op {
                    Op::DeleteSa(key) => key,
                    other => panic!("{other:?}"),
                })
                .collect();
            removed.reverse();
            assert_eq!(added, removed);
        }
    }
}
