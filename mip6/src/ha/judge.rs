//! Whether a Binding Update is valid and may be carried out (RFC 6275 §9.5.1, §10.3.1, §10.3.2).

use std::net::Ipv6Addr;
use std::time::Instant;

use super::binding_cache::{BindingCache, Entry};
use super::config::Config;
use crate::action::{Authority, Via};
use crate::address::{CareOfAddress, HomeAddress};
use crate::wire::{
    BindingStatus, BindingUpdate, Lifetime, MobilityOption, UpdateFlags, is_unicast_routable, sequence_is_newer,
};

/// A Binding Update and what the shell knows of how it came.
pub(super) struct Received<'a> {
    pub(super) source: Ipv6Addr,
    pub(super) care_of: Option<CareOfAddress>,
    pub(super) destination: Ipv6Addr,
    pub(super) authority: Authority,
    pub(super) update: &'a BindingUpdate,
}

/// What is done with it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Dropped without an answer.
    Drop(&'static str),
    /// Answered with a status from 128 on.
    Refuse(Refusal),
    /// Carried out.
    Carry(Update),
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) home_address: HomeAddress,
    pub(super) via: Via,
    pub(super) status: BindingStatus,
    /// The one in the answer.
    pub(super) sequence: u16,
    pub(super) reason: &'static str,
}

/// A valid update.
#[derive(Clone, Copy, Debug)]
pub(super) enum Update {
    /// The node is away.
    Register(Registration),
    /// The node wants to be known no longer.
    Deregister(Request),
}

/// What all valid updates have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) home_address: HomeAddress,
    /// How the answer goes back: to where the update came from.
    pub(super) via: Via,
    pub(super) sequence: u16,
    /// K, already granted or not.
    pub(super) key_mobility: bool,
}

/// What a registration has beside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    pub(super) request: Request,
    pub(super) care_of: CareOfAddress,
    /// What was asked for.
    pub(super) lifetime: Lifetime,
    /// L.
    pub(super) link_local: bool,
}

impl Update {
    pub(super) fn request(&self) -> &Request {
        match self {
            Self::Register(registration) => &registration.request,
            Self::Deregister(request) => request,
        }
    }
}

/// Judges an update.
pub(super) fn judge(config: &Config, cache: &BindingCache, now: Instant, received: &Received<'_>) -> Verdict {
    let update = received.update;
    let home_address = HomeAddress(received.source);
    // RFC 4877 §4.1, RFC 6275 §5.1: only an update under ESP, and only the owner's, is acted on.
    let Authority::Owner { key_mobility } = received.authority else {
        return Verdict::Drop("binding update without the protection of its home address's owner");
    };
    if !config.addresses.iter().any(|own| own.0 == received.destination) {
        return Verdict::Drop("binding update to an address that is not a home agent's");
    }
    // RFC 6275 §9.5.1: the home address is unicast routable.
    if !is_unicast_routable(home_address.0) {
        return Verdict::Drop("binding update for a home address that is not unicast routable");
    }
    // RFC 6275 §9.5.4: no answer to a source that is not unicast.
    if received.care_of.is_some_and(|care_of| !is_unicast_routable(care_of.0)) {
        return Verdict::Drop("binding update from an address that is not unicast routable");
    }
    let home_registration = update.flags.contains(UpdateFlags::HOME_REGISTRATION);
    let nonces = update.options.iter().any(|option| matches!(option, MobilityOption::NonceIndices { .. }));
    // RFC 6275 §9.5.1: nonces are for correspondents.
    if home_registration && nonces {
        return Verdict::Drop("home registration with nonce indices");
    }
    // RFC 6275 §9.5.4: back to where it came from, with a routing header only if there was a Home Address option.
    let via = received.care_of.filter(|care_of| care_of.0 != home_address.0).map_or(Via::Direct, Via::CareOf);
    let refuse = |status, sequence, reason| Verdict::Refuse(Refusal { home_address, via, status, sequence, reason });
    let entry = cache.get(home_address);
    if let Some(entry) = entry
        && !sequence_is_newer(update.sequence, entry.sequence())
    {
        return match entry {
            // Not accepted yet, so there is no last accepted number to tell: this one is a copy or was overtaken, and
            // the newest will be answered.
            Entry::Probing { .. } | Entry::Moving { .. } => {
                Verdict::Drop("binding update that is no newer than the one being carried out")
            }
            // RFC 6275 §9.5.1: the answer carries the last accepted sequence number.
            Entry::Bound(_) | Entry::Deleted { .. } => {
                refuse(BindingStatus::SequenceOutOfWindow, entry.sequence(), "sequence number out of window")
            }
        };
    }
    if !home_registration {
        // RFC 6275 §9.5.1: a home registration does not become another one; without one, the update is for a
        // correspondent, which we are not, and has no right to be answered.
        return match entry.and_then(Entry::binding) {
            Some(_) => refuse(BindingStatus::RegistrationTypeChange, update.sequence, "H is not set any more"),
            None => Verdict::Drop("binding update without H"),
        };
    }
    let request = Request {
        home_address,
        via,
        sequence: update.sequence,
        // RFC 6275 §10.3.1: K only if it was asked for and the security associations can be moved.
        key_mobility: key_mobility && update.flags.contains(UpdateFlags::KEY_MOBILITY),
    };
    let alternate = update.alternate_care_of();
    let stated = alternate.or(received.care_of).map_or(home_address.0, |care_of| care_of.0);
    // RFC 6275 §9.5.1, §10.3.2: lifetime zero, or the home address as care-of address, asks for deletion.
    if update.lifetime.is_zero() || stated == home_address.0 {
        return match entry {
            Some(_) => Verdict::Carry(Update::Deregister(request)),
            None => refuse(BindingStatus::NotHomeAgent, update.sequence, "there is no binding to delete"),
        };
    }
    // RFC 6275 §10.3.1: a registration has a Home Address option.
    if received.care_of.is_none() {
        return Verdict::Drop("registration without a home address option");
    }
    let refuse = |status, reason| refuse(status, update.sequence, reason);
    // RFC 6275 §10.3.1: the home address is on the home link.
    if config.prefix_of(home_address, now).is_none() {
        return refuse(BindingStatus::NotHomeSubnet, "the home address is not in a home prefix");
    }
    if config.addresses.iter().any(|own| own.0 == home_address.0) {
        return refuse(BindingStatus::AdministrativelyProhibited, "the home address is the home agent's own");
    }
    // RFC 4877 §4.3: ESP does not cover the address in the IPv6 header, so the option is what counts, and it has to be
    // there.
    let Some(care_of) = alternate else {
        return refuse(BindingStatus::ReasonUnspecified, "no alternate care-of address option");
    };
    // RFC 6275 §6.1.7: such updates are dropped silently.
    if !is_unicast_routable(care_of.0) {
        return Verdict::Drop("registration of a care-of address that is not unicast routable");
    }
    // RFC 6275 §15.1: a care-of address that leads back to us makes packets go in circles.
    if config.prefixes.iter().any(|home| home.prefix.contains(care_of.0))
        || config.addresses.iter().any(|own| own.0 == care_of.0)
        || cache.get(HomeAddress(care_of.0)).is_some()
    {
        return refuse(BindingStatus::InvalidCareOfAddress, "the care-of address is on the home link");
    }
    Verdict::Carry(Update::Register(Registration {
        request,
        care_of,
        lifetime: update.lifetime,
        link_local: update.flags.contains(UpdateFlags::LINK_LOCAL),
    }))
}
