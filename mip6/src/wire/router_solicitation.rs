//! Router Solicitation (RFC 4861 §4.1): four reserved octets and options.

use super::octets::Octets;
use super::{Malformed, NeighbourOption};

/// A Router Solicitation: "who routes here?"
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterSolicitation {
    /// Options; the sender's link-layer address as a rule.
    pub options: Vec<NeighbourOption>,
}

impl RouterSolicitation {
    pub(super) fn parse_body(mut octets: Octets<'_>) -> Result<Self, Malformed> {
        octets.u32()?;
        Ok(Self { options: NeighbourOption::parse_all(octets)? })
    }

    pub(super) fn write_body(&self, message: &mut Vec<u8>) {
        message.extend([0; 4]);
        NeighbourOption::write_all(&self.options, message);
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::Icmp6Message;

    use super::*;

    #[test]
    fn a_solicitation_with_a_link_layer_address_is_sixteen_octets() {
        let octets = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9];
        let message = Icmp6Message::RouterSolicitation(RouterSolicitation {
            options: vec![NeighbourOption::SourceLinkLayer([2, 0, 0, 0, 0, 9])],
        });
        assert_eq!(message.write(), octets);
        assert_eq!(Icmp6Message::parse(&octets), Ok(message));
    }
}
