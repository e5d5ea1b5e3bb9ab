//! What the kernel refused: done later, from what really stands, so that daemon and kernel do not disagree for long.

use std::time::{Duration, Instant};

use tracing::warn;

use super::shell::Shell;
use crate::kernel::op::Op;

/// The pause before the next try, first and at the longest: a kernel that has no memory has some again soon, or not for long.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// When something is to be tried again, and what was to be removed and is still there.
#[derive(Debug)]
pub(super) struct Repair {
    debts: Vec<Op>,
    at: Option<Instant>,
    pause: Duration,
}

impl Repair {
    pub(super) fn new() -> Self {
        Self { debts: Vec::new(), at: None, pause: PAUSE.0 }
    }

    /// When it is time.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at
    }

    /// Something failed.
    pub(super) fn soon(&mut self, now: Instant) {
        if self.at.is_none() {
            self.at = Some(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
    }

    /// Begins a try: what fails in it asks for the next one.
    pub(super) fn begin(&mut self) {
        self.at = None;
    }

    /// Ends a try.
    pub(super) fn end(&mut self) {
        if self.at.is_none() {
            self.pause = PAUSE.0;
        }
    }

    /// Removes things of ours, now or later.
    pub(super) fn remove(&mut self, now: Instant, ops: Vec<Op>, shell: &mut dyn Shell) {
        if ops.is_empty() {
            return;
        }
        if let Err(failure) = shell.apply(&ops) {
            warn!(event = "kernel_refused", %failure);
            self.owe(now, ops);
        }
    }

    /// Removes these things later.
    pub(super) fn owe(&mut self, now: Instant, ops: impl IntoIterator<Item = Op>) {
        self.debts.extend(ops);
        self.soon(now);
    }

    /// Removes what is owed, each by itself. What is gone already is removed.
    pub(super) fn pay(&mut self, now: Instant, shell: &mut dyn Shell) {
        self.debts.retain(|op| {
            let result = shell.apply(std::slice::from_ref(op));
            result.is_err_and(|failure| !matches!(failure.errno, Some(libc::ESRCH | libc::ENOENT)))
        });
        if !self.debts.is_empty() {
            self.soon(now);
        }
    }

    /// This is not to be removed any more. Says whether it was.
    pub(super) fn forgive(&mut self, op: &Op) -> bool {
        let before = self.debts.len();
        self.debts.retain(|debt| debt != op);
        self.debts.len() < before
    }
}
