//! What the owner of a mobile node decides, and what the node knows of its binding.

use std::time::{Duration, Instant};

use crate::address::{CareOfAddress, HomeAddress, HomeAgentAddress, Prefix};

/// How a mobile node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The prefix of the home link; where it is on-link we are at home (RFC 6275 §11.5.2).
    pub home_prefix: Prefix,
    /// How long a binding is asked for. The wire counts in 4 s, at most 262 140 s.
    pub lifetime: Duration,
    /// InitialBindackTimeoutFirstReg: the first wait for the acknowledgement of a first registration (RFC 6275 §13).
    pub initial_first_reg: Duration,
    /// INITIAL_BINDACK_TIMEOUT: the same for all later updates (RFC 6275 §12).
    pub initial: Duration,
    /// MAX_BINDACK_TIMEOUT: the waits double up to this (RFC 6275 §12).
    pub max: Duration,
    /// K: the IKE end points can be moved, so the home agent may move its own (RFC 6275 §11.7.1).
    pub key_mobility: bool,
    /// Among links of equal preference the one that came up last is used; if `false`, the one in use is kept.
    pub newest_link: bool,
    /// How long an old care-of address is received on after a move from a link that still works. Zero: no soft handover.
    pub linger: Duration,
    /// The wait between the first two Router Solicitations on a link; it doubles.
    pub solicit_initial: Duration,
    /// The longest wait between two Router Solicitations.
    pub solicit_max: Duration,
    /// The home agent may hold a binding from before this engine was made: it is deleted if we find ourselves at home.
    pub binding_may_exist: bool,
}

impl Config {
    /// With the RFC's times, a lifetime of 420 s, K, the newest link, and 2 s to linger.
    pub fn new(home_prefix: Prefix) -> Self {
        Self {
            home_prefix,
            lifetime: Duration::from_secs(420),
            initial_first_reg: Duration::from_millis(1500),
            initial: Duration::from_secs(1),
            max: Duration::from_secs(32),
            key_mobility: true,
            newest_link: true,
            linger: Duration::from_secs(2),
            solicit_initial: Duration::from_millis(100),
            solicit_max: Duration::from_secs(32),
            binding_may_exist: false,
        }
    }
}

/// A binding that the home agent acknowledged (RFC 6275 §11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whose.
    pub home_address: HomeAddress,
    /// By whom.
    pub home_agent: HomeAgentAddress,
    /// Which care-of address. After a move it is the old one until the home agent has acknowledged the new one.
    pub care_of: CareOfAddress,
    /// When it ends unless it is refreshed.
    pub expires: Instant,
    /// K in the acknowledgement: the home agent moves the IKE end points itself.
    pub key_mobility: bool,
}
