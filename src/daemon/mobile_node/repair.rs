//! What becomes of a batch that the kernel refused.

use std::time::Instant;

use mip6::action::Location;
use tracing::warn;

use super::MobileNode;
use super::standing::Copy;
use crate::daemon::shell::Shell;
use crate::kernel::op::Op;

impl MobileNode {
    /// Carries a batch out; what fails is an operator's matter and is said as such.
    pub(super) fn apply(&mut self, ops: &[Op], shell: &mut dyn Shell) -> bool {
        match shell.apply(ops) {
            Ok(done) => {
                self.netlink_messages = self.netlink_messages.saturating_add(done.messages);
                true
            }
            Err(failure) => {
                warn!(event = "kernel_refused", %failure);
                false
            }
        }
    }

    /// Tries again what the kernel refused.
    pub(super) fn mend(&mut self, now: Instant, shell: &mut dyn Shell) {
        self.repair.begin();
        self.repair.pay(now, shell);
        if !self.arrived {
            self.arrive(now, false, shell);
        }
        self.follow(now, shell);
        self.repair.end();
    }

    /// Copies that were to be removed, and that stand where they are needed again.
    pub(super) fn claim_copies(&mut self) {
        let (Some(home_address), Location::Away(care_of)) = (self.home_address, self.location) else { return };
        for (of, child) in self.children_of(home_address) {
            let (at, key) = (care_of.address, child.inbound_key_at(care_of.address));
            if !child.purpose.transport() && child.care_of != at && self.repair.forgive(&Op::DeleteSa(key)) {
                self.standing.copies.push(Copy { of, at, key });
            }
        }
    }
}
