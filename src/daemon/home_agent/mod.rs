//! A home agent: its IKE engine and its Mobile IPv6 engine, and what each of their actions means for the other and for the
//! kernel. No I/O of its own: see [`Shell`].

mod bindings;
mod children;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use ike::action::{ChildId, Endpoints, EspSuite, IkeSaId, Input, Lifetime, PeerPolicy};
use ike::wire::Identity;
use mip6::action::{Authority, HomeAgentAction, HomeAgentInput, Interface, Via};
use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress, Prefix};
use mip6::wire::BindingStatus;
use tracing::{debug, info, warn};

use super::refusals::Refusals;
use super::repair::Repair;
use super::shell::{Icmp6, Shell};
use crate::kernel::Failure;
use crate::kernel::op::{Op, Protocol, RouteOptimization, SaKey};
use crate::net::icmp6::ALL_NODES;
use crate::rfc4877::child::{Child, Purpose, Reqids};
use crate::rfc4877::pad::Pad;
use crate::rfc4877::spd::{self, Policies};
use bindings::Home;

/// Credentials for a claimed identity, or why there are none.
pub type Identify = Box<dyn Fn(&Identity) -> Result<PeerPolicy, String> + Send>;

/// What a home agent runs with.
pub struct Settings {
    /// Our address on the home link.
    pub address: HomeAgentAddress,
    /// The interface on the home link.
    pub interface: Interface,
    /// Its name.
    pub interface_name: String,
    /// The home prefix.
    pub prefix: Prefix,
    /// Home addresses of the data base that lie outside it: their signalling is protected all the same.
    pub outside: Vec<HomeAddress>,
    /// Credentials for a peer that claims this identity.
    pub identify: Identify,
    /// Acceptable ESP suites.
    pub suites: Vec<EspSuite>,
    /// When CHILD_SAs are rekeyed.
    pub child_lifetime: Lifetime,
}

/// A home agent.
pub struct HomeAgent {
    settings: Settings,
    ike: ike::Engine,
    mip6: mip6::ha::HomeAgent,
    pad: Pad,
    /// Who has proved to be whom.
    peers: BTreeMap<IkeSaId, Identity>,
    children: BTreeMap<ChildId, (IkeSaId, Child)>,
    homes: BTreeMap<HomeAddress, Home>,
    /// Home addresses for which the kernel has refused something.
    unsettled: BTreeSet<HomeAddress>,
    repair: Repair,
    refused: Refusals,
    reqids: Reqids,
    /// Whether the message in hand came without Home Address option: from the home link.
    direct: bool,
    stopping: bool,
}

impl HomeAgent {
    /// A home agent without bindings.
    pub fn new(settings: Settings, ike: ike::Engine, mip6: mip6::ha::HomeAgent, pad: Pad) -> Self {
        Self {
            settings,
            ike,
            mip6,
            pad,
            peers: BTreeMap::new(),
            children: BTreeMap::new(),
            homes: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            repair: Repair::new(),
            refused: Refusals::default(),
            reqids: Reqids::default(),
            direct: false,
            stopping: false,
        }
    }

    /// Prepares the kernel: everything that is there once for all mobile nodes.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn start(&mut self, now: Instant, shell: &mut dyn Shell) -> Result<(), Failure> {
        let name = &self.settings.interface_name;
        let mut ops = vec![
            Op::SpdHash { local: 0, remote: 128 },
            Op::Sysctl { path: "net/ipv6/conf/all/forwarding".into(), value: "1".into() },
            Op::Sysctl { path: format!("net/ipv6/conf/{name}/proxy_ndp"), value: "1".into() },
            // The kernel would wait up to 0.8 s before it answers for a mobile node.
            Op::Sysctl { path: format!("net/ipv6/neigh/{name}/proxy_delay"), value: "0".into() },
            // One state takes the Home Address option off for everybody; the policies say from whom it is taken.
            Op::SetRouteOptimization(RouteOptimization {
                key: SaKey {
                    protocol: Protocol::DestinationOptions,
                    source: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                    destination: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                    spi: 0,
                },
                care_of: Ipv6Addr::UNSPECIFIED,
                wildcard: true,
            }),
        ];
        let outside = self.settings.outside.iter().map(|home| Prefix::new(home.0, 128));
        let prefixes: Vec<Prefix> = std::iter::once(self.settings.prefix).chain(outside).collect();
        ops.extend(spd::difference(&Policies::new(), &spd::home_agent(self.settings.address, &prefixes)));
        shell.apply(&ops)?;
        // The first Router Advertisement goes out.
        self.mip6.handle(now, HomeAgentInput::Timeout);
        self.drain(now, shell);
        Ok(())
    }

    /// A datagram for the IKE engine.
    pub fn ike_datagram(&mut self, now: Instant, endpoints: Endpoints, bytes: Vec<u8>, shell: &mut dyn Shell) {
        self.ike.handle(now, Input::Datagram { endpoints, bytes });
        self.drain(now, shell);
    }

    /// A Mobility Header message.
    pub fn mobility_message(
        &mut self,
        now: Instant,
        source: Ipv6Addr,
        care_of: Option<CareOfAddress>,
        destination: Ipv6Addr,
        message: Vec<u8>,
        shell: &mut dyn Shell,
    ) {
        self.direct = care_of.is_none();
        let authority = self.authority(HomeAddress(source));
        self.mip6.handle(now, HomeAgentInput::MobilityMessage { source, care_of, destination, authority, message });
        self.drain(now, shell);
        self.direct = false;
    }

    /// RFC 4877 §4.2: whether the source is the home address of an identity that holds the SA it came under. The kernel lets a
    /// Mobility Header message from these addresses in only under an SA whose selector is that very address; an address
    /// without an SA has no authority, whatever the kernel did.
    fn authority(&self, home_address: HomeAddress) -> Authority {
        let covered = self.settings.prefix.contains(home_address.0) || self.settings.outside.contains(&home_address);
        // First of all: of a stranger's message, which came without ESP, nothing else is worth looking for.
        if !covered {
            return Authority::None;
        }
        let Some(owner) = self.pad.owner(home_address) else { return Authority::None };
        // The owner's own, for the address may have been another's before.
        let mut own = self.children.values().filter(|(ike_sa, _)| self.peers.get(ike_sa) == Some(owner));
        match own.any(|(_, child)| child.purpose == Purpose::Binding && child.home_address == home_address) {
            true => Authority::Owner { key_mobility: true },
            false => Authority::None,
        }
    }

    /// Any other event for the Mobile IPv6 engine.
    pub fn mobility(&mut self, now: Instant, input: HomeAgentInput, shell: &mut dyn Shell) {
        self.mip6.handle(now, input);
        self.drain(now, shell);
    }

    /// Drops the bindings and closes the IKE SAs.
    pub fn stop(&mut self, now: Instant, shell: &mut dyn Shell) {
        self.stopping = true;
        self.mip6.handle(now, HomeAgentInput::Stop);
        for ike_sa in self.peers.keys() {
            self.ike.handle(now, Input::Close(*ike_sa));
        }
        self.drain(now, shell);
    }

    /// Whether [`HomeAgent::stop`] has done all it can.
    pub fn finished(&self) -> bool {
        self.stopping && self.peers.is_empty()
    }

    /// The IKE SAs that stand: whose, and between which addresses.
    pub fn ike_sas(&self) -> impl Iterator<Item = (IkeSaId, &Identity, Option<Endpoints>)> {
        self.peers.iter().map(|(ike_sa, identity)| (*ike_sa, identity, self.ike.endpoints(*ike_sa)))
    }

    /// The CHILD_SAs that stand, and under which IKE SA.
    pub fn children(&self) -> impl Iterator<Item = (ChildId, IkeSaId, &Child)> {
        self.children.iter().map(|(id, (ike_sa, child))| (*id, *ike_sa, child))
    }

    /// Where the bound home addresses are, and the policies that stand for them.
    pub fn bound(&self) -> impl Iterator<Item = (HomeAddress, CareOfAddress, &Policies)> {
        self.homes.iter().filter_map(|(home_address, home)| Some((*home_address, home.bound?, &home.policies)))
    }

    /// Gives the IKE engine an order of the operator for every IKE SA (a liveness check).
    pub fn order(&mut self, now: Instant, order: impl Fn(IkeSaId) -> Input, shell: &mut dyn Shell) {
        for ike_sa in self.peers.keys() {
            self.ike.handle(now, order(*ike_sa));
        }
        self.drain(now, shell);
    }

    /// Renews the keys of every CHILD_SA and IKE SA, on the operator's order.
    pub fn rekey(&mut self, now: Instant, shell: &mut dyn Shell) {
        for child in self.children.keys() {
            self.ike.handle(now, Input::RekeyChild(*child));
        }
        self.order(now, Input::RekeyIke, shell);
    }

    /// When [`HomeAgent::timeout`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        [self.ike.deadline(), self.mip6.deadline(), self.repair.due()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Instant, shell: &mut dyn Shell) {
        if self.ike.deadline().is_some_and(|at| at <= now) {
            self.ike.handle(now, Input::Timeout);
        }
        if self.mip6.deadline().is_some_and(|at| at <= now) {
            self.mip6.handle(now, HomeAgentInput::Timeout);
        }
        if self.repair.due().is_some_and(|at| at <= now) {
            self.mend(now, shell);
        }
        self.drain(now, shell);
    }

    fn drain(&mut self, now: Instant, shell: &mut dyn Shell) {
        loop {
            if let Some(action) = self.mip6.poll() {
                self.mobility_action(now, action, shell);
            } else if let Some(action) = self.ike.poll() {
                self.ike_action(now, action, shell);
            } else {
                return;
            }
        }
    }

    fn mobility_action(&mut self, now: Instant, action: HomeAgentAction, shell: &mut dyn Shell) {
        match action {
            HomeAgentAction::Bind { home_address, to, key_mobility, lifetime, .. } => {
                let done = self.bind(home_address, to, shell);
                if done {
                    info!(event = "bound", %home_address, care_of = %to, lifetime_s = lifetime.as_secs(), key_mobility);
                    if key_mobility {
                        // RFC 4877 §7.4, RFC 6275 §10.3.1: only here, on the accepted and protected update.
                        self.move_ike(now, home_address, to.0);
                    }
                }
                self.mip6.handle(now, HomeAgentInput::BindDone { home_address, done });
            }
            HomeAgentAction::Unbind { home_address, care_of, reason } => {
                self.unbind(now, home_address, care_of, reason, shell);
            }
            HomeAgentAction::SendMobilityMessage { home_address, via, message } => {
                shell.send_mobility(self.settings.address.0, home_address.0, care_of(via), &message);
            }
            HomeAgentAction::SendBindingError { destination, message } => {
                shell.send_mobility(self.settings.address.0, destination, None, &message);
            }
            HomeAgentAction::ProbeDuplicate { address } => shell.probe_duplicate(self.settings.interface, address),
            HomeAgentAction::AnnounceProxy { home_address } => {
                self.defend(now, home_address.0, shell);
                let link_layer = shell.link_layer(self.settings.interface);
                let message = super::unsolicited_advertisement(home_address.0, link_layer);
                self.neighbour_discovery(ALL_NODES, message, shell);
            }
            HomeAgentAction::SendRouterAdvertisement { destination, message } => {
                self.neighbour_discovery(destination, message, shell);
            }
            HomeAgentAction::SendPrefixAdvertisement { home_address, via, message } => shell.send_icmp6(&Icmp6 {
                interface: None,
                source: Some(self.settings.address.0),
                destination: home_address.0,
                hop_limit: 64,
                care_of: care_of(via),
                message,
            }),
            HomeAgentAction::Judged { home_address, status, sequence, reason } => {
                match reason {
                    Some(reason) if self.refused.allows(now) => {
                        let withheld = self.refused.withheld();
                        warn!(event = "binding_refused", %home_address, ?status, sequence, reason, withheld);
                    }
                    Some(reason) => debug!(event = "binding_refused", %home_address, ?status, sequence, reason),
                    None => debug!(event = "binding_accepted", %home_address, ?status, sequence),
                }
                if status == BindingStatus::DuplicateAddressDetectionFailed {
                    self.pad.decline(home_address);
                }
                // RFC 6275 §10.3.2: at home the home address is where the mobile node's IKE is, whether or not there was a
                // binding left to delete.
                if self.direct && (status.is_accepted() || status == BindingStatus::NotHomeAgent) {
                    self.move_ike(now, home_address, home_address.0);
                }
            }
            HomeAgentAction::Audit(reason) => match self.refused.allows(now) {
                true => warn!(event = "refused", reason, withheld = self.refused.withheld()),
                false => debug!(event = "refused", reason),
            },
        }
    }

    fn neighbour_discovery(&self, destination: Ipv6Addr, message: Vec<u8>, shell: &mut dyn Shell) {
        shell.send_icmp6(&Icmp6 {
            interface: Some(self.settings.interface),
            source: None,
            destination,
            hop_limit: 255,
            care_of: None,
            message,
        });
    }
}

fn care_of(via: Via) -> Option<Ipv6Addr> {
    match via {
        Via::CareOf(address) => Some(address.0),
        Via::Direct => None,
    }
}

fn apply(ops: &[Op], shell: &mut dyn Shell) -> bool {
    match shell.apply(ops) {
        Ok(_) => true,
        Err(failure) => {
            warn!(event = "kernel_refused", %failure);
            false
        }
    }
}
