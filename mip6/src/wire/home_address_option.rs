//! The Home Address option in a Destination Options header (RFC 6275 §6.3).
//!
//! ```text
//! Next Header | Hdr Ext Len 2 | PadN of 4 | 0xC9 | 16 | Home Address
//! ```

use std::net::Ipv6Addr;

use super::Malformed;
use super::octets::Octets;

/// The option type: whoever does not know it discards the packet.
pub const HOME_ADDRESS_OPTION: u8 = 0xc9;

/// The address in the Home Address option of a Destination Options header, if there is one. In the ancillary data of a
/// socket it is the address that stood in the IPv6 header: the kernel has swapped the two.
///
/// # Errors
/// [`Malformed`] if an option runs past the header or there are two Home Address options.
pub fn home_address_in(header: &[u8]) -> Result<Option<Ipv6Addr>, Malformed> {
    let mut octets = Octets::new(header);
    let [_next_header, length] = octets.array()?;
    let mut options = Octets::new(octets.take(usize::from(length) * 8 + 6)?);
    let mut found = None;
    while !options.is_empty() {
        let kind = options.u8()?;
        // Pad1 has no length (RFC 8200 §4.2).
        if kind == 0 {
            continue;
        }
        let length = options.u8()?;
        let wrong = Malformed::OptionLength { kind, length };
        let data = options.take(usize::from(length)).map_err(|_| wrong)?;
        if kind == HOME_ADDRESS_OPTION {
            let address = <[u8; 16]>::try_from(data).map_err(|_| wrong)?;
            // RFC 6275 §6.3: at most one for each IPv6 header.
            if found.replace(Ipv6Addr::from(address)).is_some() {
                return Err(Malformed::SecondHomeAddress);
            }
        }
    }
    Ok(found)
}

/// A Destination Options header that holds nothing but a Home Address option, aligned at 8n + 6.
pub fn write_home_address(next_header: u8, address: Ipv6Addr) -> [u8; 24] {
    let mut header = [0; 24];
    let (front, back) = header.split_at_mut(8);
    front.copy_from_slice(&[next_header, 2, 1, 2, 0, 0, HOME_ADDRESS_OPTION, 16]);
    back.copy_from_slice(&address.octets());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Ipv6Addr {
        "2001:db8:1::100".parse().unwrap()
    }

    #[test]
    fn the_option_is_written_at_8n_plus_6_and_found_again() {
        let header = write_home_address(50, address());
        #[rustfmt::skip]
        assert_eq!(header, [
            50, 2, 1, 2, 0, 0, 0xc9, 16,
            0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
        ]);
        assert_eq!(home_address_in(&header), Ok(Some(address())));
    }

    #[test]
    fn two_home_addresses_are_refused() {
        let option = [&[HOME_ADDRESS_OPTION, 16][..], &address().octets()].concat();
        let header = [&[59, 4][..], &option, &option, &[1, 0]].concat();
        assert_eq!(home_address_in(&header), Err(Malformed::SecondHomeAddress));
    }

    #[test]
    fn other_options_are_skipped_and_overruns_refused() {
        assert_eq!(home_address_in(&[59, 0, 0, 5, 1, 9, 1, 0]), Ok(None));
        assert_eq!(home_address_in(&[59, 0, 5, 5, 0, 0, 0, 0]), Err(Malformed::OptionLength { kind: 5, length: 5 }));
        assert_eq!(
            home_address_in(&[59, 0, HOME_ADDRESS_OPTION, 4, 0, 0, 0, 0]),
            Err(Malformed::OptionLength { kind: HOME_ADDRESS_OPTION, length: 4 })
        );
        assert_eq!(home_address_in(&[59, 9, 0, 0]), Err(Malformed::Truncated));
    }
}
