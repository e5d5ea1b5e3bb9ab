//! The CHILD_SAs of all mobile nodes: installed, removed.

use std::time::Instant;

use ike::action::{ChildId, ChildSa, Input};
use mip6::address::HomeAddress;
use tracing::info;

use super::{HomeAgent, apply};
use crate::daemon::shell::Shell;
use crate::kernel::op::Op;
use crate::rfc4877::child::{Child, Side};
use crate::rfc4877::pad::Pad;

impl HomeAgent {
    pub(super) fn children_of(&self, home_address: HomeAddress) -> Vec<Child> {
        self.children.values().map(|(_, child)| *child).filter(|child| child.home_address == home_address).collect()
    }

    pub(super) fn install(&mut self, now: Instant, sa: &ChildSa, shell: &mut dyn Shell) {
        let Some(child) = self.child(sa) else {
            self.ike.handle(now, Input::InstallFailed(sa.id));
            return;
        };
        let mut ops: Vec<Op> = child.install(sa).into();
        self.children.insert(sa.id, (sa.ike_sa, child));
        let mut plan = self.plan(child.home_address);
        if let Some(plan) = &mut plan {
            ops.append(&mut plan.ops);
        }
        if !apply(&ops, shell) {
            self.children.remove(&sa.id);
            self.ike.handle(now, Input::InstallFailed(sa.id));
            return;
        }
        if let Some(plan) = plan {
            self.stands(child.home_address, plan);
        }
        info!(
            event = "child", purpose = child.purpose.name(), home_address = %child.home_address,
            inbound = format_args!("{:08x}", child.inbound_spi), outbound = format_args!("{:08x}", child.outbound_spi),
            rekeyed = sa.replaces.is_some()
        );
    }

    fn child(&mut self, sa: &ChildSa) -> Option<Child> {
        let home_address = Pad::home_address_of(&sa.remote_selectors)?;
        Child::new(sa, Side::HomeAgent, home_address, self.settings.address, &mut self.reqids)
    }

    pub(super) fn remove_child(&mut self, now: Instant, id: ChildId, shell: &mut dyn Shell) {
        let Some((_, child)) = self.children.remove(&id) else { return };
        // First policies, so that no packet looks for an SA that is gone.
        self.reconcile(now, child.home_address, shell);
        self.repair.remove(now, child.remove().into(), shell);
    }
}
