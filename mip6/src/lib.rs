//! Mobile IPv6 (RFC 6275): bytes in, actions out. Knows nothing of IKE, the kernel or an async runtime.

#![forbid(unsafe_code)]

pub mod action;
pub mod address;
mod binding_errors;
pub mod entropy;
pub mod ha;
mod limit;
pub mod mn;
pub mod rr;
pub mod wire;
