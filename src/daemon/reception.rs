//! What listening may fail with, and for how long.

use std::io;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

/// A socket that cannot tell us something just now (the kernel has no memory, an interface is gone) can a moment later.
const PAUSE: Duration = Duration::from_millis(10);
/// So many failures in a row, without anything received, are about ten seconds: then it is the socket that is broken.
const MOST: u32 = 1000;

/// What is listened on, and how often in a row that has failed. A home agent that ends takes all its mobile nodes off the
/// network, so only what lasts is a reason to end.
#[derive(Debug)]
pub(super) struct Reception {
    from: &'static str,
    failures: u32,
}

impl Reception {
    pub(super) fn new(from: &'static str) -> Self {
        Self { from, failures: 0 }
    }

    /// What was received; none after a failure and a pause.
    ///
    /// # Errors
    /// The failure, if it was not the first one for long.
    pub(super) async fn take<T>(&mut self, received: io::Result<T>) -> io::Result<Option<T>> {
        match received {
            Ok(received) => {
                self.failures = 0;
                Ok(Some(received))
            }
            Err(error) => {
                self.failed(error)?;
                sleep(PAUSE).await;
                Ok(None)
            }
        }
    }

    fn failed(&mut self, error: io::Error) -> io::Result<()> {
        self.failures += 1;
        match self.failures {
            1 => warn!(event = "not_received", from = self.from, %error),
            2..MOST => debug!(event = "not_received", from = self.from, %error),
            _ => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_memory() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOBUFS)
    }

    #[test]
    fn a_socket_that_fails_now_and_then_is_no_reason_to_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut reception = Reception::new("here");
        for _ in 1..MOST {
            reception.failed(no_memory()).unwrap();
        }
        assert_eq!(runtime.block_on(reception.take(Ok(7))).unwrap(), Some(7));
        assert_eq!(runtime.block_on(reception.take::<u8>(Err(no_memory()))).unwrap(), None);
    }

    #[test]
    fn one_that_never_works_again_is() {
        let mut reception = Reception::new("here");
        for _ in 1..MOST {
            reception.failed(no_memory()).unwrap();
        }
        assert_eq!(reception.failed(no_memory()).unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
    }
}
