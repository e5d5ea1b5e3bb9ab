//! What the daemon asks of the Linux kernel, as plain data, and the ways to carry it out.

pub mod drops;
pub mod event;
pub mod fake;
mod journal;
mod linux;
mod migration;
mod netlink;
pub mod op;
mod ours;
mod plan;
mod probe;
mod route;
mod sysctl;
mod undo;
mod xfrm;

pub use linux::{Linux, OpenError};

use op::Op;

/// What a batch cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Netlink messages sent, questions included.
    pub messages: u32,
}

/// Why a batch was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {reason}{}", if self.left_behind.is_empty() { String::new() } else { format!("; could not be undone: {}", self.left_behind.join(", ")) })]
pub struct Failure {
    /// The index of the operation in its batch.
    pub index: usize,
    /// The operation, without its keys.
    pub operation: String,
    /// `errno`, if the kernel gave one.
    pub errno: Option<i32>,
    /// What the kernel said.
    pub reason: String,
    /// What of the operations before it could not be undone; as a rule nothing.
    pub left_behind: Vec<String>,
}

/// Carries batches of operations out.
pub trait Kernel {
    /// Carries a batch out in order. It is one transaction: on failure what was done is undone in reverse.
    ///
    /// # Errors
    /// The operation that failed, and why.
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure>;
}
