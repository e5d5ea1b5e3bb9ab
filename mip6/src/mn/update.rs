//! A binding update that waits for its acknowledgement.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::time::BackOff;
use crate::action::{Interface, Via};
use crate::address::CareOfAddress;
use crate::wire::Lifetime;

/// Transmissions whose acknowledgement is still good. At the slowest rate the oldest is more than four minutes old then.
const MAX_OUTSTANDING: usize = 8;

/// What is to be registered and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) lifetime: Duration,
    pub(super) initial_first_reg: Duration,
    pub(super) initial: Duration,
    pub(super) max: Duration,
    pub(super) key_mobility: bool,
}

/// What the home agent is to know.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// We are on no link.
    Nothing,
    /// We are there.
    Register(CareOfAddress),
    /// We need it no longer. `announce`: on this home link, where neighbours are to learn it.
    Deregister { via: Via, announce: Option<Interface> },
}

/// An update and all its transmissions.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) back_off: BackOff,
    attempts: u32,
    corrections: u32,
    tries: Tries,
    first: Option<Instant>,
    outstanding: VecDeque<Transmission>,
}

#[derive(Clone, Copy, Debug)]
enum Tries {
    Unlimited,
    Limited(u32),
}

/// RFC 6275 §11.1: what is remembered of an update that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transmission {
    sequence: u16,
    pub(super) sent: Instant,
    pub(super) lifetime: Lifetime,
}

impl Update {
    pub(super) fn new(back_off: BackOff) -> Self {
        Self {
            back_off,
            attempts: 0,
            corrections: 0,
            tries: Tries::Unlimited,
            first: None,
            outstanding: VecDeque::new(),
        }
    }

    /// Gives up after so many transmissions.
    pub(super) fn with_tries(self, tries: u32) -> Self {
        Self { tries: Tries::Limited(tries), ..self }
    }

    pub(super) fn is_hurried(&self) -> bool {
        matches!(self.tries, Tries::Limited(_))
    }

    pub(super) fn is_exhausted(&self) -> bool {
        match self.tries {
            Tries::Unlimited => false,
            Tries::Limited(tries) => self.attempts >= tries,
        }
    }

    /// Counts a transmission.
    pub(super) fn sent(&mut self, now: Instant, sequence: u16, lifetime: Lifetime) -> u32 {
        self.attempts = self.attempts.saturating_add(1);
        self.first.get_or_insert(now);
        self.back_off.sent(now);
        self.outstanding.push_back(Transmission { sequence, sent: now, lifetime });
        while self.outstanding.len() > MAX_OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.attempts
    }

    pub(super) fn has_sent(&self) -> bool {
        self.attempts > 0
    }

    /// Counts an answer of status 135.
    pub(super) fn corrected(&mut self) -> u32 {
        self.corrections = self.corrections.saturating_add(1);
        self.corrections
    }

    /// The transmission of that sequence number.
    pub(super) fn find(&self, sequence: u16) -> Option<Transmission> {
        self.outstanding.iter().rev().find(|transmission| transmission.sequence == sequence).copied()
    }

    /// Since the first transmission.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        self.first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first))
    }
}
