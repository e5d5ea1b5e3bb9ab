//! IKEv2 (RFC 7296): bytes in, actions out. Knows nothing of Mobile IPv6, the kernel or an async runtime.
//!
//! [`Engine::handle`] takes an [`Input`] and the time, [`Engine::poll`] gives the [`Action`]s that follow; they are all
//! drained before the next input. [`Engine::deadline`] says when [`Input::Timeout`] is due. One engine is single-threaded
//! and owns all of its IKE SAs; the same inputs, times and random octets lead to the same actions.

#![forbid(unsafe_code)]

pub mod action;
mod auth;
mod config;
pub mod crypto;
mod engine;
mod fault;
mod guard;
mod negotiate;
mod registry;
mod sa;
mod stats;
mod timer;
pub mod wire;

pub use action::{Action, ChildId, CloseReason, Endpoints, IkeSaId, Input};
pub use config::{Config, IkeSuite};
pub use engine::Engine;
pub use fault::Fault;
pub use stats::Stats;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an Instant can only be made from the clock; tests then only add to it")]
fn test_clock() -> std::time::Instant {
    std::time::Instant::now()
}
