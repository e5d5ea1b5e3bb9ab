//! Binding Refresh Request (RFC 6275 §6.1.2): two reserved octets and options.

use super::octets::Octets;
use super::{Malformed, MobilityOption};

/// A Binding Refresh Request: "say again where you are."
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingRefreshRequest {
    /// Mobility options.
    pub options: Vec<MobilityOption>,
}

impl BindingRefreshRequest {
    pub(super) fn parse_data(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        octets.u16()?;
        Ok(Self { options: MobilityOption::parse_all(octets.rest())? })
    }

    pub(super) fn write_data(&self, message: &mut Vec<u8>) {
        message.extend([0, 0]);
        MobilityOption::write_all(&self.options, message);
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::MobilityMessage;

    use super::*;

    #[test]
    fn a_refresh_request_without_options_is_eight_octets() {
        // RFC 6275 §6.1.2: Header Len 0.
        let octets = [59, 0, 0, 0, 0, 0, 0, 0];
        let message = MobilityMessage::BindingRefreshRequest(BindingRefreshRequest::default());
        assert_eq!(message.write(), octets);
        assert_eq!(MobilityMessage::parse(&octets), Ok(message));
    }
}
