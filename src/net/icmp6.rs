//! ICMPv6: neighbour discovery (RFC 4861, RFC 4862) and mobile prefix discovery (RFC 6275 §6.7, §6.8) over raw sockets.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsFd;

use nix::libc;
use socket2::Type;
use tracing::debug;

use super::ancillary::Outgoing;
use super::socket::{self, Datagram, Socket};
use super::system::{self, Tell};
use super::{refused, while_doing};

/// Router Solicitation (RFC 4861 §4.1).
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router Advertisement (RFC 4861 §4.2).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour Solicitation (RFC 4861 §4.3).
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour Advertisement (RFC 4861 §4.4).
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect (RFC 4861 §4.5).
pub const REDIRECT: u8 = 137;
/// Mobile Prefix Solicitation (RFC 6275 §6.7).
pub const MOBILE_PREFIX_SOLICITATION: u8 = 146;
/// Mobile Prefix Advertisement (RFC 6275 §6.8).
pub const MOBILE_PREFIX_ADVERTISEMENT: u8 = 147;

/// All nodes of a link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of a link (RFC 4291 §2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// RFC 4861 §3.1: no router lowers it on the way, so it was sent on this link.
const ON_LINK_HOP_LIMIT: u8 = 255;
const IPV6_HEADER_LEN: usize = 40;
const ICMP6: u8 = 58;
/// Neighbour discovery is a few messages a second, even in bursts.
const BUFFER: usize = 1 << 20;

/// The group where the owner of an address listens for solicitations (RFC 4291 §2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const GROUP: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(GROUP | (address.to_bits() & 0xff_ffff))
}

/// An ICMPv6 message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its type.
    pub kind: u8,
    /// Source address: the home address, if a Home Address option came with it.
    pub source: Ipv6Addr,
    /// Destination address: the home address, if a type 2 routing header came with it.
    pub destination: Ipv6Addr,
    /// The index of the interface where it came in.
    pub interface: u32,
    /// Hop limit; always 255 for neighbour discovery.
    pub hop_limit: u8,
    /// The source address in the IPv6 header, if a Home Address option came with it.
    pub home_address_option_care_of: Option<Ipv6Addr>,
    /// The destination address in the IPv6 header, if a type 2 routing header came with it.
    pub routing_header_care_of: Option<Ipv6Addr>,
    /// From the type octet on. The kernel verified the checksum.
    pub message: Vec<u8>,
}

/// A raw socket for some ICMPv6 types, and one for what has to come from the unspecified address.
#[derive(Debug)]
pub struct Icmp6Socket {
    messages: Socket,
    /// Takes whole packets: the kernel would put an address of the interface into the header.
    packets: Socket,
}

impl Icmp6Socket {
    /// Opens it for these types, on all interfaces of this network namespace. Needs CAP_NET_RAW and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// Name what failed.
    pub fn open(types: &[u8]) -> io::Result<Self> {
        let messages = || {
            let socket = socket::open(Type::RAW, libc::IPPROTO_ICMPV6)?;
            system::pass_icmp6_types(socket.as_fd(), types)?;
            socket::enlarge_buffers(&socket, BUFFER)?;
            for what in [Tell::PacketInfo, Tell::HopLimit, Tell::RoutingHeader, Tell::DestinationOptions] {
                system::tell(socket.as_fd(), what)?;
            }
            // What we tell the link, the kernel need not tell us.
            socket.set_multicast_loop_v6(false)?;
            Socket::new(socket)
        };
        let packets = || {
            let socket = socket::open(Type::RAW, libc::IPPROTO_RAW)?;
            // The source of the look-up is not the one in the header, see `send_packet`.
            socket.set_freebind_v6(true)?;
            socket.set_multicast_loop_v6(false)?;
            match system::bypass_policies(socket.as_fd()) {
                // A kernel without IPsec has no policies that could block.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)) => {}
                result => result?,
            }
            Socket::new(socket)
        };
        Ok(Self {
            messages: messages().map_err(while_doing(|| "opening the ICMPv6 socket".into()))?,
            packets: packets().map_err(while_doing(|| "opening the socket for whole IPv6 packets".into()))?,
        })
    }

    /// Joins a group on an interface: [`ALL_NODES`], [`ALL_ROUTERS`], a [`solicited_node`] group. Joining again is no error.
    ///
    /// # Errors
    /// Name group and interface: there is no such interface, there are too many groups.
    pub fn join(&self, interface: u32, group: Ipv6Addr) -> io::Result<()> {
        match self.messages.get_ref().join_multicast_v6(&group, interface) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
            result => result.map_err(while_doing(|| format!("joining {group} on interface {interface}"))),
        }
    }

    /// Leaves a group on an interface. Leaving one that was not joined, or whose interface is gone, is no error.
    ///
    /// # Errors
    /// Name group and interface.
    pub fn leave(&self, interface: u32, group: Ipv6Addr) -> io::Result<()> {
        match self.messages.get_ref().leave_multicast_v6(&group, interface) {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result.map_err(while_doing(|| format!("leaving {group} on interface {interface}"))),
        }
    }

    /// The next message of one of the types asked for. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn recv(&self) -> io::Result<Received> {
        loop {
            let datagram = self.messages.recv().await.map_err(while_doing(|| "receiving ICMPv6 messages".into()))?;
            if let Some(received) = checked(datagram) {
                return Ok(received);
            }
        }
    }

    /// Sends an ICMPv6 message, from its type octet on; its checksum is filled in.
    ///
    /// * `interface`: out of this one; 0: by the route.
    /// * `source`: none: the kernel's choice, for a link-local destination a link-local address. The unspecified address: a
    ///   Router Solicitation while the link-local address is not usable yet (RFC 4861 §4.1).
    /// * `hop_limit`: 255 for neighbour discovery.
    /// * `care_of`: it goes there, with a type 2 routing header for `destination`, the home address.
    ///
    /// # Errors
    /// Name type, both ends and interface: the source is not ours, there is no route, no SA, the buffer is full.
    pub fn send(
        &self,
        interface: u32,
        source: Option<Ipv6Addr>,
        destination: Ipv6Addr,
        hop_limit: u8,
        message: &[u8],
        care_of: Option<Ipv6Addr>,
    ) -> io::Result<()> {
        let sent = if source == Some(Ipv6Addr::UNSPECIFIED) {
            match care_of {
                None => self.send_packet(interface, destination, hop_limit, message),
                Some(_) => Err(refused("a routing header needs a source address".into())),
            }
        } else {
            let how = Outgoing { source, interface, hop_limit: Some(hop_limit), care_of };
            self.messages.send(SocketAddrV6::new(destination, 0, 0, scope(destination, interface)), &how, &[message])
        };
        sent.map_err(while_doing(|| {
            let kind = message.first().copied().unwrap_or_default();
            let source = source.map(|source| format!(" from {source}")).unwrap_or_default();
            let via = care_of.map(|care_of| format!(" by {care_of}")).unwrap_or_default();
            format!("sending ICMPv6 type {kind}{source} to {destination}{via} on interface {interface}")
        }))
    }

    /// Asks the link whether another node has this address: a Neighbour Solicitation from the unspecified address
    /// (RFC 4862 §5.4.2). Whoever has it answers by a Neighbour Advertisement to all nodes; whoever is about to take it asks the
    /// same at the same time, which is seen after [`Icmp6Socket::join`] of its [`solicited_node`] group.
    ///
    /// # Errors
    /// Name address and interface.
    pub fn raw_neighbour_solicitation(&self, interface: u32, target: Ipv6Addr) -> io::Result<()> {
        // RFC 4861 §4.3: no source link-layer address option when the source is unspecified.
        let message = [&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
        self.send_packet(interface, solicited_node(target), ON_LINK_HOP_LIMIT, &message)
            .map_err(while_doing(|| format!("probing for duplicates of {target} on interface {interface}")))
    }

    fn send_packet(&self, interface: u32, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> io::Result<()> {
        let packet = from_unspecified(destination, hop_limit, message)
            .ok_or_else(|| refused(format!("{} octets are no ICMPv6 message", message.len())))?;
        // The look-up of the route wants a source, and finds none on an interface whose addresses are all tentative: it gets one
        // that is always there and reaches nothing but the look-up.
        let how = Outgoing { source: Some(Ipv6Addr::LOCALHOST), interface, ..Outgoing::default() };
        self.packets.send(SocketAddrV6::new(destination, 0, 0, scope(destination, interface)), &how, &[&packet])
    }
}

/// The scope of a destination: link-local addresses and groups need their interface, others must not name one.
fn scope(destination: Ipv6Addr, interface: u32) -> u32 {
    if destination.is_unicast_link_local() || destination.is_multicast() { interface } else { 0 }
}

/// What was received, unless it is neighbour discovery from beyond the link.
fn checked(datagram: Datagram) -> Option<Received> {
    let kind = *datagram.bytes.first()?;
    let hop_limit = datagram.ancillary.hop_limit?;
    let source = *datagram.remote.ip();
    // RFC 4861 §6.1.1, §6.1.2, §7.1.1, §7.1.2, §8.1: anything but 255 may have been sent from anywhere.
    if (ROUTER_SOLICITATION..=REDIRECT).contains(&kind) && hop_limit != ON_LINK_HOP_LIMIT {
        debug!(kind, %source, hop_limit, "neighbour discovery from beyond the link dropped");
        return None;
    }
    Some(Received {
        kind,
        source,
        destination: datagram.destination,
        interface: datagram.ancillary.interface,
        hop_limit,
        home_address_option_care_of: datagram.ancillary.option_care_of,
        routing_header_care_of: datagram.ancillary.routing_care_of,
        message: datagram.bytes,
    })
}

/// The IPv6 packet from the unspecified address that carries this ICMPv6 message; none if it is too short or too long for one.
fn from_unspecified(destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Option<Vec<u8>> {
    let [kind, code, _, _, body @ ..] = message else { return None };
    let [len_high, len_low] = u16::try_from(message.len()).ok()?.to_be_bytes();
    let [sum_high, sum_low] =
        checksum(Ipv6Addr::UNSPECIFIED, destination, &[&[*kind, *code, 0, 0], body].concat()).to_be_bytes();
    let mut packet = Vec::with_capacity(IPV6_HEADER_LEN + message.len());
    packet.extend_from_slice(&[0x60, 0, 0, 0, len_high, len_low, ICMP6, hop_limit]);
    packet.extend_from_slice(&Ipv6Addr::UNSPECIFIED.octets());
    packet.extend_from_slice(&destination.octets());
    packet.extend_from_slice(&[*kind, *code, sum_high, sum_low]);
    packet.extend_from_slice(body);
    Some(packet)
}

/// The ICMPv6 checksum (RFC 4443 §2.3) of a message of less than 64 KiB whose checksum field is zero.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |octets: &[u8]| -> u64 {
        octets
            .chunks(2)
            .map(|pair| {
                u64::from(pair.first().copied().unwrap_or(0)) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))
            })
            .sum()
    };
    // RFC 8200 §8.1: the pseudo-header.
    let mut sum = words(&source.octets()) + words(&destination.octets()) + words(message) + u64::from(ICMP6);
    sum += u64::try_from(message.len()).unwrap_or(u64::MAX);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solicited_node_group_holds_the_low_24_bits() {
        let group = solicited_node("4037::01:800:200e:8c6c".parse().unwrap());
        // RFC 4291 §2.7.1 has this very example.
        assert_eq!(group, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn a_packet_from_the_unspecified_address_sums_up() {
        for len in [4, 23, 24, 25] {
            let message: Vec<u8> = (0..len).map(|octet: u8| octet.wrapping_mul(37) ^ 0xa5).collect();
            let packet = from_unspecified(ALL_ROUTERS, 255, &message).unwrap();
            assert_eq!(packet.len(), IPV6_HEADER_LEN + message.len());
            assert_eq!(packet[IPV6_HEADER_LEN + 4..], message[4..], "the body is carried as it is");
            // RFC 1071: with the checksum in its place the sum has no bit left.
            assert_eq!(checksum(Ipv6Addr::UNSPECIFIED, ALL_ROUTERS, &packet[IPV6_HEADER_LEN..]), 0);
        }
    }

    #[test]
    fn what_is_no_icmp6_message_is_not_packed() {
        assert_eq!(from_unspecified(ALL_NODES, 255, &[133, 0, 0]), None);
        assert_eq!(from_unspecified(ALL_NODES, 255, &[133; 65_536]), None);
    }
}
