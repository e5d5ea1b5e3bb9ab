//! Bindings: made, moved, taken down, and what of the kernel and IKE goes along.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use ike::action::{Endpoints, IkeSaId, Input};
use mip6::action::{HomeAgentInput, UnbindReason};
use mip6::address::{CareOfAddress, HomeAddress};
use tracing::info;

use super::{HomeAgent, apply};
use crate::daemon::shell::Shell;
use crate::kernel::op::Op;
use crate::rfc4877::child::{Purpose, Side};
use crate::rfc4877::movement::{self, Halves};
use crate::rfc4877::spd::{self, Policies};

impl HomeAgent {
    /// Makes or moves the tunnels of a home address.
    pub(super) fn bind(&mut self, home_address: HomeAddress, to: CareOfAddress, shell: &mut dyn Shell) -> bool {
        let children = self.children_of(home_address);
        let desired = movement::binding_policies(home_address, self.settings.address, &children, to);
        let nothing = Policies::new();
        let current = self.bound.get(&home_address).map_or(&nothing, |(_, policies)| policies);
        let payload = movement::guiding_policy(home_address, Side::HomeAgent);
        let ops = movement::carry(&children, to, Halves::Both, current, &desired, payload);
        if !ops.is_empty() && !apply(&ops, shell) {
            return false;
        }
        let stranded = movement::stranded(&children, to, &desired, payload);
        for (_, child) in self.children.values_mut() {
            if child.home_address == home_address && !stranded.contains(child) {
                child.care_of = to;
            }
        }
        self.bound.insert(home_address, (to, desired));
        true
    }

    pub(super) fn unbind(
        &mut self,
        now: Instant,
        home_address: HomeAddress,
        care_of: CareOfAddress,
        reason: UnbindReason,
        shell: &mut dyn Shell,
    ) {
        let Some((_, policies)) = self.bound.remove(&home_address) else { return };
        let mut ops = spd::difference(&policies, &Policies::new());
        // RFC 6275 §10.4.1: with the L bit the link-local address of the same identifier was defended too.
        let link_local = Ipv6Addr::from_bits((0xfe80 << 112) | (home_address.0.to_bits() & u128::from(u64::MAX)));
        for address in [home_address.0, link_local] {
            ops.push(Op::DeleteProxy { interface: self.settings.interface.0, address });
        }
        apply(&ops, shell);
        info!(event = "unbound", %home_address, %care_of, ?reason);
        if reason == UnbindReason::Deregistered && self.direct {
            // RFC 6275 §10.3.2: at home the home address is where the mobile node's IKE is.
            self.move_ike(now, home_address, home_address.0);
        }
        self.release_unused(home_address);
    }

    pub(super) fn move_ike(&mut self, now: Instant, home_address: HomeAddress, to: Ipv6Addr) {
        let ike_sa = self
            .children
            .values()
            .filter(|(_, child)| child.home_address == home_address && child.purpose == Purpose::Binding)
            .map(|(ike_sa, _)| *ike_sa)
            .next_back();
        let Some(ike_sa) = ike_sa else { return };
        let Some(old) = self.ike.endpoints(ike_sa) else { return };
        let remote = SocketAddr::V6(SocketAddrV6::new(to, old.remote.port(), 0, 0));
        if remote != old.remote {
            self.ike.handle(now, Input::Move(ike_sa, Endpoints { remote, ..old }));
            info!(event = "ike_moved", %home_address, from = %old.remote, to = %remote);
        }
    }

    /// An IKE SA is gone. Bindings whose owner has no other one cannot be reached any more and are withdrawn.
    pub(super) fn forget(&mut self, now: Instant, ike_sa: IkeSaId) {
        let Some(identity) = self.peers.remove(&ike_sa) else { return };
        if self.peers.values().any(|other| *other == identity) {
            return;
        }
        for home_address in self.pad.home_addresses(&identity) {
            self.mip6.handle(now, HomeAgentInput::Withdraw(home_address));
            self.release_unused(home_address);
        }
    }

    /// RFC 5026 §9.2: an assigned address stays in use as long as an IKE SA or a binding needs it.
    fn release_unused(&mut self, home_address: HomeAddress) {
        let connected = self.pad.owner(home_address).is_some_and(|owner| self.peers.values().any(|peer| peer == owner));
        if !connected && !self.bound.contains_key(&home_address) {
            self.pad.release(home_address);
        }
    }
}
