//! A change of care-of address as one plan: which SAs and policies move, in which order (RFC 4877 §7.4).

use std::net::IpAddr;

use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress};

use super::child::{Child, Purpose, Side};
use super::spd::{self, Policies, Tunnels};
use crate::kernel::op::{Op, Policy, PolicyKey, SaKey, Verdict};

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
/// their SPIs, sequence numbers and replay windows. `received`: inbound SPIs that stand at `to` already, by a copy; of these
/// pairs only what we send moves.
///
/// The migration is tied to the payload policy: the kernel finds a policy only by an any-protocol selector on all versions.
/// Without a payload pair among those that move, another one stands in its policy for just that long: its SAs take no payload.
pub fn carry(
    children: &[Child],
    to: CareOfAddress,
    received: &[u32],
    current: &Policies,
    desired: &Policies,
    payload: PolicyKey,
) -> Vec<Op> {
    let moved: Vec<&Child> = moving(children, to).collect();
    let Some(guide) = guide(&moved, desired, payload) else { return spd::difference(current, desired) };
    let mut ops = Vec::new();
    let start = at_ends(payload, guide, guide.care_of);
    if current.get(&payload) != Some(&start) {
        ops.push(Op::SetPolicy(start));
    }
    let moves = moved.iter().flat_map(|child| {
        let inbound = (!received.contains(&child.inbound_spi)).then(|| child.inbound_move(to));
        [Some(child.outbound_move(to)), inbound].into_iter().flatten()
    });
    ops.push(Op::Migrate { policy: payload, moves: moves.collect() });
    let mut now = current.clone();
    now.insert(payload, at_ends(payload, guide, to));
    ops.extend(spd::difference(&now, desired));
    ops
}

/// The copies of inbound SAs that a soft handover needs before the update is sent, but for those that stand already.
pub fn copies(children: &[Child], to: CareOfAddress, received: &[u32]) -> Vec<Op> {
    moving(children, to)
        .filter(|child| !received.contains(&child.inbound_spi))
        .map(|child| Op::CopySa { from: child.inbound_key(), to: IpAddr::V6(to.0) })
        .collect()
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

/// The tunnels that are not at `to` yet.
pub fn moving(children: &[Child], to: CareOfAddress) -> impl Iterator<Item = &Child> {
    children.iter().filter(move |child| !child.purpose.transport() && child.care_of != to)
}

/// The pair that stands in the payload policy: the one that is sent under, if it is among those that move.
fn guide<'a>(moved: &[&'a Child], desired: &Policies, payload: PolicyKey) -> Option<&'a Child> {
    let reqid = match &desired.get(&payload)?.verdict {
        Verdict::Allow(templates) => templates.first().map(|template| template.reqid),
        Verdict::Block => None,
    };
    let sent_under = moved.iter().find(|child| Some(child.reqid) == reqid);
    sent_under.or_else(|| moved.first()).copied()
}

/// The payload policy with this pair, at this care-of address.
fn at_ends(key: PolicyKey, child: &Child, care_of: CareOfAddress) -> Policy {
    let SaKey { source, destination, .. } = Child { care_of, ..*child }.outbound_key();
    let template = spd::tunnel(source, destination, child.reqid);
    Policy { key, priority: spd::PAYLOAD, verdict: Verdict::Allow(vec![template]) }
}

/// The key of the policy that guides migrations on this side.
pub fn guiding_policy(home: HomeAddress, side: Side) -> PolicyKey {
    spd::payload_policy(home, side == Side::HomeAgent)
}
