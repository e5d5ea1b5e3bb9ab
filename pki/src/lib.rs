//! Keys and certificates: decisions without I/O.
//!
//! - [`issue`]: an authority of our own and the certificates that it issues
//! - [`mod@verify`]: whether a chain of certificates proves an identity
//! - [`mod@describe`]: what a certificate says, for people
//! - [`key`]: our private key, and signatures by it
//! - [`signature`]: signatures by a peer's certificate
//! - [`pem`]: certificates out of files
//!
//! Time is handed in. Randomness is the system's, as `ring` takes no other for making keys and signatures.

#![forbid(unsafe_code)]

pub mod describe;
pub mod identity;
pub mod issue;
pub mod key;
pub mod pem;
pub mod signature;
mod usage;
pub mod verify;

pub use describe::{Description, NotACertificate, describe, readable_time};
pub use identity::Identity;
pub use issue::{Authority, IssueError, Issued, Validity};
pub use key::{KeyError, PrivateKey};
pub use pem::{PemError, certificates};
pub use signature::{Scheme, SignatureError, verify_signature};
pub use verify::{Authorities, AuthorityError, VerifyError, verify};
