//! What keeps strangers cheap: cookies (RFC 7296 §2.6) and a limit for answers to nobody in particular (RFC 7296 §2.21.4).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::crypto::{Randomness, Secret, cookie, verify_cookie};

/// How long one secret makes cookies; the one before it is accepted just as long.
const SECRET_AGE: Duration = Duration::from_secs(60);

/// Unprotected answers (INVALID_IKE_SPI, INVALID_MAJOR_VERSION …) per second, and in one burst.
const ANSWERS_PER_SECOND: u32 = 10;
const ANSWERS_AT_ONCE: u32 = 20;

/// Cookies without memory, and a bucket of tokens.
#[derive(Debug)]
pub(crate) struct Guard {
    secrets: Option<Secrets>,
    tokens: u32,
    refilled: Option<Instant>,
}

#[derive(Debug)]
struct Secrets {
    version: u8,
    current: Secret,
    previous: Secret,
    since: Instant,
}

impl Guard {
    pub(crate) fn new() -> Self {
        Guard { secrets: None, tokens: ANSWERS_AT_ONCE, refilled: None }
    }

    /// The cookie that an initiator has to return.
    pub(crate) fn cookie(
        &mut self,
        now: Instant,
        random: &mut dyn Randomness,
        nonce: &[u8],
        address: IpAddr,
        initiator_spi: u64,
    ) -> Vec<u8> {
        let secrets = self.secrets(now, random);
        cookie(&secrets.current, secrets.version, nonce, address, initiator_spi)
    }

    /// Whether a returned cookie is ours. RFC 7296 §2.6: the previous secret counts for a while.
    pub(crate) fn accepts(
        &mut self,
        now: Instant,
        random: &mut dyn Randomness,
        nonce: &[u8],
        address: IpAddr,
        initiator_spi: u64,
        presented: &[u8],
    ) -> bool {
        let secrets = self.secrets(now, random);
        let (secret, version) = match presented.first() {
            Some(version) if *version == secrets.version => (&secrets.current, *version),
            Some(version) if *version == secrets.version.wrapping_sub(1) => (&secrets.previous, *version),
            _ => return false,
        };
        verify_cookie(secret, version, nonce, address, initiator_spi, presented)
    }

    /// Whether one more unprotected answer may be sent now.
    pub(crate) fn may_answer(&mut self, now: Instant) -> bool {
        let refilled = *self.refilled.get_or_insert(now);
        let seconds = u32::try_from(now.saturating_duration_since(refilled).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.tokens = self.tokens.saturating_add(seconds.saturating_mul(ANSWERS_PER_SECOND)).min(ANSWERS_AT_ONCE);
            self.refilled = Some(now);
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn secrets(&mut self, now: Instant, random: &mut dyn Randomness) -> &Secrets {
        let fresh = match self.secrets.take() {
            None => Secrets { version: 0, current: secret(random), previous: secret(random), since: now },
            Some(secrets) if now.saturating_duration_since(secrets.since) >= SECRET_AGE => Secrets {
                version: secrets.version.wrapping_add(1),
                current: secret(random),
                // After a long pause the last secret is too old to be trusted as well.
                previous: match now.saturating_duration_since(secrets.since) >= SECRET_AGE * 2 {
                    true => secret(random),
                    false => secrets.current,
                },
                since: now,
            },
            Some(secrets) => secrets,
        };
        self.secrets.insert(fresh)
    }
}

fn secret(random: &mut dyn Randomness) -> Secret {
    let mut octets = vec![0; 32];
    random.fill(&mut octets);
    Secret::new(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);

    impl Randomness for Counting {
        fn fill(&mut self, octets: &mut [u8]) {
            for octet in octets {
                self.0 = self.0.wrapping_add(37);
                *octet = self.0;
            }
        }
    }

    #[test]
    fn a_cookie_outlives_one_change_of_the_secret_but_not_two() {
        let (mut guard, mut random, start) = (Guard::new(), Counting(0), crate::test_clock());
        let peer: IpAddr = "2001:db8::1".parse().unwrap();
        let cookie = guard.cookie(start, &mut random, &[7; 32], peer, 9);
        let mut accepts =
            |after: u64| guard.accepts(start + Duration::from_secs(after), &mut random, &[7; 32], peer, 9, &cookie);
        assert!(accepts(59));
        assert!(accepts(61));
        assert!(!accepts(122));
    }

    #[test]
    fn answers_to_strangers_run_dry_and_come_back() {
        let (mut guard, start) = (Guard::new(), crate::test_clock());
        assert_eq!((0..100).filter(|_| guard.may_answer(start)).count(), 20);
        assert_eq!((0..100).filter(|_| guard.may_answer(start + Duration::from_secs(1))).count(), 10);
    }
}
