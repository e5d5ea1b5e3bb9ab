//! What a node needs of the world. The daemon gives it sockets, a kernel and keys; a simulation gives it pretended ones.

use std::net::Ipv6Addr;

use ike::action::{Endpoints, KeyHandle, KeyLog, SignatureScheme};
use ike::wire::Identity;
use mip6::action::Interface;

use crate::kernel::{Done, Failure, op::Op};

/// An ICMPv6 message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp6 {
    /// Out of this interface; none: as the routes say.
    pub interface: Option<Interface>,
    /// From this address; none: an address of the interface, or unspecified while it has none.
    pub source: Option<Ipv6Addr>,
    /// To this address.
    pub destination: Ipv6Addr,
    /// 255 for neighbour discovery.
    pub hop_limit: u8,
    /// With a type 2 routing header by way of this care-of address.
    pub care_of: Option<Ipv6Addr>,
    /// From the type octet on, checksum zero.
    pub message: Vec<u8>,
}

/// The world as a node sees it. A message that cannot be sent is lost, as on a link: the protocols repeat it.
pub trait Shell {
    /// Carries a batch out in the kernel, all or nothing.
    ///
    /// # Errors
    /// The operation that failed and why; the kernel is as before.
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure>;

    /// Sends an IKE message.
    fn send_ike(&mut self, endpoints: Endpoints, message: &[u8]);

    /// Sends a Mobility Header message, with a type 2 routing header if `care_of` is given.
    fn send_mobility(&mut self, source: Ipv6Addr, destination: Ipv6Addr, care_of: Option<Ipv6Addr>, message: &[u8]);

    /// Sends an ICMPv6 message.
    fn send_icmp6(&mut self, message: &Icmp6);

    /// Asks by a neighbour solicitation from the unspecified address whether somebody on the link has this address.
    fn probe_duplicate(&mut self, interface: Interface, address: Ipv6Addr);

    /// The link-layer address of an interface.
    fn link_layer(&self, interface: Interface) -> Option<[u8; 6]>;

    /// Signs with one of our keys.
    ///
    /// # Errors
    /// In words.
    fn sign(&mut self, key: KeyHandle, scheme: SignatureScheme, octets: &[u8]) -> Result<Vec<u8>, String>;

    /// Whether a certificate chain vouches for an identity, and its key made this signature.
    ///
    /// # Errors
    /// In words, for the log.
    fn verify(
        &mut self,
        identity: &Identity,
        chain: &[Vec<u8>],
        scheme: SignatureScheme,
        octets: &[u8],
        signature: &[u8],
    ) -> Result<(), String>;

    /// Writes keys for a packet analyser, if the configuration asks for it.
    fn log_keys(&mut self, keys: &KeyLog);
}
