//! The home agent (RFC 6275 §9.5, §10): judges binding updates, keeps the binding cache, advertises the home link.
//!
//! One update, read through the files: [`HomeAgent::handle`] → `judge` (is it valid, may it be) → `registration` (probe,
//! bind, acknowledge) → `binding_cache`.

mod advertise;
mod binding_cache;
mod config;
mod home_agent;
mod judge;
mod prefix_discovery;
mod registration;
mod stats;

pub use binding_cache::Binding;
pub use config::{Config, HomePrefix, PrefixLifetime};
pub use home_agent::HomeAgent;
pub use registration::{DUPLICATE_DETECTION, MAX_DELETE_BCE};
pub use stats::Stats;
