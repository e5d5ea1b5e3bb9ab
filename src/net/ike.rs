//! IKE over UDP, ports 500 and 4500 (RFC 7296 §2, §2.23; RFC 3948).

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use nix::libc;
use socket2::{SockAddr, Type};
use tracing::trace;

use super::ancillary::Outgoing;
use super::socket::{self, Datagram, Socket};
use super::system::{self, Tell};
use super::{refused, while_doing};

/// The port of IKE (RFC 7296 §2).
pub const PORT: u16 = 500;
/// The port that IKE shares with ESP in UDP (RFC 3948 §2).
pub const NAT_PORT: u16 = 4500;

/// RFC 3948 §2.2: four zero octets where ESP has its SPI.
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// RFC 3948 §2.3.
const KEEPALIVE: [u8; 1] = [0xff];
/// Holds a burst of about a thousand messages of full size.
const BUFFER: usize = 4 << 20;

/// An IKE message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The address and port of ours that it was sent to: what an answer has to come from (RFC 7296 §2.11).
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The IKE message, without non-ESP marker.
    pub bytes: Vec<u8>,
}

/// Both IKE ports, over IPv6. IPsec policies do not apply to what is sent and received here; the kernel takes ESP in UDP and
/// keepalives out before we see them.
#[derive(Debug)]
pub struct IkeSocket {
    plain: Socket,
    encapsulating: Socket,
}

impl IkeSocket {
    /// Opens both ports on all addresses of this network namespace. Needs CAP_NET_BIND_SERVICE and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// Name the port and what failed; where the kernel lacks something, what that is.
    pub fn open() -> io::Result<Self> {
        let open = |port| {
            bound(port).and_then(Socket::new).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => io::Error::new(
                    error.kind(),
                    format!(
                        "UDP port {port} is taken: another IKE daemon, or another homeward, runs in this network \
                             namespace; `ss -lunp sport = :{port}` shows which, stop it first"
                    ),
                ),
                _ => while_doing(|| format!("opening the IKE socket on UDP port {port}"))(error),
            })
        };
        Ok(Self { plain: open(PORT)?, encapsulating: open(NAT_PORT)? })
    }

    /// The next IKE message of either port. Keepalives, ESP packets and what was sent to a multicast group are passed over.
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn recv(&self) -> io::Result<Received> {
        loop {
            let (port, datagram) = tokio::select! {
                datagram = self.plain.recv() => (PORT, datagram),
                datagram = self.encapsulating.recv() => (NAT_PORT, datagram),
            };
            let datagram = datagram.map_err(while_doing(|| format!("receiving on UDP port {port}")))?;
            if let Some(received) = ike_message(port, datagram) {
                return Ok(received);
            }
        }
    }

    /// Sends an IKE message from one of our addresses, whose port, 500 or 4500, says by which socket. The non-ESP marker is put
    /// before it on 4500.
    ///
    /// # Errors
    /// Name both ends: the address is not ours (any longer), there is no route, the buffer is full.
    pub fn send(&self, local: SocketAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        self.send_datagram(local, remote, message)
            .map_err(while_doing(|| format!("sending {} octets of IKE from {local} to {remote}", message.len())))
    }

    fn send_datagram(&self, local: SocketAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        let (SocketAddr::V6(from), SocketAddr::V6(to)) = (local, remote) else {
            return Err(refused("these sockets speak IPv6 only".into()));
        };
        // RFC 7296 §2.11: an answer comes from the address and port that were asked. Without this a mobile node's IKE would
        // come from its home address, which the default route prefers.
        let how = Outgoing { source: Some(*from.ip()), interface: from.scope_id(), ..Outgoing::default() };
        match from.port() {
            PORT => self.plain.send(to, &how, &[message]),
            // RFC 7296 §2.23, RFC 3948 §2.2: without the marker it would be taken for ESP.
            NAT_PORT => self.encapsulating.send(to, &how, &[&NON_ESP_MARKER, message]),
            _ => Err(refused(format!("the source port is neither {PORT} nor {NAT_PORT}"))),
        }
    }
}

fn bound(port: u16) -> io::Result<socket2::Socket> {
    let socket = socket::open(Type::DGRAM, libc::IPPROTO_UDP)?;
    // Leaves the ports free for sockets of IPv4.
    socket.set_only_v6(true)?;
    socket::enlarge_buffers(&socket, BUFFER)?;
    system::tell(socket.as_fd(), Tell::PacketInfo)?;
    // RFC 4301 §4.4.1: policies hold for IKE too unless one lets it past; it sets the protection up and cannot wait for it.
    system::bypass_policies(socket.as_fd()).map_err(while_doing(|| {
        "the kernel refuses IPsec policies of a socket (IPV6_XFRM_POLICY, built with CONFIG_XFRM)".into()
    }))?;
    if port == NAT_PORT {
        system::decapsulate_esp(socket.as_fd()).map_err(while_doing(|| {
            "the kernel refuses ESP in UDP (UDP_ENCAP, built with CONFIG_XFRM and CONFIG_INET6_ESP)".into()
        }))?;
    }
    socket.bind(&SockAddr::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)))?;
    Ok(socket)
}

/// The IKE message in a datagram, if it is one.
fn ike_message(port: u16, datagram: Datagram) -> Option<Received> {
    let Datagram { remote, destination, ancillary, bytes } = datagram;
    let bytes = if port == NAT_PORT {
        let Some(message) = bytes.strip_prefix(&NON_ESP_MARKER) else {
            // RFC 3948 §2.2, §2.3: ESP or a keepalive; the kernel takes them unless they are too short for it.
            trace!(%remote, octets = bytes.len(), keepalive = bytes == KEEPALIVE, "not IKE");
            return None;
        };
        message.to_vec()
    } else {
        bytes
    };
    if destination.is_multicast() {
        trace!(%remote, %destination, "IKE to a multicast group");
        return None;
    }
    // A link-local address is one only together with its interface.
    let scope = if destination.is_unicast_link_local() { ancillary.interface } else { 0 };
    let local = SocketAddr::V6(SocketAddrV6::new(destination, port, 0, scope));
    Some(Received { local, remote: SocketAddr::V6(remote), bytes })
}
