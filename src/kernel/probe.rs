//! What cannot be done without is tried at the start, by questions and by objects that nothing else uses and that the same send
//! removes again. What is missing is named as the kernel's configuration names it.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use zeroize::Zeroizing;

use super::linux::OpenError;
use super::netlink::{Netlink, Outcome, Refused, Request};
use super::op::{
    Direction, EspKeys, EspSa, Mode, Move, Net, PolicyKey, PolicyType, Protocol, RouteOptimization, SaKey, Selector,
};
use super::xfrm::write;

/// A discard-only address (RFC 6666): nothing is ever sent there.
const NOWHERE: IpAddr = IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0x7e57));
const SPI: u32 = 0x7e57_0001;

/// Something that the kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Facility {
    Ipv6,
    Xfrm,
    Rtnetlink,
    Esp,
    AesGcm,
    AesCbcHmac,
    Mip6,
    SubPolicy,
    Migrate,
}

impl Facility {
    /// Its name, and what to do.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ipv6 => (
                "IPv6 (CONFIG_IPV6)",
                "load the module ipv6, start the kernel without ipv6.disable=1, and set net.ipv6.conf.all.disable_ipv6 to 0",
            ),
            Self::Xfrm => ("IPsec (CONFIG_XFRM_USER)", "load the module xfrm_user or use a kernel that has it"),
            Self::Rtnetlink => ("rtnetlink (CONFIG_NET)", "use a kernel that has it"),
            Self::Esp => ("ESP for IPv6 (CONFIG_INET6_ESP)", "load the module esp6 or use a kernel that has it"),
            Self::AesGcm => (
                "AES-GCM for ESP (CONFIG_CRYPTO_GCM, CONFIG_CRYPTO_SEQIV, CONFIG_CRYPTO_AES)",
                "load the modules gcm and seqiv or use a kernel that has them",
            ),
            Self::AesCbcHmac => (
                "AES-CBC with HMAC-SHA2-256 for ESP (CONFIG_CRYPTO_AUTHENC, CONFIG_CRYPTO_CBC, CONFIG_CRYPTO_HMAC, \
                 CONFIG_CRYPTO_SHA256, CONFIG_CRYPTO_ECHAINIV)",
                "load the modules authenc, cbc, hmac, sha256 and echainiv or use a kernel that has them",
            ),
            Self::Mip6 => ("Mobile IPv6 (CONFIG_IPV6_MIP6)", "load the module mip6 or use a kernel that has it"),
            Self::SubPolicy => (
                "sub policies (CONFIG_XFRM_SUB_POLICY)",
                "use a kernel built with it, as Debian's are: a module cannot add it",
            ),
            Self::Migrate => (
                "migration of SAs (CONFIG_XFRM_MIGRATE)",
                "use a kernel built with it, as Debian's are: a module cannot add it",
            ),
        }
    }

    fn missing(self, source: io::Error) -> OpenError {
        let (facility, help) = self.words();
        OpenError::Missing { facility, help, source }
    }
}

/// The sockets for IPsec, and for addresses and routes.
pub(super) fn sockets() -> Result<(Netlink, Netlink), OpenError> {
    let xfrm = Netlink::xfrm().map_err(|source| Facility::Xfrm.missing(source))?;
    let route = Netlink::route().map_err(|source| Facility::Rtnetlink.missing(source))?;
    Ok((xfrm, route))
}

/// Tries what the program needs.
pub(super) fn probe(xfrm: &mut Netlink) -> Result<(), OpenError> {
    if !Path::new("/proc/net/if_inet6").exists() {
        return Err(Facility::Ipv6.missing(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)));
    }
    for (tried, requests) in tries() {
        // Gone with the same send: no kill can leave it behind.
        let outcomes = xfrm.exchange(&requests);
        if let Some(error) = judge(tried, outcomes.first()) {
            return Err(error);
        }
    }
    Ok(())
}

/// What is tried.
fn tries() -> [(Facility, Vec<Request>); 5] {
    let key = SaKey { protocol: Protocol::Esp, source: NOWHERE, destination: NOWHERE, spi: SPI };
    let option = SaKey { protocol: Protocol::DestinationOptions, spi: 0, ..key };
    let nobody = Net { address: NOWHERE, len: 128 };
    let selector =
        Selector { source: nobody, destination: nobody, protocol: 0, source_port: None, destination_port: None };
    let esp = |keys| EspSa {
        key,
        mode: Mode::Tunnel,
        reqid: 0,
        selector,
        keys,
        replay_window: 0,
        esn: false,
        encapsulation: None,
    };
    let zeros = |octets| Zeroizing::new(vec![0; octets]);
    let cbc = EspKeys::AesCbcHmacSha256 { encryption: zeros(32), integrity: zeros(32) };
    let there_and_back = |keys| vec![write::add_sa(&esp(keys)), write::delete_sa(&key)];
    let mip6 = RouteOptimization { key: option, care_of: Ipv6Addr::LOCALHOST, wildcard: false };
    let policy = |kind| PolicyKey { kind, direction: Direction::Out, selector };
    let nothing = Move { from: (NOWHERE, NOWHERE), to: (NOWHERE, IpAddr::V6(Ipv6Addr::LOCALHOST)), reqid: u32::MAX };
    [
        (Facility::Mip6, vec![write::set_route_optimization(&mip6, false), write::delete_sa(&option)]),
        (Facility::AesGcm, there_and_back(EspKeys::AesGcm16(zeros(36)))),
        (Facility::AesCbcHmac, there_and_back(cbc)),
        (Facility::SubPolicy, vec![write::get_policy(&policy(PolicyType::Sub))]),
        (Facility::Migrate, vec![write::migrate(&policy(PolicyType::Main), &[nothing], None)]),
    ]
}

/// What the kernel's word to a try means; none if nothing is missing.
fn judge(tried: Facility, outcome: Option<&Outcome>) -> Option<OpenError> {
    let refused = match outcome {
        Some(Ok(_)) => return None,
        Some(Err(refused)) => refused.clone(),
        None => Refused::new("no answer"),
    };
    let missing = match (tried, refused.errno) {
        // It looked for the policy, which means that it can.
        (Facility::SubPolicy | Facility::Migrate, libc::ENOENT) => return None,
        (_, libc::EPERM | libc::EACCES) => return Some(OpenError::Denied),
        (_, libc::EAFNOSUPPORT) => Facility::Ipv6,
        // The protocol's handler, not the algorithm.
        (Facility::AesGcm | Facility::AesCbcHmac, libc::EPROTONOSUPPORT) => Facility::Esp,
        _ => tried,
    };
    Some(missing.missing(io::Error::other(refused.reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(errno: i32) -> Outcome {
        Err(Refused { errno, ..Refused::new("so it is") })
    }

    #[test]
    fn each_refusal_names_what_is_missing() {
        let said = |tried, errno| judge(tried, Some(&outcome(errno))).map(|error| error.to_string());
        let names = |tried, errno, name: &str| {
            let said = said(tried, errno).unwrap();
            assert!(said.contains(name), "{said}");
        };
        names(Facility::AesGcm, libc::EPROTONOSUPPORT, "CONFIG_INET6_ESP");
        names(Facility::AesGcm, libc::EAFNOSUPPORT, "CONFIG_IPV6)");
        names(Facility::AesGcm, libc::ENOSYS, "CONFIG_CRYPTO_GCM");
        names(Facility::AesCbcHmac, libc::ENOENT, "CONFIG_CRYPTO_AUTHENC");
        names(Facility::Mip6, libc::EPROTONOSUPPORT, "CONFIG_IPV6_MIP6");
        // Without sub policies Linux says EINVAL, without migration ENOPROTOOPT.
        names(Facility::SubPolicy, libc::EINVAL, "CONFIG_XFRM_SUB_POLICY");
        names(Facility::Migrate, libc::ENOPROTOOPT, "CONFIG_XFRM_MIGRATE");
        names(Facility::Mip6, libc::EPERM, "CAP_NET_ADMIN");
        assert_eq!(said(Facility::SubPolicy, libc::ENOENT), None);
        assert_eq!(said(Facility::Migrate, libc::ENOENT), None);
    }

    #[test]
    fn a_missing_facility_is_named_with_what_to_do() {
        let error = Facility::Migrate.missing(io::Error::other("Protocol not available"));
        let words = error.to_string();
        for part in ["CONFIG_XFRM_MIGRATE", "use a kernel built with it", "Protocol not available"] {
            assert!(words.contains(part), "{words}");
        }
    }
}
