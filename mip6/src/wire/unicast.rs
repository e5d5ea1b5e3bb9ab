//! Which addresses may stand for a node.

use std::net::Ipv6Addr;

/// Whether an address may be a home address or a care-of address.
///
/// RFC 6275 §4.6: both are unicast routable addresses. Unique local addresses count as global.
pub fn is_unicast_routable(address: Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        // ::/96 and ::ffff:0:0/96: an IPv4 address in disguise is on no IPv6 link.
        || address.to_ipv4().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unicast_routable_addresses_stand_for_a_node() {
        for good in ["2001:db8::1", "fd00::1", "2001::", "fec0::1"] {
            assert!(is_unicast_routable(good.parse().unwrap()), "{good}");
        }
        for bad in ["::", "::1", "ff02::1", "ff0e::1", "fe80::1", "febf::1", "::ffff:192.0.2.1", "::192.0.2.1"] {
            assert!(!is_unicast_routable(bad.parse().unwrap()), "{bad}");
        }
    }
}
