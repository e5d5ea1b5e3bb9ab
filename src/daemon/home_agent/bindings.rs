//! Bindings: made, moved, taken down, and what of the kernel and IKE goes along.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use ike::action::{Endpoints, IkeSaId, Input};
use mip6::action::{HomeAgentInput, UnbindReason};
use mip6::address::{CareOfAddress, HomeAddress};
use tracing::info;

use super::{HomeAgent, apply};
use crate::daemon::shell::Shell;
use crate::kernel::op::Op;
use crate::rfc4877::child::Side;
use crate::rfc4877::movement;
use crate::rfc4877::spd::{self, Policies};

/// A home address: what is wanted for it, and what the kernel holds. The latter is written down only when the kernel has
/// carried it out.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// Where it is bound to.
    pub(super) bound: Option<CareOfAddress>,
    /// Addresses that are defended for it on the home link.
    defended: BTreeSet<Ipv6Addr>,
    /// The policies that stand.
    pub(super) policies: Policies,
    /// The proxy entries that stand.
    proxies: BTreeSet<Ipv6Addr>,
}

/// What leads a home address from what stands to what is wanted.
pub(super) struct Plan {
    pub(super) ops: Vec<Op>,
    policies: Policies,
    proxies: BTreeSet<Ipv6Addr>,
}

impl HomeAgent {
    /// Makes or moves the tunnels of a home address. If the kernel refuses, all is as before.
    pub(super) fn bind(&mut self, home_address: HomeAddress, to: CareOfAddress, shell: &mut dyn Shell) -> bool {
        let home = self.homes.entry(home_address).or_default();
        let before = home.bound.replace(to);
        let done = self.carry_out(home_address, shell);
        if !done && let Some(home) = self.homes.get_mut(&home_address) {
            home.bound = before;
        }
        self.forget_void(home_address);
        done
    }

    pub(super) fn unbind(
        &mut self,
        now: Instant,
        home_address: HomeAddress,
        care_of: CareOfAddress,
        reason: UnbindReason,
        shell: &mut dyn Shell,
    ) {
        let Some(home) = self.homes.get_mut(&home_address) else { return };
        home.bound = None;
        home.defended.clear();
        info!(event = "unbound", %home_address, %care_of, ?reason);
        self.reconcile(now, home_address, shell);
        self.release_unused(home_address);
    }

    /// This address is answered for on the home link: the home address, or the link-local one of the same identifier (RFC 6275
    /// §10.4.1, with the L bit).
    pub(super) fn defend(&mut self, now: Instant, address: Ipv6Addr, shell: &mut dyn Shell) {
        let identifier = |address: Ipv6Addr| address.to_bits() & u128::from(u64::MAX);
        let is_it = |home: &HomeAddress| {
            home.0 == address || (address.is_unicast_link_local() && identifier(home.0) == identifier(address))
        };
        let found = self.homes.iter_mut().find(|(home_address, home)| home.bound.is_some() && is_it(home_address));
        let Some((home_address, home)) = found else { return };
        home.defended.insert(address);
        let home_address = *home_address;
        self.reconcile(now, home_address, shell);
    }

    /// Brings the kernel to what is wanted for a home address, now or later.
    pub(super) fn reconcile(&mut self, now: Instant, home_address: HomeAddress, shell: &mut dyn Shell) {
        if !self.carry_out(home_address, shell) {
            self.unsettled.insert(home_address);
            self.repair.soon(now);
        }
        self.forget_void(home_address);
    }

    /// Tries again what the kernel refused.
    pub(super) fn mend(&mut self, now: Instant, shell: &mut dyn Shell) {
        self.repair.begin();
        self.repair.pay(now, shell);
        for home_address in std::mem::take(&mut self.unsettled) {
            self.reconcile(now, home_address, shell);
        }
        self.repair.end();
    }

    fn carry_out(&mut self, home_address: HomeAddress, shell: &mut dyn Shell) -> bool {
        let Some(plan) = self.plan(home_address) else { return true };
        if !plan.ops.is_empty() && !apply(&plan.ops, shell) {
            return false;
        }
        self.stands(home_address, plan);
        true
    }

    pub(super) fn plan(&self, home_address: HomeAddress) -> Option<Plan> {
        let home = self.homes.get(&home_address)?;
        let (mut ops, policies) = match home.bound {
            Some(to) => {
                let children = self.children_of(home_address);
                let desired = movement::binding_policies(home_address, self.settings.address, &children, to);
                let payload = movement::guiding_policy(home_address, Side::HomeAgent);
                (movement::carry(&children, to, &[], &home.policies, &desired, payload), desired)
            }
            None => (spd::difference(&home.policies, &Policies::new()), Policies::new()),
        };
        let interface = self.settings.interface.0;
        let add = |address: &Ipv6Addr| Op::AddProxy { interface, address: *address };
        let delete = |address: &Ipv6Addr| Op::DeleteProxy { interface, address: *address };
        ops.extend(home.defended.difference(&home.proxies).map(add));
        ops.extend(home.proxies.difference(&home.defended).map(delete));
        Some(Plan { ops, policies, proxies: home.defended.clone() })
    }

    /// The kernel has carried a plan out.
    pub(super) fn stands(&mut self, home_address: HomeAddress, plan: Plan) {
        let Some(home) = self.homes.get_mut(&home_address) else { return };
        (home.policies, home.proxies) = (plan.policies, plan.proxies);
        let Some(to) = home.bound else { return };
        for (_, child) in self.children.values_mut().filter(|(_, child)| child.home_address == home_address) {
            child.care_of = to;
        }
    }

    fn forget_void(&mut self, home_address: HomeAddress) {
        let is_void = |home: &Home| home.bound.is_none() && home.policies.is_empty() && home.proxies.is_empty();
        if self.homes.get(&home_address).is_some_and(is_void) {
            self.homes.remove(&home_address);
        }
    }

    /// The owner of this home address has its IKE there now.
    pub(super) fn move_ike(&mut self, now: Instant, home_address: HomeAddress, to: Ipv6Addr) {
        let Some(owner) = self.pad.owner(home_address) else { return };
        let own: Vec<IkeSaId> = self.ike_sas_of(owner).collect();
        for ike_sa in own {
            let Some(old) = self.ike.endpoints(ike_sa) else { continue };
            let remote = SocketAddr::V6(SocketAddrV6::new(to, old.remote.port(), 0, 0));
            if remote != old.remote {
                self.ike.handle(now, Input::Move(ike_sa, Endpoints { remote, ..old }));
                info!(event = "ike_moved", %home_address, from = %old.remote, to = %remote);
            }
        }
    }

    /// An IKE SA is gone. Bindings whose owner has no other one cannot be reached any more and are withdrawn.
    pub(super) fn forget(&mut self, now: Instant, ike_sa: IkeSaId) {
        let Some(identity) = self.peers.remove(&ike_sa) else { return };
        if self.peers.values().any(|other| *other == identity) {
            return;
        }
        self.pad.gone(&identity);
        for home_address in self.pad.home_addresses(&identity) {
            self.mip6.handle(now, HomeAgentInput::Withdraw(home_address));
            self.release_unused(home_address);
        }
    }

    /// RFC 5026 §9.2: an assigned address stays in use as long as an IKE SA or a binding needs it.
    fn release_unused(&mut self, home_address: HomeAddress) {
        let connected = self.pad.owner(home_address).is_some_and(|owner| self.peers.values().any(|peer| peer == owner));
        if !connected && self.homes.get(&home_address).is_none_or(|home| home.bound.is_none()) {
            self.pad.release(home_address);
        }
    }
}
