//! The Mobile IPv6 that strongSwan does not have: the kernel's route-optimisation states and the Mobility Header messages of a
//! mobile node or a home agent whose IKE and ESP are strongSwan's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use homeward::kernel::op::{Address, Op, Policy, PolicyType, Protocol, RouteOptimization, SaKey};
use homeward::kernel::{Kernel, Linux};
use homeward::lab::topology::{HOME_AGENT, HOME_PREFIX};
use homeward::lab::{Host, Packet};
use homeward::net::mobility::{MobilitySocket, Received};
use homeward::rfc4877::spd::{self, Policies, Tunnels};
use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress, Prefix};
use mip6::wire::{
    AcknowledgementFlags, BindingAcknowledgement, BindingStatus, BindingUpdate, Lifetime, MOBILITY_HEADER,
    MobilityMessage, MobilityOption, UpdateFlags,
};
use tokio::runtime::Runtime;

/// After which time an update is sent again.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: usize = 10;
/// The index of every host's loopback.
const LOOPBACK: u32 = 1;

/// A socket and the kernel of a host, with the runtime that the socket needs.
pub(crate) struct Stack {
    runtime: Runtime,
    socket: MobilitySocket,
    kernel: Linux,
}

impl Stack {
    /// Opens both in the host.
    pub(crate) fn open(host: &Host, folder: &Path) -> Self {
        let open = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let socket = {
                let _inside = runtime.enter();
                MobilitySocket::open().unwrap()
            };
            Self { runtime, socket, kernel: Linux::open(&folder.join("journal")).unwrap() }
        };
        host.enter(open).unwrap()
    }

    /// The next message, in this time.
    fn receive(&self, within: Duration) -> Option<Received> {
        let next = async {
            loop {
                if let Some(message) = self.socket.try_recv().unwrap() {
                    return message;
                }
                self.socket.readable().await.unwrap();
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(within, next).await.ok() })
    }

    fn apply(&mut self, ops: &[Op]) {
        self.kernel.apply(ops).unwrap();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.kernel.restore());
    }
}

/// A mobile node away from home.
pub(crate) struct MobileNode {
    stack: Stack,
    home_address: Ipv6Addr,
    care_of: Ipv6Addr,
}

impl MobileNode {
    /// Puts the Home Address option and the type 2 routing header in place. ESP is not its business.
    pub(crate) fn start(host: &Host, folder: &Path, home_address: Ipv6Addr, care_of: Ipv6Addr) -> Self {
        let mut stack = Stack::open(host, folder);
        let home = IpAddr::V6(home_address);
        let state = |protocol, source, destination, wildcard| {
            let key = SaKey { protocol, source, destination, spi: 0 };
            Op::SetRouteOptimization(RouteOptimization { key, care_of, wildcard })
        };
        let mut ops = vec![
            // Without the flag of a home address the kernel takes no type 2 routing header for it.
            Op::AddAddress(Address { interface: LOOPBACK, address: home_address, len: 128, home: true }),
            state(Protocol::DestinationOptions, home, IpAddr::V6(HOME_AGENT), false),
            state(Protocol::Routing, IpAddr::V6(Ipv6Addr::UNSPECIFIED), home, true),
        ];
        let tunnels = Tunnels { care_of: CareOfAddress(care_of), return_routability: None, payload: None };
        let policies = spd::mobile_node(HomeAddress(home_address), HomeAgentAddress(HOME_AGENT), Some(tunnels));
        ops.extend(policies.into_values().filter(is_sub).map(Op::SetPolicy));
        stack.apply(&ops);
        Self { stack, home_address, care_of }
    }

    /// Sends a binding update with this number and waits for its acknowledgement.
    pub(crate) fn register(&self, sequence: u16, lifetime: Duration) -> BindingAcknowledgement {
        let update = BindingUpdate {
            sequence,
            flags: UpdateFlags::ACKNOWLEDGE.with(UpdateFlags::HOME_REGISTRATION),
            lifetime: Lifetime::at_most(lifetime),
            options: vec![MobilityOption::AlternateCareOf(CareOfAddress(self.care_of))],
        };
        let message = MobilityMessage::BindingUpdate(update).write();
        for _ in 0..TRIES {
            self.stack.socket.send(self.home_address, HOME_AGENT, None, &message).unwrap();
            while let Some(received) = self.stack.receive(AGAIN) {
                if let Ok(MobilityMessage::BindingAcknowledgement(answer)) = MobilityMessage::parse(&received.message)
                    && answer.sequence == sequence
                {
                    assert_eq!((received.source, received.destination), (HOME_AGENT, self.home_address));
                    return answer;
                }
            }
        }
        panic!("no binding acknowledgement of update {sequence}");
    }
}

/// A home agent's Mobile IPv6, and the policies of its ESP: strongSwan is left the SAs alone (`policies = no`), because it
/// writes Mobility Header types into policies where Linux does not look for them.
pub(crate) struct HomeAgent {
    stop: Arc<AtomicBool>,
    key_mobility: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// reqids that strongSwan has to use for the tunnels.
pub(crate) const PAYLOAD_REQID: u32 = 4096;
pub(crate) const RETURN_ROUTABILITY_REQID: u32 = 4097;

impl HomeAgent {
    /// Accepts every binding update that comes.
    pub(crate) fn start(host: &Host, folder: &Path) -> Self {
        let mut stack = Stack::open(host, folder);
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let key = SaKey { protocol: Protocol::DestinationOptions, source: any, destination: any, spi: 0 };
        let state = RouteOptimization { key, care_of: Ipv6Addr::UNSPECIFIED, wildcard: true };
        let policies = spd::home_agent(HomeAgentAddress(HOME_AGENT), &[Prefix::new(HOME_PREFIX, 64)]);
        let mut ops = vec![Op::SetRouteOptimization(state)];
        ops.extend(policies.into_values().map(Op::SetPolicy));
        stack.apply(&ops);
        let (stop, key_mobility) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        let (stopped, movable) = (Arc::clone(&stop), Arc::clone(&key_mobility));
        let thread = thread::spawn(move || {
            let mut bound = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                if let Some(received) = stack.receive(Duration::from_millis(50)) {
                    answer(&mut stack, &mut bound, &received, movable.load(Ordering::Relaxed));
                }
            }
        });
        Self { stop, key_mobility, thread: Some(thread) }
    }

    /// From now on grants the K bit, or does not.
    pub(crate) fn grant_key_mobility(&self, granted: bool) {
        self.key_mobility.store(granted, Ordering::Relaxed);
    }
}

impl Drop for HomeAgent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Binds, moves or unbinds, and acknowledges.
fn answer(stack: &mut Stack, bound: &mut BTreeMap<HomeAddress, Policies>, received: &Received, key_mobility: bool) {
    let Ok(MobilityMessage::BindingUpdate(update)) = MobilityMessage::parse(&received.message) else { return };
    let care_of = update.alternate_care_of().or(received.home_address_option_care_of.map(CareOfAddress));
    let (home, Some(care_of)) = (HomeAddress(received.source), care_of) else { return };
    let tunnels = Tunnels { care_of, return_routability: Some(RETURN_ROUTABILITY_REQID), payload: Some(PAYLOAD_REQID) };
    let desired = match update.lifetime.is_zero() {
        true => Policies::new(),
        false => spd::binding(home, HomeAgentAddress(HOME_AGENT), tunnels),
    };
    let current = bound.insert(home, desired.clone()).unwrap_or_default();
    stack.apply(&spd::difference(&current, &desired));
    let flags = match key_mobility && update.flags.contains(UpdateFlags::KEY_MOBILITY) {
        true => AcknowledgementFlags::KEY_MOBILITY,
        false => AcknowledgementFlags::NONE,
    };
    let acknowledgement = BindingAcknowledgement {
        status: BindingStatus::Accepted,
        flags,
        sequence: update.sequence,
        lifetime: update.lifetime,
        options: Vec::new(),
    };
    let message = MobilityMessage::BindingAcknowledgement(acknowledgement).write();
    stack.socket.send(HOME_AGENT, home.0, received.home_address_option_care_of, &message).unwrap();
}

/// Whether a packet carries a Mobility Header that ESP does not hide.
pub(crate) fn in_clear(packet: &Packet) -> bool {
    // Ethernet header, IPv6 header, and its extension headers.
    let (mut next, mut at) = (packet.octets.get(20).copied(), 54);
    while let Some(HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING) = next {
        let length = packet.octets.get(at + 1).copied().unwrap_or_default();
        next = packet.octets.get(at).copied();
        at += 8 * (usize::from(length) + 1);
    }
    packet.octets.get(12..14) == Some(&[0x86, 0xdd]) && next == Some(MOBILITY_HEADER)
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

fn is_sub(policy: &Policy) -> bool {
    policy.key.kind == PolicyType::Sub
}
