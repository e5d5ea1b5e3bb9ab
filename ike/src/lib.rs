//! IKEv2 (RFC 7296): bytes in, actions out. Knows nothing of Mobile IPv6, the kernel or an async runtime.

pub mod action;
pub mod crypto;
pub mod wire;
