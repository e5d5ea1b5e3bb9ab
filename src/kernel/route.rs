//! Addresses, routes and neighbours: `linux/rtnetlink.h` as octets.

use std::net::Ipv6Addr;

use super::netlink::{Netlink, Refused, attribute};
use super::op::{Address, Route};

const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;

const CREATE: u16 = 0x400;
const REPLACE: u16 = 0x100;

const AF_INET6: u8 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_HOMEADDRESS: u32 = 0x10;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
/// Routes carry it as their protocol, so that `ip route` tells whose they are.
const RTPROT_HOMEWARD: u8 = 77;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_REACHABLE: u16 = 0x02;
const NUD_PERMANENT: u16 = 0x80;
const NTF_PROXY: u8 = 0x08;

pub(super) fn add_address(netlink: &mut Netlink, address: &Address) -> Result<(), Refused> {
    netlink.request(NEWADDR, CREATE | REPLACE, &address_body(address)).map(drop)
}

pub(super) fn delete_address(netlink: &mut Netlink, address: &Address) -> Result<(), Refused> {
    netlink.request(DELADDR, 0, &address_body(address)).map(drop)
}

fn address_body(address: &Address) -> Vec<u8> {
    let mut body = vec![AF_INET6, address.len, 0, 0];
    body.extend(address.interface.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &address.address.octets());
    attribute(&mut body, IFA_ADDRESS, &address.address.octets());
    let flags = IFA_F_NODAD | if address.home { IFA_F_HOMEADDRESS } else { 0 };
    attribute(&mut body, IFA_FLAGS, &flags.to_ne_bytes());
    body
}

pub(super) fn set_route(netlink: &mut Netlink, route: &Route) -> Result<(), Refused> {
    netlink.request(NEWROUTE, CREATE | REPLACE, &route_body(route)).map(drop)
}

pub(super) fn delete_route(netlink: &mut Netlink, route: &Route) -> Result<(), Refused> {
    netlink.request(DELROUTE, 0, &route_body(route)).map(drop)
}

fn route_body(route: &Route) -> Vec<u8> {
    let (destination, len) = route.destination;
    let (table, kind) = if route.local { (RT_TABLE_LOCAL, RTN_LOCAL) } else { (RT_TABLE_MAIN, RTN_UNICAST) };
    let mut body = vec![AF_INET6, len, 0, 0, table, RTPROT_HOMEWARD, RT_SCOPE_UNIVERSE, kind, 0, 0, 0, 0];
    if len > 0 {
        attribute(&mut body, RTA_DST, &destination.octets());
    }
    if let Some(gateway) = route.gateway {
        attribute(&mut body, RTA_GATEWAY, &gateway.octets());
    }
    attribute(&mut body, RTA_OIF, &route.interface.to_ne_bytes());
    attribute(&mut body, RTA_PRIORITY, &route.metric.to_ne_bytes());
    if let Some(source) = route.preferred_source {
        attribute(&mut body, RTA_PREFSRC, &source.octets());
    }
    body
}

pub(super) fn add_proxy(netlink: &mut Netlink, interface: u32, address: Ipv6Addr) -> Result<(), Refused> {
    let body = neighbour_body(interface, address, NUD_PERMANENT, NTF_PROXY);
    netlink.request(NEWNEIGH, CREATE | REPLACE, &body).map(drop)
}

pub(super) fn delete_proxy(netlink: &mut Netlink, interface: u32, address: Ipv6Addr) -> Result<(), Refused> {
    netlink.request(DELNEIGH, 0, &neighbour_body(interface, address, 0, NTF_PROXY)).map(drop)
}

pub(super) fn set_neighbour(
    netlink: &mut Netlink,
    interface: u32,
    address: Ipv6Addr,
    link_layer: [u8; 6],
) -> Result<(), Refused> {
    let mut body = neighbour_body(interface, address, NUD_REACHABLE, 0);
    attribute(&mut body, NDA_LLADDR, &link_layer);
    netlink.request(NEWNEIGH, CREATE | REPLACE, &body).map(drop)
}

pub(super) fn delete_neighbour(netlink: &mut Netlink, interface: u32, address: Ipv6Addr) -> Result<(), Refused> {
    netlink.request(DELNEIGH, 0, &neighbour_body(interface, address, 0, 0)).map(drop)
}

fn neighbour_body(interface: u32, address: Ipv6Addr, state: u16, flags: u8) -> Vec<u8> {
    let mut body = vec![AF_INET6, 0, 0, 0];
    body.extend(interface.to_ne_bytes());
    body.extend(state.to_ne_bytes());
    body.extend([flags, 0]);
    attribute(&mut body, NDA_DST, &address.octets());
    body
}
