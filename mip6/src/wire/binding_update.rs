//! Binding Update (RFC 6275 §6.1.7).
//!
//! ```text
//! Sequence #                | 2
//! A H L K M R P F T B ...   | 2
//! Lifetime                  | 2
//! Mobility Options
//! ```

use std::fmt;

use super::octets::Octets;
use super::{Lifetime, Malformed, MobilityOption};
use crate::address::CareOfAddress;

/// A Binding Update: "I am here now."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingUpdate {
    /// Counts the updates, modulo 2^16.
    pub sequence: u16,
    /// What is asked for.
    pub flags: UpdateFlags,
    /// For how long; zero deletes.
    pub lifetime: Lifetime,
    /// Mobility options.
    pub options: Vec<MobilityOption>,
}

impl BindingUpdate {
    /// The care-of address of the Alternate Care-of Address option.
    pub fn alternate_care_of(&self) -> Option<CareOfAddress> {
        self.options.iter().find_map(|option| match option {
            MobilityOption::AlternateCareOf(address) => Some(*address),
            _ => None,
        })
    }

    pub(super) fn parse_data(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            sequence: octets.u16()?,
            // RFC 6275 §6.1.7: bits that are not known are no reason to refuse; extensions own them.
            flags: UpdateFlags(octets.u16()?),
            lifetime: Lifetime(octets.u16()?),
            options: MobilityOption::parse_all(octets.rest())?,
        })
    }

    pub(super) fn write_data(&self, message: &mut Vec<u8>) {
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.flags.0.to_be_bytes());
        message.extend(self.lifetime.0.to_be_bytes());
        MobilityOption::write_all(&self.options, message);
    }
}

/// The flags of a Binding Update, unknown ones included.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateFlags(pub u16);

impl UpdateFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// A: an acknowledgement is asked for.
    pub const ACKNOWLEDGE: Self = Self(0x8000);
    /// H: the receiver is to be the home agent.
    pub const HOME_REGISTRATION: Self = Self(0x4000);
    /// L: the link-local address has the interface identifier of the home address.
    pub const LINK_LOCAL: Self = Self(0x2000);
    /// K: the IKE end points may be moved along.
    pub const KEY_MOBILITY: Self = Self(0x1000);
    /// M: to a mobility anchor point (RFC 5380).
    pub const ANCHOR_POINT: Self = Self(0x0800);
    /// R: from a mobile router (RFC 3963).
    pub const MOBILE_ROUTER: Self = Self(0x0400);
    /// P: from a mobile access gateway (RFC 5213).
    pub const PROXY: Self = Self(0x0200);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those of `other`.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for UpdateFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpdateFlags({:#06x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::{Lifetime, MobilityMessage, MobilityOption};

    use super::*;

    fn update(options: Vec<MobilityOption>) -> BindingUpdate {
        BindingUpdate {
            sequence: 0x1234,
            flags: UpdateFlags::ACKNOWLEDGE
                .with(UpdateFlags::HOME_REGISTRATION)
                .with(UpdateFlags::LINK_LOCAL)
                .with(UpdateFlags::KEY_MOBILITY),
            lifetime: Lifetime(105),
            options,
        }
    }

    #[test]
    fn an_update_without_options_has_four_octets_of_padding() {
        // RFC 6275 §6.1.7: Header Len 1 then.
        let octets = [59, 1, 5, 0, 0, 0, 0x12, 0x34, 0xf0, 0, 0, 105, 1, 2, 0, 0];
        let message = MobilityMessage::BindingUpdate(update(Vec::new()));
        assert_eq!(message.write(), octets);
        assert_eq!(MobilityMessage::parse(&octets), Ok(message));
    }

    #[test]
    fn the_alternate_care_of_address_stands_at_8n_plus_6() {
        let care_of = CareOfAddress("2001:db8:f::1".parse().unwrap());
        #[rustfmt::skip]
        let octets = [
            59, 3, 5, 0, 0, 0, 0x12, 0x34, 0xf0, 0, 0, 105, 1, 0, 3, 16,
            0x20, 0x01, 0x0d, 0xb8, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        ];
        let message = MobilityMessage::BindingUpdate(update(vec![MobilityOption::AlternateCareOf(care_of)]));
        assert_eq!(message.write(), octets);
        let MobilityMessage::BindingUpdate(parsed) = MobilityMessage::parse(&octets).unwrap() else { panic!() };
        assert_eq!(parsed.alternate_care_of(), Some(care_of));
    }

    #[test]
    fn flags_of_extensions_survive() {
        let octets = [59, 1, 5, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 1, 2, 0, 0];
        let message = MobilityMessage::parse(&octets).unwrap();
        assert_eq!(message.write(), octets);
    }
}
