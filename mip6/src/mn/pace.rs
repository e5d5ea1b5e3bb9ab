//! How often binding updates may go out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::time::later;

/// RFC 6275 §12: MAX_UPDATE_RATE, so many in a second.
const MAX_UPDATE_RATE: usize = 3;

/// When the last updates went out.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<Instant>);

impl Pace {
    /// When the next one may go out, if not now.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        let oldest = self.0.front().filter(|_| self.0.len() >= MAX_UPDATE_RATE)?;
        Some(later(*oldest, Duration::from_secs(1))).filter(|free| *free > now)
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.0.push_back(now);
        while self.0.len() > MAX_UPDATE_RATE {
            self.0.pop_front();
        }
    }
}
