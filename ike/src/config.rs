//! What the owner decides for all IKE SAs of an engine.

use std::time::Duration;

use crate::action::Lifetime;
use crate::crypto::{Prf, Protection, RING};
use crate::wire::{EncryptionId, Group, IntegrityId, PrfId};

/// An algorithm suite for IKE SAs. All of them use PRF_HMAC_SHA2_256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IkeSuite {
    /// AES-GCM with a 16-octet ICV and a 256-bit key (RFC 5282).
    AesGcm16_256,
    /// AES-CBC with a 256-bit key and HMAC-SHA2-256-128.
    AesCbc256HmacSha256,
}

impl IkeSuite {
    /// Encryption algorithm, its key length in bits, and integrity algorithm.
    pub(crate) fn ids(self) -> (EncryptionId, u16, IntegrityId) {
        match self {
            IkeSuite::AesGcm16_256 => (EncryptionId::AesGcm16, 256, IntegrityId::None),
            IkeSuite::AesCbc256HmacSha256 => (EncryptionId::AesCbc, 256, IntegrityId::HmacSha256_128),
        }
    }

    pub(crate) fn prf_id(self) -> PrfId {
        PrfId::HmacSha256
    }

    pub(crate) fn prf(self) -> Option<&'static dyn Prf> {
        RING.prf(self.prf_id())
    }

    pub(crate) fn protection(self) -> Option<&'static dyn Protection> {
        let (encryption, key_bits, integrity) = self.ids();
        RING.protection(encryption, key_bits, integrity)
    }
}

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pause after a request before it is sent again for the first time.
    pub retransmit_first: Duration,
    /// By what each following pause is longer (RFC 7296 §2.4: they grow exponentially).
    pub retransmit_factor: u32,
    /// How often a request is sent, the first time included, before the peer counts as gone.
    pub retransmit_tries: u32,
    /// How many half-open IKE SAs of strangers there may be at once. Beyond it IKE_SA_INIT requests are dropped.
    pub half_open_limit: usize,
    /// How many of them one network (an IPv6 /64, an IPv4 address) may have, so that no single host takes them all. More than
    /// [`Config::cookie_threshold`]: what is above that cannot be had in the name of others.
    pub half_open_per_network: usize,
    /// From how many half-open IKE SAs on a stranger has to return a cookie first (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// How long an IKE SA may stay half-open, and how long a question to the owner may stay unanswered.
    pub half_open_timeout: Duration,
    /// How many IKE SAs a peer may build with us under one identity; with one more the oldest goes.
    pub ike_sas_per_peer: usize,
    /// How many CHILD_SAs one IKE SA may have.
    pub children_limit: usize,
    /// After which silence the peer is asked whether it lives; none: never.
    pub liveness: Option<Duration>,
    /// When an IKE SA is rekeyed and when it ends. The engine adds the jitter.
    pub ike_lifetime: Lifetime,
    /// Whether [`crate::Action::KeyLog`] is emitted for each IKE SA and each rekeying.
    pub key_log: bool,
    /// Acceptable suites for IKE SAs, by preference.
    pub ike_suites: Vec<IkeSuite>,
    /// Acceptable key exchange methods, by preference. Those that this library cannot calculate are left out.
    pub groups: Vec<Group>,
    /// Whether NATs are looked for (RFC 7296 §2.23).
    pub nat_detection: bool,
    /// SHA-1 of the SubjectPublicKeyInfo of each authority that a responder trusts, for the CERTREQ of its IKE_SA_INIT
    /// response (RFC 7296 §3.7). Some initiators send no certificate without one.
    pub authorities: Vec<[u8; 20]>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            retransmit_first: Duration::from_millis(500),
            retransmit_factor: 2,
            retransmit_tries: 7,
            half_open_limit: 4096,
            half_open_per_network: 256,
            cookie_threshold: 64,
            half_open_timeout: Duration::from_secs(30),
            ike_sas_per_peer: 8,
            children_limit: 64,
            liveness: Some(Duration::from_secs(30)),
            ike_lifetime: Lifetime { rekey: Duration::from_secs(4 * 3600), hard: Duration::from_secs(5 * 3600) },
            key_log: false,
            ike_suites: vec![IkeSuite::AesGcm16_256, IkeSuite::AesCbc256HmacSha256],
            groups: vec![Group::X25519, Group::P256, Group::P384],
            nat_detection: true,
            authorities: Vec::new(),
        }
    }
}
