//! A random life from a seed.

use std::cell::Cell;
use std::time::Duration;

use ike::action::Input;
use mip6::action::MobileNodeInput;

use crate::hosts::{Place, Setup};
use crate::random::Random;
use crate::verdict;
use crate::world::{Weather, World};

/// How a run ended.
pub(crate) struct End {
    /// What was wrong, if anything.
    pub(crate) fault: Option<String>,
    /// The virtual time it covered.
    pub(crate) covered: Duration,
}

/// Plays one seed.
pub(crate) fn play(seed: u64, trace: bool) -> End {
    let mut random = Random::new(seed);
    let mut setup = Setup::random(&mut random);
    setup.trace = trace;
    let mut world = World::new(setup, random.next());
    world.say(|| format!("{:?}", world.setup));
    let steps = 10 + random.below(40);
    for _ in 0..steps {
        if !world.violations.is_empty() {
            break;
        }
        step(&mut world, &mut random);
        let pause = match random.below(10) {
            0..4 => random.between(Duration::ZERO, Duration::from_millis(300)),
            4..8 => random.between(Duration::from_millis(300), Duration::from_secs(6)),
            _ => random.between(Duration::from_secs(6), Duration::from_secs(90)),
        };
        world.run(pause);
    }
    let fault = settle(&mut world, &mut random);
    End { fault, covered: world.time }
}

fn step(world: &mut World, random: &mut Random) {
    let number = random.below(world.mobiles.len());
    match random.below(40) {
        0..12 => {
            let index = if random.happens(750) { 0 } else { 1 };
            let place = random.pick(&[Place::Home, Place::A, Place::A, Place::B, Place::B, Place::C]);
            world.plug(number, index, Some(place), random.happens(850));
        }
        12..14 => world.plug(number, random.below(2), None, true),
        14..16 => {
            let index = random.below(2);
            let place = world.mobiles[number].plugged[index];
            world.plug(number, index, None, true);
            world.run(random.between(Duration::ZERO, Duration::from_secs(3)));
            world.plug(number, index, place, true);
        }
        16..18 => world.order_mobile(number, Input::RekeyIke),
        18..20 => world.order_agent(Input::RekeyIke),
        20..23 => child_order(world, random, number, Input::RekeyChild),
        23 => child_order(world, random, number, Input::DeleteChild),
        24 => world.order_mobile(number, Input::CheckLiveness),
        25 => world.order_agent(Input::CheckLiveness),
        26 => world.stop_mobile(number),
        27 => world.kill_mobile(number),
        28..30 => world.start_mobile(number),
        30 => world.restart_agent(),
        31 => world.order_mobile(number, Input::Close),
        32 => world.order_agent(Input::Close),
        33 => {
            if let Some(home_address) = world.mobiles[number].node.as_ref().and_then(|node| node.home_address()) {
                world.withdraw(home_address);
            }
        }
        34..37 => {
            world.weather = Weather {
                loss: random.pick(&[0, 20, 100, 300, 500]),
                doubled: random.pick(&[0, 50, 300]),
                delay: (Duration::from_millis(2), Duration::from_millis(random.pick(&[2, 20, 200, 1500]))),
            };
            world.say(|| format!("{:?}", world.weather));
        }
        37 => silence(world, random),
        38 => {
            let refusals = random.pick(&[0, 50, 300]);
            world.say(|| format!("kernels refuse {refusals} batches of a thousand"));
            world.agent_hand.refusals = refusals;
            world.mobiles.iter_mut().for_each(|mobile| mobile.hand.refusals = refusals);
            world.run(random.between(Duration::from_secs(1), Duration::from_secs(20)));
        }
        _ => duplicate(world, number),
    }
}

/// For a child of one of the two sides.
fn child_order(world: &mut World, random: &mut Random, number: usize, order: fn(ike::ChildId) -> Input) {
    if random.happens(500) {
        let children: Vec<_> = match &world.mobiles[number].node {
            Some(node) => node.children().map(|(id, _)| id.to_owned()).collect(),
            None => Vec::new(),
        };
        if !children.is_empty() {
            let child = random.pick(&children);
            world.order_mobile(number, |_| order(child));
        }
    } else {
        let children: Vec<_> = world.agent.children().map(|(id, ..)| id).collect();
        if !children.is_empty() {
            let child = random.pick(&children);
            let first = Cell::new(true);
            world.order_agent(|ike_sa| if first.replace(false) { order(child) } else { Input::CheckLiveness(ike_sa) });
        }
    }
}

/// Nothing arrives for a while.
fn silence(world: &mut World, random: &mut Random) {
    let weather = world.weather;
    world.weather.loss = 1000;
    let time = random.between(Duration::from_secs(1), Duration::from_secs(600));
    world.say(|| format!("silence for {} s", time.as_secs()));
    world.run(time);
    world.weather = weather;
}

/// Another node has the care-of address.
fn duplicate(world: &mut World, number: usize) {
    let Some(node) = &world.mobiles[number].node else { return };
    if let mip6::action::Location::Away(care_of) = node.location() {
        world.say(|| format!("another node has {}", care_of.address));
        let input = MobileNodeInput::Duplicate { interface: care_of.interface, address: care_of.address.0 };
        world.mobility(number, input);
    }
}

/// The links become good; a bounded time later both sides agree. Then everybody stops, and nothing is left.
fn settle(world: &mut World, random: &mut Random) -> Option<String> {
    world.say(|| "the links are good from here on".into());
    world.weather = Weather::GOOD;
    world.agent_hand.refusals = 0;
    for number in 0..world.mobiles.len() {
        world.mobiles[number].hand.refusals = 0;
        let runs = world.mobiles[number].node.is_some() && world.mobiles[number].farewell.is_none();
        if !runs && random.happens(700) {
            world.run(Duration::from_secs(4));
            world.start_mobile(number);
        }
        if world.mobiles[number].plugged == [None; 2] {
            world.plug(number, 0, Some(random.pick(&Place::ALL)), true);
        }
    }
    let long = world.setup.lifetime + Duration::from_secs(300);
    world.run(long);
    // An operator replugs what has had too many collisions of addresses.
    let mut replugged = false;
    for number in 0..world.mobiles.len() {
        let nowhere = |node: &homeward::daemon::mobile_node::MobileNode| {
            matches!(node.location(), mip6::action::Location::Nowhere)
        };
        if world.mobiles[number].node.as_ref().is_some_and(nowhere) {
            replugged = true;
            for index in 0..2 {
                let place = world.mobiles[number].plugged[index];
                world.plug(number, index, None, true);
                world.plug(number, index, place, true);
            }
        }
    }
    if replugged {
        world.run(long);
    }
    if let Some(fault) = fault(world) {
        return Some(fault);
    }
    world.say(|| "everybody stops".into());
    for number in 0..world.mobiles.len() {
        world.stop_mobile(number);
    }
    world.run(Duration::from_secs(5));
    fault(world)
}

/// An exchange that happens to be under way, a rekeying say, is given the time to end.
fn fault(world: &mut World) -> Option<String> {
    let mut fault = None;
    for _ in 0..10 {
        fault = world.violations.first().cloned().or_else(|| verdict::consistent(world).err());
        if fault.is_none() || !world.violations.is_empty() {
            break;
        }
        world.run(Duration::from_millis(150));
    }
    fault
}
