//! Texts inside of values: durations, addresses, prefixes, identities, names of interfaces.
//!
//! Each function gives the value, or the cause and the fix.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::diagnostic::quoted;
use crate::model::{Identity, Net};

/// Cause and fix.
pub(crate) type Wrong = (String, String);

/// A whole number and a unit: ms, s, m, h or d.
pub(crate) fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || {
        let cause = format!("{} is not a duration", quoted(text));
        (cause, "write a whole number and a unit: `500ms`, `30s`, `10m`, `4h`, `1d`".to_owned())
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim_start() {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// As the file would write it.
pub(crate) fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration.subsec_millis() {
        0 if seconds >= 86_400 && seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        0 if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        0 if seconds >= 60 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        0 => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// An address that a node can have on a link and be reached by from elsewhere.
pub(crate) fn address(text: &str) -> Result<Ipv6Addr, Wrong> {
    let example = || "write an IPv6 address such as `2001:db8::1`".to_owned();
    let address: Ipv6Addr = text.parse().map_err(|_| match text.parse::<Ipv4Addr>() {
        Ok(_) => (format!("{} is an IPv4 address", quoted(text)), example()),
        Err(_) => (format!("{} is not an IPv6 address", quoted(text)), example()),
    })?;
    match unusable(address) {
        Some(why) => Err((format!("{} is {why}", quoted(text)), "write a global unicast address".to_owned())),
        None => Ok(address),
    }
}

/// A prefix such as `2001:db8::/64`, no bits set beyond its length.
pub(crate) fn net(text: &str) -> Result<Net, Wrong> {
    let wrong = |cause: &str| {
        (format!("{} {cause}", quoted(text)), "write an IPv6 prefix with its length: `2001:db8::/64`".to_owned())
    };
    let (address, len) = text.split_once('/').ok_or_else(|| wrong("has no length"))?;
    let address: Ipv6Addr = address.parse().map_err(|_| wrong("is not an IPv6 prefix"))?;
    let canonical = !len.is_empty() && len.bytes().all(|digit| digit.is_ascii_digit());
    let len = match len.parse::<u8>() {
        Ok(len @ 1..=128) if canonical => len,
        _ => return Err(wrong("has a length outside 1–128")),
    };
    let first = Ipv6Addr::from_bits(address.to_bits() & mask(len));
    if first != address {
        return Err((format!("{} has bits beyond its length", quoted(text)), format!("write `{first}/{len}`")));
    }
    match unusable(address) {
        Some(why) => Err(wrong(&format!("is {why}"))),
        None => Ok(Net { address, len }),
    }
}

/// Whether `net` holds `address`.
pub(crate) fn holds(net: Net, address: Ipv6Addr) -> bool {
    address.to_bits() & mask(net.len) == net.address.to_bits()
}

/// Whether all of `inner` is in `outer`.
pub(crate) fn within(inner: Net, outer: Net) -> bool {
    inner.len >= outer.len && holds(outer, inner.address)
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(len))).unwrap_or(0)
}

// RFC 6275 §6.7, §9.5.1: neither a home address nor a home agent's can be one of these.
fn unusable(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("the loopback address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address, which has no meaning beyond its link")
    } else if address.to_ipv4_mapped().is_some() {
        Some("an IPv4-mapped address")
    } else {
        None
    }
}

/// An IPv6 address, `name@domain` or a domain name.
pub(crate) fn identity(text: &str) -> Result<Identity, Wrong> {
    let example =
        || "write a domain name (`mn.example.org`), a mail address (`mn@example.org`) or an IPv6 address".to_owned();
    if text.parse::<Ipv4Addr>().is_ok() {
        return Err((format!("{} is an IPv4 address", quoted(text)), example()));
    }
    if text.contains(':') {
        return address(text).map(Identity::Ipv6);
    }
    let wrong = || (format!("{} is no identity", quoted(text)), example());
    match text.split_once('@') {
        Some((name, domain)) if is_mail_name(name) && is_domain(domain) => Ok(Identity::Email(text.to_owned())),
        None if is_domain(text) => Ok(Identity::DomainName(text.to_owned())),
        _ => Err(wrong()),
    }
}

/// By what two identities are told apart: the case of a domain does not count (RFC 4945 §3.1.2, RFC 5280 §7.5).
pub(crate) fn folded(identity: &Identity) -> Identity {
    match identity {
        Identity::Ipv6(address) => Identity::Ipv6(*address),
        Identity::DomainName(name) => Identity::DomainName(name.to_ascii_lowercase()),
        Identity::Email(mail) => Identity::Email(match mail.split_once('@') {
            Some((name, domain)) => format!("{name}@{}", domain.to_ascii_lowercase()),
            None => mail.clone(),
        }),
    }
}

fn is_mail_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_graphic() && c != '@')
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A name that the kernel takes for an interface.
pub(crate) fn interface(text: &str) -> Result<String, Wrong> {
    /// IFNAMSIZ without the zero at the end.
    const LONGEST: usize = 15;
    let wrong = |why: &str| {
        let help = "write a name as `ip link` shows it, such as `eth0`".to_owned();
        (format!("{} {why}", quoted(text)), help)
    };
    if text.is_empty() {
        Err(wrong("names no interface"))
    } else if text.len() > LONGEST {
        Err(wrong("is longer than the 15 characters that the name of an interface may have"))
    } else if matches!(text, "." | "..") || text.chars().any(|c| matches!(c, '/' | ':') || !c.is_ascii_graphic()) {
        Err(wrong("cannot be the name of an interface"))
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, folded, holds, identity, interface, net, within, written};
    use crate::model::Identity;

    #[test]
    fn a_duration_is_a_number_and_a_unit_and_is_written_back_alike() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("4h", 14_400), ("1d", 86_400), ("0s", 0)] {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds));
            assert_eq!(written(duration(text).unwrap()), text);
        }
        assert_eq!(duration("1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(written(Duration::from_millis(1500)), "1500ms");
        for wrong in
            ["", "s", "10", "-1s", "1.5s", "10 minutes", "1h30m", "99999999999999999999s", "999999999999999999d"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_with_bits_beyond_its_length_is_refused_with_the_right_one() {
        assert_eq!(net("2001:db8::1/64").unwrap_err().1, "write `2001:db8::/64`");
        for wrong in ["2001:db8::", "2001:db8::/129", "2001:db8::/0", "2001:db8::/+64", "2001:db8::/", "10.0.0.0/8"] {
            assert!(net(wrong).is_err(), "{wrong}");
        }
        for special in ["fe80::/64", "ff02::/16", "::/1", "::1/128"] {
            assert!(net(special).is_err(), "{special}");
        }
    }

    #[test]
    fn a_prefix_holds_what_begins_with_it() {
        let (outer, inner) = (net("2001:db8:1::/48").unwrap(), net("2001:db8:1:2::/64").unwrap());
        assert!(within(inner, outer) && within(outer, outer) && !within(outer, inner));
        assert!(holds(outer, "2001:db8:1:ffff::1".parse().unwrap()));
        assert!(!holds(outer, "2001:db8:2::1".parse().unwrap()));
        assert!(holds(net("2001:db8::1/128").unwrap(), "2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn identities_are_told_from_their_form_and_compared_without_the_case_of_domains() {
        assert_eq!(identity("mn.example.org").unwrap(), Identity::DomainName("mn.example.org".into()));
        assert_eq!(identity("mn@example.org").unwrap(), Identity::Email("mn@example.org".into()));
        assert_eq!(identity("2001:db8::2").unwrap(), Identity::Ipv6("2001:db8::2".parse().unwrap()));
        for wrong in
            ["", "192.0.2.1", "@x", "a@", "a b", "a..b", "mn.example.org.", "*.example.org", "fe80::1", "ä.org"]
        {
            assert!(identity(wrong).is_err(), "{wrong}");
        }
        let same = |left: &str, right: &str| folded(&identity(left).unwrap()) == folded(&identity(right).unwrap());
        assert!(same("MN.example.org", "mn.Example.ORG"));
        assert!(same("mn@example.org", "mn@Example.ORG"));
        assert!(!same("MN@example.org", "mn@example.org"));
    }

    #[test]
    fn an_interface_has_a_name_that_the_kernel_takes() {
        assert_eq!(interface("a23456789012345").unwrap(), "a23456789012345");
        for wrong in ["", "a234567890123456", "eth 0", "eth/0", "eth:0", ".", "..", "\u{1b}0"] {
            assert!(interface(wrong).is_err(), "{wrong}");
        }
    }
}
