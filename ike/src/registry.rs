//! Who owns which SPI, child and identity, so that a message or an order finds its IKE SA without a search, and so that an
//! IKE SA that ends gives everything back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::action::{ChildId, IkeSaId};
use crate::crypto::Randomness;
use crate::wire::Identity;

/// SHA-256 of an IKE_SA_INIT request: RFC 7296 §2.1 tells a repetition from a new request by the whole packet.
pub(crate) type Fingerprint = [u8; 32];

/// What a host can take its addresses from: its link's /64, or its one IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network(u128);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Network(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
        })
    }
}

/// What one IKE SA has in the tables.
#[derive(Debug, Default)]
struct Owned {
    ike_spis: BTreeSet<u64>,
    esp_spis: BTreeSet<u32>,
    children: BTreeSet<ChildId>,
    request: Option<Fingerprint>,
    identity: Option<Identity>,
    half_open: Option<Network>,
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    last_ike_sa: u64,
    last_child: u64,
    ike_spis: BTreeMap<u64, IkeSaId>,
    esp_spis: BTreeSet<u32>,
    children: BTreeMap<ChildId, IkeSaId>,
    requests: BTreeMap<Fingerprint, IkeSaId>,
    identities: BTreeMap<Identity, BTreeSet<IkeSaId>>,
    owned: BTreeMap<IkeSaId, Owned>,
    half_open: usize,
    half_open_of: BTreeMap<Network, usize>,
}

impl Registry {
    /// A name that was never used.
    pub(crate) fn name_ike_sa(&mut self) -> IkeSaId {
        self.last_ike_sa += 1;
        IkeSaId(self.last_ike_sa)
    }

    /// A name for a child of this IKE SA.
    pub(crate) fn name_child(&mut self, ike_sa: IkeSaId) -> ChildId {
        self.last_child += 1;
        let child = ChildId(self.last_child);
        self.children.insert(child, ike_sa);
        self.owned.entry(ike_sa).or_default().children.insert(child);
        child
    }

    /// RFC 7296 §2.6, §3.1: our SPI is not zero and belongs to one IKE SA.
    pub(crate) fn new_ike_spi(&mut self, ike_sa: IkeSaId, random: &mut dyn Randomness) -> u64 {
        loop {
            let mut octets = [0; 8];
            random.fill(&mut octets);
            let spi = u64::from_be_bytes(octets);
            if spi != 0 && !self.ike_spis.contains_key(&spi) {
                self.ike_spis.insert(spi, ike_sa);
                self.owned.entry(ike_sa).or_default().ike_spis.insert(spi);
                return spi;
            }
        }
    }

    /// An inbound SPI for ESP. RFC 4303 §2.1: values up to 255 are reserved.
    pub(crate) fn new_esp_spi(&mut self, ike_sa: IkeSaId, random: &mut dyn Randomness) -> u32 {
        loop {
            let mut octets = [0; 4];
            random.fill(&mut octets);
            let spi = u32::from_be_bytes(octets);
            if spi > 255 && self.esp_spis.insert(spi) {
                self.owned.entry(ike_sa).or_default().esp_spis.insert(spi);
                return spi;
            }
        }
    }

    pub(crate) fn release_ike_spi(&mut self, ike_sa: IkeSaId, spi: u64) {
        self.ike_spis.remove(&spi);
        self.owned.entry(ike_sa).or_default().ike_spis.remove(&spi);
    }

    pub(crate) fn release_esp_spi(&mut self, ike_sa: IkeSaId, spi: u32) {
        self.esp_spis.remove(&spi);
        self.owned.entry(ike_sa).or_default().esp_spis.remove(&spi);
    }

    pub(crate) fn release_child(&mut self, ike_sa: IkeSaId, child: ChildId) {
        self.children.remove(&child);
        self.owned.entry(ike_sa).or_default().children.remove(&child);
    }

    /// A stranger's IKE_SA_INIT request was accepted: its IKE SA counts as half-open.
    pub(crate) fn half_open(&mut self, ike_sa: IkeSaId, request: Fingerprint, network: Network) {
        let owned = self.owned.entry(ike_sa).or_default();
        self.requests.insert(request, ike_sa);
        owned.request = Some(request);
        if owned.half_open.replace(network).is_none() {
            self.half_open += 1;
            *self.half_open_of.entry(network).or_default() += 1;
        }
    }

    /// The IKE SA is not half-open any more, and its peer has this identity.
    pub(crate) fn authenticated(&mut self, ike_sa: IkeSaId, identity: &Identity) {
        let owned = self.owned.entry(ike_sa).or_default();
        owned.identity = Some(identity.clone());
        let half_open = owned.half_open.take();
        self.not_half_open(half_open);
        self.identities.entry(identity.clone()).or_default().insert(ike_sa);
    }

    /// Other established IKE SAs with a peer of this identity.
    pub(crate) fn others_of(&self, identity: &Identity, not: IkeSaId) -> Vec<IkeSaId> {
        self.identities.get(identity).into_iter().flatten().copied().filter(|ike_sa| *ike_sa != not).collect()
    }

    /// The IKE SA is gone: everything it had is free.
    pub(crate) fn forget(&mut self, ike_sa: IkeSaId) {
        let Some(owned) = self.owned.remove(&ike_sa) else { return };
        owned.ike_spis.iter().for_each(|spi| _ = self.ike_spis.remove(spi));
        owned.esp_spis.iter().for_each(|spi| _ = self.esp_spis.remove(spi));
        owned.children.iter().for_each(|child| _ = self.children.remove(child));
        if let Some(request) = owned.request {
            self.requests.remove(&request);
        }
        if let Some(identity) = owned.identity
            && let Some(same) = self.identities.get_mut(&identity)
        {
            same.remove(&ike_sa);
            if same.is_empty() {
                self.identities.remove(&identity);
            }
        }
        self.not_half_open(owned.half_open);
    }

    fn not_half_open(&mut self, network: Option<Network>) {
        let Some(network) = network else { return };
        self.half_open = self.half_open.saturating_sub(1);
        if let Some(count) = self.half_open_of.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.half_open_of.remove(&network);
            }
        }
    }

    pub(crate) fn by_spi(&self, spi: u64) -> Option<IkeSaId> {
        self.ike_spis.get(&spi).copied()
    }

    pub(crate) fn by_request(&self, request: &Fingerprint) -> Option<IkeSaId> {
        self.requests.get(request).copied()
    }

    pub(crate) fn by_child(&self, child: ChildId) -> Option<IkeSaId> {
        self.children.get(&child).copied()
    }

    pub(crate) fn half_open_count(&self) -> usize {
        self.half_open
    }

    /// How many of the half-open IKE SAs came from this network.
    pub(crate) fn half_open_count_of(&self, network: Network) -> usize {
        self.half_open_of.get(&network).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives these octets, one after the other.
    struct Scripted(Vec<u8>);

    impl Randomness for Scripted {
        fn fill(&mut self, octets: &mut [u8]) {
            let rest = self.0.split_off(octets.len());
            octets.copy_from_slice(&self.0);
            self.0 = rest;
        }
    }

    /// RFC 7296 §2.6, §3.1: never zero, never one that is in use.
    #[test]
    fn an_ike_spi_is_not_zero_and_given_once() {
        let words: [u64; 6] = [0, 5, 5, 0, 6, 5];
        let mut random = Scripted(words.iter().flat_map(|word| word.to_be_bytes()).collect());
        let mut registry = Registry::default();
        let (one, other) = (registry.name_ike_sa(), registry.name_ike_sa());
        assert_eq!(registry.new_ike_spi(one, &mut random), 5);
        assert_eq!(registry.new_ike_spi(other, &mut random), 6);
        assert_eq!((registry.by_spi(5), registry.by_spi(6), registry.by_spi(0)), (Some(one), Some(other), None));
        registry.forget(one);
        assert_eq!(registry.new_ike_spi(other, &mut random), 5, "what was given back is free");
    }

    /// RFC 4303 §2.1; the same inbound SPI twice, of whatever IKE SA, would be one SA in the kernel.
    #[test]
    fn an_esp_spi_is_not_reserved_and_given_once() {
        let words: [u32; 8] = [0, 255, 256, 256, 1, 257, 256, 258];
        let mut random = Scripted(words.iter().flat_map(|word| word.to_be_bytes()).collect());
        let mut registry = Registry::default();
        let (one, other) = (registry.name_ike_sa(), registry.name_ike_sa());
        assert_eq!(registry.new_esp_spi(one, &mut random), 256);
        assert_eq!(registry.new_esp_spi(other, &mut random), 257);
        registry.release_esp_spi(one, 256);
        assert_eq!(registry.new_esp_spi(other, &mut random), 256);
        registry.forget(other);
        assert_eq!(registry.new_esp_spi(one, &mut random), 258);
    }
}
