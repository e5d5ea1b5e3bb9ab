//! Both sides at once (RFC 7296 §2.8.1, §2.8.2, §2.25).

use std::time::Duration;

use ike::{CloseReason, Input};

use crate::world::*;

/// Gives both orders before either message arrives.
fn both(world: &mut World, mn: Input, ha: Input) {
    world.input(MN, mn);
    world.input(HA, ha);
}

fn first_children(world: &World) -> [ike::ChildId; 2] {
    [MN, HA].map(|host| world.hosts[host].living()[0].id)
}

/// RFC 7296 §2.8.1: of the two new children one stays, the old one goes; the nonces decide, so that all seeds have to do.
#[test]
fn a_child_that_both_rekey_is_replaced_once() {
    let mut survivors = std::collections::BTreeSet::new();
    for seed in 1..40 {
        let mut world = World::attached_with(seed);
        let [ours, theirs] = first_children(&world);
        both(&mut world, Input::RekeyChild(ours), Input::RekeyChild(theirs));
        world.run();
        world.assert_agreed();
        let [child] = world.hosts[MN].living()[..] else { panic!("seed {seed}: one child is left") };
        assert_eq!(child.replaces, Some(ours));
        survivors.insert(child.initiator);
        assert_eq!(world.hosts[MN].children.len(), 3);
        // It is a whole child: it can be rekeyed again.
        let id = child.id;
        world.input(MN, Input::RekeyChild(id));
        world.run();
        world.assert_agreed();
        assert_eq!(world.hosts[MN].living().len(), 1);
        assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
    }
    assert_eq!(survivors.len(), 2, "either side's child survives, as the nonces have it");
}

/// RFC 7296 §2.8.1: the same while any of the messages is lost once.
#[test]
fn a_child_that_both_rekey_is_replaced_once_whatever_is_lost() {
    for seed in 1..12 {
        for lost in 0..8 {
            let mut world = World::attached_with(seed);
            let [ours, theirs] = first_children(&world);
            both(&mut world, Input::RekeyChild(ours), Input::RekeyChild(theirs));
            let mut number = 0;
            world.advance_with(Duration::from_secs(120), |_| {
                number += 1;
                number != lost + 1
            });
            world.assert_agreed();
            assert_eq!(world.hosts[MN].living().len(), 1, "seed {seed}, lost {lost}: {:#?}", world.hosts[MN].log);
            assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
        }
    }
}

/// RFC 7296 §2.8.1: our request is so late that the peer has replaced and deleted the child: CHILD_SA_NOT_FOUND, ignored.
#[test]
fn a_late_rekeying_of_a_replaced_child_is_without_effect() {
    let mut world = World::attached();
    let [ours, theirs] = first_children(&world);
    world.input(MN, Input::RekeyChild(ours));
    world.lose();
    world.input(HA, Input::RekeyChild(theirs));
    world.run();
    assert_eq!(world.hosts[HA].living().len(), 1);
    world.advance(Duration::from_secs(100));
    world.assert_agreed();
    assert_eq!(world.hosts[MN].living().len(), 1);
}

/// RFC 7296 §2.8.2.
#[test]
fn an_ike_sa_that_both_rekey_keeps_its_children() {
    for seed in 1..40 {
        let mut world = World::attached_with(seed);
        let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
        both(&mut world, Input::RekeyIke(ike_sas[MN]), Input::RekeyIke(ike_sas[HA]));
        world.run();
        assert_eq!([MN, HA].map(|host| world.hosts[host].rekeyed()), [1, 1], "seed {seed}");
        for host in [MN, HA] {
            world.input(host, Input::CreateChild(ike_sas[host], payload()));
            world.run();
        }
        world.assert_agreed();
        assert_eq!(world.hosts[MN].living().len(), 3);
        assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
        world.assert_repetitions_identical();
    }
}

/// RFC 7296 §2.8.2, §2.25.2: the same while any of the messages is lost once.
#[test]
fn an_ike_sa_that_both_rekey_survives_whatever_is_lost() {
    for seed in 1..12 {
        for lost in 0..8 {
            let mut world = World::attached_with(seed);
            let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
            both(&mut world, Input::RekeyIke(ike_sas[MN]), Input::RekeyIke(ike_sas[HA]));
            let mut number = 0;
            world.advance_with(Duration::from_secs(120), |_| {
                number += 1;
                number != lost + 1
            });
            for host in [MN, HA] {
                world.input(host, Input::CreateChild(ike_sas[host], payload()));
                world.advance(Duration::from_secs(120));
            }
            world.assert_agreed();
            assert_eq!(world.hosts[MN].living().len(), 3, "seed {seed}, lost {lost}");
            assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
        }
    }
}

/// RFC 7296 §2.25.1, §2.25.2: TEMPORARY_FAILURE for one of them, and it is done a little later.
#[test]
fn a_new_child_and_a_rekeying_of_the_ike_sa_at_once_both_succeed() {
    for [child, rekey] in [[MN, HA], [HA, MN]] {
        let mut world = World::attached();
        world.input(child, Input::CreateChild(world.ike_sa(child), payload()));
        world.input(rekey, Input::RekeyIke(world.ike_sa(rekey)));
        world.run();
        assert_eq!(world.hosts[MN].rekeyed(), 0, "not at once");
        world.advance(Duration::from_secs(60));
        assert_eq!([MN, HA].map(|host| world.hosts[host].rekeyed()), [1, 1]);
        world.assert_agreed();
        assert_eq!(world.hosts[MN].living().len(), 2);
    }
}

/// RFC 7296 §1.4.1, §2.25.1.
#[test]
fn a_child_that_both_delete_is_gone_once() {
    let mut world = World::attached();
    let [ours, theirs] = first_children(&world);
    both(&mut world, Input::DeleteChild(ours), Input::DeleteChild(theirs));
    world.run();
    assert_eq!([MN, HA].map(|host| world.hosts[host].removed().len()), [1, 1]);
    assert!(world.hosts.iter().all(|host| host.closed().is_empty()));
}

/// RFC 7296 §2.25.1.
#[test]
fn a_child_that_one_side_deletes_while_the_other_rekeys_it_is_settled() {
    for [delete, rekey] in [[MN, HA], [HA, MN]] {
        let mut world = World::attached();
        let children = first_children(&world);
        world.input(delete, Input::DeleteChild(children[delete]));
        world.input(rekey, Input::RekeyChild(children[rekey]));
        world.run();
        world.advance(Duration::from_secs(400));
        world.assert_agreed();
        assert!(world.hosts.iter().all(|host| host.living().is_empty() && host.closed().is_empty()));
    }
}

/// RFC 7296 §2.25.2.
#[test]
fn an_ike_sa_that_both_close_is_closed() {
    let mut world = World::attached();
    let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
    both(&mut world, Input::Close(ike_sas[MN]), Input::Close(ike_sas[HA]));
    world.run();
    world.advance(Duration::from_secs(700));
    for host in &world.hosts {
        assert_eq!(host.closed(), [CloseReason::Local]);
        assert!(host.engine.is_empty() && host.living().is_empty());
    }
}

/// RFC 7296 §2.25.2: the close wins, the rekeying is forgotten.
#[test]
fn an_ike_sa_that_one_side_closes_while_the_other_rekeys_it_is_closed() {
    for [close, rekey] in [[MN, HA], [HA, MN]] {
        let mut world = World::attached();
        let ike_sas = [MN, HA].map(|host| world.ike_sa(host));
        world.input(close, Input::Close(ike_sas[close]));
        world.input(rekey, Input::RekeyIke(ike_sas[rekey]));
        world.run();
        world.advance(Duration::from_secs(700));
        assert_eq!(world.hosts[close].closed(), [CloseReason::Local]);
        assert_eq!(world.hosts[rekey].closed(), [CloseReason::PeerDeleted]);
        assert!(world.hosts.iter().all(|host| host.engine.is_empty()));
    }
}

/// Two attempts to connect to each other at once are two IKE SAs; the owners choose.
#[test]
fn two_sides_may_initiate_at_once() {
    let mut world = World::new();
    world.hosts[MN].owner.local_id = ha_id();
    let back = ike::action::Connect { endpoints: endpoints(HOME_AGENT, CARE_OF), ..connect() };
    both(&mut world, Input::Connect(Box::new(connect())), Input::Connect(Box::new(back)));
    world.run();
    assert_eq!([MN, HA].map(|host| world.hosts[host].engine.established()), [2, 2]);
}
