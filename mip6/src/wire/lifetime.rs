//! Lifetimes of bindings.

use std::time::Duration;

/// How long a binding is to last: 16 bits in units of four seconds (RFC 6275 §6.1.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(pub u16);

impl Lifetime {
    /// "Delete the binding."
    pub const ZERO: Self = Self(0);
    /// About three days: the longest the field can say.
    pub const MAX: Self = Self(u16::MAX);

    /// The longest lifetime that is not above `duration`.
    pub fn at_most(duration: Duration) -> Self {
        Self(u16::try_from(duration.as_secs() / 4).unwrap_or(u16::MAX))
    }

    /// As a time.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * 4)
    }

    /// Whether it asks for, or confirms, a deletion.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_counted_in_units_of_four_seconds_and_rounded_down() {
        assert_eq!(Lifetime::at_most(Duration::from_secs(423)), Lifetime(105));
        assert_eq!(Lifetime(105).duration(), Duration::from_secs(420));
        assert_eq!(Lifetime::at_most(Duration::from_millis(3999)), Lifetime::ZERO);
        assert_eq!(Lifetime::at_most(Duration::from_secs(u64::MAX)), Lifetime::MAX);
    }
}
