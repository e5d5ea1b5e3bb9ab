//! Points in time: ends that may never come, and back-off.

use std::time::{Duration, Instant};

/// Later than any timer of a protocol, yet far from the end of the clock.
const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `now` and a while, without overflow.
pub(super) fn later(now: Instant, while_: Duration) -> Instant {
    now.checked_add(while_.min(AGES)).unwrap_or(now)
}

/// Until when something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Until {
    /// Up to this moment, not at it.
    At(Instant),
    /// Without end.
    Forever,
}

impl Until {
    /// RFC 4861 §4.6.2: a lifetime of all ones is infinity.
    pub(super) fn after(now: Instant, seconds: u32) -> Self {
        match seconds {
            u32::MAX => Self::Forever,
            seconds => Self::At(later(now, Duration::from_secs(seconds.into()))),
        }
    }

    pub(super) fn is_past(self, now: Instant) -> bool {
        self <= Self::At(now)
    }

    /// How long it still holds.
    pub(super) fn remaining(self, now: Instant) -> Duration {
        match self {
            Self::At(end) => end.saturating_duration_since(now),
            Self::Forever => Duration::MAX,
        }
    }

    pub(super) fn instant(self) -> Option<Instant> {
        match self {
            Self::At(end) => Some(end),
            Self::Forever => None,
        }
    }
}

/// When a message is to go out, and again if nothing comes back: at once, then after intervals that double up to a bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackOff {
    due: Instant,
    interval: Duration,
    max: Duration,
}

impl BackOff {
    /// The first transmission is due at `due`, the second `initial` after it.
    pub(super) fn new(due: Instant, initial: Duration, max: Duration) -> Self {
        // An interval of nothing would never let go of the processor.
        let least = Duration::from_millis(1);
        Self { due, interval: initial.max(least), max: max.max(least) }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// RFC 6275 §11.8: the interval doubles with each transmission up to its bound.
    pub(super) fn sent(&mut self, now: Instant) {
        self.due = later(now, self.interval.min(self.max));
        self.interval = self.interval.saturating_mul(2).min(self.max);
    }

    /// The next transmission waits until then, or need not wait longer.
    pub(super) fn reschedule(&mut self, due: Instant) {
        self.due = due;
    }
}
