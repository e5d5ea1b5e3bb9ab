//! Return routability (RFC 6275 §5.2): cookies, tokens, the binding management key and the authenticator.

mod authenticator;
mod nonces;
mod token;

pub use authenticator::{AUTHENTICATOR, BindingManagementKey};
pub use nonces::{MAX_NONCE_LIFETIME, MAX_TOKEN_LIFETIME, Nonces};
pub use token::{CareOfInitCookie, CareOfKeygenToken, HomeInitCookie, HomeKeygenToken, NonceIndex};
