//! Binding Error (RFC 6275 §6.1.9).
//!
//! ```text
//! Status | Reserved         | 2
//! Home Address              | 16
//! Mobility Options
//! ```

use super::octets::Octets;
use super::{Malformed, MobilityOption};
use crate::address::HomeAddress;

/// A Binding Error: a message or a home address was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingError {
    /// Why.
    pub status: BindingErrorStatus,
    /// What the Home Address option held; unspecified if there was none.
    pub home_address: HomeAddress,
    /// Mobility options.
    pub options: Vec<MobilityOption>,
}

impl BindingError {
    pub(super) fn parse_data(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        let [status, _reserved] = octets.array()?;
        Ok(Self {
            status: status.into(),
            home_address: HomeAddress(octets.address()?),
            options: MobilityOption::parse_all(octets.rest())?,
        })
    }

    pub(super) fn write_data(&self, message: &mut Vec<u8>) {
        message.extend([self.status.code(), 0]);
        message.extend(self.home_address.0.octets());
        MobilityOption::write_all(&self.options, message);
    }
}

/// Why a Binding Error was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindingErrorStatus {
    /// 1: a Home Address option without a binding.
    UnknownBinding,
    /// 2: a Mobility Header of an unknown type.
    UnrecognizedType,
    /// A code without a name here.
    Other(u8),
}

impl BindingErrorStatus {
    /// The octet on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::UnknownBinding => 1,
            Self::UnrecognizedType => 2,
            Self::Other(code) => code,
        }
    }
}

impl From<u8> for BindingErrorStatus {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::UnknownBinding,
            2 => Self::UnrecognizedType,
            code => Self::Other(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::MobilityMessage;

    use super::*;

    #[test]
    fn an_error_holds_the_home_address_and_needs_no_padding() {
        // RFC 6275 §6.1.9: Header Len 2.
        #[rustfmt::skip]
        let octets = [
            59, 2, 7, 0, 0, 0, 2, 0,
            0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
        ];
        let message = MobilityMessage::BindingError(BindingError {
            status: BindingErrorStatus::UnrecognizedType,
            home_address: HomeAddress("2001:db8:1::100".parse().unwrap()),
            options: Vec::new(),
        });
        assert_eq!(message.write(), octets);
        assert_eq!(MobilityMessage::parse(&octets), Ok(message));
    }

    #[test]
    fn unknown_codes_survive() {
        for code in 0..=u8::MAX {
            assert_eq!(BindingErrorStatus::from(code).code(), code);
        }
    }
}
