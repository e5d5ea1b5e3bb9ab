//! How loudly refusals are told: strangers cause them, and as many as they like.

use std::time::{Duration, Instant};

/// So many are told aloud within [`SPAN`]: enough for every mistake of a configuration, too few to fill a disk.
const MOST: u32 = 50;
const SPAN: Duration = Duration::from_secs(10);

/// Counts refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    since: Option<Instant>,
    told: u32,
    withheld: u64,
}

impl Refusals {
    /// Whether one more is an operator's matter; if not, it is counted.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= SPAN) {
            self.since = Some(now);
            self.told = 0;
        }
        let allowed = self.told < MOST;
        if allowed {
            self.told += 1;
        } else {
            self.withheld = self.withheld.saturating_add(1);
        }
        allowed
    }

    /// How many were only counted since this was asked last; none if all were told.
    pub(super) fn withheld(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.withheld)).filter(|withheld| *withheld > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_the_first_refusals_are_told_and_then_how_many_there_were() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let told = (0..1000).filter(|_| refusals.allows(start)).count();
        assert_eq!(told, 50);
        let later = start + SPAN;
        assert!(!refusals.allows(later - Duration::from_millis(1)));
        assert!(refusals.allows(later));
        assert_eq!(refusals.withheld(), Some(951));
        assert_eq!(refusals.withheld(), None);
    }
}
