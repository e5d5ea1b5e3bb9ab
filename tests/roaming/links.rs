//! Two interfaces: which link is taken, and that nothing is lost where the old one still works.

use std::time::{Duration, SystemTime};

use homeward::lab::attached::{address, is_on};
use homeward::lab::topology::CORRESPONDENT;
use homeward::lab::{Attached, Auth, Configurations, FlowReport, Link, Node, Scene, SceneOptions, UdpFlow};
use homeward::real_kernel_test;

use crate::traffic::ping;
use crate::{PATIENCE, configurations, kernel_sas, program};

fn two_interfaces(equal: bool) -> (Scene, Configurations, Node) {
    let scene = Scene::new(SceneOptions { second_interface: true, ..SceneOptions::default() }).unwrap();
    let node = Node { interfaces: vec!["eth0".to_owned(), "eth1".to_owned()], ..Node::default() };
    let files = configurations(Auth::Psk, &node);
    let file = format!("{}.toml", node.id);
    files.change(&file, "home_address", "linger = \"500ms\"\nhome_address").unwrap();
    if equal {
        files.change(&file, "preference = 2", "preference = 1").unwrap();
    }
    (scene, files, node)
}

/// Whether the movement after the mark was soft.
fn soft(pair: &Attached, mark: usize) -> bool {
    pair.mn.wait_after(mark, "relocate", PATIENCE).unwrap().text("soft") == "true"
}

/// Waits until the inbound SAs at the old care-of address are gone.
fn lingered(scene: &Scene) {
    let end = SystemTime::now() + PATIENCE;
    while kernel_sas::all(&scene.mn).len() > 8 {
        assert!(SystemTime::now() < end, "they stay: {:#?}", kernel_sas::all(&scene.mn));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn complete(report: &FlowReport) {
    assert!(report.datagrams.len() > 1000, "{} are few", report.datagrams.len());
    let lost: Vec<_> = report.outages().iter().map(|outage| (outage.from, outage.lost)).collect();
    assert_eq!((report.lost(), report.duplicates), (0, 0), "of {}: {lost:?}", report.datagrams.len());
}

real_kernel_test!(a_newer_link_takes_over_softly_with_not_one_packet_lost, {
    let (scene, files, node) = two_interfaces(true);
    let mut pair = Attached::start(program(), &scene, &files, &node.id).unwrap();
    let home = pair.home_address;
    let every = Duration::from_millis(1);
    let flows = UdpFlow::both_ways((&scene.mn, home), (&scene.cn, CORRESPONDENT), 9000, every, 100).unwrap();
    ping(&scene.mn, home, CORRESPONDENT);
    let mark = pair.mn.mark();
    scene.mn.move_second_to(Link::B).unwrap();
    pair.bound_on(mark, Link::B).unwrap();
    assert!(soft(&pair, mark));
    // Eight SAs, and copies of the two that are received under in tunnels.
    assert_eq!(kernel_sas::all(&scene.mn).len(), 10);
    lingered(&scene);
    // Nobody uses it any more: its end is no event, its return is a newer link.
    scene.mn.eth0().detach().unwrap();
    let mark = pair.mn.mark();
    scene.mn.eth0().attach(scene.segment(Link::A).unwrap()).unwrap();
    pair.bound_on(mark, Link::A).unwrap();
    assert!(soft(&pair, mark));
    lingered(&scene);
    let reports = flows.map(UdpFlow::stop);
    for report in reports {
        complete(&report);
    }
    pair.stop().unwrap();
    assert_eq!(pair.mn.all("kernel_refused"), []);
    assert_eq!(pair.ha.all("kernel_refused"), []);
});

real_kernel_test!(the_preferred_link_is_left_when_it_goes_and_taken_when_it_comes, {
    let (scene, files, node) = two_interfaces(false);
    scene.mn.move_second_to(Link::B).unwrap();
    let mut pair = Attached::start(program(), &scene, &files, &node.id).unwrap();
    let home = pair.home_address;
    for _ in 0..2 {
        pair.bound_on(0, Link::A).unwrap();
        let mark = pair.mn.mark();
        scene.mn.eth0().detach().unwrap();
        pair.bound_on(mark, Link::B).unwrap();
        assert!(!soft(&pair, mark), "the old link is gone");
        ping(&scene.mn, home, CORRESPONDENT);
        let mark = pair.mn.mark();
        scene.mn.eth0().attach(scene.segment(Link::A).unwrap()).unwrap();
        pair.bound_on(mark, Link::A).unwrap();
        assert!(soft(&pair, mark), "the old link is still there");
        ping(&scene.cn, CORRESPONDENT, home);
        lingered(&scene);
    }
    pair.stop().unwrap();

    // Among equals and with `keep` the one in use stays, whatever comes up.
    let file = format!("{}.toml", node.id);
    files.change(&file, "preference = 2", "preference = 1").unwrap();
    files.change(&file, "linger =", "handover = \"keep\"\nlinger =").unwrap();
    let mut pair = Attached::start(program(), &scene, &files, &node.id).unwrap();
    let bound = pair.mn.wait("bound", PATIENCE).unwrap();
    let (ours, other) = if is_on(address(&bound, "care_of").unwrap(), Link::A) {
        ((scene.mn.eth0(), Link::A), (scene.mn.second().unwrap(), Link::B))
    } else {
        ((scene.mn.second().unwrap(), Link::B), (scene.mn.eth0(), Link::A))
    };
    let mark = pair.mn.mark();
    other.0.detach().unwrap();
    other.0.attach(scene.segment(other.1).unwrap()).unwrap();
    pair.mn.wait_for(mark, "link_up", PATIENCE, |_| true).unwrap();
    // The other link has a router by now: when ours goes, it is taken at once.
    ping(&scene.mn, pair.home_address, CORRESPONDENT);
    assert_eq!(pair.mn.all("relocate").len(), 1);
    ours.0.detach().unwrap();
    pair.bound_on(mark, other.1).unwrap();
    let mark = pair.mn.mark();
    ours.0.attach(scene.segment(ours.1).unwrap()).unwrap();
    pair.mn.wait_for(mark, "link_up", PATIENCE, |_| true).unwrap();
    ping(&scene.mn, pair.home_address, CORRESPONDENT);
    assert_eq!(pair.mn.all("relocate").len(), 2);
    pair.stop().unwrap();
});
