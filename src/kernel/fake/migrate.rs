//! XFRM_MSG_MIGRATE as Linux does it.

use std::net::IpAddr;

use super::{FakeKernel, Refusal, Sa};
use crate::kernel::op::{Direction, Mode, Move, PolicyKey, Protocol, Template, Verdict};

/// Nothing of what was asked for is there; said so whatever the cause.
const NOTHING: Refusal = (libc::ENODATA, "nothing to migrate");

impl FakeKernel {
    /// Moves the policy's template and one SA for each entry.
    pub(super) fn migrate(&mut self, key: &PolicyKey, moves: &[Move]) -> Result<(), Refusal> {
        if moves.is_empty() {
            return Ok(());
        }
        let unspecified = |m: &Move| m.to.0.is_unspecified() || m.to.1.is_unspecified();
        let twice = |(index, m): (usize, &Move)| {
            moves.iter().skip(index + 1).any(|other| (other.from, other.reqid) == (m.from, m.reqid))
        };
        if moves.iter().any(unspecified) || moves.iter().enumerate().any(twice) {
            return Err((libc::EINVAL, "an entry is there twice, or leads to no address"));
        }
        // Linux 6.12 finds the policy by a flow made of its selector: one for a single protocol it does not find.
        let found = key.direction == Direction::Out && key.selector.protocol == 0;
        let policy = self.policies.get_mut(key).filter(|_| found).ok_or((libc::ENOENT, "no such policy"))?;
        let Verdict::Allow(templates) = &mut policy.verdict else { return Err(NOTHING) };
        let mut moved = false;
        for template in templates {
            if let Some(m) = moves.iter().find(|m| is_meant(template, m)) {
                (template.source, template.destination) = m.to;
                moved = true;
            }
        }
        if !moved {
            return Err(NOTHING);
        }
        for m in moves {
            let Some(old) = self.find(m.from, m.reqid) else { continue };
            let Some(mut sa) = self.sas.remove(&old) else { continue };
            (sa.esp.key.source, sa.esp.key.destination) = m.to;
            self.insert(sa).map_err(|_| NOTHING)?;
        }
        Ok(())
    }

    fn find(&self, ends: (IpAddr, IpAddr), reqid: u32) -> Option<super::Name> {
        let is_meant = |sa: &Sa| {
            sa.esp.mode == Mode::Tunnel
                && (sa.esp.key.source, sa.esp.key.destination) == ends
                && (reqid == 0 || sa.esp.reqid == reqid)
        };
        let newest = self.sas.iter().filter(|(_, sa)| is_meant(sa)).max_by_key(|(_, sa)| sa.made);
        newest.map(|(name, _)| *name)
    }
}

fn is_meant(template: &Template, m: &Move) -> bool {
    template.protocol == Protocol::Esp
        && template.mode == Mode::Tunnel
        && (m.reqid == 0 || template.reqid == m.reqid)
        && (template.source, template.destination) == m.from
}
