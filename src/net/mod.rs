//! The sockets: IKE over UDP, Mobility Header, ICMPv6.
//!
//! None of them ever waits in a call that sends: datagrams leave in the order of the calls, and one that the kernel cannot take
//! just now is an error that names it. Sockets belong to the network namespace of the thread that opens them, and have to be
//! opened inside a tokio runtime.

use std::io;

mod ancillary;
pub mod icmp6;
pub mod ike;
pub mod mobility;
mod socket;
mod system;

pub(crate) use system::watch;

/// Puts what was being done before an I/O error; its kind stays.
fn while_doing(doing: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", doing()))
}

/// An address or message of the caller's that cannot be sent.
fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
