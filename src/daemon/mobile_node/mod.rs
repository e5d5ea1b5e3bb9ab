//! A mobile node: its IKE engine and its Mobile IPv6 engine, and what each of their actions means for the other and for the
//! kernel. No I/O of its own: see [`Shell`].

mod children;
mod movement;
mod repair;
mod session;
mod standing;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use ike::action::{ChildId, Endpoints, EspSuite, IkeSaId, Input, Lifetime, LocalAuth, RemoteAuth};
use ike::wire::Identity;
use mip6::action::{Interface, Location, MobileNodeAction, MobileNodeInput};
use mip6::address::{HomeAddress, HomeAgentAddress};
use mip6::wire::BindingStatus;
use tracing::{debug, info, warn};

use super::refusals::Refusals;
use super::repair::Repair;
use super::shell::{Icmp6, Shell};
use crate::kernel::op::Op;
use crate::net::icmp6::{ALL_NODES, ALL_ROUTERS};
use crate::rfc4877::child::{Child, Reqids};
use crate::rfc4877::spd::Policies;
use children::Wants;
use session::Session;
use standing::Standing;

/// What a mobile node runs with.
pub struct Settings {
    /// Our identity.
    pub identity: Identity,
    /// The home agent's.
    pub home_agent_identity: Identity,
    /// The home agent's address.
    pub home_agent: HomeAgentAddress,
    /// The length of the home prefix.
    pub home_prefix_len: u8,
    /// Our home address, if it is not assigned.
    pub home_address: Option<HomeAddress>,
    /// How we prove our identity, and the home agent its own.
    pub credentials: Box<dyn Fn() -> (LocalAuth, RemoteAuth) + Send>,
    /// Acceptable ESP suites.
    pub suites: Vec<EspSuite>,
    /// When CHILD_SAs are rekeyed.
    pub child_lifetime: Lifetime,
}

/// How long to wait before IKE is tried anew, first and at the longest.
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What follows the Binding Update of a movement.
#[derive(Default)]
struct AfterUpdate {
    /// IKE's own end point.
    moves_ike: bool,
    /// The router that was left.
    forget: Option<Op>,
}

/// A mobile node.
pub struct MobileNode {
    settings: Settings,
    ike: ike::Engine,
    mip6: mip6::mn::MobileNode,
    session: Session,
    children: BTreeMap<ChildId, (IkeSaId, Child)>,
    wants: Wants,
    /// The Mobile IPv6 engine has been told that binding updates may be sent.
    secured: bool,
    reqids: Reqids,
    location: Location,
    home_address: Option<HomeAddress>,
    /// An assigned home address that another node has.
    occupied: Option<HomeAddress>,
    standing: Standing,
    /// What the Binding Update of this place needs stands in the kernel.
    arrived: bool,
    /// How often in a row the kernel has refused that.
    refusals: u32,
    /// What follows a Binding Update of a movement, if that has not been done yet.
    after_update: Option<AfterUpdate>,
    repair: Repair,
    refused: Refusals,
    stopping: bool,
    finished: bool,
    /// Whether the IKE SA was built at another place than this.
    ike_moved: bool,
    /// The same of the one that is being built.
    attempt_moved: bool,
    /// Sent to the kernel since the movement began that is under way.
    netlink_messages: u32,
    /// Tells the attempts to build an IKE SA apart.
    attempt: u64,
}

impl MobileNode {
    /// A mobile node that has not seen a link yet.
    pub fn new(settings: Settings, ike: ike::Engine, mip6: mip6::mn::MobileNode) -> Self {
        Self {
            home_address: settings.home_address,
            settings,
            ike,
            mip6,
            session: Session::Idle { not_before: None, pause: RECONNECT.0 },
            children: BTreeMap::new(),
            wants: Wants::new(),
            secured: false,
            reqids: Reqids::default(),
            location: Location::Nowhere,
            occupied: None,
            standing: Standing::default(),
            arrived: true,
            refusals: 0,
            after_update: None,
            repair: Repair::new(),
            refused: Refusals::default(),
            stopping: false,
            finished: false,
            ike_moved: false,
            attempt_moved: false,
            netlink_messages: 0,
            attempt: 0,
        }
    }

    /// Prepares the kernel: what is there before any link is.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn start(&mut self, interfaces: &[String], shell: &mut dyn Shell) -> Result<(), crate::kernel::Failure> {
        let mut ops = vec![Op::SpdHash { local: 0, remote: 128 }];
        for name in interfaces {
            // Router Advertisements and addresses on our links are our own business: the kernel would wait for its own
            // solicitation timers and for duplicate address detection.
            for (key, value) in
                [("accept_ra", "0"), ("autoconf", "0"), ("dad_transmits", "0"), ("router_solicitations", "0")]
            {
                ops.push(Op::Sysctl { path: format!("net/ipv6/conf/{name}/{key}"), value: value.into() });
            }
        }
        shell.apply(&ops).map(drop)
    }

    /// A datagram for the IKE engine.
    pub fn ike_datagram(&mut self, now: Instant, endpoints: Endpoints, bytes: Vec<u8>, shell: &mut dyn Shell) {
        self.ike.handle(now, Input::Datagram { endpoints, bytes });
        self.drain(now, shell);
    }

    /// An event for the Mobile IPv6 engine.
    pub fn mobility(&mut self, now: Instant, input: MobileNodeInput, shell: &mut dyn Shell) {
        self.mip6.handle(now, input);
        self.drain(now, shell);
    }

    /// De-registers, closes the IKE SA, and finishes.
    pub fn stop(&mut self, now: Instant, shell: &mut dyn Shell) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.mobility(now, MobileNodeInput::Stop, shell);
        }
    }

    /// Whether [`MobileNode::stop`] has done all it can.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Where the node is.
    pub fn location(&self) -> Location {
        self.location
    }

    /// The home address, once it is known.
    pub fn home_address(&self) -> Option<HomeAddress> {
        self.home_address
    }

    /// What the home agent has acknowledged, until it expires.
    pub fn binding(&self) -> Option<&mip6::mn::Binding> {
        self.mip6.binding()
    }

    /// Between which addresses the IKE SA with the home agent speaks.
    pub fn ike_endpoints(&self) -> Option<Endpoints> {
        match self.session {
            Session::Established { ike_sa, .. } => self.ike.endpoints(ike_sa),
            Session::Idle { .. } | Session::Connecting { .. } => None,
        }
    }

    /// The CHILD_SAs that stand.
    pub fn children(&self) -> impl Iterator<Item = (&ChildId, &Child)> {
        self.children.iter().map(|(id, (_, child))| (id, child))
    }

    /// The policies that stand in the kernel.
    pub fn policies(&self) -> &Policies {
        &self.standing.policies
    }

    /// Gives the IKE engine an order of the operator (a liveness check).
    pub fn order(&mut self, now: Instant, order: impl FnOnce(IkeSaId) -> Input, shell: &mut dyn Shell) {
        if let Session::Established { ike_sa, .. } = self.session {
            self.ike.handle(now, order(ike_sa));
            self.drain(now, shell);
        }
    }

    /// Renews the keys of every CHILD_SA and of the IKE SA, on the operator's order.
    pub fn rekey(&mut self, now: Instant, shell: &mut dyn Shell) {
        for child in self.children.keys() {
            self.ike.handle(now, Input::RekeyChild(*child));
        }
        self.order(now, Input::RekeyIke, shell);
    }

    /// When [`MobileNode::timeout`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let reconnect = match self.session {
            Session::Idle { not_before, .. } => not_before,
            Session::Connecting { .. } | Session::Established { .. } => None,
        };
        let own = [reconnect, self.wants.due(), self.repair.due()];
        [self.ike.deadline(), self.mip6.deadline()].into_iter().chain(own).flatten().min()
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Instant, shell: &mut dyn Shell) {
        if self.ike.deadline().is_some_and(|at| at <= now) {
            self.ike.handle(now, Input::Timeout);
        }
        if self.mip6.deadline().is_some_and(|at| at <= now) {
            self.mip6.handle(now, MobileNodeInput::Timeout);
        }
        if let Session::Idle { not_before: Some(at), .. } = self.session
            && at <= now
        {
            self.connect(now);
        }
        if self.wants.due().is_some_and(|at| at <= now) {
            self.ask(now);
        }
        if self.repair.due().is_some_and(|at| at <= now) {
            self.mend(now, shell);
        }
        self.drain(now, shell);
    }

    /// Carries out what both engines want, until neither wants anything.
    fn drain(&mut self, now: Instant, shell: &mut dyn Shell) {
        loop {
            if let Some(action) = self.mip6.poll() {
                self.mobility_action(now, action, shell);
            } else if self.after_update.is_some() {
                // No update went with the movement: nobody is registered with.
                self.finish_movement(now, shell);
            } else if let Some(action) = self.ike.poll() {
                self.ike_action(now, action, shell);
            } else {
                return;
            }
        }
    }

    fn mobility_action(&mut self, now: Instant, action: MobileNodeAction, shell: &mut dyn Shell) {
        match action {
            MobileNodeAction::SolicitRouter(interface) => {
                let message = super::router_solicitation(shell.link_layer(interface));
                shell.send_icmp6(&neighbour_discovery(interface, None, ALL_ROUTERS, message));
            }
            MobileNodeAction::AddCareOf(care_of) => self.add_care_of(care_of, shell),
            // The farewell of IKE still needs it; what is ours is removed at the very end.
            MobileNodeAction::RemoveCareOf(_) if self.stopping => {}
            MobileNodeAction::RemoveCareOf(care_of) => self.remove_care_of(now, care_of, shell),
            MobileNodeAction::ProbeDuplicate { interface, address } => shell.probe_duplicate(interface, address),
            MobileNodeAction::Relocate { from, to, soft } => self.relocate(now, from, to, soft, shell),
            MobileNodeAction::SendBindingUpdate { home_address, home_agent, via, message, sequence, attempt } => {
                // The kernel puts ESP and the Home Address option in by the policies of this place. If it has refused
                // them, nothing leaves; the update is repeated.
                if self.arrived {
                    shell.send_mobility(home_address.0, home_agent.0, None, &message);
                    debug!(event = "binding_update", %home_address, sequence, attempt, ?via);
                }
                self.finish_movement(now, shell);
                if attempt > 1 {
                    self.doubt(now);
                }
            }
            MobileNodeAction::Bound { home_address, care_of, lifetime, key_mobility, round_trip } => {
                info!(
                    event = "bound", %home_address, %care_of, lifetime_s = lifetime.as_secs(),
                    round_trip_us = micros(round_trip), netlink_messages = std::mem::take(&mut self.netlink_messages)
                );
                self.succeeded();
                if !key_mobility && self.ike_moved {
                    // RFC 6275 §11.7.3: with the K bit clear the IKE SA does not survive a movement, and a new one is built from
                    // the new care-of address; where it was built it is good.
                    self.renew_session(now);
                }
            }
            MobileNodeAction::Unbound { home_address, round_trip } => {
                info!(
                    event = "unbound", %home_address, round_trip_us = micros(round_trip),
                    netlink_messages = std::mem::take(&mut self.netlink_messages)
                );
            }
            MobileNodeAction::Refused { home_address, status, retry } => {
                warn!(event = "binding_refused", %home_address, ?status, retry);
                if status == BindingStatus::DuplicateAddressDetectionFailed {
                    self.replace_home_address(now, home_address);
                }
            }
            MobileNodeAction::SendBindingError { source, destination, message } => {
                shell.send_mobility(source, destination, None, &message);
            }
            MobileNodeAction::AnnounceHome { interface, home_address } => {
                let link_layer = shell.link_layer(interface);
                let message = super::unsolicited_advertisement(home_address.0, link_layer);
                shell.send_icmp6(&neighbour_discovery(interface, Some(home_address.0), ALL_NODES, message));
            }
            MobileNodeAction::SendPrefixSolicitation { .. } if !self.arrived => {}
            MobileNodeAction::SendPrefixSolicitation { home_address, home_agent, message } => {
                shell.send_icmp6(&Icmp6 {
                    interface: None,
                    source: Some(home_address.0),
                    destination: home_agent.0,
                    hop_limit: 64,
                    care_of: None,
                    message,
                });
            }
            MobileNodeAction::HomePrefix { prefix, valid, preferred } => {
                info!(event = "home_prefix", %prefix, valid_s = valid.as_secs(), preferred_s = preferred.as_secs());
            }
            MobileNodeAction::Stopped => self.disconnect(now),
            MobileNodeAction::Audit(reason) => match self.refused.allows(now) {
                true => warn!(event = "refused", reason, withheld = self.refused.withheld()),
                false => debug!(event = "refused", reason),
            },
        }
    }
}

fn neighbour_discovery(
    interface: Interface,
    source: Option<Ipv6Addr>,
    destination: Ipv6Addr,
    message: Vec<u8>,
) -> Icmp6 {
    Icmp6 { interface: Some(interface), source, destination, hop_limit: 255, care_of: None, message }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
