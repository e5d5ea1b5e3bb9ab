//! A correspondent's secret and nonces (RFC 6275 §5.2.1, §5.2.2, §5.2.7).

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use ring::hmac;
use zeroize::Zeroizing;

use super::{CareOfKeygenToken, HomeKeygenToken, NonceIndex};
use crate::entropy::Entropy;

/// A token is good for this long after it was handed out (RFC 6275 §12).
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(210);
/// A nonce is forgotten this long after its first use (RFC 6275 §12).
pub const MAX_NONCE_LIFETIME: Duration = Duration::from_secs(240);

/// How long a nonce is handed out: a token made at the end of it still lives for [`MAX_TOKEN_LIFETIME`].
const FRESH: Duration = Duration::from_secs(30);

/// Kcn and the nonces that are still good. Nothing is kept for a single mobile node.
pub struct Nonces {
    kcn: Zeroizing<[u8; 20]>,
    next: NonceIndex,
    /// Oldest first. Bounded: one is made at most every [`FRESH`] and goes after [`MAX_NONCE_LIFETIME`].
    nonces: VecDeque<Nonce>,
}

struct Nonce {
    index: NonceIndex,
    value: Zeroizing<[u8; 8]>,
    first_use: Instant,
}

impl Nonces {
    /// A fresh Kcn of 20 octets, no nonces.
    pub fn new(entropy: &mut Entropy) -> Self {
        Self { kcn: Zeroizing::new(entropy.octets()), next: NonceIndex(0), nonces: VecDeque::new() }
    }

    /// The index of the nonce tokens are made of now; a new one is made when the last is no longer fresh.
    pub fn current(&mut self, now: Instant, entropy: &mut Entropy) -> NonceIndex {
        self.forget(now);
        // RFC 6275 §5.2.7: a nonce serves many tests, so that a flood of them does not turn the nonces over.
        if let Some(nonce) = self.nonces.back()
            && now.saturating_duration_since(nonce.first_use) < FRESH
        {
            return nonce.index;
        }
        let index = self.next;
        self.nonces.push_back(Nonce { index, value: Zeroizing::new(entropy.octets()), first_use: now });
        // RFC 6275 §5.2.2: a new nonce has a new index.
        self.next = NonceIndex(index.0.wrapping_add(1));
        index
    }

    /// First 64 bits of HMAC-SHA1(Kcn, home address | nonce | 0); `None` if the nonce is gone or never was.
    pub fn home_token(&self, now: Instant, home_address: Ipv6Addr, index: NonceIndex) -> Option<HomeKeygenToken> {
        self.nonce(now, index).map(|nonce| HomeKeygenToken::new(keygen(&self.kcn, home_address, nonce, 0)))
    }

    /// First 64 bits of HMAC-SHA1(Kcn, care-of address | nonce | 1); `None` if the nonce is gone or never was.
    pub fn care_of_token(&self, now: Instant, care_of: Ipv6Addr, index: NonceIndex) -> Option<CareOfKeygenToken> {
        self.nonce(now, index).map(|nonce| CareOfKeygenToken::new(keygen(&self.kcn, care_of, nonce, 1)))
    }

    fn nonce(&self, now: Instant, index: NonceIndex) -> Option<&[u8; 8]> {
        // RFC 6275 §5.2.7: never accepted later than MAX_NONCE_LIFETIME after its first use.
        self.nonces
            .iter()
            .find(|nonce| nonce.index == index && now.saturating_duration_since(nonce.first_use) <= MAX_NONCE_LIFETIME)
            .map(|nonce| &*nonce.value)
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.nonces.front()
            && now.saturating_duration_since(oldest.first_use) > MAX_NONCE_LIFETIME
        {
            self.nonces.pop_front();
        }
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

/// RFC 6275 §5.2.5.
fn keygen(kcn: &[u8; 20], address: Ipv6Addr, nonce: &[u8; 8], which: u8) -> [u8; 8] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, kcn));
    context.update(&address.octets());
    context.update(nonce);
    context.update(&[which]);
    let mut token = [0; 8];
    for (octet, signed) in token.iter_mut().zip(context.sign().as_ref()) {
        *octet = *signed;
    }
    token
}
