//! `[mobile]` and `[mobile.home_agent]`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use toml::Spanned;

use super::{Context, is_assign};
use crate::model::{HomeAgentEntry, Identity, MobileInterface, MobileNode, Net};
use crate::raw::{Field, InterfaceEntry, MobileTable, PeerTable};
use crate::value;

impl Context<'_, '_> {
    pub(super) fn mobile_node(&mut self, table: MobileTable, own: Option<&Identity>) -> Option<MobileNode> {
        let interfaces = table.interfaces.required(&mut self.notes).and_then(|entries| self.interfaces(entries));
        let home_prefix = self.needed(table.home_prefix, value::net).map(|(_, prefix)| prefix);
        let home_agent = table
            .home_agent
            .required(&mut self.notes)
            .and_then(|peer| self.home_agent_entry(peer.into_inner(), home_prefix, own));
        let agent = home_agent.as_ref().map(|agent| agent.address);
        let home_address = self.own_home_address(table.home_address, agent, home_prefix);
        let lifetime = self.lifetime(table.lifetime, Duration::from_secs(10 * 60));
        let newest_link = match table.handover.optional() {
            Some(handover) => self.one_of(&handover, &[("newest-link", true), ("keep", false)]),
            None => Some(true),
        };
        let linger = self.duration(table.linger, Duration::from_secs(2), Duration::ZERO, Duration::from_secs(60 * 60));
        // RFC 6275 §11.8: less than a second is not enough for the home agent's duplicate address detection.
        let first_wait = self.duration(
            table.first_wait,
            Duration::from_millis(1500),
            Duration::from_secs(1),
            Duration::from_secs(32),
        );
        Some(MobileNode {
            interfaces: interfaces?,
            home_prefix: home_prefix?,
            home_address: home_address?,
            lifetime: lifetime?,
            newest_link: newest_link?,
            linger: linger?,
            first_wait: first_wait?,
            home_agent: home_agent?,
        })
    }

    fn interfaces(&mut self, entries: Spanned<Vec<InterfaceEntry>>) -> Option<Vec<MobileInterface>> {
        let at = entries.span();
        let entries = entries.into_inner();
        if entries.is_empty() {
            self.notes.error(at, "there is no interface to move with", "write `interfaces = [\"eth0\"]`");
            return None;
        }
        let mut seen = BTreeMap::new();
        let interfaces: Vec<_> = entries.into_iter().map(|entry| self.interface(entry, &mut seen)).collect();
        interfaces.into_iter().collect()
    }

    fn interface(&mut self, entry: InterfaceEntry, seen: &mut BTreeMap<String, usize>) -> Option<MobileInterface> {
        let preference = match entry.preference.is_absent() {
            true => Some(0),
            false => entry.preference.optional().map(Spanned::into_inner),
        };
        let (at, name) = self.needed(entry.name, value::interface)?;
        let (line, _) = self.notes.position(at.start);
        if let Some(first) = seen.get(&name) {
            let message = format!("this interface is listed already, on line {first}");
            self.notes.error(at, message, "list each interface once");
            return None;
        }
        seen.insert(name.clone(), line);
        Some(MobileInterface { name, preference: preference? })
    }

    fn home_agent_entry(
        &mut self,
        table: PeerTable,
        home_prefix: Option<Net>,
        own: Option<&Identity>,
    ) -> Option<HomeAgentEntry> {
        let address = self.needed(table.address, value::address);
        if let (Some((at, address)), Some(prefix)) = (&address, home_prefix)
            && !value::holds(prefix, *address)
        {
            let Net { address: first, len } = prefix;
            let message = format!("the home agent's address is outside of the home prefix {first}/{len}");
            self.notes.warning(at.clone(), message, "correct one of the two, unless its link has several prefixes");
        }
        let identity = self.needed(table.id, value::identity);
        if let (Some((at, identity)), Some(own)) = (&identity, own)
            && value::folded(identity) == value::folded(own)
        {
            let help = "write the identity that the home agent has in its own file";
            self.notes.error(at.clone(), "this is the mobile node's own identity", help);
        }
        let authentication = self.authentication(table.authentication, table.psk_file);
        Some(HomeAgentEntry { address: address?.1, identity: identity?.1, authentication: authentication? })
    }

    fn own_home_address(
        &mut self,
        field: Field<String>,
        agent: Option<Ipv6Addr>,
        home_prefix: Option<Net>,
    ) -> Option<Option<Ipv6Addr>> {
        if field.is_absent() {
            return Some(None);
        }
        let text = field.optional()?;
        if is_assign(&text) {
            return Some(None);
        }
        let address = self.checked(&text, value::address)?;
        if agent == Some(address) {
            let help = "write an address of our own on the home link, or `assign`";
            self.notes.error(text.span(), "this is the home agent's address", help);
            return None;
        }
        self.home_prefix(text.span(), address, home_prefix);
        Some(Some(address))
    }
}
