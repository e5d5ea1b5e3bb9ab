//! What goes into the engines and what comes out of them: plain data, in the order in which it is to be done.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::address::{CareOfAddress, HomeAddress, HomeAgentAddress, Prefix};
use crate::wire::BindingStatus;

/// A network interface, by the kernel's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(pub u32);

/// A router as a Router Advertisement shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Router {
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its link-layer address, if the advertisement told it.
    pub link_layer: Option<[u8; 6]>,
}

/// A care-of address together with all that is needed to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CareOf {
    /// The address.
    pub address: CareOfAddress,
    /// Its on-link prefix.
    pub prefix: Prefix,
    /// On this interface.
    pub interface: Interface,
    /// The default router that announced the prefix.
    pub router: Router,
}

/// Where the mobile node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// On no usable link.
    Nowhere,
    /// On a foreign link.
    Away(CareOf),
    /// On the home link.
    Home {
        /// The interface on it.
        interface: Interface,
        /// The default router there (the home agent, as a rule).
        router: Router,
    },
}

/// How a datagram of ours carries the home address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// From a foreign link: Home Address option (mobile node) or type 2 routing header (home agent) with this care-of address.
    CareOf(CareOfAddress),
    /// On the home link: plain.
    Direct,
}

/// What is handed to the mobile node's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MobileNodeInput {
    /// The time of the engine's deadline has come.
    Timeout,
    /// The link of this interface can carry packets.
    LinkUp {
        /// Which.
        interface: Interface,
        /// The owner's preference: higher wins.
        preference: u32,
    },
    /// The link is lost.
    LinkDown(Interface),
    /// A Router Advertisement (ICMPv6 message from its type octet on; hop limit 255 and checksum checked by the shell).
    RouterAdvertisement {
        /// Where it arrived.
        interface: Interface,
        /// The router's link-local address.
        source: Ipv6Addr,
        /// The ICMPv6 message.
        message: Vec<u8>,
    },
    /// Another node answered the probe for this address of ours (duplicate address detection).
    Duplicate {
        /// Where.
        interface: Interface,
        /// Which address.
        address: Ipv6Addr,
    },
    /// The kernel refused the care-of address of [`MobileNodeAction::AddCareOf`].
    CareOfRefused(CareOf),
    /// Security associations for binding updates between these two stand.
    Secured {
        /// The home address, configured or assigned.
        home_address: HomeAddress,
        /// The home agent.
        home_agent: HomeAgentAddress,
    },
    /// The security associations are gone: nothing may be sent until the next [`MobileNodeInput::Secured`].
    Unsecured,
    /// A Mobility Header message that came protected from the home agent to the home address.
    MobilityMessage {
        /// IPv6 source.
        source: Ipv6Addr,
        /// Home address (after the routing header).
        destination: Ipv6Addr,
        /// From "Payload Proto" on; the checksum was verified by the kernel.
        message: Vec<u8>,
    },
    /// A Mobile Prefix Advertisement that came protected from the home agent (ICMPv6 message from its type octet on).
    PrefixAdvertisement {
        /// IPv6 source.
        source: Ipv6Addr,
        /// The ICMPv6 message.
        message: Vec<u8>,
    },
    /// De-register and leave everything as it was.
    Stop,
}

/// What the mobile node's engine wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MobileNodeAction {
    /// Send a Router Solicitation on this interface.
    SolicitRouter(Interface),
    /// Add this care-of address (it may be used at once, see [`MobileNodeAction::ProbeDuplicate`]).
    AddCareOf(CareOf),
    /// Remove this care-of address.
    RemoveCareOf(CareOf),
    /// Ask by a neighbour solicitation from the unspecified address whether another node has this address.
    ProbeDuplicate {
        /// Where.
        interface: Interface,
        /// Which.
        address: Ipv6Addr,
    },
    /// The node is somewhere else now. Everything that hangs on the care-of address moves: addresses, routes, tunnels,
    /// IKE. Always followed by a [`MobileNodeAction::SendBindingUpdate`] if a home agent knows us.
    Relocate {
        /// Where it was.
        from: Location,
        /// Where it is.
        to: Location,
        /// The old care-of address still works and stays for a while, until it is removed by [`MobileNodeAction::RemoveCareOf`].
        soft: bool,
    },
    /// Send this Binding Update to the home agent, from the home address, under the transport-mode SA.
    SendBindingUpdate {
        /// Whose.
        home_address: HomeAddress,
        /// To whom.
        home_agent: HomeAgentAddress,
        /// With or without Home Address option.
        via: Via,
        /// The Mobility Header message, checksum field zero.
        message: Vec<u8>,
        /// Its sequence number, for the log.
        sequence: u16,
        /// Which transmission of this update it is, from 1.
        attempt: u32,
    },
    /// The home agent accepted the update.
    Bound {
        /// Whose.
        home_address: HomeAddress,
        /// Which care-of address.
        care_of: CareOfAddress,
        /// For how long.
        lifetime: Duration,
        /// K in the acknowledgement: the home agent moves the IKE end points itself.
        key_mobility: bool,
        /// From the update to its acknowledgement.
        round_trip: Duration,
    },
    /// The home agent accepted the de-registration.
    Unbound {
        /// Whose.
        home_address: HomeAddress,
        /// From the update to its acknowledgement.
        round_trip: Duration,
    },
    /// The home agent refused; `retry` tells whether the engine goes on by itself.
    Refused {
        /// Whose.
        home_address: HomeAddress,
        /// Why.
        status: BindingStatus,
        /// Whether another update follows by itself.
        retry: bool,
    },
    /// Send this Binding Error to the address that sent a message of an unknown type, without Home Address option or
    /// routing header (RFC 6275 §9.3.3).
    SendBindingError {
        /// From: the address that is ours on the link.
        source: Ipv6Addr,
        /// To whom.
        destination: Ipv6Addr,
        /// The Mobility Header message, checksum field zero.
        message: Vec<u8>,
    },
    /// Announce at home by a multicast neighbour advertisement that the home address is ours again (RFC 6275 §11.5.5).
    AnnounceHome {
        /// Where.
        interface: Interface,
        /// Which address.
        home_address: HomeAddress,
    },
    /// Send this Mobile Prefix Solicitation (ICMPv6, checksum zero) from the home address to the home agent.
    SendPrefixSolicitation {
        /// From.
        home_address: HomeAddress,
        /// To.
        home_agent: HomeAgentAddress,
        /// The ICMPv6 message.
        message: Vec<u8>,
    },
    /// What a Mobile Prefix Advertisement told about the home prefix.
    HomePrefix {
        /// The prefix.
        prefix: Prefix,
        /// How long it stays valid.
        valid: Duration,
        /// How long it is preferred.
        preferred: Duration,
    },
    /// All that was asked for by [`MobileNodeInput::Stop`] is done (or cannot be done).
    Stopped,
    /// Something was refused or odd; one sentence for the log.
    Audit(String),
}

/// What is handed to the home agent's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeAgentInput {
    /// The time of the engine's deadline has come.
    Timeout,
    /// A Mobility Header message.
    MobilityMessage {
        /// IPv6 source after the Home Address option was applied.
        source: Ipv6Addr,
        /// The address in the IPv6 header, if a Home Address option was there.
        care_of: Option<CareOfAddress>,
        /// IPv6 destination.
        destination: Ipv6Addr,
        /// Whether it came under ESP from the owner of the home address, and what the shell knows of that owner.
        authority: Authority,
        /// From "Payload Proto" on; the checksum was verified by the kernel.
        message: Vec<u8>,
    },
    /// The answer to [`HomeAgentAction::Bind`]: whether the kernel carried it out.
    BindDone {
        /// Whose.
        home_address: HomeAddress,
        /// `false`: insufficient resources, the old binding stands.
        done: bool,
    },
    /// A node on the home link answered the probe for this address.
    Duplicate {
        /// Which address.
        address: Ipv6Addr,
    },
    /// A Router Solicitation on the home link.
    RouterSolicitation {
        /// From (unspecified: answer all nodes).
        source: Ipv6Addr,
    },
    /// A Mobile Prefix Solicitation that came under ESP.
    PrefixSolicitation {
        /// The home address that asks.
        source: Ipv6Addr,
        /// The ICMPv6 message from its type octet on.
        message: Vec<u8>,
    },
    /// The owner of this home address may no longer use it (its IKE SA is gone, an operator revoked it).
    Withdraw(HomeAddress),
    /// Stop advertising; bindings are dropped.
    Stop,
}

/// What the shell knows of who sent a Mobility Header message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// It came without ESP: never acted on.
    None,
    /// It came under an SA that belongs to an identity whose PAD entry holds the source as a home address.
    Owner {
        /// SAs were made by IKE and can be moved: K may be granted.
        key_mobility: bool,
    },
}

/// What the home agent's engine wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeAgentAction {
    /// Make or move the tunnel of this home address. The engine waits for [`HomeAgentInput::BindDone`] before it acknowledges.
    Bind {
        /// Whose.
        home_address: HomeAddress,
        /// From where (none: a new binding; then proxying on the home link starts too).
        from: Option<CareOfAddress>,
        /// To where. Equal to `from` for a refresh.
        to: CareOfAddress,
        /// K was asked for and can be granted: the IKE end points move too.
        key_mobility: bool,
        /// For how long.
        lifetime: Duration,
    },
    /// Take the tunnel and the proxying of this home address down.
    Unbind {
        /// Whose.
        home_address: HomeAddress,
        /// Where it was.
        care_of: CareOfAddress,
        /// Why.
        reason: UnbindReason,
    },
    /// Send this Binding Acknowledgement, Binding Refresh Request … to the home address.
    SendMobilityMessage {
        /// To whom.
        home_address: HomeAddress,
        /// With or without a type 2 routing header.
        via: Via,
        /// The Mobility Header message, checksum field zero.
        message: Vec<u8>,
    },
    /// Send this Binding Error to the address that sent the offending packet, without routing header (RFC 6275 §9.3.3).
    SendBindingError {
        /// To whom.
        destination: Ipv6Addr,
        /// The Mobility Header message.
        message: Vec<u8>,
    },
    /// Ask on the home link whether another node has this address.
    ProbeDuplicate {
        /// Which.
        address: Ipv6Addr,
    },
    /// Announce on the home link by an unsolicited neighbour advertisement that this home address is to be reached here (RFC 6275 §10.4.1).
    AnnounceProxy {
        /// Which.
        home_address: HomeAddress,
    },
    /// Send this Router Advertisement (ICMPv6, checksum zero) on the home link.
    SendRouterAdvertisement {
        /// All nodes, or the one that asked.
        destination: Ipv6Addr,
        /// The ICMPv6 message.
        message: Vec<u8>,
    },
    /// Send this Mobile Prefix Advertisement (ICMPv6, checksum zero) to the home address.
    SendPrefixAdvertisement {
        /// To whom.
        home_address: HomeAddress,
        /// With or without a type 2 routing header.
        via: Via,
        /// The ICMPv6 message.
        message: Vec<u8>,
    },
    /// A binding was accepted or refused: for the log and the counters. `status` at or above 128: refused.
    Judged {
        /// Whose.
        home_address: HomeAddress,
        /// With which result.
        status: BindingStatus,
        /// The sequence number of the update.
        sequence: u16,
        /// Why it was refused.
        reason: Option<String>,
    },
    /// A message was dropped or odd; one sentence for the log.
    Audit(String),
}

/// Why a binding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnbindReason {
    /// The mobile node said so.
    Deregistered,
    /// Its lifetime ended.
    Expired,
    /// [`HomeAgentInput::Withdraw`] or [`HomeAgentInput::Stop`].
    Withdrawn,
}
