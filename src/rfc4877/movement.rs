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

/// The tunnels that `children`, the oldest first, make up at this care-of address. Of several pairs of one purpose (a rekeying is
/// under way) the last one is sent under that the peer is known to receive under: RFC 7296 §2.8 has the responder of a rekeying go on
/// with the old pair until the initiator, which has the new one by then, deletes it.
pub fn tunnels<'a>(children: impl Iterator<Item = &'a Child>, care_of: CareOfAddress) -> Tunnels {
    let mut tunnels = Tunnels { care_of, return_routability: None, payload: None };
    for child in children {
        let place = match child.purpose {
            Purpose::ReturnRoutability => &mut tunnels.return_routability,
            Purpose::Payload => &mut tunnels.payload,
            Purpose::Binding | Purpose::PrefixDiscovery => continue,
        };
        if place.is_none() || !child.succeeds {
            *place = Some(child.reqid);
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
    let moves = moved.iter().flat_map(|child| {
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

#[cfg(test)]
mod tests {
    use super::*;

    const CARE_OF: CareOfAddress = CareOfAddress(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 7));

    fn payload(reqid: u32, succeeds: bool) -> Child {
        Child {
            purpose: Purpose::Payload,
            side: Side::HomeAgent,
            home_address: HomeAddress(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100)),
            home_agent: HomeAgentAddress(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
            care_of: CARE_OF,
            inbound_spi: reqid,
            outbound_spi: reqid,
            reqid,
            succeeds,
        }
    }

    fn sent_under(children: &[Child]) -> Option<u32> {
        tunnels(children.iter(), CARE_OF).payload
    }

    #[test]
    fn who_asked_for_a_rekeying_sends_under_the_new_pair_at_once() {
        assert_eq!(sent_under(&[payload(1, false), payload(2, false)]), Some(2));
    }

    #[test]
    fn who_was_asked_for_a_rekeying_sends_under_the_old_pair_until_it_is_deleted() {
        let (old, new, newer) = (payload(1, false), payload(2, true), payload(3, true));
        assert_eq!(sent_under(&[old, new]), Some(1));
        assert_eq!(sent_under(&[new]), Some(2));
        assert_eq!(sent_under(&[new, newer]), Some(2));
        assert_eq!(sent_under(&[]), None);
    }
}
