//! A kernel in memory for simulations: it refuses what Linux refuses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::op::{Address, Op, Policy, PolicyKey, Protocol, RouteOptimization, SaKey, Template, Verdict};
use super::{Done, Failure, Kernel};

/// What stands in the pretended kernel.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    /// ESP SAs and their reqids.
    sas: BTreeMap<SaKey, u32>,
    states: BTreeMap<SaKey, RouteOptimization>,
    policies: BTreeMap<PolicyKey, Policy>,
    addresses: Vec<Address>,
    proxies: Vec<(u32, Ipv6Addr)>,
}

impl FakeKernel {
    /// An empty kernel.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether an interface has this address.
    pub fn has_address(&self, address: Ipv6Addr) -> bool {
        self.addresses.iter().any(|known| known.address == address)
    }

    /// Whether this SA stands.
    pub fn has_sa(&self, key: &SaKey) -> bool {
        self.sas.contains_key(key)
    }

    /// How many ESP SAs stand.
    pub fn esp_sas(&self) -> usize {
        self.sas.len()
    }

    /// Whether this very policy stands.
    pub fn has_policy(&self, policy: &Policy) -> bool {
        self.policies.get(&policy.key) == Some(policy)
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), (i32, &'static str)> {
        match op {
            Op::AddSa(sa) => self.insert(sa.key, sa.reqid),
            Op::DeleteSa(key) => {
                let esp = self.sas.remove(key).is_some();
                let state = self.states.remove(key).is_some();
                if esp || state { Ok(()) } else { Err((libc::ESRCH, "no such SA")) }
            }
            Op::CopySa { from, to } => {
                let reqid = *self.sas.get(from).ok_or((libc::ESRCH, "no such SA"))?;
                self.insert(SaKey { destination: *to, ..*from }, reqid)
            }
            Op::SetRouteOptimization(state) => {
                self.states.insert(state.key, *state);
                Ok(())
            }
            Op::SetPolicy(policy) => {
                self.policies.insert(policy.key, policy.clone());
                Ok(())
            }
            Op::DeletePolicy(key) => self.policies.remove(key).map(drop).ok_or((libc::ENOENT, "no such policy")),
            Op::Migrate { policy, moves } => self.migrate(policy, moves),
            Op::AddAddress(address) => {
                self.addresses.retain(|known| known != address);
                self.addresses.push(*address);
                Ok(())
            }
            Op::DeleteAddress(address) => {
                self.addresses.retain(|known| known != address);
                Ok(())
            }
            Op::AddProxy { interface, address } => {
                self.proxies.push((*interface, *address));
                Ok(())
            }
            Op::DeleteProxy { interface, address } => {
                self.proxies.retain(|known| known != &(*interface, *address));
                Ok(())
            }
            Op::SpdHash { .. }
            | Op::SetRoute(_)
            | Op::DeleteRoute(_)
            | Op::SetNeighbour { .. }
            | Op::DeleteNeighbour { .. }
            | Op::Sysctl { .. } => Ok(()),
        }
    }

    fn insert(&mut self, key: SaKey, reqid: u32) -> Result<(), (i32, &'static str)> {
        // The kernel knows an SA by destination, SPI and protocol; the source is not part of its name.
        let taken = self.sas.keys().any(|known| (known.destination, known.spi) == (key.destination, key.spi));
        if taken {
            return Err((libc::EEXIST, "this SPI is taken"));
        }
        self.sas.insert(key, reqid);
        Ok(())
    }

    fn migrate(&mut self, key: &PolicyKey, moves: &[super::op::Move]) -> Result<(), (i32, &'static str)> {
        let policy = self.policies.get_mut(key).ok_or((libc::ENOENT, "no such policy"))?;
        let Verdict::Allow(templates) = &mut policy.verdict else { return Err((libc::ENODATA, "no template")) };
        let matches = |t: &Template, m: &super::op::Move| {
            t.protocol == Protocol::Esp && t.reqid == m.reqid && (t.source, t.destination) == m.from
        };
        if !templates.iter().any(|t| moves.iter().any(|m| matches(t, m))) {
            return Err((libc::ENODATA, "no template matches"));
        }
        for template in templates {
            if let Some(m) = moves.iter().find(|m| matches(template, m)) {
                (template.source, template.destination) = m.to;
            }
        }
        for m in moves {
            let found = self.sas.iter().find(|(key, reqid)| **reqid == m.reqid && ends(key) == m.from);
            if let Some((old, reqid)) = found.map(|(key, reqid)| (*key, *reqid)) {
                self.sas.remove(&old);
                self.insert(SaKey { source: m.to.0, destination: m.to.1, ..old }, reqid)?;
            }
        }
        Ok(())
    }
}

fn ends(key: &SaKey) -> (IpAddr, IpAddr) {
    (key.source, key.destination)
}

impl Kernel for FakeKernel {
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure> {
        let before = self.clone();
        for (index, op) in batch.iter().enumerate() {
            if let Err((errno, reason)) = self.carry_out(op) {
                *self = before;
                return Err(Failure {
                    index,
                    operation: format!("{op:?}"),
                    errno: Some(errno),
                    reason: reason.into(),
                    left_behind: Vec::new(),
                });
            }
        }
        Ok(Done { messages: u32::try_from(batch.len()).unwrap_or(u32::MAX) })
    }
}
