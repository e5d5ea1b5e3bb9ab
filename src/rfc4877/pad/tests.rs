use std::time::Duration;

use ike::wire::ts::{EVERY_IPV4, EVERY_IPV6};

use super::*;

const AGENT: &str = "2001:db8:1::1";
const HOME: &str = "2001:db8:1::a";
const OTHERS: &str = "2001:db8:1::b";

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn home(text: &str) -> HomeAddress {
    HomeAddress(ip(text))
}

fn mn(name: &str) -> Identity {
    Identity::Rfc822(name.into())
}

fn pad(pool: Option<(&str, u8)>) -> Pad {
    Pad::new(
        HomeAgentAddress(ip(AGENT)),
        Prefix::new(ip(AGENT), 64),
        pool.map(|(address, len)| Prefix::new(ip(address), len)),
        [(mn("a@example.org"), vec![home(HOME)]), (mn("b@example.org"), vec![home(OTHERS)])],
    )
}

fn request(suggestion: Option<&str>) -> AddressRequest {
    AddressRequest { suggestion: suggestion.map(ip), dns: false }
}

/// An offer as a mobile node makes it, seen from the home agent.
fn offer(purpose: Purpose, home_address: Option<&str>) -> ChildOffer {
    let (mobile, agent) = purpose.selectors(home_address.map(home), HomeAgentAddress(ip(AGENT)));
    ChildOffer { local_selectors: agent, remote_selectors: mobile, transport: purpose.transport() }
}

fn judge(pad: &Pad, who: &str, offer: &ChildOffer) -> ChildDecision {
    let lifetime = Lifetime { rekey: Duration::from_secs(1), hard: Duration::from_secs(2) };
    pad.judge(&mn(who), offer, lifetime, &[EspSuite::AesGcm16_256])
}

fn accepted(decision: ChildDecision) -> ChildRequest {
    match decision {
        ChildDecision::Accept(request) => request,
        ChildDecision::Refuse { notify, reason } => panic!("{notify}: {reason}"),
    }
}

fn refused(decision: ChildDecision) -> (NotifyType, String) {
    match decision {
        ChildDecision::Refuse { notify, reason } => (notify, reason),
        ChildDecision::Accept(request) => panic!("{request:?}"),
    }
}

/// RFC 4877 §7.3, §10.
#[test]
fn each_purpose_is_granted_as_it_is_offered_to_the_owner_of_its_home_address() {
    let pad = pad(None);
    for purpose in [Purpose::Binding, Purpose::PrefixDiscovery, Purpose::ReturnRoutability, Purpose::Payload] {
        let offer = offer(purpose, Some(HOME));
        let granted = accepted(judge(&pad, "a@example.org", &offer));
        assert_eq!(granted.remote_selectors, offer.remote_selectors);
        assert_eq!(granted.local_selectors, offer.local_selectors);
        assert_eq!((granted.transport, granted.tag), (purpose.transport(), purpose.tag()));
        assert_eq!(Pad::home_address_of(&granted.remote_selectors), Some(home(HOME)));
    }
}

/// RFC 4877 §4.2, §10: another's home address is TS_UNACCEPTABLE, for every purpose, and the reason names both.
#[test]
fn anothers_home_address_is_refused() {
    let pad = pad(None);
    for purpose in [Purpose::Binding, Purpose::PrefixDiscovery, Purpose::ReturnRoutability, Purpose::Payload] {
        let (notify, reason) = refused(judge(&pad, "a@example.org", &offer(purpose, Some(OTHERS))));
        assert_eq!(notify, NotifyType::TsUnacceptable);
        assert!(reason.contains(OTHERS) && reason.contains(HOME), "{reason}");
    }
}

/// RFC 4877 §9, §10: a wide side is narrowed to the addresses of the identity, whatever else lies in it.
#[test]
fn a_wide_side_is_narrowed_to_ones_own_address() {
    let mut pad = pad(Some(("2001:db8:1::100", 120)));
    for purpose in [Purpose::Binding, Purpose::Payload] {
        let granted = accepted(judge(&pad, "a@example.org", &offer(purpose, None)));
        let [only] = granted.remote_selectors[..] else { panic!("{granted:?}") };
        assert_eq!((only.start, only.end), (ip(HOME).into(), ip(HOME).into()));
    }
    let lease = pad.lease(&mn("c@example.org"), &request(None)).unwrap();
    let granted = accepted(judge(&pad, "c@example.org", &offer(Purpose::Binding, None)));
    assert_eq!(granted.remote_selectors[0].start, IpAddr::V6(lease.address));
    assert_eq!(granted.remote_selectors[0].end, IpAddr::V6(lease.address));
}

/// RFC 7296 §2.19: who has no address and has asked for none.
#[test]
fn a_wide_side_without_any_address_of_ones_own_is_failed_cp_required() {
    let pad = pad(Some(("2001:db8:1::100", 120)));
    assert_eq!(refused(judge(&pad, "c@example.org", &offer(Purpose::Binding, None))).0, NotifyType::FailedCpRequired);
}

/// RFC 4877 §5: "all of protocol 135", ends of 0x..ff, a range for both types, every type on both sides.
#[test]
fn peers_with_coarser_selectors_are_suited() {
    let pad = pad(None);
    let (mobile, agent) = (ip(HOME)..=ip(HOME), ip(AGENT)..=ip(AGENT));
    for (remote, local) in
        [((0, u16::MAX), (0, u16::MAX)), ((0x0500, 0x05ff), (0x0600, 0x06ff)), ((0x0500, 0x0600), (0x0500, 0x0600))]
    {
        let offer = ChildOffer {
            remote_selectors: vec![TrafficSelector::ports(mobile.clone(), 135, remote.0..=remote.1)],
            local_selectors: vec![TrafficSelector::ports(agent.clone(), 135, local.0..=local.1)],
            transport: true,
        };
        let granted = accepted(judge(&pad, "a@example.org", &offer));
        assert_eq!(granted.tag, Purpose::Binding.tag());
        assert_eq!(
            (granted.remote_selectors, granted.local_selectors),
            (offer.remote_selectors, offer.local_selectors)
        );
    }
    // Any protocol between the two: the protocol is narrowed.
    let offer = ChildOffer {
        remote_selectors: vec![TrafficSelector::any(mobile)],
        local_selectors: vec![TrafficSelector::any(EVERY_IPV6)],
        transport: true,
    };
    let granted = accepted(judge(&pad, "a@example.org", &offer));
    assert_eq!((granted.remote_selectors[0].protocol, granted.local_selectors[0].protocol), (135, 135));
    assert_eq!(granted.local_selectors[0].start, IpAddr::V6(ip(AGENT)));
}

/// RFC 4877 §5: a tunnel for the Mobility Header carries return routability and no binding updates.
#[test]
fn a_tunnel_for_all_mobility_headers_is_narrowed_to_return_routability() {
    let pad = pad(None);
    let mut coarse = offer(Purpose::ReturnRoutability, Some(HOME));
    for selector in coarse.remote_selectors.iter_mut().chain(&mut coarse.local_selectors) {
        (selector.start_port, selector.end_port) = (0, u16::MAX);
    }
    let granted = accepted(judge(&pad, "a@example.org", &coarse));
    let fine = offer(Purpose::ReturnRoutability, Some(HOME));
    assert_eq!((granted.remote_selectors, granted.local_selectors), (fine.remote_selectors, fine.local_selectors));
}

/// RFC 4877 §3, §4.3: tunnel mode for binding updates is not done here; a pair without them is none for bindings.
#[test]
fn what_serves_no_purpose_is_refused() {
    let pad = pad(None);
    let tunnelled = ChildOffer { transport: false, ..offer(Purpose::Binding, Some(HOME)) };
    let wrong_type = ChildOffer { transport: true, ..offer(Purpose::ReturnRoutability, Some(HOME)) };
    let echo = ChildOffer {
        remote_selectors: vec![TrafficSelector::icmpv6(ip(HOME)..=ip(HOME), 128)],
        ..offer(Purpose::PrefixDiscovery, Some(HOME))
    };
    let elsewhere = ChildOffer {
        local_selectors: vec![TrafficSelector::mobility_header(ip(OTHERS)..=ip(OTHERS), 6)],
        ..offer(Purpose::Binding, Some(HOME))
    };
    let ipv4 = ChildOffer {
        remote_selectors: vec![TrafficSelector::any_ipv4(EVERY_IPV4)],
        ..offer(Purpose::Payload, Some(HOME))
    };
    let nothing = ChildOffer { remote_selectors: Vec::new(), ..offer(Purpose::Payload, Some(HOME)) };
    for offer in [tunnelled, wrong_type, echo, elsewhere, ipv4, nothing] {
        let (notify, _) = refused(judge(&pad, "a@example.org", &offer));
        assert_eq!(notify, NotifyType::TsUnacceptable, "{offer:?}");
    }
}

/// Identities compared without their length or type (CVE-2013-6075).
#[test]
fn an_identity_that_only_looks_like_another_owns_nothing() {
    let pad = pad(None);
    for stranger in [
        mn("a@example.or"),
        mn("a@example.org\0"),
        mn("a@example.org.example.net"),
        mn(""),
        Identity::Fqdn("a@example.org".into()),
        Identity::KeyId(b"a@example.org".to_vec()),
    ] {
        assert_eq!(pad.home_addresses(&stranger), []);
    }
    assert_eq!(pad.owner(home(HOME)), Some(&mn("a@example.org")));
    assert_eq!(pad.owner(home("2001:db8:1::c")), None);
}

/// RFC 4877 §9: its own address, whatever it suggests; 128 bits and the length of the home prefix.
#[test]
fn a_configured_address_is_what_its_owner_gets() {
    let mut pad = pad(Some(("2001:db8:1::100", 120)));
    for suggestion in [None, Some(HOME), Some(OTHERS), Some("2001:db8:1::101"), Some("2001:db8:ff::1")] {
        let lease = pad.lease(&mn("a@example.org"), &request(suggestion)).unwrap();
        assert_eq!((lease.address, lease.prefix_len), (ip(HOME), 64));
    }
    assert_eq!(pad.owner(home("2001:db8:1::101")), None, "nothing was taken from the pool");
}

/// RFC 4877 §9, §10: a free suggestion is granted, a taken one replaced; who asks again keeps what it has.
#[test]
fn a_suggestion_is_granted_if_it_is_free() {
    let mut pad = pad(Some(("2001:db8:1::100", 120)));
    let mut lease = |who: &str, suggestion| pad.lease(&mn(who), &request(suggestion)).unwrap().address;
    assert_eq!(lease("c@example.org", Some("2001:db8:1::142")), ip("2001:db8:1::142"));
    assert_eq!(lease("d@example.org", Some("2001:db8:1::142")), ip("2001:db8:1::101"));
    assert_eq!(lease("e@example.org", Some(HOME)), ip("2001:db8:1::102"), "another's, outside of the pool");
    assert_eq!(lease("f@example.org", Some("2001:db8:7::1")), ip("2001:db8:1::103"), "not ours to give");
    assert_eq!(lease("c@example.org", Some("2001:db8:1::150")), ip("2001:db8:1::142"));
    assert_eq!(lease("c@example.org", None), ip("2001:db8:1::142"));
    assert_eq!(pad.owner(home("2001:db8:1::142")), Some(&mn("c@example.org")));
}

/// RFC 4291 §2.6.1, RFC 2526 §2: nobody gets an anycast address or the home agent's own, by wish or by turn.
#[test]
fn anycast_addresses_and_the_home_agents_are_nobodys() {
    for wish in [
        "2001:db8:1::",
        AGENT,
        "2001:db8:1:0:fdff:ffff:ffff:fffe",
        "2001:db8:1:0:fdff:ffff:ffff:ff80",
        "2001:db8:1:0:fdff:ffff:ffff:ffff",
    ] {
        let mut pad = pad(Some(("2001:db8:1::", 64)));
        let lease = pad.lease(&mn("c@example.org"), &request(Some(wish))).unwrap();
        assert_eq!(lease.address, ip("2001:db8:1::2"), "{wish}");
    }
    let mut pad = pad(Some(("2001:db8:1::", 64)));
    let granted = pad.lease(&mn("c@example.org"), &request(Some("2001:db8:1:0:fdff:ffff:ffff:ff7f"))).unwrap();
    assert_eq!(granted.address, ip("2001:db8:1:0:fdff:ffff:ffff:ff7f"));
    let short = Prefix::new(ip("2001:db8:1::"), 112);
    let mut pad = Pad::new(HomeAgentAddress(ip(AGENT)), short, Some(short), []);
    let lease = pad.lease(&mn("c@example.org"), &request(Some("2001:db8:1::fffe"))).unwrap();
    assert_eq!(lease.address, ip("2001:db8:1::2"));
}

/// RFC 4877 §9: INTERNAL_ADDRESS_FAILURE, not somebody else's address; and what is released can be given again.
#[test]
fn an_exhausted_pool_gives_nothing_until_something_is_released() {
    let mut pad = pad(Some(("2001:db8:1::8", 125)));
    // Eight addresses, of which the pool may give all but those of a@ and b@ (::a and ::b) and its first.
    let names: Vec<_> = (0..5).map(|number| format!("{number}@example.org")).collect();
    let given: std::collections::BTreeSet<_> =
        names.iter().map(|name| pad.lease(&mn(name), &request(None)).unwrap().address).collect();
    assert_eq!(
        given,
        ["2001:db8:1::9", "2001:db8:1::c", "2001:db8:1::d", "2001:db8:1::e", "2001:db8:1::f"].map(ip).into()
    );
    let reason = pad.lease(&mn("late@example.org"), &request(None)).unwrap_err();
    assert!(reason.contains("exhausted"), "{reason}");
    pad.release(home("2001:db8:1::d"));
    assert_eq!(pad.owner(home("2001:db8:1::d")), None);
    assert_eq!(pad.lease(&mn("late@example.org"), &request(None)).unwrap().address, ip("2001:db8:1::d"));
    assert!(pad.lease(&mn("later@example.org"), &request(Some("2001:db8:1::d"))).is_err());
}

/// RFC 5026 §9.2: releasing is for assigned addresses; a configured one stays its owner's.
#[test]
fn a_configured_address_cannot_be_released() {
    let mut pad = pad(None);
    pad.release(home(HOME));
    assert_eq!(pad.owner(home(HOME)), Some(&mn("a@example.org")));
    assert!(pad.lease(&mn("c@example.org"), &request(None)).unwrap_err().contains("no pool"));
}

/// An address that another node has is not given to somebody else while the one that had it may still hold SAs for it.
#[test]
fn an_address_that_was_declined_is_nobodys_while_its_former_owner_is_connected() {
    let mut pad = pad(Some(("2001:db8:1::8", 125)));
    let names = ["c@example.org", "d@example.org", "e@example.org", "f@example.org", "g@example.org"];
    let first = names.map(|name| pad.lease(&mn(name), &request(None)).unwrap().address)[0];
    pad.decline(HomeAddress(first));
    assert_eq!(pad.owner(HomeAddress(first)), None);
    for _ in 0..2 {
        assert!(pad.lease(&mn("late@example.org"), &request(Some(&first.to_string()))).is_err());
        assert!(pad.lease(&mn(names[0]), &request(None)).is_err());
    }
    pad.gone(&mn(names[0]));
    assert_eq!(pad.lease(&mn("late@example.org"), &request(None)).unwrap().address, first);
}

/// Whoever answers for every address on the home link, together with a mobile node that asks for ever more, uses up neither
/// the pool nor memory.
#[test]
fn addresses_that_others_have_are_remembered_up_to_a_bound() {
    let mut pad = pad(Some(("2001:db8:1::", 64)));
    for _ in 0..2000 {
        let lease = pad.lease(&mn("c@example.org"), &request(None)).unwrap();
        pad.decline(HomeAddress(lease.address));
        pad.gone(&mn("c@example.org"));
    }
    assert_eq!(pad.occupied.len(), OCCUPIED);
    pad.occupied.clear();
    for _ in 0..DECLINED {
        let lease = pad.lease(&mn("c@example.org"), &request(None)).unwrap();
        pad.decline(HomeAddress(lease.address));
    }
    assert!(pad.lease(&mn("c@example.org"), &request(None)).unwrap_err().contains("other nodes"));
    assert!(pad.lease(&mn("d@example.org"), &request(None)).is_ok());
    pad.gone(&mn("c@example.org"));
    assert!(pad.lease(&mn("c@example.org"), &request(None)).is_ok());
}
