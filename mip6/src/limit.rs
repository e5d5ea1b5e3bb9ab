//! A bound on what strangers can make us send.

use std::time::{Duration, Instant};

/// A token bucket, as RFC 4443 §2.4 (f) recommends it.
#[derive(Debug)]
pub(crate) struct Limit {
    interval: Duration,
    burst: u32,
    tokens: u32,
    filled: Option<Instant>,
}

impl Limit {
    /// `burst` at once, then one each `interval`, which is not zero.
    pub(crate) fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, tokens: burst, filled: None }
    }

    /// Whether one more may be sent; if so, it counts as sent.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let filled = *self.filled.get_or_insert(now);
        let whole = now.saturating_duration_since(filled).as_nanos() / self.interval.as_nanos().max(1);
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        if whole >= self.burst - self.tokens {
            self.tokens = self.burst;
            self.filled = Some(now);
        } else {
            self.tokens += whole;
            self.filled = Some(filled + self.interval * whole);
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test starts its clock anywhere")]
    fn a_burst_passes_and_then_one_for_each_interval() {
        let start = Instant::now();
        let mut limit = Limit::new(Duration::from_millis(100), 3);
        let mut allowed = |milliseconds| limit.allows(start + Duration::from_millis(milliseconds));
        assert_eq!([0, 0, 0, 0, 50].map(&mut allowed), [true, true, true, false, false]);
        assert_eq!([100, 150, 200, 250].map(&mut allowed), [true, false, true, false]);
        assert_eq!([10_000; 4].map(&mut allowed), [true, true, true, false]);
    }
}
