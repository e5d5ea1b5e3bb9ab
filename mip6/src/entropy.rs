//! Randomness for one engine, expanded from the seed it was handed: an engine never fetches its own.

use std::fmt;
use std::time::Duration;

use ring::hmac;

/// A stream of octets nobody can guess who does not know the seed: HMAC-SHA256 over a counter.
pub struct Entropy {
    key: hmac::Key,
    counter: u64,
}

impl Entropy {
    /// From 32 octets of true randomness (or, in a test, of any).
    pub fn new(seed: [u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &seed), counter: 0 }
    }

    /// The next `N` octets.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        for chunk in octets.chunks_mut(32) {
            self.counter = self.counter.wrapping_add(1);
            let block = hmac::sign(&self.key, &self.counter.to_be_bytes());
            for (octet, random) in chunk.iter_mut().zip(block.as_ref()) {
                *octet = *random;
            }
        }
        octets
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-40 for every bound used here (milliseconds, list lengths).
        u64::from_be_bytes(self.octets()).checked_rem(bound).unwrap_or(0)
    }

    /// A time in `low..=high`, in whole milliseconds; `low` if the range is empty.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let range = u64::try_from(high.saturating_sub(low).as_millis()).unwrap_or(u64::MAX);
        low.saturating_add(Duration::from_millis(self.below(range.saturating_add(1))))
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let (mut one, mut same, mut other) = (Entropy::new([1; 32]), Entropy::new([1; 32]), Entropy::new([2; 32]));
        let first: [u8; 40] = one.octets();
        assert_eq!(first, same.octets::<40>());
        assert_ne!(first, other.octets::<40>());
        assert_ne!(first, one.octets::<40>(), "the stream goes on");
    }

    #[test]
    fn times_stay_in_their_range() {
        let mut entropy = Entropy::new([3; 32]);
        let (low, high) = (Duration::from_millis(10), Duration::from_millis(13));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let time = entropy.between(low, high);
            assert!((low..=high).contains(&time), "{time:?}");
            seen.insert(time);
        }
        assert_eq!(seen.len(), 4, "both ends and all between are reached");
        assert_eq!(entropy.between(high, low), high);
        assert_eq!(entropy.below(0), 0);
    }
}
