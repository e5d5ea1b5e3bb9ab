//! The peer authorization database: who may be whom, and which home addresses and selectors follow (RFC 4877 §7.1, §9, §10).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ike::action::{AddressRequest, ChildDecision, ChildOffer, ChildRequest, EspSuite, Lease, Lifetime};
use ike::wire::{Identity, NotifyType, TrafficSelector, narrow};
use mip6::address::{HomeAddress, HomeAgentAddress, Prefix};

use super::child::{MOBILITY_HEADER, Purpose};

/// Addresses of which we remember that another node on the home link has them. One that is forgotten is found out again by duplicate
/// address detection.
const OCCUPIED: usize = 1024;
/// So many addresses in a row are replaced for one identity: whoever answers for more than that answers for all.
const DECLINED: usize = 16;

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
    /// Addresses that another node on the home link has, and whom they were given to. While that one has an IKE SA it may have
    /// CHILD_SAs for the address, and nobody else gets it. At most [`OCCUPIED`], and [`DECLINED`] for each connected identity.
    occupied: BTreeMap<HomeAddress, Option<Identity>>,
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
            occupied: BTreeMap::new(),
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
        let declined = self.occupied.values().filter(|holder| holder.as_ref() == Some(identity)).count();
        if declined >= DECLINED {
            return Err(format!("other nodes on the home link have {declined} addresses that {identity} was given"));
        }
        let own = self.former.iter().filter(|(_, who)| *who == identity).map(|(address, _)| address.0);
        let wishes: Vec<Ipv6Addr> = suggestion.into_iter().chain(own).collect();
        let found = wishes.into_iter().map(HomeAddress).find(|address| self.is_free(pool, *address, Some(identity)));
        let address = found.or_else(|| self.first_free(pool)).or_else(|| {
            // All are taken or were: now those that were, and those that a stranger had once.
            self.occupied.retain(|_, holder| holder.is_some());
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
            && !self.occupied.contains_key(&address)
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
        let Some(identity) = self.leases.remove(&home_address) else { return };
        let mut nobodys = self.occupied.iter().filter(|(_, holder)| holder.is_none()).map(|(address, _)| *address);
        if let Some(first) = nobodys.next()
            && nobodys.count() + 1 >= OCCUPIED
        {
            self.occupied.remove(&first);
        }
        self.occupied.insert(home_address, Some(identity));
    }

    /// This identity has no IKE SA any more, and so no CHILD_SA.
    pub fn gone(&mut self, identity: &Identity) {
        self.occupied.values_mut().filter(|holder| holder.as_ref() == Some(identity)).for_each(|holder| *holder = None);
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
mod tests;
