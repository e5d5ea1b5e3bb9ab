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

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[expect(clippy::disallowed_methods, reason = "a test starts its clock anywhere")]
    fn start() -> Instant {
        Instant::now()
    }

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_tokens_are_those_of_the_formula() {
        // The inputs and results of the authenticator's vectors (RFC 6275 §5.2.5).
        let now = start();
        let nonce = |index, first: u8| Nonce {
            index: NonceIndex(index),
            value: Zeroizing::new(std::array::from_fn(|i| first + u8::try_from(i).unwrap())),
            first_use: now,
        };
        let nonces = Nonces {
            kcn: Zeroizing::new(std::array::from_fn(|i| u8::try_from(i).unwrap())),
            next: NonceIndex(9),
            nonces: [nonce(7, 0x10), nonce(8, 0x20)].into(),
        };
        let home = nonces.home_token(now, address("2001:db8:1::100"), NonceIndex(7)).unwrap();
        assert_eq!(home.octets(), &[0xeb, 0xac, 0x63, 0x1a, 0xe2, 0xff, 0x65, 0x74]);
        let care_of = nonces.care_of_token(now, address("2001:db8:f::1"), NonceIndex(8)).unwrap();
        assert_eq!(care_of.octets(), &[0x0a, 0xf9, 0x1c, 0xf5, 0x0a, 0x52, 0xc6, 0x88]);
    }

    #[test]
    fn a_token_is_good_for_its_lifetime_and_its_nonce_not_for_longer_than_its_own() {
        let (now, home) = (start(), address("2001:db8:1::100"));
        let mut entropy = Entropy::new([5; 32]);
        let mut nonces = Nonces::new(&mut entropy);
        let index = nonces.current(now, &mut entropy);
        // Handed out at the last moment before the nonce is replaced.
        assert_eq!(nonces.current(after(now, 29), &mut entropy), index);
        let token = nonces.home_token(after(now, 29), home, index);
        assert!(token.is_some());
        assert_eq!(nonces.home_token(after(now, 29 + 210), home, index), token);
        assert!(nonces.home_token(after(now, 240), home, index).is_some());
        assert!(nonces.home_token(after(now, 241), home, index).is_none());
        assert!(nonces.home_token(now, home, NonceIndex(index.0.wrapping_add(1))).is_none());
    }

    #[test]
    fn a_flood_of_tests_does_not_turn_the_nonces_over() {
        let now = start();
        let mut entropy = Entropy::new([6; 32]);
        let mut nonces = Nonces::new(&mut entropy);
        for step in 0..100_000 {
            nonces.current(now + Duration::from_millis(step * 10), &mut entropy);
        }
        assert!(nonces.nonces.len() <= 9, "{}", nonces.nonces.len());
        assert_eq!(nonces.next, NonceIndex(34), "one in thirty seconds, for a thousand");
    }

    #[test]
    fn a_new_nonce_has_a_new_index_and_makes_another_token() {
        let (now, care_of) = (start(), address("2001:db8:f::1"));
        let mut entropy = Entropy::new([7; 32]);
        let mut nonces = Nonces::new(&mut entropy);
        let one = nonces.current(now, &mut entropy);
        let later = after(now, 31);
        let two = nonces.current(later, &mut entropy);
        assert_ne!(one, two);
        assert_ne!(nonces.care_of_token(later, care_of, one), nonces.care_of_token(later, care_of, two));
        assert_ne!(
            nonces.care_of_token(later, care_of, one).unwrap().octets(),
            nonces.home_token(later, care_of, one).unwrap().octets()
        );
    }
}
