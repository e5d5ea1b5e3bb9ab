//! A change of care-of address as one plan: which SAs and policies move, in which order (RFC 4877 §7.4).

use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress};

use super::child::{Child, Purpose, Side};
use super::spd::{self, Policies, Tunnels};
use crate::kernel::op::{Op, Policy, PolicyKey, Template, Verdict};

/// Which halves of the tunnel SAs move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// Both, in one step.
    Both,
    /// What we send only: the inbound ones were copied to the new care-of address and serve both for a while.
    Outbound,
}

/// The tunnels that `children` make up at this care-of address: of several pairs of one purpose (a rekeying is under way) the
/// last one is sent under.
pub fn tunnels<'a>(children: impl Iterator<Item = &'a Child>, care_of: CareOfAddress) -> Tunnels {
    let mut tunnels = Tunnels { care_of, return_routability: None, payload: None };
    for child in children {
        match child.purpose {
            Purpose::ReturnRoutability => tunnels.return_routability = Some(child.reqid),
            Purpose::Payload => tunnels.payload = Some(child.reqid),
            Purpose::Binding | Purpose::PrefixDiscovery => {}
        }
    }
    tunnels
}

/// What leads from the policies that stand to those that are desired while the tunnel SAs go to `to`. The SAs go on with
/// their SPIs, sequence numbers and replay windows.
///
/// The migration is tied to the payload policy: the kernel finds a policy only by an any-protocol selector on all versions.
pub fn carry(
    children: &[Child],
    to: CareOfAddress,
    halves: Halves,
    current: &Policies,
    desired: &Policies,
    payload: PolicyKey,
) -> Vec<Op> {
    let moved: Vec<&Child> = moving(children, to).collect();
    let (Some(guide), Some(policy)) = (guide(&moved, desired, payload), desired.get(&payload)) else {
        return spd::difference(current, desired);
    };
    let mut ops = Vec::new();
    let start = at_ends(policy, guide);
    if current.get(&payload) != Some(&start) {
        ops.push(Op::SetPolicy(start));
    }
    // Of more moves than one message holds each further message names again what the first one moved: that has to be what
    // the policy's template names.
    let (first, others): (Vec<&Child>, Vec<&Child>) = moved.iter().copied().partition(|child| *child == guide);
    let moves = first.into_iter().chain(others).flat_map(|child| {
        let inbound = (halves == Halves::Both).then(|| child.inbound_move(to));
        [Some(child.outbound_move(to)), inbound].into_iter().flatten()
    });
    ops.push(Op::Migrate { policy: payload, moves: moves.collect() });
    let mut now = current.clone();
    now.insert(payload, policy.clone());
    ops.extend(spd::difference(&now, desired));
    ops
}

/// Tunnel pairs that [`carry`] cannot move because no payload SA moves with them; they are to be made anew.
pub fn stranded(children: &[Child], to: CareOfAddress, desired: &Policies, payload: PolicyKey) -> Vec<Child> {
    let moved: Vec<&Child> = moving(children, to).collect();
    if guide(&moved, desired, payload).is_some() { Vec::new() } else { moved.into_iter().copied().collect() }
}

/// The copies of inbound SAs that a soft handover needs before the update is sent.
pub fn copies(children: &[Child], to: CareOfAddress) -> Vec<Op> {
    moving(children, to).map(|child| Op::CopySa { from: child.inbound_key(), to: std::net::IpAddr::V6(to.0) }).collect()
}

/// The policies that a binding desires with these children.
pub fn binding_policies(
    home: HomeAddress,
    agent: HomeAgentAddress,
    children: &[Child],
    care_of: CareOfAddress,
) -> Policies {
    spd::binding(home, agent, tunnels(children.iter(), care_of))
}

fn moving(children: &[Child], to: CareOfAddress) -> impl Iterator<Item = &Child> {
    children.iter().filter(move |child| !child.purpose.transport() && child.care_of != to)
}

/// The payload pair that is sent under, if it is among those that move.
fn guide<'a>(moved: &[&'a Child], desired: &Policies, payload: PolicyKey) -> Option<&'a Child> {
    let Verdict::Allow(templates) = &desired.get(&payload)?.verdict else { return None };
    let reqid = templates.first()?.reqid;
    moved.iter().find(|child| child.reqid == reqid).copied()
}

/// The payload policy with its template where the pair is now.
fn at_ends(policy: &Policy, child: &Child) -> Policy {
    let key = child.outbound_key();
    let verdict = match &policy.verdict {
        Verdict::Allow(templates) => Verdict::Allow(
            templates.iter().map(|t| Template { source: key.source, destination: key.destination, ..*t }).collect(),
        ),
        Verdict::Block => Verdict::Block,
    };
    Policy { verdict, ..policy.clone() }
}

/// The key of the policy that guides migrations on this side.
pub fn guiding_policy(home: HomeAddress, side: Side) -> PolicyKey {
    spd::payload_policy(home, side == Side::HomeAgent)
}
