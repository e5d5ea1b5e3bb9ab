//! A mobile node: its IKE engine and its Mobile IPv6 engine, and what each of their actions means for the other and for the
//! kernel. No I/O of its own: see [`Shell`].

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use ike::action::{
    Action, AddressRequest, ChildId, ChildRequest, ChildSa, CloseReason, Connect, Endpoints, EspSuite, IkeSaId, Input,
    Lifetime, LocalAuth, RemoteAuth,
};
use ike::wire::{Identity, NotifyType};
use mip6::action::{CareOf, Interface, Location, MobileNodeAction, MobileNodeInput};
use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress};
use tracing::{debug, info, warn};

use super::shell::{Icmp6, Shell};
use crate::kernel::op::{Address, Op, Protocol, Route, RouteOptimization, SaKey};
use crate::rfc4877::child::{self, Child, Purpose, Side};
use crate::rfc4877::movement::{self, Halves};
use crate::rfc4877::spd::{self, Policies, Tunnels};

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

/// The loopback interface, where the home address lives while away: on the link it would be taken for neighbour discovery.
const LOOPBACK: u32 = 1;
/// The metric of our default route: better than what the kernel makes of Router Advertisements (1024).
const METRIC: u32 = 100;
/// How long to wait before IKE is tried anew, first and at the longest.
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const IKE_PORT: u16 = 500;

/// A mobile node.
pub struct MobileNode {
    settings: Settings,
    ike: ike::Engine,
    mip6: mip6::mn::MobileNode,
    session: Session,
    children: BTreeMap<ChildId, Child>,
    next_reqid: u32,
    location: Location,
    home_address: Option<HomeAddress>,
    policies: Policies,
    /// What is to be done after the Binding Update of a movement has left.
    after_update: VecDeque<Op>,
    /// The same for IKE's end points.
    endpoints_after_update: Option<Endpoints>,
    /// Copies of inbound SAs at the care-of address that was left softly.
    lingering: Vec<(CareOfAddress, SaKey)>,
    stopping: bool,
    finished: bool,
    netlink_messages: u32,
    /// Tells the attempts to build an IKE SA apart.
    attempt: u64,
}

/// The IKE SA with the home agent.
enum Session {
    /// None; the next try may start then.
    Idle { not_before: Option<Instant>, pause: Duration },
    /// Being built.
    Connecting { pause: Duration },
    /// Stands.
    Established { ike_sa: IkeSaId },
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
            next_reqid: child::FIRST_TUNNEL_REQID,
            location: Location::Nowhere,
            policies: Policies::new(),
            after_update: VecDeque::new(),
            endpoints_after_update: None,
            lingering: Vec::new(),
            stopping: false,
            finished: false,
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

    /// The CHILD_SAs that stand.
    pub fn children(&self) -> impl Iterator<Item = (&ChildId, &Child)> {
        self.children.iter()
    }

    /// The policies that stand in the kernel.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Gives the IKE engine an order of the operator (rekey, liveness check).
    pub fn order(&mut self, now: Instant, order: impl FnOnce(IkeSaId) -> Input, shell: &mut dyn Shell) {
        if let Session::Established { ike_sa } = self.session {
            self.ike.handle(now, order(ike_sa));
            self.drain(now, shell);
        }
    }

    /// When [`MobileNode::timeout`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let reconnect = match self.session {
            Session::Idle { not_before, .. } => not_before,
            Session::Connecting { .. } | Session::Established { .. } => None,
        };
        [self.ike.deadline(), self.mip6.deadline(), reconnect].into_iter().flatten().min()
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
        self.drain(now, shell);
    }

    /// Carries out what both engines want, until neither wants anything.
    fn drain(&mut self, now: Instant, shell: &mut dyn Shell) {
        loop {
            if let Some(action) = self.mip6.poll() {
                self.mobility_action(now, action, shell);
            } else if !self.after_update.is_empty() || self.endpoints_after_update.is_some() {
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
            MobileNodeAction::AddCareOf(care_of) => self.add_care_of(now, care_of, shell),
            // The farewell of IKE still needs it; what is ours is removed at the very end.
            MobileNodeAction::RemoveCareOf(_) if self.stopping => {}
            MobileNodeAction::RemoveCareOf(care_of) => self.remove_care_of(now, care_of, shell),
            MobileNodeAction::ProbeDuplicate { interface, address } => shell.probe_duplicate(interface, address),
            MobileNodeAction::Relocate { from, to, soft } => self.relocate(now, from, to, soft, shell),
            MobileNodeAction::SendBindingUpdate { home_address, home_agent, via, message, sequence, attempt } => {
                // The kernel puts the Home Address option in by the policies of this place.
                shell.send_mobility(home_address.0, home_agent.0, None, &message);
                debug!(event = "binding_update", %home_address, sequence, attempt, ?via);
                self.finish_movement(now, shell);
            }
            MobileNodeAction::Bound { home_address, care_of, lifetime, key_mobility, round_trip } => {
                info!(
                    event = "bound", %home_address, %care_of, lifetime_s = lifetime.as_secs(),
                    round_trip_us = micros(round_trip), netlink_messages = std::mem::take(&mut self.netlink_messages)
                );
                if !key_mobility {
                    // RFC 4877 §7.4: who cannot move the IKE SA needs a new one from the new care-of address.
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
            }
            MobileNodeAction::AnnounceHome { interface, home_address } => {
                let link_layer = shell.link_layer(interface);
                let message = super::unsolicited_advertisement(home_address.0, false, link_layer);
                shell.send_icmp6(&neighbour_discovery(interface, Some(home_address.0), ALL_NODES, message));
            }
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
            MobileNodeAction::Audit(reason) => warn!(event = "refused", reason),
        }
    }

    fn add_care_of(&mut self, now: Instant, care_of: CareOf, shell: &mut dyn Shell) {
        if self.apply(&[Op::AddAddress(address(&care_of))], shell) {
            info!(event = "care_of_usable", care_of = %care_of.address, interface = care_of.interface.0);
        } else {
            self.mip6.handle(now, MobileNodeInput::CareOfRefused(care_of));
        }
    }

    fn remove_care_of(&mut self, now: Instant, care_of: CareOf, shell: &mut dyn Shell) {
        // The update may have to wait (RFC 6275 §11.8, MAX_UPDATE_RATE); the tunnels do not end at an address that is gone.
        self.finish_movement(now, shell);
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lingering).into_iter().partition(|(at, _)| *at == care_of.address);
        self.lingering = kept;
        let mut ops: Vec<Op> = gone.into_iter().map(|(_, key)| Op::DeleteSa(key)).collect();
        ops.push(Op::DeleteAddress(address(&care_of)));
        self.apply(&ops, shell);
    }

    /// A movement is one plan in two halves: what the Binding Update needs comes before it, the tunnels follow right behind.
    fn relocate(&mut self, now: Instant, from: Location, to: Location, soft: bool, shell: &mut dyn Shell) {
        info!(event = "relocate", from = %Place(from), to = %Place(to), soft);
        self.location = to;
        let mut before = Vec::new();
        if let Some(home_address) = self.home_address {
            self.settle(home_address, from, to, soft, &mut before);
        }
        // After the home address, which it prefers as source.
        before.extend(self.route(to));
        self.apply(&before, shell);
        if !soft {
            self.after_update.extend(forgotten_router(from, to));
        }
        match (&self.session, to) {
            (Session::Established { ike_sa }, _) => {
                self.endpoints_after_update = self
                    .ike
                    .endpoints(*ike_sa)
                    .and_then(|old| Some(Endpoints { local: self.local(old.local.port())?, ..old }));
            }
            (Session::Idle { .. }, Location::Away(_)) => self.connect(now),
            (Session::Connecting { .. }, _) => {
                // IKE_SA_INIT and IKE_AUTH began at an address that is gone; nothing is lost by starting again.
                self.restart_session(now);
            }
            // At home there is nothing to register and nothing to tunnel.
            (Session::Idle { .. }, Location::Home { .. } | Location::Nowhere) => {}
        }
    }

    /// Addresses, route-optimisation states, policies and tunnels of the home address at this place.
    fn settle(&mut self, home_address: HomeAddress, from: Location, to: Location, soft: bool, before: &mut Vec<Op>) {
        let agent = self.settings.home_agent;
        let children: Vec<Child> = self.children.values().copied().collect();
        let payload = movement::guiding_policy(home_address, Side::MobileNode);
        match to {
            Location::Away(care_of) => {
                before.extend(route_optimization(home_address, agent, care_of.address));
                before.push(Op::AddAddress(away(home_address)));
                if let Location::Home { interface, .. } = from {
                    before.push(Op::DeleteAddress(self.at_home(home_address, interface)));
                }
                let tunnels = movement::tunnels(children.iter(), care_of.address);
                let desired = spd::mobile_node(home_address, agent, Some(tunnels));
                // The sub policies come with the update: they put the Home Address option into it.
                let signalling = signalling_first(&self.policies, &desired);
                before.extend(spd::difference(&self.policies, &signalling));
                let halves = if soft { Halves::Outbound } else { Halves::Both };
                if soft {
                    before.extend(movement::copies(&children, care_of.address));
                }
                self.after_update.extend(movement::carry(
                    &children,
                    care_of.address,
                    halves,
                    &signalling,
                    &desired,
                    payload,
                ));
                let stranded: Vec<u32> = movement::stranded(&children, care_of.address, &desired, payload)
                    .iter()
                    .map(|child| child.inbound_spi)
                    .collect();
                for child in self.children.values_mut().filter(|c| !c.purpose.transport()) {
                    if stranded.contains(&child.inbound_spi) || child.care_of == care_of.address {
                        continue;
                    }
                    if soft {
                        self.lingering.push((child.care_of, child.inbound_key()));
                    }
                    child.care_of = care_of.address;
                }
                self.policies = desired;
            }
            Location::Home { interface, router } => {
                // RFC 4877 §4.2: at home the tunnel policies are inactive; the SAs stay for the next departure.
                let desired = spd::mobile_node(home_address, agent, None);
                before.extend(spd::difference(&self.policies, &desired));
                // On the link first, then off the loopback: there is always one, so connections do not break.
                before.push(Op::AddAddress(self.at_home(home_address, interface)));
                before.push(Op::DeleteAddress(away(home_address)));
                // RFC 6275 §11.5.5: the home agent's link-layer address is learned from its advertisement, so that nobody is
                // asked from the home address while it is still registered elsewhere.
                before.extend(router.link_layer.map(|link_layer| Op::SetNeighbour {
                    interface: interface.0,
                    address: agent.0,
                    link_layer,
                }));
                self.policies = desired;
            }
            Location::Nowhere => {}
        }
    }

    /// What is done once the update has left, and before anything else.
    fn finish_movement(&mut self, now: Instant, shell: &mut dyn Shell) {
        let ops: Vec<Op> = self.after_update.drain(..).collect();
        if !ops.is_empty() {
            self.apply(&ops, shell);
        }
        if let (Some(endpoints), Session::Established { ike_sa }) = (self.endpoints_after_update.take(), &self.session)
        {
            // RFC 4877 §7.4: the mobile node moves its IKE end point when the update is sent.
            self.ike.handle(now, Input::Move(*ike_sa, endpoints));
        }
    }

    /// The default route of a place, and the router's link-layer address so that no neighbour solicitation delays the update.
    fn route(&self, to: Location) -> Vec<Op> {
        let (interface, router) = match to {
            Location::Away(care_of) => (care_of.interface, care_of.router),
            Location::Home { interface, router } => (interface, router),
            Location::Nowhere => return Vec::new(),
        };
        let neighbour = router.link_layer.map(|link_layer| Op::SetNeighbour {
            interface: interface.0,
            address: router.address,
            link_layer,
        });
        let route = Op::SetRoute(Route {
            destination: (Ipv6Addr::UNSPECIFIED, 0),
            gateway: Some(router.address),
            interface: interface.0,
            // RFC 6275 §11.3.1: the home address is the preferred source; said by the route because many kernels do not.
            preferred_source: self.home_address.filter(|_| matches!(to, Location::Away(_))).map(|home| home.0),
            metric: METRIC,
        });
        neighbour.into_iter().chain([route]).collect()
    }

    /// Our IKE address here: the care-of address, at home the home address (RFC 4877 §4.4, RFC 6275 §11.5.5).
    fn local(&self, port: u16) -> Option<SocketAddr> {
        let address = match self.location {
            Location::Away(care_of) => care_of.address.0,
            Location::Home { .. } => self.home_address?.0,
            Location::Nowhere => return None,
        };
        Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, 0)))
    }

    fn at_home(&self, home_address: HomeAddress, interface: Interface) -> Address {
        let len = self.settings.home_prefix_len;
        Address { interface: interface.0, address: home_address.0, len, home: true }
    }

    fn connect(&mut self, now: Instant) {
        let (Some(local), Location::Away(_)) = (self.local(IKE_PORT), self.location) else { return };
        let Session::Idle { pause, .. } = self.session else { return };
        let remote = SocketAddr::V6(SocketAddrV6::new(self.settings.home_agent.0, IKE_PORT, 0, 0));
        let (local_auth, remote_auth) = (self.settings.credentials)();
        self.attempt += 1;
        self.session = Session::Connecting { pause };
        // RFC 4877 §9: with no home address of our own an empty request asks for any; one that we had is suggested.
        let address = match self.settings.home_address {
            Some(_) => None,
            None => Some(AddressRequest { suggestion: self.home_address.map(|home| home.0), dns: false }),
        };
        self.ike.handle(
            now,
            Input::Connect(Box::new(Connect {
                endpoints: Endpoints { local, remote },
                local_id: self.settings.identity.clone(),
                remote_id: self.settings.home_agent_identity.clone(),
                local_auth,
                remote_auth,
                address,
                child: Some(self.request(Purpose::Binding, self.settings.home_address)),
                initial_contact: true,
                tag: self.attempt,
            })),
        );
        info!(event = "ike_connect", %local, %remote);
    }

    fn request(&self, purpose: Purpose, home_address: Option<HomeAddress>) -> ChildRequest {
        let (local_selectors, remote_selectors) = purpose.selectors(home_address, self.settings.home_agent);
        ChildRequest {
            local_selectors,
            remote_selectors,
            transport: purpose.transport(),
            suites: self.settings.suites.clone(),
            lifetime: self.settings.child_lifetime,
            tag: purpose.tag(),
        }
    }

    fn ike_action(&mut self, now: Instant, action: Action, shell: &mut dyn Shell) {
        match action {
            Action::Send { endpoints, bytes } => shell.send_ike(endpoints, &bytes),
            Action::VerifySignature { ike_sa, identity, chain, scheme, octets, signature } => {
                let verdict = shell.verify(&identity, &chain, scheme, &octets, &signature);
                self.ike.handle(now, Input::SignatureVerified(ike_sa, verdict));
            }
            Action::Sign { ike_sa, key, scheme, octets } => {
                let signature = shell.sign(key, scheme, &octets);
                self.ike.handle(now, Input::Signed(ike_sa, signature));
            }
            Action::IdentifyPeer { ike_sa, claimed, .. } => {
                let reason = format!("a mobile node answers nobody, {claimed} asked");
                self.ike.handle(now, Input::PeerIdentified(ike_sa, Err(reason)));
            }
            Action::Authorize { ike_sa, .. } => {
                // Cannot follow, for nobody is identified; refused all the same.
                self.ike.handle(now, Input::Authorized { ike_sa, lease: Err("not a home agent".into()), child: None });
            }
            Action::JudgeChild { ike_sa, .. } => {
                let reason = "a mobile node asks for its CHILD_SAs itself".to_owned();
                let decision = ike::action::ChildDecision::Refuse { notify: NotifyType::NoAdditionalSas, reason };
                self.ike.handle(now, Input::ChildJudged(ike_sa, decision));
            }
            Action::Established { ike_sa, tag, .. } if tag != self.attempt => {
                self.ike.handle(now, Input::Close(ike_sa))
            }
            Action::Established { ike_sa, peer, endpoints, lease, .. } => {
                info!(event = "ike_established", %peer, local = %endpoints.local, remote = %endpoints.remote);
                self.session = Session::Established { ike_sa };
                let home_address = lease.map(|lease| HomeAddress(lease.address)).or(self.settings.home_address);
                match home_address {
                    Some(home_address) => self.adopt(home_address, shell),
                    None => {
                        warn!(event = "no_home_address", %peer, "the home agent assigned none: set mobile.home_address");
                        self.ike.handle(now, Input::Close(ike_sa));
                    }
                }
            }
            Action::IkeRekeyed(_) => info!(event = "ike_rekeyed"),
            Action::InstallChild(sa) => self.install(now, &sa, shell),
            Action::RemoveChild(id) => self.remove_child(id, shell),
            Action::ChildFailed { ike_sa, tag, notify } => self.child_failed(now, ike_sa, tag, notify),
            Action::Alive(_) => debug!(event = "ike_alive"),
            Action::Closed { tag, reason, .. } if tag == self.attempt => self.closed(now, &reason),
            Action::Closed { reason, .. } => debug!(event = "ike_attempt_ended", ?reason),
            Action::Audit(audit) => {
                warn!(event = "refused", reason = audit.reason, remote = audit.remote.map(tracing::field::display));
            }
            Action::KeyLog(keys) => shell.log_keys(&keys),
        }
    }

    /// The home address is known: everything that hangs on it is put in place.
    fn adopt(&mut self, home_address: HomeAddress, shell: &mut dyn Shell) {
        if self.home_address == Some(home_address) {
            return;
        }
        let mut ops = Vec::new();
        if let Some(old) = self.home_address.take() {
            // RFC 4877 §9: on a different address the old one is used no more.
            ops.extend(spd::difference(&self.policies, &Policies::new()));
            ops.push(Op::DeleteAddress(away(old)));
            ops.extend(route_optimization_keys(old, self.settings.home_agent).map(Op::DeleteSa));
            self.policies = Policies::new();
        }
        self.home_address = Some(home_address);
        self.settle(home_address, Location::Nowhere, self.location, false, &mut ops);
        ops.extend(self.after_update.drain(..));
        ops.extend(self.route(self.location));
        info!(event = "home_address", %home_address);
        self.apply(&ops, shell);
    }

    fn install(&mut self, now: Instant, sa: &ChildSa, shell: &mut dyn Shell) {
        let child = self.child(sa);
        let Some(child) = child else {
            self.ike.handle(now, Input::InstallFailed(sa.id));
            return;
        };
        let mut ops: Vec<Op> = child.install(sa).into();
        self.children.insert(sa.id, child);
        let desired = self.desired(child.home_address);
        ops.extend(spd::difference(&self.policies, &desired));
        if !self.apply(&ops, shell) {
            self.children.remove(&sa.id);
            self.ike.handle(now, Input::InstallFailed(sa.id));
            return;
        }
        self.policies = desired;
        info!(
            event = "child",
            purpose = child.purpose.name(),
            inbound = format_args!("{:08x}", child.inbound_spi),
            outbound = format_args!("{:08x}", child.outbound_spi),
            rekeyed = sa.replaces.is_some()
        );
        if child.purpose == Purpose::Binding && sa.replaces.is_none() {
            let home_agent = self.settings.home_agent;
            self.mip6.handle(now, MobileNodeInput::Secured { home_address: child.home_address, home_agent });
            for purpose in Purpose::LATER {
                let request = self.request(purpose, Some(child.home_address));
                self.ike.handle(now, Input::CreateChild(sa.ike_sa, request));
            }
        }
    }

    fn child(&mut self, sa: &ChildSa) -> Option<Child> {
        let purpose = Purpose::from_tag(sa.tag)?;
        let reqid = match purpose {
            Purpose::Binding => child::BINDING_REQID,
            Purpose::PrefixDiscovery => child::PREFIX_DISCOVERY_REQID,
            Purpose::ReturnRoutability | Purpose::Payload => {
                let reqid = self.next_reqid;
                self.next_reqid = self.next_reqid.checked_add(1).unwrap_or(child::FIRST_TUNNEL_REQID);
                reqid
            }
        };
        let IpAddr::V6(care_of) = sa.endpoints.local_ip() else { return None };
        Some(Child {
            purpose,
            side: Side::MobileNode,
            home_address: self.home_address?,
            home_agent: self.settings.home_agent,
            care_of: CareOfAddress(care_of),
            inbound_spi: sa.inbound.spi,
            outbound_spi: sa.outbound.spi,
            reqid,
        })
    }

    fn desired(&self, home_address: HomeAddress) -> Policies {
        let tunnels: Option<Tunnels> = match self.location {
            Location::Away(care_of) => Some(movement::tunnels(self.children.values(), care_of.address)),
            Location::Home { .. } | Location::Nowhere => None,
        };
        spd::mobile_node(home_address, self.settings.home_agent, tunnels)
    }

    fn remove_child(&mut self, id: ChildId, shell: &mut dyn Shell) {
        let Some(child) = self.children.remove(&id) else { return };
        let desired = self.desired(child.home_address);
        let mut ops = spd::difference(&self.policies, &desired);
        ops.extend(child.remove());
        self.apply(&ops, shell);
        self.policies = desired;
    }

    fn child_failed(&mut self, now: Instant, ike_sa: IkeSaId, tag: u64, notify: Option<NotifyType>) {
        let purpose = Purpose::from_tag(tag);
        let name = purpose.map_or("unknown", Purpose::name);
        warn!(event = "child_refused", purpose = name, notify = notify.map(tracing::field::debug));
        if purpose == Some(Purpose::Binding) {
            // Without it there is no registration; the home agent will not say otherwise in a second.
            self.ike.handle(now, Input::Close(ike_sa));
        }
    }

    fn closed(&mut self, now: Instant, reason: &CloseReason) {
        let pause = match self.session {
            Session::Connecting { pause } => (pause * 2).min(RECONNECT.1),
            Session::Established { .. } | Session::Idle { .. } => RECONNECT.0,
        };
        self.mip6.handle(now, MobileNodeInput::Unsecured);
        if self.stopping {
            self.session = Session::Idle { not_before: None, pause };
            self.finished = true;
            return;
        }
        warn!(event = "ike_closed", ?reason, retry_s = pause.as_secs());
        self.session = Session::Idle { not_before: Some(now + pause), pause };
    }

    fn disconnect(&mut self, now: Instant) {
        match self.session {
            Session::Established { ike_sa } => self.ike.handle(now, Input::Close(ike_sa)),
            Session::Idle { .. } | Session::Connecting { .. } => self.finished = true,
        }
    }

    fn renew_session(&mut self, now: Instant) {
        if let Session::Established { ike_sa } = self.session {
            self.ike.handle(now, Input::Close(ike_sa));
        }
    }

    fn restart_session(&mut self, now: Instant) {
        self.session = Session::Idle { not_before: None, pause: RECONNECT.0 };
        self.connect(now);
    }

    /// Carries a batch out; what fails is an operator's matter and is said as such.
    fn apply(&mut self, ops: &[Op], shell: &mut dyn Shell) -> bool {
        match shell.apply(ops) {
            Ok(done) => {
                self.netlink_messages = self.netlink_messages.saturating_add(done.messages);
                true
            }
            Err(failure) => {
                warn!(event = "kernel_refused", %failure);
                false
            }
        }
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

fn neighbour_discovery(
    interface: Interface,
    source: Option<Ipv6Addr>,
    destination: Ipv6Addr,
    message: Vec<u8>,
) -> Icmp6 {
    Icmp6 { interface: Some(interface), source, destination, hop_limit: 255, care_of: None, message }
}

/// Packets that were sent while the link was gone wait in the kernel for the old router's link-layer address, for three
/// seconds; and as long as one waits TCP does not repeat it.
fn forgotten_router(from: Location, to: Location) -> Option<Op> {
    let router = |location| match location {
        Location::Away(care_of) => Some((care_of.interface.0, care_of.router.address)),
        Location::Home { interface, router } => Some((interface.0, router.address)),
        Location::Nowhere => None,
    };
    let (interface, address) = router(from).filter(|old| router(to) != Some(*old))?;
    Some(Op::DeleteNeighbour { interface, address })
}

fn address(care_of: &CareOf) -> Address {
    Address { interface: care_of.interface.0, address: care_of.address.0, len: care_of.prefix.length(), home: false }
}

fn away(home_address: HomeAddress) -> Address {
    Address { interface: LOOPBACK, address: home_address.0, len: 128, home: true }
}

fn route_optimization_keys(home_address: HomeAddress, agent: HomeAgentAddress) -> [SaKey; 2] {
    let home = IpAddr::V6(home_address.0);
    [
        SaKey { protocol: Protocol::DestinationOptions, source: home, destination: IpAddr::V6(agent.0), spi: 0 },
        // From anybody: the routing header is read before the Home Address option, so the sender is not known yet.
        SaKey { protocol: Protocol::Routing, source: IpAddr::V6(Ipv6Addr::UNSPECIFIED), destination: home, spi: 0 },
    ]
}

fn route_optimization(home: HomeAddress, agent: HomeAgentAddress, care_of: CareOfAddress) -> [Op; 2] {
    let [option, header] = route_optimization_keys(home, agent);
    [
        Op::SetRouteOptimization(RouteOptimization { key: option, care_of: care_of.0, wildcard: false }),
        Op::SetRouteOptimization(RouteOptimization { key: header, care_of: care_of.0, wildcard: true }),
    ]
}

/// The policies between two places: signalling as it is to be, the tunnels as they were.
fn signalling_first(current: &Policies, desired: &Policies) -> Policies {
    let is_tunnel = |policy: &crate::kernel::op::Policy| policy.priority >= spd::TUNNELS_FROM;
    let signalling = desired.iter().filter(|(_, policy)| !is_tunnel(policy));
    let tunnels = current.iter().filter(|(_, policy)| is_tunnel(policy));
    signalling.chain(tunnels).map(|(key, policy)| (*key, policy.clone())).collect()
}

struct Place(Location);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Location::Nowhere => f.write_str("nowhere"),
            Location::Away(care_of) => care_of.address.fmt(f),
            Location::Home { .. } => f.write_str("home"),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
