//! What the neighbours on a link can ask.

use std::fs;
use std::net::Ipv6Addr;

use homeward::lab::attached::is_on;
use homeward::lab::{Host, Link, SceneOptions};
use homeward::real_kernel_test;

use super::attach;

/// How many on `eth0` are members of an address's solicited-node group, by /proc/net/igmp6.
fn members(host: &Host, address: Ipv6Addr) -> usize {
    let table = host.enter(|| fs::read_to_string("/proc/thread-self/net/igmp6").unwrap()).unwrap();
    let [.., a, b, c] = address.octets();
    let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words[1] == "eth0" && words[2] == group).map_or(0, |words| words[3].parse().unwrap())
}

// The kernel joins the group when it has time; a solicitation that comes before costs a second.
real_kernel_test!(a_router_that_asks_for_a_new_care_of_address_is_heard_at_once, {
    let (attached, scene, _files) = attach(SceneOptions::default());
    let care_of = |mark| {
        let event = attached.mn.wait_for(mark, "care_of_usable", super::PATIENCE, |_| true).unwrap();
        event.text("care_of").parse::<Ipv6Addr>().unwrap()
    };
    let first = care_of(0);
    // The kernel and we.
    assert_eq!(members(&scene.mn, first), 2);
    let mark = attached.mn.mark();
    attached.move_to(&scene, Link::B).unwrap();
    let second = care_of(mark);
    assert!(is_on(second, Link::B));
    assert_eq!((members(&scene.mn, first), members(&scene.mn, second)), (0, 2));
});
