//! How good a handover is: what lies between a usable care-of address and the update, and between the update and data.

use std::time::{Duration, SystemTime};

use homeward::lab::attached::address;
use homeward::lab::topology::CORRESPONDENT;
use homeward::lab::{Attached, Link, Packet, Scene, SceneOptions, UdpFlow};
use homeward::real_kernel_test;

use crate::packets::{self, ESP, Ip};
use crate::{PATIENCE, attach};

const MOVES: usize = 10;
const TRIES: usize = 3;
/// RFC 6275 §11.8: no more than three updates in a second (MAX_UPDATE_RATE); a fourth would wait.
const BETWEEN: Duration = Duration::from_millis(350);
/// Far enough that the acknowledgement cannot be what data waits for.
const DELAY: Duration = Duration::from_millis(30);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The first packet after a time that is wanted.
fn first(packets: &[(SystemTime, Ip)], after: SystemTime, wanted: impl Fn(&Ip) -> bool) -> SystemTime {
    packets.iter().find(|(at, ip)| *at >= after && wanted(ip)).expect("no such packet").0
}

/// Times from the usable care-of address to the update, and from that to the first data, of ten moves.
fn measure(pair: &Attached, scene: &Scene) -> (Vec<Duration>, Vec<Duration>) {
    let wire = [Link::A, Link::B].map(|link| scene.capture(link, None).unwrap());
    let home = pair.home_address;
    let every = Duration::from_millis(2);
    let flows = UdpFlow::both_ways((&scene.mn, home), (&scene.cn, CORRESPONDENT), 9000, every, 100).unwrap();
    let mut marks = Vec::new();
    for number in 0..MOVES {
        let link = if number % 2 == 0 { Link::B } else { Link::A };
        let mark = pair.mn.mark();
        pair.move_to(scene, link).unwrap();
        let usable = pair.mn.wait_after(mark, "care_of_usable", PATIENCE).unwrap();
        let update = pair.mn.wait_after(mark, "binding_update", PATIENCE).unwrap();
        let care_of = address(&usable, "care_of").unwrap();
        let wire = &wire[usize::from(link == Link::B)];
        // The next move is to find a flow that runs again.
        let data = |packet: &Packet| {
            packet.at > update.at
                && packets::ip(packet).is_some_and(|ip| {
                    ip.destination == care_of && ip.protocol == ESP && ip.type_2_routing_header.is_none()
                })
        };
        std::thread::sleep(BETWEEN);
        wire.wait_for("downlink data", PATIENCE, data).unwrap();
        marks.push((usable.at, care_of));
    }
    drop(flows);
    let mut packets: Vec<Packet> = wire.into_iter().flat_map(homeward::lab::Capture::stop).collect();
    packets.sort_by_key(|packet| packet.at);
    let packets: Vec<(SystemTime, Ip)> =
        packets.iter().filter_map(|packet| Some((packet.at, packets::ip(packet)?))).collect();
    let (mut to_update, mut to_data) = (Vec::new(), Vec::new());
    for (usable, care_of) in &marks {
        let from = |ip: &Ip| ip.source == *care_of && ip.protocol == ESP;
        let update = first(&packets, *usable, |ip| from(ip) && ip.home_address_option == Some(home));
        let data = first(&packets, update, |ip| from(ip) && ip.home_address_option.is_none());
        to_update.push(update.duration_since(*usable).unwrap());
        to_data.push(data.duration_since(update).unwrap());
    }
    (to_update, to_data)
}

/// How many updates of ten moves had to be repeated.
fn repetitions(pair: &Attached, scene: &Scene) -> usize {
    let mark = pair.mn.all("binding_update").len();
    for number in 0..MOVES {
        pair.move_to(scene, if number % 2 == 0 { Link::B } else { Link::A }).unwrap();
        std::thread::sleep(BETWEEN);
    }
    let updates = pair.mn.all("binding_update").into_iter().skip(mark);
    updates.filter(|update| update.number("attempt") > Some(1)).count()
}

/// A machine that has other things to do may take long once; a fault of ours does so each time.
fn within<T: std::fmt::Debug>(mut measure: impl FnMut() -> T, is_good: impl Fn(&T) -> bool) {
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let measured = measure();
        if is_good(&measured) {
            return;
        }
        seen.push(measured);
    }
    panic!("{seen:?}");
}

real_kernel_test!(the_update_follows_the_care_of_address_and_data_follows_the_update, within 240 seconds, {
    let (pair, scene, _files) = attach(SceneOptions { delay: DELAY, ..SceneOptions::default() });
    within(
        || measure(&pair, &scene),
        |(to_update, to_data)| {
            median(to_update.clone()) < Duration::from_millis(5) && median(to_data.clone()) < Duration::from_millis(10)
        },
    );
    // The answer that comes at once finds the address complete. Lost or late once is the machine; a movement whose first update
    // regularly finds no answer is a fault.
    scene.set_delay(Duration::ZERO).unwrap();
    within(|| repetitions(&pair, &scene), |again| *again <= 1);
});
