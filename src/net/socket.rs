//! A datagram socket in tokio: what the three kinds of sockets have in common.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

use super::ancillary::{Incoming, Outgoing};
use super::system;

/// Every datagram fits: the length field of IPv6 and UDP has 16 bits.
const DATAGRAM_MAX: usize = 1 << 16;
/// A Home Address option takes 40 octets here, a type 2 routing header as well, the rest less: what needs more was not meant for us.
const CONTROL_MAX: usize = 1024;
/// So many useless datagrams are thrown away before the event loop gets its turn again.
const DISCARD_MAX: usize = 32;

/// A non-blocking datagram socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: AsyncFd<socket2::Socket>,
    buffers: Mutex<Buffers>,
}

#[derive(Debug)]
struct Buffers {
    data: Box<[u8]>,
    /// From the heap, so that it is aligned for the headers in it.
    control: Vec<u8>,
}

/// A datagram that came.
#[derive(Debug)]
pub(super) struct Datagram {
    /// From whom.
    pub(super) remote: SocketAddrV6,
    /// To which of our addresses.
    pub(super) destination: Ipv6Addr,
    /// What else the kernel told.
    pub(super) ancillary: Incoming,
    /// Its payload.
    pub(super) bytes: Vec<u8>,
}

/// Opens an IPv6 socket that never blocks.
pub(super) fn open(kind: Type, protocol: i32) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::IPV6, kind.cloexec(), Some(Protocol::from(protocol)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Makes the socket's buffers hold this many octets, beyond the system's limit where we may.
pub(super) fn enlarge_buffers(socket: &socket2::Socket, octets: usize) -> io::Result<()> {
    // Without CAP_NET_ADMIN the system's limit holds: a smaller buffer loses more in a flood, but all works.
    setsockopt(socket, sockopt::RcvBufForce, &octets).or_else(|_| setsockopt(socket, sockopt::RcvBuf, &octets))?;
    setsockopt(socket, sockopt::SndBufForce, &octets).or_else(|_| setsockopt(socket, sockopt::SndBuf, &octets))?;
    Ok(())
}

impl Socket {
    /// Registers a socket with the runtime.
    pub(super) fn new(socket: socket2::Socket) -> io::Result<Self> {
        let buffers = Buffers { data: vec![0; DATAGRAM_MAX].into_boxed_slice(), control: vec![0; CONTROL_MAX] };
        Ok(Self { fd: system::watch(socket)?, buffers: Mutex::new(buffers) })
    }

    /// The next datagram. Nothing is lost when the future is dropped.
    pub(super) async fn recv(&self) -> io::Result<Datagram> {
        loop {
            if let Some(datagram) = self.fd.async_io(Interest::READABLE, |socket| self.recv_now(socket)).await? {
                return Ok(datagram);
            }
        }
    }

    /// The next datagram, if one is there.
    pub(super) fn try_recv(&self) -> io::Result<Option<Datagram>> {
        for _ in 0..DISCARD_MAX {
            match self.fd.try_io(Interest::READABLE, |socket| self.recv_now(socket)) {
                Ok(Some(datagram)) => return Ok(Some(datagram)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Waits until [`Socket::try_recv`] is worth a call.
    pub(super) async fn readable(&self) -> io::Result<()> {
        // The guard is dropped with the readiness as it is: `try_recv` takes it away when the socket is empty.
        self.fd.readable().await.map(drop)
    }

    /// Sends one datagram made of these parts.
    pub(super) fn send(&self, to: SocketAddrV6, how: &Outgoing, parts: &[&[u8]]) -> io::Result<()> {
        let address = SockAddr::from(to);
        let control = how.encode();
        let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let message = MsgHdr::new().with_addr(&address).with_buffers(&parts).with_control(&control);
        self.fd.get_ref().sendmsg(&message, 0).map(drop)
    }

    /// The socket, for its options.
    pub(super) fn get_ref(&self) -> &socket2::Socket {
        self.fd.get_ref()
    }

    /// One `recvmsg`; none: a datagram that cannot be used.
    fn recv_now(&self, socket: &socket2::Socket) -> io::Result<Option<Datagram>> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffers { data, control } = &mut *buffers;
        let (len, remote, ancillary) = {
            let mut parts = [IoSliceMut::new(data)];
            let fd = socket.as_fd().as_raw_fd();
            let message =
                match recvmsg::<SockaddrIn6>(fd, &mut parts, Some(control.as_mut_slice()), MsgFlags::MSG_DONTWAIT) {
                    Ok(message) => message,
                    Err(Errno::EINTR) => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
            let Some(address) = message.address else { return Ok(None) };
            let remote = SocketAddrV6::from(address);
            let Ok(messages) = message.cmsgs() else {
                // A Home Address option may have been cut off: who sent it would be taken for someone who is at home.
                debug!(%remote, "datagram with too many extension headers dropped");
                return Ok(None);
            };
            let mut ancillary = Incoming::default();
            messages.for_each(|message| ancillary.take(message));
            (message.bytes, remote, ancillary)
        };
        let (Some(destination), Some(bytes)) = (ancillary.destination, data.get(..len)) else { return Ok(None) };
        Ok(Some(Datagram { remote, destination, ancillary, bytes: bytes.to_vec() }))
    }
}
