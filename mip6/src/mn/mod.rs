//! The mobile node (RFC 6275 §11): it notices where it is, gets a care-of address there and tells its home agent.
//!
//! [`MobileNode::handle`] takes one input, then [`MobileNode::poll`] is called until it returns `None`, before the next
//! input. [`MobileNode::deadline`] tells when [`MobileNodeInput::Timeout`] is due.
//!
//! Of a movement the actions come in the order in which they shorten the outage: the address, its probe, the relocation,
//! the binding update, and only then what removes the old address.

mod care_of;
mod config;
mod discovery;
mod identifier;
mod links;
mod pace;
mod registration;
mod router;
mod time;
mod update;

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use ring::hmac;
use zeroize::Zeroizing;

pub use self::config::{Binding, Config};

use self::care_of::CareOfAddresses;
use self::discovery::Discovery;
use self::links::{Links, Place, Preferences};
use self::registration::{Circumstances, Peer, Registration};
use self::time::Until;
use self::update::{Timing, Wish};
use crate::action::{CareOf, Interface, Location, MobileNodeAction, MobileNodeInput, Router, Via};
use crate::binding_errors::BindingErrors;
use crate::entropy::Entropy;
use crate::wire::{BindingErrorStatus, Icmp6Message, MobilityMessage};

/// The mobile node's engine.
#[derive(Debug)]
pub struct MobileNode {
    linger: Duration,
    phase: Phase,
    location: Location,
    /// Packets can be sent from there.
    attached: bool,
    links: Links,
    care_of: CareOfAddresses,
    registration: Registration,
    discovery: Discovery,
    errors: BindingErrors,
    actions: VecDeque<MobileNodeAction>,
    /// When an input was handled last.
    now: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Only the answer to a de-registration is waited for.
    Stopping,
    Stopped,
}

impl MobileNode {
    /// A mobile node that is nowhere. `entropy`: 32 octets of true randomness. Care-of addresses come back on known
    /// links as long as it is the same, so the shell may keep it over restarts.
    pub fn new(config: Config, entropy: [u8; 32]) -> Self {
        let seed = Zeroizing::new(entropy);
        let mut stream = Entropy::new(derive(&seed, b"stream"));
        // RFC 6275 §11.7.2: the first sequence number is random.
        let sequence = u16::from_be_bytes(stream.octets());
        let timing = Timing {
            lifetime: config.lifetime,
            initial_first_reg: config.initial_first_reg,
            initial: config.initial,
            max: config.max,
            key_mobility: config.key_mobility,
        };
        Self {
            linger: config.linger,
            phase: Phase::Running,
            location: Location::Nowhere,
            attached: false,
            links: Links::new(Preferences {
                home_prefix: config.home_prefix,
                newest_link: config.newest_link,
                solicit_initial: config.solicit_initial,
                solicit_max: config.solicit_max,
            }),
            care_of: CareOfAddresses::new(&seed),
            registration: Registration::new(timing, config.binding_may_exist, sequence),
            discovery: Discovery::new(stream),
            errors: BindingErrors::new(),
            actions: VecDeque::new(),
            now: None,
        }
    }

    /// Takes one input. `now` never goes back.
    pub fn handle(&mut self, now: Instant, input: MobileNodeInput) {
        match self.phase {
            Phase::Running => self.take(now, input),
            Phase::Stopping => self.take_stopping(now, input),
            Phase::Stopped => return,
        }
        match self.phase {
            Phase::Running => self.settle(now),
            Phase::Stopping => self.wind_up(now),
            Phase::Stopped => (),
        }
        self.now = Some(now);
    }

    /// The next action.
    pub fn poll(&mut self) -> Option<MobileNodeAction> {
        self.actions.pop_front()
    }

    /// When [`MobileNodeInput::Timeout`] is to be handed in, if no other input comes before.
    pub fn deadline(&self) -> Option<Instant> {
        let registration = self.registration.deadline(self.attached);
        match self.phase {
            Phase::Running => {
                let discovery = self.discovering().and_then(|_| self.discovery.deadline());
                let links = self.links.deadline(self.now, &self.location);
                [registration, discovery, links, self.care_of.deadline()].into_iter().flatten().min()
            }
            Phase::Stopping => registration,
            Phase::Stopped => None,
        }
    }

    /// Where the node is, as of the last [`MobileNodeAction::Relocate`]. The link may be lost since, without another one.
    pub fn location(&self) -> Location {
        self.location
    }

    /// The binding that the home agent has acknowledged, until it expires.
    pub fn binding(&self) -> Option<&Binding> {
        self.registration.binding()
    }

    fn take(&mut self, now: Instant, input: MobileNodeInput) {
        match input {
            MobileNodeInput::Timeout => (),
            MobileNodeInput::LinkUp { interface, preference } => {
                if self.links.attachment(interface).is_none() {
                    self.care_of.link_up(interface);
                }
                self.links.link_up(now, interface, preference, &self.location);
            }
            MobileNodeInput::LinkDown(interface) => {
                self.links.link_down(interface);
                self.care_of.link_down(now, interface);
            }
            MobileNodeInput::RouterAdvertisement { interface, source, message } => {
                if let Err(reason) = self.router_advertisement(now, interface, source, &message) {
                    self.audit(format!("a router advertisement from {source} was dropped: {reason}"));
                }
            }
            MobileNodeInput::Duplicate { interface, address } => {
                if self.care_of.collided(interface, address, &mut self.actions) {
                    self.audit(format!("another node has the care-of address {address}"));
                }
            }
            MobileNodeInput::CareOfRefused(care_of) => {
                if self.care_of.refused(&care_of) {
                    self.audit(format!("the kernel refused the care-of address {}", care_of.address));
                }
            }
            MobileNodeInput::Secured { home_address, home_agent } => {
                let peer = Peer { home_address, home_agent };
                if self.registration.is_stranger(peer) {
                    self.discovery.reset();
                }
                self.registration.secured(now, peer);
            }
            MobileNodeInput::Unsecured => self.registration.unsecured(),
            MobileNodeInput::MobilityMessage { source, destination, message } => {
                self.mobility_message(now, source, destination, &message);
            }
            MobileNodeInput::PrefixAdvertisement { source, message } => {
                if let Err(reason) = self.prefix_advertisement(now, source, &message) {
                    self.audit(format!("a mobile prefix advertisement from {source} was dropped: {reason}"));
                }
            }
            MobileNodeInput::Stop => {
                self.phase = Phase::Stopping;
                let wish = match self.location {
                    Location::Nowhere => Wish::Nothing,
                    Location::Away(care_of) => Wish::Deregister { via: Via::CareOf(care_of.address), announce: None },
                    Location::Home { interface, .. } => {
                        Wish::Deregister { via: Via::Direct, announce: Some(interface) }
                    }
                };
                self.registration.stop(now, wish);
            }
        }
    }

    fn take_stopping(&mut self, now: Instant, input: MobileNodeInput) {
        match input {
            MobileNodeInput::LinkDown(interface) => {
                self.links.link_down(interface);
                self.attached = self.attached && self.links.is_attached(now, &self.location);
            }
            MobileNodeInput::Unsecured => self.registration.unsecured(),
            // It is not there, so there is nothing to remove in the end.
            MobileNodeInput::CareOfRefused(care_of) => {
                let _ = self.care_of.refused(&care_of);
            }
            MobileNodeInput::MobilityMessage { source, destination, message } => {
                self.mobility_message(now, source, destination, &message);
            }
            // We go nowhere any more.
            MobileNodeInput::Timeout
            | MobileNodeInput::LinkUp { .. }
            | MobileNodeInput::RouterAdvertisement { .. }
            | MobileNodeInput::Duplicate { .. }
            | MobileNodeInput::Secured { .. }
            | MobileNodeInput::PrefixAdvertisement { .. }
            | MobileNodeInput::Stop => (),
        }
    }

    /// Draws the conclusions, in the order in which they shorten the outage.
    fn settle(&mut self, now: Instant) {
        self.links.expire(now, &self.location);
        self.move_on(now);
        let attached = self.links.is_attached(now, &self.location);
        if attached && !self.attached {
            self.registration.resume(now);
        }
        self.attached = attached;
        self.links.solicit(now, &mut self.actions);
        self.registration.drive(now, &self.circumstances(now), &mut self.actions);
        if let Some(peer) = self.discovering() {
            self.discovery.drive(now, peer, &mut self.actions);
        }
        self.care_of.sweep(now, &mut self.actions);
    }

    /// De-registers, then leaves everything as it was.
    fn wind_up(&mut self, now: Instant) {
        self.registration.drive(now, &self.circumstances(now), &mut self.actions);
        if self.registration.is_done() || !self.attached {
            self.care_of.clear(&mut self.actions);
            self.actions.push_back(MobileNodeAction::Stopped);
            self.phase = Phase::Stopped;
        }
    }

    /// Goes to the best place, if that is not where we are.
    fn move_on(&mut self, now: Instant) {
        if let Location::Away(care_of) = self.location
            && let Some(valid) = self.links.valid(now, &care_of)
            && let Some(attachment) = self.links.attachment(care_of.interface)
        {
            self.care_of.refresh(&care_of, valid, attachment);
        }
        let best = self.links.best(now, &self.location, |interface, prefix| self.care_of.is_spent(interface, prefix));
        let to = match best {
            Some(Place::Home { interface, router }) => Location::Home { interface, router },
            Some(Place::Foreign { interface, prefix, router }) => {
                let address = self.care_of.address(interface, prefix);
                Location::Away(CareOf { address, prefix, interface, router })
            }
            // Nothing better: a link that is lost for a moment is no reason to tear everything down, the address may be
            // good again when it is back. If the address is no longer good, there is nowhere to be.
            None => match self.location {
                Location::Away(care_of) if !self.care_of.is_usable(now, &care_of) => Location::Nowhere,
                Location::Nowhere | Location::Away(_) | Location::Home { .. } => return,
            },
        };
        if !self.is_here(&to) {
            self.relocate(now, to);
        }
    }

    fn relocate(&mut self, now: Instant, to: Location) {
        let from = self.location;
        if let Location::Away(care_of) = to {
            let valid = self.links.valid(now, &care_of).unwrap_or(Until::At(now));
            let attachment = self.links.attachment(care_of.interface).unwrap_or(0);
            self.care_of.take(care_of, valid, attachment, &mut self.actions);
        }
        let mut soft = false;
        if let Location::Away(old) = from
            && !matches!(to, Location::Away(new) if new.address == old.address && new.interface == old.interface)
        {
            // RFC 6275 §11.5.4: what is under way to the old address still arrives, if its link was not lost since.
            let attachment = self.care_of.attachment(&old);
            let is_there = attachment.is_some() && attachment == self.links.attachment(old.interface);
            soft = is_there && !self.linger.is_zero() && !matches!(to, Location::Nowhere);
            self.care_of.release(now, &old, if soft { self.linger } else { Duration::ZERO });
        }
        self.actions.push_back(MobileNodeAction::Relocate { from, to, soft });
        self.location = to;
        self.registration.want(
            now,
            match to {
                Location::Nowhere => Wish::Nothing,
                Location::Away(care_of) => Wish::Register(care_of.address),
                // RFC 6275 §11.5.5: from the home address itself, with nothing but that.
                Location::Home { interface, .. } => Wish::Deregister { via: Via::Direct, announce: Some(interface) },
            },
        );
    }

    /// Whether a place is where we are. RFC 6275 §11.5.1: the same link-local address of another router does not count
    /// as the same router; a router that did not tell its link-layer address at first does.
    fn is_here(&self, place: &Location) -> bool {
        let is_same_router = |one: &Router, other: &Router| {
            let differ = one.link_layer.zip(other.link_layer).is_some_and(|(one, other)| one != other);
            one.address == other.address && !differ
        };
        match (&self.location, place) {
            (Location::Nowhere, Location::Nowhere) => true,
            (Location::Away(here), Location::Away(there)) => {
                here.interface == there.interface
                    && here.address == there.address
                    && is_same_router(&here.router, &there.router)
            }
            (Location::Home { interface, router }, Location::Home { interface: on, router: by }) => {
                interface == on && is_same_router(router, by)
            }
            (Location::Nowhere | Location::Away(_) | Location::Home { .. }, _) => false,
        }
    }

    fn circumstances(&self, now: Instant) -> Circumstances {
        let home = self.discovery.remaining(now);
        let longest = match &self.location {
            Location::Away(care_of) => home.min(self.care_of.remaining(now, care_of)),
            Location::Nowhere | Location::Home { .. } => home,
        };
        Circumstances { attached: self.attached, longest }
    }

    /// Whom to ask for the home prefixes: only from a foreign link, on which a binding stands. At home routers tell them.
    fn discovering(&self) -> Option<Peer> {
        let is_bound = self.attached && self.registration.binding().is_some();
        match self.location {
            Location::Away(_) if is_bound => self.registration.peer(),
            Location::Nowhere | Location::Away(_) | Location::Home { .. } => None,
        }
    }

    fn router_advertisement(
        &mut self,
        now: Instant,
        interface: Interface,
        source: Ipv6Addr,
        message: &[u8],
    ) -> Result<(), String> {
        match Icmp6Message::parse(message).map_err(|malformed| malformed.to_string())? {
            Icmp6Message::RouterAdvertisement(advertisement) => {
                Ok(self.links.advertised(now, interface, source, &advertisement, &self.location)?)
            }
            _ => Err("it is something else".into()),
        }
    }

    fn prefix_advertisement(&mut self, now: Instant, source: Ipv6Addr, message: &[u8]) -> Result<(), String> {
        // RFC 6275 §11.4.3: only from the home agent that accepted the last registration.
        let peer = self.discovering().ok_or("we have not registered")?;
        if source != peer.home_agent.0 {
            return Err("it is not from our home agent".into());
        }
        match Icmp6Message::parse(message).map_err(|malformed| malformed.to_string())? {
            Icmp6Message::MobilePrefixAdvertisement(advertisement) => {
                Ok(self.discovery.advertised(now, peer, &advertisement, &mut self.actions)?)
            }
            _ => Err("it is something else".into()),
        }
    }

    fn mobility_message(&mut self, now: Instant, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) {
        let parsed = MobilityMessage::parse(message);
        // RFC 6275 §9.2, §11.2: whoever sends an unknown type is told, with or without a binding.
        if let Ok(MobilityMessage::Other(other)) = &parsed {
            return self.unknown_type(now, source, destination, other.kind);
        }
        // RFC 6275 §11.3.6, §11.7.3, §11.7.4: only from a node to which we sent an update, that is, from the home agent.
        let Some(peer) = self.registration.peer() else {
            return self.audit(format!("a mobility message from {source} without security associations was dropped"));
        };
        if source != peer.home_agent.0 || destination != peer.home_address.0 {
            return self.audit(format!("a mobility message from {source} to {destination} is not for us"));
        }
        match parsed {
            Ok(MobilityMessage::BindingAcknowledgement(acknowledgement)) => {
                let registered = self.registration.acknowledged(now, &acknowledgement, &mut self.actions);
                if let Some(registered) = registered {
                    self.discovery.registered(now, registered.prefix_discovery_necessary);
                }
            }
            // RFC 6275 §11.7.4: we are asked to, and it does no harm.
            Ok(MobilityMessage::BindingRefreshRequest(_)) => self.registration.renew(now, false),
            Ok(MobilityMessage::BindingError(error)) => match error.status {
                // RFC 6275 §11.3.6: the home agent has lost the binding.
                BindingErrorStatus::UnknownBinding if error.home_address == peer.home_address => {
                    self.registration.renew(now, true);
                }
                status => self.audit(format!("the home agent reports binding error {}", status.code())),
            },
            Ok(other) => self.audit(format!("mobility message of type {} is not for a mobile node", other.kind())),
            Err(malformed) => self.audit(format!("a mobility message from {source} was dropped: {malformed}")),
        }
    }

    fn unknown_type(&mut self, now: Instant, source: Ipv6Addr, destination: Ipv6Addr, kind: u8) {
        self.audit(format!("a mobility message of the unknown type {kind} from {source} was dropped"));
        // RFC 6275 §6.1: nothing but a binding update goes out with a Home Address option, so not from the home address
        // unless we are there.
        let from = match self.location {
            Location::Away(care_of) => care_of.address.0,
            Location::Home { .. } => destination,
            Location::Nowhere => return,
        };
        if let Some(message) = self.errors.unknown_type(now, source, None) {
            self.actions.push_back(MobileNodeAction::SendBindingError { source: from, destination: source, message });
        }
    }

    fn audit(&mut self, sentence: String) {
        self.actions.push_back(MobileNodeAction::Audit(sentence));
    }
}

/// Another secret for each use of the seed.
fn derive(seed: &[u8; 32], label: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), label);
    let mut secret = [0; 32];
    for (octet, random) in secret.iter_mut().zip(tag.as_ref()) {
        *octet = *random;
    }
    secret
}
