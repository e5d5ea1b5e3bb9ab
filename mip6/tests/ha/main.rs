//! The home agent, from outside: what goes in and what comes out (RFC 6275 §9.5, §10).

#![expect(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod advertising;
mod deregistration;
mod lab;
mod oddities;
mod prefixes;
mod properties;
mod registration;
mod validity;
