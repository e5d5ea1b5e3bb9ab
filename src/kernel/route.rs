//! Addresses, routes and neighbours as messages, by the structures of `netlink-packet-route`.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, ParseableParametrized};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::{Refused, Request};
use super::op::{Address, Route};

const RTM_NEWADDR: u16 = 20;
/// `struct ifaddrmsg`, which attributes follow.
const LEAST_ADDRESS: usize = 8;
/// The table of the host's own addresses; the crate has no name for it.
const RT_TABLE_LOCAL: u8 = 255;
/// Routes carry it as their protocol, so that `ip route` tells whose they are.
const RTPROT_HOMEWARD: u8 = 77;

/// Adds an address, or gives the one that is there these flags.
pub(super) fn add_address(address: &Address) -> Request {
    let mut flags = AddressFlags::Nodad;
    flags.set(AddressFlags::Homeaddress, address.home);
    let mut message = address_message(address.interface, address.address, address.len);
    message.attributes.push(AddressAttribute::Flags(flags));
    Request::new(&RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

pub(super) fn delete_address(address: &Address) -> Request {
    let message = address_message(address.interface, address.address, address.len);
    Request::new(&RouteNetlinkMessage::DelAddress(message), 0)
}

/// Asks for an address of an interface.
pub(super) fn get_address(address: &Address) -> Request {
    let message = address_message(address.interface, address.address, 128);
    Request::new(&RouteNetlinkMessage::GetAddress(message), 0)
}

/// The address as it stands; none if it is there on another interface only.
pub(super) fn read_address(wanted: &Address, answer: &[u8]) -> Result<Option<Address>, Refused> {
    if answer.len() < LEAST_ADDRESS {
        return Err(Refused::new("the kernel's answer is too short"));
    }
    let Ok(RouteNetlinkMessage::NewAddress(message)) = RouteNetlinkMessage::parse_with_param(answer, RTM_NEWADDR)
    else {
        return Err(Refused::new("the kernel's answer cannot be read"));
    };
    let found = message.attributes.contains(&AddressAttribute::Address(IpAddr::V6(wanted.address)));
    if !found || message.header.index != wanted.interface {
        return Ok(None);
    }
    let home = message
        .attributes
        .iter()
        .any(|a| matches!(a, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Homeaddress)));
    Ok(Some(Address { len: message.header.prefix_len, home, ..*wanted }))
}

fn address_message(interface: u32, address: Ipv6Addr, len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = len;
    message.header.index = interface;
    let address = IpAddr::V6(address);
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

/// Adds a route, or replaces the one with the same destination and metric.
pub(super) fn set_route(route: &Route, replace: bool) -> Request {
    let how = if replace { NLM_F_REPLACE } else { NLM_F_EXCL };
    Request::new(&RouteNetlinkMessage::NewRoute(route_message(route)), NLM_F_CREATE | how)
}

/// Removes a route that carries our protocol number: never another's.
pub(super) fn delete_route(route: &Route) -> Request {
    Request::new(&RouteNetlinkMessage::DelRoute(route_message(route)), 0)
}

fn route_message(route: &Route) -> RouteMessage {
    let (destination, len) = route.destination;
    let inet6 = |address: Ipv6Addr| RouteAddress::Inet6(address);
    let (table, kind) = match route.local {
        true => (RT_TABLE_LOCAL, RouteType::Local),
        false => (RouteHeader::RT_TABLE_MAIN, RouteType::Unicast),
    };
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet6,
        destination_prefix_length: len,
        table,
        protocol: RouteProtocol::Other(RTPROT_HOMEWARD),
        scope: RouteScope::Universe,
        kind,
        ..RouteHeader::default()
    };
    let attributes = [
        (len > 0).then(|| RouteAttribute::Destination(inet6(destination))),
        route.gateway.map(|gateway| RouteAttribute::Gateway(inet6(gateway))),
        Some(RouteAttribute::Oif(route.interface)),
        Some(RouteAttribute::Priority(route.metric)),
        route.preferred_source.map(|source| RouteAttribute::PrefSource(inet6(source))),
    ];
    message.attributes = attributes.into_iter().flatten().collect();
    message
}

pub(super) fn add_proxy(interface: u32, address: Ipv6Addr) -> Request {
    let message = neighbour(interface, address, NeighbourState::Permanent, NeighbourFlags::Proxy);
    Request::new(&RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

pub(super) fn delete_proxy(interface: u32, address: Ipv6Addr) -> Request {
    let message = neighbour(interface, address, NeighbourState::None, NeighbourFlags::Proxy);
    Request::new(&RouteNetlinkMessage::DelNeighbour(message), 0)
}

/// Asks whether there is a proxy entry.
pub(super) fn get_proxy(interface: u32, address: Ipv6Addr) -> Request {
    let message = neighbour(interface, address, NeighbourState::None, NeighbourFlags::Proxy);
    Request::new(&RouteNetlinkMessage::GetNeighbour(message), 0)
}

pub(super) fn set_neighbour(interface: u32, address: Ipv6Addr, link_layer: [u8; 6]) -> Request {
    let mut message = neighbour(interface, address, NeighbourState::Reachable, NeighbourFlags::empty());
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(link_layer.to_vec()));
    Request::new(&RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

pub(super) fn delete_neighbour(interface: u32, address: Ipv6Addr) -> Request {
    let message = neighbour(interface, address, NeighbourState::None, NeighbourFlags::empty());
    Request::new(&RouteNetlinkMessage::DelNeighbour(message), 0)
}

fn neighbour(interface: u32, address: Ipv6Addr, state: NeighbourState, flags: NeighbourFlags) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.ifindex = interface;
    message.header.state = state;
    message.header.flags = flags;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

/// Asks for all interfaces.
pub(super) fn get_links() -> Request {
    Request::new(&RouteNetlinkMessage::GetLink(LinkMessage::default()), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Address =
        Address { interface: 7, address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), len: 64, home: true };

    /// The kernel's answer has the layout of the request that adds the address.
    fn answer(address: &Address) -> Vec<u8> {
        add_address(address).body().to_vec()
    }

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for home in [false, true] {
            let address = Address { home, len: 128, ..WANTED };
            assert_eq!(read_address(&WANTED, &answer(&address)), Ok(Some(address)));
        }
        let elsewhere = Address { interface: 8, ..WANTED };
        assert_eq!(read_address(&WANTED, &answer(&elsewhere)), Ok(None));
    }

    #[test]
    fn an_address_that_is_cut_off_is_not_taken_for_another() {
        let whole = answer(&WANTED);
        for length in 0..whole.len() {
            let read = read_address(&WANTED, &whole[..length]);
            assert!(!matches!(&read, Ok(Some(found)) if *found == WANTED), "{length}: {read:?}");
        }
    }
}
