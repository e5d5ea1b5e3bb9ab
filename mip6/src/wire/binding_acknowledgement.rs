//! Binding Acknowledgement (RFC 6275 §6.1.8).
//!
//! ```text
//! Status | K R P ...        | 2
//! Sequence #                | 2
//! Lifetime                  | 2
//! Mobility Options
//! ```

use std::fmt;

use super::octets::Octets;
use super::{BindingStatus, Lifetime, Malformed, MobilityOption};

/// A Binding Acknowledgement: the answer to a Binding Update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingAcknowledgement {
    /// Accepted or not.
    pub status: BindingStatus,
    /// What is granted beside.
    pub flags: AcknowledgementFlags,
    /// The sequence number of the update, or the last accepted one with status 135.
    pub sequence: u16,
    /// For how long; without meaning if not accepted.
    pub lifetime: Lifetime,
    /// Mobility options.
    pub options: Vec<MobilityOption>,
}

impl BindingAcknowledgement {
    /// After how many units of 4 s the home agent would like the next update.
    pub fn refresh_advice(&self) -> Option<Lifetime> {
        self.options.iter().find_map(|option| match option {
            MobilityOption::BindingRefreshAdvice(interval) => Some(Lifetime(*interval)),
            _ => None,
        })
    }

    pub(super) fn parse_data(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            status: octets.u8()?.into(),
            flags: AcknowledgementFlags(octets.u8()?),
            sequence: octets.u16()?,
            lifetime: Lifetime(octets.u16()?),
            options: MobilityOption::parse_all(octets.rest())?,
        })
    }

    pub(super) fn write_data(&self, message: &mut Vec<u8>) {
        message.extend([self.status.code(), self.flags.0]);
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.lifetime.0.to_be_bytes());
        MobilityOption::write_all(&self.options, message);
    }
}

/// The flags of a Binding Acknowledgement, unknown ones included.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AcknowledgementFlags(pub u8);

impl AcknowledgementFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// K: the home agent moves the IKE end points.
    pub const KEY_MOBILITY: Self = Self(0x80);
    /// R: forwarding for a mobile router stands (RFC 3963).
    pub const MOBILE_ROUTER: Self = Self(0x40);
    /// P: to a mobile access gateway (RFC 5213).
    pub const PROXY: Self = Self(0x20);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those of `other`.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for AcknowledgementFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcknowledgementFlags({:#04x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::MobilityMessage;

    use super::*;

    #[test]
    fn an_acknowledgement_without_options_has_four_octets_of_padding() {
        // RFC 6275 §6.1.8: Header Len 1 then.
        let octets = [59, 1, 6, 0, 0, 0, 0, 0x80, 0x12, 0x34, 0, 105, 1, 2, 0, 0];
        let message = MobilityMessage::BindingAcknowledgement(BindingAcknowledgement {
            status: BindingStatus::Accepted,
            flags: AcknowledgementFlags::KEY_MOBILITY,
            sequence: 0x1234,
            lifetime: Lifetime(105),
            options: Vec::new(),
        });
        assert_eq!(message.write(), octets);
        assert_eq!(MobilityMessage::parse(&octets), Ok(message));
    }

    #[test]
    fn the_refresh_advice_is_found() {
        let octets = [59, 1, 6, 0, 0, 0, 1, 0, 0, 9, 0, 105, 2, 2, 0, 50];
        let Ok(MobilityMessage::BindingAcknowledgement(parsed)) = MobilityMessage::parse(&octets) else { panic!() };
        assert_eq!(parsed.status, BindingStatus::PrefixDiscoveryNecessary);
        assert_eq!(parsed.refresh_advice(), Some(Lifetime(50)));
        assert_eq!(MobilityMessage::BindingAcknowledgement(parsed).write(), octets);
    }
}
