//! Binding Errors about messages of unknown types, which anybody may cause (RFC 6275 §9.2, §9.3.3).

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use crate::address::HomeAddress;
use crate::limit::Limit;
use crate::wire::{BindingError, BindingErrorStatus, MobilityMessage, is_unicast_routable};

/// What may still be sent.
#[derive(Debug)]
pub(crate) struct BindingErrors(Limit);

impl BindingErrors {
    pub(crate) fn new() -> Self {
        // RFC 6275 §9.3.3: limited as ICMPv6 errors are.
        Self(Limit::new(Duration::from_millis(100), 10))
    }

    /// The answer to a message of an unknown type from `source`, the address in the IPv6 header, if there is to be one.
    /// `home_address`: what the Home Address option said.
    pub(crate) fn unknown_type(
        &mut self,
        now: Instant,
        source: Ipv6Addr,
        home_address: Option<HomeAddress>,
    ) -> Option<Vec<u8>> {
        // RFC 6275 §9.3.3: not to an address that is no unicast one.
        let is_unicast = is_unicast_routable(source) || source.is_unicast_link_local();
        if !is_unicast || !self.0.allows(now) {
            return None;
        }
        let error = BindingError {
            status: BindingErrorStatus::UnrecognizedType,
            // RFC 6275 §9.3.3: unspecified without an option.
            home_address: home_address.unwrap_or(HomeAddress(Ipv6Addr::UNSPECIFIED)),
            options: Vec::new(),
        };
        Some(MobilityMessage::BindingError(error).write())
    }
}
