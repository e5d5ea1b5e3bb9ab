//! At most two guests at a time over the whole machine, however many test processes there are.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::guest::LabError;

/// Guests take a CPU each; the smallest machine that the tests are meant for has two.
const SLOTS: usize = 2;

/// The right to run a guest, given back when it is dropped or when the process ends.
pub(crate) struct Slot {
    _lock: Flock<File>,
}

impl Slot {
    /// Waits for a free slot.
    pub(crate) fn take() -> Result<Self, LabError> {
        loop {
            for number in 0..SLOTS {
                // The kernel lets go of the lock when the holder ends, however it ends.
                if let Ok(lock) = Flock::lock(open(number)?, FlockArg::LockExclusiveNonblock) {
                    return Ok(Self { _lock: lock });
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn open(number: usize) -> Result<File, LabError> {
    let path = std::env::temp_dir().join(format!("homeward-guest-slot-{number}"));
    // Reading is enough for a lock; creating what another user owns is refused in a sticky folder.
    File::open(&path)
        .or_else(|_| OpenOptions::new().create(true).truncate(false).write(true).mode(0o644).open(&path))
        .map_err(|source| LabError::file(&path, source))
}
