//! The essence of what seeds have found, each as a life of its own.

use std::time::Duration;

use ike::action::Input;
use mip6::action::Location;

use crate::hosts::{AGENT, Place, Setup};
use crate::verdict;
use crate::world::World;

const MOBILE: usize = 0;
const WIRE: usize = 0;
const RADIO: usize = 1;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A mobile node that is registered at this place.
fn at(place: Place, setup: Setup) -> World {
    let mut world = World::new(setup, 1);
    world.plug(MOBILE, WIRE, Some(place), true);
    world.run(secs(5));
    agree(&world);
    world
}

#[track_caller]
fn agree(world: &World) {
    assert_eq!(world.violations, Vec::<String>::new());
    assert_eq!(verdict::consistent(world), Ok(()));
}

fn ike_sas(world: &World) -> usize {
    world.agent.ike_sas().count()
}

fn child(world: &World, purpose: homeward::rfc4877::child::Purpose) -> ike::ChildId {
    let children = world.mobiles[MOBILE].node.as_ref().unwrap().children();
    children.filter(|(_, child)| child.purpose == purpose).map(|(id, _)| *id).last().unwrap()
}

#[test]
fn a_node_that_loses_its_ike_sa_at_home_rests() {
    let mut world = at(Place::A, Setup::quiet());
    world.plug(MOBILE, WIRE, Some(Place::Home), true);
    world.run(secs(5));
    agree(&world);
    world.restart_agent();
    world.run(secs(300));
    agree(&world);
}

#[test]
fn who_comes_back_to_a_link_that_still_lingers_finds_its_sas_there() {
    let mut world = at(Place::A, Setup::quiet());
    world.plug(MOBILE, RADIO, Some(Place::B), true);
    world.run(millis(200));
    world.plug(MOBILE, RADIO, None, true);
    world.run(millis(200));
    world.plug(MOBILE, RADIO, Some(Place::B), true);
    world.run(millis(500));
    agree_soon(&mut world);
}

#[track_caller]
fn agree_soon(world: &mut World) {
    world.run(secs(20));
    agree(world);
}

#[test]
fn a_child_that_the_home_agent_deletes_is_asked_for_again() {
    use homeward::rfc4877::child::Purpose;
    for purpose in [Purpose::Binding, Purpose::PrefixDiscovery, Purpose::ReturnRoutability, Purpose::Payload] {
        let mut world = at(Place::A, Setup::quiet());
        let gone = world.agent.children().find(|(.., child)| child.purpose == purpose).map(|(id, ..)| id).unwrap();
        world.order_agent(|_| Input::DeleteChild(gone));
        world.run(millis(500));
        assert!(world.agent.children().all(|(.., child)| child.purpose != purpose), "{purpose:?} is deleted");
        agree_soon(&mut world);
    }
}

#[test]
fn a_child_that_a_kernel_refuses_is_asked_for_again() {
    for refused in 1..6 {
        for by_agent in [false, true] {
            let mut world = World::new(Setup::quiet(), 1);
            match by_agent {
                true => world.agent_hand.refuse = refused,
                false => world.mobiles[MOBILE].hand.refuse = refused,
            }
            world.plug(MOBILE, WIRE, Some(Place::A), true);
            world.run(secs(120));
            agree(&world);
        }
    }
}

#[test]
fn nothing_leaves_in_the_clear_whatever_the_kernel_refuses() {
    // Each batch of the way from home to a foreign link and on to another one, refused by itself.
    for place in [Place::Home, Place::B] {
        for refused in 0..8 {
            let mut world = at(Place::A, Setup::quiet());
            world.plug(MOBILE, WIRE, Some(place), true);
            world.run(secs(5));
            world.plug(MOBILE, WIRE, None, true);
            world.mobiles[MOBILE].hand.let_pass = refused;
            world.mobiles[MOBILE].hand.refuse = 1;
            world.plug(MOBILE, WIRE, Some(Place::C), true);
            world.run(secs(60));
            agree(&world);
        }
    }
}

#[test]
fn a_move_that_a_kernel_refuses_is_made_up_for() {
    for refused in 0..8 {
        for by_agent in [false, true] {
            let mut world = at(Place::A, Setup::quiet());
            let hand = if by_agent { &mut world.agent_hand } else { &mut world.mobiles[MOBILE].hand };
            (hand.let_pass, hand.refuse) = (refused, 2);
            world.plug(MOBILE, RADIO, Some(Place::B), true);
            // After status 130 the next update comes in 32 s.
            world.run(secs(100));
            agree(&world);
        }
    }
}

#[test]
fn a_binding_that_a_kernel_does_not_take_down_at_first_is_taken_down() {
    let mut world = at(Place::A, Setup::quiet());
    world.agent_hand.refuse = 3;
    world.plug(MOBILE, WIRE, Some(Place::Home), true);
    agree_soon(&mut world);
}

#[test]
fn tunnels_move_though_there_is_no_payload_pair_among_them() {
    use homeward::rfc4877::child::Purpose;
    let mut world = at(Place::A, Setup::quiet());
    let payload = child(&world, Purpose::Payload);
    world.order_mobile(MOBILE, |_| Input::DeleteChild(payload));
    world.run(millis(50));
    world.plug(MOBILE, WIRE, Some(Place::B), true);
    agree_soon(&mut world);
}

#[test]
fn without_k_a_move_makes_a_new_ike_sa_and_the_first_registration_does_not() {
    let mut world = at(Place::A, Setup { key_mobility: false, ..Setup::quiet() });
    let first: Vec<_> = world.agent.ike_sas().map(|(ike_sa, ..)| ike_sa).collect();
    world.run(secs(600));
    let later: Vec<_> = world.agent.ike_sas().map(|(ike_sa, ..)| ike_sa).collect();
    assert_eq!(first, later, "refreshes change nothing");
    world.plug(MOBILE, WIRE, Some(Place::B), true);
    world.run(millis(100));
    assert!(ike_sas(&world) > 0, "the old one stays until the new one stands");
    agree_soon(&mut world);
    let moved: Vec<_> = world.agent.ike_sas().map(|(ike_sa, ..)| ike_sa).collect();
    assert_ne!(first, moved);
}

#[test]
fn at_home_ike_is_at_the_home_address_even_if_no_binding_was_left_to_delete() {
    let mut world = at(Place::A, Setup::quiet());
    let home = world.mobiles[MOBILE].node.as_ref().unwrap().home_address().unwrap();
    world.withdraw(home);
    world.plug(MOBILE, WIRE, Some(Place::Home), true);
    agree_soon(&mut world);
    let (_, _, endpoints) = world.agent.ike_sas().next().unwrap();
    assert_eq!(endpoints.unwrap().remote.ip(), std::net::IpAddr::V6(home.0));
    assert_eq!(endpoints.unwrap().local.ip(), std::net::IpAddr::V6(AGENT.0));
}

#[test]
fn an_attempt_goes_on_from_the_next_place() {
    for after in [0, 3, 8, 12, 18, 25] {
        let mut world = World::new(Setup::quiet(), 1);
        world.plug(MOBILE, WIRE, Some(Place::A), true);
        world.run(millis(10 + after));
        world.plug(MOBILE, WIRE, Some(Place::B), true);
        world.run(secs(3));
        agree(&world);
        assert_eq!(ike_sas(&world), 1);
    }
}

#[test]
fn an_address_that_was_given_back_is_kept_for_who_had_it() {
    let mut world = at(Place::A, Setup { mobiles: 2, ..Setup::quiet() });
    // At home the first one loses its IKE SA, and with it the right to its address; nobody tells it.
    world.plug(MOBILE, WIRE, Some(Place::Home), true);
    world.run(secs(5));
    world.order_agent(Input::Close);
    world.run(secs(5));
    assert_eq!(ike_sas(&world), 0);
    world.plug(1, WIRE, Some(Place::A), true);
    agree_soon(&mut world);
}

#[test]
fn an_assigned_address_that_another_node_has_is_replaced() {
    let mut world = at(Place::A, Setup { mobiles: 2, ..Setup::quiet() });
    world.plug(MOBILE, WIRE, Some(Place::Home), true);
    world.run(secs(5));
    // The home agent forgets who had it.
    world.restart_agent();
    world.run(secs(200));
    world.plug(1, WIRE, Some(Place::A), true);
    world.run(secs(20));
    agree(&world);
    let homes: Vec<_> =
        world.mobiles.iter().map(|mobile| mobile.node.as_ref().unwrap().home_address().unwrap()).collect();
    assert_ne!(homes[0], homes[1]);
    assert!(matches!(world.mobiles[1].node.as_ref().unwrap().location(), Location::Away(_)));
}

#[test]
fn an_assigned_address_is_replaced_as_often_as_another_node_has_it() {
    let mut world = at(Place::A, Setup { mobiles: 2, ..Setup::quiet() });
    world.plug(MOBILE, WIRE, Some(Place::Home), true);
    world.run(secs(5));
    for _ in 0..2 {
        // The home agent forgets who had it, and that it was in use.
        world.restart_agent();
        world.run(secs(200));
        world.plug(1, WIRE, None, true);
        world.run(secs(1));
        world.plug(1, WIRE, Some(Place::A), true);
        world.run(millis(100));
    }
    world.run(secs(300));
    agree(&world);
}

#[test]
fn a_home_agent_that_lost_everything_gets_it_back() {
    let mut world = at(Place::A, Setup::quiet());
    world.restart_agent();
    world.run(secs(150));
    agree(&world);
}

#[test]
fn a_node_that_was_killed_abroad_and_starts_at_home_is_bound_no_more() {
    let mut world = at(Place::A, Setup::quiet());
    world.kill_mobile(MOBILE);
    world.plug(MOBILE, WIRE, Some(Place::Home), true);
    world.start_mobile(MOBILE);
    world.run(secs(150));
    agree(&world);
}

#[test]
fn a_node_that_stops_leaves_nothing_behind() {
    for place in [Place::Home, Place::B] {
        let mut world = at(Place::A, Setup::quiet());
        world.plug(MOBILE, WIRE, Some(place), true);
        world.run(secs(5));
        world.stop_mobile(MOBILE);
        world.run(secs(5));
        assert!(world.mobiles[MOBILE].node.is_none());
        agree(&world);
        assert_eq!(ike_sas(&world), 0);
    }
}
