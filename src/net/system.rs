//! The unsafe calls of the sockets: options that neither nix nor socket2 knows, and the registration with tokio.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `UDP_ENCAP` and its value for ESP in UDP behind a non-ESP marker (RFC 3948).
const UDP_ENCAP: (i32, i32) = (libc::IPPROTO_UDP, 100);
const UDP_ENCAP_ESPINUDP: i32 = 2;
/// `IPV6_XFRM_POLICY`: an IPsec policy that holds for one socket.
const IPV6_XFRM_POLICY: (i32, i32) = (libc::IPPROTO_IPV6, 35);
/// `ICMPV6_FILTER` (RFC 3542 §3.2): a bit that is set blocks the type.
const ICMPV6_FILTER: (i32, i32) = (libc::IPPROTO_ICMPV6, 1);
/// `struct xfrm_userpolicy_info`: selector 56, lifetime 64, use 32 octets, priority, index, direction, action, flags, share, padding.
const POLICY_LEN: usize = 168;
const POLICY_FAMILY_AT: usize = 40;
const POLICY_DIRECTION_AT: usize = 160;

/// What the kernel tells with each datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// The destination address and the interface.
    PacketInfo,
    /// The hop limit.
    HopLimit,
    /// Routing headers.
    RoutingHeader,
    /// Destination options.
    DestinationOptions,
}

/// Have `what` told with each datagram (RFC 3542 §4, §6.1).
pub(super) fn tell(socket: BorrowedFd<'_>, what: Tell) -> io::Result<()> {
    let name = match what {
        Tell::PacketInfo => libc::IPV6_RECVPKTINFO,
        Tell::HopLimit => libc::IPV6_RECVHOPLIMIT,
        Tell::RoutingHeader => libc::IPV6_RECVRTHDR,
        Tell::DestinationOptions => libc::IPV6_RECVDSTOPTS,
    };
    set(socket, (libc::IPPROTO_IPV6, name), &1_i32.to_ne_bytes())
}

/// Hand ESP in UDP on this socket's port to IPsec, and eat keepalives.
pub(super) fn decapsulate_esp(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, UDP_ENCAP, &UDP_ENCAP_ESPINUDP.to_ne_bytes())
}

/// Let this socket's datagrams pass in both directions whatever the policies say (RFC 4301 §4.4.1: IKE has to be let past).
pub(super) fn bypass_policies(socket: BorrowedFd<'_>) -> io::Result<()> {
    // The option is understood by the module that serves this protocol, which is loaded when somebody opens it.
    socket2::Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW.cloexec(),
        Some(Protocol::from(libc::NETLINK_XFRM)),
    )?;
    let [family_low, family_high] = u16::try_from(libc::AF_INET6).unwrap_or_default().to_ne_bytes();
    for direction in [0, 1] {
        // All zero but for family and direction: any address, any protocol, action "allow", no template.
        let policy: [u8; POLICY_LEN] = std::array::from_fn(|at| match at {
            POLICY_FAMILY_AT => family_low,
            at if at == POLICY_FAMILY_AT + 1 => family_high,
            POLICY_DIRECTION_AT => direction,
            _ => 0,
        });
        set(socket, IPV6_XFRM_POLICY, &policy)?;
    }
    Ok(())
}

/// Deliver only these ICMPv6 types.
pub(super) fn pass_icmp6_types(socket: BorrowedFd<'_>, types: &[u8]) -> io::Result<()> {
    let filter: Vec<u8> = (0..8_u8)
        .flat_map(|word| {
            let passed =
                types.iter().filter(|kind| *kind / 32 == word).fold(0_u32, |bits, kind| bits | 1 << (kind % 32));
            (!passed).to_ne_bytes()
        })
        .collect();
    set(socket, ICMPV6_FILTER, &filter)
}

#[expect(unsafe_code, reason = "no crate sets these options; the call only reads `value`, for as long as it lasts")]
fn set(socket: BorrowedFd<'_>, (level, name): (i32, i32), value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed and so open; pointer and length describe one initialised slice, which the kernel copies.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the runtime watch a socket for something to read.
#[expect(
    unsafe_code,
    reason = "tokio trusts its caller that the descriptor stays open; its safe constructors are deprecated"
)]
pub(crate) fn watch<S: AsRawFd>(socket: S) -> io::Result<AsyncFd<S>> {
    // SAFETY: a socket owns its descriptor and moves into the `AsyncFd`. Nobody here takes it out or borrows it mutably, so it
    // is neither closed nor replaced before the `AsyncFd` is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
