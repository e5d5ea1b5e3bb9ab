//! Why a message could not be read.

use thiserror::Error;

/// Why a message could not be read. Always the sender's fault; the message is dropped (RFC 6275 §9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It ends before it should.
    #[error("the message is cut short")]
    Truncated,
    /// Something is piggy-backed on a Mobility Header.
    #[error("payload protocol {0} instead of 59")]
    PayloadProto(u8),
    /// A Mobility Header that is shorter than the fixed part of its type.
    #[error("header length {length} is too short for mobility header type {kind}")]
    HeaderLength {
        /// The MH type.
        kind: u8,
        /// The Header Len field.
        length: u8,
    },
    /// An option that runs past its message, has length zero (neighbour discovery) or not the length of its type.
    #[error("option {kind} has an impossible length of {length}")]
    OptionLength {
        /// The option's type.
        kind: u8,
        /// Its length field.
        length: u8,
    },
    /// Something follows the Binding Authorization Data.
    #[error("the binding authorization data is not the last option")]
    AfterAuthorization,
    /// An ICMPv6 message of a type that is not ours.
    #[error("ICMPv6 type {0} is not handled")]
    Icmp6Type(u8),
    /// An ICMPv6 message whose code is not 0.
    #[error("ICMPv6 code {0} instead of 0")]
    Icmp6Code(u8),
    /// A routing header that is not of type 2, has another length, or more segments left than one.
    #[error("not a type 2 routing header")]
    RoutingHeader,
    /// More than one Home Address option.
    #[error("more than one home address option")]
    SecondHomeAddress,
    /// An address that must not be there, as the target of a neighbour message.
    #[error("an address that is not unicast stands for a node")]
    Address,
}
