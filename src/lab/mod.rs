//! Virtual hosts, links and kernels for `homeward demo` and the system tests.
//!
//! A guest is a Linux kernel in user mode that boots on this machine's own root file system, read-only; what runs in it sees the
//! binaries that were just built. Inside it (or on a running kernel that can do it) a [`Lab`](host::Lab) is a set of network
//! namespaces joined by bridges, and a [`Scene`](topology::Scene) is the lab of the standard Mobile IPv6 picture.
//!
//! | file | what |
//! |---|---|
//! | `kernel.rs` | which kernels there are, and where |
//! | `guest.rs` | boots one, runs a command, says how it ended |
//! | `real_kernel.rs` | a `#[test]` that runs inside guests |

pub mod guest;
pub mod kernel;
pub mod real_kernel;
mod slot;

pub use guest::{Guest, LabError, Outcome, Stream, Verdict, run_in_guest};
pub use kernel::Kernel;
pub use real_kernel::{in_guest, on_real_kernel, on_real_kernel_within, output_folder};
