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
pub const FIRST_TUNNEL_REQID: u32 = 0x1000;

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
pub fn succeeds(sa: &ChildSa) -> bool {
    sa.replaces.is_some() && !sa.initiator
}

impl Child {
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

/// Packets that may overtake each other without being taken for replays. The most that the kernel's plain form holds.
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
