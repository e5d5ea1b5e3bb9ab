//! The peer authorization database: who may be whom, and which home addresses and selectors follow (RFC 4877 §7.1, §9, §10).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ike::action::{AddressRequest, ChildDecision, ChildOffer, ChildRequest, EspSuite, Lease, Lifetime};
use ike::wire::{Identity, NotifyType, TrafficSelector, narrow};
use mip6::address::{HomeAddress, HomeAgentAddress, Prefix};

use super::child::{MOBILITY_HEADER, Purpose};

/// A home agent's peer authorization database.
#[derive(Debug)]
pub struct Pad {
    agent: HomeAgentAddress,
    home_prefix: Prefix,
    pool: Option<Prefix>,
    fixed: BTreeMap<Identity, Vec<HomeAddress>>,
    /// RFC 4877 §4.2: the temporary entries that tie an authenticated identity to the address it was given.
    leases: BTreeMap<HomeAddress, Identity>,
    /// Whose an address was that was given back. Its owner may be at home with it, where nobody asks for it, so others get it
    /// only when there is no other. As many as there are addresses.
    former: BTreeMap<HomeAddress, Identity>,
    /// Addresses that another node on the home link has.
    occupied: BTreeSet<HomeAddress>,
}

impl Pad {
    /// A data base of these entries: identity and its home addresses (none: one is assigned from the pool).
    pub fn new(
        agent: HomeAgentAddress,
        home_prefix: Prefix,
        pool: Option<Prefix>,
        entries: impl IntoIterator<Item = (Identity, Vec<HomeAddress>)>,
    ) -> Self {
        Self {
            agent,
            home_prefix,
            pool,
            fixed: entries.into_iter().collect(),
            leases: BTreeMap::new(),
            former: BTreeMap::new(),
            occupied: BTreeSet::new(),
        }
    }

    /// The authenticated owner of a home address, as far as it may use it now.
    pub fn owner(&self, home_address: HomeAddress) -> Option<&Identity> {
        let fixed = self.fixed.iter().find(|(_, addresses)| addresses.contains(&home_address)).map(|(who, _)| who);
        fixed.or_else(|| self.leases.get(&home_address))
    }

    /// The home addresses of an authenticated identity: configured ones and the one it was given.
    pub fn home_addresses(&self, identity: &Identity) -> Vec<HomeAddress> {
        let leased = self.leases.iter().filter(|(_, who)| *who == identity).map(|(address, _)| *address);
        self.fixed.get(identity).into_iter().flatten().copied().chain(leased).collect()
    }

    /// Grants an address to an authenticated identity (RFC 4877 §9). A suggestion of one of its own is honoured, any other is
    /// answered with its own address; asking twice gives the same address.
    ///
    /// # Errors
    /// In words, when there is none to give: INTERNAL_ADDRESS_FAILURE (RFC 4877 §9).
    pub fn lease(&mut self, identity: &Identity, request: &AddressRequest) -> Result<Lease, String> {
        let own = self.home_addresses(identity);
        let suggested = request.suggestion.map(HomeAddress).filter(|address| own.contains(address));
        let address = match suggested.or_else(|| own.first().copied()) {
            Some(address) => address,
            None => self.assign(identity, request.suggestion)?,
        };
        // RFC 4877 §9: the reply carries the address and the length of the home prefix.
        Ok(Lease { address: address.0, prefix_len: self.home_prefix.length(), dns: Vec::new() })
    }

    fn assign(&mut self, identity: &Identity, suggestion: Option<Ipv6Addr>) -> Result<HomeAddress, String> {
        let pool = self.pool.ok_or_else(|| format!("{identity} has no home address and there is no pool"))?;
        let own = self.former.iter().filter(|(_, who)| *who == identity).map(|(address, _)| address.0);
        let wishes: Vec<Ipv6Addr> = suggestion.into_iter().chain(own).collect();
        let found = wishes.into_iter().map(HomeAddress).find(|address| self.is_free(pool, *address, Some(identity)));
        let address = found.or_else(|| self.first_free(pool)).or_else(|| {
            // All are taken or were: now those that were, and those that a stranger had once.
            self.occupied.clear();
            self.former.clear();
            self.first_free(pool)
        });
        let address = address.ok_or_else(|| format!("the pool {pool} is exhausted"))?;
        self.former.retain(|former, who| who != identity && *former != address);
        self.leases.insert(address, identity.clone());
        Ok(address)
    }

    /// Whether an address can be given to this identity, or to one that never had it.
    fn is_free(&self, pool: Prefix, address: HomeAddress, identity: Option<&Identity>) -> bool {
        // RFC 6275 §4.6: a home address is a unicast address.
        pool.contains(address.0)
            && !self.is_anycast(address.0)
            && address.0 != self.agent.0
            && self.owner(address).is_none()
            && !self.occupied.contains(&address)
            && self.former.get(&address).is_none_or(|former| Some(former) == identity)
    }

    fn first_free(&self, pool: Prefix) -> Option<HomeAddress> {
        // As many tries as there are addresses taken, and some more, must meet a free one unless the pool is full.
        let taken = self.leases.len()
            + self.former.len()
            + self.occupied.len()
            + self.fixed.values().map(Vec::len).sum::<usize>();
        (1..=taken as u128 + 2)
            .map(|offset| HomeAddress(Ipv6Addr::from_bits(pool.address().to_bits().wrapping_add(offset))))
            .take_while(|address| pool.contains(address.0))
            .find(|address| self.is_free(pool, *address, None))
    }

    /// The subnet-router anycast address of the home link (RFC 4291 §2.6.1), or one of the highest 128, among them the home
    /// agents' own (RFC 2526 §2, RFC 6275 §15.2).
    fn is_anycast(&self, address: Ipv6Addr) -> bool {
        let subnet = self.home_prefix.address().to_bits();
        let identifier = address.to_bits() & u128::MAX.checked_shr(self.home_prefix.length().into()).unwrap_or(0);
        let low = address.to_bits() & u128::from(u64::MAX);
        let highest = match self.home_prefix.length() {
            64 => (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&low),
            length if length < 121 => identifier >= (u128::MAX >> length) - 127,
            _ => false,
        };
        address.to_bits() == subnet || highest
    }

    /// Gives an assigned address back. To be called when neither an IKE SA nor a binding uses it (RFC 5026 §9.2).
    pub fn release(&mut self, home_address: HomeAddress) {
        if let Some(identity) = self.leases.remove(&home_address) {
            self.former.insert(home_address, identity);
        }
    }

    /// Another node on the home link has this assigned address: its owner is to get another one.
    pub fn decline(&mut self, home_address: HomeAddress) {
        if self.leases.remove(&home_address).is_some() {
            self.occupied.insert(home_address);
        }
    }

    /// Judges a CHILD_SA that an authenticated identity asks for, and narrows it (RFC 4877 §10): the mobile node's side to its
    /// home addresses, configured or just granted (RFC 4877 §9), the rest to one of the four purposes.
    pub fn judge(
        &self,
        identity: &Identity,
        offer: &ChildOffer,
        lifetime: Lifetime,
        suites: &[EspSuite],
    ) -> ChildDecision {
        let refuse = |reason: String| ChildDecision::Refuse { notify: NotifyType::TsUnacceptable, reason };
        let own = self.home_addresses(identity);
        if own.is_empty() {
            // RFC 7296 §2.19: it should have asked for an address.
            return ChildDecision::Refuse {
                notify: NotifyType::FailedCpRequired,
                reason: format!("{identity} has no home address and did not ask for one"),
            };
        }
        let mut seen = Vec::new();
        for home_address in &own {
            for purpose in candidates(offer) {
                // What is allowed, seen from the mobile node.
                let (mobile, agent) = purpose.selectors(Some(*home_address), self.agent);
                let (mobile, agent) = (lenient(*purpose, mobile), lenient(*purpose, agent));
                let remote = narrow(&offer.remote_selectors, &mobile);
                let local = narrow(&offer.local_selectors, &agent);
                if !remote.is_empty() && !local.is_empty() && serves(*purpose, &remote) {
                    return ChildDecision::Accept(ChildRequest {
                        local_selectors: local,
                        remote_selectors: remote,
                        transport: offer.transport,
                        suites: suites.to_vec(),
                        lifetime,
                        tag: purpose.tag(),
                    });
                }
            }
            seen.push(home_address.to_string());
        }
        let asked: Vec<String> = offer.remote_selectors.iter().map(|s| format!("{}-{}", s.start, s.end)).collect();
        refuse(format!("{identity} asked for {}, its home address is {}", asked.join(", "), seen.join(", ")))
    }

    /// The home address that a judged child is for.
    pub fn home_address_of(child: &[TrafficSelector]) -> Option<HomeAddress> {
        match child.first()?.start {
            IpAddr::V6(address) => Some(HomeAddress(address)),
            IpAddr::V4(_) => None,
        }
    }
}

/// What an offer can be for: a tunnel for nothing but the Mobility Header is the one for return routability, any other tunnel
/// the one for payload.
fn candidates(offer: &ChildOffer) -> &'static [Purpose] {
    let signalling = offer.remote_selectors.iter().all(|selector| selector.protocol == MOBILITY_HEADER);
    match (offer.transport, signalling) {
        (true, _) => &[Purpose::Binding, Purpose::PrefixDiscovery],
        (false, true) => &[Purpose::ReturnRoutability],
        (false, false) => &[Purpose::Payload],
    }
}

/// Whether what is left of the mobile node's side serves the purpose: a pair for binding updates is one that carries them.
fn serves(purpose: Purpose, mobile: &[TrafficSelector]) -> bool {
    const BINDING_UPDATE: u16 = 5 << 8;
    let carries = |selector: &TrafficSelector| (selector.start_port..=selector.end_port).contains(&BINDING_UPDATE);
    purpose != Purpose::Binding || mobile.iter().any(carries)
}

/// RFC 4877 §5: peers with coarser selectors ("all Mobility Header types", ends of 0x..ff, every type on both sides) have to
/// be suited: the address and the protocol are narrowed, the types are taken as they come and checked again in user space.
fn lenient(purpose: Purpose, mut selectors: Vec<TrafficSelector>) -> Vec<TrafficSelector> {
    if purpose == Purpose::Binding {
        for selector in &mut selectors {
            (selector.start_port, selector.end_port) = (0, u16::MAX);
        }
    }
    selectors
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            refused(judge(&pad, "c@example.org", &offer(Purpose::Binding, None))).0,
            NotifyType::FailedCpRequired
        );
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
}
