//! The CHILD_SAs under it: asked for, installed, removed.

use std::net::IpAddr;
use std::time::Instant;

use ike::action::{ChildId, ChildRequest, ChildSa, IkeSaId, Input};
use ike::wire::NotifyType;
use mip6::action::{Location, MobileNodeInput};
use mip6::address::{CareOfAddress, HomeAddress};
use tracing::{info, warn};

use super::MobileNode;
use crate::daemon::shell::Shell;
use crate::kernel::op::Op;
use crate::rfc4877::child::{self, Child, Purpose, Side};
use crate::rfc4877::movement;
use crate::rfc4877::spd::{self, Policies, Tunnels};

impl MobileNode {
    pub(super) fn request(&self, purpose: Purpose, home_address: Option<HomeAddress>) -> ChildRequest {
        let (local_selectors, remote_selectors) = purpose.selectors(home_address, self.settings.home_agent);
        ChildRequest {
            local_selectors,
            remote_selectors,
            transport: purpose.transport(),
            suites: self.settings.suites.clone(),
            lifetime: self.settings.child_lifetime,
            tag: purpose.tag(),
        }
    }

    pub(super) fn install(&mut self, now: Instant, sa: &ChildSa, shell: &mut dyn Shell) {
        let child = self.child(sa);
        let Some(child) = child else {
            self.ike.handle(now, Input::InstallFailed(sa.id));
            return;
        };
        let mut ops: Vec<Op> = child.install(sa).into();
        self.children.insert(sa.id, child);
        let desired = self.desired(child.home_address);
        ops.extend(spd::difference(&self.policies, &desired));
        if !self.apply(&ops, shell) {
            self.children.remove(&sa.id);
            self.ike.handle(now, Input::InstallFailed(sa.id));
            return;
        }
        self.policies = desired;
        info!(
            event = "child",
            purpose = child.purpose.name(),
            inbound = format_args!("{:08x}", child.inbound_spi),
            outbound = format_args!("{:08x}", child.outbound_spi),
            rekeyed = sa.replaces.is_some()
        );
        if child.purpose == Purpose::Binding && sa.replaces.is_none() {
            let home_agent = self.settings.home_agent;
            self.mip6.handle(now, MobileNodeInput::Secured { home_address: child.home_address, home_agent });
            for purpose in Purpose::LATER {
                let request = self.request(purpose, Some(child.home_address));
                self.ike.handle(now, Input::CreateChild(sa.ike_sa, request));
            }
        }
    }

    fn child(&mut self, sa: &ChildSa) -> Option<Child> {
        let purpose = Purpose::from_tag(sa.tag)?;
        let reqid = match purpose {
            Purpose::Binding => child::BINDING_REQID,
            Purpose::PrefixDiscovery => child::PREFIX_DISCOVERY_REQID,
            Purpose::ReturnRoutability | Purpose::Payload => {
                let reqid = self.next_reqid;
                self.next_reqid = self.next_reqid.checked_add(1).unwrap_or(child::FIRST_TUNNEL_REQID);
                reqid
            }
        };
        let IpAddr::V6(care_of) = sa.endpoints.local_ip() else { return None };
        Some(Child {
            purpose,
            side: Side::MobileNode,
            home_address: self.home_address?,
            home_agent: self.settings.home_agent,
            care_of: CareOfAddress(care_of),
            inbound_spi: sa.inbound.spi,
            outbound_spi: sa.outbound.spi,
            reqid,
            succeeds: child::succeeds(sa),
        })
    }

    fn desired(&self, home_address: HomeAddress) -> Policies {
        let tunnels: Option<Tunnels> = match self.location {
            Location::Away(care_of) => Some(movement::tunnels(self.children.values(), care_of.address)),
            Location::Home { .. } | Location::Nowhere => None,
        };
        spd::mobile_node(home_address, self.settings.home_agent, tunnels)
    }

    pub(super) fn remove_child(&mut self, id: ChildId, shell: &mut dyn Shell) {
        let Some(child) = self.children.remove(&id) else { return };
        let desired = self.desired(child.home_address);
        let mut ops = spd::difference(&self.policies, &desired);
        ops.extend(child.remove());
        self.apply(&ops, shell);
        self.policies = desired;
    }

    pub(super) fn child_failed(&mut self, now: Instant, ike_sa: IkeSaId, tag: u64, notify: Option<NotifyType>) {
        let purpose = Purpose::from_tag(tag);
        let name = purpose.map_or("unknown", Purpose::name);
        let reason = match (purpose, notify, self.settings.home_address) {
            (Some(Purpose::Binding), Some(NotifyType::TsUnacceptable), Some(home_address)) => {
                format!("the home agent's configuration has another home address for us than {home_address}")
            }
            (Some(Purpose::Binding), Some(NotifyType::FailedCpRequired), Some(_)) => {
                "the home agent assigns us a home address: set home_address = \"assign\"".to_owned()
            }
            (_, Some(notify), _) => format!("the home agent says {notify}"),
            (_, None, _) => "the IKE SA ended before".to_owned(),
        };
        warn!(event = "child_refused", purpose = name, reason);
        if purpose == Some(Purpose::Binding) {
            // Without it there is no registration; the home agent will not say otherwise in a second.
            self.ike.handle(now, Input::Close(ike_sa));
        }
    }
}
