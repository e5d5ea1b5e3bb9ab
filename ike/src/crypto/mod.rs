//! What IKEv2 calculates.
mod secret;
pub use secret::Secret;
/// x
pub struct Channel;
