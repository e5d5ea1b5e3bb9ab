//! When which IKE SA has to be looked at again: one entry per IKE SA, the earliest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::action::IkeSaId;

/// The alarm clock of all IKE SAs. Setting, clearing and finding the next one cost O(log n).
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, IkeSaId)>,
    set: BTreeMap<IkeSaId, Instant>,
}

impl Timers {
    /// Sets, moves or (with none) clears the alarm of one IKE SA.
    pub(crate) fn set(&mut self, ike_sa: IkeSaId, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.set.insert(ike_sa, at),
            None => self.set.remove(&ike_sa),
        };
        if let Some(before) = before {
            self.queue.remove(&(before, ike_sa));
        }
        if let Some(at) = at {
            self.queue.insert((at, ike_sa));
        }
    }

    /// The earliest alarm.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one alarm that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<IkeSaId> {
        let (at, ike_sa) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.set.remove(&ike_sa);
        Some(ike_sa)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moved_alarm_rings_once_and_at_its_new_time() {
        let start = crate::test_clock();
        let mut timers = Timers::default();
        timers.set(IkeSaId(1), Some(start + Duration::from_secs(1)));
        timers.set(IkeSaId(1), Some(start + Duration::from_secs(3)));
        timers.set(IkeSaId(2), Some(start + Duration::from_secs(2)));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(2)));
        assert_eq!(timers.due(start + Duration::from_secs(1)), None);
        assert_eq!(timers.due(start + Duration::from_secs(9)), Some(IkeSaId(2)));
        assert_eq!(timers.due(start + Duration::from_secs(9)), Some(IkeSaId(1)));
        assert_eq!(timers.due(start + Duration::from_secs(9)), None);
    }
}
