//! Cookies against floods of half-open IKE SAs (RFC 7296 §2.6).

use std::net::IpAddr;

use super::Secret;
use super::prf::HMAC_SHA256;
use crate::crypto::Prf;

/// Octets of a cookie: the secret's version, then a message authentication code.
pub const COOKIE_LEN: usize = 33;

/// The cookie for an initiator. `version` names the secret, so that the previous one stays valid for a while.
pub fn cookie(secret: &Secret, version: u8, nonce: &[u8], address: IpAddr, initiator_spi: u64) -> Vec<u8> {
    // RFC 7296 §2.6: version of the secret | hash over Ni, IPi, SPIi and the secret.
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    // The nonce is the only part without a fixed length; as the last one it cannot be shifted into another.
    let parts: &[&[u8]] = &[&[version], &initiator_spi.to_be_bytes(), &octets, nonce];
    let mut cookie = vec![version];
    cookie.extend_from_slice(HMAC_SHA256.prf(secret.as_bytes(), parts).as_bytes());
    cookie
}

/// Whether `presented` is the cookie of this initiator; in constant time.
pub fn verify_cookie(
    secret: &Secret,
    version: u8,
    nonce: &[u8],
    address: IpAddr,
    initiator_spi: u64,
    presented: &[u8],
) -> bool {
    Secret::new(cookie(secret, version, nonce, address, initiator_spi)) == Secret::from_slice(presented)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_only_for_the_one_it_was_given_to() {
        let secret = Secret::new(vec![1; 32]);
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let given = cookie(&secret, 3, b"nonce", address, 7);
        assert_eq!(given.len(), COOKIE_LEN);
        assert_eq!(given[0], 3);
        assert!(verify_cookie(&secret, 3, b"nonce", address, 7, &given));
        assert!(!verify_cookie(&secret, 4, b"nonce", address, 7, &given));
        assert!(!verify_cookie(&secret, 3, b"other", address, 7, &given));
        assert!(!verify_cookie(&secret, 3, b"nonce", "2001:db8::2".parse().unwrap(), 7, &given));
        assert!(!verify_cookie(&secret, 3, b"nonce", address, 8, &given));
        assert!(!verify_cookie(&Secret::new(vec![2; 32]), 3, b"nonce", address, 7, &given));
        assert!(!verify_cookie(&secret, 3, b"nonce", address, 7, &given[..32]));
    }
}
