//! Operations on the kernel as plain data. A batch of them is one transaction: see [`super::Kernel`].

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Direction of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// To this host.
    In,
    /// From this host, forwarded packets included.
    Out,
    /// Through this host, checked when it has been decapsulated.
    Forward,
}

/// Linux keeps a second policy data base beside the main one; both are applied (Mobile IPv6 uses it for HAO and RT2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyType {
    /// IPsec.
    Main,
    /// Route optimisation.
    Sub,
}

/// IPv6 or IPv4 addresses with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Net {
    /// The address; bits beyond the length do not count.
    pub address: IpAddr,
    /// The length in bits.
    pub len: u8,
}

/// What a policy or an SA applies to. Ports are in host order; an ICMPv6 or Mobility Header type is a source "port".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Selector {
    /// Source.
    pub source: Net,
    /// Destination.
    pub destination: Net,
    /// Upper-layer protocol, 0 for any.
    pub protocol: u8,
    /// Source port (or type), if it counts.
    pub source_port: Option<u16>,
    /// Destination port (or ICMPv6 code), if it counts.
    pub destination_port: Option<u16>,
}

/// How an SA is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// ESP transport mode.
    Transport,
    /// ESP tunnel mode.
    Tunnel,
    /// Mobile IPv6 route optimisation: Home Address option or type 2 routing header.
    RouteOptimization,
}

/// The protocol that an SA or a template stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// 50.
    Esp,
    /// 60: Home Address option.
    DestinationOptions,
    /// 43: type 2 routing header.
    Routing,
}

/// What a policy demands. Unspecified addresses and reqid 0 match any SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Which protocol.
    pub protocol: Protocol,
    /// Which mode.
    pub mode: Mode,
    /// Tunnel source (or home address for route optimisation), unspecified for any.
    pub source: IpAddr,
    /// Tunnel destination, unspecified for any.
    pub destination: IpAddr,
    /// The SA's reqid, 0 for any.
    pub reqid: u32,
    /// Packets without it are accepted too.
    pub optional: bool,
}

/// What makes a policy the same policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyKey {
    /// Main or sub.
    pub kind: PolicyType,
    /// Direction.
    pub direction: Direction,
    /// Selector.
    pub selector: Selector,
}

/// What is done with matching packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass them, transformed by these templates (none: as they are).
    Allow(Vec<Template>),
    /// Drop them.
    Block,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its identity.
    pub key: PolicyKey,
    /// Lower comes first.
    pub priority: u32,
    /// What it does.
    pub verdict: Verdict,
}

/// What makes an SA the same SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SaKey {
    /// Its protocol.
    pub protocol: Protocol,
    /// Destination address.
    pub destination: IpAddr,
    /// Source address (part of the identity only for route optimisation).
    pub source: IpAddr,
    /// SPI in host order; 0 for route optimisation.
    pub spi: u32,
}

/// Algorithms and keys of an ESP SA. Its `Debug` leaves the keys out.
#[derive(Clone, PartialEq, Eq)]
pub enum EspKeys {
    /// `rfc4106(gcm(aes))`, 128-bit ICV; the key ends with the 4-octet salt.
    AesGcm16(Zeroizing<Vec<u8>>),
    /// `cbc(aes)` and `hmac(sha256)` truncated to 128 bits.
    AesCbcHmacSha256 {
        /// Encryption key.
        encryption: Zeroizing<Vec<u8>>,
        /// Integrity key.
        integrity: Zeroizing<Vec<u8>>,
    },
}

impl fmt::Debug for EspKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AesGcm16(_) => "AesGcm16(..)",
            Self::AesCbcHmacSha256 { .. } => "AesCbcHmacSha256 { .. }",
        })
    }
}

/// An ESP SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspSa {
    /// Its identity (protocol ESP).
    pub key: SaKey,
    /// Transport or tunnel.
    pub mode: Mode,
    /// For policies' templates.
    pub reqid: u32,
    /// What it may carry; checked on input.
    pub selector: Selector,
    /// Keys.
    pub keys: EspKeys,
    /// Anti-replay window in packets (0: none). Above 32 the extended form is used.
    pub replay_window: u32,
    /// Extended sequence numbers.
    pub esn: bool,
    /// UDP encapsulation: (source, destination) port.
    pub encapsulation: Option<(u16, u16)>,
}

/// A route-optimisation state: how the home address stands for the care-of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteOptimization {
    /// Its identity (protocol 60 or 43, SPI 0).
    pub key: SaKey,
    /// The care-of address; unspecified with `wildcard`: any.
    pub care_of: Ipv6Addr,
    /// Serves packets of every peer (`XFRM_STATE_WILDRECV`).
    pub wildcard: bool,
}

/// One SA's change of tunnel end points in a [`Op::Migrate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Old source and destination.
    pub from: (IpAddr, IpAddr),
    /// New source and destination.
    pub to: (IpAddr, IpAddr),
    /// Of the SA with this reqid.
    pub reqid: u32,
}

/// An interface address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// On this interface.
    pub interface: u32,
    /// The address.
    pub address: Ipv6Addr,
    /// Its prefix length; the kernel makes an on-link route for it unless it is 128.
    pub len: u8,
    /// IFA_F_HOMEADDRESS.
    pub home: bool,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// To where (`::/0`: default).
    pub destination: (Ipv6Addr, u8),
    /// Next hop; none: on link.
    pub gateway: Option<Ipv6Addr>,
    /// Out of this interface.
    pub interface: u32,
    /// Preferred source address.
    pub preferred_source: Option<Ipv6Addr>,
    /// Lower wins.
    pub metric: u32,
    /// What goes there is for this host itself (table `local`).
    pub local: bool,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Hash policies by these prefix lengths of local and remote address (IPv6).
    SpdHash {
        /// Local prefix bits.
        local: u8,
        /// Remote prefix bits.
        remote: u8,
    },
    /// Add an ESP SA.
    AddSa(EspSa),
    /// Delete an SA of any kind.
    DeleteSa(SaKey),
    /// Copy an inbound tunnel SA, its replay state included, to another destination: packets to either are accepted (soft handover).
    CopySa {
        /// The SA to copy.
        from: SaKey,
        /// The new destination.
        to: IpAddr,
    },
    /// Add a route-optimisation state, or replace the one of ours with the same key.
    SetRouteOptimization(RouteOptimization),
    /// Add a policy, or replace the one of ours with the same key.
    SetPolicy(Policy),
    /// Delete a policy.
    DeletePolicy(PolicyKey),
    /// Move the end points of tunnel SAs of ours, and of the policy's template that names them (RFC 4877 §7.4). Any number of
    /// moves, and of SAs for each: they are split into as many messages as the kernel needs, and read back. It is an error if
    /// there is no SA for a move.
    Migrate {
        /// An outbound any-protocol policy whose template one of the moves matches. Linux 6.12 looks it up as it would for a
        /// packet: none of higher priority may cover its selector.
        policy: PolicyKey,
        /// What moves.
        moves: Vec<Move>,
    },
    /// Add an address without the kernel's duplicate address detection (it is done by ourselves); no error if it is there.
    AddAddress(Address),
    /// Remove an address; no error if it is not there. One that was there before us is put back in the end.
    DeleteAddress(Address),
    /// Add a route, or replace the one of ours with the same destination and metric.
    SetRoute(Route),
    /// Remove a route of ours; no error if it is not there.
    DeleteRoute(Route),
    /// Answer neighbour solicitations for this address on this interface.
    AddProxy {
        /// Where.
        interface: u32,
        /// For which address.
        address: Ipv6Addr,
    },
    /// Stop answering, if it is by us that it is answered.
    DeleteProxy {
        /// Where.
        interface: u32,
        /// For which address.
        address: Ipv6Addr,
    },
    /// Set a neighbour's link-layer address (state reachable: the kernel may refresh it later).
    SetNeighbour {
        /// Where.
        interface: u32,
        /// Whose.
        address: Ipv6Addr,
        /// The link-layer address.
        link_layer: [u8; 6],
    },
    /// Forget a neighbour, and with it the packets that wait for its link-layer address; no error if it is unknown.
    DeleteNeighbour {
        /// Where.
        interface: u32,
        /// Whose.
        address: Ipv6Addr,
    },
    /// Write a value below `/proc/sys/`, for example `net/ipv6/conf/eth0/accept_ra`.
    Sysctl {
        /// The path below `/proc/sys/`.
        path: String,
        /// The value.
        value: String,
    },
}
