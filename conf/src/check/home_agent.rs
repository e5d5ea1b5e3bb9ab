//! `[home_agent]` and `[[mobile_node]]`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::{Context, is_assign};
use crate::model::{HomeAgent, Identity, MobileNodeEntry, Net};
use crate::raw::{Advertise, Field, HomeAgentTable, MobileNodeTable};
use crate::value;

/// What the entries of mobile nodes are checked against; each part only as far as it is known.
struct HomeLink {
    address: Option<Ipv6Addr>,
    prefix: Option<Net>,
    has_pool: bool,
    /// Who is here already, and on which line.
    identities: BTreeMap<Identity, usize>,
    home_addresses: BTreeMap<Ipv6Addr, usize>,
}

impl Context<'_, '_> {
    pub(super) fn home_agent(
        &mut self,
        table: HomeAgentTable,
        nodes: Field<Vec<MobileNodeTable>>,
        own: Option<&Identity>,
    ) -> Option<HomeAgent> {
        let interface = self.needed(table.interface, value::interface);
        let address = self.needed(table.address, value::address);
        let prefix = self.needed(table.prefix, value::net).map(|(_, prefix)| prefix);
        if let (Some((at, address)), Some(prefix)) = (&address, prefix)
            && !value::holds(prefix, *address)
        {
            let Net { address: first, len } = prefix;
            let message = format!("the home agent's address is outside of its prefix {first}/{len}");
            self.notes.error(at.clone(), message, "write an address that begins with the prefix, or correct `prefix`");
        }
        let has_pool = !table.pool.is_absent();
        let address = address.map(|(_, address)| address);
        let pool = match table.pool.optional() {
            Some(pool) => self.pool(&pool, address, prefix).map(Some),
            None => Some(None),
        };
        let max_lifetime = self.lifetime(table.max_lifetime, Duration::from_secs(60 * 60));
        let advertise = match table.advertise.optional() {
            Some(every) => self.advertise(every),
            None => Some(None),
        };

        let mut link =
            HomeLink { address, prefix, has_pool, identities: BTreeMap::new(), home_addresses: BTreeMap::new() };
        let mobile_nodes = self.mobile_nodes(nodes, own, &mut link);
        Some(HomeAgent {
            interface: interface?.1,
            address: address?,
            prefix: prefix?,
            pool: pool?,
            max_lifetime: max_lifetime?,
            advertise: advertise?,
            mobile_nodes: mobile_nodes?,
        })
    }

    fn pool(&mut self, text: &Spanned<String>, address: Option<Ipv6Addr>, prefix: Option<Net>) -> Option<Net> {
        let pool = self.checked(text, value::net)?;
        if let Some(prefix) = prefix.filter(|prefix| !value::within(pool, *prefix)) {
            let message = format!("the pool is not inside of the prefix {}/{}", prefix.address, prefix.len);
            let help = "write a longer prefix that begins with the home prefix, such as `2001:db8:1:0:1::/80`";
            self.notes.error(text.span(), message, help);
        } else if address.is_some_and(|address| value::holds(pool, address)) {
            let message = "the pool holds the home agent's own address, which could be assigned to a mobile node";
            self.notes.error(text.span(), message, "take another part of the prefix for the pool");
        }
        Some(pool)
    }

    fn advertise(&mut self, every: Spanned<Advertise>) -> Option<Option<Duration>> {
        let at = every.span();
        match every.into_inner() {
            Advertise::Flag(false) => Some(None),
            Advertise::Flag(true) => {
                self.notes.error(at, "`advertise` does not say how often", "write `advertise = \"3s\"`");
                None
            }
            // RFC 6275 §7.5: MaxRtrAdvInterval may be as short as 0.07 s; RFC 4861 §6.2.1: and as long as 1800 s.
            Advertise::Every(text) => self
                .duration_of(&Spanned::new(at, text), Duration::from_millis(70), Duration::from_secs(1800))
                .map(Some),
        }
    }

    fn mobile_nodes(
        &mut self,
        nodes: Field<Vec<MobileNodeTable>>,
        own: Option<&Identity>,
        link: &mut HomeLink,
    ) -> Option<Vec<MobileNodeEntry>> {
        if nodes.is_absent() {
            let message = "no mobile node may register: there is no [[mobile_node]]";
            self.notes.warning(0..0, message, "add a table [[mobile_node]] for each mobile node");
            return Some(Vec::new());
        }
        let nodes = nodes.optional()?.into_inner();
        // Every entry is checked, whatever the ones before it were like.
        let entries: Vec<_> = nodes.into_iter().map(|node| self.mobile_node_entry(node, own, link)).collect();
        entries.into_iter().collect()
    }

    fn mobile_node_entry(
        &mut self,
        table: MobileNodeTable,
        own: Option<&Identity>,
        link: &mut HomeLink,
    ) -> Option<MobileNodeEntry> {
        let identity = self.needed(table.id, value::identity);
        if let Some((at, identity)) = &identity {
            self.peer_identity(at.clone(), identity, own, link);
        }
        let authentication = self.authentication(table.authentication, table.psk_file);
        let home_addresses =
            table.home_address.required(&mut self.notes).and_then(|addresses| self.home_addresses(addresses, link));
        Some(MobileNodeEntry {
            identity: identity?.1,
            authentication: authentication?,
            home_addresses: home_addresses?,
        })
    }

    fn peer_identity(&mut self, at: Range<usize>, identity: &Identity, own: Option<&Identity>, link: &mut HomeLink) {
        let folded = value::folded(identity);
        if own.is_some_and(|own| value::folded(own) == folded) {
            let help = "give the mobile node an identity of its own";
            self.notes.error(at, "this is the home agent's own identity", help);
            return;
        }
        let (line, _) = self.notes.position(at.start);
        if let Some(first) = link.identities.get(&folded) {
            let message = format!("this identity has an entry already, on line {first}");
            self.notes.error(at, message, "merge the two entries, or correct one `id`");
        } else {
            link.identities.insert(folded, line);
        }
    }

    fn home_addresses(&mut self, texts: Spanned<Vec<Spanned<String>>>, link: &mut HomeLink) -> Option<Vec<Ipv6Addr>> {
        let at = texts.span();
        let texts = texts.into_inner();
        match texts.as_slice() {
            [] => {
                self.notes.error(at, "the list of home addresses is empty", "write `home_address = \"assign\"`");
                None
            }
            [only] if is_assign(only) => {
                if !link.has_pool {
                    let message = "there is no pool to assign a home address from";
                    let help = "add `pool = \"2001:db8:1:0:1::/80\"` to [home_agent], or write the home address";
                    self.notes.error(only.span(), message, help);
                }
                Some(Vec::new())
            }
            texts => {
                let addresses: Vec<_> = texts.iter().map(|text| self.home_address(text, link)).collect();
                addresses.into_iter().collect()
            }
        }
    }

    fn home_address(&mut self, text: &Spanned<String>, link: &mut HomeLink) -> Option<Ipv6Addr> {
        let at = text.span();
        if is_assign(text) {
            let message = "`assign` cannot stand beside home addresses";
            self.notes.error(at, message, "write either `home_address = \"assign\"` or a list of addresses");
            return None;
        }
        let address = self.checked(text, value::address)?;
        if link.address == Some(address) {
            let help = "write another address of the home prefix";
            self.notes.error(at, "this is the home agent's own address", help);
            return None;
        }
        if let Some(first) = link.home_addresses.get(&address) {
            let message = format!("this home address is taken already, on line {first}");
            self.notes.error(at, message, "give each mobile node home addresses of its own");
            return None;
        }
        let (line, _) = self.notes.position(at.start);
        link.home_addresses.insert(address, line);
        self.home_prefix(at, address, link.prefix);
        Some(address)
    }

    /// A home address outside of the home prefix may be meant: the prefix may be about to change.
    pub(super) fn home_prefix(&mut self, at: Range<usize>, address: Ipv6Addr, prefix: Option<Net>) {
        if let Some(Net { address: first, len }) = prefix.filter(|prefix| !value::holds(*prefix, address)) {
            // RFC 6275 §9.5.1, §10.3.1: such a registration is answered with status 132, not home subnet.
            let message = format!(
                "the home address is outside of the home prefix {first}/{len}: its registration is refused (132)"
            );
            self.notes.warning(at, message, "correct the address or the prefix, unless the prefix is being changed");
        }
    }
}
