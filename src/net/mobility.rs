//! Mobility Header messages over a raw socket (RFC 6275 §6.1; protocol 135).

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsFd;

use socket2::Type;

use super::ancillary::Outgoing;
use super::socket::{self, Datagram, Socket};
use super::system::{self, Tell};
use super::while_doing;

/// RFC 6275 §6.1: the next-header value of the Mobility Header.
const PROTOCOL: i32 = 135;
/// When a whole network of mobile nodes loses its link at once, thousands of updates arrive within a second; an update takes
/// about a kilobyte of kernel memory.
const BUFFER: usize = 8 << 20;

/// A Mobility Header message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Source address: the home address, if a Home Address option came with it (RFC 6275 §9.3.1).
    pub source: Ipv6Addr,
    /// Destination address: the home address, if a type 2 routing header came with it (RFC 6275 §11.3.3).
    pub destination: Ipv6Addr,
    /// The source address in the IPv6 header, if a Home Address option came with it.
    pub home_address_option_care_of: Option<Ipv6Addr>,
    /// The destination address in the IPv6 header, if a type 2 routing header came with it.
    pub routing_header_care_of: Option<Ipv6Addr>,
    /// The index of the interface where it came in.
    pub interface: u32,
    /// From "Payload Proto" on. The kernel verified checksum, "Payload Proto" and that the length fits.
    pub message: Vec<u8>,
}

/// A raw socket for Mobility Headers. While it is open, the kernel does not answer them with ICMPv6 errors.
#[derive(Debug)]
pub struct MobilitySocket(Socket);

impl MobilitySocket {
    /// Opens it for all addresses of this network namespace. Needs CAP_NET_RAW, and CAP_NET_ADMIN for its large buffer.
    ///
    /// # Errors
    /// Name what failed.
    pub fn open() -> io::Result<Self> {
        let open = || {
            let socket = socket::open(Type::RAW, PROTOCOL)?;
            socket::enlarge_buffers(&socket, BUFFER)?;
            for what in [Tell::PacketInfo, Tell::RoutingHeader, Tell::DestinationOptions] {
                system::tell(socket.as_fd(), what)?;
            }
            Socket::new(socket)
        };
        open().map(Self).map_err(while_doing(|| "opening the Mobility Header socket".into()))
    }

    /// Waits until [`MobilitySocket::try_recv`] is worth a call.
    ///
    /// # Errors
    /// Those of the runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// The next message; none: wait for [`MobilitySocket::readable`] again.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn try_recv(&self) -> io::Result<Option<Received>> {
        let datagram = self.0.try_recv().map_err(while_doing(|| "receiving Mobility Header messages".into()))?;
        Ok(datagram.map(Received::from))
    }

    /// Sends a message from one of our addresses, checksum filled in by the kernel. With `care_of` it goes there, with a type 2
    /// routing header for `destination`, the home address (RFC 6275 §9.3.2). The Home Address option is not ours to add: the
    /// kernel's route-optimisation state does it.
    ///
    /// # Errors
    /// Name both ends: the source is not ours, there is no route, no SA, the kernel has no Mobile IPv6, the buffer is full.
    pub fn send(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        care_of: Option<Ipv6Addr>,
        message: &[u8],
    ) -> io::Result<()> {
        let how = Outgoing { source: Some(source), care_of, ..Outgoing::default() };
        self.0.send(SocketAddrV6::new(destination, 0, 0, 0), &how, &[message]).map_err(while_doing(|| {
            let kind = message.get(2).copied().unwrap_or_default();
            let via = care_of.map(|care_of| format!(" by {care_of}")).unwrap_or_default();
            format!("sending a Mobility Header of type {kind} from {source} to {destination}{via}")
        }))
    }
}

impl From<Datagram> for Received {
    fn from(datagram: Datagram) -> Self {
        Self {
            source: *datagram.remote.ip(),
            destination: datagram.destination,
            home_address_option_care_of: datagram.ancillary.option_care_of,
            routing_header_care_of: datagram.ancillary.routing_care_of,
            interface: datagram.ancillary.interface,
            message: datagram.bytes,
        }
    }
}
