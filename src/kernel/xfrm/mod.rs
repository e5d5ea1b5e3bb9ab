//! IPsec states and policies as messages: [`write`] makes requests, [`read`] reads answers.
//!
//! The structures are those of `netlink-packet-xfrm`. It is not trusted with three things: `XFRMA_MIGRATE`, which it takes for one
//! entry while the kernel wants an array in one attribute; messages that are too short, on which it panics (their length is
//! checked before); and its `Debug`, which prints keys (nothing here is ever formatted).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_xfrm::constants::{AF_INET, AF_INET6};

use super::op::{Direction, Mode, PolicyType, Protocol};

pub(super) mod read;
#[cfg(test)]
mod tests;
pub(super) mod write;

/// The kernel takes so many entries in one `XFRM_MSG_MIGRATE`.
pub(super) const MIGRATE_ENTRIES: usize = 6;

fn family(address: IpAddr) -> u16 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn address(octets: [u8; 16], family: u16) -> IpAddr {
    match (family, octets.first_chunk::<4>()) {
        (AF_INET, Some(octets)) => IpAddr::V4(Ipv4Addr::from(*octets)),
        _ => IpAddr::V6(Ipv6Addr::from(octets)),
    }
}

fn protocol(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Esp => 50,
        Protocol::DestinationOptions => 60,
        Protocol::Routing => 43,
    }
}

fn protocol_of(code: u8) -> Option<Protocol> {
    [Protocol::Esp, Protocol::DestinationOptions, Protocol::Routing].into_iter().find(|known| protocol(*known) == code)
}

fn mode(mode: Mode) -> u8 {
    match mode {
        Mode::Transport => 0,
        Mode::Tunnel => 1,
        Mode::RouteOptimization => 2,
    }
}

fn mode_of(code: u8) -> Option<Mode> {
    [Mode::Transport, Mode::Tunnel, Mode::RouteOptimization].into_iter().find(|known| mode(*known) == code)
}

fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
        Direction::Forward => 2,
    }
}

fn policy_type(kind: PolicyType) -> u8 {
    match kind {
        PolicyType::Main => 0,
        PolicyType::Sub => 1,
    }
}
