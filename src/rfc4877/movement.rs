//! A change of care-of address as one plan: which SAs and policies move, in which order (RFC 4877 §7.4).

use std::net::IpAddr;

use mip6::address::{CareOfAddress, HomeAddress, HomeAgentAddress};

use super::child::{Child, Purpose, Side};
use super::spd::{self, Policies, Tunnels};
use crate::kernel::op::{Op, Policy, PolicyKey, SaKey, Verdict};

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
    // Of more moves than one message holds each further message names again what the first one moved: that has to be what
    // the policy's template names.
    let (first, others): (Vec<&Child>, Vec<&Child>) = moved.iter().copied().partition(|child| *child == guide);
    let moves = first.into_iter().chain(others).flat_map(|child| {
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::kernel::op::Move;

    const OLD: &str = "2001:db8:2::2";
    const NEW: &str = "2001:db8:3::3";

    fn care_of(text: &str) -> CareOfAddress {
        CareOfAddress(text.parse().unwrap())
    }

    fn home() -> HomeAddress {
        HomeAddress("2001:db8:1::2".parse().unwrap())
    }

    fn agent() -> HomeAgentAddress {
        HomeAgentAddress("2001:db8:1::1".parse().unwrap())
    }

    fn child(purpose: Purpose, side: Side, reqid: u32, at: &str) -> Child {
        Child {
            purpose,
            side,
            home_address: home(),
            home_agent: agent(),
            care_of: care_of(at),
            inbound_spi: reqid * 2,
            outbound_spi: reqid * 2 + 1,
            reqid,
            succeeds: false,
        }
    }

    fn four(side: Side) -> Vec<Child> {
        vec![
            child(Purpose::Binding, side, 1, OLD),
            child(Purpose::PrefixDiscovery, side, 2, OLD),
            child(Purpose::ReturnRoutability, side, 4096, OLD),
            child(Purpose::Payload, side, 4097, OLD),
        ]
    }

    fn policies(side: Side, children: &[Child], at: &str) -> Policies {
        match side {
            Side::HomeAgent => binding_policies(home(), agent(), children, care_of(at)),
            Side::MobileNode => spd::mobile_node(home(), agent(), Some(tunnels(children.iter(), care_of(at)))),
        }
    }

    fn plan(side: Side, children: &[Child], received: &[u32]) -> Vec<Op> {
        let (current, desired) = (policies(side, children, OLD), policies(side, children, NEW));
        carry(children, care_of(NEW), received, &current, &desired, guiding_policy(home(), side))
    }

    fn migration(ops: &[Op]) -> (PolicyKey, Vec<Move>) {
        let mut found = ops.iter().filter_map(|op| match op {
            Op::Migrate { policy, moves } => Some((*policy, moves.clone())),
            _ => None,
        });
        let first = found.next().expect("a migration");
        assert!(found.next().is_none(), "one migration");
        first
    }

    /// Carries policies out as the kernel does: a migration moves the template of its policy.
    fn carried_out(mut policies: Policies, ops: &[Op]) -> Policies {
        for op in ops {
            match op {
                Op::SetPolicy(policy) => _ = policies.insert(policy.key, policy.clone()),
                Op::DeletePolicy(key) => _ = policies.remove(key),
                Op::Migrate { policy, moves } => {
                    let policy = policies.get_mut(policy).expect("a policy to migrate by");
                    let Verdict::Allow(templates) = &mut policy.verdict else { panic!("it blocks") };
                    let one = moves.iter().find(|one| {
                        one.reqid == templates[0].reqid && one.from == (templates[0].source, templates[0].destination)
                    });
                    let to = one.expect("a move that matches the template").to;
                    (templates[0].source, templates[0].destination) = to;
                }
                other => panic!("{other:?}"),
            }
        }
        policies
    }

    /// RFC 4877 §7.4, §7.2.2: one migration moves both tunnel pairs, and the policies end where they are desired.
    #[test]
    fn a_movement_is_one_migration_of_all_tunnels_and_leaves_the_policies_as_desired() {
        for side in [Side::MobileNode, Side::HomeAgent] {
            let children = four(side);
            let ops = plan(side, &children, &[]);
            let (policy, moves) = migration(&ops);
            assert_eq!(policy, guiding_policy(home(), side));
            let (old, new): (IpAddr, IpAddr) = (OLD.parse().unwrap(), NEW.parse().unwrap());
            let agent = IpAddr::V6(agent().0);
            let ends = |at: IpAddr, outbound: bool| {
                if outbound == (side == Side::MobileNode) { (at, agent) } else { (agent, at) }
            };
            let expected: Vec<_> = [(4097, true), (4097, false), (4096, true), (4096, false)]
                .map(|(reqid, outbound)| Move { from: ends(old, outbound), to: ends(new, outbound), reqid })
                .into();
            assert_eq!(moves, expected, "the signalling SAs stay (RFC 4877 §4.2)");
            let after = carried_out(policies(side, &children, OLD), &ops);
            assert_eq!(after, policies(side, &children, NEW));
            // What is still protected is at no moment without its policy.
            assert!(!ops.iter().any(|op| matches!(op, Op::DeletePolicy(_))));
        }
    }

    /// In a soft handover the inbound halves were copied and serve both places.
    #[test]
    fn a_soft_movement_moves_only_what_is_sent() {
        let children = four(Side::MobileNode);
        let (_, moves) = migration(&plan(Side::MobileNode, &children, &[4096 * 2, 4097 * 2]));
        assert_eq!(moves.len(), 2);
        assert!(moves.iter().all(|one| one.to.0 == NEW.parse::<IpAddr>().unwrap()));
        let copied: Vec<_> = copies(&children, care_of(NEW), &[])
            .into_iter()
            .map(|op| match op {
                Op::CopySa { from, to } => (from, to),
                other => panic!("{other:?}"),
            })
            .collect();
        let to = NEW.parse::<IpAddr>().unwrap();
        assert_eq!(copied, [(children[2].inbound_key(), to), (children[3].inbound_key(), to)]);
    }

    /// Those that are there already (made at the new place while the movement was on its way) are not moved again.
    #[test]
    fn what_is_at_the_new_place_already_stays() {
        let mut children = four(Side::HomeAgent);
        children[2].care_of = care_of(NEW);
        let (_, moves) = migration(&plan(Side::HomeAgent, &children, &[]));
        assert!(moves.iter().all(|one| one.reqid == 4097) && moves.len() == 2);
        children[3].care_of = care_of(NEW);
        let current = policies(Side::HomeAgent, &children, NEW);
        let ops = carry(&children, care_of(NEW), &[], &current, &current, guiding_policy(home(), Side::HomeAgent));
        assert!(ops.is_empty());
        assert!(copies(&children, care_of(NEW), &[]).is_empty());
    }

    /// While a rekeying is under way there are two pairs for payload: both move, each named by its own reqid.
    #[test]
    fn both_pairs_of_a_rekeying_move_and_the_newer_is_sent_under() {
        for side in [Side::MobileNode, Side::HomeAgent] {
            let mut children = four(side);
            children.push(child(Purpose::Payload, side, 4098, OLD));
            assert_eq!(tunnels(children.iter(), care_of(OLD)).payload, Some(4098));
            let ops = plan(side, &children, &[]);
            let (_, moves) = migration(&ops);
            let reqids: Vec<_> = moves.iter().map(|one| one.reqid).collect();
            assert_eq!(reqids, [4098, 4098, 4096, 4096, 4097, 4097]);
            assert_eq!(carried_out(policies(side, &children, OLD), &ops), policies(side, &children, NEW));
        }
    }

    /// RFC 7296 §2.8: who was asked for a rekeying sends under the old pair until it is deleted.
    #[test]
    fn a_pair_that_the_peer_made_is_sent_under_when_the_old_one_is_gone() {
        let old = child(Purpose::Payload, Side::HomeAgent, 1, OLD);
        let new = Child { succeeds: true, ..child(Purpose::Payload, Side::HomeAgent, 2, OLD) };
        let newer = Child { succeeds: true, ..child(Purpose::Payload, Side::HomeAgent, 3, OLD) };
        let sent_under = |children: &[Child]| tunnels(children.iter(), care_of(OLD)).payload;
        assert_eq!(sent_under(&[old, new]), Some(1));
        assert_eq!(sent_under(&[new]), Some(2));
        assert_eq!(sent_under(&[new, newer]), Some(2));
        assert_eq!(sent_under(&[]), None);
    }

    /// The policy that guides the migration stands elsewhere (it blocks, or its template is of another place): it is set first.
    #[test]
    fn a_guide_that_is_not_where_the_pair_is_is_put_there_first() {
        for side in [Side::MobileNode, Side::HomeAgent] {
            let children = four(side);
            let desired = policies(side, &children, NEW);
            let guide = guiding_policy(home(), side);
            for current in [Policies::new(), policies(side, &[], OLD), policies(side, &children, "2001:db8:9::9")] {
                let ops = carry(&children, care_of(NEW), &[], &current, &desired, guide);
                let first = ops.iter().position(|op| matches!(op, Op::SetPolicy(policy) if policy.key == guide));
                let moved = ops.iter().position(|op| matches!(op, Op::Migrate { .. }));
                assert!(first < moved && first.is_some());
                assert_eq!(carried_out(current, &ops), desired);
            }
        }
    }

    /// Without a payload pair another one stands in its policy while the migration lasts.
    #[test]
    fn tunnels_without_a_payload_pair_move_all_the_same() {
        for side in [Side::MobileNode, Side::HomeAgent] {
            let children = four(side)[..3].to_vec();
            let (current, desired) = (policies(side, &children, OLD), policies(side, &children, NEW));
            let ops = carry(&children, care_of(NEW), &[], &current, &desired, guiding_policy(home(), side));
            let (_, moves) = migration(&ops);
            assert!(moves.iter().all(|one| one.reqid == 4096) && moves.len() == 2);
            assert_eq!(carried_out(current.clone(), &ops), desired);
            let none = carry(&children[..2], care_of(NEW), &[], &current, &desired, guiding_policy(home(), side));
            assert!(!none.iter().any(|op| matches!(op, Op::Migrate { .. })), "signalling never moves");
        }
    }

    /// A copy that stands at the new place already, of an earlier visit, is neither made again nor moved to.
    #[test]
    fn what_is_received_at_the_new_place_already_is_not_copied_again() {
        let children = four(Side::MobileNode);
        let received = [children[3].inbound_spi];
        assert_eq!(copies(&children, care_of(NEW), &received).len(), 1);
        let (_, moves) = migration(&plan(Side::MobileNode, &children, &received));
        assert_eq!(moves.iter().filter(|one| one.reqid == 4097).count(), 1);
    }

    /// RFC 4877 §4.2: at home there are no tunnels; nothing but their policies goes, and the SAs may be used again.
    #[test]
    fn the_way_home_takes_the_tunnel_policies_away_and_no_sa() {
        let children = four(Side::MobileNode);
        let away = policies(Side::MobileNode, &children, OLD);
        let at_home = spd::mobile_node(home(), agent(), None);
        let ops = spd::difference(&away, &at_home);
        assert!(ops.iter().all(|op| matches!(op, Op::DeletePolicy(_))));
        assert_eq!(carried_out(away.clone(), &ops), at_home);
        assert_eq!(carried_out(at_home.clone(), &spd::difference(&at_home, &away)), away);
    }
}
