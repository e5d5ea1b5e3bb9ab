//! The answers of a Binding Acknowledgement.

use std::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        /// The Status of a Binding Acknowledgement (IANA, Mobility Parameters, Status Codes); below 128 accepted (RFC 6275 §6.1.8).
        /// The codes of proxy mobility, of which no mobile node hears, stay numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum BindingStatus {
            $($(#[$doc])* $name,)*
            /// A code without a name here.
            Other(u8),
        }

        impl BindingStatus {
            /// The octet on the wire.
            pub fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }
        }

        impl From<u8> for BindingStatus {
            fn from(code: u8) -> Self {
                match code {
                    $($code => Self::$name,)*
                    code => Self::Other(code),
                }
            }
        }

        impl fmt::Display for BindingStatus {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => write!(f, "{} ({})", $words, $code),)*
                    Self::Other(code) => write!(f, "status {code}"),
                }
            }
        }
    };
}

statuses! {
    /// Binding Update accepted.
    Accepted = 0, "accepted";
    /// Accepted, but prefix discovery is necessary.
    PrefixDiscoveryNecessary = 1, "accepted, prefix discovery necessary";
    /// RFC 5648: not all care-of addresses were accepted.
    McoaNotComplete = 4, "not all care-of addresses accepted";
    /// RFC 5648: at home and away at once, without neighbour discovery at home.
    McoaReturnHome = 5, "returned home without neighbour discovery";
    /// Reason unspecified.
    ReasonUnspecified = 128, "reason unspecified";
    /// Administratively prohibited.
    AdministrativelyProhibited = 129, "administratively prohibited";
    /// Insufficient resources.
    InsufficientResources = 130, "insufficient resources";
    /// Home registration not supported.
    HomeRegistrationNotSupported = 131, "home registration not supported";
    /// Not home subnet.
    NotHomeSubnet = 132, "not home subnet";
    /// Not home agent for this mobile node.
    NotHomeAgent = 133, "not home agent for this mobile node";
    /// Duplicate address detection failed.
    DuplicateAddressDetectionFailed = 134, "duplicate address detection failed";
    /// Sequence number out of window.
    SequenceOutOfWindow = 135, "sequence number out of window";
    /// Expired home nonce index.
    ExpiredHomeNonceIndex = 136, "expired home nonce index";
    /// Expired care-of nonce index.
    ExpiredCareOfNonceIndex = 137, "expired care-of nonce index";
    /// Expired nonces.
    ExpiredNonces = 138, "expired nonces";
    /// Registration type change disallowed.
    RegistrationTypeChange = 139, "registration type change disallowed";
    /// RFC 3963: mobile router operation not permitted.
    MobileRouterNotPermitted = 140, "mobile router operation not permitted";
    /// RFC 3963: invalid prefix.
    InvalidPrefix = 141, "invalid prefix";
    /// RFC 3963: not authorized for prefix.
    NotAuthorizedForPrefix = 142, "not authorized for prefix";
    /// RFC 3963: forwarding setup failed.
    ForwardingSetupFailed = 143, "forwarding setup failed";
    /// RFC 4285: the identity does not match.
    IdentityMismatch = 144, "identity mismatch";
    /// RFC 4285: a mobility message replay protection option is required.
    MessageIdentifierRequired = 145, "message identifier required";
    /// RFC 4285: the authenticator of a mobility message authentication option is wrong.
    AuthenticationFailed = 146, "authentication failed";
    /// RFC 4866: no permanent home keygen token.
    PermanentTokenUnavailable = 147, "permanent home keygen token unavailable";
    /// RFC 4866: the address or its signature is not what it claims.
    SignatureFailed = 148, "CGA and signature verification failed";
    /// RFC 4866: there is a permanent home keygen token.
    PermanentTokenExists = 149, "permanent home keygen token exists";
    /// RFC 4866: a home nonce index other than zero was expected.
    NonNullHomeNonceIndexExpected = 150, "non-null home nonce index expected";
    /// RFC 5149: the service may not be used.
    ServiceAuthorizationFailed = 151, "service authorization failed";
    /// RFC 5648: a Binding Identifier option is malformed.
    McoaMalformed = 164, "binding identifier malformed";
    /// RFC 5648: there is a binding without Binding Identifier.
    McoaNonMcoaBindingExists = 165, "a binding without identifier exists";
    /// RFC 5648: only one care-of address is allowed.
    McoaProhibited = 166, "multiple care-of addresses prohibited";
    /// RFC 5648: the care-of address is not known.
    McoaUnknownCareOf = 167, "unknown care-of address";
    /// RFC 5648: one update for many bindings is not allowed.
    McoaBulkProhibited = 168, "bulk registration prohibited";
    /// RFC 5648: at home and away at once is not allowed.
    McoaHomeAndForeignProhibited = 169, "simultaneous home and foreign registration prohibited";
    /// Invalid care-of address.
    InvalidCareOfAddress = 174, "invalid care-of address";
}

impl BindingStatus {
    /// Whether the update was accepted. RFC 6275 §6.1.8: below 128 it was, from 128 on it was not.
    pub fn is_accepted(self) -> bool {
        self.code() < 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_there_and_back() {
        for code in 0..=u8::MAX {
            assert_eq!(BindingStatus::from(code).code(), code);
            assert_eq!(BindingStatus::from(code).is_accepted(), code < 128);
        }
        assert_eq!(BindingStatus::from(135), BindingStatus::SequenceOutOfWindow);
        assert_eq!(BindingStatus::from(99), BindingStatus::Other(99));
    }
}
