//! The type 2 routing header (RFC 6275 §6.4).
//!
//! ```text
//! Next Header | Hdr Ext Len 2 | Routing Type 2 | Segments Left 1 | Reserved 4 | Home Address
//! ```

use std::net::Ipv6Addr;

use super::Malformed;
use super::octets::Octets;

/// A type 2 routing header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type2RoutingHeader {
    /// What follows.
    pub next_header: u8,
    /// 1 on the way, 0 after it was processed (as a socket's ancillary data shows it).
    pub segments_left: u8,
    /// The home address; after processing the care-of address.
    pub address: Ipv6Addr,
}

impl Type2RoutingHeader {
    /// Reads one.
    ///
    /// # Errors
    /// [`Malformed`] if it is cut short, of another type or length, or has more than one segment left (RFC 6275 §6.4.1).
    pub fn parse(header: &[u8]) -> Result<Self, Malformed> {
        let mut octets = Octets::new(header);
        let [next_header, length, kind, segments_left] = octets.array()?;
        if (length, kind) != (2, 2) || segments_left > 1 {
            return Err(Malformed::RoutingHeader);
        }
        octets.u32()?;
        Ok(Self { next_header, segments_left, address: octets.address()? })
    }

    /// Its 24 octets.
    pub fn write(&self) -> [u8; 24] {
        let mut header = [0; 24];
        let (front, back) = header.split_at_mut(8);
        front.copy_from_slice(&[self.next_header, 2, 2, self.segments_left, 0, 0, 0, 0]);
        back.copy_from_slice(&self.address.octets());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routing_header_survives_the_way_there_and_back() {
        let header =
            Type2RoutingHeader { next_header: 50, segments_left: 1, address: "2001:db8:1::100".parse().unwrap() };
        let octets = header.write();
        assert_eq!(octets[..8], [50, 2, 2, 1, 0, 0, 0, 0]);
        assert_eq!(Type2RoutingHeader::parse(&octets), Ok(header));
    }

    #[test]
    fn other_types_lengths_and_segments_are_refused() {
        let mut good = [0; 40];
        good[..4].copy_from_slice(&[59, 2, 2, 1]);
        assert!(Type2RoutingHeader::parse(&good).is_ok());
        for (at, value) in [(1, 4), (1, 0), (2, 0), (3, 2)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Type2RoutingHeader::parse(&bad), Err(Malformed::RoutingHeader));
        }
        assert_eq!(Type2RoutingHeader::parse(&good[..23]), Err(Malformed::Truncated));
    }
}
