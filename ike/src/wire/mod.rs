//! The messages of IKEv2 as typed values (RFC 7296 §3): octets are parsed once, and unknown codes survive.
//!
//! Nothing here decides anything. A payload that cannot be what its type says is a [`WireError`]; whether its contents
//! are acceptable is for the engine to say.

mod reader;
#[macro_use]
mod code;

pub mod auth;
pub mod cert;
pub mod certreq;
pub mod cp;
pub mod delete;
pub mod eap;
pub mod encrypted;
pub mod header;
pub mod id;
pub mod ke;
pub mod message;
pub mod nonce;
pub mod notify;
pub mod payload;
pub mod sa;
pub mod signature;
pub mod transform;
pub mod ts;
pub mod vendor;

#[cfg(test)]
mod tests;

pub use auth::{AuthMethod, Authentication};
pub use cert::{CertEncoding, Certificate};
pub use certreq::CertificateRequest;
pub use cp::{CfgAttribute, CfgType, Configuration};
pub use delete::Delete;
pub use eap::Eap;
pub use encrypted::Encrypted;
pub use header::{ExchangeType, Flags, Header, Version};
pub use id::{Identification, Identity};
pub use ke::KeyExchange;
pub use message::Message;
pub use nonce::Nonce;
pub use notify::{Notify, NotifyType};
pub use payload::{Payload, PayloadType, parse_chain, write_chain};
pub use sa::{Proposal, Protocol, SecurityAssociation};
pub use signature::{DigitalSignature, HashAlgorithm};
pub use transform::{Attribute, EncryptionId, Esn, Group, IntegrityId, PrfId, Transform, TransformId};
pub use ts::{EVERY_IPV4, EVERY_IPV6, TrafficSelector, TrafficSelectors, all_covered, narrow};
pub use vendor::VendorId;

/// Why octets are no IKEv2 message, or a value cannot be written as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The octets end before what they announce.
    #[error("the octets end too early")]
    Truncated,
    /// A length field contradicts the octets.
    #[error("a length field contradicts the octets")]
    Length,
    /// Not IKEv2: to be answered with INVALID_MAJOR_VERSION if higher (RFC 7296 §2.5).
    #[error("IKE major version {0}")]
    MajorVersion(u8),
    /// A payload of this unknown type has the critical bit: UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 §2.5).
    #[error("unknown critical payload of type {0}")]
    UnsupportedCritical(u8),
    /// More elements than this implementation is willing to look at.
    #[error("more {0} than are looked at")]
    TooMany(&'static str),
    /// The payload has a form that its type does not allow: INVALID_SYNTAX.
    #[error("{payload} payload: {reason}")]
    Malformed {
        /// The payload's name in the RFC.
        payload: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value is too long for the length field that would have to carry it.
    #[error("{0} is too long to be written")]
    TooLong(&'static str),
}

/// `length` as the 16-bit field that carries it.
fn length16(length: usize, what: &'static str) -> Result<u16, WireError> {
    u16::try_from(length).map_err(|_| WireError::TooLong(what))
}

/// `length` as the 8-bit field that carries it.
fn length8(length: usize, what: &'static str) -> Result<u8, WireError> {
    u8::try_from(length).map_err(|_| WireError::TooLong(what))
}
