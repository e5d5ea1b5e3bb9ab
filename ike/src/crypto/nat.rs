//! NAT detection (RFC 7296 §2.23).

use std::net::{IpAddr, SocketAddr};

use ring::digest;

/// The data of NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP: 20 octets. `spis` are those of the header of
/// the message that carries it.
pub fn nat_detection(spis: (u64, u64), address: SocketAddr) -> Vec<u8> {
    // RFC 7296 §2.23: SHA-1 of SPIi | SPIr | address | port. It hides the address from nobody who can guess it.
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&spis.0.to_be_bytes());
    context.update(&spis.1.to_be_bytes());
    match address.ip() {
        IpAddr::V4(address) => context.update(&address.octets()),
        IpAddr::V6(address) => context.update(&address.octets()),
    }
    context.update(&address.port().to_be_bytes());
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    /// Computed with coreutils' `sha1sum` over the octets of the three fields.
    #[test]
    fn the_hash_covers_spis_address_and_port() {
        let spis = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
        let address = "[2001:db8::1]:500".parse().unwrap();
        assert_eq!(nat_detection(spis, address), hex("645efdf3a4d473679c6a6530abefd3b71d8c18af"));
        assert_ne!(nat_detection(spis, address), nat_detection((spis.0, 0), address));
        assert_ne!(nat_detection(spis, address), nat_detection(spis, "[2001:db8::1]:4500".parse().unwrap()));
        assert_ne!(nat_detection(spis, address), nat_detection(spis, "[2001:db8::2]:500".parse().unwrap()));
    }
}
