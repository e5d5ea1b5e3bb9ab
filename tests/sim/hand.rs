//! The shell of a simulated host: its kernel, and what it sends.

use std::net::{Ipv6Addr, SocketAddr};

use homeward::daemon::shell::{Icmp6, Shell};
use homeward::kernel::fake::{Datagram, FakeKernel, Packet};
use homeward::kernel::op::Op;
use homeward::kernel::{Done, Failure, Kernel};
use ike::action::{Endpoints, KeyHandle, KeyLog, SignatureScheme};
use ike::wire::Identity;
use mip6::action::Interface;

use crate::random::Random;

pub(crate) const MOBILITY_HEADER: u8 = 135;
pub(crate) const ICMPV6: u8 = 58;

/// What a host wants on the wire.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Ike {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Packet(Packet),
    /// Neighbour discovery: it stays on the link.
    OnLink {
        interface: Interface,
        message: Vec<u8>,
    },
    /// Has somebody this address?
    Probe(Ipv6Addr),
}

/// A host's kernel and its outgoing queue.
pub(crate) struct Hand {
    pub(crate) kernel: FakeKernel,
    pub(crate) sent: Vec<Sent>,
    /// So many batches in a thousand are refused by the kernel.
    pub(crate) refusals: usize,
    /// What must never be, and was.
    pub(crate) violations: Vec<String>,
    /// For scenarios: so many batches pass, and then so many are refused.
    pub(crate) let_pass: usize,
    pub(crate) refuse: usize,
    pub(crate) random: Random,
    pub(crate) trace: bool,
}

impl Hand {
    pub(crate) fn new(kernel: FakeKernel, random: Random, trace: bool) -> Self {
        Self { kernel, sent: Vec::new(), refusals: 0, violations: Vec::new(), let_pass: 0, refuse: 0, random, trace }
    }

    /// The upper layer sends; signalling never goes without ESP.
    fn send(&mut self, datagram: Datagram, care_of: Option<Ipv6Addr>) {
        let signalling = match datagram.protocol {
            MOBILITY_HEADER => datagram.kind != 7,
            _ => true,
        };
        let what = format!("protocol {} type {} to {}", datagram.protocol, datagram.kind, datagram.destination);
        match self.kernel.send(datagram, care_of) {
            Ok(packet) => {
                if signalling && packet.seal.is_none() {
                    self.violations.push(format!("{what} leaves in the clear"));
                }
                self.sent.push(Sent::Packet(packet));
            }
            Err(reason) if self.trace => println!("          {what} does not leave: {reason}"),
            Err(_) => {}
        }
    }
}

impl Shell for Hand {
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure> {
        let refused = match (&mut self.let_pass, &mut self.refuse) {
            (0, 0) => self.random.happens(self.refusals),
            (0, refuse) => {
                *refuse -= 1;
                true
            }
            (let_pass, _) => {
                *let_pass -= 1;
                false
            }
        };
        if refused {
            self.kernel.refuse_next(self.random.below(batch.len().max(1)));
        }
        let result = self.kernel.apply(batch);
        // Our own plans are never what the kernel does not know of: only the kernel's want of memory is an excuse.
        if let Err(failure) = &result
            && failure.errno != Some(libc::ENOMEM)
        {
            self.violations.push(format!("the kernel does not know of: {failure}"));
        }
        result
    }

    fn send_ike(&mut self, endpoints: Endpoints, message: &[u8]) {
        self.sent.push(Sent::Ike { from: endpoints.local, to: endpoints.remote, bytes: message.to_vec() });
    }

    fn send_mobility(&mut self, source: Ipv6Addr, destination: Ipv6Addr, care_of: Option<Ipv6Addr>, message: &[u8]) {
        let datagram =
            Datagram { source, destination, protocol: MOBILITY_HEADER, kind: message[2], octets: message.to_vec() };
        self.send(datagram, care_of);
    }

    fn send_icmp6(&mut self, icmp6: &Icmp6) {
        let message = icmp6.message.clone();
        if let Some(interface) = icmp6.interface {
            return self.sent.push(Sent::OnLink { interface, message });
        }
        let source = icmp6.source.expect("what is routed has a source");
        let (destination, kind) = (icmp6.destination, message[0]);
        let datagram = Datagram { source, destination, protocol: ICMPV6, kind, octets: message };
        self.send(datagram, icmp6.care_of);
    }

    fn probe_duplicate(&mut self, _: Interface, address: Ipv6Addr) {
        self.sent.push(Sent::Probe(address));
    }

    fn link_layer(&self, _: Interface) -> Option<[u8; 6]> {
        Some([2, 0, 0, 0, 0, 9])
    }

    fn sign(&mut self, _: KeyHandle, _: SignatureScheme, _: &[u8]) -> Result<Vec<u8>, String> {
        Err("there are no keys here".into())
    }

    fn verify(&mut self, _: &Identity, _: &[Vec<u8>], _: SignatureScheme, _: &[u8], _: &[u8]) -> Result<(), String> {
        Err("there are no certificates here".into())
    }

    fn log_keys(&mut self, _: &KeyLog) {}
}
